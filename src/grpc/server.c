/* server.c -- a server: its options, its threads, and how they stop.
 *
 * Stop     listeners close; GOAWAY twice; calls have their grace, then are cancelled; when the last handler has
 *          returned the pools end, then the loops write what is left for half a second and end.
 * Threads  new, listen, start, stop and free belong to one thread; stats may be asked from any.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "grpc/grpc_internal.h"

enum {
    RESETS_BURST = 1000, /* streams a client may reset at once, and then a second: CVE-2023-44487 */
    RESETS_PER_S = 200,
    HANDSHAKE_MS = 10000,
    KEEPALIVE_MS = 20000,
    MEMORY_WAIT_MS = 60000,
    HELD_FROM = 16 << 20, /* of a memory from here on */
    HELD_SHARE = 128,     /* one part in so many is for streams that wait for some, each with one window */
    HELD_BYTES_MAX = 16 << 20,
};

static void set_defaults(struct mg_grpc_server_options *options)
{
#define DEFAULT(name, value) options->name = options->name ? options->name : (value)
    DEFAULT(clock, mg_clock_system());
    DEFAULT(io_threads, 1);
    DEFAULT(call_workers_max, 32);
    DEFAULT(stream_workers_max, 256);
    DEFAULT(connections_max, 1024);
    DEFAULT(calls_per_connection, 1024);
    DEFAULT(message_max, (size_t)64 << 20);
    DEFAULT(output_queue_max, (size_t)4 << 20);
    DEFAULT(keepalive_ms, KEEPALIVE_MS);
    DEFAULT(handshake_ms, HANDSHAKE_MS);
    DEFAULT(memory_wait_ms, MEMORY_WAIT_MS);
#undef DEFAULT
}

static enum mg_code copy_methods(struct mg_grpc_server *server, struct mg_error *err)
{
    size_t count = server->options.method_count;
    server->methods = calloc(MG_MAX(count, (size_t)1), sizeof *server->methods);
    if (!server->methods)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %zu methods", count);
    for (size_t i = 0; i < count; i++) {
        const struct mg_grpc_method *method = &server->options.methods[i];
        mg_assert(method->path[0] == '/' && !method->handler == !!method->async);
        mg_assert(!method->async || !method->streams);
        server->methods[i] = *method;
    }
    server->options.methods = server->methods;
    return MG_OK;
}

static enum mg_code make_http2(struct mg_grpc_server *server, struct mg_error *err)
{
    if (nghttp2_option_new(&server->http2) != 0)
        return mg_fail(err, MG_NO_MEMORY, "no memory for HTTP/2 options");
    nghttp2_option_set_no_auto_window_update(server->http2, 1);
    nghttp2_option_set_no_closed_streams(server->http2, 1);
    nghttp2_option_set_no_http_messaging(server->http2, server->options.any_authority);
#ifdef MG_GRPC_HAVE_RESET_RATE_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(server->http2, RESETS_BURST, RESETS_PER_S);
#endif
    return mg_grpc__callbacks_new(&server->callbacks, err);
}

static enum mg_code make_loops(struct mg_grpc_server *server, struct mg_error *err)
{
    server->loops = calloc(server->options.io_threads, sizeof *server->loops);
    if (!server->loops)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u I/O threads", server->options.io_threads);
    for (uint32_t i = 0; i < server->options.io_threads; i++) {
        MG_TRY(mg_grpc__loop_init(&server->loops[i], server, err));
        server->loop_count++;
    }
    return MG_OK;
}

/* For streams that wait for memory: see held.c. */
static enum mg_code reserve_held(struct mg_grpc_server *server, struct mg_error *err)
{
    bool has_streams = false;
    for (size_t i = 0; i < server->options.method_count; i++)
        has_streams |= server->methods[i].streams;
    size_t limit = mg_budget_limit(server->options.budget);
    size_t share = MG_MIN(MG_MAX(limit / HELD_SHARE, (size_t)MG_GRPC__STREAM_WINDOW), (size_t)HELD_BYTES_MAX);
    if (!has_streams || limit < HELD_FROM)
        share = 0;
    return mg_budget_init_share(&server->held_memory, "held messages", server->options.budget, share, err);
}

static enum mg_code make_parts(struct mg_grpc_server *server, struct mg_error *err)
{
    MG_TRY(copy_methods(server, err));
    MG_TRY(reserve_held(server, err));
    MG_TRY(make_http2(server, err));
    MG_TRY(mg_grpc__pool_init(&server->calls, "grpc-call", server->options.call_workers_max, err));
    MG_TRY(mg_grpc__pool_init(&server->streams, "grpc-stream", server->options.stream_workers_max, err));
    return make_loops(server, err);
}

enum mg_code mg_grpc_server_new(const struct mg_grpc_server_options *options, struct mg_grpc_server **out,
                                struct mg_error *err)
{
    struct mg_grpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a gRPC server");
    server->options = *options;
    set_defaults(&server->options);
    enum mg_code code = mg_grpc__acceptor_init(&server->acceptor, server, err);
    if (code != MG_OK) {
        free(server);
        return code;
    }
    mg_mutex_init(&server->lock, MG_RANK_LEAF, "grpc server");
    mg_cond_init(&server->quiet);
    code = make_parts(server, err);
    if (code != MG_OK) {
        mg_grpc_server_free(server);
        return code;
    }
    *out = server;
    return MG_OK;
}

enum mg_code mg_grpc_server_listen(struct mg_grpc_server *server, const char *address, char out_address[128],
                                   struct mg_error *err)
{
    return mg_grpc__acceptor_listen(&server->acceptor, address, out_address, err);
}

enum mg_code mg_grpc_server_start(struct mg_grpc_server *server, struct mg_error *err)
{
    mg_assert(!server->started && !server->stopped);
    server->started = true; /* what was started is joined by stop, also when the next thing fails */
    for (uint32_t i = 0; i < server->loop_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "grpc-io-%u", i);
        MG_TRY(mg_thread_start(&server->loops[i].thread, name, mg_grpc__loop_run, &server->loops[i], err));
    }
    return mg_thread_start(&server->acceptor.thread, "grpc-accept", mg_grpc__acceptor_run, &server->acceptor, err);
}

static void stage(struct mg_grpc_server *server, enum mg_grpc__stage stage)
{
    for (uint32_t i = 0; i < server->loop_count; i++)
        mg_grpc__loop_stage(&server->loops[i], stage);
}

/* In real time: whoever stops a server wants it to stop, whatever a test's clock says. */
static void wait_for_calls(struct mg_grpc_server *server, int64_t grace_ms)
{
    struct mg_clock *clock = mg_clock_system();
    int64_t until_ms = mg_mono_ms(clock) + MG_MIN(MG_MAX(grace_ms, (int64_t)0), INT64_C(1000) * 86400 * 365);
    mg_mutex_lock(&server->lock);
    for (int64_t left_ms; atomic_load(&server->call_count) > 0 && (left_ms = until_ms - mg_mono_ms(clock)) > 0;)
        mg_cond_wait_ms(&server->quiet, &server->lock, left_ms);
    mg_mutex_unlock(&server->lock);
}

void mg_grpc_server_stop(struct mg_grpc_server *server, int64_t grace_ms)
{
    if (server->stopped)
        return;
    server->stopped = true;
    mg_grpc__acceptor_stop(&server->acceptor);
    if (server->started) {
        stage(server, MG_GRPC__DRAINING);
        wait_for_calls(server, grace_ms);
        stage(server, MG_GRPC__CANCELLING);
        mg_mutex_lock(&server->lock);
        while (server->handler_count > 0)
            mg_cond_wait(&server->quiet, &server->lock);
        mg_mutex_unlock(&server->lock);
    }
    mg_grpc__pool_stop(&server->calls);
    mg_grpc__pool_stop(&server->streams);
    stage(server, MG_GRPC__STOPPING);
    for (uint32_t i = 0; i < server->loop_count; i++)
        mg_thread_join(&server->loops[i].thread);
}

void mg_grpc_server_free(struct mg_grpc_server *server)
{
    if (!server)
        return;
    mg_grpc_server_stop(server, 0);
    for (uint32_t i = 0; i < server->loop_count; i++)
        mg_grpc__loop_destroy(&server->loops[i]);
    mg_assert(atomic_load(&server->call_count) == 0 && atomic_load(&server->queued_bytes) == 0);
    free(server->loops);
    mg_grpc__pool_destroy(&server->calls);
    mg_grpc__pool_destroy(&server->streams);
    mg_grpc__acceptor_destroy(&server->acceptor);
    nghttp2_session_callbacks_del(server->callbacks);
    nghttp2_option_del(server->http2);
    mg_budget_clear_share(&server->held_memory);
    free(server->methods);
    mg_cond_destroy(&server->quiet);
    mg_mutex_destroy(&server->lock);
    free(server);
}

static uint32_t workers_of(struct mg_grpc__pool *pool)
{
    mg_mutex_lock(&pool->lock);
    uint32_t count = pool->thread_count;
    mg_mutex_unlock(&pool->lock);
    return count;
}

void mg_grpc_server_stats(struct mg_grpc_server *server, struct mg_grpc_server_stats *out)
{
    *out = (struct mg_grpc_server_stats){
        .connections = atomic_load(&server->connection_count),
        .calls = atomic_load(&server->call_count),
        .workers = workers_of(&server->calls) + workers_of(&server->streams),
        .queued_bytes = atomic_load(&server->queued_bytes),
    };
}

const struct mg_grpc_method *mg_grpc__server_method(const struct mg_grpc_server *server, const char *path)
{
    for (size_t i = 0; i < server->options.method_count; i++)
        if (strcmp(server->methods[i].path, path) == 0)
            return &server->methods[i];
    return NULL;
}

void mg_grpc__server_handler_began(struct mg_grpc_server *server)
{
    mg_mutex_lock(&server->lock);
    server->handler_count++;
    mg_mutex_unlock(&server->lock);
}

void mg_grpc__server_handler_ended(struct mg_grpc_server *server)
{
    mg_mutex_lock(&server->lock);
    mg_assert(server->handler_count > 0);
    if (--server->handler_count == 0)
        mg_cond_broadcast(&server->quiet);
    mg_mutex_unlock(&server->lock);
}

void mg_grpc__server_call_gone(struct mg_grpc_server *server)
{
    /* Under the lock: wait_for_calls must not miss it between its look and its wait. */
    mg_mutex_lock(&server->lock);
    if (atomic_fetch_sub(&server->call_count, 1) == 1)
        mg_cond_broadcast(&server->quiet);
    mg_mutex_unlock(&server->lock);
}
