/* timers_test.c -- timers fire in order, once, not before their time, and not after they were cleared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "base/testing.h"
#include "grpc/grpc_internal.h"

enum { TIMERS = 500 };

struct entry {
    struct mg_grpc__timer timer; /* first */
    int64_t want_ms;             /* INT64_MAX: not set */
    unsigned fired;
};

static struct entry entries[TIMERS];
static int64_t now_ms, last_ms;

static void fire(struct mg_grpc__timer *timer)
{
    struct entry *entry = (struct entry *)timer;
    assert_int_equal(timer->place, 0);
    assert_int_equal(entry->want_ms, timer->at_ms);
    assert_true(timer->at_ms <= now_ms && timer->at_ms >= last_ms);
    last_ms = timer->at_ms;
    entry->want_ms = INT64_MAX;
    entry->fired++;
}

static void test_random(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc__timers timers = {.heap = NULL};
    struct mg_random random;
    mg_random_init(&random, 3);
    for (int i = 0; i < TIMERS; i++)
        entries[i] = (struct entry){.timer = {.fire = fire}, .want_ms = INT64_MAX};
    assert_int_equal(mg_grpc__timers_next(&timers), INT64_MAX);
    for (int step = 0; step < 50000; step++) {
        struct entry *entry = &entries[mg_random_below(&random, TIMERS)];
        switch (mg_random_below(&random, 4)) {
        case 0:
        case 1:
            entry->want_ms = now_ms + 1 + (int64_t)mg_random_below(&random, 1000);
            assert_ok(mg_grpc__timer_set(&timers, &entry->timer, entry->want_ms, &err));
            break;
        case 2:
            mg_grpc__timer_clear(&timers, &entry->timer);
            entry->want_ms = INT64_MAX;
            break;
        default:
            now_ms += (int64_t)mg_random_below(&random, 20);
            last_ms = 0;
            mg_grpc__timers_fire(&timers, now_ms);
        }
        int64_t first_ms = INT64_MAX;
        for (int i = 0; i < TIMERS; i++)
            first_ms = MG_MIN(first_ms, entries[i].want_ms);
        assert_int_equal(mg_grpc__timers_next(&timers), first_ms);
    }
    now_ms += 10000;
    last_ms = 0;
    mg_grpc__timers_fire(&timers, now_ms);
    for (int i = 0; i < TIMERS; i++)
        assert_true(entries[i].want_ms == INT64_MAX && entries[i].fired > 0);
    assert_int_equal(timers.count, 0);
    mg_grpc__timers_free(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
