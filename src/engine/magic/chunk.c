/* chunk.c -- versions of a chunk: rows appended in place, bigger versions when there is no room, a frozen one at the
 * end.
 *
 * Growing   a chunk that lacks room gets a new version: buffers that are too small are copied, the others are shared.
 *           Views keep the version that they were published with, so nothing moves under a reader.
 * Frozen    what is full is frozen once: presence bytes become Arrow's bits, NULLs are counted, low and high per column
 *           are noted, text memory that was guessed too large is given back. From then on its memory is what scans
 *           send.
 * Text      a zone is kept only if no value ends in a blank: then both ways of comparing text agree on the order.
 * Errors    MG_NO_MEMORY; MG_TOO_BIG when the text of a column passes 2 GiB.
 * Threads   the writer appends and freezes; references from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

static size_t chunk_bytes(uint32_t column_count)
{
    return sizeof(struct mg_chunk) + column_count * sizeof(struct mg_chunk_column);
}

enum mg_code mg_chunk__new(uint32_t column_count, struct mg_budget *budget, struct mg_chunk **out, struct mg_error *err)
{
    MG_TRY(mg_budget_reserve(budget, chunk_bytes(column_count), err));
    struct mg_chunk *chunk = aligned_alloc(_Alignof(struct mg_chunk), chunk_bytes(column_count));
    if (!chunk) {
        mg_budget_release(budget, chunk_bytes(column_count));
        return mg_fail(err, MG_NO_MEMORY, "no memory for a chunk of %u columns", column_count);
    }
    memset(chunk, 0, chunk_bytes(column_count));
    atomic_init(&chunk->references, 1);
    chunk->budget = budget;
    chunk->column_count = column_count;
    *out = chunk;
    return MG_OK;
}

struct mg_chunk *mg_chunk__ref(struct mg_chunk *chunk)
{
    atomic_fetch_add_explicit(&chunk->references, 1, memory_order_relaxed);
    return chunk;
}

void mg_chunk__unref(struct mg_chunk *chunk)
{
    if (!chunk || atomic_fetch_sub_explicit(&chunk->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t c = 0; c < chunk->column_count; c++) {
        mg_buf__unref(chunk->columns[c].values);
        mg_buf__unref(chunk->columns[c].offsets);
        mg_buf__unref(chunk->columns[c].present);
        mg_buf__unref(chunk->columns[c].bits);
        mg_chunk_image__free(atomic_load_explicit(&chunk->columns[c].image, memory_order_relaxed));
    }
    mg_key_table__free(chunk);
    mg_sealed__free(chunk->sealed);
    mg_chunk__unref(atomic_load_explicit(&chunk->stub, memory_order_relaxed));
    mg_budget_release(chunk->budget, chunk_bytes(chunk->column_count));
    free(chunk);
}

/* ---- room ---------------------------------------------------------------------------------------------------- */

static size_t text_used(const struct mg_chunk_column *column, uint32_t row_count)
{
    return row_count ? (size_t)((const int32_t *)mg_buf_data(column->offsets))[row_count] : 0;
}

static size_t text_bytes(const struct mg_chunk_source *source, const uint32_t *rows, uint32_t count)
{
    if (!rows)
        return (size_t)(source->offsets[count] - source->offsets[0]);
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += (size_t)(source->offsets[rows[i] + 1] - source->offsets[rows[i]]);
    return bytes;
}

static uint8_t is_present(const uint8_t *bits, uint32_t row) { return bits[row >> 3] >> (row & 7) & 1; }

static bool has_null(const struct mg_chunk_source *source, const uint32_t *rows, uint32_t count)
{
    if (!source->bits)
        return false;
    uint8_t all = 1;
    for (uint32_t i = 0; i < count; i++)
        all &= is_present(source->bits, rows ? rows[i] : i);
    return !all;
}

static bool fits(const struct mg_chunk *chunk, const struct mg_schema *schema, uint32_t first_row,
                 const struct mg_chunk_source *sources, const uint32_t *rows, uint32_t count)
{
    if (first_row + count > chunk->row_room)
        return false;
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct mg_chunk_column *column = &chunk->columns[c];
        if (column->offsets &&
            text_used(column, first_row) + text_bytes(&sources[c], rows, count) > column->values->capacity)
            return false;
        if (!column->present && has_null(&sources[c], rows, count))
            return false;
    }
    return true;
}

static uint32_t next_row_room(const struct mg_chunk *old, const struct mg_chunk *like, uint32_t need)
{
    if (old && need <= old->row_room)
        return old->row_room;
    if (like)
        return MG_CHUNK_ROWS;
    uint32_t room = old ? old->row_room * 2 : MG_CHUNK_ROWS_FIRST;
    while (room < need)
        room *= 2;
    return MG_MIN(room, (uint32_t)MG_CHUNK_ROWS);
}

/* Bytes of text to make room for: as the chunk before took, else as the rows so far promise. */
static size_t next_text_room(const struct mg_chunk_column *old, const struct mg_chunk_column *like, size_t need,
                             uint32_t need_rows, uint32_t row_room)
{
    size_t room;
    if (old && old->values)
        room = old->values->capacity + old->values->capacity / 2;
    else if (like)
        room = text_used(like, MG_CHUNK_ROWS) / 16 * 17;
    else
        room = MG_MIN(need / need_rows * row_room / 16 * 17, MG_MAX(need * 4, (size_t)4096));
    return MG_MAX(room, need);
}

/* *to becomes *from when that is large enough, else a copy of its first `used` bytes with more room. */
static enum mg_code take_or_copy(struct mg_buf *from, size_t used, size_t room, struct mg_budget *budget,
                                 struct mg_buf **to, struct mg_error *err)
{
    if (from && from->capacity >= room) {
        *to = mg_buf__ref(from);
        return MG_OK;
    }
    MG_TRY(mg_buf__new(budget, room, to, err));
    if (used)
        memcpy(mg_buf_data(*to), mg_buf_data(from), used);
    return MG_OK;
}

static enum mg_code bigger_column(const struct mg_chunk_column *old, const struct mg_chunk_column *like,
                                  struct mg_type type, uint32_t first_row, const struct mg_chunk_source *source,
                                  const uint32_t *rows, uint32_t count, uint32_t row_room, struct mg_budget *budget,
                                  struct mg_chunk_column *new, struct mg_error *err)
{
    uint32_t width = mg_type_width(type.id);
    if (width) {
        MG_TRY(take_or_copy(old ? old->values : NULL, (size_t)first_row * width, (size_t)row_room * width, budget,
                            &new->values, err));
    } else {
        size_t used = old ? text_used(old, first_row) : 0, need = used + text_bytes(source, rows, count);
        if (need > INT32_MAX)
            return mg_fail(err, MG_TOO_BIG,
                           "the text of one column of %u rows would take %zu bytes, at most %d are allowed",
                           first_row + count, need, INT32_MAX);
        bool enough = old && old->values->capacity >= need;
        size_t room = enough ? need : next_text_room(old, like, need, first_row + count, row_room);
        MG_TRY(take_or_copy(old ? old->values : NULL, used, room, budget, &new->values, err));
        MG_TRY(take_or_copy(old ? old->offsets : NULL, old ? ((size_t)first_row + 1) * 4 : 0,
                            ((size_t)row_room + 1) * 4, budget, &new->offsets, err));
        if (!old)
            *(int32_t *)mg_buf_data(new->offsets) = 0;
    }
    bool was_present = old && old->present;
    if (!was_present && !has_null(source, rows, count))
        return MG_OK;
    MG_TRY(take_or_copy(was_present ? old->present : NULL, was_present ? first_row : 0, row_room, budget, &new->present,
                        err));
    if (!was_present)
        memset(mg_buf_data(new->present), 1, first_row);
    return MG_OK;
}

static enum mg_code make_room(struct mg_chunk **chunk, const struct mg_chunk *like, const struct mg_schema *schema,
                              uint32_t first_row, const struct mg_chunk_source *sources, const uint32_t *rows,
                              uint32_t count, struct mg_budget *budget, struct mg_error *err)
{
    const struct mg_chunk *old = *chunk;
    if (old && fits(old, schema, first_row, sources, rows, count))
        return MG_OK;
    struct mg_chunk *bigger;
    MG_TRY(mg_chunk__new(schema->column_count, budget, &bigger, err));
    bigger->row_room = next_row_room(old, like, first_row + count);
    for (uint32_t c = 0; c < schema->column_count; c++) {
        enum mg_code code = bigger_column(old ? &old->columns[c] : NULL, like ? &like->columns[c] : NULL,
                                          schema->columns[c].type, first_row, &sources[c], rows, count,
                                          bigger->row_room, budget, &bigger->columns[c], err);
        if (code != MG_OK) {
            mg_chunk__unref(bigger);
            return code;
        }
    }
    mg_chunk__unref(*chunk);
    *chunk = bigger;
    return MG_OK;
}

/* ---- append -------------------------------------------------------------------------------------------------- */

struct wide {
    uint64_t low, high;
};

static void append_fixed(void *to, const void *from, uint32_t width, const uint32_t *rows, uint32_t count)
{
    if (!rows) {
        memcpy(to, from, (size_t)count * width);
        return;
    }
#define GATHER(type)                     \
    for (uint32_t i = 0; i < count; i++) \
    ((type *)to)[i] = ((const type *)from)[rows[i]]
    switch (width) {
    case 1: GATHER(uint8_t); break;
    case 2: GATHER(uint16_t); break;
    case 4: GATHER(uint32_t); break;
    case 8: GATHER(uint64_t); break;
    default: GATHER(struct wide); break;
    }
#undef GATHER
}

static void append_text(struct mg_chunk_column *column, uint32_t first_row, const struct mg_chunk_source *source,
                        const uint32_t *rows, uint32_t count)
{
    int32_t *offsets = (int32_t *)mg_buf_data(column->offsets) + first_row;
    uint8_t *to = mg_buf_data(column->values);
    const uint8_t *from = source->values;
    int32_t at = offsets[0];
    if (!rows) {
        int32_t shift = at - source->offsets[0];
        for (uint32_t i = 0; i < count; i++)
            offsets[i + 1] = source->offsets[i + 1] + shift;
        if (offsets[count] > at)
            memcpy(to + at, from + source->offsets[0], (size_t)(offsets[count] - at));
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        int32_t begin = source->offsets[rows[i]], size = source->offsets[rows[i] + 1] - begin;
        if (size)
            memcpy(to + at, from + begin, (size_t)size);
        at += size;
        offsets[i + 1] = at;
    }
}

static void append_present(uint8_t *to, const uint8_t *bits, const uint32_t *rows, uint32_t count)
{
    if (!bits)
        memset(to, 1, count);
    else
        for (uint32_t i = 0; i < count; i++)
            to[i] = is_present(bits, rows ? rows[i] : i);
}

enum mg_code mg_chunk__append(struct mg_chunk **chunk, const struct mg_chunk *like, const struct mg_schema *schema,
                              uint32_t first_row, const struct mg_chunk_source *columns, const uint32_t *rows,
                              uint32_t count, struct mg_budget *budget, struct mg_error *err)
{
    mg_assert(first_row + count <= MG_CHUNK_ROWS && count > 0 && !(*chunk && (*chunk)->frozen));
    MG_TRY(make_room(chunk, like, schema, first_row, columns, rows, count, budget, err));
    for (uint32_t c = 0; c < schema->column_count; c++) {
        struct mg_chunk_column *column = &(*chunk)->columns[c];
        uint32_t width = mg_type_width(schema->columns[c].type.id);
        if (width)
            append_fixed(mg_buf_data(column->values) + (size_t)first_row * width, columns[c].values, width, rows,
                         count);
        else
            append_text(column, first_row, &columns[c], rows, count);
        if (column->present)
            append_present(mg_buf_data(column->present) + first_row, columns[c].bits, rows, count);
    }
    (*chunk)->filled = first_row + count;
    return MG_OK;
}

/* ---- freeze -------------------------------------------------------------------------------------------------- */

/* Lowest and highest value that is not NULL, for one C type; false when there is none. */
#define ZONE_OF(name, type)                                                                                     \
    static bool name(const void *values, const uint8_t *present, uint32_t count, type *out_low, type *out_high) \
    {                                                                                                           \
        const type *v = values;                                                                                 \
        uint32_t i = 0;                                                                                         \
        while (present && i < count && !present[i])                                                             \
            i++;                                                                                                \
        if (i == count)                                                                                         \
            return false;                                                                                       \
        type low = v[i], high = v[i];                                                                           \
        if (!present) {                                                                                         \
            for (; i < count; i++) {                                                                            \
                low = v[i] < low ? v[i] : low;                                                                  \
                high = v[i] > high ? v[i] : high;                                                               \
            }                                                                                                   \
        } else {                                                                                                \
            for (; i < count; i++) {                                                                            \
                low = present[i] && v[i] < low ? v[i] : low;                                                    \
                high = present[i] && v[i] > high ? v[i] : high;                                                 \
            }                                                                                                   \
        }                                                                                                       \
        *out_low = low;                                                                                         \
        *out_high = high;                                                                                       \
        return true;                                                                                            \
    }
ZONE_OF(zone_i8, int8_t)
ZONE_OF(zone_i16, int16_t)
ZONE_OF(zone_i32, int32_t)
ZONE_OF(zone_i64, int64_t)
ZONE_OF(zone_u8, uint8_t)
ZONE_OF(zone_u16, uint16_t)
ZONE_OF(zone_u32, uint32_t)
ZONE_OF(zone_u64, uint64_t)
ZONE_OF(zone_f32, float)
ZONE_OF(zone_f64, double)
ZONE_OF(zone_i128, mg_int128)
#undef ZONE_OF

static bool has_nan(const void *values, bool wide, const uint8_t *present, uint32_t count)
{
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        double v = wide ? ((const double *)values)[i] : (double)((const float *)values)[i];
        any |= isnan(v) && (!present || present[i]);
    }
    return any;
}

/* The first 8 bytes as a number that compares as they do; shorter texts are filled with zeros. */
static uint64_t text_prefix(struct mg_slice text)
{
    uint64_t v = 0;
    if (text.size >= 8)
        return mg_load_be64(text.data);
    for (size_t i = 0; i < text.size; i++)
        v |= (uint64_t)text.data[i] << (56 - 8 * i);
    return v;
}

static bool zone_text(const struct mg_chunk_column *column, const uint8_t *present, uint32_t count,
                      struct mg_slice *out_low, struct mg_slice *out_high)
{
    const int32_t *offsets = (const int32_t *)mg_buf_data(column->offsets);
    const uint8_t *bytes = mg_buf_data(column->values);
    struct mg_slice low = {NULL, 0}, high = {NULL, 0};
    uint64_t low_prefix = 0, high_prefix = 0;
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        if (present && !present[i])
            continue;
        struct mg_slice text = MG_SLICE(bytes + offsets[i], (size_t)(offsets[i + 1] - offsets[i]));
        if (text.size && text.data[text.size - 1] == ' ')
            return false;
        uint64_t prefix = text_prefix(text);
        if (!any || prefix < low_prefix || (prefix == low_prefix && mg_slice_compare(text, low) < 0)) {
            low = text;
            low_prefix = prefix;
        }
        if (!any || prefix > high_prefix || (prefix == high_prefix && mg_slice_compare(text, high) > 0)) {
            high = text;
            high_prefix = prefix;
        }
        any = true;
    }
    *out_low = low;
    *out_high = high;
    return any;
}

static void note_zone(struct mg_chunk_column *column, const uint8_t *present, struct mg_type type, uint32_t count)
{
    const void *values = mg_buf_data(column->values);
    struct mg_value *low = &column->low, *high = &column->high;
    low->type = high->type = type;
#define NUMBER(zone, c_type, member)                             \
    do {                                                         \
        c_type l, h;                                             \
        column->has_zone = zone(values, present, count, &l, &h); \
        if (column->has_zone) {                                  \
            low->member = l;                                     \
            high->member = h;                                    \
        }                                                        \
    } while (0)
    switch (type.id) {
    case MG_TYPE_INT8: NUMBER(zone_i8, int8_t, i); break;
    case MG_TYPE_INT16: NUMBER(zone_i16, int16_t, i); break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: NUMBER(zone_i32, int32_t, i); break;
    case MG_TYPE_INT64:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: NUMBER(zone_i64, int64_t, i); break;
    case MG_TYPE_UINT8: NUMBER(zone_u8, uint8_t, u); break;
    case MG_TYPE_UINT16: NUMBER(zone_u16, uint16_t, u); break;
    case MG_TYPE_UINT32: NUMBER(zone_u32, uint32_t, u); break;
    case MG_TYPE_UINT64: NUMBER(zone_u64, uint64_t, u); break;
    case MG_TYPE_FLOAT32:
        if (!has_nan(values, false, present, count))
            NUMBER(zone_f32, float, f);
        break;
    case MG_TYPE_FLOAT64:
        if (!has_nan(values, true, present, count))
            NUMBER(zone_f64, double, f);
        break;
    case MG_TYPE_DECIMAL: NUMBER(zone_i128, mg_int128, d); break;
    case MG_TYPE_UTF8: column->has_zone = zone_text(column, present, count, &low->text, &high->text); break;
    case MG_TYPE_NONE: break;
    }
#undef NUMBER
}

static enum mg_code pack_bits(const uint8_t *present, uint32_t count, struct mg_budget *budget,
                              struct mg_chunk_column *column, struct mg_error *err)
{
    MG_TRY(mg_buf__new(budget, (count + 7) / 8, &column->bits, err));
    uint8_t *bits = mg_buf_data(column->bits);
    memset(bits, 0, column->bits->capacity);
    uint32_t set = 0;
    for (uint32_t i = 0; i < count; i++) {
        bits[i >> 3] |= (uint8_t)(present[i] << (i & 7));
        set += present[i];
    }
    column->null_count = count - set;
    if (column->null_count == 0) { /* the NULLs were in an epoch that was aborted */
        mg_buf__unref(column->bits);
        column->bits = NULL;
    }
    return MG_OK;
}

/* Text memory of the frozen column: what is there, or an exact copy when a quarter would be wasted. */
static void trim_text(const struct mg_chunk_column *old, uint32_t row_count, struct mg_budget *budget,
                      struct mg_chunk_column *column)
{
    size_t used = text_used(old, row_count);
    struct mg_buf *exact;
    if (old->values->capacity <= used + used / 4 + 4096 || mg_buf__new(budget, used, &exact, NULL) != MG_OK) {
        column->values = mg_buf__ref(old->values);
        return;
    }
    memcpy(mg_buf_data(exact), mg_buf_data(old->values), used);
    column->values = exact;
}

enum mg_code mg_chunk__freeze(struct mg_chunk **chunk, const struct mg_schema *schema, uint32_t row_count,
                              struct mg_error *err)
{
    const struct mg_chunk *old = *chunk;
    struct mg_chunk *frozen;
    mg_assert(!old->frozen && row_count > 0 && row_count <= old->row_room);
    MG_TRY(mg_chunk__new(old->column_count, old->budget, &frozen, err));
    frozen->row_room = old->row_room;
    frozen->frozen = true;
    frozen->row_count = frozen->filled = row_count;
    for (uint32_t c = 0; c < old->column_count; c++) {
        struct mg_chunk_column *column = &frozen->columns[c];
        const uint8_t *present = old->columns[c].present ? mg_buf_data(old->columns[c].present) : NULL;
        column->offsets = mg_buf__ref(old->columns[c].offsets);
        if (column->offsets)
            trim_text(&old->columns[c], row_count, old->budget, column);
        else
            column->values = mg_buf__ref(old->columns[c].values);
        enum mg_code code = present ? pack_bits(present, row_count, old->budget, column, err) : MG_OK;
        if (code != MG_OK) {
            mg_chunk__unref(frozen);
            return code;
        }
        note_zone(column, present, schema->columns[c].type, row_count);
    }
    mg_chunk__unref(*chunk);
    *chunk = frozen;
    return MG_OK;
}
