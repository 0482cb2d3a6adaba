/* scan_spec.h -- what every engine asks of a scan's or look-up's specification before it starts.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_SCAN_SPEC_H
#define MG_ENGINE_SCAN_SPEC_H

#include "engine/engine.h"

MG_MUST_CHECK static inline enum mg_code mg_scan_spec_check(const struct mg_schema *schema,
                                                            const struct mg_scan_spec *spec, struct mg_error *err)
{
    for (uint32_t i = 0; i < spec->column_count; i++)
        if (spec->columns[i] >= schema->column_count)
            return mg_fail(err, MG_INVALID, "table %s.%s has %u columns; column %u was asked for", schema->database,
                           schema->table, schema->column_count, spec->columns[i]);
    for (uint32_t i = 0; i < spec->order_count; i++)
        if (spec->order[i].column >= schema->column_count)
            return mg_fail(err, MG_INVALID, "table %s.%s has %u columns; an order of column %u was asked for",
                           schema->database, schema->table, schema->column_count, spec->order[i].column);
    if (spec->order_count &&
        (spec->limit == 0 || spec->limit > MG_TOP_ROWS_MAX || spec->order_count > MG_TOP_ORDER_MAX))
        return mg_fail(
            err, MG_INVALID,
            "an order of %u columns with a limit of %llu rows: up to %d columns and a limit from 1 to %d are "
            "possible",
            spec->order_count, (unsigned long long)spec->limit, (int)MG_TOP_ORDER_MAX, (int)MG_TOP_ROWS_MAX);
    if (spec->aggregate && (spec->column_count || spec->limit || spec->order_count))
        return mg_fail(err, MG_INVALID, "a scan gives aggregates, or columns of rows, ordered or limited, not both");
    if (spec->aggregate && spec->aggregate->schema_column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "an aggregate was made for another schema than that of table %s.%s",
                       schema->database, schema->table);
    return MG_OK;
}

/* The same of keys to look up. */
MG_MUST_CHECK static inline enum mg_code mg_find_spec_check(const struct mg_schema *schema,
                                                            const struct mg_find_spec *spec, struct mg_error *err)
{
    if (spec->key_count > MG_FIND_KEYS_MAX)
        return mg_fail(err, MG_TOO_BIG, "%u keys of table %s.%s at once; up to %d can be looked up", spec->key_count,
                       schema->database, schema->table, (int)MG_FIND_KEYS_MAX);
    for (uint32_t i = 0; i < spec->column_count; i++)
        if (spec->columns[i] >= schema->column_count)
            return mg_fail(err, MG_INVALID, "table %s.%s has %u columns; column %u was asked for", schema->database,
                           schema->table, schema->column_count, spec->columns[i]);
    return MG_OK;
}

#endif
