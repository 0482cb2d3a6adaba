/* part_index.c -- the sparse index: in which vector of 1,024 rows a key would be.
 *
 * Shape    one separator a vector: the shortest bytes that are above the key before the vector and not above its first
 *          key. The bytes that all keys of the part share are cut off; the next 8 are compared as a number. Where those
 *          are equal the whole separators decide, which lie behind: thousands of keys with one long beginning cost
 *          comparisons of bytes in memory, and never a look into a block. When all keys have one size and at most 8
 *          bytes of their own, the numbers are all there is to know and nothing lies behind.
 * Errors   MG_CORRUPT from the check; afterwards reads stay inside whatever the bytes are.
 * Format   docs/format/part.md, "Sparse index".
 * Threads  pure functions; a builder belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/part_internal.h"

enum { FORM_NUMBERS = 0, FORM_SEPARATORS = 1 };

size_t mg_part__common(struct mg_slice a, struct mg_slice b)
{
    size_t n = MG_MIN(a.size, b.size), i = 0;

    while (i < n && a.data[i] == b.data[i])
        i++;
    return i;
}

static struct mg_slice behind(struct mg_slice key, size_t shared)
{
    return MG_SLICE(key.data + shared, key.size - shared);
}

/* The order of prefixes never contradicts the order of bytes; it may leave it open. */
static uint64_t prefix_of(struct mg_slice rest)
{
    uint8_t bytes[8] = {0};

    if (rest.size >= 8)
        return mg_load_be64(rest.data);
    for (size_t i = 0; i < rest.size; i++)
        bytes[i] = rest.data[i];
    return mg_load_be64(bytes);
}

/* ---- building ------------------------------------------------------------------------------------------------ */

void mg_part__index_init(struct mg_part__index_builder *builder, struct mg_budget *budget)
{
    *builder = (struct mg_part__index_builder){.budget = budget, .one_size = true};
    mg_buffer_init(&builder->separators, UINT32_MAX);
    mg_buffer_init(&builder->offsets, SIZE_MAX);
}

void mg_part__index_clear(struct mg_part__index_builder *builder)
{
    mg_part__buffer_clear(builder->budget, &builder->separators);
    mg_part__buffer_clear(builder->budget, &builder->offsets);
}

enum mg_code mg_part__index_add(struct mg_part__index_builder *builder, struct mg_slice before, struct mg_slice key,
                                bool starts_vector, struct mg_error *err)
{
    builder->one_size = builder->one_size && (key.size == builder->key_bytes || before.size == 0);
    builder->key_bytes = key.size;
    if (!starts_vector)
        return MG_OK;
    /* The first vector needs none, but that all have the shared bytes makes the rest simple. */
    size_t size = before.size ? mg_part__common(before, key) + 1 : key.size;
    MG_TRY(mg_part__buffer_grow(builder->budget, &builder->offsets, 4, err));
    MG_TRY(mg_part__buffer_grow(builder->budget, &builder->separators, size, err));
    MG_TRY(mg_buffer_append_le32(&builder->offsets, (uint32_t)builder->separators.size, err));
    MG_TRY(mg_buffer_append(&builder->separators, key.data, size, err));
    builder->vector_count++;
    return MG_OK;
}

/* A separator with the shared bytes. */
static struct mg_slice built(const struct mg_part__index_builder *builder, uint32_t vector)
{
    const uint8_t *offsets = builder->offsets.data;
    size_t begin = mg_load_le32(offsets + (size_t)vector * 4);
    bool last = vector + 1 == builder->vector_count;
    size_t end = last ? builder->separators.size : mg_load_le32(offsets + ((size_t)vector + 1) * 4);

    return MG_SLICE(builder->separators.data + begin, end - begin);
}

size_t mg_part__index_bytes_max(const struct mg_part__index_builder *builder)
{
    return MG_PART__INDEX_HEADER + ((size_t)builder->vector_count + 1) * 12 + builder->separators.size;
}

enum mg_code mg_part__index_encode(const struct mg_part__index_builder *builder, struct mg_slice low,
                                   struct mg_slice high, struct mg_buffer *out, struct mg_error *err)
{
    uint32_t count = builder->vector_count;
    size_t shared = mg_part__common(low, high);
    bool numbers = builder->one_size && builder->key_bytes - shared <= 8;

    MG_TRY(mg_buffer_append_le32(out, numbers ? FORM_NUMBERS : FORM_SEPARATORS, err));
    MG_TRY(mg_buffer_append_le32(out, count, err));
    MG_TRY(mg_buffer_append_le32(out, (uint32_t)shared, err));
    MG_TRY(mg_buffer_append_le32(out, 0, err));
    for (uint32_t v = 0; v < count; v++)
        MG_TRY(mg_buffer_append_le64(out, prefix_of(behind(built(builder, v), shared)), err));
    if (numbers)
        return MG_OK;
    uint32_t at = 0;
    MG_TRY(mg_buffer_append_le32(out, at, err));
    for (uint32_t v = 0; v < count; v++) {
        at += (uint32_t)behind(built(builder, v), shared).size;
        MG_TRY(mg_buffer_append_le32(out, at, err));
    }
    for (uint32_t v = 0; v < count; v++) {
        struct mg_slice rest = behind(built(builder, v), shared);
        MG_TRY(mg_buffer_append(out, rest.data, rest.size, err));
    }
    return MG_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static enum mg_code wrong(struct mg_error *err, size_t at, const char *what)
{
    return mg_fail(err, MG_CORRUPT, "byte %zu of the sparse index: %s", at, what);
}

/* count: what the file's row count asks for. */
static enum mg_code check_separators(struct mg_slice bytes, uint32_t count, struct mg_error *err)
{
    size_t offsets_at = MG_PART__INDEX_HEADER + (size_t)count * 8, text_at = offsets_at + ((size_t)count + 1) * 4;

    if (bytes.size < text_at)
        return wrong(err, bytes.size, "it ends before its offsets do");
    uint32_t before = 0;
    for (uint32_t v = 0; v <= count; v++) {
        uint32_t at = mg_load_le32(bytes.data + offsets_at + (size_t)v * 4);
        if (at < before || at > bytes.size - text_at || (v == 0 && at != 0))
            return wrong(err, offsets_at + (size_t)v * 4, "an offset lies outside or falls");
        before = at;
    }
    if (before != bytes.size - text_at)
        return wrong(err, text_at, "its size is not that of its separators");
    return MG_OK;
}

enum mg_code mg_part__index_check(struct mg_slice bytes, uint32_t row_count, size_t shared_max, struct mg_error *err)
{
    uint32_t count = mg_part__vectors(row_count);
    size_t numbers_end = MG_PART__INDEX_HEADER + (size_t)count * 8;

    if (bytes.size < numbers_end)
        return wrong(err, bytes.size, "it is too short for its vectors");
    uint32_t form = mg_load_le32(bytes.data);
    if (form > FORM_SEPARATORS || mg_load_le32(bytes.data + 12) != 0)
        return wrong(err, 0, "its form is not known");
    if (mg_load_le32(bytes.data + 4) != count)
        return wrong(err, 4, "its count of vectors does not fit the rows");
    if (mg_load_le32(bytes.data + 8) > shared_max)
        return wrong(err, 8, "the keys share fewer bytes");
    for (uint32_t v = 1; v < count; v++) {
        const uint8_t *at = bytes.data + MG_PART__INDEX_HEADER + (size_t)v * 8;
        if (mg_load_le64(at) < mg_load_le64(at - 8))
            return wrong(err, (size_t)(at - bytes.data), "separators fall");
    }
    if (form == FORM_SEPARATORS)
        return check_separators(bytes, count, err);
    return bytes.size == numbers_end ? MG_OK : wrong(err, numbers_end, "something follows its end");
}

struct mg_part__index mg_part__index_of(struct mg_slice bytes)
{
    struct mg_part__index index = {
        .vector_count = mg_load_le32(bytes.data + 4),
        .shared = mg_load_le32(bytes.data + 8),
        .prefixes = (const uint64_t *)(const void *)(bytes.data + MG_PART__INDEX_HEADER),
    };

    if (mg_load_le32(bytes.data) == FORM_SEPARATORS) {
        index.offsets = (const uint32_t *)(const void *)(index.prefixes + index.vector_count);
        index.separators = (const uint8_t *)(index.offsets + index.vector_count + 1);
    }
    return index;
}

static inline bool above(const struct mg_part__index *index, uint32_t vector, uint64_t prefix, struct mg_slice rest)
{
    if (index->prefixes[vector] != prefix || !index->offsets)
        return index->prefixes[vector] > prefix;
    uint32_t begin = index->offsets[vector];
    struct mg_slice separator = MG_SLICE(index->separators + begin, index->offsets[vector + 1] - begin);
    return mg_slice_compare(separator, rest) > 0;
}

bool mg_part__index_above(const struct mg_part__index *index, uint32_t vector, struct mg_slice rest)
{
    return above(index, vector, prefix_of(rest), rest);
}

uint32_t mg_part__index_find(const struct mg_part__index *index, struct mg_slice key, uint32_t from)
{
    struct mg_slice rest = behind(key, index->shared);
    uint64_t prefix = prefix_of(rest);
    uint32_t low = from, count = index->vector_count, step = 1;

    while (step < count - low && !above(index, low + step, prefix, rest)) {
        low += step;
        step *= 2;
    }
    uint32_t high = low + MG_MIN(step, count - low); /* above, or the end */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (above(index, middle, prefix, rest))
            high = middle;
        else
            low = middle;
    }
    return low;
}

enum mg_code mg_part__index_separator(const struct mg_part__index *index, uint32_t vector, struct mg_slice low,
                                      struct mg_buffer *out, struct mg_error *err)
{
    uint8_t number[8];

    mg_assert(vector < index->vector_count);
    MG_TRY(mg_buffer_append(out, low.data, index->shared, err));
    if (index->offsets) {
        uint32_t begin = index->offsets[vector];
        return mg_buffer_append(out, index->separators + begin, index->offsets[vector + 1] - begin, err);
    }
    mg_store_be64(number, index->prefixes[vector]);
    return mg_buffer_append(out, number, MG_MIN(low.size - index->shared, sizeof number), err);
}
