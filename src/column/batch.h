/* batch.h -- rows as columns in Arrow's layout: read-only batches, and builders that make them.
 *
 * A batch is what a scan yields, an epoch stages, a socket sends. Its vectors point into memory that the batch keeps
 * alive (the scan's own memory, a builder's buffers, a received message).
 * Layout      validity: bit i of byte i/8, 1 = present, NULL pointer when null_count is 0; offsets: row_count + 1 int32
 *             (UTF8), first may be above 0; values: row_count * width bytes, or the text bytes.
 * Alignment   buffers of builders and scans: 64 bytes. Every buffer may be read up to the next multiple of 8 of its
 *             size.
 * Threads     a batch is immutable; counted references from any thread. A builder belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_BATCH_H
#define MG_COLUMN_BATCH_H

#include <stdatomic.h>

#include "base/budget.h"
#include "column/schema.h"
#include "column/type.h"

enum {
    MG_BATCH_ROWS_MAX = 1 << 20, /* rows of one batch */
};

/* Borrowed: lives as long as its batch. */
struct mg_vector {
    struct mg_type type;
    uint32_t row_count;
    uint32_t null_count;     /* exact */
    const uint8_t *validity; /* NULL: all present */
    const void *values;      /* fixed width values; UTF8: the bytes */
    const int32_t *offsets;  /* UTF8 only */
};

struct mg_batch {
    atomic_int references;
    uint32_t row_count;
    uint32_t column_count; /* may be 0: only rows are counted */
    struct mg_vector *vectors;
    /* Frees what the vectors point to, and the batch itself; called when the last reference goes. */
    void (*free)(struct mg_batch *batch);
};

struct mg_batch *mg_batch_ref(struct mg_batch *batch);
void mg_batch_unref(struct mg_batch *batch); /* NULL is allowed */
void mg_batch_unrefp(struct mg_batch **batch);

static inline bool mg_vector_is_null(const struct mg_vector *v, uint32_t row)
{
    return v->validity && !(v->validity[row >> 3] >> (row & 7) & 1);
}
/* A value of any vector; text is borrowed from it. */
struct mg_value mg_vector_value(const struct mg_vector *v, uint32_t row);
static inline struct mg_slice mg_vector_text(const struct mg_vector *v, uint32_t row)
{
    return MG_SLICE((const uint8_t *)v->values + v->offsets[row], (size_t)(v->offsets[row + 1] - v->offsets[row]));
}
/* Bytes of Arrow buffers that the batch shows (padded to 8). */
uint64_t mg_batch_bytes(const struct mg_batch *batch);
/* Offsets rise and stay in their buffer, counts fit: for batches built from foreign memory by hand (debug and
 * tests). */
MG_MUST_CHECK enum mg_code mg_batch_check(const struct mg_batch *batch, struct mg_error *err);

/* ---- building ------------------------------------------------------------------------------------------------ */

struct mg_column_builder;

/* Builds a batch column by column: every column must get the same number of values. */
struct mg_batch_builder {
    uint32_t column_count;
    struct mg_column_builder *columns;
    struct mg_budget *budget; /* may be NULL; growth is reserved there, the batch gives it back when it is freed */
    size_t bytes_max;         /* bound of all buffers together */
    size_t used_bytes;        /* capacity reserved */
};

MG_MUST_CHECK enum mg_code mg_batch_builder_init(struct mg_batch_builder *builder, const struct mg_type *types,
                                                 uint32_t column_count, struct mg_budget *budget, size_t bytes_max,
                                                 struct mg_error *err);
void mg_batch_builder_clear(struct mg_batch_builder *builder);
/* Room for more rows (and text bytes) in one column, so that appending them takes no more memory. */
MG_MUST_CHECK enum mg_code mg_builder_reserve(struct mg_batch_builder *builder, uint32_t column, uint32_t more_rows,
                                              size_t more_text_bytes, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_builder_null(struct mg_batch_builder *builder, uint32_t column, struct mg_error *err);
/* For all fixed-width integer-like types: cut to the column's width; the caller has checked the range. */
MG_MUST_CHECK enum mg_code mg_builder_int(struct mg_batch_builder *builder, uint32_t column, int64_t v,
                                          struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_builder_uint(struct mg_batch_builder *builder, uint32_t column, uint64_t v,
                                           struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_builder_float(struct mg_batch_builder *builder, uint32_t column, double v,
                                            struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_builder_decimal(struct mg_batch_builder *builder, uint32_t column, mg_int128 v,
                                              struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_builder_text(struct mg_batch_builder *builder, uint32_t column, struct mg_slice v,
                                           struct mg_error *err);
/* Any value; its layout must be the column's (mg_type_same_layout; else MG_INVALID). */
MG_MUST_CHECK enum mg_code mg_builder_value(struct mg_batch_builder *builder, uint32_t column, const struct mg_value *v,
                                            struct mg_error *err);
/* count values of `from`, of the column's layout (else MG_INVALID): those at rows[0..count), each below
 * from->row_count, or when rows is NULL those from first on. The bulk path. */
MG_MUST_CHECK enum mg_code mg_builder_gather(struct mg_batch_builder *builder, uint32_t column,
                                             const struct mg_vector *from, const uint32_t *rows, uint32_t first,
                                             uint32_t count, struct mg_error *err);
/* Those values of `from`, which mg_builder_compresses takes, whose bit in mask is set: count of them. Bits beyond
 * from->row_count are 0. */
MG_MUST_CHECK enum mg_code mg_builder_compress(struct mg_batch_builder *builder, uint32_t column,
                                               const struct mg_vector *from, const uint64_t *mask, uint32_t count,
                                               struct mg_error *err);
/* It has no NULL and a fixed width, and this machine a loop for that. Else mg_builder_gather is the way. */
bool mg_builder_compresses(const struct mg_vector *from);
/* Values in the first column (in `column` when asked). */
uint32_t mg_builder_rows(const struct mg_batch_builder *builder, uint32_t column);
/* The batch; the builder is empty and ready again. MG_INVALID when the columns differ in length (row_count is for 0
 * columns). */
MG_MUST_CHECK enum mg_code mg_batch_builder_finish(struct mg_batch_builder *builder, uint32_t row_count,
                                                   struct mg_batch **out, struct mg_error *err);

/* A new batch of chosen rows (gather of every column). */
MG_MUST_CHECK enum mg_code mg_batch_select(const struct mg_batch *batch, const uint32_t *rows, uint32_t count,
                                           struct mg_budget *budget, struct mg_batch **out, struct mg_error *err);

/* ---- output profile ------------------------------------------------------------------------------------------ */

enum mg_profile { MG_PROFILE_ARROW = 0, MG_PROFILE_SPARK = 1 };
/* The type that leaves under a profile: SPARK widens uint8..uint64 to int16, int32, int64, decimal(20,0). */
struct mg_type mg_profile_type(enum mg_profile profile, struct mg_type type);
/* The same rows with their columns widened; a batch that needs none comes back as a new reference to itself. */
MG_MUST_CHECK enum mg_code mg_profile_batch(enum mg_profile profile, struct mg_batch *batch, struct mg_budget *budget,
                                            struct mg_batch **out, struct mg_error *err);

#endif
