/* disk_test.c -- what the magic engine keeps on disk: found again after every power cut, intact after every failing
 * call, and refused by name when a bit of it is flipped.
 *
 * Each test runs the history of disk_world.h with another disaster.
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

#include "base/lock.h"
#include "base/stop.h"

#include "disk_world.h"
#include "engine/magic/manifest.h"
#include "engine_kit.h"

static const struct mg_engine_ops *const magic = &mg_engine_magic;

static struct story expected; /* by the first test */

static void it_is_what_it_was(void **state)
{
    struct world w;
    world_init(&w, 1);
    world_tell(&w);
    expected = w.story;
    world_compare_all(&w, &expected, expected.newest);
    assert_true(kit_status(w.engine, "parts") >= 2);
    assert_true(kit_status(w.engine, "flushes") > 0 && kit_status(w.engine, "merges") > 0);
    assert_true(kit_status(w.engine, "earliest_epoch") > 0);
    world_close(&w);
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_compare_all(&w, &expected, expected.newest);
    /* ids of dropped tables stay used */
    assert_int_equal(world_change(&w, MG_SCHEMA_PUT_TABLE, w.gone, 0), MG_INVALID);
    assert_int_equal(world_rows(&w, w.wider, "D 1,,,"), MG_OK);
    assert_int_equal(kit_status(w.engine, "verify_failed"), 0);
    world_close(&w);
    world_clear(&w);
}

/* Rows die, change and come while a part is written from an older view of them. */
static void in_the_middle(void *arg, const char *name)
{
    struct world *w = arg;
    if (strcmp(name, "part.written") != 0)
        return;
    mg_stop_hook(NULL, NULL);
    assert_int_equal(world_rows(w, w->people, "D 2,, | U 3,new,3.50 | I 9,late,9.00"), MG_OK);
    world_note(w);
    assert_int_equal(world_rows(w, w->people, "D 9,, | U 3,newer,3.75 | U 1,ada,1.25"), MG_OK);
    world_note(w);
}

static void changes_come_while_a_part_is_written(void **state)
{
    struct world w;
    world_init(&w, 3);
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_note(&w);
    for (unsigned i = 0; i <= 5; i++) {
        if (i == 3)
            continue;
        assert_int_equal(world_step(&w, i), MG_OK);
        world_note(&w);
    }
    struct mg_snapshot *held = kit_snapshot(w.engine);
    for (unsigned i = 0; i < 6; i++) { /* a flush first, merges later */
        mg_stop_hook(in_the_middle, &w);
        assert_int_equal(world_flush(&w), MG_OK);
        mg_stop_hook(NULL, NULL);
        world_note(&w);
        assert_int_equal(world_rows(&w, w.people, "I 2,two,2.00 | U 1,ada,1.50"), MG_OK);
        world_note(&w);
    }
    world_compare(&w.story, held);
    magic->snapshot_unref(held);
    world_compare_all(&w, &w.story, w.story.newest);
    assert_int_equal(kit_status(w.engine, "verify_failed"), 0);
    assert_true(kit_status(w.engine, "merges") > 0);
    world_close(&w);
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_compare_all(&w, &w.story, w.story.newest);
    world_close(&w);
    world_clear(&w);
}

static uint32_t file_count(struct world *w);

/* What a large epoch wrote goes when it is aborted; what it published is there, whatever the maintainer does. */
static void a_large_epoch_is_there_or_not(void **state)
{
    struct world w;
    struct mg_epoch *epoch;
    world_init(&w, 9);
    world_tell(&w);
    assert_int_equal(world_flush(&w), MG_OK);
    world_note(&w);
    uint32_t files = file_count(&w);
    uint64_t spills = kit_status(w.engine, "spills");
    assert_int_equal(magic->begin(w.engine, "test", 1, &epoch, NULL), MG_OK);
    assert_int_equal(world_stage_much(&w, epoch, 500), MG_OK);
    assert_true(kit_status(w.engine, "spills") >= spills + 3);
    assert_true(file_count(&w) >= files + 3);
    world_note(&w); /* nobody sees it */
    magic->abort(epoch);
    assert_int_equal(file_count(&w), files);
    world_compare_all(&w, &w.story, w.story.newest);
    assert_int_equal(world_much(&w, 600, true), MG_OK);
    world_note(&w);
    for (int i = 0; i < 6; i++) { /* merges take the parts; old epochs need them until they cannot be opened any more */
        assert_int_equal(world_flush(&w), MG_OK);
        world_note(&w);
        world_compare_all(&w, &w.story, w.story.newest);
        assert_int_equal(world_much(&w, 700 + 100 * i, i % 2 == 0), MG_OK);
        world_note(&w);
        world_compare_all(&w, &w.story, w.story.newest);
        world_close(&w);
        assert_int_equal(world_open(&w, NULL), MG_OK);
        world_compare_all(&w, &w.story, w.story.newest);
    }
    world_close(&w);
    world_clear(&w);
}

/* ---- what an open reads -------------------------------------------------------------------------------------- */

enum { FEW = 5, MANY = 50, LATE_FROM = 1000000 };

/* Epochs of people; with every tenth one of another source, whose first is among them. */
static void publish_some(struct world *w, int count, bool with_late)
{
    char changes[64];
    for (int i = 0; i < count; i++) {
        struct mg_epoch *epoch;
        bool is_late = with_late && i % 10 == 7;
        snprintf(changes, sizeof changes, "U 1,n%d,1.%02d,7", i, i % 100);
        assert_int_equal(magic->begin(w->engine, is_late ? "late" : "test", 1, &epoch, NULL), MG_OK);
        assert_int_equal(kit_try_put(epoch, w->wider, changes, NULL), MG_OK);
        uint64_t watermark = (is_late ? LATE_FROM : 0) + 10 * (w->story.newest + 1);
        assert_int_equal(magic->publish(epoch, watermark, (struct mg_slice){0}, &w->story.newest, NULL), MG_OK);
    }
}

enum { ASKED_EPOCHS_MAX = 4096 };
struct answers {
    /* what epoch_at says of its watermark in "test" and in "late"; -1: too old */
    int64_t by_epoch[2][ASKED_EPOCHS_MAX];
};

static void ask_all(struct world *w, struct answers *answers)
{
    static const char *const sources[] = {"test", "late"};
    assert_true(w->story.newest < ASKED_EPOCHS_MAX);
    memset(answers, 0, sizeof *answers);
    for (int s = 0; s < 2; s++)
        for (uint64_t e = 0; e <= w->story.newest; e++) {
            uint64_t epoch, ts = (s ? LATE_FROM : 0) + 10 * e + e % 10;
            enum mg_code code = magic->epoch_at(w->engine, sources[s], ts, &epoch, NULL);
            assert_true(code == MG_OK || code == MG_SNAPSHOT_TOO_OLD);
            answers->by_epoch[s][e] = code == MG_OK ? (int64_t)epoch : -1;
        }
}

/* Opens again. Little of the log is read, and every moment is found that was found before. */
static void reopen_and_ask(struct world *w, uint64_t read_max)
{
    static struct answers before, after;
    ask_all(w, &before);
    uint64_t kept = kit_status(w->engine, "wal_bytes");
    world_close(w);
    mg_io_fault_count_reads(w->disk, "/wal/");
    assert_int_equal(world_open(w, NULL), MG_OK);
    uint64_t read = mg_io_fault_read_bytes(w->disk);
    print_message("%" PRIu64 " bytes read at open, of %" PRIu64 "\n", read, kept);
    assert_true(kept > 2 * read_max); /* else this says nothing */
    assert_in_range(read, 1, read_max);
    ask_all(w, &after);
    assert_memory_equal(&before, &after, sizeof before);
}

/* The log that a checkpoint covers is kept for those who ask for the past, and is no work at a start. */
static void an_open_reads_the_log_behind_the_newest_manifest(void **state)
{
    enum { SEGMENT = 16 << 10, READ_MAX = 8 * SEGMENT };
    struct world w;
    world_init(&w, 11);
    world_tell(&w);
    for (int round = 0; round < 7; round++) {
        publish_some(&w, round == 3 ? FEW : 10 * MANY, round > 0);
        if (round % 3 == 1)
            assert_int_equal(world_much(&w, 600 + 50 * round, true), MG_OK);
        assert_int_equal(world_flush(&w), MG_OK);
        publish_some(&w, FEW, round > 1);
        reopen_and_ask(&w, READ_MAX);
    }
    assert_true(kit_status(w.engine, "earliest_epoch") > 0);
    world_close(&w);
    world_clear(&w);
}

/* The newest manifest, if there is one, as a store of the format before wrote it: it does not list the parts that the
 * log names. */
static void write_as_before(struct world *w)
{
    struct mg_io *io = mg_io_fault_io(w->disk);
    struct mg_manifest manifest;
    uint64_t *numbers;
    uint32_t count;
    bool unknown;
    assert_int_equal(mg_manifest__list(io, "/store", &numbers, &count, NULL), MG_OK);
    if (count) {
        assert_int_equal(mg_manifest__read(io, "/store", numbers[count - 1], &w->budget, &manifest, NULL), MG_OK);
        manifest.has_named = false;
        assert_int_equal(mg_manifest__write(io, "/store", &manifest, &unknown, NULL), MG_OK);
        mg_manifest__clear(&manifest);
    }
    free(numbers);
}

/* Every open sweeps: parts that only the log names stay, whichever format the manifests have. */
static void an_open_after_every_step(void **state)
{
    for (int is_old = 0; is_old < 2; is_old++) {
        struct world w;
        world_init(&w, 9);
        assert_int_equal(world_open(&w, NULL), MG_OK);
        for (unsigned step = 0; step < WORLD_STEPS; step++) {
            assert_int_equal(world_step(&w, step), MG_OK);
            for (int opened = 0; opened < 2; opened++) {
                world_close(&w);
                if (is_old)
                    write_as_before(&w);
                assert_int_equal(world_open(&w, NULL), MG_OK);
                world_compare_all(&w, &expected, w.story.newest);
            }
        }
        world_close(&w);
        world_clear(&w);
    }
}

/* Rows that an old snapshot shows cannot be flushed away: they go to disk as they are, and new rows are not flushed one
 * by one because of them. */
static void rows_of_old_snapshots_are_no_reason_to_flush(void **state)
{
    enum { LIMIT = 96 << 20, TEXT = 200, PUT = 200 };
    struct world w;
    static char changes[PUT * (TEXT + 40)];
    char text[TEXT + 1];
    world_init(&w, 5);
    memset(text, 'x', TEXT);
    text[TEXT] = 0;
    w.stage_bytes = 0; /* no epoch is large here */
    assert_int_equal(world_open_limited(&w, LIMIT, 1 << 20, NULL), MG_OK);
    assert_int_equal(world_step(&w, 0), MG_OK);
    assert_int_equal(world_step(&w, 1), MG_OK);
    for (int i = 0; i < LIMIT / 3 / TEXT; i += PUT) {
        size_t size = 0;
        for (int row = i; row < i + PUT; row++)
            size += (size_t)snprintf(changes + size, sizeof changes - size, "%sI %d,%s,1.00", size ? " | " : "", row,
                                     text);
        assert_int_equal(world_rows(&w, w.people, changes), MG_OK);
    }
    struct mg_snapshot *held = kit_snapshot(w.engine);
    assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    uint64_t flushes = kit_status(w.engine, "flushes");
    assert_true(flushes > 0 && kit_status(w.engine, "delta_bytes") == 0);
    assert_true(kit_status(w.engine, "sealed_bytes") > LIMIT / 4);
    assert_true(kit_status(w.engine, "memory_rows_bytes") < LIMIT / 16);
    for (int i = 0; i < 5; i++) {
        snprintf(changes, sizeof changes, "I %d,few,1.00", 1000000 + i);
        assert_int_equal(world_rows(&w, w.people, changes), MG_OK);
        assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    }
    assert_in_range(kit_status(w.engine, "flushes"), flushes, flushes + 3); /* a checkpoint flushes what is old */
    magic->snapshot_unref(held);
    world_close(&w);
    world_clear(&w);
}

/* ---- power cuts and failing calls ---------------------------------------------------------------------------- */

/* DISK_SWEEP=n: the sweeps in full, and n times where dice are thrown. */
static unsigned sweep_repeats(void)
{
    const char *text = getenv("DISK_SWEEP");
    return text ? (unsigned)MG_MAX(strtoul(text, NULL, 10), 1ul) : 1;
}

/* Runs until a step fails; but the store goes on after a flush that did. Returns the steps done. */
static unsigned run(struct world *w)
{
    unsigned done = 0;
    if (world_open(w, NULL) != MG_OK)
        return 0;
    while (done < WORLD_STEPS && (world_step(w, done) == MG_OK || world_is_flush(done)))
        done++;
    if (done == WORLD_STEPS) { /* nothing of a failed flush is left in what is shown */
        mg_io_fault_heal(w->disk);
        struct mg_snapshot *snapshot = kit_snapshot(w->engine);
        world_compare(&expected, snapshot);
        magic->snapshot_unref(snapshot);
    }
    world_close(w);
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
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_note(&w);
    assert_in_range(w.story.newest, published, published + 1);
    world_compare_all(&w, &expected, w.story.newest);
    while (done < WORLD_STEPS) {          /* and it goes on */
        if (w.story.newest > published) { /* the failed step was done, after all */
            published = w.story.newest;
            done++;
            continue;
        }
        assert_int_equal(world_step(&w, done++), MG_OK);
        published = w.story.newest;
    }
    world_compare_all(&w, &expected, expected.newest);
    bool over = done == WORLD_STEPS && mg_io_fault_calls(w.disk, kinds) < nth;
    world_close(&w);
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
        over = done == WORLD_STEPS && mg_io_fault_calls(w.disk, MG_FAULT_ANY) < nth;
        mg_io_fault_heal(w.disk);
        assert_int_equal(world_open(&w, NULL), MG_OK);
        world_note(&w);
        assert_in_range(w.story.newest, published, published + 1);
        world_compare_all(&w, &expected, w.story.newest);
        world_close(&w);
        world_clear(&w);
    }
    print_message("%" PRIu64 " calls\n", nth - 2);
    assert_true(nth > 150);
}

/* ---- a thread that cannot be started --------------------------------------------------------------------------- */

static int refuse(void *arg, const char *name) { return strcmp(name, "maintainer") == 0 ? EAGAIN : 0; }

/* Opening fails with the reason, gives everything back, the lock of the folder too, and works the next time. */
static void a_maintainer_that_cannot_start(void **state)
{
    static const struct mg_thread_hooks hooks = {.start = refuse};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_engine *engine;
    struct mg_budget budget;
    struct world w;
    world_init(&w, 1);
    world_tell(&w);
    world_close(&w);
    struct mg_engine_options options = {.folder = "/store", .io = mg_io_fault_io(w.disk), .budget = &budget};
    mg_budget_init(&budget, "disk test", NULL, SIZE_MAX);
    mg_thread_hook(&hooks);
    assert_int_equal(magic->open(&options, &engine, &err), MG_NO_MEMORY);
    mg_thread_hook(NULL);
    assert_non_null(strstr(err.text, "could not start the thread maintainer"));
    assert_int_equal(mg_budget_used(&budget), 0);
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_compare_all(&w, &expected, expected.newest);
    world_close(&w);
    world_clear(&w);
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

static uint32_t file_count(struct world *w)
{
    struct names names = {.folder = "/store/parts"};
    struct mg_io *io = mg_io_fault_io(w->disk);
    assert_int_equal(io->ops->list(io, names.folder, note_name, &names, NULL), MG_OK);
    return names.count;
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
        world_compare(&expected, snapshot);
    magic->snapshot_unref(snapshot);
    return code;
}

/* How a flipped bit came out. */
struct outcome {
    uint32_t flips, noticed, older;
};

/* What is not noticed must not matter: the rows are those of the newest epoch. Only the end of the WAL may be taken for
 * what a power cut left of an epoch that was never acknowledged: then they are those of the epoch before. */
static void open_damaged(struct world *w, const char *path, struct outcome *outcome)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = world_open(w, &err);
    outcome->flips++;
    if (code == MG_OK) {
        struct mg_snapshot *snapshot = kit_snapshot(w->engine);
        uint64_t epoch = magic->snapshot_epoch(snapshot);
        magic->snapshot_unref(snapshot);
        if (epoch < expected.newest && (!strstr(path, ".wal") || epoch + 1 < expected.newest))
            fail_msg("after damage of %s epoch %" PRIu64 " is the newest, not %" PRIu64, path, epoch, expected.newest);
        outcome->older += epoch < expected.newest;
        code = read_all(w, &err);
        world_close(w);
    }
    if (code == MG_OK)
        return;
    outcome->noticed++;
    assert_true(code == MG_CORRUPT || code == MG_UNIMPLEMENTED);
    const char *name = strrchr(path, '/') + 1;
    /* another store's id is told of the first file with its own */
    if (!strstr(err.text, name) && strcmp(name, "FORMAT") != 0)
        fail_msg("damage of %s is told without its name: %s", path, err.text);
    if (code == MG_CORRUPT && !strstr(err.text, " byte"))
        fail_msg("damage of %s is told without its place: %s", path, err.text);
}

static void flip_bits_of(struct world *w, const char *path, struct outcome *outcome)
{
    struct mg_io *io = mg_io_fault_io(w->disk);
    struct mg_file *file;
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, 1 << 20);
    assert_int_equal(mg_io_read_file(io, path, &bytes, NULL), MG_OK);
    uint64_t size = bytes.size;
    for (uint64_t at = 0; at < size; at += getenv("DISK_SWEEP") ? 1 : 1 + size / 61) {
        mg_io_fault_flip_bit(w->disk, path, at, (int)(at % 8));
        open_damaged(w, path, outcome);
        /* Opening may write: the file is put back as it was. */
        assert_int_equal(mg_io_open(io, path, MG_OPEN_CREATE, &file, NULL), MG_OK);
        assert_int_equal(mg_file_truncate(file, size, NULL), MG_OK);
        assert_int_equal(mg_file_pwrite(file, bytes.data, size, 0, NULL), MG_OK);
        mg_file_close(file);
    }
    mg_buffer_clear(&bytes);
}

/* Every kind of file that the engine makes. */
static void damage_is_named(void **state)
{
    static const char *const folders[] = {"/store", "/store/parts", "/store/manifest", "/store/wal"};
    struct world w;
    struct outcome all = {0};
    world_init(&w, 1);
    world_tell(&w);
    world_close(&w);
    struct mg_io *io = mg_io_fault_io(w.disk);
    for (size_t f = 0; f < MG_COUNT_OF(folders); f++) {
        struct names names = {.folder = folders[f]};
        struct outcome outcome = {0};
        assert_int_equal(io->ops->list(io, folders[f], note_name, &names, NULL), MG_OK);
        for (uint32_t i = 0; i < names.count; i++) {
            struct mg_file *file = NULL;
            if (mg_io_open(io, names.paths[i], MG_OPEN_READ, &file, NULL) != MG_OK)
                continue; /* a folder */
            mg_file_close(file);
            flip_bits_of(&w, names.paths[i], &outcome);
        }
        print_message("%-16s %4u bits flipped, %4u noticed, %u taken for an end that a power cut tore\n", folders[f],
                      outcome.flips, outcome.noticed, outcome.older);
        all.flips += outcome.flips;
        all.noticed += outcome.noticed;
    }
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_compare_all(&w, &expected, expected.newest);
    world_close(&w);
    world_clear(&w);
    print_message("%u bits flipped, %u noticed; the others are padding, or of files that only old epochs need\n",
                  all.flips, all.noticed);
    assert_true(all.noticed > all.flips / 4);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_it_was),
        cmocka_unit_test(changes_come_while_a_part_is_written),
        cmocka_unit_test(a_large_epoch_is_there_or_not),
        cmocka_unit_test(an_open_reads_the_log_behind_the_newest_manifest),
        cmocka_unit_test(an_open_after_every_step),
        cmocka_unit_test(rows_of_old_snapshots_are_no_reason_to_flush),
        cmocka_unit_test(a_power_cut_at_every_call),
        cmocka_unit_test(every_write_may_be_torn_at_any_byte),
        cmocka_unit_test(every_call_may_fail_once),
        cmocka_unit_test(a_maintainer_that_cannot_start),
        cmocka_unit_test(damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
