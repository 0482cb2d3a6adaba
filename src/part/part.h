/* part.h -- an immutable file of rows sorted by key, column by column.
 *
 * Written once, front to back, then only read. Rows are reached by number (below 2^32); keys are unique within a part.
 * A part knows nothing of deleted rows: marks lie beside it (engine/magic).
 * The file    blocks (block.h) in row groups of 65,536 rows, then the filter of keys, the sparse index, the footer with
 *             every offset, size, xxh3, zone and statistic, and a tail that says where the footer is.
 *             docs/format/part.md.
 * Trust       nothing: a bit flipped anywhere gives MG_CORRUPT with the file and offset, never other rows, when that
 *             piece is read.
 * Memory      footer: counted in the options' budget while open; filter, sparse index and blocks: in the cache.
 * Threads     a writer belongs to one thread; an open part is immutable, any thread may use it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_PART_H
#define MG_PART_PART_H

#include "base/budget.h"
#include "base/io.h"
#include "column/batch.h"
#include "column/key.h"
#include "column/schema.h"
#include "part/block.h"
#include "part/cache.h"

enum {
    MG_PART_FORMAT = 1,
    MG_PART_FORMAT_PACKED = 2, /* some blocks are packed */
};

/* ---- writing ------------------------------------------------------------------------------------------------- */

struct mg_part_writer;

struct mg_part_writer_options {
    struct mg_io *io;         /* NULL = the machine's */
    struct mg_budget *budget; /* about two row groups of rows are reserved there; may be NULL */
    uint64_t rows_expected;   /* sizes the filter; 0: unknown, then hashes are kept until the end (8 bytes a row) */
    uint32_t segment_id;      /* written into the footer, checked when it is opened */
    int pack_level; /* of zstd, 1 to 19: blocks are packed in the file where that saves a fifth of them; 0: none is */
};

/* What a finished part is, for the catalogue. */
struct mg_part_summary {
    uint64_t row_count, file_bytes;
    uint64_t plain_bytes; /* the same rows in Arrow's layout */
};

/* Creates the file, which must not exist. */
MG_MUST_CHECK enum mg_code mg_part_writer_open(const char *path, struct mg_schema *schema,
                                               const struct mg_part_writer_options *options,
                                               struct mg_part_writer **out, struct mg_error *err);
/* Rows behind those before: all columns of the schema in its order, rising by key (else MG_INVALID names the row). Any
 * number of rows a call. After a failure the writer can only be aborted. */
MG_MUST_CHECK enum mg_code mg_part_writer_append(struct mg_part_writer *writer, const struct mg_batch *rows,
                                                 struct mg_error *err);
/* Footer and fdatasync of the file (the folder is the caller's to sync). Consumes the writer in every case; on failure
 * the file is unlinked. At least one row was appended. */
MG_MUST_CHECK enum mg_code mg_part_writer_finish(struct mg_part_writer *writer, struct mg_part_summary *out,
                                                 struct mg_error *err);
void mg_part_writer_abort(struct mg_part_writer *writer); /* unlinks the file; NULL is allowed */

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct mg_part; /* counted */

struct mg_part_options {
    struct mg_io *io;         /* NULL = the machine's */
    struct mg_cache *cache;   /* outlives the part */
    struct mg_budget *budget; /* of the footer; may be NULL */
    uint32_t segment_id;      /* that the file must have */
};

/* Reads and checks the footer. The schema that it was written with lies in the file. MG_UNIMPLEMENTED: another format
 * version; MG_CORRUPT. */
MG_MUST_CHECK enum mg_code mg_part_open(const char *path, const struct mg_part_options *options, struct mg_part **out,
                                        struct mg_error *err);
struct mg_part *mg_part_ref(struct mg_part *part);
void mg_part_unref(struct mg_part *part); /* the last one drops its blocks from the cache; NULL is allowed */

const struct mg_schema *mg_part_schema(const struct mg_part *part); /* borrowed */
uint32_t mg_part_segment_id(const struct mg_part *part);
uint32_t mg_part_row_count(const struct mg_part *part);
uint32_t mg_part_group_count(const struct mg_part *part); /* row groups of MG_BLOCK_ROWS; the last may be shorter */
uint64_t mg_part_file_bytes(const struct mg_part *part);
/* Of the column at that place, in a row group; texts are borrowed from the part. */
const struct mg_block_info *mg_part_block_info(const struct mg_part *part, uint32_t column, uint32_t group);
uint64_t mg_part_block_bytes(const struct mg_part *part, uint32_t column, uint32_t group); /* encoded, in memory */

/* Of a column over the whole part. */
struct mg_part_column_stats {
    uint64_t null_count;
    uint64_t encoded_bytes, plain_bytes;
    const struct mg_sketch *distinct; /* sketch.h; borrowed */
};
void mg_part_column_stats(const struct mg_part *part, uint32_t column, struct mg_part_column_stats *out);

/* A block, opened and pinned in the cache. */
struct mg_part_block {
    struct mg_block block;
    struct mg_cache_pin pin;
};
MG_MUST_CHECK enum mg_code mg_part_block_get(struct mg_part *part, uint32_t column, uint32_t group,
                                             struct mg_part_block *out, struct mg_error *err);
void mg_part_block_release(struct mg_part_block *block); /* a cleared one is allowed */

/* ---- finding keys -------------------------------------------------------------------------------------------- */

/* The lowest and highest key; borrowed. */
void mg_part_keys(const struct mg_part *part, struct mg_slice *low, struct mg_slice *high);

#define MG_PART_NO_ROW UINT32_MAX
/* Keys to look up, rising (mg_key_encode_rows). hashes: mg_part_key_hash of each. */
struct mg_part_probe {
    uint32_t count;
    const uint8_t *keys;
    const uint32_t *offsets; /* count + 1 */
    const uint64_t *hashes;
};
uint64_t mg_part_key_hash(struct mg_slice key);
/* rows[i] = the row of key i, or MG_PART_NO_ROW. Those whose rows[i] is not MG_PART_NO_ROW on entry were found
 * elsewhere: they are left alone. In order: bounds, filter, sparse index, search in one vector; several look-ups are
 * under way at a time to hide memory's latency. */
MG_MUST_CHECK enum mg_code mg_part_find(struct mg_part *part, const struct mg_part_probe *probe, uint32_t *rows,
                                        struct mg_error *err);
/* The number of rows whose key is below `key`: both ends of a key range become row numbers. */
MG_MUST_CHECK enum mg_code mg_part_lower_bound(struct mg_part *part, struct mg_slice key, uint32_t *out_row,
                                               struct mg_error *err);
/* The key of a row, appended to out: for splits and merges. */
MG_MUST_CHECK enum mg_code mg_part_key_at(struct mg_part *part, uint32_t row, struct mg_buffer *out,
                                          struct mg_error *err);
/* Bytes that are above the key before a vector of MG_VECTOR_ROWS rows and not above its first one, appended to out:
 * where a range of keys may be cut without looking into a block. */
MG_MUST_CHECK enum mg_code mg_part_separator(struct mg_part *part, uint32_t vector, struct mg_buffer *out,
                                             struct mg_error *err);
/* Read everything and check every checksum, every vector, the order of keys, and the filter: `magic check`. The error
 * names the file and the offset. */
MG_MUST_CHECK enum mg_code mg_part_check(struct mg_part *part, struct mg_error *err);

#endif
