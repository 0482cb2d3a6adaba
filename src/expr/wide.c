/* wide.c -- 256-bit arithmetic by limbs.
 *
 * Rounding  truncating steps come first, the rounding one last: the half way between two results is an integer in the
 *           units of the last step, so what the truncating steps dropped cannot change the side it falls on.
 * Threads   pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/wide.h"

typedef unsigned __int128 uint128;

enum { LIMBS = 4, LIMB_DIGITS = 19 }; /* 10^19 is the highest power of ten in a limb */

static uint128 magnitude(mg_int128 v) { return v < 0 ? -(uint128)v : (uint128)v; }

static uint64_t power(uint32_t digits) { return (uint64_t)mg_decimal_power((uint8_t)digits); }

struct mg_wide mg_wide_of(mg_int128 v)
{
    uint128 m = magnitude(v);

    return (struct mg_wide){.is_negative = v < 0, .limbs = {(uint64_t)m, (uint64_t)(m >> 64)}};
}

/* v * factor; false when a limb is left over. */
static bool multiply_limb(struct mg_wide *v, uint64_t factor)
{
    uint64_t carry = 0;

    for (int i = 0; i < LIMBS; i++) {
        uint128 t = (uint128)v->limbs[i] * factor + carry;
        v->limbs[i] = (uint64_t)t;
        carry = (uint64_t)(t >> 64);
    }
    return carry == 0;
}

/* v / divisor, truncated; returns the remainder. */
static uint64_t divide_limb(struct mg_wide *v, uint64_t divisor)
{
    uint64_t remainder = 0;

    for (int i = LIMBS - 1; i >= 0; i--) {
        uint128 t = (uint128)remainder << 64 | v->limbs[i];
        v->limbs[i] = (uint64_t)(t / divisor);
        remainder = (uint64_t)(t % divisor);
    }
    return remainder;
}

struct mg_wide mg_wide_multiply(mg_int128 a, mg_int128 b)
{
    uint128 x = magnitude(a), y = magnitude(b);
    struct mg_wide low = {.limbs = {(uint64_t)x, (uint64_t)(x >> 64)}}, high = low, sum;
    bool fits = multiply_limb(&low, (uint64_t)y) && multiply_limb(&high, (uint64_t)(y >> 64));

    for (int i = LIMBS - 1; i > 0; i--)
        high.limbs[i] = high.limbs[i - 1];
    high.limbs[0] = 0;
    fits = mg_wide_add(&low, &high, &sum) && fits;
    mg_assert(fits);
    sum.is_negative = (a < 0) != (b < 0);
    return sum;
}

bool mg_wide_scale_up(struct mg_wide *v, uint32_t digits)
{
    bool fits = true;

    for (; digits > LIMB_DIGITS; digits -= LIMB_DIGITS)
        fits = multiply_limb(v, power(LIMB_DIGITS)) && fits;
    return multiply_limb(v, power(digits)) && fits;
}

static int compare_magnitudes(const struct mg_wide *a, const struct mg_wide *b)
{
    for (int i = LIMBS - 1; i >= 0; i--)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

bool mg_wide_add(const struct mg_wide *a, const struct mg_wide *b, struct mg_wide *out)
{
    bool subtract = a->is_negative != b->is_negative;
    uint64_t carry = 0;

    if (subtract && compare_magnitudes(a, b) < 0)
        return mg_wide_add(b, a, out);
    out->is_negative = a->is_negative;
    for (int i = 0; i < LIMBS; i++) {
        uint128 t = subtract ? (uint128)a->limbs[i] - b->limbs[i] - carry : (uint128)a->limbs[i] + b->limbs[i] + carry;
        out->limbs[i] = (uint64_t)t;
        carry = (uint64_t)(t >> 64) & 1;
    }
    return carry == 0;
}

/* The quotient's magnitude, one more when round_up, with its sign. */
static bool to_int128(const struct mg_wide *v, bool round_up, mg_int128 *out)
{
    uint128 m = (uint128)v->limbs[1] << 64 | v->limbs[0];

    if (v->limbs[3] || v->limbs[2] || m >> 127)
        return false;
    m += round_up;
    if (m >> 127)
        return false;
    *out = v->is_negative ? -(mg_int128)m : (mg_int128)m;
    return true;
}

bool mg_wide_scale_down(const struct mg_wide *v, uint32_t digits, mg_int128 *out)
{
    struct mg_wide quotient = *v;

    for (; digits > LIMB_DIGITS; digits -= LIMB_DIGITS)
        divide_limb(&quotient, power(LIMB_DIGITS));
    uint64_t divisor = power(digits), remainder = divide_limb(&quotient, divisor);
    return to_int128(&quotient, remainder >= divisor - remainder, out);
}

bool mg_wide_divide(const struct mg_wide *v, mg_int128 divisor, mg_int128 *out)
{
    uint128 d = magnitude(divisor), remainder = 0;
    struct mg_wide quotient = *v;

    quotient.is_negative = v->is_negative != (divisor < 0);
    if (d >> 64 == 0) {
        remainder = divide_limb(&quotient, (uint64_t)d);
        return to_int128(&quotient, remainder >= d - remainder, out);
    }
    if (d >> 127) /* only the lowest of all: no decimal */
        return false;
    for (int bit = LIMBS * 64 - 1; bit >= 0; bit--) { /* the remainder stays below d, so twice that fits */
        uint64_t *limb = &quotient.limbs[bit / 64], one = UINT64_C(1) << (bit % 64);
        remainder = remainder << 1 | ((*limb & one) != 0);
        *limb &= ~one;
        if (remainder >= d) {
            remainder -= d;
            *limb |= one;
        }
    }
    return to_int128(&quotient, remainder >= d - remainder, out);
}
