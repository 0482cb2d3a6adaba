/* part_lookup.c -- keys in order, and where rows with given keys live in a table's parts.
 *
 * Keys are encoded and sorted once, then each part is asked, newest first, for those that are not found yet. A part may
 * still hold a row that was deleted since, so what is found counts only without a mark; at most one part holds the
 * living row of a key.
 * Errors   those of the parts: MG_CORRUPT, MG_IO, MG_NO_MEMORY.
 * Threads  a lookup belongs to one; find_in_parts is the writer's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { INSERTED_MAX = 16 }; /* so few are sorted by insertion */

void mg_lookup__clear(struct mg_lookup *lookup)
{
    mg_buffer_clear(&lookup->unsorted);
    mg_buffer_clear(&lookup->keys);
    free(lookup->items);
    free(lookup->scratch);
    free(lookup->begins);
    free(lookup->offsets);
    free(lookup->hashes);
    free(lookup->rows);
}

enum mg_code mg_lookup__init(struct mg_lookup *lookup, uint32_t room, struct mg_error *err)
{
    size_t n = (size_t)room + 1;
    memset(lookup, 0, sizeof *lookup);
    mg_buffer_init(&lookup->unsorted, UINT32_MAX);
    mg_buffer_init(&lookup->keys, UINT32_MAX);
    lookup->items = malloc(n * sizeof *lookup->items);
    lookup->scratch = malloc(n * sizeof *lookup->scratch);
    lookup->begins = malloc(n * sizeof *lookup->begins);
    lookup->offsets = malloc(n * sizeof *lookup->offsets);
    lookup->hashes = malloc(n * sizeof *lookup->hashes);
    lookup->rows = malloc(n * sizeof *lookup->rows);
    if (lookup->items && lookup->scratch && lookup->begins && lookup->offsets && lookup->hashes && lookup->rows)
        return MG_OK;
    return mg_fail(err, MG_NO_MEMORY, "no memory to look up %u keys", room);
}

/* ---- sorted keys --------------------------------------------------------------------------------------------- */

static uint64_t prefix_of(struct mg_slice key)
{
    uint8_t bytes[8] = {0};
    if (key.size >= sizeof bytes)
        return mg_load_be64(key.data);
    memcpy(bytes, key.data, key.size);
    return mg_load_be64(bytes);
}

struct mg_buffer *mg_lookup__begin(struct mg_lookup *lookup)
{
    lookup->begins[lookup->count] = (uint32_t)lookup->unsorted.size;
    return &lookup->unsorted;
}

void mg_lookup__end(struct mg_lookup *lookup)
{
    uint32_t at = lookup->count++, begin = lookup->begins[at];
    struct mg_slice key = MG_SLICE(lookup->unsorted.data + begin, lookup->unsorted.size - begin);
    lookup->items[at] = (struct mg_lookup_item){prefix_of(key), at, (uint32_t)key.size};
}

enum mg_code mg_lookup__encode(struct mg_lookup *lookup, const struct mg_vector *const *keys, uint32_t key_count,
                               uint32_t row_count, struct mg_error *err)
{
    mg_assert(lookup->count == 0 && lookup->unsorted.size == 0);
    MG_TRY(mg_key_encode_rows(keys, key_count, row_count, &lookup->unsorted, lookup->begins, err));
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t begin = lookup->begins[row], size = lookup->begins[row + 1] - begin;
        struct mg_slice key = MG_SLICE(lookup->unsorted.data + begin, size);
        lookup->items[row] = (struct mg_lookup_item){prefix_of(key), row, size};
    }
    lookup->count = row_count;
    return MG_OK;
}

/* One pass per byte of the prefixes in which they differ, lowest first. */
static void sort_by_prefix(struct mg_lookup *lookup)
{
    uint64_t differ = 0;
    for (uint32_t i = 1; i < lookup->count; i++)
        differ |= lookup->items[i].prefix ^ lookup->items[0].prefix;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint32_t starts[257] = {0};
        if ((differ >> shift & 0xff) == 0)
            continue;
        for (uint32_t i = 0; i < lookup->count; i++)
            starts[(lookup->items[i].prefix >> shift & 0xff) + 1]++;
        for (uint32_t b = 0; b < 256; b++)
            starts[b + 1] += starts[b];
        for (uint32_t i = 0; i < lookup->count; i++)
            lookup->scratch[starts[lookup->items[i].prefix >> shift & 0xff]++] = lookup->items[i];
        struct mg_lookup_item *sorted = lookup->scratch;
        lookup->scratch = lookup->items;
        lookup->items = sorted;
    }
}

static struct mg_slice key_of(const struct mg_lookup *lookup, const struct mg_lookup_item *item)
{
    return MG_SLICE(lookup->unsorted.data + lookup->begins[item->at], item->size);
}

static int compare_items(const void *a, const void *b, void *arg)
{
    return mg_slice_compare(key_of(arg, a), key_of(arg, b));
}

static void insert_items(struct mg_lookup *lookup, uint32_t first, uint32_t end)
{
    struct mg_lookup_item *items = lookup->items;
    for (uint32_t i = first + 1; i < end; i++) {
        struct mg_lookup_item item = items[i];
        uint32_t at = i;
        for (; at > first && compare_items(&items[at - 1], &item, lookup) > 0; at--)
            items[at] = items[at - 1];
        items[at] = item;
    }
}

/* Keys that share their first eight bytes: mostly few, as the lines of one order are. */
static void sort_ties(struct mg_lookup *lookup)
{
    struct mg_lookup_item *items = lookup->items;
    for (uint32_t first = 0, end; first < lookup->count; first = end) {
        for (end = first + 1; end < lookup->count && items[end].prefix == items[first].prefix;)
            end++;
        if (end - first <= INSERTED_MAX)
            insert_items(lookup, first, end);
        else
            qsort_r(items + first, end - first, sizeof *items, compare_items, lookup);
    }
}

void mg_lookup__order(struct mg_lookup *lookup)
{
    sort_by_prefix(lookup);
    sort_ties(lookup);
}

enum mg_code mg_lookup__sort(struct mg_lookup *lookup, struct mg_error *err)
{
    mg_lookup__order(lookup);
    MG_TRY(mg_buffer_reserve(&lookup->keys, lookup->unsorted.size, err));
    lookup->offsets[0] = 0;
    for (uint32_t i = 0; i < lookup->count; i++) {
        struct mg_slice key = key_of(lookup, &lookup->items[i]);
        MG_TRY(mg_buffer_append(&lookup->keys, key.data, key.size, err));
        lookup->offsets[i + 1] = (uint32_t)lookup->keys.size;
        lookup->hashes[i] = mg_part_key_hash(key);
        lookup->rows[i] = MG_PART_NO_ROW;
    }
    return MG_OK;
}

void mg_lookup__reset(struct mg_lookup *lookup)
{
    mg_buffer_reset(&lookup->unsorted);
    mg_buffer_reset(&lookup->keys);
    lookup->count = 0;
}

enum mg_code mg_lookup__find(struct mg_lookup *lookup, struct mg_part *part, struct mg_error *err)
{
    struct mg_part_probe probe = {lookup->count, lookup->keys.data, lookup->offsets, lookup->hashes};
    return mg_part_find(part, &probe, lookup->rows, err);
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

bool mg_marks__has(const struct mg_marks *marks, uint32_t row)
{
    const struct mg_mark_version *version = mg_marks__granule(marks, row / MG_CHUNK_ROWS);
    uint32_t at = row % MG_CHUNK_ROWS;
    if (!version)
        return false;
    if (version->is_bitmap)
        return version->words[at / 64] >> (at % 64) & 1;
    const uint16_t *rows = mg_mark_version__rows(version);
    for (uint32_t i = 0; i < version->count && rows[i] <= at; i++)
        if (rows[i] == at)
            return true;
    return false;
}

static enum mg_code ask(struct mg_lookup *lookup, struct mg_wpart *part, uint32_t slot, struct mg_place *out,
                        struct mg_error *err)
{
    MG_TRY(mg_lookup__find(lookup, part->part, err));
    for (uint32_t i = 0; i < lookup->count; i++) {
        struct mg_place *place = &out[lookup->items[i].at];
        if (lookup->rows[i] == MG_PART_NO_ROW || place->slot != MG_NO_SLOT)
            continue;
        if (mg_marks__has(part->deleted.marks, lookup->rows[i]))
            lookup->rows[i] = MG_PART_NO_ROW;
        else
            *place = (struct mg_place){MG_PART_SLOT + slot, lookup->rows[i]};
    }
    return MG_OK;
}

/* What is only inserted comes without a gap, and so its keys are encoded column by column. */
static enum mg_code add_keys(struct mg_lookup *lookup, const struct mg_vector *const *keys, uint32_t key_count,
                             const uint32_t *rows, uint32_t count, struct mg_error *err)
{
    if (count == keys[0]->row_count) /* rows differ and rise */
        return mg_lookup__encode(lookup, keys, key_count, count, err);
    for (uint32_t i = 0; i < count; i++) {
        MG_TRY(mg_key_encode(keys, key_count, rows[i], mg_lookup__begin(lookup), err));
        mg_lookup__end(lookup);
    }
    return MG_OK;
}

enum mg_code mg_wtable__find_in_parts(struct mg_wtable *table, const struct mg_vector *const *keys, uint32_t key_count,
                                      const uint32_t *rows, uint32_t count, struct mg_place *out, struct mg_error *err)
{
    struct mg_lookup lookup;
    for (uint32_t i = 0; i < count; i++)
        out[i] = (struct mg_place){MG_NO_SLOT, 0};
    enum mg_code code = mg_lookup__init(&lookup, count, err);
    if (code == MG_OK)
        code = add_keys(&lookup, keys, key_count, rows, count, err);
    if (code == MG_OK)
        code = mg_lookup__sort(&lookup, err);
    for (uint32_t p = table->part_count; code == MG_OK && p-- > 0;)
        if (table->parts[p])
            code = ask(&lookup, table->parts[p], p, out, err);
    mg_lookup__clear(&lookup);
    return code;
}
