/* merge.c -- parts that are too many rows to sort in memory become one, in one pass over all of them.
 *
 * Each input has a cursor: a granule's living rows, decoded, with their keys. Keys are merged first, into the order of
 * an output batch; a batch ends where a cursor does. Then columns follow in two gathers each: every cursor's rows
 * behind one another, and from there into the order. Keys are unique over the inputs, as every row lives in one place.
 * Pace     after each batch it is asked whether to go on, and may have to sleep (pace.c).
 * Memory   a granule of each input and two batches, in the budget of merges.
 * Threads  one lane of the maintenance.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/compaction.h"
#include "engine/magic/merge_choice.h"
#include "engine/magic/part_reader.h"

enum { BATCH_ROWS_MAX = MG_BLOCK_ROWS };

struct cursor {
    struct mg_part_reader reader;
    const struct mg_table_part *part;
    int32_t *places;             /* by column of the output: its place in the part, or -1 */
    struct mg_vector *vectors;   /* of the granule */
    struct mg_batch **constants; /* of columns that the part lacks, shared by all cursors; borrowed */
    struct mg_buf *decoded;      /* a reference */
    uint32_t next_granule;
    uint32_t row_count, at; /* living rows, and the next of them */
    uint32_t rows[MG_CHUNK_ROWS];
    struct mg_buffer keys;
    uint32_t offsets[MG_CHUNK_ROWS + 1]; /* of keys, by living row */
    uint32_t batch_first;                /* its first row in the batch */
};

struct merge {
    const struct mg_schema *schema;
    struct mg_pace *pace;
    struct mg_key_range range;
    struct mg_budget *budget;
    uint32_t cursor_count;
    struct cursor *cursors;
    struct mg_batch **constants;
    struct mg_type *types;
    uint32_t order_count;
    uint32_t *order;  /* of the batch: the row among its cursor's rows... */
    uint8_t *sources; /* ...and the cursor */
    uint32_t *taken;  /* scratch: order with the cursors' rows behind one another */
};

/* ---- cursors ------------------------------------------------------------------------------------------------- */

static void leave(struct cursor *cursor)
{
    mg_part_reader__leave(&cursor->reader);
    mg_buf__unref(cursor->decoded);
    mg_buffer_clear(&cursor->keys);
    free(cursor->places);
    free(cursor->vectors);
}

static enum mg_code enter(struct merge *merge, struct cursor *cursor, const struct mg_table_part *part,
                          struct mg_error *err)
{
    const struct mg_schema *schema = merge->schema;
    cursor->part = part;
    cursor->constants = merge->constants;
    mg_buffer_init(&cursor->keys, UINT32_MAX);
    cursor->places = calloc((size_t)schema->column_count + 1, sizeof *cursor->places);
    cursor->vectors = calloc((size_t)schema->column_count + 1, sizeof *cursor->vectors);
    if (!cursor->places || !cursor->vectors)
        return mg_fail(err, MG_NO_MEMORY, "no memory to merge %u columns", schema->column_count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        cursor->places[c] = mg_schema_find_id(mg_part_schema(part->part), schema->columns[c].id);
    MG_TRY(mg_part_reader__enter(&cursor->reader, part->part, cursor->places, schema->column_count, merge->range, err));
    cursor->next_granule = cursor->reader.first_row / MG_CHUNK_ROWS;
    return MG_OK;
}

static enum mg_code encode_keys(const struct merge *merge, struct cursor *cursor, struct mg_error *err)
{
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    for (uint32_t k = 0; k < merge->schema->key_count; k++)
        keys[k] = &cursor->vectors[merge->schema->key_columns[k]];
    mg_buffer_reset(&cursor->keys);
    for (uint32_t i = 0; i < cursor->row_count; i++) {
        cursor->offsets[i] = (uint32_t)cursor->keys.size;
        MG_TRY(mg_key_encode(keys, merge->schema->key_count, cursor->rows[i], &cursor->keys, err));
    }
    cursor->offsets[cursor->row_count] = (uint32_t)cursor->keys.size;
    return MG_OK;
}

/* To the next granule with a living row; row_count is 0 at the end. */
static enum mg_code load(const struct merge *merge, struct cursor *cursor, struct mg_error *err)
{
    cursor->row_count = cursor->at = 0;
    while (cursor->row_count == 0 && (uint64_t)cursor->next_granule * MG_CHUNK_ROWS < cursor->reader.end_row) {
        uint64_t mask[MG_CHUNK_ROWS / 64];
        uint32_t granule = cursor->next_granule++, there = mg_part_reader__rows(&cursor->reader, granule);
        mg_part_reader__mask(&cursor->reader, granule, cursor->part->marks, mask);
        cursor->row_count = mg_mask_rows(mask, there, cursor->rows);
        if (cursor->row_count == 0)
            continue;
        mg_buf__unref(cursor->decoded);
        cursor->decoded = NULL;
        MG_TRY(mg_part_reader__load(&cursor->reader, granule, merge->budget, cursor->vectors, &cursor->decoded, err));
        for (uint32_t c = 0; c < merge->schema->column_count; c++)
            if (cursor->places[c] < 0)
                cursor->vectors[c] = cursor->constants[c]->vectors[0];
    }
    return cursor->row_count ? encode_keys(merge, cursor, err) : MG_OK;
}

static struct mg_slice key_at(const struct cursor *cursor, uint32_t at)
{
    return MG_SLICE(cursor->keys.data + cursor->offsets[at], cursor->offsets[at + 1] - cursor->offsets[at]);
}

/* ---- the order of a batch ------------------------------------------------------------------------------------ */

/* The cursor with the lowest key; NULL when all are at their end. */
static struct cursor *lowest(const struct merge *merge)
{
    struct cursor *found = NULL;
    for (uint32_t i = 0; i < merge->cursor_count; i++) {
        struct cursor *cursor = &merge->cursors[i];
        if (cursor->at < cursor->row_count &&
            (!found || mg_slice_compare(key_at(cursor, cursor->at), key_at(found, found->at)) < 0))
            found = cursor;
    }
    return found;
}

/* Until a cursor needs its next granule, or the batch is full. */
static void order_batch(struct merge *merge)
{
    merge->order_count = 0;
    for (uint32_t i = 0; i < merge->cursor_count; i++)
        merge->cursors[i].batch_first = merge->cursors[i].at;
    while (merge->order_count < BATCH_ROWS_MAX) {
        struct cursor *cursor = lowest(merge);
        if (!cursor)
            return;
        merge->sources[merge->order_count] = (uint8_t)(cursor - merge->cursors);
        merge->order[merge->order_count++] = cursor->at - cursor->batch_first;
        if (++cursor->at == cursor->row_count)
            return;
    }
}

/* ---- its rows ------------------------------------------------------------------------------------------------ */

static enum mg_code gather_taken(const struct merge *merge, struct mg_batch_builder *builder, struct mg_error *err)
{
    for (uint32_t c = 0; c < merge->schema->column_count; c++)
        for (uint32_t i = 0; i < merge->cursor_count; i++) {
            const struct cursor *cursor = &merge->cursors[i];
            uint32_t count = cursor->at - cursor->batch_first;
            const uint32_t *rows = cursor->rows + cursor->batch_first;
            if (count == 0)
                continue;
            MG_TRY(mg_builder_gather(builder, c, &cursor->vectors[c], rows, 0, count, err));
        }
    return MG_OK;
}

static enum mg_code make_batch(struct merge *merge, struct mg_batch **out, struct mg_error *err)
{
    struct mg_batch_builder builder;
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *taken = NULL;
    uint32_t bases[UINT8_MAX + 1], base = 0;
    for (uint32_t i = 0; i < merge->cursor_count; i++) {
        bases[i] = base;
        base += merge->cursors[i].at - merge->cursors[i].batch_first;
    }
    for (uint32_t i = 0; i < merge->order_count; i++)
        merge->taken[i] = bases[merge->sources[i]] + merge->order[i];
    MG_TRY(
        mg_batch_builder_init(&builder, merge->types, merge->schema->column_count, merge->budget, SIZE_MAX / 2, err));
    enum mg_code code = gather_taken(merge, &builder, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, merge->order_count, &taken, err);
    mg_batch_builder_clear(&builder);
    MG_TRY(code);
    return mg_batch_select(taken, merge->taken, merge->order_count, merge->budget, out, err);
}

static enum mg_code write_rows(struct merge *merge, struct mg_part_writer *writer, uint64_t *out_count,
                               struct mg_error *err)
{
    for (uint32_t i = 0; i < merge->cursor_count; i++)
        MG_TRY(load(merge, &merge->cursors[i], err));
    for (*out_count = 0;; *out_count += merge->order_count) {
        struct mg_batch *batch;
        order_batch(merge);
        if (merge->order_count == 0)
            return MG_OK;
        MG_TRY(make_batch(merge, &batch, err));
        enum mg_code code = mg_part_writer_append(writer, batch, err);
        uint64_t bytes = mg_batch_bytes(batch);
        mg_batch_unref(batch);
        MG_TRY(code);
        MG_TRY(mg_pace__step(merge->pace, merge->order_count, bytes, err));
        for (uint32_t i = 0; i < merge->cursor_count; i++)
            if (merge->cursors[i].row_count && merge->cursors[i].at == merge->cursors[i].row_count)
                MG_TRY(load(merge, &merge->cursors[i], err));
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static void merge_clear(struct merge *merge)
{
    for (uint32_t i = 0; merge->cursors && i < merge->cursor_count; i++)
        leave(&merge->cursors[i]);
    for (uint32_t c = 0; merge->constants && c < merge->schema->column_count; c++)
        mg_batch_unref(merge->constants[c]);
    free(merge->cursors);
    free(merge->constants);
    free(merge->types);
    free(merge->order);
    free(merge->sources);
    free(merge->taken);
}

static enum mg_code merge_init(struct merge *merge, const struct mg_compaction *compaction,
                               const struct mg_schema *schema, struct mg_error *err)
{
    memset(merge, 0, sizeof *merge);
    merge->schema = schema;
    merge->pace = compaction->pace;
    merge->range = (struct mg_key_range){.low = mg_buffer_slice(&compaction->low),
                                         .high = mg_buffer_slice(&compaction->high)};
    merge->budget = compaction->budget;
    merge->cursor_count = compaction->input_count;
    merge->cursors = calloc(compaction->input_count, sizeof *merge->cursors);
    merge->constants = calloc((size_t)schema->column_count + 1, sizeof(struct mg_batch *));
    merge->types = calloc((size_t)schema->column_count + 1, sizeof *merge->types);
    merge->order = malloc(BATCH_ROWS_MAX * sizeof *merge->order);
    merge->sources = malloc(BATCH_ROWS_MAX * sizeof *merge->sources);
    merge->taken = malloc(BATCH_ROWS_MAX * sizeof *merge->taken);
    if (!merge->cursors || !merge->constants || !merge->types || !merge->order || !merge->sources || !merge->taken)
        return mg_fail(err, MG_NO_MEMORY, "no memory to merge %u parts", compaction->input_count);
    for (uint32_t c = 0; c < schema->column_count; c++) {
        merge->types[c] = schema->columns[c].type;
        MG_TRY(mg_magic__missing_rows(&schema->columns[c], merge->budget, &merge->constants[c], err));
    }
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        MG_TRY(enter(merge, &merge->cursors[i], compaction->inputs[i].part, err));
        compaction->inputs[i].first_row = merge->cursors[i].reader.first_row;
        compaction->inputs[i].end_row = merge->cursors[i].reader.end_row;
    }
    return MG_OK;
}

enum mg_code mg_compaction__merge(struct mg_compaction *compaction, const struct mg_schema *schema,
                                  struct mg_part_writer *writer, uint64_t *out_count, struct mg_error *err)
{
    struct merge merge;
    mg_assert(compaction->input_count <= MG_MERGE_INPUTS_MAX);
    enum mg_code code = merge_init(&merge, compaction, schema, err);
    if (code == MG_OK)
        code = write_rows(&merge, writer, out_count, err);
    merge_clear(&merge);
    return code;
}
