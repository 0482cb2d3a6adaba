/* store_corpus.c -- makes tests/fuzz/corpus/marks and manifest: the files of a store that flushes, merges, alters and
 * drops tables, and the same ones damaged. Repeatable.
 *
 * Manifests are of the format of today, which is in their names; those without are left of earlier ones, and stay.
 * Usage: marks_corpus FOLDER or manifest_corpus FOLDER: one program under two names; the folder's last word says which.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io_fault.h"
#include "base/random.h"
#include "corpus_kit.h"
#include "engine/engine.h"

enum { TABLES = 3, ROUNDS = 6, ROWS = 300, FILES_MAX = 40, DAMAGED = 14 };

static const struct mg_engine_ops *const ops = &mg_engine_magic;

static struct mg_schema *make_schema(uint64_t id, uint64_t version, uint32_t columns)
{
    static const enum mg_type_id types[] = {MG_TYPE_INT64, MG_TYPE_UTF8, MG_TYPE_DATE, MG_TYPE_FLOAT64};
    struct mg_schema *schema = mg_schema_new();
    char text[16];
    schema->table_id = id;
    schema->version = version;
    snprintf(text, sizeof text, "t%d", (int)id);
    must(mg_schema_text(&schema->database, mg_slice_text("db"), err));
    must(mg_schema_text(&schema->table, mg_slice_text(text), err));
    for (uint32_t c = 0; c < columns; c++) {
        struct mg_column *column;
        snprintf(text, sizeof text, "c%u", c + 1);
        must(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type = (struct mg_type){.id = types[c]};
        column->nullable = c > 0;
        must(mg_schema_text(&column->name, mg_slice_text(text), err));
    }
    schema->key_columns[schema->key_count++] = 0;
    must(mg_schema_seal(schema, err));
    return schema;
}

static void publish(struct mg_epoch *epoch)
{
    uint64_t number;
    must(ops->publish(epoch, 0, MG_SLICE("position", 8), &number, err));
}

static void change(struct mg_engine *engine, enum mg_schema_change_kind kind, struct mg_schema *schema, uint64_t id)
{
    struct mg_schema_change item = {.kind = kind, .database = "db", .schema = schema, .table_id = id};
    struct mg_epoch *epoch;
    must(ops->begin(engine, "source", 1, &epoch, err));
    must(ops->change_schema(epoch, &item, err));
    publish(epoch);
}

/* Keys first, first + stride, ... */
static void rows(struct mg_engine *engine, const struct mg_schema *schema, int64_t first, int64_t stride,
                 uint32_t count, uint8_t op)
{
    struct mg_type types[4];
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t change_ops[ROWS];
    memset(change_ops, op, sizeof change_ops);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 28, err));
    for (int64_t i = 0; i < (int64_t)count; i++) {
        must(mg_builder_int(&builder, 0, first + i * stride, err));
        for (uint32_t c = 1; c < schema->column_count; c++)
            must(mg_builder_null(&builder, c, err));
    }
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = batch, .ops = change_ops};
    struct mg_epoch *epoch;
    must(ops->begin(engine, "source", 1, &epoch, err));
    must(ops->put(epoch, &changes, err));
    publish(epoch);
    mg_batch_unref(batch);
}

static bool is_of_marks(const char *folder) { return strstr(folder, "marks") != NULL; }

static void live(struct mg_io *io, void (*look)(struct mg_io *io, const char *folder), const char *folder)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = io,
                                        .segment_bytes = 4096,
                                        .stage_bytes = is_of_marks(folder) ? 0 : 1024, /* parts that the WAL names */
                                        .maintain_by_hand = true};
    struct mg_schema *schemas[TABLES];
    struct mg_engine *engine;
    must(ops->open(&options, &engine, err));
    change(engine, MG_SCHEMA_CREATE_DATABASE, NULL, 0);
    for (uint32_t t = 0; t < TABLES; t++) {
        schemas[t] = make_schema(t + 1, t + 1, 2 + t % 3);
        change(engine, MG_SCHEMA_PUT_TABLE, schemas[t], 0);
    }
    for (int64_t round = 0; round < ROUNDS; round++) {
        for (uint32_t t = 0; t < TABLES; t++) {
            if (t == 2 && round > 3)
                continue;
            rows(engine, schemas[t], round * 100000, 1, ROWS, MG_CHANGE_INSERT);
            if (round)
                rows(engine, schemas[t], (round - 1) * 100000 + round, 9 + t, 20,
                     round % 2 ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE);
        }
        if (round == 3)
            change(engine, MG_SCHEMA_DROP_TABLE, NULL, 3);
        must(ops->checkpoint(engine, round % 3 != 2, err));
        look(io, folder);
    }
    for (uint32_t t = 0; t < TABLES; t++)
        mg_schema_unref(schemas[t]);
    ops->close(engine);
}

/* ---- what is kept of it -------------------------------------------------------------------------------------- */

static char names[FILES_MAX][64];
static uint32_t name_count;

static enum mg_code note(void *arg, const char *name, struct mg_error *err)
{
    const char *part = arg;
    if (name_count < FILES_MAX && strlen(name) < sizeof names[0] && (!part[0] || strstr(name, part)))
        snprintf(names[name_count++], sizeof names[0], "%s", name);
    return MG_OK;
}

static void save(const char *folder, const char *name, const char *what, uint32_t number, const uint8_t *bytes,
                 size_t size)
{
    char file[512];
    snprintf(file, sizeof file, "%s%s-%s-%02u", is_of_marks(folder) ? "" : "format3-", name, what, number);
    corpus_write(folder, file, MG_SLICE(bytes, size), MG_SLICE(NULL, 0));
}

static void save_damaged(const char *folder, const char *name, struct mg_buffer *bytes)
{
    struct mg_random random;
    mg_random_init(&random, bytes->size);
    for (uint32_t i = 0; i < DAMAGED; i++) {
        size_t at = i < 4 ? i * 10 : (size_t)mg_random_below(&random, bytes->size);
        uint8_t was = bytes->data[at];
        bytes->data[at] ^= (uint8_t)(1 + mg_random_below(&random, 255));
        save(folder, name, "flipped", i, bytes->data, bytes->size);
        bytes->data[at] = was;
    }
    for (uint32_t i = 0; i < 4; i++)
        save(folder, name, "cut", i, bytes->data, (size_t)mg_random_below(&random, bytes->size));
}

static void look_at(struct mg_io *io, const char *folder)
{
    bool is_marks = is_of_marks(folder);
    const char *from = is_marks ? "/store/parts" : "/store/manifest";
    char path[256];
    static uint32_t damaged;
    name_count = 0;
    must(io->ops->list(io, from, note, (void *)(uintptr_t)(is_marks ? ".marks." : ""), err));
    for (uint32_t i = 0; i < name_count; i++) {
        struct mg_buffer bytes;
        mg_buffer_init(&bytes, 1 << 20);
        snprintf(path, sizeof path, "%s/%s", from, names[i]);
        must(mg_io_read_file(io, path, &bytes, err));
        save(folder, names[i], "whole", 0, bytes.data, bytes.size);
        if (i == 0 && damaged++ % 3 == 2)
            save_damaged(folder, names[i], &bytes);
        mg_buffer_clear(&bytes);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    struct mg_io_fault *disk = mg_io_fault_new(1);
    live(mg_io_fault_io(disk), look_at, argv[1]);
    mg_io_fault_free(disk);
    return 0;
}
