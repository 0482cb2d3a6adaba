/* gather.c -- learns how many records a group is worth waiting for.
 *
 * Threads  as gather.h says.
 * Rejected a fixed delay (a lone writer pays it for nothing); the number of connections (TiDB sends all over one).
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/buffer/gather.h"

#include "base/error.h"

void mg_gather_init(struct mg_gather *gather) { *gather = (struct mg_gather){.target = 1, .patience = 1}; }

int64_t mg_gather_wait_ns(const struct mg_gather *gather, uint32_t waiting, int64_t age_ns)
{
    return waiting >= gather->target || age_ns >= MG_GATHER_NS ? 0 : MG_GATHER_NS - age_ns;
}

void mg_gather_learn(struct mg_gather *gather, uint32_t waiting)
{
    mg_assert(gather->target >= 1 && gather->target <= MG_GATHER_TARGET_MAX);
    if (waiting == 0)
        return; /* nobody waited: it says nothing about how many writers there are */
    if (waiting < gather->target) {
        gather->target = waiting;
        gather->full = 0;
        gather->patience = MG_MIN(gather->patience * 2, (uint32_t)MG_GATHER_PATIENCE_MAX);
        return;
    }
    /* Twice as many at once: this is another load than the one before. */
    if (waiting >= 2 * gather->target)
        gather->patience = 1;
    if (++gather->full >= gather->patience) {
        gather->target = MG_MIN(gather->target + 1, (uint32_t)MG_GATHER_TARGET_MAX);
        gather->full = 0;
    }
}
