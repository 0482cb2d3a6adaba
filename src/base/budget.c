/* budget.c -- reserves from an account and every account above it, all or nothing.
 * Threads  atomics only: a failing reservation may be seen by others for a moment before it is undone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/budget.h"

void mg_budget_init(struct mg_budget *budget, const char *name, struct mg_budget *parent, size_t limit_bytes)
{
    *budget = (struct mg_budget){.name = name, .parent = parent, .limit_bytes = limit_bytes};
}

enum mg_code mg_budget_init_share(struct mg_budget *budget, const char *name, struct mg_budget *parent,
                                  size_t limit_bytes, struct mg_error *err)
{
    mg_budget_init(budget, name, NULL, 0);
    MG_TRY(mg_budget_reserve(parent, limit_bytes, err));
    budget->lender = parent;
    budget->limit_bytes = limit_bytes;
    return MG_OK;
}

enum mg_code mg_budget_init_growing_share(struct mg_budget *budget, const char *name, struct mg_budget *parent,
                                          size_t limit_bytes, struct mg_error *err)
{
    enum mg_code code = mg_budget_init_share(budget, name, parent, limit_bytes, err);
    budget->grows = code == MG_OK;
    return code;
}

void mg_budget_clear_share(struct mg_budget *budget)
{
    mg_assert(mg_budget_used(budget) == 0);
    mg_budget_release(budget->lender, budget->limit_bytes);
    budget->lender = NULL;
    budget->grows = false;
    budget->limit_bytes = 0;
}

/* Add to one account only. */
static bool take(struct mg_budget *budget, size_t size_bytes)
{
    size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
    do {
        if (size_bytes > budget->limit_bytes || used > budget->limit_bytes - size_bytes)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used_bytes, &used, used + size_bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    used += size_bytes;
    size_t peak = atomic_load_explicit(&budget->peak_bytes, memory_order_relaxed);
    while (used > peak && !atomic_compare_exchange_weak_explicit(&budget->peak_bytes, &peak, used, memory_order_relaxed,
                                                                 memory_order_relaxed))
        ;
    return true;
}

static void give_back(struct mg_budget *budget, size_t size_bytes)
{
    size_t before = atomic_fetch_sub_explicit(&budget->used_bytes, size_bytes, memory_order_relaxed);
    mg_assert(before >= size_bytes);
}

static enum mg_code reserve(struct mg_budget *budget, const char *asker, size_t size_bytes, struct mg_error *err)
{
    if (!budget)
        return MG_OK;
    if (take(budget, size_bytes)) {
        enum mg_code code = reserve(budget->parent, asker, size_bytes, err);
        if (code != MG_OK)
            give_back(budget, size_bytes);
        return code;
    }
    if (!budget->grows)
        return mg_fail(err, MG_NO_MEMORY, "%zu bytes more for %s would pass the memory limit of %s: %zu of %zu used",
                       size_bytes, asker, budget->name, mg_budget_used(budget), budget->limit_bytes);
    MG_TRY(reserve(budget->lender, asker, size_bytes, err));
    atomic_fetch_add_explicit(&budget->more_bytes, size_bytes, memory_order_relaxed);
    return MG_OK;
}

enum mg_code mg_budget_reserve(struct mg_budget *budget, size_t size_bytes, struct mg_error *err)
{
    return reserve(budget, budget ? budget->name : "", size_bytes, err);
}

/* What the lender gave goes back first; returns how much that was. Which of the reservations it was for does not
 * matter: the sum of both counters is the sum of all reservations. */
static size_t return_to_lender(struct mg_budget *budget, size_t size_bytes)
{
    size_t more = atomic_load_explicit(&budget->more_bytes, memory_order_relaxed), back;
    do
        back = MG_MIN(more, size_bytes);
    while (!atomic_compare_exchange_weak_explicit(&budget->more_bytes, &more, more - back, memory_order_relaxed,
                                                  memory_order_relaxed));
    mg_budget_release(budget->lender, back);
    return back;
}

void mg_budget_release(struct mg_budget *budget, size_t size_bytes)
{
    for (; budget; budget = budget->parent) {
        if (budget->grows)
            size_bytes -= return_to_lender(budget, size_bytes);
        give_back(budget, size_bytes);
    }
}

size_t mg_budget_used(const struct mg_budget *budget)
{
    return budget ? atomic_load_explicit(&budget->used_bytes, memory_order_relaxed) +
                        atomic_load_explicit(&budget->more_bytes, memory_order_relaxed)
                  : 0;
}

size_t mg_budget_left(const struct mg_budget *budget)
{
    size_t left = SIZE_MAX;
    for (; budget; budget = budget->parent) {
        size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
        size_t here = budget->limit_bytes > used ? budget->limit_bytes - used : 0;
        left = MG_MIN(left, budget->grows ? MG_MAX(here, mg_budget_left(budget->lender)) : here);
    }
    return left;
}

size_t mg_budget_limit(const struct mg_budget *budget)
{
    size_t limit = SIZE_MAX;
    for (; budget; budget = budget->parent)
        limit = MG_MIN(limit, budget->grows ? mg_budget_limit(budget->lender) : budget->limit_bytes);
    return limit;
}

struct mg_budget *mg_budget_root(struct mg_budget *budget)
{
    while (budget && (budget->parent || budget->lender))
        budget = budget->parent ? budget->parent : budget->lender;
    return budget;
}

void mg_budget_ask(struct mg_budget *budget, size_t size_bytes)
{
    struct mg_budget *root = mg_budget_root(budget);
    if (root && root->give_way)
        root->give_way(root->give_way_arg, size_bytes);
}
