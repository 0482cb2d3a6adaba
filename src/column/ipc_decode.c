/* ipc_decode.c -- Arrow IPC messages from a peer: schemas and batches, with nothing believed before it is checked.
 *
 * FlatBuffers  read in place through struct fb, which knows its bounds; the first bad offset makes it `failed`, and
 *              from then on every read gives "absent". Alignment is never assumed. Nothing is recursive, so depth needs
 *              no limit.
 * Bounds       columns, rows, name and list lengths have maxima; a body whose columns together are longer than itself
 *              is refused (columns that share bytes could make a small message a large batch).
 * Batch        copied from the body into one aligned block: values behind each other, offsets from 0 on, bits and bytes
 *              behind the end zero.
 * Errors       MG_INVALID damaged; MG_UNIMPLEMENTED what Arrow can and this does not, by name; MG_TOO_BIG above a
 *              maximum.
 * Threads      pure functions.
 * Source       Arrow's format/Message.fbs and Schema.fbs; FlatBuffers' binary format page.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "column/batch_internal.h"
#include "column/bits.h"
#include "column/ipc.h"
#include "column/ipc_internal.h"

enum { METADATA_MAX = 1024 }; /* pairs of one field */

/* ---- FlatBuffers, in ----------------------------------------------------------------------------------------- */

struct fb {
    const uint8_t *data;
    size_t size;
    bool failed; /* sticky */
};

struct fb_table {
    size_t at;     /* 0: absent, every field is */
    size_t fields; /* where the vtable's field offsets begin */
    uint32_t field_count;
    uint32_t size; /* bytes of the table */
};

/* `size` bytes at `at` are inside; otherwise the buffer has failed. */
static bool fb_inside(struct fb *fb, size_t at, size_t size)
{
    if (fb->failed || at > fb->size || size > fb->size - at)
        fb->failed = true;
    return !fb->failed;
}

static struct fb_table fb_table_at(struct fb *fb, size_t at)
{
    if (at == 0 || !fb_inside(fb, at, 4))
        return (struct fb_table){.at = 0};
    int64_t vtable = (int64_t)at - (int32_t)mg_load_le32(fb->data + at);
    if (vtable < 0 || !fb_inside(fb, (size_t)vtable, 4)) {
        fb->failed = true;
        return (struct fb_table){.at = 0};
    }
    uint16_t vtable_size = mg_load_le16(fb->data + vtable), table_size = mg_load_le16(fb->data + vtable + 2);
    if (vtable_size < 4 || table_size < 4 || !fb_inside(fb, (size_t)vtable, vtable_size) ||
        !fb_inside(fb, at, table_size)) {
        fb->failed = true;
        return (struct fb_table){.at = 0};
    }
    return (struct fb_table){
        .at = at, .fields = (size_t)vtable + 4, .field_count = (vtable_size - 4u) / 2, .size = table_size};
}

/* Where a field of `size` bytes stands; 0 when it is absent. */
static size_t fb_field(struct fb *fb, const struct fb_table *table, uint32_t slot, uint32_t size)
{
    if (fb->failed || table->at == 0 || slot >= table->field_count)
        return 0;
    uint32_t offset = mg_load_le16(fb->data + table->fields + 2 * (size_t)slot);
    if (offset == 0)
        return 0;
    if (offset < 4 || offset + size > table->size) {
        fb->failed = true;
        return 0;
    }
    return table->at + offset;
}

static uint8_t fb_u8(struct fb *fb, const struct fb_table *table, uint32_t slot)
{
    size_t at = fb_field(fb, table, slot, 1);

    return at ? fb->data[at] : 0;
}

static int16_t fb_i16(struct fb *fb, const struct fb_table *table, uint32_t slot, int16_t otherwise)
{
    size_t at = fb_field(fb, table, slot, 2);

    return at ? (int16_t)mg_load_le16(fb->data + at) : otherwise;
}

static int32_t fb_i32(struct fb *fb, const struct fb_table *table, uint32_t slot, int32_t otherwise)
{
    size_t at = fb_field(fb, table, slot, 4);

    return at ? (int32_t)mg_load_le32(fb->data + at) : otherwise;
}

static int64_t fb_i64(struct fb *fb, const struct fb_table *table, uint32_t slot)
{
    size_t at = fb_field(fb, table, slot, 8);

    return at ? (int64_t)mg_load_le64(fb->data + at) : 0;
}

/* What the offset at `at` points to; 0 when at is 0. */
static size_t fb_follow(struct fb *fb, size_t at)
{
    if (at == 0 || !fb_inside(fb, at, 4))
        return 0;
    uint32_t offset = mg_load_le32(fb->data + at);
    if (offset == 0 || !fb_inside(fb, at, (size_t)offset + 4))
        fb->failed = true;
    return fb->failed ? 0 : at + offset;
}

static struct fb_table fb_child(struct fb *fb, const struct fb_table *table, uint32_t slot)
{
    return fb_table_at(fb, fb_follow(fb, fb_field(fb, table, slot, 4)));
}

/* Where the first of *out_count elements stands; 0 when the vector is absent, then *out_count is 0, too. */
static size_t fb_vector(struct fb *fb, const struct fb_table *table, uint32_t slot, uint32_t element_size,
                        uint32_t *out_count)
{
    size_t at = fb_follow(fb, fb_field(fb, table, slot, 4));

    *out_count = 0;
    if (at == 0 || !fb_inside(fb, at, 4))
        return 0;
    uint32_t count = mg_load_le32(fb->data + at);
    if (!fb_inside(fb, at + 4, (size_t)count * element_size))
        return 0;
    *out_count = count;
    return at + 4;
}

static struct mg_slice fb_text(struct fb *fb, const struct fb_table *table, uint32_t slot)
{
    uint32_t size;
    size_t at = fb_vector(fb, table, slot, 1, &size);

    return MG_SLICE(fb->data + at, size);
}

/* ---- messages ------------------------------------------------------------------------------------------------ */

struct message {
    struct fb fb;
    enum mg_ipc_header type;
    struct fb_table header;
    uint64_t body_size;
};

static enum mg_code damaged(const char *what, struct mg_error *err)
{
    return mg_fail(err, MG_INVALID, "an Arrow %s is damaged: an offset or a length leads out of it", what);
}

/* The FlatBuffers inside, whatever stands in front of them: FFFFFFFF and a length, the length alone (before Arrow
 * 0.15), nothing. */
static enum mg_code strip_prefix(struct mg_slice message, struct mg_slice *out, struct mg_error *err)
{
    if (message.size < 8)
        return mg_fail(err, MG_INVALID, "an Arrow message of %zu bytes is none", message.size);
    uint32_t first = mg_load_le32(message.data);
    if (first == MG_IPC_CONTINUATION) {
        uint32_t size = mg_load_le32(message.data + 4);
        if (size > message.size - 8)
            return mg_fail(err, MG_INVALID, "an Arrow message says it has %u bytes, but %zu are there", size,
                           message.size - 8);
        *out = MG_SLICE(message.data + 8, size);
    } else if (first == message.size - 4) {
        *out = MG_SLICE(message.data + 4, first);
    } else {
        *out = message;
    }
    return MG_OK;
}

/* Reads a bare Message. */
static enum mg_code read_message(struct mg_slice bytes, struct message *out, struct mg_error *err)
{
    struct fb fb = {.data = bytes.data, .size = bytes.size};

    if (!bytes.data || bytes.size < 8)
        return damaged("message", err);
    struct fb_table root = fb_table_at(&fb, mg_load_le32(bytes.data));
    int16_t version = fb_i16(&fb, &root, 0, 0);
    uint8_t type = fb_u8(&fb, &root, 1);
    struct fb_table header = fb_child(&fb, &root, 2);
    int64_t body_size = fb_i64(&fb, &root, 3);
    if (fb.failed || root.at == 0 || header.at == 0 || body_size < 0)
        return damaged("message", err);
    if (version != MG_IPC_VERSION_V5 && version != MG_IPC_VERSION_V4)
        return mg_fail(err, MG_UNIMPLEMENTED, "Arrow metadata version number %d is not read, only V4 and V5", version);
    if (type == MG_IPC_DICTIONARY_BATCH)
        return mg_fail(err, MG_UNIMPLEMENTED, "Arrow dictionaries are not read; send plain values");
    if (type != MG_IPC_SCHEMA && type != MG_IPC_RECORD_BATCH)
        return mg_fail(err, MG_UNIMPLEMENTED, "an Arrow message with header type %u is not read", type);
    *out = (struct message){.fb = fb, .type = type, .header = header, .body_size = (uint64_t)body_size};
    return MG_OK;
}

/* ---- schema -------------------------------------------------------------------------------------------------- */

static const char *const arrow_type_names[MG_ARROW_TYPE_LAST + 1] = {
    "none",          "null",      "int",           "floatingpoint",
    "binary",        "utf8",      "bool",          "decimal",
    "date",          "time",      "timestamp",     "interval",
    "list",          "struct",    "union",         "fixedsizebinary",
    "fixedsizelist", "map",       "duration",      "largebinary",
    "largeutf8",     "largelist", "runendencoded", "binaryview",
    "utf8view",      "listview",  "largelistview",
};

static enum mg_code read_int(struct fb *fb, const struct fb_table *type, struct mg_type *out, struct mg_error *err)
{
    int32_t bits = fb_i32(fb, type, 0, 0);
    bool is_signed = fb_u8(fb, type, 1);

    switch (bits) {
    case 8: out->id = is_signed ? MG_TYPE_INT8 : MG_TYPE_UINT8; return MG_OK;
    case 16: out->id = is_signed ? MG_TYPE_INT16 : MG_TYPE_UINT16; return MG_OK;
    case 32: out->id = is_signed ? MG_TYPE_INT32 : MG_TYPE_UINT32; return MG_OK;
    case 64: out->id = is_signed ? MG_TYPE_INT64 : MG_TYPE_UINT64; return MG_OK;
    default: return mg_fail(err, MG_INVALID, "an integer of %d bits is no Arrow type", bits);
    }
}

static enum mg_code read_decimal(struct fb *fb, const struct fb_table *type, struct mg_type *out, struct mg_error *err)
{
    int32_t precision = fb_i32(fb, type, 0, 0), scale = fb_i32(fb, type, 1, 0), bits = fb_i32(fb, type, 2, 128);

    if (bits != 128 || scale < 0)
        return mg_fail(err, MG_UNIMPLEMENTED, "decimal%d(%d,%d) is not read, only decimal128 with a scale from 0 on",
                       bits, precision, scale);
    if (precision < 1 || precision > MG_DECIMAL_PRECISION_MAX || scale > precision)
        return mg_fail(err, MG_INVALID, "decimal128(%d,%d) is no Arrow type", precision, scale);
    *out = (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return MG_OK;
}

static enum mg_code read_type(struct fb *fb, uint8_t number, const struct fb_table *type, struct mg_type *out,
                              struct mg_error *err)
{
    int16_t unit;

    *out = (struct mg_type){.id = MG_TYPE_NONE};
    switch (number) {
    case MG_ARROW_INT: return read_int(fb, type, out, err);
    case MG_ARROW_FLOATING_POINT:
        unit = fb_i16(fb, type, 0, 0);
        if (unit != MG_ARROW_PRECISION_SINGLE && unit != MG_ARROW_PRECISION_DOUBLE)
            return mg_fail(err, MG_UNIMPLEMENTED, "floats of precision number %d are not read, only single and double",
                           unit);
        out->id = unit == MG_ARROW_PRECISION_SINGLE ? MG_TYPE_FLOAT32 : MG_TYPE_FLOAT64;
        return MG_OK;
    case MG_ARROW_UTF8: out->id = MG_TYPE_UTF8; return MG_OK;
    case MG_ARROW_DECIMAL: return read_decimal(fb, type, out, err);
    case MG_ARROW_DATE:
        unit = fb_i16(fb, type, 0, 1); /* the default is milliseconds */
        if (unit != MG_ARROW_DATE_DAY)
            return mg_fail(err, MG_UNIMPLEMENTED, "date64 is not read, only date32");
        out->id = MG_TYPE_DATE;
        return MG_OK;
    case MG_ARROW_TIMESTAMP:
        unit = fb_i16(fb, type, 0, 0);
        if (unit != MG_ARROW_UNIT_MICROSECOND)
            return mg_fail(err, MG_UNIMPLEMENTED, "timestamps with unit number %d are not read, only microseconds",
                           unit);
        /* Any zone: the values are in UTC, the zone is for showing them. */
        out->id = fb_text(fb, type, 1).size ? MG_TYPE_TIMESTAMP : MG_TYPE_DATETIME;
        out->precision = 6;
        return MG_OK;
    default:
        return mg_fail(err, MG_UNIMPLEMENTED, "Arrow type %s is not read",
                       number <= MG_ARROW_TYPE_LAST ? arrow_type_names[number] : "of an unknown number");
    }
}

/* The value of "magic.source_type" among a field's metadata, or empty. */
static enum mg_code read_source_type(struct fb *fb, const struct fb_table *field, struct mg_slice *out,
                                     struct mg_error *err)
{
    uint32_t count;
    size_t entries = fb_vector(fb, field, 6, 4, &count);

    *out = MG_SLICE(NULL, 0);
    if (count > METADATA_MAX)
        return mg_fail(err, MG_TOO_BIG, "%u pairs of metadata, at most %d are allowed", count, METADATA_MAX);
    for (uint32_t i = 0; i < count && !fb->failed; i++) {
        struct fb_table pair = fb_table_at(fb, fb_follow(fb, entries + (size_t)i * 4));
        struct mg_slice key = fb_text(fb, &pair, 0), value = fb_text(fb, &pair, 1);
        if (!fb->failed && mg_slice_equal(key, mg_slice_text(MG_IPC_SOURCE_TYPE_KEY)))
            *out = value;
    }
    return MG_OK;
}

static enum mg_code read_field(struct fb *fb, const struct fb_table *table, struct mg_arena *arena,
                               struct mg_field *out, struct mg_error *err)
{
    uint32_t child_count;
    struct mg_slice source_type;

    struct mg_slice name = fb_text(fb, table, 0);
    uint8_t type_number = fb_u8(fb, table, 2);
    struct fb_table type = fb_child(fb, table, 3), dictionary = fb_child(fb, table, 4);
    (void)fb_vector(fb, table, 5, 4, &child_count);
    MG_TRY(read_source_type(fb, table, &source_type, err));
    if (fb->failed || type.at == 0)
        return damaged("field", err);
    if (name.size > MG_IPC_TEXT_MAX || source_type.size > MG_IPC_TEXT_MAX)
        return mg_fail(err, MG_TOO_BIG, "a field's name or source type has more than %d bytes", MG_IPC_TEXT_MAX);
    if (dictionary.at)
        return mg_fail(err, MG_UNIMPLEMENTED, "column \"%.*s\": dictionaries are not read; send plain values",
                       (int)MG_MIN(name.size, 64), (const char *)name.data);
    enum mg_code code = read_type(fb, type_number, &type, &out->type, err);
    if (code == MG_OK && child_count)
        code = mg_fail(err, MG_INVALID, "%u children where there can be none", child_count);
    if (code == MG_OK && fb->failed)
        code = damaged("type", err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "column \"%.*s\"", (int)MG_MIN(name.size, 64), (const char *)name.data);
    out->nullable = fb_u8(fb, table, 1);
    char *name_copy = mg_arena_text(arena, name), *source_copy = mg_arena_text(arena, source_type);
    if (!name_copy || !source_copy)
        return mg_arena_fail(arena, err);
    out->name = MG_SLICE(name_copy, name.size);
    out->source_type = MG_SLICE(source_copy, source_type.size);
    return MG_OK;
}

static enum mg_code read_schema(struct message *message, struct mg_arena *arena, struct mg_field **out_fields,
                                uint32_t *out_count, struct mg_error *err)
{
    struct fb *fb = &message->fb;
    uint32_t count;
    int16_t endianness = fb_i16(fb, &message->header, 0, MG_IPC_LITTLE_ENDIAN);
    size_t entries = fb_vector(fb, &message->header, 1, 4, &count);

    if (message->type != MG_IPC_SCHEMA)
        return mg_fail(err, MG_INVALID, "an Arrow record batch stands where a schema must be");
    if (fb->failed)
        return damaged("schema", err);
    if (endianness != MG_IPC_LITTLE_ENDIAN)
        return mg_fail(err, MG_UNIMPLEMENTED, "Arrow data in big endian is not read");
    if (count > MG_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a schema of %u columns, at most %d are allowed", count, MG_COLUMNS_MAX);
    struct mg_field *fields = mg_arena_array(arena, struct mg_field, (size_t)count + 1);
    if (!fields)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        struct fb_table table = fb_table_at(fb, fb_follow(fb, entries + (size_t)i * 4));
        MG_TRY(read_field(fb, &table, arena, &fields[i], err));
    }
    *out_fields = fields;
    *out_count = count;
    return MG_OK;
}

enum mg_code mg_ipc_decode_schema(struct mg_slice message, struct mg_arena *arena, struct mg_field **out_fields,
                                  uint32_t *out_count, struct mg_error *err)
{
    struct message read;

    MG_TRY(strip_prefix(message, &message, err));
    MG_TRY(read_message(message, &read, err));
    return read_schema(&read, arena, out_fields, out_count, err);
}

/* ---- record batch -------------------------------------------------------------------------------------------- */

/* One column's buffers in the body, cut to what its rows need. */
struct source {
    struct mg_slice validity; /* empty: none sent */
    struct mg_slice offsets;
    struct mg_slice values;
    int32_t first_offset;
};

/* The record batch's list of buffers, taken one after the other. */
struct buffer_list {
    const uint8_t *next;
    uint32_t left;
    struct mg_slice body;
};

/* The next buffer, at least size bytes of it; MG_INVALID when there is none or it is shorter or lies outside. */
static enum mg_code next_buffer(struct buffer_list *list, uint64_t size, struct mg_slice *out, struct mg_error *err)
{
    mg_assert(list->left > 0); /* their number was checked */
    int64_t offset = (int64_t)mg_load_le64(list->next), length = (int64_t)mg_load_le64(list->next + 8);
    list->next += 16;
    list->left--;
    if (offset < 0 || length < 0 || (uint64_t)offset > list->body.size ||
        (uint64_t)length > list->body.size - (uint64_t)offset)
        return mg_fail(err, MG_INVALID, "a buffer at %" PRId64 " of %" PRId64 " bytes lies outside a body of %zu bytes",
                       offset, length, list->body.size);
    if ((uint64_t)length < size)
        return mg_fail(err, MG_INVALID, "a buffer has %" PRId64 " bytes, its rows need %" PRIu64, length, size);
    *out = MG_SLICE(list->body.data + offset, (size_t)length);
    return MG_OK;
}

static enum mg_code find_source(struct buffer_list *list, const struct mg_field *field, uint32_t row_count,
                                int64_t null_count, struct source *out, struct mg_error *err)
{
    size_t bitmap_size = mg_bits_bytes(row_count);
    uint32_t width = mg_type_width(field->type.id);

    *out = (struct source){.first_offset = 0};
    MG_TRY(next_buffer(list, null_count ? bitmap_size : 0, &out->validity, err));
    /* Java sends a bitmap of ones also without a NULL; the count is taken from the bits, not from the peer. */
    out->validity.size = out->validity.size >= bitmap_size ? bitmap_size : 0;
    if (width) {
        MG_TRY(next_buffer(list, (uint64_t)row_count * width, &out->values, err));
        out->values.size = (size_t)row_count * width;
        return MG_OK;
    }
    MG_TRY(next_buffer(list, row_count ? ((uint64_t)row_count + 1) * 4 : 0, &out->offsets, err));
    MG_TRY(next_buffer(list, 0, &out->values, err));
    int32_t first = 0, last = 0;
    if (row_count) {
        mg_assert(out->offsets.data); /* it has room for two offsets at least */
        out->offsets.size = ((size_t)row_count + 1) * 4;
        first = (int32_t)mg_load_le32(out->offsets.data);
        last = (int32_t)mg_load_le32(out->offsets.data + (size_t)row_count * 4);
    } else {
        out->offsets.size = 0;
    }
    if (first < 0 || last < first || (size_t)last > out->values.size)
        return mg_fail(err, MG_INVALID, "text offsets go from %d to %d, %zu bytes are there", first, last,
                       out->values.size);
    out->values = MG_SLICE(row_count ? out->values.data + first : out->values.data, (size_t)(last - first));
    out->first_offset = first;
    return MG_OK;
}

static size_t round64(size_t size) { return (size + 63) & ~(size_t)63; }

/* Bytes of the batch's block that a column takes. */
static size_t source_room(const struct source *source, bool is_text, uint32_t row_count)
{
    return round64(source->validity.size) + round64(source->values.size) +
           (is_text ? round64(((size_t)row_count + 1) * 4) : 0);
}

/* Copy to *at, zero up to the next multiple of 64 and move behind it. */
static uint8_t *place(uint8_t **at, struct mg_slice bytes)
{
    uint8_t *start = *at;

    mg_assert(bytes.size == 0 || bytes.data);
    if (bytes.size)
        memcpy(start, bytes.data, bytes.size);
    memset(start + bytes.size, 0, round64(bytes.size) - bytes.size);
    *at += round64(bytes.size);
    return start;
}

static enum mg_code place_offsets(uint8_t **at, const struct source *source, uint32_t row_count, const int32_t **out,
                                  struct mg_error *err)
{
    int32_t *offsets = (int32_t *)(void *)*at;
    size_t size = ((size_t)row_count + 1) * 4;
    uint32_t falling = 0;

    mg_assert(row_count == 0 || source->offsets.data);
    if (row_count == 0)
        offsets[0] = 0;
    else
        memcpy(offsets, source->offsets.data, size);
    memset(*at + size, 0, round64(size) - size);
    for (uint32_t i = 0; i < row_count; i++)
        falling += offsets[i + 1] < offsets[i];
    if (falling)
        return mg_fail(err, MG_INVALID, "text offsets fall at %u places", falling);
    for (uint32_t i = 0; source->first_offset && i <= row_count; i++)
        offsets[i] -= source->first_offset; /* they rise from first on, so this stays above 0 */
    *out = offsets;
    *at += round64(size);
    return MG_OK;
}

static enum mg_code check_decimals(const struct mg_vector *v, struct mg_error *err)
{
    const mg_int128 *values = v->values;
    mg_int128 bound = mg_decimal_power(v->type.precision);

    for (uint32_t row = 0; row < v->row_count; row++)
        if ((values[row] >= bound || values[row] <= -bound) && !mg_vector_is_null(v, row))
            return mg_fail(err, MG_INVALID, "the value of row %u has more than %u digits", row, v->type.precision);
    return MG_OK;
}

static enum mg_code fill_vector(uint8_t **at, const struct source *source, const struct mg_field *field,
                                uint32_t row_count, struct mg_vector *v, struct mg_error *err)
{
    *v = (struct mg_vector){.type = field->type, .row_count = row_count};
    if (source->validity.size) {
        uint8_t *validity = place(at, source->validity);
        if (row_count & 7)
            validity[row_count >> 3] &= (uint8_t)((1u << (row_count & 7)) - 1);
        v->null_count = row_count - mg_bits_count(validity, 0, row_count);
        v->validity = v->null_count ? validity : NULL;
    }
    v->values = place(at, source->values);
    if (field->type.id == MG_TYPE_UTF8)
        MG_TRY(place_offsets(at, source, row_count, &v->offsets, err));
    if (v->null_count && !field->nullable)
        return mg_fail(err, MG_INVALID, "%u NULLs in a column that may not be NULL", v->null_count);
    return field->type.id == MG_TYPE_DECIMAL ? check_decimals(v, err) : MG_OK;
}

/* Reads the header: row count, nodes, buffers. */
static enum mg_code read_batch_header(struct message *message, uint32_t field_count, uint32_t buffer_count,
                                      uint32_t *out_row_count, size_t *out_nodes, size_t *out_buffers,
                                      struct mg_error *err)
{
    struct fb *fb = &message->fb;
    struct fb_table *header = &message->header;
    uint32_t nodes_sent, buffers_sent, variadic_sent;
    int64_t row_count = fb_i64(fb, header, 0);

    if (message->type != MG_IPC_RECORD_BATCH)
        return mg_fail(err, MG_INVALID, "an Arrow schema stands where a record batch must be");
    *out_nodes = fb_vector(fb, header, 1, 16, &nodes_sent);
    *out_buffers = fb_vector(fb, header, 2, 16, &buffers_sent);
    struct fb_table compression = fb_child(fb, header, 3);
    (void)fb_vector(fb, header, 4, 8, &variadic_sent);
    if (fb->failed || row_count < 0)
        return damaged("record batch", err);
    if (compression.at)
        return mg_fail(err, MG_UNIMPLEMENTED, "compressed Arrow batches are not read; send them uncompressed");
    if (row_count > MG_BATCH_ROWS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a batch of %" PRId64 " rows, at most %d are allowed; send several", row_count,
                       MG_BATCH_ROWS_MAX);
    if (nodes_sent != field_count || buffers_sent != buffer_count || variadic_sent)
        return mg_fail(err, MG_INVALID, "a batch of %u columns and %u buffers; its schema wants %u and %u", nodes_sent,
                       buffers_sent, field_count, buffer_count);
    *out_row_count = (uint32_t)row_count;
    return MG_OK;
}

static enum mg_code find_sources(struct message *message, size_t nodes, struct buffer_list *list,
                                 const struct mg_field *fields, uint32_t field_count, uint32_t row_count,
                                 struct source *sources, size_t *out_room, struct mg_error *err)
{
    uint64_t used = 0;

    *out_room = 0;
    for (uint32_t i = 0; i < field_count; i++) {
        const uint8_t *node = message->fb.data + nodes + (size_t)i * 16;
        int64_t length = (int64_t)mg_load_le64(node), null_count = (int64_t)mg_load_le64(node + 8);
        enum mg_code code = MG_OK;
        if (length != row_count || null_count < 0 || null_count > length)
            code = mg_fail(err, MG_INVALID, "%" PRId64 " values, %" PRId64 " of them NULL, in a batch of %u rows",
                           length, null_count, row_count);
        if (code == MG_OK)
            code = find_source(list, &fields[i], row_count, null_count, &sources[i], err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "column \"%.*s\"", (int)MG_MIN(fields[i].name.size, 64),
                              (const char *)fields[i].name.data);
        used += sources[i].validity.size + sources[i].offsets.size + sources[i].values.size;
        *out_room += source_room(&sources[i], fields[i].type.id == MG_TYPE_UTF8, row_count);
    }
    if (used > list->body.size)
        return mg_fail(err, MG_INVALID, "the columns of a batch overlap: together %" PRIu64 " bytes in a body of %zu",
                       used, list->body.size);
    return MG_OK;
}

static enum mg_code decode_batch(struct message *message, struct mg_slice body, const struct mg_field *fields,
                                 uint32_t field_count, struct mg_budget *budget, struct mg_batch **out,
                                 struct mg_error *err)
{
    uint32_t row_count = 0, buffer_count = 0;
    size_t nodes = 0, buffers = 0, room = 0;
    uint8_t *at = NULL;
    MG_CLEANUP(mg_arena_clear) struct mg_arena scratch;

    mg_arena_init(&scratch, SIZE_MAX);
    mg_assert(field_count <= MG_COLUMNS_MAX);
    for (uint32_t i = 0; i < field_count; i++)
        buffer_count += fields[i].type.id == MG_TYPE_UTF8 ? 3 : 2;
    MG_TRY(read_batch_header(message, field_count, buffer_count, &row_count, &nodes, &buffers, err));
    if (message->body_size > body.size)
        return mg_fail(err, MG_INVALID, "a batch says its body has %" PRIu64 " bytes, but %zu are there",
                       message->body_size, body.size);
    body.size = (size_t)message->body_size;
    struct source *sources = mg_arena_array(&scratch, struct source, (size_t)field_count + 1);
    if (!sources)
        return mg_arena_fail(&scratch, err);
    struct buffer_list list = {.next = message->fb.data + buffers, .left = buffer_count, .body = body};
    MG_TRY(find_sources(message, nodes, &list, fields, field_count, row_count, sources, &room, err));

    MG_CLEANUP(mg_batch__discard) struct mg_batch__owned *owned = mg_batch__new(row_count, field_count, 1, budget);
    if (!owned)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a batch of %u columns", field_count);
    MG_TRY(mg_batch__alloc(owned, room, &at, err));
    for (uint32_t i = 0; i < field_count; i++) {
        enum mg_code code = fill_vector(&at, &sources[i], &fields[i], row_count, &owned->batch.vectors[i], err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "column \"%.*s\"", (int)MG_MIN(fields[i].name.size, 64),
                              (const char *)fields[i].name.data);
    }
    *out = &MG_TAKE(owned)->batch;
    return MG_OK;
}

enum mg_code mg_ipc_decode_batch(struct mg_slice message, struct mg_slice body, const struct mg_field *fields,
                                 uint32_t field_count, struct mg_budget *budget, struct mg_batch **out,
                                 struct mg_error *err)
{
    struct message read;

    MG_TRY(strip_prefix(message, &message, err));
    MG_TRY(read_message(message, &read, err));
    return decode_batch(&read, body, fields, field_count, budget, out, err);
}

/* ---- stream -------------------------------------------------------------------------------------------------- */

/* The next message of a stream and its body; *out_end when the stream is over: its end marker, or nothing more. */
static enum mg_code next_message(struct mg_reader *in, struct message *out, struct mg_slice *out_body, bool *out_end,
                                 struct mg_error *err)
{
    *out_end = mg_reader_left(in) == 0 && !in->failed;
    if (*out_end)
        return MG_OK;
    uint32_t size = mg_reader_le32(in);
    if (size == MG_IPC_CONTINUATION)
        size = mg_reader_le32(in);
    *out_end = size == 0 && !in->failed;
    if (*out_end)
        return MG_OK;
    struct mg_slice bytes = mg_reader_take(in, size);
    if (in->failed)
        return mg_fail(err, MG_INVALID, "an Arrow stream is cut short in a message of %u bytes", size);
    MG_TRY(read_message(bytes, out, err));
    *out_body = mg_reader_take(in, out->body_size);
    if (in->failed)
        return mg_fail(err, MG_INVALID, "an Arrow stream is cut short in a body of %" PRIu64 " bytes", out->body_size);
    return MG_OK;
}

enum mg_code mg_ipc_stream_schema(struct mg_reader *in, struct mg_arena *arena, struct mg_field **out_fields,
                                  uint32_t *out_count, struct mg_error *err)
{
    struct message message = {.type = MG_IPC_SCHEMA};
    struct mg_slice body;
    bool end = false;

    MG_TRY(next_message(in, &message, &body, &end, err));
    if (end)
        return mg_fail(err, MG_INVALID, "an Arrow stream ends before its schema");
    return read_schema(&message, arena, out_fields, out_count, err);
}

enum mg_code mg_ipc_stream_next(struct mg_reader *in, const struct mg_field *fields, uint32_t field_count,
                                struct mg_budget *budget, struct mg_batch **out_batch, struct mg_error *err)
{
    struct message message = {.type = MG_IPC_RECORD_BATCH};
    struct mg_slice body = MG_SLICE(NULL, 0);
    bool end = false;

    MG_TRY(next_message(in, &message, &body, &end, err));
    if (end) {
        *out_batch = NULL;
        return MG_OK;
    }
    return decode_batch(&message, body, fields, field_count, budget, out_batch, err);
}
