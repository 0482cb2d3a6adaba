/* settlement_test.c -- are the status port's answers read right? The answers were recorded from TiDB 7.5.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "syncer/source/source_internal.h"

#define HEAD "{\"key\": \"7480000000000000665F728000000000000001\", \"region_id\": 114, \"value\": {\"info\": {"

/* Two updates; between them an optimistic transaction that lost against the second one. */
static const char committed[] = HEAD
    "\"writes\": [{\"start_ts\": 470616311608115200, \"commit_ts\": 470616311608377344, \"short_value\": "
    "\"gAACAAAAAgMBAAIAC3g=\"},"
    "{\"type\": 3, \"start_ts\": 470616311476781056, \"commit_ts\": 470616311476781056},"
    "{\"start_ts\": 470616305665835009, \"commit_ts\": 470616305665835010, \"short_value\": \"gAACAAAAAgMBAAIABXg=\"}],"
    "\"values\": [{\"start_ts\": 470616311608115200, \"value\": \"gAACAAAAAgMBAAIAC3g=\"}, {\"start_ts\": "
    "470616311476781056}]}}}";
static const char deleted[] = HEAD
    "\"writes\": [{\"type\": 1, \"start_ts\": 470616305666097152, \"commit_ts\": 470616305666097153}]}}}";
/* A pessimistic transaction holds the row. */
static const char locked[] = HEAD
    "\"lock\": {\"type\": 5, \"start_ts\": 470616310665445376, \"primary\": \"dIAAAAAAAABmX3KAAAAAAAAAAQ==\"},"
    "\"writes\": [{\"start_ts\": 470616305665835009, \"commit_ts\": 470616305665835010}]}}}";
static const char absent[] = HEAD "}}}";

static struct mg_settlement read_answer(const char *json, uint64_t start_ts)
{
    struct mg_settlement settlement;
    struct mg_error err = MG_ERROR_INIT;
    if (mg_settlement__read(mg_slice_text(json), start_ts, &settlement, &err) != MG_OK)
        fail_msg("%s", err.text);
    return settlement;
}

static void a_write_record_decides(void **state)
{
    struct mg_settlement s = read_answer(committed, 470616311608115200);
    assert_int_equal(s.fate, MG_FATE_COMMITTED);
    assert_int_equal(s.commit_ts, 470616311608377344);
    s = read_answer(committed, 470616305665835009);
    assert_int_equal(s.fate, MG_FATE_COMMITTED);
    assert_int_equal(s.commit_ts, 470616305665835010);
    assert_int_equal(read_answer(committed, 470616311476781056).fate, MG_FATE_ROLLED_BACK);
    assert_int_equal(read_answer(deleted, 470616305666097152).fate, MG_FATE_COMMITTED);
}

static void a_lock_is_under_way_if_it_is_ours(void **state)
{
    assert_int_equal(read_answer(locked, 470616310665445376).fate, MG_FATE_LOCKED);
    assert_int_equal(read_answer(locked, 470616310665445377).fate, MG_FATE_ABSENT);
    assert_int_equal(read_answer(locked, 470616305665835009).fate, MG_FATE_COMMITTED);
}

static void absence_says_what_it_rests_on(void **state)
{
    struct mg_settlement s = read_answer(absent, 470616311608115200);
    assert_int_equal(s.fate, MG_FATE_ABSENT);
    assert_false(s.any_version);
    assert_false(s.older_kept);
    s = read_answer(committed, 470616311700000000); /* all versions are older */
    assert_int_equal(s.fate, MG_FATE_ABSENT);
    assert_true(s.any_version);
    assert_true(s.older_kept);
    s = read_answer(committed, 470616300000000000); /* all are newer */
    assert_true(s.any_version);
    assert_false(s.older_kept);
}

static void other_answers_are_none(void **state)
{
    static const char *const answers[] = {
        "",
        "[]",
        "404 page not found",
        "{\"key\": \"74\"}",
        "{\"value\": {}}",
        "{\"value\": {\"info\": 5}}",
        "{\"value\": {\"error\": \"gone\", \"info\": {}}}",
        "{\"value\": {\"region_error\": {}, \"info\": {}}}",
        HEAD "\"writes\": [{\"start_ts\": 1",
    };
    for (size_t i = 0; i < MG_COUNT_OF(answers); i++) {
        struct mg_settlement settlement;
        assert_int_equal(mg_settlement__read(mg_slice_text(answers[i]), 1, &settlement, NULL), MG_PROTOCOL);
    }
}

static void paths_are_in_hex(void **state)
{
    struct mg_buffer path;
    mg_buffer_init(&path, 1000);
    assert_int_equal(mg_settlement__path(MG_SLICE("t\x80\x00\xff", 4), &path, NULL), MG_OK);
    assert_string_equal((const char *)path.data, "/mvcc/hex/748000ff");
    mg_buffer_clear(&path);
}

static void info_and_settings(void **state)
{
    static const char info[] =
        "{\"is_owner\": true, \"version\": \"8.0.11-TiDB-v7.5.5\", \"binlog_status\": \"Skipping\", "
        "\"start_timestamp\": 1795258713, \"labels\": {}}";
    struct mg_source_health health = {.peer_connected = true};
    assert_int_equal(mg_settlement__read_info(mg_slice_text(info), &health, NULL), MG_OK);
    assert_string_equal(health.binlog_status, "Skipping");
    assert_int_equal(health.peer_start_time, 1795258713);
    assert_true(health.peer_connected);
    assert_int_equal(mg_settlement__read_info(mg_slice_text("{}"), &health, NULL), MG_PROTOCOL);

    bool trusted = true;
    assert_int_equal(mg_settlement__read_store(mg_slice_text("{\"store\": \"unistore\"}"), &trusted, NULL), MG_OK);
    assert_false(trusted);
    assert_int_equal(mg_settlement__read_store(mg_slice_text("{\"store\": \"tikv\"}"), &trusted, NULL), MG_OK);
    assert_true(trusted);
    assert_int_equal(mg_settlement__read_store(mg_slice_text("{}"), &trusted, NULL), MG_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_record_decides),
        cmocka_unit_test(a_lock_is_under_way_if_it_is_ours),
        cmocka_unit_test(absence_says_what_it_rests_on),
        cmocka_unit_test(other_answers_are_none),
        cmocka_unit_test(paths_are_in_hex),
        cmocka_unit_test(info_and_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
