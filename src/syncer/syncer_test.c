/* syncer_test.c -- does applying follow its state diagram, while taking records goes on whatever it does?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io_fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "syncer/binlog_testing.h"
#include "syncer/buffer/buffer_testing.h"
#include "syncer/syncer.h"

/* A source whose answers a test sets; it knows its buffer, so that a test can put records where the pump would. */
struct fake {
    struct mg_source source;
    struct mg_buffer_log *buffer;
};

static struct {
    struct mg_mutex lock; /* guards all that follows */
    bool reachable;
    char binlog_status[16];
    uint64_t oracle_ts;
    struct fake *open;
} world;

static enum mg_code fake_open(const struct mg_source_options *options, struct mg_source **out, struct mg_error *err)
{
    struct fake *fake = calloc(1, sizeof *fake);
    fake->source.ops = (const struct mg_source_ops *)options->listen; /* the test puts the table there */
    fake->buffer = options->buffer;
    world.open = fake;
    *out = &fake->source;
    return MG_OK;
}

static enum mg_code fake_start(struct mg_source *source, struct mg_error *err) { return MG_OK; }

static void fake_stop(struct mg_source *source) { mg_buffer_log_stop_intake(((struct fake *)source)->buffer); }

static void fake_close(struct mg_source *source) { free(source); }

static enum mg_code fake_oracle(struct mg_source *source, int64_t timeout_ms, uint64_t *out_ts, struct mg_error *err)
{
    mg_mutex_lock(&world.lock);
    uint64_t ts = world.oracle_ts;
    mg_mutex_unlock(&world.lock);
    if (!ts)
        return mg_fail(err, MG_UNAVAILABLE, "no oracle");
    *out_ts = ts;
    return MG_OK;
}

static enum mg_code fake_settle(struct mg_source *source, uint64_t start_ts, struct mg_slice prewrite_key,
                                struct mg_settlement *out, struct mg_error *err)
{
    *out = (struct mg_settlement){.fate = MG_FATE_LOCKED};
    return MG_OK;
}

static enum mg_code fake_health(struct mg_source *source, struct mg_source_health *out, struct mg_error *err)
{
    mg_mutex_lock(&world.lock);
    *out = (struct mg_source_health){.peer_connected = true, .status_reachable = world.reachable, .peer_start_time = 1};
    snprintf(out->binlog_status, sizeof out->binlog_status, "%s", world.binlog_status);
    mg_mutex_unlock(&world.lock);
    return MG_OK;
}

/* An empty schema, as far as anything is there. */
static enum mg_code fake_fetch(struct mg_source *source, const char *path, struct mg_arena *arena, struct mg_slice *out,
                               struct mg_error *err)
{
    mg_mutex_lock(&world.lock);
    bool reachable = world.reachable;
    mg_mutex_unlock(&world.lock);
    if (!reachable)
        return mg_fail(err, MG_UNAVAILABLE, "the status port is away");
    *out = mg_slice_text("[]");
    return MG_OK;
}

static const struct mg_source_ops fake_ops = {
    .name = "fake",
    .open = fake_open,
    .start = fake_start,
    .stop = fake_stop,
    .close = fake_close,
    .oracle = fake_oracle,
    .settle = fake_settle,
    .health = fake_health,
    .fetch = fake_fetch,
};

struct bench {
    struct mg_io_fault *disk;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_syncer *syncer;
};

static void set_world(bool reachable, const char *binlog_status, uint64_t oracle_ts)
{
    mg_mutex_lock(&world.lock);
    world.reachable = reachable;
    snprintf(world.binlog_status, sizeof world.binlog_status, "%s", binlog_status);
    world.oracle_ts = oracle_ts;
    mg_mutex_unlock(&world.lock);
}

static enum mg_code try_open(struct bench *bench, struct mg_error *err)
{
    const struct mg_syncer_options options = {
        .source_ops = &fake_ops,
        .source = {.name = "tidb", .listen = (const char *)&fake_ops, .status_url = ""},
        .latch = bench->latch,
        .engine = bench->engine,
        .io = mg_io_fault_io(bench->disk),
        .buffer_folder = "buffer",
        .buffer_limit_bytes = 1 << 30,
        .buffer_segment_bytes = 8192,
        .interval_ms = 1,
    };
    return mg_syncer_open(&options, &bench->syncer, err);
}

static void open_syncer(struct bench *bench)
{
    struct mg_error err = MG_ERROR_INIT;
    if (try_open(bench, &err) != MG_OK)
        fail_msg("%s", err.text);
}

/* An engine and its latch. */
static void bench_begin(struct bench *bench)
{
    *bench = (struct bench){.disk = mg_io_fault_new(1)};
    const struct mg_engine_options engine = {.folder = NULL};
    assert_int_equal(mg_engine_model.open(&engine, &bench->engine, NULL), MG_OK);
    const struct mg_latch_options latch = {.engine = bench->engine, .secret = "a secret of thirty-two bytes..."};
    assert_int_equal(mg_latch_new(&latch, &bench->latch, NULL), MG_OK);
    set_world(true, "On", 0);
}

static void bench_init(struct bench *bench)
{
    bench_begin(bench);
    open_syncer(bench);
}

static void bench_clear(struct bench *bench)
{
    mg_syncer_close(bench->syncer);
    mg_latch_free(bench->latch);
    bench->engine->ops->close(bench->engine);
    mg_io_fault_free(bench->disk);
}

/* P of a transaction that needs no schema: the use of a sequence. */
static void put_p(uint64_t start_ts)
{
    const struct mg_binlog binlog = {.type = MG_BINLOG_PREWRITE,
                                     .start_ts = start_ts,
                                     .prewrite_key = mg_slice_text("m"),
                                     .ddl_query = mg_slice_text("SELECT SETVAL(`d`.`s`, 5);"),
                                     .ddl_job_id = 5,
                                     .ddl_schema_state = 5};
    const struct mg_test_message message = mg_test_binlog(&binlog);
    mg_test_put(world.open->buffer, mg_test_slice(&message), start_ts);
}

static void put_c(uint64_t start_ts, uint64_t commit_ts)
{
    const struct mg_test_message message = mg_test_end(MG_BINLOG_COMMIT, start_ts, commit_ts);
    mg_test_put(world.open->buffer, mg_test_slice(&message), commit_ts);
}

static struct mg_syncer_lag lag_of(struct bench *bench)
{
    struct mg_syncer_lag lag;
    mg_syncer_lag(bench->syncer, &lag);
    return lag;
}

static void wait_watermark(struct bench *bench, uint64_t ts)
{
    for (int i = 0; i < 1000; i++) {
        struct mg_syncer_lag lag = lag_of(bench);
        if (lag.watermark >= ts) {
            assert_int_equal(lag.watermark, ts);
            return;
        }
        usleep(5000);
    }
    struct mg_syncer_lag lag = lag_of(bench);
    fail_msg("watermark %llu, not %llu; %s", (unsigned long long)lag.watermark, (unsigned long long)ts, lag.reason);
}

static struct mg_syncer_lag wait_state(struct bench *bench, enum mg_syncer_state state)
{
    struct mg_syncer_lag lag = lag_of(bench);
    for (int i = 0; i < 1600 && lag.state != state; i++) {
        usleep(5000);
        lag = lag_of(bench);
    }
    if (lag.state != state)
        fail_msg("state %d, not %d: %s", (int)lag.state, (int)state, lag.reason);
    return lag;
}

static void what_is_complete_becomes_visible(void **state)
{
    struct bench bench;
    bench_init(&bench);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_RUNNING);
    assert_string_equal(lag.reason, "");
    assert_true(lag.lag_ms > 0);
    /* Idle: the oracle moves W. */
    set_world(true, "On", 5000);
    wait_watermark(&bench, 5000);
    /* A transaction that blocks is named. */
    put_p(6000);
    put_p(6001);
    put_c(6001, 6010);
    for (int i = 0; i < 1000 && lag.waiting_txns == 0; i++) {
        usleep(5000);
        lag = lag_of(&bench);
    }
    assert_int_equal(lag.oldest_open_start_ts, 6000);
    assert_int_equal(lag.oldest_open_table_count, 1);
    assert_string_equal(lag.oldest_open_tables[0], "schema change 5");
    assert_int_equal(lag.open_txns, 1);
    assert_int_equal(lag.known_ts, 6010);
    put_c(6000, 6020);
    wait_watermark(&bench, 6020);
    bench_clear(&bench);
}

/* Table shop.NAME of that source, in an epoch of its own. */
static void make_table(struct bench *bench, const char *source, const char *name, int64_t source_id)
{
    const struct mg_engine_ops *ops = bench->engine->ops;
    const struct mg_schema_change database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "shop"};
    struct mg_schema_change table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = mg_schema_new()};
    struct mg_schema *schema = table.schema;
    struct mg_latch_writer *writer = NULL;
    struct mg_column *column;
    struct mg_epoch *epoch;
    uint64_t number;
    assert_int_equal(ops->reserve(bench->engine, &schema->table_id, &schema->version, NULL), MG_OK);
    assert_int_equal(mg_schema_text(&schema->database, mg_slice_text("shop"), NULL), MG_OK);
    assert_int_equal(mg_schema_text(&schema->table, mg_slice_text(name), NULL), MG_OK);
    assert_int_equal(mg_schema_text(&schema->source, mg_slice_text(source), NULL), MG_OK);
    assert_int_equal(mg_schema_add_column(schema, &column, NULL), MG_OK);
    assert_int_equal(mg_schema_text(&column->name, mg_slice_text("id"), NULL), MG_OK);
    assert_int_equal(mg_schema_text(&column->source_type, mg_slice_text("int"), NULL), MG_OK);
    column->id = 1;
    column->type.id = MG_TYPE_INT64;
    column->missing.is_null = true;
    schema->key_count = 1;
    schema->source_id = source_id;
    assert_int_equal(mg_schema_seal(schema, NULL), MG_OK);
    assert_int_equal(mg_latch_writer_open(bench->latch, source, &writer, NULL, NULL), MG_OK);
    assert_int_equal(mg_latch_writer_begin(writer, 1000, &epoch, NULL), MG_OK);
    enum mg_code code = ops->change_schema(epoch, &database, NULL);
    assert_true(code == MG_OK || code == MG_EXISTS);
    assert_int_equal(ops->change_schema(epoch, &table, NULL), MG_OK);
    assert_int_equal(mg_latch_writer_publish(writer, 10, MG_SLICE(NULL, 0), &number, NULL), MG_OK);
    assert_int_equal(ops->wait(bench->engine, number, 10000, NULL), MG_OK);
    mg_latch_writer_close(writer);
    mg_schema_unref(schema);
}

/* By the names that the store has for the source's ids; those of another source have the same ids by chance. */
static void a_blocking_transaction_names_its_tables(void **state)
{
    struct bench bench;
    struct mg_test_message value = {.size = 0};
    bench_begin(&bench);
    make_table(&bench, "other", "not this one", 21);
    make_table(&bench, "tidb", "orders, old", 20);
    make_table(&bench, "tidb", "lines", 28);
    open_syncer(&bench);
    mg_test_put_number(&value, 1, 1);
    for (uint64_t id = 20; id < 31; id++) {
        struct mg_test_message mutation = {.size = 0};
        mg_test_put_number(&mutation, 1, id == 22 ? 28 : id);
        mg_test_put_bytes(&value, 2, mg_test_slice(&mutation));
    }
    const struct mg_binlog binlog = {.type = MG_BINLOG_PREWRITE,
                                     .start_ts = 6000,
                                     .prewrite_key = mg_slice_text("k"),
                                     .prewrite_value = mg_test_slice(&value)};
    const struct mg_test_message message = mg_test_binlog(&binlog);
    mg_test_put(world.open->buffer, mg_test_slice(&message), 6000);
    struct mg_syncer_lag lag = lag_of(&bench);
    for (int i = 0; i < 1000 && lag.oldest_open_start_ts == 0; i++) {
        usleep(5000);
        lag = lag_of(&bench);
    }
    assert_int_equal(lag.oldest_open_table_count, 9);
    assert_string_equal(lag.oldest_open_tables[0], "shop.orders, old");
    assert_string_equal(lag.oldest_open_tables[1], "table id 21");
    assert_string_equal(lag.oldest_open_tables[2], "shop.lines");
    assert_string_equal(lag.oldest_open_tables[7], "table id 27");
    assert_string_equal(lag.oldest_open_tables[8], "3 more");
    bench_clear(&bench);
}

static void goes_on_where_the_store_stands(void **state)
{
    struct bench bench;
    bench_init(&bench);
    uint64_t ts = 1000;
    for (int run = 0; run < 5; run++) {
        for (int i = 0; i < 50; i++, ts += 20) {
            put_p(ts);
            put_c(ts, ts + 10);
        }
        put_p(ts); /* open over the restart */
        if (run % 2)
            wait_watermark(&bench, ts);
        mg_syncer_close(bench.syncer);
        open_syncer(&bench);
        put_c(ts, ts + 10);
        ts += 20;
    }
    wait_watermark(&bench, ts - 10);
    /* What the store has was trimmed away, but for the newest segments. */
    struct mg_buffer_log_stats stats;
    for (int i = 0; i < 1000; i++) {
        mg_buffer_log_stats(world.open->buffer, &stats);
        if (stats.disk_bytes <= 3 * 8192)
            break;
        put_p(ts);
        put_c(ts, ts + 10);
        ts += 20;
        usleep(5000);
    }
    assert_true(stats.disk_bytes <= 3 * 8192);
    bench_clear(&bench);
}

static void a_pause_keeps_and_does_not_apply(void **state)
{
    struct bench bench;
    bench_init(&bench);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    assert_int_equal(mg_syncer_pause(bench.syncer, true, NULL), MG_OK);
    wait_state(&bench, MG_SYNCER_PAUSED);
    put_p(2000);
    put_c(2000, 2010);
    usleep(50000);
    struct mg_syncer_lag lag = lag_of(&bench);
    assert_int_equal(lag.watermark, 1010);
    assert_int_equal(lag.buffered_records, 2);
    assert_int_equal(mg_syncer_set_interval(bench.syncer, 5, NULL), MG_OK);
    assert_int_equal(mg_syncer_set_interval(bench.syncer, 0, NULL), MG_INVALID);
    assert_int_equal(mg_syncer_pause(bench.syncer, false, NULL), MG_OK);
    wait_watermark(&bench, 2010);
    wait_state(&bench, MG_SYNCER_RUNNING);
    bench_clear(&bench);
}

static void a_source_that_is_away_is_waited_for(void **state)
{
    struct bench bench;
    bench_init(&bench);
    mg_syncer_close(bench.syncer);
    set_world(false, "", 0);
    open_syncer(&bench);
    put_p(1000); /* acked all the same */
    put_c(1000, 1010);
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_WAITING);
    for (int i = 0; i < 1000 && !strstr(lag.reason, "away"); i++) {
        usleep(5000);
        lag = lag_of(&bench);
    }
    assert_non_null(strstr(lag.reason, "away"));
    set_world(true, "On", 0);
    wait_watermark(&bench, 1010);
    wait_state(&bench, MG_SYNCER_RUNNING);
    bench_clear(&bench);
}

static void an_error_stops_applying_but_not_the_buffer(void **state)
{
    struct bench bench;
    bench_init(&bench);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    put_p(1020);
    put_c(1020, 1005); /* at or below what is visible */
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_STOPPED);
    assert_non_null(strstr(lag.reason, "1005"));
    assert_true(lag.since_ms > 0);
    put_p(1030);
    put_c(1030, 1040);
    usleep(50000);
    lag = lag_of(&bench);
    assert_int_equal(lag.state, MG_SYNCER_STOPPED);
    assert_int_equal(lag.watermark, 1010);
    bench_clear(&bench);
}

static void skipped_records_stop_it_for_good(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    set_world(true, "Skipping", 0);
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_STOPPED);
    assert_non_null(strstr(lag.reason, "Skipping"));
    set_world(true, "On", 5000);
    assert_int_equal(mg_syncer_pause(bench.syncer, false, &err), MG_SOURCE_STOPPED);
    mg_syncer_close(bench.syncer);
    open_syncer(&bench);
    put_p(2000);
    put_c(2000, 2010);
    lag = wait_state(&bench, MG_SYNCER_STOPPED);
    assert_non_null(strstr(lag.reason, "Skipping"));
    assert_int_equal(lag.watermark, 1010);
    bench_clear(&bench);
}

static void a_source_without_binlog_has_not_begun(void **state)
{
    struct bench bench;
    bench_init(&bench);
    set_world(true, "Off", 0);
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_WAITING);
    for (int i = 0; i < 1000 && !strstr(lag.reason, "no binlog yet"); i++) {
        usleep(5000);
        lag = lag_of(&bench);
    }
    assert_non_null(strstr(lag.reason, "no binlog yet"));
    set_world(true, "On", 0);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    bench_clear(&bench);
}

static enum mg_code count_item(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    assert_true(*name && value && unit);
    ++*(int *)arg;
    return MG_OK;
}

static void status_tells_every_figure(void **state)
{
    struct bench bench;
    int count = 0;
    bench_init(&bench);
    assert_int_equal(mg_syncer_status(bench.syncer, count_item, &count, NULL), MG_OK);
    assert_true(count >= 20);
    bench_clear(&bench);
}

/* ---- threads that cannot be started -------------------------------------------------------------------------- */

static _Atomic(const char *) refused; /* the name of a thread, or NULL */

static int refuse(void *arg, const char *name)
{
    const char *which = atomic_load(&refused);
    return which && strcmp(which, name) == 0 ? EAGAIN : 0;
}

static const struct mg_thread_hooks refusing = {.start = refuse};

static void without_a_thread_it_does_not_open(void **state)
{
    static const char *const names[] = {"buffer", "watch", "apply"};
    struct bench bench;
    bench_begin(&bench);
    mg_thread_hook(&refusing);
    for (size_t i = 0; i < MG_COUNT_OF(names); i++) {
        struct mg_error err = MG_ERROR_INIT;
        char text[64];
        snprintf(text, sizeof text, "could not start the thread %s", names[i]);
        atomic_store(&refused, names[i]);
        assert_int_equal(try_open(&bench, &err), MG_NO_MEMORY);
        assert_non_null(strstr(err.text, text));
        assert_null(bench.syncer);
    }
    /* Nothing is left of them: not the buffer's lock either. */
    atomic_store(&refused, NULL);
    open_syncer(&bench);
    put_p(1000);
    put_c(1000, 1010);
    wait_watermark(&bench, 1010);
    bench_clear(&bench);
    mg_thread_hook(NULL);
}

static void without_the_settling_thread_applying_waits(void **state)
{
    struct bench bench;
    bench_begin(&bench);
    mg_thread_hook(&refusing);
    atomic_store(&refused, "settle");
    open_syncer(&bench);
    put_p(1000);
    put_c(1000, 1010); /* acked, whatever applying does */
    struct mg_syncer_lag lag = wait_state(&bench, MG_SYNCER_WAITING);
    for (int i = 0; i < 1000 && !strstr(lag.reason, "thread"); i++) {
        usleep(5000);
        lag = lag_of(&bench);
    }
    assert_non_null(strstr(lag.reason, "could not start the thread settle"));
    assert_int_equal(lag.watermark, 0);
    mg_syncer_close(bench.syncer); /* while it waits */
    open_syncer(&bench);
    atomic_store(&refused, NULL);
    wait_watermark(&bench, 1010); /* by itself */
    bench_clear(&bench);
    mg_thread_hook(NULL);
}

int main(void)
{
    mg_log_set_level(MG_LOG_ERROR + 1);
    mg_mutex_init(&world.lock, MG_RANK_LEAF, "world");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_complete_becomes_visible),
        cmocka_unit_test(a_blocking_transaction_names_its_tables),
        cmocka_unit_test(goes_on_where_the_store_stands),
        cmocka_unit_test(a_pause_keeps_and_does_not_apply),
        cmocka_unit_test(a_source_that_is_away_is_waited_for),
        cmocka_unit_test(an_error_stops_applying_but_not_the_buffer),
        cmocka_unit_test(skipped_records_stop_it_for_good),
        cmocka_unit_test(a_source_without_binlog_has_not_begun),
        cmocka_unit_test(status_tells_every_figure),
        cmocka_unit_test(without_a_thread_it_does_not_open),
        cmocka_unit_test(without_the_settling_thread_applying_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
