/* writer.c -- stages transactions, follows schema jobs, cuts and publishes epochs.
 *
 * What an epoch holds   either rows of whole transactions, staged table by table (stage.h), and with them the
 *                       needs-reload marks of tables that could not be followed; or the schema changes of one job. Rows
 *                       come before the job: it flushes them first.
 * Beginning             The engine's epoch is begun when everything for it is at hand, so that other sources' writers
 *                       wait as short as can be.
 * Large transactions    One that is too large to wait is an epoch of its own: what came before is flushed, the epoch is
 *                       begun, and its rows go there batch by batch while they are decoded. If a row cannot be kept,
 *                       the epoch is aborted, the rest is looked at without being staged, and then the transaction is
 *                       staged once more without the tables that are lost, whose marks come first.
 * Position              The buffer's sequence number that the last mg_writer_advance named, 8 bytes little endian. An
 *                       epoch cut in between carries the one before: what is read twice lies at or below its watermark
 *                       and is dropped by the sorter.
 * Failing               Until the first change reached the engine, every call can be repeated (MG_UNAVAILABLE). Later,
 *                       or when memory runs out, the epoch is aborted and the writer has failed: it says so until it is
 *                       closed. Nothing is lost: the store has the last published position, and a new writer goes on
 *                       there.
 * Threads               writer.h; interval_ms and staging.one_in are all that other threads touch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/writer/writer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/stop.h"
#include "syncer/decoder/prewrite.h"
#include "syncer/decoder/tracker.h"
#include "syncer/writer/stage.h"

enum {
    DEFAULT_INTERVAL_MS = 10,
    DEFAULT_EPOCH_ROWS = 1000000,
    DEFAULT_EPOCH_BYTES = 256 << 20,
    DEFAULT_IDLE_PUBLISH_MS = 200,
    TXN_BYTES_MAX = 64 << 20, /* decoded, of one transaction, that wait, */
    TXN_BYTES_MIN = 1 << 20,
    TXN_BUDGET_SHARE = 16, /* or so small a part of what the budget has left */
    TXN_BATCHES = 8,       /* such a transaction goes to its epoch in pieces of one part in so many */
    BEGIN_WAIT_MS = 1000,  /* for other sources' epochs */
    HOLD_MS = 3000,        /* for a job that has begun to show in rows or in the stream to end up in the history */
    SCHEMA_STATE_DELETE_ONLY = 1,
};
#define JOB_BYTES_MAX ((size_t)1 << 30)

/* Something that is waited for, for a while. */
struct hold {
    int64_t id, version;
    int64_t since_ms; /* monotonic */
};

struct mg_writer {
    struct mg_latch_writer *latch_writer;
    struct mg_engine *engine;
    struct mg_source *source;
    struct mg_clock *clock;
    struct mg_budget *budget;
    char source_name[MG_SOURCE_NAME_MAX];
    uint32_t epoch_rows_max;
    size_t epoch_bytes_max;
    int64_t idle_publish_ms;
    _Atomic int64_t interval_ms;
    struct mg_staging staging;

    struct mg_tracker *tracker;
    bool started; /* what the source had before our first record is known */
    struct hold job_hold, row_hold;

    struct mg_stage **queue; /* stages with something in them; borrowed from the tracker's tables */
    uint32_t queue_count, queue_room;
    uint64_t txn; /* number of the newest transaction */
    uint64_t staged_txns, staged_rows;
    size_t staged_bytes;
    uint64_t staged_ts;      /* commit_ts of the newest staged transaction */
    int64_t staged_since_ms; /* monotonic, of the oldest */

    struct mg_epoch *epoch; /* begun */
    uint64_t advanced_ts, advanced_seq;
    uint64_t published_ts;   /* handed to the engine; visible a little later */
    int64_t published_at_ms; /* monotonic */

    struct mg_source_position positions[MG_SOURCES_MAX]; /* for asking what is visible; 4 KiB each */

    struct mg_error failed; /* code MG_OK: all is well */
};

static int64_t now_ms(const struct mg_writer *writer) { return mg_mono_ms(writer->clock); }

/* ---- failing ------------------------------------------------------------------------------------------------- */

static void abort_epoch(struct mg_writer *writer)
{
    if (writer->epoch)
        mg_latch_writer_abort(writer->latch_writer);
    writer->epoch = NULL;
}

/* From here on the writer only says why it failed. Returns code. */
static enum mg_code fail_writer(struct mg_writer *writer, enum mg_code code, const struct mg_error *why,
                                struct mg_error *err)
{
    abort_epoch(writer);
    writer->failed = *why;
    writer->failed.code = code;
    return mg_fail(err, code, "%s", why->text);
}

static enum mg_code check_failed(const struct mg_writer *writer, struct mg_error *err)
{
    if (writer->failed.code == MG_OK)
        return MG_OK;
    return mg_fail(err, MG_SOURCE_STOPPED, "applying stopped: %s", writer->failed.text);
}

/* Nothing of the call remains: it can be repeated, or it has failed for good. */
static enum mg_code give_up(struct mg_writer *writer, enum mg_code code, const struct mg_error *why,
                            struct mg_error *err)
{
    if ((code == MG_UNAVAILABLE || code == MG_BUSY) && !writer->epoch)
        return mg_fail(err, MG_UNAVAILABLE, "%s", why->text);
    return fail_writer(writer, code, why, err);
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

static enum mg_code need_epoch(struct mg_writer *writer, struct mg_error *err)
{
    return writer->epoch ? MG_OK : mg_latch_writer_begin(writer->latch_writer, BEGIN_WAIT_MS, &writer->epoch, err);
}

static enum mg_code send_change(void *arg, const struct mg_schema_change *change, struct mg_error *err)
{
    struct mg_writer *writer = arg;
    struct mg_error local = MG_ERROR_INIT;
    MG_TRY(need_epoch(writer, err));
    enum mg_code code = writer->engine->ops->change_schema(writer->epoch, change, &local);
    /* Databases are shared with tables that clients load: one may have been made for such a table, or still hold it. */
    if ((change->kind == MG_SCHEMA_CREATE_DATABASE && code == MG_EXISTS) ||
        (change->kind == MG_SCHEMA_DROP_DATABASE && code == MG_INVALID))
        return MG_OK;
    return code == MG_OK ? MG_OK : mg_fail(err, code, "%s", local.text);
}

static struct mg_schema_sink sink_of(struct mg_writer *writer, uint64_t good_until_ts)
{
    return (struct mg_schema_sink){
        .change = send_change, .arg = writer, .good_until_ts = MG_MIN(good_until_ts, writer->published_ts)};
}

static enum mg_code publish_epoch(struct mg_writer *writer, uint64_t watermark, struct mg_error *err)
{
    uint8_t position[8];
    uint64_t number;

    mg_store_le64(position, writer->advanced_seq);
    writer->epoch = NULL; /* publish takes it, whatever comes of it */
    MG_TRY(mg_latch_writer_publish(writer->latch_writer, watermark, MG_SLICE(position, sizeof position), &number, err));
    writer->published_ts = watermark;
    writer->published_at_ms = now_ms(writer);
    mg_count(writer_epochs, 1);
    return MG_OK;
}

static struct mg_tracked_table *table_of(struct mg_writer *writer, const struct mg_stage *stage)
{
    return mg_tracker_find(writer->tracker, stage->schema->source_id);
}

/* Tables that could not be followed become needs-reload in this epoch; it is theirs, as it holds no row of them. */
static enum mg_code mark_lost(struct mg_writer *writer, struct mg_error *err)
{
    for (uint32_t i = 0; i < writer->queue_count;) {
        struct mg_stage *stage = writer->queue[i];
        if (!stage->lost_reason) {
            i++;
            continue;
        }
        MG_CLEANUP(mg_freep) char *reason = strdup(stage->lost_reason); /* the stage ends with the old schema */
        if (!reason)
            return mg_fail(err, MG_NO_MEMORY, "no memory for a reason");
        struct mg_schema_sink sink = sink_of(writer, stage->good_until_ts);
        mg_log(MG_LOG_WARN, "writer", "table %s.%s needs reload: %s", stage->schema->database, stage->schema->table,
               reason);
        MG_TRY(mg_tracker_mark(writer->tracker, table_of(writer, stage), reason, &sink, err));
    }
    return MG_OK;
}

/* What waits goes to the epoch that is begun. */
static enum mg_code put_rows(struct mg_writer *writer, struct mg_error *err)
{
    for (uint32_t i = 0; i < writer->queue_count; i++)
        MG_TRY(mg_stage_put(writer->queue[i], writer->epoch, err));
    return MG_OK;
}

static enum mg_code put_staged(struct mg_writer *writer, struct mg_error *err)
{
    MG_TRY(mark_lost(writer, err));
    MG_TRY(need_epoch(writer, err)); /* an epoch without rows moves the watermark */
    MG_TRY(put_rows(writer, err));
    for (uint32_t i = 0; i < writer->queue_count; i++)
        writer->queue[i]->queued = false;
    writer->queue_count = 0;
    return MG_OK;
}

static bool is_staged(const struct mg_writer *writer) { return writer->staged_txns > 0 || writer->queue_count > 0; }

/* Everything staged, and the watermark as far as is known. */
static enum mg_code flush(struct mg_writer *writer, struct mg_error *err)
{
    uint64_t watermark = MG_MAX(writer->published_ts, MG_MAX(writer->advanced_ts, writer->staged_ts));

    if (!is_staged(writer) && !writer->epoch && watermark == writer->published_ts)
        return MG_OK;
    MG_TRY(put_staged(writer, err));
    MG_STOP("writer.staged");
    MG_TRY(publish_epoch(writer, watermark, err));
    mg_count(writer_txns, writer->staged_txns);
    mg_count(writer_changes, writer->staged_rows);
    writer->staged_txns = writer->staged_rows = 0;
    writer->staged_bytes = 0;
    return MG_OK;
}

/* After schema changes went to the sink (or none did): publish them. */
static enum mg_code end_schema_epoch(struct mg_writer *writer, uint64_t watermark, struct mg_error *err)
{
    if (!writer->epoch)
        return MG_OK; /* nothing changed */
    MG_STOP("writer.ddl");
    return publish_epoch(writer, MG_MAX(watermark, writer->published_ts), err);
}

/* ---- what the source had before us ---------------------------------------------------------------------------- */

static enum mg_code start(struct mg_writer *writer, struct mg_error *err)
{
    if (writer->started)
        return MG_OK;
    struct mg_schema_sink sink = sink_of(writer, 0);
    MG_TRY(mg_tracker_start(writer->tracker, &sink, err));
    MG_TRY(end_schema_epoch(writer, 0, err));
    writer->started = true;
    return MG_OK;
}

/* ---- schema jobs --------------------------------------------------------------------------------------------- */

/* Sequences are told as a statement under a job id that no history has. */
static bool is_sequence_use(struct mg_slice query)
{
    static const char prefix[] = "select setval";
    size_t at = 0;

    while (at < query.size && (query.data[at] == ' ' || query.data[at] == '\n' || query.data[at] == '\t'))
        at++;
    return query.size - at >= sizeof prefix - 1 &&
           strncasecmp((const char *)query.data + at, prefix, sizeof prefix - 1) == 0;
}

/* Whether it was waited for long enough; the first call for (id, version) begins. */
static bool held_long(struct mg_writer *writer, struct hold *hold, int64_t id, int64_t version)
{
    if (hold->id != id || hold->version != version)
        *hold = (struct hold){id, version, now_ms(writer)};
    return now_ms(writer) - hold->since_ms >= HOLD_MS;
}

static enum mg_code apply_job(struct mg_writer *writer, const struct mg_txn *txn, struct mg_arena *arena,
                              struct mg_error *err)
{
    struct mg_ddl_job *job;

    enum mg_code code = mg_tracker_fetch_job(writer->tracker, txn->job_id, arena, &job, err);
    if (code == MG_NOT_FOUND) {
        /* DROP COLUMN tells when it begins to hide the column, too. Should its end be long in coming, the column stays
         * until then. */
        if (txn->job_schema_state == SCHEMA_STATE_DELETE_ONLY && held_long(writer, &writer->job_hold, txn->job_id, 0))
            return MG_OK;
        return mg_fail(err, MG_UNAVAILABLE, "waiting for DDL job %" PRId64 " in the source's history: %.*s",
                       txn->job_id, (int)MG_MIN(txn->query.size, (size_t)200), (const char *)txn->query.data);
    }
    MG_TRY(code);
    if (!mg_ddl_succeeded(job))
        return MG_OK;
    MG_TRY(flush(writer, err));
    struct mg_schema_sink sink = sink_of(writer, UINT64_MAX);
    MG_TRY(mg_tracker_apply(writer->tracker, job, &sink, err));
    return end_schema_epoch(writer, txn->commit_ts, err);
}

static enum mg_code apply_ddl(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err)
{
    struct mg_arena arena;

    if (is_sequence_use(txn->query))
        return MG_OK;
    mg_arena_init(&arena, JOB_BYTES_MAX);
    enum mg_code code = apply_job(writer, txn, &arena, err);
    mg_arena_clear(&arena);
    return code;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

static void detach_stage(void *arg, struct mg_tracked_table *table)
{
    struct mg_writer *writer = arg;
    struct mg_stage *stage = table->attached;

    if (stage->queued) {
        for (uint32_t i = 0; i < writer->queue_count; i++) {
            if (writer->queue[i] == stage) {
                writer->queue[i] = writer->queue[--writer->queue_count];
                break;
            }
        }
    }
    mg_stage_free(stage);
}

static enum mg_code stage_of(struct mg_writer *writer, struct mg_tracked_table *table, struct mg_stage **out,
                             struct mg_error *err)
{
    if (!table->attached) {
        struct mg_stage *stage;
        MG_TRY(mg_stage_new(table->schema, writer->budget, &writer->staging, &stage, err));
        table->attached = stage;
    }
    *out = table->attached;
    mg_row_decoder_show((*out)->decoder, table->shown_column_id);
    if ((*out)->queued)
        return MG_OK;
    if (writer->queue_count == writer->queue_room) {
        uint32_t room = writer->queue_room ? writer->queue_room * 2 : 64;
        struct mg_stage **grown = realloc(writer->queue, room * sizeof *grown);
        if (!grown)
            return mg_fail(err, MG_NO_MEMORY, "no memory for an epoch of %u tables", room);
        writer->queue = grown;
        writer->queue_room = room;
    }
    writer->queue[writer->queue_count++] = *out;
    (*out)->queued = true;
    return MG_OK;
}

static enum mg_code lose_table(struct mg_writer *writer, struct mg_tracked_table *table, const char *reason,
                               uint64_t good_until_ts, struct mg_error *err)
{
    struct mg_stage *stage;
    MG_TRY(stage_of(writer, table, &stage, err));
    return mg_stage_lose(stage, reason, good_until_ts, err);
}

/* Give up the rows of the newest transaction. */
static enum mg_code roll_back(struct mg_writer *writer, struct mg_error *err)
{
    for (uint32_t i = 0; i < writer->queue_count; i++)
        MG_TRY(mg_stage_rollback(writer->queue[i], writer->txn, err));
    return MG_OK;
}

/* Ids that nobody told of get their place before any row is staged. */
static enum mg_code meet_tables(struct mg_writer *writer, struct mg_prewrite *rows, struct mg_error *err)
{
    struct mg_mutation mutation;
    enum mg_code code;

    mg_prewrite_rewind(rows);
    while ((code = mg_prewrite_next(rows, &mutation, err)) == MG_OK) {
        if (mg_tracker_find(writer->tracker, mutation.table_id) ||
            mg_tracker_is_ignored(writer->tracker, mutation.table_id))
            continue;
        MG_TRY(flush(writer, err));
        struct mg_schema_sink sink = sink_of(writer, 0);
        MG_TRY(mg_tracker_meet(writer->tracker, mutation.table_id, &sink, err));
        MG_TRY(end_schema_epoch(writer, 0, err));
    }
    return code == MG_NOT_FOUND ? MG_OK : code;
}

/* A row of this table has a column that the table does not have yet: if a job that brought it has finished, it is
 * applied now, ahead of its own record; else the table is lost. The transaction was rolled back, and is staged again
 * after MG_OK. */
static enum mg_code catch_up(struct mg_writer *writer, int64_t table_id, int64_t version, const char *reason,
                             struct mg_error *err)
{
    struct mg_tracked_table *table = mg_tracker_find(writer->tracker, table_id);
    struct mg_arena arena;
    struct mg_ddl_job *job;
    bool is_last;

    mg_arena_init(&arena, JOB_BYTES_MAX);
    enum mg_code code = mg_tracker_fetch_change(writer->tracker, table, version, &arena, &job, &is_last, err);
    if (code == MG_OK) {
        code = flush(writer, err);
        struct mg_schema_sink sink = sink_of(writer, UINT64_MAX);
        if (code == MG_OK)
            code = mg_tracker_catch_up(writer->tracker, job, &sink, err);
        if (code == MG_OK)
            code = end_schema_epoch(writer, 0, err);
    } else if (code == MG_NOT_FOUND) {
        if (is_last || held_long(writer, &writer->row_hold, table_id, version))
            code = lose_table(writer, table, reason, UINT64_MAX, err);
        else
            code = mg_fail(err, MG_UNAVAILABLE, "table %s.%s: %s", table->schema->database, table->schema->table,
                           reason);
    }
    mg_arena_clear(&arena);
    return code;
}

/* A row of a table cannot be kept. What of a large transaction went to its epoch is taken back; the rest of it is
 * looked at only. */
static enum mg_code lose_stage(struct mg_writer *writer, struct mg_stage *stage, const struct mg_error *why,
                               struct mg_error *err)
{
    char reason[MG_ERROR_TEXT_MAX + 64];

    snprintf(reason, sizeof reason, "a row cannot be kept: %s", why->text);
    if (writer->staging.mode == MG_STAGING_PUT) {
        abort_epoch(writer);
        writer->staging.mode = MG_STAGING_DROP;
    }
    return mg_stage_lose(stage, reason, UINT64_MAX, err);
}

/* One table's rows of the newest transaction. MG_SCHEMA_CHANGED: the table needs to catch up; otherwise what cannot be
 * decoded makes the table lost, and is no error here. */
static enum mg_code stage_table(struct mg_writer *writer, const struct mg_mutation *mutation, uint64_t *inout_rows,
                                struct mg_error *err)
{
    struct mg_tracked_table *table = mg_tracker_find(writer->tracker, mutation->table_id);
    struct mg_stage *stage;
    int64_t column_id = 0;
    uint64_t rows = 0;
    struct mg_error why = MG_ERROR_INIT;

    if (!table || table->schema->state != MG_STATE_OK)
        return MG_OK;
    MG_TRY(stage_of(writer, table, &stage, err));
    if (stage->lost_reason)
        return MG_OK;
    enum mg_code code = mg_stage_mutation(stage, writer->txn, &mutation->body, &rows, &column_id, &why);
    if (code == MG_PROTOCOL || code == MG_UNIMPLEMENTED)
        return lose_stage(writer, stage, &why, err);
    if (code == MG_OK)
        *inout_rows += rows;
    return code == MG_OK ? MG_OK : mg_fail(err, code, "%s", why.text);
}

/* All tables of the newest transaction. *out_behind: the table that stopped it with MG_SCHEMA_CHANGED. */
static enum mg_code stage_txn(struct mg_writer *writer, struct mg_prewrite *rows, uint64_t *out_rows,
                              int64_t *out_behind, struct mg_error *err)
{
    struct mg_staging *staging = &writer->staging;
    struct mg_mutation mutation;
    enum mg_code code;

    writer->txn++;
    staging->txn_bytes = 0;
    staging->too_big = false;
    *out_rows = 0;
    mg_prewrite_rewind(rows);
    while ((code = mg_prewrite_next(rows, &mutation, err)) == MG_OK) {
        *out_behind = mutation.table_id;
        MG_TRY(stage_table(writer, &mutation, out_rows, err));
        /* Many tables with a little each are a lot, too. */
        if (staging->mode == MG_STAGING_PUT && staging->bytes > staging->txn_bytes_max / 2)
            MG_TRY(put_rows(writer, err));
        if (staging->mode == MG_STAGING_KEEP && staging->txn_bytes > staging->txn_bytes_max) {
            staging->too_big = true;
            return mg_fail(err, MG_TOO_BIG, "a transaction's rows take more than %zu bytes", staging->txn_bytes_max);
        }
    }
    return code == MG_NOT_FOUND ? MG_OK : code;
}

/* ---- large transactions -------------------------------------------------------------------------------------- */

static enum mg_code drop_rows(struct mg_writer *writer, struct mg_error *err)
{
    for (uint32_t i = 0; i < writer->queue_count; i++)
        MG_TRY(mg_stage_drop(writer->queue[i], err));
    return MG_OK;
}

static bool has_lost(const struct mg_writer *writer)
{
    for (uint32_t i = 0; i < writer->queue_count; i++)
        if (writer->queue[i]->lost_reason)
            return true;
    return false;
}

/* Into an epoch that is begun. The mode is MG_STAGING_DROP afterwards when a table was lost: nothing is staged then. */
static enum mg_code put_large(struct mg_writer *writer, struct mg_prewrite *rows, uint64_t *out_rows,
                              int64_t *out_behind, struct mg_error *err)
{
    MG_TRY(need_epoch(writer, err));
    writer->staging.epoch = writer->epoch;
    writer->staging.mode = MG_STAGING_PUT;
    return stage_txn(writer, rows, out_rows, out_behind, err);
}

/* All of it was looked at, and some tables are lost. From here on nothing can be taken back but by a new writer, as the
 * tracker knows the marks. */
static enum mg_code put_without_lost(struct mg_writer *writer, struct mg_prewrite *rows, uint64_t *out_rows,
                                     struct mg_error *err)
{
    int64_t behind;

    MG_TRY(drop_rows(writer, err));
    MG_TRY(mark_lost(writer, err)); /* before any row of the epoch */
    struct mg_error why = MG_ERROR_INIT;
    enum mg_code code = put_large(writer, rows, out_rows, &behind, &why);
    if ((code == MG_OK && writer->staging.mode == MG_STAGING_DROP) || code == MG_SCHEMA_CHANGED)
        return mg_fail(err, MG_CORRUPT, "a large transaction was decoded twice, and not alike");
    return code == MG_OK ? MG_OK : mg_fail(err, code, "%s", why.text);
}

/* As stage_txn; after MG_OK the epoch is begun and holds most of the rows. Where the call can be repeated, or a table
 * can catch up, nothing of it is staged. */
static enum mg_code stage_large(struct mg_writer *writer, struct mg_prewrite *rows, uint64_t *out_rows,
                                int64_t *out_behind, struct mg_error *err)
{
    struct mg_staging *staging = &writer->staging;
    enum mg_code code;

    if (writer->staged_txns > 0)
        MG_TRY(flush(writer, err)); /* it is not taken back with this one */
    if (has_lost(writer)) {
        staging->mode = MG_STAGING_DROP;
        code = stage_txn(writer, rows, out_rows, out_behind, err);
    } else {
        code = put_large(writer, rows, out_rows, out_behind, err);
    }
    if (code == MG_SCHEMA_CHANGED) {
        struct mg_error ignored = MG_ERROR_INIT;
        abort_epoch(writer);
        enum mg_code dropped = drop_rows(writer, &ignored);
        if (dropped != MG_OK)
            code = mg_fail(err, dropped, "%s", ignored.text);
    }
    if (code == MG_OK && staging->mode == MG_STAGING_DROP)
        code = put_without_lost(writer, rows, out_rows, err);
    staging->mode = MG_STAGING_KEEP;
    staging->epoch = NULL;
    if (code == MG_OK)
        mg_count(writer_large_txns, 1);
    return code;
}

/* ---- a transaction of rows ----------------------------------------------------------------------------------- */

static enum mg_code stage_rows(struct mg_writer *writer, struct mg_prewrite *rows, uint64_t *out_rows,
                               struct mg_error *err)
{
    bool large = rows->value.source != NULL;

    for (;;) {
        struct mg_error why = MG_ERROR_INIT;
        int64_t behind = 0;
        enum mg_code code = large ? stage_large(writer, rows, out_rows, &behind, &why)
                                  : stage_txn(writer, rows, out_rows, &behind, &why);
        if (code == MG_OK)
            return MG_OK;
        bool too_big = code == MG_TOO_BIG && !large && writer->staging.too_big;
        if (code != MG_SCHEMA_CHANGED && !too_big)
            return mg_fail(err, code, "%s", why.text);
        MG_TRY(roll_back(writer, err));
        large |= too_big;
        if (!too_big)
            MG_TRY(catch_up(writer, behind, rows->schema_version, why.text, err));
    }
}

static enum mg_code apply_rows(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err)
{
    MG_CLEANUP(mg_prewrite_clear) struct mg_prewrite rows;
    uint64_t row_count = 0;

    MG_TRY(mg_prewrite_open(&txn->rows, &rows, err));
    MG_TRY(meet_tables(writer, &rows, err));
    MG_TRY(stage_rows(writer, &rows, &row_count, err));
    if (writer->staged_txns++ == 0)
        writer->staged_since_ms = now_ms(writer);
    writer->staged_rows += row_count;
    writer->staged_bytes += txn->rows.size;
    writer->staged_ts = txn->commit_ts;
    return MG_OK;
}

/* ---- the writer's interface ---------------------------------------------------------------------------------- */

static bool is_full(const struct mg_writer *writer)
{
    return writer->staged_rows >= writer->epoch_rows_max || writer->staged_bytes >= writer->epoch_bytes_max ||
           writer->staging.bytes >= MG_MIN(writer->epoch_bytes_max, 2 * writer->staging.txn_bytes_max);
}

/* After a transaction: publish what is enough for an epoch, or what a large transaction has begun. */
static enum mg_code flush_full(struct mg_writer *writer, struct mg_error *err)
{
    bool is_begun = writer->epoch != NULL;
    enum mg_code code = flush(writer, err);
    /* It is staged: an epoch that cannot begin now is cut by the next advance. */
    return code == MG_BUSY && !is_begun && !writer->epoch ? MG_OK : code;
}

enum mg_code mg_writer_apply(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;

    MG_TRY(check_failed(writer, err));
    enum mg_code code = start(writer, &why);
    if (code == MG_OK && txn->kind == MG_TXN_DDL) {
        code = apply_ddl(writer, txn, &why);
        if (code == MG_OK) {
            writer->staged_ts = txn->commit_ts;
            mg_count(writer_txns, 1);
        }
    } else if (code == MG_OK) {
        code = apply_rows(writer, txn, &why);
        if (code == MG_OK && (writer->epoch || is_full(writer)))
            code = flush_full(writer, &why);
    }
    return code == MG_OK ? MG_OK : give_up(writer, code, &why, err);
}

static uint64_t visible_watermark(struct mg_writer *writer)
{
    const struct mg_engine_ops *ops = writer->engine->ops;
    struct mg_snapshot *snapshot;
    uint64_t watermark = 0;

    if (ops->snapshot(writer->engine, &snapshot, NULL) != MG_OK)
        return 0;
    uint32_t count = ops->snapshot_watermarks(snapshot, writer->positions, MG_SOURCES_MAX);
    for (uint32_t i = 0; i < count && i < MG_SOURCES_MAX; i++)
        if (strcmp(writer->positions[i].source, writer->source_name) == 0)
            watermark = writer->positions[i].watermark;
    ops->snapshot_unref(snapshot);
    return watermark;
}

enum mg_code mg_writer_advance(struct mg_writer *writer, uint64_t ts, uint64_t seq, uint64_t *out_published,
                               struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;

    MG_TRY(check_failed(writer, err));
    enum mg_code code = start(writer, &why);
    if (code != MG_OK)
        return give_up(writer, code, &why, err);
    writer->advanced_ts = MG_MAX(writer->advanced_ts, ts);
    writer->advanced_seq = MG_MAX(writer->advanced_seq, seq);
    int64_t now = now_ms(writer);
    bool due = is_staged(writer) ? is_full(writer) || now - writer->staged_since_ms >= atomic_load(&writer->interval_ms)
                                 : writer->advanced_ts > writer->published_ts &&
                                       now - writer->published_at_ms >= writer->idle_publish_ms;
    if (due)
        code = flush(writer, &why);
    if (code == MG_BUSY && !writer->epoch)
        code = MG_OK; /* another source's epoch is under way; still due at the next call */
    if (code != MG_OK)
        return give_up(writer, code, &why, err);
    *out_published = visible_watermark(writer);
    return MG_OK;
}

enum mg_code mg_writer_flush(struct mg_writer *writer, uint64_t *out_published, struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;

    MG_TRY(check_failed(writer, err));
    enum mg_code code = start(writer, &why);
    if (code == MG_OK)
        code = flush(writer, &why);
    if (code != MG_OK)
        return give_up(writer, code, &why, err);
    *out_published = visible_watermark(writer);
    return MG_OK;
}

/* The table, if it is followed, is lost. One that was not OK any more may have been good for less than was thought. */
static enum mg_code lose_id(struct mg_writer *writer, int64_t table_id, const char *reason, uint64_t good_until_ts,
                            struct mg_error *err)
{
    struct mg_tracked_table *table = mg_tracker_find(writer->tracker, table_id);
    if (!table)
        return MG_OK;
    if (table->schema->state == MG_STATE_OK)
        return lose_table(writer, table, reason, good_until_ts, err);
    struct mg_schema_sink sink = sink_of(writer, good_until_ts);
    return mg_tracker_mark(writer->tracker, table, reason, &sink, err);
}

static enum mg_code lose_rows(struct mg_writer *writer, const struct mg_txn *txn, const char *reason,
                              uint64_t good_until_ts, struct mg_error *err)
{
    MG_CLEANUP(mg_prewrite_clear) struct mg_prewrite rows;
    struct mg_mutation mutation;
    enum mg_code code;

    MG_TRY(mg_prewrite_open(&txn->rows, &rows, err));
    while ((code = mg_prewrite_next(&rows, &mutation, err)) == MG_OK)
        MG_TRY(lose_id(writer, mutation.table_id, reason, good_until_ts, err));
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code lose_job(struct mg_writer *writer, const struct mg_txn *txn, const char *reason,
                             uint64_t good_until_ts, struct mg_error *err)
{
    struct mg_arena arena;
    struct mg_ddl_job *job;

    if (is_sequence_use(txn->query))
        return MG_OK;
    mg_arena_init(&arena, JOB_BYTES_MAX);
    enum mg_code code = mg_tracker_fetch_job(writer->tracker, txn->job_id, &arena, &job, err);
    if (code == MG_NOT_FOUND)
        code = mg_fail(err, MG_UNAVAILABLE, "DDL job %" PRId64 " is not in the source's history", txn->job_id);
    if (code == MG_OK && mg_ddl_succeeded(job)) {
        code = lose_id(writer, job->table_id, reason, good_until_ts, err);
        if (code == MG_OK && job->info)
            code = lose_id(writer, job->info->id, reason, good_until_ts, err);
        for (uint32_t i = 0; code == MG_OK && i < job->info_count; i++)
            code = lose_id(writer, job->infos[i].id, reason, good_until_ts, err);
    }
    mg_arena_clear(&arena);
    return code;
}

enum mg_code mg_writer_needs_reload(struct mg_writer *writer, const struct mg_txn *txn, const char *reason,
                                    struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;
    /* What was published at or above its commit lacks it. */
    uint64_t good_until_ts = txn->commit_ts ? txn->commit_ts - 1 : UINT64_MAX;

    MG_TRY(check_failed(writer, err));
    enum mg_code code = start(writer, &why);
    if (code == MG_OK)
        code = txn->kind == MG_TXN_DDL ? lose_job(writer, txn, reason, good_until_ts, &why)
                                       : lose_rows(writer, txn, reason, good_until_ts, &why);
    if (code == MG_OK)
        code = flush(writer, &why);
    return code == MG_OK ? MG_OK : give_up(writer, code, &why, err);
}

int64_t mg_writer_due_ms(const struct mg_writer *writer)
{
    if (!is_staged(writer))
        return -1;
    int64_t left = atomic_load(&writer->interval_ms) - (now_ms(writer) - writer->staged_since_ms);
    return is_full(writer) || left < 0 ? 0 : left;
}

static uint64_t position_seq(const struct mg_source_position *position)
{
    return position->position_size >= 8 ? mg_load_le64(position->position) : 0;
}

uint64_t mg_writer_durable_seq(const struct mg_writer *writer)
{
    struct mg_source_position position;
    if (writer->engine->ops->position(writer->engine, writer->source_name, &position, NULL) != MG_OK)
        return 0;
    return position_seq(&position);
}

enum mg_code mg_writer_set_interval(struct mg_writer *writer, int64_t interval_ms, struct mg_error *err)
{
    if (interval_ms <= 0)
        return mg_fail(err, MG_INVALID, "an epoch interval of %" PRId64 " ms: at least 1 is needed", interval_ms);
    atomic_store(&writer->interval_ms, interval_ms);
    return MG_OK;
}

void mg_writer_set_verify(struct mg_writer *writer, uint32_t one_in) { atomic_store(&writer->staging.one_in, one_in); }

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static enum mg_code open_writer(struct mg_writer *writer, const struct mg_writer_options *options,
                                struct mg_source_position *position, struct mg_error *err)
{
    MG_TRY(mg_latch_writer_open(options->latch, options->source_name, &writer->latch_writer, position, err));
    struct mg_tracker_options tracker = {
        .engine = options->engine,
        .source = options->source,
        .source_name = writer->source_name,
        .detach = detach_stage,
        .detach_arg = writer,
    };
    MG_TRY(mg_tracker_new(&tracker, &writer->tracker, err));
    writer->published_ts = position->watermark;
    writer->advanced_seq = position_seq(position);
    writer->started = position->watermark > 0;
    return MG_OK;
}

enum mg_code mg_writer_open(const struct mg_writer_options *options, struct mg_writer **out,
                            struct mg_source_position *out_position, struct mg_error *err)
{
    if (strlen(options->source_name) >= MG_SOURCE_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a source's name has at most %d bytes", MG_SOURCE_NAME_MAX - 1);
    if (options->interval_ms < 0 || options->idle_publish_ms < 0)
        return mg_fail(err, MG_INVALID, "an epoch interval below 0");
    struct mg_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the writer of source %s", options->source_name);
    writer->engine = options->engine;
    writer->source = options->source;
    writer->clock = options->clock ? options->clock : mg_clock_system();
    writer->budget = options->budget;
    snprintf(writer->source_name, sizeof writer->source_name, "%s", options->source_name);
    writer->epoch_rows_max = options->epoch_rows_max ? options->epoch_rows_max : DEFAULT_EPOCH_ROWS;
    writer->epoch_bytes_max = options->epoch_bytes_max ? options->epoch_bytes_max : DEFAULT_EPOCH_BYTES;
    size_t share = mg_budget_left(options->budget) / TXN_BUDGET_SHARE;
    writer->staging.txn_bytes_max = options->txn_bytes_max
                                        ? options->txn_bytes_max
                                        : MG_MIN(MG_MAX(share, (size_t)TXN_BYTES_MIN), (size_t)TXN_BYTES_MAX);
    writer->staging.batch_bytes_max = writer->staging.txn_bytes_max / TXN_BATCHES;
    writer->idle_publish_ms = options->idle_publish_ms ? options->idle_publish_ms : DEFAULT_IDLE_PUBLISH_MS;
    atomic_store(&writer->interval_ms, options->interval_ms ? options->interval_ms : DEFAULT_INTERVAL_MS);
    mg_writer_set_verify(writer, options->verify_one_in);
    writer->failed = MG_ERROR_INIT;
    writer->published_at_ms = now_ms(writer) - writer->idle_publish_ms;

    struct mg_source_position position;
    enum mg_code code = open_writer(writer, options, &position, err);
    if (code != MG_OK) {
        mg_writer_close(writer);
        return code;
    }
    *out_position = position;
    *out = writer;
    return MG_OK;
}

void mg_writer_close(struct mg_writer *writer)
{
    if (!writer)
        return;
    abort_epoch(writer);
    mg_tracker_free(writer->tracker);
    mg_latch_writer_close(writer->latch_writer);
    free(writer->queue);
    free(writer);
}
