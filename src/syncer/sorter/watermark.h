/* watermark.h -- the arithmetic that decides up to which commit_ts everything is known: a pure module, no clocks, threads or memory of others.
 *
 * TiDB fetches a transaction's commit_ts only after our ack of its prewrite (P). So a P that was acked when N was the greatest timestamp known to
 * be handed out commits above N. W = min(N now, the least remembered N of the unresolved P's). Every transaction with commit_ts <= W has arrived,
 * whole and with its end known; none at or below W can come.
 *
 * Input order is the buffer's: records as they became durable. R (rollback) is not proof: it only marks a P as doubtful; `settle` ends it.
 * Duplicates (a P sent twice after a time-out) are one transaction; a C for an unknown P is a transaction whose P was trimmed or never came.
 * Model-checked over all interleavings: tests/model/watermark_check.c.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_WATERMARK_H
#define MG_SYNCER_WATERMARK_H

#include <stdint.h>

#include "base/error.h"

struct mg_watermark;

/* published: W that the store already shows (0 at the very first start): commits at or below it were applied. */
MG_MUST_CHECK enum mg_code mg_watermark_new(uint64_t published, struct mg_watermark **out, struct mg_error *err);
void mg_watermark_free(struct mg_watermark *watermark);

enum mg_watermark_verdict {
    MG_VERDICT_NEW,       /* P: a transaction to keep. C: its transaction is complete, apply it when W allows */
    MG_VERDICT_DUPLICATE, /* seen already: drop the record */
    MG_VERDICT_APPLIED,   /* commit at or below what was published before this start: drop the transaction */
    MG_VERDICT_DOUBTFUL,  /* R for a known P: settle it */
    MG_VERDICT_ORPHAN,    /* C or R without a P: nothing to apply is known */
};
/* A prewrite became durable; known_ts is N when it was queued (before its ack). */
MG_MUST_CHECK enum mg_code mg_watermark_prewrite(struct mg_watermark *watermark, uint64_t start_ts, uint64_t known_ts,
                                                 uint64_t seq, enum mg_watermark_verdict *out, struct mg_error *err);
/* MG_SOURCE_STOPPED when commit_ts is at or below a W that was handed out after this start: it must never be dropped or applied late. */
MG_MUST_CHECK enum mg_code mg_watermark_commit(struct mg_watermark *watermark, uint64_t start_ts, uint64_t commit_ts,
                                               enum mg_watermark_verdict *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_watermark_rollback(struct mg_watermark *watermark, uint64_t start_ts,
                                                 enum mg_watermark_verdict *out, struct mg_error *err);
/* The store's answer: the transaction is gone. */
void mg_watermark_settle_gone(struct mg_watermark *watermark, uint64_t start_ts);
/* A timestamp that was handed out. N only rises. */
void mg_watermark_know(struct mg_watermark *watermark, uint64_t ts);

/* W now; never falls. Handing it out is what makes a later commit at or below it an error. */
uint64_t mg_watermark_take(struct mg_watermark *watermark);
/* The same without handing out. */
uint64_t mg_watermark_peek(const struct mg_watermark *watermark);

struct mg_open_txn {
    uint64_t start_ts, known_ts, seq;
    bool doubtful; /* an R came */
};
/* Unresolved prewrites, oldest known_ts first; returns how many there are in all. */
uint32_t mg_watermark_open_txns(const struct mg_watermark *watermark, struct mg_open_txn *out, uint32_t max);
/* The lowest seq of an unresolved prewrite; UINT64_MAX when there is none. */
uint64_t mg_watermark_lowest_seq(const struct mg_watermark *watermark);

#endif
