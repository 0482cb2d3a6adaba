/* latch_testing.h -- a latch on the model engine with a clock that a test moves. For tests only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_LATCH_TESTING_H
#define MG_LATCH_TESTING_H

#include "base/testing.h"
#include "latch/latch_internal.h"

enum { WORLD_TTL_MS = 60000, WORLD_AGE_MS = 600000 };

struct world {
    struct mg_clock_manual clock;
    struct mg_engine *engine;
    struct mg_latch_options options;
    struct mg_latch *latch;
    struct mg_latch_writer *writer; /* of source "tidb" */
};

static inline void world_start(struct world *world)
{
    struct mg_error err;

    assert_ok(mg_latch_new(&world->options, &world->latch, &err));
}

static inline void world_stop(struct world *world)
{
    mg_latch_writer_close(world->writer);
    world->writer = NULL;
    mg_latch_free(world->latch);
    world->latch = NULL;
}

static inline int world_set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct mg_engine_options options = {.folder = NULL};
    struct mg_error err;

    assert_non_null(world);
    mg_clock_manual_init(&world->clock, 1700000000000);
    assert_ok(mg_engine_model.open(&options, &world->engine, &err));
    world->options = (struct mg_latch_options){.engine = world->engine,
                                               .clock = &world->clock.clock,
                                               .ttl_ms = WORLD_TTL_MS,
                                               .age_max_ms = WORLD_AGE_MS,
                                               .secret = "a secret of thirty-two bytes..."};
    world_start(world);
    *state = world;
    return 0;
}

static inline int world_tear_down(void **state)
{
    struct world *world = *state;

    world_stop(world);
    world->engine->ops->close(world->engine);
    free(world);
    return 0;
}

/* Publish an epoch of source "tidb" that says no more than its watermark. */
static inline uint64_t world_publish(struct world *world, uint64_t watermark)
{
    struct mg_epoch *epoch;
    struct mg_error err;
    uint64_t number = 0;

    if (!world->writer)
        assert_ok(mg_latch_writer_open(world->latch, "tidb", &world->writer, NULL, &err));
    assert_ok(mg_latch_writer_begin(world->writer, 1000, &epoch, &err));
    assert_ok(mg_latch_writer_publish(world->writer, watermark, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(world->engine->ops->wait(world->engine, number, 10000, &err));
    return number;
}

static inline void world_pass(struct world *world, int64_t ms) { mg_clock_manual_advance(&world->clock, ms * 1000000); }

static inline struct mg_slice token_of(const struct mg_lease *lease)
{
    return MG_SLICE(lease->token, lease->token_size);
}

#endif
