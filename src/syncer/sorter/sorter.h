/* sorter.h -- from buffered records to whole transactions in commit order.
 *
 * Reads the buffer, matches P with C and R by start_ts (watermark.h decides), settles what is open through the source,
 * and gives transactions with commit_ts <= W in commit order. Payloads above spool_bytes are not kept in memory: they
 * are read again from the buffer, which is the spool; those of megabytes piece by piece. Settling every R at once, and
 * every P that stays open, is asked about at the source (settle_rule.h); while nothing comes and nothing is open, the
 *          source's oracle says how far time went.
 * Threads  poll, next, position, take_late: the applying thread. A settling thread of its own asks the source off the
 *          hot path. Lock: MG_RANK_SETTLE.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SORTER_H
#define MG_SYNCER_SORTER_H

#include "syncer/buffer/buffer_log.h"
#include "syncer/sorter/watermark.h"
#include "syncer/source/source.h"

enum mg_txn_kind { MG_TXN_ROWS, MG_TXN_DDL };

/* One committed transaction. Borrowed until the next mg_sorter_next. */
struct mg_txn {
    enum mg_txn_kind kind;
    uint64_t start_ts, commit_ts;
    int64_t received_ms;      /* when its P arrived; unix time */
    struct mg_span rows;      /* ROWS: a marshalled PrewriteValue; not in memory when it is large */
    int64_t job_id;           /* DDL */
    int32_t job_schema_state; /* DDL: ddl_schema_state of the record */
    struct mg_slice query;    /* DDL */
};

struct mg_sorter;
struct mg_sorter_options {
    struct mg_buffer_log *buffer;
    struct mg_source *source;
    struct mg_clock *clock;
    struct mg_budget *budget;
    uint64_t published_ts;   /* the store's watermark */
    uint64_t start_seq;      /* the store's position: records below are not needed; 0 = the buffer's first */
    size_t spool_bytes;      /* 0 = 1 MiB */
    int64_t settle_after_ms; /* a P open for longer is asked about; 0 = 2 s */
    int64_t idle_ms;         /* ask the oracle after this long without records; 0 = 200 ms */
    uint32_t waiting_max;    /* no more is read while as many transactions wait for W; 0 = 1,000,000 */
};

MG_MUST_CHECK enum mg_code mg_sorter_new(const struct mg_sorter_options *options, struct mg_sorter **out,
                                         struct mg_error *err);
void mg_sorter_free(struct mg_sorter *sorter);

/* Take in what is durable. MG_OK with *out_watermark = W: all transactions at or below it will be given by next. Errors
 * stop the source. */
MG_MUST_CHECK enum mg_code mg_sorter_poll(struct mg_sorter *sorter, uint64_t *out_watermark, struct mg_error *err);
/* The next transaction with commit_ts <= the W of the last poll; MG_NOT_FOUND when all were given. */
MG_MUST_CHECK enum mg_code mg_sorter_next(struct mg_sorter *sorter, struct mg_txn *out, struct mg_error *err);
/* Block until there may be something new, or timeout. */
void mg_sorter_wait(struct mg_sorter *sorter, int64_t timeout_ms);
/* Where a restart must read from, once all that next and take_late have given is published: the lowest record still
 * needed. */
uint64_t mg_sorter_position(struct mg_sorter *sorter);

/* What an open transaction changes, for people: by the source's ids, as names may change until it ends. */
enum { MG_TXN_TABLES_MAX = 8 };
struct mg_txn_tables {
    int64_t ids[MG_TXN_TABLES_MAX];
    uint32_t count; /* of all tables: may be more than ids has room for */
    int64_t job_id; /* not 0: a schema change */
};

struct mg_sorter_lag {
    uint64_t watermark, known_ts;
    uint32_t open_txns, waiting_txns;
    uint64_t buffered_records; /* durable, not yet read */
    struct mg_open_txn oldest; /* start_ts 0: none */
    int64_t oldest_received_ms;
    struct mg_txn_tables oldest_tables;
    uint64_t settled, lost, orphans; /* transactions: settled by asking; of unknown end; ends without a prewrite */
    uint64_t kept_bytes;             /* payloads in memory */
};
void mg_sorter_lag(struct mg_sorter *sorter, struct mg_sorter_lag *out); /* any thread */
/* When the process that the source's status port speaks for began, unix time; 0 = it does not answer. Told now and
 * then, by any thread. */
void mg_sorter_tell_peer(struct mg_sorter *sorter, int64_t peer_start_ms);

/* The next transaction whose tables need a reload: its end cannot be told any more, or it is settled as committed at or
 * below a W that was handed out. MG_NOT_FOUND: none. Borrowed like next's. Take all before what is applied is
 * published: they hold W no longer. */
MG_MUST_CHECK enum mg_code mg_sorter_take_late(struct mg_sorter *sorter, struct mg_txn *out, struct mg_error *err);

#endif
