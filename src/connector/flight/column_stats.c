/* column_stats.c -- the action magic.stats: what is known of a table's columns, for optimizers and people.
 *
 * Bounds travel as the SQL text of their values, like statistics of files do; ColumnInfo of magic.tables has the types.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "connector/flight/flight_internal.h"

static enum mg_code put_bound(const struct mg_value *value, struct mg_arena *arena, ProtobufCBinaryData *out,
                              struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer text;

    mg_buffer_init(&text, 1 << 30);
    MG_TRY(mg_value_format(value, &text, err));
    struct mg_slice copy = mg_arena_copy(arena, mg_buffer_slice(&text));
    if (text.size && !copy.data)
        return mg_arena_fail(arena, err);
    *out = mg_flight__binary(copy);
    return MG_OK;
}

static enum mg_code put_column(const struct mg_column *column, const struct mg_column_stats *stats,
                               struct mg_arena *arena, Magic__V1__TableStats *out, struct mg_error *err)
{
    Magic__V1__ColumnStats *proto = mg_arena_new(arena, Magic__V1__ColumnStats);

    if (!proto)
        return mg_arena_fail(arena, err);
    magic__v1__column_stats__init(proto);
    proto->name = mg_arena_text(arena, mg_slice_text(column->name));
    if (!proto->name)
        return mg_arena_fail(arena, err);
    proto->id = column->id;
    proto->null_count = stats->null_count;
    proto->distinct_count = stats->distinct_count;
    proto->exact = stats->is_exact;
    proto->has_bounds = stats->has_bounds;
    proto->bounds_exact = stats->has_bounds && stats->bounds_exact;
    if (stats->has_bounds) {
        MG_TRY(put_bound(&stats->low, arena, &proto->low, err));
        MG_TRY(put_bound(&stats->high, arena, &proto->high, err));
    }
    out->columns[out->n_columns++] = proto;
    return MG_OK;
}

/* By place; no names: all. The requester's schema may be another one: names that are not there are left out. */
static enum mg_code find_wanted(const struct mg_schema *schema, const Magic__V1__StatsRequest *request,
                                struct mg_arena *arena, const bool **out, struct mg_error *err)
{
    bool *wanted = mg_arena_array(arena, bool, (size_t)schema->column_count + 1);

    if (!wanted)
        return mg_arena_fail(arena, err);
    for (uint32_t c = 0; c < schema->column_count; c++)
        wanted[c] = request->n_columns == 0 && !schema->columns[c].hidden;
    for (size_t i = 0; i < request->n_columns; i++) {
        int place = mg_schema_find_name(schema, mg_slice_text(request->columns[i]));
        if (place >= 0 && !schema->columns[place].hidden)
            wanted[place] = true;
    }
    *out = wanted;
    return MG_OK;
}

static enum mg_code put_columns(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                const Magic__V1__StatsRequest *request, struct mg_arena *arena,
                                Magic__V1__TableStats *out, struct mg_error *err)
{
    struct mg_column_stats *stats;
    const bool *wanted = NULL;

    MG_TRY(mg_flight__table_check(snapshot, schema, arena, err));
    MG_TRY(find_wanted(schema, request, arena, &wanted, err));
    MG_TRY(snapshot->engine->ops->column_stats(snapshot, schema->table_id, wanted, arena, &stats, err));
    out->columns = mg_arena_array(arena, Magic__V1__ColumnStats *, (size_t)schema->column_count + 1);
    if (!out->columns)
        return mg_arena_fail(arena, err);
    for (uint32_t c = 0; c < schema->column_count; c++)
        if (wanted[c])
            MG_TRY(put_column(&schema->columns[c], &stats[c], arena, out, err));
    return MG_OK;
}

enum mg_code mg_flight__table_stats(const struct mg_snapshot *snapshot, const Magic__V1__StatsRequest *request,
                                    struct mg_arena *arena, Magic__V1__TableStats *out, struct mg_error *err)
{
    const char *database = request->database, *table = request->table;
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = NULL;
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    struct mg_table_stats stats;

    MG_TRY(ops->table_by_name(snapshot, mg_slice_text(database), mg_slice_text(table), &schema, err));
    if (mg_flight__is_loading(mg_slice_text(schema->database)))
        return mg_fail(err, MG_NOT_FOUND, "there is no table %.100s.%.100s", database, table);
    MG_TRY(put_columns(snapshot, schema, request, arena, out, err));
    MG_TRY(ops->stats(snapshot, schema->table_id, &stats, err));
    out->database = mg_arena_text(arena, mg_slice_text(schema->database));
    out->table = mg_arena_text(arena, mg_slice_text(schema->table));
    if (!out->database || !out->table)
        return mg_arena_fail(arena, err);
    out->schema_version = schema->version;
    out->row_count = stats.row_count;
    out->size_bytes = stats.size_bytes;
    return mg_flight__snapshot_proto(snapshot, arena, &out->snapshot, err);
}
