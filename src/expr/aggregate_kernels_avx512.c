/* aggregate_kernels_avx512.c -- an aggregate's loops again, compiled for AVX-512 (F, BW, DQ, VL): nothing here may run
 * before the machine was asked.
 *
 * Rows that count are this machine's own masks: eight rows a step, and a group's sum is an addition under its mask, so
 * that few groups need no order of rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "expr/aggregate_kernels.h"

/* Bits of the 8 rows from `first` on; rows beyond count are not there. */
static inline __mmask8 eight(const uint64_t *rows, uint32_t first, uint32_t count)
{
    uint32_t left = count - first;
    __mmask8 all = left < 8 ? (__mmask8)((1u << left) - 1) : (__mmask8)0xff;

    return rows ? all & (__mmask8)(rows[first / 64] >> first % 64) : all;
}

static bool narrow(const void *decimals, uint32_t count, int64_t *to)
{
    const __m512i evens = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0),
                  odds = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    const any_int64 *x = decimals;
    __m512i differs = _mm512_setzero_si512();
    int64_t rest = 0;
    uint32_t i = 0;

    for (; i + 8 <= count; i += 8) {
        __m512i a = _mm512_loadu_si512(x + 2 * (size_t)i), b = _mm512_loadu_si512(x + 2 * (size_t)i + 8);
        __m512i low = _mm512_permutex2var_epi64(a, evens, b), high = _mm512_permutex2var_epi64(a, odds, b);
        differs = _mm512_or_si512(differs, _mm512_xor_si512(high, _mm512_srai_epi64(low, 63)));
        _mm512_storeu_si512(to + i, low);
    }
    for (; i < count; i++) {
        to[i] = x[2 * (size_t)i];
        rest |= x[2 * (size_t)i + 1] ^ to[i] >> 63;
    }
    return rest == 0 && _mm512_test_epi64_mask(differs, differs) == 0;
}

static void bounds(const any_int64 *x, uint32_t count, const uint64_t *rows, int64_t *low, int64_t *high)
{
    __m512i least = _mm512_set1_epi64(INT64_MAX), most = _mm512_set1_epi64(INT64_MIN);

    for (uint32_t i = 0; i < count; i += 8) {
        __mmask8 mask = eight(rows, i, count);
        __m512i v = _mm512_maskz_loadu_epi64(mask, x + i);
        least = _mm512_mask_min_epi64(least, mask, least, v);
        most = _mm512_mask_max_epi64(most, mask, most, v);
    }
    *low = _mm512_reduce_min_epi64(least);
    *high = _mm512_reduce_max_epi64(most);
}

static int64_t sum(const any_int64 *x, uint32_t count, const uint64_t *rows)
{
    __m512i a = _mm512_setzero_si512(), b = a;
    uint32_t i = 0;

    for (; !rows && i + 16 <= count; i += 16) {
        a = _mm512_add_epi64(a, _mm512_loadu_si512(x + i));
        b = _mm512_add_epi64(b, _mm512_loadu_si512(x + i + 8));
    }
    for (; i < count; i += 8)
        a = _mm512_add_epi64(a, _mm512_maskz_loadu_epi64(eight(rows, i, count), x + i));
    return _mm512_reduce_add_epi64(_mm512_add_epi64(a, b));
}

/* The halves apart: x = high * 2^32 + low. */
static mg_int128 sum_long(const any_int64 *x, uint32_t count, const uint64_t *rows)
{
    __m512i lows = _mm512_setzero_si512(), highs = lows, half = _mm512_set1_epi64(UINT32_MAX);

    for (uint32_t i = 0; i < count; i += 8) {
        __m512i v = _mm512_maskz_loadu_epi64(eight(rows, i, count), x + i);
        lows = _mm512_add_epi64(lows, _mm512_and_si512(v, half));
        highs = _mm512_add_epi64(highs, _mm512_srai_epi64(v, 32));
    }
    return (mg_int128)_mm512_reduce_add_epi64(highs) * ((mg_int128)1 << 32) + _mm512_reduce_add_epi64(lows);
}

/* Four groups at a time: a value is loaded once for them. */
static void sum_four(const any_int64 *x, uint32_t count, const uint64_t (*rows)[16], int64_t *sums)
{
    __m512i totals[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                         _mm512_setzero_si512()};

    for (uint32_t first = 0; first < count; first += 64) {
        uint64_t words[4] = {rows[0][first / 64], rows[1][first / 64], rows[2][first / 64], rows[3][first / 64]};
        uint32_t end = count - first < 64 ? count - first : 64;
        for (uint32_t i = 0; i < end; i += 8) {
            __mmask8 all = eight(NULL, first + i, count);
            __m512i v = _mm512_maskz_loadu_epi64(all, x + first + i);
            for (uint32_t g = 0; g < 4; g++)
                totals[g] = _mm512_mask_add_epi64(totals[g], (__mmask8)(words[g] >> i), totals[g], v);
        }
    }
    for (uint32_t g = 0; g < 4; g++)
        sums[g] = _mm512_reduce_add_epi64(totals[g]);
}

static void sum_groups(const any_int64 *x, uint32_t count, const uint64_t (*rows)[16], uint32_t group_count,
                       int64_t *sums)
{
    for (uint32_t g = 0; g < group_count; g += 4)
        sum_four(x, count, rows + g, sums + g);
}

static void split_groups(const uint32_t *group, uint32_t count, const uint64_t *rows, uint32_t group_count,
                         uint64_t (*out)[16], uint32_t *counts)
{
    for (uint32_t g = 0; g < 8; g++)
        counts[g] = 0;
    for (uint32_t first = 0; first < count; first += 64) {
        uint64_t words[8] = {0};
        uint32_t end = count - first < 64 ? count - first : 64;
        for (uint32_t i = 0; i < end; i += 16) {
            __mmask16 all = end - i < 16 ? (__mmask16)((1u << (end - i)) - 1) : (__mmask16)0xffff;
            __m512i v = _mm512_maskz_loadu_epi32(all, group + first + i);
            for (uint32_t g = 0; g < group_count; g++)
                words[g] |= (uint64_t)_mm512_mask_cmpeq_epi32_mask(all, v, _mm512_set1_epi32((int)g)) << i;
        }
        for (uint32_t g = 0; g < 8; g++) {
            uint64_t word = rows ? words[g] & rows[first / 64] : words[g];
            out[g][first / 64] = word;
            counts[g] += (uint32_t)__builtin_popcountll(word);
        }
    }
}

#define MG_KERNELS_OWN_SUMS
#define MG_KERNELS mg_agg__kernels_avx512
#define MG_KERNELS_NAME "avx512"
#include "expr/aggregate_kernels.inc"
