/* aggregate_internal.h -- an aggregation while it runs: groups by key, cells by group, blocks of rows.
 *
 * Picture   batch + mask --block--> at most 1,024 rows, dense --groups.c--> group of each row
 *                                   --scalar--> argument --aggregate_cells.c--> cells[call][group]
 * Threads   belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_AGGREGATE_INTERNAL_H
#define MG_EXPR_AGGREGATE_INTERNAL_H

#include "expr/aggregate.h"

/* Memory of one aggregation, accounted. */
struct mg_agg__memory {
    struct mg_budget *budget;
    size_t used_bytes, bytes_max;
    bool is_hard; /* bytes_max is an error, not a hint to empty the table */
    const char *what;
};
/* *place (old_bytes long) becomes new_bytes long; what is new is not set. */
MG_MUST_CHECK enum mg_code mg_agg__grow(struct mg_agg__memory *memory, void *place, size_t old_bytes, size_t new_bytes,
                                        struct mg_error *err);
void mg_agg__drop(struct mg_agg__memory *memory, void *place, size_t bytes);

static inline bool mg_agg__is_there(const struct mg_vector *v, uint32_t row)
{
    return !v->null_count || (v->validity[row >> 3] >> (row & 7) & 1);
}

/* ---- groups by key (groups.c) ---- */

enum { MG_AGG__NO_GROUP = UINT32_MAX, MG_AGG__DIRECT_CODES = 258 };

/* Keys  NULL bits, one a column; the values at their types' widths, texts as u32 lengths; then the texts. Equal keys
 *       are one group. */
struct mg_agg__groups {
    struct mg_agg__memory *memory;
    uint32_t column_count;
    const struct mg_type *types;
    bool trims; /* texts under PAD SPACE */
    uint32_t fixed_bytes;

    uint32_t count, room; /* groups */
    size_t *key_ends;     /* in keys, by group */
    uint32_t *hashes;
    uint8_t *keys;
    size_t key_bytes, key_room;
    uint32_t *slots; /* group, or NO_GROUP; open addressing */
    uint32_t slot_count;

    /* For one or two columns of one byte: the group by code, or NO_GROUP if it was not met; NULL: not such columns. */
    uint32_t *direct;
    uint32_t direct_count;

    uint8_t *row_keys; /* of one block */
    size_t row_key_room;
    uint32_t row_key_ends[MG_SCALAR_ROWS_MAX];
};

MG_MUST_CHECK enum mg_code mg_agg__groups_init(struct mg_agg__groups *groups, const struct mg_aggregate *aggregate,
                                               struct mg_agg__memory *memory, struct mg_error *err);
void mg_agg__groups_clear(struct mg_agg__groups *groups);
/* No groups any more; gives back what grew. */
MG_MUST_CHECK enum mg_code mg_agg__groups_empty(struct mg_agg__groups *groups, struct mg_error *err);
/* The group of each row, new ones made. columns are of the types, or of what they are held in. */
MG_MUST_CHECK enum mg_code mg_agg__groups_find(struct mg_agg__groups *groups, const struct mg_vector *columns,
                                               uint32_t row_count, uint32_t *out, struct mg_error *err);
/* A column of a group's key; text until the next change. */
struct mg_value mg_agg__groups_value(const struct mg_agg__groups *groups, uint32_t group, uint32_t column);

/* ---- cells (aggregate_cells.c) ---- */

/* What is known of one call in one group. */
struct mg_agg__cell {
    union {
        mg_int128 exact; /* SUM, AVG, MIN, MAX of integers, decimals, dates and times */
        double real;     /* of floats */
        struct {
            uint8_t *data;
            uint32_t size, room;
        } text; /* MIN, MAX */
    };
    int64_t count; /* values that were there; MIN, MAX: 0 or more */
};

enum { MG_AGG__RUNS_MAX = 64 };

/* Which rows of a block belong together. With runs, rows order[first..end) (order NULL: themselves) are a group's;
 * where there are too many groups for that, group says it for each row. */
struct mg_agg__work {
    struct mg_agg__memory *memory;
    uint32_t row_count;
    const uint32_t *group;
    const uint16_t *order;
    uint32_t run_count; /* 0: go by group */
    struct mg_agg__run {
        uint32_t group, first, end;
    } runs[MG_AGG__RUNS_MAX];
    bool trims;
    struct mg_error *err;
};

/* Take an argument's block in. */
MG_MUST_CHECK enum mg_code mg_agg__cells_take(const struct mg_agg__work *work, enum mg_aggregate_function function,
                                              const struct mg_vector *v, struct mg_agg__cell *cells);
/* The same for a call's columns of partial results; count: of AVG. */
MG_MUST_CHECK enum mg_code mg_agg__cells_merge(const struct mg_agg__work *work, enum mg_aggregate_function function,
                                               const struct mg_vector *v, const struct mg_vector *count,
                                               struct mg_agg__cell *cells);
/* Append a call's result to its column (partial AVG: columns). */
MG_MUST_CHECK enum mg_code mg_agg__cell_put(const struct mg_aggregate *aggregate,
                                            const struct mg_aggregate_bound_call *call, const struct mg_agg__cell *cell,
                                            struct mg_batch_builder *builder, uint32_t column, struct mg_error *err);
/* A value as it is held, to a column of that type. */
MG_MUST_CHECK enum mg_code mg_agg__put(struct mg_batch_builder *builder, uint32_t column, struct mg_type type,
                                       const struct mg_value *v, struct mg_error *err);

#endif
