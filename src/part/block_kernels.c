/* block_kernels.c -- the loops over a vector for every machine, the choice among those for better ones, and packing.
 * Threads  any; the choice is one atomic pointer.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/cpu.h"

#define MG_KERNELS mg_block__kernels_plain
#define MG_KERNELS_NAME "plain"
#include "part/block_kernels.inc"

/* Best first. */
static const struct mg_block__kernels *const tables[] = {
#if defined(MG_PART_X86)
    &mg_block__kernels_avx512,
    &mg_block__kernels_avx2,
#endif
    &mg_block__kernels_plain,
};

static const struct mg_block__kernels *best(void)
{
    size_t i = 0;

    while (!mg_cpu_has(tables[i]->name))
        i++;
    return tables[i];
}

static _Atomic(const struct mg_block__kernels *) chosen;

const struct mg_block__kernels *mg_block__kernels(void)
{
    const struct mg_block__kernels *kernels = atomic_load_explicit(&chosen, memory_order_relaxed);

    if (!kernels) {
        kernels = best();
        atomic_store_explicit(&chosen, kernels, memory_order_relaxed);
    }
    return kernels;
}

const char *mg_block_kernels(void) { return mg_block__kernels()->name; }

bool mg_block_kernels_force(const char *name)
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

/* The numbers in lanes of that size. */
static void narrow(const uint64_t *numbers, uint32_t count, uint32_t lane_bytes, struct mg_block__lanes *out)
{
#define NARROW(type)                     \
    for (uint32_t i = 0; i < count; i++) \
    ((type *)(void *)out->bytes)[i] = (type)numbers[i]
    switch (lane_bytes) {
    case 1: NARROW(uint8_t); break;
    case 2: NARROW(uint16_t); break;
    case 4: NARROW(uint32_t); break;
    default: NARROW(uint64_t); break;
    }
#undef NARROW
}

void mg_pack__put(const uint64_t *numbers, uint32_t count, uint32_t width, uint8_t *out)
{
    enum { WORD = MG_BLOCK__WORD / 8 };
    uint32_t lane_bytes = mg_pack__lane_bytes(width), lane_bits = lane_bytes * 8;
    uint32_t lanes = MG_BLOCK__WORD / lane_bytes, steps = (count + lanes - 1) / lanes;
    struct mg_block__lanes all;

    memset(all.bytes, 0, (size_t)steps * MG_BLOCK__WORD);
    narrow(numbers, count, lane_bytes, &all);
    memset(out, 0, mg_pack__bytes(count, width));
    for (uint32_t step = 0; step < steps && width; step++) {
        uint32_t bit = step * width, shift = bit % lane_bits, here = MG_MIN(width, lane_bits - shift);
        const uint64_t *from = (const uint64_t *)(const void *)all.bytes + (size_t)step * WORD;
        uint64_t *to = (uint64_t *)(void *)(out + (size_t)(bit / lane_bits) * MG_BLOCK__WORD);
        uint64_t mask = repeat(mg_bits_mask(here), lane_bits), rest = repeat(mg_bits_mask(width - here), lane_bits);
        for (uint32_t i = 0; i < WORD; i++)
            to[i] |= (from[i] & mask) << shift;
        for (uint32_t i = 0; i < WORD && here < width; i++)
            to[i + WORD] |= from[i] >> here & rest;
    }
}
