/* compress_avx512.c -- 64 bytes of values at a time, compiled for AVX-512: nothing here may run before the machine was
 * asked.
 *
 * Compressed in a register and stored whole: the instruction that stores as it compresses is slow on some machines.
 * What is stored too much lies behind the values, and the next store is there. Loads are masked: no byte behind the
 * last row is read.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "base/error.h"
#include "column/compress_kernels.h"

/* Word by word; a word without a bit costs no load. */
#define COMPRESS(name, bytes, load, compress)                                             \
    uint32_t name(const uint64_t *mask, uint32_t row_count, const void *values, void *to) \
    {                                                                                     \
        enum { LANES = 64 / (bytes) };                                                    \
        const uint8_t *from = values;                                                     \
        uint8_t *at = to;                                                                 \
        for (uint32_t first = 0; first < row_count; first += 64) {                        \
            uint64_t word = mask[first / 64];                                             \
            for (uint32_t i = 0; word; i += LANES, word >>= LANES) {                      \
                uint32_t chosen = (uint32_t)word & ((1U << LANES) - 1);                   \
                if (!chosen)                                                              \
                    continue;                                                             \
                __m512i v = load(chosen, from + ((size_t)first + i) * (bytes));           \
                _mm512_storeu_si512(at, compress(chosen, v));                             \
                at += (size_t)(uint32_t)__builtin_popcount(chosen) * (bytes);             \
            }                                                                             \
        }                                                                                 \
        return (uint32_t)((size_t)(at - (uint8_t *)to) / (bytes));                        \
    }

/* Two bits for each of the low four. */
static inline __mmask8 twice(uint32_t bits)
{
    static const uint8_t pairs[16] = {0x00, 0x03, 0x0c, 0x0f, 0x30, 0x33, 0x3c, 0x3f,
                                      0xc0, 0xc3, 0xcc, 0xcf, 0xf0, 0xf3, 0xfc, 0xff};
    return pairs[bits];
}

#define LOAD4(chosen, from) _mm512_maskz_loadu_epi32((__mmask16)(chosen), from)
#define PUT4(chosen, v) _mm512_maskz_compress_epi32((__mmask16)(chosen), v)
#define LOAD8(chosen, from) _mm512_maskz_loadu_epi64((__mmask8)(chosen), from)
#define PUT8(chosen, v) _mm512_maskz_compress_epi64((__mmask8)(chosen), v)
#define LOAD16(chosen, from) _mm512_maskz_loadu_epi64(twice(chosen), from)
#define PUT16(chosen, v) _mm512_maskz_compress_epi64(twice(chosen), v)

COMPRESS(mg_compress__4_avx512, 4, LOAD4, PUT4)
COMPRESS(mg_compress__8_avx512, 8, LOAD8, PUT8)
COMPRESS(mg_compress__16_avx512, 16, LOAD16, PUT16)
