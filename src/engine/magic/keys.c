/* keys.c -- keys as the index needs them: hashes of whole columns, and equality without encoding.
 *
 * Two rows have one key exactly when their encodings by column/key.h are equal; here the same is decided on the values:
 * numbers by their bytes, floats with one zero and one NaN, text without trailing blanks under PAD_SPACE.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/magic_internal.h"

static uint64_t double_bits(double v)
{
    uint64_t bits;
    if (isnan(v))
        v = NAN;
    if (v == 0)
        v = 0;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static struct mg_slice key_text(struct mg_slice text, enum mg_collation collation)
{
    if (collation == MG_COLLATION_PAD_SPACE)
        while (text.size && text.data[text.size - 1] == ' ')
            text.size--;
    return text;
}

static inline uint64_t mix(uint64_t h, uint64_t v) { return mg_hash_u64(h * 0x9e3779b97f4a7c15u ^ v); }

static void hash_column(const struct mg_vector *v, uint64_t *hashes)
{
    uint32_t count = v->row_count;
#define EACH(expression)                 \
    for (uint32_t i = 0; i < count; i++) \
    hashes[i] = mix(hashes[i], expression)
    switch (v->type.id) {
    case MG_TYPE_FLOAT32: EACH(double_bits((double)((const float *)v->values)[i])); return;
    case MG_TYPE_FLOAT64: EACH(double_bits(((const double *)v->values)[i])); return;
    case MG_TYPE_DECIMAL:
        EACH(((const uint64_t *)v->values)[2 * (size_t)i] ^ ((const uint64_t *)v->values)[2 * (size_t)i + 1] << 1);
        return;
    case MG_TYPE_UTF8:
        for (uint32_t i = 0; i < count; i++) {
            struct mg_slice text = key_text(mg_vector_text(v, i), v->type.collation);
            hashes[i] = mix(hashes[i], mg_hash(text.data, text.size, 0));
        }
        return;
    default: break;
    }
    switch (mg_type_width(v->type.id)) {
    case 1: EACH(((const uint8_t *)v->values)[i]); break;
    case 2: EACH(((const uint16_t *)v->values)[i]); break;
    case 4: EACH(((const uint32_t *)v->values)[i]); break;
    default: EACH(((const uint64_t *)v->values)[i]); break;
    }
#undef EACH
}

void mg_keys__hash(const struct mg_vector *const *vectors, uint32_t key_count, uint64_t seed, uint64_t *hashes,
                   uint32_t row_count)
{
    for (uint32_t i = 0; i < row_count; i++)
        hashes[i] = seed;
    for (uint32_t k = 0; k < key_count; k++) {
        mg_assert(vectors[k]->row_count == row_count);
        hash_column(vectors[k], hashes);
    }
}

static bool values_equal(const struct mg_vector *a, uint32_t a_row, const struct mg_vector *b, uint32_t b_row)
{
    switch (a->type.id) {
    case MG_TYPE_FLOAT32:
        return double_bits((double)((const float *)a->values)[a_row]) ==
               double_bits((double)((const float *)b->values)[b_row]);
    case MG_TYPE_FLOAT64:
        return double_bits(((const double *)a->values)[a_row]) == double_bits(((const double *)b->values)[b_row]);
    case MG_TYPE_UTF8:
        return mg_slice_equal(key_text(mg_vector_text(a, a_row), a->type.collation),
                              key_text(mg_vector_text(b, b_row), a->type.collation));
    default: {
        uint32_t width = mg_type_width(a->type.id);
        return memcmp((const uint8_t *)a->values + (size_t)a_row * width,
                      (const uint8_t *)b->values + (size_t)b_row * width, width) == 0;
    }
    }
}

bool mg_keys__equal(const struct mg_vector *const *a, uint32_t a_row, const struct mg_vector *const *b, uint32_t b_row,
                    uint32_t key_count)
{
    for (uint32_t k = 0; k < key_count; k++)
        if (!values_equal(a[k], a_row, b[k], b_row))
            return false;
    return true;
}

void mg_keys__of_chunk(const struct mg_chunk *chunk, const struct mg_schema *schema, uint32_t row_count,
                       struct mg_vector *vectors)
{
    for (uint32_t k = 0; k < schema->key_count; k++) {
        const struct mg_chunk_column *column = &chunk->columns[schema->key_columns[k]];
        vectors[k] = (struct mg_vector){
            .type = schema->columns[schema->key_columns[k]].type,
            .row_count = row_count,
            .values = mg_buf_data(column->values),
            .offsets = column->offsets ? (const int32_t *)mg_buf_data(column->offsets) : NULL,
        };
    }
}
