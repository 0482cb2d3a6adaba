/* part_reader.c -- a part's rows as columns in Arrow's layout, a granule at a time.
 *
 * Blocks of the row group that is read stay pinned in the cache; a granule's columns are decoded into one buffer that
 * batches share.
 * Errors   those of the part; MG_NO_MEMORY.
 * Threads  a reader belongs to one thread at a time; the part is borrowed from a snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/part_reader.h"

enum { GRANULE_VECTORS = MG_CHUNK_ROWS / MG_VECTOR_ROWS, GROUP_GRANULES = MG_BLOCK_ROWS / MG_CHUNK_ROWS, SLACK = 64 };
_Static_assert(MG_CHUNK_ROWS % MG_VECTOR_ROWS == 0 && MG_BLOCK_ROWS % MG_CHUNK_ROWS == 0, "granules are whole vectors");

static void release_group(struct mg_part_reader *reader)
{
    for (uint32_t c = 0; reader->blocks && c < reader->column_count; c++)
        mg_part_block_release(&reader->blocks[c]);
    reader->group = UINT32_MAX;
}

void mg_part_reader__leave(struct mg_part_reader *reader)
{
    release_group(reader);
    free(reader->blocks);
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
    return reader->blocks ? MG_OK : mg_fail(err, MG_NO_MEMORY, "no memory to read %u columns", column_count);
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

static enum mg_code pin_group(struct mg_part_reader *reader, uint32_t group, struct mg_error *err)
{
    if (reader->group == group)
        return MG_OK;
    release_group(reader);
    for (uint32_t c = 0; c < reader->column_count; c++)
        if (reader->places[c] >= 0)
            MG_TRY(mg_part_block_get(reader->part, (uint32_t)reader->places[c], group, &reader->blocks[c], err));
    reader->group = group;
    return MG_OK;
}

enum mg_code mg_part_reader__load(struct mg_part_reader *reader, uint32_t granule, struct mg_budget *budget,
                                  struct mg_vector *vectors, struct mg_buf **out, struct mg_error *err)
{
    uint32_t row_count = mg_part_reader__rows(reader, granule), first = granule % GROUP_GRANULES * GRANULE_VECTORS;
    uint32_t count = (row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS;
    size_t bytes = 0;
    MG_TRY(pin_group(reader, granule / GROUP_GRANULES, err));
    for (uint32_t c = 0; c < reader->column_count; c++)
        if (reader->places[c] >= 0)
            bytes += column_bytes(&reader->blocks[c].block, first, count, row_count);
    MG_TRY(mg_buf__new(budget, bytes, out, err));
    uint8_t *to = mg_buf_data(*out);
    enum mg_code code = MG_OK;
    for (uint32_t c = 0; code == MG_OK && c < reader->column_count; c++) {
        if (reader->places[c] < 0)
            continue;
        const struct mg_block *block = &reader->blocks[c].block;
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
