/* flight_test.c -- the service over a real socket: each failure has its code, and a ticket that this store did sign is
 * checked all the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "connector/flight/flight_internal.h"

#define METHOD(name) "/arrow.flight.protocol.FlightService/" name

struct world {
    struct mg_clock_manual clock;
    struct mg_budget memory;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_latch_writer *writer;
    struct mg_flight *flight;
    struct mg_grpc_server *server;
    struct mg_grpc_client *client;
    struct mg_arena arena;
    struct mg_schema *schema; /* shop.t: id bigint key, v int */
    struct mg_snapshot *snapshot;
};

/* ---- a store with one table of 5,000 rows ---- */

static void make_schema(struct world *world)
{
    const char *const names[] = {"id", "v"};
    const enum mg_type_id types[] = {MG_TYPE_INT64, MG_TYPE_INT32};
    struct mg_schema *schema = mg_schema_new();
    struct mg_error err;

    assert_ok(world->engine->ops->reserve(world->engine, &schema->table_id, &schema->version, &err));
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
    assert_ok(mg_latch_writer_open(world->latch, "tidb", &world->writer, NULL, &err));
    assert_ok(mg_latch_writer_begin(world->writer, 1000, &epoch, &err));
    assert_ok(world->engine->ops->change_schema(epoch, &database, &err));
    assert_ok(world->engine->ops->change_schema(epoch, &table, &err));
    assert_ok(mg_latch_writer_publish(world->writer, 10, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, &err));
    for (int i = 0; i < ROWS; i++) {
        assert_ok(mg_builder_int(&builder, 0, i, &err));
        assert_ok(mg_builder_int(&builder, 1, i % 10, &err));
    }
    assert_ok(mg_batch_builder_finish(&builder, ROWS, &rows, &err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {
        .table_id = world->schema->table_id, .schema_version = world->schema->version, .rows = rows, .ops = ops};
    assert_ok(mg_latch_writer_begin(world->writer, 1000, &epoch, &err));
    assert_ok(world->engine->ops->put(epoch, &changes, &err));
    assert_ok(mg_latch_writer_publish(world->writer, 20, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(world->engine->ops->wait(world->engine, number, 10000, &err));
    mg_batch_unref(rows);
    free(ops);
    assert_ok(world->engine->ops->snapshot(world->engine, &world->snapshot, &err));
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct mg_engine_options options = {.folder = NULL};
    struct mg_latch_options latch = {.secret = "a secret of thirty-two bytes...", .ttl_ms = 1000};
    struct mg_grpc_server_options grpc = {0};
    char address[128];
    struct mg_error err;

    mg_arena_init(&world->arena, 64 << 20);
    mg_clock_manual_init(&world->clock, 1700000000000);
    mg_budget_init(&world->memory, "test", NULL, 256 << 20);
    assert_ok(mg_engine_model.open(&options, &world->engine, &err));
    latch.engine = world->engine;
    latch.clock = &world->clock.clock;
    assert_ok(mg_latch_new(&latch, &world->latch, &err));
    fill(world);
    struct mg_flight_options flight = {.engine = world->engine, .latch = world->latch, .budget = &world->memory};
    assert_ok(mg_flight_new(&flight, &world->flight, &err));
    grpc.methods = mg_flight_methods(world->flight, &grpc.method_count);
    assert_ok(mg_grpc_server_new(&grpc, &world->server, &err));
    assert_ok(mg_grpc_server_listen(world->server, "127.0.0.1:0", address, &err));
    assert_ok(mg_grpc_server_start(world->server, &err));
    assert_ok(mg_grpc_client_connect(address, NULL, &world->client, &err));
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    mg_grpc_client_close(world->client);
    mg_grpc_server_free(world->server);
    mg_flight_free(world->flight);
    world->engine->ops->snapshot_unref(world->snapshot);
    mg_latch_writer_close(world->writer);
    mg_latch_free(world->latch);
    world->engine->ops->close(world->engine);
    mg_schema_unref(world->schema);
    mg_arena_clear(&world->arena);
    assert_int_equal(mg_budget_used(&world->memory), 0); /* every request gave back what it took */
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

/* Read a whole stream; counts messages. */
static enum mg_code get(struct world *world, struct mg_slice ticket_bytes, unsigned *out_messages, struct mg_error *err)
{
    Arrow__Flight__Protocol__Ticket ticket = ARROW__FLIGHT__PROTOCOL__TICKET__INIT;
    struct mg_slice message;

    *err = MG_ERROR_INIT;
    ticket.ticket = mg_flight__binary(ticket_bytes);
    struct mg_slice request = pack(world, &ticket.base);
    struct iovec piece = {.iov_base = (void *)(uintptr_t)request.data, .iov_len = request.size};
    MG_TRY(mg_grpc_client_begin(world->client, METHOD("DoGet"), 10000, err));
    enum mg_code code = mg_grpc_client_send(world->client, &piece, 1, err);
    if (code == MG_OK)
        code = mg_grpc_client_half_close(world->client, err);
    *out_messages = 0;
    while (code == MG_OK && (code = mg_grpc_client_receive(world->client, &message, err)) == MG_OK)
        ++*out_messages;
    mg_grpc_client_end(world->client);
    return code == MG_NOT_FOUND && mg_grpc_client_status(world->client) == MG_GRPC_OK ? MG_OK : code;
}

static struct mg_slice signed_ticket(struct world *world, const Magic__V1__TicketBody *body)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer scratch;
    struct mg_slice ticket;
    struct mg_error err;

    mg_buffer_init(&scratch, 16 << 20);
    assert_ok(mg_flight__ticket_write(world->latch, body, &scratch, &ticket, &err));
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

    assert_ok(mg_latch_acquire(world->latch, &latest, "", 0, &lease, NULL, &err));
    magic__v1__scan_descriptor__init(scan);
    scan->columns = (char **)(uintptr_t)both_columns;
    scan->n_columns = 2;
    body.store_id = world->engine->ops->store_id(world->engine);
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
    assert_int_equal(mg_grpc_client_status(world->client), MG_GRPC_INVALID_ARGUMENT);
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
    return mg_grpc_client_unary(world->client, method, 10000, pack(world, message), &response, err);
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
    uint32_t before = mg_latch_list(world->latch, NULL, 0);
    for (int i = 0; i < 20; i++)
        assert_code(MG_NOT_FOUND, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    assert_int_equal(mg_latch_list(world->latch, NULL, 0), before);
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
    size_t left = mg_budget_left(&world->memory);
    assert_ok(mg_budget_reserve(&world->memory, left, &err));
    assert_code(MG_NO_MEMORY, unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
    mg_budget_release(&world->memory, left);
    assert_ok(unary(world, METHOD("GetFlightInfo"), &descriptor.base, &err));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_signed_ticket_is_checked_all_the_same),
        TEST(a_signed_scan_is_checked_all_the_same),
        TEST(tickets_end_with_their_lease),
        TEST(a_mac_covers_every_byte),
        TEST(codes_of_other_calls),
        TEST(failed_plans_leave_no_lease),
        TEST(a_request_above_the_memory_limit_is_refused),
    };
    return cmocka_run_group_tests_name("flight", tests, NULL, NULL);
}
