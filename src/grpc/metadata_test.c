/* metadata_test.c -- the codings of gRPC in headers: right values, wrong values, values at the limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "base/testing.h"
#include "grpc/grpc_internal.h"

static void test_percent(void **state)
{
    static const struct {
        const char *text, *coded;
    } cases[] = {
        {"", ""},
        {"plain text ~!", "plain text ~!"},
        {"100%", "100%25"},
        {"a\nb\tc", "a%0Ab%09c"},
        {"\xc3\xa9", "%C3%A9"},
        {"\x7f", "%7F"},
    };
    char coded[MG_GRPC__ENCODED_MAX], back[MG_ERROR_TEXT_MAX];
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        assert_int_equal(mg_grpc__percent_encode(cases[i].text, coded), strlen(cases[i].coded));
        assert_string_equal(coded, cases[i].coded);
        mg_grpc__percent_decode(mg_slice_text(coded), back, sizeof back);
        assert_string_equal(back, cases[i].text);
    }
    /* What other servers may send stays readable. */
    mg_grpc__percent_decode(mg_slice_text("%zz%4%41%"), back, sizeof back);
    assert_string_equal(back, "%zz%4A%");
    mg_grpc__percent_decode(mg_slice_text("abcdef"), back, 4);
    assert_string_equal(back, "abc");
    /* The longest text of an error, every byte escaped. */
    char longest[MG_ERROR_TEXT_MAX];
    memset(longest, '\n', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(mg_grpc__percent_encode(longest, coded), 3 * (sizeof longest - 1));
    mg_grpc__percent_decode(mg_slice_text(coded), back, sizeof back);
    assert_string_equal(back, longest);
}

static void test_timeout(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: no time */
    } cases[] = {
        {"0m", 0},          {"1n", 1},       {"1000000n", 1},     {"1000001n", 2},
        {"1u", 1},          {"2000u", 2},    {"250m", 250},       {"3S", 3000},
        {"2M", 120000},     {"1H", 3600000}, {"00000001S", 1000}, {"99999999H", INT64_C(359999996400000)},
        {"", -1},           {"S", -1},       {"1", -1},           {"1s", -1},
        {"123456789S", -1}, {"-1S", -1},     {"1.5S", -1},        {" 1S", -1},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        int64_t ms = -1;
        assert_int_equal(mg_grpc__timeout_parse(mg_slice_text(cases[i].text), &ms), cases[i].ms >= 0);
        assert_int_equal(ms, cases[i].ms);
    }
    static const int64_t times_ms[] = {0,        1, 99999999, 100000000, INT64_C(99999999999), INT64_C(100000000000),
                                       INT64_MAX};
    for (size_t i = 0; i < MG_COUNT_OF(times_ms); i++) {
        char text[16];
        int64_t ms;
        mg_grpc__timeout_format(times_ms[i], text);
        assert_true(mg_grpc__timeout_parse(mg_slice_text(text), &ms));
        assert_true(ms <= times_ms[i] && (ms >= times_ms[i] - 3600000 || times_ms[i] == INT64_MAX));
    }
}

static void test_base64(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"\xff\xfe\xfd", "//79"}};
    uint8_t bytes[1000];
    char text[2000];
    size_t size;
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct mg_slice in = mg_slice_text(cases[i].bytes);
        assert_int_equal(mg_grpc__base64_encode(in, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
        assert_true(mg_grpc__base64_decode(mg_slice_text(text), bytes, &size));
        assert_true(mg_slice_equal(MG_SLICE(bytes, size), in));
    }
    static const char *const padded[] = {"Zg==", "Zm8=", "Zm9v"};
    for (size_t i = 0; i < MG_COUNT_OF(padded); i++) {
        assert_true(mg_grpc__base64_decode(mg_slice_text(padded[i]), bytes, &size));
        assert_memory_equal(bytes, "foo", size);
    }
    static const char *const wrong[] = {"Z", "Zm9vZ", "Z===", "Zg=", "Z g=", "Zm_v", "=", "===="};
    for (size_t i = 0; i < MG_COUNT_OF(wrong); i++)
        assert_false(mg_grpc__base64_decode(mg_slice_text(wrong[i]), bytes, &size));
    struct mg_random random;
    mg_random_init(&random, 7);
    for (size_t n = 0; n < 300; n++) {
        uint8_t in[300];
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)mg_random_u64(&random);
        size_t coded = mg_grpc__base64_encode(MG_SLICE(in, n), text);
        assert_true(coded < mg_grpc__base64_size(n));
        assert_true(mg_grpc__base64_decode(MG_SLICE(text, coded), bytes, &size));
        assert_true(mg_slice_equal(MG_SLICE(bytes, size), MG_SLICE(in, n)));
    }
}

static void test_lists(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_arena arena;
    mg_arena_init(&arena, 4 * MG_GRPC__HEADERS_MAX);
    struct mg_grpc__headers headers = {.count = 0};
    assert_ok(mg_grpc__headers_add_own(&headers, &arena, "x-a", "1", &err));
    assert_ok(mg_grpc__headers_add_own(&headers, &arena, "x-a", "2", &err));
    assert_ok(mg_grpc__headers_add_binary(&headers, &arena, "x-b-bin", MG_SLICE("\0\1\2", 3), &err));
    assert_int_equal(headers.count, 3);
    assert_int_equal(headers.size_bytes, 4 + 4 + 11 + 3 * 32);
    assert_string_equal(mg_grpc__headers_find(&headers, "x-a")->value, "1");
    assert_string_equal(mg_grpc__headers_find(&headers, "x-b-bin")->value, "AAEC");
    assert_true(mg_slice_equal(mg_grpc__headers_find(&headers, "x-b-bin")->binary, MG_SLICE("\0\1\2", 3)));
    assert_null(mg_grpc__headers_find(&headers, "x-"));

    static const char *const names[] = {"", "X", "a b", "grpc-status", ":path", "a\n", "\xc3\xa9"};
    for (size_t i = 0; i < MG_COUNT_OF(names); i++)
        assert_code(MG_INVALID, mg_grpc__headers_add_own(&headers, &arena, names[i], "v", &err));
    assert_code(MG_INVALID, mg_grpc__headers_add_own(&headers, &arena, "x", "\x01", &err));
    assert_code(MG_INVALID, mg_grpc__headers_add_own(&headers, &arena, "x-bin", "not base64!", &err));
    assert_code(MG_INVALID, mg_grpc__headers_add_binary(&headers, &arena, "x", MG_SLICE("a", 1), &err));
    static uint8_t large[MG_GRPC__HEADERS_MAX + 1];
    assert_code(MG_TOO_BIG,
                mg_grpc__headers_add_binary(&headers, &arena, "x-bin", MG_SLICE(large, sizeof large), &err));
    assert_code(MG_TOO_BIG, mg_grpc__headers_add_binary(&headers, &arena, "x-bin", MG_SLICE(large, 13000), &err));
    assert_int_equal(headers.count, 3);
    mg_arena_clear(&arena);
}

static void test_validity(void **state)
{
    static const struct {
        const char *name, *value;
        size_t value_size;
        bool valid;
    } cases[] = {
        {"a", "", 0, true},     {":path", "/x", 2, true}, {"x-y_z.1", "v", 1, true}, {"a", "\xc3\xa9\t", 3, true},
        {"", "v", 1, false},    {":", "v", 1, false},     {"A", "v", 1, false},      {"a:b", "v", 1, false},
        {"a b", "v", 1, false}, {"a", "x\0y", 3, false},  {"a", "x\r", 2, false},    {"a", "\n", 1, false},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++)
        assert_int_equal(
            mg_grpc__header_valid(mg_slice_text(cases[i].name), MG_SLICE(cases[i].value, cases[i].value_size)),
            cases[i].valid);
}

static void test_statuses(void **state)
{
    /* A code that only went through its status comes back as one of the same status where there is one. */
    for (int status = 0; status <= 16; status++) {
        enum mg_code code = mg_grpc__code_of_status(status);
        assert_int_equal(code == MG_OK, status == 0);
        assert_string_equal(mg_code_name(code), mg_code_name(mg_code_from_name(mg_code_name(code))));
        char text[8];
        snprintf(text, sizeof text, "%d", status);
        assert_string_equal(mg_grpc__status_text(status), text);
    }
    assert_string_equal(mg_grpc__status_text(17), "2");
    assert_string_equal(mg_grpc__status_text(-1), "2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent), cmocka_unit_test(test_timeout),  cmocka_unit_test(test_base64),
        cmocka_unit_test(test_lists),   cmocka_unit_test(test_validity), cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
