/* binlog.c -- reads TiDB's binlog messages where they lie.
 *
 * Input   protobuf wire format of binlog.WriteBinlogReq (proto3: zeroes are left out) and binlog.Binlog (proto2:
 *         scalars are always written).
 * Errors  MG_PROTOCOL, naming the message and what is wrong with it.
 * Source  proto/pump.proto; differs from generated code: nothing is copied or allocated.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/source/binlog.h"

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
    uint32_t number;
    enum wire wire;
    uint64_t value;        /* VARINT, 32, 64 */
    struct mg_slice bytes; /* BYTES */
};

/* The next field: false at the end and on damage, which leaves r->failed. */
static bool next_field(struct mg_reader *r, struct field *out)
{
    if (r->failed || mg_reader_left(r) == 0)
        return false;
    uint64_t tag = mg_reader_varint(r);
    uint64_t number = tag >> 3;
    if (number == 0 || number >> 29 != 0)
        r->failed = true;
    *out = (struct field){.number = (uint32_t)number, .wire = (enum wire)(tag & 7)};
    switch (out->wire) {
    case WIRE_VARINT: out->value = mg_reader_varint(r); break;
    case WIRE_64: out->value = mg_reader_le64(r); break;
    case WIRE_32: out->value = mg_reader_le32(r); break;
    case WIRE_BYTES: out->bytes = mg_reader_bytes(r); break;
    default: r->failed = true;
    }
    return !r->failed;
}

/* A field that the message knows, with the wire type that it must have. */
static bool field_is(struct mg_reader *r, const struct field *f, uint32_t number, enum wire wire)
{
    if (f->number != number)
        return false;
    if (f->wire != wire)
        r->failed = true;
    return !r->failed;
}

static enum mg_code damaged(const char *message, const struct mg_reader *r, struct mg_slice all, struct mg_error *err)
{
    return mg_fail(err, MG_PROTOCOL, "%s of %zu bytes is damaged before byte %zu", message, all.size,
                   (size_t)(r->at - all.data));
}

enum mg_code mg_binlog_read_request(struct mg_slice message, struct mg_binlog_request *out, struct mg_error *err)
{
    struct mg_binlog_request request = {0};
    struct mg_reader r = mg_reader_of(message);
    struct field f;
    while (next_field(&r, &f)) {
        if (field_is(&r, &f, 1, WIRE_VARINT))
            request.cluster_id = f.value;
        else if (field_is(&r, &f, 2, WIRE_BYTES))
            request.payload = f.bytes;
    }
    if (r.failed)
        return damaged("WriteBinlogReq", &r, message, err);
    *out = request;
    return MG_OK;
}

enum mg_code mg_binlog_read(struct mg_slice payload, struct mg_binlog *out, struct mg_error *err)
{
    struct mg_binlog binlog = {0};
    struct mg_reader r = mg_reader_of(payload);
    struct field f;
    uint64_t type = 0;
    while (next_field(&r, &f)) {
        if (field_is(&r, &f, 1, WIRE_VARINT))
            type = f.value;
        else if (field_is(&r, &f, 2, WIRE_VARINT))
            binlog.start_ts = f.value;
        else if (field_is(&r, &f, 3, WIRE_VARINT))
            binlog.commit_ts = f.value;
        else if (field_is(&r, &f, 4, WIRE_BYTES))
            binlog.prewrite_key = f.bytes;
        else if (field_is(&r, &f, 5, WIRE_BYTES))
            binlog.prewrite_value = f.bytes;
        else if (field_is(&r, &f, 6, WIRE_BYTES))
            binlog.ddl_query = f.bytes;
        else if (field_is(&r, &f, 7, WIRE_VARINT))
            binlog.ddl_job_id = (int64_t)f.value;
        else if (field_is(&r, &f, 8, WIRE_VARINT))
            binlog.ddl_schema_state = (int32_t)f.value;
    }
    if (r.failed)
        return damaged("binlog", &r, payload, err);
    if (type > MG_BINLOG_POST_DDL)
        return mg_fail(err, MG_PROTOCOL, "binlog has type %llu", (unsigned long long)type);
    if ((binlog.start_ts | binlog.commit_ts) >> 63)
        return mg_fail(err, MG_PROTOCOL, "binlog has a negative timestamp: start_ts=%lld commit_ts=%lld",
                       (long long)binlog.start_ts, (long long)binlog.commit_ts);
    binlog.type = (enum mg_binlog_type)type;
    *out = binlog;
    return MG_OK;
}

/* ---- payloads outside memory --------------------------------------------------------------------------------- */

/* Copies of the bytes of a field; of a statement the beginning. */
static enum mg_code outline_bytes(struct mg_span_reader *from, uint64_t tag, uint64_t size, struct mg_buffer *outline,
                                  struct mg_error *err)
{
    uint64_t kept = tag >> 3 == 6 ? MG_MIN(size, (uint64_t)MG_BINLOG_QUERY_MAX) : size;
    struct mg_slice bytes;
    if (kept > outline->max)
        return mg_fail(err, MG_TOO_BIG, "a binlog's field %llu has %llu bytes", (unsigned long long)(tag >> 3),
                       (unsigned long long)size);
    MG_TRY(mg_span_reader_take(from, kept, &bytes, err));
    MG_TRY(mg_buffer_append_varint(outline, tag, err));
    MG_TRY(mg_buffer_append_bytes(outline, bytes, err));
    mg_span_reader_skip(from, size - kept);
    return MG_OK;
}

/* One field goes to the outline, or is the PrewriteValue, or is passed over. */
static enum mg_code outline_field(struct mg_span_reader *from, struct mg_buffer *outline, struct mg_span *out_value,
                                  struct mg_error *err)
{
    MG_TRY(mg_span_reader_need(from, 2 * MG_VARINT_MAX, err));
    uint64_t tag = mg_reader_varint(&from->in), size = 0;
    struct mg_slice bytes = MG_SLICE(NULL, 0);
    switch (tag & 7) {
    case WIRE_VARINT:
        MG_TRY(mg_buffer_append_varint(outline, tag, err));
        return mg_buffer_append_varint(outline, mg_reader_varint(&from->in), err);
    case WIRE_64: bytes = mg_reader_take(&from->in, 8); break;
    case WIRE_32: bytes = mg_reader_take(&from->in, 4); break;
    case WIRE_BYTES:
        size = mg_reader_varint(&from->in);
        if (from->in.failed || size > mg_span_reader_left(from)) {
            from->in.failed = true;
            return MG_OK;
        }
        if (tag >> 3 == 4 || tag >> 3 == 6)
            return outline_bytes(from, tag, size, outline, err);
        if (tag >> 3 == 5)
            *out_value = mg_span_reader_ahead(from, size);
        mg_span_reader_skip(from, size);
        /* Its number is checked with the rest. */
        MG_TRY(mg_buffer_append_varint(outline, tag, err));
        return mg_buffer_append_varint(outline, 0, err);
    default: from->in.failed = true; return MG_OK;
    }
    MG_TRY(mg_buffer_append_varint(outline, tag, err));
    return mg_buffer_append(outline, bytes.data, bytes.size, err);
}

enum mg_code mg_binlog_read_span(const struct mg_span *payload, struct mg_buffer *outline, struct mg_binlog *out,
                                 struct mg_span *out_value, struct mg_error *err)
{
    struct mg_span value = {.size = 0};
    if (!payload->source) {
        MG_TRY(mg_binlog_read(MG_SLICE(payload->data, (size_t)payload->size), out, err));
        *out_value = mg_span_of(out->prewrite_value);
        return MG_OK;
    }
    MG_CLEANUP(mg_span_reader_clear) struct mg_span_reader from = {.rest = {.size = 0}};
    mg_span_reader_turn(&from, payload);
    mg_buffer_reset(outline);
    while (!from.in.failed && mg_span_reader_left(&from))
        MG_TRY(outline_field(&from, outline, &value, err));
    if (from.in.failed)
        return mg_fail(err, MG_PROTOCOL, "binlog of %llu bytes is damaged", (unsigned long long)payload->size);
    MG_TRY(mg_binlog_read(mg_buffer_slice(outline), out, err));
    *out_value = value;
    return MG_OK;
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

enum { MUTATION_HEAD = 64 }; /* bytes of a mutation in which its table's id is looked for: it stands first */

/* The next mutation's table id, 0 if it does not begin with it; false at the end and on damage. */
static bool next_table(struct mg_span_reader *from, int64_t *out)
{
    while (!from->in.failed && mg_span_reader_left(from)) {
        if (mg_span_reader_need(from, 2 * MG_VARINT_MAX, NULL) != MG_OK)
            return false;
        uint64_t tag = mg_reader_varint(&from->in);
        if ((tag & 7) == WIRE_VARINT)
            (void)mg_reader_varint(&from->in);
        else if ((tag & 7) == WIRE_64 || (tag & 7) == WIRE_32)
            mg_span_reader_skip(from, (tag & 7) == WIRE_64 ? 8 : 4);
        if ((tag & 7) <= WIRE_64 || (tag & 7) == WIRE_32)
            continue;
        uint64_t size = (tag & 7) == WIRE_BYTES ? mg_reader_varint(&from->in) : UINT64_MAX;
        if (from->in.failed || size > mg_span_reader_left(from) ||
            mg_span_reader_need(from, (size_t)MG_MIN(size, (uint64_t)MUTATION_HEAD), NULL) != MG_OK)
            return false;
        struct mg_reader head = {.at = from->in.at, .end = from->in.at + MG_MIN(size, mg_reader_left(&from->in))};
        mg_span_reader_skip(from, size);
        if (tag >> 3 != 2)
            continue;
        *out = 0;
        for (struct field inner; *out == 0 && next_field(&head, &inner);)
            *out = inner.number == 1 && inner.wire == WIRE_VARINT ? (int64_t)inner.value : 0;
        return true;
    }
    return false;
}

uint32_t mg_binlog_table_ids(const struct mg_span *prewrite_value, int64_t *out, uint32_t max)
{
    MG_CLEANUP(mg_span_reader_clear) struct mg_span_reader from = {.rest = {.size = 0}};
    uint32_t count = 0;
    int64_t id;
    mg_span_reader_turn(&from, prewrite_value);
    while (next_table(&from, &id)) {
        if (id == 0)
            continue;
        if (count < max)
            out[count] = id;
        count++;
    }
    return count;
}
