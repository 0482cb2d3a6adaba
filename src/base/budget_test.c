/* budget_test.c -- reservations are all or nothing, up to the root, from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/budget.h"
#include "base/lock.h"
#include "base/testing.h"

static void test_tree(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget root, a, b;
    mg_budget_init(&root, "process", NULL, 100);
    mg_budget_init(&a, "scans", &root, SIZE_MAX);
    mg_budget_init(&b, "delta", &root, 60);
    assert_ok(mg_budget_reserve(&a, 50, &err));
    assert_int_equal(mg_budget_left(&b), 50);
    assert_code(MG_NO_MEMORY, mg_budget_reserve(&b, 51, &err));
    assert_string_equal(err.text, "51 bytes more for delta would pass the memory limit of process: 50 of 100 used");
    assert_int_equal(mg_budget_used(&b), 0);
    assert_int_equal(mg_budget_used(&root), 50);
    assert_ok(mg_budget_reserve(&b, 50, &err));
    assert_int_equal(mg_budget_left(&root), 0);
    mg_budget_release(&a, 50);
    assert_code(MG_NO_MEMORY, mg_budget_reserve(&b, 11, &err)); /* its own limit */
    assert_code(MG_NO_MEMORY, mg_budget_reserve(&b, SIZE_MAX, &err));
    assert_int_equal(mg_budget_used(&root), 50);
    assert_int_equal(atomic_load(&root.peak_bytes), 100);
    mg_budget_release(&b, 50);
    assert_int_equal(mg_budget_used(&root), 0);
    assert_ok(mg_budget_reserve(NULL, 1, &err));
    mg_budget_release(NULL, 1);
    assert_int_equal(mg_budget_used(NULL), 0);
}

/* A share is taken at once: others cannot have it, and it does not ask them again. */
static void test_share(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget root, other, share;
    mg_budget_init(&root, "process", NULL, 100);
    mg_budget_init(&other, "store", &root, SIZE_MAX);
    assert_ok(mg_budget_reserve(&other, 50, &err));
    assert_code(MG_NO_MEMORY, mg_budget_init_share(&share, "pump", &root, 51, &err));
    mg_budget_clear_share(&share); /* nothing to give back */
    assert_int_equal(mg_budget_used(&root), 50);
    assert_ok(mg_budget_init_share(&share, "pump", &root, 40, &err));
    assert_int_equal(mg_budget_used(&root), 90);
    assert_int_equal(mg_budget_used(&share), 0);
    assert_ok(mg_budget_reserve(&other, 10, &err));
    assert_int_equal(mg_budget_left(&root), 0);
    assert_ok(mg_budget_reserve(&share, 40, &err));
    assert_int_equal(mg_budget_used(&root), 100);
    assert_code(MG_NO_MEMORY, mg_budget_reserve(&share, 1, &err));
    mg_budget_release(&share, 40);
    assert_int_equal(mg_budget_used(&root), 100);
    mg_budget_clear_share(&share);
    mg_budget_clear_share(&share); /* twice is once */
    assert_int_equal(mg_budget_used(&root), 60);
    mg_budget_release(&other, 60);
    mg_budget_clear_share(&(struct mg_budget){.name = NULL});
}

/* A share that grows is there at least; more of it is the parent's to give, and goes back first. */
static void test_growing_share(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget root, share;
    mg_budget_init(&root, "process", NULL, 100);
    assert_ok(mg_budget_init_growing_share(&share, "merges", &root, 40, &err));
    assert_int_equal(mg_budget_left(&share), 60);
    assert_ok(mg_budget_reserve(&share, 30, &err));
    assert_int_equal(mg_budget_used(&root), 40);
    assert_ok(mg_budget_reserve(&share, 20, &err));
    assert_int_equal(mg_budget_used(&root), 60);
    assert_int_equal(mg_budget_used(&share), 50);
    assert_code(MG_NO_MEMORY, mg_budget_reserve(&share, 41, &err));
    assert_ok(mg_budget_reserve(&share, 10, &err)); /* of the share itself */
    mg_budget_release(&share, 30);
    assert_int_equal(mg_budget_used(&root), 40);
    assert_int_equal(mg_budget_used(&share), 30);
    mg_budget_release(&share, 30);
    assert_int_equal(mg_budget_left(&share), 60);
    mg_budget_clear_share(&share);
    assert_int_equal(mg_budget_used(&root), 0);
}

static size_t asked;
static void note_asked(void *arg, size_t bytes) { asked += *(size_t *)arg * bytes; }

static void test_asked(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget root, child, share, grown;
    size_t times = 2;
    mg_budget_init(&root, "process", NULL, 100);
    mg_budget_init(&child, "child", &root, 80);
    assert_ok(mg_budget_init_share(&share, "share", &child, 20, &err));
    assert_ok(mg_budget_init_growing_share(&grown, "grown", &child, 20, &err));
    assert_int_equal(mg_budget_limit(&root), 100);
    assert_int_equal(mg_budget_limit(&child), 80);
    assert_int_equal(mg_budget_limit(&share), 20);
    assert_int_equal(mg_budget_limit(&grown), 80);
    assert_true(mg_budget_limit(NULL) == SIZE_MAX);
    mg_budget_ask(&share, 5); /* nobody has anything */
    root.give_way = note_asked;
    root.give_way_arg = &times;
    mg_budget_ask(&share, 5);
    mg_budget_ask(&grown, 7);
    mg_budget_ask(NULL, 9);
    assert_int_equal(asked, 24);
    mg_budget_clear_share(&share);
    mg_budget_clear_share(&grown);
}

static void reserve_and_release(void *arg)
{
    struct mg_budget *budget = arg;
    const struct mg_budget *above = budget->parent ? budget->parent : budget->lender;
    for (int i = 0; i < 20000; i++) {
        if (mg_budget_reserve(budget, 3, NULL) != MG_OK)
            continue;
        mg_assert(mg_budget_used(above) <= above->limit_bytes);
        mg_budget_release(budget, 3);
    }
}

static void test_threads(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget root, child;
    struct mg_thread threads[4] = {0};
    mg_budget_init(&root, "process", NULL, 7);
    mg_budget_init(&child, "child", &root, 7);
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        assert_ok(mg_thread_start(&threads[i], "budget", reserve_and_release, &child, &err));
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        mg_thread_join(&threads[i]);
    assert_int_equal(mg_budget_used(&root), 0);
    assert_int_equal(mg_budget_used(&child), 0);
    assert_true(atomic_load(&root.peak_bytes) <= 7);
    mg_budget_init(&root, "process", NULL, 10);
    assert_ok(mg_budget_init_growing_share(&child, "merges", &root, 4, &err));
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        assert_ok(mg_thread_start(&threads[i], "budget", reserve_and_release, &child, &err));
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        mg_thread_join(&threads[i]);
    assert_int_equal(mg_budget_used(&root), 4);
    mg_budget_clear_share(&child);
    assert_int_equal(mg_budget_used(&root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tree), cmocka_unit_test(test_share),
                                       cmocka_unit_test(test_growing_share), cmocka_unit_test(test_asked),
                                       cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
