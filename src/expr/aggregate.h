/* aggregate.h -- count, sum, min, max and avg of a table's rows, by groups: what a scan gives in place of rows.
 *
 * A request is bound to a schema; an aggregation takes batches and their masks, and gives batches of results: first the
 * groups' columns, then each call's, in the order of the request.
 * Partial   results of a part of the rows, to be merged: a group may come several times, an avg is a sum and a count,
 *           and no row at all gives no result. Complete: each group once; without groups always exactly one row.
 * Exact     sums of integers and decimals are held in 128 bits and judged at the end, so merging partials gives the
 *           same as one pass. Sums of floats depend on the order, as everywhere.
 * Types     docs/format/scan.md, Aggregates. MIN and MAX: the argument's. COUNT: int64, never NULL. The others are NULL
 *           when no value was there.
 *             SUM      int            decimal         float
 *             MySQL    decimal(38,0)  (p + 22, s)     float64
 *             Spark    int64          (p + 10, s)     float64
 *             AVG      partial: the SUM (of integers decimal(38,0)) and an int64 count
 *             MySQL    (digits + 4,4) (p + 4, s + 4)  float64
 *             Spark    float64        (p + 4, s + 4)  float64
 * Groups    NULL is a group; NaN is one, -0.0 is 0.0. Text: MySQL's rules follow the column's collation and show the
 *           text without trailing blanks where they do not count; Spark's compare bytes.
 * Errors    MG_OUT_OF_RANGE: a result does not fit its type; and those of scalar.h.
 * Threads   a bound aggregate is immutable; an aggregation belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_AGGREGATE_H
#define MG_EXPR_AGGREGATE_H

#include "expr/scalar.h"

/* the numbers of proto/scan.proto, Aggregate.Function */
enum mg_aggregate_function {
    MG_AGGREGATE_COUNT_ALL = 1,
    MG_AGGREGATE_COUNT = 2,
    MG_AGGREGATE_SUM = 3,
    MG_AGGREGATE_MIN = 4,
    MG_AGGREGATE_MAX = 5,
    MG_AGGREGATE_AVG = 6,
};

enum {
    MG_AGGREGATE_CALLS_MAX = 256,
    MG_AGGREGATE_GROUPS_MAX = 64,
    MG_AGGREGATE_NODES_MAX = 1024, /* of all expressions together */
};

struct mg_aggregate_call {
    enum mg_aggregate_function function;
    const struct mg_expr *argument; /* NULL for COUNT_ALL */
};
struct mg_aggregate_request {
    enum mg_rules rules;
    bool is_partial;
    const struct mg_expr *const *groups;
    uint32_t group_count;
    const struct mg_aggregate_call *calls;
    uint32_t call_count;
};

/* A column of the results. */
struct mg_aggregate_column {
    struct mg_type type;
    bool nullable;
    char name[24]; /* "group_0", "call_1", "call_1_count" */
};

struct mg_aggregate_bound_call {
    enum mg_aggregate_function function;
    struct mg_scalar *argument; /* NULL for COUNT_ALL */
    struct mg_type sum_type;    /* SUM, AVG: of the sum as it leaves */
    struct mg_type type;        /* of the result; partial AVG: of the sum */
};

/* Bound; owns its scalars. Read only. */
struct mg_aggregate {
    enum mg_rules rules;
    bool is_partial;
    uint32_t group_count, call_count, column_count;
    struct mg_scalar **groups;
    struct mg_type *group_types;
    struct mg_aggregate_bound_call *calls;
    struct mg_aggregate_column *columns; /* of the results */
    uint32_t schema_column_count;
    struct mg_type *schema_types; /* by place */
};

/* At least one group or call. MG_NOT_FOUND, MG_INVALID, MG_TOO_BIG. Keeps no pointer into the request. */
MG_MUST_CHECK enum mg_code mg_aggregate_bind(const struct mg_aggregate_request *request, const struct mg_schema *schema,
                                             struct mg_aggregate **out, struct mg_error *err);
void mg_aggregate_free(struct mg_aggregate *aggregate); /* NULL is allowed */
void mg_aggregate_freep(struct mg_aggregate **aggregate);
/* The same aggregate with partial results that lose nothing, whatever types leave: for the parts of one scan, to be
 * merged into an aggregation of `from`. Borrows from it. */
MG_MUST_CHECK enum mg_code mg_aggregate_exchange(const struct mg_aggregate *from, struct mg_aggregate **out,
                                                 struct mg_error *err);
void mg_aggregate_exchange_free(struct mg_aggregate *aggregate); /* NULL is allowed */
/* used[place] becomes true for each column that is read. */
void mg_aggregate_mark(const struct mg_aggregate *aggregate, bool *used);

struct mg_aggregation;

/* The aggregate outlives it. Memory for groups is reserved in budget (may be NULL), at most about bytes_max (0: 32 MiB
 * partial, 512 MiB complete); results in budget, too. */
MG_MUST_CHECK enum mg_code mg_aggregation_new(const struct mg_aggregate *aggregate, struct mg_budget *budget,
                                              size_t bytes_max, struct mg_aggregation **out, struct mg_error *err);
void mg_aggregation_free(struct mg_aggregation *aggregation); /* NULL is allowed */

/* A column's rows as they are at hand, so that nobody writes them out in Arrow's layout only to have them read: one of
 * vector, ints and codes is given. Borrowed during the call, in natural alignment; a NULL row of ints and codes may
 * hold anything. */
struct mg_agg_input {
    const struct mg_vector *vector; /* exactly these rows */

    const int64_t *ints; /* integers, dates, times, and decimals unscaled, when each that is not NULL fits: of a uint64
                            column those below 2^63 */
    int64_t low, high;   /* bounds of the ints that are not NULL (also of rows outside the mask); the closer, the less
                            is checked row by row: sums and products that cannot pass 64 bits within them need none */

    const uint16_t *codes;              /* each row's place in dictionary */
    const struct mg_vector *dictionary; /* at most 65,536 values of the column's type, none of them NULL */
    uint64_t dictionary_id; /* not 0, and another one for every other content of dictionary that this aggregation meets
                               in this column: its groups are looked up once. 0: not known */

    /* of ints and codes: a bit a row, readable to the next multiple of 8 bytes; NULL: no NULL */
    const uint8_t *validity;
    uint32_t null_count; /* exact; 0: validity is not read */
};

/* Take the rows of mask ((row_count + 63) / 64 words, bits beyond row_count 0; NULL: every row) into account.
 * inputs[place] is the schema's column there, looked at where mg_aggregate_mark marks it. row_count: at most
 * MG_SCALAR_ROWS_MAX. MG_NO_MEMORY: complete, and the groups pass the bound. After an error the aggregation can only be
 * freed. */
MG_MUST_CHECK enum mg_code mg_aggregation_take(struct mg_aggregation *aggregation, const struct mg_agg_input *inputs,
                                               uint32_t row_count, const uint64_t *mask, struct mg_error *err);
/* The same for any number of rows, all in Arrow's layout. */
MG_MUST_CHECK enum mg_code mg_aggregation_update(struct mg_aggregation *aggregation,
                                                 const struct mg_vector *const *vectors, uint32_t row_count,
                                                 const uint64_t *mask, struct mg_error *err);
/* The same for results of a partial aggregate with the same groups and calls. */
MG_MUST_CHECK enum mg_code mg_aggregation_merge(struct mg_aggregation *aggregation, const struct mg_batch *partials,
                                                struct mg_error *err);
/* Without groups: add what is known without reading rows, such as a block's own sum. COUNT_ALL, COUNT: value_count
 * alone; SUM and AVG of integers and decimals: sum (unscaled) of value_count values that are not NULL. */
MG_MUST_CHECK enum mg_code mg_aggregation_add(struct mg_aggregation *aggregation, uint32_t call, mg_int128 sum,
                                              uint64_t value_count, struct mg_error *err);
/* Partial: the groups have reached the bound; take the results out before going on. */
bool mg_aggregation_is_full(const struct mg_aggregation *aggregation);
/* The next results, at most rows_max, or NULL at the end: then it is empty and may be used again. */
MG_MUST_CHECK enum mg_code mg_aggregation_next(struct mg_aggregation *aggregation, uint32_t rows_max,
                                               struct mg_batch **out, struct mg_error *err);

#endif
