/* sorter.c -- the applying half: reads the buffer, matches prewrites with their ends, gives out transactions in commit
 * order.
 *
 * A transaction    OPEN (P was read) -> WAITING (C was read, or the store said so) -> given out, once W reaches its
 *                  commit_ts. OPEN -> dropped: gone, or applied before this start. OPEN -> LATE: of unknown end, its
 *                  tables must be loaded again.
 * W                watermark.h decides. Here only its rule for the oracle is kept: the settling thread reads the last
 *                  durable record after the timestamp came back, and both go in together.
 * Position         the lowest P that is still held, else the record behind the last one read. A transaction that was
 *                  given out counts as published: whoever publishes does so only after it took what it was given.
 * Memory           payloads above spool_bytes, those that do not fit into KEPT_BYTES or the budget are not kept, but
 *                  read again from the buffer when their turn comes: held and counted by the buffer's cursor, or, when
 *                  they are longer than it holds, given out as a span of which only an outline is in memory. How many
 *                  transactions may wait is bounded.
 * Errors           after one a sorter can only be freed; a new one begins at the store's position.
 * Threads          poll, next, take_late, position, free: the applying thread. The lock is held for single records,
 *                  never over I/O.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/sorter/sorter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/stop.h"
#include "syncer/sorter/settle_rule.h"
#include "syncer/sorter/sorter_internal.h"
#include "syncer/source/binlog.h"

enum {
    SPOOL_BYTES = 1 << 20,
    SETTLE_AFTER_MS = 2000,
    IDLE_MS = 200,
    WAITING_MAX = 1000000,
    POLL_RECORDS = 20000, /* read by one poll at most, so that applying keeps its interval */
    POLL_BYTES = 64 << 20,
    KEPT_BYTES = 256 << 20,
    ORPHANS_LOGGED = 10000, /* one in as many is logged, and the first */
};

/* ---- lists and heap ------------------------------------------------------------------------------------------ */

static void keep_txn(struct mg_sorter__list *list, struct mg_sorter__txn *txn)
{
    txn->kept_before = list->last;
    txn->kept_after = NULL;
    *(list->last ? &list->last->kept_after : &list->first) = txn;
    list->last = txn;
    list->count++;
}

static void unkeep_txn(struct mg_sorter__list *list, struct mg_sorter__txn *txn)
{
    *(txn->kept_before ? &txn->kept_before->kept_after : &list->first) = txn->kept_after;
    *(txn->kept_after ? &txn->kept_after->kept_before : &list->last) = txn->kept_before;
    list->count--;
}

static void list_append(struct mg_sorter__list *list, struct mg_sorter__txn *txn)
{
    txn->list_before = list->last;
    txn->list_after = NULL;
    *(list->last ? &list->last->list_after : &list->first) = txn;
    list->last = txn;
    list->count++;
}

static void list_remove(struct mg_sorter__list *list, struct mg_sorter__txn *txn)
{
    *(txn->list_before ? &txn->list_before->list_after : &list->first) = txn->list_after;
    *(txn->list_after ? &txn->list_after->list_before : &list->last) = txn->list_before;
    list->count--;
}

static bool before(const struct mg_sorter__txn *a, const struct mg_sorter__txn *b)
{
    return a->commit_ts != b->commit_ts ? a->commit_ts < b->commit_ts : a->start_ts < b->start_ts;
}

static enum mg_code heap_push(struct mg_sorter *sorter, struct mg_sorter__txn *txn, struct mg_error *err)
{
    if (sorter->heap_count == sorter->heap_capacity) {
        size_t capacity = sorter->heap_capacity ? sorter->heap_capacity * 2 : 1024;
        struct mg_sorter__txn **heap = realloc(sorter->heap, capacity * sizeof *heap);
        if (!heap)
            return mg_fail(err, MG_NO_MEMORY, "no memory for %zu waiting transactions", capacity);
        sorter->heap = heap;
        sorter->heap_capacity = capacity;
    }
    size_t at = sorter->heap_count++;
    for (; at > 0 && before(txn, sorter->heap[(at - 1) / 2]); at = (at - 1) / 2)
        sorter->heap[at] = sorter->heap[(at - 1) / 2];
    sorter->heap[at] = txn;
    return MG_OK;
}

static struct mg_sorter__txn *heap_pop(struct mg_sorter *sorter)
{
    struct mg_sorter__txn *first = sorter->heap[0], *last = sorter->heap[--sorter->heap_count];
    size_t at = 0, count = sorter->heap_count;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && before(sorter->heap[child + 1], sorter->heap[child]);
        if (!before(sorter->heap[child], last))
            break;
        sorter->heap[at] = sorter->heap[child];
    }
    sorter->heap[at] = last;
    return first;
}

/* ---- transactions -------------------------------------------------------------------------------------------- */

static void free_txn(struct mg_sorter *sorter, struct mg_sorter__txn *txn) MG_REQUIRES(&sorter->lock)
{
    if (!txn)
        return;
    if (txn->payload) {
        mg_budget_release(sorter->options.budget, txn->payload_size);
        sorter->kept_bytes -= txn->payload_size;
    }
    free(txn->payload);
    free(txn->tables);
    free(txn);
}

struct mg_sorter__txn *mg_sorter__find(struct mg_sorter *sorter, uint64_t start_ts)
{
    return mg_ts_map_find(&sorter->by_start, start_ts);
}

/* Out of the open ones. */
static void close_txn(struct mg_sorter *sorter, struct mg_sorter__txn *txn) MG_REQUIRES(&sorter->lock)
{
    mg_assert(txn->state == MG_SORTER__OPEN);
    mg_ts_map_remove(&sorter->by_start, txn->start_ts);
    list_remove(&sorter->open, txn);
}

/* An open one needs nothing any more. */
static void drop_txn(struct mg_sorter *sorter, struct mg_sorter__txn *txn) MG_REQUIRES(&sorter->lock)
{
    close_txn(sorter, txn);
    unkeep_txn(&sorter->kept, txn);
    free_txn(sorter, txn);
}

static struct mg_txn_tables find_tables(const struct mg_binlog *binlog, const struct mg_span *rows)
{
    struct mg_txn_tables tables = {.job_id = binlog->ddl_job_id};
    if (tables.job_id == 0)
        tables.count = mg_binlog_table_ids(rows, tables.ids, MG_TXN_TABLES_MAX);
    return tables;
}

/* A record as it was read, in memory or not. */
struct taken {
    const struct mg_record *record;
    struct mg_binlog binlog;
    struct mg_span rows;
};

/* Keep the payload in memory if it is small and there is room, else what people want to know of it. */
static enum mg_code keep_payload(struct mg_sorter *sorter, struct mg_sorter__txn *txn, const struct taken *taken,
                                 struct mg_error *err) MG_REQUIRES(&sorter->lock)
{
    const struct mg_record *record = taken->record;
    size_t size = record->payload.size;
    txn->payload_size = size;
    if (record->payload.data && size <= sorter->options.spool_bytes && sorter->kept_bytes + size <= KEPT_BYTES &&
        mg_budget_reserve(sorter->options.budget, size, NULL) == MG_OK) {
        txn->payload = malloc(size);
        if (txn->payload) {
            memcpy(txn->payload, record->payload.data, size);
            sorter->kept_bytes += size;
            return MG_OK;
        }
        mg_budget_release(sorter->options.budget, size);
    }
    txn->tables = malloc(sizeof *txn->tables);
    if (!txn->tables)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a transaction");
    *txn->tables = find_tables(&taken->binlog, &taken->rows);
    return MG_OK;
}

static enum mg_code open_txn(struct mg_sorter *sorter, const struct taken *taken, struct mg_error *err)
    MG_REQUIRES(&sorter->lock)
{
    const struct mg_record *record = taken->record;
    struct mg_sorter__txn *txn = calloc(1, sizeof *txn);
    if (!txn)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a transaction");
    txn->start_ts = taken->binlog.start_ts;
    txn->floor_ts = record->known_ts;
    txn->seq = record->seq;
    txn->received_ms = record->received_ms;
    txn->read_ns = mg_mono_ns(sorter->options.clock);
    txn->ask_ns = txn->read_ns + sorter->options.settle_after_ms * 1000000;
    enum mg_code code = keep_payload(sorter, txn, taken, err);
    if (code == MG_OK)
        code = mg_ts_map_put(&sorter->by_start, txn->start_ts, txn, err);
    if (code != MG_OK) {
        free_txn(sorter, txn);
        return code;
    }
    list_append(&sorter->open, txn);
    keep_txn(&sorter->kept, txn);
    return MG_OK;
}

/* What becomes of an open transaction whose end is known. */
static enum mg_code end_txn(struct mg_sorter *sorter, struct mg_sorter__txn *txn, uint64_t commit_ts,
                            enum mg_watermark_verdict verdict, struct mg_error *err) MG_REQUIRES(&sorter->lock)
{
    txn->commit_ts = commit_ts;
    if (verdict == MG_VERDICT_COMPLETE) {
        MG_TRY(heap_push(sorter, txn, err));
        close_txn(sorter, txn);
        txn->state = MG_SORTER__WAITING;
    } else if (verdict == MG_VERDICT_LATE) {
        close_txn(sorter, txn);
        txn->state = MG_SORTER__LATE;
        list_append(&sorter->late, txn);
        mg_count(source_settled_late, 1);
    } else if (verdict == MG_VERDICT_APPLIED) {
        drop_txn(sorter, txn);
    }
    return MG_OK;
}

/* ---- records ------------------------------------------------------------------------------------------------- */

static void note_orphan(struct mg_sorter *sorter, const struct mg_binlog *binlog) MG_REQUIRES(&sorter->lock)
{
    if (sorter->orphans++ % ORPHANS_LOGGED == 0)
        mg_log(MG_LOG_WARN, "sorter",
               "an end without its prewrite, which was sent elsewhere or before our first record: "
               "start_ts=%" PRIu64 " commit_ts=%" PRIu64 " count=%" PRIu64,
               binlog->start_ts, binlog->commit_ts, sorter->orphans);
}

static enum mg_code take_binlog(struct mg_sorter *sorter, const struct taken *taken, struct mg_error *err)
    MG_REQUIRES(&sorter->lock)
{
    const struct mg_record *record = taken->record;
    const struct mg_binlog *binlog = &taken->binlog;
    struct mg_watermark_record marked = {.seq = record->seq,
                                         .known_ts = record->known_ts,
                                         .start_ts = binlog->start_ts,
                                         .commit_ts = binlog->type == MG_BINLOG_COMMIT ? binlog->commit_ts : 0};
    enum mg_watermark_verdict verdict;
    struct mg_sorter__txn *txn;
    switch (binlog->type) {
    case MG_BINLOG_PREWRITE:
        MG_TRY(mg_watermark_prewrite(sorter->watermark, &marked, &verdict, err));
        return verdict == MG_VERDICT_NEW ? open_txn(sorter, taken, err) : MG_OK;
    case MG_BINLOG_COMMIT:
        MG_TRY(mg_watermark_commit(sorter->watermark, &marked, &verdict, err));
        txn = mg_sorter__find(sorter, binlog->start_ts);
        if (txn)
            MG_TRY(end_txn(sorter, txn, binlog->commit_ts, verdict, err));
        if (verdict == MG_VERDICT_COMPLETE)
            MG_STOP("sorter.matched");
        break;
    case MG_BINLOG_ROLLBACK:
        MG_TRY(mg_watermark_rollback(sorter->watermark, &marked, &verdict, err));
        txn = mg_sorter__find(sorter, binlog->start_ts);
        if (txn && verdict == MG_VERDICT_DOUBTFUL) {
            txn->doubtful = true;
            txn->ask_ns = 0;
            mg_cond_signal(&sorter->wake);
        }
        break;
    case MG_BINLOG_PRE_DDL:
    case MG_BINLOG_POST_DDL: return mg_watermark_skip(sorter->watermark, &marked, err);
    default: return mg_fail(err, MG_CORRUPT, "a binlog of type %d in the buffer", (int)binlog->type);
    }
    if (verdict == MG_VERDICT_ORPHAN)
        note_orphan(sorter, binlog);
    return MG_OK;
}

static enum mg_code take_record(struct mg_sorter *sorter, const struct mg_record *record, struct mg_error *err)
{
    struct taken taken = {.record = record};
    struct mg_span payload = mg_buffer_cursor_payload(sorter->cursor, record);
    enum mg_code code = mg_binlog_read_span(&payload, &sorter->read_outline, &taken.binlog, &taken.rows, err);
    if (code != MG_OK)
        return mg_fail_in(err, code == MG_PROTOCOL ? MG_CORRUPT : code, "record %" PRIu64 " of the buffer",
                          record->seq);
    mg_mutex_lock(&sorter->lock);
    code = take_binlog(sorter, &taken, err);
    sorter->read_seq = record->seq;
    sorter->read_ordinal = record->ordinal;
    mg_mutex_unlock(&sorter->lock);
    return code;
}

/* ---- what the settling thread found -------------------------------------------------------------------------- */

static enum mg_code follow_verdict(struct mg_sorter *sorter, const struct mg_sorter__verdict *found,
                                   struct mg_error *err) MG_REQUIRES(&sorter->lock)
{
    struct mg_sorter__txn *txn = mg_sorter__find(sorter, found->start_ts);
    if (!txn)
        return MG_OK; /* its end came meanwhile */
    sorter->settled++;
    mg_count(source_settled, 1);
    MG_STOP("sorter.settled");
    enum mg_watermark_verdict verdict = MG_VERDICT_LATE;
    if (found->verdict == MG_SETTLE_COMMITTED) {
        mg_watermark_settle_commit(sorter->watermark, found->start_ts, found->commit_ts, &verdict);
        mg_log(MG_LOG_INFO, "sorter", "settled as committed: start_ts=%" PRIu64 " commit_ts=%" PRIu64, found->start_ts,
               found->commit_ts);
        return end_txn(sorter, txn, found->commit_ts, verdict, err);
    }
    mg_watermark_settle_gone(sorter->watermark, found->start_ts);
    if (found->verdict == MG_SETTLE_GONE) {
        mg_log(MG_LOG_DEBUG, "sorter", "settled as gone: start_ts=%" PRIu64, found->start_ts);
        drop_txn(sorter, txn);
        return MG_OK;
    }
    sorter->lost++;
    mg_log(MG_LOG_ERROR, "sorter", "the end of a transaction cannot be told any more: start_ts=%" PRIu64,
           found->start_ts);
    return end_txn(sorter, txn, 0, MG_VERDICT_LATE, err);
}

static enum mg_code follow_settling(struct mg_sorter *sorter, struct mg_error *err) MG_REQUIRES(&sorter->lock)
{
    for (uint32_t i = 0; i < sorter->verdict_count; i++)
        MG_TRY(follow_verdict(sorter, &sorter->verdicts[i], err));
    sorter->verdict_count = 0;
    if (sorter->oracle_ts)
        mg_watermark_know(sorter->watermark, sorter->oracle_ts, sorter->oracle_seq);
    sorter->oracle_ts = 0;
    return MG_OK;
}

/* ---- the applying thread's calls ----------------------------------------------------------------------------- */

static enum mg_code read_records(struct mg_sorter *sorter, uint32_t room, struct mg_error *err)
{
    size_t bytes = 0;
    uint32_t count = 0;
    enum mg_code code = MG_OK;
    while (count < MG_MIN(room, (uint32_t)POLL_RECORDS) && bytes < POLL_BYTES) {
        struct mg_record record;
        code = mg_buffer_cursor_next(sorter->cursor, &record, err);
        if (code == MG_NOT_FOUND)
            break;
        MG_TRY(code);
        MG_TRY(take_record(sorter, &record, err));
        bytes += record.payload.size;
        count++;
    }
    if (count) {
        mg_mutex_lock(&sorter->lock);
        sorter->read_ns = mg_mono_ns(sorter->options.clock);
        mg_mutex_unlock(&sorter->lock);
    }
    return MG_OK;
}

enum mg_code mg_sorter_poll(struct mg_sorter *sorter, uint64_t *out_watermark, struct mg_error *err)
{
    mg_mutex_lock(&sorter->lock);
    enum mg_code code = follow_settling(sorter, err);
    uint32_t waiting = (uint32_t)sorter->heap_count;
    mg_mutex_unlock(&sorter->lock);
    MG_TRY(code);
    sorter->crowded = waiting >= sorter->options.waiting_max;
    MG_TRY(read_records(sorter, sorter->crowded ? 0 : sorter->options.waiting_max - waiting, err));
    mg_mutex_lock(&sorter->lock);
    sorter->taken = mg_watermark_take(sorter->watermark);
    *out_watermark = sorter->taken;
    mg_mutex_unlock(&sorter->lock);
    return MG_OK;
}

static void end_current(struct mg_sorter *sorter)
{
    mg_mutex_lock(&sorter->lock);
    free_txn(sorter, sorter->current);
    sorter->current = NULL;
    mg_mutex_unlock(&sorter->lock);
    mg_buffer_cursor_close(sorter->spool);
    sorter->spool = NULL;
    mg_buffer_clear(&sorter->outline);
}

/* The payload of the current transaction, from memory or once more from the buffer. */
static enum mg_code load_current(struct mg_sorter *sorter, struct mg_span *out, struct mg_error *err)
{
    const struct mg_sorter__txn *txn = sorter->current;
    if (txn->payload) {
        *out = mg_span_of(MG_SLICE(txn->payload, txn->payload_size));
        return MG_OK;
    }
    struct mg_record record;
    MG_TRY(mg_buffer_log_find(sorter->options.buffer, txn->seq, &sorter->spool, &record, err));
    *out = mg_buffer_cursor_payload(sorter->spool, &record);
    return MG_OK;
}

static enum mg_code give_current(struct mg_sorter *sorter, struct mg_txn *out, struct mg_error *err)
{
    struct mg_span payload, rows;
    struct mg_binlog binlog;
    MG_TRY(load_current(sorter, &payload, err));
    MG_TRY(mg_binlog_read_span(&payload, &sorter->outline, &binlog, &rows, err));
    *out = (struct mg_txn){
        .kind = binlog.ddl_job_id > 0 ? MG_TXN_DDL : MG_TXN_ROWS,
        .start_ts = sorter->current->start_ts,
        .commit_ts = sorter->current->commit_ts,
        .received_ms = sorter->current->received_ms,
        .rows = rows,
        .job_id = binlog.ddl_job_id,
        .job_schema_state = binlog.ddl_schema_state,
        .query = binlog.ddl_query,
    };
    return MG_OK;
}

enum mg_code mg_sorter_next(struct mg_sorter *sorter, struct mg_txn *out, struct mg_error *err)
{
    end_current(sorter);
    mg_mutex_lock(&sorter->lock);
    bool there = sorter->heap_count && sorter->heap[0]->commit_ts <= sorter->taken;
    if (there) {
        sorter->current = heap_pop(sorter);
        unkeep_txn(&sorter->kept, sorter->current);
    }
    mg_mutex_unlock(&sorter->lock);
    return there ? give_current(sorter, out, err) : mg_fail(err, MG_NOT_FOUND, "no transaction is complete");
}

enum mg_code mg_sorter_take_late(struct mg_sorter *sorter, struct mg_txn *out, struct mg_error *err)
{
    end_current(sorter);
    mg_mutex_lock(&sorter->lock);
    struct mg_sorter__txn *txn = sorter->late.first;
    if (txn) {
        list_remove(&sorter->late, txn);
        unkeep_txn(&sorter->kept, txn);
        sorter->current = txn;
    }
    mg_mutex_unlock(&sorter->lock);
    return txn ? give_current(sorter, out, err) : mg_fail(err, MG_NOT_FOUND, "no transaction is late");
}

void mg_sorter_wait(struct mg_sorter *sorter, int64_t timeout_ms)
{
    mg_mutex_lock(&sorter->lock);
    uint64_t seq = sorter->read_seq;
    mg_mutex_unlock(&sorter->lock);
    if (sorter->crowded)
        seq = MG_MAX(seq, mg_buffer_log_last(sorter->options.buffer)); /* more records are no reason to go on */
    mg_buffer_log_wait(sorter->options.buffer, seq, timeout_ms);
}

uint64_t mg_sorter_position(struct mg_sorter *sorter)
{
    mg_mutex_lock(&sorter->lock);
    uint64_t seq = sorter->kept.first ? sorter->kept.first->seq : sorter->read_seq + 1;
    mg_mutex_unlock(&sorter->lock);
    return seq;
}

/* ---- figures, for any thread --------------------------------------------------------------------------------- */

static void describe_oldest(const struct mg_sorter__txn *txn, struct mg_sorter_lag *out)
{
    struct mg_binlog binlog;
    out->oldest = (struct mg_open_txn){
        .start_ts = txn->start_ts, .known_ts = txn->floor_ts, .seq = txn->seq, .doubtful = txn->doubtful};
    out->oldest_received_ms = txn->received_ms;
    if (txn->tables)
        out->oldest_tables = *txn->tables;
    else if (mg_binlog_read(MG_SLICE(txn->payload, txn->payload_size), &binlog, NULL) == MG_OK)
        out->oldest_tables = find_tables(
            &binlog, &(struct mg_span){.data = binlog.prewrite_value.data, .size = binlog.prewrite_value.size});
}

void mg_sorter_lag(struct mg_sorter *sorter, struct mg_sorter_lag *out)
{
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(sorter->options.buffer, &stats);
    *out = (struct mg_sorter_lag){0};
    mg_mutex_lock(&sorter->lock);
    out->watermark = sorter->taken;
    out->known_ts = mg_watermark_known(sorter->watermark);
    out->open_txns = sorter->open.count;
    out->waiting_txns = (uint32_t)sorter->heap_count;
    /* stats are older than read_ordinal may be */
    out->buffered_records = stats.last_ordinal > sorter->read_ordinal ? stats.last_ordinal - sorter->read_ordinal : 0;
    out->settled = sorter->settled;
    out->lost = sorter->lost;
    out->orphans = sorter->orphans;
    out->kept_bytes = sorter->kept_bytes;
    if (sorter->open.first)
        describe_oldest(sorter->open.first, out);
    mg_mutex_unlock(&sorter->lock);
}

void mg_sorter_tell_peer(struct mg_sorter *sorter, int64_t peer_start_ms)
{
    mg_mutex_lock(&sorter->lock);
    sorter->peer_start_ms = peer_start_ms;
    mg_mutex_unlock(&sorter->lock);
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

/* Where reading begins: what the store does not have yet must be there. */
static enum mg_code open_cursor(struct mg_sorter *sorter, struct mg_error *err)
{
    struct mg_buffer_log_stats stats;
    uint64_t seq = sorter->options.start_seq;
    mg_buffer_log_stats(sorter->options.buffer, &stats);
    if (seq > stats.last_seq + 1)
        return mg_fail(err, MG_SOURCE_STOPPED,
                       "the store has applied the buffer up to record %" PRIu64 ", but the buffer ends at %" PRIu64
                       ": it is not the buffer of this store, or was emptied",
                       seq, stats.last_seq);
    enum mg_code code = mg_buffer_cursor_open(sorter->options.buffer, seq, &sorter->cursor, err);
    if (code == MG_NOT_FOUND)
        return mg_fail(err, MG_SOURCE_STOPPED,
                       "the store needs the buffer from record %" PRIu64 " on, but it begins at %" PRIu64, seq,
                       stats.first_seq);
    MG_TRY(code);
    uint64_t first_seq = MG_MAX(seq ? seq : stats.first_seq, UINT64_C(1));
    sorter->read_seq = first_seq - 1;
    return mg_watermark_new(sorter->options.published_ts, first_seq, &sorter->watermark, err);
}

/* How many records lie before the first one to be read. */
static enum mg_code find_ordinal(struct mg_sorter *sorter, struct mg_error *err)
{
    struct mg_buffer_log_stats stats;
    struct mg_record record;
    mg_buffer_log_stats(sorter->options.buffer, &stats);
    sorter->read_ordinal = stats.last_ordinal;
    if (sorter->read_seq >= stats.last_seq)
        return MG_OK;
    struct mg_buffer_cursor *cursor = NULL;
    MG_TRY(mg_buffer_cursor_open(sorter->options.buffer, sorter->read_seq + 1, &cursor, err));
    enum mg_code code = mg_buffer_cursor_next(cursor, &record, err);
    mg_buffer_cursor_close(cursor);
    MG_TRY(code);
    sorter->read_ordinal = record.ordinal - 1;
    return MG_OK;
}

static void set_defaults(struct mg_sorter_options *options)
{
    if (!options->clock)
        options->clock = mg_clock_system();
    if (options->spool_bytes == 0)
        options->spool_bytes = SPOOL_BYTES;
    if (options->settle_after_ms == 0)
        options->settle_after_ms = SETTLE_AFTER_MS;
    if (options->idle_ms == 0)
        options->idle_ms = IDLE_MS;
    if (options->waiting_max == 0)
        options->waiting_max = WAITING_MAX;
}

enum mg_code mg_sorter_new(const struct mg_sorter_options *options, struct mg_sorter **out, struct mg_error *err)
{
    struct mg_sorter *sorter = calloc(1, sizeof *sorter);
    if (!sorter)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the sorter");
    sorter->options = *options;
    set_defaults(&sorter->options);
    mg_buffer_init(&sorter->read_outline, MG_SORTER__OUTLINE_MAX);
    mg_buffer_init(&sorter->outline, MG_SORTER__OUTLINE_MAX);
    mg_mutex_init(&sorter->lock, MG_RANK_SETTLE, "sorter");
    mg_cond_init(&sorter->wake);
    sorter->read_ns = mg_mono_ns(sorter->options.clock);
    sorter->taken = options->published_ts;
    /* What is published was handed out: records that come from now on know it. */
    mg_buffer_log_know(options->buffer, options->published_ts);
    enum mg_code code = open_cursor(sorter, err);
    if (code == MG_OK)
        code = find_ordinal(sorter, err);
    if (code == MG_OK)
        code = mg_thread_start(&sorter->settling, "settle", mg_sorter__settle_main, sorter, err);
    if (code != MG_OK) {
        mg_sorter_free(sorter);
        return code;
    }
    *out = sorter;
    return MG_OK;
}

void mg_sorter_free(struct mg_sorter *sorter)
{
    if (!sorter)
        return;
    mg_mutex_lock(&sorter->lock);
    sorter->closing = true;
    mg_cond_signal(&sorter->wake);
    mg_mutex_unlock(&sorter->lock);
    mg_thread_join(&sorter->settling);
    end_current(sorter);
    mg_mutex_lock(&sorter->lock);
    for (struct mg_sorter__txn *txn = sorter->kept.first, *after; txn; txn = after) {
        after = txn->kept_after;
        free_txn(sorter, txn);
    }
    mg_mutex_unlock(&sorter->lock);
    mg_buffer_clear(&sorter->read_outline);
    mg_ts_map_clear(&sorter->by_start);
    mg_watermark_free(sorter->watermark);
    mg_buffer_cursor_close(sorter->cursor);
    mg_cond_destroy(&sorter->wake);
    mg_mutex_destroy(&sorter->lock);
    free(sorter->heap);
    free(sorter);
}
