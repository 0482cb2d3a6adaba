/* report.c -- what the server tells and lets be changed while it runs: status, lag, settings.
 *
 * Threads  handlers of the connector, many at once; settings under the server's lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/version.h"
#include "server/server_internal.h"

enum { SCAN_THREADS_DEFAULT_MAX = 8 };

/* Carries the connector's function through walks that have none for the group. */
struct report {
    mg_flight_status_fn *fn;
    void *arg;
    const char *group;
};

static enum mg_code entry(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct report *report = arg;
    return report->fn(report->arg, report->group, name, value, unit, err);
}

static enum mg_code number(struct report *report, const char *name, uint64_t value, const char *unit,
                           struct mg_error *err)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRIu64, value);
    return entry(report, name, text, unit, err);
}

static enum mg_code report_server(struct mg_server *server, struct report *report, struct mg_error *err)
{
    struct mg_grpc_server_stats grpc;

    report->group = "server";
    MG_TRY(entry(report, "version", mg_version(), "", err));
    MG_TRY(entry(report, "commit", mg_version_commit(), "", err));
    MG_TRY(entry(report, "address", server->address, "", err));
    MG_TRY(number(report, "pid", (uint64_t)getpid(), "", err));
    MG_TRY(number(report, "uptime", (uint64_t)(mg_wall_ms(server->clock) - server->started_ms), "ms", err));
    mg_grpc_server_stats(server->grpc, &grpc);
    MG_TRY(number(report, "connections", grpc.connections, "conns", err));
    MG_TRY(number(report, "calls", grpc.calls, "calls", err));
    return number(report, "queued_bytes", grpc.queued_bytes, "bytes", err);
}

static enum mg_code report_memory(struct mg_server *server, struct report *report, struct mg_error *err)
{
    struct mg_budget *parts[] = {&server->engine_memory, &server->scan_memory, &server->grpc_memory,
                                 &server->syncer_memory};

    report->group = "memory";
    MG_TRY(number(report, "limit", server->memory.limit_bytes, "bytes", err));
    MG_TRY(number(report, "used", mg_budget_used(&server->memory), "bytes", err));
    MG_TRY(number(report, "left", mg_budget_left(&server->memory), "bytes", err));
    MG_TRY(number(report, "peak", atomic_load(&server->memory.peak_bytes), "bytes", err));
    for (size_t i = 0; i < MG_COUNT_OF(parts); i++)
        MG_TRY(number(report, parts[i]->name, mg_budget_used(parts[i]), "bytes", err));
    /* The parts above and what the pump has reserved make the sum; what it uses lies in that. */
    MG_TRY(number(report, "pump_reserved", server->pump_memory.limit_bytes, "bytes", err));
    return number(report, "pump_used", mg_budget_used(&server->pump_memory), "bytes", err);
}

static enum mg_code report_leases(struct mg_server *server, struct report *report, struct mg_error *err)
{
    struct mg_lease_info leases[32];
    uint32_t count = mg_latch_list(server->latch, leases, MG_COUNT_OF(leases));

    report->group = "lease";
    MG_TRY(number(report, "leases", count, "leases", err));
    for (uint32_t i = 0; i < MG_MIN(count, (uint32_t)MG_COUNT_OF(leases)); i++) {
        char name[32], value[160];
        snprintf(name, sizeof name, "lease_%016" PRIx64, leases[i].number);
        snprintf(value, sizeof value, "epoch=%" PRIu64 " expires_in_ms=%" PRId64 " holder=%s", leases[i].epoch,
                 leases[i].expires_ms - mg_wall_ms(server->clock), leases[i].holder);
        MG_TRY(entry(report, name, value, "", err));
    }
    return MG_OK;
}

static enum mg_code report_counters(struct report *report, struct mg_error *err)
{
    size_t count;
    const struct mg_counter_info *counters = mg_counter_list(&count);

    report->group = "counter";
    for (size_t i = 0; i < count; i++)
        MG_TRY(number(report, counters[i].name, atomic_load_explicit(counters[i].value, memory_order_relaxed),
                      counters[i].unit, err));
    return MG_OK;
}

static enum mg_code report_settings(struct mg_server *server, struct report *report, struct mg_error *err)
{
    enum mg_code code = MG_OK;

    report->group = "setting";
    for (int i = 0; i < MG_SETTING_COUNT && code == MG_OK; i++) {
        char value[MG_SETTING_TEXT_MAX];
        mg_mutex_lock(&server->lock);
        memcpy(value, server->settings.values[i].text, sizeof value);
        mg_mutex_unlock(&server->lock);
        code = entry(report, mg_settings_key((enum mg_setting_id)i), value,
                     mg_settings_at_run_time((enum mg_setting_id)i) ? "(run time)" : "", err);
    }
    return code;
}

static enum mg_code status(void *arg, mg_flight_status_fn *fn, void *fn_arg, struct mg_error *err)
{
    struct mg_server *server = arg;
    struct report report = {.fn = fn, .arg = fn_arg};

    MG_TRY(report_server(server, &report, err));
    report.group = "engine";
    MG_TRY(entry(&report, "engine", server->engine->ops->name, "", err));
    MG_TRY(server->engine->ops->status(server->engine, entry, &report, err));
    report.group = "source";
    if (server->syncer)
        MG_TRY(mg_syncer_status(server->syncer, entry, &report, err));
    MG_TRY(report_memory(server, &report, err));
    MG_TRY(report_leases(server, &report, err));
    MG_TRY(report_counters(&report, err));
    return report_settings(server, &report, err);
}

static void lag(void *arg, struct mg_flight_lag *out)
{
    static const char *const states[] = {
        [MG_SYNCER_WAITING] = "waiting",
        [MG_SYNCER_RUNNING] = "running",
        [MG_SYNCER_PAUSED] = "paused",
        [MG_SYNCER_STOPPED] = "stopped",
    };
    struct mg_server *server = arg;
    struct mg_syncer_lag lag;

    *out = (struct mg_flight_lag){.state = "none"};
    if (!server->syncer)
        return;
    mg_syncer_lag(server->syncer, &lag);
    snprintf(out->source, sizeof out->source, "%.63s", mg_setting_text(&server->settings, MG_SETTING_SOURCE_NAME));
    snprintf(out->reason, sizeof out->reason, "%s", lag.reason);
    _Static_assert(sizeof out->oldest_open_tables == sizeof lag.oldest_open_tables, "one is copied to the other");
    memcpy(out->oldest_open_tables, lag.oldest_open_tables, sizeof out->oldest_open_tables);
    out->oldest_open_table_count = lag.oldest_open_table_count;
    out->state = states[lag.state];
    out->watermark_ts = lag.watermark;
    out->lag_ms = lag.lag_ms;
    out->open_txns = lag.open_txns;
    out->waiting_txns = lag.waiting_txns;
    out->buffered_records = lag.buffered_records;
    out->oldest_open_start_ts = lag.oldest_open_start_ts;
    out->oldest_open_age_ms = lag.oldest_open_age_ms;
    out->known_ts = lag.known_ts;
}

static uint32_t cores(long most) { return (uint32_t)MG_MIN(MG_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1), most); }

enum mg_code mg_server__apply(struct mg_server *server, enum mg_setting_id id, struct mg_error *err)
{
    uint64_t value = mg_setting_number(&server->settings, id);

    switch (id) {
    case MG_SETTING_SPLITS:
        mg_flight_set_splits(server->flight, value ? (uint32_t)value : cores(MG_FLIGHT_SPLITS_MAX));
        return MG_OK;
    case MG_SETTING_SCAN_THREADS:
        mg_flight_set_scan_threads(server->flight, value ? (uint32_t)value : cores(SCAN_THREADS_DEFAULT_MAX));
        return MG_OK;
    case MG_SETTING_SPLITS_FORCE: mg_flight_set_splits_force(server->flight, value != 0); return MG_OK;
    case MG_SETTING_LOG_LEVEL:
        mg_log_set_level((enum mg_log_level)mg_log_level_from_name(mg_setting_text(&server->settings, id)));
        return MG_OK;
    case MG_SETTING_SHUTDOWN_GRACE: return MG_OK; /* read when it is needed */
    case MG_SETTING_MERGE_THROTTLE:
        return server->engine->ops->set_option(server->engine, MG_OPTION_MERGE_THROTTLE, value, err);
    case MG_SETTING_DISK_RESERVE:
        return server->engine->ops->set_option(server->engine, MG_OPTION_DISK_RESERVE, value, err);
    case MG_SETTING_VERIFY_ONE_IN:
        if (server->syncer)
            mg_syncer_set_verify(server->syncer, (uint32_t)MG_MIN(value, (uint64_t)UINT32_MAX));
        return MG_OK;
    case MG_SETTING_INTERVAL:
    case MG_SETTING_PAUSED:
        if (!server->syncer)
            return mg_fail(err, MG_INVALID, "no source is followed: start with source.listen");
        return id == MG_SETTING_INTERVAL ? mg_syncer_set_interval(server->syncer, (int64_t)value, err)
                                         : mg_syncer_pause(server->syncer, value != 0, err);
    default: return mg_fail(err, MG_INVALID, "%s cannot change while the server runs", mg_settings_key(id));
    }
}

/* The new value is kept only if the running part took it. */
static enum mg_code change(struct mg_server *server, enum mg_setting_id id, const char *value, struct mg_error *err)
{
    struct mg_setting before = server->settings.values[id];

    MG_TRY(mg_settings_set(&server->settings, id, value, err));
    enum mg_code code = mg_server__apply(server, id, err);
    if (code != MG_OK)
        server->settings.values[id] = before;
    return code;
}

static enum mg_code set(void *arg, const char *name, const char *value, char out_value[256], struct mg_error *err)
{
    struct mg_server *server = arg;
    int id = mg_settings_find(name);

    if (id < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no setting %s: magic status lists them", name);
    if (!mg_settings_at_run_time((enum mg_setting_id)id))
        return mg_fail(err, MG_INVALID, "%s cannot change while the server runs: set it in the file and start again",
                       mg_settings_key((enum mg_setting_id)id));
    mg_mutex_lock(&server->lock);
    enum mg_code code = change(server, (enum mg_setting_id)id, value, err);
    snprintf(out_value, 256, "%s", server->settings.values[id].text);
    mg_mutex_unlock(&server->lock);
    if (code == MG_OK)
        mg_log(MG_LOG_INFO, "server", "setting changed name=%s value=%s", mg_settings_key((enum mg_setting_id)id),
               out_value);
    return code;
}

struct mg_flight_hooks mg_server__hooks(struct mg_server *server)
{
    return (struct mg_flight_hooks){.arg = server, .status = status, .lag = lag, .set = set};
}
