/* framing.c -- the bytes of a stream to messages: each is a flag, a size and that many bytes.
 *
 * Input   u8 compressed (must be 0), u32 big endian size, bytes; any cut between two feeds.
 * Shape   memory for a message begins with what its head announces, at most 1 MiB: as much as a client may send ahead;
 *         above it grows with what has arrived, by doubling, and from 16 MiB on it is what was announced: copying half
 *         a gigabyte would stop all connections of an I/O thread.
 * Errors  MG_TOO_BIG above message_max, MG_UNIMPLEMENTED for compressed ones; MG_NO_MEMORY from the budget, after which
 *         the same bytes may be fed again.
 * Threads owned by one thread at a time.
 * Source  gRPC over HTTP/2: Length-Prefixed-Message.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

enum { FIRST_CAPACITY = 64, STEP_CAPACITY = MG_GRPC__STREAM_WINDOW, WHOLE_FROM = MG_GRPC_MESSAGE_EXTRA };

void mg_grpc__framing_init(struct mg_grpc__framing *framing, size_t message_max, struct mg_budget *budget)
{
    *framing = (struct mg_grpc__framing){.message_max = message_max, .budget = budget};
    mg_buffer_init(&framing->part, SIZE_MAX);
}

void mg_grpc__framing_clear(struct mg_grpc__framing *framing)
{
    mg_budget_release(framing->budget, framing->part.capacity);
    mg_buffer_clear(&framing->part);
    framing->head_size = 0;
}

enum mg_code mg_grpc__grow(struct mg_buffer *buffer, size_t capacity, struct mg_budget *budget, struct mg_error *err)
{
    if (capacity <= buffer->capacity)
        return MG_OK;
    /* Old and new exist side by side while bytes are copied: both are counted. */
    size_t before = buffer->capacity;
    MG_TRY(mg_budget_reserve(budget, capacity, err));
    buffer->max = capacity;
    enum mg_code code = mg_buffer_reserve(buffer, capacity - buffer->size, err);
    mg_budget_release(budget, code == MG_OK ? before : capacity);
    mg_assert(code != MG_OK || buffer->capacity == capacity);
    return code;
}

static enum mg_code read_head(struct mg_grpc__framing *framing, struct mg_error *err)
{
    if (framing->head[0] == 1)
        return mg_fail(err, MG_UNIMPLEMENTED, "the message is compressed; only identity is taken");
    if (framing->head[0] != 0)
        return mg_fail(err, MG_PROTOCOL, "a message begins with the flag %u", framing->head[0]);
    framing->message_size = mg_load_be32(framing->head + 1);
    if (framing->message_size > framing->message_max)
        return mg_fail(err, MG_TOO_BIG, "grpc: received message larger than max (%u vs. %zu)", framing->message_size,
                       framing->message_max);
    return MG_OK;
}

static enum mg_code append_part(struct mg_grpc__framing *framing, const uint8_t *bytes, size_t size,
                                struct mg_error *err)
{
    struct mg_buffer *part = &framing->part;
    if (size == 0)
        return MG_OK;
    if (part->size + size > part->capacity) {
        size_t least = MG_MIN(framing->message_size, (uint32_t)STEP_CAPACITY);
        size_t capacity = MG_MAX(MG_MAX(part->size + size, part->capacity * 2), least);
        if (capacity > WHOLE_FROM || capacity > framing->message_size)
            capacity = MG_MAX(framing->message_size, (uint32_t)FIRST_CAPACITY);
        MG_TRY(mg_grpc__grow(part, capacity, framing->budget, err));
    }
    memcpy(part->data + part->size, bytes, size);
    part->size += size;
    return MG_OK;
}

enum mg_code mg_grpc__framing_feed(struct mg_grpc__framing *framing, struct mg_slice bytes, size_t *out_used,
                                   bool *out_whole, struct mg_error *err)
{
    size_t used = 0;
    if (framing->head_size < MG_GRPC__FRAME_HEAD) {
        used = MG_MIN(bytes.size, MG_GRPC__FRAME_HEAD - (size_t)framing->head_size);
        if (used)
            memcpy(framing->head + framing->head_size, bytes.data, used);
        framing->head_size += (uint32_t)used;
        if (framing->head_size == MG_GRPC__FRAME_HEAD)
            MG_TRY(read_head(framing, err));
    }
    bool whole = false;
    if (framing->head_size == MG_GRPC__FRAME_HEAD) {
        size_t take = MG_MIN(bytes.size - used, framing->message_size - framing->part.size);
        *out_used = used;
        MG_TRY(append_part(framing, bytes.data + used, take, err));
        used += take;
        whole = mg_grpc__framing_whole(framing);
    }
    *out_used = used;
    *out_whole = whole;
    return MG_OK;
}

void mg_grpc__framing_next(struct mg_grpc__framing *framing)
{
    framing->head_size = 0;
    mg_buffer_reset(&framing->part);
}
