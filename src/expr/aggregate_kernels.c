/* aggregate_kernels.c -- an aggregate's loops for every machine, and the choice among those for better ones.
 * Threads  any; the choice is one atomic pointer.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/cpu.h"

#define MG_KERNELS mg_agg__kernels_plain
#define MG_KERNELS_NAME "plain"
#include "expr/aggregate_kernels.inc"

/* Best first. */
static const struct mg_agg__kernels *const tables[] = {
#if defined(MG_EXPR_AVX2)
    &mg_agg__kernels_avx512,
    &mg_agg__kernels_avx2,
#endif
    &mg_agg__kernels_plain,
};

static const struct mg_agg__kernels *best(void)
{
    size_t i = 0;

    while (!mg_cpu_has(tables[i]->name))
        i++;
    return tables[i];
}

static _Atomic(const struct mg_agg__kernels *) chosen;

const struct mg_agg__kernels *mg_agg__kernels(void)
{
    const struct mg_agg__kernels *kernels = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (!kernels) {
        kernels = best();
        atomic_store_explicit(&chosen, kernels, memory_order_relaxed);
    }
    return kernels;
}

bool mg_agg__kernels_force(const char *name)
{
    if (!name) {
        atomic_store_explicit(&chosen, best(), memory_order_relaxed);
        return true;
    }
    for (size_t i = 0; i < MG_COUNT_OF(tables); i++)
        if (strcmp(tables[i]->name, name) == 0 && mg_cpu_has(name)) {
            atomic_store_explicit(&chosen, tables[i], memory_order_relaxed);
            return true;
        }
    return false;
}
