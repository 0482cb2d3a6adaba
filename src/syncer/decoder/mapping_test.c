/* mapping_test.c -- TableInfo JSON to schemas: types, keys, first defaults, and why a table cannot be kept.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "syncer/decoder/mapping.h"

/* A table of one INT key and the given columns; extra goes into the TableInfo. */
static struct mg_schema *map(const char *columns, const char *extra)
{
    static char json[8192];
    struct mg_arena arena;
    struct mg_tidb_table *tables;
    struct mg_schema *schema;
    struct mg_error err;
    uint32_t count;

    snprintf(json, sizeof json,
             "[{\"id\":106,\"name\":{\"O\":\"T1\",\"L\":\"t1\"},%s,\"max_col_id\":40,\"cols\":["
             "{\"id\":1,\"name\":{\"O\":\"id\",\"L\":\"id\"},\"state\":5,\"type\":{\"Tp\":3,\"Flag\":4099,\"Flen\":11,"
             "\"Decimal\":0,\"Charset\":\"binary\",\"Collate\":\"binary\"}}%s%s]}]",
             extra, *columns ? "," : "", columns);
    mg_arena_init(&arena, 1 << 20);
    assert_ok(mg_tidb_tables_read(mg_slice_text(json), &arena, &tables, &count, &err));
    assert_int_equal(count, 1);
    assert_ok(mg_tidb_schema(&tables[0], "Db", &schema, &err));
    mg_arena_clear(&arena); /* the schema has copies */
    assert_string_equal(schema->database, "Db");
    assert_string_equal(schema->table, "T1");
    assert_int_equal(schema->source_id, 106);
    schema->table_id = schema->version = 1;
    assert_ok(mg_schema_seal(schema, &err));
    return schema;
}

/* One column: {id 2, name "c", Tp, Flag, Flen, Decimal, Charset, Collate, origin_default}. */
static const char *column(int type, unsigned flags, int length, int decimals, const char *charset,
                          const char *collation, const char *origin)
{
    static char json[1024];
    snprintf(json, sizeof json,
             "{\"id\":2,\"name\":{\"O\":\"c\",\"L\":\"c\"},\"state\":5,\"origin_default\":%s,\"type\":{\"Tp\":%d,"
             "\"Flag\":%u,"
             "\"Flen\":%d,\"Decimal\":%d,\"Charset\":\"%s\",\"Collate\":\"%s\"}}",
             origin, type, flags, length, decimals, charset, collation);
    return json;
}

static const char *const int_key = "\"pk_is_handle\":true";

static void check_type(int type, unsigned flags, int length, int decimals, const char *charset, const char *want_type,
                       const char *want_source)
{
    struct mg_schema *schema = map(column(type, flags, length, decimals, charset, "utf8mb4_bin", "null"), int_key);
    char text[48];

    if (schema->state != MG_STATE_OK)
        fail_msg("%s: %s", want_source, schema->state_reason);
    mg_type_format(schema->columns[1].type, text);
    assert_string_equal(text, want_type);
    assert_string_equal(schema->columns[1].source_type, want_source);
    assert_true(schema->columns[1].nullable);
    mg_schema_unref(schema);
}

static void types(void **state)
{
    check_type(1, 0, 4, 0, "binary", "int8", "tinyint");
    check_type(1, 32, 3, 0, "binary", "uint8", "tinyint unsigned");
    check_type(2, 0, 6, 0, "binary", "int16", "smallint");
    check_type(2, 32, 6, 0, "binary", "uint16", "smallint unsigned");
    check_type(9, 0, 9, 0, "binary", "int32", "mediumint");
    check_type(9, 32, 9, 0, "binary", "uint32", "mediumint unsigned");
    check_type(3, 0, 11, 0, "binary", "int32", "int");
    check_type(3, 32, 10, 0, "binary", "uint32", "int unsigned");
    check_type(8, 0, 20, 0, "binary", "int64", "bigint");
    check_type(8, 32, 20, 0, "binary", "uint64", "bigint unsigned");
    check_type(4, 0, 12, -1, "binary", "float32", "float");
    check_type(5, 32, 22, -1, "binary", "float64", "double unsigned");
    check_type(246, 0, 38, 30, "binary", "decimal(38,30)", "decimal(38,30)");
    check_type(246, 32, 10, 0, "binary", "decimal(10,0)", "decimal(10,0) unsigned");
    check_type(10, 128, 10, 0, "binary", "date", "date");
    check_type(12, 128, 23, 3, "binary", "datetime(3)", "datetime(3)");
    check_type(7, 128, 19, 0, "binary", "timestamp", "timestamp");
    check_type(15, 0, 20, 0, "utf8mb4", "utf8", "varchar(20)");
    check_type(254, 0, 5, 0, "latin1", "utf8", "char(5)");
    check_type(252, 0, 65535, 0, "utf8", "utf8", "text");
    check_type(249, 0, 255, 0, "ascii", "utf8", "tinytext");
    check_type(250, 0, 16777215, 0, "gbk", "utf8", "mediumtext");
    check_type(251, 0, -1, 0, "utf8mb4", "utf8", "longtext");
}

static void check_unsupported(const char *columns, const char *extra, const char *reason)
{
    struct mg_schema *schema = map(columns, extra);
    assert_int_equal(schema->state, MG_STATE_UNSUPPORTED);
    assert_int_equal(schema->column_count, 0);
    if (!strstr(schema->state_reason, reason))
        fail_msg("the reason is \"%s\", not \"%s\"", schema->state_reason, reason);
    mg_schema_unref(schema);
}

static void types_that_are_not_kept(void **state)
{
    static const struct {
        int type, length, decimals;
        const char *charset, *name;
    } bad[] = {
        {246, 39, 0, "binary", "column c has type decimal(39,0)"},
        {246, 65, 30, "binary", "column c has type decimal(65,30)"},
        {11, 10, 2, "binary", "column c has type time(2)"},
        {13, 4, 0, "binary", "column c has type year"},
        {16, 9, 0, "binary", "column c has type bit(9)"},
        {225, -1, 0, "binary", "column c has type vector"},
        {245, -1, 0, "binary", "column c has type json"},
        {247, 1, 0, "utf8mb4", "column c has type enum"},
        {248, 1, 0, "utf8mb4", "column c has type set"},
        {15, 8, 0, "binary", "column c has type varbinary(8)"},
        {254, 8, 0, "binary", "column c has type binary(8)"},
        {252, 65535, 0, "binary", "column c has type blob"},
        {199, 1, 0, "binary", "column c has type type 199"},
    };
    for (size_t i = 0; i < MG_COUNT_OF(bad); i++)
        check_unsupported(column(bad[i].type, 0, bad[i].length, bad[i].decimals, bad[i].charset, "binary", "null"),
                          int_key, bad[i].name);
}

static void check_missing(int type, unsigned flags, int length, int decimals, const char *origin, const char *want)
{
    struct mg_schema *schema = map(
        column(type, flags, length, decimals, type > 14 && type < 246 ? "utf8mb4" : "binary", "utf8mb4_bin", origin),
        int_key);
    struct mg_buffer out;
    struct mg_error err;

    if (schema->state != MG_STATE_OK)
        fail_msg("%s: %s", origin, schema->state_reason);
    mg_buffer_init(&out, 256);
    assert_ok(mg_value_format(&schema->columns[1].missing, &out, &err));
    assert_ok(mg_buffer_append_u8(&out, 0, &err));
    assert_string_equal((char *)out.data, want);
    mg_buffer_clear(&out);
    mg_schema_unref(schema);
}

static void rows_without_a_column(void **state)
{
    check_missing(3, 0, 11, 0, "null", "NULL");
    check_missing(3, 1, 11, 0, "null", "0");
    check_missing(3, 0, 11, 0, "\"-7\"", "-7");
    check_missing(3, 0, 11, 0, "5", "5"); /* a number instead of its text */
    check_missing(8, 32, 20, 0, "\"18446744073709551615\"", "18446744073709551615");
    check_missing(8, 0, 20, 0, "\"-9223372036854775808\"", "-9223372036854775808");
    check_missing(246, 0, 10, 2, "\"1.5\"", "1.50");
    check_missing(246, 1, 10, 2, "null", "0.00");
    check_missing(5, 0, 22, -1, "\"0.25\"", "0.25");
    check_missing(15, 0, 20, 0, "\"d'f\"", "d'f");
    check_missing(15, 1, 20, 0, "null", "");
    check_missing(10, 0, 10, 0, "\"2020-02-02\"", "2020-02-02");
    check_missing(12, 0, 23, 3, "\"2020-02-02 02:02:02.222\"", "2020-02-02 02:02:02.222");
    check_missing(7, 0, 26, 6, "\"2038-01-19 03:14:07.999999\"", "2038-01-19 03:14:07.999999");
    check_missing(10, 1, 10, 0, "\"0000-00-00\"", "NULL");
    check_missing(12, 1, 19, 0, "\"0000-00-00 00:00:00\"", "NULL");
    check_missing(12, 1, 19, 0, "null", "NULL");
    check_unsupported(column(3, 0, 11, 0, "binary", "binary", "\"2147483648\""), int_key, "the default \"2147483648\"");
    check_unsupported(column(12, 0, 19, 0, "binary", "binary", "\"CURRENT_TIMESTAMP\""), int_key, "CURRENT_TIMESTAMP");
    check_unsupported(column(246, 0, 10, 2, "binary", "binary", "\"1.555\""), int_key, "1.555");
}

static const char *common(const char *columns)
{
    static char extra[1024];
    snprintf(
        extra, sizeof extra,
        "\"is_common_handle\":true,\"index_info\":[{\"is_primary\":false},{\"is_primary\":true,\"idx_cols\":[%s]}]",
        columns);
    return extra;
}

static void keys(void **state)
{
    struct mg_schema *schema = map("", int_key);
    assert_int_equal(schema->column_count, 1);
    assert_int_equal(schema->key_count, 1);
    assert_false(schema->columns[0].nullable);
    mg_schema_unref(schema);

    /* a primary key that is not clustered, or none: the source's row number */
    schema = map("", "\"pk_is_handle\":false");
    assert_int_equal(schema->column_count, 2);
    assert_int_equal(schema->columns[1].id, MG_COLUMN_ROWID);
    assert_string_equal(schema->columns[1].name, "_tidb_rowid");
    assert_true(schema->columns[1].hidden);
    assert_int_equal(schema->key_columns[0], 1);
    mg_schema_unref(schema);

    const char *text = column(15, 4097, 20, 0, "utf8mb4", "utf8mb4_bin", "null");
    schema = map(text, common("{\"offset\":1,\"length\":-1},{\"offset\":0,\"length\":-1}"));
    assert_int_equal(schema->key_count, 2);
    assert_int_equal(schema->key_columns[0], 1);
    assert_int_equal(schema->key_columns[1], 0);
    assert_int_equal(schema->columns[1].type.collation, MG_COLLATION_PAD_SPACE);
    mg_schema_unref(schema);

    check_unsupported(text, common("{\"offset\":1,\"length\":3}"), "first 3 characters of column c");
    const char *const bytewise[] = {"utf8mb4_bin", "utf8_bin", "latin1_bin", "ascii_bin", "utf8mb4_0900_bin"};
    for (size_t i = 0; i < MG_COUNT_OF(bytewise); i++) {
        schema = map(column(15, 4097, 20, 0, "utf8mb4", bytewise[i], "null"), common("{\"offset\":1,\"length\":-1}"));
        assert_int_equal(schema->state, MG_STATE_OK);
        assert_int_equal(schema->columns[1].type.collation, i == 4 ? MG_COLLATION_BINARY : MG_COLLATION_PAD_SPACE);
        mg_schema_unref(schema);
    }
    const char *const others[] = {"utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_0900_ai_ci", "gbk_bin"};
    for (size_t i = 0; i < MG_COUNT_OF(others); i++) {
        check_unsupported(column(15, 4097, 20, 0, "utf8mb4", others[i], "null"), common("{\"offset\":1,\"length\":-1}"),
                          others[i]);
        schema = map(column(15, 0, 20, 0, "utf8mb4", others[i], "null"), int_key); /* outside a key it is no matter */
        assert_int_equal(schema->state, MG_STATE_OK);
        mg_schema_unref(schema);
    }
}

static void columns_left_out(void **state)
{
    struct mg_schema *schema = map("{\"id\":2,\"name\":{\"O\":\"hidden\"},\"state\":2,\"type\":{\"Tp\":245}},"
                                   "{\"id\":3,\"name\":{\"O\":\"virtual\"},\"state\":5,\"generated_expr_string\":\"`a` "
                                   "+ 1\",\"type\":{\"Tp\":245}},"
                                   "{\"id\":4,\"name\":{\"O\":\"stored\"},\"state\":5,\"generated_expr_string\":\"`a` "
                                   "+ 1\",\"generated_stored\":true,"
                                   "\"type\":{\"Tp\":3,\"Flen\":11}}",
                                   int_key);
    assert_int_equal(schema->column_count, 2);
    assert_string_equal(schema->columns[1].name, "stored");
    mg_schema_unref(schema);

    schema = map("", "\"pk_is_handle\":true,\"ttl_info\":{\"enable\":true}");
    assert_int_equal(schema->state, MG_STATE_NEEDS_RELOAD);
    mg_schema_unref(schema);
    schema = map("", "\"pk_is_handle\":true,\"ttl_info\":{\"enable\":false}");
    assert_int_equal(schema->state, MG_STATE_OK);
    mg_schema_unref(schema);
}

static void answers_that_are_none(void **state)
{
    static const char no_column[] = "[{\"id\":5,\"name\":{\"O\":\"t\"},\"is_common_handle\":true,\"index_info\":"
                                    "[{\"is_primary\":true,\"idx_cols\":[{\"offset\":0}]}]}]";
    static const char *const bad[] = {"",
                                      "{",
                                      "[{]",
                                      "{}",
                                      "5",
                                      "[{\"id\":0,\"name\":{\"O\":\"t\"}}]",
                                      "[{\"id\":5}]",
                                      "[{\"id\":5,\"name\":{\"O\":\"t\"},\"cols\":[{\"id\":1}]}]",
                                      "[{\"id\":5,\"name\":{\"O\":\"t\"},\"is_common_handle\":true}]",
                                      no_column};
    struct mg_arena arena;
    struct mg_tidb_table *tables;
    struct mg_ddl_job *jobs;
    struct mg_tidb_database *databases;
    struct mg_error err;
    uint32_t count;

    mg_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < MG_COUNT_OF(bad); i++)
        assert_code(MG_PROTOCOL, mg_tidb_tables_read(mg_slice_text(bad[i]), &arena, &tables, &count, &err));
    assert_code(MG_PROTOCOL, mg_ddl_jobs_read(mg_slice_text("{}"), &arena, &jobs, &count, &err));
    assert_code(MG_PROTOCOL, mg_ddl_jobs_read(mg_slice_text("[{\"id\":0}]"), &arena, &jobs, &count, &err));
    assert_ok(mg_ddl_jobs_read(mg_slice_text("[{\"id\":7,\"binlog\":null}]"), &arena, &jobs, &count, &err));
    assert_int_equal(jobs[0].id, 7);
    assert_null(jobs[0].info);
    assert_code(MG_PROTOCOL, mg_tidb_databases_read(mg_slice_text("[{\"id\":1}]"), &arena, &databases, &count, &err));
    assert_ok(mg_tidb_tables_read(mg_slice_text("null"), &arena, &tables, &count, &err));
    assert_int_equal(count, 0);
    mg_arena_clear(&arena);
    mg_arena_init(&arena, 64); /* an arena that is too small */
    assert_code(MG_NO_MEMORY, mg_ddl_jobs_read(mg_slice_text("[{\"id\":7}]"), &arena, &jobs, &count, &err));
    mg_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types), cmocka_unit_test(types_that_are_not_kept), cmocka_unit_test(rows_without_a_column),
        cmocka_unit_test(keys),  cmocka_unit_test(columns_left_out),        cmocka_unit_test(answers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
