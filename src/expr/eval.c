/* eval.c -- a bound predicate over the rows of a batch, as bit masks.
 *
 * A node is asked for the rows among `active` where it is true, or where it is false, or both; what is neither is NULL.
 * At the top only "true" is asked, so an AND hands each of its children only the rows that are left, and a NOT asks its
 * child for "false" instead.
 * Shape     leaves first compute 64 comparisons a word, regardless of NULL, then keep what is active and there.
 * Memory    a few masks per nested AND or OR from the caller's arena.
 * Threads   the predicate is only read; the arena belongs to the caller.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/hash.h"
#include "expr/expr_internal.h"

struct eval {
    const struct mg_vector *const *vectors;
    uint32_t row_count, word_count;
    const struct mg_expr__kernels *kernels;
    struct mg_arena *scratch;
    struct mg_error *err;
};

static enum mg_code eval_node(struct eval *e, const struct mg_expr__node *node, const uint64_t *active,
                              uint64_t *is_true, uint64_t *is_false);

/* 64 validity bits; may read up to the next multiple of 8 of the bitmap's size, which batches allow. */
static inline uint64_t valid_word(const struct mg_vector *v, uint32_t word)
{
    return v->validity ? mg_load_le64(v->validity + (size_t)word * 8) : ~UINT64_C(0);
}

static uint64_t *new_mask(struct eval *e) { return mg_arena_array(e->scratch, uint64_t, (size_t)e->word_count + 1); }

/* ---- leaves: raw comparisons into out ------------------------------------------------------------------------ */

/* Run TEST, an expression of row, for the rows of `active` that are there in v. */
#define FOR_EACH_ROW(v, TEST)                                   \
    for (uint32_t w = 0; w < e->word_count; w++) {              \
        uint64_t left = active[w] & valid_word(v, w), word = 0; \
        for (; left; left &= left - 1) {                        \
            uint32_t bit = (uint32_t)__builtin_ctzll(left);     \
            uint32_t row = w * 64 + bit;                        \
            word |= (uint64_t)(TEST) << bit;                    \
        }                                                       \
        out[w] = word;                                          \
    }

static inline bool has_key(const struct mg_expr__set *set, uint64_t key)
{
    uint32_t slot = (uint32_t)mg_hash_u64(key) & set->slot_mask;

    for (; set->keys[slot] != set->absent_key; slot = (slot + 1) & set->slot_mask)
        if (set->keys[slot] == key)
            return true;
    return false;
}

static bool has_ordinal(const struct mg_expr__set *set, mg_int128 ordinal)
{
    uint32_t low = 0, high = set->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (set->ordinals[middle] < ordinal)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->count && set->ordinals[low] == ordinal;
}

static bool has_value(const struct mg_expr__set *set, const struct mg_vector *v, uint32_t row)
{
    struct mg_value value = mg_vector_value(v, row);

    return has_ordinal(set, mg_expr__ordinal(&value));
}

static bool has_text(const struct mg_expr__set *set, struct mg_slice text)
{
    uint32_t slot = (uint32_t)mg_hash(text.data, text.size, 0) & set->slot_mask;

    for (; set->places[slot]; slot = (slot + 1) & set->slot_mask)
        if (mg_slice_equal(set->texts[set->places[slot] - 1], text))
            return true;
    return false;
}

#define EACH_KEY(type)                                                \
    do {                                                              \
        typedef type any_type __attribute__((aligned(1), may_alias)); \
        const any_type *values = v->values;                           \
        FOR_EACH_ROW(v, has_key(set, (uint64_t)(int64_t)values[row])) \
    } while (0)

/* Floats and decimals: a binary search per row. */
static void eval_sorted_set(struct eval *e, const struct mg_expr__set *set, const struct mg_vector *v,
                            const uint64_t *active, uint64_t *out)
{
    FOR_EACH_ROW(v, has_value(set, v, row))
}

static void eval_large_set(struct eval *e, const struct mg_expr__set *set, const struct mg_vector *v,
                           const uint64_t *active, uint64_t *out)
{
    switch (v->type.id) {
    case MG_TYPE_INT8: EACH_KEY(int8_t); break;
    case MG_TYPE_INT16: EACH_KEY(int16_t); break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: EACH_KEY(int32_t); break;
    case MG_TYPE_INT64:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: EACH_KEY(int64_t); break;
    case MG_TYPE_UINT8: EACH_KEY(uint8_t); break;
    case MG_TYPE_UINT16: EACH_KEY(uint16_t); break;
    case MG_TYPE_UINT32: EACH_KEY(uint32_t); break;
    case MG_TYPE_UINT64: EACH_KEY(uint64_t); break;
    default: eval_sorted_set(e, set, v, active, out);
    }
}
#undef EACH_KEY

static enum mg_code eval_set(struct eval *e, const struct mg_expr__node *node, const uint64_t *active, uint64_t *out)
{
    const struct mg_vector *v = e->vectors[node->column];
    const struct mg_expr__set *set = node->set;

    if (set->count > MG_EXPR_SET_SMALL) {
        eval_large_set(e, set, v, active, out);
        return MG_OK;
    }
    uint64_t *one = new_mask(e);
    if (!one)
        return mg_arena_fail(e->scratch, e->err);
    memset(out, 0, e->word_count * sizeof *out);
    for (uint32_t i = 0; i < set->count; i++) {
        struct mg_expr__range range = {.low = set->ordinals[i], .high = set->ordinals[i]};
        if (v->type.id == MG_TYPE_FLOAT32 || v->type.id == MG_TYPE_FLOAT64) {
            range.low_float = range.high_float = mg_expr__from_ordinal(v->type, range.low).f;
            range.low_is_nan = range.high_is_nan = range.low_float != range.low_float;
        }
        e->kernels->range[v->type.id](v->values, e->row_count, &range, active, one);
        for (uint32_t w = 0; w < e->word_count; w++)
            out[w] |= one[w];
    }
    return MG_OK;
}

static inline struct mg_slice text_at(const struct mg_vector *v, uint32_t row, bool pad_space)
{
    struct mg_slice text = mg_vector_text(v, row);

    return pad_space ? mg_expr__trim(text) : text;
}

static void eval_text_range(struct eval *e, const struct mg_expr__node *node, const uint64_t *active, uint64_t *out)
{
    const struct mg_vector *v = e->vectors[node->column];
    struct mg_slice wanted = node->low.text;
    bool is_equality = node->low.is_set && node->high.is_set && !node->low.is_open && !node->high.is_open &&
                       mg_slice_equal(node->low.text, node->high.text);

    if (is_equality && !node->pad_space) {
        const uint8_t *bytes = v->values;
        const int32_t *offsets = v->offsets;
        FOR_EACH_ROW(v, (size_t)(offsets[row + 1] - offsets[row]) == wanted.size &&
                            memcmp(bytes + offsets[row], wanted.data, wanted.size) == 0)
    } else if (is_equality) {
        FOR_EACH_ROW(v, mg_slice_equal(text_at(v, row, true), wanted))
    } else {
        FOR_EACH_ROW(v, mg_expr__text_inside(node, text_at(v, row, node->pad_space)))
    }
}

static void eval_text_set(struct eval *e, const struct mg_expr__node *node, const uint64_t *active, uint64_t *out)
{
    const struct mg_vector *v = e->vectors[node->column];

    FOR_EACH_ROW(v, has_text(node->set, text_at(v, row, node->pad_space)))
}

/* Rows of two columns, one by one; NULLs are skipped in the first column only, so they are looked at here. */
static bool rows_relate(const struct mg_expr__node *node, const struct mg_vector *a, const struct mg_vector *b,
                        uint32_t row)
{
    struct mg_value left = mg_vector_value(a, row), right = mg_vector_value(b, row);

    if (right.is_null)
        return false;
    int order = mg_expr__compare(&left, &right, node->pad_space);
    return node->kind == MG_NODE_EQUAL ? order == 0 : order < 0;
}

static void eval_columns(struct eval *e, const struct mg_expr__node *node, const uint64_t *active, uint64_t *out)
{
    const struct mg_vector *a = e->vectors[node->column], *b = e->vectors[node->other];

    if (node->type.id != MG_TYPE_UTF8 && mg_expr__same_kernel(node->type, node->other_type)) {
        bool equal = node->kind == MG_NODE_EQUAL;
        (equal ? e->kernels->equal : e->kernels->less)[node->type.id](a->values, b->values, e->row_count, active, out);
        return;
    }
    FOR_EACH_ROW(a, rows_relate(node, a, b, row))
}
#undef FOR_EACH_ROW

/* ---- leaves: NULLs ------------------------------------------------------------------------------------------- */

/* out holds raw comparisons; split them into true and false among the rows that are active and not NULL. out is one of
 * the two. other may be NULL: no second column. */
static void split(struct eval *e, const struct mg_vector *v, const struct mg_vector *other, const uint64_t *active,
                  const uint64_t *raw, uint64_t *is_true, uint64_t *is_false)
{
    for (uint32_t w = 0; w < e->word_count; w++) {
        uint64_t there = active[w] & valid_word(v, w), bits = raw[w];
        if (other)
            there &= valid_word(other, w);
        if (is_true)
            is_true[w] = there & bits;
        if (is_false)
            is_false[w] = there & ~bits;
    }
}

static enum mg_code eval_leaf(struct eval *e, const struct mg_expr__node *node, const uint64_t *active,
                              uint64_t *is_true, uint64_t *is_false)
{
    const struct mg_vector *v = e->vectors[node->column], *other = NULL;
    uint64_t *out = is_true ? is_true : is_false;

    switch (node->kind) {
    case MG_NODE_IS_NULL:
        for (uint32_t w = 0; w < e->word_count; w++) {
            uint64_t there = valid_word(v, w);
            if (is_true)
                is_true[w] = active[w] & ~there;
            if (is_false)
                is_false[w] = active[w] & there;
        }
        return MG_OK;
    case MG_NODE_ALWAYS: memset(out, 0xff, e->word_count * sizeof *out); break;
    case MG_NODE_RANGE: e->kernels->range[node->type.id](v->values, e->row_count, &node->range, active, out); break;
    case MG_NODE_SET: MG_TRY(eval_set(e, node, active, out)); break;
    case MG_NODE_TEXT_RANGE: eval_text_range(e, node, active, out); break;
    case MG_NODE_TEXT_SET: eval_text_set(e, node, active, out); break;
    default: /* EQUAL, LESS */ other = e->vectors[node->other]; eval_columns(e, node, active, out);
    }
    split(e, v, other, active, out, is_true, is_false);
    return MG_OK;
}

/* ---- inner nodes --------------------------------------------------------------------------------------------- */

static bool is_empty(const uint64_t *mask, uint32_t word_count)
{
    uint64_t any = 0;

    for (uint32_t w = 0; w < word_count; w++)
        any |= mask[w];
    return any == 0;
}

/* AND in the words of AND: `all` gets the rows where every child is true, `any` those where some child is false. OR is
 * the same with true and false exchanged. Either may be NULL, not both. A child is asked only about rows that are not
 * decided. */
static enum mg_code eval_junction(struct eval *e, const struct mg_expr__node *node, const uint64_t *active,
                                  uint64_t *all, uint64_t *any)
{
    bool is_or = node->kind == MG_NODE_OR;
    size_t size = e->word_count * sizeof *active;
    uint64_t *left = new_mask(e), *child_all = all ? new_mask(e) : NULL, *child_any = any ? new_mask(e) : NULL;

    if (!left || (all && !child_all) || (any && !child_any))
        return mg_arena_fail(e->scratch, e->err);
    memcpy(left, active, size); /* no child was false yet; without `any`: every child was true */
    if (all)
        memcpy(all, active, size);
    if (any)
        memset(any, 0, size);
    for (uint32_t i = 0; i < node->child_count && !is_empty(left, e->word_count); i++) {
        MG_TRY(eval_node(e, node->children[i], left, is_or ? child_any : child_all, is_or ? child_all : child_any));
        for (uint32_t w = 0; all && w < e->word_count; w++)
            all[w] &= child_all[w];
        for (uint32_t w = 0; any && w < e->word_count; w++) {
            any[w] |= child_any[w];
            left[w] &= ~child_any[w];
        }
        if (!any)
            memcpy(left, all, size);
    }
    return MG_OK;
}

static enum mg_code eval_unknown(struct eval *e, const struct mg_expr__node *node, const uint64_t *active,
                                 uint64_t *is_true, uint64_t *is_false)
{
    uint64_t *child_true = new_mask(e), *child_false = new_mask(e);

    if (!child_true || !child_false)
        return mg_arena_fail(e->scratch, e->err);
    MG_TRY(eval_node(e, node->children[0], active, child_true, child_false));
    for (uint32_t w = 0; w < e->word_count; w++) {
        uint64_t known = child_true[w] | child_false[w];
        if (is_true)
            is_true[w] = active[w] & ~known;
        if (is_false)
            is_false[w] = known;
    }
    return MG_OK;
}

static void eval_constant(struct eval *e, enum mg_expr__truth truth, const uint64_t *active, uint64_t *is_true,
                          uint64_t *is_false)
{
    for (uint32_t w = 0; w < e->word_count; w++) {
        if (is_true)
            is_true[w] = truth == MG_TRUE ? active[w] : 0;
        if (is_false)
            is_false[w] = truth == MG_FALSE ? active[w] : 0;
    }
}

/* Recursion is as deep as the bound tree, at most MG_EXPR_DEPTH_MAX and a few. */
static enum mg_code eval_node(struct eval *e, const struct mg_expr__node *node, const uint64_t *active,
                              uint64_t *is_true, uint64_t *is_false)
{
    switch (node->kind) {
    case MG_NODE_CONST: eval_constant(e, node->constant, active, is_true, is_false); return MG_OK;
    case MG_NODE_NOT: return eval_node(e, node->children[0], active, is_false, is_true);
    case MG_NODE_AND: return eval_junction(e, node, active, is_true, is_false);
    case MG_NODE_OR: return eval_junction(e, node, active, is_false, is_true);
    case MG_NODE_UNKNOWN: return eval_unknown(e, node, active, is_true, is_false);
    default: return eval_leaf(e, node, active, is_true, is_false);
    }
}

/* Rows of the mask for which the node is what is wanted. */
static enum mg_code filter(const struct mg_predicate *predicate, const struct mg_expr__node *node, bool wanted,
                           struct eval *e, uint64_t *mask)
{
    if (e->row_count & 63)
        mask[e->word_count - 1] &= (UINT64_C(1) << (e->row_count & 63)) - 1;
    if (mg_predicate_is_all(predicate) || is_empty(mask, e->word_count))
        return MG_OK;
    uint64_t *result = new_mask(e);
    if (!result)
        return mg_arena_fail(e->scratch, e->err);
    MG_TRY(eval_node(e, node, mask, wanted ? result : NULL, wanted ? NULL : result));
    memcpy(mask, result, e->word_count * sizeof *mask);
    return MG_OK;
}

enum mg_code mg_predicate_filter(const struct mg_predicate *predicate, const struct mg_vector *const *vectors,
                                 uint32_t row_count, uint64_t *mask, struct mg_arena *scratch, struct mg_error *err)
{
    struct eval e = {vectors, row_count, (row_count + 63) / 64, predicate->kernels, scratch, err};

    return filter(predicate, predicate->root, true, &e, mask);
}

enum mg_code mg_predicate_filter_one(const struct mg_predicate *predicate, uint32_t condition,
                                     const struct mg_vector *const *vectors, uint32_t row_count, uint64_t *mask,
                                     struct mg_arena *scratch, struct mg_error *err)
{
    struct eval e = {vectors, row_count, (row_count + 63) / 64, predicate->kernels, scratch, err};
    const struct mg_expr__conjunct *conjunct = &predicate->conjuncts[condition];

    return filter(predicate, conjunct->node, conjunct->wanted, &e, mask);
}

/* ---- masks --------------------------------------------------------------------------------------------------- */

uint32_t mg_mask_rows(const uint64_t *mask, uint32_t row_count, uint32_t *rows)
{
    uint32_t count = 0;

    for (uint32_t w = 0, words = (row_count + 63) / 64; w < words; w++) {
        uint64_t left = mask[w];
        if (left == ~UINT64_C(0)) {
            for (uint32_t i = 0; i < 64; i++)
                rows[count + i] = w * 64 + i;
            count += 64;
            continue;
        }
        for (; left; left &= left - 1)
            rows[count++] = w * 64 + (uint32_t)__builtin_ctzll(left);
    }
    return count;
}

uint32_t mg_mask_count(const uint64_t *mask, uint32_t row_count)
{
    uint32_t count = 0;

    for (uint32_t w = 0, words = (row_count + 63) / 64; w < words; w++)
        count += (uint32_t)__builtin_popcountll(mask[w]);
    return count;
}
