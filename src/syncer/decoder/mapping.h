/* mapping.h -- a TiDB table as Magic keeps it: types, key, and what rows hold that lack a column.
 *
 * The table of types is docs/design/tidb-types.md; which rows are one row: docs/design/tidb-identity.md.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_MAPPING_H
#define MG_SYNCER_MAPPING_H

#include "column/schema.h"
#include "syncer/decoder/job.h"

/* A new, unsealed schema with the table's names, columns and key. A table that cannot be kept has the state
 * UNSUPPORTED, a reason that names column and type, and no columns; one whose rows vanish without a binlog is
 * NEEDS_RELOAD. table_id, version and source are the caller's to set. */
MG_MUST_CHECK enum mg_code mg_tidb_schema(const struct mg_tidb_table *table, const char *database,
                                          struct mg_schema **out, struct mg_error *err);

/* "decimal(10,2) unsigned", for people. */
void mg_tidb_type_format(const struct mg_tidb_column *column, char text[64]);

#endif
