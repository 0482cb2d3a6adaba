/* groups.c -- which group a row belongs to: keys in a hash table.
 *
 * Keys     of one column that is an integer underneath are its 64 bits, of one text the text; all others are bytes.
 * Equal    Keys are made so that equal bytes are equal values: -0.0 is written as 0.0, every NaN as one, NULL as zeros
 *          with its bit, texts without trailing blanks where those do not count.
 * Misses   With many groups a look at the table is one in far memory. A block's rows go together through each step, and
 *          ask for what the next one reads.
 * Threads  belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"

enum { SLOTS_MIN = 1024, GROUPS_MIN = 64, KEYS_MIN = 4096, INT_KEY_DIGITS = 18, LINE_BYTES = 64 };

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

static bool is_int_key(const struct mg_aggregate *aggregate)
{
    struct mg_type type = aggregate->group_types[0];

    if (aggregate->group_count != 1 || type.id == MG_TYPE_UTF8 || mg_scalar__is_float(type.id))
        return false;
    return type.id != MG_TYPE_DECIMAL || type.precision <= INT_KEY_DIGITS;
}

enum mg_code mg_agg__groups_init(struct mg_agg__groups *groups, const struct mg_aggregate *aggregate,
                                 uint32_t total_count, struct mg_agg__memory *memory, struct mg_error *err)
{
    *groups = (struct mg_agg__groups){.memory = memory,
                                      .column_count = aggregate->group_count,
                                      .types = aggregate->group_types,
                                      .stride = MG_MAX(total_count, 1u),
                                      .trims = aggregate->rules == MG_RULES_MYSQL};
    groups->has_int_key = is_int_key(aggregate);
    groups->has_text_key = aggregate->group_count == 1 && aggregate->group_types[0].id == MG_TYPE_UTF8;
    groups->fixed_bytes = (aggregate->group_count + 7) / 8;
    for (uint32_t c = 0; c < aggregate->group_count; c++) {
        uint32_t width = mg_type_width(aggregate->group_types[c].id);
        groups->fixed_bytes += width ? width : (uint32_t)sizeof(uint32_t);
    }
    return mg_agg__groups_empty(groups, err);
}

static size_t cell_bytes(const struct mg_agg__groups *groups, size_t room)
{
    return room * groups->stride * sizeof *groups->cells + LINE_BYTES;
}

static void drop_tables(struct mg_agg__groups *groups)
{
    mg_agg__drop(groups->memory, &groups->cell_memory, cell_bytes(groups, groups->cell_room));
    mg_agg__drop(groups->memory, &groups->key_ends, groups->end_room * sizeof *groups->key_ends);
    mg_agg__drop(groups->memory, &groups->keys, groups->key_room);
    mg_agg__drop(groups->memory, &groups->slots, groups->slot_count * sizeof *groups->slots);
    groups->cells = NULL;
    groups->count = groups->cell_room = groups->end_room = groups->slot_count = 0;
    groups->key_bytes = groups->key_room = 0;
    groups->null_group = MG_AGG__NO_GROUP;
}

void mg_agg__groups_clear(struct mg_agg__groups *groups)
{
    if (!groups->memory)
        return;
    drop_tables(groups);
    mg_agg__drop(groups->memory, &groups->row_keys, groups->row_key_room);
}

enum mg_code mg_agg__groups_empty(struct mg_agg__groups *groups, struct mg_error *err)
{
    drop_tables(groups);
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

static void put_slot(struct mg_agg__slot *slots, uint32_t mask, struct mg_agg__slot slot)
{
    uint32_t at = slot.hash & mask;

    while (slots[at].group != MG_AGG__NO_GROUP)
        at = (at + 1) & mask;
    slots[at] = slot;
}

/* Twice as many. */
static enum mg_code grow_slots(struct mg_agg__groups *groups, struct mg_error *err)
{
    uint32_t old_count = groups->slot_count, count = old_count * 2;
    struct mg_agg__slot *old = groups->slots, *slots = NULL;

    MG_TRY(mg_agg__grow(groups->memory, &slots, 0, count * sizeof *slots, err));
    memset(slots, 0xff, count * sizeof *slots);
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].group != MG_AGG__NO_GROUP)
            put_slot(slots, count - 1, old[i]);
    groups->slots = slots;
    groups->slot_count = count;
    mg_agg__drop(groups->memory, &old, old_count * sizeof *old);
    return MG_OK;
}

/* Cells of new groups are empty. */
static enum mg_code grow_cells(struct mg_agg__groups *groups, size_t room, struct mg_error *err)
{
    size_t old = groups->cell_room, size = groups->stride * sizeof *groups->cells;
    size_t old_offset = old ? (size_t)((uint8_t *)groups->cells - groups->cell_memory) : 0;

    MG_TRY(mg_agg__grow(groups->memory, &groups->cell_memory, old ? cell_bytes(groups, old) : 0,
                        cell_bytes(groups, room), err));
    size_t offset = (LINE_BYTES - (uintptr_t)groups->cell_memory % LINE_BYTES) % LINE_BYTES;
    if (offset != old_offset)
        memmove(groups->cell_memory + offset, groups->cell_memory + old_offset, old * size);
    groups->cells = (struct mg_agg__cell *)(void *)(groups->cell_memory + offset);
    memset(groups->cell_memory + offset + old * size, 0, (room - old) * size);
    groups->cell_room = (uint32_t)room;
    return MG_OK;
}

/* Room for one more group. */
static enum mg_code make_room(struct mg_agg__groups *groups, size_t key_size, struct mg_error *err)
{
    struct mg_agg__groups *g = groups;

    if (g->count == MG_AGG__NO_GROUP / 4)
        return mg_fail(err, MG_NO_MEMORY, "too many groups: an aggregate holds %u at most", g->count);
    if (g->count == g->cell_room)
        MG_TRY(grow_cells(g, MG_MAX((size_t)g->count * 2, (size_t)GROUPS_MIN), err));
    if (g->count == g->end_room && !g->has_int_key) {
        size_t more = MG_MAX((size_t)g->count * 2, (size_t)GROUPS_MIN);
        MG_TRY(
            mg_agg__grow(g->memory, &g->key_ends, g->end_room * sizeof *g->key_ends, more * sizeof *g->key_ends, err));
        g->end_room = (uint32_t)more;
    }
    if (g->key_bytes + key_size > g->key_room) {
        size_t more = MG_MAX(MG_MAX(g->key_room * 2, g->key_bytes + key_size), (size_t)KEYS_MIN);
        MG_TRY(mg_agg__grow(g->memory, &g->keys, g->key_room, more, err));
        g->key_room = more;
    }
    return g->count >= g->slot_count / 2 ? grow_slots(g, err) : MG_OK;
}

enum mg_code mg_agg__groups_only(struct mg_agg__groups *groups, struct mg_error *err)
{
    mg_assert(groups->column_count == 0);
    if (groups->cell_room == 0)
        MG_TRY(grow_cells(groups, 1, err));
    groups->count = 1;
    return MG_OK;
}

static uint64_t *int_key(const struct mg_agg__groups *groups, uint32_t group)
{
    return &groups->cells[(size_t)group * groups->stride].key;
}

/* Up to 16 bytes are two words, which overlap where there are fewer: most keys need no call. */
enum { WORDS_BYTES = 16 };
struct words {
    uint64_t first, last;
};

static inline struct words words_of(struct mg_slice key)
{
    const uint8_t *at = key.data;

    if (key.size >= 8)
        return (struct words){mg_load_le64(at), mg_load_le64(at + key.size - 8)};
    if (key.size >= 4)
        return (struct words){mg_load_le32(at), mg_load_le32(at + key.size - 4)};
    if (key.size == 0)
        return (struct words){0, 0};
    return (struct words){at[0] | (uint64_t)at[key.size / 2] << 8, at[key.size - 1]};
}

static inline bool same_bytes(struct mg_slice a, struct mg_slice b)
{
    if (a.size != b.size)
        return false;
    if (a.size > WORDS_BYTES)
        return memcmp(a.data, b.data, a.size) == 0;
    struct words x = words_of(a), y = words_of(b);
    return x.first == y.first && x.last == y.last;
}

static inline uint32_t hash_bytes(struct mg_slice key)
{
    if (key.size > WORDS_BYTES)
        return (uint32_t)mg_hash(key.data, key.size, 0);
    struct words words = words_of(key);
    return (uint32_t)mg_hash_u64(words.first ^ (mg_hash_u64(words.last + key.size)));
}

static enum mg_code find_key(struct mg_agg__groups *groups, struct mg_slice key, uint32_t hash, uint32_t *out,
                             struct mg_error *err)
{
    uint32_t mask = groups->slot_count - 1;

    for (uint32_t at = hash & mask; groups->slots[at].group != MG_AGG__NO_GROUP; at = (at + 1) & mask) {
        uint32_t group = groups->slots[at].group;
        if (groups->slots[at].hash != hash)
            continue;
        size_t begin = key_begin(groups, group);
        if (same_bytes(MG_SLICE(groups->keys + begin, groups->key_ends[group] - begin), key)) {
            *out = group;
            return MG_OK;
        }
    }
    MG_TRY(make_room(groups, key.size, err));
    uint32_t group = groups->count++;
    if (key.size)
        memcpy(groups->keys + groups->key_bytes, key.data, key.size);
    groups->key_bytes += key.size;
    groups->key_ends[group] = groups->key_bytes;
    put_slot(groups->slots, groups->slot_count - 1, (struct mg_agg__slot){hash, group});
    *out = group;
    return MG_OK;
}

static enum mg_code find_null(struct mg_agg__groups *groups, uint32_t *out, struct mg_error *err)
{
    if (groups->null_group == MG_AGG__NO_GROUP) {
        MG_TRY(make_room(groups, 0, err));
        groups->null_group = groups->count++;
        if (groups->has_text_key)
            groups->key_ends[groups->null_group] = groups->key_bytes;
    }
    *out = groups->null_group;
    return MG_OK;
}

static enum mg_code find_int(struct mg_agg__groups *groups, uint64_t key, uint32_t hash, uint32_t *out,
                             struct mg_error *err)
{
    uint32_t mask = groups->slot_count - 1;

    for (uint32_t at = hash & mask; groups->slots[at].group != MG_AGG__NO_GROUP; at = (at + 1) & mask)
        if (groups->slots[at].hash == hash && *int_key(groups, groups->slots[at].group) == key) {
            *out = groups->slots[at].group;
            return MG_OK;
        }
    MG_TRY(make_room(groups, 0, err));
    uint32_t group = groups->count++;
    *int_key(groups, group) = key;
    put_slot(groups->slots, groups->slot_count - 1, (struct mg_agg__slot){hash, group});
    *out = group;
    return MG_OK;
}

static uint32_t hash_int(uint64_t key) { return (uint32_t)mg_hash_u64(key); }

/* Ask for slots of rows [first, end), then for what they name. */
static void fetch_slots(const struct mg_agg__groups *groups, uint32_t first, uint32_t end)
{
    uint32_t mask = groups->slot_count - 1;

    for (uint32_t i = first; i < end; i++)
        __builtin_prefetch(&groups->slots[groups->row_hashes[i] & mask]);
}

/* out: the first group with the row's hash, most likely its own, or NO_GROUP. */
static void fetch_keys(const struct mg_agg__groups *groups, uint32_t first, uint32_t end, uint32_t *out)
{
    const uint32_t mask = groups->slot_count - 1;

    for (uint32_t i = first; i < end; i++) {
        uint32_t hash = groups->row_hashes[i], at = hash & mask;
        while (groups->slots[at].group != MG_AGG__NO_GROUP && groups->slots[at].hash != hash)
            at = (at + 1) & mask;
        out[i] = groups->slots[at].group;
        if (out[i] == MG_AGG__NO_GROUP)
            continue;
        if (groups->has_int_key)
            __builtin_prefetch(int_key(groups, out[i]), 1);
        else
            __builtin_prefetch(&groups->key_ends[out[i]]);
    }
}

/* ---- keys of rows -------------------------------------------------------------------------------------------- */

static struct mg_slice trimmed(const struct mg_agg__groups *groups, uint32_t column, struct mg_slice text)
{
    return groups->trims && groups->types[column].collation == MG_COLLATION_PAD_SPACE ? mg_expr__trim(text) : text;
}

static struct mg_slice text_at(const struct mg_agg__groups *groups, uint32_t column, const struct mg_vector *v,
                               uint32_t row)
{
    return trimmed(groups, column, mg_vector_text(v, row));
}

static mg_int128 exact_of(const struct mg_value *value)
{
    if (value->type.id == MG_TYPE_DECIMAL)
        return value->d;
    return mg_scalar__is_unsigned(value->type.id) ? (mg_int128)value->u : value->i;
}

/* The value as its type's bytes, whatever it is held in. */
static void put_value(struct mg_type type, struct mg_value value, uint8_t *to)
{
    if (mg_scalar__is_float(type.id)) {
        value.f = isnan(value.f) ? NAN : value.f + 0.0;
        value.type = type;
        mg_value_store(&value, to);
        return;
    }
    mg_int128 exact = exact_of(&value);
    memcpy(to, &exact, mg_type_width(type.id));
}

/* Fixed part of one column in all keys, at `offset` of each; *offset moves behind it. */
static void put_fixed(struct mg_agg__groups *groups, uint32_t column, const struct mg_vector *v, uint32_t count,
                      uint32_t *offset)
{
    struct mg_type type = groups->types[column];
    uint32_t width = mg_type_width(type.id);
    bool as_it_is = width && mg_type_width(v->type.id) == width && !mg_scalar__is_float(type.id);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = i, size;
        uint8_t *key = groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0);
        if (!mg_agg__is_there(v, row)) {
            key[column >> 3] |= (uint8_t)(1u << (column & 7));
            memset(key + *offset, 0, width ? width : sizeof size);
        } else if (as_it_is) {
            memcpy(key + *offset, (const uint8_t *)v->values + (size_t)row * width, width);
        } else if (width) {
            put_value(type, mg_vector_value(v, row), key + *offset);
        } else {
            size = (uint32_t)text_at(groups, column, v, row).size;
            memcpy(key + *offset, &size, sizeof size);
        }
    }
    *offset += width ? width : (uint32_t)sizeof(uint32_t);
}

static enum mg_code make_key_room(struct mg_agg__groups *groups, size_t bytes, struct mg_error *err)
{
    size_t room = MG_MAX(bytes, 2 * groups->row_key_room);

    if (bytes <= groups->row_key_room)
        return MG_OK;
    MG_TRY(mg_agg__grow(groups->memory, &groups->row_keys, groups->row_key_room, room, err));
    groups->row_key_room = room;
    return MG_OK;
}

/* Where each key ends, and room for them. */
static enum mg_code measure(struct mg_agg__groups *groups, const struct mg_agg__value *const *columns, uint32_t count,
                            struct mg_error *err)
{
    size_t end = 0;

    for (uint32_t i = 0; i < count; i++) {
        end += groups->fixed_bytes;
        for (uint32_t c = 0; c < groups->column_count; c++)
            if (groups->types[c].id == MG_TYPE_UTF8 && mg_agg__is_there(&columns[c]->vector, i))
                end += text_at(groups, c, &columns[c]->vector, i).size;
        if (end > UINT32_MAX)
            return mg_fail(err, MG_TOO_BIG, "the texts of %u rows to group by pass 4 GiB", count);
        groups->row_key_ends[i] = (uint32_t)end;
    }
    return make_key_room(groups, end, err);
}

/* Keys of a block's rows, and their hashes. */
static enum mg_code make_keys(struct mg_agg__groups *groups, const struct mg_agg__value *const *columns, uint32_t count,
                              struct mg_error *err)
{
    uint32_t offset = (groups->column_count + 7) / 8;

    MG_TRY(measure(groups, columns, count, err));
    for (uint32_t i = 0; i < count; i++)
        memset(groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0), 0, offset);
    for (uint32_t c = 0; c < groups->column_count; c++)
        put_fixed(groups, c, &columns[c]->vector, count, &offset);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *begin = groups->row_keys + (i ? groups->row_key_ends[i - 1] : 0), *at = begin + groups->fixed_bytes;
        for (uint32_t c = 0; c < groups->column_count; c++) {
            if (groups->types[c].id != MG_TYPE_UTF8 || !mg_agg__is_there(&columns[c]->vector, i))
                continue;
            struct mg_slice text = text_at(groups, c, &columns[c]->vector, i);
            if (text.size)
                memcpy(at, text.data, text.size);
            at += text.size;
        }
        groups->row_texts[i] = MG_SLICE(begin, (size_t)(at - begin));
        groups->row_hashes[i] = hash_bytes(groups->row_texts[i]);
    }
    return MG_OK;
}

/* The same where the texts are the keys: they stay where they are. */
static void show_texts(struct mg_agg__groups *groups, const struct mg_vector *v, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        groups->row_texts[i] = mg_agg__is_there(v, i) ? text_at(groups, 0, v, i) : MG_SLICE(NULL, 0);
        groups->row_hashes[i] = hash_bytes(groups->row_texts[i]);
    }
}

enum { STRIDE = 64 /* rows that are asked for ahead: their lines fit the nearest cache */ };

static enum mg_code find_ints(struct mg_agg__groups *groups, const struct mg_agg__value *column, uint32_t count,
                              uint32_t *out, struct mg_error *err)
{
    const any_int64 *ints = column->ints;
    uint64_t scratch[MG_AGG__WORDS];
    const uint64_t *there = mg_agg__rows_there(column, NULL, scratch);

    for (uint32_t i = 0; i < count; i++)
        groups->row_hashes[i] = hash_int((uint64_t)ints[i]);
    fetch_slots(groups, 0, MG_MIN(count, 2u * STRIDE));
    fetch_keys(groups, 0, MG_MIN(count, (uint32_t)STRIDE), out);
    for (uint32_t first = 0; first < count; first += STRIDE) {
        uint32_t end = MG_MIN(first + STRIDE, count), next = MG_MIN(end + STRIDE, count);
        fetch_slots(groups, next, MG_MIN(next + STRIDE, count));
        fetch_keys(groups, end, next, out);
        for (uint32_t i = first; i < end; i++) {
            if (there && !(there[i / 64] >> i % 64 & 1))
                MG_TRY(find_null(groups, &out[i], err));
            else if (out[i] == MG_AGG__NO_GROUP || *int_key(groups, out[i]) != (uint64_t)ints[i])
                MG_TRY(find_int(groups, (uint64_t)ints[i], groups->row_hashes[i], &out[i], err));
        }
    }
    return MG_OK;
}

/* A computed or an unsigned integer, whose values need not fit int64: their bits do. */
static enum mg_code find_wide_ints(struct mg_agg__groups *groups, const struct mg_vector *v, uint32_t count,
                                   uint32_t *out, struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mg_value value = mg_vector_value(v, i);
        value.is_null = !mg_agg__is_there(v, i);
        MG_TRY(mg_agg__groups_find_one(groups, &value, &out[i], err));
    }
    return MG_OK;
}

enum mg_code mg_agg__groups_find(struct mg_agg__groups *groups, const struct mg_agg__value *const *columns,
                                 uint32_t row_count, uint32_t *out, struct mg_error *err)
{
    if (groups->has_int_key)
        return columns[0]->ints ? find_ints(groups, columns[0], row_count, out, err)
                                : find_wide_ints(groups, &columns[0]->vector, row_count, out, err);
    const struct mg_vector *texts = groups->has_text_key ? &columns[0]->vector : NULL;
    if (texts)
        show_texts(groups, texts, row_count);
    else
        MG_TRY(make_keys(groups, columns, row_count, err));
    fetch_slots(groups, 0, MG_MIN(row_count, 2u * STRIDE));
    fetch_keys(groups, 0, MG_MIN(row_count, (uint32_t)STRIDE), out);
    for (uint32_t first = 0; first < row_count; first += STRIDE) {
        uint32_t end = MG_MIN(first + STRIDE, row_count), next = MG_MIN(end + STRIDE, row_count);
        fetch_slots(groups, next, MG_MIN(next + STRIDE, row_count));
        fetch_keys(groups, end, next, out);
        for (uint32_t i = first; i < end; i++) {
            if (texts && !mg_agg__is_there(texts, i))
                MG_TRY(find_null(groups, &out[i], err));
            else
                MG_TRY(find_key(groups, groups->row_texts[i], groups->row_hashes[i], &out[i], err));
        }
    }
    return MG_OK;
}

enum mg_code mg_agg__groups_find_one(struct mg_agg__groups *groups, const struct mg_value *values, uint32_t *out,
                                     struct mg_error *err)
{
    size_t bytes = groups->fixed_bytes;

    if (groups->has_int_key) {
        uint64_t key = values[0].is_null ? 0 : (uint64_t)exact_of(&values[0]);
        return values[0].is_null ? find_null(groups, out, err) : find_int(groups, key, hash_int(key), out, err);
    }
    if (groups->has_text_key) {
        struct mg_slice text = values[0].is_null ? MG_SLICE(NULL, 0) : trimmed(groups, 0, values[0].text);
        return values[0].is_null ? find_null(groups, out, err) : find_key(groups, text, hash_bytes(text), out, err);
    }
    for (uint32_t c = 0; c < groups->column_count; c++)
        bytes += groups->types[c].id == MG_TYPE_UTF8 && !values[c].is_null ? values[c].text.size : 0;
    MG_TRY(make_key_room(groups, bytes, err));
    uint8_t *key = groups->row_keys, *at = key + (groups->column_count + 7) / 8, *text = key + groups->fixed_bytes;
    memset(key, 0, groups->fixed_bytes);
    for (uint32_t c = 0; c < groups->column_count; c++) {
        uint32_t width = mg_type_width(groups->types[c].id);
        if (values[c].is_null) {
            key[c >> 3] |= (uint8_t)(1u << (c & 7));
        } else if (width) {
            put_value(groups->types[c], values[c], at);
        } else {
            struct mg_slice shown = trimmed(groups, c, values[c].text);
            mg_store_le32(at, (uint32_t)shown.size);
            if (shown.size)
                memcpy(text, shown.data, shown.size);
            text += shown.size;
        }
        at += width ? width : (uint32_t)sizeof(uint32_t);
    }
    struct mg_slice whole = MG_SLICE(key, (size_t)(text - key));
    return find_key(groups, whole, hash_bytes(whole), out, err);
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

static struct mg_value text_value(const struct mg_agg__groups *groups, uint32_t group)
{
    size_t begin = key_begin(groups, group);

    return (struct mg_value){.type = groups->types[0],
                             .is_null = group == groups->null_group,
                             .text = MG_SLICE(groups->keys + begin, groups->key_ends[group] - begin)};
}

static struct mg_value int_value(const struct mg_agg__groups *groups, uint32_t group)
{
    struct mg_value value = {.type = groups->types[0], .is_null = group == groups->null_group};

    if (value.type.id == MG_TYPE_DECIMAL)
        value.d = (int64_t)*int_key(groups, group);
    else
        value.u = *int_key(groups, group);
    return value;
}

struct mg_value mg_agg__groups_value(const struct mg_agg__groups *groups, uint32_t group, uint32_t column)
{
    if (groups->has_int_key)
        return int_value(groups, group);
    if (groups->has_text_key)
        return text_value(groups, group);
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
