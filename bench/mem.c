/* mem.c -- whether the memory limit holds while far more than memory is loaded.
 *
 * Data      100 M rows of `apply`'s table (20 columns, about 150 bytes) inserted in epochs of 50,000, into a store with
 *           a limit of 2 GiB; flushes, merges and checkpoints go on. Full form only; --rows N for tests.
 * Figure    GiB of anonymous memory of the process above what it had before the store was opened, the most that was
 *           seen at 20 looks a second. The block cache is part of it: it is no page cache. An epoch that is refused for
 *           want of memory is tried again and counted: writers are to be slowed before that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "apply.h"

static const double goal_gib = 2;

bool bench_mem(const struct bench_options *options, struct bench_result *out)
{
    struct apply_request request = {
        .rows = options->rows ? options->rows : 100000000, .memory_bytes = (size_t)2 << 30, .preload_only = true};
    int64_t start_ns = bench_now_ns();
    struct apply_measured m = apply_run(options, &request);
    double seconds = (double)(bench_now_ns() - start_ns) / 1e9;

    *out = (struct bench_result){.bench = "mem",
                                 .unit = "GiB of anonymous memory",
                                 .goal = "<= 2",
                                 .goal_figure = goal_gib,
                                 .figure = (double)m.anonymous_most / (double)(1 << 30)};
    out->ok = out->figure <= goal_gib && m.rows_at_end == request.rows;
    bench_say(options,
              "mem: %llu rows under 2 GiB: anonymous memory at most %.3f GiB, accounted at most %.3f; %.0f s\n",
              (unsigned long long)m.rows_at_end, out->figure, (double)m.memory_peak / (double)(1 << 30), seconds);
    bench_more(out, ",\"rows\":%llu,\"accounted_peak_bytes\":%zu,\"parts\":%llu,\"refused\":%llu,\"seconds\":%.0f",
               (unsigned long long)m.rows_at_end, m.memory_peak, (unsigned long long)m.parts,
               (unsigned long long)m.refused, seconds);
    return true;
}
