/* gather.c -- learns how many records a group is worth waiting for.
 *
 * Threads  as gather.h says.
 * Rejected a fixed delay (a lone writer pays it for nothing); the number of connections (TiDB sends all over one); a
 * target that
 *          falls to what came (one straggler among thirty-two then costs a hundred small groups).
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/buffer/gather.h"

#include "base/error.h"

void mg_gather_init(struct mg_gather *gather) { *gather = (struct mg_gather){.target = 1, .patience = 1}; }

static int64_t longest_wait_ns(const struct mg_gather *gather)
{
    return gather->target >= MG_GATHER_BUSY ? MG_GATHER_BUSY_NS : MG_GATHER_NS;
}

int64_t mg_gather_wait_ns(const struct mg_gather *gather, const struct mg_gather_queue *queue)
{
    int64_t oldest_ns = MG_MAX(queue->waiting ? queue->waiting_ns : 0, queue->lazy ? queue->lazy_ns : 0);
    if (queue->waiting >= gather->target)
        return 0;
    return MG_MAX(longest_wait_ns(gather) - oldest_ns, (int64_t)0);
}

static void raise_target(struct mg_gather *gather)
{
    gather->target = MG_MIN(gather->target + 1, (uint32_t)MG_GATHER_TARGET_MAX);
    gather->full = 0;
}

void mg_gather_learn(struct mg_gather *gather, const struct mg_gather_queue *queue)
{
    uint32_t waiting = queue->waiting;
    mg_assert(gather->target >= 1 && gather->target <= MG_GATHER_TARGET_MAX);
    if (waiting > gather->target) {
        gather->patience = 1;
        raise_target(gather);
    } else if (waiting == gather->target) {
        if (++gather->full >= gather->patience)
            raise_target(gather);
    } else if (waiting && queue->waiting_ns >= longest_wait_ns(gather)) {
        /* They waited their time: no more came. Else it was written for others' sake, and says nothing. */
        if (waiting == gather->target - 1)
            gather->patience = MG_MIN(gather->patience * 2, (uint32_t)MG_GATHER_PATIENCE_MAX);
        gather->target = (gather->target + waiting) / 2;
        gather->full = 0;
    }
}
