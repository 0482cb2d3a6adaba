/* bits.h -- runs of validity bits at any place: counted, copied, set. Bit i is bit i % 8 of byte i / 8.
 *
 * Reads touch only the bytes that hold the bits asked for; stores, too.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_BITS_H
#define MG_COLUMN_BITS_H

#include "base/bytes.h"
#include "base/error.h"

static inline size_t mg_bits_bytes(uint32_t bit_count) { return ((size_t)bit_count + 7) / 8; }
static inline uint64_t mg_pad8(uint64_t size) { return (size + 7) & ~UINT64_C(7); }
/* The lowest bit_count bits, 0 to 64. */
static inline uint64_t mg_bits_mask(uint32_t bit_count)
{
    return bit_count >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bit_count) - 1;
}

/* count bits (1 to 64) from bit first on, in the low bits of the result; the others are 0. */
static inline uint64_t mg_bits_load(const uint8_t *bits, uint32_t first, uint32_t count)
{
    const uint8_t *at = bits + (first >> 3);
    uint32_t shift = first & 7, bytes = (shift + count + 7) / 8;
    uint64_t word = 0;

    memcpy(&word, at, bytes < 8 ? bytes : 8);
    word >>= shift;
    if (bytes == 9)
        word |= (uint64_t)at[8] << (64 - shift);
    return word & mg_bits_mask(count);
}

/* The low count bits (1 to 64) of word to bit first on; the other bits there stay. */
static inline void mg_bits_store(uint8_t *bits, uint32_t first, uint64_t word, uint32_t count)
{
    uint8_t *at = bits + (first >> 3);
    uint32_t shift = first & 7, bytes = (shift + count + 7) / 8;
    uint64_t mask = mg_bits_mask(count), old = 0;

    word &= mask;
    memcpy(&old, at, bytes < 8 ? bytes : 8);
    old = (old & ~(mask << shift)) | word << shift;
    memcpy(at, &old, bytes < 8 ? bytes : 8);
    if (bytes == 9)
        at[8] = (uint8_t)((at[8] & ~(mask >> (64 - shift))) | word >> (64 - shift));
}

/* How many of count bits from bit first on are set. */
static inline uint32_t mg_bits_count(const uint8_t *bits, uint32_t first, uint32_t count)
{
    uint32_t set = 0;

    for (uint32_t done = 0; done < count; done += 64)
        set += (uint32_t)__builtin_popcountll(mg_bits_load(bits, first + done, MG_MIN(count - done, 64)));
    return set;
}

static inline void mg_bits_copy(uint8_t *to, uint32_t to_first, const uint8_t *from, uint32_t from_first,
                                uint32_t count)
{
    for (uint32_t done = 0; done < count; done += 64) {
        uint32_t n = MG_MIN(count - done, 64);
        mg_bits_store(to, to_first + done, mg_bits_load(from, from_first + done, n), n);
    }
}

static inline void mg_bits_set(uint8_t *bits, uint32_t first, uint32_t count)
{
    for (uint32_t done = 0; done < count; done += 64)
        mg_bits_store(bits, first + done, ~UINT64_C(0), MG_MIN(count - done, 64));
}

#endif
