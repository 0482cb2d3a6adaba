/* settle_rule.h -- what an answer of the store means for a transaction whose end we do not know.
 *
 * R is not proof of rollback: TiDB sends it for every commit that failed, also when it does not know. C may never come.
 * So the store decides:
 *
 *     a write record of the transaction: commit         -> committed at its commit_ts
 *     a write record of the transaction: rollback       -> gone
 *     its lock                                          -> wait
 *     neither, after R was seen                         -> gone: TiDB gave up, and nobody will write it any more
 *     neither, no R, the TiDB that sent P is dead       -> gone
 *     neither, no R, that TiDB lives or may live        -> wait
 *
 * "Neither" is proof only while the store cannot have forgotten: it collects old versions as garbage after ten minutes
 * at the earliest. A version that is older than the transaction shows that it did not for this key. And a store in
 * TiDB's own process (tests) forgets which transaction wrote a row when the process ends uncleanly. Where there is no
 * proof the transaction is lost: its tables must be loaded again.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SETTLE_RULE_H
#define MG_SYNCER_SETTLE_RULE_H

#include "syncer/source/source.h"

enum {
    MG_SETTLE_FORGETS_MS = 8 * 60 * 1000, /* below the store's ten minutes */
    /* a process that began less before a transaction may still not be its sender */
    MG_SETTLE_NEAR_MS = 2000,
    MG_SETTLE_LONG_MS = 60 * 1000, /* longer than a living TiDB stays between prewrite record and lock */
};

/* What is known when the store is asked. */
struct mg_settle_case {
    uint64_t start_ts, floor_ts; /* it commits above floor_ts, if at all (watermark.h) */
    bool doubtful;               /* R was seen, before the store was asked */
    int64_t open_ms;             /* since its P was read */
    int64_t age_ms;              /* since it began, by the source's clock */
    int64_t peer_start_ms;       /* when the TiDB that answers began, unix time to the second; 0 = not known */
};

enum mg_settle_verdict { MG_SETTLE_WAIT, MG_SETTLE_COMMITTED, MG_SETTLE_GONE, MG_SETTLE_LOST };

/* The process that sent the transaction's P is not the one that answers now. */
bool mg_settle_sender_dead(const struct mg_settle_case *c);
enum mg_settle_verdict mg_settle_decide(const struct mg_settle_case *c, const struct mg_settlement *answer);

#endif
