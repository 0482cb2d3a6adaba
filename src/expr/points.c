/* points.c -- the values that a column must have for a predicate to be true, where it names them: = and IN lists.
 *
 * Looks at what every kept row must fulfil: the root, and the members of a root that is an AND. What it finds is
 * necessary, not sufficient: the predicate is still asked about each row.
 * Blanks    a comparison that ignores trailing blanks says nothing about a column that does not.
 * Threads   pure function.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/expr_internal.h"

static bool is_exact(enum mg_type_id id) { return id != MG_TYPE_FLOAT32 && id != MG_TYPE_FLOAT64; }

static bool blanks_agree(const struct mg_expr__node *node)
{
    return !node->pad_space || node->type.collation == MG_COLLATION_PAD_SPACE;
}

/* How many values the node leaves its column; 0: it does not name them. */
static uint32_t count_points(const struct mg_expr__node *node)
{
    const struct mg_expr__text_bound *low = &node->low, *high = &node->high;

    switch (node->kind) {
    case MG_NODE_RANGE: return is_exact(node->type.id) && node->range.low == node->range.high;
    case MG_NODE_SET: return is_exact(node->type.id) ? node->set->count : 0;
    case MG_NODE_TEXT_RANGE:
        return blanks_agree(node) && low->is_set && high->is_set && !low->is_open && !high->is_open &&
               mg_slice_equal(low->text, high->text);
    case MG_NODE_TEXT_SET: return blanks_agree(node) ? node->set->count : 0;
    default: return 0;
    }
}

static struct mg_value point(const struct mg_expr__node *node, uint32_t i)
{
    struct mg_value text = {.type = node->type};

    switch (node->kind) {
    case MG_NODE_RANGE: return mg_expr__from_ordinal(node->type, node->range.low);
    case MG_NODE_SET: return mg_expr__from_ordinal(node->type, node->set->ordinals[i]);
    case MG_NODE_TEXT_RANGE: text.text = node->low.text; return text;
    default: text.text = node->set->texts[i]; return text;
    }
}

struct mg_expr_points mg_predicate_points(const struct mg_predicate *predicate, uint32_t column)
{
    const struct mg_expr__node *root = predicate->root, *const *nodes = &root;
    struct mg_expr_points best = {.node = NULL, .count = 0};
    uint32_t count = 1;

    if (root->kind == MG_NODE_AND) {
        nodes = (const struct mg_expr__node *const *)root->children;
        count = root->child_count;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t points = nodes[i]->column == column ? count_points(nodes[i]) : 0;
        if (points && (best.count == 0 || points < best.count))
            best = (struct mg_expr_points){.node = nodes[i], .count = points};
    }
    return best;
}

struct mg_value mg_expr_point(struct mg_expr_points points, uint32_t i)
{
    mg_assert(i < points.count);
    return point(points.node, i);
}
