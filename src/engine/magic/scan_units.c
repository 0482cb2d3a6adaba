/* scan_units.c -- from unit to unit: a chunk of memory or a row group of a part is what a reader takes at a time.
 *
 * Units are numbered over the whole table, segments first; a reader takes the next number. So several readers share the
 * work, and none waits for another.
 * Columns   are found by id in each segment and part. A column that one lacks is its `missing` value, 8,192 times, made
 *           once a reader.
 * Threads   a reader belongs to one thread at a time; the number of the next unit is atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "column/bits.h"
#include "engine/magic/scan_internal.h"

enum {
    SCRATCH_MAX = 64 << 20,
    HELPER_BYTES_MAX = 128 << 20, /* of groups, before they are handed over */
};

/* ---- units --------------------------------------------------------------------------------------------------- */

static bool is_among(const uint32_t *ids, uint32_t count, uint32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return !ids;
}

enum mg_code mg_scan__list_units(struct scan *scan, const uint32_t *only, uint32_t only_count, struct mg_error *err)
{
    const struct mg_table_view *table = scan->table;
    uint64_t at = 0;
    uint32_t source = 0;
    free(scan->unit_begins);
    scan->unit_begins = calloc((size_t)table->segment_count + table->part_count + 1, sizeof *scan->unit_begins);
    if (!scan->unit_begins)
        return mg_fail(err, MG_NO_MEMORY, "no memory to scan %u segments and parts",
                       table->segment_count + table->part_count);
    for (uint32_t s = 0; s < table->segment_count; s++) {
        const struct mg_segment_view *rows = table->segments[s].rows;
        at += is_among(only, only_count, rows->segment->id) ? rows->chunk_count : 0;
        scan->unit_begins[++source] = at;
    }
    for (uint32_t p = 0; p < table->part_count; p++) {
        const struct mg_part *part = table->parts[p].part;
        at += is_among(only, only_count, mg_part_segment_id(part)) ? mg_part_group_count(part) : 0;
        scan->unit_begins[++source] = at;
    }
    return MG_OK;
}

/* ---- a reader's life ----------------------------------------------------------------------------------------- */

static void unload(struct scan_reader *reader)
{
    mg_chunk__let_go(reader->loaded.chunk);
    mg_buf__unref(reader->loaded.settled);
    reader->loaded.chunk = NULL;
    reader->loaded.settled = NULL;
    reader->loaded.active = false;
}

void mg_scan__reader_clear(struct scan_reader *reader)
{
    if (!reader->scan)
        return;
    unload(reader);
    mg_chunk__let_go(reader->group_held);
    mg_part_reader__leave(&reader->part);
    for (uint32_t c = 0; c < reader->scan->schema->column_count; c++) {
        if (reader->constants)
            mg_batch_unref(reader->constants[c]);
        if (reader->rooms)
            mg_buf__unref(reader->rooms[c]);
    }
    mg_aggregation_free(reader->aggregation);
    mg_top_free(reader->top);
    mg_arena_clear(&reader->scratch);
    mg_arena_clear(&reader->group_scratch);
    free(reader->in_segment);
    free(reader->constants);
    free(reader->vectors);
    free(reader->vector_places);
    free(reader->images);
    free(reader->rooms);
    free(reader->room_vectors);
    free(reader->order);
    free(reader->conditions);
    free(reader->tallies);
    free(reader->inputs);
    free(reader->feeds);
}

static enum mg_code make_top(struct scan_reader *reader, bool helps, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    struct mg_top_request request = {.columns = scan->columns,
                                     .column_count = scan->spec.column_count,
                                     .order = scan->spec.order,
                                     .order_count = scan->spec.order_count,
                                     .limit = (uint32_t)MG_MIN(scan->spec.limit, (uint64_t)MG_TOP_ROWS_MAX)};
    uint32_t *shown = calloc((size_t)scan->schema->column_count + 1, sizeof *shown);
    if (!shown)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan of %u columns", scan->schema->column_count);
    if (helps) { /* all that the other reader needs to put them into order again */
        request.columns = shown;
        request.column_count = 0;
        for (uint32_t c = 0; c < scan->schema->column_count; c++)
            if (scan->shown[c])
                shown[request.column_count++] = c;
    }
    enum mg_code code = mg_top_new(&request, scan->schema, scan->budget, &reader->top, err);
    free(shown);
    return code;
}

/* What takes the rows, when they do not go out as they are found. */
static enum mg_code make_consumer(struct scan_reader *reader, bool helps, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    bool hard = scan->spec.aggregate && !scan->spec.aggregate->is_partial;
    if (scan->spec.order_count)
        return make_top(reader, helps, err);
    if (!scan->spec.aggregate)
        return MG_OK;
    MG_TRY(mg_scan__plan_aggregate(reader, err));
    return mg_aggregation_new(helps ? scan->exchange : scan->spec.aggregate, scan->budget,
                              helps && hard ? HELPER_BYTES_MAX : 0, &reader->aggregation, err);
}

/* Roughly what testing a row costs. */
static uint32_t cost_of(const struct mg_condition *condition, const struct mg_schema *schema)
{
    switch (condition->kind) {
    case MG_CONDITION_OTHER: return 40;
    case MG_CONDITION_IS_NULL:
    case MG_CONDITION_IS_NOT_NULL: return 1;
    default: break;
    }
    if (schema->columns[condition->column].type.id == MG_TYPE_UTF8)
        return 10;
    return condition->kind == MG_CONDITION_IN ? 4 : 2;
}

static enum mg_code make_conditions(struct scan_reader *reader, struct mg_error *err)
{
    uint32_t count = 0;
    const struct scan *scan = reader->scan;
    const struct mg_condition *conditions = scan->spec.predicate ? mg_predicate_conditions(scan->spec.predicate, &count)
                                                                 : NULL;
    reader->order = calloc((size_t)count + 1, sizeof *reader->order);
    reader->conditions = calloc((size_t)count + 1, sizeof *reader->conditions);
    if (!reader->order || !reader->conditions)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan with %u conditions", count);
    for (uint32_t i = 0; i < count; i++) {
        reader->order[i] = i;
        reader->conditions[i].cost = cost_of(&conditions[i], scan->schema);
    }
    return MG_OK;
}

enum mg_code mg_scan__reader_init(struct scan_reader *reader, struct scan *scan, bool helps, struct mg_error *err)
{
    size_t count = (size_t)scan->schema->column_count + 1;
    reader->scan = scan;
    reader->in_segment = calloc(count, sizeof *reader->in_segment);
    reader->constants = calloc(count, sizeof(struct mg_batch *));
    reader->vectors = calloc(count, sizeof *reader->vectors);
    reader->vector_places = calloc(count, sizeof(const struct mg_vector *));
    reader->images = calloc(count, sizeof(const struct mg_chunk_image *));
    reader->rooms = calloc(count, sizeof(struct mg_buf *));
    reader->room_vectors = calloc(count, sizeof *reader->room_vectors);
    mg_arena_init(&reader->scratch, SCRATCH_MAX);
    mg_arena_init(&reader->group_scratch, SCRATCH_MAX);
    if (!reader->in_segment || !reader->constants || !reader->vectors || !reader->vector_places || !reader->images ||
        !reader->rooms || !reader->room_vectors)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan of %zu columns", count - 1);
    for (size_t c = 0; c < count; c++)
        reader->vector_places[c] = &reader->vectors[c];
    MG_TRY(make_conditions(reader, err));
    return make_consumer(reader, helps, err);
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

enum mg_code mg_magic__missing_rows(const struct mg_column *column, struct mg_budget *budget, struct mg_batch **out,
                                    struct mg_error *err)
{
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, &column->type, 1, budget, INT32_MAX, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < MG_CHUNK_ROWS; i++)
        code = column->missing.is_null ? mg_builder_null(&builder, 0, err)
                                       : mg_builder_value(&builder, 0, &column->missing, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, MG_CHUNK_ROWS, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

/* Find the needed columns in a segment or part with that schema. */
static enum mg_code find_columns(struct scan_reader *reader, const struct mg_schema *schema, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        reader->in_segment[c] = -1;
        if (!scan->needed[c])
            continue;
        reader->in_segment[c] = mg_schema_find_id(schema, scan->schema->columns[c].id);
        if (reader->in_segment[c] < 0 && !reader->constants[c])
            MG_TRY(mg_magic__missing_rows(&scan->schema->columns[c], scan->budget, &reader->constants[c], err));
    }
    return MG_OK;
}

struct mg_vector mg_scan__cut(const struct mg_vector *v, uint32_t first, uint32_t count)
{
    struct mg_vector out = *v;
    out.row_count = count;
    if (v->offsets)
        out.offsets = v->offsets + first;
    else
        out.values = (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
    if (!v->null_count || (first == 0 && count == v->row_count))
        return out;
    out.validity = v->validity + first / 8;
    out.null_count = count - mg_bits_count(out.validity, 0, count);
    if (out.null_count == 0)
        out.validity = NULL;
    return out;
}

struct mg_vector mg_scan__missing(const struct scan_reader *reader, uint32_t column, uint32_t row_count)
{
    return mg_scan__cut(&reader->constants[column]->vectors[0], 0, row_count);
}

static void find_zone(const struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t group, uint32_t c,
                      struct scan_zones *out)
{
    int32_t place = reader->in_segment[c];
    if (place < 0) {
        const struct mg_value *missing = &reader->scan->schema->columns[c].missing;
        out->lows[c] = out->highs[c] = missing->is_null ? NULL : missing;
        out->has_null[c] = missing->is_null;
    } else if (chunk) {
        const struct mg_chunk_column *column = &chunk->columns[place];
        out->lows[c] = column->has_zone ? &column->low : NULL;
        out->highs[c] = column->has_zone ? &column->high : NULL;
        out->has_null[c] = column->null_count > 0;
    } else {
        const struct mg_block_info *info = mg_part_block_info(reader->part.part, (uint32_t)place, group);
        out->lows[c] = info->has_zone ? &info->low : NULL;
        out->highs[c] = info->has_zone ? &info->high : NULL;
        out->has_null[c] = info->null_count > 0;
    }
}

enum mg_code mg_scan__find_zones(struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t group,
                                 struct mg_arena *arena, struct scan_zones *out, struct mg_error *err)
{
    size_t count = reader->scan->schema->column_count;
    uint32_t column_count;
    const uint32_t *places = mg_predicate_columns(reader->scan->spec.predicate, &column_count);
    out->lows = mg_arena_array(arena, const struct mg_value *, count + 1);
    out->highs = mg_arena_array(arena, const struct mg_value *, count + 1);
    out->has_null = mg_arena_array(arena, bool, count + 1);
    if (!out->lows || !out->highs || !out->has_null)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < column_count; i++)
        find_zone(reader, chunk, group, places[i], out);
    return MG_OK;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

void mg_scan__set_mask(uint64_t *mask, uint32_t row_count)
{
    memset(mask, 0xff, row_count / 64 * sizeof *mask);
    if (row_count % 64)
        mask[row_count / 64] = ((uint64_t)1 << (row_count % 64)) - 1;
}

static void show_rows(struct scan_reader *reader, uint32_t row_count, const uint64_t *mask)
{
    struct scan_loaded *loaded = &reader->loaded;
    loaded->row_count = row_count;
    loaded->out_count = mask ? mg_mask_count(mask, row_count) : row_count;
    loaded->out_done = 0;
    loaded->every_row = loaded->out_count == row_count;
    loaded->listed = false;
    if (!loaded->every_row)
        memcpy(loaded->mask, mask, ((size_t)row_count + 63) / 64 * sizeof *mask);
    loaded->active = loaded->out_count > 0;
}

enum mg_code mg_scan__take_rows(struct scan_reader *reader, uint32_t row_count, const uint64_t *mask,
                                struct mg_error *err)
{
    uint64_t every[MG_CHUNK_ROWS / 64];
    if (!reader->aggregation && !reader->top) {
        show_rows(reader, row_count, mask);
        return MG_OK;
    }
    if (!mask) {
        mg_scan__set_mask(every, row_count);
        mask = every;
    }
    if (reader->aggregation)
        return mg_aggregation_update(reader->aggregation, reader->vector_places, row_count, mask, err);
    return mg_top_add(reader->top, reader->vector_places, row_count, mask, err);
}

bool mg_scan__is_full(const struct scan_reader *reader)
{
    return reader->aggregation && mg_aggregation_is_full(reader->aggregation);
}

/* ---- from unit to unit --------------------------------------------------------------------------------------- */

static enum mg_code enter_source(struct scan_reader *reader, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    const struct mg_table_view *table = scan->table;
    if (reader->source < table->segment_count)
        return find_columns(reader, table->segments[reader->source].rows->segment->schema, err);
    struct mg_part *part = table->parts[reader->source - table->segment_count].part;
    MG_TRY(find_columns(reader, mg_part_schema(part), err));
    return mg_part_reader__enter(&reader->part, part, reader->in_segment, scan->schema->column_count, scan->spec.range,
                                 err);
}

static enum mg_code take_group(struct scan_reader *reader, struct mg_error *err)
{
    return reader->aggregation ? mg_scan__aggregate_group(reader, err) : mg_scan__load_group(reader, err);
}

static void count_unit(const struct scan_reader *reader)
{
    struct mg_scan_work *work = reader->scan->spec.work;
    if (work && reader->fate == SCAN_FATE_READ)
        atomic_fetch_add_explicit(&work->blocks_read, 1, memory_order_relaxed);
    if (work && reader->fate == SCAN_FATE_SKIPPED)
        atomic_fetch_add_explicit(&work->blocks_skipped, 1, memory_order_relaxed);
}

/* Begin a unit of the source. */
static enum mg_code begin_unit(struct scan_reader *reader, uint32_t at, struct mg_error *err)
{
    const struct mg_table_view *table = reader->scan->table;
    reader->fate = SCAN_FATE_NONE;
    if (reader->source < table->segment_count)
        MG_TRY(mg_scan__load_chunk(reader, &table->segments[reader->source], at, err));
    else
        MG_TRY(mg_scan__enter_group(reader, &table->parts[reader->source - table->segment_count], at, err));
    count_unit(reader);
    return MG_OK;
}

/* Begin the next unit. */
static enum mg_code next_unit(struct scan_reader *reader, struct mg_error *err)
{
    struct scan *scan = reader->scan;
    const struct mg_table_view *table = scan->table;
    uint32_t source_count = table->segment_count + table->part_count;
    mg_chunk__let_go(reader->group_held);
    reader->group_held = NULL;
    uint64_t unit = atomic_fetch_add_explicit(&scan->next_unit, 1, memory_order_relaxed);
    while (reader->source < source_count && unit >= scan->unit_begins[reader->source + 1]) {
        reader->source++;
        reader->entered = false;
    }
    if (reader->source == source_count) {
        mg_part_reader__leave(&reader->part);
        reader->done = true;
        return MG_OK;
    }
    if (!reader->entered)
        MG_TRY(enter_source(reader, err));
    reader->entered = true;
    return begin_unit(reader, (uint32_t)(unit - scan->unit_begins[reader->source]), err);
}

/* Rows that were found by their keys are one more chunk, whose columns are kept like those of missing values. */
static enum mg_code load_named(struct scan_reader *reader, struct mg_error *err)
{
    struct scan *scan = reader->scan;
    struct mg_batch *rows = scan->named;
    uint64_t mask[MG_CHUNK_ROWS / 64] = {0};
    reader->done = true;
    if (!rows)
        return MG_OK;
    for (uint32_t c = 0, i = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c])
            continue;
        reader->in_segment[c] = -1;
        reader->constants[c] = mg_batch_ref(rows);
        reader->vectors[c] = rows->vectors[i++];
    }
    scan->named = NULL;
    uint32_t row_count = rows->row_count;
    mg_batch_unref(rows);
    mg_arena_reset(&reader->scratch);
    mg_scan__set_mask(mask, row_count);
    MG_TRY(mg_predicate_filter(scan->spec.predicate, reader->vector_places, row_count, mask, &reader->scratch, err));
    return mg_scan__take_rows(reader, row_count, mask, err);
}

enum mg_code mg_scan__advance(struct scan_reader *reader, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    unload(reader);
    if (scan->by_key)
        return load_named(reader, err);
    while (!reader->loaded.active && !reader->done && !mg_scan__is_full(reader)) {
        if (atomic_load_explicit(&scan->stopped, memory_order_relaxed))
            return MG_OK; /* another reader says why */
        if (scan->spec.is_cancelled && scan->spec.is_cancelled(scan->spec.cancel_arg))
            return mg_fail(err, MG_CANCELLED, "the reader has lost interest");
        enum mg_code code = reader->group.active ? take_group(reader, err) : next_unit(reader, err);
        if (code != MG_OK || !reader->loaded.active)
            unload(reader);
        if (code != MG_OK)
            return code;
    }
    return MG_OK;
}
