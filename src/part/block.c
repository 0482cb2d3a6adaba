/* block.c -- a block's headers: checked once when it is opened, then believed.
 *
 * What is checked here is all that lies in headers: encodings that the type has, places and sizes of data. What lies in
 * the data (codes, run lengths, offsets of texts) is checked where it is used, since opening must cost little.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"

static const char *const encoding_names[] = {"PLAIN", "CONSTANT",   "FRAME", "DELTA",
                                             "RUNS",  "DICTIONARY", "ALP",   "FSST"};

uint32_t mg_block_vector_nulls(const struct mg_block *block, uint32_t vector)
{
    mg_assert(vector < block->vector_count);
    return block->vectors[vector].null_count;
}

enum mg_encoding mg_block_vector_encoding(const struct mg_block *block, uint32_t vector)
{
    mg_assert(vector < block->vector_count);
    return (enum mg_encoding)block->vectors[vector].encoding;
}

struct mg_block__view mg_block__view(const struct mg_block *block, uint32_t vector)
{
    mg_assert(vector < block->vector_count);
    const struct mg_block_vector *header = &block->vectors[vector];
    struct mg_block__view view = {
        .header = header,
        .rows = mg_block_vector_rows(block, vector),
        .width = header->width & ~(uint32_t)MG_BLOCK__WIDE,
        .wide = header->width & MG_BLOCK__WIDE,
        .data = block->bytes.data + header->offset,
    };
    size_t validity_bytes = mg_block__validity_bytes(view.rows, header->null_count);
    if (validity_bytes)
        view.validity = view.data;
    view.data += validity_bytes;
    if (view.wide) {
        view.base = (mg_int128)((unsigned __int128)mg_load_le64(view.data) << 64 | header->base);
        view.data += 8;
    } else {
        view.base = block->type.id == MG_TYPE_UINT64 ? (mg_int128)header->base : (mg_int128)(int64_t)header->base;
    }
    return view;
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

static bool encoding_fits(enum mg_block__class class, uint32_t encoding)
{
    enum {
        ALL = 1 << MG_ENCODING_PLAIN | 1 << MG_ENCODING_CONSTANT | 1 << MG_ENCODING_DICTIONARY,
        NUMBERS = ALL | 1 << MG_ENCODING_RUNS,
    };
    static const uint16_t allowed[] = {
        [MG_BLOCK__INTS] = NUMBERS | 1 << MG_ENCODING_FRAME | 1 << MG_ENCODING_DELTA,
        [MG_BLOCK__FLOATS] = NUMBERS | 1 << MG_ENCODING_ALP,
        [MG_BLOCK__TEXTS] = ALL | 1 << MG_ENCODING_FSST,
    };
    return encoding < MG_COUNT_OF(encoding_names) && allowed[class] >> encoding & 1;
}

#define TOO_MANY UINT64_MAX /* more bytes than any block has */

static uint64_t sum_bytes(uint64_t a, uint64_t b) { return b == TOO_MANY ? b : a + b; }

uint64_t mg_block__patched_bytes(const struct mg_block__view *view, const uint8_t *at, uint64_t left)
{
    const struct mg_block__patched *head = (const void *)at;

    if (left < sizeof *head)
        return TOO_MANY;
    uint32_t count = head->exception_count, bytes = head->exception_bytes;
    if (count && (count > view->rows || view->width > 63 || bytes < 1 || bytes > 8 || (bytes & (bytes - 1))))
        return TOO_MANY;
    return sizeof *head + mg_pack__bytes(view->rows, view->width) + mg_pad8((uint64_t)count * 2) +
           mg_pad8((uint64_t)count * bytes);
}

static uint64_t text_data_bytes(const struct mg_block *block, const struct mg_block__view *view, uint64_t left)
{
    bool coded = view->header->encoding == MG_ENCODING_DICTIONARY;
    uint64_t text_bytes = coded ? view->header->base >> 32 : view->header->base;

    if (text_bytes > INT32_MAX)
        return TOO_MANY;
    switch (view->header->encoding) {
    case MG_ENCODING_CONSTANT: return text_bytes;
    case MG_ENCODING_DICTIONARY:
        if (!block->dictionary || text_bytes > (uint64_t)view->rows * block->dictionary->text_bytes)
            return TOO_MANY;
        return mg_pack__bytes(view->rows, view->width);
    case MG_ENCODING_FSST: {
        uint64_t sizes = mg_block__patched_bytes(view, view->data + 8, left < 8 ? 0 : left - 8);
        if (!mg_block__symbols(block) || sizes == TOO_MANY ||
            text_bytes > (uint64_t)mg_load_le32(view->data) * MG_FSST__SYMBOL_MAX)
            return TOO_MANY;
        return 8 + sizes + mg_load_le32(view->data);
    }
    default: return mg_pad8(((uint64_t)view->rows + 1) * 4) + text_bytes;
    }
}

static uint64_t run_data_bytes(const struct mg_block__view *view, uint64_t left)
{
    if (left < 8 || view->width < 8 || (view->width & (view->width - 1)))
        return TOO_MANY;
    uint64_t run_count = mg_load_le32(view->data);
    return run_count == 0 || run_count > view->rows ? TOO_MANY
                                                    : 8 + mg_pad8(run_count * 2) + run_count * (view->width / 8);
}

static uint64_t alp_data_bytes(const struct mg_block__view *view, uint64_t left)
{
    const struct mg_alp__head *head = (const void *)view->data;

    if (left < sizeof *head || head->e > MG_ALP__EXPONENT_MAX || head->f > head->e ||
        head->exception_count > view->rows)
        return TOO_MANY;
    return sizeof *head + mg_pack__bytes(view->rows, view->width) + mg_pad8((uint64_t)head->exception_count * 2) +
           (uint64_t)head->exception_count * 8;
}

/* Bytes of data that the headers promise, of which `left` are there to look at. */
static uint64_t data_bytes(const struct mg_block *block, const struct mg_block__view *view, uint64_t left)
{
    if (mg_block__all_null(view))
        return view->header->base ? TOO_MANY : 0;
    if (block->type.id == MG_TYPE_UTF8)
        return text_data_bytes(block, view, left);
    switch (view->header->encoding) {
    case MG_ENCODING_CONSTANT: return 0;
    case MG_ENCODING_FRAME: return mg_pack__bytes(view->rows, view->width);
    case MG_ENCODING_DELTA: return sum_bytes(8, mg_block__patched_bytes(view, view->data + 8, left < 8 ? 0 : left - 8));
    case MG_ENCODING_RUNS: return run_data_bytes(view, left);
    case MG_ENCODING_DICTIONARY: return block->dictionary ? mg_pack__bytes(view->rows, view->width) : TOO_MANY;
    case MG_ENCODING_ALP: return alp_data_bytes(view, left);
    default: return (uint64_t)view->rows * mg_type_width(block->type.id);
    }
}

/* Dictionary and symbols lie in the block, whole; what a dictionary's offsets say is checked where they are used. */
static enum mg_code open_shared(const struct mg_block__header *header, uint64_t first_data, struct mg_block *block,
                                struct mg_error *err)
{
    const uint32_t places[] = {header->dictionary, header->symbols};

    for (uint32_t i = 0; i < MG_COUNT_OF(places); i++)
        if (places[i] && (places[i] % 8 || places[i] < first_data || places[i] > block->bytes.size - 8))
            return mg_corrupt(err, "block", 16 + 4 * i, "a dictionary or table of symbols is said to lie at %u",
                              places[i]);
    if (header->dictionary) {
        const struct mg_block_dictionary *dictionary = (const void *)(block->bytes.data + header->dictionary);
        uint64_t left = block->bytes.size - header->dictionary - sizeof *dictionary;
        bool is_text = block->type.id == MG_TYPE_UTF8;
        uint64_t bytes = is_text ? mg_pad8(((uint64_t)dictionary->count + 1) * 4) + dictionary->text_bytes
                                 : (uint64_t)dictionary->count * 8;
        if (bytes > left || (!is_text && dictionary->text_bytes))
            return mg_block__corrupt(err, block, dictionary, "a dictionary of %u values does not fit into %llu bytes",
                                     dictionary->count, (unsigned long long)left);
        block->dictionary = dictionary;
    }
    if (header->symbols) {
        struct mg_slice table = MG_SLICE(block->bytes.data + header->symbols, block->bytes.size - header->symbols);
        if (!mg_fsst__table_check(table))
            return mg_block__corrupt(err, block, table.data, "there is no table of symbols");
        block->internal[MG_BLOCK__SYMBOLS] = header->symbols;
    }
    return MG_OK;
}

static enum mg_code check_vector(const struct mg_block *block, uint32_t vector, uint64_t first_data,
                                 struct mg_error *err)
{
    const struct mg_block_vector *header = &block->vectors[vector];
    uint32_t rows = mg_block_vector_rows(block, vector);
    uint32_t width = header->width & ~(uint32_t)MG_BLOCK__WIDE;
    bool may_be_wide = block->type.id == MG_TYPE_DECIMAL &&
                       (header->encoding == MG_ENCODING_CONSTANT || header->encoding == MG_ENCODING_FRAME);

    if (!encoding_fits(mg_block__class_of(block->type.id), header->encoding))
        return mg_block__corrupt(err, block, header, "vector %u has encoding %u, which its type has not", vector,
                                 header->encoding);
    if (width > 64 || (width != header->width && !may_be_wide))
        return mg_block__corrupt(err, block, header, "vector %u has width %u", vector, header->width);
    if (header->null_count > rows || (header->null_count == rows && header->encoding != MG_ENCODING_CONSTANT))
        return mg_block__corrupt(err, block, header, "vector %u has %u NULLs in %u rows", vector, header->null_count,
                                 rows);
    uint64_t lead = mg_block__validity_bytes(rows, header->null_count) + (width != header->width ? 8 : 0);
    if (header->offset % 8 || header->offset < first_data || header->offset + lead > block->bytes.size)
        return mg_block__corrupt(err, block, header, "vector %u has its data at %u, the block has %zu bytes", vector,
                                 header->offset, block->bytes.size);
    struct mg_block__view view = mg_block__view(block, vector);
    /* 10^38 and a distance of 64 bits fit 128 bits. */
    if (view.wide && !mg_decimal_fits(view.base, MG_DECIMAL_PRECISION_MAX))
        return mg_block__corrupt(err, block, header, "vector %u has a base that no decimal has", vector);
    uint64_t left = block->bytes.size - header->offset - lead;
    if (data_bytes(block, &view, left) > left)
        return mg_block__corrupt(err, block, header, "vector %u (%s, width %u) does not fit into %llu bytes", vector,
                                 encoding_names[header->encoding], width, (unsigned long long)left);
    return MG_OK;
}

static enum mg_code check_header(struct mg_type type, struct mg_slice bytes, const struct mg_block__header *header,
                                 struct mg_error *err)
{
    if (bytes.size < sizeof *header)
        return mg_corrupt(err, "block", 0, "%zu bytes are no block", bytes.size);
    if (header->format != MG_BLOCK__FORMAT)
        return mg_corrupt(err, "block", 0, "format %u is not known", header->format);
    if (header->type != type.id)
        return mg_corrupt(err, "block", 1, "it holds values of type number %u, not %u", header->type,
                          (unsigned)type.id);
    if (header->row_count == 0 || header->row_count > MG_BLOCK_ROWS)
        return mg_corrupt(err, "block", 4, "it has %u rows", header->row_count);
    if (header->size_bytes != bytes.size || bytes.size % 8)
        return mg_corrupt(err, "block", 12, "it says that it has %u bytes, and has %zu", header->size_bytes,
                          bytes.size);
    return MG_OK;
}

enum mg_code mg_block_open(struct mg_type type, struct mg_slice bytes, struct mg_block *out, struct mg_error *err)
{
    const struct mg_block__header *header = (const void *)bytes.data;
    uint32_t null_count = 0;

    MG_TRY(check_header(type, bytes, header, err));
    struct mg_block block = {
        .type = type,
        .row_count = header->row_count,
        .vector_count = (header->row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS,
        .null_count = header->null_count,
        .bytes = bytes,
        .vectors = (const void *)(bytes.data + sizeof *header),
    };
    uint64_t first_data = sizeof *header + block.vector_count * sizeof *block.vectors;
    if (first_data > bytes.size)
        return mg_corrupt(err, "block", 0, "%zu bytes do not hold the headers of %u rows", bytes.size, block.row_count);
    MG_TRY(open_shared(header, first_data, &block, err));
    for (uint32_t v = 0; v < block.vector_count; v++) {
        MG_TRY(check_vector(&block, v, first_data, err));
        null_count += block.vectors[v].null_count;
    }
    if (null_count != block.null_count)
        return mg_corrupt(err, "block", 8, "%u NULLs in all, but vectors have %u", block.null_count, null_count);
    *out = block;
    return MG_OK;
}

size_t mg_block_text_bytes(const struct mg_block *block, uint32_t first, uint32_t count)
{
    size_t bytes = 0;

    mg_assert(first <= block->vector_count && count <= block->vector_count - first);
    for (uint32_t v = first; v < first + count; v++) {
        const struct mg_block_vector *header = &block->vectors[v];
        if (header->encoding == MG_ENCODING_CONSTANT)
            bytes += header->base * mg_block_vector_rows(block, v);
        else
            bytes += header->encoding == MG_ENCODING_DICTIONARY ? header->base >> 32 : header->base;
    }
    return bytes;
}
