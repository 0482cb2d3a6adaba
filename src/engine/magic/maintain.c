/* maintain.c -- the threads that keep memory, files and the WAL within bounds while the writer writes: they flush delta
 * segments, merge parts, write checkpoints, and remove what is not needed.
 *
 * A round      plan (turn) -> write outputs -> follow marks until few are left -> install (turn) -> purge (short turns)
 *              -> sweep. A turn is taken between two epochs; while it lasts, begin waits.
 * Lanes        one thread flushes and writes checkpoints, one merges few rows, one many and what was asked for: a flush
 *              never waits for a merge, and a merge of few rows not for one of many. By hand (tests) one caller does
 *              all of it, one after the other.
 * Flush        sealed segments at once; the last one of a table when memory is short, or at a checkpoint when its rows
 *              came before the one before, so that the WAL can be trimmed.
 * Merge        merge_choice.c says what; a merge ends within a block when the store closes.
 * Checkpoint   each every_bytes of WAL or every_ms, if anything was published since: marks files are brought up to
 *              date.
 * Errors       a round that fails is counted and logged, and tried again later; the store goes on without it.
 * Threads      the lanes, and who asks for a round. Locks, outer first: keeping.lock (one round of flushes at a time),
 *              the writer's turn (no mutex: magic->staging), files_lock, publish; sweep_lock, files_lock, publish.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/stop.h"
#include "engine/magic/asked.h"
#include "engine/magic/compaction.h"

enum {
    ROUND_EVERY_MS = 200,
    RETRY_AFTER_MS = 5000,
    FULL_AGAIN_MS = 1000, /* after the disk was full */
    FOLLOW_ROUNDS_MAX = 8,
    FOLLOW_FEW = 2000,    /* marks that may be left to the turn */
    SMALL_ROWS = 1 << 22, /* a second or two of merging */
    MEMORY_SHORT = 4,     /* rows take more than one part in so many of the store's memory: all are flushed */
    MEMORY_TIGHT = 2,     /* the same: the writer waits for the flush */
    MEMORY_SCARCE = 8,    /* less than one part in so many is left, and rows take more: the same */
    /* the same: less of the delta's memory is left than so often what an epoch stages in memory */
    EPOCH_SHARES = 2,
    FRUITLESS_ROUNDS = 2,   /* so many without a flush: waiting does not help. The first may have been planned before */
    MERGE_AGAIN_MS = 60000, /* after one that had not enough memory */
};
#define EVERY_BYTES ((uint64_t)256 << 20)
#define EVERY_MS 60000

/* ---- the writer's turn --------------------------------------------------------------------------------------- */

enum mg_code mg_magic__take_turn(struct mg_magic *magic, struct mg_error *err)
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

void mg_magic__give_turn(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->publish);
    magic->staging = magic->maintaining = false;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

/* ---- outputs under way --------------------------------------------------------------------------------------- */

static enum mg_code begin_working(struct mg_magic *magic, uint32_t segment_id, struct mg_error *err)
{
    struct mg_keeping *keeping = &magic->keeping;
    mg_mutex_lock(&magic->publish);
    enum mg_code code = mg_list__reserve(&keeping->working, &keeping->working_room, keeping->working_count, 1,
                                         sizeof *keeping->working, err);
    if (code == MG_OK)
        keeping->working[keeping->working_count++] = segment_id;
    mg_mutex_unlock(&magic->publish);
    return code;
}

static void end_working(struct mg_magic *magic, uint32_t segment_id)
{
    struct mg_keeping *keeping = &magic->keeping;
    mg_mutex_lock(&magic->publish);
    for (uint32_t i = 0; i < keeping->working_count; i++)
        if (keeping->working[i] == segment_id) {
            keeping->working[i] = keeping->working[--keeping->working_count];
            break;
        }
    mg_mutex_unlock(&magic->publish);
}

enum mg_code mg_round__add(struct mg_round *round, struct mg_compaction **out, struct mg_error *err)
{
    struct mg_store *store = &round->magic->store;
    MG_TRY(mg_list__reserve(&round->items, &round->room, round->count, 1, sizeof *round->items, err));
    if (store->next_segment_id == UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "all %u segment numbers of this store are used", UINT32_MAX);
    MG_TRY(begin_working(round->magic, store->next_segment_id, err));
    struct mg_compaction *item = &round->items[round->count++];
    memset(item, 0, sizeof *item);
    item->magic = round->magic;
    item->budget = &round->magic->merge_budget;
    item->pace = &round->pace;
    item->segment_id = store->next_segment_id++;
    mg_buffer_init(&item->low, MG_KEY_BYTES_MAX);
    mg_buffer_init(&item->high, MG_KEY_BYTES_MAX);
    *out = item;
    return MG_OK;
}

/* Parts that were not merged after all may be merged by others. */
static void release_parts(struct mg_round *round)
{
    bool any = false;
    for (uint32_t i = 0; i < round->count; i++)
        any |= !round->items[i].is_done && !round->items[i].is_flush;
    if (!any || mg_magic__take_turn(round->magic, NULL) != MG_OK)
        return;
    for (uint32_t i = 0; i < round->count; i++)
        if (!round->items[i].is_done)
            mg_compaction__release(&round->items[i]);
    mg_magic__give_turn(round->magic);
}

void mg_round__clear(struct mg_round *round)
{
    release_parts(round);
    for (uint32_t i = 0; i < round->count; i++) {
        uint32_t segment_id = round->items[i].segment_id;
        mg_compaction__clear(&round->items[i]);
        end_working(round->magic, segment_id);
    }
    free(round->items);
    round->items = NULL;
    round->count = round->room = 0;
}

/* ---- planning (turn) ----------------------------------------------------------------------------------------- */

static bool wants_flush(const struct mg_round *round, const struct mg_wtable *table, uint32_t slot)
{
    const struct mg_wsegment *segment = table->slots[slot];
    if (!segment || segment->visible_count == 0 || segment->row_count > MG_BATCH_ROWS_MAX)
        return false;
    if (segment->deleted.marks && segment->deleted.marks->dead_count == segment->row_count && segment->sealed)
        return false; /* it goes with the table's next view */
    if (round->space >= MG_SPACE_FLUSHES_WAIT && !round->flush_all && !round->is_checkpoint)
        return false;
    bool is_old = round->is_checkpoint && segment->first_epoch <= round->magic->keeping.checkpoint_epoch;
    return segment->sealed || slot + 1 < table->slot_count || round->flush_all || is_old;
}

static enum mg_code plan_flush(struct mg_round *round, struct mg_wtable *table, struct mg_error *err)
{
    struct mg_compaction *item = NULL;
    uint64_t rows = 0, bytes = 0, bytes_max = round->magic->segment_bytes_max * 2;
    for (uint32_t slot = 0; slot < table->slot_count; slot++) {
        if (!wants_flush(round, table, slot))
            continue;
        struct mg_wsegment *segment = table->slots[slot];
        if (!item || rows + segment->row_count > MG_BATCH_ROWS_MAX || bytes + segment->bytes > bytes_max) {
            MG_TRY(mg_round__add(round, &item, err));
            rows = bytes = 0;
        }
        segment->sealed = true;
        MG_TRY(mg_compaction__add(item, round->newest, table, slot, err));
        rows += segment->row_count;
        bytes += segment->bytes;
    }
    return MG_OK;
}

/* Rows that a flush would take out of memory are more than one part in `one_in` of it. Those that only old snapshots
 * still show do not count, as no flush helps: they are sealed. Under magic->publish. */
static bool rows_take_more(const struct mg_magic *magic, unsigned one_in)
{
    size_t limit = magic->common_bytes;
    return limit != SIZE_MAX && magic->store.delta_bytes > limit / one_in;
}

/* The writer has to wait for a flush: what others need (messages, scans, merges) must not come to an end first. Nor
 * what the next epoch needs, which may turn out to be a large one: nothing is flushed while it is staged, so it must
 * find room for the rows and index that it may have in memory before it begins. Under magic->publish. */
static bool memory_is_tight(const struct mg_magic *magic)
{
    size_t limit = magic->budget.limit_bytes;
    uint64_t bytes = magic->store.delta_bytes + magic->store.leaving_bytes;
    uint64_t for_epoch = MG_MIN(EPOCH_SHARES * magic->stage_bytes_max, (uint64_t)magic->delta_budget.limit_bytes / 2);
    bool is_scarce = mg_budget_left(&magic->budget) < limit / MEMORY_SCARCE ||
                     (magic->flush_bytes && mg_budget_left(&magic->delta_budget) < for_epoch);
    if (limit == SIZE_MAX || (bytes == 0 && !mg_sealed__is_due(magic)))
        return false;
    return magic->store.is_starved || bytes > limit / (is_scarce ? MEMORY_SCARCE : MEMORY_TIGHT);
}

void mg_magic__slow_down(struct mg_magic *magic)
{
    mg_assert_held(&magic->publish);
    uint64_t fruitless = magic->store.fruitless_rounds;
    while (magic->keeping.lanes[MG_LANE_FLUSH].thread.running && !magic->stopped && memory_is_tight(magic) &&
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

static enum mg_code plan_flushes(struct mg_round *round, struct mg_error *err)
{
    struct mg_store *store = &round->magic->store;
    if (!round->only_table) {
        mg_mutex_lock(&round->magic->publish);
        round->flush_all |= rows_take_more(round->magic, MEMORY_SHORT) || memory_is_tight(round->magic);
        mg_mutex_unlock(&round->magic->publish);
        round->is_checkpoint |= checkpoint_is_due(round->magic, store->wal_bytes);
    }
    for (uint32_t i = 0; i < store->table_count; i++)
        if (!round->only_table || store->tables[i]->table->id == round->only_table)
            MG_TRY(plan_flush(round, store->tables[i], err));
    return MG_OK;
}

/* ---- a round ------------------------------------------------------------------------------------------------- */

/* In the same memory as an epoch that goes to disk. */
static enum mg_code write_flush(struct mg_compaction *item, struct mg_error *err)
{
    mg_mutex_lock(&item->magic->parts);
    enum mg_code code = mg_compaction__write(item, err);
    mg_mutex_unlock(&item->magic->parts);
    return code;
}

static enum mg_code write_item(struct mg_compaction *item, struct mg_error *err)
{
    uint32_t count = FOLLOW_FEW + 1;
    MG_TRY(item->is_flush ? write_flush(item, err) : mg_compaction__write(item, err));
    if (item->out)
        MG_STOP("part.written");
    for (uint32_t n = 0; n < FOLLOW_ROUNDS_MAX && count > FOLLOW_FEW && !item->abandoned; n++)
        MG_TRY(mg_compaction__follow(item, &count, err));
    MG_STOP("marks.followed");
    return MG_OK;
}

/* A merge, with all its pieces. By hand flushes go on when there is too little memory for one. */
static enum mg_code write_merge(struct mg_round *round, uint32_t first, uint32_t next, struct mg_error *err)
{
    enum mg_code code = MG_OK;
    for (uint32_t i = first; code == MG_OK && i < next; i++)
        code = write_item(&round->items[i], err);
    if (code != MG_NO_MEMORY || round->pace.asked)
        return code;
    for (uint32_t i = first; i < next; i++)
        round->items[i].abandoned = true;
    if (round->lane)
        round->lane->not_before_ms = mg_mono_ms(mg_clock_system()) + MERGE_AGAIN_MS;
    return MG_OK;
}

static enum mg_code write_all(struct mg_round *round, struct mg_error *err)
{
    for (uint32_t i = 0, next; i < round->count; i = next) {
        next = i + 1;
        if (round->items[i].is_flush) {
            MG_TRY(write_item(&round->items[i], err));
        } else {
            MG_TRY(mg_round__cut(round, i, &next, err));
            MG_TRY(write_merge(round, i, next, err));
        }
    }
    char parts[MG_PATH_MAX];
    snprintf(parts, sizeof parts, "%s/parts", round->magic->folder);
    return round->count ? round->magic->io->ops->sync_folder(round->magic->io, parts, err) : MG_OK;
}

static void note_installed(struct mg_round *round, uint64_t epoch, uint64_t wal_bytes)
{
    struct mg_keeping *keeping = &round->magic->keeping;
    for (uint32_t i = 0; i < round->count; i++)
        if (!round->items[i].abandoned)
            atomic_fetch_add_explicit(round->items[i].is_flush ? &keeping->flush_count : &keeping->merge_count, 1,
                                      memory_order_relaxed);
    if (!round->is_checkpoint)
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

static void note_end(struct mg_magic *magic, bool has_freed)
{
    mg_mutex_lock(&magic->publish);
    magic->store.leaving_bytes = 0;
    magic->store.fruitless_rounds += !has_freed;
    magic->store.is_starved &= !has_freed;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

static bool has_output(const struct mg_round *round)
{
    bool has = round->is_checkpoint;
    for (uint32_t i = 0; i < round->count; i++)
        has |= !round->items[i].abandoned;
    return has;
}

static enum mg_code install_all(struct mg_round *round, struct mg_error *err)
{
    struct mg_magic *magic = round->magic;
    if (!has_output(round))
        return MG_OK;
    MG_TRY(mg_magic__take_turn(magic, err));
    MG_STOP("install.turn");
    uint64_t delta_bytes = magic->store.delta_bytes;
    enum mg_code code = mg_compaction__install(magic, round->items, round->count, round->is_checkpoint, err);
    uint64_t epoch = magic->store.epoch, wal_bytes = magic->store.wal_bytes;
    if (!round->lane && !round->pace.asked) /* merges alone free no rows */
        note_leaving(magic, delta_bytes - magic->store.delta_bytes);
    mg_magic__give_turn(magic);
    if (code == MG_OK)
        note_installed(round, epoch, wal_bytes);
    return code;
}

static enum mg_code purge_all(struct mg_round *round, struct mg_error *err)
{
    for (uint32_t i = 0; i < round->count; i++) {
        uint64_t cursor = 0;
        for (bool more = round->items[i].is_flush && !round->items[i].abandoned; more;) {
            MG_TRY(mg_magic__take_turn(round->magic, err));
            more = mg_compaction__purge(&round->items[i], &cursor);
            mg_magic__give_turn(round->magic);
        }
    }
    return MG_OK;
}

enum mg_code mg_round__run(struct mg_round *round, struct mg_error *err)
{
    if (round->count == 0 && !round->is_checkpoint)
        return MG_OK;
    MG_STOP("compact.planned");
    MG_TRY(write_all(round, err));
    MG_TRY(install_all(round, err));
    MG_TRY(purge_all(round, err));
    return mg_keeper__sweep(round->magic, err);
}

/* Plan in the writer's turn. */
static enum mg_code plan(struct mg_round *round, bool flushes, bool merges, struct mg_error *err)
{
    MG_TRY(mg_magic__take_turn(round->magic, err));
    round->newest = round->magic->store.newest;
    enum mg_code code = MG_OK;
    if (flushes && round->magic->store.epoch)
        code = plan_flushes(round, err);
    if (code == MG_OK && merges)
        code = mg_round__plan_merges(round, err);
    mg_magic__give_turn(round->magic);
    return code;
}

static enum mg_code plan_and_run(struct mg_round *round, bool flushes, bool merges, struct mg_error *err)
{
    enum mg_code code = plan(round, flushes, merges, err);
    if (code == MG_OK)
        code = mg_round__run(round, err);
    mg_round__clear(round);
    return code;
}

/* Under keeping.lock. */
static enum mg_code flush_round(struct mg_round *round, bool merges, struct mg_error *err)
{
    struct mg_magic *magic = round->magic;
    uint64_t flushes = atomic_load_explicit(&magic->keeping.flush_count, memory_order_relaxed);
    round->space = mg_space__look(magic);
    enum mg_code code = plan_and_run(round, true, merges && round->space == MG_SPACE_OK, err);
    if (code == MG_NO_SPACE && mg_space__release(magic)) /* what is written frees more: parts and WAL that are old */
        code = plan_and_run(round, true, false, err);
    if (code == MG_OK)
        mg_space__refill(magic);
    if (code == MG_NO_MEMORY)
        mg_cache_shrink(magic->cache, SIZE_MAX);
    uint64_t sealed = mg_sealed__round(magic);
    note_end(magic, sealed || atomic_load_explicit(&magic->keeping.flush_count, memory_order_relaxed) > flushes);
    return code;
}

enum mg_code mg_magic__flush_table(struct mg_magic *magic, uint64_t table_id, struct mg_error *err)
{
    struct mg_round round = {.magic = magic, .pace = {.magic = magic}, .flush_all = true, .only_table = table_id};
    mg_mutex_lock(&magic->keeping.lock);
    enum mg_code code = flush_round(&round, false, err);
    mg_mutex_unlock(&magic->keeping.lock);
    return code;
}

enum mg_code mg_magic__maintain(struct mg_magic *magic, bool flush_all, bool is_checkpoint, struct mg_error *err)
{
    struct mg_round round = {
        .magic = magic, .pace = {.magic = magic}, .flush_all = flush_all, .is_checkpoint = is_checkpoint};
    for (bool ran = magic->keeping.by_hand; ran;)
        MG_TRY(mg_asked__run_next(magic, &ran, err));
    mg_mutex_lock(&magic->keeping.lock);
    enum mg_code code = flush_round(&round, magic->keeping.by_hand, err);
    mg_mutex_unlock(&magic->keeping.lock);
    return code;
}

/* ---- the threads --------------------------------------------------------------------------------------------- */

static bool is_closing(const struct mg_keeping *keeping)
{
    return atomic_load_explicit(&keeping->closing, memory_order_relaxed);
}

/* False: it closes. */
static bool wait_for_round(struct mg_keeping *keeping, int64_t timeout_ms)
{
    mg_mutex_lock(&keeping->wake_lock);
    if (!is_closing(keeping) && timeout_ms > 0)
        mg_cond_wait_ms(&keeping->wake, &keeping->wake_lock, timeout_ms);
    mg_mutex_unlock(&keeping->wake_lock);
    return !is_closing(keeping);
}

void mg_magic__nap(struct mg_magic *magic, int64_t ms) { (void)wait_for_round(&magic->keeping, ms); }

void mg_magic__wake(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->keeping.wake_lock);
    mg_cond_broadcast(&magic->keeping.wake);
    mg_mutex_unlock(&magic->keeping.wake_lock);
}

enum mg_code mg_magic__set_option(struct mg_engine *engine, enum mg_engine_option option, uint64_t value,
                                  struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    switch (option) {
    case MG_OPTION_MERGE_THROTTLE: atomic_store(&magic->keeping.throttle, value); break;
    case MG_OPTION_DISK_RESERVE: mg_space__set_reserve(magic, value); break;
    default: return mg_fail(err, MG_INVALID, "there is no option %d", (int)option);
    }
    mg_magic__wake(magic);
    return MG_OK;
}

/* One round of merges; *out_more: there may be more to do at once. */
static enum mg_code run_lane(struct mg_lane *lane, bool *out_more, struct mg_error *err)
{
    struct mg_round round = {.magic = lane->magic, .lane = lane, .pace = {.magic = lane->magic}};
    *out_more = false;
    if (lane == &lane->magic->keeping.lanes[MG_LANE_LARGE])
        MG_TRY(mg_asked__run_next(lane->magic, out_more, err));
    if (mg_mono_ms(mg_clock_system()) < lane->not_before_ms || mg_space__look(lane->magic) > MG_SPACE_OK)
        return MG_OK;
    MG_TRY(plan(&round, false, true, err));
    *out_more |= round.count > 0;
    enum mg_code code = mg_round__run(&round, err);
    mg_round__clear(&round);
    return code;
}

static void lane_main(void *arg)
{
    struct mg_lane *lane = arg;
    struct mg_magic *magic = lane->magic;
    bool flushes = lane == &magic->keeping.lanes[MG_LANE_FLUSH];
    int64_t wait_ms = ROUND_EVERY_MS;
    while (wait_for_round(&magic->keeping, wait_ms)) {
        struct mg_error err = MG_ERROR_INIT;
        bool more = false;
        mg_slack__look(magic);
        enum mg_code code = flushes ? mg_magic__maintain(magic, false, false, &err) : run_lane(lane, &more, &err);
        wait_ms = code == MG_NO_SPACE                     ? FULL_AGAIN_MS
                  : code == MG_OK && more                 ? 0
                  : code == MG_OK || code == MG_NO_MEMORY ? ROUND_EVERY_MS
                                                          : RETRY_AFTER_MS;
        if (code == MG_OK || code == MG_STOPPED || is_closing(&magic->keeping))
            continue;
        atomic_fetch_add_explicit(&magic->keeping.failed_count, 1, memory_order_relaxed);
        mg_log(MG_LOG_WARN, "engine", "maintenance failed and is tried again in %" PRId64 " ms: %s", wait_ms, err.text);
    }
}

void mg_magic__maintain_init(struct mg_magic *magic)
{
    struct mg_keeping *keeping = &magic->keeping;
    mg_mutex_init(&keeping->lock, MG_RANK_WRITER, "maintain");
    mg_mutex_init(&keeping->sweep_lock, MG_RANK_SWEEP, "sweep");
    mg_mutex_init(&keeping->files_lock, MG_RANK_FILES, "files");
    mg_mutex_init(&keeping->asked_lock, MG_RANK_LEAF, "asked");
    mg_mutex_init(&keeping->wake_lock, MG_RANK_LEAF, "maintain wake");
    mg_cond_init(&keeping->wake);
    for (int i = 0; i < MG_LANES; i++)
        keeping->lanes[i].magic = magic;
    keeping->lanes[MG_LANE_SMALL].rows_max = keeping->lanes[MG_LANE_LARGE].rows_min = SMALL_ROWS;
    keeping->lanes[MG_LANE_LARGE].rows_max = UINT64_MAX;
}

void mg_magic__maintain_clear(struct mg_magic *magic)
{
    struct mg_keeping *keeping = &magic->keeping;
    mg_asked__clear(magic);
    free(keeping->working);
    mg_cond_destroy(&keeping->wake);
    mg_mutex_destroy(&keeping->lock);
    mg_mutex_destroy(&keeping->sweep_lock);
    mg_mutex_destroy(&keeping->files_lock);
    mg_mutex_destroy(&keeping->asked_lock);
    mg_mutex_destroy(&keeping->wake_lock);
}

enum mg_code mg_magic__maintain_start(struct mg_magic *magic, const struct mg_engine_options *options,
                                      struct mg_error *err)
{
    struct mg_keeping *keeping = &magic->keeping;
    keeping->every_bytes = options->checkpoint_bytes ? options->checkpoint_bytes : EVERY_BYTES;
    keeping->every_ms = options->checkpoint_ms ? options->checkpoint_ms : EVERY_MS;
    keeping->checkpoint_at_ms = mg_mono_ms(mg_clock_system());
    keeping->part_rows_max = options->part_rows_max;
    keeping->by_hand = options->maintain_by_hand;
    atomic_store(&keeping->throttle, options->merge_throttle);
    mg_space__open(magic);
    enum mg_code code = MG_OK;
    if (!keeping->by_hand)
        code = mg_thread_start(&keeping->lanes[MG_LANE_FLUSH].thread, "maintainer", lane_main,
                               &keeping->lanes[MG_LANE_FLUSH], err);
    if (!keeping->by_hand && code == MG_OK)
        code = mg_thread_start(&keeping->lanes[MG_LANE_SMALL].thread, "merge-small", lane_main,
                               &keeping->lanes[MG_LANE_SMALL], err);
    if (!keeping->by_hand && code == MG_OK)
        code = mg_thread_start(&keeping->lanes[MG_LANE_LARGE].thread, "merge-large", lane_main,
                               &keeping->lanes[MG_LANE_LARGE], err);
    if (code != MG_OK)
        mg_magic__maintain_stop(magic);
    return code;
}

void mg_magic__maintain_stop(struct mg_magic *magic)
{
    mg_mutex_lock(&magic->keeping.wake_lock);
    atomic_store(&magic->keeping.closing, true);
    mg_cond_broadcast(&magic->keeping.wake);
    mg_mutex_unlock(&magic->keeping.wake_lock);
    for (int i = 0; i < MG_LANES; i++)
        mg_thread_join(&magic->keeping.lanes[i].thread);
}
