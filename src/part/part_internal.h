/* part_internal.h -- what the files of a part share: the footer in memory, the filter, the sparse index, pieces.
 *
 * Not for other rooms. A piece is a run of the file that is read as one: a block, the filter or the index. Pieces lie
 * back to back, each padded with zeros to a multiple of 64 bytes, and the hash of a piece is of its padded bytes: no
 * bit of a file is without a checksum.
 * Threads  pure functions, and structs that are immutable once they are made.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_PART_INTERNAL_H
#define MG_PART_PART_INTERNAL_H

#include <stdatomic.h>

#include "part/part.h"
#include "part/sketch.h"

enum {
    MG_PART__ALIGNMENT = 64, /* of pieces */
    MG_PART__TAIL_BYTES = 64,
    MG_PART__LINE_BYTES = 64, /* of the filter: a line of the processor's cache */
    MG_PART__LINE_WORDS = MG_PART__LINE_BYTES / 8,
    MG_PART__FILTER_BITS = 10, /* a key: about 1 % false */
    MG_PART__INDEX_HEADER = 16,
};

static inline uint64_t mg_part__padded(uint64_t size)
{
    return (size + MG_PART__ALIGNMENT - 1) & ~(uint64_t)(MG_PART__ALIGNMENT - 1);
}
static inline uint32_t mg_part__groups(uint32_t row_count)
{
    return (uint32_t)(((uint64_t)row_count + MG_BLOCK_ROWS - 1) / MG_BLOCK_ROWS);
}
static inline uint32_t mg_part__vectors(uint32_t row_count)
{
    return (uint32_t)(((uint64_t)row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS);
}
static inline uint32_t mg_part__group_rows(uint32_t row_count, uint32_t group)
{
    uint32_t left = row_count - group * MG_BLOCK_ROWS;
    return MG_MIN(left, (uint32_t)MG_BLOCK_ROWS);
}
/* Bytes that a and b begin with. */
size_t mg_part__common(struct mg_slice a, struct mg_slice b);

/* ---- footer and tail (part_footer.c) ------------------------------------------------------------------------- */

struct mg_part__piece {
    uint64_t offset;
    uint64_t size;   /* in memory, without padding */
    uint64_t stored; /* in the file, without padding; less than size: packed */
    uint64_t hash;   /* of the stored bytes with their padding */
    /* Packed as differences to the block of a column before it in its row group: that one's place + 1. 0: not so. */
    uint32_t difference_of;
};

struct mg_part__block {
    struct mg_part__piece piece;
    struct mg_block_info info;
};

struct mg_part__column {
    uint64_t plain_bytes;
    uint64_t null_count, encoded_bytes; /* sums over its blocks */
    struct mg_sketch sketch;
};

struct mg_part__footer {
    uint32_t segment_id, row_count, group_count;
    struct mg_schema *schema; /* counted */
    struct mg_part__piece filter, index;
    struct mg_slice low, high;       /* keys */
    struct mg_part__block *blocks;   /* [group * schema->column_count + column], as they lie in the file; owned */
    struct mg_part__column *columns; /* [schema->column_count]; of a footer that was read in the same memory */
    size_t memory_bytes;             /* reserved for both */
};

struct mg_part__tail {
    uint64_t footer_offset, footer_size;
    uint32_t version;
};

/* A row group's block as it stands in the footer. */
MG_MUST_CHECK enum mg_code mg_part__encode_block(const struct mg_part__block *block, uint32_t version,
                                                 struct mg_buffer *out, struct mg_error *err);
/* The whole footer with its hash; blocks: what mg_part__encode_block gave, in the file's order. footer->blocks is not
 * looked at. */
MG_MUST_CHECK enum mg_code mg_part__encode_footer(const struct mg_part__footer *footer, struct mg_slice blocks,
                                                  struct mg_buffer *out, struct mg_error *err);
void mg_part__encode_tail(const struct mg_part__tail *tail, uint8_t bytes[MG_PART__TAIL_BYTES]);
/* Check everything that needs no piece; pieces_end: where the footer begins. `file` and the footer's place are for
 * errors. Keys and texts are borrowed from bytes, which stay. To be cleared also after a failure. */
MG_MUST_CHECK enum mg_code mg_part__decode_footer(struct mg_slice bytes, const char *file, uint64_t pieces_end,
                                                  uint32_t version, struct mg_budget *budget,
                                                  struct mg_part__footer *out, struct mg_error *err);
void mg_part__footer_clear(struct mg_part__footer *footer, struct mg_budget *budget);
MG_MUST_CHECK enum mg_code mg_part__decode_tail(const uint8_t bytes[MG_PART__TAIL_BYTES], const char *file,
                                                uint64_t file_size, struct mg_part__tail *out, struct mg_error *err);

/* ---- packed blocks (part_pack.c) ----------------------------------------------------------------------------- */

#define MG_PART__PACKER_BYTES ((size_t)24 << 20) /* that zstd may take */

struct mg_part__packer {
    struct mg_budget *budget;
    int level; /* of zstd; 0: nothing is packed */
    size_t reserved_bytes;
    struct ZSTD_CCtx_s *context; /* NULL: not yet */
    struct mg_buffer packed;     /* the last block that was; room for its padding */
};
void mg_part__packer_init(struct mg_part__packer *packer, struct mg_budget *budget, int level);
void mg_part__packer_clear(struct mg_part__packer *packer);
/* True: packer->packed has the block. False: it stays as it is, as it would not get much smaller or memory is short. */
bool mg_part__pack(struct mg_part__packer *packer, struct mg_slice plain);
/* Exactly `size` bytes. MG_CORRUPT, without file and offset; MG_NO_MEMORY. */
MG_MUST_CHECK enum mg_code mg_part__unpack(struct mg_slice packed, uint8_t *to, size_t size, struct mg_error *err);

/* ---- blocks as differences (part_difference.c) --------------------------------------------------------------- */

/* A block and the columns before it in its row group. */
struct mg_part__relation {
    const struct mg_vector *rows;
    struct mg_slice block;          /* rows, encoded */
    const struct mg_vector *others; /* without NULLs, of as many rows */
    uint32_t other_count;
    struct mg_buffer *out;
};
/* Types that blocks may be differences of: both columns are of the same. */
bool mg_part__has_differences(struct mg_type type);
/* True: relation->out has the block as differences to others[*out_other], which is smaller by a fifth at least. scratch
 * is used and not reset. */
bool mg_part__relate(const struct mg_part__relation *relation, struct mg_arena *scratch, uint32_t *out_other);
/* The block, of exactly `size` bytes, from what relate gave (aligned to 8, with 64 bytes behind it that may be read)
 * and the other column's rows. Its own headers are still to be checked. MG_CORRUPT, without file and offset. */
MG_MUST_CHECK enum mg_code mg_part__rebuild(struct mg_slice stored, const int64_t *others, uint32_t row_count,
                                            uint8_t *bytes, size_t size, struct mg_error *err);

/* ---- filter (part_filter.c) ---------------------------------------------------------------------------------- */

/* Lines for that many keys; at least 1. */
uint64_t mg_part__filter_lines(uint64_t keys);
/* lines: MG_PART__LINE_WORDS words each. */
void mg_part__filter_add(uint64_t *lines, uint64_t line_count, const uint64_t *hashes, size_t count);

static inline uint64_t mg_part__filter_line(uint64_t line_count, uint64_t hash)
{
    return (uint64_t)((unsigned __int128)hash * line_count >> 64);
}
/* The bit of each word comes from the middle of another product: the line takes the hash's upper bits. */
static inline uint64_t mg_part__filter_bits(uint64_t hash) { return hash * UINT64_C(0x9e3779b97f4a7c15) >> 16; }
/* Half of the words first: most keys that are not there end with them, and that is guessed right. */
static inline bool mg_part__filter_test(const uint64_t *line, uint64_t hash)
{
    uint64_t bits = mg_part__filter_bits(hash), all = 1;

    for (int i = 0; i < MG_PART__LINE_WORDS / 2; i++)
        all &= line[i] >> (bits >> (6 * i) & 63);
    if (!(all & 1))
        return false;
    for (int i = MG_PART__LINE_WORDS / 2; i < MG_PART__LINE_WORDS; i++)
        all &= line[i] >> (bits >> (6 * i) & 63);
    return all & 1;
}

/* ---- sparse index (part_index.c) ----------------------------------------------------------------------------- */

/* Built while keys come: one separator a vector, which is above all keys before the vector and not above its first. */
struct mg_part__index_builder {
    struct mg_budget *budget;
    struct mg_buffer separators;
    struct mg_buffer offsets; /* u32 of each separator's begin */
    bool one_size;            /* so far all keys have key_bytes bytes */
    size_t key_bytes;
    uint32_t vector_count;
};

void mg_part__index_init(struct mg_part__index_builder *builder, struct mg_budget *budget);
void mg_part__index_clear(struct mg_part__index_builder *builder);
/* A key of any row; before: the key before it, empty for the first. starts_vector: it is a vector's first. */
MG_MUST_CHECK enum mg_code mg_part__index_add(struct mg_part__index_builder *builder, struct mg_slice before,
                                              struct mg_slice key, bool starts_vector, struct mg_error *err);
/* Of the encoded index. */
size_t mg_part__index_bytes_max(const struct mg_part__index_builder *builder);
MG_MUST_CHECK enum mg_code mg_part__index_encode(const struct mg_part__index_builder *builder, struct mg_slice low,
                                                 struct mg_slice high, struct mg_buffer *out, struct mg_error *err);

/* An index as it lies in the file. Borrows. */
struct mg_part__index {
    uint32_t vector_count;
    uint32_t shared;          /* bytes that all keys begin with; separators go without */
    const uint64_t *prefixes; /* of separators: the first 8 bytes, big endian, short ones filled with zeros */
    const uint32_t *offsets;  /* vector_count + 1, into separators; NULL: prefixes are all of them */
    const uint8_t *separators;
};

/* Says what is wrong where, counted from the piece's begin. */
MG_MUST_CHECK enum mg_code mg_part__index_check(struct mg_slice bytes, uint32_t row_count, size_t shared_max,
                                                struct mg_error *err);
/* Of bytes that were checked. */
struct mg_part__index mg_part__index_of(struct mg_slice bytes);
/* The vector that holds the key, if any does: the last one whose separator is not above it, at least `from`, whose
 * separator is not. low <= key <= high. Neighbours are near: the search goes out from `from`. */
uint32_t mg_part__index_find(const struct mg_part__index *index, struct mg_slice key, uint32_t from);
/* Separator of the vector, without the shared bytes, is above `rest`, a key without them. */
bool mg_part__index_above(const struct mg_part__index *index, uint32_t vector, struct mg_slice rest);
/* A vector's separator, appended to out; low is a key of the part. */
MG_MUST_CHECK enum mg_code mg_part__index_separator(const struct mg_part__index *index, uint32_t vector,
                                                    struct mg_slice low, struct mg_buffer *out, struct mg_error *err);

/* ---- open parts (part.c) ------------------------------------------------------------------------------------- */

struct mg_part {
    atomic_int references;
    struct mg_io *io;
    struct mg_cache *cache;
    struct mg_budget *budget;
    struct mg_file *file;
    char *path;
    uint64_t file_bytes;
    size_t reserved_bytes;
    struct mg_part__footer footer;
    uint64_t footer_offset;
    uint8_t *footer_bytes; /* from footer_offset to the file's end; what the footer borrows from */
};

static inline uint32_t mg_part__block_count(const struct mg_part *part)
{
    return part->footer.group_count * part->footer.schema->column_count;
}
/* Pieces by number: the blocks, the filter, the index. */
static inline uint32_t mg_part__filter_piece(const struct mg_part *part) { return mg_part__block_count(part); }
static inline uint32_t mg_part__index_piece(const struct mg_part *part) { return mg_part__block_count(part) + 1; }
const struct mg_part__piece *mg_part__piece(const struct mg_part *part, uint32_t number);
/* Bytes that a loaded piece takes: padded, with room behind for what is found out about it. */
size_t mg_part__piece_room(const struct mg_part *part, uint32_t number);
/* Read a piece, check its hash and its form; bytes has mg_part__piece_room. */
MG_MUST_CHECK enum mg_code mg_part__load(struct mg_part *part, uint32_t number, uint8_t *bytes, struct mg_error *err);
/* The opened block in a loaded piece. */
const struct mg_block *mg_part__loaded_block(const struct mg_part *part, uint32_t number, const uint8_t *bytes);
/* A piece through the cache; its own bytes, without padding. */
MG_MUST_CHECK enum mg_code mg_part__pin(struct mg_part *part, uint32_t number, struct mg_cache_pin *out,
                                        struct mg_slice *out_bytes, struct mg_error *err);

/* ---- single numbers (part_seek.c) ---------------------------------------------------------------------------- */

/* The row of a number in a vector of rising integers, or MG_PART_NO_ROW; uint64 in the order of int64. False: this
 * encoding has no shorter way than decoding. */
bool mg_part__seek(const struct mg_block *block, uint32_t vector, int64_t number, uint32_t *out_row);

/* Fetches what mg_part__seek will read, whose header was fetched before. */
void mg_part__seek_fetch(const struct mg_block *block, uint32_t vector);

/* ---- probes that passed the filter (part_find.c, part_find_ints.c) -------------------------------------------- */

struct mg_part__passed {
    const struct mg_part_probe *probe;
    const uint32_t *numbers; /* of probes, rising */
    uint32_t count;
    uint32_t *rows; /* out, by number */
};

static inline struct mg_slice mg_part__probe_key(const struct mg_part_probe *probe, uint32_t number)
{
    return MG_SLICE(probe->keys + probe->offsets[number], probe->offsets[number + 1] - probe->offsets[number]);
}
static inline struct mg_slice mg_part__passed_key(const struct mg_part__passed *passed, uint32_t i)
{
    return mg_part__probe_key(passed->probe, passed->numbers[i]);
}
/* The key is one column that compares as int64. */
bool mg_part__finds_ints(const struct mg_part *part);
/* Such a part's rows of those probes; *vector: where the index is looked at from on, moves to the last probe's. */
MG_MUST_CHECK enum mg_code mg_part__find_ints(struct mg_part *part, const struct mg_part__index *index,
                                              const struct mg_part__passed *passed, uint32_t *vector,
                                              struct mg_error *err);

/* ---- rows of blocks, decoded (part_rows.c) ------------------------------------------------------------------- */

/* Memory that a column's rows are decoded into. */
struct mg_part__rows {
    struct mg_budget *budget;
    struct mg_buffer values, validity, offsets;
};
void mg_part__rows_init(struct mg_part__rows *rows, struct mg_budget *budget);
void mg_part__rows_clear(struct mg_part__rows *rows);
/* Vectors [first, first + count) of a block; out borrows from rows until the next call. */
MG_MUST_CHECK enum mg_code mg_part__rows_decode(struct mg_part__rows *rows, const struct mg_block *block,
                                                uint32_t first, uint32_t count, struct mg_vector *out,
                                                struct mg_error *err);
/* Chosen rows of one vector, rising, none of which is NULL. */
MG_MUST_CHECK enum mg_code mg_part__rows_gather(struct mg_part__rows *rows, const struct mg_block *block,
                                                uint32_t vector, const uint16_t *numbers, uint32_t count,
                                                struct mg_vector *out, struct mg_error *err);

/* Of the rows in Arrow's layout. */
uint64_t mg_part__plain_bytes(const struct mg_vector *v);

/* Room for more bytes in a buffer whose capacity is reserved in budget; to be cleared with mg_part__buffer_clear. */
MG_MUST_CHECK enum mg_code mg_part__buffer_grow(struct mg_budget *budget, struct mg_buffer *buffer, size_t more,
                                                struct mg_error *err);
void mg_part__buffer_clear(struct mg_budget *budget, struct mg_buffer *buffer);

#endif
