/* key.c -- key columns to bytes whose memcmp order is the key order, one row or all rows of a batch at once.
 *
 * Shape    fixed widths are written at their place, column after column, one loop per width; texts are measured first,
 *          so that every row's place is known before the first byte is written.
 * Errors   MG_INVALID for a NULL in a key, MG_TOO_BIG above MG_KEY_BYTES_MAX for one key or 4 GiB for all.
 * Threads  pure functions.
 * Source   docs/format/key.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/key.h"

#include <math.h>
#include <string.h>

static uint32_t encode_float32(float v)
{
    uint32_t bits;

    if (v == 0)
        v = 0; /* -0.0 */
    memcpy(&bits, &v, sizeof bits);
    if (v != v)
        bits = 0x7fc00000; /* one NaN, above all */
    return bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static uint64_t encode_float64(double v)
{
    uint64_t bits;

    if (v == 0)
        v = 0;
    memcpy(&bits, &v, sizeof bits);
    if (v != v)
        bits = UINT64_C(0x7ff8000000000000);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static size_t without_blanks(struct mg_slice text)
{
    while (text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return text.size;
}

static struct mg_slice key_text(struct mg_slice text, enum mg_collation collation)
{
    if (collation == MG_COLLATION_PAD_SPACE)
        text.size = without_blanks(text);
    return text;
}

static size_t text_key_size(struct mg_slice text)
{
    size_t zeros = 0;

    if (text.size && memchr(text.data, 0, text.size)) /* rare */
        for (size_t i = 0; i < text.size; i++)
            zeros += text.data[i] == 0;
    return text.size + zeros + 2;
}

/* Returns the place behind. */
static uint8_t *put_text(uint8_t *at, struct mg_slice text)
{
    const uint8_t *from = text.data, *end = from + text.size;

    while (from < end) {
        const uint8_t *zero = memchr(from, 0, (size_t)(end - from));
        size_t run = (size_t)((zero ? zero : end) - from);
        memcpy(at, from, run);
        at += run;
        from += run;
        if (zero) {
            *at++ = 0x00;
            *at++ = 0xff;
            from++;
        }
    }
    *at++ = 0;
    *at++ = 0;
    return at;
}

/* A fixed width value in Arrow's layout, as key bytes at `at`. Inlined with a constant id it is a load, an xor, a swap
 * and a store. */
static inline __attribute__((always_inline)) void put_fixed(uint8_t *at, enum mg_type_id id, const uint8_t *value)
{
    switch (id) {
    case MG_TYPE_INT8: *at = *value ^ 0x80; break;
    case MG_TYPE_UINT8: *at = *value; break;
    case MG_TYPE_INT16: mg_store_be16(at, mg_load_le16(value) ^ 0x8000); break;
    case MG_TYPE_UINT16: mg_store_be16(at, mg_load_le16(value)); break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: mg_store_be32(at, mg_load_le32(value) ^ UINT32_C(1) << 31); break;
    case MG_TYPE_UINT32: mg_store_be32(at, mg_load_le32(value)); break;
    case MG_TYPE_INT64:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: mg_store_be64(at, mg_load_le64(value) ^ UINT64_C(1) << 63); break;
    case MG_TYPE_UINT64: mg_store_be64(at, mg_load_le64(value)); break;
    case MG_TYPE_FLOAT32: {
        float v;
        memcpy(&v, value, sizeof v);
        mg_store_be32(at, encode_float32(v));
        break;
    }
    case MG_TYPE_FLOAT64: {
        double v;
        memcpy(&v, value, sizeof v);
        mg_store_be64(at, encode_float64(v));
        break;
    }
    case MG_TYPE_DECIMAL:
        mg_store_be64(at, mg_load_le64(value + 8) ^ UINT64_C(1) << 63);
        mg_store_be64(at + 8, mg_load_le64(value));
        break;
    case MG_TYPE_UTF8:
    case MG_TYPE_NONE: mg_assert(!"a fixed width");
    }
}

static enum mg_code fail_null(uint32_t column, struct mg_error *err)
{
    return mg_fail(err, MG_INVALID, "key column %u is NULL", column);
}

static enum mg_code fail_long(size_t size, struct mg_error *err)
{
    return mg_fail(err, MG_TOO_BIG, "a key takes %zu bytes, at most %d are allowed", size, MG_KEY_BYTES_MAX);
}

static size_t value_size(const struct mg_value *value)
{
    return value->type.id == MG_TYPE_UTF8 ? text_key_size(key_text(value->text, value->type.collation))
                                          : mg_type_width(value->type.id);
}

static uint8_t *put_value(uint8_t *at, const struct mg_value *value)
{
    uint8_t stored[16];

    if (value->type.id == MG_TYPE_UTF8)
        return put_text(at, key_text(value->text, value->type.collation));
    mg_value_store(value, stored);
    put_fixed(at, value->type.id, stored);
    return at + mg_type_width(value->type.id);
}

enum mg_code mg_key_append_value(const struct mg_value *value, struct mg_buffer *out, struct mg_error *err)
{
    size_t size = value_size(value);

    if (value->is_null)
        return fail_null(0, err);
    MG_TRY(mg_buffer_reserve(out, size, err));
    put_value(out->data + out->size, value);
    out->size += size;
    return MG_OK;
}

enum mg_code mg_key_encode_values(const struct mg_value *values, uint32_t count, struct mg_buffer *out,
                                  struct mg_error *err)
{
    size_t size = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (values[i].is_null)
            return fail_null(i, err);
        size += value_size(&values[i]);
    }
    if (size > MG_KEY_BYTES_MAX)
        return fail_long(size, err);
    MG_TRY(mg_buffer_reserve(out, size, err));
    uint8_t *at = out->data + out->size;
    for (uint32_t i = 0; i < count; i++)
        at = put_value(at, &values[i]);
    out->size += size;
    return MG_OK;
}

enum mg_code mg_key_encode(const struct mg_vector *const *vectors, uint32_t key_count, uint32_t row,
                           struct mg_buffer *out, struct mg_error *err)
{
    struct mg_value values[MG_KEY_COLUMNS_MAX];

    mg_assert(key_count <= MG_KEY_COLUMNS_MAX);
    for (uint32_t i = 0; i < key_count; i++)
        values[i] = mg_vector_value(vectors[i], row);
    return mg_key_encode_values(values, key_count, out, err);
}

/* ---- all rows ------------------------------------------------------------------------------------------------ */

/* One column of fixed-width keys: row r goes to base + r * stride. */
#define PUT_COLUMN(type_id, width)                                   \
    case type_id:                                                    \
        for (uint32_t row = 0; row < row_count; row++, at += stride) \
            put_fixed(at, type_id, values + (size_t)row * (width));  \
        break

static void put_column(uint8_t *at, size_t stride, const struct mg_vector *v, uint32_t row_count)
{
    const uint8_t *values = v->values;

    switch (v->type.id) {
        PUT_COLUMN(MG_TYPE_INT8, 1);
        PUT_COLUMN(MG_TYPE_INT16, 2);
        PUT_COLUMN(MG_TYPE_INT32, 4);
        PUT_COLUMN(MG_TYPE_INT64, 8);
        PUT_COLUMN(MG_TYPE_UINT8, 1);
        PUT_COLUMN(MG_TYPE_UINT16, 2);
        PUT_COLUMN(MG_TYPE_UINT32, 4);
        PUT_COLUMN(MG_TYPE_UINT64, 8);
        PUT_COLUMN(MG_TYPE_FLOAT32, 4);
        PUT_COLUMN(MG_TYPE_FLOAT64, 8);
        PUT_COLUMN(MG_TYPE_DECIMAL, 16);
        PUT_COLUMN(MG_TYPE_DATE, 4);
        PUT_COLUMN(MG_TYPE_DATETIME, 8);
        PUT_COLUMN(MG_TYPE_TIMESTAMP, 8);
    case MG_TYPE_UTF8:
    case MG_TYPE_NONE: mg_assert(!"a fixed width");
    }
}

/* The same where rows differ in size: ends[row] is where the row's next column begins, and moves on. */
static void put_column_at_ends(uint8_t *base, uint32_t *ends, const struct mg_vector *v, uint32_t row_count)
{
    const uint8_t *values = v->values;
    uint32_t width = mg_type_width(v->type.id);

    for (uint32_t row = 0; row < row_count; row++) {
        if (v->type.id == MG_TYPE_UTF8) {
            uint8_t *end = put_text(base + ends[row], key_text(mg_vector_text(v, row), v->type.collation));
            ends[row] = (uint32_t)(end - base);
        } else {
            put_fixed(base + ends[row], v->type.id, values + (size_t)row * width);
            ends[row] += width;
        }
    }
}

static enum mg_code check_rows(const struct mg_vector *const *vectors, uint32_t key_count, uint32_t row_count,
                               size_t *out_width, bool *out_has_text, struct mg_error *err)
{
    *out_width = 0;
    *out_has_text = false;
    mg_assert(key_count <= MG_KEY_COLUMNS_MAX);
    for (uint32_t i = 0; i < key_count; i++) {
        mg_assert(vectors[i]->row_count >= row_count);
        for (uint32_t row = 0; vectors[i]->validity && row < row_count; row++)
            if (mg_vector_is_null(vectors[i], row))
                return fail_null(i, err);
        *out_width += mg_type_width(vectors[i]->type.id);
        *out_has_text = *out_has_text || vectors[i]->type.id == MG_TYPE_UTF8;
    }
    return MG_OK;
}

/* Sizes of the keys into sizes[0..row_count); their sum. */
static enum mg_code measure(const struct mg_vector *const *vectors, uint32_t key_count, uint32_t row_count,
                            size_t fixed_width, uint32_t *sizes, uint64_t *out_total, struct mg_error *err)
{
    uint64_t total = 0;

    for (uint32_t row = 0; row < row_count; row++)
        sizes[row] = (uint32_t)fixed_width;
    for (uint32_t i = 0; i < key_count; i++) {
        const struct mg_vector *v = vectors[i];
        if (v->type.id != MG_TYPE_UTF8)
            continue;
        for (uint32_t row = 0; row < row_count; row++) {
            size_t size = text_key_size(key_text(mg_vector_text(v, row), v->type.collation));
            if (size > MG_KEY_BYTES_MAX || (sizes[row] += (uint32_t)size) > MG_KEY_BYTES_MAX)
                return fail_long(size, err);
        }
    }
    for (uint32_t row = 0; row < row_count; row++)
        total += sizes[row];
    *out_total = total;
    return MG_OK;
}

enum mg_code mg_key_encode_rows(const struct mg_vector *const *vectors, uint32_t key_count, uint32_t row_count,
                                struct mg_buffer *out, uint32_t *offsets, struct mg_error *err)
{
    size_t width = 0, start = out->size;
    bool has_text = false;
    uint64_t total = 0;

    MG_TRY(check_rows(vectors, key_count, row_count, &width, &has_text, err));
    if (!has_text) {
        total = (uint64_t)width * row_count;
    } else {
        MG_TRY(measure(vectors, key_count, row_count, width, offsets + 1, &total, err));
    }
    if (start + total > UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "the keys of %u rows take %llu bytes", row_count, (unsigned long long)total);
    MG_TRY(mg_buffer_reserve(out, total, err));
    offsets[0] = (uint32_t)start;
    if (!has_text) {
        uint8_t *at = out->data + start;
        for (uint32_t i = 0; i < key_count; i++) {
            put_column(at, width, vectors[i], row_count);
            at += mg_type_width(vectors[i]->type.id);
        }
        for (uint32_t row = 0; row < row_count; row++)
            offsets[row + 1] = offsets[row] + (uint32_t)width;
    } else {
        /* offsets[row + 1] holds the row's size; make it the row's start, let the columns move it to the row's end. */
        uint32_t at = (uint32_t)start;
        for (uint32_t row = 0; row < row_count; row++) {
            uint32_t size = offsets[row + 1];
            offsets[row + 1] = at;
            at += size;
        }
        for (uint32_t i = 0; i < key_count; i++)
            put_column_at_ends(out->data, offsets + 1, vectors[i], row_count);
    }
    out->size += total;
    return MG_OK;
}
