/* scan_chunks.c -- a chunk of memory: pruned by zone map and key range, masked, filtered, and shown as it lies there;
 * or read as a row group, where some of its columns have images.
 *
 * Frozen     chunks are read in place. An open one, the last of a table, is copied first (settled), because its memory
 *            behind the visible rows is being written and kernels may read up to the next multiple of 8 bytes.
 * Sealed     chunks are on disk (sealed.c): their zones are asked first, then the columns that are needed are read.
 * Memory     copies are reserved in the reader's budget.
 * Threads    a reader belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/magic/scan_internal.h"

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
static enum mg_code settle(struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t row_count,
                           struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    size_t bytes = 0;
    for (uint32_t c = 0; c < scan->schema->column_count; c++)
        if (scan->needed[c] && reader->in_segment[c] >= 0)
            bytes += settled_bytes(&chunk->columns[reader->in_segment[c]],
                                   mg_type_width(scan->schema->columns[c].type.id), row_count);
    MG_TRY(mg_buf__new(scan->budget, bytes, &reader->loaded.settled, err));
    uint8_t *to = mg_buf_data(reader->loaded.settled);
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c] || reader->in_segment[c] < 0)
            continue;
        const struct mg_chunk_column *column = &chunk->columns[reader->in_segment[c]];
        settle_column(column, scan->schema->columns[c].type, row_count, to, &reader->vectors[c]);
        to += settled_bytes(column, mg_type_width(scan->schema->columns[c].type.id), row_count);
    }
    return MG_OK;
}

static enum mg_code load_vectors(struct scan_reader *reader, struct mg_chunk *chunk, uint32_t row_count,
                                 struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    if (!chunk->frozen)
        MG_TRY(settle(reader, chunk, row_count, err));
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        if (!scan->needed[c])
            continue;
        if (reader->in_segment[c] < 0) {
            reader->vectors[c] = mg_scan__missing(reader, c, row_count);
        } else if (chunk->frozen) {
            reader->vectors[c] = mg_chunk__vector(chunk, (uint32_t)reader->in_segment[c],
                                                  scan->schema->columns[c].type);
            reader->vectors[c].row_count = row_count;
        }
    }
    return MG_OK;
}

/* Rows that are there and in the key range. */
static enum mg_code mask_rows(struct scan_reader *reader, uint32_t row_count, const struct mg_mark_version *marks,
                              uint64_t *mask, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    struct mg_key_range range = scan->spec.range;
    memset(mask, 0, MG_CHUNK_ROWS / 8);
    mg_scan__set_mask(mask, row_count);
    if (marks)
        mg_mark_version__mask(marks, mask, row_count);
    if (range.low.size || range.high.size) {
        const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
        for (uint32_t k = 0; k < scan->schema->key_count; k++)
            keys[k] = &reader->vectors[scan->schema->key_columns[k]];
        MG_TRY(mg_range__filter(range, keys, scan->schema->key_count, row_count, mask, &reader->scratch, err));
    }
    return MG_OK;
}

/* Those of its columns that are of use and there. False: none. */
static bool find_images(struct scan_reader *reader, struct mg_chunk *chunk)
{
    const struct scan *scan = reader->scan;
    bool any = false;
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        reader->images[c] = NULL;
        if (scan->imaged[c] && reader->in_segment[c] >= 0)
            reader->images[c] = mg_chunk_image__of(chunk, (uint32_t)reader->in_segment[c],
                                                   scan->schema->columns[c].type);
        any |= reader->images[c] != NULL;
    }
    return any;
}

/* What the mask and the conditions leave goes out, or into the order. */
static enum mg_code take_chunk(struct scan_reader *reader, struct mg_chunk **held, uint32_t row_count,
                               const uint64_t *mask, struct mg_error *err)
{
    MG_TRY(mg_scan__take_rows(reader, row_count, mask, err));
    if (reader->loaded.active)
        reader->loaded.chunk = MG_TAKE(*held);
    return MG_OK;
}

/* By images, like a row group. An aggregate goes on with it as a group; rows go out as they lie in the chunk. */
static enum mg_code load_as_group(struct scan_reader *reader, struct mg_chunk **held, const uint64_t *mask,
                                  struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    uint32_t row_count = (*held)->row_count;
    MG_TRY(mg_scan__enter_chunk(reader, *held, mask, err));
    if (!group->active)
        return MG_OK;
    if (reader->aggregation) {
        reader->group_held = MG_TAKE(*held);
        return MG_OK;
    }
    group->active = false;
    MG_TRY(load_vectors(reader, *held, row_count, err));
    return take_chunk(reader, held, row_count, group->mask, err);
}

/* *held: the chunk, or the stub of it, which is replaced when rows are needed; NULL when the reader has taken it. */
static enum mg_code load_held(struct scan_reader *reader, const struct mg_table_segment *segment, uint32_t at,
                              struct mg_chunk **held, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    struct mg_chunk *chunk = *held;
    uint32_t row_count = MG_MIN(segment->rows->row_count - at * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    const struct mg_mark_version *marks = mg_marks__granule(segment->marks, at);
    mg_arena_reset(&reader->scratch);
    mg_mark_version__prefetch(mg_marks__granule(segment->marks, at + 1));
    if (marks && marks->count == row_count)
        return MG_OK;
    if (!mg_range__may_hold(scan->spec.range, chunk, segment->rows->segment->schema))
        return MG_OK;
    reader->fate = SCAN_FATE_SKIPPED;
    if (chunk->frozen && scan->filters) {
        struct scan_zones zones;
        MG_TRY(mg_scan__find_zones(reader, chunk, 0, &reader->scratch, &zones, err));
        if (!mg_predicate_may_match(scan->spec.predicate, zones.lows, zones.highs, zones.has_null))
            return MG_OK;
    }
    reader->fate = SCAN_FATE_READ;
    uint64_t mask[MG_CHUNK_ROWS / 64];
    MG_TRY(mg_chunk__load(held, reader->in_segment, scan->schema->column_count, scan->budget, err));
    chunk = *held;
    MG_TRY(load_vectors(reader, chunk, row_count, err));
    MG_TRY(mask_rows(reader, row_count, marks, mask, err));
    if (chunk->frozen && chunk->row_count == row_count && find_images(reader, chunk))
        return load_as_group(reader, held, mask, err);
    if (scan->filters)
        MG_TRY(
            mg_predicate_filter(scan->spec.predicate, reader->vector_places, row_count, mask, &reader->scratch, err));
    if (reader->aggregation)
        return mg_scan__aggregate_chunk(reader, chunk, row_count, mask, err);
    return take_chunk(reader, held, row_count, mask, err);
}

enum mg_code mg_scan__load_chunk(struct scan_reader *reader, const struct mg_table_segment *segment, uint32_t at,
                                 struct mg_error *err)
{
    struct mg_chunk *held = mg_chunk__hold(segment->rows->chunks[at]);
    enum mg_code code = load_held(reader, segment, at, &held, err);
    mg_chunk__let_go(held);
    return code;
}
