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

int64_t mg_gather_wait_ns(const struct mg_gather *gather, const struct mg_gather_queue *queue)
{
    int64_t left_ns = INT64_MAX;
    if (queue->waiting >= gather->target)
        return 0;
    if (queue->waiting)
        left_ns = MG_GATHER_NS - queue->waiting_ns;
    if (queue->lazy) {
        int64_t lazy_max_ns = gather->target >= MG_GATHER_BUSY ? MG_GATHER_LAZY_BUSY_NS : MG_GATHER_LAZY_NS;
        left_ns = MG_MIN(left_ns, lazy_max_ns - queue->lazy_ns);
    }
    return MG_MAX(left_ns, (int64_t)0);
}

void mg_gather_learn(struct mg_gather *gather, const struct mg_gather_queue *queue)
{
    mg_assert(gather->target >= 1 && gather->target <= MG_GATHER_TARGET_MAX);
    if (queue->waiting >= gather->target) {
        if (gather->target >= MG_GATHER_BUSY / 2)
            gather->patience = 1; /* these are many, whatever was before */
        if (++gather->full >= gather->patience) {
            gather->target = MG_MIN(gather->target + 1, (uint32_t)MG_GATHER_TARGET_MAX);
            gather->full = 0;
        }
        return;
    }
    if (queue->waiting == 0 || queue->waiting_ns < MG_GATHER_NS)
        return; /* it was written for others' sake: that says nothing about how many would have come */
    gather->full = 0;
    gather->target = (gather->target + queue->waiting) / 2;
    if (queue->waiting == 1)
        gather->patience = MG_MIN(gather->patience * 2, (uint32_t)MG_GATHER_PATIENCE_MAX);
}
