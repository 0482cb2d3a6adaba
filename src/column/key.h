/* key.h -- keys as bytes whose memcmp order is the key order: for splits, sorting, look-up and tickets.
 *
 * Encoding  per column, in key order: integers, dates and times big endian at their width with the sign bit flipped
 *           (signed), floats as IEEE with sign flip or all bits inverted when negative (-0.0 is written as 0.0, every
 *           NaN as one), decimals 16 bytes big endian with the sign bit flipped, text with 00 written as 00 FF and
 *           closed by 00 00, without trailing blanks under PAD_SPACE. Two rows are one row exactly when their encoded
 *           keys are equal. docs/format/key.md.
 * Threads   pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_KEY_H
#define MG_COLUMN_KEY_H

#include "base/buffer.h"
#include "column/batch.h"
#include "column/schema.h"

enum { MG_KEY_BYTES_MAX = 64 * 1024 }; /* longer keys are refused with MG_TOO_BIG */

/* Append the key of one row. vectors[i] is key column i (not the table's column i). */
MG_MUST_CHECK enum mg_code mg_key_encode(const struct mg_vector *const *vectors, uint32_t key_count, uint32_t row,
                                         struct mg_buffer *out, struct mg_error *err);
/* The key of given values, or of a prefix of the key columns. */
MG_MUST_CHECK enum mg_code mg_key_encode_values(const struct mg_value *values, uint32_t count, struct mg_buffer *out,
                                                struct mg_error *err);
/* One value as keys hold it, of any length: for orders of columns that are no key. */
MG_MUST_CHECK enum mg_code mg_key_append_value(const struct mg_value *value, struct mg_buffer *out,
                                               struct mg_error *err);
/* All rows of a batch at once: keys back to back in out, offsets[row_count + 1] filled. */
MG_MUST_CHECK enum mg_code mg_key_encode_rows(const struct mg_vector *const *vectors, uint32_t key_count,
                                              uint32_t row_count, struct mg_buffer *out, uint32_t *offsets,
                                              struct mg_error *err);

/* A half-open range; an empty bound is open. Borrowed bytes. */
struct mg_key_range {
    struct mg_slice low, high;
};
static inline bool mg_key_in_range(struct mg_slice key, struct mg_key_range range)
{
    return (range.low.size == 0 || mg_slice_compare(key, range.low) >= 0) &&
           (range.high.size == 0 || mg_slice_compare(key, range.high) < 0);
}

#endif
