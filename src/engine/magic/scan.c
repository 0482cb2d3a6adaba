/* scan.c -- reading a table as a view shows it: chunk by chunk, pruned, masked, filtered, and sent as it lies there
 * when it can.
 *
 * Per chunk  (1) prune by zone map and key range; (2) mask: the rows that exist, less the marks; (3) the key range; (4)
 *            the predicate; (5) out: if every row is left, the chunk's own memory; else the rows that are left,
 *            gathered.
 *            An aggregate or an order takes vectors and mask in place of (5).
 * Frozen     chunks are read in place. An open one, the last of a table, is copied first (settled), because its memory
 *            behind the visible rows is being written and kernels may read up to the next multiple of 8 bytes.
 * Columns    are found by id in each segment. A column that a segment lacks is its `missing` value, 8,192 times, made
 *            once a scan.
 * Memory     copies are reserved in the reader's budget. A batch keeps what it shows alive by references of its own.
 * Threads    a scan belongs to one thread at a time; it takes no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/part_reader.h"
#include "engine/scan_spec.h"

enum {
    SLICE_ROWS =
        512, /* batches begin at multiples of it when they share memory: all buffers stay aligned to 64 bytes */
    BATCH_BYTES_MAX = INT32_MAX,
    SCRATCH_MAX = 64 << 20,
};

/* The chunk that batches are cut from. */
struct loaded {
    bool active;
    struct mg_chunk *chunk; /* a reference; NULL for a part's granule */
    struct mg_buf *settled; /* a reference: the copy of an open chunk, or a decoded granule; NULL */
    uint32_t row_count;     /* visible */
    bool every_row;         /* all of them go out; else those in rows */
    uint32_t out_count, out_done;
    uint32_t rows[MG_CHUNK_ROWS];
};

struct scan {
    struct mg_scan base;
    const struct mg_table_view *table; /* borrowed from the snapshot */
    const struct mg_schema *schema;    /* the same */
    struct mg_scan_spec spec;
    uint32_t *columns;
    struct mg_budget *budget;
    uint32_t batch_rows;
    uint64_t row_count;           /* given so far */
    uint32_t segment, next_chunk; /* chunks first, then parts */
    uint32_t part, next_granule;
    uint32_t *only; /* segment ids to read; NULL: all */
    uint32_t only_count;
    struct mg_part_reader reader; /* of the part, once it was entered */
    bool by_key;                  /* the rows that the predicate names by their keys, in place of chunks and parts: */
    struct mg_batch *named;       /* until they were taken; NULL: none */

    /* By place in the schema: */
    bool *needed;
    int32_t *in_segment;         /* place in the current segment; -1: it lacks the column */
    struct mg_batch **constants; /* of missing values, or NULL */
    struct mg_vector *vectors;   /* of the loaded chunk */
    const struct mg_vector **vector_places;

    struct mg_arena scratch;
    struct loaded loaded;

    /* Of an aggregate, of ordered rows; both NULL: rows go out as they are found. */
    struct mg_aggregation *aggregation;
    bool draining; /* its results go out, before further chunks are read */
    struct mg_top *top;
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

static void unload(struct scan *scan)
{
    mg_chunk__unref(scan->loaded.chunk);
    mg_buf__unref(scan->loaded.settled);
    scan->loaded.chunk = NULL;
    scan->loaded.settled = NULL;
    scan->loaded.active = false;
}

void mg_magic__scan_close(struct mg_scan *base)
{
    struct scan *scan = (struct scan *)base;
    if (!scan)
        return;
    unload(scan);
    mg_part_reader__leave(&scan->reader);
    mg_batch_unref(scan->named);
    for (uint32_t c = 0; scan->constants && c < scan->schema->column_count; c++)
        mg_batch_unref(scan->constants[c]);
    mg_aggregation_free(scan->aggregation);
    mg_top_free(scan->top);
    mg_arena_clear(&scan->scratch);
    free(scan->only);
    free(scan->columns);
    free(scan->needed);
    free(scan->in_segment);
    free(scan->constants);
    free(scan->vectors);
    free(scan->vector_places);
    free(scan);
}

static void note_needed(struct scan *scan)
{
    for (uint32_t i = 0; i < scan->spec.column_count; i++)
        scan->needed[scan->columns[i]] = true;
    uint32_t count = 0;
    const uint32_t *places = scan->spec.predicate ? mg_predicate_columns(scan->spec.predicate, &count) : NULL;
    for (uint32_t i = 0; i < count; i++)
        scan->needed[places[i]] = true;
    if (scan->spec.aggregate)
        mg_aggregate_mark(scan->spec.aggregate, scan->needed);
    for (uint32_t i = 0; i < scan->spec.order_count; i++)
        scan->needed[scan->spec.order[i].column] = true;
    if (scan->spec.range.low.size || scan->spec.range.high.size)
        for (uint32_t k = 0; k < scan->schema->key_count; k++)
            scan->needed[scan->schema->key_columns[k]] = true;
}

/* What takes the rows, when they do not go out as they are found. */
static enum mg_code make_consumer(struct scan *scan, struct mg_error *err)
{
    struct mg_top_request request = {.columns = scan->columns,
                                     .column_count = scan->spec.column_count,
                                     .order = scan->spec.order,
                                     .order_count = scan->spec.order_count,
                                     .limit = (uint32_t)MG_MIN(scan->spec.limit, (uint64_t)MG_TOP_ROWS_MAX)};
    if (scan->spec.aggregate)
        return mg_aggregation_new(scan->spec.aggregate, scan->budget, 0, &scan->aggregation, err);
    return scan->spec.order_count ? mg_top_new(&request, scan->schema, scan->budget, &scan->top, err) : MG_OK;
}

enum mg_code mg_magic__scan(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                            struct mg_error *err)
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
    size_t count = table->schema->column_count;
    scan->base.engine = snapshot->engine;
    scan->table = table;
    scan->schema = table->schema;
    scan->spec = *spec;
    scan->budget = spec->budget ? spec->budget : mg_magic__of(snapshot->engine)->readers;
    scan->batch_rows = spec->batch_rows_max ? MG_MIN(spec->batch_rows_max, (uint32_t)MG_CHUNK_ROWS) : MG_CHUNK_ROWS;
    scan->columns = calloc((size_t)spec->column_count + 1, sizeof *scan->columns);
    scan->needed = calloc(count + 1, sizeof *scan->needed);
    scan->in_segment = calloc(count + 1, sizeof *scan->in_segment);
    scan->constants = calloc(count + 1, sizeof(struct mg_batch *));
    scan->vectors = calloc(count + 1, sizeof *scan->vectors);
    scan->vector_places = calloc(count + 1, sizeof(const struct mg_vector *));
    mg_arena_init(&scan->scratch, SCRATCH_MAX);
    if (!scan->columns || !scan->needed || !scan->in_segment || !scan->constants || !scan->vectors ||
        !scan->vector_places) {
        mg_magic__scan_close(&scan->base);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan of %zu columns", count);
    }
    if (spec->column_count)
        memcpy(scan->columns, spec->columns, spec->column_count * sizeof *scan->columns);
    for (size_t c = 0; c < count; c++)
        scan->vector_places[c] = &scan->vectors[c];
    note_needed(scan);
    enum mg_code code = make_consumer(scan, err);
    if (code == MG_OK)
        code = mg_magic__find_named(snapshot, spec, scan->schema, scan->needed, &scan->by_key, &scan->named, err);
    if (code != MG_OK) {
        mg_magic__scan_close(&scan->base);
        return code;
    }
    *out = &scan->base;
    return MG_OK;
}

enum mg_code mg_magic__scan_segments(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                                     const uint32_t *segment_ids, uint32_t count, struct mg_scan **out,
                                     struct mg_error *err)
{
    uint32_t *only = malloc(((size_t)count + 1) * sizeof *only);
    if (!only)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a scan of %u segments", count);
    enum mg_code code = mg_magic__scan(snapshot, spec, out, err);
    if (code != MG_OK) {
        free(only);
        return code;
    }
    memcpy(only, segment_ids, count * sizeof *only);
    ((struct scan *)*out)->only = only;
    ((struct scan *)*out)->only_count = count;
    return MG_OK;
}

/* Whether the scan reads that segment or part. */
static bool reads(const struct scan *scan, uint32_t segment_id)
{
    for (uint32_t i = 0; i < scan->only_count; i++)
        if (scan->only[i] == segment_id)
            return true;
    return !scan->only;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

enum mg_code mg_magic__missing_rows(const struct mg_column *column, struct mg_budget *budget, struct mg_batch **out,
                                    struct mg_error *err)
{
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, &column->type, 1, budget, BATCH_BYTES_MAX, err));
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
static enum mg_code enter(struct scan *scan, const struct mg_schema *schema, struct mg_error *err)
{
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        scan->in_segment[c] = -1;
        if (!scan->needed[c])
            continue;
        scan->in_segment[c] = mg_schema_find_id(schema, scan->schema->columns[c].id);
        if (scan->in_segment[c] < 0 && !scan->constants[c])
            MG_TRY(mg_magic__missing_rows(&scan->schema->columns[c], scan->budget, &scan->constants[c], err));
    }
    return MG_OK;
}

/* The first count rows of a vector that has more. */
static struct mg_vector cut(const struct mg_vector *v, uint32_t first, uint32_t count)
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
    uint32_t present = 0;
    for (uint32_t i = 0; i < count; i++)
        present += out.validity[i >> 3] >> (i & 7) & 1;
    out.null_count = count - present;
    if (out.null_count == 0)
        out.validity = NULL;
    return out;
}

static size_t round64(size_t size) { return (size + 63) & ~(size_t)63; }

/* How much of an open chunk's column settles. */
static size_t settled_bytes(const struct mg_chunk_column *column, uint32_t width, uint32_t row_count)
{
    size_t bytes = column->present ? round64((row_count + 7) / 8) : 0;
    if (width)
        return bytes + round64((size_t)row_count * width);
    const int32_t *offsets = (const int32_t *)mg_buf_data(column->offsets);
    return bytes + round64(((size_t)row_count + 1) * sizeof *offsets) + round64((size_t)offsets[row_count]);
}

static void settle_column(const struct mg_chunk_column *column, struct mg_type type, uint32_t row_count, uint8_t *to,
                          struct mg_vector *out)
{
    uint32_t width = mg_type_width(type.id);
    *out = (struct mg_vector){.type = type, .row_count = row_count};
    if (column->present) {
        const uint8_t *present = mg_buf_data(column->present);
        size_t bytes = round64((row_count + 7) / 8);
        uint32_t set = 0;
        memset(to, 0, bytes);
        for (uint32_t i = 0; i < row_count; i++) {
            to[i >> 3] |= (uint8_t)(present[i] << (i & 7));
            set += present[i];
        }
        out->null_count = row_count - set;
        out->validity = out->null_count ? to : NULL;
        to += bytes;
    }
    size_t value_bytes = (size_t)row_count * width;
    if (!width) {
        size_t offset_bytes = ((size_t)row_count + 1) * sizeof(int32_t);
        memcpy(to, mg_buf_data(column->offsets), offset_bytes);
        out->offsets = (const int32_t *)to;
        value_bytes = (size_t)out->offsets[row_count];
        to += round64(offset_bytes);
    }
    out->values = to;
    if (value_bytes)
        memcpy(to, mg_buf_data(column->values), value_bytes);
}

/* Copies of the needed columns of an open chunk. */
static enum mg_code settle(struct scan *scan, const struct mg_chunk *chunk, uint32_t row_count, struct mg_error *err)
{
    size_t bytes = 0;
    for (uint32_t c = 0; c < scan->schema->column_count; c++)
        if (scan->needed[c] && scan->in_segment[c] >= 0)
            bytes += settled_bytes(&chunk->columns[scan->in_segment[c]],
                                   mg_type_width(scan->schema->columns[c].type.id), row_count);
    MG_TRY(mg_buf__new(scan->budget, bytes, &scan->loaded.settled, err));
    uint8_t *to = mg_buf_data(scan->loaded.settled);
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c] || scan->in_segment[c] < 0)
            continue;
        const struct mg_chunk_column *column = &chunk->columns[scan->in_segment[c]];
        settle_column(column, scan->schema->columns[c].type, row_count, to, &scan->vectors[c]);
        to += settled_bytes(column, mg_type_width(scan->schema->columns[c].type.id), row_count);
    }
    return MG_OK;
}

static enum mg_code load_vectors(struct scan *scan, struct mg_chunk *chunk, uint32_t row_count, struct mg_error *err)
{
    if (!chunk->frozen)
        MG_TRY(settle(scan, chunk, row_count, err));
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c])
            continue;
        if (scan->in_segment[c] < 0) {
            scan->vectors[c] = cut(&scan->constants[c]->vectors[0], 0, row_count);
        } else if (chunk->frozen) {
            const struct mg_chunk_column *column = &chunk->columns[scan->in_segment[c]];
            scan->vectors[c] = (struct mg_vector){
                .type = scan->schema->columns[c].type,
                .row_count = row_count,
                .null_count = column->null_count,
                .validity = column->bits ? mg_buf_data(column->bits) : NULL,
                .values = mg_buf_data(column->values),
                .offsets = column->offsets ? (const int32_t *)mg_buf_data(column->offsets) : NULL,
            };
        }
    }
    return MG_OK;
}

/* ---- chunks -------------------------------------------------------------------------------------------------- */

/* What is known of a column's values in a chunk, or (chunk NULL) in a row group of the part. Text of a part is not
 * asked: its bounds are bytewise, and a predicate may ignore trailing blanks. */
static void find_zone(const struct scan *scan, const struct mg_chunk *chunk, uint32_t group, uint32_t c,
                      const struct mg_value **low, const struct mg_value **high, bool *has_null)
{
    int32_t place = scan->in_segment[c];
    if (place < 0) {
        const struct mg_value *missing = &scan->schema->columns[c].missing;
        *low = *high = missing->is_null ? NULL : missing;
        *has_null = missing->is_null;
    } else if (chunk) {
        const struct mg_chunk_column *column = &chunk->columns[place];
        *low = column->has_zone ? &column->low : NULL;
        *high = column->has_zone ? &column->high : NULL;
        *has_null = column->null_count > 0;
    } else {
        const struct mg_block_info *info = mg_part_block_info(scan->reader.part, (uint32_t)place, group);
        bool has_zone = info->has_zone && scan->schema->columns[c].type.id != MG_TYPE_UTF8;
        *low = has_zone ? &info->low : NULL;
        *high = has_zone ? &info->high : NULL;
        *has_null = info->null_count > 0;
    }
}

/* Zone maps of the predicate's columns. */
static enum mg_code may_match(struct scan *scan, const struct mg_chunk *chunk, uint32_t group, bool *out,
                              struct mg_error *err)
{
    size_t count = scan->schema->column_count;
    uint32_t column_count;
    const uint32_t *places = mg_predicate_columns(scan->spec.predicate, &column_count);
    const struct mg_value **lows = mg_arena_array(&scan->scratch, const struct mg_value *, count);
    const struct mg_value **highs = mg_arena_array(&scan->scratch, const struct mg_value *, count);
    bool *has_null = mg_arena_array(&scan->scratch, bool, count);
    if (!lows || !highs || !has_null)
        return mg_arena_fail(&scan->scratch, err);
    for (uint32_t i = 0; i < column_count; i++)
        find_zone(scan, chunk, group, places[i], &lows[places[i]], &highs[places[i]], &has_null[places[i]]);
    *out = mg_predicate_may_match(scan->spec.predicate, lows, highs, has_null);
    return MG_OK;
}

static enum mg_code filter(struct scan *scan, uint32_t row_count, const struct mg_mark_version *marks, uint64_t *mask,
                           struct mg_error *err)
{
    struct mg_key_range range = scan->spec.range;
    memset(mask, 0, MG_CHUNK_ROWS / 8);
    memset(mask, 0xff, row_count / 64 * 8);
    if (row_count % 64)
        mask[row_count / 64] = ((uint64_t)1 << (row_count % 64)) - 1;
    if (marks)
        mg_mark_version__mask(marks, mask, row_count);
    if (range.low.size || range.high.size) {
        const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
        for (uint32_t k = 0; k < scan->schema->key_count; k++)
            keys[k] = &scan->vectors[scan->schema->key_columns[k]];
        MG_TRY(mg_range__filter(range, keys, scan->schema->key_count, row_count, mask, &scan->scratch, err));
    }
    if (scan->spec.predicate && !mg_predicate_is_all(scan->spec.predicate))
        MG_TRY(mg_predicate_filter(scan->spec.predicate, scan->vector_places, row_count, mask, &scan->scratch, err));
    return MG_OK;
}

/* Rows of the mask are what goes out. */
static void show_rows(struct scan *scan, uint32_t row_count, const uint64_t *mask)
{
    struct loaded *loaded = &scan->loaded;
    loaded->row_count = row_count;
    loaded->out_count = mg_mask_count(mask, row_count);
    loaded->out_done = 0;
    loaded->every_row = loaded->out_count == row_count;
    if (!loaded->every_row)
        mg_mask_rows(mask, row_count, loaded->rows);
    loaded->active = loaded->out_count > 0;
}

/* The same, or aggregate and order take them: then nothing is left to go out. */
static enum mg_code take_rows(struct scan *scan, uint32_t row_count, const uint64_t *mask, struct mg_error *err)
{
    if (scan->aggregation)
        return mg_aggregation_update(scan->aggregation, scan->vector_places, row_count, mask, err);
    if (scan->top)
        return mg_top_add(scan->top, scan->vector_places, row_count, mask, err);
    show_rows(scan, row_count, mask);
    return MG_OK;
}

/* Load the chunk if any of its rows goes out. */
static enum mg_code load(struct scan *scan, const struct mg_table_segment *segment, uint32_t at, struct mg_error *err)
{
    struct mg_chunk *chunk = segment->rows->chunks[at];
    uint32_t row_count = MG_MIN(segment->rows->row_count - at * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    const struct mg_mark_version *marks = mg_marks__granule(segment->marks, at);
    mg_arena_reset(&scan->scratch);
    if (marks && marks->count == row_count)
        return MG_OK;
    if (!mg_range__may_hold(scan->spec.range, chunk, segment->rows->segment->schema))
        return MG_OK;
    if (chunk->frozen && scan->spec.predicate) {
        bool may = true;
        MG_TRY(may_match(scan, chunk, 0, &may, err));
        if (!may)
            return MG_OK;
    }
    uint64_t mask[MG_CHUNK_ROWS / 64];
    MG_TRY(load_vectors(scan, chunk, row_count, err));
    MG_TRY(filter(scan, row_count, marks, mask, err));
    MG_TRY(take_rows(scan, row_count, mask, err));
    if (scan->loaded.active)
        scan->loaded.chunk = mg_chunk__ref(chunk);
    return MG_OK;
}

/* The same for a granule of the part. */
static enum mg_code load_granule(struct scan *scan, const struct mg_table_part *part, uint32_t granule,
                                 struct mg_error *err)
{
    uint64_t mask[MG_CHUNK_ROWS / 64];
    uint32_t row_count = mg_part_reader__rows(&scan->reader, granule);
    mg_arena_reset(&scan->scratch);
    mg_part_reader__mask(&scan->reader, granule, part->marks, mask);
    if (mg_mask_count(mask, row_count) == 0)
        return MG_OK;
    bool filters = scan->spec.predicate && !mg_predicate_is_all(scan->spec.predicate), may = true;
    if (filters)
        MG_TRY(may_match(scan, NULL, granule / (MG_BLOCK_ROWS / MG_CHUNK_ROWS), &may, err));
    if (!may)
        return MG_OK;
    MG_TRY(mg_part_reader__load(&scan->reader, granule, scan->budget, scan->vectors, &scan->loaded.settled, err));
    for (uint32_t c = 0; c < scan->schema->column_count; c++)
        if (scan->needed[c] && scan->in_segment[c] < 0)
            scan->vectors[c] = cut(&scan->constants[c]->vectors[0], 0, row_count);
    if (filters)
        MG_TRY(mg_predicate_filter(scan->spec.predicate, scan->vector_places, row_count, mask, &scan->scratch, err));
    return take_rows(scan, row_count, mask, err);
}

static enum mg_code enter_part(struct scan *scan, const struct mg_table_part *part, struct mg_error *err)
{
    MG_TRY(enter(scan, mg_part_schema(part->part), err));
    MG_TRY(mg_part_reader__enter(&scan->reader, part->part, scan->in_segment, scan->schema->column_count,
                                 scan->spec.range, err));
    scan->next_granule = scan->reader.first_row / MG_CHUNK_ROWS;
    return MG_OK;
}

/* Rows that were found by their keys are one more chunk, whose columns are kept like those of missing values. */
static enum mg_code load_named(struct scan *scan, struct mg_error *err)
{
    struct mg_batch *rows = scan->named;
    uint64_t mask[MG_CHUNK_ROWS / 64];
    scan->segment = scan->table->segment_count;
    scan->part = scan->table->part_count;
    if (!rows)
        return MG_OK;
    for (uint32_t c = 0, i = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c])
            continue;
        scan->in_segment[c] = -1;
        scan->constants[c] = mg_batch_ref(rows);
        scan->vectors[c] = rows->vectors[i++];
    }
    scan->named = NULL;
    uint32_t row_count = rows->row_count;
    mg_batch_unref(rows);
    mg_arena_reset(&scan->scratch);
    memset(mask, 0, sizeof mask);
    for (uint32_t i = 0; i < row_count; i++)
        mask[i / 64] |= (uint64_t)1 << (i % 64);
    MG_TRY(mg_predicate_filter(scan->spec.predicate, scan->vector_places, row_count, mask, &scan->scratch, err));
    return take_rows(scan, row_count, mask, err);
}

static bool is_full(const struct scan *scan) { return scan->aggregation && mg_aggregation_is_full(scan->aggregation); }

static enum mg_code advance_parts(struct scan *scan, struct mg_error *err)
{
    while (!scan->loaded.active && scan->part < scan->table->part_count && !is_full(scan)) {
        const struct mg_table_part *part = &scan->table->parts[scan->part];
        if (!reads(scan, mg_part_segment_id(part->part))) {
            scan->part++;
            continue;
        }
        if (!scan->reader.part)
            MG_TRY(enter_part(scan, part, err));
        enum mg_code code = MG_OK;
        bool more = (uint64_t)scan->next_granule * MG_CHUNK_ROWS < scan->reader.end_row;
        if (more)
            code = load_granule(scan, part, scan->next_granule++, err);
        if (code != MG_OK || !scan->loaded.active)
            unload(scan);
        if (code != MG_OK)
            return code;
        if (!more) {
            mg_part_reader__leave(&scan->reader);
            scan->part++;
        }
    }
    return MG_OK;
}

/* To the next chunk or granule with rows; loaded.active is false at the end, and where rows are taken: that reads on,
 * an aggregate until it is full. */
static enum mg_code advance(struct scan *scan, struct mg_error *err)
{
    unload(scan);
    if (scan->by_key)
        return load_named(scan, err);
    while (!scan->loaded.active && scan->segment < scan->table->segment_count && !is_full(scan)) {
        const struct mg_table_segment *segment = &scan->table->segments[scan->segment];
        if (!reads(scan, segment->rows->segment->id)) {
            scan->segment++;
            continue;
        }
        if (scan->next_chunk == 0)
            MG_TRY(enter(scan, segment->rows->segment->schema, err));
        enum mg_code code = load(scan, segment, scan->next_chunk, err);
        if (code != MG_OK || !scan->loaded.active)
            unload(scan);
        if (code != MG_OK)
            return code;
        if (++scan->next_chunk == segment->rows->chunk_count) {
            scan->next_chunk = 0;
            scan->segment++;
        }
    }
    return advance_parts(scan, err);
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

static void free_shared(struct mg_batch *base)
{
    struct shared_batch *batch = (struct shared_batch *)base;
    mg_chunk__unref(batch->chunk);
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
    batch->chunk = scan->loaded.chunk ? mg_chunk__ref(scan->loaded.chunk) : NULL;
    batch->settled = mg_buf__ref(scan->loaded.settled);
    for (uint32_t i = 0; i < column_count; i++) {
        uint32_t place = scan->columns[i];
        batch->base.vectors[i] = cut(&scan->vectors[place], first, count);
        if (scan->in_segment[place] < 0)
            batch->constants[batch->constant_count++] = mg_batch_ref(scan->constants[place]);
    }
    *out = &batch->base;
    return MG_OK;
}

static enum mg_code gather(struct scan *scan, uint32_t first, uint32_t count, struct mg_batch **out,
                           struct mg_error *err)
{
    uint32_t column_count = scan->spec.column_count;
    struct mg_type *types = mg_arena_array(&scan->scratch, struct mg_type, (size_t)column_count + 1);
    if (!types)
        return mg_arena_fail(&scan->scratch, err);
    for (uint32_t i = 0; i < column_count; i++)
        types[i] = scan->schema->columns[scan->columns[i]].type;
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, types, column_count, scan->budget, BATCH_BYTES_MAX, err));
    const uint32_t *rows = scan->loaded.every_row ? NULL : scan->loaded.rows + first;
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < column_count; i++)
        code = mg_builder_gather(&builder, i, &scan->vectors[scan->columns[i]], rows, first, count, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

/* Read until the end or until the groups fill their memory, then give all results; and so on. */
static enum mg_code next_results(struct scan *scan, struct mg_batch **out, struct mg_error *err)
{
    for (;;) {
        if (!scan->draining)
            MG_TRY(advance(scan, err));
        scan->draining = true;
        MG_TRY(mg_aggregation_next(scan->aggregation, scan->spec.batch_rows_max, out, err));
        if (*out || (scan->segment == scan->table->segment_count && scan->part == scan->table->part_count))
            return MG_OK;
        scan->draining = false;
    }
}

enum mg_code mg_magic__next(struct mg_scan *base, struct mg_batch **out, struct mg_error *err)
{
    struct scan *scan = (struct scan *)base;
    struct loaded *loaded = &scan->loaded;
    if (scan->aggregation)
        return next_results(scan, out, err);
    if (scan->top) {
        MG_TRY(advance(scan, err)); /* all, at the first call */
        return mg_top_next(scan->top, scan->batch_rows, out, err);
    }
    uint64_t left = scan->spec.limit ? scan->spec.limit - scan->row_count : UINT64_MAX;
    if (left && (!loaded->active || loaded->out_done == loaded->out_count))
        MG_TRY(advance(scan, err));
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
