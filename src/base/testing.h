/* testing.h -- cmocka, and assertions on result codes that show the story of a failure. For tests only.
 *
 * A test that uses them has a variable `struct mg_error err` and passes &err to what it calls.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_TESTING_H
#define MG_BASE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

#define assert_code(want, call)                                                                                  \
    do {                                                                                                         \
        err = MG_ERROR_INIT;                                                                                     \
        enum mg_code assert_code_ = (call);                                                                      \
        if (assert_code_ != (want))                                                                              \
            fail_msg("%s gave %s, not %s: %s", #call, mg_code_name(assert_code_), mg_code_name(want), err.text); \
    } while (0)
#define assert_ok(call) assert_code(MG_OK, call)

/* A new empty folder under TMPDIR or /tmp; the caller frees the path, remove_folder() empties and removes it. */
static inline char *make_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *path = malloc(4096);
    assert_non_null(path);
    snprintf(path, 4096, "%s/magic-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void remove_folder(char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    free(path);
}

#endif
