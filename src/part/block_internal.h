/* block_internal.h -- how a block lies in memory, packed numbers, and the kernels: shared by the block files.
 *
 * Not for other rooms. The layout is docs/format/part.md, "Blocks".
 * Packed numbers lie interleaved: numbers of `width` bits use lanes of 8, 16, 32 or 64 bits, the smallest that hold
 * them. 1,024 bits make a word of 1024 / lane bits lanes; number i belongs to lane i % lanes, where it follows number
 * i - lanes without a gap. So one shift and one mask, the same for all lanes, bring out 128 bytes of neighbours, which
 * any vector width does.
 * Threads  pure functions; mg_block__kernels() is one atomic load.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_BLOCK_INTERNAL_H
#define MG_PART_BLOCK_INTERNAL_H

#include "column/bits.h"
#include "part/alp.h"
#include "part/block.h"
#include "part/fsst.h"

enum {
    MG_BLOCK__FORMAT = 1,
    MG_BLOCK__WIDE = 0x80, /* in a vector's width: its base has 128 bits, the upper 64 lead its data */
    MG_BLOCK__WORD = 128,  /* bytes of a word of lanes */

    MG_BLOCK__SYMBOLS = 0, /* in mg_block.internal: offset of the table of symbols, or 0 */
};

/* Offset 0 of a block; the vectors' headers follow. Offsets count from the block's first byte. */
struct mg_block__header {
    uint8_t format;
    uint8_t type; /* enum mg_type_id */
    uint16_t reserved;
    uint32_t row_count, null_count;
    uint32_t size_bytes;
    uint32_t dictionary; /* its offset; 0: none */
    uint32_t symbols;    /* its offset; 0: none */
};
_Static_assert(sizeof(struct mg_block__header) == 24, "stored");

struct mg_block_vector {
    uint8_t encoding;
    uint8_t width;       /* bits of a packed number, with MG_BLOCK__WIDE; of a value of RUNS */
    uint16_t null_count; /* when neither 0 nor all: bits of those present lead the data */
    uint32_t offset;     /* of its data */
    uint64_t base;       /* what it is depends on the encoding */
};
_Static_assert(sizeof(struct mg_block_vector) == 16, "stored");

/* Leads packed numbers of which a few have more bits than are packed: these have the others as exceptions behind the
 * packed ones, their rows as u16, padded to 8, then number / 2^width, exception_bytes each, padded. */
struct mg_block__patched {
    uint16_t exception_count;
    uint8_t exception_bytes; /* 1, 2, 4, 8; 0 when there are none */
    uint8_t reserved[5];
};
/* Leads the data of DELTA: the same, and before it what each row is above the last one at least. */
struct mg_block__delta {
    uint64_t step;
    uint16_t exception_count;
    uint8_t exception_bytes;
    uint8_t reserved[5];
};
_Static_assert(sizeof(struct mg_block__patched) == 8 &&
                   sizeof(struct mg_block__delta) == 8 + sizeof(struct mg_block__patched),
               "stored");

enum mg_block__class { MG_BLOCK__INTS, MG_BLOCK__FLOATS, MG_BLOCK__TEXTS };
static inline enum mg_block__class mg_block__class_of(enum mg_type_id id)
{
    if (id == MG_TYPE_UTF8)
        return MG_BLOCK__TEXTS;
    return id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64 ? MG_BLOCK__FLOATS : MG_BLOCK__INTS;
}

static inline size_t mg_block__validity_bytes(uint32_t rows, uint32_t nulls)
{
    return nulls && nulls < rows ? (rows + 63) / 64 * 8 : 0;
}

/* ---- packed numbers ------------------------------------------------------------------------------------------ */

static inline uint32_t mg_pack__width(uint64_t largest)
{
    return largest ? 64 - (uint32_t)__builtin_clzll(largest) : 0;
}
static inline uint32_t mg_pack__lane_bytes(uint32_t width)
{
    return width <= 8 ? 1 : width <= 16 ? 2 : width <= 32 ? 4 : 8;
}
static inline size_t mg_pack__bytes(uint32_t count, uint32_t width)
{
    uint32_t lane_bytes = mg_pack__lane_bytes(width), lanes = MG_BLOCK__WORD / lane_bytes;
    uint32_t steps = (count + lanes - 1) / lanes;
    return (size_t)(steps * width + lane_bytes * 8 - 1) / (lane_bytes * 8) * MG_BLOCK__WORD;
}
/* One lane of that many bytes, as a number. */
static inline uint64_t mg_pack__lane(const uint8_t *at, uint32_t lane_bytes)
{
    switch (lane_bytes) {
    case 1: return *at;
    case 2: return mg_load_le16(at);
    case 4: return mg_load_le32(at);
    default: return mg_load_le64(at);
    }
}
static inline uint64_t mg_pack__get(const uint8_t *packed, uint32_t width, uint32_t index)
{
    uint32_t lane_bytes = mg_pack__lane_bytes(width), lanes = MG_BLOCK__WORD / lane_bytes, lane_bits = lane_bytes * 8;
    uint32_t bit = index / lanes * width, shift = bit % lane_bits;
    const uint8_t *at = packed + (size_t)(bit / lane_bits) * MG_BLOCK__WORD + index % lanes * lane_bytes;

    if (width == 0)
        return 0;
    uint64_t v = mg_pack__lane(at, lane_bytes) >> shift;
    if (shift + width > lane_bits)
        v |= mg_pack__lane(at + MG_BLOCK__WORD, lane_bytes) << (lane_bits - shift);
    return v & mg_bits_mask(width);
}
/* count (1 to MG_VECTOR_ROWS) numbers below 2^width to mg_pack__bytes bytes. */
void mg_pack__put(const uint64_t *numbers, uint32_t count, uint32_t width, uint8_t *out);

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* Numbers in lanes, brought out: MG_VECTOR_ROWS of any lane size. */
struct mg_block__lanes {
    _Alignas(64) uint8_t bytes[MG_VECTOR_ROWS * 8];
};

/* The loops over a vector, once for each kind of machine. Lane and out sizes are given as their logarithms: 0 to 3
 * (lanes), 0 to 4 (out) for 1 to 16 bytes. */
struct mg_block__kernels {
    const char *name;
    /* Packed numbers to lanes of their lane size; writes whole words, so that out has room for MG_VECTOR_ROWS. */
    void (*unpack)(const uint8_t *packed, uint32_t width, uint32_t count, void *out);
    /* out[i] = base + lanes[i], cut to out's size. */
    void (*widen[4][5])(const void *lanes, mg_int128 base, uint32_t count, void *out);
    /* Bits of the lanes with lane - low <= span, modulo their size. */
    void (*range[4])(const void *lanes, uint32_t count, uint64_t low, uint64_t span, uint64_t *out);
    /* Lanes whose bits are not set become 0. */
    void (*keep[4])(void *lanes, uint32_t count, const uint64_t *mask);
    unsigned __int128 (*sum[4])(const void *lanes, uint32_t count);
    uint32_t (*count_bits)(const uint64_t *words); /* MG_VECTOR_WORDS of them */
    uint32_t (*largest)(const uint32_t *numbers, uint32_t count);
    /* out[i] = entries[codes[i]] + more; codes were checked. */
    void (*look_up)(const uint64_t *entries, const uint32_t *codes, uint32_t count, uint64_t more, uint64_t *out);
};
extern const struct mg_block__kernels mg_block__kernels_plain, mg_block__kernels_avx2, mg_block__kernels_avx512;
const struct mg_block__kernels *mg_block__kernels(void);

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Entries follow: numbers as 8 bytes each (floats: their bits); texts as count + 1 u32 offsets, padded to 8, and the
 * bytes. */
struct mg_block_dictionary {
    uint32_t count;
    uint32_t text_bytes;
};

static inline const uint64_t *mg_block__entries(const struct mg_block *block)
{
    return (const uint64_t *)(const void *)(block->dictionary + 1);
}
/* NULL when there are none. */
static inline const struct mg_fsst__table *mg_block__symbols(const struct mg_block *block)
{
    uint64_t offset = block->internal[MG_BLOCK__SYMBOLS];

    return offset ? (const void *)(block->bytes.data + offset) : NULL;
}
/* A text of the dictionary; code is below its count. False when its offsets lie. */
static inline bool mg_block__entry_text(const struct mg_block *block, uint32_t code, struct mg_slice *out)
{
    const uint32_t *offsets = (const uint32_t *)(block->dictionary + 1);
    uint32_t from = offsets[code], to = offsets[code + 1];
    const uint8_t *text = (const uint8_t *)offsets + mg_pad8(((uint64_t)block->dictionary->count + 1) * 4);

    *out = MG_SLICE(text + from, to - from);
    return from <= to && to <= block->dictionary->text_bytes;
}

/* One vector of an open block. */
struct mg_block__view {
    const struct mg_block_vector *header;
    uint32_t rows;
    uint32_t width; /* without MG_BLOCK__WIDE */
    bool wide;
    const uint8_t *validity; /* NULL: all present, or none */
    const uint8_t *data;     /* behind validity and the base's upper half */
    mg_int128 base;          /* of integers and decimals */
};
struct mg_block__view mg_block__view(const struct mg_block *block, uint32_t vector);
static inline bool mg_block__all_null(const struct mg_block__view *view)
{
    return view->header->null_count == view->rows;
}
static inline bool mg_block__is_null(const struct mg_block__view *view, uint32_t row)
{
    return mg_block__all_null(view) || (view->validity && !(view->validity[row >> 3] >> (row & 7) & 1));
}
/* log2 of 1, 2, 4, 8 or 16. */
static inline uint32_t mg_block__log(uint32_t bytes) { return (uint32_t)__builtin_ctz(bytes); }
/* Packed numbers to lanes; the logarithm of their lane size. */
static inline uint32_t mg_block__unpack(const uint8_t *packed, uint32_t width, uint32_t count,
                                        struct mg_block__lanes *out)
{
    mg_block__kernels()->unpack(packed, width, count, out->bytes);
    return mg_block__log(mg_pack__lane_bytes(width));
}
/* MG_CORRUPT at an address of the block. */
#define mg_block__corrupt(err, block, address, ...) \
    mg_corrupt(err, "block", (long long)((const uint8_t *)(address) - (block)->bytes.data), __VA_ARGS__)

/* The values of a vector of fixed width, NULL rows included, in out_log's size: that of the type, or 8 bytes of
 * integers. */
MG_MUST_CHECK enum mg_code mg_block__values(const struct mg_block *block, const struct mg_block__view *view,
                                            uint32_t out_log, void *out, struct mg_error *err);
/* Bytes of packed numbers with exceptions, `left` of which are there to look at; UINT64_MAX when they cannot be. */
uint64_t mg_block__patched_bytes(const struct mg_block__view *view, const uint8_t *at, uint64_t left);
/* The numbers of all rows. */
MG_MUST_CHECK enum mg_code mg_block__patched(const struct mg_block *block, const struct mg_block__view *view,
                                             const uint8_t *at, uint64_t out[MG_VECTOR_ROWS], struct mg_error *err);
/* A vector's codes, all below the dictionary's count. */
MG_MUST_CHECK enum mg_code mg_block__codes(const struct mg_block *block, const struct mg_block__view *view,
                                           uint32_t out[MG_VECTOR_ROWS], struct mg_error *err);
/* RUNS: ends rise and the last is the number of rows. */
struct mg_block__runs {
    uint32_t count;
    uint32_t value_bytes;
    const uint16_t *ends;
    const uint8_t *values; /* distances from the base */
};
MG_MUST_CHECK enum mg_code mg_block__runs(const struct mg_block *block, const struct mg_block__view *view,
                                          struct mg_block__runs *out, struct mg_error *err);

/* A vector of texts, made ready to reach any row. */
struct mg_block__reader {
    const struct mg_block *block;
    struct mg_block__view view;
    const uint8_t *bytes;                 /* PLAIN: texts; FSST: codes */
    uint32_t numbers[MG_VECTOR_ROWS + 1]; /* DICTIONARY: codes; else where in bytes each row begins */
};
MG_MUST_CHECK enum mg_code mg_block__reader_open(const struct mg_block *block, uint32_t vector,
                                                 struct mg_block__reader *out, struct mg_error *err);
/* The row's text, or with FSST its codes; empty when it is NULL. */
MG_MUST_CHECK enum mg_code mg_block__row_bytes(const struct mg_block__reader *reader, uint32_t row,
                                               struct mg_slice *out, struct mg_error *err);

/* Where decoded texts go. */
struct mg_block__texts {
    int32_t *offsets; /* [0] is set; the next ones are written */
    uint8_t *text;
    size_t room; /* with 64 more than texts take */
};
/* A text at the end: offsets[index + 1] is written. May read and write 64 bytes more than the text has. */
static inline bool mg_block__put_text(const struct mg_block__texts *out, uint32_t index, const uint8_t *text,
                                      size_t size)
{
    size_t at = (size_t)out->offsets[index];

    if (size + 64 > out->room || at > out->room - 64 - size)
        return false;
    if (size <= 16)
        memcpy(out->text + at, text, 16);
    else
        memcpy(out->text + at, text, size);
    out->offsets[index + 1] = (int32_t)(at + size);
    return true;
}

#endif
