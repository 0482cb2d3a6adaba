/* gather.h -- when a group of records is due: whether to write at once, or to wait a little for more.
 *
 * A sync costs about the same for one record as for thirty. Where one writer waits for its ack, waiting for more only
 * delays it; where thirty-two do, each sync that takes few of them is a sync too many. The number of writers is learnt: `target` is
 * how many a group waits for. It rises while groups fill before their time is over, and falls to what came when one did not.
 * After it fell it rises again only after `patience` full groups, doubled each time: a lone writer is delayed by one group
 * in a thousand.
 * Threads   owned by one thread at a time; no clock of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_GATHER_H
#define MG_SYNCER_GATHER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MG_GATHER_NS = 2000000, /* a record waits at most this long for others: measured, docs/design/buffer.md */
    MG_GATHER_TARGET_MAX = 16,
    MG_GATHER_PATIENCE_MAX = 1024,
};

struct mg_gather {
    uint32_t target;   /* 1 .. MG_GATHER_TARGET_MAX */
    uint32_t full;     /* groups in a row that reached it */
    uint32_t patience; /* full groups before it rises */
};

void mg_gather_init(struct mg_gather *gather);
/* How long the queue may still wait; 0: write it now. waiting: records whose senders wait; age_ns: of the oldest record. */
int64_t mg_gather_wait_ns(const struct mg_gather *gather, uint32_t waiting, int64_t age_ns);
/* A group with that many waiting senders is written. */
void mg_gather_learn(struct mg_gather *gather, uint32_t waiting);

#endif
