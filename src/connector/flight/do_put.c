/* do_put.c -- DoPut: an Arrow stream becomes rows of a table that no source owns.
 *
 *     first message: descriptor, schema --turn--> writer of the source local --table--> batches --epochs--> acks
 *
 * Turn     One DoPut at a time is that writer; another one waits for up to TURN_MS and is then BUSY. TiDB's writer has
 *          a source of its own: epochs of both take turns at the latch's gate.
 * Flow     A message is read when the one before was gathered, and epochs are published here, so a client sends no
 *          faster than its rows become durable. While memory is full it waits for some, here and in grpc/held.c.
 * Acks     A PutResult after each epoch that readers see, and one at the end; its app_metadata is a PutAck.
 * Failure  What was acknowledged stays, the rest is not stored. A table that was loaded unseen is dropped.
 * Wire     docs/format/put.md.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connector/flight/put.h"

enum {
    TURN_MS = 10 * 1000,
    OURS_SHARE = 4,     /* rows of an epoch that take more than one part in so many of the memory are what fills it */
    TURN_STEP_MS = 200, /* how often one that waits looks whether its client is still there */
};

/* ---- messages ---- */

enum { DATA_DESCRIPTOR = 1, DATA_HEADER = 2, DATA_BODY = 1000 };

enum mg_code mg_flight__data_read(struct mg_slice message, struct mg_flight__data *out, struct mg_error *err)
{
    struct mg_reader in = mg_reader_of(message);

    *out = (struct mg_flight__data){.body = {NULL, 0}};
    while (mg_reader_left(&in) && !in.failed) {
        uint64_t tag = mg_reader_varint(&in);
        if ((tag & 7) != 2)
            return mg_fail(err, MG_INVALID, "FlightData holds a field of wire type %u", (unsigned)(tag & 7));
        struct mg_slice bytes = mg_reader_bytes(&in);
        switch (tag >> 3) {
        case DATA_DESCRIPTOR: out->descriptor = bytes; break;
        case DATA_HEADER: out->header = bytes; break;
        case DATA_BODY: out->body = bytes; break;
        default: break;
        }
    }
    return in.failed ? mg_fail(err, MG_INVALID, "a FlightData message is cut short") : MG_OK;
}

/* In the order of the numbers. */
static const char *const mode_names[] = {"", "create", "append", "replace", "create-or-append"};

static enum mg_code read_mode(const char *name, Magic__V1__PutDescriptor *put, struct mg_error *err)
{
    for (size_t i = 1; i < MG_COUNT_OF(mode_names); i++)
        if (strcmp(name, mode_names[i]) == 0) {
            put->mode = (Magic__V1__PutDescriptor__Mode)i;
            return MG_OK;
        }
    return mg_fail(err, MG_INVALID, "mode '%.50s' is none of create, append, replace, create-or-append", name);
}

/* [database, table, mode, key columns ...]; without a mode it appends. */
static enum mg_code read_path(const Arrow__Flight__Protocol__FlightDescriptor *flight, struct mg_arena *arena,
                              Magic__V1__PutDescriptor **out, struct mg_error *err)
{
    if (flight->n_path < 2)
        return mg_fail(err, MG_INVALID, "the path of a DoPut is database, table, mode, key columns; this has %zu parts",
                       flight->n_path);
    Magic__V1__PutDescriptor *put = mg_arena_new(arena, Magic__V1__PutDescriptor);
    if (!put)
        return mg_arena_fail(arena, err);
    magic__v1__put_descriptor__init(put);
    put->database = flight->path[0];
    put->table = flight->path[1];
    MG_TRY(read_mode(flight->n_path > 2 ? flight->path[2] : "append", put, err));
    put->n_key = flight->n_path > 3 ? flight->n_path - 3 : 0;
    put->key = put->n_key ? flight->path + 3 : NULL;
    if (put->mode == MAGIC__V1__PUT_DESCRIPTOR__MODE__APPEND)
        put->rows_per_epoch = MG_FLIGHT__PUT_EPOCH_ROWS;
    *out = put;
    return MG_OK;
}

static enum mg_code read_command(const Arrow__Flight__Protocol__FlightDescriptor *flight, struct mg_arena *arena,
                                 Magic__V1__PutDescriptor **out, struct mg_error *err)
{
    Arrow__Flight__Protocol__Any *any = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__any__descriptor, mg_flight__bytes(flight->cmd), "the command",
                             arena, &any, err));
    const char *slash = strrchr(any->type_url, '/');
    const char *type = slash ? slash + 1 : any->type_url;
    if (strcmp(type, "magic.v1.PutDescriptor") != 0)
        return mg_fail(err, MG_UNIMPLEMENTED, "DoPut takes magic.v1.PutDescriptor or a path, not command '%.200s'",
                       type);
    return MG_FLIGHT__UNPACK(magic__v1__put_descriptor__descriptor, mg_flight__bytes(any->value), "the put descriptor",
                             arena, out, err);
}

static enum mg_code check_descriptor(const Magic__V1__PutDescriptor *put, struct mg_error *err)
{
    if (!put->database[0] || !put->table[0])
        return mg_fail(err, MG_INVALID, "a DoPut names a database and a table");
    if (mg_flight__is_loading(mg_slice_text(put->database)))
        return mg_fail(err, MG_INVALID, "database '%s' is the server's own", put->database);
    if (put->mode < MAGIC__V1__PUT_DESCRIPTOR__MODE__CREATE ||
        put->mode > MAGIC__V1__PUT_DESCRIPTOR__MODE__CREATE_OR_APPEND)
        return mg_fail(err, MG_INVALID, "mode %d is none of create, append, replace, create or append", (int)put->mode);
    return MG_OK;
}

enum mg_code mg_flight__put_read(struct mg_slice descriptor, struct mg_arena *arena, Magic__V1__PutDescriptor **out,
                                 struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightDescriptor *flight = NULL;
    Magic__V1__PutDescriptor *put = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__flight_descriptor__descriptor, descriptor,
                             "the Flight descriptor", arena, &flight, err));
    if (flight->type == ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__PATH)
        MG_TRY(read_path(flight, arena, &put, err));
    else
        MG_TRY(read_command(flight, arena, &put, err));
    MG_TRY(check_descriptor(put, err));
    *out = put;
    return MG_OK;
}

/* MG_NOT_FOUND: the client has sent all. */
static enum mg_code receive(struct mg_flight__put *put, struct mg_flight__data *out, struct mg_error *err)
{
    struct mg_slice message;

    MG_TRY(mg_grpc_call_receive(put->request->call, &message, err));
    return mg_flight__data_read(message, out, err);
}

/* The schema comes with the descriptor, or in a message behind it. */
static enum mg_code read_head(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_flight__request *request = put->request;
    struct mg_flight__data data;
    Magic__V1__PutDescriptor *descriptor = NULL;

    MG_TRY(mg_flight__data_read(request->bytes, &data, err));
    if (!data.descriptor.size)
        return mg_fail(err, MG_INVALID, "the first message of a DoPut has no descriptor");
    MG_TRY(mg_flight__put_read(data.descriptor, &request->arena, &descriptor, err));
    put->descriptor = descriptor;
    while (!data.header.size) {
        enum mg_code code = receive(put, &data, err);
        if (code == MG_NOT_FOUND)
            return mg_fail(err, MG_INVALID, "the stream ended before its schema");
        MG_TRY(code);
    }
    MG_TRY(mg_ipc_decode_schema(data.header, &request->arena, &put->fields, &put->field_count, err));
    return put->field_count ? MG_OK : mg_fail(err, MG_INVALID, "the stream has no column");
}

enum mg_code mg_flight__put_ack(struct mg_flight__put *put, struct mg_error *err)
{
    Arrow__Flight__Protocol__PutResult result;
    uint8_t metadata[2 * (1 + MG_VARINT_MAX)], bytes[2 * sizeof metadata];
    Magic__V1__PutAck ack;

    magic__v1__put_ack__init(&ack); /* the macro casts a const away */
    ack.rows = put->done_rows;
    ack.epoch = put->last_epoch;
    arrow__flight__protocol__put_result__init(&result);
    result.app_metadata = (ProtobufCBinaryData){.len = magic__v1__put_ack__pack(&ack, metadata), .data = metadata};
    struct iovec piece = {.iov_base = bytes, .iov_len = arrow__flight__protocol__put_result__pack(&result, bytes)};
    return mg_grpc_call_send(put->request->call, &piece, 1, NULL, NULL, err);
}

/* ---- the turn ---- */

static enum mg_code take_turn(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_flight *flight = put->request->flight;
    enum mg_code code = MG_OK;

    mg_mutex_lock(&flight->put_lock);
    for (int waited_ms = 0; flight->putting && code == MG_OK; waited_ms += TURN_STEP_MS) {
        if (waited_ms >= TURN_MS)
            code = mg_fail(err, MG_BUSY,
                           "another load is under way, and one runs at a time; try again when it is over");
        else if (mg_grpc_call_cancelled(put->request->call))
            code = mg_fail(err, MG_CANCELLED, "the loader went away while it waited for another load");
        else
            mg_cond_wait_ms(&flight->put_over, &flight->put_lock, TURN_STEP_MS);
    }
    if (code == MG_OK)
        flight->putting = true;
    mg_mutex_unlock(&flight->put_lock);
    return code;
}

static void give_turn(struct mg_flight__put *put)
{
    struct mg_flight *flight = put->request->flight;

    mg_mutex_lock(&flight->put_lock);
    flight->putting = false;
    mg_cond_signal(&flight->put_over);
    mg_mutex_unlock(&flight->put_lock);
}

static enum mg_code open_writer(struct mg_flight__put *put, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_source_position *position = calloc(1, sizeof *position);

    if (!position)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a writer");
    MG_TRY(mg_latch_writer_open(put->request->flight->latch, MG_FLIGHT__LOCAL, &put->writer, position, err));
    put->watermark = position->watermark;
    return MG_OK;
}

/* ---- rows ---- */

bool mg_flight__put_waits(struct mg_flight__put *put, enum mg_code code, int *left_ms)
{
    size_t limit = mg_budget_limit(put->request->flight->budget);
    bool is_ours = put->epoch_bytes > limit / OURS_SHARE; /* nobody but us can free it */

    return !is_ours && mg_flight__waits(put->request, code, left_ms);
}

static enum mg_code decode(struct mg_flight__put *put, const struct mg_flight__data *data, struct mg_batch **out,
                           struct mg_error *err)
{
    enum mg_code code;
    int left_ms = MG_FLIGHT__PUT_WAIT_MS;

    do
        code = mg_ipc_decode_batch(data->header, data->body, put->fields, put->field_count,
                                   put->request->flight->budget, out, err);
    while (mg_flight__put_waits(put, code, &left_ms));
    return code;
}

static enum mg_code take_rows(struct mg_flight__put *put, struct mg_error *err)
{
    for (uint64_t rows = 0;;) {
        MG_CLEANUP(mg_batch_unrefp) struct mg_batch *batch = NULL;
        struct mg_flight__data data;
        enum mg_code code = receive(put, &data, err);
        if (code == MG_NOT_FOUND)
            return mg_flight__put_rows_end(put, err);
        MG_TRY(code);
        if (!data.header.size)
            continue; /* metadata only */
        code = decode(put, &data, &batch, err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "the batch that begins with row %" PRIu64, rows + 1);
        rows += batch->row_count;
        MG_TRY(mg_flight__put_rows_add(put, batch, err));
    }
}

/* NULLs where there can be none are found row by row later; the decoder would only count them. */
static void allow_nulls(struct mg_flight__put *put)
{
    for (uint32_t i = 0; i < put->field_count; i++)
        put->fields[i].nullable = true;
}

static enum mg_code load(struct mg_flight__put *put, struct mg_error *err)
{
    MG_TRY(mg_flight__put_open(put, err));
    allow_nulls(put);
    MG_TRY(mg_flight__put_rows_begin(put, err));
    MG_TRY(take_rows(put, err));
    if (put->unseen)
        MG_TRY(mg_flight__put_show(put, err));
    return mg_flight__put_ack(put, err);
}

/* Say what is stored all the same. */
static enum mg_code fail_partly(const struct mg_flight__put *put, enum mg_code code, struct mg_error *err)
{
    if (put->done_rows == 0 || put->unseen || !err)
        return code;
    struct mg_error cause = *err;
    return mg_fail(err, code, "%s (rows 1 to %" PRIu64 " are stored)", cause.text, put->done_rows);
}

static enum mg_code do_put(struct mg_flight__put *put, struct mg_error *err)
{
    MG_TRY(read_head(put, err));
    MG_TRY(take_turn(put, err));
    enum mg_code code = open_writer(put, err);
    if (code == MG_OK)
        code = load(put, err);
    if (code != MG_OK && put->unseen && put->schema) { /* if that fails, too, the next DoPut does it */
        enum mg_code swept = mg_flight__put_sweep(put, NULL);
        (void)swept;
    }
    if (code != MG_OK)
        code = fail_partly(put, code, err);
    mg_flight__put_rows_clear(put);
    mg_latch_writer_close(put->writer);
    mg_schema_unref(put->schema);
    give_turn(put);
    return code;
}

enum mg_code mg_flight__do_put(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;
    struct mg_flight__put put = {.request = &request};

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = do_put(&put, err);
    mg_flight__request_end(&request);
    return code;
}
