/* remote.c -- Flight calls of the shell: GetFlightInfo for a statement, DoGet for its endpoints, DoPut for rows that
 * are loaded, DoAction for the rest.
 *
 * FlightData is read by hand: header (2) and body (1000) are all that is needed, and the body is not copied before the
 * batch is made of it.
 * Errors   what the server answers, unchanged; MG_PROTOCOL for an answer that is none.
 * Threads  as remote.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/remote.h"

#include <stdlib.h>
#include <string.h>

#include "grpc/grpc.h"
#include "proto/flight.pb-c.h"
#include "proto/scan.pb-c.h"

#define FLIGHT_PATH "/arrow.flight.protocol.FlightService/"
#define SQL_TYPE_URL "type.googleapis.com/magic.v1.SqlStatement"
#define PUT_TYPE_URL "type.googleapis.com/magic.v1.PutDescriptor"

struct mg_remote {
    struct mg_grpc_client *client;
};

enum mg_code mg_remote_open(const char *address, struct mg_remote **out, struct mg_error *err)
{
    struct mg_remote *remote = calloc(1, sizeof *remote);

    if (!remote)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a connection");
    enum mg_code code = mg_grpc_client_connect(address, NULL, &remote->client, err);
    if (code != MG_OK) {
        free(remote);
        return code;
    }
    *out = remote;
    return MG_OK;
}

void mg_remote_close(struct mg_remote *remote)
{
    if (remote)
        mg_grpc_client_close(remote->client);
    free(remote);
}

void mg_remote_closep(struct mg_remote **remote)
{
    mg_remote_close(*remote);
    *remote = NULL;
}

/* A protobuf-c message as bytes; free them with free(). */
static enum mg_code pack(const ProtobufCMessage *message, struct mg_slice *out, struct mg_error *err)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);

    if (!bytes)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a request of %zu bytes", size);
    protobuf_c_message_pack(message, bytes);
    *out = MG_SLICE(bytes, size);
    return MG_OK;
}

static enum mg_code begin_call(struct mg_remote *remote, const char *path, const ProtobufCMessage *request,
                               struct mg_error *err)
{
    struct mg_slice bytes;

    MG_TRY(pack(request, &bytes, err));
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
    enum mg_code code = mg_grpc_client_begin(remote->client, path, 0, err);
    if (code == MG_OK)
        code = mg_grpc_client_send(remote->client, &piece, 1, err);
    if (code == MG_OK)
        code = mg_grpc_client_half_close(remote->client, err);
    free(piece.iov_base);
    return code;
}

static enum mg_code read_results(struct mg_remote *remote, mg_remote_result_fn *fn, void *arg, struct mg_error *err)
{
    for (;;) {
        struct mg_slice message;
        enum mg_code code = mg_grpc_client_receive(remote->client, &message, err);
        if (code != MG_OK)
            return code == MG_NOT_FOUND && mg_grpc_client_status(remote->client) == MG_GRPC_OK ? MG_OK : code;
        Arrow__Flight__Protocol__Result *result = arrow__flight__protocol__result__unpack(NULL, message.size,
                                                                                          message.data);
        if (!result)
            return mg_fail(err, MG_PROTOCOL, "the server's answer is no Flight Result");
        if (fn)
            code = fn(arg, MG_SLICE(result->body.data, result->body.len), err);
        arrow__flight__protocol__result__free_unpacked(result, NULL);
        MG_TRY(code);
    }
}

enum mg_code mg_remote_action(struct mg_remote *remote, const char *type, struct mg_slice body, mg_remote_result_fn *fn,
                              void *arg, struct mg_error *err)
{
    Arrow__Flight__Protocol__Action action;

    arrow__flight__protocol__action__init(&action);
    action.type = (char *)(uintptr_t)type;
    action.body = (ProtobufCBinaryData){.len = body.size, .data = (uint8_t *)(uintptr_t)body.data};
    enum mg_code code = begin_call(remote, FLIGHT_PATH "DoAction", &action.base, err);
    if (code == MG_OK)
        code = read_results(remote, fn, arg, err);
    mg_grpc_client_end(remote->client);
    return code;
}

/* ---- streams ------------------------------------------------------------------------------------------------- */

enum { FLIGHT_DATA_DESCRIPTOR = 1, FLIGHT_DATA_HEADER = 2, FLIGHT_DATA_BODY = 1000 };

static enum mg_code split_flight_data(struct mg_slice message, struct mg_slice *out_header, struct mg_slice *out_body,
                                      struct mg_error *err)
{
    struct mg_reader in = mg_reader_of(message);

    *out_header = *out_body = (struct mg_slice){NULL, 0};
    while (mg_reader_left(&in) && !in.failed) {
        uint64_t tag = mg_reader_varint(&in);
        if ((tag & 7) != 2)
            return mg_fail(err, MG_PROTOCOL, "FlightData holds a field of wire type %u", (unsigned)(tag & 7));
        struct mg_slice bytes = mg_reader_bytes(&in);
        if (tag >> 3 == FLIGHT_DATA_HEADER)
            *out_header = bytes;
        else if (tag >> 3 == FLIGHT_DATA_BODY)
            *out_body = bytes;
    }
    return in.failed ? mg_fail(err, MG_PROTOCOL, "a FlightData message is cut short") : MG_OK;
}

struct stream {
    const struct mg_row_sink *sink;
    struct mg_arena arena; /* of the fields */
    struct mg_field *fields;
    uint32_t field_count;
    bool begun; /* the sink knows the fields */
};

/* Arrow's times are always in microseconds; how many digits the source's type has stands in its name: "datetime(3)". */
static void take_fraction_digits(struct mg_field *field)
{
    struct mg_slice name = field->source_type;

    if (field->type.id != MG_TYPE_DATETIME && field->type.id != MG_TYPE_TIMESTAMP)
        return;
    const uint8_t *open = name.size ? memchr(name.data, '(', name.size) : NULL;
    if (!name.size)
        field->type.precision = 6;
    else
        field->type.precision = open && open[1] >= '0' && open[1] <= '6' ? (uint8_t)(open[1] - '0') : 0;
}

static enum mg_code take_message(struct stream *stream, bool *is_first, struct mg_slice message, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *batch = NULL;
    struct mg_slice header, body;

    MG_TRY(split_flight_data(message, &header, &body, err));
    if (!header.size)
        return MG_OK; /* metadata only */
    if (*is_first) {
        *is_first = false;
        if (stream->begun)
            return MG_OK; /* every endpoint has the same schema */
        MG_TRY(mg_ipc_decode_schema(header, &stream->arena, &stream->fields, &stream->field_count, err));
        for (uint32_t i = 0; i < stream->field_count; i++)
            take_fraction_digits(&stream->fields[i]);
        stream->begun = true;
        return stream->sink->begin(stream->sink->arg, stream->fields, stream->field_count, err);
    }
    MG_TRY(mg_ipc_decode_batch(header, body, stream->fields, stream->field_count, NULL, &batch, err));
    return stream->sink->batch(stream->sink->arg, batch, err);
}

static enum mg_code read_endpoint(struct mg_remote *remote, const Arrow__Flight__Protocol__Ticket *ticket,
                                  struct stream *stream, struct mg_error *err)
{
    bool is_first = true;
    enum mg_code code = begin_call(remote, FLIGHT_PATH "DoGet", &ticket->base, err);

    while (code == MG_OK) {
        struct mg_slice message;
        code = mg_grpc_client_receive(remote->client, &message, err);
        if (code == MG_NOT_FOUND && mg_grpc_client_status(remote->client) == MG_GRPC_OK) {
            code = MG_OK;
            break;
        }
        if (code == MG_OK)
            code = take_message(stream, &is_first, message, err);
    }
    mg_grpc_client_end(remote->client);
    return code;
}

/* A message in an Any in a descriptor of type CMD. Free it with free(). */
static enum mg_code pack_command(const char *type_url, const ProtobufCMessage *message, struct mg_slice *out,
                                 struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightDescriptor descriptor;
    Arrow__Flight__Protocol__Any any;
    struct mg_slice inner = {NULL, 0}, outer = {NULL, 0};

    arrow__flight__protocol__any__init(&any);
    arrow__flight__protocol__flight_descriptor__init(&descriptor);
    enum mg_code code = pack(message, &inner, err);
    any.type_url = (char *)(uintptr_t)type_url;
    any.value = (ProtobufCBinaryData){.len = inner.size, .data = (uint8_t *)(uintptr_t)inner.data};
    if (code == MG_OK)
        code = pack(&any.base, &outer, err);
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD;
    descriptor.cmd = (ProtobufCBinaryData){.len = outer.size, .data = (uint8_t *)(uintptr_t)outer.data};
    if (code == MG_OK)
        code = pack(&descriptor.base, out, err);
    free((void *)(uintptr_t)inner.data);
    free((void *)(uintptr_t)outer.data);
    return code;
}

static enum mg_code plan(struct mg_remote *remote, const char *sql, const char *database,
                         Arrow__Flight__Protocol__FlightInfo **out, struct mg_error *err)
{
    struct mg_slice request = {NULL, 0}, response;
    Magic__V1__SqlStatement statement;

    magic__v1__sql_statement__init(&statement);
    statement.sql = (char *)(uintptr_t)sql;
    statement.database = (char *)(uintptr_t)database;
    enum mg_code code = pack_command(SQL_TYPE_URL, &statement.base, &request, err);
    if (code == MG_OK)
        code = mg_grpc_client_unary(remote->client, FLIGHT_PATH "GetFlightInfo", 0, request, &response, err);
    if (code == MG_OK) {
        *out = arrow__flight__protocol__flight_info__unpack(NULL, response.size, response.data);
        if (!*out)
            code = mg_fail(err, MG_PROTOCOL, "the server's answer is no FlightInfo");
    }
    free((void *)(uintptr_t)request.data);
    return code;
}

enum mg_code mg_remote_sql(struct mg_remote *remote, const char *sql, const char *database,
                           const struct mg_row_sink *sink, struct mg_error *err)
{
    struct stream stream = {.sink = sink};
    Arrow__Flight__Protocol__FlightInfo *info;

    MG_TRY(plan(remote, sql, database, &info, err));
    mg_arena_init(&stream.arena, 16 << 20);
    enum mg_code code = MG_OK;
    for (size_t i = 0; i < info->n_endpoint && code == MG_OK; i++)
        code = info->endpoint[i]->ticket ? read_endpoint(remote, info->endpoint[i]->ticket, &stream, err)
                                         : mg_fail(err, MG_PROTOCOL, "endpoint %zu has no ticket", i);
    mg_arena_clear(&stream.arena);
    arrow__flight__protocol__flight_info__free_unpacked(info, NULL);
    return code;
}

/* ---- loading ------------------------------------------------------------------------------------------------- */

enum { KEY_COLUMNS_MAX = 16, HEADER_MAX = 16 << 20 };

static enum mg_code pack_target(const struct mg_put_target *target, struct mg_slice *out, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) char *names = strdup(target->key ? target->key : "");
    char *key[KEY_COLUMNS_MAX], *rest = names, *name;
    Magic__V1__PutDescriptor put;

    if (!names)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the names of the key");
    magic__v1__put_descriptor__init(&put);
    put.database = (char *)(uintptr_t)target->database;
    put.table = (char *)(uintptr_t)target->table;
    put.mode = (Magic__V1__PutDescriptor__Mode)target->mode;
    put.rows_per_epoch = target->rows_per_epoch;
    put.key = key;
    while (target->key && (name = strsep(&rest, ",")) != NULL) {
        if (put.n_key == KEY_COLUMNS_MAX)
            return mg_fail(err, MG_TOO_BIG, "a key of more than %d columns", (int)KEY_COLUMNS_MAX);
        key[put.n_key++] = name;
    }
    return pack_command(PUT_TYPE_URL, &put.base, out, err);
}

/* Room for tag and length of a field. */
struct field_head {
    uint8_t bytes[2 * MG_VARINT_MAX];
};

static struct iovec head_of(struct field_head *head, unsigned field, uint64_t size)
{
    size_t used = mg_varint_put(head->bytes, (uint64_t)field << 3 | 2);

    used += mg_varint_put(head->bytes + used, size);
    return (struct iovec){.iov_base = head->bytes, .iov_len = used};
}

static struct iovec piece_of(struct mg_slice bytes)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
}

enum mg_code mg_remote_put_begin(struct mg_remote *remote, const struct mg_put_target *target,
                                 const struct mg_field *fields, uint32_t field_count, struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer header;
    struct mg_slice descriptor = {NULL, 0};
    struct field_head heads[2];

    mg_buffer_init(&header, HEADER_MAX);
    MG_TRY(mg_ipc_encode_schema(fields, field_count, false, &header, err));
    MG_TRY(pack_target(target, &descriptor, err));
    struct iovec pieces[] = {
        head_of(&heads[0], FLIGHT_DATA_DESCRIPTOR, descriptor.size),
        piece_of(descriptor),
        head_of(&heads[1], FLIGHT_DATA_HEADER, header.size),
        piece_of(mg_buffer_slice(&header)),
    };
    enum mg_code code = mg_grpc_client_begin(remote->client, FLIGHT_PATH "DoPut", 0, err);
    if (code == MG_OK)
        code = mg_grpc_client_send(remote->client, pieces, MG_COUNT_OF(pieces), err);
    free((void *)(uintptr_t)descriptor.data);
    return code;
}

enum mg_code mg_remote_put_batch(struct mg_remote *remote, const struct mg_batch *batch, uint64_t *out_bytes,
                                 struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer header;
    MG_CLEANUP(mg_arena_clear) struct mg_arena scratch;
    struct field_head heads[2];
    uint32_t count = 0;

    mg_buffer_init(&header, HEADER_MAX);
    mg_arena_init(&scratch, SIZE_MAX);
    struct iovec *pieces = mg_arena_array(&scratch, struct iovec,
                                          (size_t)MG_IPC_PIECES_PER_COLUMN * batch->column_count + 3);
    if (!pieces)
        return mg_arena_fail(&scratch, err);
    MG_TRY(mg_ipc_encode_batch(batch, false, &header, &scratch, pieces + 3, &count, out_bytes, err));
    pieces[0] = head_of(&heads[0], FLIGHT_DATA_HEADER, header.size);
    pieces[1] = piece_of(mg_buffer_slice(&header));
    pieces[2] = head_of(&heads[1], FLIGHT_DATA_BODY, *out_bytes);
    return mg_grpc_client_send(remote->client, pieces, (int)count + 3, err);
}

static enum mg_code read_ack(struct mg_slice message, uint64_t *out_rows, uint64_t *out_epoch, struct mg_error *err)
{
    Magic__V1__PutAck *ack = NULL;
    Arrow__Flight__Protocol__PutResult *result = arrow__flight__protocol__put_result__unpack(NULL, message.size,
                                                                                             message.data);

    if (result)
        ack = magic__v1__put_ack__unpack(NULL, result->app_metadata.len, result->app_metadata.data);
    if (ack) {
        *out_rows = ack->rows;
        *out_epoch = ack->epoch;
        magic__v1__put_ack__free_unpacked(ack, NULL);
    }
    if (result)
        arrow__flight__protocol__put_result__free_unpacked(result, NULL);
    return ack ? MG_OK : mg_fail(err, MG_PROTOCOL, "the server's answer is no PutResult with a PutAck");
}

enum mg_code mg_remote_put_end(struct mg_remote *remote, uint64_t *out_rows, uint64_t *out_epoch, struct mg_error *err)
{
    enum mg_code code = mg_grpc_client_half_close(remote->client, err);

    while (code == MG_OK) {
        struct mg_slice message;
        code = mg_grpc_client_receive(remote->client, &message, err);
        if (code == MG_NOT_FOUND && mg_grpc_client_status(remote->client) == MG_GRPC_OK) {
            mg_grpc_client_end(remote->client);
            return MG_OK;
        }
        if (code == MG_OK)
            code = read_ack(message, out_rows, out_epoch, err);
    }
    return code;
}

void mg_remote_put_abort(struct mg_remote *remote) { mg_grpc_client_end(remote->client); }
