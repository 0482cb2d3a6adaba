/* asked.c -- compactions that somebody asked for: queued, run one at a time, listed, cancelled.
 *
 * Steps    flush the table (not for a range) -> take the parts that overlap the range, waiting for merges that have
 *          some of them -> merge up to MG_MERGE_INPUTS_MAX at a time, the smallest first, until one pass took all.
 * While it runs, rows go on coming: what was there when it took the parts is compacted.
 * Memory   a pass for which there is too little is tried again with half as many inputs.
 * Errors   of a compaction: its state and message. Nothing of one that ends early stays behind but passes that were
 *          installed, which are as good as any merge.
 * Threads  as asked.h says; asked_lock is a leaf. held_table and is_busy of parts belong to the writer's turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/magic/asked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/magic/compaction.h"
#include "engine/magic/merge_choice.h"

enum { WAITING_MAX = 64, WAIT_MS = 10 };

/* ---- the list ------------------------------------------------------------------------------------------------ */

static void free_asked(struct mg_asked *asked)
{
    mg_buffer_clear(&asked->low);
    mg_buffer_clear(&asked->high);
    free(asked);
}

void mg_asked__clear(struct mg_magic *magic)
{
    for (uint32_t i = 0; i < magic->keeping.asked_count; i++)
        free_asked(magic->keeping.asked[i]);
    magic->keeping.asked_count = 0;
}

static bool is_over(const struct mg_asked *asked) { return asked->info.state >= MG_COMPACTION_DONE; }

/* Place in the list, whose lock is held; -1. */
static int find(const struct mg_keeping *keeping, uint64_t id)
{
    for (uint32_t i = 0; i < keeping->asked_count; i++)
        if (keeping->asked[i]->info.id == id)
            return (int)i;
    return -1;
}

/* Room for one more, where an old one that is over may have to go. Under the lock. */
static enum mg_code make_room(struct mg_keeping *keeping, struct mg_error *err)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < keeping->asked_count; i++)
        waiting += !is_over(keeping->asked[i]);
    if (waiting >= WAITING_MAX)
        return mg_fail(err, MG_BUSY, "%u compactions wait already", waiting);
    for (uint32_t i = 0; keeping->asked_count == MG_ASKED_MAX && i < keeping->asked_count; i++)
        if (is_over(keeping->asked[i])) {
            free_asked(keeping->asked[i]);
            keeping->asked_count--;
            memmove(keeping->asked + i, keeping->asked + i + 1, (keeping->asked_count - i) * sizeof keeping->asked[0]);
        }
    return MG_OK;
}

static enum mg_code describe(struct mg_magic *magic, uint64_t table_id, struct mg_compaction_info *info,
                             struct mg_error *err)
{
    enum mg_code code = MG_OK;
    mg_mutex_lock(&magic->publish);
    const struct mg_catalog *catalog = magic->store.newest->catalog;
    int at = mg_catalog__find_id(catalog, table_id);
    if (at < 0) {
        code = mg_fail(err, MG_NOT_FOUND, "there is no table with id %" PRIu64, table_id);
    } else {
        snprintf(info->database, sizeof info->database, "%s", catalog->tables[at]->schema->database);
        snprintf(info->table, sizeof info->table, "%s", catalog->tables[at]->schema->table);
    }
    mg_mutex_unlock(&magic->publish);
    info->table_id = table_id;
    info->asked_ms = mg_wall_ms(mg_clock_system());
    return code;
}

static enum mg_code fill(struct mg_magic *magic, struct mg_asked *asked, uint64_t table_id, struct mg_key_range range,
                         struct mg_error *err)
{
    mg_buffer_init(&asked->low, MG_KEY_BYTES_MAX);
    mg_buffer_init(&asked->high, MG_KEY_BYTES_MAX);
    MG_TRY(describe(magic, table_id, &asked->info, err));
    MG_TRY(mg_buffer_append(&asked->low, range.low.data, range.low.size, err));
    MG_TRY(mg_buffer_append(&asked->high, range.high.data, range.high.size, err));
    asked->info.has_range = range.low.size || range.high.size;
    return MG_OK;
}

enum mg_code mg_magic__compact(struct mg_engine *engine, uint64_t table_id, struct mg_key_range range, uint64_t *out_id,
                               struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    struct mg_keeping *keeping = &magic->keeping;
    struct mg_asked *asked = calloc(1, sizeof *asked);
    if (!asked)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a compaction");
    enum mg_code code = fill(magic, asked, table_id, range, err);
    mg_mutex_lock(&keeping->asked_lock);
    if (code == MG_OK)
        code = make_room(keeping, err);
    if (code == MG_OK) {
        *out_id = asked->info.id = ++keeping->last_asked;
        keeping->asked[keeping->asked_count++] = asked;
    }
    mg_mutex_unlock(&keeping->asked_lock);
    if (code != MG_OK) {
        free_asked(asked);
        return code;
    }
    mg_magic__wake(magic);
    return MG_OK;
}

/* With its counts as they are now. */
static void tell(const struct mg_asked *asked, struct mg_compaction_info *out)
{
    *out = asked->info;
    uint64_t done = atomic_load(&asked->rows_done), total = atomic_load(&asked->rows_total);
    out->rows_read = done + atomic_load(&asked->rows_dead);
    out->rows_written = atomic_load(&asked->rows_written);
    out->bytes_read = atomic_load(&asked->bytes_read);
    out->bytes_written = atomic_load(&asked->bytes_written);
    out->progress = out->state == MG_COMPACTION_DONE ? 1 : total ? MG_MIN((double)done / (double)total, 0.999) : 0;
}

enum mg_code mg_magic__compactions(struct mg_engine *engine, uint64_t id, mg_compaction_fn *fn, void *arg,
                                   struct mg_error *err)
{
    struct mg_keeping *keeping = &mg_magic__of(engine)->keeping;
    MG_CLEANUP(mg_freep) struct mg_compaction_info *infos = malloc(MG_ASKED_MAX * sizeof *infos);
    uint32_t count = 0;
    if (!infos)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a list of compactions");
    mg_mutex_lock(&keeping->asked_lock);
    for (uint32_t i = 0; i < keeping->asked_count; i++)
        if (id == 0 || keeping->asked[i]->info.id == id)
            tell(keeping->asked[i], &infos[count++]);
    mg_mutex_unlock(&keeping->asked_lock);
    if (id && count == 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no compaction %" PRIu64, id);
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(fn(arg, &infos[i], err));
    return MG_OK;
}

static void end(struct mg_asked *asked, enum mg_compaction_state state, const char *message)
{
    asked->info.state = state;
    asked->info.ended_ms = mg_wall_ms(mg_clock_system());
    snprintf(asked->info.message, sizeof asked->info.message, "%s", message);
}

enum mg_code mg_magic__cancel_compaction(struct mg_engine *engine, uint64_t id, struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    struct mg_keeping *keeping = &magic->keeping;
    enum mg_code code = MG_OK;
    mg_mutex_lock(&keeping->asked_lock);
    int at = find(keeping, id);
    struct mg_asked *asked = at < 0 ? NULL : keeping->asked[at];
    if (!asked)
        code = mg_fail(err, MG_NOT_FOUND, "there is no compaction %" PRIu64, id);
    else if (is_over(asked))
        code = mg_fail(err, MG_INVALID, "compaction %" PRIu64 " is over: %s", id, asked->info.message);
    else if (asked->info.state == MG_COMPACTION_QUEUED)
        end(asked, MG_COMPACTION_CANCELLED, "cancelled before it began");
    else
        atomic_store(&asked->is_cancelled, true);
    mg_mutex_unlock(&keeping->asked_lock);
    mg_magic__wake(magic);
    return code;
}

void mg_asked__count(struct mg_asked *asked, uint64_t rows)
{
    atomic_fetch_add_explicit(&asked->rows_done, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&asked->rows_written, rows, memory_order_relaxed);
}

/* ---- a compaction -------------------------------------------------------------------------------------------- */

struct job {
    struct mg_magic *magic;
    struct mg_asked *asked;
    struct mg_pace pace;
    uint32_t *ids; /* of the parts that are to be merged */
    uint32_t count, room;
    uint32_t width; /* inputs of a pass, at most */
    uint32_t taken, made;
};

static bool is_in_range(const struct mg_asked *asked, const struct mg_wpart *part)
{
    struct mg_slice low, high;
    mg_part_keys(part->part, &low, &high);
    return (asked->low.size == 0 || mg_slice_compare(high, mg_buffer_slice(&asked->low)) >= 0) &&
           (asked->high.size == 0 || mg_slice_compare(low, mg_buffer_slice(&asked->high)) < 0);
}

/* Turn. The parts of the table, unless somebody merges one of them: then *out_busy, and nobody begins another merge of
 * the table until this job has taken them. */
static enum mg_code take_parts(struct job *job, bool *out_busy, struct mg_error *err)
{
    struct mg_keeping *keeping = &job->magic->keeping;
    uint64_t table_id = job->asked->info.table_id;
    struct mg_wtable *table = mg_store__find_wtable(&job->magic->store, table_id);
    *out_busy = false;
    for (uint32_t p = 0; table && p < table->part_count; p++)
        *out_busy |= table->parts[p] && table->parts[p]->is_busy && is_in_range(job->asked, table->parts[p]);
    keeping->held_table = *out_busy ? table_id : 0;
    for (uint32_t p = 0; table && !*out_busy && p < table->part_count; p++) {
        struct mg_wpart *part = table->parts[p];
        if (!part || mg_wpart__living(part) == 0 || !is_in_range(job->asked, part))
            continue;
        MG_TRY(mg_list__reserve(&job->ids, &job->room, job->count, 1, sizeof *job->ids, err));
        part->is_busy = true;
        job->ids[job->count++] = mg_part_segment_id(part->part);
    }
    return MG_OK;
}

static enum mg_code wait_for_parts(struct job *job, struct mg_error *err)
{
    for (bool busy = true; busy;) {
        MG_TRY(mg_magic__take_turn(job->magic, err));
        enum mg_code code = take_parts(job, &busy, err);
        mg_magic__give_turn(job->magic);
        MG_TRY(code);
        if (busy) {
            MG_TRY(mg_pace__step(&job->pace, 0, 0, err));
            mg_magic__nap(job->magic, WAIT_MS);
        }
    }
    return MG_OK;
}

/* Turn. Parts that were not merged may be merged by others; nobody waits any more. */
static void release_parts(struct job *job)
{
    if (mg_magic__take_turn(job->magic, NULL) != MG_OK)
        return;
    struct mg_wtable *table = mg_store__find_wtable(&job->magic->store, job->asked->info.table_id);
    job->magic->keeping.held_table = 0;
    for (uint32_t p = 0; table && p < table->part_count; p++)
        for (uint32_t i = 0; table->parts[p] && i < job->count; i++)
            if (mg_part_segment_id(table->parts[p]->part) == job->ids[i])
                table->parts[p]->is_busy = false;
    mg_magic__give_turn(job->magic);
}

/* Places of the job's parts in the table, smallest part first; those that are gone are forgotten. */
static uint32_t places_of(struct job *job, const struct mg_wtable *table, uint32_t *places)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < table->part_count; p++)
        for (uint32_t i = 0; table->parts[p] && i < job->count; i++) {
            if (mg_part_segment_id(table->parts[p]->part) != job->ids[i])
                continue;
            uint32_t at = count++;
            for (; at > 0 && mg_wpart__living(table->parts[places[at - 1]]) > mg_wpart__living(table->parts[p]); at--)
                places[at] = places[at - 1];
            places[at] = p;
        }
    return count;
}

static bool overlap(const struct mg_wpart *a, const struct mg_wpart *b)
{
    struct mg_slice a_low, a_high, b_low, b_high;
    mg_part_keys(a->part, &a_low, &a_high);
    mg_part_keys(b->part, &b_low, &b_high);
    return mg_slice_compare(a_low, b_high) <= 0 && mg_slice_compare(b_low, a_high) <= 0;
}

/* Nothing would become better: no row is dead, and parts are few and lie beside one another. */
static bool is_compact(struct job *job, const struct mg_wtable *table, const uint32_t *places, uint32_t count)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct mg_wpart *part = table->parts[places[i]];
        rows += mg_part_row_count(part->part);
        if (mg_wpart__living(part) < mg_part_row_count(part->part))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (overlap(part, table->parts[places[j]]))
                return false;
    }
    return count <= rows / mg_wtable__part_rows_max(job->magic, table) + 1;
}

static void sort(uint32_t *places, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t j = i; j > 0 && places[j - 1] > places[j]; j--) {
            uint32_t place = places[j];
            places[j] = places[j - 1];
            places[j - 1] = place;
        }
}

/* Turn. The next pass; no outputs in the round: nothing is left to do. */
static enum mg_code plan_pass(struct job *job, struct mg_round *round, struct mg_error *err)
{
    struct mg_wtable *table = mg_store__find_wtable(&job->magic->store, job->asked->info.table_id);
    if (!table)
        return MG_OK;
    MG_CLEANUP(mg_freep) uint32_t *places = calloc((size_t)job->count + 1, sizeof *places);
    if (!places)
        return mg_fail(err, MG_NO_MEMORY, "no memory to compact %u parts", job->count);
    uint32_t count = places_of(job, table, places), width = MG_MIN(count, job->width);
    if (is_compact(job, table, places, count))
        return MG_OK;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count; i++)
        rows += mg_wpart__living(table->parts[places[i]]);
    atomic_store(&job->asked->rows_total,
                 MG_MAX(atomic_load(&job->asked->rows_total), atomic_load(&job->asked->rows_done) + rows));
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < width; i++)
        bytes += mg_part_file_bytes(table->parts[places[i]]->part);
    MG_TRY(mg_space__check_merge(job->magic, bytes, err));
    sort(places, width);
    round->newest = job->magic->store.newest;
    MG_TRY(mg_round__plan_merge(round, table, places, width, err));
    for (uint32_t i = 0; i < round->count; i++)
        round->items[i].stays_busy = width < count;
    return MG_OK;
}

static void forget(struct job *job, uint32_t id)
{
    for (uint32_t i = 0; i < job->count; i++)
        if (job->ids[i] == id)
            job->ids[i--] = job->ids[--job->count];
}

/* Inputs go, and outputs come if another pass is to take them. */
static enum mg_code note_pass(struct job *job, const struct mg_round *round, struct mg_error *err)
{
    const struct mg_compaction *first = &round->items[0];
    for (uint32_t i = 0; i < first->input_count; i++) {
        const struct mg_part *part = first->inputs[i].part->part;
        const struct mg_marks *marks = first->inputs[i].part->marks;
        atomic_fetch_add(&job->asked->bytes_read, mg_part_file_bytes(part));
        atomic_fetch_add(&job->asked->rows_dead, marks ? marks->dead_count : 0);
        forget(job, first->inputs[i].segment_id);
    }
    job->taken += first->input_count;
    for (uint32_t i = 0; i < round->count; i++) {
        if (!round->items[i].out)
            continue;
        job->made++;
        atomic_fetch_add(&job->asked->bytes_written, mg_part_file_bytes(round->items[i].out));
        if (!round->items[i].stays_busy)
            continue;
        job->taken--; /* it is taken again */
        job->made--;
        MG_TRY(mg_list__reserve(&job->ids, &job->room, job->count, 1, sizeof *job->ids, err));
        job->ids[job->count++] = round->items[i].segment_id;
    }
    return MG_OK;
}

/* *out_more: another one is needed. */
static enum mg_code run_pass(struct job *job, bool *out_more, struct mg_error *err)
{
    struct mg_round round = {.magic = job->magic, .pace = job->pace};
    *out_more = false;
    MG_TRY(mg_magic__take_turn(job->magic, err));
    enum mg_code code = plan_pass(job, &round, err);
    mg_magic__give_turn(job->magic);
    if (code == MG_OK && round.count) {
        *out_more = round.items[0].stays_busy;
        code = mg_round__run(&round, err);
        if (code == MG_OK)
            code = note_pass(job, &round, err);
    }
    mg_round__clear(&round);
    if (code == MG_NO_MEMORY && job->width > 2) {
        job->width /= 2;
        *out_more = true;
        return MG_OK;
    }
    return code;
}

static enum mg_code run(struct job *job, struct mg_error *err)
{
    if (!job->asked->info.has_range)
        MG_TRY(mg_magic__flush_table(job->magic, job->asked->info.table_id, err));
    MG_TRY(mg_pace__step(&job->pace, 0, 0, err));
    enum mg_code code = wait_for_parts(job, err);
    for (bool more = true; code == MG_OK && more;)
        code = run_pass(job, &more, err);
    release_parts(job);
    return code;
}

static struct mg_asked *next_waiting(struct mg_keeping *keeping)
{
    struct mg_asked *found = NULL;
    bool runs = false;
    mg_mutex_lock(&keeping->asked_lock);
    for (uint32_t i = 0; i < keeping->asked_count; i++) {
        struct mg_asked *asked = keeping->asked[i];
        runs |= asked->info.state == MG_COMPACTION_RUNNING;
        if (!found && asked->info.state == MG_COMPACTION_QUEUED)
            found = asked;
    }
    found = runs ? NULL : found;
    if (found) {
        found->info.state = MG_COMPACTION_RUNNING;
        found->info.started_ms = mg_wall_ms(mg_clock_system());
    }
    mg_mutex_unlock(&keeping->asked_lock);
    return found;
}

enum mg_code mg_asked__run_next(struct mg_magic *magic, bool *out_ran, struct mg_error *err)
{
    struct mg_keeping *keeping = &magic->keeping;
    struct mg_asked *asked = next_waiting(keeping);
    *out_ran = asked != NULL;
    if (!asked)
        return MG_OK;
    struct job job = {
        .magic = magic, .asked = asked, .pace = {.magic = magic, .asked = asked}, .width = MG_MERGE_INPUTS_MAX};
    struct mg_error story = MG_ERROR_INIT;
    char text[64];
    enum mg_code code = run(&job, &story);
    free(job.ids);
    snprintf(text, sizeof text, "%u parts became %u", job.taken, job.made);
    mg_mutex_lock(&keeping->asked_lock);
    end(asked,
        code == MG_OK          ? MG_COMPACTION_DONE
        : code == MG_CANCELLED ? MG_COMPACTION_CANCELLED
                               : MG_COMPACTION_FAILED,
        code != MG_OK ? story.text
        : job.taken   ? text
                      : "nothing to do: it is compact");
    mg_mutex_unlock(&keeping->asked_lock);
    if (code == MG_CANCELLED && !atomic_load(&keeping->closing))
        return mg_keeper__sweep(magic, err); /* what was written goes now */
    return code == MG_STOPPED ? mg_fail(err, MG_STOPPED, "%s", story.text) : MG_OK;
}
