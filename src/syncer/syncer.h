/* syncer.h -- the syncer as one thing: source -> buffer -> sorter -> writer, with its threads.
 *
 * Acks come from the buffer alone; applying runs in a thread of its own. When applying stops (an error that must not be
 * passed over), the buffer goes on taking records up to its limit, and lag and status say since when and why.
 * Threads  open/close: the owner. The rest: any.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SYNCER_H
#define MG_SYNCER_SYNCER_H

#include "latch/latch.h"
#include "syncer/source/source.h"

struct mg_syncer;

struct mg_syncer_options {
    const struct mg_source_ops *source_ops; /* &mg_source_pump */
    struct mg_source_options source;        /* its buffer is set by the syncer */
    struct mg_latch *latch;
    struct mg_engine *engine;
    struct mg_io *io;
    struct mg_clock *clock;
    struct mg_budget *budget;
    const char *buffer_folder;
    uint64_t buffer_limit_bytes;   /* 0 = the default */
    uint64_t buffer_segment_bytes; /* 0 = 64 MiB */
    int64_t interval_ms;           /* 0 = 10 */
    uint64_t epoch_memory;         /* bytes that rows of one epoch take in memory, in the store; 0 = by the budget */
    uint32_t verify_one_in;        /* old images that are compared: one in so many; 0 = none */
    bool paused;                   /* start without applying */
};

/* Listens first, then connects to the store side; records are acked from the moment it returns. */
MG_MUST_CHECK enum mg_code mg_syncer_open(const struct mg_syncer_options *options, struct mg_syncer **out,
                                          struct mg_error *err);
/* Stops the source, publishes what is complete, ends the threads. */
void mg_syncer_close(struct mg_syncer *syncer); /* NULL is allowed */

enum { MG_SYNCER_TABLES_MAX = 9 };
enum mg_syncer_state { MG_SYNCER_WAITING, MG_SYNCER_RUNNING, MG_SYNCER_PAUSED, MG_SYNCER_STOPPED };
struct mg_syncer_lag {
    enum mg_syncer_state state;
    char reason[512];   /* STOPPED, WAITING: why */
    int64_t since_ms;   /* unix time of the last change of state */
    uint64_t watermark; /* visible */
    int64_t lag_ms;     /* age of the watermark: wall clock minus its physical part */
    uint64_t known_ts;
    uint32_t open_txns, waiting_txns;
    uint64_t buffered_records;
    uint64_t oldest_open_start_ts;
    int64_t oldest_open_age_ms;
    /* "db.table" as the store has it now; "table id 12" where it has no such table, "schema change 5", last "3 more" */
    char oldest_open_tables[MG_SYNCER_TABLES_MAX][2 * MG_NAME_MAX];
    uint32_t oldest_open_table_count;
};
void mg_syncer_lag(struct mg_syncer *syncer, struct mg_syncer_lag *out);
/* paused false also tries again after an error that stopped applying; MG_SOURCE_STOPPED when that cannot help: records
 * are missing. */
MG_MUST_CHECK enum mg_code mg_syncer_pause(struct mg_syncer *syncer, bool paused, struct mg_error *err);
void mg_syncer_set_verify(struct mg_syncer *syncer, uint32_t one_in);
MG_MUST_CHECK enum mg_code mg_syncer_set_interval(struct mg_syncer *syncer, int64_t interval_ms, struct mg_error *err);
/* name, value, unit triples for status: buffer, sorter, writer, source. */
MG_MUST_CHECK enum mg_code mg_syncer_status(struct mg_syncer *syncer, mg_status_fn *fn, void *arg,
                                            struct mg_error *err);

#endif
