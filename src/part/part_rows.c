/* part_rows.c -- a column's vectors decoded into memory that is counted and used again.
 * Threads  a struct mg_part__rows belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/bits.h"
#include "part/part_internal.h"

enum { READ_BEYOND = 64 }; /* what block.h asks for behind values and texts */

enum mg_code mg_part__buffer_grow(struct mg_budget *budget, struct mg_buffer *buffer, size_t more, struct mg_error *err)
{
    size_t before = buffer->capacity, need = buffer->size + more;

    if (more <= before - buffer->size)
        return MG_OK;
    size_t reserve = MG_MAX(MG_MAX(before * 2, need), 256); /* what the buffer takes at most */
    MG_TRY(mg_budget_reserve(budget, reserve, err));
    enum mg_code code = mg_buffer_reserve(buffer, more, err);
    mg_assert(code != MG_OK || buffer->capacity <= reserve);
    mg_budget_release(budget, code == MG_OK ? reserve - buffer->capacity + before : reserve);
    return code;
}

void mg_part__buffer_clear(struct mg_budget *budget, struct mg_buffer *buffer)
{
    mg_budget_release(budget, buffer->capacity);
    mg_buffer_clear(buffer);
}

void mg_part__rows_init(struct mg_part__rows *rows, struct mg_budget *budget)
{
    rows->budget = budget;
    mg_buffer_init(&rows->values, SIZE_MAX / 4);
    mg_buffer_init(&rows->validity, SIZE_MAX / 4);
    mg_buffer_init(&rows->offsets, SIZE_MAX / 4);
}

void mg_part__rows_clear(struct mg_part__rows *rows)
{
    mg_part__buffer_clear(rows->budget, &rows->values);
    mg_part__buffer_clear(rows->budget, &rows->validity);
    mg_part__buffer_clear(rows->budget, &rows->offsets);
}

static enum mg_code make_room(struct mg_part__rows *rows, const struct mg_block *block, uint32_t first, uint32_t count,
                              struct mg_block_dest *out, struct mg_error *err)
{
    size_t width = mg_type_width(block->type.id), row_room = (size_t)count * MG_VECTOR_ROWS;
    size_t text_room = width ? 0 : mg_block_text_bytes(block, first, count) + READ_BEYOND;

    MG_TRY(mg_part__buffer_grow(rows->budget, &rows->validity, row_room / 8 + READ_BEYOND, err));
    MG_TRY(mg_part__buffer_grow(rows->budget, &rows->values, row_room * width + READ_BEYOND + text_room, err));
    *out = (struct mg_block_dest){.values = rows->values.data, .validity = rows->validity.data};
    if (width)
        return MG_OK;
    MG_TRY(mg_part__buffer_grow(rows->budget, &rows->offsets, (row_room + 1) * 4 + READ_BEYOND, err));
    out->offsets = (int32_t *)(void *)rows->offsets.data;
    out->offsets[0] = 0;
    out->text = rows->values.data;
    out->text_room = text_room;
    return MG_OK;
}

enum mg_code mg_part__rows_decode(struct mg_part__rows *rows, const struct mg_block *block, uint32_t first,
                                  uint32_t count, struct mg_vector *out, struct mg_error *err)
{
    struct mg_block_dest dest;
    uint32_t row_count = 0;

    MG_TRY(make_room(rows, block, first, count, &dest, err));
    MG_TRY(mg_block_decode(block, first, count, &dest, 0, err));
    for (uint32_t v = first; v < first + count; v++)
        row_count += mg_block_vector_rows(block, v);
    uint32_t present = mg_bits_count(dest.validity, 0, row_count);
    *out = (struct mg_vector){.type = block->type,
                              .row_count = row_count,
                              .null_count = row_count - present,
                              .validity = present == row_count ? NULL : dest.validity,
                              .values = rows->values.data,
                              .offsets = dest.offsets};
    return MG_OK;
}

enum mg_code mg_part__rows_gather(struct mg_part__rows *rows, const struct mg_block *block, uint32_t vector,
                                  const uint16_t *numbers, uint32_t count, struct mg_vector *out, struct mg_error *err)
{
    struct mg_block_dest dest;

    MG_TRY(make_room(rows, block, vector, 1, &dest, err));
    dest.validity = NULL;
    MG_TRY(mg_block_gather(block, vector, numbers, count, &dest, 0, err));
    *out = (struct mg_vector){
        .type = block->type, .row_count = count, .values = rows->values.data, .offsets = dest.offsets};
    return MG_OK;
}

uint64_t mg_part__plain_bytes(const struct mg_vector *v)
{
    uint64_t bytes = v->null_count ? mg_bits_bytes(v->row_count) : 0;

    if (v->type.id != MG_TYPE_UTF8)
        return bytes + (uint64_t)v->row_count * mg_type_width(v->type.id);
    uint64_t text = (uint64_t)(v->offsets[v->row_count] - v->offsets[0]);
    return bytes + ((uint64_t)v->row_count + 1) * sizeof(int32_t) + text;
}
