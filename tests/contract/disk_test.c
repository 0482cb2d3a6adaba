/* disk_test.c -- what the magic engine keeps on disk: found again after every power cut, intact after every failing
 * call, and refused by name when a bit of it is flipped.
 *
 * One scripted history makes every kind of file: WAL, parts of two tables, marks, manifests, an old epoch to open, a
 * column that came later, a table that was dropped. Each test runs it with another disaster.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io_fault.h"
#include "base/stop.h"
#include "engine/engine.h"

#include "engine_kit.h"

static const struct mg_engine_ops *const magic = &mg_engine_magic;

enum { EPOCHS_MAX = 64, TEXT_MAX = 4096 };

/* What a reader saw after each published epoch. */
struct story {
    char people[EPOCHS_MAX][TEXT_MAX], things[EPOCHS_MAX][TEXT_MAX];
    uint64_t newest;
};

struct world {
    struct mg_io_fault *disk;
    struct mg_engine *engine;
    struct mg_budget budget;
    struct mg_schema *people, *wider, *things, *gone;
    struct story story;
};

static enum mg_code open_limited(struct world *w, size_t limit_bytes, uint64_t segment_bytes, struct mg_error *err)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .wal_segment_bytes = 16 << 10,
                                        .segment_bytes = segment_bytes,
                                        .maintain_by_hand = true};
    mg_budget_init(&w->budget, "disk test", NULL, limit_bytes);
    return magic->open(&options, &w->engine, err);
}

static enum mg_code open_store(struct world *w, struct mg_error *err) { return open_limited(w, SIZE_MAX, 1024, err); }

static void close_store(struct world *w)
{
    magic->close(w->engine);
    w->engine = NULL;
    assert_int_equal(mg_budget_used(&w->budget), 0);
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->disk = mg_io_fault_new(seed);
    w->people = kit_schema(1, 1, "d", "people", "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null");
    w->wider = kit_schema(1, 4, "d", "people",
                          "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null; 4 born date null");
    w->things = kit_schema(2, 2, "d", "things", "1 a utf8 key; 2 b int32 key; 3 v float64 null");
    w->gone = kit_schema(3, 3, "d", "gone", "1 id int32 key");
}

static void world_clear(struct world *w)
{
    mg_schema_unref(w->people);
    mg_schema_unref(w->wider);
    mg_schema_unref(w->things);
    mg_schema_unref(w->gone);
    mg_io_fault_free(w->disk);
}

/* ---- the history: every step can fail, and says so ----------------------------------------------------------- */

static enum mg_code publish(struct world *w, struct mg_epoch *epoch)
{
    uint64_t number;
    MG_TRY(magic->publish(epoch, 10 * (w->story.newest + 1), (struct mg_slice){0}, &number, NULL));
    w->story.newest = number;
    return MG_OK;
}

static enum mg_code change(struct world *w, enum mg_schema_change_kind kind, struct mg_schema *schema,
                           uint64_t table_id)
{
    struct mg_epoch *epoch;
    MG_TRY(magic->begin(w->engine, "test", 1, &epoch, NULL));
    struct mg_schema_change item = {.kind = kind, .database = "d", .schema = schema, .table_id = table_id};
    enum mg_code code = magic->change_schema(epoch, &item, NULL);
    if (code != MG_OK) {
        magic->abort(epoch);
        return code;
    }
    return publish(w, epoch);
}

static enum mg_code rows(struct world *w, const struct mg_schema *schema, const char *changes)
{
    struct mg_epoch *epoch;
    MG_TRY(magic->begin(w->engine, "test", 1, &epoch, NULL));
    enum mg_code code = kit_try_put(epoch, schema, changes, NULL);
    if (code != MG_OK) {
        magic->abort(epoch);
        return code;
    }
    return publish(w, epoch);
}

static enum mg_code flush(struct world *w) { return magic->checkpoint(w->engine, true, NULL); }

static enum mg_code step(struct world *w, unsigned number)
{
    switch (number) {
    case 0: return change(w, MG_SCHEMA_CREATE_DATABASE, NULL, 0);
    case 1: return change(w, MG_SCHEMA_PUT_TABLE, w->people, 0);
    case 2: return change(w, MG_SCHEMA_PUT_TABLE, w->things, 0);
    case 3: return change(w, MG_SCHEMA_PUT_TABLE, w->gone, 0);
    case 4: return rows(w, w->people, "I 1,ada,1.50 | I 2,NULL,2.00 | I 3,bob,NULL | I 4,eve,4.00");
    case 5: return rows(w, w->things, "I a,1,0.5 | I a,2,NULL | I b,1,3.25");
    case 6: return rows(w, w->gone, "I 7 | I 8");
    case 7: return flush(w);
    case 8: return rows(w, w->people, "U 2,two,2.25 | D 3,, | I 5,fay,5.00");
    case 9: return change(w, MG_SCHEMA_DROP_TABLE, NULL, 3);
    case 10: return flush(w);
    case 11: return change(w, MG_SCHEMA_PUT_TABLE, w->wider, 0);
    case 12: return rows(w, w->wider, "I 6,gus,6.00,100 | U 1,ada,1.75,-1 | D 4,,,");
    case 13: return rows(w, w->things, "D a,1, | I c,9,1");
    case 14: return flush(w);
    case 15: return rows(w, w->wider, "U 5,fay,5.50,7 | D 2,,, | I 2,again,9.00,NULL");
    case 16: return flush(w);
    case 17: return rows(w, w->wider, "U 6,gus,6.50,8");
    case 18: return flush(w);
    case 19: return rows(w, w->things, "U c,9,2");
    default: return MG_NOT_FOUND; /* the end */
    }
}
enum { STEPS = 20 };

/* ---- what a reader sees -------------------------------------------------------------------------------------- */

/* A table's rows, or a word for what there is in their place. */
static void look(struct mg_snapshot *snapshot, uint64_t table_id, char text[TEXT_MAX])
{
    struct mg_schema *schema;
    if (magic->table_by_id(snapshot, table_id, &schema, NULL) != MG_OK) {
        snprintf(text, TEXT_MAX, "no table");
        return;
    }
    mg_schema_unref(schema);
    snprintf(text, TEXT_MAX, "%s", kit_rows(snapshot, table_id, NULL));
}

static void note(struct world *w)
{
    struct mg_snapshot *snapshot = kit_snapshot(w->engine);
    uint64_t epoch = magic->snapshot_epoch(snapshot);
    assert_true(epoch < EPOCHS_MAX);
    look(snapshot, 1, w->story.people[epoch]);
    look(snapshot, 2, w->story.things[epoch]);
    w->story.newest = epoch;
    magic->snapshot_unref(snapshot);
}

static void compare(struct world *w, const struct story *story, struct mg_snapshot *snapshot)
{
    char text[TEXT_MAX];
    uint64_t epoch = magic->snapshot_epoch(snapshot);
    look(snapshot, 1, text);
    assert_string_equal(text, story->people[epoch]);
    look(snapshot, 2, text);
    assert_string_equal(text, story->things[epoch]);
}

/* Every epoch that can be opened is what it was. */
static void compare_all(struct world *w, const struct story *story, uint64_t newest)
{
    uint64_t opened = 0;
    struct mg_snapshot *snapshot = kit_snapshot(w->engine);
    assert_int_equal(magic->snapshot_epoch(snapshot), newest);
    compare(w, story, snapshot);
    magic->snapshot_unref(snapshot);
    for (uint64_t epoch = 0; epoch <= newest; epoch++) {
        enum mg_code code = magic->snapshot_at(w->engine, epoch, &snapshot, NULL);
        if (code == MG_SNAPSHOT_TOO_OLD) {
            assert_int_equal(opened, 0); /* none behind one that opens */
            continue;
        }
        assert_int_equal(code, MG_OK);
        compare(w, story, snapshot);
        magic->snapshot_unref(snapshot);
        opened++;
    }
    assert_true(opened > 0);
}

/* The whole history on a good disk. */
static void tell(struct world *w)
{
    assert_int_equal(open_store(w, NULL), MG_OK);
    note(w);
    for (unsigned i = 0; i < STEPS; i++) {
        assert_int_equal(step(w, i), MG_OK);
        note(w);
    }
}

static struct story expected; /* by the first test */

static void it_is_what_it_was(void **state)
{
    struct world w;
    world_init(&w, 1);
    tell(&w);
    expected = w.story;
    compare_all(&w, &expected, expected.newest);
    assert_true(kit_status(w.engine, "parts") >= 2);
    assert_true(kit_status(w.engine, "flushes") > 0 && kit_status(w.engine, "merges") > 0);
    assert_true(kit_status(w.engine, "earliest_epoch") > 0);
    close_store(&w);
    assert_int_equal(open_store(&w, NULL), MG_OK);
    compare_all(&w, &expected, expected.newest);
    assert_int_equal(change(&w, MG_SCHEMA_PUT_TABLE, w.gone, 0), MG_INVALID); /* ids of dropped tables stay used */
    assert_int_equal(rows(&w, w.wider, "D 1,,,"), MG_OK);
    assert_int_equal(kit_status(w.engine, "verify_failed"), 0);
    close_store(&w);
    world_clear(&w);
}

/* Rows die, change and come while a part is written from an older view of them. */
static void in_the_middle(void *arg, const char *name)
{
    struct world *w = arg;
    if (strcmp(name, "part.written") != 0)
        return;
    mg_stop_hook(NULL, NULL);
    assert_int_equal(rows(w, w->people, "D 2,, | U 3,new,3.50 | I 9,late,9.00"), MG_OK);
    note(w);
    assert_int_equal(rows(w, w->people, "D 9,, | U 3,newer,3.75 | U 1,ada,1.25"), MG_OK);
    note(w);
}

static void changes_come_while_a_part_is_written(void **state)
{
    struct world w;
    world_init(&w, 3);
    assert_int_equal(open_store(&w, NULL), MG_OK);
    note(&w);
    for (unsigned i = 0; i <= 5; i++) {
        if (i == 3)
            continue;
        assert_int_equal(step(&w, i), MG_OK);
        note(&w);
    }
    struct mg_snapshot *held = kit_snapshot(w.engine);
    for (unsigned i = 0; i < 6; i++) { /* a flush first, merges later */
        mg_stop_hook(in_the_middle, &w);
        assert_int_equal(flush(&w), MG_OK);
        mg_stop_hook(NULL, NULL);
        note(&w);
        assert_int_equal(rows(&w, w.people, "I 2,two,2.00 | U 1,ada,1.50"), MG_OK);
        note(&w);
    }
    compare(&w, &w.story, held);
    magic->snapshot_unref(held);
    compare_all(&w, &w.story, w.story.newest);
    assert_int_equal(kit_status(w.engine, "verify_failed"), 0);
    assert_true(kit_status(w.engine, "merges") > 0);
    close_store(&w);
    assert_int_equal(open_store(&w, NULL), MG_OK);
    compare_all(&w, &w.story, w.story.newest);
    close_store(&w);
    world_clear(&w);
}

/* Memory that an old snapshot holds cannot be flushed away: new rows are not flushed one by one because of it. */
static void rows_of_old_snapshots_are_no_reason_to_flush(void **state)
{
    enum { LIMIT = 96 << 20, TEXT = 200, PUT = 200 };
    struct world w;
    static char changes[PUT * (TEXT + 40)];
    char text[TEXT + 1];
    world_init(&w, 5);
    memset(text, 'x', TEXT);
    text[TEXT] = 0;
    assert_int_equal(open_limited(&w, LIMIT, 1 << 20, NULL), MG_OK);
    assert_int_equal(step(&w, 0), MG_OK);
    assert_int_equal(step(&w, 1), MG_OK);
    for (int i = 0; i < LIMIT / 3 / TEXT; i += PUT) {
        size_t size = 0;
        for (int row = i; row < i + PUT; row++)
            size += (size_t)snprintf(changes + size, sizeof changes - size, "%sI %d,%s,1.00", size ? " | " : "", row,
                                     text);
        assert_int_equal(rows(&w, w.people, changes), MG_OK);
    }
    struct mg_snapshot *held = kit_snapshot(w.engine);
    assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    uint64_t flushes = kit_status(w.engine, "flushes");
    assert_true(flushes > 0 && kit_status(w.engine, "delta_bytes") == 0);
    assert_true(kit_status(w.engine, "memory_rows_bytes") > LIMIT / 4);
    for (int i = 0; i < 5; i++) {
        snprintf(changes, sizeof changes, "I %d,few,1.00", 1000000 + i);
        assert_int_equal(rows(&w, w.people, changes), MG_OK);
        assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    }
    assert_in_range(kit_status(w.engine, "flushes"), flushes, flushes + 3); /* a checkpoint flushes what is old */
    magic->snapshot_unref(held);
    close_store(&w);
    world_clear(&w);
}

/* ---- power cuts and failing calls ---------------------------------------------------------------------------- */

/* DISK_SWEEP=n: the sweeps in full, and n times where dice are thrown. */
static unsigned sweep_repeats(void)
{
    const char *text = getenv("DISK_SWEEP");
    return text ? MG_MAX((unsigned)atoi(text), 1u) : 1;
}

static bool is_flush(unsigned number)
{
    return number == 7 || number == 10 || number == 14 || number == 16 || number == 18;
}

/* Runs until a step fails; but the store goes on after a flush that did. Returns the steps done. */
static unsigned run(struct world *w)
{
    unsigned done = 0;
    if (open_store(w, NULL) != MG_OK)
        return 0;
    while (done < STEPS && (step(w, done) == MG_OK || is_flush(done)))
        done++;
    if (done == STEPS) { /* nothing of a failed flush is left in what is shown */
        mg_io_fault_heal(w->disk);
        struct mg_snapshot *snapshot = kit_snapshot(w->engine);
        compare(w, &expected, snapshot);
        magic->snapshot_unref(snapshot);
    }
    close_store(w);
    return done;
}

/* After the nth call of these kinds fails, and all behind it, power is cut. What was published is there; the epoch
 * whose publish failed may be. */
static bool cut_at(unsigned kinds, uint64_t nth, enum mg_io_fault_loss loss, uint64_t tear, uint64_t seed,
                   uint64_t *out_torn_bytes)
{
    struct world w;
    world_init(&w, seed);
    mg_io_fault_tear(w.disk, tear);
    mg_io_fault_fail(w.disk, kinds, nth, EIO, true);
    unsigned done = run(&w);
    uint64_t published = w.story.newest;
    *out_torn_bytes = mg_io_fault_torn_bytes(w.disk);
    mg_io_fault_heal(w.disk);
    mg_io_fault_crash(w.disk, loss);
    assert_int_equal(open_store(&w, NULL), MG_OK);
    note(&w);
    assert_in_range(w.story.newest, published, published + 1);
    compare_all(&w, &expected, w.story.newest);
    while (done < STEPS) {                /* and it goes on */
        if (w.story.newest > published) { /* the failed step was done, after all */
            published = w.story.newest;
            done++;
            continue;
        }
        assert_int_equal(step(&w, done++), MG_OK);
        published = w.story.newest;
    }
    compare_all(&w, &expected, expected.newest);
    bool over = done == STEPS && mg_io_fault_calls(w.disk, kinds) < nth;
    close_store(&w);
    world_clear(&w);
    return over;
}

/* Nothing unsynced is left, a random subset in no order, torn sectors, or all in order up to the call. */
static void a_power_cut_at_every_call(void **state)
{
    static const enum mg_io_fault_loss losses[] = {MG_LOSE_ALL, MG_LOSE_SOME, MG_LOSE_NONE, MG_LOSE_TORN,
                                                   MG_LOSE_LATER};
    uint64_t calls = 0, torn, cuts = 0;
    for (size_t i = 0; i < MG_COUNT_OF(losses); i++) {
        unsigned repeats = losses[i] == MG_LOSE_SOME || losses[i] == MG_LOSE_TORN ? sweep_repeats() : 1;
        for (unsigned repeat = 0; repeat < repeats; repeat++) {
            uint64_t nth = 1;
            for (; !cut_at(MG_FAULT_CHANGE, nth, losses[i], UINT64_MAX, nth * 31 + repeat, &torn); nth++)
                cuts++;
            calls = nth - 1;
        }
    }
    print_message("%" PRIu64 " calls, %" PRIu64 " power cuts\n", calls, cuts);
    assert_true(calls > 100);
}

/* Where to cut a write of so many bytes, after `cut`: around each sector's end, and at some bytes between. */
static uint64_t next_cut(uint64_t cut, uint64_t size)
{
    uint64_t at = cut % 512;
    if (getenv("DISK_SWEEP"))
        return cut + (size < 4096 ? 1 : at == 511 || at == 0 ? 1 : 511 - at);
    return cut + MG_MAX(size / 4, (uint64_t)1);
}

/* The write under which the power fails is on the disk up to some byte, and so is all before it. */
static void every_write_may_be_torn_at_any_byte(void **state)
{
    uint64_t nth = 1, cuts = 0;
    for (bool over = false; !over; nth++) {
        uint64_t size = 1;
        for (uint64_t cut = 0; !over && cut < size; cut = next_cut(cut, size), cuts++)
            over = cut_at(MG_FAULT_WRITE, nth, MG_LOSE_LATER, cut, nth, &size);
    }
    print_message("%" PRIu64 " writes, %" PRIu64 " cuts\n", nth - 2, cuts - 1);
    assert_true(nth > 30 && cuts > 2 * nth);
}

/* One call fails, the others work: an error code, nothing published is lost, nothing leaks, it opens again. */
static void every_call_may_fail_once(void **state)
{
    uint64_t nth = 1;
    for (bool over = false; !over; nth++) {
        struct world w;
        world_init(&w, 7);
        mg_io_fault_fail(w.disk, MG_FAULT_ANY, nth, nth % 2 ? EIO : ENOSPC, false);
        unsigned done = run(&w);
        uint64_t published = w.story.newest;
        over = done == STEPS && mg_io_fault_calls(w.disk, MG_FAULT_ANY) < nth;
        mg_io_fault_heal(w.disk);
        assert_int_equal(open_store(&w, NULL), MG_OK);
        note(&w);
        assert_in_range(w.story.newest, published, published + 1);
        compare_all(&w, &expected, w.story.newest);
        close_store(&w);
        world_clear(&w);
    }
    print_message("%" PRIu64 " calls\n", nth - 2);
    assert_true(nth > 150);
}

/* ---- flipped bits -------------------------------------------------------------------------------------------- */

struct names {
    char paths[64][128];
    uint32_t count;
    const char *folder;
};

static enum mg_code note_name(void *arg, const char *name, struct mg_error *err)
{
    struct names *names = arg;
    assert_true(names->count < MG_COUNT_OF(names->paths));
    snprintf(names->paths[names->count++], sizeof names->paths[0], "%s/%s", names->folder, name);
    return MG_OK;
}

/* All that can be read, or the code of the first thing that cannot. */
static enum mg_code read_all(struct world *w, struct mg_error *err)
{
    static const uint64_t tables[] = {1, 2};
    struct mg_snapshot *snapshot = kit_snapshot(w->engine);
    enum mg_code code = MG_OK;
    for (size_t i = 0; code == MG_OK && i < MG_COUNT_OF(tables); i++) {
        struct mg_scan *scan;
        struct mg_batch *batch = NULL;
        uint32_t columns[4] = {0, 1, 2, 3};
        struct mg_scan_spec spec = {.table_id = tables[i], .columns = columns, .column_count = tables[i] == 1 ? 4 : 3};
        code = magic->scan(snapshot, &spec, &scan, err);
        if (code != MG_OK)
            break;
        do {
            code = magic->next(scan, &batch, err);
            if (code == MG_OK && batch)
                mg_batch_unref(batch);
        } while (code == MG_OK && batch);
        magic->scan_close(scan);
    }
    if (code == MG_OK)
        compare(w, &expected, snapshot);
    magic->snapshot_unref(snapshot);
    return code;
}

/* True when the damage was noticed; what is not noticed must not matter. */
static bool is_noticed(struct world *w, const char *path)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = open_store(w, &err);
    if (code == MG_OK) {
        code = read_all(w, &err);
        close_store(w);
    }
    if (code == MG_OK)
        return false;
    assert_true(code == MG_CORRUPT || code == MG_UNIMPLEMENTED);
    const char *name = strrchr(path, '/') + 1;
    if (!strstr(err.text, name))
        fail_msg("damage of %s is told without its name: %s", path, err.text);
    return true;
}

static void damage_is_named(void **state)
{
    static const char *const folders[] = {"/store/parts", "/store/manifest"};
    struct world w;
    uint32_t flips = 0, noticed = 0;
    world_init(&w, 1);
    tell(&w);
    close_store(&w);
    struct mg_io *io = mg_io_fault_io(w.disk);
    for (size_t f = 0; f < MG_COUNT_OF(folders); f++) {
        struct names names = {.folder = folders[f]};
        assert_int_equal(io->ops->list(io, folders[f], note_name, &names, NULL), MG_OK);
        for (uint32_t i = 0; i < names.count; i++) {
            uint64_t size;
            struct mg_file *file;
            assert_int_equal(mg_io_open(io, names.paths[i], MG_OPEN_READ, &file, NULL), MG_OK);
            assert_int_equal(mg_file_size(file, &size, NULL), MG_OK);
            mg_file_close(file);
            for (uint64_t at = 0; at < size; at += 1 + size / 61) {
                mg_io_fault_flip_bit(w.disk, names.paths[i], at, (int)(at % 8));
                noticed += is_noticed(&w, names.paths[i]);
                flips++;
                mg_io_fault_flip_bit(w.disk, names.paths[i], at, (int)(at % 8));
            }
        }
    }
    assert_int_equal(open_store(&w, NULL), MG_OK);
    compare_all(&w, &expected, expected.newest);
    close_store(&w);
    world_clear(&w);
    print_message("%u bits flipped, %u noticed; the others are padding, or of files that only old epochs need\n", flips,
                  noticed);
    assert_true(noticed > flips / 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_it_was),
        cmocka_unit_test(changes_come_while_a_part_is_written),
        cmocka_unit_test(rows_of_old_snapshots_are_no_reason_to_flush),
        cmocka_unit_test(a_power_cut_at_every_call),
        cmocka_unit_test(every_write_may_be_torn_at_any_byte),
        cmocka_unit_test(every_call_may_fail_once),
        cmocka_unit_test(damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
