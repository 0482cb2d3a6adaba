/* aggregation.c -- an aggregate over batches: rows into dense blocks, blocks into groups and cells, groups out.
 *
 * Blocks   A full mask is read where it lies, 1,024 rows at a time. Else the rows of the mask are copied together
 *          first, only the columns that are read: behind that every loop is dense, and no row outside the mask can
 *          raise an error. What does not come in Arrow's layout is written in it.
 * Memory   buffers and tables are made once and accounted; per row nothing is allocated.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"

enum {
    ROWS = MG_SCALAR_ROWS_MAX,
    PARTIAL_BYTES_MAX = 32 << 20,
    COMPLETE_BYTES_MAX = 512 << 20,
    RESULT_ROWS_MAX = 8192,
    RESULT_BYTES_MAX = INT32_MAX,
};

/* Where chosen rows of a column are copied together. */
struct column_block {
    bool used;
    uint8_t *values; /* fixed width: ROWS values; texts: their bytes */
    size_t room;     /* bytes of values */
    uint8_t *bits;
    int32_t *offsets;
};

struct mg_aggregation {
    const struct mg_aggregate *aggregate; /* borrowed */
    struct mg_budget *budget;
    struct mg_agg__memory memory;
    struct mg_agg__groups groups;
    struct mg_agg__cell **cells; /* by call, then by group */
    uint32_t cell_room;          /* groups that cells have room for */
    uint32_t next_group;         /* of what goes out */

    uint8_t *frame; /* of the groups' expressions one behind the other, then of a call's */
    size_t frame_bytes, call_frame;

    /* One block: */
    struct mg_agg_input *inputs;     /* by place in the schema; of mg_aggregation_update */
    struct mg_vector *slices;        /* the same */
    struct column_block *blocks;     /* the same: rows of the mask */
    struct column_block *laid_out;   /* the same: ints and codes in Arrow's layout */
    struct mg_vector *vectors;       /* the same */
    const struct mg_vector **places; /* of vectors */
    struct mg_vector keys[MG_AGGREGATE_GROUPS_MAX];
    uint32_t group_of[ROWS];
    uint16_t order[ROWS];
    uint32_t rows[ROWS];
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void drop_cells(struct mg_aggregation *a)
{
    const struct mg_aggregate *aggregate = a->aggregate;

    for (uint32_t c = 0; a->cells && c < aggregate->call_count; c++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[c];
        bool texts = call->type.id == MG_TYPE_UTF8 && a->cells[c];
        for (uint32_t g = 0; texts && g < a->cell_room; g++)
            mg_agg__drop(&a->memory, &a->cells[c][g].text.data, a->cells[c][g].text.room);
        mg_agg__drop(&a->memory, &a->cells[c], a->cell_room * sizeof *a->cells[c]);
    }
    a->cell_room = 0;
}

static void drop_blocks(struct mg_aggregation *a, struct column_block *blocks)
{
    for (uint32_t i = 0; blocks && i < a->aggregate->schema_column_count; i++) {
        mg_agg__drop(&a->memory, &blocks[i].values, blocks[i].room);
        free(blocks[i].bits);
        free(blocks[i].offsets);
    }
    free(blocks);
}

void mg_aggregation_free(struct mg_aggregation *a)
{
    if (!a)
        return;
    drop_cells(a);
    mg_agg__groups_clear(&a->groups);
    drop_blocks(a, a->blocks);
    drop_blocks(a, a->laid_out);
    mg_agg__drop(&a->memory, &a->frame, a->frame_bytes);
    mg_assert(a->memory.used_bytes == 0);
    free(a->cells);
    free(a->inputs);
    free(a->slices);
    free(a->vectors);
    free(a->places);
    free(a);
}

static enum mg_code make_frame(struct mg_aggregation *a, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    size_t most = 0, bytes = 0;

    for (uint32_t i = 0; i < aggregate->group_count; i++)
        bytes += mg_scalar_frame_bytes(aggregate->groups[i]);
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        if (aggregate->calls[i].argument)
            most = MG_MAX(most, mg_scalar_frame_bytes(aggregate->calls[i].argument));
    a->call_frame = bytes;
    bytes += most;
    MG_TRY(mg_agg__grow(&a->memory, &a->frame, 0, bytes + 16, err));
    a->frame_bytes = bytes + 16;
    memset(a->frame, 0, a->frame_bytes);
    return MG_OK;
}

static enum mg_code make_blocks(struct mg_aggregation *a, struct mg_error *err)
{
    size_t count = a->aggregate->schema_column_count;
    bool *used = calloc(count + 1, sizeof *used);

    a->cells = calloc((size_t)a->aggregate->call_count + 1, sizeof(struct mg_agg__cell *));
    a->inputs = calloc(count + 1, sizeof *a->inputs);
    a->slices = calloc(count + 1, sizeof *a->slices);
    a->blocks = calloc(count + 1, sizeof *a->blocks);
    a->laid_out = calloc(count + 1, sizeof *a->laid_out);
    a->vectors = calloc(count + 1, sizeof *a->vectors);
    a->places = calloc(count + 1, sizeof(const struct mg_vector *));
    if (!used || !a->cells || !a->inputs || !a->slices || !a->blocks || !a->laid_out || !a->vectors || !a->places) {
        free(used);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate of %zu columns", count);
    }
    mg_aggregate_mark(a->aggregate, used);
    for (size_t i = 0; i < count; i++) {
        a->blocks[i].used = used[i];
        a->places[i] = &a->vectors[i];
    }
    free(used);
    return MG_OK;
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
    enum mg_code code = make_frame(a, err);
    if (code == MG_OK)
        code = make_blocks(a, err);
    if (code == MG_OK)
        code = mg_agg__groups_init(&a->groups, aggregate, &a->memory, err);
    if (code == MG_OK && !aggregate->is_partial && aggregate->group_count == 0)
        a->groups.count = 1; /* over no rows there is a result, too */
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

/* ---- blocks -------------------------------------------------------------------------------------------------- */

/* count rows from first on, which is a multiple of 8. */
static struct mg_vector slice(const struct mg_vector *v, uint32_t first, uint32_t count)
{
    struct mg_vector out = *v;

    out.row_count = count;
    if (v->type.id == MG_TYPE_UTF8)
        out.offsets = v->offsets + first;
    else
        out.values = (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
    out.null_count = v->null_count ? count - mg_bits_count(v->validity, first, count) : 0;
    out.validity = out.null_count ? v->validity + first / 8 : NULL;
    return out;
}

static void gather_fixed(const struct mg_vector *v, const uint32_t *rows, uint32_t count, void *to)
{
#define GATHER(type)                                                  \
    do {                                                              \
        typedef type any_type __attribute__((aligned(1), may_alias)); \
        const any_type *from = v->values;                             \
        for (uint32_t i = 0; i < count; i++)                          \
            ((type *)to)[i] = from[rows[i]];                          \
    } while (0)
    switch (mg_type_width(v->type.id)) {
    case 1: GATHER(uint8_t); break;
    case 2: GATHER(uint16_t); break;
    case 4: GATHER(uint32_t); break;
    case 8: GATHER(uint64_t); break;
    default: GATHER(mg_int128);
    }
#undef GATHER
}

static enum mg_code gather_texts(struct mg_aggregation *a, struct column_block *block, const struct mg_vector *v,
                                 const uint32_t *rows, uint32_t count, struct mg_error *err)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) /* a dictionary's texts may come again and again */
        bytes += mg_vector_text(v, rows[i]).size;
    if (bytes > block->room) {
        size_t room = MG_MAX(bytes, 2 * block->room);
        MG_TRY(mg_agg__grow(&a->memory, &block->values, block->room, room, err));
        block->room = room;
    }
    int32_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice text = mg_vector_text(v, rows[i]);
        if (text.size == 1) /* flags: not worth a call */
            block->values[end] = text.data[0];
        else if (text.size)
            memcpy(block->values + end, text.data, text.size);
        block->offsets[i] = end;
        end += (int32_t)text.size;
    }
    block->offsets[count] = end;
    return MG_OK;
}

static enum mg_code make_block(struct mg_aggregation *a, struct column_block *block, struct mg_type type,
                               struct mg_error *err)
{
    if (block->bits)
        return MG_OK;
    block->bits = calloc(1, ROWS / 8);
    block->offsets = calloc(ROWS + 1, sizeof *block->offsets);
    if (!block->bits || !block->offsets)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a block of a column");
    size_t room = type.id == MG_TYPE_UTF8 ? (size_t)ROWS * 16 : (size_t)ROWS * mg_type_width(type.id);
    MG_TRY(mg_agg__grow(&a->memory, &block->values, 0, room, err));
    block->room = room;
    return MG_OK;
}

/* Chosen rows, back to back. */
static enum mg_code gather(struct mg_aggregation *a, struct column_block *block, const struct mg_vector *v,
                           const uint32_t *rows, uint32_t count, struct mg_vector *out, struct mg_error *err)
{
    uint32_t there = count;

    MG_TRY(make_block(a, block, v->type, err));
    if (v->null_count) {
        memset(block->bits, 0, ROWS / 8);
        for (uint32_t i = 0; i < count; i++)
            block->bits[i >> 3] |= (uint8_t)((v->validity[rows[i] >> 3] >> (rows[i] & 7) & 1) << (i & 7));
        there = mg_bits_count(block->bits, 0, count);
    }
    if (v->type.id == MG_TYPE_UTF8)
        MG_TRY(gather_texts(a, block, v, rows, count, err));
    else
        gather_fixed(v, rows, count, block->values);
    *out = (struct mg_vector){.type = v->type,
                              .row_count = count,
                              .null_count = count - there,
                              .validity = there < count ? block->bits : NULL,
                              .values = block->values,
                              .offsets = v->type.id == MG_TYPE_UTF8 ? block->offsets : NULL};
    return MG_OK;
}

/* ---- work ---------------------------------------------------------------------------------------------------- */

/* Rows in the order of their groups, by counting. */
static void make_runs(struct mg_aggregation *a, struct mg_agg__work *work)
{
    uint32_t counts[MG_AGG__RUNS_MAX] = {0}, ends[MG_AGG__RUNS_MAX], end = 0;

    for (uint32_t i = 0; i < work->row_count; i++)
        counts[a->group_of[i]]++;
    for (uint32_t g = 0; g < a->groups.count; g++) {
        if (counts[g])
            work->runs[work->run_count++] = (struct mg_agg__run){.group = g, .first = end, .end = end + counts[g]};
        ends[g] = end;
        end += counts[g];
    }
    if (work->run_count == 1)
        return;
    for (uint32_t i = 0; i < work->row_count; i++)
        a->order[ends[a->group_of[i]]++] = (uint16_t)i;
    work->order = a->order;
}

static enum mg_code make_cells(struct mg_aggregation *a, struct mg_error *err)
{
    size_t room = MG_MAX(a->groups.room, 1u), old = a->cell_room;

    if (room <= old)
        return MG_OK;
    for (uint32_t c = 0; c < a->aggregate->call_count; c++) {
        size_t size = sizeof *a->cells[c];
        enum mg_code code = mg_agg__grow(&a->memory, &a->cells[c], old * size, room * size, err);
        if (code != MG_OK) { /* those before keep the memory, but not its account */
            mg_budget_release(a->memory.budget, c * (room - old) * size);
            a->memory.used_bytes -= c * (room - old) * size;
            return code;
        }
        memset(a->cells[c] + old, 0, (room - old) * size);
    }
    a->cell_room = (uint32_t)room;
    return MG_OK;
}

/* Groups of the block whose keys stand in a->keys. */
static enum mg_code group_rows(struct mg_aggregation *a, struct mg_agg__work *work, struct mg_error *err)
{
    work->memory = &a->memory;
    work->trims = a->aggregate->rules == MG_RULES_MYSQL;
    work->group = a->group_of;
    work->err = err;
    if (a->aggregate->group_count == 0) {
        a->groups.count = 1;
        work->run_count = 1;
        work->runs[0] = (struct mg_agg__run){.group = 0, .first = 0, .end = work->row_count};
    } else {
        MG_TRY(mg_agg__groups_find(&a->groups, a->keys, work->row_count, a->group_of, err));
        if (a->groups.count <= MG_AGG__RUNS_MAX)
            make_runs(a, work);
    }
    return make_cells(a, err);
}

/* The block that stands in a->vectors. */
static enum mg_code take_block(struct mg_aggregation *a, uint32_t row_count, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    struct mg_agg__work work = {.row_count = row_count};
    struct mg_vector argument;
    uint8_t *frame = a->frame;

    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        MG_TRY(mg_scalar_eval(aggregate->groups[i], a->places, row_count, frame, &a->keys[i], err));
        frame += mg_scalar_frame_bytes(aggregate->groups[i]);
    }
    MG_TRY(group_rows(a, &work, err));
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        if (call->argument)
            MG_TRY(mg_scalar_eval(call->argument, a->places, row_count, a->frame + a->call_frame, &argument, err));
        MG_TRY(mg_agg__cells_take(&work, call->function, &argument, a->cells[i]));
    }
    return MG_OK;
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

/* ints at the width of the column's type. */
static void lay_out_ints(const int64_t *ints, uint32_t count, struct mg_type type, void *to)
{
#define NARROW(type)                     \
    for (uint32_t i = 0; i < count; i++) \
    ((type *)to)[i] = (type)ints[i]
    switch (mg_type_width(type.id)) {
    case 1: NARROW(int8_t); break;
    case 2: NARROW(int16_t); break;
    case 4: NARROW(int32_t); break;
    case 8: NARROW(int64_t); break;
    default: NARROW(mg_int128);
    }
#undef NARROW
}

static bool is_null(const struct mg_agg_input *input, uint32_t row)
{
    return input->null_count && !(input->validity[row >> 3] >> (row & 7) & 1);
}

/* An input in Arrow's layout. */
static enum mg_code lay_out(struct mg_aggregation *a, uint32_t place, const struct mg_agg_input *input,
                            uint32_t row_count, struct mg_vector *out, struct mg_error *err)
{
    struct column_block *block = &a->laid_out[place];
    struct mg_type type = a->aggregate->schema_types[place];

    if (input->vector) {
        mg_assert(input->vector->row_count == row_count);
        *out = *input->vector;
        return MG_OK;
    }
    MG_TRY(make_block(a, block, type, err));
    if (input->ints || input->null_count == row_count) {
        *out = (struct mg_vector){.type = type, .row_count = row_count, .values = block->values};
        if (type.id == MG_TYPE_UTF8)
            memset(block->offsets, 0, (row_count + 1) * sizeof *block->offsets);
        else if (input->ints)
            lay_out_ints(input->ints, row_count, type, block->values);
        out->offsets = type.id == MG_TYPE_UTF8 ? block->offsets : NULL;
    } else {
        for (uint32_t i = 0; i < row_count; i++)
            a->rows[i] = is_null(input, i) ? 0 : input->codes[i];
        MG_TRY(gather(a, block, input->dictionary, a->rows, row_count, out, err));
    }
    out->null_count = input->null_count;
    out->validity = input->null_count ? input->validity : NULL;
    return MG_OK;
}

/* Numbers of the rows of the mask. */
static uint32_t list_rows(const uint64_t *mask, uint32_t row_count, uint32_t *rows)
{
    uint32_t count = 0;

    for (uint32_t word = 0; word * 64 < row_count; word++)
        for (uint64_t left = mask[word]; left; left &= left - 1)
            rows[count++] = word * 64 + (uint32_t)__builtin_ctzll(left);
    return count;
}

enum mg_code mg_aggregation_take(struct mg_aggregation *a, const struct mg_agg_input *inputs, uint32_t row_count,
                                 const uint64_t *mask, struct mg_error *err)
{
    uint32_t chosen = mask ? mg_mask_count(mask, row_count) : row_count;

    mg_assert(row_count <= (uint32_t)ROWS);
    if (chosen == 0)
        return MG_OK;
    for (uint32_t c = 0; c < a->aggregate->schema_column_count; c++)
        if (a->blocks[c].used)
            MG_TRY(lay_out(a, c, &inputs[c], row_count, &a->vectors[c], err));
    if (chosen < row_count)
        list_rows(mask, row_count, a->rows);
    for (uint32_t c = 0; chosen < row_count && c < a->aggregate->schema_column_count; c++) {
        struct mg_vector all = a->vectors[c];
        if (a->blocks[c].used)
            MG_TRY(gather(a, &a->blocks[c], &all, a->rows, chosen, &a->vectors[c], err));
    }
    return take_block(a, chosen, err);
}

enum mg_code mg_aggregation_update(struct mg_aggregation *a, const struct mg_vector *const *vectors, uint32_t row_count,
                                   const uint64_t *mask, struct mg_error *err)
{
    for (uint32_t first = 0; first < row_count; first += ROWS) {
        uint32_t count = MG_MIN(row_count - first, (uint32_t)ROWS);
        for (uint32_t c = 0; c < a->aggregate->schema_column_count; c++) {
            if (!a->blocks[c].used)
                continue;
            a->slices[c] = slice(vectors[c], first, count);
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

static enum mg_code merge_block(struct mg_aggregation *a, const struct mg_batch *partials, uint32_t first,
                                uint32_t row_count, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = a->aggregate;
    struct mg_agg__work work = {.row_count = row_count};
    uint32_t column = aggregate->group_count;

    for (uint32_t i = 0; i < aggregate->group_count; i++)
        a->keys[i] = slice(&partials->vectors[i], first, row_count);
    MG_TRY(group_rows(a, &work, err));
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        enum mg_aggregate_function function = aggregate->calls[i].function;
        struct mg_vector v = slice(&partials->vectors[column++], first, row_count), number = v;
        if (function == MG_AGGREGATE_AVG)
            number = slice(&partials->vectors[column++], first, row_count);
        MG_TRY(mg_agg__cells_merge(&work, function, &v, &number, a->cells[i]));
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

enum mg_code mg_aggregation_add(struct mg_aggregation *a, uint32_t call, mg_int128 sum, uint64_t value_count,
                                struct mg_error *err)
{
    mg_assert(a->aggregate->group_count == 0 && call < a->aggregate->call_count);
    enum mg_aggregate_function function = a->aggregate->calls[call].function;
    a->groups.count = 1;
    MG_TRY(make_cells(a, err));
    struct mg_agg__cell *cell = &a->cells[call][0];
    cell->count += (int64_t)value_count;
    if (function == MG_AGGREGATE_COUNT_ALL || function == MG_AGGREGATE_COUNT)
        return MG_OK;
    mg_assert(function == MG_AGGREGATE_SUM || function == MG_AGGREGATE_AVG);
    if (__builtin_add_overflow(cell->exact, sum, &cell->exact))
        return mg_fail(err, MG_OUT_OF_RANGE, "ARITHMETIC_OVERFLOW: a sum passes 38 digits");
    return MG_OK;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

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
        MG_TRY(mg_agg__cell_put(aggregate, call, &a->cells[i][group], builder, column, err));
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
    enum mg_code code = make_cells(a, err);
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
        drop_cells(a);
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
