/* aggregation.c -- an aggregate over batches: rows into blocks, blocks into groups and cells, groups out.
 *
 * Blocks   A full mask is read where it lies, 1,024 rows at a time. So is one that keeps many of the rows, if all that
 *          is computed stays in 64 bits whatever the rows outside it hold: they raise no error, and only sums and
 *          groups look at the mask. Else the rows of the mask are copied together first, only the columns that are
 *          read.
 * Memory   buffers and tables are made once and accounted; per row nothing is allocated.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "expr/aggregate_internal.h"

enum {
    ROWS = MG_SCALAR_ROWS_MAX,
    DENSE = 4, /* a mask of one row in so many is not worth copying them together */
    PARTIAL_BYTES_MAX = 32 << 20,
    COMPLETE_BYTES_MAX = 512 << 20,
    RESULT_ROWS_MAX = 8192,
    RESULT_BYTES_MAX = INT32_MAX,
};

struct mg_aggregation {
    const struct mg_aggregate *aggregate; /* borrowed */
    struct mg_agg__program *program;      /* owned */
    struct mg_budget *budget;
    struct mg_agg__memory memory;
    struct mg_agg__groups groups;
    struct mg_agg__direct direct;
    uint32_t next_group;        /* of what goes out */
    struct mg_agg__cell *known; /* by call: what mg_aggregation_add said */

    uint8_t *frame;
    size_t frame_bytes;

    /* One block; by place in the schema: */
    struct mg_agg_input *inputs;      /* of mg_aggregation_update */
    struct mg_vector *slices;         /* the same */
    struct mg_agg_input *chosen;      /* rows of the mask */
    struct mg_vector *chosen_vectors; /* the same */
    struct mg_agg__store *stores;
    struct mg_agg__value *columns;

    struct mg_agg__value *values; /* by step */
    struct mg_agg__run_state state;
    struct mg_agg__work work;
    const struct mg_agg__value *keys[MG_AGGREGATE_GROUPS_MAX];
    struct mg_type key_types[MG_AGGREGATE_GROUPS_MAX]; /* as keys are held */
    struct mg_agg__value merged[MG_AGGREGATE_GROUPS_MAX];
    struct mg_agg__store merge_store;
    uint32_t group_of[ROWS];
    uint16_t rows[ROWS];
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static bool keeps_texts(const struct mg_aggregation *a, uint32_t call)
{
    const struct mg_aggregate_bound_call *bound = &a->aggregate->calls[call];

    return bound->type.id == MG_TYPE_UTF8;
}

static struct mg_agg__cell *cell_of(const struct mg_aggregation *a, uint32_t group, uint32_t call)
{
    return &a->groups.cells[(size_t)group * a->groups.stride + a->program->total_of_call[call]];
}

/* What cells hold beside themselves, and what was added to them. */
static void drop_texts(struct mg_aggregation *a)
{
    for (uint32_t i = 0; a->program && i < a->aggregate->call_count; i++)
        for (uint32_t g = 0; keeps_texts(a, i) && g < a->groups.count; g++) { /* of two calls the first one does it */
            struct mg_agg__cell *cell = cell_of(a, g, i);
            mg_agg__drop(&a->memory, &cell->text.data, cell->text.room);
            cell->text.room = 0;
        }
    if (a->known)
        memset(a->known, 0, a->aggregate->call_count * sizeof *a->known);
}

void mg_aggregation_free(struct mg_aggregation *a)
{
    if (!a)
        return;
    drop_texts(a);
    mg_agg__groups_clear(&a->groups);
    mg_agg__direct_clear(&a->direct);
    for (uint32_t i = 0; a->stores && i < a->aggregate->schema_column_count; i++)
        mg_agg__store_drop(&a->memory, &a->stores[i]);
    mg_agg__store_drop(&a->memory, &a->merge_store);
    mg_agg__drop(&a->memory, &a->frame, a->frame_bytes);
    mg_assert(a->memory.used_bytes == 0);
    mg_agg__program_free(a->program);
    free(a->known);
    free(a->inputs);
    free(a->slices);
    free(a->chosen);
    free(a->chosen_vectors);
    free(a->stores);
    free(a->columns);
    free(a->values);
    free(a);
}

static enum mg_code make_places(struct mg_aggregation *a, struct mg_error *err)
{
    size_t count = (size_t)a->aggregate->schema_column_count + 1;

    a->known = calloc((size_t)a->aggregate->call_count + 1, sizeof *a->known);
    a->inputs = calloc(count, sizeof *a->inputs);
    a->slices = calloc(count, sizeof *a->slices);
    a->chosen = calloc(count, sizeof *a->chosen);
    a->chosen_vectors = calloc(count, sizeof *a->chosen_vectors);
    a->stores = calloc(count, sizeof *a->stores);
    a->columns = calloc(count, sizeof *a->columns);
    a->values = calloc((size_t)a->program->step_count + 1, sizeof *a->values);
    if (!a->known || !a->inputs || !a->slices || !a->chosen || !a->chosen_vectors || !a->stores || !a->columns ||
        !a->values)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate of %zu columns", count - 1);
    return MG_OK;
}

static enum mg_code set_up(struct mg_aggregation *a, struct mg_error *err)
{
    MG_TRY(mg_agg__program_new(a->aggregate, &a->program, err));
    MG_TRY(make_places(a, err));
    size_t bytes = (size_t)a->program->slot_count * MG_AGG__SLOT + 16;
    MG_TRY(mg_agg__grow(&a->memory, &a->frame, 0, bytes, err));
    a->frame_bytes = bytes;
    memset(a->frame, 0, bytes);
    a->state = (struct mg_agg__run_state){.program = a->program,
                                          .memory = &a->memory,
                                          .types = a->aggregate->schema_types,
                                          .stores = a->stores,
                                          .columns = a->columns,
                                          .values = a->values,
                                          .frame = a->frame};
    for (uint32_t i = 0; i < a->aggregate->group_count; i++)
        a->key_types[i] = a->program->steps[a->program->groups[i]].node->storage;
    mg_agg__direct_init(&a->direct, a->aggregate->group_count, &a->memory);
    return mg_agg__groups_init(&a->groups, a->aggregate, a->program->total_count, &a->memory, err);
}

enum mg_code mg_aggregation_new(const struct mg_aggregate *aggregate, struct mg_budget *budget, size_t bytes_max,
                                struct mg_aggregation **out, struct mg_error *err)
{
    struct mg_aggregation *a = calloc(1, sizeof *a);

    if (!a)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    a->aggregate = aggregate;
    a->budget = budget;
    a->memory.budget = budget;
    enum mg_code code = set_up(a, err);
    if (code == MG_OK && !aggregate->is_partial && aggregate->group_count == 0)
        code = mg_agg__groups_only(&a->groups, err); /* over no rows there is a result, too */
    size_t most = bytes_max               ? bytes_max
                  : aggregate->is_partial ? (size_t)PARTIAL_BYTES_MAX
                                          : (size_t)COMPLETE_BYTES_MAX;
    a->memory.bytes_max = a->memory.used_bytes + most;
    a->memory.is_hard = !aggregate->is_partial;
    if (code != MG_OK) {
        mg_aggregation_free(a);
        return code;
    }
    *out = a;
    return MG_OK;
}

bool mg_aggregation_is_full(const struct mg_aggregation *a)
{
    /* without groups there is nothing to empty: long texts of a block may take as much */
    return a->aggregate->is_partial && a->groups.count > 0 && a->memory.used_bytes >= a->memory.bytes_max;
}

/* ---- groups of a block --------------------------------------------------------------------------------------- */

/* Rows of many groups go to as many places: ask for them all before the first is waited for. */
static void fetch_cells(const struct mg_aggregation *a, uint32_t row_count)
{
    const size_t size = a->groups.stride * sizeof *a->groups.cells;

    for (uint32_t i = 0; i < row_count; i++)
        for (size_t at = 0; a->group_of[i] != MG_AGG__NO_GROUP && at < size; at += 64)
            __builtin_prefetch((const uint8_t *)a->groups.cells + a->group_of[i] * size + at, 1);
}

/* Which rows belong together: of those whose groups stand in group_of. */
static enum mg_code order_rows(struct mg_aggregation *a, uint32_t row_count, const uint64_t *mask, struct mg_error *err)
{
    bool is_grouped = a->aggregate->group_count > 0;

    if (!is_grouped)
        MG_TRY(mg_agg__groups_only(&a->groups, err));
    a->work.memory = &a->memory;
    a->work.row_count = row_count;
    a->work.rows = mask;
    a->work.group = is_grouped ? a->group_of : NULL;
    a->work.group_count = a->groups.count;
    a->work.stride = a->groups.stride;
    a->work.trims = a->aggregate->rules == MG_RULES_MYSQL;
    a->work.err = err;
    mg_agg__work_order(&a->work);
    if (a->groups.count > MG_AGG__RUNS_MAX)
        fetch_cells(a, row_count);
    return MG_OK;
}

/* Groups by key: every row counts. */
static enum mg_code find_groups(struct mg_aggregation *a, uint32_t row_count, struct mg_error *err)
{
    const struct mg_vector *laid_out;

    for (uint32_t i = 0; i < a->aggregate->group_count; i++)
        if (!a->groups.has_int_key || !a->keys[i]->ints)
            MG_TRY(mg_agg__program_vector(&a->state, a->program->groups[i], &laid_out, err));
    return mg_agg__groups_find(&a->groups, a->keys, row_count, a->group_of, err);
}

/* The groups of the columns' rows; *done: false if a mask is in the way. */
static enum mg_code group_rows(struct mg_aggregation *a, uint32_t row_count, const uint64_t *mask, bool *done,
                               struct mg_error *err)
{
    MG_TRY(mg_agg__program_run(&a->state, a->program->group_end_step, err));
    for (uint32_t i = 0; i < a->aggregate->group_count; i++)
        a->keys[i] = mg_agg__program_value(&a->state, a->program->groups[i]);
    *done = a->aggregate->group_count == 0;
    if (!*done)
        MG_TRY(mg_agg__direct_find(&a->direct, &a->groups, a->keys, a->key_types, row_count, mask, a->group_of, done,
                                   err));
    if (*done || mask)
        return MG_OK;
    *done = true;
    return find_groups(a, row_count, err);
}

/* ---- totals of a block --------------------------------------------------------------------------------------- */

static enum mg_code take_total(struct mg_aggregation *a, uint32_t number, struct mg_error *err)
{
    const struct mg_agg__total *total = &a->program->totals[number];
    struct mg_agg__cell *cells = a->groups.cells + number;
    const struct mg_vector *v = NULL;

    MG_TRY(mg_agg__program_run(&a->state, total->end_step, err));
    const struct mg_agg__value *value = total->step == MG_AGG__NO_STEP ? NULL
                                                                       : mg_agg__program_value(&a->state, total->step);
    if (total->function <= MG_AGGREGATE_COUNT || value->ints)
        return mg_agg__cells_take_ints(&a->work, total->function, value, cells);
    MG_TRY(mg_agg__program_vector(&a->state, total->step, &v, err));
    mg_agg__work_need_runs(&a->work);
    return mg_agg__cells_take(&a->work, total->function, v, cells);
}

/* Rows of the mask (NULL: all) of the inputs; *done: false if that cannot be done with a mask: then nothing is. */
static enum mg_code take_block(struct mg_aggregation *a, const struct mg_agg_input *inputs, uint32_t row_count,
                               const uint64_t *mask, bool *done, struct mg_error *err)
{
    for (uint32_t c = 0; c < a->aggregate->schema_column_count; c++)
        if (a->program->uses[c])
            MG_TRY(mg_agg__load(&a->memory, &a->stores[c], a->aggregate->schema_types[c], a->program->uses[c],
                                &inputs[c], row_count, &a->columns[c], err));
    a->state.row_count = row_count;
    *done = mg_agg__program_bound(&a->state) || !mask;
    if (*done)
        MG_TRY(group_rows(a, row_count, mask, done, err));
    if (!*done)
        return MG_OK;
    MG_TRY(order_rows(a, row_count, mask, err));
    for (uint32_t i = 0; i < a->program->total_count; i++)
        MG_TRY(take_total(a, i, err));
    return MG_OK;
}

/* Numbers of the rows of the mask. */
static void list_rows(const uint64_t *mask, uint32_t row_count, uint16_t *rows)
{
    for (uint32_t word = 0; word * 64 < row_count; word++)
        for (uint64_t left = mask[word]; left; left &= left - 1)
            *rows++ = (uint16_t)(word * 64 + (uint32_t)__builtin_ctzll(left));
}

enum mg_code mg_aggregation_take(struct mg_aggregation *a, const struct mg_agg_input *inputs, uint32_t row_count,
                                 const uint64_t *mask, struct mg_error *err)
{
    uint32_t chosen = mask ? mg_mask_count(mask, row_count) : row_count;
    bool done = false;

    mg_assert(row_count <= (uint32_t)ROWS);
    if (chosen == 0)
        return MG_OK;
    if (chosen == row_count)
        return take_block(a, inputs, row_count, NULL, &done, err);
    if (a->program->may_be_ints && chosen >= row_count / DENSE)
        MG_TRY(take_block(a, inputs, row_count, mask, &done, err));
    if (done)
        return MG_OK;
    list_rows(mask, row_count, a->rows);
    for (uint32_t c = 0; c < a->aggregate->schema_column_count; c++)
        if (a->program->uses[c])
            MG_TRY(mg_agg__choose(&a->memory, &a->stores[c], &inputs[c], a->rows, chosen, &a->chosen_vectors[c],
                                  &a->chosen[c], err));
    return take_block(a, a->chosen, chosen, NULL, &done, err);
}

enum mg_code mg_aggregation_update(struct mg_aggregation *a, const struct mg_vector *const *vectors, uint32_t row_count,
                                   const uint64_t *mask, struct mg_error *err)
{
    for (uint32_t first = 0; first < row_count; first += ROWS) {
        uint32_t count = MG_MIN(row_count - first, (uint32_t)ROWS);
        for (uint32_t c = 0; c < a->aggregate->schema_column_count; c++) {
            if (!a->program->uses[c])
                continue;
            a->slices[c] = mg_agg__slice(vectors[c], first, count);
            a->inputs[c].vector = &a->slices[c];
        }
        MG_TRY(mg_aggregation_take(a, a->inputs, count, mask + first / 64, err));
    }
    return MG_OK;
}

/* ---- merging ------------------------------------------------------------------------------------------------- */

static enum mg_code check_partials(const struct mg_aggregate *aggregate, const struct mg_batch *partials,
                                   struct mg_error *err)
{
    uint32_t wanted = aggregate->group_count;

    for (uint32_t i = 0; i < aggregate->call_count; i++)
        wanted += aggregate->calls[i].function == MG_AGGREGATE_AVG ? 2 : 1;
    if (partials->column_count != wanted)
        return mg_fail(err, MG_INVALID, "partial results have %u columns, this aggregate's have %u",
                       partials->column_count, wanted);
    return MG_OK;
}

static enum mg_code merge_groups(struct mg_aggregation *a, const struct mg_batch *partials, uint32_t first,
                                 uint32_t row_count, struct mg_error *err)
{
    for (uint32_t i = 0; i < a->aggregate->group_count; i++) {
        struct mg_vector v = mg_agg__slice(&partials->vectors[i], first, row_count);
        struct mg_agg_input input = {.vector = &v};
        uint32_t use = a->groups.has_int_key ? MG_AGG__USED_INTS : 0;
        MG_TRY(mg_agg__load(&a->memory, &a->merge_store, v.type, use, &input, row_count, &a->merged[i], err));
        a->keys[i] = &a->merged[i];
    }
    if (a->aggregate->group_count)
        MG_TRY(mg_agg__groups_find(&a->groups, a->keys, row_count, a->group_of, err));
    return order_rows(a, row_count, NULL, err);
}

static enum mg_code merge_block(struct mg_aggregation *a, const struct mg_batch *partials, uint32_t first,
                                uint32_t row_count, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    uint32_t column = aggregate->group_count;

    MG_TRY(merge_groups(a, partials, first, row_count, err));
    mg_agg__work_need_runs(&a->work);
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        enum mg_aggregate_function function = aggregate->calls[i].function;
        uint32_t total = a->program->total_of_call[i];
        struct mg_vector v = mg_agg__slice(&partials->vectors[column++], first, row_count), number = v;
        if (function == MG_AGGREGATE_AVG)
            number = mg_agg__slice(&partials->vectors[column++], first, row_count);
        if (a->program->totals[total].merged_call == i)
            MG_TRY(mg_agg__cells_merge(&a->work, function, &v, &number, a->groups.cells + total));
    }
    return MG_OK;
}

enum mg_code mg_aggregation_merge(struct mg_aggregation *a, const struct mg_batch *partials, struct mg_error *err)
{
    MG_TRY(check_partials(a->aggregate, partials, err));
    for (uint32_t first = 0; first < partials->row_count; first += ROWS)
        MG_TRY(merge_block(a, partials, first, MG_MIN(partials->row_count - first, (uint32_t)ROWS), err));
    return MG_OK;
}

/* Kept by call: calls that share a total are told of one by one. */
enum mg_code mg_aggregation_add(struct mg_aggregation *a, uint32_t call, mg_int128 sum, uint64_t value_count,
                                struct mg_error *err)
{
    mg_assert(a->aggregate->group_count == 0 && call < a->aggregate->call_count);
    enum mg_aggregate_function function = a->aggregate->calls[call].function;
    struct mg_agg__cell *cell = &a->known[call];
    MG_TRY(mg_agg__groups_only(&a->groups, err));
    cell->count += (int64_t)value_count;
    if (function == MG_AGGREGATE_COUNT_ALL || function == MG_AGGREGATE_COUNT)
        return MG_OK;
    mg_assert(function == MG_AGGREGATE_SUM || function == MG_AGGREGATE_AVG);
    if (__builtin_add_overflow(cell->exact, sum, &cell->exact))
        return mg_fail(err, MG_OUT_OF_RANGE, "ARITHMETIC_OVERFLOW: a sum passes 38 digits");
    return MG_OK;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

/* What is known without rows, to what the rows gave. */
static enum mg_code add_known(const struct mg_aggregation *a, uint32_t call, struct mg_agg__cell *cell,
                              struct mg_error *err)
{
    const struct mg_agg__cell *known = &a->known[call];

    if (known->count == 0)
        return MG_OK;
    cell->count += known->count;
    if (a->aggregate->calls[call].function > MG_AGGREGATE_COUNT &&
        __builtin_add_overflow(cell->exact, known->exact, &cell->exact))
        return mg_fail(err, MG_OUT_OF_RANGE, "ARITHMETIC_OVERFLOW: a sum passes 38 digits");
    return MG_OK;
}

static enum mg_code put_group(struct mg_aggregation *a, uint32_t group, struct mg_batch_builder *builder,
                              struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    uint32_t column = aggregate->group_count;

    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        struct mg_value v = mg_agg__groups_value(&a->groups, group, i);
        MG_TRY(mg_agg__put(builder, i, aggregate->group_types[i], &v, err));
    }
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        struct mg_agg__cell cell = *cell_of(a, group, i);
        MG_TRY(add_known(a, i, &cell, err));
        MG_TRY(mg_agg__cell_put(aggregate, call, &cell, builder, column, err));
        column += call->function == MG_AGGREGATE_AVG && aggregate->is_partial ? 2 : 1;
    }
    return MG_OK;
}

static enum mg_code put_groups(struct mg_aggregation *a, uint32_t end, struct mg_batch **out, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    struct mg_type types[MG_AGGREGATE_GROUPS_MAX + 2 * MG_AGGREGATE_CALLS_MAX];
    struct mg_batch_builder builder;

    for (uint32_t c = 0; c < aggregate->column_count; c++)
        types[c] = aggregate->columns[c].type;
    MG_TRY(mg_batch_builder_init(&builder, types, aggregate->column_count, a->budget, RESULT_BYTES_MAX, err));
    enum mg_code code = MG_OK;
    for (uint32_t g = a->next_group; code == MG_OK && g < end; g++)
        code = put_group(a, g, &builder, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, end - a->next_group, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

enum mg_code mg_aggregation_next(struct mg_aggregation *a, uint32_t rows_max, struct mg_batch **out,
                                 struct mg_error *err)
{
    if (a->next_group == a->groups.count) {
        a->next_group = 0;
        drop_texts(a);
        mg_agg__direct_forget(&a->direct);
        MG_TRY(mg_agg__groups_empty(&a->groups, err));
        *out = NULL;
        return MG_OK;
    }
    uint32_t most = rows_max ? MG_MIN(rows_max, (uint32_t)RESULT_ROWS_MAX) : RESULT_ROWS_MAX;
    uint32_t end = MG_MIN(a->groups.count, a->next_group + most);
    MG_TRY(put_groups(a, end, out, err));
    a->next_group = end;
    return MG_OK;
}
