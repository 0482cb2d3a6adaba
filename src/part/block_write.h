/* block_write.h -- a block under construction: shared by the files that encode, each of which has one class of types.
 *
 * A class's file fills draft (statistics and candidates of each vector), then writes the vectors in order.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_BLOCK_WRITE_H
#define MG_PART_BLOCK_WRITE_H

#include "part/block_internal.h"

/* Borrows all it points to. */
struct mg_block__writer {
    const struct mg_vector *rows;
    struct mg_arena *scratch;
    struct mg_buffer *out;
    size_t start; /* of the block in out */
    uint32_t vector_count;
    struct mg_block_vector headers[MG_BLOCK_VECTORS]; /* null_count is set from the beginning */
    uint32_t dictionary, symbols;                     /* offsets, 0 until written */
    struct mg_block_info *info;                       /* the class's file sets zone and bounds */
};

static inline uint32_t mg_block__rows_of(const struct mg_block__writer *writer, uint32_t vector)
{
    return MG_MIN(writer->rows->row_count - vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS);
}
static inline bool mg_block__only_nulls(const struct mg_block__writer *writer, uint32_t vector)
{
    return writer->headers[vector].null_count == mg_block__rows_of(writer, vector);
}

/* Each starts at the next multiple of 8. A vector's data follow its header: begin writes the bits of those present. */
MG_MUST_CHECK enum mg_code mg_block__begin_vector(struct mg_block__writer *writer, uint32_t vector,
                                                  enum mg_encoding encoding, uint32_t width, uint64_t base,
                                                  struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__append(struct mg_block__writer *writer, const void *bytes, size_t size,
                                            struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__append_packed(struct mg_block__writer *writer, const uint64_t *numbers,
                                                   uint32_t count, uint32_t width, struct mg_error *err);

MG_MUST_CHECK enum mg_code mg_block__encode_ints(struct mg_block__writer *writer, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__encode_floats(struct mg_block__writer *writer, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__encode_texts(struct mg_block__writer *writer, struct mg_error *err);

#endif
