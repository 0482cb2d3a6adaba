/* part_footer.c -- the footer and the tail: written, read, and believed only after every number was checked.
 *
 * Errors   MG_CORRUPT names the file and the offset of what is wrong; MG_UNIMPLEMENTED: another format version.
 * Format   docs/format/part.md, "Footer" and "Tail".
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "part/part_internal.h"

enum {
    HASH_BYTES = 8,
    TAIL_VERSION_AT = 44,
    TAIL_HASH_AT = 48, /* of what is in front of it */
    TAIL_MAGIC_AT = 56,
    PACKED_ZSTD = 0,
    PACKED_DIFFERENCE = 1,
    SKETCH_SPARSE = 0,
    SKETCH_DENSE = 1,
    SKETCH_BITS = 6, /* a register */
    SKETCH_DENSE_BYTES = MG_SKETCH_REGISTERS * SKETCH_BITS / 8,
    BLOCK_BYTES_MIN = 3 * 8 + 4 + 1, /* of an entry */
};
static const char magic[8] = {'M', 'a', 'g', 'i', 'c', 'P', 'R', 'T'};

/* ---- writing ------------------------------------------------------------------------------------------------- */

static enum mg_code put_piece(const struct mg_part__piece *piece, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_le64(out, piece->offset, err));
    MG_TRY(mg_buffer_append_le64(out, piece->stored, err));
    return mg_buffer_append_le64(out, piece->hash, err);
}

static enum mg_code put_bound(const struct mg_value *value, struct mg_buffer *out, struct mg_error *err)
{
    uint8_t bytes[16];

    if (value->type.id == MG_TYPE_UTF8)
        return mg_buffer_append_bytes(out, value->text, err);
    mg_value_store(value, bytes);
    return mg_buffer_append(out, bytes, mg_type_width(value->type.id), err);
}

static enum mg_code put_form(const struct mg_part__piece *piece, struct mg_buffer *out, struct mg_error *err)
{
    if (!piece->difference_of)
        return mg_buffer_append_u8(out, PACKED_ZSTD, err);
    MG_TRY(mg_buffer_append_u8(out, PACKED_DIFFERENCE, err));
    return mg_buffer_append_le32(out, piece->difference_of - 1, err);
}

enum mg_code mg_part__encode_block(const struct mg_part__block *block, uint32_t version, struct mg_buffer *out,
                                   struct mg_error *err)
{
    bool is_packed = block->piece.stored != block->piece.size;

    MG_TRY(put_piece(&block->piece, out, err));
    if (version >= MG_PART_FORMAT_PACKED)
        MG_TRY(mg_buffer_append_le32(out, is_packed ? (uint32_t)block->piece.size : 0, err));
    if (is_packed)
        MG_TRY(put_form(&block->piece, out, err));
    MG_TRY(mg_buffer_append_le32(out, block->info.null_count, err));
    MG_TRY(mg_buffer_append_u8(out, block->info.has_zone, err));
    if (!block->info.has_zone)
        return MG_OK;
    MG_TRY(put_bound(&block->info.low, out, err));
    return put_bound(&block->info.high, out, err);
}

/* Registers that are not 0 one by one while that is shorter. */
static enum mg_code put_sketch(const struct mg_sketch *sketch, struct mg_buffer *out, struct mg_error *err)
{
    uint8_t dense[SKETCH_DENSE_BYTES + 8] = {0};
    uint32_t count = 0;

    for (uint32_t i = 0; i < MG_SKETCH_REGISTERS; i++) {
        mg_assert(sketch->registers[i] < 1 << SKETCH_BITS);
        count += sketch->registers[i] != 0;
        uint32_t word = mg_load_le32(dense + i * SKETCH_BITS / 8);
        mg_store_le32(dense + i * SKETCH_BITS / 8, word | (uint32_t)sketch->registers[i] << i * SKETCH_BITS % 8);
    }
    if (count * 3 >= SKETCH_DENSE_BYTES) {
        MG_TRY(mg_buffer_append_u8(out, SKETCH_DENSE, err));
        return mg_buffer_append(out, dense, SKETCH_DENSE_BYTES, err);
    }
    uint8_t head[3] = {SKETCH_SPARSE};
    mg_store_le16(head + 1, (uint16_t)count);
    MG_TRY(mg_buffer_append(out, head, sizeof head, err));
    for (uint32_t i = 0; i < MG_SKETCH_REGISTERS; i++) {
        uint8_t pair[3] = {(uint8_t)i, (uint8_t)(i >> 8), sketch->registers[i]};
        if (sketch->registers[i])
            MG_TRY(mg_buffer_append(out, pair, sizeof pair, err));
    }
    return MG_OK;
}

enum mg_code mg_part__encode_footer(const struct mg_part__footer *footer, struct mg_slice blocks, struct mg_buffer *out,
                                    struct mg_error *err)
{
    size_t start = out->size;

    MG_TRY(mg_buffer_append_le32(out, footer->segment_id, err));
    MG_TRY(mg_buffer_append_le32(out, footer->row_count, err));
    MG_TRY(mg_schema_encode(footer->schema, out, err));
    MG_TRY(put_piece(&footer->filter, out, err));
    MG_TRY(put_piece(&footer->index, out, err));
    MG_TRY(mg_buffer_append_bytes(out, footer->low, err));
    MG_TRY(mg_buffer_append_bytes(out, footer->high, err));
    MG_TRY(mg_buffer_append(out, blocks.data, blocks.size, err));
    for (uint32_t c = 0; c < footer->schema->column_count; c++) {
        MG_TRY(mg_buffer_append_le64(out, footer->columns[c].plain_bytes, err));
        MG_TRY(put_sketch(&footer->columns[c].sketch, out, err));
    }
    return mg_buffer_append_le64(out, mg_hash(out->data + start, out->size - start, 0), err);
}

void mg_part__encode_tail(const struct mg_part__tail *tail, uint8_t bytes[MG_PART__TAIL_BYTES])
{
    memset(bytes, 0, MG_PART__TAIL_BYTES);
    mg_store_le64(bytes, tail->footer_offset);
    mg_store_le64(bytes + 8, tail->footer_size);
    mg_store_le32(bytes + TAIL_VERSION_AT, tail->version);
    mg_store_le64(bytes + TAIL_HASH_AT, mg_hash(bytes, TAIL_HASH_AT, 0));
    memcpy(bytes + TAIL_MAGIC_AT, magic, sizeof magic);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* A footer on its way in. */
struct decoding {
    struct mg_reader in;
    const uint8_t *start;
    const char *file;
    uint64_t pieces_end, at; /* offsets in the file: the footer's begin; where the next piece has to lie */
    uint32_t version;
    struct mg_budget *budget;
};

static long long place_of(const struct decoding *d) { return (long long)d->pieces_end + (d->in.at - d->start); }

#define damaged(d, err, ...) mg_corrupt(err, (d)->file, place_of(d), __VA_ARGS__)

static enum mg_code check_cut(const struct decoding *d, struct mg_error *err)
{
    return d->in.failed ? damaged(d, err, "the footer is cut short") : MG_OK;
}

/* Pieces lie back to back and end where the footer begins: so none wraps, overlaps or leaves the file. */
static enum mg_code take_piece(struct decoding *d, const char *what, struct mg_part__piece *out, struct mg_error *err)
{
    *out = (struct mg_part__piece){
        .offset = mg_reader_le64(&d->in), .stored = mg_reader_le64(&d->in), .hash = mg_reader_le64(&d->in)};
    MG_TRY(check_cut(d, err));
    out->size = out->stored;
    uint64_t left = d->pieces_end - d->at;
    if (out->offset != d->at)
        return damaged(d, err, "%s lies at %" PRIu64 ", and what is in front of it ends at %" PRIu64, what, out->offset,
                       d->at);
    if (out->size == 0 || out->size > left || mg_part__padded(out->size) > left)
        return damaged(d, err, "%s of %" PRIu64 " bytes at %" PRIu64 ", where %" PRIu64 " are left", what, out->size,
                       out->offset, left);
    d->at += mg_part__padded(out->size);
    return MG_OK;
}

/* What it is in memory. Its room is reserved before it is unpacked, whatever is said here. */
static enum mg_code take_packing(struct decoding *d, struct mg_part__piece *piece, struct mg_error *err)
{
    uint32_t size = d->version >= MG_PART_FORMAT_PACKED ? mg_reader_le32(&d->in) : 0;
    uint8_t form = size ? mg_reader_u8(&d->in) : PACKED_ZSTD;

    MG_TRY(check_cut(d, err));
    if (form != PACKED_ZSTD && form != PACKED_DIFFERENCE)
        return damaged(d, err, "a block is packed in form %u", form);
    if (form == PACKED_DIFFERENCE) {
        uint32_t other = mg_reader_le32(&d->in);
        MG_TRY(check_cut(d, err));
        piece->difference_of = other < MG_COLUMNS_MAX ? other + 1 : UINT32_MAX;
    }
    if (size && size <= piece->stored)
        return damaged(d, err, "a block of %u bytes is packed into %" PRIu64, size, piece->stored);
    if (size)
        piece->size = size;
    return MG_OK;
}

static enum mg_code take_bound(struct decoding *d, struct mg_type type, struct mg_value *out, struct mg_error *err)
{
    if (type.id == MG_TYPE_UTF8) {
        *out = (struct mg_value){.type = type, .text = mg_reader_bytes(&d->in)};
        if (out->text.size > MG_ZONE_TEXT_MAX)
            return damaged(d, err, "a bound of %zu bytes", out->text.size);
        return check_cut(d, err);
    }
    struct mg_slice bytes = mg_reader_take(&d->in, mg_type_width(type.id));
    MG_TRY(check_cut(d, err));
    *out = mg_value_load(type, bytes.data);
    return MG_OK;
}

static bool is_nan(const struct mg_value *value)
{
    return (value->type.id == MG_TYPE_FLOAT32 || value->type.id == MG_TYPE_FLOAT64) && value->f != value->f;
}

/* The other column's block lies before it, is none of differences itself, and both are numbers without NULLs. */
static enum mg_code check_difference(const struct decoding *d, const struct mg_part__footer *footer, uint32_t column,
                                     const struct mg_part__block *block, struct mg_error *err)
{
    uint32_t other = block->piece.difference_of - 1;
    const struct mg_column *columns = footer->schema->columns;

    if (!block->piece.difference_of)
        return MG_OK;
    if (other >= column || columns[other].type.id != columns[column].type.id ||
        !mg_part__has_differences(columns[column].type) || block->info.null_count ||
        block[-(ptrdiff_t)(column - other)].piece.difference_of || block[-(ptrdiff_t)(column - other)].info.null_count)
        return damaged(d, err, "column %u is packed as differences to column %u", column, other);
    return MG_OK;
}

static enum mg_code take_block(struct decoding *d, const struct mg_part__footer *footer, uint32_t column,
                               uint32_t group, struct mg_part__block *out, struct mg_error *err)
{
    struct mg_block_info *info = &out->info;
    struct mg_type type = footer->schema->columns[column].type;

    MG_TRY(take_piece(d, "a block", &out->piece, err));
    MG_TRY(take_packing(d, &out->piece, err));
    info->row_count = mg_part__group_rows(footer->row_count, group);
    info->null_count = mg_reader_le32(&d->in);
    uint8_t has_zone = mg_reader_u8(&d->in);
    MG_TRY(check_cut(d, err));
    if (info->null_count > info->row_count || has_zone > 1 || (has_zone && info->null_count == info->row_count))
        return damaged(d, err, "column %u, row group %u: %u of %u rows are NULL, %u bounds", column, group,
                       info->null_count, info->row_count, has_zone);
    MG_TRY(check_difference(d, footer, column, out, err));
    if (info->null_count && mg_schema_is_key(footer->schema, column))
        return damaged(d, err, "key column %u, row group %u: a key is NULL", column, group);
    info->has_zone = has_zone;
    if (!has_zone)
        return MG_OK;
    MG_TRY(take_bound(d, type, &info->low, err));
    MG_TRY(take_bound(d, type, &info->high, err));
    if (is_nan(&info->low) || is_nan(&info->high) || mg_value_compare(&info->low, &info->high) > 0)
        return damaged(d, err, "column %u, row group %u: its bounds are none", column, group);
    return MG_OK;
}

static enum mg_code make_room(struct decoding *d, size_t block_count, struct mg_part__footer *out, struct mg_error *err)
{
    size_t blocks_bytes = block_count * sizeof(struct mg_part__block);
    size_t bytes = blocks_bytes + out->schema->column_count * sizeof(struct mg_part__column);

    MG_TRY(mg_budget_reserve(d->budget, bytes, err));
    out->memory_bytes = bytes;
    out->blocks = calloc(1, bytes);
    if (!out->blocks)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the footer of %s", d->file);
    out->columns = (struct mg_part__column *)(void *)((uint8_t *)out->blocks + blocks_bytes);
    return MG_OK;
}

void mg_part__footer_clear(struct mg_part__footer *footer, struct mg_budget *budget)
{
    mg_schema_unref(footer->schema);
    free(footer->blocks);
    mg_budget_release(budget, footer->memory_bytes);
    *footer = (struct mg_part__footer){.schema = NULL};
}

static enum mg_code take_blocks(struct decoding *d, struct mg_part__footer *out, struct mg_error *err)
{
    uint32_t columns = out->schema->column_count;
    uint64_t count = (uint64_t)out->group_count * columns;

    if (count > mg_reader_left(&d->in) / BLOCK_BYTES_MIN || count > UINT32_MAX - 2)
        return damaged(d, err, "%" PRIu64 " blocks do not fit into the footer", count);
    MG_TRY(make_room(d, count, out, err));
    for (uint32_t group = 0; group < out->group_count; group++)
        for (uint32_t c = 0; c < columns; c++) {
            struct mg_part__block *block = &out->blocks[(size_t)group * columns + c];
            MG_TRY(take_block(d, out, c, group, block, err));
            out->columns[c].null_count += block->info.null_count;
            out->columns[c].encoded_bytes += block->piece.size;
        }
    return MG_OK;
}

static enum mg_code take_sketch(struct decoding *d, struct mg_sketch *out, struct mg_error *err)
{
    uint8_t form = mg_reader_u8(&d->in);

    if (form == SKETCH_DENSE) {
        struct mg_slice packed = mg_reader_take(&d->in, SKETCH_DENSE_BYTES);
        MG_TRY(check_cut(d, err));
        for (uint32_t i = 0; i < MG_SKETCH_REGISTERS; i++) {
            uint32_t byte = i * SKETCH_BITS / 8, shift = i * SKETCH_BITS % 8;
            uint32_t word = packed.data[byte];
            if (shift + SKETCH_BITS > 8)
                word |= (uint32_t)packed.data[byte + 1] << 8;
            out->registers[i] = word >> shift & ((1 << SKETCH_BITS) - 1);
        }
        return MG_OK;
    }
    uint32_t count = mg_reader_le16(&d->in), next = 0;
    if (form != SKETCH_SPARSE)
        return damaged(d, err, "a sketch of form %u", form);
    while (count--) {
        uint32_t place = mg_reader_le16(&d->in);
        uint8_t value = mg_reader_u8(&d->in);
        MG_TRY(check_cut(d, err));
        if (place < next || place >= MG_SKETCH_REGISTERS || value == 0 || value >= 1 << SKETCH_BITS)
            return damaged(d, err, "register %u of a sketch is %u", place, value);
        out->registers[place] = value;
        next = place + 1;
    }
    return check_cut(d, err);
}

static enum mg_code take_schema(struct decoding *d, struct mg_part__footer *out, struct mg_error *err)
{
    struct mg_error inner = MG_ERROR_INIT;
    enum mg_code code = mg_schema_decode(&d->in, &out->schema, &inner);

    if (code == MG_CORRUPT)
        return damaged(d, err, "%s", inner.text);
    if (code != MG_OK)
        return mg_fail(err, code, "%s: %s", d->file, inner.text);
    if (out->schema->column_count == 0)
        return damaged(d, err, "a schema without columns");
    return MG_OK;
}

static enum mg_code take_keys(struct decoding *d, struct mg_part__footer *out, struct mg_error *err)
{
    out->low = mg_reader_bytes(&d->in);
    out->high = mg_reader_bytes(&d->in);
    MG_TRY(check_cut(d, err));
    int order = mg_slice_compare(out->low, out->high);
    if (out->low.size == 0 || out->low.size > MG_KEY_BYTES_MAX || out->high.size > MG_KEY_BYTES_MAX || order > 0 ||
        (order == 0) != (out->row_count == 1))
        return damaged(d, err, "the lowest key of %u rows is not below the highest", out->row_count);
    return MG_OK;
}

/* Their offsets are checked behind the blocks', as they lie in the file. */
static enum mg_code check_filter_and_index(struct decoding *d, struct mg_slice entries, struct mg_part__footer *out,
                                           struct mg_error *err)
{
    struct mg_reader rest = d->in;

    d->in = mg_reader_of(entries);
    MG_TRY(take_piece(d, "the filter", &out->filter, err));
    if (out->filter.size % MG_PART__LINE_BYTES)
        return damaged(d, err, "a filter of %" PRIu64 " bytes", out->filter.size);
    MG_TRY(take_piece(d, "the sparse index", &out->index, err));
    if (d->at != d->pieces_end)
        return damaged(d, err, "the pieces end at %" PRIu64 ", the footer begins at %" PRIu64, d->at, d->pieces_end);
    d->in = rest;
    return MG_OK;
}

static enum mg_code take_columns(struct decoding *d, struct mg_part__footer *out, struct mg_error *err)
{
    for (uint32_t c = 0; c < out->schema->column_count; c++) {
        out->columns[c].plain_bytes = mg_reader_le64(&d->in);
        MG_TRY(take_sketch(d, &out->columns[c].sketch, err));
    }
    return MG_OK;
}

enum mg_code mg_part__decode_footer(struct mg_slice bytes, const char *file, uint64_t pieces_end, uint32_t version,
                                    struct mg_budget *budget, struct mg_part__footer *out, struct mg_error *err)
{
    struct decoding d = {
        .start = bytes.data, .file = file, .pieces_end = pieces_end, .version = version, .budget = budget};

    mg_assert(bytes.size >= HASH_BYTES);
    bytes.size -= HASH_BYTES;
    if (mg_load_le64(bytes.data + bytes.size) != mg_hash(bytes.data, bytes.size, 0))
        return mg_corrupt(err, file, (long long)pieces_end, "the footer does not have its checksum");
    d.in = mg_reader_of(bytes);
    out->segment_id = mg_reader_le32(&d.in);
    out->row_count = mg_reader_le32(&d.in);
    MG_TRY(check_cut(&d, err));
    if (out->row_count == 0)
        return damaged(&d, err, "a part without rows");
    out->group_count = mg_part__groups(out->row_count);
    MG_TRY(take_schema(&d, out, err));
    struct mg_slice entries = mg_reader_take(&d.in, 2 * 3 * 8);
    MG_TRY(take_keys(&d, out, err));
    MG_TRY(take_blocks(&d, out, err));
    MG_TRY(check_filter_and_index(&d, entries, out, err));
    MG_TRY(take_columns(&d, out, err));
    if (mg_reader_left(&d.in))
        return damaged(&d, err, "%zu bytes follow the footer's end", mg_reader_left(&d.in));
    return MG_OK;
}

enum mg_code mg_part__decode_tail(const uint8_t bytes[MG_PART__TAIL_BYTES], const char *file, uint64_t file_size,
                                  struct mg_part__tail *out, struct mg_error *err)
{
    uint64_t at = file_size - MG_PART__TAIL_BYTES;

    if (memcmp(bytes + TAIL_MAGIC_AT, magic, sizeof magic) != 0)
        return mg_corrupt(err, file, (long long)at + TAIL_MAGIC_AT, "it does not end as a part ends");
    if (mg_load_le64(bytes + TAIL_HASH_AT) != mg_hash(bytes, TAIL_HASH_AT, 0))
        return mg_corrupt(err, file, (long long)at, "the tail does not have its checksum");
    out->version = mg_load_le32(bytes + TAIL_VERSION_AT);
    if (out->version < MG_PART_FORMAT || out->version > MG_PART_FORMAT_PACKED)
        return mg_fail(err, MG_UNIMPLEMENTED, "%s: part format version %u, this Magic reads %d and %d", file,
                       out->version, MG_PART_FORMAT, MG_PART_FORMAT_PACKED);
    out->footer_offset = mg_load_le64(bytes);
    out->footer_size = mg_load_le64(bytes + 8);
    if (out->footer_offset > at || out->footer_size != at - out->footer_offset || out->footer_size < HASH_BYTES ||
        out->footer_offset % MG_PART__ALIGNMENT)
        return mg_corrupt(err, file, (long long)at, "a footer of %" PRIu64 " bytes at %" PRIu64, out->footer_size,
                          out->footer_offset);
    for (uint64_t i = 16; i < TAIL_VERSION_AT; i++)
        if (bytes[i])
            return mg_corrupt(err, file, (long long)(at + i), "a reserved byte of the tail is %u", bytes[i]);
    return MG_OK;
}
