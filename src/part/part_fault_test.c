/* part_fault_test.c -- parts on a disk that fails and flips bits, in memory that runs out: an error that says what and
 * where, nothing left behind, and never other rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io_fault.h"
#include "base/testing.h"
#include "part/part_internal.h"
#include "part/part_samples.h"

#define ALL_TYPES "i8? i16 i32? i64 u8 u16? u32 u64? f32 f64? dec dec? date dt? ts text text? pad?"

static bool is_there(struct mg_io *io, const char *path)
{
    struct mg_file *file;

    if (mg_io_open(io, path, MG_OPEN_READ, &file, NULL) != MG_OK)
        return false;
    mg_file_close(file);
    return true;
}

static enum mg_code write_part(struct mg_io *io, struct mg_budget *budget, struct mg_schema *schema,
                               const struct mg_batch *rows, uint64_t expected, struct mg_error *err)
{
    struct mg_part_writer_options options = {
        .io = io, .budget = budget, .rows_expected = expected, .segment_id = 5, .pack_level = expected ? 0 : 3};
    struct mg_part_writer *writer = NULL;
    struct mg_part_summary summary;

    MG_TRY(mg_part_writer_open("p", schema, &options, &writer, err));
    enum mg_code code = mg_part_writer_append(writer, rows, err);
    if (code == MG_OK)
        return mg_part_writer_finish(writer, &summary, err);
    mg_part_writer_abort(writer);
    return code;
}

/* Everything that reads: open, a block, look-ups, the check. */
static enum mg_code read_part(struct mg_io *io, struct mg_budget *budget, struct mg_cache *cache,
                              const struct mg_schema *schema, struct mg_error *err)
{
    struct mg_part_options options = {.io = io, .cache = cache, .budget = budget, .segment_id = 5};
    struct mg_part *part = NULL;
    struct mg_part_block block;
    struct mg_buffer key;
    uint32_t offsets[2] = {0}, row = MG_PART_NO_ROW, bound;

    mg_buffer_init(&key, UINT32_MAX);
    sample_key(schema, 1234, false, &key);
    offsets[1] = (uint32_t)key.size;
    uint64_t hash = mg_part_key_hash(mg_buffer_slice(&key));
    struct mg_part_probe probe = {.count = 1, .keys = key.data, .offsets = offsets, .hashes = &hash};
    enum mg_code code = mg_part_open("p", &options, &part, err);
    if (code == MG_OK)
        code = mg_part_find(part, &probe, &row, err);
    mg_assert(code != MG_OK || row == 1234);
    if (code == MG_OK)
        code = mg_part_lower_bound(part, mg_buffer_slice(&key), &bound, err);
    mg_assert(code != MG_OK || bound == 1234);
    if (code == MG_OK && (code = mg_part_block_get(part, 1, 0, &block, err)) == MG_OK)
        mg_part_block_release(&block);
    if (code == MG_OK)
        code = mg_part_check(part, err);
    mg_part_unref(part);
    mg_buffer_clear(&key);
    return code;
}

/* ---- a failing disk ------------------------------------------------------------------------------------------ */

/* Writing with the nth call failing; false: it was never reached. */
static bool write_with_fault(struct mg_schema *schema, const struct mg_batch *rows, uint64_t nth, int error_number,
                             bool for_good)
{
    struct mg_io_fault *disk = mg_io_fault_new(nth);
    struct mg_io *io = mg_io_fault_io(disk);
    struct mg_budget budget;
    struct mg_error err = MG_ERROR_INIT;

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    mg_io_fault_fail(disk, MG_FAULT_ANY, nth, error_number, for_good);
    enum mg_code code = write_part(io, &budget, schema, rows, nth % 2 ? rows->row_count : 0, &err);
    bool reached = mg_io_fault_calls(disk, MG_FAULT_ANY) >= nth;
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_io_fault_heal(disk);
    if (!reached) {
        assert_int_equal(code, MG_OK);
    } else {
        assert_int_equal(code, error_number == ENOSPC ? MG_NO_SPACE : MG_IO);
        assert_int_equal(err.code, code);
        if (!for_good) /* else it could not be removed */
            assert_false(is_there(io, "p"));
    }
    mg_io_fault_free(disk);
    return reached;
}

static void test_failing_writes(void **state)
{
    struct mg_schema *schema = sample_schema("i64* text i64 i8 i16 i64 text i8 i64"); /* 5 MiB */
    struct mg_batch *rows = sample_batch(schema, 0, 180000);
    uint64_t nth = 1;

    while (write_with_fault(schema, rows, nth, EIO, false))
        nth++;
    assert_true(nth > 5); /* create, some writes, sync */
    for (uint64_t n = 1; n < nth; n++) {
        assert_true(write_with_fault(schema, rows, n, ENOSPC, false));
        assert_true(write_with_fault(schema, rows, n, EIO, true));
    }
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

static void test_full_disk(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_schema *schema = sample_schema("i64* text i64");
    struct mg_batch *rows = sample_batch(schema, 0, 5000);
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_budget budget;

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    for (uint64_t capacity = 0; capacity < 40000; capacity += 10000) {
        mg_io_fault_set_capacity(disk, capacity);
        assert_code(MG_NO_SPACE, write_part(mg_io_fault_io(disk), &budget, schema, rows, 0, &err));
        assert_false(is_there(mg_io_fault_io(disk), "p"));
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_io_fault_set_capacity(disk, UINT64_MAX);
    assert_ok(write_part(mg_io_fault_io(disk), &budget, schema, rows, 0, &err));
    mg_io_fault_free(disk);
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

static void test_failing_reads(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_schema *schema = sample_schema("i64* text* i64");
    struct mg_batch *rows = sample_batch(schema, 0, 70000);
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_io *io = mg_io_fault_io(disk);
    struct mg_budget budget;
    struct mg_cache *cache;

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    assert_ok(write_part(io, &budget, schema, rows, 0, &err));
    assert_ok(mg_cache_new(&budget, 0, &cache, &err));
    size_t before = mg_budget_used(&budget);
    uint64_t calls = mg_io_fault_calls(disk, MG_FAULT_ANY);
    assert_ok(read_part(io, &budget, cache, schema, &err));
    calls = mg_io_fault_calls(disk, MG_FAULT_ANY) - calls;
    assert_true(calls > 12);
    for (uint64_t nth = 1; nth <= calls; nth++) {
        mg_io_fault_fail(disk, MG_FAULT_ANY, nth, EIO, false);
        assert_code(MG_IO, read_part(io, &budget, cache, schema, &err));
        mg_io_fault_heal(disk);
        assert_int_equal(mg_budget_used(&budget), before); /* the cache has dropped the part, too */
    }
    mg_cache_free(cache);
    mg_io_fault_free(disk);
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

/* ---- memory -------------------------------------------------------------------------------------------------- */

/* Limits from nothing up to what it takes, closer together near the end, where the small reservations are. */
static size_t next_limit(size_t limit, size_t peak)
{
    size_t left = peak - limit;

    return limit + MG_MAX(left / 25, (size_t)1500);
}

static void test_memory_for_writing(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_schema *schema = sample_schema("text* i64 text? dec");
    struct mg_batch *rows = sample_batch(schema, 0, 2000);
    struct mg_budget budget;
    unsigned refused = 0;

    for (uint64_t expected = 0; expected <= 2000; expected += 2000) {
        struct mg_io_fault *disk = mg_io_fault_new(1);
        struct mg_io *io = mg_io_fault_io(disk);
        mg_budget_init(&budget, "test", NULL, SIZE_MAX);
        assert_ok(write_part(io, &budget, schema, rows, expected, &err));
        size_t peak = budget.peak_bytes;
        assert_ok(io->ops->unlink(io, "p", &err));
        for (size_t limit = 0; limit < peak; limit = next_limit(limit, peak)) {
            mg_budget_init(&budget, "test", NULL, limit);
            enum mg_code code = write_part(io, &budget, schema, rows, expected, &err);
            assert_int_equal(mg_budget_used(&budget), 0);
            if (code == MG_OK)
                assert_ok(io->ops->unlink(io, "p", &err));
            else
                assert_int_equal(code, MG_NO_MEMORY);
            assert_false(is_there(io, "p"));
            refused += code != MG_OK;
        }
        mg_io_fault_free(disk);
    }
    assert_true(refused > 80);
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

static void test_memory_for_reading(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_schema *schema = sample_schema("text* i64 text? dec");
    struct mg_batch *rows = sample_batch(schema, 0, 3000);
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_io *io = mg_io_fault_io(disk);
    struct mg_budget budget;
    struct mg_cache *cache;
    unsigned refused = 0;

    assert_ok(write_part(io, NULL, schema, rows, 0, &err));
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    assert_ok(mg_cache_new(&budget, 0, &cache, &err));
    size_t before = mg_budget_used(&budget);
    assert_ok(read_part(io, &budget, cache, schema, &err));
    size_t peak = budget.peak_bytes;
    for (size_t limit = before; limit < peak; limit = next_limit(limit, peak)) {
        budget.limit_bytes = limit;
        enum mg_code code = read_part(io, &budget, cache, schema, &err);
        assert_true(code == MG_OK || code == MG_NO_MEMORY);
        assert_int_equal(mg_budget_used(&budget), before);
        refused += code != MG_OK;
    }
    assert_true(refused > 20);
    mg_cache_free(cache);
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_io_fault_free(disk);
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

/* ---- damage -------------------------------------------------------------------------------------------------- */

struct damage {
    struct mg_io_fault *disk;
    struct mg_cache *cache;
    struct mg_part *sound; /* opened before */
    uint64_t pieces_end, file_bytes;
};

static void assert_names(const struct mg_error *err, uint64_t offset)
{
    char want[64];

    snprintf(want, sizeof want, "p is damaged at byte %llu:", (unsigned long long)offset);
    if (!strstr(err->text, want))
        fail_msg("not \"%s\" but: %s", want, err->text);
}

static uint32_t piece_at(const struct mg_part *part, uint64_t offset)
{
    for (uint32_t i = 0; i <= mg_part__index_piece(part); i++) {
        const struct mg_part__piece *piece = mg_part__piece(part, i);
        if (offset < piece->offset + mg_part__padded(piece->stored))
            return i;
    }
    fail_msg("byte %llu is in no piece", (unsigned long long)offset);
    return 0;
}

/* With a bit flipped in a piece: the footer is sound, that piece is not, and the check says so. */
static void check_damaged_piece(struct damage *d, uint64_t offset, bool whole)
{
    struct mg_error err = MG_ERROR_INIT;
    uint32_t number = piece_at(d->sound, offset);
    struct mg_cache_pin pin;
    struct mg_slice bytes;

    assert_code(MG_CORRUPT, mg_part__pin(d->sound, number, &pin, &bytes, &err));
    assert_names(&err, mg_part__piece(d->sound, number)->offset);
    if (whole) {
        assert_code(MG_CORRUPT, mg_part_check(d->sound, &err));
        assert_names(&err, mg_part__piece(d->sound, number)->offset);
    }
}

static void check_damaged_footer(struct damage *d, uint64_t offset)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_options options = {.io = mg_io_fault_io(d->disk), .cache = d->cache, .segment_id = 5};
    struct mg_part *part;
    uint64_t tail = d->file_bytes - MG_PART__TAIL_BYTES;

    assert_code(MG_CORRUPT, mg_part_open("p", &options, &part, &err));
    assert_names(&err, offset < tail ? d->pieces_end : offset < tail + 56 ? tail : tail + 56);
    assert_code(MG_CORRUPT, mg_part_check(d->sound, &err));
    assert_names(&err, offset);
}

static void flip_bits(struct mg_schema *schema, uint32_t row_count, uint64_t stride)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch *rows = sample_batch(schema, 0, row_count);
    struct damage d = {.disk = mg_io_fault_new(1)};
    struct mg_part_options options = {.io = mg_io_fault_io(d.disk), .segment_id = 5};

    assert_ok(write_part(options.io, NULL, schema, rows, 0, &err));
    assert_ok(mg_cache_new(NULL, 0, &d.cache, &err));
    options.cache = d.cache;
    assert_ok(mg_part_open("p", &options, &d.sound, &err));
    d.pieces_end = d.sound->footer_offset;
    d.file_bytes = mg_part_file_bytes(d.sound);
    unsigned flips = 0;
    for (uint64_t at = 0; at<d.file_bytes; at += at + 200> d.file_bytes ? 1 : stride, flips++) {
        assert_true(mg_io_fault_flip_bit(d.disk, "p", at, (int)(at % 8)));
        if (at < d.pieces_end)
            check_damaged_piece(&d, at, flips % 16 == 0);
        else
            check_damaged_footer(&d, at);
        assert_true(mg_io_fault_flip_bit(d.disk, "p", at, (int)(at % 8)));
    }
    assert_true(flips > 800);
    assert_ok(mg_part_check(d.sound, &err));
    mg_part_unref(d.sound);
    mg_cache_free(d.cache);
    mg_io_fault_free(d.disk);
    mg_batch_unref(rows);
}

static void test_flipped_bits(void **state)
{
    struct mg_schema *schema = sample_schema("i64* " ALL_TYPES), *small = sample_schema("text* i8");

    flip_bits(schema, 1500, 29);
    flip_bits(small, 10, 1);
    mg_schema_unref(schema);
    mg_schema_unref(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_writes),     cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_failing_reads),      cmocka_unit_test(test_memory_for_writing),
        cmocka_unit_test(test_memory_for_reading), cmocka_unit_test(test_flipped_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
