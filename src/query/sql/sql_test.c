/* sql_test.c -- does the small SQL say what it should, and refuse the rest by name and place?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "query/sql/sql.h"

static struct mg_arena arena;

static int set_up(void **state)
{
    mg_arena_init(&arena, 64 << 20);
    return 0;
}
static int tear_down(void **state)
{
    mg_arena_clear(&arena);
    return 0;
}

static enum mg_code parse(const char *sql, struct mg_sql_statement *out, struct mg_error *err)
{
    *err = MG_ERROR_INIT;
    return mg_sql_parse(mg_slice_text(sql), &arena, out, err);
}

/* id BIGINT key, name VARCHAR pad space, price DECIMAL(12,2), born DATE, at TIMESTAMP(3), code VARCHAR binary */
static struct mg_schema *table(void)
{
    static const struct {
        const char *name;
        struct mg_type type;
    } columns[] = {{"id", {.id = MG_TYPE_INT64}},
                   {"name", {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE}},
                   {"price", {.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2}},
                   {"born", {.id = MG_TYPE_DATE}},
                   {"at", {.id = MG_TYPE_TIMESTAMP, .precision = 3}},
                   {"code", {.id = MG_TYPE_UTF8}}};
    struct mg_schema *schema = mg_schema_new();
    struct mg_column *column;

    assert_int_equal(mg_schema_text(&schema->database, mg_slice_text("shop"), NULL), MG_OK);
    assert_int_equal(mg_schema_text(&schema->table, mg_slice_text("goods"), NULL), MG_OK);
    schema->table_id = schema->version = 1;
    for (size_t i = 0; i < MG_COUNT_OF(columns); i++) {
        assert_int_equal(mg_schema_add_column(schema, &column, NULL), MG_OK);
        assert_int_equal(mg_schema_text(&column->name, mg_slice_text(columns[i].name), NULL), MG_OK);
        column->id = (int64_t)i + 1;
        column->type = columns[i].type;
        column->nullable = i > 0;
    }
    schema->key_count = 1;
    assert_int_equal(mg_schema_seal(schema, NULL), MG_OK);
    return schema;
}

static void selects_are_read(void **state)
{
    struct mg_sql_statement s;
    struct mg_error err;

    assert_int_equal(parse("select * from t", &s, &err), MG_OK);
    assert_true(s.all_columns && s.kind == MG_SQL_SELECT && !s.has_limit && !s.where);
    assert_int_equal(parse(" SELECT a, `b``c`, t.d /* three */ FROM `d b`.t -- end\n LIMIT 7 ;", &s, &err), MG_OK);
    assert_int_equal(s.column_count, 3);
    assert_true(mg_slice_equal(s.columns[1], mg_slice_text("b`c")));
    assert_true(mg_slice_equal(s.columns[2], mg_slice_text("d")));
    assert_true(mg_slice_equal(s.database, mg_slice_text("d b")));
    assert_true(s.has_limit && s.limit == 7);
    assert_int_equal(parse("SELECT a FROM t LIMIT 0", &s, &err), MG_OK);
    assert_true(s.has_limit && s.limit == 0);
    assert_int_equal(parse("show tables from shop", &s, &err), MG_OK);
    assert_true(s.kind == MG_SQL_SHOW_TABLES && mg_slice_equal(s.database, mg_slice_text("shop")));
    assert_int_equal(parse("SHOW DATABASES;", &s, &err), MG_OK);
    assert_true(s.kind == MG_SQL_SHOW_DATABASES);
}

/* Each condition, and how the tree prints. */
static void conditions_are_read(void **state)
{
    static const char *const same[][2] = {
        {"a = 1 AND b < 2 OR NOT c >= 3", "a = 1 and b < 2 or not c >= 3"},
        {"a=1 && (b<2 || c>=3)", "a = 1 AND (b < 2 OR c >= 3)"},
        {"a IN (1, -2, NULL)", "a in(1,-2,null)"},
        {"a NOT BETWEEN 1 AND 2 AND b IS NOT NULL", "NOT (a BETWEEN 1 AND 2) AND b IS NOT NULL"},
        {"a <> 'it''s'", "a != \"it's\""},
        {"a = 'tab\\there'", "a = 'tab\there'"},
        {"a = 0x4142", "a = X'4142'"},
        {"a <=> NULL", "(a) <=> NULL"},
    };
    struct mg_sql_statement s;
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(same) - 1; i++) {
        struct mg_buffer shown[2];
        for (int side = 0; side < 2; side++) {
            char *sql = mg_arena_printf(&arena, "SELECT * FROM t WHERE %s", same[i][side]);
            enum mg_code code = parse(sql, &s, &err);
            if (code != MG_OK)
                fail_msg("%s: %s", sql, err.text);
            mg_buffer_init(&shown[side], 4096);
            assert_int_equal(mg_expr_format(s.where, &shown[side], NULL), MG_OK);
            assert_int_equal(mg_buffer_append_u8(&shown[side], 0, NULL), MG_OK);
        }
        assert_string_equal((char *)shown[0].data, (char *)shown[1].data);
        mg_buffer_clear(&shown[0]);
        mg_buffer_clear(&shown[1]);
    }
}

static void literals_keep_their_value(void **state)
{
    struct mg_sql_statement s;
    struct mg_error err;

    assert_int_equal(parse("SELECT * FROM t WHERE a = -9223372036854775808", &s, &err), MG_OK);
    assert_true(s.where->args[1]->literal.type.id == MG_TYPE_INT64 && s.where->args[1]->literal.i == INT64_MIN);
    assert_int_equal(parse("SELECT * FROM t WHERE a = 18446744073709551615", &s, &err), MG_OK);
    assert_true(s.where->args[1]->literal.type.id == MG_TYPE_UINT64 && s.where->args[1]->literal.u == UINT64_MAX);
    assert_int_equal(parse("SELECT * FROM t WHERE a = -0.125", &s, &err), MG_OK);
    assert_true(s.where->args[1]->literal.type.id == MG_TYPE_DECIMAL && s.where->args[1]->literal.type.scale == 3 &&
                s.where->args[1]->literal.d == -125);
    assert_int_equal(parse("SELECT * FROM t WHERE a = 1.5e3", &s, &err), MG_OK);
    assert_true(s.where->args[1]->literal.type.id == MG_TYPE_FLOAT64 && s.where->args[1]->literal.f == 1500);
    assert_int_equal(parse("SELECT * FROM t WHERE a = 99999999999999999999999999999999999999", &s, &err), MG_OK);
    assert_int_equal(s.where->args[1]->literal.type.precision, 38);
    assert_int_equal(parse("SELECT * FROM t WHERE a = 999999999999999999999999999999999999999", &s, &err), MG_INVALID);
}

/* Text, code, a part of the message. */
static void the_rest_is_refused_by_name(void **state)
{
    static const struct {
        const char *sql;
        enum mg_code code;
        const char *says;
    } cases[] = {
        {"", MG_INVALID, "empty"},
        {"INSERT INTO t VALUES (1)", MG_UNIMPLEMENTED, "INSERT"},
        {"SELECT COUNT(*) FROM t", MG_UNIMPLEMENTED, "functions"},
        {"SELECT 1", MG_UNIMPLEMENTED, "expressions"},
        {"SELECT a+1 FROM t", MG_UNIMPLEMENTED, "line 1, column 9"},
        {"SELECT a FROM t, u", MG_UNIMPLEMENTED, "joins belong to the calculator"},
        {"SELECT a FROM t JOIN u", MG_UNIMPLEMENTED, "joins belong to the calculator"},
        {"SELECT a FROM t\n  GROUP BY a", MG_UNIMPLEMENTED, "line 2, column 3"},
        {"SELECT a FROM t ORDER BY a", MG_UNIMPLEMENTED, "ORDER"},
        {"SELECT a FROM (SELECT 1)", MG_UNIMPLEMENTED, "subqueries"},
        {"SELECT a FROM t WHERE a LIKE 'x'", MG_UNIMPLEMENTED, "LIKE"},
        {"SELECT a FROM t WHERE a + 1 = 2", MG_UNIMPLEMENTED, "arithmetic"},
        {"SELECT a FROM t WHERE lower(a) = 'x'", MG_UNIMPLEMENTED, "functions"},
        {"SELECT a FROM t LIMIT 1, 2", MG_UNIMPLEMENTED, "OFFSET"},
        {"SELECT a FROM t WHERE a = 'x", MG_INVALID, "never closed"},
        {"SELECT a FROM t WHERE a =", MG_INVALID, "ends where"},
        {"SELECT a FROM t WHERE a IN ()", MG_INVALID, "a literal"},
        {"SELECT a FROM t WHERE", MG_INVALID, "ends where"},
        {"SELECT a FROM t; SELECT b FROM t", MG_INVALID, "one statement"},
        {"SELECT a FROM t \x01", MG_INVALID, "01"},
        {"SELECT a FROM t LIMIT 99999999999999999999", MG_INVALID, "row count"},
        {"SHOW STATUS", MG_UNIMPLEMENTED, "SHOW TABLES"},
        {"SELECT a FROM t /* x", MG_INVALID, "comment"},
        {"SELECT a FROM t WHERE a = 0x123", MG_INVALID, "even"},
        {"SELECT a.b FROM t a JOIN u", MG_UNIMPLEMENTED, "joins belong to the calculator"},
        {"SELECT b FROM t AS a, u", MG_UNIMPLEMENTED, "joins belong to the calculator"},
        {"SELECT b FROM t a WHERE 1 = 1", MG_UNIMPLEMENTED, "line 1, column 17: this version's SQL has no aliases"},
        {"SELECT u.b FROM t", MG_INVALID, "line 1, column 8: u is not the table"},
        {"SELECT b FROM d.t WHERE e.t.b = 1", MG_INVALID, "line 1, column 25"},
        {"SELECT a.b.c.d FROM t", MG_INVALID, "one table"},
        {"SELECT b FROM t WHERE !b = 1", MG_UNIMPLEMENTED, "write NOT"},
        {"SELECT /*! b */ FROM t", MG_UNIMPLEMENTED, "/*!"},
        {"SELECT b FROM t WHERE b = DATE'2024-02-30'", MG_INVALID, "no date"},
        {"SELECT b FROM t WHERE b = DATE'2024-02-28 00:00:00'", MG_INVALID, "no date"},
        {"SELECT b FROM t WHERE b = TIMESTAMP'x'", MG_INVALID, "no timestamp"},
        {"SELECT b FROM t LIMIT 5 FOR UPDATE", MG_UNIMPLEMENTED, "FOR"},
    };
    struct mg_sql_statement s;
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        enum mg_code code = parse(cases[i].sql, &s, &err);
        if (code != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %s: %s", cases[i].sql, mg_code_name(code), err.text);
    }
}

static void nesting_and_length_are_bounded(void **state)
{
    struct mg_sql_statement s;
    struct mg_error err;
    struct mg_buffer sql;

    mg_buffer_init(&sql, 32 << 20);
    assert_int_equal(mg_buffer_printf(&sql, NULL, "SELECT * FROM t WHERE "), MG_OK);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(mg_buffer_append(&sql, "(", 1, NULL), MG_OK);
    assert_int_equal(mg_sql_parse(mg_buffer_slice(&sql), &arena, &s, &err), MG_TOO_BIG);
    mg_buffer_reset(&sql);
    assert_int_equal(mg_buffer_printf(&sql, NULL, "SELECT * FROM t WHERE a = 0"), MG_OK);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(mg_buffer_printf(&sql, NULL, " OR a = %d", i), MG_OK);
    assert_int_equal(mg_sql_parse(mg_buffer_slice(&sql), &arena, &s, &err), MG_OK);
    assert_int_equal(s.where->arg_count, 20001);
    mg_buffer_clear(&sql);
}

static void literals_fit_their_columns(void **state)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = table();
    struct mg_sql_statement s;
    struct mg_error err;

    assert_int_equal(parse("SELECT * FROM t WHERE name = 'x' AND code = 'y' AND born >= '1970-01-02' AND "
                           "at < '1970-01-01 00:00:01.5' AND id IN ('7', 8) AND price = '1.50'",
                           &s, &err),
                     MG_OK);
    assert_int_equal(mg_sql_bind(s.where, schema, &arena, &err), MG_OK);
    struct mg_expr **args = s.where->args;
    assert_true(args[0]->pad_space);
    assert_false(args[1]->pad_space);
    assert_true(args[2]->args[1]->literal.type.id == MG_TYPE_DATE && args[2]->args[1]->literal.i == 1);
    assert_true(args[3]->args[1]->literal.type.id == MG_TYPE_TIMESTAMP && args[3]->args[1]->literal.i == 1500000);
    assert_true(args[4]->args[1]->literal.type.id == MG_TYPE_INT64 && args[4]->args[1]->literal.i == 7);
    assert_true(args[5]->args[1]->literal.type.id == MG_TYPE_DECIMAL && args[5]->args[1]->literal.d == 150);
}

static void literals_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        const char *condition, *says;
        enum mg_code code;
    } cases[] = {
        {"id = 'seven'", "not a plain number", MG_INVALID},
        {"id = '7 '", "not a plain number", MG_INVALID},
        {"name = 7", "quotes", MG_INVALID},
        {"born = '2023-02-29'", "2024-02-29", MG_INVALID},
        {"born = '2023-02-28 25:00:00'", "2024-02-29", MG_INVALID},
        {"name = DATE'2023-02-28'", "quotes", MG_INVALID},
        {"id = DATE'2023-02-28'", "no number", MG_INVALID},
        {"at = '2023-02-28 23:00:00+14:01'", "2024-02-29", MG_INVALID},
        {"at = '2023-02-28 23:00:00.'", "2024-02-29", MG_INVALID},
        {"born = 20230228", "as text", MG_INVALID},
        {"at = '2023-02-28 24:00:00'", "2024-02-29", MG_INVALID},
        {"at = '2023-02-28 23:00:00.1234567'", "2024-02-29", MG_INVALID},
        {"nothing = 1", "has no column nothing", MG_NOT_FOUND},
        {"NOT (id = 1 OR nothing IS NULL)", "has no column nothing", MG_NOT_FOUND},
    };
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = table();
    struct mg_sql_statement s;
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        char *sql = mg_arena_printf(&arena, "SELECT * FROM t WHERE %s", cases[i].condition);
        assert_int_equal(parse(sql, &s, &err), MG_OK);
        enum mg_code code = mg_sql_bind(s.where, schema, &arena, &err);
        if (code != cases[i].code || !strstr(err.text, cases[i].says))
            fail_msg("%s: %s: %s", sql, mg_code_name(code), err.text);
    }
}

/* A condition on one column, and the literal's value: microseconds, or days for a date. */
static void times_are_read_in_utc(void **state)
{
    static const struct {
        const char *condition;
        enum mg_type_id type;
        int64_t value;
    } cases[] = {
        {"at = '1970-01-02'", MG_TYPE_TIMESTAMP, 86400000000},
        {"at = '1970-01-01T00:00:01'", MG_TYPE_TIMESTAMP, 1000000},
        {"at = '1970-01-01 00:00:01.2500000000'", MG_TYPE_TIMESTAMP, 1250000},
        {"at = '1970-01-01 02:00:00+02:00'", MG_TYPE_TIMESTAMP, 0},
        {"at = '1969-12-31 20:00:00.000001-04:00'", MG_TYPE_TIMESTAMP, 1},
        {"at = TIMESTAMP '1970-01-01 00:00:00.5'", MG_TYPE_DATETIME, 500000},
        {"born = DATE'1969-12-31'", MG_TYPE_DATE, -1},
        {"born = '1970-01-03 00:00:00'", MG_TYPE_DATE, 2},
        {"born < '1970-01-03 00:00:01'", MG_TYPE_DATETIME, 2 * 86400000000 + 1000000},
        {"born < '1970-01-01 01:00:00+02:00'", MG_TYPE_DATETIME, -3600000000},
    };
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = table();
    struct mg_sql_statement s;
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        char *sql = mg_arena_printf(&arena, "SELECT goods.id FROM shop.goods WHERE %s", cases[i].condition);
        if (parse(sql, &s, &err) != MG_OK || mg_sql_bind(s.where, schema, &arena, &err) != MG_OK)
            fail_msg("%s: %s", sql, err.text);
        const struct mg_value *literal = &s.where->args[1]->literal;
        if (literal->type.id != cases[i].type || literal->i != cases[i].value)
            fail_msg("%s: type %d, %lld", sql, (int)literal->type.id, (long long)literal->i);
    }
    assert_int_equal(parse("SELECT date, timestamp FROM t WHERE date = 1 AND t.timestamp < 2", &s, &err), MG_OK);
}

static void long_lists_of_text_take_little_memory(void **state)
{
    enum { ITEMS = 50000 };
    struct mg_sql_statement s;
    struct mg_error err;
    struct mg_buffer sql;

    mg_buffer_init(&sql, 8 << 20);
    assert_int_equal(mg_buffer_printf(&sql, NULL, "SELECT * FROM t WHERE a IN ('x'"), MG_OK);
    for (int i = 1; i < ITEMS; i++)
        assert_int_equal(mg_buffer_printf(&sql, NULL, ",'it''s \\n %d'", i), MG_OK);
    assert_int_equal(mg_buffer_append(&sql, ")", 1, NULL), MG_OK);
    assert_int_equal(mg_sql_parse(mg_buffer_slice(&sql), &arena, &s, &err), MG_OK);
    assert_int_equal(s.where->arg_count, ITEMS + 1);
    mg_buffer_clear(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(selects_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(conditions_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(literals_keep_their_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rest_is_refused_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nesting_and_length_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(literals_fit_their_columns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(literals_that_do_not_fit_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_are_read_in_utc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lists_of_text_take_little_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("sql", tests, NULL, NULL);
}
