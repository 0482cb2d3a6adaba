/* space_test.c -- the disk becomes full, and has room again: who waits, what is kept, and that nothing is restarted.
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

#include "disk_world.h"
#include "engine_kit.h"

static const struct mg_engine_ops *const magic = &mg_engine_magic;

enum { RESERVE = 512 << 10, CAPACITY = 2 << 20, SEGMENT = 16 << 10 };

static void open_small(struct world *w)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .wal_segment_bytes = SEGMENT,
                                        .segment_bytes = 64 << 10,
                                        .disk_reserve = RESERVE,
                                        .maintain_by_hand = true};
    mg_budget_init(&w->budget, "space test", NULL, SIZE_MAX);
    assert_int_equal(magic->open(&options, &w->engine, NULL), MG_OK);
}

static void begin(struct world *w)
{
    world_init(w, 11);
    mg_io_fault_set_capacity(w->disk, CAPACITY);
    open_small(w);
    assert_int_equal(world_step(w, 0), MG_OK);
    assert_int_equal(world_step(w, 1), MG_OK);
}

struct wanted {
    const char *name;
    char value[64];
};

static enum mg_code note_text(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct wanted *wanted = arg;
    if (strcmp(name, wanted->name) == 0)
        snprintf(wanted->value, sizeof wanted->value, "%s", value);
    return MG_OK;
}

static const char *status_text(struct world *w, const char *name)
{
    static struct wanted wanted;
    wanted = (struct wanted){.name = name};
    assert_int_equal(magic->status(w->engine, note_text, &wanted, NULL), MG_OK);
    return wanted.value;
}

/* An epoch of rows first, first + 1, ... with a text of 200 letters each. */
static enum mg_code put(struct world *w, int first, int count)
{
    static char changes[64 << 10];
    size_t size = 0;
    for (int i = first; i < first + count; i++)
        size += (size_t)snprintf(changes + size, sizeof changes - size, "%sI %d,%0200d,1.00", size ? " | " : "", i, i);
    return world_rows(w, w->people, changes);
}

/* Bytes of somebody else on the same disk, so that so many are left. */
static void leave(struct world *w, uint64_t bytes)
{
    struct mg_io *io = mg_io_fault_io(w->disk);
    struct mg_file *file;
    uint64_t left;
    assert_int_equal(mg_io_open(io, "/other", MG_OPEN_CREATE, &file, NULL), MG_OK);
    assert_int_equal(mg_file_truncate(file, 0, NULL), MG_OK);
    assert_int_equal(io->ops->free_space(io, "/", &left, NULL), MG_OK);
    if (left > bytes)
        assert_int_equal(mg_file_allocate(file, left - bytes, NULL), MG_OK);
    mg_file_close(file);
}

static uint64_t rows_now(struct world *w) { return kit_status(w->engine, "rows"); }

/* Until an epoch is refused; returns the rows that are there. */
static int fill(struct world *w)
{
    enum mg_code code = MG_OK;
    int rows = 0;
    for (int i = 0; code == MG_OK && i < 1000; i++) {
        code = put(w, rows, 50);
        rows += code == MG_OK ? 50 : 0;
    }
    assert_int_equal(code, MG_NO_SPACE);
    return rows;
}

static void an_epoch_that_does_not_fit_fails_whole_and_writing_resumes(void **state)
{
    struct world w;
    begin(&w);
    assert_string_equal(status_text(&w, "disk"), "ok");
    int rows = fill(&w);
    assert_true(rows > 1000);
    uint64_t left;
    struct mg_io *io = mg_io_fault_io(w.disk);
    assert_int_equal(io->ops->free_space(io, "/", &left, NULL), MG_OK);
    assert_true(left >= RESERVE / 4 && left < RESERVE / 2);
    assert_int_equal(rows_now(&w), rows);
    assert_int_equal(put(&w, rows, 50), MG_NO_SPACE); /* again, and again nothing of it */
    assert_int_equal(rows_now(&w), rows);
    assert_string_equal(status_text(&w, "writer"), "ok");
    assert_string_equal(status_text(&w, "disk"), "writes wait");
    mg_io_fault_set_capacity(w.disk, CAPACITY * 4);
    assert_int_equal(put(&w, rows, 50), MG_OK);
    assert_int_equal(rows_now(&w), rows + 50);
    assert_string_equal(status_text(&w, "disk"), "ok");
    assert_int_equal(kit_status(w.engine, "verify_failed"), 0);
    world_close(&w);
    open_small(&w);
    assert_int_equal(rows_now(&w), rows + 50);
    world_close(&w);
    world_clear(&w);
}

static void merges_wait_first_then_flushes(void **state)
{
    struct world w;
    uint64_t id;
    struct mg_compaction_info info;
    begin(&w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put(&w, i * 50, 50), MG_OK);
        assert_int_equal(world_flush(&w), MG_OK);
    }
    uint64_t flushes = kit_status(w.engine, "flushes"), merges = kit_status(w.engine, "merges");
    leave(&w, RESERVE * 3 / 4);
    assert_int_equal(put(&w, 150, 50), MG_OK);
    assert_int_equal(world_flush(&w), MG_OK); /* four parts: a merge is due */
    assert_string_equal(status_text(&w, "disk"), "merges wait");
    assert_true(kit_status(w.engine, "flushes") > flushes);
    assert_int_equal(kit_status(w.engine, "merges"), merges);
    assert_int_equal(world_compact(&w, 1, &info), MG_IO);
    assert_int_equal(info.state, MG_COMPACTION_FAILED);
    assert_non_null(strstr(info.message, "are reserved"));
    leave(&w, RESERVE / 3);
    assert_int_equal(put(&w, 200, 50), MG_OK);
    flushes = kit_status(w.engine, "flushes");
    assert_int_equal(magic->compact(w.engine, 1, (struct mg_key_range){0}, &id, NULL), MG_OK);
    assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    assert_string_equal(status_text(&w, "disk"), "flushes wait");
    leave(&w, CAPACITY);
    assert_int_equal(world_flush(&w), MG_OK);
    assert_string_equal(status_text(&w, "disk"), "ok");
    assert_true(kit_status(w.engine, "merges") > merges);
    assert_int_equal(rows_now(&w), 250);
    world_close(&w);
    world_clear(&w);
}

/* The disk is full to the last byte: the reserve is given back, and the checkpoint, which frees the WAL, is made. */
static void a_checkpoint_takes_the_reserve(void **state)
{
    struct world w;
    begin(&w);
    assert_int_equal(kit_status(w.engine, "disk_reserve_file_bytes"), RESERVE / 8);
    for (int i = 0; i < 6; i++)
        assert_int_equal(put(&w, i * 50, 50), MG_OK);
    assert_int_equal(world_flush(&w), MG_OK);
    assert_int_equal(put(&w, 300, 50), MG_OK);
    leave(&w, 0);
    assert_int_equal(world_flush(&w), MG_OK);
    assert_int_equal(kit_status(w.engine, "disk_reserve_file_bytes"), 0);
    assert_int_equal(rows_now(&w), 350);
    leave(&w, CAPACITY);
    assert_int_equal(world_flush(&w), MG_OK);
    assert_int_equal(kit_status(w.engine, "disk_reserve_file_bytes"), RESERVE / 8);
    world_close(&w);
    leave(&w, 0); /* and a full disk opens */
    open_small(&w);
    assert_int_equal(rows_now(&w), 350);
    world_close(&w);
    world_clear(&w);
}

/* The file system itself has no room for bytes that were preallocated: they are taken back. */
static void a_write_without_room_leaves_nothing(void **state)
{
    struct world w;
    begin(&w);
    assert_int_equal(put(&w, 0, 50), MG_OK);
    mg_io_fault_fail(w.disk, MG_FAULT_WRITE, 1, ENOSPC, false);
    assert_int_equal(put(&w, 50, 50), MG_NO_SPACE);
    assert_int_equal(rows_now(&w), 50);
    assert_string_equal(status_text(&w, "writer"), "ok");
    assert_int_equal(put(&w, 50, 3), MG_OK); /* shorter than what failed */
    world_close(&w);
    mg_io_fault_crash(w.disk, MG_LOSE_ALL);
    open_small(&w);
    assert_int_equal(rows_now(&w), 53);
    mg_io_fault_fail(w.disk, MG_FAULT_WRITE, 1, ENOSPC, true); /* not even that works */
    assert_int_equal(put(&w, 60, 3), MG_STOPPED);
    mg_io_fault_heal(w.disk);
    assert_int_equal(rows_now(&w), 53);
    world_close(&w);
    world_clear(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_that_does_not_fit_fails_whole_and_writing_resumes),
        cmocka_unit_test(merges_wait_first_then_flushes),
        cmocka_unit_test(a_checkpoint_takes_the_reserve),
        cmocka_unit_test(a_write_without_room_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
