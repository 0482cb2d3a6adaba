/* sketch_test.c -- counts of different values stay near the truth, alone and merged.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/sketch.h"

#include <math.h>

#include "base/testing.h"

static struct mg_vector ints(int64_t *values, uint32_t count, int64_t first, int64_t step)
{
    for (uint32_t i = 0; i < count; i++)
        values[i] = first + (int64_t)i * step;
    return (struct mg_vector){.type = {.id = MG_TYPE_INT64}, .row_count = count, .values = values};
}

static void assert_near(uint64_t got, uint64_t want, double error)
{
    if (fabs((double)got - (double)want) > error * (double)want)
        fail_msg("%llu counted, %llu are there", (unsigned long long)got, (unsigned long long)want);
}

static void test_counts(void **state)
{
    static int64_t values[1 << 20];
    static const uint32_t counts[] = {1, 2, 10, 100, 1000, 5000, 10000, 12000, 100000, 1 << 20};

    for (size_t i = 0; i < MG_COUNT_OF(counts); i++)
        for (int64_t step = 1; step < 2000; step = step * 7 + 1) {
            struct mg_sketch sketch = {{0}};
            struct mg_vector rows = ints(values, counts[i], -5, step);
            mg_sketch_add(&sketch, &rows);
            mg_sketch_add(&sketch, &rows);
            assert_near(mg_sketch_count(&sketch), counts[i], counts[i] <= 10 ? 0.01 : 0.06);
        }
    assert_int_equal(mg_sketch_count(&(struct mg_sketch){{0}}), 0);
}

static void test_merge(void **state)
{
    static int64_t values[100000];
    struct mg_sketch a = {{0}}, b = {{0}}, all = {{0}};
    struct mg_vector rows = ints(values, 100000, 0, 1);

    mg_sketch_add(&all, &rows);
    rows = ints(values, 60000, 0, 1);
    mg_sketch_add(&a, &rows);
    rows = ints(values, 60000, 40000, 1);
    mg_sketch_add(&b, &rows);
    mg_sketch_merge(&a, &b);
    assert_memory_equal(&a, &all, sizeof a);
}

static void test_equal_values(void **state)
{
    static const char text[] = "aa a  abc";
    static const int32_t offsets[] = {0, 1, 3, 6, 9};
    static const double floats[] = {0.0, -0.0, NAN, -NAN, 1.5};
    static const uint8_t validity[] = {0x0f};
    struct mg_vector rows = {.type = {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE},
                             .row_count = 4,
                             .values = text,
                             .offsets = offsets};
    struct mg_sketch sketch = {{0}};

    mg_sketch_add(&sketch, &rows);
    assert_int_equal(mg_sketch_count(&sketch), 2);
    sketch = (struct mg_sketch){{0}};
    rows.type.collation = MG_COLLATION_BINARY;
    mg_sketch_add(&sketch, &rows);
    assert_int_equal(mg_sketch_count(&sketch), 4);
    sketch = (struct mg_sketch){{0}};
    rows = (struct mg_vector){
        .type = {.id = MG_TYPE_FLOAT64}, .row_count = 5, .null_count = 1, .validity = validity, .values = floats};
    mg_sketch_add(&sketch, &rows);
    assert_int_equal(mg_sketch_count(&sketch), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_equal_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
