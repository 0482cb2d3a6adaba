/* compaction_test.c -- compactions that were asked for, merges in pieces, and many small commits, on a disk in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/stop.h"

#include "disk_world.h"
#include "engine/magic/manifest.h"
#include "engine_kit.h"

static const struct mg_engine_ops *const magic = &mg_engine_magic;

static enum mg_code open_pieces(struct world *w, uint64_t part_rows_max)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .part_rows_max = part_rows_max,
                                        .maintain_by_hand = true};
    mg_budget_init(&w->budget, "disk test", NULL, SIZE_MAX);
    return magic->open(&options, &w->engine, NULL);
}

static enum mg_code note_state(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    *(struct mg_compaction_info *)arg = *info;
    return MG_OK;
}

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

static uint32_t files_in(struct world *w, const char *folder, char out[][128])
{
    struct names names = {.folder = folder};
    struct mg_io *io = mg_io_fault_io(w->disk);
    assert_int_equal(io->ops->list(io, folder, note_name, &names, NULL), MG_OK);
    memcpy(out, names.paths, names.count * sizeof names.paths[0]);
    return names.count;
}

static void cancel_it(void *arg, const char *name)
{
    struct world *w = arg;
    if (strcmp(name, "part.written") != 0)
        return;
    mg_stop_hook(NULL, NULL);
    assert_int_equal(world_rows(w, w->people, "U 3,changed,3.00 | I 77,new,7.00"), MG_OK);
    assert_int_equal(magic->cancel_compaction(w->engine, 1, NULL), MG_OK);
}

/* Cancelled when its first part of some is written: nothing of it is left, and all goes on. */
static void a_cancelled_compaction_leaves_nothing(void **state)
{
    static char before[64][128], after[64][128];
    struct world w;
    struct mg_compaction_info info;
    uint64_t id;
    char text[400];
    world_init(&w, 4);
    assert_int_equal(open_pieces(&w, 4), MG_OK);
    assert_int_equal(world_step(&w, 0), MG_OK);
    assert_int_equal(world_step(&w, 1), MG_OK);
    for (int i = 0; i < 3; i++) {
        size_t size = 0;
        for (int row = i; row < 36; row += 3)
            size += (size_t)snprintf(text + size, sizeof text - size, "%sI %d,x,1.00", size ? " | " : "", row);
        assert_int_equal(world_rows(&w, w.people, text), MG_OK);
        assert_int_equal(world_flush(&w), MG_OK);
    }
    assert_int_equal(magic->compact(w.engine, 1, (struct mg_key_range){0}, &id, NULL), MG_OK);
    assert_int_equal(id, 1);
    uint32_t count = files_in(&w, "/store/parts", before);
    mg_stop_hook(cancel_it, &w);
    assert_int_equal(magic->checkpoint(w.engine, false, NULL), MG_OK);
    mg_stop_hook(NULL, NULL);
    assert_int_equal(magic->compactions(w.engine, id, note_state, &info, NULL), MG_OK);
    assert_int_equal(info.state, MG_COMPACTION_CANCELLED);
    assert_string_equal(info.message, "cancelled");
    uint32_t waiting = 0;
    for (enum mg_code code = MG_OK; code == MG_OK; waiting++)
        code = magic->compact(w.engine, 1, (struct mg_key_range){0}, &id, NULL);
    assert_int_equal(waiting, 64 + 1); /* the queue is bounded */
    for (; id > 1; id--)
        assert_int_equal(magic->cancel_compaction(w.engine, id, NULL), MG_OK);
    uint32_t files = files_in(&w, "/store/parts", after);
    for (uint32_t i = 0; i < files; i++) { /* only marks came */
        bool there = strstr(after[i], ".marks.") != NULL;
        for (uint32_t j = 0; j < count; j++)
            there |= strcmp(after[i], before[j]) == 0;
        if (!there)
            fail_msg("%s is left", after[i]);
    }
    assert_int_equal(magic->cancel_compaction(w.engine, id, NULL), MG_INVALID);
    assert_int_equal(magic->cancel_compaction(w.engine, 99, NULL), MG_NOT_FOUND);
    char *rows_before = strdup(kit_now(w.engine, 1));
    assert_int_equal(world_compact(&w, 1, &info), MG_OK); /* parts may be taken again */
    assert_string_equal(kit_now(w.engine, 1), rows_before);
    assert_int_equal(kit_status(w.engine, "rows_deleted"), 0);
    assert_int_equal(kit_status(w.engine, "parts"), 37 / 5 + 1); /* pieces beside one another */
    assert_int_equal(info.rows_written, 37);
    assert_true(info.progress == 1 && info.bytes_written > 0 && info.bytes_read > 0);
    assert_int_equal(world_compact(&w, 1, &info), MG_OK);
    assert_int_equal(info.rows_written, 0);
    assert_string_equal(info.message, "nothing to do: it is compact");
    free(rows_before);
    world_close(&w);
    world_clear(&w);
}

static void flush_it(void *arg, const char *name)
{
    struct world *w = arg;
    if (strcmp(name, "part.written") != 0)
        return;
    mg_stop_hook(NULL, NULL);
    assert_int_equal(world_rows(w, w->people, "I 78,new,8.00"), MG_OK);
    assert_int_equal(world_flush(w), MG_OK); /* with a sweep, while pieces are written */
}

/* A file that no manifest lists yet is not rubbish while it is written. */
static void a_sweep_leaves_outputs_under_way_alone(void **state)
{
    struct world w;
    world_init(&w, 4);
    assert_int_equal(open_pieces(&w, 4), MG_OK);
    assert_int_equal(world_step(&w, 0), MG_OK);
    assert_int_equal(world_step(&w, 1), MG_OK);
    assert_int_equal(world_rows(&w, w.people, "I 1,a,1 | I 3,a,1 | I 5,a,1 | I 7,a,1 | I 9,a,1"), MG_OK);
    assert_int_equal(world_flush(&w), MG_OK);
    assert_int_equal(world_rows(&w, w.people, "I 2,a,1 | I 4,a,1 | I 6,a,1 | I 8,a,1 | U 9,b,1"), MG_OK);
    assert_int_equal(world_flush(&w), MG_OK);
    mg_stop_hook(flush_it, &w);
    assert_int_equal(world_compact(&w, 1, NULL), MG_OK);
    mg_stop_hook(NULL, NULL);
    char *before = strdup(kit_now(w.engine, 1));
    world_close(&w);
    assert_int_equal(open_pieces(&w, 4), MG_OK);
    assert_string_equal(kit_now(w.engine, 1), before);
    free(before);
    world_close(&w);
    world_clear(&w);
}

/* A part for each of many commits of one row: there are few files at any time. */
static void a_storm_of_small_commits_leaves_few_files(void **state)
{
    struct world w;
    char text[64];
    world_init(&w, 6);
    assert_int_equal(world_open(&w, NULL), MG_OK);
    assert_int_equal(world_step(&w, 0), MG_OK);
    assert_int_equal(world_step(&w, 1), MG_OK);
    uint64_t most = 0;
    for (int i = 0; i < 1500; i++) {
        snprintf(text, sizeof text, i % 3 == 2 ? "U %d,changed,2.00" : "I %d,new,1.00", i % 3 == 2 ? i - 2 : i);
        assert_int_equal(world_rows(&w, w.people, text), MG_OK);
        if (i % 2)
            assert_int_equal(world_flush(&w), MG_OK);
        most = MG_MAX(most, kit_status(w.engine, "table_files_most"));
    }
    print_message("at most %" PRIu64 " parts and marks\n", most);
    assert_true(most <= 64);
    assert_int_equal(kit_status(w.engine, "rows"), 1000);
    world_close(&w);
    world_clear(&w);
}

/* The same manifest in format 2. */
static void without_named(struct mg_buffer *file)
{
    struct mg_manifest manifest;
    struct mg_budget budget;
    mg_budget_init(&budget, "manifest", NULL, SIZE_MAX);
    assert_int_equal(mg_manifest__decode(mg_buffer_slice(file), &budget, &manifest, NULL), MG_OK);
    manifest.has_named = false;
    mg_buffer_reset(file);
    assert_int_equal(mg_manifest__encode(&manifest, file, NULL), MG_OK);
    mg_manifest__clear(&manifest);
}

/* The newest manifest as it was before checkpoints were told apart: one byte less. */
static void a_manifest_of_format_1_is_read(void **state)
{
    struct world w;
    world_init(&w, 1);
    world_tell(&w);
    static struct story expected;
    expected = w.story;
    world_close(&w);
    struct mg_io *io = mg_io_fault_io(w.disk);
    struct names names = {.folder = "/store/manifest"};
    assert_int_equal(io->ops->list(io, names.folder, note_name, &names, NULL), MG_OK);
    for (uint32_t i = 0; i < names.count; i++) {
        struct mg_buffer file;
        mg_buffer_init(&file, 1 << 20);
        assert_int_equal(mg_io_read_file(io, names.paths[i], &file, NULL), MG_OK);
        assert_int_equal(mg_load_le64(file.data + 8), 3);
        without_named(&file);
        assert_int_equal(mg_load_le64(file.data + 8), 2);
        mg_store_le64(file.data + 8, 1);
        struct mg_reader in = mg_reader_of(MG_SLICE(file.data + 16, file.size - 16));
        for (int n = 0; n < 5; n++)
            mg_reader_varint(&in);
        uint8_t *flags = file.data + file.size - mg_reader_left(&in);
        memmove(flags, flags + 1, file.size - (size_t)(flags + 1 - file.data));
        file.size--;
        mg_store_le64(file.data + file.size - 8, mg_hash(file.data, file.size - 8, 0));
        assert_int_equal(
            mg_io_write_file(io, names.folder, strrchr(names.paths[i], '/') + 1, mg_buffer_slice(&file), NULL), MG_OK);
        mg_buffer_clear(&file);
    }
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_compare_all(&w, &expected, expected.newest);
    world_close(&w);
    world_clear(&w);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_compaction_leaves_nothing),
        cmocka_unit_test(a_sweep_leaves_outputs_under_way_alone),
        cmocka_unit_test(a_storm_of_small_commits_leaves_few_files),
        cmocka_unit_test(a_manifest_of_format_1_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
