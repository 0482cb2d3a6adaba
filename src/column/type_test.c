/* type_test.c -- dates against a day-by-day count, decimals there and back, the text of values, the order of values.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/type.h"

#include <math.h>

#include "base/testing.h"

static const struct mg_type decimal_5_2 = {.id = MG_TYPE_DECIMAL, .precision = 5, .scale = 2};

static void test_widths_and_names(void **state)
{
    char text[48];
    struct mg_error err;
    static const char *const names[] = {"int8",         "int16",  "int32",    "int64",     "uint8",
                                        "uint16",       "uint32", "uint64",   "float32",   "float64",
                                        "decimal(1,0)", "date",   "datetime", "timestamp", "utf8"};
    static const uint32_t widths[] = {1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 16, 4, 8, 8, 0};

    for (uint32_t id = MG_TYPE_INT8; id < MG_TYPE_COUNT; id++) {
        struct mg_type type = {.id = id, .precision = id == MG_TYPE_DECIMAL};
        mg_type_format(type, text);
        assert_string_equal(text, names[id - 1]);
        assert_int_equal(mg_type_width(id), widths[id - 1]);
        assert_ok(mg_type_check(type, &err));
    }
    mg_type_format((struct mg_type){.id = MG_TYPE_TIMESTAMP, .precision = 6}, text);
    assert_string_equal(text, "timestamp(6)");
    mg_type_format((struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 38}, text);
    assert_string_equal(text, "decimal(38,38)");
}

static void test_check_refuses(void **state)
{
    struct mg_error err;
    static const struct mg_type wrong[] = {
        {.id = MG_TYPE_NONE},
        {.id = 16},
        {.id = 255},
        {.id = MG_TYPE_DECIMAL},
        {.id = MG_TYPE_DECIMAL, .precision = 39},
        {.id = MG_TYPE_DECIMAL, .precision = 5, .scale = 6},
        {.id = MG_TYPE_INT32, .scale = 1},
        {.id = MG_TYPE_INT32, .precision = 1},
        {.id = MG_TYPE_DATETIME, .precision = 7},
        {.id = MG_TYPE_INT8, .collation = MG_COLLATION_PAD_SPACE},
        {.id = MG_TYPE_UTF8, .collation = 2},
    };

    for (size_t i = 0; i < MG_COUNT_OF(wrong); i++)
        assert_code(MG_INVALID, mg_type_check(wrong[i], &err));
}

static void test_dates(void **state)
{
    int32_t days, expected;
    int year, month, day;

    /* Every day of 800 years, counted by hand from 1 January 1600. */
    assert_true(mg_date_from_ymd(1600, 1, 1, &expected));
    for (int y = 1600; y < 2400; y++)
        for (int m = 1; m <= 12; m++)
            for (int d = 1; d <= 31; d++) {
                static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
                bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
                bool exists = d <= lengths[m - 1] + (m == 2 && leap);
                assert_int_equal(mg_date_from_ymd(y, m, d, &days), exists);
                if (!exists)
                    continue;
                assert_int_equal(days, expected++);
                mg_date_to_ymd(days, &year, &month, &day);
                assert_true(year == y && month == m && day == d);
            }
    assert_true(mg_date_from_ymd(1970, 1, 1, &days));
    assert_int_equal(days, 0);
    assert_true(mg_date_from_ymd(0, 2, 29, &days)); /* the year 0 is a leap year */
    mg_date_to_ymd(days, &year, &month, &day);
    assert_true(year == 0 && month == 2 && day == 29);
    assert_false(mg_date_from_ymd(2026, 0, 1, &days));
    assert_false(mg_date_from_ymd(2026, 1, 0, &days));
    assert_false(mg_date_from_ymd(2026, 13, 1, &days));
    assert_false(mg_date_from_ymd(INT32_MAX, 1, 1, &days));
    static const int32_t ends[] = {INT32_MIN, INT32_MAX};
    for (int i = 0; i < 2; i++) {
        mg_date_to_ymd(ends[i], &year, &month, &day);
        assert_false(year > -5000000 && year < 5000000); /* outside what from_ymd takes, but no nonsense */
        assert_true(month >= 1 && month <= 12 && day >= 1 && day <= 31);
    }
}

static void check_format(struct mg_value value, const char *expected)
{
    struct mg_error err;
    struct mg_buffer out;

    mg_buffer_init(&out, 1000);
    assert_ok(mg_value_format(&value, &out, &err));
    assert_ok(mg_buffer_append_u8(&out, 0, &err));
    assert_string_equal((const char *)out.data, expected);
    mg_buffer_clear(&out);
}

static void test_format(void **state)
{
    const struct mg_type none = {.id = MG_TYPE_NONE}, datetime = {.id = MG_TYPE_DATETIME},
                         datetime3 = {.id = MG_TYPE_DATETIME, .precision = 3},
                         timestamp6 = {.id = MG_TYPE_TIMESTAMP, .precision = 6};

    check_format((struct mg_value){.type = none, .is_null = true}, "NULL");
    check_format((struct mg_value){.type = {.id = MG_TYPE_INT64}, .i = INT64_MIN}, "-9223372036854775808");
    check_format((struct mg_value){.type = {.id = MG_TYPE_UINT64}, .u = UINT64_MAX}, "18446744073709551615");
    check_format((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = 0.1}, "0.1");
    check_format((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = 0.1 + 0.2}, "0.30000000000000004");
    check_format((struct mg_value){.type = {.id = MG_TYPE_FLOAT32}, .f = (double)0.1f}, "0.1");
    check_format((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = NAN}, "nan");
    check_format((struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = -INFINITY}, "-inf");
    check_format((struct mg_value){.type = decimal_5_2, .d = -1250}, "-12.50");
    check_format((struct mg_value){.type = {.id = MG_TYPE_DATE}, .i = 20778}, "2026-11-21");
    check_format((struct mg_value){.type = datetime, .i = INT64_C(1795256651123456)}, "2026-11-21 10:24:11");
    check_format((struct mg_value){.type = datetime3, .i = INT64_C(1795256651123456)}, "2026-11-21 10:24:11.123");
    /* the ends of the range: no step on the way may overflow */
    check_format((struct mg_value){.type = datetime3, .i = INT64_MIN}, "-290308-12-21 19:59:05.224");
    check_format((struct mg_value){.type = datetime3, .i = INT64_MAX}, "294247-01-10 04:00:54.775");
    check_format((struct mg_value){.type = timestamp6, .i = -1}, "1969-12-31 23:59:59.999999");
    check_format((struct mg_value){.type = {.id = MG_TYPE_UTF8}, .text = mg_slice_text("a'b")}, "a'b");
    check_format((struct mg_value){.type = timestamp6, .i = INT64_MAX}, "294247-01-10 04:00:54.775807");
}

static void check_decimal(const char *text, uint8_t precision, uint8_t scale, const char *expected)
{
    struct mg_error err;
    mg_int128 v;
    char shown[48];

    if (!expected) {
        assert_code(MG_INVALID, mg_decimal_parse(mg_slice_text(text), precision, scale, &v, &err));
        return;
    }
    assert_ok(mg_decimal_parse(mg_slice_text(text), precision, scale, &v, &err));
    mg_decimal_format(v, scale, shown);
    assert_string_equal(shown, expected);
}

static void test_decimals(void **state)
{
    check_decimal("-12.50", 5, 2, "-12.50");
    check_decimal("+.5", 5, 2, "0.50");
    check_decimal("7.", 5, 2, "7.00");
    check_decimal("-0", 5, 2, "0.00");
    check_decimal("999.99", 5, 2, "999.99");
    check_decimal("0000999.9900", 5, 2, "999.99");
    check_decimal("1000", 5, 2, NULL);
    check_decimal("1.001", 5, 2, NULL);
    check_decimal("", 5, 2, NULL);
    check_decimal(".", 5, 2, NULL);
    check_decimal("-", 5, 2, NULL);
    check_decimal("1e3", 5, 2, NULL);
    check_decimal("1 ", 5, 2, NULL);
    check_decimal("--1", 5, 2, NULL);
    check_decimal("99999999999999999999999999999999999999", 38, 0, "99999999999999999999999999999999999999");
    check_decimal("-.99999999999999999999999999999999999999", 38, 38, "-0.99999999999999999999999999999999999999");
    check_decimal("100000000000000000000000000000000000000", 38, 0, NULL);
    check_decimal("99999999999999999999999999999999999999", 38, 1, NULL);
    check_decimal("340282366920938463463374607431768211456", 38, 0, NULL); /* 2^128 */
    check_decimal("1", 38, 38, NULL);
    assert_true(mg_decimal_fits(-99999, 5));
    assert_false(mg_decimal_fits(100000, 5));
    char text[48];
    mg_int128 lowest = (mg_int128)((unsigned __int128)1 << 127);
    mg_decimal_format(lowest, 38, text);
    assert_string_equal(text, "-1.70141183460469231731687303715884105728");
}

static void test_order(void **state)
{
    const struct mg_type f64 = {.id = MG_TYPE_FLOAT64}, u64 = {.id = MG_TYPE_UINT64}, utf8 = {.id = MG_TYPE_UTF8};
    struct mg_value low = {.type = f64, .f = INFINITY}, high = {.type = f64, .f = NAN};

    assert_true(mg_value_compare(&low, &high) < 0);
    assert_int_equal(mg_value_compare(&high, &high), 0);
    assert_int_equal(mg_float_compare(-0.0, 0.0), 0);
    low = (struct mg_value){.type = u64, .u = 1};
    high = (struct mg_value){.type = u64, .u = UINT64_MAX};
    assert_true(mg_value_compare(&low, &high) < 0);
    low = (struct mg_value){.type = utf8, .text = mg_slice_text("a")};
    high = (struct mg_value){.type = utf8, .text = mg_slice_text("a ")};
    assert_true(mg_value_compare(&low, &high) < 0);
    low = (struct mg_value){.type = decimal_5_2, .d = -2};
    high = (struct mg_value){.type = decimal_5_2, .d = -1};
    assert_true(mg_value_compare(&low, &high) < 0);
}

static void test_store_and_load(void **state)
{
    uint8_t place[17];

    for (uint32_t id = MG_TYPE_INT8; id < MG_TYPE_UTF8; id++) {
        struct mg_value v = {.type = {.id = id, .precision = id == MG_TYPE_DECIMAL}};
        if (id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64)
            v.f = -1.5;
        else if (id == MG_TYPE_DECIMAL)
            v.d = -7;
        else
            v.i = id >= MG_TYPE_UINT8 && id <= MG_TYPE_UINT64 ? 200 : -100;
        memset(place, 0xaa, sizeof place);
        mg_value_store(&v, place + 1); /* unaligned */
        assert_int_equal(place[0], 0xaa);
        struct mg_value back = mg_value_load(v.type, place + 1);
        assert_int_equal(mg_value_compare(&v, &back), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths_and_names), cmocka_unit_test(test_check_refuses), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_format),           cmocka_unit_test(test_decimals),      cmocka_unit_test(test_order),
        cmocka_unit_test(test_store_and_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
