/* budget.h -- accounted memory against one limit.
 *
 * A budget is a named account; accounts form a tree whose root holds the limit of the process. Whoever keeps memory
 * that grows with data (delta, marks, scans, buffers, messages) reserves it here first and gives it back. A reservation
 * that would pass the limit of the account or of one above it fails with MG_NO_MEMORY and changes nothing.
 * A share is an account whose whole limit was taken from its parent at once: for work that must go on while others have
 * used up all the rest. One that grows may take more than its share, of what the parent has left.
 * Threads  all calls from any thread; counters are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_BUDGET_H
#define MG_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Give back what can be missed, about `size_bytes` of it. Any thread. */
typedef void mg_budget_give_way(void *arg, size_t size_bytes);

struct mg_budget {
    const char *name;             /* static text, shown in status and errors */
    struct mg_budget *parent;     /* NULL for the root and for a share; outlives this */
    struct mg_budget *lender;     /* of a share: the account that limit_bytes are reserved in; outlives this */
    size_t limit_bytes;           /* SIZE_MAX: only the parents limit it */
    bool grows;                   /* a share: beyond limit_bytes the lender is asked */
    atomic_size_t used_bytes;     /* within limit_bytes; includes children */
    atomic_size_t more_bytes;     /* of a share that grows: reserved in the lender beyond it */
    atomic_size_t peak_bytes;     /* of used_bytes */
    mg_budget_give_way *give_way; /* of the root: set before others use the tree, cleared when they no longer do */
    void *give_way_arg;
};

void mg_budget_init(struct mg_budget *budget, const char *name, struct mg_budget *parent, size_t limit_bytes);
/* Reserves limit_bytes in parent; what is reserved here goes no further up. MG_NO_MEMORY: they are not there, and
 * budget is a share of 0 bytes. */
MG_MUST_CHECK enum mg_code mg_budget_init_share(struct mg_budget *budget, const char *name, struct mg_budget *parent,
                                                size_t limit_bytes, struct mg_error *err);
/* The same, for a share that grows: limit_bytes are there whatever others do. */
MG_MUST_CHECK enum mg_code mg_budget_init_growing_share(struct mg_budget *budget, const char *name,
                                                        struct mg_budget *parent, size_t limit_bytes,
                                                        struct mg_error *err);
/* Gives the share back, once nothing is reserved in it. A zeroed budget and a second time are allowed. */
void mg_budget_clear_share(struct mg_budget *budget);
/* All or nothing. budget may be NULL: nothing is counted, always MG_OK. */
MG_MUST_CHECK enum mg_code mg_budget_reserve(struct mg_budget *budget, size_t size_bytes, struct mg_error *err);
void mg_budget_release(struct mg_budget *budget, size_t size_bytes);
size_t mg_budget_used(const struct mg_budget *budget);
/* What may still be reserved here, the tightest limit up to the root. */
size_t mg_budget_left(const struct mg_budget *budget);
/* The most that could ever be reserved here. */
size_t mg_budget_limit(const struct mg_budget *budget);
/* The account that all of budget's bytes are part of in the end; NULL for NULL. */
struct mg_budget *mg_budget_root(struct mg_budget *budget);
/* For who found no room and will try again: asks those who hold what can be missed for size_bytes. Takes locks of
 * MG_RANK_CACHE. */
void mg_budget_ask(struct mg_budget *budget, size_t size_bytes);

#endif
