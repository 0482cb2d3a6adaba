/* scalar_internal.h -- bound scalars: the nodes that scalar.c makes and scalar_eval.c runs.
 *
 * Classes  every computed value is held as int64, double or 128-bit decimal; its own type may be narrower, then the
 *          node checks the range. Conversions between classes are nodes of their own, so an operation's arguments
 *          always are of its class.
 * Threads  immutable after binding.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_SCALAR_INTERNAL_H
#define MG_EXPR_SCALAR_INTERNAL_H

#include "expr/scalar.h"

enum mg_scalar__kind {
    MG_SCALAR_COLUMN,
    MG_SCALAR_CONSTANT, /* MG_SCALAR_ROWS_MAX times the same, or NULL */
    MG_SCALAR_CONVERT,  /* left, to this class; decimals to this scale, which is not below */
    MG_SCALAR_ADD,
    MG_SCALAR_SUBTRACT,
    MG_SCALAR_MULTIPLY,
    MG_SCALAR_DIVIDE,
    MG_SCALAR_NEGATE, /* left */
};

enum mg_scalar__class {
    MG_CLASS_AS_IT_IS, /* a column */
    MG_CLASS_INT,      /* int64 */
    MG_CLASS_FLOAT,    /* double */
    MG_CLASS_DECIMAL,  /* mg_int128 */
};

struct mg_scalar__node {
    enum mg_scalar__kind kind;
    enum mg_scalar__class class;
    struct mg_type type;    /* by the rules */
    struct mg_type storage; /* as it is held */
    bool is_spark;
    uint32_t column; /* COLUMN */
    uint32_t slot;   /* place in the frame: the others */
    struct mg_scalar__node *left, *right;
    const void *constant; /* CONSTANT; NULL: it is NULL */

    /* Decimal operations: arguments times 10^up, the exact result by 10^down. */
    uint8_t left_up, right_up, down;
    mg_int128 bound;  /* of the result: 10^precision */
    bool always_fits; /* whatever the arguments of those types */
};

struct mg_scalar {
    struct mg_arena arena; /* all nodes */
    struct mg_scalar__node *root;
    uint32_t slot_count;
    int bare_column; /* or -1 */
};

enum {
    MG_SCALAR__VALUES = MG_SCALAR_ROWS_MAX * 16,
    MG_SCALAR__SLOT = MG_SCALAR__VALUES + MG_SCALAR_ROWS_MAX / 8, /* and the validity bits */
};

/* One node over rows; for folding constants, too. */
MG_MUST_CHECK enum mg_code mg_scalar__run(const struct mg_scalar__node *node, const struct mg_vector *const *vectors,
                                          uint32_t row_count, uint8_t *frame, struct mg_vector *out,
                                          struct mg_error *err);

/* One operation, its arguments' values given (right NULL: it has one); slot: MG_SCALAR__SLOT bytes. */
MG_MUST_CHECK enum mg_code mg_scalar__apply(const struct mg_scalar__node *node, const struct mg_vector *left,
                                            const struct mg_vector *right, uint32_t row_count, uint8_t *slot,
                                            struct mg_vector *out, struct mg_error *err);
/* A constant's rows. */
void mg_scalar__constant(const struct mg_scalar__node *node, uint32_t row_count, struct mg_vector *out);

static inline bool mg_scalar__is_int(enum mg_type_id id) { return id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64; }
static inline bool mg_scalar__is_unsigned(enum mg_type_id id) { return id >= MG_TYPE_UINT8 && id <= MG_TYPE_UINT64; }
static inline bool mg_scalar__is_float(enum mg_type_id id) { return id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64; }
/* Decimal digits that hold every value of an integer type. */
uint8_t mg_scalar__digits(enum mg_type_id id);

#endif
