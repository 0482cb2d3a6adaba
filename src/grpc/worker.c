/* worker.c -- bounded pools of threads that run handlers.
 *
 * A thread is started when a call comes and none is idle, up to the maximum; it stays until the server stops. Calls
 * wait in order; who gives up while waiting is withdrawn in constant time.
 * Threads  pool->lock guards all; handlers run without it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "grpc/grpc_internal.h"

enum { PENDING_MAX = 4096 };

enum mg_code mg_grpc__pool_init(struct mg_grpc__pool *pool, const char *name, uint32_t thread_max, struct mg_error *err)
{
    *pool = (struct mg_grpc__pool){.name = name, .thread_max = thread_max, .pending_max = PENDING_MAX};
    pool->threads = calloc(thread_max, sizeof *pool->threads);
    if (!pool->threads)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u workers", thread_max);
    mg_mutex_init(&pool->lock, MG_RANK_LEAF, "grpc pool");
    mg_cond_init(&pool->wake);
    return MG_OK;
}

static void take_out(struct mg_grpc__pool *pool, struct mg_grpc_call *call)
{
    mg_assert_held(&pool->lock);
    if (call->queue_previous)
        call->queue_previous->queue_next = call->queue_next;
    else
        pool->first = call->queue_next;
    if (call->queue_next)
        call->queue_next->queue_previous = call->queue_previous;
    else
        pool->last = call->queue_previous;
    call->queue_previous = call->queue_next = NULL;
    call->queued = false;
    pool->pending_count--;
}

static void work(void *arg)
{
    struct mg_grpc__pool *pool = arg;
    mg_mutex_lock(&pool->lock);
    for (;;) {
        struct mg_grpc_call *call = pool->first;
        if (call) {
            take_out(pool, call);
            mg_mutex_unlock(&pool->lock);
            mg_grpc__call_run(call);
            mg_mutex_lock(&pool->lock);
        } else if (pool->stopping) {
            break;
        } else {
            pool->idle_count++;
            mg_cond_wait(&pool->wake, &pool->lock);
            pool->idle_count--;
        }
    }
    mg_mutex_unlock(&pool->lock);
}

enum mg_code mg_grpc__pool_submit(struct mg_grpc__pool *pool, struct mg_grpc_call *call, struct mg_error *err)
{
    enum mg_code code = MG_OK;
    mg_mutex_lock(&pool->lock);
    if (pool->stopping) /* a call that came while the server stopped: a thread for it would outlive the pool */
        code = mg_fail(err, MG_CLOSED, "the server is stopping");
    else if (pool->pending_count >= pool->pending_max)
        code = mg_fail(err, MG_BUSY, "%u calls are running and %u wait for a worker", pool->thread_count,
                       pool->pending_count);
    if (code == MG_OK && pool->pending_count >= pool->idle_count && pool->thread_count < pool->thread_max) {
        char name[16];
        snprintf(name, sizeof name, "%s-%u", pool->name, pool->thread_count);
        enum mg_code started = mg_thread_start(&pool->threads[pool->thread_count], name, work, pool, err);
        if (started == MG_OK)
            pool->thread_count++;
        else if (pool->thread_count == 0)
            code = started;
    }
    if (code == MG_OK) {
        call->queued = true;
        call->queue_previous = pool->last;
        call->queue_next = NULL;
        if (pool->last)
            pool->last->queue_next = call;
        else
            pool->first = call;
        pool->last = call;
        pool->pending_count++;
        mg_cond_signal(&pool->wake);
    }
    mg_mutex_unlock(&pool->lock);
    return code;
}

bool mg_grpc__pool_withdraw(struct mg_grpc__pool *pool, struct mg_grpc_call *call)
{
    mg_mutex_lock(&pool->lock);
    bool there = call->queued;
    if (there)
        take_out(pool, call);
    mg_mutex_unlock(&pool->lock);
    return there;
}

void mg_grpc__pool_stop(struct mg_grpc__pool *pool)
{
    if (!pool->threads)
        return;
    mg_mutex_lock(&pool->lock);
    pool->stopping = true;
    mg_cond_broadcast(&pool->wake);
    mg_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->thread_count; i++)
        mg_thread_join(&pool->threads[i]);
}

void mg_grpc__pool_destroy(struct mg_grpc__pool *pool)
{
    if (!pool->threads)
        return;
    mg_assert(!pool->first);
    free(pool->threads);
    pool->threads = NULL;
    mg_cond_destroy(&pool->wake);
    mg_mutex_destroy(&pool->lock);
}
