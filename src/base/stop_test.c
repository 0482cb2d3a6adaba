/* stop_test.c -- what MAGIC_STOP says happens at the pass it names, in a process of its own; mistakes in it are told.
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/stop.h"
#include "base/testing.h"

/* Passes "wal.write" and "wal.synced" three times each under that setting; returns the wait status. */
static int run_with(const char *setting, const char *trace)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("MAGIC_STOP", setting, 1);
        if (trace)
            setenv("MAGIC_STOP_TRACE", trace, 1);
        if (mg_stop_init())
            _exit(100);
        for (int i = 0; i < 3; i++) {
            MG_STOP("wal.write");
            MG_STOP("wal.synced");
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_actions(void **state)
{
    int status = run_with("wal.synced:3:kill", NULL);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    status = run_with("wal.synced:4:kill", NULL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = run_with("wal.write:2:exit", NULL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    int64_t before = mg_mono_ms(mg_clock_system());
    status = run_with("wal.write:1:sleep40,wal.synced:2:exit", NULL);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_true(mg_mono_ms(mg_clock_system()) - before >= 39);
}

static void test_mistakes(void **state)
{
    static const char *const wrong[] = {"wal.write",           "wal.wrote:1:kill",     "wal.write:0:kill",
                                        "wal.write:x:kill",    "wal.write:1:stop",     "wal.write:1:sleep",
                                        "wal.write:1:sleep5x", "wal.write:1",          ":1:kill",
                                        "wal.write:1:sleep-1", "wal.write:1:kill,,bad"};
    for (size_t i = 0; i < MG_COUNT_OF(wrong); i++) {
        int status = run_with(wrong[i], NULL);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 100);
    }
}

static void test_trace(void **state)
{
    char *folder = make_folder();
    char path[4200], text[200] = "";
    snprintf(path, sizeof path, "%s/trace", folder);
    assert_int_equal(run_with("", path), 0);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, "wal.write\nwal.synced\n");
    remove_folder(folder);
}

static void note(void *arg, const char *name)
{
    char *text = arg;
    strncat(text, name, 20);
    strncat(text, " ", 2);
}

static void test_hook(void **state)
{
    char text[200] = "";
    assert_false(mg_stop_armed);
    MG_STOP("wal.write");
    mg_stop_hook(note, text);
    MG_STOP("wal.write");
    MG_STOP("publish.swapped");
    mg_stop_hook(NULL, NULL);
    MG_STOP("wal.write");
    assert_string_equal(text, "wal.write publish.swapped ");
    size_t count;
    const char *const *names = mg_stop_names(&count);
    assert_true(count >= 16);
    assert_string_equal(names[0], "buffer.write");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_actions), cmocka_unit_test(test_mistakes),
                                       cmocka_unit_test(test_trace), cmocka_unit_test(test_hook)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
