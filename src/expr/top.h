/* top.h -- the first rows in an order: ORDER BY with LIMIT, without keeping what cannot be among them.
 *
 * Order    NULLs stand together at one end; NaN is above all numbers, -0.0 equals 0.0; texts by their column's
 *          collation or bytewise. Rows that are equal in it come in no promised order, and which of them are the last
 *          within the limit is not promised either.
 * Memory   at most twice the limit and a few thousand rows, reserved in the budget.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_TOP_H
#define MG_EXPR_TOP_H

#include "column/batch.h"
#include "column/schema.h"

enum { MG_TOP_ROWS_MAX = 1 << 18, MG_TOP_ORDER_MAX = 16 };

struct mg_top_order {
    uint32_t column; /* place in the schema */
    bool is_descending;
    bool nulls_last;
    bool is_bytewise; /* texts: also where trailing blanks do not count in the column's collation */
};

struct mg_top_request {
    const uint32_t *columns; /* places, in output order; may repeat */
    uint32_t column_count;
    const struct mg_top_order *order; /* 1 to MG_TOP_ORDER_MAX */
    uint32_t order_count;
    uint32_t limit; /* 1 to MG_TOP_ROWS_MAX */
};

struct mg_top;

/* Keeps nothing of the request but its content. */
MG_MUST_CHECK enum mg_code mg_top_new(const struct mg_top_request *request, const struct mg_schema *schema,
                                      struct mg_budget *budget, struct mg_top **out, struct mg_error *err);
void mg_top_free(struct mg_top *top); /* NULL is allowed */
/* Take the rows of mask into account; vectors[place] as for mg_predicate_filter. MG_TOO_BIG: the values of a row to
 * order by pass MG_KEY_BYTES_MAX. After an error it can only be freed. */
MG_MUST_CHECK enum mg_code mg_top_add(struct mg_top *top, const struct mg_vector *const *vectors, uint32_t row_count,
                                      const uint64_t *mask, struct mg_error *err);
/* Once all rows are in: the next of the first rows, in order, at most rows_max; NULL at the end. */
MG_MUST_CHECK enum mg_code mg_top_next(struct mg_top *top, uint32_t rows_max, struct mg_batch **out,
                                       struct mg_error *err);

#endif
