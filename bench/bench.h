/* bench.h -- what the benchmarks of magic-bench share: options, and the JSON line at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_BENCH_H
#define MG_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

struct bench_options {
    bool full;          /* else quick */
    bool json;          /* only the last line */
    double seconds;     /* 0: the benchmark's own choice */
    uint64_t rows;      /* the same */
    const char *folder; /* where stores are made; NULL: TMPDIR or /tmp */
};

struct bench_result {
    const char *bench, *unit, *goal;
    double figure, goal_figure;
    bool ok;
    char more[1024]; /* further members, each as ,"name":value */
};

/* Returns false when it could not be run; prints why. */
typedef bool bench_fn(const struct bench_options *options, struct bench_result *out);
bench_fn bench_apply, bench_aggregate, bench_lookup;

#endif
