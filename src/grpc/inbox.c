/* inbox.c -- whole messages that wait for their reader, and the window they hold.
 *
 * Small messages share a batch, so that a client that sends a million empty ones costs their bytes, not a million
 * allocations. Window is held by messages that wait; that of a message in progress while nothing waits is given back
 * as bytes come, because a message may be larger than the window.
 * Bound   one message with the reader, one waiting or in progress, and a stream window.
 * Threads guarded by the owner's lock; a popped batch belongs to who popped it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

enum {
    PACKED_MESSAGE_MAX = 4 << 10, /* copying less than this is cheaper than an allocation */
    PACKED_BATCH_MAX = 64 << 10,
    PACKED_FIRST = 128,
    SPARE_MAX = 4 << 20, /* larger memory goes back to the system */
    SIZE_BYTES = sizeof(uint32_t),
};

static struct mg_grpc__batch *new_batch(struct mg_budget *budget, bool packed, struct mg_error *err)
{
    struct mg_grpc__batch *batch = calloc(1, sizeof *batch);
    if (!batch) {
        mg_fail(err, MG_NO_MEMORY, "no memory for a received message");
        return NULL;
    }
    batch->budget = budget;
    batch->packed = packed;
    mg_buffer_init(&batch->bytes, SIZE_MAX);
    return batch;
}

/* With a message in it: who pops it expects one. */
static void append(struct mg_grpc__inbox *inbox, struct mg_grpc__batch *batch)
{
    if (inbox->last)
        inbox->last->next = batch;
    else
        inbox->first = batch;
    inbox->last = batch;
}

static enum mg_code grow_packed(struct mg_grpc__batch *batch, size_t size, struct mg_error *err)
{
    struct mg_buffer *bytes = &batch->bytes;
    if (bytes->size + size <= bytes->capacity)
        return MG_OK;
    return mg_grpc__grow(bytes, MG_MAX(MG_MAX(bytes->capacity * 2, bytes->size + size), (size_t)PACKED_FIRST),
                         batch->budget, err);
}

static enum mg_code push_packed(struct mg_grpc__inbox *inbox, struct mg_grpc__framing *framing,
                                struct mg_grpc__batch **out, struct mg_error *err)
{
    size_t size = SIZE_BYTES + framing->message_size;
    struct mg_grpc__batch *batch = inbox->last;
    bool fits = batch && batch->packed && batch->bytes.size + size <= PACKED_BATCH_MAX;
    if (!fits)
        batch = new_batch(framing->budget, true, err);
    if (!batch)
        return MG_NO_MEMORY;
    enum mg_code code = grow_packed(batch, size, err);
    if (code != MG_OK && !fits)
        mg_grpc__batch_free(batch);
    if (code != MG_OK)
        return code;
    if (!fits)
        append(inbox, batch);
    struct mg_buffer *bytes = &batch->bytes;
    mg_store_le32(bytes->data + bytes->size, framing->message_size);
    if (framing->message_size)
        memcpy(bytes->data + bytes->size + SIZE_BYTES, framing->part.data, framing->message_size);
    bytes->size += size;
    *out = batch;
    return MG_OK;
}

enum mg_code mg_grpc__inbox_push(struct mg_grpc__inbox *inbox, struct mg_grpc__framing *framing, struct mg_error *err)
{
    struct mg_grpc__batch *batch = NULL;
    if (framing->message_size <= PACKED_MESSAGE_MAX) {
        MG_TRY(push_packed(inbox, framing, &batch, err));
    } else {
        batch = new_batch(framing->budget, false, err);
        if (!batch)
            return MG_NO_MEMORY;
        append(inbox, batch);
        batch->bytes = framing->part; /* with its reservation */
        framing->part = inbox->spare; /* also with its reservation */
        mg_buffer_init(&inbox->spare, SIZE_MAX);
    }
    mg_grpc__framing_next(framing);
    batch->held_bytes += inbox->held_part_bytes;
    inbox->held_part_bytes = 0;
    return MG_OK;
}

struct mg_grpc__batch *mg_grpc__inbox_pop(struct mg_grpc__inbox *inbox)
{
    struct mg_grpc__batch *batch = inbox->first;
    if (!batch)
        return NULL;
    inbox->first = batch->next;
    if (!inbox->first)
        inbox->last = NULL;
    batch->next = NULL;
    inbox->freed_bytes += batch->held_bytes;
    batch->held_bytes = 0;
    return batch;
}

void mg_grpc__inbox_keep(struct mg_grpc__inbox *inbox, struct mg_grpc__batch *batch)
{
    /* Without this a stream of 1 MiB messages spends two thirds of its reader's time in page faults. */
    if (batch->packed || batch->bytes.capacity > SPARE_MAX || batch->bytes.capacity <= inbox->spare.capacity)
        return;
    struct mg_buffer smaller = inbox->spare;
    inbox->spare = batch->bytes;
    inbox->spare_budget = batch->budget;
    mg_buffer_reset(&inbox->spare);
    batch->bytes = smaller;
}

size_t mg_grpc__inbox_consume(struct mg_grpc__inbox *inbox)
{
    size_t bytes = inbox->freed_bytes;
    inbox->freed_bytes = 0;
    if (!inbox->first) {
        bytes += inbox->held_part_bytes;
        inbox->held_part_bytes = 0;
    }
    return bytes;
}

void mg_grpc__inbox_trim(struct mg_grpc__inbox *inbox)
{
    mg_budget_release(inbox->spare_budget, inbox->spare.capacity);
    mg_buffer_clear(&inbox->spare);
}

void mg_grpc__inbox_clear(struct mg_grpc__inbox *inbox)
{
    for (struct mg_grpc__batch *batch; (batch = mg_grpc__inbox_pop(inbox));)
        mg_grpc__batch_free(batch);
    mg_grpc__inbox_trim(inbox);
    *inbox = (struct mg_grpc__inbox){.ended = inbox->ended};
}

bool mg_grpc__batch_next(struct mg_grpc__batch *batch, struct mg_slice *out)
{
    if (!batch->packed) {
        bool fresh = !batch->read;
        batch->read = true;
        *out = mg_buffer_slice(&batch->bytes);
        return fresh;
    }
    if (batch->at == batch->bytes.size)
        return false;
    uint32_t size = mg_load_le32(batch->bytes.data + batch->at);
    *out = MG_SLICE(batch->bytes.data + batch->at + SIZE_BYTES, size);
    batch->at += SIZE_BYTES + size;
    return true;
}

void mg_grpc__batch_free(struct mg_grpc__batch *batch)
{
    if (!batch)
        return;
    mg_budget_release(batch->budget, batch->bytes.capacity);
    mg_buffer_clear(&batch->bytes);
    free(batch);
}
