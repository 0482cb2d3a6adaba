/* put_keys.c -- the keys of one epoch's rows, so that two rows with one key are found before anything is stored.
 *
 * Shape    keys back to back in the order of the rows, and an open-addressing table of rows, at most half full.
 * Memory   reserved in the budget before it is taken: a key's bytes twice (they may grow by escapes, and buffers
 *          double), 32 bytes a row.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "column/key.h"
#include "connector/flight/put.h"

enum { ROW_BYTES = 32, SLOTS_MIN = 1024 };

void mg_flight__keys_init(struct mg_flight__keys *keys, struct mg_budget *budget)
{
    *keys = (struct mg_flight__keys){.budget = budget};
    mg_buffer_init(&keys->bytes, UINT32_MAX);
}

void mg_flight__keys_clear(struct mg_flight__keys *keys)
{
    struct mg_budget *budget = keys->budget;

    mg_buffer_clear(&keys->bytes);
    free(keys->offsets);
    free(keys->slots);
    mg_budget_release(budget, keys->reserved_bytes);
    mg_flight__keys_init(keys, budget);
}

struct mg_slice mg_flight__keys_at(const struct mg_flight__keys *keys, uint32_t row)
{
    mg_assert(row < keys->row_count);
    return MG_SLICE(keys->bytes.data + keys->offsets[row], keys->offsets[row + 1] - keys->offsets[row]);
}

static uint32_t hash_of(struct mg_slice key) { return (uint32_t)(mg_hash(key.data, key.size, 0) >> 32); }

/* The slot of this key, or the free one where it belongs. */
static uint64_t *find_slot(const struct mg_flight__keys *keys, struct mg_slice key, uint32_t hash)
{
    uint32_t mask = keys->slot_count - 1, at = hash & mask;

    for (; keys->slots[at]; at = (at + 1) & mask)
        if (keys->slots[at] >> 32 == hash &&
            mg_slice_equal(mg_flight__keys_at(keys, (uint32_t)keys->slots[at] - 1), key))
            break;
    return &keys->slots[at];
}

static enum mg_code grow_slots(struct mg_flight__keys *keys, uint64_t rows, struct mg_error *err)
{
    uint32_t count = MG_MAX(keys->slot_count, (uint32_t)SLOTS_MIN);

    while (count < 2 * rows)
        count *= 2;
    if (count == keys->slot_count)
        return MG_OK;
    uint64_t *slots = calloc(count, sizeof *slots);
    if (!slots)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the keys of %llu rows", (unsigned long long)rows);
    for (uint32_t i = 0; i < keys->slot_count; i++) {
        uint32_t at = (uint32_t)(keys->slots[i] >> 32) & (count - 1);
        if (!keys->slots[i])
            continue;
        while (slots[at])
            at = (at + 1) & (count - 1);
        slots[at] = keys->slots[i];
    }
    free(keys->slots);
    keys->slots = slots;
    keys->slot_count = count;
    return MG_OK;
}

static enum mg_code make_room(struct mg_flight__keys *keys, size_t key_bytes, uint32_t more, struct mg_error *err)
{
    uint64_t rows = (uint64_t)keys->row_count + more;
    size_t size = 2 * key_bytes + (size_t)more * ROW_BYTES;

    if (rows > UINT32_MAX / 4)
        return mg_fail(err, MG_TOO_BIG, "an epoch of %llu rows; use smaller ones", (unsigned long long)rows);
    MG_TRY(mg_budget_reserve(keys->budget, size, err));
    keys->reserved_bytes += size;
    if (rows > keys->rows_max) {
        uint32_t rows_max = (uint32_t)MG_MAX(rows, 2 * (uint64_t)keys->rows_max);
        uint32_t *offsets = realloc(keys->offsets, ((size_t)rows_max + 1) * sizeof *offsets);
        if (!offsets)
            return mg_fail(err, MG_NO_MEMORY, "no memory for the keys of %llu rows", (unsigned long long)rows);
        keys->offsets = offsets;
        keys->rows_max = rows_max;
    }
    return grow_slots(keys, rows, err);
}

enum mg_code mg_flight__keys_add(struct mg_flight__keys *keys, const struct mg_vector *const *vectors,
                                 uint32_t key_count, uint32_t row_count, mg_flight__twin_fn *fn, void *arg,
                                 struct mg_error *err)
{
    uint32_t first = keys->row_count;
    size_t key_bytes = 0;

    for (uint32_t i = 0; i < key_count; i++)
        key_bytes += vectors[i]->offsets
                         ? (size_t)(vectors[i]->offsets[row_count] - vectors[i]->offsets[0]) + 2 * (size_t)row_count
                         : (size_t)mg_type_width(vectors[i]->type.id) * row_count;
    MG_TRY(make_room(keys, key_bytes, row_count, err));
    MG_TRY(mg_key_encode_rows(vectors, key_count, row_count, &keys->bytes, keys->offsets + first, err));
    keys->row_count += row_count;
    for (uint32_t row = first; row < keys->row_count; row++) {
        struct mg_slice key = mg_flight__keys_at(keys, row);
        uint32_t hash = hash_of(key);
        uint64_t *slot = find_slot(keys, key, hash);
        if (*slot)
            MG_TRY(fn(arg, row, (uint32_t)*slot - 1, err));
        else
            *slot = (uint64_t)hash << 32 | (row + 1);
    }
    return MG_OK;
}
