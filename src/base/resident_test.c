/* resident_test.c -- gaps between pieces that stay are given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/resident.h"

#include <stdlib.h>
#include <string.h>

#include "base/testing.h"

enum { PIECES = 1024, PIECE_BYTES = 100000, KEEP_EVERY = 16 };

/* A sanitizer's allocator keeps what it wants. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { OUR_HEAP = 0 };
#else
enum { OUR_HEAP = 1 };
#endif

static void gaps_are_given_back(void **state)
{
    static char *pieces[PIECES];

    for (int i = 0; i < PIECES; i++) {
        pieces[i] = malloc(PIECE_BYTES);
        assert_non_null(pieces[i]);
        memset(pieces[i], i, PIECE_BYTES);
    }
    size_t full = mg_resident_bytes();
    assert_true(full >= (size_t)PIECES * PIECE_BYTES);
    for (int i = 0; i < PIECES; i++)
        if (i % KEEP_EVERY)
            free(pieces[i]);
    mg_resident_trim();
    size_t trimmed = mg_resident_bytes();
    if (OUR_HEAP)
        assert_true(full - trimmed >= (size_t)PIECES * PIECE_BYTES / 2);
    for (int i = 0; i < PIECES; i += KEEP_EVERY) {
        assert_int_equal(pieces[i][PIECE_BYTES - 1], (char)i);
        free(pieces[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gaps_are_given_back)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
