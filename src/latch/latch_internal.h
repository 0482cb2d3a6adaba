/* latch_internal.h -- what the files of this room share: the latch itself, leases, proofs, the cache of old snapshots.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_LATCH_INTERNAL_H
#define MG_LATCH_INTERNAL_H

#include "base/lock.h"
#include "latch/latch.h"

/* ---- tokens (token.c) ---- */

/* What a lease token says. docs/format/ticket.md has the bytes. */
struct mg_latch__token {
    uint64_t store_id, epoch, number;
    int64_t at_most_ms;
    bool shared;
};
enum { MG_LATCH__TOKEN_SIZE = 2 + 4 * 8 + MG_MAC_SIZE };

void mg_latch__token_write(const struct mg_latch *latch, const struct mg_latch__token *token,
                           uint8_t out[MG_LATCH__TOKEN_SIZE]);
/* MG_TICKET_INVALID unless this store made exactly these bytes. */
MG_MUST_CHECK enum mg_code mg_latch__token_read(const struct mg_latch *latch, struct mg_slice bytes,
                                                struct mg_latch__token *out, struct mg_error *err);

/* ---- snapshots that nobody's lease holds (history.c) ---- */

enum { MG_LATCH__HISTORY_MAX = 64 };

struct mg_latch__old {
    uint64_t epoch;
    struct mg_snapshot *snapshot; /* owned reference; NULL: the slot is free, or opening */
    bool opening;                 /* one thread is asking the engine, others wait */
    int64_t keep_until_ms;        /* unix time; afterwards the reaper lets it go */
    uint64_t used;                /* for choosing the least recently used */
};

/* Threads  guarded by lock. The engine is asked with the lock open. */
struct mg_latch__history {
    struct mg_mutex lock; /* MG_RANK_HISTORY: all fields below */
    struct mg_cond changed;
    struct mg_latch__old slots[MG_LATCH__HISTORY_MAX];
    uint32_t slot_count;
    uint64_t clock; /* for `used` */
};

void mg_latch__history_init(struct mg_latch__history *history, uint32_t slot_count);
void mg_latch__history_clear(struct mg_latch *latch);
/* A reference to the snapshot of that epoch. Threads that want the same one wait for one opening. */
MG_MUST_CHECK enum mg_code mg_latch__history_open(struct mg_latch *latch, uint64_t epoch, int64_t keep_until_ms,
                                                  struct mg_snapshot **out, struct mg_error *err);
void mg_latch__history_reap(struct mg_latch *latch, int64_t now_ms);

/* ---- leases (latch.c) ---- */

struct mg_latch__lease {
    uint64_t number;
    uint64_t epoch;
    struct mg_snapshot *snapshot; /* owned reference; NULL: over, remembered so that an old token does not revive it */
    int64_t acquired_ms, expires_ms, at_most_ms, ttl_ms;
    bool shared;
    char holder[64];
    struct mg_latch__lease *next_in_bucket;
    struct mg_latch__lease *older, *newer; /* in the list of the living or of the ended */
};

struct mg_latch__lease_list {
    struct mg_latch__lease *newest, *oldest;
    uint32_t count;
};

/* ---- writers (writer.c) ---- */

/* lives on the stack of a waiting writer */
struct mg_latch__waiter {
    struct mg_latch__waiter *next;
};
struct mg_latch__source {
    char name[MG_SOURCE_NAME_MAX];
    uint64_t generation; /* the newest that this process gave out */
};

/* Owns leases and its thread; borrows engine and clock. */
struct mg_latch {
    struct mg_engine *engine; /* fixed once made, like all fields up to the lock */
    struct mg_clock *clock;
    uint8_t secret[MG_SECRET_SIZE];
    int64_t ttl_ms, age_max_ms;
    uint32_t leases_max;

    struct mg_mutex lock; /* MG_RANK_LATCH: all fields below */
    uint32_t run;         /* random, never 0: high half of the numbers of this process's leases */
    struct mg_latch__lease **buckets;
    uint32_t bucket_mask;
    struct mg_latch__lease_list living, ended;
    struct mg_latch__lease *shared; /* the newest shared one, living */
    uint32_t last_number;
    bool stopping;
    struct mg_cond reap;

    bool staging; /* one writer is between begin and publish or abort */
    struct mg_latch__waiter *first_waiting, *last_waiting;
    struct mg_cond gate;
    struct mg_latch__source sources[MG_SOURCES_MAX];
    uint32_t source_count;

    struct mg_latch__history history; /* has a lock of its own */
    struct mg_thread reaper;
};

/* Let go of leases and old snapshots whose time is over: what the reaper does each second. */
void mg_latch__reap(struct mg_latch *latch);

#endif
