/* block_decode.c -- encoded vectors to Arrow's layout: whole ones, chosen rows, one row, and integers as int64.
 *
 * Whole vectors go through lanes (block_internal.h) of at most 8 KiB, which stay in the first cache. What the data says
 * of places (codes, ends of runs, offsets of texts) is checked on the way.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"

static uint32_t type_log(const struct mg_block *block) { return mg_block__log(mg_type_width(block->type.id)); }

/* ---- fixed width --------------------------------------------------------------------------------------------- */

/* PLAIN to the type's own size, or integers to 8 bytes. */
static void copy_plain(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log, void *out)
{
    int64_t *to = out;

    if (out_log == type_log(block)) {
        memcpy(out, view->data, (size_t)view->rows << out_log);
        return;
    }
#define COPY(type)                            \
    for (uint32_t i = 0; i < view->rows; i++) \
    to[i] = (int64_t)((const type *)(const void *)view->data)[i]
    switch (block->type.id) {
    case MG_TYPE_INT8: COPY(int8_t); break;
    case MG_TYPE_UINT8: COPY(uint8_t); break;
    case MG_TYPE_INT16: COPY(int16_t); break;
    case MG_TYPE_UINT16: COPY(uint16_t); break;
    case MG_TYPE_UINT32: COPY(uint32_t); break;
    case MG_TYPE_DECIMAL:
        for (uint32_t i = 0; i < view->rows; i++)
            to[i] = (int64_t)mg_load_le64(view->data + (size_t)i * 16);
        break;
    default: COPY(int32_t); break;
    }
#undef COPY
}

enum mg_code mg_block__values(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log,
                              void *out, struct mg_error *err)
{
    const struct mg_block__kernels *kernels = mg_block__kernels();
    struct mg_block__lanes lanes;

    switch (view->header->encoding) {
    case MG_ENCODING_PLAIN: copy_plain(block, view, out_log, out); return MG_OK;
    case MG_ENCODING_CONSTANT:
        memset(lanes.bytes, 0, view->rows);
        kernels->widen[0][out_log](lanes.bytes, view->base, view->rows, out);
        return MG_OK;
    default:
        kernels->widen[mg_block__unpack(view->data, view->width, view->rows, &lanes)][out_log](lanes.bytes, view->base,
                                                                                               view->rows, out);
        return MG_OK;
    }
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

static enum mg_code no_room(const struct mg_block *block, const struct mg_block__view *view, struct mg_error *err)
{
    return mg_block__corrupt(err, block, view->header, "its texts are longer than it says");
}

/* Offsets of a PLAIN vector of texts; the bytes follow. */
static const uint32_t *plain_offsets(const struct mg_block__view *view) { return (const void *)view->data; }
static const uint8_t *plain_text(const struct mg_block__view *view)
{
    return view->data + mg_pad8(((uint64_t)view->rows + 1) * 4);
}

static enum mg_code row_text(const struct mg_block *block, const struct mg_block__view *view, uint32_t row,
                             struct mg_slice *out, struct mg_error *err)
{
    if (mg_block__is_null(view, row)) {
        *out = MG_SLICE(view->data, 0);
        return MG_OK;
    }
    if (view->header->encoding == MG_ENCODING_CONSTANT) {
        *out = MG_SLICE(view->data, view->header->base);
        return MG_OK;
    }
    uint32_t from = plain_offsets(view)[row], to = plain_offsets(view)[row + 1];
    if (from > to || to > view->header->base)
        return mg_block__corrupt(err, block, plain_offsets(view) + row, "a text goes from %u to %u of %llu", from, to,
                                 (unsigned long long)view->header->base);
    *out = MG_SLICE(plain_text(view) + from, to - from);
    return MG_OK;
}

/* Chosen rows, or with rows NULL the first count ones. */
static enum mg_code put_texts(const struct mg_block *block, const struct mg_block__view *view, const uint16_t *rows,
                              uint32_t count, const struct mg_block__texts *out, struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice text;
        MG_TRY(row_text(block, view, rows ? rows[i] : i, &text, err));
        if (!mg_block__put_text(out, i, text.data, text.size))
            return no_room(block, view, err);
    }
    return MG_OK;
}

/* ---- whole vectors ------------------------------------------------------------------------------------------- */

static enum mg_code put_validity(const struct mg_block *block, const struct mg_block__view *view, uint8_t *validity,
                                 uint32_t at, struct mg_error *err)
{
    uint32_t nulls = view->header->null_count;

    if (view->validity && view->rows - mg_bits_count(view->validity, 0, view->rows) != nulls)
        return mg_block__corrupt(err, block, view->validity, "there are not as many NULLs as the %u it says", nulls);
    if (!validity)
        return MG_OK;
    if (view->validity)
        mg_bits_copy(validity, at, view->validity, 0, view->rows);
    else if (nulls == 0)
        mg_bits_set(validity, at, view->rows);
    else
        for (uint32_t done = 0; done < view->rows; done += 64)
            mg_bits_store(validity, at + done, 0, MG_MIN(view->rows - done, 64));
    return MG_OK;
}

static struct mg_block__texts texts_at(const struct mg_block_dest *dest, uint32_t at)
{
    return (struct mg_block__texts){dest->offsets + at, dest->text, MG_MIN(dest->text_room, (size_t)INT32_MAX)};
}

enum mg_code mg_block_decode(const struct mg_block *block, uint32_t first, uint32_t count,
                             const struct mg_block_dest *dest, uint32_t at, struct mg_error *err)
{
    mg_assert(first <= block->vector_count && count <= block->vector_count - first && at % MG_VECTOR_ROWS == 0);
    for (uint32_t v = first; v < first + count; v++) {
        struct mg_block__view view = mg_block__view(block, v);
        MG_TRY(put_validity(block, &view, dest->validity, at, err));
        if (block->type.id == MG_TYPE_UTF8) {
            struct mg_block__texts texts = texts_at(dest, at);
            MG_TRY(put_texts(block, &view, NULL, view.rows, &texts, err));
        } else {
            uint32_t log = type_log(block);
            MG_TRY(mg_block__values(block, &view, log, (uint8_t *)dest->values + ((size_t)at << log), err));
        }
        at += view.rows;
    }
    return MG_OK;
}

bool mg_block_ints(const struct mg_block *block, uint32_t vector, int64_t *out)
{
    struct mg_block__view view = mg_block__view(block, vector);

    mg_assert(mg_block__class_of(block->type.id) == MG_BLOCK__INTS);
    if (view.wide)
        return false;
    if (block->type.id == MG_TYPE_DECIMAL && view.header->encoding == MG_ENCODING_PLAIN)
        for (uint32_t i = 0; i < view.rows; i++) {
            struct mg_value v = mg_value_load(block->type, view.data + (size_t)i * 16);
            if (v.d != (int64_t)v.d)
                return false;
        }
    return mg_block__values(block, &view, 3, out, NULL) == MG_OK;
}

/* ---- single rows --------------------------------------------------------------------------------------------- */

/* One value of fixed width, in the type's layout. */
static enum mg_code row_value(const struct mg_block *block, const struct mg_block__view *view, uint32_t row, void *out,
                              struct mg_error *err)
{
    uint32_t width = mg_type_width(block->type.id);
    mg_int128 v = view->base;

    if (view->header->encoding == MG_ENCODING_PLAIN) {
        memcpy(out, view->data + (size_t)row * width, width);
        return MG_OK;
    }
    if (view->header->encoding == MG_ENCODING_FRAME)
        v = (mg_int128)((unsigned __int128)v + mg_pack__get(view->data, view->width, row));
    memcpy(out, &v, width);
    return MG_OK;
}

static enum mg_code gather_values(const struct mg_block *block, const struct mg_block__view *view, const uint16_t *rows,
                                  uint32_t count, uint8_t *out, struct mg_error *err)
{
    uint32_t log = type_log(block);

    for (uint32_t i = 0; i < count; i++)
        MG_TRY(row_value(block, view, rows[i], out + ((size_t)i << log), err));
    return MG_OK;
}

enum mg_code mg_block_gather(const struct mg_block *block, uint32_t vector, const uint16_t *rows, uint32_t count,
                             const struct mg_block_dest *dest, uint32_t at, struct mg_error *err)
{
    struct mg_block__view view = mg_block__view(block, vector);

    mg_assert(count == 0 || rows[count - 1] < view.rows);
    if (dest->validity)
        for (uint32_t i = 0; i < count; i++)
            mg_bits_store(dest->validity, at + i, !mg_block__is_null(&view, rows[i]), 1);
    if (block->type.id == MG_TYPE_UTF8) {
        struct mg_block__texts texts = texts_at(dest, at);
        return put_texts(block, &view, rows, count, &texts, err);
    }
    return gather_values(block, &view, rows, count, (uint8_t *)dest->values + ((size_t)at << type_log(block)), err);
}

enum mg_code mg_block_value(const struct mg_block *block, uint32_t row, struct mg_arena *scratch, struct mg_value *out,
                            struct mg_error *err)
{
    mg_assert(row < block->row_count);
    struct mg_block__view view = mg_block__view(block, row / MG_VECTOR_ROWS);
    struct mg_value v = {.type = block->type, .is_null = mg_block__is_null(&view, row % MG_VECTOR_ROWS)};
    uint8_t bytes[16];

    if (!v.is_null && block->type.id == MG_TYPE_UTF8) {
        MG_TRY(row_text(block, &view, row % MG_VECTOR_ROWS, &v.text, err));
    } else if (!v.is_null) {
        MG_TRY(row_value(block, &view, row % MG_VECTOR_ROWS, bytes, err));
        v = mg_value_load(block->type, bytes);
    }
    *out = v;
    return MG_OK;
}
