/* watermark.h -- the arithmetic that decides up to which commit_ts everything is known: a pure module, no clocks,
 * threads or memory of others.
 *
 * TiDB fetches a transaction's commit_ts only after our ack of its prewrite (P). So a P that was acked when N was the
 * greatest timestamp known to be handed out commits above N: its floor. W = min(N now, the least floor of the
 * unresolved P's). Every transaction with commit_ts <= W has arrived, whole and with its end known; none at or below W
 * can come.
 *
 * Input order is the buffer's: records as they became durable, each with its seq (rising) and its known_ts (never
 * falling): the greatest timestamp known when it was queued, so before its ack. A timestamp that stands in a record was
 * handed out before that record was queued; every P that was acked before that has a lower seq: so N may rise to it
 * when the record is given. A timestamp from the oracle has no place among the records: it counts only once every
 * record that was durable when it was asked for has been given.
 *
 * R (rollback) is not proof: it only makes a P doubtful; `settle` ends it. The module remembers the last
 * MG_WATERMARK_REMEMBERED ended transactions, so that a P or an end that is sent again is known as a duplicate.
 * Model-checked over all interleavings: tests/model/watermark_check.c.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_WATERMARK_H
#define MG_SYNCER_WATERMARK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { MG_WATERMARK_REMEMBERED = 65536 };

struct mg_watermark;

/* published: W that the store already shows (0 at the very first start): commits at or below it were applied.
 * first_seq: the first record that will be given; those below it are not needed any more. */
MG_MUST_CHECK enum mg_code mg_watermark_new(uint64_t published, uint64_t first_seq, struct mg_watermark **out,
                                            struct mg_error *err);
void mg_watermark_free(struct mg_watermark *watermark); /* NULL is allowed */

enum mg_watermark_verdict {
    MG_VERDICT_NEW,       /* P: a transaction to keep */
    MG_VERDICT_COMPLETE,  /* C: its transaction is whole: apply it when W reaches its commit_ts */
    MG_VERDICT_DUPLICATE, /* seen already: drop the record */
    /* C at or below what was published before this start: drop the transaction, it is in the store */
    MG_VERDICT_APPLIED,
    MG_VERDICT_DOUBTFUL, /* R for a known P: settle it */
    MG_VERDICT_ORPHAN,   /* C or R without a P, above W: its rows are not here */
    /* settled as committed at or below a W that was handed out: its tables must be loaded again */
    MG_VERDICT_LATE,
};

/* A record of the buffer, in order. MG_CORRUPT when seq or known_ts fall. */
struct mg_watermark_record {
    uint64_t seq, known_ts;
    uint64_t start_ts;
    uint64_t commit_ts; /* C only */
};
MG_MUST_CHECK enum mg_code mg_watermark_prewrite(struct mg_watermark *watermark,
                                                 const struct mg_watermark_record *record,
                                                 enum mg_watermark_verdict *out, struct mg_error *err);
/* MG_SOURCE_STOPPED when commit_ts is at or below a W that was handed out since this start, or the transaction was
 * settled as gone: it must never be dropped or applied late. */
MG_MUST_CHECK enum mg_code mg_watermark_commit(struct mg_watermark *watermark, const struct mg_watermark_record *record,
                                               enum mg_watermark_verdict *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_watermark_rollback(struct mg_watermark *watermark,
                                                 const struct mg_watermark_record *record,
                                                 enum mg_watermark_verdict *out, struct mg_error *err);
/* Any other record that was given (a probe, one that is dropped): only its place counts. */
MG_MUST_CHECK enum mg_code mg_watermark_skip(struct mg_watermark *watermark, const struct mg_watermark_record *record,
                                             struct mg_error *err);

/* The store's answers about an unresolved transaction. ORPHAN: it is not (any more) unresolved. */
void mg_watermark_settle_commit(struct mg_watermark *watermark, uint64_t start_ts, uint64_t commit_ts,
                                enum mg_watermark_verdict *out);
void mg_watermark_settle_gone(struct mg_watermark *watermark, uint64_t start_ts);

/* A timestamp of the oracle; durable_seq: the buffer's last durable record, read after the timestamp came back. The
 * newest one waits until that record was given. */
void mg_watermark_know(struct mg_watermark *watermark, uint64_t ts, uint64_t durable_seq);

/* W now; never falls. Handing it out is what makes a later commit at or below it an error. */
uint64_t mg_watermark_take(struct mg_watermark *watermark);
/* The same without handing out. */
uint64_t mg_watermark_peek(const struct mg_watermark *watermark);
uint64_t mg_watermark_known(const struct mg_watermark *watermark); /* N */

struct mg_open_txn {
    uint64_t start_ts, known_ts, seq;
    bool doubtful; /* an R came */
};
/* Unresolved prewrites, oldest first; returns how many there are in all. */
uint32_t mg_watermark_open_txns(const struct mg_watermark *watermark, struct mg_open_txn *out, uint32_t max);
/* The lowest seq of an unresolved prewrite; UINT64_MAX when there is none. */
uint64_t mg_watermark_lowest_seq(const struct mg_watermark *watermark);

#endif
