/* settle_rule.c -- the table of settle_rule.h as code.
 *
 * Dead     the status port tells, cut to the second, when its process began. A transaction that began before is not of
 *          this process. One that began in that second or just behind it may be of either (a TiDB that is started again
 *          at once): there only time helps: no living TiDB takes a minute from P to lock, its retries end after 41 s.
 *          That clocks differ a little does no harm: a TiDB serves nobody in its first second, and "neither" must be
 *          said three times.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/sorter/settle_rule.h"

bool mg_settle_sender_dead(const struct mg_settle_case *c)
{
    int64_t began_ms = (int64_t)(c->start_ts >> 18);
    if (c->peer_start_ms == 0)
        return false;
    if (c->peer_start_ms > began_ms)
        return true;
    return c->peer_start_ms + MG_SETTLE_NEAR_MS >= began_ms && c->open_ms >= MG_SETTLE_LONG_MS;
}

/* Neither lock nor record: is that proof that it never was? */
static bool absence_is_proof(const struct mg_settle_case *c, const struct mg_settlement *answer, bool dead)
{
    if (!answer->versions_trusted && answer->any_version && dead)
        return false;
    return answer->older_kept || c->age_ms < MG_SETTLE_FORGETS_MS;
}

enum mg_settle_verdict mg_settle_decide(const struct mg_settle_case *c, const struct mg_settlement *answer)
{
    bool dead = mg_settle_sender_dead(c);
    switch (answer->fate) {
    case MG_FATE_COMMITTED:
        /* Below its floor is no commit_ts of this transaction. */
        return answer->commit_ts > c->floor_ts ? MG_SETTLE_COMMITTED : MG_SETTLE_LOST;
    case MG_FATE_ROLLED_BACK: return MG_SETTLE_GONE;
    case MG_FATE_ABSENT:
        if (!c->doubtful && !dead)
            return MG_SETTLE_WAIT;
        return absence_is_proof(c, answer, dead) ? MG_SETTLE_GONE : MG_SETTLE_LOST;
    case MG_FATE_LOCKED:
    case MG_FATE_UNKNOWN: break;
    }
    return MG_SETTLE_WAIT;
}
