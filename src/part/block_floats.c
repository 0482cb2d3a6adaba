/* block_floats.c -- floats to vectors, bit by bit: the sign of zero and what a NaN carries come back.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "part/block_write.h"

static uint64_t bits_at(const struct mg_vector *rows, uint32_t row)
{
    const uint8_t *values = rows->values;

    return rows->type.id == MG_TYPE_FLOAT32 ? mg_load_le32(values + (size_t)row * 4)
                                            : mg_load_le64(values + (size_t)row * 8);
}

/* Bounds of the block; none when a NaN is there. */
static void find_zone(struct mg_block__writer *writer)
{
    struct mg_block_info *info = writer->info;

    for (uint32_t row = 0; row < writer->rows->row_count; row++) {
        struct mg_value v = mg_vector_value(writer->rows, row);
        if (v.is_null)
            continue;
        if (isnan(v.f)) {
            info->has_zone = false;
            return;
        }
        if (!info->has_zone || v.f < info->low.f)
            info->low = v;
        if (!info->has_zone || v.f > info->high.f)
            info->high = v;
        info->has_zone = true;
    }
}

/* All present values have the same bits; in *out. */
static bool is_constant(const struct mg_block__writer *writer, uint32_t vector, uint64_t *out)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    bool any = false;

    *out = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (mg_vector_is_null(writer->rows, first + i))
            continue;
        uint64_t bits = bits_at(writer->rows, first + i);
        if (any && bits != *out)
            return false;
        *out = bits;
        any = true;
    }
    return true;
}

static enum mg_code write_vector(struct mg_block__writer *writer, uint32_t vector, struct mg_error *err)
{
    uint32_t width = mg_type_width(writer->rows->type.id), rows = mg_block__rows_of(writer, vector);
    const uint8_t *values = (const uint8_t *)writer->rows->values + (size_t)vector * MG_VECTOR_ROWS * width;
    uint64_t bits;

    if (is_constant(writer, vector, &bits))
        return mg_block__begin_vector(writer, vector, MG_ENCODING_CONSTANT, 0, bits, err);
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_PLAIN, 0, 0, err));
    return mg_block__append(writer, values, (size_t)rows * width, err);
}

enum mg_code mg_block__encode_floats(struct mg_block__writer *writer, struct mg_error *err)
{
    find_zone(writer);
    for (uint32_t v = 0; v < writer->vector_count; v++)
        MG_TRY(write_vector(writer, v, err));
    return MG_OK;
}
