/* conditions.c -- a bound predicate as a list of conditions that all must be true, told to whoever can test a column
 * without making its values.
 *
 * The children of an AND are conditions, and those of an OR that must be false. A condition on one column and constants
 * is told as such, in values of the column's type; any other is evaluated as it is.
 * Memory   the predicate's arena.
 * Threads  immutable once bound.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "expr/expr_internal.h"

struct listing {
    struct mg_predicate *predicate;
    uint32_t room;
    bool *used; /* by column: of the condition that is made */
    struct mg_error *err;
};

/* How many conditions a node gives. */
static uint32_t count_of(const struct mg_expr__node *node, bool wanted)
{
    uint32_t count = 0;

    if (node->kind == MG_NODE_NOT)
        return count_of(node->children[0], !wanted);
    if (node->kind != (wanted ? MG_NODE_AND : MG_NODE_OR))
        return 1;
    for (uint32_t i = 0; i < node->child_count; i++)
        count += count_of(node->children[i], wanted);
    return count;
}

static enum mg_code set_values(struct listing *l, struct mg_condition *c, const struct mg_value *values, uint32_t count)
{
    struct mg_value *copy = mg_arena_array(&l->predicate->arena, struct mg_value, (size_t)count + 1);

    if (!copy)
        return mg_arena_fail(&l->predicate->arena, l->err);
    for (uint32_t i = 0; i < count; i++)
        copy[i] = values[i];
    c->values = copy;
    c->value_count = count;
    return MG_OK;
}

static enum mg_code set_range(struct listing *l, struct mg_condition *c, const struct mg_expr__node *node)
{
    struct mg_value ends[2];

    c->kind = MG_CONDITION_BETWEEN;
    if (node->kind == MG_NODE_RANGE) {
        ends[0] = mg_expr__from_ordinal(node->type, node->range.low);
        ends[1] = mg_expr__from_ordinal(node->type, node->range.high);
    } else {
        ends[0] = (struct mg_value){.type = node->type, .is_null = !node->low.is_set, .text = node->low.text};
        ends[1] = (struct mg_value){.type = node->type, .is_null = !node->high.is_set, .text = node->high.text};
        c->pad_space = node->pad_space;
        c->low_is_open = node->low.is_open;
        c->high_is_open = node->high.is_open;
    }
    return set_values(l, c, ends, 2);
}

static enum mg_code set_list(struct listing *l, struct mg_condition *c, const struct mg_expr__node *node)
{
    const struct mg_expr__set *set = node->set;
    struct mg_value *values = mg_arena_array(&l->predicate->arena, struct mg_value, (size_t)set->count + 1);

    if (!values)
        return mg_arena_fail(&l->predicate->arena, l->err);
    for (uint32_t i = 0; i < set->count; i++)
        values[i] = node->kind == MG_NODE_SET ? mg_expr__from_ordinal(node->type, set->ordinals[i])
                                              : (struct mg_value){.type = node->type, .text = set->texts[i]};
    c->kind = MG_CONDITION_IN;
    c->pad_space = node->kind == MG_NODE_TEXT_SET && node->pad_space;
    c->values = values;
    c->value_count = set->count;
    return MG_OK;
}

static enum mg_code set_columns(struct listing *l, struct mg_condition *c, const struct mg_expr__node *node)
{
    uint32_t column_count = l->predicate->schema->column_count, at = 0;

    memset(l->used, 0, column_count * sizeof *l->used);
    mg_expr__mark_columns(node, l->used);
    for (uint32_t i = 0; i < column_count; i++)
        c->column_count += l->used[i];
    uint32_t *columns = mg_arena_array(&l->predicate->arena, uint32_t, (size_t)c->column_count + 1);
    if (!columns)
        return mg_arena_fail(&l->predicate->arena, l->err);
    for (uint32_t i = 0; i < column_count; i++)
        if (l->used[i])
            columns[at++] = i;
    c->columns = columns;
    return MG_OK;
}

static enum mg_code add(struct listing *l, const struct mg_expr__node *node, bool wanted)
{
    struct mg_predicate *predicate = l->predicate;

    if (node->kind == MG_NODE_NOT)
        return add(l, node->children[0], !wanted);
    if (node->kind == (wanted ? MG_NODE_AND : MG_NODE_OR)) {
        for (uint32_t i = 0; i < node->child_count; i++)
            MG_TRY(add(l, node->children[i], wanted));
        return MG_OK;
    }
    mg_assert(predicate->condition_count < l->room);
    struct mg_condition *c = &predicate->conditions[predicate->condition_count];
    predicate->conjuncts[predicate->condition_count++] = (struct mg_expr__conjunct){node, wanted};
    c->column = node->column;
    c->is_negated = !wanted;
    MG_TRY(set_columns(l, c, node));
    switch (node->kind) {
    case MG_NODE_RANGE:
    case MG_NODE_TEXT_RANGE: return set_range(l, c, node);
    case MG_NODE_SET:
    case MG_NODE_TEXT_SET: return set_list(l, c, node);
    case MG_NODE_IS_NULL: c->kind = wanted ? MG_CONDITION_IS_NULL : MG_CONDITION_IS_NOT_NULL; break;
    case MG_NODE_ALWAYS: c->kind = wanted ? MG_CONDITION_IS_NOT_NULL : MG_CONDITION_OTHER; break;
    default: break;
    }
    if (c->kind != MG_CONDITION_OTHER)
        c->is_negated = false;
    return MG_OK;
}

enum mg_code mg_expr__list_conditions(struct mg_predicate *predicate, struct mg_error *err)
{
    struct listing l = {.predicate = predicate, .err = err};

    if (mg_predicate_is_all(predicate))
        return MG_OK;
    l.room = count_of(predicate->root, true);
    predicate->conjuncts = mg_arena_array(&predicate->arena, struct mg_expr__conjunct, (size_t)l.room + 1);
    predicate->conditions = mg_arena_array(&predicate->arena, struct mg_condition, (size_t)l.room + 1);
    l.used = mg_arena_array(&predicate->arena, bool, (size_t)predicate->schema->column_count + 1);
    if (!predicate->conjuncts || !predicate->conditions || !l.used)
        return mg_arena_fail(&predicate->arena, err);
    return add(&l, predicate->root, true);
}

const struct mg_condition *mg_predicate_conditions(const struct mg_predicate *predicate, uint32_t *out_count)
{
    *out_count = predicate->condition_count;
    return predicate->conditions;
}
