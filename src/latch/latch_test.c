/* latch_test.c -- leases: what they pin, when they end, what a token and a ticket are worth, before and after a
 * restart.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/lock.h"
#include "latch/latch_testing.h"

static struct mg_lease acquire(struct world *world, int64_t ttl_ms)
{
    struct mg_snapshot_choice latest = {.choice = MG_CHOICE_LATEST};
    struct mg_lease lease;
    struct mg_error err;

    assert_ok(mg_latch_acquire(world->latch, &latest, "test", ttl_ms, &lease, NULL, &err));
    return lease;
}

/* What a ticket of this lease opens. */
static enum mg_code open_ticket(struct world *world, const struct mg_lease *lease, struct mg_error *err)
{
    struct mg_snapshot *snapshot = NULL;

    *err = MG_ERROR_INIT;
    enum mg_code code = mg_latch_open(world->latch, lease->number, lease->epoch, lease->expires_ms, &snapshot, err);
    if (code == MG_OK)
        assert_int_equal(world->engine->ops->snapshot_epoch(snapshot), lease->epoch);
    world->engine->ops->snapshot_unref(snapshot);
    return code;
}

static enum mg_code by_token(struct world *world, const struct mg_lease *lease, struct mg_error *err)
{
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_LEASE, .token = token_of(lease)};
    struct mg_snapshot *snapshot = NULL;
    struct mg_lease again;

    *err = MG_ERROR_INIT;
    enum mg_code code = mg_latch_acquire(world->latch, &choice, NULL, 0, &again, &snapshot, err);
    if (code == MG_OK) {
        assert_int_equal(again.number, lease->number);
        assert_int_equal(world->engine->ops->snapshot_epoch(snapshot), lease->epoch);
    }
    world->engine->ops->snapshot_unref(snapshot);
    return code;
}

static void a_lease_stays_on_its_snapshot(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    uint64_t first = world_publish(world, 10);
    struct mg_lease lease = acquire(world, 0);
    assert_int_equal(lease.epoch, first);
    assert_int_equal(lease.expires_ms, 1700000000000 + WORLD_TTL_MS);
    assert_int_equal(lease.expires_at_most_ms, 1700000000000 + WORLD_AGE_MS);
    assert_true(world_publish(world, 20) > first);
    assert_ok(open_ticket(world, &lease, &err));
    assert_ok(by_token(world, &lease, &err));
    assert_true(acquire(world, 0).epoch > first);
}

static void as_of_is_the_last_epoch_at_or_below(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_AS_OF};
    struct mg_lease lease;
    struct mg_error err;

    assert_code(MG_SNAPSHOT_TOO_OLD, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    uint64_t first = world_publish(world, 10), second = world_publish(world, 20);
    struct {
        uint64_t ts, epoch;
    } cases[] = {{10, first}, {19, first}, {20, second}, {1000, second}};
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        choice.ts = cases[i].ts;
        assert_ok(mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
        assert_int_equal(lease.epoch, cases[i].epoch);
    }
    choice.ts = 9;
    assert_code(MG_SNAPSHOT_TOO_OLD, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    choice = (struct mg_snapshot_choice){.choice = MG_CHOICE_EPOCH, .epoch = first};
    assert_ok(mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    assert_int_equal(lease.epoch, first);
    choice.epoch = second + 1;
    assert_code(MG_SNAPSHOT_NOT_YET, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
}

static void as_of_asks_which_source_when_there_are_two(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_AS_OF, .ts = 100};
    struct mg_latch_writer *local;
    struct mg_epoch *epoch;
    struct mg_lease lease;
    struct mg_error err;
    uint64_t number;

    world_publish(world, 10);
    assert_ok(mg_latch_writer_open(world->latch, "local", &local, NULL, &err));
    assert_ok(mg_latch_writer_begin(local, 1000, &epoch, &err));
    assert_ok(mg_latch_writer_publish(local, 50, MG_SLICE(NULL, 0), &number, &err));
    mg_latch_writer_close(local);
    assert_code(MG_INVALID, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    assert_non_null(strstr(err.text, "tidb"));
    assert_non_null(strstr(err.text, "local"));
    choice.source = "local";
    assert_ok(mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    assert_int_equal(lease.epoch, number);
}

static void publish_later(void *arg)
{
    struct world *world = arg;

    usleep(30000);
    world_publish(world, 10);
    usleep(30000);
    world_publish(world, 20);
}

static void wait_blocks_until_it_is_visible(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice choice = {.choice = MG_CHOICE_WAIT, .ts = 20, .wait_ms = 20};
    struct mg_thread thread = {0};
    struct mg_lease lease;
    struct mg_error err;

    assert_code(MG_SNAPSHOT_NOT_YET, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    assert_ok(mg_thread_start(&thread, "publisher", publish_later, world, &err));
    choice.wait_ms = 20000;
    assert_ok(mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    mg_thread_join(&thread);
    struct mg_snapshot *snapshot;
    struct mg_source_position *position = calloc(MG_SOURCES_MAX, sizeof *position);
    assert_ok(mg_latch_open(world->latch, lease.number, lease.epoch, 0, &snapshot, &err));
    assert_int_equal(world->engine->ops->snapshot_watermarks(snapshot, position, MG_SOURCES_MAX), 1);
    assert_true(position->watermark >= 20);
    world->engine->ops->snapshot_unref(snapshot);
    free(position);
    choice = (struct mg_snapshot_choice){.choice = MG_CHOICE_WAIT, .ts = 21, .wait_ms = 0};
    assert_code(MG_SNAPSHOT_NOT_YET, mg_latch_acquire(world->latch, &choice, "", 0, &lease, NULL, &err));
    assert_non_null(strstr(err.text, "21"));
}

static void an_expired_lease_gives_an_error_and_nothing_else(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    world_publish(world, 10);
    struct mg_lease lease = acquire(world, 1000), again;
    world_pass(world, 999);
    assert_ok(open_ticket(world, &lease, &err));
    world_pass(world, 1);
    for (int reaped = 0; reaped < 2; reaped++) { /* before and after the reaper took it */
        assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &lease, &err));
        assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err));
        assert_code(MG_SNAPSHOT_EXPIRED, mg_latch_renew(world->latch, token_of(&lease), 1000, &again, &err));
        mg_latch__reap(world->latch);
    }
    assert_int_equal(mg_latch_list(world->latch, NULL, 0), 0);
}

static void renewing_moves_the_end_up_to_a_limit(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    struct mg_lease lease = acquire(world, 1000), again;
    int64_t begin_ms = lease.expires_ms - 1000;
    world_pass(world, 900);
    assert_ok(mg_latch_renew(world->latch, token_of(&lease), 1000, &again, &err));
    assert_int_equal(again.expires_ms, begin_ms + 1900);
    assert_int_equal(again.expires_at_most_ms, lease.expires_at_most_ms);
    assert_memory_equal(again.token, lease.token, lease.token_size);
    world_pass(world, 500);
    assert_ok(mg_latch_renew(world->latch, token_of(&lease), WORLD_AGE_MS * 2, &again, &err));
    assert_int_equal(again.expires_ms, lease.expires_at_most_ms);
    world_pass(world, WORLD_AGE_MS - 1401);
    assert_ok(open_ticket(world, &lease, &err));
    world_pass(world, 1);
    assert_code(MG_SNAPSHOT_EXPIRED, mg_latch_renew(world->latch, token_of(&lease), 1000, &again, &err));
    assert_code(MG_INVALID, mg_latch_renew(world->latch, token_of(&lease), -1, &again, &err));
}

static void released_is_over_and_may_be_released_again(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    struct mg_lease lease = acquire(world, 0), other = acquire(world, 0);
    assert_ok(mg_latch_release(world->latch, token_of(&lease), &err));
    assert_ok(mg_latch_release(world->latch, token_of(&lease), &err));
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &lease, &err));
    assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err));
    assert_ok(open_ticket(world, &other, &err));
}

static void a_forged_token_is_refused(void **state)
{
    struct world *world = *state;
    struct mg_lease lease = acquire(world, 0), again;
    struct mg_error err;

    for (uint32_t bit = 0; bit < lease.token_size * 8; bit++) {
        uint8_t forged[MG_LEASE_TOKEN_MAX];
        memcpy(forged, lease.token, sizeof forged);
        forged[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_code(MG_TICKET_INVALID,
                    mg_latch_renew(world->latch, MG_SLICE(forged, lease.token_size), 0, &again, &err));
        assert_code(MG_TICKET_INVALID, mg_latch_release(world->latch, MG_SLICE(forged, lease.token_size), &err));
    }
    for (uint32_t size = 0; size < lease.token_size; size++)
        assert_code(MG_TICKET_INVALID, mg_latch_renew(world->latch, MG_SLICE(lease.token, size), 0, &again, &err));
    assert_ok(mg_latch_renew(world->latch, token_of(&lease), 0, &again, &err));

    struct mg_latch *stranger; /* another store's key */
    struct mg_latch_options options = world->options;
    options.secret[0] ^= 1;
    assert_ok(mg_latch_new(&options, &stranger, &err));
    assert_code(MG_TICKET_INVALID, mg_latch_renew(stranger, token_of(&lease), 0, &again, &err));
    mg_latch_free(stranger);
}

static void a_token_of_another_store_is_refused(void **state)
{
    struct world *world = *state;
    struct mg_lease lease = acquire(world, 0), again;
    struct mg_engine_options none = {.folder = NULL};
    struct mg_latch_options options = world->options; /* the same key */
    struct mg_latch *latch;
    struct mg_error err;

    assert_ok(mg_engine_model.open(&none, &options.engine, &err));
    assert_ok(mg_latch_new(&options, &latch, &err));
    assert_code(MG_TICKET_INVALID, mg_latch_renew(latch, token_of(&lease), 0, &again, &err));
    assert_non_null(strstr(err.text, "store"));
    mg_latch_free(latch);
    options.engine->ops->close(options.engine);
}

static int refuse(void *arg, const char *name) { return strcmp(name, "latch") == 0 ? EAGAIN : 0; }

static void a_latch_without_its_thread_is_none(void **state)
{
    static const struct mg_thread_hooks hooks = {.start = refuse};
    struct world *world = *state;
    struct mg_latch *latch;
    struct mg_error err = MG_ERROR_INIT;

    mg_thread_hook(&hooks);
    assert_code(MG_NO_MEMORY, mg_latch_new(&world->options, &latch, &err));
    mg_thread_hook(NULL);
    assert_non_null(strstr(err.text, "could not start the thread latch"));
}

static void after_a_restart_a_token_revives_its_lease(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    world_publish(world, 10);
    struct mg_lease lease = acquire(world, 1000), again;
    world_publish(world, 20);
    world_stop(world);
    world_pass(world, WORLD_AGE_MS - 5000); /* far beyond its end, not beyond its latest end */
    world_start(world);
    assert_ok(mg_latch_renew(world->latch, token_of(&lease), 2000, &again, &err));
    assert_int_equal(again.epoch, lease.epoch);
    assert_int_equal(again.number, lease.number);
    lease.expires_ms = 0; /* now the lease decides, not the ticket */
    assert_ok(open_ticket(world, &lease, &err));
    world_pass(world, 2000);
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &lease, &err));
    assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err));
    mg_latch__reap(world->latch);
    assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err)); /* ended here: not revived again */
    world_pass(world, 3000);
    mg_latch__reap(world->latch); /* forgotten: by now the token itself is over */
    assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err));
}

static void after_a_restart_a_released_lease_stays_over(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    world_publish(world, 10);
    struct mg_lease lease = acquire(world, 0);
    world_stop(world);
    world_start(world);
    assert_ok(mg_latch_release(world->latch, token_of(&lease), &err));
    assert_code(MG_SNAPSHOT_EXPIRED, by_token(world, &lease, &err));
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &lease, &err));
}

static void after_a_restart_a_ticket_lives_by_its_own_time(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    world_publish(world, 10);
    struct mg_lease lease = acquire(world, 1000);
    world_publish(world, 20);
    world_stop(world);
    world_start(world);
    world_pass(world, 999);
    assert_ok(open_ticket(world, &lease, &err));
    assert_ok(open_ticket(world, &lease, &err));
    assert_int_equal(mg_latch_list(world->latch, NULL, 0), 0); /* no lease was made */
    world_pass(world, 1);
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &lease, &err));
    mg_latch__reap(world->latch);
    for (uint32_t i = 0; i < world->latch->history.slot_count; i++)
        assert_null(world->latch->history.slots[i].snapshot);
}

static void more_old_epochs_than_are_kept_open(void **state)
{
    struct world *world = *state;
    struct mg_lease leases[12];
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(leases); i++) {
        world_publish(world, 10 + i);
        leases[i] = acquire(world, 0);
    }
    world_stop(world);
    world_start(world);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < MG_COUNT_OF(leases); i++)
            assert_ok(open_ticket(world, &leases[i], &err));
}

static void a_ticket_with_another_leases_number_is_refused(void **state)
{
    struct world *world = *state;
    struct mg_error err;

    world_publish(world, 10);
    struct mg_lease lease = acquire(world, 0);
    lease.epoch--;
    assert_code(MG_TICKET_INVALID, open_ticket(world, &lease, &err));
}

static void leases_are_bounded(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice latest = {.choice = MG_CHOICE_LATEST};
    struct mg_lease lease;
    struct mg_error err;

    world_stop(world);
    world->options.leases_max = 3;
    world_start(world);
    acquire(world, 1000);
    acquire(world, 1000);
    acquire(world, 5000);
    assert_code(MG_BUSY, mg_latch_acquire(world->latch, &latest, "", 0, &lease, NULL, &err));
    world_pass(world, 1000); /* makes room without the reaper */
    acquire(world, 1000);
    acquire(world, 1000);
    assert_code(MG_BUSY, mg_latch_acquire(world->latch, &latest, "", 0, &lease, NULL, &err));
    assert_code(MG_INVALID, mg_latch_acquire(world->latch, &latest, "", -5, &lease, NULL, &err));
}

static void unasked_leases_of_one_epoch_are_shared(void **state)
{
    struct world *world = *state;
    struct mg_snapshot_choice share = {.choice = MG_CHOICE_LATEST, .share = true};
    struct mg_lease a, b, c;
    struct mg_error err;

    world_publish(world, 10);
    assert_ok(mg_latch_acquire(world->latch, &share, "", 1000, &a, NULL, &err));
    world_pass(world, 400);
    assert_ok(mg_latch_acquire(world->latch, &share, "", 1000, &b, NULL, &err));
    assert_int_equal(a.number, b.number);
    assert_int_equal(b.expires_ms, a.expires_ms + 400);
    assert_ok(mg_latch_release(world->latch, token_of(&a), &err));
    assert_ok(open_ticket(world, &b, &err));
    world_pass(world, 900);
    mg_latch_keep(world->latch, a.number); /* a stream is still running */
    world_pass(world, 900);
    assert_ok(open_ticket(world, &b, &err));
    world_publish(world, 20);
    assert_ok(mg_latch_acquire(world->latch, &share, "", 1000, &c, NULL, &err));
    assert_true(c.number != a.number);
    world_pass(world, 100);
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &b, &err));
    assert_ok(open_ticket(world, &c, &err));

    struct mg_lease own = acquire(world, 1000); /* asked for: its own, and kept alive by nothing */
    mg_latch_keep(world->latch, own.number);
    assert_true(own.number != c.number);
    world_pass(world, 1000);
    assert_code(MG_SNAPSHOT_EXPIRED, open_ticket(world, &own, &err));
}

static void leases_are_listed_newest_first(void **state)
{
    struct world *world = *state;
    struct mg_lease_info infos[2];

    struct mg_lease first = acquire(world, 0), second = acquire(world, 0), third = acquire(world, 0);
    assert_int_equal(mg_latch_list(world->latch, infos, 2), 3);
    assert_int_equal(infos[0].number, third.number);
    assert_int_equal(infos[1].number, second.number);
    assert_string_equal(infos[0].holder, "test");
    assert_true(first.number < second.number);
}

static void a_mac_is_for_its_bytes_and_its_key(void **state)
{
    struct world *world = *state;
    uint8_t mac[MG_MAC_SIZE];
    struct mg_slice body = mg_slice_text("body");

    mg_latch_sign(world->latch, body, mac);
    assert_true(mg_latch_verify(world->latch, body, MG_SLICE(mac, sizeof mac)));
    assert_false(mg_latch_verify(world->latch, mg_slice_text("bodY"), MG_SLICE(mac, sizeof mac)));
    assert_false(mg_latch_verify(world->latch, body, MG_SLICE(mac, sizeof mac - 1)));
    assert_false(mg_latch_verify(world->latch, body, MG_SLICE(NULL, 0)));
    mac[0] ^= 1;
    assert_false(mg_latch_verify(world->latch, body, MG_SLICE(mac, sizeof mac)));
    mg_latch_sign(world->latch, MG_SLICE(NULL, 0), mac);
    assert_true(mg_latch_verify(world->latch, MG_SLICE(NULL, 0), MG_SLICE(mac, sizeof mac)));
}

/* The example of docs/format/ticket.md. */
static void a_token_is_as_its_page_says(void **state)
{
    static const uint8_t expected[MG_LATCH__TOKEN_SIZE] = {
        0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x01, 0x00, 0x00, 0x00, 0xed, 0x5e, 0x00, 0x00, 0x00, 0xc4, 0x0b, 0xd5, 0x8b, 0x01, 0x00, 0x00,
        0xf6, 0x16, 0x1c, 0x0f, 0x85, 0x92, 0x6c, 0xd7, 0xc9, 0x25, 0xf9, 0x29, 0x80, 0xc2, 0x7c, 0xe1};
    struct mg_latch__token token = {
        .store_id = 1, .epoch = 42, .number = 0x00005eed00000001, .at_most_ms = 1700086400000};
    struct world *world = *state;
    struct mg_latch latch = {.engine = world->engine};
    uint8_t bytes[MG_LATCH__TOKEN_SIZE];

    for (int i = 0; i < MG_SECRET_SIZE; i++)
        latch.secret[i] = (uint8_t)i;
    mg_latch__token_write(&latch, &token, bytes);
    assert_memory_equal(bytes, expected, sizeof bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lease_stays_on_its_snapshot),
        TEST(as_of_is_the_last_epoch_at_or_below),
        TEST(as_of_asks_which_source_when_there_are_two),
        TEST(wait_blocks_until_it_is_visible),
        TEST(an_expired_lease_gives_an_error_and_nothing_else),
        TEST(renewing_moves_the_end_up_to_a_limit),
        TEST(released_is_over_and_may_be_released_again),
        TEST(a_forged_token_is_refused),
        TEST(a_token_of_another_store_is_refused),
        TEST(a_latch_without_its_thread_is_none),
        TEST(after_a_restart_a_token_revives_its_lease),
        TEST(after_a_restart_a_released_lease_stays_over),
        TEST(after_a_restart_a_ticket_lives_by_its_own_time),
        TEST(more_old_epochs_than_are_kept_open),
        TEST(a_ticket_with_another_leases_number_is_refused),
        TEST(leases_are_bounded),
        TEST(unasked_leases_of_one_epoch_are_shared),
        TEST(leases_are_listed_newest_first),
        TEST(a_mac_is_for_its_bytes_and_its_key),
        TEST(a_token_is_as_its_page_says),
    };
    return cmocka_run_group_tests_name("latch", tests, NULL, NULL);
}
