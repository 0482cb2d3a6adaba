/* rows_fuzz.c -- any bytes as a row image of any table: decoded all or nothing, and what is decoded is a sound batch.
 *
 * Input   u8 columns: count - 1 (low 4 bits), 80: the last one is the hidden row handle; u8 key columns - 1; per column
 *         u8 type (low 4 bits, 1 to 15), 40: not nullable, 80: a CHAR; u8 kind of row (0, 1, 4); the image. Column ids
 *         are 1, 2, ...
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "syncer/decoder/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program when a call on our own, sound input fails. */
static void must(enum mg_code code) { mg_assert(code == MG_OK); }

static struct mg_schema *read_schema(struct mg_reader *in)
{
    uint8_t head = mg_reader_u8(in), key = mg_reader_u8(in);
    uint32_t count = (head & 15) + 1;
    uint32_t key_count = head & 0x80 ? 1 : key % count + 1;
    struct mg_schema *schema = mg_schema_new();
    struct mg_column *column;
    char name[16];

    mg_assert(schema);
    must(mg_schema_text(&schema->database, mg_slice_text("d"), NULL));
    must(mg_schema_text(&schema->table, mg_slice_text("t"), NULL));
    schema->table_id = schema->version = 1;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t byte = mg_reader_u8(in);
        bool hidden = head & 0x80 && i == count - 1;
        must(mg_schema_add_column(schema, &column, NULL));
        snprintf(name, sizeof name, "c%u", i + 1);
        must(mg_schema_text(&column->name, mg_slice_text(name), NULL));
        must(mg_schema_text(&column->source_type, mg_slice_text(byte & 0x80 ? "char(9)" : "varchar(9)"), NULL));
        column->id = hidden ? MG_COLUMN_ROWID : (int64_t)i + 1;
        column->hidden = hidden;
        column->type.id = hidden ? MG_TYPE_INT64 : (byte & 15) ? (byte & 15) : MG_TYPE_UTF8;
        if (column->type.id == MG_TYPE_DECIMAL)
            column->type.precision = 30, column->type.scale = 10;
        if (column->type.id == MG_TYPE_UTF8)
            column->type.collation = MG_COLLATION_PAD_SPACE;
        bool in_key = head & 0x80 ? hidden : i < key_count;
        column->nullable = !in_key && !(byte & 0x40);
        if (in_key) /* the last columns first, so that order matters */
            schema->key_columns[head & 0x80 ? 0 : key_count - 1 - i] = i;
        struct mg_value zero = {.type = column->type};
        zero.text = column->type.id == MG_TYPE_UTF8 ? mg_slice_text("missing") : MG_SLICE(NULL, 0);
        if (column->type.id != MG_TYPE_UTF8)
            zero.d = 0;
        must(mg_schema_set_missing(column, &zero, NULL));
    }
    schema->key_count = key_count;
    must(mg_schema_seal(schema, NULL));
    return schema;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum mg_row_kind kinds[] = {MG_ROW_INSERT, MG_ROW_UPDATE, MG_ROW_DELETE};
    struct mg_reader in = mg_reader_of(MG_SLICE(data, size));
    struct mg_type types[16];
    struct mg_row_decoder *decoder;
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_error err = MG_ERROR_INIT;
    int64_t column_id = 0;

    struct mg_schema *schema = read_schema(&in);
    for (uint32_t i = 0; i < schema->column_count; i++)
        types[i] = schema->columns[i].type;
    must(mg_row_decoder_new(schema, &decoder, NULL));
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 26, NULL));
    enum mg_row_kind first = kinds[mg_reader_u8(&in) % 5 / 2];
    uint32_t rows = 0;
    /* The same bytes as each kind of row, twice: a decoder keeps nothing from one row to the next. */
    for (int i = 0; i < 6; i++) {
        enum mg_row_kind kind = i == 0 ? first : kinds[i % 3];
        struct mg_slice image = in.failed ? MG_SLICE(NULL, 0) : MG_SLICE(in.at, mg_reader_left(&in));
        enum mg_code code = mg_row_decode(decoder, kind, image, &builder, &column_id, &err);
        mg_assert(code == MG_OK || code == MG_PROTOCOL || code == MG_UNIMPLEMENTED ||
                  (code == MG_SCHEMA_CHANGED && column_id > 0));
        rows += code == MG_OK;
        bool whole;
        must(mg_row_decode_old(decoder, kind, image, &builder, &whole, NULL));
        rows += whole;
        for (uint32_t c = 0; c < schema->column_count; c++)
            mg_assert(mg_builder_rows(&builder, c) == rows);
    }
    must(mg_batch_builder_finish(&builder, rows, &batch, NULL));
    must(mg_batch_check(batch, NULL));
    mg_batch_unref(batch);
    mg_batch_builder_clear(&builder);
    mg_row_decoder_free(decoder);
    mg_schema_unref(schema);
    return 0;
}
