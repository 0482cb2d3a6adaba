/* server.c -- starts the parts of magicd in order, wires them together, and ends them in the reverse order.
 *
 * Order   memory (the pump's share of it), folders, engine (recovers), secret, latch, connector, syncer (its socket
 *         takes records from here on), listener. A part that fails to start ends those before it.
 * Errors  the part's own, with what it was for in front.
 * Threads main only; the parts have their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "engine/trace/trace.h"
#include "server/server_internal.h"

enum { SECRET_FILE_MAX = 4096 };
static const uint64_t STORE_MEMORY_MIN = (uint64_t)64 << 20; /* beside the pump's share */

static const struct mg_engine_ops *const engines[] = {&mg_engine_magic, &mg_engine_model};

/* "magic", or "trace:magic": the same, with a line in the log for each call. NULL: there is none of that name. */
static const struct mg_engine_ops *find_engine(const char *name)
{
    bool traced = strncmp(name, "trace:", 6) == 0;
    for (size_t i = 0; i < MG_COUNT_OF(engines); i++)
        if (strcmp(engines[i]->name, name + (traced ? 6 : 0)) == 0)
            return traced ? mg_trace_of(engines[i]) : engines[i];
    return NULL;
}

static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : (uint64_t)8 << 30;
}

/* Before the store opens: it may use all the rest. */
static enum mg_code reserve_pump(struct mg_server *server, struct mg_error *err)
{
    const struct mg_settings *s = &server->settings;
    uint64_t limit = server->memory.limit_bytes, share = mg_setting_number(s, MG_SETTING_PUMP_MEMORY),
             message = mg_setting_number(s, MG_SETTING_MESSAGE_LIMIT);

    if (!mg_setting_text_or_null(s, MG_SETTING_SOURCE_LISTEN))
        share = 0;
    else if (share < message + MG_GRPC_MESSAGE_EXTRA)
        return mg_fail(err, MG_INVALID,
                       "source.pump_memory is %" PRIu64 " bytes: a message of source.message_limit, %" PRIu64
                       " bytes, needs %d beside itself while it arrives",
                       share, message, (int)MG_GRPC_MESSAGE_EXTRA);
    else if (limit < STORE_MEMORY_MIN || share > limit - STORE_MEMORY_MIN)
        return mg_fail(err, MG_INVALID,
                       "memory_limit is %" PRIu64 " bytes, of which source.pump_memory reserves %" PRIu64
                       ", and the store needs %" PRIu64 ": raise memory_limit, or lower source.pump_memory and "
                       "source.message_limit",
                       limit, share, STORE_MEMORY_MIN);
    return mg_budget_init_share(&server->pump_memory, "pump", &server->memory, share, err);
}

static enum mg_code start_memory(struct mg_server *server, struct mg_error *err)
{
    uint64_t limit = mg_setting_number(&server->settings, MG_SETTING_MEMORY_LIMIT);

    if (!limit)
        limit = MG_MIN((uint64_t)4 << 30, machine_memory() / 2);
    mg_budget_init(&server->memory, "memory", NULL, limit);
    mg_budget_init(&server->engine_memory, "engine", &server->memory, SIZE_MAX);
    mg_budget_init(&server->scan_memory, "scans", &server->memory, SIZE_MAX);
    mg_budget_init(&server->grpc_memory, "messages", &server->memory, SIZE_MAX);
    mg_budget_init(&server->syncer_memory, "syncer", &server->memory, SIZE_MAX);
    return reserve_pump(server, err);
}

static enum mg_code start_engine(struct mg_server *server, struct mg_error *err)
{
    const char *name = mg_setting_text(&server->settings, MG_SETTING_ENGINE);
    const char *data = mg_setting_text(&server->settings, MG_SETTING_DATA);
    struct mg_engine_options options = {
        .folder = server->engine_folder,
        .io = server->io,
        .clock = server->clock,
        .budget = &server->engine_memory,
        .wal_segment_bytes = mg_setting_number(&server->settings, MG_SETTING_WAL_SEGMENT),
        .segment_bytes = mg_setting_number(&server->settings, MG_SETTING_DELTA_SEGMENT),
        .disk_reserve = mg_setting_number(&server->settings, MG_SETTING_DISK_RESERVE),
        .merge_throttle = mg_setting_number(&server->settings, MG_SETTING_MERGE_THROTTLE),
        .stage_bytes = mg_setting_number(&server->settings, MG_SETTING_EPOCH_MEMORY),
        .sealed_bytes = mg_setting_number(&server->settings, MG_SETTING_SNAPSHOT_MEMORY),
        .checkpoint_bytes = mg_setting_number(&server->settings, MG_SETTING_CHECKPOINT_WAL),
        .checkpoint_ms = (int64_t)mg_setting_number(&server->settings, MG_SETTING_CHECKPOINT_EVERY),
    };

    MG_TRY(mg_io_make_folders(server->io, data, err));
    snprintf(server->engine_folder, sizeof server->engine_folder, "%s/store", data);
    const struct mg_engine_ops *ops = find_engine(name);
    if (!ops)
        return mg_fail(err, MG_INVALID, "there is no engine %s", name);
    int64_t begin = mg_mono_ms(server->clock);
    enum mg_code code = ops->open(&options, &server->engine, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "could not open the store in %s", server->engine_folder);
    mg_log(MG_LOG_INFO, "server", "store open engine=%s folder=%s took_ms=%lld", name, server->engine_folder,
           (long long)(mg_mono_ms(server->clock) - begin));
    return MG_OK;
}

/* The key of tickets and lease tokens: made once, kept beside the store, so that tickets survive a restart. */
static enum mg_code read_secret(struct mg_server *server, uint8_t secret[MG_SECRET_SIZE], struct mg_error *err)
{
    const char *data = mg_setting_text(&server->settings, MG_SETTING_DATA);
    char path[MG_SETTING_TEXT_MAX + 16];
    struct mg_buffer file;

    snprintf(path, sizeof path, "%s/secret", data);
    mg_buffer_init(&file, SECRET_FILE_MAX);
    enum mg_code code = mg_io_read_file(server->io, path, &file, err);
    if (code == MG_OK && file.size != MG_SECRET_SIZE)
        code = mg_fail(err, MG_CORRUPT,
                       "%s holds %zu bytes, not %d: remove it to make a new one (tickets given out end)", path,
                       file.size, MG_SECRET_SIZE);
    if (code == MG_OK)
        memcpy(secret, file.data, MG_SECRET_SIZE);
    mg_buffer_clear(&file);
    if (code != MG_NOT_FOUND)
        return code;
    MG_TRY(mg_random_secret(secret, MG_SECRET_SIZE, err));
    return mg_io_write_file(server->io, data, "secret", MG_SLICE(secret, MG_SECRET_SIZE), err);
}

static enum mg_code start_latch(struct mg_server *server, struct mg_error *err)
{
    struct mg_latch_options options = {
        .engine = server->engine,
        .clock = server->clock,
        .ttl_ms = (int64_t)mg_setting_number(&server->settings, MG_SETTING_LEASE_TTL),
        .age_max_ms = (int64_t)mg_setting_number(&server->settings, MG_SETTING_LEASE_AGE_MAX),
    };

    MG_TRY(read_secret(server, options.secret, err));
    enum mg_code code = mg_latch_new(&options, &server->latch, err);
    explicit_bzero(options.secret, sizeof options.secret);
    return code;
}

static enum mg_code start_connector(struct mg_server *server, struct mg_error *err)
{
    struct mg_flight_options flight = {
        .engine = server->engine,
        .latch = server->latch,
        .budget = &server->scan_memory,
        .hooks = mg_server__hooks(server),
    };
    struct mg_grpc_server_options grpc = {.budget = &server->grpc_memory, .clock = server->clock};

    MG_TRY(mg_flight_new(&flight, &server->flight, err));
    MG_TRY(mg_server__apply(server, MG_SETTING_SPLITS, err));
    MG_TRY(mg_server__apply(server, MG_SETTING_SCAN_THREADS, err));
    MG_TRY(mg_server__apply(server, MG_SETTING_SPLITS_FORCE, err));
    grpc.methods = mg_flight_methods(server->flight, &grpc.method_count);
    return mg_grpc_server_new(&grpc, &server->grpc, err);
}

static enum mg_code read_password(struct mg_server *server, struct mg_error *err)
{
    const char *path = mg_setting_text_or_null(&server->settings, MG_SETTING_SOURCE_SQL_PASSWORD);
    struct mg_buffer file;

    if (!path)
        return MG_OK;
    mg_buffer_init(&file, sizeof server->source_password - 1);
    enum mg_code code = mg_io_read_file(server->io, path, &file, err);
    if (code == MG_OK) {
        while (file.size && (file.data[file.size - 1] == '\n' || file.data[file.size - 1] == '\r'))
            file.size--;
        memcpy(server->source_password, file.data, file.size);
    }
    mg_buffer_clear(&file);
    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "source.sql_password_file");
}

static enum mg_code start_syncer(struct mg_server *server, struct mg_error *err)
{
    const struct mg_settings *s = &server->settings;
    const char *buffer = mg_setting_text_or_null(s, MG_SETTING_BUFFER);
    struct mg_syncer_options options = {
        .source_ops = &mg_source_pump,
        .source =
            {
                .name = mg_setting_text(s, MG_SETTING_SOURCE_NAME),
                .listen = mg_setting_text(s, MG_SETTING_SOURCE_LISTEN),
                .status_url = mg_setting_text(s, MG_SETTING_SOURCE_STATUS),
                .sql_host = mg_setting_text_or_null(s, MG_SETTING_SOURCE_SQL_HOST),
                .sql_port = (uint16_t)mg_setting_number(s, MG_SETTING_SOURCE_SQL_PORT),
                .sql_user = mg_setting_text_or_null(s, MG_SETTING_SOURCE_SQL_USER),
                .sql_password = server->source_password,
                .cluster_id = mg_setting_number(s, MG_SETTING_SOURCE_CLUSTER),
                .message_max = mg_setting_number(s, MG_SETTING_MESSAGE_LIMIT),
                .clock = server->clock,
                .budget = &server->pump_memory,
            },
        .latch = server->latch,
        .engine = server->engine,
        .io = server->io,
        .clock = server->clock,
        .budget = &server->syncer_memory,
        .buffer_folder = server->buffer_folder,
        .buffer_limit_bytes = mg_setting_number(s, MG_SETTING_BUFFER_LIMIT),
        .buffer_segment_bytes = mg_setting_number(s, MG_SETTING_BUFFER_SEGMENT),
        .epoch_memory = mg_setting_number(s, MG_SETTING_EPOCH_MEMORY),
        .interval_ms = (int64_t)mg_setting_number(s, MG_SETTING_INTERVAL),
        .verify_one_in = (uint32_t)MG_MIN(mg_setting_number(s, MG_SETTING_VERIFY_ONE_IN), (uint64_t)UINT32_MAX),
        .paused = mg_setting_number(s, MG_SETTING_PAUSED) != 0,
    };

    if (!*options.source.listen)
        return MG_OK;
    if (buffer)
        snprintf(server->buffer_folder, sizeof server->buffer_folder, "%s", buffer);
    else
        snprintf(server->buffer_folder, sizeof server->buffer_folder, "%s/buffer", mg_setting_text(s, MG_SETTING_DATA));
    MG_TRY(read_password(server, err));
    enum mg_code code = mg_syncer_open(&options, &server->syncer, err);
    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "could not start the source");
}

static enum mg_code start_listener(struct mg_server *server, struct mg_error *err)
{
    const char *listen = mg_setting_text(&server->settings, MG_SETTING_LISTEN);
    const char *file = mg_setting_text_or_null(&server->settings, MG_SETTING_ADDRESS_FILE);
    char line[sizeof server->address + 1], folder[MG_SETTING_TEXT_MAX];

    MG_TRY(mg_grpc_server_listen(server->grpc, listen, server->address, err));
    MG_TRY(mg_grpc_server_start(server->grpc, err));
    if (!file)
        return MG_OK;
    int size = snprintf(line, sizeof line, "%s\n", server->address);
    snprintf(folder, sizeof folder, "%s", file);
    char *slash = strrchr(folder, '/');
    const char *name = slash ? slash + 1 : file;
    if (slash)
        *slash = 0;
    const char *where = !slash ? "." : slash == folder ? "/" : folder;
    return mg_io_write_file(server->io, where, name, MG_SLICE(line, (size_t)size), err);
}

static enum mg_code start_parts(struct mg_server *server, struct mg_error *err)
{
    if (!mg_setting_text_or_null(&server->settings, MG_SETTING_DATA))
        return mg_fail(err, MG_INVALID, "no data folder is set: --data DIR, or data = \"DIR\" in the file");
    MG_TRY(start_memory(server, err));
    MG_TRY(start_engine(server, err));
    MG_TRY(start_latch(server, err));
    MG_TRY(start_connector(server, err));
    MG_TRY(start_syncer(server, err));
    return start_listener(server, err);
}

enum mg_code mg_server_start(const struct mg_settings *settings, struct mg_server **out, struct mg_error *err)
{
    struct mg_server *server = calloc(1, sizeof *server);

    if (!server)
        return mg_fail(err, MG_NO_MEMORY, "no memory to start");
    server->io = mg_io_system();
    server->clock = mg_clock_system();
    server->started_ms = mg_wall_ms(server->clock);
    server->settings = *settings;
    mg_mutex_init(&server->lock, MG_RANK_SERVER, "server");
    enum mg_code code = start_parts(server, err);
    if (code != MG_OK) {
        mg_server_stop(server);
        return code;
    }
    *out = server;
    return MG_OK;
}

const char *mg_server_address(const struct mg_server *server) { return server->address; }

void mg_server_stop(struct mg_server *server)
{
    if (!server)
        return;
    if (server->grpc)
        mg_grpc_server_stop(server->grpc, (int64_t)mg_setting_number(&server->settings, MG_SETTING_SHUTDOWN_GRACE));
    mg_syncer_close(server->syncer);
    mg_grpc_server_free(server->grpc);
    mg_flight_free(server->flight);
    if (server->latch)
        mg_latch_free(server->latch);
    if (server->engine)
        server->engine->ops->close(server->engine);
    mg_budget_clear_share(&server->pump_memory);
    mg_mutex_destroy(&server->lock);
    explicit_bzero(server->source_password, sizeof server->source_password);
    free(server);
}
