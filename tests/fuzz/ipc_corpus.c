/* ipc_corpus.c -- makes inputs of tests/fuzz/corpus/ipc: what Magic itself sends, whole, cut and damaged. What others
 * send comes from ipc_corpus.py. Repeatable.
 *
 * Usage: ipc_corpus FOLDER
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "column/ipc.h"

enum { TYPES = 15 };

static const char *folder;
static struct mg_type types[TYPES];
static struct mg_field fields[TYPES];
static char names[TYPES][48];

static void must(enum mg_code code, const struct mg_error *err)
{
    if (code == MG_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static void write_input(const char *name, uint8_t kind, struct mg_slice bytes)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fputc(kind, file) == EOF || fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file)) {
        perror(path);
        exit(1);
    }
}

static void set_up_fields(void)
{
    for (uint32_t i = 0; i < TYPES; i++) {
        types[i] = (struct mg_type){.id = i + 1};
        if (types[i].id == MG_TYPE_DECIMAL)
            types[i] = (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2};
        if (types[i].id == MG_TYPE_DATETIME || types[i].id == MG_TYPE_TIMESTAMP)
            types[i].precision = 6;
        mg_type_format(types[i], names[i]);
        fields[i] = (struct mg_field){.name = mg_slice_text(names[i]),
                                      .type = types[i],
                                      .nullable = true,
                                      .source_type = mg_slice_text(i % 4 ? "" : "int unsigned")};
    }
}

static struct mg_batch *make_batch(const struct mg_type *batch_types, uint32_t count, uint32_t row_count, bool nulls)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *batch = NULL;

    must(mg_batch_builder_init(&builder, batch_types, count, NULL, SIZE_MAX, &err), &err);
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t c = 0; c < count; c++) {
            struct mg_value v = {.type = batch_types[c], .is_null = nulls && (row + c) % 3 == 0};
            switch (batch_types[c].id) {
            case MG_TYPE_UTF8: v.text = MG_SLICE("abcdefgh", row % 9); break;
            case MG_TYPE_DECIMAL: v.d = -(mg_int128)row * 1001; break;
            case MG_TYPE_FLOAT32:
            case MG_TYPE_FLOAT64: v.f = row * 0.25; break;
            default: v.i = row;
            }
            must(mg_builder_value(&builder, c, &v, &err), &err);
        }
    must(mg_batch_builder_finish(&builder, row_count, &batch, &err), &err);
    mg_batch_builder_clear(&builder);
    return batch;
}

/* The schema of the first `count` fields from `first` on, and batches of them. */
static void make_stream(struct mg_buffer *out, uint32_t first, uint32_t count, const uint32_t *row_counts,
                        uint32_t batch_count, bool nulls)
{
    struct mg_error err = MG_ERROR_INIT;

    mg_buffer_reset(out);
    must(mg_ipc_stream_begin(fields + first, count, out, &err), &err);
    for (uint32_t i = 0; i < batch_count; i++) {
        struct mg_batch *batch = make_batch(types + first, count, row_counts[i], nulls);
        must(mg_ipc_stream_batch(batch, out, &err), &err);
        mg_batch_unref(batch);
    }
    must(mg_ipc_stream_end(out, &err), &err);
}

static void write_streams(struct mg_buffer *out)
{
    char name[64];

    make_stream(out, 0, TYPES, (uint32_t[]){9, 0, 1}, 3, true);
    write_input("stream-all", 0, mg_buffer_slice(out));
    for (int part = 1; part < 8; part++) {
        snprintf(name, sizeof name, "stream-cut-%d", part);
        write_input(name, 0, MG_SLICE(out->data, out->size * (size_t)part / 8));
    }
    for (uint32_t i = 0; i < 8; i++) {
        make_stream(out, 0, TYPES, (uint32_t[]){9}, 1, i & 1);
        size_t at = 8 + out->size * i / 8;
        mg_store_le32(out->data + at, i & 2 ? UINT32_MAX : 4);
        snprintf(name, sizeof name, "stream-damaged-%u", i);
        write_input(name, 0, mg_buffer_slice(out));
    }
    for (uint32_t i = 0; i < TYPES; i++) {
        make_stream(out, i, 1, (uint32_t[]){3, 0}, 2, i & 1);
        snprintf(name, sizeof name, "stream-type-%u", i + 1);
        write_input(name, 0, mg_buffer_slice(out));
    }
    make_stream(out, 0, 0, (uint32_t[]){1000}, 1, false);
    write_input("stream-no-columns", 0, mg_buffer_slice(out));
    make_stream(out, 0, 3, NULL, 0, false);
    write_input("stream-no-batches", 0, mg_buffer_slice(out));
}

static void write_schemas(struct mg_buffer *out)
{
    struct mg_error err = MG_ERROR_INIT;

    mg_buffer_reset(out);
    must(mg_ipc_encode_schema(fields, 4, false, out, &err), &err);
    write_input("schema-bare", 1, mg_buffer_slice(out));
    mg_buffer_reset(out);
    must(mg_ipc_encode_schema(fields + 8, 7, true, out, &err), &err);
    write_input("schema-encapsulated", 1, mg_buffer_slice(out));
    write_input("schema-old-prefix", 1, MG_SLICE(out->data + 4, out->size - 4));
}

static void write_batches(struct mg_buffer *out)
{
    static const struct mg_type three[] = {
        {.id = MG_TYPE_INT32}, {.id = MG_TYPE_UTF8}, {.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2}};
    struct mg_error err = MG_ERROR_INIT;
    struct iovec pieces[3 * MG_IPC_PIECES_PER_COLUMN];
    struct mg_arena scratch;
    uint32_t piece_count = 0;
    uint64_t body_size = 0;

    mg_arena_init(&scratch, 1 << 20);
    for (uint32_t rows = 0; rows <= 8; rows += 4) {
        char name[64];
        struct mg_batch *batch = make_batch(three, 3, rows, false);
        mg_buffer_reset(out);
        must(mg_buffer_append_zeros(out, 2, &err), &err);
        must(mg_ipc_encode_batch(batch, false, out, &scratch, pieces, &piece_count, &body_size, &err), &err);
        mg_store_le16(out->data, (uint16_t)(out->size - 2));
        for (uint32_t i = 0; i < piece_count; i++)
            must(mg_buffer_append(out, pieces[i].iov_base, pieces[i].iov_len, &err), &err);
        snprintf(name, sizeof name, "batch-%u-rows", rows);
        write_input(name, 2, mg_buffer_slice(out));
        mg_batch_unref(batch);
    }
    mg_arena_clear(&scratch);
}

int main(int argc, char **argv)
{
    struct mg_buffer out;

    if (argc != 2) {
        fprintf(stderr, "usage: ipc_corpus FOLDER\n");
        return 2;
    }
    folder = argv[1];
    set_up_fields();
    mg_buffer_init(&out, 1 << 20);
    write_streams(&out);
    write_schemas(&out);
    write_batches(&out);
    mg_buffer_clear(&out);
    return 0;
}
