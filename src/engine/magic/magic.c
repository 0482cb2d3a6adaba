/* magic.c -- the engine's table of functions: opened, closed, written to by one epoch at a time, looked at through
 * views.
 *
 * README.md tells the whole story. The members that need more than a few lines are in publish.c, at.c, history.c,
 * scan.c, split.c and status.c.
 * Threads  the writer's calls one at a time; the others any. One lock, publish (MG_RANK_PUBLISH).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/stop.h"
#include "engine/magic/asked.h"
#include "engine/verify.h"

/* ---- open and close ------------------------------------------------------------------------------------------ */

enum {
    READERS_SHARE = 16, /* one part in so many of the memory is not for the store: a full store can still be read */
    CACHE_SHARE = 4,    /* the block cache gets at most one part in so many of the memory that all share */
    SEGMENT_SHARE = 64, /* a delta segment the same */
    DELTA_EIGHTHS = 5,  /* rows, index and marks get so many eighths of it: what a flush needs is never theirs */
    SEGMENT_BYTES_MIN = 1 << 20,
    FLUSH_SHARE = 8, /* flushes have at least one part in so many for themselves, for they free the rest */
    FLUSH_BYTES_MIN = 24 << 20,
    FLUSH_SHARE_FROM = 48 << 20,  /* a smaller memory, of tests, has no room for a share */
    MERGE_SHARE = 16,             /* and merges, */
    MERGE_SHARE_FROM = 384 << 20, /* of a memory from here on; in a smaller one they take what is free */
    STAGE_SHARE = 8,              /* rows of an epoch take at most one part in so many, then they go to parts... */
    STAGE_LEAST = 4,              /* ...or one in so many of that when memory is short */
    STAGE_BYTES_MAX = 256 << 20,
};

static void init_budgets(struct mg_magic *magic, struct mg_budget *outer)
{
    size_t left = mg_budget_left(outer);
    size_t limit = outer && left < SIZE_MAX ? left - left / READERS_SHARE : SIZE_MAX;
    magic->readers = outer;
    bool has_share = limit != SIZE_MAX && limit >= FLUSH_SHARE_FROM;
    magic->flush_bytes = has_share ? MG_MAX(limit / FLUSH_SHARE, (size_t)FLUSH_BYTES_MIN) : 0;
    size_t for_merges = has_share && limit >= MERGE_SHARE_FROM ? limit / MERGE_SHARE : 0;
    magic->common_bytes = limit == SIZE_MAX ? limit : limit - magic->flush_bytes - for_merges;
    mg_budget_init(&magic->budget, "store", outer, limit);
    mg_budget_init(&magic->delta_budget, "store delta", &magic->budget,
                   limit == SIZE_MAX || limit < FLUSH_SHARE_FROM ? limit : limit / 8 * DELTA_EIGHTHS);
    mg_budget_init(&magic->rows_budget, "store rows", &magic->delta_budget, SIZE_MAX);
    mg_budget_init(&magic->index_budget, "store index", &magic->delta_budget, SIZE_MAX);
    mg_budget_init(&magic->marks_budget, "store marks", &magic->delta_budget, SIZE_MAX);
    mg_budget_init(&magic->replay_budget, "store replay", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->parts_budget, "store parts", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->sealing.budget, "store sealed rows", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->cache_budget, "store cache", &magic->budget,
                   limit == SIZE_MAX ? limit : magic->common_bytes / CACHE_SHARE);
    magic->segment_bytes_max = limit == SIZE_MAX
                                   ? MG_SEGMENT_BYTES_MAX
                                   : MG_MAX(MG_MIN((uint64_t)limit / SEGMENT_SHARE, (uint64_t)MG_SEGMENT_BYTES_MAX),
                                            (uint64_t)SEGMENT_BYTES_MIN);
    magic->spill_rows_max = UINT64_MAX;
    magic->stage_bytes_max = MG_MAX(MG_MIN((uint64_t)magic->common_bytes / STAGE_SHARE, (uint64_t)STAGE_BYTES_MAX),
                                    (uint64_t)SEGMENT_BYTES_MIN);
}

/* What frees memory must not wait for others to free some; and a flush not for a merge. */
static enum mg_code reserve_merges(struct mg_magic *magic, struct mg_error *err)
{
    size_t limit = magic->budget.limit_bytes;
    mg_budget_init(&magic->merge_budget, "store merges", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->flush_budget, "store flushes", &magic->budget, SIZE_MAX);
    if (limit == SIZE_MAX || limit < FLUSH_SHARE_FROM)
        return MG_OK;
    MG_TRY(mg_budget_init_growing_share(&magic->flush_budget, "store flushes", &magic->budget,
                                        MG_MAX(limit / FLUSH_SHARE, (size_t)FLUSH_BYTES_MIN), err));
    if (limit < MERGE_SHARE_FROM)
        return MG_OK;
    return mg_budget_init_growing_share(&magic->merge_budget, "store merges", &magic->budget, limit / MERGE_SHARE, err);
}

static enum mg_code open_journal(struct mg_magic *magic, const struct mg_engine_options *options, struct mg_error *err)
{
    char wal[4096];
    snprintf(wal, sizeof wal, "%s/wal", magic->folder);
    magic->space.wal_segment_bytes = options->wal_segment_bytes ? options->wal_segment_bytes : MG_WAL_SEGMENT_BYTES;
    struct mg_journal_options journal = {
        .folder = wal,
        .suffix = "wal",
        .magic = {'M', 'A', 'G', 'I', 'C', 'W', 'A', 'L'},
        .format_version = MG_WAL_FORMAT,
        .store_id = magic->store_id,
        .segment_bytes = magic->space.wal_segment_bytes,
        .record_max = MG_WAL_GROUP_MAX + 4,
        .keep_free_bytes = &magic->space.wal_keep_bytes,
        .stop_prefix = "wal",
    };
    return mg_journal_open(magic->io, &journal, &magic->journal, err);
}

static enum mg_code open_all(struct mg_magic *magic, const struct mg_engine_options *options, struct mg_error *err)
{
    if (!options->folder || !options->folder[0])
        return mg_fail(err, MG_INVALID, "the magic engine needs a folder");
    magic->folder = strdup(options->folder);
    magic->io = options->io ? options->io : mg_io_system();
    if (options->sync_off)
        magic->io = magic->nosync = mg_io_nosync__new(magic->io);
    if (!magic->folder || !magic->io)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the engine");
    MG_TRY(reserve_merges(magic, err));
    MG_TRY(mg_store__init(&magic->store, magic, false, err));
    MG_TRY(mg_folder__open(magic, err));
    mg_space__set_reserve(magic, options->disk_reserve);
    if (options->segment_bytes)
        magic->segment_bytes_max = options->segment_bytes;
    if (options->stage_bytes)
        magic->stage_bytes_max = options->stage_bytes;
    MG_TRY(mg_cache_new(&magic->cache_budget, 0, &magic->cache, err));
    magic->sealing.rows_max = options->sealed_bytes;
    MG_TRY(mg_sealed__open(magic, err));
    MG_TRY(open_journal(magic, options, err));
    enum mg_code code = mg_magic__recover(magic, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "the store in %s could not be recovered", magic->folder);
    return mg_magic__maintain_start(magic, options, err);
}

/* The store has no view any more. */
static void free_magic(struct mg_magic *magic)
{
    mg_store__clear(&magic->store);
    mg_sealed__close(magic);
    mg_keeper__clear(magic);
    mg_cache_free(magic->cache);
    mg_budget_clear_share(&magic->flush_budget);
    mg_budget_clear_share(&magic->merge_budget);
    for (uint32_t i = 0; i < MG_SOURCES_MAX; i++)
        mg_history__clear(&magic->history[i]);
    mg_journal_close(magic->journal);
    mg_file_close(magic->lock_file);
    mg_io_nosync__free(magic->nosync);
    mg_cond_destroy(&magic->published);
    mg_cond_destroy(&magic->turned);
    mg_magic__maintain_clear(magic);
    mg_mutex_destroy(&magic->publish);
    mg_mutex_destroy(&magic->parts);
    free(magic->folder);
    free(magic->named);
    free(magic);
}

/* What is cached gives way to messages and scans that wait for memory. */
static void give_way(void *arg, size_t bytes) { mg_cache_shrink(((struct mg_magic *)arg)->cache, bytes); }

/* Of several engines in one memory, the first. */
static void set_give_way(struct mg_magic *magic, bool on)
{
    struct mg_budget *root = mg_budget_root(magic->readers);
    if (!root || (root->give_way && root->give_way_arg != magic))
        return;
    root->give_way = on ? give_way : NULL;
    root->give_way_arg = on ? magic : NULL;
}

static enum mg_code magic_open(const struct mg_engine_options *options, struct mg_engine **out, struct mg_error *err)
{
    struct mg_magic *magic = calloc(1, sizeof *magic);
    if (!magic)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the engine");
    magic->base.ops = &mg_engine_magic;
    mg_mutex_init(&magic->publish, MG_RANK_PUBLISH, "publish");
    mg_mutex_init(&magic->parts, MG_RANK_PARTS, "parts");
    mg_cond_init(&magic->published);
    mg_cond_init(&magic->turned);
    mg_magic__maintain_init(magic);
    init_budgets(magic, options->budget);
    enum mg_code code = open_all(magic, options, err);
    if (code != MG_OK) {
        if (magic->store.newest)
            mg_view__unpin(magic->store.newest);
        free_magic(magic);
        return code;
    }
    set_give_way(magic, true);
    *out = &magic->base;
    return MG_OK;
}

static void magic_close(struct mg_engine *engine)
{
    if (!engine)
        return;
    struct mg_magic *magic = mg_magic__of(engine);
    MG_STOP("engine.close");
    set_give_way(magic, false);
    mg_magic__maintain_stop(magic);
    struct mg_view *newest = magic->store.newest;
    mg_assert(!magic->staging && !magic->privates);
    mg_assert(magic->store.view_count == 1 && newest->pins == 1);
    mg_view__unpin(newest);
    free_magic(magic);
}

static uint64_t magic_store_id(const struct mg_engine *engine) { return mg_magic__of(engine)->store_id; }

/* ---- writing ------------------------------------------------------------------------------------------------- */

static enum mg_code magic_reserve(struct mg_engine *engine, uint64_t *out_table_id, uint64_t *out_schema_version,
                                  struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    mg_mutex_lock(&magic->publish);
    if (out_table_id)
        *out_table_id = magic->store.next_table_id++;
    if (out_schema_version)
        *out_schema_version = magic->store.next_version++;
    mg_mutex_unlock(&magic->publish);
    return MG_OK;
}

static enum mg_code magic_position(struct mg_engine *engine, const char *source, struct mg_source_position *out,
                                   struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    memset(out, 0, sizeof *out);
    mg_mutex_lock(&magic->publish);
    int at = mg_store__find_source(&magic->store, source);
    if (at >= 0) {
        const struct mg_source_state *state = &magic->store.sources[at];
        memcpy(out->source, state->name, sizeof out->source);
        out->watermark = state->watermark;
        out->generation = state->generation;
        out->epoch = state->epoch;
        memcpy(out->position, state->position, state->position_size);
        out->position_size = state->position_size;
    }
    mg_mutex_unlock(&magic->publish);
    return MG_OK;
}

static enum mg_code may_begin(const struct mg_magic *magic, const char *source, uint64_t generation,
                              struct mg_error *err)
{
    int at = mg_store__find_source(&magic->store, source);
    if (magic->stopped)
        return mg_fail(err, MG_STOPPED, "the writer stopped after an error: %s", magic->stopped_text);
    if (magic->staging)
        return mg_fail(err, MG_BUSY, "another epoch is being staged");
    if (at >= 0 && generation < magic->store.sources[at].generation)
        return mg_fail(err, MG_WRITER_FENCED, "source %s: generation %llu is below %llu", source,
                       (unsigned long long)generation, (unsigned long long)magic->store.sources[at].generation);
    if (at < 0 && magic->store.source_count == MG_SOURCES_MAX)
        return mg_fail(err, MG_TOO_BIG, "source %s: %d sources are there already", source, MG_SOURCES_MAX);
    return MG_OK;
}

static enum mg_code magic_begin(struct mg_engine *engine, const char *source, uint64_t generation,
                                struct mg_epoch **out, struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    if (source[0] == 0 || strlen(source) >= MG_SOURCE_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a source's name has 1 to %d bytes", MG_SOURCE_NAME_MAX - 1);
    struct mg_magic_epoch *epoch = calloc(1, sizeof *epoch);
    if (!epoch)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an epoch");
    mg_mutex_lock(&magic->publish);
    if (!magic->staging)
        mg_magic__slow_down(magic);
    while (magic->maintaining || (magic->turns_wanted && !magic->staging))
        mg_cond_wait(&magic->turned, &magic->publish);
    enum mg_code code = may_begin(magic, source, generation, err);
    magic->staging |= code == MG_OK;
    mg_mutex_unlock(&magic->publish);
    if (code != MG_OK) {
        free(epoch);
        return code;
    }
    epoch->base.engine = engine;
    epoch->number = magic->store.epoch + 1;
    memcpy(epoch->source, source, strlen(source) + 1);
    epoch->generation = generation;
    mg_buffer_init(&epoch->changes, MG_WAL_GROUP_MAX);
    *out = &epoch->base;
    return MG_OK;
}

void mg_magic__end_epoch(struct mg_magic_epoch *epoch)
{
    struct mg_magic *magic = mg_magic__of(epoch->base.engine);
    mg_catalog__unref(epoch->catalog);
    mg_buffer_clear(&epoch->changes);
    free(epoch->changed.items);
    free(epoch);
    mg_mutex_lock(&magic->publish);
    magic->staging = false;
    mg_cond_broadcast(&magic->turned);
    mg_mutex_unlock(&magic->publish);
}

static void magic_abort(struct mg_epoch *base)
{
    if (!base)
        return;
    mg_store__abort(&mg_magic__of(base->engine)->store);
    mg_magic__end_epoch((struct mg_magic_epoch *)base);
}

static enum mg_code magic_change_schema(struct mg_epoch *base, const struct mg_schema_change *change,
                                        struct mg_error *err)
{
    struct mg_magic_epoch *epoch = (struct mg_magic_epoch *)base;
    struct mg_magic *magic = mg_magic__of(base->engine);
    struct mg_store *store = &magic->store;
    if (epoch->has_rows)
        return mg_fail(err, MG_INVALID, "schema changes come before the rows of an epoch");
    MG_TRY(
        mg_list__reserve(&epoch->changed.items, &epoch->changed.room, epoch->changed.count, 1, sizeof(uint64_t), err));
    struct mg_catalog *next;
    MG_TRY(
        mg_catalog__change(epoch->catalog ? epoch->catalog : store->catalog, change, store->rows_budget, &next, err));
    enum mg_code code = mg_wal_builder__encode_change(change, &epoch->changes, err);
    if (code != MG_OK) {
        mg_catalog__unref(next);
        return code;
    }
    mg_catalog__unref(epoch->catalog);
    epoch->catalog = next;
    epoch->change_count++;
    if (change->kind == MG_SCHEMA_PUT_TABLE || change->kind == MG_SCHEMA_DROP_TABLE)
        epoch->changed.items[epoch->changed.count++] = change->kind == MG_SCHEMA_PUT_TABLE ? change->schema->table_id
                                                                                           : change->table_id;
    if (change->kind == MG_SCHEMA_PUT_TABLE) {
        mg_mutex_lock(&magic->publish);
        store->next_table_id = MG_MAX(store->next_table_id, change->schema->table_id + 1);
        store->next_version = MG_MAX(store->next_version, change->schema->version + 1);
        mg_mutex_unlock(&magic->publish);
    }
    return MG_OK;
}

/* A NULL where none may be; a deletion's other columns may hold anything. */
static enum mg_code check_nulls(const struct mg_schema *schema, const struct mg_changes *changes, struct mg_error *err)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        const struct mg_vector *v = &changes->rows->vectors[c];
        if (schema->columns[c].nullable || v->null_count == 0)
            continue;
        bool is_key = mg_schema_is_key(schema, c);
        for (uint32_t row = 0; row < v->row_count; row++)
            if (mg_vector_is_null(v, row) && (is_key || changes->ops[row] != MG_CHANGE_DELETE))
                return mg_fail(err, MG_INVALID, "table %s.%s: row %u is NULL in column %s, which is not nullable",
                               schema->database, schema->table, row, schema->columns[c].name);
    }
    return MG_OK;
}

/* Only text can make a key too long, and only if the whole column is long. */
static enum mg_code check_keys(const struct mg_schema *schema, const struct mg_batch *rows, struct mg_error *err)
{
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t text_bytes = 0;
    for (uint32_t k = 0; k < schema->key_count; k++) {
        keys[k] = &rows->vectors[schema->key_columns[k]];
        if (keys[k]->offsets && rows->row_count)
            text_bytes += (uint64_t)(keys[k]->offsets[rows->row_count] - keys[k]->offsets[0]);
    }
    /* A zero byte takes two, and each text two more. */
    if (text_bytes * 2 + MG_KEY_COLUMNS_MAX * 16 <= MG_KEY_BYTES_MAX)
        return MG_OK;
    struct mg_buffer key;
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    enum mg_code code = MG_OK;
    for (uint32_t row = 0; code == MG_OK && row < rows->row_count; row++) {
        uint64_t size = 0;
        for (uint32_t k = 0; k < schema->key_count; k++)
            size += keys[k]->offsets ? (uint64_t)(keys[k]->offsets[row + 1] - keys[k]->offsets[row]) * 2 + 2 : 16;
        mg_buffer_reset(&key);
        if (size > MG_KEY_BYTES_MAX)
            code = mg_key_encode(keys, schema->key_count, row, &key, err);
    }
    mg_buffer_clear(&key);
    return code;
}

static enum mg_code check_changes(const struct mg_schema *schema, const struct mg_changes *changes,
                                  struct mg_error *err)
{
    const struct mg_batch *rows = changes->rows;
    if (rows->column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "table %s.%s: %u columns, the schema has %u", schema->database, schema->table,
                       rows->column_count, schema->column_count);
    if (rows->row_count > MG_BATCH_ROWS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a batch of %u rows, at most %d are allowed", rows->row_count,
                       MG_BATCH_ROWS_MAX);
    for (uint32_t c = 0; c < schema->column_count; c++)
        if (!mg_type_equal(rows->vectors[c].type, schema->columns[c].type))
            return mg_fail(err, MG_INVALID, "table %s.%s: column %s has another type than the schema", schema->database,
                           schema->table, schema->columns[c].name);
    for (uint32_t row = 0; row < rows->row_count; row++)
        if (changes->ops[row] > MG_CHANGE_DELETE)
            return mg_fail(err, MG_INVALID, "row %u: change %u is not known", row, changes->ops[row]);
    MG_TRY(check_nulls(schema, changes, err));
    return check_keys(schema, rows, err);
}

static enum mg_code find_schema(const struct mg_magic_epoch *epoch, const struct mg_changes *changes,
                                struct mg_table_view **out, struct mg_error *err)
{
    const struct mg_catalog *catalog = epoch->catalog ? epoch->catalog
                                                      : mg_magic__of(epoch->base.engine)->store.catalog;
    int at = mg_catalog__find_id(catalog, changes->table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)changes->table_id);
    const struct mg_schema *schema = catalog->tables[at]->schema;
    for (uint32_t i = 0; i < epoch->changed.count; i++)
        if (epoch->changed.items[i] == changes->table_id)
            return mg_fail(err, MG_INVALID, "table %s.%s changes its schema in this epoch; its rows belong to the next",
                           schema->database, schema->table);
    MG_TRY(mg_catalog__check_state(schema, err));
    if (schema->version != changes->schema_version)
        return mg_fail(err, MG_SCHEMA_CHANGED, "table %s.%s has schema version %llu, the rows have %llu",
                       schema->database, schema->table, (unsigned long long)schema->version,
                       (unsigned long long)changes->schema_version);
    *out = catalog->tables[at];
    return MG_OK;
}

/* Staged rows must make room before `more` bytes are staged, too: they take their share, or memory gets short. */
static bool is_much(const struct mg_magic *magic, const struct mg_magic_epoch *epoch, uint64_t more)
{
    if (epoch->unspilled_bytes + more > magic->stage_bytes_max)
        return epoch->unspilled_bytes > 0;
    return epoch->unspilled_bytes > magic->stage_bytes_max / STAGE_LEAST &&
           mg_budget_left(&magic->delta_budget) < magic->stage_bytes_max + 2 * more;
}

static uint64_t staged_bytes(const struct mg_store *store, uint64_t *out_largest)
{
    uint64_t bytes = 0;
    *out_largest = 0;
    for (uint32_t i = 0; i < store->table_count; i++) {
        uint64_t of_table = mg_wtable__staged_bytes(store->tables[i]);
        bytes += of_table;
        *out_largest = MG_MAX(*out_largest, of_table);
    }
    return bytes;
}

/* What the tables have staged goes to parts, the most first, as many small ones would be many small files. */
static enum mg_code spill(struct mg_magic *magic, struct mg_magic_epoch *epoch, struct mg_error *err)
{
    struct mg_store *store = &magic->store;
    uint64_t largest, bytes = staged_bytes(store, &largest), enough = bytes / 2;
    while (largest > 0 && bytes > enough) {
        for (uint32_t i = 0; i < store->table_count; i++)
            if (mg_wtable__staged_bytes(store->tables[i]) >= MG_MAX(largest / STAGE_LEAST, (uint64_t)1))
                MG_TRY(mg_wtable__spill(store, store->tables[i], err));
        bytes = staged_bytes(store, &largest);
    }
    epoch->unspilled_bytes = epoch->data_bytes = bytes;
    return MG_OK;
}

static enum mg_code stage(struct mg_magic *magic, struct mg_magic_epoch *epoch, struct mg_table_view *view,
                          const struct mg_changes *changes, struct mg_error *err)
{
    uint64_t bytes = mg_batch_bytes(changes->rows);
    if (is_much(magic, epoch, bytes + (uint64_t)changes->rows->row_count * MG_STAGED_ROW_BYTES))
        MG_TRY(spill(magic, epoch, err));
    epoch->data_bytes += bytes;
    epoch->unspilled_bytes += bytes + (uint64_t)changes->rows->row_count * MG_STAGED_ROW_BYTES;
    if (epoch->data_bytes > MG_WAL_GROUP_MAX)
        return mg_fail(err, MG_TOO_BIG, "this epoch takes more than %llu bytes", (unsigned long long)MG_WAL_GROUP_MAX);
    if (mg_budget_left(&magic->budget) < 2 * bytes) /* what is cached gives way */
        mg_cache_shrink(magic->cache, 2 * bytes);
    struct mg_wtable *table;
    MG_TRY(mg_store__wtable(&magic->store, view->table, &table, err));
    table->in_bytes += mg_batch_bytes(changes->rows);
    MG_TRY(mg_wtable__put(&magic->store, table, view->schema, changes, err));
    return is_much(magic, epoch, 0) ? spill(magic, epoch, err) : MG_OK;
}

/* The next epoch begins after a flush, and what is cached gives way. */
static void note_starved(struct mg_magic *magic)
{
    mg_cache_shrink(magic->cache, SIZE_MAX);
    mg_mutex_lock(&magic->publish);
    magic->store.is_starved = true;
    mg_mutex_unlock(&magic->publish);
}

static enum mg_code magic_put(struct mg_epoch *base, const struct mg_changes *changes, struct mg_error *err)
{
    struct mg_magic_epoch *epoch = (struct mg_magic_epoch *)base;
    struct mg_magic *magic = mg_magic__of(base->engine);
    struct mg_table_view *view;
    if (epoch->failed != MG_OK)
        return mg_fail(err, epoch->failed, "this epoch can only be aborted: %s", epoch->failed_text);
    MG_TRY(find_schema(epoch, changes, &view, err));
    MG_TRY(check_changes(view->schema, changes, err));
    MG_TRY(mg_verify_check(view->schema, changes, err));
    epoch->has_rows = true;
    if (changes->rows->row_count == 0)
        return MG_OK;
    struct mg_error story = MG_ERROR_INIT;
    enum mg_code code = stage(magic, epoch, view, changes, &story);
    if (code == MG_OK)
        return MG_OK;
    epoch->failed = code;
    if (code == MG_NO_MEMORY) {
        note_starved(magic);
        mg_fail_in(&story, code, "%zu bytes are left for the store", mg_budget_left(&magic->delta_budget));
    }
    mg_fail_in(&story, code, "table %s.%s: %u changes could not be staged", view->schema->database, view->schema->table,
               changes->rows->row_count);
    snprintf(epoch->failed_text, sizeof epoch->failed_text, "%s", story.text);
    if (err)
        *err = story;
    return code;
}

static enum mg_code magic_checkpoint(struct mg_engine *engine, bool flush, struct mg_error *err)
{
    return mg_magic__maintain(mg_magic__of(engine), flush, true, err);
}

/* ---- snapshots ----------------------------------------------------------------------------------------------- */

/* The number that a waiter waits for: the newest epoch, or a source's watermark. */
static uint64_t progress(const struct mg_magic *magic, const char *source)
{
    if (!source)
        return magic->store.epoch;
    int at = mg_store__find_source(&magic->store, source);
    return at < 0 ? 0 : magic->store.sources[at].watermark;
}

static enum mg_code wait_for(struct mg_magic *magic, const char *source, uint64_t least, int64_t timeout_ms,
                             struct mg_error *err)
{
    enum { CHECK_MS = 60000 };
    struct mg_clock *clock = mg_clock_system(); /* that of conditions */
    int64_t end_ms = timeout_ms < 0 ? 0 : mg_mono_ms(clock) + timeout_ms;
    enum mg_code code = MG_OK;
    mg_mutex_lock(&magic->publish);
    while (code == MG_OK && progress(magic, source) < least) {
        int64_t left_ms = timeout_ms < 0 ? CHECK_MS : end_ms - mg_mono_ms(clock);
        if (magic->stopped)
            code = mg_fail(err, MG_STOPPED, "the writer stopped after an error: %s", magic->stopped_text);
        else if (left_ms <= 0)
            code = mg_fail(err, MG_TIMEOUT, "%s %llu is not visible after %lld ms; the newest is %llu",
                           source ? "watermark" : "epoch", (unsigned long long)least, (long long)timeout_ms,
                           (unsigned long long)progress(magic, source));
        else
            mg_cond_wait_ms(&magic->published, &magic->publish, left_ms);
    }
    mg_mutex_unlock(&magic->publish);
    return code;
}

static enum mg_code magic_wait(struct mg_engine *engine, uint64_t epoch, int64_t timeout_ms, struct mg_error *err)
{
    return wait_for(mg_magic__of(engine), NULL, epoch, timeout_ms, err);
}

static enum mg_code magic_wait_watermark(struct mg_engine *engine, const char *source, uint64_t ts, int64_t timeout_ms,
                                         struct mg_error *err)
{
    return wait_for(mg_magic__of(engine), source, ts, timeout_ms, err);
}

static enum mg_code magic_snapshot(struct mg_engine *engine, struct mg_snapshot **out, struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    mg_mutex_lock(&magic->publish);
    *out = &mg_view__pin(magic->store.newest)->base;
    mg_mutex_unlock(&magic->publish);
    MG_STOP("snapshot.pinned");
    return MG_OK;
}

static struct mg_snapshot *magic_snapshot_ref(struct mg_snapshot *snapshot)
{
    struct mg_magic *magic = mg_magic__of(snapshot->engine);
    mg_mutex_lock(&magic->publish);
    mg_view__pin((struct mg_view *)snapshot);
    mg_mutex_unlock(&magic->publish);
    return snapshot;
}

static void magic_snapshot_unref(struct mg_snapshot *snapshot) { mg_view__unpin((struct mg_view *)snapshot); }

static uint64_t magic_snapshot_epoch(const struct mg_snapshot *snapshot)
{
    return ((const struct mg_view *)snapshot)->epoch;
}

static uint32_t magic_snapshot_watermarks(const struct mg_snapshot *snapshot, struct mg_source_position *out,
                                          uint32_t max)
{
    const struct mg_view *view = (const struct mg_view *)snapshot;
    uint32_t count = 0;
    for (uint32_t i = 0; i < view->source_count && count < max; i++) {
        const struct mg_view_source *source = &view->sources[i];
        if (source->watermark == 0)
            continue;
        memset(&out[count], 0, sizeof out[count]);
        snprintf(out[count].source, sizeof out[count].source, "%s", source->name);
        out[count].watermark = source->watermark;
        out[count].generation = source->generation;
        out[count].epoch = source->epoch;
        count++;
    }
    return count;
}

/* ---- catalogue ----------------------------------------------------------------------------------------------- */

static const struct mg_catalog *catalog_of(const struct mg_snapshot *snapshot)
{
    return ((const struct mg_view *)snapshot)->catalog;
}

static enum mg_code magic_table_by_name(const struct mg_snapshot *snapshot, struct mg_slice database,
                                        struct mg_slice table, struct mg_schema **out, struct mg_error *err)
{
    int at = mg_catalog__find_name(catalog_of(snapshot), database, table);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table %.*s.%.*s", (int)database.size,
                       (const char *)database.data, (int)table.size, (const char *)table.data);
    *out = mg_schema_ref(catalog_of(snapshot)->tables[at]->schema);
    return MG_OK;
}

static enum mg_code table_view(const struct mg_snapshot *snapshot, uint64_t table_id, const struct mg_table_view **out,
                               struct mg_error *err)
{
    int at = mg_catalog__find_id(catalog_of(snapshot), table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    *out = catalog_of(snapshot)->tables[at];
    return MG_OK;
}

static enum mg_code magic_table_by_id(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_schema **out,
                                      struct mg_error *err)
{
    const struct mg_table_view *view;
    MG_TRY(table_view(snapshot, table_id, &view, err));
    *out = mg_schema_ref(view->schema);
    return MG_OK;
}

static enum mg_code magic_needs_reload(struct mg_engine *engine, uint64_t table_id, struct mg_schema **out,
                                       struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    (void)err;
    mg_mutex_lock(&magic->publish);
    const struct mg_schema *mark = mg_catalog__find_mark(magic->store.newest->catalog, table_id);
    *out = mark ? mg_schema_ref(mark) : NULL;
    mg_mutex_unlock(&magic->publish);
    return MG_OK;
}

static enum mg_code magic_list_tables(const struct mg_snapshot *snapshot, mg_schema_fn *fn, void *arg,
                                      struct mg_error *err)
{
    const struct mg_catalog *catalog = catalog_of(snapshot);
    for (uint32_t i = 0; i < catalog->table_count; i++)
        MG_TRY(fn(arg, catalog->tables[catalog->names->by_name[i]]->schema, err));
    return MG_OK;
}

static enum mg_code magic_list_databases(const struct mg_snapshot *snapshot, mg_name_item_fn *fn, void *arg,
                                         struct mg_error *err)
{
    const struct mg_names *names = catalog_of(snapshot)->names;
    for (uint32_t i = 0; i < names->database_count; i++)
        MG_TRY(fn(arg, names->databases[i], err));
    return MG_OK;
}

static enum mg_code magic_stats(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_table_stats *out,
                                struct mg_error *err)
{
    const struct mg_table_view *view;
    MG_TRY(table_view(snapshot, table_id, &view, err));
    struct mg_table_stats stats = {.row_count = view->live_count};
    for (uint32_t s = 0; s < view->segment_count; s++)
        for (uint32_t i = 0; i < view->segments[s].rows->chunk_count; i++) {
            struct mg_chunk *held = mg_chunk__hold(view->segments[s].rows->chunks[i]);
            stats.size_bytes += mg_chunk__bytes(held);
            mg_chunk__let_go(held);
        }
    for (uint32_t p = 0; p < view->part_count; p++)
        stats.size_bytes += mg_part_file_bytes(view->parts[p].part);
    *out = stats;
    return MG_OK;
}

const struct mg_engine_ops mg_engine_magic = {
    .name = "magic",
    .open = magic_open,
    .close = magic_close,
    .store_id = magic_store_id,
    .reserve = magic_reserve,
    .position = magic_position,
    .begin = magic_begin,
    .change_schema = magic_change_schema,
    .put = magic_put,
    .publish = mg_magic__publish,
    .abort = magic_abort,
    .checkpoint = magic_checkpoint,
    .compact = mg_magic__compact,
    .compactions = mg_magic__compactions,
    .cancel_compaction = mg_magic__cancel_compaction,
    .set_option = mg_magic__set_option,
    .wait = magic_wait,
    .wait_watermark = magic_wait_watermark,
    .snapshot = magic_snapshot,
    .snapshot_at = mg_magic__snapshot_at,
    .epoch_at = mg_magic__epoch_at,
    .snapshot_ref = magic_snapshot_ref,
    .snapshot_unref = magic_snapshot_unref,
    .snapshot_epoch = magic_snapshot_epoch,
    .snapshot_watermarks = magic_snapshot_watermarks,
    .table_by_name = magic_table_by_name,
    .table_by_id = magic_table_by_id,
    .needs_reload = magic_needs_reload,
    .list_tables = magic_list_tables,
    .list_databases = magic_list_databases,
    .stats = magic_stats,
    .column_stats = mg_magic__column_stats,
    .plan_splits = mg_magic__plan_splits,
    .scan = mg_magic__scan,
    .next = mg_magic__next,
    .scan_close = mg_magic__scan_close,
    .find = mg_magic__find,
    .verified = mg_magic__verified,
    .status = mg_magic__status,
};
