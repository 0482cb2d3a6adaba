/* row_test.c -- row images into columns: handles, both halves of an update, what a row leaves out, what makes a table
 * fall out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"
#include "base/testing.h"
#include "syncer/decoder/row.h"

struct world {
    struct mg_schema *schema;
    struct mg_row_decoder *decoder;
    struct mg_batch_builder builder;
};

static struct mg_column *add_column(struct mg_schema *schema, int64_t id, const char *name, const char *source_type,
                                    enum mg_type_id type, bool nullable)
{
    struct mg_column *column;
    struct mg_error err;

    assert_ok(mg_schema_add_column(schema, &column, &err));
    column->id = id;
    column->type = (struct mg_type){.id = type};
    if (type == MG_TYPE_DECIMAL)
        column->type.precision = 10, column->type.scale = 2;
    if (type == MG_TYPE_UTF8)
        column->type.collation = MG_COLLATION_PAD_SPACE;
    column->nullable = nullable;
    column->hidden = id == MG_COLUMN_ROWID;
    assert_ok(mg_schema_text(&column->name, mg_slice_text(name), &err));
    assert_ok(mg_schema_text(&column->source_type, mg_slice_text(source_type), &err));
    return column;
}

static struct mg_schema *new_schema(void)
{
    struct mg_schema *schema = mg_schema_new();
    struct mg_error err;

    assert_non_null(schema);
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("d"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("t"), &err));
    assert_ok(mg_schema_text(&schema->source, mg_slice_text("tidb"), &err));
    schema->table_id = schema->version = 1;
    return schema;
}

static void set_key(struct mg_schema *schema, uint32_t count, const uint32_t *places)
{
    schema->key_count = count;
    memcpy(schema->key_columns, places, count * sizeof *places);
}

static void begin(struct world *world, struct mg_schema *schema)
{
    struct mg_error err;
    struct mg_type types[16];

    assert_ok(mg_schema_seal(schema, &err));
    for (uint32_t i = 0; i < schema->column_count; i++)
        types[i] = schema->columns[i].type;
    world->schema = schema;
    assert_ok(mg_row_decoder_new(schema, &world->decoder, &err));
    assert_ok(mg_batch_builder_init(&world->builder, types, schema->column_count, NULL, 1 << 20, &err));
}

static void end(struct world *world)
{
    mg_batch_builder_clear(&world->builder);
    mg_row_decoder_free(world->decoder);
    mg_schema_unref(world->schema);
}

static enum mg_code decode(struct world *world, enum mg_row_kind kind, const char *hex, struct mg_error *err)
{
    uint8_t bytes[256];
    size_t size = 0;
    int64_t column_id;
    unsigned byte;
    int used;

    for (; sscanf(hex, " %2x%n", &byte, &used) == 1; hex += used)
        bytes[size++] = (uint8_t)byte;
    uint32_t rows = mg_builder_rows(&world->builder, 0);
    enum mg_code code = mg_row_decode(world->decoder, kind, MG_SLICE(bytes, size), &world->builder, &column_id, err);
    for (uint32_t i = 0; i < world->schema->column_count; i++) /* all or nothing */
        assert_int_equal(mg_builder_rows(&world->builder, i), rows + (code == MG_OK));
    return code;
}

/* The decoded rows, values separated by commas, rows by semicolons. */
static const char *take(struct world *world)
{
    static char text[512];
    struct mg_error err;
    struct mg_batch *batch;
    struct mg_buffer out;

    mg_buffer_init(&out, sizeof text - 1);
    assert_ok(mg_batch_builder_finish(&world->builder, 0, &batch, &err));
    for (uint32_t r = 0; r < batch->row_count; r++) {
        for (uint32_t c = 0; c < batch->column_count; c++) {
            struct mg_value value = mg_vector_value(&batch->vectors[c], r);
            assert_ok(mg_value_format(&value, &out, &err));
            assert_ok(mg_buffer_append_u8(&out, c + 1 < batch->column_count ? ',' : ';', &err));
        }
    }
    mg_batch_unref(batch);
    memcpy(text, out.data, out.size);
    text[out.size] = 0;
    mg_buffer_clear(&out);
    return text;
}

/* id INT key, s VARCHAR, u INT UNSIGNED DEFAULT 9 (added later), n DECIMAL NOT NULL DEFAULT 0 */
static struct mg_schema *plain_schema(void)
{
    struct mg_error err;
    struct mg_schema *schema = new_schema();
    struct mg_value nine = {.type = {.id = MG_TYPE_UINT32}, .u = 9}, zero = {.type = {.id = MG_TYPE_DECIMAL}};
    zero.type.precision = 10, zero.type.scale = 2;
    add_column(schema, 1, "id", "int", MG_TYPE_INT32, false);
    add_column(schema, 2, "s", "varchar(10)", MG_TYPE_UTF8, true);
    assert_ok(mg_schema_set_missing(add_column(schema, 3, "u", "int unsigned", MG_TYPE_UINT32, true), &nine, &err));
    assert_ok(mg_schema_set_missing(add_column(schema, 5, "n", "decimal(10,2)", MG_TYPE_DECIMAL, false), &zero, &err));
    set_key(schema, 1, (uint32_t[]){0});
    return schema;
}

static void inserts_updates_deletes(void **state)
{
    struct world world;
    struct mg_error err;

    begin(&world, plain_schema());
    /* handle 5; column 2 'ab'; column 3 300; column 4, which was dropped */
    assert_ok(decode(&world, MG_ROW_INSERT, "08 0a 08 04 02 04 61 62 08 06 09 ac 02 08 08 00", &err));
    assert_ok(decode(&world, MG_ROW_INSERT, "08 0b 00", &err));       /* handle -6, nothing listed */
    assert_ok(decode(&world, MG_ROW_INSERT, "08 0c 08 06 00", &err)); /* NULL is not the default */
    assert_string_equal(take(&world), "5,ab,300,0.00;-6,NULL,9,0.00;6,NULL,NULL,0.00;");
    /* {1:5, 2:'ab'} -> {1:5, 2:'xyz'}: what neither half has is older than the column */
    assert_ok(decode(&world, MG_ROW_UPDATE, "08 02 08 0a 08 04 02 04 61 62 08 02 08 0a 08 04 02 06 78 79 7a", &err));
    assert_ok(decode(&world, MG_ROW_DELETE, "08 02 08 0a 08 04 02 04 61 62", &err));
    assert_string_equal(take(&world), "5,xyz,9,0.00;5,NULL,NULL,NULL;");
    end(&world);
}

static void images_that_are_none(void **state)
{
    static const struct {
        enum mg_row_kind kind;
        const char *hex;
        enum mg_code code;
    } bad[] = {
        {MG_ROW_INSERT, "", MG_PROTOCOL},
        {MG_ROW_INSERT, "08", MG_PROTOCOL},
        {MG_ROW_INSERT, "02 02 61", MG_PROTOCOL},                /* a text as an integer's handle */
        {MG_ROW_INSERT, "00 00", MG_PROTOCOL},                   /* NULL as a key */
        {MG_ROW_INSERT, "08 80 80 80 80 10 00", MG_PROTOCOL},    /* 2^31 into an INT */
        {MG_ROW_INSERT, "08 0a 08 04", MG_PROTOCOL},             /* an id without a value */
        {MG_ROW_INSERT, "08 0a 08 04 02 04 61", MG_PROTOCOL},    /* half a value */
        {MG_ROW_INSERT, "08 0a 09 02 00", MG_PROTOCOL},          /* an id of another flag */
        {MG_ROW_INSERT, "08 0a 08 04 08 02", MG_PROTOCOL},       /* a number as a text */
        {MG_ROW_INSERT, "08 0a 08 06 08 01", MG_PROTOCOL},       /* -1 into UNSIGNED */
        {MG_ROW_INSERT, "08 0a 08 04 00 08 04 00", MG_PROTOCOL}, /* a column twice */
        {MG_ROW_INSERT, "08 0a 08 0a 00", MG_PROTOCOL},          /* NULL in a NOT NULL column */
        {MG_ROW_INSERT, "08 0a 08 0c 00", MG_SCHEMA_CHANGED},    /* column 6: not seen yet */
        {MG_ROW_UPDATE, "08 02 08 0a 08 02 08 0a 08 0c 00 08 0c 00", MG_SCHEMA_CHANGED},
        {MG_ROW_UPDATE, "08 02 08 0a", MG_PROTOCOL},                      /* one half */
        {MG_ROW_UPDATE, "08 02 08 0a 08 04 00 08 02 08 0a", MG_PROTOCOL}, /* halves that differ */
        {MG_ROW_UPDATE, "08 04 00 08 04 00", MG_PROTOCOL},                /* no key */
        {MG_ROW_UPDATE, "", MG_PROTOCOL},
        {MG_ROW_DELETE, "08 04 00", MG_PROTOCOL}, /* no key */
    };
    struct world world;
    struct mg_error err;

    begin(&world, plain_schema());
    for (size_t i = 0; i < MG_COUNT_OF(bad); i++) {
        err = MG_ERROR_INIT;
        enum mg_code code = decode(&world, bad[i].kind, bad[i].hex, &err);
        if (code != bad[i].code)
            fail_msg("%s gives %s: %s", bad[i].hex, mg_code_name(code), err.text);
    }
    /* a deleted row's other columns do not matter, nor does an id that a finished job has shown */
    assert_ok(decode(&world, MG_ROW_DELETE, "08 02 08 0a 08 0c 00", &err));
    mg_row_decoder_show(world.decoder, 6);
    assert_ok(decode(&world, MG_ROW_INSERT, "08 0a 08 0c 00", &err));
    assert_string_equal(take(&world), "5,NULL,NULL,NULL;5,NULL,9,0.00;");
    end(&world);
}

static void hidden_handle(void **state)
{
    struct world world;
    struct mg_error err;
    struct mg_schema *schema = new_schema();

    add_column(schema, 1, "k", "varchar(3)", MG_TYPE_UTF8, true);
    add_column(schema, MG_COLUMN_ROWID, "_tidb_rowid", "bigint", MG_TYPE_INT64, false);
    set_key(schema, 1, (uint32_t[]){1});
    begin(&world, schema);
    assert_ok(decode(&world, MG_ROW_INSERT, "08 0e 08 02 02 02 6b", &err));
    assert_ok(decode(&world, MG_ROW_UPDATE, "08 02 02 02 6b 08 01 08 0e 08 02 00 08 01 08 0e", &err));
    assert_ok(decode(&world, MG_ROW_DELETE, "08 02 02 02 6b 08 01 08 0e", &err));
    assert_code(MG_PROTOCOL, decode(&world, MG_ROW_DELETE, "08 02 02 02 6b", &err));
    assert_string_equal(take(&world), "k,7;NULL,7;NULL,7;");
    end(&world);
}

static void unsigned_handle(void **state)
{
    struct world world;
    struct mg_error err;
    struct mg_schema *schema = new_schema();

    add_column(schema, 1, "id", "bigint unsigned", MG_TYPE_UINT64, false);
    set_key(schema, 1, (uint32_t[]){0});
    begin(&world, schema);
    assert_ok(decode(&world, MG_ROW_INSERT, "08 01 00", &err)); /* -1 */
    assert_ok(decode(&world, MG_ROW_DELETE, "08 02 09 ff ff ff ff ff ff ff ff ff 01", &err));
    assert_string_equal(take(&world), "18446744073709551615;18446744073709551615;");
    end(&world);
}

/* A clustered key (b CHAR, a INT, v VARCHAR, c DATE): CHAR, INT and DATE come with the handle, a VARCHAR's text in the
 * row. */
static void common_handle(void **state)
{
    struct world world;
    struct mg_error err;
    struct mg_schema *schema = new_schema();

    add_column(schema, 1, "a", "int", MG_TYPE_INT32, false);
    add_column(schema, 2, "b", "char(4)", MG_TYPE_UTF8, false);
    add_column(schema, 3, "v", "varchar(4)", MG_TYPE_UTF8, false);
    add_column(schema, 4, "c", "date", MG_TYPE_DATE, false);
    add_column(schema, 5, "z", "date", MG_TYPE_DATE, true);
    set_key(schema, 4, (uint32_t[]){1, 0, 2, 3});
    begin(&world, schema);
    assert_ok(
        decode(&world, MG_ROW_INSERT, "02 02 62 08 0a 02 02 76 09 80 80 80 80 80 c0 ae d9 19 08 06 02 04 76 20", &err));
    assert_string_equal(take(&world), "5,b,v ,2024-02-29,NULL;");
    /* the row's own value counts, where it has one */
    assert_ok(decode(&world, MG_ROW_INSERT,
                     "02 02 62 08 0a 02 02 76 09 80 80 80 80 80 c0 ae d9 19 08 06 02 04 76 20 08 04 02 04 62 63",
                     &err));
    assert_string_equal(take(&world), "5,bc,v ,2024-02-29,NULL;");
    /* without collations at the source, the text is in the handle only */
    assert_code(MG_UNIMPLEMENTED,
                decode(&world, MG_ROW_INSERT, "02 02 62 08 0a 02 02 76 09 80 80 80 80 80 c0 ae d9 19 00", &err));
    assert_non_null(strstr(err.text, "new_collation_enabled"));
    /* a zero or partial date would be NULL: in a key it cannot be kept, elsewhere it is counted */
    assert_code(MG_UNIMPLEMENTED, decode(&world, MG_ROW_INSERT, "02 02 62 08 0a 02 02 76 09 00 08 06 02 02 76", &err));
    assert_non_null(strstr(err.text, "zero or partial date"));
    uint64_t counted = mg_counted(decoder_zero_dates);
    assert_ok(
        decode(&world, MG_ROW_INSERT,
               "02 02 62 08 0a 02 02 76 09 80 80 80 80 80 c0 ae d9 19 08 06 02 02 76 08 0a 09 80 80 80 80 80 c0 80 "
               "d9 19",
               &err));
    assert_int_equal(mg_counted(decoder_zero_dates), counted + 1);
    assert_code(MG_PROTOCOL, decode(&world, MG_ROW_INSERT,
                                    "02 02 62 08 0a 02 02 76 09 ff ff ff ff ff ff ff ff ff 01 08 06 02 02 76", &err));
    assert_string_equal(take(&world), "5,b,v,2024-02-29,NULL;");
    end(&world);
}

static void old_rows(void **state)
{
    static const struct {
        enum mg_row_kind kind;
        const char *hex, *row; /* NULL: the image does not tell the whole row */
    } images[] = {
        {MG_ROW_UPDATE, "08 02 08 0a 08 04 02 04 61 62 08 02 08 0a 08 04 02 06 78 79 7a", "5,ab;"},
        {MG_ROW_DELETE, "08 02 08 0a 08 04 02 04 61 62", "5,ab;"},
        {MG_ROW_DELETE, "08 02 08 0a 08 12 00 08 04 00", "5,NULL;"}, /* column 9 was dropped, or comes */
        {MG_ROW_DELETE, "08 02 08 0a", NULL},
        {MG_ROW_DELETE, "08 02 00 08 04 00", NULL}, /* NULL in a NOT NULL column */
        {MG_ROW_DELETE, "08 02 08 0a 08 04 08 02", NULL},
        {MG_ROW_UPDATE, "08 02 08", NULL},
        {MG_ROW_INSERT, "08 0a 08 02 08 0a 08 04 00", NULL},
    };
    struct mg_schema *schema = new_schema();
    struct world world;
    struct mg_error err;

    add_column(schema, 1, "id", "int", MG_TYPE_INT32, false);
    add_column(schema, 2, "s", "varchar(10)", MG_TYPE_UTF8, true);
    set_key(schema, 1, (uint32_t[]){0});
    begin(&world, schema);
    for (size_t i = 0; i < MG_COUNT_OF(images); i++) {
        uint8_t bytes[64];
        size_t size = 0;
        unsigned byte;
        int used;
        bool whole;
        for (const char *hex = images[i].hex; sscanf(hex, " %2x%n", &byte, &used) == 1; hex += used)
            bytes[size++] = (uint8_t)byte;
        assert_ok(
            mg_row_decode_old(world.decoder, images[i].kind, MG_SLICE(bytes, size), &world.builder, &whole, &err));
        assert_int_equal(whole, images[i].row != NULL);
        assert_int_equal(mg_builder_rows(&world.builder, 0), whole);
        if (whole)
            assert_string_equal(take(&world), images[i].row);
    }
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inserts_updates_deletes), cmocka_unit_test(images_that_are_none),
        cmocka_unit_test(hidden_handle),           cmocka_unit_test(unsigned_handle),
        cmocka_unit_test(common_handle),           cmocka_unit_test(old_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
