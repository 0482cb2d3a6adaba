/* large_test.c -- a transaction that is larger than the syncer's memory, from its record in the buffer to the store's
 * files, also when the process is killed in the middle: the store has all of its rows or none.
 *
 * The disk is the machine's, the engine the magic one with little room for an epoch in memory; the source is a fake one
 * whose history has one job. Budget: that of the syncer is a third of the transaction's message.
 * Threads  the child's are the syncer's; the parent forks while it has none.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/stop.h"
#include "syncer/binlog_testing.h"
#include "syncer/buffer/buffer_testing.h"
#include "syncer/decoder/job.h"
#include "syncer/decoder/source_testing.h"
#include "syncer/syncer.h"

enum {
    TABLE = 10,
    JOB = 11,
    SMALL_ROWS = 3,
    ROWS = 40000,
    TEXT = 300,
    MEMORY = 4 << 20, /* of the syncer */
    ENGINE_MEMORY = 64 << 20,
    STAGE_BYTES = 2 << 20,
    LAST_TS = 40,
};

/* ---- the source ---------------------------------------------------------------------------------------------- */

static struct fake_source fake;
static struct mg_buffer_log *buffer;

static enum mg_code open_source(const struct mg_source_options *options, struct mg_source **out, struct mg_error *err)
{
    buffer = options->buffer;
    *out = &fake.source;
    return MG_OK;
}

static enum mg_code start_source(struct mg_source *source, struct mg_error *err) { return MG_OK; }

static void stop_source(struct mg_source *source) { mg_buffer_log_stop_intake(buffer); }

static void close_source(struct mg_source *source) {}

static enum mg_code no_oracle(struct mg_source *source, int64_t timeout_ms, uint64_t *out_ts, struct mg_error *err)
{
    return mg_fail(err, MG_UNAVAILABLE, "no oracle");
}

static enum mg_code still_locked(struct mg_source *source, uint64_t start_ts, struct mg_slice prewrite_key,
                                 struct mg_settlement *out, struct mg_error *err)
{
    *out = (struct mg_settlement){.fate = MG_FATE_LOCKED};
    return MG_OK;
}

static enum mg_code health(struct mg_source *source, struct mg_source_health *out, struct mg_error *err)
{
    *out = (struct mg_source_health){
        .peer_connected = true, .status_reachable = true, .peer_start_time = 1, .binlog_status = "On"};
    return MG_OK;
}

static const struct mg_source_ops source_ops = {
    .name = "fake",
    .open = open_source,
    .start = start_source,
    .stop = stop_source,
    .close = close_source,
    .oracle = no_oracle,
    .settle = still_locked,
    .health = health,
    .fetch = fake_fetch,
};

/* ---- records ------------------------------------------------------------------------------------------------- */

static void put_tag(struct mg_buffer *out, unsigned field, unsigned wire)
{
    assert_int_equal(mg_buffer_append_varint(out, field << 3 | wire, NULL), MG_OK);
}

static void put_number(struct mg_buffer *out, unsigned field, uint64_t v)
{
    put_tag(out, field, 0);
    assert_int_equal(mg_buffer_append_varint(out, v, NULL), MG_OK);
}

static void put_bytes(struct mg_buffer *out, unsigned field, struct mg_slice bytes)
{
    put_tag(out, field, 2);
    assert_int_equal(mg_buffer_append_bytes(out, bytes, NULL), MG_OK);
}

/* A PrewriteValue of inserted rows {id, v}. */
static void fill_value(struct mg_buffer *out, int64_t first, int64_t count)
{
    struct mg_buffer mutation;
    uint8_t row[TEXT + 64];
    mg_buffer_init(&mutation, 1 << 30);
    put_number(&mutation, 1, TABLE);
    for (int64_t i = first; i < first + count; i++) {
        size_t size = 0;
        row[size++] = 8;
        size += mg_varint_put(row + size, mg_zigzag_encode(i));
        row[size++] = 8;
        size += mg_varint_put(row + size, mg_zigzag_encode(2));
        row[size++] = 2; /* bytes, with their length */
        size += mg_varint_put(row + size, mg_zigzag_encode(TEXT));
        memset(row + size, 'a' + (int)(i % 26), TEXT);
        put_bytes(&mutation, 2, MG_SLICE(row, size + TEXT));
    }
    for (int64_t i = 0; i < count; i++)
        put_number(&mutation, 7, 0);
    put_number(out, 1, 100);
    put_bytes(out, 2, mg_buffer_slice(&mutation));
    mg_buffer_clear(&mutation);
}

static void put_commit(uint64_t start_ts)
{
    const struct mg_test_message message = mg_test_end(MG_BINLOG_COMMIT, start_ts, start_ts + 1);
    mg_test_put(buffer, mg_test_slice(&message), start_ts + 1);
}

static size_t put_rows(uint64_t start_ts, int64_t first, int64_t count)
{
    struct mg_buffer value, message;
    mg_buffer_init(&value, 1 << 30);
    mg_buffer_init(&message, 1 << 30);
    fill_value(&value, first, count);
    put_number(&message, 1, MG_BINLOG_PREWRITE);
    put_number(&message, 2, start_ts);
    put_bytes(&message, 4, mg_slice_text("k"));
    put_bytes(&message, 5, mg_buffer_slice(&value));
    mg_test_put(buffer, mg_buffer_slice(&message), start_ts);
    size_t size = message.size;
    mg_buffer_clear(&value);
    mg_buffer_clear(&message);
    put_commit(start_ts);
    return size;
}

/* CREATE TABLE, a small transaction, the large one, a small one behind it. */
static void put_all(void)
{
    const struct mg_binlog ddl = {.type = MG_BINLOG_PREWRITE,
                                  .start_ts = 10,
                                  .prewrite_key = mg_slice_text("m"),
                                  .ddl_query = mg_slice_text("CREATE TABLE t"),
                                  .ddl_job_id = JOB,
                                  .ddl_schema_state = 5};
    const struct mg_test_message message = mg_test_binlog(&ddl);
    mg_test_put(buffer, mg_test_slice(&message), 10);
    put_commit(10);
    put_rows(20, 0, SMALL_ROWS);
    assert_true(put_rows(30, 1000, ROWS) > 2 * MEMORY);
    put_rows(LAST_TS - 1, 1000000, SMALL_ROWS);
}

/* ---- one life ------------------------------------------------------------------------------------------------ */

struct life {
    struct mg_budget engine_memory, syncer_memory;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_syncer *syncer;
};

static void open_store(struct life *life, const char *folder)
{
    struct mg_error err = MG_ERROR_INIT;
    char path[4096];
    *life = (struct life){.engine = NULL};
    mg_budget_init(&life->engine_memory, "engine", NULL, ENGINE_MEMORY);
    mg_budget_init(&life->syncer_memory, "syncer", NULL, MEMORY);
    snprintf(path, sizeof path, "%s/store", folder);
    const struct mg_engine_options options = {
        .folder = path, .budget = &life->engine_memory, .stage_bytes = STAGE_BYTES, .sync_off = true};
    assert_ok(mg_engine_magic.open(&options, &life->engine, &err));
    const struct mg_latch_options latch = {.engine = life->engine, .secret = "a secret of thirty-two bytes..."};
    assert_ok(mg_latch_new(&latch, &life->latch, &err));
}

static void open_life(struct life *life, const char *folder)
{
    struct mg_error err = MG_ERROR_INIT;
    char path[4096];
    open_store(life, folder);
    snprintf(path, sizeof path, "%s/buffer", folder);
    const struct mg_syncer_options options = {
        .source_ops = &source_ops,
        .source = {.name = "tidb", .listen = "", .status_url = ""},
        .latch = life->latch,
        .engine = life->engine,
        .budget = &life->syncer_memory,
        .buffer_folder = path,
        .buffer_limit_bytes = 1 << 30,
        .interval_ms = 1,
    };
    assert_ok(mg_syncer_open(&options, &life->syncer, &err));
}

static void close_life(struct life *life)
{
    mg_syncer_close(life->syncer);
    mg_latch_free(life->latch);
    life->engine->ops->close(life->engine);
    assert_int_equal(mg_budget_used(&life->syncer_memory), 0);
}

static void wait_applied(struct life *life)
{
    struct mg_syncer_lag lag = {.watermark = 0};
    for (int i = 0; i < 60000 && lag.watermark < LAST_TS; i++) {
        usleep(1000);
        mg_syncer_lag(life->syncer, &lag);
        if (lag.state == MG_SYNCER_STOPPED)
            break;
    }
    if (lag.watermark != LAST_TS)
        fail_msg("the watermark is %llu, state %d: %s", (unsigned long long)lag.watermark, (int)lag.state, lag.reason);
}

/* Rows of the table; 0 when it is not there. */
static uint64_t count_rows(struct life *life)
{
    const struct mg_engine_ops *ops = life->engine->ops;
    struct mg_table_stats stats = {.row_count = 0};
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    assert_int_equal(ops->snapshot(life->engine, &snapshot, NULL), MG_OK);
    if (ops->table_by_name(snapshot, mg_slice_text("d"), mg_slice_text("t"), &schema, NULL) == MG_OK) {
        assert_int_equal(ops->stats(snapshot, schema->table_id, &stats, NULL), MG_OK);
        assert_int_equal(schema->state, MG_STATE_OK);
        mg_schema_unref(schema);
    }
    ops->snapshot_unref(snapshot);
    return stats.row_count;
}

/* Ids and texts, each row once. */
static void check_rows(struct life *life)
{
    const struct mg_engine_ops *ops = life->engine->ops;
    static const uint32_t columns[] = {0, 1};
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    struct mg_scan *scan;
    struct mg_batch *batch;
    struct mg_error err = MG_ERROR_INIT;
    uint64_t count = 0, sum = 0, want = 0;
    assert_ok(ops->snapshot(life->engine, &snapshot, &err));
    assert_ok(ops->table_by_name(snapshot, mg_slice_text("d"), mg_slice_text("t"), &schema, &err));
    struct mg_scan_spec spec = {.table_id = schema->table_id, .columns = columns, .column_count = 2};
    assert_ok(ops->scan(snapshot, &spec, &scan, &err));
    enum mg_code code;
    while ((code = ops->next(scan, &batch, &err)) == MG_OK && batch) {
        for (uint32_t row = 0; row < batch->row_count; row++) {
            int64_t id = mg_vector_value(&batch->vectors[0], row).i;
            struct mg_slice text = mg_vector_value(&batch->vectors[1], row).text;
            assert_true(text.size == TEXT && text.data[0] == 'a' + id % 26 && text.data[TEXT - 1] == 'a' + id % 26);
            sum += (uint64_t)id;
            count++;
        }
        mg_batch_unref(batch);
    }
    assert_ok(code);
    ops->scan_close(scan);
    ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
    for (uint64_t i = 0; i < ROWS; i++)
        want += 1000 + i;
    for (uint64_t i = 0; i < SMALL_ROWS; i++)
        want += i + 1000000 + i;
    assert_int_equal(count, ROWS + 2 * SMALL_ROWS);
    assert_true(sum == want);
}

static void begin(void)
{
    fake_init(&fake);
    fake.source.ops = &source_ops;
    fake_answer(&fake, "/schema", "[]");
    char path[64];
    snprintf(path, sizeof path, "/ddl/history?start_job_id=%d&limit=1", JOB);
    fake_answer(&fake, path, job_json(JOB, MG_DDL_CREATE_TABLE, JOB, TABLE, table_json(TABLE, "t", "id i, v v"), ""));
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void through_a_small_memory(void **state)
{
    char *folder = make_folder();
    struct life life;
    begin();
    open_life(&life, folder);
    put_all();
    wait_applied(&life);
    check_rows(&life);
    /* The limit was kept to: message and rows are about three times as much each. */
    size_t peak = atomic_load(&life.syncer_memory.peak_bytes);
    print_message("peak of the syncer's memory: %zu bytes\n", peak);
    assert_true(peak > 0 && peak <= MEMORY);
    close_life(&life);
    fake_clear(&fake);
    remove_folder(folder);
}

static void killed_in_the_middle(void **state)
{
    static const char *const stops[] = {"writer.batch:1:kill", "writer.batch:40:kill", "spill.written:1:kill",
                                        "spill.staged:3:kill", "publish.parts:1:kill", "writer.batch:20:exit"};
    for (size_t i = 0; i < MG_COUNT_OF(stops); i++) {
        char *folder = make_folder();
        struct life life;
        int status;
        begin();
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (setenv("MAGIC_STOP", stops[i], 1) != 0 || mg_stop_init())
                _exit(9);
            open_life(&life, folder);
            put_all();
            wait_applied(&life);
            _exit(8); /* it was never killed */
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) >= 8)
            fail_msg("%s: the child ended with %d", stops[i], WEXITSTATUS(status));
        open_store(&life, folder);
        uint64_t count = count_rows(&life);
        if (count != SMALL_ROWS && count != 0)
            fail_msg("%s: %llu rows are there", stops[i], (unsigned long long)count);
        close_life(&life);
        /* What was acked is in the buffer: the next life applies it. The last transaction may not have been put. */
        open_life(&life, folder);
        if (mg_buffer_log_known(buffer) < LAST_TS)
            put_rows(LAST_TS - 1, 1000000, SMALL_ROWS);
        wait_applied(&life);
        check_rows(&life);
        close_life(&life);
        fake_clear(&fake);
        remove_folder(folder);
    }
}

int main(void)
{
    mg_log_set_level(MG_LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(through_a_small_memory),
        cmocka_unit_test(killed_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
