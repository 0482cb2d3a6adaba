/* log_test.c -- one event is one line with its parts, and lines below the level are dropped.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/log.h"
#include "base/testing.h"

/* What standard error got while write_lines ran; static memory. */
static const char *capture(void (*write_lines)(void))
{
    static char text[8192];
    FILE *file = tmpfile();
    assert_non_null(file);
    int before = dup(STDERR_FILENO);
    assert_int_equal(dup2(fileno(file), STDERR_FILENO), STDERR_FILENO);
    write_lines();
    assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
    close(before);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void one_line(void) { mg_log(MG_LOG_WARN, "syncer", "behind lag_ms=%d", 12); }

static void test_line(void **state)
{
    const char *line = capture(one_line);
    assert_int_equal(line[4], '-');
    assert_int_equal(line[23], 'Z');
    const char *rest = strstr(line, " warn  syncer ");
    assert_non_null(rest);
    assert_non_null(strstr(rest, ": behind lag_ms=12\n"));
}

static void newline_in_text(void) { mg_log(MG_LOG_INFO, "x", "%s", "a\nb\r\nc"); }

static void test_newline(void **state)
{
    const char *line = capture(newline_in_text);
    assert_non_null(strstr(line, ": a b  c\n"));
    assert_int_equal(strchr(line, '\n') - line, (long)strlen(line) - 1);
}

static void long_text(void)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    mg_log(MG_LOG_ERROR, "x", "%s", text);
}

static void test_long(void **state)
{
    const char *line = capture(long_text);
    assert_int_equal(strlen(line), 2048);
    assert_int_equal(line[2047], '\n');
}

static void quiet(void)
{
    mg_log(MG_LOG_DEBUG, "x", "dropped");
    mg_log_set_level(MG_LOG_ERROR);
    mg_log(MG_LOG_WARN, "x", "dropped");
    mg_log_set_level(MG_LOG_INFO);
}

static void test_levels(void **state)
{
    assert_string_equal(capture(quiet), "");
    assert_int_equal(mg_log_level_from_name("debug"), MG_LOG_DEBUG);
    assert_int_equal(mg_log_level_from_name("error"), MG_LOG_ERROR);
    assert_int_equal(mg_log_level_from_name("loud"), -1);
    assert_int_equal(mg_log_level_from_name(NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_line), cmocka_unit_test(test_newline),
                                       cmocka_unit_test(test_long), cmocka_unit_test(test_levels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
