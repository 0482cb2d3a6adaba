/* index.c -- where the live row of a key is: open addressing by a 32-bit hash, in shards that grow one by one.
 *
 * An entry says {hash, place}; whether the key is really the same is seen in the stored row, so the index holds no
 * keys: 12 bytes an entry, 15 to 27 a row. Removing closes the gap (no tombstones). Aborting an epoch takes its changes
 * back from the undo list.
 * Shards   the hash's low bits choose one of 64; a shard doubles alone, and at loads that differ from shard to shard,
 *          so that the pauses of a growing table are short and spread.
 * Errors   MG_NO_MEMORY from insert, before anything changed.
 * Threads  the writer's alone.
 * Source   linear probing with deletion by shifting back: Knuth, The Art of Computer Programming 3, 6.4, Algorithm R.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { CAPACITY_FIRST = 8, CAPACITY_MAX = 1 << 30 };

void mg_index__init(struct mg_index *index, struct mg_budget *budget)
{
    memset(index, 0, sizeof *index);
    index->budget = budget;
}

void mg_index__clear(struct mg_index *index)
{
    for (uint32_t i = 0; i < MG_INDEX_SHARDS; i++) {
        struct mg_index_shard *shard = &index->shards[i];
        mg_budget_release(index->budget, shard->capacity * sizeof *shard->entries);
        free(shard->entries);
        memset(shard, 0, sizeof *shard);
    }
}

uint64_t mg_index__count(const struct mg_index *index)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < MG_INDEX_SHARDS; i++)
        count += index->shards[i].count;
    return count;
}

static void put(struct mg_index_shard *shard, uint32_t hash, struct mg_place place)
{
    uint32_t at = mg_index__start(shard, hash);
    while (shard->entries[at].place.slot != MG_NO_SLOT)
        at = (at + 1) & (shard->capacity - 1);
    shard->entries[at] = (struct mg_index_entry){hash, place};
}

static enum mg_code grow(struct mg_index *index, struct mg_index_shard *shard, struct mg_error *err)
{
    uint32_t capacity = shard->capacity ? shard->capacity * 2 : CAPACITY_FIRST;
    size_t bytes = capacity * sizeof *shard->entries;
    if (shard->capacity == CAPACITY_MAX)
        return mg_fail(err, MG_NO_MEMORY, "the key index of one table is full: %u keys in one of its %d shards",
                       shard->count, MG_INDEX_SHARDS);
    MG_TRY(mg_budget_reserve(index->budget, bytes, err));
    struct mg_index_entry *entries = malloc(bytes);
    if (!entries) {
        mg_budget_release(index->budget, bytes);
        return mg_fail(err, MG_NO_MEMORY, "no memory for %zu bytes of key index", bytes);
    }
    memset(entries, 0xff, bytes); /* every slot MG_NO_SLOT */
    struct mg_index_shard old = *shard;
    shard->entries = entries;
    shard->capacity = capacity;
    for (uint32_t i = 0; i < old.capacity; i++)
        if (old.entries[i].place.slot != MG_NO_SLOT)
            put(shard, old.entries[i].hash, old.entries[i].place);
    mg_budget_release(index->budget, old.capacity * sizeof *entries);
    free(old.entries);
    return MG_OK;
}

enum mg_code mg_index__insert(struct mg_index *index, uint32_t hash, struct mg_place place, struct mg_error *err)
{
    struct mg_index_shard *shard = mg_index__shard(index, hash);
    /* Full at 65 % to 80 %, by shard. */
    uint64_t percent_max = 65 + (hash % MG_INDEX_SHARDS) / 4;
    if ((shard->count + 1) * (uint64_t)100 > shard->capacity * percent_max)
        MG_TRY(grow(index, shard, err));
    put(shard, hash, place);
    shard->count++;
    return MG_OK;
}

struct mg_index_entry *mg_index__find(struct mg_index *index, uint32_t hash, mg_index_equal_fn *equal, const void *arg)
{
    struct mg_index_shard *shard = mg_index__shard(index, hash);
    if (shard->count == 0)
        return NULL;
    for (uint32_t at = mg_index__start(shard, hash);; at = (at + 1) & (shard->capacity - 1)) {
        struct mg_index_entry *entry = &shard->entries[at];
        if (entry->place.slot == MG_NO_SLOT)
            return NULL;
        if (entry->hash == hash && equal(arg, entry->place))
            return entry;
    }
}

static bool place_equal(const void *arg, struct mg_place place)
{
    return mg_place_equal(*(const struct mg_place *)arg, place);
}

struct mg_index_entry *mg_index__find_place(struct mg_index *index, uint32_t hash, struct mg_place place)
{
    return mg_index__find(index, hash, place_equal, &place);
}

void mg_index__remove(struct mg_index *index, struct mg_index_entry *entry, uint32_t hash)
{
    struct mg_index_shard *shard = mg_index__shard(index, hash);
    uint32_t mask = shard->capacity - 1, gap = (uint32_t)(entry - shard->entries);
    for (uint32_t at = (gap + 1) & mask; shard->entries[at].place.slot != MG_NO_SLOT; at = (at + 1) & mask) {
        /* An entry may move into the gap unless its start lies behind the gap, cyclically. */
        uint32_t start = mg_index__start(shard, shard->entries[at].hash);
        if (((at - start) & mask) < ((at - gap) & mask))
            continue;
        shard->entries[gap] = shard->entries[at];
        gap = at;
    }
    shard->entries[gap].place.slot = MG_NO_SLOT;
    shard->count--;
}
