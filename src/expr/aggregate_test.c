/* aggregate_test.c -- random aggregates over random batches against a slow one, row by row: complete, and as partial
 * results of pieces that are merged; then limits and errors by example.
 *
 * The slow one keeps a list of groups by their printed keys and knows nothing of blocks, runs and cells. Floats are
 * quarters, so that their sums do not depend on the order. Rows come as batches, and block by block as ints and codes,
 * with the loops of each kind of machine.
 * Replay    aggregate_test SEED runs only that case.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"
#include "expr/expr_internal.h"
#include "expr/expr_testing.h"
#include "expr/scalar_internal.h"
#include "expr/wide.h"

enum { CASES = 1500, ROWS_MAX = 2600, COLUMNS = 16, CALLS = 5, GROUPS = 3, LIST_MAX = 4096, TEXT = 400 };

static uint64_t only_case;

static const struct mg_type column_types[COLUMNS] = {
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
    {.id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2},
    {.id = MG_TYPE_DECIMAL, .precision = 37, .scale = 4},
    {.id = MG_TYPE_DATE},
    {.id = MG_TYPE_TIMESTAMP, .precision = 6},
    {.id = MG_TYPE_UTF8},
    {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE},
};

/* ---- random input -------------------------------------------------------------------------------------------- */

struct input {
    struct mg_random random;
    struct mg_schema *schema;
    struct mg_arena arena;
    struct mg_batch *batch;
    const struct mg_vector *vectors[COLUMNS];
    uint64_t mask[ROWS_MAX / 64 + 1];
    uint64_t spread;  /* different values of a column, roughly */
    uint64_t extreme; /* one in so many values is; 0: none */
};

static uint64_t below(struct input *in, uint64_t bound) { return mg_random_below(&in->random, bound); }
static bool one_in(struct input *in, uint64_t n) { return below(in, n) == 0; }
static bool is_extreme(struct input *in) { return in->extreme && one_in(in, in->extreme); }

static struct mg_value random_value(struct input *in, struct mg_type type)
{
    static const char *const texts[] = {"", " ", "a", "a ", "b", "B", "long enough", "long enough  ", "a\x01"};
    struct mg_value v = {.type = type};
    int64_t small = (int64_t)below(in, in->spread) - (int64_t)in->spread / 2;
    uint32_t bits = mg_type_width(type.id) * 8;

    if (type.id == MG_TYPE_UTF8) {
        bool flags = in->spread < 20; /* of one byte: the direct way */
        v.text = mg_slice_text(texts[below(in, flags ? 6 : MG_COUNT_OF(texts))]);
    } else if (type.id == MG_TYPE_FLOAT32 || type.id == MG_TYPE_FLOAT64) {
        v.f = one_in(in, 30) ? -0.0 : (double)small / 4;
    } else if (type.id == MG_TYPE_DECIMAL) {
        v.d = is_extreme(in) ? mg_decimal_power(type.precision - 3) : small;
    } else if (mg_scalar__is_unsigned(type.id)) {
        v.u = is_extreme(in) ? UINT64_MAX >> (64 - bits) : (uint64_t)small & 0x7f;
    } else {
        v.i = (int64_t)(int8_t)small;
        if (is_extreme(in) && (bits < 64 || type.id == MG_TYPE_INT64))
            v.i = one_in(in, 2) ? INT64_MIN >> (64 - bits) : INT64_MAX >> (64 - bits);
    }
    return v;
}

static void make_batch(struct input *in, uint32_t row_count)
{
    struct mg_batch_builder builder;
    struct mg_error err;

    assert_ok(mg_batch_builder_init(&builder, column_types, COLUMNS, NULL, 64 << 20, &err));
    for (uint32_t c = 0; c < COLUMNS; c++) {
        uint64_t nulls = one_in(in, 3) ? 0 : 1 + below(in, 6);
        for (uint32_t row = 0; row < row_count; row++) {
            struct mg_value v = random_value(in, column_types[c]);
            if (nulls && one_in(in, nulls + 1))
                assert_ok(mg_builder_null(&builder, c, &err));
            else
                assert_ok(mg_builder_value(&builder, c, &v, &err));
        }
    }
    assert_ok(mg_batch_builder_finish(&builder, row_count, &in->batch, &err));
    mg_batch_builder_clear(&builder);
    for (uint32_t c = 0; c < COLUMNS; c++)
        in->vectors[c] = &in->batch->vectors[c];
    uint64_t density = below(in, 5);
    memset(in->mask, 0, sizeof in->mask);
    for (uint32_t row = 0; row < row_count; row++)
        if (density == 0 || (density == 4 ? one_in(in, 10) : !one_in(in, density + 1)))
            in->mask[row / 64] |= UINT64_C(1) << (row % 64);
}

static struct mg_expr *column(struct input *in, uint64_t place) { return make_column(&in->arena, (uint32_t)place); }

static struct mg_expr *random_literal(struct input *in)
{
    struct mg_type types[] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_DECIMAL, .precision = 3, .scale = 2}};
    struct mg_value v = {.type = types[below(in, 2)]};

    if (one_in(in, 20))
        v.is_null = true;
    else if (v.type.id == MG_TYPE_DECIMAL)
        v.d = (int64_t)below(in, 300) - 100;
    else
        v.i = one_in(in, 8) ? INT64_MAX - 5 : (int64_t)below(in, 20) - 5;
    return mg_expr_literal(&in->arena, &v);
}

/* Over integers and decimals: the same parts come again and again. */
static struct mg_expr *random_tree(struct input *in, uint32_t depth)
{
    static const uint8_t places[] = {0, 1, 2, 3, 4, 7, 10, 10, 10, 11};
    static const enum mg_expr_op ops[] = {MG_EXPR_ADD,      MG_EXPR_SUBTRACT, MG_EXPR_SUBTRACT, MG_EXPR_MULTIPLY,
                                          MG_EXPR_MULTIPLY, MG_EXPR_DIVIDE,   MG_EXPR_NEGATE};
    struct mg_expr *args[2];

    if (depth == 0)
        return one_in(in, 4) ? random_literal(in) : column(in, places[below(in, one_in(in, 2) ? 3 : sizeof places)]);
    enum mg_expr_op op = ops[below(in, one_in(in, 4) ? MG_COUNT_OF(ops) : 5)];
    args[0] = random_tree(in, (uint32_t)below(in, depth));
    args[1] = random_tree(in, (uint32_t)below(in, depth));
    return mg_expr_call(&in->arena, op, args, op == MG_EXPR_NEGATE ? 1 : 2);
}

static struct mg_expr *random_argument(struct input *in, bool number)
{
    struct mg_expr *args[2] = {column(in, below(in, number ? 12 : COLUMNS)), NULL};

    if (!number || one_in(in, 3))
        return args[0];
    if (one_in(in, 2))
        return random_tree(in, 3);
    args[0] = column(in, one_in(in, 2) ? 10 : below(in, 3));
    args[1] = column(in, one_in(in, 2) ? 10 : 1 + below(in, 2));
    return mg_expr_call(&in->arena, one_in(in, 2) ? MG_EXPR_MULTIPLY : MG_EXPR_SUBTRACT, args, 2);
}

static void make_request(struct input *in, struct mg_aggregate_request *request)
{
    struct mg_aggregate_call *calls = mg_arena_array(&in->arena, struct mg_aggregate_call, CALLS);
    const struct mg_expr **groups = mg_arena_array(&in->arena, const struct mg_expr *, GROUPS);

    request->rules = one_in(in, 2) ? MG_RULES_SPARK : MG_RULES_MYSQL;
    request->group_count = (uint32_t)below(in, GROUPS + 1);
    request->call_count = (uint32_t)below(in, CALLS) + 1;
    request->groups = groups;
    request->calls = calls;
    for (uint32_t i = 0; i < request->group_count; i++)
        groups[i] = in->spread < 20 && one_in(in, 2) ? column(in, 14 + below(in, 2))
                                                     : random_argument(in, one_in(in, 6));
    for (uint32_t i = 0; i < request->call_count; i++) {
        calls[i].function = (enum mg_aggregate_function)(1 + below(in, 6));
        bool sums = calls[i].function == MG_AGGREGATE_SUM || calls[i].function == MG_AGGREGATE_AVG;
        if (calls[i].function != MG_AGGREGATE_COUNT_ALL)
            calls[i].argument = random_argument(in, sums || one_in(in, 4));
        if (i && sums && calls[i - 1].argument && one_in(in, 3)) { /* calls that share a total */
            calls[i].argument = calls[i - 1].argument;
            calls[i].function = calls[i - 1].function == MG_AGGREGATE_SUM ? MG_AGGREGATE_AVG : calls[i - 1].function;
        }
    }
}

/* ---- the slow one -------------------------------------------------------------------------------------------- */

struct slow_cell {
    int64_t count;
    mg_int128 exact;
    double real;
    struct mg_value best; /* its text: of the batch */
};
struct slow_group {
    char key[TEXT];
    struct slow_cell cells[CALLS];
};
static struct slow_group slow[LIST_MAX];
static uint32_t slow_count;

/* A scalar of one row as its own type. */
static enum mg_code value_at(const struct mg_scalar *scalar, struct input *in, uint32_t row, struct mg_value *out)
{
    static _Alignas(16) uint8_t frame[1 << 20];
    struct mg_vector cut[COLUMNS], result;
    const struct mg_vector *places[COLUMNS];
    struct mg_error err;
    static uint8_t bits[COLUMNS][8];

    for (uint32_t c = 0; c < COLUMNS; c++) {
        const struct mg_vector *v = in->vectors[c];
        cut[c] = *v;
        cut[c].row_count = 1;
        bits[c][0] = !mg_vector_is_null(v, row);
        cut[c].validity = bits[c][0] ? NULL : bits[c];
        cut[c].null_count = !bits[c][0];
        if (v->offsets)
            cut[c].offsets = v->offsets + row;
        else
            cut[c].values = (const uint8_t *)v->values + (size_t)row * mg_type_width(v->type.id);
        places[c] = &cut[c];
    }
    assert_true(mg_scalar_frame_bytes(scalar) <= sizeof frame);
    MG_TRY(mg_scalar_eval(scalar, places, 1, frame, &result, &err));
    *out = mg_vector_value(&result, 0);
    return MG_OK;
}

static mg_int128 exact_of(const struct mg_value *v)
{
    if (v->type.id == MG_TYPE_DECIMAL)
        return v->d;
    return mg_scalar__is_unsigned(v->type.id) ? (mg_int128)v->u : v->i;
}

static struct mg_value of_type(struct mg_type type, const struct mg_value *v)
{
    struct mg_value out = {.type = type, .is_null = v->is_null};

    if (type.id == MG_TYPE_UTF8)
        out.text = v->text;
    else if (mg_scalar__is_float(type.id))
        out.f = v->f + 0.0;
    else if (type.id == MG_TYPE_DECIMAL)
        out.d = exact_of(v);
    else
        out.i = (int64_t)exact_of(v);
    return out;
}

static void print(char *to, const struct mg_value *v)
{
    struct mg_buffer text;
    struct mg_error err;

    mg_buffer_init(&text, 1024);
    assert_ok(mg_value_format(v, &text, &err));
    size_t at = strlen(to);
    assert_true(at + text.size + 2 < TEXT);
    if (text.size)
        memcpy(to + at, text.data, text.size);
    memcpy(to + at + text.size, "|", 2);
    mg_buffer_clear(&text);
}

static struct slow_group *slow_group_of(const char *key)
{
    for (uint32_t i = 0; i < slow_count; i++)
        if (strcmp(slow[i].key, key) == 0)
            return &slow[i];
    assert_true(slow_count < LIST_MAX);
    slow[slow_count] = (struct slow_group){.key = {0}};
    snprintf(slow[slow_count].key, TEXT, "%s", key);
    return &slow[slow_count++];
}

static int slow_order(const struct mg_aggregate *aggregate, const struct mg_value *a, const struct mg_value *b)
{
    bool pads = aggregate->rules == MG_RULES_MYSQL && a->type.collation == MG_COLLATION_PAD_SPACE;

    if (a->type.id == MG_TYPE_UTF8) {
        int order = pads ? mg_slice_compare(mg_expr__trim(a->text), mg_expr__trim(b->text)) : 0;
        return order ? order : mg_slice_compare(a->text, b->text);
    }
    return mg_value_compare(a, b);
}

static enum mg_code slow_row(const struct mg_aggregate *aggregate, struct input *in, uint32_t row)
{
    char key[TEXT] = "";
    struct mg_value v;

    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        MG_TRY(value_at(aggregate->groups[i], in, row, &v));
        v = of_type(aggregate->group_types[i], &v);
        if (v.type.collation == MG_COLLATION_PAD_SPACE && aggregate->rules == MG_RULES_MYSQL && !v.is_null)
            v.text = mg_expr__trim(v.text);
        print(key, &v);
    }
    struct slow_group *group = slow_group_of(key);
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        struct slow_cell *cell = &group->cells[i];
        if (!call->argument) {
            cell->count++;
            continue;
        }
        MG_TRY(value_at(call->argument, in, row, &v));
        if (v.is_null)
            continue;
        struct mg_value value = of_type(mg_scalar_type(call->argument), &v);
        int order = cell->count ? slow_order(aggregate, &value, &cell->best) : 0;
        if (!cell->count || (call->function == MG_AGGREGATE_MIN ? order < 0 : order > 0))
            cell->best = value;
        cell->count++;
        cell->real += v.type.id == MG_TYPE_FLOAT32 || v.type.id == MG_TYPE_FLOAT64 ? v.f : 0;
        if (v.type.id != MG_TYPE_UTF8 && !mg_scalar__is_float(v.type.id) &&
            __builtin_add_overflow(cell->exact, exact_of(&v), &cell->exact))
            return MG_OUT_OF_RANGE;
    }
    return MG_OK;
}

static bool slow_result(const struct mg_aggregate_bound_call *call, const struct slow_cell *cell, struct mg_value *out)
{
    bool averages = call->function == MG_AGGREGATE_AVG;
    mg_int128 exact = cell->exact;

    *out = (struct mg_value){.type = call->type, .is_null = cell->count == 0};
    if (call->function <= MG_AGGREGATE_COUNT) {
        *out = (struct mg_value){.type = call->type, .i = cell->count};
    } else if (cell->count == 0) {
        return true;
    } else if (call->function == MG_AGGREGATE_MIN || call->function == MG_AGGREGATE_MAX) {
        *out = cell->best;
    } else if (mg_scalar__is_float(call->type.id)) {
        double sum = mg_scalar__is_float(call->sum_type.id) ? cell->real : (double)exact;
        out->f = averages ? sum / (double)cell->count : sum;
    } else {
        struct mg_wide wide = mg_wide_of(exact);
        if (averages && (!mg_wide_scale_up(&wide, (uint32_t)(call->type.scale - call->sum_type.scale)) ||
                         !mg_wide_divide(&wide, cell->count, &exact)))
            return false;
        out->d = exact;
        if (call->type.id == MG_TYPE_DECIMAL)
            return mg_decimal_fits(exact, call->type.precision);
        out->i = (int64_t)exact;
        return out->i == exact;
    }
    return true;
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

static char lines[2][LIST_MAX][2 * TEXT];

static int compare_lines(const void *a, const void *b) { return strcmp(a, b); }

static bool slow_lines(const struct mg_aggregate *aggregate)
{
    for (uint32_t g = 0; g < slow_count; g++) {
        char results[TEXT] = "";
        for (uint32_t i = 0; i < aggregate->call_count; i++) {
            struct mg_value v;
            if (!slow_result(&aggregate->calls[i], &slow[g].cells[i], &v))
                return false;
            print(results, &v);
        }
        snprintf(lines[0][g], sizeof lines[0][g], "%s%s", slow[g].key, results);
    }
    qsort(lines[0], slow_count, sizeof lines[0][0], compare_lines);
    return true;
}

static enum mg_code fast_lines(struct mg_aggregation *a, uint32_t *count, struct mg_error *err)
{
    *count = 0;
    for (;;) {
        struct mg_batch *batch;
        MG_TRY(mg_aggregation_next(a, 100, &batch, err));
        if (!batch)
            break;
        assert_int_equal(mg_batch_check(batch, err), MG_OK);
        for (uint32_t row = 0; row < batch->row_count; row++) {
            char line[TEXT] = "";
            for (uint32_t c = 0; c < batch->column_count; c++) {
                struct mg_value v = mg_vector_value(&batch->vectors[c], row);
                print(line, &v);
            }
            assert_true(*count < LIST_MAX);
            snprintf(lines[1][(*count)++], sizeof lines[1][0], "%s", line);
        }
        mg_batch_unref(batch);
    }
    qsort(lines[1], *count, sizeof lines[1][0], compare_lines);
    return MG_OK;
}

static enum mg_code drain(struct mg_aggregation *from, struct mg_aggregation *into, struct mg_error *err)
{
    for (;;) {
        struct mg_batch *batch;
        MG_TRY(mg_aggregation_next(from, 7, &batch, err));
        if (!batch)
            return MG_OK;
        enum mg_code code = mg_aggregation_merge(into, batch, err);
        mg_batch_unref(batch);
        MG_TRY(code);
    }
}

/* In pieces of rows, each through a partial aggregation that is emptied when it is full. */
static enum mg_code in_pieces(struct input *in, const struct mg_aggregate *partial, struct mg_budget *budget,
                              struct mg_aggregation *into, struct mg_error *err)
{
    struct mg_aggregation *a;
    enum mg_code code = MG_OK;
    uint32_t words = (in->batch->row_count + 63) / 64;

    assert_int_equal(mg_aggregation_new(partial, budget, 1, &a, err), MG_OK);
    for (uint32_t piece = 0; piece < 3 && code == MG_OK; piece++) {
        uint64_t mask[ROWS_MAX / 64 + 1];
        for (uint32_t w = 0; w < words; w++)
            mask[w] = w % 3 == piece ? in->mask[w] : 0;
        code = mg_aggregation_update(a, in->vectors, in->batch->row_count, mask, err);
        if (code == MG_OK && mg_aggregation_is_full(a))
            code = drain(a, into, err);
        assert_true(code != MG_OK || !mg_aggregation_is_full(a)); /* else a scan would never go on */
    }
    if (code == MG_OK)
        code = drain(a, into, err);
    mg_aggregation_free(a);
    return code;
}

/* ---- forms of input ------------------------------------------------------------------------------------------ */

/* A column as its values and their numbers, once for the whole batch. */
struct dictionary {
    struct mg_batch *values;
    uint16_t codes[ROWS_MAX];
};

enum { DICTIONARY_MAX = 200 };

static bool same_value(const struct mg_value *a, const struct mg_value *b)
{
    return a->type.id == MG_TYPE_UTF8 ? mg_slice_compare(a->text, b->text) == 0 : mg_value_compare(a, b) == 0;
}

/* False when there are too many different values. NULL rows get codes of no meaning. */
static bool make_dictionary(struct input *in, const struct mg_vector *v, struct dictionary *out)
{
    struct mg_batch_builder builder;
    struct mg_error err;
    struct mg_value known[DICTIONARY_MAX];
    uint32_t count = 0;

    for (uint32_t row = 0; row < v->row_count; row++) {
        out->codes[row] = (uint16_t)below(in, 65536);
        if (mg_vector_is_null(v, row))
            continue;
        struct mg_value value = mg_vector_value(v, row);
        uint32_t code = 0;
        while (code < count && !same_value(&known[code], &value))
            code++;
        if (code == DICTIONARY_MAX)
            return false;
        count += code == count;
        known[code] = value;
        out->codes[row] = (uint16_t)code;
    }
    assert_ok(mg_batch_builder_init(&builder, &v->type, 1, NULL, 64 << 20, &err));
    for (uint32_t i = 0; i < count; i++)
        assert_ok(mg_builder_value(&builder, 0, &known[i], &err));
    assert_ok(mg_batch_builder_finish(&builder, count, &out->values, &err));
    mg_batch_builder_clear(&builder);
    return true;
}

/* Rows [first, first + count) of one column. */
struct form {
    struct mg_agg_input input;
    struct mg_vector vector;
    int64_t ints[MG_SCALAR_ROWS_MAX];
    uint16_t codes[MG_SCALAR_ROWS_MAX];
    uint8_t bits[MG_SCALAR_ROWS_MAX / 8 + 8];
};

static void cut(const struct mg_vector *v, uint32_t first, uint32_t count, struct form *out)
{
    out->vector = *v;
    out->vector.row_count = count;
    out->vector.null_count = v->null_count ? count - mg_bits_count(v->validity, first, count) : 0;
    out->vector.validity = v->validity ? v->validity + first / 8 : NULL;
    if (v->offsets)
        out->vector.offsets = v->offsets + first;
    else
        out->vector.values = (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
    out->input = (struct mg_agg_input){.null_count = out->vector.null_count,
                                       .validity = out->vector.null_count ? out->vector.validity : NULL};
}

/* False when a value does not fit, or has no integer. */
static bool as_ints(struct input *in, struct form *form)
{
    const struct mg_vector *v = &form->vector;
    mg_int128 low = INT64_MAX, high = INT64_MIN;

    if (v->type.id == MG_TYPE_UTF8 || mg_scalar__is_float(v->type.id))
        return false;
    for (uint32_t i = 0; i < v->row_count; i++) {
        struct mg_value value = mg_vector_value(v, i);
        mg_int128 exact = exact_of(&value);
        form->ints[i] = mg_vector_is_null(v, i) ? (int64_t)mg_random_u64(&in->random) : (int64_t)exact;
        if (mg_vector_is_null(v, i))
            continue;
        if (exact != form->ints[i])
            return false;
        low = MG_MIN(low, exact);
        high = MG_MAX(high, exact);
    }
    mg_int128 slack = one_in(in, 2) ? 0 : one_in(in, 8) ? INT64_MAX : below(in, 1000);
    form->input.ints = form->ints;
    form->input.low = (int64_t)MG_MAX(low - slack, (mg_int128)INT64_MIN);
    form->input.high = (int64_t)MG_MIN(high + slack, (mg_int128)INT64_MAX);
    return true;
}

/* The whole batch in blocks, each column in any form that it can have. */
static enum mg_code in_forms(struct input *in, struct mg_aggregation *a, struct mg_error *err)
{
    static struct form forms[COLUMNS];
    static struct dictionary dictionaries[COLUMNS];
    struct mg_agg_input inputs[COLUMNS];
    enum mg_code code = MG_OK;
    uint32_t step = (uint32_t)(1 + below(in, MG_SCALAR_ROWS_MAX / 64)) * 64;

    for (uint32_t c = 0; c < COLUMNS; c++)
        if (!one_in(in, 2) || !make_dictionary(in, in->vectors[c], &dictionaries[c]))
            dictionaries[c].values = NULL;
    for (uint32_t first = 0; code == MG_OK && first < in->batch->row_count; first += step) {
        uint32_t count = MG_MIN(in->batch->row_count - first, step);
        uint32_t chosen = mg_mask_count(in->mask + first / 64, count);
        for (uint32_t c = 0; c < COLUMNS; c++) {
            cut(in->vectors[c], first, count, &forms[c]);
            if (dictionaries[c].values && !one_in(in, 3)) {
                memcpy(forms[c].codes, dictionaries[c].codes + first, count * sizeof forms[c].codes[0]);
                forms[c].input.codes = forms[c].codes;
                forms[c].input.dictionary = &dictionaries[c].values->vectors[0];
                forms[c].input.dictionary_id = one_in(in, 4) ? 0 : 1;
            } else if (one_in(in, 4) || !as_ints(in, &forms[c])) {
                forms[c].input = (struct mg_agg_input){.vector = &forms[c].vector};
            }
            inputs[c] = forms[c].input;
        }
        code = mg_aggregation_take(a, inputs, count, chosen == count ? NULL : in->mask + first / 64, err);
    }
    for (uint32_t c = 0; c < COLUMNS; c++)
        mg_batch_unref(dictionaries[c].values);
    return code;
}

static void compare_one(uint64_t seed, const char *what, bool slow_fits, enum mg_code code, struct mg_aggregation *a)
{
    struct mg_error err = MG_ERROR_INIT;
    uint32_t count = 0;

    if (code == MG_OK)
        code = fast_lines(a, &count, &err);
    mg_aggregation_free(a);
    if (slow_fits != (code == MG_OK))
        fail_msg("case %llu, %s: the slow one says %s, this %s: %s", (unsigned long long)seed, what,
                 slow_fits ? "OK" : "an error", mg_code_name(code), err.text);
    if (code != MG_OK) {
        assert_true(code == MG_OUT_OF_RANGE || code == MG_DIVIDE_BY_ZERO);
        return;
    }
    if (count != slow_count)
        fail_msg("case %llu, %s: %u groups, not %u", (unsigned long long)seed, what, count, slow_count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(lines[0][i], lines[1][i]) != 0)
            fail_msg("case %llu, %s: %s, not %s", (unsigned long long)seed, what, lines[1][i], lines[0][i]);
}

static const char *const kernels[] = {"plain", "avx2", "avx512"};

static void run_case(struct mg_schema *schema, uint64_t seed)
{
    struct input in = {.schema = schema};
    struct mg_aggregate_request request = {0};
    struct mg_aggregate *whole, *partial;
    struct mg_aggregation *a;
    struct mg_budget budget;
    struct mg_error err;

    mg_random_init(&in.random, seed);
    mg_arena_init(&in.arena, 1 << 20);
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    in.spread = (uint64_t[]){3, 12, 100, 1000}[below(&in, 4)];
    in.extreme = (uint64_t[]){0, 0, 50, 1000}[below(&in, 4)];
    make_batch(&in, (uint32_t)(one_in(&in, 10) ? 0 : 1 + below(&in, one_in(&in, 4) ? ROWS_MAX : 200)));
    make_request(&in, &request);
    assert_ok(mg_aggregate_bind(&request, schema, &whole, &err));
    request.is_partial = true;
    assert_ok(mg_aggregate_bind(&request, schema, &partial, &err));

    slow_count = 0;
    bool fits = true;
    if (request.group_count == 0)
        slow_group_of("");
    for (uint32_t row = 0; fits && row < in.batch->row_count; row++)
        if (in.mask[row / 64] >> (row % 64) & 1)
            fits = slow_row(whole, &in, row) == MG_OK;
    fits = fits && slow_lines(whole);
    assert_ok(mg_aggregation_new(whole, &budget, 0, &a, &err));
    enum mg_code code = mg_aggregation_update(a, in.vectors, in.batch->row_count, in.mask, &err);
    compare_one(seed, "in one pass", fits, code, a);
    for (size_t i = 0; i < MG_COUNT_OF(kernels); i++) {
        if (!mg_agg__kernels_force(kernels[i])) /* not on this machine */
            continue;
        assert_ok(mg_aggregation_new(whole, &budget, 0, &a, &err));
        code = in_forms(&in, a, &err);
        compare_one(seed, kernels[i], fits, code, a);
    }
    assert_true(mg_agg__kernels_force(NULL));
    assert_ok(mg_aggregation_new(whole, &budget, 0, &a, &err));
    code = in_pieces(&in, partial, &budget, a, &err);
    if (fits || code == MG_OK)
        compare_one(seed, "in pieces", fits, code, a);
    else
        mg_aggregation_free(a);
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_aggregate_free(whole);
    mg_aggregate_free(partial);
    mg_batch_unref(in.batch);
    mg_arena_clear(&in.arena);
}

static void random_aggregates(void **state)
{
    struct mg_schema *schema = make_table(column_types, COLUMNS, 0);

    for (uint64_t seed = only_case ? only_case : 1; seed <= (only_case ? only_case : CASES); seed++)
        run_case(schema, seed);
    mg_schema_unref(schema);
}

/* ---- by example ---------------------------------------------------------------------------------------------- */

static void too_many_groups(void **state)
{
    struct input in = {.schema = make_table(column_types, COLUMNS, 0), .spread = 100000};
    struct mg_error err;
    struct mg_budget budget;
    struct mg_aggregation *a;
    struct mg_aggregate *aggregate;
    struct mg_batch *batch;

    mg_arena_init(&in.arena, 1 << 20);
    mg_random_init(&in.random, 7);
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    make_batch(&in, ROWS_MAX);
    const struct mg_expr *group = column(&in, 10);
    struct mg_aggregate_call call = {.function = MG_AGGREGATE_COUNT_ALL};
    struct mg_aggregate_request request = {.groups = &group, .group_count = 1, .calls = &call, .call_count = 1};
    assert_ok(mg_aggregate_bind(&request, in.schema, &aggregate, &err));
    assert_ok(mg_aggregation_new(aggregate, &budget, 50000, &a, &err));
    assert_code(MG_NO_MEMORY, mg_aggregation_update(a, in.vectors, ROWS_MAX, in.mask, &err));
    assert_non_null(strstr(err.text, "too many groups"));
    mg_aggregation_free(a);
    assert_int_equal(mg_budget_used(&budget), 0);
    for (size_t limit = 0; limit < 400000; limit += 3000) { /* the budget refuses at every place once */
        mg_budget_init(&budget, "test", NULL, limit);
        enum mg_code code = mg_aggregation_new(aggregate, &budget, 0, &a, &err);
        if (code == MG_OK) {
            code = mg_aggregation_update(a, in.vectors, ROWS_MAX, in.mask, &err);
            if (code == MG_OK && mg_aggregation_next(a, 10, &batch, &err) == MG_OK)
                mg_batch_unref(batch);
            mg_aggregation_free(a);
        }
        assert_true(code == MG_OK || code == MG_NO_MEMORY);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_aggregate_free(aggregate);
    mg_batch_unref(in.batch);
    mg_arena_clear(&in.arena);
    mg_schema_unref(in.schema);
}

/* A table, a request over it, and the aggregation. */
struct example {
    struct mg_schema *schema;
    struct mg_arena arena;
    struct mg_aggregate *aggregate;
    struct mg_aggregation *a;
};

static void begin(struct example *e)
{
    e->schema = make_table(column_types, COLUMNS, 0);
    mg_arena_init(&e->arena, 1 << 20);
}

static void bind(struct example *e, const struct mg_aggregate_request *request)
{
    struct mg_error err;

    assert_ok(mg_aggregate_bind(request, e->schema, &e->aggregate, &err));
    assert_ok(mg_aggregation_new(e->aggregate, NULL, 0, &e->a, &err));
}

static void end(struct example *e)
{
    mg_aggregation_free(e->a);
    mg_aggregate_free(e->aggregate);
    mg_arena_clear(&e->arena);
    mg_schema_unref(e->schema);
}

static void what_is_known_is_added(void **state)
{
    struct example e;
    struct mg_error err;
    struct mg_batch *batch;

    begin(&e);
    const struct mg_expr *c10 = make_column(&e.arena, 10);
    struct mg_aggregate_call calls[] = {
        {MG_AGGREGATE_COUNT_ALL, NULL}, {MG_AGGREGATE_SUM, c10}, {MG_AGGREGATE_AVG, c10}};
    bind(&e,
         &(struct mg_aggregate_request){.rules = MG_RULES_SPARK, .calls = calls, .call_count = 3, .is_partial = true});
    assert_int_equal(e.aggregate->column_count, 4);
    assert_string_equal(e.aggregate->columns[3].name, "call_2_count");
    assert_ok(mg_aggregation_next(e.a, 10, &batch, &err));
    assert_null(batch); /* partial, and no row came */
    assert_ok(mg_aggregation_add(e.a, 0, 0, 1000, &err));
    assert_ok(mg_aggregation_add(e.a, 1, 12345, 900, &err));
    assert_ok(mg_aggregation_add(e.a, 2, 12345, 900, &err));
    struct mg_agg_input inputs[COLUMNS] = {[10] = {.ints = (const int64_t[]){5, 6}, .low = 0, .high = 6}};
    assert_ok(mg_aggregation_take(e.a, inputs, 2, NULL, &err)); /* and rows beside it */
    assert_ok(mg_aggregation_next(e.a, 10, &batch, &err));
    assert_int_equal(((const int64_t *)batch->vectors[0].values)[0], 1002);
    assert_true(((const mg_int128 *)batch->vectors[1].values)[0] == 12356);
    assert_true(((const mg_int128 *)batch->vectors[2].values)[0] == 12356);
    assert_int_equal(batch->vectors[1].type.precision, 25);
    assert_int_equal(((const int64_t *)batch->vectors[3].values)[0], 902);
    mg_batch_unref(batch);
    end(&e);
}

static void nan_is_one_group(void **state)
{
    struct example e;
    struct mg_error err;
    struct mg_batch *batch;
    double values[5] = {NAN, -NAN, 0.0, -0.0, 1.0};
    uint64_t mask = 31;
    struct mg_vector v = {.type = {.id = MG_TYPE_FLOAT64}, .row_count = 5, .values = values};
    const struct mg_vector *vectors[COLUMNS] = {[9] = &v};

    begin(&e);
    const struct mg_expr *c9 = make_column(&e.arena, 9);
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_COUNT_ALL, NULL}, {MG_AGGREGATE_MAX, c9}};
    bind(&e, &(struct mg_aggregate_request){
                 .rules = MG_RULES_SPARK, .groups = &c9, .group_count = 1, .calls = calls, .call_count = 2});
    assert_ok(mg_aggregation_update(e.a, vectors, 5, &mask, &err));
    assert_ok(mg_aggregation_next(e.a, 10, &batch, &err));
    assert_int_equal(batch->row_count, 3);
    assert_int_equal(((const int64_t *)batch->vectors[1].values)[0], 2);
    assert_true(isnan(((const double *)batch->vectors[2].values)[0]));
    assert_int_equal(((const int64_t *)batch->vectors[1].values)[1], 2);
    mg_batch_unref(batch);
    end(&e);
}

/* A mask of most rows, which are not copied together: rows outside it make no group and no error. */
static void rows_outside_the_mask_do_nothing(void **state)
{
    const int64_t keys[4] = {7, 8, 7, 7}, values[4] = {1, 2, 3, INT64_MAX};
    const uint64_t mask = 5;

    for (int narrow = 0; narrow < 2; narrow++) {
        struct example e;
        struct mg_error err;
        struct mg_batch *batch;
        begin(&e);
        const struct mg_expr *group = make_column(&e.arena, 2), *c3 = make_column(&e.arena, 3);
        struct mg_value two = {.type = {.id = MG_TYPE_INT64}, .i = 2};
        struct mg_expr *args[2] = {make_column(&e.arena, 3), mg_expr_literal(&e.arena, &two)};
        const struct mg_expr *twice = mg_expr_call(&e.arena, MG_EXPR_MULTIPLY, args, 2);
        struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, narrow ? c3 : twice}};
        struct mg_agg_input inputs[COLUMNS] = {
            [2] = {.ints = keys, .low = 7, .high = 8}, [3] = {.ints = values, .low = 1, .high = INT64_MAX}};
        bind(&e, &(struct mg_aggregate_request){.groups = &group, .group_count = 1, .calls = calls, .call_count = 1});
        assert_ok(mg_aggregation_take(e.a, inputs, 4, &mask, &err));
        assert_ok(mg_aggregation_next(e.a, 10, &batch, &err));
        assert_int_equal(batch->row_count, 1);
        assert_int_equal(((const int32_t *)batch->vectors[0].values)[0], 7);
        assert_true(((const mg_int128 *)batch->vectors[1].values)[0] == (narrow ? 4 : 8));
        mg_batch_unref(batch);
        assert_code(narrow ? MG_OK : MG_OUT_OF_RANGE, mg_aggregation_take(e.a, inputs, 4, NULL, &err));
        end(&e);
    }
}

/* Count rows of each group of one block after the other; groups show as "value:count " in the order they came. */
static void count_groups(uint32_t place, const struct mg_agg_input *blocks, uint32_t block_count, const char *want)
{
    struct example e;
    struct mg_error err;
    struct mg_batch *batch;
    char shown[TEXT] = "";

    begin(&e);
    const struct mg_expr *group = make_column(&e.arena, place);
    struct mg_aggregate_call call = {MG_AGGREGATE_COUNT_ALL, NULL};
    bind(&e, &(struct mg_aggregate_request){.groups = &group, .group_count = 1, .calls = &call, .call_count = 1});
    for (uint32_t i = 0; i < block_count; i++) {
        struct mg_agg_input inputs[COLUMNS] = {0};
        inputs[place] = blocks[i];
        assert_ok(mg_aggregation_take(e.a, inputs, 3, NULL, &err));
    }
    assert_ok(mg_aggregation_next(e.a, 100, &batch, &err));
    for (uint32_t row = 0; row < batch->row_count; row++)
        for (uint32_t c = 0; c < 2; c++) {
            struct mg_value v = mg_vector_value(&batch->vectors[c], row);
            print(shown, &v);
        }
    assert_string_equal(shown, want);
    mg_batch_unref(batch);
    end(&e);
}

/* What was remembered of the last block's numbers must not be believed of the next one's. */
static void small_numbers_change_their_meaning(void **state)
{
    static const int32_t offsets[] = {0, 1, 2};
    static const uint16_t codes[] = {0, 1, 1};
    struct mg_vector first = {.type = column_types[14], .row_count = 2, .values = "ab", .offsets = offsets};
    struct mg_vector second = {.type = column_types[14], .row_count = 2, .values = "bc", .offsets = offsets};
    struct mg_agg_input texts[] = {{.codes = codes, .dictionary = &first, .dictionary_id = 1},
                                   {.codes = codes, .dictionary = &second, .dictionary_id = 2},
                                   {.codes = codes, .dictionary = &first},
                                   {.codes = codes, .dictionary = &second}};
    struct mg_agg_input ints[] = {
        {.ints = (const int64_t[]){1, 2, 2}, .low = 1, .high = 2},
        {.ints = (const int64_t[]){1000001, 1000002, 1000001}, .low = 1000001, .high = 1000002},
        {.ints = (const int64_t[]){-5, 1, 2}, .low = -5, .high = 2},
        {.ints = (const int64_t[]){INT32_MIN, INT32_MAX, 1}, .low = INT32_MIN, .high = INT32_MAX}};

    count_groups(14, texts, 4, "a|2|b|6|c|4|");
    count_groups(2, ints, 4, "1|3|2|3|1000001|2|1000002|1|-5|1|-2147483648|1|2147483647|1|");
}

/* More than fit any table at its first size, in both kinds of keys; each comes twice. */
static void many_groups(void **state)
{
    enum { MANY = 200000, STEP = MG_SCALAR_ROWS_MAX };

    for (uint32_t column_count = 1; column_count <= 2; column_count++) {
        static int64_t ints[STEP];
        struct example e;
        struct mg_error err;
        struct mg_batch *batch;
        uint64_t rows = 0, sum = 0;
        begin(&e);
        const struct mg_expr *groups[] = {make_column(&e.arena, 3), make_column(&e.arena, 12)};
        struct mg_aggregate_call calls[] = {{MG_AGGREGATE_COUNT_ALL, NULL}, {MG_AGGREGATE_MAX, groups[0]}};
        bind(&e, &(struct mg_aggregate_request){
                     .groups = groups, .group_count = column_count, .calls = calls, .call_count = 2});
        for (uint32_t first = 0; first < 2 * MANY; first += STEP) {
            struct mg_agg_input inputs[COLUMNS] = {
                [3] = {.ints = ints, .high = (int64_t)MANY << 20}, [12] = {.ints = (const int64_t[STEP]){0}}};
            uint32_t count = MG_MIN(2u * MANY - first, (uint32_t)STEP);
            for (uint32_t i = 0; i < count; i++)
                ints[i] = (int64_t)((first + i) % MANY) << 20;
            assert_ok(mg_aggregation_take(e.a, inputs, count, NULL, &err));
        }
        for (;;) {
            assert_ok(mg_aggregation_next(e.a, 0, &batch, &err));
            if (!batch)
                break;
            const struct mg_vector *v = batch->vectors;
            for (uint32_t i = 0; i < batch->row_count; i++) {
                int64_t key = ((const int64_t *)v[0].values)[i];
                assert_int_equal(((const int64_t *)v[column_count].values)[i], 2);
                assert_int_equal(((const int64_t *)v[column_count + 1].values)[i], key);
                sum += (uint64_t)key >> 20;
            }
            rows += batch->row_count;
            mg_batch_unref(batch);
        }
        assert_int_equal(rows, MANY);
        assert_int_equal(sum, (uint64_t)MANY * (MANY - 1) / 2);
        end(&e);
    }
}

/* Many expressions to group by, and no call. */
static void nodes_of_groups_are_counted(void **state)
{
    struct example e;
    struct mg_error err;
    const struct mg_expr *groups[MG_AGGREGATE_GROUPS_MAX];

    begin(&e);
    struct mg_expr *sum = make_column(&e.arena, 2);
    for (int i = 0; i < 60; i++)
        sum = mg_expr_call(&e.arena, MG_EXPR_ADD, (struct mg_expr *[]){sum, make_column(&e.arena, 1)}, 2);
    for (int i = 0; i < MG_AGGREGATE_GROUPS_MAX; i++)
        groups[i] = sum;
    struct mg_aggregate_request request = {.groups = groups, .group_count = MG_AGGREGATE_GROUPS_MAX};
    assert_code(MG_TOO_BIG, mg_aggregate_bind(&request, e.schema, &e.aggregate, &err));
    request.group_count = 2;
    bind(&e, &request);
    end(&e);
}

static void bad_requests_are_refused(void **state)
{
    struct mg_schema *schema = make_table(column_types, COLUMNS, 0);
    struct mg_arena arena;
    struct mg_error err;
    struct mg_aggregate *aggregate;

    mg_arena_init(&arena, 1 << 20);
    const struct mg_expr *text = mg_expr_column(&arena, mg_slice_text("c14"));
    const struct mg_expr *nothing = mg_expr_literal(&arena, &(struct mg_value){.is_null = true});
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, text},
                                        {MG_AGGREGATE_AVG, NULL},
                                        {MG_AGGREGATE_COUNT_ALL, text},
                                        {(enum mg_aggregate_function)7, text},
                                        {MG_AGGREGATE_MIN, nothing}};
    struct mg_aggregate_request request = {.call_count = 0};
    assert_code(MG_INVALID, mg_aggregate_bind(&request, schema, &aggregate, &err));
    for (size_t i = 0; i < MG_COUNT_OF(calls); i++) {
        request = (struct mg_aggregate_request){.calls = &calls[i], .call_count = 1};
        assert_code(MG_INVALID, mg_aggregate_bind(&request, schema, &aggregate, &err));
    }
    request.call_count = MG_AGGREGATE_CALLS_MAX + 1;
    assert_code(MG_TOO_BIG, mg_aggregate_bind(&request, schema, &aggregate, &err));
    mg_arena_clear(&arena);
    mg_schema_unref(schema);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_aggregates),
        cmocka_unit_test(too_many_groups),
        cmocka_unit_test(what_is_known_is_added),
        cmocka_unit_test(nan_is_one_group),
        cmocka_unit_test(rows_outside_the_mask_do_nothing),
        cmocka_unit_test(small_numbers_change_their_meaning),
        cmocka_unit_test(many_groups),
        cmocka_unit_test(nodes_of_groups_are_counted),
        cmocka_unit_test(bad_requests_are_refused),
    };

    only_case = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
