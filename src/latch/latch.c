/* latch.c -- leases of readers: acquire, renew, release, expiry, revival after a restart.
 *
 *     (none) --acquire--> living --renew--> living --release or expiry--> ended
 *     (none) --a good token or ticket of an earlier process--> living again (token) or a snapshot without a lease
 *     (ticket)
 *
 * Numbers    high half: random per process, low half: counts up. So a number that is not in the table is over when its
 *            high half is ours, and unknown when it is not. A lease of an earlier process that ended here is remembered
 *            in `ended` until its latest end, or its token would revive it.
 * Expiry     decided on each use by the wall clock (a lease outlives the process); the reaper only frees. A stream that
 *            runs when its lease ends goes on to its end: it holds the snapshot itself.
 * Shared     readers that did not ask for a lease and read the same epoch stand on one lease, so that a client which
 *            polls does not fill the table; its token can renew, not release.
 * Threads    any; lock MG_RANK_LATCH. Snapshots are opened and freed with the lock open.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/random.h"
#include "base/stop.h"
#include "latch/latch_internal.h"

enum {
    TTL_DEFAULT_MS = 60 * 1000,
    AGE_DEFAULT_MS = 24 * 3600 * 1000,
    LEASES_DEFAULT = 10000,
    LEASES_MOST = 1 << 20,
    HISTORY_DEFAULT = 4,
    ENDED_MAX = 10000, /* remembered ended leases of earlier processes */
    REAP_EVERY_MS = 1000,
};

/* ---- the table (all under the lock) ---- */

static struct mg_latch__lease **bucket_of(struct mg_latch *latch, uint64_t number)
{
    uint64_t h = number * 0x9e3779b97f4a7c15u;
    return &latch->buckets[(h >> 32) & latch->bucket_mask];
}

static struct mg_latch__lease *find_lease(struct mg_latch *latch, uint64_t number) MG_REQUIRES(&latch->lock)
{
    struct mg_latch__lease *lease = *bucket_of(latch, number);
    while (lease && lease->number != number)
        lease = lease->next_in_bucket;
    return lease;
}

static void list_push(struct mg_latch__lease_list *list, struct mg_latch__lease *lease)
{
    lease->newer = NULL;
    lease->older = list->newest;
    if (list->newest)
        list->newest->newer = lease;
    else
        list->oldest = lease;
    list->newest = lease;
    list->count++;
}

static void list_remove(struct mg_latch__lease_list *list, struct mg_latch__lease *lease)
{
    *(lease->newer ? &lease->newer->older : &list->newest) = lease->older;
    *(lease->older ? &lease->older->newer : &list->oldest) = lease->newer;
    lease->newer = lease->older = NULL;
    list->count--;
}

static void table_remove(struct mg_latch *latch, struct mg_latch__lease *lease) MG_REQUIRES(&latch->lock)
{
    struct mg_latch__lease **at = bucket_of(latch, lease->number);
    while (*at != lease)
        at = &(*at)->next_in_bucket;
    *at = lease->next_in_bucket;
}

static void table_add(struct mg_latch *latch, struct mg_latch__lease *lease, struct mg_latch__lease_list *list)
    MG_REQUIRES(&latch->lock)
{
    struct mg_latch__lease **at = bucket_of(latch, lease->number);
    lease->next_in_bucket = *at;
    *at = lease;
    list_push(list, lease);
}

static void forget_ended(struct mg_latch *latch, struct mg_latch__lease *lease) MG_REQUIRES(&latch->lock)
{
    table_remove(latch, lease);
    list_remove(&latch->ended, lease);
    free(lease);
}

static bool is_ours(const struct mg_latch *latch, uint64_t number) { return (uint32_t)(number >> 32) == latch->run; }

/* The lease is over. Returns its snapshot, which the caller lets go once the lock is open. */
static struct mg_snapshot *end_lease(struct mg_latch *latch, struct mg_latch__lease *lease) MG_REQUIRES(&latch->lock)
{
    struct mg_snapshot *snapshot = MG_TAKE(lease->snapshot);

    list_remove(&latch->living, lease);
    if (latch->shared == lease)
        latch->shared = NULL;
    if (is_ours(latch, lease->number)) {
        table_remove(latch, lease);
        free(lease);
        return snapshot;
    }
    if (latch->ended.count == ENDED_MAX)
        forget_ended(latch, latch->ended.oldest);
    list_push(&latch->ended, lease);
    return snapshot;
}

static void fill_lease(const struct mg_latch *latch, const struct mg_latch__lease *lease, struct mg_lease *out)
{
    struct mg_latch__token token = {
        .store_id = latch->engine->ops->store_id(latch->engine),
        .epoch = lease->epoch,
        .number = lease->number,
        .at_most_ms = lease->at_most_ms,
        .shared = lease->shared,
    };

    *out = (struct mg_lease){
        .number = lease->number,
        .epoch = lease->epoch,
        .expires_ms = lease->expires_ms,
        .expires_at_most_ms = lease->at_most_ms,
        .token_size = MG_LATCH__TOKEN_SIZE,
    };
    mg_latch__token_write(latch, &token, out->token);
}

static enum mg_code fail_expired(struct mg_error *err, uint64_t number, uint64_t epoch, int64_t ended_ms)
{
    char when[32];

    if (!ended_ms)
        return mg_fail(err, MG_SNAPSHOT_EXPIRED,
                       "lease %016" PRIx64 " on snapshot %" PRIu64 " has ended; acquire a new one", number, epoch);
    mg_format_time(ended_ms, when);
    return mg_fail(err, MG_SNAPSHOT_EXPIRED,
                   "lease %016" PRIx64 " on snapshot %" PRIu64 " ran out at %s; acquire a new one, or renew in time",
                   number, epoch, when);
}

/* ---- made and freed ---- */

static void reaper_main(void *arg)
{
    struct mg_latch *latch = arg;

    mg_mutex_lock(&latch->lock);
    while (!latch->stopping) {
        mg_cond_wait_ms(&latch->reap, &latch->lock, REAP_EVERY_MS);
        if (latch->stopping)
            break;
        mg_mutex_unlock(&latch->lock);
        mg_latch__reap(latch);
        mg_mutex_lock(&latch->lock);
    }
    mg_mutex_unlock(&latch->lock);
}

enum mg_code mg_latch_new(const struct mg_latch_options *options, struct mg_latch **out, struct mg_error *err)
{
    mg_assert(options->engine);
    if (options->ttl_ms < 0 || options->age_max_ms < 0)
        return mg_fail(err, MG_INVALID, "a lease's time limit cannot be negative (%" PRId64 " ms, %" PRId64 " ms)",
                       options->ttl_ms, options->age_max_ms);
    if (options->leases_max > LEASES_MOST)
        return mg_fail(err, MG_INVALID, "at most %d leases are possible, not %" PRIu32, (int)LEASES_MOST,
                       options->leases_max);

    uint32_t run = 0;
    while (run == 0)
        MG_TRY(mg_random_secret(&run, sizeof run, err));

    struct mg_latch *latch = calloc(1, sizeof *latch);
    if (!latch)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the latch service");
    latch->engine = options->engine;
    latch->clock = options->clock ? options->clock : mg_clock_system();
    memcpy(latch->secret, options->secret, MG_SECRET_SIZE);
    latch->age_max_ms = options->age_max_ms ? options->age_max_ms : AGE_DEFAULT_MS;
    latch->ttl_ms = MG_MIN(options->ttl_ms ? options->ttl_ms : TTL_DEFAULT_MS, latch->age_max_ms);
    latch->leases_max = options->leases_max ? options->leases_max : LEASES_DEFAULT;
    latch->run = run;

    uint32_t bucket_count = 16;
    while (bucket_count < latch->leases_max)
        bucket_count *= 2;
    latch->bucket_mask = bucket_count - 1;
    latch->buckets = calloc(bucket_count, sizeof *latch->buckets);
    if (!latch->buckets) {
        free(latch);
        return mg_fail(err, MG_NO_MEMORY, "no memory for %" PRIu32 " leases", bucket_count);
    }
    mg_mutex_init(&latch->lock, MG_RANK_LATCH, "latch");
    mg_cond_init(&latch->reap);
    mg_cond_init(&latch->gate);
    mg_latch__history_init(&latch->history, options->history_max ? options->history_max : HISTORY_DEFAULT);

    enum mg_code code = mg_thread_start(&latch->reaper, "latch", reaper_main, latch, err);
    if (code != MG_OK) {
        mg_latch_free(latch);
        return code;
    }
    *out = latch;
    return MG_OK;
}

void mg_latch_free(struct mg_latch *latch)
{
    if (!latch)
        return;
    mg_mutex_lock(&latch->lock);
    latch->stopping = true;
    mg_cond_signal(&latch->reap);
    mg_assert(!latch->staging && !latch->first_waiting);
    mg_mutex_unlock(&latch->lock);
    mg_thread_join(&latch->reaper);

    while (latch->living.oldest) {
        struct mg_latch__lease *lease = latch->living.oldest;
        list_remove(&latch->living, lease);
        latch->engine->ops->snapshot_unref(lease->snapshot);
        free(lease);
    }
    while (latch->ended.oldest) {
        struct mg_latch__lease *lease = latch->ended.oldest;
        list_remove(&latch->ended, lease);
        free(lease);
    }
    mg_latch__history_clear(latch);
    mg_cond_destroy(&latch->reap);
    mg_cond_destroy(&latch->gate);
    mg_mutex_destroy(&latch->lock);
    free(latch->buckets);
    explicit_bzero(latch->secret, sizeof latch->secret);
    free(latch);
}

/* ---- which snapshot ---- */

/* The source that AS_OF and WAIT mean: the named one, or the only one. MG_NOT_FOUND when there is none yet. */
static enum mg_code choose_source(struct mg_latch *latch, const char *named, char out[MG_SOURCE_NAME_MAX],
                                  uint64_t *out_epoch, struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    struct mg_snapshot *snapshot = NULL;

    MG_TRY(ops->snapshot(latch->engine, &snapshot, err));
    struct mg_source_position *positions = calloc(MG_SOURCES_MAX, sizeof *positions);
    uint32_t count = positions ? ops->snapshot_watermarks(snapshot, positions, MG_SOURCES_MAX) : 0;
    *out_epoch = ops->snapshot_epoch(snapshot);
    ops->snapshot_unref(snapshot);
    if (!positions)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the watermarks");

    enum mg_code code = MG_OK;
    if (named) {
        snprintf(out, MG_SOURCE_NAME_MAX, "%s", named);
    } else if (count == 0) {
        code = mg_fail(err, MG_NOT_FOUND, "no source has a watermark yet");
    } else if (count > 1) {
        code = mg_fail(err, MG_INVALID, "%" PRIu32 " sources have watermarks (%s, %s, ...): say which one is meant",
                       count, positions[0].source, positions[1].source);
    } else {
        memcpy(out, positions[0].source, MG_SOURCE_NAME_MAX);
    }
    free(positions);
    return code;
}

static enum mg_code fail_not_yet(const char *source, uint64_t ts, struct mg_error *err)
{
    return mg_fail(err, MG_SNAPSHOT_NOT_YET, "commit_ts %" PRIu64 " of source %s is not visible yet", ts, source);
}

static enum mg_code wait_for_ts(struct mg_latch *latch, const struct mg_snapshot_choice *choice, struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    char source[MG_SOURCE_NAME_MAX];
    int64_t wait_ms = MG_MAX(choice->wait_ms, 0);
    int64_t until_ms = mg_mono_ms(mg_clock_system()) + wait_ms;
    enum mg_code code;

    for (;;) { /* until the first source shows up */
        uint64_t epoch = 0;
        struct mg_error local = MG_ERROR_INIT;
        code = choose_source(latch, choice->source, source, &epoch, &local);
        if (code == MG_OK)
            break;
        int64_t left_ms = until_ms - mg_mono_ms(mg_clock_system());
        if (code != MG_NOT_FOUND)
            return mg_fail(err, code, "%s", local.text);
        if (left_ms <= 0)
            return fail_not_yet("(none yet)", choice->ts, err);
        code = ops->wait(latch->engine, epoch + 1, left_ms, err);
        if (code != MG_OK && code != MG_TIMEOUT)
            return code;
    }
    int64_t left_ms = MG_MAX(until_ms - mg_mono_ms(mg_clock_system()), 0);
    code = ops->wait_watermark(latch->engine, source, choice->ts, left_ms, err);
    return code == MG_TIMEOUT ? fail_not_yet(source, choice->ts, err) : code;
}

/* A reference to the chosen snapshot; not for CHOICE_LEASE. */
static enum mg_code open_choice(struct mg_latch *latch, const struct mg_snapshot_choice *choice,
                                struct mg_snapshot **out, struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    char source[MG_SOURCE_NAME_MAX];
    uint64_t epoch = 0;

    switch (choice->choice) {
    case MG_CHOICE_LATEST: return ops->snapshot(latch->engine, out, err);
    case MG_CHOICE_WAIT: MG_TRY(wait_for_ts(latch, choice, err)); return ops->snapshot(latch->engine, out, err);
    case MG_CHOICE_AS_OF: {
        enum mg_code code = choose_source(latch, choice->source, source, &epoch, err);
        if (code == MG_NOT_FOUND)
            return mg_fail(err, MG_SNAPSHOT_TOO_OLD,
                           "there is no snapshot as of %" PRIu64 ": no source has a watermark yet", choice->ts);
        if (code != MG_OK)
            return code;
        MG_TRY(ops->epoch_at(latch->engine, source, choice->ts, &epoch, err));
        return mg_latch__history_open(latch, epoch, 0, out, err);
    }
    case MG_CHOICE_EPOCH: return mg_latch__history_open(latch, choice->epoch, 0, out, err);
    case MG_CHOICE_LEASE: break;
    }
    return mg_fail(err, MG_INVALID, "unknown choice of a snapshot (%d)", (int)choice->choice);
}

/* ---- acquire, renew, release ---- */

static int64_t usable_ttl(const struct mg_latch *latch, int64_t ttl_ms)
{
    return MG_MIN(ttl_ms ? ttl_ms : latch->ttl_ms, latch->age_max_ms);
}

/* End what has run out. Returns the ended leases' snapshots as a chain through an array; see let_go. */
struct ended_snapshots {
    struct mg_snapshot *at[256];
    uint32_t count;
};

static void end_expired(struct mg_latch *latch, int64_t now_ms, struct ended_snapshots *out) MG_REQUIRES(&latch->lock)
{
    for (struct mg_latch__lease *lease = latch->living.oldest, *next; lease && out->count < MG_COUNT_OF(out->at);
         lease = next) {
        next = lease->newer;
        if (lease->expires_ms <= now_ms) {
            out->at[out->count++] = end_lease(latch, lease);
            mg_count(lease_expired, 1);
        }
    }
}

static void let_go(struct mg_latch *latch, struct ended_snapshots *ended)
{
    for (uint32_t i = 0; i < ended->count; i++)
        latch->engine->ops->snapshot_unref(ended->at[i]);
    ended->count = 0;
}

void mg_latch__reap(struct mg_latch *latch)
{
    struct ended_snapshots ended = {.count = 0};
    int64_t now_ms = mg_wall_ms(latch->clock);
    bool again;

    do {
        mg_mutex_lock(&latch->lock);
        end_expired(latch, now_ms, &ended);
        for (struct mg_latch__lease *lease = latch->ended.oldest, *next; lease; lease = next) {
            next = lease->newer;
            if (lease->at_most_ms <= now_ms)
                forget_ended(latch, lease);
        }
        mg_mutex_unlock(&latch->lock);
        again = ended.count == MG_COUNT_OF(ended.at);
        let_go(latch, &ended);
    } while (again);
    mg_latch__history_reap(latch, now_ms);
}

/* Stand on the shared lease of this epoch if there is one with a full ttl ahead of it. */
static bool join_shared(struct mg_latch *latch, uint64_t epoch, int64_t ttl_ms, int64_t now_ms, struct mg_lease *out)
    MG_REQUIRES(&latch->lock)
{
    struct mg_latch__lease *lease = latch->shared;

    if (!lease || lease->epoch != epoch || lease->expires_ms <= now_ms || now_ms + ttl_ms > lease->at_most_ms)
        return false;
    lease->ttl_ms = MG_MAX(lease->ttl_ms, ttl_ms);
    lease->expires_ms = MG_MAX(lease->expires_ms, now_ms + ttl_ms);
    fill_lease(latch, lease, out);
    return true;
}

/* Enter `lease` (heap, filled but for its number if 0). Takes it over when MG_OK; its snapshot reference goes with
 * it. */
static enum mg_code enter_lease(struct mg_latch *latch, struct mg_latch__lease *lease, struct mg_error *err)
    MG_REQUIRES(&latch->lock)
{
    if (latch->living.count >= latch->leases_max)
        return mg_fail(err, MG_BUSY,
                       "%" PRIu32 " leases are held, the most that this server allows; release some, "
                       "or wait until they run out",
                       latch->living.count);
    if (!lease->number) {
        if (++latch->last_number == 0) /* 4 G leases: the counter starts again under another high half */
            latch->run = latch->run * 2654435761u | 1;
        lease->number = (uint64_t)latch->run << 32 | latch->last_number;
    }
    table_add(latch, lease, &latch->living);
    if (lease->shared)
        latch->shared = lease;
    mg_count(lease_acquired, 1);
    return MG_OK;
}

static enum mg_code new_lease(struct mg_latch *latch, struct mg_snapshot *snapshot, const char *holder, int64_t ttl_ms,
                              bool share, struct mg_lease *out, struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    struct ended_snapshots ended = {.count = 0};
    int64_t now_ms = mg_wall_ms(latch->clock);
    uint64_t epoch = ops->snapshot_epoch(snapshot);

    struct mg_latch__lease *lease = calloc(1, sizeof *lease);
    if (!lease)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a lease");
    *lease = (struct mg_latch__lease){
        .epoch = epoch,
        .snapshot = ops->snapshot_ref(snapshot),
        .acquired_ms = now_ms,
        .ttl_ms = ttl_ms,
        .expires_ms = now_ms + ttl_ms,
        .at_most_ms = now_ms + latch->age_max_ms,
        .shared = share,
    };
    snprintf(lease->holder, sizeof lease->holder, "%s", holder ? holder : "");

    enum mg_code code = MG_OK;
    mg_mutex_lock(&latch->lock);
    if (share && join_shared(latch, epoch, ttl_ms, now_ms, out)) {
        mg_mutex_unlock(&latch->lock);
    } else {
        if (latch->living.count >= latch->leases_max)
            end_expired(latch, now_ms, &ended);
        code = enter_lease(latch, lease, err);
        if (code == MG_OK)
            fill_lease(latch, MG_TAKE(lease), out);
        mg_mutex_unlock(&latch->lock);
    }
    let_go(latch, &ended);
    if (lease) {
        ops->snapshot_unref(lease->snapshot);
        free(lease);
    }
    return code;
}

/* A good token whose lease is not in the table: of an earlier process, so it lives again, if the engine can open its
 * epoch. */
static enum mg_code revive(struct mg_latch *latch, const struct mg_latch__token *token, int64_t ttl_ms, int64_t now_ms,
                           struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    struct ended_snapshots ended = {.count = 0};
    struct mg_snapshot *snapshot = NULL;

    if (token->at_most_ms <= now_ms)
        return fail_expired(err, token->number, token->epoch, token->at_most_ms);
    MG_TRY(mg_latch__history_open(latch, token->epoch, 0, &snapshot, err));
    struct mg_latch__lease *lease = calloc(1, sizeof *lease);
    if (!lease) {
        ops->snapshot_unref(snapshot);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a lease");
    }
    *lease = (struct mg_latch__lease){
        .number = token->number,
        .epoch = token->epoch,
        .snapshot = snapshot,
        .acquired_ms = now_ms,
        .ttl_ms = ttl_ms,
        .expires_ms = MG_MIN(now_ms + ttl_ms, token->at_most_ms),
        .at_most_ms = token->at_most_ms,
        .shared = token->shared,
        .holder = "(from before the restart)",
    };

    enum mg_code code = MG_OK;
    mg_mutex_lock(&latch->lock);
    if (!find_lease(latch, token->number)) { /* else another thread was faster, or it was released meanwhile */
        if (latch->living.count >= latch->leases_max)
            end_expired(latch, now_ms, &ended);
        code = enter_lease(latch, lease, err);
        if (code == MG_OK)
            lease = NULL;
    }
    mg_mutex_unlock(&latch->lock);
    let_go(latch, &ended);
    if (lease) {
        ops->snapshot_unref(lease->snapshot);
        free(lease);
    }
    return code;
}

/* The lease of a token, living, extended by ttl_ms if that is not 0. */
static enum mg_code use_token(struct mg_latch *latch, struct mg_slice bytes, int64_t ttl_ms, struct mg_lease *out,
                              struct mg_snapshot **out_snapshot, struct mg_error *err)
{
    struct mg_latch__token token;
    int64_t now_ms = mg_wall_ms(latch->clock);

    MG_TRY(mg_latch__token_read(latch, bytes, &token, err));
    for (;;) {
        mg_mutex_lock(&latch->lock);
        struct mg_latch__lease *lease = find_lease(latch, token.number);
        bool ours = is_ours(latch, token.number);
        if (lease && lease->snapshot && lease->expires_ms > now_ms) {
            if (ttl_ms) {
                int64_t end_ms = MG_MIN(now_ms + ttl_ms, lease->at_most_ms);
                lease->expires_ms = lease->shared ? MG_MAX(lease->expires_ms, end_ms) : end_ms;
                lease->ttl_ms = lease->shared ? MG_MAX(lease->ttl_ms, ttl_ms) : ttl_ms;
            }
            fill_lease(latch, lease, out);
            if (out_snapshot)
                *out_snapshot = latch->engine->ops->snapshot_ref(lease->snapshot);
            mg_mutex_unlock(&latch->lock);
            return MG_OK;
        }
        int64_t ended_ms = lease && lease->snapshot ? lease->expires_ms : 0;
        mg_mutex_unlock(&latch->lock);
        if (lease || ours)
            return fail_expired(err, token.number, token.epoch, ended_ms);
        MG_TRY(revive(latch, &token, usable_ttl(latch, ttl_ms), now_ms, err));
    }
}

enum mg_code mg_latch_acquire(struct mg_latch *latch, const struct mg_snapshot_choice *choice, const char *holder,
                              int64_t ttl_ms, struct mg_lease *out, struct mg_snapshot **out_snapshot,
                              struct mg_error *err)
{
    if (ttl_ms < 0)
        return mg_fail(err, MG_INVALID, "a lease of %" PRId64 " ms is not possible", ttl_ms);
    if (choice->choice == MG_CHOICE_LEASE)
        return use_token(latch, choice->token, 0, out, out_snapshot, err);

    struct mg_snapshot *snapshot = NULL;
    bool share = choice->share && (choice->choice == MG_CHOICE_LATEST || choice->choice == MG_CHOICE_WAIT);
    MG_TRY(open_choice(latch, choice, &snapshot, err));
    enum mg_code code = new_lease(latch, snapshot, holder, usable_ttl(latch, ttl_ms), share, out, err);
    if (code == MG_OK && out_snapshot)
        *out_snapshot = MG_TAKE(snapshot);
    latch->engine->ops->snapshot_unref(snapshot);
    MG_STOP("latch.acquired");
    return code;
}

enum mg_code mg_latch_renew(struct mg_latch *latch, struct mg_slice token, int64_t ttl_ms, struct mg_lease *out,
                            struct mg_error *err)
{
    if (ttl_ms < 0)
        return mg_fail(err, MG_INVALID, "a lease cannot be renewed by %" PRId64 " ms", ttl_ms);
    return use_token(latch, token, usable_ttl(latch, ttl_ms), out, NULL, err);
}

enum mg_code mg_latch_release(struct mg_latch *latch, struct mg_slice bytes, struct mg_error *err)
{
    struct mg_latch__token token;
    struct mg_snapshot *snapshot = NULL;

    MG_TRY(mg_latch__token_read(latch, bytes, &token, err));
    if (token.shared)
        return MG_OK;
    struct mg_latch__lease *stone = calloc(1, sizeof *stone);
    if (!stone)
        return mg_fail(err, MG_NO_MEMORY, "no memory to remember a released lease");

    mg_mutex_lock(&latch->lock);
    struct mg_latch__lease *lease = find_lease(latch, token.number);
    if (lease && lease->snapshot) {
        snapshot = end_lease(latch, lease);
    } else if (!lease && !is_ours(latch, token.number)) { /* of an earlier process: it must not be revived now */
        stone->number = token.number;
        stone->epoch = token.epoch;
        stone->at_most_ms = token.at_most_ms;
        if (latch->ended.count == ENDED_MAX)
            forget_ended(latch, latch->ended.oldest);
        table_add(latch, MG_TAKE(stone), &latch->ended);
    }
    mg_mutex_unlock(&latch->lock);
    latch->engine->ops->snapshot_unref(snapshot);
    free(stone);
    return MG_OK;
}

/* ---- tickets ---- */

enum mg_code mg_latch_open(struct mg_latch *latch, uint64_t number, uint64_t epoch, int64_t expires_ms,
                           struct mg_snapshot **out, struct mg_error *err)
{
    int64_t now_ms = mg_wall_ms(latch->clock);

    mg_mutex_lock(&latch->lock);
    struct mg_latch__lease *lease = find_lease(latch, number);
    /* never made by this store; answered without saying anything about that lease */
    if (lease && lease->epoch != epoch) {
        mg_mutex_unlock(&latch->lock);
        return mg_fail(err, MG_TICKET_INVALID,
                       "ticket names lease %016" PRIx64 " for snapshot %" PRIu64 ", which is not that lease's", number,
                       epoch);
    }
    if (lease && lease->snapshot && lease->expires_ms > now_ms) {
        *out = latch->engine->ops->snapshot_ref(lease->snapshot);
        mg_mutex_unlock(&latch->lock);
        return MG_OK;
    }
    int64_t ended_ms = lease && lease->snapshot ? lease->expires_ms : 0;
    bool over = lease || is_ours(latch, number);
    mg_mutex_unlock(&latch->lock);

    if (over)
        return fail_expired(err, number, epoch, ended_ms);
    if (expires_ms <= now_ms)
        return fail_expired(err, number, epoch, expires_ms);
    return mg_latch__history_open(latch, epoch, expires_ms, out, err);
}

void mg_latch_keep(struct mg_latch *latch, uint64_t number)
{
    int64_t now_ms = mg_wall_ms(latch->clock);

    mg_mutex_lock(&latch->lock);
    struct mg_latch__lease *lease = find_lease(latch, number);
    if (lease && lease->snapshot && lease->shared && lease->expires_ms > now_ms)
        lease->expires_ms = MG_MIN(MG_MAX(lease->expires_ms, now_ms + lease->ttl_ms), lease->at_most_ms);
    mg_mutex_unlock(&latch->lock);
}

uint32_t mg_latch_list(struct mg_latch *latch, struct mg_lease_info *out, uint32_t max)
{
    uint32_t filled = 0;

    mg_mutex_lock(&latch->lock);
    for (const struct mg_latch__lease *lease = latch->living.newest; lease && filled < max; lease = lease->older) {
        struct mg_lease_info *info = &out[filled++];
        *info = (struct mg_lease_info){
            .number = lease->number,
            .epoch = lease->epoch,
            .expires_ms = lease->expires_ms,
            .acquired_ms = lease->acquired_ms,
            .shared = lease->shared,
        };
        memcpy(info->holder, lease->holder, sizeof info->holder);
    }
    uint32_t count = latch->living.count;
    mg_mutex_unlock(&latch->lock);
    return count;
}
