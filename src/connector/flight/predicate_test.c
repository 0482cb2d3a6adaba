/* predicate_test.c -- predicates go over the wire and come back as they were; what is broken is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "connector/flight/flight_internal.h"

static struct mg_arena arena;

static int set_up(void **state)
{
    (void)state;
    mg_arena_init(&arena, 64 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mg_arena_clear(&arena);
    return 0;
}

static struct mg_expr *column(const char *name) { return mg_expr_column(&arena, mg_slice_text(name)); }
static struct mg_expr *literal(struct mg_value value) { return mg_expr_literal(&arena, &value); }
static struct mg_expr *int_literal(int64_t v)
{
    return literal((struct mg_value){.type = {.id = MG_TYPE_INT64}, .i = v});
}
static struct mg_expr *call(enum mg_expr_op op, struct mg_expr *a, struct mg_expr *b, struct mg_expr *c)
{
    struct mg_expr *args[3] = {a, b, c};
    return mg_expr_call(&arena, op, args, a && b && c ? 3 : a && b ? 2 : 1);
}

static char *shown(const struct mg_expr *expr)
{
    struct mg_buffer out;
    struct mg_error err;

    mg_buffer_init(&out, 1 << 20);
    assert_ok(mg_expr_format(expr, &out, &err));
    char *text = mg_arena_text(&arena, mg_buffer_slice(&out));
    mg_buffer_clear(&out);
    return text;
}

/* Through bytes and back. */
static struct mg_expr *travel(const struct mg_expr *expr)
{
    Magic__V1__Expr *proto = NULL, *again = NULL;
    struct mg_expr *back = NULL;
    struct mg_slice bytes;
    struct mg_error err;

    assert_ok(mg_flight__predicate_write(expr, &arena, &proto, &err));
    assert_ok(mg_flight__pack(&proto->base, &arena, &bytes, &err));
    assert_ok(MG_FLIGHT__UNPACK(magic__v1__expr__descriptor, bytes, "it", &arena, &again, &err));
    assert_ok(mg_flight__predicate_read(again, &arena, &back, &err));
    return back;
}

static void every_literal_comes_back(void **state)
{
    (void)state;
    mg_int128 most = 1;
    for (int i = 0; i < 38; i++)
        most *= 10;
    most -= 1;
    struct mg_value values[] = {
        {.is_null = true},
        {.type = {.id = MG_TYPE_INT64}, .i = INT64_MIN},
        {.type = {.id = MG_TYPE_INT64}, .i = INT64_MAX},
        {.type = {.id = MG_TYPE_UINT64}, .u = UINT64_MAX},
        {.type = {.id = MG_TYPE_FLOAT64}, .f = -1.5},
        {.type = {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 10}, .d = most},
        {.type = {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 38}, .d = -most},
        {.type = {.id = MG_TYPE_DECIMAL, .precision = 1}, .d = 0},
        {.type = {.id = MG_TYPE_DATE}, .i = -719162},
        {.type = {.id = MG_TYPE_DATETIME, .precision = 6}, .i = -1},
        {.type = {.id = MG_TYPE_TIMESTAMP, .precision = 6}, .i = 1700000000123456},
        {.type = {.id = MG_TYPE_UTF8}, .text = MG_SLICE("a\0b", 3)},
        {.type = {.id = MG_TYPE_UTF8}, .text = MG_SLICE("", 0)},
    };
    for (size_t i = 0; i < MG_COUNT_OF(values); i++) {
        struct mg_value back = travel(literal(values[i]))->literal;
        assert_int_equal(back.is_null, values[i].is_null);
        if (back.is_null)
            continue;
        assert_true(mg_type_equal(back.type, values[i].type));
        if (back.type.id == MG_TYPE_UTF8)
            assert_true(mg_slice_equal(back.text, values[i].text));
        else if (back.type.id == MG_TYPE_DECIMAL)
            assert_true(back.d == values[i].d);
        else
            assert_true(back.u == values[i].u);
    }
}

static void every_tree_comes_back(void **state)
{
    (void)state;
    struct mg_expr *between = call(MG_EXPR_BETWEEN, column("a"), int_literal(1), int_literal(9));
    struct mg_expr *padded = call(MG_EXPR_EQ, column("name"),
                                  literal((struct mg_value){.type = {.id = MG_TYPE_UTF8}, .text = mg_slice_text("x")}),
                                  NULL);
    padded->pad_space = true;
    struct mg_expr *trees[] = {
        call(MG_EXPR_EQ, column("a"), int_literal(1), NULL),
        call(MG_EXPR_NE, int_literal(1), column("a"), NULL),
        call(MG_EXPR_EQ_NULL_SAFE, column("a"), literal((struct mg_value){.is_null = true}), NULL),
        call(MG_EXPR_IS_NULL, column("a"), NULL, NULL),
        call(MG_EXPR_NOT, call(MG_EXPR_IS_NOT_NULL, column("b"), NULL, NULL), NULL, NULL),
        call(MG_EXPR_AND, between, padded, NULL),
        call(MG_EXPR_OR, between, call(MG_EXPR_IN, column("b"), int_literal(1), int_literal(2)), NULL),
    };
    for (size_t i = 0; i < MG_COUNT_OF(trees); i++)
        assert_string_equal(shown(travel(trees[i])), shown(trees[i]));
    assert_true(travel(padded)->pad_space);
    assert_false(travel(between)->pad_space);
}

static void broken_nodes_are_refused(void **state)
{
    Magic__V1__Expr node = MAGIC__V1__EXPR__INIT, inner = MAGIC__V1__EXPR__INIT, *args[1] = {&inner};
    Magic__V1__Call call_proto = MAGIC__V1__CALL__INIT;
    Magic__V1__Value value = MAGIC__V1__VALUE__INIT;
    Magic__V1__Decimal decimal = MAGIC__V1__DECIMAL__INIT;
    struct mg_expr *out = NULL;
    struct mg_error err;
    uint8_t bytes[17] = {1};

    (void)state;
    assert_ok(mg_flight__predicate_read(NULL, &arena, &out, &err));
    assert_null(out);
    assert_code(MG_INVALID, mg_flight__predicate_read(&node, &arena, &out, &err));

    node.node_case = MAGIC__V1__EXPR__NODE_CALL;
    node.call = &call_proto;
    call_proto.args = args;
    call_proto.n_args = 1;
    for (int op = 0; op < 200; op = op ? op * 3 : 15) { /* 0, and beyond the last */
        call_proto.op = (Magic__V1__Call__Op)op;
        assert_code(MG_INVALID, mg_flight__predicate_read(&node, &arena, &out, &err));
    }

    node.node_case = MAGIC__V1__EXPR__NODE_LITERAL;
    node.literal = &value;
    value.value_case = MAGIC__V1__VALUE__VALUE_DECIMAL_VALUE;
    value.decimal_value = &decimal;
    struct {
        size_t size;
        int32_t precision, scale;
        uint8_t last;
        enum mg_code code;
    } cases[] = {
        {0, 5, 0, 0, MG_INVALID},      {17, 38, 0, 0, MG_INVALID}, {1, 0, 0, 0, MG_INVALID},
        {1, 39, 0, 0, MG_INVALID},     {1, 5, 6, 0, MG_INVALID},   {1, 5, -1, 0, MG_INVALID},
        {1, -5, 0, 0, MG_INVALID},     {2, 2, 0, 1, MG_INVALID},   {16, 38, 0, 0x7f, MG_INVALID},
        {16, 38, 0, 0x80, MG_INVALID}, {2, 3, 0, 1, MG_OK},        {16, 38, 38, 0, MG_OK},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        bytes[cases[i].size ? cases[i].size - 1 : 0] = cases[i].last;
        decimal.unscaled = (ProtobufCBinaryData){.len = cases[i].size, .data = bytes};
        decimal.precision = cases[i].precision;
        decimal.scale = cases[i].scale;
        assert_code(cases[i].code, mg_flight__predicate_read(&node, &arena, &out, &err));
        memset(bytes, 0, sizeof bytes);
        bytes[0] = 1;
    }
}

static void depth_is_bounded(void **state)
{
    enum { DEEP = 100 };
    Magic__V1__Expr nodes[DEEP], *args[DEEP];
    Magic__V1__Call calls[DEEP];
    Magic__V1__ColumnRef ref;
    struct mg_expr *out = NULL;
    struct mg_slice bytes;
    Magic__V1__Expr *unpacked = NULL;
    struct mg_error err;

    (void)state;
    magic__v1__column_ref__init(&ref);
    for (int i = 0; i < DEEP; i++) {
        magic__v1__expr__init(&nodes[i]);
        magic__v1__call__init(&calls[i]);
        if (i == 0) {
            nodes[i].node_case = MAGIC__V1__EXPR__NODE_COLUMN;
            nodes[i].column = &ref;
            continue;
        }
        args[i] = &nodes[i - 1];
        calls[i].op = MAGIC__V1__CALL__OP__NOT;
        calls[i].args = &args[i];
        calls[i].n_args = 1;
        nodes[i].node_case = MAGIC__V1__EXPR__NODE_CALL;
        nodes[i].call = &calls[i];
    }
    assert_ok(mg_flight__predicate_read(&nodes[MG_EXPR_DEPTH_MAX - 1], &arena, &out, &err));
    assert_code(MG_TOO_BIG, mg_flight__predicate_read(&nodes[MG_EXPR_DEPTH_MAX], &arena, &out, &err));
    assert_ok(mg_flight__pack(&nodes[MG_EXPR_DEPTH_MAX - 1].base, &arena, &bytes, &err));
    assert_ok(MG_FLIGHT__UNPACK(magic__v1__expr__descriptor, bytes, "it", &arena, &unpacked, &err));
    assert_ok(mg_flight__pack(&nodes[DEEP - 1].base, &arena, &bytes, &err));
    assert_code(MG_TOO_BIG, MG_FLIGHT__UNPACK(magic__v1__expr__descriptor, bytes, "it", &arena, &unpacked, &err));
}

static void unpacking_is_bounded_by_the_arena(void **state)
{
    struct mg_arena small;
    Magic__V1__Call *unpacked = NULL;
    struct mg_buffer bytes;
    struct mg_error err;

    (void)state;
    mg_arena_init(&small, 10000);
    mg_buffer_init(&bytes, 1 << 20);
    for (int i = 0; i < 1000; i++)
        assert_ok(mg_buffer_append(&bytes, "\x12\x02\x12\x00", 4, &err)); /* args: an empty literal */
    assert_code(MG_TOO_BIG, MG_FLIGHT__UNPACK(magic__v1__call__descriptor, mg_buffer_slice(&bytes), "the call", &small,
                                              &unpacked, &err));
    assert_non_null(strstr(err.text, "the call"));
    assert_ok(
        MG_FLIGHT__UNPACK(magic__v1__call__descriptor, mg_buffer_slice(&bytes), "the call", &arena, &unpacked, &err));
    assert_int_equal(unpacked->n_args, 1000);
    mg_buffer_clear(&bytes);
    mg_arena_clear(&small);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_literal_comes_back),          TEST(every_tree_comes_back),
        TEST(broken_nodes_are_refused),          TEST(depth_is_bounded),
        TEST(unpacking_is_bounded_by_the_arena),
    };
    return cmocka_run_group_tests_name("predicate", tests, NULL, NULL);
}
