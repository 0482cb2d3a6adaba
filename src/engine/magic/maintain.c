/* maintain.c -- the thread that keeps memory, files and the WAL within bounds while the writer writes: it flushes delta
 * segments, merges small parts, writes checkpoints, and removes what is not needed.
 *
 * A round      plan (turn) -> write outputs -> follow marks until few are left -> install (turn) -> purge (short turns)
 *              -> sweep. A turn is taken between two epochs; while it lasts, begin waits.
 * Flush        sealed segments at once; the last one of a table when memory is short, or at a checkpoint when its rows
 *              came before the one before, so that the WAL can be trimmed.
 * Merge        MERGE_AT_LEAST parts of about the same size become one, so a row is written about once per level.
 * Rewrite      a part of whose rows two in ten are dead.
 * Checkpoint   each every_bytes of WAL or every_ms, if anything was published since: marks files are brought up to
 *              date.
 * Errors       a round that fails is counted and logged, and tried again later; the store goes on without it.
 * Threads      the thread, and who asks for a round: one at a time (keeping.lock).
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/stop.h"
#include "engine/magic/compaction.h"

enum {
    ROUND_EVERY_MS = 200,
    RETRY_AFTER_MS = 5000,
    FOLLOW_ROUNDS_MAX = 8,
    FOLLOW_FEW = 2000, /* marks that may be left to the turn */
    MERGE_AT_LEAST = 4,
    MERGE_ROWS_MAX = 1 << 24, /* some seconds of work: flushes wait for it */
    DEAD_AT_MOST = 2,         /* rows of DEAD_OF */
    DEAD_OF = 10,
    LEVELS = 8,
    LEVEL_FACTOR = 4,
    LEVEL_ROWS = 1 << 14,   /* parts below it are of the lowest level */
    MEMORY_SHORT = 4,       /* rows take more than one part in so many of the store's memory: all are flushed */
    MEMORY_TIGHT = 2,       /* the same: the writer waits for the flush */
    MEMORY_SCARCE = 8,      /* less than one part in so many is left, and rows take more: the same */
    FRUITLESS_ROUNDS = 2,   /* so many without a flush: waiting does not help. The first may have been planned before */
    MERGE_AGAIN_MS = 60000, /* after one that had not enough memory */
};
#define EVERY_BYTES ((uint64_t)256 << 20)
#define EVERY_MS 60000

/* ---- the writer's turn --------------------------------------------------------------------------------------- */

/* MG_STOPPED: the writer is stopped, and so is maintenance. */
static enum mg_code take_turn(struct mg_magic *magic, struct mg_error *err)
{
    mg_mutex_lock(&magic->publish);
    magic->turns_wanted++;
    while (magic->staging)
        mg_cond_wait(&magic->turned, &magic->publish);
    magic->turns_wanted--;
    bool stopped = magic->stopped;
    magic->staging = magic->maintaining = !stopped;
    mg_mutex_unlock(&magic->publish);
    return stopped ? mg_fail(err, MG_STOPPED, "the writer is stopped") : MG_OK;
}

static void give_turn(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->publish);
    magic->staging = magic->maintaining = false;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

/* ---- planning (turn) ----------------------------------------------------------------------------------------- */

struct plan {
    struct mg_magic *magic;
    struct mg_view *newest; /* borrowed: it stays the newest during the turn */
    bool flush_all, is_checkpoint;
    struct mg_compaction *items;
    uint32_t count, room;
};

static void plan_clear(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->count; i++)
        mg_compaction__clear(&plan->items[i]);
    free(plan->items);
}

static enum mg_code next_item(struct plan *plan, struct mg_compaction **out, struct mg_error *err)
{
    struct mg_store *store = &plan->magic->store;
    MG_TRY(mg_list__reserve(&plan->items, &plan->room, plan->count, 1, sizeof *plan->items, err));
    if (store->next_segment_id == UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "all %u segment numbers of this store are used", UINT32_MAX);
    *out = &plan->items[plan->count++];
    memset(*out, 0, sizeof **out);
    (*out)->segment_id = store->next_segment_id++;
    return MG_OK;
}

static bool wants_flush(const struct plan *plan, const struct mg_wtable *table, uint32_t slot)
{
    const struct mg_wsegment *segment = table->slots[slot];
    if (!segment || segment->visible_count == 0 || segment->row_count > MG_BATCH_ROWS_MAX)
        return false;
    if (segment->deleted.marks && segment->deleted.marks->dead_count == segment->row_count && segment->sealed)
        return false; /* it goes with the table's next view */
    bool is_old = plan->is_checkpoint && segment->first_epoch <= plan->magic->keeping.checkpoint_epoch;
    return segment->sealed || slot + 1 < table->slot_count || plan->flush_all || is_old;
}

static enum mg_code plan_flush(struct plan *plan, struct mg_wtable *table, struct mg_error *err)
{
    struct mg_compaction *item = NULL;
    uint64_t rows = 0, bytes = 0, bytes_max = plan->magic->segment_bytes_max * 2;
    for (uint32_t slot = 0; slot < table->slot_count; slot++) {
        if (!wants_flush(plan, table, slot))
            continue;
        struct mg_wsegment *segment = table->slots[slot];
        if (!item || rows + segment->row_count > MG_BATCH_ROWS_MAX || bytes + segment->bytes > bytes_max) {
            MG_TRY(next_item(plan, &item, err));
            rows = bytes = 0;
        }
        segment->sealed = true;
        MG_TRY(mg_compaction__add(item, plan->newest, table, slot, err));
        rows += segment->row_count;
        bytes += segment->bytes;
    }
    return MG_OK;
}

static uint32_t living(const struct mg_wpart *part)
{
    return mg_part_row_count(part->part) - (part->deleted.marks ? part->deleted.marks->dead_count : 0);
}

/* Parts of one level have about the same size: each holds four times the rows of the one below. */
static uint32_t level_of(const struct mg_wpart *part)
{
    uint32_t level = 0;
    for (uint64_t rows = living(part); rows >= LEVEL_ROWS && level + 1 < LEVELS; rows /= LEVEL_FACTOR)
        level++;
    return level;
}

static enum mg_code plan_level(struct plan *plan, struct mg_wtable *table, uint32_t level, struct mg_error *err)
{
    struct mg_compaction *item = NULL;
    uint64_t rows = 0;
    for (uint32_t p = 0; p < table->part_count; p++) {
        struct mg_wpart *part = table->parts[p];
        if (!part || living(part) == 0 || level_of(part) != level || rows + living(part) > MERGE_ROWS_MAX ||
            (item && item->input_count == MG_MERGE_INPUTS_MAX))
            continue;
        if (!item)
            MG_TRY(next_item(plan, &item, err));
        MG_TRY(mg_compaction__add(item, plan->newest, table, MG_PART_SLOT + p, err));
        rows += living(part);
    }
    return MG_OK;
}

/* A part that is dead to a good share is written anew by itself. */
static enum mg_code plan_rewrite(struct plan *plan, struct mg_wtable *table, struct mg_error *err)
{
    struct mg_compaction *item;
    for (uint32_t p = 0; p < table->part_count; p++) {
        const struct mg_wpart *part = table->parts[p];
        uint64_t rows = part ? mg_part_row_count(part->part) : 0, dead = part ? rows - living(part) : 0;
        if (dead == 0 || dead == rows || dead * DEAD_OF < rows * DEAD_AT_MOST)
            continue;
        MG_TRY(next_item(plan, &item, err));
        return mg_compaction__add(item, plan->newest, table, MG_PART_SLOT + p, err);
    }
    return MG_OK;
}

static enum mg_code plan_merge(struct plan *plan, struct mg_wtable *table, struct mg_error *err)
{
    uint32_t counts[LEVELS] = {0};
    uint64_t rows[LEVELS] = {0};
    for (uint32_t p = 0; p < table->part_count; p++) {
        if (!table->parts[p] || living(table->parts[p]) == 0)
            continue;
        uint32_t level = level_of(table->parts[p]);
        rows[level] += living(table->parts[p]);
        counts[level] += rows[level] <= MERGE_ROWS_MAX;
    }
    for (uint32_t level = 0; level < LEVELS; level++)
        if (counts[level] >= MERGE_AT_LEAST)
            return plan_level(plan, table, level, err); /* one a round, the lowest first */
    return plan_rewrite(plan, table, err);
}

/* Rows that a flush would take out of memory are more than one part in `one_in` of it. Those that only old snapshots
 * still hold do not count, as no flush helps. Under magic->publish. */
static bool rows_take_more(const struct mg_magic *magic, unsigned one_in)
{
    size_t limit = magic->budget.limit_bytes;
    return limit != SIZE_MAX && magic->store.delta_bytes > limit / one_in;
}

/* The writer has to wait for a flush: what others need (messages, scans, merges) must not come to an end first. Under
 * magic->publish. */
static bool memory_is_tight(const struct mg_magic *magic)
{
    size_t limit = magic->budget.limit_bytes;
    uint64_t bytes = magic->store.delta_bytes + magic->store.leaving_bytes;
    bool is_scarce = mg_budget_left(&magic->budget) < limit / MEMORY_SCARCE;
    if (limit == SIZE_MAX || bytes == 0)
        return false;
    return magic->store.is_starved || bytes > limit / (is_scarce ? MEMORY_SCARCE : MEMORY_TIGHT);
}

void mg_magic__slow_down(struct mg_magic *magic)
{
    mg_assert_held(&magic->publish);
    uint64_t fruitless = magic->store.fruitless_rounds;
    while (magic->keeping.thread.running && !magic->stopped && memory_is_tight(magic) &&
           magic->store.fruitless_rounds - fruitless < FRUITLESS_ROUNDS)
        mg_cond_wait_ms(&magic->turned, &magic->publish, ROUND_EVERY_MS);
}

static bool checkpoint_is_due(const struct mg_magic *magic, uint64_t wal_bytes)
{
    const struct mg_keeping *keeping = &magic->keeping;
    if (magic->store.epoch == keeping->checkpoint_epoch)
        return false;
    return wal_bytes - keeping->checkpoint_wal >= keeping->every_bytes ||
           mg_mono_ms(mg_clock_system()) - keeping->checkpoint_at_ms >= keeping->every_ms;
}

static enum mg_code plan_all(struct plan *plan, struct mg_error *err)
{
    struct mg_store *store = &plan->magic->store;
    bool merges = mg_mono_ms(mg_clock_system()) >= plan->magic->keeping.no_merge_until_ms;
    plan->newest = store->newest;
    mg_mutex_lock(&plan->magic->publish);
    plan->flush_all |= rows_take_more(plan->magic, MEMORY_SHORT) || memory_is_tight(plan->magic);
    mg_mutex_unlock(&plan->magic->publish);
    plan->is_checkpoint |= checkpoint_is_due(plan->magic, store->wal_bytes);
    for (uint32_t i = 0; i < store->table_count; i++) {
        MG_TRY(plan_flush(plan, store->tables[i], err));
        if (merges)
            MG_TRY(plan_merge(plan, store->tables[i], err));
    }
    return MG_OK;
}

/* ---- a round ------------------------------------------------------------------------------------------------- */

static enum mg_code write_all(struct plan *plan, struct mg_error *err)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        struct mg_compaction *item = &plan->items[i];
        uint32_t count = FOLLOW_FEW + 1;
        enum mg_code code = mg_compaction__write(item, err);
        if (code == MG_NO_MEMORY && !item->is_flush) { /* flushes must not wait for a merge that is too wide */
            item->abandoned = true;
            plan->magic->keeping.no_merge_until_ms = mg_mono_ms(mg_clock_system()) + MERGE_AGAIN_MS;
            continue;
        }
        MG_TRY(code);
        for (uint32_t n = 0; n < FOLLOW_ROUNDS_MAX && count > FOLLOW_FEW && !item->abandoned; n++)
            MG_TRY(mg_compaction__follow(item, &count, err));
        MG_STOP("marks.followed");
    }
    char parts[MG_PATH_MAX];
    snprintf(parts, sizeof parts, "%s/parts", plan->magic->folder);
    return plan->count ? plan->magic->io->ops->sync_folder(plan->magic->io, parts, err) : MG_OK;
}

static void note_installed(struct plan *plan, uint64_t epoch, uint64_t wal_bytes)
{
    struct mg_keeping *keeping = &plan->magic->keeping;
    for (uint32_t i = 0; i < plan->count; i++)
        if (!plan->items[i].abandoned)
            atomic_fetch_add_explicit(plan->items[i].is_flush ? &keeping->flush_count : &keeping->merge_count, 1,
                                      memory_order_relaxed);
    if (!plan->is_checkpoint)
        return;
    atomic_fetch_add_explicit(&keeping->checkpoint_count, 1, memory_order_relaxed);
    keeping->checkpoint_epoch = epoch;
    keeping->checkpoint_wal = wal_bytes;
    keeping->checkpoint_at_ms = mg_mono_ms(mg_clock_system());
    MG_STOP("checkpoint.noted");
}

static void note_leaving(struct mg_magic *magic, uint64_t bytes)
{
    mg_mutex_lock(&magic->publish);
    magic->store.leaving_bytes = bytes;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

static void note_end(struct mg_magic *magic, bool has_flushed)
{
    mg_mutex_lock(&magic->publish);
    magic->store.leaving_bytes = 0;
    magic->store.fruitless_rounds += !has_flushed;
    magic->store.is_starved &= !has_flushed;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

static enum mg_code install_all(struct plan *plan, struct mg_error *err)
{
    struct mg_magic *magic = plan->magic;
    MG_TRY(take_turn(magic, err));
    MG_STOP("install.turn");
    uint64_t delta_bytes = magic->store.delta_bytes;
    enum mg_code code = mg_compaction__install(magic, plan->items, plan->count, plan->is_checkpoint, err);
    uint64_t epoch = magic->store.epoch, wal_bytes = magic->store.wal_bytes;
    note_leaving(magic, delta_bytes - magic->store.delta_bytes);
    give_turn(magic);
    if (code == MG_OK)
        note_installed(plan, epoch, wal_bytes);
    return code;
}

static enum mg_code purge_all(struct plan *plan, struct mg_error *err)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        uint64_t cursor = 0;
        for (bool more = plan->items[i].is_flush && !plan->items[i].abandoned; more;) {
            MG_TRY(take_turn(plan->magic, err));
            more = mg_compaction__purge(&plan->items[i], &cursor);
            give_turn(plan->magic);
        }
    }
    return MG_OK;
}

static enum mg_code run_round(struct plan *plan, struct mg_error *err)
{
    MG_TRY(take_turn(plan->magic, err));
    enum mg_code code = plan->magic->store.epoch ? plan_all(plan, err) : MG_OK;
    give_turn(plan->magic);
    MG_TRY(code);
    if (plan->count == 0 && !plan->is_checkpoint)
        return MG_OK;
    MG_STOP("compact.planned");
    MG_TRY(write_all(plan, err));
    MG_TRY(install_all(plan, err));
    MG_TRY(purge_all(plan, err));
    return mg_keeper__sweep(plan->magic, err);
}

enum mg_code mg_magic__maintain(struct mg_magic *magic, bool flush_all, bool is_checkpoint, struct mg_error *err)
{
    struct plan plan = {.magic = magic, .flush_all = flush_all, .is_checkpoint = is_checkpoint};
    mg_mutex_lock(&magic->keeping.lock);
    uint64_t flushes = atomic_load_explicit(&magic->keeping.flush_count, memory_order_relaxed);
    enum mg_code code = run_round(&plan, err);
    if (code == MG_NO_MEMORY)
        mg_cache_shrink(magic->cache, SIZE_MAX);
    plan_clear(&plan);
    note_end(magic, atomic_load_explicit(&magic->keeping.flush_count, memory_order_relaxed) > flushes);
    mg_mutex_unlock(&magic->keeping.lock);
    return code;
}

/* ---- the thread ---------------------------------------------------------------------------------------------- */

/* False: it closes. */
static bool wait_for_round(struct mg_keeping *keeping, int64_t timeout_ms)
{
    mg_mutex_lock(&keeping->wake_lock);
    if (!keeping->closing)
        mg_cond_wait_ms(&keeping->wake, &keeping->wake_lock, timeout_ms);
    bool goes_on = !keeping->closing;
    mg_mutex_unlock(&keeping->wake_lock);
    return goes_on;
}

static void maintainer_main(void *arg)
{
    struct mg_magic *magic = arg;
    int64_t wait_ms = ROUND_EVERY_MS;
    while (wait_for_round(&magic->keeping, wait_ms)) {
        struct mg_error err = MG_ERROR_INIT;
        enum mg_code code = mg_magic__maintain(magic, false, false, &err);
        wait_ms = code == MG_OK || code == MG_NO_MEMORY ? ROUND_EVERY_MS : RETRY_AFTER_MS;
        if (code == MG_OK || code == MG_STOPPED)
            continue;
        atomic_fetch_add_explicit(&magic->keeping.failed_count, 1, memory_order_relaxed);
        mg_log(MG_LOG_WARN, "engine", "maintenance failed and is tried again in %" PRId64 " ms: %s", wait_ms, err.text);
    }
}

enum mg_code mg_magic__maintain_start(struct mg_magic *magic, const struct mg_engine_options *options,
                                      struct mg_error *err)
{
    struct mg_keeping *keeping = &magic->keeping;
    keeping->every_bytes = options->checkpoint_bytes ? options->checkpoint_bytes : EVERY_BYTES;
    keeping->every_ms = options->checkpoint_ms ? options->checkpoint_ms : EVERY_MS;
    keeping->checkpoint_at_ms = mg_mono_ms(mg_clock_system());
    if (options->maintain_by_hand)
        return MG_OK;
    return mg_thread_start(&keeping->thread, "maintainer", maintainer_main, magic, err);
}

void mg_magic__maintain_stop(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->keeping.wake_lock);
    magic->keeping.closing = true;
    mg_cond_broadcast(&magic->keeping.wake);
    mg_mutex_unlock(&magic->keeping.wake_lock);
    mg_thread_join(&magic->keeping.thread);
}
