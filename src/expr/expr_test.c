/* expr_test.c -- what binding decides, by example: conversions of literals, constants, errors by name, text form, zone
 * maps, long lists. Random trees are in filter_test.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/testing.h"
#include "expr/expr_internal.h"

enum { COLUMNS = 9 };
enum { ID, SMALL, BIG, PRICE, RATE, DAY, AT, STAMP, NAME };

static struct mg_schema *schema;
static struct mg_arena arena;

static void add(const char *name, struct mg_type type)
{
    struct mg_error err;
    struct mg_column *column;

    assert_ok(mg_schema_add_column(schema, &column, &err));
    assert_ok(mg_schema_text(&column->name, mg_slice_text(name), &err));
    column->id = schema->column_count;
    column->type = type;
    column->nullable = schema->column_count > 1;
}

static int set_up(void **state)
{
    struct mg_error err;

    mg_arena_init(&arena, 256 << 20);
    schema = mg_schema_new();
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("shop"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("items"), &err));
    add("id", (struct mg_type){.id = MG_TYPE_INT32});
    add("small", (struct mg_type){.id = MG_TYPE_UINT8});
    add("big", (struct mg_type){.id = MG_TYPE_INT64});
    add("price", (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 10, .scale = 2});
    add("rate", (struct mg_type){.id = MG_TYPE_FLOAT64});
    add("day", (struct mg_type){.id = MG_TYPE_DATE});
    add("at", (struct mg_type){.id = MG_TYPE_DATETIME});
    add("stamp", (struct mg_type){.id = MG_TYPE_TIMESTAMP});
    add("name", (struct mg_type){.id = MG_TYPE_UTF8});
    schema->key_count = 1;
    assert_ok(mg_schema_seal(schema, &err));
    return 0;
}

static int tear_down(void **state)
{
    mg_schema_unref(schema);
    mg_arena_clear(&arena);
    return 0;
}

/* ---- short forms --------------------------------------------------------------------------------------------- */

static struct mg_expr *col(const char *name) { return mg_expr_column(&arena, mg_slice_text(name)); }
static struct mg_expr *lit(struct mg_value v) { return mg_expr_literal(&arena, &v); }
static struct mg_expr *number(int64_t v) { return lit((struct mg_value){.type = {.id = MG_TYPE_INT64}, .i = v}); }
static struct mg_expr *real(double v) { return lit((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = v}); }
static struct mg_expr *text(const char *v)
{
    return lit((struct mg_value){.type = {.id = MG_TYPE_UTF8}, .text = mg_slice_text(v)});
}
static struct mg_expr *decimal(mg_int128 v, uint8_t scale)
{
    return lit((struct mg_value){.type = {.id = MG_TYPE_DECIMAL, .precision = 20, .scale = scale}, .d = v});
}
static struct mg_expr *null(void) { return lit((struct mg_value){.is_null = true}); }
static struct mg_expr *call1(enum mg_expr_op op, struct mg_expr *a) { return mg_expr_call(&arena, op, &a, 1); }
static struct mg_expr *call2(enum mg_expr_op op, struct mg_expr *a, struct mg_expr *b)
{
    return mg_expr_call(&arena, op, (struct mg_expr *[]){a, b}, 2);
}
static struct mg_expr *call3(enum mg_expr_op op, struct mg_expr *a, struct mg_expr *b, struct mg_expr *c)
{
    return mg_expr_call(&arena, op, (struct mg_expr *[]){a, b, c}, 3);
}

static struct mg_predicate *bind(const struct mg_expr *expr)
{
    struct mg_error err;
    struct mg_predicate *predicate = NULL;

    assert_ok(mg_predicate_bind(expr, schema, &predicate, &err));
    return predicate;
}

/* The bound root is a range of that column, or its constant, or true where not NULL, or never true. */
static void assert_range(struct mg_expr *expr, uint32_t column, mg_int128 low, mg_int128 high)
{
    struct mg_predicate *predicate = bind(expr);

    assert_int_equal(predicate->root->kind, MG_NODE_RANGE);
    assert_int_equal(predicate->root->column, column);
    assert_true(predicate->root->range.low == low && predicate->root->range.high == high);
    mg_predicate_free(predicate);
}

static void assert_constant(struct mg_expr *expr, enum mg_expr__truth truth)
{
    struct mg_predicate *predicate = bind(expr);

    assert_int_equal(predicate->root->kind, MG_NODE_CONST);
    assert_int_equal(predicate->root->constant, truth);
    mg_predicate_free(predicate);
}

static void assert_where_not_null(struct mg_expr *expr, bool truth)
{
    struct mg_predicate *predicate = bind(expr);
    const struct mg_expr__node *node = predicate->root;

    if (!truth) {
        assert_int_equal(node->kind, MG_NODE_NOT);
        node = node->children[0];
    }
    assert_int_equal(node->kind, MG_NODE_ALWAYS);
    mg_predicate_free(predicate);
}

static void assert_refused(enum mg_code code, const struct mg_expr *expr, const char *words)
{
    struct mg_error err;
    struct mg_predicate *predicate = NULL;

    assert_code(code, mg_predicate_bind(expr, schema, &predicate, &err));
    if (!strstr(err.text, words))
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_null(predicate);
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void test_literals_become_ranges(void **state)
{
    assert_range(call2(MG_EXPR_EQ, col("ID"), number(5)), ID, 5, 5);
    assert_range(call2(MG_EXPR_LT, number(5), col("id")), ID, 6, INT32_MAX);
    assert_range(call2(MG_EXPR_LT, col("id"), real(1.5)), ID, INT32_MIN, 1);
    assert_range(call2(MG_EXPR_GE, col("id"), decimal(-15, 1)), ID, -1, INT32_MAX);
    assert_range(call2(MG_EXPR_EQ, col("id"), text("7")), ID, 7, 7);
    assert_range(call2(MG_EXPR_LE, col("id"), text("7.9e0")), ID, INT32_MIN, 7);
    assert_range(call2(MG_EXPR_EQ, col("price"), number(3)), PRICE, 300, 300);
    mg_int128 lowest, highest;
    mg_expr__domain(MG_TYPE_DECIMAL, &lowest, &highest);
    assert_range(call2(MG_EXPR_GT, col("price"), decimal(12345, 4)), PRICE, 124, highest);
    assert_range(call2(MG_EXPR_EQ, col("price"), real(0.1)), PRICE, 10, 10);
    assert_range(call2(MG_EXPR_EQ, col("day"), text("2026-11-21")), DAY, 20778, 20778);
    assert_range(call2(MG_EXPR_LE, col("day"), text("2026-11-21 12:00:00")), DAY, INT32_MIN, 20778);
    assert_range(call2(MG_EXPR_EQ, col("at"), text("1970-01-02")), AT, INT64_C(86400000000), INT64_C(86400000000));
    assert_range(call2(MG_EXPR_EQ, col("stamp"), text("1970-01-01T00:00:01.5Z")), STAMP, 1500000, 1500000);
    assert_range(call3(MG_EXPR_BETWEEN, col("id"), number(3), number(8)), ID, 3, 8);
    assert_range(call2(MG_EXPR_AND, call2(MG_EXPR_GT, col("id"), number(3)), call2(MG_EXPR_LT, col("id"), number(9))),
                 ID, 4, 8);
    assert_range(call3(MG_EXPR_IN, col("id"), number(4), number(3)), ID, 3, 4); /* no gap between them */
    assert_range(call2(MG_EXPR_IN, col("id"), number(4)), ID, 4, 4);
    /* 2^53 and its successor are one double: both equal it, as in MySQL and Spark. */
    assert_range(call2(MG_EXPR_EQ, col("big"), real(9007199254740992.0)), BIG, INT64_C(9007199254740992),
                 INT64_C(9007199254740993));
}

static void test_types_decide(void **state)
{
    assert_where_not_null(call2(MG_EXPR_EQ, col("id"), real(1.5)), false);
    assert_where_not_null(call2(MG_EXPR_NE, col("id"), decimal(15, 1)), true);
    assert_where_not_null(call2(MG_EXPR_LT, col("id"), number(INT64_C(1000000000000))), true);
    assert_where_not_null(call2(MG_EXPR_GT, col("small"), number(-1)), true);
    assert_where_not_null(call2(MG_EXPR_LT, col("small"), number(0)), false);
    assert_where_not_null(call2(MG_EXPR_LE, col("big"), real(NAN)), true);
    assert_where_not_null(call2(MG_EXPR_EQ, col("day"), text("2026-11-21 12:00")), false);
    assert_where_not_null(call3(MG_EXPR_BETWEEN, col("id"), number(8), number(3)), false);
    assert_where_not_null(
        call2(MG_EXPR_AND, call2(MG_EXPR_EQ, col("id"), number(3)), call2(MG_EXPR_EQ, col("id"), number(9))), false);
    assert_where_not_null(call2(MG_EXPR_IN, col("small"), number(300)), false);
    assert_constant(call2(MG_EXPR_EQ, col("id"), null()), MG_UNKNOWN);
    assert_constant(call1(MG_EXPR_IN, col("id")), MG_FALSE);
    assert_constant(call2(MG_EXPR_EQ, number(1), decimal(100, 2)), MG_TRUE);
    assert_constant(call2(MG_EXPR_EQ, text("10"), number(10)), MG_TRUE);
    assert_constant(call2(MG_EXPR_LT, text("10"), text("9")), MG_TRUE);
    assert_constant(call1(MG_EXPR_NOT, null()), MG_UNKNOWN);
    assert_constant(call1(MG_EXPR_IS_NULL, null()), MG_TRUE);
    assert_constant(call2(MG_EXPR_EQ_NULL_SAFE, null(), null()), MG_TRUE);
    assert_constant(call2(MG_EXPR_EQ_NULL_SAFE, null(), number(1)), MG_FALSE);
    assert_constant(call2(MG_EXPR_OR, number(1), call2(MG_EXPR_EQ, col("id"), number(1))), MG_TRUE);
    assert_constant(call2(MG_EXPR_AND, number(0), col("id")), MG_FALSE);
}

static void test_is_all_and_columns(void **state)
{
    uint32_t count;
    struct mg_predicate *predicate = bind(NULL);

    assert_true(mg_predicate_is_all(predicate));
    mg_predicate_columns(predicate, &count);
    assert_int_equal(count, 0);
    mg_predicate_free(predicate);
    predicate = bind(
        call2(MG_EXPR_OR, call2(MG_EXPR_LT, col("name"), text("x")), call2(MG_EXPR_EQ, col("small"), col("id"))));
    assert_false(mg_predicate_is_all(predicate));
    const uint32_t *columns = mg_predicate_columns(predicate, &count);
    assert_int_equal(count, 3);
    assert_true(columns[0] == ID && columns[1] == SMALL && columns[2] == NAME);
    mg_predicate_free(predicate);
    /* A column that was decided away is not read. */
    predicate = bind(call2(MG_EXPR_OR, number(1), call2(MG_EXPR_EQ, col("small"), col("id"))));
    mg_predicate_columns(predicate, &count);
    assert_int_equal(count, 0);
    assert_true(mg_predicate_is_all(predicate));
    mg_predicate_free(predicate);
    mg_predicate_free(NULL);
}

static void test_cheap_comes_first(void **state)
{
    struct mg_predicate *predicate = bind(call3(MG_EXPR_AND, call2(MG_EXPR_EQ, col("name"), text("x")),
                                                call2(MG_EXPR_GT, col("big"), number(1)),
                                                call2(MG_EXPR_EQ, col("small"), number(1))));

    assert_int_equal(predicate->root->child_count, 3);
    assert_int_equal(predicate->root->children[0]->column, SMALL);
    assert_int_equal(predicate->root->children[1]->column, BIG);
    assert_int_equal(predicate->root->children[2]->column, NAME);
    mg_predicate_free(predicate);
}

static void test_refusals(void **state)
{
    struct mg_expr *deep = call2(MG_EXPR_EQ, col("id"), number(1));

    assert_refused(MG_NOT_FOUND, call2(MG_EXPR_EQ, col("nope"), number(1)), "\"nope\"");
    assert_refused(MG_NOT_FOUND, call1(MG_EXPR_IS_NULL, col("nope")), "\"shop\".\"items\"");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("id"), text("abc")),
                   "'abc' cannot be compared with column \"id\"");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("id"), text("0x10")), "0x10");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("rate"), text("nan")), "nan");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("day"), text("2026-02-30")), "2026-02-30");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("at"), text("2026-02-28 25:00")), "25:00");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("name"), number(1)), "column \"name\" of type utf8");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("day"), number(20260101)), "of type date");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("day"), col("id")), "column \"id\" of type int32");
    assert_refused(MG_INVALID, call1(MG_EXPR_EQ, col("id")), "= has 1 arguments, it takes 2");
    assert_refused(MG_INVALID, mg_expr_call(&arena, MG_EXPR_AND, NULL, 0), "1 or more");
    assert_refused(MG_INVALID, call2(MG_EXPR_BETWEEN, col("id"), number(1)), "BETWEEN");
    assert_refused(MG_INVALID, call2(MG_EXPR_IN, col("id"), col("big")), "list of IN");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, deep, number(1)), "columns or literals");
    assert_refused(MG_INVALID, call1(77, col("id")), "77");
    assert_refused(MG_INVALID, call2(MG_EXPR_AND, col("name"), col("id")), "no condition");
    assert_refused(MG_INVALID, call2(MG_EXPR_EQ, col("id"), lit((struct mg_value){.type = {.id = 99}})), "99");
    for (int i = 0; i < MG_EXPR_DEPTH_MAX; i++)
        deep = call1(MG_EXPR_NOT, deep);
    assert_refused(MG_TOO_BIG, deep, "nested");
    struct mg_expr **many = calloc(MG_EXPR_NODES_MAX, sizeof *many);
    for (int i = 0; i < MG_EXPR_NODES_MAX; i++)
        many[i] = i ? many[1] ? many[1] : number(i) : col("id");
    struct mg_expr *wide = mg_expr_call(&arena, MG_EXPR_IN, many, MG_EXPR_NODES_MAX - 2);
    assert_non_null(wide);
    assert_refused(MG_TOO_BIG, call2(MG_EXPR_AND, wide, call2(MG_EXPR_AND, wide, number(1))), "nodes");
    free(many);
}

static void test_full_arena(void **state)
{
    struct mg_arena small;

    mg_arena_init(&small, 64);
    assert_null(mg_expr_column(&small, mg_slice_text("a name that is longer than what is left in there, far longer")));
    struct mg_expr *none = NULL;
    assert_null(mg_expr_call(&arena, MG_EXPR_NOT, &none, 1)); /* an argument that could not be made */
    mg_arena_clear(&small);
}

static void check_text(const struct mg_expr *expr, const char *expected)
{
    struct mg_error err;
    struct mg_buffer out;

    mg_buffer_init(&out, 10000);
    assert_ok(mg_expr_format(expr, &out, &err));
    assert_ok(mg_buffer_append_u8(&out, 0, &err));
    assert_string_equal((const char *)out.data, expected);
    mg_buffer_clear(&out);
}

static void test_text_form(void **state)
{
    check_text(call2(MG_EXPR_AND, call2(MG_EXPR_EQ, col("id"), number(5)),
                     call1(MG_EXPR_NOT, call2(MG_EXPR_LE, col("my col`umn"), text("it's \\")))),
               "((id = 5) AND (NOT (`my col``umn` <= 'it''s \\\\')))");
    check_text(call3(MG_EXPR_IN, col("price"), decimal(150, 2), null()), "(price IN (1.50, NULL))");
    check_text(call3(MG_EXPR_BETWEEN, col("day"), lit((struct mg_value){.type = {.id = MG_TYPE_DATE}, .i = 0}),
                     lit((struct mg_value){.type = {.id = MG_TYPE_TIMESTAMP}, .i = 0})),
               "(day BETWEEN DATE '1970-01-01' AND TIMESTAMP '1970-01-01 00:00:00')");
    check_text(call2(MG_EXPR_OR, call1(MG_EXPR_IS_NULL, col("id")), call1(MG_EXPR_IS_NOT_NULL, col("1a"))),
               "((id IS NULL) OR (`1a` IS NOT NULL))");
    check_text(call2(MG_EXPR_EQ_NULL_SAFE, col("rate"), real(0.5)), "(rate <=> 0.5)");
    struct mg_error err;
    struct mg_buffer out;
    mg_buffer_init(&out, 1000);
    assert_code(MG_INVALID, mg_expr_format(call1(77, col("id")), &out, &err));
    struct mg_expr *deep = col("id");
    for (int i = 0; i < MG_EXPR_DEPTH_MAX; i++)
        deep = call1(MG_EXPR_NOT, deep);
    mg_buffer_reset(&out);
    assert_code(MG_TOO_BIG, mg_expr_format(deep, &out, &err));
    mg_buffer_clear(&out);
}

/* may_match over one column, between two values. */
static bool may(struct mg_expr *expr, uint32_t column, struct mg_value low, struct mg_value high)
{
    const struct mg_value *lows[COLUMNS] = {NULL}, *highs[COLUMNS] = {NULL};
    bool has_null[COLUMNS] = {false};
    struct mg_predicate *predicate = bind(expr);

    low.type = high.type = schema->columns[column].type;
    lows[column] = &low;
    highs[column] = &high;
    bool answer = mg_predicate_may_match(predicate, lows, highs, has_null);
    mg_predicate_free(predicate);
    return answer;
}

static void test_zone_maps(void **state)
{
    const struct mg_value one = {.i = 1}, nine = {.i = 9};
    const struct mg_value abc = {.text = mg_slice_text("abc")}, xyz = {.text = mg_slice_text("xyz")};
    const struct mg_value padded = {.text = mg_slice_text("a \x01")}, a = {.text = mg_slice_text("a")};

    assert_false(may(call2(MG_EXPR_GT, col("id"), number(9)), ID, one, nine));
    assert_true(may(call2(MG_EXPR_GE, col("id"), number(9)), ID, one, nine));
    assert_false(may(call2(MG_EXPR_EQ, col("id"), number(0)), ID, one, nine));
    assert_true(may(call2(MG_EXPR_NE, col("id"), number(5)), ID, one, nine));
    assert_false(may(call2(MG_EXPR_NE, col("id"), number(9)), ID, nine, nine));
    assert_false(may(call3(MG_EXPR_IN, col("id"), number(0), number(10)), ID, one, nine));
    assert_true(may(call3(MG_EXPR_IN, col("id"), number(0), number(9)), ID, one, nine));
    assert_false(may(call1(MG_EXPR_IS_NULL, col("id")), ID, one, nine));
    assert_true(may(call1(MG_EXPR_IS_NOT_NULL, col("id")), ID, one, nine));
    assert_true(may(call2(MG_EXPR_EQ, col("big"), number(0)), ID, one, nine)); /* nothing known */
    assert_false(
        may(call2(MG_EXPR_AND, call2(MG_EXPR_EQ, col("big"), number(0)), call2(MG_EXPR_EQ, col("id"), number(0))), ID,
            one, nine));
    assert_true(
        may(call2(MG_EXPR_OR, call2(MG_EXPR_EQ, col("big"), number(0)), call2(MG_EXPR_EQ, col("id"), number(0))), ID,
            one, nine));
    assert_false(may(call2(MG_EXPR_LT, col("id"), real(0.5)), ID, one, nine));
    assert_false(may(call2(MG_EXPR_LT, col("name"), text("abc")), NAME, abc, xyz));
    assert_true(may(call2(MG_EXPR_LE, col("name"), text("abc")), NAME, abc, xyz));
    assert_false(may(call3(MG_EXPR_IN, col("name"), text("a"), text("y")), NAME, abc, xyz));
    assert_true(may(call3(MG_EXPR_IN, col("name"), text("a"), text("m")), NAME, abc, xyz));
    /* "a  " lies above "a \x01" bytewise, but without its blanks it is "a". */
    struct mg_expr *padded_equal = call2(MG_EXPR_EQ, col("name"), text("a"));
    padded_equal->pad_space = true;
    assert_true(may(padded_equal, NAME, padded, xyz));
    padded_equal->pad_space = false;
    assert_false(may(padded_equal, NAME, padded, xyz));
    assert_true(may(padded_equal, NAME, a, a));
    /* Only NULLs: nothing is known of the column but that. */
    struct mg_predicate *predicate = bind(call1(MG_EXPR_IS_NULL, col("id")));
    const struct mg_value *nothing[COLUMNS] = {NULL};
    bool has_null[COLUMNS] = {true};
    assert_true(mg_predicate_may_match(predicate, nothing, nothing, has_null));
    mg_predicate_free(predicate);
}

/* A long IN list, hashed: every value is found, no other. */
static void test_long_lists(void **state)
{
    enum { LIST = 5000, ROWS = 20000 };
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_expr **numbers = calloc(LIST + 1, sizeof *numbers), **texts = calloc(LIST + 1, sizeof *texts);
    const struct mg_type types[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_UTF8}};
    static uint64_t mask[ROWS / 64 + 1];
    char name[32];

    numbers[0] = col("big");
    texts[0] = col("name");
    for (int i = 0; i < LIST; i++) { /* multiples of 3, from below 0 on */
        snprintf(name, sizeof name, "%d", (i - 1000) * 3);
        numbers[i + 1] = number((i - 1000) * 3);
        texts[i + 1] = text(name);
    }
    struct mg_predicate *in_numbers = bind(mg_expr_call(&arena, MG_EXPR_IN, numbers, LIST + 1));
    struct mg_predicate *in_texts = bind(mg_expr_call(&arena, MG_EXPR_IN, texts, LIST + 1));
    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX, &err));
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "%d", i - 5000);
        assert_ok(mg_builder_int(&builder, 0, i - 5000, &err));
        assert_ok(mg_builder_text(&builder, 1, mg_slice_text(name), &err));
    }
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    const struct mg_vector *vectors[COLUMNS] = {[BIG] = &batch->vectors[0], [NAME] = &batch->vectors[1]};
    for (int pass = 0; pass < 2; pass++) {
        memset(mask, 0xff, sizeof mask);
        assert_ok(mg_predicate_filter(pass ? in_texts : in_numbers, vectors, ROWS, mask, &arena, &err));
        for (int i = 0; i < ROWS; i++) {
            int v = i - 5000;
            assert_int_equal(mask[i / 64] >> i % 64 & 1, v % 3 == 0 && v >= -3000 && v < (LIST - 1000) * 3);
        }
    }
    mg_predicate_free(in_numbers);
    mg_predicate_free(in_texts);
    mg_batch_unref(batch);
    mg_batch_builder_clear(&builder);
    free(numbers);
    free(texts);
}

static void test_scratch_runs_out(void **state)
{
    struct mg_error err;
    struct mg_arena none;
    struct mg_vector v = {.type = {.id = MG_TYPE_INT32}, .row_count = 1, .values = "\0\0\0\0\0\0\0"};
    const struct mg_vector *vectors[COLUMNS] = {[ID] = &v};
    uint64_t mask = 1;

    mg_arena_init(&none, 1);
    struct mg_predicate *predicate = bind(call2(MG_EXPR_EQ, col("id"), number(0)));
    assert_code(MG_NO_MEMORY, mg_predicate_filter(predicate, vectors, 1, &mask, &none, &err));
    mg_predicate_free(predicate);
    mg_arena_clear(&none);
}

/* From each type's ordinals to its values and back, near both ends and zero; one step is one step. */
static void test_ordinals(void **state)
{
    for (uint32_t id = MG_TYPE_INT8; id < MG_TYPE_UTF8; id++) {
        struct mg_type type = {.id = id};
        mg_int128 low, high;
        mg_expr__domain(id, &low, &high);
        for (int i = 0; i < 3000; i++) {
            mg_int128 places[3] = {low + i % 100, high - i % 100, i - 1500};
            for (int k = 0; k < 3; k++) {
                mg_int128 ordinal = MG_MAX(low, MG_MIN(high, places[k]));
                struct mg_value v = mg_expr__from_ordinal(type, ordinal);
                assert_true(mg_expr__ordinal(&v) == ordinal);
                if (ordinal == high)
                    continue;
                struct mg_value next = mg_expr__from_ordinal(type, ordinal + 1);
                assert_true(mg_value_compare(&v, &next) < 0);
            }
        }
    }
    struct mg_value v = {.type = {.id = MG_TYPE_FLOAT64}, .f = -0.0};
    assert_true(mg_expr__ordinal(&v) == 0);
    v.f = nextafter(0.0, -1);
    assert_true(mg_expr__ordinal(&v) == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals_become_ranges),
        cmocka_unit_test(test_types_decide),
        cmocka_unit_test(test_is_all_and_columns),
        cmocka_unit_test(test_cheap_comes_first),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_full_arena),
        cmocka_unit_test(test_text_form),
        cmocka_unit_test(test_zone_maps),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_scratch_runs_out),
        cmocka_unit_test(test_ordinals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
