/* scan_spec.h -- what every engine asks of a scan's specification before it starts.
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
    if (spec->aggregate && (spec->column_count || spec->limit))
        return mg_fail(err, MG_INVALID, "a scan gives aggregates, or columns and a limited number of rows, not both");
    if (spec->aggregate && spec->aggregate->schema_column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "an aggregate was made for another schema than that of table %s.%s",
                       schema->database, schema->table);
    return MG_OK;
}

#endif
