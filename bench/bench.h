/* bench.h -- what the benchmarks of magic-bench share: options, the JSON line at the end, folders, time, and a way to
 * give up.
 *
 * Threads  the functions are for the thread that runs the benchmark, but bench_fail, which any may call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_BENCH_H
#define MG_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct bench_options {
    bool full;          /* else quick */
    bool json;          /* only the last line */
    double seconds;     /* 0: the benchmark's own choice */
    uint64_t rows;      /* the same; benches of lineitem: so many rows made here, and no peer is asked */
    const char *folder; /* where stores are made; NULL: TMPDIR or /tmp */
    const char *data;   /* where TPC-H's tables and the peers' stores are kept; NULL: bench-data beside the build */
    const char *python; /* with the packages of bench/requirements.txt; NULL: bench-venv beside the build */
};

struct bench_result {
    const char *bench, *unit, *goal;
    double figure, goal_figure;
    bool ok;
    char more[6144]; /* further members, each as ,"name":value */
};

/* Returns false when it could not be run; prints why. */
typedef bool bench_fn(const struct bench_options *options, struct bench_result *out);
bench_fn bench_apply, bench_aggregate, bench_lookup, bench_load, bench_scan, bench_dirty, bench_pin, bench_storm,
    bench_growth, bench_restart, bench_size, bench_arrow_out, bench_mem;

/* Of the benchmark that runs: in its messages. */
extern const char *bench_name;

/* Ends the process with status 1; its folders are removed. */
_Noreturn void bench_fail(const char *what, enum mg_code code, const struct mg_error *err);
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define try(call)                                                 \
    do {                                                          \
        struct mg_error try_err = MG_ERROR_INIT, *err = &try_err; \
        enum mg_code try_code = (call);                           \
        if (try_code != MG_OK)                                    \
            bench_fail(#call, try_code, err);                     \
    } while (0)

/* To standard output, unless only JSON is wanted. */
void bench_say(const struct bench_options *options, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends to result->more; what does not fit is an error of ours. */
void bench_more(struct bench_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A new folder; removed by bench_folder_remove, when the process ends, and when SIGINT or SIGTERM end it. path has room
 * for 4096 bytes. */
void bench_folder_make(const struct bench_options *options, char *path);
void bench_folder_remove(const char *path);
/* Files below it, and their bytes. Either may be NULL. */
void bench_folder_size(const char *path, uint64_t *out_files, uint64_t *out_bytes);
/* A path relative to the folder of this program, into path of 4096 bytes. */
void bench_beside(const char *relative, char *path);

int64_t bench_now_ns(void);
int64_t bench_process_cpu_us(void);
int64_t bench_thread_cpu_us(void);
/* Of another process that still runs, in steps of 10 ms; -1: it does not. */
int64_t bench_cpu_us_of(pid_t pid);
/* Bytes of the process's anonymous memory ("RssAnon") or another line of /proc/self/status. */
uint64_t bench_memory_of_self(const char *line);

/* Of count > 0 values. median and quantile sort them. */
double bench_min(const double *values, size_t count);
double bench_median(double *values, size_t count);
double bench_quantile(double *values, size_t count, double quantile);
double bench_geomean(const double *values, size_t count);

#endif
