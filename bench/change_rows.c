/* change_rows.c -- a program that updates and deletes rows of a loaded table in a store that nobody has open: how tests
 * and benchmarks make a table dirty, which DoPut cannot.
 *
 *     change_rows DATA DATABASE.TABLE update|delete FILE...
 *
 * DATA is magicd's data folder; the files hold whole rows (src/cli/load_file.h), with the table's columns in its order;
 * of rows to be deleted the key counts. Each batch of a file is one epoch of the source that owns the table, durable
 * before the next one. A row that is not in the table ends the program before its epoch is published. No background
 * work is done: the magicd that opens the store next finds the changes behind its newest parts, as a source would leave
 * them.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "cli/load_file.h"
#include "engine/engine.h"

static const struct mg_engine_ops *const ops = &mg_engine_magic;

struct change {
    struct mg_engine *engine;
    struct mg_schema *schema;
    struct mg_source_position position;
    uint8_t ops[MG_BATCH_ROWS_MAX];
    uint64_t rows, epoch;
};

static void find_table(struct change *change, char *name)
{
    struct mg_snapshot *snapshot;
    char *point = strchr(name, '.');

    if (!point)
        bench_die("'%s' is no DATABASE.TABLE", name);
    struct mg_slice database = {(const uint8_t *)name, (size_t)(point - name)};
    try(ops->snapshot(change->engine, &snapshot, err));
    try(ops->table_by_name(snapshot, database, mg_slice_text(point + 1), &change->schema, err));
    ops->snapshot_unref(snapshot);
    try(ops->position(change->engine, change->schema->source, &change->position, err));
}

static void check_columns(const struct change *change, const struct mg_load_file *file, const char *path)
{
    uint32_t count;
    const struct mg_field *fields = mg_load_file_fields(file, &count);
    const struct mg_schema *schema = change->schema;

    if (count != schema->column_count)
        bench_die("%s has %u columns, %s.%s has %u", path, count, schema->database, schema->table,
                  schema->column_count);
    for (uint32_t i = 0; i < count; i++)
        if (mg_schema_find_name(schema, fields[i].name) != (int)i ||
            !mg_type_same_layout(fields[i].type, schema->columns[i].type))
            bench_die("%s: column %u is %.*s, or of another type than the table's %s", path, i + 1,
                      (int)fields[i].name.size, (const char *)fields[i].name.data, schema->columns[i].name);
}

static void apply(struct change *change, struct mg_batch *rows, const char *path)
{
    struct mg_verify found = {0};
    struct mg_changes changes = {.table_id = change->schema->table_id,
                                 .schema_version = change->schema->version,
                                 .rows = rows,
                                 .ops = change->ops,
                                 .verify = &found};
    struct mg_epoch *epoch;

    try(ops->begin(change->engine, change->schema->source, change->position.generation, &epoch, err));
    try(ops->put(epoch, &changes, err));
    if (found.told_count > 0) {
        ops->abort(epoch);
        bench_die("%s: row %" PRIu64 ": %s", path, change->rows + found.told[0].row + 1, found.told[0].text);
    }
    struct mg_slice position = {change->position.position, change->position.position_size};
    try(ops->publish(epoch, change->position.watermark, position, &change->epoch, err));
    try(ops->wait(change->engine, change->epoch, -1, err));
    change->rows += rows->row_count;
}

static void apply_file(struct change *change, const char *path)
{
    struct mg_load_file *file;
    struct mg_batch *rows;

    try(mg_load_file_open(path, &file, err));
    check_columns(change, file, path);
    for (;;) {
        try(mg_load_file_next(file, &rows, err));
        if (!rows)
            break;
        if (rows->row_count > 0)
            apply(change, rows, path);
        mg_batch_unref(rows);
    }
    mg_load_file_close(file);
}

int main(int argc, char **argv)
{
    static struct change change;
    char folder[4096];

    bench_name = "change_rows";
    bool deletes = argc > 4 && strcmp(argv[3], "delete") == 0;
    if (argc < 5 || (!deletes && strcmp(argv[3], "update") != 0)) {
        fprintf(stderr, "change_rows DATA DATABASE.TABLE update|delete FILE...\n");
        return 2;
    }
    snprintf(folder, sizeof folder, "%s/store", argv[1]);
    memset(change.ops, deletes ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE, sizeof change.ops);
    try(ops->open(&(struct mg_engine_options){.folder = folder, .maintain_by_hand = true}, &change.engine, err));
    find_table(&change, argv[2]);
    for (int i = 4; i < argc; i++)
        apply_file(&change, argv[i]);
    printf("%s: %" PRIu64 " rows %s, epoch %" PRIu64 "\n", argv[2], change.rows, deletes ? "deleted" : "updated",
           change.epoch);
    mg_schema_unref(change.schema);
    ops->close(change.engine);
    return 0;
}
