/* journal_test.c -- what was synced is there after any crash; what is damaged is named; what is torn is cut off.
 *
 * Most of it runs on the disk of io_fault.h. Record n has a size and bytes that follow from n alone, so that every
 * record read anywhere can be checked. `acked` is the highest sequence number that a sync returned.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/hash.h"
#include "base/io_fault.h"
#include "base/journal.h"
#include "base/lock.h"
#include "base/random.h"
#include "base/stop.h"
#include "base/testing.h"

enum { RECORD_MAX = 100000, SEGMENT = 16384, HEADER = 512, RECORD_HEADER = 32 };

static const struct mg_journal_options plain = {
    .folder = "d",
    .suffix = "wal",
    .magic = {'T', 'E', 'S', 'T', 'L', 'O', 'G', '\n'},
    .format_version = 3,
    .store_id = 0x1122334455667788,
    .segment_bytes = SEGMENT,
    .record_max = RECORD_MAX,
    .stop_prefix = "wal",
};

/* Repetitions of the random tests: the thread sanitizer has nothing to see in them and makes them slow. */
#ifdef __SANITIZE_THREAD__
enum { CRASH_SEEDS = 40, STOP_SEEDS = 2, TORN_STEP = 7 };
#else
enum { CRASH_SEEDS = 400, STOP_SEEDS = 8, TORN_STEP = 1 };
#endif

static struct mg_error err;

/* ---- records ------------------------------------------------------------------------------------------------- */

static size_t record_size(uint64_t seq)
{
    uint64_t h = mg_hash_u64(seq);
    return h % 8 == 0 ? 0 : h % 8 == 1 ? 3000 + h / 8 % 5000 : h / 8 % 1200;
}

/* Every seventh record is full of zeros but for its first byte, as padded columns are. */
static void fill_record(uint64_t seq, uint8_t *out, size_t size)
{
    struct mg_random random;
    mg_random_init(&random, seq);
    for (size_t i = 0; i < size; i++)
        out[i] = seq % 7 == 0 && i > 0 ? 0 : (uint8_t)(mg_random_u64(&random) | 1);
}

static enum mg_code append_sized(struct mg_journal *journal, uint64_t seq, size_t size, struct mg_error *error)
{
    static _Thread_local uint8_t bytes[RECORD_MAX];
    uint64_t got;
    fill_record(seq, bytes, size);
    struct iovec pieces[] = {{bytes, size / 3}, {NULL, 0}, {bytes + size / 3, size - size / 3}};
    MG_TRY(mg_journal_append(journal, pieces, MG_COUNT_OF(pieces), &got, error));
    mg_assert(got == seq);
    return MG_OK;
}

static enum mg_code append(struct mg_journal *journal, uint64_t seq, struct mg_error *error)
{
    return append_sized(journal, seq, record_size(seq), error);
}

static void append_many(struct mg_journal *journal, uint64_t first, uint64_t last, bool sync_each)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        assert_ok(append(journal, seq, &err));
        if (sync_each)
            assert_ok(mg_journal_sync(journal, NULL, &err));
    }
}

static void check_record(uint64_t seq, struct mg_slice got)
{
    static _Thread_local uint8_t bytes[RECORD_MAX];
    fill_record(seq, bytes, got.size);
    assert_memory_equal(got.data, bytes, got.size);
}

/* Reads all that is kept: dense, right, and up to mg_journal_last. */
static void check_contents(struct mg_journal *journal)
{
    MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *cursor = NULL;
    uint64_t seq = mg_journal_first(journal), last = mg_journal_last(journal), got;
    struct mg_slice bytes;
    assert_ok(mg_journal_cursor_open(journal, seq, &cursor, &err));
    for (; seq <= last; seq++) {
        assert_ok(mg_journal_cursor_next(cursor, &got, &bytes, &err));
        assert_int_equal(got, seq);
        assert_int_equal(bytes.size, record_size(seq));
        check_record(seq, bytes);
    }
    assert_code(MG_NOT_FOUND, mg_journal_cursor_next(cursor, &got, &bytes, &err));
}

/* ---- a disk with a journal ----------------------------------------------------------------------------------- */

static struct mg_io_fault *new_disk(uint64_t seed)
{
    struct mg_io_fault *fault = mg_io_fault_new(seed);
    assert_ok(mg_io_make_folders(mg_io_fault_io(fault), "d", &err));
    return fault;
}

static struct mg_journal *open_journal(struct mg_io_fault *fault)
{
    struct mg_journal *journal;
    assert_ok(mg_journal_open(mg_io_fault_io(fault), &plain, &journal, &err));
    return journal;
}

static enum mg_code try_open(struct mg_io_fault *fault, struct mg_journal **out)
{
    return mg_journal_open(mg_io_fault_io(fault), &plain, out, &err);
}

static const char *segment_path(uint64_t first_seq)
{
    static char path[64];
    snprintf(path, sizeof path, "d/%016llx.wal", (unsigned long long)first_seq);
    return path;
}

/* ---- plain use ----------------------------------------------------------------------------------------------- */

static void test_round_trip(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    uint64_t seq = 99;
    assert_int_equal(mg_journal_first(journal), 1);
    assert_int_equal(mg_journal_last(journal), 0);
    assert_int_equal(mg_journal_bytes(journal), SEGMENT);
    assert_ok(mg_journal_sync(journal, &seq, &err));
    assert_int_equal(seq, 0);
    assert_int_equal(mg_journal_syncs(journal), 0); /* there was nothing to sync */
    append_many(journal, 1, 3, false);
    assert_int_equal(mg_journal_last(journal), 0);
    check_contents(journal); /* nothing yet */
    assert_ok(mg_journal_sync(journal, &seq, &err));
    assert_int_equal(seq, 3);
    assert_int_equal(mg_journal_syncs(journal), 1);
    check_contents(journal);
    append_many(journal, 4, 100, false);
    assert_ok(mg_journal_sync(journal, &seq, &err));
    check_contents(journal);
    uint64_t bytes = mg_journal_bytes(journal);
    assert_true(bytes > 4 * SEGMENT);
    mg_journal_closep(&journal);
    mg_journal_closep(&journal);
    for (int i = 0; i < 3; i++) {
        journal = open_journal(fault);
        assert_int_equal(mg_journal_last(journal), 100 + i);
        assert_int_equal(mg_journal_bytes(journal), bytes);
        append_many(journal, 101 + (uint64_t)i, 101 + (uint64_t)i, true);
        check_contents(journal);
        bytes = mg_journal_bytes(journal);
        mg_journal_close(journal);
    }
    mg_io_fault_free(fault);
}

static void test_cursor_from_the_middle(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    append_many(journal, 1, 60, true);
    for (uint64_t from = 1; from <= 61; from++) {
        struct mg_journal_cursor *cursor;
        struct mg_slice bytes;
        uint64_t got;
        assert_ok(mg_journal_cursor_open(journal, from, &cursor, &err));
        enum mg_code code = mg_journal_cursor_next(cursor, &got, &bytes, &err);
        assert_int_equal(code, from <= 60 ? MG_OK : MG_NOT_FOUND);
        if (code == MG_OK) {
            assert_int_equal(got, from);
            check_record(from, bytes);
        }
        mg_journal_cursor_close(cursor);
    }
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

static void test_large_records(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    static const size_t sizes[] = {
        50000, 10, SEGMENT - HEADER - RECORD_HEADER, SEGMENT - HEADER - RECORD_HEADER + 1, RECORD_MAX, 0, RECORD_MAX};
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++)
        assert_ok(append_sized(journal, i + 1, sizes[i], &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    uint64_t bytes = mg_journal_bytes(journal);
    for (int again = 0; again < 2; again++) {
        MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *cursor = NULL;
        struct mg_slice got;
        uint64_t seq;
        assert_ok(mg_journal_cursor_open(journal, 1, &cursor, &err));
        for (size_t i = 0; i < MG_COUNT_OF(sizes); i++) {
            assert_ok(mg_journal_cursor_next(cursor, &seq, &got, &err));
            assert_int_equal(got.size, sizes[i]);
            check_record(seq, got);
        }
        mg_journal_cursor_closep(&cursor);
        mg_journal_close(journal);
        journal = open_journal(fault);
        assert_int_equal(mg_journal_bytes(journal), bytes);
    }
    uint8_t byte = 1;
    struct iovec too_big[] = {{&byte, 1}, {&byte, RECORD_MAX}};
    assert_code(MG_TOO_BIG, mg_journal_append(journal, too_big, 2, NULL, &err));
    too_big[1].iov_len = SIZE_MAX;
    assert_code(MG_TOO_BIG, mg_journal_append(journal, too_big, 2, NULL, &err));
    assert_ok(append(journal, MG_COUNT_OF(sizes) + 1, &err));
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

/* The bytes of a record that is not held, in pieces. */
static void check_in_pieces(struct mg_journal_cursor *cursor, uint64_t seq, size_t size)
{
    static uint8_t bytes[RECORD_MAX];
    for (size_t at = 0, piece = 1; at < size; at += piece, piece = piece * 3 + 1) {
        piece = MG_MIN(piece, size - at);
        assert_ok(mg_journal_cursor_read(cursor, at, piece, bytes + at, &err));
    }
    check_record(seq, MG_SLICE(bytes, size));
}

static void test_records_that_are_not_held(void **state)
{
    static const size_t sizes[] = {100, RECORD_MAX, 0, 5000, 5001, 80000, 3};
    struct mg_io_fault *fault = new_disk(8);
    struct mg_io *io = mg_io_fault_io(fault);
    struct mg_journal_options options = plain;
    struct mg_journal_cursor *cursor;
    struct mg_journal *journal;
    struct mg_budget budget;
    struct mg_slice bytes;
    uint64_t seq;
    mg_budget_init(&budget, "journal", NULL, SIZE_MAX);
    options.held_max = 5000;
    options.budget = &budget;
    assert_ok(mg_journal_open(io, &options, &journal, &err));
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++)
        assert_ok(append_sized(journal, i + 1, sizes[i], &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    assert_ok(mg_journal_cursor_open(journal, 1, &cursor, &err));
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++) {
        assert_ok(mg_journal_cursor_next(cursor, &seq, &bytes, &err));
        assert_int_equal(bytes.size, sizes[i]);
        if (sizes[i] <= 5000)
            check_record(seq, bytes);
        else
            assert_null(bytes.data);
        check_in_pieces(cursor, seq, sizes[i]);
        /* Its file stays, as the cursor has it open. */
        assert_ok(mg_journal_trim(journal, seq + 1, &err));
        check_in_pieces(cursor, seq, sizes[i]);
    }
    assert_true(mg_budget_used(&budget) > 0);
    mg_journal_cursor_close(cursor);
    assert_int_equal(mg_budget_used(&budget), 0);

    /* The budget has no room for a window: told, and tried again. */
    assert_ok(mg_journal_cursor_open(journal, mg_journal_last(journal), &cursor, &err));
    atomic_store(&budget.used_bytes, SIZE_MAX - 10);
    assert_code(MG_NO_MEMORY, mg_journal_cursor_next(cursor, &seq, &bytes, &err));
    atomic_store(&budget.used_bytes, 0);
    assert_ok(mg_journal_cursor_next(cursor, &seq, &bytes, &err));
    check_record(seq, bytes);
    mg_journal_cursor_close(cursor);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

/* One byte of a long record changes on the disk: the record is refused as a whole, before any of it was given out. */
static void test_a_long_record_is_checked_first(void **state)
{
    struct mg_io_fault *fault = new_disk(9);
    struct mg_journal_options options = plain;
    struct mg_journal_cursor *cursor;
    struct mg_journal *journal;
    struct mg_file *file;
    struct mg_slice bytes;
    uint8_t byte;
    uint64_t seq;
    options.held_max = 5000;
    assert_ok(mg_journal_open(mg_io_fault_io(fault), &options, &journal, &err));
    assert_ok(append_sized(journal, 1, 90000, &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    assert_ok(mg_io_open(mg_io_fault_io(fault), segment_path(1), MG_OPEN_WRITE, &file, &err));
    assert_ok(mg_file_pread(file, &byte, 1, 89000, &err));
    byte ^= 4;
    assert_ok(mg_file_pwrite(file, &byte, 1, 89000, &err));
    mg_file_close(file);
    assert_ok(mg_journal_cursor_open(journal, 1, &cursor, &err));
    assert_code(MG_CORRUPT, mg_journal_cursor_next(cursor, &seq, &bytes, &err));
    mg_journal_cursor_close(cursor);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

static void test_many_pieces(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    uint8_t bytes[300];
    struct iovec pieces[300];
    for (size_t i = 0; i < MG_COUNT_OF(pieces); i++) {
        bytes[i] = (uint8_t)i;
        pieces[i] = (struct iovec){&bytes[i], 1};
    }
    for (int count = 0; count <= 300; count += 30)
        assert_ok(mg_journal_append(journal, pieces, count, NULL, &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    struct mg_journal_cursor *cursor;
    struct mg_slice got;
    assert_ok(mg_journal_cursor_open(journal, 1, &cursor, &err));
    for (size_t count = 0; count <= 300; count += 30) {
        assert_ok(mg_journal_cursor_next(cursor, NULL, &got, &err));
        assert_true(mg_slice_equal(got, MG_SLICE(bytes, count)));
    }
    mg_journal_cursor_close(cursor);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

static void test_trim(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *slow = NULL, *fast = NULL;
    struct mg_slice bytes;
    uint64_t seq;
    append_many(journal, 1, 80, true);
    assert_ok(mg_journal_cursor_open(journal, 1, &slow, &err));
    assert_ok(mg_journal_cursor_next(slow, &seq, &bytes, &err));
    uint64_t before = mg_journal_bytes(journal);
    assert_ok(mg_journal_trim(journal, 1, &err));
    assert_int_equal(mg_journal_bytes(journal), before);
    assert_ok(mg_journal_trim(journal, 40, &err));
    assert_true(mg_journal_bytes(journal) < before);
    uint64_t first = mg_journal_first(journal);
    assert_in_range(first, 2, 40);
    assert_code(MG_NOT_FOUND, mg_journal_cursor_open(journal, first - 1, &fast, &err));
    assert_ok(mg_journal_cursor_open(journal, first, &fast, &err));
    check_contents(journal);
    enum mg_code code;
    while ((code = mg_journal_cursor_next(slow, &seq, &bytes, &err)) == MG_OK)
        check_record(seq, bytes);
    assert_int_equal(code, MG_INVALID); /* what it had to read was taken away */
    mg_journal_cursor_closep(&slow);
    mg_journal_cursor_closep(&fast);
    assert_ok(mg_journal_trim(journal, UINT64_MAX, &err));
    assert_true(mg_journal_first(journal) > 40);
    mg_journal_close(journal);
    journal = open_journal(fault);
    assert_true(mg_journal_first(journal) > 40);
    assert_int_equal(mg_journal_last(journal), 80);
    append_many(journal, 81, 90, true);
    check_contents(journal);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

static void test_read_only(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal_options options = plain;
    struct mg_journal *journal;
    options.read_only = true;
    assert_ok(mg_journal_open(mg_io_fault_io(fault), &options, &journal, &err));
    check_contents(journal);
    mg_journal_close(journal);
    journal = open_journal(fault);
    append_many(journal, 1, 5, false);
    mg_journal_close(journal);
    uint64_t changes = mg_io_fault_calls(fault, MG_FAULT_CHANGE);
    assert_ok(mg_journal_open(mg_io_fault_io(fault), &options, &journal, &err));
    assert_int_equal(mg_journal_last(journal), 5);
    check_contents(journal);
    assert_code(MG_INVALID, append(journal, 6, &err));
    assert_code(MG_INVALID, mg_journal_trim(journal, 6, &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    mg_journal_close(journal);
    assert_int_equal(mg_io_fault_calls(fault, MG_FAULT_CHANGE), changes);
    mg_io_fault_free(fault);
}

/* ---- crashes ------------------------------------------------------------------------------------------------- */

struct run {
    struct mg_io_fault *fault;
    uint64_t acked, appended; /* over all lives of the journal */
};

/* Append records up to `last`, syncing now and then, trimming at times, until something fails. */
static void work(struct run *run, uint64_t last, uint64_t seed)
{
    struct mg_random random;
    struct mg_journal *journal;
    mg_random_init(&random, seed);
    if (mg_journal_open(mg_io_fault_io(run->fault), &plain, &journal, NULL) != MG_OK)
        return;
    run->appended = mg_journal_last(journal);
    for (uint64_t seq = mg_journal_last(journal) + 1; seq <= last; seq++) {
        run->appended = seq; /* a failing append may be there, too */
        if (append(journal, seq, NULL) != MG_OK)
            break;
        if (mg_random_below(&random, 3) == 0 && mg_journal_sync(journal, &run->acked, NULL) != MG_OK)
            break;
        if (mg_random_below(&random, 20) == 0 && seq > 30 && mg_journal_trim(journal, seq - 30, NULL) != MG_OK)
            break;
    }
    mg_journal_close(journal);
}

/* Power is back: nothing acknowledged is missing, nothing is there that was not appended. */
static void check_after_crash(struct run *run, const char *what, uint64_t seed)
{
    struct mg_journal *journal;
    enum mg_code code = try_open(run->fault, &journal);
    if (code != MG_OK)
        fail_msg("seed %llu, %s: %s", (unsigned long long)seed, what, err.text);
    uint64_t last = mg_journal_last(journal);
    if (last < run->acked || last > run->appended)
        fail_msg("seed %llu, %s: last is %llu, acked %llu, appended %llu", (unsigned long long)seed, what,
                 (unsigned long long)last, (unsigned long long)run->acked, (unsigned long long)run->appended);
    check_contents(journal);
    run->acked = last; /* what an open found it has made durable */
    mg_journal_close(journal);
}

static enum mg_io_fault_loss loss_of(uint64_t seed)
{
    return seed % 4 == 0 ? MG_LOSE_ALL : seed % 4 == 1 ? MG_LOSE_NONE : MG_LOSE_SOME;
}

struct cut_at {
    struct mg_io_fault *fault;
    const char *name;
    uint64_t passes, cut_pass;
};

static void cut_power_at_pass(void *arg, const char *name)
{
    struct cut_at *cut = arg;
    if (strcmp(name, cut->name) == 0 && ++cut->passes == cut->cut_pass)
        mg_io_fault_fail(cut->fault, MG_FAULT_ANY, 1, EIO, true);
}

static void test_crash_at_stop_points(void **state)
{
    static const char *const names[] = {"wal.write", "wal.written", "wal.synced", "wal.segment"};
    for (size_t i = 0; i < MG_COUNT_OF(names); i++) {
        uint64_t hit_count = 0;
        for (uint64_t pass = 1; pass <= 60; pass++) {
            for (uint64_t seed = 0; seed < STOP_SEEDS; seed++) {
                struct run run = {.fault = new_disk(pass * 100 + seed)};
                struct cut_at cut = {.fault = run.fault, .name = names[i], .cut_pass = pass};
                mg_stop_hook(cut_power_at_pass, &cut);
                work(&run, 60, seed);
                mg_stop_hook(NULL, NULL);
                hit_count += cut.passes >= pass;
                mg_io_fault_crash(run.fault, loss_of(seed));
                check_after_crash(&run, names[i], seed);
                mg_io_fault_free(run.fault);
            }
        }
        assert_true(hit_count >= STOP_SEEDS);
    }
}

/* Power is cut at the Nth call for every N, in several lives on one disk: also while a torn tail is cut off. */
static void test_crash_at_every_call(void **state)
{
    for (uint64_t seed = 0; seed < CRASH_SEEDS; seed++) {
        struct run run = {.fault = new_disk(seed)};
        struct mg_random random;
        mg_random_init(&random, seed);
        for (uint64_t life = 1; life <= 8; life++) {
            mg_io_fault_fail(run.fault, MG_FAULT_CHANGE, 1 + mg_random_below(&random, seed % 60 + 3), EIO, true);
            work(&run, life * 25, seed + life);
            mg_io_fault_crash(run.fault, loss_of(seed + life));
            check_after_crash(&run, "power cut", seed);
            mg_io_fault_crash(run.fault, MG_LOSE_ALL); /* what the check found is durable */
            check_after_crash(&run, "second power cut", seed);
        }
        mg_io_fault_free(run.fault);
    }
}

/* One failing call of any kind, then the disk is well again: the journal must not go on as if nothing had been. */
static void test_one_failing_call(void **state)
{
    for (uint64_t nth = 1; nth < 150; nth++) {
        struct run run = {.fault = new_disk(nth)};
        struct mg_journal *journal = open_journal(run.fault);
        bool stopped = false;
        mg_io_fault_fail(run.fault, MG_FAULT_CHANGE, nth, EIO, false);
        for (uint64_t seq = 1; seq <= 50; seq++) {
            run.appended = MG_MAX(run.appended, seq);
            enum mg_code code = append(journal, seq, NULL);
            if (code == MG_OK)
                code = mg_journal_sync(journal, &run.acked, NULL);
            if (code == MG_OK)
                continue;
            assert_int_equal(code, MG_IO);
            assert_code(MG_STOPPED, append(journal, seq, &err));
            assert_non_null(strstr(err.text, "Input/output error"));
            assert_code(MG_STOPPED, mg_journal_sync(journal, NULL, &err));
            stopped = true;
            break;
        }
        assert_true(stopped || nth > 100);
        check_contents(journal); /* what is durable can still be read */
        mg_journal_close(journal);
        mg_io_fault_crash(run.fault, MG_LOSE_SOME);
        check_after_crash(&run, "one failing call", nth);
        mg_io_fault_free(run.fault);
    }
}

static void test_failing_open(void **state)
{
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct run run = {.fault = new_disk(nth)};
        work(&run, 40, nth);
        mg_io_fault_crash(run.fault, MG_LOSE_SOME);
        mg_io_fault_fail(run.fault, MG_FAULT_ANY, nth, EIO, false);
        struct mg_journal *journal = NULL;
        enum mg_code code = try_open(run.fault, &journal);
        assert_true(code == MG_OK || code == MG_IO);
        assert_true(code == MG_OK || journal == NULL);
        mg_journal_close(journal);
        mg_io_fault_crash(run.fault, MG_LOSE_SOME);
        check_after_crash(&run, "failing open", nth);
        mg_io_fault_free(run.fault);
    }
}

static void test_no_space(void **state)
{
    struct run run = {.fault = new_disk(1)};
    struct mg_journal *journal = open_journal(run.fault);
    mg_io_fault_set_capacity(run.fault, 3 * SEGMENT + 100);
    uint64_t seq = 1;
    enum mg_code code;
    while ((code = append(journal, seq, &err)) == MG_OK)
        seq++;
    assert_int_equal(code, MG_NO_SPACE);
    assert_code(MG_NO_SPACE, append_sized(journal, seq, SEGMENT, &err));
    assert_ok(mg_journal_sync(journal, &run.acked, &err));
    assert_int_equal(run.acked, seq - 1);
    check_contents(journal);
    assert_ok(mg_journal_trim(journal, seq, &err)); /* gives room */
    append_many(journal, seq, seq + 1, true);
    run.acked = run.appended = seq + 1;
    mg_journal_close(journal);
    mg_io_fault_crash(run.fault, MG_LOSE_ALL);
    check_after_crash(&run, "full disk", 1);
    mg_io_fault_free(run.fault);

    /* An empty segment that cannot be made larger for its first record. */
    run.fault = new_disk(2);
    journal = open_journal(run.fault);
    mg_io_fault_set_capacity(run.fault, SEGMENT);
    assert_code(MG_NO_SPACE, append_sized(journal, 1, SEGMENT, &err));
    append_many(journal, 1, 1, true);
    mg_journal_close(journal);
    mg_io_fault_free(run.fault);
}

/* ---- torn tails and damage ----------------------------------------------------------------------------------- */

/* The bytes of a file; the caller frees. */
static uint8_t *read_file(struct mg_io_fault *fault, const char *path, uint64_t *out_size)
{
    struct mg_file *file;
    assert_ok(mg_io_open(mg_io_fault_io(fault), path, MG_OPEN_READ, &file, &err));
    assert_ok(mg_file_size(file, out_size, &err));
    uint8_t *bytes = malloc(*out_size + 1);
    assert_non_null(bytes);
    assert_ok(mg_file_pread(file, bytes, *out_size, 0, &err));
    mg_file_close(file);
    return bytes;
}

/* A disk whose only segment has these bytes. */
static struct mg_io_fault *disk_with(const uint8_t *bytes, uint64_t size)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_file *file;
    assert_ok(mg_io_open(mg_io_fault_io(fault), segment_path(1), MG_OPEN_CREATE, &file, &err));
    assert_ok(mg_file_pwrite(file, bytes, size, 0, &err));
    mg_file_close(file);
    return fault;
}

/* A segment file with records of those sizes; synced after those in `syncs`. out_offsets[i] is where record i + 1
 * starts. */
static uint8_t *make_segment(const size_t *sizes, size_t count, const bool *syncs, uint64_t *out_offsets,
                             uint64_t *out_size)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    uint64_t offset = HEADER;
    for (size_t i = 0; i < count; i++) {
        out_offsets[i] = offset;
        offset += (RECORD_HEADER + sizes[i] + 511) / 512 * 512;
        assert_ok(append_sized(journal, i + 1, sizes[i], &err));
        if (syncs[i])
            assert_ok(mg_journal_sync(journal, NULL, &err));
    }
    out_offsets[count] = offset;
    mg_journal_close(journal);
    uint8_t *bytes = read_file(fault, segment_path(1), out_size);
    mg_io_fault_free(fault);
    return bytes;
}

static void expect_last(const uint8_t *bytes, uint64_t size, uint64_t want_last, uint64_t at)
{
    struct mg_io_fault *fault = disk_with(bytes, size);
    struct mg_journal *journal;
    if (try_open(fault, &journal) != MG_OK)
        fail_msg("at byte %llu: %s", (unsigned long long)at, err.text);
    if (mg_journal_last(journal) != want_last)
        fail_msg("at byte %llu: last is %llu, not %llu", (unsigned long long)at,
                 (unsigned long long)mg_journal_last(journal), (unsigned long long)want_last);
    assert_ok(append(journal, want_last + 1, &err));
    assert_ok(mg_journal_sync(journal, NULL, &err));
    mg_journal_close(journal);
    mg_io_fault_crash(fault, MG_LOSE_ALL);
    assert_ok(try_open(fault, &journal));
    assert_int_equal(mg_journal_last(journal), want_last + 1);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

static void expect_corrupt(const uint8_t *bytes, uint64_t size, uint64_t offset, uint64_t at)
{
    struct mg_io_fault *fault = disk_with(bytes, size);
    struct mg_journal *journal = NULL;
    enum mg_code code = try_open(fault, &journal);
    if (code != MG_CORRUPT)
        fail_msg("at byte %llu: %s, last %llu", (unsigned long long)at, mg_code_name(code),
                 journal ? (unsigned long long)mg_journal_last(journal) : 0);
    char where[100];
    snprintf(where, sizeof where, "%s is damaged at byte %llu:", segment_path(1), (unsigned long long)offset);
    assert_non_null(strstr(err.text, where));
    mg_io_fault_free(fault);
}

/* Every prefix of the last record, as zeros behind it and as a shorter file, is a torn tail. */
static void test_every_torn_prefix(void **state)
{
    static const size_t sizes[] = {100, 700, 1400};
    static const bool syncs[] = {true, true, false};
    uint64_t offsets[4], size;
    uint8_t *bytes = make_segment(sizes, 3, syncs, offsets, &size);
    uint64_t end = offsets[2] + RECORD_HEADER + sizes[2];
    uint8_t *torn = malloc(size);
    assert_non_null(torn);
    for (uint64_t cut = offsets[2]; cut <= end; cut += MG_MIN(cut == end ? 1 : end - cut, (uint64_t)TORN_STEP)) {
        memcpy(torn, bytes, size);
        memset(torn + cut, 0, size - cut);
        expect_last(torn, size, cut == end ? 3 : 2, cut);
        expect_last(bytes, cut, cut == end ? 3 : 2, cut);
    }
    /* Any subset of its sectors, too. */
    for (unsigned subset = 0; subset < 8; subset++) {
        memcpy(torn, bytes, size);
        for (unsigned sector = 0; sector < 3; sector++)
            if (!(subset & (1u << sector)))
                memset(torn + offsets[2] + sector * 512, 0, 512);
        expect_last(torn, size, subset == 7 ? 3 : 2, subset);
    }
    free(torn);
    free(bytes);
}

/* A bit flipped in a record that later ones know to be durable is damage, wherever it is; in the last one it is a torn
 * tail; in padding it is nothing. */
static void test_bit_flips(void **state)
{
    static const size_t sizes[] = {100, 700, 0, 1400, 50};
    static const bool each[] = {true, true, true, true, true}, one_sync[] = {false, false, false, false, true};
    for (int grouped = 0; grouped < 2; grouped++) {
        uint64_t offsets[6], size;
        uint8_t *bytes = make_segment(sizes, 5, grouped ? one_sync : each, offsets, &size);
        for (size_t record = 0; record < 5; record++) {
            uint64_t end = offsets[record] + RECORD_HEADER + sizes[record];
            for (uint64_t at = offsets[record]; at < offsets[record + 1]; at += TORN_STEP) {
                bytes[at] ^= (uint8_t)(1u << at % 8);
                if (at >= end)
                    expect_last(bytes, size, 5, at);
                else if (record == 4)
                    expect_last(bytes, size, 4, at);
                else
                    expect_corrupt(bytes, size, offsets[record], at);
                bytes[at] ^= (uint8_t)(1u << at % 8);
            }
        }
        for (uint64_t at = 0; at < HEADER; at++) {
            bytes[at] ^= (uint8_t)(1u << at % 8);
            expect_corrupt(bytes, size, at < 8 ? 0 : 504, at);
            bytes[at] ^= (uint8_t)(1u << at % 8);
        }
        for (uint64_t at = offsets[5]; at < offsets[5] + 600; at++) {
            bytes[at] ^= (uint8_t)(1u << at % 8);
            expect_last(bytes, size, 5, at); /* room that nothing was written to */
            bytes[at] ^= (uint8_t)(1u << at % 8);
        }
        expect_last(bytes, size, 5, 0);
        free(bytes);
    }
}

/* Of several records in one sync a power cut may lose the first and keep the second: both go. */
static void test_lost_in_the_middle(void **state)
{
    static const size_t sizes[] = {100, 700, 1400, 50};
    static const bool syncs[] = {true, false, false, false};
    uint64_t offsets[5], size;
    uint8_t *bytes = make_segment(sizes, 4, syncs, offsets, &size);
    memset(bytes + offsets[2] + 512, 0, 512); /* one sector of record 3 */
    expect_last(bytes, size, 2, 0);
    memset(bytes + offsets[1], 0, 1024); /* all of record 2 */
    expect_last(bytes, size, 1, 0);
    memset(bytes + offsets[0], 0, 512); /* record 1 was durable when the others were written */
    expect_corrupt(bytes, size, offsets[0], 0);
    free(bytes);
}

/* The same bytes at another place, or another record's, do not pass. */
static void test_misplaced(void **state)
{
    static const size_t sizes[] = {100, 100, 100};
    static const bool syncs[] = {true, true, true};
    uint64_t offsets[4], size;
    uint8_t *bytes = make_segment(sizes, 3, syncs, offsets, &size);
    uint8_t *changed = malloc(size);
    assert_non_null(changed);
    memcpy(changed, bytes, size);
    memcpy(changed + offsets[1], bytes + offsets[0], 512); /* 1 1 3 */
    expect_corrupt(changed, size, offsets[1], 0);
    memcpy(changed, bytes, size);
    memcpy(changed + offsets[3], bytes + offsets[0], 512); /* 1 2 3 1 */
    expect_corrupt(changed, size, offsets[3], 0);
    memcpy(changed, bytes, size);
    memcpy(changed + offsets[1], bytes + offsets[2], 512); /* 1 3 3 */
    expect_corrupt(changed, size, offsets[1], 0);

    /* Records of another journal with the same numbers, as from a disk that hands out old blocks. */
    uint64_t other_offsets[4], other_size;
    uint8_t *other = make_segment(sizes, 3, syncs, other_offsets, &other_size);
    memcpy(changed, bytes, size);
    memcpy(changed + offsets[2], other + offsets[2], 512);
    expect_last(changed, size, 2, 0);
    free(other);
    free(changed);
    free(bytes);
}

/* Damage in an older segment is found by who reads it, with file and offset. */
static void test_damage_in_older_segment(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    append_many(journal, 1, 60, true);
    mg_journal_close(journal);
    assert_true(mg_io_fault_flip_bit(fault, segment_path(1), HEADER + 9, 3));
    journal = open_journal(fault);
    struct mg_journal_cursor *cursor;
    struct mg_slice bytes;
    assert_ok(mg_journal_cursor_open(journal, 1, &cursor, &err));
    assert_code(MG_CORRUPT, mg_journal_cursor_next(cursor, NULL, &bytes, &err));
    assert_non_null(strstr(err.text, "d/0000000000000001.wal is damaged at byte 512: record 1"));
    mg_journal_cursor_close(cursor);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
}

/* A bit of the first record is flipped; then `wanted`, of the same segment, is read. */
static enum mg_code read_behind_damage(uint64_t offset, uint64_t wanted)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_journal *journal = open_journal(fault);
    append_many(journal, 1, 60, true);
    mg_journal_close(journal);
    assert_true(mg_io_fault_flip_bit(fault, segment_path(1), offset, 3));
    journal = open_journal(fault);
    struct mg_journal_cursor *cursor;
    struct mg_slice bytes;
    assert_ok(mg_journal_cursor_open(journal, wanted, &cursor, &err));
    enum mg_code code = mg_journal_cursor_next(cursor, NULL, &bytes, &err);
    if (code == MG_OK)
        check_record(wanted, bytes);
    mg_journal_cursor_close(cursor);
    mg_journal_close(journal);
    mg_io_fault_free(fault);
    return code;
}

/* What lies before the wanted record is stepped over, unread but for where the next one begins. */
static void test_records_are_stepped_over(void **state)
{
    assert_int_equal(read_behind_damage(HEADER + 24, 2), MG_OK); /* its checksum */
    assert_int_equal(read_behind_damage(HEADER + 24, 1), MG_CORRUPT);
    assert_int_equal(read_behind_damage(HEADER, 2), MG_CORRUPT);         /* its marker */
    assert_int_equal(read_behind_damage(HEADER + 4 + 1, 2), MG_CORRUPT); /* its length, by 2,048 */
    assert_int_equal(read_behind_damage(HEADER + 8, 2), MG_CORRUPT);     /* its number */
}

static void test_refusals(void **state)
{
    struct mg_io_fault *fault = new_disk(1);
    struct mg_io *io = mg_io_fault_io(fault);
    struct mg_journal *journal = open_journal(fault);
    append_many(journal, 1, 80, true);
    mg_journal_close(journal);
    journal = NULL;

    struct mg_journal_options options = plain;
    options.format_version = 4;
    assert_code(MG_UNIMPLEMENTED, mg_journal_open(io, &options, &journal, &err));
    assert_non_null(strstr(err.text, "has the format 1.3; this version of Magic reads and writes 1.4"));
    options = plain;
    options.magic[0] = 'X';
    assert_code(MG_CORRUPT, mg_journal_open(io, &options, &journal, &err));
    options = plain;
    options.store_id++;
    assert_code(MG_CORRUPT, mg_journal_open(io, &options, &journal, &err));
    options = plain;
    options.folder = "nowhere";
    assert_code(MG_NOT_FOUND, mg_journal_open(io, &options, &journal, &err));
    options = plain;
    options.record_max = UINT32_MAX;
    assert_code(MG_INVALID, mg_journal_open(io, &options, &journal, &err));
    options = plain;
    options.record_max = 10; /* smaller than what is stored: not a torn tail */
    assert_code(MG_CORRUPT, mg_journal_open(io, &options, &journal, &err));
    assert_non_null(strstr(err.text, "above the limit of 10"));

    /* Names that are not ours are left alone; a half-made segment is removed. */
    struct mg_file *file;
    static const char *const names[] = {"d/readme.wal", "d/0000000000000001.waltz", "d/0000000000000000.wal",
                                        "d/00000000000000ff.wal.new"};
    for (size_t i = 0; i < MG_COUNT_OF(names); i++) {
        assert_ok(mg_io_open(io, names[i], MG_OPEN_CREATE, &file, &err));
        mg_file_close(file);
    }
    journal = open_journal(fault);
    check_contents(journal);
    assert_ok(mg_journal_trim(journal, 20, &err));
    uint64_t first = mg_journal_first(journal);
    mg_journal_closep(&journal);
    assert_ok(mg_io_open(io, names[0], MG_OPEN_READ, &file, &err));
    mg_file_close(file);
    assert_code(MG_NOT_FOUND, mg_io_open(io, names[3], MG_OPEN_READ, &file, &err));

    /* A segment between two others is gone, or has another's name. */
    uint64_t second = 0;
    for (uint64_t seq = first + 1; !second; seq++)
        if (mg_io_open(io, segment_path(seq), MG_OPEN_READ, &file, NULL) == MG_OK) {
            mg_file_close(file);
            second = seq;
        }
    char from[64];
    snprintf(from, sizeof from, "%s", segment_path(second));
    assert_ok(io->ops->rename(io, from, "d/elsewhere", &err));
    assert_code(MG_CORRUPT, try_open(fault, &journal));
    assert_non_null(strstr(err.text, "is missing"));
    assert_ok(io->ops->rename(io, "d/elsewhere", segment_path(second + 1), &err));
    assert_code(MG_CORRUPT, try_open(fault, &journal));
    assert_non_null(strstr(err.text, "which is not its name"));
    mg_io_fault_free(fault);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

enum { THREAD_RECORDS = 3000 };

struct shared {
    struct mg_journal *journal;
    _Atomic uint64_t appended;
    _Atomic uint64_t slowest; /* reader's place: what is below may be trimmed */
};

static void append_thread(void *arg)
{
    struct shared *shared = arg;
    for (uint64_t seq = 1; seq <= THREAD_RECORDS; seq++) {
        mg_assert(append_sized(shared->journal, seq, record_size(seq) % 400, NULL) == MG_OK);
        shared->appended = seq;
    }
}

static void sync_thread(void *arg)
{
    struct shared *shared = arg;
    for (uint64_t durable = 0; durable < THREAD_RECORDS;) {
        uint64_t before = shared->appended;
        mg_assert(mg_journal_sync(shared->journal, &durable, NULL) == MG_OK);
        mg_assert(durable >= before); /* covers the appends that had returned */
        mg_assert(mg_journal_trim(shared->journal, shared->slowest, NULL) == MG_OK);
    }
}

static void read_thread(void *arg)
{
    struct shared *shared = arg;
    struct mg_journal_cursor *cursor;
    mg_assert(mg_journal_cursor_open(shared->journal, 1, &cursor, NULL) == MG_OK);
    for (uint64_t seq = 1; seq <= THREAD_RECORDS;) {
        uint64_t got;
        struct mg_slice bytes;
        enum mg_code code = mg_journal_cursor_next(cursor, &got, &bytes, NULL);
        if (code == MG_NOT_FOUND) {
            usleep(100);
            continue;
        }
        mg_assert(code == MG_OK && got == seq && bytes.size == record_size(seq) % 400);
        check_record(seq, bytes);
        shared->slowest = seq;
        seq++;
    }
    mg_journal_cursor_close(cursor);
}

static void test_threads(void **state)
{
    char *folder = make_folder();
    struct mg_journal_options options = plain;
    struct shared shared = {0};
    struct mg_thread threads[3] = {0};
    options.folder = folder;
    assert_ok(mg_journal_open(mg_io_system(), &options, &shared.journal, &err));
    assert_ok(mg_thread_start(&threads[0], "read", read_thread, &shared, &err));
    assert_ok(mg_thread_start(&threads[1], "sync", sync_thread, &shared, &err));
    assert_ok(mg_thread_start(&threads[2], "append", append_thread, &shared, &err));
    for (size_t i = 0; i < MG_COUNT_OF(threads); i++)
        mg_thread_join(&threads[i]);
    assert_int_equal(mg_journal_last(shared.journal), THREAD_RECORDS);
    assert_true(mg_journal_syncs(shared.journal) < THREAD_RECORDS);
    mg_journal_close(shared.journal);
    assert_ok(mg_journal_open(mg_io_system(), &options, &shared.journal, &err));
    assert_int_equal(mg_journal_last(shared.journal), THREAD_RECORDS);
    mg_journal_close(shared.journal);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_cursor_from_the_middle),
        cmocka_unit_test(test_large_records),
        cmocka_unit_test(test_records_that_are_not_held),
        cmocka_unit_test(test_a_long_record_is_checked_first),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_crash_at_stop_points),
        cmocka_unit_test(test_crash_at_every_call),
        cmocka_unit_test(test_one_failing_call),
        cmocka_unit_test(test_failing_open),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_every_torn_prefix),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_lost_in_the_middle),
        cmocka_unit_test(test_misplaced),
        cmocka_unit_test(test_damage_in_older_segment),
        cmocka_unit_test(test_records_are_stepped_over),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
