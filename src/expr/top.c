/* top.c -- candidates for the first rows, cut back to the limit now and then.
 *
 * Picture  rows whose key is below the bound --> candidates (columns and keys); at twice the limit: sort, keep the
 *          limit's first, the last of them is the new bound
 * Keys     column/key.h's, so that memcmp orders them; a byte in front says where NULL stands, descending columns have
 *          their bits inverted.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/top.h"

#include <stdlib.h>
#include <string.h>

#include "column/key.h"
#include "expr/expr.h"

enum {
    SLACK_ROWS = 4096,  /* beyond twice the limit: short limits are not sorted at each batch */
    PIECE_ROWS = 1024,  /* rows looked at before the candidates are counted */
    KEYS_MAX = 1 << 30, /* bytes */
    CANDIDATES_MAX = INT32_MAX,
};

struct mg_top {
    uint32_t *columns;
    struct mg_type *types;
    uint32_t column_count;
    struct mg_top_order order[MG_TOP_ORDER_MAX];
    uint32_t order_count, limit;
    struct mg_budget *budget;
    size_t reserved_bytes;

    /* Candidates: rows in the builder, their keys, where these end. */
    struct mg_batch_builder rows;
    struct mg_buffer keys;
    size_t *key_ends;
    uint32_t count, room;
    bool has_bound; /* the limit is reached; a key at or above bound is out */
    struct mg_buffer bound, key;

    struct mg_batch *sorted; /* what goes out, once the first of it went */
    bool is_sorted;
    uint32_t out_done;
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static enum mg_code reserve(struct mg_top *top, size_t bytes, struct mg_error *err)
{
    if (bytes <= top->reserved_bytes)
        return MG_OK;
    MG_TRY(mg_budget_reserve(top->budget, bytes - top->reserved_bytes, err));
    top->reserved_bytes = bytes;
    return MG_OK;
}

void mg_top_free(struct mg_top *top)
{
    if (!top)
        return;
    mg_batch_unref(top->sorted);
    mg_batch_builder_clear(&top->rows);
    mg_buffer_clear(&top->keys);
    mg_buffer_clear(&top->bound);
    mg_buffer_clear(&top->key);
    mg_budget_release(top->budget, top->reserved_bytes);
    free(top->key_ends);
    free(top->columns);
    free(top->types);
    free(top);
}

static enum mg_code check_request(const struct mg_top_request *request, const struct mg_schema *schema,
                                  struct mg_error *err)
{
    if (request->limit == 0 || request->order_count == 0)
        return mg_fail(err, MG_INVALID, "an order needs a limit and columns");
    if (request->limit > MG_TOP_ROWS_MAX || request->order_count > MG_TOP_ORDER_MAX)
        return mg_fail(err, MG_TOO_BIG, "%u rows in the order of %u columns: at most %d and %d are possible",
                       request->limit, request->order_count, (int)MG_TOP_ROWS_MAX, (int)MG_TOP_ORDER_MAX);
    for (uint32_t i = 0; i < request->order_count; i++)
        if (request->order[i].column >= schema->column_count)
            return mg_fail(err, MG_INVALID, "table %s.%s has %u columns; an order of column %u was asked for",
                           schema->database, schema->table, schema->column_count, request->order[i].column);
    return MG_OK;
}

static enum mg_code fill(struct mg_top *top, const struct mg_top_request *request, const struct mg_schema *schema,
                         struct mg_error *err)
{
    top->room = 2 * request->limit + SLACK_ROWS + PIECE_ROWS;
    top->columns = calloc((size_t)request->column_count + 1, sizeof *top->columns);
    top->types = calloc((size_t)request->column_count + 1, sizeof *top->types);
    MG_TRY(reserve(top, top->room * sizeof *top->key_ends, err));
    top->key_ends = calloc(top->room, sizeof *top->key_ends);
    if (!top->columns || !top->types || !top->key_ends)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the first %u rows", request->limit);
    for (uint32_t i = 0; i < request->column_count; i++) {
        top->columns[i] = request->columns[i];
        top->types[i] = schema->columns[request->columns[i]].type;
    }
    memcpy(top->order, request->order, request->order_count * sizeof *top->order);
    return mg_batch_builder_init(&top->rows, top->types, top->column_count, top->budget, CANDIDATES_MAX, err);
}

enum mg_code mg_top_new(const struct mg_top_request *request, const struct mg_schema *schema, struct mg_budget *budget,
                        struct mg_top **out, struct mg_error *err)
{
    MG_TRY(check_request(request, schema, err));
    struct mg_top *top = calloc(1, sizeof *top);
    if (!top)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the first rows of a table");
    top->column_count = request->column_count;
    top->order_count = request->order_count;
    top->limit = request->limit;
    top->budget = budget;
    mg_buffer_init(&top->keys, KEYS_MAX);
    mg_buffer_init(&top->bound, KEYS_MAX);
    mg_buffer_init(&top->key, KEYS_MAX);
    enum mg_code code = fill(top, request, schema, err);
    if (code != MG_OK) {
        mg_top_free(top);
        return code;
    }
    *out = top;
    return MG_OK;
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static enum mg_code make_key(struct mg_top *top, const struct mg_vector *const *vectors, uint32_t row,
                             struct mg_error *err)
{
    mg_buffer_reset(&top->key);
    for (uint32_t i = 0; i < top->order_count; i++) {
        const struct mg_top_order *order = &top->order[i];
        struct mg_value value = mg_vector_value(vectors[order->column], row);
        if (order->is_bytewise)
            value.type.collation = MG_COLLATION_BINARY;
        MG_TRY(mg_buffer_append_u8(&top->key, value.is_null ? (order->nulls_last ? 2 : 0) : 1, err));
        size_t begin = top->key.size;
        if (!value.is_null) /* not a table's key: of any length */
            MG_TRY(mg_key_append_value(&value, &top->key, err));
        for (size_t b = begin; order->is_descending && b < top->key.size; b++)
            top->key.data[b] = (uint8_t)~top->key.data[b];
    }
    return MG_OK;
}

static struct mg_slice key_of(const struct mg_top *top, uint32_t candidate)
{
    size_t begin = candidate ? top->key_ends[candidate - 1] : 0;

    return MG_SLICE(top->keys.data + begin, top->key_ends[candidate] - begin);
}

static int compare_candidates(const void *a, const void *b, void *arg)
{
    const struct mg_top *top = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = mg_slice_compare(key_of(top, x), key_of(top, y));

    return order ? order : (x > y) - (x < y);
}

/* ---- candidates ---------------------------------------------------------------------------------------------- */

/* The keys of chosen candidates take the place of all. */
static enum mg_code keep_keys(struct mg_top *top, const uint32_t *chosen, uint32_t count, struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer kept;

    mg_buffer_init(&kept, KEYS_MAX);
    MG_TRY(mg_buffer_reserve(&kept, top->keys.size, err));
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice key = key_of(top, chosen[i]);
        MG_TRY(mg_buffer_append(&kept, key.data, key.size, err));
    }
    size_t end = 0;
    size_t *ends = malloc(((size_t)count + 1) * sizeof *ends);
    if (!ends)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the keys of %u rows", count);
    for (uint32_t i = 0; i < count; i++)
        ends[i] = end += key_of(top, chosen[i]).size;
    memcpy(top->key_ends, ends, count * sizeof *ends);
    free(ends);
    mg_buffer_reset(&top->keys);
    return mg_buffer_append(&top->keys, kept.data, kept.size, err);
}

/* Only the first stay, in order: in *out, and their keys. The builder is empty then. */
static enum mg_code sort(struct mg_top *top, struct mg_batch **out, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *all = NULL;
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *first = NULL;
    MG_CLEANUP(mg_freep) uint32_t *chosen = malloc(((size_t)top->count + 1) * sizeof *chosen);
    uint32_t kept = MG_MIN(top->count, top->limit);

    if (!chosen)
        return mg_fail(err, MG_NO_MEMORY, "no memory to sort %u rows", top->count);
    for (uint32_t i = 0; i < top->count; i++)
        chosen[i] = i;
    qsort_r(chosen, top->count, sizeof *chosen, compare_candidates, top);
    MG_TRY(mg_batch_builder_finish(&top->rows, top->count, &all, err));
    MG_TRY(mg_batch_select(all, chosen, kept, top->budget, &first, err));
    MG_TRY(keep_keys(top, chosen, kept, err));
    top->count = kept;
    *out = MG_TAKE(first);
    return MG_OK;
}

/* Back to the limit, with a new bound. */
static enum mg_code cut_back(struct mg_top *top, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *kept = NULL;

    MG_TRY(sort(top, &kept, err));
    for (uint32_t i = 0; i < top->column_count; i++)
        MG_TRY(mg_builder_gather(&top->rows, i, &kept->vectors[i], NULL, 0, kept->row_count, err));
    struct mg_slice last = key_of(top, top->count - 1);
    mg_buffer_reset(&top->bound);
    top->has_bound = true;
    return mg_buffer_append(&top->bound, last.data, last.size, err);
}

/* Rows of a piece that may be among the first: their keys are appended, their numbers stand in rows. */
static enum mg_code choose(struct mg_top *top, const struct mg_vector *const *vectors, uint32_t first, uint64_t *mask,
                           uint32_t word_count, uint32_t *rows, uint32_t *out_count, struct mg_error *err)
{
    uint32_t count = 0;

    for (uint32_t w = 0; w < word_count; w++) {
        for (; mask[w]; mask[w] &= mask[w] - 1) {
            uint32_t row = first + w * 64 + (uint32_t)__builtin_ctzll(mask[w]);
            MG_TRY(make_key(top, vectors, row, err));
            if (top->has_bound && mg_slice_compare(mg_buffer_slice(&top->key), mg_buffer_slice(&top->bound)) >= 0)
                continue;
            MG_TRY(mg_buffer_append(&top->keys, top->key.data, top->key.size, err));
            top->key_ends[top->count + count] = top->keys.size;
            rows[count++] = row;
        }
    }
    *out_count = count;
    return MG_OK;
}

enum mg_code mg_top_add(struct mg_top *top, const struct mg_vector *const *vectors, uint32_t row_count,
                        const uint64_t *mask, struct mg_error *err)
{
    uint32_t rows[PIECE_ROWS], count;
    uint64_t piece[PIECE_ROWS / 64];

    for (uint32_t first = 0; first < row_count; first += PIECE_ROWS) {
        uint32_t words = (MG_MIN(row_count - first, (uint32_t)PIECE_ROWS) + 63) / 64;
        memcpy(piece, mask + first / 64, words * sizeof *piece);
        MG_TRY(choose(top, vectors, first, piece, words, rows, &count, err));
        for (uint32_t i = 0; count && i < top->column_count; i++)
            MG_TRY(mg_builder_gather(&top->rows, i, vectors[top->columns[i]], rows, 0, count, err));
        top->count += count;
        MG_TRY(reserve(top, top->room * sizeof *top->key_ends + top->keys.capacity, err));
        if (top->count >= 2 * top->limit + SLACK_ROWS)
            MG_TRY(cut_back(top, err));
    }
    return MG_OK;
}

enum mg_code mg_top_next(struct mg_top *top, uint32_t rows_max, struct mg_batch **out, struct mg_error *err)
{
    if (!top->is_sorted)
        MG_TRY(sort(top, &top->sorted, err));
    top->is_sorted = true;
    uint32_t left = top->sorted->row_count - top->out_done, count = rows_max ? MG_MIN(left, rows_max) : left;
    *out = NULL;
    if (count == 0)
        return MG_OK;
    MG_CLEANUP(mg_freep) uint32_t *rows = malloc(count * sizeof *rows);
    if (!rows)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a batch of %u rows", count);
    for (uint32_t i = 0; i < count; i++)
        rows[i] = top->out_done + i;
    MG_TRY(mg_batch_select(top->sorted, rows, count, top->budget, out, err));
    top->out_done += count;
    return MG_OK;
}
