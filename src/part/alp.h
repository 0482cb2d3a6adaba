/* alp.h -- floats as digits * 10^f * 10^-e: the arithmetic that encoder and decoder must share to the bit.
 *
 * Two multiplications of doubles, in this order, rounded to nearest; float32 is the result rounded once more.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_ALP_H
#define MG_PART_ALP_H

#include <stdint.h>
#include <string.h>

enum { MG_ALP__EXPONENT_MAX = 18 };

/* Leads the data of a vector; the packed digits follow, then the rows of exceptions, then their bits, 8 bytes each. */
struct mg_alp__head {
    uint8_t e, f;
    uint16_t exception_count;
    uint32_t reserved;
};

static inline double mg_alp__power(uint32_t exponent)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                    1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
    return powers[exponent];
}
static inline double mg_alp__inverse(uint32_t exponent)
{
    static const double inverses[] = {1e0,   1e-1,  1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,  1e-8, 1e-9,
                                      1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18};
    return inverses[exponent];
}
static inline double mg_alp__decode(int64_t digits, uint32_t e, uint32_t f)
{
    return (double)digits * mg_alp__power(f) * mg_alp__inverse(e);
}

/* The value of 32 or 64 bits. */
static inline double mg_alp__float(uint64_t bits, uint32_t bit_count)
{
    uint32_t low = (uint32_t)bits;
    double d;
    float f;

    if (bit_count == 32) {
        memcpy(&f, &low, sizeof f);
        return (double)f;
    }
    memcpy(&d, &bits, sizeof d);
    return d;
}
static inline uint64_t mg_alp__bits(double v, uint32_t bit_count)
{
    float f = (float)v;
    uint32_t low;
    uint64_t bits;

    if (bit_count == 32) {
        memcpy(&low, &f, sizeof low);
        return low;
    }
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

#endif
