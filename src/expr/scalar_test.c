/* scalar_test.c -- arithmetic by example, under both rules: types of results, values, and what is an error.
 *
 * Expressions are written in reverse Polish: "price 2 *"; ~ is unary minus, !type a cast, 1.50 a decimal(3,2), 5e0 a
 * float, NULL an untyped NULL. Columns and what they hold stand in `columns`.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/random.h"
#include "base/testing.h"
#include "expr/scalar.h"
#include "expr/wide.h"

enum { ROWS = 3 }; /* the value, NULL, the value: where the key has none */

static const struct {
    const char *name, *value;
    struct mg_type type;
} columns[] = {
    {"i8", "127", {.id = MG_TYPE_INT8}},
    {"i16", "-32768", {.id = MG_TYPE_INT16}},
    {"i32", "2147483647", {.id = MG_TYPE_INT32}},
    {"i64", "9223372036854775807", {.id = MG_TYPE_INT64}},
    {"low", "-9223372036854775808", {.id = MG_TYPE_INT64}},
    {"five", "5", {.id = MG_TYPE_INT32}},
    {"zero", "0", {.id = MG_TYPE_INT32}},
    {"u8", "255", {.id = MG_TYPE_UINT8}},
    {"u32", "4294967295", {.id = MG_TYPE_UINT32}},
    {"u64", "18446744073709551615", {.id = MG_TYPE_UINT64}},
    {"f", "1.5", {.id = MG_TYPE_FLOAT32}},
    {"d", "1e308", {.id = MG_TYPE_FLOAT64}},
    {"price", "901.00", {.id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2}},
    {"tax", "-0.08", {.id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2}},
    {"none", "0.00", {.id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2}},
    {"wide", "99999999999999999999999999999999999999", {.id = MG_TYPE_DECIMAL, .precision = 38}},
    {"fine", "0.00000000000000000000000000000000000007", {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 38}},
    {"mid", "12345678901234567890.1234567890", {.id = MG_TYPE_DECIMAL, .precision = 30, .scale = 10}},
    {"name", "ada", {.id = MG_TYPE_UTF8}},
    {"day", "2026-01-02", {.id = MG_TYPE_DATE}},
};
enum { COLUMNS = MG_COUNT_OF(columns) };

static struct mg_schema *schema;
static struct mg_batch *batch;
static const struct mg_vector *vectors[COLUMNS];
static struct mg_arena arena;

static struct mg_value value_of(struct mg_type type, const char *text)
{
    struct mg_error err;
    struct mg_value v = {.type = type};

    if (type.id == MG_TYPE_DECIMAL)
        assert_ok(mg_decimal_parse(mg_slice_text(text), type.precision, type.scale, &v.d, &err));
    else if (type.id == MG_TYPE_FLOAT32 || type.id == MG_TYPE_FLOAT64)
        v.f = strtod(text, NULL);
    else if (type.id == MG_TYPE_UINT64)
        v.u = strtoull(text, NULL, 10);
    else if (type.id == MG_TYPE_UTF8)
        v.text = mg_slice_text(text);
    else
        v.i = strtoll(text, NULL, 10);
    return v;
}

static int set_up(void **state)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_type types[COLUMNS];

    mg_arena_init(&arena, 64 << 20);
    schema = mg_schema_new();
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("shop"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("items"), &err));
    for (int c = 0; c < COLUMNS; c++) {
        struct mg_column *column;
        assert_ok(mg_schema_add_column(schema, &column, &err));
        assert_ok(mg_schema_text(&column->name, mg_slice_text(columns[c].name), &err));
        column->id = c + 1;
        column->type = types[c] = columns[c].type;
        column->nullable = c > 0;
    }
    schema->key_count = 1;
    assert_ok(mg_schema_seal(schema, &err));
    assert_ok(mg_batch_builder_init(&builder, types, COLUMNS, NULL, 1 << 20, &err));
    for (uint32_t c = 0; c < COLUMNS; c++)
        for (uint32_t row = 0; row < ROWS; row++) {
            struct mg_value v = value_of(types[c], columns[c].value);
            if (row == 1)
                assert_ok(mg_builder_null(&builder, c, &err));
            else
                assert_ok(mg_builder_value(&builder, c, &v, &err));
        }
    assert_ok(mg_batch_builder_finish(&builder, ROWS, &batch, &err));
    mg_batch_builder_clear(&builder);
    for (uint32_t c = 0; c < COLUMNS; c++)
        vectors[c] = &batch->vectors[c];
    return 0;
}

static int tear_down(void **state)
{
    mg_batch_unref(batch);
    mg_schema_unref(schema);
    mg_arena_clear(&arena);
    return 0;
}

/* ---- expressions --------------------------------------------------------------------------------------------- */

static struct mg_type parse_type(const char *text)
{
    static const char *const names[] = {
        [MG_TYPE_INT8] = "int8",       [MG_TYPE_INT16] = "int16",   [MG_TYPE_INT32] = "int32",
        [MG_TYPE_INT64] = "int64",     [MG_TYPE_UINT64] = "uint64", [MG_TYPE_FLOAT32] = "float32",
        [MG_TYPE_FLOAT64] = "float64", [MG_TYPE_DATE] = "date"};
    unsigned precision, scale;

    if (sscanf(text, "decimal(%u,%u)", &precision, &scale) == 2)
        return (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    for (unsigned i = 0; i < MG_COUNT_OF(names); i++)
        if (names[i] && strcmp(names[i], text) == 0)
            return (struct mg_type){.id = (enum mg_type_id)i};
    fail_msg("no type is called %s", text);
    return (struct mg_type){0};
}

static struct mg_expr *literal(const char *token)
{
    struct mg_value v = {.is_null = strcmp(token, "NULL") == 0};
    const char *point = strchr(token, '.');

    if (strchr(token, 'e'))
        v = value_of((struct mg_type){.id = MG_TYPE_FLOAT64}, token);
    else if (point)
        v = value_of((struct mg_type){.id = MG_TYPE_DECIMAL,
                                      .precision = (uint8_t)(strlen(token) - 1),
                                      .scale = (uint8_t)strlen(point + 1)},
                     token);
    else if (!v.is_null)
        v = value_of((struct mg_type){.id = MG_TYPE_INT64}, token);
    return mg_expr_literal(&arena, &v);
}

static struct mg_expr *parse(const char *text)
{
    static const char operators[] = "+-*/~";
    struct mg_expr *stack[80];
    char copy[1024], *next;
    uint32_t depth = 0;

    snprintf(copy, sizeof copy, "%s", text);
    for (char *token = strtok_r(copy, " ", &next); token; token = strtok_r(NULL, " ", &next)) {
        const char *op = token[1] ? NULL : strchr(operators, token[0]);
        if (op) {
            uint32_t count = *op == '~' ? 1 : 2;
            depth -= count;
            stack[depth] = mg_expr_call(&arena, (enum mg_expr_op)(MG_EXPR_ADD + (op - operators)), &stack[depth],
                                        count);
            depth++;
        } else if (token[0] == '!') {
            stack[depth - 1] = mg_expr_call(&arena, MG_EXPR_CAST, &stack[depth - 1], 1);
            stack[depth - 1]->cast_type = parse_type(token + 1);
        } else if (strchr("0123456789N", token[0])) {
            stack[depth++] = literal(token);
        } else {
            stack[depth++] = mg_expr_column(&arena, mg_slice_text(token));
        }
    }
    assert_int_equal(depth, 1);
    return stack[0];
}

/* "type value", or the code's name; the middle row must be NULL. */
static const char *compute(enum mg_rules rules, const char *text)
{
    static char out[256];
    struct mg_error err = MG_ERROR_INIT;
    struct mg_scalar *scalar = NULL;
    struct mg_vector result;
    struct mg_buffer shown;
    char type[48];

    enum mg_code code = mg_scalar_bind(parse(text), schema, rules, &scalar, &err);
    if (code != MG_OK) {
        assert_true(err.text[0]);
        snprintf(out, sizeof out, "%s", mg_code_name(code));
        return out;
    }
    void *frame = aligned_alloc(16, mg_scalar_frame_bytes(scalar));
    code = mg_scalar_eval(scalar, vectors, ROWS, frame, &result, &err);
    if (code == MG_OK) {
        mg_buffer_init(&shown, 4096);
        mg_type_format(mg_scalar_type(scalar), type);
        struct mg_value value = mg_vector_value(&result, 0);
        assert_ok(mg_buffer_printf(&shown, &err, "%s ", mg_scalar_type(scalar).id ? type : "none"));
        assert_ok(mg_value_format(&value, &shown, &err));
        snprintf(out, sizeof out, "%.*s", (int)shown.size, (const char *)shown.data);
        assert_int_equal(mg_vector_is_null(&result, 0), mg_vector_is_null(&result, 2));
        mg_buffer_clear(&shown);
    } else {
        snprintf(out, sizeof out, "%s", mg_code_name(code));
    }
    free(frame);
    mg_scalar_free(scalar);
    return out;
}

struct sample {
    const char *text, *mysql, *spark;
};

static void expect(const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *mysql = compute(MG_RULES_MYSQL, samples[i].text);
        if (strcmp(mysql, samples[i].mysql) != 0)
            fail_msg("MySQL: %s gives %s, not %s", samples[i].text, mysql, samples[i].mysql);
        const char *spark = compute(MG_RULES_SPARK, samples[i].text);
        if (strcmp(spark, samples[i].spark) != 0)
            fail_msg("Spark: %s gives %s, not %s", samples[i].text, spark, samples[i].spark);
    }
}

static void integers(void **state)
{
    static const struct sample samples[] = {
        {"five 1 +", "int64 6", "int32 6"},
        {"i8 i8 +", "int64 254", "OUT_OF_RANGE"},
        {"i8 five *", "int64 635", "int32 635"},
        {"i16 ~", "int64 32768", "OUT_OF_RANGE"},
        {"i32 1 +", "int64 2147483648", "OUT_OF_RANGE"},
        {"i32 1 !int64 +", "int64 2147483648", "int64 2147483648"},
        {"i64 1 +", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"low 1 -", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"low ~", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"i64 five *", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"i64 low +", "int64 -1", "int64 -1"},
        {"five NULL +", "int64 NULL", "int32 NULL"},
        {"NULL ~", "int64 NULL", "int64 NULL"},
        /* unsigned: MySQL computes in BIGINT UNSIGNED, Spark sees the wider signed type */
        {"u8 five -", "uint64 250", "int32 250"},
        {"five u8 -", "OUT_OF_RANGE", "int32 -250"},
        {"u8 ~", "int64 -255", "int16 -255"},
        {"u32 u32 *", "uint64 18446744065119617025", "OUT_OF_RANGE"},
        {"u64 1 +", "OUT_OF_RANGE", "decimal(21,0) 18446744073709551616"},
        {"u64 ~", "OUT_OF_RANGE", "decimal(20,0) -18446744073709551615"},
        {"u64 u64 -", "uint64 0", "decimal(21,0) 0"},
        {"u64 u64 *", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"low u64 +", "uint64 9223372036854775807", "decimal(21,0) 9223372036854775807"},
    };
    expect(samples, MG_COUNT_OF(samples));
}

static void decimals(void **state)
{
    static const struct sample samples[] = {
        {"price tax +", "decimal(16,2) 900.92", "decimal(16,2) 900.92"},
        {"1 tax -", "decimal(16,2) 1.08", "decimal(16,2) 1.08"},
        {"price 1 tax - *", "decimal(31,4) 973.0800", "decimal(32,4) 973.0800"},
        {"price 1 tax - * 1 tax + *", "decimal(38,6) 895.233600", "decimal(38,6) 895.233600"},
        {"price ~", "decimal(15,2) -901.00", "decimal(15,2) -901.00"},
        {"price five *", "decimal(25,2) 4505.00", "decimal(26,2) 4505.00"},
        {"price 5 *", "decimal(16,2) 4505.00", "decimal(17,2) 4505.00"},
        {"price tax /", "decimal(21,6) -11262.500000", "decimal(33,18) -11262.500000000000000000"},
        {"price 7 /", "decimal(19,6) 128.714286", "decimal(19,6) 128.714286"},
        {"price none /", "decimal(21,6) NULL", "DIVIDE_BY_ZERO"},
        {"wide 1 +", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"wide wide -", "decimal(38,0) 0", "decimal(38,0) 0"},
        {"wide fine +", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"wide 3 * 3 /", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"fine fine *", "decimal(38,30) 0.000000000000000000000000000000",
         "decimal(38,37) 0.0000000000000000000000000000000000000"},
        {"fine 5 *", "decimal(38,30) 0.000000000000000000000000000000",
         "decimal(38,36) 0.000000000000000000000000000000000000"},
        {"mid mid *", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"mid tax *", "decimal(38,12) -987654312098765431.209876543120", "decimal(38,6) -987654312098765431.209877"},
        {"mid mid /", "decimal(38,14) 1.00000000000000", "decimal(38,8) 1.00000000"},
        {"wide fine /", "OUT_OF_RANGE", "OUT_OF_RANGE"},
        {"five i64 /", "decimal(14,4) 0.0000", "float64 5.421010862427522e-19"},
        {"five 2 /", "decimal(14,4) 2.5000", "float64 2.5"},
        {"2 3 /", "decimal(5,4) 0.6667", "float64 0.6666666666666666"},
        {"five zero /", "decimal(14,4) NULL", "DIVIDE_BY_ZERO"},
        {"NULL 0 /", "decimal(5,4) NULL", "float64 NULL"},
        {"i64 price +", "decimal(22,2) 9223372036854776708.00", "decimal(23,2) 9223372036854776708.00"},
        {"u64 price +", "decimal(23,2) 18446744073709552516.00", "decimal(23,2) 18446744073709552516.00"},
    };
    expect(samples, MG_COUNT_OF(samples));
}

static void floats(void **state)
{
    static const struct sample samples[] = {
        {"f f +", "float64 3", "float32 3"},
        {"f five *", "float64 7.5", "float64 7.5"},
        {"f f /", "float64 1", "float64 1"},
        {"f price -", "float64 -899.5", "float64 -899.5"},
        {"f u64 +", "float64 1.8446744073709552e+19", "float64 1.8446744073709552e+19"},
        {"d d +", "OUT_OF_RANGE", "float64 inf"},
        {"d 0e0 /", "float64 NULL", "DIVIDE_BY_ZERO"},
        {"d ~", "float64 -1e+308", "float64 -1e+308"},
        {"f ~", "float64 -1.5", "float32 -1.5"},
        {"f NULL +", "float64 NULL", "float64 NULL"},
    };
    expect(samples, MG_COUNT_OF(samples));
}

static void casts(void **state)
{
    static const struct sample samples[] = {
        {"i8 !int16", "int16 127", "int16 127"},
        {"i8 !int16 i8 +", "int64 254", "int16 254"},
        {"u32 !int64", "int64 4294967295", "int64 4294967295"},
        {"i64 !int32", "INVALID", "INVALID"},
        {"i64 !uint64", "INVALID", "INVALID"},
        {"i8 !decimal(10,2)", "decimal(10,2) 127.00", "decimal(10,2) 127.00"},
        {"i64 !decimal(20,2)", "INVALID", "INVALID"},
        {"price !decimal(20,5)", "decimal(20,5) 901.00000", "decimal(20,5) 901.00000"},
        {"price !decimal(15,3)", "INVALID", "INVALID"},
        {"price !float64", "float64 901", "float64 901"},
        {"price !int64", "INVALID", "INVALID"},
        {"f !float64", "float64 1.5", "float64 1.5"},
        {"d !float32", "INVALID", "INVALID"},
        {"7 !int64", "int64 7", "int64 7"},
        {"7 !decimal(5,2)", "decimal(5,2) 7.00", "decimal(5,2) 7.00"},
        {"NULL !decimal(5,2)", "decimal(5,2) NULL", "decimal(5,2) NULL"},
        {"day !int64", "INVALID", "INVALID"},
        {"i8 !date", "INVALID", "INVALID"},
        {"NULL !date", "INVALID", "INVALID"},
    };
    expect(samples, MG_COUNT_OF(samples));
}

static void what_is_refused(void **state)
{
    static const struct sample samples[] = {
        {"name", "utf8 ada", "utf8 ada"}, {"u8", "uint8 255", "int16 255"},      {"name 1 +", "INVALID", "INVALID"},
        {"day ~", "INVALID", "INVALID"},  {"nothing", "NOT_FOUND", "NOT_FOUND"},
    };
    struct mg_error err = MG_ERROR_INIT;
    struct mg_scalar *scalar;
    struct mg_expr *deep = parse("five"), *args[2];

    expect(samples, MG_COUNT_OF(samples));
    for (int i = 0; i < MG_EXPR_DEPTH_MAX; i++)
        deep = mg_expr_call(&arena, MG_EXPR_NEGATE, &deep, 1);
    assert_code(MG_TOO_BIG, mg_scalar_bind(deep, schema, MG_RULES_MYSQL, &scalar, &err));
    args[0] = args[1] = parse("five");
    struct mg_expr *condition = mg_expr_call(&arena, MG_EXPR_EQ, args, 2);
    assert_code(MG_INVALID, mg_scalar_bind(condition, schema, MG_RULES_MYSQL, &scalar, &err));
    struct mg_expr *lonely = mg_expr_call(&arena, MG_EXPR_ADD, args, 1);
    assert_code(MG_INVALID, mg_scalar_bind(lonely, schema, MG_RULES_MYSQL, &scalar, &err));
    struct mg_expr *many = parse("five");
    for (int i = 0; i < 9; i++)
        many = mg_expr_call(&arena, MG_EXPR_ADD, (struct mg_expr *[]){many, many}, 2);
    assert_code(MG_TOO_BIG, mg_scalar_bind(many, schema, MG_RULES_MYSQL, &scalar, &err));
}

/* (a * b + c) / b in 256 bits is a + round(c / b), whatever the digits. */
static void wide_numbers_round_trip(void **state)
{
    struct mg_random random;

    mg_random_init(&random, 1);
    for (int i = 0; i < 20000; i++) {
        mg_int128 a = (mg_int128)((unsigned __int128)mg_random_u64(&random) << 64 | mg_random_u64(&random));
        mg_int128 b = (mg_int128)((unsigned __int128)mg_random_u64(&random) << 64 | mg_random_u64(&random));
        a >>= mg_random_below(&random, 126) + 1;
        b >>= mg_random_below(&random, 126) + 1;
        b += b == 0;
        mg_int128 size = b < 0 ? -b : b, c = (mg_int128)mg_random_u64(&random) % size, back;
        struct mg_wide product = mg_wide_multiply(a, b), rest = mg_wide_of(a < 0 ? -c : c), sum;
        rest.is_negative = product.is_negative;
        assert_true(mg_wide_add(&product, &rest, &sum));
        mg_int128 up = (unsigned __int128)c * 2 >= (unsigned __int128)size;
        mg_int128 want = product.is_negative == (b < 0) ? a + up : a - up;
        assert_true(mg_wide_divide(&sum, b, &back));
        if (a != 0 && back != want)
            fail_msg("case %d", i);
    }
}

static void wide_numbers_scale(void **state)
{
    static const struct {
        const char *number;
        uint32_t up, down;
        const char *result;
    } samples[] = {
        {"1", 38, 38, "1"},      {"-15", 0, 1, "-2"},     {"14", 0, 1, "1"},
        {"4", 40, 41, "0"},      {"5", 40, 41, "1"},      {"-5", 37, 38, "-1"},
        {"499999", 30, 36, "0"}, {"500000", 30, 36, "1"}, {"123456789", 40, 42, "1234568"},
    };
    for (size_t i = 0; i < MG_COUNT_OF(samples); i++) {
        struct mg_wide v = mg_wide_of((mg_int128)strtoll(samples[i].number, NULL, 10));
        mg_int128 out = 0;
        assert_true(mg_wide_scale_up(&v, samples[i].up));
        assert_true(mg_wide_scale_down(&v, samples[i].down, &out));
        assert_int_equal((int64_t)out, strtoll(samples[i].result, NULL, 10));
    }
    struct mg_wide v = mg_wide_of(1);
    mg_int128 out;
    assert_true(mg_wide_scale_up(&v, 77));
    assert_false(mg_wide_scale_down(&v, 0, &out));
    assert_false(mg_wide_scale_up(&v, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(decimals),
        cmocka_unit_test(floats),
        cmocka_unit_test(casts),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(wide_numbers_round_trip),
        cmocka_unit_test(wide_numbers_scale),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
