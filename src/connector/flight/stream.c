/* stream.c -- record batches as FlightData: header by hand, body as pieces of the batch itself.
 *
 * FlightData  0x12, length, data_header (the bare IPC message); 0xc2 0x3e (field 1000), length, body. The body is the
 *             batch's own buffers with padding between them, in Arrow's order.
 * Lifetime    a message keeps its batch until the transport has sent it, and a batch must not outlive its snapshot. So
 *             the transport only hands messages back, and the handler frees them: at its next send, and at the end of
 *             the stream, where it waits for those still under way. The engine never sees a thread of the transport.
 * Size        a batch above MG_FLIGHT__BODY_MAX is cut into row ranges until each is below, or is one row. Ranges begin
 *             at multiples of 64 rows where that is possible; elsewhere the validity bits are shifted into scratch
 *             memory.
 * Threads     the handler's; messages come back from any thread, under the stream's lock.
 * Source      Arrow Flight protocol; protobuf wire format.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "connector/flight/flight_internal.h"

enum {
    HEADER_MAX = 4 << 20, /* of an IPC message; a schema of 4,096 columns with long names takes half */
    SCRATCH_BASE = 64 << 10,
};

/* One FlightData. Borrowed by the transport between send and hand_back, else the handler's. */
struct mg_flight__message {
    struct mg_flight__stream *stream;
    struct mg_flight__message *next; /* in the stream's list of those that came back */
    struct mg_batch *batch;          /* NULL: a schema */
    struct mg_batch slice;           /* a row range of batch, as the encoder wants it */
    struct mg_arena scratch;         /* vectors of the slice, shifted bits, rebased offsets, pieces */
    struct mg_buffer header;         /* the IPC message */
    uint8_t before_header[1 + MG_VARINT_MAX];
    uint8_t before_body[2 + MG_VARINT_MAX];
};

static void message_free(struct mg_flight__message *message)
{
    mg_batch_unref(message->batch);
    mg_arena_clear(&message->scratch);
    mg_buffer_clear(&message->header);
    free(message);
}

static void message_freep(struct mg_flight__message **message)
{
    if (*message)
        message_free(*message);
}

static enum mg_code message_new(struct mg_flight__stream *stream, size_t scratch_max, struct mg_flight__message **out,
                                struct mg_error *err)
{
    struct mg_flight__message *message = calloc(1, sizeof *message);

    if (!message)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a message");
    message->stream = stream;
    mg_arena_init(&message->scratch, scratch_max);
    mg_buffer_init(&message->header, HEADER_MAX);
    *out = message;
    return MG_OK;
}

/* ---- the stream ---- */

void mg_flight__stream_init(struct mg_flight__stream *stream, struct mg_grpc_call *call)
{
    *stream = (struct mg_flight__stream){.call = call};
    mg_mutex_init(&stream->lock, MG_RANK_LEAF, "flight.stream");
    mg_cond_init(&stream->came_back);
}

/* The transport is done with a message, sent or not. */
static void hand_back(void *arg)
{
    struct mg_flight__message *message = arg;
    struct mg_flight__stream *stream = message->stream;

    mg_mutex_lock(&stream->lock);
    message->next = stream->back;
    stream->back = message;
    stream->away--;
    mg_cond_signal(&stream->came_back);
    mg_mutex_unlock(&stream->lock);
}

static void free_back(struct mg_flight__stream *stream)
{
    mg_mutex_lock(&stream->lock);
    struct mg_flight__message *message = MG_TAKE(stream->back);
    mg_mutex_unlock(&stream->lock);
    while (message) {
        struct mg_flight__message *next = message->next;
        message_free(message);
        message = next;
    }
}

void mg_flight__stream_end(struct mg_flight__stream *stream)
{
    mg_mutex_lock(&stream->lock);
    while (stream->away > 0)
        mg_cond_wait(&stream->came_back, &stream->lock);
    mg_mutex_unlock(&stream->lock);
    free_back(stream);
    mg_cond_destroy(&stream->came_back);
    mg_mutex_destroy(&stream->lock);
}

static struct iovec piece_of(const void *data, size_t size)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
}

/* Frame and send; the message is no longer the caller's. pieces has three free places in front for the frame, then the
 * body. */
static enum mg_code message_send(struct mg_flight__message *message, struct iovec *pieces, uint32_t body_pieces,
                                 uint64_t body_size, struct mg_error *err)
{
    struct mg_flight__stream *stream = message->stream;
    int count = 2;

    message->before_header[0] = 0x12;
    size_t size = 1 + mg_varint_put(message->before_header + 1, message->header.size);
    pieces[0] = piece_of(message->before_header, size);
    pieces[1] = piece_of(message->header.data, message->header.size);
    if (body_size > 0) {
        message->before_body[0] = 0xc2;
        message->before_body[1] = 0x3e;
        size = 2 + mg_varint_put(message->before_body + 2, body_size);
        pieces[2] = piece_of(message->before_body, size);
        count = 3 + (int)body_pieces;
    }
    mg_mutex_lock(&stream->lock);
    stream->away++;
    mg_mutex_unlock(&stream->lock);
    enum mg_code code = mg_grpc_call_send(stream->call, pieces, count, hand_back, message, err);
    free_back(stream);
    return code;
}

enum mg_code mg_flight__send_schema(struct mg_flight__stream *stream, const struct mg_field *fields, uint32_t count,
                                    struct mg_error *err)
{
    MG_CLEANUP(message_freep) struct mg_flight__message *message = NULL;

    MG_TRY(message_new(stream, SCRATCH_BASE, &message, err));
    MG_TRY(mg_ipc_encode_schema(fields, count, false, &message->header, err));
    struct iovec *pieces = mg_arena_array(&message->scratch, struct iovec, 3);
    if (!pieces)
        return mg_arena_fail(&message->scratch, err);
    return message_send(MG_TAKE(message), pieces, 0, 0, err);
}

/* ---- row ranges of a batch ---- */

static size_t bitmap_bytes(uint32_t row_count) { return ((size_t)row_count + 7) / 8; }

static uint32_t count_nulls(const uint8_t *validity, uint32_t first, uint32_t count)
{
    uint32_t present = 0, row = first, end = first + count;

    for (; row < end && row % 8; row++)
        present += validity[row / 8] >> (row % 8) & 1;
    for (; row + 64 <= end; row += 64)
        present += (uint32_t)__builtin_popcountll(mg_load_le64(validity + row / 8));
    for (; row < end; row++)
        present += validity[row / 8] >> (row % 8) & 1;
    return count - present;
}

static uint64_t range_bytes(const struct mg_batch *batch, uint32_t first, uint32_t count)
{
    uint64_t bytes = 0;

    for (uint32_t c = 0; c < batch->column_count; c++) {
        const struct mg_vector *v = &batch->vectors[c];
        if (v->validity)
            bytes += bitmap_bytes(count);
        if (v->type.id == MG_TYPE_UTF8)
            bytes += (uint64_t)(v->offsets[first + count] - v->offsets[first]) + 4 * ((uint64_t)count + 1);
        else
            bytes += (uint64_t)count * mg_type_width(v->type.id);
    }
    return bytes;
}

/* The validity bits from row first on. */
static const uint8_t *slice_validity(const uint8_t *validity, uint32_t first, uint32_t count, struct mg_arena *scratch)
{
    if (first % 8 == 0)
        return validity + first / 8;
    uint8_t *bits = mg_arena_alloc(scratch, bitmap_bytes(count) + 8);
    for (uint32_t i = 0; bits && i < count; i++)
        if (validity[(first + i) / 8] >> ((first + i) % 8) & 1)
            bits[i / 8] |= (uint8_t)(1u << (i % 8));
    return bits;
}

static enum mg_code slice_batch(struct mg_flight__message *message, const struct mg_batch *batch, uint32_t first,
                                uint32_t count, struct mg_error *err)
{
    struct mg_vector *vectors = mg_arena_array(&message->scratch, struct mg_vector, (size_t)batch->column_count + 1);

    if (!vectors)
        return mg_arena_fail(&message->scratch, err);
    for (uint32_t c = 0; c < batch->column_count; c++) {
        const struct mg_vector *from = &batch->vectors[c];
        vectors[c] = *from;
        vectors[c].row_count = count;
        if (from->validity) {
            vectors[c].null_count = count_nulls(from->validity, first, count);
            vectors[c].validity = slice_validity(from->validity, first, count, &message->scratch);
            if (!vectors[c].validity)
                return mg_arena_fail(&message->scratch, err);
            if (vectors[c].null_count == 0)
                vectors[c].validity = NULL;
        }
        if (from->type.id == MG_TYPE_UTF8)
            vectors[c].offsets = from->offsets + first;
        else
            vectors[c].values = (const uint8_t *)from->values + (size_t)first * mg_type_width(from->type.id);
    }
    message->slice.row_count = count;
    message->slice.column_count = batch->column_count;
    message->slice.vectors = vectors;
    return MG_OK;
}

static enum mg_code send_range(struct mg_flight__stream *stream, struct mg_batch *batch, uint32_t first, uint32_t count,
                               struct mg_error *err)
{
    MG_CLEANUP(message_freep) struct mg_flight__message *message = NULL;
    const struct mg_batch *shown = batch;
    uint32_t body_pieces = 0;
    uint64_t body_size = 0;

    /* rebased offsets take 4 bytes a row and column, shifted bits one; the rest is per column */
    size_t scratch_max = SCRATCH_BASE + (size_t)batch->column_count * (1024 + 5 * ((size_t)count + 64));
    MG_TRY(message_new(stream, scratch_max, &message, err));
    message->batch = mg_batch_ref(batch);
    if (count != batch->row_count) {
        MG_TRY(slice_batch(message, batch, first, count, err));
        shown = &message->slice;
    }
    struct iovec *pieces = mg_arena_array(&message->scratch, struct iovec,
                                          3 + (size_t)batch->column_count * MG_IPC_PIECES_PER_COLUMN);
    if (!pieces)
        return mg_arena_fail(&message->scratch, err);
    MG_TRY(mg_ipc_encode_batch(shown, false, &message->header, &message->scratch, pieces + 3, &body_pieces, &body_size,
                               err));
    mg_count(scan_rows, count);
    mg_count(scan_bytes, body_size);
    stream->row_count += count;
    stream->byte_count += message->header.size + body_size;
    return message_send(MG_TAKE(message), pieces, body_pieces, body_size, err);
}

/* Where to cut a range in two: near its middle, at a multiple of 64 or 8 rows if it is long enough. */
static uint32_t cut_at(uint32_t count)
{
    uint32_t half = count / 2;

    if (half >= 64)
        return half / 64 * 64;
    return half >= 8 ? half / 8 * 8 : half;
}

static enum mg_code send_cut(struct mg_flight__stream *stream, struct mg_batch *batch, uint32_t first, uint32_t count,
                             struct mg_error *err)
{
    if (count <= 1 || range_bytes(batch, first, count) <= MG_FLIGHT__BODY_MAX)
        return send_range(stream, batch, first, count, err);
    uint32_t cut = cut_at(count);
    MG_TRY(send_cut(stream, batch, first, cut, err));
    return send_cut(stream, batch, first + cut, count - cut, err);
}

enum mg_code mg_flight__send_batch(struct mg_flight__stream *stream, struct mg_batch *batch, struct mg_error *err)
{
    return send_cut(stream, batch, 0, batch->row_count, err);
}
