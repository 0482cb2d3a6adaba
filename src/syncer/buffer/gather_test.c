/* gather_test.c -- does a lone writer go undelayed, and do many find each other?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "syncer/buffer/gather.h"

static void a_lone_writer_is_hardly_delayed(void **state)
{
    struct mg_gather gather;
    mg_gather_init(&gather);
    uint32_t delayed = 0;
    for (int i = 0; i < 100000; i++) {
        delayed += mg_gather_wait_ns(&gather, 1, 0) > 0;
        mg_gather_learn(&gather, 1);
    }
    assert_in_range(delayed, 1, 120); /* one in a thousand, and the first few */
}

static void many_writers_find_each_other(void **state)
{
    struct mg_gather gather;
    mg_gather_init(&gather);
    for (int i = 0; i < 100; i++)
        mg_gather_learn(&gather, 32);
    assert_int_equal(gather.target, MG_GATHER_TARGET_MAX);
    assert_int_equal(mg_gather_wait_ns(&gather, 15, 0), MG_GATHER_NS);
    assert_int_equal(mg_gather_wait_ns(&gather, 15, MG_GATHER_NS), 0);
    assert_int_equal(mg_gather_wait_ns(&gather, 16, 0), 0);
    /* Most of them leave: one late group, and the target is what came. */
    mg_gather_learn(&gather, 3);
    assert_int_equal(gather.target, 3);
}

static void records_nobody_waits_for_say_nothing(void **state)
{
    struct mg_gather gather;
    mg_gather_init(&gather);
    mg_gather_learn(&gather, 8);
    struct mg_gather before = gather;
    mg_gather_learn(&gather, 0);
    assert_memory_equal(&before, &gather, sizeof gather);
    assert_true(mg_gather_wait_ns(&gather, 0, 0) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lone_writer_is_hardly_delayed),
        cmocka_unit_test(many_writers_find_each_other),
        cmocka_unit_test(records_nobody_waits_for_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
