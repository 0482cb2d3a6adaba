/* block_texts.c -- texts to vectors.
 *
 * A NULL row has an empty text.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_write.h"

static struct mg_slice text_at(const struct mg_vector *rows, uint32_t row)
{
    return mg_vector_is_null(rows, row) ? MG_SLICE(NULL, 0) : mg_vector_text(rows, row);
}

/* ---- zone ---------------------------------------------------------------------------------------------------- */

/* The shortest prefix of at most MG_ZONE_TEXT_MAX bytes, raised so that it is above all texts that it leads; false when
 * there is none. */
static bool cut_high(struct mg_arena *arena, struct mg_slice *text)
{
    size_t size = MG_ZONE_TEXT_MAX;

    if (text->size <= MG_ZONE_TEXT_MAX)
        return true;
    while (size && text->data[size - 1] == 0xff)
        size--;
    if (size == 0)
        return false;
    uint8_t *copy = mg_arena_alloc(arena, size);
    if (!copy)
        return false;
    memcpy(copy, text->data, size);
    copy[size - 1]++;
    *text = MG_SLICE(copy, size);
    return true;
}

/* Bounds of the block, copied into the arena; has_zone stays false when there are none. */
static enum mg_code find_zone(struct mg_block__writer *writer, struct mg_error *err)
{
    struct mg_block_info *info = writer->info;
    struct mg_slice low = {0}, high = {0};
    bool any = false;

    for (uint32_t row = 0; row < writer->rows->row_count; row++) {
        if (mg_vector_is_null(writer->rows, row))
            continue;
        struct mg_slice text = mg_vector_text(writer->rows, row);
        if (!any || mg_slice_compare(text, low) < 0)
            low = text;
        if (!any || mg_slice_compare(text, high) > 0)
            high = text;
        any = true;
    }
    if (!any || !cut_high(writer->scratch, &high))
        return MG_OK;
    low.size = MG_MIN(low.size, (size_t)MG_ZONE_TEXT_MAX);
    info->low = (struct mg_value){.type = writer->rows->type, .text = mg_arena_copy(writer->scratch, low)};
    info->high = (struct mg_value){.type = writer->rows->type, .text = mg_arena_copy(writer->scratch, high)};
    if ((low.size && !info->low.text.data) || (high.size && !info->high.text.data))
        return mg_arena_fail(writer->scratch, err);
    info->has_zone = true;
    return MG_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------------- */

static bool is_constant(const struct mg_block__writer *writer, uint32_t vector, struct mg_slice *out)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    bool any = false;

    *out = MG_SLICE(NULL, 0);
    for (uint32_t row = first; row < first + rows; row++) {
        if (mg_vector_is_null(writer->rows, row))
            continue;
        struct mg_slice text = mg_vector_text(writer->rows, row);
        if (any && !mg_slice_equal(text, *out))
            return false;
        *out = text;
        any = true;
    }
    return true;
}

static enum mg_code write_plain(struct mg_block__writer *writer, uint32_t vector, struct mg_error *err)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    uint32_t offsets[MG_VECTOR_ROWS + 1];

    offsets[0] = 0;
    for (uint32_t i = 0; i < rows; i++)
        offsets[i + 1] = offsets[i] + (uint32_t)text_at(writer->rows, first + i).size;
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_PLAIN, 0, offsets[rows], err));
    MG_TRY(mg_block__append(writer, offsets, ((size_t)rows + 1) * 4, err));
    for (uint32_t i = 0; i < rows; i++) {
        struct mg_slice text = text_at(writer->rows, first + i);
        MG_TRY(mg_buffer_append(writer->out, text.data, text.size, err));
    }
    return mg_buffer_append_zeros(writer->out, mg_pad8(offsets[rows]) - offsets[rows], err);
}

static enum mg_code write_vector(struct mg_block__writer *writer, uint32_t vector, struct mg_error *err)
{
    struct mg_slice text;

    if (!is_constant(writer, vector, &text))
        return write_plain(writer, vector, err);
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_CONSTANT, 0, text.size, err));
    return mg_block__append(writer, text.data, text.size, err);
}

enum mg_code mg_block__encode_texts(struct mg_block__writer *writer, struct mg_error *err)
{
    MG_TRY(find_zone(writer, err));
    for (uint32_t v = 0; v < writer->vector_count; v++)
        MG_TRY(write_vector(writer, v, err));
    return MG_OK;
}
