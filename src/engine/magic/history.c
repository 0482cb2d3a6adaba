/* history.c -- which epoch a timestamp means: a bounded list per source in memory, and the WAL for what lies between.
 *
 * Shape    every stride-th epoch of the source that has a watermark, the first one always. A list that reaches
 *          MG_HISTORY_ENTRIES_MAX drops every second entry and doubles its stride: the first 65,536 epochs are exact,
 *          and later at most stride groups are read for an answer.
 * Restart  a manifest says which epoch of a source was its last one; what it had between two manifests is not looked
 *          up before somebody asks for it. Where it had no epoch yet the list begins with one of watermark 0.
 * Errors   MG_SNAPSHOT_TOO_OLD below the first watermark.
 * Threads  magic->publish; the WAL is read without it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { ROOM_FIRST = 64 };

enum mg_code mg_history__reserve(struct mg_history *history, struct mg_error *err)
{
    if (history->count < history->room)
        return MG_OK;
    uint32_t room = history->room ? history->room * 2 : ROOM_FIRST;
    struct mg_history_entry *entries = realloc(history->entries, room * sizeof *entries);
    if (!entries)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the list of epochs");
    history->entries = entries;
    history->room = room;
    return MG_OK;
}

void mg_history__note(struct mg_history *history, uint64_t epoch, uint64_t watermark)
{
    if (watermark == 0)
        return;
    if (history->stride == 0)
        history->stride = 1;
    uint64_t ordinal = history->next_ordinal++;
    if (ordinal % history->stride)
        return;
    history->entries[history->count++] = (struct mg_history_entry){epoch, watermark, ordinal};
    if (history->count < MG_HISTORY_ENTRIES_MAX)
        return;
    history->stride *= 2;
    for (uint32_t i = 0; i < history->count / 2; i++)
        history->entries[i] = history->entries[2 * (size_t)i];
    history->count /= 2;
}

enum mg_code mg_history__note_gap(struct mg_history *history, uint64_t before, uint64_t epoch, uint64_t watermark,
                                  struct mg_error *err)
{
    if (watermark == 0 || (history->count && history->entries[history->count - 1].epoch >= epoch))
        return MG_OK;
    MG_TRY(mg_history__reserve(history, err));
    if (history->count == 0)
        history->entries[history->count++] = (struct mg_history_entry){.epoch = before};
    history->next_ordinal++; /* at least one: so no answer from the gap counts as exact */
    MG_TRY(mg_history__reserve(history, err));
    mg_history__note(history, epoch, watermark);
    return MG_OK;
}

void mg_history__clear(struct mg_history *history)
{
    free(history->entries);
    memset(history, 0, sizeof *history);
}

/* What the list knows about ts: the answer lies in [epoch, end_epoch), and unless exact some epochs of the source
 * between them are only in the WAL. */
struct span {
    uint64_t epoch, end_epoch;
    uint64_t end_watermark; /* of end_epoch; 0: it is not there yet */
    bool exact;
    bool is_begun; /* the source has a watermark at `epoch` */
};

static bool find_span(const struct mg_history *history, uint64_t ts, uint64_t newest_watermark, uint64_t newest_epoch,
                      struct span *out)
{
    uint32_t low = 0, high = history->count; /* the first entry above ts */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (history->entries[middle].watermark <= ts)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    const struct mg_history_entry *found = &history->entries[low - 1];
    bool is_last = low == history->count;
    uint64_t next_ordinal = is_last ? history->next_ordinal : history->entries[low].ordinal;
    out->epoch = found->epoch;
    out->is_begun = found->watermark > 0;
    out->end_epoch = is_last ? newest_epoch + 1 : history->entries[low].epoch;
    out->end_watermark = is_last ? 0 : history->entries[low].watermark;
    out->exact = next_ordinal == found->ordinal + 1;
    if (newest_watermark <= ts) {
        out->epoch = newest_epoch;
        out->exact = out->is_begun = true;
        out->end_epoch = newest_epoch + 1;
    }
    return true;
}

/* Epochs below `floor` cannot be opened any more; the source's watermark there is floor_watermark. */
struct floor {
    uint64_t epoch, watermark;
};

static enum mg_code too_old(const char *source, uint64_t ts, uint64_t earliest, struct mg_error *err)
{
    return mg_fail(err, MG_SNAPSHOT_TOO_OLD,
                   "source %s: nothing is kept at or below %llu; the earliest watermark is %llu", source,
                   (unsigned long long)ts, (unsigned long long)earliest);
}

/* The epoch before the first one in (span.epoch, span.end_epoch) at which the source's watermark passes ts. */
static enum mg_code search_wal(struct mg_magic *magic, const char *source, uint64_t ts, struct span span,
                               uint64_t *out_epoch, struct mg_error *err)
{
    MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *cursor = NULL;
    MG_TRY(mg_journal_cursor_open(magic->journal, span.epoch + 1, &cursor, err));
    for (uint64_t epoch = span.epoch + 1; epoch < span.end_epoch; epoch++) {
        uint64_t seq;
        struct mg_slice bytes;
        struct mg_wal_head head;
        MG_TRY(mg_journal_cursor_next(cursor, &seq, &bytes, err));
        MG_TRY(mg_wal_group__decode_head(bytes, &head, err));
        if (!mg_slice_equal(head.source, mg_slice_text(source)))
            continue;
        if (head.watermark > ts) {
            *out_epoch = epoch - 1;
            return span.is_begun ? MG_OK : too_old(source, ts, head.watermark, err);
        }
        span.is_begun |= head.watermark > 0;
    }
    *out_epoch = span.end_epoch - 1;
    return span.is_begun ? MG_OK : too_old(source, ts, span.end_watermark, err);
}

enum mg_code mg_magic__epoch_at(struct mg_engine *engine, const char *source, uint64_t ts, uint64_t *out_epoch,
                                struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    struct span span = {0};
    struct floor floor = {0};
    uint64_t earliest = 0;
    mg_mutex_lock(&magic->publish);
    int at = mg_store__find_source(&magic->store, source);
    bool found = at >= 0 &&
                 find_span(&magic->history[at], ts, magic->store.sources[at].watermark, magic->store.epoch, &span);
    if (at >= 0 && magic->history[at].count)
        earliest = magic->history[at].entries[0].watermark;
    const struct mg_kept *oldest = mg_keeper__oldest(magic);
    if (at >= 0 && oldest) {
        floor = (struct floor){oldest->epoch, oldest->watermarks[at]};
        earliest = MG_MAX(earliest, floor.watermark);
        found = found && (floor.watermark == 0 || floor.watermark <= ts);
        span.is_begun |= floor.watermark > 0;
    }
    mg_mutex_unlock(&magic->publish);
    if (!found)
        return too_old(source, ts, earliest, err);
    if (span.is_begun && (span.exact || span.end_epoch - 1 <= floor.epoch)) {
        *out_epoch = MG_MAX(span.end_epoch - 1, floor.epoch);
        return MG_OK;
    }
    span.epoch = MG_MAX(span.epoch, floor.epoch);
    return search_wal(magic, source, ts, span, out_epoch, err);
}
