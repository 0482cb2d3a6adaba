/* scalar_eval.c -- bound scalars over blocks of rows: a loop per operation.
 *
 * Errors   A loop computes all rows and notes whether any went wrong; only then the rows that are not NULL are looked
 *          at one by one. What a NULL row holds may be anything.
 * Decimals Arguments that fit 64 bits, as nearly all do, are multiplied as such; the slow way, row by row in 256 bits,
 *          is for what may not fit its type or must be rounded.
 * Threads  the scalar is only read; the frame belongs to the caller.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "column/bits.h"
#include "expr/any.h"
#include "expr/expr_internal.h"
#include "expr/scalar_internal.h"
#include "expr/wide.h"

typedef unsigned __int128 uint128;

enum { INT64_DIGITS = 18 }; /* so many are always below 2^63 */

static const uint8_t zeros[MG_SCALAR__VALUES];

/* One operation over one block. */
struct run {
    const struct mg_scalar__node *node;
    struct mg_vector left, right; /* right: of binary operations */
    const uint8_t *validity;      /* of the result; NULL: all there */
    uint32_t row_count;
    void *to;
    struct mg_error *err;
};

static inline bool is_there(const struct run *run, uint32_t row)
{
    return !run->validity || (run->validity[row >> 3] >> (row & 7) & 1);
}

static enum mg_code fail_range(const struct run *run)
{
    struct mg_type type = run->node->type;
    char text[48];

    mg_type_format(type, text);
    if (run->node->is_spark)
        return mg_fail(run->err, MG_OUT_OF_RANGE, "%s: the result of an operation does not fit %s",
                       type.id == MG_TYPE_DECIMAL ? "NUMERIC_VALUE_OUT_OF_RANGE" : "ARITHMETIC_OVERFLOW", text);
    const char *name = type.id == MG_TYPE_DECIMAL        ? "DECIMAL"
                       : mg_scalar__is_float(type.id)    ? "DOUBLE"
                       : mg_scalar__is_unsigned(type.id) ? "BIGINT UNSIGNED"
                                                         : "BIGINT";
    return mg_fail(run->err, MG_OUT_OF_RANGE, "%s value is out of range: the result of an operation does not fit %s",
                   name, text);
}

/* ---- integers ------------------------------------------------------------------------------------------------ */

/* False when the result does not fit the type, which may be narrower than what it is held in. */
static bool int_operation(const struct mg_scalar__node *node, mg_int128 x, mg_int128 y, mg_int128 *out)
{
    bool overflow = false;

    switch (node->kind) {
    case MG_SCALAR_ADD: overflow = __builtin_add_overflow(x, y, out); break;
    case MG_SCALAR_SUBTRACT: overflow = __builtin_sub_overflow(x, y, out); break;
    case MG_SCALAR_MULTIPLY: overflow = __builtin_mul_overflow(x, y, out); break;
    default: overflow = __builtin_sub_overflow((mg_int128)0, x, out); break;
    }
    mg_int128 low, high;
    mg_expr__domain(node->type.id, &low, &high);
    return !overflow && *out >= low && *out <= high;
}

static enum mg_code check_ints(const struct run *run)
{
    const any_int64 *x = run->left.values, *y = run->right.values;
    mg_int128 out;

    for (uint32_t i = 0; i < run->row_count; i++)
        if (is_there(run, i) && !int_operation(run->node, x[i], y ? y[i] : 0, &out))
            return fail_range(run);
    return MG_OK;
}

static enum mg_code run_int(const struct run *run)
{
    const any_int64 *x = run->left.values, *y = run->right.values;
    const uint32_t n = run->row_count;
    int64_t *to = run->to;
    bool bad = false;
    mg_int128 low, high;

    switch (run->node->kind) {
    case MG_SCALAR_ADD:
        for (uint32_t i = 0; i < n; i++)
            bad |= __builtin_add_overflow(x[i], y[i], &to[i]);
        break;
    case MG_SCALAR_SUBTRACT:
        for (uint32_t i = 0; i < n; i++)
            bad |= __builtin_sub_overflow(x[i], y[i], &to[i]);
        break;
    case MG_SCALAR_MULTIPLY:
        for (uint32_t i = 0; i < n; i++)
            bad |= __builtin_mul_overflow(x[i], y[i], &to[i]);
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            bad |= __builtin_sub_overflow((int64_t)0, x[i], &to[i]);
    }
    mg_expr__domain(run->node->type.id, &low, &high);
    for (uint32_t i = 0; run->node->type.id != MG_TYPE_INT64 && i < n; i++)
        bad |= (to[i] < (int64_t)low) | (to[i] > (int64_t)high);
    return bad ? check_ints(run) : MG_OK;
}

/* ---- floats -------------------------------------------------------------------------------------------------- */

/* MySQL has no infinity: what becomes one is out of range. */
static enum mg_code check_floats(const struct run *run)
{
    const double *to = run->to;

    for (uint32_t i = 0; i < run->row_count; i++)
        if (is_there(run, i) && !isfinite(to[i]))
            return fail_range(run);
    return MG_OK;
}

static enum mg_code run_float(const struct run *run)
{
    const any_double *x = run->left.values, *y = run->right.values;
    const uint32_t n = run->row_count;
    double *to = run->to;

    switch (run->node->kind) {
    case MG_SCALAR_ADD:
        for (uint32_t i = 0; i < n; i++)
            to[i] = x[i] + y[i];
        break;
    case MG_SCALAR_SUBTRACT:
        for (uint32_t i = 0; i < n; i++)
            to[i] = x[i] - y[i];
        break;
    case MG_SCALAR_MULTIPLY:
        for (uint32_t i = 0; i < n; i++)
            to[i] = x[i] * y[i];
        break;
    case MG_SCALAR_DIVIDE:
        for (uint32_t i = 0; i < n; i++)
            to[i] = x[i] / (y[i] != 0 ? y[i] : NAN); /* x / 0 is gone already */
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            to[i] = -x[i];
    }
    for (uint32_t i = 0; run->node->type.id == MG_TYPE_FLOAT32 && i < n; i++)
        to[i] = (float)to[i]; /* as if computed in float: a double has more than twice its digits */
    return run->node->is_spark ? MG_OK : check_floats(run);
}

/* ---- decimals ------------------------------------------------------------------------------------------------ */

static bool divide(const struct mg_scalar__node *node, mg_int128 x, mg_int128 y, mg_int128 *out)
{
    mg_int128 up;

    if (node->left_up > MG_DECIMAL_PRECISION_MAX || __builtin_mul_overflow(x, mg_decimal_power(node->left_up), &up)) {
        struct mg_wide wide = mg_wide_of(x);
        return mg_wide_scale_up(&wide, node->left_up) && mg_wide_divide(&wide, y, out);
    }
    uint128 divisor = y < 0 ? -(uint128)y : (uint128)y, value = up < 0 ? -(uint128)up : (uint128)up;
    uint128 quotient = value / divisor, rest = value % divisor;
    quotient += rest >= divisor - rest;
    *out = (x < 0) != (y < 0) ? -(mg_int128)quotient : (mg_int128)quotient;
    return true;
}

static bool add(const struct mg_scalar__node *node, mg_int128 x, mg_int128 y, mg_int128 *out)
{
    struct mg_wide left = mg_wide_of(x), right = mg_wide_of(y), sum;

    if (node->kind == MG_SCALAR_SUBTRACT)
        right.is_negative = !right.is_negative;
    return mg_wide_scale_up(&left, node->left_up) && mg_wide_scale_up(&right, node->right_up) &&
           mg_wide_add(&left, &right, &sum) && mg_wide_scale_down(&sum, node->down, out);
}

/* Exact, then rounded to the type; false when it does not fit that. */
static bool decimal_operation(const struct mg_scalar__node *node, mg_int128 x, mg_int128 y, mg_int128 *out)
{
    struct mg_wide product;
    bool fits;

    if (node->type.id != MG_TYPE_DECIMAL)
        return int_operation(node, x, y, out);
    switch (node->kind) {
    case MG_SCALAR_MULTIPLY:
        product = mg_wide_multiply(x, y);
        fits = mg_wide_scale_down(&product, node->down, out);
        break;
    case MG_SCALAR_DIVIDE: fits = divide(node, x, y, out); break;
    case MG_SCALAR_NEGATE: *out = (mg_int128)(-(uint128)x); return true;
    default: fits = add(node, x, y, out);
    }
    return fits && *out<node->bound && * out> - node->bound;
}

static enum mg_code run_decimal_rows(const struct run *run)
{
    const any_int128 *x = run->left.values, *y = run->right.values;
    mg_int128 *to = run->to;

    for (uint32_t i = 0; i < run->row_count; i++) {
        to[i] = 0;
        if (is_there(run, i) && !decimal_operation(run->node, x[i], y ? y[i] : 0, &to[i]))
            return fail_range(run);
    }
    return MG_OK;
}

/* All values are those of their low 64 bits. */
static bool fits_64(const struct mg_vector *v, uint32_t n)
{
    const any_int128 *x = v->values;
    uint64_t differs = 0;

    if (v->type.precision <= INT64_DIGITS)
        return true;
    for (uint32_t i = 0; i < n; i++) {
        int64_t low = (int64_t)x[i], high = (int64_t)(x[i] >> 64);
        differs |= (uint64_t)(high ^ (low >> 63));
    }
    return differs == 0;
}

static enum mg_code run_product(const struct run *run)
{
    const any_int128 *x = run->left.values, *y = run->right.values;
    const struct mg_scalar__node *node = run->node;
    const uint32_t n = run->row_count;
    mg_int128 *to = run->to;

    /* two of 64 bits give at most 2^126, which is below 10^38 */
    if (!node->down && (node->always_fits || node->type.precision == MG_DECIMAL_PRECISION_MAX) &&
        fits_64(&run->left, n) && fits_64(&run->right, n)) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = (mg_int128)(int64_t)x[i] * (int64_t)y[i];
        return MG_OK;
    }
    if (!node->always_fits)
        return run_decimal_rows(run);
    for (uint32_t i = 0; i < n; i++)
        to[i] = (mg_int128)((uint128)x[i] * (uint128)y[i]);
    return MG_OK;
}

static void run_sum(const struct run *run)
{
    const any_int128 *x = run->left.values, *y = run->right.values;
    uint128 x_factor = (uint128)mg_decimal_power(run->node->left_up);
    uint128 y_factor = (uint128)mg_decimal_power(run->node->right_up);
    mg_int128 *to = run->to;
    const uint32_t n = run->row_count;

    if (run->node->kind == MG_SCALAR_SUBTRACT)
        y_factor = -y_factor;
    if (x_factor != 1 || (y_factor != 1 && y_factor != -(uint128)1)) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = (mg_int128)((uint128)x[i] * x_factor + (uint128)y[i] * y_factor);
    } else if (y_factor == 1) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = (mg_int128)((uint128)x[i] + (uint128)y[i]);
    } else {
        for (uint32_t i = 0; i < n; i++)
            to[i] = (mg_int128)((uint128)x[i] - (uint128)y[i]);
    }
}

static enum mg_code run_decimal(const struct run *run)
{
    const struct mg_scalar__node *node = run->node;

    if (node->type.id != MG_TYPE_DECIMAL)
        return run_decimal_rows(run);
    if (node->kind == MG_SCALAR_MULTIPLY)
        return run_product(run);
    if (!node->always_fits || node->kind == MG_SCALAR_NEGATE)
        return run_decimal_rows(run);
    run_sum(run);
    return MG_OK;
}

/* ---- conversions --------------------------------------------------------------------------------------------- */

#define FROM(id, type, to_type, value)          \
    case id: {                                  \
        const any_##type *x = run->left.values; \
        to_type *to = run->to;                  \
        const uint32_t n = run->row_count;      \
        for (uint32_t i = 0; i < n; i++)        \
            to[i] = (value);                    \
        return;                                 \
    }
/* The same for every integer type. */
#define FROM_INTS(to_type, value)                \
    FROM(MG_TYPE_INT8, int8, to_type, value)     \
    FROM(MG_TYPE_INT16, int16, to_type, value)   \
    FROM(MG_TYPE_INT32, int32, to_type, value)   \
    FROM(MG_TYPE_INT64, int64, to_type, value)   \
    FROM(MG_TYPE_UINT8, uint8, to_type, value)   \
    FROM(MG_TYPE_UINT16, uint16, to_type, value) \
    FROM(MG_TYPE_UINT32, uint32, to_type, value) \
    FROM(MG_TYPE_UINT64, uint64, to_type, value)

static void to_int(const struct run *run)
{
    switch (run->left.type.id) {
        FROM_INTS(int64_t, (int64_t)x[i])
        FROM(MG_TYPE_DECIMAL, int128, int64_t, (int64_t)x[i]) /* an unsigned integer's class; it fits */
    default: mg_assert(!"an integer");
    }
}

static void to_float(const struct run *run)
{
    const double unit = (double)mg_decimal_power(run->left.type.scale);

    switch (run->left.type.id) {
        FROM_INTS(double, (double)x[i])
        FROM(MG_TYPE_FLOAT32, float, double, (double)x[i])
        FROM(MG_TYPE_FLOAT64, double, double, x[i])
        FROM(MG_TYPE_DECIMAL, int128, double, (double)x[i] / unit)
    default: mg_assert(!"a number");
    }
}

static void to_decimal(const struct run *run)
{
    const uint128 factor = (uint128)mg_decimal_power(run->node->left_up);

    switch (run->left.type.id) {
        FROM_INTS(mg_int128, (mg_int128)((uint128)(mg_int128)x[i] * factor))
        FROM(MG_TYPE_DECIMAL, int128, mg_int128, (mg_int128)((uint128)x[i] * factor))
    default: mg_assert(!"an exact number");
    }
}

static enum mg_code run_conversion(const struct run *run)
{
    switch (run->node->class) {
    case MG_CLASS_INT: to_int(run); return MG_OK;
    case MG_CLASS_FLOAT: to_float(run); return MG_OK;
    default: to_decimal(run); return MG_OK;
    }
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

/* Rows where the divisor is 0: an error under Spark's rules, NULL under MySQL's. bits: the slot's own. */
static enum mg_code drop_zero_divisors(struct run *run, uint8_t *bits)
{
    const bool is_float = run->node->class == MG_CLASS_FLOAT;
    const any_double *floats = run->right.values;
    const any_int128 *decimals = run->right.values;
    const size_t bytes = mg_pad8(mg_bits_bytes(run->row_count));

    for (uint32_t i = 0; i < run->row_count; i++) {
        if ((is_float ? floats[i] != 0 : decimals[i] != 0) || !is_there(run, i))
            continue;
        if (run->node->is_spark)
            return mg_fail(run->err, MG_DIVIDE_BY_ZERO, "DIVIDE_BY_ZERO: division by zero");
        if (!run->validity)
            memset(bits, 0xff, bytes);
        else if (run->validity != bits)
            memcpy(bits, run->validity, bytes);
        run->validity = bits;
        bits[i >> 3] &= (uint8_t) ~(1u << (i & 7));
    }
    return MG_OK;
}

/* Where both are there. */
static const uint8_t *both(const struct mg_vector *a, const struct mg_vector *b, uint32_t row_count, uint8_t *bits)
{
    if (!a->validity || !b->validity)
        return a->validity ? a->validity : b->validity;
    for (uint32_t w = 0; w < (row_count + 63) / 64; w++)
        mg_store_le64(bits + (size_t)w * 8,
                      mg_load_le64(a->validity + (size_t)w * 8) & mg_load_le64(b->validity + (size_t)w * 8));
    return bits;
}

static enum mg_code run_operation(struct run *run)
{
    if (run->node->kind == MG_SCALAR_CONVERT)
        return run_conversion(run);
    switch (run->node->class) {
    case MG_CLASS_INT: return run_int(run);
    case MG_CLASS_FLOAT: return run_float(run);
    default: return run_decimal(run);
    }
}

void mg_scalar__constant(const struct mg_scalar__node *node, uint32_t row_count, struct mg_vector *out)
{
    bool is_null = !node->constant;

    *out = (struct mg_vector){.type = node->storage,
                              .row_count = row_count,
                              .null_count = is_null ? row_count : 0,
                              .validity = is_null ? zeros : NULL,
                              .values = is_null ? zeros : node->constant};
}

enum mg_code mg_scalar__apply(const struct mg_scalar__node *node, const struct mg_vector *left,
                              const struct mg_vector *right, uint32_t row_count, uint8_t *slot, struct mg_vector *out,
                              struct mg_error *err)
{
    uint8_t *bits = slot + MG_SCALAR__VALUES;
    struct run run = {.node = node, .left = *left, .row_count = row_count, .to = slot, .err = err};

    if (right)
        run.right = *right;
    run.validity = both(&run.left, &run.right, row_count, bits);
    if (node->kind == MG_SCALAR_DIVIDE)
        MG_TRY(drop_zero_divisors(&run, bits));
    MG_TRY(run_operation(&run));
    *out = (struct mg_vector){.type = node->storage, .row_count = row_count, .validity = run.validity, .values = slot};
    if (run.validity)
        out->null_count = row_count - mg_bits_count(run.validity, 0, row_count);
    return MG_OK;
}

/* Recursion is as deep as the tree, which binding bounded. */
enum mg_code mg_scalar__run(const struct mg_scalar__node *node, const struct mg_vector *const *vectors,
                            uint32_t row_count, uint8_t *frame, struct mg_vector *out, struct mg_error *err)
{
    struct mg_vector left, right;

    if (node->kind == MG_SCALAR_COLUMN) {
        *out = *vectors[node->column];
        return MG_OK;
    }
    if (node->kind == MG_SCALAR_CONSTANT) {
        mg_scalar__constant(node, row_count, out);
        return MG_OK;
    }
    MG_TRY(mg_scalar__run(node->left, vectors, row_count, frame, &left, err));
    if (node->right)
        MG_TRY(mg_scalar__run(node->right, vectors, row_count, frame, &right, err));
    return mg_scalar__apply(node, &left, node->right ? &right : NULL, row_count,
                            frame + (size_t)node->slot * MG_SCALAR__SLOT, out, err);
}

enum mg_code mg_scalar_eval(const struct mg_scalar *scalar, const struct mg_vector *const *vectors, uint32_t row_count,
                            void *frame, struct mg_vector *out, struct mg_error *err)
{
    mg_assert(row_count <= MG_SCALAR_ROWS_MAX);
    return mg_scalar__run(scalar->root, vectors, row_count, frame, out, err);
}
