/* model.c -- the slow, obvious engine in memory: the oracle of the tests.
 *
 * Keeps everything for ever: per epoch the sources and the catalogue, per key every version of its row with the epoch
 * that made it and the epoch that ended it. A snapshot is a number. Nothing is clever here on purpose: it must be right
 * by reading it.
 *
 * Shape    states[e] is what stood after epoch e; states[0] is the empty store. A table's cells are sorted by encoded
 *          key; a cell's versions are in order of epoch and do not overlap. Cells and versions are never freed before
 *          close.
 * Errors   those of engine.h.
 * Threads  one lock around everything, MG_RANK_PUBLISH. Snapshots and scans hold no memory that changes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/lock.h"
#include "base/random.h"
#include "engine/engine.h"
#include "engine/model/model_aggregate.h"
#include "engine/model/model_order.h"
#include "engine/name.h"
#include "engine/scan_spec.h"
#include "engine/verify.h"

enum { COMPACTIONS_KEPT = 128, SCAN_BATCH_ROWS = 8192, SPLIT_ROWS_MIN = 1024, BATCH_BYTES_MAX = 1 << 30 };

/* One version of one row. Visible at epochs from..to-1; to is 0 while it is the newest. Its columns are those of
 * `schema`. */
struct version {
    uint64_t from, to;
    struct mg_batch *rows; /* a reference */
    uint32_t row;
    struct mg_schema *schema; /* a reference */
};

struct cell {
    struct mg_slice key; /* owned */
    struct version *versions;
    uint32_t version_count, version_room;
};

struct table {
    uint64_t id;
    struct cell **cells; /* sorted by key */
    size_t cell_count, cell_room;
    struct mg_verify verify;
    struct table *next;
};

/* Databases and tables after some epoch: immutable once its epoch is published, then shared by later states. */
struct catalog {
    char **databases; /* sorted by name */
    uint32_t database_count;
    struct mg_schema **tables; /* references, sorted by database and name */
    uint32_t table_count;
    struct catalog *older; /* every catalogue that was ever published: what is here was once in use */
};

struct state {
    struct catalog *catalog;
    uint32_t source_count;
    struct mg_source_position *sources; /* positions included */
};

struct change_list {
    uint64_t table_id;
    struct mg_schema *schema; /* a reference */
    struct mg_batch *rows;    /* our own copy */
    uint8_t *ops;
    struct mg_verify verify; /* what they contradict */
    struct change_list *next;
};

struct model_epoch {
    struct mg_epoch base;
    char source[MG_SOURCE_NAME_MAX];
    uint64_t generation;
    struct catalog *catalog; /* a copy with this epoch's changes; NULL while there are none */
    uint64_t *changed;       /* table ids */
    uint32_t changed_count;
    struct change_list *first, **end;
    struct table *touched; /* by key, what the staged changes leave: a version of no epoch, or none (deleted) */
    enum mg_code failed;   /* not MG_OK: it can only be aborted */
};

struct model_engine {
    struct mg_engine base;
    struct mg_budget *readers; /* of the options */
    struct mg_budget budget;   /* for rows: a part of it, so that a full engine can still be read */
    uint64_t store_id;

    struct mg_mutex lock; /* guards all below */
    struct mg_cond published;
    struct state *states;
    uint64_t epoch; /* the newest */
    size_t state_room;
    struct catalog *catalogs; /* newest first, for freeing */
    struct table *tables;
    uint64_t next_table_id, next_version;
    struct model_epoch *staged;
    uint64_t snapshot_count;
    struct mg_compaction_info compactions[COMPACTIONS_KEPT]; /* by id; all that were asked for are over */
    uint64_t compaction_count;
};

struct model_snapshot {
    struct mg_snapshot base;
    atomic_int references;
    uint64_t epoch;
};

struct model_scan {
    struct mg_scan base;
    struct model_snapshot *snapshot;
    struct table *table; /* NULL: no row was ever put */
    struct mg_schema *schema;
    struct mg_scan_spec spec;
    uint32_t *columns;
    struct mg_slice last_key; /* of the last cell looked at; borrowed from it */
    bool started;
    uint64_t row_count;      /* given so far */
    struct mg_batch *result; /* of an aggregate or an order; made at the first next */
    bool has_result;
    struct mg_top_order *order;
    struct mg_arena scratch;
};

static struct model_engine *model_of(const struct mg_engine *engine)
{
    return (struct model_engine *)(uintptr_t)engine;
}

static void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    mg_assert(p); /* the oracle runs in tests; there the heap is never out */
    return p;
}

static void *must_grow(void *p, size_t count, size_t size)
{
    p = realloc(p, (count ? count : 1) * size);
    mg_assert(p);
    return p;
}

/* ---- catalogue --------------------------------------------------------------------------------------------- */

static void catalog_free(struct catalog *catalog)
{
    if (!catalog)
        return;
    for (uint32_t i = 0; i < catalog->database_count; i++)
        free(catalog->databases[i]);
    for (uint32_t i = 0; i < catalog->table_count; i++)
        mg_schema_unref(catalog->tables[i]);
    free(catalog->databases);
    free(catalog->tables);
    free(catalog);
}

static struct catalog *catalog_copy(const struct catalog *from)
{
    struct catalog *to = must_alloc(1, sizeof *to);
    to->databases = must_alloc(from->database_count, sizeof *to->databases);
    to->tables = must_alloc(from->table_count, sizeof(struct mg_schema *));
    for (uint32_t i = 0; i < from->database_count; i++)
        to->databases[to->database_count++] = strdup(from->databases[i]);
    for (uint32_t i = 0; i < from->table_count; i++)
        to->tables[to->table_count++] = mg_schema_ref(from->tables[i]);
    return to;
}

static int find_database(const struct catalog *catalog, struct mg_slice name)
{
    for (uint32_t i = 0; i < catalog->database_count; i++)
        if (mg_name_compare(mg_slice_text(catalog->databases[i]), name) == 0)
            return (int)i;
    return -1;
}

static int find_name(const struct catalog *catalog, struct mg_slice database, struct mg_slice table)
{
    for (uint32_t i = 0; i < catalog->table_count; i++)
        if (mg_name_compare(mg_slice_text(catalog->tables[i]->database), database) == 0 &&
            mg_name_compare(mg_slice_text(catalog->tables[i]->table), table) == 0)
            return (int)i;
    return -1;
}

static int find_id(const struct catalog *catalog, uint64_t table_id)
{
    for (uint32_t i = 0; i < catalog->table_count; i++)
        if (catalog->tables[i]->table_id == table_id)
            return (int)i;
    return -1;
}

static int compare_databases(const void *a, const void *b)
{
    return mg_name_compare(mg_slice_text(*(char *const *)a), mg_slice_text(*(char *const *)b));
}

static int compare_tables(const void *a, const void *b)
{
    const struct mg_schema *x = *(struct mg_schema *const *)a, *y = *(struct mg_schema *const *)b;
    int c = mg_name_compare(mg_slice_text(x->database), mg_slice_text(y->database));
    return c ? c : mg_name_compare(mg_slice_text(x->table), mg_slice_text(y->table));
}

static enum mg_code create_database(struct catalog *catalog, const char *name, struct mg_error *err)
{
    if (name[0] == 0 || strlen(name) >= MG_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a database's name has 1 to %d bytes", MG_NAME_MAX - 1);
    if (find_database(catalog, mg_slice_text(name)) >= 0)
        return mg_fail(err, MG_EXISTS, "database %s is there already", name);
    catalog->databases = must_grow(catalog->databases, catalog->database_count + 1, sizeof *catalog->databases);
    catalog->databases[catalog->database_count++] = strdup(name);
    qsort(catalog->databases, catalog->database_count, sizeof *catalog->databases, compare_databases);
    return MG_OK;
}

static enum mg_code drop_database(struct catalog *catalog, const char *name, struct mg_error *err)
{
    int at = find_database(catalog, mg_slice_text(name));
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no database %s", name);
    for (uint32_t i = 0; i < catalog->table_count; i++)
        if (mg_name_compare(mg_slice_text(catalog->tables[i]->database), mg_slice_text(name)) == 0)
            return mg_fail(err, MG_INVALID, "database %s holds table %s: drop its tables first", name,
                           catalog->tables[i]->table);
    free(catalog->databases[at]);
    catalog->databases[at] = catalog->databases[--catalog->database_count];
    qsort(catalog->databases, catalog->database_count, sizeof *catalog->databases, compare_databases);
    return MG_OK;
}

/* What `next` says about columns must agree with one earlier schema of the same table; `last` is the latest of them
 * that has columns. */
static enum mg_code check_against(const struct mg_schema *old, const struct mg_schema *last,
                                  const struct mg_schema *next, struct mg_error *err)
{
    bool same_key = old->key_count == next->key_count;
    for (uint32_t i = 0; same_key && i < old->key_count; i++)
        same_key = old->columns[old->key_columns[i]].id == next->columns[next->key_columns[i]].id;
    if (!same_key)
        return mg_fail(err, MG_INVALID, "table %s.%s: its key would change; that needs a new table id", next->database,
                       next->table);
    for (uint32_t i = 0; i < old->column_count; i++) {
        int at = mg_schema_find_id(next, old->columns[i].id);
        if (at < 0)
            continue;
        if (!mg_type_equal(old->columns[i].type, next->columns[at].type))
            return mg_fail(err, MG_INVALID, "table %s.%s: the type of column %s would change under the same id %lld",
                           next->database, next->table, next->columns[at].name, (long long)old->columns[i].id);
        if (mg_schema_find_id(last, old->columns[i].id) < 0)
            return mg_fail(err, MG_INVALID, "table %s.%s: column id %lld was dropped; ids are never used again",
                           next->database, next->table, (long long)old->columns[i].id);
    }
    return MG_OK;
}

/* Against every schema that the table ever had; catalog->older leads to them, newest first. */
static enum mg_code check_columns(const struct catalog *catalog, const struct mg_schema *next, struct mg_error *err)
{
    const struct mg_schema *last = NULL;
    for (const struct catalog *old = catalog; old && next->column_count; old = old->older) {
        int i = find_id(old, next->table_id);
        if (i < 0 || old->tables[i]->column_count == 0)
            continue;
        last = last ? last : old->tables[i];
        MG_TRY(check_against(old->tables[i], last, next, err));
    }
    return MG_OK;
}

/* Among every schema that the table ever had, newest first: those that are NEEDS_RELOAD behind one that was not. */
static const struct mg_schema *find_mark(const struct catalog *catalog, uint64_t table_id)
{
    const struct mg_schema *mark = NULL, *lowest = NULL;
    for (const struct catalog *old = catalog; old; old = old->older) {
        int i = find_id(old, table_id);
        if (i < 0)
            continue;
        if (old->tables[i]->state != MG_STATE_NEEDS_RELOAD)
            mark = lowest;
        else if (!lowest || old->tables[i]->good_until_ts <= lowest->good_until_ts)
            lowest = old->tables[i];
    }
    return mark;
}

static enum mg_code put_table(struct model_engine *model, struct catalog *catalog, const struct mg_schema *schema,
                              struct mg_error *err)
{
    if (schema->table_id == 0 || schema->version == 0)
        return mg_fail(err, MG_INVALID, "table %s.%s: table id and schema version must not be 0", schema->database,
                       schema->table);
    if (find_database(catalog, mg_slice_text(schema->database)) < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no database %s", schema->database);
    int at = find_id(catalog, schema->table_id);
    int named = find_name(catalog, mg_slice_text(schema->database), mg_slice_text(schema->table));
    if (named >= 0 && named != at)
        return mg_fail(err, MG_EXISTS, "table %s.%s is there already, with id %llu", schema->database, schema->table,
                       (unsigned long long)catalog->tables[named]->table_id);
    if (at >= 0) {
        const struct mg_schema *current = catalog->tables[at];
        if (schema->version <= current->version)
            return mg_fail(err, MG_INVALID, "table %s.%s: schema version %llu is not above %llu", schema->database,
                           schema->table, (unsigned long long)schema->version, (unsigned long long)current->version);
        const struct mg_schema *mark = schema->state == MG_STATE_OK ? find_mark(catalog, schema->table_id) : NULL;
        if (mark)
            return mg_fail(err, MG_INVALID, "table %s.%s: %s; it is not OK again under the same id", schema->database,
                           schema->table, mark->state_reason ? mark->state_reason : "it needs a reload");
        MG_TRY(check_columns(catalog, schema, err));
        mg_schema_unref(catalog->tables[at]);
        catalog->tables[at] = mg_schema_ref(schema);
    } else {
        for (const struct catalog *old = catalog->older; old; old = old->older)
            if (find_id(old, schema->table_id) >= 0)
                return mg_fail(err, MG_INVALID, "table id %llu was dropped; ids are never used again",
                               (unsigned long long)schema->table_id);
        catalog->tables = must_grow(catalog->tables, catalog->table_count + 1, sizeof(struct mg_schema *));
        catalog->tables[catalog->table_count++] = mg_schema_ref(schema);
    }
    qsort(catalog->tables, catalog->table_count, sizeof(struct mg_schema *), compare_tables);
    model->next_table_id = MG_MAX(model->next_table_id, schema->table_id + 1);
    model->next_version = MG_MAX(model->next_version, schema->version + 1);
    return MG_OK;
}

static enum mg_code drop_table(struct catalog *catalog, uint64_t table_id, struct mg_error *err)
{
    int at = find_id(catalog, table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    mg_schema_unref(catalog->tables[at]);
    catalog->tables[at] = catalog->tables[--catalog->table_count];
    qsort(catalog->tables, catalog->table_count, sizeof(struct mg_schema *), compare_tables);
    return MG_OK;
}

/* ---- open and close ---------------------------------------------------------------------------------------- */

static enum mg_code model_open(const struct mg_engine_options *options, struct mg_engine **out, struct mg_error *err)
{
    uint64_t id = 0;
    while (id == 0)
        MG_TRY(mg_random_secret(&id, sizeof id, err));
    struct model_engine *model = must_alloc(1, sizeof *model);
    model->base.ops = &mg_engine_model;
    size_t left = mg_budget_left(options->budget);
    model->readers = options->budget;
    mg_budget_init(&model->budget, "model", options->budget, left == SIZE_MAX ? SIZE_MAX : left - left / 16);
    model->store_id = id;
    mg_mutex_init(&model->lock, MG_RANK_PUBLISH, "model");
    mg_cond_init(&model->published);
    model->state_room = 64;
    model->states = must_alloc(model->state_room, sizeof *model->states);
    model->catalogs = must_alloc(1, sizeof *model->catalogs);
    model->states[0].catalog = model->catalogs;
    model->next_table_id = model->next_version = 1;
    *out = &model->base;
    return MG_OK;
}

/* The table, too; versions of staged changes own nothing. */
static void free_cells(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++) {
        free((void *)(uintptr_t)table->cells[i]->key.data);
        free(table->cells[i]->versions);
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

static void model_close(struct mg_engine *engine)
{
    if (!engine)
        return;
    struct model_engine *model = model_of(engine);
    mg_assert(!model->staged && model->snapshot_count == 0);
    while (model->tables) {
        struct table *table = model->tables;
        model->tables = table->next;
        for (size_t i = 0; i < table->cell_count; i++) {
            struct cell *cell = table->cells[i];
            for (uint32_t v = 0; v < cell->version_count; v++) {
                mg_batch_unref(cell->versions[v].rows);
                mg_schema_unref(cell->versions[v].schema);
            }
        }
        free_cells(table);
    }
    for (uint64_t e = 0; e <= model->epoch; e++)
        free(model->states[e].sources);
    free(model->states);
    while (model->catalogs) {
        struct catalog *catalog = model->catalogs;
        model->catalogs = catalog->older;
        catalog_free(catalog);
    }
    mg_cond_destroy(&model->published);
    mg_mutex_destroy(&model->lock);
    free(model);
}

static uint64_t model_store_id(const struct mg_engine *engine) { return model_of(engine)->store_id; }

/* ---- writing ----------------------------------------------------------------------------------------------- */

static const struct mg_source_position *find_source(const struct state *state, const char *source)
{
    for (uint32_t i = 0; i < state->source_count; i++)
        if (strcmp(state->sources[i].source, source) == 0)
            return &state->sources[i];
    return NULL;
}

static enum mg_code model_reserve(struct mg_engine *engine, uint64_t *out_table_id, uint64_t *out_schema_version,
                                  struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    if (out_table_id)
        *out_table_id = model->next_table_id++;
    if (out_schema_version)
        *out_schema_version = model->next_version++;
    mg_mutex_unlock(&model->lock);
    return MG_OK;
}

static enum mg_code model_position(struct mg_engine *engine, const char *source, struct mg_source_position *out,
                                   struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    const struct mg_source_position *known = find_source(&model->states[model->epoch], source);
    if (known)
        *out = *known;
    else
        memset(out, 0, sizeof *out);
    mg_mutex_unlock(&model->lock);
    return MG_OK;
}

static enum mg_code model_begin(struct mg_engine *engine, const char *source, uint64_t generation,
                                struct mg_epoch **out, struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    if (source[0] == 0 || strlen(source) >= MG_SOURCE_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a source's name has 1 to %d bytes", MG_SOURCE_NAME_MAX - 1);
    mg_mutex_lock(&model->lock);
    enum mg_code code = MG_OK;
    const struct state *now = &model->states[model->epoch];
    const struct mg_source_position *known = find_source(now, source);
    if (model->staged)
        code = mg_fail(err, MG_BUSY, "another epoch is being staged");
    else if (known && generation < known->generation)
        code = mg_fail(err, MG_WRITER_FENCED, "source %s: generation %llu is below %llu", source,
                       (unsigned long long)generation, (unsigned long long)known->generation);
    else if (!known && now->source_count == MG_SOURCES_MAX)
        code = mg_fail(err, MG_TOO_BIG, "source %s: %d sources are there already", source, MG_SOURCES_MAX);
    if (code == MG_OK) {
        struct model_epoch *epoch = must_alloc(1, sizeof *epoch);
        epoch->base.engine = engine;
        memcpy(epoch->source, source, strlen(source) + 1);
        epoch->generation = generation;
        epoch->end = &epoch->first;
        model->staged = epoch;
        *out = &epoch->base;
    }
    mg_mutex_unlock(&model->lock);
    return code;
}

static enum mg_code model_change_schema(struct mg_epoch *base, const struct mg_schema_change *change,
                                        struct mg_error *err)
{
    struct model_epoch *epoch = (struct model_epoch *)base;
    struct model_engine *model = model_of(base->engine);
    if (epoch->first)
        return mg_fail(err, MG_INVALID, "schema changes come before the rows of an epoch");
    mg_mutex_lock(&model->lock);
    struct catalog *before = model->states[model->epoch].catalog;
    /* Change a copy, so that a refused change leaves nothing. */
    struct catalog *next = catalog_copy(epoch->catalog ? epoch->catalog : before);
    next->older = epoch->catalog ? epoch->catalog : before;
    enum mg_code code;
    uint64_t changed = 0;
    switch (change->kind) {
    case MG_SCHEMA_CREATE_DATABASE: code = create_database(next, change->database, err); break;
    case MG_SCHEMA_DROP_DATABASE: code = drop_database(next, change->database, err); break;
    case MG_SCHEMA_PUT_TABLE:
        code = put_table(model, next, change->schema, err);
        changed = change->schema->table_id;
        break;
    case MG_SCHEMA_DROP_TABLE:
        code = drop_table(next, change->table_id, err);
        changed = change->table_id;
        break;
    default: code = mg_fail(err, MG_INVALID, "schema change %d is not known", (int)change->kind);
    }
    if (code == MG_OK) {
        epoch->catalog = next;
        epoch->changed = must_grow(epoch->changed, epoch->changed_count + 1, sizeof *epoch->changed);
        epoch->changed[epoch->changed_count++] = changed;
    } else {
        catalog_free(next);
    }
    mg_mutex_unlock(&model->lock);
    return code;
}

static enum mg_code check_state(const struct mg_schema *schema, struct mg_error *err)
{
    if (schema->state == MG_STATE_UNSUPPORTED)
        return mg_fail(err, MG_TABLE_UNSUPPORTED, "table %s.%s: %s", schema->database, schema->table,
                       schema->state_reason ? schema->state_reason : "unsupported");
    if (schema->state == MG_STATE_NEEDS_RELOAD)
        return mg_fail(err, MG_TABLE_NEEDS_RELOAD, "table %s.%s: %s; valid up to %llu", schema->database, schema->table,
                       schema->state_reason ? schema->state_reason : "needs reload",
                       (unsigned long long)schema->good_until_ts);
    return MG_OK;
}

static enum mg_code row_key(const struct mg_schema *schema, const struct mg_batch *rows, uint32_t row,
                            struct mg_buffer *out, struct mg_error *err)
{
    const struct mg_vector *vectors[MG_KEY_COLUMNS_MAX];
    for (uint32_t i = 0; i < schema->key_count; i++)
        vectors[i] = &rows->vectors[schema->key_columns[i]];
    mg_buffer_reset(out);
    return mg_key_encode(vectors, schema->key_count, row, out, err);
}

static enum mg_code check_rows(const struct mg_schema *schema, const struct mg_changes *changes, struct mg_error *err)
{
    const struct mg_batch *rows = changes->rows;
    if (rows->column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "table %s.%s: %u columns, the schema has %u", schema->database, schema->table,
                       rows->column_count, schema->column_count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        if (!mg_type_equal(rows->vectors[c].type, schema->columns[c].type))
            return mg_fail(err, MG_INVALID, "table %s.%s: column %s has another type than the schema", schema->database,
                           schema->table, schema->columns[c].name);
    struct mg_buffer key;
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    enum mg_code code = MG_OK;
    for (uint32_t r = 0; code == MG_OK && r < rows->row_count; r++) {
        if (changes->ops[r] > MG_CHANGE_DELETE)
            code = mg_fail(err, MG_INVALID, "row %u: change %u is not known", r, changes->ops[r]);
        for (uint32_t c = 0; code == MG_OK && c < schema->column_count; c++)
            if (!schema->columns[c].nullable && mg_vector_is_null(&rows->vectors[c], r) &&
                (changes->ops[r] != MG_CHANGE_DELETE || mg_schema_is_key(schema, c)))
                code = mg_fail(err, MG_INVALID, "table %s.%s: row %u is NULL in column %s, which is not nullable",
                               schema->database, schema->table, r, schema->columns[c].name);
        if (code == MG_OK)
            code = row_key(schema, rows, r, &key, err);
    }
    mg_buffer_clear(&key);
    return code;
}

static struct table *find_table(struct table *first, uint64_t id)
{
    while (first && first->id != id)
        first = first->next;
    return first;
}

/* Where key is, or would be. */
static size_t cell_lower_bound(const struct table *table, struct mg_slice key)
{
    size_t low = 0, high = table->cell_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (mg_slice_compare(table->cells[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* NULL: there is none. */
static struct cell *find_cell(const struct table *table, struct mg_slice key)
{
    size_t at = table ? cell_lower_bound(table, key) : 0;
    bool is_there = table && at < table->cell_count && mg_slice_equal(table->cells[at]->key, key);
    return is_there ? table->cells[at] : NULL;
}

static struct cell *get_cell(struct table *table, struct mg_slice key)
{
    size_t at = cell_lower_bound(table, key);
    if (at < table->cell_count && mg_slice_equal(table->cells[at]->key, key))
        return table->cells[at];
    if (table->cell_count == table->cell_room) {
        table->cell_room = table->cell_room ? table->cell_room * 2 : 64;
        table->cells = must_grow(table->cells, table->cell_room, sizeof(struct cell *));
    }
    memmove(table->cells + at + 1, table->cells + at, (table->cell_count - at) * sizeof(struct cell *));
    struct cell *cell = must_alloc(1, sizeof *cell);
    uint8_t *bytes = must_alloc(key.size, 1);
    memcpy(bytes, key.data, key.size);
    cell->key = MG_SLICE(bytes, key.size);
    table->cells[at] = cell;
    table->cell_count++;
    return cell;
}

static struct table *get_table(struct table **first, uint64_t id)
{
    struct table *table = find_table(*first, id);
    if (table)
        return table;
    table = must_alloc(1, sizeof *table);
    table->id = id;
    table->next = *first;
    *first = table;
    return table;
}

/* ---- what the changes say is stored ------------------------------------------------------------------------ */

/* The row that the next change of the key would find; NULL: none. */
static const struct version *stored_row(const struct model_engine *model, const struct table *touched,
                                        struct mg_slice key)
{
    const struct cell *staged = find_cell(touched, key);
    if (staged)
        return staged->version_count ? &staged->versions[0] : NULL;
    const struct cell *cell = find_cell(find_table(model->tables, touched->id), key);
    const struct version *last = cell && cell->version_count ? &cell->versions[cell->version_count - 1] : NULL;
    return last && last->to == 0 ? last : NULL;
}

static void touch(struct table *touched, struct mg_slice key, const struct change_list *item, uint32_t row)
{
    struct cell *cell = get_cell(touched, key);
    if (!cell->versions)
        cell->versions = must_alloc(1, sizeof *cell->versions);
    cell->version_count = item->ops[row] != MG_CHANGE_DELETE;
    cell->versions[0] = (struct version){.rows = item->rows, .row = row, .schema = item->schema}; /* borrowed */
}

static struct mg_value value_at(const struct version *v, const struct mg_column *column)
{
    int at = mg_schema_find_id(v->schema, column->id);
    struct mg_value value = at >= 0 ? mg_vector_value(&v->rows->vectors[at], v->row) : column->missing;
    value.type = column->type;
    return value;
}

static void compare_image(struct change_list *item, const struct mg_changes *changes, uint32_t image,
                          const struct version *stored)
{
    item->verify.compared_count++;
    for (uint32_t c = 0; c < item->schema->column_count; c++) {
        struct mg_value value = value_at(stored, &item->schema->columns[c]);
        if (!mg_verify_value(&item->verify, item->schema, changes, image, c, &value))
            return; /* a row is told once */
    }
}

static void verify_item(struct model_engine *model, struct model_epoch *epoch, struct change_list *item,
                        const struct mg_changes *changes)
{
    struct table *touched = get_table(&epoch->touched, item->table_id);
    uint32_t image = 0, images = changes->old ? changes->old->row_count : 0;
    struct mg_buffer key;
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    mg_mutex_lock(&model->lock);
    item->verify.since_ms = mg_wall_ms(mg_clock_system());
    item->verify.since_epoch = model->epoch + 1;
    for (uint32_t r = 0; r < item->rows->row_count; r++) {
        enum mg_code code = row_key(item->schema, item->rows, r, &key, NULL);
        mg_assert(code == MG_OK); /* check_rows has encoded it, too */
        const struct version *stored = stored_row(model, touched, mg_buffer_slice(&key));
        enum mg_verify_kind kind = mg_verify_op(item->ops[r], stored != NULL);
        if (kind != MG_VERIFY_KINDS)
            mg_verify_note(&item->verify, kind, item->schema, changes, r);
        while (image < images && changes->old_rows[image] < r)
            image++;
        if (stored && image < images && changes->old_rows[image] == r)
            compare_image(item, changes, image, stored);
        touch(touched, mg_buffer_slice(&key), item, r);
    }
    mg_mutex_unlock(&model->lock);
    mg_buffer_clear(&key);
}

static enum mg_code model_put(struct mg_epoch *base, const struct mg_changes *changes, struct mg_error *err)
{
    struct model_epoch *epoch = (struct model_epoch *)base;
    struct model_engine *model = model_of(base->engine);
    if (epoch->failed != MG_OK)
        return mg_fail(err, epoch->failed, "this epoch can only be aborted");
    const struct catalog *catalog = epoch->catalog ? epoch->catalog : model->states[model->epoch].catalog;
    int at = find_id(catalog, changes->table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)changes->table_id);
    const struct mg_schema *schema = catalog->tables[at];
    for (uint32_t i = 0; i < epoch->changed_count; i++)
        if (epoch->changed[i] == changes->table_id)
            return mg_fail(err, MG_INVALID, "table %s.%s changes its schema in this epoch; its rows belong to the next",
                           schema->database, schema->table);
    MG_TRY(check_state(schema, err));
    if (schema->version != changes->schema_version)
        return mg_fail(err, MG_SCHEMA_CHANGED, "table %s.%s has schema version %llu, the rows have %llu",
                       schema->database, schema->table, (unsigned long long)schema->version,
                       (unsigned long long)changes->schema_version);
    MG_TRY(check_rows(schema, changes, err));
    MG_TRY(mg_verify_check(schema, changes, err));
    if (changes->rows->row_count == 0)
        return MG_OK;

    uint32_t count = changes->rows->row_count;
    uint32_t *all = must_alloc(count, sizeof *all);
    for (uint32_t i = 0; i < count; i++)
        all[i] = i;
    struct mg_batch *copy = NULL;
    enum mg_code code = mg_batch_select(changes->rows, all, count, &model->budget, &copy, err);
    free(all);
    if (code != MG_OK) {
        epoch->failed = code;
        return code;
    }
    struct change_list *item = must_alloc(1, sizeof *item);
    item->table_id = changes->table_id;
    item->schema = mg_schema_ref(schema);
    item->rows = copy;
    item->ops = must_alloc(count, 1);
    memcpy(item->ops, changes->ops, count);
    *epoch->end = item;
    epoch->end = &item->next;
    verify_item(model, epoch, item, changes);
    if (changes->verify)
        mg_verify_add(changes->verify, &item->verify);
    return MG_OK;
}

static void apply_row(struct table *table, uint64_t epoch, const struct change_list *item, uint32_t row,
                      struct mg_slice key)
{
    struct cell *cell = get_cell(table, key);
    struct version *last = cell->version_count ? &cell->versions[cell->version_count - 1] : NULL;
    bool is_there = last && last->to == 0;
    if (is_there && last->from == epoch) { /* made by this epoch: nobody may ever see it */
        mg_batch_unref(last->rows);
        mg_schema_unref(last->schema);
        cell->version_count--;
    } else if (is_there) {
        last->to = epoch;
    }
    if (item->ops[row] == MG_CHANGE_DELETE)
        return;
    if (cell->version_count == cell->version_room) {
        cell->version_room = cell->version_room ? cell->version_room * 2 : 1;
        cell->versions = must_grow(cell->versions, cell->version_room, sizeof *cell->versions);
    }
    cell->versions[cell->version_count++] = (struct version){
        .from = epoch, .rows = mg_batch_ref(item->rows), .row = row, .schema = mg_schema_ref(item->schema)};
}

static void apply(struct model_engine *model, uint64_t epoch, const struct change_list *item)
{
    struct table *table = get_table(&model->tables, item->table_id);
    struct mg_buffer key;
    mg_verify_add(&table->verify, &item->verify);
    mg_count(engine_verify_failed, mg_verify_failed(&item->verify));
    mg_count(engine_verify_compared, item->verify.compared_count);
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    for (uint32_t r = 0; r < item->rows->row_count; r++) {
        enum mg_code code = row_key(item->schema, item->rows, r, &key, NULL);
        mg_assert(code == MG_OK); /* put has encoded it, too */
        apply_row(table, epoch, item, r, mg_buffer_slice(&key));
    }
    mg_buffer_clear(&key);
}

/* Ends the staged epoch; keeps its catalogues when `published`. */
static void epoch_free(struct model_engine *model, struct model_epoch *epoch, bool published)
{
    while (epoch->first) {
        struct change_list *item = epoch->first;
        epoch->first = item->next;
        mg_schema_unref(item->schema);
        mg_batch_unref(item->rows);
        free(item->ops);
        free(item);
    }
    if (published && epoch->catalog) {
        model->catalogs = epoch->catalog;
    } else {
        while (epoch->catalog && epoch->catalog != model->catalogs) {
            struct catalog *catalog = epoch->catalog;
            epoch->catalog = catalog->older;
            catalog_free(catalog);
        }
    }
    while (epoch->touched) {
        struct table *table = epoch->touched;
        epoch->touched = table->next;
        free_cells(table);
    }
    model->staged = NULL;
    free(epoch->changed);
    free(epoch);
}

static void model_abort(struct mg_epoch *base)
{
    if (!base)
        return;
    struct model_engine *model = model_of(base->engine);
    mg_mutex_lock(&model->lock);
    epoch_free(model, (struct model_epoch *)base, false);
    mg_mutex_unlock(&model->lock);
}

static enum mg_code check_publish(const struct model_engine *model, const struct model_epoch *epoch, uint64_t watermark,
                                  struct mg_slice position, struct mg_error *err)
{
    if (epoch->failed != MG_OK)
        return mg_fail(err, epoch->failed, "this epoch failed while it was staged");
    if (position.size > MG_POSITION_MAX)
        return mg_fail(err, MG_TOO_BIG, "a source's position of %zu bytes is above %d", position.size, MG_POSITION_MAX);
    const struct mg_source_position *known = find_source(&model->states[model->epoch], epoch->source);
    if (known && watermark < known->watermark)
        return mg_fail(err, MG_INVALID, "source %s: watermark %llu is below %llu, which is published", epoch->source,
                       (unsigned long long)watermark, (unsigned long long)known->watermark);
    return MG_OK;
}

static void next_state(struct model_engine *model, const struct model_epoch *epoch, uint64_t watermark,
                       struct mg_slice position)
{
    if (model->epoch + 2 > model->state_room) {
        model->state_room *= 2;
        model->states = must_grow(model->states, model->state_room, sizeof *model->states);
    }
    const struct state *now = &model->states[model->epoch];
    struct state *next = &model->states[model->epoch + 1];
    next->catalog = epoch->catalog ? epoch->catalog : now->catalog;
    next->source_count = now->source_count;
    next->sources = must_alloc(now->source_count + 1, sizeof *next->sources);
    if (now->source_count)
        memcpy(next->sources, now->sources, now->source_count * sizeof *next->sources);
    uint32_t i = 0;
    while (i < next->source_count && strcmp(next->sources[i].source, epoch->source) != 0)
        i++;
    next->source_count = MG_MAX(next->source_count, i + 1);
    struct mg_source_position *source = &next->sources[i];
    memset(source, 0, sizeof *source);
    memcpy(source->source, epoch->source, sizeof source->source);
    source->watermark = watermark;
    source->generation = epoch->generation;
    source->epoch = model->epoch + 1;
    if (position.size)
        memcpy(source->position, position.data, position.size);
    source->position_size = (uint32_t)position.size;
}

static enum mg_code model_publish(struct mg_epoch *base, uint64_t watermark, struct mg_slice position,
                                  uint64_t *out_epoch, struct mg_error *err)
{
    struct model_epoch *epoch = (struct model_epoch *)base;
    struct model_engine *model = model_of(base->engine);
    mg_mutex_lock(&model->lock);
    enum mg_code code = check_publish(model, epoch, watermark, position, err);
    if (code == MG_OK) {
        next_state(model, epoch, watermark, position);
        for (const struct change_list *item = epoch->first; item; item = item->next)
            apply(model, model->epoch + 1, item);
        model->epoch++;
        mg_count(engine_epochs, 1);
        if (out_epoch)
            *out_epoch = model->epoch;
        mg_cond_broadcast(&model->published);
    }
    epoch_free(model, epoch, code == MG_OK);
    mg_mutex_unlock(&model->lock);
    return code;
}

/* ---- snapshots --------------------------------------------------------------------------------------------- */

/* Until *number of the state, chosen by source (NULL: the epoch), is at least `least`. */
static enum mg_code wait_for(struct model_engine *model, const char *source, uint64_t least, int64_t timeout_ms,
                             struct mg_error *err)
{
    struct mg_clock *clock = mg_clock_system();
    int64_t end_ms = mg_mono_ms(clock) + timeout_ms;
    enum mg_code code = MG_OK;
    mg_mutex_lock(&model->lock);
    for (;;) {
        const struct mg_source_position *known = source ? find_source(&model->states[model->epoch], source) : NULL;
        uint64_t now = source ? (known ? known->watermark : 0) : model->epoch;
        int64_t left_ms = timeout_ms < 0 ? 60000 : end_ms - mg_mono_ms(clock);
        if (now >= least)
            break;
        if (left_ms <= 0) {
            code = mg_fail(err, MG_TIMEOUT, "%s %llu is not visible within %lld ms; the newest is %llu",
                           source ? "watermark" : "epoch", (unsigned long long)least, (long long)timeout_ms,
                           (unsigned long long)now);
            break;
        }
        mg_cond_wait_ms(&model->published, &model->lock, left_ms);
    }
    mg_mutex_unlock(&model->lock);
    return code;
}

static enum mg_code model_wait(struct mg_engine *engine, uint64_t epoch, int64_t timeout_ms, struct mg_error *err)
{
    return wait_for(model_of(engine), NULL, epoch, timeout_ms, err);
}

static enum mg_code model_wait_watermark(struct mg_engine *engine, const char *source, uint64_t ts, int64_t timeout_ms,
                                         struct mg_error *err)
{
    return wait_for(model_of(engine), source, ts, timeout_ms, err);
}

static enum mg_code model_snapshot_at(struct mg_engine *engine, uint64_t epoch, struct mg_snapshot **out,
                                      struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    uint64_t newest = model->epoch;
    if (epoch <= newest)
        model->snapshot_count++;
    mg_mutex_unlock(&model->lock);
    if (epoch > newest)
        return mg_fail(err, MG_SNAPSHOT_NOT_YET, "epoch %llu is not visible yet; the newest is %llu",
                       (unsigned long long)epoch, (unsigned long long)newest);
    struct model_snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    snapshot->base.engine = engine;
    atomic_init(&snapshot->references, 1);
    snapshot->epoch = epoch;
    *out = &snapshot->base;
    return MG_OK;
}

static enum mg_code model_snapshot(struct mg_engine *engine, struct mg_snapshot **out, struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    uint64_t newest = model->epoch;
    mg_mutex_unlock(&model->lock);
    return model_snapshot_at(engine, newest, out, err);
}

static enum mg_code model_epoch_at(struct mg_engine *engine, const char *source, uint64_t ts, uint64_t *out_epoch,
                                   struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    uint64_t found = 0, earliest = 0;
    mg_mutex_lock(&model->lock);
    for (uint64_t e = model->epoch; e > 0; e--) {
        const struct mg_source_position *known = find_source(&model->states[e], source);
        if (!known || known->watermark == 0)
            break;
        earliest = known->watermark;
        if (known->watermark <= ts) {
            found = e;
            break;
        }
    }
    mg_mutex_unlock(&model->lock);
    if (found == 0)
        return mg_fail(err, MG_SNAPSHOT_TOO_OLD, "source %s: nothing at or below %llu; the earliest watermark is %llu",
                       source, (unsigned long long)ts, (unsigned long long)earliest);
    *out_epoch = found;
    return MG_OK;
}

static struct mg_snapshot *model_snapshot_ref(struct mg_snapshot *snapshot)
{
    atomic_fetch_add(&((struct model_snapshot *)snapshot)->references, 1);
    return snapshot;
}

static void model_snapshot_unref(struct mg_snapshot *snapshot)
{
    if (!snapshot || atomic_fetch_sub(&((struct model_snapshot *)snapshot)->references, 1) != 1)
        return;
    struct model_engine *model = model_of(snapshot->engine);
    mg_mutex_lock(&model->lock);
    model->snapshot_count--;
    mg_mutex_unlock(&model->lock);
    free(snapshot);
}

static uint64_t model_snapshot_epoch(const struct mg_snapshot *snapshot)
{
    return ((const struct model_snapshot *)snapshot)->epoch;
}

/* A copy of the state's header: its catalogue and sources never change and live until close. */
static struct state state_at(const struct mg_snapshot *snapshot)
{
    struct model_engine *model = model_of(snapshot->engine);
    mg_mutex_lock(&model->lock);
    struct state state = model->states[model_snapshot_epoch(snapshot)];
    mg_mutex_unlock(&model->lock);
    return state;
}

static uint32_t model_snapshot_watermarks(const struct mg_snapshot *snapshot, struct mg_source_position *out,
                                          uint32_t max)
{
    struct state state = state_at(snapshot);
    uint32_t count = 0;
    for (uint32_t i = 0; i < state.source_count && count < max; i++) {
        if (state.sources[i].watermark == 0)
            continue;
        out[count] = state.sources[i];
        memset(out[count].position, 0, sizeof out[count].position);
        out[count++].position_size = 0;
    }
    return count;
}

static enum mg_code model_table_by_name(const struct mg_snapshot *snapshot, struct mg_slice database,
                                        struct mg_slice table, struct mg_schema **out, struct mg_error *err)
{
    struct state state = state_at(snapshot);
    int at = find_name(state.catalog, database, table);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table %.*s.%.*s", (int)database.size,
                       (const char *)database.data, (int)table.size, (const char *)table.data);
    *out = mg_schema_ref(state.catalog->tables[at]);
    return MG_OK;
}

static enum mg_code model_table_by_id(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_schema **out,
                                      struct mg_error *err)
{
    struct state state = state_at(snapshot);
    int at = find_id(state.catalog, table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    *out = mg_schema_ref(state.catalog->tables[at]);
    return MG_OK;
}

static enum mg_code model_needs_reload(struct mg_engine *engine, uint64_t table_id, struct mg_schema **out,
                                       struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    (void)err;
    mg_mutex_lock(&model->lock);
    const struct mg_schema *mark = find_mark(model->states[model->epoch].catalog, table_id);
    *out = mark ? mg_schema_ref(mark) : NULL;
    mg_mutex_unlock(&model->lock);
    return MG_OK;
}

static enum mg_code model_list_tables(const struct mg_snapshot *snapshot, mg_schema_fn *fn, void *arg,
                                      struct mg_error *err)
{
    struct state state = state_at(snapshot);
    for (uint32_t i = 0; i < state.catalog->table_count; i++)
        MG_TRY(fn(arg, state.catalog->tables[i], err));
    return MG_OK;
}

static enum mg_code model_list_databases(const struct mg_snapshot *snapshot, mg_name_item_fn *fn, void *arg,
                                         struct mg_error *err)
{
    struct state state = state_at(snapshot);
    for (uint32_t i = 0; i < state.catalog->database_count; i++)
        MG_TRY(fn(arg, state.catalog->databases[i], err));
    return MG_OK;
}

/* The version that the epoch sees, or NULL. */
static const struct version *visible(const struct cell *cell, uint64_t epoch)
{
    for (uint32_t i = cell->version_count; i-- > 0;) {
        const struct version *v = &cell->versions[i];
        if (v->from <= epoch)
            return v->to == 0 || v->to > epoch ? v : NULL;
    }
    return NULL;
}

static enum mg_code model_stats(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_table_stats *out,
                                struct mg_error *err)
{
    struct mg_schema *schema;
    MG_TRY(model_table_by_id(snapshot, table_id, &schema, err));
    uint64_t row_bytes = 0;
    for (uint32_t c = 0; c < schema->column_count; c++)
        row_bytes += mg_type_width(schema->columns[c].type.id) ? mg_type_width(schema->columns[c].type.id) : 16;
    mg_schema_unref(schema);
    struct model_engine *model = model_of(snapshot->engine);
    struct mg_table_stats stats = {0};
    mg_mutex_lock(&model->lock);
    const struct table *table = find_table(model->tables, table_id);
    for (size_t i = 0; table && i < table->cell_count; i++)
        stats.row_count += visible(table->cells[i], model_snapshot_epoch(snapshot)) != NULL;
    mg_mutex_unlock(&model->lock);
    stats.size_bytes = stats.row_count * row_bytes;
    *out = stats;
    return MG_OK;
}

static enum mg_code model_plan_splits(const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted,
                                      bool force, struct mg_arena *arena, struct mg_key_range **out,
                                      uint32_t *out_count, struct mg_error *err)
{
    struct mg_table_stats stats;
    MG_TRY(model_stats(snapshot, table_id, &stats, err));
    uint64_t count = MG_MIN((uint64_t)MG_MAX(wanted, 1u), force ? stats.row_count : stats.row_count / SPLIT_ROWS_MIN);
    count = MG_MAX(count, (uint64_t)1);
    struct mg_key_range *ranges = mg_arena_array(arena, struct mg_key_range, count);
    if (!ranges)
        return mg_arena_fail(arena, err);
    struct model_engine *model = model_of(snapshot->engine);
    enum mg_code code = MG_OK;
    mg_mutex_lock(&model->lock);
    const struct table *table = find_table(model->tables, table_id);
    uint64_t seen = 0, split = 1;
    for (size_t i = 0; table && split < count && i < table->cell_count; i++) {
        if (!visible(table->cells[i], model_snapshot_epoch(snapshot)))
            continue;
        if (seen++ < stats.row_count * split / count)
            continue;
        struct mg_slice key = mg_arena_copy(arena, table->cells[i]->key);
        if (!key.data) {
            code = mg_arena_fail(arena, err);
            break;
        }
        ranges[split - 1].high = ranges[split].low = key;
        split++;
    }
    mg_mutex_unlock(&model->lock);
    if (code == MG_OK) {
        *out = ranges;
        *out_count = (uint32_t)count;
    }
    return code;
}

/* ---- statistics: exact, by looking at every row ------------------------------------------------------------ */

/* Values of one column, as keys hold them: equal values have equal bytes. */
struct values {
    struct mg_slice *at;
    size_t count;
};

static int compare_slices(const void *a, const void *b)
{
    return mg_slice_compare(*(const struct mg_slice *)a, *(const struct mg_slice *)b);
}

static enum mg_code note_value(struct mg_column_stats *stats, struct values *values, struct mg_value value,
                               struct mg_arena *arena, struct mg_error *err)
{
    struct mg_buffer key;
    if (value.is_null) {
        stats->null_count++;
        return MG_OK;
    }
    mg_buffer_init(&key, UINT32_MAX);
    enum mg_code code = mg_key_append_value(&value, &key, err);
    if (code == MG_OK)
        values->at[values->count++] = mg_arena_copy(arena, mg_buffer_slice(&key));
    mg_buffer_clear(&key);
    if (!stats->has_bounds || mg_value_compare(&value, &stats->low) < 0)
        stats->low = value;
    if (!stats->has_bounds || mg_value_compare(&value, &stats->high) > 0)
        stats->high = value;
    stats->has_bounds = true;
    return code;
}

static enum mg_code column_of(const struct mg_snapshot *snapshot, const struct table *table,
                              const struct mg_column *column, struct mg_arena *arena, struct mg_column_stats *stats,
                              struct mg_error *err)
{
    struct values values = {.at = must_alloc(table ? table->cell_count : 0, sizeof *values.at)};
    struct mg_arena keys;
    enum mg_code code = MG_OK;
    mg_arena_init(&keys, SIZE_MAX);
    stats->is_exact = stats->bounds_exact = true;
    for (size_t i = 0; code == MG_OK && table && i < table->cell_count; i++) {
        const struct version *v = visible(table->cells[i], model_snapshot_epoch(snapshot));
        if (v)
            code = note_value(stats, &values, value_at(v, column), &keys, err);
    }
    if (values.count)
        qsort(values.at, values.count, sizeof *values.at, compare_slices);
    for (size_t i = 0; i < values.count; i++)
        stats->distinct_count += i == 0 || !mg_slice_equal(values.at[i], values.at[i - 1]);
    free(values.at);
    mg_arena_clear(&keys);
    if (!stats->has_bounds || column->type.id != MG_TYPE_UTF8)
        return code;
    stats->has_bounds = MG_MAX(stats->low.text.size, stats->high.text.size) <= MG_STATS_TEXT_MAX;
    stats->low.text = mg_arena_copy(arena, stats->has_bounds ? stats->low.text : MG_SLICE("", 0));
    stats->high.text = mg_arena_copy(arena, stats->has_bounds ? stats->high.text : MG_SLICE("", 0));
    return code;
}

static enum mg_code model_column_stats(const struct mg_snapshot *snapshot, uint64_t table_id, const bool *wanted,
                                       struct mg_arena *arena, struct mg_column_stats **out, struct mg_error *err)
{
    struct model_engine *model = model_of(snapshot->engine);
    struct mg_schema *schema;
    MG_TRY(model_table_by_id(snapshot, table_id, &schema, err));
    enum mg_code code = check_state(schema, err);
    struct mg_column_stats *stats = mg_arena_array(arena, struct mg_column_stats, schema->column_count);
    if (code == MG_OK && !stats)
        code = mg_arena_fail(arena, err);
    mg_mutex_lock(&model->lock);
    for (uint32_t c = 0; code == MG_OK && c < schema->column_count; c++)
        if (!wanted || wanted[c])
            code = column_of(snapshot, find_table(model->tables, table_id), &schema->columns[c], arena, &stats[c], err);
    mg_mutex_unlock(&model->lock);
    mg_schema_unref(schema);
    if (code == MG_OK)
        *out = stats;
    return code;
}

/* ---- scans ------------------------------------------------------------------------------------------------- */

static void model_scan_close(struct mg_scan *base)
{
    struct model_scan *scan = (struct model_scan *)base;
    if (!scan)
        return;
    mg_schema_unref(scan->schema);
    mg_arena_clear(&scan->scratch);
    mg_batch_unref(scan->result);
    free(scan->order);
    free(scan->columns);
    free(scan);
}

static enum mg_code model_scan(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                               struct mg_error *err)
{
    struct mg_schema *schema;
    MG_TRY(model_table_by_id(snapshot, spec->table_id, &schema, err));
    enum mg_code code = check_state(schema, err);
    if (code == MG_OK)
        code = mg_scan_spec_check(schema, spec, err);
    if (code != MG_OK) {
        mg_schema_unref(schema);
        return code;
    }
    struct model_engine *model = model_of(snapshot->engine);
    struct model_scan *scan = must_alloc(1, sizeof *scan);
    scan->base.engine = snapshot->engine;
    scan->snapshot = (struct model_snapshot *)snapshot;
    scan->schema = schema;
    scan->spec = *spec;
    scan->columns = must_alloc((size_t)spec->column_count + schema->column_count, sizeof *scan->columns);
    if (spec->column_count)
        memcpy(scan->columns, spec->columns, spec->column_count * sizeof *scan->columns);
    scan->order = must_alloc(spec->order_count, sizeof *scan->order);
    if (spec->order_count)
        memcpy(scan->order, spec->order, spec->order_count * sizeof *scan->order);
    mg_mutex_lock(&model->lock);
    scan->table = find_table(model->tables, spec->table_id);
    mg_mutex_unlock(&model->lock);
    mg_arena_init(&scan->scratch, BATCH_BYTES_MAX);
    *out = &scan->base;
    return MG_OK;
}

/* The next visible rows of the range, at most max. The versions' rows stay where they are until close. */
static uint32_t collect(struct model_scan *scan, struct version *found, uint32_t max)
{
    struct model_engine *model = model_of(scan->base.engine);
    struct table *table = scan->table;
    uint32_t count = 0;
    mg_mutex_lock(&model->lock);
    size_t i = cell_lower_bound(table, scan->started ? scan->last_key : scan->spec.range.low);
    if (scan->started)
        i++; /* cells are never removed */
    for (; i < table->cell_count && count < max; i++) {
        scan->started = true;
        scan->last_key = table->cells[i]->key;
        const struct version *v = visible(table->cells[i], scan->snapshot->epoch);
        if (v && mg_key_in_range(table->cells[i]->key, scan->spec.range))
            found[count++] = *v;
    }
    mg_mutex_unlock(&model->lock);
    return count;
}

static enum mg_code append_row(struct mg_batch_builder *builder, const struct mg_schema *schema,
                               const struct version *v, struct mg_error *err)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        int at = mg_schema_find_id(v->schema, schema->columns[c].id);
        struct mg_value value = at >= 0 ? mg_vector_value(&v->rows->vectors[at], v->row) : schema->columns[c].missing;
        if (value.is_null)
            MG_TRY(mg_builder_null(builder, c, err));
        else
            MG_TRY(mg_builder_value(builder, c, &value, err));
    }
    return MG_OK;
}

static enum mg_code whole_rows(const struct mg_schema *schema, const struct version *found, uint32_t count,
                               struct mg_budget *budget, struct mg_batch **out, struct mg_error *err)
{
    struct mg_type *types = must_alloc(schema->column_count, sizeof *types);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    struct mg_batch_builder builder;
    enum mg_code code = mg_batch_builder_init(&builder, types, schema->column_count, budget, BATCH_BYTES_MAX, err);
    free(types);
    if (code != MG_OK)
        return code;
    for (uint32_t i = 0; code == MG_OK && i < count; i++)
        code = append_row(&builder, schema, &found[i], err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

/* Rows of `whole` that the predicate keeps, with the columns that the scan wants; NULL when there are none. */
static enum mg_code filter(struct model_scan *scan, const struct mg_batch *whole, struct mg_budget *budget,
                           struct mg_batch **out, struct mg_error *err)
{
    size_t row_count = whole->row_count, column_count = whole->column_count, wanted = scan->spec.column_count;
    mg_arena_reset(&scan->scratch);
    uint64_t *mask = mg_arena_array(&scan->scratch, uint64_t, (row_count + 63) / 64);
    uint32_t *rows = mg_arena_array(&scan->scratch, uint32_t, row_count);
    struct mg_type *types = mg_arena_array(&scan->scratch, struct mg_type, wanted + 1);
    const struct mg_vector **vectors = mg_arena_array(&scan->scratch, const struct mg_vector *, column_count + 1);
    if (!mask || !rows || !types || !vectors)
        return mg_arena_fail(&scan->scratch, err);
    for (uint32_t i = 0; i < whole->row_count; i++)
        mask[i / 64] |= (uint64_t)1 << (i % 64);
    for (uint32_t c = 0; c < whole->column_count; c++)
        vectors[c] = &whole->vectors[c];
    if (scan->spec.predicate)
        MG_TRY(mg_predicate_filter(scan->spec.predicate, vectors, whole->row_count, mask, &scan->scratch, err));
    uint32_t count = mg_mask_rows(mask, whole->row_count, rows);
    if (scan->spec.limit)
        count = (uint32_t)MG_MIN((uint64_t)count, scan->spec.limit - scan->row_count);
    *out = NULL;
    if (count == 0)
        return MG_OK;
    for (size_t i = 0; i < wanted; i++)
        types[i] = scan->schema->columns[scan->columns[i]].type;
    struct mg_batch_builder builder;
    MG_TRY(mg_batch_builder_init(&builder, types, (uint32_t)wanted, budget, BATCH_BYTES_MAX, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < wanted; i++)
        code = mg_builder_gather(&builder, i, vectors[scan->columns[i]], rows, 0, count, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, out, err);
    mg_batch_builder_clear(&builder);
    if (code == MG_OK)
        scan->row_count += count;
    return code;
}

static struct mg_budget *budget_of(const struct model_scan *scan)
{
    return scan->spec.budget ? scan->spec.budget : model_of(scan->base.engine)->readers;
}

static enum mg_code next_rows(struct model_scan *scan, struct mg_batch **out, struct mg_error *err)
{
    struct mg_budget *budget = budget_of(scan);
    uint32_t max = scan->spec.batch_rows_max ? MG_MIN(scan->spec.batch_rows_max, (uint32_t)MG_BATCH_ROWS_MAX)
                                             : SCAN_BATCH_ROWS;
    struct version *found = must_alloc(max, sizeof *found);
    struct mg_batch *result = NULL;
    enum mg_code code = MG_OK;
    while (code == MG_OK && !result && scan->table && (!scan->spec.limit || scan->row_count < scan->spec.limit)) {
        uint32_t count = collect(scan, found, max);
        if (count == 0)
            break;
        struct mg_batch *whole = NULL;
        code = whole_rows(scan->schema, found, count, budget, &whole, err);
        if (code == MG_OK)
            code = filter(scan, whole, budget, &result, err);
        mg_batch_unref(whole);
    }
    free(found);
    if (code != MG_OK)
        return code;
    *out = result;
    return MG_OK;
}

static enum mg_code finish(struct model_scan *scan, struct mg_batch *const *batches, size_t count,
                           struct mg_batch **out, struct mg_error *err)
{
    if (scan->spec.aggregate)
        return mg_model__aggregate(scan->spec.aggregate, batches, count, budget_of(scan), out, err);
    struct mg_scan_spec spec = scan->spec;
    spec.columns = scan->columns;
    spec.order = scan->order;
    return mg_model__order(&spec, batches, count, budget_of(scan), out, err);
}

/* Aggregate and order are computed from whole rows, all of them: for that time the scan is one of all columns. */
static enum mg_code take_all(struct model_scan *scan, struct mg_error *err)
{
    struct mg_scan_spec spec = scan->spec;
    uint32_t *columns = scan->columns, count = scan->schema->column_count;
    struct mg_batch **batches = NULL;
    size_t batch_count = 0;
    enum mg_code code;
    scan->columns = must_alloc(count, sizeof *scan->columns);
    for (uint32_t c = 0; c < count; c++)
        scan->columns[c] = c;
    scan->spec.column_count = count;
    scan->spec.limit = 0;
    for (;; batch_count++) {
        struct mg_batch **more = realloc(batches, (batch_count + 1) * sizeof(struct mg_batch *));
        mg_assert(more);
        batches = more;
        code = next_rows(scan, &batches[batch_count], err);
        if (code != MG_OK || !batches[batch_count])
            break;
    }
    free(scan->columns);
    scan->columns = columns;
    scan->spec = spec;
    scan->row_count = 0;
    scan->has_result = true;
    if (code == MG_OK)
        code = finish(scan, batches, batch_count, &scan->result, err);
    while (batch_count)
        mg_batch_unref(batches[--batch_count]);
    free(batches);
    return code;
}

static enum mg_code model_next(struct mg_scan *base, struct mg_batch **out, struct mg_error *err)
{
    struct model_scan *scan = (struct model_scan *)base;
    if (!scan->spec.aggregate && !scan->spec.order_count)
        return next_rows(scan, out, err);
    if (!scan->has_result)
        MG_TRY(take_all(scan, err));
    uint32_t left = scan->result ? scan->result->row_count - (uint32_t)scan->row_count : 0;
    uint32_t count = scan->spec.batch_rows_max ? MG_MIN(left, scan->spec.batch_rows_max) : left;
    *out = NULL;
    if (count == 0)
        return MG_OK;
    uint32_t *rows = must_alloc(count, sizeof *rows);
    for (uint32_t i = 0; i < count; i++)
        rows[i] = (uint32_t)scan->row_count + i;
    enum mg_code code = mg_batch_select(scan->result, rows, count, budget_of(scan), out, err);
    free(rows);
    scan->row_count += count;
    return code;
}

/* ---- look-ups ---------------------------------------------------------------------------------------------- */

/* The versions that the snapshot sees, in the order of their keys in the spec, each once; rows as find wants them. */
static uint32_t find_versions(const struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                              struct version *found)
{
    struct model_engine *model = model_of(snapshot->engine);
    uint32_t count = 0;
    mg_mutex_lock(&model->lock);
    const struct table *table = find_table(model->tables, spec->table_id);
    for (uint32_t i = 0; i < spec->key_count; i++) {
        struct mg_slice key = MG_SLICE(spec->keys + spec->offsets[i], spec->offsets[i + 1] - spec->offsets[i]);
        const struct cell *cell = find_cell(table, key);
        const struct version *v = cell ? visible(cell, model_snapshot_epoch(snapshot)) : NULL;
        rows[i] = MG_FIND_NONE;
        for (uint32_t j = 0; v && j < count && rows[i] == MG_FIND_NONE; j++)
            if (found[j].rows == v->rows && found[j].row == v->row)
                rows[i] = j;
        if (v && rows[i] == MG_FIND_NONE) {
            rows[i] = count;
            found[count++] = *v;
        }
    }
    mg_mutex_unlock(&model->lock);
    return count;
}

static enum mg_code project(const struct mg_find_spec *spec, const struct mg_schema *schema,
                            const struct mg_batch *whole, struct mg_budget *budget, struct mg_batch **out,
                            struct mg_error *err)
{
    struct mg_batch_builder builder;
    struct mg_type *types = must_alloc(spec->column_count, sizeof *types);
    for (uint32_t i = 0; i < spec->column_count; i++)
        types[i] = schema->columns[spec->columns[i]].type;
    enum mg_code code = mg_batch_builder_init(&builder, types, spec->column_count, budget, BATCH_BYTES_MAX, err);
    free(types);
    if (code != MG_OK)
        return code;
    for (uint32_t i = 0; code == MG_OK && i < spec->column_count; i++)
        code = mg_builder_gather(&builder, i, &whole->vectors[spec->columns[i]], NULL, 0, whole->row_count, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, whole->row_count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

static enum mg_code model_find(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                               struct mg_batch **out, struct mg_error *err)
{
    struct mg_budget *budget = spec->budget ? spec->budget : model_of(snapshot->engine)->readers;
    struct mg_schema *schema;
    struct mg_batch *whole = NULL, *result = NULL;
    MG_TRY(model_table_by_id(snapshot, spec->table_id, &schema, err));
    enum mg_code code = check_state(schema, err);
    if (code == MG_OK)
        code = mg_find_spec_check(schema, spec, err);
    struct version *found = must_alloc(spec->key_count, sizeof *found);
    uint32_t count = code == MG_OK ? find_versions(snapshot, spec, rows, found) : 0;
    if (count && spec->column_count) {
        code = whole_rows(schema, found, count, budget, &whole, err);
        if (code == MG_OK)
            code = project(spec, schema, whole, budget, &result, err);
    }
    mg_batch_unref(whole);
    free(found);
    mg_schema_unref(schema);
    if (code == MG_OK)
        *out = result;
    return code;
}

/* ---- status ------------------------------------------------------------------------------------------------ */

static enum mg_code tell(mg_status_fn *fn, void *arg, const char *name, uint64_t value, const char *unit,
                         struct mg_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return fn(arg, name, text, unit, err);
}

static enum mg_code model_status(struct mg_engine *engine, mg_status_fn *fn, void *arg, struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    uint64_t epoch = model->epoch, pins = model->snapshot_count, verify_failed = 0;
    uint32_t tables = model->states[epoch].catalog->table_count;
    for (const struct table *table = model->tables; table; table = table->next)
        verify_failed += mg_verify_failed(&table->verify);
    mg_mutex_unlock(&model->lock);
    MG_TRY(fn(arg, "engine", "model", "", err));
    MG_TRY(tell(fn, arg, "epoch", epoch, "", err));
    MG_TRY(tell(fn, arg, "tables", tables, "tables", err));
    MG_TRY(tell(fn, arg, "pins", pins, "snapshots", err));
    MG_TRY(tell(fn, arg, "verify_failed", verify_failed, "rows", err));
    MG_TRY(tell(fn, arg, "memory_used_bytes", mg_budget_used(&model->budget), "bytes", err));
    return tell(fn, arg, "memory_left_bytes", mg_budget_left(&model->budget), "bytes", err);
}

static enum mg_code model_verified(struct mg_engine *engine, uint64_t table_id, mg_verify_fn *fn, void *arg,
                                   struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    const struct catalog *catalog = model->states[model->epoch].catalog; /* lives until close */
    mg_mutex_unlock(&model->lock);
    for (uint32_t i = 0; i < catalog->table_count; i++) {
        struct mg_verify verify = {.told_count = 0};
        if (table_id && catalog->tables[i]->table_id != table_id)
            continue;
        mg_mutex_lock(&model->lock);
        const struct table *table = find_table(model->tables, catalog->tables[i]->table_id);
        if (table)
            verify = table->verify;
        mg_mutex_unlock(&model->lock);
        if (verify.compared_count || mg_verify_failed(&verify))
            MG_TRY(fn(arg, catalog->tables[i], &verify, err));
    }
    return MG_OK;
}

/* ---- instructions: there is nothing to compact, so that is done at once -------------------------------------- */

static enum mg_code model_compact(struct mg_engine *engine, uint64_t table_id, struct mg_key_range range,
                                  uint64_t *out_id, struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    struct mg_compaction_info info = {.table_id = table_id,
                                      .has_range = range.low.size || range.high.size,
                                      .state = MG_COMPACTION_DONE,
                                      .progress = 1,
                                      .message = "nothing to do: it is compact"};
    info.asked_ms = info.started_ms = info.ended_ms = mg_wall_ms(mg_clock_system());
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    MG_TRY(model_snapshot(engine, &snapshot, err));
    enum mg_code code = model_table_by_id(snapshot, table_id, &schema, err);
    model_snapshot_unref(snapshot);
    MG_TRY(code);
    snprintf(info.database, sizeof info.database, "%s", schema->database);
    snprintf(info.table, sizeof info.table, "%s", schema->table);
    mg_schema_unref(schema);
    mg_mutex_lock(&model->lock);
    info.id = *out_id = ++model->compaction_count;
    model->compactions[info.id % COMPACTIONS_KEPT] = info;
    mg_mutex_unlock(&model->lock);
    return MG_OK;
}

static enum mg_code model_compactions(struct mg_engine *engine, uint64_t id, mg_compaction_fn *fn, void *arg,
                                      struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    uint64_t count = model->compaction_count;
    mg_mutex_unlock(&model->lock);
    uint64_t first = count >= COMPACTIONS_KEPT ? count - COMPACTIONS_KEPT + 1 : 1;
    if (id && (id < first || id > count))
        return mg_fail(err, MG_NOT_FOUND, "there is no compaction %llu", (unsigned long long)id);
    for (uint64_t i = id ? id : first; i <= (id ? id : count); i++) {
        mg_mutex_lock(&model->lock);
        struct mg_compaction_info info = model->compactions[i % COMPACTIONS_KEPT];
        mg_mutex_unlock(&model->lock);
        MG_TRY(fn(arg, &info, err));
    }
    return MG_OK;
}

static enum mg_code model_cancel_compaction(struct mg_engine *engine, uint64_t id, struct mg_error *err)
{
    struct model_engine *model = model_of(engine);
    mg_mutex_lock(&model->lock);
    bool known = id && id <= model->compaction_count;
    mg_mutex_unlock(&model->lock);
    return known ? mg_fail(err, MG_INVALID, "compaction %llu is over", (unsigned long long)id)
                 : mg_fail(err, MG_NOT_FOUND, "there is no compaction %llu", (unsigned long long)id);
}

static enum mg_code model_set_option(struct mg_engine *engine, enum mg_engine_option option, uint64_t value,
                                     struct mg_error *err)
{
    return option == MG_OPTION_MERGE_THROTTLE || option == MG_OPTION_DISK_RESERVE
               ? MG_OK
               : mg_fail(err, MG_INVALID, "there is no option %d", (int)option);
}

static enum mg_code model_checkpoint(struct mg_engine *engine, bool flush, struct mg_error *err) { return MG_OK; }

const struct mg_engine_ops mg_engine_model = {
    .name = "model",
    .open = model_open,
    .close = model_close,
    .store_id = model_store_id,
    .reserve = model_reserve,
    .position = model_position,
    .begin = model_begin,
    .change_schema = model_change_schema,
    .put = model_put,
    .publish = model_publish,
    .abort = model_abort,
    .checkpoint = model_checkpoint,
    .compact = model_compact,
    .compactions = model_compactions,
    .cancel_compaction = model_cancel_compaction,
    .set_option = model_set_option,
    .wait = model_wait,
    .wait_watermark = model_wait_watermark,
    .snapshot = model_snapshot,
    .snapshot_at = model_snapshot_at,
    .epoch_at = model_epoch_at,
    .snapshot_ref = model_snapshot_ref,
    .snapshot_unref = model_snapshot_unref,
    .snapshot_epoch = model_snapshot_epoch,
    .snapshot_watermarks = model_snapshot_watermarks,
    .table_by_name = model_table_by_name,
    .table_by_id = model_table_by_id,
    .needs_reload = model_needs_reload,
    .list_tables = model_list_tables,
    .list_databases = model_list_databases,
    .stats = model_stats,
    .column_stats = model_column_stats,
    .plan_splits = model_plan_splits,
    .scan = model_scan,
    .next = model_next,
    .scan_close = model_scan_close,
    .find = model_find,
    .verified = model_verified,
    .status = model_status,
};
