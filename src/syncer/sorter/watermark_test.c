/* watermark_test.c -- the arithmetic of W by example; every interleaving is the business of
 * tests/model/watermark_check.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "syncer/sorter/watermark.h"

static struct mg_watermark *w;
static uint64_t seq;

static void begin(uint64_t published)
{
    seq = 0;
    assert_int_equal(mg_watermark_new(published, 1, &w, NULL), MG_OK);
}

static enum mg_watermark_verdict prewrite(uint64_t start_ts, uint64_t known_ts)
{
    struct mg_watermark_record record = {.seq = ++seq, .known_ts = known_ts, .start_ts = start_ts};
    enum mg_watermark_verdict verdict;
    assert_int_equal(mg_watermark_prewrite(w, &record, &verdict, NULL), MG_OK);
    return verdict;
}
static enum mg_code commit(uint64_t start_ts, uint64_t commit_ts, uint64_t known_ts, enum mg_watermark_verdict *out)
{
    struct mg_watermark_record record = {
        .seq = ++seq, .known_ts = known_ts, .start_ts = start_ts, .commit_ts = commit_ts};
    return mg_watermark_commit(w, &record, out, NULL);
}
static enum mg_watermark_verdict rollback(uint64_t start_ts, uint64_t known_ts)
{
    struct mg_watermark_record record = {.seq = ++seq, .known_ts = known_ts, .start_ts = start_ts};
    enum mg_watermark_verdict verdict;
    assert_int_equal(mg_watermark_rollback(w, &record, &verdict, NULL), MG_OK);
    return verdict;
}

static void open_prewrites_hold_the_watermark(void **state)
{
    enum mg_watermark_verdict verdict;

    begin(0);
    assert_int_equal(prewrite(10, 5), MG_VERDICT_NEW);
    assert_int_equal(prewrite(12, 11), MG_VERDICT_NEW);
    assert_int_equal(mg_watermark_take(w), 5); /* both may still commit, the first above 5 */
    assert_int_equal(commit(12, 20, 12, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_COMPLETE);
    assert_int_equal(mg_watermark_take(w), 5);
    assert_int_equal(mg_watermark_lowest_seq(w), 1);
    assert_int_equal(commit(10, 18, 20, &verdict), MG_OK);
    assert_int_equal(mg_watermark_take(w), 20);
    assert_true(mg_watermark_lowest_seq(w) == UINT64_MAX);
    mg_watermark_free(w);
}

static void a_rollback_is_settled_not_believed(void **state)
{
    enum mg_watermark_verdict verdict;
    struct mg_open_txn open;

    begin(0);
    prewrite(10, 9);
    assert_int_equal(rollback(10, 10), MG_VERDICT_DOUBTFUL);
    assert_int_equal(mg_watermark_take(w), 9);
    assert_int_equal(mg_watermark_open_txns(w, &open, 1), 1);
    assert_true(open.doubtful && open.start_ts == 10 && open.seq == 1);
    mg_watermark_settle_commit(w, 10, 14, &verdict); /* it was an undetermined commit */
    assert_int_equal(verdict, MG_VERDICT_COMPLETE);
    assert_int_equal(mg_watermark_take(w), 10);
    mg_watermark_know(w, 15, seq);
    assert_int_equal(mg_watermark_take(w), 15);
    mg_watermark_free(w);
}

static void repeated_records_are_known(void **state)
{
    enum mg_watermark_verdict verdict;

    begin(0);
    assert_int_equal(prewrite(10, 9), MG_VERDICT_NEW);
    assert_int_equal(prewrite(10, 10), MG_VERDICT_DUPLICATE);
    assert_int_equal(commit(10, 11, 10, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_COMPLETE);
    assert_int_equal(commit(10, 11, 11, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_DUPLICATE);
    assert_int_equal(prewrite(10, 11), MG_VERDICT_DUPLICATE);
    assert_int_equal(rollback(10, 11), MG_VERDICT_DUPLICATE);
    assert_int_equal(mg_watermark_take(w), 11);
    assert_int_equal(commit(7, 99, 11, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_ORPHAN);
    mg_watermark_free(w);
}

static void what_was_published_is_not_applied_again(void **state)
{
    enum mg_watermark_verdict verdict;

    begin(50);
    assert_int_equal(mg_watermark_take(w), 50);
    prewrite(10, 9);
    assert_int_equal(mg_watermark_take(w), 50);
    assert_int_equal(commit(10, 50, 10, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_APPLIED);
    prewrite(40, 50);
    assert_int_equal(commit(40, 51, 51, &verdict), MG_OK);
    assert_int_equal(verdict, MG_VERDICT_COMPLETE);
    mg_watermark_free(w);
}

static void what_must_not_be_stops_the_source(void **state)
{
    enum mg_watermark_verdict verdict;
    struct mg_error err = MG_ERROR_INIT;

    begin(0);
    prewrite(10, 9);
    mg_watermark_settle_gone(w, 10);
    mg_watermark_know(w, 30, seq);
    assert_int_equal(mg_watermark_take(w), 30);
    assert_int_equal(commit(10, 40, 30, &verdict), MG_SOURCE_STOPPED);
    prewrite(31, 30);
    struct mg_watermark_record late = {.seq = ++seq, .known_ts = 30, .start_ts = 31, .commit_ts = 29};
    assert_int_equal(mg_watermark_commit(w, &late, &verdict, &err), MG_SOURCE_STOPPED);
    assert_non_null(strstr(err.text, "start_ts 31 commits at 29"));
    mg_watermark_settle_commit(w, 31, 29,
                               &verdict); /* the store may say so (its timestamps are not always to be trusted) */
    assert_int_equal(verdict, MG_VERDICT_LATE);
    struct mg_watermark_record back = {.seq = seq, .known_ts = 30, .start_ts = 32};
    assert_int_equal(mg_watermark_prewrite(w, &back, &verdict, NULL), MG_CORRUPT);
    back = (struct mg_watermark_record){.seq = seq + 1, .known_ts = 29, .start_ts = 32};
    assert_int_equal(mg_watermark_prewrite(w, &back, &verdict, NULL), MG_CORRUPT);
    mg_watermark_free(w);
}

static void the_oracle_waits_for_the_records_before_it(void **state)
{
    begin(0);
    mg_watermark_know(w, 100, 2);
    assert_int_equal(mg_watermark_take(w), 0);
    prewrite(10, 9);
    assert_int_equal(mg_watermark_take(w), 9);
    struct mg_watermark_record probe = {.seq = ++seq, .known_ts = 10};
    assert_int_equal(mg_watermark_skip(w, &probe, NULL), MG_OK);
    assert_int_equal(mg_watermark_known(w), 100);
    assert_int_equal(mg_watermark_take(w), 9); /* the open one decides */
    mg_watermark_settle_gone(w, 10);
    assert_int_equal(mg_watermark_take(w), 100);
    prewrite(20, 15); /* queued before the buffer learned 100, acked after it was handed out */
    assert_int_equal(mg_watermark_take(w), 100);
    mg_watermark_free(w);
}

/* Many transactions, ended out of order: the list and the table keep pace with a plain array. */
static void many_transactions_are_followed(void **state)
{
    enum { COUNT = 300000, OPEN_MAX = 500 };
    static uint64_t open[OPEN_MAX], floors[OPEN_MAX];
    uint32_t open_count = 0;
    uint64_t tso = 1;
    struct mg_random random;
    enum mg_watermark_verdict verdict;

    mg_random_init(&random, 7);
    begin(0);
    for (int i = 0; i < COUNT; i++) {
        if (open_count < OPEN_MAX && mg_random_below(&random, 2)) {
            floors[open_count] = tso;
            open[open_count++] = ++tso;
            assert_int_equal(prewrite(tso, tso - 1), MG_VERDICT_NEW);
        } else if (open_count) {
            uint32_t at = (uint32_t)mg_random_below(&random, open_count);
            tso++;
            assert_int_equal(commit(open[at], tso, tso - 1, &verdict), MG_OK);
            assert_int_equal(verdict, MG_VERDICT_COMPLETE);
            open[at] = open[--open_count];
            floors[at] = floors[open_count];
        }
        if (i % 1000 == 999) {
            uint64_t least = tso;
            for (uint32_t k = 0; k < open_count; k++)
                least = MG_MIN(least, floors[k]);
            assert_int_equal(mg_watermark_take(w), least);
            assert_int_equal(mg_watermark_open_txns(w, NULL, 0), open_count);
        }
    }
    mg_watermark_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_prewrites_hold_the_watermark),
        cmocka_unit_test(a_rollback_is_settled_not_believed),
        cmocka_unit_test(repeated_records_are_known),
        cmocka_unit_test(what_was_published_is_not_applied_again),
        cmocka_unit_test(what_must_not_be_stops_the_source),
        cmocka_unit_test(the_oracle_waits_for_the_records_before_it),
        cmocka_unit_test(many_transactions_are_followed),
    };
    return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
