/* sql_internal.h -- what parser and binder share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_QUERY_SQL_INTERNAL_H
#define MG_QUERY_SQL_INTERNAL_H

#include "query/sql/sql.h"

/* "2024-02-29[ 12:34:56[.789012][+02:00]]" to microseconds since 1970-01-01 00:00:00 UTC; false when it is none. */
bool mg_sql__parse_time(struct mg_slice text, int64_t *out_us);
/* A date when it is one, else a datetime. */
struct mg_value mg_sql__time_value(int64_t us);

#endif
