/* history.c -- old snapshots kept open between uses: for tickets whose lease this process does not know, and for
 * readers that ask for the same old epoch at once.
 *
 * Opening an old epoch may replay the log from its start, so it is done once for all who wait, with no lock held, and
 * at most slot_count of them are kept. A slot is free, opening (by one thread) or open.
 *
 *     free --open, engine asked--> opening --done--> open --reaped or least recently used--> free
 *                                     \--failed--> free
 *
 * Threads  any; lock MG_RANK_HISTORY, never held while the engine is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"
#include "latch/latch_internal.h"

void mg_latch__history_init(struct mg_latch__history *history, uint32_t slot_count)
{
    mg_mutex_init(&history->lock, MG_RANK_HISTORY, "latch.history");
    mg_cond_init(&history->changed);
    history->slot_count = MG_MIN(slot_count, (uint32_t)MG_LATCH__HISTORY_MAX);
}

void mg_latch__history_clear(struct mg_latch *latch)
{
    struct mg_latch__history *history = &latch->history;

    for (uint32_t i = 0; i < history->slot_count; i++) {
        mg_assert(!history->slots[i].opening);
        latch->engine->ops->snapshot_unref(history->slots[i].snapshot);
        history->slots[i].snapshot = NULL;
    }
    mg_cond_destroy(&history->changed);
    mg_mutex_destroy(&history->lock);
}

static struct mg_latch__old *find(struct mg_latch__history *history, uint64_t epoch) MG_REQUIRES(&history->lock)
{
    for (uint32_t i = 0; i < history->slot_count; i++) {
        struct mg_latch__old *slot = &history->slots[i];
        if ((slot->snapshot || slot->opening) && slot->epoch == epoch)
            return slot;
    }
    return NULL;
}

/* A free slot, else the least recently used open one, else NULL: all are being opened. */
static struct mg_latch__old *choose(struct mg_latch__history *history) MG_REQUIRES(&history->lock)
{
    struct mg_latch__old *best = NULL;

    for (uint32_t i = 0; i < history->slot_count; i++) {
        struct mg_latch__old *slot = &history->slots[i];
        if (slot->opening)
            continue;
        if (!slot->snapshot)
            return slot;
        if (!best || slot->used < best->used)
            best = slot;
    }
    return best;
}

enum mg_code mg_latch__history_open(struct mg_latch *latch, uint64_t epoch, int64_t keep_until_ms,
                                    struct mg_snapshot **out, struct mg_error *err)
{
    struct mg_latch__history *history = &latch->history;
    const struct mg_engine_ops *ops = latch->engine->ops;
    struct mg_latch__old *slot;

    mg_mutex_lock(&history->lock);
    for (;;) {
        slot = find(history, epoch);
        if (slot && slot->snapshot) {
            struct mg_snapshot *snapshot = ops->snapshot_ref(slot->snapshot);
            slot->used = ++history->clock;
            slot->keep_until_ms = MG_MAX(slot->keep_until_ms, keep_until_ms);
            mg_mutex_unlock(&history->lock);
            *out = snapshot;
            return MG_OK;
        }
        if (!slot && (slot = choose(history)))
            break;
        mg_cond_wait(&history->changed, &history->lock);
    }
    struct mg_snapshot *evicted = slot->snapshot;
    *slot = (struct mg_latch__old){
        .epoch = epoch, .opening = true, .keep_until_ms = keep_until_ms, .used = ++history->clock};
    mg_mutex_unlock(&history->lock);

    ops->snapshot_unref(evicted); /* first: its memory may be what the next one needs */
    struct mg_snapshot *snapshot = NULL;
    enum mg_code code = ops->snapshot_at(latch->engine, epoch, &snapshot, err);
    if (code == MG_OK)
        mg_count(lease_replayed, 1);

    mg_mutex_lock(&history->lock);
    slot->opening = false;
    slot->snapshot = code == MG_OK ? ops->snapshot_ref(snapshot) : NULL;
    mg_cond_broadcast(&history->changed);
    mg_mutex_unlock(&history->lock);
    if (code == MG_OK)
        *out = snapshot;
    return code;
}

void mg_latch__history_reap(struct mg_latch *latch, int64_t now_ms)
{
    struct mg_latch__history *history = &latch->history;
    struct mg_snapshot *done[MG_LATCH__HISTORY_MAX];
    uint32_t done_count = 0;

    mg_mutex_lock(&history->lock);
    for (uint32_t i = 0; i < history->slot_count; i++) {
        struct mg_latch__old *slot = &history->slots[i];
        if (slot->snapshot && slot->keep_until_ms <= now_ms)
            done[done_count++] = MG_TAKE(slot->snapshot);
    }
    mg_mutex_unlock(&history->lock);
    for (uint32_t i = 0; i < done_count; i++)
        latch->engine->ops->snapshot_unref(done[i]);
}
