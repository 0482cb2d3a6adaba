/* gather_test.c -- does a lone writer go undelayed, and do many find each other?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "syncer/buffer/gather.h"

/* Writers that all wait again as soon as they are answered: `count` stand in the queue when it is looked at; more never
 * come. Whether they had to wait. */
static bool run_group(struct mg_gather *gather, uint32_t count)
{
    struct mg_gather_queue queue = {.waiting = count};
    bool delayed = mg_gather_wait_ns(gather, &queue) > 0;
    queue.waiting_ns = delayed ? mg_gather_wait_ns(gather, &queue) : 0;
    assert_int_equal(mg_gather_wait_ns(gather, &queue), 0);
    mg_gather_learn(gather, &queue);
    return delayed;
}

/* Ten always come together, and no more: waiting for the eleventh must be rare. */
static void a_fixed_number_is_hardly_delayed(void **state)
{
    static const uint32_t numbers[] = {1, 2, 10, 20};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct mg_gather gather;
        mg_gather_init(&gather);
        uint32_t delayed = 0;
        for (int group = 0; group < 100000; group++)
            delayed += run_group(&gather, numbers[i]);
        assert_in_range(delayed, 1, 120); /* one in a thousand, and the first few */
        assert_in_range(gather.target, numbers[i], numbers[i] + 1);
    }
}

static void many_writers_find_each_other(void **state)
{
    struct mg_gather gather;
    mg_gather_init(&gather);
    for (int i = 0; i < 100; i++)
        assert_false(run_group(&gather, 32));
    assert_int_equal(gather.target, MG_GATHER_TARGET_MAX);
    /* A straggler alone: the others are found again within a few groups. */
    assert_true(run_group(&gather, 1));
    assert_int_equal(gather.target, MG_GATHER_TARGET_MAX / 2);
    for (int i = 0; i < MG_GATHER_TARGET_MAX; i++)
        assert_false(run_group(&gather, 32));
    assert_int_equal(gather.target, MG_GATHER_TARGET_MAX);
    /* All but one have gone: that is learnt in a few groups, too. */
    uint32_t delayed = 0;
    for (int i = 0; i < 1000; i++)
        delayed += run_group(&gather, 1);
    assert_in_range(delayed, 1, 20);
    assert_in_range(gather.target, 1, 2);
}

static void records_nobody_waits_for_say_nothing(void **state)
{
    struct mg_gather gather;
    mg_gather_init(&gather);
    for (int i = 0; i < MG_GATHER_BUSY - 1; i++)
        run_group(&gather, 32);
    assert_int_equal(gather.target, MG_GATHER_BUSY);
    struct mg_gather before = gather;
    struct mg_gather_queue lazy = {.lazy = 3, .lazy_ns = MG_GATHER_NS};
    assert_int_equal(mg_gather_wait_ns(&gather, &lazy), MG_GATHER_BUSY_NS - MG_GATHER_NS);
    lazy.lazy_ns = MG_GATHER_BUSY_NS;
    lazy.waiting = 2; /* these two have just come */
    assert_int_equal(mg_gather_wait_ns(&gather, &lazy), 0);
    mg_gather_learn(&gather, &lazy);
    assert_memory_equal(&before, &gather, sizeof gather);
    mg_gather_init(&gather);
    lazy = (struct mg_gather_queue){.lazy = 1};
    assert_int_equal(mg_gather_wait_ns(&gather, &lazy), MG_GATHER_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fixed_number_is_hardly_delayed),
        cmocka_unit_test(many_writers_find_each_other),
        cmocka_unit_test(records_nobody_waits_for_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
