/* put_table.c -- which table a DoPut fills: found, made, or made unseen and shown at the end.
 *
 * Unseen   A table that readers may see only as a whole (all of REPLACE; CREATE in one step) is filled in the database
 *          MG_FLIGHT__LOADING, which no list and no scan shows. One epoch then drops the old table, gives the new one
 *          its name and drops that database. So the rows may come in any number of epochs, and readers see none of
 *          them or all; a snapshot taken before goes on showing the old table.
 * Left     What a DoPut leaves unseen when the process ends is dropped by the next one; there is one at a time.
 * Owner    Only tables of the source local are touched.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connector/flight/put.h"

static const struct mg_engine_ops *ops_of(const struct mg_flight__put *put)
{
    return put->request->flight->engine->ops;
}

static enum mg_code newest(const struct mg_flight__put *put, struct mg_snapshot **out, struct mg_error *err)
{
    return ops_of(put)->snapshot(put->request->flight->engine, out, err);
}

/* ---- databases ---- */

static enum mg_code has_database(const struct mg_flight__put *put, const char *name, bool *out, struct mg_error *err)
{
    struct mg_snapshot *snapshot;

    MG_TRY(newest(put, &snapshot, err));
    enum mg_code code = mg_flight__has_database(snapshot, mg_slice_text(name), out, err);
    ops_of(put)->snapshot_unref(snapshot);
    return code;
}

/* ---- what is there ---- */

/* *out NULL: there is no such table. */
static enum mg_code find_table(const struct mg_flight__put *put, struct mg_schema **out, struct mg_error *err)
{
    const Magic__V1__PutDescriptor *descriptor = put->descriptor;
    struct mg_error local = MG_ERROR_INIT;
    struct mg_snapshot *snapshot;

    *out = NULL;
    MG_TRY(newest(put, &snapshot, err));
    enum mg_code code = ops_of(put)->table_by_name(snapshot, mg_slice_text(descriptor->database),
                                                   mg_slice_text(descriptor->table), out, &local);
    ops_of(put)->snapshot_unref(snapshot);
    return code == MG_OK || code == MG_NOT_FOUND ? MG_OK : mg_fail(err, code, "%s", local.text);
}

static enum mg_code check_owner(const struct mg_schema *schema, struct mg_error *err)
{
    if (strcmp(schema->source, MG_FLIGHT__LOCAL) == 0)
        return MG_OK;
    return mg_fail(err, MG_INVALID,
                   "table %s.%s is owned by source %s, which alone may change it; load into a table of another name",
                   schema->database, schema->table, schema->source[0] ? schema->source : "(none)");
}

static enum mg_code check_mode(const struct mg_flight__put *put, const struct mg_schema *found, struct mg_error *err)
{
    const Magic__V1__PutDescriptor *descriptor = put->descriptor;

    if (found)
        MG_TRY(check_owner(found, err));
    if (found && descriptor->mode == MAGIC__V1__PUT_DESCRIPTOR__MODE__CREATE)
        return mg_fail(err, MG_EXISTS, "table %s.%s is there already; append to it or replace it", found->database,
                       found->table);
    if (!found && descriptor->mode == MAGIC__V1__PUT_DESCRIPTOR__MODE__APPEND)
        return mg_fail(err, MG_NOT_FOUND,
                       "there is no table %.150s.%.150s to append to; create it, which needs the names of its key",
                       descriptor->database, descriptor->table);
    return MG_OK;
}

/* ---- a new table ---- */

static enum mg_code add_column(struct mg_schema *schema, const struct mg_field *field, struct mg_error *err)
{
    struct mg_column *column;
    char type[48];

    MG_TRY(mg_schema_add_column(schema, &column, err));
    mg_type_format(field->type, type);
    MG_TRY(mg_schema_text(&column->name, field->name, err));
    MG_TRY(mg_schema_text(&column->source_type, mg_slice_text(type), err));
    column->id = schema->column_count;
    column->type = field->type;
    column->nullable = field->nullable;
    column->missing.is_null = true;
    return MG_OK;
}

/* The key of the descriptor, else that of the table that is replaced. */
static enum mg_code set_key(struct mg_schema *schema, const Magic__V1__PutDescriptor *descriptor,
                            const struct mg_schema *old, struct mg_error *err)
{
    size_t count = descriptor->n_key ? descriptor->n_key : old ? old->key_count : 0;

    if (count == 0)
        return mg_fail(err, MG_INVALID, "table %s.%s is made, and a table has a key: name its columns",
                       descriptor->database, descriptor->table);
    if (count > MG_KEY_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a key of %zu columns, at most %d are possible", count, MG_KEY_COLUMNS_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *name = descriptor->n_key ? descriptor->key[i] : old->columns[old->key_columns[i]].name;
        int place = mg_schema_find_name(schema, mg_slice_text(name));
        if (place < 0)
            return mg_fail(err, MG_INVALID, "the key names column %.100s, which the stream does not have", name);
        schema->key_columns[schema->key_count++] = (uint32_t)place;
        schema->columns[place].nullable = false;
    }
    return MG_OK;
}

static enum mg_code make_schema(struct mg_flight__put *put, const struct mg_schema *old, struct mg_schema **out,
                                struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = mg_schema_new();
    struct mg_engine *engine = put->request->flight->engine;

    if (!schema)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table");
    MG_TRY(engine->ops->reserve(engine, &schema->table_id, &schema->version, err));
    const char *database = put->unseen ? MG_FLIGHT__LOADING : put->descriptor->database;
    MG_TRY(mg_schema_text(&schema->database, mg_slice_text(database), err));
    MG_TRY(mg_schema_text(&schema->table, mg_slice_text(put->descriptor->table), err));
    MG_TRY(mg_schema_text(&schema->source, mg_slice_text(MG_FLIGHT__LOCAL), err));
    for (uint32_t i = 0; i < put->field_count; i++)
        MG_TRY(add_column(schema, &put->fields[i], err));
    MG_TRY(set_key(schema, put->descriptor, old, err));
    MG_TRY(mg_schema_seal(schema, err));
    *out = MG_TAKE(schema);
    return MG_OK;
}

/* old: the table that is replaced, or NULL. */
static enum mg_code make_table(struct mg_flight__put *put, const struct mg_schema *old, struct mg_error *err)
{
    const char *database = put->unseen ? MG_FLIGHT__LOADING : put->descriptor->database;
    struct mg_schema_change changes[2];
    uint32_t count = 0;
    bool there = false;

    MG_TRY(make_schema(put, old, &put->schema, err));
    MG_TRY(has_database(put, database, &there, err));
    if (!there)
        changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_CREATE_DATABASE, .database = database};
    changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = put->schema};
    return mg_flight__put_changes(put, changes, count, err);
}

/* ---- a table that is there ---- */

static enum mg_code check_key(const struct mg_schema *schema, const Magic__V1__PutDescriptor *descriptor,
                              struct mg_error *err)
{
    bool same = descriptor->n_key == schema->key_count;

    for (uint32_t i = 0; same && i < schema->key_count; i++)
        same = mg_schema_find_name(schema, mg_slice_text(descriptor->key[i])) == (int)schema->key_columns[i];
    return same || descriptor->n_key == 0
               ? MG_OK
               : mg_fail(err, MG_INVALID, "table %s.%s has another key than the one that was named", schema->database,
                         schema->table);
}

static enum mg_code use_table(struct mg_flight__put *put, struct mg_schema *found, struct mg_error *err)
{
    struct mg_snapshot *snapshot;

    MG_TRY(newest(put, &snapshot, err));
    enum mg_code code = mg_flight__table_check(snapshot, found, &put->request->arena, err);
    ops_of(put)->snapshot_unref(snapshot);
    MG_TRY(code);
    MG_TRY(check_key(found, put->descriptor, err));
    put->schema = mg_schema_ref(found);
    return MG_OK;
}

/* ---- which column is which ---- */

static int find_field(const struct mg_flight__put *put, const char *name)
{
    for (uint32_t i = 0; i < put->field_count; i++)
        if (mg_name_compare(put->fields[i].name, mg_slice_text(name)) == 0)
            return (int)i;
    return -1;
}

static enum mg_code check_type(const struct mg_schema *schema, const struct mg_column *column,
                               const struct mg_field *field, struct mg_error *err)
{
    char have[48], want[48];

    if (mg_type_same_layout(field->type, column->type))
        return MG_OK;
    mg_type_format(field->type, have);
    mg_type_format(column->type, want);
    return mg_fail(err, MG_INVALID, "column %s of table %s.%s is %s, the stream's is %s", column->name,
                   schema->database, schema->table, want, have);
}

static enum mg_code map_columns(struct mg_flight__put *put, struct mg_error *err)
{
    const struct mg_schema *schema = put->schema;

    put->from = mg_arena_array(&put->request->arena, uint32_t, schema->column_count);
    if (!put->from)
        return mg_arena_fail(&put->request->arena, err);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        int place = find_field(put, schema->columns[i].name);
        if (place < 0)
            return mg_fail(err, MG_INVALID, "the stream has no column %s, which table %s.%s has",
                           schema->columns[i].name, schema->database, schema->table);
        MG_TRY(check_type(schema, &schema->columns[i], &put->fields[place], err));
        put->from[i] = (uint32_t)place;
    }
    for (uint32_t i = 0; i < put->field_count; i++)
        if (mg_schema_find_name(schema, put->fields[i].name) < 0)
            return mg_fail(err, MG_INVALID, "table %s.%s has no column %.*s", schema->database, schema->table,
                           (int)MG_MIN(put->fields[i].name.size, (size_t)100), (const char *)put->fields[i].name.data);
    return put->field_count == schema->column_count ? MG_OK : mg_fail(err, MG_INVALID, "the stream has a column twice");
}

/* ---- from the beginning to the end ---- */

enum mg_code mg_flight__put_open(struct mg_flight__put *put, struct mg_error *err)
{
    const Magic__V1__PutDescriptor *descriptor = put->descriptor;
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *found = NULL;
    bool replace = descriptor->mode == MAGIC__V1__PUT_DESCRIPTOR__MODE__REPLACE;

    MG_TRY(mg_flight__put_sweep(put, err));
    MG_TRY(find_table(put, &found, err));
    MG_TRY(check_mode(put, found, err));
    put->rows_per_epoch = descriptor->rows_per_epoch;
    put->unseen = replace || (!found && descriptor->rows_per_epoch == 0);
    if (put->unseen && put->rows_per_epoch == 0)
        put->rows_per_epoch = MG_FLIGHT__PUT_EPOCH_ROWS;
    if (replace && found)
        put->replaced_id = found->table_id;
    MG_TRY(found && !replace ? use_table(put, found, err) : make_table(put, found, err));
    return map_columns(put, err);
}

enum mg_code mg_flight__put_show(struct mg_flight__put *put, struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *named = mg_schema_copy(put->schema);
    struct mg_engine *engine = put->request->flight->engine;
    struct mg_schema_change changes[4];
    uint32_t count = 0;
    bool there = false;

    if (!named)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table");
    MG_TRY(engine->ops->reserve(engine, NULL, &named->version, err));
    MG_TRY(mg_schema_text(&named->database, mg_slice_text(put->descriptor->database), err));
    MG_TRY(mg_schema_seal(named, err));
    MG_TRY(has_database(put, named->database, &there, err));
    if (!there)
        changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_CREATE_DATABASE, .database = named->database};
    if (put->replaced_id)
        changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_DROP_TABLE, .table_id = put->replaced_id};
    changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = named};
    changes[count++] = (struct mg_schema_change){.kind = MG_SCHEMA_DROP_DATABASE, .database = MG_FLIGHT__LOADING};
    MG_TRY(mg_flight__put_changes(put, changes, count, err));
    put->unseen = false;
    return MG_OK;
}

struct sweeping {
    struct mg_schema_change *changes;
    uint32_t count, max;
};

static enum mg_code sweep_table(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    struct sweeping *sweeping = arg;

    (void)err;
    if (mg_flight__is_loading(mg_slice_text(schema->database)) && sweeping->count < sweeping->max)
        sweeping->changes[sweeping->count++] = (struct mg_schema_change){.kind = MG_SCHEMA_DROP_TABLE,
                                                                         .table_id = schema->table_id};
    return MG_OK;
}

enum mg_code mg_flight__put_sweep(struct mg_flight__put *put, struct mg_error *err)
{
    struct mg_schema_change changes[2]; /* one table at most was being loaded */
    struct sweeping sweeping = {.changes = changes, .max = 1};
    struct mg_snapshot *snapshot;
    bool there = false;

    MG_TRY(has_database(put, MG_FLIGHT__LOADING, &there, err));
    if (!there)
        return MG_OK;
    MG_TRY(newest(put, &snapshot, err));
    enum mg_code code = ops_of(put)->list_tables(snapshot, sweep_table, &sweeping, err);
    ops_of(put)->snapshot_unref(snapshot);
    MG_TRY(code);
    changes[sweeping.count++] = (struct mg_schema_change){.kind = MG_SCHEMA_DROP_DATABASE,
                                                          .database = MG_FLIGHT__LOADING};
    return mg_flight__put_changes(put, changes, sweeping.count, err);
}
