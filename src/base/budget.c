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

void mg_budget_clear_share(struct mg_budget *budget)
{
    mg_assert(mg_budget_used(budget) == 0);
    mg_budget_release(budget->lender, budget->limit_bytes);
    budget->lender = NULL;
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

enum mg_code mg_budget_reserve(struct mg_budget *budget, size_t size_bytes, struct mg_error *err)
{
    for (struct mg_budget *b = budget; b; b = b->parent) {
        if (take(b, size_bytes))
            continue;
        size_t used = mg_budget_used(b);
        for (struct mg_budget *undo = budget; undo != b; undo = undo->parent)
            give_back(undo, size_bytes);
        return mg_fail(err, MG_NO_MEMORY, "%zu bytes more for %s would pass the memory limit of %s: %zu of %zu used",
                       size_bytes, budget->name, b->name, used, b->limit_bytes);
    }
    return MG_OK;
}

void mg_budget_release(struct mg_budget *budget, size_t size_bytes)
{
    for (; budget; budget = budget->parent)
        give_back(budget, size_bytes);
}

size_t mg_budget_used(const struct mg_budget *budget)
{
    return budget ? atomic_load_explicit(&budget->used_bytes, memory_order_relaxed) : 0;
}

size_t mg_budget_left(const struct mg_budget *budget)
{
    size_t left = SIZE_MAX;
    for (; budget; budget = budget->parent) {
        size_t used = mg_budget_used(budget);
        left = MG_MIN(left, budget->limit_bytes > used ? budget->limit_bytes - used : 0);
    }
    return left;
}
