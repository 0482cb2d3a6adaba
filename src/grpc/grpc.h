/* grpc.h -- gRPC over HTTP/2, server and client, on nghttp2: calls, messages, deadlines, cancel, flow control.
 *
 * Server  I/O threads own connections (one thread each, a nghttp2 session is not thread-safe); handlers run on worker
 *         threads and block there, or are `async` and answer later from any thread. A message that is sent waits in the
 *         call's output queue (bounded) until the peer's window takes it: a slow reader blocks its own handler only.
 * Bounds  connections, calls per connection, workers, header list, message size per method, output queue per call, idle
 *         and handshake time; each refusal has a gRPC status and a counter.
 * Wire    h2c with prior knowledge on TCP and unix sockets. gzip is refused with UNIMPLEMENTED.
 * Source  gRPC over HTTP/2 protocol description; RFC 9113.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_GRPC_GRPC_H
#define MG_GRPC_GRPC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/budget.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

/* gRPC's numbers */
enum mg_grpc_status {
    MG_GRPC_OK = 0,
    MG_GRPC_CANCELLED = 1,
    MG_GRPC_UNKNOWN = 2,
    MG_GRPC_INVALID_ARGUMENT = 3,
    MG_GRPC_DEADLINE_EXCEEDED = 4,
    MG_GRPC_NOT_FOUND = 5,
    MG_GRPC_ALREADY_EXISTS = 6,
    MG_GRPC_PERMISSION_DENIED = 7,
    MG_GRPC_RESOURCE_EXHAUSTED = 8,
    MG_GRPC_FAILED_PRECONDITION = 9,
    MG_GRPC_ABORTED = 10,
    MG_GRPC_OUT_OF_RANGE = 11,
    MG_GRPC_UNIMPLEMENTED = 12,
    MG_GRPC_INTERNAL = 13,
    MG_GRPC_UNAVAILABLE = 14,
    MG_GRPC_DATA_LOSS = 15,
    MG_GRPC_UNAUTHENTICATED = 16,
};

/* ---- server -------------------------------------------------------------------------------------------------- */

struct mg_grpc_server;
struct mg_grpc_call; /* one call; lives until its handler returned (blocking) or mg_grpc_call_complete (async) */

/* A blocking handler: receives, sends, and returns how the call ends. MG_OK = gRPC OK. On another code the status is
 * mg_code_grpc_status(code), the message err's text, and the trailer "magic-code" the code's name. It gets a worker
 * when the first message is there or the client has sent all; that of a method that `streams` as soon as the call
 * begins. */
typedef enum mg_code mg_grpc_handler(struct mg_grpc_call *call, void *arg, struct mg_error *err);
/* An async unary handler: called on the I/O thread with the whole request (borrowed for the call's life); must not
 * block; the answer is given, once, with mg_grpc_call_complete. */
typedef void mg_grpc_async_handler(struct mg_grpc_call *call, void *arg, struct mg_slice request);

struct mg_grpc_method {
    const char *path;         /* "/binlog.Pump/WriteBinlog" */
    mg_grpc_handler *handler; /* exactly one of the two is set */
    mg_grpc_async_handler *async;
    void *arg;
    size_t request_max; /* bytes of one message in; 0 = the server's message_max */
    bool streams;       /* long-lived: counted against stream_workers_max, not call_workers_max */
};

/* A message on its way in takes at most its size and this from the budget: the smaller memory that it grew out of. */
enum { MG_GRPC_MESSAGE_EXTRA = 16 << 20 };

struct mg_grpc_server_options {
    const struct mg_grpc_method *methods;
    size_t method_count;
    struct mg_budget *budget;      /* messages in and out; NULL = not counted */
    struct mg_clock *clock;        /* NULL = the machine's */
    uint32_t io_threads;           /* 0 = 1 */
    uint32_t call_workers_max;     /* 0 = 32 */
    uint32_t stream_workers_max;   /* 0 = 256 */
    uint32_t connections_max;      /* 0 = 1024 */
    uint32_t calls_per_connection; /* 0 = 1024; HTTP/2's concurrent streams */
    size_t message_max;            /* 0 = 64 MiB */
    size_t output_queue_max;       /* bytes queued per call before send blocks; 0 = 4 MiB; one message always fits */
    /* ping an idle connection with calls after this; 0 = 20 s; no answer in as long again: closed */
    uint32_t keepalive_ms;
    uint32_t handshake_ms; /* a connection that has not begun HTTP/2 after this is closed; 0 = 10 s */
    uint32_t idle_ms;      /* a connection without calls for this long is told to go (GOAWAY); 0 = never */
    /* accept requests whose :authority HTTP/2 would refuse, as old gRPC clients of unix sockets send */
    bool any_authority;
    /* a call of a method that `streams` is read no further while its messages find no memory, and ends with
     * MG_NO_MEMORY after this long without any; 0 = 60 s. Others end at once. */
    int64_t memory_wait_ms;
};

MG_MUST_CHECK enum mg_code mg_grpc_server_new(const struct mg_grpc_server_options *options, struct mg_grpc_server **out,
                                              struct mg_error *err);
/* "127.0.0.1:8815", "127.0.0.1:0", "[::1]:80", "unix:/path". Several calls = several listeners. A unix path that is a
 * stale socket is replaced; one that somebody answers on is MG_BUSY. out_address (may be NULL) gets the bound address
 * with the real port. */
MG_MUST_CHECK enum mg_code mg_grpc_server_listen(struct mg_grpc_server *server, const char *address,
                                                 char out_address[128], struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_grpc_server_start(struct mg_grpc_server *server, struct mg_error *err);
/* No new connections or calls (GOAWAY); waits up to grace_ms for running calls, then cancels them; returns when every
 * handler ended. */
void mg_grpc_server_stop(struct mg_grpc_server *server, int64_t grace_ms);
void mg_grpc_server_free(struct mg_grpc_server *server); /* stops first; NULL is allowed */
struct mg_grpc_server_stats {
    uint32_t connections, calls, workers;
    uint64_t queued_bytes;
};
void mg_grpc_server_stats(struct mg_grpc_server *server, struct mg_grpc_server_stats *out);

/* The next message from the client: MG_OK; MG_NOT_FOUND when it has sent all; MG_CANCELLED, MG_TIMEOUT. Borrowed until
 * the next receive or the end of the call. Blocks. */
MG_MUST_CHECK enum mg_code mg_grpc_call_receive(struct mg_grpc_call *call, struct mg_slice *out, struct mg_error *err);
/* From now on receive waits so long for a message, and is then MG_TIMEOUT; 0: as long as the client is there. For a
 * handler that keeps others waiting. */
void mg_grpc_call_set_patience(struct mg_grpc_call *call, int64_t patience_ms);

/* Called once when the message's memory is no longer needed, sent or not. Any thread, mostly the I/O thread: it must
 * not block. */
typedef void mg_grpc_release(void *arg);
/* Queue one message made of pieces (the 5-byte frame is added). The pieces' memory must stay until release(release_arg)
 * is called; with release NULL the pieces are copied before return. Blocks while the call's output queue is full.
 * MG_CANCELLED when the client is gone, MG_TIMEOUT after its deadline; release is called in every case. */
MG_MUST_CHECK enum mg_code mg_grpc_call_send(struct mg_grpc_call *call, const struct iovec *pieces, int piece_count,
                                             mg_grpc_release *release, void *release_arg, struct mg_error *err);
/* The end of an async call: the response (copied; ignored unless code is MG_OK) and how it ended. Any thread. The call
 * is gone after this. */
void mg_grpc_call_complete(struct mg_grpc_call *call, enum mg_code code, const char *text, struct mg_slice response);

/* Many at once, all of one server: the I/O threads are woken once. */
struct mg_grpc_completion {
    struct mg_grpc_call *call;
    enum mg_code code;
    const char *text;
    struct mg_slice response;
};
void mg_grpc_call_complete_many(const struct mg_grpc_completion *list, size_t count);

/* A request header's value ("authorization"), or NULL. Valid as long as the call. */
const char *mg_grpc_call_header(const struct mg_grpc_call *call, const char *name);
/* The bytes of a header whose name ends in -bin; false when there is none. */
bool mg_grpc_call_header_binary(const struct mg_grpc_call *call, const char *name, struct mg_slice *out);
/* All of them in the order they came, from 0; false behind the last. With those of HTTP/2 (":path") and gRPC ("te"). */
bool mg_grpc_call_header_at(const struct mg_grpc_call *call, size_t index, const char **out_name,
                            const char **out_value);
/* Add to the initial metadata; before the first send only. */
MG_MUST_CHECK enum mg_code mg_grpc_call_add_header(struct mg_grpc_call *call, const char *name, const char *value,
                                                   struct mg_error *err);
/* Add to the trailing metadata, also of a call that fails. A binary one's name ends in -bin. */
MG_MUST_CHECK enum mg_code mg_grpc_call_add_trailer(struct mg_grpc_call *call, const char *name, const char *value,
                                                    struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_grpc_call_add_trailer_binary(struct mg_grpc_call *call, const char *name,
                                                           struct mg_slice value, struct mg_error *err);
/* Client gone, deadline passed or server stopping. Cheap: may be asked per batch. */
bool mg_grpc_call_cancelled(const struct mg_grpc_call *call);
/* Sleep; false: at once, or as soon as the call is cancelled. */
bool mg_grpc_call_pause(struct mg_grpc_call *call, int64_t ms);
int64_t mg_grpc_call_deadline_ms(const struct mg_grpc_call *call); /* monotonic; INT64_MAX: none */
/* "127.0.0.1:54321" or "unix"; for logs. */
const char *mg_grpc_call_peer(const struct mg_grpc_call *call);

/* ---- client -------------------------------------------------------------------------------------------------- */

/* A connection with one call at a time; blocking; owned by one thread at a time. Once it is lost every call fails with
 * MG_UNAVAILABLE: close it and connect again. */
struct mg_grpc_client;

struct mg_grpc_client_options {
    size_t message_max;         /* 0 = 64 MiB */
    uint32_t window_bytes;      /* HTTP/2 window per stream and connection; 0 = 8 MiB */
    int64_t connect_timeout_ms; /* 0 = 5 s */
};

/* address as for listen, perhaps with grpc:// or grpc+unix:// in front. */
MG_MUST_CHECK enum mg_code mg_grpc_client_connect(const char *address, const struct mg_grpc_client_options *options,
                                                  struct mg_grpc_client **out, struct mg_error *err);
void mg_grpc_client_close(struct mg_grpc_client *client); /* NULL is allowed */
void mg_grpc_client_closep(struct mg_grpc_client **client);

/* Any thread, between connect and close: the connection is lost, and whoever blocks in it gets MG_UNAVAILABLE at
 * once. */
void mg_grpc_client_interrupt(struct mg_grpc_client *client);
/* Sent with every call from now on ("authorization"); replaces the value of that name. */
MG_MUST_CHECK enum mg_code mg_grpc_client_set_header(struct mg_grpc_client *client, const char *name, const char *value,
                                                     struct mg_error *err);

/* deadline_ms: from now; 0 = none. */
MG_MUST_CHECK enum mg_code mg_grpc_client_begin(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                                struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_grpc_client_send(struct mg_grpc_client *client, const struct iovec *pieces,
                                               int piece_count, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_grpc_client_half_close(struct mg_grpc_client *client, struct mg_error *err);
/* The next message (borrowed until the next call on this client), or MG_NOT_FOUND when the call ended with OK. A call
 * that ended otherwise gives the code of the trailer "magic-code" (else one that fits the status) and grpc-message as
 * text. */
MG_MUST_CHECK enum mg_code mg_grpc_client_receive(struct mg_grpc_client *client, struct mg_slice *out,
                                                  struct mg_error *err);
/* Ends the call, with RST_STREAM when it is not over. */
void mg_grpc_client_end(struct mg_grpc_client *client);
int mg_grpc_client_status(const struct mg_grpc_client *client); /* grpc-status of the last call; -1 = none yet */
/* A header or trailer of the last call's response, or NULL. Valid until the next begin. */
const char *mg_grpc_client_header(const struct mg_grpc_client *client, const char *name);
/* begin, send, half_close, receive one, end. response is borrowed until the next call. */
MG_MUST_CHECK enum mg_code mg_grpc_client_unary(struct mg_grpc_client *client, const char *path, int64_t deadline_ms,
                                                struct mg_slice request, struct mg_slice *out_response,
                                                struct mg_error *err);

#endif
