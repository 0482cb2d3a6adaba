/* client.c -- a connection to a server with one call at a time, for threads that may block.
 *
 *   begin -> send* -> half_close -> receive* -> end        each blocks in `turn`: wait, read, send what there is
 *
 * Pieces to send are not copied: send returns when the socket has them. Received bytes are given back to the window as
 * inbox.c says, so that a reader that stops stops the server.
 * While its owner is elsewhere in the middle of a call, a small thread looks at the socket once a second: it answers
 * the server's pings, so that who computes for a minute between two messages is not taken for dead.
 * Errors   the end of a call is the code of its trailer "magic-code", or of grpc-status; a lost connection is
 *          MG_UNAVAILABLE from then on.
 * Threads  owned by one thread at a time; only mg_grpc_client_interrupt may come from another. `inside` says that the
 *          owner is in here; while it is not, the watcher may touch everything but `taken`, under the lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/net.h"
#include "base/version.h"
#include "grpc/grpc_internal.h"

enum {
    INPUT_BYTES = 256 << 10,
    CONNECT_MS = 5000,
    WINDOW_BYTES = 8 << 20,
    MESSAGE_MAX = 64 << 20,
    RESPONSE_ARENA_MAX = 256 << 10,
    OWN_HEADERS = 8,
    HELD_MAX = 32, /* headers sent with every call */
    WATCH_MS = 1000,
};

struct held_header {
    char *name, *value;
};

struct mg_grpc_client {
    struct mg_mutex lock; /* MG_RANK_LEAF: `inside`, `closing`; and all that follows while not inside */
    struct mg_cond changed;
    bool inside, closing;
    struct mg_thread watcher; /* from the first call that is not unary */

    int fd;
    _Atomic bool interrupted;
    struct mg_grpc_client_options options; /* zeros replaced */
    char authority[128];
    struct held_header held[HELD_MAX];
    size_t held_count;
    nghttp2_session *session;
    struct mg_grpc__output output;
    uint8_t *input;
    bool greeted; /* the server's SETTINGS came */
    bool lost;
    char lost_text[160];

    /* The call. */
    int32_t stream_id; /* 0: none */
    bool open;         /* the stream is not closed */
    bool half_closed;
    bool deferred;       /* the data source waits for resume */
    int64_t deadline_ms; /* monotonic; INT64_MAX: none */
    struct mg_grpc__message *sending, **sending_end;
    size_t sending_bytes;
    struct mg_grpc__framing framing;
    struct mg_grpc__inbox inbox;
    struct mg_grpc__batch *taken; /* lent to the caller */
    struct mg_arena arena;        /* of headers */
    struct mg_grpc__headers headers;
    int status; /* -1: not known yet */
    enum mg_code code;
    char text[MG_ERROR_TEXT_MAX];
};

static int64_t now(void) { return mg_mono_ms(mg_clock_system()); }

/* The first thing that says how the call ends counts. */
static void end_with(struct mg_grpc_client *client, int status, enum mg_code code, const char *text)
{
    if (client->status >= 0)
        return;
    client->status = status;
    client->code = code;
    snprintf(client->text, sizeof client->text, "%s", text);
}

static void drop_sending(struct mg_grpc_client *client)
{
    mg_grpc__messages_drop(client->sending);
    client->sending = NULL;
    client->sending_end = &client->sending;
    client->sending_bytes = 0;
}

static void lose(struct mg_grpc_client *client, const char *why)
{
    if (client->lost)
        return;
    client->lost = true;
    snprintf(client->lost_text, sizeof client->lost_text, "the connection to %s is lost: %s", client->authority, why);
    client->open = false;
    drop_sending(client);
    mg_grpc__output_clear(&client->output); /* nothing points to the caller's pieces any more */
    shutdown(client->fd, SHUT_RDWR);
}

/* ---- what nghttp2 calls
 * -------------------------------------------------------------------------------------------- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    if (frame->hd.stream_id != client->stream_id)
        return 0;
    enum mg_code code = mg_grpc__headers_add(&client->headers, &client->arena, MG_SLICE(name, name_size),
                                             MG_SLICE(value, value_size), NULL);
    /* A -bin value that is not base64 is left out. */
    return code == MG_OK || code == MG_INVALID ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    if (frame->hd.type == NGHTTP2_SETTINGS)
        client->greeted = true;
    return 0;
}

static enum mg_code feed(struct mg_grpc_client *client, struct mg_slice bytes, struct mg_error *err)
{
    while (bytes.size > 0) {
        size_t used;
        bool whole;
        MG_TRY(mg_grpc__framing_feed(&client->framing, bytes, &used, &whole, err));
        bytes = MG_SLICE(bytes.data + used, bytes.size - used);
        client->inbox.held_part_bytes += used;
        if (whole)
            MG_TRY(mg_grpc__inbox_push(&client->inbox, &client->framing, err));
    }
    return MG_OK;
}

static int on_data_chunk_recv(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                              size_t size, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    nghttp2_session_consume_connection(session, size);
    if (stream_id != client->stream_id || client->status >= 0)
        return 0;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = feed(client, MG_SLICE(data, size), &err);
    nghttp2_session_consume_stream(session, stream_id, mg_grpc__inbox_consume(&client->inbox));
    if (code == MG_OK)
        return 0;
    int status = code == MG_TOO_BIG ? MG_GRPC_RESOURCE_EXHAUSTED : mg_code_grpc_status(code);
    end_with(client, status, code, err.text);
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL);
    return 0;
}

static const char *header_value(const struct mg_grpc_client *client, const char *name)
{
    const struct mg_grpc__header *header = mg_grpc__headers_find(&client->headers, name);
    return header ? header->value : NULL;
}

/* Source: gRPC's http-grpc-status-mapping.md. */
static int status_of_http(const char *http_status)
{
    switch (http_status ? strtol(http_status, NULL, 10) : 0) { /* 0 for what is no number */
    case 400: return MG_GRPC_INTERNAL;
    case 401: return MG_GRPC_UNAUTHENTICATED;
    case 403: return MG_GRPC_PERMISSION_DENIED;
    case 404: return MG_GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return MG_GRPC_UNAVAILABLE;
    default: return MG_GRPC_UNKNOWN;
    }
}

static int status_of_reset(uint32_t error_code)
{
    switch (error_code) {
    case NGHTTP2_NO_ERROR: return MG_GRPC_UNKNOWN; /* an orderly end, but for the status */
    case NGHTTP2_REFUSED_STREAM: return MG_GRPC_UNAVAILABLE;
    case NGHTTP2_CANCEL: return MG_GRPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return MG_GRPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return MG_GRPC_PERMISSION_DENIED;
    default: return MG_GRPC_INTERNAL;
    }
}

static void end_of_stream(struct mg_grpc_client *client, uint32_t error_code)
{
    const char *status_value = header_value(client, "grpc-status");
    const char *http_status = header_value(client, ":status");
    char text[MG_ERROR_TEXT_MAX];
    if (status_value) {
        const struct mg_grpc__header *message = mg_grpc__headers_find(&client->headers, "grpc-message");
        const char *name = header_value(client, "magic-code");
        char *end;
        long status = strtol(status_value, &end, 10);
        if (*end || end == status_value || status < 0 || status > 16)
            status = MG_GRPC_UNKNOWN;
        enum mg_code code = mg_grpc__code_of_status((int)status);
        if (name && status != MG_GRPC_OK && mg_code_from_name(name) != MG_OK)
            code = mg_code_from_name(name);
        mg_grpc__percent_decode(message ? MG_SLICE(message->value, message->value_size) : MG_SLICE(NULL, 0), text,
                                sizeof text);
        end_with(client, (int)status, code, *text ? text : mg_code_sentence(code));
    } else if (http_status && strcmp(http_status, "200") != 0) {
        int status = status_of_http(http_status);
        snprintf(text, sizeof text, "the server answered with HTTP status %.16s", http_status);
        end_with(client, status, mg_grpc__code_of_status(status), text);
    } else {
        int status = status_of_reset(error_code);
        snprintf(text, sizeof text, "the server ended the call without a status: HTTP/2 error %s",
                 nghttp2_http2_strerror(error_code));
        end_with(client, status, mg_grpc__code_of_status(status), text);
    }
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    if (stream_id != client->stream_id)
        return 0;
    client->open = false;
    drop_sending(client);
    end_of_stream(client, error_code);
    return 0;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t size, int flags, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    size_t taken = mg_grpc__output_copy(&client->output, data, size);
    if (client->output.failed)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return taken > 0 ? (ssize_t)taken : NGHTTP2_ERR_WOULDBLOCK;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t size,
                        nghttp2_data_source *source, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    if (!mg_grpc__output_has_room(&client->output))
        return client->output.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_WOULDBLOCK;
    /* A frame that was begun before its call was given up. */
    if (frame->hd.stream_id != client->stream_id || size > client->sending_bytes)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    mg_assert(frame->data.padlen == 0);
    size_t copied = mg_grpc__output_copy(&client->output, head, 9);
    mg_assert(copied == 9);
    client->sending_bytes -= size;
    mg_grpc__output_take(&client->output, &client->sending, size);
    if (!client->sending)
        client->sending_end = &client->sending;
    return 0;
}

static ssize_t read_output(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    struct mg_grpc_client *client = user_data;
    if (stream_id != client->stream_id)
        return NGHTTP2_ERR_DEFERRED;
    size_t size = MG_MIN(length, client->sending_bytes);
    if (size == 0 && !client->half_closed) {
        client->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (client->half_closed && size == client->sending_bytes)
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

/* ---- connect and close
 * --------------------------------------------------------------------------------------------- */

static enum mg_code start_session(struct mg_grpc_client *client, struct mg_error *err)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0) {
        nghttp2_session_callbacks_del(callbacks);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an HTTP/2 session");
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    int result = nghttp2_session_client_new2(&client->session, callbacks, client, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);

    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, client->options.window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MG_GRPC__HEADERS_MAX},
    };
    if (result == 0)
        result = nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, MG_COUNT_OF(settings));
    if (result == 0)
        result = nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0,
                                                       (int32_t)client->options.window_bytes);
    return result == 0 ? MG_OK
                       : mg_fail(err, MG_NO_MEMORY, "could not begin an HTTP/2 session: %s", nghttp2_strerror(result));
}

/* Sends what there is and the socket takes. */
static void flush(struct mg_grpc_client *client)
{
    while (!client->lost) {
        int result = nghttp2_session_send(client->session);
        if (result != 0) {
            lose(client, nghttp2_strerror(result));
            return;
        }
        bool more = client->output.size_bytes > 0;
        enum mg_grpc__flushed flushed = mg_grpc__output_flush(&client->output, client->fd);
        if (flushed == MG_GRPC__FLUSH_FAILED)
            lose(client, strerrordesc_np(errno));
        if (flushed != MG_GRPC__FLUSHED)
            return;
        if (!more)
            break;
    }
    if (!client->lost && !nghttp2_session_want_read(client->session) && !nghttp2_session_want_write(client->session))
        lose(client, "the server ended it, or broke the protocol");
}

/* Reads what has come. */
static void read_some(struct mg_grpc_client *client)
{
    while (!client->lost) {
        ssize_t size = mg_net_receive(client->fd, client->input, INPUT_BYTES);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0) {
            lose(client, size == 0 ? "the server closed it" : strerrordesc_np(errno));
            return;
        }
        ssize_t used = nghttp2_session_mem_recv(client->session, client->input, (size_t)size);
        if (used < 0)
            lose(client, nghttp2_strerror((int)used));
        if (size < INPUT_BYTES)
            return;
    }
}

/* What could be sent was: wait for the socket until until_ms, read, send. false: the time is over. */
static bool turn(struct mg_grpc_client *client, int64_t until_ms)
{
    if (client->lost)
        return true;
    if (client->interrupted) {
        lose(client, "interrupted");
        return true;
    }
    int64_t left_ms = until_ms == INT64_MAX ? -1 : until_ms - now();
    if (until_ms != INT64_MAX && left_ms <= 0)
        return false;
    struct pollfd wait = {.fd = client->fd, .events = (short)(POLLIN | (client->output.size_bytes > 0 ? POLLOUT : 0))};
    int ready = poll(&wait, 1, (int)MG_MIN(left_ms, (int64_t)60000));
    if (ready > 0 && (wait.revents & ~POLLOUT))
        read_some(client);
    flush(client);
    return true;
}

static enum mg_code greet(struct mg_grpc_client *client, int64_t until_ms, struct mg_error *err)
{
    MG_TRY(start_session(client, err));
    flush(client);
    while (!client->greeted && !client->lost)
        if (!turn(client, until_ms))
            lose(client, "it does not speak HTTP/2, or is too slow to begin");
    return client->lost ? mg_fail(err, MG_UNAVAILABLE, "%s", client->lost_text) : MG_OK;
}

enum mg_code mg_grpc_client_connect(const char *text, const struct mg_grpc_client_options *options,
                                    struct mg_grpc_client **out, struct mg_error *err)
{
    struct mg_grpc__address address;
    MG_TRY(mg_grpc__address_parse(text, &address, err));
    MG_CLEANUP(mg_grpc_client_closep) struct mg_grpc_client *client = calloc(1, sizeof *client);
    if (!client)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a gRPC client");
    mg_mutex_init(&client->lock, MG_RANK_LEAF, "grpc client");
    mg_cond_init(&client->changed);
    client->fd = -1;
    client->status = -1;
    client->sending_end = &client->sending;
    if (options)
        client->options = *options;
    if (!client->options.message_max)
        client->options.message_max = MESSAGE_MAX;
    if (!client->options.window_bytes)
        client->options.window_bytes = WINDOW_BYTES;
    client->options.window_bytes = MG_MIN(client->options.window_bytes, (uint32_t)INT32_MAX);
    if (!client->options.connect_timeout_ms)
        client->options.connect_timeout_ms = CONNECT_MS;
    mg_grpc__framing_init(&client->framing, client->options.message_max, NULL);
    mg_arena_init(&client->arena, RESPONSE_ARENA_MAX);
    mg_grpc__address_format(&address, client->authority);
    if (address.is_unix)
        snprintf(client->authority, sizeof client->authority, "localhost");
    client->input = malloc(INPUT_BYTES);
    if (!client->input)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a gRPC client");

    int64_t until_ms = now() + client->options.connect_timeout_ms;
    MG_TRY(mg_grpc__address_connect(&address, client->options.connect_timeout_ms, &client->fd, err));
    mg_grpc__socket_tune(client->fd, address.is_unix);
    MG_TRY(greet(client, until_ms, err));
    *out = MG_TAKE(client);
    return MG_OK;
}

/* Nobody waits for the call any more. */
static void cancel(struct mg_grpc_client *client)
{
    if (client->open && !client->lost) {
        nghttp2_submit_rst_stream(client->session, NGHTTP2_FLAG_NONE, client->stream_id, NGHTTP2_CANCEL);
        flush(client);
    }
    client->open = false;
    drop_sending(client);
}

static void end(struct mg_grpc_client *client)
{
    if (client->open)
        end_with(client, MG_GRPC_CANCELLED, MG_CANCELLED, "the call was ended before it was over");
    cancel(client);
}

static void forget_call(struct mg_grpc_client *client)
{
    drop_sending(client);
    mg_grpc__batch_free(MG_TAKE(client->taken));
    mg_grpc__inbox_clear(&client->inbox);
    mg_grpc__framing_clear(&client->framing);
    client->stream_id = 0;
    client->open = false;
}

void mg_grpc_client_close(struct mg_grpc_client *client)
{
    if (!client)
        return;
    mg_mutex_lock(&client->lock);
    client->closing = true;
    mg_cond_signal(&client->changed);
    mg_mutex_unlock(&client->lock);
    mg_thread_join(&client->watcher);
    end(client);
    forget_call(client);
    if (client->session && !client->lost && nghttp2_session_terminate_session(client->session, NGHTTP2_NO_ERROR) == 0)
        flush(client);
    nghttp2_session_del(client->session);
    mg_grpc__output_clear(&client->output);
    mg_arena_clear(&client->arena);
    for (size_t i = 0; i < client->held_count; i++) {
        free(client->held[i].name);
        free(client->held[i].value);
    }
    free(client->input);
    if (client->fd >= 0)
        close(client->fd);
    mg_cond_destroy(&client->changed);
    mg_mutex_destroy(&client->lock);
    free(client);
}

void mg_grpc_client_closep(struct mg_grpc_client **client) { mg_grpc_client_close(*client); }

void mg_grpc_client_interrupt(struct mg_grpc_client *client)
{
    client->interrupted = true;
    shutdown(client->fd, SHUT_RDWR);
}

enum mg_code mg_grpc_client_set_header(struct mg_grpc_client *client, const char *name, const char *value,
                                       struct mg_error *err)
{
    /* Checked as if it were the only one. */
    struct mg_arena scratch;
    mg_arena_init(&scratch, 4 * MG_GRPC__HEADERS_MAX);
    struct mg_grpc__headers alone = {.count = 0};
    enum mg_code code = mg_grpc__headers_add_own(&alone, &scratch, name, value, err);
    mg_arena_clear(&scratch);
    if (code != MG_OK)
        return code;
    size_t i = 0;
    while (i < client->held_count && strcmp(client->held[i].name, name) != 0)
        i++;
    if (i == HELD_MAX)
        return mg_fail(err, MG_TOO_BIG, "a client sends at most %d headers of its own", HELD_MAX);
    char *new_name = i < client->held_count ? client->held[i].name : strdup(name);
    char *new_value = strdup(value);
    if (!new_name || !new_value) {
        if (i == client->held_count)
            free(new_name);
        free(new_value);
        return mg_fail(err, MG_NO_MEMORY, "no memory for the header %s", name);
    }
    free(client->held[i].value);
    client->held[i] = (struct held_header){.name = new_name, .value = new_value};
    client->held_count = MG_MAX(client->held_count, i + 1);
    return MG_OK;
}

/* ---- calls
 * --------------------------------------------------------------------------------------------------------- */

static enum mg_code submit_request(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                   struct mg_error *err)
{
    nghttp2_nv nv[OWN_HEADERS + HELD_MAX];
    char timeout[16], agent[64];
    size_t count = 0;
    snprintf(agent, sizeof agent, "magic-grpc/%s", mg_version());
    nv[count++] = mg_grpc__nv(":method", "POST");
    nv[count++] = mg_grpc__nv(":scheme", "http");
    nv[count++] = mg_grpc__nv(":path", path);
    nv[count++] = mg_grpc__nv(":authority", client->authority);
    nv[count++] = mg_grpc__nv("te", "trailers");
    nv[count++] = mg_grpc__nv("content-type", "application/grpc");
    nv[count++] = mg_grpc__nv("user-agent", agent);
    if (deadline_ms > 0) {
        mg_grpc__timeout_format(deadline_ms, timeout);
        nv[count++] = mg_grpc__nv("grpc-timeout", timeout);
    }
    for (size_t i = 0; i < client->held_count; i++)
        nv[count++] = mg_grpc__nv(client->held[i].name, client->held[i].value);
    nghttp2_data_provider provider = {.read_callback = read_output};
    int32_t stream_id = nghttp2_submit_request(client->session, NULL, nv, count, &provider, NULL);
    if (stream_id < 0)
        return mg_fail(err, MG_UNAVAILABLE, "no call can begin on the connection to %s: %s", client->authority,
                       nghttp2_strerror(stream_id));
    client->stream_id = stream_id;
    return MG_OK;
}

static enum mg_code begin(struct mg_grpc_client *client, const char *path, int64_t deadline_ms, struct mg_error *err)
{
    end(client);
    forget_call(client);
    mg_arena_reset(&client->arena);
    client->headers = (struct mg_grpc__headers){.count = 0};
    client->half_closed = client->deferred = false;
    client->inbox.ended = false;
    client->status = -1;
    client->code = MG_OK;
    client->deadline_ms = deadline_ms > 0 ? now() + deadline_ms : INT64_MAX;
    read_some(client); /* what came while nobody looked: GOAWAY, or the end of the connection */
    if (client->lost || !nghttp2_session_want_read(client->session)) {
        lose(client, "the server is going away");
        client->status = MG_GRPC_UNAVAILABLE;
        return mg_fail(err, MG_UNAVAILABLE, "%s", client->lost_text);
    }
    enum mg_code code = submit_request(client, path, deadline_ms, err);
    if (code != MG_OK) {
        client->status = MG_GRPC_UNAVAILABLE;
        return code;
    }
    client->open = true;
    return MG_OK;
}

/* Why the call is over. */
static enum mg_code fail_ended(struct mg_grpc_client *client, struct mg_error *err)
{
    if (client->status < 0 && client->lost)
        end_with(client, MG_GRPC_UNAVAILABLE, MG_UNAVAILABLE, client->lost_text);
    if (client->status == MG_GRPC_OK)
        return mg_fail(err, MG_NOT_FOUND, "the call has ended");
    return mg_fail(err, client->code, "%s", client->text);
}

/* true: something happened; false: the call has ended, also by its deadline. */
static bool go_on(struct mg_grpc_client *client)
{
    if (!client->open || client->status >= 0)
        return false;
    if (turn(client, client->deadline_ms))
        return true;
    end_with(client, MG_GRPC_DEADLINE_EXCEEDED, MG_TIMEOUT, "the deadline of the call passed");
    cancel(client);
    return false;
}

static void resume(struct mg_grpc_client *client)
{
    if (!client->deferred)
        return;
    client->deferred = false;
    nghttp2_session_resume_data(client->session, client->stream_id);
}

static void set_true(void *flag) { *(bool *)flag = true; }

static bool is_set(const bool *flag) { return *flag; }

static enum mg_code send_message(struct mg_grpc_client *client, const struct iovec *pieces, int piece_count,
                                 bool half_close, struct mg_error *err)
{
    mg_assert(client->stream_id > 0 && !client->half_closed);
    bool sent = false;
    struct mg_grpc__message *message;
    MG_TRY(mg_grpc__message_new(pieces, piece_count, set_true, &sent, NULL, &message, err));
    if (!client->open || client->status >= 0) {
        mg_grpc__message_unref(message);
        return fail_ended(client, err);
    }
    *client->sending_end = message;
    client->sending_end = &message->next;
    client->sending_bytes += message->size_bytes;
    client->half_closed = half_close;
    resume(client);
    flush(client);
    while (!is_set(&sent) && go_on(client))
        ;
    if (!is_set(&sent)) {
        /* The call ended first: what is left in the list goes; what the socket still waits for cannot be taken back. */
        bool in_time = true;
        drop_sending(client);
        while (!is_set(&sent) && in_time && !client->lost)
            in_time = turn(client, client->deadline_ms);
        if (!is_set(&sent))
            lose(client, "the server did not take a message to its end");
        mg_assert(sent);
    }
    if (client->status > MG_GRPC_OK || client->lost)
        return fail_ended(client, err);
    return MG_OK;
}

static enum mg_code half_close(struct mg_grpc_client *client, struct mg_error *err)
{
    mg_assert(client->stream_id > 0);
    if (client->lost)
        return fail_ended(client, err);
    if (client->open && !client->half_closed) {
        client->half_closed = true;
        resume(client);
        flush(client);
    }
    return MG_OK;
}

static bool take_message(struct mg_grpc_client *client, struct mg_slice *out)
{
    if (client->taken && mg_grpc__batch_next(client->taken, out))
        return true;
    if (client->taken)
        mg_grpc__inbox_keep(&client->inbox, client->taken);
    mg_grpc__batch_free(MG_TAKE(client->taken));
    client->taken = mg_grpc__inbox_pop(&client->inbox);
    if (!client->taken)
        return false;
    if (client->open)
        nghttp2_session_consume_stream(client->session, client->stream_id, mg_grpc__inbox_consume(&client->inbox));
    return mg_grpc__batch_next(client->taken, out);
}

static enum mg_code receive(struct mg_grpc_client *client, struct mg_slice *out, struct mg_error *err)
{
    mg_assert(client->stream_id > 0 || client->status >= 0 || client->lost);
    if (take_message(client, out))
        return MG_OK;
    flush(client); /* the window that was given back */
    while (go_on(client))
        if (take_message(client, out))
            return MG_OK;
    if (take_message(client, out)) /* what came with the end */
        return MG_OK;
    if (client->status == MG_GRPC_OK && mg_grpc__framing_partial(&client->framing))
        return mg_fail(err, MG_PROTOCOL, "the server ended the call in the middle of a message");
    return fail_ended(client, err);
}

/* MG_NOT_FOUND of a receive is the good end of a call; of a call that must have an answer it is not. */
static enum mg_code receive_only(struct mg_grpc_client *client, struct mg_slice *out, struct mg_error *err)
{
    struct mg_slice response, more;
    enum mg_code code = receive(client, &response, err);
    if (code == MG_NOT_FOUND && client->status == MG_GRPC_OK)
        return mg_fail(err, MG_PROTOCOL, "the server answered without a message");
    MG_TRY(code);
    /* The next receive gives the first batch back; keep it. */
    struct mg_grpc__batch *kept = MG_TAKE(client->taken);
    code = mg_grpc__batch_next(kept, &more) ? MG_OK : receive(client, &more, err);
    mg_grpc__batch_free(client->taken);
    client->taken = kept;
    if (code == MG_OK)
        return mg_fail(err, MG_PROTOCOL, "the server answered a unary call with more than one message");
    if (client->status != MG_GRPC_OK)
        return code;
    *out = response;
    return MG_OK;
}

static enum mg_code unary(struct mg_grpc_client *client, const char *path, int64_t deadline_ms, struct mg_slice request,
                          struct mg_slice *out_response, struct mg_error *err)
{
    MG_TRY(begin(client, path, deadline_ms, err));
    struct iovec piece = {.iov_base = (void *)(uintptr_t)request.data, .iov_len = request.size};
    enum mg_code code = send_message(client, &piece, 1, true, err);
    if (code == MG_OK)
        code = receive_only(client, out_response, err);
    end(client);
    return code;
}

/* ---- the doors: the owner comes in, the watcher stays out ------------------------------------------------- */

static void watch(void *arg)
{
    struct mg_grpc_client *client = arg;
    mg_mutex_lock(&client->lock);
    while (!client->closing) {
        if (!client->inside && client->open) {
            read_some(client);
            flush(client);
        }
        mg_cond_wait_ms(&client->changed, &client->lock, WATCH_MS);
    }
    mg_mutex_unlock(&client->lock);
}

static void enter(struct mg_grpc_client *client)
{
    mg_mutex_lock(&client->lock);
    mg_assert(!client->inside);
    client->inside = true;
    mg_mutex_unlock(&client->lock);
}

static enum mg_code leave(struct mg_grpc_client *client, enum mg_code code)
{
    mg_mutex_lock(&client->lock);
    client->inside = false;
    mg_mutex_unlock(&client->lock);
    return code;
}

static enum mg_code begin_watched(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                  struct mg_error *err)
{
    if (!client->watcher.running)
        MG_TRY(mg_thread_start(&client->watcher, "grpc-watch", watch, client, err));
    MG_TRY(begin(client, path, deadline_ms, err));
    flush(client);
    return MG_OK;
}

enum mg_code mg_grpc_client_begin(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                  struct mg_error *err)
{
    enter(client);
    return leave(client, begin_watched(client, path, deadline_ms, err));
}

enum mg_code mg_grpc_client_send(struct mg_grpc_client *client, const struct iovec *pieces, int piece_count,
                                 struct mg_error *err)
{
    enter(client);
    return leave(client, send_message(client, pieces, piece_count, false, err));
}

enum mg_code mg_grpc_client_half_close(struct mg_grpc_client *client, struct mg_error *err)
{
    enter(client);
    return leave(client, half_close(client, err));
}

enum mg_code mg_grpc_client_receive(struct mg_grpc_client *client, struct mg_slice *out, struct mg_error *err)
{
    enter(client);
    return leave(client, receive(client, out, err));
}

void mg_grpc_client_end(struct mg_grpc_client *client)
{
    enter(client);
    end(client);
    leave(client, MG_OK);
}

enum mg_code mg_grpc_client_unary(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                  struct mg_slice request, struct mg_slice *out_response, struct mg_error *err)
{
    enter(client);
    return leave(client, unary(client, path, deadline_ms, request, out_response, err));
}

/* Reading does not change a client, but the watcher must stay out. */
static struct mg_mutex *lock_of(const struct mg_grpc_client *client)
{
    return (struct mg_mutex *)(uintptr_t)&client->lock;
}

int mg_grpc_client_status(const struct mg_grpc_client *client)
{
    mg_mutex_lock(lock_of(client));
    int status = client->status;
    mg_mutex_unlock(lock_of(client));
    return status;
}

const char *mg_grpc_client_header(const struct mg_grpc_client *client, const char *name)
{
    mg_mutex_lock(lock_of(client));
    const char *value = header_value(client, name);
    mg_mutex_unlock(lock_of(client));
    return value;
}
