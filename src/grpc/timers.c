/* timers.c -- a binary heap of times, soonest first.
 *
 * Invariants  heap[t->place] == t for each set timer; no child is sooner than its parent.
 * Threads     owned by the loop's thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

static void put(struct mg_grpc__timers *timers, size_t place, struct mg_grpc__timer *timer)
{
    timers->heap[place] = timer;
    timer->place = place;
}

static void move_up(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer)
{
    size_t place = timer->place;
    for (; place > 1 && timers->heap[place / 2]->at_ms > timer->at_ms; place /= 2)
        put(timers, place, timers->heap[place / 2]);
    put(timers, place, timer);
}

static void move_down(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer)
{
    size_t place = timer->place;
    for (size_t child; (child = place * 2) <= timers->count; place = child) {
        if (child < timers->count && timers->heap[child + 1]->at_ms < timers->heap[child]->at_ms)
            child++;
        if (timers->heap[child]->at_ms >= timer->at_ms)
            break;
        put(timers, place, timers->heap[child]);
    }
    put(timers, place, timer);
}

enum mg_code mg_grpc__timer_set(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer, int64_t at_ms,
                                struct mg_error *err)
{
    if (timer->place == 0) {
        if (timers->count + 1 >= timers->capacity) {
            size_t capacity = MG_MAX(timers->capacity * 2, (size_t)64);
            struct mg_grpc__timer **heap = realloc(timers->heap, capacity * sizeof(struct mg_grpc__timer *));
            if (!heap)
                return mg_fail(err, MG_NO_MEMORY, "no memory for %zu timers", capacity);
            timers->heap = heap;
            timers->capacity = capacity;
        }
        put(timers, ++timers->count, timer);
    }
    timer->at_ms = at_ms;
    move_up(timers, timer);
    move_down(timers, timer);
    return MG_OK;
}

void mg_grpc__timer_clear(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer)
{
    if (timer->place == 0)
        return;
    struct mg_grpc__timer *last = timers->heap[timers->count--];
    if (last != timer) {
        put(timers, timer->place, last);
        move_up(timers, last);
        move_down(timers, last);
    }
    timer->place = 0;
}

void mg_grpc__timers_fire(struct mg_grpc__timers *timers, int64_t now_ms)
{
    while (timers->count > 0 && timers->heap[1]->at_ms <= now_ms) {
        struct mg_grpc__timer *timer = timers->heap[1];
        mg_grpc__timer_clear(timers, timer);
        timer->fire(timer);
    }
}

int64_t mg_grpc__timers_next(const struct mg_grpc__timers *timers)
{
    return timers->count > 0 ? timers->heap[1]->at_ms : INT64_MAX;
}

void mg_grpc__timers_free(struct mg_grpc__timers *timers)
{
    free(timers->heap);
    *timers = (struct mg_grpc__timers){.heap = NULL};
}
