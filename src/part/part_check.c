/* part_check.c -- a whole part, read past the cache: every checksum, every value against what the file says of it.
 *
 * Per block its bounds; per column its sketch; the keys' order, the filter's answer and the index's separators for each
 * of them; lowest and highest key.
 * Memory   the key columns of one row group and one column more, reserved in the part's budget.
 * Errors   MG_CORRUPT names the file and the offset of the piece.
 * Threads  a check belongs to one thread; any number at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/hash.h"
#include "part/part_internal.h"

struct check {
    struct mg_part *part;
    struct mg_buffer piece, filter, index_bytes; /* as they lie in the file */
    struct mg_part__index index;
    struct mg_sketch *sketches; /* per column, of the rows so far */
    uint64_t *plain_bytes;
    struct mg_part__rows keys[MG_KEY_COLUMNS_MAX], other;
    struct mg_vector key_vectors[MG_KEY_COLUMNS_MAX];
    struct mg_buffer encoded, offsets, last_key;
    size_t reserved_bytes;
};

/* Of a piece, by its number. */
#define damaged(check, number, err, ...) \
    mg_corrupt(err, (check)->part->path, (long long)mg_part__piece((check)->part, number)->offset, __VA_ARGS__)

static uint32_t column_count(const struct check *check) { return check->part->footer.schema->column_count; }

/* ---- memory -------------------------------------------------------------------------------------------------- */

static enum mg_code init(struct check *check, struct mg_part *part, struct mg_error *err)
{
    struct mg_buffer *buffers[] = {&check->piece,   &check->filter,  &check->index_bytes,
                                   &check->encoded, &check->offsets, &check->last_key};
    size_t columns = part->footer.schema->column_count;
    size_t bytes = columns * (sizeof *check->sketches + sizeof *check->plain_bytes);

    *check = (struct check){.part = part};
    for (size_t i = 0; i < MG_COUNT_OF(buffers); i++)
        mg_buffer_init(buffers[i], SIZE_MAX / 4);
    for (uint32_t k = 0; k < MG_KEY_COLUMNS_MAX; k++)
        mg_part__rows_init(&check->keys[k], part->budget);
    mg_part__rows_init(&check->other, part->budget);
    MG_TRY(mg_budget_reserve(part->budget, bytes, err));
    check->reserved_bytes = bytes;
    check->sketches = calloc(columns, sizeof *check->sketches);
    check->plain_bytes = calloc(columns, sizeof *check->plain_bytes);
    return check->sketches && check->plain_bytes ? MG_OK
                                                 : mg_fail(err, MG_NO_MEMORY, "no memory to check %s", part->path);
}

static void clear(struct check *check)
{
    struct mg_budget *budget = check->part->budget;
    struct mg_buffer *buffers[] = {&check->piece,   &check->filter,  &check->index_bytes,
                                   &check->encoded, &check->offsets, &check->last_key};

    for (size_t i = 0; i < MG_COUNT_OF(buffers); i++)
        mg_part__buffer_clear(budget, buffers[i]);
    for (uint32_t k = 0; k < MG_KEY_COLUMNS_MAX; k++)
        mg_part__rows_clear(&check->keys[k]);
    mg_part__rows_clear(&check->other);
    free(check->sketches);
    free(check->plain_bytes);
    mg_budget_release(budget, check->reserved_bytes);
}

/* A piece into a buffer: its room of bytes, the size of which is the piece's. */
static enum mg_code read_piece(struct check *check, uint32_t number, struct mg_buffer *out, struct mg_error *err)
{
    mg_buffer_reset(out);
    MG_TRY(mg_part__buffer_grow(check->part->budget, out, mg_part__piece_room(check->part, number), err));
    MG_TRY(mg_part__load(check->part, number, out->data, err));
    out->size = mg_part__piece(check->part, number)->size;
    return MG_OK;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

static enum mg_code check_bounds(struct check *check, uint32_t number, const struct mg_vector *v, struct mg_error *err)
{
    const struct mg_block_info *info = &check->part->footer.blocks[number].info;

    if (v->null_count != info->null_count)
        return damaged(check, number, err, "%u rows are NULL, %u are counted", v->null_count, info->null_count);
    for (uint32_t row = 0; info->has_zone && row < v->row_count; row++) {
        struct mg_value value = mg_vector_value(v, row);
        if (value.is_null)
            continue;
        value.type = info->low.type;
        if (mg_value_compare(&value, &info->low) < 0 || mg_value_compare(&value, &info->high) > 0)
            return damaged(check, number, err, "row %u of the block is not within its bounds", row);
    }
    return MG_OK;
}

static enum mg_code check_column(struct check *check, uint32_t group, uint32_t column, struct mg_part__rows *rows,
                                 struct mg_vector *out, struct mg_error *err)
{
    uint32_t number = group * column_count(check) + column;

    MG_TRY(read_piece(check, number, &check->piece, err));
    const struct mg_block *block = mg_part__loaded_block(check->part, number, check->piece.data);
    enum mg_code code = mg_part__rows_decode(rows, block, 0, block->vector_count, out, err);
    if (code == MG_CORRUPT)
        return damaged(check, number, err, "%s", err->text);
    MG_TRY(code);
    out->type = check->part->footer.schema->columns[column].type;
    mg_sketch_add(&check->sketches[column], out);
    check->plain_bytes[column] += mg_part__plain_bytes(out);
    return check_bounds(check, number, out, err);
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static enum mg_code check_key(struct check *check, uint32_t row, struct mg_slice before, struct mg_slice key,
                              uint32_t block, struct mg_error *err)
{
    const struct mg_part__footer *footer = &check->part->footer;
    uint64_t hash = mg_part_key_hash(key), lines = footer->filter.size / MG_PART__LINE_BYTES;
    const uint64_t *words = (const uint64_t *)(const void *)check->filter.data;
    uint32_t shared = check->index.shared, vector = row / MG_VECTOR_ROWS;

    if (row == 0 ? !mg_slice_equal(key, footer->low) : mg_slice_compare(before, key) >= 0)
        return damaged(check, block, err, "the key of row %u is not above the one before it", row);
    if (mg_slice_compare(key, footer->high) > 0 || (row + 1 == footer->row_count && !mg_slice_equal(key, footer->high)))
        return damaged(check, block, err, "the key of row %u is not within the part's", row);
    if (!mg_part__filter_test(words + mg_part__filter_line(lines, hash) * MG_PART__LINE_WORDS, hash))
        return damaged(check, mg_part__filter_piece(check->part), err, "the filter does not know the key of row %u",
                       row);
    bool outside = mg_part__index_above(&check->index, vector, MG_SLICE(key.data + shared, key.size - shared));
    if (row % MG_VECTOR_ROWS == 0 && row > 0)
        outside |= !mg_part__index_above(&check->index, vector, MG_SLICE(before.data + shared, before.size - shared));
    if (outside)
        return damaged(check, mg_part__index_piece(check->part), err, "row %u is on the wrong side of its separator",
                       row);
    return MG_OK;
}

static enum mg_code encode_keys(struct check *check, uint32_t row_count, struct mg_error *err)
{
    const struct mg_vector *vectors[MG_KEY_COLUMNS_MAX];
    uint32_t key_count = check->part->footer.schema->key_count;
    size_t bytes = 0;

    for (uint32_t k = 0; k < key_count; k++) {
        const struct mg_vector *v = vectors[k] = &check->key_vectors[k];
        bytes += (size_t)row_count * MG_MAX(mg_type_width(v->type.id), 2);
        bytes += v->type.id == MG_TYPE_UTF8 ? (size_t)(v->offsets[row_count] - v->offsets[0]) * 2 : 0;
    }
    mg_buffer_reset(&check->encoded);
    MG_TRY(mg_part__buffer_grow(check->part->budget, &check->encoded, bytes, err));
    MG_TRY(mg_part__buffer_grow(check->part->budget, &check->offsets, ((size_t)row_count + 1) * 4, err));
    return mg_key_encode_rows(vectors, key_count, row_count, &check->encoded, (uint32_t *)(void *)check->offsets.data,
                              err);
}

static enum mg_code check_keys(struct check *check, uint32_t group, struct mg_error *err)
{
    const struct mg_schema *schema = check->part->footer.schema;
    uint32_t row_count = mg_part__group_rows(check->part->footer.row_count, group);
    uint32_t block = group * schema->column_count + schema->key_columns[0];
    struct mg_slice before = mg_buffer_slice(&check->last_key);

    enum mg_code code = encode_keys(check, row_count, err);
    if (code == MG_INVALID || code == MG_TOO_BIG)
        return damaged(check, block, err, "%s", err->text);
    MG_TRY(code);
    const uint32_t *offsets = (const uint32_t *)(const void *)check->offsets.data;
    for (uint32_t i = 0; i < row_count; i++) {
        struct mg_slice key = MG_SLICE(check->encoded.data + offsets[i], offsets[i + 1] - offsets[i]);
        MG_TRY(check_key(check, group * MG_BLOCK_ROWS + i, before, key, block, err));
        before = key;
    }
    mg_buffer_reset(&check->last_key);
    MG_TRY(mg_part__buffer_grow(check->part->budget, &check->last_key, before.size, err));
    return mg_buffer_append(&check->last_key, before.data, before.size, err);
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static enum mg_code check_group(struct check *check, uint32_t group, struct mg_error *err)
{
    const struct mg_schema *schema = check->part->footer.schema;

    for (uint32_t k = 0; k < schema->key_count; k++)
        MG_TRY(check_column(check, group, schema->key_columns[k], &check->keys[k], &check->key_vectors[k], err));
    MG_TRY(check_keys(check, group, err));
    for (uint32_t c = 0; c < schema->column_count; c++) {
        struct mg_vector v;
        if (!mg_schema_is_key(schema, c))
            MG_TRY(check_column(check, group, c, &check->other, &v, err));
    }
    return MG_OK;
}

static enum mg_code check_all(struct check *check, struct mg_error *err)
{
    const struct mg_part__footer *footer = &check->part->footer;

    MG_TRY(read_piece(check, mg_part__filter_piece(check->part), &check->filter, err));
    MG_TRY(read_piece(check, mg_part__index_piece(check->part), &check->index_bytes, err));
    check->index = mg_part__index_of(mg_buffer_slice(&check->index_bytes));
    for (uint32_t group = 0; group < footer->group_count; group++)
        MG_TRY(check_group(check, group, err));
    for (uint32_t c = 0; c < column_count(check); c++)
        if (memcmp(&check->sketches[c], &footer->columns[c].sketch, sizeof(struct mg_sketch)) != 0 ||
            check->plain_bytes[c] != footer->columns[c].plain_bytes)
            return mg_corrupt(err, check->part->path, (long long)check->part->footer_offset,
                              "the statistics of column %u are not those of its rows", c);
    return MG_OK;
}

/* Footer and tail as they lie in the file now: they were read when the part was opened. */
static enum mg_code check_footer(struct mg_part *part, struct mg_error *err)
{
    size_t size = part->file_bytes - part->footer_offset;
    uint8_t bytes[4096];

    for (size_t done = 0, n; done < size; done += n) {
        n = MG_MIN(size - done, sizeof bytes);
        MG_TRY(mg_file_pread(part->file, bytes, n, part->footer_offset + done, err));
        for (size_t i = 0; i < n; i++)
            if (bytes[i] != part->footer_bytes[done + i])
                return mg_corrupt(err, part->path, (long long)(part->footer_offset + done + i),
                                  "the footer is not what it was when the part was opened");
    }
    return MG_OK;
}

enum mg_code mg_part_check(struct mg_part *part, struct mg_error *err)
{
    struct check check;
    struct mg_error inner = MG_ERROR_INIT; /* the rest wants texts to put into others */

    MG_TRY(check_footer(part, err));
    enum mg_code code = init(&check, part, &inner);
    if (code == MG_OK)
        code = check_all(&check, &inner);
    clear(&check);
    if (code != MG_OK && err)
        *err = inner;
    return code;
}
