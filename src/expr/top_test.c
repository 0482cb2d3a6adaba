/* top_test.c -- the first rows in an order, over many batches, against all rows sorted; and budgets that refuse.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/expr_testing.h"
#include "expr/top.h"

enum { BATCH_ROWS = 3000, BATCHES = 8, ROWS = BATCH_ROWS * BATCHES };

static const struct mg_type types[2] = {{.id = MG_TYPE_INT32}, {.id = MG_TYPE_INT64}};

/* The order is that of v, then id; both are put into one number to be sorted. */
static int64_t all[ROWS];
static uint32_t all_count;

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static struct mg_batch *make_batch(struct mg_random *random, uint32_t first, uint64_t *mask)
{
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_error err;

    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, &err));
    memset(mask, 0, (BATCH_ROWS + 63) / 64 * 8);
    for (uint32_t row = 0; row < BATCH_ROWS; row++) {
        int64_t v = (int64_t)mg_random_below(random, 500) - 250, id = first + row;
        bool is_null = mg_random_below(random, 50) == 0, chosen = mg_random_below(random, 3) > 0;
        if (is_null)
            assert_ok(mg_builder_null(&builder, 0, &err));
        else
            assert_ok(mg_builder_int(&builder, 0, v, &err));
        assert_ok(mg_builder_int(&builder, 1, id, &err));
        mask[row / 64] |= (uint64_t)chosen << (row % 64);
        if (chosen) /* v descends, NULL is last */
            all[all_count++] = (is_null ? 1000 : 250 - v) * 1000000 + id;
    }
    assert_ok(mg_batch_builder_finish(&builder, BATCH_ROWS, &batch, &err));
    mg_batch_builder_clear(&builder);
    return batch;
}

static enum mg_code add_all(struct mg_top *top, struct mg_error *err)
{
    struct mg_random random;
    uint64_t mask[(BATCH_ROWS + 63) / 64];
    enum mg_code code = MG_OK;

    mg_random_init(&random, 3);
    all_count = 0;
    for (uint32_t i = 0; code == MG_OK && i < BATCHES; i++) {
        struct mg_batch *batch = make_batch(&random, i * BATCH_ROWS, mask);
        const struct mg_vector *vectors[2] = {&batch->vectors[0], &batch->vectors[1]};
        code = mg_top_add(top, vectors, BATCH_ROWS, mask, err);
        mg_batch_unref(batch);
    }
    qsort(all, all_count, sizeof all[0], compare);
    return code;
}

static const uint32_t id_only[] = {1};
static const struct mg_top_order order[] = {{.column = 0, .is_descending = true, .nulls_last = true}, {.column = 1}};

static void the_first_rows_come_in_order(void **state)
{
    struct mg_schema *schema = make_table(types, 2, 1);
    struct mg_budget budget;
    struct mg_error err;

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    for (uint32_t limit = 1; limit < 30000; limit *= 7) {
        struct mg_top_request request = {id_only, 1, order, 2, limit};
        struct mg_top *top;
        struct mg_batch *batch;
        uint32_t seen = 0;
        assert_ok(mg_top_new(&request, schema, &budget, &top, &err));
        assert_ok(add_all(top, &err));
        for (;;) {
            assert_ok(mg_top_next(top, 1000, &batch, &err));
            if (!batch)
                break;
            for (uint32_t i = 0; i < batch->row_count; i++, seen++)
                assert_int_equal(((const int64_t *)batch->vectors[0].values)[i], all[seen] % 1000000);
            mg_batch_unref(batch);
        }
        assert_int_equal(seen, MG_MIN(limit, all_count));
        mg_top_free(top);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_schema_unref(schema);
}

static void a_budget_may_refuse_anywhere(void **state)
{
    struct mg_schema *schema = make_table(types, 2, 1);
    struct mg_top_request request = {id_only, 1, order, 2, 2000};

    for (size_t limit = 0; limit < 700000; limit += 20000) {
        struct mg_budget budget;
        struct mg_error err = MG_ERROR_INIT;
        struct mg_top *top = NULL;
        struct mg_batch *batch = NULL;
        mg_budget_init(&budget, "test", NULL, limit);
        enum mg_code code = mg_top_new(&request, schema, &budget, &top, &err);
        if (code == MG_OK)
            code = add_all(top, &err);
        if (code == MG_OK)
            code = mg_top_next(top, 10, &batch, &err);
        mg_batch_unref(batch);
        mg_top_free(top);
        assert_true(code == MG_OK || code == MG_NO_MEMORY);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_schema_unref(schema);
}

static void bad_requests_are_refused(void **state)
{
    struct mg_schema *schema = make_table(types, 2, 1);
    struct mg_top_order beyond = {.column = 2};
    struct mg_top_request requests[] = {
        {id_only, 1, order, 2, 0}, {id_only, 1, order, 0, 1}, {id_only, 1, &beyond, 1, 1}};
    struct mg_error err;
    struct mg_top *top;

    for (size_t i = 0; i < MG_COUNT_OF(requests); i++)
        assert_code(MG_INVALID, mg_top_new(&requests[i], schema, NULL, &top, &err));
    requests[0].limit = MG_TOP_ROWS_MAX + 1;
    assert_code(MG_TOO_BIG, mg_top_new(&requests[0], schema, NULL, &top, &err));
    mg_schema_unref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rows_come_in_order),
        cmocka_unit_test(a_budget_may_refuse_anywhere),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
