/* block_kernels_avx2.c -- the loops over a vector again, compiled with -mavx2: nothing here may run before the machine
 * was asked.
 *
 * Compilers do not find the way from comparisons to bits: written out.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdint.h>

static inline __m256i load(const void *at, uint32_t index) { return _mm256_loadu_si256((const __m256i *)at + index); }

static inline uint64_t word_uint8_t(const uint8_t *from, uint8_t low, uint8_t span)
{
    __m256i lows = _mm256_set1_epi8((char)low), spans = _mm256_set1_epi8((char)span);
    uint64_t word = 0;

    for (uint32_t i = 0; i < 2; i++) {
        __m256i d = _mm256_sub_epi8(load(from, i), lows);
        __m256i within = _mm256_cmpeq_epi8(_mm256_min_epu8(d, spans), d);
        word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(within) << 32 * i;
    }
    return word;
}

static inline __m256i within_16(const uint16_t *from, uint32_t index, __m256i lows, __m256i spans)
{
    __m256i d = _mm256_sub_epi16(load(from, index), lows);

    return _mm256_cmpeq_epi16(_mm256_min_epu16(d, spans), d);
}

static inline uint64_t word_uint16_t(const uint16_t *from, uint16_t low, uint16_t span)
{
    __m256i lows = _mm256_set1_epi16((short)low), spans = _mm256_set1_epi16((short)span);
    uint64_t word = 0;

    for (uint32_t i = 0; i < 2; i++) {
        __m256i both = _mm256_packs_epi16(within_16(from, 2 * i, lows, spans), within_16(from, 2 * i + 1, lows, spans));
        /* packs works on halves of 128 bits: put them in order. */
        both = _mm256_permute4x64_epi64(both, 0xd8);
        word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(both) << 32 * i;
    }
    return word;
}

static inline uint64_t word_uint32_t(const uint32_t *from, uint32_t low, uint32_t span)
{
    __m256i lows = _mm256_set1_epi32((int)low), spans = _mm256_set1_epi32((int)span);
    uint64_t word = 0;

    for (uint32_t i = 0; i < 8; i++) {
        __m256i d = _mm256_sub_epi32(load(from, i), lows);
        __m256i within = _mm256_cmpeq_epi32(_mm256_min_epu32(d, spans), d);
        word |= (uint64_t)(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(within)) << 8 * i;
    }
    return word;
}

static inline uint64_t word_uint64_t(const uint64_t *from, uint64_t low, uint64_t span)
{
    /* Comparisons are signed: both sides move down by 2^63. */
    __m256i turn = _mm256_set1_epi64x(INT64_MIN), lows = _mm256_set1_epi64x((long long)low);
    __m256i spans = _mm256_xor_si256(_mm256_set1_epi64x((long long)span), turn);
    uint64_t beyond = 0;

    for (uint32_t i = 0; i < 16; i++) {
        __m256i d = _mm256_xor_si256(_mm256_sub_epi64(load(from, i), lows), turn);
        beyond |= (uint64_t)(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(d, spans))) << 4 * i;
    }
    return ~beyond;
}

#define MG_KERNELS_OWN_WORDS
#define MG_KERNELS mg_block__kernels_avx2
#define MG_KERNELS_NAME "avx2"
#include "part/block_kernels.inc"
