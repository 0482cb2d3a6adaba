/* store.h -- one store of the magic engine with one table, as benchmarks use it.
 *
 * Threads  one writes; the engine's own rules hold for readers.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_STORE_H
#define MG_BENCH_STORE_H

#include "bench.h"
#include "engine/engine.h"

struct bench_store {
    struct mg_engine *engine;
    struct mg_budget budget;
    struct mg_schema *schema; /* of its table, table 1 */
    char folder[4096];
    uint64_t watermark;
    bool by_hand;            /* the maintenance */
    uint64_t unsettled_rows; /* applied since the last settling */
};

/* A new store in a folder of its own, with the table; takes over the reference to schema. more may be NULL; its folder
 * and budget are not read. memory_bytes 0: not limited, but counted. */
void bench_store_open(struct bench_store *store, const struct bench_options *options, struct mg_schema *schema,
                      size_t memory_bytes, const struct mg_engine_options *more);
/* The same over a folder that is there; the table is not made. */
void bench_store_reopen(struct bench_store *store, const char *folder, struct mg_schema *schema, size_t memory_bytes,
                        const struct mg_engine_options *more);
/* Close, and remove the folder. */
void bench_store_remove(struct bench_store *store);
/* One epoch, durable and visible at return. ops NULL: all are insertions. With maintenance by hand the store is settled
 * every 16 M rows, as memory ends. */
void bench_store_apply(struct bench_store *store, struct mg_batch *rows, const uint8_t *ops);
/* Rounds of the engine's background work until no flush and no merge is left to do; nothing stays in memory only. */
void bench_store_settle(struct bench_store *store);
/* A compaction of the table by instruction, to its end; the maintenance must be by hand. */
void bench_store_compact(struct bench_store *store);
/* A number of the engine's status; 0 when there is none of that name. */
uint64_t bench_store_status(const struct bench_store *store, const char *name);

#endif
