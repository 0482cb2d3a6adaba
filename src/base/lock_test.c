/* lock_test.c -- ranks are enforced, owners are known, waits end in time, threads have names and no signals.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/lock.h"
#include "base/testing.h"

static struct mg_mutex outer, inner;
static struct mg_cond cond;
static int turns;

static void setup(void)
{
    mg_mutex_init(&outer, MG_RANK_WRITER, "outer");
    mg_mutex_init(&inner, MG_RANK_LEAF, "inner");
    mg_cond_init(&cond);
    turns = 0;
}

static void teardown(void)
{
    mg_cond_destroy(&cond);
    mg_mutex_destroy(&inner);
    mg_mutex_destroy(&outer);
}

static void take_turns(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        mg_mutex_lock(&outer);
        mg_mutex_lock(&inner);
        turns++;
        mg_mutex_unlock(&inner);
        mg_assert_held(&outer);
        mg_cond_signal(&cond);
        mg_mutex_unlock(&outer);
    }
}

static void test_threads(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_thread threads[3] = {0};
    setup();
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        assert_ok(mg_thread_start(&threads[i], "turns", take_turns, NULL, &err));
    mg_mutex_lock(&outer);
    while (turns < 3000)
        mg_cond_wait(&cond, &outer);
    mg_mutex_unlock(&outer);
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        mg_thread_join(&threads[i]);
    mg_thread_join(&threads[0]); /* harmless */
    assert_int_equal(turns, 3000);
    teardown();
}

static void test_timeout(void **state)
{
    setup();
    struct mg_clock *clock = mg_clock_system();
    int64_t before = mg_mono_ms(clock);
    mg_mutex_lock(&outer);
    while (mg_cond_wait_ms(&cond, &outer, 30))
        ;
    assert_false(mg_cond_wait_ms(&cond, &outer, 0));
    assert_false(mg_cond_wait_ms(&cond, &outer, -5));
    mg_assert_held(&outer);
    mg_mutex_unlock(&outer);
    assert_true(mg_mono_ms(clock) - before >= 29);
    teardown();
}

static void look_at_thread(void *arg)
{
    sigset_t mask;
    char *out = arg;
    pthread_getname_np(pthread_self(), out, 16);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    mg_assert(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT));
}

static void test_thread_name(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_thread thread = {0};
    char name[16];
    assert_ok(mg_thread_start(&thread, "a-name-that-is-too-long", look_at_thread, name, &err));
    mg_thread_join(&thread);
    assert_string_equal(name, "a-name-that-is-");
}

#ifdef MG_LOCK_CHECK
/* Does that end a process with an assertion? */
static bool aborts(void (*act)(void))
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(1);
        act();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void wrong_order(void) MG_NO_LOCK_ANALYSIS
{
    mg_mutex_lock(&inner);
    mg_mutex_lock(&outer);
}

static void twice(void) MG_NO_LOCK_ANALYSIS
{
    mg_mutex_lock(&outer);
    mg_mutex_lock(&outer);
}

static void not_held(void) { mg_assert_held(&outer); }

static void unlock_not_held(void) MG_NO_LOCK_ANALYSIS { mg_mutex_unlock(&outer); }

static void right_order(void)
{
    mg_mutex_lock(&outer);
    mg_mutex_lock(&inner);
    mg_mutex_unlock(&outer); /* not in reverse: allowed */
    mg_mutex_unlock(&inner);
    mg_mutex_lock(&outer);
    mg_mutex_unlock(&outer);
}

static void test_order(void **state)
{
    setup();
    assert_false(aborts(right_order));
    assert_true(aborts(wrong_order));
    assert_true(aborts(twice));
    assert_true(aborts(not_held));
    assert_true(aborts(unlock_not_held));
    teardown();
}
#endif

/* ---- the seam ------------------------------------------------------------------------------------------------ */

static int refuse(void *arg, const char *name)
{
    assert_string_equal(name, "refused");
    return *(int *)arg;
}

static void test_refused_start(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_thread thread = {0};
    int error_number = EAGAIN;
    struct mg_thread_hooks hooks = {.arg = &error_number, .start = refuse};
    setup();
    mg_thread_hook(&hooks);
    assert_code(MG_NO_MEMORY, mg_thread_start(&thread, "refused", take_turns, NULL, &err));
    assert_non_null(strstr(err.text, "could not start the thread refused: Resource temporarily unavailable"));
    mg_thread_join(&thread); /* never started: harmless */
    error_number = 0;
    assert_ok(mg_thread_start(&thread, "refused", take_turns, NULL, &err));
    mg_thread_join(&thread);
    mg_thread_hook(NULL);
    teardown();
}

/* What this thread waited for, each with a blank behind; in brackets: and went on. */
static char waited[200];
static _Thread_local bool is_told;

static void note_wait(void *arg, const char *what)
{
    if (is_told)
        strncat(strncat(waited, what, 50), " ", 2);
}

static void note_go_on(void *arg)
{
    if (is_told)
        strncat(waited, "on ", 4);
}

static void test_waits_are_told(void **state)
{
    static const struct mg_thread_hooks hooks = {.wait = note_wait, .go_on = note_go_on};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_thread thread = {0};
    setup();
    waited[0] = 0;
    is_told = true;
    mg_thread_hook(&hooks);
    mg_mutex_lock(&outer); /* free: no wait */
    assert_false(mg_cond_wait_ms(&cond, &outer, 1));
    assert_ok(mg_thread_start(&thread, "other", take_turns, NULL, &err));
    mg_mutex_unlock(&outer);
    mg_thread_join(&thread);
    mg_thread_hook(NULL);
    assert_string_equal(waited, "outer on other on ");
    is_told = false;
    teardown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_timeout),        cmocka_unit_test(test_thread_name),
        cmocka_unit_test(test_refused_start), cmocka_unit_test(test_waits_are_told),
#ifdef MG_LOCK_CHECK
        cmocka_unit_test(test_order),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
