/* writer_test.c -- writers: generations rise, old ones are fenced, sources take turns, what is aborted is gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "latch/latch_testing.h"

static struct mg_latch_writer *open_writer(struct world *world, const char *source)
{
    struct mg_latch_writer *writer;
    struct mg_error err;

    assert_ok(mg_latch_writer_open(world->latch, source, &writer, NULL, &err));
    return writer;
}

static uint64_t newest_epoch(struct world *world)
{
    struct mg_snapshot *snapshot;
    struct mg_error err;

    assert_ok(world->engine->ops->snapshot(world->engine, &snapshot, &err));
    uint64_t epoch = world->engine->ops->snapshot_epoch(snapshot);
    world->engine->ops->snapshot_unref(snapshot);
    return epoch;
}

static void a_writer_takes_up_where_the_source_stands(void **state)
{
    struct world *world = *state;
    struct mg_source_position *position = calloc(1, sizeof *position);
    struct mg_latch_writer *writer = open_writer(world, "tidb");
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    assert_ok(mg_latch_writer_begin(writer, 1000, &epoch, &err));
    assert_ok(mg_latch_writer_publish(writer, 77, mg_slice_text("offset 5"), &number, &err));
    mg_latch_writer_close(writer);
    assert_ok(mg_latch_writer_open(world->latch, "tidb", &writer, position, &err));
    assert_string_equal(position->source, "tidb");
    assert_int_equal(position->watermark, 77);
    assert_int_equal(position->position_size, 8);
    assert_memory_equal(position->position, "offset 5", 8);
    assert_int_equal(position->generation, mg_latch_writer_generation(writer));
    assert_int_equal(position->epoch, newest_epoch(world));
    mg_latch_writer_close(writer);
    free(position);
}

static void an_older_writer_is_fenced(void **state)
{
    struct world *world = *state;
    struct mg_latch_writer *old = open_writer(world, "tidb"), *new = open_writer(world, "tidb");
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    assert_true(mg_latch_writer_generation(new) > mg_latch_writer_generation(old));
    assert_code(MG_WRITER_FENCED, mg_latch_writer_begin(old, 1000, &epoch, &err));
    assert_ok(mg_latch_writer_begin(new, 1000, &epoch, &err));
    assert_ok(mg_latch_writer_publish(new, 5, MG_SLICE(NULL, 0), &number, &err));
    mg_latch_writer_close(old);
    mg_latch_writer_close(new);
}

static void the_fence_holds_in_the_store(void **state)
{
    struct world *world = *state;
    struct mg_latch_writer *writer = open_writer(world, "tidb");
    uint64_t generation = mg_latch_writer_generation(writer);
    struct mg_epoch *epoch;
    struct mg_error err;

    mg_latch_writer_close(writer);
    world_stop(world); /* a restart: the latch forgets, the store does not */
    world_start(world);
    writer = open_writer(world, "tidb");
    assert_int_equal(mg_latch_writer_generation(writer), generation + 1);
    assert_code(MG_WRITER_FENCED, world->engine->ops->begin(world->engine, "tidb", generation, &epoch, &err));
    mg_latch_writer_close(writer);
}

static void one_epoch_is_staged_at_a_time(void **state)
{
    struct world *world = *state;
    struct mg_latch_writer *a = open_writer(world, "a"), *b = open_writer(world, "b");
    struct mg_epoch *epoch;
    struct mg_error err;

    assert_ok(mg_latch_writer_begin(a, 1000, &epoch, &err));
    assert_code(MG_BUSY, mg_latch_writer_begin(b, 20, &epoch, &err));
    mg_latch_writer_abort(a);
    assert_ok(mg_latch_writer_begin(b, 20, &epoch, &err));
    mg_latch_writer_close(b); /* aborts */
    assert_ok(mg_latch_writer_begin(a, 20, &epoch, &err));
    mg_latch_writer_abort(a);
    mg_latch_writer_close(a);
}

static void aborted_leaves_nothing(void **state)
{
    struct world *world = *state;
    struct mg_latch_writer *writer = open_writer(world, "tidb");
    struct mg_schema_change change = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "shop"};
    uint64_t before = newest_epoch(world);
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    assert_ok(mg_latch_writer_begin(writer, 1000, &epoch, &err));
    assert_ok(world->engine->ops->change_schema(epoch, &change, &err));
    mg_latch_writer_abort(writer);
    assert_int_equal(newest_epoch(world), before);
    assert_ok(mg_latch_writer_begin(writer, 1000, &epoch, &err));
    assert_ok(world->engine->ops->change_schema(epoch, &change, &err)); /* still not there */
    assert_ok(mg_latch_writer_publish(writer, 5, MG_SLICE(NULL, 0), &number, &err));
    mg_latch_writer_close(writer);
}

static void names_and_sources_are_bounded(void **state)
{
    struct world *world = *state;
    struct mg_latch_writer *writer;
    struct mg_error err;
    char name[MG_SOURCE_NAME_MAX + 1];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_code(MG_INVALID, mg_latch_writer_open(world->latch, "", &writer, NULL, &err));
    assert_code(MG_INVALID, mg_latch_writer_open(world->latch, name, &writer, NULL, &err));
    for (int i = 0; i < MG_SOURCES_MAX; i++) {
        snprintf(name, sizeof name, "source %d", i);
        mg_latch_writer_close(open_writer(world, name));
    }
    assert_code(MG_TOO_BIG, mg_latch_writer_open(world->latch, "one more", &writer, NULL, &err));
    mg_latch_writer_close(open_writer(world, "source 0")); /* the gate was left */
}

/* A writer in a tight loop, until told to stop. */
struct loop {
    struct world *world;
    const char *source;
    _Atomic bool stop;
    uint64_t epochs;
};

static void loop_main(void *arg)
{
    struct loop *loop = arg;
    struct mg_latch_writer *writer = open_writer(loop->world, loop->source);
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number;

    while (!loop->stop) {
        assert_ok(mg_latch_writer_begin(writer, 10000, &epoch, &err));
        assert_ok(mg_latch_writer_publish(writer, ++loop->epochs, MG_SLICE(NULL, 0), &number, &err));
    }
    mg_latch_writer_close(writer);
}

static void sources_take_turns(void **state)
{
    struct world *world = *state;
    struct loop loops[3] = {{world, "a", false, 0}, {world, "b", false, 0}, {world, "c", false, 0}};
    struct mg_thread threads[3] = {0};
    struct mg_error err;

    for (int i = 0; i < 3; i++)
        assert_ok(mg_thread_start(&threads[i], "writer", loop_main, &loops[i], &err));
    usleep(200000);
    for (int i = 0; i < 3; i++)
        loops[i].stop = true;
    for (int i = 0; i < 3; i++)
        mg_thread_join(&threads[i]);
    uint64_t all = loops[0].epochs + loops[1].epochs + loops[2].epochs;
    assert_int_equal(newest_epoch(world), all + 3);
    for (int i = 0; i < 3; i++)
        assert_true(loops[i].epochs > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_writer_takes_up_where_the_source_stands),
        TEST(an_older_writer_is_fenced),
        TEST(the_fence_holds_in_the_store),
        TEST(one_epoch_is_staged_at_a_time),
        TEST(aborted_leaves_nothing),
        TEST(names_and_sources_are_bounded),
        TEST(sources_take_turns),
    };
    return cmocka_run_group_tests_name("latch_writer", tests, NULL, NULL);
}
