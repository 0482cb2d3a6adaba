/* groups.c -- which group a row belongs to: keys as bytes, in a hash table; for keys of one byte, by direct index.
 *
 * Direct   With one or two columns of texts of at most one byte, or of 8-bit integers, a row's code is an index into
 *          `direct`: the two flags of TPC-H Q1 cost a load a row. A longer text sends its block through the table; both
 *          ways give the same numbers, since `direct` only remembers what the table said.
 * Equal    Keys are made so that equal bytes are equal values: -0.0 is written as 0.0, every NaN as one, NULL as zeros
 *          with its bit, texts without trailing blanks where those do not count.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"
#include "expr/scalar_internal.h"

enum { SLOTS_MIN = 1024, GROUPS_MIN = 64, KEYS_MIN = 4096 };

/* ---- memory -------------------------------------------------------------------------------------------------- */

enum mg_code mg_agg__grow(struct mg_agg__memory *memory, void *place, size_t old_bytes, size_t new_bytes,
                          struct mg_error *err)
{
    void **pointer = place;
    size_t more = new_bytes - old_bytes;

    if (memory->is_hard && (more > memory->bytes_max || memory->used_bytes > memory->bytes_max - more))
        return mg_fail(err, MG_NO_MEMORY,
                       "too many groups: the aggregate would pass %zu bytes; group by less, or ask for partial results",
                       memory->bytes_max);
    enum mg_code code = mg_budget_reserve(memory->budget, more, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "groups of an aggregate, %zu bytes so far", memory->used_bytes);
    void *grown = realloc(*pointer, new_bytes);
    if (!grown) {
        mg_budget_release(memory->budget, more);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate's %zu bytes", new_bytes);
    }
    *pointer = grown;
    memory->used_bytes += more;
    return MG_OK;
}

void mg_agg__drop(struct mg_agg__memory *memory, void *place, size_t bytes)
{
    void **pointer = place;

    if (!*pointer)
        return;
    free(*pointer);
    *pointer = NULL;
    mg_budget_release(memory->budget, bytes);
    memory->used_bytes -= bytes;
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

static bool has_direct_codes(const struct mg_aggregate *aggregate)
{
    if (aggregate->group_count > 2)
        return false;
    for (uint32_t c = 0; c < aggregate->group_count; c++) {
        enum mg_type_id id = aggregate->group_types[c].id;
        if (id != MG_TYPE_UTF8 && mg_type_width(id) != 1)
            return false;
    }
    return true;
}

enum mg_code mg_agg__groups_init(struct mg_agg__groups *groups, const struct mg_aggregate *aggregate,
                                 struct mg_agg__memory *memory, struct mg_error *err)
{
    *groups = (struct mg_agg__groups){.memory = memory,
                                      .column_count = aggregate->group_count,
                                      .types = aggregate->group_types,
                                      .trims = aggregate->rules == MG_RULES_MYSQL};
    groups->fixed_bytes = (aggregate->group_count + 7) / 8;
    for (uint32_t c = 0; c < aggregate->group_count; c++) {
        uint32_t width = mg_type_width(aggregate->group_types[c].id);
        groups->fixed_bytes += width ? width : (uint32_t)sizeof(uint32_t);
    }
    if (aggregate->group_count && has_direct_codes(aggregate)) {
        groups->direct_count = aggregate->group_count == 2 ? MG_AGG__DIRECT_CODES * MG_AGG__DIRECT_CODES
                                                           : MG_AGG__DIRECT_CODES;
        MG_TRY(mg_agg__grow(memory, &groups->direct, 0, groups->direct_count * sizeof *groups->direct, err));
    }
    return mg_agg__groups_empty(groups, err);
}

static void drop_tables(struct mg_agg__groups *groups)
{
    mg_agg__drop(groups->memory, &groups->key_ends, groups->room * sizeof *groups->key_ends);
    mg_agg__drop(groups->memory, &groups->hashes, groups->room * sizeof *groups->hashes);
    mg_agg__drop(groups->memory, &groups->keys, groups->key_room);
    mg_agg__drop(groups->memory, &groups->slots, groups->slot_count * sizeof *groups->slots);
    groups->count = groups->room = groups->slot_count = 0;
    groups->key_bytes = groups->key_room = 0;
}

void mg_agg__groups_clear(struct mg_agg__groups *groups)
{
    if (!groups->memory)
        return;
    drop_tables(groups);
    mg_agg__drop(groups->memory, &groups->direct, groups->direct_count * sizeof *groups->direct);
    mg_agg__drop(groups->memory, &groups->row_keys, groups->row_key_room);
}

enum mg_code mg_agg__groups_empty(struct mg_agg__groups *groups, struct mg_error *err)
{
    drop_tables(groups);
    if (groups->direct)
        memset(groups->direct, 0xff, groups->direct_count * sizeof *groups->direct);
    MG_TRY(mg_agg__grow(groups->memory, &groups->slots, 0, SLOTS_MIN * sizeof *groups->slots, err));
    groups->slot_count = SLOTS_MIN;
    memset(groups->slots, 0xff, SLOTS_MIN * sizeof *groups->slots);
    return MG_OK;
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static size_t key_begin(const struct mg_agg__groups *groups, uint32_t group)
{
    return group ? groups->key_ends[group - 1] : 0;
}

static enum mg_code grow_slots(struct mg_agg__groups *groups, struct mg_error *err)
{
    uint32_t count = groups->slot_count * 2, mask = count - 1;

    MG_TRY(mg_agg__grow(groups->memory, &groups->slots, groups->slot_count * sizeof *groups->slots,
                        count * sizeof *groups->slots, err));
    groups->slot_count = count;
    memset(groups->slots, 0xff, count * sizeof *groups->slots);
    for (uint32_t g = 0; g < groups->count; g++) {
        uint32_t slot = groups->hashes[g] & mask;
        while (groups->slots[slot] != MG_AGG__NO_GROUP)
            slot = (slot + 1) & mask;
        groups->slots[slot] = g;
    }
    return MG_OK;
}

/* One array at a time, so that each is as long as `room` or, after a failure, longer and still accounted. */
static enum mg_code make_room(struct mg_agg__groups *groups, size_t key_size, struct mg_error *err)
{
    if (groups->count == groups->room) {
        size_t room = groups->room, more = room ? room * 2 : GROUPS_MIN;
        struct mg_agg__groups *g = groups;
        MG_TRY(mg_agg__grow(g->memory, &g->key_ends, room * sizeof *g->key_ends, more * sizeof *g->key_ends, err));
        enum mg_code code = mg_agg__grow(g->memory, &g->hashes, room * sizeof *g->hashes, more * sizeof *g->hashes,
                                         err);
        if (code != MG_OK) { /* the other array keeps its memory, not its account */
            mg_budget_release(g->memory->budget, (more - room) * sizeof *g->key_ends);
            g->memory->used_bytes -= (more - room) * sizeof *g->key_ends;
            return code;
        }
        groups->room = (uint32_t)more;
    }
    if (groups->key_bytes + key_size > groups->key_room) {
        size_t more = MG_MAX(MG_MAX(groups->key_room * 2, groups->key_bytes + key_size), (size_t)KEYS_MIN);
        MG_TRY(mg_agg__grow(groups->memory, &groups->keys, groups->key_room, more, err));
        groups->key_room = more;
    }
    return groups->count >= groups->slot_count / 2 ? grow_slots(groups, err) : MG_OK;
}

static enum mg_code find_key(struct mg_agg__groups *groups, struct mg_slice key, uint32_t *out, struct mg_error *err)
{
    uint32_t hash = (uint32_t)mg_hash(key.data, key.size, 0), mask = groups->slot_count - 1, slot = hash & mask;

    for (uint32_t g; (g = groups->slots[slot]) != MG_AGG__NO_GROUP; slot = (slot + 1) & mask) {
        size_t begin = key_begin(groups, g);
        if (groups->hashes[g] == hash && groups->key_ends[g] - begin == key.size &&
            memcmp(groups->keys + begin, key.data, key.size) == 0) {
            *out = g;
            return MG_OK;
        }
    }
    if (groups->count == MG_AGG__NO_GROUP / 4)
        return mg_fail(err, MG_NO_MEMORY, "too many groups: an aggregate holds %u at most", groups->count);
    MG_TRY(make_room(groups, key.size, err));
    mask = groups->slot_count - 1;
    for (slot = hash & mask; groups->slots[slot] != MG_AGG__NO_GROUP;)
        slot = (slot + 1) & mask;
    uint32_t group = groups->count++;
    memcpy(groups->keys + groups->key_bytes, key.data, key.size);
    groups->key_bytes += key.size;
    groups->key_ends[group] = groups->key_bytes;
    groups->hashes[group] = hash;
    groups->slots[slot] = group;
    *out = group;
    return MG_OK;
}

/* ---- keys of rows -------------------------------------------------------------------------------------------- */

static struct mg_slice text_at(const struct mg_agg__groups *groups, uint32_t column, const struct mg_vector *v,
                               uint32_t row)
{
    struct mg_slice text = mg_vector_text(v, row);

    return groups->trims && groups->types[column].collation == MG_COLLATION_PAD_SPACE ? mg_expr__trim(text) : text;
}

/* The value as its type's bytes, whatever it is held in. */
static void put_value(struct mg_type type, const struct mg_vector *v, uint32_t row, uint8_t *to)
{
    struct mg_value value = mg_vector_value(v, row);

    if (mg_scalar__is_float(type.id)) {
        value.f = isnan(value.f) ? NAN : value.f + 0.0;
        value.type = type;
        mg_value_store(&value, to);
        return;
    }
    mg_int128 exact = value.type.id == MG_TYPE_DECIMAL        ? value.d
                      : mg_scalar__is_unsigned(value.type.id) ? (mg_int128)value.u
                                                              : value.i;
    memcpy(to, &exact, mg_type_width(type.id));
}

/* Fixed part of one column in all keys, at `offset` of each; *offset moves behind it. */
static void put_fixed(struct mg_agg__groups *groups, uint32_t column, const struct mg_vector *v, uint32_t first,
                      uint32_t count, uint32_t *offset)
{
    struct mg_type type = groups->types[column];
    uint32_t width = mg_type_width(type.id);
    bool as_it_is = width && mg_type_width(v->type.id) == width && !mg_scalar__is_float(type.id);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = first + i, size;
        uint8_t *key = groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0);
        if (!mg_agg__is_there(v, row)) {
            key[column >> 3] |= (uint8_t)(1u << (column & 7));
            memset(key + *offset, 0, width ? width : sizeof size);
        } else if (as_it_is) {
            memcpy(key + *offset, (const uint8_t *)v->values + (size_t)row * width, width);
        } else if (width) {
            put_value(type, v, row, key + *offset);
        } else {
            size = (uint32_t)text_at(groups, column, v, row).size;
            memcpy(key + *offset, &size, sizeof size);
        }
    }
    *offset += width ? width : (uint32_t)sizeof(uint32_t);
}

/* Where each key ends, and room for them. */
static enum mg_code measure(struct mg_agg__groups *groups, const struct mg_vector *columns, uint32_t first,
                            uint32_t count, struct mg_error *err)
{
    size_t end = 0;

    for (uint32_t i = 0; i < count; i++) {
        end += groups->fixed_bytes;
        for (uint32_t c = 0; c < groups->column_count; c++)
            if (groups->types[c].id == MG_TYPE_UTF8 && mg_agg__is_there(&columns[c], first + i))
                end += text_at(groups, c, &columns[c], first + i).size;
        if (end > UINT32_MAX)
            return mg_fail(err, MG_TOO_BIG, "the texts of %u rows to group by pass 4 GiB", count);
        groups->row_key_ends[i] = (uint32_t)end;
    }
    if (end <= groups->row_key_room)
        return MG_OK;
    size_t room = MG_MAX(end, 2 * groups->row_key_room);
    MG_TRY(mg_agg__grow(groups->memory, &groups->row_keys, groups->row_key_room, room, err));
    groups->row_key_room = room;
    return MG_OK;
}

static enum mg_code find_by_key(struct mg_agg__groups *groups, const struct mg_vector *columns, uint32_t first,
                                uint32_t count, uint32_t *out, struct mg_error *err)
{
    uint32_t offset = (groups->column_count + 7) / 8;

    MG_TRY(measure(groups, columns, first, count, err));
    for (uint32_t i = 0; i < count; i++)
        memset(groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0), 0, offset);
    for (uint32_t c = 0; c < groups->column_count; c++)
        put_fixed(groups, c, &columns[c], first, count, &offset);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *begin = groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0), *at = begin + groups->fixed_bytes;
        for (uint32_t c = 0; c < groups->column_count; c++) {
            if (groups->types[c].id != MG_TYPE_UTF8 || !mg_agg__is_there(&columns[c], first + i))
                continue;
            struct mg_slice text = text_at(groups, c, &columns[c], first + i);
            if (text.size)
                memcpy(at, text.data, text.size);
            at += text.size;
        }
        MG_TRY(find_key(groups, MG_SLICE(begin, (size_t)(at - begin)), &out[i], err));
    }
    return MG_OK;
}

/* ---- direct -------------------------------------------------------------------------------------------------- */

/* code = code * DIRECT_CODES + this column's code; false when a value has none. */
static bool add_codes(const struct mg_agg__groups *groups, uint32_t column, const struct mg_vector *v,
                      uint32_t row_count, uint32_t *codes)
{
    const uint8_t *bytes = v->values;

    if (v->type.id != MG_TYPE_UTF8 && mg_type_width(v->type.id) != 1)
        return false;
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t code = 0;
        if (mg_agg__is_there(v, i) && v->type.id != MG_TYPE_UTF8) {
            code = 2u + bytes[i];
        } else if (mg_agg__is_there(v, i)) {
            struct mg_slice text = text_at(groups, column, v, i);
            if (text.size > 1)
                return false;
            code = text.size ? 2u + text.data[0] : 1;
        }
        codes[i] = codes[i] * MG_AGG__DIRECT_CODES + code;
    }
    return true;
}

enum mg_code mg_agg__groups_find(struct mg_agg__groups *groups, const struct mg_vector *columns, uint32_t row_count,
                                 uint32_t *out, struct mg_error *err)
{
    uint32_t codes[MG_SCALAR_ROWS_MAX] = {0};
    bool is_direct = groups->direct != NULL;

    for (uint32_t c = 0; is_direct && c < groups->column_count; c++)
        is_direct = add_codes(groups, c, &columns[c], row_count, codes);
    if (!is_direct)
        return find_by_key(groups, columns, 0, row_count, out, err);
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t *known = &groups->direct[codes[i]];
        if (*known == MG_AGG__NO_GROUP)
            MG_TRY(find_by_key(groups, columns, i, 1, known, err));
        out[i] = *known;
    }
    return MG_OK;
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

struct mg_value mg_agg__groups_value(const struct mg_agg__groups *groups, uint32_t group, uint32_t column)
{
    const uint8_t *key = groups->keys + key_begin(groups, group), *at = key + (groups->column_count + 7) / 8;
    const uint8_t *text = key + groups->fixed_bytes;
    struct mg_value value = {.type = groups->types[column], .is_null = key[column >> 3] >> (column & 7) & 1};

    for (uint32_t c = 0; c < column; c++) {
        uint32_t width = mg_type_width(groups->types[c].id);
        text += width ? 0 : mg_load_le32(at);
        at += width ? width : sizeof(uint32_t);
    }
    if (value.is_null)
        return value;
    if (value.type.id != MG_TYPE_UTF8)
        return mg_value_load(value.type, at);
    value.text = MG_SLICE(text, mg_load_le32(at));
    return value;
}
