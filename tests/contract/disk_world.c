/* disk_world.c -- the scripted history; see disk_world.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "disk_world.h"
#include "engine_kit.h"

enum mg_code world_open_limited(struct world *w, size_t limit_bytes, uint64_t segment_bytes, struct mg_error *err)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .wal_segment_bytes = 16 << 10,
                                        .segment_bytes = segment_bytes,
                                        .stage_bytes = w->stage_bytes,
                                        .maintain_by_hand = true};
    mg_budget_init(&w->budget, "disk test", NULL, limit_bytes);
    MG_TRY(w->ops->open(&options, &w->engine, err));
    w->engine->ops = w->ops;
    return MG_OK;
}

enum mg_code world_open(struct world *w, struct mg_error *err) { return world_open_limited(w, SIZE_MAX, 1024, err); }

void world_close(struct world *w)
{
    w->ops->close(w->engine);
    w->engine = NULL;
    assert_int_equal(mg_budget_used(&w->budget), 0);
}

void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->ops = &mg_engine_magic;
    w->disk = mg_io_fault_new(seed);
    w->stage_bytes = 1024;
    w->people = kit_schema(1, 1, "d", "people", "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null");
    w->wider = kit_schema(1, 4, "d", "people",
                          "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null; 4 born date null");
    w->things = kit_schema(2, 2, "d", "things", "1 a utf8 key; 2 b int32 key; 3 v float64 null");
    w->gone = kit_schema(3, 3, "d", "gone", "1 id int32 key");
}

void world_clear(struct world *w)
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
    MG_TRY(w->ops->publish(epoch, 10 * (w->story.newest + 1), (struct mg_slice){0}, &number, NULL));
    w->story.newest = number;
    return MG_OK;
}

enum mg_code world_change(struct world *w, enum mg_schema_change_kind kind, struct mg_schema *schema, uint64_t table_id)
{
    struct mg_epoch *epoch;
    MG_TRY(w->ops->begin(w->engine, "test", 1, &epoch, NULL));
    struct mg_schema_change item = {.kind = kind, .database = "d", .schema = schema, .table_id = table_id};
    enum mg_code code = w->ops->change_schema(epoch, &item, NULL);
    if (code != MG_OK) {
        w->ops->abort(epoch);
        return code;
    }
    return publish(w, epoch);
}

enum mg_code world_rows(struct world *w, const struct mg_schema *schema, const char *changes)
{
    struct mg_epoch *epoch;
    MG_TRY(w->ops->begin(w->engine, "test", 1, &epoch, NULL));
    enum mg_code code = kit_try_put(epoch, schema, changes, NULL);
    if (code != MG_OK) {
        w->ops->abort(epoch);
        return code;
    }
    return publish(w, epoch);
}

/* Keys [first, end) of people, as one put: op, a text that says which. */
static enum mg_code put_people(struct world *w, struct mg_epoch *epoch, char op, int first, int end, const char *text)
{
    static char changes[4096];
    size_t size = 0;
    for (int id = first; id < end; id++)
        size += (size_t)snprintf(changes + size, sizeof changes - size, "%s%c %d,%s%d,%d.25,%d", size ? " | " : "", op,
                                 id, text, id, id, id);
    return kit_try_put(epoch, w->wider, changes, NULL);
}

/* Larger than stage_bytes many times: new rows, rows of this epoch that change and go, in parts of it and in memory;
 * rows from before; another table beside it; rows that come back. */
enum mg_code world_stage_much(struct world *w, struct mg_epoch *epoch, int first)
{
    MG_TRY(put_people(w, epoch, 'I', first, first + 12, "new"));
    MG_TRY(put_people(w, epoch, 'I', first + 12, first + 24, "more"));
    MG_TRY(put_people(w, epoch, 'U', first + 3, first + 15, "changed"));
    MG_TRY(kit_try_put(epoch, w->things, "U a,2,7.5 | I z,1,1", NULL));
    MG_TRY(put_people(w, epoch, 'D', first + 5, first + 8, "gone"));
    MG_TRY(put_people(w, epoch, 'U', first + 8, first + 20, "again"));
    MG_TRY(put_people(w, epoch, 'I', first + 6, first + 8, "back"));
    MG_TRY(kit_try_put(epoch, w->wider, "U 5,fay,5.75,8 | U 6,gus,6.75,9", NULL));
    MG_TRY(put_people(w, epoch, 'I', first + 24, first + 36, "tail"));
    MG_TRY(kit_try_put(epoch, w->things, "D z,1,", NULL));
    MG_TRY(put_people(w, epoch, 'D', first + 22, first + 30, "gone"));
    return put_people(w, epoch, 'U', first, first + 2, "last");
}

enum mg_code world_much(struct world *w, int first, bool publishes)
{
    struct mg_epoch *epoch;
    MG_TRY(w->ops->begin(w->engine, "test", 1, &epoch, NULL));
    enum mg_code code = world_stage_much(w, epoch, first);
    if (code == MG_OK && publishes)
        return publish(w, epoch);
    w->ops->abort(epoch);
    return code;
}

enum mg_code world_flush(struct world *w) { return w->ops->checkpoint(w->engine, true, NULL); }

static enum mg_code note_compaction(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    *(struct mg_compaction_info *)arg = *info;
    return MG_OK;
}

enum mg_code world_compact(struct world *w, uint64_t table_id, struct mg_compaction_info *out)
{
    uint64_t id;
    struct mg_compaction_info info;
    MG_TRY(w->ops->compact(w->engine, table_id, (struct mg_key_range){0}, &id, NULL));
    MG_TRY(w->ops->checkpoint(w->engine, false, NULL));
    MG_TRY(w->ops->compactions(w->engine, id, note_compaction, &info, NULL));
    if (out)
        *out = info;
    return info.state == MG_COMPACTION_DONE ? MG_OK : MG_IO;
}

enum mg_code world_step(struct world *w, unsigned number)
{
    switch (number) {
    case 0: return world_change(w, MG_SCHEMA_CREATE_DATABASE, NULL, 0);
    case 1: return world_change(w, MG_SCHEMA_PUT_TABLE, w->people, 0);
    case 2: return world_change(w, MG_SCHEMA_PUT_TABLE, w->things, 0);
    case 3: return world_change(w, MG_SCHEMA_PUT_TABLE, w->gone, 0);
    case 4: return world_rows(w, w->people, "I 1,ada,1.50 | I 2,NULL,2.00 | I 3,bob,NULL | I 4,eve,4.00");
    case 5: return world_rows(w, w->things, "I a,1,0.5 | I a,2,NULL | I b,1,3.25");
    case 6: return world_rows(w, w->gone, "I 7 | I 8");
    case 7: return world_flush(w);
    case 8: return world_rows(w, w->people, "U 2,two,2.25 | D 3,, | I 5,fay,5.00");
    case 9: return world_change(w, MG_SCHEMA_DROP_TABLE, NULL, 3);
    case 10: return world_flush(w);
    case 11: return world_change(w, MG_SCHEMA_PUT_TABLE, w->wider, 0);
    case 12: return world_rows(w, w->wider, "I 6,gus,6.00,100 | U 1,ada,1.75,-1 | D 4,,,");
    case 13: return world_rows(w, w->things, "D a,1, | I c,9,1");
    case 14: return world_flush(w);
    case 15: return world_rows(w, w->wider, "U 5,fay,5.50,7 | D 2,,, | I 2,again,9.00,NULL");
    case 16: return world_flush(w);
    case 17: return world_rows(w, w->wider, "U 6,gus,6.50,8");
    case 18: return world_flush(w);
    case 19: return world_compact(w, 1, NULL);
    case 20: return world_rows(w, w->things, "U c,9,2");
    case 21: return world_much(w, 100, true);
    case 22: return world_rows(w, w->wider, "U 101,one,1.00,1 | D 108,,, | I 105,five,5,5");
    case 23: return world_much(w, 200, false);
    case 24: return world_flush(w);
    case 25: return world_much(w, 300, true);
    case 26: return world_rows(w, w->wider, "U 303,three,3.00,3 | D 320,,,");
    default: return MG_NOT_FOUND; /* the end */
    }
}

bool world_is_flush(unsigned number)
{
    return number == 7 || number == 10 || number == 14 || number == 16 || number == 18 || number == 19 ||
           number == 23 || number == 24;
}

/* ---- what a reader sees -------------------------------------------------------------------------------------- */

/* A table's rows, or a word for what there is in their place. */
void world_look(struct mg_snapshot *snapshot, uint64_t table_id, char text[TEXT_MAX])
{
    struct mg_schema *schema;
    if (snapshot->engine->ops->table_by_id(snapshot, table_id, &schema, NULL) != MG_OK) {
        snprintf(text, TEXT_MAX, "no table");
        return;
    }
    mg_schema_unref(schema);
    snprintf(text, TEXT_MAX, "%s", kit_rows(snapshot, table_id, NULL));
}

void world_note(struct world *w)
{
    struct mg_snapshot *snapshot = kit_snapshot(w->engine);
    uint64_t epoch = snapshot->engine->ops->snapshot_epoch(snapshot);
    assert_true(epoch < EPOCHS_MAX);
    world_look(snapshot, 1, w->story.people[epoch]);
    world_look(snapshot, 2, w->story.things[epoch]);
    w->story.newest = epoch;
    snapshot->engine->ops->snapshot_unref(snapshot);
}

void world_compare(const struct story *story, struct mg_snapshot *snapshot)
{
    char text[TEXT_MAX];
    uint64_t epoch = snapshot->engine->ops->snapshot_epoch(snapshot);
    world_look(snapshot, 1, text);
    assert_string_equal(text, story->people[epoch]);
    world_look(snapshot, 2, text);
    assert_string_equal(text, story->things[epoch]);
}

/* Every epoch that can be opened is what it was. */
void world_compare_all(struct world *w, const struct story *story, uint64_t newest)
{
    uint64_t opened = 0;
    struct mg_snapshot *snapshot = kit_snapshot(w->engine);
    assert_int_equal(snapshot->engine->ops->snapshot_epoch(snapshot), newest);
    world_compare(story, snapshot);
    snapshot->engine->ops->snapshot_unref(snapshot);
    for (uint64_t epoch = 0; epoch <= newest; epoch++) {
        enum mg_code code = w->ops->snapshot_at(w->engine, epoch, &snapshot, NULL);
        if (code == MG_SNAPSHOT_TOO_OLD) {
            assert_int_equal(opened, 0); /* none behind one that opens */
            continue;
        }
        assert_int_equal(code, MG_OK);
        world_compare(story, snapshot);
        snapshot->engine->ops->snapshot_unref(snapshot);
        opened++;
    }
    assert_true(opened > 0);
}

/* The whole history on a good disk. */
void world_tell(struct world *w)
{
    assert_int_equal(world_open(w, NULL), MG_OK);
    world_note(w);
    for (unsigned i = 0; i < WORLD_STEPS; i++) {
        assert_int_equal(world_step(w, i), MG_OK);
        world_note(w);
    }
}
