/* show.c -- statements that read no table: SHOW TABLES, SHOW DATABASES, as batches of text.
 *
 * They go the way of every result, ticket and stream, so that one client loop reads them all.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "connector/flight/flight_internal.h"
#include "engine/name.h"
#include "query/sql/sql.h"

enum { SHOW_BYTES_MAX = 64 << 20 };

static const char *const table_columns[] = {"database", "table", "rows", "state", "reason"};
static const char *const database_columns[] = {"database"};
enum { TABLE_ROWS_COLUMN = 2, TABLE_REASON_COLUMN = 4 };

enum mg_code mg_flight__show_fields(const char *sql, struct mg_arena *arena, struct mg_field **out, uint32_t *out_count,
                                    struct mg_error *err)
{
    struct mg_sql_statement statement;

    MG_TRY(mg_sql_parse(mg_slice_text(sql), arena, &statement, err));
    bool tables = statement.kind == MG_SQL_SHOW_TABLES;
    uint32_t count = tables ? MG_COUNT_OF(table_columns) : MG_COUNT_OF(database_columns);
    struct mg_field *fields = mg_arena_array(arena, struct mg_field, count);
    if (!fields)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        fields[i].name = mg_slice_text(tables ? table_columns[i] : database_columns[i]);
        fields[i].type.id = tables && i == TABLE_ROWS_COLUMN ? MG_TYPE_UINT64 : MG_TYPE_UTF8;
        fields[i].nullable = tables && (i == TABLE_ROWS_COLUMN || i == TABLE_REASON_COLUMN);
    }
    *out = fields;
    *out_count = count;
    return MG_OK;
}

/* Rows on their way into a batch. */
struct showing {
    const struct mg_snapshot *snapshot;
    struct mg_batch_builder builder;
    uint32_t row_count;
};

static enum mg_code show_table(struct showing *showing, const struct mg_schema *schema, struct mg_arena *arena,
                               struct mg_error *err)
{
    struct mg_batch_builder *builder = &showing->builder;
    struct mg_table_stats stats;
    struct mg_flight__state at;
    char *needs_verify;

    MG_TRY(mg_flight__state_at(showing->snapshot, schema, arena, &at, err));
    MG_TRY(mg_builder_text(builder, 0, mg_slice_text(schema->database), err));
    MG_TRY(mg_builder_text(builder, 1, mg_slice_text(schema->table), err));
    if (at.state == MG_STATE_OK) {
        MG_TRY(showing->snapshot->engine->ops->stats(showing->snapshot, schema->table_id, &stats, err));
        MG_TRY(mg_builder_uint(builder, TABLE_ROWS_COLUMN, stats.row_count, err));
    } else {
        MG_TRY(mg_builder_null(builder, TABLE_ROWS_COLUMN, err));
    }
    MG_TRY(mg_builder_text(builder, 3, mg_slice_text(mg_flight__state_name(at.state)), err));
    MG_TRY(mg_flight__verified_table(showing->snapshot->engine, schema->table_id, arena, NULL, &needs_verify, err));
    if (!at.reason && needs_verify) {
        at.reason = mg_arena_printf(arena, "needs-verify: %s", needs_verify);
        if (!at.reason)
            return mg_arena_fail(arena, err);
    }
    if (at.reason)
        MG_TRY(mg_builder_text(builder, TABLE_REASON_COLUMN, mg_slice_text(at.reason), err));
    else
        MG_TRY(mg_builder_null(builder, TABLE_REASON_COLUMN, err));
    showing->row_count++;
    return MG_OK;
}

static enum mg_code show_database(void *arg, const char *name, struct mg_error *err)
{
    struct showing *showing = arg;

    if (mg_flight__is_loading(mg_slice_text(name)))
        return MG_OK;
    showing->row_count++;
    return mg_builder_text(&showing->builder, 0, mg_slice_text(name), err);
}

static enum mg_code check_database(const struct mg_snapshot *snapshot, struct mg_slice name, struct mg_error *err)
{
    bool is_there;

    MG_TRY(mg_flight__has_database(snapshot, name, &is_there, err));
    if (!is_there || mg_flight__is_loading(name))
        return mg_fail(err, MG_NOT_FOUND, "there is no database %.*s", (int)MG_MIN(name.size, (size_t)MG_NAME_MAX),
                       (const char *)name.data);
    return MG_OK;
}

static enum mg_code show_tables(struct showing *showing, struct mg_slice database, struct mg_arena *arena,
                                struct mg_error *err)
{
    struct mg_flight__tables tables = {0};

    if (database.size)
        MG_TRY(check_database(showing->snapshot, database, err));
    enum mg_code code = mg_flight__tables_collect(&tables, showing->snapshot, database, MG_SLICE(NULL, 0), arena, err);
    for (uint32_t i = 0; code == MG_OK && i < tables.count; i++)
        code = show_table(showing, tables.at[i], arena, err);
    mg_flight__tables_clear(&tables);
    return code;
}

enum mg_code mg_flight__show_batch(const Magic__V1__SqlStatement *sql, const struct mg_snapshot *snapshot,
                                   struct mg_arena *arena, struct mg_budget *budget, struct mg_batch **out,
                                   struct mg_error *err)
{
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    struct showing showing = {.snapshot = snapshot};
    struct mg_sql_statement statement;
    struct mg_type types[MG_COUNT_OF(table_columns)];
    struct mg_field *fields = NULL;
    uint32_t field_count = 0;

    MG_TRY(mg_sql_parse(mg_slice_text(sql->sql), arena, &statement, err));
    MG_TRY(mg_flight__show_fields(sql->sql, arena, &fields, &field_count, err));
    for (uint32_t i = 0; i < field_count; i++)
        types[i] = fields[i].type;
    struct mg_slice database = statement.database.size ? statement.database : mg_slice_text(sql->database);
    MG_TRY(mg_batch_builder_init(&showing.builder, types, field_count, budget, SHOW_BYTES_MAX, err));
    enum mg_code code = statement.kind == MG_SQL_SHOW_TABLES
                            ? show_tables(&showing, database, arena, err)
                            : ops->list_databases(snapshot, show_database, &showing, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&showing.builder, showing.row_count, out, err);
    mg_batch_builder_clear(&showing.builder);
    return code;
}
