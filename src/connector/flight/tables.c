/* tables.c -- tables for people and clients: TableInfo, and ListFlights.
 *
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "connector/flight/flight_internal.h"
#include "engine/name.h"

static char *text_or_empty(const char *text, struct mg_arena *arena)
{
    return mg_arena_text(arena, mg_slice_text(text ? text : ""));
}

/* ---- a list of tables ---- */

struct collecting {
    struct mg_flight__tables *tables;
    struct mg_slice database, table; /* empty: all */
    struct mg_arena *arena;
    uint32_t capacity;
};

static enum mg_code collect(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    struct collecting *collecting = arg;
    struct mg_flight__tables *tables = collecting->tables;

    if (mg_flight__is_loading(mg_slice_text(schema->database)))
        return MG_OK;
    if (collecting->database.size && mg_name_compare(collecting->database, mg_slice_text(schema->database)) != 0)
        return MG_OK;
    if (collecting->table.size && mg_name_compare(collecting->table, mg_slice_text(schema->table)) != 0)
        return MG_OK;
    if (tables->count == collecting->capacity) {
        uint32_t capacity = collecting->capacity ? collecting->capacity * 2 : 64;
        struct mg_schema **wider = mg_arena_array(collecting->arena, struct mg_schema *, capacity);
        if (!wider)
            return mg_arena_fail(collecting->arena, err);
        if (tables->count)
            memcpy(wider, tables->at, tables->count * sizeof *wider);
        tables->at = wider;
        collecting->capacity = capacity;
    }
    tables->at[tables->count++] = mg_schema_ref(schema);
    return MG_OK;
}

enum mg_code mg_flight__tables_collect(struct mg_flight__tables *tables, const struct mg_snapshot *snapshot,
                                       struct mg_slice database, struct mg_slice table, struct mg_arena *arena,
                                       struct mg_error *err)
{
    struct collecting collecting = {.tables = tables, .database = database, .table = table, .arena = arena};

    return snapshot->engine->ops->list_tables(snapshot, collect, &collecting, err);
}

void mg_flight__tables_clear(struct mg_flight__tables *tables)
{
    for (uint32_t i = 0; i < tables->count; i++)
        mg_schema_unref(tables->at[i]);
    tables->count = 0;
}

/* ---- databases ---- */

struct seeking {
    struct mg_slice name;
    bool found;
};

static enum mg_code seek_database(void *arg, const char *name, struct mg_error *err)
{
    struct seeking *seeking = arg;

    (void)err;
    seeking->found |= mg_name_compare(seeking->name, mg_slice_text(name)) == 0;
    return MG_OK;
}

enum mg_code mg_flight__has_database(const struct mg_snapshot *snapshot, struct mg_slice name, bool *out,
                                     struct mg_error *err)
{
    struct seeking seeking = {.name = name};

    MG_TRY(snapshot->engine->ops->list_databases(snapshot, seek_database, &seeking, err));
    *out = seeking.found;
    return MG_OK;
}

/* ---- one table ---- */

static enum mg_code put_columns(const struct mg_schema *schema, struct mg_arena *arena, Magic__V1__TableInfo *info,
                                struct mg_error *err)
{
    info->columns = mg_arena_array(arena, Magic__V1__ColumnInfo *, (size_t)schema->column_count + 1);
    if (!info->columns)
        return mg_arena_fail(arena, err);
    for (uint32_t place = 0; place < schema->column_count; place++) {
        const struct mg_column *column = &schema->columns[place];
        Magic__V1__ColumnInfo *proto = mg_arena_new(arena, Magic__V1__ColumnInfo);
        char type[48];
        if (column->hidden)
            continue;
        if (!proto)
            return mg_arena_fail(arena, err);
        mg_type_format(column->type, type);
        magic__v1__column_info__init(proto);
        proto->name = text_or_empty(column->name, arena);
        proto->id = column->id;
        proto->source_type = text_or_empty(column->source_type, arena);
        proto->type = text_or_empty(type, arena);
        proto->nullable = column->nullable;
        proto->key = mg_schema_is_key(schema, place);
        if (!proto->name || !proto->source_type || !proto->type)
            return mg_arena_fail(arena, err);
        info->columns[info->n_columns++] = proto;
    }
    return MG_OK;
}

enum mg_code mg_flight__table_info(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                   struct mg_arena *arena, Magic__V1__TableInfo **out, struct mg_error *err)
{
    Magic__V1__TableInfo *info = mg_arena_new(arena, Magic__V1__TableInfo);
    struct mg_table_stats stats = {0};
    struct mg_flight__state at;

    if (!info)
        return mg_arena_fail(arena, err);
    MG_TRY(mg_flight__state_at(snapshot, schema, arena, &at, err));
    magic__v1__table_info__init(info);
    info->database = text_or_empty(schema->database, arena);
    info->table = text_or_empty(schema->table, arena);
    info->state = text_or_empty(mg_flight__state_name(at.state), arena);
    info->reason = text_or_empty(at.reason, arena);
    if (!info->database || !info->table || !info->state || !info->reason)
        return mg_arena_fail(arena, err);
    info->table_id = schema->table_id;
    info->schema_version = schema->version;
    info->good_until_ts = at.good_until_ts;
    MG_TRY(snapshot->engine->ops->stats(snapshot, schema->table_id, &stats, err));
    info->row_count = stats.row_count;
    info->size_bytes = stats.size_bytes;
    char *needs_verify;
    MG_TRY(mg_flight__verified_table(snapshot->engine, schema->table_id, arena, info, &needs_verify, err));
    if (needs_verify)
        info->needs_verify = needs_verify;
    MG_TRY(put_columns(schema, arena, info, err));
    *out = info;
    return MG_OK;
}

/* ---- ListFlights ---- */

/* Each table is sent and forgotten, so the arena holds one at a time. */
struct listing {
    struct mg_flight__request *request;
    const struct mg_snapshot *snapshot;
    struct mg_arena arena; /* of one table */
    struct mg_buffer schema;
};

static enum mg_code list_one(struct listing *listing, const struct mg_schema *schema, struct mg_error *err)
{
    struct mg_arena *arena = &listing->arena;
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    Arrow__Flight__Protocol__FlightInfo info = ARROW__FLIGHT__PROTOCOL__FLIGHT_INFO__INIT;
    Magic__V1__TableInfo *table = NULL;
    struct mg_field *fields = NULL;
    struct mg_slice metadata, bytes;
    uint32_t count = 0;

    mg_arena_reset(arena);
    mg_buffer_reset(&listing->schema);
    MG_TRY(mg_flight__table_info(listing->snapshot, schema, arena, &table, err));
    MG_TRY(mg_flight__fields(schema, MG_PROFILE_ARROW, arena, &fields, &count, err));
    MG_TRY(mg_ipc_encode_schema(fields, count, true, &listing->schema, err));
    MG_TRY(mg_flight__pack(&table->base, arena, &metadata, err));

    char *path[2] = {table->database, table->table};
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__PATH;
    descriptor.path = path;
    descriptor.n_path = 2;
    info.flight_descriptor = &descriptor;
    info.schema = mg_flight__binary(mg_buffer_slice(&listing->schema));
    info.total_records = schema->state == MG_STATE_OK ? (int64_t)table->row_count : -1;
    info.total_bytes = schema->state == MG_STATE_OK ? (int64_t)table->size_bytes : -1;
    info.app_metadata = mg_flight__binary(metadata);
    MG_TRY(mg_flight__pack(&info.base, arena, &bytes, err));
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
    return mg_grpc_call_send(listing->request->call, &piece, 1, NULL, NULL, err);
}

static enum mg_code list_flights(struct mg_flight__request *request, struct mg_error *err)
{
    enum { TABLE_BYTES_MAX = 16 << 20, SCHEMA_BYTES_MAX = 4 << 20 };
    const struct mg_engine_ops *ops = request->flight->engine->ops;
    Arrow__Flight__Protocol__Criteria *criteria = NULL;
    struct listing listing = {.request = request};
    struct mg_flight__tables tables = {0};
    struct mg_snapshot *snapshot = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__criteria__descriptor, request->bytes, "the criteria",
                             &request->arena, &criteria, err));
    MG_TRY(ops->snapshot(request->flight->engine, &snapshot, err));
    listing.snapshot = snapshot;
    mg_arena_init(&listing.arena, TABLE_BYTES_MAX);
    mg_buffer_init(&listing.schema, SCHEMA_BYTES_MAX);
    enum mg_code code = mg_flight__tables_collect(&tables, snapshot, mg_flight__bytes(criteria->expression),
                                                  MG_SLICE(NULL, 0), &request->arena, err);
    for (uint32_t i = 0; code == MG_OK && i < tables.count; i++)
        code = list_one(&listing, tables.at[i], err);
    mg_flight__tables_clear(&tables);
    mg_buffer_clear(&listing.schema);
    mg_arena_clear(&listing.arena);
    ops->snapshot_unref(snapshot);
    return code;
}

enum mg_code mg_flight__list_flights(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = list_flights(&request, err);
    mg_flight__request_end(&request);
    return code;
}
