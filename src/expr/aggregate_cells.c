/* aggregate_cells.c -- the loops of an aggregate over values in Arrow's layout: a block into the cells of its groups.
 * Those that are integers underneath mostly take the way of aggregate_ints.c.
 *
 * Runs     Rows of a group are added up in a register and go to the cell once a block: storing after each row would
 *          make every addition wait for the last. With many groups there is nothing to gain, and rows go straight to
 *          cells.
 * Exact    Sums are 128 bits with overflow noticed.
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
            struct mg_agg__cell *cell = &cells[(size_t)work->group[row] * work->stride];    \
            if (mg_agg__is_there(v, row))                                                   \
                BODY;                                                                       \
        }                                                                                   \
        for (uint32_t r = 0; r < work->run_count; r++) {                                    \
            struct mg_agg__cell *cell = &cells[(size_t)work->runs[r].group * work->stride]; \
            for (uint32_t k = work->runs[r].first, end = work->runs[r].end; k < end; k++) { \
                uint32_t row = work->order ? work->order[k] : k;                            \
                if (mg_agg__is_there(v, row))                                               \
                    BODY;                                                                   \
            }                                                                               \
        }                                                                                   \
    } while (0)

/* ---- sums ---------------------------------------------------------------------------------------------------- */

typedef bool sum_fn(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells);

/* total: what a run of a block is added up in. Returns whether a cell overflowed. */
#define SUM(name, type, total, add_to_cell, add_row)                                                   \
    static bool name(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells) \
    {                                                                                                  \
        const any_##type *x = v->values;                                                               \
        bool overflow = false;                                                                         \
        if (v->null_count || !work->run_count) {                                                       \
            FOR_EACH({                                                                                 \
                add_row(cell, x[row]);                                                                 \
                cell->count++;                                                                         \
            });                                                                                        \
            return overflow;                                                                           \
        }                                                                                              \
        for (uint32_t r = 0; r < work->run_count; r++) {                                               \
            const uint32_t first = work->runs[r].first, end = work->runs[r].end;                       \
            struct mg_agg__cell *cell = &cells[(size_t)work->runs[r].group * work->stride];            \
            total sum = 0;                                                                             \
            for (uint32_t k = first; work->order && k < end; k++)                                      \
                sum += (total)x[work->order[k]];                                                       \
            for (uint32_t k = first; !work->order && k < end; k++)                                     \
                sum += (total)x[k];                                                                    \
            add_to_cell(cell, sum);                                                                    \
            cell->count += end - first;                                                                \
        }                                                                                              \
        return overflow;                                                                               \
    }
#define ADD_EXACT(cell, v) overflow |= __builtin_add_overflow((cell)->exact, (mg_int128)(v), &(cell)->exact)
#define ADD_REAL(cell, v) (cell)->real += (double)(v)
SUM(sum_int64, int64, mg_int128, ADD_EXACT, ADD_EXACT)
SUM(sum_uint64, uint64, mg_int128, ADD_EXACT, ADD_EXACT)
SUM(sum_decimal, int128, uint128, ADD_EXACT, ADD_EXACT)
SUM(sum_float, float, double, ADD_REAL, ADD_REAL)
SUM(sum_double, double, double, ADD_REAL, ADD_REAL)

/* Values so long that two of them may overflow. */
static bool sum_long_decimal(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    const any_int128 *x = v->values;
    bool overflow = false;

    FOR_EACH({
        ADD_EXACT(cell, x[row]);
        cell->count++;
    });
    return overflow;
}

static enum mg_code sum(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    static sum_fn *const sums[MG_TYPE_COUNT] = {/* narrower integers always fit 64 bits */
                                                [MG_TYPE_INT64] = sum_int64,
                                                [MG_TYPE_UINT64] = sum_uint64,
                                                [MG_TYPE_FLOAT32] = sum_float,
                                                [MG_TYPE_FLOAT64] = sum_double,
                                                [MG_TYPE_DECIMAL] = sum_decimal};
    bool is_long = v->type.id == MG_TYPE_DECIMAL && v->type.precision > SUM_SAFE_DIGITS;

    mg_assert(sums[v->type.id]);
    if (is_long ? sum_long_decimal(work, v, cells) : sums[v->type.id](work, v, cells))
        return fail_sum(work->err);
    return MG_OK;
}

/* ---- lowest and highest -------------------------------------------------------------------------------------- */

#define KEEP_LOW(cell, v) (!(cell)->count || (v) < (cell)->exact)
#define KEEP_HIGH(cell, v) (!(cell)->count || (v) > (cell)->exact)
#define BEST(name, type)                                                                                      \
    static void low_##name(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)  \
    {                                                                                                         \
        const any_##type *x = v->values;                                                                      \
        FOR_EACH({                                                                                            \
            if (KEEP_LOW(cell, x[row]))                                                                       \
                cell->exact = x[row];                                                                         \
            cell->count = 1;                                                                                  \
        });                                                                                                   \
    }                                                                                                         \
    static void high_##name(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells) \
    {                                                                                                         \
        const any_##type *x = v->values;                                                                      \
        FOR_EACH({                                                                                            \
            if (KEEP_HIGH(cell, x[row]))                                                                      \
                cell->exact = x[row];                                                                         \
            cell->count = 1;                                                                                  \
        });                                                                                                   \
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

static void best_real(struct mg_agg__work *work, const struct mg_vector *v, bool high, struct mg_agg__cell *cells)
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

static enum mg_code keep_text(struct mg_agg__work *work, struct mg_slice text, struct mg_agg__cell *cell)
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

static enum mg_code best_text(struct mg_agg__work *work, const struct mg_vector *v, bool high,
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

typedef void best_fn(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells);

static enum mg_code best(struct mg_agg__work *work, const struct mg_vector *v, bool high, struct mg_agg__cell *cells)
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

enum mg_code mg_agg__cells_take(struct mg_agg__work *work, enum mg_aggregate_function function,
                                const struct mg_vector *v, struct mg_agg__cell *cells)
{
    if (function == MG_AGGREGATE_SUM)
        return sum(work, v, cells);
    mg_assert(function == MG_AGGREGATE_MIN || function == MG_AGGREGATE_MAX);
    return best(work, v, function == MG_AGGREGATE_MAX, cells);
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

static void merge_counts(struct mg_agg__work *work, const struct mg_vector *v, struct mg_agg__cell *cells)
{
    const any_int64 *x = v->values;

    FOR_EACH(cell->count += x[row]);
}

/* A sum that is there stands for `number` values, or for one where that does not matter. */
static enum mg_code merge_sums(struct mg_agg__work *work, const struct mg_vector *v, const struct mg_vector *number,
                               struct mg_agg__cell *cells)
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

enum mg_code mg_agg__cells_merge(struct mg_agg__work *work, enum mg_aggregate_function function,
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
