/* part_filter.c -- the filter of keys: a Bloom filter whose keys have all their bits in one line of 64 bytes.
 *
 * A look-up costs one cache miss. A line is eight words; a key sets one bit in each, so that setting and testing are
 * eight independent shifts. With 10 bits a key about 1 key in 90 that is not there passes.
 * Format   docs/format/part.md, "Filter".
 * Threads  pure functions; a filter that is being filled belongs to one thread.
 * Source   Putze, Sanders, Singler 2007 (blocked); a bit a word as in Parquet's split block filter, here of 64 bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/part_internal.h"

enum { AHEAD = 16 }; /* lines that are fetched before they are written */

uint64_t mg_part__filter_lines(uint64_t keys)
{
    uint64_t line_bits = MG_PART__LINE_BYTES * 8;

    keys = MG_MIN(MG_MAX(keys, 1), (uint64_t)UINT32_MAX); /* more rows no part has */
    return (keys * MG_PART__FILTER_BITS + line_bits - 1) / line_bits;
}

static uint64_t *line_of(uint64_t *lines, uint64_t line_count, uint64_t hash)
{
    return lines + mg_part__filter_line(line_count, hash) * MG_PART__LINE_WORDS;
}

void mg_part__filter_add(uint64_t *lines, uint64_t line_count, const uint64_t *hashes, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        uint64_t *line = line_of(lines, line_count, hashes[k]), bits = mg_part__filter_bits(hashes[k]);
        if (k + AHEAD < count)
            __builtin_prefetch(line_of(lines, line_count, hashes[k + AHEAD]), 1);
        for (int i = 0; i < MG_PART__LINE_WORDS; i++)
            line[i] |= UINT64_C(1) << (bits >> (6 * i) & 63);
    }
}
