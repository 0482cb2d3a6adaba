/* heap_test.c -- memory runs out at every single allocation of a scripted history: an error code, nothing leaks,
 * nothing that was published is lost, and the store opens again.
 *
 * The linker sends malloc and its kin to the functions below (this program only). They count, and fail the n-th call
 * that the engine makes: the engine's table of functions is wrapped, and only inside of it calls count. Blocks that are
 * alive are counted, too, so that a leak is told by the n that makes it; LeakSanitizer says where.
 *
 *   heap_test [STEP [FIRST]]   every STEP-th allocation from FIRST on (31, 1); 1: all of them
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk_world.h"
#include "engine_kit.h"

/* ---- the heap ------------------------------------------------------------------------------------------------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
void __real_free(void *block);
void __wrap_free(void *block);

static bool armed;            /* a call of the engine is under way */
static uint64_t calls;        /* allocations of the engine so far */
static uint64_t fail_at;      /* the one that fails; 0: none */
static _Atomic int64_t alive; /* blocks */

static bool fails(void)
{
    if (!armed || mg_io_fault_is_inside())
        return false;
    return ++calls == fail_at;
}

static void *counted(void *block)
{
    alive += block != NULL;
    return block;
}

void *__wrap_malloc(size_t size) { return fails() ? NULL : counted(__real_malloc(size)); }

void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : counted(__real_calloc(count, size)); }

void *__wrap_realloc(void *block, size_t size)
{
    if (fails())
        return NULL;
    void *grown = __real_realloc(block, size);
    return block ? grown : counted(grown);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    *out = __wrap_aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    return *out ? 0 : 12;
}

char *__wrap_strndup(const char *text, size_t size)
{
    size = strnlen(text, size);
    char *copy = __wrap_malloc(size + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, size);
    copy[size] = 0;
    return copy;
}

char *__wrap_strdup(const char *text) { return __wrap_strndup(text, SIZE_MAX); }

void __wrap_free(void *block)
{
    alive -= block != NULL;
    __real_free(block);
}

/* ---- the engine, wrapped ------------------------------------------------------------------------------------- */

static const struct mg_engine_ops *const magic = &mg_engine_magic;

#define WRAP(name, parameters, arguments)                   \
    static enum mg_code heap_##name parameters              \
    {                                                       \
        armed = true;                                       \
        enum mg_code code = magic->name arguments;          \
        armed = false;                                      \
        if (code == MG_OK)                                  \
            return MG_OK;                                   \
        if (err)                                            \
            assert_true(err->code == code && err->text[0]); \
        return code;                                        \
    }
WRAP(open, (const struct mg_engine_options *options, struct mg_engine **out, struct mg_error *err), (options, out, err))
WRAP(begin,
     (struct mg_engine * engine, const char *source, uint64_t generation, struct mg_epoch **out, struct mg_error *err),
     (engine, source, generation, out, err))
WRAP(change_schema, (struct mg_epoch * epoch, const struct mg_schema_change *change, struct mg_error *err),
     (epoch, change, err))
WRAP(put, (struct mg_epoch * epoch, const struct mg_changes *changes, struct mg_error *err), (epoch, changes, err))
WRAP(publish,
     (struct mg_epoch * epoch, uint64_t watermark, struct mg_slice position, uint64_t *out, struct mg_error *err),
     (epoch, watermark, position, out, err))
WRAP(checkpoint, (struct mg_engine * engine, bool flush, struct mg_error *err), (engine, flush, err))
WRAP(snapshot, (struct mg_engine * engine, struct mg_snapshot **out, struct mg_error *err), (engine, out, err))
WRAP(snapshot_at, (struct mg_engine * engine, uint64_t epoch, struct mg_snapshot **out, struct mg_error *err),
     (engine, epoch, out, err))
WRAP(plan_splits,
     (const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted, bool force, struct mg_arena *arena,
      struct mg_key_range **out, uint32_t *count, struct mg_error *err),
     (snapshot, table_id, wanted, force, arena, out, count, err))
WRAP(scan, (struct mg_snapshot * snapshot, const struct mg_scan_spec *spec, struct mg_scan **out, struct mg_error *err),
     (snapshot, spec, out, err))
WRAP(next, (struct mg_scan * scan, struct mg_batch **out, struct mg_error *err), (scan, out, err))
WRAP(find,
     (struct mg_snapshot * snapshot, const struct mg_find_spec *spec, uint32_t *rows, struct mg_batch **out,
      struct mg_error *err),
     (snapshot, spec, rows, out, err))
WRAP(status, (struct mg_engine * engine, mg_status_fn *fn, void *arg, struct mg_error *err), (engine, fn, arg, err))

static struct mg_engine_ops wrapped(void)
{
    struct mg_engine_ops ops = *magic;
    ops.open = heap_open;
    ops.begin = heap_begin;
    ops.change_schema = heap_change_schema;
    ops.put = heap_put;
    ops.publish = heap_publish;
    ops.checkpoint = heap_checkpoint;
    ops.snapshot = heap_snapshot;
    ops.snapshot_at = heap_snapshot_at;
    ops.plan_splits = heap_plan_splits;
    ops.scan = heap_scan;
    ops.next = heap_next;
    ops.find = heap_find;
    ops.status = heap_status;
    return ops;
}

/* ---- reading, where every call may fail ---------------------------------------------------------------------- */

struct reading {
    struct mg_predicate *predicate;
    struct mg_aggregate *aggregate;
    struct mg_top_order order;
};

static void reading_init(struct reading *reading, const struct mg_schema *schema)
{
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 20);
    struct mg_value one = {.type = {.id = MG_TYPE_INT64}, .i = 1};
    struct mg_expr *args[] = {mg_expr_column(&arena, mg_slice_text("id")), mg_expr_literal(&arena, &one)};
    assert_int_equal(mg_predicate_bind(mg_expr_call(&arena, MG_EXPR_GT, args, 2), schema, &reading->predicate, NULL),
                     MG_OK);
    struct mg_expr *name = mg_expr_column(&arena, mg_slice_text("name"));
    struct mg_aggregate_call aggregates[] = {
        {.function = MG_AGGREGATE_COUNT_ALL},
        {.function = MG_AGGREGATE_SUM, .argument = mg_expr_column(&arena, mg_slice_text("price"))},
        {.function = MG_AGGREGATE_MAX, .argument = name}};
    const struct mg_expr *groups[] = {name};
    struct mg_aggregate_request request = {
        .groups = groups, .group_count = 1, .calls = aggregates, .call_count = MG_COUNT_OF(aggregates)};
    assert_int_equal(mg_aggregate_bind(&request, schema, &reading->aggregate, NULL), MG_OK);
    reading->order = (struct mg_top_order){.column = 1, .is_descending = true};
    mg_arena_clear(&arena);
}

static void reading_clear(struct reading *reading)
{
    mg_predicate_free(reading->predicate);
    mg_aggregate_free(reading->aggregate);
}

static enum mg_code read_scan(struct world *w, struct mg_snapshot *snapshot, const struct mg_scan_spec *spec)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_scan *scan;
    struct mg_batch *batch = NULL;
    MG_TRY(w->ops->scan(snapshot, spec, &scan, &err));
    enum mg_code code;
    do {
        code = w->ops->next(scan, &batch, &err);
        if (code == MG_OK)
            mg_batch_unref(batch);
    } while (code == MG_OK && batch);
    w->ops->scan_close(scan);
    return code;
}

static enum mg_code count_status(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    ++*(uint32_t *)arg;
    return MG_OK;
}

/* A key of a part or a delta, and one that is not there. */
static enum mg_code find_first(struct world *w, struct mg_snapshot *snapshot)
{
    static const uint32_t columns[] = {0, 1};
    struct mg_type type = {.id = MG_TYPE_INT64};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *keys, *found = NULL;
    struct mg_buffer bytes;
    uint32_t offsets[3] = {0}, rows[2];
    mg_buffer_init(&bytes, MG_KEY_BYTES_MAX);
    assert_int_equal(mg_batch_builder_init(&builder, &type, 1, NULL, 4096, NULL), MG_OK);
    assert_int_equal(mg_builder_int(&builder, 0, 2, NULL), MG_OK);
    assert_int_equal(mg_builder_int(&builder, 0, 77, NULL), MG_OK);
    assert_int_equal(mg_batch_builder_finish(&builder, 2, &keys, NULL), MG_OK);
    mg_batch_builder_clear(&builder);
    const struct mg_vector *vectors[] = {&keys->vectors[0]};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(mg_key_encode(vectors, 1, i, &bytes, NULL), MG_OK);
        offsets[i + 1] = (uint32_t)bytes.size;
    }
    struct mg_find_spec spec = {
        .table_id = 1, .key_count = 2, .keys = bytes.data, .offsets = offsets, .columns = columns, .column_count = 2};
    enum mg_code code = w->ops->find(snapshot, &spec, rows, &found, &err);
    if (code == MG_OK)
        mg_batch_unref(found);
    mg_batch_unref(keys);
    mg_buffer_clear(&bytes);
    return code;
}

/* Rows filtered, grouped, ordered, by splits; status. */
static enum mg_code read_snapshot(struct world *w, struct mg_snapshot *snapshot, const struct reading *reading)
{
    static const uint32_t columns[] = {0, 1, 2};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_key_range *ranges;
    uint32_t count = 0, lines = 0;
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 20);
    enum mg_code code = w->ops->plan_splits(snapshot, 1, 2, true, &arena, &ranges, &count, &err);
    for (uint32_t i = 0; code == MG_OK && i < count; i++) {
        struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 3, .range = ranges[i]};
        code = read_scan(w, snapshot, &spec);
    }
    mg_arena_clear(&arena);
    MG_TRY(code);
    struct mg_scan_spec filtered = {.table_id = 1, .columns = columns, .column_count = 3};
    filtered.predicate = reading->predicate;
    MG_TRY(read_scan(w, snapshot, &filtered));
    struct mg_scan_spec grouped = {.table_id = 1, .aggregate = reading->aggregate};
    MG_TRY(read_scan(w, snapshot, &grouped));
    struct mg_scan_spec top = {.table_id = 1, .columns = columns, .column_count = 3, .limit = 2};
    top.order = &reading->order;
    top.order_count = 1;
    MG_TRY(read_scan(w, snapshot, &top));
    MG_TRY(find_first(w, snapshot));
    return w->ops->status(w->engine, count_status, &lines, &err);
}

/* The newest epoch and an old one. */
static enum mg_code read_all(struct world *w)
{
    struct reading reading;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_snapshot *snapshot = NULL;
    reading_init(&reading, w->wider);
    enum mg_code code = w->ops->snapshot(w->engine, &snapshot, &err);
    if (code == MG_OK) {
        code = read_snapshot(w, snapshot, &reading);
        w->ops->snapshot_unref(snapshot);
    }
    if (code == MG_OK)
        code = w->ops->snapshot_at(w->engine, w->story.newest - 1, &snapshot, &err);
    if (code == MG_OK) {
        code = read_snapshot(w, snapshot, &reading);
        w->ops->snapshot_unref(snapshot);
    }
    reading_clear(&reading);
    return code;
}

/* ---- the sweep ----------------------------------------------------------------------------------------------- */

static struct story expected;
static uint64_t calls_of_run;

/* The history, as far as it goes; a failed flush or read does not end it. Returns the steps done. */
static unsigned run(struct world *w)
{
    unsigned done = 0;
    struct mg_error err = MG_ERROR_INIT;
    if (world_open(w, &err) != MG_OK)
        return 0;
    while (done < WORLD_STEPS && (world_step(w, done) == MG_OK || world_is_flush(done)))
        done++;
    if (done == WORLD_STEPS)
        (void)!read_all(w);
    uint64_t hit = fail_at;
    fail_at = 0;
    if (done == WORLD_STEPS) {
        struct mg_snapshot *snapshot = kit_snapshot(w->engine);
        world_compare(&expected, snapshot);
        w->ops->snapshot_unref(snapshot);
    }
    fail_at = hit;
    world_close(w);
    if (done == WORLD_STEPS && world_open(w, &err) == MG_OK) /* recovery of all of it, too */
        world_close(w);
    return done;
}

/* False: there are fewer allocations. */
static bool fail_nth(const struct mg_engine_ops *ops, uint64_t nth)
{
    static struct world w;
    kit_forget();
    int64_t before = alive;
    world_init(&w, 7);
    w.ops = ops;
    calls = 0;
    fail_at = nth;
    unsigned done = run(&w);
    uint64_t published = w.story.newest;
    calls_of_run = calls;
    fail_at = 0;
    assert_int_equal(world_open(&w, NULL), MG_OK);
    world_note(&w);
    assert_in_range(w.story.newest, published, published + (done < WORLD_STEPS));
    world_compare_all(&w, &expected, w.story.newest);
    world_close(&w);
    world_clear(&w);
    kit_forget();
    if (alive != before)
        fail_msg("%lld blocks leak when allocation %llu fails (heap_test 1000000 %llu)", (long long)(alive - before),
                 (unsigned long long)nth, (unsigned long long)nth);
    return calls_of_run >= nth;
}

static uint64_t step = 31, first = 1;

static void every_allocation_may_fail(void **state)
{
    struct mg_engine_ops ops = wrapped();
    static struct world w;
    world_init(&w, 1);
    world_tell(&w);
    expected = w.story;
    world_close(&w);
    world_clear(&w);
    fail_nth(&ops, UINT64_MAX); /* what the kit and libraries keep is there now */
    uint64_t all = calls_of_run, tried = 0;
    for (uint64_t nth = first; fail_nth(&ops, nth); nth += step)
        tried++;
    print_message("%llu allocations, %llu failed one by one\n", (unsigned long long)all, (unsigned long long)tried);
    /* Two runs differ by a few: what threads get to do depends on time. */
    assert_true(all > 1000 && (first > 1 || tried + all / 100 >= all / step));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    if (argc > 1)
        step = MG_MAX(strtoull(argv[1], NULL, 10), 1ull);
    if (argc > 2)
        first = MG_MAX(strtoull(argv[2], NULL, 10), 1ull);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
