/* pressure_test.c -- a writer that never rests, and more rows than the memory limit holds: each epoch is taken, because
 * the writer is slowed down while the maintainer frees memory, and one that found none is taken after the next flush.
 *
 * Wide, random texts make a flush take much memory itself, and keep it busy for longer than an epoch takes to write.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io_fault.h"
#include "base/stop.h"

#include "engine_kit.h"

enum { LIMIT = 128 << 20, EPOCH_ROWS = 1 << 16, EPOCHS = 32, TEXT = 64, TRIES_MAX = 5 };

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return *state >> 33;
}

/* Ids from first on, and a text of random letters each. */
static struct mg_batch *make_rows(const struct mg_schema *schema, int64_t first, uint64_t *state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_type types[2] = {schema->columns[0].type, schema->columns[1].type};
    char text[TEXT];
    assert_int_equal(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX, &err), MG_OK);
    for (int64_t row = first; row < first + EPOCH_ROWS; row++) {
        for (int i = 0; i < TEXT; i++)
            text[i] = (char)('a' + next_random(state) % 16);
        assert_int_equal(mg_builder_int(&builder, 0, row, &err), MG_OK);
        assert_int_equal(mg_builder_text(&builder, 1, MG_SLICE(text, TEXT), &err), MG_OK);
    }
    assert_int_equal(mg_batch_builder_finish(&builder, EPOCH_ROWS, &rows, &err), MG_OK);
    mg_batch_builder_clear(&builder);
    return rows;
}

static void apply(struct mg_engine *engine, struct mg_batch *rows, uint64_t watermark)
{
    static const uint8_t inserts[EPOCH_ROWS];
    struct mg_error err = MG_ERROR_INIT;
    struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = rows, .ops = inserts};
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        struct mg_epoch *epoch = kit_begin(engine);
        enum mg_code code = mg_engine_magic.put(epoch, &changes, &err);
        if (code == MG_OK) {
            kit_publish(epoch, watermark);
            return;
        }
        assert_int_equal(code, MG_NO_MEMORY);
        mg_engine_magic.abort(epoch);
    }
    fail_msg("%d times: %s", TRIES_MAX, err.text);
}

static void more_rows_than_memory(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_budget budget;
    struct mg_engine *engine;
    struct mg_schema *schema = kit_schema(1, 1, "d", "wide", "1 id int64 key; 2 text utf8");
    struct mg_engine_options options = {.folder = "/store", .io = mg_io_fault_io(disk), .budget = &budget};
    struct mg_table_stats stats;
    uint64_t random = 1;
    (void)state;
    mg_budget_init(&budget, "pressure test", NULL, LIMIT);
    assert_int_equal(mg_engine_magic.open(&options, &engine, &err), MG_OK);
    uint64_t watermark = kit_create(engine, schema);
    for (int i = 0; i < EPOCHS; i++) {
        struct mg_batch *rows = make_rows(schema, (int64_t)i * EPOCH_ROWS, &random);
        apply(engine, rows, ++watermark);
        mg_batch_unref(rows);
    }
    struct mg_snapshot *snapshot = kit_snapshot(engine);
    assert_int_equal(mg_engine_magic.stats(snapshot, 1, &stats, &err), MG_OK);
    assert_int_equal(stats.row_count, (uint64_t)EPOCHS * EPOCH_ROWS);
    mg_engine_magic.snapshot_unref(snapshot);
    assert_true(kit_status(engine, "flushes") > 0);
    mg_engine_magic.close(engine);
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_schema_unref(schema);
    mg_io_fault_free(disk);
}

/* ---- a large epoch beside rows that are not flushed yet ------------------------------------------------------- */

enum { NARROW_LIMIT = 96 << 20, NARROW_ROWS = 1 << 16, LARGE_PUTS = 48, HELD_MS_MAX = 2000 };

static atomic_bool is_filled;

/* No flush goes on before memory is full, or the writer waits for one. */
static void hold_flushes(void *arg, const char *name)
{
    if (strcmp(name, "compact.planned") != 0)
        return;
    for (int ms = 0; ms < HELD_MS_MAX && !atomic_load(&is_filled); ms++)
        usleep(1000);
}

static struct mg_batch *make_narrow(const struct mg_schema *schema, int64_t first)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_type types[2] = {schema->columns[0].type, schema->columns[1].type};
    assert_int_equal(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX, &err), MG_OK);
    for (int64_t row = first; row < first + NARROW_ROWS; row++) {
        assert_int_equal(mg_builder_int(&builder, 0, row, &err), MG_OK);
        assert_int_equal(mg_builder_int(&builder, 1, row % 1000, &err), MG_OK);
    }
    assert_int_equal(mg_batch_builder_finish(&builder, NARROW_ROWS, &rows, &err), MG_OK);
    mg_batch_builder_clear(&builder);
    return rows;
}

static enum mg_code put_narrow(struct mg_epoch *epoch, const struct mg_schema *schema, int64_t first,
                               struct mg_error *err)
{
    static const uint8_t inserts[NARROW_ROWS];
    struct mg_batch *rows = make_narrow(schema, first);
    struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = rows, .ops = inserts};
    enum mg_code code = mg_engine_magic.put(epoch, &changes, err);
    mg_batch_unref(rows);
    return code;
}

static uint64_t delta_used(struct mg_engine *engine)
{
    return kit_status(engine, "memory_rows_bytes") + kit_status(engine, "memory_index_bytes") +
           kit_status(engine, "memory_marks_bytes");
}

/* Rows of few bytes, whose index takes more than they do: the memory for what is in no part is nearly full while they
 * alone are no reason to wait. The epoch after them is larger than memory. It waits for a flush before it begins. */
static void a_large_epoch_when_memory_is_full(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_budget budget;
    struct mg_engine *engine;
    struct mg_schema *schema = kit_schema(1, 1, "d", "narrow", "1 id int64 key; 2 n int64");
    struct mg_engine_options options = {.folder = "/store", .io = mg_io_fault_io(disk), .budget = &budget};
    struct mg_table_stats stats;
    int64_t first = 0;
    size_t delta_limit = (NARROW_LIMIT - NARROW_LIMIT / 16) / 8 * 5;
    atomic_store(&is_filled, false);
    mg_stop_hook(hold_flushes, NULL);
    mg_budget_init(&budget, "pressure test", NULL, NARROW_LIMIT);
    assert_int_equal(mg_engine_magic.open(&options, &engine, &err), MG_OK);
    uint64_t watermark = kit_create(engine, schema);
    for (int i = 0; i < 64 && delta_used(engine) < delta_limit - (7 << 20); i++, first += NARROW_ROWS) {
        struct mg_epoch *epoch = kit_begin(engine);
        assert_int_equal(put_narrow(epoch, schema, first, &err), MG_OK);
        kit_publish(epoch, ++watermark);
    }
    print_message("%zu of %zu bytes are taken\n", (size_t)delta_used(engine), delta_limit);
    atomic_store(&is_filled, true);
    struct mg_epoch *epoch = kit_begin(engine);
    for (int i = 0; i < LARGE_PUTS; i++, first += NARROW_ROWS)
        if (put_narrow(epoch, schema, first, &err) != MG_OK)
            fail_msg("put %d of %d: %s", i, LARGE_PUTS, err.text);
    kit_publish(epoch, ++watermark);
    mg_stop_hook(NULL, NULL);
    struct mg_snapshot *snapshot = kit_snapshot(engine);
    assert_int_equal(mg_engine_magic.stats(snapshot, 1, &stats, &err), MG_OK);
    assert_int_equal(stats.row_count, (uint64_t)first);
    mg_engine_magic.snapshot_unref(snapshot);
    mg_engine_magic.close(engine);
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_schema_unref(schema);
    mg_io_fault_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(more_rows_than_memory),
                                       cmocka_unit_test(a_large_epoch_when_memory_is_full)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
