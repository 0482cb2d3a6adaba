/* span_test.c -- a reader gives the same bytes from memory and from a source, whatever is asked for in whatever order,
 * and counts what it holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/random.h"
#include "base/span.h"
#include "base/testing.h"

enum { SIZE = 1 << 20, ROUNDS = 200 };

static uint8_t bytes[SIZE];
static bool broken;

static enum mg_code read_bytes(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    assert_true(offset <= SIZE && size <= SIZE - offset);
    if (broken)
        return mg_fail(err, MG_IO, "broken");
    memcpy(out, bytes + offset, size);
    return MG_OK;
}

static void fill(void)
{
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(mg_hash_u64(i) >> 7);
}

/* Takes, skips and looks ahead at random over [first, first + size), in memory or not. */
static void read_at_random(const struct mg_span *span, const uint8_t *from, uint64_t seed)
{
    struct mg_span_reader reader = {.rest = {.size = 0}};
    struct mg_random random;
    struct mg_error err = MG_ERROR_INIT;
    uint64_t at = 0;

    mg_random_init(&random, seed);
    mg_span_reader_turn(&reader, span);
    while (at < span->size) {
        uint64_t left = span->size - at, size = mg_random_below(&random, mg_random_below(&random, 8) ? 200 : 150000);
        struct mg_slice got;
        assert_int_equal(mg_span_reader_left(&reader), left);
        size = MG_MIN(size, left);
        switch (mg_random_below(&random, 4)) {
        case 0: assert_true(mg_span_reader_skip(&reader, size)); break;
        case 1: {
            struct mg_span ahead = mg_span_reader_ahead(&reader, size);
            struct mg_span_reader inner = {.rest = {.size = 0}};
            mg_span_reader_turn(&inner, &ahead);
            assert_ok(mg_span_reader_take(&inner, size, &got, &err));
            assert_true(mg_slice_equal(got, MG_SLICE(from + at, size)));
            assert_int_equal(mg_span_reader_left(&inner), 0);
            mg_span_reader_clear(&inner);
            size = 0;
            break;
        }
        case 2:
            assert_ok(mg_span_reader_need(&reader, size, &err));
            assert_true(mg_reader_left(&reader.in) >= size);
            assert_true(mg_slice_equal(MG_SLICE(reader.in.at, size), MG_SLICE(from + at, size)));
            size = 0;
            break;
        default:
            assert_ok(mg_span_reader_take(&reader, size, &got, &err));
            assert_true(mg_slice_equal(got, MG_SLICE(from + at, size)));
        }
        at += size;
    }
    struct mg_slice none;
    assert_ok(mg_span_reader_take(&reader, 1, &none, &err));
    assert_true(reader.in.failed && none.size == 0);
    mg_span_reader_clear(&reader);
}

static void the_same_from_memory_and_in_pieces(void **state)
{
    struct mg_budget budget;
    fill();
    mg_budget_init(&budget, "windows", NULL, SIZE_MAX);
    const struct mg_span_source source = {.read = read_bytes, .budget = &budget};
    const struct mg_span memory = mg_span_of(MG_SLICE(bytes, SIZE)), outside = {.size = SIZE, .source = &source};
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        uint64_t first = seed * 977, size = SIZE - first - seed * 31;
        struct mg_span part = mg_span_part(&memory, first, size);
        read_at_random(&part, bytes + first, seed);
        part = mg_span_part(&outside, first, size);
        read_at_random(&part, bytes + first, seed);
    }
    assert_int_equal(mg_budget_used(&budget), 0);
    assert_true(atomic_load(&budget.peak_bytes) <= 600000); /* two windows, while one grows three */
}

static void errors_leave_the_reader_usable(void **state)
{
    struct mg_budget budget;
    struct mg_span_reader reader = {.rest = {.size = 0}};
    struct mg_slice got;
    struct mg_error err = MG_ERROR_INIT;
    fill();
    mg_budget_init(&budget, "windows", NULL, 100000);
    const struct mg_span_source source = {.read = read_bytes, .budget = &budget};
    const struct mg_span outside = {.size = SIZE, .source = &source};
    mg_span_reader_turn(&reader, &outside);
    assert_ok(mg_span_reader_take(&reader, 10, &got, &err));
    assert_int_equal(mg_budget_used(&budget), MG_SPAN_WINDOW);
    assert_code(MG_NO_MEMORY, mg_span_reader_take(&reader, 90000, &got, &err)); /* the old window and a new one */
    assert_ok(mg_span_reader_take(&reader, 10, &got, &err));
    assert_memory_equal(got.data, bytes + 10, 10);
    broken = true;
    assert_code(MG_IO, mg_span_reader_take(&reader, MG_SPAN_WINDOW, &got, &err));
    broken = false;
    assert_ok(mg_span_reader_take(&reader, MG_SPAN_WINDOW, &got, &err));
    assert_memory_equal(got.data, bytes + 20, MG_SPAN_WINDOW);
    assert_false(mg_span_reader_skip(&reader, SIZE));
    assert_true(reader.in.failed);
    mg_span_reader_clear(&reader);
    assert_int_equal(mg_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_from_memory_and_in_pieces),
                                       cmocka_unit_test(errors_leave_the_reader_usable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
