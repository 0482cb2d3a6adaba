/* put_rows.c -- the rows of a DoPut: gathered into chunks, checked, published in epochs of bounded size.
 *
 * Epoch    chunks of at most CHUNK_ROWS rows; complete at rows_per_epoch rows, or at EPOCH_BYTES unless the client
 *          wants one step. The engine's writer is taken only when an epoch is complete, so a slow client does not keep
 *          other sources waiting; it is given back before the next message is read.
 * One step When all rows are one epoch and pass EPOCH_BYTES, the epoch is begun, what was gathered is staged, and from
 *          then on each chunk as it comes: the engine keeps on disk what memory has no room for. Others wait until its
 *          end, so a client that falls silent fails. An epoch that finds no memory is staged again while its rows are
 *          here, that is before it was begun for good.
 * Checks   no NULL where there can be none, no key twice in the epoch, none that the table holds. An epoch with a bad
 *          row is not stored; BAD_ROWS_NAMED of them are named, counted from 1 over the stream.
 * Twins    Of a step that was begun the keys of the last KEYS_BYTES are kept; a key that an earlier row has is found by
 *          the engine then, and told without that row's number.
 * Stored   Whether the table holds a key, the engine finds out anyway when it stages the row: it tells, and then the
 *          staged epoch is taken back. Nothing is read for that, in whatever order rows come.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connector/flight/put.h"

enum {
    CHUNK_ROWS = 64 << 10,
    CHUNK_BYTES = 8 << 20,
    EPOCH_BYTES = 32 << 20, /* what other sources may have to wait for */
    KEYS_BYTES = 32 << 20,  /* of a step that was begun, or begins for that */
    STRIDE_ROWS = 1024,     /* how often the chunk's size is looked at */
    BUILDER_BYTES_MAX = 1 << 30,
    BAD_ROWS_NAMED = 5,
    KEY_TEXT_MAX = 60, /* bytes of a text in an error */
    VISIBLE_WAIT_MS = 120 * 1000,
    STORE_TRIES = 10, /* of an epoch that finds no memory; each waits for a flush */
};

static const uint8_t inserts[CHUNK_ROWS]; /* MG_CHANGE_INSERT */

/* ---- bad rows ---- */

struct bad_rows {
    const struct mg_flight__put *put;
    uint64_t count;
    char text[MG_ERROR_TEXT_MAX];
};

static void note_bad(struct bad_rows *bad, uint64_t row, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* row: in the epoch. */
static void note_bad(struct bad_rows *bad, uint64_t row, const char *format, ...)
{
    size_t used = strlen(bad->text), room = sizeof bad->text - used;
    va_list list;

    if (++bad->count > BAD_ROWS_NAMED)
        return;
    int size = snprintf(bad->text + used, room, "%srow %" PRIu64 ": ", used ? "; " : "", bad->put->done_rows + row + 1);
    if (size < 0 || (size_t)size >= room)
        return;
    va_start(list, format);
    vsnprintf(bad->text + used + size, room - (size_t)size, format, list);
    va_end(list);
}

static enum mg_code fail_bad(const struct bad_rows *bad, struct mg_error *err)
{
    if (bad->count > BAD_ROWS_NAMED)
        return mg_fail(err, MG_INVALID, "%s; and %" PRIu64 " more", bad->text, bad->count - BAD_ROWS_NAMED);
    return mg_fail(err, MG_INVALID, "%s", bad->text);
}

static struct mg_value key_value(const struct mg_flight__put *put, uint64_t row, uint32_t key_column)
{
    uint32_t chunk = 0;

    for (row -= put->staged_rows; row >= put->chunks[chunk]->row_count; chunk++)
        row -= put->chunks[chunk]->row_count;
    return mg_vector_value(&put->chunks[chunk]->vectors[put->schema->key_columns[key_column]], (uint32_t)row);
}

/* "id = 5, day = 2024-01-01" of a row of the epoch that is in a chunk; cut at the end of text. */
static void format_key(const struct mg_flight__put *put, uint64_t row, char *text, size_t size)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer out;
    const struct mg_schema *schema = put->schema;
    enum mg_code code = MG_OK;

    mg_buffer_init(&out, 64 << 10);
    for (uint32_t i = 0; i < schema->key_count && code == MG_OK; i++) {
        struct mg_value value = key_value(put, row, i);
        if (value.type.id == MG_TYPE_UTF8)
            value.text.size = MG_MIN(value.text.size, (size_t)KEY_TEXT_MAX);
        code = mg_buffer_printf(&out, NULL, "%s%s = ", i ? ", " : "", schema->columns[schema->key_columns[i]].name);
        if (code == MG_OK)
            code = mg_value_format(&value, &out, NULL);
    }
    snprintf(text, size, "%.*s", (int)out.size, out.size ? (const char *)out.data : "");
}

static enum mg_code note_twin(void *arg, uint32_t row, uint32_t twin, struct mg_error *err)
{
    struct bad_rows *bad = arg;
    char key[256];

    (void)err;
    uint64_t first = bad->put->keys_first;
    format_key(bad->put, first + row, key, sizeof key);
    note_bad(bad, first + row, "the key (%s) is that of row %" PRIu64, key, bad->put->done_rows + first + twin + 1);
    return MG_OK;
}

/* ---- checks ---- */

static void note_nulls(const struct mg_flight__put *put, const struct mg_batch *chunk, uint64_t first_row,
                       struct bad_rows *bad)
{
    const struct mg_schema *schema = put->schema;

    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct mg_vector *vector = &chunk->vectors[c];
        if (schema->columns[c].nullable || vector->null_count == 0)
            continue;
        for (uint32_t row = 0; row < chunk->row_count; row++)
            if (mg_vector_is_null(vector, row))
                note_bad(bad, first_row + row, "NULL in %scolumn %s%s", mg_schema_is_key(schema, c) ? "key " : "",
                         schema->columns[c].name, mg_schema_is_key(schema, c) ? "" : ", which is not nullable");
    }
}

/* The newest chunk, whose rows are behind epoch_rows. */
static enum mg_code check_chunk(struct mg_flight__put *put, const struct mg_batch *chunk, struct mg_error *err)
{
    const struct mg_vector *vectors[MG_KEY_COLUMNS_MAX];
    struct bad_rows bad = {.put = put};

    note_nulls(put, chunk, put->epoch_rows, &bad);
    if (bad.count)
        return fail_bad(&bad, err);
    if (put->epoch && put->keys.reserved_bytes > KEYS_BYTES) {
        mg_flight__keys_clear(&put->keys);
        put->keys_first = put->epoch_rows;
    }
    for (uint32_t i = 0; i < put->schema->key_count; i++)
        vectors[i] = &chunk->vectors[put->schema->key_columns[i]];
    int left_ms = MG_FLIGHT__PUT_WAIT_MS;
    enum mg_code code;
    do /* without memory nothing of them was added */
        code = mg_flight__keys_add(&put->keys, vectors, put->schema->key_count, chunk->row_count, note_twin, &bad, err);
    while (mg_flight__put_waits(put, code, &left_ms));
    MG_TRY(code);
    return bad.count ? fail_bad(&bad, err) : MG_OK;
}

/* ---- epochs ---- */

enum mg_code mg_flight__put_publish(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_engine *engine = put->request->flight->engine;
    uint64_t epoch = 0;

    MG_TRY(mg_latch_writer_publish(put->writer, put->watermark, MG_SLICE(NULL, 0), &epoch, err));
    MG_TRY(engine->ops->wait(engine, epoch, VISIBLE_WAIT_MS, err));
    put->last_epoch = epoch;
    return MG_OK;
}

enum mg_code mg_flight__put_changes(struct mg_flight__put *put, const struct mg_schema_change *changes, uint32_t count,
                                    struct mg_error *err)
{
    struct mg_engine *engine = put->request->flight->engine;
    struct mg_epoch *epoch = NULL;

    MG_TRY(mg_latch_writer_begin(put->writer, MG_FLIGHT__PUT_TURN_MS, &epoch, err));
    for (uint32_t i = 0; i < count; i++) {
        enum mg_code code = engine->ops->change_schema(epoch, &changes[i], err);
        if (code != MG_OK) {
            mg_latch_writer_abort(put->writer);
            return code;
        }
    }
    return mg_flight__put_publish(put, err);
}

/* Whether the table had the key of a row of the last chunk before this load. */
static enum mg_code was_stored(const struct mg_flight__put *put, uint64_t row, bool *out, struct mg_error *err)
{
    const struct mg_engine_ops *ops = put->request->flight->engine->ops;
    struct mg_slice bytes = mg_flight__keys_at(&put->keys, (uint32_t)(row - put->keys_first));
    const uint32_t offsets[] = {0, (uint32_t)bytes.size};
    const struct mg_find_spec spec = {.table_id = put->schema->table_id,
                                      .key_count = 1,
                                      .keys = bytes.data,
                                      .offsets = offsets,
                                      .budget = put->request->flight->budget};
    struct mg_snapshot *snapshot;
    struct mg_batch *none = NULL;
    uint32_t found = MG_FIND_NONE;

    MG_TRY(ops->snapshot(put->request->flight->engine, &snapshot, err));
    enum mg_code code = ops->find(snapshot, &spec, &found, &none, err);
    ops->snapshot_unref(snapshot);
    mg_batch_unref(none);
    *out = found != MG_FIND_NONE;
    return code;
}

/* Rows of a chunk, the first of which is first_row of the epoch, whose keys the table had, or an earlier row whose key
 * is not kept any more. */
static enum mg_code note_stored(struct bad_rows *bad, const struct mg_verify *found, uint64_t first_row,
                                struct mg_error *err)
{
    uint64_t count = found->counts[MG_VERIFY_INSERT_OF_EXISTING];
    char key[256];

    for (uint32_t i = 0; i < found->told_count && count > 0; i++, count--) {
        uint64_t row = first_row + found->told[i].row;
        bool is_stored = true;
        if (bad->put->keys_first > 0)
            MG_TRY(was_stored(bad->put, row, &is_stored, err));
        format_key(bad->put, row, key, sizeof key);
        note_bad(bad, row,
                 is_stored ? "the key (%s) is in the table already" : "the key (%s) is that of an earlier row", key);
    }
    bad->count += count;
    return MG_OK;
}

/* The chunks that are here. */
static enum mg_code stage(struct mg_flight__put *put, struct mg_epoch *epoch, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_verify *found = malloc(sizeof *found);
    struct bad_rows bad = {.put = put};
    uint64_t row = put->staged_rows;

    if (!found)
        return mg_fail(err, MG_NO_MEMORY, "no memory to look for keys");
    for (uint32_t i = 0; i < put->chunk_count; row += put->chunks[i++]->row_count) {
        struct mg_changes changes = {
            .table_id = put->schema->table_id,
            .schema_version = put->schema->version,
            .rows = put->chunks[i],
            .ops = inserts,
            .verify = found,
        };
        memset(found, 0, sizeof *found);
        MG_TRY(put->request->flight->engine->ops->put(epoch, &changes, err));
        MG_TRY(note_stored(&bad, found, row, err));
    }
    return bad.count ? fail_bad(&bad, err) : MG_OK;
}

/* *out: the epoch, begun. */
static enum mg_code stage_chunks(struct mg_flight__put *put, struct mg_epoch **out, struct mg_error *err)
{
    MG_TRY(mg_latch_writer_begin(put->writer, MG_FLIGHT__PUT_TURN_MS, out, err));
    enum mg_code code = stage(put, *out, err);
    if (code != MG_OK)
        mg_latch_writer_abort(put->writer);
    return code;
}

static void drop_chunks(struct mg_flight__put *put)
{
    for (uint32_t i = 0; i < put->chunk_count; i++)
        mg_batch_unref(put->chunks[i]);
    put->chunk_count = 0;
    put->epoch_bytes = 0;
}

static void forget_epoch(struct mg_flight__put *put)
{
    drop_chunks(put);
    put->epoch_rows = put->staged_rows = put->keys_first = 0;
    mg_flight__keys_clear(&put->keys);
}

/* MG_NO_MEMORY: as if it had not begun. */
static enum mg_code store_epoch(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_epoch *epoch;

    MG_TRY(stage_chunks(put, &epoch, err));
    return mg_flight__put_publish(put, err);
}

/* ---- one step that is too large to be gathered ---- */

static enum mg_code fail_step(enum mg_code code, const struct mg_error *why, struct mg_error *err)
{
    if (code != MG_NO_MEMORY)
        return mg_fail(err, code, "%s", why->text);
    return mg_fail(err, code,
                   "%s; the earlier rows of this step were handed on and cannot be staged again: load once more, or in "
                   "steps (rows_per_epoch)",
                   why->text);
}

/* What is here goes to the epoch, and is not here any more. */
static enum mg_code begin_step(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_epoch *epoch = NULL;
    enum mg_code code = stage_chunks(put, &epoch, err);

    for (int tries = 1; code == MG_NO_MEMORY && tries < STORE_TRIES; tries++)
        code = stage_chunks(put, &epoch, err);
    MG_TRY(code);
    put->epoch = epoch;
    put->staged_rows = put->epoch_rows;
    drop_chunks(put);
    mg_grpc_call_set_patience(put->request->call, put->request->flight->put_silence_ms);
    return MG_OK;
}

static enum mg_code continue_step(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;
    enum mg_code code = stage(put, put->epoch, &why);

    if (code != MG_OK) {
        mg_latch_writer_abort(put->writer);
        put->epoch = NULL;
        return fail_step(code, &why, err);
    }
    put->staged_rows = put->epoch_rows;
    drop_chunks(put);
    return MG_OK;
}

static enum mg_code end_step(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;

    put->epoch = NULL; /* publish takes it, whatever comes of it */
    enum mg_code code = mg_flight__put_publish(put, &why);
    return code == MG_OK ? MG_OK : fail_step(code, &why, err);
}

static enum mg_code end_epoch(struct mg_flight__put *put, struct mg_error *err)
{
    if (put->epoch_rows == 0)
        return MG_OK;
    enum mg_code code = put->epoch ? end_step(put, err) : store_epoch(put, err);
    for (int tries = 1; code == MG_NO_MEMORY && put->staged_rows == 0 && tries < STORE_TRIES; tries++)
        code = store_epoch(put, err);
    MG_TRY(code);
    put->done_rows += put->epoch_rows;
    forget_epoch(put);
    return put->unseen ? MG_OK : mg_flight__put_ack(put, err);
}

/* ---- chunks ---- */

static enum mg_code keep_chunk(struct mg_flight__put *put, struct mg_batch *chunk, struct mg_error *err)
{
    if (put->chunk_count == put->chunks_max) {
        uint32_t chunks_max = put->chunks_max ? 2 * put->chunks_max : 16;
        struct mg_batch **chunks = realloc(put->chunks, chunks_max * sizeof(struct mg_batch *));
        if (!chunks) {
            mg_batch_unref(chunk);
            return mg_fail(err, MG_NO_MEMORY, "no memory for %u chunks of rows", chunks_max);
        }
        put->chunks = chunks;
        put->chunks_max = chunks_max;
    }
    put->chunks[put->chunk_count++] = chunk;
    return MG_OK;
}

static enum mg_code end_chunk(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_batch *chunk;

    if (mg_builder_rows(&put->builder, 0) == 0)
        return MG_OK;
    MG_TRY(mg_batch_builder_finish(&put->builder, 0, &chunk, err));
    MG_TRY(keep_chunk(put, chunk, err));
    MG_TRY(check_chunk(put, chunk, err));
    put->epoch_rows += chunk->row_count;
    put->epoch_bytes += mg_batch_bytes(chunk);
    if (put->epoch)
        return continue_step(put, err);
    if (put->rows_per_epoch && (put->epoch_rows >= put->rows_per_epoch || put->epoch_bytes >= EPOCH_BYTES))
        return end_epoch(put, err);
    bool is_large = put->epoch_bytes >= EPOCH_BYTES || put->keys.reserved_bytes > KEYS_BYTES;
    return is_large && put->rows_per_epoch == 0 ? begin_step(put, err) : MG_OK;
}

/* Rows that still fit the chunk and the epoch: above 0. */
static uint32_t chunk_room(const struct mg_flight__put *put)
{
    uint64_t rows = mg_builder_rows(&put->builder, 0), room = CHUNK_ROWS - rows;

    return (uint32_t)(put->rows_per_epoch ? MG_MIN(room, put->rows_per_epoch - put->epoch_rows - rows) : room);
}

enum mg_code mg_flight__put_rows_begin(struct mg_flight__put *put, struct mg_error *err)
{
    const struct mg_schema *schema = put->schema;
    struct mg_type *types = mg_arena_array(&put->request->arena, struct mg_type, schema->column_count);
    struct mg_budget *budget = put->request->flight->budget;

    if (!types)
        return mg_arena_fail(&put->request->arena, err);
    for (uint32_t i = 0; i < schema->column_count; i++)
        types[i] = schema->columns[i].type;
    mg_flight__keys_init(&put->keys, budget);
    MG_TRY(mg_batch_builder_init(&put->builder, types, schema->column_count, budget, BUILDER_BYTES_MAX, err));
    put->building = true;
    return MG_OK;
}

/* All of them or none, so it can be tried again. */
static enum mg_code gather(struct mg_flight__put *put, uint32_t column, const struct mg_vector *from, uint32_t first,
                           uint32_t count, struct mg_error *err)
{
    enum mg_code code;
    int left_ms = MG_FLIGHT__PUT_WAIT_MS;

    do
        code = mg_builder_gather(&put->builder, column, from, NULL, first, count, err);
    while (mg_flight__put_waits(put, code, &left_ms));
    return code;
}

enum mg_code mg_flight__put_rows_add(struct mg_flight__put *put, const struct mg_batch *batch, struct mg_error *err)
{
    for (uint32_t row = 0; row < batch->row_count;) {
        uint32_t count = MG_MIN(MG_MIN(batch->row_count - row, (uint32_t)STRIDE_ROWS), chunk_room(put));
        for (uint32_t c = 0; c < put->schema->column_count; c++)
            MG_TRY(gather(put, c, &batch->vectors[put->from[c]], row, count, err));
        row += count;
        if (chunk_room(put) == 0 || put->builder.used_bytes >= CHUNK_BYTES)
            MG_TRY(end_chunk(put, err));
    }
    return MG_OK;
}

enum mg_code mg_flight__put_rows_end(struct mg_flight__put *put, struct mg_error *err)
{
    MG_TRY(end_chunk(put, err));
    return end_epoch(put, err);
}

void mg_flight__put_rows_clear(struct mg_flight__put *put)
{
    if (!put->building)
        return;
    mg_batch_builder_clear(&put->builder);
    if (put->epoch)
        mg_latch_writer_abort(put->writer);
    put->epoch = NULL;
    forget_epoch(put);
    free(put->chunks);
    put->chunks = NULL;
    put->building = false;
}
