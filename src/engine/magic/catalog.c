/* catalog.c -- which databases and tables there are in a view, found by id and by name, and the next catalogue after a
 * schema change.
 *
 * A change never touches the catalogue it starts from: it makes another one, so that a refused change leaves nothing
 * and older views keep theirs. Names are in an object of their own, shared by all catalogues between two schema
 * changes.
 * Errors   those of change_schema in engine.h.
 * Threads  immutable after publish; references from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"
#include "engine/name.h"

/* ---- names --------------------------------------------------------------------------------------------------- */

static struct mg_names *names_ref(struct mg_names *names)
{
    atomic_fetch_add_explicit(&names->references, 1, memory_order_relaxed);
    return names;
}

static void names_unref(struct mg_names *names)
{
    if (!names || atomic_fetch_sub_explicit(&names->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < names->database_count; i++)
        free(names->databases[i]);
    free(names->databases);
    for (uint32_t i = 0; i < names->mark_count; i++)
        mg_schema_unref(names->marks[i]);
    free(names->by_name);
    free(names->dropped);
    free(names->marks);
    free(names);
}

static int compare_databases(const void *a, const void *b)
{
    return mg_name_compare(mg_slice_text(*(char *const *)a), mg_slice_text(*(char *const *)b));
}

static int compare_schema_name(const struct mg_schema *schema, struct mg_slice database, struct mg_slice table)
{
    int c = mg_name_compare(mg_slice_text(schema->database), database);
    return c ? c : mg_name_compare(mg_slice_text(schema->table), table);
}

static int compare_by_name(const void *a, const void *b, void *catalog_arg)
{
    const struct mg_catalog *catalog = catalog_arg;
    const struct mg_schema *x = catalog->tables[*(const uint32_t *)a]->schema;
    const struct mg_schema *y = catalog->tables[*(const uint32_t *)b]->schema;
    return compare_schema_name(x, mg_slice_text(y->database), mg_slice_text(y->table));
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int find_database(const struct mg_names *names, const char *name)
{
    for (uint32_t i = 0; i < names->database_count; i++)
        if (mg_name_compare(mg_slice_text(names->databases[i]), mg_slice_text(name)) == 0)
            return (int)i;
    return -1;
}

static bool was_dropped(const struct mg_names *names, uint64_t table_id)
{
    return names->dropped_count &&
           bsearch(&table_id, names->dropped, names->dropped_count, sizeof table_id, compare_u64) != NULL;
}

/* Where the table's mark is, or would be. */
static uint32_t mark_place(struct mg_schema *const *marks, uint32_t count, uint64_t table_id)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (marks[middle]->table_id < table_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct mg_schema *mg_catalog__find_mark(const struct mg_catalog *catalog, uint64_t table_id)
{
    const struct mg_names *names = catalog->names;
    uint32_t at = mark_place(names->marks, names->mark_count, table_id);
    return at < names->mark_count && names->marks[at]->table_id == table_id ? names->marks[at] : NULL;
}

/* ---- catalogues ---------------------------------------------------------------------------------------------- */

static struct mg_catalog *new_catalog(uint32_t table_room)
{
    struct mg_catalog *catalog = calloc(1, sizeof *catalog + table_room * sizeof catalog->tables[0]);
    if (catalog)
        atomic_init(&catalog->references, 1);
    return catalog;
}

struct mg_catalog *mg_catalog__ref(struct mg_catalog *catalog)
{
    atomic_fetch_add_explicit(&catalog->references, 1, memory_order_relaxed);
    return catalog;
}

void mg_catalog__unref(struct mg_catalog *catalog)
{
    if (!catalog || atomic_fetch_sub_explicit(&catalog->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < catalog->table_count; i++)
        mg_table_view__unref(catalog->tables[i]);
    names_unref(catalog->names);
    free(catalog);
}

struct mg_catalog *mg_catalog__new_empty(void)
{
    struct mg_catalog *catalog = new_catalog(0);
    if (!catalog)
        return NULL;
    catalog->names = calloc(1, sizeof *catalog->names);
    if (!catalog->names) {
        free(catalog);
        return NULL;
    }
    atomic_init(&catalog->names->references, 1);
    return catalog;
}

static struct mg_catalog *copy_tables(const struct mg_catalog *from, uint32_t more)
{
    struct mg_catalog *to = new_catalog(from->table_count + more);
    if (!to)
        return NULL;
    for (uint32_t i = 0; i < from->table_count; i++)
        to->tables[i] = mg_table_view__ref(from->tables[i]);
    to->table_count = from->table_count;
    return to;
}

enum mg_code mg_catalog__copy(const struct mg_catalog *from, struct mg_catalog **out, struct mg_error *err)
{
    struct mg_catalog *to = copy_tables(from, 0);
    if (!to)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a catalogue of %u tables", from->table_count);
    to->names = names_ref(from->names);
    *out = to;
    return MG_OK;
}

/* Where the id is, or would be. */
static uint32_t lower_bound(const struct mg_catalog *catalog, uint64_t table_id)
{
    uint32_t low = 0, high = catalog->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (catalog->tables[middle]->table->id < table_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int mg_catalog__find_id(const struct mg_catalog *catalog, uint64_t table_id)
{
    uint32_t at = lower_bound(catalog, table_id);
    return at < catalog->table_count && catalog->tables[at]->table->id == table_id ? (int)at : -1;
}

int mg_catalog__find_name(const struct mg_catalog *catalog, struct mg_slice database, struct mg_slice table)
{
    uint32_t low = 0, high = catalog->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, at = catalog->names->by_name[middle];
        int c = compare_schema_name(catalog->tables[at]->schema, database, table);
        if (c == 0)
            return (int)at;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

enum mg_code mg_catalog__check_state(const struct mg_schema *schema, struct mg_error *err)
{
    if (schema->state == MG_STATE_UNSUPPORTED)
        return mg_fail(err, MG_TABLE_UNSUPPORTED, "table %s.%s: %s", schema->database, schema->table,
                       schema->state_reason ? schema->state_reason : "it cannot be held");
    if (schema->state == MG_STATE_NEEDS_RELOAD)
        return mg_fail(err, MG_TABLE_NEEDS_RELOAD, "table %s.%s: %s; it is valid up to %llu", schema->database,
                       schema->table, schema->state_reason ? schema->state_reason : "it must be loaded again",
                       (unsigned long long)schema->good_until_ts);
    return MG_OK;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

static const struct mg_column_id *find_column(const struct mg_column_ids *ids, int64_t id)
{
    for (uint32_t i = 0; i < ids->count; i++)
        if (ids->ids[i].id == id)
            return &ids->ids[i];
    return NULL;
}

/* All ids that the table ever had, with those of `next`; MG_INVALID when next breaks what was promised about them. */
static enum mg_code next_ids(const struct mg_column_ids *old, const struct mg_schema *next, struct mg_column_ids **out,
                             struct mg_error *err)
{
    uint32_t room = (old ? old->count : 0) + next->column_count;
    struct mg_column_ids *ids = calloc(1, sizeof *ids + room * sizeof ids->ids[0]);
    if (!ids)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the ids of %u columns", room);
    atomic_init(&ids->references, 1);
    ids->key_count = next->column_count ? next->key_count : old ? old->key_count : 0;
    for (uint32_t i = 0; i < ids->key_count; i++)
        ids->key_ids[i] = next->column_count ? next->columns[next->key_columns[i]].id : old->key_ids[i];
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; old && i < old->count; i++) {
        ids->ids[ids->count] = old->ids[i];
        if (next->column_count && mg_schema_find_id(next, old->ids[i].id) < 0)
            ids->ids[ids->count].dropped = true;
        ids->count++;
    }
    for (uint32_t c = 0; code == MG_OK && c < next->column_count; c++) {
        const struct mg_column *column = &next->columns[c];
        const struct mg_column_id *known = old ? find_column(old, column->id) : NULL;
        if (known && known->dropped)
            code = mg_fail(err, MG_INVALID, "table %s.%s: column id %lld was dropped; ids are never used again",
                           next->database, next->table, (long long)column->id);
        else if (known && !mg_type_equal(known->type, column->type))
            code = mg_fail(err, MG_INVALID, "table %s.%s: the type of column %s would change under the same id %lld",
                           next->database, next->table, column->name, (long long)column->id);
        else if (!known)
            ids->ids[ids->count++] = (struct mg_column_id){.id = column->id, .type = column->type};
    }
    if (code != MG_OK) {
        free(ids);
        return code;
    }
    *out = ids;
    return MG_OK;
}

/* ---- changes ------------------------------------------------------------------------------------------------- */

void mg_catalog__free_parts(struct mg_catalog_parts *draft)
{
    mg_catalog__unref(draft->tables);
    for (uint32_t i = 0; draft->marks && i < draft->mark_count; i++)
        mg_schema_unref(draft->marks[i]);
    free(draft->marks);
    for (uint32_t i = 0; draft->databases && i < draft->database_count; i++)
        free(draft->databases[i]);
    free(draft->databases);
    free(draft->dropped);
}

static enum mg_code draft_init(struct mg_catalog_parts *draft, const struct mg_catalog *from, struct mg_error *err)
{
    const struct mg_names *names = from->names;
    memset(draft, 0, sizeof *draft);
    draft->tables = copy_tables(from, 1);
    draft->databases = calloc((size_t)names->database_count + 1, sizeof(char *));
    draft->dropped = calloc((size_t)names->dropped_count + 1, sizeof *draft->dropped);
    draft->marks = calloc((size_t)names->mark_count + 1, sizeof(struct mg_schema *));
    bool ok = draft->tables && draft->databases && draft->dropped && draft->marks;
    for (; ok && draft->database_count < names->database_count; draft->database_count++) {
        draft->databases[draft->database_count] = strdup(names->databases[draft->database_count]);
        ok = draft->databases[draft->database_count] != NULL;
    }
    if (!ok) {
        mg_catalog__free_parts(draft);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a catalogue of %u tables", from->table_count);
    }
    if (names->dropped_count)
        memcpy(draft->dropped, names->dropped, names->dropped_count * sizeof *draft->dropped);
    draft->dropped_count = names->dropped_count;
    for (; draft->mark_count < names->mark_count; draft->mark_count++)
        draft->marks[draft->mark_count] = mg_schema_ref(names->marks[draft->mark_count]);
    return MG_OK;
}

enum mg_code mg_catalog__assemble(struct mg_catalog_parts *draft, struct mg_catalog **out, struct mg_error *err)
{
    struct mg_catalog *catalog = draft->tables;
    struct mg_names *names = calloc(1, sizeof *names);
    uint32_t *by_name = calloc((size_t)catalog->table_count + 1, sizeof *by_name);
    if (!names || !by_name) {
        uint32_t count = catalog->table_count;
        free(names);
        free(by_name);
        mg_catalog__free_parts(draft); /* with the catalogue */
        return mg_fail(err, MG_NO_MEMORY, "no memory for the names of %u tables", count);
    }
    for (uint32_t i = 0; i < catalog->table_count; i++)
        by_name[i] = i;
    qsort_r(by_name, catalog->table_count, sizeof *by_name, compare_by_name, catalog);
    qsort(draft->databases, draft->database_count, sizeof(char *), compare_databases);
    qsort(draft->dropped, draft->dropped_count, sizeof *draft->dropped, compare_u64);
    atomic_init(&names->references, 1);
    names->database_count = draft->database_count;
    names->databases = draft->databases;
    names->by_name = by_name;
    names->dropped_count = draft->dropped_count;
    names->dropped = draft->dropped;
    names->mark_count = draft->mark_count;
    names->marks = draft->marks;
    catalog->names = names;
    *out = catalog;
    return MG_OK;
}

struct mg_catalog *mg_catalog__new_tables(uint32_t table_count) { return new_catalog(table_count); }

static enum mg_code create_database(const struct mg_names *names, const char *name, struct mg_catalog_parts *draft,
                                    struct mg_error *err)
{
    if (name[0] == 0 || strlen(name) >= MG_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a database's name has 1 to %d bytes", MG_NAME_MAX - 1);
    if (find_database(names, name) >= 0)
        return mg_fail(err, MG_EXISTS, "database %s is there already", name);
    char *copy = strdup(name);
    if (!copy)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the name of a database");
    draft->databases[draft->database_count++] = copy;
    return MG_OK;
}

static enum mg_code drop_database(const struct mg_catalog *from, const char *name, struct mg_catalog_parts *draft,
                                  struct mg_error *err)
{
    int at = find_database(from->names, name);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no database %s", name);
    for (uint32_t i = 0; i < from->table_count; i++)
        if (mg_name_compare(mg_slice_text(from->tables[i]->schema->database), mg_slice_text(name)) == 0)
            return mg_fail(err, MG_INVALID, "database %s holds table %s: drop its tables first", name,
                           from->tables[i]->schema->table);
    free(draft->databases[at]);
    draft->databases[at] = draft->databases[--draft->database_count];
    return MG_OK;
}

/* The table's view with another schema. */
static enum mg_code renew_table(const struct mg_table_view *old, struct mg_schema *schema, struct mg_budget *budget,
                                struct mg_table_view **out, struct mg_error *err)
{
    if (schema->version <= old->schema->version)
        return mg_fail(err, MG_INVALID, "table %s.%s: schema version %llu is not above %llu", schema->database,
                       schema->table, (unsigned long long)schema->version, (unsigned long long)old->schema->version);
    if (schema->column_count && old->ids->key_count) {
        bool same_key = schema->key_count == old->ids->key_count;
        for (uint32_t i = 0; same_key && i < schema->key_count; i++)
            same_key = schema->columns[schema->key_columns[i]].id == old->ids->key_ids[i];
        if (!same_key)
            return mg_fail(err, MG_INVALID, "table %s.%s: its key would change; that needs a new table id",
                           schema->database, schema->table);
    }
    struct mg_column_ids *ids;
    MG_TRY(next_ids(old->ids, schema, &ids, err));
    struct mg_table_view *view;
    enum mg_code code = mg_table_view__new(old->segment_count, old->part_count, budget, &view, err);
    if (code != MG_OK) {
        mg_column_ids__unref(ids);
        return code;
    }
    view->table = mg_table__ref(old->table);
    view->schema = mg_schema_ref(schema);
    view->ids = ids;
    view->live_count = old->live_count;
    for (uint32_t i = 0; i < old->segment_count; i++) {
        view->segments[i].rows = mg_segment_view__ref(old->segments[i].rows);
        view->segments[i].marks = mg_marks__ref(old->segments[i].marks);
    }
    for (uint32_t i = 0; i < old->part_count; i++) {
        view->parts[i].part = mg_part_ref(old->parts[i].part);
        view->parts[i].marks = mg_marks__ref(old->parts[i].marks);
    }
    *out = view;
    return MG_OK;
}

static enum mg_code first_view(struct mg_schema *schema, struct mg_budget *budget, struct mg_table_view **out,
                               struct mg_error *err)
{
    struct mg_column_ids *ids;
    MG_TRY(next_ids(NULL, schema, &ids, err));
    struct mg_table_view *view;
    enum mg_code code = mg_table_view__new(0, 0, budget, &view, err);
    if (code != MG_OK) {
        mg_column_ids__unref(ids);
        return code;
    }
    view->ids = ids;
    view->schema = mg_schema_ref(schema);
    view->table = mg_table__new(schema->table_id);
    if (!view->table) {
        mg_table_view__unref(view);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table");
    }
    *out = view;
    return MG_OK;
}

/* Keep a schema by which its table became NEEDS_RELOAD, unless it says no more than what is kept. */
static void note_mark(struct mg_catalog_parts *draft, const struct mg_schema *schema)
{
    uint32_t at = mark_place(draft->marks, draft->mark_count, schema->table_id);
    if (at == draft->mark_count || draft->marks[at]->table_id != schema->table_id) {
        memmove(draft->marks + at + 1, draft->marks + at, (draft->mark_count - at) * sizeof draft->marks[0]);
        draft->marks[at] = mg_schema_ref(schema);
        draft->mark_count++;
    } else if (schema->good_until_ts < draft->marks[at]->good_until_ts) {
        mg_schema_unref(draft->marks[at]);
        draft->marks[at] = mg_schema_ref(schema);
    }
}

static enum mg_code put_table(const struct mg_catalog *from, struct mg_schema *schema, struct mg_budget *budget,
                              struct mg_catalog_parts *draft, struct mg_error *err)
{
    if (schema->table_id == 0 || schema->version == 0)
        return mg_fail(err, MG_INVALID, "table %s.%s: table id and schema version must not be 0", schema->database,
                       schema->table);
    if (find_database(from->names, schema->database) < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no database %s", schema->database);
    int at = mg_catalog__find_id(from, schema->table_id);
    int named = mg_catalog__find_name(from, mg_slice_text(schema->database), mg_slice_text(schema->table));
    if (named >= 0 && named != at)
        return mg_fail(err, MG_EXISTS, "table %s.%s is there already, with id %llu", schema->database, schema->table,
                       (unsigned long long)from->tables[named]->table->id);
    if (at < 0 && was_dropped(from->names, schema->table_id))
        return mg_fail(err, MG_INVALID, "table id %llu was dropped; ids are never used again",
                       (unsigned long long)schema->table_id);
    struct mg_catalog *to = draft->tables;
    struct mg_table_view *view;
    if (at >= 0) {
        const struct mg_schema *mark = mg_catalog__find_mark(from, schema->table_id);
        if (mark && schema->state == MG_STATE_OK)
            return mg_fail(err, MG_INVALID, "table %s.%s had to be loaded again: %s; rows loaded need a new table id",
                           schema->database, schema->table, mark->state_reason ? mark->state_reason : "no reason");
        MG_TRY(renew_table(from->tables[at], schema, budget, &view, err));
        if (schema->state == MG_STATE_NEEDS_RELOAD &&
            (mark || from->tables[at]->schema->state != MG_STATE_NEEDS_RELOAD))
            note_mark(draft, schema);
        mg_table_view__unref(to->tables[at]);
        to->tables[at] = view;
        return MG_OK;
    }
    MG_TRY(first_view(schema, budget, &view, err));
    uint32_t place = lower_bound(to, schema->table_id);
    memmove(to->tables + place + 1, to->tables + place, (to->table_count - place) * sizeof to->tables[0]);
    to->tables[place] = view;
    to->table_count++;
    return MG_OK;
}

static enum mg_code drop_table(uint64_t table_id, struct mg_catalog_parts *draft, struct mg_error *err)
{
    struct mg_catalog *to = draft->tables;
    int at = mg_catalog__find_id(to, table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    mg_table_view__unref(to->tables[at]);
    to->table_count--;
    memmove(to->tables + at, to->tables + at + 1, (to->table_count - (uint32_t)at) * sizeof to->tables[0]);
    draft->dropped[draft->dropped_count++] = table_id;
    return MG_OK;
}

enum mg_code mg_catalog__change(const struct mg_catalog *from, const struct mg_schema_change *change,
                                struct mg_budget *budget, struct mg_catalog **out, struct mg_error *err)
{
    struct mg_catalog_parts draft;
    MG_TRY(draft_init(&draft, from, err));
    enum mg_code code;
    switch (change->kind) {
    case MG_SCHEMA_CREATE_DATABASE: code = create_database(from->names, change->database, &draft, err); break;
    case MG_SCHEMA_DROP_DATABASE: code = drop_database(from, change->database, &draft, err); break;
    case MG_SCHEMA_PUT_TABLE: code = put_table(from, change->schema, budget, &draft, err); break;
    case MG_SCHEMA_DROP_TABLE: code = drop_table(change->table_id, &draft, err); break;
    default: code = mg_fail(err, MG_INVALID, "schema change %d is not known", (int)change->kind);
    }
    if (code == MG_OK)
        return mg_catalog__assemble(&draft, out, err);
    mg_catalog__free_parts(&draft);
    return code;
}
