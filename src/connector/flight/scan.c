/* scan.c -- a scan descriptor held against a snapshot: which table, which columns under which types, which rows.
 *
 * Columns  in the order asked for, by name without letter case; repeated names give repeated columns. None named = all
 *          that are not hidden, in the schema's order. Hidden ones leave only when named. With aggregates: their own.
 * Errors   NOT_FOUND names table or column; TABLE_UNSUPPORTED and TABLE_NEEDS_RELOAD as in state.c; SCHEMA_CHANGED when
 *          the descriptor was made for another version.
 * Threads  a scan belongs to its handler's thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "connector/flight/flight_internal.h"

/* ---- columns ---- */

static struct mg_field field_of(const struct mg_column *column, enum mg_profile profile)
{
    return (struct mg_field){
        .name = mg_slice_text(column->name),
        .type = mg_profile_type(profile, column->type),
        .nullable = column->nullable,
        .source_type = mg_slice_text(column->source_type),
    };
}

static enum mg_code alloc_columns(struct mg_flight__scan *scan, size_t count, struct mg_arena *arena,
                                  struct mg_error *err)
{
    scan->names = mg_arena_array(arena, const char *, count + 1);
    scan->columns = mg_arena_array(arena, uint32_t, count + 1);
    scan->fields = mg_arena_array(arena, struct mg_field, count + 1);
    if (!scan->names || !scan->columns || !scan->fields)
        return mg_arena_fail(arena, err);
    return MG_OK;
}

static void add_column(struct mg_flight__scan *scan, uint32_t place)
{
    const struct mg_column *column = &scan->schema->columns[place];

    scan->names[scan->column_count] = column->name;
    scan->columns[scan->column_count] = place;
    scan->fields[scan->column_count] = field_of(column, scan->profile);
    scan->column_count++;
    scan->field_count++;
}

static enum mg_code find_column(const struct mg_schema *schema, const char *name, uint32_t *out, struct mg_error *err)
{
    int place = mg_schema_find_name(schema, mg_slice_text(name));

    if (place < 0)
        return mg_fail(err, MG_NOT_FOUND, "table %s.%s has no column %.200s", schema->database, schema->table, name);
    *out = (uint32_t)place;
    return MG_OK;
}

static enum mg_code choose_columns(struct mg_flight__scan *scan, const Magic__V1__ScanDescriptor *descriptor,
                                   struct mg_arena *arena, struct mg_error *err)
{
    const struct mg_schema *schema = scan->schema;

    if (descriptor->n_columns > MG_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "scan names %zu columns, at most %d are possible", descriptor->n_columns,
                       (int)MG_COLUMNS_MAX);
    if (descriptor->no_columns && descriptor->n_columns > 0)
        return mg_fail(err, MG_INVALID, "scan names columns and says no_columns");
    scan->no_columns = descriptor->no_columns;
    if (descriptor->no_columns)
        return alloc_columns(scan, 0, arena, err);
    if (descriptor->n_columns == 0) {
        MG_TRY(alloc_columns(scan, schema->column_count, arena, err));
        for (uint32_t place = 0; place < schema->column_count; place++)
            if (!schema->columns[place].hidden)
                add_column(scan, place);
        return MG_OK;
    }
    MG_TRY(alloc_columns(scan, descriptor->n_columns, arena, err));
    for (size_t i = 0; i < descriptor->n_columns; i++) {
        uint32_t place = 0;
        MG_TRY(find_column(schema, descriptor->columns[i], &place, err));
        add_column(scan, place);
    }
    return MG_OK;
}

enum mg_code mg_flight__fields(const struct mg_schema *schema, enum mg_profile profile, struct mg_arena *arena,
                               struct mg_field **out, uint32_t *out_count, struct mg_error *err)
{
    struct mg_field *fields = mg_arena_array(arena, struct mg_field, (size_t)schema->column_count + 1);
    uint32_t count = 0;

    if (!fields)
        return mg_arena_fail(arena, err);
    for (uint32_t place = 0; place < schema->column_count; place++)
        if (!schema->columns[place].hidden)
            fields[count++] = field_of(&schema->columns[place], profile);
    *out = fields;
    *out_count = count;
    return MG_OK;
}

/* Spark's texts are bytes; MySQL's have a collation. */
static enum mg_code choose_order(struct mg_flight__scan *scan, const Magic__V1__ScanDescriptor *descriptor,
                                 struct mg_arena *arena, struct mg_error *err)
{
    if (descriptor->n_order == 0)
        return MG_OK;
    if (descriptor->n_order > MG_TOP_ORDER_MAX || scan->limit == 0 || scan->limit > MG_TOP_ROWS_MAX)
        return mg_fail(err, MG_INVALID,
                       "scan orders by %zu columns with a limit of %" PRIu64
                       " rows; up to %d columns and a limit from 1 to %d are possible",
                       descriptor->n_order, scan->limit, (int)MG_TOP_ORDER_MAX, (int)MG_TOP_ROWS_MAX);
    scan->order = mg_arena_array(arena, struct mg_top_order, descriptor->n_order);
    if (!scan->order)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < descriptor->n_order; i++) {
        struct mg_top_order *order = &scan->order[i];
        MG_TRY(find_column(scan->schema, descriptor->order[i]->column, &order->column, err));
        order->is_descending = descriptor->order[i]->descending;
        order->nulls_last = descriptor->order[i]->nulls_last;
        order->is_bytewise = scan->profile == MG_PROFILE_SPARK;
    }
    scan->order_count = (uint32_t)descriptor->n_order;
    return MG_OK;
}

/* ---- the whole ---- */

static enum mg_code choose_aggregate(struct mg_flight__scan *scan, const Magic__V1__ScanDescriptor *descriptor,
                                     struct mg_arena *arena, struct mg_error *err)
{
    if (descriptor->n_columns || descriptor->no_columns || descriptor->limit || descriptor->n_order)
        return mg_fail(err, MG_INVALID, "a scan asks for aggregates, and for columns or a limit or an order");
    MG_TRY(
        mg_flight__aggregate_read(descriptor->aggregation, scan->schema, scan->profile, arena, &scan->aggregate, err));
    MG_TRY(alloc_columns(scan, 0, arena, err));
    scan->field_count = scan->aggregate->column_count;
    return mg_flight__aggregate_fields(scan->aggregate, arena, &scan->fields, err);
}

/* scan->schema is set: the rest of the descriptor against it. */
static enum mg_code resolve_rest(struct mg_flight__scan *scan, const struct mg_snapshot *snapshot,
                                 const Magic__V1__ScanDescriptor *descriptor, uint64_t schema_version,
                                 struct mg_arena *arena, struct mg_error *err)
{
    const struct mg_schema *schema = scan->schema;
    struct mg_expr *expr = NULL;

    MG_TRY(mg_flight__table_check(snapshot, schema, arena, err));
    if (schema_version != 0 && schema_version != schema->version)
        return mg_fail(err, MG_SCHEMA_CHANGED,
                       "table %s.%s has schema version %" PRIu64 " at this snapshot, the request was made for %" PRIu64,
                       schema->database, schema->table, schema->version, schema_version);
    if (descriptor->profile != MAGIC__V1__OUTPUT_PROFILE__ARROW &&
        descriptor->profile != MAGIC__V1__OUTPUT_PROFILE__SPARK)
        return mg_fail(err, MG_INVALID, "scan asks for an unknown output profile (%d)", (int)descriptor->profile);
    scan->profile = (enum mg_profile)descriptor->profile;
    scan->limit = descriptor->limit;
    if (descriptor->aggregation)
        MG_TRY(choose_aggregate(scan, descriptor, arena, err));
    else
        MG_TRY(choose_columns(scan, descriptor, arena, err));
    MG_TRY(choose_order(scan, descriptor, arena, err));
    MG_TRY(mg_flight__predicate_read(descriptor->predicate, arena, &expr, err));
    if (expr)
        MG_TRY(mg_predicate_bind(expr, schema, &scan->predicate, err));
    return MG_OK;
}

enum mg_code mg_flight__scan_resolve(struct mg_flight__scan *scan, const struct mg_snapshot *snapshot,
                                     const Magic__V1__ScanDescriptor *descriptor, struct mg_arena *arena,
                                     struct mg_error *err)
{
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    struct mg_error local = MG_ERROR_INIT;

    if (!descriptor->database[0] || !descriptor->table[0])
        return mg_fail(err, MG_INVALID, "a scan names a database and a table");
    enum mg_code code = MG_NOT_FOUND;
    if (!mg_flight__is_loading(mg_slice_text(descriptor->database)))
        code = ops->table_by_name(snapshot, mg_slice_text(descriptor->database), mg_slice_text(descriptor->table),
                                  &scan->schema, &local);
    if (code == MG_NOT_FOUND)
        return mg_fail(err, MG_NOT_FOUND, "there is no table %.150s.%.150s at snapshot %" PRIu64, descriptor->database,
                       descriptor->table, ops->snapshot_epoch(snapshot));
    if (code != MG_OK)
        return mg_fail(err, code, "%s", local.text);
    return resolve_rest(scan, snapshot, descriptor, descriptor->schema_version, arena, err);
}

enum mg_code mg_flight__scan_resolve_ticket(struct mg_flight__scan *scan, const struct mg_snapshot *snapshot,
                                            const Magic__V1__TicketBody *body, struct mg_arena *arena,
                                            struct mg_error *err)
{
    MG_TRY(snapshot->engine->ops->table_by_id(snapshot, body->table_id, &scan->schema, err));
    return resolve_rest(scan, snapshot, body->scan, body->schema_version, arena, err);
}

void mg_flight__scan_clear(struct mg_flight__scan *scan)
{
    mg_predicate_free(scan->predicate);
    mg_aggregate_free(scan->aggregate);
    mg_schema_unref(scan->schema);
    *scan = (struct mg_flight__scan){0};
}
