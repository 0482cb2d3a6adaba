/* compaction.c -- the output of a flush or merge: written from a pinned view, then kept up with marks that were made
 * meanwhile.
 *
 * Rows of segments that live at the base view are read by an ordinary scan of the inputs alone, sorted by key, and
 * written; parts alone are merged (merge.c). A row
 * that dies later is found in the output by its key, as the writer would find it (docs/design/engine-compaction.md says
 * why not by position).
 * Memory   a flush takes the rows twice, in the budget of flushes.
 * Threads  one lane of the maintenance.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/magic/compaction.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"

enum { ROWS_AT_ONCE = MG_BLOCK_ROWS, KEYS_AT_ONCE = 4096, SORT_BYTES_PER_ROW = 100 };

/* Outputs of so many rows stay for long, and most rows lie in such: they are packed. A table that changes all the time
 * writes its rows again and again, so merges pack quickly (zstd's level); who asks for a compaction wants it small. */
enum { PACK_ROWS_MIN = 1 << 22, PACK_LEVEL = 3, PACK_LEVEL_ASKED = 19 };

/* ---- inputs -------------------------------------------------------------------------------------------------- */

static const struct mg_table_view *table_in(const struct mg_view *view, uint64_t table_id)
{
    int at = mg_catalog__find_id(view->catalog, table_id);
    return at < 0 ? NULL : view->catalog->tables[at];
}

static const struct mg_table_segment *segment_in(const struct mg_table_view *table, uint32_t segment_id)
{
    for (uint32_t i = 0; i < table->segment_count; i++)
        if (table->segments[i].rows->segment->id == segment_id)
            return &table->segments[i];
    return NULL;
}

static const struct mg_table_part *part_in(const struct mg_table_view *table, uint32_t segment_id)
{
    for (uint32_t i = 0; i < table->part_count; i++)
        if (mg_part_segment_id(table->parts[i].part) == segment_id)
            return &table->parts[i];
    return NULL;
}

static struct mg_view *pin_newest(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->publish);
    struct mg_view *view = mg_view__pin(magic->store.newest);
    mg_mutex_unlock(&magic->publish);
    return view;
}

enum mg_code mg_compaction__add(struct mg_compaction *compaction, struct mg_view *base, const struct mg_wtable *table,
                                uint32_t slot, struct mg_error *err)
{
    MG_TRY(mg_list__reserve(&compaction->inputs, &compaction->input_room, compaction->input_count, 1,
                            sizeof *compaction->inputs, err));
    if (!compaction->base) {
        compaction->table_id = table->table->id;
        compaction->base = pin_newest(compaction->magic);
        compaction->seen = pin_newest(compaction->magic);
        mg_assert(compaction->base == base);
    }
    const struct mg_table_view *view = table_in(base, table->table->id);
    struct mg_compaction_input input = {
        .slot = slot, .segment_id = mg_wtable__segment_id(table, slot), .end_row = UINT32_MAX};
    if (slot & MG_PART_SLOT)
        input.part = part_in(view, input.segment_id);
    else
        input.segment = segment_in(view, input.segment_id);
    mg_assert(input.part || input.segment);
    input.followed = input.part ? input.part->marks : input.segment->marks;
    compaction->is_flush |= input.segment != NULL;
    compaction->budget = input.segment ? &compaction->magic->flush_budget : compaction->budget;
    compaction->row_count += (input.part ? mg_part_row_count(input.part->part) : input.segment->rows->row_count) -
                             (input.followed ? input.followed->dead_count : 0);
    compaction->inputs[compaction->input_count++] = input;
    return MG_OK;
}

/* ---- rows, sorted -------------------------------------------------------------------------------------------- */

static enum mg_code open_scan(const struct mg_compaction *compaction, const struct mg_schema *schema,
                              struct mg_scan **out, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) uint32_t *columns = calloc((size_t)schema->column_count + 1, sizeof *columns);
    MG_CLEANUP(mg_freep) uint32_t *ids = calloc((size_t)compaction->input_count + 1, sizeof *ids);
    if (!columns || !ids)
        return mg_fail(err, MG_NO_MEMORY, "no memory to read %u columns", schema->column_count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        columns[c] = c;
    for (uint32_t i = 0; i < compaction->input_count; i++)
        ids[i] = compaction->inputs[i].segment_id;
    struct mg_scan_spec spec = {.table_id = compaction->table_id,
                                .columns = columns,
                                .column_count = schema->column_count,
                                .budget = compaction->budget};
    return mg_magic__scan_segments(&compaction->base->base, &spec, ids, compaction->input_count, out, err);
}

static enum mg_code append_batch(struct mg_batch_builder *builder, const struct mg_batch *batch, struct mg_error *err)
{
    for (uint32_t c = 0; c < batch->column_count; c++)
        MG_TRY(mg_builder_gather(builder, c, &batch->vectors[c], NULL, 0, batch->row_count, err));
    return MG_OK;
}

/* Columns that grew while rows come would be copied again and again, each time into memory that is new to the system.
 * What text takes is not known. */
static enum mg_code begin_rows(const struct mg_compaction *compaction, struct mg_batch_builder *builder,
                               const struct mg_type *types, uint32_t column_count, struct mg_error *err)
{
    MG_TRY(mg_batch_builder_init(builder, types, column_count, compaction->budget, SIZE_MAX / 2, err));
    for (uint32_t c = 0; c < column_count; c++)
        MG_TRY(mg_builder_reserve(builder, c, (uint32_t)MG_MIN(compaction->row_count, MG_BATCH_ROWS_MAX), 0, err));
    return MG_OK;
}

/* All living rows of the inputs as one batch; *out NULL when there is none. */
static enum mg_code read_rows(const struct mg_compaction *compaction, const struct mg_schema *schema,
                              struct mg_batch **out, struct mg_error *err)
{
    struct mg_scan *scan;
    struct mg_batch_builder builder = {0}; /* cleared below in any case */
    MG_CLEANUP(mg_freep) struct mg_type *types = calloc((size_t)schema->column_count + 1, sizeof *types);
    if (!types)
        return mg_fail(err, MG_NO_MEMORY, "no memory to read %u columns", schema->column_count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    MG_TRY(open_scan(compaction, schema, &scan, err));
    enum mg_code code = begin_rows(compaction, &builder, types, schema->column_count, err);
    for (bool more = true; code == MG_OK && more;) {
        struct mg_batch *batch;
        code = mg_magic__next(scan, &batch, err);
        more = code == MG_OK && batch;
        if (more)
            code = append_batch(&builder, batch, err);
        if (more)
            mg_batch_unref(batch);
    }
    *out = NULL;
    uint32_t row_count = code == MG_OK ? mg_builder_rows(&builder, 0) : 0;
    if (row_count)
        code = mg_batch_builder_finish(&builder, row_count, out, err);
    mg_batch_builder_clear(&builder);
    mg_magic__scan_close(scan);
    return code;
}

/* The rows' numbers in the order of their keys. */
static enum mg_code order_rows(const struct mg_batch *rows, const struct mg_schema *schema, uint32_t *order,
                               struct mg_error *err)
{
    struct mg_lookup lookup;
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &rows->vectors[schema->key_columns[k]];
    enum mg_code code = mg_lookup__init(&lookup, rows->row_count, err);
    if (code == MG_OK)
        code = mg_lookup__encode(&lookup, keys, schema->key_count, rows->row_count, err);
    if (code == MG_OK)
        mg_lookup__order(&lookup);
    for (uint32_t i = 0; code == MG_OK && i < rows->row_count; i++)
        order[i] = lookup.items[i].at;
    mg_lookup__clear(&lookup);
    return code;
}

/* The same, with memory for it reserved only while it lasts. */
static enum mg_code sort_rows(const struct mg_compaction *compaction, const struct mg_schema *schema,
                              const struct mg_batch *rows, uint32_t *order, struct mg_error *err)
{
    struct mg_budget *budget = compaction->budget;
    size_t bytes = (size_t)rows->row_count * SORT_BYTES_PER_ROW;
    MG_TRY(mg_budget_reserve(budget, bytes, err));
    enum mg_code code = order_rows(rows, schema, order, err);
    mg_budget_release(budget, bytes);
    return code;
}

/* ---- the part ------------------------------------------------------------------------------------------------ */

static enum mg_code append_sorted(struct mg_compaction *compaction, struct mg_part_writer *writer,
                                  const struct mg_batch *rows, const uint32_t *order, struct mg_error *err)
{
    for (uint32_t first = 0; first < rows->row_count; first += ROWS_AT_ONCE) {
        struct mg_batch *sorted;
        uint32_t count = MG_MIN(rows->row_count - first, (uint32_t)ROWS_AT_ONCE);
        MG_TRY(mg_batch_select(rows, order + first, count, compaction->budget, &sorted, err));
        enum mg_code code = mg_part_writer_append(writer, sorted, err);
        mg_batch_unref(sorted);
        MG_TRY(code);
    }
    return MG_OK;
}

static enum mg_code open_writer(const struct mg_compaction *compaction, struct mg_schema *schema, uint64_t row_count,
                                struct mg_part_writer **out, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    struct mg_magic *magic = compaction->magic;
    uint64_t full_rows = magic->keeping.part_rows_max; /* a test's */
    uint64_t pack_rows_min = full_rows ? full_rows / 4 : PACK_ROWS_MIN;
    bool is_asked = compaction->pace && compaction->pace->asked;
    int level = is_asked ? PACK_LEVEL_ASKED : PACK_LEVEL;
    struct mg_part_writer_options options = {.io = magic->io,
                                             .budget = compaction->budget,
                                             .rows_expected = row_count,
                                             .pack_level = row_count >= pack_rows_min ? level : 0,
                                             .segment_id = compaction->segment_id};
    mg_path__part(magic->folder, compaction->segment_id, path);
    return mg_part_writer_open(path, schema, &options, out, err);
}

static void count_written(const struct mg_compaction *compaction, uint64_t bytes)
{
    struct mg_table *table = table_in(compaction->base, compaction->table_id)->table;
    struct mg_flow *flows[] = {&table->flow, &compaction->magic->keeping.flow};
    for (size_t i = 0; i < MG_COUNT_OF(flows); i++)
        atomic_fetch_add_explicit(compaction->is_flush ? &flows[i]->flushed_bytes : &flows[i]->merged_bytes, bytes,
                                  memory_order_relaxed);
    if (compaction->is_flush)
        mg_count(engine_flushed_bytes, bytes);
    else
        mg_count(engine_merged_bytes, bytes);
}

/* Consumes the writer. code: of what was appended. */
static enum mg_code finish_writer(struct mg_compaction *compaction, struct mg_part_writer *writer, enum mg_code code,
                                  struct mg_error *err)
{
    struct mg_magic *magic = compaction->magic;
    struct mg_part_summary summary;
    if (code != MG_OK) {
        mg_part_writer_abort(writer);
        return code;
    }
    MG_TRY(mg_part_writer_finish(writer, &summary, err));
    count_written(compaction, summary.file_bytes);
    MG_TRY(mg_magic__open_part(magic, compaction->segment_id, &compaction->out, err));
    compaction->dead = calloc((size_t)(summary.row_count + 63) / 64 + 1, sizeof *compaction->dead);
    return compaction->dead ? MG_OK : mg_fail(err, MG_NO_MEMORY, "no memory for the marks of a part");
}

static enum mg_code write_sorted(struct mg_compaction *compaction, struct mg_schema *schema,
                                 const struct mg_batch *rows, const uint32_t *order, struct mg_error *err)
{
    struct mg_part_writer *writer;
    MG_TRY(open_writer(compaction, schema, rows->row_count, &writer, err));
    return finish_writer(compaction, writer, append_sorted(compaction, writer, rows, order, err), err);
}

static enum mg_code write_merged(struct mg_compaction *compaction, struct mg_schema *schema, struct mg_error *err)
{
    struct mg_part_writer *writer;
    uint64_t row_count;
    MG_TRY(open_writer(compaction, schema, compaction->row_count, &writer, err));
    enum mg_code code = mg_compaction__merge(compaction, schema, writer, &row_count, err);
    if (code == MG_OK && row_count == 0) {
        mg_part_writer_abort(writer);
        return MG_OK;
    }
    return finish_writer(compaction, writer, code, err);
}

enum mg_code mg_compaction__write(struct mg_compaction *compaction, struct mg_error *err)
{
    struct mg_schema *schema = table_in(compaction->base, compaction->table_id)->schema;
    struct mg_batch *rows;
    if (!compaction->is_flush)
        return write_merged(compaction, schema, err);
    MG_TRY(read_rows(compaction, schema, &rows, err));
    if (!rows)
        return MG_OK;
    MG_CLEANUP(mg_freep) uint32_t *order = malloc(rows->row_count * sizeof *order);
    enum mg_code code = order ? sort_rows(compaction, schema, rows, order, err)
                              : mg_fail(err, MG_NO_MEMORY, "no memory to sort %u rows", rows->row_count);
    if (code == MG_OK)
        code = write_sorted(compaction, schema, rows, order, err);
    mg_batch_unref(rows);
    return code;
}

/* ---- marks that were made since ------------------------------------------------------------------------------ */

/* Mark the keys of the lookup in the output. */
static enum mg_code mark_found(struct mg_compaction *compaction, struct mg_lookup *lookup, struct mg_error *err)
{
    if (lookup->count == 0)
        return MG_OK;
    MG_TRY(mg_lookup__sort(lookup, err));
    if (compaction->out)
        MG_TRY(mg_lookup__find(lookup, compaction->out, err));
    for (uint32_t i = 0; i < lookup->count; i++) {
        uint32_t row = lookup->rows[i];
        if (row == MG_PART_NO_ROW)
            return mg_fail(err, MG_INTERNAL, "a row of table %" PRIu64 " is not in segment %u, which it was moved to",
                           compaction->table_id, compaction->segment_id);
        uint64_t bit = (uint64_t)1 << (row % 64);
        compaction->dead_count += !(compaction->dead[row / 64] & bit);
        compaction->dead[row / 64] |= bit;
    }
    mg_lookup__reset(lookup);
    return MG_OK;
}

static enum mg_code encode_key(const struct mg_compaction_input *input, uint32_t granule, uint32_t row,
                               struct mg_buffer *out, struct mg_error *err)
{
    if (input->part)
        return mg_part_key_at(input->part->part, granule * MG_CHUNK_ROWS + row, out, err);
    const struct mg_segment_view *rows = input->segment->rows;
    const struct mg_schema *schema = rows->segment->schema;
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    mg_keys__of_chunk(rows->chunks[granule], schema, MG_CHUNK_ROWS, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    return mg_key_encode(keys, schema->key_count, row, out, err);
}

/* Rows of a granule that live by `old` and not by `new` (NULL: no marks; all_dead: none lives). */
static enum mg_code follow_granule(struct mg_compaction *compaction, const struct mg_compaction_input *input,
                                   uint32_t granule, const struct mg_mark_version *new, bool all_dead,
                                   struct mg_lookup *lookup, struct mg_error *err)
{
    uint32_t total = input->part ? mg_part_row_count(input->part->part) : input->segment->rows->row_count;
    uint32_t row_count = MG_MIN(total - granule * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    const struct mg_mark_version *old = mg_marks__granule(input->followed, granule);
    uint64_t lived[MG_CHUNK_ROWS / 64], lives[MG_CHUNK_ROWS / 64];
    if (old == new && !all_dead)
        return MG_OK;
    memset(lived, 0xff, sizeof lived);
    memset(lives, all_dead ? 0 : 0xff, sizeof lives);
    if (old)
        mg_mark_version__mask(old, lived, row_count);
    if (new && !all_dead)
        mg_mark_version__mask(new, lives, row_count);
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t number = granule * MG_CHUNK_ROWS + row;
        if (!((lived[row / 64] & ~lives[row / 64]) >> (row % 64) & 1) || number < input->first_row ||
            number >= input->end_row) /* not of this piece */
            continue;
        MG_TRY(encode_key(input, granule, row, mg_lookup__begin(lookup), err));
        mg_lookup__end(lookup);
        if (lookup->count == KEYS_AT_ONCE)
            MG_TRY(mark_found(compaction, lookup, err));
    }
    return MG_OK;
}

static enum mg_code follow_input(struct mg_compaction *compaction, struct mg_compaction_input *input,
                                 const struct mg_table_view *now, struct mg_lookup *lookup, struct mg_error *err)
{
    const struct mg_table_part *part = input->part ? part_in(now, input->segment_id) : NULL;
    const struct mg_table_segment *segment = input->part ? NULL : segment_in(now, input->segment_id);
    const struct mg_marks *marks = part ? part->marks : segment ? segment->marks : NULL;
    bool all_dead = !part && !segment; /* such ones are left out of views */
    uint32_t total = input->part ? mg_part_row_count(input->part->part) : input->segment->rows->row_count;
    if (input->gone || (marks == input->followed && !all_dead))
        return MG_OK;
    for (uint32_t g = 0; g * MG_CHUNK_ROWS < total; g++)
        MG_TRY(follow_granule(compaction, input, g, mg_marks__granule(marks, g), all_dead, lookup, err));
    return MG_OK;
}

/* Once the whole view was followed. */
static void note_followed(struct mg_compaction *compaction, const struct mg_table_view *now)
{
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        struct mg_compaction_input *input = &compaction->inputs[i];
        const struct mg_table_part *part = input->part ? part_in(now, input->segment_id) : NULL;
        const struct mg_table_segment *segment = input->part ? NULL : segment_in(now, input->segment_id);
        input->followed = part ? part->marks : segment ? segment->marks : NULL;
        input->gone = !part && !segment;
    }
}

enum mg_code mg_compaction__follow(struct mg_compaction *compaction, uint32_t *out_count, struct mg_error *err)
{
    struct mg_view *newest = pin_newest(compaction->magic);
    const struct mg_table_view *now = table_in(newest, compaction->table_id);
    uint32_t before = compaction->dead_count;
    struct mg_lookup lookup;
    compaction->abandoned = now == NULL;
    enum mg_code code = mg_lookup__init(&lookup, KEYS_AT_ONCE, err);
    for (uint32_t i = 0; code == MG_OK && now && i < compaction->input_count; i++)
        code = follow_input(compaction, &compaction->inputs[i], now, &lookup, err);
    if (code == MG_OK)
        code = mark_found(compaction, &lookup, err);
    mg_lookup__clear(&lookup);
    if (code != MG_OK || !now) {
        mg_view__unpin(newest);
        return code;
    }
    note_followed(compaction, now);
    mg_view__unpin(compaction->seen);
    compaction->seen = newest;
    *out_count = compaction->dead_count - before;
    return MG_OK;
}

void mg_compaction__release(const struct mg_compaction *compaction)
{
    struct mg_wtable *table = mg_store__find_wtable(&compaction->magic->store, compaction->table_id);
    for (uint32_t i = 0; table && i < compaction->input_count; i++)
        for (uint32_t p = 0; p < table->part_count; p++)
            if (table->parts[p] && mg_part_segment_id(table->parts[p]->part) == compaction->inputs[i].segment_id)
                table->parts[p]->is_busy = false;
}

void mg_compaction__clear(struct mg_compaction *compaction)
{
    if (!compaction->magic)
        return;
    mg_buffer_clear(&compaction->low);
    mg_buffer_clear(&compaction->high);
    mg_part_unref(compaction->out);
    mg_view__unpin(compaction->base);
    mg_view__unpin(compaction->seen);
    free(compaction->inputs);
    free(compaction->dead);
    memset(compaction, 0, sizeof *compaction);
}
