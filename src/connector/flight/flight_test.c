/* flight_test.c -- the service over a real socket: each failure has its code, a ticket that this store did sign is
 * checked all the same, and what became known of a table reaches readers of older snapshots.
 * SPDX-License-Identifier: Apache-2.0 */
#include "connector/flight/flight_testing.h"

#define METHOD(name) "/arrow.flight.protocol.FlightService/" name

enum { STREAM_BYTES_MAX = 1 << 20 };

struct world {
    struct flight_service service;
    struct mg_clock_manual clock;
    struct mg_arena arena;
    struct mg_buffer stream;  /* how the last DoGet began */
    struct mg_schema *schema; /* shop.t: id bigint key, v int */
};

/* ---- a store with one table of 5,000 rows ---- */

static void make_schema(struct world *world)
{
    const char *const names[] = {"id", "v"};
    const enum mg_type_id types[] = {MG_TYPE_INT64, MG_TYPE_INT32};
    struct mg_schema *schema = mg_schema_new();
    struct mg_error err;

    assert_ok(world->service.engine->ops->reserve(world->service.engine, &schema->table_id, &schema->version, &err));
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("shop"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("t"), &err));
    assert_ok(mg_schema_text(&schema->source, mg_slice_text("tidb"), &err));
    for (int i = 0; i < 2; i++) {
        struct mg_column *column;
        assert_ok(mg_schema_add_column(schema, &column, &err));
        assert_ok(mg_schema_text(&column->name, mg_slice_text(names[i]), &err));
        assert_ok(mg_schema_text(&column->source_type, mg_slice_text("int"), &err));
        column->id = i + 1;
        column->type.id = types[i];
        column->missing.is_null = true;
        column->nullable = i > 0;
    }
    schema->key_count = 1;
    assert_ok(mg_schema_seal(schema, &err));
    world->schema = schema;
}

static void fill(struct world *world)
{
    enum { ROWS = 5000 };
    struct mg_schema_change database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "shop"};
    struct mg_type types[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}};
    uint8_t *ops = calloc(ROWS, 1);
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    make_schema(world);
    struct mg_schema_change table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = world->schema};
    assert_ok(mg_latch_writer_begin(world->service.writer, 1000, &epoch, &err));
    assert_ok(world->service.engine->ops->change_schema(epoch, &database, &err));
    assert_ok(world->service.engine->ops->change_schema(epoch, &table, &err));
    assert_ok(mg_latch_writer_publish(world->service.writer, 10, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, &err));
    for (int i = 0; i < ROWS; i++) {
        assert_ok(mg_builder_int(&builder, 0, i, &err));
        assert_ok(mg_builder_int(&builder, 1, i % 10, &err));
    }
    assert_ok(mg_batch_builder_finish(&builder, ROWS, &rows, &err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {
        .table_id = world->schema->table_id, .schema_version = world->schema->version, .rows = rows, .ops = ops};
    assert_ok(mg_latch_writer_begin(world->service.writer, 1000, &epoch, &err));
    assert_ok(world->service.engine->ops->put(epoch, &changes, &err));
    assert_ok(mg_latch_writer_publish(world->service.writer, 20, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(world->service.engine->ops->wait(world->service.engine, number, 10000, &err));
    mg_batch_unref(rows);
    free(ops);
}

static void open_service(struct world *world)
{
    struct mg_error err;

    flight_service_open(&world->service, &world->clock.clock, 1000);
    assert_ok(mg_latch_writer_open(world->service.latch, "tidb", &world->service.writer, NULL, &err));
}

/* The initial state of a test is its engine. */
static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    flight_service_init(&world->service, *state, 256 << 20);
    mg_arena_init(&world->arena, 64 << 20);
    mg_buffer_init(&world->stream, STREAM_BYTES_MAX);
    mg_clock_manual_init(&world->clock, 1700000000000);
    open_service(world);
    fill(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    flight_service_close(&world->service);
    mg_schema_unref(world->schema);
    mg_arena_clear(&world->arena);
    mg_buffer_clear(&world->stream);
    flight_service_clear(&world->service);
    free(world);
    return 0;
}

/* ---- calls ---- */

static struct mg_slice pack(struct world *world, const ProtobufCMessage *message)
{
    struct mg_slice bytes;
    struct mg_error err;

    assert_ok(mg_flight__pack(message, &world->arena, &bytes, &err));
    return bytes;
}

/* Read a whole stream; counts messages, and keeps the bytes of the first ones. */
static enum mg_code get(struct world *world, struct mg_slice ticket_bytes, unsigned *out_messages, struct mg_error *err)
{
    Arrow__Flight__Protocol__Ticket ticket = ARROW__FLIGHT__PROTOCOL__TICKET__INIT;
    struct mg_slice message;

    *err = MG_ERROR_INIT;
    ticket.ticket = mg_flight__binary(ticket_bytes);
    struct mg_slice request = pack(world, &ticket.base);
    struct iovec piece = {.iov_base = (void *)(uintptr_t)request.data, .iov_len = request.size};
    MG_TRY(mg_grpc_client_begin(world->service.client, METHOD("DoGet"), 10000, err));
    enum mg_code code = mg_grpc_client_send(world->service.client, &piece, 1, err);
    if (code == MG_OK)
        code = mg_grpc_client_half_close(world->service.client, err);
    *out_messages = 0;
    mg_buffer_reset(&world->stream);
    while (code == MG_OK && (code = mg_grpc_client_receive(world->service.client, &message, err)) == MG_OK) {
        ++*out_messages;
        if (world->stream.size + message.size <= STREAM_BYTES_MAX)
            code = mg_buffer_append(&world->stream, message.data, message.size, err);
    }
    mg_grpc_client_end(world->service.client);
    return code == MG_NOT_FOUND && mg_grpc_client_status(world->service.client) == MG_GRPC_OK ? MG_OK : code;
}

static struct mg_slice signed_ticket(struct world *world, const Magic__V1__TicketBody *body)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer scratch;
    struct mg_slice ticket;
    struct mg_error err;

    mg_buffer_init(&scratch, 16 << 20);
    assert_ok(mg_flight__ticket_write(world->service.latch, body, &scratch, &ticket, &err));
    return mg_arena_copy(&world->arena, ticket);
}

static char *const both_columns[] = {(char[]){"id"}, (char[]){"v"}};

/* A good ticket's body under a new lease; tests spoil it. */
static Magic__V1__TicketBody good_body(struct world *world, Magic__V1__ScanDescriptor *scan)
{
    struct mg_snapshot_choice latest = {.choice = MG_CHOICE_LATEST};
    Magic__V1__TicketBody body = MAGIC__V1__TICKET_BODY__INIT;
    struct mg_lease lease;
    struct mg_error err;

    assert_ok(mg_latch_acquire(world->service.latch, &latest, "", 0, &lease, NULL, &err));
    magic__v1__scan_descriptor__init(scan);
    scan->columns = (char **)(uintptr_t)both_columns;
    scan->n_columns = 2;
    body.store_id = world->service.engine->ops->store_id(world->service.engine);
    body.epoch = lease.epoch;
    body.lease = lease.number;
    body.expires_ms = lease.expires_ms;
    body.table_id = world->schema->table_id;
    body.schema_version = world->schema->version;
    body.scan = scan;
    return body;
}

/* ---- tests ---- */

static void a_signed_ticket_is_checked_all_the_same(void **state)
{
    struct world *world = *state;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__TicketBody good = good_body(world, &scan), body;
    unsigned messages = 0;
    struct mg_error err;

    assert_ok(get(world, signed_ticket(world, &good), &messages, &err));
    assert_true(messages >= 2);

    body = good;
    body.store_id++;
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.table_id += 1000;
    assert_code(MG_NOT_FOUND, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.table_id = 0;
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.schema_version++;
    assert_code(MG_SCHEMA_CHANGED, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.scan = NULL;
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    body.show = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(char[]){"\xff\xff\xff"}};
    assert_code(MG_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.epoch--;
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    body = good;
    body.lease ^= (uint64_t)1 << 60; /* of a process that never was: the ticket's own time decides */
    assert_ok(get(world, signed_ticket(world, &body), &messages, &err));
    body.expires_ms = 0;
    assert_code(MG_SNAPSHOT_EXPIRED, get(world, signed_ticket(world, &body), &messages, &err));
    body.expires_ms = INT64_MAX;
    body.epoch = UINT64_MAX;
    assert_code(MG_SNAPSHOT_NOT_YET, get(world, signed_ticket(world, &body), &messages, &err));
}

static void a_signed_scan_is_checked_all_the_same(void **state)
{
    struct world *world = *state;
    Magic__V1__ScanDescriptor scan, spoiled;
    Magic__V1__TicketBody body = good_body(world, &scan);
    Magic__V1__KeyRange range = MAGIC__V1__KEY_RANGE__INIT;
    Magic__V1__Expr node = MAGIC__V1__EXPR__INIT;
    uint8_t *long_key = calloc(1, MG_KEY_BYTES_MAX + 1);
    unsigned messages = 0;
    struct mg_error err;

    body.scan = &spoiled;
    spoiled = scan;
    char *unknown[] = {(char[]){"id"}, (char[]){"nothing"}};
    spoiled.columns = unknown;
    assert_code(MG_NOT_FOUND, get(world, signed_ticket(world, &body), &messages, &err));
    spoiled = scan;
    spoiled.no_columns = true;
    assert_code(MG_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    spoiled = scan;
    spoiled.profile = (Magic__V1__OutputProfile)7;
    assert_code(MG_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    spoiled = scan;
    spoiled.predicate = &node;
    assert_code(MG_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    spoiled = scan;
    char **many = mg_arena_array(&world->arena, char *, MG_COLUMNS_MAX + 1);
    for (int i = 0; i <= MG_COLUMNS_MAX; i++)
        many[i] = both_columns[0];
    spoiled.columns = many;
    spoiled.n_columns = MG_COLUMNS_MAX + 1;
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    spoiled.n_columns = MG_COLUMNS_MAX; /* the same column, over and over, is allowed */
    assert_ok(get(world, signed_ticket(world, &body), &messages, &err));

    body.scan = &scan;
    body.range = &range;
    range.low = (ProtobufCBinaryData){.len = MG_KEY_BYTES_MAX + 1, .data = long_key};
    assert_code(MG_TICKET_INVALID, get(world, signed_ticket(world, &body), &messages, &err));
    range.low = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(char[]){"\xff\xff\xff"}}; /* above every key */
    assert_ok(get(world, signed_ticket(world, &body), &messages, &err));
    assert_int_equal(messages, 1);                                                   /* the schema */
    range.high = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)(char[]){"\0"}}; /* upside down */
    assert_ok(get(world, signed_ticket(world, &body), &messages, &err));
    assert_int_equal(messages, 1);
    free(long_key);
}

static void a_whole_stream_says_what_it_took(void **state)
{
    struct world *world = *state;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__TicketBody body = good_body(world, &scan);
    unsigned long long rows, bytes, blocks, skipped, us;
    unsigned messages = 0;
    struct mg_error err;

    assert_ok(get(world, signed_ticket(world, &body), &messages, &err));
    const char *text = mg_grpc_client_header(world->service.client, "magic-scan");
    assert_non_null(text);
    assert_int_equal(
        sscanf(text, "rows=%llu bytes=%llu blocks=%llu skipped=%llu us=%llu", &rows, &bytes, &blocks, &skipped, &us),
        5);
    assert_int_equal(rows, 5000);
    assert_true(bytes >= 5000 * 12 && bytes <= 5000 * 12 + 4096);
    assert_int_equal(skipped, 0);

    body.schema_version++;
    assert_code(MG_SCHEMA_CHANGED, get(world, signed_ticket(world, &body), &messages, &err));
    assert_null(mg_grpc_client_header(world->service.client, "magic-scan"));
}

static void tickets_end_with_their_lease(void **state)
{
    struct world *world = *state;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__TicketBody body = good_body(world, &scan);
    unsigned messages = 0;
    struct mg_error err;

    mg_clock_manual_advance(&world->clock, 1000 * 1000000);
    assert_code(MG_SNAPSHOT_EXPIRED, get(world, signed_ticket(world, &body), &messages, &err));
    assert_int_equal(messages, 0);
    assert_int_equal(mg_grpc_client_status(world->service.client), MG_GRPC_INVALID_ARGUMENT);
}

static void a_mac_covers_every_byte(void **state)
{
    struct world *world = *state;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__TicketBody body = good_body(world, &scan);
    struct mg_slice ticket = signed_ticket(world, &body);
    unsigned messages = 0;
    struct mg_error err;

    for (size_t at = 0; at < ticket.size; at++) {
        uint8_t *changed = mg_arena_alloc(&world->arena, ticket.size);
        memcpy(changed, ticket.data, ticket.size);
        changed[at] ^= 0x41;
        assert_code(MG_TICKET_INVALID, get(world, MG_SLICE(changed, ticket.size), &messages, &err));
    }
    assert_code(MG_TICKET_INVALID, get(world, MG_SLICE(NULL, 0), &messages, &err));
}

static enum mg_code unary(struct world *world, const char *method, const ProtobufCMessage *message,
                          struct mg_error *err)
{
    struct mg_slice response;

    *err = MG_ERROR_INIT;
    return mg_grpc_client_unary(world->service.client, method, 10000, pack(world, message), &response, err);
}

static void codes_of_other_calls(void **state)
{
    struct world *world = *state;
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    Arrow__Flight__Protocol__Action request;
    char *path[] = {(char[]){"shop"}, (char[]){"t"}}, *wrong[] = {(char[]){"shop"}, (char[]){"u"}};
    struct mg_error err;

    arrow__flight__protocol__action__init(&request);
    assert_code(MG_INVALID, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__PATH;
    descriptor.path = path;
    descriptor.n_path = 2;
    assert_ok(unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    assert_ok(unary(world, METHOD("GetSchema"), &descriptor.base, &err));
    descriptor.path = wrong;
    assert_code(MG_NOT_FOUND, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    assert_code(MG_NOT_FOUND, unary(world, METHOD("GetSchema"), &descriptor.base, &err));
    assert_code(MG_UNIMPLEMENTED, unary(world, METHOD("PollFlightInfo"), &descriptor.base, &err));
    assert_code(MG_UNIMPLEMENTED, unary(world, METHOD("Nothing"), &descriptor.base, &err));
    request.type = (char[]){"magic.renew"};
    assert_code(MG_TICKET_INVALID, unary(world, METHOD("DoAction"), &request.base, &err));
    request.type = (char[]){"magic.nothing"};
    assert_code(MG_UNIMPLEMENTED, unary(world, METHOD("DoAction"), &request.base, &err));
    request.type = (char[]){"magic.set"};
    assert_code(MG_NOT_FOUND, unary(world, METHOD("DoAction"), &request.base, &err));
}

static void failed_plans_leave_no_lease(void **state)
{
    struct world *world = *state;
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    Arrow__Flight__Protocol__Any any;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__SnapshotRef as_of = MAGIC__V1__SNAPSHOT_REF__INIT;
    struct mg_error err;

    arrow__flight__protocol__any__init(&any);
    magic__v1__scan_descriptor__init(&scan);
    as_of.snapshot_case = MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_AS_OF_TS;
    as_of.as_of_ts = 10;
    scan.database = (char[]){"shop"};
    scan.table = (char[]){"nothing"};
    scan.snapshot = &as_of;
    any.type_url = (char[]){"magic.v1.ScanDescriptor"};
    any.value = mg_flight__binary(pack(world, &scan.base));
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD;
    descriptor.cmd = mg_flight__binary(pack(world, &any.base));
    uint32_t before = mg_latch_list(world->service.latch, NULL, 0);
    for (int i = 0; i < 20; i++)
        assert_code(MG_NOT_FOUND, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    assert_int_equal(mg_latch_list(world->service.latch, NULL, 0), before);
}

static void a_request_above_the_memory_limit_is_refused(void **state)
{
    struct world *world = *state;
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    char *path[] = {(char[]){"shop"}, (char[]){"t"}};
    struct mg_error err;

    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__PATH;
    descriptor.path = path;
    descriptor.n_path = 2;
    size_t left = mg_budget_left(&world->service.memory);
    assert_ok(mg_budget_reserve(&world->service.memory, left, &err));
    assert_code(MG_NO_MEMORY, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    mg_budget_release(&world->service.memory, left);
    assert_ok(unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
}

/* ---- tables that must be loaded again ---- */

/* An epoch of its own at that watermark. schema may be NULL: nothing but the watermark; drop: that table, before. */
static uint64_t change(struct world *world, struct mg_schema *schema, uint64_t drop, uint64_t watermark)
{
    struct mg_schema_change put = {.kind = MG_SCHEMA_PUT_TABLE, .schema = schema};
    struct mg_schema_change dropped = {.kind = MG_SCHEMA_DROP_TABLE, .table_id = drop};
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    assert_ok(mg_latch_writer_begin(world->service.writer, 1000, &epoch, &err));
    if (drop)
        assert_ok(world->service.ops->change_schema(epoch, &dropped, &err));
    if (schema)
        assert_ok(world->service.ops->change_schema(epoch, &put, &err));
    assert_ok(mg_latch_writer_publish(world->service.writer, watermark, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(world->service.ops->wait(world->service.engine, number, 10000, &err));
    return number;
}

/* The next schema of shop.t, under another name if that is not NULL; good_until_ts above 0: it must be loaded again. */
static void alter(struct world *world, const char *name, uint64_t good_until_ts, uint64_t watermark)
{
    struct mg_schema *next = mg_schema_copy(world->schema);
    struct mg_error err;

    assert_ok(world->service.ops->reserve(world->service.engine, NULL, &next->version, &err));
    if (name)
        assert_ok(mg_schema_text(&next->table, mg_slice_text(name), &err));
    if (good_until_ts) {
        next->state = MG_STATE_NEEDS_RELOAD;
        next->good_until_ts = good_until_ts;
        assert_ok(mg_schema_text(&next->state_reason, mg_slice_text("a commit was settled too late"), &err));
    }
    assert_ok(mg_schema_seal(next, &err));
    change(world, next, 0, watermark);
    mg_schema_unref(world->schema);
    world->schema = next;
}

static Magic__V1__SnapshotRef as_of(uint64_t ts)
{
    Magic__V1__SnapshotRef ref = MAGIC__V1__SNAPSHOT_REF__INIT;

    ref.snapshot_case = MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_AS_OF_TS;
    ref.as_of_ts = ts;
    return ref;
}

/* A call about a command at a snapshot: GetFlightInfo or GetSchema. sql NULL: a scan of shop.t. */
static enum mg_code ask(struct world *world, const char *method, Magic__V1__SnapshotRef ref, const char *sql,
                        struct mg_slice *out, struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    Arrow__Flight__Protocol__Any any;
    Magic__V1__ScanDescriptor scan;
    Magic__V1__SqlStatement statement;

    arrow__flight__protocol__any__init(&any);
    magic__v1__scan_descriptor__init(&scan);
    magic__v1__sql_statement__init(&statement);
    scan.database = (char[]){"shop"};
    scan.table = (char[]){"t"};
    scan.snapshot = statement.snapshot = &ref;
    statement.sql = (char *)(uintptr_t)sql;
    any.type_url = sql ? (char[]){"magic.v1.SqlStatement"} : (char[]){"magic.v1.ScanDescriptor"};
    any.value = mg_flight__binary(pack(world, sql ? &statement.base : &scan.base));
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD;
    descriptor.cmd = mg_flight__binary(pack(world, &any.base));
    *err = MG_ERROR_INIT;
    return mg_grpc_client_unary(world->service.client, method, 10000, pack(world, &descriptor.base), out, err);
}

/* The first ticket of a plan. */
static enum mg_code plan(struct world *world, Magic__V1__SnapshotRef ref, const char *sql, struct mg_slice *out_ticket,
                         struct mg_error *err)
{
    Arrow__Flight__Protocol__FlightInfo *info = NULL;
    struct mg_slice response;

    MG_TRY(ask(world, METHOD("GetFlightInfo"), ref, sql, &response, err));
    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__flight_info__descriptor, response, "the plan", &world->arena,
                             &info, err));
    *out_ticket = mg_flight__bytes(info->endpoint[0]->ticket->ticket);
    return MG_OK;
}

static bool stream_has(const struct world *world, const char *text)
{
    return memmem(world->stream.data, world->stream.size, text, strlen(text)) != NULL;
}

/* The one table at a snapshot, as magic.tables and as SHOW TABLES tell it. */
static void check_listed(struct world *world, Magic__V1__SnapshotRef ref, const char *state, uint64_t good_until_ts)
{
    Magic__V1__ListTablesRequest list;
    Arrow__Flight__Protocol__Action action;
    Arrow__Flight__Protocol__Result *result = NULL;
    Magic__V1__TableInfo *info = NULL;
    struct mg_slice response, ticket;
    unsigned messages = 0;
    struct mg_error err;

    magic__v1__list_tables_request__init(&list);
    arrow__flight__protocol__action__init(&action);
    list.snapshot = &ref;
    action.type = (char[]){"magic.tables"};
    action.body = mg_flight__binary(pack(world, &list.base));
    assert_ok(mg_grpc_client_unary(world->service.client, METHOD("DoAction"), 10000, pack(world, &action.base),
                                   &response, &err));
    assert_ok(MG_FLIGHT__UNPACK(arrow__flight__protocol__result__descriptor, response, "a result", &world->arena,
                                &result, &err));
    assert_ok(MG_FLIGHT__UNPACK(magic__v1__table_info__descriptor, mg_flight__bytes(result->body), "a table",
                                &world->arena, &info, &err));
    assert_string_equal(info->state, state);
    assert_int_equal(info->good_until_ts, good_until_ts);
    assert_int_equal(strstr(info->reason, "settled too late") != NULL, good_until_ts != 0);
    assert_ok(plan(world, ref, "SHOW TABLES", &ticket, &err));
    assert_ok(get(world, ticket, &messages, &err));
    assert_true(stream_has(world, state));
    assert_int_equal(stream_has(world, "settled too late"), good_until_ts != 0);
}

/* shop.t is readable there, in every way. */
static void check_good(struct world *world, Magic__V1__SnapshotRef ref)
{
    struct mg_slice ticket, response;
    unsigned messages = 0;
    struct mg_error err;

    assert_ok(ask(world, METHOD("GetSchema"), ref, NULL, &response, &err));
    assert_ok(plan(world, ref, "SELECT v FROM shop.t WHERE id = 1", &ticket, &err));
    assert_ok(get(world, ticket, &messages, &err));
    assert_ok(plan(world, ref, NULL, &ticket, &err));
    assert_ok(get(world, ticket, &messages, &err));
    check_listed(world, ref, "ok", 0);
}

static void check_refusal(enum mg_code code, const struct mg_error *refusal, const char *until)
{
    struct mg_error err;

    assert_code(MG_TABLE_NEEDS_RELOAD, code);
    assert_non_null(strstr(refusal->text, "a commit was settled too late"));
    assert_non_null(strstr(refusal->text, until));
}

/* shop.t is refused there, in every way, and says so. */
static void check_stale(struct world *world, Magic__V1__SnapshotRef ref, uint64_t good_until_ts)
{
    struct mg_slice ticket, response;
    char until[64];
    struct mg_error err;

    snprintf(until, sizeof until, "as of %d or before", (int)good_until_ts);
    check_refusal(ask(world, METHOD("GetSchema"), ref, NULL, &response, &err), &err, until);
    check_refusal(plan(world, ref, NULL, &ticket, &err), &err, until);
    check_refusal(plan(world, ref, "SELECT v FROM shop.t WHERE id = 1", &ticket, &err), &err, until);
    check_listed(world, ref, "needs-reload", good_until_ts);
}

/* What was handed out before the mark: tickets for both sides of it. */
struct handed_out {
    struct mg_slice good, stale, stale_sql;
};

static void check_handed_out(struct world *world, const struct handed_out *tickets)
{
    unsigned messages = 0;
    struct mg_error err;

    assert_ok(get(world, tickets->good, &messages, &err));
    assert_true(messages >= 2);
    check_refusal(get(world, tickets->stale, &messages, &err), &err, "as of 25 or before");
    assert_int_equal(messages, 0);
    check_refusal(get(world, tickets->stale_sql, &messages, &err), &err, "as of 25 or before");
}

/* Watermarks 20 (its rows), 30, 40; then it is known that a commit at 26 is missing. */
static void mark(struct world *world, struct handed_out *out)
{
    struct mg_error err;

    change(world, NULL, 0, 30);
    change(world, NULL, 0, 40);
    check_good(world, as_of(30));
    assert_ok(plan(world, as_of(20), NULL, &out->good, &err));
    assert_ok(plan(world, as_of(30), NULL, &out->stale, &err));
    assert_ok(plan(world, as_of(40), "SELECT * FROM shop.t", &out->stale_sql, &err));
    alter(world, NULL, 25, 40);
}

static void check_marked(struct world *world, const struct handed_out *tickets)
{
    check_good(world, as_of(20));
    check_good(world, as_of(25)); /* the same snapshot */
    check_stale(world, as_of(30), 25);
    check_stale(world, as_of(39), 25);
    check_handed_out(world, tickets);
}

static void a_mark_reaches_snapshots_that_were_shown_before(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_LATEST};
    Magic__V1__SnapshotRef lease = MAGIC__V1__SNAPSHOT_REF__INIT, epoch = MAGIC__V1__SNAPSHOT_REF__INIT;
    struct handed_out tickets;
    struct mg_lease held;
    struct mg_error err;

    change(world, NULL, 0, 28);
    assert_ok(mg_latch_acquire(world->service.latch, &choice, "a session", 0, &held, NULL, &err));
    lease.snapshot_case = MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_LEASE;
    lease.lease = mg_flight__binary(MG_SLICE(held.token, held.token_size));
    epoch.snapshot_case = MAGIC__V1__SNAPSHOT_REF__SNAPSHOT_EPOCH;
    epoch.epoch = held.epoch;
    check_good(world, lease);
    mark(world, &tickets);
    check_marked(world, &tickets);
    check_stale(world, lease, 25);
    check_stale(world, epoch, 25);
    check_stale(world, as_of(40), 25); /* the mark's own epoch */
    epoch.epoch--;
    check_good(world, epoch);
    alter(world, NULL, 15, 50); /* an earlier one was missing, too */
    check_stale(world, as_of(20), 15);
    check_good(world, as_of(15));
}

static void a_mark_stays_with_its_incarnation(void **state)
{
    struct world *world = *state;
    struct handed_out tickets;
    struct mg_error err;

    mark(world, &tickets);
    alter(world, "renamed", 25, 50);
    check_marked(world, &tickets);
    change(world, NULL, world->schema->table_id, 60);
    check_marked(world, &tickets);
    mg_schema_unref(world->schema);
    make_schema(world); /* another shop.t */
    change(world, world->schema, 0, 70);
    check_marked(world, &tickets);
    check_good(world, as_of(70));
    assert_code(MG_NOT_FOUND, plan(world, as_of(60), NULL, &tickets.good, &err));
}

static void a_mark_outlives_a_restart(void **state)
{
    struct world *world = *state;
    struct handed_out tickets;

    mark(world, &tickets);
    flight_service_close(&world->service);
    open_service(world);
    check_marked(world, &tickets);
    change(world, NULL, world->schema->table_id, 60);
    flight_service_close(&world->service);
    open_service(world);
    check_marked(world, &tickets);
}

/* ---- what contradicts ---------------------------------------------------------------------------------------- */

static void put_row(struct world *world, enum mg_change_op op, int64_t id, uint64_t watermark)
{
    struct mg_type types[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}};
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;
    const uint8_t ops = (uint8_t)op;

    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, &err));
    assert_ok(mg_builder_int(&builder, 0, id, &err));
    assert_ok(mg_builder_null(&builder, 1, &err));
    assert_ok(mg_batch_builder_finish(&builder, 1, &rows, &err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {
        .table_id = world->schema->table_id, .schema_version = world->schema->version, .rows = rows, .ops = &ops};
    assert_ok(mg_latch_writer_begin(world->service.writer, 1000, &epoch, &err));
    assert_ok(world->service.engine->ops->put(epoch, &changes, &err));
    assert_ok(mg_latch_writer_publish(world->service.writer, watermark, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(world->service.engine->ops->wait(world->service.engine, number, 10000, &err));
    mg_batch_unref(rows);
}

static void check_contradictions(struct world *world, const char *needs_verify, uint64_t failed)
{
    Magic__V1__LagResponse lag;
    Magic__V1__TableInfo *info;
    struct mg_snapshot *snapshot;
    struct mg_error err;

    magic__v1__lag_response__init(&lag);
    assert_ok(world->service.engine->ops->snapshot(world->service.engine, &snapshot, &err));
    assert_ok(mg_flight__table_info(snapshot, world->schema, &world->arena, &info, &err));
    assert_ok(mg_flight__verified_lag(world->service.engine, &world->arena, &lag, &err));
    assert_string_equal(info->state, "ok"); /* it can be read */
    assert_int_equal(info->verify_failed, failed);
    assert_int_equal(info->n_verify_told, failed);
    assert_int_equal(lag.n_needs_verify, failed > 0);
    if (!failed)
        assert_string_equal(info->needs_verify, "");
    else if (!strstr(info->needs_verify, needs_verify) || !strstr(lag.needs_verify[0], needs_verify) ||
             strncmp(lag.needs_verify[0], "shop.t: since 20", 16) != 0)
        fail_msg("needs-verify: %s; lag: %s", info->needs_verify, lag.needs_verify[0]);
    world->service.engine->ops->snapshot_unref(snapshot);
}

static void what_contradicts_is_listed(void **state)
{
    struct world *world = *state;

    put_row(world, MG_CHANGE_UPDATE, 4, 30);
    check_contradictions(world, "", 0);
    put_row(world, MG_CHANGE_DELETE, 5001, 40);
    check_contradictions(world, "1 change contradicts what is stored; a DELETE of a row that is not there: id = 5001",
                         1);
    put_row(world, MG_CHANGE_INSERT, 4, 50);
    check_contradictions(world, "2 changes contradict what is stored; a DELETE of a row that is not there: id = 5001",
                         2);
}

#define TEST_ON(engine, name)                                                                   \
    {                                                                                           \
#name " (" #engine ")", name, set_up, tear_down, (void *)(uintptr_t)&mg_engine_##engine \
    }
#define TEST(name) TEST_ON(model, name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_signed_ticket_is_checked_all_the_same),
        TEST(a_signed_scan_is_checked_all_the_same),
        TEST(a_whole_stream_says_what_it_took),
        TEST(tickets_end_with_their_lease),
        TEST(a_mac_covers_every_byte),
        TEST(codes_of_other_calls),
        TEST(failed_plans_leave_no_lease),
        TEST(a_request_above_the_memory_limit_is_refused),
        TEST_ON(model, what_contradicts_is_listed),
        TEST_ON(magic, what_contradicts_is_listed),
        TEST_ON(model, a_mark_reaches_snapshots_that_were_shown_before),
        TEST_ON(magic, a_mark_reaches_snapshots_that_were_shown_before),
        TEST_ON(model, a_mark_stays_with_its_incarnation),
        TEST_ON(magic, a_mark_stays_with_its_incarnation),
        TEST_ON(magic, a_mark_outlives_a_restart), /* the model keeps nothing */
    };
    return cmocka_run_group_tests_name("flight", tests, NULL, NULL);
}
