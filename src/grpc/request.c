/* request.c -- what a client sends on one stream: headers, messages, the end.
 *
 * Checks here what HTTP/2's own checks of messages cannot be trusted with: they are off for servers with any_authority,
 * and the rules of gRPC come on top. A request that breaks HTTP/2 is reset; one that breaks gRPC, or asks for what is
 * not there, is answered with a status.
 * Threads  the I/O thread.
 * Source   gRPC over HTTP/2; RFC 9113 sections 8.2 and 8.3.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <strings.h>

#include "base/counter.h"
#include "grpc/grpc_internal.h"

enum { HEADER_COST = 32 };

void mg_grpc__request_header(struct mg_grpc_call *call, struct mg_slice name, struct mg_slice value)
{
    if (call->malformed || call->too_large)
        return;
    bool pseudo = name.size > 0 && name.data[0] == ':';
    if (!mg_grpc__header_valid(name, value) || (pseudo && call->pseudo_over)) {
        call->malformed = true;
        return;
    }
    call->pseudo_over = !pseudo;
    if (call->headers.size_bytes + name.size + value.size + HEADER_COST > MG_GRPC__HEADERS_MAX) {
        call->too_large = true;
        return;
    }
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = mg_grpc__headers_add(&call->headers, &call->arena, name, value, &err);
    if (code == MG_NO_MEMORY)
        call->too_large = true;
    else if (code != MG_OK)
        call->malformed = true;
}

static const char *value_of(const struct mg_grpc_call *call, const char *name)
{
    const struct mg_grpc__header *header = mg_grpc__headers_find(&call->headers, name);
    return header ? header->value : NULL;
}

/* One each of :method, :path and :scheme, and no pseudo-header that a request cannot have. */
static bool pseudo_headers_good(const struct mg_grpc_call *call)
{
    static const char *const names[] = {":method", ":path", ":scheme", ":authority"};
    unsigned seen = 0;
    for (const struct mg_grpc__header *header = call->headers.first; header; header = header->next) {
        if (header->name[0] != ':')
            break;
        size_t i = 0;
        while (i < MG_COUNT_OF(names) && strcmp(names[i], header->name) != 0)
            i++;
        if (i == MG_COUNT_OF(names) || (seen & 1u << i))
            return false;
        seen |= 1u << i;
    }
    return (seen & 7) == 7;
}

static bool is_grpc(const char *content_type)
{
    static const char grpc[] = "application/grpc";
    if (!content_type || strncasecmp(content_type, grpc, sizeof grpc - 1) != 0)
        return false;
    char next = content_type[sizeof grpc - 1];
    return next == 0 || next == '+' || next == ';';
}

static void fire_deadline(struct mg_grpc__timer *timer)
{
    struct mg_grpc_call *call = (struct mg_grpc_call *)((char *)timer - offsetof(struct mg_grpc_call, deadline));
    mg_grpc__call_abort(call, MG_TIMEOUT, MG_GRPC_DEADLINE_EXCEEDED, "the deadline of the call passed");
}

static enum mg_code set_deadline(struct mg_grpc_call *call, const char *timeout, struct mg_error *err)
{
    int64_t timeout_ms;
    if (!mg_grpc__timeout_parse(mg_slice_text(timeout), &timeout_ms))
        return mg_fail(err, MG_INVALID, "grpc-timeout \"%.32s\" is not a time", timeout);
    call->deadline_ms = mg_grpc__loop_now(call->loop) + timeout_ms;
    call->deadline.fire = fire_deadline;
    return mg_grpc__timer_set(&call->loop->timers, &call->deadline, call->deadline_ms, err);
}

/* What is asked for, and how. */
static enum mg_code accept_request(struct mg_grpc_call *call, struct mg_error *err)
{
    const char *path = value_of(call, ":path");
    const char *encoding = value_of(call, "grpc-encoding");
    const char *timeout = value_of(call, "grpc-timeout");
    if (encoding && strcmp(encoding, "identity") != 0)
        return mg_fail(err, MG_UNIMPLEMENTED, "messages coded with %.32s are not taken, only identity", encoding);
    if (timeout)
        MG_TRY(set_deadline(call, timeout, err));
    call->method = mg_grpc__server_method(call->server, path);
    if (!call->method)
        return mg_fail(err, MG_UNIMPLEMENTED, "unknown method %.128s", path);
    if (call->method->request_max > 0)
        call->framing.message_max = call->method->request_max;
    return MG_OK;
}

static void reset(struct mg_grpc_call *call, uint32_t error_code)
{
    nghttp2_submit_rst_stream(call->connection->session, NGHTTP2_FLAG_NONE, call->stream_id, error_code);
}

void mg_grpc__request_open(struct mg_grpc_call *call)
{
    if (call->connection->draining) {
        reset(call, NGHTTP2_REFUSED_STREAM); /* a client tries those again elsewhere without being told */
        return;
    }
    if (call->too_large) {
        mg_count(grpc_refused, 1);
        char text[96];
        snprintf(text, sizeof text, "received metadata larger than max (vs. %d)", (int)MG_GRPC__HEADERS_MAX);
        mg_grpc__call_abort(call, MG_TOO_BIG, MG_GRPC_RESOURCE_EXHAUSTED, text);
        return;
    }
    if (call->malformed || !pseudo_headers_good(call)) {
        reset(call, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (strcmp(value_of(call, ":method"), "POST") != 0) {
        mg_grpc__response_http(call, "405");
        return;
    }
    if (!is_grpc(value_of(call, "content-type"))) {
        mg_grpc__response_http(call, "415");
        return;
    }
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = accept_request(call, &err);
    if (code != MG_OK) {
        mg_grpc__call_abort(call, code, mg_code_grpc_status(code), err.text);
        return;
    }
    mg_mutex_lock(&call->lock);
    mg_grpc__call_to(call, MG_GRPC__WAITING);
    mg_mutex_unlock(&call->lock);
    if (call->method->streams)
        mg_grpc__call_dispatch(call);
}

static bool is_waiting(struct mg_grpc_call *call)
{
    mg_mutex_lock(&call->lock);
    bool waiting = call->phase == MG_GRPC__WAITING;
    mg_mutex_unlock(&call->lock);
    return waiting;
}

void mg_grpc__request_give_up(struct mg_grpc_call *call, enum mg_code code, const struct mg_error *err)
{
    mg_count(grpc_refused, code == MG_TOO_BIG || code == MG_NO_MEMORY);
    int status = code == MG_TOO_BIG ? MG_GRPC_RESOURCE_EXHAUSTED : mg_code_grpc_status(code);
    mg_grpc__call_abort(call, code, status, err->text);
}

/* The request stays in framing.part until the call ends. */
static enum mg_code feed_async(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err)
{
    struct mg_grpc__framing *framing = &call->framing;
    while (bytes.size > 0) {
        if (call->async_whole)
            return mg_fail(err, MG_PROTOCOL, "a unary call has more than one request");
        size_t used;
        MG_TRY(mg_grpc__framing_feed(framing, bytes, &used, &call->async_whole, err));
        bytes = MG_SLICE(bytes.data + used, bytes.size - used);
    }
    return MG_OK;
}

static enum mg_code feed_inbox(struct mg_grpc_call *call, struct mg_slice bytes, size_t *out_taken, bool *out_arrived,
                               struct mg_error *err)
{
    struct mg_grpc__framing *framing = &call->framing;
    *out_taken = 0;
    while (*out_taken < bytes.size || mg_grpc__framing_whole(framing)) {
        size_t used;
        bool whole;
        enum mg_code code = mg_grpc__framing_feed(framing, MG_SLICE(bytes.data + *out_taken, bytes.size - *out_taken),
                                                  &used, &whole, err);
        *out_taken += used;
        mg_mutex_lock(&call->lock);
        call->inbox.held_part_bytes += used;
        if (code == MG_OK && whole)
            code = mg_grpc__inbox_push(&call->inbox, framing, err);
        mg_mutex_unlock(&call->lock);
        MG_TRY(code);
        *out_arrived |= whole;
    }
    return MG_OK;
}

enum mg_code mg_grpc__request_deliver(struct mg_grpc_call *call, struct mg_slice bytes, size_t *out_taken,
                                      struct mg_error *err)
{
    bool arrived = false;
    enum mg_code code = feed_inbox(call, bytes, out_taken, &arrived, err);
    mg_mutex_lock(&call->lock);
    size_t consumed = mg_grpc__inbox_consume(&call->inbox);
    if (arrived)
        mg_cond_broadcast(&call->changed);
    mg_mutex_unlock(&call->lock);
    nghttp2_session_consume_stream(call->connection->session, call->stream_id, consumed);
    if (arrived && is_waiting(call))
        mg_grpc__call_dispatch(call);
    return code;
}

/* Window is given back for what a reader took or a message in progress holds, not for what waits in held. */
static enum mg_code feed_stream(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err)
{
    size_t taken = 0;
    if (mg_grpc__is_held(call))
        return mg_grpc__hold(call, bytes, err);
    enum mg_code code = mg_grpc__request_deliver(call, bytes, &taken, err);
    if (code != MG_NO_MEMORY)
        return code;
    return mg_grpc__hold(call, MG_SLICE(bytes.data + taken, bytes.size - taken), err);
}

void mg_grpc__request_data(struct mg_grpc_call *call, struct mg_slice bytes)
{
    nghttp2_session *session = call->connection->session;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = MG_OK;
    /* The connection's window only limits what is on its way: memory is bounded by those of the streams. */
    nghttp2_session_consume_connection(session, bytes.size);
    bool unread = call->status_sent || mg_grpc_call_cancelled(call) || !call->method;
    if (unread || call->method->async)
        nghttp2_session_consume_stream(session, call->stream_id, bytes.size);
    if (unread)
        return;
    code = call->method->async ? feed_async(call, bytes, &err) : feed_stream(call, bytes, &err);
    if (code != MG_OK)
        mg_grpc__request_give_up(call, code, &err);
}

void mg_grpc__request_end(struct mg_grpc_call *call)
{
    call->request_ended = true;
    if (call->status_sent || mg_grpc_call_cancelled(call) || !call->method || mg_grpc__is_held(call))
        return; /* held.c comes back here */
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = MG_OK;
    if (call->method->async ? !call->async_whole : mg_grpc__framing_partial(&call->framing))
        code = mg_fail(&err, MG_PROTOCOL, "the client ended the call in the middle of a message or without one");
    if (code != MG_OK) {
        mg_grpc__request_give_up(call, code, &err);
        return;
    }
    mg_mutex_lock(&call->lock);
    call->inbox.ended = true;
    mg_cond_broadcast(&call->changed);
    mg_mutex_unlock(&call->lock);
    if (is_waiting(call))
        mg_grpc__call_dispatch(call);
}
