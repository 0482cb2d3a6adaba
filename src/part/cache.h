/* cache.h -- parts' blocks in memory: read once, checked once, thrown out by use.
 *
 * One cache a store, charged to one budget account. An entry is bytes of a file at a place; whoever reads them pins the
 * entry and may hold it as long as it likes. What is not pinned is thrown out, least recently used first (CLOCK), when
 * the account or its parents lack memory, or when somebody asks for room.
 * Threads  all calls from any thread. Sharded by key; a shard's mutex (MG_RANK_CACHE) is never held while reading a
 *          file: two readers of the same missing block wait for one read.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_CACHE_H
#define MG_PART_CACHE_H

#include "base/budget.h"
#include "base/buffer.h"
#include "base/error.h"

struct mg_cache;

struct mg_cache_key {
    uint32_t file;  /* segment id: never used again */
    uint32_t piece; /* block number in the file, filters and indexes included */
};

/* Pinned bytes: aligned to 64, and 64 more may be read. */
struct mg_cache_pin {
    struct mg_slice bytes;
    struct mg_cache_entry *entry;
};

/* Fill `bytes` (size of them); check them, too. Called without locks, once per missing entry. */
typedef enum mg_code mg_cache_load_fn(void *arg, struct mg_cache_key key, void *bytes, size_t size,
                                      struct mg_error *err);

/* limit_bytes: of unpinned and pinned entries together, 0 = only the budget limits it. */
MG_MUST_CHECK enum mg_code mg_cache_new(struct mg_budget *budget, size_t limit_bytes, struct mg_cache **out,
                                        struct mg_error *err);
void mg_cache_free(struct mg_cache *cache); /* nothing is pinned; NULL is allowed */
/* The entry of that key, loaded when missing. Fails as load does, or with MG_NO_MEMORY when pinned entries and others
 * take all memory; then nothing is cached. */
MG_MUST_CHECK enum mg_code mg_cache_get(struct mg_cache *cache, struct mg_cache_key key, size_t size,
                                        mg_cache_load_fn *load, void *arg, struct mg_cache_pin *out,
                                        struct mg_error *err);
/* The same only if it is there: for read-ahead to skip what is cached. */
bool mg_cache_peek(struct mg_cache *cache, struct mg_cache_key key, struct mg_cache_pin *out);
void mg_cache_unpin(struct mg_cache_pin *pin); /* a cleared pin is allowed; clears it */
/* Throw out everything of a file; pinned entries go when they are unpinned. */
void mg_cache_drop_file(struct mg_cache *cache, uint32_t file);
/* Throw out about that many unpinned bytes for others (the delta, a scan); returns how many went. */
size_t mg_cache_shrink(struct mg_cache *cache, size_t bytes);

struct mg_cache_stats {
    uint64_t hit_count, miss_count, evicted_count;
    size_t used_bytes, pinned_bytes;
};
void mg_cache_stats(struct mg_cache *cache, struct mg_cache_stats *out);

#endif
