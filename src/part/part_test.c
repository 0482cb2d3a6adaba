/* part_test.c -- what is written is read, found and checked; what is refused leaves nothing behind.
 * Faults, damage and memory limits: part_fault_test.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "base/io_fault.h"
#include "base/lock.h"
#include "base/random.h"
#include "base/testing.h"
#include "part/part_internal.h"
#include "part/part_samples.h"

#define ALL_TYPES "i8? i16 i32? i64 u8 u16? u32 u64? f32 f64? dec dec? date dt? ts text text? pad?"

/* One part on a disk in memory, and how it was made. */
struct fixture {
    struct mg_io_fault *disk;
    struct mg_budget budget;
    struct mg_cache *cache;
    struct mg_schema *schema;
    struct mg_part *part;
    struct mg_part_summary summary;
    uint32_t row_count;
};

static int pack_level;

static void write_part(struct fixture *f, const char *words, uint32_t row_count, uint32_t batch_rows, uint64_t expected)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_writer *writer;

    *f = (struct fixture){.disk = mg_io_fault_new(1), .schema = sample_schema(words), .row_count = row_count};
    mg_budget_init(&f->budget, "test", NULL, SIZE_MAX);
    struct mg_part_writer_options options = {
        .io = mg_io_fault_io(f->disk), .budget = &f->budget, .rows_expected = expected, .segment_id = 9};
    options.pack_level = pack_level;
    assert_ok(mg_part_writer_open("p", f->schema, &options, &writer, &err));
    for (uint32_t row = 0; row < row_count;) {
        uint32_t n = MG_MIN(row_count - row, batch_rows);
        struct mg_batch *batch = sample_batch(f->schema, row, n);
        assert_ok(mg_part_writer_append(writer, batch, &err));
        mg_batch_unref(batch);
        row += n;
    }
    assert_ok(mg_part_writer_finish(writer, &f->summary, &err));
    assert_int_equal(mg_budget_used(&f->budget), 0);
    assert_int_equal(f->summary.row_count, row_count);
}

static void open_part(struct fixture *f)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_options options = {.io = mg_io_fault_io(f->disk), .budget = &f->budget, .segment_id = 9};

    assert_ok(mg_cache_new(&f->budget, 0, &f->cache, &err));
    options.cache = f->cache;
    assert_ok(mg_part_open("p", &options, &f->part, &err));
    assert_int_equal(mg_part_row_count(f->part), f->row_count);
    assert_int_equal(mg_part_segment_id(f->part), 9);
    assert_int_equal(mg_part_file_bytes(f->part), f->summary.file_bytes);
}

static void make_part(struct fixture *f, const char *words, uint32_t row_count, uint32_t batch_rows)
{
    write_part(f, words, row_count, batch_rows, batch_rows % 2 ? row_count : 0);
    open_part(f);
}

static void end(struct fixture *f)
{
    mg_part_unref(f->part);
    mg_cache_free(f->cache);
    assert_int_equal(mg_budget_used(&f->budget), 0);
    mg_schema_unref(f->schema);
    mg_io_fault_free(f->disk);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

static void assert_same_value(const struct mg_value *want, const struct mg_value *have)
{
    assert_int_equal(want->is_null, have->is_null);
    if (!want->is_null)
        assert_int_equal(mg_value_compare(want, have), 0);
}

static void check_block(struct fixture *f, uint32_t column, uint32_t group, struct mg_part__rows *rows)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_block block;
    struct mg_vector v;
    char text[SAMPLE_TEXT_MAX];
    const struct mg_block_info *info = mg_part_block_info(f->part, column, group);

    assert_ok(mg_part_block_get(f->part, column, group, &block, &err));
    assert_ok(mg_part__rows_decode(rows, &block.block, 0, block.block.vector_count, &v, &err));
    v.type = f->schema->columns[column].type;
    assert_int_equal(v.row_count, mg_part__group_rows(f->row_count, group));
    assert_int_equal(v.row_count, info->row_count);
    assert_int_equal(v.null_count, info->null_count);
    for (uint32_t i = 0; i < v.row_count; i++) {
        struct mg_value want = sample_value(f->schema, column, group * MG_BLOCK_ROWS + i, text);
        struct mg_value have = mg_vector_value(&v, i);
        assert_same_value(&want, &have);
        if (info->has_zone && !want.is_null)
            assert_true(mg_value_compare(&want, &info->low) >= 0 && mg_value_compare(&want, &info->high) <= 0);
    }
    mg_part_block_release(&block);
}

static void check_rows(struct fixture *f)
{
    struct mg_part__rows rows;
    uint64_t plain = 0;

    mg_part__rows_init(&rows, &f->budget);
    assert_int_equal(mg_part_group_count(f->part), (f->row_count + 65535) / 65536);
    for (uint32_t c = 0; c < f->schema->column_count; c++) {
        struct mg_part_column_stats stats;
        uint64_t nulls = 0, bytes = 0;
        for (uint32_t g = 0; g < mg_part_group_count(f->part); g++) {
            check_block(f, c, g, &rows);
            nulls += mg_part_block_info(f->part, c, g)->null_count;
            bytes += mg_part_block_bytes(f->part, c, g);
        }
        mg_part_column_stats(f->part, c, &stats);
        assert_int_equal(stats.null_count, nulls);
        assert_int_equal(stats.encoded_bytes, bytes);
        plain += stats.plain_bytes;
    }
    assert_int_equal(plain, f->summary.plain_bytes);
    mg_part__rows_clear(&rows);
}

static void test_round_trip(void **state)
{
    static const struct {
        uint32_t row_count, batch_rows;
    } cases[] = {{1, 1}, {2, 2}, {1023, 100}, {1024, 1024}, {1025, 1000}, {70000, 8192}, {131073, 131073}};
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        make_part(&f, "i64* " ALL_TYPES, cases[i].row_count, cases[i].batch_rows);
        check_rows(&f);
        assert_ok(mg_part_check(f.part, &err));
        assert_int_equal(mg_part_schema(f.part)->version, f.schema->version);
        assert_int_equal(mg_part_schema(f.part)->column_count, f.schema->column_count);
        end(&f);
    }
}

static uint32_t packed_blocks(const struct mg_part *part)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i <= mg_part__index_piece(part); i++) {
        const struct mg_part__piece *piece = mg_part__piece(part, i);
        assert_true(piece->stored <= piece->size - (piece->stored < piece->size ? piece->size / 5 : 0));
        count += piece->stored < piece->size;
    }
    return count;
}

/* Rows of packed blocks are those of others, and so is what a block takes in memory. */
static void test_packed(void **state)
{
    static const int levels[] = {1, 6, 17, 19};
    static const char words[] = "i64* text? i32 i64 pad? text f64";
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f, plain;

    make_part(&plain, words, 140000, 8192);
    for (size_t i = 0; i < MG_COUNT_OF(levels); i++) {
        pack_level = levels[i];
        make_part(&f, words, 140000, i % 2 ? 8192 : 5001);
        pack_level = 0;
        assert_in_range(packed_blocks(f.part), 3, 7 * 3 - 1);
        assert_true(f.summary.file_bytes < plain.summary.file_bytes);
        for (uint32_t c = 0; c < 7; c++)
            assert_int_equal(mg_part_block_bytes(f.part, c, 1), mg_part_block_bytes(plain.part, c, 1));
        check_rows(&f);
        assert_ok(mg_part_check(f.part, &err));
        end(&f);
    }
    end(&plain);
}

/* Without memory to pack blocks they stay as they are. */
static void test_packed_without_memory(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_writer *writer;
    struct mg_part_summary summary;
    struct fixture f = {.disk = mg_io_fault_new(1), .schema = sample_schema("i64* text"), .row_count = 70000};
    struct mg_part_writer_options options = {
        .io = mg_io_fault_io(f.disk), .budget = &f.budget, .segment_id = 9, .pack_level = 17};
    struct mg_batch *rows = sample_batch(f.schema, 0, f.row_count);

    mg_budget_init(&f.budget, "test", NULL, MG_PART__PACKER_BYTES);
    assert_ok(mg_part_writer_open("p", f.schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_ok(mg_part_writer_finish(writer, &summary, &err));
    mg_batch_unref(rows);
    f.summary = summary;
    open_part(&f);
    assert_int_equal(packed_blocks(f.part), 0);
    check_rows(&f);
    end(&f);
}

/* Bytes of the right checksum that are no packed block, or one of another size. */
static void test_packed_damage(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part__packer packer;
    uint8_t plain[5000], out[sizeof plain + 1];

    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i / 100);
    mg_part__packer_init(&packer, NULL, 3);
    assert_true(mg_part__pack(&packer, MG_SLICE(plain, sizeof plain)));
    struct mg_slice packed = mg_buffer_slice(&packer.packed);
    assert_ok(mg_part__unpack(packed, out, sizeof plain, &err));
    assert_memory_equal(out, plain, sizeof plain);
    assert_code(MG_CORRUPT, mg_part__unpack(packed, out, sizeof plain + 1, &err));
    assert_code(MG_CORRUPT, mg_part__unpack(packed, out, sizeof plain - 1, &err));
    for (size_t size = 0; size < packed.size; size++)
        assert_code(MG_CORRUPT, mg_part__unpack(MG_SLICE(packed.data, size), out, sizeof plain, &err));
    assert_code(MG_CORRUPT, mg_part__unpack(MG_SLICE(plain, sizeof plain), out, sizeof plain, &err));
    mg_part__packer_clear(&packer);
}

/* ---- blocks as differences ----------------------------------------------------------------------------------- */

enum { DAYS = 140000, DAY_COLUMNS = 6, NULL_DAY = 70001 /* of column 3 */ };

static void make_days(struct fixture *f, int level)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_writer *writer;

    *f = (struct fixture){
        .disk = mg_io_fault_new(1), .schema = sample_schema("i64* date date date? date date"), .row_count = DAYS};
    mg_budget_init(&f->budget, "test", NULL, SIZE_MAX);
    struct mg_batch *rows = sample_days(f->schema, DAYS, NULL_DAY);
    struct mg_part_writer_options options = {
        .io = mg_io_fault_io(f->disk), .budget = &f->budget, .segment_id = 9, .pack_level = level};
    assert_ok(mg_part_writer_open("p", f->schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_ok(mg_part_writer_finish(writer, &f->summary, &err));
    assert_int_equal(mg_budget_used(&f->budget), 0);
    mg_batch_unref(rows);
    open_part(f);
}

static void check_days(struct fixture *f, struct fixture *plain, uint32_t column, uint32_t group)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_block block, same;

    assert_ok(mg_part_block_get(f->part, column, group, &block, &err));
    assert_ok(mg_part_block_get(plain->part, column, group, &same, &err));
    assert_int_equal(block.block.bytes.size, same.block.bytes.size);
    assert_memory_equal(block.block.bytes.data, same.block.bytes.data, same.block.bytes.size);
    for (uint32_t i = 0; i < block.block.row_count; i += 7) {
        struct mg_value value;
        assert_ok(mg_block_value(&block.block, i, NULL, &value, &err));
        if (!value.is_null)
            assert_int_equal(value.i, sample_day(column, group * MG_BLOCK_ROWS + i));
    }
    mg_part_block_release(&block);
    mg_part_block_release(&same);
}

/* In memory they are the blocks that they would be without. */
static void test_differences(void **state)
{
    /* The place of the column, + 1. Column 3 has a NULL in the second group. */
    static const uint32_t want[3][DAY_COLUMNS] = {{0, 0, 2, 2, 0, 0}, {0, 0, 2, 0, 0, 0}, {0, 0, 2, 2, 0, 0}};
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f, plain;

    make_days(&plain, 0);
    make_days(&f, 3);
    assert_ok(mg_part_check(f.part, &err));
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t c = DAY_COLUMNS; c-- > 0;) { /* the other column is loaded by who needs it */
            assert_int_equal(mg_part__piece(f.part, g * DAY_COLUMNS + c)->difference_of, want[g][c]);
            check_days(&f, &plain, c, g);
        }
    assert_true(f.summary.file_bytes < plain.summary.file_bytes - DAYS);
    end(&f);
    end(&plain);
}

/* The other column's block is damaged: it is named, not the one that needs it. */
static void test_difference_to_damage(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_block block;
    struct fixture f;
    char where[64];

    make_days(&f, 3);
    uint64_t offset = mg_part__piece(f.part, 1)->offset;
    assert_true(mg_io_fault_flip_bit(f.disk, "p", offset + 3000, 2));
    assert_code(MG_CORRUPT, mg_part_block_get(f.part, 2, 0, &block, &err));
    snprintf(where, sizeof where, "p is damaged at byte %llu:", (unsigned long long)offset);
    assert_non_null(strstr(err.text, where));
    assert_ok(mg_part_block_get(f.part, 2, 1, &block, &err));
    mg_part_block_release(&block);
    end(&f);
}

/* Sums that do not fit into the headers, headers of something else, and bytes that end too early. */
static void test_rebuild_refuses(void **state)
{
    enum { ROWS = 1500, VECTORS = 2, HEADERS = 24 + 16 * VECTORS };
    static int64_t others[VECTORS * MG_VECTOR_ROWS], rows[ROWS];
    static uint8_t stored[65536], bytes[65536];
    struct mg_error err = MG_ERROR_INIT;
    struct mg_arena scratch;
    struct mg_buffer block, out;
    struct mg_block_info info;
    uint32_t other;

    for (uint32_t i = 0; i < ROWS; i++) {
        others[i] = sample_day(1, i);
        rows[i] = sample_day(2, i);
    }
    struct mg_vector v = {.type = {.id = MG_TYPE_INT64}, .row_count = ROWS, .values = rows};
    struct mg_vector w = {.type = {.id = MG_TYPE_INT64}, .row_count = ROWS, .values = others};
    mg_arena_init(&scratch, 8 << 20);
    mg_buffer_init(&block, 1 << 20);
    mg_buffer_init(&out, 4 << 20);
    assert_ok(mg_buffer_reserve(&out, 2 << 20, &err));
    assert_ok(mg_block_encode(&v, &scratch, &block, &info, &err));
    struct mg_part__relation relation = {
        .rows = &v, .block = mg_buffer_slice(&block), .others = &w, .other_count = 1, .out = &out};
    assert_true(mg_part__relate(&relation, &scratch, &other));
    memcpy(stored, out.data, out.size);
    struct mg_slice all = MG_SLICE(stored, out.size);
    assert_ok(mg_part__rebuild(all, others, ROWS, bytes, block.size, &err));
    assert_memory_equal(bytes, block.data, block.size);
    for (size_t size = 0; size < out.size; size += 8)
        assert_code(MG_CORRUPT, mg_part__rebuild(MG_SLICE(stored, size), others, ROWS, bytes, block.size, &err));
    for (size_t size = 0; size < block.size; size += 8)
        assert_code(MG_CORRUPT, mg_part__rebuild(all, others, ROWS, bytes, size, &err));
    assert_code(MG_CORRUPT, mg_part__rebuild(all, others, ROWS + 1, bytes, block.size, &err));
    others[7] += 100000;
    assert_code(MG_CORRUPT, mg_part__rebuild(all, others, ROWS, bytes, block.size, &err));
    others[7] -= 100000;
    static const size_t flipped[] = {24, 25, 26, 28, 31}; /* encoding, width, NULLs, offset */
    for (size_t i = 0; i < MG_COUNT_OF(flipped); i++) {
        stored[flipped[i]] ^= 5;
        assert_code(MG_CORRUPT, mg_part__rebuild(all, others, ROWS, bytes, block.size, &err));
        stored[flipped[i]] ^= 5;
    }
    mg_buffer_clear(&out);
    mg_buffer_clear(&block);
    mg_arena_clear(&scratch);
}

/* However long a block is, zstd takes no more than what is reserved for it. */
static void test_packer_memory(void **state)
{
    enum { BYTES = 9 << 20 };
    uint8_t *plain = malloc(BYTES);
    struct mg_random random;

    assert_non_null(plain);
    mg_random_init(&random, 1);
    for (size_t i = 0; i < BYTES; i++)
        plain[i] = (uint8_t)mg_random_below(&random, 40);
    for (int level = 1; level <= 19; level += 6) {
        struct mg_part__packer packer;
        mg_part__packer_init(&packer, NULL, level);
        assert_true(mg_part__pack(&packer, MG_SLICE(plain, BYTES)));
        assert_int_equal(packer.reserved_bytes, MG_PART__PACKER_BYTES);
        mg_part__packer_clear(&packer);
    }
    free(plain);
}

/* Batches that begin anywhere give the same file. */
static void test_same_file(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f;
    struct mg_buffer files[3];
    static const uint32_t batch_rows[] = {140000, 333, 65537};

    for (int i = 0; i < 3; i++) {
        write_part(&f, "handle* text? i8? f64", 140000, batch_rows[i], 140000);
        mg_buffer_init(&files[i], SIZE_MAX / 4);
        assert_ok(mg_io_read_file(mg_io_fault_io(f.disk), "p", &files[i], &err));
        assert_int_equal(files[i].size, files[0].size);
        assert_memory_equal(files[i].data, files[0].data, files[0].size);
        end(&f);
    }
    for (int i = 0; i < 3; i++)
        mg_buffer_clear(&files[i]);
}

/* The example of docs/format/part.md: a change of these bytes is a change of the format. */
static const char example[] =
    "0103000003000000000000003800000000000000000000000000000028000000000000000000000005000000060000000700"
    "0000000000000000000000000000010f00000300000001000000480000000000000000000000000001002800000004000000"
    "000000000500000000000000000000000200000002000000040000006869686f000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000820400000000000"
    "8000401000000000400002000000080004000100000000082080800000000000000300000000010000000002040000040000"
    "4000000280000000000001000000030000000000000000000000000000050000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000500000003000000012a000000a255bf660377cc42070300000004746573"
    "740673616d706c650000020200030000000263310004010f000000026332000100c00000000000000040000000000000005a"
    "0e3c06959e102400010000000000001800000000000000c8cc98394388939504800000050480000007000000000000000038"
    "00000000000000970a27fb70aec34d00000000010500000007000000400000000000000048000000000000003386b4e5fbfb"
    "9b8e010000000102686902686f0c00000000000000000300c30908370b05ae0d031500000000000000000200a202038e0902"
    "f9ce84bdcf4dc8264001000000000000ee000000000000000000000000000000000000000000000000000000000000000000"
    "000001000000e70d566141037cd54d61676963505254";

static struct mg_batch *example_rows(const struct mg_schema *schema)
{
    struct mg_batch_builder builder;
    struct mg_type types[] = {schema->columns[0].type, schema->columns[1].type};
    struct mg_batch *rows;

    sample_must(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX, NULL));
    for (int64_t key = 5; key < 8; key++)
        sample_must(mg_builder_int(&builder, 0, key, NULL));
    sample_must(mg_builder_text(&builder, 1, mg_slice_text("hi"), NULL));
    sample_must(mg_builder_null(&builder, 1, NULL));
    sample_must(mg_builder_text(&builder, 1, mg_slice_text("ho"), NULL));
    sample_must(mg_batch_builder_finish(&builder, 3, &rows, NULL));
    mg_batch_builder_clear(&builder);
    return rows;
}

static void test_example(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_schema *schema = sample_schema("i32* text?");
    struct mg_batch *rows = example_rows(schema);
    struct mg_part_writer_options options = {.io = mg_io_fault_io(disk), .segment_id = 5};
    struct mg_part_writer *writer;
    struct mg_part_summary summary;
    struct mg_buffer bytes, hex;

    mg_buffer_init(&bytes, 1 << 20);
    mg_buffer_init(&hex, 1 << 20);
    assert_ok(mg_part_writer_open("p", schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_ok(mg_part_writer_finish(writer, &summary, &err));
    assert_ok(mg_io_read_file(options.io, "p", &bytes, &err));
    for (size_t i = 0; i < bytes.size; i++)
        assert_ok(mg_buffer_printf(&hex, &err, "%02x", bytes.data[i]));
    assert_int_equal(hex.size, sizeof example - 1);
    assert_memory_equal(hex.data, example, hex.size);
    mg_buffer_clear(&bytes);
    mg_buffer_clear(&hex);
    mg_batch_unref(rows);
    mg_schema_unref(schema);
    mg_io_fault_free(disk);
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

struct probes {
    struct mg_buffer keys;
    uint32_t *offsets, *want, *rows;
    uint64_t *hashes;
    uint32_t count;
};

static void start_probes(struct probes *p, uint32_t room)
{
    *p = (struct probes){
        .offsets = calloc(room + 1, 4), .want = calloc(room, 4), .rows = calloc(room, 4), .hashes = calloc(room, 8)};
    mg_buffer_init(&p->keys, UINT32_MAX);
}

static void add_probe(struct probes *p, const struct mg_schema *schema, uint32_t row, bool gap)
{
    uint32_t i = p->count++, start = (uint32_t)p->keys.size;

    sample_key(schema, row, gap, &p->keys);
    p->offsets[i + 1] = (uint32_t)p->keys.size;
    p->hashes[i] = mg_part_key_hash(MG_SLICE(p->keys.data + start, p->keys.size - start));
    p->want[i] = gap ? MG_PART_NO_ROW : row;
    p->rows[i] = MG_PART_NO_ROW;
}

static void find_probes(struct fixture *f, struct probes *p)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_probe probe = {.count = p->count, .keys = p->keys.data, .offsets = p->offsets, .hashes = p->hashes};

    assert_ok(mg_part_find(f->part, &probe, p->rows, &err));
    for (uint32_t i = 0; i < p->count; i++)
        if (p->rows[i] != p->want[i])
            fail_msg("probe %u found row %u, not %u", i, p->rows[i], p->want[i]);
    mg_buffer_clear(&p->keys);
    free(p->offsets);
    free(p->want);
    free(p->rows);
    free(p->hashes);
}

/* Each stride-th row and the gap behind it; rows beyond the part are not there. */
static void find_every(struct fixture *f, uint32_t stride, bool gaps)
{
    struct probes p;
    uint32_t end_row = f->row_count + (gaps ? 100 : 0);

    start_probes(&p, 2 * (end_row / stride + 1));
    for (uint32_t row = 0; row < end_row; row += stride) {
        add_probe(&p, f->schema, row, false);
        if (row >= f->row_count)
            p.want[p.count - 1] = MG_PART_NO_ROW;
        if (gaps)
            add_probe(&p, f->schema, row, true);
    }
    if (p.count > 2) { /* found elsewhere: left alone */
        p.rows[1] = p.want[1] = 4711;
        p.rows[2] = p.want[2] = 0;
    }
    find_probes(f, &p);
}

static void check_single_keys(struct fixture *f, uint32_t stride, bool gaps)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer key, at;
    uint32_t row;

    mg_buffer_init(&key, UINT32_MAX);
    mg_buffer_init(&at, UINT32_MAX);
    for (uint32_t r = 0; r < f->row_count; r += stride) {
        mg_buffer_reset(&key);
        mg_buffer_reset(&at);
        sample_key(f->schema, r, false, &key);
        assert_ok(mg_part_key_at(f->part, r, &at, &err));
        assert_true(mg_slice_equal(mg_buffer_slice(&key), mg_buffer_slice(&at)));
        assert_ok(mg_part_lower_bound(f->part, mg_buffer_slice(&key), &row, &err));
        assert_int_equal(row, r);
        assert_ok(mg_buffer_append_u8(&key, 0, &err)); /* above the key, below all others */
        assert_ok(mg_part_lower_bound(f->part, mg_buffer_slice(&key), &row, &err));
        assert_int_equal(row, r + 1);
        mg_buffer_reset(&key);
        sample_key(f->schema, r, gaps, &key);
        assert_ok(mg_part_lower_bound(f->part, mg_buffer_slice(&key), &row, &err));
        assert_int_equal(row, r + gaps);
    }
    assert_ok(mg_part_lower_bound(f->part, MG_SLICE("", 0), &row, &err));
    assert_int_equal(row, 0);
    assert_ok(mg_part_lower_bound(f->part, mg_slice_text("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &row, &err));
    assert_int_equal(row, f->row_count);
    mg_buffer_clear(&key);
    mg_buffer_clear(&at);
}

static void test_keys(void **state)
{
    static const struct {
        const char *words;
        uint32_t row_count;
        bool gaps;
    } cases[] = {
        {"i8*", 256, false},
        {"u8* text", 256, false},
        {"i16*", 15000, true},
        {"u16*", 20000, true},
        {"i32*", 70000, true},
        {"u32*", 70000, true},
        {"text i64*", 70000, true},
        {"handle* i32?", 70000, true},
        {"u64*", 70000, true},
        {"date*", 5000, true},
        {"dt*", 5000, true},
        {"ts*", 5000, true},
        {"f32*", 20000, true},
        {"f64*", 70000, true},
        {"dec*", 70000, true},
        {"text*", 70000, true},
        {"pad* i8", 70000, true},
        {"i32* u64*", 70000, true},
        {"u32* text* i16*", 70000, true},
        {"pad* date*", 70000, true},
        {"f64* dec* text*", 20000, true},
        {"i64*", 1, true},
        {"text*", 1, true},
    };
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        make_part(&f, cases[i].words, cases[i].row_count, 60001);
        find_every(&f, 1, cases[i].gaps);
        find_every(&f, 777, cases[i].gaps);
        find_every(&f, 1000000, cases[i].gaps);
        check_single_keys(&f, 131, cases[i].gaps);
        assert_ok(mg_part_check(f.part, &err));
        end(&f);
    }
}

/* Keys of which a vector takes more than is decoded at once; all begin alike. */
static void test_long_keys(void **state)
{
    enum { ROWS = 2100, LONG = 3000 };
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f = {.disk = mg_io_fault_new(1), .schema = sample_schema("text*"), .row_count = ROWS};
    struct mg_batch_builder builder;
    struct mg_part_writer *writer;
    struct mg_batch *rows;
    struct mg_buffer key;
    uint32_t offsets[2] = {0}, row;
    char text[LONG + 8];

    mg_budget_init(&f.budget, "test", NULL, SIZE_MAX);
    struct mg_part_writer_options options = {.io = mg_io_fault_io(f.disk), .budget = &f.budget, .segment_id = 9};
    assert_ok(mg_batch_builder_init(&builder, &f.schema->columns[0].type, 1, NULL, SIZE_MAX, &err));
    for (uint32_t i = 0; i < ROWS; i++) {
        memset(text, 'x', LONG);
        snprintf(text + LONG, 8, "%06u", i * 2);
        assert_ok(mg_builder_text(&builder, 0, MG_SLICE(text, LONG + 6), &err));
    }
    assert_ok(mg_batch_builder_finish(&builder, ROWS, &rows, &err));
    mg_batch_builder_clear(&builder);
    assert_ok(mg_part_writer_open("p", f.schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_ok(mg_part_writer_finish(writer, &f.summary, &err));
    mg_batch_unref(rows);
    open_part(&f);
    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    for (uint32_t number = 1; number < 2 * ROWS; number += 41) { /* odd ones are not there */
        snprintf(text + LONG, 8, "%06u", number);
        struct mg_value value = {.type = f.schema->columns[0].type, .text = MG_SLICE(text, LONG + 6)};
        mg_buffer_reset(&key);
        assert_ok(mg_key_encode_values(&value, 1, &key, &err));
        uint64_t hash = mg_part_key_hash(mg_buffer_slice(&key));
        offsets[1] = (uint32_t)key.size;
        row = MG_PART_NO_ROW;
        struct mg_part_probe probe = {.count = 1, .keys = key.data, .offsets = offsets, .hashes = &hash};
        assert_ok(mg_part_find(f.part, &probe, &row, &err));
        assert_int_equal(row, number % 2 ? MG_PART_NO_ROW : number / 2);
    }
    assert_ok(mg_part_check(f.part, &err));
    mg_buffer_clear(&key);
    end(&f);
}

/* Rising numbers by their gaps; every so often a leap. */
static uint64_t next_number(struct mg_random *random, int shape, uint64_t before, uint32_t row)
{
    static const uint64_t gaps[] = {1, 2, 20, 3000, 5000000, UINT64_C(1) << 44};
    uint64_t leap = shape >= 6 && row % 97 == 96 ? UINT64_C(1) << (shape * 2) : 0;

    return before + 1 + mg_random_below(random, gaps[shape % 6]) + leap;
}

/* Looks each number and its neighbour up, in the vectors of a block. */
static void check_seek(const struct mg_block *block, const uint64_t *numbers, uint64_t flip, uint32_t *sought)
{
    uint32_t row;

    for (uint32_t i = 0; i < block->row_count; i++) {
        uint32_t vector = i / MG_VECTOR_ROWS;
        bool next = i + 1 < block->row_count && numbers[i + 1] == numbers[i] + 1;
        if (!mg_part__seek(block, vector, (int64_t)(numbers[i] ^ flip), &row))
            continue;
        assert_int_equal(row, i % MG_VECTOR_ROWS);
        ++*sought;
        assert_true(mg_part__seek(block, vector, (int64_t)((numbers[i] + 1) ^ flip), &row));
        if (next && (i + 1) % MG_VECTOR_ROWS)
            assert_int_equal(row, (i + 1) % MG_VECTOR_ROWS);
        else if (!next)
            assert_int_equal(row, MG_PART_NO_ROW);
        assert_true(mg_part__seek(block, vector, INT64_MIN, &row));
        assert_int_equal(row, MG_PART_NO_ROW);
        assert_true(mg_part__seek(block, vector, INT64_MAX, &row));
        assert_int_equal(row, MG_PART_NO_ROW);
    }
}

static void test_seek(void **state)
{
    enum { ROWS = 2100 };
    struct mg_error err = MG_ERROR_INIT;
    static uint64_t numbers[ROWS + 8];
    struct mg_random random;
    struct mg_arena scratch;
    struct mg_buffer bytes;
    struct mg_block_info info;
    struct mg_block block;
    uint32_t sought = 0;

    mg_random_init(&random, 1);
    mg_arena_init(&scratch, 64 << 20);
    mg_buffer_init(&bytes, 1 << 24);
    for (int shape = 0; shape < 24; shape++) {
        bool is_unsigned = shape % 2; /* across the sign bit of int64, either way */
        uint64_t flip = is_unsigned ? UINT64_C(1) << 63 : 0, at = flip - 5000;
        struct mg_vector rows = {
            .type = {.id = is_unsigned ? MG_TYPE_UINT64 : MG_TYPE_INT64}, .row_count = ROWS, .values = numbers};
        for (uint32_t i = 0; i < ROWS; i++)
            numbers[i] = at = next_number(&random, shape, at, i);
        mg_buffer_reset(&bytes);
        mg_arena_reset(&scratch);
        assert_ok(mg_block_encode(&rows, &scratch, &bytes, &info, &err));
        size_t size = bytes.size;
        assert_ok(mg_buffer_append_zeros(&bytes, 64, &err));
        assert_ok(mg_block_open(rows.type, MG_SLICE(bytes.data, size), &block, &err));
        check_seek(&block, numbers, flip, &sought);
    }
    assert_true(sought > 15 * ROWS);
    mg_arena_clear(&scratch);
    mg_buffer_clear(&bytes);
}

/* Thousands of vectors whose separators begin with the same 8 bytes behind what all keys share. */
static void test_long_beginnings(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part__index_builder builder;
    struct mg_buffer bytes;
    char before[64] = "", key[64], low[64];
    enum { VECTORS = 5000 };

    mg_part__index_init(&builder, NULL);
    mg_buffer_init(&bytes, UINT32_MAX);
    for (uint32_t row = 0; row < VECTORS; row++) { /* one row a vector stands for all */
        snprintf(key, sizeof key, "%ctenant-number-one/%06u", row < VECTORS / 2 ? 'a' : 'b', row * 2);
        assert_ok(mg_part__index_add(&builder, mg_slice_text(before), mg_slice_text(key), true, &err));
        memcpy(row ? before : low, key, sizeof key);
        memcpy(before, key, sizeof key);
    }
    assert_ok(mg_part__index_encode(&builder, mg_slice_text(low), mg_slice_text(key), &bytes, &err));
    assert_ok(mg_part__index_check(mg_buffer_slice(&bytes), VECTORS * MG_VECTOR_ROWS, 0, &err));
    struct mg_part__index index = mg_part__index_of(mg_buffer_slice(&bytes));
    for (uint32_t row = 0, at = 0; row < VECTORS; row++) {
        snprintf(key, sizeof key, "%ctenant-number-one/%06u", row < VECTORS / 2 ? 'a' : 'b', row * 2);
        assert_int_equal(mg_part__index_find(&index, mg_slice_text(key), 0), row);
        at = mg_part__index_find(&index, mg_slice_text(key), at);
        assert_int_equal(at, row);
    }
    mg_part__index_clear(&builder);
    mg_buffer_clear(&bytes);
}

static void test_filter(void **state)
{
    enum { KEYS = 100000 };
    uint64_t line_count = mg_part__filter_lines(KEYS);
    uint64_t *lines = calloc(line_count, MG_PART__LINE_BYTES);
    uint32_t passed = 0;

    assert_non_null(lines);
    for (uint64_t i = 0; i < 2 * KEYS; i++) {
        uint64_t hash = mg_hash(&i, sizeof i, 0);
        uint64_t *line = lines + mg_part__filter_line(line_count, hash) * MG_PART__LINE_WORDS;
        if (i < KEYS)
            mg_part__filter_add(lines, line_count, &hash, 1);
        if (i < KEYS)
            assert_true(mg_part__filter_test(line, hash));
        else
            passed += mg_part__filter_test(line, hash);
    }
    assert_true(passed < KEYS / 60);
    free(lines);
}

/* ---- refused ------------------------------------------------------------------------------------------------- */

static bool is_there(struct mg_io *io, const char *path)
{
    struct mg_file *file;

    if (mg_io_open(io, path, MG_OPEN_READ, &file, NULL) != MG_OK)
        return false;
    mg_file_close(file);
    return true;
}

static void test_refused_rows(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_io *io = mg_io_fault_io(disk);
    struct mg_schema *schema = sample_schema("i32* text"), *other = sample_schema("i64* text");
    struct mg_budget budget;
    struct mg_part_writer *writer, *second;
    struct mg_part_summary summary;
    struct mg_batch *rows = sample_batch(schema, 10, 10), *again = sample_batch(schema, 19, 5),
                    *wrong = sample_batch(other, 100, 5);

    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    struct mg_part_writer_options options = {.io = io, .budget = &budget};
    assert_ok(mg_part_writer_open("p", schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_code(MG_INVALID, mg_part_writer_append(writer, wrong, &err));
    assert_code(MG_INVALID, mg_part_writer_append(writer, again, &err));
    assert_non_null(strstr(err.text, "row 10"));
    assert_code(MG_EXISTS, mg_part_writer_open("p", schema, &options, &second, &err));
    assert_true(is_there(io, "p"));
    mg_part_writer_abort(writer);
    assert_false(is_there(io, "p"));

    assert_ok(mg_part_writer_open("p", schema, &options, &writer, &err));
    assert_code(MG_INVALID, mg_part_writer_finish(writer, &summary, &err));
    assert_false(is_there(io, "p"));
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_part_writer_abort(NULL);
    mg_batch_unref(rows);
    mg_batch_unref(again);
    mg_batch_unref(wrong);
    mg_schema_unref(schema);
    mg_schema_unref(other);
    mg_io_fault_free(disk);
}

static void test_refused_files(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct fixture f;
    struct mg_part *part;
    struct mg_file *file;
    uint8_t tail[MG_PART__TAIL_BYTES];

    make_part(&f, "i64* text", 3000, 1000);
    struct mg_io *io = mg_io_fault_io(f.disk);
    struct mg_part_options options = {.io = io, .cache = f.cache, .segment_id = 10};
    assert_code(MG_NOT_FOUND, mg_part_open("q", &options, &part, &err));
    assert_code(MG_CORRUPT, mg_part_open("p", &options, &part, &err));
    assert_non_null(strstr(err.text, "segment 9, not 10"));
    options.segment_id = 9;

    /* Another version whose tail is otherwise right. */
    uint64_t at = f.summary.file_bytes - sizeof tail;
    assert_ok(mg_io_open(io, "p", MG_OPEN_WRITE, &file, &err));
    assert_ok(mg_file_pread(file, tail, sizeof tail, at, &err));
    mg_store_le32(tail + 44, 3);
    mg_store_le64(tail + 48, mg_hash(tail, 48, 0));
    assert_ok(mg_file_pwrite(file, tail, sizeof tail, at, &err));
    assert_code(MG_UNIMPLEMENTED, mg_part_open("p", &options, &part, &err));
    assert_code(MG_CORRUPT, mg_part_check(f.part, &err));
    for (uint64_t size = f.summary.file_bytes - 1; size > 0; size = size * 9 / 10) {
        assert_ok(mg_file_truncate(file, size, &err));
        assert_code(MG_CORRUPT, mg_part_open("p", &options, &part, &err));
        assert_non_null(strstr(err.text, "p is damaged at byte"));
    }
    mg_file_close(file);
    end(&f);
}

/* ---- threads ------------------------------------------------------------------------------------------------- */

struct reader {
    struct mg_thread thread;
    struct fixture *f;
    uint32_t stride;
};

static void read_part(void *arg)
{
    struct reader *reader = arg;

    for (int i = 0; i < 3; i++) {
        find_every(reader->f, reader->stride, true);
        check_single_keys(reader->f, 1500 + reader->stride, true);
        mg_part_unref(mg_part_ref(reader->f->part));
    }
}

/* In a cache that holds a part of it. */
static void test_many_threads(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct reader readers[3];
    struct mg_cache_stats stats;
    struct fixture f;

    make_part(&f, "i32* text* i64", 150000, 65536);
    f.budget.limit_bytes = mg_budget_used(&f.budget) + 1200000;
    for (uint32_t i = 0; i < 3; i++) {
        readers[i] = (struct reader){.f = &f, .stride = 17 + 300 * i};
        assert_ok(mg_thread_start(&readers[i].thread, "test-reader", read_part, &readers[i], &err));
    }
    for (int i = 0; i < 3; i++)
        mg_thread_join(&readers[i].thread);
    mg_cache_stats(f.cache, &stats);
    assert_int_equal(stats.pinned_bytes, 0);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_packed_without_memory),
        cmocka_unit_test(test_packed_damage),
        cmocka_unit_test(test_packer_memory),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_difference_to_damage),
        cmocka_unit_test(test_rebuild_refuses),
        cmocka_unit_test(test_same_file),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_long_beginnings),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_long_keys),
        cmocka_unit_test(test_refused_rows),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
