/* hammer_test.c -- readers, writers, expiry and restarts' tickets at once: whatever a lease opens is its own epoch.
 *
 * Meant for the thread sanitizer; takes about a second.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "latch/latch_testing.h"

enum { READERS = 4, WRITERS = 2, RUN_MS = 800, HELD = 8 };

struct hammer {
    struct world *world;
    _Atomic bool stop;
    _Atomic uint64_t opened, expired;
    struct mg_lease old[4]; /* of the process before */
};
struct worker {
    struct hammer *hammer;
    uint64_t seed;
    char source[16];
};

static void check_open(struct hammer *hammer, const struct mg_lease *lease)
{
    struct world *world = hammer->world;
    struct mg_snapshot *snapshot = NULL;
    struct mg_error err = MG_ERROR_INIT;

    enum mg_code code = mg_latch_open(world->latch, lease->number, lease->epoch, lease->expires_ms, &snapshot, &err);
    if (code == MG_OK) {
        if (world->engine->ops->snapshot_epoch(snapshot) != lease->epoch)
            abort();
        world->engine->ops->snapshot_unref(snapshot);
        hammer->opened++;
    } else if (code == MG_SNAPSHOT_EXPIRED) {
        hammer->expired++;
    } else {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

static void reader_main(void *arg)
{
    struct worker *worker = arg;
    struct hammer *hammer = worker->hammer;
    struct world *world = hammer->world;
    struct mg_lease held[HELD] = {0};
    struct mg_random random;

    mg_random_init(&random, worker->seed);
    while (!hammer->stop) {
        struct mg_lease *lease = &held[mg_random_below(&random, HELD)];
        struct mg_snapshot_choice choice = {.choice = MG_CHOICE_LATEST, .share = mg_random_below(&random, 2) == 0};
        switch (lease->number ? mg_random_below(&random, 6) : 0) {
        case 0:
            if (mg_latch_acquire(world->latch, &choice, "hammer", (int64_t)mg_random_below(&random, 50) + 1, lease,
                                 NULL, NULL) != MG_OK)
                lease->number = 0;
            break;
        case 1: {
            struct mg_lease again;
            if (mg_latch_renew(world->latch, token_of(lease), 20, &again, NULL) == MG_OK && again.epoch != lease->epoch)
                abort();
            break;
        }
        case 2:
            if (mg_latch_release(world->latch, token_of(lease), NULL) != MG_OK)
                abort();
            break;
        case 3: check_open(hammer, &hammer->old[mg_random_below(&random, MG_COUNT_OF(hammer->old))]); break;
        case 4: mg_latch_keep(world->latch, lease->number); break;
        default: check_open(hammer, lease);
        }
    }
}

static void writer_main(void *arg)
{
    struct worker *worker = arg;
    struct world *world = worker->hammer->world;
    uint64_t watermark = 100;

    while (!worker->hammer->stop) {
        struct mg_latch_writer *writer = NULL;
        struct mg_epoch *epoch;
        uint64_t number;
        if (mg_latch_writer_open(world->latch, worker->source, &writer, NULL, NULL) != MG_OK)
            abort();
        for (int i = 0; i < 20; i++) {
            if (mg_latch_writer_begin(writer, 10000, &epoch, NULL) != MG_OK)
                abort();
            if (i % 7 == 0)
                mg_latch_writer_abort(writer);
            else if (mg_latch_writer_publish(writer, ++watermark, MG_SLICE(NULL, 0), &number, NULL) != MG_OK)
                abort();
            usleep(200);
        }
        mg_latch_writer_close(writer);
    }
}

static void clock_main(void *arg)
{
    struct hammer *hammer = arg;

    while (!hammer->stop) {
        world_pass(hammer->world, 3);
        mg_latch__reap(hammer->world->latch);
        usleep(1000);
    }
}

static void everything_at_once(void **state)
{
    struct world *world = *state;
    struct hammer hammer = {.world = world};
    struct worker workers[READERS + WRITERS];
    struct mg_thread threads[READERS + WRITERS + 1] = {0};
    struct mg_snapshot_choice latest = {.choice = MG_CHOICE_LATEST};
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(hammer.old); i++) {
        world_publish(world, 10 + i);
        assert_ok(mg_latch_acquire(world->latch, &latest, "old", 500, &hammer.old[i], NULL, &err));
    }
    world_stop(world);
    world->options.history_max = 2; /* fewer than are asked for */
    world->options.leases_max = 24;
    world_start(world);
    for (uint32_t i = 0; i < READERS + WRITERS; i++) {
        workers[i] = (struct worker){.hammer = &hammer, .seed = i + 1};
        snprintf(workers[i].source, sizeof workers[i].source, "source %u", i);
        assert_ok(mg_thread_start(&threads[i], "worker", i < READERS ? reader_main : writer_main, &workers[i], &err));
    }
    assert_ok(mg_thread_start(&threads[READERS + WRITERS], "clock", clock_main, &hammer, &err));
    usleep(RUN_MS * 1000);
    hammer.stop = true;
    for (uint32_t i = 0; i <= READERS + WRITERS; i++)
        mg_thread_join(&threads[i]);
    assert_true(hammer.opened > 0);
    assert_true(hammer.expired > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_at_once, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests_name("latch_hammer", tests, NULL, NULL);
}
