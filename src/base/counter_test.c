/* counter_test.c -- counters count, and their list names each once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"
#include "base/testing.h"

static void test_count(void **state)
{
    uint64_t before = mg_counted(scan_rows);
    mg_count(scan_rows, 3);
    mg_count(scan_rows, 4u);
    assert_int_equal(mg_counted(scan_rows), before + 7);
}

static void test_list(void **state)
{
    size_t count;
    const struct mg_counter_info *list = mg_counter_list(&count);
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        assert_true(list[i].sentence[0] && list[i].unit[0]);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(list[i].name, list[k].name);
        if (strcmp(list[i].name, "scan_rows") == 0) {
            assert_ptr_equal(list[i].value, &mg_counters.scan_rows);
            found = true;
        }
    }
    assert_true(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_count), cmocka_unit_test(test_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
