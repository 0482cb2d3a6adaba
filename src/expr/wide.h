/* wide.h -- integers of 256 bits: what decimals of 38 digits become between an operation and its rounding.
 *
 * The slow way of decimal arithmetic: exact, whatever the digits. Everything is rounded half away from zero, which is
 * MySQL's rule and Spark's.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_WIDE_H
#define MG_EXPR_WIDE_H

#include "column/type.h"

/* Sign and magnitude; limbs from the lowest. */
struct mg_wide {
    bool is_negative;
    uint64_t limbs[4];
};

struct mg_wide mg_wide_of(mg_int128 v);
/* Exact: two magnitudes of 127 bits. */
struct mg_wide mg_wide_multiply(mg_int128 a, mg_int128 b);
/* v * 10^digits; false when that passes 256 bits. */
MG_MUST_CHECK bool mg_wide_scale_up(struct mg_wide *v, uint32_t digits);
/* False when the sum passes 256 bits. */
MG_MUST_CHECK bool mg_wide_add(const struct mg_wide *a, const struct mg_wide *b, struct mg_wide *out);
/* v / 10^digits, rounded; false when that is no mg_int128. */
MG_MUST_CHECK bool mg_wide_scale_down(const struct mg_wide *v, uint32_t digits, mg_int128 *out);
/* v / divisor, rounded; the divisor is not 0. False when that is no mg_int128. */
MG_MUST_CHECK bool mg_wide_divide(const struct mg_wide *v, mg_int128 divisor, mg_int128 *out);

#endif
