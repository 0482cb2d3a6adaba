/* clock_test.c -- the manual clock stands until told, and times are written in UTC.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/testing.h"

static void test_system(void **state)
{
    struct mg_clock *clock = mg_clock_system();
    int64_t before = mg_mono_ns(clock);
    assert_true(mg_wall_ms(clock) > 1700000000000);
    assert_true(mg_mono_ns(clock) >= before);
    assert_true(mg_mono_ms(clock) >= before / 1000000);
}

static void test_manual(void **state)
{
    struct mg_clock_manual manual;
    mg_clock_manual_init(&manual, 1000);
    assert_int_equal(mg_wall_ms(&manual.clock), 1000);
    assert_int_equal(mg_mono_ns(&manual.clock), 0);
    mg_clock_manual_advance(&manual, 2500000);
    assert_int_equal(mg_wall_ms(&manual.clock), 1002);
    assert_int_equal(mg_mono_ms(&manual.clock), 2);
}

static void test_format(void **state)
{
    char text[32];
    mg_format_time(1795256651123, text);
    assert_string_equal(text, "2026-11-21T10:24:11.123Z");
    mg_format_time(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    mg_format_time(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    mg_format_time(INT64_MAX, text); /* no such year: whatever it says, it fits */
    assert_true(strlen(text) < 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_system), cmocka_unit_test(test_manual),
                                       cmocka_unit_test(test_format)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
