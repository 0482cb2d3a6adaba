/* actions.c -- DoAction: leases, tables, databases, status, lag and settings.
 *
 * One table of actions: name, sentence, function. The body of an action is the request message of proto/scan.proto, and
 * each Result's body the response message; an empty body is an empty message.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "connector/flight/flight_internal.h"
#include "engine/name.h"

enum { STATUS_ENTRIES_MAX = 4096 };

static enum mg_code send_result(struct mg_flight__request *request, const ProtobufCMessage *body, struct mg_error *err)
{
    Arrow__Flight__Protocol__Result result = ARROW__FLIGHT__PROTOCOL__RESULT__INIT;
    struct mg_slice bytes;

    MG_TRY(mg_flight__pack(body, &request->arena, &bytes, err));
    result.body = mg_flight__binary(bytes);
    return mg_flight__send(request, &result.base, err);
}

/* ---- leases ---- */

static enum mg_code send_lease(struct mg_flight__request *request, const struct mg_lease *lease,
                               const struct mg_snapshot *snapshot, struct mg_error *err)
{
    Magic__V1__Lease proto = MAGIC__V1__LEASE__INIT;

    proto.token = mg_flight__binary(MG_SLICE(lease->token, lease->token_size));
    proto.expires_ms = lease->expires_ms;
    proto.expires_at_most_ms = lease->expires_at_most_ms;
    MG_TRY(mg_flight__snapshot_proto(snapshot, &request->arena, &proto.snapshot, err));
    return send_result(request, &proto.base, err);
}

static enum mg_code acquire(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_flight__lease lease = {.snapshot = NULL};
    Magic__V1__AcquireRequest *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__acquire_request__descriptor, body, "the acquire request", &request->arena,
                             &proto, err));
    const char *holder = proto->holder[0] ? proto->holder : mg_grpc_call_peer(request->call);
    MG_TRY(mg_flight__lease_take(request, proto->snapshot, holder, proto->ttl_ms, false, &lease, err));
    enum mg_code code = send_lease(request, &lease.lease, lease.snapshot, err);
    mg_flight__lease_drop(request, &lease, code == MG_OK);
    return code;
}

static enum mg_code renew(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    const struct mg_engine_ops *ops = request->flight->engine->ops;
    Magic__V1__RenewRequest *proto = NULL;
    struct mg_snapshot *snapshot = NULL;
    struct mg_lease lease;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__renew_request__descriptor, body, "the renew request", &request->arena, &proto,
                             err));
    struct mg_slice token = mg_flight__bytes(proto->token);
    MG_TRY(mg_latch_renew(request->flight->latch, token, proto->ttl_ms, &lease, err));
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_LEASE, .token = token};
    MG_TRY(mg_latch_acquire(request->flight->latch, &choice, NULL, 0, &lease, &snapshot, err));
    enum mg_code code = send_lease(request, &lease, snapshot, err);
    ops->snapshot_unref(snapshot);
    return code;
}

static enum mg_code release(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    Magic__V1__ReleaseRequest *proto = NULL;
    Arrow__Flight__Protocol__Empty empty = ARROW__FLIGHT__PROTOCOL__EMPTY__INIT;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__release_request__descriptor, body, "the release request", &request->arena,
                             &proto, err));
    MG_TRY(mg_latch_release(request->flight->latch, mg_flight__bytes(proto->token), err));
    return send_result(request, &empty.base, err);
}

/* ---- tables ---- */

static enum mg_code send_tables(struct mg_flight__request *request, const struct mg_snapshot *snapshot,
                                const struct mg_flight__tables *tables, struct mg_error *err)
{
    enum { TABLE_BYTES_MAX = 16 << 20 };
    struct mg_arena arena; /* of one table at a time */
    enum mg_code code = MG_OK;

    mg_arena_init(&arena, TABLE_BYTES_MAX);
    for (uint32_t i = 0; code == MG_OK && i < tables->count; i++) {
        Magic__V1__TableInfo *info = NULL;
        Arrow__Flight__Protocol__Result result = ARROW__FLIGHT__PROTOCOL__RESULT__INIT;
        struct mg_slice bytes;
        mg_arena_reset(&arena);
        code = mg_flight__table_info(snapshot, tables->at[i], &arena, &info, err);
        if (code == MG_OK)
            code = mg_flight__pack(&info->base, &arena, &bytes, err);
        if (code != MG_OK)
            break;
        result.body = mg_flight__binary(bytes);
        code = mg_flight__pack(&result.base, &arena, &bytes, err);
        if (code != MG_OK)
            break;
        struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
        code = mg_grpc_call_send(request->call, &piece, 1, NULL, NULL, err);
    }
    mg_arena_clear(&arena);
    return code;
}

static enum mg_code tables(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_flight__lease lease = {.snapshot = NULL};
    struct mg_flight__tables found = {0};
    Magic__V1__ListTablesRequest *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__list_tables_request__descriptor, body, "the tables request", &request->arena,
                             &proto, err));
    MG_TRY(mg_flight__lease_take(request, proto->snapshot, mg_grpc_call_peer(request->call), 0, true, &lease, err));
    enum mg_code code = mg_flight__tables_collect(&found, lease.snapshot, mg_slice_text(proto->database),
                                                  mg_slice_text(proto->table), &request->arena, err);
    if (code == MG_OK)
        code = send_tables(request, lease.snapshot, &found, err);
    mg_flight__tables_clear(&found);
    mg_flight__lease_drop(request, &lease, false);
    return code;
}

static enum mg_code stats(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_flight__lease lease = {.snapshot = NULL};
    Magic__V1__StatsRequest *proto = NULL;
    Magic__V1__TableStats response;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__stats_request__descriptor, body, "the stats request", &request->arena, &proto,
                             err));
    magic__v1__table_stats__init(&response);
    MG_TRY(mg_flight__lease_take(request, proto->snapshot, mg_grpc_call_peer(request->call), 0, true, &lease, err));
    enum mg_code code = mg_flight__table_stats(lease.snapshot, proto, &request->arena, &response, err);
    if (code == MG_OK)
        code = send_result(request, &response.base, err);
    mg_flight__lease_drop(request, &lease, false);
    return code;
}

/* ---- databases ---- */

/* Names of a snapshot, in the arena: collected first, as tables are. */
struct database {
    struct database *next;
    char *name;
};
struct collecting_databases {
    struct mg_slice wanted; /* empty: all */
    struct mg_arena *arena;
    struct database *first, **end;
};

static enum mg_code collect_database(void *arg, const char *name, struct mg_error *err)
{
    struct collecting_databases *collecting = arg;

    if (mg_flight__is_loading(mg_slice_text(name)))
        return MG_OK;
    if (collecting->wanted.size && mg_name_compare(collecting->wanted, mg_slice_text(name)) != 0)
        return MG_OK;
    struct database *database = mg_arena_new(collecting->arena, struct database);
    char *copy = mg_arena_text(collecting->arena, mg_slice_text(name));
    if (!database || !copy)
        return mg_arena_fail(collecting->arena, err);
    *database = (struct database){.name = copy};
    *collecting->end = database;
    collecting->end = &database->next;
    return MG_OK;
}

static enum mg_code databases(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_flight__lease lease = {.snapshot = NULL};
    struct collecting_databases found = {.arena = &request->arena, .end = &found.first};
    Magic__V1__ListDatabasesRequest *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__list_databases_request__descriptor, body, "the databases request",
                             &request->arena, &proto, err));
    found.wanted = mg_slice_text(proto->database);
    MG_TRY(mg_flight__lease_take(request, proto->snapshot, mg_grpc_call_peer(request->call), 0, true, &lease, err));
    enum mg_code code = request->flight->engine->ops->list_databases(lease.snapshot, collect_database, &found, err);
    mg_flight__lease_drop(request, &lease, false);
    for (const struct database *at = found.first; code == MG_OK && at; at = at->next) {
        Magic__V1__DatabaseInfo info;
        magic__v1__database_info__init(&info); /* the macro casts a const away */
        info.database = at->name;
        code = send_result(request, &info.base, err);
    }
    return code;
}

/* ---- status, lag, settings ---- */

static enum mg_code fill_lag(struct mg_flight__request *request, Magic__V1__LagResponse **out, struct mg_error *err)
{
    const struct mg_flight_hooks *hooks = &request->flight->hooks;
    struct mg_arena *arena = &request->arena;
    struct mg_flight_lag *lag = mg_arena_new(arena, struct mg_flight_lag);
    Magic__V1__LagResponse *proto = mg_arena_new(arena, Magic__V1__LagResponse);

    if (!lag || !proto)
        return mg_arena_fail(arena, err);
    if (hooks->lag)
        hooks->lag(hooks->arg, lag);
    magic__v1__lag_response__init(proto);
    proto->source = lag->source;
    proto->state = (char *)(uintptr_t)(lag->state ? lag->state : "none");
    proto->reason = lag->reason;
    proto->watermark_ts = lag->watermark_ts;
    proto->lag_ms = lag->lag_ms;
    proto->open_txns = lag->open_txns;
    proto->waiting_txns = lag->waiting_txns;
    proto->buffered_records = lag->buffered_records;
    proto->oldest_open_start_ts = lag->oldest_open_start_ts;
    proto->oldest_open_age_ms = lag->oldest_open_age_ms;
    proto->known_ts = lag->known_ts;

    proto->oldest_open_tables = mg_arena_array(arena, char *, MG_FLIGHT_LAG_TABLES_MAX);
    if (!proto->oldest_open_tables)
        return mg_arena_fail(arena, err);
    for (; proto->n_oldest_open_tables < lag->oldest_open_table_count; proto->n_oldest_open_tables++)
        proto->oldest_open_tables[proto->n_oldest_open_tables] = lag->oldest_open_tables[proto->n_oldest_open_tables];
    *out = proto;
    return mg_flight__verified_lag(request->flight->engine, arena, proto, err);
}

static enum mg_code lag(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    Magic__V1__LagResponse *proto = NULL;

    (void)body; /* LagRequest has no fields */
    MG_TRY(fill_lag(request, &proto, err));
    return send_result(request, &proto->base, err);
}

struct collecting_status {
    struct mg_arena *arena;
    Magic__V1__StatusResponse *response;
};

static enum mg_code add_status(void *arg, const char *group, const char *name, const char *value, const char *unit,
                               struct mg_error *err)
{
    struct collecting_status *collecting = arg;
    struct mg_arena *arena = collecting->arena;
    Magic__V1__StatusResponse *response = collecting->response;
    Magic__V1__StatusEntry *entry = mg_arena_new(arena, Magic__V1__StatusEntry);

    if (!entry)
        return mg_arena_fail(arena, err);
    if (response->n_entries == STATUS_ENTRIES_MAX)
        return MG_OK; /* more than anybody reads */
    magic__v1__status_entry__init(entry);
    entry->group = mg_arena_text(arena, mg_slice_text(group));
    entry->name = mg_arena_text(arena, mg_slice_text(name));
    entry->value = mg_arena_text(arena, mg_slice_text(value ? value : ""));
    entry->unit = mg_arena_text(arena, mg_slice_text(unit ? unit : ""));
    if (!entry->group || !entry->name || !entry->value || !entry->unit)
        return mg_arena_fail(arena, err);
    response->entries[response->n_entries++] = entry;
    return MG_OK;
}

static enum mg_code status(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    const struct mg_flight_hooks *hooks = &request->flight->hooks;
    Magic__V1__StatusResponse response = MAGIC__V1__STATUS_RESPONSE__INIT;
    struct collecting_status collecting = {.arena = &request->arena, .response = &response};

    (void)body; /* StatusRequest has no fields */
    response.entries = mg_arena_array(&request->arena, Magic__V1__StatusEntry *, STATUS_ENTRIES_MAX);
    if (!response.entries)
        return mg_arena_fail(&request->arena, err);
    if (hooks->status)
        MG_TRY(hooks->status(hooks->arg, add_status, &collecting, err));
    MG_TRY(fill_lag(request, &response.lag, err));
    return send_result(request, &response.base, err);
}

static enum mg_code set(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    const struct mg_flight_hooks *hooks = &request->flight->hooks;
    Magic__V1__SetResponse response;
    Magic__V1__SetRequest *proto = NULL;
    char value[256] = "";

    MG_TRY(
        MG_FLIGHT__UNPACK(magic__v1__set_request__descriptor, body, "the set request", &request->arena, &proto, err));
    if (!hooks->set)
        return mg_fail(err, MG_NOT_FOUND, "there is no setting %.100s", proto->name);
    MG_TRY(hooks->set(hooks->arg, proto->name, proto->value, value, err));
    magic__v1__set_response__init(&response);
    response.name = proto->name;
    response.value = value;
    return send_result(request, &response.base, err);
}

/* ---- the table ---- */

static const struct action {
    const char *type, *sentence;
    enum mg_code (*run)(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err);
} actions[] = {
    {"magic.acquire", "AcquireRequest -> Lease: hold a snapshot for a while", acquire},
    {"magic.renew", "RenewRequest -> Lease: hold it longer", renew},
    {"magic.release", "ReleaseRequest -> empty: let go of it", release},
    {"magic.tables", "ListTablesRequest -> one TableInfo per result", tables},
    {"magic.stats", "StatsRequest -> TableStats: what is known of a table's columns without reading it", stats},
    {"magic.databases", "ListDatabasesRequest -> one DatabaseInfo per result", databases},
    {"magic.status", "StatusRequest -> StatusResponse: what the server is doing", status},
    {"magic.lag", "LagRequest -> LagResponse: how far the store is behind its source", lag},
    {"magic.compact", "CompactRequest -> CompactionInfo: ask for a table, or a range of it, to be compacted",
     mg_flight__compact},
    {"magic.compactions", "CompactionsRequest -> one CompactionInfo per result", mg_flight__compactions},
    {"magic.cancel_compaction", "CancelCompactionRequest -> CompactionInfo", mg_flight__cancel_compaction},
    {"magic.set", "SetRequest -> SetResponse: change a setting while the server runs", set},
};

static enum mg_code do_action(struct mg_flight__request *request, struct mg_error *err)
{
    Arrow__Flight__Protocol__Action *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__action__descriptor, request->bytes, "the action", &request->arena,
                             &proto, err));
    for (size_t i = 0; i < MG_COUNT_OF(actions); i++)
        if (strcmp(actions[i].type, proto->type) == 0)
            return actions[i].run(request, mg_flight__bytes(proto->body), err);
    return mg_fail(err, MG_UNIMPLEMENTED, "action %.100s is not known to this version", proto->type);
}

enum mg_code mg_flight__do_action(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = do_action(&request, err);
    mg_flight__request_end(&request);
    return code;
}

enum mg_code mg_flight__list_actions(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    for (size_t i = 0; code == MG_OK && i < MG_COUNT_OF(actions); i++) {
        Arrow__Flight__Protocol__ActionType type;
        arrow__flight__protocol__action_type__init(&type);
        type.type = (char *)(uintptr_t)actions[i].type;
        type.description = (char *)(uintptr_t)actions[i].sentence;
        code = mg_flight__send(&request, &type.base, err);
    }
    mg_flight__request_end(&request);
    return code;
}
