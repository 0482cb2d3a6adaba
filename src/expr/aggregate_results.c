/* aggregate_results.c -- what a cell holds as the result of a call: whether it fits its type is asked here.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "expr/aggregate_internal.h"
#include "expr/expr_internal.h"
#include "expr/wide.h"

enum mg_code mg_agg__put(struct mg_batch_builder *builder, uint32_t column, struct mg_type type,
                         const struct mg_value *v, struct mg_error *err)
{
    bool is_unsigned = mg_scalar__is_unsigned(v->type.id);

    if (v->is_null)
        return mg_builder_null(builder, column, err);
    if (type.id == MG_TYPE_UTF8)
        return mg_builder_text(builder, column, v->text, err);
    if (mg_scalar__is_float(type.id))
        return mg_builder_float(builder, column, v->f, err);
    mg_int128 exact = v->type.id == MG_TYPE_DECIMAL ? v->d : is_unsigned ? (mg_int128)v->u : (mg_int128)v->i;
    if (type.id == MG_TYPE_DECIMAL)
        return mg_builder_decimal(builder, column, exact, err);
    return mg_builder_int(builder, column, (int64_t)exact, err); /* cut to its width */
}

static bool fits(struct mg_type type, mg_int128 v)
{
    mg_int128 low, high;

    if (type.id == MG_TYPE_DECIMAL)
        return mg_decimal_fits(v, type.precision);
    mg_expr__domain(type.id, &low, &high);
    return v >= low && v <= high;
}

static enum mg_code fail_type(const struct mg_aggregate *aggregate, const char *what, struct mg_type type,
                              struct mg_error *err)
{
    char text[48];

    mg_type_format(type, text);
    return mg_fail(err, MG_OUT_OF_RANGE, "%s: %s does not fit %s",
                   aggregate->rules == MG_RULES_SPARK ? "ARITHMETIC_OVERFLOW" : "DECIMAL value is out of range", what,
                   text);
}

static enum mg_code put_sum(const struct mg_aggregate *aggregate, const struct mg_aggregate_bound_call *call,
                            const struct mg_agg__cell *cell, struct mg_batch_builder *builder, uint32_t column,
                            struct mg_error *err)
{
    struct mg_value v = {.type = {.id = MG_TYPE_DECIMAL}, .d = cell->exact};

    if (mg_scalar__is_float(call->sum_type.id)) {
        if (aggregate->rules == MG_RULES_MYSQL && !isfinite(cell->real))
            return mg_fail(err, MG_OUT_OF_RANGE, "DOUBLE value is out of range: a sum");
        return mg_builder_float(builder, column, cell->real, err);
    }
    if (!fits(call->sum_type, cell->exact))
        return fail_type(aggregate, "a sum", call->sum_type, err);
    return mg_agg__put(builder, column, call->sum_type, &v, err);
}

static enum mg_code put_average(const struct mg_aggregate *aggregate, const struct mg_aggregate_bound_call *call,
                                const struct mg_agg__cell *cell, struct mg_batch_builder *builder, uint32_t column,
                                struct mg_error *err)
{
    struct mg_wide wide = mg_wide_of(cell->exact);
    mg_int128 average;

    if (mg_scalar__is_float(call->sum_type.id))
        return mg_builder_float(builder, column, cell->real / (double)cell->count, err);
    if (mg_scalar__is_float(call->type.id))
        return mg_builder_float(builder, column, (double)cell->exact / (double)cell->count, err);
    if (!mg_wide_scale_up(&wide, (uint32_t)(call->type.scale - call->sum_type.scale)) ||
        !mg_wide_divide(&wide, cell->count, &average) || !fits(call->type, average))
        return fail_type(aggregate, "an average", call->type, err);
    return mg_builder_decimal(builder, column, average, err);
}

static enum mg_code put_best(const struct mg_aggregate_bound_call *call, const struct mg_agg__cell *cell,
                             struct mg_batch_builder *builder, uint32_t column, struct mg_error *err)
{
    struct mg_value v = {.type = call->type};

    if (call->type.id == MG_TYPE_UTF8) {
        v.text = MG_SLICE(cell->text.data, cell->text.size);
    } else if (mg_scalar__is_float(call->type.id)) {
        v.f = cell->real;
    } else {
        v.type = (struct mg_type){.id = MG_TYPE_DECIMAL};
        v.d = cell->exact;
    }
    return mg_agg__put(builder, column, call->type, &v, err);
}

enum mg_code mg_agg__cell_put(const struct mg_aggregate *aggregate, const struct mg_aggregate_bound_call *call,
                              const struct mg_agg__cell *cell, struct mg_batch_builder *builder, uint32_t column,
                              struct mg_error *err)
{
    bool splits = call->function == MG_AGGREGATE_AVG && aggregate->is_partial;

    if (call->function == MG_AGGREGATE_COUNT || call->function == MG_AGGREGATE_COUNT_ALL)
        return mg_builder_int(builder, column, cell->count, err);
    if (splits)
        MG_TRY(mg_builder_int(builder, column + 1, cell->count, err));
    if (cell->count == 0)
        return mg_builder_null(builder, column, err);
    if (call->function == MG_AGGREGATE_SUM || splits)
        return put_sum(aggregate, call, cell, builder, column, err);
    if (call->function == MG_AGGREGATE_AVG)
        return put_average(aggregate, call, cell, builder, column, err);
    return put_best(call, cell, builder, column, err);
}
