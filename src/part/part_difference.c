/* part_difference.c -- a block that lies in the file as differences to another column's, and what it is in memory.
 *
 * An order is shipped, received and to be had within days: of two columns that go together the second needs few bits
 * once the first is there. As a packed block (part_pack.c) this is of the file alone: in memory the block is what the
 * encoder made, bit by bit. Only blocks of numbers that are packed by FRAME, or constant, without NULLs.
 * Stored   the block's headers as they are, then a block of int64: row by row the number less the other column's.
 * Errors   MG_CORRUPT without a place.
 * Threads  pure functions.
 * Format   docs/format/part.md, "Footer".
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"
#include "part/part_internal.h"

enum { KEEP_SHARE = 5 /* a block must get smaller by one part in so many */ };

static size_t headers_bytes(uint32_t rows)
{
    return sizeof(struct mg_block__header) + (size_t)mg_part__vectors(rows) * sizeof(struct mg_block_vector);
}

/* ---- back ---------------------------------------------------------------------------------------------------- */

/* A vector's numbers to their place among `size` bytes. False: the header cannot be one of such a block, or the numbers
 * do not fit into it. */
static bool rebuild_vector(const struct mg_block_vector *header, const int64_t *other, const int64_t *differences,
                           uint32_t rows, size_t headers, uint8_t *bytes, size_t size)
{
    uint64_t numbers[MG_VECTOR_ROWS], all = 0;
    uint32_t width = header->width;

    if (header->encoding == MG_ENCODING_CONSTANT)
        return true;
    if (header->encoding != MG_ENCODING_FRAME || width > 64 || header->null_count || header->offset % 8)
        return false;
    for (uint32_t i = 0; i < rows; i++) {
        numbers[i] = (uint64_t)other[i] + (uint64_t)differences[i] - header->base;
        all |= numbers[i];
    }
    size_t packed = mg_pack__bytes(rows, width);
    if (mg_pack__width(all) > width || header->offset < headers || header->offset > size ||
        packed > size - header->offset)
        return false;
    mg_pack__put(numbers, rows, width, bytes + header->offset);
    return true;
}

enum mg_code mg_part__rebuild(struct mg_slice stored, const int64_t *others, uint32_t row_count, uint8_t *bytes,
                              size_t size, struct mg_error *err)
{
    size_t headers = headers_bytes(row_count);
    int64_t differences[MG_VECTOR_ROWS];
    struct mg_block block;

    if (stored.size <= headers || size < headers)
        return mg_fail(err, MG_CORRUPT, "%zu bytes are too few for differences of %u rows", stored.size, row_count);
    MG_TRY(mg_block_open((struct mg_type){.id = MG_TYPE_INT64}, MG_SLICE(stored.data + headers, stored.size - headers),
                         &block, err));
    if (block.row_count != row_count || block.null_count)
        return mg_fail(err, MG_CORRUPT, "%u differences, %u of them NULL, for %u rows", block.row_count,
                       block.null_count, row_count);
    memset(bytes, 0, size);
    memcpy(bytes, stored.data, headers);
    const uint8_t *at = stored.data + sizeof(struct mg_block__header);
    const struct mg_block_vector *vectors = (const struct mg_block_vector *)(const void *)at;
    for (uint32_t v = 0; v < block.vector_count; v++) {
        uint32_t rows = mg_block_vector_rows(&block, v);
        if (!mg_block_ints(&block, v, differences) ||
            !rebuild_vector(&vectors[v], others + (size_t)v * MG_VECTOR_ROWS, differences, rows, headers, bytes, size))
            return mg_fail(err, MG_CORRUPT, "vector %u is not the sum of two columns", v);
    }
    return MG_OK;
}

/* ---- there --------------------------------------------------------------------------------------------------- */

/* Bits that the differences of the rows take, by the bounds of each vector. */
static uint64_t bits_of(const int64_t *differences, uint32_t count)
{
    uint64_t bits = 0;

    for (uint32_t first = 0; first < count; first += MG_VECTOR_ROWS) {
        uint32_t end = MG_MIN(first + MG_VECTOR_ROWS, count);
        int64_t low = differences[first], high = low;
        for (uint32_t i = first; i < end; i++) {
            low = MG_MIN(low, differences[i]);
            high = MG_MAX(high, differences[i]);
        }
        bits += (uint64_t)mg_pack__width((uint64_t)high - (uint64_t)low) * (end - first);
    }
    return bits;
}

static int64_t value_at(const struct mg_vector *v, uint32_t row)
{
    switch (mg_type_width(v->type.id)) {
    case 1: return ((const int8_t *)v->values)[row];
    case 2: return ((const int16_t *)v->values)[row];
    case 4: return ((const int32_t *)v->values)[row];
    default: return ((const int64_t *)v->values)[row];
    }
}

static void subtract(const struct mg_vector *v, const struct mg_vector *other, int64_t *out)
{
    if (mg_type_width(v->type.id) == 4) { /* a loop that the compiler makes vectors of: dates */
        const int32_t *a = v->values, *b = other->values;
        for (uint32_t i = 0; i < v->row_count; i++)
            out[i] = (int64_t)a[i] - b[i];
        return;
    }
    for (uint32_t i = 0; i < v->row_count; i++)
        out[i] = (int64_t)((uint64_t)value_at(v, i) - (uint64_t)value_at(other, i));
}

bool mg_part__has_differences(struct mg_type type)
{
    switch (type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64:
    case MG_TYPE_DATE:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return true;
    default: return false;
    }
}

static int64_t *ints_of(const struct mg_vector *v, struct mg_arena *scratch)
{
    int64_t *ints = mg_arena_array(scratch, int64_t, v->row_count);

    for (uint32_t i = 0; ints && i < v->row_count; i++)
        ints[i] = value_at(v, i);
    return ints;
}

/* The one with the smallest differences, which are then in `differences`; count when none has smaller ones than
 * bits. */
static uint32_t choose(const struct mg_vector *rows, const struct mg_vector *others, uint32_t count, uint64_t bits,
                       int64_t *differences)
{
    uint32_t best = count, last = count;

    for (uint32_t i = 0; i < count; i++) {
        if (others[i].type.id != rows->type.id)
            continue;
        last = i;
        subtract(rows, &others[i], differences);
        uint64_t these = bits_of(differences, rows->row_count);
        if (these >= bits)
            continue;
        bits = these;
        best = i;
    }
    if (best != count && best != last)
        subtract(rows, &others[best], differences);
    return best;
}

/* The sum is the block, bit by bit: where an encoder lays blocks out in another way this is not for them. */
static bool is_rebuilt(const struct mg_part__relation *relation, const struct mg_vector *other,
                       struct mg_arena *scratch)
{
    struct mg_slice block = relation->block;
    int64_t *others = ints_of(other, scratch);
    uint8_t *room = mg_arena_alloc(scratch, block.size);

    return others && room &&
           mg_part__rebuild(mg_buffer_slice(relation->out), others, other->row_count, room, block.size, NULL) ==
               MG_OK &&
           memcmp(room, block.data, block.size) == 0;
}

bool mg_part__relate(const struct mg_part__relation *relation, struct mg_arena *scratch, uint32_t *out_other)
{
    const struct mg_vector *rows = relation->rows;
    uint64_t size_max = relation->block.size - relation->block.size / KEEP_SHARE;
    struct mg_block_info info;

    if (!mg_part__has_differences(rows->type) || rows->null_count || relation->other_count == 0)
        return false;
    int64_t *differences = mg_arena_array(scratch, int64_t, rows->row_count);
    if (!differences)
        return false;
    uint32_t best = choose(rows, relation->others, relation->other_count, size_max * 8, differences);
    if (best == relation->other_count)
        return false;
    struct mg_vector v = {.type = {.id = MG_TYPE_INT64}, .row_count = rows->row_count, .values = differences};
    mg_buffer_reset(relation->out);
    *out_other = best;
    return mg_buffer_append(relation->out, relation->block.data, headers_bytes(rows->row_count), NULL) == MG_OK &&
           mg_block_encode(&v, scratch, relation->out, &info, NULL) == MG_OK && relation->out->size <= size_max &&
           is_rebuilt(relation, &relation->others[best], scratch);
}
