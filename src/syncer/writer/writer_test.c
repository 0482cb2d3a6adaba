/* writer_test.c -- epochs by time and size, schema changes between them, and every way in which applying waits, loses a
 * table or stops.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/stop.h"
#include "syncer/decoder/job.h"
#include "syncer/decoder/source_testing.h"
#include "syncer/writer/writer.h"

enum { TABLE = 10, OTHER = 20 };

struct world {
    struct fake_source fake;
    struct mg_clock_manual clock;
    struct mg_budget budget;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_writer *writer;
    struct mg_buffer message, mutation, row; /* the transaction under construction */
    bool is_outside;                         /* it is read in pieces */
    size_t txn_bytes_max;
    uint64_t ts, seq;
};

/* ---- the world ----------------------------------------------------------------------------------------------- */

static struct mg_source_position open_writer(struct world *world)
{
    struct mg_error err;
    struct mg_source_position position;
    struct mg_writer_options options = {
        .latch = world->latch,
        .engine = world->engine,
        .source = &world->fake.source,
        .source_name = "tidb",
        .clock = &world->clock.clock,
        .budget = &world->budget,
        .epoch_rows_max = 100,
        .txn_bytes_max = world->txn_bytes_max,
    };
    assert_ok(mg_writer_open(&options, &world->writer, &position, &err));
    return position;
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct mg_engine_options options = {0};
    struct mg_error err;

    assert_non_null(world);
    fake_init(&world->fake);
    fake_answer(&world->fake, "/schema", "[]");
    mg_clock_manual_init(&world->clock, 1700000000000);
    mg_budget_init(&world->budget, "writer", NULL, 1 << 24);
    assert_ok(mg_engine_model.open(&options, &world->engine, &err));
    struct mg_latch_options latch = {.engine = world->engine, .clock = &world->clock.clock};
    assert_ok(mg_latch_new(&latch, &world->latch, &err));
    mg_buffer_init(&world->message, 1 << 20);
    mg_buffer_init(&world->mutation, 1 << 20);
    mg_buffer_init(&world->row, 1 << 20);
    world->ts = 1000;
    open_writer(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    mg_writer_close(world->writer);
    mg_latch_free(world->latch);
    world->engine->ops->close(world->engine);
    assert_int_equal(mg_budget_used(&world->budget), 0);
    mg_buffer_clear(&world->message);
    mg_buffer_clear(&world->mutation);
    mg_buffer_clear(&world->row);
    fake_clear(&world->fake);
    free(world);
    return 0;
}

static void pass_ms(struct world *world, int64_t ms) { mg_clock_manual_advance(&world->clock, ms * 1000000); }

/* ---- transactions -------------------------------------------------------------------------------------------- */

static void put_int(struct mg_buffer *out, unsigned field, int64_t v)
{
    struct mg_error err;
    assert_ok(mg_buffer_append_varint(out, field << 3, &err));
    assert_ok(mg_buffer_append_varint(out, (uint64_t)v, &err));
}
static void put_bytes(struct mg_buffer *out, unsigned field, const struct mg_buffer *bytes)
{
    struct mg_error err;
    assert_ok(mg_buffer_append_varint(out, field << 3 | 2, &err));
    assert_ok(mg_buffer_append_bytes(out, mg_buffer_slice(bytes), &err));
}
static void put_datum(struct mg_buffer *out, int64_t v)
{
    struct mg_error err;
    assert_ok(mg_buffer_append_u8(out, 8, &err));
    assert_ok(mg_buffer_append_varint(out, mg_zigzag_encode(v), &err));
}

static void begin_txn(struct world *world, int64_t schema_version)
{
    mg_buffer_reset(&world->message);
    put_int(&world->message, 1, schema_version);
}

/* One inserted row {handle, column_id: value}; column 0: nothing but the handle. */
static void add_row(struct world *world, int64_t table_id, int64_t handle, int64_t column_id, int64_t value)
{
    struct mg_error err;

    mg_buffer_reset(&world->row);
    mg_buffer_reset(&world->mutation);
    put_datum(&world->row, handle);
    if (column_id) {
        put_datum(&world->row, column_id);
        put_datum(&world->row, value);
    } else {
        assert_ok(mg_buffer_append_u8(&world->row, 0, &err));
    }
    put_int(&world->mutation, 1, table_id);
    put_bytes(&world->mutation, 2, &world->row);
    put_int(&world->mutation, 7, 0);
    put_bytes(&world->message, 2, &world->mutation);
}

static enum mg_code read_message(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    const struct world *world = arg;
    assert_true(offset <= world->message.size && size <= world->message.size - offset);
    memcpy(out, world->message.data + offset, size);
    return MG_OK;
}

static enum mg_code apply_txn(struct world *world, struct mg_error *err)
{
    const struct mg_span_source source = {.read = read_message, .arg = world, .budget = &world->budget};
    struct mg_txn txn = {
        .kind = MG_TXN_ROWS, .commit_ts = world->ts + 10, .rows = mg_span_of(mg_buffer_slice(&world->message))};
    if (world->is_outside)
        txn.rows = (struct mg_span){.size = world->message.size, .source = &source};
    enum mg_code code = mg_writer_apply(world->writer, &txn, err);
    if (code == MG_OK)
        world->ts += 10;
    return code;
}

/* A transaction of one row, value = handle * 10 in column 2. */
static void insert(struct world *world, int64_t table_id, int64_t handle)
{
    struct mg_error err;
    begin_txn(world, 100);
    add_row(world, table_id, handle, 2, handle * 10);
    assert_ok(apply_txn(world, &err));
}

static enum mg_code apply_job(struct world *world, int64_t job_id, int32_t state, const char *query,
                              struct mg_error *err)
{
    struct mg_txn txn = {.kind = MG_TXN_DDL,
                         .commit_ts = world->ts + 10,
                         .job_id = job_id,
                         .job_schema_state = state,
                         .query = mg_slice_text(query)};
    enum mg_code code = mg_writer_apply(world->writer, &txn, err);
    if (code == MG_OK)
        world->ts += 10;
    return code;
}

/* The history has the job from now on. */
static void finish_job(struct world *world, int64_t job_id, const char *json)
{
    char path[128];
    snprintf(path, sizeof path, "/ddl/history?start_job_id=%d&limit=1", (int)job_id);
    fake_answer(&world->fake, path, json);
}

static void run_job(struct world *world, int64_t job_id, const char *json)
{
    struct mg_error err;
    finish_job(world, job_id, json);
    assert_ok(apply_job(world, job_id, 5, "a statement", &err));
}

static void create(struct world *world, int64_t id, const char *name)
{
    run_job(world, id + 1, job_json(id + 1, MG_DDL_CREATE_TABLE, id + 1, id, table_json(id, name, "id i, a i"), ""));
}

static uint64_t advance(struct world *world)
{
    struct mg_error err;
    uint64_t published = 0;
    assert_ok(mg_writer_advance(world->writer, world->ts, ++world->seq, &published, &err));
    return published;
}

static uint64_t flush(struct world *world)
{
    struct mg_error err;
    uint64_t published = 0;
    assert_ok(mg_writer_flush(world->writer, &published, &err));
    return published;
}

/* ---- what is visible ----------------------------------------------------------------------------------------- */

static uint64_t newest_epoch(struct world *world)
{
    struct mg_error err;
    struct mg_snapshot *snapshot;
    assert_ok(world->engine->ops->snapshot(world->engine, &snapshot, &err));
    uint64_t epoch = world->engine->ops->snapshot_epoch(snapshot);
    world->engine->ops->snapshot_unref(snapshot);
    return epoch;
}

static struct mg_schema *schema_of(struct world *world, const char *name)
{
    struct mg_error err;
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    assert_ok(world->engine->ops->snapshot(world->engine, &snapshot, &err));
    assert_ok(world->engine->ops->table_by_name(snapshot, mg_slice_text("d"), mg_slice_text(name), &schema, &err));
    world->engine->ops->snapshot_unref(snapshot);
    return schema;
}

static uint64_t row_count(struct world *world, const char *name)
{
    struct mg_error err;
    struct mg_snapshot *snapshot;
    struct mg_table_stats stats;
    struct mg_schema *schema = schema_of(world, name);
    assert_ok(world->engine->ops->snapshot(world->engine, &snapshot, &err));
    assert_ok(world->engine->ops->stats(snapshot, schema->table_id, &stats, &err));
    world->engine->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
    return stats.row_count;
}

static void check_state(struct world *world, const char *name, enum mg_table_state state, const char *reason,
                        uint64_t good_until_ts)
{
    struct mg_schema *schema = schema_of(world, name);
    assert_int_equal(schema->state, state);
    if (reason && !strstr(schema->state_reason, reason))
        fail_msg("the reason is \"%s\", not \"%s\"", schema->state_reason, reason);
    if (state == MG_STATE_NEEDS_RELOAD)
        assert_int_equal(schema->good_until_ts, good_until_ts);
    mg_schema_unref(schema);
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

static void epochs_by_interval(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    uint64_t ddl_ts = world->ts;
    assert_int_equal(flush(world), ddl_ts);
    assert_int_equal(mg_writer_due_ms(world->writer), -1);
    insert(world, TABLE, 1);
    assert_int_equal(mg_writer_due_ms(world->writer), 10);
    assert_int_equal(advance(world), ddl_ts);
    pass_ms(world, 6);
    insert(world, TABLE, 2);
    assert_int_equal(mg_writer_due_ms(world->writer), 4);
    assert_int_equal(advance(world), ddl_ts);
    assert_int_equal(row_count(world, "t"), 0);
    pass_ms(world, 4);
    uint64_t epoch = newest_epoch(world);
    assert_int_equal(mg_writer_due_ms(world->writer), 0);
    assert_int_equal(advance(world), world->ts);
    assert_int_equal(newest_epoch(world), epoch + 1); /* both in one epoch */
    assert_int_equal(row_count(world, "t"), 2);

    assert_code(MG_INVALID, mg_writer_set_interval(world->writer, 0, &err));
    assert_ok(mg_writer_set_interval(world->writer, 500, &err));
    insert(world, TABLE, 3);
    pass_ms(world, 499);
    advance(world);
    assert_int_equal(row_count(world, "t"), 2);
    assert_ok(mg_writer_set_interval(world->writer, 1, &err)); /* at once, also for what is staged */
    assert_int_equal(mg_writer_due_ms(world->writer), 0);
    advance(world);
    assert_int_equal(row_count(world, "t"), 3);
}

static void epochs_by_rows(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    begin_txn(world, 100);
    for (int i = 0; i < 99; i++)
        add_row(world, TABLE, i, 2, i);
    assert_ok(apply_txn(world, &err));
    assert_int_equal(row_count(world, "t"), 0);
    begin_txn(world, 100); /* one transaction is never cut */
    for (int i = 100; i < 250; i++)
        add_row(world, TABLE, i, 2, i);
    assert_ok(apply_txn(world, &err));
    assert_int_equal(row_count(world, "t"), 249);
    assert_int_equal(flush(world), world->ts);
}

static void idle_watermarks(void **state)
{
    struct world *world = *state;

    create(world, TABLE, "t");
    uint64_t epoch = newest_epoch(world);
    for (int i = 0; i < 100; i++) {
        world->ts += 5;
        pass_ms(world, 20);
        advance(world);
    }
    assert_int_equal(newest_epoch(world), epoch + 10); /* 2 s at 200 ms */
    pass_ms(world, 1000);
    uint64_t seen = advance(world);
    assert_int_equal(seen, world->ts);
    epoch = newest_epoch(world);
    pass_ms(world, 1000);
    advance(world); /* the same watermark: nothing to publish */
    assert_int_equal(newest_epoch(world), epoch);
}

static const char *passed[16];
static unsigned passed_count;
static void note_stop(void *arg, const char *name)
{
    if (strncmp(name, "writer.", 7) == 0 && passed_count < MG_COUNT_OF(passed))
        passed[passed_count++] = name;
}

static void a_schema_change_is_an_epoch_of_its_own(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_snapshot *snapshot;
    struct mg_source_position *positions = calloc(MG_SOURCES_MAX, sizeof *positions);

    create(world, TABLE, "t");
    uint64_t epoch = newest_epoch(world);
    insert(world, TABLE, 1);
    uint64_t row_ts = world->ts;
    mg_stop_hook(note_stop, NULL);
    run_job(world, 15, job_json(15, MG_DDL_ADD_COLUMN, 105, TABLE, table_json(TABLE, "t", "id i, a i, b i"), ""));
    mg_stop_hook(NULL, NULL);
    assert_int_equal(passed_count, 2);
    assert_string_equal(passed[0], "writer.staged");
    assert_string_equal(passed[1], "writer.ddl");
    assert_int_equal(newest_epoch(world), epoch + 2);
    for (int i = 1; i <= 2; i++) {
        assert_ok(world->engine->ops->snapshot_at(world->engine, epoch + (uint64_t)i, &snapshot, &err));
        assert_int_equal(world->engine->ops->snapshot_watermarks(snapshot, positions, MG_SOURCES_MAX), 1);
        assert_int_equal(positions[0].watermark, i == 1 ? row_ts : world->ts);
        world->engine->ops->snapshot_unref(snapshot);
    }
    begin_txn(world, 105);
    add_row(world, TABLE, 2, 3, 7);
    assert_ok(apply_txn(world, &err));
    flush(world);
    assert_int_equal(row_count(world, "t"), 2);
    free(positions);
}

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static void jobs_that_are_waited_for(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    assert_code(MG_UNAVAILABLE, apply_job(world, 11, 5, "CREATE TABLE `t` (`id` INT)", &err));
    assert_non_null(strstr(err.text, "waiting for DDL job 11"));
    assert_non_null(strstr(err.text, "CREATE TABLE `t`"));
    pass_ms(world, 60000); /* for as long as it takes */
    assert_code(MG_UNAVAILABLE, apply_job(world, 11, 5, "CREATE TABLE `t` (`id` INT)", &err));
    create(world, TABLE, "t");
    world->fake.away = true;
    assert_code(MG_UNAVAILABLE, apply_job(world, 15, 5, "x", &err));
    insert(world, TABLE, 1); /* rows of known tables do not need the status port */
    world->fake.away = false;
    /* sequences: a job that no history has */
    assert_ok(apply_job(world, 999, 5, "SELECT SETVAL(`d`.`s`, 5);", &err));
    assert_ok(apply_job(world, 998, 5, " select setval(`d`.`s`, 5)", &err));
    /* the first record of a DROP COLUMN: waited for a while, then passed over */
    assert_code(MG_UNAVAILABLE, apply_job(world, 15, 1, "ALTER TABLE `t` DROP COLUMN `a`", &err));
    pass_ms(world, 2900);
    assert_code(MG_UNAVAILABLE, apply_job(world, 15, 1, "ALTER TABLE `t` DROP COLUMN `a`", &err));
    pass_ms(world, 100);
    assert_ok(apply_job(world, 15, 1, "ALTER TABLE `t` DROP COLUMN `a`", &err));
    begin_txn(world, 103); /* the row has it still */
    add_row(world, TABLE, 2, 2, 20);
    assert_ok(apply_txn(world, &err));
    run_job(world, 15, job_json(15, MG_DDL_DROP_COLUMN, 105, TABLE, table_json(TABLE, "t", "id i"), ""));
    begin_txn(world, 102); /* begun before */
    add_row(world, TABLE, 3, 2, 30);
    assert_ok(apply_txn(world, &err));
    flush(world);
    check_state(world, "t", MG_STATE_OK, NULL, 0);
    assert_int_equal(row_count(world, "t"), 3);
}

static void the_source_is_away_at_first(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    uint64_t published;

    world->fake.away = true;
    assert_code(MG_UNAVAILABLE, mg_writer_advance(world->writer, 5, 1, &published, &err));
    assert_code(MG_UNAVAILABLE, mg_writer_flush(world->writer, &published, &err));
    begin_txn(world, 1);
    assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
    world->fake.away = false;
    assert_ok(apply_txn(world, &err));
    assert_int_equal(flush(world), world->ts);
}

static void another_source_is_staging(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_latch_writer *other;
    struct mg_epoch *epoch;
    uint64_t published;

    create(world, TABLE, "t");
    assert_ok(mg_latch_writer_open(world->latch, "local", &other, NULL, &err));
    assert_ok(mg_latch_writer_begin(other, 1000, &epoch, &err));
    insert(world, TABLE, 1);
    pass_ms(world, 50);
    assert_ok(mg_writer_advance(world->writer, world->ts, 7, &published, &err)); /* waits, then goes on staging */
    assert_true(published < world->ts);
    assert_int_equal(mg_writer_due_ms(world->writer), 0);
    finish_job(world, 15, job_json(15, MG_DDL_TRUNCATE_TABLE, 105, TABLE, table_json(12, "t", "id i, a i"), ""));
    assert_code(MG_UNAVAILABLE, apply_job(world, 15, 0, "TRUNCATE TABLE `t`", &err));
    mg_latch_writer_abort(other);
    mg_latch_writer_close(other);
    assert_int_equal(advance(world), world->ts);
    assert_int_equal(row_count(world, "t"), 1);
    assert_ok(apply_job(world, 15, 0, "TRUNCATE TABLE `t`", &err));
    assert_int_equal(row_count(world, "t"), 0);
}

/* A table of the source local; its database, too, when that is missing. */
static void load_table(struct world *world, const char *database, bool make_database)
{
    const struct mg_engine_ops *ops = world->engine->ops;
    struct mg_schema_change create_database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = database};
    struct mg_schema *schema = mg_schema_new();
    struct mg_latch_writer *local;
    struct mg_column *column;
    struct mg_epoch *epoch;
    uint64_t number;
    struct mg_error err;

    assert_ok(ops->reserve(world->engine, &schema->table_id, &schema->version, &err));
    assert_ok(mg_schema_text(&schema->database, mg_slice_text(database), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("loaded"), &err));
    assert_ok(mg_schema_text(&schema->source, mg_slice_text("local"), &err));
    assert_ok(mg_schema_add_column(schema, &column, &err));
    assert_ok(mg_schema_text(&column->name, mg_slice_text("id"), &err));
    column->id = 1;
    column->type.id = MG_TYPE_INT64;
    column->missing.is_null = true;
    schema->key_count = 1;
    assert_ok(mg_schema_seal(schema, &err));
    struct mg_schema_change put_table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = schema};
    assert_ok(mg_latch_writer_open(world->latch, "local", &local, NULL, &err));
    assert_ok(mg_latch_writer_begin(local, 1000, &epoch, &err));
    if (make_database)
        assert_ok(ops->change_schema(epoch, &create_database, &err));
    assert_ok(ops->change_schema(epoch, &put_table, &err));
    assert_ok(mg_latch_writer_publish(local, 0, MG_SLICE(NULL, 0), &number, &err));
    mg_latch_writer_close(local);
    mg_schema_unref(schema);
}

static void a_database_is_shared_with_loaded_tables(void **state)
{
    struct world *world = *state;

    load_table(world, "d", true); /* the source makes it, too */
    create(world, TABLE, "t");
    insert(world, TABLE, 1);
    flush(world);
    assert_int_equal(row_count(world, "t"), 1);
    run_job(world, 15, job_json(15, MG_DDL_DROP_DATABASE, 105, 0, NULL, ""));
    assert_int_equal(row_count(world, "loaded"), 0);
    create(world, TABLE + 20, "t");
    assert_int_equal(row_count(world, "t"), 0);
}

/* ---- tables that fall out ------------------------------------------------------------------------------------ */

static void a_row_that_cannot_be_decoded(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    create(world, OTHER, "u");
    insert(world, TABLE, 1);
    insert(world, OTHER, 1);
    uint64_t good = flush(world);
    insert(world, TABLE, 2);
    insert(world, OTHER, 2);
    begin_txn(world, 100);
    add_row(world, OTHER, 3, 2, 30);
    add_row(world, TABLE, 3, 2, INT64_C(1) << 40); /* into an INT */
    add_row(world, OTHER, 4, 2, 40);
    assert_ok(apply_txn(world, &err));
    insert(world, TABLE, 5);
    insert(world, OTHER, 5);
    check_state(world, "t", MG_STATE_OK, NULL, 0);
    assert_int_equal(flush(world), world->ts);
    /* As it was at the last snapshot before; the others have the whole transaction. */
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "column a (id 2, int)", good);
    assert_int_equal(row_count(world, "t"), 1);
    assert_int_equal(row_count(world, "u"), 5);
    insert(world, TABLE, 6);
    flush(world);
    assert_int_equal(row_count(world, "t"), 1);
}

static void rows_without_an_order(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    begin_txn(world, 100);
    mg_buffer_reset(&world->mutation);
    put_int(&world->mutation, 1, TABLE);
    put_int(&world->mutation, 7, 1); /* an update that is not there */
    put_bytes(&world->message, 2, &world->mutation);
    assert_ok(apply_txn(world, &err));
    flush(world);
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "a row cannot be kept", world->ts - 10);
}

static void columns_that_no_job_has_shown(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    create(world, OTHER, "u");
    insert(world, TABLE, 1);
    insert(world, OTHER, 1);
    begin_txn(world, 103);
    add_row(world, OTHER, 2, 2, 20);
    add_row(world, TABLE, 2, 3, 20);
    assert_code(MG_UNAVAILABLE, apply_txn(world, &err)); /* held: its job may be about to finish */
    assert_non_null(strstr(err.text, "column id 3"));
    assert_int_equal(flush(world), world->ts); /* nothing of it was staged */
    assert_int_equal(row_count(world, "t"), 1);
    assert_int_equal(row_count(world, "u"), 1);
    pass_ms(world, 3000);
    assert_ok(apply_txn(world, &err));
    flush(world);
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "column id 3, which no finished schema change has shown yet",
                world->ts - 10);
    assert_int_equal(row_count(world, "u"), 2);
}

static void rows_before_their_job(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    create(world, OTHER, "u");
    insert(world, TABLE, 1);
    begin_txn(world, 103);
    add_row(world, OTHER, 2, 2, 20);
    add_row(world, TABLE, 2, 3, 20);
    assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
    const char *job = job_json(15, MG_DDL_MULTI_SCHEMA_CHANGE, 103, TABLE, table_json(TABLE, "t", "id i, a i, b i"),
                               ",\"multi_schema_info\":{\"sub_jobs\":[{\"type\":5}]}");
    fake_answer(&world->fake, "/ddl/history?limit=64", job);
    finish_job(world, 15, job);
    assert_ok(apply_txn(world, &err));
    uint64_t epoch = newest_epoch(world);
    assert_ok(apply_job(world, 15, 0, "ALTER TABLE `t` ADD COLUMN `b` INT", &err)); /* nothing is left to do, */
    assert_int_equal(newest_epoch(world), epoch + 1);                               /* but the rows before it */
    flush(world);
    check_state(world, "t", MG_STATE_OK, NULL, 0);
    assert_int_equal(row_count(world, "t"), 2);
    struct mg_schema *schema = schema_of(world, "t");
    assert_int_equal(schema->column_count, 3);
    mg_schema_unref(schema);
}

static void a_column_above_all_versions(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    /* The history has a later job of the table: no other one can come for version 103. */
    fake_answer(&world->fake, "/ddl/history?limit=64",
                job_json(15, MG_DDL_ADD_COLUMN, 104, TABLE, table_json(TABLE, "t", "id i, a i, b i"), ""));
    begin_txn(world, 103);
    add_row(world, TABLE, 2, 3, 20);
    assert_ok(apply_txn(world, &err)); /* without waiting */
    flush(world);
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "column id 3", world->ts - 10);
}

static void tables_that_nobody_told_of(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    char place[9000];

    create(world, TABLE, "t");
    snprintf(place, sizeof place, "{\"db_info\":{\"db_name\":{\"O\":\"d\"}},\"table_info\":%s}",
             table_json(50, "s", "id i, a i"));
    fake_answer(&world->fake, "/db-table/50", place);
    begin_txn(world, 100);
    add_row(world, TABLE, 1, 2, 10);
    add_row(world, 50, 1, 2, 10);
    add_row(world, 51, 1, 2, 10); /* gone */
    add_row(world, INT64_C(1) << 50, 1, 2, 10);
    world->fake.away = true;
    assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
    world->fake.away = false;
    assert_ok(apply_txn(world, &err));
    flush(world);
    assert_int_equal(row_count(world, "t"), 1);
    check_state(world, "s", MG_STATE_NEEDS_RELOAD, "nothing told that it was made", 0);
}

static void late_transactions(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    create(world, OTHER, "u");
    insert(world, TABLE, 1);
    insert(world, OTHER, 1);
    uint64_t good = flush(world);
    world->ts += 100;
    pass_ms(world, 1000);
    assert_int_equal(advance(world), world->ts);
    insert(world, TABLE, 2); /* staged; lost with the table */
    insert(world, OTHER, 2);
    begin_txn(world, 100);
    add_row(world, TABLE, 9, 2, 10);
    struct mg_txn late = {
        .kind = MG_TXN_ROWS, .commit_ts = good + 50, .rows = mg_span_of(mg_buffer_slice(&world->message))};
    assert_ok(mg_writer_needs_reload(world->writer, &late, "a commit was settled too late", &err));
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "a commit was settled too late", good + 49);
    assert_int_equal(row_count(world, "u"), 2);
    /* and a schema change */
    finish_job(world, 25, job_json(25, MG_DDL_ADD_COLUMN, 125, OTHER, table_json(OTHER, "u", "id i, a i, b i"), ""));
    struct mg_txn job = {.kind = MG_TXN_DDL, .job_id = 25, .query = mg_slice_text("ALTER TABLE")};
    assert_ok(mg_writer_needs_reload(world->writer, &job, "a schema change came too late", &err));
    check_state(world, "u", MG_STATE_NEEDS_RELOAD, "a schema change came too late", world->ts);
    assert_ok(mg_writer_needs_reload(world->writer, &late, "again", &err)); /* the first reason stays */
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "a commit was settled too late", good + 49);
    /* but what is known to be good may become less, also when nothing else is to be published */
    late.commit_ts = good + 20;
    assert_ok(mg_writer_needs_reload(world->writer, &late, "again", &err));
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "a commit was settled too late", good + 19);
    late.commit_ts = good + 30;
    assert_ok(mg_writer_needs_reload(world->writer, &late, "again", &err));
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "a commit was settled too late", good + 19);
    insert(world, OTHER, 3);
    flush(world);
}

/* ---- stopping ------------------------------------------------------------------------------------------------ */

static void reopen(struct world *world, uint64_t want_ts, uint64_t want_seq)
{
    mg_writer_close(world->writer);
    struct mg_source_position position = open_writer(world);
    assert_int_equal(position.watermark, want_ts);
    assert_int_equal(position.position_size, 8);
    assert_int_equal(mg_load_le64(position.position), want_seq);
    assert_int_equal(mg_writer_durable_seq(world->writer), want_seq);
}

static void a_restart_goes_on_where_the_store_stands(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, TABLE, "t");
    insert(world, TABLE, 1);
    pass_ms(world, 10);
    uint64_t ts = advance(world), seq = world->seq;
    assert_int_equal(ts, world->ts);
    insert(world, TABLE, 2); /* not published */
    world->ts = ts;
    reopen(world, ts, seq);
    assert_int_equal(row_count(world, "t"), 1);
    insert(world, TABLE, 2);
    /* A cut between two advances keeps the place of the one before. */
    run_job(world, 15, job_json(15, MG_DDL_ADD_COLUMN, 105, TABLE, table_json(TABLE, "t", "id i, a i, b i"), ""));
    reopen(world, world->ts, seq);
    begin_txn(world, 105);
    add_row(world, TABLE, 3, 3, 7);
    assert_ok(apply_txn(world, &err));
    begin_txn(world, 105);
    add_row(world, TABLE, 4, 4, 7); /* not shown by any job */
    fake_answer(&world->fake, "/ddl/history?limit=64",
                job_json(15, MG_DDL_ADD_COLUMN, 105, TABLE, table_json(TABLE, "t", "id i, a i, b i"), ""));
    assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
    flush(world);
    assert_int_equal(row_count(world, "t"), 3);
    assert_true(world->fake.asked > 0);
}

static void an_older_writer_is_fenced(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_latch_writer *newer;
    uint64_t published;

    create(world, TABLE, "t");
    assert_ok(mg_latch_writer_open(world->latch, "tidb", &newer, NULL, &err));
    insert(world, TABLE, 1);
    assert_code(MG_WRITER_FENCED, mg_writer_flush(world->writer, &published, &err));
    assert_code(MG_SOURCE_STOPPED, mg_writer_flush(world->writer, &published, &err));
    assert_non_null(strstr(err.text, "applying stopped"));
    assert_code(MG_SOURCE_STOPPED, mg_writer_advance(world->writer, world->ts, 1, &published, &err));
    mg_latch_writer_close(newer);
}

static void memory_runs_out(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    uint64_t published;

    create(world, TABLE, "t");
    insert(world, TABLE, 1);
    pass_ms(world, 10);
    uint64_t ts = advance(world);
    world->budget.limit_bytes = mg_budget_used(&world->budget) + 600;
    begin_txn(world, 100);
    for (int i = 0; i < 5000; i++)
        add_row(world, TABLE, i + 10, 2, i);
    assert_code(MG_NO_MEMORY, apply_txn(world, &err));
    assert_non_null(strstr(err.text, "memory limit"));
    assert_code(MG_SOURCE_STOPPED, mg_writer_flush(world->writer, &published, &err));
    assert_non_null(strstr(err.text, "memory limit"));
    /* Nothing is lost: with more memory, a new writer applies it again. */
    world->budget.limit_bytes = 1 << 24;
    reopen(world, ts, world->seq);
    assert_ok(apply_txn(world, &err));
    flush(world);
    assert_int_equal(row_count(world, "t"), 5001);
}

/* ---- large transactions -------------------------------------------------------------------------------------- */

enum { LARGE_ROWS = 20000, WIDE = 25 };

/* A table of WIDE columns, so that a row of a few bytes becomes one of hundreds. */
static void create_wide(struct world *world, int64_t id, const char *name)
{
    char columns[WIDE * 16];
    int size = snprintf(columns, sizeof columns, "id i");
    for (int i = 1; i < WIDE; i++)
        size += snprintf(columns + size, sizeof columns - (size_t)size, ", c%d I", i);
    run_job(world, id + 1, job_json(id + 1, MG_DDL_CREATE_TABLE, id + 1, id, table_json(id, name, columns), ""));
}

/* One mutation of many inserted rows from handle `first` on: of every third row but the first only the handle. The row
 * with the handle `bad` has that column and value. */
static void add_rows(struct world *world, int64_t table_id, int64_t first, int64_t count, int64_t bad,
                     int64_t column_id, int64_t value)
{
    struct mg_error err;
    mg_buffer_reset(&world->mutation);
    put_int(&world->mutation, 1, table_id);
    for (int64_t i = first; i < first + count; i++) {
        mg_buffer_reset(&world->row);
        put_datum(&world->row, i);
        if (i == bad) {
            put_datum(&world->row, column_id);
            put_datum(&world->row, value);
        } else if (i % 3 == 0) {
            put_datum(&world->row, 2);
            put_datum(&world->row, i);
        } else {
            assert_ok(mg_buffer_append_u8(&world->row, 0, &err));
        }
        put_bytes(&world->mutation, 2, &world->row);
    }
    for (int64_t i = 0; i < count; i++)
        put_int(&world->mutation, 7, 0);
    put_bytes(&world->message, 2, &world->mutation);
}

static void reopen_with(struct world *world, bool is_outside, size_t txn_bytes_max)
{
    mg_writer_close(world->writer);
    world->is_outside = is_outside;
    world->txn_bytes_max = txn_bytes_max;
    open_writer(world);
}

static size_t peak_of(struct world *world) { return atomic_load(&world->budget.peak_bytes); }

static void forget_peak(struct world *world)
{
    atomic_store(&world->budget.peak_bytes, mg_budget_used(&world->budget));
}

/* Memory does not grow with a transaction, wherever its message is; it is one epoch, and so is what came before. */
static void a_transaction_larger_than_memory(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create_wide(world, TABLE, "t");
    create(world, OTHER, "u");
    for (int way = 0; way < 2; way++) {
        reopen_with(world, way == 1, 256 << 10);
        insert(world, OTHER, way + 1);
        uint64_t epoch = newest_epoch(world);
        forget_peak(world);
        begin_txn(world, 100);
        add_rows(world, TABLE, way * LARGE_ROWS, LARGE_ROWS, -1, 0, 0);
        add_row(world, OTHER, way + 10, 2, 7);
        assert_ok(apply_txn(world, &err));
        assert_int_equal(newest_epoch(world), epoch + 1 + (way == 0)); /* outside memory each is its own */
        assert_int_equal(row_count(world, "t"), (way + 1) * LARGE_ROWS);
        assert_int_equal(row_count(world, "u"), (way + 1) * 2);
        assert_int_equal(mg_writer_due_ms(world->writer), -1);
        /* Rows of WIDE columns, most of 8 bytes; before, all of them were in memory at once. */
        assert_true(peak_of(world) < 1 << 20 && (size_t)LARGE_ROWS * (WIDE - 1) * 8 > 3 << 20);
        assert_int_equal(advance(world), world->ts);
    }
    /* In memory and allowed to wait: this is what it takes. */
    reopen_with(world, false, SIZE_MAX / 4);
    world->budget.limit_bytes = 3 << 20;
    begin_txn(world, 100);
    add_rows(world, TABLE, 3 * LARGE_ROWS, LARGE_ROWS, -1, 0, 0);
    assert_code(MG_NO_MEMORY, apply_txn(world, &err));
}

/* In whatever batch: the table is lost as it was before, the others have all of it, in the same epoch. */
static void a_bad_row_in_a_large_transaction(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create(world, OTHER, "u");
    for (int64_t i = 0; i < 6; i++) {
        int64_t id = 100 + i * 10, bad = (int64_t[]){0, 1, 9000, 15000, LARGE_ROWS - 1, 7777}[i];
        char name[8];
        snprintf(name, sizeof name, "t%d", (int)i);
        reopen_with(world, i % 2, 256 << 10);
        create_wide(world, id, name);
        insert(world, OTHER, 100 + i);
        insert(world, id, 1000000);
        uint64_t good = flush(world), epoch = newest_epoch(world);
        begin_txn(world, 100);
        add_rows(world, OTHER, i * 20000 + 1000, 9000, -1, 0, 0);
        add_rows(world, id, 0, LARGE_ROWS, bad, 2, i == 5 ? INT64_MIN : 5);
        if (i < 5) { /* a column's value that is none: a datum cut short at the end of the row */
            mg_buffer_reset(&world->row);
            mg_buffer_reset(&world->mutation);
            put_datum(&world->row, 3000000);
            put_datum(&world->row, 2);
            assert_ok(mg_buffer_append_u8(&world->row, 8, &err));
            put_int(&world->mutation, 1, id);
            put_bytes(&world->mutation, 2, &world->row);
            put_int(&world->mutation, 7, 0);
            put_bytes(&world->message, 2, &world->mutation);
        } else {
            add_row(world, id, 3000000, 1, 1);
            mg_buffer_reset(&world->mutation);
            put_int(&world->mutation, 1, id);
            put_int(&world->mutation, 7, 1); /* an update that is not there */
            put_bytes(&world->message, 2, &world->mutation);
        }
        add_rows(world, OTHER, i * 20000 + 11000, 7000, -1, 0, 0);
        forget_peak(world);
        assert_ok(apply_txn(world, &err));
        assert_int_equal(newest_epoch(world), epoch + 1);
        assert_true(peak_of(world) < 1 << 20);
        check_state(world, name, MG_STATE_NEEDS_RELOAD, "a row cannot be kept", good);
        assert_int_equal(row_count(world, name), 1);
        insert(world, OTHER, 200 + i); /* applying goes on */
        flush(world);
        assert_int_equal(row_count(world, "u"), (i + 1) * 16002);
    }
}

/* A column that no job has shown yet, in the middle: nothing of the transaction is staged until its job is known. */
static void a_large_transaction_ahead_of_its_job(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    create_wide(world, TABLE, "t");
    create(world, OTHER, "u");
    flush(world);
    for (int way = 0; way < 2; way++) {
        reopen_with(world, way == 1, 256 << 10);
        insert(world, OTHER, way + 1);
        begin_txn(world, 103);
        add_rows(world, OTHER, 1000 + way * 10000, 5000, -1, 0, 0);
        add_rows(world, TABLE, way * LARGE_ROWS, LARGE_ROWS, way * LARGE_ROWS + 12345, 26 + way, 5);
        assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
        assert_non_null(strstr(err.text, "no finished schema change has shown yet"));
        assert_int_equal(row_count(world, "t"), 0);
        assert_int_equal(row_count(world, "u"), way + 1);
        assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
        if (way == 0) {
            reopen_with(world, true, 256 << 10); /* elsewhere it is tried again */
            assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
        }
    }
    pass_ms(world, 3000);
    uint64_t good = flush(world);
    assert_ok(apply_txn(world, &err));
    check_state(world, "t", MG_STATE_NEEDS_RELOAD, "column id 27, which no finished schema change has shown yet", good);
    assert_int_equal(row_count(world, "t"), 0);
    assert_int_equal(row_count(world, "u"), 5002);
}

/* While another source stages, a large transaction waits, and nothing of it is lost. */
static void a_large_transaction_waits_for_its_turn(void **state)
{
    struct world *world = *state;
    struct mg_source_position *position = calloc(1, sizeof *position);
    struct mg_latch_writer *other;
    struct mg_epoch *epoch;
    struct mg_error err;

    assert_non_null(position);
    create_wide(world, TABLE, "t");
    flush(world);
    for (int way = 0; way < 2; way++) {
        reopen_with(world, way == 1, 256 << 10);
        assert_ok(mg_latch_writer_open(world->latch, "other", &other, position, &err));
        assert_ok(mg_latch_writer_begin(other, 0, &epoch, &err));
        begin_txn(world, 100);
        add_rows(world, TABLE, way * LARGE_ROWS, LARGE_ROWS, -1, 0, 0);
        assert_code(MG_UNAVAILABLE, apply_txn(world, &err));
        mg_latch_writer_close(other);
        assert_int_equal(row_count(world, "t"), way * LARGE_ROWS);
        assert_ok(apply_txn(world, &err));
        assert_int_equal(row_count(world, "t"), (way + 1) * LARGE_ROWS);
    }
    free(position);
}

/* An error between two batches leaves nothing; a new writer applies it again. */
static void a_large_transaction_fails_whole(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    uint64_t ts, published;

    create_wide(world, TABLE, "t");
    ts = flush(world);
    reopen_with(world, true, 256 << 10);
    begin_txn(world, 100);
    add_rows(world, TABLE, 0, LARGE_ROWS, -1, 0, 0);
    /* Behind the rows one that no window has room for. */
    mg_buffer_reset(&world->row);
    mg_buffer_reset(&world->mutation);
    assert_ok(mg_buffer_append_zeros(&world->row, 600 << 10, &err));
    put_int(&world->mutation, 1, TABLE);
    put_bytes(&world->mutation, 2, &world->row);
    put_int(&world->mutation, 7, 0);
    put_bytes(&world->message, 2, &world->mutation);
    world->budget.limit_bytes = 600 << 10;
    assert_code(MG_NO_MEMORY, apply_txn(world, &err));
    assert_code(MG_SOURCE_STOPPED, mg_writer_flush(world->writer, &published, &err));
    assert_int_equal(row_count(world, "t"), 0);
    world->budget.limit_bytes = 1 << 24;
    reopen_with(world, true, 256 << 10);
    begin_txn(world, 100);
    add_rows(world, TABLE, 0, LARGE_ROWS, -1, 0, 0);
    assert_ok(apply_txn(world, &err));
    assert_int_equal(row_count(world, "t"), LARGE_ROWS);
    assert_int_equal(flush(world), ts + 10);
}

static void a_transaction_that_is_none(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    struct mg_txn txn = {.kind = MG_TXN_ROWS, .commit_ts = 2000, .rows = mg_span_of(mg_slice_text("\x12\x7fgarbage"))};
    /* which tables are wrong? It cannot be passed over */
    assert_code(MG_PROTOCOL, mg_writer_apply(world->writer, &txn, &err));
    assert_code(MG_SOURCE_STOPPED, mg_writer_apply(world->writer, &txn, &err));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(epochs_by_interval),
        CASE(epochs_by_rows),
        CASE(idle_watermarks),
        CASE(a_schema_change_is_an_epoch_of_its_own),
        CASE(jobs_that_are_waited_for),
        CASE(the_source_is_away_at_first),
        CASE(another_source_is_staging),
        CASE(a_database_is_shared_with_loaded_tables),
        CASE(a_row_that_cannot_be_decoded),
        CASE(rows_without_an_order),
        CASE(columns_that_no_job_has_shown),
        CASE(rows_before_their_job),
        CASE(a_column_above_all_versions),
        CASE(tables_that_nobody_told_of),
        CASE(late_transactions),
        CASE(a_restart_goes_on_where_the_store_stands),
        CASE(an_older_writer_is_fenced),
        CASE(memory_runs_out),
        CASE(a_transaction_larger_than_memory),
        CASE(a_bad_row_in_a_large_transaction),
        CASE(a_large_transaction_ahead_of_its_job),
        CASE(a_large_transaction_waits_for_its_turn),
        CASE(a_large_transaction_fails_whole),
        CASE(a_transaction_that_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
