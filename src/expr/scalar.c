/* scalar.c -- from a tree with names to nodes with types: what each operation is computed in, and what it gives.
 *
 * MySQL   (as TiDB gives the types)
 *         + - *   float when one side is (double); decimal when one is; else BIGINT, unsigned when one is
 *         /       double or decimal: (p1 + s2 + 4, s1 + 4)
 *         decimals: + - (max int digits + max scale + 1, max scale), * (p1 + p2, s1 + s2); scale at most 30
 * Spark   + - *   double or float when one side is; decimal when one is; else the wider integer type
 *         /       double or decimal
 *         decimals: + - as above, * (p1 + p2 + 1, s1 + s2), / (p1 - s1 + s2 + scale, max(6, s1 + p2 + 1)); above 38
 *         digits the scale gives way, down to 6
 * Limits  precision ends at 38 under both; MySQL's own 65 digits are not had: what needs them is MG_OUT_OF_RANGE.
 * Threads a bound scalar is immutable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "expr/scalar_internal.h"

enum { SCALE_MAX_MYSQL = 30, DIVIDE_DIGITS_MYSQL = 4, SCALE_MIN_SPARK = 6, ARENA_MAX = 256 << 20 };

struct binder {
    struct mg_scalar *scalar;
    const struct mg_schema *schema;
    enum mg_rules rules;
    uint32_t node_count;
    uint8_t *frame; /* of one slot, for folding */
    struct mg_error *err;
};

uint8_t mg_scalar__digits(enum mg_type_id id)
{
    switch (id) {
    case MG_TYPE_INT8:
    case MG_TYPE_UINT8: return 3;
    case MG_TYPE_INT16:
    case MG_TYPE_UINT16: return 5;
    case MG_TYPE_INT32:
    case MG_TYPE_UINT32: return 10;
    case MG_TYPE_INT64: return 19;
    default: return 20;
    }
}

static bool is_number(enum mg_type_id id) { return id >= MG_TYPE_INT8 && id <= MG_TYPE_DECIMAL; }

static struct mg_type decimal(uint32_t precision, uint32_t scale)
{
    return (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
}

static enum mg_scalar__class class_of(struct mg_type type)
{
    if (mg_scalar__is_float(type.id))
        return MG_CLASS_FLOAT;
    return type.id == MG_TYPE_DECIMAL || mg_scalar__is_unsigned(type.id) ? MG_CLASS_DECIMAL : MG_CLASS_INT;
}

static struct mg_type storage_of(enum mg_scalar__class class, struct mg_type type)
{
    if (class == MG_CLASS_INT)
        return (struct mg_type){.id = MG_TYPE_INT64};
    if (class == MG_CLASS_FLOAT)
        return (struct mg_type){.id = MG_TYPE_FLOAT64};
    return type.id == MG_TYPE_DECIMAL ? type : decimal(mg_scalar__digits(type.id), 0);
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

static enum mg_code new_node(struct binder *b, enum mg_scalar__kind kind, struct mg_type type,
                             struct mg_scalar__node **out)
{
    struct mg_scalar__node *node = mg_arena_new(&b->scalar->arena, struct mg_scalar__node);

    if (!node)
        return mg_arena_fail(&b->scalar->arena, b->err);
    node->kind = kind;
    node->type = type;
    node->is_spark = b->rules == MG_RULES_SPARK;
    if (kind == MG_SCALAR_COLUMN) {
        node->storage = type;
    } else {
        node->class = class_of(type);
        node->storage = storage_of(node->class, type);
        node->slot = b->scalar->slot_count++;
    }
    *out = node;
    return MG_OK;
}

/* The value of a constant node, for all rows of a block, in the arena. */
static enum mg_code spread(struct binder *b, struct mg_scalar__node *node, const void *value, size_t width)
{
    uint8_t *copies = mg_arena_alloc(&b->scalar->arena, MG_SCALAR__VALUES);

    if (!copies)
        return mg_arena_fail(&b->scalar->arena, b->err);
    for (uint32_t i = 0; i < MG_SCALAR_ROWS_MAX; i++)
        memcpy(copies + i * width, value, width);
    node->constant = copies;
    return MG_OK;
}

/* A conversion of a constant is done now. */
static enum mg_code fold(struct binder *b, struct mg_scalar__node *node)
{
    struct mg_vector value;

    if (!node->left->constant) {
        node->kind = MG_SCALAR_CONSTANT;
        return MG_OK;
    }
    node->slot = 0; /* the binder's frame has one */
    MG_TRY(mg_scalar__run(node, NULL, 1, b->frame, &value, b->err));
    node->kind = MG_SCALAR_CONSTANT;
    return spread(b, node, value.values, mg_type_width(node->storage.id));
}

/* `from` as a value of `type`, which holds all of its values: its class changes, or its scale rises. */
static enum mg_code convert(struct binder *b, struct mg_scalar__node *from, struct mg_type type,
                            struct mg_scalar__node **out)
{
    struct mg_scalar__node *node = NULL;
    enum mg_scalar__class class = class_of(type);
    uint8_t scale = from->storage.id == MG_TYPE_DECIMAL ? from->storage.scale : 0;

    if (from->storage.id == storage_of(class, type).id && (class != MG_CLASS_DECIMAL || scale == type.scale)) {
        *out = from;
        return MG_OK;
    }
    MG_TRY(new_node(b, MG_SCALAR_CONVERT, type, &node));
    node->left = from;
    node->left_up = (uint8_t)(class == MG_CLASS_DECIMAL ? type.scale - scale : 0);
    if (from->kind == MG_SCALAR_CONSTANT)
        MG_TRY(fold(b, node));
    *out = node;
    return MG_OK;
}

static enum mg_code bind_column(struct binder *b, struct mg_slice name, struct mg_scalar__node **out)
{
    int place = mg_schema_find_name(b->schema, name);

    if (place < 0)
        return mg_fail(b->err, MG_NOT_FOUND, "table \"%s\".\"%s\" has no column \"%.*s\"", b->schema->database,
                       b->schema->table, (int)MG_MIN(name.size, 64), (const char *)name.data);
    MG_TRY(new_node(b, MG_SCALAR_COLUMN, b->schema->columns[place].type, out));
    (*out)->column = (uint32_t)place;
    if (b->rules == MG_RULES_SPARK) /* it sees unsigned columns widened */
        (*out)->type = mg_profile_type(MG_PROFILE_SPARK, (*out)->type);
    return MG_OK;
}

static uint32_t digits_of(mg_int128 v)
{
    uint32_t digits = 1;

    while (digits < MG_DECIMAL_PRECISION_MAX && !mg_decimal_fits(v, (uint8_t)digits))
        digits++;
    return digits;
}

/* Integers become int32 where they fit, as Spark reads them, else int64 or uint64. */
static enum mg_code bind_literal(struct binder *b, const struct mg_value *value, struct mg_scalar__node **out)
{
    struct mg_type type = value->type;
    bool is_unsigned = mg_scalar__is_unsigned(type.id);

    if (value->is_null) {
        MG_TRY(new_node(b, MG_SCALAR_CONSTANT, (struct mg_type){.id = MG_TYPE_NONE}, out));
        return MG_OK;
    }
    if (!is_number(type.id)) {
        char text[48];
        mg_type_format(type, text);
        return mg_fail(b->err, MG_INVALID, "a literal of type %s cannot be computed with", text);
    }
    MG_TRY(mg_type_check(type, b->err));
    if (mg_scalar__is_int(type.id)) {
        bool fits = is_unsigned ? value->u <= INT64_MAX : true;
        type.id = !fits                                            ? MG_TYPE_UINT64
                  : value->i >= INT32_MIN && value->i <= INT32_MAX ? MG_TYPE_INT32
                                                                   : MG_TYPE_INT64;
        if (!fits && b->rules == MG_RULES_SPARK)
            type = decimal(20, 0);
    }
    MG_TRY(new_node(b, MG_SCALAR_CONSTANT, type, out));
    mg_int128 wide = value->type.id == MG_TYPE_DECIMAL ? value->d : (mg_int128)value->u;
    switch ((*out)->class) {
    case MG_CLASS_INT: return spread(b, *out, &value->i, sizeof value->i);
    case MG_CLASS_FLOAT: return spread(b, *out, &value->f, sizeof value->f);
    default: return spread(b, *out, &wide, sizeof wide);
    }
}

/* ---- types of results ---------------------------------------------------------------------------------------- */

/* An argument's type where the operation is decimal: integer literals count their own digits, as both do. */
static struct mg_type as_decimal(const struct mg_scalar__node *node)
{
    if (node->type.id == MG_TYPE_DECIMAL)
        return node->type;
    if (node->type.id == MG_TYPE_NONE)
        return decimal(1, 0);
    if (node->kind == MG_SCALAR_CONSTANT && node->class == MG_CLASS_INT)
        return decimal(digits_of(*(const int64_t *)node->constant), 0);
    if (node->type.id == MG_TYPE_INT64 && node->is_spark)
        return decimal(20, 0); /* Spark's own figure */
    return decimal(mg_scalar__digits(node->type.id), 0);
}

static struct mg_type spark_adjusted(uint32_t precision, uint32_t scale)
{
    if (precision <= MG_DECIMAL_PRECISION_MAX)
        return decimal(precision, scale);
    int32_t int_digits = (int32_t)(precision - scale), left = MG_DECIMAL_PRECISION_MAX - int_digits;
    int32_t least = (int32_t)MG_MIN(scale, (uint32_t)SCALE_MIN_SPARK);
    return decimal(MG_DECIMAL_PRECISION_MAX, (uint32_t)MG_MAX(left, least));
}

static struct mg_type mysql_bounded(uint32_t precision, uint32_t scale)
{
    scale = MG_MIN(scale, (uint32_t)SCALE_MAX_MYSQL);
    precision = MG_MIN(MG_MAX(precision, scale), (uint32_t)MG_DECIMAL_PRECISION_MAX);
    return decimal(precision, scale);
}

/* The type of a decimal operation; *exact_precision: digits that its exact result may have, at scale *exact_scale. */
static struct mg_type decimal_result(const struct mg_scalar__node *node, struct mg_type a, struct mg_type b,
                                     uint32_t *exact_precision, uint32_t *exact_scale)
{
    uint32_t scale, precision, a_int = a.precision - a.scale, b_int = b.precision - b.scale;

    switch (node->kind) {
    case MG_SCALAR_MULTIPLY:
        scale = *exact_scale = (uint32_t)a.scale + b.scale;
        *exact_precision = (uint32_t)a.precision + b.precision;
        precision = *exact_precision + (node->is_spark ? 1 : 0);
        break;
    case MG_SCALAR_DIVIDE:
        scale = node->is_spark ? MG_MAX((uint32_t)SCALE_MIN_SPARK, (uint32_t)a.scale + b.precision + 1)
                               : (uint32_t)a.scale + DIVIDE_DIGITS_MYSQL;
        precision = node->is_spark ? a_int + b.scale + scale : (uint32_t)a.precision + b.scale + DIVIDE_DIGITS_MYSQL;
        *exact_precision = UINT32_MAX;
        *exact_scale = scale;
        break;
    default:
        scale = *exact_scale = MG_MAX(a.scale, b.scale);
        precision = *exact_precision = MG_MAX(a_int, b_int) + scale + 1;
    }
    return node->is_spark ? spark_adjusted(precision, scale) : mysql_bounded(precision, scale);
}

/* A constant is scaled once, not in every row. */
static enum mg_code scale_constant(struct binder *b, struct mg_scalar__node **node, struct mg_type type, uint8_t *up)
{
    if ((*node)->kind != MG_SCALAR_CONSTANT || type.precision + *up > MG_DECIMAL_PRECISION_MAX)
        return MG_OK;
    MG_TRY(convert(b, *node, decimal((uint32_t)type.precision + *up, (uint32_t)type.scale + *up), node));
    *up = 0;
    return MG_OK;
}

static enum mg_code finish_decimal(struct binder *b, struct mg_scalar__node *node)
{
    struct mg_type left = as_decimal(node->left), right = as_decimal(node->right);
    uint32_t precision, scale;

    node->type = decimal_result(node, left, right, &precision, &scale);
    node->storage = node->type;
    node->class = MG_CLASS_DECIMAL;
    node->bound = mg_decimal_power(node->type.precision);
    MG_TRY(convert(b, node->left, left, &node->left));
    MG_TRY(convert(b, node->right, right, &node->right));
    node->always_fits = precision <= node->type.precision && scale == node->type.scale;
    node->down = (uint8_t)(node->kind == MG_SCALAR_DIVIDE ? 0 : scale - node->type.scale);
    if (node->kind == MG_SCALAR_DIVIDE) {
        node->left_up = (uint8_t)(node->type.scale - left.scale + right.scale);
    } else if (node->kind != MG_SCALAR_MULTIPLY) {
        node->left_up = (uint8_t)(scale - left.scale);
        node->right_up = (uint8_t)(scale - right.scale);
        MG_TRY(scale_constant(b, &node->left, left, &node->left_up));
        MG_TRY(scale_constant(b, &node->right, right, &node->right_up));
    }
    return MG_OK;
}

/* Integers among themselves; not a division. */
static enum mg_code finish_int(struct binder *b, struct mg_scalar__node *node)
{
    enum mg_type_id x = node->left->type.id, y = node->right->type.id;

    if (node->is_spark) { /* NONE is below all */
        node->type.id = MG_MAX(MG_MAX(x, y), MG_TYPE_INT8);
    } else {
        node->type.id = mg_scalar__is_unsigned(x) || mg_scalar__is_unsigned(y) ? MG_TYPE_UINT64 : MG_TYPE_INT64;
    }
    node->class = class_of(node->type);
    node->storage = storage_of(node->class, node->type);
    struct mg_type in = node->class == MG_CLASS_DECIMAL ? decimal(20, 0) : (struct mg_type){.id = MG_TYPE_INT64};
    MG_TRY(convert(b, node->left, in, &node->left));
    return convert(b, node->right, in, &node->right);
}

static enum mg_code finish_float(struct binder *b, struct mg_scalar__node *node, bool is_single)
{
    node->type = (struct mg_type){.id = is_single ? MG_TYPE_FLOAT32 : MG_TYPE_FLOAT64};
    node->class = MG_CLASS_FLOAT;
    node->storage = storage_of(node->class, node->type);
    struct mg_type in = {.id = MG_TYPE_FLOAT64};
    MG_TRY(convert(b, node->left, in, &node->left));
    return convert(b, node->right, in, &node->right);
}

static enum mg_code finish_binary(struct binder *b, struct mg_scalar__node *node)
{
    enum mg_type_id x = node->left->type.id, y = node->right->type.id;
    bool is_divide = node->kind == MG_SCALAR_DIVIDE;
    bool is_single = x == MG_TYPE_FLOAT32 && y == MG_TYPE_FLOAT32 && node->is_spark && !is_divide;

    if (mg_scalar__is_float(x) || mg_scalar__is_float(y))
        return finish_float(b, node, is_single);
    if (x == MG_TYPE_DECIMAL || y == MG_TYPE_DECIMAL || (is_divide && !node->is_spark))
        return finish_decimal(b, node);
    return is_divide ? finish_float(b, node, false) : finish_int(b, node);
}

/* -x: MySQL's unsigned become BIGINT, and all its integers do. */
static enum mg_code finish_negate(struct binder *b, struct mg_scalar__node *node)
{
    struct mg_type type = node->left->type;

    if (type.id == MG_TYPE_NONE)
        type.id = MG_TYPE_INT64;
    if (!node->is_spark && mg_scalar__is_int(type.id))
        node->type.id = MG_TYPE_INT64;
    else if (!node->is_spark && type.id == MG_TYPE_FLOAT32)
        node->type.id = MG_TYPE_FLOAT64;
    else
        node->type = type;
    node->class = class_of(type);
    node->storage = storage_of(node->class, type);
    node->always_fits = type.id == MG_TYPE_DECIMAL;
    return convert(b, node->left, node->storage, &node->left);
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static enum mg_code bind_node(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                              struct mg_scalar__node **out);

static bool widens(struct mg_type from, struct mg_type to)
{
    bool to_int = mg_scalar__is_int(to.id), from_unsigned = mg_scalar__is_unsigned(from.id);
    uint32_t from_width = mg_type_width(from.id), to_width = mg_type_width(to.id);

    if (!is_number(to.id) || (from.id != MG_TYPE_NONE && !is_number(from.id)))
        return false;
    if (to.id == MG_TYPE_FLOAT64 || from.id == MG_TYPE_NONE)
        return true;
    if (to.id == MG_TYPE_FLOAT32)
        return from.id == MG_TYPE_FLOAT32;
    if (mg_scalar__is_float(from.id))
        return false;
    if (from.id == MG_TYPE_DECIMAL)
        return to.id == MG_TYPE_DECIMAL && to.scale >= from.scale &&
               to.precision - to.scale >= from.precision - from.scale;
    if (!to_int)
        return to.precision - to.scale >= mg_scalar__digits(from.id);
    if (from_unsigned == mg_scalar__is_unsigned(to.id))
        return to_width >= from_width;
    return from_unsigned && to_width > from_width;
}

static enum mg_code bind_cast(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                              struct mg_scalar__node **out)
{
    struct mg_scalar__node *from = NULL;
    struct mg_type type = expr->cast_type;
    char from_text[48], to_text[48];

    MG_TRY(bind_node(b, expr->args[0], depth, &from));
    MG_TRY(mg_type_check(type, b->err));
    struct mg_type have = from->type;
    if (from->kind == MG_SCALAR_CONSTANT && mg_scalar__is_int(have.id))
        have = as_decimal(from);
    mg_type_format(from->type, from_text);
    mg_type_format(type, to_text);
    bool literal_to_int = have.id == MG_TYPE_DECIMAL && mg_scalar__is_int(from->type.id) &&
                          mg_scalar__is_int(type.id) && have.precision < mg_scalar__digits(type.id);
    if (!literal_to_int && !widens(have, type) && !widens(from->type, type))
        return mg_fail(b->err, MG_INVALID, "a cast of %s to %s could lose digits: only wider numbers are possible",
                       from_text, to_text);
    MG_TRY(new_node(b, MG_SCALAR_CONVERT, type, out));
    (*out)->left = from;
    (*out)->left_up = (uint8_t)(type.scale - (from->storage.id == MG_TYPE_DECIMAL ? from->storage.scale : 0));
    return from->kind == MG_SCALAR_CONSTANT ? fold(b, *out) : MG_OK;
}

static enum mg_code bind_operation(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                                   struct mg_scalar__node **out)
{
    static const enum mg_scalar__kind kinds[] = {
        [0] = MG_SCALAR_ADD,
        [MG_EXPR_SUBTRACT - MG_EXPR_ADD] = MG_SCALAR_SUBTRACT,
        [MG_EXPR_MULTIPLY - MG_EXPR_ADD] = MG_SCALAR_MULTIPLY,
        [MG_EXPR_DIVIDE - MG_EXPR_ADD] = MG_SCALAR_DIVIDE,
        [MG_EXPR_NEGATE - MG_EXPR_ADD] = MG_SCALAR_NEGATE,
    };
    uint32_t wanted = expr->op == MG_EXPR_NEGATE ? 1 : 2;
    struct mg_scalar__node *args[2] = {NULL};

    for (uint32_t i = 0; i < wanted; i++) {
        MG_TRY(bind_node(b, expr->args[i], depth, &args[i]));
        if (args[i]->type.id != MG_TYPE_NONE && !is_number(args[i]->type.id)) {
            char text[48];
            mg_type_format(args[i]->type, text);
            return mg_fail(b->err, MG_INVALID, "a value of type %s cannot be computed with", text);
        }
    }
    MG_TRY(new_node(b, kinds[expr->op - MG_EXPR_ADD], (struct mg_type){.id = MG_TYPE_INT64}, out));
    (*out)->left = args[0];
    (*out)->right = args[1];
    return expr->op == MG_EXPR_NEGATE ? finish_negate(b, *out) : finish_binary(b, *out);
}

static enum mg_code bind_node(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                              struct mg_scalar__node **out)
{
    uint32_t wanted = expr->op == MG_EXPR_NEGATE || expr->op == MG_EXPR_CAST ? 1 : 2;

    if (depth == MG_EXPR_DEPTH_MAX)
        return mg_fail(b->err, MG_TOO_BIG, "an expression is nested more than %d deep", MG_EXPR_DEPTH_MAX);
    if (++b->node_count > MG_SCALAR_NODES_MAX)
        return mg_fail(b->err, MG_TOO_BIG, "an expression has more than %d nodes", MG_SCALAR_NODES_MAX);
    if (expr->op == MG_EXPR_COLUMN)
        return bind_column(b, expr->column_name, out);
    if (expr->op == MG_EXPR_LITERAL)
        return bind_literal(b, &expr->literal, out);
    if (expr->op < MG_EXPR_ADD || expr->op > MG_EXPR_CAST)
        return mg_fail(b->err, MG_INVALID, "operator number %d gives no value to compute with", (int)expr->op);
    if (expr->arg_count != wanted)
        return mg_fail(b->err, MG_INVALID, "an arithmetic operator has %u arguments, it takes %u", expr->arg_count,
                       wanted);
    return expr->op == MG_EXPR_CAST ? bind_cast(b, expr, depth + 1, out) : bind_operation(b, expr, depth + 1, out);
}

static void mark(const struct mg_scalar__node *node, bool *used)
{
    if (!node)
        return;
    if (node->kind == MG_SCALAR_COLUMN)
        used[node->column] = true;
    mark(node->left, used);
    mark(node->right, used);
}

static enum mg_code bind_root(struct mg_scalar *scalar, const struct mg_expr *expr, const struct mg_schema *schema,
                              enum mg_rules rules, struct mg_error *err)
{
    struct binder b = {.scalar = scalar, .schema = schema, .rules = rules, .err = err};

    b.frame = mg_arena_alloc(&scalar->arena, MG_SCALAR__SLOT);
    if (!b.frame)
        return mg_arena_fail(&scalar->arena, err);
    scalar->slot_count = 1; /* the first is where constants are folded */
    MG_TRY(bind_node(&b, expr, 0, &scalar->root));
    scalar->bare_column = scalar->root->kind == MG_SCALAR_COLUMN ? (int)scalar->root->column : -1;
    return MG_OK;
}

enum mg_code mg_scalar_bind(const struct mg_expr *expr, const struct mg_schema *schema, enum mg_rules rules,
                            struct mg_scalar **out, struct mg_error *err)
{
    struct mg_scalar *scalar = calloc(1, sizeof *scalar);

    if (!scalar)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an expression");
    mg_arena_init(&scalar->arena, ARENA_MAX);
    enum mg_code code = bind_root(scalar, expr, schema, rules, err);
    if (code != MG_OK) {
        mg_scalar_free(scalar);
        return code;
    }
    *out = scalar;
    return MG_OK;
}

void mg_scalar_free(struct mg_scalar *scalar)
{
    if (!scalar)
        return;
    mg_arena_clear(&scalar->arena);
    free(scalar);
}

struct mg_type mg_scalar_type(const struct mg_scalar *scalar) { return scalar->root->type; }

int mg_scalar_column(const struct mg_scalar *scalar) { return scalar->bare_column; }

void mg_scalar_mark(const struct mg_scalar *scalar, bool *used) { mark(scalar->root, used); }

size_t mg_scalar_frame_bytes(const struct mg_scalar *scalar) { return (size_t)scalar->slot_count * MG_SCALAR__SLOT; }
