/* worker_test.c -- a pool's threads: none is started once the pool has stopped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "grpc/grpc_internal.h"

static void a_stopped_pool_takes_nothing(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc__pool pool = {.threads = NULL};
    struct mg_grpc_call call = {.stream_id = 1};

    assert_ok(mg_grpc__pool_init(&pool, "worker", 4, &err));
    mg_grpc__pool_stop(&pool);
    assert_code(MG_CLOSED, mg_grpc__pool_submit(&pool, &call, &err));
    assert_int_equal(pool.thread_count, 0);
    assert_false(call.queued);
    mg_grpc__pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_stopped_pool_takes_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
