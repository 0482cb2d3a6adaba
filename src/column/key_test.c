/* key_test.c -- keys sort as their values do, are equal only for equal values, and come out the same one by one and in
 * bulk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/key.h"

#include <math.h>

#include "base/random.h"
#include "base/testing.h"

enum { TYPES = 16 };

static struct mg_type type_at(uint32_t i)
{
    struct mg_type type = {.id = i < MG_TYPE_UTF8 ? i + 1 : MG_TYPE_UTF8};

    if (type.id == MG_TYPE_DECIMAL)
        type.precision = 38;
    if (i == MG_TYPE_UTF8)
        type.collation = MG_COLLATION_PAD_SPACE;
    return type;
}

static struct mg_value random_value(struct mg_random *random, struct mg_type type)
{
    static const char *const texts[] = {"", " ", "a", "a ", "a  ", "b", "ab", "\xff", "a b"};
    static const double floats[] = {0.0, -0.0, 1.5, -1.5, INFINITY, -INFINITY, NAN, -NAN, 1e-310, -1e-310, 1e30};
    struct mg_value v = {.type = type};
    uint64_t bits[2] = {mg_random_u64(random), mg_random_u64(random)};

    if (type.id == MG_TYPE_UTF8) {
        static const uint8_t zeros[4] = {'a', 0, 0, 'a'};
        v.text = mg_slice_text(texts[mg_random_below(random, MG_COUNT_OF(texts))]);
        if (mg_random_below(random, 3) == 0)
            v.text = MG_SLICE(zeros + mg_random_below(random, 3), 1 + mg_random_below(random, 2));
        return v;
    }
    if (type.id == MG_TYPE_FLOAT32 || type.id == MG_TYPE_FLOAT64) {
        v.f = floats[mg_random_below(random, MG_COUNT_OF(floats))];
        if (type.id == MG_TYPE_FLOAT32)
            v.f = (float)v.f;
        return v;
    }
    if (mg_random_below(random, 2)) /* small ones of both signs */
        bits[0] = bits[1] = mg_random_below(random, 5) ? mg_random_below(random, 3) : UINT64_MAX;
    return mg_value_load(type, bits);
}

/* The order of keys: as mg_value_compare, but for PAD_SPACE. */
static int expected_order(struct mg_value a, struct mg_value b)
{
    for (struct mg_value *v = &a; v; v = v == &a ? &b : NULL)
        while (v->type.collation == MG_COLLATION_PAD_SPACE && v->text.size && v->text.data[v->text.size - 1] == ' ')
            v->text.size--;
    int c = mg_value_compare(&a, &b);
    return (c > 0) - (c < 0);
}

static int sign(int c) { return (c > 0) - (c < 0); }

static void test_order(void **state)
{
    struct mg_error err;
    struct mg_random random;
    struct mg_buffer a, b;

    mg_buffer_init(&a, 1000);
    mg_buffer_init(&b, 1000);
    mg_random_init(&random, 1);
    for (int i = 0; i < 200000; i++) {
        struct mg_value x[3], y[3];
        uint32_t count = 1 + (uint32_t)mg_random_below(&random, 3);
        int expected = 0;
        for (uint32_t k = 0; k < count; k++) {
            struct mg_type type = type_at((uint32_t)mg_random_below(&random, TYPES));
            x[k] = random_value(&random, type);
            y[k] = random_value(&random, type);
            expected = expected ? expected : expected_order(x[k], y[k]);
        }
        mg_buffer_reset(&a);
        mg_buffer_reset(&b);
        assert_ok(mg_key_encode_values(x, count, &a, &err));
        assert_ok(mg_key_encode_values(y, count, &b, &err));
        assert_int_equal(sign(mg_slice_compare(mg_buffer_slice(&a), mg_buffer_slice(&b))), expected);
        if (expected) { /* no key is a prefix of another one of the same columns */
            size_t n = MG_MIN(a.size, b.size);
            assert_int_not_equal(memcmp(a.data, b.data, n), 0);
        }
    }
    mg_buffer_clear(&a);
    mg_buffer_clear(&b);
}

static void test_rows(void **state)
{
    enum { ROWS = 300 };
    struct mg_error err;
    struct mg_random random;
    struct mg_buffer all, one;
    uint32_t offsets[ROWS + 1];

    mg_buffer_init(&all, 1 << 20);
    mg_buffer_init(&one, 1 << 20);
    mg_random_init(&random, 2);
    for (int round = 0; round < 300; round++) {
        uint32_t columns = 1 + (uint32_t)mg_random_below(&random, 5);
        struct mg_type types[5];
        struct mg_batch_builder builder;
        struct mg_batch *batch;
        const struct mg_vector *vectors[5];
        for (uint32_t c = 0; c < columns; c++)
            types[c] = type_at((uint32_t)mg_random_below(&random, round % 2 ? TYPES : MG_TYPE_UTF8 - 1));
        assert_ok(mg_batch_builder_init(&builder, types, columns, NULL, SIZE_MAX, &err));
        for (uint32_t row = 0; row < ROWS; row++)
            for (uint32_t c = 0; c < columns; c++) {
                struct mg_value v = random_value(&random, types[c]);
                assert_ok(mg_builder_value(&builder, c, &v, &err));
            }
        assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
        for (uint32_t c = 0; c < columns; c++)
            vectors[c] = &batch->vectors[c];
        mg_buffer_reset(&all);
        if (round % 3 == 0)
            assert_ok(mg_buffer_append_le64(&all, 0, &err)); /* something stands there already */
        assert_ok(mg_key_encode_rows(vectors, columns, ROWS, &all, offsets, &err));
        assert_int_equal(offsets[ROWS], all.size);
        for (uint32_t row = 0; row < ROWS; row++) {
            mg_buffer_reset(&one);
            assert_ok(mg_key_encode(vectors, columns, row, &one, &err));
            assert_true(mg_slice_equal(mg_buffer_slice(&one),
                                       MG_SLICE(all.data + offsets[row], offsets[row + 1] - offsets[row])));
        }
        mg_batch_unref(batch);
        mg_batch_builder_clear(&builder);
    }
    mg_buffer_clear(&all);
    mg_buffer_clear(&one);
}

static void check_bytes(struct mg_value v, const char *hex)
{
    struct mg_error err;
    struct mg_buffer out;
    char text[200] = "";

    mg_buffer_init(&out, 100);
    assert_ok(mg_key_encode_values(&v, 1, &out, &err));
    for (size_t i = 0; i < out.size; i++)
        snprintf(text + 2 * i, 3, "%02x", out.data[i]);
    assert_string_equal(text, hex);
    mg_buffer_clear(&out);
}

/* The examples of docs/format/key.md: tickets and files hold these bytes. */
static void test_bytes(void **state)
{
    const struct mg_type pad = {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE};

    check_bytes((struct mg_value){.type = {.id = MG_TYPE_INT8}, .i = -1}, "7f");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_INT32}, .i = 1}, "80000001");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_INT64}, .i = -2}, "7ffffffffffffffe");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_UINT16}, .u = 258}, "0102");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = 1.0}, "bff0000000000000");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = -1.0}, "400fffffffffffff");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = -0.0}, "8000000000000000");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = -NAN}, "fff8000000000000");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_FLOAT32}, .f = NAN}, "ffc00000");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_DECIMAL, .precision = 5, .scale = 2}, .d = -1},
                "7fffffffffffffffffffffffffffffff");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_DATE}, .i = 20778}, "8000512a");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_UTF8}, .text = mg_slice_text("ab ")}, "6162200000");
    check_bytes((struct mg_value){.type = pad, .text = mg_slice_text("ab ")}, "61620000");
    check_bytes((struct mg_value){.type = pad, .text = MG_SLICE("a\0 ", 3)}, "6100ff0000");
    check_bytes((struct mg_value){.type = {.id = MG_TYPE_UTF8}, .text = MG_SLICE(NULL, 0)}, "0000");
}

static void test_refusals(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_type type = {.id = MG_TYPE_UTF8};
    static char long_text[MG_KEY_BYTES_MAX];
    uint32_t offsets[3];

    mg_buffer_init(&out, 1 << 20);
    memset(long_text, 'x', sizeof long_text);
    struct mg_value null = {.type = type, .is_null = true};
    assert_code(MG_INVALID, mg_key_encode_values(&null, 1, &out, &err));
    assert_ok(mg_batch_builder_init(&builder, &type, 1, NULL, SIZE_MAX, &err));
    assert_ok(mg_builder_text(&builder, 0, MG_SLICE(long_text, sizeof long_text - 2), &err));
    assert_ok(mg_builder_null(&builder, 0, &err));
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    const struct mg_vector *vectors[2] = {&batch->vectors[0], &batch->vectors[0]};
    assert_code(MG_INVALID, mg_key_encode_rows(vectors, 1, 2, &out, offsets, &err));
    assert_ok(mg_key_encode_rows(vectors, 1, 1, &out, offsets, &err));
    assert_int_equal(out.size, MG_KEY_BYTES_MAX);
    assert_code(MG_TOO_BIG, mg_key_encode_rows(vectors, 2, 1, &out, offsets, &err));
    assert_code(MG_TOO_BIG, mg_key_encode(vectors, 2, 0, &out, &err));
    assert_int_equal(out.size, MG_KEY_BYTES_MAX);
    mg_batch_unref(batch);
    mg_batch_builder_clear(&builder);
    mg_buffer_clear(&out);
}

static void test_ranges(void **state)
{
    struct mg_key_range open = {.low = {NULL, 0}}, range = {.low = mg_slice_text("b"), .high = mg_slice_text("d")};

    assert_true(mg_key_in_range(mg_slice_text(""), open));
    assert_false(mg_key_in_range(mg_slice_text("az"), range));
    assert_true(mg_key_in_range(mg_slice_text("b"), range));
    assert_true(mg_key_in_range(mg_slice_text("cz"), range));
    assert_false(mg_key_in_range(mg_slice_text("d"), range));
}

static void test_one_value(void **state)
{
    enum { LONG = MG_KEY_BYTES_MAX * 2 };
    struct mg_error err;
    struct mg_buffer out, key;
    char *text = malloc(LONG);

    assert_non_null(text);
    memset(text, 'x', LONG);
    struct mg_value value = {.type = {.id = MG_TYPE_UTF8}, .text = MG_SLICE(text, LONG)};
    mg_buffer_init(&out, LONG * 2);
    mg_buffer_init(&key, LONG * 2);
    assert_int_equal(mg_key_encode_values(&value, 1, &key, &err), MG_TOO_BIG);
    assert_ok(mg_key_append_value(&value, &out, &err));
    assert_int_equal(out.size, LONG + 2);
    value.text.size = 3;
    mg_buffer_reset(&out);
    assert_ok(mg_key_append_value(&value, &out, &err));
    assert_ok(mg_key_encode_values(&value, 1, &key, &err));
    assert_true(mg_slice_equal(mg_buffer_slice(&out), mg_buffer_slice(&key)));
    mg_buffer_clear(&out);
    mg_buffer_clear(&key);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),    cmocka_unit_test(test_rows),   cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_ranges), cmocka_unit_test(test_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
