/* growth.c -- whether a change costs more in a larger table.
 *
 * Data      the table and the load of `apply` over 1 M, 10 M and 100 M preloaded rows, each for 60 s after the rows
 *           were settled into parts. Full form only; with --rows N over N, 10 N and 100 N rows, for tests.
 * Figure    CPU-us a change of the process, flushes, merges and checkpoints included, the making of changes and the
 *           reader not: that of the largest table by that of the smallest. ok: at most 2.5, and at most 1.5 of the one
 *           between.
 * SPDX-License-Identifier: Apache-2.0 */
#include "apply.h"

enum { SIZES = 3 };
static const double goal_smallest = 2.5, goal_middle = 1.5;

bool bench_growth(const struct bench_options *options, struct bench_result *out)
{
    uint64_t rows = options->rows ? options->rows : 1000000;
    double cpu_us[SIZES];
    bool ok = true;

    *out = (struct bench_result){.bench = "growth",
                                 .unit = "x of the CPU per change at 1 M rows",
                                 .goal = "<= 2.5, <= 1.5 of 10 M",
                                 .goal_figure = goal_smallest};
    for (int i = 0; i < SIZES; i++, rows *= 10) {
        struct apply_request request = {
            .rows = rows, .seconds = options->seconds > 0 ? options->seconds : 60, .memory_bytes = (size_t)4 << 30};
        struct apply_measured m = apply_run(options, &request);
        if (m.changes == 0)
            return false;
        cpu_us[i] = (double)m.cpu_us / (double)m.changes;
        ok = ok && !m.out_of_memory;
        bench_say(options, "growth: %llu rows: %.3f CPU-us a change (applying thread %.3f), %.0f changes/s\n",
                  (unsigned long long)rows, cpu_us[i], (double)m.apply_cpu_us / (double)m.changes,
                  (double)m.changes * 1e9 / (double)m.apply_ns);
        bench_more(out, ",\"rows_%d\":{\"rows\":%llu,\"cpu_us_per_change\":%.4f,\"apply_cpu_us_per_change\":%.4f,", i,
                   (unsigned long long)rows, cpu_us[i], (double)m.apply_cpu_us / (double)m.changes);
        bench_more(out, "\"changes_per_s\":%.0f,\"merges\":%llu}", (double)m.changes * 1e9 / (double)m.apply_ns,
                   (unsigned long long)m.merges);
    }
    out->figure = cpu_us[2] / cpu_us[0];
    bench_more(out, ",\"of_middle\":%.3f", cpu_us[2] / cpu_us[1]);
    out->ok = ok && out->figure <= goal_smallest && cpu_us[2] / cpu_us[1] <= goal_middle;
    return true;
}
