/* sorter_test.c -- whole transactions, in commit order, each once: with lost ends, restarts and a source that is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/io_fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/random.h"
#include "syncer/binlog_testing.h"
#include "syncer/sorter/sorter.h"

/* A source that knows the fate of a few transactions. */
enum { FATES_MAX = 64 };
struct fake {
    struct mg_source source;
    struct mg_mutex lock; /* guards all that follows */
    struct {
        uint64_t start_ts;
        struct mg_settlement settlement;
    } fates[FATES_MAX];
    uint32_t fate_count, asked;
    uint64_t oracle_ts; /* 0: it cannot be asked */
};

static enum mg_code fake_oracle(struct mg_source *source, int64_t timeout_ms, uint64_t *out_ts, struct mg_error *err)
{
    struct fake *fake = (struct fake *)source;
    mg_mutex_lock(&fake->lock);
    uint64_t ts = fake->oracle_ts;
    mg_mutex_unlock(&fake->lock);
    if (ts == 0)
        return mg_fail(err, MG_UNAVAILABLE, "no oracle");
    *out_ts = ts;
    return MG_OK;
}

static enum mg_code fake_settle(struct mg_source *source, uint64_t start_ts, struct mg_slice prewrite_key,
                                struct mg_settlement *out, struct mg_error *err)
{
    struct fake *fake = (struct fake *)source;
    assert_true(mg_slice_equal(prewrite_key, MG_SLICE(&start_ts, sizeof start_ts)));
    mg_mutex_lock(&fake->lock);
    *out = (struct mg_settlement){.fate = MG_FATE_LOCKED};
    fake->asked++;
    for (uint32_t i = 0; i < fake->fate_count; i++) {
        if (fake->fates[i].start_ts == start_ts)
            *out = fake->fates[i].settlement;
    }
    mg_mutex_unlock(&fake->lock);
    return MG_OK;
}

static const struct mg_source_ops fake_ops = {.name = "fake", .oracle = fake_oracle, .settle = fake_settle};

static void set_fate(struct fake *fake, uint64_t start_ts, enum mg_fate fate, uint64_t commit_ts)
{
    mg_mutex_lock(&fake->lock);
    fake->fates[fake->fate_count].start_ts = start_ts;
    fake->fates[fake->fate_count++].settlement = (struct mg_settlement){
        .fate = fate, .commit_ts = commit_ts, .versions_trusted = true, .older_kept = fate != MG_FATE_UNKNOWN};
    mg_mutex_unlock(&fake->lock);
}

/* A buffer in memory, a fake source and a sorter. */
struct bench {
    struct mg_io_fault *disk;
    struct mg_buffer_log *log;
    struct fake fake;
    struct mg_sorter *sorter;
    struct mg_sorter_options options;
    struct mg_budget *log_budget;
    size_t held_max;
};

static void open_log(struct bench *bench)
{
    struct mg_buffer_log_options options = {.folder = "buffer",
                                            .io = mg_io_fault_io(bench->disk),
                                            .store_id = 1,
                                            .segment_bytes = 8192,
                                            .limit_bytes = 1 << 30,
                                            .held_max = bench->held_max,
                                            .budget = bench->log_budget};
    assert_int_equal(mg_buffer_log_open(&options, &bench->log, NULL), MG_OK);
}

static void reopen_log(struct bench *bench)
{
    mg_buffer_log_close(bench->log);
    open_log(bench);
}

static void bench_init(struct bench *bench)
{
    *bench = (struct bench){.disk = mg_io_fault_new(1)};
    bench->fake.source.ops = &fake_ops;
    mg_mutex_init(&bench->fake.lock, MG_RANK_LEAF, "fake");
    open_log(bench);
    bench->options = (struct mg_sorter_options){.settle_after_ms = 20, .idle_ms = 10};
}

static enum mg_code open_sorter(struct bench *bench, struct mg_error *err)
{
    bench->options.buffer = bench->log;
    bench->options.source = &bench->fake.source;
    return mg_sorter_new(&bench->options, &bench->sorter, err);
}

static void begin_sorter(struct bench *bench)
{
    struct mg_error err = MG_ERROR_INIT;
    if (open_sorter(bench, &err) != MG_OK)
        fail_msg("%s", err.text);
}

static void bench_clear(struct bench *bench)
{
    mg_sorter_free(bench->sorter);
    mg_buffer_log_close(bench->log);
    mg_io_fault_free(bench->disk);
    mg_mutex_destroy(&bench->fake.lock);
}

struct ack {
    struct mg_mutex lock;
    struct mg_cond there;
    uint64_t seq;
};

static void note_ack(void *arg, enum mg_code code, uint64_t seq, const char *text)
{
    struct ack *ack = arg;
    mg_mutex_lock(&ack->lock);
    assert_int_equal(code, MG_OK);
    ack->seq = seq;
    mg_cond_signal(&ack->there);
    mg_mutex_unlock(&ack->lock);
}

/* As the pump does; returns the record's seq once it is durable. */
static uint64_t put(struct bench *bench, struct mg_slice payload, uint64_t ts)
{
    struct ack ack = {.seq = 0};
    mg_mutex_init(&ack.lock, MG_RANK_LEAF, "ack");
    mg_cond_init(&ack.there);
    mg_buffer_log_know(bench->log, ts);
    assert_int_equal(mg_buffer_log_put(bench->log, payload, note_ack, &ack, NULL), MG_OK);
    mg_mutex_lock(&ack.lock);
    while (!ack.seq)
        mg_cond_wait(&ack.there, &ack.lock);
    mg_mutex_unlock(&ack.lock);
    mg_cond_destroy(&ack.there);
    mg_mutex_destroy(&ack.lock);
    return ack.seq;
}

static uint64_t put_p(struct bench *bench, uint64_t start_ts)
{
    struct mg_test_message message = mg_test_prewrite(start_ts, start_ts % 1000);
    return put(bench, mg_test_slice(&message), start_ts);
}

static uint64_t put_c(struct bench *bench, uint64_t start_ts, uint64_t commit_ts)
{
    struct mg_test_message message = mg_test_end(MG_BINLOG_COMMIT, start_ts, commit_ts);
    return put(bench, mg_test_slice(&message), commit_ts);
}

static uint64_t put_r(struct bench *bench, uint64_t start_ts)
{
    struct mg_test_message message = mg_test_end(MG_BINLOG_ROLLBACK, start_ts, 0);
    return put(bench, mg_test_slice(&message), start_ts);
}

static uint64_t poll_ok(struct bench *bench)
{
    uint64_t watermark = 0;
    struct mg_error err = MG_ERROR_INIT;
    if (mg_sorter_poll(bench->sorter, &watermark, &err) != MG_OK)
        fail_msg("%s", err.text);
    return watermark;
}

static void expect_next(struct bench *bench, uint64_t start_ts, uint64_t commit_ts)
{
    struct mg_txn txn;
    struct mg_error err = MG_ERROR_INIT;
    if (mg_sorter_next(bench->sorter, &txn, &err) != MG_OK)
        fail_msg("%llu: %s", (unsigned long long)start_ts, err.text);
    assert_int_equal(txn.start_ts, start_ts);
    assert_int_equal(txn.commit_ts, commit_ts);
}

static void expect_none(struct bench *bench)
{
    struct mg_txn txn;
    assert_int_equal(mg_sorter_next(bench->sorter, &txn, NULL), MG_NOT_FOUND);
}

/* Poll until W reaches ts, or fail. */
static void poll_until(struct bench *bench, uint64_t ts)
{
    uint64_t watermark = 0;
    for (int i = 0; i < 500; i++) {
        watermark = poll_ok(bench);
        if (watermark >= ts)
            return;
        mg_sorter_wait(bench->sorter, 10);
    }
    fail_msg("the watermark stays at %llu, below %llu", (unsigned long long)watermark, (unsigned long long)ts);
}

static void gives_in_commit_order_what_w_allows(void **state)
{
    struct bench bench;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 10);
    put_p(&bench, 11);
    put_p(&bench, 12);
    put_c(&bench, 12, 20);
    assert_int_equal(poll_ok(&bench), 10); /* P 10 is open since then */
    expect_none(&bench);
    put_c(&bench, 10, 22);
    put_c(&bench, 11, 21);
    assert_int_equal(poll_ok(&bench), 22);
    expect_next(&bench, 12, 20);
    expect_next(&bench, 11, 21);
    expect_next(&bench, 10, 22);
    expect_none(&bench);

    struct mg_txn txn;
    struct mg_binlog ddl = {.type = MG_BINLOG_PREWRITE,
                            .start_ts = 30,
                            .ddl_query = mg_slice_text("DROP TABLE `t`;"),
                            .ddl_job_id = 77,
                            .ddl_schema_state = 5};
    struct mg_test_message message = mg_test_binlog(&ddl);
    put(&bench, mg_test_slice(&message), 30);
    put_c(&bench, 30, 31);
    poll_ok(&bench);
    assert_int_equal(mg_sorter_next(bench.sorter, &txn, NULL), MG_OK);
    assert_int_equal(txn.kind, MG_TXN_DDL);
    assert_int_equal(txn.job_id, 77);
    assert_int_equal(txn.job_schema_state, 5);
    assert_true(mg_slice_equal(txn.query, mg_slice_text("DROP TABLE `t`;")));
    bench_clear(&bench);
}

static void names_the_transaction_that_blocks(void **state)
{
    struct bench bench;
    struct mg_sorter_lag lag;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 1010);
    put_p(&bench, 2011);
    put_c(&bench, 2011, 3000);
    poll_ok(&bench);
    put_p(&bench, 3012);
    mg_sorter_lag(bench.sorter, &lag);
    assert_int_equal(lag.watermark, 1010);
    assert_int_equal(lag.known_ts, 3000);
    assert_int_equal(lag.open_txns, 1);
    assert_int_equal(lag.waiting_txns, 1);
    assert_int_equal(lag.buffered_records, 1);
    assert_int_equal(lag.oldest.start_ts, 1010);
    assert_int_equal(lag.oldest_tables.count, 1);
    assert_int_equal(lag.oldest_tables.ids[0], 10);
    assert_int_equal(lag.oldest_tables.job_id, 0);
    assert_true(lag.oldest_received_ms > 0);
    bench_clear(&bench);
}

static void an_r_is_settled_by_asking(void **state)
{
    struct bench bench;
    bench_init(&bench);
    bench.options.settle_after_ms = 1000000; /* only R makes it ask */
    set_fate(&bench.fake, 10, MG_FATE_ROLLED_BACK, 0);
    set_fate(&bench.fake, 11, MG_FATE_COMMITTED, 30); /* R, and yet committed */
    set_fate(&bench.fake, 12, MG_FATE_ABSENT, 0);
    begin_sorter(&bench);
    for (uint64_t ts = 10; ts <= 12; ts++)
        put_p(&bench, ts);
    for (uint64_t ts = 10; ts <= 12; ts++)
        put_r(&bench, ts);
    put_p(&bench, 40);
    put_c(&bench, 40, 41);
    poll_until(&bench, 41);
    expect_next(&bench, 11, 30);
    expect_next(&bench, 40, 41);
    expect_none(&bench);
    bench_clear(&bench);
}

static void a_lost_end_is_settled_by_asking(void **state)
{
    struct bench bench;
    bench_init(&bench);
    begin_sorter(&bench);
    set_fate(&bench.fake, 10, MG_FATE_COMMITTED, 30);
    put_p(&bench, 10);
    put_p(&bench, 11); /* under way: LOCKED */
    put_p(&bench, 40);
    put_c(&bench, 40, 41);
    poll_until(&bench, 11);
    expect_none(&bench); /* 30 is above 11, which is open */
    put_c(&bench, 11, 42);
    poll_until(&bench, 42);
    expect_next(&bench, 10, 30);
    expect_next(&bench, 40, 41);
    expect_next(&bench, 11, 42);
    put_c(&bench, 10, 30); /* its end comes after all */
    assert_int_equal(poll_ok(&bench), 42);
    expect_none(&bench);
    bench_clear(&bench);
}

static void a_dead_senders_prewrite_goes(void **state)
{
    struct bench bench;
    bench_init(&bench);
    begin_sorter(&bench);
    uint64_t began = (uint64_t)5000 << 18;
    set_fate(&bench.fake, began, MG_FATE_ABSENT, 0);
    put_p(&bench, began);
    put_p(&bench, began + 10);
    put_c(&bench, began + 10, began + 11);
    poll_ok(&bench);
    mg_sorter_tell_peer(bench.sorter, 4000); /* the sender lives: wait */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(poll_ok(&bench), began);
        mg_sorter_wait(bench.sorter, 10);
    }
    mg_sorter_tell_peer(bench.sorter, 6000); /* another process */
    poll_until(&bench, began + 11);
    expect_next(&bench, began + 10, began + 11);
    expect_none(&bench);
    bench_clear(&bench);
}

static void what_cannot_be_told_is_late(void **state)
{
    struct bench bench;
    struct mg_txn txn;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 10);
    put_p(&bench, 12);
    put_c(&bench, 12, 13);
    poll_ok(&bench);
    set_fate(&bench.fake, 10, MG_FATE_COMMITTED, 9); /* below its floor: not its own */
    poll_until(&bench, 13);
    assert_int_equal(mg_sorter_position(bench.sorter),
                     mg_buffer_log_last(bench.log) - 2 * 1024); /* P 10 is still held */
    assert_int_equal(mg_sorter_take_late(bench.sorter, &txn, NULL), MG_OK);
    assert_int_equal(txn.start_ts, 10);
    assert_int_equal(mg_sorter_take_late(bench.sorter, &txn, NULL), MG_NOT_FOUND);
    expect_next(&bench, 12, 13);
    bench_clear(&bench);
}

/* held_max: of the buffer; 0: it holds them. */
static void read_again(size_t held_max)
{
    struct bench bench;
    struct mg_budget budget;
    bench_init(&bench);
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    bench.options.budget = &budget;
    bench.options.spool_bytes = 60; /* a P of the helper is larger than that with a key, its value is not */
    bench.log_budget = &budget;
    bench.held_max = held_max;
    reopen_log(&bench);
    set_fate(&bench.fake, 10, MG_FATE_COMMITTED, 30);
    begin_sorter(&bench);
    uint8_t large[200];
    memset(large, 0x5a, sizeof large);
    for (uint64_t ts = 10; ts <= 11; ts++) {
        struct mg_binlog binlog = {.type = MG_BINLOG_PREWRITE,
                                   .start_ts = ts,
                                   .prewrite_key = MG_SLICE(&ts, sizeof ts),
                                   .prewrite_value = MG_SLICE(large, sizeof large)};
        struct mg_test_message message = mg_test_binlog(&binlog);
        put(&bench, mg_test_slice(&message), ts);
    }
    put_c(&bench, 11, 31);
    poll_until(&bench, 31); /* 10 is settled with the key from the buffer */
    struct mg_txn txn;
    for (uint64_t ts = 10; ts <= 11; ts++) {
        assert_int_equal(mg_sorter_next(bench.sorter, &txn, NULL), MG_OK);
        assert_int_equal(txn.start_ts, ts);
        assert_int_equal(txn.rows.source != NULL, held_max != 0);
        struct mg_span_reader reader = {.rest = {.size = 0}};
        struct mg_slice rows = MG_SLICE(NULL, 0);
        mg_span_reader_turn(&reader, &txn.rows);
        assert_int_equal(mg_span_reader_take(&reader, sizeof large, &rows, NULL), MG_OK);
        assert_true(mg_slice_equal(rows, MG_SLICE(large, sizeof large)));
        assert_int_equal(mg_span_reader_left(&reader), 0);
        mg_span_reader_clear(&reader);
        assert_true(mg_budget_used(&budget) > 0);
    }
    expect_none(&bench);
    bench_clear(&bench);
    assert_int_equal(mg_budget_used(&budget), 0);
}

static void large_payloads_are_read_again(void **state)
{
    read_again(0);
    read_again(150);
}

static void idle_time_is_followed(void **state)
{
    struct bench bench;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 10);
    put_c(&bench, 10, 11);
    poll_until(&bench, 11);
    mg_mutex_lock(&bench.fake.lock);
    bench.fake.oracle_ts = 500;
    mg_mutex_unlock(&bench.fake.lock);
    poll_until(&bench, 500);
    assert_int_equal(mg_buffer_log_known(bench.log), 500); /* the next P remembers it */
    bench_clear(&bench);
}

static void repeated_and_lonely_ends_do_nothing(void **state)
{
    struct bench bench;
    struct mg_sorter_lag lag;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 10);
    put_p(&bench, 10);
    put_c(&bench, 10, 20);
    put_p(&bench, 10);
    put_c(&bench, 10, 20);
    put_r(&bench, 10);
    put_c(&bench, 5, 30);
    put_r(&bench, 6);
    poll_ok(&bench);
    expect_next(&bench, 10, 20);
    expect_none(&bench);
    mg_sorter_lag(bench.sorter, &lag);
    assert_int_equal(lag.open_txns, 0);
    assert_int_equal(lag.orphans, 2);
    bench_clear(&bench);
}

static void a_commit_below_w_stops(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench);
    begin_sorter(&bench);
    put_p(&bench, 10);
    put_c(&bench, 10, 20);
    assert_int_equal(poll_ok(&bench), 20);
    put_p(&bench, 12);
    put_c(&bench, 12, 15);
    uint64_t watermark;
    assert_int_equal(mg_sorter_poll(bench.sorter, &watermark, &err), MG_SOURCE_STOPPED);
    bench_clear(&bench);
}

static void a_buffer_that_does_not_fit_the_store_is_refused(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench);
    uint64_t last = 0;
    for (uint64_t ts = 10; ts < 60; ts += 2) {
        put_p(&bench, ts);
        last = put_c(&bench, ts, ts + 1);
    }
    bench.options.start_seq = last + 1;
    bench.options.published_ts = 59;
    begin_sorter(&bench);
    mg_sorter_free(MG_TAKE(bench.sorter));
    bench.options.start_seq = last + 2;
    assert_int_equal(open_sorter(&bench, &err), MG_SOURCE_STOPPED);

    assert_int_equal(mg_buffer_log_trim(bench.log, last, NULL), MG_OK);
    struct mg_buffer_log_stats stats;
    do {
        mg_buffer_log_stats(bench.log, &stats);
    } while (stats.first_seq <= 2048);
    bench.options.start_seq = 1024;
    bench.options.published_ts = 11;
    assert_int_equal(open_sorter(&bench, &err), MG_SOURCE_STOPPED);
    bench_clear(&bench);
}

static void a_position_from_before_the_first_record_is_good(void **state)
{
    struct bench bench;
    bench_init(&bench);
    begin_sorter(&bench);
    poll_ok(&bench);
    bench.options.start_seq = mg_sorter_position(bench.sorter);
    assert_int_equal(bench.options.start_seq, 1);
    mg_sorter_free(MG_TAKE(bench.sorter));
    for (int with_records = 0; with_records <= 1; with_records++) {
        begin_sorter(&bench);
        if (!with_records) {
            put_p(&bench, 10);
            put_c(&bench, 10, 20);
        }
        poll_until(&bench, 20);
        expect_next(&bench, 10, 20);
        mg_sorter_free(MG_TAKE(bench.sorter));
    }
    bench_clear(&bench);
}

static void a_crowd_waits_in_the_buffer(void **state)
{
    struct bench bench;
    struct mg_sorter_lag lag;
    bench_init(&bench);
    bench.options.waiting_max = 4;
    bench.options.settle_after_ms = 1000000;
    begin_sorter(&bench);
    put_p(&bench, 10);
    for (uint64_t ts = 20; ts < 60; ts += 2) {
        put_p(&bench, ts);
        put_c(&bench, ts, ts + 1);
    }
    for (int i = 0; i < 10; i++)
        assert_int_equal(poll_ok(&bench), 10);
    mg_sorter_lag(bench.sorter, &lag);
    assert_int_equal(lag.waiting_txns, 4);
    assert_true(lag.buffered_records > 20);
    mg_sorter_wait(bench.sorter, 1); /* does not spin; nothing to see but that it returns */
    bench_clear(&bench);
}

/* Random transactions of a source that keeps TiDB's promises, with random restarts of ours that remember only what was
 * "published": each committed one is given exactly once, in order. */
static void random_runs_with_restarts(void **state)
{
    enum { TXNS = 60, OPEN_MAX = 5 };
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct mg_random random;
        struct bench bench;
        uint64_t clock = 100, published = 0, open[OPEN_MAX], position = 0, started = 0, committed = 0, given = 0;
        uint32_t open_count = 0;
        uint64_t staged = 0;
        mg_random_init(&random, seed);
        bench_init(&bench);
        bench.options.settle_after_ms = 1000000;
        bench.options.idle_ms = 1000000;
        begin_sorter(&bench);
        while (started < TXNS || open_count) {
            uint64_t dice = mg_random_below(&random, 10);
            if (dice < 4 && started < TXNS && open_count < OPEN_MAX) {
                open[open_count] = ++clock;
                put_p(&bench, open[open_count]);
                if (mg_random_below(&random, 5) == 0)
                    put_p(&bench, open[open_count]);
                open_count++;
                started++;
            } else if (dice < 8 && open_count) {
                uint32_t i = (uint32_t)mg_random_below(&random, open_count);
                put_c(&bench, open[i], ++clock);
                if (mg_random_below(&random, 5) == 0)
                    put_c(&bench, open[i], clock);
                open[i] = open[--open_count];
                committed++;
            } else if (dice == 8) {
                uint64_t watermark = poll_ok(&bench), last = 0;
                struct mg_txn txn;
                while (mg_sorter_next(bench.sorter, &txn, NULL) == MG_OK) {
                    assert_true(txn.commit_ts > published && txn.commit_ts > last && txn.commit_ts <= watermark);
                    last = txn.commit_ts;
                    staged++;
                }
                assert_true(watermark >= published);
                if (mg_random_below(&random, 2)) { /* else: it dies before it publishes */
                    published = watermark;
                    position = mg_sorter_position(bench.sorter);
                    given += staged;
                    staged = 0;
                    assert_int_equal(mg_buffer_log_trim(bench.log, position, NULL), MG_OK);
                    continue;
                }
                staged = 0;
                mg_sorter_free(MG_TAKE(bench.sorter));
                mg_buffer_log_close(bench.log);
                open_log(&bench);
                bench.options.published_ts = published;
                bench.options.start_seq = position;
                begin_sorter(&bench);
            }
        }
        poll_ok(&bench);
        struct mg_txn txn;
        while (mg_sorter_next(bench.sorter, &txn, NULL) == MG_OK)
            given++;
        assert_int_equal(given, committed);
        bench_clear(&bench);
    }
}

int main(void)
{
    mg_log_set_level(MG_LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_in_commit_order_what_w_allows),
        cmocka_unit_test(names_the_transaction_that_blocks),
        cmocka_unit_test(an_r_is_settled_by_asking),
        cmocka_unit_test(a_lost_end_is_settled_by_asking),
        cmocka_unit_test(a_dead_senders_prewrite_goes),
        cmocka_unit_test(what_cannot_be_told_is_late),
        cmocka_unit_test(large_payloads_are_read_again),
        cmocka_unit_test(idle_time_is_followed),
        cmocka_unit_test(repeated_and_lonely_ends_do_nothing),
        cmocka_unit_test(a_commit_below_w_stops),
        cmocka_unit_test(a_buffer_that_does_not_fit_the_store_is_refused),
        cmocka_unit_test(a_position_from_before_the_first_record_is_good),
        cmocka_unit_test(a_crowd_waits_in_the_buffer),
        cmocka_unit_test(random_runs_with_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
