/* wal_corpus.c -- makes tests/fuzz/corpus/wal: histories as the engine writes them, and the same ones damaged.
 * Repeatable.
 *
 * Usage: wal_corpus FOLDER
 * Source  docs/format/wal.md; inputs as wal_fuzz.c reads them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io_fault.h"
#include "base/random.h"
#include "corpus_kit.h"
#include "engine/magic/magic_internal.h"

static const struct mg_engine_ops *const ops = &mg_engine_magic;

static struct mg_schema *make_schema(uint64_t id, uint64_t version, const char *name, const enum mg_type_id *types,
                                     uint32_t count, uint32_t key_count)
{
    struct mg_schema *schema = mg_schema_new();
    schema->table_id = id;
    schema->version = version;
    must(mg_schema_text(&schema->database, mg_slice_text("db"), err));
    must(mg_schema_text(&schema->table, mg_slice_text(name), err));
    for (uint32_t c = 0; c < count; c++) {
        struct mg_column *column;
        char text[16];
        snprintf(text, sizeof text, "c%u", c + 1);
        must(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type = (struct mg_type){.id = types[c], .precision = types[c] == MG_TYPE_DECIMAL ? 20 : 0};
        column->nullable = c >= key_count;
        must(mg_schema_text(&column->name, mg_slice_text(text), err));
    }
    for (uint32_t k = 0; k < key_count; k++)
        schema->key_columns[schema->key_count++] = k;
    must(mg_schema_seal(schema, err));
    return schema;
}

static void append(struct mg_batch_builder *builder, const struct mg_schema *schema, uint32_t c, uint64_t n)
{
    char text[32];
    struct mg_type type = schema->columns[c].type;
    if (schema->columns[c].nullable && n % 3 == 0) {
        must(mg_builder_null(builder, c, err));
        return;
    }
    switch (type.id) {
    case MG_TYPE_UTF8:
        snprintf(text, sizeof text, "text %llu", (unsigned long long)n);
        must(mg_builder_text(builder, c, mg_slice_text(text), err));
        break;
    case MG_TYPE_DECIMAL: must(mg_builder_decimal(builder, c, (mg_int128)n * 1000003, err)); break;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: must(mg_builder_float(builder, c, (double)n / 4, err)); break;
    default: must(mg_builder_uint(builder, c, n, err)); break;
    }
}

static void put(struct mg_epoch *epoch, const struct mg_schema *schema, uint64_t first, uint32_t count, uint8_t op)
{
    struct mg_type types[8];
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t *change_ops = malloc(count);
    memset(change_ops, op, count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 28, err));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c < schema->column_count; c++)
            append(&builder, schema, c, first + i);
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    must(
        ops->put(epoch,
                 &(struct mg_changes){
                     .table_id = schema->table_id, .schema_version = schema->version, .rows = batch, .ops = change_ops},
                 err));
    mg_batch_unref(batch);
    free(change_ops);
}

static struct mg_epoch *begin(struct mg_engine *engine)
{
    struct mg_epoch *epoch;
    must(ops->begin(engine, "source", 1, &epoch, err));
    return epoch;
}

static void publish(struct mg_epoch *epoch, uint64_t watermark)
{
    must(ops->publish(epoch, watermark, MG_SLICE("place", 5), NULL, err));
}

static void change(struct mg_epoch *epoch, struct mg_schema_change change)
{
    must(ops->change_schema(epoch, &change, err));
}

/* An epoch that goes to parts while it is staged, and marks in them: bitmaps and lists. */
static void run_large(struct mg_engine *engine, const struct mg_schema *schema)
{
    struct mg_epoch *epoch = begin(engine);
    put(epoch, schema, 0, 3000, MG_CHANGE_INSERT);
    put(epoch, schema, 3000, 200, MG_CHANGE_INSERT);
    put(epoch, schema, 100, 1500, MG_CHANGE_DELETE);
    put(epoch, schema, 3000, 20, MG_CHANGE_DELETE);
    put(epoch, schema, 2000, 50, MG_CHANGE_UPDATE);
    publish(epoch, 30);
    epoch = begin(engine);
    put(epoch, schema, 0, 10, MG_CHANGE_DELETE);
    publish(epoch, 31);
}

/* Histories: rows of two tables, schema changes, deletions, one that fills a chunk, and a large epoch. */
static void run_history(struct mg_engine *engine, int which)
{
    static const enum mg_type_id narrow[] = {MG_TYPE_INT32, MG_TYPE_UTF8, MG_TYPE_DECIMAL, MG_TYPE_FLOAT64,
                                             MG_TYPE_INT8};
    static const enum mg_type_id texts[] = {MG_TYPE_UTF8, MG_TYPE_UINT16, MG_TYPE_UTF8};
    static const enum mg_type_id one[] = {MG_TYPE_INT64};
    struct mg_schema *a = make_schema(1, 1, "a", which >= 4 ? one : narrow, which >= 4 ? 1 : 3, 1);
    struct mg_schema *b = make_schema(2, 2, "b", texts, 3, 2);
    struct mg_schema *wider = make_schema(1, 3, "a", narrow, 5, 1);
    struct mg_epoch *epoch = begin(engine);
    change(epoch, (struct mg_schema_change){.kind = MG_SCHEMA_CREATE_DATABASE, .database = "db"});
    change(epoch, (struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = a});
    change(epoch, (struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = b});
    publish(epoch, 1);
    if (which == 5)
        run_large(engine, a);
    for (uint64_t e = 2; which > 0 && which < 5 && e < 8; e++) {
        epoch = begin(engine);
        put(epoch, a, e * 10, which == 4 ? 3000 : 20, MG_CHANGE_INSERT);
        if (which > 1)
            put(epoch, b, e, 5, MG_CHANGE_UPDATE);
        if (which > 2)
            put(epoch, a, e * 10 - 5, which == 4 ? 2000 : 7, MG_CHANGE_DELETE);
        publish(epoch, e);
    }
    if (which == 3) {
        epoch = begin(engine);
        change(epoch, (struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = wider});
        change(epoch, (struct mg_schema_change){.kind = MG_SCHEMA_DROP_TABLE, .table_id = 2});
        publish(epoch, 20);
        epoch = begin(engine);
        put(epoch, wider, 3, 30, MG_CHANGE_UPDATE);
        publish(epoch, 21);
    }
    mg_schema_unref(a);
    mg_schema_unref(b);
    mg_schema_unref(wider);
}

struct collected {
    struct mg_io *io;
    struct mg_buffer *out;
};

static enum mg_code collect_part(void *arg, const char *name, struct mg_error *err)
{
    struct collected *to = arg;
    char path[4096];
    unsigned segment_id;
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, 1 << 20);
    snprintf(path, sizeof path, "/store/parts/%s", name);
    if (sscanf(name, "%8x.part", &segment_id) != 1)
        return MG_OK;
    MG_TRY(mg_io_read_file(to->io, path, &bytes, err));
    MG_TRY(mg_buffer_append_le32(to->out, (uint32_t)(bytes.size + 4) | (uint32_t)1 << 31, err));
    MG_TRY(mg_buffer_append_le32(to->out, segment_id, err));
    MG_TRY(mg_buffer_append(to->out, bytes.data, bytes.size, err));
    mg_buffer_clear(&bytes);
    return MG_OK;
}

static void collect(struct mg_engine *engine, struct mg_buffer *out)
{
    struct mg_journal_cursor *cursor;
    struct mg_io *io = mg_magic__of(engine)->io;
    mg_buffer_init(out, 1 << 20);
    must(io->ops->list(io, "/store/parts", collect_part, &(struct collected){io, out}, err));
    must(mg_journal_cursor_open(mg_magic__of(engine)->journal, 1, &cursor, err));
    for (;;) {
        uint64_t seq;
        struct mg_slice bytes;
        if (mg_journal_cursor_next(cursor, &seq, &bytes, NULL) != MG_OK)
            break;
        must(mg_buffer_append_le32(out, (uint32_t)bytes.size, err));
        must(mg_buffer_append(out, bytes.data, bytes.size, err));
    }
    mg_journal_cursor_close(cursor);
}

static void write_input(const char *folder, const char *name, int number, const uint8_t *data, size_t size)
{
    char file[64];
    snprintf(file, sizeof file, "%s_%02d", name, number);
    corpus_write(folder, file, MG_SLICE(data, size), MG_SLICE(NULL, 0));
}

static void write_damaged(const char *folder, int which, const struct mg_buffer *whole)
{
    struct mg_random random;
    uint8_t *copy = malloc(whole->size);
    mg_random_init(&random, (uint64_t)which);
    for (int i = 0; i < 5; i++) {
        memcpy(copy, whole->data, whole->size);
        /* The numbers of a group stand near its start: damage the last one there, others anywhere. */
        size_t at = i < 2 ? mg_random_below(&random, whole->size)
                          : whole->size - 1 - mg_random_below(&random, whole->size / 2);
        copy[at] ^= (uint8_t)(1u << mg_random_below(&random, 8));
        write_input(folder, "flipped", which * 10 + i, copy, whole->size);
    }
    write_input(folder, "cut", which, whole->data, whole->size - 1 - mg_random_below(&random, whole->size / 3));
    free(copy);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "wal_corpus FOLDER\n");
        return 2;
    }
    for (int which = 0; which < 6; which++) {
        struct mg_io_fault *disk = mg_io_fault_new(1);
        struct mg_engine *engine;
        struct mg_buffer groups;
        struct mg_engine_options options = {
            .folder = "/store", .io = mg_io_fault_io(disk), .wal_segment_bytes = 1 << 20, .maintain_by_hand = true};
        options.stage_bytes = which == 5 ? 16384 : 0;
        must(ops->open(&options, &engine, err));
        run_history(engine, which);
        collect(engine, &groups);
        write_input(argv[1], "history", which, groups.data, groups.size);
        write_damaged(argv[1], which, &groups);
        mg_buffer_clear(&groups);
        ops->close(engine);
        mg_io_fault_free(disk);
    }
    write_input(argv[1], "empty", 0, NULL, 0);
    return 0;
}
