/* model_aggregate.c -- aggregates of the oracle: all rows one by one, groups in a list.
 *
 * Shares with expr only how a row's value is computed (scalar.h, tested by example), never how values are grouped,
 * added up and compared.
 * Threads  a call's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/model_aggregate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESULT_BYTES_MAX = INT32_MAX };

struct cell {
    int64_t count;
    mg_int128 exact;
    double real;
    struct mg_value best;
};

struct group {
    struct mg_value *values; /* texts borrowed from the rows */
    struct cell *cells;
};

struct groups {
    struct group *at;
    size_t count;
};

static void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count + 1, size);
    mg_assert(p);
    return p;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static bool is_float(enum mg_type_id id) { return id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64; }

static mg_int128 exact_of(const struct mg_value *v)
{
    if (v->type.id == MG_TYPE_DECIMAL)
        return v->d;
    return v->type.id >= MG_TYPE_UINT8 && v->type.id <= MG_TYPE_UINT64 ? (mg_int128)v->u : (mg_int128)v->i;
}

/* One row's value, as the scalar's own type. */
static enum mg_code compute(const struct mg_scalar *scalar, const struct mg_batch *rows, uint32_t row, void *frame,
                            struct mg_value *out, struct mg_error *err)
{
    struct mg_type type = mg_scalar_type(scalar);
    const struct mg_vector **places = must_alloc(rows->column_count, sizeof(const struct mg_vector *));
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *one = NULL;
    struct mg_vector result;

    enum mg_code code = mg_batch_select(rows, &row, 1, NULL, &one, err);
    for (uint32_t c = 0; code == MG_OK && c < rows->column_count; c++)
        places[c] = &one->vectors[c];
    if (code == MG_OK)
        code = mg_scalar_eval(scalar, places, 1, frame, &result, err);
    free(places);
    MG_TRY(code);
    struct mg_value v = mg_vector_value(&result, 0);
    *out = (struct mg_value){.type = type, .is_null = v.is_null};
    if (v.is_null)
        return MG_OK;
    if (type.id == MG_TYPE_UTF8) /* of the rows, which live on */
        out->text = mg_vector_text(&rows->vectors[mg_scalar_column(scalar)], row);
    else if (is_float(type.id))
        out->f = isnan(v.f) ? NAN : v.f == 0 ? 0.0 : v.f;
    else if (type.id == MG_TYPE_DECIMAL)
        out->d = exact_of(&v);
    else
        out->i = (int64_t)exact_of(&v);
    return MG_OK;
}

static struct mg_slice without_blanks(struct mg_slice text)
{
    while (text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return text;
}

static bool pads(const struct mg_aggregate *aggregate, struct mg_type type)
{
    return type.id == MG_TYPE_UTF8 && type.collation == MG_COLLATION_PAD_SPACE && aggregate->rules == MG_RULES_MYSQL;
}

static int compare(const struct mg_aggregate *aggregate, const struct mg_value *a, const struct mg_value *b)
{
    int order = 0;

    if (pads(aggregate, a->type))
        order = mg_slice_compare(without_blanks(a->text), without_blanks(b->text));
    return order ? order : mg_value_compare(a, b);
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static bool is_group(const struct mg_aggregate *aggregate, const struct group *group, const struct mg_value *values)
{
    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        const struct mg_value *a = &group->values[i], *b = &values[i];
        if (a->is_null != b->is_null || (!a->is_null && mg_value_compare(a, b) != 0))
            return false;
    }
    return true;
}

static struct group *find_group(const struct mg_aggregate *aggregate, struct groups *groups,
                                const struct mg_value *values)
{
    for (size_t g = 0; g < groups->count; g++)
        if (is_group(aggregate, &groups->at[g], values))
            return &groups->at[g];
    groups->at = realloc(groups->at, (groups->count + 1) * sizeof *groups->at);
    mg_assert(groups->at);
    struct group *group = &groups->at[groups->count++];
    *group = (struct group){.values = must_alloc(aggregate->group_count, sizeof *group->values)};
    group->cells = must_alloc(aggregate->call_count, sizeof *group->cells);
    if (aggregate->group_count)
        memcpy(group->values, values, aggregate->group_count * sizeof *values);
    return group;
}

static enum mg_code take(const struct mg_aggregate *aggregate, const struct mg_aggregate_bound_call *call,
                         const struct mg_value *v, struct cell *cell, struct mg_error *err)
{
    if (v->is_null)
        return MG_OK;
    int order = cell->count ? compare(aggregate, v, &cell->best) : 0;
    if (!cell->count || (call->function == MG_AGGREGATE_MIN ? order < 0 : order > 0))
        cell->best = *v;
    cell->count++;
    if (call->function != MG_AGGREGATE_SUM && call->function != MG_AGGREGATE_AVG)
        return MG_OK;
    if (is_float(v->type.id))
        cell->real += v->f;
    else if (__builtin_add_overflow(cell->exact, exact_of(v), &cell->exact))
        return mg_fail(err, MG_OUT_OF_RANGE, "a sum passes 38 digits");
    return MG_OK;
}

static enum mg_code take_row(const struct mg_aggregate *aggregate, const struct mg_batch *rows, uint32_t row,
                             void *frame, struct groups *groups, struct mg_error *err)
{
    struct mg_value values[MG_AGGREGATE_GROUPS_MAX], v = {.is_null = false};

    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        MG_TRY(compute(aggregate->groups[i], rows, row, frame, &values[i], err));
        if (!values[i].is_null && pads(aggregate, values[i].type))
            values[i].text = without_blanks(values[i].text);
    }
    struct group *group = find_group(aggregate, groups, values);
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        if (call->argument)
            MG_TRY(compute(call->argument, rows, row, frame, &v, err));
        else
            v = (struct mg_value){.type = {.id = MG_TYPE_INT64}};
        MG_TRY(take(aggregate, call, &v, &group->cells[i], err));
    }
    return MG_OK;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

static bool fits(struct mg_type type, mg_int128 v)
{
    return type.id == MG_TYPE_DECIMAL ? mg_decimal_fits(v, type.precision) : v == (int64_t)v;
}

/* sum * 10^digits / count as one does it by hand, digit by digit, half away from zero. */
static bool divide(mg_int128 sum, int64_t count, uint32_t digits, mg_int128 *out)
{
    mg_int128 size = sum < 0 ? -sum : sum, quotient = size / count, rest = size % count;

    for (; digits; digits--) {
        rest *= 10;
        if (__builtin_mul_overflow(quotient, (mg_int128)10, &quotient))
            return false;
        quotient += rest / count;
        rest %= count;
    }
    quotient += rest * 2 >= count;
    *out = sum < 0 ? -quotient : quotient;
    return true;
}

static enum mg_code sum_value(const struct mg_aggregate_bound_call *call, const struct cell *cell, bool average,
                              struct mg_value *out, struct mg_error *err)
{
    mg_int128 v = cell->exact;

    if (is_float(call->type.id)) {
        double sum = is_float(call->sum_type.id) ? cell->real : (double)cell->exact;
        out->f = average ? sum / (double)cell->count : sum;
        return MG_OK;
    }
    bool ok = !average || divide(v, cell->count, (uint32_t)(call->type.scale - call->sum_type.scale), &v);
    if (!ok || !fits(call->type, v))
        return mg_fail(err, MG_OUT_OF_RANGE, "a sum or an average does not fit its type");
    if (call->type.id == MG_TYPE_DECIMAL)
        out->d = v;
    else
        out->i = (int64_t)v;
    return MG_OK;
}

static enum mg_code result(const struct mg_aggregate *aggregate, const struct mg_aggregate_bound_call *call,
                           const struct cell *cell, struct mg_value *out, struct mg_error *err)
{
    *out = (struct mg_value){.type = call->type, .is_null = cell->count == 0};
    switch (call->function) {
    case MG_AGGREGATE_COUNT_ALL:
    case MG_AGGREGATE_COUNT: *out = (struct mg_value){.type = call->type, .i = cell->count}; return MG_OK;
    case MG_AGGREGATE_MIN:
    case MG_AGGREGATE_MAX:
        if (cell->count)
            *out = cell->best;
        return MG_OK;
    default: break;
    }
    bool average = call->function == MG_AGGREGATE_AVG && !aggregate->is_partial;
    return cell->count ? sum_value(call, cell, average, out, err) : MG_OK;
}

static enum mg_code put(struct mg_batch_builder *builder, uint32_t column, const struct mg_value *v,
                        struct mg_error *err)
{
    return v->is_null ? mg_builder_null(builder, column, err) : mg_builder_value(builder, column, v, err);
}

static enum mg_code put_group(const struct mg_aggregate *aggregate, const struct group *group,
                              struct mg_batch_builder *builder, struct mg_error *err)
{
    uint32_t column = 0;
    struct mg_value v;

    for (; column < aggregate->group_count; column++)
        MG_TRY(put(builder, column, &group->values[column], err));
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        MG_TRY(result(aggregate, call, &group->cells[i], &v, err));
        MG_TRY(put(builder, column++, &v, err));
        if (call->function == MG_AGGREGATE_AVG && aggregate->is_partial)
            MG_TRY(mg_builder_int(builder, column++, group->cells[i].count, err));
    }
    return MG_OK;
}

static enum mg_code put_groups(const struct mg_aggregate *aggregate, const struct groups *groups,
                               struct mg_budget *budget, struct mg_batch **out, struct mg_error *err)
{
    struct mg_type types[MG_AGGREGATE_GROUPS_MAX + 2 * MG_AGGREGATE_CALLS_MAX];
    struct mg_batch_builder builder;

    for (uint32_t c = 0; c < aggregate->column_count; c++)
        types[c] = aggregate->columns[c].type;
    MG_TRY(mg_batch_builder_init(&builder, types, aggregate->column_count, budget, RESULT_BYTES_MAX, err));
    enum mg_code code = MG_OK;
    for (size_t g = 0; code == MG_OK && g < groups->count; g++)
        code = put_group(aggregate, &groups->at[g], &builder, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, (uint32_t)groups->count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

/* A frame for the widest expression. */
static void *make_frame(const struct mg_aggregate *aggregate)
{
    size_t most = 16;

    for (uint32_t i = 0; i < aggregate->group_count; i++)
        most = MG_MAX(most, mg_scalar_frame_bytes(aggregate->groups[i]));
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        if (aggregate->calls[i].argument)
            most = MG_MAX(most, mg_scalar_frame_bytes(aggregate->calls[i].argument));
    return must_alloc(most, 1);
}

enum mg_code mg_model__aggregate(const struct mg_aggregate *aggregate, struct mg_batch *const *batches,
                                 size_t batch_count, struct mg_budget *budget, struct mg_batch **out,
                                 struct mg_error *err)
{
    struct groups groups = {.count = 0};
    void *frame = make_frame(aggregate);
    enum mg_code code = MG_OK;

    if (!aggregate->is_partial && aggregate->group_count == 0)
        find_group(aggregate, &groups, NULL);
    for (size_t b = 0; b < batch_count; b++)
        for (uint32_t row = 0; code == MG_OK && row < batches[b]->row_count; row++)
            code = take_row(aggregate, batches[b], row, frame, &groups, err);
    *out = NULL;
    if (code == MG_OK && groups.count)
        code = put_groups(aggregate, &groups, budget, out, err);
    for (size_t g = 0; g < groups.count; g++) {
        free(groups.at[g].values);
        free(groups.at[g].cells);
    }
    free(groups.at);
    free(frame);
    return code;
}
