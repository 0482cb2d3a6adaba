/* cache_test.c -- one read a missing entry, memory never passed, what is used stays, what is pinned stays longer.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/lock.h"
#include "base/random.h"
#include "base/testing.h"
#include "part/cache.h"

enum { SIZE = 1000 };

struct source {
    atomic_int loads;
    atomic_bool fail;
    atomic_int hold; /* a load waits until this is 0 */
    atomic_int inside;
};

static uint8_t byte_of(struct mg_cache_key key) { return (uint8_t)(key.file * 31 + key.piece); }

static enum mg_code load(void *arg, struct mg_cache_key key, void *bytes, size_t size, struct mg_error *err)
{
    struct source *source = arg;

    source->inside++;
    while (source->hold)
        usleep(100);
    source->inside--;
    source->loads++;
    if (source->fail)
        return mg_fail(err, MG_IO, "the disk of the test");
    memset(bytes, byte_of(key), size);
    return MG_OK;
}

static void check_bytes(const struct mg_cache_pin *pin, struct mg_cache_key key)
{
    assert_int_equal((uintptr_t)pin->bytes.data % 64, 0);
    for (size_t i = 0; i < pin->bytes.size; i++)
        assert_int_equal(pin->bytes.data[i], byte_of(key));
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(pin->bytes.data[pin->bytes.size + i], 0);
}

/* Get, check, unpin. */
static void touch(struct mg_cache *cache, struct source *source, uint32_t file, uint32_t piece)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_cache_key key = {file, piece};
    struct mg_cache_pin pin;

    assert_ok(mg_cache_get(cache, key, SIZE, load, source, &pin, &err));
    check_bytes(&pin, key);
    mg_cache_unpin(&pin);
    assert_null(pin.entry);
    mg_cache_unpin(&pin);
}

static void test_read_once(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {0};
    struct mg_cache *cache;
    struct mg_cache_pin pin;
    struct mg_cache_stats stats;
    struct mg_budget budget;

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    assert_ok(mg_cache_new(&budget, 0, &cache, &err));
    assert_false(mg_cache_peek(cache, (struct mg_cache_key){1, 2}, &pin));
    for (int i = 0; i < 3; i++)
        touch(cache, &source, 1, 2);
    assert_int_equal(source.loads, 1);
    for (uint32_t piece = 0; piece < 5000; piece++)
        touch(cache, &source, 2, piece);
    for (uint32_t piece = 0; piece < 5000; piece++)
        touch(cache, &source, 2, piece);
    assert_int_equal(source.loads, 5001);
    assert_true(mg_cache_peek(cache, (struct mg_cache_key){1, 2}, &pin));
    check_bytes(&pin, (struct mg_cache_key){1, 2});
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.hit_count, 2 + 5000 + 1);
    assert_int_equal(stats.miss_count, 5001);
    assert_int_equal(stats.evicted_count, 0);
    assert_true(stats.pinned_bytes >= SIZE && stats.pinned_bytes < 2 * SIZE);
    assert_true(stats.used_bytes > 5001 * SIZE && stats.used_bytes <= mg_budget_used(&budget));
    mg_cache_unpin(&pin);
    mg_cache_free(cache);
    assert_int_equal(mg_budget_used(&budget), 0);
}

static void test_failed_load(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {.fail = true};
    struct mg_cache *cache;
    struct mg_cache_pin pin;
    struct mg_cache_stats stats;

    assert_ok(mg_cache_new(NULL, 0, &cache, &err));
    assert_code(MG_IO, mg_cache_get(cache, (struct mg_cache_key){1, 2}, SIZE, load, &source, &pin, &err));
    assert_string_equal(err.text, "the disk of the test");
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.used_bytes, 0);
    source.fail = false;
    touch(cache, &source, 1, 2);
    assert_int_equal(source.loads, 2);
    mg_cache_free(cache);
    mg_cache_free(NULL);
}

/* The limit may be the cache's own, its account's or a parent's. */
static void check_limit(struct mg_budget *budget, size_t limit_bytes)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {0};
    struct mg_cache *cache;
    struct mg_cache_pin pins[100], pin;
    struct mg_cache_stats stats;
    uint32_t held = 0;

    assert_ok(mg_cache_new(budget, limit_bytes, &cache, &err));
    for (uint32_t i = 0; i < 2000; i++)
        touch(cache, &source, 1, i);
    mg_cache_stats(cache, &stats);
    assert_true(stats.evicted_count > 1900);
    assert_true(stats.used_bytes > 40000 && stats.used_bytes <= 70 * 1024);
    assert_int_equal(stats.pinned_bytes, 0);

    while (held < 100 &&
           mg_cache_get(cache, (struct mg_cache_key){2, held}, SIZE, load, &source, &pins[held], &err) == MG_OK)
        held++;
    assert_int_equal(err.code, MG_NO_MEMORY);
    assert_true(held > 40 && held < 66);
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.pinned_bytes, stats.used_bytes);
    for (uint32_t i = 0; i < held; i++) {
        check_bytes(&pins[i], (struct mg_cache_key){2, i});
        mg_cache_unpin(&pins[i]);
    }
    assert_code(MG_NO_MEMORY, mg_cache_get(cache, (struct mg_cache_key){3, 0}, 200000, load, &source, &pin, &err));
    touch(cache, &source, 3, 0);
    mg_cache_free(cache);
    assert_int_equal(mg_budget_used(budget), 0);
}

static void test_limits(void **state)
{
    struct mg_budget root, budget;

    mg_budget_init(&root, "root", NULL, SIZE_MAX);
    mg_budget_init(&budget, "cache", &root, SIZE_MAX);
    check_limit(&budget, 64 * 1024);
    mg_budget_init(&budget, "cache", &root, 70 * 1024);
    check_limit(&budget, 0);
    mg_budget_init(&root, "root", NULL, 70 * 1024);
    mg_budget_init(&budget, "cache", &root, SIZE_MAX);
    check_limit(&budget, 0);
}

static void test_used_stays(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {0};
    struct mg_cache *cache;
    int hot_loads = 0;

    assert_ok(mg_cache_new(NULL, 200 * SIZE, &cache, &err));
    for (uint32_t i = 0; i < 20000; i++) {
        touch(cache, &source, 1, i);
        int before = source.loads;
        touch(cache, &source, 2, i % 20); /* hot: each every 20 cold ones */
        hot_loads += source.loads - before;
    }
    assert_true(hot_loads < 200); /* of 20,000 */
    mg_cache_free(cache);
}

static void test_shrink_and_drop(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {0};
    struct mg_cache *cache;
    struct mg_cache_pin pin, again;
    struct mg_cache_stats stats;

    assert_ok(mg_cache_new(NULL, 0, &cache, &err));
    for (uint32_t i = 0; i < 300; i++)
        touch(cache, &source, 1 + i % 3, i);
    size_t freed = mg_cache_shrink(cache, 10 * SIZE);
    assert_true(freed >= 10 * SIZE && freed < 12 * SIZE);
    assert_ok(mg_cache_get(cache, (struct mg_cache_key){2, 1000}, SIZE, load, &source, &pin, &err));
    mg_cache_drop_file(cache, 2);
    assert_false(mg_cache_peek(cache, (struct mg_cache_key){2, 1000}, &again));
    assert_false(mg_cache_peek(cache, (struct mg_cache_key){2, 298}, &again));
    check_bytes(&pin, (struct mg_cache_key){2, 1000});
    touch(cache, &source, 2, 1000); /* a second one of that key beside the pinned */
    assert_true(mg_cache_shrink(cache, SIZE_MAX) > 150 * SIZE);
    mg_cache_stats(cache, &stats);
    assert_true(stats.used_bytes > 0 && stats.used_bytes == stats.pinned_bytes);
    mg_cache_unpin(&pin);
    mg_cache_stats(cache, &stats);
    assert_int_equal(stats.used_bytes, 0);
    mg_cache_free(cache);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

struct reader {
    struct mg_thread thread;
    struct mg_cache *cache;
    struct source *source;
    struct mg_cache_key key;
    uint64_t seed;
    enum mg_code code;
};

static void read_one(void *arg)
{
    struct reader *reader = arg;
    struct mg_cache_pin pin = {.entry = NULL};

    reader->code = mg_cache_get(reader->cache, reader->key, SIZE, load, reader->source, &pin, NULL);
    mg_cache_unpin(&pin);
}

/* Readers of one missing entry; with `fail` each tries for itself. */
static void check_readers_of_one(bool fail, bool drop)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {.hold = 1, .fail = fail};
    struct mg_cache *cache;
    struct reader readers[4];

    assert_ok(mg_cache_new(NULL, 0, &cache, &err));
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){.cache = cache, .source = &source, .key = {7, 9}};
        assert_ok(mg_thread_start(&readers[i].thread, "test-reader", read_one, &readers[i], &err));
    }
    while (!source.inside)
        usleep(100);
    usleep(20000);
    assert_int_equal(source.inside, 1);
    if (drop)
        mg_cache_drop_file(cache, 7);
    source.hold = 0;
    for (int i = 0; i < 4; i++) {
        mg_thread_join(&readers[i].thread);
        assert_int_equal(readers[i].code, fail ? MG_IO : MG_OK);
    }
    if (!drop)
        assert_int_equal(source.loads, fail ? 4 : 1);
    mg_cache_free(cache);
}

static void test_one_read(void **state)
{
    check_readers_of_one(false, false);
    check_readers_of_one(true, false);
    check_readers_of_one(false, true);
    check_readers_of_one(true, true);
}

static void read_many(void *arg)
{
    struct reader *reader = arg;
    struct mg_random random;
    struct mg_cache_pin held = {.entry = NULL};
    struct mg_cache_key held_key = {0};

    mg_random_init(&random, reader->seed);
    for (int i = 0; i < 20000 && reader->code == MG_OK; i++) {
        struct mg_cache_key key = {(uint32_t)mg_random_below(&random, 4), (uint32_t)mg_random_below(&random, 40)};
        uint64_t what = mg_random_below(&random, 1000);
        struct mg_cache_pin pin = {.entry = NULL};
        struct mg_cache_stats stats;
        if (what == 0)
            mg_cache_drop_file(reader->cache, key.file);
        else if (what == 1)
            mg_cache_shrink(reader->cache, 5 * SIZE);
        else if (what == 2)
            mg_cache_stats(reader->cache, &stats);
        else if (what < 100)
            mg_cache_peek(reader->cache, key, &pin);
        else
            reader->code = mg_cache_get(reader->cache, key, SIZE, load, reader->source, &pin, NULL);
        if (!pin.entry)
            continue;
        mg_assert(pin.bytes.size == SIZE && pin.bytes.data[0] == byte_of(key) &&
                  pin.bytes.data[SIZE - 1] == byte_of(key));
        mg_assert(!held.entry || held.bytes.data[SIZE / 2] == byte_of(held_key));
        mg_cache_unpin(&held);
        held = pin;
        held_key = key;
    }
    mg_cache_unpin(&held);
}

static void test_many_threads(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct source source = {0};
    struct mg_budget budget;
    struct mg_cache *cache;
    struct reader readers[4];

    mg_budget_init(&budget, "test", NULL, 100 * SIZE);
    assert_ok(mg_cache_new(&budget, 0, &cache, &err));
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (struct reader){.cache = cache, .source = &source, .seed = i};
        assert_ok(mg_thread_start(&readers[i].thread, "test-reader", read_many, &readers[i], &err));
    }
    for (int i = 0; i < 4; i++) {
        mg_thread_join(&readers[i].thread);
        assert_int_equal(readers[i].code, MG_OK);
    }
    mg_cache_free(cache);
    assert_int_equal(mg_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_once),    cmocka_unit_test(test_failed_load),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_used_stays),   cmocka_unit_test(test_shrink_and_drop), cmocka_unit_test(test_one_read),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
