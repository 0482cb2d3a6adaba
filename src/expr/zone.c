/* zone.c -- may a range of rows, known only by its columns' lowest and highest values, hold one that a predicate keeps?
 *
 * Answers are on the safe side: true unless it is certain that no row is. A node is asked whether it may be true, or
 * whether it may be false; NOT asks its child for the other.
 * Bounds    in the order of mg_value_compare: text bytewise, whatever its collation.
 * Blanks    where trailing blanks do not count, cutting them can move a text down in that order: below `low` only as
 *           far as low's prefix before its first byte at or below a blank (docs/format/key.md has the argument), above
 *           `high` never.
 * Threads   pure function.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/expr_internal.h"

struct zone {
    const struct mg_value *const *lows, *const *highs;
    const bool *has_null;
};

static bool is_bounded(const struct zone *z, uint32_t column)
{
    const struct mg_value *low = z->lows[column], *high = z->highs[column];

    return low && high && !low->is_null && !high->is_null;
}

static bool may_be_in_range(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    if (!is_bounded(z, node->column))
        return true;
    mg_int128 low = mg_expr__ordinal(z->lows[node->column]), high = mg_expr__ordinal(z->highs[node->column]);
    if (want)
        return low <= node->range.high && high >= node->range.low;
    return low < node->range.low || high > node->range.high;
}

static bool may_be_in_set(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    if (!is_bounded(z, node->column))
        return true;
    mg_int128 low = mg_expr__ordinal(z->lows[node->column]), high = mg_expr__ordinal(z->highs[node->column]);
    uint32_t first = 0, end = node->set->count;
    while (first < end) { /* the first member at or above low */
        uint32_t middle = first + (end - first) / 2;
        if (node->set->ordinals[middle] < low)
            first = middle + 1;
        else
            end = middle;
    }
    bool member_inside = first < node->set->count && node->set->ordinals[first] <= high;
    return want ? member_inside : !(member_inside && low == high);
}

/* The texts of the column lie in [low, high], after trimming if blanks do not count. */
static void text_bounds(const struct zone *z, const struct mg_expr__node *node, struct mg_slice *low,
                        struct mg_slice *high)
{
    *low = z->lows[node->column]->text;
    *high = z->highs[node->column]->text;
    for (size_t i = 0; node->pad_space && i < low->size; i++)
        if (low->data[i] <= ' ')
            low->size = i;
}

static bool may_be_in_text_range(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    struct mg_slice low, high;

    if (!is_bounded(z, node->column))
        return true;
    text_bounds(z, node, &low, &high);
    if (!want)
        return !mg_expr__text_inside(node, low) || !mg_expr__text_inside(node, high);
    bool all_below = node->low.is_set && mg_slice_compare(high, node->low.text) < node->low.is_open;
    bool all_above = node->high.is_set && mg_slice_compare(low, node->high.text) > -(int)node->high.is_open;
    return !all_below && !all_above;
}

static bool may_be_in_text_set(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    struct mg_slice low, high;
    uint32_t first = 0, end = node->set->count;

    if (!is_bounded(z, node->column))
        return true;
    text_bounds(z, node, &low, &high);
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (mg_slice_compare(node->set->texts[middle], low) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    bool member_inside = first < node->set->count && mg_slice_compare(node->set->texts[first], high) <= 0;
    return want ? member_inside : !(member_inside && mg_slice_equal(low, high));
}

/* Two columns: only bounds of the same kind are looked at; the others are rare. */
static bool may_relate(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    uint32_t a = node->column, b = node->other;

    if (!is_bounded(z, a) || !is_bounded(z, b) || node->type.id == MG_TYPE_UTF8)
        return true;
    int low_to_high = mg_expr__compare(z->lows[a], z->highs[b], false);
    int high_to_low = mg_expr__compare(z->highs[a], z->lows[b], false);
    if (node->kind == MG_NODE_LESS)
        return want ? low_to_high < 0 : high_to_low >= 0;
    return want ? low_to_high <= 0 && high_to_low >= 0 : low_to_high != 0 || high_to_low != 0;
}

static bool may_be(const struct zone *z, const struct mg_expr__node *node, bool want)
{
    bool is_any = (node->kind == MG_NODE_OR) == want; /* one child is enough */

    switch (node->kind) {
    case MG_NODE_CONST: return node->constant == (want ? MG_TRUE : MG_FALSE);
    case MG_NODE_IS_NULL: return want ? !z->has_null || z->has_null[node->column] : true;
    case MG_NODE_ALWAYS: return want;
    case MG_NODE_RANGE: return may_be_in_range(z, node, want);
    case MG_NODE_SET: return may_be_in_set(z, node, want);
    case MG_NODE_TEXT_RANGE: return may_be_in_text_range(z, node, want);
    case MG_NODE_TEXT_SET: return may_be_in_text_set(z, node, want);
    case MG_NODE_EQUAL:
    case MG_NODE_LESS: return may_relate(z, node, want);
    case MG_NODE_UNKNOWN: return true;
    case MG_NODE_NOT: return may_be(z, node->children[0], !want);
    case MG_NODE_AND:
    case MG_NODE_OR: break;
    }
    for (uint32_t i = 0; i < node->child_count; i++)
        if (may_be(z, node->children[i], want) == is_any)
            return is_any;
    return !is_any;
}

bool mg_predicate_may_match(const struct mg_predicate *predicate, const struct mg_value *const *lows,
                            const struct mg_value *const *highs, const bool *has_null)
{
    return may_be(&(struct zone){lows, highs, has_null}, predicate->root, true);
}

/* True or false for every row without a NULL. */
static bool is_decided(const struct mg_expr__node *node)
{
    bool decided = node->kind != MG_NODE_CONST || node->constant != MG_UNKNOWN;

    for (uint32_t i = 0; decided && i < node->child_count; i++)
        decided = is_decided(node->children[i]);
    return decided;
}

enum mg_verdict mg_predicate_judge(const struct mg_predicate *predicate, uint32_t condition,
                                   const struct mg_value *const *lows, const struct mg_value *const *highs,
                                   const bool *has_null)
{
    const struct zone zone = {lows, highs, has_null};
    const struct mg_expr__conjunct *conjunct = &predicate->conjuncts[condition];
    const struct mg_condition *c = &predicate->conditions[condition];
    bool no_null = true;

    if (!may_be(&zone, conjunct->node, conjunct->wanted))
        return MG_VERDICT_NONE;
    for (uint32_t i = 0; i < c->column_count && conjunct->node->kind != MG_NODE_IS_NULL; i++)
        no_null = no_null && has_null && !has_null[c->columns[i]];
    if (!no_null || !is_decided(conjunct->node) || may_be(&zone, conjunct->node, !conjunct->wanted))
        return MG_VERDICT_SOME;
    return MG_VERDICT_ALL;
}
