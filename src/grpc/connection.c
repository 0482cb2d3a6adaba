/* connection.c -- one HTTP/2 session of the server: bytes in, frames to calls, output out.
 *
 *   socket -> feed -> nghttp2 -> on_* -> request.c            response.c -> nghttp2 -> send, send_data -> output ->
 *   socket
 *
 * nghttp2 knows frames, HPACK, stream states, windows and its own flood limits; gRPC is in request.c and response.c.
 * A connection is never freed inside a callback: `broken` asks the loop to close it.
 * Timer    one: until the client's SETTINGS came, the handshake; then keepalive, idleness and the steps of GOAWAY.
 * Threads  the I/O thread of its loop.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/net.h"
#include "grpc/grpc_internal.h"

enum {
    INPUT_BYTES = 256 << 10, /* of the loop's buffer; one read */
    READS_PER_TURN = 4,      /* then others may */
    FLUSHES_PER_TURN = 4,
    GOAWAY_GAP_MS = 200, /* between the first and the second, if the ping is not answered sooner */
};

static const uint8_t drain_ping[8] = "drain";
static const uint8_t alive_ping[8] = "alive";

/* ---- its timer
 * ------------------------------------------------------------------------------------------------------ */

static void set_timer(struct mg_grpc__connection *connection, int64_t at_ms)
{
    if (mg_grpc__timer_set(&connection->loop->timers, &connection->timer, at_ms, NULL) != MG_OK)
        connection->broken = true;
}

/* Its answer may have come while this thread was busy. */
static bool has_unread(const struct mg_grpc__connection *connection)
{
    uint8_t byte;
    return connection->fd >= 0 && recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Alive, or asked whether it is, or given up. Returns when to look again. */
static int64_t check_alive(struct mg_grpc__connection *connection, int64_t now_ms)
{
    int64_t keepalive_ms = connection->loop->server->options.keepalive_ms;
    int64_t due_ms = connection->last_read_ms + keepalive_ms;
    if (connection->call_count == 0 || due_ms > now_ms) {
        connection->ping_ms = 0;
        return due_ms > now_ms ? due_ms : now_ms + keepalive_ms;
    }
    if (connection->ping_ms == 0 || connection->last_read_ms >= connection->ping_ms) {
        connection->ping_ms = now_ms;
        if (nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, alive_ping) != 0)
            connection->broken = true;
        return now_ms + keepalive_ms;
    }
    if (has_unread(connection))
        return now_ms + MG_MAX(keepalive_ms / 4, (int64_t)1);
    mg_log(MG_LOG_INFO, "grpc", "peer=%s calls=%u closed: no answer to a ping for %lld ms", connection->peer,
           connection->call_count, (long long)(now_ms - connection->ping_ms));
    connection->broken = true;
    return now_ms + keepalive_ms;
}

/* What is due now; returns when to look again. */
static int64_t look_after(struct mg_grpc__connection *connection, int64_t now_ms)
{
    const struct mg_grpc_server_options *options = &connection->loop->server->options;
    if (!connection->greeted) {
        int64_t due_ms = connection->opened_ms + options->handshake_ms;
        connection->broken |= now_ms >= due_ms;
        return due_ms;
    }
    int64_t next_ms = check_alive(connection, now_ms);
    if (connection->draining && !connection->last_goaway) {
        int64_t due_ms = connection->drain_ms + GOAWAY_GAP_MS;
        if (now_ms >= due_ms)
            mg_grpc__connection_drain(connection, true);
        else
            next_ms = MG_MIN(next_ms, due_ms);
    }
    if (options->idle_ms > 0 && connection->call_count == 0 && !connection->draining) {
        int64_t due_ms = connection->last_call_ms + options->idle_ms;
        if (now_ms >= due_ms)
            mg_grpc__connection_drain(connection, false);
        next_ms = MG_MIN(next_ms, now_ms >= due_ms ? now_ms + GOAWAY_GAP_MS : due_ms);
    }
    return next_ms;
}

static void fire_timer(struct mg_grpc__timer *timer)
{
    struct mg_grpc__connection *connection =
        (struct mg_grpc__connection *)((char *)timer - offsetof(struct mg_grpc__connection, timer));
    int64_t now_ms = mg_grpc__loop_now(connection->loop);
    int64_t next_ms = look_after(connection, now_ms);
    if (!connection->broken)
        set_timer(connection, MG_MAX(next_ms, now_ms + 1));
    mg_grpc__connection_dirty(connection);
}

static void greet(struct mg_grpc__connection *connection)
{
    if (connection->greeted)
        return;
    connection->greeted = true;
    fire_timer(&connection->timer);
}

/* ---- what nghttp2 calls
 * -------------------------------------------------------------------------------------------- */

static struct mg_grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct mg_grpc__connection *connection = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct mg_grpc_call *call = mg_grpc__call_new(connection, frame->hd.stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user_data)
{
    struct mg_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        mg_grpc__request_header(call, MG_SLICE(name, name_size), MG_SLICE(value, value_size));
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct mg_grpc__connection *connection = user_data;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS: greet(connection); return 0;
    case NGHTTP2_PING:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            return 0;
        connection->ping_ms = 0;
        if (memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0)
            mg_grpc__connection_drain(connection, true);
        return 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA: break;
    default: return 0;
    }
    struct mg_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        mg_grpc__request_open(call);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        mg_grpc__request_end(call);
    return 0;
}

static int on_data_chunk_recv(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                              size_t size, void *user_data)
{
    struct mg_grpc_call *call = call_of(session, stream_id);
    if (call)
        mg_grpc__request_data(call, MG_SLICE(data, size));
    else
        nghttp2_session_consume(session, stream_id, size);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    /* The client still sends: what it has to say does not matter any more. */
    struct mg_grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call && !call->request_ended)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data)
{
    struct mg_grpc_call *call = call_of(session, stream_id);
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    mg_grpc__call_stream_closed(call);
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t size, int flags, void *user_data)
{
    struct mg_grpc__connection *connection = user_data;
    size_t taken = mg_grpc__output_copy(&connection->output, data, size);
    if (connection->output.failed)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return taken > 0 ? (ssize_t)taken : NGHTTP2_ERR_WOULDBLOCK;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t size,
                        nghttp2_data_source *source, void *user_data)
{
    struct mg_grpc__connection *connection = user_data;
    struct mg_grpc__output *output = &connection->output;
    struct mg_grpc_call *call = source->ptr;
    if (!mg_grpc__output_has_room(output))
        return output->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_WOULDBLOCK;
    mg_assert(frame->data.padlen == 0 && size <= call->sending_bytes);
    size_t copied = mg_grpc__output_copy(output, head, 9);
    mg_assert(copied == 9);
    call->sending_bytes -= size;
    mg_grpc__output_take(output, &call->sending, size);
    if (!call->sending)
        call->sending_end = &call->sending;
    return 0;
}

enum mg_code mg_grpc__callbacks_new(nghttp2_session_callbacks **out, struct mg_error *err)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return mg_fail(err, MG_NO_MEMORY, "no memory for HTTP/2 callbacks");
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    *out = callbacks;
    return MG_OK;
}

/* ---- its life
 * ------------------------------------------------------------------------------------------------------- */

static enum mg_code start_session(struct mg_grpc__connection *connection, struct mg_error *err)
{
    struct mg_grpc_server *server = connection->loop->server;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, server->options.calls_per_connection},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, MG_GRPC__STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MG_GRPC__HEADERS_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    int result = nghttp2_session_server_new2(&connection->session, server->callbacks, connection, server->http2);
    if (result == 0)
        result = nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, MG_COUNT_OF(settings));
    if (result == 0)
        result = nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0,
                                                       MG_GRPC__CONNECTION_WINDOW);
    return result == 0 ? MG_OK
                       : mg_fail(err, MG_NO_MEMORY, "could not begin an HTTP/2 session: %s", nghttp2_strerror(result));
}

enum mg_code mg_grpc__connection_open(struct mg_grpc__loop *loop, int fd, const char *peer,
                                      struct mg_grpc__connection **out, struct mg_error *err)
{
    struct mg_grpc__connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        if (fd >= 0)
            close(fd);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a connection");
    }
    connection->loop = loop;
    connection->fd = fd;
    snprintf(connection->peer, sizeof connection->peer, "%s", peer);
    connection->opened_ms = connection->last_read_ms = connection->last_call_ms = mg_grpc__loop_now(loop);
    connection->timer.fire = fire_timer;
    connection->next = loop->connections;
    if (connection->next)
        connection->next->previous = connection;
    loop->connections = connection;
    atomic_fetch_add(&loop->server->connection_count, 1);

    enum mg_code code = start_session(connection, err);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (code == MG_OK && fd >= 0 && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        code = mg_fail_errno(err, errno, "could not wait for a connection");
    if (code != MG_OK) {
        mg_grpc__connection_close(connection);
        return code;
    }
    set_timer(connection, connection->opened_ms + loop->server->options.handshake_ms);
    mg_grpc__connection_dirty(connection);
    mg_count(grpc_connections, 1);
    *out = connection;
    return MG_OK;
}

static void leave_dirty(struct mg_grpc__connection *connection)
{
    if (!connection->dirty)
        return;
    struct mg_grpc__connection **at = &connection->loop->dirty;
    while (*at != connection)
        at = &(*at)->dirty_next;
    *at = connection->dirty_next;
    if (!*at)
        connection->loop->dirty_end = at;
    connection->dirty = false;
}

void mg_grpc__connection_close(struct mg_grpc__connection *connection)
{
    struct mg_grpc__loop *loop = connection->loop;
    leave_dirty(connection);
    mg_grpc__timer_clear(&loop->timers, &connection->timer);
    while (connection->calls) {
        struct mg_grpc_call *call = connection->calls;
        nghttp2_session_set_stream_user_data(connection->session, call->stream_id, NULL);
        mg_grpc__call_stream_closed(call);
    }
    nghttp2_session_del(connection->session);
    mg_grpc__output_clear(&connection->output);
    if (connection->fd >= 0)
        close(connection->fd);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        loop->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    atomic_fetch_sub(&loop->server->connection_count, 1);
    free(connection);
}

void mg_grpc__connection_feed(struct mg_grpc__connection *connection, struct mg_slice bytes)
{
    connection->last_read_ms = mg_grpc__loop_now(connection->loop);
    ssize_t used = nghttp2_session_mem_recv(connection->session, bytes.data, bytes.size);
    if (used >= 0)
        return;
    mg_log(MG_LOG_DEBUG, "grpc", "peer=%s closed: %s", connection->peer, nghttp2_strerror((int)used));
    connection->broken = true;
}

void mg_grpc__connection_read(struct mg_grpc__connection *connection)
{
    for (int i = 0; i < READS_PER_TURN && !connection->broken; i++) {
        ssize_t size = mg_net_receive(connection->fd, connection->loop->input, INPUT_BYTES);
        if (size > 0) {
            mg_grpc__connection_feed(connection, MG_SLICE(connection->loop->input, size));
            if (size < INPUT_BYTES)
                break;
        } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        } else {
            connection->broken = true; /* the client is gone */
        }
    }
    mg_grpc__connection_dirty(connection);
}

static void wait_for_output(struct mg_grpc__connection *connection, bool wanted)
{
    if (connection->wants_out == wanted || connection->fd < 0)
        return;
    connection->wants_out = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = connection};
    if (epoll_ctl(connection->loop->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        connection->broken = true;
}

bool mg_grpc__connection_flush(struct mg_grpc__connection *connection)
{
    for (int i = 0; i < FLUSHES_PER_TURN && !connection->broken; i++) {
        if (nghttp2_session_send(connection->session) != 0) {
            connection->broken = true;
            break;
        }
        if (connection->output.size_bytes == 0) {
            mg_grpc__output_flush(&connection->output, connection->fd);
            wait_for_output(connection, false);
            if (!nghttp2_session_want_read(connection->session) && !nghttp2_session_want_write(connection->session))
                connection->broken = true; /* said all, heard all */
            return false;
        }
        switch (mg_grpc__output_flush(&connection->output, connection->fd)) {
        case MG_GRPC__FLUSHED: break;
        case MG_GRPC__FLUSH_BLOCKED: wait_for_output(connection, true); return false;
        case MG_GRPC__FLUSH_FAILED: connection->broken = true;
        }
    }
    return true;
}

void mg_grpc__connection_dirty(struct mg_grpc__connection *connection)
{
    if (connection->dirty)
        return;
    connection->dirty = true;
    connection->dirty_next = NULL;
    *connection->loop->dirty_end = connection;
    connection->loop->dirty_end = &connection->dirty_next;
}

void mg_grpc__connection_drain(struct mg_grpc__connection *connection, bool last)
{
    nghttp2_session *session = connection->session;
    int result = 0;
    if (!connection->draining) {
        connection->draining = true;
        connection->drain_ms = mg_grpc__loop_now(connection->loop);
        result = nghttp2_submit_shutdown_notice(session);
        if (result == 0 && !last)
            result = nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, drain_ping);
        set_timer(connection, connection->drain_ms + GOAWAY_GAP_MS);
    }
    if (result == 0 && last && !connection->last_goaway) {
        connection->last_goaway = true;
        result = nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                                       NGHTTP2_NO_ERROR, NULL, 0);
    }
    if (result != 0)
        connection->broken = true;
    mg_grpc__connection_dirty(connection);
}
