/* aggregate_cells.c -- the loops of an aggregate: a block of values into the cells of its groups, and cells into
 * results.
 *
 * Runs     Rows of a group are added up in a register and go to the cell once a block: storing after each row would
 *          make every addition wait for the last. With many groups there is nothing to gain, and rows go straight to
 *          cells.
 * Exact    Sums are 128 bits with overflow noticed; what fits a result's type is asked when it leaves.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"
#include "expr/scalar_internal.h"
#include "expr/wide.h"

typedef unsigned __int128 uint128;

enum { SUM_SAFE_DIGITS = 35, /* a block of values of so many digits stays within 128 bits */ TEXT_ROOM_MIN = 16 };

static enum mg_code fail_sum(struct mg_error *err)
{
    return mg_fail(err, MG_OUT_OF_RANGE, "ARITHMETIC_OVERFLOW: a sum passes 38 digits");
}

/* BODY for each row that is there, with its cell. */
#define FOR_EACH(BODY)                                                                      \
    do {                                                                                    \
        for (uint32_t row = 0; !work->run_count && row < work->row_count; row++) {          \
            struct mg_agg__cell *cell = &cells[work->group[row]];                           \
            if (mg_agg__is_there(v, row))                                                   \
                BODY;                                                                       \
        }                                                                                   \
        for (uint32_t r = 0; r < work->run_count; r++) {                                    \
            struct mg_agg__cell *cell = &cells[work->runs[r].group];                        \
            for (uint32_t k = work->runs[r].first, end = work->runs[r].end; k < end; k++) { \
                uint32_t row = work->order ? work->order[k] : k;                            \
                if (mg_agg__is_there(v, row))                                               \
                    BODY;                                                                   \
            }                                                                               \
        }                                                                                   \
    } while (0)

/* ---- counts -------------------------------------------------------------------------------------------------- */

static void count_all(const struct mg_agg__work *work, struct mg_agg__cell *cells)
{
    for (uint32_t row = 0; !work->run_count && row < work->row_count; row++)
        cells[work->group[row]].count++;
    for (uint32_t r = 0; r < work->run_count; r++)
        cells[work->runs[r].group].count += work->runs[r].end - work->runs[r].first;
}

static void count(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    if (!v->null_count)
        count_all(work, cells);
    else
        FOR_EACH(cell->count++);
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

typedef bool sum_fn(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells);

/* total: what a run of a block is added up in. Returns whether a cell overflowed. */
#define SUM(name, type, total, add_to_cell, add_row)                                                         \
    static bool name(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells) \
    {                                                                                                        \
        const any_##type *x = v->values;                                                                     \
        bool overflow = false;                                                                               \
        if (v->null_count || !work->run_count) {                                                             \
            FOR_EACH({                                                                                       \
                add_row(cell, x[row]);                                                                       \
                cell->count++;                                                                               \
            });                                                                                              \
            return overflow;                                                                                 \
        }                                                                                                    \
        for (uint32_t r = 0; r < work->run_count; r++) {                                                     \
            const uint32_t first = work->runs[r].first, end = work->runs[r].end;                             \
            struct mg_agg__cell *cell = &cells[work->runs[r].group];                                         \
            total sum = 0;                                                                                   \
            for (uint32_t k = first; work->order && k < end; k++)                                            \
                sum += (total)x[work->order[k]];                                                             \
            for (uint32_t k = first; !work->order && k < end; k++)                                           \
                sum += (total)x[k];                                                                          \
            add_to_cell(cell, sum);                                                                          \
            cell->count += end - first;                                                                      \
        }                                                                                                    \
        return overflow;                                                                                     \
    }
#define ADD_EXACT(cell, v) overflow |= __builtin_add_overflow((cell)->exact, (mg_int128)(v), &(cell)->exact)
#define ADD_REAL(cell, v) (cell)->real += (double)(v)
SUM(sum_int8, int8, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_int16, int16, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_int32, int32, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_int64, int64, mg_int128, ADD_EXACT, ADD_EXACT)
SUM(sum_uint8, uint8, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_uint16, uint16, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_uint32, uint32, int64_t, ADD_EXACT, ADD_EXACT)
SUM(sum_uint64, uint64, mg_int128, ADD_EXACT, ADD_EXACT)
SUM(sum_decimal, int128, uint128, ADD_EXACT, ADD_EXACT)
SUM(sum_float, float, double, ADD_REAL, ADD_REAL)
SUM(sum_double, double, double, ADD_REAL, ADD_REAL)

/* Values so long that two of them may overflow. */
static bool sum_long_decimal(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    const any_int128 *x = v->values;
    bool overflow = false;

    FOR_EACH({
        ADD_EXACT(cell, x[row]);
        cell->count++;
    });
    return overflow;
}

static enum mg_code sum(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    static sum_fn *const sums[MG_TYPE_COUNT] = {
        [MG_TYPE_INT8] = sum_int8,      [MG_TYPE_INT16] = sum_int16,     [MG_TYPE_INT32] = sum_int32,
        [MG_TYPE_INT64] = sum_int64,    [MG_TYPE_UINT8] = sum_uint8,     [MG_TYPE_UINT16] = sum_uint16,
        [MG_TYPE_UINT32] = sum_uint32,  [MG_TYPE_UINT64] = sum_uint64,   [MG_TYPE_FLOAT32] = sum_float,
        [MG_TYPE_FLOAT64] = sum_double, [MG_TYPE_DECIMAL] = sum_decimal,
    };
    bool is_long = v->type.id == MG_TYPE_DECIMAL && v->type.precision > SUM_SAFE_DIGITS;

    mg_assert(sums[v->type.id]);
    if (is_long ? sum_long_decimal(work, v, cells) : sums[v->type.id](work, v, cells))
        return fail_sum(work->err);
    return MG_OK;
}

/* ---- lowest and highest -------------------------------------------------------------------------------------- */

#define KEEP_LOW(cell, v) (!(cell)->count || (v) < (cell)->exact)
#define KEEP_HIGH(cell, v) (!(cell)->count || (v) > (cell)->exact)
#define BEST(name, type)                                                                                            \
    static void low_##name(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)  \
    {                                                                                                               \
        const any_##type *x = v->values;                                                                            \
        FOR_EACH({                                                                                                  \
            if (KEEP_LOW(cell, x[row]))                                                                             \
                cell->exact = x[row];                                                                               \
            cell->count = 1;                                                                                        \
        });                                                                                                         \
    }                                                                                                               \
    static void high_##name(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells) \
    {                                                                                                               \
        const any_##type *x = v->values;                                                                            \
        FOR_EACH({                                                                                                  \
            if (KEEP_HIGH(cell, x[row]))                                                                            \
                cell->exact = x[row];                                                                               \
            cell->count = 1;                                                                                        \
        });                                                                                                         \
    }
BEST(int8, int8)
BEST(int16, int16)
BEST(int32, int32)
BEST(int64, int64)
BEST(uint8, uint8)
BEST(uint16, uint16)
BEST(uint32, uint32)
BEST(uint64, uint64)
BEST(decimal, int128)

static void best_real(const struct mg_agg__work *work, const struct mg_vector *v, bool high, struct mg_agg__cell *cells)
{
    const bool is_single = v->type.id == MG_TYPE_FLOAT32;
    const any_float *singles = v->values;
    const any_double *doubles = v->values;

    FOR_EACH({
        double value = (is_single ? (double)singles[row] : doubles[row]) + 0.0; /* -0.0 becomes 0.0 */
        value = isnan(value) ? NAN : value;
        int order = cell->count ? mg_float_compare(value, cell->real) : 0;
        if (!cell->count || (high ? order > 0 : order < 0))
            cell->real = value;
        cell->count = 1;
    });
}

/* Where trailing blanks do not count, bytes decide among equals, so that the result does not depend on the order. */
static int compare_texts(struct mg_slice a, struct mg_slice b, bool trims)
{
    int order = trims ? mg_slice_compare(mg_expr__trim(a), mg_expr__trim(b)) : 0;

    return order ? order : mg_slice_compare(a, b);
}

static enum mg_code keep_text(const struct mg_agg__work *work, struct mg_slice text, struct mg_agg__cell *cell)
{
    if (text.size > cell->text.room) {
        size_t room = MG_MAX(MG_MAX(text.size, (size_t)TEXT_ROOM_MIN), (size_t)cell->text.room * 2);
        MG_TRY(mg_agg__grow(work->memory, &cell->text.data, cell->text.room, room, work->err));
        cell->text.room = (uint32_t)room;
    }
    if (text.size)
        memcpy(cell->text.data, text.data, text.size);
    cell->text.size = (uint32_t)text.size;
    cell->count = 1;
    return MG_OK;
}

static enum mg_code best_text(const struct mg_agg__work *work, const struct mg_vector *v, bool high,
                              struct mg_agg__cell *cells)
{
    const bool trims = work->trims && v->type.collation == MG_COLLATION_PAD_SPACE;

    FOR_EACH({
        struct mg_slice text = mg_vector_text(v, row);
        struct mg_slice known = MG_SLICE(cell->text.data, cell->text.size);
        int order = cell->count ? compare_texts(text, known, trims) : 0;
        if (!cell->count || (high ? order > 0 : order < 0))
            MG_TRY(keep_text(work, text, cell));
    });
    return MG_OK;
}

typedef void best_fn(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells);

static enum mg_code best(const struct mg_agg__work *work, const struct mg_vector *v, bool high,
                         struct mg_agg__cell *cells)
{
#define BOTH(name)              \
    {                           \
        low_##name, high_##name \
    }
    static best_fn *const bests[MG_TYPE_COUNT][2] = {
        [MG_TYPE_INT8] = BOTH(int8),     [MG_TYPE_INT16] = BOTH(int16),    [MG_TYPE_INT32] = BOTH(int32),
        [MG_TYPE_INT64] = BOTH(int64),   [MG_TYPE_UINT8] = BOTH(uint8),    [MG_TYPE_UINT16] = BOTH(uint16),
        [MG_TYPE_UINT32] = BOTH(uint32), [MG_TYPE_UINT64] = BOTH(uint64),  [MG_TYPE_DECIMAL] = BOTH(decimal),
        [MG_TYPE_DATE] = BOTH(int32),    [MG_TYPE_DATETIME] = BOTH(int64), [MG_TYPE_TIMESTAMP] = BOTH(int64),
    };
#undef BOTH
    if (v->type.id == MG_TYPE_UTF8)
        return best_text(work, v, high, cells);
    if (mg_scalar__is_float(v->type.id))
        best_real(work, v, high, cells);
    else
        bests[v->type.id][high](work, v, cells);
    return MG_OK;
}

enum mg_code mg_agg__cells_take(const struct mg_agg__work *work, enum mg_aggregate_function function,
                                const struct mg_vector *v, struct mg_agg__cell *cells)
{
    switch (function) {
    case MG_AGGREGATE_COUNT_ALL: count_all(work, cells); return MG_OK;
    case MG_AGGREGATE_COUNT: count(work, v, cells); return MG_OK;
    case MG_AGGREGATE_SUM:
    case MG_AGGREGATE_AVG: return sum(work, v, cells);
    case MG_AGGREGATE_MIN: return best(work, v, false, cells);
    case MG_AGGREGATE_MAX: break;
    }
    return best(work, v, true, cells);
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

static void merge_counts(const struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    const any_int64 *x = v->values;

    FOR_EACH(cell->count += x[row]);
}

/* A sum that is there stands for `number` values, or for one where that does not matter. */
static enum mg_code merge_sums(const struct mg_agg__work *work, const struct mg_vector *v,
                               const struct mg_vector *number, struct mg_agg__cell *cells)
{
    const any_int64 *numbers = number ? number->values : NULL;
    bool overflow = false;

    FOR_EACH({
        struct mg_value value = mg_vector_value(v, row);
        if (value.type.id == MG_TYPE_FLOAT64)
            cell->real += value.f;
        else
            ADD_EXACT(cell, value.type.id == MG_TYPE_DECIMAL ? value.d : value.i);
        cell->count += numbers ? numbers[row] : 1;
    });
    return overflow ? fail_sum(work->err) : MG_OK;
}

enum mg_code mg_agg__cells_merge(const struct mg_agg__work *work, enum mg_aggregate_function function,
                                 const struct mg_vector *v, const struct mg_vector *number, struct mg_agg__cell *cells)
{
    switch (function) {
    case MG_AGGREGATE_COUNT_ALL:
    case MG_AGGREGATE_COUNT: merge_counts(work, v, cells); return MG_OK;
    case MG_AGGREGATE_SUM: return merge_sums(work, v, NULL, cells);
    case MG_AGGREGATE_AVG: return merge_sums(work, v, number, cells);
    default: return mg_agg__cells_take(work, function, v, cells);
    }
}

/* ---- results ------------------------------------------------------------------------------------------------- */

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
