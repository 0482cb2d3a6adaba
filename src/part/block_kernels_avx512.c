/* block_kernels_avx512.c -- the loops over a vector again, compiled for AVX-512 (F, BW, DQ, VL): nothing here may run
 * before the machine was asked.
 *
 * Masks are this machine's own: comparisons make them, loads take them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdint.h>

/* Lanes of 8 to 64 bits: 64 bytes of them have a mask of as many bits. */
#define OWN(lane, bits, element, mask_type)                                                                      \
    static inline uint64_t word_##lane(const lane *from, lane low, lane span)                                    \
    {                                                                                                            \
        __m512i lows = _mm512_set1_epi##bits((element)low), spans = _mm512_set1_epi##bits((element)span);        \
        uint64_t word = 0;                                                                                       \
        for (uint32_t i = 0; i < bits / 8; i++) {                                                                \
            __m512i d = _mm512_sub_epi##bits(_mm512_loadu_si512((const __m512i *)(const void *)from + i), lows); \
            word |= (uint64_t)_mm512_cmple_epu##bits##_mask(d, spans) << i * (512 / bits);                       \
        }                                                                                                        \
        return word;                                                                                             \
    }                                                                                                            \
    static inline void keep_word_##lane(lane *from, uint64_t mask)                                               \
    {                                                                                                            \
        for (uint32_t i = 0; i < bits / 8; i++) {                                                                \
            void *at = (uint8_t *)from + i * 64;                                                                 \
            _mm512_storeu_si512(at, _mm512_maskz_loadu_epi##bits((mask_type)(mask >> i * (512 / bits)), at));    \
        }                                                                                                        \
    }
OWN(uint8_t, 8, char, __mmask64)
OWN(uint16_t, 16, short, __mmask32)
OWN(uint32_t, 32, int, __mmask16)
OWN(uint64_t, 64, long long, __mmask8)

#define MG_KERNELS_OWN_WORDS
#define MG_KERNELS_OWN_KEEP
#define MG_KERNELS mg_block__kernels_avx512
#define MG_KERNELS_NAME "avx512"
#include "part/block_kernels.inc"
