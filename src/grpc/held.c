/* held.c -- bytes of a stream that wait for memory: a client that sends faster than others give memory back is slowed,
 * not refused.
 *
 *   no memory --hold--> retry in RETRY_MS --some--> the rest waits on
 *                                        --all---> the stream goes on
 *                                        --none for memory_wait_ms--> MG_NO_MEMORY
 *
 * Bound   the stream's window, which is not given back meanwhile; all streams together, what the server set aside in
 *         held_memory when it began, for it is a full memory that this is needed in.
 * Threads the I/O thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "base/counter.h"
#include "grpc/grpc_internal.h"

enum { RETRY_MS = 20 };

static enum mg_code append(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err)
{
    struct mg_buffer *held = &call->held.bytes;
    if (bytes.size == 0)
        return MG_OK;
    if (held->size + bytes.size > held->capacity) {
        size_t capacity = MG_MAX(held->size + bytes.size, (size_t)MG_GRPC__STREAM_WINDOW);
        MG_TRY(mg_grpc__grow(held, capacity, &call->server->held_memory, err));
    }
    memcpy(held->data + held->size, bytes.data, bytes.size);
    held->size += bytes.size;
    return MG_OK;
}

static void fire_retry(struct mg_grpc__timer *timer);

static enum mg_code retry_later(struct mg_grpc_call *call, struct mg_error *err)
{
    struct mg_grpc__held *held = &call->held;
    int64_t now_ms = mg_grpc__loop_now(call->loop);
    int64_t waited_ms = now_ms - held->since_ms;
    if (waited_ms >= call->server->options.memory_wait_ms)
        return mg_fail_in(err, MG_NO_MEMORY, "no memory came free in %" PRId64 " ms", waited_ms);
    mg_mutex_lock(&call->lock);
    mg_grpc__inbox_trim(&call->inbox);
    mg_mutex_unlock(&call->lock);
    mg_budget_ask(call->framing.budget, call->framing.message_size);
    held->retry.fire = fire_retry;
    return mg_grpc__timer_set(&call->loop->timers, &held->retry, now_ms + RETRY_MS, err);
}

/* The first bytes that find no memory; err says what was short. */
static enum mg_code begin(struct mg_grpc_call *call, struct mg_error *err)
{
    bool hopeless = call->framing.message_size > mg_budget_limit(call->framing.budget);
    if (!call->method->streams || hopeless)
        return MG_NO_MEMORY;
    mg_buffer_init(&call->held.bytes, SIZE_MAX);
    call->held.since_ms = MG_MAX(mg_grpc__loop_now(call->loop), (int64_t)1);
    mg_count(grpc_held, 1);
    return retry_later(call, err);
}

enum mg_code mg_grpc__hold(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err)
{
    if (!mg_grpc__is_held(call))
        MG_TRY(begin(call, err));
    return append(call, bytes, err);
}

static void note_taken(struct mg_grpc_call *call, size_t taken)
{
    struct mg_buffer *held = &call->held.bytes;
    if (taken == 0)
        return;
    memmove(held->data, held->data + taken, held->size - taken);
    held->size -= taken;
    call->held.since_ms = MG_MAX(mg_grpc__loop_now(call->loop), (int64_t)1);
}

static void fire_retry(struct mg_grpc__timer *timer)
{
    struct mg_grpc_call *call = (struct mg_grpc_call *)((char *)timer - offsetof(struct mg_grpc_call, held.retry));
    struct mg_buffer *held = &call->held.bytes;
    struct mg_error err = MG_ERROR_INIT;
    size_t taken;
    enum mg_code code = mg_grpc__request_deliver(call, mg_buffer_slice(held), &taken, &err);
    mg_grpc__connection_dirty(call->connection);
    if (!mg_grpc__is_held(call))
        return; /* it was aborted */
    if (code == MG_NO_MEMORY) {
        note_taken(call, taken);
        code = retry_later(call, &err);
    } else if (code == MG_OK) {
        mg_grpc__held_clear(call);
        if (call->request_ended)
            mg_grpc__request_end(call);
    }
    if (code != MG_OK)
        mg_grpc__request_give_up(call, code, &err);
}

void mg_grpc__held_clear(struct mg_grpc_call *call)
{
    struct mg_grpc__held *held = &call->held;
    if (!mg_grpc__is_held(call))
        return;
    mg_grpc__timer_clear(&call->loop->timers, &held->retry);
    mg_budget_release(&call->server->held_memory, held->bytes.capacity);
    mg_buffer_clear(&held->bytes);
    held->since_ms = 0;
}
