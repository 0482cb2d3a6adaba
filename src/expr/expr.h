/* expr.h -- predicate trees, bound to a table's columns, and the kernels that evaluate them on batches.
 *
 * A tree is built unbound (column names), then bound to a schema: names become places, literals are converted to the
 * column's type where that loses nothing, and comparisons that can be decided by type alone become constants (an int
 * column = 1.5 is never true, int32 < 10^12 is true where not NULL). Evaluation is vectorised: bit masks over the whole
 * batch, three-valued logic as two masks.
 * Threads  a bound tree is immutable and may be used by several threads; evaluation scratch belongs to one.
 * Source   semantics: proto/scan.proto, Expr and Call.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_EXPR_H
#define MG_EXPR_EXPR_H

#include "base/arena.h"
#include "column/batch.h"
#include "column/key.h"
#include "column/schema.h"

/* the numbers of proto/scan.proto, Call.Op, and two leaves */
enum mg_expr_op {
    MG_EXPR_EQ = 1,
    MG_EXPR_NE = 2,
    MG_EXPR_LT = 3,
    MG_EXPR_LE = 4,
    MG_EXPR_GT = 5,
    MG_EXPR_GE = 6,
    MG_EXPR_EQ_NULL_SAFE = 7,
    MG_EXPR_IS_NULL = 8,
    MG_EXPR_IS_NOT_NULL = 9,
    MG_EXPR_AND = 10,
    MG_EXPR_OR = 11,
    MG_EXPR_NOT = 12,
    MG_EXPR_IN = 13,
    MG_EXPR_BETWEEN = 14,
    MG_EXPR_ADD = 20, /* from here on: values, in scalar trees only (expr/scalar.h) */
    MG_EXPR_SUBTRACT = 21,
    MG_EXPR_MULTIPLY = 22,
    MG_EXPR_DIVIDE = 23,
    MG_EXPR_NEGATE = 24,
    MG_EXPR_CAST = 25, /* to cast_type */
    MG_EXPR_COLUMN = 100,
    MG_EXPR_LITERAL = 101,
};

enum {
    MG_EXPR_DEPTH_MAX = 64,      /* deeper trees are refused */
    MG_EXPR_NODES_MAX = 1 << 20, /* IN lists count */
};

/* A node; lives in the arena it was made in. */
struct mg_expr {
    enum mg_expr_op op;
    bool pad_space; /* text comparisons */
    uint32_t arg_count;
    struct mg_expr **args;
    struct mg_slice column_name; /* COLUMN */
    struct mg_value literal;     /* LITERAL; is_null with type NONE is an untyped NULL */
    struct mg_type cast_type;    /* CAST */
};

/* Building; all return NULL when the arena is full. */
struct mg_expr *mg_expr_column(struct mg_arena *arena, struct mg_slice name);
struct mg_expr *mg_expr_literal(struct mg_arena *arena, const struct mg_value *value); /* copies text */
struct mg_expr *mg_expr_call(struct mg_arena *arena, enum mg_expr_op op, struct mg_expr *const *args,
                             uint32_t arg_count);
/* SQL-like text, for EXPLAIN and errors. */
MG_MUST_CHECK enum mg_code mg_expr_format(const struct mg_expr *expr, struct mg_buffer *out, struct mg_error *err);

struct mg_predicate; /* bound; heap */
struct mg_expr__node;

/* expr may be NULL: every row. MG_NOT_FOUND for an unknown column, MG_INVALID for wrong argument counts or types that
 * cannot be compared (both named). Keeps no pointer into expr; keeps a reference to the schema. */
MG_MUST_CHECK enum mg_code mg_predicate_bind(const struct mg_expr *expr, const struct mg_schema *schema,
                                             struct mg_predicate **out, struct mg_error *err);
void mg_predicate_free(struct mg_predicate *predicate); /* NULL is allowed */
void mg_predicate_freep(struct mg_predicate **predicate);

/* Places of the schema's columns that it reads, rising. */
const uint32_t *mg_predicate_columns(const struct mg_predicate *predicate, uint32_t *out_count);
bool mg_predicate_is_all(const struct mg_predicate *predicate); /* keeps every row */

/* Evaluate on row_count rows. vectors[place] is the schema's column at that place (only those of mg_predicate_columns
 * are read). mask has (row_count + 63) / 64 words: on entry the rows to look at, on return those of them that are true;
 * bits beyond row_count are 0. scratch is used and not reset. */
MG_MUST_CHECK enum mg_code mg_predicate_filter(const struct mg_predicate *predicate,
                                               const struct mg_vector *const *vectors, uint32_t row_count,
                                               uint64_t *mask, struct mg_arena *scratch, struct mg_error *err);

/* May a row whose column lies between min and max (both not NULL, same type as the column) or is NULL (if has_null) be
 * true? For zone maps; true when unsure. lows/highs[place] NULL = nothing known. */
bool mg_predicate_may_match(const struct mg_predicate *predicate, const struct mg_value *const *lows,
                            const struct mg_value *const *highs, const bool *has_null);

/* The values one of which the column must have for the predicate to be true, each once; count 0: it does not name them.
 * No float columns. Borrowed from the predicate. */
struct mg_expr_points {
    const struct mg_expr__node *node;
    uint32_t count;
};
struct mg_expr_points mg_predicate_points(const struct mg_predicate *predicate, uint32_t column);
struct mg_value mg_expr_point(struct mg_expr_points points, uint32_t i); /* of the column's type */
/* ---- conditions: a predicate keeps the rows for which all of its conditions are true ---- */

enum mg_condition_kind {
    MG_CONDITION_OTHER,   /* whatever it is: mg_predicate_filter_one */
    MG_CONDITION_BETWEEN, /* values[0] <= column <= values[1]; one that is NULL is no bound */
    MG_CONDITION_IN,      /* column is one of values, which rise strictly */
    MG_CONDITION_IS_NULL,
    MG_CONDITION_IS_NOT_NULL,
};
/* Lives as long as its predicate. */
struct mg_condition {
    enum mg_condition_kind kind;
    bool is_negated;                /* BETWEEN, IN: the column is not NULL, and it is not so */
    bool pad_space;                 /* texts without their trailing blanks; values have none */
    bool low_is_open, high_is_open; /* BETWEEN of texts: the bound itself is outside */
    uint32_t column;                /* place; not of OTHER */
    const struct mg_value *values;  /* of the column's type */
    uint32_t value_count;
    const uint32_t *columns; /* all that it reads, rising */
    uint32_t column_count;
};
/* None: every row is kept. Those that are cheap come first. */
const struct mg_condition *mg_predicate_conditions(const struct mg_predicate *predicate, uint32_t *out_count);
/* mg_predicate_filter with that condition alone. */
MG_MUST_CHECK enum mg_code mg_predicate_filter_one(const struct mg_predicate *predicate, uint32_t condition,
                                                   const struct mg_vector *const *vectors, uint32_t row_count,
                                                   uint64_t *mask, struct mg_arena *scratch, struct mg_error *err);
enum mg_verdict { MG_VERDICT_NONE, MG_VERDICT_SOME, MG_VERDICT_ALL };
/* What zone maps, as for mg_predicate_may_match, say of a condition: it is true for no row, or for all; SOME when
 * unsure. */
enum mg_verdict mg_predicate_judge(const struct mg_predicate *predicate, uint32_t condition,
                                   const struct mg_value *const *lows, const struct mg_value *const *highs,
                                   const bool *has_null);

/* Set bits of a mask as row numbers; returns how many. rows has room for them. */
uint32_t mg_mask_rows(const uint64_t *mask, uint32_t row_count, uint32_t *rows);
uint32_t mg_mask_count(const uint64_t *mask, uint32_t row_count);

#endif
