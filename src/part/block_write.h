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

/* Where the next bytes will lie; MG_TOO_BIG when that is beyond 4 GiB. */
MG_MUST_CHECK enum mg_code mg_block__place(const struct mg_block__writer *writer, uint32_t *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__pad(struct mg_block__writer *writer, struct mg_error *err);

/* Packed numbers with exceptions: what they take with that width, and the width that takes least. */
struct mg_block__patch {
    uint32_t width, exception_count, exception_bytes;
    size_t bytes;
};
struct mg_block__patch mg_block__best_patch(const uint64_t *numbers, uint32_t count);
MG_MUST_CHECK enum mg_code mg_block__append_patched(struct mg_block__writer *writer, const uint64_t *numbers,
                                                    uint32_t count, const struct mg_block__patch *patch,
                                                    struct mg_error *err);

/* ---- dictionaries -------------------------------------------------------------------------------------------- */

/* Lives in the scratch arena; count 0: there is none. */
struct mg_block__dictionary {
    uint32_t count;
    const uint64_t *numbers;      /* sorted: as int64, or as floats with their bits deciding between equal ones */
    const struct mg_slice *texts; /* sorted bytewise; NULL: numbers */
    size_t text_bytes;
    const uint32_t *codes; /* of each row */
};
/* Of all rows but those of vectors `without`; none when there are more than count_max different ones. */
MG_MUST_CHECK enum mg_code mg_block__number_dictionary(struct mg_block__writer *writer, const uint64_t *numbers,
                                                       const bool *without, uint32_t count_max,
                                                       struct mg_block__dictionary *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__text_dictionary(struct mg_block__writer *writer, uint32_t count_max,
                                                     struct mg_block__dictionary *out, struct mg_error *err);
size_t mg_block__dictionary_bytes(const struct mg_block__dictionary *dictionary);
/* turn: XORed to each number. */
MG_MUST_CHECK enum mg_code mg_block__write_dictionary(struct mg_block__writer *writer,
                                                      const struct mg_block__dictionary *dictionary, uint64_t turn,
                                                      struct mg_error *err);
/* A vector's rows as codes. */
struct mg_block__codes {
    uint32_t first, width;
    size_t bytes; /* packed */
};
struct mg_block__codes mg_block__codes_of(const struct mg_block__dictionary *dictionary, uint32_t vector,
                                          uint32_t rows);
MG_MUST_CHECK enum mg_code mg_block__write_codes(struct mg_block__writer *writer,
                                                 const struct mg_block__dictionary *dictionary, uint32_t vector,
                                                 uint64_t text_bytes, struct mg_error *err);

/* ---- runs ---------------------------------------------------------------------------------------------------- */

uint32_t mg_block__count_runs(const uint64_t *numbers, uint32_t count);
/* Bytes of runs whose values take width bits (8, 16, 32, 64). */
static inline size_t mg_block__run_bytes(uint32_t run_count, uint32_t width)
{
    return 8 + mg_pad8(run_count * 2) + mg_pad8((uint64_t)run_count * width / 8);
}
/* base is subtracted from each number and written with turn XORed to it. */
MG_MUST_CHECK enum mg_code mg_block__write_runs(struct mg_block__writer *writer, uint32_t vector,
                                                const uint64_t *numbers, uint32_t width, uint64_t base, uint64_t turn,
                                                struct mg_error *err);

/* ---- classes ------------------------------------------------------------------------------------------------- */

MG_MUST_CHECK enum mg_code mg_block__encode_ints(struct mg_block__writer *writer, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__encode_floats(struct mg_block__writer *writer, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_block__encode_texts(struct mg_block__writer *writer, struct mg_error *err);

#endif
