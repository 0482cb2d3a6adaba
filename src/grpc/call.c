/* call.c -- one call on the server: its state, and what its handler may do with it.
 *
 * OPENING --headers--> WAITING --message or end--> QUEUED --worker--> RUNNING --returned--> ENDING --stream gone-->
 * CLOSED
 *    |                    |  (async: all of it)-----------------------^  |                    ^
 *    |                    |                           |                  +-- stream gone first: RUNNING until the
 *    +--------------------+--- refused, cancelled ----+----------------------------------------+   handler returns
 *
 *   from     to       by
 *   OPENING  WAITING  request.c: headers are good          (I/O thread)
 *   OPENING  ENDING   mg_grpc__call_abort: refused         (I/O thread)
 *   WAITING  QUEUED   mg_grpc__call_dispatch               (I/O thread)
 *   WAITING  RUNNING  mg_grpc__call_dispatch, async        (I/O thread)
 *   WAITING  ENDING   mg_grpc__call_abort                  (I/O thread)
 *   QUEUED   RUNNING  mg_grpc__call_run                    (worker)
 *   QUEUED   ENDING   mg_grpc__call_abort, withdrawn       (I/O thread)
 *   RUNNING  ENDING   end_handler                          (worker, or who completes an async call)
 *   any      CLOSED   last reference dropped
 *
 * A cancelled call keeps its phase while RUNNING; ended_by says why, and wakes whoever waits in receive or send.
 * Threads  call->lock guards what both sides touch; it is held shortly and never over a system call or a handler.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/counter.h"
#include "grpc/grpc_internal.h"

enum { ARENA_MAX = 8 * MG_GRPC__HEADERS_MAX }; /* headers of both directions, with their nodes and decoded values */

struct mg_grpc_call *mg_grpc__call_new(struct mg_grpc__connection *connection, int32_t stream_id)
{
    struct mg_grpc_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    struct mg_grpc_server *server = connection->loop->server;
    call->server = server;
    call->loop = connection->loop;
    call->deadline_ms = INT64_MAX;
    memcpy(call->peer, connection->peer, sizeof call->peer);
    call->connection = connection;
    call->next = connection->calls;
    if (call->next)
        call->next->previous = call;
    connection->calls = call;
    connection->call_count++;
    call->stream_id = stream_id;
    call->sending_end = &call->sending;
    mg_grpc__framing_init(&call->framing, server->options.message_max, server->options.budget);
    mg_arena_init(&call->arena, ARENA_MAX);
    atomic_init(&call->refs, 1);
    atomic_init(&call->ended_by, MG_OK);
    mg_mutex_init(&call->lock, MG_RANK_GRPC_CALL, "grpc call");
    mg_cond_init(&call->changed);
    call->phase = MG_GRPC__OPENING;
    call->out_end = &call->out;
    atomic_fetch_add(&server->call_count, 1);
    mg_count(grpc_calls, 1);
    return call;
}

static void free_call(struct mg_grpc_call *call)
{
    struct mg_grpc_server *server = call->server;
    mg_assert(!call->connection && !call->sending && !call->out && call->out_bytes == 0);
    mg_mutex_lock(&call->lock);
    mg_grpc__call_to(call, MG_GRPC__CLOSED);
    mg_mutex_unlock(&call->lock);
    mg_grpc__batch_free(call->taken);
    mg_grpc__inbox_clear(&call->inbox);
    mg_grpc__framing_clear(&call->framing);
    mg_arena_clear(&call->arena);
    mg_cond_destroy(&call->changed);
    mg_mutex_destroy(&call->lock);
    free(call);
    mg_grpc__server_call_gone(server);
}

void mg_grpc__call_ref(struct mg_grpc_call *call) { atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed); }

void mg_grpc__call_unref(struct mg_grpc_call *call)
{
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1)
        free_call(call);
}

void mg_grpc__call_to(struct mg_grpc_call *call, enum mg_grpc__phase phase)
{
#define TO(p) (1u << MG_GRPC__##p)
    static const unsigned may[] = {
        [MG_GRPC__OPENING] = TO(WAITING) | TO(ENDING) | TO(CLOSED),
        [MG_GRPC__WAITING] = TO(QUEUED) | TO(RUNNING) | TO(ENDING),
        [MG_GRPC__QUEUED] = TO(RUNNING) | TO(ENDING),
        [MG_GRPC__RUNNING] = TO(ENDING),
        [MG_GRPC__ENDING] = TO(CLOSED),
        [MG_GRPC__CLOSED] = 0,
    };
#undef TO
    mg_assert_held(&call->lock);
    mg_assert(may[call->phase] & (1u << phase));
    call->phase = phase;
}

void mg_grpc__call_check(struct mg_grpc_call *call)
{
    size_t bytes = 0;
    struct mg_grpc__message **end = &call->sending;
    for (; *end; end = &(*end)->next) {
        struct mg_grpc__message *message = *end;
        mg_assert(message->refs > 0 && message->piece < message->piece_count);
        for (int i = message->piece; i < message->piece_count; i++)
            bytes += message->pieces[i].iov_len;
        bytes -= message->offset;
    }
    mg_assert(end == call->sending_end);
    mg_assert(bytes == call->sending_bytes);
    mg_assert(call->connection || !call->sending);
    mg_assert(!mg_grpc__is_held(call) || (call->connection && call->held.bytes.size <= MG_GRPC__STREAM_WINDOW));
    mg_assert(!call->deferred || call->begun);
    mg_assert(atomic_load(&call->refs) > 0);

    mg_mutex_lock(&call->lock);
    mg_assert(call->phase != MG_GRPC__CLOSED);
    mg_assert((call->inbox.first == NULL) == (call->inbox.last == NULL));
    mg_assert(call->sending_bytes <= call->out_bytes);
    mg_assert(call->method || call->phase == MG_GRPC__OPENING || call->phase == MG_GRPC__ENDING);
    mg_assert(!call->finished || call->phase == MG_GRPC__ENDING);
    mg_mutex_unlock(&call->lock);
}

/* ---- the I/O thread's side
 * ---------------------------------------------------------------------------------------- */

/* The handler's reference. */
static void let_go(struct mg_grpc_call *call)
{
    struct mg_grpc_server *server = call->server;
    mg_grpc__call_unref(call);
    mg_grpc__server_handler_ended(server); /* last: the server waits for it before it goes */
}

/* It was queued for a worker and no worker has it. */
static void never_ran(struct mg_grpc_call *call)
{
    mg_mutex_lock(&call->lock);
    mg_grpc__call_to(call, MG_GRPC__ENDING);
    mg_mutex_unlock(&call->lock);
    let_go(call);
}

static struct mg_grpc__pool *pool_of(struct mg_grpc_call *call)
{
    return call->method->streams ? &call->server->streams : &call->server->calls;
}

void mg_grpc__call_dispatch(struct mg_grpc_call *call)
{
    bool async = call->method->async != NULL;
    mg_mutex_lock(&call->lock);
    mg_grpc__call_to(call, async ? MG_GRPC__RUNNING : MG_GRPC__QUEUED);
    mg_mutex_unlock(&call->lock);
    mg_grpc__call_ref(call); /* the handler's */
    mg_grpc__server_handler_began(call->server);
    if (async) {
        call->method->async(call, call->method->arg, mg_buffer_slice(&call->framing.part));
        return;
    }
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = mg_grpc__pool_submit(pool_of(call), call, &err);
    if (code != MG_OK) {
        mg_count(grpc_refused, 1);
        never_ran(call);
        mg_grpc__call_abort(call, code, mg_code_grpc_status(code), err.text);
    }
}

/* Told to whoever works on it; the first reason stays. false: it had ended before. */
static bool end_early(struct mg_grpc_call *call, enum mg_code code, const char *text)
{
    mg_mutex_lock(&call->lock);
    bool first = atomic_load(&call->ended_by) == MG_OK;
    if (first) {
        if (call->phase != MG_GRPC__ENDING)
            snprintf(call->text, sizeof call->text, "%s", text ? text : mg_code_sentence(code));
        atomic_store(&call->ended_by, code);
        mg_grpc__inbox_clear(&call->inbox);
        mg_cond_broadcast(&call->changed);
    }
    bool waiting = call->phase == MG_GRPC__QUEUED;
    if (call->phase == MG_GRPC__OPENING || call->phase == MG_GRPC__WAITING)
        mg_grpc__call_to(call, MG_GRPC__ENDING);
    mg_mutex_unlock(&call->lock);
    /* A worker that took it in between finds it ended when it receives or sends. */
    if (waiting && mg_grpc__pool_withdraw(pool_of(call), call))
        never_ran(call);
    return first;
}

void mg_grpc__call_abort(struct mg_grpc_call *call, enum mg_code code, int status, const char *text)
{
    if (!end_early(call, code, text))
        return;
    mg_grpc__timer_clear(&call->loop->timers, &call->deadline);
    mg_grpc__held_clear(call);
    if (call->connection && !call->status_sent)
        mg_grpc__response_status(call, status, code, text ? text : mg_code_sentence(code));
}

static void unlink_call(struct mg_grpc_call *call)
{
    struct mg_grpc__connection *connection = call->connection;
    if (call->previous)
        call->previous->next = call->next;
    else
        connection->calls = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->previous = call->next = NULL;
    connection->call_count--;
    connection->last_call_ms = mg_grpc__loop_now(connection->loop);
    call->connection = NULL;
}

/* What the handler sent since the last time. */
static struct mg_grpc__message *take_out(struct mg_grpc_call *call, struct mg_grpc__message ***out_end)
{
    mg_assert_held(&call->lock);
    struct mg_grpc__message *list = call->out;
    *out_end = call->out_end;
    call->out = NULL;
    call->out_end = &call->out;
    return list;
}

void mg_grpc__call_stream_closed(struct mg_grpc_call *call)
{
    end_early(call, MG_CANCELLED, NULL);
    mg_grpc__timer_clear(&call->loop->timers, &call->deadline);
    mg_grpc__held_clear(call);
    unlink_call(call);
    mg_grpc__messages_drop(call->sending);
    call->sending = NULL;
    call->sending_end = &call->sending;
    call->sending_bytes = 0;
    struct mg_grpc__message **end;
    mg_mutex_lock(&call->lock);
    struct mg_grpc__message *list = take_out(call, &end);
    mg_mutex_unlock(&call->lock);
    mg_grpc__messages_drop(list);
    mg_grpc__call_unref(call);
}

void mg_grpc__call_mail(struct mg_grpc_call *call)
{
    struct mg_grpc__message **end;
    mg_mutex_lock(&call->lock);
    struct mg_grpc__message *list = take_out(call, &end);
    size_t consumed = mg_grpc__inbox_consume(&call->inbox);
    bool finished = call->phase == MG_GRPC__ENDING;
    mg_mutex_unlock(&call->lock);
    if (!call->connection) {
        mg_grpc__messages_drop(list);
        return;
    }
    if (list) {
        for (struct mg_grpc__message *message = list; message; message = message->next)
            call->sending_bytes += message->size_bytes;
        *call->sending_end = list;
        call->sending_end = end;
    }
    call->finished = finished;
    if (consumed > 0)
        nghttp2_session_consume_stream(call->connection->session, call->stream_id, consumed);
    mg_grpc__response_continue(call);
    mg_grpc__connection_dirty(call->connection);
}

/* ---- the handler's side
 * ------------------------------------------------------------------------------------------- */

/* The socket has it, or nobody will. */
static void message_gone(void *owner, struct mg_grpc__message *message)
{
    struct mg_grpc_call *call = owner;
    atomic_fetch_sub(&call->server->queued_bytes, message->size_bytes);
    mg_mutex_lock(&call->lock);
    bool was_full = call->out_bytes >= call->server->options.output_queue_max;
    call->out_bytes -= message->size_bytes;
    if (was_full && call->out_bytes < call->server->options.output_queue_max)
        mg_cond_broadcast(&call->changed);
    mg_mutex_unlock(&call->lock);
    mg_grpc__call_unref(call);
}

static void append_out(struct mg_grpc_call *call, struct mg_grpc__message *message)
{
    mg_assert_held(&call->lock);
    mg_grpc__call_ref(call);
    message->gone = message_gone;
    message->owner = call;
    *call->out_end = message;
    call->out_end = &message->next;
    call->out_bytes += message->size_bytes;
    atomic_fetch_add(&call->server->queued_bytes, message->size_bytes);
}

/* message: NULL or the answer of an async call. The caller posts the call, then lets it go. */
static void end_handler(struct mg_grpc_call *call, enum mg_code code, const char *text,
                        struct mg_grpc__message *message)
{
    mg_mutex_lock(&call->lock);
    if (atomic_load(&call->ended_by) == MG_OK) {
        call->code = code;
        call->status = mg_code_grpc_status(code);
        if (code != MG_OK)
            snprintf(call->text, sizeof call->text, "%s", text && *text ? text : mg_code_sentence(code));
        if (message)
            append_out(call, MG_TAKE(message));
    }
    mg_grpc__call_to(call, MG_GRPC__ENDING);
    mg_mutex_unlock(&call->lock);
    if (message)
        mg_grpc__message_unref(message);
}

void mg_grpc__call_run(struct mg_grpc_call *call)
{
    mg_mutex_lock(&call->lock);
    mg_grpc__call_to(call, MG_GRPC__RUNNING);
    mg_mutex_unlock(&call->lock);
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = call->method->handler(call, call->method->arg, &err);
    end_handler(call, code, err.text, NULL);
    mg_grpc__loop_post(call->loop, call);
    let_go(call);
}

static void complete(struct mg_grpc_call *call, enum mg_code code, const char *text, struct mg_slice response)
{
    struct mg_grpc__message *message = NULL;
    struct mg_error err = MG_ERROR_INIT;
    if (code == MG_OK && !mg_grpc_call_cancelled(call)) {
        struct iovec piece = {.iov_base = (void *)(uintptr_t)response.data, .iov_len = response.size};
        code = mg_grpc__message_new(&piece, 1, NULL, NULL, call->server->options.budget, &message, &err);
        if (code != MG_OK)
            text = err.text;
    }
    end_handler(call, code, text, message);
}

void mg_grpc_call_complete(struct mg_grpc_call *call, enum mg_code code, const char *text, struct mg_slice response)
{
    mg_assert(call->method->async);
    complete(call, code, text, response);
    mg_grpc__loop_post(call->loop, call);
    let_go(call);
}

void mg_grpc_call_complete_many(const struct mg_grpc_completion *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mg_assert(list[i].call->method->async);
        complete(list[i].call, list[i].code, list[i].text, list[i].response);
    }
    /* One list a loop. queue_next is free: an async call is in no pool. */
    struct mg_grpc_server *server = count > 0 ? list[0].call->server : NULL;
    for (uint32_t l = 0; server && l < server->loop_count; l++) {
        struct mg_grpc_call *first = NULL, **end = &first;
        for (size_t i = 0; i < count; i++) {
            mg_assert(list[i].call->server == server);
            if (list[i].call->loop != &server->loops[l])
                continue;
            *end = list[i].call;
            list[i].call->queue_next = NULL;
            end = &list[i].call->queue_next;
        }
        if (first)
            mg_grpc__loop_post_list(&server->loops[l], first);
    }
    for (size_t i = 0; i < count; i++)
        let_go(list[i].call);
}

static enum mg_code fail_ended(struct mg_grpc_call *call, struct mg_error *err)
{
    mg_assert_held(&call->lock);
    return mg_fail(err, atomic_load(&call->ended_by), "%s", call->text);
}

void mg_grpc_call_set_patience(struct mg_grpc_call *call, int64_t patience_ms) { call->patience_ms = patience_ms; }

/* Until the call has a message, or ended; false: patience did. */
static bool wait_for_message(struct mg_grpc_call *call) MG_REQUIRES(&call->lock)
{
    bool patient = true;
    while (patient && atomic_load(&call->ended_by) == MG_OK && !call->inbox.first && !call->inbox.ended) {
        if (call->patience_ms)
            patient = mg_cond_wait_ms(&call->changed, &call->lock, call->patience_ms);
        else
            mg_cond_wait(&call->changed, &call->lock);
    }
    return patient || call->inbox.first || call->inbox.ended;
}

enum mg_code mg_grpc_call_receive(struct mg_grpc_call *call, struct mg_slice *out, struct mg_error *err)
{
    if (call->taken && !mg_grpc_call_cancelled(call) && mg_grpc__batch_next(call->taken, out))
        return MG_OK;

    enum mg_code code = MG_OK;
    bool post = false;
    struct mg_grpc__batch *read = MG_TAKE(call->taken);
    mg_mutex_lock(&call->lock);
    if (read && atomic_load(&call->ended_by) == MG_OK)
        mg_grpc__inbox_keep(&call->inbox, read);
    bool patient = wait_for_message(call);
    if (atomic_load(&call->ended_by) != MG_OK) {
        code = fail_ended(call, err);
    } else if (!patient) {
        code = mg_fail(err, MG_TIMEOUT, "no message came from the client for %lld ms, while others wait for this call",
                       (long long)call->patience_ms);
    } else if (!call->inbox.first) {
        code = mg_fail(err, MG_NOT_FOUND, "the client has sent all messages of this call");
    } else {
        call->taken = mg_grpc__inbox_pop(&call->inbox);
        post = !call->inbox.ended && (call->inbox.freed_bytes >= MG_GRPC__CONSUME_STEP ||
                                      (!call->inbox.first && call->inbox.held_part_bytes > 0));
    }
    mg_mutex_unlock(&call->lock);
    if (post)
        mg_grpc__loop_post(call->loop, call);
    mg_grpc__batch_free(read);
    if (code != MG_OK)
        return code;
    bool there = mg_grpc__batch_next(call->taken, out);
    mg_assert(there);
    return MG_OK;
}

enum mg_code mg_grpc_call_send(struct mg_grpc_call *call, const struct iovec *pieces, int piece_count,
                               mg_grpc_release *release, void *release_arg, struct mg_error *err)
{
    struct mg_grpc__message *message = NULL;
    MG_TRY(
        mg_grpc__message_new(pieces, piece_count, release, release_arg, call->server->options.budget, &message, err));
    size_t most = call->server->options.output_queue_max;
    enum mg_code code = MG_OK;
    mg_mutex_lock(&call->lock);
    mg_assert(call->phase == MG_GRPC__RUNNING);
    while (atomic_load(&call->ended_by) == MG_OK && call->out_bytes >= most)
        mg_cond_wait(&call->changed, &call->lock);
    if (atomic_load(&call->ended_by) == MG_OK)
        append_out(call, MG_TAKE(message));
    else
        code = fail_ended(call, err);
    mg_mutex_unlock(&call->lock);
    call->sent = true;
    if (message)
        mg_grpc__message_unref(message);
    else
        mg_grpc__loop_post(call->loop, call);
    return code;
}

const char *mg_grpc_call_header(const struct mg_grpc_call *call, const char *name)
{
    const struct mg_grpc__header *header = mg_grpc__headers_find(&call->headers, name);
    return header ? header->value : NULL;
}

bool mg_grpc_call_header_binary(const struct mg_grpc_call *call, const char *name, struct mg_slice *out)
{
    const struct mg_grpc__header *header = mg_grpc__headers_find(&call->headers, name);
    if (!header || !header->binary.data)
        return false;
    *out = header->binary;
    return true;
}

bool mg_grpc_call_header_at(const struct mg_grpc_call *call, size_t index, const char **out_name,
                            const char **out_value)
{
    for (const struct mg_grpc__header *header = call->headers.first; header; header = header->next) {
        if (index-- > 0)
            continue;
        *out_name = header->name;
        *out_value = header->value;
        return true;
    }
    return false;
}

enum mg_code mg_grpc_call_add_header(struct mg_grpc_call *call, const char *name, const char *value,
                                     struct mg_error *err)
{
    if (call->sent)
        return mg_fail(err, MG_INVALID, "the header %s comes too late: a message was sent", name);
    return mg_grpc__headers_add_own(&call->response_headers, &call->arena, name, value, err);
}

enum mg_code mg_grpc_call_add_trailer(struct mg_grpc_call *call, const char *name, const char *value,
                                      struct mg_error *err)
{
    return mg_grpc__headers_add_own(&call->response_trailers, &call->arena, name, value, err);
}

enum mg_code mg_grpc_call_add_trailer_binary(struct mg_grpc_call *call, const char *name, struct mg_slice value,
                                             struct mg_error *err)
{
    return mg_grpc__headers_add_binary(&call->response_trailers, &call->arena, name, value, err);
}

bool mg_grpc_call_cancelled(const struct mg_grpc_call *call)
{
    return atomic_load_explicit(&call->ended_by, memory_order_acquire) != MG_OK;
}

bool mg_grpc_call_pause(struct mg_grpc_call *call, int64_t ms)
{
    struct mg_clock *clock = mg_clock_system(); /* a sleep is of real time */
    int64_t until_ms = mg_mono_ms(clock) + ms;
    mg_mutex_lock(&call->lock);
    for (int64_t left_ms; !mg_grpc_call_cancelled(call) && (left_ms = until_ms - mg_mono_ms(clock)) > 0;)
        mg_cond_wait_ms(&call->changed, &call->lock, left_ms);
    mg_mutex_unlock(&call->lock);
    return !mg_grpc_call_cancelled(call);
}

int64_t mg_grpc_call_deadline_ms(const struct mg_grpc_call *call) { return call->deadline_ms; }

const char *mg_grpc_call_peer(const struct mg_grpc_call *call) { return call->peer; }
