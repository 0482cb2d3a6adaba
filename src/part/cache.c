/* cache.c -- pieces of files in memory, found by key, thrown out by CLOCK.
 *
 * Shape    shards of a hash table and a ring. An entry is in the table from the moment somebody begins to load it, in
 *          the ring once it is loaded; the ring's hand passes over entries that were used since it came by last.
 *            missing -> loading (get) -> ready (insert) -> gone (evict, drop)
 *                          `-> gone (the load failed)
 * Memory   an entry's bytes, its struct and its share of the table are reserved before the bytes are allocated.
 * Threads  a shard's lock guards its table and ring and everything of its entries but `pins`. Pins rise under the lock
 *          only and fall without it: an entry that has none under the lock has none, and nobody can get one.
 * Errors   those of the load; MG_NO_MEMORY when nothing is left to throw out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/cache.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/lock.h"

enum {
    SHARDS = 16,
    BUCKETS_FIRST = 64,
    READ_BEYOND = 64, /* bytes that a reader may read behind the end */
    ALIGNMENT = 64,
};
/* In pins: out of the table; who gives the last pin back frees the entry. */
#define DROPPED (UINT32_C(1) << 31)

struct mg_cache_entry {
    struct mg_cache *cache;
    struct mg_cache_key key;
    struct mg_cache_entry *chained;         /* next of the bucket, or of a list of entries to free */
    struct mg_cache_entry *before, *behind; /* in the ring */
    _Atomic uint32_t pins;
    bool loading, used;
    size_t size, charged_bytes;
    uint8_t *bytes;
};

struct shard {
    struct mg_mutex lock; /* MG_RANK_CACHE; all that follows is under it */
    struct mg_cond loaded;
    struct mg_cache_entry **buckets; /* NULL when there are none yet */
    size_t bucket_count, entry_count;
    struct mg_cache_entry *hand; /* NULL: the ring is empty */
    size_t ring_count;
    size_t steps_left; /* until the hand goes on to the next shard; 0: it is not here */
    uint64_t hit_count, miss_count, evicted_count;
} __attribute__((aligned(128))); /* locks of neighbours on lines of their own */

struct mg_cache {
    struct mg_budget *budget;
    size_t limit_bytes; /* SIZE_MAX: only the budget limits it */
    atomic_size_t used_bytes;
    atomic_uint turn; /* the shard, modulo their number, where the hand is */
    struct shard shards[SHARDS];
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

enum mg_code mg_cache_new(struct mg_budget *budget, size_t limit_bytes, struct mg_cache **out, struct mg_error *err)
{
    enum mg_code code = mg_budget_reserve(budget, sizeof(struct mg_cache), err);
    if (code != MG_OK)
        return code;
    struct mg_cache *cache = aligned_alloc(_Alignof(struct mg_cache), sizeof *cache);
    if (!cache) {
        mg_budget_release(budget, sizeof *cache);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a cache of blocks");
    }
    memset(cache, 0, sizeof *cache);
    cache->budget = budget;
    cache->limit_bytes = limit_bytes ? limit_bytes : SIZE_MAX;
    for (int i = 0; i < SHARDS; i++) {
        mg_mutex_init(&cache->shards[i].lock, MG_RANK_CACHE, "cache");
        mg_cond_init(&cache->shards[i].loaded);
    }
    *out = cache;
    return MG_OK;
}

/* It is in no table, and nobody has it. */
static void free_entry(struct mg_cache_entry *entry)
{
    struct mg_cache *cache = entry->cache;

    atomic_fetch_sub_explicit(&cache->used_bytes, entry->charged_bytes, memory_order_relaxed);
    mg_budget_release(cache->budget, entry->charged_bytes);
    free(entry->bytes);
    free(entry);
}

static size_t free_list(struct mg_cache_entry *list)
{
    size_t freed = 0;

    while (list) {
        struct mg_cache_entry *entry = list;
        list = entry->chained;
        freed += entry->charged_bytes;
        free_entry(entry);
    }
    return freed;
}

void mg_cache_free(struct mg_cache *cache)
{
    if (!cache)
        return;
    mg_cache_shrink(cache, SIZE_MAX);
    mg_assert(atomic_load(&cache->used_bytes) == 0); /* else something is pinned */
    for (int i = 0; i < SHARDS; i++) {
        free(cache->shards[i].buckets);
        mg_cond_destroy(&cache->shards[i].loaded);
        mg_mutex_destroy(&cache->shards[i].lock);
    }
    mg_budget_release(cache->budget, sizeof *cache);
    free(cache);
}

/* ---- table and ring of a shard ------------------------------------------------------------------------------- */

static uint64_t hash_of(struct mg_cache_key key) { return mg_hash_u64((uint64_t)key.file << 32 | key.piece); }

static struct shard *shard_of(struct mg_cache *cache, struct mg_cache_key key)
{
    return &cache->shards[hash_of(key) % SHARDS];
}

static struct mg_cache_entry **bucket_of(struct shard *shard, struct mg_cache_key key)
{
    return &shard->buckets[hash_of(key) / SHARDS & (shard->bucket_count - 1)];
}

static struct mg_cache_entry *find(struct shard *shard, struct mg_cache_key key) MG_REQUIRES(shard->lock)
{
    struct mg_cache_entry *entry = shard->bucket_count ? *bucket_of(shard, key) : NULL;

    while (entry && (entry->key.file != key.file || entry->key.piece != key.piece))
        entry = entry->chained;
    return entry;
}

/* Twice the buckets. Without memory the chains get longer, but for the first time. */
static void grow(struct shard *shard) MG_REQUIRES(shard->lock)
{
    size_t old_count = shard->bucket_count;
    struct mg_cache_entry **old = shard->buckets;
    size_t count = old_count ? old_count * 2 : BUCKETS_FIRST;
    struct mg_cache_entry **buckets = calloc(count, sizeof(struct mg_cache_entry *));

    if (!buckets)
        return;
    shard->buckets = buckets;
    shard->bucket_count = count;
    for (size_t i = 0; i < old_count; i++)
        for (struct mg_cache_entry *entry = old[i], *next; entry; entry = next) {
            next = entry->chained;
            struct mg_cache_entry **bucket = bucket_of(shard, entry->key);
            entry->chained = *bucket;
            *bucket = entry;
        }
    free(old);
}

/* False: no memory. */
static bool add_to_table(struct shard *shard, struct mg_cache_entry *entry) MG_REQUIRES(shard->lock)
{
    if (shard->entry_count >= shard->bucket_count)
        grow(shard);
    if (!shard->bucket_count)
        return false;
    struct mg_cache_entry **bucket = bucket_of(shard, entry->key);
    entry->chained = *bucket;
    *bucket = entry;
    shard->entry_count++;
    return true;
}

static void remove_from_table(struct shard *shard, struct mg_cache_entry *entry) MG_REQUIRES(shard->lock)
{
    struct mg_cache_entry **link = bucket_of(shard, entry->key);

    while (*link != entry)
        link = &(*link)->chained;
    *link = entry->chained;
    entry->chained = NULL;
    shard->entry_count--;
}

/* Behind the hand: the last place that it comes to. */
static void add_to_ring(struct shard *shard, struct mg_cache_entry *entry) MG_REQUIRES(shard->lock)
{
    struct mg_cache_entry *hand = shard->hand;

    if (!hand) {
        entry->before = entry->behind = shard->hand = entry;
    } else {
        entry->behind = hand;
        entry->before = hand->before;
        entry->before->behind = entry;
        hand->before = entry;
    }
    shard->ring_count++;
}

static void remove_from_ring(struct shard *shard, struct mg_cache_entry *entry) MG_REQUIRES(shard->lock)
{
    entry->before->behind = entry->behind;
    entry->behind->before = entry->before;
    if (shard->hand == entry)
        shard->hand = entry->behind == entry ? NULL : entry->behind;
    entry->before = entry->behind = NULL;
    shard->ring_count--;
}

static bool is_pinned(const struct mg_cache_entry *entry)
{
    return atomic_load_explicit(&entry->pins, memory_order_acquire) != 0;
}

static void pin(struct mg_cache_entry *entry, struct mg_cache_pin *out)
{
    atomic_fetch_add_explicit(&entry->pins, 1, memory_order_relaxed);
    entry->used = true;
    *out = (struct mg_cache_pin){.bytes = MG_SLICE(entry->bytes, entry->size), .entry = entry};
}

/* ---- room ---------------------------------------------------------------------------------------------------- */

/* The hand passes over entries of one shard until `wanted` bytes went or it has been once round; then it goes on to the
 * next shard, so that no shard ages faster than the others, however few entries it has. */
static size_t sweep(struct mg_cache *cache, unsigned turn, size_t wanted)
{
    struct shard *shard = &cache->shards[turn % SHARDS];
    struct mg_cache_entry *gone = NULL;
    size_t found_bytes = 0;

    mg_mutex_lock(&shard->lock);
    if (shard->steps_left == 0)
        shard->steps_left = shard->ring_count;
    for (; shard->steps_left > 0 && shard->hand && found_bytes < wanted; shard->steps_left--) {
        struct mg_cache_entry *entry = shard->hand;
        shard->hand = entry->behind;
        if (is_pinned(entry))
            continue;
        if (entry->used) {
            entry->used = false;
            continue;
        }
        remove_from_ring(shard, entry);
        remove_from_table(shard, entry);
        found_bytes += entry->charged_bytes;
        entry->chained = gone;
        gone = entry;
        shard->evicted_count++;
    }
    if (shard->steps_left == 0 || !shard->hand) {
        shard->steps_left = 0;
        atomic_compare_exchange_strong(&cache->turn, &turn, turn + 1); /* another may have moved it on */
    }
    mg_mutex_unlock(&shard->lock);
    return free_list(gone);
}

size_t mg_cache_shrink(struct mg_cache *cache, size_t bytes)
{
    size_t freed = 0;

    /* Twice round, and the shard that was begun: the first time takes the marks of use away. */
    for (int i = 0; i < 2 * SHARDS + 1 && freed < bytes; i++)
        freed += sweep(cache, atomic_load(&cache->turn), bytes - freed);
    return freed;
}

static enum mg_code reserve_once(struct mg_cache *cache, size_t bytes, struct mg_error *err)
{
    size_t used = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed);

    do {
        if (bytes > cache->limit_bytes || used > cache->limit_bytes - bytes)
            return mg_fail(err, MG_NO_MEMORY, "a block of %zu bytes does not fit into the cache: %zu of %zu used",
                           bytes, used, cache->limit_bytes);
    } while (!atomic_compare_exchange_weak_explicit(&cache->used_bytes, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    enum mg_code code = mg_budget_reserve(cache->budget, bytes, err);
    if (code != MG_OK)
        atomic_fetch_sub_explicit(&cache->used_bytes, bytes, memory_order_relaxed);
    return code;
}

/* Others may take what was thrown out for us; then more is, until nothing is left. */
static enum mg_code reserve(struct mg_cache *cache, size_t bytes, struct mg_error *err)
{
    enum mg_code code = reserve_once(cache, bytes, NULL);

    while (code == MG_NO_MEMORY && mg_cache_shrink(cache, bytes) > 0)
        code = reserve_once(cache, bytes, NULL);
    return code == MG_OK ? MG_OK : reserve_once(cache, bytes, err);
}

/* ---- getting ------------------------------------------------------------------------------------------------- */

/* Reserve, allocate and fill. What was reserved is in charged_bytes, also when it fails. */
static enum mg_code fill(struct mg_cache_entry *entry, mg_cache_load_fn *load, void *arg, struct mg_error *err)
{
    size_t room = (entry->size + READ_BEYOND + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t charge = room + sizeof *entry + 2 * sizeof(void *); /* the table's share */

    MG_TRY(reserve(entry->cache, charge, err));
    entry->charged_bytes = charge;
    entry->bytes = aligned_alloc(ALIGNMENT, room);
    if (!entry->bytes)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a block of %zu bytes", entry->size);
    memset(entry->bytes + entry->size, 0, room - entry->size);
    return load(arg, entry->key, entry->bytes, entry->size, err);
}

/* The entry, pinned once, in the table for others to wait for; NULL without memory. */
static struct mg_cache_entry *begin_load(struct mg_cache *cache, struct shard *shard, struct mg_cache_key key,
                                         size_t size) MG_REQUIRES(shard->lock)
{
    struct mg_cache_entry *entry = calloc(1, sizeof *entry);

    if (!entry)
        return NULL;
    entry->cache = cache;
    entry->key = key;
    entry->size = size;
    entry->loading = true;
    atomic_init(&entry->pins, 1);
    if (!add_to_table(shard, entry)) {
        free(entry);
        return NULL;
    }
    shard->miss_count++;
    return entry;
}

static enum mg_code finish_load(struct shard *shard, struct mg_cache_entry *entry, mg_cache_load_fn *load, void *arg,
                                struct mg_cache_pin *out, struct mg_error *err)
{
    enum mg_code code = fill(entry, load, arg, err);

    mg_mutex_lock(&shard->lock);
    bool dropped = atomic_load_explicit(&entry->pins, memory_order_relaxed) & DROPPED;
    entry->loading = false;
    if (code == MG_OK && !dropped)
        add_to_ring(shard, entry);
    else if (!dropped)
        remove_from_table(shard, entry);
    mg_cond_broadcast(&shard->loaded);
    mg_mutex_unlock(&shard->lock);
    if (code != MG_OK) {
        free_entry(entry);
        return code;
    }
    *out = (struct mg_cache_pin){.bytes = MG_SLICE(entry->bytes, entry->size), .entry = entry};
    return MG_OK;
}

enum mg_code mg_cache_get(struct mg_cache *cache, struct mg_cache_key key, size_t size, mg_cache_load_fn *load,
                          void *arg, struct mg_cache_pin *out, struct mg_error *err)
{
    struct shard *shard = shard_of(cache, key);
    struct mg_cache_entry *entry;

    mg_mutex_lock(&shard->lock);
    /* Looked up again after each wait: it may be gone, or its load may have failed, which is then ours to try. */
    while ((entry = find(shard, key)) && entry->loading)
        mg_cond_wait(&shard->loaded, &shard->lock);
    if (entry) {
        mg_assert(entry->size == size);
        pin(entry, out);
        shard->hit_count++;
        mg_mutex_unlock(&shard->lock);
        return MG_OK;
    }
    entry = begin_load(cache, shard, key, size);
    mg_mutex_unlock(&shard->lock);
    if (!entry)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the cache's table");
    return finish_load(shard, entry, load, arg, out, err);
}

bool mg_cache_peek(struct mg_cache *cache, struct mg_cache_key key, struct mg_cache_pin *out)
{
    struct shard *shard = shard_of(cache, key);

    mg_mutex_lock(&shard->lock);
    struct mg_cache_entry *entry = find(shard, key);
    bool there = entry && !entry->loading;
    if (there) {
        pin(entry, out);
        shard->hit_count++;
    }
    mg_mutex_unlock(&shard->lock);
    return there;
}

void mg_cache_unpin(struct mg_cache_pin *pin)
{
    struct mg_cache_entry *entry = pin->entry;

    *pin = (struct mg_cache_pin){.entry = NULL};
    if (!entry)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&entry->pins, 1, memory_order_acq_rel);
    mg_assert((before & ~DROPPED) > 0);
    /* Without DROPPED the entry may be gone by now. */
    if (before == (DROPPED | 1))
        free_entry(entry);
}

/* ---- dropping and looking ------------------------------------------------------------------------------------ */

/* Takes entries of the file out of one bucket; those that nobody has go to *gone. */
static void drop_in_bucket(struct shard *shard, struct mg_cache_entry **link, uint32_t file,
                           struct mg_cache_entry **gone) MG_REQUIRES(shard->lock)
{
    while (*link) {
        struct mg_cache_entry *entry = *link;
        if (entry->key.file != file) {
            link = &entry->chained;
            continue;
        }
        *link = entry->chained;
        shard->entry_count--;
        if (!entry->loading)
            remove_from_ring(shard, entry);
        if (atomic_fetch_or_explicit(&entry->pins, DROPPED, memory_order_acq_rel) == 0) {
            entry->chained = *gone;
            *gone = entry;
        }
    }
}

void mg_cache_drop_file(struct mg_cache *cache, uint32_t file)
{
    for (int i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        struct mg_cache_entry *gone = NULL;
        mg_mutex_lock(&shard->lock);
        for (size_t b = 0; b < shard->bucket_count; b++)
            drop_in_bucket(shard, &shard->buckets[b], file, &gone);
        mg_mutex_unlock(&shard->lock);
        free_list(gone);
    }
}

void mg_cache_stats(struct mg_cache *cache, struct mg_cache_stats *out)
{
    size_t unpinned_bytes = 0;

    *out = (struct mg_cache_stats){0};
    for (int i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        mg_mutex_lock(&shard->lock);
        out->hit_count += shard->hit_count;
        out->miss_count += shard->miss_count;
        out->evicted_count += shard->evicted_count;
        struct mg_cache_entry *entry = shard->hand;
        for (size_t n = 0; n < shard->ring_count; n++, entry = entry->behind)
            unpinned_bytes += is_pinned(entry) ? 0 : entry->charged_bytes;
        mg_mutex_unlock(&shard->lock);
    }
    out->used_bytes = atomic_load_explicit(&cache->used_bytes, memory_order_relaxed);
    /* The rest is held by somebody, or being loaded. Both figures move meanwhile. */
    out->pinned_bytes = out->used_bytes > unpinned_bytes ? out->used_bytes - unpinned_bytes : 0;
}
