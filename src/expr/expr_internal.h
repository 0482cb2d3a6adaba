/* expr_internal.h -- bound predicates: the nodes that bind.c makes, and eval.c and zone.c walk.
 *
 * Ordinals  Every fixed-width value of a column has an ordinal, a 128-bit integer whose order is the order of the
 *           values and in which neighbours differ by 1. So every comparison of a column with a literal becomes "low <=
 *           column <= high" in ordinals, whatever the types; bounds are found by searching the ordinals with
 *           mg_expr__compare, the one place that says how values of different types compare.
 * Logic     a node yields two masks, the rows where it is true and those where it is false; the rest is NULL. NOT swaps
 *           them, so <>, NOT IN, IS NOT NULL and >= are NOT over another node.
 * Threads   a bound predicate is immutable.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_EXPR_INTERNAL_H
#define MG_EXPR_EXPR_INTERNAL_H

#include "expr/expr.h"

enum mg_expr__kind {
    MG_NODE_CONST,      /* .constant for every row */
    MG_NODE_IS_NULL,    /* column; never NULL itself */
    MG_NODE_ALWAYS,     /* true where column is not NULL, else NULL */
    MG_NODE_RANGE,      /* low <= column <= high, fixed width */
    MG_NODE_SET,        /* column is in a list, fixed width */
    MG_NODE_TEXT_RANGE, /* low <(=) column <(=) high */
    MG_NODE_TEXT_SET,   /* column is in a list */
    MG_NODE_EQUAL,      /* column = other */
    MG_NODE_LESS,       /* column < other */
    MG_NODE_UNKNOWN,    /* children[0] is NULL */
    MG_NODE_NOT,        /* children[0] */
    MG_NODE_AND,
    MG_NODE_OR,
};

enum mg_expr__truth { MG_FALSE, MG_TRUE, MG_UNKNOWN };

/* What a range kernel compares with; set from the ordinals. */
struct mg_expr__range {
    mg_int128 low, high;    /* ordinals, both included; low <= high */
    unsigned __int128 span; /* high - low: an integer x is inside when (unsigned)(x - low) <= span */
    double low_float, high_float;
    bool low_is_nan, high_is_nan;
};

struct mg_expr__text_bound {
    struct mg_slice text;
    bool is_set, is_open; /* open: the bound itself is outside */
};

/* A list of at least two different values. */
struct mg_expr__set {
    uint32_t count;
    mg_int128 *ordinals;    /* SET: rising */
    struct mg_slice *texts; /* TEXT_SET: rising, without trailing blanks if pad_space */
    /* An open-addressing table of slot_mask + 1 slots (a power of two): SET of integers, dates and times: the ordinals'
     * low 64 bits, empty slots hold absent_key, which no member has; TEXT_SET: place in texts + 1, 0 = empty. */
    uint32_t slot_mask;
    uint64_t *keys;
    uint64_t absent_key;
    uint32_t *places;
};

enum { MG_EXPR_SET_SMALL = 6 }; /* shorter lists of numbers are compared one by one, vectorised */

struct mg_expr__node {
    enum mg_expr__kind kind;
    enum mg_expr__truth constant;
    bool pad_space;
    uint32_t column, other; /* places in the schema */
    struct mg_type type;    /* of column */
    struct mg_type other_type;
    struct mg_expr__range range;
    struct mg_expr__text_bound low, high;
    struct mg_expr__set *set;
    uint32_t child_count;
    struct mg_expr__node **children;
};

/* Tight loops over all rows, 64 at a time; words whose active word is 0 are skipped and become 0. Bits of rows that are
 * NULL or not active mean nothing. */
typedef void mg_expr__range_fn(const void *values, uint32_t row_count, const struct mg_expr__range *range,
                               const uint64_t *active, uint64_t *out);
typedef void mg_expr__compare_fn(const void *a, const void *b, uint32_t row_count, const uint64_t *active,
                                 uint64_t *out);
struct mg_expr__kernels {
    mg_expr__range_fn *range[MG_TYPE_COUNT];
    mg_expr__compare_fn *equal[MG_TYPE_COUNT], *less[MG_TYPE_COUNT];
};
extern const struct mg_expr__kernels mg_expr__kernels_plain;
#if defined(MG_EXPR_AVX2)
extern const struct mg_expr__kernels mg_expr__kernels_avx2;
#endif
/* The fastest that this machine runs. */
const struct mg_expr__kernels *mg_expr__kernels_best(void);

/* A node that must be true, or false, for a row to be kept. */
struct mg_expr__conjunct {
    const struct mg_expr__node *node;
    bool wanted;
};

struct mg_predicate {
    struct mg_schema *schema; /* a reference */
    struct mg_arena arena;    /* all nodes, lists and texts */
    struct mg_expr__node *root;
    uint32_t *columns;
    uint32_t column_count;
    struct mg_expr__conjunct *conjuncts; /* of conditions */
    struct mg_condition *conditions;
    uint32_t condition_count;
    const struct mg_expr__kernels *kernels;
};

/* Places that a node reads become true. */
void mg_expr__mark_columns(const struct mg_expr__node *node, bool *used);
/* Fill in the conditions of a predicate that has its root (conditions.c). */
MG_MUST_CHECK enum mg_code mg_expr__list_conditions(struct mg_predicate *predicate, struct mg_error *err);

/* Two columns of these types are compared by a kernel, as they lie in memory. */
static inline bool mg_expr__same_kernel(struct mg_type a, struct mg_type b)
{
    bool micros = (a.id == MG_TYPE_DATETIME || a.id == MG_TYPE_TIMESTAMP) &&
                  (b.id == MG_TYPE_DATETIME || b.id == MG_TYPE_TIMESTAMP);

    return micros || (a.id == b.id && a.scale == b.scale);
}

/* ---- order.c ---- */

/* May values of these types be compared? Either may be NULL's NONE. */
bool mg_expr__comparable(enum mg_type_id a, enum mg_type_id b);
/* The order of two values, neither NULL, whose types are comparable: numbers by value, in double when one is a float;
 * dates and times as microseconds, what has no zone as UTC; text bytewise, without trailing blanks if pad_space. */
int mg_expr__compare(const struct mg_value *a, const struct mg_value *b, bool pad_space);
mg_int128 mg_expr__ordinal(const struct mg_value *value);
struct mg_value mg_expr__from_ordinal(struct mg_type type, mg_int128 ordinal);
/* The lowest and the highest ordinal of a fixed-width type. */
void mg_expr__domain(enum mg_type_id id, mg_int128 *low, mg_int128 *high);
/* The values of `type` that equal `value` are first..last; first > last when none does: then last is the one below,
 * first the one above it (and they may be one step outside the domain). */
void mg_expr__place(struct mg_type type, const struct mg_value *value, mg_int128 *first, mg_int128 *last);
/* Text as a number, date or time that a column of type `like` can be compared with. False when it is none. */
bool mg_expr__value_of_text(struct mg_slice text, enum mg_type_id like, struct mg_value *out);
static inline struct mg_slice mg_expr__trim(struct mg_slice text)
{
    while (text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return text;
}

/* Is the text inside the bounds? Already trimmed if blanks do not count. */
static inline bool mg_expr__text_inside(const struct mg_expr__node *node, struct mg_slice text)
{
    if (node->low.is_set && mg_slice_compare(text, node->low.text) < node->low.is_open)
        return false;
    return !node->high.is_set || mg_slice_compare(text, node->high.text) <= -(int)node->high.is_open;
}

#endif
