/* scalar.h -- values computed from a row: columns, literals, arithmetic and casts, bound to a table's columns.
 *
 * Trees are struct mg_expr with MG_EXPR_COLUMN, LITERAL, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE and CAST. Binding
 * finds every type; evaluation goes column by column over blocks of rows.
 * Rules    mg_rules says whose arithmetic it is; docs/format/scan.md has the tables. In short: MySQL computes integers
 *          in 64 bits, divides in decimals, x / 0 is NULL; Spark (ANSI mode) computes in the operands' wider type,
 *          divides integers as doubles, x / 0 is an error. What does not fit its type is an error in both.
 * Errors   of a value: MG_OUT_OF_RANGE, MG_DIVIDE_BY_ZERO. Only rows that are given can raise them: the caller drops
 *          what a predicate drops first.
 * Threads  a bound scalar is immutable; a frame belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_SCALAR_H
#define MG_EXPR_SCALAR_H

#include "expr/expr.h"

enum mg_rules { MG_RULES_MYSQL = 0, MG_RULES_SPARK = 1 };

enum {
    MG_SCALAR_ROWS_MAX = 1024, /* rows of one evaluation: what is computed stays in the nearest caches */
    MG_SCALAR_NODES_MAX = 256, /* each has 16 KiB in the frame */
};

struct mg_scalar; /* bound; heap */

/* MG_NOT_FOUND for an unknown column; MG_INVALID for wrong argument counts, for conditions, and for types that cannot
 * be computed with; MG_TOO_BIG for trees above MG_EXPR_DEPTH_MAX or MG_SCALAR_NODES_MAX. Keeps no pointer into expr. */
MG_MUST_CHECK enum mg_code mg_scalar_bind(const struct mg_expr *expr, const struct mg_schema *schema,
                                          enum mg_rules rules, struct mg_scalar **out, struct mg_error *err);
void mg_scalar_free(struct mg_scalar *scalar); /* NULL is allowed */

/* The type that the rules give. NONE: always NULL. */
struct mg_type mg_scalar_type(const struct mg_scalar *scalar);
/* Place of the column when it is nothing else, or -1. */
int mg_scalar_column(const struct mg_scalar *scalar);
/* used[place] becomes true for each column that is read. */
void mg_scalar_mark(const struct mg_scalar *scalar, bool *used);
/* Bytes of a frame: memory that evaluating needs, aligned to 16, its content does not matter. */
size_t mg_scalar_frame_bytes(const struct mg_scalar *scalar);

/* Evaluate row_count rows, at most MG_SCALAR_ROWS_MAX. vectors[place] holds exactly these rows. The result borrows from
 * frame or vectors. A bare column comes as it is; what is computed comes in the widest type of its kind (int64,
 * float64, decimal; an unsigned integer as decimal of scale 0), with the values that mg_scalar_type has. */
MG_MUST_CHECK enum mg_code mg_scalar_eval(const struct mg_scalar *scalar, const struct mg_vector *const *vectors,
                                          uint32_t row_count, void *frame, struct mg_vector *out, struct mg_error *err);

#endif
