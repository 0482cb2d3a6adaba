/* direct.c -- groups by small numbers: a load a row in place of a hash.
 *
 * Numbers  A column has them when it comes as codes of a dictionary, as texts of at most one byte or as integers that
 *          lie close together. With several columns the numbers make one index, as digits do.
 * Memory   What the table of groups said of an index is remembered until another dictionary comes or a window moves;
 *          asked again it gives the same groups, so both ways may take turns.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"

enum { BYTES_COUNT = 258 /* NULL, the empty text, 256 others */ };

void mg_agg__direct_init(struct mg_agg__direct *direct, uint32_t column_count, struct mg_agg__memory *memory)
{
    *direct = (struct mg_agg__direct){.memory = memory, .column_count = column_count};
}

void mg_agg__direct_clear(struct mg_agg__direct *direct)
{
    if (direct->memory)
        mg_agg__drop(direct->memory, &direct->groups, MG_AGG__DIRECT_MAX * sizeof *direct->groups);
}

void mg_agg__direct_forget(struct mg_agg__direct *direct)
{
    if (direct->groups)
        memset(direct->groups, 0xff, direct->index_count * sizeof *direct->groups);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* Texts of at most one byte as codes: 0 is the empty one. False when there is a longer one. */
static bool bytes_of(const struct mg_agg__value *value, uint16_t *codes)
{
    const struct mg_vector *v = &value->vector;

    for (uint32_t i = 0; i < value->row_count; i++) {
        struct mg_slice text = mg_vector_text(v, i);
        if (text.size > 1 && mg_agg__is_there(v, i))
            return false;
        codes[i] = text.size ? (uint16_t)(1 + text.data[0]) : 0;
    }
    return true;
}

/* A window around the bounds, so that the next block's lie in it, too, as far as `most` numbers allow. */
static bool make_window(const struct mg_agg__value *value, const struct mg_agg__direct_column *before, uint32_t most,
                        struct mg_agg__direct_column *out)
{
    mg_int128 low = value->low, high = value->high;

    if (before->kind == MG_AGG__DIRECT_WINDOW) {
        mg_int128 all_low = MG_MIN(low, (mg_int128)before->low);
        mg_int128 all_high = MG_MAX(high, (mg_int128)before->low + before->count - 2);
        if (all_high - all_low + 2 <= most) {
            low = all_low;
            high = all_high;
        }
    }
    if (high - low + 2 > most)
        return false;
    *out = (struct mg_agg__direct_column){
        .kind = MG_AGG__DIRECT_WINDOW, .low = (int64_t)low, .count = (uint32_t)(high - low) + 2};
    return true;
}

/* What numbers the column has in this block; most: so many are possible. */
static bool describe(const struct mg_agg__value *value, const struct mg_agg__direct_column *before, uint32_t most,
                     struct mg_agg__direct_column *out)
{
    *out = (struct mg_agg__direct_column){.kind = MG_AGG__DIRECT_BYTES, .count = BYTES_COUNT};
    if (value->codes) {
        out->kind = MG_AGG__DIRECT_CODES;
        out->dictionary_id = value->dictionary_id;
        out->count = value->dictionary->row_count + 1;
    } else if (value->ints) {
        return value->low <= value->high && make_window(value, before, most, out);
    } else if (!value->has_vector || value->vector.type.id != MG_TYPE_UTF8) {
        return false;
    }
    return out->count <= most;
}

static bool same_numbers(const struct mg_agg__direct_column *a, const struct mg_agg__direct_column *b)
{
    if (a->kind != b->kind || a->count != b->count)
        return false;
    return a->kind == MG_AGG__DIRECT_CODES ? a->dictionary_id == b->dictionary_id && a->dictionary_id
                                           : a->low == b->low;
}

/* Columns as this block has them; what is remembered is forgotten if they changed. */
static enum mg_code set_columns(struct mg_agg__direct *direct, const struct mg_agg__value *const *columns, bool *done,
                                struct mg_error *err)
{
    struct mg_agg__direct_column now[MG_AGGREGATE_GROUPS_MAX];
    uint32_t count = 1;
    bool same = direct->groups != NULL;

    *done = false;
    for (uint32_t c = 0; c < direct->column_count; c++) {
        if (!describe(columns[c], &direct->columns[c], MG_AGG__DIRECT_MAX / count, &now[c]))
            return MG_OK;
        count *= now[c].count;
        same = same && same_numbers(&now[c], &direct->columns[c]);
    }
    *done = true;
    if (same)
        return MG_OK;
    if (!direct->groups)
        MG_TRY(mg_agg__grow(direct->memory, &direct->groups, 0, MG_AGG__DIRECT_MAX * sizeof *direct->groups, err));
    memcpy(direct->columns, now, direct->column_count * sizeof now[0]);
    direct->index_count = count;
    mg_agg__direct_forget(direct);
    return MG_OK;
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static bool make_index(struct mg_agg__direct *direct, const struct mg_agg__value *const *columns, uint32_t row_count)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();
    uint64_t scratch[MG_AGG__WORDS];
    uint32_t stride = 1;

    memset(direct->index, 0, row_count * sizeof direct->index[0]);
    for (uint32_t c = 0; c < direct->column_count; c++) {
        const struct mg_agg__direct_column *column = &direct->columns[c];
        const uint64_t *there = mg_agg__rows_there(columns[c], NULL, scratch);
        if (column->kind == MG_AGG__DIRECT_BYTES && !bytes_of(columns[c], direct->bytes))
            return false;
        if (column->kind == MG_AGG__DIRECT_WINDOW)
            kernels->add_window(columns[c]->ints, row_count, there, column->low, stride, direct->index);
        else
            kernels->add_codes(column->kind == MG_AGG__DIRECT_CODES ? columns[c]->codes : direct->bytes, row_count,
                               there, stride, direct->index);
        stride *= column->count;
    }
    return true;
}

/* Groups that were not met. */
static enum mg_code add_groups(struct mg_agg__direct *direct, struct mg_agg__groups *groups,
                               const struct mg_agg__value *const *columns, const struct mg_type *types,
                               uint32_t row_count, const uint64_t *rows, uint32_t *out, struct mg_error *err)
{
    struct mg_value values[MG_AGGREGATE_GROUPS_MAX];

    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t *known = &direct->groups[direct->index[i]];
        if (out[i] != MG_AGG__NO_GROUP || (rows && !(rows[i / 64] >> i % 64 & 1)))
            continue;
        for (uint32_t c = 0; *known == MG_AGG__NO_GROUP && c < direct->column_count; c++)
            values[c] = mg_agg__value_at(columns[c], types[c], i);
        if (*known == MG_AGG__NO_GROUP)
            MG_TRY(mg_agg__groups_find_one(groups, values, known, err));
        out[i] = *known;
    }
    return MG_OK;
}

enum mg_code mg_agg__direct_find(struct mg_agg__direct *direct, struct mg_agg__groups *groups,
                                 const struct mg_agg__value *const *columns, const struct mg_type *types,
                                 uint32_t row_count, const uint64_t *rows, uint32_t *out, bool *done,
                                 struct mg_error *err)
{
    MG_TRY(set_columns(direct, columns, done, err));
    if (!*done || !make_index(direct, columns, row_count)) {
        *done = false;
        return MG_OK;
    }
    if (mg_agg__kernels()->look_up(direct->groups, direct->index, row_count, out))
        return add_groups(direct, groups, columns, types, row_count, rows, out, err);
    return MG_OK;
}
