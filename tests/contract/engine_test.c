/* engine_test.c -- the contract of engine/engine.h, member by member, asked of every engine.
 *
 * Each test runs once per engine, on a disk in memory (base/io_fault.h). Restart, full disk and failing sync are asked
 * only of engines that keep a folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/counter.h"
#include "base/io_fault.h"
#include "engine/trace/trace.h"
#include "engine_kit.h"

struct fixture {
    const struct mg_engine_ops *ops;
    bool durable; /* keeps a folder */
    struct mg_io_fault *disk;
    struct mg_budget budget;
    struct mg_engine *engine;
};

#define must(call)                                                                 \
    do {                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                \
        enum mg_code must_code = (call);                                           \
        if (must_code != MG_OK)                                                    \
            fail_msg("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)
/* Fails with that code, and says why. */
#define refused(call, wanted)                                         \
    do {                                                              \
        struct mg_error refused_err = MG_ERROR_INIT;                  \
        struct mg_error *err = &refused_err;                          \
        enum mg_code refused_code = (call);                           \
        assert_string_equal(mg_code_name(refused_code), &#wanted[3]); \
        assert_true(refused_err.text[0]);                             \
        assert_int_equal(refused_err.code, wanted);                   \
    } while (0)

static _Atomic uint64_t line_count; /* of traced engines */
static char last_publish[1024];     /* the writer's */

static void open_with(struct fixture *f, size_t limit_bytes, uint64_t wal_segment_bytes)
{
    mg_budget_init(&f->budget, "test", NULL, limit_bytes);
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(f->disk),
                                        .budget = &f->budget,
                                        .wal_segment_bytes = wal_segment_bytes};
    if (limit_bytes != SIZE_MAX) /* it is to get full: no epoch goes to disk, and no old snapshot's rows */
        options.stage_bytes = options.sealed_bytes = limit_bytes;
    must(f->ops->open(&options, &f->engine, err));
}

static void reopen(struct fixture *f)
{
    f->ops->close(f->engine);
    assert_int_equal(mg_budget_used(&f->budget), 0);
    open_with(f, SIZE_MAX, 0);
}

static int setup(void **state)
{
    const struct fixture *which = *state;
    struct fixture *f = calloc(1, sizeof *f);
    f->ops = which->ops;
    f->durable = which->durable;
    f->disk = mg_io_fault_new(1);
    open_with(f, SIZE_MAX, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->ops->close(f->engine);
    assert_int_equal(mg_budget_used(&f->budget), 0);
    mg_io_fault_free(f->disk);
    free(f);
    return 0;
}

#define PEOPLE "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2)"

/* A table "shop.people" with id 1, version 1. */
static struct mg_schema *people(struct fixture *f)
{
    uint64_t id, version;
    must(f->ops->reserve(f->engine, &id, &version, err));
    struct mg_schema *schema = kit_schema(id, version, "shop", "people", PEOPLE);
    kit_create(f->engine, schema);
    return schema;
}

static const char *at_epoch(struct fixture *f, uint64_t epoch, uint64_t table_id)
{
    struct mg_snapshot *snapshot;
    must(f->ops->snapshot_at(f->engine, epoch, &snapshot, err));
    assert_int_equal(f->ops->snapshot_epoch(snapshot), epoch);
    const char *rows = kit_rows(snapshot, table_id, NULL);
    f->ops->snapshot_unref(snapshot);
    return rows;
}

static void calls_are_told_by_a_traced_engine(void **state)
{
    struct fixture *f = *state;
    bool is_traced = strncmp(f->ops->name, "trace:", 6) == 0;
    uint64_t before = line_count;
    last_publish[0] = 0;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1");
    assert_string_equal(kit_now(f->engine, 1), "1,a,1.00");
    mg_schema_unref(schema);
    if (is_traced)
        assert_true(strstr(last_publish, "position_bytes=3 -> OK epoch=2 ") && strstr(last_publish, " us"));
    assert_true(is_traced ? line_count - before > 10 : line_count == before);
}

/* ---- the empty store ----------------------------------------------------------------------------------------- */

static enum mg_code count_schema(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    ++*(int *)arg;
    return MG_OK;
}

static enum mg_code stop_walk(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    return mg_fail(err, MG_CANCELLED, "enough");
}

static enum mg_code join_names(void *arg, const char *name, struct mg_error *err)
{
    return mg_buffer_printf(arg, err, "%s ", name);
}

static enum mg_code join_tables(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    return mg_buffer_printf(arg, err, "%s.%s ", schema->database, schema->table);
}

static void a_new_store_is_empty(void **state)
{
    struct fixture *f = *state;
    struct mg_snapshot *snapshot = kit_snapshot(f->engine), *same;
    struct mg_source_position position, marks[MG_SOURCES_MAX];
    struct mg_schema *schema;
    int tables = 0;
    uint64_t epoch;
    assert_int_equal(f->ops->snapshot_epoch(snapshot), 0);
    assert_int_equal(f->ops->snapshot_watermarks(snapshot, marks, MG_SOURCES_MAX), 0);
    must(f->ops->list_tables(snapshot, count_schema, &tables, err));
    assert_int_equal(tables, 0);
    refused(f->ops->table_by_id(snapshot, 1, &schema, err), MG_NOT_FOUND);
    must(f->ops->snapshot_at(f->engine, 0, &same, err));
    f->ops->snapshot_unref(same);
    f->ops->snapshot_unref(snapshot);
    f->ops->snapshot_unref(NULL);
    must(f->ops->position(f->engine, "test", &position, err));
    assert_int_equal(position.watermark, 0);
    assert_int_equal(position.epoch, 0);
    refused(f->ops->epoch_at(f->engine, "test", 100, &epoch, err), MG_SNAPSHOT_TOO_OLD);
    refused(f->ops->snapshot_at(f->engine, 1, &same, err), MG_SNAPSHOT_NOT_YET);
    assert_true(f->ops->store_id(f->engine) != 0);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

static void the_newest_row_per_key_is_seen(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,ada,1.50 | I 2,bob,2.00 | I 3,NULL,-0.01");
    assert_string_equal(kit_now(f->engine, 1), "1,ada,1.50\n2,bob,2.00\n3,NULL,-0.01");
    kit_apply(f->engine, schema, "U 2,bobby,2.50 | D 1,,0 | I 4,,0.00");
    assert_string_equal(kit_now(f->engine, 1), "2,bobby,2.50\n3,NULL,-0.01\n4,,0.00");
    kit_apply(f->engine, schema, "I 1,ada again,9.99");
    assert_string_equal(kit_now(f->engine, 1), "1,ada again,9.99\n2,bobby,2.50\n3,NULL,-0.01\n4,,0.00");
    mg_schema_unref(schema);
}

static void the_last_change_of_an_epoch_wins(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1 | U 1,b,2 | U 1,c,3 | I 2,x,1 | D 2,,0 | I 3,y,1 | D 3,,0 | I 3,z,2");
    assert_string_equal(kit_now(f->engine, 1), "1,c,3.00\n3,z,2.00");
    /* The same over several puts of one epoch. */
    struct mg_epoch *epoch = kit_begin(f->engine);
    kit_put(epoch, schema, "U 1,d,4 | I 5,p,1");
    kit_put(epoch, schema, "U 1,e,5 | D 5,,0 | I 6,q,1");
    kit_put(epoch, schema, "I 5,r,2 | D 6,,0 | D 3,,0");
    kit_put(epoch, schema, "I 3,back,7");
    kit_publish(epoch, 100);
    assert_string_equal(kit_now(f->engine, 1), "1,e,5.00\n3,back,7.00\n5,r,2.00");
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    mg_schema_unref(schema);
}

static void changes_that_contradict_are_applied_and_counted(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    uint64_t before = mg_counted(engine_verify_failed);
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2");
    assert_int_equal(mg_counted(engine_verify_failed) - before, 0);
    kit_apply(f->engine, schema, "I 1,again,1 | U 3,c,3 | D 4,,0");
    assert_string_equal(kit_now(f->engine, 1), "1,again,1.00\n2,b,2.00\n3,c,3.00");
    assert_int_equal(mg_counted(engine_verify_failed) - before, 3);
    kit_apply(f->engine, schema, "I 9,x,1 | I 9,y,1 | D 9,,0 | D 9,,0 | U 9,z,1");
    assert_int_equal(mg_counted(engine_verify_failed) - before, 6);
    assert_int_equal(kit_status(f->engine, "verify_failed"), 6);
    /* What was aborted was never applied. */
    struct mg_epoch *epoch = kit_begin(f->engine);
    kit_put(epoch, schema, "I 1,no,1");
    f->ops->abort(epoch);
    assert_int_equal(kit_status(f->engine, "verify_failed"), 6);
    mg_schema_unref(schema);
}

static void many_rows_and_epochs(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = kit_schema(1, 1, "shop", "many", "1 id int32 key; 2 v int64; 3 t utf8 null");
    kit_create(f->engine, schema);
    struct mg_type types[3] = {schema->columns[0].type, schema->columns[1].type, schema->columns[2].type};
    enum { ROWS = 20000, EPOCHS = 12 };
    static int64_t expected[ROWS];
    uint8_t *ops = malloc(ROWS);
    memset(expected, 0, sizeof expected);
    for (int e = 0; e < EPOCHS; e++) {
        struct mg_batch_builder builder;
        uint32_t count = 0;
        must(mg_batch_builder_init(&builder, types, 3, NULL, 1 << 28, err));
        for (int id = 0; id < ROWS; id++) {
            if (e > 0 && (id * 7 + e * 13) % 5 != 0)
                continue;
            char text[40];
            snprintf(text, sizeof text, "row %d of epoch %d", id, e);
            bool delete = e > 0 && expected[id] != 0 && id % 11 == e % 11;
            ops[count++] = delete ? MG_CHANGE_DELETE : expected[id] ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT;
            expected[id] = delete ? 0 : (int64_t)id * 1000 + e + 1;
            must(mg_builder_int(&builder, 0, id, err));
            must(mg_builder_int(&builder, 1, expected[id], err));
            if (id % 3 == 0)
                must(mg_builder_null(&builder, 2, err));
            else
                must(mg_builder_text(&builder, 2, mg_slice_text(text), err));
        }
        struct mg_batch *batch;
        must(mg_batch_builder_finish(&builder, count, &batch, err));
        mg_batch_builder_clear(&builder);
        struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = batch, .ops = ops};
        struct mg_epoch *epoch = kit_begin(f->engine);
        must(f->ops->put(epoch, &changes, err));
        mg_batch_unref(batch);
        kit_publish(epoch, (uint64_t)e + 2);
        if (f->durable && e == 7)
            reopen(f);
    }
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_table_stats stats;
    must(f->ops->stats(snapshot, 1, &stats, err));
    uint64_t live = 0;
    int64_t sum = 0, seen_sum = 0;
    for (int id = 0; id < ROWS; id++) {
        live += expected[id] != 0;
        sum += expected[id];
    }
    assert_int_equal(stats.row_count, live);
    assert_true(stats.size_bytes > live * 8);
    uint64_t seen = 0;
    const char *text = kit_rows(snapshot, 1, &(struct kit_scan){.columns = "id,v"});
    while (*text) {
        char *end;
        long id = strtol(text, &end, 10);
        int64_t v = strtoll(end + 1, &end, 10);
        assert_int_equal(expected[id], v);
        seen_sum += v;
        seen++;
        text = *end ? end + 1 : end;
    }
    assert_int_equal(seen, live);
    assert_int_equal(seen_sum, sum);
    f->ops->snapshot_unref(snapshot);
    free(ops);
    mg_schema_unref(schema);
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static void pad_space_keys_do_not_count_trailing_blanks(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *pad = kit_schema(1, 1, "shop", "pad", "1 k utf8 key pad; 2 v int32");
    struct mg_schema *binary = kit_schema(2, 2, "shop", "binary", "1 k utf8 key; 2 v int32");
    kit_create(f->engine, pad);
    kit_create(f->engine, binary);
    kit_apply(f->engine, pad, "I a,1 | I b__,2 | I ,3");
    kit_apply(f->engine, pad, "U a__,10 | D b,0 | U ___,30");
    assert_string_equal(kit_now(f->engine, 1), "   ,30\na  ,10");
    kit_apply(f->engine, binary, "I a,1 | I a_,2 | I a__,3");
    kit_apply(f->engine, binary, "U a_,20 | D a__,0");
    assert_string_equal(kit_now(f->engine, 2), "a ,20\na,1");
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    mg_schema_unref(pad);
    mg_schema_unref(binary);
}

static void composite_keys_of_every_type(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = kit_schema(1, 1, "shop", "keys",
                                          "1 a int8 key; 2 b uint16 key; 3 c float64 key; 4 d decimal(30,4) key; 5 e "
                                          "date key; 6 f datetime key; 7 g utf8 key; "
                                          "8 h uint64 key; 9 i float32 key; 10 v int32");
    kit_create(f->engine, schema);
    kit_apply(f->engine, schema,
              "I -1,65535,0.0,-12345678901234567890.1234,-1,-5,x,18446744073709551615,nan,1 |"
              "I -1,65535,0.0,-12345678901234567890.1234,-1,-5,y,18446744073709551615,nan,2 |"
              "I -1,65535,1.5,-12345678901234567890.1234,-1,-5,x,18446744073709551615,-0.5,3");
    kit_apply(f->engine, schema,
              "U -1,65535,-0.0,-12345678901234567890.1234,-1,-5,x,18446744073709551615,-nan,10 |"
              "D -1,65535,1.5,-12345678901234567890.1234,-1,-5,x,18446744073709551615,-0.5,0");
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "g,v"}), "x,10\ny,2");
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

static void equal_rows_of_a_table_without_key_stay_two(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = kit_schema(1, 1, "shop", "log", "-1 _handle int64 key hidden; 1 line utf8 null");
    kit_create(f->engine, schema);
    kit_apply(f->engine, schema, "I 1,same | I 2,same | I 3,NULL | I 4,NULL");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "line"}), "NULL\nNULL\nsame\nsame");
    f->ops->snapshot_unref(snapshot);
    kit_apply(f->engine, schema, "D 2, | D 3,");
    assert_string_equal(kit_now(f->engine, 1), "1,same\n4,NULL");
    mg_schema_unref(schema);
}

static void long_keys_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = kit_schema(1, 1, "shop", "long", "1 k utf8 key; 2 v int32");
    kit_create(f->engine, schema);
    struct mg_type types[2] = {schema->columns[0].type, schema->columns[1].type};
    char *text = malloc(MG_KEY_BYTES_MAX);
    memset(text, 'x', MG_KEY_BYTES_MAX);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_batch_builder builder;
        struct mg_batch *batch;
        uint8_t op = MG_CHANGE_INSERT;
        must(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 28, err));
        must(mg_builder_text(&builder, 0, MG_SLICE(text, MG_KEY_BYTES_MAX - (pass ? 2 : 1)), err));
        must(mg_builder_int(&builder, 1, 1, err));
        must(mg_batch_builder_finish(&builder, 1, &batch, err));
        mg_batch_builder_clear(&builder);
        struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = batch, .ops = &op};
        struct mg_epoch *epoch = kit_begin(f->engine);
        if (pass == 0)
            refused(f->ops->put(epoch, &changes, err), MG_TOO_BIG);
        else
            must(f->ops->put(epoch, &changes, err));
        mg_batch_unref(batch);
        kit_publish(epoch, (uint64_t)pass + 2);
    }
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "v"}), "1");
    f->ops->snapshot_unref(snapshot);
    free(text);
    mg_schema_unref(schema);
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

static void a_snapshot_never_changes(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2 | I 3,c,3");
    struct mg_snapshot *old = kit_snapshot(f->engine);
    struct mg_snapshot *held = f->ops->snapshot_ref(old);
    kit_apply(f->engine, schema, "U 1,A,10 | D 2,,0 | I 4,d,4");
    struct mg_snapshot *middle = kit_snapshot(f->engine);
    for (int i = 0; i < 50; i++) {
        char change[64];
        snprintf(change, sizeof change, "U 3,c%d,%d | I %d,x,1", i, i, 100 + i);
        kit_apply(f->engine, schema, change);
        assert_string_equal(kit_rows(old, 1, NULL), "1,a,1.00\n2,b,2.00\n3,c,3.00");
    }
    assert_string_equal(kit_rows(middle, 1, NULL), "1,A,10.00\n3,c,3.00\n4,d,4.00");
    f->ops->snapshot_unref(old);
    assert_string_equal(kit_rows(held, 1, NULL), "1,a,1.00\n2,b,2.00\n3,c,3.00");
    struct mg_epoch *staged = kit_begin(f->engine);
    kit_put(staged, schema, "D 1,,0 | D 3,,0 | D 4,,0");
    assert_string_equal(kit_rows(middle, 1, NULL), "1,A,10.00\n3,c,3.00\n4,d,4.00");
    f->ops->abort(staged);
    f->ops->snapshot_unref(middle);
    f->ops->snapshot_unref(held);
    mg_schema_unref(schema);
}

static void old_epochs_open(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    char expected[4][128] = {"", "1,a,1.00", "1,b,2.00\n2,x,1.00", "2,x,1.00"};
    kit_apply(f->engine, schema, "I 1,a,1");
    kit_apply(f->engine, schema, "U 1,b,2 | I 2,x,1");
    kit_apply(f->engine, schema, "D 1,,0");
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t e = 1; e <= 4; e++)
            assert_string_equal(at_epoch(f, e, 1), expected[e - 1]);
        struct mg_snapshot *none, *twice[2];
        struct mg_schema *gone;
        must(f->ops->snapshot_at(f->engine, 0, &none, err));
        refused(f->ops->table_by_id(none, 1, &gone, err), MG_NOT_FOUND);
        f->ops->snapshot_unref(none);
        refused(f->ops->snapshot_at(f->engine, 5, &none, err), MG_SNAPSHOT_NOT_YET);
        must(f->ops->snapshot_at(f->engine, 2, &twice[0], err));
        must(f->ops->snapshot_at(f->engine, 2, &twice[1], err));
        assert_string_equal(kit_rows(twice[0], 1, NULL), expected[1]);
        f->ops->snapshot_unref(twice[0]);
        assert_string_equal(kit_rows(twice[1], 1, NULL), expected[1]);
        f->ops->snapshot_unref(twice[1]);
        if (f->durable)
            reopen(f);
    }
    mg_schema_unref(schema);
}

static void watermarks_and_epoch_at(void **state)
{
    struct fixture *f = *state;
    struct mg_epoch *epoch;
    uint64_t number;
    struct mg_source_position marks[MG_SOURCES_MAX];
    /* epochs 1..6: a at 0, a 10, b 5, a 10, a 20, b 7 */
    static const struct {
        const char *source;
        uint64_t watermark;
    } steps[] = {{"a", 0}, {"a", 10}, {"b", 5}, {"a", 10}, {"a", 20}, {"b", 7}};
    for (size_t i = 0; i < MG_COUNT_OF(steps); i++) {
        must(f->ops->begin(f->engine, steps[i].source, 1, &epoch, err));
        must(f->ops->publish(epoch, steps[i].watermark, MG_SLICE("p", 1), &number, err));
        assert_int_equal(number, i + 1);
        must(f->ops->wait(f->engine, number, 1000, err));
    }
    for (int pass = 0; pass < 2; pass++) {
        refused(f->ops->epoch_at(f->engine, "a", 9, &number, err), MG_SNAPSHOT_TOO_OLD);
        refused(f->ops->epoch_at(f->engine, "b", 4, &number, err), MG_SNAPSHOT_TOO_OLD);
        refused(f->ops->epoch_at(f->engine, "c", 4, &number, err), MG_SNAPSHOT_TOO_OLD);
        static const struct {
            const char *source;
            uint64_t ts, epoch;
        } asks[] = {{"a", 10, 4}, {"a", 19, 4}, {"a", 20, 6}, {"a", UINT64_MAX, 6},
                    {"b", 5, 5},  {"b", 6, 5},  {"b", 7, 6}};
        for (size_t i = 0; i < MG_COUNT_OF(asks); i++) {
            must(f->ops->epoch_at(f->engine, asks[i].source, asks[i].ts, &number, err));
            assert_int_equal(number, asks[i].epoch);
        }
        struct mg_snapshot *snapshot;
        must(f->ops->snapshot_at(f->engine, 4, &snapshot, err));
        assert_int_equal(f->ops->snapshot_watermarks(snapshot, marks, MG_SOURCES_MAX), 2);
        assert_string_equal(marks[0].source, "a");
        assert_int_equal(marks[0].watermark, 10);
        assert_int_equal(marks[0].epoch, 4);
        assert_int_equal(marks[0].generation, 1);
        assert_string_equal(marks[1].source, "b");
        assert_int_equal(marks[1].watermark, 5);
        assert_int_equal(marks[1].epoch, 3);
        assert_int_equal(f->ops->snapshot_watermarks(snapshot, marks, 1), 1);
        f->ops->snapshot_unref(snapshot);
        if (f->durable)
            reopen(f);
    }
    must(f->ops->wait_watermark(f->engine, "a", 20, 0, err));
    refused(f->ops->wait_watermark(f->engine, "a", 21, 10, err), MG_TIMEOUT);
    refused(f->ops->wait_watermark(f->engine, "nobody", 1, 0, err), MG_TIMEOUT);
    refused(f->ops->wait(f->engine, 7, 10, err), MG_TIMEOUT);
}

/* More epochs than are remembered one by one: some are looked up on disk. */
static void epoch_at_is_exact_however_many_epochs_there_are(void **state)
{
    struct fixture *f = *state;
    enum { EPOCHS = 70000, OTHER = 3 };
    if (!f->durable) /* the model keeps a page per epoch */
        return;
#ifdef __SANITIZE_THREAD__
    skip(); /* one thread, two minutes */
#endif
    struct mg_epoch *epoch;
    for (uint64_t e = 1; e <= EPOCHS; e++) {
        must(f->ops->begin(f->engine, e % OTHER ? "a" : "b", 1, &epoch, err));
        must(f->ops->publish(epoch, e * 10, MG_SLICE(NULL, 0), NULL, err));
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t e = 1; e < EPOCHS; e += 6999) {
            uint64_t number, last = e % OTHER ? e : e - 1; /* the newest epoch of a at or before e */
            must(f->ops->epoch_at(f->engine, "a", e * 10 + 5, &number, err));
            uint64_t next = last + 1 + ((last + 1) % OTHER == 0); /* the next one of a */
            assert_int_equal(number, next - 1);
        }
        reopen(f);
    }
}

/* ---- writers ------------------------------------------------------------------------------------------------- */

static void one_epoch_is_staged_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct mg_epoch *epoch = kit_begin(f->engine), *second;
    refused(f->ops->begin(f->engine, "test", 1, &second, err), MG_BUSY);
    refused(f->ops->begin(f->engine, "other", 1, &second, err), MG_BUSY);
    f->ops->abort(epoch);
    f->ops->abort(NULL);
    epoch = kit_begin(f->engine);
    assert_int_equal(kit_publish(epoch, 1), 1);
    epoch = kit_begin(f->engine);
    assert_int_equal(kit_publish(epoch, 1), 2);
    refused(f->ops->begin(f->engine, "", 1, &second, err), MG_INVALID);
    char name[MG_SOURCE_NAME_MAX + 1] = {0};
    memset(name, 'n', MG_SOURCE_NAME_MAX);
    refused(f->ops->begin(f->engine, name, 1, &second, err), MG_INVALID);
}

static void generations_fence_old_writers(void **state)
{
    struct fixture *f = *state;
    struct mg_epoch *epoch;
    uint64_t number;
    must(f->ops->begin(f->engine, "s", 3, &epoch, err));
    must(f->ops->publish(epoch, 10, MG_SLICE("one", 3), &number, err));
    refused(f->ops->begin(f->engine, "s", 2, &epoch, err), MG_WRITER_FENCED);
    must(f->ops->begin(f->engine, "t", 1, &epoch, err)); /* generations are per source */
    f->ops->abort(epoch);
    must(f->ops->begin(f->engine, "s", 3, &epoch, err));
    refused(f->ops->publish(epoch, 9, MG_SLICE("two", 3), &number, err), MG_INVALID);
    static uint8_t big[MG_POSITION_MAX + 1];
    must(f->ops->begin(f->engine, "s", 3, &epoch, err));
    refused(f->ops->publish(epoch, 10, MG_SLICE(big, sizeof big), &number, err), MG_TOO_BIG);
    must(f->ops->begin(f->engine, "s", 4, &epoch, err));
    must(f->ops->publish(epoch, 11, MG_SLICE(big, MG_POSITION_MAX), &number, err));
    assert_int_equal(number, 2);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_source_position position;
        must(f->ops->position(f->engine, "s", &position, err));
        assert_string_equal(position.source, "s");
        assert_int_equal(position.watermark, 11);
        assert_int_equal(position.generation, 4);
        assert_int_equal(position.epoch, 2);
        assert_int_equal(position.position_size, MG_POSITION_MAX);
        refused(f->ops->begin(f->engine, "s", 3, &epoch, err), MG_WRITER_FENCED);
        if (f->durable)
            reopen(f);
    }
    must(f->ops->begin(f->engine, "s", 4, &epoch, err));
    must(f->ops->publish(epoch, 11, MG_SLICE(NULL, 0), NULL, err));
    struct mg_source_position position;
    must(f->ops->position(f->engine, "s", &position, err));
    assert_int_equal(position.position_size, 0);
}

static void sources_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct mg_epoch *epoch;
    char name[16];
    for (int i = 0; i < MG_SOURCES_MAX; i++) {
        snprintf(name, sizeof name, "s%d", i);
        must(f->ops->begin(f->engine, name, 1, &epoch, err));
        must(f->ops->publish(epoch, 1, MG_SLICE(NULL, 0), NULL, err));
    }
    refused(f->ops->begin(f->engine, "more", 1, &epoch, err), MG_TOO_BIG);
    must(f->ops->begin(f->engine, "s3", 1, &epoch, err));
    f->ops->abort(epoch);
}

static void an_aborted_epoch_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2 | I 3,c,3");
    for (int i = 0; i < 5; i++) {
        struct mg_epoch *epoch = kit_begin(f->engine);
        kit_put(epoch, schema, "U 1,no,1 | D 2,,0 | I 4,no,4 | I 5,NULL,5");
        kit_put(epoch, schema, "D 4,,0 | U 5,still no,5 | D 3,,0 | I 2,no,0");
        f->ops->abort(epoch);
        assert_string_equal(kit_now(f->engine, 1), "1,a,1.00\n2,b,2.00\n3,c,3.00");
    }
    struct mg_schema *other = kit_schema(7, 7, "shop", "other", PEOPLE);
    struct mg_epoch *epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, other, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 1), MG_OK);
    f->ops->abort(epoch);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_schema *found;
    refused(f->ops->table_by_id(snapshot, 7, &found, err), MG_NOT_FOUND);
    f->ops->snapshot_unref(snapshot);
    kit_apply(f->engine, schema, "U 1,yes,1 | D 2,,0 | I 4,d,4");
    assert_string_equal(kit_now(f->engine, 1), "1,yes,1.00\n3,c,3.00\n4,d,4.00");
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    kit_create(f->engine, other);
    if (f->durable) {
        reopen(f);
        assert_string_equal(kit_now(f->engine, 1), "1,yes,1.00\n3,c,3.00\n4,d,4.00");
    }
    mg_schema_unref(other);
    mg_schema_unref(schema);
}

static void put_refuses_what_does_not_fit(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct mg_schema *unknown = kit_schema(9, 9, "shop", "unknown", PEOPLE);
    struct mg_schema *newer = kit_schema(1, 5, "shop", "people", PEOPLE);
    struct mg_schema *wider = kit_schema(1, 1, "shop", "people", PEOPLE "; 4 x int8");
    struct mg_schema *typed = kit_schema(1, 1, "shop", "people",
                                         "1 id int32 key; 2 name utf8 null; 3 price decimal(12,2)");
    struct mg_schema *nullable = kit_schema(1, 1, "shop", "people",
                                            "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null");
    struct mg_epoch *epoch = kit_begin(f->engine);
    refused(kit_try_put(epoch, unknown, "I 1,a,1", err), MG_NOT_FOUND);
    refused(kit_try_put(epoch, newer, "I 1,a,1", err), MG_SCHEMA_CHANGED);
    refused(kit_try_put(epoch, wider, "I 1,a,1,1", err), MG_INVALID);
    refused(kit_try_put(epoch, typed, "I 1,a,1", err), MG_INVALID);
    refused(kit_try_put(epoch, nullable, "I 1,a,1 | U 2,b,NULL", err), MG_INVALID);
    kit_put(epoch, nullable, "I 1,a,1 | D 1,NULL,NULL");
    uint8_t op = 3;
    struct mg_type types[3] = {schema->columns[0].type, schema->columns[1].type, schema->columns[2].type};
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    must(mg_batch_builder_init(&builder, types, 3, NULL, 1 << 20, err));
    must(mg_builder_int(&builder, 0, 1, err));
    must(mg_builder_null(&builder, 1, err));
    must(mg_builder_decimal(&builder, 2, 1, err));
    must(mg_batch_builder_finish(&builder, 1, &batch, err));
    mg_batch_builder_clear(&builder);
    refused(
        f->ops->put(epoch, &(struct mg_changes){.table_id = 1, .schema_version = 1, .rows = batch, .ops = &op}, err),
        MG_INVALID);
    mg_batch_unref(batch);
    kit_put(epoch, schema, ""); /* no rows */
    kit_put(epoch, schema, "I 5,fits,1");
    kit_publish(epoch, 50);
    assert_string_equal(kit_now(f->engine, 1), "5,fits,1.00");
    mg_schema_unref(unknown);
    mg_schema_unref(newer);
    mg_schema_unref(wider);
    mg_schema_unref(typed);
    mg_schema_unref(nullable);
    mg_schema_unref(schema);
}

/* ---- schemas ------------------------------------------------------------------------------------------------- */

static void databases_and_names(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *a = kit_schema(1, 1, "Shop", "People", PEOPLE);
    struct mg_schema *same_name = kit_schema(2, 2, "sHOP", "pEOPLE", PEOPLE);
    struct mg_schema *b = kit_schema(2, 2, "shop", "Things", PEOPLE);
    struct mg_schema *c = kit_schema(3, 3, "attic", "Old", PEOPLE);
    struct mg_epoch *epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, a, 0), MG_NOT_FOUND);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_DATABASE, "shop", NULL, 0), MG_NOT_FOUND);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_CREATE_DATABASE, "Shop", NULL, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_CREATE_DATABASE, "SHOP", NULL, 0), MG_EXISTS);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_CREATE_DATABASE, "attic", NULL, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, a, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, same_name, 0), MG_EXISTS);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, b, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, c, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_DATABASE, "shop", NULL, 0), MG_INVALID);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 77), MG_NOT_FOUND);
    assert_int_equal(kit_change(epoch, (enum mg_schema_change_kind)9, NULL, NULL, 1), MG_INVALID);
    kit_publish(epoch, 1);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_snapshot *snapshot = kit_snapshot(f->engine);
        struct mg_schema *found;
        struct mg_buffer names;
        mg_buffer_init(&names, 4096);
        must(f->ops->list_databases(snapshot, join_names, &names, err));
        must(f->ops->list_tables(snapshot, join_tables, &names, err));
        must(mg_buffer_append(&names, "", 1, err));
        assert_string_equal((const char *)names.data, "attic Shop attic.Old Shop.People shop.Things ");
        mg_buffer_clear(&names);
        refused(f->ops->list_tables(snapshot, stop_walk, NULL, err), MG_CANCELLED);
        must(f->ops->table_by_name(snapshot, mg_slice_text("SHOP"), mg_slice_text("people"), &found, err));
        assert_int_equal(found->table_id, 1);
        mg_schema_unref(found);
        refused(f->ops->table_by_name(snapshot, mg_slice_text("shop"), mg_slice_text("peopl"), &found, err),
                MG_NOT_FOUND);
        refused(f->ops->table_by_name(snapshot, mg_slice_text("sho"), mg_slice_text("people"), &found, err),
                MG_NOT_FOUND);
        f->ops->snapshot_unref(snapshot);
        if (f->durable)
            reopen(f);
    }
    epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 3), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_DATABASE, "ATTIC", NULL, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_CREATE_DATABASE, "attic", NULL, 0), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, c, 0), MG_INVALID); /* the id was dropped */
    kit_publish(epoch, 2);
    epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, c, 0), MG_INVALID);
    f->ops->abort(epoch);
    mg_schema_unref(a);
    mg_schema_unref(same_name);
    mg_schema_unref(b);
    mg_schema_unref(c);
}

static void numbers_are_never_given_twice(void **state)
{
    struct fixture *f = *state;
    uint64_t id, version, next_id, next_version;
    must(f->ops->reserve(f->engine, &id, &version, err));
    must(f->ops->reserve(f->engine, &next_id, NULL, err));
    assert_true(next_id > id);
    struct mg_schema *schema = kit_schema(next_id + 10, version + 10, "shop", "t", PEOPLE);
    kit_create(f->engine, schema);
    for (int pass = 0; pass < 2; pass++) {
        must(f->ops->reserve(f->engine, &id, &next_version, err));
        assert_true(id > schema->table_id && next_version > schema->version);
        if (f->durable)
            reopen(f);
    }
    mg_schema_unref(schema);
}

static void schemas_change_and_old_snapshots_keep_theirs(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *v1 = people(f);
    kit_apply(f->engine, v1, "I 1,a,1 | I 2,b,2");
    struct mg_snapshot *old = kit_snapshot(f->engine);
    struct mg_schema *v2 = kit_schema(1, 2, "shop", "persons",
                                      "1 id int64 key; 3 cost decimal(12,2); 4 age int32 missing=18; 5 note utf8 null; "
                                      "6 tag utf8 missing=none");
    kit_create(f->engine, v2);
    assert_string_equal(kit_now(f->engine, 1), "1,1.00,18,NULL,none\n2,2.00,18,NULL,none");
    struct mg_epoch *epoch = kit_begin(f->engine);
    refused(kit_try_put(epoch, v1, "I 3,c,3", err), MG_SCHEMA_CHANGED);
    kit_put(epoch, v2, "I 3,3.00,33,hi,new | U 1,1.50,20,NULL,x");
    kit_publish(epoch, 100);
    struct kit_scan young = {.columns = "id,tag,note", .where_column = "age", .op = MG_EXPR_LE, .literal = "20"};
    struct mg_schema *v3 = kit_schema(1, 3, "shop", "persons",
                                      "6 tag utf8 missing=none; 4 age int32 missing=18; 1 id int64 key");
    for (int pass = 0; pass < 2; pass++) {
        struct mg_snapshot *now = kit_snapshot(f->engine);
        struct mg_schema *found;
        assert_string_equal(kit_rows(now, 1, &young), "1,x,NULL\n2,none,NULL");
        refused(f->ops->table_by_name(now, mg_slice_text("shop"), mg_slice_text("people"), &found, err), MG_NOT_FOUND);
        f->ops->snapshot_unref(now);
        assert_string_equal(kit_rows(old, 1, NULL), "1,a,1.00\n2,b,2.00");
        must(f->ops->table_by_name(old, mg_slice_text("shop"), mg_slice_text("people"), &found, err));
        assert_int_equal(found->version, 1);
        mg_schema_unref(found);
        f->ops->snapshot_unref(old);
        if (f->durable)
            reopen(f);
        must(f->ops->snapshot_at(f->engine, 2, &old, err));
    }
    f->ops->snapshot_unref(old);
    kit_create(f->engine, v3); /* columns dropped, others in another order */
    assert_string_equal(kit_now(f->engine, 1), "new,33,3\nnone,18,2\nx,20,1");
    kit_apply(f->engine, v3, "U z,1,2 | D ,0,3");
    assert_string_equal(kit_now(f->engine, 1), "x,20,1\nz,1,2");
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    mg_schema_unref(v1);
    mg_schema_unref(v2);
    mg_schema_unref(v3);
}

static void schema_changes_that_break_promises_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *v1 = people(f);
    struct mg_schema *dropped = kit_schema(1, 5, "shop", "people", "1 id int64 key; 3 price decimal(12,2)");
    static const struct {
        uint64_t version;
        const char *columns;
    } bad[] = {
        {1, PEOPLE},                                                    /* the version does not rise */
        {6, "1 id int64; 2 name utf8 key; 3 price decimal(12,2)"},      /* another key */
        {6, "1 id int64 key; 3 price decimal(12,2) key"},               /* a longer key */
        {6, "1 id int64 key; 3 price decimal(14,2)"},                   /* another type */
        {6, "7 id int64 key; 3 price decimal(12,2)"},                   /* the key's id is another */
        {6, "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2)"}, /* 2 was dropped */
    };
    kit_create(f->engine, dropped);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_epoch *epoch = kit_begin(f->engine);
        for (size_t i = 0; i < MG_COUNT_OF(bad); i++) {
            struct mg_schema *schema = kit_schema(1, bad[i].version, "shop", "people", bad[i].columns);
            assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, schema, 0), MG_INVALID);
            mg_schema_unref(schema);
        }
        kit_put(epoch, dropped, "I 1,1");
        assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 1), MG_INVALID); /* after rows */
        f->ops->abort(epoch);
        epoch = kit_begin(f->engine);
        struct mg_schema *next = kit_schema(1, 9, "shop", "people", "1 id int64 key; 3 price decimal(12,2); 8 z int8");
        assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, next, 0), MG_OK);
        refused(kit_try_put(epoch, next, "I 1,1,1", err), MG_INVALID); /* rows of a table that changes here */
        f->ops->abort(epoch);
        mg_schema_unref(next);
        if (f->durable)
            reopen(f);
    }
    mg_schema_unref(v1);
    mg_schema_unref(dropped);
}

static void names_swap_in_one_epoch(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *a = kit_schema(1, 1, "shop", "a", PEOPLE), *b = kit_schema(2, 2, "shop", "b", PEOPLE);
    struct mg_schema *steps[3] = {kit_schema(1, 3, "shop", "tmp", PEOPLE), kit_schema(2, 4, "shop", "a", PEOPLE),
                                  kit_schema(1, 5, "shop", "b", PEOPLE)};
    kit_create(f->engine, a);
    kit_create(f->engine, b);
    kit_apply(f->engine, a, "I 1,in a,1");
    kit_apply(f->engine, b, "I 1,in b,1");
    struct mg_epoch *epoch = kit_begin(f->engine);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, steps[i], 0), MG_OK);
    kit_publish(epoch, 10);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_snapshot *snapshot = kit_snapshot(f->engine);
        struct mg_schema *found;
        must(f->ops->table_by_name(snapshot, mg_slice_text("shop"), mg_slice_text("a"), &found, err));
        assert_string_equal(kit_rows(snapshot, found->table_id, NULL), "1,in b,1.00");
        mg_schema_unref(found);
        f->ops->snapshot_unref(snapshot);
        if (f->durable)
            reopen(f);
    }
    for (int i = 0; i < 3; i++)
        mg_schema_unref(steps[i]);
    mg_schema_unref(a);
    mg_schema_unref(b);
}

static void a_new_table_id_is_an_empty_incarnation(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *a = people(f), *again = kit_schema(2, 2, "shop", "people", PEOPLE);
    kit_apply(f->engine, a, "I 1,a,1 | I 2,b,2");
    kit_apply(f->engine, a, "D 1,,0");
    struct mg_snapshot *old = kit_snapshot(f->engine);
    struct mg_epoch *epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 1), MG_OK);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, again, 0), MG_OK);
    kit_publish(epoch, 50);
    assert_string_equal(kit_now(f->engine, 2), "");
    kit_apply(f->engine, again, "I 1,new,1");
    assert_string_equal(kit_rows(old, 1, NULL), "2,b,2.00");
    assert_string_equal(kit_now(f->engine, 2), "1,new,1.00");
    f->ops->snapshot_unref(old);
    if (f->durable) {
        reopen(f);
        assert_string_equal(at_epoch(f, 3, 1), "2,b,2.00");
        assert_string_equal(kit_now(f->engine, 2), "1,new,1.00");
    }
    mg_schema_unref(a);
    mg_schema_unref(again);
}

static void tables_that_are_not_ok_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct mg_schema *reload = kit_schema_state(1, 2, "shop", "people", PEOPLE, MG_STATE_NEEDS_RELOAD,
                                                "rows were lost");
    struct mg_schema *unsupported = kit_schema_state(2, 3, "shop", "odd", "", MG_STATE_UNSUPPORTED, "column j is JSON");
    kit_apply(f->engine, schema, "I 1,a,1");
    struct mg_snapshot *old = kit_snapshot(f->engine);
    kit_create(f->engine, reload);
    kit_create(f->engine, unsupported);
    for (int pass = 0; pass < 2; pass++) {
        struct mg_snapshot *snapshot = kit_snapshot(f->engine);
        struct mg_scan *scan;
        struct mg_scan_spec spec = {.table_id = 1};
        refused(f->ops->scan(snapshot, &spec, &scan, err), MG_TABLE_NEEDS_RELOAD);
        spec.table_id = 2;
        refused(f->ops->scan(snapshot, &spec, &scan, err), MG_TABLE_UNSUPPORTED);
        spec.table_id = 3;
        refused(f->ops->scan(snapshot, &spec, &scan, err), MG_NOT_FOUND);
        struct mg_epoch *epoch = kit_begin(f->engine);
        refused(kit_try_put(epoch, reload, "I 2,b,2", err), MG_TABLE_NEEDS_RELOAD);
        f->ops->abort(epoch);
        f->ops->snapshot_unref(snapshot);
        assert_string_equal(kit_rows(old, 1, NULL), "1,a,1.00");
        f->ops->snapshot_unref(old);
        if (f->durable)
            reopen(f);
        must(f->ops->snapshot_at(f->engine, 2, &old, err));
    }
    f->ops->snapshot_unref(old);
    mg_schema_unref(schema);
    mg_schema_unref(reload);
    mg_schema_unref(unsupported);
}

static struct mg_schema *lost(uint64_t table_id, uint64_t version, const char *table, uint64_t good_until_ts)
{
    struct mg_schema *schema = kit_schema_state(table_id, version, "shop", table, PEOPLE, MG_STATE_NEEDS_RELOAD,
                                                "rows were lost");
    schema->good_until_ts = good_until_ts; /* nobody else has it yet */
    return schema;
}

static void put_lost(struct fixture *f, uint64_t table_id, uint64_t version, const char *table, uint64_t good_until_ts)
{
    struct mg_schema *schema = lost(table_id, version, table, good_until_ts);
    kit_create(f->engine, schema);
    mg_schema_unref(schema);
}

/* What needs_reload says: the version that it names and until when the table is good. */
static void check_mark(struct fixture *f, uint64_t table_id, uint64_t version, uint64_t good_until_ts)
{
    struct mg_schema *mark = NULL;
    must(f->ops->needs_reload(f->engine, table_id, &mark, err));
    assert_int_equal(mark ? mark->version : 0, version);
    if (!mark)
        return;
    assert_int_equal(mark->table_id, table_id);
    assert_int_equal(mark->state, MG_STATE_NEEDS_RELOAD);
    assert_int_equal(mark->good_until_ts, good_until_ts);
    assert_string_equal(mark->state_reason, "rows were lost");
    mg_schema_unref(mark);
}

static void what_needs_a_reload_is_remembered(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1");
    struct mg_snapshot *old = kit_snapshot(f->engine);
    check_mark(f, 1, 0, 0);
    check_mark(f, 99, 0, 0);
    struct mg_schema *aborted = lost(1, 2, "people", 10);
    struct mg_epoch *epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, aborted, 0), MG_OK);
    check_mark(f, 1, 0, 0);
    f->ops->abort(epoch);
    check_mark(f, 1, 0, 0);

    put_lost(f, 1, 3, "people", 20);
    check_mark(f, 1, 3, 20);
    put_lost(f, 1, 4, "people", 10); /* the lowest counts */
    put_lost(f, 1, 5, "people", 15);
    put_lost(f, 1, 6, "folk", 10); /* of equal ones the first */
    check_mark(f, 1, 4, 10);
    struct mg_schema *unsupported = kit_schema_state(1, 7, "shop", "folk", "", MG_STATE_UNSUPPORTED,
                                                     "column j is JSON");
    struct mg_schema *ok = kit_schema(1, 8, "shop", "folk", PEOPLE);
    kit_create(f->engine, unsupported);
    check_mark(f, 1, 4, 10);
    epoch = kit_begin(f->engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, ok, 0), MG_INVALID);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 1), MG_OK);
    kit_publish(epoch, 100);
    check_mark(f, 1, 4, 10);

    struct mg_schema *again = kit_schema(2, 9, "shop", "people", PEOPLE);
    kit_create(f->engine, again);
    put_lost(f, 3, 10, "born", 0);
    put_lost(f, 3, 11, "renamed", 0);
    struct mg_schema *loaded = kit_schema(3, 12, "shop", "renamed", PEOPLE);
    for (int pass = 0; pass < 2; pass++) {
        check_mark(f, 1, 4, 10);
        check_mark(f, 2, 0, 0);
        check_mark(f, 3, 0, 0); /* every snapshot says so itself */
        assert_string_equal(kit_rows(old, 1, NULL), "1,a,1.00");
        f->ops->snapshot_unref(old);
        if (f->durable)
            reopen(f);
        must(f->ops->snapshot_at(f->engine, 2, &old, err));
    }
    kit_create(f->engine, loaded);
    check_mark(f, 3, 0, 0);
    f->ops->snapshot_unref(old);
    for (int i = 0; i < 4; i++) { /* until checkpoints alone know of it */
        kit_publish(kit_begin(f->engine), 200);
        must(f->ops->checkpoint(f->engine, true, err));
    }
    if (f->durable)
        reopen(f);
    check_mark(f, 1, 4, 10);
    check_mark(f, 2, 0, 0);
    mg_schema_unref(schema);
    mg_schema_unref(aborted);
    mg_schema_unref(unsupported);
    mg_schema_unref(ok);
    mg_schema_unref(again);
    mg_schema_unref(loaded);
}

/* ---- scans --------------------------------------------------------------------------------------------------- */

static void scans_choose_columns_rows_and_sizes(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2 | I 3,NULL,3 | I 4,d,4 | I 5,e,5");
    kit_apply(f->engine, schema, "D 2,,0");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "price,id,price"}),
                        "1.00,1,1.00\n3.00,3,3.00\n4.00,4,4.00\n5.00,5,5.00");
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "", .batch_rows_max = 3}), "\n\n\n");
    assert_string_equal(kit_rows(snapshot, 1, &(struct kit_scan){.columns = "id", .batch_rows_max = 1}), "1\n3\n4\n5");
    struct kit_scan where = {.columns = "id", .where_column = "price", .op = MG_EXPR_GE, .literal = "4"};
    assert_string_equal(kit_rows(snapshot, 1, &where), "4\n5");
    where.op = MG_EXPR_LT;
    where.literal = "0";
    assert_string_equal(kit_rows(snapshot, 1, &where), "");
    where = (struct kit_scan){.columns = "id", .where_column = "name", .op = MG_EXPR_IS_NULL};
    assert_string_equal(kit_rows(snapshot, 1, &where), "3");
    const char *limited = kit_rows(snapshot, 1, &(struct kit_scan){.columns = "", .limit = 2});
    assert_string_equal(limited, "\n");
    limited = kit_rows(snapshot, 1, &(struct kit_scan){.columns = "id", .limit = 3, .batch_rows_max = 2});
    assert_int_equal(strlen(limited), 5);
    struct mg_scan *scan;
    uint32_t bad = 3;
    struct mg_scan_spec spec = {.table_id = 1, .columns = &bad, .column_count = 1};
    refused(f->ops->scan(snapshot, &spec, &scan, err), MG_INVALID);
    f->ops->scan_close(NULL);
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

/* ---- aggregates ---------------------------------------------------------------------------------------------- */

/* Groups by name; count(*), count(name), sum(price), min(id), max(id), avg(price). */
static struct mg_aggregate *price_list(const struct mg_schema *schema, enum mg_rules rules, bool grouped, bool partial)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 16);
    const struct mg_expr *id = mg_expr_column(&arena, mg_slice_text("id"));
    const struct mg_expr *name = mg_expr_column(&arena, mg_slice_text("name"));
    const struct mg_expr *price = mg_expr_column(&arena, mg_slice_text("price"));
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_COUNT_ALL, NULL}, {MG_AGGREGATE_COUNT, name},
                                        {MG_AGGREGATE_SUM, price},      {MG_AGGREGATE_MIN, id},
                                        {MG_AGGREGATE_MAX, id},         {MG_AGGREGATE_AVG, price}};
    struct mg_aggregate_request request = {.rules = rules,
                                           .is_partial = partial,
                                           .groups = &name,
                                           .group_count = grouped,
                                           .calls = calls,
                                           .call_count = MG_COUNT_OF(calls)};
    struct mg_aggregate *aggregate;
    must(mg_aggregate_bind(&request, schema, &aggregate, err));
    mg_arena_clear(&arena);
    return aggregate;
}

static const char *aggregated(struct fixture *f, struct kit_scan scan, struct mg_aggregate *aggregate)
{
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    scan.aggregate = aggregate;
    const char *rows = kit_rows(snapshot, 1, &scan);
    f->ops->snapshot_unref(snapshot);
    mg_aggregate_free(aggregate);
    return rows;
}

static void scans_aggregate(void **state)
{
    struct fixture *f = *state;
    struct kit_scan all = {0}, some = {.where_column = "id", .op = MG_EXPR_GT, .literal = "2"};
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,ada,1 | I 2,NULL,2.5 | I 3,ada,-3 | I 4,bob,4 | I 5,NULL,0.01 | I 6,x,9");
    kit_apply(f->engine, schema, "D 6,, | U 4,bob,5");
    assert_string_equal(aggregated(f, all, price_list(schema, MG_RULES_MYSQL, false, false)), "5,3,5.51,1,5,1.102000");
    assert_string_equal(aggregated(f, all, price_list(schema, MG_RULES_SPARK, true, false)),
                        "NULL,2,0,2.51,2,5,1.255000\nada,2,2,-2.00,1,3,-1.000000\nbob,1,1,5.00,4,4,5.000000");
    assert_string_equal(aggregated(f, some, price_list(schema, MG_RULES_MYSQL, true, false)),
                        "NULL,1,0,0.01,5,5,0.010000\nada,1,1,-3.00,3,3,-3.000000\nbob,1,1,5.00,4,4,5.000000");
    assert_string_equal(aggregated(f, some, price_list(schema, MG_RULES_MYSQL, false, true)), "3,2,2.01,3,5,2.01,3");
    mg_schema_unref(schema);
}

static void aggregates_of_no_rows(void **state)
{
    struct fixture *f = *state;
    struct kit_scan all = {0}, none = {.where_column = "id", .op = MG_EXPR_GT, .literal = "7"};
    struct mg_schema *schema = people(f);
    for (int i = 0; i < 2; i++) {
        struct kit_scan scan = i ? none : all;
        const char *nothing = "0,0,NULL,NULL,NULL,NULL";
        assert_string_equal(aggregated(f, scan, price_list(schema, MG_RULES_MYSQL, false, false)), nothing);
        assert_string_equal(aggregated(f, scan, price_list(schema, MG_RULES_SPARK, false, true)), "");
        assert_string_equal(aggregated(f, scan, price_list(schema, MG_RULES_MYSQL, true, false)), "");
        kit_apply(f->engine, schema, "I 1,ada,1 | I 2,NULL,2.5");
    }
    mg_schema_unref(schema);
}

/* The sum of id * id, of the rows that the predicate keeps. */
static struct mg_aggregate *squares(const struct mg_schema *schema, enum mg_rules rules)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 16);
    struct mg_expr *ids[2] = {mg_expr_column(&arena, mg_slice_text("id")), mg_expr_column(&arena, mg_slice_text("id"))};
    struct mg_aggregate_call call = {MG_AGGREGATE_SUM, mg_expr_call(&arena, MG_EXPR_MULTIPLY, ids, 2)};
    struct mg_aggregate_request request = {.rules = rules, .calls = &call, .call_count = 1};
    struct mg_aggregate *aggregate;
    must(mg_aggregate_bind(&request, schema, &aggregate, err));
    mg_arena_clear(&arena);
    return aggregate;
}

static void an_overflow_is_an_error_of_the_rows_that_are_kept(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct kit_scan some = {.where_column = "id", .op = MG_EXPR_LT, .literal = "3000000000"};
    kit_apply(f->engine, schema, "I 3,a,0 | I 3000000001,b,0 | I 4000000000,c,0 | I 2000000000,d,0");
    assert_string_equal(aggregated(f, some, squares(schema, MG_RULES_SPARK)), "4000000000000000009");
    struct mg_aggregate *aggregate = squares(schema, MG_RULES_MYSQL);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_scan_spec spec = {.table_id = 1, .aggregate = aggregate};
    struct mg_scan *scan;
    struct mg_batch *batch;
    must(f->ops->scan(snapshot, &spec, &scan, err));
    refused(f->ops->next(scan, &batch, err), MG_OUT_OF_RANGE);
    f->ops->scan_close(scan);
    spec.limit = 1;
    refused(f->ops->scan(snapshot, &spec, &scan, err), MG_INVALID);
    mg_aggregate_free(aggregate);
    aggregate = squares(schema, MG_RULES_SPARK);
    spec = (struct mg_scan_spec){.table_id = 1, .aggregate = aggregate};
    must(f->ops->scan(snapshot, &spec, &scan, err));
    refused(f->ops->next(scan, &batch, err), MG_OUT_OF_RANGE);
    f->ops->scan_close(scan);
    mg_aggregate_free(aggregate);
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

static void scans_order_and_limit(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct mg_top_order price[] = {{.column = 2}, {.column = 0}}, name[] = {{.column = 1}, {.column = 0}};
    struct kit_scan scan = {.columns = "id", .limit = 3, .order = price, .order_count = 2};
    kit_apply(f->engine, schema, "I 1,b,5 | I 2,NULL,-1 | I 3,a,5 | I 4,a_,0.5 | I 5,NULL,100 | I 6,c,7");
    kit_apply(f->engine, schema, "D 6,, | U 5,NULL,-2 | I 7,b,9");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_string_equal(kit_rows(snapshot, 1, &scan), "5\n2\n4");
    price[0].is_descending = true;
    assert_string_equal(kit_rows(snapshot, 1, &scan), "7\n1\n3");
    scan.batch_rows_max = 1;
    price[1].is_descending = true;
    assert_string_equal(kit_rows(snapshot, 1, &scan), "7\n3\n1");
    scan = (struct kit_scan){.columns = "name,id", .limit = 100, .order = name, .order_count = 2};
    assert_string_equal(kit_rows(snapshot, 1, &scan), "NULL,2\nNULL,5\na,3\na ,4\nb,1\nb,7");
    name[0].nulls_last = name[0].is_descending = true;
    scan.columns = "";
    scan.limit = 1;
    assert_string_equal(kit_rows(snapshot, 1, &scan), "");
    scan.columns = "id";
    scan.limit = 5;
    scan.where_column = "id", scan.op = MG_EXPR_GT, scan.literal = "2";
    assert_string_equal(kit_rows(snapshot, 1, &scan), "7\n4\n3\n5");
    struct mg_scan *refused_scan;
    struct mg_scan_spec spec = {.table_id = 1, .order = name, .order_count = 2};
    refused(f->ops->scan(snapshot, &spec, &refused_scan, err), MG_INVALID);
    spec.limit = MG_TOP_ROWS_MAX + UINT64_C(1);
    refused(f->ops->scan(snapshot, &spec, &refused_scan, err), MG_INVALID);
    spec.limit = 1;
    name[1].column = 3;
    refused(f->ops->scan(snapshot, &spec, &refused_scan, err), MG_INVALID);
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

static void key_ranges_are_half_open(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I -5,a,1 | I -1,b,2 | I 0,c,3 | I 1,d,4 | I 300,e,5");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_buffer low, high;
    mg_buffer_init(&low, 100);
    mg_buffer_init(&high, 100);
    struct mg_value minus_one = {.type = schema->columns[0].type, .i = -1},
                    one = {.type = schema->columns[0].type, .i = 1};
    must(mg_key_encode_values(&minus_one, 1, &low, err));
    must(mg_key_encode_values(&one, 1, &high, err));
    struct kit_scan scan = {.columns = "id", .range = {.low = mg_buffer_slice(&low), .high = mg_buffer_slice(&high)}};
    assert_string_equal(kit_rows(snapshot, 1, &scan), "-1\n0");
    scan.range.low.size = 0;
    assert_string_equal(kit_rows(snapshot, 1, &scan), "-1\n-5\n0");
    scan.range.high.size = 0;
    scan.range.low = mg_buffer_slice(&low);
    assert_string_equal(kit_rows(snapshot, 1, &scan), "-1\n0\n1\n300");
    scan.range.low.size = 1; /* a prefix: 7f.. is below 0 */
    assert_string_equal(kit_rows(snapshot, 1, &scan), "-1\n-5\n0\n1\n300");
    must(mg_buffer_append(&low, "", 1, err)); /* longer than a key: above the key that it begins with */
    scan.range.low = mg_buffer_slice(&low);
    assert_string_equal(kit_rows(snapshot, 1, &scan), "0\n1\n300");
    must(mg_buffer_append(&high, "", 1, err));
    scan.range.high = mg_buffer_slice(&high);
    assert_string_equal(kit_rows(snapshot, 1, &scan), "0\n1");
    static const uint8_t most[9] = {255, 255, 255, 255, 255, 255, 255, 255, 0};
    scan.range.low = MG_SLICE(most, 9);
    scan.range.high.size = 0;
    assert_string_equal(kit_rows(snapshot, 1, &scan), "");
    f->ops->snapshot_unref(snapshot);
    mg_buffer_clear(&low);
    mg_buffer_clear(&high);
    mg_schema_unref(schema);
}

/* Rows of all splits together are the rows, each once. */
static void check_splits(struct fixture *f, uint64_t table_id, uint32_t wanted, bool force, uint32_t at_least,
                         double most_share)
{
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_arena arena;
    struct mg_key_range *ranges;
    struct mg_table_stats stats;
    uint32_t count;
    mg_arena_init(&arena, 1 << 20);
    must(f->ops->stats(snapshot, table_id, &stats, err));
    must(f->ops->plan_splits(snapshot, table_id, wanted, force, &arena, &ranges, &count, err));
    assert_true(count >= at_least && count <= MG_MAX(wanted, 1u));
    assert_int_equal(ranges[0].low.size, 0);
    assert_int_equal(ranges[count - 1].high.size, 0);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i) {
            assert_true(mg_slice_equal(ranges[i - 1].high, ranges[i].low));
            assert_true(ranges[i].low.size > 0);
        }
        const char *rows = kit_rows(snapshot, table_id, &(struct kit_scan){.columns = "", .range = ranges[i]});
        uint64_t lines = strlen(rows);
        /* Rows without columns are empty lines: n rows are n - 1 line ends, and 0 rows are none, too. */
        rows = kit_rows(snapshot, table_id, &(struct kit_scan){.columns = "id", .range = ranges[i]});
        lines += rows[0] != 0;
        sum += lines;
        assert_true((double)lines <= most_share * (double)stats.row_count / count + 2);
    }
    assert_int_equal(sum, stats.row_count);
    mg_arena_clear(&arena);
    f->ops->snapshot_unref(snapshot);
}

static void splits_partition_the_rows(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {"1 id int32 key", "1 id utf8 key pad", "1 id decimal(20,3) key",
                                         "1 id int16 key; 2 k utf8 key"};
    enum { ROWS = 6000 };
    for (size_t t = 0; t < MG_COUNT_OF(tables); t++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", t);
        struct mg_schema *schema = kit_schema(t + 1, t + 1, "shop", name, tables[t]);
        kit_create(f->engine, schema);
        check_splits(f, t + 1, 4, true, 1, 1.0);
        struct mg_type types[2];
        for (uint32_t c = 0; c < schema->column_count; c++)
            types[c] = schema->columns[c].type;
        struct mg_batch_builder builder;
        struct mg_batch *batch;
        static uint8_t ops[ROWS];
        must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 28, err));
        for (int i = 0; i < ROWS; i++)
            for (uint32_t c = 0; c < schema->column_count; c++) {
                char text[32];
                snprintf(text, sizeof text, "k%d%s", (i * 7919) % ROWS, i % 3 ? "" : "  ");
                if (types[c].id == MG_TYPE_UTF8)
                    must(mg_builder_text(&builder, c, mg_slice_text(text), err));
                else if (types[c].id == MG_TYPE_DECIMAL)
                    must(mg_builder_decimal(&builder, c, (mg_int128)(i * 7919 % ROWS) - 100, err));
                else
                    must(
                        mg_builder_int(&builder, c, types[c].id == MG_TYPE_INT16 ? i % 50 - 25 : i * 7919 % ROWS, err));
            }
        must(mg_batch_builder_finish(&builder, ROWS, &batch, err));
        mg_batch_builder_clear(&builder);
        struct mg_epoch *epoch = kit_begin(f->engine);
        must(f->ops->put(
            epoch, &(struct mg_changes){.table_id = t + 1, .schema_version = t + 1, .rows = batch, .ops = ops}, err));
        kit_publish(epoch, 100 + t);
        mg_batch_unref(batch);
        check_splits(f, t + 1, 0, false, 1, 1.0);
        check_splits(f, t + 1, 4, false, 4, 1.1);
        check_splits(f, t + 1, 64, false, 5, 1.1); /* 1,024 rows each */
        check_splits(f, t + 1, 64, true, 60, 1.5);
        mg_schema_unref(schema);
    }
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_key_range *ranges;
    uint32_t count;
    refused(f->ops->plan_splits(snapshot, 99, 4, true, NULL, &ranges, &count, err), MG_NOT_FOUND);
    f->ops->snapshot_unref(snapshot);
}

static void a_batch_outlives_its_scan(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,bb,2");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    uint32_t columns[] = {1, 0};
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 2};
    struct mg_scan *scan;
    struct mg_batch *batch;
    must(f->ops->scan(snapshot, &spec, &scan, err));
    must(f->ops->next(scan, &batch, err));
    f->ops->scan_close(scan);
    kit_apply(f->engine, schema, "D 1,,0 | U 2,other,3");
    assert_int_equal(batch->row_count, 2);
    assert_true(mg_slice_equal(mg_vector_text(&batch->vectors[0], 1), mg_slice_text("bb")));
    mg_batch_unref(batch);
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

/* ---- limits and faults --------------------------------------------------------------------------------------- */

static void put_numbers(struct fixture *f, struct mg_epoch *epoch, int64_t first, uint32_t count, enum mg_code *out)
{
    struct mg_type types[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT64}};
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t *ops = calloc(count, 1);
    must(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 28, err));
    for (uint32_t i = 0; i < count; i++) {
        must(mg_builder_int(&builder, 0, first + i, err));
        must(mg_builder_int(&builder, 1, -first - i, err));
    }
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    struct mg_error err = MG_ERROR_INIT;
    *out = f->ops->put(epoch, &(struct mg_changes){.table_id = 1, .schema_version = 1, .rows = batch, .ops = ops},
                       &err);
    assert_true(*out == MG_OK || err.text[0]);
    mg_batch_unref(batch);
    free(ops);
}

static void a_full_memory_refuses_the_epoch_and_readers_go_on(void **state)
{
    struct fixture *f = *state;
    f->ops->close(f->engine);
    open_with(f, 4 << 20, 0);
    struct mg_schema *schema = kit_schema(1, 1, "shop", "n", "1 id int64 key; 2 v int64");
    kit_create(f->engine, schema);
    uint64_t published = 0;
    enum mg_code code = MG_OK;
    for (int e = 0; code == MG_OK && e < 1000; e++) {
        struct mg_epoch *epoch = kit_begin(f->engine);
        put_numbers(f, epoch, (int64_t)published, 10000, &code);
        if (code == MG_OK) {
            kit_publish(epoch, (uint64_t)e + 10);
            published += 10000;
            continue;
        }
        assert_int_equal(code, MG_NO_MEMORY);
        enum mg_code again;
        put_numbers(f, epoch, 0, 1, &again); /* it can only be aborted */
        assert_int_equal(again, MG_NO_MEMORY);
        uint64_t number;
        refused(f->ops->publish(epoch, 5000, MG_SLICE(NULL, 0), &number, err), MG_NO_MEMORY);
    }
    assert_int_equal(code, MG_NO_MEMORY);
    assert_true(published >= 20000);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_table_stats stats;
    must(f->ops->stats(snapshot, 1, &stats, err));
    assert_int_equal(stats.row_count, published);
    struct kit_scan some = {.columns = "v", .where_column = "id", .op = MG_EXPR_EQ, .literal = "12345"};
    assert_string_equal(kit_rows(snapshot, 1, &some), "-12345");
    f->ops->snapshot_unref(snapshot);
    kit_apply(f->engine, schema, "U 12345,7");
    assert_true(kit_status(f->engine, "memory_left_bytes") < 4 << 20);
    mg_schema_unref(schema);
}

static void a_full_memory_refuses_old_epochs(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    f->ops->close(f->engine);
    open_with(f, 4 << 20, 0);
    struct mg_schema *schema = kit_schema(1, 1, "shop", "n", "1 id int64 key; 2 v int64");
    kit_create(f->engine, schema);
    enum mg_code code;
    for (int e = 0; e < 7; e++) {
        struct mg_epoch *epoch = kit_begin(f->engine);
        put_numbers(f, epoch, e * 10000, 10000, &code);
        assert_int_equal(code, MG_OK);
        kit_publish(epoch, (uint64_t)e + 10);
    }
    struct mg_snapshot *snapshot;
    must(f->ops->snapshot_at(f->engine, 3, &snapshot, err));
    struct mg_snapshot *second;
    refused(f->ops->snapshot_at(f->engine, 7, &second, err), MG_NO_MEMORY);
    f->ops->snapshot_unref(snapshot);
    size_t used = mg_budget_used(&f->budget);
    must(f->ops->snapshot_at(f->engine, 4, &snapshot, err));
    f->ops->snapshot_unref(snapshot);
    assert_int_equal(mg_budget_used(&f->budget), used);
    mg_schema_unref(schema);
}

static void a_full_disk_refuses_the_epoch_and_the_next_one_works(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    f->ops->close(f->engine);
    mg_io_fault_free(f->disk);
    f->disk = mg_io_fault_new(1);
    open_with(f, SIZE_MAX, 64 << 10);
    struct mg_schema *schema = kit_schema(1, 1, "shop", "n", "1 id int64 key; 2 v int64");
    kit_create(f->engine, schema);
    mg_io_fault_set_capacity(f->disk, 300 << 10);
    enum mg_code code = MG_OK;
    uint64_t published = 0;
    for (int e = 0; code == MG_OK && e < 100; e++) {
        struct mg_epoch *epoch = kit_begin(f->engine);
        put_numbers(f, epoch, (int64_t)published, 1000, &code);
        assert_int_equal(code, MG_OK);
        struct mg_error err = MG_ERROR_INIT;
        code = f->ops->publish(epoch, 10 + (uint64_t)e, MG_SLICE(NULL, 0), NULL, &err);
        published += code == MG_OK ? 1000 : 0;
    }
    assert_int_equal(code, MG_NO_SPACE);
    assert_true(published >= 5000);
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    struct mg_table_stats stats;
    must(f->ops->stats(snapshot, 1, &stats, err));
    assert_int_equal(stats.row_count, published);
    f->ops->snapshot_unref(snapshot);
    mg_io_fault_set_capacity(f->disk, UINT64_MAX);
    struct mg_epoch *epoch = kit_begin(f->engine);
    put_numbers(f, epoch, (int64_t)published, 1000, &code);
    kit_publish(epoch, 1000);
    assert_int_equal(kit_status(f->engine, "verify_failed"), 0);
    reopen(f);
    snapshot = kit_snapshot(f->engine);
    must(f->ops->stats(snapshot, 1, &stats, err));
    assert_int_equal(stats.row_count, published + 1000);
    f->ops->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

static void a_failing_sync_stops_the_writer_and_readers_go_on(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    struct mg_schema *schema = people(f);
    uint64_t last = kit_apply(f->engine, schema, "I 1,a,1");
    mg_io_fault_fail(f->disk, MG_FAULT_SYNC, 1, EIO, false);
    struct mg_epoch *epoch = kit_begin(f->engine);
    kit_put(epoch, schema, "I 2,lost,2");
    uint64_t number;
    refused(f->ops->publish(epoch, 100, MG_SLICE(NULL, 0), &number, err), MG_STOPPED);
    refused(f->ops->begin(f->engine, "test", 1, &epoch, err), MG_STOPPED);
    refused(f->ops->wait(f->engine, last + 1, -1, err), MG_STOPPED);
    refused(f->ops->wait_watermark(f->engine, "test", 100, -1, err), MG_STOPPED);
    must(f->ops->wait(f->engine, last, 0, err));
    assert_string_equal(kit_now(f->engine, 1), "1,a,1.00");
    assert_string_equal(at_epoch(f, 1, 1), "");
    f->ops->close(f->engine);
    mg_io_fault_crash(f->disk, MG_LOSE_ALL);
    open_with(f, SIZE_MAX, 0);
    /* What was published is there; the failed epoch may be, whole. */
    const char *rows = kit_now(f->engine, 1);
    struct mg_source_position position;
    must(f->ops->position(f->engine, "test", &position, err));
    if (position.epoch == last)
        assert_string_equal(rows, "1,a,1.00");
    else
        assert_string_equal(rows, "1,a,1.00\n2,lost,2.00");
    mg_schema_unref(schema);
}

static void a_power_cut_keeps_what_was_published(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    struct mg_schema *schema = people(f);
    char expected[4096] = "";
    for (int i = 0; i < 20; i++) {
        char change[64];
        snprintf(change, sizeof change, "I %d,row,%d", 100 + i, i);
        kit_apply(f->engine, schema, change);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%d,row,%d.00", i ? "\n" : "",
                 100 + i, i);
        struct mg_epoch *epoch = kit_begin(f->engine);
        kit_put(epoch, schema, "D 100,,0 | I 5,staged,5");
        f->ops->abort(epoch);
        f->ops->close(f->engine);
        mg_io_fault_crash(f->disk, i % 2 ? MG_LOSE_ALL : MG_LOSE_SOME);
        open_with(f, SIZE_MAX, 0);
        assert_string_equal(kit_now(f->engine, 1), expected);
    }
    mg_schema_unref(schema);
}

static void a_folder_is_locked_and_versioned(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    uint64_t id = f->ops->store_id(f->engine);
    struct mg_engine *second;
    struct mg_engine_options options = {.folder = "/store", .io = mg_io_fault_io(f->disk)};
    refused(f->ops->open(&options, &second, err), MG_BUSY);
    reopen(f);
    assert_true(f->ops->store_id(f->engine) == id);
    f->ops->close(f->engine);
    for (char old = '1'; old <= '2'; old++) { /* before parts, before parts in the WAL: not any more by who wrote it */
        char text[64];
        struct mg_buffer now;
        snprintf(text, sizeof text, "magic store\nformat %c\nstore %016llx\n", old, (unsigned long long)id);
        must(mg_io_write_file(options.io, "/store", "FORMAT", mg_slice_text(text), err));
        must(f->ops->open(&options, &second, err));
        assert_true(f->ops->store_id(second) == id);
        f->ops->close(second);
        mg_buffer_init(&now, sizeof text);
        must(mg_io_read_file(options.io, "/store/FORMAT", &now, err));
        text[strlen("magic store\nformat ")] = '3';
        assert_true(mg_slice_equal(mg_buffer_slice(&now), mg_slice_text(text)));
        mg_buffer_clear(&now);
    }
    must(mg_io_write_file(options.io, "/store", "FORMAT", mg_slice_text("magic store\nformat 7\nstore 1\n"), err));
    struct mg_error story = MG_ERROR_INIT;
    assert_int_equal(f->ops->open(&options, &second, &story), MG_UNIMPLEMENTED);
    assert_non_null(strstr(story.text, "version 7"));
    assert_non_null(strstr(story.text, "version 3"));
    must(mg_io_write_file(options.io, "/store", "FORMAT", mg_slice_text("something else"), err));
    refused(f->ops->open(&options, &second, err), MG_CORRUPT);
    must(options.io->ops->unlink(options.io, "/store/FORMAT", err));
    refused(f->ops->open(&options, &second, err), MG_CORRUPT); /* a WAL without FORMAT */
    options.folder = NULL;
    refused(f->ops->open(&options, &second, err), MG_INVALID);
    mg_io_fault_free(f->disk);
    f->disk = mg_io_fault_new(2);
    open_with(f, SIZE_MAX, 0);
}

static enum mg_code note_compaction(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    struct mg_compaction_info *seen = arg;
    assert_true(info->id > seen->id); /* in the order in which they were asked for */
    *seen = *info;
    return MG_OK;
}

static enum mg_code copy_compaction(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    *(struct mg_compaction_info *)arg = *info;
    return MG_OK;
}

static void wait_until_over(struct fixture *f, uint64_t id)
{
    struct mg_compaction_info info;
    do {
        must(f->ops->compactions(f->engine, id, copy_compaction, &info, err));
        if (info.state < MG_COMPACTION_DONE)
            usleep(1000);
    } while (info.state < MG_COMPACTION_DONE);
    assert_int_equal(info.state, MG_COMPACTION_DONE);
}

static void compactions_are_asked_for_and_listed(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct mg_compaction_info info = {0};
    uint64_t first, second;
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2");
    must(f->ops->checkpoint(f->engine, true, err));
    kit_apply(f->engine, schema, "U 2,c,3 | I 3,d,4");
    must(f->ops->compactions(f->engine, 0, note_compaction, &info, err));
    assert_int_equal(info.id, 0); /* none */
    struct mg_buffer low;
    struct mg_value key = {.type = schema->columns[0].type, .i = 2};
    mg_buffer_init(&low, 64);
    must(mg_key_encode_values(&key, 1, &low, err));
    must(f->ops->compact(f->engine, 1, (struct mg_key_range){.low = mg_buffer_slice(&low)}, &first, err));
    mg_buffer_clear(&low);
    must(f->ops->compact(f->engine, 1, (struct mg_key_range){0}, &second, err));
    assert_true(second > first);
    wait_until_over(f, first);
    wait_until_over(f, second);
    must(f->ops->compactions(f->engine, first, note_compaction, &info, err));
    assert_true(info.has_range && info.state == MG_COMPACTION_DONE && info.progress == 1);
    must(f->ops->compactions(f->engine, 0, note_compaction, &(struct mg_compaction_info){0}, err));
    must(f->ops->compactions(f->engine, second, note_compaction, &info, err));
    assert_true(info.id == second && !info.has_range && info.table_id == 1);
    assert_string_equal(info.table, schema->table);
    assert_int_equal(info.state, MG_COMPACTION_DONE);
    assert_true(info.ended_ms >= info.started_ms && info.started_ms >= info.asked_ms && info.asked_ms > 0);
    assert_string_equal(kit_now(f->engine, 1), "1,a,1.00\n2,c,3.00\n3,d,4.00");
    if (f->durable) {
        assert_int_equal(kit_status(f->engine, "parts"), 1);
        assert_int_equal(kit_status(f->engine, "delta_bytes"), 0);
        assert_int_equal(kit_status(f->engine, "rows_deleted"), 0);
    }
    refused(f->ops->cancel_compaction(f->engine, second, err), MG_INVALID);
    refused(f->ops->cancel_compaction(f->engine, second + 1, err), MG_NOT_FOUND);
    refused(f->ops->compactions(f->engine, second + 1, note_compaction, &info, err), MG_NOT_FOUND);
    refused(f->ops->compact(f->engine, 77, (struct mg_key_range){0}, &first, err), MG_NOT_FOUND);
    mg_schema_unref(schema);
}

static void the_list_of_compactions_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    struct mg_compaction_info info = {0};
    uint64_t id = 0;
    for (int i = 0; i < 300; i++) {
        must(f->ops->compact(f->engine, 1, (struct mg_key_range){0}, &id, err));
        wait_until_over(f, id);
    }
    assert_int_equal(id, 300);
    must(f->ops->compactions(f->engine, 300, note_compaction, &info, err));
    refused(f->ops->compactions(f->engine, 300 - 128, note_compaction, &info, err), MG_NOT_FOUND);
    info.id = 0;
    must(f->ops->compactions(f->engine, 300 - 127, note_compaction, &info, err));
    mg_schema_unref(schema);
}

static void options_change_while_it_is_open(void **state)
{
    struct fixture *f = *state;
    must(f->ops->set_option(f->engine, MG_OPTION_MERGE_THROTTLE, 50000000, err));
    if (f->durable)
        assert_int_equal(kit_status(f->engine, "merge_throttle"), 50000000);
    must(f->ops->set_option(f->engine, MG_OPTION_MERGE_THROTTLE, 0, err));
    refused(f->ops->set_option(f->engine, (enum mg_engine_option)99, 1, err), MG_INVALID);
}

/* At a byte a second the merge takes minutes: flushes are done meanwhile, and it ends when it is cancelled. */
static void a_flush_does_not_wait_for_a_merge(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    struct mg_schema *schema = people(f);
    struct mg_compaction_info info;
    uint64_t id;
    must(f->ops->set_option(f->engine, MG_OPTION_MERGE_THROTTLE, 1, err));
    for (int i = 0; i < 2; i++) {
        kit_apply(f->engine, schema, i ? "I 2,b,2" : "I 1,a,1");
        must(f->ops->checkpoint(f->engine, true, err));
    }
    must(f->ops->compact(f->engine, 1, (struct mg_key_range){0}, &id, err));
    do {
        must(f->ops->compactions(f->engine, id, copy_compaction, &info, err));
        usleep(1000);
    } while (info.rows_written == 0);
    assert_int_equal(info.state, MG_COMPACTION_RUNNING);
    uint64_t flushes = kit_status(f->engine, "flushes");
    kit_apply(f->engine, schema, "I 3,c,3");
    must(f->ops->checkpoint(f->engine, true, err));
    assert_true(kit_status(f->engine, "flushes") > flushes);
    must(f->ops->compactions(f->engine, id, copy_compaction, &info, err));
    assert_int_equal(info.state, MG_COMPACTION_RUNNING);
    must(f->ops->cancel_compaction(f->engine, id, err));
    do {
        must(f->ops->compactions(f->engine, id, copy_compaction, &info, err));
        usleep(1000);
    } while (info.state == MG_COMPACTION_RUNNING);
    assert_int_equal(info.state, MG_COMPACTION_CANCELLED);
    must(f->ops->set_option(f->engine, MG_OPTION_MERGE_THROTTLE, 0, err));
    must(f->ops->compact(f->engine, 1, (struct mg_key_range){0}, &id, err));
    wait_until_over(f, id);
    assert_string_equal(kit_now(f->engine, 1), "1,a,1.00\n2,b,2.00\n3,c,3.00");
    mg_schema_unref(schema);
}

static void what_is_written_is_counted(void **state)
{
    struct fixture *f = *state;
    if (!f->durable)
        return;
    struct mg_schema *schema = people(f);
    uint64_t id;
    kit_apply(f->engine, schema, "I 1,a,1 | I 2,b,2 | I 9,stays,9");
    must(f->ops->checkpoint(f->engine, true, err));
    uint64_t in = kit_status(f->engine, "in_bytes"), flushed = kit_status(f->engine, "flushed_bytes");
    assert_true(in > 0 && flushed > 0 && kit_status(f->engine, "wal_rows_bytes") > 0);
    struct mg_epoch *epoch = kit_begin(f->engine);
    kit_put(epoch, schema, "I 3,aborted,1");
    f->ops->abort(epoch);
    assert_int_equal(kit_status(f->engine, "in_bytes"), in); /* what was aborted did not come in */
    kit_apply(f->engine, schema, "U 2,c,3 | D 1,,");
    assert_true(kit_status(f->engine, "in_bytes") > in);
    assert_int_equal(kit_status(f->engine, "merged_bytes"), 0);
    must(f->ops->compact(f->engine, 1, (struct mg_key_range){0}, &id, err));
    wait_until_over(f, id);
    assert_true(kit_status(f->engine, "merged_bytes") > 0 && kit_status(f->engine, "flushed_bytes") > flushed);
    assert_int_equal(kit_status(f->engine, "rows_reclaimed"), 2);
    assert_true(kit_status(f->engine, "write_amplification") >= 2);
    mg_schema_unref(schema);
}

static void status_says_what_people_ask(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = people(f);
    kit_apply(f->engine, schema, "I 1,a,1");
    struct mg_snapshot *snapshot = kit_snapshot(f->engine);
    assert_int_equal(kit_status(f->engine, "epoch"), 2);
    assert_int_equal(kit_status(f->engine, "tables"), 1);
    assert_int_equal(kit_status(f->engine, "pins"), 1);
    kit_status(f->engine, "memory_used_bytes");
    f->ops->snapshot_unref(snapshot);
    assert_int_equal(kit_status(f->engine, "pins"), 0);
    mg_schema_unref(schema);
}

/* ---- the list ------------------------------------------------------------------------------------------------ */

typedef void test_fn(void **state);
static const struct {
    const char *name;
    test_fn *fn;
} tests[] = {
#define T(name)     \
    {               \
#name, name \
    }
    T(a_new_store_is_empty),
    T(the_newest_row_per_key_is_seen),
    T(the_last_change_of_an_epoch_wins),
    T(changes_that_contradict_are_applied_and_counted),
    T(many_rows_and_epochs),
    T(pad_space_keys_do_not_count_trailing_blanks),
    T(composite_keys_of_every_type),
    T(equal_rows_of_a_table_without_key_stay_two),
    T(long_keys_are_refused),
    T(a_snapshot_never_changes),
    T(old_epochs_open),
    T(watermarks_and_epoch_at),
    T(epoch_at_is_exact_however_many_epochs_there_are),
    T(one_epoch_is_staged_at_a_time),
    T(generations_fence_old_writers),
    T(sources_are_bounded),
    T(an_aborted_epoch_leaves_nothing),
    T(put_refuses_what_does_not_fit),
    T(databases_and_names),
    T(numbers_are_never_given_twice),
    T(schemas_change_and_old_snapshots_keep_theirs),
    T(schema_changes_that_break_promises_are_refused),
    T(names_swap_in_one_epoch),
    T(a_new_table_id_is_an_empty_incarnation),
    T(tables_that_are_not_ok_are_refused),
    T(what_needs_a_reload_is_remembered),
    T(scans_choose_columns_rows_and_sizes),
    T(scans_aggregate),
    T(aggregates_of_no_rows),
    T(an_overflow_is_an_error_of_the_rows_that_are_kept),
    T(scans_order_and_limit),
    T(key_ranges_are_half_open),
    T(splits_partition_the_rows),
    T(a_batch_outlives_its_scan),
    T(a_full_memory_refuses_the_epoch_and_readers_go_on),
    T(a_full_memory_refuses_old_epochs),
    T(a_full_disk_refuses_the_epoch_and_the_next_one_works),
    T(a_failing_sync_stops_the_writer_and_readers_go_on),
    T(a_power_cut_keeps_what_was_published),
    T(a_folder_is_locked_and_versioned),
    T(compactions_are_asked_for_and_listed),
    T(the_list_of_compactions_is_bounded),
    T(options_change_while_it_is_open),
    T(a_flush_does_not_wait_for_a_merge),
    T(what_is_written_is_counted),
    T(status_says_what_people_ask),
    T(calls_are_told_by_a_traced_engine),
#undef T
};

/* Lines of the traced engines are counted, and looked at by one test. */
static void note_line(void *arg, const char *line)
{
    assert_non_null(strstr(line, " -> "));
    line_count++;
    if (strncmp(line, "publish ", 8) == 0)
        snprintf(last_publish, sizeof last_publish, "%s", line);
}

int main(int argc, char **argv)
{
    static struct fixture engines[4] = {{.ops = &mg_engine_model, .durable = false},
                                        {.ops = &mg_engine_magic, .durable = true},
                                        {.durable = false},
                                        {.durable = true}};
    engines[2].ops = mg_trace_of(&mg_engine_model);
    engines[3].ops = mg_trace_of(&mg_engine_magic);
    mg_trace_to(note_line, NULL);
    enum { TESTS = MG_COUNT_OF(tests), ENGINES = MG_COUNT_OF(engines) };
    static struct CMUnitTest units[TESTS * ENGINES];
    static char names[TESTS * ENGINES][96];
    for (size_t e = 0; e < ENGINES; e++)
        for (size_t i = 0; i < TESTS; i++) {
            size_t at = e * TESTS + i;
            snprintf(names[at], sizeof names[at], "%s: %s", engines[e].ops->name, tests[i].name);
            units[at] = (struct CMUnitTest){.name = names[at],
                                            .test_func = tests[i].fn,
                                            .setup_func = setup,
                                            .teardown_func = teardown,
                                            .initial_state = &engines[e]};
        }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("engine contract", units, NULL, NULL);
}
