/* buffer_log_test.c -- is an ack worth what it says, also when the disk lies, tears, fills up or fails?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io_fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "syncer/buffer/buffer_internal.h"

static const char FOLDER[] = "buffer";

static struct mg_buffer_log_options options_on(struct mg_io *io)
{
    return (struct mg_buffer_log_options){
        .folder = FOLDER, .io = io, .store_id = 77, .segment_bytes = 1 << 16, .limit_bytes = 1 << 30};
}

static struct mg_buffer_log *open_on(const struct mg_buffer_log_options *options)
{
    struct mg_buffer_log *log = NULL;
    struct mg_error err = MG_ERROR_INIT;
    if (mg_buffer_log_open(options, &log, &err) != MG_OK)
        fail_msg("%s", err.text);
    return log;
}

/* What `done` said of one record. */
struct ack {
    struct mg_mutex lock;
    struct mg_cond answered;
    bool there;
    enum mg_code code;
    uint64_t seq;
    char text[MG_ERROR_TEXT_MAX];
};

static void ack_init(struct ack *ack)
{
    *ack = (struct ack){.code = MG_OK};
    mg_mutex_init(&ack->lock, MG_RANK_LEAF, "test");
    mg_cond_init(&ack->answered);
}

static void ack_clear(struct ack *ack)
{
    mg_cond_destroy(&ack->answered);
    mg_mutex_destroy(&ack->lock);
}

static void note_ack(void *arg, enum mg_code code, uint64_t seq, const char *text)
{
    struct ack *ack = arg;
    mg_mutex_lock(&ack->lock);
    ack->there = true;
    ack->code = code;
    ack->seq = seq;
    snprintf(ack->text, sizeof ack->text, "%s", text ? text : "");
    mg_cond_signal(&ack->answered);
    mg_mutex_unlock(&ack->lock);
}

static bool ack_wait(struct ack *ack, int64_t timeout_ms)
{
    mg_mutex_lock(&ack->lock);
    while (!ack->there && mg_cond_wait_ms(&ack->answered, &ack->lock, timeout_ms))
        continue;
    bool there = ack->there;
    mg_mutex_unlock(&ack->lock);
    return there;
}

/* Put one record and wait for its ack. */
static enum mg_code put_text(struct mg_buffer_log *log, const char *text, uint64_t *out_seq)
{
    struct ack ack;
    ack_init(&ack);
    enum mg_code code = mg_buffer_log_put(log, mg_slice_text(text), note_ack, &ack, NULL);
    if (code == MG_OK) {
        assert_true(ack_wait(&ack, 10000));
        code = ack.code;
        if (out_seq)
            *out_seq = ack.seq;
    }
    ack_clear(&ack);
    return code;
}

/* Read all from seq on: as many as expected, with these texts. */
static void expect_texts(struct mg_buffer_log *log, uint64_t seq, const char *const *texts, size_t count)
{
    struct mg_buffer_cursor *cursor = NULL;
    struct mg_record record;
    assert_int_equal(mg_buffer_cursor_open(log, seq, &cursor, NULL), MG_OK);
    for (size_t i = 0; i < count; i++) {
        struct mg_error err = MG_ERROR_INIT;
        if (mg_buffer_cursor_next(cursor, &record, &err) != MG_OK)
            fail_msg("record %zu: %s", i, err.text);
        assert_true(mg_slice_equal(record.payload, mg_slice_text(texts[i])));
    }
    assert_int_equal(mg_buffer_cursor_next(cursor, &record, NULL), MG_NOT_FOUND);
    mg_buffer_cursor_close(cursor);
}

static void gives_back_what_was_acked(void **state)
{
    struct mg_io_fault *fault = mg_io_fault_new(1);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    struct mg_buffer_log *log = open_on(&options);
    const char *const texts[] = {"one", "", "three", "four"};
    uint64_t seqs[4];
    mg_buffer_log_know(log, 10);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(put_text(log, texts[i], &seqs[i]), MG_OK);
        assert_true(i == 0 || seqs[i] > seqs[i - 1]);
        mg_buffer_log_know(log, 20 + i);
        mg_buffer_log_know(log, 15); /* does not fall */
    }
    expect_texts(log, 0, texts, 4);
    expect_texts(log, seqs[2], texts + 2, 2);
    expect_texts(log, seqs[3] + 1, NULL, 0);

    struct mg_buffer_cursor *cursor;
    struct mg_record record;
    assert_int_equal(mg_buffer_log_find(log, seqs[2], &cursor, &record, NULL), MG_OK);
    assert_true(mg_slice_equal(record.payload, mg_slice_text("three")));
    assert_int_equal(record.known_ts, 21);
    assert_int_equal(record.ordinal, 3);
    mg_buffer_cursor_close(cursor);
    mg_buffer_log_close(log);

    log = open_on(&options);
    expect_texts(log, 0, texts, 4);
    assert_int_equal(mg_buffer_log_known(log), 22);
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(log, &stats);
    assert_int_equal(stats.last_seq, seqs[3]);
    assert_int_equal(stats.last_ordinal, 4);
    assert_int_equal(mg_buffer_log_wait(log, seqs[2], 0), seqs[3]);
    assert_int_equal(mg_buffer_log_wait(log, seqs[3], 1), seqs[3]);
    mg_buffer_log_close(log);

    options.store_id = 78;
    struct mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_buffer_log_open(&options, &log, &err), MG_CORRUPT);
    mg_io_fault_free(fault);
}

static void keeps_to_one_cluster(void **state)
{
    struct mg_io_fault *fault = mg_io_fault_new(1);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    struct mg_buffer_log *log = open_on(&options);
    assert_int_equal(mg_buffer_log_cluster_id(log), 0);
    assert_int_equal(mg_buffer_log_bind(log, 7, NULL), MG_OK);
    assert_int_equal(mg_buffer_log_bind(log, 7, NULL), MG_OK);
    assert_int_equal(mg_buffer_log_bind(log, 8, NULL), MG_INVALID);
    assert_int_equal(put_text(log, "x", NULL), MG_OK);
    mg_io_fault_crash(fault, MG_LOSE_ALL);
    mg_buffer_log_close(log);

    log = open_on(&options);
    assert_int_equal(mg_buffer_log_cluster_id(log), 7);
    assert_int_equal(mg_buffer_log_bind(log, 8, NULL), MG_INVALID);
    mg_buffer_log_close(log);
    mg_io_fault_free(fault);
}

/* A writer that puts, waits for the ack, and puts again. */
struct writer {
    struct mg_thread thread;
    struct mg_buffer_log *log;
    int id, count, acked;
};

static void writer_main(void *arg)
{
    struct writer *writer = arg;
    for (int i = 0; i < writer->count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%d/%d", writer->id, i);
        if (put_text(writer->log, text, NULL) != MG_OK)
            return;
        writer->acked++;
    }
}

enum { WRITERS = 32 };

static void run_writers(struct mg_buffer_log *log, struct writer *writers, int count)
{
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.log = log, .id = i, .count = count};
        assert_int_equal(mg_thread_start(&writers[i].thread, "writer", writer_main, &writers[i], NULL), MG_OK);
    }
    for (int i = 0; i < WRITERS; i++)
        mg_thread_join(&writers[i].thread);
}

/* Every acked record of every writer is there, in the writer's order. */
static void expect_acked(struct mg_buffer_log *log, const struct writer *writers)
{
    int next[WRITERS] = {0};
    struct mg_buffer_cursor *cursor = NULL;
    struct mg_record record;
    enum mg_code code;
    uint64_t ordinal = 0;
    assert_int_equal(mg_buffer_cursor_open(log, 0, &cursor, NULL), MG_OK);
    while ((code = mg_buffer_cursor_next(cursor, &record, NULL)) == MG_OK) {
        char text[32];
        int id, number;
        snprintf(text, sizeof text, "%.*s", (int)record.payload.size, (const char *)record.payload.data);
        assert_int_equal(sscanf(text, "%d/%d", &id, &number), 2);
        assert_int_equal(number, next[id]++);
        assert_int_equal(record.ordinal, ++ordinal);
    }
    assert_int_equal(code, MG_NOT_FOUND);
    mg_buffer_cursor_close(cursor);
    for (int i = 0; i < WRITERS; i++)
        assert_true(next[i] >= writers[i].acked);
}

static void many_writers_share_a_sync(void **state)
{
    char folder[] = "/tmp/magic-buffer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct mg_buffer_log_options options = options_on(NULL);
    options.folder = folder;
    options.segment_bytes = 0;
    struct mg_buffer_log *log = open_on(&options);
    struct writer writers[WRITERS];
    run_writers(log, writers, 100);
    expect_acked(log, writers);
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(log, &stats);
    double per_sync = WRITERS * 100.0 / (double)stats.syncs;
    print_message("%d writers: %.1f records per sync\n", WRITERS, per_sync);
    assert_true(per_sync >= 8);
    mg_buffer_log_close(log);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

static void a_torn_tail_costs_nothing_that_was_acked(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct mg_io_fault *fault = mg_io_fault_new(seed);
        struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
        struct mg_buffer_log *log = open_on(&options);
        struct writer writers[WRITERS];
        /* The disk dies somewhere in the middle, and comes back with some of what was not synced. */
        mg_io_fault_fail(fault, MG_FAULT_SYNC, 5 + seed, EIO, true);
        run_writers(log, writers, 20);
        mg_io_fault_crash(fault, MG_LOSE_SOME);
        mg_buffer_log_close(log);
        log = open_on(&options);
        expect_acked(log, writers);
        assert_int_equal(put_text(log, "0/9", NULL), MG_OK); /* it goes on */
        mg_buffer_log_close(log);
        mg_io_fault_free(fault);
    }
}

static void a_failed_sync_fails_every_record_waiting_and_later(void **state)
{
    struct mg_io_fault *fault = mg_io_fault_new(3);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    struct mg_buffer_log *log = open_on(&options);
    assert_int_equal(put_text(log, "good", NULL), MG_OK);
    mg_io_fault_fail(fault, MG_FAULT_SYNC, 1, EIO, false);
    struct ack acks[10];
    for (int i = 0; i < 10; i++) {
        ack_init(&acks[i]);
        enum mg_code code = mg_buffer_log_put(log, mg_slice_text("bad"), note_ack, &acks[i], NULL);
        if (code == MG_OK) {
            assert_true(ack_wait(&acks[i], 10000));
            assert_int_not_equal(acks[i].code, MG_OK);
        } else {
            assert_int_equal(code, MG_STOPPED);
        }
        ack_clear(&acks[i]);
    }
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(log, &stats);
    assert_true(stats.stopped);
    assert_true(strlen(stats.reason) > 0);
    assert_int_equal(mg_buffer_log_trim(log, 1, NULL), MG_STOPPED);
    const char *const texts[] = {"good"};
    expect_texts(log, 0, texts, 1); /* readers go on */
    mg_buffer_log_close(log);
    mg_io_fault_free(fault);
}

/* Fill until a record is not acked any more; its ack is left in *out. */
static int fill(struct mg_buffer_log *log, struct mg_slice payload, struct ack *out)
{
    for (int i = 0;; i++) {
        ack_init(out);
        assert_int_equal(mg_buffer_log_put(log, payload, note_ack, out, NULL), MG_OK);
        if (!ack_wait(out, 400))
            return i;
        assert_int_equal(out->code, MG_OK);
        ack_clear(out);
        assert_true(i < 1000);
    }
}

static void records_wait_for_room(struct mg_io_fault *fault, struct mg_buffer_log *log, struct mg_slice payload)
{
    struct ack ack;
    int filled = fill(log, payload, &ack);
    assert_in_range(filled, 5, 60);
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(log, &stats);
    assert_true(stats.full);
    assert_false(stats.stopped);
    assert_int_equal(stats.queued_records, 1);

    /* The first half was applied: there is room, and the record is acked. */
    struct mg_buffer_cursor *cursor = NULL;
    struct mg_record record = {0};
    assert_int_equal(mg_buffer_cursor_open(log, 0, &cursor, NULL), MG_OK);
    for (int i = 0; i < filled * 3 / 4; i++)
        assert_int_equal(mg_buffer_cursor_next(cursor, &record, NULL), MG_OK);
    mg_buffer_cursor_close(cursor);
    assert_int_equal(mg_buffer_log_trim(log, record.seq, NULL), MG_OK);
    assert_true(ack_wait(&ack, 10000));
    assert_int_equal(ack.code, MG_OK);
    ack_clear(&ack);
    mg_buffer_log_stats(log, &stats);
    assert_true(stats.first_seq <= record.seq);
    assert_true(stats.first_seq > mg_buffer__seq(1, 0));
    assert_int_equal(mg_buffer_cursor_open(log, mg_buffer__seq(1, 0), &cursor, NULL), MG_NOT_FOUND);

    /* Closing without room answers what waits. */
    fill(log, payload, &ack);
    mg_buffer_log_stop_intake(log);
    assert_true(ack_wait(&ack, 10000));
    assert_int_equal(ack.code, MG_CLOSED);
    ack_clear(&ack);
    assert_int_equal(put_text(log, "late", NULL), MG_CLOSED);
}

static void the_limit_and_a_full_disk_make_records_wait(void **state)
{
    static uint8_t payload[20000];
    for (int full_disk = 0; full_disk <= 1; full_disk++) {
        struct mg_io_fault *fault = mg_io_fault_new(4);
        struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
        if (full_disk)
            mg_io_fault_set_capacity(fault, 5 << 16);
        else
            options.limit_bytes = 5 << 16;
        struct mg_buffer_log *log = open_on(&options);
        records_wait_for_room(fault, log, MG_SLICE(payload, sizeof payload));
        mg_buffer_log_close(log);
        mg_io_fault_free(fault);
    }
}

static void a_record_above_the_limit_passes(void **state)
{
    struct mg_io_fault *fault = mg_io_fault_new(5);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    options.limit_bytes = 1;
    options.record_max = 1 << 20;
    struct mg_buffer_log *log = open_on(&options);
    size_t size = 1 << 20;
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = 0;
    uint64_t seq = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(put_text(log, text, &seq), MG_OK);
        assert_int_equal(mg_buffer_log_trim(log, seq + 1, NULL), MG_OK);
    }
    text[size - 1] = 'y';
    assert_int_equal(put_text(log, text, &seq), MG_OK);
    struct mg_slice too_big = {(const uint8_t *)text, size + 1};
    assert_int_equal(mg_buffer_log_put(log, too_big, note_ack, NULL, NULL), MG_TOO_BIG);
    free(text);
    mg_buffer_log_close(log);
    mg_io_fault_free(fault);
}

static void a_full_queue_is_busy(void **state)
{
    static uint8_t payload[30000];
    struct mg_io_fault *fault = mg_io_fault_new(6);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    options.limit_bytes = 2 << 16;
    options.queue_max = 100000;
    struct mg_buffer_log *log = open_on(&options);
    struct ack ack, more[8];
    fill(log, MG_SLICE(payload, sizeof payload), &ack);
    int queued = 0;
    for (; queued < 8; queued++) {
        ack_init(&more[queued]);
        if (mg_buffer_log_put(log, MG_SLICE(payload, sizeof payload), note_ack, &more[queued], NULL) != MG_OK)
            break;
    }
    assert_int_equal(queued, 2);
    assert_int_equal(mg_buffer_log_put(log, MG_SLICE(payload, sizeof payload), note_ack, &more[2], NULL), MG_BUSY);
    ack_clear(&more[2]);
    mg_buffer_log_close(log); /* answers them */
    assert_int_equal(ack.code, MG_CLOSED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(more[i].code, MG_CLOSED);
        ack_clear(&more[i]);
    }
    ack_clear(&ack);
    mg_io_fault_free(fault);
}

/* Every call to the disk fails once, one after the other: what was acked before is there after a power cut. */
static void no_failing_call_loses_an_ack(void **state)
{
    for (uint64_t nth = 1;; nth++) {
        struct mg_io_fault *fault = mg_io_fault_new(nth);
        struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
        options.segment_bytes = 4096;
        mg_io_fault_fail(fault, MG_FAULT_ANY, nth, EIO, false);
        struct mg_buffer_log *log = NULL;
        struct mg_error err = MG_ERROR_INIT;
        char text[600];
        int acked = 0;
        if (mg_buffer_log_open(&options, &log, &err) == MG_OK) {
            assert_int_equal(mg_buffer_log_bind(log, 5, &err), MG_OK);
            for (int i = 0; i < 20; i++) {
                snprintf(text, sizeof text, "%d%*d", i, 500, 0);
                if (put_text(log, text, NULL) != MG_OK)
                    break;
                acked++;
            }
        }
        bool over = mg_io_fault_calls(fault, MG_FAULT_ANY) < nth;
        mg_io_fault_crash(fault, MG_LOSE_SOME);
        mg_buffer_log_close(log);
        log = open_on(&options);
        struct mg_buffer_log_stats stats;
        mg_buffer_log_stats(log, &stats);
        assert_true(stats.last_ordinal >= (uint64_t)acked);
        mg_buffer_log_close(log);
        mg_io_fault_free(fault);
        if (over) {
            print_message("%llu calls, each failed once\n", (unsigned long long)nth - 1);
            assert_int_equal(acked, 20);
            return;
        }
    }
}

/* A record longer than held_max comes as a span, whole and checked, whatever was trimmed meanwhile. */
static void long_records_are_read_in_pieces(void **state)
{
    struct mg_io_fault *fault = mg_io_fault_new(1);
    struct mg_buffer_log_options options = options_on(mg_io_fault_io(fault));
    struct mg_budget budget;
    char texts[4][3000];
    uint64_t seqs[4];
    mg_budget_init(&budget, "buffer", NULL, SIZE_MAX);
    options.held_max = 1000;
    options.budget = &budget;
    options.segment_bytes = 4096;
    struct mg_buffer_log *log = open_on(&options);
    for (int i = 0; i < 4; i++) {
        memset(texts[i], 'a' + i, sizeof texts[i]);
        texts[i][i % 2 ? 100 : sizeof texts[i] - 1] = 0;
        assert_int_equal(put_text(log, texts[i], &seqs[i]), MG_OK);
    }
    for (int again = 0; again < 2; again++) {
        struct mg_buffer_cursor *cursor;
        struct mg_span_reader reader = {.rest = {.size = 0}};
        struct mg_record record;
        struct mg_slice bytes = MG_SLICE(NULL, 0);
        assert_int_equal(mg_buffer_cursor_open(log, 0, &cursor, NULL), MG_OK);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(mg_buffer_cursor_next(cursor, &record, NULL), MG_OK);
            assert_int_equal(record.seq, seqs[i]);
            assert_int_equal(record.ordinal, i + 1);
            assert_int_equal(record.payload.data == NULL, i % 2 == 0);
            assert_int_equal(record.payload.size, strlen(texts[i]));
            if (again && i == 2)
                assert_int_equal(mg_buffer_log_trim(log, seqs[3], NULL), MG_OK);
            struct mg_span payload = mg_buffer_cursor_payload(cursor, &record);
            mg_span_reader_turn(&reader, &payload);
            assert_int_equal(mg_span_reader_take(&reader, payload.size, &bytes, NULL), MG_OK);
            assert_true(mg_slice_equal(bytes, mg_slice_text(texts[i])));
        }
        assert_int_equal(mg_buffer_cursor_next(cursor, &record, NULL), MG_NOT_FOUND);
        assert_true(mg_budget_used(&budget) > 0);
        mg_span_reader_clear(&reader);
        mg_buffer_cursor_close(cursor);
        assert_int_equal(mg_budget_used(&budget), 0);
        if (!again) {
            mg_buffer_log_close(log);
            log = open_on(&options);
        }
    }
    mg_buffer_log_close(log);
    mg_io_fault_free(fault);
}

int main(void)
{
    mg_log_set_level(MG_LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_acked),
        cmocka_unit_test(keeps_to_one_cluster),
        cmocka_unit_test(many_writers_share_a_sync),
        cmocka_unit_test(a_torn_tail_costs_nothing_that_was_acked),
        cmocka_unit_test(a_failed_sync_fails_every_record_waiting_and_later),
        cmocka_unit_test(the_limit_and_a_full_disk_make_records_wait),
        cmocka_unit_test(a_record_above_the_limit_passes),
        cmocka_unit_test(a_full_queue_is_busy),
        cmocka_unit_test(no_failing_call_loses_an_ack),
        cmocka_unit_test(long_records_are_read_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
