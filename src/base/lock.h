/* lock.h -- mutexes that know their rank, conditions with deadlines, and threads with names.
 *
 * A thread may take a mutex only if its rank is above the ranks of all it holds: asserted in debug and sanitizer builds
 * (MG_LOCK_CHECK). Ranks are listed once, here; docs/threading.md says what each lock guards. All threads of ours start
 * here and all waits for each other pass here, so that tests can refuse the first and see the second (mg_thread_hook).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_LOCK_H
#define MG_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

#if defined(__clang__)
#define MG_CAPABILITY(name) __attribute__((capability(name)))
#define MG_REQUIRES(lock) __attribute__((requires_capability(lock)))
#define MG_ACQUIRE(lock) __attribute__((acquire_capability(lock)))
#define MG_RELEASE(lock) __attribute__((release_capability(lock)))
#define MG_ASSERTS_HELD(lock) __attribute__((assert_capability(lock)))
#define MG_NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define MG_CAPABILITY(name)
#define MG_REQUIRES(lock)
#define MG_ACQUIRE(lock)
#define MG_RELEASE(lock)
#define MG_ASSERTS_HELD(lock)
#define MG_NO_LOCK_ANALYSIS
#endif
#define MG_GUARDED_BY(lock) /* a comment with a fixed spelling */

/* Outer locks first: a lower rank is taken before a higher one. */
enum mg_lock_rank {
    MG_RANK_SERVER = 10,
    MG_RANK_SYNCER = 20,
    MG_RANK_SETTLE = 25,
    MG_RANK_BUFFER = 30,
    MG_RANK_CONNECTOR = 40,
    MG_RANK_LATCH = 50,
    MG_RANK_HISTORY = 55, /* the latch's cache of replayed snapshots */
    MG_RANK_WRITER = 60,  /* an engine's one writer at a time */
    MG_RANK_PARTS = 62,   /* who writes a part in the memory of flushes */
    MG_RANK_SWEEP = 64,   /* an engine's files are removed */
    MG_RANK_FILES = 66,   /* an engine's files are listed, or made known */
    MG_RANK_PUBLISH = 70, /* an engine's current view and pins */
    MG_RANK_GRPC_CALL = 80,
    MG_RANK_GRPC_LOOP = 85,
    MG_RANK_JOURNAL = 90,
    MG_RANK_CACHE = 95, /* a shard of the cache of blocks: files are read with it open */
    MG_RANK_LEAF = 100, /* takes nothing inside */
};

struct MG_CAPABILITY("mutex") mg_mutex {
    pthread_mutex_t native;
    enum mg_lock_rank rank;
    const char *name; /* static */
    pthread_t owner;  /* meaningful while held */
    _Atomic bool held;
};

void mg_mutex_init(struct mg_mutex *mutex, enum mg_lock_rank rank, const char *name);
void mg_mutex_destroy(struct mg_mutex *mutex);
void mg_mutex_lock(struct mg_mutex *mutex) MG_ACQUIRE(mutex);
void mg_mutex_unlock(struct mg_mutex *mutex) MG_RELEASE(mutex);
void mg_assert_held(const struct mg_mutex *mutex) MG_ASSERTS_HELD(mutex);

struct mg_cond {
    pthread_cond_t native; /* on CLOCK_MONOTONIC */
};
void mg_cond_init(struct mg_cond *cond);
void mg_cond_destroy(struct mg_cond *cond);
void mg_cond_wait(struct mg_cond *cond, struct mg_mutex *mutex) MG_REQUIRES(mutex);
/* false when timeout_ms passed; spurious wake-ups return true. */
bool mg_cond_wait_ms(struct mg_cond *cond, struct mg_mutex *mutex, int64_t timeout_ms) MG_REQUIRES(mutex);
void mg_cond_signal(struct mg_cond *cond);
void mg_cond_broadcast(struct mg_cond *cond);

struct mg_thread {
    pthread_t native;
    bool running;
    void (*main)(void *arg);
    void *arg;
    char name[16];
};
/* name is cut to 15 characters and shows in ps, logs and core files. Signals are blocked in it. */
MG_MUST_CHECK enum mg_code mg_thread_start(struct mg_thread *thread, const char *name, void (*main)(void *arg),
                                           void *arg, struct mg_error *err);
/* Waits; harmless on a thread that was never started (zeroed memory). */
void mg_thread_join(struct mg_thread *thread);

/* The seam for tests: threads that cannot be started, and who waits for whom. Any of the functions may be NULL; they
 * are called on the thread concerned, perhaps with locks held, and take none of ours. */
struct mg_thread_hooks {
    void *arg;
    /* A thread of that name is to be started: 0, or the errno with which it is refused. */
    int (*start)(void *arg, const char *name);
    /* The calling thread must wait: for a lock that another one has, for a condition (what: the lock that goes with
     * it), or for the end of a thread (its name). Then it goes on. */
    void (*wait)(void *arg, const char *what);
    void (*go_on)(void *arg);
};
/* Lives until the next call; NULL: none. Set it while no thread of ours runs or waits. */
void mg_thread_hook(const struct mg_thread_hooks *hooks);

#endif
