/* store.c -- opens, fills, settles and asks a store of the magic engine.
 *
 * Threads  as store.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_ROUNDS_MAX = 64, SETTLE_EVERY_ROWS = 16 << 20 };

static const struct mg_engine_ops *const ops = &mg_engine_magic;

static void open_engine(struct bench_store *store, size_t memory_bytes, const struct mg_engine_options *more)
{
    struct mg_engine_options options = more ? *more : (struct mg_engine_options){0};

    options.folder = store->folder;
    store->by_hand = options.maintain_by_hand;
    options.budget = &store->budget;
    mg_budget_init(&store->budget, "bench", NULL, memory_bytes ? memory_bytes : SIZE_MAX);
    try(ops->open(&options, &store->engine, err));
}

void bench_store_open(struct bench_store *store, const struct bench_options *options, struct mg_schema *schema,
                      size_t memory_bytes, const struct mg_engine_options *more)
{
    struct mg_schema_change database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = schema->database};
    struct mg_schema_change table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = schema};
    struct mg_epoch *epoch;

    *store = (struct bench_store){.schema = schema};
    bench_folder_make(options, store->folder);
    open_engine(store, memory_bytes, more);
    try(ops->begin(store->engine, "bench", 1, &epoch, err));
    try(ops->change_schema(epoch, &database, err));
    try(ops->change_schema(epoch, &table, err));
    try(ops->publish(epoch, ++store->watermark, MG_SLICE(NULL, 0), NULL, err));
}

void bench_store_reopen(struct bench_store *store, const char *folder, struct mg_schema *schema, size_t memory_bytes,
                        const struct mg_engine_options *more)
{
    struct mg_source_position position;

    *store = (struct bench_store){.schema = schema};
    snprintf(store->folder, sizeof store->folder, "%s", folder);
    open_engine(store, memory_bytes, more);
    try(ops->position(store->engine, "bench", &position, err));
    store->watermark = position.watermark;
}

void bench_store_remove(struct bench_store *store)
{
    ops->close(store->engine);
    mg_schema_unref(store->schema);
    bench_folder_remove(store->folder);
    *store = (struct bench_store){0};
}

void bench_store_apply(struct bench_store *store, struct mg_batch *rows, const uint8_t *row_ops)
{
    static const uint8_t inserts[MG_BATCH_ROWS_MAX]; /* MG_CHANGE_INSERT is 0 */
    struct mg_changes changes = {.table_id = store->schema->table_id,
                                 .schema_version = store->schema->version,
                                 .rows = rows,
                                 .ops = row_ops ? row_ops : inserts};
    struct mg_epoch *epoch;
    uint64_t number = 0;

    try(ops->begin(store->engine, "bench", 1, &epoch, err));
    try(ops->put(epoch, &changes, err));
    try(ops->publish(epoch, ++store->watermark, MG_SLICE("here", 4), &number, err));
    try(ops->wait(store->engine, number, -1, err));
    store->unsettled_rows += rows->row_count;
    if (store->by_hand && store->unsettled_rows >= SETTLE_EVERY_ROWS)
        bench_store_settle(store);
}

void bench_store_settle(struct bench_store *store)
{
    uint64_t before, after = UINT64_MAX;

    store->unsettled_rows = 0;
    for (int i = 0; i < SETTLE_ROUNDS_MAX; i++) {
        try(ops->checkpoint(store->engine, true, err));
        before = after;
        after = bench_store_status(store, "flushes") + bench_store_status(store, "merges");
        if (before == after)
            return;
    }
}

void bench_store_compact(struct bench_store *store)
{
    uint64_t id;

    try(ops->compact(store->engine, store->schema->table_id, (struct mg_key_range){.low = {NULL, 0}}, &id, err));
    bench_store_settle(store);
}

struct wanted {
    const char *name;
    uint64_t value;
};

static enum mg_code note(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct wanted *wanted = arg;

    if (strcmp(name, wanted->name) == 0)
        wanted->value = strtoull(value, NULL, 10);
    return MG_OK;
}

uint64_t bench_store_status(const struct bench_store *store, const char *name)
{
    struct wanted wanted = {name, 0};

    try(ops->status(store->engine, note, &wanted, err));
    return wanted.value;
}
