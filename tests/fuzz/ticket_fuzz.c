/* ticket_fuzz.c -- what a client sends as a ticket or a lease token.
 *
 * The bytes are read as a ticket, as a token, and as the body of a ticket that this store signs: a body is checked as
 * if its MAC said nothing. One that is taken is held against a snapshot of the model engine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "connector/flight/flight_internal.h"
#include "fuzz_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STORE_ID = 1 }; /* as the corpus says it */

static struct mg_engine *engine;
static struct mg_latch *latch;
static struct mg_snapshot *snapshot;

static void start(void)
{
    struct mg_engine_options options = {.folder = NULL};
    struct mg_latch_options latch_options = {.secret = "the secret of a fuzz target....."};
    struct mg_schema_change database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "d"};
    struct mg_schema_change table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = fuzz_schema()};
    struct mg_latch_writer *writer;
    struct mg_epoch *epoch;
    uint64_t id, version, number;

    FUZZ_MUST(mg_engine_model.open(&options, &engine, NULL));
    latch_options.engine = engine;
    FUZZ_MUST(mg_latch_new(&latch_options, &latch, NULL));
    FUZZ_MUST(mg_latch_writer_open(latch, "s", &writer, NULL, NULL));
    FUZZ_MUST(mg_latch_writer_begin(writer, 1000, &epoch, NULL));
    FUZZ_MUST(engine->ops->reserve(engine, &id, &version, NULL));
    FUZZ_MUST(engine->ops->change_schema(epoch, &database, NULL));
    FUZZ_MUST(engine->ops->change_schema(epoch, &table, NULL));
    FUZZ_MUST(mg_latch_writer_publish(writer, 1, MG_SLICE(NULL, 0), &number, NULL));
    FUZZ_MUST(engine->ops->wait(engine, number, 1000, NULL));
    FUZZ_MUST(engine->ops->snapshot(engine, &snapshot, NULL));
    mg_latch_writer_close(writer);
    mg_schema_unref(table.schema);
}

static void try_body(const Magic__V1__TicketBody *body, struct mg_arena *arena)
{
    struct mg_flight__scan scan = {0};
    struct mg_error err = MG_ERROR_INIT;

    if (body->scan && mg_flight__scan_resolve_ticket(&scan, snapshot, body, arena, &err) == MG_OK) {
        struct mg_scan_spec spec = {.table_id = body->table_id,
                                    .columns = scan.columns,
                                    .column_count = scan.column_count,
                                    .predicate = scan.predicate,
                                    .aggregate = scan.aggregate,
                                    .limit = scan.limit,
                                    .order = scan.order,
                                    .order_count = scan.order_count};
        struct mg_scan *rows = NULL;
        if (body->range)
            spec.range = (struct mg_key_range){.low = mg_flight__bytes(body->range->low),
                                               .high = mg_flight__bytes(body->range->high)};
        FUZZ_MUST(engine->ops->scan(snapshot, &spec, &rows, NULL));
        engine->ops->scan_close(rows);
    }
    mg_flight__scan_clear(&scan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Magic__V1__Ticket ticket = MAGIC__V1__TICKET__INIT;
    Magic__V1__TicketBody *body = NULL;
    struct mg_slice input = MG_SLICE(data, size), packed;
    struct mg_arena arena;
    struct mg_lease lease;
    uint8_t mac[MG_MAC_SIZE];

    if (!engine)
        start();
    mg_arena_init(&arena, 16 << 20);
    if (mg_latch_renew(latch, input, 0, &lease, NULL) == MG_OK)
        abort(); /* nobody knows the key */
    if (mg_flight__ticket_read(latch, STORE_ID, input, &arena, &body, NULL) == MG_OK)
        try_body(body, &arena);
    mg_arena_reset(&arena);
    mg_latch_sign(latch, input, mac);
    ticket.body = mg_flight__binary(input);
    ticket.mac = (ProtobufCBinaryData){.len = sizeof mac, .data = mac};
    if (mg_flight__pack(&ticket.base, &arena, &packed, NULL) == MG_OK &&
        mg_flight__ticket_read(latch, STORE_ID, packed, &arena, &body, NULL) == MG_OK)
        try_body(body, &arena);
    mg_arena_clear(&arena);
    return 0;
}
