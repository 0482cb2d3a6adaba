/* block.h -- one column's run of up to 65,536 rows, encoded in vectors of 1,024 rows.
 *
 * The unit of storing, checking, caching and skipping. Each vector has its own encoding, chosen for its values, so that
 * one row is reached by one header and one vector. The block's bytes stand for themselves: dictionary and symbol table
 * lie in them.
 * Decoding goes straight into Arrow's layout, or, for filters and sums, stays with the encoded values. What a kernel
 * reads of a block was checked: bytes of any content give MG_CORRUPT or some values, never a read or write outside.
 * Format   docs/format/part.md.
 * Threads  an open block is immutable and may be used by several threads; scratch and destinations belong to one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_BLOCK_H
#define MG_PART_BLOCK_H

#include "base/arena.h"
#include "base/buffer.h"
#include "column/batch.h"
#include "column/type.h"

enum {
    MG_VECTOR_ROWS = 1024,
    MG_VECTOR_WORDS = MG_VECTOR_ROWS / 64, /* of a mask */
    MG_BLOCK_VECTORS = 64,
    MG_BLOCK_ROWS = MG_VECTOR_ROWS * MG_BLOCK_VECTORS,
};

/* Numbers are stored. */
enum mg_encoding {
    MG_ENCODING_PLAIN = 0,      /* Arrow's layout */
    MG_ENCODING_CONSTANT = 1,   /* one value (or NULL) for all rows */
    MG_ENCODING_FRAME = 2,      /* base + bit-packed distances; integers, dates, times, decimals of any width */
    MG_ENCODING_DELTA = 3,      /* first + bit-packed differences; rising integers */
    MG_ENCODING_RUNS = 4,       /* values and their run lengths */
    MG_ENCODING_DICTIONARY = 5, /* bit-packed codes into the block's dictionary, which is sorted: codes compare as
                                   their values do (texts bytewise) */
    MG_ENCODING_ALP = 6,        /* floats as decimals, with exceptions */
    MG_ENCODING_FSST = 7,       /* texts by the block's table of symbols */
};

/* What the encoder learnt of a block, for footers and statistics. */
struct mg_block_info {
    uint32_t row_count, null_count;
    bool has_zone;             /* low and high hold: some row is not NULL, and no float is NaN */
    struct mg_value low, high; /* bounds of the values that are not NULL by mg_value_compare; texts are cut to
                                  MG_ZONE_TEXT_MAX bytes (high rounded up) and live in the caller's arena */
};
enum { MG_ZONE_TEXT_MAX = 32 };

/* Append the encoded form of rows (1 to MG_BLOCK_ROWS of them) to out; it is a multiple of 8 bytes. scratch is used and
 * not reset; zone texts live in it. */
MG_MUST_CHECK enum mg_code mg_block_encode(const struct mg_vector *rows, struct mg_arena *scratch,
                                           struct mg_buffer *out, struct mg_block_info *info, struct mg_error *err);

/* An encoded block, opened. Borrows its bytes, which are aligned to 8 and may be read up to 64 bytes beyond their end.
 */
struct mg_block {
    struct mg_type type;
    uint32_t row_count, vector_count, null_count;
    struct mg_slice bytes;
    const struct mg_block_vector *vectors; /* vector_count of them */
    const struct mg_block_dictionary *dictionary;
    uint64_t internal[8]; /* block.c's: places of dictionary and symbols */
};

/* Check the headers of a block of that type; MG_CORRUPT says what is wrong at which offset. */
MG_MUST_CHECK enum mg_code mg_block_open(struct mg_type type, struct mg_slice bytes, struct mg_block *out,
                                         struct mg_error *err);
static inline uint32_t mg_block_vector_rows(const struct mg_block *block, uint32_t vector)
{
    return vector + 1 < block->vector_count ? MG_VECTOR_ROWS : block->row_count - vector * MG_VECTOR_ROWS;
}
uint32_t mg_block_vector_nulls(const struct mg_block *block, uint32_t vector);
enum mg_encoding mg_block_vector_encoding(const struct mg_block *block, uint32_t vector);

/* Where decoded rows go: Arrow's layout, from row `at` of these buffers on. */
struct mg_block_dest {
    void *values;      /* fixed width: room for all rows and 64 bytes more */
    uint8_t *validity; /* bits from bit `at` on are written when the vector has NULLs, else set; NULL: the caller knows
                          that there are none */
    int32_t *offsets;  /* UTF8: offsets[at] holds where the next text begins; offsets[at + 1..] are written */
    uint8_t *text;     /* UTF8: at offsets */
    size_t text_room;  /* bytes of text, with 64 more than texts take */
};
/* Bytes of the texts of vectors [first, first + count), an upper bound that is cheap. */
size_t mg_block_text_bytes(const struct mg_block *block, uint32_t first, uint32_t count);
/* Decode whole vectors [first, first + count) to rows [at, ...). The value of a NULL row is anything of its width (an
 * empty text). */
MG_MUST_CHECK enum mg_code mg_block_decode(const struct mg_block *block, uint32_t first, uint32_t count,
                                           const struct mg_block_dest *dest, uint32_t at, struct mg_error *err);
/* Decode chosen rows, rising, of one vector (late materialisation of few rows). */
MG_MUST_CHECK enum mg_code mg_block_gather(const struct mg_block *block, uint32_t vector, const uint16_t *rows,
                                           uint32_t count, const struct mg_block_dest *dest, uint32_t at,
                                           struct mg_error *err);
/* Integers, dates, times, and decimals that fit: the vector's values as int64 (uint64 as its bits). False when a
 * decimal does not fit. out has room for MG_VECTOR_ROWS. */
bool mg_block_ints(const struct mg_block *block, uint32_t vector, int64_t *out);
/* The same of chosen rows, rising. */
bool mg_block_gather_ints(const struct mg_block *block, uint32_t vector, const uint16_t *rows, uint32_t count,
                          int64_t *out);
/* A vector's rows as places in the block's dictionary, those that are NULL included. False when it has none, or more
 * than 65,536 entries, or is damaged. out has room for MG_VECTOR_ROWS. */
bool mg_block_codes(const struct mg_block *block, uint32_t vector, uint16_t *out);
/* The block's dictionary in Arrow's layout, in memory of the arena; it has one. */
MG_MUST_CHECK enum mg_code mg_block_dictionary_values(const struct mg_block *block, struct mg_arena *arena,
                                                      struct mg_vector *out, struct mg_error *err);
/* Which rows of a vector are not NULL, as bits: NULL when all are or none is. */
const uint8_t *mg_block_vector_validity(const struct mg_block *block, uint32_t vector);
/* One row; text is borrowed from the block or from scratch. */
MG_MUST_CHECK enum mg_code mg_block_value(const struct mg_block *block, uint32_t row, struct mg_arena *scratch,
                                          struct mg_value *out, struct mg_error *err);

enum mg_block_op {
    MG_BLOCK_EQ = 1,
    MG_BLOCK_NE = 2,
    MG_BLOCK_LT = 3,
    MG_BLOCK_LE = 4,
    MG_BLOCK_GT = 5,
    MG_BLOCK_GE = 6,
    MG_BLOCK_BETWEEN = 7, /* values[0] <= row <= values[1]; one that is NULL is no bound */
    MG_BLOCK_IN = 8,      /* values rise strictly */
    MG_BLOCK_IS_NULL = 9,
    MG_BLOCK_IS_NOT_NULL = 10,
};
/* A column against constants of its type, not NULL but where BETWEEN says so. */
struct mg_block_condition {
    enum mg_block_op op;
    bool is_negated;                /* of rows that are not NULL those that op does not let through; not of IS NULL */
    bool pad_space;                 /* texts without their trailing blanks; values have none */
    bool low_is_open, high_is_open; /* BETWEEN: the bound itself is outside */
    const struct mg_value *values;
    uint32_t value_count;
};
/* A condition made ready for one block: constants become codes or packed distances once. Texts compare bytewise. Lives
 * in its arena. */
struct mg_block_test;
/* What the block can say as a whole. UNABLE: the test cannot be run (texts with trailing blanks behind symbols); *out
 * is NULL. */
enum mg_block_verdict { MG_BLOCK_NONE, MG_BLOCK_SOME, MG_BLOCK_ALL, MG_BLOCK_UNABLE };
MG_MUST_CHECK enum mg_code mg_block_test_new(const struct mg_block *block, const struct mg_block_condition *condition,
                                             struct mg_arena *arena, struct mg_block_test **out,
                                             enum mg_block_verdict *verdict, struct mg_error *err);
/* Clear the bits of rows of the vector that are not true (NULL rows are not, but for IS_NULL). mask has MG_VECTOR_WORDS
 * words; bits beyond the rows are 0 and stay so. */
MG_MUST_CHECK enum mg_code mg_block_test_run(const struct mg_block_test *test, uint32_t vector, uint64_t *mask,
                                             struct mg_error *err);

/* Sum and count of the rows of a vector that mask holds (NULL: all) and that are not NULL, without making them:
 * integers, and decimals (unscaled). Exact: a vector's sum fits 128 bits but for decimals above 10^35, then false. */
bool mg_block_sum(const struct mg_block *block, uint32_t vector, const uint64_t *mask, mg_int128 *sum, uint32_t *count);

/* Set bits of a vector's mask. */
uint32_t mg_block_count(const uint64_t mask[MG_VECTOR_WORDS]);

/* What kernels this machine runs: "avx512", "avx2" or "plain". For status, and tests that force one: name NULL gives
 * back the best. False when the machine lacks it. */
const char *mg_block_kernels(void);
bool mg_block_kernels_force(const char *name);

#endif
