/* batch.c -- batches: counted, looked at, checked, built value by value or by gathering, widened for a reader.
 *
 * Builder     per column up to three buffers (validity, offsets, values) that double when full. Validity comes into
 *             being with the first NULL; until then nothing is written for it. New validity memory is all ones, so that
 *             a value that is there costs nothing and only a NULL clears its bit.
 * Memory      a grown buffer is reserved in the budget before the old one is given back: the peak is counted, too. The
 *             finished batch owns the buffers and gives the reservation back when it is freed.
 * Invariants  after finish, bytes from a buffer's size up to the next multiple of 8 are zero, bits beyond row_count,
 *             too.
 * Threads     a builder belongs to one thread; references of a batch are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/batch.h"

#include <stdlib.h>

#include "column/batch_internal.h"
#include "column/bits.h"
#include "column/compress.h"

struct mg_column_builder {
    struct mg_type type;
    uint32_t width; /* 0: UTF8 */
    uint32_t row_count, null_count;
    uint8_t *validity; /* NULL until a NULL comes */
    uint8_t *values;
    int32_t *offsets;                                            /* UTF8: row_count + 1 once there is memory */
    size_t text_size;                                            /* UTF8: bytes in values */
    size_t validity_capacity, values_capacity, offsets_capacity; /* bytes */
};

const _Alignas(64) uint8_t mg_batch__zeros[64];

/* ---- batches ------------------------------------------------------------------------------------------------- */

struct mg_batch *mg_batch_ref(struct mg_batch *batch)
{
    atomic_fetch_add_explicit(&batch->references, 1, memory_order_relaxed);
    return batch;
}

void mg_batch_unref(struct mg_batch *batch)
{
    if (batch && atomic_fetch_sub_explicit(&batch->references, 1, memory_order_acq_rel) == 1)
        batch->free(batch);
}

void mg_batch_unrefp(struct mg_batch **batch)
{
    mg_batch_unref(*batch);
    *batch = NULL;
}

struct mg_value mg_vector_value(const struct mg_vector *v, uint32_t row)
{
    mg_assert(row < v->row_count);
    if (mg_vector_is_null(v, row))
        return (struct mg_value){.type = v->type, .is_null = true};
    if (v->type.id == MG_TYPE_UTF8)
        return (struct mg_value){.type = v->type, .text = mg_vector_text(v, row)};
    return mg_value_load(v->type, (const uint8_t *)v->values + (size_t)row * mg_type_width(v->type.id));
}

uint64_t mg_batch_bytes(const struct mg_batch *batch)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < batch->column_count; i++) {
        const struct mg_vector *v = &batch->vectors[i];
        if (v->null_count)
            bytes += mg_pad8(mg_bits_bytes(v->row_count));
        if (v->type.id == MG_TYPE_UTF8) {
            bytes += mg_pad8(((uint64_t)v->row_count + 1) * 4);
            if (v->row_count)
                bytes += mg_pad8((uint64_t)(v->offsets[v->row_count] - v->offsets[0]));
        } else {
            bytes += mg_pad8((uint64_t)v->row_count * mg_type_width(v->type.id));
        }
    }
    return bytes;
}

static enum mg_code check_vector(const struct mg_vector *v, uint32_t row_count, struct mg_error *err)
{
    MG_TRY(mg_type_check(v->type, err));
    if (v->row_count != row_count)
        return mg_fail(err, MG_INVALID, "%u rows in a batch of %u", v->row_count, row_count);
    uint32_t null_count = v->validity ? row_count - mg_bits_count(v->validity, 0, row_count) : 0;
    if (null_count != v->null_count)
        return mg_fail(err, MG_INVALID, "%u NULLs are said to be there, but %u are", v->null_count, null_count);
    if (row_count && !v->values)
        return mg_fail(err, MG_INVALID, "%u rows, but no values", row_count);
    if (v->type.id != MG_TYPE_UTF8 || row_count == 0)
        return MG_OK;
    if (!v->offsets || v->offsets[0] < 0)
        return mg_fail(err, MG_INVALID, "text without offsets, or they begin below 0");
    for (uint32_t i = 0; i < row_count; i++)
        if (v->offsets[i + 1] < v->offsets[i])
            return mg_fail(err, MG_INVALID, "the offsets fall from %d to %d at row %u", v->offsets[i],
                           v->offsets[i + 1], i);
    return MG_OK;
}

enum mg_code mg_batch_check(const struct mg_batch *batch, struct mg_error *err)
{
    if (batch->row_count > MG_BATCH_ROWS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a batch of %u rows, at most %d are allowed", batch->row_count,
                       MG_BATCH_ROWS_MAX);
    for (uint32_t i = 0; i < batch->column_count; i++) {
        enum mg_code code = check_vector(&batch->vectors[i], batch->row_count, err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "batch column %u", i);
    }
    return MG_OK;
}

static void free_owned(struct mg_batch *batch)
{
    struct mg_batch__owned *owned = (struct mg_batch__owned *)batch;

    for (uint32_t i = 0; i < owned->buffer_count; i++)
        free(owned->buffers[i]);
    mg_budget_release(owned->budget, owned->reserved_bytes);
    mg_batch_unref(owned->under);
    free(owned);
}

struct mg_batch__owned *mg_batch__new(uint32_t row_count, uint32_t column_count, uint32_t buffers_max,
                                      struct mg_budget *budget)
{
    size_t vectors_at = (sizeof(struct mg_batch__owned) + 15) & ~(size_t)15;
    size_t buffers_at = vectors_at + column_count * sizeof(struct mg_vector);
    struct mg_batch__owned *owned = calloc(1, buffers_at + buffers_max * sizeof(void *));

    if (!owned)
        return NULL;
    atomic_init(&owned->batch.references, 1);
    owned->batch.row_count = row_count;
    owned->batch.column_count = column_count;
    owned->batch.vectors = (struct mg_vector *)((char *)owned + vectors_at);
    owned->batch.free = free_owned;
    owned->budget = budget;
    owned->buffers = (void **)((char *)owned + buffers_at);
    return owned;
}

static void own(struct mg_batch__owned *owned, void *buffer)
{
    if (buffer)
        owned->buffers[owned->buffer_count++] = buffer;
}

enum mg_code mg_batch__alloc(struct mg_batch__owned *owned, size_t size_bytes, uint8_t **out, struct mg_error *err)
{
    size_t capacity = (MG_MAX(size_bytes, (size_t)1) + 63) & ~(size_t)63;

    MG_TRY(mg_budget_reserve(owned->budget, capacity, err));
    owned->reserved_bytes += capacity;
    *out = aligned_alloc(64, capacity);
    if (!*out)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %zu bytes of a batch", capacity);
    own(owned, *out);
    return MG_OK;
}

void mg_batch__discard(struct mg_batch__owned **owned)
{
    if (*owned)
        free_owned(&(*owned)->batch);
    *owned = NULL;
}

/* ---- building: memory ---------------------------------------------------------------------------------------- */

enum mg_code mg_batch_builder_init(struct mg_batch_builder *builder, const struct mg_type *types, uint32_t column_count,
                                   struct mg_budget *budget, size_t bytes_max, struct mg_error *err)
{
    if (column_count > MG_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a batch of %u columns, at most %d are allowed", column_count, MG_COLUMNS_MAX);
    for (uint32_t i = 0; i < column_count; i++)
        MG_TRY(mg_type_check(types[i], err));
    struct mg_column_builder *columns = calloc((size_t)column_count + 1, sizeof *columns);
    if (!columns)
        return mg_fail(err, MG_NO_MEMORY, "no memory to build %u columns", column_count);
    for (uint32_t i = 0; i < column_count; i++) {
        columns[i].type = types[i];
        columns[i].width = mg_type_width(types[i].id);
    }
    *builder = (struct mg_batch_builder){
        .column_count = column_count, .columns = columns, .budget = budget, .bytes_max = bytes_max};
    return MG_OK;
}

static void free_column(struct mg_column_builder *column)
{
    free(column->validity);
    free(column->values);
    free(column->offsets);
}

/* The column without memory, as init made it. */
static struct mg_column_builder emptied(const struct mg_column_builder *column)
{
    return (struct mg_column_builder){.type = column->type, .width = column->width};
}

void mg_batch_builder_clear(struct mg_batch_builder *builder)
{
    for (uint32_t i = 0; i < builder->column_count; i++)
        free_column(&builder->columns[i]);
    free(builder->columns);
    mg_budget_release(builder->budget, builder->used_bytes);
    *builder = (struct mg_batch_builder){.column_count = 0};
}

/* Make *data hold at least need bytes, keeping `keep` of them. The new memory behind is not set. */
static __attribute__((noinline)) enum mg_code grow(struct mg_batch_builder *builder, void *data_place, size_t *capacity,
                                                   size_t keep, size_t need, struct mg_error *err)
{
    size_t others = builder->used_bytes - *capacity;
    size_t wanted = (MG_MAX(need, *capacity * 2) + 63) & ~(size_t)63;

    if (wanted > builder->bytes_max - MG_MIN(others, builder->bytes_max))
        wanted = (need + 63) & ~(size_t)63;
    if (wanted > builder->bytes_max - MG_MIN(others, builder->bytes_max))
        return mg_fail(err, MG_TOO_BIG, "a batch would take %zu bytes, at most %zu are allowed", others + wanted,
                       builder->bytes_max);
    MG_TRY(mg_budget_reserve(builder->budget, wanted, err));
    void *data = aligned_alloc(64, wanted), *old;
    if (!data) {
        mg_budget_release(builder->budget, wanted);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a column of %zu bytes", wanted);
    }
    memcpy(&old, data_place, sizeof old);
    if (keep)
        memcpy(data, old, keep);
    free(old);
    mg_budget_release(builder->budget, *capacity);
    memcpy(data_place, &data, sizeof data);
    builder->used_bytes = others + wanted;
    *capacity = wanted;
    return MG_OK;
}

static enum mg_code grow_validity(struct mg_batch_builder *builder, struct mg_column_builder *column,
                                  uint32_t row_count, struct mg_error *err)
{
    size_t keep = column->validity_capacity;

    MG_TRY(grow(builder, &column->validity, &column->validity_capacity, keep,
                MG_MAX(mg_bits_bytes(row_count), (size_t)64), err));
    memset(column->validity + keep, 0xff, column->validity_capacity - keep);
    return MG_OK;
}

/* Room for `more` rows behind those that are there, without their text. */
static inline enum mg_code make_room(struct mg_batch_builder *builder, struct mg_column_builder *column, uint32_t more,
                                     struct mg_error *err)
{
    uint64_t rows = (uint64_t)column->row_count + more;

    if (__builtin_expect(rows > MG_BATCH_ROWS_MAX, 0))
        return mg_fail(err, MG_TOO_BIG, "a batch of %llu rows, at most %d are allowed", (unsigned long long)rows,
                       MG_BATCH_ROWS_MAX);
    if (column->width) {
        if (__builtin_expect(rows * column->width > column->values_capacity, 0))
            MG_TRY(grow(builder, &column->values, &column->values_capacity, (size_t)column->row_count * column->width,
                        rows * column->width, err));
    } else if (__builtin_expect((rows + 1) * 4 > column->offsets_capacity, 0)) {
        size_t keep = column->offsets ? ((size_t)column->row_count + 1) * 4 : 0;
        MG_TRY(grow(builder, &column->offsets, &column->offsets_capacity, keep, (rows + 1) * 4, err));
        if (!keep)
            column->offsets[0] = 0;
    }
    if (__builtin_expect(column->validity && mg_bits_bytes((uint32_t)rows) > column->validity_capacity, 0))
        MG_TRY(grow_validity(builder, column, (uint32_t)rows, err));
    return MG_OK;
}

static inline enum mg_code make_text_room(struct mg_batch_builder *builder, struct mg_column_builder *column,
                                          uint64_t more, struct mg_error *err)
{
    uint64_t size = column->text_size + more;

    if (__builtin_expect(size > INT32_MAX, 0))
        return mg_fail(err, MG_TOO_BIG,
                       "the text of one column of a batch would take %llu bytes, at most %d are allowed",
                       (unsigned long long)size, INT32_MAX);
    if (__builtin_expect(size > column->values_capacity, 0))
        MG_TRY(grow(builder, &column->values, &column->values_capacity, column->text_size, size, err));
    return MG_OK;
}

enum mg_code mg_builder_reserve(struct mg_batch_builder *builder, uint32_t column, uint32_t more_rows,
                                size_t more_text_bytes, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    MG_TRY(make_room(builder, &builder->columns[column], more_rows, err));
    return builder->columns[column].width ? MG_OK
                                          : make_text_room(builder, &builder->columns[column], more_text_bytes, err);
}

/* ---- building: one value ------------------------------------------------------------------------------------- */

enum mg_code mg_builder_null(struct mg_batch_builder *builder, uint32_t column, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    MG_TRY(make_room(builder, c, 1, err));
    if (!c->validity)
        MG_TRY(grow_validity(builder, c, c->row_count + 1, err));
    if (c->width)
        memset(c->values + (size_t)c->row_count * c->width, 0, c->width);
    else
        c->offsets[c->row_count + 1] = (int32_t)c->text_size;
    c->validity[c->row_count >> 3] &= (uint8_t) ~(1u << (c->row_count & 7));
    c->null_count++;
    c->row_count++;
    return MG_OK;
}

static bool is_integer_like(enum mg_type_id id)
{
    return (id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64) || (id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP);
}

enum mg_code mg_builder_uint(struct mg_batch_builder *builder, uint32_t column, uint64_t v, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    mg_assert(is_integer_like(c->type.id));
    MG_TRY(make_room(builder, c, 1, err));
    switch (c->width) {
    case 1: ((uint8_t *)c->values)[c->row_count] = (uint8_t)v; break;
    case 2: ((uint16_t *)c->values)[c->row_count] = (uint16_t)v; break;
    case 4: ((uint32_t *)c->values)[c->row_count] = (uint32_t)v; break;
    default: ((uint64_t *)c->values)[c->row_count] = v; break;
    }
    c->row_count++;
    return MG_OK;
}

enum mg_code mg_builder_int(struct mg_batch_builder *builder, uint32_t column, int64_t v, struct mg_error *err)
{
    return mg_builder_uint(builder, column, (uint64_t)v, err);
}

enum mg_code mg_builder_float(struct mg_batch_builder *builder, uint32_t column, double v, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    mg_assert(c->type.id == MG_TYPE_FLOAT32 || c->type.id == MG_TYPE_FLOAT64);
    MG_TRY(make_room(builder, c, 1, err));
    if (c->width == 4)
        ((float *)c->values)[c->row_count] = (float)v;
    else
        ((double *)c->values)[c->row_count] = v;
    c->row_count++;
    return MG_OK;
}

enum mg_code mg_builder_decimal(struct mg_batch_builder *builder, uint32_t column, mg_int128 v, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    mg_assert(c->type.id == MG_TYPE_DECIMAL);
    MG_TRY(make_room(builder, c, 1, err));
    ((mg_int128 *)c->values)[c->row_count] = v;
    c->row_count++;
    return MG_OK;
}

enum mg_code mg_builder_text(struct mg_batch_builder *builder, uint32_t column, struct mg_slice v, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    mg_assert(c->type.id == MG_TYPE_UTF8);
    MG_TRY(make_room(builder, c, 1, err));
    MG_TRY(make_text_room(builder, c, v.size, err));
    if (v.size)
        memcpy(c->values + c->text_size, v.data, v.size);
    c->text_size += v.size;
    c->offsets[c->row_count + 1] = (int32_t)c->text_size;
    c->row_count++;
    return MG_OK;
}

enum mg_code mg_builder_value(struct mg_batch_builder *builder, uint32_t column, const struct mg_value *v,
                              struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_type type = builder->columns[column].type;

    if (v->is_null)
        return mg_builder_null(builder, column, err);
    if (!mg_type_same_layout(v->type, type)) {
        char have[48], want[48];
        mg_type_format(v->type, have);
        mg_type_format(type, want);
        return mg_fail(err, MG_INVALID, "a value of type %s in column %u of type %s", have, column, want);
    }
    switch (type.id) {
    case MG_TYPE_UTF8: return mg_builder_text(builder, column, v->text, err);
    case MG_TYPE_DECIMAL: return mg_builder_decimal(builder, column, v->d, err);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return mg_builder_float(builder, column, v->f, err);
    default: return mg_builder_uint(builder, column, v->u, err);
    }
}

/* ---- building: many values ----------------------------------------------------------------------------------- */

struct wide {
    uint64_t low, high;
};

#define GATHER(type)                                             \
    do {                                                         \
        type *restrict to = place;                               \
        const type *from_values = values;                        \
        for (uint32_t i = 0; i < count; i++)                     \
            memcpy(&to[i], &from_values[rows[i]], sizeof(type)); \
    } while (0)

/* values[rows[i]] to place[i]: one tight loop a width. */
static void gather_fixed(void *place, const void *values, uint32_t width, const uint32_t *rows, uint32_t count)
{
    switch (width) {
    case 1: GATHER(uint8_t); break;
    case 2: GATHER(uint16_t); break;
    case 4: GATHER(uint32_t); break;
    case 8: GATHER(uint64_t); break;
    default: GATHER(struct wide); break;
    }
}
#undef GATHER

/* memcpy for texts, which are short: two overlapping words instead of a call. */
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t size)
{
    if (size > 32) {
        memcpy(to, from, size);
    } else if (size >= 16) {
        struct wide head, tail;
        memcpy(&head, from, 16);
        memcpy(&tail, from + size - 16, 16);
        memcpy(to, &head, 16);
        memcpy(to + size - 16, &tail, 16);
    } else if (size >= 8) {
        uint64_t head = mg_load_le64(from), tail = mg_load_le64(from + size - 8);
        mg_store_le64(to, head);
        mg_store_le64(to + size - 8, tail);
    } else if (size >= 4) {
        uint32_t head = mg_load_le32(from), tail = mg_load_le32(from + size - 4);
        mg_store_le32(to, head);
        mg_store_le32(to + size - 4, tail);
    } else if (size) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

static enum mg_code gather_text(struct mg_batch_builder *builder, struct mg_column_builder *c,
                                const struct mg_vector *from, const uint32_t *rows, uint32_t first, uint32_t count,
                                struct mg_error *err)
{
    const int32_t *offsets = from->offsets;
    const uint8_t *text = from->values;
    int32_t *to = c->offsets + c->row_count + 1;
    uint64_t total = 0;

    if (!rows) {
        int32_t begin = offsets[first];
        total = (uint64_t)(offsets[first + count] - begin);
        MG_TRY(make_text_room(builder, c, total, err));
        int32_t shift = (int32_t)c->text_size - begin;
        for (uint32_t i = 0; i < count; i++)
            to[i] = offsets[first + 1 + i] + shift;
        if (total)
            memcpy(c->values + c->text_size, text + begin, total);
        c->text_size += total;
        return MG_OK;
    }
    for (uint32_t i = 0; i < count; i++)
        total += (uint64_t)(offsets[rows[i] + 1] - offsets[rows[i]]);
    MG_TRY(make_text_room(builder, c, total, err));
    uint8_t *at = c->values + c->text_size;
    int32_t end = (int32_t)c->text_size;
    for (uint32_t i = 0; total && i < count; i++) {
        int32_t begin = offsets[rows[i]];
        int32_t size = offsets[rows[i] + 1] - begin;
        copy_short(at, text + begin, (size_t)size);
        at += size;
        end += size;
        to[i] = end;
    }
    for (uint32_t i = 0; !total && i < count; i++)
        to[i] = end;
    c->text_size += total;
    return MG_OK;
}

/* The validity bits of the gathered rows; room is there. */
static enum mg_code gather_validity(struct mg_batch_builder *builder, struct mg_column_builder *c,
                                    const struct mg_vector *from, const uint32_t *rows, uint32_t first, uint32_t count,
                                    struct mg_error *err)
{
    const uint8_t *bits = from->validity;
    uint32_t null_count = 0;

    if (!bits)
        return MG_OK; /* c->validity, if it is there, is all ones here already */
    if (!rows) {
        null_count = count - mg_bits_count(bits, first, count);
    } else {
        for (uint32_t i = 0; i < count; i++)
            null_count += !(bits[rows[i] >> 3] >> (rows[i] & 7) & 1);
    }
    if (!null_count)
        return MG_OK;
    if (!c->validity)
        MG_TRY(grow_validity(builder, c, c->row_count + count, err));
    if (!rows) {
        mg_bits_copy(c->validity, c->row_count, bits, first, count);
    } else {
        for (uint32_t done = 0; done < count;) {
            uint32_t bit = c->row_count + done, n = MG_MIN(count - done, 64 - (bit & 63));
            uint64_t word = 0;
            for (uint32_t i = 0; i < n; i++) {
                uint32_t row = rows[done + i];
                word |= (uint64_t)(bits[row >> 3] >> (row & 7) & 1) << i;
            }
            mg_bits_store(c->validity, bit, word, n);
            done += n;
        }
    }
    c->null_count += null_count;
    return MG_OK;
}

enum mg_code mg_builder_gather(struct mg_batch_builder *builder, uint32_t column, const struct mg_vector *from,
                               const uint32_t *rows, uint32_t first, uint32_t count, struct mg_error *err)
{
    mg_assert(column < builder->column_count);
    struct mg_column_builder *c = &builder->columns[column];

    if (!mg_type_same_layout(from->type, c->type)) {
        char have[48], want[48];
        mg_type_format(from->type, have);
        mg_type_format(c->type, want);
        return mg_fail(err, MG_INVALID, "values of type %s for column %u of type %s", have, column, want);
    }
    if (count == 0)
        return MG_OK;
    mg_assert(rows || (uint64_t)first + count <= from->row_count);
    MG_TRY(make_room(builder, c, count, err));
    uint32_t null_count = c->null_count;
    MG_TRY(gather_validity(builder, c, from, rows, first, count, err));
    if (c->width) {
        uint8_t *place = c->values + (size_t)c->row_count * c->width;
        const uint8_t *values = from->values;
        if (rows)
            gather_fixed(place, values, c->width, rows, count);
        else
            memcpy(place, values + (size_t)first * c->width, (size_t)count * c->width);
    } else {
        enum mg_code code = gather_text(builder, c, from, rows, first, count, err);
        if (code != MG_OK) { /* the bits behind row_count must be ones again */
            if (c->null_count != null_count)
                mg_bits_set(c->validity, c->row_count, count);
            c->null_count = null_count;
            return code;
        }
    }
    c->row_count += count;
    return MG_OK;
}

bool mg_builder_compresses(const struct mg_vector *from)
{
    return from->null_count == 0 && mg_compress_can(mg_type_width(from->type.id));
}

enum mg_code mg_builder_compress(struct mg_batch_builder *builder, uint32_t column, const struct mg_vector *from,
                                 const uint64_t *mask, uint32_t count, struct mg_error *err)
{
    mg_assert(column < builder->column_count && mg_builder_compresses(from));
    struct mg_column_builder *c = &builder->columns[column];

    mg_assert(mg_type_same_layout(from->type, c->type));
    MG_TRY(make_room(builder, c, count + MG_COMPRESS_SLACK / c->width, err));
    uint32_t put = mg_compress(mask, from->row_count, c->width, from->values,
                               c->values + (size_t)c->row_count * c->width);
    mg_assert(put == count);
    c->row_count += count;
    return MG_OK;
}

uint32_t mg_builder_rows(const struct mg_batch_builder *builder, uint32_t column)
{
    return column < builder->column_count ? builder->columns[column].row_count : 0;
}

/* ---- finishing ----------------------------------------------------------------------------------------------- */

/* Zero the bytes from size up to the next multiple of 8; capacity is a multiple of 64. */
static void zero_tail(void *data, size_t size)
{
    if (data)
        memset((uint8_t *)data + size, 0, mg_pad8(size) - size);
}

static void finish_column(struct mg_batch__owned *owned, struct mg_column_builder *c, struct mg_vector *v)
{
    uint32_t rows = c->row_count;

    *v = (struct mg_vector){.type = c->type, .row_count = rows, .null_count = c->null_count};
    own(owned, c->validity);
    own(owned, c->values);
    own(owned, c->offsets);
    if (c->null_count) {
        if (rows & 7)
            c->validity[rows >> 3] &= (uint8_t)((1u << (rows & 7)) - 1);
        zero_tail(c->validity, mg_bits_bytes(rows));
        v->validity = c->validity;
    }
    v->values = c->values ? c->values : mg_batch__zeros;
    if (c->width) {
        zero_tail(c->values, (size_t)rows * c->width);
    } else {
        zero_tail(c->values, c->text_size);
        v->offsets = c->offsets ? c->offsets : (const int32_t *)(const void *)mg_batch__zeros;
        zero_tail(c->offsets, ((size_t)rows + 1) * 4);
    }
}

enum mg_code mg_batch_builder_finish(struct mg_batch_builder *builder, uint32_t row_count, struct mg_batch **out,
                                     struct mg_error *err)
{
    uint32_t rows = builder->column_count ? builder->columns[0].row_count : row_count;

    if (rows > MG_BATCH_ROWS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a batch of %u rows, at most %d are allowed", rows, MG_BATCH_ROWS_MAX);
    for (uint32_t i = 1; i < builder->column_count; i++)
        if (builder->columns[i].row_count != rows)
            return mg_fail(err, MG_INVALID, "column %u of a batch has %u values, column 0 has %u", i,
                           builder->columns[i].row_count, rows);
    struct mg_batch__owned *owned = mg_batch__new(rows, builder->column_count, builder->column_count * 3,
                                                  builder->budget);
    if (!owned)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a batch of %u columns", builder->column_count);
    for (uint32_t i = 0; i < builder->column_count; i++) {
        finish_column(owned, &builder->columns[i], &owned->batch.vectors[i]);
        builder->columns[i] = emptied(&builder->columns[i]);
    }
    owned->reserved_bytes = builder->used_bytes;
    builder->used_bytes = 0;
    *out = &owned->batch;
    return MG_OK;
}

/* The types of a batch's columns, for a builder; free() it. */
static struct mg_type *types_of(const struct mg_batch *batch)
{
    struct mg_type *types = malloc(((size_t)batch->column_count + 1) * sizeof *types);

    for (uint32_t i = 0; types && i < batch->column_count; i++)
        types[i] = batch->vectors[i].type;
    return types;
}

enum mg_code mg_batch_select(const struct mg_batch *batch, const uint32_t *rows, uint32_t count,
                             struct mg_budget *budget, struct mg_batch **out, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_type *types = types_of(batch);
    MG_CLEANUP(mg_batch_builder_clear) struct mg_batch_builder builder = {.column_count = 0};

    if (!types)
        return mg_fail(err, MG_NO_MEMORY, "no memory to choose from %u columns", batch->column_count);
    MG_TRY(mg_batch_builder_init(&builder, types, batch->column_count, budget, SIZE_MAX, err));
    for (uint32_t i = 0; i < batch->column_count; i++)
        MG_TRY(mg_builder_gather(&builder, i, &batch->vectors[i], rows, 0, count, err));
    return mg_batch_builder_finish(&builder, count, out, err);
}

/* ---- output profile ------------------------------------------------------------------------------------------ */

struct mg_type mg_profile_type(enum mg_profile profile, struct mg_type type)
{
    if (profile != MG_PROFILE_SPARK)
        return type;
    switch (type.id) {
    case MG_TYPE_UINT8: return (struct mg_type){.id = MG_TYPE_INT16};
    case MG_TYPE_UINT16: return (struct mg_type){.id = MG_TYPE_INT32};
    case MG_TYPE_UINT32: return (struct mg_type){.id = MG_TYPE_INT64};
    case MG_TYPE_UINT64: return (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 20};
    default: return type;
    }
}

#define WIDEN(from_type, to_type)                \
    do {                                         \
        const from_type *from = values;          \
        to_type *restrict to = place;            \
        for (uint32_t i = 0; i < row_count; i++) \
            to[i] = (to_type)from[i];            \
    } while (0)

static void widen(enum mg_type_id id, const void *values, void *place, uint32_t row_count)
{
    switch (id) {
    case MG_TYPE_UINT8: WIDEN(uint8_t, int16_t); break;
    case MG_TYPE_UINT16: WIDEN(uint16_t, int32_t); break;
    case MG_TYPE_UINT32: WIDEN(uint32_t, int64_t); break;
    case MG_TYPE_UINT64: WIDEN(uint64_t, mg_int128); break;
    default: mg_assert(!"an unsigned type");
    }
}
#undef WIDEN

enum mg_code mg_profile_batch(enum mg_profile profile, struct mg_batch *batch, struct mg_budget *budget,
                              struct mg_batch **out, struct mg_error *err)
{
    uint32_t changed = 0;

    for (uint32_t i = 0; i < batch->column_count; i++)
        changed += !mg_type_equal(mg_profile_type(profile, batch->vectors[i].type), batch->vectors[i].type);
    if (!changed) {
        *out = mg_batch_ref(batch);
        return MG_OK;
    }
    MG_CLEANUP(mg_batch__discard)
    struct mg_batch__owned *owned = mg_batch__new(batch->row_count, batch->column_count, changed, budget);
    if (!owned)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a batch of %u columns", batch->column_count);
    for (uint32_t i = 0; i < batch->column_count; i++) {
        const struct mg_vector *from = &batch->vectors[i];
        struct mg_vector *to = &owned->batch.vectors[i];
        *to = *from;
        to->type = mg_profile_type(profile, from->type);
        if (mg_type_equal(to->type, from->type) || from->row_count == 0)
            continue;
        size_t size = (size_t)from->row_count * mg_type_width(to->type.id);
        uint8_t *place = NULL;
        MG_TRY(mg_batch__alloc(owned, size, &place, err));
        widen(from->type.id, from->values, place, from->row_count);
        zero_tail(place, size);
        to->values = place;
    }
    owned->under = mg_batch_ref(batch);
    *out = &MG_TAKE(owned)->batch;
    return MG_OK;
}
