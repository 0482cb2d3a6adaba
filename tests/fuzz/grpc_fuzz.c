/* grpc_fuzz.c -- arbitrary bytes as what a client sends: HTTP/2 frames, headers, gRPC messages, through the whole
 * server but its sockets and threads.
 *
 * Input   byte 0: flags (FLAG_*); byte 1: bytes per feed, 0 = all at once; then the bytes of the connection.
 * One thread, so that an input always does the same: output is dropped, the clock moves a little with each feed, and a
 * handler runs, on this thread, once its client has sent all or the call was cancelled, so that it never waits.
 * Checked after each feed: every call's structure; at the end: no call, no queued byte and no reserved byte is left,
 * and every message was released once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FLAG_ANY_AUTHORITY = 1,
    FLAG_GREETED = 2, /* put preface and SETTINGS in front */
    FLAG_SMALL = 4,   /* little budget, small messages */
    FLAG_SLOW = 8,    /* much time passes between feeds */
    FLAG_DRAIN = 16,  /* GOAWAY half way */
    LATER_MAX = 64,
};

static struct mg_clock_manual fuzz_clock;
static struct mg_budget budget;
static struct mg_grpc_call *later[LATER_MAX];
static size_t later_count;
static unsigned sent, released;

static void echo(struct mg_grpc_call *call, void *arg, struct mg_slice request)
{
    mg_grpc_call_complete(call, MG_OK, NULL, request);
}

static void answer_later(void)
{
    struct mg_grpc_completion list[LATER_MAX];
    for (size_t i = 0; i < later_count; i++)
        list[i] = (struct mg_grpc_completion){
            .call = later[i], .code = i % 2 ? MG_INVALID : MG_OK, .text = "odd", .response = MG_SLICE("later", 5)};
    size_t count = later_count;
    later_count = 0;
    mg_grpc_call_complete_many(list, count);
}

static void keep_for_later(struct mg_grpc_call *call, void *arg, struct mg_slice request)
{
    if (later_count == LATER_MAX)
        answer_later();
    later[later_count++] = call;
}

static void count_release(void *arg) { released++; }

static enum mg_code bidi(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice message;
    enum mg_code code;
    while ((code = mg_grpc_call_receive(call, &message, err)) == MG_OK) {
        struct iovec piece = {(void *)(uintptr_t)message.data, message.size};
        MG_TRY(mg_grpc_call_send(call, &piece, 1, NULL, NULL, err));
    }
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code stream(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    static uint8_t memory[1 << 16];
    struct mg_slice request;
    MG_TRY(mg_grpc_call_receive(call, &request, err));
    struct mg_reader reader = mg_reader_of(request);
    unsigned count = mg_reader_u8(&reader), size = mg_reader_le16(&reader);
    for (unsigned i = 0; i < count; i++) {
        struct iovec pieces[3] = {{memory, size}, {memory, i}, {memory + 7, size / 3}};
        sent++;
        MG_TRY(mg_grpc_call_send(call, pieces, 3, count_release, NULL, err));
    }
    return reader.failed ? mg_fail(err, MG_INVALID, "no count and size") : MG_OK;
}

static enum mg_code headers(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    const char *name, *value;
    struct mg_slice binary;
    for (size_t i = 0; mg_grpc_call_header_at(call, i, &name, &value); i++) {
        if (mg_grpc_call_header_binary(call, name, &binary))
            MG_TRY(mg_grpc_call_add_trailer_binary(call, name, binary, err));
        else if (name[0] == 'x')
            MG_TRY(mg_grpc_call_add_header(call, name, value, err));
    }
    return bidi(call, arg, err);
}

static struct mg_grpc_server *make_server(bool any_authority, bool is_small)
{
    static const struct mg_grpc_method methods[] = {
        {.path = "/e", .async = echo},
        {.path = "/l", .async = keep_for_later, .request_max = 1 << 20},
        {.path = "/b", .handler = bidi, .streams = true},
        {.path = "/u", .handler = bidi},
        {.path = "/s", .handler = stream},
        {.path = "/h", .handler = headers},
    };
    struct mg_grpc_server_options options = {
        .methods = methods,
        .method_count = MG_COUNT_OF(methods),
        .budget = &budget,
        .clock = &fuzz_clock.clock,
        .message_max = is_small ? 100 : 1 << 16,
        .output_queue_max = (size_t)1 << 40, /* send never blocks */
        .handshake_ms = 1000,
        .keepalive_ms = 500,
        .idle_ms = 5000,
        .calls_per_connection = 50,
        .any_authority = any_authority,
    };
    struct mg_grpc_server *server;
    mg_assert(mg_grpc_server_new(&options, &server, NULL) == MG_OK);
    server->calls.thread_max = server->streams.thread_max = 0; /* calls stay in the queues */
    server->calls.pending_max = 20;
    return server;
}

static bool runs_through(struct mg_grpc_call *call)
{
    mg_mutex_lock(&call->lock);
    bool ended = call->inbox.ended;
    mg_mutex_unlock(&call->lock);
    return ended || mg_grpc_call_cancelled(call);
}

static void run_handlers(struct mg_grpc__pool *pool)
{
    for (struct mg_grpc_call *call = pool->first, *next; call; call = next) {
        next = call->queue_next;
        if (!runs_through(call))
            continue;
        mg_assert(mg_grpc__pool_withdraw(pool, call));
        mg_grpc__call_run(call);
    }
}

static void turn(struct mg_grpc_server *server, struct mg_grpc__connection *connection)
{
    struct mg_grpc__loop *loop = &server->loops[0];
    run_handlers(&server->calls);
    run_handlers(&server->streams);
    mg_grpc__loop_drain(loop);
    mg_grpc__timers_fire(&loop->timers, mg_grpc__loop_now(loop));
    while (!connection->broken && mg_grpc__connection_flush(connection))
        ;
    uint32_t count = 0;
    for (struct mg_grpc_call *call = connection->calls; call; call = call->next, count++)
        mg_grpc__call_check(call);
    mg_assert(count == connection->call_count);
}

static void run(struct mg_grpc_server *server, unsigned flags, size_t step, struct mg_slice input)
{
    static const uint8_t greeting[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    struct mg_grpc__connection *connection;
    mg_assert(mg_grpc__connection_open(&server->loops[0], -1, "fuzz", &connection, NULL) == MG_OK);
    if (flags & FLAG_GREETED)
        mg_grpc__connection_feed(connection, MG_SLICE(greeting, sizeof greeting - 1));
    size_t half = input.size / 2;
    for (size_t at = 0; at < input.size && !connection->broken;) {
        size_t n = step ? MG_MIN(step, input.size - at) : input.size - at;
        /* Its own block, so that a sanitizer sees a read past the end. */
        uint8_t *bytes = malloc(n);
        mg_assert(bytes);
        memcpy(bytes, input.data + at, n);
        mg_grpc__connection_feed(connection, MG_SLICE(bytes, n));
        free(bytes);
        at += n;
        if ((flags & FLAG_DRAIN) && at >= half && !connection->broken)
            mg_grpc__connection_drain(connection, at == input.size);
        turn(server, connection);
        mg_clock_manual_advance(&fuzz_clock, flags & FLAG_SLOW ? 200000000 : 1000000);
    }
    if (!connection->broken)
        turn(server, connection);
    if (flags & FLAG_DRAIN)
        answer_later();
    if (!connection->broken)
        turn(server, connection);
    mg_grpc__connection_close(connection);
    answer_later();
    run_handlers(&server->calls);
    run_handlers(&server->streams);
    mg_grpc__loop_drain(&server->loops[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mg_grpc_server *servers[4];
    if (size < 2 || size > 1 << 20)
        return 0;
    unsigned flags = data[0];
    size_t which = flags & FLAG_ANY_AUTHORITY ? 1 : 0;
    which += flags & FLAG_SMALL ? 2 : 0;
    if (!servers[which]) {
        if (!fuzz_clock.clock.mono_ns)
            mg_clock_manual_init(&fuzz_clock, 0);
        mg_budget_init(&budget, "fuzz", NULL, 64 << 20); /* what it sets aside for streams that wait stays */
        servers[which] = make_server(flags & FLAG_ANY_AUTHORITY, flags & FLAG_SMALL);
    }
    mg_budget_init(&budget, "fuzz", NULL, flags & FLAG_SMALL ? 20000 : 64 << 20);
    sent = released = 0;
    struct mg_grpc_server *server = servers[which];
    run(server, flags, data[1], MG_SLICE(data + 2, size - 2));
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(server, &stats);
    mg_assert(stats.calls == 0 && stats.connections == 0 && stats.queued_bytes == 0 && stats.workers == 0);
    mg_assert(mg_budget_used(&budget) == 0 && sent == released);
    mg_assert(server->handler_count == 0 && server->loops[0].timers.count == 0 && later_count == 0);
    return 0;
}
