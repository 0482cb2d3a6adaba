/* bind.c -- from a predicate tree with names to nodes that can be evaluated: names to places, literals to ranges and
 * lists.
 *
 * Comparisons  column with literal: a range of the column's ordinals (none: never true; all: true where not NULL); with
 *              a text column: text bounds. column with column: a kernel when the types agree, else row by row. literal
 *              with literal: a constant.
 * Rewriting    <> is NOT =, > is < turned round, BETWEEN is two comparisons, <=> adds what it says about NULL, an IN
 *              list with NULL is "IN without it, or NULL". Nested ANDs and ORs become one; ranges of one column in an
 *              AND become one; an AND or OR tries what is cheap first. Nothing that a row could see changes.
 * Memory       nodes, lists and texts lie in the predicate's arena.
 * Errors       MG_NOT_FOUND: no such column. MG_INVALID: argument counts, types that cannot be compared. MG_TOO_BIG:
 *              too deep, too many nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "expr/expr_internal.h"

enum { DESCRIPTION_MAX = 192 };
enum { ARENA_MAX = 512 << 20 }; /* bytes of one bound predicate: the longest list in the widest type takes 100 MiB */

struct binder {
    struct mg_arena *arena;
    const struct mg_schema *schema;
    uint32_t node_count; /* of the tree, visited so far */
    struct mg_error *err;
};

/* ---- making nodes -------------------------------------------------------------------------------------------- */

static enum mg_code new_node(struct binder *b, enum mg_expr__kind kind, struct mg_expr__node **out)
{
    struct mg_expr__node *node = mg_arena_new(b->arena, struct mg_expr__node);

    if (!node) {
        (void)mg_arena_fail(b->arena, b->err);
        return MG_NO_MEMORY;
    }
    node->kind = kind;
    *out = node;
    return MG_OK;
}

static enum mg_code new_constant(struct binder *b, enum mg_expr__truth truth, struct mg_expr__node **out)
{
    MG_TRY(new_node(b, MG_NODE_CONST, out));
    (*out)->constant = truth;
    return MG_OK;
}

static enum mg_code new_column_node(struct binder *b, enum mg_expr__kind kind, uint32_t column,
                                    struct mg_expr__node **out)
{
    MG_TRY(new_node(b, kind, out));
    (*out)->column = column;
    (*out)->type = b->schema->columns[column].type;
    return MG_OK;
}

static enum mg_code new_not(struct binder *b, struct mg_expr__node *child, struct mg_expr__node **out)
{
    static const enum mg_expr__truth turned[] = {[MG_FALSE] = MG_TRUE, [MG_TRUE] = MG_FALSE, [MG_UNKNOWN] = MG_UNKNOWN};

    if (child->kind == MG_NODE_CONST)
        return new_constant(b, turned[child->constant], out);
    if (child->kind == MG_NODE_NOT) {
        *out = child->children[0];
        return MG_OK;
    }
    MG_TRY(new_node(b, MG_NODE_NOT, out));
    (*out)->child_count = 1;
    (*out)->children = mg_arena_array(b->arena, struct mg_expr__node *, 1);
    if (!(*out)->children)
        return mg_arena_fail(b->arena, b->err);
    (*out)->children[0] = child;
    return MG_OK;
}

static enum mg_code new_never(struct binder *b, uint32_t column, struct mg_expr__node **out)
{
    struct mg_expr__node *always = NULL;

    MG_TRY(new_column_node(b, MG_NODE_ALWAYS, column, &always));
    return new_not(b, always, out);
}

/* low <= column <= high in ordinals: a range, or a constant where not NULL. */
static enum mg_code new_range(struct binder *b, uint32_t column, mg_int128 low, mg_int128 high,
                              struct mg_expr__node **out)
{
    struct mg_type type = b->schema->columns[column].type;
    mg_int128 lowest, highest;

    mg_expr__domain(type.id, &lowest, &highest);
    low = MG_MAX(low, lowest);
    high = MG_MIN(high, highest);
    if (low > high)
        return new_never(b, column, out);
    if (low == lowest && high == highest)
        return new_column_node(b, MG_NODE_ALWAYS, column, out);
    MG_TRY(new_column_node(b, MG_NODE_RANGE, column, out));
    struct mg_expr__range *range = &(*out)->range;
    *range = (struct mg_expr__range){
        .low = low, .high = high, .span = (unsigned __int128)high - (unsigned __int128)low};
    if (type.id == MG_TYPE_FLOAT32 || type.id == MG_TYPE_FLOAT64) {
        range->low_float = mg_expr__from_ordinal(type, low).f;
        range->high_float = mg_expr__from_ordinal(type, high).f;
        range->low_is_nan = low == highest;
        range->high_is_nan = high == highest;
    }
    return MG_OK;
}

/* ---- AND, OR ------------------------------------------------------------------------------------------------- */

/* Roughly what a row costs; among equals a single value before a range, since it keeps less. */
static int cost(const struct mg_expr__node *node)
{
    int most = 0;

    switch (node->kind) {
    case MG_NODE_CONST: return 0;
    case MG_NODE_IS_NULL:
    case MG_NODE_ALWAYS: return 1;
    case MG_NODE_RANGE: return 2 + (int)mg_type_width(node->type.id) * 2 - (node->range.span == 0);
    case MG_NODE_EQUAL:
    case MG_NODE_LESS:
        return (node->type.id == MG_TYPE_UTF8 ? 200 : 40) +
               (mg_expr__same_kernel(node->type, node->other_type) ? 0 : 400);
    case MG_NODE_SET: return 60;
    case MG_NODE_TEXT_RANGE: return 100;
    case MG_NODE_TEXT_SET: return 150;
    default:
        for (uint32_t i = 0; i < node->child_count; i++)
            most = MG_MAX(most, cost(node->children[i]));
        return node->kind == MG_NODE_NOT ? most + 1 : most + 10 * (int)MG_MIN(node->child_count, 1000);
    }
}

static int compare_text_bounds(const struct mg_expr__text_bound *a, const struct mg_expr__text_bound *b, int open_sign)
{
    int c = mg_slice_compare(a->text, b->text);

    return c ? c : open_sign * (a->is_open - b->is_open);
}

/* Keep in a what both allow; false when they are not two ranges of one column. */
static bool intersect(struct mg_expr__node *a, const struct mg_expr__node *b)
{
    if (a->kind != b->kind || a->column != b->column)
        return false;
    if (a->kind == MG_NODE_RANGE) { /* a is made again from these by the caller */
        a->range.low = MG_MAX(a->range.low, b->range.low);
        a->range.high = MG_MIN(a->range.high, b->range.high);
        return true;
    }
    if (a->kind != MG_NODE_TEXT_RANGE || a->pad_space != b->pad_space)
        return false;
    if (b->low.is_set && (!a->low.is_set || compare_text_bounds(&b->low, &a->low, 1) > 0))
        a->low = b->low;
    if (b->high.is_set && (!a->high.is_set || compare_text_bounds(&b->high, &a->high, -1) < 0))
        a->high = b->high;
    return true;
}

/* Ranges of one column among an AND's children become one. Returns the new count. */
static enum mg_code intersect_all(struct binder *b, struct mg_expr__node **children, uint32_t *count)
{
    uint32_t kept = 0;

    if (*count > 256) /* the search is quadratic */
        return MG_OK;
    for (uint32_t i = 0; i < *count; i++) {
        bool merged = false;
        for (uint32_t j = 0; j < kept && !merged; j++) {
            merged = intersect(children[j], children[i]);
            if (merged && children[j]->kind == MG_NODE_RANGE)
                MG_TRY(
                    new_range(b, children[j]->column, children[j]->range.low, children[j]->range.high, &children[j]));
        }
        if (!merged)
            children[kept++] = children[i];
    }
    *count = kept;
    return MG_OK;
}

static void sort_by_cost(struct mg_expr__node **children, uint32_t count)
{
    if (count > 256)
        return;
    for (uint32_t i = 1; i < count; i++) { /* stable, and lists are short */
        struct mg_expr__node *node = children[i];
        int its_cost = cost(node);
        uint32_t j = i;
        for (; j && cost(children[j - 1]) > its_cost; j--)
            children[j] = children[j - 1];
        children[j] = node;
    }
}

/* AND or OR of nodes. Takes the array over as scratch. */
static enum mg_code new_junction(struct binder *b, enum mg_expr__kind kind, struct mg_expr__node **nodes,
                                 uint32_t node_count, struct mg_expr__node **out)
{
    enum mg_expr__truth neutral = kind == MG_NODE_AND ? MG_TRUE : MG_FALSE;
    enum mg_expr__truth deciding = kind == MG_NODE_AND ? MG_FALSE : MG_TRUE;
    uint32_t total = 0, count = 0;

    for (uint32_t i = 0; i < node_count; i++)
        total += nodes[i]->kind == kind ? nodes[i]->child_count : 1;
    struct mg_expr__node **children = mg_arena_array(b->arena, struct mg_expr__node *, (size_t)total + 1);
    if (!children)
        return mg_arena_fail(b->arena, b->err);
    for (uint32_t i = 0; i < node_count; i++) {
        struct mg_expr__node *node = nodes[i];
        if (node->kind == kind) {
            memcpy(children + count, node->children, node->child_count * sizeof *children);
            count += node->child_count;
        } else if (node->kind == MG_NODE_CONST && node->constant == deciding) {
            *out = node;
            return MG_OK;
        } else if (node->kind != MG_NODE_CONST || node->constant != neutral) {
            children[count++] = node;
        }
    }
    if (kind == MG_NODE_AND)
        MG_TRY(intersect_all(b, children, &count));
    if (count == 0)
        return new_constant(b, neutral, out);
    if (count == 1) {
        *out = children[0];
        return MG_OK;
    }
    sort_by_cost(children, count);
    MG_TRY(new_node(b, kind, out));
    (*out)->children = children;
    (*out)->child_count = count;
    return MG_OK;
}

/* ---- comparisons --------------------------------------------------------------------------------------------- */

static const char *op_name(enum mg_expr_op op)
{
    switch (op) {
    case MG_EXPR_EQ: return "=";
    case MG_EXPR_NE: return "<>";
    case MG_EXPR_LT: return "<";
    case MG_EXPR_LE: return "<=";
    case MG_EXPR_GT: return ">";
    case MG_EXPR_GE: return ">=";
    case MG_EXPR_EQ_NULL_SAFE: return "<=>";
    case MG_EXPR_IS_NULL: return "IS NULL";
    case MG_EXPR_IS_NOT_NULL: return "IS NOT NULL";
    case MG_EXPR_AND: return "AND";
    case MG_EXPR_OR: return "OR";
    case MG_EXPR_NOT: return "NOT";
    case MG_EXPR_IN: return "IN";
    case MG_EXPR_BETWEEN: return "BETWEEN";
    case MG_EXPR_ADD:
    case MG_EXPR_SUBTRACT:
    case MG_EXPR_MULTIPLY:
    case MG_EXPR_DIVIDE:
    case MG_EXPR_NEGATE:
    case MG_EXPR_CAST: return "arithmetic";
    default: return "?";
    }
}

static enum mg_expr_op turned_round(enum mg_expr_op op)
{
    switch (op) {
    case MG_EXPR_LT: return MG_EXPR_GT;
    case MG_EXPR_LE: return MG_EXPR_GE;
    case MG_EXPR_GT: return MG_EXPR_LT;
    case MG_EXPR_GE: return MG_EXPR_LE;
    default: return op;
    }
}

/* One side of a comparison. */
struct operand {
    bool is_column;
    uint32_t column;
    struct mg_value value;
    struct mg_type type;
};

static enum mg_code find_column(struct binder *b, struct mg_slice name, uint32_t *out)
{
    int place = mg_schema_find_name(b->schema, name);

    if (place < 0)
        return mg_fail(b->err, MG_NOT_FOUND, "table \"%s\".\"%s\" has no column \"%.*s\"", b->schema->database,
                       b->schema->table, (int)MG_MIN(name.size, 64), (const char *)name.data);
    *out = (uint32_t)place;
    return MG_OK;
}

static enum mg_code bind_operand(struct binder *b, const struct mg_expr *expr, enum mg_expr_op op, struct operand *out)
{
    *out = (struct operand){.is_column = expr->op == MG_EXPR_COLUMN};
    b->node_count++;
    if (expr->op == MG_EXPR_COLUMN) {
        MG_TRY(find_column(b, expr->column_name, &out->column));
        out->type = b->schema->columns[out->column].type;
        return MG_OK;
    }
    if (expr->op != MG_EXPR_LITERAL)
        return mg_fail(b->err, MG_INVALID, "the operands of %s must be columns or literals, not %s", op_name(op),
                       op_name(expr->op));
    out->value = expr->literal;
    out->type = expr->literal.type;
    if (out->value.is_null)
        out->type.id = out->value.type.id = MG_TYPE_NONE;
    else
        MG_TRY(mg_type_check(out->type, b->err));
    return MG_OK;
}

static void describe(const struct binder *b, const struct operand *operand, char text[DESCRIPTION_MAX])
{
    char type[48];

    mg_type_format(operand->type, type);
    if (operand->is_column)
        snprintf(text, DESCRIPTION_MAX, "column \"%.64s\" of type %s", b->schema->columns[operand->column].name, type);
    else
        snprintf(text, DESCRIPTION_MAX, "a literal of type %s", type);
}

static enum mg_code fail_incomparable(struct binder *b, const struct operand *left, const struct operand *right)
{
    char left_text[DESCRIPTION_MAX], right_text[DESCRIPTION_MAX];

    describe(b, left, left_text);
    describe(b, right, right_text);
    return mg_fail(b->err, MG_INVALID, "%s cannot be compared with %s", left_text, right_text);
}

/* A text literal against a number, date or time becomes one; then the types must be comparable. */
static enum mg_code make_comparable(struct binder *b, struct operand *left, struct operand *right)
{
    struct operand *sides[2] = {left, right};

    for (int i = 0; i < 2; i++) {
        struct operand *text = sides[i], *other = sides[1 - i];
        if (text->is_column || text->type.id != MG_TYPE_UTF8 || other->type.id == MG_TYPE_UTF8 ||
            other->type.id == MG_TYPE_NONE)
            continue;
        struct mg_value converted;
        if (!mg_expr__value_of_text(text->value.text, other->type.id, &converted)) {
            char other_text[DESCRIPTION_MAX];
            describe(b, other, other_text);
            return mg_fail(b->err, MG_INVALID, "the text '%.*s' cannot be compared with %s",
                           (int)MG_MIN(text->value.text.size, 64), (const char *)text->value.text.data, other_text);
        }
        text->value = converted;
        text->type = converted.type;
    }
    return mg_expr__comparable(left->type.id, right->type.id) ? MG_OK : fail_incomparable(b, left, right);
}

static enum mg_code copy_text(struct binder *b, struct mg_slice text, bool pad_space, struct mg_slice *out)
{
    if (pad_space)
        text = mg_expr__trim(text);
    char *copy = mg_arena_text(b->arena, text);
    if (!copy)
        return mg_arena_fail(b->arena, b->err);
    *out = MG_SLICE(copy, text.size);
    return MG_OK;
}

/* column op literal, op one of = < <= > >=. */
static enum mg_code bind_range(struct binder *b, enum mg_expr_op op, uint32_t column, const struct mg_value *literal,
                               struct mg_expr__node **out)
{
    struct mg_type type = b->schema->columns[column].type;
    mg_int128 low, high, first, last;

    mg_expr__domain(type.id, &low, &high);
    mg_expr__place(type, literal, &first, &last);
    switch (op) {
    case MG_EXPR_EQ: return new_range(b, column, first, last, out);
    case MG_EXPR_LT: return new_range(b, column, low, first - 1, out);
    case MG_EXPR_LE: return new_range(b, column, low, last, out);
    case MG_EXPR_GT: return new_range(b, column, last + 1, high, out);
    default: return new_range(b, column, first, high, out);
    }
}

static enum mg_code bind_text_range(struct binder *b, enum mg_expr_op op, uint32_t column, struct mg_slice literal,
                                    bool pad_space, struct mg_expr__node **out)
{
    struct mg_expr__text_bound bound = {.is_set = true, .is_open = op == MG_EXPR_LT || op == MG_EXPR_GT};

    MG_TRY(copy_text(b, literal, pad_space, &bound.text));
    MG_TRY(new_column_node(b, MG_NODE_TEXT_RANGE, column, out));
    (*out)->pad_space = pad_space;
    if (op != MG_EXPR_LT && op != MG_EXPR_LE)
        (*out)->low = bound;
    if (op != MG_EXPR_GT && op != MG_EXPR_GE)
        (*out)->high = bound;
    return MG_OK;
}

static enum mg_code bind_columns(struct binder *b, enum mg_expr_op op, uint32_t left, uint32_t right, bool pad_space,
                                 struct mg_expr__node **out)
{
    if (op == MG_EXPR_GT || op == MG_EXPR_LE) { /* a > b is b < a; a <= b is NOT b < a */
        uint32_t swapped = left;
        left = right;
        right = swapped;
    }
    MG_TRY(new_column_node(b, op == MG_EXPR_EQ ? MG_NODE_EQUAL : MG_NODE_LESS, left, out));
    (*out)->other = right;
    (*out)->other_type = b->schema->columns[right].type;
    (*out)->pad_space = pad_space;
    if (op == MG_EXPR_LE || op == MG_EXPR_GE)
        return new_not(b, *out, out);
    return MG_OK;
}

static bool holds(enum mg_expr_op op, int order)
{
    switch (op) {
    case MG_EXPR_EQ: return order == 0;
    case MG_EXPR_LT: return order < 0;
    case MG_EXPR_LE: return order <= 0;
    case MG_EXPR_GT: return order > 0;
    default: return order >= 0;
    }
}

/* left op right of comparable operands, op one of = < <= > >=. */
static enum mg_code compare_operands(struct binder *b, enum mg_expr_op op, const struct operand *left,
                                     const struct operand *right, bool pad_space, struct mg_expr__node **out)
{
    if ((!left->is_column && left->value.is_null) || (!right->is_column && right->value.is_null))
        return new_constant(b, MG_UNKNOWN, out);
    if (!left->is_column && !right->is_column) {
        bool truth = holds(op, mg_expr__compare(&left->value, &right->value, pad_space));
        return new_constant(b, truth ? MG_TRUE : MG_FALSE, out);
    }
    if (left->is_column && right->is_column)
        return bind_columns(b, op, left->column, right->column, pad_space, out);
    if (!left->is_column)
        return compare_operands(b, turned_round(op), right, left, pad_space, out);
    if (left->type.id == MG_TYPE_UTF8)
        return bind_text_range(b, op, left->column, right->value.text, pad_space, out);
    return bind_range(b, op, left->column, &right->value, out);
}

static enum mg_code is_null_node(struct binder *b, const struct operand *operand, struct mg_expr__node **out)
{
    if (operand->is_column)
        return new_column_node(b, MG_NODE_IS_NULL, operand->column, out);
    return new_constant(b, operand->value.is_null ? MG_TRUE : MG_FALSE, out);
}

/* <=>: both NULL, or neither and equal. */
static enum mg_code null_safe(struct binder *b, const struct operand *left, const struct operand *right, bool pad_space,
                              struct mg_expr__node **out)
{
    struct mg_expr__node *left_null = NULL, *right_null = NULL, *both_null = NULL, *equal[3] = {NULL},
                         *both_there = NULL;

    MG_TRY(is_null_node(b, left, &left_null));
    MG_TRY(is_null_node(b, right, &right_null));
    MG_TRY(new_junction(b, MG_NODE_AND, (struct mg_expr__node *[]){left_null, right_null}, 2, &both_null));
    MG_TRY(new_not(b, left_null, &equal[0]));
    MG_TRY(new_not(b, right_null, &equal[1]));
    MG_TRY(compare_operands(b, MG_EXPR_EQ, left, right, pad_space, &equal[2]));
    MG_TRY(new_junction(b, MG_NODE_AND, equal, 3, &both_there));
    return new_junction(b, MG_NODE_OR, (struct mg_expr__node *[]){both_null, both_there}, 2, out);
}

static enum mg_code compare(struct binder *b, enum mg_expr_op op, struct operand left, struct operand right,
                            bool pad_space, struct mg_expr__node **out)
{
    MG_TRY(make_comparable(b, &left, &right));
    if (op == MG_EXPR_EQ_NULL_SAFE)
        return null_safe(b, &left, &right, pad_space, out);
    if (op == MG_EXPR_NE) {
        MG_TRY(compare_operands(b, MG_EXPR_EQ, &left, &right, pad_space, out));
        return new_not(b, *out, out);
    }
    return compare_operands(b, op, &left, &right, pad_space, out);
}

/* ---- IN ------------------------------------------------------------------------------------------------------ */

static int by_ordinal(const void *a, const void *b)
{
    mg_int128 x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int by_text(const void *a, const void *b)
{
    return mg_slice_compare(*(const struct mg_slice *)a, *(const struct mg_slice *)b);
}

/* At least twice as many slots as members. */
static uint32_t slot_mask_for(uint32_t count)
{
    uint32_t slots = 16;

    while (slots < count * 2)
        slots *= 2;
    return slots - 1;
}

/* The hash table of a SET of at most 8 bytes; ordinals are unique and rising. */
static enum mg_code fill_keys(struct binder *b, struct mg_expr__set *set)
{
    set->slot_mask = slot_mask_for(set->count);
    set->keys = mg_arena_array(b->arena, uint64_t, (size_t)set->slot_mask + 1);
    if (!set->keys)
        return mg_arena_fail(b->arena, b->err);
    bool taken = true;
    for (set->absent_key = 0; taken; set->absent_key += taken) {
        mg_int128 as_signed = (int64_t)set->absent_key, as_unsigned = set->absent_key;
        taken = bsearch(&as_signed, set->ordinals, set->count, sizeof as_signed, by_ordinal) ||
                bsearch(&as_unsigned, set->ordinals, set->count, sizeof as_signed, by_ordinal);
    }
    for (uint32_t slot = 0; slot <= set->slot_mask; slot++)
        set->keys[slot] = set->absent_key;
    for (uint32_t i = 0; i < set->count; i++) {
        uint64_t key = (uint64_t)set->ordinals[i];
        uint32_t slot = (uint32_t)mg_hash_u64(key) & set->slot_mask;
        while (set->keys[slot] != set->absent_key)
            slot = (slot + 1) & set->slot_mask;
        set->keys[slot] = key;
    }
    return MG_OK;
}

/* column IN (ordinals): sorts and empties doubles out of them. */
static enum mg_code new_set(struct binder *b, uint32_t column, mg_int128 *ordinals, uint32_t count,
                            struct mg_expr__node **out)
{
    uint32_t unique = 0;

    qsort(ordinals, count, sizeof *ordinals, by_ordinal);
    for (uint32_t i = 0; i < count; i++)
        if (unique == 0 || ordinals[unique - 1] != ordinals[i])
            ordinals[unique++] = ordinals[i];
    if (unique == 0)
        return new_never(b, column, out);
    if ((unsigned __int128)ordinals[unique - 1] - (unsigned __int128)ordinals[0] == unique - 1) /* without gaps */
        return new_range(b, column, ordinals[0], ordinals[unique - 1], out);
    MG_TRY(new_column_node(b, MG_NODE_SET, column, out));
    struct mg_expr__set *set = mg_arena_new(b->arena, struct mg_expr__set);
    if (!set)
        return mg_arena_fail(b->arena, b->err);
    set->ordinals = ordinals;
    set->count = unique;
    (*out)->set = set;
    enum mg_type_id id = (*out)->type.id; /* the others are searched in ordinals */
    bool is_hashed = id != MG_TYPE_FLOAT32 && id != MG_TYPE_FLOAT64 && id != MG_TYPE_DECIMAL;
    return is_hashed ? fill_keys(b, set) : MG_OK;
}

static enum mg_code new_text_set(struct binder *b, uint32_t column, struct mg_slice *texts, uint32_t count,
                                 bool pad_space, struct mg_expr__node **out)
{
    uint32_t unique = 0;

    qsort(texts, count, sizeof *texts, by_text);
    for (uint32_t i = 0; i < count; i++)
        if (unique == 0 || !mg_slice_equal(texts[unique - 1], texts[i]))
            texts[unique++] = texts[i];
    if (unique == 0)
        return new_never(b, column, out);
    if (unique == 1)
        return bind_text_range(b, MG_EXPR_EQ, column, texts[0], pad_space, out);
    MG_TRY(new_column_node(b, MG_NODE_TEXT_SET, column, out));
    struct mg_expr__set *set = mg_arena_new(b->arena, struct mg_expr__set);
    if (!set)
        return mg_arena_fail(b->arena, b->err);
    (*out)->set = set;
    (*out)->pad_space = pad_space;
    set->texts = texts;
    set->count = unique;
    set->slot_mask = slot_mask_for(unique);
    set->places = mg_arena_array(b->arena, uint32_t, (size_t)set->slot_mask + 1);
    if (!set->places)
        return mg_arena_fail(b->arena, b->err);
    for (uint32_t i = 0; i < unique; i++) {
        uint32_t slot = (uint32_t)mg_hash(texts[i].data, texts[i].size, 0) & set->slot_mask;
        while (set->places[slot])
            slot = (slot + 1) & set->slot_mask;
        set->places[slot] = i + 1;
    }
    return MG_OK;
}

/* What an IN list says about its column, gathered literal by literal. */
struct in_list {
    mg_int128 *ordinals;
    struct mg_slice *texts;
    uint32_t count;
    struct mg_expr__node **others; /* ranges (a float that equals several decimals), NULL, and at last the set */
    uint32_t other_count;
};

static enum mg_code add_to_list(struct binder *b, struct in_list *list, const struct operand *left,
                                struct operand right, bool pad_space)
{
    struct operand column = *left;

    MG_TRY(make_comparable(b, &column, &right));
    if (right.value.is_null)
        return MG_OK; /* the caller adds one NULL for all */
    if (left->type.id == MG_TYPE_UTF8)
        return copy_text(b, right.value.text, pad_space, &list->texts[list->count++]);
    mg_int128 first, last;
    mg_expr__place(left->type, &right.value, &first, &last);
    if (first == last)
        list->ordinals[list->count++] = first;
    else if (first < last)
        return new_range(b, left->column, first, last, &list->others[list->other_count++]);
    return MG_OK;
}

static enum mg_code bind_in_column(struct binder *b, const struct mg_expr *expr, const struct operand *left,
                                   struct mg_expr__node **out)
{
    bool is_text = left->type.id == MG_TYPE_UTF8, has_null = false;
    size_t room = (size_t)expr->arg_count + 1;
    struct in_list list = {.ordinals = is_text ? NULL : mg_arena_array(b->arena, mg_int128, room),
                           .texts = is_text ? mg_arena_array(b->arena, struct mg_slice, room) : NULL,
                           .others = mg_arena_array(b->arena, struct mg_expr__node *, room + 1)};

    if ((!list.ordinals && !list.texts) || !list.others)
        return mg_arena_fail(b->arena, b->err);
    for (uint32_t i = 1; i < expr->arg_count; i++) {
        struct operand right = {.is_column = false};
        MG_TRY(bind_operand(b, expr->args[i], MG_EXPR_IN, &right));
        has_null = has_null || right.value.is_null;
        MG_TRY(add_to_list(b, &list, left, right, expr->pad_space));
    }
    struct mg_expr__node **set = &list.others[list.other_count++];
    if (is_text)
        MG_TRY(new_text_set(b, left->column, list.texts, list.count, expr->pad_space, set));
    else
        MG_TRY(new_set(b, left->column, list.ordinals, list.count, set));
    if (has_null)
        MG_TRY(new_constant(b, MG_UNKNOWN, &list.others[list.other_count++]));
    return new_junction(b, MG_NODE_OR, list.others, list.other_count, out);
}

static enum mg_code bind_in(struct binder *b, const struct mg_expr *expr, struct mg_expr__node **out)
{
    struct operand left = {.is_column = false};

    MG_TRY(bind_operand(b, expr->args[0], MG_EXPR_IN, &left));
    for (uint32_t i = 1; i < expr->arg_count; i++)
        if (expr->args[i]->op != MG_EXPR_LITERAL)
            return mg_fail(b->err, MG_INVALID, "the list of IN holds something else than literals");
    if (expr->arg_count == 1)
        return new_constant(b, MG_FALSE, out); /* in nothing: not even NULL is unsure */
    if (left.is_column)
        return bind_in_column(b, expr, &left, out);
    struct mg_expr__node **nodes = mg_arena_array(b->arena, struct mg_expr__node *, expr->arg_count);
    if (!nodes)
        return mg_arena_fail(b->arena, b->err);
    for (uint32_t i = 1; i < expr->arg_count; i++) {
        struct operand right = {.is_column = false};
        MG_TRY(bind_operand(b, expr->args[i], MG_EXPR_IN, &right));
        MG_TRY(compare(b, MG_EXPR_EQ, left, right, expr->pad_space, &nodes[i - 1]));
    }
    return new_junction(b, MG_NODE_OR, nodes, expr->arg_count - 1, out);
}

/* ---- the tree ------------------------------------------------------------------------------------------------ */

static enum mg_code check_arg_count(const struct mg_expr *expr, struct mg_error *err)
{
    uint32_t low, high;

    switch (expr->op) {
    case MG_EXPR_COLUMN:
    case MG_EXPR_LITERAL: return MG_OK;
    case MG_EXPR_AND:
    case MG_EXPR_OR:
    case MG_EXPR_IN: low = 1, high = UINT32_MAX; break;
    case MG_EXPR_NOT:
    case MG_EXPR_IS_NULL:
    case MG_EXPR_IS_NOT_NULL: low = high = 1; break;
    case MG_EXPR_BETWEEN: low = high = 3; break;
    case MG_EXPR_EQ:
    case MG_EXPR_NE:
    case MG_EXPR_LT:
    case MG_EXPR_LE:
    case MG_EXPR_GT:
    case MG_EXPR_GE:
    case MG_EXPR_EQ_NULL_SAFE: low = high = 2; break;
    case MG_EXPR_ADD:
    case MG_EXPR_SUBTRACT:
    case MG_EXPR_MULTIPLY:
    case MG_EXPR_DIVIDE:
    case MG_EXPR_NEGATE:
    case MG_EXPR_CAST: return mg_fail(err, MG_INVALID, "arithmetic is no condition");
    default: return mg_fail(err, MG_INVALID, "an expression has the unknown operator number %d", (int)expr->op);
    }
    if (expr->arg_count < low || expr->arg_count > high)
        return mg_fail(err, MG_INVALID, "%s has %u arguments, it takes %u%s", op_name(expr->op), expr->arg_count, low,
                       high > low ? " or more" : "");
    return MG_OK;
}

static enum mg_code bind_condition(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                                   struct mg_expr__node **out);

/* A column or literal that stands as a condition: not 0. */
static enum mg_code bind_leaf(struct binder *b, const struct mg_expr *expr, struct mg_expr__node **out)
{
    struct operand left = {.is_column = false};
    struct operand zero = {.value = {.type = {.id = MG_TYPE_INT64}}, .type = {.id = MG_TYPE_INT64}};

    MG_TRY(bind_operand(b, expr, expr->op, &left));
    if (left.type.id == MG_TYPE_NONE)
        return new_constant(b, MG_UNKNOWN, out);
    if (left.type.id > MG_TYPE_DECIMAL) {
        char text[DESCRIPTION_MAX];
        describe(b, &left, text);
        return mg_fail(b->err, MG_INVALID, "%s is no condition", text);
    }
    return compare(b, MG_EXPR_NE, left, zero, false, out);
}

static enum mg_code bind_is_null(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                                 struct mg_expr__node **out)
{
    const struct mg_expr *arg = expr->args[0];

    if (arg->op == MG_EXPR_COLUMN || arg->op == MG_EXPR_LITERAL) {
        struct operand operand = {.is_column = false};
        MG_TRY(bind_operand(b, arg, expr->op, &operand));
        return is_null_node(b, &operand, out);
    }
    struct mg_expr__node *child = NULL;
    MG_TRY(bind_condition(b, arg, depth, &child));
    if (child->kind == MG_NODE_CONST)
        return new_constant(b, child->constant == MG_UNKNOWN ? MG_TRUE : MG_FALSE, out);
    MG_TRY(new_node(b, MG_NODE_UNKNOWN, out));
    (*out)->children = mg_arena_array(b->arena, struct mg_expr__node *, 1);
    if (!(*out)->children)
        return mg_arena_fail(b->arena, b->err);
    (*out)->children[0] = child;
    (*out)->child_count = 1;
    return MG_OK;
}

static enum mg_code bind_junction(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                                  struct mg_expr__node **out)
{
    struct mg_expr__node **nodes = mg_arena_array(b->arena, struct mg_expr__node *, expr->arg_count);

    if (!nodes)
        return mg_arena_fail(b->arena, b->err);
    for (uint32_t i = 0; i < expr->arg_count; i++)
        MG_TRY(bind_condition(b, expr->args[i], depth, &nodes[i]));
    return new_junction(b, expr->op == MG_EXPR_AND ? MG_NODE_AND : MG_NODE_OR, nodes, expr->arg_count, out);
}

static enum mg_code bind_condition(struct binder *b, const struct mg_expr *expr, uint32_t depth,
                                   struct mg_expr__node **out)
{
    struct operand operands[3] = {{.is_column = false}};

    if (depth == MG_EXPR_DEPTH_MAX)
        return mg_fail(b->err, MG_TOO_BIG, "a predicate is nested more than %d deep", MG_EXPR_DEPTH_MAX);
    b->node_count++;
    if (b->node_count > MG_EXPR_NODES_MAX || expr->arg_count > MG_EXPR_NODES_MAX)
        return mg_fail(b->err, MG_TOO_BIG, "a predicate has more than %d nodes", MG_EXPR_NODES_MAX);
    MG_TRY(check_arg_count(expr, b->err));
    switch (expr->op) {
    case MG_EXPR_COLUMN:
    case MG_EXPR_LITERAL: return bind_leaf(b, expr, out);
    case MG_EXPR_AND:
    case MG_EXPR_OR: return bind_junction(b, expr, depth + 1, out);
    case MG_EXPR_NOT: MG_TRY(bind_condition(b, expr->args[0], depth + 1, out)); return new_not(b, *out, out);
    case MG_EXPR_IS_NULL: return bind_is_null(b, expr, depth + 1, out);
    case MG_EXPR_IS_NOT_NULL: MG_TRY(bind_is_null(b, expr, depth + 1, out)); return new_not(b, *out, out);
    case MG_EXPR_IN: return bind_in(b, expr, out);
    default: break;
    }
    for (uint32_t i = 0; i < expr->arg_count; i++)
        MG_TRY(bind_operand(b, expr->args[i], expr->op, &operands[i]));
    if (expr->op != MG_EXPR_BETWEEN)
        return compare(b, expr->op, operands[0], operands[1], expr->pad_space, out);
    struct mg_expr__node *ends[2] = {NULL};
    MG_TRY(compare(b, MG_EXPR_GE, operands[0], operands[1], expr->pad_space, &ends[0]));
    MG_TRY(compare(b, MG_EXPR_LE, operands[0], operands[2], expr->pad_space, &ends[1]));
    return new_junction(b, MG_NODE_AND, ends, 2, out);
}

/* ---- the predicate ------------------------------------------------------------------------------------------- */

/* Places that the bound nodes read; some that the tree names may have been decided away. */
void mg_expr__mark_columns(const struct mg_expr__node *node, bool *used)
{
    switch (node->kind) {
    case MG_NODE_CONST: return;
    case MG_NODE_NOT:
    case MG_NODE_AND:
    case MG_NODE_OR:
    case MG_NODE_UNKNOWN:
        for (uint32_t i = 0; i < node->child_count; i++)
            mg_expr__mark_columns(node->children[i], used);
        return;
    case MG_NODE_EQUAL:
    case MG_NODE_LESS: used[node->other] = true; break;
    default: break;
    }
    used[node->column] = true;
}

static enum mg_code list_columns(struct mg_predicate *predicate, struct mg_error *err)
{
    uint32_t count = predicate->schema->column_count;
    bool *used = mg_arena_array(&predicate->arena, bool, (size_t)count + 1);

    predicate->columns = mg_arena_array(&predicate->arena, uint32_t, (size_t)count + 1);
    if (!predicate->columns || !used)
        return mg_arena_fail(&predicate->arena, err);
    mg_expr__mark_columns(predicate->root, used);
    for (uint32_t i = 0; i < count; i++)
        if (used[i])
            predicate->columns[predicate->column_count++] = i;
    return MG_OK;
}

enum mg_code mg_predicate_bind(const struct mg_expr *expr, const struct mg_schema *schema, struct mg_predicate **out,
                               struct mg_error *err)
{
    MG_CLEANUP(mg_predicate_freep) struct mg_predicate *predicate = calloc(1, sizeof *predicate);

    if (!predicate)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a predicate");
    mg_arena_init(&predicate->arena, ARENA_MAX);
    predicate->schema = mg_schema_ref(schema);
    predicate->kernels = mg_expr__kernels_best();
    struct binder b = {.arena = &predicate->arena, .schema = schema, .err = err};
    if (expr)
        MG_TRY(bind_condition(&b, expr, 0, &predicate->root));
    else
        MG_TRY(new_constant(&b, MG_TRUE, &predicate->root));
    MG_TRY(list_columns(predicate, err));
    MG_TRY(mg_expr__list_conditions(predicate, err));
    *out = MG_TAKE(predicate);
    return MG_OK;
}

void mg_predicate_free(struct mg_predicate *predicate)
{
    if (!predicate)
        return;
    mg_schema_unref(predicate->schema);
    mg_arena_clear(&predicate->arena);
    free(predicate);
}

void mg_predicate_freep(struct mg_predicate **predicate)
{
    mg_predicate_free(*predicate);
    *predicate = NULL;
}

const uint32_t *mg_predicate_columns(const struct mg_predicate *predicate, uint32_t *out_count)
{
    *out_count = predicate->column_count;
    return predicate->columns;
}

bool mg_predicate_is_all(const struct mg_predicate *predicate)
{
    return predicate->root->kind == MG_NODE_CONST && predicate->root->constant == MG_TRUE;
}
