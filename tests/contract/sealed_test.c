/* sealed_test.c -- rows in memory that only old snapshots show go to disk: readers go on as if nothing had happened,
 * and writers do not run out of memory because somebody keeps a snapshot.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io_fault.h"
#include "engine_kit.h"

static const struct mg_engine_ops *const magic = &mg_engine_magic;

enum { ROWS = 20000, TEXT = 64 };

struct world {
    struct mg_io_fault *disk;
    struct mg_budget budget;
    struct mg_engine *engine;
    struct mg_schema *schema;
    uint64_t watermark;
};

static void open_world(struct world *w, size_t limit, uint64_t sealed_bytes, bool by_hand)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .sealed_bytes = sealed_bytes,
                                        .disk_reserve = 1 << 20,
                                        .maintain_by_hand = by_hand};
    mg_budget_init(&w->budget, "sealed test", NULL, limit);
    assert_int_equal(magic->open(&options, &w->engine, &err), MG_OK);
}

static void begin_world(struct world *w, size_t limit, uint64_t sealed_bytes, bool by_hand)
{
    memset(w, 0, sizeof *w);
    w->disk = mg_io_fault_new(1);
    w->schema = kit_schema(1, 1, "d", "t", "1 id int64 key; 2 text utf8 null; 3 n int32 null");
    open_world(w, limit, sealed_bytes, by_hand);
    w->watermark = kit_create(w->engine, w->schema);
}

static void end_world(struct world *w)
{
    magic->close(w->engine);
    assert_int_equal(mg_budget_used(&w->budget), 0);
    mg_schema_unref(w->schema);
    mg_io_fault_free(w->disk);
    kit_forget();
}

/* Ids first to first + count, with a text and a number that follow from id and version; every seventh is NULL. */
static struct mg_batch *make_rows(const struct world *w, int64_t first, uint32_t count, uint32_t version)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    char text[TEXT + 1];
    struct mg_type types[3];
    for (int c = 0; c < 3; c++)
        types[c] = w->schema->columns[c].type;
    assert_int_equal(mg_batch_builder_init(&builder, types, 3, NULL, SIZE_MAX, &err), MG_OK);
    for (int64_t id = first; id < first + count; id++) {
        snprintf(text, sizeof text, "%032lld%032u", (long long)id * 7919 % 1000003, version);
        assert_int_equal(mg_builder_int(&builder, 0, id, &err), MG_OK);
        assert_int_equal(id % 7 ? mg_builder_text(&builder, 1, MG_SLICE(text, TEXT), &err)
                                : mg_builder_null(&builder, 1, &err),
                         MG_OK);
        assert_int_equal(
            id % 7 ? mg_builder_int(&builder, 2, (int64_t)version, &err) : mg_builder_null(&builder, 2, &err), MG_OK);
    }
    assert_int_equal(mg_batch_builder_finish(&builder, count, &rows, &err), MG_OK);
    mg_batch_builder_clear(&builder);
    return rows;
}

/* An epoch of it; MG_NO_MEMORY is tried again. Returns how often it was refused. */
static int put(struct world *w, uint8_t op, int64_t first, uint32_t count, uint32_t version, int tries)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch *rows = make_rows(w, first, count, version);
    uint8_t *ops = malloc(count);
    memset(ops, op, count);
    struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = rows, .ops = ops};
    int refused = 0;
    for (bool done = false; !done; refused += !done) {
        if (refused == tries)
            fail_msg("%d times: %s", tries, err.text);
        struct mg_epoch *epoch = kit_begin(w->engine);
        enum mg_code code = magic->put(epoch, &changes, &err);
        done = code == MG_OK;
        if (done)
            kit_publish(epoch, ++w->watermark);
        else
            magic->abort(epoch);
        assert_true(code == MG_OK || code == MG_NO_MEMORY);
    }
    mg_batch_unref(rows);
    free(ops);
    return refused;
}

static void update(struct world *w, uint32_t version)
{
    assert_int_equal(put(w, MG_CHANGE_UPDATE, 0, ROWS, version, 1), 0);
}

static void flush(struct world *w) { assert_int_equal(magic->checkpoint(w->engine, true, NULL), MG_OK); }

struct sums {
    uint64_t rows, nulls, ids, numbers, letters;
};

static void add_batch(const struct mg_batch *batch, struct sums *sums)
{
    for (uint32_t row = 0; row < batch->row_count; row++) {
        struct mg_value text = mg_vector_value(&batch->vectors[1], row), n = mg_vector_value(&batch->vectors[2], row);
        sums->rows++;
        sums->ids += (uint64_t)mg_vector_value(&batch->vectors[0], row).i;
        sums->nulls += text.is_null + (unsigned)n.is_null;
        sums->numbers += n.is_null ? 0 : (uint64_t)n.i;
        for (size_t i = 0; !text.is_null && i < text.text.size; i++)
            sums->letters = sums->letters * 31 + text.text.data[i];
    }
}

static struct mg_scan *begin_scan(struct mg_snapshot *snapshot)
{
    static const uint32_t columns[] = {0, 1, 2};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 3};
    struct mg_scan *scan;
    assert_int_equal(magic->scan(snapshot, &spec, &scan, &err), MG_OK);
    return scan;
}

static enum mg_code sum(struct mg_snapshot *snapshot, struct sums *out, struct mg_error *err)
{
    struct mg_scan *scan = begin_scan(snapshot);
    struct mg_batch *batch;
    enum mg_code code;
    memset(out, 0, sizeof *out);
    while ((code = magic->next(scan, &batch, err)) == MG_OK && batch) {
        add_batch(batch, out);
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    return code;
}

static struct sums must_sum(struct mg_snapshot *snapshot)
{
    struct mg_error err = MG_ERROR_INIT;
    struct sums sums;
    enum mg_code code = sum(snapshot, &sums, &err);
    if (code != MG_OK)
        fail_msg("%s: %s", mg_code_name(code), err.text);
    return sums;
}

static void same(struct sums a, struct sums b) { assert_memory_equal(&a, &b, sizeof a); }

/* All that can be asked of a snapshot but a scan, as numbers. */
static struct sums ask(struct mg_snapshot *snapshot)
{
    struct mg_error err = MG_ERROR_INIT;
    struct sums sums = {0};
    struct mg_arena arena;
    struct mg_column_stats *stats;
    struct mg_key_range *ranges;
    struct mg_table_stats table;
    uint32_t count;
    mg_arena_init(&arena, 1 << 20);
    assert_int_equal(magic->stats(snapshot, 1, &table, &err), MG_OK);
    assert_true(table.size_bytes > ROWS * TEXT);
    assert_int_equal(magic->column_stats(snapshot, 1, NULL, &arena, &stats, &err), MG_OK);
    sums.rows = table.row_count;
    sums.nulls = stats[1].null_count + stats[2].null_count;
    sums.ids = (uint64_t)stats[0].high.i;
    sums.numbers = (uint64_t)stats[2].high.i;
    sums.letters = mg_slice_compare(stats[1].low.text, stats[1].high.text) < 0 ? stats[1].high.text.data[20] : 0;
    assert_int_equal(magic->plan_splits(snapshot, 1, 4, true, &arena, &ranges, &count, &err), MG_OK);
    sums.letters = sums.letters * 10 + count;
    for (uint32_t i = 0; i < count; i++) {
        struct kit_scan scan = {.columns = "id", .range = ranges[i]};
        sums.letters += strlen(kit_rows(snapshot, 1, &scan));
    }
    /* By key, and by a number that the zones of few chunks hold. */
    struct kit_scan one = {.where_column = "id", .op = MG_EXPR_EQ, .literal = "8193"};
    sums.letters += strlen(kit_rows(snapshot, 1, &one));
    one = (struct kit_scan){.where_column = "n", .op = MG_EXPR_EQ, .literal = "1"};
    sums.letters += strlen(kit_rows(snapshot, 1, &one));
    mg_arena_clear(&arena);
    return sums;
}

static void what_a_snapshot_shows_stays(void **state)
{
    struct world w;
    struct mg_snapshot *held[3];
    struct sums sums[3], asked[3];
    begin_world(&w, SIZE_MAX, 1, true);
    for (uint32_t i = 0; i < 3; i++) { /* the last chunk is an open one in each */
        put(&w, i ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT, 0, ROWS - 100 * i, i, 1);
        held[i] = kit_snapshot(w.engine);
        sums[i] = must_sum(held[i]);
        asked[i] = ask(held[i]);
    }
    assert_int_equal(kit_status(w.engine, "sealed_bytes"), 0);
    update(&w, 77);
    flush(&w);
    assert_true(kit_status(w.engine, "sealed_bytes") > 3 * ROWS * TEXT);
    assert_true(kit_status(w.engine, "sealed_file_bytes") >= kit_status(w.engine, "sealed_bytes"));
    assert_true(kit_status(w.engine, "memory_rows_bytes") < ROWS * TEXT);
    for (int i = 2; i >= 0; i--) {
        same(must_sum(held[i]), sums[i]);
        same(ask(held[i]), asked[i]);
    }
    for (int i = 0; i < 3; i++)
        magic->snapshot_unref(held[i]);
    assert_int_equal(kit_status(w.engine, "sealed_bytes"), 0);
    flush(&w);
    assert_int_equal(kit_status(w.engine, "sealed_files"), 0);
    assert_int_equal(kit_status(w.engine, "sealed_file_bytes"), 0);
    assert_int_equal(kit_status(w.engine, "memory_sealed_bytes"), 0);
    end_world(&w);
}

static void who_reads_goes_on(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct world w;
    struct mg_batch *first, *batch;
    begin_world(&w, SIZE_MAX, 1, true);
    put(&w, MG_CHANGE_INSERT, 0, ROWS, 1, 1);
    struct mg_snapshot *held = kit_snapshot(w.engine);
    struct sums before = must_sum(held), now = {0};
    struct mg_scan *scan = begin_scan(held);
    assert_int_equal(magic->next(scan, &first, &err), MG_OK);
    update(&w, 2);
    flush(&w);
    assert_true(kit_status(w.engine, "sealed_bytes") > 0);
    uint64_t rows_bytes = kit_status(w.engine, "memory_rows_bytes"); /* with those that the batch shows */
    add_batch(first, &now);
    while (magic->next(scan, &batch, &err) == MG_OK && batch) {
        add_batch(batch, &now);
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    same(now, before);
    mg_batch_unref(first);
    assert_true(kit_status(w.engine, "memory_rows_bytes") < rows_bytes - 8192 * TEXT / 2);
    magic->snapshot_unref(held);
    end_world(&w);
}

/* Epochs that were opened again from disk are old snapshots, too. */
static void rebuilt_epochs_are_sealed(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct world w;
    struct mg_snapshot *old;
    begin_world(&w, SIZE_MAX, 1, true);
    put(&w, MG_CHANGE_INSERT, 0, ROWS, 1, 1);
    struct mg_snapshot *snapshot = kit_snapshot(w.engine);
    uint64_t epoch = magic->snapshot_epoch(snapshot);
    struct sums sums = must_sum(snapshot);
    magic->snapshot_unref(snapshot);
    update(&w, 2);
    assert_int_equal(magic->snapshot_at(w.engine, epoch, &old, &err), MG_OK);
    uint64_t before = kit_status(w.engine, "memory_replay_bytes");
    flush(&w);
    assert_true(kit_status(w.engine, "sealed_bytes") > ROWS * TEXT);
    assert_true(kit_status(w.engine, "memory_replay_bytes") < before / 2);
    same(must_sum(old), sums);
    magic->snapshot_unref(old);
    assert_int_equal(kit_status(w.engine, "sealed_bytes"), 0);
    end_world(&w);
}

static void a_disk_that_fails(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct world w;
    struct sums sums;
    begin_world(&w, SIZE_MAX, 1, true);
    put(&w, MG_CHANGE_INSERT, 0, ROWS, 1, 1);
    struct mg_snapshot *held = kit_snapshot(w.engine);
    struct sums before = must_sum(held);
    update(&w, 2);
    flush(&w);
    assert_true(kit_status(w.engine, "sealed_bytes") > 0);
    mg_io_fault_fail(w.disk, MG_FAULT_READ, 1, EIO, true);
    assert_int_equal(sum(held, &sums, &err), MG_IO); /* the reader's, and nobody else's */
    mg_io_fault_heal(w.disk);
    same(must_sum(held), before);
    magic->snapshot_unref(held);
    end_world(&w);
}

static void a_full_disk_keeps_them_in_memory(void **state)
{
    struct world w;
    begin_world(&w, SIZE_MAX, 1, true);
    put(&w, MG_CHANGE_INSERT, 0, ROWS, 1, 1);
    struct mg_snapshot *held = kit_snapshot(w.engine);
    struct sums before = must_sum(held);
    update(&w, 2);
    mg_io_fault_set_capacity(w.disk, (uint64_t)1 << 30);
    assert_int_equal(magic->set_option(w.engine, MG_OPTION_DISK_RESERVE, (uint64_t)2 << 30, NULL), MG_OK);
    flush(&w);
    assert_int_equal(kit_status(w.engine, "sealed_bytes"), 0);
    same(must_sum(held), before);
    assert_int_equal(magic->set_option(w.engine, MG_OPTION_DISK_RESERVE, 1 << 20, NULL), MG_OK);
    flush(&w);
    assert_true(kit_status(w.engine, "sealed_bytes") > 0);
    same(must_sum(held), before);
    magic->snapshot_unref(held);
    end_world(&w);
}

static enum mg_code count_name(void *arg, const char *name, struct mg_error *err)
{
    ++*(int *)arg;
    return MG_OK;
}

static int names_in(struct mg_io *io, const char *folder)
{
    int count = 0;
    assert_int_equal(io->ops->list(io, folder, count_name, &count, NULL), MG_OK);
    return count;
}

/* A file has no name while it is in use; one that a crash left its name is removed. */
static void nothing_is_left(void **state)
{
    struct world w;
    begin_world(&w, SIZE_MAX, 1, true);
    struct mg_io *io = mg_io_fault_io(w.disk);
    put(&w, MG_CHANGE_INSERT, 0, ROWS, 1, 1);
    struct mg_snapshot *held = kit_snapshot(w.engine);
    update(&w, 2);
    flush(&w);
    assert_int_equal(kit_status(w.engine, "sealed_files"), 1);
    assert_int_equal(names_in(io, "/store/sealed"), 0);
    magic->snapshot_unref(held);
    magic->close(w.engine);
    struct mg_file *file;
    assert_int_equal(mg_io_open(io, "/store/sealed/00000001", MG_OPEN_CREATE, &file, NULL), MG_OK);
    assert_int_equal(mg_file_pwrite(file, "left", 4, 0, NULL), MG_OK);
    mg_file_close(file);
    open_world(&w, SIZE_MAX, 1, true);
    assert_int_equal(names_in(io, "/store/sealed"), 0);
    end_world(&w);
}

/* Snapshots are kept, and every row is written anew again and again: many times what memory holds. */
static void writers_go_on_while_snapshots_are_kept(void **state)
{
    enum { LIMIT = 96 << 20, EPOCHS = 80, KEPT = 20, COUNT = 60000 };
    struct world w;
    struct mg_snapshot *held[KEPT];
    struct sums sums[KEPT];
    begin_world(&w, LIMIT, 0, false);
    int refused = 0;
    for (uint32_t i = 0; i < EPOCHS; i++) {
        refused += put(&w, i ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT, 0, COUNT, i, 20);
        if (i % (EPOCHS / KEPT))
            continue;
        held[i / (EPOCHS / KEPT)] = kit_snapshot(w.engine);
        sums[i / (EPOCHS / KEPT)] = must_sum(held[i / (EPOCHS / KEPT)]);
    }
    print_message("%u epochs, %d times refused, %llu bytes sealed\n", EPOCHS, refused,
                  (unsigned long long)kit_status(w.engine, "sealed_bytes"));
    for (int i = 0; i < KEPT; i++) {
        same(must_sum(held[i]), sums[i]);
        magic->snapshot_unref(held[i]);
    }
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_snapshot_shows_stays),
        cmocka_unit_test(who_reads_goes_on),
        cmocka_unit_test(rebuilt_epochs_are_sealed),
        cmocka_unit_test(a_disk_that_fails),
        cmocka_unit_test(a_full_disk_keeps_them_in_memory),
        cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(writers_go_on_while_snapshots_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
