/* aggregate_kernels.c -- an aggregate's loops for every machine, and the choice among those for better ones.
 * Threads  any; the choice is one atomic pointer.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

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

static bool machine_has(const char *name)
{
#if defined(MG_EXPR_AVX2)
    if (strcmp(name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("popcnt");
    if (strcmp(name, "avx2") == 0)
        return __builtin_cpu_supports("avx2");
#endif
    return strcmp(name, "plain") == 0;
}

static const struct mg_agg__kernels *best(void)
{
    size_t i = 0;

    while (!machine_has(tables[i]->name))
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
        if (strcmp(tables[i]->name, name) == 0 && machine_has(name)) {
            atomic_store_explicit(&chosen, tables[i], memory_order_relaxed);
            return true;
        }
    return false;
}
