/* settle_rule_test.c -- the table of settle_rule.h, row by row.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "syncer/sorter/settle_rule.h"

static const int64_t BEGAN_MS = 1795258713000;
#define START_TS ((uint64_t)BEGAN_MS << 18 | 5)

/* Open for five seconds, nothing known of the sender. */
static struct mg_settle_case open_case(void)
{
    return (struct mg_settle_case){.start_ts = START_TS, .floor_ts = START_TS + 10, .open_ms = 5000, .age_ms = 5000};
}

static enum mg_settle_verdict decide(const struct mg_settle_case *c, enum mg_fate fate)
{
    struct mg_settlement answer = {.fate = fate, .commit_ts = START_TS + 100, .versions_trusted = true};
    return mg_settle_decide(c, &answer);
}

static void records_decide(void **state)
{
    struct mg_settle_case c = open_case();
    for (int doubtful = 0; doubtful <= 1; doubtful++) {
        c.doubtful = doubtful;
        assert_int_equal(decide(&c, MG_FATE_COMMITTED), MG_SETTLE_COMMITTED);
        assert_int_equal(decide(&c, MG_FATE_ROLLED_BACK), MG_SETTLE_GONE);
        assert_int_equal(decide(&c, MG_FATE_LOCKED), MG_SETTLE_WAIT);
        assert_int_equal(decide(&c, MG_FATE_UNKNOWN), MG_SETTLE_WAIT);
    }
}

static void neither_needs_r_or_a_dead_sender(void **state)
{
    struct mg_settle_case c = open_case();
    assert_int_equal(decide(&c, MG_FATE_ABSENT), MG_SETTLE_WAIT);
    c.doubtful = true;
    assert_int_equal(decide(&c, MG_FATE_ABSENT), MG_SETTLE_GONE);
    c.doubtful = false;
    c.peer_start_ms = BEGAN_MS - 60000; /* the sender itself */
    assert_int_equal(decide(&c, MG_FATE_ABSENT), MG_SETTLE_WAIT);
    c.peer_start_ms = BEGAN_MS + 1000; /* a later process */
    assert_int_equal(decide(&c, MG_FATE_ABSENT), MG_SETTLE_GONE);
}

static void a_process_of_the_same_second_needs_time(void **state)
{
    struct mg_settle_case c = open_case();
    c.peer_start_ms = BEGAN_MS;
    assert_false(mg_settle_sender_dead(&c));
    c.open_ms = MG_SETTLE_LONG_MS;
    assert_true(mg_settle_sender_dead(&c));
    c.peer_start_ms = BEGAN_MS - MG_SETTLE_NEAR_MS - 1; /* well before: it is the sender, and slow */
    assert_false(mg_settle_sender_dead(&c));
    c.peer_start_ms = 0; /* nobody answers */
    assert_false(mg_settle_sender_dead(&c));
}

static void what_the_store_may_have_forgotten_is_lost(void **state)
{
    struct mg_settle_case c = open_case();
    struct mg_settlement answer = {.fate = MG_FATE_ABSENT, .versions_trusted = true};
    c.doubtful = true;
    c.age_ms = MG_SETTLE_FORGETS_MS;
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_LOST);
    answer.older_kept = true;
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_GONE);
}

static void a_store_that_mixes_up_owners_is_not_believed(void **state)
{
    struct mg_settle_case c = open_case();
    struct mg_settlement answer = {.fate = MG_FATE_ABSENT, .versions_trusted = false, .any_version = true};
    c.peer_start_ms = BEGAN_MS + 1000;
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_LOST);
    answer.any_version = false; /* nothing is there at all */
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_GONE);
    c.peer_start_ms = BEGAN_MS - 60000; /* its process still runs: it knows */
    c.doubtful = true;
    answer.any_version = true;
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_GONE);
}

static void a_commit_below_its_floor_is_none_of_its_own(void **state)
{
    struct mg_settle_case c = open_case();
    struct mg_settlement answer = {.fate = MG_FATE_COMMITTED, .commit_ts = c.floor_ts, .versions_trusted = true};
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_LOST);
    answer.commit_ts++;
    assert_int_equal(mg_settle_decide(&c, &answer), MG_SETTLE_COMMITTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_decide),
        cmocka_unit_test(neither_needs_r_or_a_dead_sender),
        cmocka_unit_test(a_process_of_the_same_second_needs_time),
        cmocka_unit_test(what_the_store_may_have_forgotten_is_lost),
        cmocka_unit_test(a_store_that_mixes_up_owners_is_not_believed),
        cmocka_unit_test(a_commit_below_its_floor_is_none_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
