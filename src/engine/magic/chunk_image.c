/* chunk_image.c -- a frozen chunk's column as a block, for scans: encoded as in a part, so that conditions are tested
 * on packed numbers and codes, and sums and groups take what is packed.
 *
 * Writers pay nothing: a reader makes the image of a column that he tests or adds up, and only when it was asked for
 * before, since making it takes about ten times as long as reading the column. Rows of a frozen chunk never change,
 * and the image goes with the chunk; if two make it at once, one is thrown away.
 * Worth it  texts that have a dictionary, numbers that take at most three quarters of their width; what is not gets the
 *           image `none`, and is not tried again.
 * Memory    a quarter of the column, about, in the chunk's budget, and only while a sixteenth of that is free: writers
 *           come first.
 * Threads   any; an image is immutable once the chunk points to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum {
    ASKED_BEFORE = 1, /* so often, before it is made */
    SLACK = 64,       /* that kernels may read behind a block */
    ARENA_BYTES_MAX = 64 << 20,
    TEXT_BYTES_MAX = 4 << 20, /* of a chunk's column: longer texts do not repeat */
};

static struct mg_chunk_image none;

struct mg_vector mg_chunk__vector(const struct mg_chunk *chunk, uint32_t place, struct mg_type type)
{
    const struct mg_chunk_column *column = &chunk->columns[place];
    return (struct mg_vector){
        .type = type,
        .row_count = chunk->row_count,
        .null_count = column->null_count,
        .validity = column->bits ? mg_buf_data(column->bits) : NULL,
        .values = mg_buf_data(column->values),
        .offsets = column->offsets ? (const int32_t *)mg_buf_data(column->offsets) : NULL,
    };
}

static size_t plain_bytes(const struct mg_vector *rows)
{
    uint32_t width = mg_type_width(rows->type.id);
    return width ? (size_t)rows->row_count * width : (size_t)rows->offsets[rows->row_count];
}

/* One vector, encoded to see how. */
static bool texts_repeat(const struct mg_vector *rows, struct mg_arena *scratch, struct mg_buffer *bytes)
{
    struct mg_vector first = *rows;
    struct mg_block_info info;
    struct mg_block block;
    first.row_count = MG_MIN(rows->row_count, (uint32_t)MG_VECTOR_ROWS);
    if (plain_bytes(rows) > TEXT_BYTES_MAX || mg_block_encode(&first, scratch, bytes, &info, NULL) != MG_OK ||
        mg_block_open(rows->type, MG_SLICE(bytes->data, bytes->size), &block, NULL) != MG_OK)
        return false;
    enum mg_encoding encoding = mg_block_vector_encoding(&block, 0);
    mg_buffer_reset(bytes);
    return encoding == MG_ENCODING_DICTIONARY || encoding == MG_ENCODING_CONSTANT;
}

/* The encoded rows; false: they are not worth it, or there is no memory. */
static bool encode(const struct mg_vector *rows, struct mg_arena *scratch, struct mg_buffer *bytes,
                   struct mg_block_info *info)
{
    bool is_text = rows->type.id == MG_TYPE_UTF8;
    if (is_text && !texts_repeat(rows, scratch, bytes))
        return false;
    if (mg_block_encode(rows, scratch, bytes, info, NULL) != MG_OK)
        return false;
    return is_text || bytes->size <= plain_bytes(rows) / 4 * 3;
}

/* NULL: no memory. */
static struct mg_chunk_image *keep(const struct mg_chunk *chunk, const struct mg_buffer *bytes, struct mg_type type,
                                   const struct mg_block_info *info)
{
    struct mg_buf *kept;
    if (mg_buf__new(chunk->budget, sizeof(struct mg_chunk_image) + bytes->size + SLACK, &kept, NULL) != MG_OK)
        return NULL;
    struct mg_chunk_image *image = (void *)mg_buf_data(kept);
    uint8_t *to = mg_buf_data(kept) + sizeof *image;
    memcpy(to, bytes->data, bytes->size);
    memset(to + bytes->size, 0, SLACK);
    *image = (struct mg_chunk_image){.memory = kept, .info = *info};
    image->info.has_zone = info->has_zone && type.id != MG_TYPE_UTF8; /* its texts are the arena's */
    if (mg_block_open(type, MG_SLICE(to, bytes->size), &image->block, NULL) == MG_OK)
        return image;
    mg_buf__unref(kept);
    return NULL;
}

static struct mg_chunk_image *make(const struct mg_chunk *chunk, uint32_t place, struct mg_type type)
{
    struct mg_vector rows = mg_chunk__vector(chunk, place, type);
    struct mg_block_info info;
    if (mg_budget_left(chunk->budget) / 16 <= plain_bytes(&rows))
        return NULL;
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer bytes;
    struct mg_arena scratch;
    mg_buffer_init(&bytes, ARENA_BYTES_MAX);
    mg_arena_init(&scratch, ARENA_BYTES_MAX);
    bool worth = encode(&rows, &scratch, &bytes, &info);
    struct mg_chunk_image *image = worth ? keep(chunk, &bytes, type, &info) : &none;
    mg_arena_clear(&scratch);
    return image;
}

const struct mg_chunk_image *mg_chunk_image__of(struct mg_chunk *chunk, uint32_t place, struct mg_type type)
{
    struct mg_chunk_column *column = &chunk->columns[place];
    struct mg_chunk_image *image = atomic_load_explicit(&column->image, memory_order_acquire), *before = NULL;
    if (image)
        return image == &none ? NULL : image;
    if (!chunk->frozen || atomic_fetch_add_explicit(&column->image_asked, 1, memory_order_relaxed) < ASKED_BEFORE)
        return NULL;
    image = make(chunk, place, type);
    if (!image || atomic_compare_exchange_strong_explicit(&column->image, &before, image, memory_order_acq_rel,
                                                          memory_order_acquire))
        return image == &none ? NULL : image;
    mg_chunk_image__free(image);
    return before == &none ? NULL : before;
}

void mg_chunk_image__free(struct mg_chunk_image *image)
{
    if (image && image != &none)
        mg_buf__unref(image->memory);
}
