/* plan.c -- GetFlightInfo and GetSchema: from a descriptor to a lease, splits and their tickets.
 *
 *     descriptor --read--> ScanDescriptor or SqlStatement --lease--> snapshot --resolve--> columns, predicate
 *                --plan--> key ranges --sign--> one endpoint with one ticket per range
 *
 * A plan stands under a lease: the one whose token the request names, or a new one with the server's ttl that the
 * answer tells of. When planning fails nothing is left behind.
 * A SQL statement becomes one endpoint, so that its LIMIT is exact and a client that reads only the first gets all.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connector/flight/flight_internal.h"
#include "query/sql/sql.h"

enum {
    WAIT_STEP_MS = 200,    /* how often a waiting request looks whether its client is still there */
    TICKET_OVERHEAD = 512, /* guess of a ticket's bytes beside its scan: ids, MAC, key range */
    SCHEMA_BYTES_MAX = 4 << 20,
};

/* ---- descriptors ---- */

static enum mg_code read_path(const Arrow__Flight__Protocol__FlightDescriptor *descriptor, struct mg_arena *arena,
                              struct mg_flight__command *out, struct mg_error *err)
{
    if (descriptor->n_path != 2)
        return mg_fail(err, MG_INVALID, "a path has two parts, database and table, this has %zu", descriptor->n_path);
    Magic__V1__ScanDescriptor *scan = mg_arena_new(arena, Magic__V1__ScanDescriptor);
    if (!scan)
        return mg_arena_fail(arena, err);
    magic__v1__scan_descriptor__init(scan);
    scan->database = descriptor->path[0];
    scan->table = descriptor->path[1];
    out->scan = scan;
    return MG_OK;
}

static enum mg_code read_command(struct mg_slice bytes, struct mg_arena *arena, struct mg_flight__command *out,
                                 struct mg_error *err)
{
    Arrow__Flight__Protocol__Any *any = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__any__descriptor, bytes, "the command", arena, &any, err));
    const char *slash = strrchr(any->type_url, '/');
    const char *type = slash ? slash + 1 : any->type_url;
    if (strcmp(type, "magic.v1.ScanDescriptor") == 0)
        return MG_FLIGHT__UNPACK(magic__v1__scan_descriptor__descriptor, mg_flight__bytes(any->value),
                                 "the scan descriptor", arena, &out->scan, err);
    if (strcmp(type, "magic.v1.SqlStatement") == 0)
        return MG_FLIGHT__UNPACK(magic__v1__sql_statement__descriptor, mg_flight__bytes(any->value),
                                 "the SQL statement", arena, &out->sql, err);
    if (type[0] == '\0')
        return mg_fail(err, MG_INVALID,
                       "a command is a google.protobuf.Any of magic.v1.ScanDescriptor or "
                       "magic.v1.SqlStatement; this names no type");
    return mg_fail(err, MG_UNIMPLEMENTED,
                   "command %.200s is not known to this version; it takes "
                   "magic.v1.ScanDescriptor and magic.v1.SqlStatement",
                   type);
}

enum mg_code mg_flight__command_read(const Arrow__Flight__Protocol__FlightDescriptor *descriptor,
                                     struct mg_arena *arena, struct mg_flight__command *out, struct mg_error *err)
{
    *out = (struct mg_flight__command){0};
    switch (descriptor->type) {
    case ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__PATH:
        return read_path(descriptor, arena, out, err);
    case ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD:
        return read_command(mg_flight__bytes(descriptor->cmd), arena, out, err);
    default:
        return mg_fail(err, MG_INVALID, "a descriptor is a PATH [database, table] or a CMD, not type %d",
                       (int)descriptor->type);
    }
}

/* ---- leases ---- */

static enum mg_code read_choice(const Magic__V1__SnapshotRef *ref, struct mg_snapshot_choice *out, struct mg_error *err)
{
    *out = (struct mg_snapshot_choice){.choice = MG_CHOICE_LATEST};
    switch (ref ? ref->snapshot_case : MAGIC__V1__SNAPSHOT_REF__SNAPSHOT__NOT_SET) {
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT__NOT_SET:
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_LATEST: return MG_OK;
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_LEASE:
        out->choice = MG_CHOICE_LEASE;
        out->token = mg_flight__bytes(ref->lease);
        return MG_OK;
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_AS_OF_TS:
        out->choice = MG_CHOICE_AS_OF;
        out->ts = ref->as_of_ts;
        return MG_OK;
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_WAIT_TS:
        out->choice = MG_CHOICE_WAIT;
        out->ts = ref->wait_ts;
        out->wait_ms = ref->wait_ms;
        return MG_OK;
    case MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_EPOCH:
        out->choice = MG_CHOICE_EPOCH;
        out->epoch = ref->epoch;
        return MG_OK;
    default: return mg_fail(err, MG_INVALID, "unknown choice of a snapshot (%d)", (int)ref->snapshot_case);
    }
}

enum mg_code mg_flight__lease_take(struct mg_flight__request *request, const Magic__V1__SnapshotRef *ref,
                                   const char *holder, int64_t ttl_ms, bool share, struct mg_flight__lease *out,
                                   struct mg_error *err)
{
    struct mg_latch *latch = request->flight->latch;
    struct mg_snapshot_choice choice;

    MG_TRY(read_choice(ref, &choice, err));
    choice.share = share;
    *out = (struct mg_flight__lease){.own = choice.choice != MG_CHOICE_LEASE};
    int64_t left_ms = choice.wait_ms;
    for (;;) { /* in steps, so that a client that went away does not hold a worker */
        choice.wait_ms = MG_MIN(left_ms, (int64_t)WAIT_STEP_MS);
        enum mg_code code = mg_latch_acquire(latch, &choice, holder, ttl_ms, &out->lease, &out->snapshot, err);
        left_ms -= choice.wait_ms;
        if (code != MG_SNAPSHOT_NOT_YET || choice.choice != MG_CHOICE_WAIT || left_ms <= 0)
            return code;
        if (mg_grpc_call_cancelled(request->call))
            return mg_fail(err, MG_CANCELLED, "the reader went away while it waited for commit_ts %" PRIu64, choice.ts);
    }
}

void mg_flight__lease_drop(struct mg_flight__request *request, struct mg_flight__lease *lease, bool told)
{
    if (!lease->snapshot)
        return;
    request->flight->engine->ops->snapshot_unref(lease->snapshot);
    lease->snapshot = NULL;
    if (lease->own && !told) {
        enum mg_code code = mg_latch_release(request->flight->latch,
                                             MG_SLICE(lease->lease.token, lease->lease.token_size), NULL);
        mg_assert(code == MG_OK || code == MG_NO_MEMORY); /* then it runs out by itself */
    }
}

enum mg_code mg_flight__snapshot_proto(const struct mg_snapshot *snapshot, struct mg_arena *arena,
                                       Magic__V1__Snapshot **out, struct mg_error *err)
{
    struct mg_engine *engine = snapshot->engine;
    struct mg_source_position *positions = mg_arena_array(arena, struct mg_source_position, MG_SOURCES_MAX);
    Magic__V1__Snapshot *proto = mg_arena_new(arena, Magic__V1__Snapshot);

    if (!positions || !proto)
        return mg_arena_fail(arena, err);
    magic__v1__snapshot__init(proto);
    proto->epoch = engine->ops->snapshot_epoch(snapshot);
    proto->store_id = engine->ops->store_id(engine);
    uint32_t count = MG_MIN(engine->ops->snapshot_watermarks(snapshot, positions, MG_SOURCES_MAX),
                            (uint32_t)MG_SOURCES_MAX);
    proto->watermarks = mg_arena_array(arena, Magic__V1__Watermark *, (size_t)count + 1);
    if (!proto->watermarks)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        Magic__V1__Watermark *watermark = mg_arena_new(arena, Magic__V1__Watermark);
        if (!watermark)
            return mg_arena_fail(arena, err);
        magic__v1__watermark__init(watermark);
        watermark->source = positions[i].source;
        watermark->ts = positions[i].watermark;
        proto->watermarks[proto->n_watermarks++] = watermark;
    }
    *out = proto;
    return MG_OK;
}

/* ---- SQL ---- */

/* What a statement becomes: a scan (with its table's schema held), or a statement to be shown. */
struct sql_plan {
    bool show;
    bool no_rows; /* LIMIT 0 */
    Magic__V1__ScanDescriptor scan;
};

static enum mg_code sql_text_of(struct mg_slice from, struct mg_arena *arena, char **out, struct mg_error *err)
{
    *out = mg_arena_text(arena, from);
    return *out ? MG_OK : mg_arena_fail(arena, err);
}

static enum mg_code plan_select(const struct mg_sql_statement *statement, const char *default_database,
                                const struct mg_snapshot *snapshot, struct mg_arena *arena, struct sql_plan *out,
                                struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = NULL;
    struct mg_error local = MG_ERROR_INIT;
    struct mg_slice database = statement->database.size ? statement->database : mg_slice_text(default_database);

    if (database.size == 0)
        return mg_fail(err, MG_INVALID, "no database is chosen: write database.%.*s",
                       (int)MG_MIN(statement->table.size, (size_t)150), (const char *)statement->table.data);
    MG_TRY(sql_text_of(database, arena, &out->scan.database, err));
    MG_TRY(sql_text_of(statement->table, arena, &out->scan.table, err));
    enum mg_code code = MG_NOT_FOUND;
    if (!mg_flight__is_loading(database))
        code = snapshot->engine->ops->table_by_name(snapshot, database, statement->table, &schema, &local);
    if (code == MG_NOT_FOUND)
        return mg_fail(err, MG_NOT_FOUND, "there is no table %.150s.%.150s", out->scan.database, out->scan.table);
    if (code != MG_OK)
        return mg_fail(err, code, "%s", local.text);
    MG_TRY(mg_flight__table_check(snapshot, schema, arena, err));

    if (!statement->all_columns) {
        out->scan.columns = mg_arena_array(arena, char *, (size_t)statement->column_count + 1);
        if (!out->scan.columns)
            return mg_arena_fail(arena, err);
        for (uint32_t i = 0; i < statement->column_count; i++)
            MG_TRY(sql_text_of(statement->columns[i], arena, &out->scan.columns[i], err));
        out->scan.n_columns = statement->column_count;
    }
    if (statement->where) {
        MG_TRY(mg_sql_bind(statement->where, schema, arena, err));
        MG_TRY(mg_flight__predicate_write(statement->where, arena, &out->scan.predicate, err));
    }
    out->scan.limit = statement->has_limit ? statement->limit : 0;
    out->no_rows = statement->has_limit && statement->limit == 0;
    out->scan.splits_wanted = 1;
    return MG_OK;
}

static enum mg_code plan_sql(const Magic__V1__SqlStatement *sql, const struct mg_snapshot *snapshot,
                             struct mg_arena *arena, struct sql_plan *out, struct mg_error *err)
{
    struct mg_sql_statement statement;

    *out = (struct sql_plan){0};
    magic__v1__scan_descriptor__init(&out->scan);
    MG_TRY(mg_sql_parse(mg_slice_text(sql->sql), arena, &statement, err));
    out->show = statement.kind != MG_SQL_SELECT;
    return out->show ? MG_OK : plan_select(&statement, sql->database, snapshot, arena, out, err);
}

/* ---- tickets and endpoints ---- */

/* What all tickets of a plan share, and the answer that grows. The answer is the FlightInfo's bytes: first the
 * endpoints, as they are made, then all other fields (protobuf takes fields in any order), so that tickets with big
 * predicates are held once. */
struct planning {
    struct mg_flight__request *request;
    const struct mg_flight__lease *lease;
    Magic__V1__TicketBody body;
    Arrow__Flight__Protocol__FlightInfo info; /* without its endpoints */
    struct mg_buffer answer, ticket;
    size_t reserved_bytes; /* in the budget, for answer and ticket */
};

static void planning_init(struct planning *planning, struct mg_flight__request *request,
                          const struct mg_flight__lease *lease)
{
    struct mg_engine *engine = request->flight->engine;

    *planning = (struct planning){.request = request, .lease = lease};
    magic__v1__ticket_body__init(&planning->body);
    planning->body.store_id = engine->ops->store_id(engine);
    planning->body.epoch = lease->lease.epoch;
    planning->body.expires_ms = lease->lease.expires_ms;
    planning->body.lease = lease->lease.number;
    arrow__flight__protocol__flight_info__init(&planning->info);
    planning->info.total_records = -1;
    planning->info.total_bytes = -1;
    mg_buffer_init(&planning->answer, MG_FLIGHT__ANSWER_MAX + MG_FLIGHT__REQUEST_MAX + SCHEMA_BYTES_MAX);
    mg_buffer_init(&planning->ticket, 2 * (size_t)MG_FLIGHT__TICKET_MAX);
}

static void planning_clear(struct planning *planning)
{
    mg_buffer_clear(&planning->answer);
    mg_buffer_clear(&planning->ticket);
    mg_budget_release(planning->request->flight->budget, planning->reserved_bytes);
    planning->reserved_bytes = 0;
}

static enum mg_code add_endpoint(struct planning *planning, const struct mg_key_range *range, struct mg_error *err)
{
    Magic__V1__KeyRange range_proto = MAGIC__V1__KEY_RANGE__INIT;
    Arrow__Flight__Protocol__FlightInfo one = ARROW__FLIGHT__PROTOCOL__FLIGHT_INFO__INIT;
    Arrow__Flight__Protocol__FlightEndpoint endpoint = ARROW__FLIGHT__PROTOCOL__FLIGHT_ENDPOINT__INIT;
    Arrow__Flight__Protocol__Ticket ticket = ARROW__FLIGHT__PROTOCOL__TICKET__INIT;
    Arrow__Flight__Protocol__Timestamp until = ARROW__FLIGHT__PROTOCOL__TIMESTAMP__INIT;
    Arrow__Flight__Protocol__FlightEndpoint *endpoints[1] = {&endpoint};
    struct mg_slice bytes;

    if (range) {
        range_proto.low = mg_flight__binary(range->low);
        range_proto.high = mg_flight__binary(range->high);
        planning->body.range = &range_proto;
    }
    MG_TRY(mg_flight__ticket_write(planning->request->flight->latch, &planning->body, &planning->ticket, &bytes, err));
    planning->body.range = NULL;
    if (bytes.size > MG_FLIGHT__TICKET_MAX || planning->answer.size + bytes.size > MG_FLIGHT__ANSWER_MAX)
        return mg_fail(err, MG_TOO_BIG,
                       "the tickets of this plan pass %d bytes; ask for fewer splits or a smaller "
                       "predicate",
                       (int)MG_FLIGHT__ANSWER_MAX);
    ticket.ticket = mg_flight__binary(bytes);
    until.seconds = planning->lease->lease.expires_ms / 1000;
    until.nanos = (int32_t)(planning->lease->lease.expires_ms % 1000 * 1000000);
    endpoint.ticket = &ticket;
    endpoint.expiration_time = &until;
    one.endpoint = endpoints;
    one.n_endpoint = 1;
    return mg_flight__pack_into(&one.base, &planning->answer, err);
}

/* Account the answer before it grows. */
static enum mg_code expect_tickets(struct planning *planning, size_t ticket_bytes, size_t count, struct mg_error *err)
{
    size_t bytes = ticket_bytes * (count + 3); /* two more in the ticket buffer, one for growth */

    MG_TRY(mg_budget_reserve(planning->request->flight->budget, bytes, err));
    planning->reserved_bytes += bytes;
    return mg_buffer_reserve(&planning->answer, ticket_bytes * count, err);
}

static void free_answer(void *arg)
{
    struct mg_buffer *answer = arg;

    mg_buffer_clear(answer);
    free(answer);
}

static enum mg_code send_answer(struct planning *planning, struct mg_error *err)
{
    MG_TRY(mg_flight__pack_into(&planning->info.base, &planning->answer, err));
    struct mg_buffer *answer = malloc(sizeof *answer);
    if (!answer)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an answer");
    *answer = planning->answer; /* handed over */
    mg_buffer_init(&planning->answer, answer->max);
    struct iovec piece = {.iov_base = answer->data, .iov_len = answer->size};
    return mg_grpc_call_send(planning->request->call, &piece, 1, free_answer, answer, err);
}

/* The encapsulated schema message, in the arena. */
static enum mg_code encode_schema(struct mg_arena *arena, const struct mg_field *fields, uint32_t count,
                                  struct mg_slice *out, struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer encoded;

    mg_buffer_init(&encoded, SCHEMA_BYTES_MAX);
    MG_TRY(mg_ipc_encode_schema(fields, count, true, &encoded, err));
    *out = mg_arena_copy(arena, mg_buffer_slice(&encoded));
    return out->data ? MG_OK : mg_arena_fail(arena, err);
}

static enum mg_code put_schema(struct planning *planning, const struct mg_field *fields, uint32_t count,
                               struct mg_error *err)
{
    struct mg_slice schema;

    MG_TRY(encode_schema(&planning->request->arena, fields, count, &schema, err));
    planning->info.schema = mg_flight__binary(schema);
    return MG_OK;
}

/* app_metadata: what the plan stands on, so that a client can keep the lease and name the snapshot. */
static enum mg_code put_plan(struct planning *planning, struct mg_error *err)
{
    struct mg_arena *arena = &planning->request->arena;
    const struct mg_lease *lease = &planning->lease->lease;
    Magic__V1__ScanPlan plan = MAGIC__V1__SCAN_PLAN__INIT;
    struct mg_slice bytes;

    MG_TRY(mg_flight__snapshot_proto(planning->lease->snapshot, arena, &plan.snapshot, err));
    plan.lease = mg_flight__binary(MG_SLICE(lease->token, lease->token_size));
    plan.lease_expires_ms = lease->expires_ms;
    plan.schema_version = planning->body.schema_version;
    plan.table_id = planning->body.table_id;
    MG_TRY(mg_flight__pack(&plan.base, arena, &bytes, err));
    planning->info.app_metadata = mg_flight__binary(bytes);
    return MG_OK;
}

static uint32_t splits_wanted(const struct mg_flight *flight, const Magic__V1__ScanDescriptor *descriptor,
                              size_t ticket_bytes)
{
    if (descriptor->aggregation && !descriptor->aggregation->partial)
        return 1; /* the whole comes from one */
    uint32_t wanted = descriptor->splits_wanted ? descriptor->splits_wanted : mg_flight_splits(flight);
    uint32_t fit = (uint32_t)(MG_FLIGHT__ANSWER_MAX / ticket_bytes);

    return MG_MAX(MG_MIN(MG_MIN(wanted, (uint32_t)MG_FLIGHT_SPLITS_MAX), fit), 1u);
}

static enum mg_code put_totals(struct planning *planning, const struct mg_flight__scan *scan, struct mg_error *err)
{
    struct mg_engine *engine = planning->request->flight->engine;
    struct mg_table_stats stats;

    if (scan->predicate || scan->limit || scan->aggregate)
        return MG_OK; /* unknown: -1 */
    MG_TRY(engine->ops->stats(planning->lease->snapshot, scan->schema->table_id, &stats, err));
    planning->info.total_records = (int64_t)stats.row_count;
    planning->info.total_bytes = (int64_t)stats.size_bytes;
    return MG_OK;
}

/* no_rows: one endpoint that reads nothing. */
static enum mg_code plan_scan(struct planning *planning, const Magic__V1__ScanDescriptor *descriptor,
                              struct mg_flight__scan *scan, bool no_rows, struct mg_error *err)
{
    struct mg_flight *flight = planning->request->flight;
    struct mg_arena *arena = &planning->request->arena;
    static const uint8_t lowest[1] = {0};
    struct mg_key_range nothing = {.low = MG_SLICE(lowest, 1), .high = MG_SLICE(lowest, 1)};
    struct mg_key_range *ranges = &nothing;
    uint32_t range_count = 1;

    MG_TRY(mg_flight__scan_resolve(scan, planning->lease->snapshot, descriptor, arena, err));
    Magic__V1__ScanDescriptor resolved = *descriptor; /* as the tickets carry it */
    resolved.database = scan->schema->database;
    resolved.table = scan->schema->table;
    resolved.columns = (char **)(uintptr_t)scan->names;
    resolved.n_columns = scan->column_count;
    /* a table whose columns are all hidden is read as rows alone */
    resolved.no_columns = !scan->aggregate && (scan->no_columns || scan->column_count == 0);
    resolved.snapshot = NULL;
    resolved.splits_wanted = 0;
    planning->body.scan = &resolved;
    planning->body.table_id = scan->schema->table_id;
    planning->body.schema_version = scan->schema->version;

    size_t ticket_bytes = protobuf_c_message_get_packed_size(&planning->body.base) + TICKET_OVERHEAD;
    if (!no_rows) {
        uint32_t wanted = splits_wanted(flight, descriptor, ticket_bytes);
        MG_TRY(flight->engine->ops->plan_splits(planning->lease->snapshot, scan->schema->table_id, wanted,
                                                mg_flight_splits_force(flight), arena, &ranges, &range_count, err));
    }
    MG_TRY(expect_tickets(planning, ticket_bytes, range_count, err));
    for (uint32_t i = 0; i < range_count; i++)
        MG_TRY(add_endpoint(planning, &ranges[i], err));
    planning->body.scan = NULL;
    MG_TRY(put_totals(planning, scan, err));
    return put_schema(planning, scan->fields, scan->field_count, err);
}

static enum mg_code plan_show(struct planning *planning, const Magic__V1__SqlStatement *sql, struct mg_error *err)
{
    struct mg_arena *arena = &planning->request->arena;
    Magic__V1__SqlStatement bare = *sql;
    struct mg_field *fields = NULL;
    struct mg_slice bytes;
    uint32_t count = 0;

    bare.snapshot = NULL;
    MG_TRY(mg_flight__show_fields(sql->sql, arena, &fields, &count, err));
    MG_TRY(mg_flight__pack(&bare.base, arena, &bytes, err));
    planning->body.show = mg_flight__binary(bytes);
    MG_TRY(expect_tickets(planning, bytes.size + TICKET_OVERHEAD, 1, err));
    MG_TRY(add_endpoint(planning, NULL, err));
    return put_schema(planning, fields, count, err);
}

static enum mg_code plan_command(struct planning *planning, const struct mg_flight__command *command,
                                 struct mg_flight__scan *scan, struct mg_error *err)
{
    struct sql_plan sql;

    if (command->scan)
        return plan_scan(planning, command->scan, scan, false, err);
    MG_TRY(plan_sql(command->sql, planning->lease->snapshot, &planning->request->arena, &sql, err));
    if (sql.show)
        return plan_show(planning, command->sql, err);
    return plan_scan(planning, &sql.scan, scan, sql.no_rows, err);
}

static enum mg_code plan_info(struct mg_flight__request *request, Arrow__Flight__Protocol__FlightDescriptor *descriptor,
                              struct mg_flight__lease *lease, struct mg_flight__scan *scan, struct mg_error *err)
{
    struct mg_flight__command command;
    struct planning planning;

    MG_TRY(mg_flight__command_read(descriptor, &request->arena, &command, err));
    MG_TRY(mg_flight__lease_take(request, command.scan ? command.scan->snapshot : command.sql->snapshot,
                                 mg_grpc_call_peer(request->call), 0, true, lease, err));
    planning_init(&planning, request, lease);
    enum mg_code code = plan_command(&planning, &command, scan, err);
    if (code == MG_OK)
        code = put_plan(&planning, err);
    planning.info.flight_descriptor = descriptor;
    if (code == MG_OK)
        code = send_answer(&planning, err);
    planning_clear(&planning);
    return code;
}

static enum mg_code get_flight_info(struct mg_flight__request *request, struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightDescriptor *descriptor = NULL;
    struct mg_flight__lease lease = {.snapshot = NULL};
    struct mg_flight__scan scan = {0};

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__flight_descriptor__descriptor, request->bytes, "the descriptor",
                             &request->arena, &descriptor, err));
    enum mg_code code = plan_info(request, descriptor, &lease, &scan, err);
    mg_flight__scan_clear(&scan);
    mg_flight__lease_drop(request, &lease, code == MG_OK);
    return code;
}

enum mg_code mg_flight__get_flight_info(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = get_flight_info(&request, err);
    mg_flight__request_end(&request);
    return code;
}

/* ---- GetSchema ---- */

static enum mg_code send_schema_of(struct mg_flight__request *request, const struct mg_flight__command *command,
                                   const struct mg_flight__lease *lease, struct mg_flight__scan *scan,
                                   struct mg_error *err)
{
    Arrow__Flight__Protocol__SchemaResult result = ARROW__FLIGHT__PROTOCOL__SCHEMA_RESULT__INIT;
    const Magic__V1__ScanDescriptor *descriptor = command->scan;
    struct mg_arena *arena = &request->arena;
    struct mg_field *fields = NULL;
    struct mg_slice schema;
    struct sql_plan sql = {.show = false};
    uint32_t count = 0;

    if (!descriptor) {
        MG_TRY(plan_sql(command->sql, lease->snapshot, arena, &sql, err));
        descriptor = &sql.scan;
    }
    if (sql.show) {
        MG_TRY(mg_flight__show_fields(command->sql->sql, arena, &fields, &count, err));
    } else {
        MG_TRY(mg_flight__scan_resolve(scan, lease->snapshot, descriptor, arena, err));
        fields = scan->fields;
        count = scan->field_count;
    }
    MG_TRY(encode_schema(arena, fields, count, &schema, err));
    result.schema = mg_flight__binary(schema);
    return mg_flight__send(request, &result.base, err);
}

static enum mg_code get_schema(struct mg_flight__request *request, struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightDescriptor *descriptor = NULL;
    struct mg_flight__command command;
    struct mg_flight__lease lease = {.snapshot = NULL};
    struct mg_flight__scan scan = {0};

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__flight_descriptor__descriptor, request->bytes, "the descriptor",
                             &request->arena, &descriptor, err));
    MG_TRY(mg_flight__command_read(descriptor, &request->arena, &command, err));
    enum mg_code code = mg_flight__lease_take(request, command.scan ? command.scan->snapshot : command.sql->snapshot,
                                              mg_grpc_call_peer(request->call), 0, true, &lease, err);
    if (code == MG_OK)
        code = send_schema_of(request, &command, &lease, &scan, err);
    mg_flight__scan_clear(&scan);
    mg_flight__lease_drop(request, &lease, false);
    return code;
}

enum mg_code mg_flight__get_schema(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = get_schema(&request, err);
    mg_flight__request_end(&request);
    return code;
}
