/* sort.c -- numbers in order: a radix sort by bytes that skips the bytes in which all are the same.
 *
 * Threads  pure function.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { INSERTION_MAX = 32 };

static void insertion_sort(uint64_t *items, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint64_t v = items[i];
        uint32_t j = i;
        for (; j > 0 && items[j - 1] > v; j--)
            items[j] = items[j - 1];
        items[j] = v;
    }
}

void mg_sort__u64(uint64_t *items, uint64_t *scratch, uint32_t count)
{
    if (count <= INSERTION_MAX) {
        insertion_sort(items, count);
        return;
    }
    uint64_t differs = 0;
    for (uint32_t i = 1; i < count; i++)
        differs |= items[i] ^ items[0];
    uint64_t *from = items, *to = scratch;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (!(differs >> shift & 0xff))
            continue;
        uint32_t starts[257] = {0};
        for (uint32_t i = 0; i < count; i++)
            starts[(from[i] >> shift & 0xff) + 1]++;
        for (unsigned b = 0; b < 256; b++)
            starts[b + 1] += starts[b];
        for (uint32_t i = 0; i < count; i++)
            to[starts[from[i] >> shift & 0xff]++] = from[i];
        uint64_t *other = from;
        from = to;
        to = other;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
}
