/* ts_map.c -- a table from start_ts to a transaction.
 *
 * Shape    linear probing; removing moves later entries of the run back, so that no mark of a removed one is needed.
 * Threads  as ts_map.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/sorter/ts_map.h"

#include <stdlib.h>

#include "base/hash.h"

enum { CAPACITY_MIN = 1024 };

void mg_ts_map_clear(struct mg_ts_map *map)
{
    free(map->places);
    *map = (struct mg_ts_map){0};
}

/* Where ts is, or the empty place where it would go. */
static uint32_t place_of(const struct mg_ts_map *map, uint64_t ts)
{
    uint32_t at = (uint32_t)mg_hash_u64(ts) & (map->capacity - 1);
    while (map->places[at].ts != 0 && map->places[at].ts != ts)
        at = (at + 1) & (map->capacity - 1);
    return at;
}

void *mg_ts_map_find(const struct mg_ts_map *map, uint64_t ts)
{
    return map->capacity ? map->places[place_of(map, ts)].value : NULL;
}

static enum mg_code grow(struct mg_ts_map *map, struct mg_error *err)
{
    struct mg_ts_map larger = {.capacity = map->capacity ? map->capacity * 2 : CAPACITY_MIN, .count = map->count};
    larger.places = calloc(larger.capacity, sizeof *larger.places);
    if (!larger.places)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table of %u transactions", larger.capacity / 2);
    for (uint32_t i = 0; i < map->capacity; i++) {
        if (map->places[i].ts)
            larger.places[place_of(&larger, map->places[i].ts)] = map->places[i];
    }
    free(map->places);
    *map = larger;
    return MG_OK;
}

enum mg_code mg_ts_map_put(struct mg_ts_map *map, uint64_t ts, void *value, struct mg_error *err)
{
    mg_assert(ts != 0 && value);
    if (map->count >= map->capacity / 2)
        MG_TRY(grow(map, err));
    uint32_t at = place_of(map, ts);
    mg_assert(map->places[at].ts == 0);
    map->places[at] = (struct mg_ts_map__place){ts, value};
    map->count++;
    return MG_OK;
}

void mg_ts_map_remove(struct mg_ts_map *map, uint64_t ts)
{
    uint32_t mask = map->capacity - 1, hole = place_of(map, ts);
    mg_assert(map->places[hole].ts == ts);
    for (uint32_t at = (hole + 1) & mask; map->places[at].ts != 0; at = (at + 1) & mask) {
        uint32_t home = (uint32_t)mg_hash_u64(map->places[at].ts) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->places[hole] = map->places[at];
            hole = at;
        }
    }
    map->places[hole] = (struct mg_ts_map__place){0, NULL};
    map->count--;
}
