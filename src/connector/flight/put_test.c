/* put_test.c -- DoPut over a real socket, against both engines: what is stored, what is not, beside a source that
 * publishes meanwhile; and its parts alone: FlightData cut anywhere, the set of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "connector/flight/flight_testing.h"
#include "connector/flight/put.h"

#define DO_PUT "/arrow.flight.protocol.FlightService/DoPut"

enum { WAIT_MS = 10 * 1000 };

struct world {
    struct flight_service service;
    struct mg_arena arena;
    uint64_t acked; /* by the last put */
    size_t taken;   /* memory of others */
    int64_t last;   /* where one more batch of a put begins; 0: there is none */
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    flight_service_init(&world->service, *state, 128 << 20);
    mg_arena_init(&world->arena, 64 << 20);
    flight_service_open(&world->service, NULL, 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    flight_service_close(&world->service);
    mg_arena_clear(&world->arena);
    flight_service_clear(&world->service);
    free(world);
    return 0;
}

/* ---- a client ---- */

static const struct mg_field fields[] = {
    {.name = {(const uint8_t *)"id", 2}, .type = {.id = MG_TYPE_INT64}, .nullable = true},
    {.name = {(const uint8_t *)"note", 4}, .type = {.id = MG_TYPE_UTF8}, .nullable = true},
};

/* Appends a field of FlightData. */
static void append_field(struct mg_buffer *out, unsigned field, struct mg_slice bytes)
{
    struct mg_error err;

    assert_ok(mg_buffer_append_varint(out, (uint64_t)field << 3 | 2, &err));
    assert_ok(mg_buffer_append_bytes(out, bytes, &err));
}

static void append_head(struct world *world, const Magic__V1__PutDescriptor *put, struct mg_buffer *out)
{
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    Arrow__Flight__Protocol__Any any;
    struct mg_slice bytes;
    struct mg_buffer schema;
    struct mg_error err;

    arrow__flight__protocol__any__init(&any); /* the macro casts a const away */
    mg_buffer_init(&schema, 1 << 20);
    assert_ok(mg_flight__pack(&put->base, &world->arena, &bytes, &err));
    any.type_url = (char[]){"x/magic.v1.PutDescriptor"};
    any.value = mg_flight__binary(bytes);
    assert_ok(mg_flight__pack(&any.base, &world->arena, &bytes, &err));
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD;
    descriptor.cmd = mg_flight__binary(bytes);
    assert_ok(mg_flight__pack(&descriptor.base, &world->arena, &bytes, &err));
    append_field(out, 1, bytes);
    assert_ok(mg_ipc_encode_schema(fields, 2, false, &schema, &err));
    append_field(out, 2, mg_buffer_slice(&schema));
    mg_buffer_clear(&schema);
}

/* Rows first, first + 1, ... with a text of text_bytes each. */
static void append_rows(struct world *world, int64_t first, uint32_t count, size_t text_bytes, struct mg_buffer *out)
{
    struct iovec pieces[2 * MG_IPC_PIECES_PER_COLUMN];
    struct mg_buffer header, body;
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    uint32_t piece_count;
    uint64_t size;
    struct mg_error err;
    struct mg_slice text = MG_SLICE(mg_arena_alloc(&world->arena, text_bytes), text_bytes);

    mg_buffer_init(&header, 1 << 20);
    mg_buffer_init(&body, 64 << 20);
    assert_ok(
        mg_batch_builder_init(&builder, (struct mg_type[]){fields[0].type, fields[1].type}, 2, NULL, 64 << 20, &err));
    for (uint32_t i = 0; i < count; i++) {
        assert_ok(mg_builder_int(&builder, 0, first + i, &err));
        assert_ok(mg_builder_text(&builder, 1, text, &err));
    }
    assert_ok(mg_batch_builder_finish(&builder, count, &rows, &err));
    assert_ok(mg_ipc_encode_batch(rows, false, &header, &world->arena, pieces, &piece_count, &size, &err));
    for (uint32_t i = 0; i < piece_count; i++)
        assert_ok(mg_buffer_append(&body, pieces[i].iov_base, pieces[i].iov_len, &err));
    append_field(out, 2, mg_buffer_slice(&header));
    append_field(out, 1000, mg_buffer_slice(&body));
    mg_batch_builder_clear(&builder);
    mg_batch_unref(rows);
    mg_buffer_clear(&header);
    mg_buffer_clear(&body);
}

static enum mg_code send_message(struct world *world, struct mg_buffer *message, struct mg_error *err)
{
    struct iovec piece = {.iov_base = message->data, .iov_len = message->size};
    enum mg_code code = mg_grpc_client_send(world->service.client, &piece, 1, err);

    mg_buffer_reset(message);
    return code;
}

static char id[] = "id", lake[] = "lake";
static char *key[] = {id};

static Magic__V1__PutDescriptor target(const char *table, int mode, uint64_t rows_per_epoch)
{
    Magic__V1__PutDescriptor put;

    magic__v1__put_descriptor__init(&put);
    put.database = lake;
    put.table = (char *)(uintptr_t)table;
    put.mode = (Magic__V1__PutDescriptor__Mode)mode;
    put.rows_per_epoch = rows_per_epoch;
    put.key = key;
    put.n_key = 1;
    return put;
}

static enum mg_code receive_acks(struct world *world, struct mg_error *err)
{
    enum mg_code code;
    struct mg_slice message;

    while ((code = mg_grpc_client_receive(world->service.client, &message, err)) == MG_OK) {
        Arrow__Flight__Protocol__PutResult *result = arrow__flight__protocol__put_result__unpack(NULL, message.size,
                                                                                                 message.data);
        assert_non_null(result);
        Magic__V1__PutAck *ack = magic__v1__put_ack__unpack(NULL, result->app_metadata.len, result->app_metadata.data);
        assert_non_null(ack);
        assert_true(ack->rows >= world->acked);
        world->acked = ack->rows;
        magic__v1__put_ack__free_unpacked(ack, NULL);
        arrow__flight__protocol__put_result__free_unpacked(result, NULL);
    }
    return code == MG_NOT_FOUND && mg_grpc_client_status(world->service.client) == MG_GRPC_OK ? MG_OK : code;
}

struct rows {
    int64_t first;
    uint32_t batch_rows, batches;
    size_t text_bytes;
};

/* The head and batches; the call is open afterwards. */
static enum mg_code send_rows(struct world *world, const Magic__V1__PutDescriptor *descriptor, struct rows rows,
                              struct mg_error *err)
{
    struct mg_buffer message;

    world->acked = 0;
    mg_buffer_init(&message, 128 << 20);
    enum mg_code code = mg_grpc_client_begin(world->service.client, DO_PUT, 0, err);
    append_head(world, descriptor, &message);
    for (uint32_t i = 0; code == MG_OK && i <= rows.batches; i++) {
        code = send_message(world, &message, err);
        append_rows(world, rows.first + (int64_t)i * rows.batch_rows, rows.batch_rows, rows.text_bytes, &message);
    }
    if (code == MG_OK && world->last) {
        mg_buffer_reset(&message);
        append_rows(world, world->last, rows.batch_rows, rows.text_bytes, &message);
        code = send_message(world, &message, err);
    }
    mg_buffer_clear(&message);
    mg_arena_reset(&world->arena);
    return code;
}

static enum mg_code put(struct world *world, const Magic__V1__PutDescriptor *descriptor, struct rows rows,
                        struct mg_error *err)
{
    enum mg_code code = send_rows(world, descriptor, rows, err);
    if (code == MG_OK)
        code = mg_grpc_client_half_close(world->service.client, err);
    if (code == MG_OK)
        code = receive_acks(world, err);
    else
        (void)receive_acks(world, err); /* why sending failed */
    mg_grpc_client_end(world->service.client);
    return code;
}

/* -1: there is no such table. */
static int64_t row_count(struct world *world, const char *database, const char *table)
{
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    struct mg_table_stats stats;
    struct mg_error err;
    int64_t count = -1;

    assert_ok(world->service.ops->snapshot(world->service.engine, &snapshot, &err));
    if (world->service.ops->table_by_name(snapshot, mg_slice_text(database), mg_slice_text(table), &schema, &err) ==
        MG_OK) {
        assert_ok(world->service.ops->stats(snapshot, schema->table_id, &stats, &err));
        count = (int64_t)stats.row_count;
        mg_schema_unref(schema);
    }
    world->service.ops->snapshot_unref(snapshot);
    return count;
}

/* ---- tests ---- */

enum {
    CREATE = MAGIC__V1__PUT_DESCRIPTOR__MODE__CREATE,
    APPEND = MAGIC__V1__PUT_DESCRIPTOR__MODE__APPEND,
    REPLACE = MAGIC__V1__PUT_DESCRIPTOR__MODE__REPLACE,
};

static void rows_are_stored_and_acknowledged(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = target("t", CREATE, 0), append = target("t", APPEND, 1000);
    Magic__V1__PutDescriptor replace = target("t", REPLACE, 100);
    struct mg_error err;

    assert_ok(put(world, &create, (struct rows){0, 1000, 5, 10}, &err));
    assert_int_equal(world->acked, 5000);
    assert_ok(put(world, &append, (struct rows){5000, 700, 5, 10}, &err));
    assert_int_equal(world->acked, 3500);
    assert_int_equal(row_count(world, "lake", "t"), 8500);
    assert_code(MG_INVALID, put(world, &append, (struct rows){8000, 1000, 1, 10}, &err));
    assert_int_equal(row_count(world, "lake", "t"), 8500);
    assert_code(MG_EXISTS, put(world, &create, (struct rows){0, 10, 1, 10}, &err));
    assert_ok(put(world, &replace, (struct rows){0, 250, 1, 10}, &err));
    assert_int_equal(row_count(world, "lake", "t"), 250);
    assert_int_equal(row_count(world, MG_FLIGHT__LOADING, "t"), -1);
}

/* Changes of the source tidb, one epoch each, until it is told to end. */
struct source {
    struct world *world;
    atomic_bool stop;
    uint64_t epochs;
};

static void be_source(void *arg)
{
    struct source *source = arg;
    struct mg_latch_writer *writer;
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    assert_ok(mg_latch_writer_open(source->world->service.latch, "tidb", &writer, NULL, &err));
    while (!atomic_load(&source->stop)) {
        assert_ok(mg_latch_writer_begin(writer, WAIT_MS, &epoch, &err));
        assert_ok(mg_latch_writer_publish(writer, ++source->epochs, MG_SLICE(NULL, 0), &number, &err));
        assert_ok(source->world->service.ops->wait(source->world->service.engine, number, WAIT_MS, &err));
    }
    mg_latch_writer_close(writer);
}

static void a_source_goes_on_meanwhile(void **state)
{
    struct world *world = *state;
    struct source source = {.world = world};
    struct mg_thread thread = {0};
    Magic__V1__PutDescriptor create = target("t", CREATE, 100);
    struct mg_source_position *position = calloc(1, sizeof *position);
    struct mg_error err;

    assert_ok(mg_thread_start(&thread, "source", be_source, &source, &err));
    assert_ok(put(world, &create, (struct rows){0, 1000, 10, 10}, &err));
    atomic_store(&source.stop, true);
    mg_thread_join(&thread);
    assert_int_equal(row_count(world, "lake", "t"), 10000);
    assert_true(source.epochs > 10);
    assert_ok(world->service.ops->position(world->service.engine, "tidb", position, &err));
    assert_int_equal(position->watermark, source.epochs);
    assert_ok(world->service.ops->position(world->service.engine, MG_FLIGHT__LOCAL, position, &err));
    assert_int_equal(position->watermark, 0); /* so AS OF goes on meaning the other source */
    free(position);
}

static void a_client_that_vanishes_leaves_what_was_acknowledged(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = target("t", CREATE, 0), append = target("u", CREATE, 500);
    Magic__V1__PutDescriptor others[] = {target("other", CREATE, 0), target("another", CREATE, 0)};
    const Magic__V1__PutDescriptor *const both[] = {&create, &append};
    struct mg_buffer message;
    struct mg_slice ack;
    struct mg_error err;

    mg_buffer_init(&message, 16 << 20);
    for (int i = 0; i < 2; i++) {
        assert_ok(mg_grpc_client_begin(world->service.client, DO_PUT, 0, &err));
        append_head(world, both[i], &message);
        assert_ok(send_message(world, &message, &err));
        append_rows(world, 0, 700, 10, &message);
        assert_ok(send_message(world, &message, &err));
        if (i == 1)
            assert_ok(mg_grpc_client_receive(world->service.client, &ack, &err));
        mg_grpc_client_close(world->service.client);
        assert_ok(mg_grpc_client_connect(world->service.address, NULL, &world->service.client, &err));
        assert_ok(put(world, &others[i], (struct rows){0, 1, 1, 1}, &err)); /* waits until that one is over */
    }
    mg_buffer_clear(&message);
    assert_int_equal(row_count(world, "lake", "t"), -1);
    assert_int_equal(row_count(world, MG_FLIGHT__LOADING, "t"), -1);
    assert_int_equal(row_count(world, "lake", "u"), 500);
}

static void memory_is_bounded(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = target("t", CREATE, 0), append = target("t", APPEND, 0);
    struct mg_error err;

    /* 160 MB pass through 128 MiB, in bounded epochs and in one. */
    assert_ok(put(world, &create, (struct rows){0, 500, 40, 8192}, &err));
    assert_int_equal(row_count(world, "lake", "t"), 20000);
    atomic_store(&world->service.memory.peak_bytes, 0);
    assert_ok(put(world, &append, (struct rows){20000, 500, 40, 8192}, &err));
    assert_int_equal(row_count(world, "lake", "t"), 40000);
    assert_int_equal(world->acked, 20000);
    assert_true(atomic_load(&world->service.memory.peak_bytes) < 80 << 20);
}

/* ---- one step that is larger than what is gathered ---- */

enum { STEP_BATCH = 1000, STEP_BATCHES = 46, STEP_TEXT = 1000, STEP_FIRST = 100000 };

/* The table t with the key (id, note): wide keys, so that not all of a step are kept. */
static Magic__V1__PutDescriptor wide_target(int mode)
{
    static char note[] = "note";
    static char *wide[] = {id, note};
    Magic__V1__PutDescriptor put = target("t", mode, 0);

    put.key = wide;
    put.n_key = 2;
    return put;
}

static void bad_rows_of_a_large_step(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = wide_target(CREATE), append = wide_target(APPEND);
    struct rows rows = {STEP_FIRST, STEP_BATCH, STEP_BATCHES, STEP_TEXT};
    const int64_t end = STEP_FIRST + STEP_BATCH * STEP_BATCHES;
    static const struct {
        int64_t last; /* the last batch: which keys are there already */
        const char *text;
    } cases[] = {
        {10 - (STEP_BATCH - 1), "row 47000: the key (id = 10, note = "}, /* the last one of the table's */
        {STEP_FIRST - STEP_BATCH + 2, "is that of an earlier row; row 47000: the key (id = 100001"},
        {STEP_FIRST + STEP_BATCH * STEP_BATCHES - 2, "is that of row 45999; row 46002: the key (id = 145999"},
    };
    struct mg_error err;

    assert_ok(put(world, &create, (struct rows){10, 1, 1, STEP_TEXT}, &err));
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        world->last = cases[i].last;
        err = MG_ERROR_INIT;
        assert_code(MG_INVALID, put(world, &append, rows, &err));
        if (!strstr(err.text, cases[i].text))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].text, err.text);
        assert_true(i > 0 || strstr(err.text, "is in the table already"));
        assert_int_equal(row_count(world, "lake", "t"), 1);
        assert_int_equal(world->acked, 0);
    }
    world->last = end; /* and now none */
    assert_ok(put(world, &append, rows, &err));
    assert_int_equal(row_count(world, "lake", "t"), 1 + STEP_BATCH * (STEP_BATCHES + 1));
    assert_int_equal(world->acked, STEP_BATCH * (STEP_BATCHES + 1));
}

/* Others wait while a step is staged: not for a client that says nothing, and not for one that is gone. */
static void a_client_that_stops_in_a_large_step(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = wide_target(CREATE), append = wide_target(APPEND);
    const struct rows rows = {STEP_FIRST, STEP_BATCH, STEP_BATCHES, STEP_TEXT};
    Magic__V1__PutDescriptor other = target("other", CREATE, 0);
    struct mg_error err;

    assert_ok(put(world, &create, (struct rows){10, 1, 1, STEP_TEXT}, &err));
    world->service.flight->put_silence_ms = 1000;
    enum mg_code code = send_rows(world, &append, rows, &err); /* a slow machine may be as silent while it sends */
    if (code == MG_OK)
        code = receive_acks(world, &err);
    if (code != MG_TIMEOUT || !strstr(err.text, "no message came from the client for 1000 ms"))
        fail_msg("%s: %s", mg_code_name(code), err.text);
    mg_grpc_client_end(world->service.client);
    assert_int_equal(row_count(world, "lake", "t"), 1);

    world->service.flight->put_silence_ms = 60000;
    assert_ok(send_rows(world, &append, rows, &err));
    mg_grpc_client_close(world->service.client);
    assert_ok(mg_grpc_client_connect(world->service.address, NULL, &world->service.client, &err));
    assert_ok(put(world, &other, (struct rows){0, 1, 1, 1}, &err)); /* waits until that one is over */
    assert_int_equal(row_count(world, "lake", "t"), 1);
    assert_int_equal(row_count(world, "lake", "other"), 1);
}

/* An engine that finds no room for more of a step: its earlier rows are gone, so it fails, and says what helps. */
static void memory_that_ends_in_a_large_step(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = wide_target(CREATE), append = wide_target(APPEND);
    const struct rows rows = {STEP_FIRST, STEP_BATCH, STEP_BATCHES, STEP_TEXT};
    struct mg_budget engine_memory;
    struct mg_buffer message;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = MG_OK;

    flight_service_close(&world->service);
    mg_budget_init(&engine_memory, "engine", NULL, 256 << 20);
    world->service.engine_memory = &engine_memory;
    flight_service_open(&world->service, NULL, 0);
    assert_ok(put(world, &create, (struct rows){10, 1, 1, STEP_TEXT}, &err));
    size_t before = mg_budget_used(&engine_memory);
    assert_ok(send_rows(world, &append, rows, &err));
    for (int i = 0; i < 10000 && mg_budget_used(&engine_memory) < before + (20 << 20); i++)
        usleep(1000);
    size_t taken = mg_budget_left(&engine_memory);
    assert_ok(mg_budget_reserve(&engine_memory, taken, &err));
    mg_buffer_init(&message, 16 << 20);
    for (int i = 0; i < 400 && code == MG_OK; i++) {
        append_rows(world, 10000000 + i * 1000, 1000, STEP_TEXT, &message);
        code = send_message(world, &message, &err);
        mg_arena_reset(&world->arena);
    }
    assert_code(MG_NO_MEMORY, receive_acks(world, &err));
    if (!strstr(err.text, "cannot be staged again: load once more, or in steps"))
        fail_msg("%s", err.text);
    mg_grpc_client_end(world->service.client);
    mg_budget_release(&engine_memory, taken);
    assert_int_equal(row_count(world, "lake", "t"), 1);
    assert_ok(put(world, &append, rows, &err));
    assert_int_equal(row_count(world, "lake", "t"), 1 + STEP_BATCH * STEP_BATCHES);
    mg_buffer_clear(&message);
    flight_service_close(&world->service);
    world->service.engine_memory = NULL;
    flight_service_open(&world->service, NULL, 0);
}

/* Others hold all memory for a while. */
static void give_back(void *arg)
{
    struct world *world = arg;

    usleep(300 * 1000);
    mg_budget_release(&world->service.memory, world->taken);
}

static void a_full_memory_is_waited_for(void **state)
{
    struct world *world = *state;
    struct mg_thread thread = {0};
    Magic__V1__PutDescriptor create = target("t", CREATE, 1000);
    struct mg_error err;

    world->taken = mg_budget_left(&world->service.memory) - 100000;
    assert_ok(mg_budget_reserve(&world->service.memory, world->taken, &err));
    assert_ok(mg_thread_start(&thread, "others", give_back, world, &err));
    assert_ok(put(world, &create, (struct rows){0, 500, 4, 1000}, &err));
    mg_thread_join(&thread);
    assert_int_equal(row_count(world, "lake", "t"), 2000);
}

static void what_was_acknowledged_outlives_a_restart(void **state)
{
    struct world *world = *state;
    Magic__V1__PutDescriptor create = target("t", CREATE, 0), append = target("t", APPEND, 100);
    struct mg_error err;

    assert_ok(put(world, &create, (struct rows){0, 100, 3, 10}, &err));
    assert_ok(put(world, &append, (struct rows){300, 100, 3, 10}, &err));
    flight_service_close(&world->service);
    flight_service_open(&world->service, NULL, 0);
    assert_int_equal(row_count(world, "lake", "t"), 600);
    assert_ok(put(world, &append, (struct rows){600, 100, 1, 10}, &err));
    assert_code(MG_INVALID, put(world, &append, (struct rows){550, 100, 1, 10}, &err));
    assert_int_equal(row_count(world, "lake", "t"), 700);
}

static void flight_data_may_be_cut_anywhere(void **state)
{
    static const uint8_t bytes[] = {0x0a, 1, 'd', 0x12, 2, 'h', 'h', 0x1a, 1, 'm', 0xc2, 0x3e, 3, 'b', 'b', 'b'};
    struct mg_flight__data data;
    struct mg_error err;

    (void)state;
    assert_ok(mg_flight__data_read(MG_SLICE(bytes, sizeof bytes), &data, &err));
    assert_int_equal(data.descriptor.size, 1);
    assert_int_equal(data.header.size, 2);
    assert_int_equal(data.body.size, 3);
    for (size_t size = 0; size < sizeof bytes; size++)
        if (mg_flight__data_read(MG_SLICE(bytes, size), &data, &err) == MG_OK)
            assert_true(size == 0 || size == 3 || size == 7 || size == 10);
    assert_code(MG_INVALID, mg_flight__data_read(MG_SLICE("\x08\x01", 2), &data, &err));
}

struct twins {
    uint32_t count, row, twin;
};

static enum mg_code note_twin(void *arg, uint32_t row, uint32_t twin, struct mg_error *err)
{
    struct twins *twins = arg;

    (void)err;
    *twins = (struct twins){twins->count + 1, row, twin};
    return MG_OK;
}

static void twins_are_found(void **state)
{
    enum { ROWS = 5000 };
    MG_CLEANUP(mg_freep) int64_t *values = calloc(ROWS, sizeof *values);
    struct mg_vector vector = {.type = {.id = MG_TYPE_INT64}, .row_count = ROWS, .values = values};
    const struct mg_vector *vectors[] = {&vector};
    struct twins twins = {0};
    struct mg_flight__keys keys;
    struct mg_budget memory;
    struct mg_error err;

    (void)state;
    mg_budget_init(&memory, "test", NULL, 4 << 20);
    mg_flight__keys_init(&keys, &memory);
    for (int64_t round = 0; round < 4; round++) { /* every value but one is new */
        for (int64_t i = 0; i < ROWS; i++)
            values[i] = (i * 2654435761) % ROWS + round * (ROWS - 1);
        assert_ok(mg_flight__keys_add(&keys, vectors, 1, ROWS, note_twin, &twins, &err));
        assert_int_equal(twins.count, round);
    }
    assert_int_equal(mg_slice_compare(mg_flight__keys_at(&keys, twins.row), mg_flight__keys_at(&keys, twins.twin)), 0);
    enum mg_code code = MG_OK;
    for (int i = 0; i < 100 && code == MG_OK; i++)
        code = mg_flight__keys_add(&keys, vectors, 1, ROWS, note_twin, &twins, &err);
    assert_int_equal(code, MG_NO_MEMORY);
    mg_flight__keys_clear(&keys);
    assert_int_equal(mg_budget_used(&memory), 0);
}

#define TEST_ON(engine, name)                                                                   \
    {                                                                                           \
#name " (" #engine ")", name, set_up, tear_down, (void *)(uintptr_t)&mg_engine_##engine \
    }
#define TEST(name) TEST_ON(model, name), TEST_ON(magic, name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flight_data_may_be_cut_anywhere),
        cmocka_unit_test(twins_are_found),
        TEST(rows_are_stored_and_acknowledged),
        TEST(a_source_goes_on_meanwhile),
        TEST(a_client_that_vanishes_leaves_what_was_acknowledged),
        TEST_ON(magic, memory_is_bounded),
        TEST_ON(magic, bad_rows_of_a_large_step), /* the model takes minutes under sanitizers */
        TEST_ON(magic, a_client_that_stops_in_a_large_step),
        TEST_ON(magic, memory_that_ends_in_a_large_step),
        TEST(a_full_memory_is_waited_for),
        TEST_ON(magic, what_was_acknowledged_outlives_a_restart), /* the model keeps nothing */
    };
    return cmocka_run_group_tests_name("put", tests, NULL, NULL);
}
