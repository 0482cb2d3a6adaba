/* aggregate_internal.h -- an aggregation while it runs: blocks of rows, values, groups, cells.
 *
 * Picture   inputs + mask --aggregate_block.c--> columns of at most 1,024 rows --aggregate_program.c--> values
 *                         --groups.c, direct.c--> group of each row --aggregate_cells.c--> cells[group][total]
 * Threads   a program is immutable; everything else belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_AGGREGATE_INTERNAL_H
#define MG_EXPR_AGGREGATE_INTERNAL_H

#include "expr/aggregate.h"
#include "expr/aggregate_kernels.h"
#include "expr/scalar_internal.h"

enum { MG_AGG__WORDS = MG_SCALAR_ROWS_MAX / 64 };

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

/* ---- values of a block (aggregate_block.c) ---- */

/* A column of a block, or what is computed from some, in the forms that are there. */
struct mg_agg__value {
    uint32_t row_count, null_count;
    const uint8_t *validity;            /* NULL: no NULL */
    const int64_t *ints;                /* or NULL; any alignment; what is NULL may be anything */
    int64_t low, high;                  /* with ints: bounds */
    const uint16_t *codes;              /* or NULL */
    const struct mg_vector *dictionary; /* with codes */
    uint64_t dictionary_id;
    struct mg_vector vector; /* Arrow's layout, if has_vector */
    bool has_vector;
};

/* Where a column's values are written: ROWS of them. */
struct mg_agg__store {
    uint8_t *values; /* fixed width: 16 bytes each; texts: their bytes */
    size_t room;     /* bytes of values */
    int64_t *ints;
    uint16_t *codes;
    uint8_t *bits;
    int32_t *offsets;
};

/* What is done with a column. */
enum mg_agg__use {
    MG_AGG__USED = 1,
    MG_AGG__USED_INTS = 2,   /* wanted as ints */
    MG_AGG__USED_BOUNDS = 4, /* whose bounds matter */
    MG_AGG__USED_KEY = 8,    /* both, unless it comes as codes */
};

void mg_agg__store_drop(struct mg_agg__memory *memory, struct mg_agg__store *store);
/* An input as a value; ints are made where they are wanted and possible. */
MG_MUST_CHECK enum mg_code mg_agg__load(struct mg_agg__memory *memory, struct mg_agg__store *store, struct mg_type type,
                                        uint32_t use, const struct mg_agg_input *input, uint32_t row_count,
                                        struct mg_agg__value *out, struct mg_error *err);
/* Chosen rows of an input, back to back; vector: for out->vector to point to. */
MG_MUST_CHECK enum mg_code mg_agg__choose(struct mg_agg__memory *memory, struct mg_agg__store *store,
                                          const struct mg_agg_input *input, const uint16_t *rows, uint32_t count,
                                          struct mg_vector *vector, struct mg_agg_input *out, struct mg_error *err);
/* The column in Arrow's layout, too. */
MG_MUST_CHECK enum mg_code mg_agg__lay_out(struct mg_agg__memory *memory, struct mg_agg__store *store,
                                           struct mg_type type, struct mg_agg__value *value, struct mg_error *err);
/* count rows from first on, which is a multiple of 8. */
struct mg_vector mg_agg__slice(const struct mg_vector *v, uint32_t first, uint32_t count);
/* ints at the width of a type. */
void mg_agg__widen(const int64_t *ints, uint32_t count, struct mg_type type, void *to);
/* One row; text is borrowed. */
struct mg_value mg_agg__value_at(const struct mg_agg__value *value, struct mg_type type, uint32_t row);
/* Rows of both: `rows` (NULL: all) and those that are not NULL; NULL: all of them. */
const uint64_t *mg_agg__rows_there(const struct mg_agg__value *value, const uint64_t *rows, uint64_t *scratch);

/* ---- programs (aggregate_program.c) ---- */

enum { MG_AGG__NO_STEP = UINT16_MAX };

/* One operation; each is there once, whoever asks for it. */
struct mg_agg__step {
    const struct mg_scalar__node *node;
    uint16_t left, right; /* steps before it, or NO_STEP */
    uint16_t slot;        /* where its values go; not of columns */
    uint16_t last;        /* step after which nobody reads it */
    bool has_int;         /* a constant that fits: */
    int64_t constant;
};

/* What is kept for each group: calls with the same argument share it. */
struct mg_agg__total {
    enum mg_aggregate_function function; /* AVG is a SUM */
    uint16_t step;                       /* the argument; NO_STEP: COUNT_ALL */
    uint16_t end_step;                   /* steps below are needed for it */
    uint16_t merged_call;                /* whose partial results are merged into it */
};

struct mg_agg__program {
    struct mg_agg__step *steps;
    uint32_t step_count, step_room, slot_count;
    uint32_t group_end_step; /* steps below are needed for groups */
    uint16_t groups[MG_AGGREGATE_GROUPS_MAX];
    struct mg_agg__total totals[MG_AGGREGATE_CALLS_MAX];
    uint32_t total_count;
    uint16_t total_of_call[MG_AGGREGATE_CALLS_MAX];
    uint8_t *uses;    /* enum mg_agg__use, by place in the schema */
    bool may_be_ints; /* all arguments can be had as ints, if their values allow it */
};

MG_MUST_CHECK enum mg_code mg_agg__program_new(const struct mg_aggregate *aggregate, struct mg_agg__program **out,
                                               struct mg_error *err);
void mg_agg__program_free(struct mg_agg__program *program); /* NULL is allowed */

enum { MG_AGG__SLOT_INTS = MG_SCALAR__SLOT, MG_AGG__SLOT = MG_SCALAR__SLOT + MG_SCALAR_ROWS_MAX * 8 };

/* A program over one block. */
struct mg_agg__run_state {
    const struct mg_agg__program *program;
    struct mg_agg__memory *memory;
    const struct mg_type *types;   /* of columns */
    struct mg_agg__store *stores;  /* of columns */
    struct mg_agg__value *columns; /* by place */
    struct mg_agg__value *values;  /* by step */
    uint8_t *frame;                /* slot_count slots */
    uint32_t row_count, done;      /* steps that have their values */
};

/* Bounds of what is computed from the columns as they are now: values[step].low <= high where ints will do. Returns
 * whether they do for all totals. */
bool mg_agg__program_bound(struct mg_agg__run_state *state);
/* Values of the steps below end. */
MG_MUST_CHECK enum mg_code mg_agg__program_run(struct mg_agg__run_state *state, uint32_t end, struct mg_error *err);
/* A step's value, once it has run. */
struct mg_agg__value *mg_agg__program_value(struct mg_agg__run_state *state, uint16_t step);
/* The same in Arrow's layout. */
MG_MUST_CHECK enum mg_code mg_agg__program_vector(struct mg_agg__run_state *state, uint16_t step,
                                                  const struct mg_vector **out, struct mg_error *err);

/* ---- groups by key (groups.c) ---- */

enum { MG_AGG__NO_GROUP = UINT32_MAX };

/* What is known of one total in one group. */
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
    uint64_t key;  /* of a group's first cell: the group's, if keys are integers */
};

/* Keys  of one column of integers, dates, times, or decimals of up to 18 digits: the value in 64 bits. Else: NULL bits,
 *       one a column; the values at their types' widths, texts as u32 lengths; then the texts. Equal keys are one
 *       group.
 */
struct mg_agg__groups {
    struct mg_agg__memory *memory;
    uint32_t column_count;
    const struct mg_type *types;
    bool trims; /* texts under PAD SPACE */
    bool has_int_key, has_text_key;
    uint32_t fixed_bytes;

    uint32_t count; /* groups */
    /* By group, then by total. A group's cells lie together at the start of a line of the cache, and with them an
     * integer key: with many groups each look at other memory would be a miss more. */
    struct mg_agg__cell *cells;
    uint8_t *cell_memory; /* cells lie in it */
    uint32_t cell_room;   /* groups */
    uint32_t stride;      /* cells of a group: at least one */
    uint32_t null_group;  /* of such keys of one column, or NO_GROUP */
    size_t *key_ends;     /* in keys, by group, of other keys */
    uint32_t end_room;    /* groups */
    uint8_t *keys;
    size_t key_bytes, key_room;
    struct mg_agg__slot {
        uint32_t hash, group; /* or NO_GROUP */
    } * slots;                /* open addressing */
    uint32_t slot_count;

    uint8_t *row_keys; /* of one block */
    size_t row_key_room;
    uint32_t row_key_ends[MG_SCALAR_ROWS_MAX];
    struct mg_slice row_texts[MG_SCALAR_ROWS_MAX]; /* keys that are not integers */
    uint32_t row_hashes[MG_SCALAR_ROWS_MAX];
};

MG_MUST_CHECK enum mg_code mg_agg__groups_init(struct mg_agg__groups *groups, const struct mg_aggregate *aggregate,
                                               uint32_t total_count, struct mg_agg__memory *memory,
                                               struct mg_error *err);
void mg_agg__groups_clear(struct mg_agg__groups *groups);
/* No groups any more; gives back what grew. */
MG_MUST_CHECK enum mg_code mg_agg__groups_empty(struct mg_agg__groups *groups, struct mg_error *err);
/* Without columns: the only group there is. */
MG_MUST_CHECK enum mg_code mg_agg__groups_only(struct mg_agg__groups *groups, struct mg_error *err);
/* The group of each row, new ones made. Columns are of the types, or of what they are held in: with ints if
 * has_int_key, else laid out. */
MG_MUST_CHECK enum mg_code mg_agg__groups_find(struct mg_agg__groups *groups,
                                               const struct mg_agg__value *const *columns, uint32_t row_count,
                                               uint32_t *out, struct mg_error *err);
/* The group of one row's values, one a column. */
MG_MUST_CHECK enum mg_code mg_agg__groups_find_one(struct mg_agg__groups *groups, const struct mg_value *values,
                                                   uint32_t *out, struct mg_error *err);
/* A column of a group's key; text until the next change. */
struct mg_value mg_agg__groups_value(const struct mg_agg__groups *groups, uint32_t group, uint32_t column);

/* ---- groups by small numbers (direct.c) ---- */

enum { MG_AGG__DIRECT_MAX = 258 * 258 /* two texts of a byte */ };

enum mg_agg__direct_kind { MG_AGG__DIRECT_NONE, MG_AGG__DIRECT_CODES, MG_AGG__DIRECT_BYTES, MG_AGG__DIRECT_WINDOW };

/* Remembers what the table of groups said of each combination of small numbers: codes of one dictionary, bytes,
 * integers in a window. NULL is number 0. */
struct mg_agg__direct {
    struct mg_agg__memory *memory;
    uint32_t column_count;
    uint32_t *groups; /* by index, or NO_GROUP; NULL: not needed yet */
    uint32_t index_count;
    struct mg_agg__direct_column {
        enum mg_agg__direct_kind kind;
        uint64_t dictionary_id;
        int64_t low;    /* of a window */
        uint32_t count; /* numbers, that of NULL included */
    } columns[MG_AGGREGATE_GROUPS_MAX];
    uint32_t index[MG_SCALAR_ROWS_MAX];
    uint16_t bytes[MG_SCALAR_ROWS_MAX];
};

void mg_agg__direct_init(struct mg_agg__direct *direct, uint32_t column_count, struct mg_agg__memory *memory);
void mg_agg__direct_clear(struct mg_agg__direct *direct);
/* The groups are gone. */
void mg_agg__direct_forget(struct mg_agg__direct *direct);
/* The group of each row of rows (NULL: all), where all columns are of small numbers; what the other rows get may be
 * NO_GROUP. *done: whether they are. */
MG_MUST_CHECK enum mg_code mg_agg__direct_find(struct mg_agg__direct *direct, struct mg_agg__groups *groups,
                                               const struct mg_agg__value *const *columns, const struct mg_type *types,
                                               uint32_t row_count, const uint64_t *rows, uint32_t *out, bool *done,
                                               struct mg_error *err);

/* ---- cells (aggregate_cells.c) ---- */

enum { MG_AGG__RUNS_MAX = 64, MG_AGG__SPLIT_MAX = 8 };

/* Which rows of a block belong together. */
struct mg_agg__work {
    struct mg_agg__memory *memory;
    uint32_t row_count, chosen;
    const uint64_t *rows;  /* those that count; NULL: all */
    const uint32_t *group; /* of each row; NULL: all are group 0 */
    uint32_t group_count;
    uint32_t stride; /* cells of a group */
    bool trims;

    /* Few groups: rows order[first..end) are a group's (order NULL: themselves). 0: go by group. */
    uint32_t run_count;
    struct mg_agg__run {
        uint32_t group, first, end;
    } runs[MG_AGG__RUNS_MAX];
    const uint16_t *order;
    uint16_t order_room[MG_SCALAR_ROWS_MAX];

    /* Very few, where the machine has masks: the rows of each. */
    bool is_split;
    uint64_t split[MG_AGG__SPLIT_MAX][MG_AGG__WORDS];
    uint32_t split_counts[MG_AGG__SPLIT_MAX];

    int64_t cleared[MG_SCALAR_ROWS_MAX]; /* an argument with 0 for NULL */
    uint64_t there[MG_AGG__WORDS];
    struct mg_error *err;
};

/* Find out which rows belong together, from row_count, rows, group and group_count. */
void mg_agg__work_order(struct mg_agg__work *work);
/* The same as runs, for loops that know nothing else. */
void mg_agg__work_need_runs(struct mg_agg__work *work);
/* Take an argument's block in; cells: the first group's. value: has ints, or for COUNT only validity counts. */
MG_MUST_CHECK enum mg_code mg_agg__cells_take_ints(struct mg_agg__work *work, enum mg_aggregate_function function,
                                                   const struct mg_agg__value *value, struct mg_agg__cell *cells);
/* SUM, MIN, MAX of any type; every row counts. */
MG_MUST_CHECK enum mg_code mg_agg__cells_take(struct mg_agg__work *work, enum mg_aggregate_function function,
                                              const struct mg_vector *v, struct mg_agg__cell *cells);
/* The same for a call's columns of partial results; count: of AVG. */
MG_MUST_CHECK enum mg_code mg_agg__cells_merge(struct mg_agg__work *work, enum mg_aggregate_function function,
                                               const struct mg_vector *v, const struct mg_vector *count,
                                               struct mg_agg__cell *cells);

/* ---- results (aggregate_results.c) ---- */

/* Append a call's result to its column (partial AVG: columns). */
MG_MUST_CHECK enum mg_code mg_agg__cell_put(const struct mg_aggregate *aggregate,
                                            const struct mg_aggregate_bound_call *call, const struct mg_agg__cell *cell,
                                            struct mg_batch_builder *builder, uint32_t column, struct mg_error *err);
/* A value as it is held, to a column of that type. */
MG_MUST_CHECK enum mg_code mg_agg__put(struct mg_batch_builder *builder, uint32_t column, struct mg_type type,
                                       const struct mg_value *v, struct mg_error *err);

#endif
