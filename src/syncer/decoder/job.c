/* job.c -- picks from TiDB's JSON what job.h keeps.
 *
 * A field that is missing or null reads as zero, false or an empty text, as TiDB itself leaves out what later versions
 * add. What cannot be missing (a table's id, its columns' ids and types) is checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/job.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>

#include "column/schema.h"

enum { LIST_MAX = 1 << 20 }; /* entries of any list */

static void put_json(json_object **json) { json_object_put(*json); }
static void free_tokener(json_tokener **tokener)
{
    if (*tokener)
        json_tokener_free(*tokener);
}

/* ---- fields -------------------------------------------------------------------------------------------------- */

static json_object *get(json_object *object, const char *name)
{
    json_object *value = NULL;
    if (json_object_is_type(object, json_type_object))
        json_object_object_get_ex(object, name, &value);
    return value;
}
static int64_t get_int(json_object *object, const char *name)
{
    json_object *value = get(object, name);
    return json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : 0;
}
static uint64_t get_uint(json_object *object, const char *name)
{
    json_object *value = get(object, name);
    return json_object_is_type(value, json_type_int) ? json_object_get_uint64(value) : 0;
}
static bool get_bool(json_object *object, const char *name)
{
    json_object *value = get(object, name);
    return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}
static size_t get_list(json_object *object, const char *name, json_object **out)
{
    *out = get(object, name);
    return json_object_is_type(*out, json_type_array) ? json_object_array_length(*out) : 0;
}

/* NULL only when the arena is full. */
static const char *copy_text(struct mg_arena *arena, json_object *value)
{
    if (!json_object_is_type(value, json_type_string))
        return "";
    return mg_arena_text(arena, MG_SLICE(json_object_get_string(value), (size_t)json_object_get_string_len(value)));
}
static const char *get_text(struct mg_arena *arena, json_object *object, const char *name)
{
    return copy_text(arena, get(object, name));
}
/* {"O": "Name", "L": "name"}: as it was written. */
static const char *get_name(struct mg_arena *arena, json_object *object, const char *name)
{
    return get_text(arena, get(object, name), "O");
}

static enum mg_code parse(struct mg_slice text, json_object **out, struct mg_error *err)
{
    MG_CLEANUP(free_tokener) json_tokener *tokener = json_tokener_new();

    if (!tokener)
        return mg_fail(err, MG_NO_MEMORY, "no memory to read %zu bytes of JSON", text.size);
    if (text.size > INT_MAX)
        return mg_fail(err, MG_TOO_BIG, "the source's answer has %zu bytes, at most %d are read", text.size, INT_MAX);
    json_object *root = json_tokener_parse_ex(tokener, (const char *)text.data, (int)text.size);
    if (!root) {
        enum json_tokener_error error = json_tokener_get_error(tokener);
        return mg_fail(err, MG_PROTOCOL, "the source's answer (%zu bytes) is no JSON: %s at byte %zu", text.size,
                       error == json_tokener_continue ? "it is cut short" : json_tokener_error_desc(error),
                       json_tokener_get_parse_end(tokener));
    }
    *out = root;
    return MG_OK;
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static enum mg_code read_column(json_object *json, struct mg_arena *arena, struct mg_tidb_column *out,
                                struct mg_error *err)
{
    json_object *type = get(json, "type"), *origin = get(json, "origin_default");

    *out = (struct mg_tidb_column){
        .id = get_int(json, "id"),
        .name = get_name(arena, json, "name"),
        .state = (int)get_int(json, "state"),
        .type = (int)get_int(type, "Tp"),
        .flags = (uint32_t)get_uint(type, "Flag"),
        .length = get_int(type, "Flen"),
        .decimals = get_int(type, "Decimal"),
        .charset = get_text(arena, type, "Charset"),
        .collation = get_text(arena, type, "Collate"),
    };
    const char *generated = get_text(arena, json, "generated_expr_string");
    if (!out->name || !out->charset || !out->collation || !generated)
        return mg_arena_fail(arena, err);
    out->is_virtual = *generated && !get_bool(json, "generated_stored");
    if (origin && !json_object_is_type(origin, json_type_null)) {
        /* Nearly always a string; numbers are taken as they are written. */
        const char *text = json_object_get_string(origin);
        size_t size = json_object_is_type(origin, json_type_string) ? (size_t)json_object_get_string_len(origin)
                                                                    : strlen(text);
        out->origin_default = mg_arena_text(arena, MG_SLICE(text, size));
        out->origin_default_size = size;
        if (!out->origin_default)
            return mg_arena_fail(arena, err);
    }
    if (out->id == 0 || !*out->name) /* a view's columns have no type */
        return mg_fail(err, MG_PROTOCOL, "a column without id or name (id %lld, name \"%.64s\")", (long long)out->id,
                       out->name);
    return MG_OK;
}

/* The primary index's columns, for a table whose handle is made of them. */
static enum mg_code read_key(json_object *json, struct mg_tidb_table *out, struct mg_error *err)
{
    json_object *indexes, *columns;
    size_t index_count = get_list(json, "index_info", &indexes);

    for (size_t i = 0; i < index_count; i++) {
        json_object *index = json_object_array_get_idx(indexes, i);
        if (!get_bool(index, "is_primary"))
            continue;
        size_t count = get_list(index, "idx_cols", &columns);
        if (count == 0 || count > MG_TIDB_KEY_COLUMNS_MAX)
            return mg_fail(err, MG_UNIMPLEMENTED, "table %s: a primary key of %zu columns", out->name, count);
        for (size_t k = 0; k < count; k++) {
            json_object *column = json_object_array_get_idx(columns, k);
            int64_t place = get_int(column, "offset");
            if (place < 0 || place >= out->column_count)
                return mg_fail(err, MG_PROTOCOL, "table %s: the primary key names column place %lld of %u", out->name,
                               (long long)place, out->column_count);
            out->key[k].column = (uint32_t)place;
            out->key[k].length = get(column, "length") ? get_int(column, "length") : -1;
        }
        out->key_count = (uint32_t)count;
        return MG_OK;
    }
    return mg_fail(err, MG_PROTOCOL, "table %s has a clustered key and no primary index", out->name);
}

static enum mg_code read_table(json_object *json, struct mg_arena *arena, struct mg_tidb_table *out,
                               struct mg_error *err)
{
    json_object *columns;
    size_t count = get_list(json, "cols", &columns);

    *out = (struct mg_tidb_table){
        .id = get_int(json, "id"),
        .name = get_name(arena, json, "name"),
        .is_view = json_object_is_type(get(json, "view"), json_type_object),
        .is_sequence = json_object_is_type(get(json, "sequence"), json_type_object),
        .is_temporary = get_int(json, "temp_table_type") != 0,
        .has_ttl = get_bool(get(json, "ttl_info"), "enable"),
        .pk_is_handle = get_bool(json, "pk_is_handle"),
        .is_common_handle = get_bool(json, "is_common_handle"),
        .max_column_id = get_int(json, "max_col_id"),
    };
    if (!out->name)
        return mg_arena_fail(arena, err);
    if (out->id == 0 || !*out->name)
        return mg_fail(err, MG_PROTOCOL, "a table without id or name (id %lld, name \"%.64s\")", (long long)out->id,
                       out->name);
    if (count > MG_COLUMNS_MAX)
        return mg_fail(err, MG_PROTOCOL, "table %s has %zu columns", out->name, count);
    out->columns = mg_arena_array(arena, struct mg_tidb_column, count + 1);
    if (!out->columns)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < count; i++) {
        enum mg_code code = read_column(json_object_array_get_idx(columns, i), arena, &out->columns[i], err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "table %s", out->name);
        out->max_column_id = MG_MAX(out->max_column_id, out->columns[i].id);
    }
    out->column_count = (uint32_t)count;
    return out->is_common_handle ? read_key(json, out, err) : MG_OK;
}

/* A list of TableInfos; null entries are passed over. */
static enum mg_code read_tables(json_object *list, struct mg_arena *arena, struct mg_tidb_table **out,
                                uint32_t *out_count, struct mg_error *err)
{
    size_t count = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    uint32_t used = 0;

    if (count > LIST_MAX)
        return mg_fail(err, MG_PROTOCOL, "a list of %zu tables", count);
    struct mg_tidb_table *tables = mg_arena_array(arena, struct mg_tidb_table, count + 1);
    if (!tables)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < count; i++) {
        json_object *json = json_object_array_get_idx(list, i);
        if (json_object_is_type(json, json_type_object))
            MG_TRY(read_table(json, arena, &tables[used++], err));
    }
    *out = tables;
    *out_count = used;
    return MG_OK;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------- */

static enum mg_code read_names(json_object *json, struct mg_arena *arena, struct mg_ddl_job *job, struct mg_error *err)
{
    json_object *list;
    size_t count = get_list(json, "involving_schema_info", &list);

    if (count > LIST_MAX)
        return mg_fail(err, MG_PROTOCOL, "a list of %zu names", count);
    job->names = mg_arena_array(arena, struct mg_table_name, count + 1);
    if (!job->names)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);
        struct mg_table_name *name = &job->names[i];
        name->database = get_text(arena, item, "database");
        name->table = get_text(arena, item, "table");
        if (!name->database || !name->table)
            return mg_arena_fail(arena, err);
    }
    job->name_count = (uint32_t)count;
    return MG_OK;
}

static enum mg_code read_job(json_object *json, struct mg_arena *arena, struct mg_ddl_job *out, struct mg_error *err)
{
    json_object *binlog = get(json, "binlog"), *info = get(binlog, "TableInfo"), *database = get(binlog, "DBInfo");
    json_object *parts;

    *out = (struct mg_ddl_job){
        .id = get_int(json, "id"),
        .type = (int)get_int(json, "type"),
        .state = (int)get_int(json, "state"),
        .table_id = get_int(json, "table_id"),
        .database = get_text(arena, json, "schema_name"),
        .table = get_text(arena, json, "table_name"),
        .version = get_int(binlog, "SchemaVersion"),
        .finished_ts = get_uint(binlog, "FinishedTS"),
        .query = get_text(arena, json, "query"),
    };
    if (!out->database || !out->table || !out->query)
        return mg_arena_fail(arena, err);
    if (out->id <= 0)
        return mg_fail(err, MG_PROTOCOL, "a DDL job without an id");
    if (json_object_is_type(database, json_type_object)) {
        out->database_info = get_name(arena, database, "db_name");
        if (!out->database_info)
            return mg_arena_fail(arena, err);
    }
    if (json_object_is_type(info, json_type_object)) {
        out->info = mg_arena_new(arena, struct mg_tidb_table);
        if (!out->info)
            return mg_arena_fail(arena, err);
        MG_TRY(read_table(info, arena, out->info, err));
    }
    MG_TRY(read_tables(get(binlog, "MultipleTableInfos"), arena, &out->infos, &out->info_count, err));
    MG_TRY(read_names(json, arena, out, err));
    size_t part_count = get_list(get(json, "multi_schema_info"), "sub_jobs", &parts);
    for (size_t i = 0; i < part_count; i++) {
        int64_t type = get_int(json_object_array_get_idx(parts, i), "type");
        out->added_column_count += type == MG_DDL_ADD_COLUMN;
        out->dropped_column_count += type == MG_DDL_DROP_COLUMN;
    }
    return MG_OK;
}

enum mg_code mg_ddl_jobs_read(struct mg_slice text, struct mg_arena *arena, struct mg_ddl_job **out,
                              uint32_t *out_count, struct mg_error *err)
{
    MG_CLEANUP(put_json) json_object *root = NULL;

    MG_TRY(parse(text, &root, err));
    size_t count = json_object_is_type(root, json_type_array) ? json_object_array_length(root) : 0;
    if (!json_object_is_type(root, json_type_array) || count > LIST_MAX)
        return mg_fail(err, MG_PROTOCOL, "the DDL history is no list of jobs");
    struct mg_ddl_job *jobs = mg_arena_array(arena, struct mg_ddl_job, count + 1);
    if (!jobs)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < count; i++) {
        enum mg_code code = read_job(json_object_array_get_idx(root, i), arena, &jobs[i], err);
        if (code != MG_OK)
            return mg_fail_in(err, code, "DDL job %lld", (long long)jobs[i].id);
    }
    *out = jobs;
    *out_count = (uint32_t)count;
    return MG_OK;
}

/* ---- the current schema -------------------------------------------------------------------------------------- */

enum mg_code mg_tidb_databases_read(struct mg_slice text, struct mg_arena *arena, struct mg_tidb_database **out,
                                    uint32_t *out_count, struct mg_error *err)
{
    MG_CLEANUP(put_json) json_object *root = NULL;

    MG_TRY(parse(text, &root, err));
    size_t count = json_object_is_type(root, json_type_array) ? json_object_array_length(root) : 0;
    if (!json_object_is_type(root, json_type_array) || count > LIST_MAX)
        return mg_fail(err, MG_PROTOCOL, "the schema is no list of databases");
    struct mg_tidb_database *databases = mg_arena_array(arena, struct mg_tidb_database, count + 1);
    if (!databases)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < count; i++) {
        json_object *json = json_object_array_get_idx(root, i);
        databases[i].id = get_int(json, "id");
        databases[i].name = get_name(arena, json, "db_name");
        if (!databases[i].name)
            return mg_arena_fail(arena, err);
        if (!*databases[i].name)
            return mg_fail(err, MG_PROTOCOL, "a database without a name (id %lld)", (long long)databases[i].id);
    }
    *out = databases;
    *out_count = (uint32_t)count;
    return MG_OK;
}

enum mg_code mg_tidb_tables_read(struct mg_slice text, struct mg_arena *arena, struct mg_tidb_table **out,
                                 uint32_t *out_count, struct mg_error *err)
{
    MG_CLEANUP(put_json) json_object *root = NULL;

    if (text.size >= 4 && memcmp(text.data, "null", 4) == 0) { /* a database without tables */
        *out = NULL;
        *out_count = 0;
        return MG_OK;
    }
    MG_TRY(parse(text, &root, err));
    if (!json_object_is_type(root, json_type_array))
        return mg_fail(err, MG_PROTOCOL, "a database's schema is no list of tables");
    return read_tables(root, arena, out, out_count, err);
}

enum mg_code mg_tidb_db_table_read(struct mg_slice text, struct mg_arena *arena, const char **out_database,
                                   struct mg_tidb_table *out, struct mg_error *err)
{
    MG_CLEANUP(put_json) json_object *root = NULL;

    MG_TRY(parse(text, &root, err));
    const char *database = get_name(arena, get(root, "db_info"), "db_name");
    if (!database)
        return mg_arena_fail(arena, err);
    if (!*database)
        return mg_fail(err, MG_PROTOCOL, "a table's place names no database");
    MG_TRY(read_table(get(root, "table_info"), arena, out, err));
    *out_database = database;
    return MG_OK;
}

/* ---- names --------------------------------------------------------------------------------------------------- */

const char *mg_ddl_type_name(int type, char text[32])
{
    static const char *const names[] = {
        [1] = "create database",
        [2] = "drop database",
        [3] = "create table",
        [4] = "drop table",
        [5] = "add column",
        [6] = "drop column",
        [7] = "add index",
        [8] = "drop index",
        [9] = "add foreign key",
        [10] = "drop foreign key",
        [11] = "truncate table",
        [12] = "modify column",
        [13] = "rebase auto id",
        [14] = "rename table",
        [15] = "set default",
        [16] = "shard row id",
        [17] = "table comment",
        [18] = "rename index",
        [19] = "add partition",
        [20] = "drop partition",
        [21] = "create view",
        [22] = "table charset",
        [23] = "truncate partition",
        [24] = "drop view",
        [25] = "recover table",
        [26] = "database charset",
        [27] = "lock table",
        [28] = "unlock table",
        [29] = "repair table",
        [30] = "set TiFlash replica",
        [31] = "TiFlash replica status",
        [32] = "add primary key",
        [33] = "drop primary key",
        [34] = "create sequence",
        [35] = "alter sequence",
        [36] = "drop sequence",
        [37] = "add columns",
        [38] = "drop columns",
        [39] = "auto id cache",
        [40] = "rebase auto random",
        [41] = "index visibility",
        [42] = "exchange partition",
        [43] = "add check",
        [44] = "drop check",
        [45] = "alter check",
        [47] = "rename tables",
        [48] = "drop indexes",
        [49] = "table attributes",
        [50] = "partition attributes",
        [51] = "create placement policy",
        [52] = "alter placement policy",
        [53] = "drop placement policy",
        [54] = "partition placement",
        [55] = "database placement",
        [56] = "table placement",
        [57] = "cache table",
        [58] = "stats options",
        [59] = "no-cache table",
        [60] = "create tables",
        [61] = "multi-schema change",
        [62] = "flashback cluster",
        [63] = "recover database",
        [64] = "reorganize partition",
        [65] = "set TTL",
        [67] = "remove TTL",
        [68] = "create resource group",
        [69] = "alter resource group",
        [70] = "drop resource group",
        [71] = "alter partitioning",
        [72] = "remove partitioning",
    };
    const char *name = type > 0 && type < (int)MG_COUNT_OF(names) ? names[type] : NULL;
    if (name)
        return name;
    snprintf(text, 32, "action %d", type);
    return text;
}
