/* error_test.c -- codes keep their numbers, texts are cut cleanly, contexts stand in front.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/testing.h"

static void test_codes(void **state)
{
    assert_int_equal(MG_SNAPSHOT_EXPIRED, 32);
    assert_string_equal(mg_code_name(MG_NO_SPACE), "NO_SPACE");
    assert_string_equal(mg_code_name((enum mg_code)999), "?");
    assert_int_equal(mg_code_from_name("WRITER_FENCED"), MG_WRITER_FENCED);
    assert_int_equal(mg_code_from_name("no such"), MG_INTERNAL);
    assert_int_equal(mg_code_from_name(NULL), MG_INTERNAL);
    assert_int_equal(mg_code_grpc_status(MG_NOT_FOUND), 5);
    assert_int_equal(mg_code_grpc_status((enum mg_code)999), mg_code_grpc_status(MG_INTERNAL));
    assert_true(mg_code_retryable(MG_BUSY));
    assert_false(mg_code_retryable(MG_CORRUPT));
    assert_string_equal(mg_code_sentence(MG_BUSY), "a bounded queue or pool is full");
}

static void test_text(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_fail(&err, MG_INVALID, "limit %d is above %d", 7, 5), MG_INVALID);
    assert_int_equal(err.code, MG_INVALID);
    assert_string_equal(err.text, "limit 7 is above 5");
    assert_int_equal(mg_fail_in(&err, MG_IO, "option %s", "rows"), MG_INVALID);
    assert_string_equal(err.text, "option rows: limit 7 is above 5");
    mg_fail(&err, MG_IO, "again: %s", err.text); /* an argument that is overwritten */
    assert_string_equal(err.text, "again: option rows: limit 7 is above 5");
    assert_int_equal(mg_fail(NULL, MG_IO, "nobody reads this"), MG_IO);
    assert_int_equal(mg_fail_in(NULL, MG_IO, "nor this"), MG_IO);
}

static void test_errno(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_fail_errno(&err, ENOSPC, "could not write %s", "a"), MG_NO_SPACE);
    assert_string_equal(err.text, "could not write a: No space left on device");
    assert_int_equal(mg_fail_errno(&err, EIO, "x"), MG_IO);
    assert_int_equal(mg_fail_errno(&err, 123456, "x"), MG_IO);
    assert_string_equal(err.text, "x: unknown error");
}

static void test_corrupt(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_corrupt(&err, "d/1.wal", 512, "record %d", 3), MG_CORRUPT);
    assert_non_null(strstr(err.text, "d/1.wal is damaged at byte 512: record 3 (seen by src/base/error_test.c:"));
    assert_int_equal(mg_corrupt(NULL, "x", 0, "y"), MG_CORRUPT);
}

/* A cut never leaves half a character, wherever it falls. */
static void test_cut(void **state)
{
    static const char *const characters[] = {"a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x98"};
    for (size_t c = 0; c < MG_COUNT_OF(characters); c++) {
        for (size_t shift = 0; shift < 4; shift++) {
            char text[2048];
            size_t size = strlen(characters[c]), at = 0;
            while (at < shift)
                text[at++] = '.';
            for (; at + size < sizeof text; at += size)
                memcpy(text + at, characters[c], size);
            text[at] = '\0';
            struct mg_error err = MG_ERROR_INIT;
            mg_fail(&err, MG_INVALID, "%s", text);
            size_t kept = strlen(err.text);
            assert_in_range(kept, MG_ERROR_TEXT_MAX - 4, MG_ERROR_TEXT_MAX - 1);
            assert_int_equal((kept - shift) % size, 0);
            mg_fail_in(&err, MG_INVALID, "%s", "front");
            assert_int_equal((strlen(err.text) - strlen("front: ") - shift) % size, 0);
        }
    }
}

static enum mg_code give(enum mg_code code)
{
    MG_TRY(code);
    return MG_EXISTS;
}

static void test_macros(void **state)
{
    assert_int_equal(give(MG_OK), MG_EXISTS);
    assert_int_equal(give(MG_IO), MG_IO);
    MG_CLEANUP(mg_freep) char *text = strdup("x");
    char *taken = MG_TAKE(text);
    assert_null(text);
    assert_string_equal(taken, "x");
    free(taken);
    MG_CLEANUP(mg_freep) char *freed = strdup("seen by the leak checker");
    assert_non_null(freed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),   cmocka_unit_test(test_text), cmocka_unit_test(test_errno),
        cmocka_unit_test(test_corrupt), cmocka_unit_test(test_cut),  cmocka_unit_test(test_macros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
