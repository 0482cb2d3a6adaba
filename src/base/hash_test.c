/* hash_test.c -- the values that stored checksums rely on, and pieces that hash as the whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/testing.h"

/* Stored files depend on these: they are XXH3's own values. */
static void test_values(void **state)
{
    assert_true(mg_hash("", 0, 0) == 0x2d06800538d394c2u);
    assert_true(mg_hash("abc", 3, 0) == 0x78af5f94892f3950u);
    assert_true(mg_hash("abc", 3, 1) != mg_hash("abc", 3, 0));
}

static void test_pieces(void **state)
{
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31);
    for (size_t size = 0; size < sizeof bytes; size = size * 2 + 1) {
        for (size_t cut = 0; cut <= size; cut += 1 + size / 7) {
            struct iovec pieces[] = {{bytes, cut}, {NULL, 0}, {bytes + cut, size - cut}};
            assert_true(mg_hash_pieces(pieces, 3, 77) == mg_hash(bytes, size, 77));
        }
        struct iovec one = {bytes, size};
        assert_true(mg_hash_pieces(&one, 1, 77) == mg_hash(bytes, size, 77));
    }
    assert_true(mg_hash_pieces(NULL, 0, 3) == mg_hash(NULL, 0, 3));
}

static void test_u64(void **state)
{
    uint64_t buckets[16] = {0};
    for (uint64_t i = 0; i < 16000; i++)
        buckets[mg_hash_u64(i << 20) % 16]++;
    for (size_t i = 0; i < 16; i++)
        assert_in_range(buckets[i], 800, 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_u64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
