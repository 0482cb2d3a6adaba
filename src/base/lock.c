/* lock.c -- pthread mutexes, conditions and threads with what makes mistakes visible: owner, rank, name.
 *
 * Each thread keeps the list of mutexes it holds; under MG_LOCK_CHECK taking one whose rank is not above all of them
 * ends the process and names both.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef MG_LOCK_CHECK
enum { HELD_MAX = 16 };
static _Thread_local const struct mg_mutex *held_locks[HELD_MAX];
static _Thread_local int held_count;

static void check_order(const struct mg_mutex *mutex)
{
    mg_assert(held_count < HELD_MAX);
    for (int i = 0; i < held_count; i++) {
        if (held_locks[i]->rank < mutex->rank)
            continue;
        fprintf(stderr, "lock %s (rank %d) is taken while %s (rank %d) is held\n", mutex->name, (int)mutex->rank,
                held_locks[i]->name, (int)held_locks[i]->rank);
        mg_assert(!"locks are taken in the order of their ranks");
    }
}

static void note_taken(const struct mg_mutex *mutex) { held_locks[held_count++] = mutex; }

static void note_released(const struct mg_mutex *mutex)
{
    for (int i = held_count - 1; i >= 0; i--) {
        if (held_locks[i] != mutex)
            continue;
        memmove(&held_locks[i], &held_locks[i + 1], (size_t)(held_count - 1 - i) * sizeof held_locks[0]);
        held_count--;
        return;
    }
    mg_assert(!"a mutex is released by the thread that took it");
}
#else
static void check_order(const struct mg_mutex *mutex) {}
static void note_taken(const struct mg_mutex *mutex) {}
static void note_released(const struct mg_mutex *mutex) {}
#endif

/* ---- the seam ------------------------------------------------------------------------------------------------ */

static const struct mg_thread_hooks *_Atomic hooks;

void mg_thread_hook(const struct mg_thread_hooks *of_test) { atomic_store(&hooks, of_test); }

static const struct mg_thread_hooks *hooked(void) { return atomic_load_explicit(&hooks, memory_order_acquire); }

static void begin_wait(const char *what)
{
    const struct mg_thread_hooks *seen = hooked();
    if (__builtin_expect(seen && seen->wait, false))
        seen->wait(seen->arg, what);
}

static void end_wait(void)
{
    const struct mg_thread_hooks *seen = hooked();
    if (__builtin_expect(seen && seen->go_on, false))
        seen->go_on(seen->arg);
}

/* ---- mutexes and conditions ---------------------------------------------------------------------------------- */

/* The calls below can only fail through our own mistakes. */
static void must(int result) { mg_assert(result == 0); }

void mg_mutex_init(struct mg_mutex *mutex, enum mg_lock_rank rank, const char *name)
{
    memset(mutex, 0, sizeof *mutex);
    must(pthread_mutex_init(&mutex->native, NULL));
    mutex->rank = rank;
    mutex->name = name;
}

void mg_mutex_destroy(struct mg_mutex *mutex) { must(pthread_mutex_destroy(&mutex->native)); }

static bool held_by_me(const struct mg_mutex *mutex)
{
    return atomic_load_explicit(&mutex->held, memory_order_relaxed) && pthread_equal(mutex->owner, pthread_self());
}

static void set_owner(struct mg_mutex *mutex)
{
    mutex->owner = pthread_self();
    atomic_store_explicit(&mutex->held, true, memory_order_relaxed);
    note_taken(mutex);
}

static void clear_owner(struct mg_mutex *mutex)
{
    mg_assert(held_by_me(mutex));
    note_released(mutex);
    atomic_store_explicit(&mutex->held, false, memory_order_relaxed);
}

/* Only a wait for another thread is told. */
static __attribute__((noinline)) void lock_seen(struct mg_mutex *mutex)
{
    if (pthread_mutex_trylock(&mutex->native) == 0)
        return;
    begin_wait(mutex->name);
    must(pthread_mutex_lock(&mutex->native));
    end_wait();
}

void mg_mutex_lock(struct mg_mutex *mutex) MG_NO_LOCK_ANALYSIS
{
    check_order(mutex);
    if (__builtin_expect(hooked() != NULL, false))
        lock_seen(mutex);
    else
        must(pthread_mutex_lock(&mutex->native));
    set_owner(mutex);
}

void mg_mutex_unlock(struct mg_mutex *mutex) MG_NO_LOCK_ANALYSIS
{
    clear_owner(mutex);
    must(pthread_mutex_unlock(&mutex->native));
}

void mg_assert_held(const struct mg_mutex *mutex) { mg_assert(held_by_me(mutex)); }

void mg_cond_init(struct mg_cond *cond)
{
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&cond->native, &attr));
    must(pthread_condattr_destroy(&attr));
}

void mg_cond_destroy(struct mg_cond *cond) { must(pthread_cond_destroy(&cond->native)); }

void mg_cond_wait(struct mg_cond *cond, struct mg_mutex *mutex)
{
    clear_owner(mutex);
    begin_wait(mutex->name);
    must(pthread_cond_wait(&cond->native, &mutex->native));
    end_wait();
    set_owner(mutex);
}

bool mg_cond_wait_ms(struct mg_cond *cond, struct mg_mutex *mutex, int64_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    timeout_ms = MG_MIN(MG_MAX(timeout_ms, (int64_t)0), INT64_C(1000) * 86400 * 365);
    until.tv_sec += (time_t)(timeout_ms / 1000);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    clear_owner(mutex);
    begin_wait(mutex->name);
    int result = pthread_cond_timedwait(&cond->native, &mutex->native, &until);
    end_wait();
    mg_assert(result == 0 || result == ETIMEDOUT);
    set_owner(mutex);
    return result == 0;
}

void mg_cond_signal(struct mg_cond *cond) { must(pthread_cond_signal(&cond->native)); }

void mg_cond_broadcast(struct mg_cond *cond) { must(pthread_cond_broadcast(&cond->native)); }

static void *run_thread(void *arg)
{
    struct mg_thread *thread = arg;
    pthread_setname_np(pthread_self(), thread->name);
    thread->main(thread->arg);
    return NULL;
}

enum mg_code mg_thread_start(struct mg_thread *thread, const char *name, void (*main)(void *arg), void *arg,
                             struct mg_error *err)
{
    mg_assert(!thread->running);
    *thread = (struct mg_thread){.main = main, .arg = arg};
    snprintf(thread->name, sizeof thread->name, "%s", name);
    const struct mg_thread_hooks *seen = hooked();
    int refused = seen && seen->start ? seen->start(seen->arg, thread->name) : 0;
    if (refused)
        return mg_fail(err, MG_NO_MEMORY, "could not start the thread %s: %s", name, strerrordesc_np(refused));
    /* A new thread inherits the mask: signals of the process go to the thread that waits for them. */
    sigset_t all, before;
    sigfillset(&all);
    must(pthread_sigmask(SIG_BLOCK, &all, &before));
    int result = pthread_create(&thread->native, NULL, run_thread, thread);
    must(pthread_sigmask(SIG_SETMASK, &before, NULL));
    if (result)
        return mg_fail(err, MG_NO_MEMORY, "could not start the thread %s: %s", name, strerrordesc_np(result));
    thread->running = true;
    return MG_OK;
}

void mg_thread_join(struct mg_thread *thread)
{
    if (!thread->running)
        return;
    begin_wait(thread->name);
    must(pthread_join(thread->native, NULL));
    end_wait();
    thread->running = false;
}
