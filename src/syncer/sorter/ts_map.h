/* ts_map.h -- from start_ts to a transaction: open addressing, linear probing, at most half full.
 *
 * Owns the table only. Keys are not 0; values are not NULL.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_TS_MAP_H
#define MG_SYNCER_TS_MAP_H

#include <stdint.h>

#include "base/error.h"

struct mg_ts_map__place {
    uint64_t ts; /* 0: empty */
    void *value;
};
struct mg_ts_map {
    struct mg_ts_map__place *places; /* NULL while capacity is 0 */
    uint32_t capacity;               /* 0 or a power of two */
    uint32_t count;
};

void mg_ts_map_clear(struct mg_ts_map *map);                    /* zeroed memory is an empty map */
void *mg_ts_map_find(const struct mg_ts_map *map, uint64_t ts); /* NULL: not there */
/* ts is not there. MG_NO_MEMORY leaves the map as it was. */
MG_MUST_CHECK enum mg_code mg_ts_map_put(struct mg_ts_map *map, uint64_t ts, void *value, struct mg_error *err);
void mg_ts_map_remove(struct mg_ts_map *map, uint64_t ts); /* it is there */

#endif
