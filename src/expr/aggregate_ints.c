/* aggregate_ints.c -- a block of 64-bit integers into the cells of its groups.
 *
 * Ways     Without groups a kernel runs over the block. Up to 8 groups on a machine with masks: a sum under each
 *          group's mask. Up to 64: rows are brought in the order of their groups by counting, then each group's are
 *          added up in a register. More: rows go to their cells one by one.
 * Exact    A block's sum stays in 64 bits where the bounds say so, else in 128; a cell's always is 128 bits with
 *          overflow noticed.
 * Rows     that are outside the mask, and NULL, may hold anything: no way looks at them.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"

enum { ROWS = MG_SCALAR_ROWS_MAX, LANES = 4 };

static enum mg_code fail_sum(struct mg_error *err)
{
    return mg_fail(err, MG_OUT_OF_RANGE, "ARITHMETIC_OVERFLOW: a sum passes 38 digits");
}

static inline bool has(const uint64_t *rows, uint32_t row) { return rows[row / 64] >> row % 64 & 1; }

static uint32_t count_rows(const uint64_t *rows, uint32_t row_count)
{
    return rows ? mg_mask_count(rows, row_count) : row_count;
}

/* ---- order --------------------------------------------------------------------------------------------------- */

/* Rows in the order of their groups, by counting. Four quarters of the block side by side: a counter's next addition
 * does not wait for the last one. */
void mg_agg__work_need_runs(struct mg_agg__work *work)
{
    uint32_t counts[LANES][MG_AGG__RUNS_MAX] = {0}, end = 0, quarter = (work->row_count + LANES - 1) / LANES;
    const uint32_t *group = work->group;

    if (work->run_count || work->group_count > MG_AGG__RUNS_MAX)
        return;
    if (!group) {
        work->runs[work->run_count++] = (struct mg_agg__run){.group = 0, .first = 0, .end = work->row_count};
        return;
    }
#define EACH_ROW(BODY)                                                                                  \
    for (uint32_t i = 0; i < quarter; i++)                                                              \
        for (uint32_t lane = 0, row = i; lane < LANES && row < work->row_count; lane++, row += quarter) \
            if (!work->rows || has(work->rows, row))                                                    \
    BODY
    EACH_ROW(counts[lane][group[row]]++);
    for (uint32_t g = 0; g < work->group_count; g++) {
        uint32_t first = end;
        for (uint32_t lane = 0; lane < LANES; lane++) {
            uint32_t count = counts[lane][g];
            counts[lane][g] = end;
            end += count;
        }
        if (end > first)
            work->runs[work->run_count++] = (struct mg_agg__run){.group = g, .first = first, .end = end};
    }
    if (work->run_count == 1 && !work->rows)
        return;
    EACH_ROW(work->order_room[counts[lane][group[row]]++] = (uint16_t)row);
#undef EACH_ROW
    work->order = work->order_room;
}

void mg_agg__work_order(struct mg_agg__work *work)
{
    work->run_count = 0;
    work->order = NULL;
    work->is_split = false;
    if (!work->group)
        return;
    if (work->group_count <= MG_AGG__SPLIT_MAX && mg_agg__kernels()->split_groups) {
        mg_agg__kernels()->split_groups(work->group, work->row_count, work->rows, work->group_count, work->split,
                                        work->split_counts);
        work->is_split = true;
    } else {
        mg_agg__work_need_runs(work);
    }
}

/* ---- counts -------------------------------------------------------------------------------------------------- */

static struct mg_agg__cell *cell_of(const struct mg_agg__work *work, struct mg_agg__cell *cells, uint32_t group)
{
    return &cells[(size_t)group * work->stride];
}

/* Rows of a group that are there too. */
static uint32_t count_split(const struct mg_agg__work *work, uint32_t group, const uint64_t *there)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < (work->row_count + 63) / 64; w++)
        count += (uint32_t)__builtin_popcountll(work->split[group][w] & there[w]);
    return count;
}

static uint32_t count_run(const struct mg_agg__work *work, const struct mg_agg__run *run, const uint64_t *there)
{
    uint32_t count = 0;

    if (!there)
        return run->end - run->first;
    for (uint32_t k = run->first; k < run->end; k++)
        count += has(there, work->order ? work->order[k] : k);
    return count;
}

/* there: rows that are not NULL; NULL: all of the mask. */
static void count(const struct mg_agg__work *work, const uint64_t *there, struct mg_agg__cell *cells)
{
    const uint64_t *rows = there ? there : work->rows;

    if (!work->group) {
        cells->count += count_rows(rows, work->row_count);
    } else if (work->is_split) {
        for (uint32_t g = 0; g < work->group_count; g++)
            cell_of(work, cells, g)->count += there ? count_split(work, g, there) : work->split_counts[g];
    } else if (work->run_count) {
        for (uint32_t r = 0; r < work->run_count; r++)
            cell_of(work, cells, work->runs[r].group)->count += count_run(work, &work->runs[r], there);
    } else {
        for (uint32_t row = 0; row < work->row_count; row++)
            if (!rows || has(rows, row))
                cell_of(work, cells, work->group[row])->count++;
    }
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

static bool add_sum(struct mg_agg__cell *cell, mg_int128 sum)
{
    return __builtin_add_overflow(cell->exact, sum, &cell->exact);
}

static int64_t sum_run(const any_int64 *x, const uint16_t *order, uint32_t count)
{
    uint64_t sums[LANES] = {0};
    uint32_t k = 0;

    for (; k + LANES <= count; k += LANES)
        for (uint32_t lane = 0; lane < LANES; lane++)
            sums[lane] += (uint64_t)x[order[k + lane]];
    for (; k < count; k++)
        sums[0] += (uint64_t)x[order[k]];
    return (int64_t)(sums[0] + sums[1] + sums[2] + sums[3]);
}

static mg_int128 sum_run_long(const any_int64 *x, const uint16_t *order, uint32_t count)
{
    mg_int128 sum = 0;

    for (uint32_t k = 0; k < count; k++)
        sum += x[order[k]];
    return sum;
}

/* The argument with 0 where it is NULL: then nothing must be asked row by row. */
static const any_int64 *clear_nulls(struct mg_agg__work *work, const struct mg_agg__value *value)
{
    const any_int64 *x = value->ints;

    if (!value->validity)
        return x;
    for (uint32_t i = 0; i < work->row_count; i++)
        work->cleared[i] = value->validity[i >> 3] >> (i & 7) & 1 ? x[i] : 0;
    return work->cleared;
}

static bool sum_by_runs(struct mg_agg__work *work, const struct mg_agg__value *value, bool is_safe,
                        struct mg_agg__cell *cells)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();
    const any_int64 *x = clear_nulls(work, value);
    bool overflow = false;

    for (uint32_t r = 0; r < work->run_count; r++) {
        const struct mg_agg__run *run = &work->runs[r];
        uint32_t rows = run->end - run->first;
        struct mg_agg__cell *cell = cell_of(work, cells, run->group);
        mg_int128 sum;
        if (!work->order)
            sum = is_safe ? kernels->sum(x + run->first, rows, NULL) : kernels->sum_long(x + run->first, rows, NULL);
        else
            sum = is_safe ? sum_run(x, work->order + run->first, rows)
                          : sum_run_long(x, work->order + run->first, rows);
        overflow |= add_sum(cell, sum);
    }
    return overflow;
}

static bool sum_by_masks(struct mg_agg__work *work, const struct mg_agg__value *value, bool is_safe,
                         struct mg_agg__cell *cells)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();
    const any_int64 *x = clear_nulls(work, value);
    int64_t sums[MG_AGG__SPLIT_MAX];
    bool overflow = false;

    if (is_safe)
        kernels->sum_groups(x, work->row_count, work->split, work->group_count, sums);
    for (uint32_t g = 0; g < work->group_count; g++) {
        mg_int128 sum = is_safe ? sums[g] : kernels->sum_long(x, work->row_count, work->split[g]);
        overflow |= add_sum(cell_of(work, cells, g), sum);
    }
    return overflow;
}

/* Value and count at once: a cell is far away. */
static bool sum_by_rows(const struct mg_agg__work *work, const struct mg_agg__value *value, const uint64_t *there,
                        struct mg_agg__cell *cells)
{
    const any_int64 *x = value->ints;
    bool overflow = false;

    for (uint32_t row = 0; row < work->row_count; row++) {
        struct mg_agg__cell *cell = cell_of(work, cells, work->group[row]);
        if (there && !has(there, row))
            continue;
        overflow |= add_sum(cell, x[row]);
        cell->count++;
    }
    return overflow;
}

static enum mg_code sum(struct mg_agg__work *work, const struct mg_agg__value *value, const uint64_t *there,
                        struct mg_agg__cell *cells)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();
    bool is_safe = value->low > -MG_AGG__SUM_SAFE && value->high < MG_AGG__SUM_SAFE, overflow;
    const uint64_t *present = value->validity ? there : NULL; /* a run or a mask is of rows that count already */

    if (!work->group) {
        overflow = add_sum(cells, is_safe ? kernels->sum(value->ints, work->row_count, there)
                                          : kernels->sum_long(value->ints, work->row_count, there));
        count(work, present, cells);
    } else if (work->is_split || work->run_count) {
        overflow = work->is_split ? sum_by_masks(work, value, is_safe, cells)
                                  : sum_by_runs(work, value, is_safe, cells);
        count(work, present, cells);
    } else {
        overflow = sum_by_rows(work, value, there, cells);
    }
    return overflow ? fail_sum(work->err) : MG_OK;
}

/* ---- lowest and highest -------------------------------------------------------------------------------------- */

static void keep(struct mg_agg__cell *cell, int64_t v, bool high)
{
    if (!cell->count || (high ? v > cell->exact : v < cell->exact))
        cell->exact = v;
    cell->count = 1;
}

/* The best of the rows of `rows`, if there is one. */
static void best_of(const struct mg_agg__work *work, const any_int64 *x, const uint64_t *rows, bool high,
                    struct mg_agg__cell *cell)
{
    int64_t least, most;

    mg_agg__kernels()->bounds(x, work->row_count, rows, &least, &most);
    if (count_rows(rows, work->row_count))
        keep(cell, high ? most : least, high);
}

static void best(const struct mg_agg__work *work, const struct mg_agg__value *value, const uint64_t *there, bool high,
                 struct mg_agg__cell *cells)
{
    const any_int64 *x = value->ints;
    uint64_t rows[MG_AGG__WORDS];

    if (!work->group) {
        best_of(work, x, there, high, cells);
    } else if (work->is_split) {
        for (uint32_t g = 0; g < work->group_count; g++) {
            for (uint32_t w = 0; w < (work->row_count + 63) / 64; w++)
                rows[w] = work->split[g][w] & (there ? there[w] : ~UINT64_C(0));
            best_of(work, x, rows, high, cell_of(work, cells, g));
        }
    } else {
        for (uint32_t row = 0; row < work->row_count; row++)
            if (!there || has(there, row))
                keep(cell_of(work, cells, work->group[row]), x[row], high);
    }
}

enum mg_code mg_agg__cells_take_ints(struct mg_agg__work *work, enum mg_aggregate_function function,
                                     const struct mg_agg__value *value, struct mg_agg__cell *cells)
{
    const uint64_t *there = value ? mg_agg__rows_there(value, work->rows, work->there) : work->rows;

    switch (function) {
    case MG_AGGREGATE_COUNT_ALL:
    case MG_AGGREGATE_COUNT: count(work, value && value->validity ? there : NULL, cells); break;
    case MG_AGGREGATE_SUM:
    case MG_AGGREGATE_AVG: return sum(work, value, there, cells);
    case MG_AGGREGATE_MIN: best(work, value, there, false, cells); break;
    case MG_AGGREGATE_MAX: best(work, value, there, true, cells); break;
    }
    return MG_OK;
}
