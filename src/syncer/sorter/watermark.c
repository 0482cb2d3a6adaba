/* watermark.c -- open transactions in order of arrival, and the greatest timestamp known: W is the lower of the two
 * fronts.
 *
 * Shape     one entry a transaction in a pool; a hash table start_ts -> entry; two lists through the pool: open entries
 *           in order of arrival (their floors never fall, since known_ts never does: so the head's is the least), ended
 *           ones in order of their end, the oldest forgotten first.
 * Why W     see watermark.h. W is never recomputed downwards: a P whose floor lies below a W that an oracle's timestamp
 *           allowed was acked after that timestamp was handed out, so it commits above it.
 * Threads   owned by one thread at a time.
 * Errors    MG_NO_MEMORY leaves everything as it was.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/sorter/watermark.h"

#include <stdlib.h>

#include "base/hash.h"

enum { NONE = 0 /* entry 0 is never used */, ENTRIES_MIN = 64 };

enum state { FREE, OPEN, ENDED, GONE };

struct entry {
    uint64_t start_ts, floor_ts, seq;
    uint32_t before, after; /* in its list */
    uint8_t state;
    bool doubtful;
};

struct list {
    uint32_t first, last, count;
};

struct mg_watermark {
    uint64_t published;             /* before this start */
    uint64_t taken;                 /* handed out */
    uint64_t known;                 /* N */
    uint64_t seq, record_known;     /* of the last record */
    uint64_t oracle_ts, oracle_seq; /* waits for record oracle_seq; ts 0: none */

    struct entry *entries;
    uint32_t capacity; /* of entries; the table has twice as many places */
    uint32_t *table;   /* entry or NONE; linear probing */
    struct list open, ended, unused;
};

/* ---- lists and table ------------------------------------------------------------------------------------------ */

static void list_append(struct mg_watermark *w, struct list *list, uint32_t e)
{
    w->entries[e].before = list->last;
    w->entries[e].after = NONE;
    if (list->last)
        w->entries[list->last].after = e;
    else
        list->first = e;
    list->last = e;
    list->count++;
}

static void list_remove(struct mg_watermark *w, struct list *list, uint32_t e)
{
    uint32_t before = w->entries[e].before, after = w->entries[e].after;

    if (before)
        w->entries[before].after = after;
    else
        list->first = after;
    if (after)
        w->entries[after].before = before;
    else
        list->last = before;
    list->count--;
}

static uint32_t place_of(const struct mg_watermark *w, uint64_t start_ts)
{
    return (uint32_t)mg_hash_u64(start_ts) & (2 * w->capacity - 1);
}

static uint32_t next_place(const struct mg_watermark *w, uint32_t place) { return (place + 1) & (2 * w->capacity - 1); }

/* Where start_ts stands or would stand. */
static uint32_t probe(const struct mg_watermark *w, uint64_t start_ts)
{
    uint32_t place = place_of(w, start_ts);

    while (w->table[place] && w->entries[w->table[place]].start_ts != start_ts)
        place = next_place(w, place);
    return place;
}

static uint32_t find(const struct mg_watermark *w, uint64_t start_ts) { return w->table[probe(w, start_ts)]; }

/* Take an entry out of the table and close the gap behind it, so that no probe stops early. */
static void table_remove(struct mg_watermark *w, uint64_t start_ts)
{
    uint32_t hole = probe(w, start_ts), place = next_place(w, hole);

    for (; w->table[place]; place = next_place(w, place)) {
        uint32_t home = place_of(w, w->entries[w->table[place]].start_ts);
        uint32_t from_home = (place - home) & (2 * w->capacity - 1), from_hole = (place - hole) & (2 * w->capacity - 1);
        if (from_home >= from_hole) {
            w->table[hole] = w->table[place];
            hole = place;
        }
    }
    w->table[hole] = NONE;
}

static enum mg_code grow(struct mg_watermark *w, struct mg_error *err)
{
    uint32_t before = w->capacity, wider = before ? before * 2 : ENTRIES_MIN;
    uint32_t *table = wider <= UINT32_MAX / 4 ? calloc(2 * (size_t)wider, sizeof *table) : NULL;
    struct entry *entries = table ? realloc(w->entries, wider * sizeof *entries) : NULL;

    if (!entries) {
        free(table);
        return mg_fail(err, MG_NO_MEMORY, "no memory to follow %u open transactions", w->open.count);
    }
    free(w->table);
    w->table = table;
    w->entries = entries;
    w->capacity = wider;
    for (uint32_t e = before ? before : 1; e < wider; e++) {
        w->entries[e] = (struct entry){.state = FREE};
        list_append(w, &w->unused, e);
    }
    for (uint32_t e = 1; e < before; e++)
        if (w->entries[e].state != FREE)
            w->table[probe(w, w->entries[e].start_ts)] = e;
    return MG_OK;
}

static void forget_oldest(struct mg_watermark *w)
{
    uint32_t e = w->ended.first;

    table_remove(w, w->entries[e].start_ts);
    list_remove(w, &w->ended, e);
    w->entries[e].state = FREE;
    list_append(w, &w->unused, e);
}

/* An open transaction has ended. */
static void end(struct mg_watermark *w, uint32_t e, enum state state)
{
    list_remove(w, &w->open, e);
    w->entries[e].state = (uint8_t)state;
    list_append(w, &w->ended, e);
    if (w->ended.count > MG_WATERMARK_REMEMBERED)
        forget_oldest(w);
}

/* ---- N and W -------------------------------------------------------------------------------------------------- */

static void raise_known(struct mg_watermark *w, uint64_t ts)
{
    if (ts > w->known)
        w->known = ts;
}

static void take_oracle(struct mg_watermark *w)
{
    if (w->oracle_ts && w->seq >= w->oracle_seq) {
        raise_known(w, w->oracle_ts);
        w->oracle_ts = 0;
    }
}

uint64_t mg_watermark_peek(const struct mg_watermark *w)
{
    uint64_t ts = w->known;

    if (w->open.first)
        ts = MG_MIN(ts, w->entries[w->open.first].floor_ts);
    return MG_MAX(ts, w->taken);
}

uint64_t mg_watermark_take(struct mg_watermark *w) { return w->taken = mg_watermark_peek(w); }

uint64_t mg_watermark_known(const struct mg_watermark *w) { return w->known; }

void mg_watermark_know(struct mg_watermark *w, uint64_t ts, uint64_t durable_seq)
{
    w->oracle_ts = ts;
    w->oracle_seq = durable_seq;
    take_oracle(w);
}

/* ---- records -------------------------------------------------------------------------------------------------- */

/* The record's place and what it tells of N, before what it does. */
static enum mg_code begin_record(struct mg_watermark *w, const struct mg_watermark_record *record, struct mg_error *err)
{
    if (record->seq <= w->seq || record->known_ts < w->record_known)
        return mg_fail(err, MG_CORRUPT, "record %llu with known ts %llu comes after record %llu with known ts %llu",
                       (unsigned long long)record->seq, (unsigned long long)record->known_ts,
                       (unsigned long long)w->seq, (unsigned long long)w->record_known);
    w->seq = record->seq;
    w->record_known = record->known_ts;
    return MG_OK;
}

static void end_record(struct mg_watermark *w, const struct mg_watermark_record *record)
{
    raise_known(w, record->known_ts);
    raise_known(w, record->start_ts);
    raise_known(w, record->commit_ts);
    take_oracle(w);
}

enum mg_code mg_watermark_skip(struct mg_watermark *w, const struct mg_watermark_record *record, struct mg_error *err)
{
    MG_TRY(begin_record(w, record, err));
    end_record(w, record);
    return MG_OK;
}

enum mg_code mg_watermark_prewrite(struct mg_watermark *w, const struct mg_watermark_record *record,
                                   enum mg_watermark_verdict *out, struct mg_error *err)
{
    if (w->unused.count == 0)
        MG_TRY(grow(w, err));
    MG_TRY(begin_record(w, record, err));
    uint32_t place = probe(w, record->start_ts);
    if (w->table[place]) {
        *out = MG_VERDICT_DUPLICATE;
    } else {
        uint32_t e = w->unused.first;
        list_remove(w, &w->unused, e);
        w->entries[e] = (struct entry){
            .start_ts = record->start_ts, .floor_ts = record->known_ts, .seq = record->seq, .state = OPEN};
        w->table[place] = e;
        list_append(w, &w->open, e);
        *out = MG_VERDICT_NEW;
    }
    end_record(w, record);
    return MG_OK;
}

static enum mg_code fail_late(const struct mg_watermark *w, const struct mg_watermark_record *record, const char *why,
                              struct mg_error *err)
{
    return mg_fail(err, MG_SOURCE_STOPPED,
                   "the transaction with start_ts %llu commits at %llu, but %s (watermark %llu): applying stops",
                   (unsigned long long)record->start_ts, (unsigned long long)record->commit_ts, why,
                   (unsigned long long)w->taken);
}

/* What a commit at commit_ts of an open transaction means. */
static enum mg_watermark_verdict judge(const struct mg_watermark *w, uint64_t commit_ts)
{
    if (commit_ts <= w->published)
        return MG_VERDICT_APPLIED;
    return commit_ts <= w->taken ? MG_VERDICT_LATE : MG_VERDICT_COMPLETE;
}

enum mg_code mg_watermark_commit(struct mg_watermark *w, const struct mg_watermark_record *record,
                                 enum mg_watermark_verdict *out, struct mg_error *err)
{
    MG_TRY(begin_record(w, record, err));
    uint32_t e = find(w, record->start_ts);
    enum mg_watermark_verdict verdict = judge(w, record->commit_ts);

    if (e && w->entries[e].state == GONE)
        return fail_late(w, record, "the store said that it is gone", err);
    if (e && w->entries[e].state == OPEN) {
        if (verdict == MG_VERDICT_LATE)
            return fail_late(w, record, "that is visible already without it", err);
        end(w, e, ENDED);
        *out = verdict;
    } else {
        /* Nobody commits before our ack of its P: an unknown one at or below W ended long ago. */
        *out = e || verdict != MG_VERDICT_COMPLETE ? MG_VERDICT_DUPLICATE : MG_VERDICT_ORPHAN;
    }
    end_record(w, record);
    return MG_OK;
}

enum mg_code mg_watermark_rollback(struct mg_watermark *w, const struct mg_watermark_record *record,
                                   enum mg_watermark_verdict *out, struct mg_error *err)
{
    MG_TRY(begin_record(w, record, err));
    uint32_t e = find(w, record->start_ts);

    if (e && w->entries[e].state == OPEN) {
        w->entries[e].doubtful = true;
        *out = MG_VERDICT_DOUBTFUL;
    } else {
        *out = e ? MG_VERDICT_DUPLICATE : MG_VERDICT_ORPHAN;
    }
    end_record(w, record);
    return MG_OK;
}

/* ---- settling ------------------------------------------------------------------------------------------------- */

void mg_watermark_settle_commit(struct mg_watermark *w, uint64_t start_ts, uint64_t commit_ts,
                                enum mg_watermark_verdict *out)
{
    uint32_t e = find(w, start_ts);

    *out = MG_VERDICT_ORPHAN;
    if (!e || w->entries[e].state != OPEN)
        return;
    *out = judge(w, commit_ts);
    end(w, e, ENDED);
}

void mg_watermark_settle_gone(struct mg_watermark *w, uint64_t start_ts)
{
    uint32_t e = find(w, start_ts);

    if (e && w->entries[e].state == OPEN)
        end(w, e, GONE);
}

/* ---- looking -------------------------------------------------------------------------------------------------- */

uint32_t mg_watermark_open_txns(const struct mg_watermark *w, struct mg_open_txn *out, uint32_t max)
{
    uint32_t i = 0;

    for (uint32_t e = w->open.first; e && i < max; e = w->entries[e].after, i++)
        out[i] = (struct mg_open_txn){.start_ts = w->entries[e].start_ts,
                                      .known_ts = w->entries[e].floor_ts,
                                      .seq = w->entries[e].seq,
                                      .doubtful = w->entries[e].doubtful};
    return w->open.count;
}

uint64_t mg_watermark_lowest_seq(const struct mg_watermark *w)
{
    return w->open.first ? w->entries[w->open.first].seq : UINT64_MAX;
}

enum mg_code mg_watermark_new(uint64_t published, uint64_t first_seq, struct mg_watermark **out, struct mg_error *err)
{
    struct mg_watermark *w = calloc(1, sizeof *w);

    if (!w)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the watermark");
    mg_assert(first_seq > 0);
    w->published = w->taken = w->known = published;
    w->seq = first_seq - 1;
    enum mg_code code = grow(w, err);
    if (code != MG_OK) {
        mg_watermark_free(w);
        return code;
    }
    *out = w;
    return MG_OK;
}

void mg_watermark_free(struct mg_watermark *w)
{
    if (!w)
        return;
    free(w->entries);
    free(w->table);
    free(w);
}
