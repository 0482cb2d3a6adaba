/* pressure_test.c -- a writer that never rests, and more rows than the memory limit holds: each epoch is taken, because
 * the writer is slowed down while the maintainer frees memory, and one that found none is taken after the next flush.
 *
 * Wide, random texts make a flush take much memory itself, and keep it busy for longer than an epoch takes to write.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/io_fault.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(more_rows_than_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
