/* scan.c -- reading a table as a view shows it: what is asked for, and the batches that go out.
 *
 * A reader (scan_units.c) goes from unit to unit and loads rows that are left, as columns; batches show these columns'
 * memory, cut at multiples of 512 rows, or, where only some rows of a chunk are left, gather them. An aggregate or an
 * order takes the rows in place of that.
 * Memory     reserved in the reader's budget. A batch keeps what it shows alive by references of its own.
 * Threads    a scan belongs to one thread at a time; it takes no lock. scan_threads.c has those that help it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/stop.h"
#include "engine/magic/scan_internal.h"

enum {
    SLICE_ROWS =
        512, /* batches begin at multiples of it when they share memory: all buffers stay aligned to 64 bytes */
    BATCH_BYTES_MAX = INT32_MAX,
};

/* A batch that shows a chunk's memory. */
struct shared_batch {
    struct mg_batch base;
    struct mg_chunk *chunk;
    struct mg_buf *settled;
    uint32_t constant_count;
    struct mg_batch **constants;
};

/* ---- open and close ------------------------------------------------------------------------------------------ */

void mg_magic__scan_close(struct mg_scan *base)
{
    struct scan *scan = (struct scan *)base;
    if (!scan)
        return;
    mg_scan__reader_clear(&scan->reader);
    mg_scan__clear_helpers(scan);
    mg_batch_unref(scan->named);
    free(scan->columns);
    free(scan->needed);
    free(scan->shown);
    free(scan->imaged);
    free(scan->unit_begins);
    free(scan);
}

static void note_columns(struct scan *scan)
{
    uint32_t count = 0;
    const uint32_t *places = scan->spec.predicate ? mg_predicate_columns(scan->spec.predicate, &count) : NULL;
    for (uint32_t i = 0; i < scan->spec.column_count; i++)
        scan->shown[scan->columns[i]] = true;
    if (scan->spec.aggregate)
        mg_aggregate_mark(scan->spec.aggregate, scan->shown);
    for (uint32_t i = 0; i < scan->spec.order_count; i++)
        scan->shown[scan->spec.order[i].column] = true;
    memcpy(scan->needed, scan->shown, scan->schema->column_count * sizeof *scan->needed);
    for (uint32_t i = 0; i < count; i++)
        scan->needed[places[i]] = true;
    if (scan->spec.range.low.size || scan->spec.range.high.size)
        for (uint32_t k = 0; k < scan->schema->key_count; k++)
            scan->needed[scan->schema->key_columns[k]] = true;
    scan->filters = scan->spec.predicate && !mg_predicate_is_all(scan->spec.predicate);
}

/* Columns that conditions are tested on, and those of an aggregate that are slow as they lie: texts, and decimals. */
static void note_images(struct scan *scan)
{
    uint32_t count = 0;
    const struct mg_condition *conditions = scan->filters ? mg_predicate_conditions(scan->spec.predicate, &count)
                                                          : NULL;
    for (uint32_t i = 0; i < count; i++)
        if (conditions[i].kind == MG_CONDITION_BETWEEN || conditions[i].kind == MG_CONDITION_IN)
            scan->imaged[conditions[i].column] = true;
    for (uint32_t c = 0; scan->spec.aggregate && c < scan->schema->column_count; c++) {
        uint32_t width = mg_type_width(scan->schema->columns[c].type.id);
        scan->imaged[c] |= scan->shown[c] && (width == 0 || width == sizeof(mg_int128));
    }
}

static enum mg_code prepare(struct scan *scan, const uint32_t *only, uint32_t only_count, struct mg_error *err)
{
    size_t count = scan->schema->column_count;
    scan->columns = calloc((size_t)scan->spec.column_count + 1, sizeof *scan->columns);
    scan->needed = calloc(count + 1, sizeof *scan->needed);
    scan->shown = calloc(count + 1, sizeof *scan->shown);
    scan->imaged = calloc(count + 1, sizeof *scan->imaged);
    if (!scan->columns || !scan->needed || !scan->shown || !scan->imaged)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan of %zu columns", count);
    if (scan->spec.column_count)
        memcpy(scan->columns, scan->spec.columns, scan->spec.column_count * sizeof *scan->columns);
    note_columns(scan);
    note_images(scan);
    MG_TRY(mg_scan__list_units(scan, only, only_count, err));
    return mg_scan__reader_init(&scan->reader, scan, false, err);
}

/* only: ids of segments and parts to read; NULL: all. */
static enum mg_code open_scan(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, const uint32_t *only,
                              uint32_t only_count, struct mg_scan **out, struct mg_error *err)
{
    const struct mg_view *view = (const struct mg_view *)snapshot;
    int at = mg_catalog__find_id(view->catalog, spec->table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)spec->table_id);
    const struct mg_table_view *table = view->catalog->tables[at];
    MG_TRY(mg_catalog__check_state(table->schema, err));
    MG_TRY(mg_scan_spec_check(table->schema, spec, err));
    struct scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan");
    scan->base.engine = snapshot->engine;
    scan->table = table;
    scan->schema = table->schema;
    scan->spec = *spec;
    scan->budget = spec->budget ? spec->budget : mg_magic__of(snapshot->engine)->readers;
    scan->batch_rows = spec->batch_rows_max ? MG_MIN(spec->batch_rows_max, (uint32_t)MG_CHUNK_ROWS) : MG_CHUNK_ROWS;
    enum mg_code code = prepare(scan, only, only_count, err);
    if (code != MG_OK) {
        mg_magic__scan_close(&scan->base);
        return code;
    }
    *out = &scan->base;
    return MG_OK;
}

enum mg_code mg_magic__scan(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                            struct mg_error *err)
{
    struct mg_scan *base;
    MG_TRY(open_scan(snapshot, spec, NULL, 0, &base, err));
    struct scan *scan = (struct scan *)base;
    enum mg_code code = mg_magic__find_named(snapshot, spec, scan->schema, scan->needed, &scan->by_key, &scan->named,
                                             err);
    if (code == MG_OK)
        code = mg_scan__add_helpers(scan, err);
    if (code == MG_OK)
        *out = base;
    else
        mg_magic__scan_close(base);
    return code;
}

enum mg_code mg_magic__scan_segments(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                                     const uint32_t *segment_ids, uint32_t count, struct mg_scan **out,
                                     struct mg_error *err)
{
    return open_scan(snapshot, spec, segment_ids, count, out, err);
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

static void free_shared(struct mg_batch *base)
{
    struct shared_batch *batch = (struct shared_batch *)base;
    mg_chunk__let_go(batch->chunk);
    mg_buf__unref(batch->settled);
    for (uint32_t i = 0; i < batch->constant_count; i++)
        mg_batch_unref(batch->constants[i]);
    free(batch);
}

/* Rows first to first + count of the loaded chunk, as they lie there. */
static enum mg_code share(struct scan *scan, uint32_t first, uint32_t count, struct mg_batch **out,
                          struct mg_error *err)
{
    uint32_t column_count = scan->spec.column_count;
    size_t vectors_at = (sizeof(struct shared_batch) + 15) & ~(size_t)15;
    size_t constants_at = vectors_at + column_count * sizeof(struct mg_vector);
    struct shared_batch *batch = calloc(1, constants_at + column_count * sizeof(struct mg_batch *));
    if (!batch)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a batch of %u columns", column_count);
    atomic_init(&batch->base.references, 1);
    batch->base.row_count = count;
    batch->base.column_count = column_count;
    batch->base.vectors = (struct mg_vector *)((char *)batch + vectors_at);
    batch->base.free = free_shared;
    batch->constants = (struct mg_batch **)((char *)batch + constants_at);
    batch->chunk = scan->reader.loaded.chunk ? mg_chunk__hold_again(scan->reader.loaded.chunk) : NULL;
    batch->settled = mg_buf__ref(scan->reader.loaded.settled);
    for (uint32_t i = 0; i < column_count; i++) {
        uint32_t place = scan->columns[i];
        batch->base.vectors[i] = mg_scan__cut(&scan->reader.vectors[place], first, count);
        if (scan->reader.in_segment[place] < 0)
            batch->constants[batch->constant_count++] = mg_batch_ref(scan->reader.constants[place]);
    }
    *out = &batch->base;
    return MG_OK;
}

/* One column of the next count rows. The whole of what a mask keeps needs no list of rows. */
static enum mg_code gather_column(struct scan *scan, struct mg_batch_builder *builder, uint32_t column, uint32_t first,
                                  uint32_t count, struct mg_error *err)
{
    struct scan_loaded *loaded = &scan->reader.loaded;
    const struct mg_vector *from = &scan->reader.vectors[scan->columns[column]];
    if (loaded->every_row)
        return mg_builder_gather(builder, column, from, NULL, first, count, err);
    if (count == loaded->out_count && mg_builder_compresses(from))
        return mg_builder_compress(builder, column, from, loaded->mask, count, err);
    if (!loaded->listed)
        mg_mask_rows(loaded->mask, loaded->row_count, loaded->rows);
    loaded->listed = true;
    return mg_builder_gather(builder, column, from, loaded->rows + first, first, count, err);
}

static enum mg_code gather(struct scan *scan, uint32_t first, uint32_t count, struct mg_batch **out,
                           struct mg_error *err)
{
    uint32_t column_count = scan->spec.column_count;
    struct mg_type *types = mg_arena_array(&scan->reader.scratch, struct mg_type, (size_t)column_count + 1);
    if (!types)
        return mg_arena_fail(&scan->reader.scratch, err);
    for (uint32_t i = 0; i < column_count; i++)
        types[i] = scan->schema->columns[scan->columns[i]].type;
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, types, column_count, scan->budget, BATCH_BYTES_MAX, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < column_count; i++)
        code = gather_column(scan, &builder, i, first, count, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

/* Read until the end or until the groups fill their memory, then give all results; and so on. */
static enum mg_code next_results(struct scan *scan, struct mg_batch **out, struct mg_error *err)
{
    struct scan_reader *reader = &scan->reader;
    for (;;) {
        if (!scan->draining)
            MG_TRY(mg_scan__read_all(scan, err));
        scan->draining = true;
        MG_TRY(mg_aggregation_next(reader->aggregation, scan->spec.batch_rows_max, out, err));
        if (*out || mg_scan__all_done(scan))
            return MG_OK;
        scan->draining = false;
    }
}

enum mg_code mg_magic__next(struct mg_scan *base, struct mg_batch **out, struct mg_error *err)
{
    struct scan *scan = (struct scan *)base;
    struct scan_loaded *loaded = &scan->reader.loaded;
    MG_STOP("scan.next");
    if (scan->reader.aggregation)
        return next_results(scan, out, err);
    if (scan->reader.top) {
        if (!mg_scan__all_done(scan))
            MG_TRY(mg_scan__read_all(scan, err));
        return mg_top_next(scan->reader.top, scan->batch_rows, out, err);
    }
    uint64_t left = scan->spec.limit ? scan->spec.limit - scan->row_count : UINT64_MAX;
    if (left && (!loaded->active || loaded->out_done == loaded->out_count))
        MG_TRY(mg_scan__advance(&scan->reader, err));
    if (left == 0 || !loaded->active) {
        *out = NULL;
        return MG_OK;
    }
    uint32_t first = loaded->out_done;
    uint32_t count = (uint32_t)MG_MIN((uint64_t)MG_MIN(loaded->out_count - first, scan->batch_rows), left);
    struct mg_batch *batch;
    if (scan->spec.column_count == 0 || (loaded->every_row && first % SLICE_ROWS == 0))
        MG_TRY(share(scan, first, count, &batch, err));
    else
        MG_TRY(gather(scan, first, count, &batch, err));
    loaded->out_done += count;
    scan->row_count += count;
    *out = batch;
    return MG_OK;
}
