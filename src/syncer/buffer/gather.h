/* gather.h -- when a group of records is due: whether to write at once, or to wait a little for more.
 *
 * A sync costs about the same for one record as for thirty. Where one writer waits for its ack, waiting for more only
 * delays it; where thirty-two do, each sync that takes few of them is a sync too many. The number of writers is learnt:
 * `target` is how many a group waits for. A group that holds more raises it; so does, now and then, one that holds just
 * as many: an attempt. An attempt that fails is repeated after twice as many groups (patience), so a fixed number of
 * writers, one or ten, is delayed by one group in a thousand. When far fewer came than wanted, the target falls
 * halfway: one straggler does not make thirty others forgotten.
 * Threads   owned by one thread at a time; no clock of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_GATHER_H
#define MG_SYNCER_GATHER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MG_GATHER_NS = 2000000,      /* a record waits at most this long for others; */
    MG_GATHER_BUSY_NS = 4000000, /* while many write */
    MG_GATHER_BUSY = 8,          /* many: a target of as much */
    MG_GATHER_TARGET_MAX = 24,
    MG_GATHER_PATIENCE_MAX = 1024,
};

struct mg_gather {
    uint32_t target;   /* 1 .. MG_GATHER_TARGET_MAX */
    uint32_t full;     /* groups in a row that held just as many */
    uint32_t patience; /* as many of these before it rises */
};

/* What is in the queue. */
struct mg_gather_queue {
    uint32_t waiting, lazy;      /* records whose senders wait, and others */
    int64_t waiting_ns, lazy_ns; /* how long the oldest of each has been there */
};

void mg_gather_init(struct mg_gather *gather);
/* How long the queue, which is not empty, may still wait; 0: write it now. */
int64_t mg_gather_wait_ns(const struct mg_gather *gather, const struct mg_gather_queue *queue);
/* A group is written that left the queue like this. */
void mg_gather_learn(struct mg_gather *gather, const struct mg_gather_queue *queue);

#endif
