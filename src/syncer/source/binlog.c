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

uint32_t mg_binlog_table_ids(struct mg_slice prewrite_value, int64_t *out, uint32_t max)
{
    uint32_t count = 0;
    struct mg_reader r = mg_reader_of(prewrite_value);
    struct field f, inner;
    while (next_field(&r, &f)) {
        if (!field_is(&r, &f, 2, WIRE_BYTES))
            continue;
        struct mg_reader mutation = mg_reader_of(f.bytes);
        while (next_field(&mutation, &inner)) {
            if (!field_is(&mutation, &inner, 1, WIRE_VARINT))
                continue;
            if (count < max)
                out[count] = (int64_t)inner.value;
            count++;
            break; /* the id stands first; rows behind it may be large */
        }
    }
    return count;
}
