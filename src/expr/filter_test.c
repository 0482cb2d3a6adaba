/* filter_test.c -- random predicates over random batches with NULLs: the kernels against a slow evaluator, row by row.
 *
 * The evaluator below knows three-valued logic and how two values compare, and nothing of ordinals, masks or binding.
 * Every case also asks mg_predicate_may_match with the batch's own bounds, and runs the plain kernels and the machine's
 * best ones.
 * Replay    filter_test SEED runs only that case.
 * SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>

#include "expr/expr_internal.h"
#include "expr/expr_testing.h"

enum { CASES = 5000, ROWS_MAX = 300, COLUMNS = 38 };

static uint64_t only_case;

/* Every type is there twice, so that columns of one type meet, too; filled by main. */
static const struct mg_type kinds[COLUMNS / 2] = {
    {.id = MG_TYPE_INT8},
    {.id = MG_TYPE_INT16},
    {.id = MG_TYPE_INT32},
    {.id = MG_TYPE_INT64},
    {.id = MG_TYPE_UINT8},
    {.id = MG_TYPE_UINT16},
    {.id = MG_TYPE_UINT32},
    {.id = MG_TYPE_UINT64},
    {.id = MG_TYPE_FLOAT32},
    {.id = MG_TYPE_FLOAT64},
    {.id = MG_TYPE_DECIMAL, .precision = 10, .scale = 2},
    {.id = MG_TYPE_DECIMAL, .precision = 20, .scale = 6},
    {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 0},
    {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 38},
    {.id = MG_TYPE_DATE},
    {.id = MG_TYPE_DATETIME, .precision = 6},
    {.id = MG_TYPE_TIMESTAMP, .precision = 3},
    {.id = MG_TYPE_UTF8},
    {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE},
};
static struct mg_type column_types[COLUMNS + 1]; /* the last one is the key and not used */

/* ---- random values ------------------------------------------------------------------------------------------- */

static uint64_t below(struct mg_random *random, uint64_t bound) { return mg_random_below(random, bound); }
static bool one_in(struct mg_random *random, uint64_t n) { return below(random, n) == 0; }

static const char *const texts[] = {
    "",      " ",  "a",   "a ", "a  ",      "a\x01", "a \x01",
    "b",     "ab", "aba", "B",  "\xc3\xa4", "zebra", "zebras of the long necked kind and more",
    "a\x1f "};

static int64_t random_int(struct mg_random *random, int64_t low, int64_t high)
{
    switch (below(random, 8)) {
    case 0: return low;
    case 1: return high;
    case 2: return low + (int64_t)below(random, 3);
    case 3: return high - (int64_t)below(random, 3);
    default: return MG_MAX(low, MG_MIN(high, (int64_t)below(random, 9) - (low < 0 ? 4 : 0)));
    }
}

static double random_float(struct mg_random *random, bool single)
{
    static const double odd[] = {NAN,
                                 -NAN,
                                 INFINITY,
                                 -INFINITY,
                                 0.0,
                                 -0.0,
                                 DBL_MIN,
                                 -4.9e-324,
                                 4.9e-324,
                                 DBL_MAX,
                                 1e19,
                                 -1e19,
                                 9007199254740992.0,
                                 9223372036854775808.0,
                                 0.1,
                                 0.25,
                                 1.4e-45,
                                 FLT_MAX};

    if (one_in(random, 3)) {
        double v = odd[below(random, MG_COUNT_OF(odd))];
        return single ? (float)v : v;
    }
    return ((double)below(random, 17) - 8) / 4;
}

static struct mg_value random_value(struct mg_random *random, struct mg_type type)
{
    struct mg_value v = {.type = type};
    mg_int128 bound;

    switch (type.id) {
    case MG_TYPE_INT8: v.i = random_int(random, INT8_MIN, INT8_MAX); break;
    case MG_TYPE_INT16: v.i = random_int(random, INT16_MIN, INT16_MAX); break;
    case MG_TYPE_INT32: v.i = random_int(random, INT32_MIN, INT32_MAX); break;
    case MG_TYPE_INT64: v.i = random_int(random, INT64_MIN, INT64_MAX); break;
    case MG_TYPE_UINT8: v.u = (uint64_t)random_int(random, 0, UINT8_MAX); break;
    case MG_TYPE_UINT16: v.u = (uint64_t)random_int(random, 0, UINT16_MAX); break;
    case MG_TYPE_UINT32: v.u = (uint64_t)random_int(random, 0, UINT32_MAX); break;
    case MG_TYPE_UINT64: v.u = one_in(random, 4) ? UINT64_MAX - below(random, 3) : below(random, 9); break;
    case MG_TYPE_FLOAT32: v.f = random_float(random, true); break;
    case MG_TYPE_FLOAT64: v.f = random_float(random, false); break;
    case MG_TYPE_DECIMAL:
        bound = mg_decimal_power(type.precision) - 1;
        if (one_in(random, 6))
            v.d = one_in(random, 2) ? bound : -bound;
        else /* near small quarters */
            v.d = ((mg_int128)below(random, 33) - 16) * mg_decimal_power(MG_MIN(type.scale, 37)) / 4 +
                  (one_in(random, 4) ? 1 : 0);
        if (!mg_decimal_fits(v.d, type.precision))
            v.d = 1;
        break;
    case MG_TYPE_DATE:
        v.i = one_in(random, 10) ? random_int(random, INT32_MIN, INT32_MAX) : (int64_t)below(random, 5) - 2;
        break;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP:
        v.i = one_in(random, 10) ? random_int(random, INT64_MIN, INT64_MAX)
                                 : ((int64_t)below(random, 9) - 4) * INT64_C(43200000000) + (int64_t)below(random, 2);
        break;
    default: v.text = mg_slice_text(texts[below(random, MG_COUNT_OF(texts))]); break;
    }
    return v;
}

static struct mg_type random_type_like(struct mg_random *random, struct mg_type type)
{
    for (;;) {
        struct mg_type candidate = column_types[below(random, COLUMNS)];
        if (mg_expr__comparable(type.id, candidate.id) && (type.id != MG_TYPE_NONE))
            return candidate;
    }
}

/* ---- random trees -------------------------------------------------------------------------------------------- */

static struct mg_expr *random_column(struct mg_random *random, struct mg_arena *arena, struct mg_type *out_type,
                                     const struct mg_type *like)
{
    uint32_t place;
    char name[8];

    bool same = one_in(random, 2);
    do
        place = (uint32_t)below(random, COLUMNS);
    while (like &&
           !(same ? like->id == column_types[place].id : mg_expr__comparable(like->id, column_types[place].id)));
    *out_type = column_types[place];
    snprintf(name, sizeof name, "%c%u", one_in(random, 2) ? 'C' : 'c', place);
    return mg_expr_column(arena, mg_slice_text(name));
}

static struct mg_expr *random_literal(struct mg_random *random, struct mg_arena *arena, struct mg_type like)
{
    struct mg_value value = {.is_null = true};

    if (!one_in(random, 25))
        value = random_value(random, one_in(random, 2) ? like : random_type_like(random, like));
    return mg_expr_literal(arena, &value);
}

static struct mg_expr *random_leaf(struct mg_random *random, struct mg_arena *arena)
{
    static const enum mg_expr_op ops[] = {MG_EXPR_EQ,      MG_EXPR_NE,      MG_EXPR_LT,         MG_EXPR_LE,
                                          MG_EXPR_GT,      MG_EXPR_GE,      MG_EXPR_IN,         MG_EXPR_EQ_NULL_SAFE,
                                          MG_EXPR_BETWEEN, MG_EXPR_IS_NULL, MG_EXPR_IS_NOT_NULL};
    enum mg_expr_op op = ops[below(random, MG_COUNT_OF(ops))];
    struct mg_type type = {.id = MG_TYPE_NONE}, other;
    struct mg_expr *args[40];
    uint32_t count = op == MG_EXPR_IN        ? 1 + (uint32_t)below(random, one_in(random, 4) ? 39 : 8)
                     : op == MG_EXPR_BETWEEN ? 3
                     : op == MG_EXPR_IS_NULL || op == MG_EXPR_IS_NOT_NULL ? 1
                                                                          : 2;

    if (one_in(random, 30)) { /* a bare number as a condition */
        struct mg_expr *bare;
        do
            bare = random_column(random, arena, &type, NULL);
        while (type.id > MG_TYPE_DECIMAL);
        return one_in(random, 3) ? random_literal(random, arena, type) : bare;
    }
    args[0] = random_column(random, arena, &type, NULL);
    for (uint32_t i = 1; i < count; i++)
        args[i] = op != MG_EXPR_IN && one_in(random, 3) ? random_column(random, arena, &other, &type)
                                                        : random_literal(random, arena, type);
    if (count > 1 && one_in(random, 10)) { /* a literal first */
        struct mg_type like = type;
        args[0] = random_literal(random, arena, like);
    }
    struct mg_expr *expr = mg_expr_call(arena, op, args, count);
    assert_non_null(expr);
    expr->pad_space = one_in(random, 2);
    return expr;
}

static struct mg_expr *random_tree(struct mg_random *random, struct mg_arena *arena, int depth)
{
    struct mg_expr *args[4];
    uint32_t count = 1 + (uint32_t)below(random, 4);

    if (depth == 0 || one_in(random, 4))
        return random_leaf(random, arena);
    switch (below(random, 8)) {
    case 0:
    case 1: args[0] = random_tree(random, arena, depth - 1); return mg_expr_call(arena, MG_EXPR_NOT, args, 1);
    case 2:
        args[0] = random_tree(random, arena, depth - 1);
        return mg_expr_call(arena, one_in(random, 2) ? MG_EXPR_IS_NULL : MG_EXPR_IS_NOT_NULL, args, 1);
    default:
        for (uint32_t i = 0; i < count; i++)
            args[i] = random_tree(random, arena, depth - 1);
        return mg_expr_call(arena, one_in(random, 2) ? MG_EXPR_AND : MG_EXPR_OR, args, count);
    }
}

/* ---- the slow evaluator -------------------------------------------------------------------------------------- */

enum truth { NO, YES, NULLISH };

static bool is_float(const struct mg_value *v)
{
    return v->type.id == MG_TYPE_FLOAT32 || v->type.id == MG_TYPE_FLOAT64;
}
static bool is_unsigned(const struct mg_value *v)
{
    return v->type.id >= MG_TYPE_UINT8 && v->type.id <= MG_TYPE_UINT64;
}

static double to_double(const struct mg_value *v)
{
    double power = 1;

    if (v->type.id == MG_TYPE_DECIMAL) {
        mg_int128 whole_power = 1;
        for (int i = 0; i < v->type.scale; i++)
            whole_power *= 10;
        power = (double)whole_power;
        return (double)v->d / power;
    }
    return is_float(v) ? v->f : is_unsigned(v) ? (double)v->u : (double)v->i;
}

/* 40 digits before the point, 40 behind, most significant first. */
static void to_digits(const struct mg_value *v, int8_t digits[80], bool *negative)
{
    mg_int128 n = v->type.id == MG_TYPE_DECIMAL ? v->d : is_unsigned(v) ? (mg_int128)v->u : (mg_int128)v->i;
    int place = 39 + (v->type.id == MG_TYPE_DECIMAL ? v->type.scale : 0);

    *negative = n < 0;
    memset(digits, 0, 80);
    for (; n; n /= 10)
        digits[place--] = (int8_t)(n % 10 < 0 ? -(n % 10) : n % 10);
}

static int sign_of(double v) { return (v > 0) - (v < 0); }

static int slow_compare(const struct mg_value *a, const struct mg_value *b, bool pad)
{
    if (a->type.id == MG_TYPE_UTF8) {
        char x[64], y[64];
        size_t n = a->text.size, m = b->text.size;
        memcpy(x, a->text.data, n);
        memcpy(y, b->text.data, m);
        while (pad && n && x[n - 1] == ' ')
            n--;
        while (pad && m && y[m - 1] == ' ')
            m--;
        int c = memcmp(x, y, MG_MIN(n, m));
        return c ? c : (n > m) - (n < m);
    }
    if (a->type.id >= MG_TYPE_DATE) {
        if (a->type.id == b->type.id || (a->type.id != MG_TYPE_DATE && b->type.id != MG_TYPE_DATE))
            return (a->i > b->i) - (a->i < b->i);
        const struct mg_value *date = a->type.id == MG_TYPE_DATE ? a : b, *time = date == a ? b : a;
        int64_t day = time->i / 86400000000, rest = time->i % 86400000000;
        if (rest < 0) {
            day--;
            rest += 86400000000;
        }
        int c = date->i != day ? (date->i > day) - (date->i < day) : -(rest > 0);
        return date == a ? c : -c;
    }
    if (is_float(a) || is_float(b)) {
        double x = to_double(a), y = to_double(b);
        if (isnan(x) || isnan(y))
            return (isnan(x) != 0) - (isnan(y) != 0);
        return x == y ? 0 : sign_of(x > y ? 1 : -1);
    }
    int8_t x[80], y[80];
    bool x_negative, y_negative;
    to_digits(a, x, &x_negative);
    to_digits(b, y, &y_negative);
    if (x_negative != y_negative)
        return x_negative ? -1 : 1;
    int c = memcmp(x, y, 80);
    return x_negative ? -c : c;
}

static struct mg_value slow_operand(const struct mg_expr *expr, const struct mg_batch *batch, uint32_t row)
{
    char name[16] = {0};

    if (expr->op == MG_EXPR_LITERAL)
        return expr->literal;
    memcpy(name, expr->column_name.data, expr->column_name.size);
    return mg_vector_value(&batch->vectors[strtoul(name + 1, NULL, 10)], row);
}

static enum truth slow_call(enum mg_expr_op op, struct mg_value a, struct mg_value b, bool pad)
{
    if (op == MG_EXPR_EQ_NULL_SAFE && (a.is_null || b.is_null))
        return a.is_null && b.is_null;
    if (a.is_null || b.is_null)
        return NULLISH;
    int c = slow_compare(&a, &b, pad);
    switch (op) {
    case MG_EXPR_NE: return c != 0;
    case MG_EXPR_LT: return c < 0;
    case MG_EXPR_LE: return c <= 0;
    case MG_EXPR_GT: return c > 0;
    case MG_EXPR_GE: return c >= 0;
    default: return c == 0;
    }
}

static enum truth negate(enum truth t) { return t == NULLISH ? NULLISH : !t; }
static enum truth both(enum truth a, enum truth b)
{
    return a == NO || b == NO ? NO : a == NULLISH || b == NULLISH ? NULLISH : YES;
}
static enum truth either(enum truth a, enum truth b) { return negate(both(negate(a), negate(b))); }

static enum truth slow_eval(const struct mg_expr *expr, const struct mg_batch *batch, uint32_t row)
{
    bool pad = expr->pad_space;
    enum truth t;

    switch (expr->op) {
    case MG_EXPR_COLUMN:
    case MG_EXPR_LITERAL:
        return slow_call(MG_EXPR_NE, slow_operand(expr, batch, row), (struct mg_value){.type = {.id = MG_TYPE_INT8}},
                         false);
    case MG_EXPR_AND:
        t = YES;
        for (uint32_t i = 0; i < expr->arg_count; i++)
            t = both(t, slow_eval(expr->args[i], batch, row));
        return t;
    case MG_EXPR_OR:
        t = NO;
        for (uint32_t i = 0; i < expr->arg_count; i++)
            t = either(t, slow_eval(expr->args[i], batch, row));
        return t;
    case MG_EXPR_NOT: return negate(slow_eval(expr->args[0], batch, row));
    case MG_EXPR_IS_NULL:
    case MG_EXPR_IS_NOT_NULL:
        if (expr->args[0]->op == MG_EXPR_COLUMN || expr->args[0]->op == MG_EXPR_LITERAL)
            t = slow_operand(expr->args[0], batch, row).is_null;
        else
            t = slow_eval(expr->args[0], batch, row) == NULLISH;
        return expr->op == MG_EXPR_IS_NULL ? t : negate(t);
    case MG_EXPR_IN:
        t = NO;
        for (uint32_t i = 1; i < expr->arg_count; i++)
            t = either(t, slow_call(MG_EXPR_EQ, slow_operand(expr->args[0], batch, row),
                                    slow_operand(expr->args[i], batch, row), pad));
        return t;
    case MG_EXPR_BETWEEN:
        return both(slow_call(MG_EXPR_GE, slow_operand(expr->args[0], batch, row),
                              slow_operand(expr->args[1], batch, row), pad),
                    slow_call(MG_EXPR_LE, slow_operand(expr->args[0], batch, row),
                              slow_operand(expr->args[2], batch, row), pad));
    default:
        return slow_call(expr->op, slow_operand(expr->args[0], batch, row), slow_operand(expr->args[1], batch, row),
                         pad);
    }
}

/* ---- cases --------------------------------------------------------------------------------------------------- */

static struct mg_batch *random_batch(struct mg_random *random, uint32_t row_count)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    assert_ok(mg_batch_builder_init(&builder, column_types, COLUMNS, NULL, SIZE_MAX, &err));
    for (uint32_t c = 0; c < COLUMNS; c++) {
        uint64_t null_one_in = one_in(random, 3) ? UINT64_MAX : 1 + below(random, 5);
        bool constant = one_in(random, 5); /* so that zone maps exclude something */
        struct mg_value fixed = random_value(random, column_types[c]);
        for (uint32_t row = 0; row < row_count; row++) {
            if (one_in(random, null_one_in)) {
                assert_ok(mg_builder_null(&builder, c, &err));
                continue;
            }
            struct mg_value v = constant ? fixed : random_value(random, column_types[c]);
            assert_ok(mg_builder_value(&builder, c, &v, &err));
        }
    }
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    mg_batch_builder_clear(&builder);
    return batch;
}

struct bounds {
    struct mg_value low[COLUMNS], high[COLUMNS];
    const struct mg_value *lows[COLUMNS + 1], *highs[COLUMNS + 1];
    bool has_null[COLUMNS + 1];
};

static void find_bounds(struct bounds *b, const struct mg_batch *batch)
{
    memset(b, 0, sizeof *b);
    for (uint32_t c = 0; c < COLUMNS; c++)
        for (uint32_t row = 0; row < batch->row_count; row++) {
            struct mg_value v = mg_vector_value(&batch->vectors[c], row);
            if (v.is_null) {
                b->has_null[c] = true;
                continue;
            }
            if (!b->lows[c] || mg_value_compare(&v, &b->low[c]) < 0)
                b->low[c] = v;
            if (!b->highs[c] || mg_value_compare(&v, &b->high[c]) > 0)
                b->high[c] = v;
            b->lows[c] = &b->low[c];
            b->highs[c] = &b->high[c];
        }
}

static void fail_case(uint64_t seed, const struct mg_expr *expr, const char *what, uint32_t row)
{
    struct mg_buffer text;

    mg_buffer_init(&text, 1 << 20);
    if (mg_expr_format(expr, &text, NULL) != MG_OK)
        text.size = 0;
    fail_msg("case %llu, row %u: %s\n%.*s\nreplay: filter_test %llu", (unsigned long long)seed, row, what,
             (int)text.size, (const char *)text.data, (unsigned long long)seed);
}

static uint64_t kept_total, asked_total, skipped_total;

/* All rows, half of them, or a few and sometimes none. */
static uint64_t random_mask(struct mg_random *random, int density)
{
    uint64_t mask = density == 0 ? ~UINT64_C(0) : mg_random_u64(random);

    if (density == 2)
        mask = one_in(random, 2) ? 0 : mask & 0x8001000100010001;
    return mask;
}

static void check_filter(uint64_t seed, const struct mg_expr *expr, struct mg_predicate *predicate,
                         const struct mg_batch *batch, const enum truth *truths, struct mg_arena *scratch)
{
    struct mg_error err;
    struct mg_random random;
    const struct mg_vector *vectors[COLUMNS + 1] = {NULL};
    uint64_t mask[(ROWS_MAX + 63) / 64 + 1], active[(ROWS_MAX + 63) / 64 + 1];
    uint32_t rows[ROWS_MAX], column_count, words = (batch->row_count + 63) / 64;
    const uint32_t *columns = mg_predicate_columns(predicate, &column_count);

    mg_random_init(&random, seed);
    for (uint32_t i = 0; i < column_count; i++) { /* no others may be read */
        assert_true(i == 0 || columns[i] > columns[i - 1]);
        vectors[columns[i]] = &batch->vectors[columns[i]];
    }
    for (int density = 0; density < 3; density++) {
        for (uint32_t w = 0; w < words; w++)
            active[w] = mask[w] = random_mask(&random, density);
        mask[words] = 0x5555;
        assert_ok(mg_predicate_filter(predicate, vectors, batch->row_count, mask, scratch, &err));
        assert_int_equal(mask[words], 0x5555);
        uint32_t kept = mg_mask_rows(mask, batch->row_count, rows), at = 0;
        assert_int_equal(kept, mg_mask_count(mask, batch->row_count));
        for (uint32_t row = 0; row < batch->row_count; row++) {
            bool is_active = active[row / 64] >> (row % 64) & 1, is_kept = at < kept && rows[at] == row;
            at += is_kept;
            if (is_kept != (is_active && truths[row] == YES))
                fail_case(seed, expr, is_kept ? "kept, but is not true" : "true, but not kept", row);
        }
        assert_int_equal(at, kept);
        kept_total += kept;
        asked_total += batch->row_count;
    }
}

/* What the condition says of a row by its description. */
static bool is_told(const struct mg_condition *c, const struct mg_batch *batch, uint32_t row)
{
    struct mg_value v = mg_vector_value(&batch->vectors[c->column], row);
    bool in = false;

    if (c->kind == MG_CONDITION_IS_NULL || c->kind == MG_CONDITION_IS_NOT_NULL || v.is_null)
        return c->kind == MG_CONDITION_IS_NULL ? v.is_null : c->kind == MG_CONDITION_IS_NOT_NULL && !v.is_null;
    while (c->pad_space && v.text.size && v.text.data[v.text.size - 1] == ' ')
        v.text.size--;
    for (uint32_t i = 0; c->kind == MG_CONDITION_IN && i < c->value_count; i++) {
        assert_true(i == 0 || mg_value_compare(&c->values[i - 1], &c->values[i]) < 0);
        in = in || mg_value_compare(&v, &c->values[i]) == 0;
    }
    if (c->kind == MG_CONDITION_BETWEEN) {
        const struct mg_value *low = &c->values[0], *high = &c->values[1];
        in = (low->is_null || mg_value_compare(&v, low) >= (int)c->low_is_open) &&
             (high->is_null || mg_value_compare(&v, high) <= -(int)c->high_is_open);
    }
    return in != c->is_negated;
}

static uint64_t judged[3], told_total;

/* One condition: its filter, its description and the verdict of bounds agree; rows that it keeps stay in `left`. */
static void check_condition(uint64_t seed, const struct mg_expr *expr, const struct mg_predicate *predicate,
                            uint32_t condition, const struct mg_batch *batch, const struct bounds *bounds,
                            uint64_t *left, struct mg_arena *scratch)
{
    struct mg_error err;
    uint32_t count, kept = 0;
    const struct mg_condition *c = &mg_predicate_conditions(predicate, &count)[condition];
    const struct mg_vector *vectors[COLUMNS + 1] = {NULL};
    uint64_t mask[(ROWS_MAX + 63) / 64 + 1];

    assert_true(condition < count);
    for (uint32_t i = 0; i < c->column_count; i++)
        vectors[c->columns[i]] = &batch->vectors[c->columns[i]];
    memset(mask, 0xff, sizeof mask);
    assert_ok(mg_predicate_filter_one(predicate, condition, vectors, batch->row_count, mask, scratch, &err));
    for (uint32_t row = 0; row < batch->row_count; row++) {
        bool is_kept = mask[row / 64] >> (row % 64) & 1;
        if (c->kind != MG_CONDITION_OTHER && is_told(c, batch, row) != is_kept)
            fail_case(seed, expr, "a condition keeps other rows than it says", row);
        told_total += c->kind != MG_CONDITION_OTHER;
        kept += is_kept;
    }
    for (uint32_t w = 0; w < (batch->row_count + 63) / 64; w++)
        left[w] &= mask[w];
    enum mg_verdict verdict = mg_predicate_judge(predicate, condition, bounds->lows, bounds->highs, bounds->has_null);
    judged[verdict]++;
    if ((verdict == MG_VERDICT_NONE && kept) || (verdict == MG_VERDICT_ALL && kept < batch->row_count))
        fail_case(seed, expr, "bounds say something else of a condition than its rows", 0);
}

static void check_conditions(uint64_t seed, const struct mg_expr *expr, const struct mg_predicate *predicate,
                             const struct mg_batch *batch, const struct bounds *bounds, const enum truth *truths,
                             struct mg_arena *scratch)
{
    uint64_t left[(ROWS_MAX + 63) / 64 + 1];
    uint32_t count;

    memset(left, 0xff, sizeof left);
    (void)mg_predicate_conditions(predicate, &count);
    assert_true(count > 0 || mg_predicate_is_all(predicate));
    for (uint32_t i = 0; i < count; i++)
        check_condition(seed, expr, predicate, i, batch, bounds, left, scratch);
    for (uint32_t row = 0; row < batch->row_count; row++)
        if ((left[row / 64] >> (row % 64) & 1) != (truths[row] == YES))
            fail_case(seed, expr, "all conditions together keep other rows", row);
}

static void run_case(uint64_t seed, const struct mg_schema *schema)
{
    static const uint32_t row_counts[] = {0, 1, 63, 64, 65, 128, 200, ROWS_MAX};
    struct mg_error err;
    struct mg_random random;
    struct mg_arena arena, scratch;
    struct mg_predicate *predicate;
    static struct bounds bounds;
    enum truth truths[ROWS_MAX];
    bool any;

    mg_random_init(&random, seed);
    mg_arena_init(&arena, 64 << 20);
    mg_arena_init(&scratch, 64 << 20);
    struct mg_batch *batch = random_batch(&random, row_counts[below(&random, MG_COUNT_OF(row_counts))]);
    assert_ok(mg_batch_check(batch, &err));
    find_bounds(&bounds, batch);
    for (int i = 0; i < 4; i++) {
        struct mg_expr *expr = random_tree(&random, &arena, (int)below(&random, 5));
        assert_non_null(expr);
        assert_ok(mg_predicate_bind(expr, schema, &predicate, &err));
        any = false;
        for (uint32_t row = 0; row < batch->row_count; row++) {
            truths[row] = slow_eval(expr, batch, row);
            any = any || truths[row] == YES;
        }
        check_filter(seed, expr, predicate, batch, truths, &scratch);
        if (predicate->kernels != &mg_expr__kernels_plain) {
            predicate->kernels = &mg_expr__kernels_plain;
            check_filter(seed, expr, predicate, batch, truths, &scratch);
        }
        check_conditions(seed, expr, predicate, batch, &bounds, truths, &scratch);
        bool may = mg_predicate_may_match(predicate, bounds.lows, bounds.highs, bounds.has_null);
        if (any && !may)
            fail_case(seed, expr, "may_match says that no row is true", 0);
        skipped_total += !may;
        mg_predicate_free(predicate);
    }
    mg_batch_unref(batch);
    mg_arena_clear(&arena);
    mg_arena_clear(&scratch);
}

static void test_against_the_slow_evaluator(void **state)
{
    struct mg_schema *schema = make_table(column_types, COLUMNS + 1, COLUMNS);

    for (uint64_t seed = 1; seed <= CASES; seed++)
        run_case(only_case ? only_case : seed, schema);
    mg_schema_unref(schema);
    printf("%llu of %llu rows kept, %llu of %d batches skipped by their bounds\n", (unsigned long long)kept_total,
           (unsigned long long)asked_total, (unsigned long long)skipped_total, CASES * 4);
    printf("conditions by their bounds: %llu for no row, %llu for some, %llu for all\n", (unsigned long long)judged[0],
           (unsigned long long)judged[1], (unsigned long long)judged[2]);
    /* Otherwise the cases say too little. */
    assert_true(only_case || (judged[MG_VERDICT_NONE] > CASES / 8 && judged[MG_VERDICT_ALL] > CASES / 8));
    assert_true(only_case || told_total > asked_total / 40);
    assert_true(only_case || (kept_total > asked_total / 8 && kept_total < asked_total / 2));
    assert_true(only_case || skipped_total > CASES / 4);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_the_slow_evaluator)};

    for (int i = 0; i < COLUMNS; i++)
        column_types[i] = kinds[i % (COLUMNS / 2)];
    column_types[COLUMNS].id = MG_TYPE_INT64;
    only_case = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
