/* pace.c -- what a merge looks at between two batches: whether it is to end, and how fast it may go.
 *
 * Throttle  merges together take keeping.throttle bytes of rows in a second: who took some waits until the time that
 *           they are worth is over, in short sleeps, so that a change of the setting or an end is seen.
 * Threads   the lanes of the maintenance; one lock, wake_lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/magic/asked.h"
#include "engine/magic/compaction.h"

enum { SLEEP_MS = 20, NS = 1000000000, MS = 1000000, LOOK_EVERY_BYTES = 32 << 20 };

static enum mg_code check(const struct mg_pace *pace, struct mg_error *err)
{
    if (atomic_load_explicit(&pace->magic->keeping.closing, memory_order_relaxed))
        return mg_fail(err, MG_CANCELLED, "the store is being closed");
    if (pace->asked && atomic_load_explicit(&pace->asked->is_cancelled, memory_order_relaxed))
        return mg_fail(err, MG_CANCELLED, "cancelled");
    return MG_OK;
}

static enum mg_code check_space(struct mg_pace *pace, uint64_t bytes, struct mg_error *err)
{
    pace->unchecked_bytes += bytes;
    if (pace->unchecked_bytes < LOOK_EVERY_BYTES)
        return MG_OK;
    pace->unchecked_bytes = 0;
    if (mg_space__look(pace->magic) < MG_SPACE_FLUSHES_WAIT)
        return MG_OK;
    return mg_fail(err, MG_NO_SPACE,
                   "the merge is given up: %llu bytes are free at %s, less than half of the reserve of %llu",
                   (unsigned long long)atomic_load(&pace->magic->space.free_bytes), pace->magic->folder,
                   (unsigned long long)mg_space__reserve(pace->magic));
}

/* Nanoseconds to wait for bytes that were taken in. */
static int64_t pay(struct mg_keeping *keeping, uint64_t bytes, uint64_t rate)
{
    int64_t now = mg_mono_ns(mg_clock_system());
    mg_mutex_lock(&keeping->wake_lock);
    keeping->paid_until_ns = MG_MAX(keeping->paid_until_ns, now) + (int64_t)((double)bytes * NS / (double)rate);
    int64_t wait = keeping->paid_until_ns - now;
    mg_mutex_unlock(&keeping->wake_lock);
    return wait;
}

enum mg_code mg_pace__step(struct mg_pace *pace, uint64_t rows, uint64_t bytes, struct mg_error *err)
{
    struct mg_keeping *keeping = &pace->magic->keeping;
    uint64_t rate = atomic_load_explicit(&keeping->throttle, memory_order_relaxed);
    if (pace->asked)
        mg_asked__count(pace->asked, rows);
    MG_TRY(check(pace, err));
    MG_TRY(check_space(pace, bytes, err));
    mg_slack__look(pace->magic);
    for (int64_t wait = rate ? pay(keeping, bytes, rate) : 0; wait > 0; wait -= (int64_t)SLEEP_MS * MS) {
        mg_mutex_lock(&keeping->wake_lock);
        mg_cond_wait_ms(&keeping->wake, &keeping->wake_lock, MG_MIN(wait / MS + 1, (int64_t)SLEEP_MS));
        bool changed = atomic_load_explicit(&keeping->throttle, memory_order_relaxed) != rate;
        if (changed)
            keeping->paid_until_ns = 0;
        mg_mutex_unlock(&keeping->wake_lock);
        MG_TRY(check(pace, err));
        if (changed)
            break;
    }
    return MG_OK;
}
