/* apply.h -- the load of the benchmark apply, for those that measure it at several sizes.
 *
 * Threads  one at a time; it starts a reader of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_APPLY_H
#define MG_BENCH_APPLY_H

#include "store.h"

struct apply_request {
    uint64_t rows; /* preloaded, and settled into parts */
    double seconds;
    size_t memory_bytes;
    bool preload_only;
};
struct apply_measured {
    uint64_t changes, epochs, rows_at_end, dead_at_end;
    uint64_t change_bytes;  /* in Arrow, as they were handed over */
    uint64_t written_bytes; /* to the disk meanwhile, by the whole process */
    int64_t apply_ns;       /* of begin to durable, all epochs */
    int64_t apply_cpu_us;   /* of the applying thread */
    int64_t cpu_us;         /* of the process, without the reader and the making of batches */
    int64_t worst_epoch_ns;
    uint64_t scans, scanned_rows, scan_ns;
    uint64_t merges, flushes, parts;
    size_t memory_used, memory_peak; /* accounted */
    uint64_t anonymous_most;         /* RssAnon above that of before the store was opened, looked at every 50 ms */
    uint64_t refused;                /* epochs of the preload that had to be tried again for want of memory */
    bool out_of_memory;
};

struct apply_measured apply_run(const struct bench_options *options, const struct apply_request *request);

#endif
