/* range.c -- which rows of a chunk lie in a range of keys: a whole chunk by its lowest and highest key, rows by
 * comparing.
 *
 * A key of one integer column is compared as a number: a bound, which is bytes, becomes the least number whose key is
 * not below it. Other keys are encoded.
 * Errors   MG_NO_MEMORY.
 * Threads  pure functions.
 * Source   docs/format/key.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { KEYS_BYTES_MAX = 1 << 30 };

static bool is_integer(enum mg_type_id id)
{
    return (id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64) || (id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP);
}

static bool is_signed(enum mg_type_id id)
{
    return (id >= MG_TYPE_INT8 && id <= MG_TYPE_INT64) || (id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP);
}

/* The least key of that width, as a number, that is not below the bound; false when every key is below. */
static bool least_key(struct mg_slice bound, uint32_t width, uint64_t *out)
{
    uint64_t v = 0, most = width == 8 ? UINT64_MAX : ((uint64_t)1 << (8 * width)) - 1;
    for (uint32_t i = 0; i < width; i++)
        v = v << 8 | (i < bound.size ? bound.data[i] : 0);
    if (bound.size > width) { /* a key that is a prefix of the bound is below it */
        if (v == most)
            return false;
        v++;
    }
    *out = v;
    return true;
}

/* A value as the number that its key bytes are. */
static inline uint64_t key_number(const void *values, uint32_t row, uint32_t width, uint64_t flip)
{
    switch (width) {
    case 1: return ((const uint8_t *)values)[row] ^ flip;
    case 2: return ((const uint16_t *)values)[row] ^ flip;
    case 4: return ((const uint32_t *)values)[row] ^ flip;
    default: return ((const uint64_t *)values)[row] ^ flip;
    }
}

static void filter_integers(const struct mg_vector *v, uint32_t row_count, struct mg_key_range range, uint64_t *mask)
{
    uint32_t width = mg_type_width(v->type.id);
    uint64_t flip = is_signed(v->type.id) ? (uint64_t)1 << (8 * width - 1) : 0;
    uint64_t low = 0, high = UINT64_MAX; /* inclusive */
    bool none = range.low.size && !least_key(range.low, width, &low);
    if (range.high.size && least_key(range.high, width, &high))
        none |= high-- == 0; /* no key is below 0 */
    for (uint32_t i = 0; i < row_count; i += 64) {
        uint32_t n = MG_MIN(row_count - i, 64u);
        uint64_t word = 0;
        for (uint32_t j = 0; !none && j < n; j++) {
            uint64_t key = key_number(v->values, i + j, width, flip);
            word |= (uint64_t)(key >= low && key <= high) << j;
        }
        mask[i / 64] &= word;
    }
}

static enum mg_code filter_encoded(const struct mg_vector *const *keys, uint32_t key_count, uint32_t row_count,
                                   struct mg_key_range range, uint64_t *mask, struct mg_arena *scratch,
                                   struct mg_error *err)
{
    uint32_t *offsets = mg_arena_array(scratch, uint32_t, (size_t)row_count + 1);
    if (!offsets)
        return mg_arena_fail(scratch, err);
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, KEYS_BYTES_MAX);
    enum mg_code code = mg_key_encode_rows(keys, key_count, row_count, &bytes, offsets, err);
    for (uint32_t i = 0; code == MG_OK && i < row_count; i++)
        if (!mg_key_in_range(MG_SLICE(bytes.data + offsets[i], offsets[i + 1] - offsets[i]), range))
            mask[i / 64] &= ~((uint64_t)1 << (i % 64));
    mg_buffer_clear(&bytes);
    return code;
}

enum mg_code mg_range__filter(struct mg_key_range range, const struct mg_vector *const *keys, uint32_t key_count,
                              uint32_t row_count, uint64_t *mask, struct mg_arena *scratch, struct mg_error *err)
{
    if (key_count == 1 && is_integer(keys[0]->type.id)) {
        filter_integers(keys[0], row_count, range, mask);
        return MG_OK;
    }
    return filter_encoded(keys, key_count, row_count, range, mask, scratch, err);
}

/* All keys that begin with the encoding of low are at or above the range's end. */
static bool is_above(const struct mg_value *low, struct mg_key_range range, struct mg_buffer *key)
{
    mg_buffer_reset(key);
    return range.high.size && mg_key_encode_values(low, 1, key, NULL) == MG_OK &&
           mg_slice_compare(mg_buffer_slice(key), range.high) >= 0;
}

/* All keys that begin with the encoding of high, or something less, are below the range. */
static bool is_below(const struct mg_value *high, struct mg_key_range range, struct mg_buffer *key)
{
    mg_buffer_reset(key);
    return range.low.size && mg_key_encode_values(high, 1, key, NULL) == MG_OK &&
           memcmp(key->data, range.low.data, MG_MIN(key->size, range.low.size)) < 0;
}

bool mg_range__may_hold(struct mg_key_range range, const struct mg_chunk *chunk, const struct mg_schema *schema)
{
    const struct mg_chunk_column *first = &chunk->columns[schema->key_columns[0]];
    if (!chunk->frozen || !first->has_zone || (range.low.size == 0 && range.high.size == 0))
        return true;
    struct mg_buffer key;
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    bool outside = is_above(&first->low, range, &key) || is_below(&first->high, range, &key);
    mg_buffer_clear(&key);
    return !outside;
}
