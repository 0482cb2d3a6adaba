/* ts_map_test.c -- does the table agree with a plain list, also while it grows and shrinks?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/random.h"
#include "syncer/sorter/ts_map.h"

enum { KEYS = 5000 };
static char values[KEYS];

static void agrees_with_a_list(void **state)
{
    static bool there[KEYS];
    struct mg_random random;
    struct mg_ts_map map = {0};
    uint32_t count = 0;
    mg_random_init(&random, 3);
    assert_null(mg_ts_map_find(&map, 1));
    for (int round = 0; round < 200000; round++) {
        uint32_t key = (uint32_t)mg_random_below(&random, round < 100000 ? KEYS : 50);
        uint64_t ts = (uint64_t)key * 262144 + 1;
        assert_ptr_equal(mg_ts_map_find(&map, ts), there[key] ? &values[key] : NULL);
        if (there[key])
            mg_ts_map_remove(&map, ts);
        else
            assert_int_equal(mg_ts_map_put(&map, ts, &values[key], NULL), MG_OK);
        there[key] = !there[key];
        count += there[key] ? 1u : -1u;
        assert_int_equal(map.count, count);
    }
    for (uint32_t key = 0; key < KEYS; key++)
        assert_ptr_equal(mg_ts_map_find(&map, (uint64_t)key * 262144 + 1), there[key] ? &values[key] : NULL);
    mg_ts_map_clear(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_list)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
