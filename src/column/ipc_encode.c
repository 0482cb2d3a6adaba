/* ipc_encode.c -- schemas and batches as Arrow IPC messages, the FlatBuffers written by hand, front to back.
 *
 * FlatBuffers  offsets point forward only, so a table is written with room for its offsets, which are filled in when
 *              what they point to is written behind. Every scalar is written, also where it equals the default: Date's
 *              default unit is not ours, and readers differ in what they take.
 * Layout       vtable (u16 size, u16 table size, u16 field offsets...), table (i32 back to the vtable, fields, widest
 *              first). Positions are from the start of the Message, which readers align to 8 bytes.
 * Body         validity (nothing when no NULL), offsets, values per column, each padded to 8 with static zeros: no byte
 *              of memory next to a column leaves the process.
 * Threads      pure functions.
 * Source       Arrow's format/Message.fbs and Schema.fbs; FlatBuffers' binary format page.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "column/batch_internal.h"
#include "column/bits.h"
#include "column/ipc.h"
#include "column/ipc_internal.h"

/* ---- FlatBuffers, out ---------------------------------------------------------------------------------------- */

/* Writes into out, positions count from base. After a failure (the buffer's maximum) every call does nothing. */
struct fb {
    struct mg_buffer *out;
    size_t base;
    enum mg_code code;
    struct mg_error *err;
};

struct fb_field {
    uint8_t size;    /* 0: left out; 1, 2, 4, 8 */
    uint64_t value;  /* unused for offsets: see fb_point */
    size_t position; /* where it was written */
};
#define FB_NONE ((struct fb_field){.size = 0})
#define FB_U8(v) ((struct fb_field){.size = 1, .value = (uint8_t)(v)})
#define FB_U16(v) ((struct fb_field){.size = 2, .value = (uint16_t)(v)})
#define FB_U32(v) ((struct fb_field){.size = 4, .value = (uint32_t)(v)})
#define FB_U64(v) ((struct fb_field){.size = 8, .value = (uint64_t)(v)})
#define FB_OFFSET FB_U32(0)

enum { FB_FIELDS_MAX = 8 };

static size_t fb_position(const struct fb *fb) { return fb->out->size - fb->base; }

/* Zeroed room of size bytes; NULL after a failure. */
static uint8_t *fb_room(struct fb *fb, size_t size)
{
    if (fb->code == MG_OK)
        fb->code = mg_buffer_append_zeros(fb->out, size, fb->err);
    return fb->code == MG_OK ? fb->out->data + fb->out->size - size : NULL;
}

/* Zeros until position + ahead is a multiple of alignment. */
static void fb_align(struct fb *fb, size_t alignment, size_t ahead)
{
    size_t over = (fb_position(fb) + ahead) % alignment;

    if (over)
        fb_room(fb, alignment - over);
}

/* Make the offset at `from` point to the current position. */
static void fb_point(struct fb *fb, size_t from)
{
    if (fb->code == MG_OK)
        mg_store_le32(fb->out->data + fb->base + from, (uint32_t)(fb_position(fb) - from));
}

/* A table whose slots are fields[0..count); from: position of the offset to it. Fills in the fields' positions. */
static void fb_table(struct fb *fb, size_t from, struct fb_field *fields, uint32_t count)
{
    static const uint8_t sizes[4] = {8, 4, 2, 1};
    size_t vtable_size = 4 + 2 * (size_t)count, table_size = 4, offsets[FB_FIELDS_MAX] = {0};
    bool has_wide = false;

    mg_assert(count <= FB_FIELDS_MAX);
    for (uint32_t s = 0; s < 4; s++) /* widest first, so that each is aligned */
        for (uint32_t i = 0; i < count; i++)
            if (fields[i].size == sizes[s]) {
                has_wide = has_wide || sizes[s] == 8;
                offsets[i] = table_size;
                table_size += sizes[s];
            }
    /* The table starts at a multiple of 4; when it has a field of 8 bytes, that field, 4 bytes in, at one of 8. */
    fb_align(fb, has_wide ? 8 : 4, vtable_size + (has_wide ? 4 : 0));
    uint8_t *vtable = fb_room(fb, vtable_size);
    if (!vtable)
        return;
    mg_store_le16(vtable, (uint16_t)vtable_size);
    mg_store_le16(vtable + 2, (uint16_t)table_size);
    for (uint32_t i = 0; i < count; i++)
        mg_store_le16(vtable + 4 + 2 * i, (uint16_t)offsets[i]);
    fb_point(fb, from);
    size_t table_position = fb_position(fb);
    uint8_t *table = fb_room(fb, table_size);
    if (!table)
        return;
    mg_store_le32(table, (uint32_t)vtable_size);
    for (uint32_t i = 0; i < count; i++) {
        fields[i].position = table_position + offsets[i];
        if (fields[i].size)
            memcpy(table + offsets[i], &fields[i].value, fields[i].size);
    }
}

static void fb_string(struct fb *fb, size_t from, struct mg_slice text)
{
    fb_align(fb, 4, 0);
    fb_point(fb, from);
    uint8_t *at = fb_room(fb, 4 + text.size + 1);
    if (!at)
        return;
    mg_store_le32(at, (uint32_t)text.size);
    if (text.size)
        memcpy(at + 4, text.data, text.size);
}

/* A vector of count elements; returns the position of the first one. */
static size_t fb_vector(struct fb *fb, size_t from, uint32_t count, size_t element_size)
{
    fb_align(fb, element_size > 4 ? 8 : 4, 4);
    fb_point(fb, from);
    uint8_t *at = fb_room(fb, 4 + count * element_size);
    if (at)
        mg_store_le32(at, count);
    return fb_position(fb) - count * element_size;
}

/* The Message around a header: root offset and table; returns where the offset to the header stands. */
static size_t begin_message(struct fb *fb, bool encapsulate, uint8_t header_type, uint64_t body_size)
{
    size_t start = fb->out->size;

    if (encapsulate)
        fb_room(fb, MG_IPC_PREFIX);
    fb->base = start + (encapsulate ? MG_IPC_PREFIX : 0);
    fb_room(fb, 4);
    struct fb_field message[] = {FB_U16(MG_IPC_VERSION_V5), FB_U8(header_type), FB_OFFSET, FB_U64(body_size)};
    fb_table(fb, 0, message, MG_COUNT_OF(message));
    return message[2].position;
}

static enum mg_code end_message(struct fb *fb, bool encapsulate, size_t start)
{
    fb_align(fb, 8, 0);
    if (fb->code != MG_OK) {
        fb->out->size = start;
        return fb->code;
    }
    if (encapsulate) {
        mg_store_le32(fb->out->data + start, MG_IPC_CONTINUATION);
        mg_store_le32(fb->out->data + start + 4, (uint32_t)fb_position(fb));
    }
    return MG_OK;
}

/* ---- schema -------------------------------------------------------------------------------------------------- */

static uint8_t arrow_type(enum mg_type_id id)
{
    switch (id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return MG_ARROW_FLOATING_POINT;
    case MG_TYPE_DECIMAL: return MG_ARROW_DECIMAL;
    case MG_TYPE_DATE: return MG_ARROW_DATE;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return MG_ARROW_TIMESTAMP;
    case MG_TYPE_UTF8: return MG_ARROW_UTF8;
    default: return MG_ARROW_INT;
    }
}

static void encode_type(struct fb *fb, size_t from, struct mg_type type)
{
    uint32_t bits = mg_type_width(type.id) * 8;

    switch (arrow_type(type.id)) {
    case MG_ARROW_INT: {
        struct fb_field fields[] = {FB_U32(bits), FB_U8(type.id <= MG_TYPE_INT64)};
        fb_table(fb, from, fields, 2);
        break;
    }
    case MG_ARROW_FLOATING_POINT: {
        struct fb_field fields[] = {FB_U16(bits == 32 ? MG_ARROW_PRECISION_SINGLE : MG_ARROW_PRECISION_DOUBLE)};
        fb_table(fb, from, fields, 1);
        break;
    }
    case MG_ARROW_DECIMAL: {
        struct fb_field fields[] = {FB_U32(type.precision), FB_U32(type.scale), FB_U32(128)};
        fb_table(fb, from, fields, 3);
        break;
    }
    case MG_ARROW_DATE: {
        struct fb_field fields[] = {FB_U16(MG_ARROW_DATE_DAY)};
        fb_table(fb, from, fields, 1);
        break;
    }
    case MG_ARROW_TIMESTAMP: {
        bool utc = type.id == MG_TYPE_TIMESTAMP;
        struct fb_field fields[] = {FB_U16(MG_ARROW_UNIT_MICROSECOND), utc ? FB_OFFSET : FB_NONE};
        fb_table(fb, from, fields, 2);
        if (utc)
            fb_string(fb, fields[1].position, mg_slice_text("UTC"));
        break;
    }
    default: /* Utf8: a table without fields */ fb_table(fb, from, NULL, 0);
    }
}

static void encode_field(struct fb *fb, size_t from, const struct mg_field *field)
{
    bool has_metadata = field->source_type.size > 0;
    struct fb_field fields[] = {FB_OFFSET,
                                FB_U8(field->nullable),
                                FB_U8(arrow_type(field->type.id)),
                                FB_OFFSET,
                                FB_NONE,
                                FB_OFFSET,
                                has_metadata ? FB_OFFSET : FB_NONE};

    fb_table(fb, from, fields, MG_COUNT_OF(fields));
    fb_string(fb, fields[0].position, field->name);
    encode_type(fb, fields[3].position, field->type);
    fb_vector(fb, fields[5].position, 0, 4); /* no children, but the vector must be there */
    if (!has_metadata)
        return;
    size_t entry = fb_vector(fb, fields[6].position, 1, 4);
    struct fb_field pair[] = {FB_OFFSET, FB_OFFSET};
    fb_table(fb, entry, pair, 2);
    fb_string(fb, pair[0].position, mg_slice_text(MG_IPC_SOURCE_TYPE_KEY));
    fb_string(fb, pair[1].position, field->source_type);
}

enum mg_code mg_ipc_encode_schema(const struct mg_field *fields, uint32_t count, bool encapsulate,
                                  struct mg_buffer *out, struct mg_error *err)
{
    size_t start = out->size;
    struct fb fb = {.out = out, .err = err};

    if (count > MG_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a schema of %u columns, at most %d are allowed", count, MG_COLUMNS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        MG_TRY(mg_type_check(fields[i].type, err));
        if (fields[i].name.size > MG_IPC_TEXT_MAX || fields[i].source_type.size > MG_IPC_TEXT_MAX)
            return mg_fail(err, MG_TOO_BIG, "column %u has a name or source type of more than %d bytes", i,
                           MG_IPC_TEXT_MAX);
    }
    size_t header = begin_message(&fb, encapsulate, MG_IPC_SCHEMA, 0);
    struct fb_field schema[] = {FB_U16(MG_IPC_LITTLE_ENDIAN), FB_OFFSET};
    fb_table(&fb, header, schema, MG_COUNT_OF(schema));
    size_t entries = fb_vector(&fb, schema[1].position, count, 4);
    for (uint32_t i = 0; i < count; i++)
        encode_field(&fb, entries + (size_t)i * 4, &fields[i]);
    return end_message(&fb, encapsulate, start);
}

/* ---- record batch -------------------------------------------------------------------------------------------- */

/* The body under way: its pieces, and the buffers as the header lists them. */
struct body {
    struct iovec *pieces;
    uint32_t piece_count;
    uint64_t size;
    uint8_t *buffers; /* next struct Buffer of the header {i64 offset, i64 length} */
};

static void add_buffer(struct body *body, const void *data, size_t size)
{
    size_t padding = mg_pad8(size) - size;

    mg_store_le64(body->buffers, body->size);
    mg_store_le64(body->buffers + 8, size);
    body->buffers += 16;
    if (size)
        body->pieces[body->piece_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    if (padding)
        body->pieces[body->piece_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)mg_batch__zeros,
                                                           .iov_len = padding};
    body->size += size + padding;
}

/* Offsets from 0 on; copied only when they begin elsewhere. */
static enum mg_code rebased_offsets(const struct mg_vector *v, struct mg_arena *scratch, const int32_t **out,
                                    struct mg_error *err)
{
    if (v->row_count == 0 || v->offsets[0] == 0) {
        *out = v->row_count ? v->offsets : (const int32_t *)(const void *)mg_batch__zeros;
        return MG_OK;
    }
    int32_t *offsets = mg_arena_array(scratch, int32_t, (size_t)v->row_count + 1);
    if (!offsets)
        return mg_arena_fail(scratch, err);
    int32_t first = v->offsets[0];
    for (uint32_t i = 0; i <= v->row_count; i++)
        offsets[i] = v->offsets[i] - first;
    *out = offsets;
    return MG_OK;
}

static enum mg_code add_vector(struct body *body, const struct mg_vector *v, struct mg_arena *scratch,
                               struct mg_error *err)
{
    add_buffer(body, v->validity, v->null_count ? mg_bits_bytes(v->row_count) : 0);
    if (v->type.id != MG_TYPE_UTF8) {
        add_buffer(body, v->values, (size_t)v->row_count * mg_type_width(v->type.id));
        return MG_OK;
    }
    const int32_t *offsets = NULL;
    MG_TRY(rebased_offsets(v, scratch, &offsets, err));
    add_buffer(body, offsets, ((size_t)v->row_count + 1) * 4);
    if (v->row_count)
        add_buffer(body, (const uint8_t *)v->values + v->offsets[0],
                   (size_t)(v->offsets[v->row_count] - v->offsets[0]));
    else
        add_buffer(body, mg_batch__zeros, 0);
    return MG_OK;
}

enum mg_code mg_ipc_encode_batch(const struct mg_batch *batch, bool encapsulate, struct mg_buffer *out_header,
                                 struct mg_arena *scratch, struct iovec *out_pieces, uint32_t *out_piece_count,
                                 uint64_t *out_body_size, struct mg_error *err)
{
    size_t start = out_header->size;
    struct fb fb = {.out = out_header, .err = err};
    struct body body = {.pieces = out_pieces};
    uint32_t buffer_count = 0;

    for (uint32_t i = 0; i < batch->column_count; i++)
        buffer_count += batch->vectors[i].type.id == MG_TYPE_UTF8 ? 3 : 2;
    size_t header = begin_message(&fb, encapsulate, MG_IPC_RECORD_BATCH, mg_batch_bytes(batch));
    struct fb_field record_batch[] = {FB_U64(batch->row_count), FB_OFFSET, FB_OFFSET};
    fb_table(&fb, header, record_batch, MG_COUNT_OF(record_batch));
    size_t nodes = fb_vector(&fb, record_batch[1].position, batch->column_count, 16);
    size_t buffers = fb_vector(&fb, record_batch[2].position, buffer_count, 16);
    MG_TRY(end_message(&fb, encapsulate, start));
    uint8_t *node = out_header->data + fb.base + nodes;
    body.buffers = out_header->data + fb.base + buffers;
    for (uint32_t i = 0; i < batch->column_count; i++, node += 16) {
        mg_store_le64(node, batch->vectors[i].row_count);
        mg_store_le64(node + 8, batch->vectors[i].null_count);
        enum mg_code code = add_vector(&body, &batch->vectors[i], scratch, err);
        if (code != MG_OK) {
            out_header->size = start;
            return code;
        }
    }
    mg_assert(body.size == mg_batch_bytes(batch));
    *out_piece_count = body.piece_count;
    *out_body_size = body.size;
    return MG_OK;
}

/* ---- stream -------------------------------------------------------------------------------------------------- */

enum mg_code mg_ipc_stream_begin(const struct mg_field *fields, uint32_t count, struct mg_buffer *out,
                                 struct mg_error *err)
{
    return mg_ipc_encode_schema(fields, count, true, out, err);
}

static enum mg_code append_pieces(struct mg_buffer *out, const struct iovec *pieces, uint32_t count,
                                  struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(mg_buffer_append(out, pieces[i].iov_base, pieces[i].iov_len, err));
    return MG_OK;
}

enum mg_code mg_ipc_stream_batch(const struct mg_batch *batch, struct mg_buffer *out, struct mg_error *err)
{
    size_t start = out->size, pieces_max = (size_t)batch->column_count * MG_IPC_PIECES_PER_COLUMN;
    uint32_t piece_count;
    uint64_t body_size;
    MG_CLEANUP(mg_arena_clear) struct mg_arena scratch;

    mg_arena_init(&scratch, SIZE_MAX);
    struct iovec *pieces = mg_arena_array(&scratch, struct iovec, pieces_max + 1);
    if (!pieces)
        return mg_arena_fail(&scratch, err);
    MG_TRY(mg_ipc_encode_batch(batch, true, out, &scratch, pieces, &piece_count, &body_size, err));
    enum mg_code code = append_pieces(out, pieces, piece_count, err);
    if (code != MG_OK)
        out->size = start;
    return code;
}

enum mg_code mg_ipc_stream_end(struct mg_buffer *out, struct mg_error *err)
{
    uint8_t marker[MG_IPC_PREFIX];

    mg_store_le32(marker, MG_IPC_CONTINUATION);
    mg_store_le32(marker + 4, 0);
    return mg_buffer_append(out, marker, sizeof marker, err);
}
