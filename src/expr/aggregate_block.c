/* aggregate_block.c -- columns of a block: from what came in to the forms that loops want, and rows chosen from them.
 *
 * Ints     Whatever is an integer underneath is computed with as int64, if its values allow it: they are widened or,
 *          for decimals, cut to their low halves after a look at the high ones. Bounds are found where they matter.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"

enum { ROWS = MG_SCALAR_ROWS_MAX, INT64_DIGITS = 18 /* so many are always below 2^63 */ };

/* ---- memory -------------------------------------------------------------------------------------------------- */

enum { PARTS_BYTES = ROWS * 8 + ROWS * 2 + ROWS / 8 + (ROWS + 2) * 4 };

void mg_agg__store_drop(struct mg_agg__memory *memory, struct mg_agg__store *store)
{
    mg_agg__drop(memory, &store->values, store->room);
    mg_agg__drop(memory, &store->ints, PARTS_BYTES);
    *store = (struct mg_agg__store){.room = 0};
}

/* All but the values, in one piece. */
static enum mg_code make_parts(struct mg_agg__memory *memory, struct mg_agg__store *store, struct mg_error *err)
{
    if (store->ints)
        return MG_OK;
    MG_TRY(mg_agg__grow(memory, &store->ints, 0, PARTS_BYTES, err));
    store->offsets = (int32_t *)(void *)(store->ints + ROWS);
    store->bits = (uint8_t *)(store->offsets + ROWS + 2);
    store->codes = (uint16_t *)(void *)(store->bits + ROWS / 8);
    return MG_OK;
}

static enum mg_code make_room(struct mg_agg__memory *memory, struct mg_agg__store *store, size_t bytes,
                              struct mg_error *err)
{
    size_t room = MG_MAX(MG_MAX(bytes, 2 * store->room), (size_t)ROWS * 16);

    if (bytes <= store->room)
        return MG_OK;
    MG_TRY(mg_agg__grow(memory, &store->values, store->room, room, err));
    store->room = room;
    return MG_OK;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

struct mg_vector mg_agg__slice(const struct mg_vector *v, uint32_t first, uint32_t count)
{
    struct mg_vector out = *v;

    out.row_count = count;
    if (v->type.id == MG_TYPE_UTF8)
        out.offsets = v->offsets + first;
    else
        out.values = (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
    out.null_count = v->null_count ? count - mg_bits_count(v->validity, first, count) : 0;
    out.validity = out.null_count ? v->validity + first / 8 : NULL;
    return out;
}

const uint64_t *mg_agg__rows_there(const struct mg_agg__value *value, const uint64_t *rows, uint64_t *scratch)
{
    uint32_t words = (value->row_count + 63) / 64;

    if (!value->validity)
        return rows;
    for (uint32_t w = 0; w < words; w++)
        scratch[w] = mg_load_le64(value->validity + (size_t)w * 8) & (rows ? rows[w] : ~UINT64_C(0));
    if (value->row_count % 64)
        scratch[words - 1] &= mg_bits_mask(value->row_count % 64);
    return scratch;
}

static void gather_fixed(const struct mg_vector *v, const uint16_t *rows, uint32_t count, void *to)
{
#define GATHER(type)                                                  \
    do {                                                              \
        typedef type any_type __attribute__((aligned(1), may_alias)); \
        const any_type *from = v->values;                             \
        for (uint32_t i = 0; i < count; i++)                          \
            ((any_type *)to)[i] = from[rows[i]];                      \
    } while (0)
    switch (mg_type_width(v->type.id)) {
    case 1: GATHER(uint8_t); break;
    case 2: GATHER(uint16_t); break;
    case 4: GATHER(uint32_t); break;
    case 8: GATHER(uint64_t); break;
    default: GATHER(mg_int128);
    }
#undef GATHER
}

static enum mg_code gather_texts(struct mg_agg__memory *memory, struct mg_agg__store *store, const struct mg_vector *v,
                                 const uint16_t *rows, uint32_t count, struct mg_error *err)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++)
        bytes += mg_vector_text(v, rows[i]).size;
    if (bytes > INT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "the texts of %u rows of an aggregate pass 2 GiB", count);
    MG_TRY(make_room(memory, store, bytes, err));
    int32_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice text = mg_vector_text(v, rows[i]);
        if (text.size == 1) /* flags: not worth a call */
            store->values[end] = text.data[0];
        else if (text.size)
            memcpy(store->values + end, text.data, text.size);
        store->offsets[i] = end;
        end += (int32_t)text.size;
    }
    store->offsets[count] = end;
    return MG_OK;
}

/* Values of rows of v, which may repeat; nothing of NULL. */
static enum mg_code gather(struct mg_agg__memory *memory, struct mg_agg__store *store, const struct mg_vector *v,
                           const uint16_t *rows, uint32_t count, struct mg_vector *out, struct mg_error *err)
{
    bool is_text = v->type.id == MG_TYPE_UTF8;

    MG_TRY(make_parts(memory, store, err));
    if (is_text) {
        MG_TRY(gather_texts(memory, store, v, rows, count, err));
    } else {
        MG_TRY(make_room(memory, store, (size_t)count * mg_type_width(v->type.id), err));
        gather_fixed(v, rows, count, store->values);
    }
    *out = (struct mg_vector){
        .type = v->type, .row_count = count, .values = store->values, .offsets = is_text ? store->offsets : NULL};
    return MG_OK;
}

/* Validity of chosen rows; NULL when all are there. */
static const uint8_t *choose_bits(struct mg_agg__store *store, const uint8_t *validity, const uint16_t *rows,
                                  uint32_t count, uint32_t *null_count)
{
    memset(store->bits, 0, ROWS / 8);
    for (uint32_t i = 0; i < count; i++)
        store->bits[i >> 3] |= (uint8_t)((validity[rows[i] >> 3] >> (rows[i] & 7) & 1) << (i & 7));
    *null_count = count - mg_bits_count(store->bits, 0, count);
    return *null_count ? store->bits : NULL;
}

enum mg_code mg_agg__choose(struct mg_agg__memory *memory, struct mg_agg__store *store,
                            const struct mg_agg_input *input, const uint16_t *rows, uint32_t count,
                            struct mg_vector *vector, struct mg_agg_input *out, struct mg_error *err)
{
    const struct mg_vector *from = input->vector;
    const any_int64 *ints = input->ints;
    uint32_t null_count = from ? from->null_count : input->null_count;

    *out = *input;
    MG_TRY(make_parts(memory, store, err));
    if (from) {
        MG_TRY(gather(memory, store, from, rows, count, vector, err));
        out->vector = vector;
    } else if (ints) {
        for (uint32_t i = 0; i < count; i++)
            store->ints[i] = ints[rows[i]];
        out->ints = store->ints;
    } else {
        for (uint32_t i = 0; i < count; i++)
            store->codes[i] = input->codes[rows[i]];
        out->codes = store->codes;
    }
    if (null_count)
        out->validity = choose_bits(store, from ? from->validity : input->validity, rows, count, &out->null_count);
    if (from) {
        vector->null_count = out->null_count;
        vector->validity = out->validity;
    }
    return MG_OK;
}

/* ---- forms --------------------------------------------------------------------------------------------------- */

static void find_bounds(struct mg_agg__value *value)
{
    uint64_t scratch[MG_AGG__WORDS];
    const uint64_t *rows = mg_agg__rows_there(value, NULL, scratch);

    mg_agg__kernels()->bounds(value->ints, value->row_count, rows, &value->low, &value->high);
    if (value->low > value->high) /* nothing there */
        value->low = value->high = 0;
}

static bool type_has_ints(struct mg_type type)
{
    return type.id != MG_TYPE_NONE && type.id != MG_TYPE_UTF8 && !mg_scalar__is_float(type.id);
}

/* value->vector as ints, too, if its values fit. */
static void find_ints(struct mg_agg__store *store, uint32_t use, struct mg_agg__value *value)
{
    const struct mg_vector *v = &value->vector;
    const struct mg_agg__kernels *kernels = mg_agg__kernels();
    mg_int128 low, high;

    if (!type_has_ints(v->type))
        return;
    if (v->type.id == MG_TYPE_DECIMAL) {
        if (!kernels->narrow(v->values, v->row_count, store->ints))
            return;
        value->ints = store->ints;
        if (use & (MG_AGG__USED_BOUNDS | MG_AGG__USED_KEY) || v->type.precision > INT64_DIGITS) {
            find_bounds(value);
        } else { /* only summed, or compared: what its digits say will do */
            value->high = (int64_t)mg_decimal_power(v->type.precision) - 1;
            value->low = -value->high;
        }
        return;
    }
    if (mg_type_width(v->type.id) == sizeof(int64_t)) {
        value->ints = v->values;
    } else {
        kernels->widen[v->type.id](v->values, v->row_count, store->ints);
        value->ints = store->ints;
    }
    mg_expr__domain(v->type.id, &low, &high);
    value->low = (int64_t)low;
    value->high = (int64_t)high;
    if (use & (MG_AGG__USED_BOUNDS | MG_AGG__USED_KEY) || v->type.id == MG_TYPE_UINT64)
        find_bounds(value);
    if (v->type.id == MG_TYPE_UINT64 && value->low < 0) /* some pass 2^63 */
        value->ints = NULL;
}

enum mg_code mg_agg__load(struct mg_agg__memory *memory, struct mg_agg__store *store, struct mg_type type, uint32_t use,
                          const struct mg_agg_input *input, uint32_t row_count, struct mg_agg__value *out,
                          struct mg_error *err)
{
    const struct mg_vector *v = input->vector;
    uint32_t null_count = v ? v->null_count : input->null_count;

    *out = (struct mg_agg__value){.row_count = row_count, .null_count = null_count};
    if (null_count)
        out->validity = v ? v->validity : input->validity;
    if (v) {
        mg_assert(v->row_count == row_count);
        out->vector = *v;
        out->has_vector = true;
    } else if (input->ints) {
        out->ints = input->ints;
        out->low = input->low <= input->high ? input->low : 0;
        out->high = input->low <= input->high ? input->high : 0;
        return MG_OK;
    } else {
        out->codes = input->codes;
        out->dictionary = input->dictionary;
        out->dictionary_id = input->dictionary_id;
    }
    bool wants_ints = use & MG_AGG__USED_INTS || (use & MG_AGG__USED_KEY && !out->codes);
    if (!wants_ints || !type_has_ints(type))
        return MG_OK;
    MG_TRY(make_parts(memory, store, err));
    MG_TRY(mg_agg__lay_out(memory, store, type, out, err));
    find_ints(store, use, out);
    return MG_OK;
}

void mg_agg__widen(const int64_t *ints, uint32_t count, struct mg_type type, void *to)
{
    const any_int64 *from = ints;
#define AS(type)                         \
    for (uint32_t i = 0; i < count; i++) \
    ((type *)to)[i] = (type)from[i]
    switch (mg_type_width(type.id)) {
    case 1: AS(int8_t); break;
    case 2: AS(int16_t); break;
    case 4: AS(int32_t); break;
    case 8: AS(int64_t); break;
    default: AS(mg_int128);
    }
#undef AS
}

enum mg_code mg_agg__lay_out(struct mg_agg__memory *memory, struct mg_agg__store *store, struct mg_type type,
                             struct mg_agg__value *value, struct mg_error *err)
{
    uint16_t rows[ROWS];

    if (value->has_vector)
        return MG_OK;
    MG_TRY(make_parts(memory, store, err));
    MG_TRY(make_room(memory, store, (size_t)ROWS * 16, err));
    value->vector = (struct mg_vector){.type = type, .row_count = value->row_count, .values = store->values};
    if (value->ints) {
        mg_agg__widen(value->ints, value->row_count, type, store->values);
    } else if (value->null_count == value->row_count) {
        memset(store->values, 0, (size_t)ROWS * 16);
        memset(store->offsets, 0, (ROWS + 2) * sizeof *store->offsets);
        value->vector.offsets = type.id == MG_TYPE_UTF8 ? store->offsets : NULL;
    } else {
        for (uint32_t i = 0; i < value->row_count; i++) /* the code of a NULL row may be anything */
            rows[i] = !value->validity || (value->validity[i >> 3] >> (i & 7) & 1) ? value->codes[i] : 0;
        MG_TRY(gather(memory, store, value->dictionary, rows, value->row_count, &value->vector, err));
    }
    value->vector.null_count = value->null_count;
    value->vector.validity = value->validity;
    value->has_vector = true;
    return MG_OK;
}

struct mg_value mg_agg__value_at(const struct mg_agg__value *value, struct mg_type type, uint32_t row)
{
    struct mg_value out = {.type = type};

    if (value->validity && !(value->validity[row >> 3] >> (row & 7) & 1)) {
        out.is_null = true;
        return out;
    }
    if (value->has_vector)
        return mg_vector_value(&value->vector, row);
    if (!value->ints)
        return mg_vector_value(value->dictionary, value->codes[row]);
    int64_t v = ((const any_int64 *)value->ints)[row];
    if (type.id == MG_TYPE_DECIMAL)
        out.d = v;
    else
        out.i = v; /* of unsigned ones the same bits */
    return out;
}
