/* stage.c -- one builder that is closed into a batch when it is large, or when the epoch wants its rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/writer/stage.h"

#include <stdlib.h>

#include "base/counter.h"
#include "base/stop.h"

enum { BATCH_ROWS = 1 << 16 };              /* a batch is closed at so many rows, or at staging->batch_bytes_max */
#define BUILDER_BYTES_MAX ((size_t)3 << 30) /* a row is a part of a message of at most 1 GiB; buffers double */

enum mg_code mg_stage_new(struct mg_schema *schema, struct mg_budget *budget, struct mg_staging *staging,
                          struct mg_stage **out, struct mg_error *err)
{
    struct mg_stage *stage = calloc(1, sizeof *stage);
    struct mg_type *types = calloc(schema->column_count, sizeof *types);
    enum mg_code code = MG_OK;

    if (!stage || !types)
        code = mg_fail(err, MG_NO_MEMORY, "no memory to stage table %s.%s", schema->database, schema->table);
    if (code == MG_OK) {
        mg_buffer_init(&stage->ops, MG_BATCH_ROWS_MAX);
        mg_buffer_init(&stage->old_rows, MG_BATCH_ROWS_MAX * sizeof(uint32_t));
        stage->staging = staging;
        stage->schema = mg_schema_ref(schema);
        for (uint32_t i = 0; i < schema->column_count; i++)
            types[i] = schema->columns[i].type;
        code = mg_row_decoder_new(schema, &stage->decoder, err);
    }
    if (code == MG_OK)
        code = mg_batch_builder_init(&stage->builder, types, schema->column_count, budget, BUILDER_BYTES_MAX, err);
    if (code == MG_OK)
        code = mg_batch_builder_init(&stage->old, types, schema->column_count, budget, BUILDER_BYTES_MAX, err);
    free(types);
    if (code != MG_OK) {
        mg_stage_free(stage);
        return code;
    }
    *out = stage;
    return MG_OK;
}

static void clear_batch(struct mg_stage_batch *batch)
{
    mg_batch_unref(batch->rows);
    mg_batch_unref(batch->old);
    free(batch->ops);
    free(batch->old_rows);
}

static void free_batches(struct mg_stage *stage)
{
    for (uint32_t i = 0; i < stage->batch_count; i++)
        clear_batch(&stage->batches[i]);
    stage->batch_count = 0;
    stage->batch_bytes = 0;
}

static size_t bytes_of(const struct mg_stage_batch *batch)
{
    return mg_batch_bytes(batch->rows) + batch->rows->row_count + (batch->old ? mg_batch_bytes(batch->old) : 0);
}

/* Tell the others what this stage holds now. */
static void count_bytes(struct mg_stage *stage)
{
    struct mg_staging *staging = stage->staging;
    size_t bytes = stage->batch_bytes + stage->builder.used_bytes + stage->old.used_bytes + stage->ops.size;

    staging->bytes += bytes - stage->bytes; /* modulo 2^64 */
    if (bytes > stage->bytes)
        staging->txn_bytes += bytes - stage->bytes;
    stage->bytes = bytes;
}

void mg_stage_free(struct mg_stage *stage)
{
    if (!stage)
        return;
    if (stage->staging)
        stage->staging->bytes -= stage->bytes;
    free_batches(stage);
    free(stage->batches);
    mg_batch_builder_clear(&stage->builder);
    mg_buffer_clear(&stage->ops);
    mg_batch_builder_clear(&stage->old);
    mg_buffer_clear(&stage->old_rows);
    mg_row_decoder_free(stage->decoder);
    mg_schema_unref(stage->schema);
    free(stage->lost_reason);
    free(stage);
}

/* The old images become the batch's. */
static enum mg_code close_old(struct mg_stage *stage, struct mg_stage_batch *batch, struct mg_error *err)
{
    if (stage->old_rows.size == 0)
        return MG_OK;
    batch->old_rows = malloc(stage->old_rows.size);
    if (!batch->old_rows)
        return mg_fail(err, MG_NO_MEMORY, "no memory for old rows of table %s.%s", stage->schema->database,
                       stage->schema->table);
    memcpy(batch->old_rows, stage->old_rows.data, stage->old_rows.size);
    mg_buffer_reset(&stage->old_rows);
    return mg_batch_builder_finish(&stage->old, 0, &batch->old, err);
}

/* The builder's rows become a batch. */
static enum mg_code close_batch(struct mg_stage *stage, struct mg_error *err)
{
    uint32_t count = (uint32_t)stage->ops.size;
    struct mg_stage_batch batch = {.rows = NULL};

    if (count == 0)
        return MG_OK;
    if (stage->batch_count == stage->batch_room) {
        uint32_t room = stage->batch_room ? stage->batch_room * 2 : 8;
        struct mg_stage_batch *grown = realloc(stage->batches, room * sizeof *grown);
        if (!grown)
            return mg_fail(err, MG_NO_MEMORY, "no memory for %u batches of table %s.%s", room, stage->schema->database,
                           stage->schema->table);
        stage->batches = grown;
        stage->batch_room = room;
    }
    batch.ops = malloc(count);
    if (!batch.ops)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u rows of table %s.%s", count, stage->schema->database,
                       stage->schema->table);
    memcpy(batch.ops, stage->ops.data, count);
    enum mg_code code = mg_batch_builder_finish(&stage->builder, count, &batch.rows, err);
    if (code == MG_OK)
        code = close_old(stage, &batch, err);
    if (code != MG_OK) {
        clear_batch(&batch);
        return code;
    }
    stage->batches[stage->batch_count++] = batch;
    stage->batch_bytes += bytes_of(&batch);
    mg_buffer_reset(&stage->ops);
    return MG_OK;
}

static enum mg_change_op op_of(enum mg_row_kind kind)
{
    switch (kind) {
    case MG_ROW_INSERT: return MG_CHANGE_INSERT;
    case MG_ROW_UPDATE: return MG_CHANGE_UPDATE;
    default: return MG_CHANGE_DELETE;
    }
}

/* The newest row's old image, if it is its turn. */
static enum mg_code keep_old(struct mg_stage *stage, enum mg_row_kind kind, struct mg_slice row, struct mg_error *err)
{
    uint32_t one_in = atomic_load_explicit(&stage->staging->one_in, memory_order_relaxed);
    uint32_t number = (uint32_t)stage->ops.size - 1;
    bool whole;

    if (kind == MG_ROW_INSERT || one_in == 0 || ++stage->staging->seen % one_in != 0)
        return MG_OK;
    MG_TRY(mg_row_decode_old(stage->decoder, kind, row, &stage->old, &whole, err));
    return whole ? mg_buffer_append(&stage->old_rows, &number, sizeof number, err) : MG_OK;
}

/* A batch is full. */
static enum mg_code end_batch(struct mg_stage *stage, struct mg_error *err)
{
    struct mg_staging *staging = stage->staging;

    switch (staging->mode) {
    case MG_STAGING_PUT: MG_TRY(mg_stage_put(stage, staging->epoch, err)); break;
    case MG_STAGING_DROP: return mg_stage_drop(stage, err);
    default:
        MG_TRY(close_batch(stage, err));
        count_bytes(stage);
        if (staging->txn_bytes > staging->txn_bytes_max) {
            staging->too_big = true;
            return mg_fail(err, MG_TOO_BIG, "a transaction's rows take more than %zu bytes", staging->txn_bytes_max);
        }
        return MG_OK;
    }
    MG_STOP("writer.batch");
    return MG_OK;
}

static enum mg_code stage_row(struct mg_stage *stage, enum mg_row_kind kind, struct mg_slice row,
                              int64_t *out_column_id, struct mg_error *err)
{
    MG_TRY(mg_row_decode(stage->decoder, kind, row, &stage->builder, out_column_id, err));
    MG_TRY(mg_buffer_append_u8(&stage->ops, op_of(kind), err));
    MG_TRY(keep_old(stage, kind, row, err));
    stage->row_count++;
    if (stage->ops.size >= BATCH_ROWS ||
        stage->builder.used_bytes + stage->old.used_bytes >= stage->staging->batch_bytes_max)
        return end_batch(stage, err);
    return MG_OK;
}

enum mg_code mg_stage_mutation(struct mg_stage *stage, uint64_t txn, const struct mg_span *mutation,
                               uint64_t *inout_rows, int64_t *out_column_id, struct mg_error *err)
{
    struct mg_row_walk walk = {.is_obsolete = false};
    enum mg_row_kind kind;
    struct mg_slice row;
    uint64_t decoded = 0;

    mg_assert(!stage->lost_reason);
    if (stage->txn != txn) {
        stage->txn = txn;
        stage->rows_before = stage->row_count;
    }
    enum mg_code code = mg_row_walk_open(&walk, mutation, err);
    while (code == MG_OK && (code = mg_row_walk_next(&walk, &kind, &row, err)) == MG_OK) {
        code = stage_row(stage, kind, row, out_column_id, err);
        decoded++;
    }
    mg_row_walk_clear(&walk);
    count_bytes(stage);
    mg_count(decoder_rows, decoded);
    *inout_rows += decoded;
    return code == MG_NOT_FOUND ? MG_OK : code;
}

/* The first rows of a batch, with their old images. */
static enum mg_code keep_head(struct mg_stage *stage, struct mg_stage_batch *batch, uint32_t kept, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) uint32_t *rows = malloc(kept * sizeof *rows);
    struct mg_batch *head, *old = NULL;
    uint32_t old_kept = 0;

    if (!rows)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u rows", kept);
    for (uint32_t i = 0; i < kept; i++)
        rows[i] = i;
    while (batch->old && old_kept < batch->old->row_count && batch->old_rows[old_kept] < kept)
        old_kept++;
    if (old_kept)
        MG_TRY(mg_batch_select(batch->old, rows, old_kept, stage->builder.budget, &old, err));
    mg_batch_unref(batch->old);
    batch->old = old;
    MG_TRY(mg_batch_select(batch->rows, rows, kept, stage->builder.budget, &head, err));
    mg_batch_unref(batch->rows);
    batch->rows = head;
    stage->batch_bytes += bytes_of(batch);
    return MG_OK;
}

enum mg_code mg_stage_rollback(struct mg_stage *stage, uint64_t txn, struct mg_error *err)
{
    if (stage->txn != txn || stage->lost_reason || stage->row_count == stage->rows_before)
        return MG_OK;
    MG_TRY(close_batch(stage, err));
    while (stage->row_count > stage->rows_before) {
        struct mg_stage_batch *last = &stage->batches[stage->batch_count - 1];
        uint32_t count = last->rows->row_count;
        uint64_t surplus = stage->row_count - stage->rows_before;
        stage->batch_bytes -= bytes_of(last);
        if (surplus >= count) {
            clear_batch(last);
            stage->batch_count--;
            stage->row_count -= count;
            continue;
        }
        /* The batch begins with rows of earlier transactions: keep those. */
        MG_TRY(keep_head(stage, last, count - (uint32_t)surplus, err));
        stage->row_count = stage->rows_before;
    }
    count_bytes(stage);
    return MG_OK;
}

enum mg_code mg_stage_drop(struct mg_stage *stage, struct mg_error *err)
{
    if (stage->lost_reason)
        return MG_OK;
    MG_TRY(close_batch(stage, err));
    free_batches(stage);
    stage->row_count = stage->rows_before = 0;
    count_bytes(stage);
    return MG_OK;
}

enum mg_code mg_stage_lose(struct mg_stage *stage, const char *reason, uint64_t good_until_ts, struct mg_error *err)
{
    free_batches(stage);
    mg_batch_builder_clear(&stage->builder); /* it takes no more rows */
    mg_buffer_clear(&stage->ops);
    mg_batch_builder_clear(&stage->old);
    mg_buffer_clear(&stage->old_rows);
    stage->row_count = stage->rows_before = 0;
    count_bytes(stage);
    stage->good_until_ts = stage->lost_reason ? MG_MIN(stage->good_until_ts, good_until_ts) : good_until_ts;
    if (!stage->lost_reason)
        stage->lost_reason = strdup(reason);
    if (!stage->lost_reason)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a reason");
    return MG_OK;
}

enum mg_code mg_stage_put(struct mg_stage *stage, struct mg_epoch *epoch, struct mg_error *err)
{
    enum mg_code code = close_batch(stage, err);

    for (uint32_t i = 0; code == MG_OK && i < stage->batch_count; i++) {
        struct mg_stage_batch *batch = &stage->batches[i];
        struct mg_changes changes = {
            .table_id = stage->schema->table_id,
            .schema_version = stage->schema->version,
            .rows = batch->rows,
            .ops = batch->ops,
            .old = batch->old,
            .old_rows = batch->old_rows,
        };
        code = epoch->engine->ops->put(epoch, &changes, err);
        /* The engine has its own copy: give the memory back before the next one is copied. */
        mg_batch_unref(batch->rows);
        mg_batch_unref(batch->old);
        batch->rows = batch->old = NULL;
    }
    free_batches(stage);
    stage->row_count = stage->rows_before = 0;
    count_bytes(stage);
    return code;
}
