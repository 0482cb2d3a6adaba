/* statistics.c -- what is known of a table's columns without a scan of its parts: NULLs, lowest and highest values,
 * about how many different ones.
 *
 * Parts carry these numbers in their footers, made when they were written. Rows in memory are looked at, all of them:
 * about 10 ns a value. Deleted rows are in both, so with them the numbers are bounds, and not exact.
 * Text     zones of parts are cut to 32 bytes: bounds, too.
 * Errors   MG_NO_MEMORY.
 * Threads  the reader's; no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"
#include "part/sketch.h"

/* One column of a table view. */
struct gathering {
    const struct mg_column *column;
    struct mg_arena *arena;
    struct mg_sketch *sketch;
    struct mg_column_stats *out;
    bool no_bounds; /* some rows' are not known */
};

/* Texts stay where they are: in a part's footer, in the schema, or in the arena. */
static void widen(struct gathering *g, const struct mg_value *low, const struct mg_value *high)
{
    struct mg_column_stats *out = g->out;
    if (!out->has_bounds || mg_value_compare(low, &out->low) < 0)
        out->low = *low;
    if (!out->has_bounds || mg_value_compare(high, &out->high) > 0)
        out->high = *high;
    out->low.type = out->high.type = g->column->type;
    out->has_bounds = true;
}

static enum mg_code keep_text(struct mg_value *value, struct mg_arena *arena, struct mg_error *err)
{
    value->text = mg_arena_copy(arena, value->text);
    return value->text.data ? MG_OK : mg_arena_fail(arena, err);
}

/* Bounds become the caller's; very long texts are none. */
static enum mg_code keep_bounds(struct gathering *g, struct mg_error *err)
{
    struct mg_column_stats *out = g->out;
    if (!out->has_bounds || g->column->type.id != MG_TYPE_UTF8)
        return MG_OK;
    out->has_bounds = MG_MAX(out->low.text.size, out->high.text.size) <= MG_STATS_TEXT_MAX;
    if (!out->has_bounds)
        return MG_OK;
    MG_TRY(keep_text(&out->low, g->arena, err));
    return keep_text(&out->high, g->arena, err);
}

/* ---- rows in memory ------------------------------------------------------------------------------------------ */

/* The texts of a chunk may go once it is let go. */
static enum mg_code widen_by_chunk(struct gathering *g, struct mg_value *low, struct mg_value *high,
                                   struct mg_error *err)
{
    const struct mg_column_stats *out = g->out;
    bool widens = !out->has_bounds || mg_value_compare(low, &out->low) < 0 || mg_value_compare(high, &out->high) > 0;
    if (widens && g->column->type.id == MG_TYPE_UTF8) {
        MG_TRY(keep_text(low, g->arena, err));
        MG_TRY(keep_text(high, g->arena, err));
    }
    widen(g, low, high);
    return MG_OK;
}

static enum mg_code gather_vector(struct gathering *g, const struct mg_vector *v, struct mg_error *err)
{
    struct mg_value low = {.is_null = true}, high = {.is_null = true};
    for (uint32_t row = 0; row < v->row_count; row++) {
        struct mg_value value = mg_vector_value(v, row);
        if (value.is_null) {
            g->out->null_count++;
            continue;
        }
        if (low.is_null || mg_value_compare(&value, &low) < 0)
            low = value;
        if (high.is_null || mg_value_compare(&value, &high) > 0)
            high = value;
    }
    mg_sketch_add(g->sketch, v);
    return low.is_null ? MG_OK : widen_by_chunk(g, &low, &high, err);
}

static enum mg_code gather_held(struct gathering *g, const struct mg_chunk *chunk, int32_t place, uint32_t row_count,
                                struct mg_error *err)
{
    const struct mg_chunk_column *from = &chunk->columns[place];
    uint8_t bits[MG_CHUNK_ROWS / 8] = {0};
    struct mg_vector v = {.type = g->column->type,
                          .row_count = row_count,
                          .values = mg_buf_data(from->values),
                          .offsets = from->offsets ? (const int32_t *)mg_buf_data(from->offsets) : NULL,
                          .validity = from->bits ? mg_buf_data(from->bits) : NULL};
    for (uint32_t row = 0; from->present && row < row_count; row++)
        bits[row >> 3] |= (uint8_t)(mg_buf_data(from->present)[row] << (row & 7));
    if (from->present)
        v.validity = bits;
    return gather_vector(g, &v, err);
}

static enum mg_code gather_chunk(struct gathering *g, struct mg_chunk *chunk, int32_t place, uint32_t row_count,
                                 struct mg_error *err)
{
    struct mg_chunk *held = mg_chunk__hold(chunk);
    enum mg_code code = mg_chunk__load(&held, &place, 1, NULL, err);
    if (code == MG_OK)
        code = gather_held(g, held, place, row_count, err);
    mg_chunk__let_go(held);
    return code;
}

/* Rows from before the column was there. */
static enum mg_code gather_missing(struct gathering *g, uint64_t row_count, struct mg_error *err)
{
    struct mg_value missing = g->column->missing;
    struct mg_batch *batch;
    if (missing.is_null || missing.type.id == MG_TYPE_NONE) {
        g->out->null_count += row_count;
        return MG_OK;
    }
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, &g->column->type, 1, NULL, 1 << 20, err));
    enum mg_code code = mg_builder_value(&builder, 0, &missing, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, 1, &batch, err);
    mg_batch_builder_clear(&builder);
    if (code != MG_OK)
        return code;
    mg_sketch_add(g->sketch, &batch->vectors[0]);
    widen(g, &missing, &missing);
    mg_batch_unref(batch);
    return MG_OK;
}

static enum mg_code gather_segment(struct gathering *g, const struct mg_table_segment *segment, struct mg_error *err)
{
    const struct mg_segment_view *rows = segment->rows;
    int place = mg_schema_find_id(rows->segment->schema, g->column->id);
    if (place < 0)
        return gather_missing(g, rows->row_count, err);
    for (uint32_t i = 0; i < rows->chunk_count; i++)
        MG_TRY(gather_chunk(g, rows->chunks[i], place,
                            MG_MIN(rows->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS), err));
    return MG_OK;
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

static enum mg_code gather_part(struct gathering *g, const struct mg_part *part, struct mg_error *err)
{
    int place = mg_schema_find_id(mg_part_schema(part), g->column->id);
    struct mg_part_column_stats stats;
    if (place < 0)
        return gather_missing(g, mg_part_row_count(part), err);
    mg_part_column_stats(part, (uint32_t)place, &stats);
    g->out->null_count += stats.null_count;
    mg_sketch_merge(g->sketch, stats.distinct);
    for (uint32_t group = 0; group < mg_part_group_count(part); group++) {
        const struct mg_block_info *info = mg_part_block_info(part, (uint32_t)place, group);
        if (info->has_zone)
            widen(g, &info->low, &info->high);
        else
            g->no_bounds |= info->null_count < info->row_count;
    }
    return MG_OK;
}

static enum mg_code gather(const struct mg_table_view *table, struct gathering *g, struct mg_error *err)
{
    struct mg_column_stats *out = g->out;
    bool all_live = true;
    for (uint32_t s = 0; s < table->segment_count; s++) {
        MG_TRY(gather_segment(g, &table->segments[s], err));
        all_live &= !table->segments[s].marks || table->segments[s].marks->dead_count == 0;
    }
    for (uint32_t p = 0; p < table->part_count; p++) {
        MG_TRY(gather_part(g, table->parts[p].part, err));
        all_live &= !table->parts[p].marks || table->parts[p].marks->dead_count == 0;
    }
    out->has_bounds &= !g->no_bounds;
    out->is_exact = all_live;
    out->bounds_exact = all_live && (g->column->type.id != MG_TYPE_UTF8 || table->part_count == 0);
    out->null_count = MG_MIN(out->null_count, table->live_count);
    out->distinct_count = MG_MIN(mg_sketch_count(g->sketch), table->live_count);
    return keep_bounds(g, err);
}

enum mg_code mg_magic__column_stats(const struct mg_snapshot *snapshot, uint64_t table_id, const bool *wanted,
                                    struct mg_arena *arena, struct mg_column_stats **out, struct mg_error *err)
{
    const struct mg_catalog *catalog = ((const struct mg_view *)snapshot)->catalog;
    int at = mg_catalog__find_id(catalog, table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    const struct mg_table_view *table = catalog->tables[at];
    MG_TRY(mg_catalog__check_state(table->schema, err));
    struct mg_column_stats *stats = mg_arena_array(arena, struct mg_column_stats, table->schema->column_count);
    MG_CLEANUP(mg_freep) struct mg_sketch *sketch = malloc(sizeof *sketch);
    if (!stats || !sketch)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the statistics of %u columns", table->schema->column_count);
    for (uint32_t c = 0; c < table->schema->column_count; c++) {
        if (wanted && !wanted[c])
            continue;
        struct gathering g = {.column = &table->schema->columns[c], .arena = arena, .sketch = sketch, .out = &stats[c]};
        memset(sketch, 0, sizeof *sketch);
        MG_TRY(gather(table, &g, err));
    }
    *out = stats;
    return MG_OK;
}
