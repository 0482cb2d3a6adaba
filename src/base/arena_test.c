/* arena_test.c -- zeroed and aligned, bounded, and gone at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/testing.h"

static void test_alloc(void **state)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 10 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t size = 0; size < 5000; size = size * 2 + 1) {
            char *p = mg_arena_alloc(&arena, size);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xff, size);
        }
        assert_non_null(mg_arena_alloc(&arena, 3 << 20)); /* larger than any block */
        mg_arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
    }
    mg_arena_clear(&arena);
    assert_non_null(mg_arena_new(&arena, struct mg_arena));
    mg_arena_clear(&arena);
}

static void test_max(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_arena arena;
    mg_arena_init(&arena, 64);
    assert_non_null(mg_arena_alloc(&arena, 33)); /* counts as 48 */
    assert_null(mg_arena_alloc(&arena, 17));
    assert_null(mg_arena_alloc(&arena, SIZE_MAX));
    assert_null(mg_arena_array(&arena, uint64_t, SIZE_MAX / 4));
    assert_code(MG_NO_MEMORY, mg_arena_fail(&arena, &err));
    assert_string_equal(err.text, "the memory of one request is used up: 48 of 64 bytes");
    assert_non_null(mg_arena_array(&arena, uint64_t, (size_t)2));
    assert_null(mg_arena_alloc(&arena, 0));
    assert_null(mg_arena_text(&arena, mg_slice_text("x")));
    assert_null(mg_arena_printf(&arena, "%d", 7));
    assert_null(mg_arena_copy(&arena, mg_slice_text("x")).data);
    mg_arena_clear(&arena);
}

static void test_copies(void **state)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 20);
    assert_string_equal(mg_arena_text(&arena, MG_SLICE("abcdef", 3)), "abc");
    assert_string_equal(mg_arena_text(&arena, MG_SLICE(NULL, 0)), "");
    assert_string_equal(mg_arena_printf(&arena, "%s-%d", "a", 12), "a-12");
    struct mg_slice copy = mg_arena_copy(&arena, mg_slice_text("bytes"));
    assert_true(mg_slice_equal(copy, mg_slice_text("bytes")));
    mg_arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alloc), cmocka_unit_test(test_max),
                                       cmocka_unit_test(test_copies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
