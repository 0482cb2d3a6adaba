/* sql.h -- the small SQL of this version: one SELECT over one table, SHOW TABLES, SHOW DATABASES, in MySQL's dialect.
 *
 *   SELECT * | column, ... FROM [database.]table [WHERE condition] [LIMIT n]
 *   SHOW TABLES [FROM database]      SHOW DATABASES
 *
 * Conditions: = <=> <> != < <= > >=, [NOT] IN (literals), [NOT] BETWEEN, IS [NOT] NULL, AND OR NOT, parentheses, over
 * columns and literals: numbers, 'text', X'41', TRUE, FALSE, NULL, DATE'2024-02-29', TIMESTAMP'2024-02-29
 * 12:34:56.789'. A column may have its table in front. Times are in UTC; one with an offset ("+02:00") is taken there.
 * Anything else is refused by its name, with line and column. mg_sql_bind then makes literals fit the table's columns
 * by MySQL's rules and marks comparisons that ignore trailing blanks.
 * Threads  pure functions over the caller's arena.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_QUERY_SQL_H
#define MG_QUERY_SQL_H

#include "base/arena.h"
#include "column/schema.h"
#include "expr/expr.h"

enum {
    MG_SQL_TEXT_MAX = 16 * 1024 * 1024, /* bytes of one statement */
};

enum mg_sql_kind { MG_SQL_SELECT, MG_SQL_SHOW_TABLES, MG_SQL_SHOW_DATABASES };

/* Lives in the arena it was parsed into. */
struct mg_sql_statement {
    enum mg_sql_kind kind;
    struct mg_slice database; /* empty: not said */
    struct mg_slice table;    /* SELECT */
    bool all_columns;         /* SELECT * */
    uint32_t column_count;
    const struct mg_slice *columns;
    struct mg_expr *where; /* NULL: all rows */
    bool has_limit;
    uint64_t limit;
};

/* One statement, perhaps closed by a semicolon. MG_INVALID: a mistake, with line and column; MG_UNIMPLEMENTED: SQL that
 * this version does not speak, named. */
MG_MUST_CHECK enum mg_code mg_sql_parse(struct mg_slice text, struct mg_arena *arena, struct mg_sql_statement *out,
                                        struct mg_error *err);

/* Change `where` in place for a table: a text literal beside a date or number column becomes a value of that kind when
 * it says one exactly (else MG_INVALID: it is never cut), and comparisons of PAD SPACE text get pad_space. Unknown
 * columns: MG_NOT_FOUND. */
MG_MUST_CHECK enum mg_code mg_sql_bind(struct mg_expr *where, const struct mg_schema *schema, struct mg_arena *arena,
                                       struct mg_error *err);

#endif
