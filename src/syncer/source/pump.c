/* pump.c -- we are TiDB's pump: takes its binlogs over gRPC, answers when they are durable, and asks it back.
 *
 * Served    /binlog.Pump/WriteBinlog on a unix socket or a TCP address; PullBinlogs is refused.
 * Answers   come from the buffer's group thread alone: OK = durable. TiDB's commit waits for the answer to a prewrite,
 *           and a TiDB that gets none, or an error, for its write-timeout ends its process. So a record is refused only
 *           when it cannot be kept: of another cluster, not readable, or after the buffer failed. Without room it
 *           waits.
 * Waiting   what the buffer's queue does not take stands in our own line, and keeps its place: a rollback must not
 *           overtake its prewrite. The line is bounded by the server's calls and its memory.
 * Memory    a record stays where gRPC received it until it is answered. All of them together stay in a share of the
 *           memory limit that was reserved for them at the start: a store that is full must not end the source.
 * Threads   write_binlog: an I/O thread of the server; recorded: the buffer's group thread. The lock keeps the order;
 *           it is taken before the buffer's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/counter.h"
#include "base/lock.h"
#include "base/log.h"
#include "grpc/grpc.h"
#include "syncer/buffer/buffer_log.h"
#include "syncer/source/binlog.h"
#include "syncer/source/source_internal.h"

enum {
    STOP_GRACE_MS = 2000,
    SETTLE_TIMEOUT_MS = 3000,
    HEALTH_TIMEOUT_MS = 2000,
    FETCH_TIMEOUT_MS = 10000,
    ANSWER_MAX = 256 << 20, /* of the status port */
    CALLS_MAX = 4096,
};
static const size_t MESSAGE_MAX = (size_t)1 << 30;

/* One record on its way: from the call's arrival to its answer. */
struct record {
    struct record *next; /* in the line */
    struct pump *pump;
    struct mg_grpc_call *call;
    struct mg_slice payload; /* the call's memory */
    enum mg_binlog_type type;
    uint64_t known_ts; /* the greatest timestamp that it tells */
};

struct pump {
    struct mg_source source;
    struct mg_buffer_log *buffer;
    char *listen;
    struct mg_grpc_server *server;
    struct mg_oracle__client *oracle; /* NULL: no SQL */
    struct mg_http__client *settle_http, *health_http, *fetch_http;
    struct mg_buffer settle_body, health_body, fetch_body, settle_path;
    bool store_known, store_trusted; /* the settling thread's */

    struct mg_mutex lock;   /* guards all that follows */
    struct mg_cond drained; /* to who stops: the buffer holds nothing of ours */
    struct record *line, **line_end;
    uint32_t queued_count; /* records the buffer still has to answer */
    bool stopping;
};

static struct pump *pump_of(struct mg_source *source) { return (struct pump *)source; }

/* ---- taking records ------------------------------------------------------------------------------------------ */

static void answer(struct mg_grpc_call *call, enum mg_code code, const char *text)
{
    /* The empty message is a WriteBinlogResp without errmsg. */
    mg_grpc_call_complete(call, code, text, (struct mg_slice){NULL, 0});
}

static void advance_line(struct pump *pump) MG_REQUIRES(&pump->lock);

/* The buffer's answer for one record. Until the lock is released, the pump stays: stop_pump waits for the last of
 * these. */
static void recorded(void *arg, enum mg_code code, uint64_t seq, const char *text)
{
    struct record *record = arg;
    struct pump *pump = record->pump;
    answer(record->call, code, text);
    free(record);
    mg_mutex_lock(&pump->lock);
    advance_line(pump);
    if (--pump->queued_count == 0)
        mg_cond_signal(&pump->drained);
    mg_mutex_unlock(&pump->lock);
}

/* MG_BUSY: the queue is full, `recorded` of another record will come. */
static enum mg_code queue_record(struct pump *pump, struct record *record, struct mg_error *err)
    MG_REQUIRES(&pump->lock)
{
    mg_buffer_log_know(pump->buffer, record->known_ts);
    bool lazy = record->type != MG_BINLOG_PREWRITE; /* TiDB does not wait for these */
    enum mg_code code = lazy ? mg_buffer_log_put_lazy(pump->buffer, record->payload, recorded, record, err)
                             : mg_buffer_log_put(pump->buffer, record->payload, recorded, record, err);
    pump->queued_count += code == MG_OK;
    return code;
}

/* Records that waited go on to the buffer, as far as it takes them. */
static void advance_line(struct pump *pump)
{
    while (pump->line) {
        struct record *record = pump->line;
        struct mg_error err = MG_ERROR_INIT;
        struct record *next = record->next; /* once queued, it may be gone */
        enum mg_code code = queue_record(pump, record, &err);
        if (code == MG_BUSY)
            break;
        pump->line = next;
        if (!next)
            pump->line_end = &pump->line;
        if (code != MG_OK) {
            answer(record->call, code, err.text);
            free(record);
        }
    }
}

/* Behind all that came before. The record is handed over in every case. */
static void take(struct pump *pump, struct record *record)
{
    struct mg_error err = MG_ERROR_INIT;
    mg_mutex_lock(&pump->lock);
    enum mg_code code = pump->stopping ? mg_fail(&err, MG_CLOSED, "the pump is closing") : MG_BUSY;
    if (!pump->stopping && !pump->line)
        code = queue_record(pump, record, &err);
    if (code == MG_BUSY) {
        *pump->line_end = record;
        pump->line_end = &record->next;
    }
    mg_mutex_unlock(&pump->lock);
    if (code != MG_OK && code != MG_BUSY) {
        answer(record->call, code, err.text);
        free(record);
    }
}

static void count_record(enum mg_binlog_type type)
{
    if (type == MG_BINLOG_PREWRITE)
        mg_count(source_prewrites, 1);
    else if (type == MG_BINLOG_COMMIT)
        mg_count(source_commits, 1);
    else if (type == MG_BINLOG_ROLLBACK)
        mg_count(source_rollbacks, 1);
}

/* MG_OK with *out NULL: nothing is to be kept. */
static enum mg_code read_request(struct pump *pump, struct mg_slice message, struct record **out, struct mg_error *err)
{
    struct mg_binlog_request request;
    struct mg_binlog binlog;
    *out = NULL;
    MG_TRY(mg_binlog_read_request(message, &request, err));
    uint64_t ours = mg_buffer_log_cluster_id(pump->buffer);
    if (ours != 0 && request.cluster_id != ours)
        return mg_fail(err, MG_INVALID, "this pump belongs to cluster %llu, not to cluster %llu",
                       (unsigned long long)ours, (unsigned long long)request.cluster_id);
    if (request.payload.size == 0)
        return MG_OK;
    MG_TRY(mg_binlog_read(request.payload, &binlog, err));
    if (binlog.start_ts == 0 && binlog.commit_ts == 0)
        return MG_OK;
    MG_TRY(mg_buffer_log_bind(pump->buffer, request.cluster_id, err));
    struct record *record = malloc(sizeof *record);
    if (!record)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a record");
    *record = (struct record){
        .pump = pump,
        .payload = request.payload,
        .type = binlog.type,
        .known_ts = MG_MAX(binlog.start_ts, binlog.commit_ts),
    };
    count_record(binlog.type);
    *out = record;
    return MG_OK;
}

static void write_binlog(struct mg_grpc_call *call, void *arg, struct mg_slice request)
{
    struct pump *pump = arg;
    struct record *record;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = read_request(pump, request, &record, &err);
    if (code != MG_OK) {
        mg_log(MG_LOG_ERROR, "pump", "a record was refused: %s", err.text);
        answer(call, code, err.text);
    } else if (!record) {
        answer(call, MG_OK, NULL);
    } else {
        record->call = call;
        take(pump, record);
    }
}

static enum mg_code pull_binlogs(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    return mg_fail(err, MG_UNIMPLEMENTED, "this pump applies its records itself and gives none away");
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void close_pump(struct mg_source *source)
{
    struct pump *pump = pump_of(source);
    if (!pump)
        return;
    mg_grpc_server_free(pump->server);
    mg_oracle__free(pump->oracle);
    mg_http__free(pump->settle_http);
    mg_http__free(pump->health_http);
    mg_http__free(pump->fetch_http);
    mg_buffer_clear(&pump->settle_body);
    mg_buffer_clear(&pump->health_body);
    mg_buffer_clear(&pump->fetch_body);
    mg_buffer_clear(&pump->settle_path);
    mg_cond_destroy(&pump->drained);
    mg_mutex_destroy(&pump->lock);
    free(pump->listen);
    free(pump);
}

static enum mg_code make_server(struct pump *pump, const struct mg_source_options *options, struct mg_error *err)
{
    size_t message_max = options->message_max ? options->message_max : MESSAGE_MAX;
    const struct mg_grpc_method methods[] = {
        {.path = "/binlog.Pump/WriteBinlog", .async = write_binlog, .arg = pump, .request_max = message_max},
        {.path = "/binlog.Pump/PullBinlogs", .handler = pull_binlogs, .arg = pump},
    };
    const struct mg_grpc_server_options server = {
        .methods = methods,
        .method_count = MG_COUNT_OF(methods),
        .budget = options->budget,
        .clock = options->clock,
        .call_workers_max = 2,
        .stream_workers_max = 1,
        .connections_max = 64,
        .calls_per_connection = CALLS_MAX,
        .message_max = message_max,
        .any_authority = true,
    };
    return mg_grpc_server_new(&server, &pump->server, err);
}

static enum mg_code open_parts(struct pump *pump, const struct mg_source_options *options, struct mg_error *err)
{
    pump->listen = strdup(options->listen);
    if (!pump->listen)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the pump");
    if (options->cluster_id)
        MG_TRY(mg_buffer_log_bind(pump->buffer, options->cluster_id, err));
    if (options->sql_host)
        MG_TRY(mg_oracle__new(options, &pump->oracle, err));
    MG_TRY(mg_http__new(options->status_url, &pump->settle_http, err));
    MG_TRY(mg_http__new(options->status_url, &pump->health_http, err));
    MG_TRY(mg_http__new(options->status_url, &pump->fetch_http, err));
    return make_server(pump, options, err);
}

static enum mg_code open_pump(const struct mg_source_options *options, struct mg_source **out, struct mg_error *err)
{
    if (!options->listen || !options->status_url)
        return mg_fail(err, MG_INVALID, "a pump needs an address to listen on and the address of a status port");
    struct pump *pump = calloc(1, sizeof *pump);
    if (!pump)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the pump");
    pump->source.ops = &mg_source_pump;
    pump->buffer = options->buffer;
    pump->line_end = &pump->line;
    mg_mutex_init(&pump->lock, MG_RANK_SETTLE, "pump");
    mg_cond_init(&pump->drained);
    mg_buffer_init(&pump->settle_body, ANSWER_MAX);
    mg_buffer_init(&pump->health_body, 1 << 20);
    mg_buffer_init(&pump->fetch_body, ANSWER_MAX);
    mg_buffer_init(&pump->settle_path, 16384);
    enum mg_code code = open_parts(pump, options, err);
    if (code != MG_OK) {
        close_pump(&pump->source);
        return code;
    }
    *out = &pump->source;
    return MG_OK;
}

static enum mg_code start_pump(struct mg_source *source, struct mg_error *err)
{
    struct pump *pump = pump_of(source);
    char address[128];
    MG_TRY(mg_grpc_server_listen(pump->server, pump->listen, address, err));
    MG_TRY(mg_grpc_server_start(pump->server, err));
    mg_log(MG_LOG_INFO, "pump", "listening on %s", address);
    return MG_OK;
}

static void stop_pump(struct mg_source *source)
{
    struct pump *pump = pump_of(source);
    mg_mutex_lock(&pump->lock);
    pump->stopping = true;
    struct record *line = pump->line;
    pump->line = NULL;
    pump->line_end = &pump->line;
    mg_mutex_unlock(&pump->lock);
    while (line) {
        struct record *next = line->next;
        answer(line->call, MG_CLOSED, "the pump is closing");
        free(line);
        line = next;
    }
    mg_buffer_log_stop_intake(pump->buffer);
    mg_grpc_server_stop(pump->server, STOP_GRACE_MS);
    mg_mutex_lock(&pump->lock);
    while (pump->queued_count)
        mg_cond_wait(&pump->drained, &pump->lock);
    mg_mutex_unlock(&pump->lock);
}

/* ---- asking TiDB --------------------------------------------------------------------------------------------- */

static enum mg_code ask_oracle(struct mg_source *source, int64_t timeout_ms, uint64_t *out_ts, struct mg_error *err)
{
    struct pump *pump = pump_of(source);
    if (!pump->oracle)
        return mg_fail(err, MG_UNAVAILABLE, "no SQL address of the source is set");
    return mg_oracle__ask(pump->oracle, timeout_ms, out_ts, err);
}

/* Which store TiDB has: it does not change. */
static enum mg_code learn_store(struct pump *pump, struct mg_error *err)
{
    if (pump->store_known)
        return MG_OK;
    MG_TRY(mg_http__get(pump->settle_http, "/settings", SETTLE_TIMEOUT_MS, &pump->settle_body, err));
    MG_TRY(mg_settlement__read_store(mg_buffer_slice(&pump->settle_body), &pump->store_trusted, err));
    pump->store_known = true;
    return MG_OK;
}

static enum mg_code settle(struct mg_source *source, uint64_t start_ts, struct mg_slice prewrite_key,
                           struct mg_settlement *out, struct mg_error *err)
{
    struct pump *pump = pump_of(source);
    MG_TRY(learn_store(pump, err));
    MG_TRY(mg_settlement__path(prewrite_key, &pump->settle_path, err));
    MG_TRY(mg_http__get(pump->settle_http, (const char *)pump->settle_path.data, SETTLE_TIMEOUT_MS, &pump->settle_body,
                        err));
    struct mg_settlement settlement;
    MG_TRY(mg_settlement__read(mg_buffer_slice(&pump->settle_body), start_ts, &settlement, err));
    settlement.versions_trusted = pump->store_trusted;
    *out = settlement;
    return MG_OK;
}

static enum mg_code ask_health(struct mg_source *source, struct mg_source_health *out, struct mg_error *err)
{
    struct pump *pump = pump_of(source);
    struct mg_grpc_server_stats stats;
    struct mg_source_health health = {0};
    mg_grpc_server_stats(pump->server, &stats);
    health.peer_connected = stats.connections > 0;
    if (mg_http__get(pump->health_http, "/info", HEALTH_TIMEOUT_MS, &pump->health_body, err) == MG_OK &&
        mg_settlement__read_info(mg_buffer_slice(&pump->health_body), &health, err) == MG_OK)
        health.status_reachable = true;
    *out = health;
    return MG_OK;
}

static enum mg_code fetch(struct mg_source *source, const char *path, struct mg_arena *arena, struct mg_slice *out,
                          struct mg_error *err)
{
    struct pump *pump = pump_of(source);
    MG_TRY(mg_http__get(pump->fetch_http, path, FETCH_TIMEOUT_MS, &pump->fetch_body, err));
    struct mg_slice body = mg_arena_copy(arena, mg_buffer_slice(&pump->fetch_body));
    if (!body.data && pump->fetch_body.size)
        return mg_arena_fail(arena, err);
    *out = body;
    return MG_OK;
}

const struct mg_source_ops mg_source_pump = {
    .name = "pump",
    .open = open_pump,
    .start = start_pump,
    .stop = stop_pump,
    .close = close_pump,
    .oracle = ask_oracle,
    .settle = settle,
    .health = ask_health,
    .fetch = fetch,
};
