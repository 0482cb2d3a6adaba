/* part_reader.c -- a part's rows as columns in Arrow's layout, a granule or a vector at a time.
 *
 * Blocks of the row group that is read are pinned in the cache when they are first asked for, and stay so until the
 * next group; a granule's columns are decoded into one buffer that batches share.
 * Errors   those of the part; MG_NO_MEMORY.
 * Threads  a reader belongs to one thread at a time; the part is borrowed from a snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/part_reader.h"

enum { GRANULE_VECTORS = MG_CHUNK_ROWS / MG_VECTOR_ROWS, GROUP_GRANULES = MG_BLOCK_ROWS / MG_CHUNK_ROWS, SLACK = 64 };
_Static_assert(MG_CHUNK_ROWS % MG_VECTOR_ROWS == 0 && MG_BLOCK_ROWS % MG_CHUNK_ROWS == 0, "granules are whole vectors");

void mg_part_reader__go(struct mg_part_reader *reader, uint32_t group)
{
    if (reader->group == group)
        return;
    for (uint32_t c = 0; reader->blocks && reader->pinned && c < reader->column_count; c++) {
        if (reader->pinned[c])
            mg_part_block_release(&reader->blocks[c]);
        reader->pinned[c] = false;
    }
    reader->group = group;
}

void mg_part_reader__leave(struct mg_part_reader *reader)
{
    mg_part_reader__go(reader, UINT32_MAX);
    free(reader->blocks);
    free(reader->pinned);
    memset(reader, 0, sizeof *reader);
}

enum mg_code mg_part_reader__enter(struct mg_part_reader *reader, struct mg_part *part, const int32_t *places,
                                   uint32_t column_count, struct mg_key_range range, struct mg_error *err)
{
    mg_part_reader__leave(reader);
    reader->group = UINT32_MAX;
    reader->part = part;
    reader->places = places;
    reader->column_count = column_count;
    reader->end_row = mg_part_row_count(part);
    if (range.low.size)
        MG_TRY(mg_part_lower_bound(part, range.low, &reader->first_row, err));
    if (range.high.size)
        MG_TRY(mg_part_lower_bound(part, range.high, &reader->end_row, err));
    reader->blocks = calloc((size_t)column_count + 1, sizeof *reader->blocks);
    reader->pinned = calloc((size_t)column_count + 1, sizeof *reader->pinned);
    return reader->blocks && reader->pinned ? MG_OK
                                            : mg_fail(err, MG_NO_MEMORY, "no memory to read %u columns", column_count);
}

static size_t round64(size_t size) { return (size + 63) & ~(size_t)63; }

/* Bytes that a column of the granule takes, at most. */
static size_t column_bytes(const struct mg_block *block, uint32_t first, uint32_t count, uint32_t row_count)
{
    uint32_t width = mg_type_width(block->type.id);
    size_t bytes = round64((row_count + 7) / 8);
    if (width)
        return bytes + round64((size_t)row_count * width + SLACK);
    return bytes + round64(((size_t)row_count + 1) * sizeof(int32_t)) +
           round64(mg_block_text_bytes(block, first, count) + SLACK);
}

static enum mg_code decode_column(const struct mg_block *block, uint32_t first, uint32_t count, uint32_t row_count,
                                  uint8_t *to, struct mg_vector *out, struct mg_error *err)
{
    uint32_t width = mg_type_width(block->type.id), nulls = 0;
    for (uint32_t v = first; v < first + count; v++)
        nulls += mg_block_vector_nulls(block, v);
    struct mg_block_dest dest = {.validity = nulls ? to : NULL};
    to += round64((row_count + 7) / 8);
    if (width) {
        dest.values = to;
    } else {
        dest.offsets = (int32_t *)(void *)to;
        dest.offsets[0] = 0;
        dest.text = to + round64(((size_t)row_count + 1) * sizeof(int32_t));
        dest.text_room = mg_block_text_bytes(block, first, count) + SLACK;
    }
    MG_TRY(mg_block_decode(block, first, count, &dest, 0, err));
    *out = (struct mg_vector){.type = block->type,
                              .row_count = row_count,
                              .null_count = nulls,
                              .validity = dest.validity,
                              .values = width ? dest.values : dest.text,
                              .offsets = dest.offsets};
    return MG_OK;
}

enum mg_code mg_part_reader__block(struct mg_part_reader *reader, uint32_t column, const struct mg_block **out,
                                   struct mg_error *err)
{
    if (!reader->pinned[column])
        MG_TRY(mg_part_block_get(reader->part, (uint32_t)reader->places[column], reader->group, &reader->blocks[column],
                                 err));
    reader->pinned[column] = true;
    *out = &reader->blocks[column].block;
    return MG_OK;
}

enum mg_code mg_part_reader__vector(struct mg_part_reader *reader, uint32_t column, uint32_t vector,
                                    struct mg_budget *budget, struct mg_buf **room, struct mg_vector *out,
                                    struct mg_error *err)
{
    const struct mg_block *block;
    MG_TRY(mg_part_reader__block(reader, column, &block, err));
    uint32_t row_count = mg_block_vector_rows(block, vector);
    size_t bytes = column_bytes(block, vector, 1, row_count);
    if (!*room || (*room)->capacity < bytes) {
        mg_buf__unref(*room);
        *room = NULL;
        MG_TRY(mg_buf__new(budget, bytes, room, err));
    }
    return decode_column(block, vector, 1, row_count, mg_buf_data(*room), out, err);
}

enum mg_code mg_part_reader__load(struct mg_part_reader *reader, uint32_t granule, struct mg_budget *budget,
                                  struct mg_vector *vectors, struct mg_buf **out, struct mg_error *err)
{
    uint32_t row_count = mg_part_reader__rows(reader, granule), first = granule % GROUP_GRANULES * GRANULE_VECTORS;
    uint32_t count = (row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS;
    size_t bytes = 0;
    const struct mg_block *block;
    mg_part_reader__go(reader, granule / GROUP_GRANULES);
    for (uint32_t c = 0; c < reader->column_count; c++) {
        if (reader->places[c] < 0)
            continue;
        MG_TRY(mg_part_reader__block(reader, c, &block, err));
        bytes += column_bytes(block, first, count, row_count);
    }
    MG_TRY(mg_buf__new(budget, bytes, out, err));
    uint8_t *to = mg_buf_data(*out);
    enum mg_code code = MG_OK;
    for (uint32_t c = 0; code == MG_OK && c < reader->column_count; c++) {
        if (reader->places[c] < 0)
            continue;
        block = &reader->blocks[c].block;
        code = decode_column(block, first, count, row_count, to, &vectors[c], err);
        to += column_bytes(block, first, count, row_count);
    }
    if (code != MG_OK) {
        mg_buf__unref(*out);
        *out = NULL;
    }
    return code;
}

void mg_part_reader__mask(const struct mg_part_reader *reader, uint32_t granule, const struct mg_marks *marks,
                          uint64_t mask[MG_CHUNK_ROWS / 64])
{
    uint32_t begin = granule * MG_CHUNK_ROWS, row_count = mg_part_reader__rows(reader, granule);
    uint32_t from = MG_MAX(reader->first_row, begin) - begin;
    uint32_t end = MG_MIN(reader->end_row, begin + row_count);
    end = end > begin ? end - begin : 0;
    memset(mask, 0, MG_CHUNK_ROWS / 8);
    for (uint32_t word = from / 64; word * 64 < end; word++) {
        uint32_t low = word * 64 < from ? from - word * 64 : 0, high = MG_MIN(end - word * 64, 64U);
        uint64_t below_high = high == 64 ? UINT64_MAX : ((uint64_t)1 << high) - 1;
        mask[word] = low < high ? below_high & ~(((uint64_t)1 << low) - 1) : 0;
    }
    const struct mg_mark_version *version = mg_marks__granule(marks, granule);
    if (version)
        mg_mark_version__mask(version, mask, row_count);
}
