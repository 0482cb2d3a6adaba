/* latch.h -- who sees what, from when to when: leases on snapshots for readers, generations for writers, proofs for
 * tickets.
 *
 * A lease pins one snapshot until it is released or runs out. Its token is its own proof {store, epoch, number, latest
 * end, MAC}: after a restart a token that has not run out revives the lease, as long as the engine can open that epoch.
 * A writer of a source gets a generation above all before it; an older writer is fenced from then on, also after a
 * crash, because taking the generation is an epoch.
 * Threads  all functions from any thread, except mg_latch_free and a writer's, which belong to one thread at a time;
 *          locks: MG_RANK_LATCH and MG_RANK_HISTORY. Expiry is checked on every use and by a thread of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_LATCH_LATCH_H
#define MG_LATCH_LATCH_H

#include "base/clock.h"
#include "engine/engine.h"

struct mg_latch;

enum { MG_MAC_SIZE = 16, MG_LEASE_TOKEN_MAX = 128, MG_SECRET_SIZE = 32 };

struct mg_latch_options {
    struct mg_engine *engine;       /* outlives the latch */
    struct mg_clock *clock;         /* NULL = the machine's */
    uint8_t secret[MG_SECRET_SIZE]; /* key of all MACs; kept by the server in its folder */
    int64_t ttl_ms;                 /* of a lease without one of its own; 0 = 60 s */
    int64_t age_max_ms;             /* nothing is renewed beyond; 0 = 24 h */
    uint32_t leases_max;            /* 0 = 10,000; more: MG_BUSY */
    uint32_t history_max;           /* old epochs kept open at once without a lease's own pin; 0 = 4 */
};

MG_MUST_CHECK enum mg_code mg_latch_new(const struct mg_latch_options *options, struct mg_latch **out,
                                        struct mg_error *err);
/* All writers are closed and no other call is under way. Snapshots handed out live on. NULL is allowed. */
void mg_latch_free(struct mg_latch *latch);

/* ---- readers ---- */

enum mg_choice { MG_CHOICE_LATEST, MG_CHOICE_AS_OF, MG_CHOICE_WAIT, MG_CHOICE_EPOCH, MG_CHOICE_LEASE };
struct mg_snapshot_choice {
    enum mg_choice choice;
    const char *source;    /* AS_OF, WAIT: NULL = the only source that has a watermark, else MG_INVALID */
    uint64_t ts;           /* AS_OF, WAIT */
    uint64_t epoch;        /* EPOCH */
    struct mg_slice token; /* LEASE */
    int64_t wait_ms;       /* WAIT: MG_SNAPSHOT_NOT_YET afterwards */
    /* LATEST, WAIT: a lease that nobody asked for by name; readers of the same epoch stand on one. Releasing it does
     * nothing: it runs out. */
    bool share;
};

struct mg_lease {
    uint64_t number;
    uint64_t epoch;
    int64_t expires_ms; /* unix time */
    int64_t expires_at_most_ms;
    uint8_t token[MG_LEASE_TOKEN_MAX];
    uint32_t token_size;
};

/* A new lease, and a reference to its snapshot if out_snapshot is not NULL. CHOICE_LEASE makes no new lease: it answers
 * with that one. */
MG_MUST_CHECK enum mg_code mg_latch_acquire(struct mg_latch *latch, const struct mg_snapshot_choice *choice,
                                            const char *holder, int64_t ttl_ms, struct mg_lease *out,
                                            struct mg_snapshot **out_snapshot, struct mg_error *err);
/* Its end becomes now + ttl, at most expires_at_most. MG_SNAPSHOT_EXPIRED when it ran out or was released;
 * MG_TICKET_INVALID for a token that this store did not make. */
MG_MUST_CHECK enum mg_code mg_latch_renew(struct mg_latch *latch, struct mg_slice token, int64_t ttl_ms,
                                          struct mg_lease *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_latch_release(struct mg_latch *latch, struct mg_slice token, struct mg_error *err);

/* The snapshot that a ticket stands for. lease: the number in the ticket. While that lease is known it decides (alive:
 * its snapshot; over: MG_SNAPSHOT_EXPIRED); after a restart the ticket's own expires_ms decides and the epoch is opened
 * from disk. */
MG_MUST_CHECK enum mg_code mg_latch_open(struct mg_latch *latch, uint64_t lease, uint64_t epoch, int64_t expires_ms,
                                         struct mg_snapshot **out, struct mg_error *err);

/* A stream under this lease is running or has just ended: a shared lease's end becomes now + its ttl. Nothing on any
 * other. */
void mg_latch_keep(struct mg_latch *latch, uint64_t lease);

/* MAC over body with the latch's secret: HMAC-SHA256, first 16 bytes. */
void mg_latch_sign(const struct mg_latch *latch, struct mg_slice body, uint8_t out_mac[MG_MAC_SIZE]);
bool mg_latch_verify(const struct mg_latch *latch, struct mg_slice body, struct mg_slice mac); /* constant time */

struct mg_lease_info {
    uint64_t number, epoch;
    int64_t expires_ms, acquired_ms;
    char holder[64];
    bool shared;
};
/* The newest up to max leases; returns how many there are in all. */
uint32_t mg_latch_list(struct mg_latch *latch, struct mg_lease_info *out, uint32_t max);

/* ---- writers ---- */

struct mg_latch_writer; /* owned by one thread at a time */

/* Become the writer of a source: publishes an epoch that holds the new generation. The writer before it is fenced. */
MG_MUST_CHECK enum mg_code mg_latch_writer_open(struct mg_latch *latch, const char *source,
                                                struct mg_latch_writer **out, struct mg_source_position *out_position,
                                                struct mg_error *err);
void mg_latch_writer_close(struct mg_latch_writer *writer); /* aborts what is staged; NULL is allowed */
/* Begin the next epoch; waits for other sources' writers up to timeout_ms (MG_BUSY). The epoch goes to the engine's
 * change_schema, put. MG_WRITER_FENCED when a newer writer took the source. */
MG_MUST_CHECK enum mg_code mg_latch_writer_begin(struct mg_latch_writer *writer, int64_t timeout_ms,
                                                 struct mg_epoch **out, struct mg_error *err);
/* As the engine's publish: it may return before the epoch is visible; the engine's `wait` tells. */
MG_MUST_CHECK enum mg_code mg_latch_writer_publish(struct mg_latch_writer *writer, uint64_t watermark,
                                                   struct mg_slice position, uint64_t *out_epoch, struct mg_error *err);
void mg_latch_writer_abort(struct mg_latch_writer *writer);
uint64_t mg_latch_writer_generation(const struct mg_latch_writer *writer);

#endif
