/* ipc_test.c -- what is encoded decodes to the same, in every framing; the body is not copied; what is damaged or not
 * supported is refused with its code. Other implementations judge the bytes in tests/interop.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/ipc.h"

#include "base/random.h"
#include "base/testing.h"
#include "column/bits.h"

enum { TYPES = 15 };

static struct mg_field fields[TYPES];
static struct mg_type types[TYPES];
static char names[TYPES][48];

static int set_up(void **state)
{
    for (uint32_t i = 0; i < TYPES; i++) {
        types[i] = (struct mg_type){.id = i + 1};
        if (types[i].id == MG_TYPE_DECIMAL)
            types[i] = (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 30, .scale = 4};
        if (types[i].id == MG_TYPE_DATETIME || types[i].id == MG_TYPE_TIMESTAMP)
            types[i].precision = 6;
        mg_type_format(types[i], names[i]);
        fields[i] = (struct mg_field){.name = mg_slice_text(names[i]),
                                      .type = types[i],
                                      .nullable = i % 2,
                                      .source_type = mg_slice_text(i % 3 ? "" : "decimal(12,2) unsigned")};
    }
    return 0;
}

static struct mg_batch *make_batch(uint32_t row_count, bool with_null)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    assert_ok(mg_batch_builder_init(&builder, types, TYPES, NULL, SIZE_MAX, &err));
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t c = 0; c < TYPES; c++) {
            struct mg_value v = {.type = types[c], .is_null = with_null && fields[c].nullable && (row + c) % 3 == 0};
            if (types[c].id == MG_TYPE_UTF8)
                v.text = MG_SLICE("0123456789", row % 11);
            else if (types[c].id == MG_TYPE_DECIMAL)
                v.d = -(mg_int128)row * 123456789012345678;
            else if (types[c].id == MG_TYPE_FLOAT32 || types[c].id == MG_TYPE_FLOAT64)
                v.f = row * 0.5;
            else
                v.i = row % 100;
            assert_ok(mg_builder_value(&builder, c, &v, &err));
        }
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    mg_batch_builder_clear(&builder);
    return batch;
}

static void assert_same_batch(const struct mg_batch *a, const struct mg_batch *b)
{
    struct mg_error err;

    assert_ok(mg_batch_check(b, &err));
    assert_int_equal(a->row_count, b->row_count);
    assert_int_equal(a->column_count, b->column_count);
    for (uint32_t c = 0; c < a->column_count; c++) {
        assert_int_equal(a->vectors[c].null_count, b->vectors[c].null_count);
        for (uint32_t row = 0; row < a->row_count; row++) {
            struct mg_value x = mg_vector_value(&a->vectors[c], row), y = mg_vector_value(&b->vectors[c], row);
            assert_int_equal(x.is_null, y.is_null);
            assert_true(x.is_null || mg_value_compare(&x, &y) == 0);
        }
    }
}

static void test_schema(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    struct mg_arena arena;
    struct mg_field *back;
    uint32_t count;

    mg_buffer_init(&out, 1 << 20);
    mg_arena_init(&arena, 1 << 20);
    for (uint32_t n = 0; n <= TYPES; n++)
        for (int encapsulate = 0; encapsulate < 2; encapsulate++) {
            mg_buffer_reset(&out);
            assert_ok(mg_ipc_encode_schema(fields, n, encapsulate, &out, &err));
            assert_int_equal(out.size % 8, 0);
            if (encapsulate)
                assert_int_equal(mg_load_le32(out.data + 4) + 8, out.size);
            assert_ok(mg_ipc_decode_schema(mg_buffer_slice(&out), &arena, &back, &count, &err));
            assert_int_equal(count, n);
            for (uint32_t i = 0; i < n; i++) {
                assert_true(mg_slice_equal(back[i].name, fields[i].name));
                assert_true(mg_slice_equal(back[i].source_type, fields[i].source_type));
                assert_true(mg_type_equal(back[i].type, fields[i].type));
                assert_int_equal(back[i].nullable, fields[i].nullable);
            }
        }
    /* The form before Arrow 0.15: only a length in front. */
    mg_store_le32(out.data + 4, (uint32_t)(out.size - 8));
    assert_ok(mg_ipc_decode_schema(MG_SLICE(out.data + 4, out.size - 4), &arena, &back, &count, &err));
    assert_int_equal(count, TYPES);
    mg_buffer_clear(&out);
    mg_arena_clear(&arena);
}

static void test_batches(void **state)
{
    static const uint32_t counts[] = {0, 1, 8, 9, 100, 5000};
    struct mg_error err;
    struct mg_buffer header, body;
    struct mg_arena scratch;
    struct iovec pieces[TYPES * MG_IPC_PIECES_PER_COLUMN];
    uint32_t piece_count;
    uint64_t body_size;
    struct mg_budget budget;

    mg_buffer_init(&header, 1 << 20);
    mg_buffer_init(&body, 1 << 20);
    mg_arena_init(&scratch, 1 << 20);
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    for (size_t i = 0; i < MG_COUNT_OF(counts) * 4; i++) {
        struct mg_batch *batch = make_batch(counts[i / 4], i & 1), *back;
        bool encapsulate = i & 2;
        mg_buffer_reset(&header);
        mg_buffer_reset(&body);
        assert_ok(mg_ipc_encode_batch(batch, encapsulate, &header, &scratch, pieces, &piece_count, &body_size, &err));
        assert_true(piece_count <= MG_COUNT_OF(pieces));
        assert_int_equal(body_size % 8, 0);
        assert_int_equal(body_size, mg_batch_bytes(batch));
        assert_int_equal(header.size % 8, 0);
        bool points_into_batch = false;
        for (uint32_t p = 0; p < piece_count; p++) {
            assert_true(pieces[p].iov_len > 0);
            points_into_batch = points_into_batch || pieces[p].iov_base == batch->vectors[3].values;
            assert_ok(mg_buffer_append(&body, pieces[p].iov_base, pieces[p].iov_len, &err));
        }
        assert_true(points_into_batch || counts[i / 4] == 0);
        assert_int_equal(scratch.used_bytes, 0); /* nothing had to be rebased */
        assert_int_equal(body.size, body_size);
        assert_ok(
            mg_ipc_decode_batch(mg_buffer_slice(&header), mg_buffer_slice(&body), fields, TYPES, &budget, &back, &err));
        assert_same_batch(batch, back);
        assert_true(mg_budget_used(&budget) > 0);
        mg_batch_unref(batch);
        mg_batch_unref(back);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_buffer_clear(&header);
    mg_buffer_clear(&body);
    mg_arena_clear(&scratch);
}

/* A part of a larger text column: its offsets begin above 0. */
static void test_rebased_text(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    struct mg_arena arena;
    struct mg_field *back_fields;
    uint32_t count;
    struct mg_batch *back;
    static const int32_t offsets[] = {2, 3, 3, 7};
    struct mg_vector v = {.type = {.id = MG_TYPE_UTF8}, .row_count = 3, .values = "xxabcde", .offsets = offsets};
    struct mg_batch batch = {.row_count = 3, .column_count = 1, .vectors = &v};

    mg_buffer_init(&out, 1 << 20);
    mg_arena_init(&arena, 1 << 20);
    assert_ok(mg_ipc_stream_begin(&fields[TYPES - 1], 1, &out, &err));
    assert_ok(mg_ipc_stream_batch(&batch, &out, &err));
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&out));
    assert_ok(mg_ipc_stream_schema(&in, &arena, &back_fields, &count, &err));
    assert_ok(mg_ipc_stream_next(&in, back_fields, count, NULL, &back, &err));
    assert_same_batch(&batch, back);
    assert_int_equal(back->vectors[0].offsets[0], 0);
    mg_batch_unref(back);
    assert_ok(mg_ipc_stream_next(&in, back_fields, count, NULL, &back, &err));
    assert_null(back); /* the input ends, without a marker */
    mg_buffer_clear(&out);
    mg_arena_clear(&arena);
}

static void test_no_columns(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    struct mg_arena arena;
    struct mg_field *back_fields;
    uint32_t count;
    struct mg_batch batch = {.row_count = 12345}, *back;

    mg_buffer_init(&out, 1 << 20);
    mg_arena_init(&arena, 1 << 20);
    assert_ok(mg_ipc_stream_begin(NULL, 0, &out, &err));
    assert_ok(mg_ipc_stream_batch(&batch, &out, &err));
    assert_ok(mg_ipc_stream_end(&out, &err));
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&out));
    assert_ok(mg_ipc_stream_schema(&in, &arena, &back_fields, &count, &err));
    assert_int_equal(count, 0);
    assert_ok(mg_ipc_stream_next(&in, back_fields, count, NULL, &back, &err));
    assert_int_equal(back->row_count, 12345);
    mg_batch_unref(back);
    assert_ok(mg_ipc_stream_next(&in, back_fields, count, NULL, &back, &err));
    assert_null(back);
    mg_buffer_clear(&out);
    mg_arena_clear(&arena);
}

/* A stream with two batches; its first byte behind the schema is at *out_batch. */
static void make_stream(struct mg_buffer *out, size_t *out_batch, uint32_t row_count)
{
    struct mg_error err;

    assert_ok(mg_ipc_stream_begin(fields, TYPES, out, &err));
    *out_batch = out->size;
    for (int i = 0; i < 2; i++) {
        struct mg_batch *batch = make_batch(row_count, i);
        assert_ok(mg_ipc_stream_batch(batch, out, &err));
        mg_batch_unref(batch);
    }
    assert_ok(mg_ipc_stream_end(out, &err));
}

/* Reads to the end; returns the first code that is not MG_OK. */
static enum mg_code read_all(struct mg_slice stream, uint32_t *out_batches)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_arena arena;
    struct mg_field *back_fields = NULL;
    struct mg_batch *batch = NULL;
    struct mg_reader in = mg_reader_of(stream);
    uint32_t count = 0;

    mg_arena_init(&arena, 1 << 24);
    *out_batches = 0;
    enum mg_code code = mg_ipc_stream_schema(&in, &arena, &back_fields, &count, &err);
    while (code == MG_OK) {
        code = mg_ipc_stream_next(&in, back_fields, count, NULL, &batch, &err);
        if (code != MG_OK || !batch)
            break;
        (*out_batches)++;
        struct mg_error check_err = MG_ERROR_INIT;
        if (mg_batch_check(batch, &check_err) != MG_OK)
            fail_msg("a decoded batch is not sound: %s", check_err.text);
        mg_batch_unref(batch);
    }
    assert_true(code == MG_OK || err.text[0]);
    mg_arena_clear(&arena);
    return code;
}

static void test_cut_streams(void **state)
{
    struct mg_buffer out;
    size_t batch_at;
    uint32_t batches;

    mg_buffer_init(&out, 1 << 20);
    make_stream(&out, &batch_at, 9);
    assert_int_equal(read_all(mg_buffer_slice(&out), &batches), MG_OK);
    assert_int_equal(batches, 2);
    for (size_t cut = 0; cut < out.size; cut++) {
        uint8_t *copy = malloc(cut + 1); /* of exactly that size, for the sanitizers */
        memcpy(copy, out.data, cut);
        enum mg_code code = read_all(MG_SLICE(copy, cut), &batches);
        /* A stream may end between messages. */
        assert_true(code == MG_INVALID || (code == MG_OK && cut >= batch_at));
        free(copy);
    }
    mg_buffer_clear(&out);
}

static void test_damaged_streams(void **state)
{
    struct mg_random random;
    struct mg_buffer out;
    size_t batch_at;
    uint32_t batches, refused = 0;

    mg_buffer_init(&out, 1 << 20);
    make_stream(&out, &batch_at, 5);
    mg_random_init(&random, 1);
    for (int i = 0; i < 60000; i++) {
        uint8_t *copy = malloc(out.size);
        memcpy(copy, out.data, out.size);
        for (uint64_t n = 1 + mg_random_below(&random, 4); n; n--) {
            size_t at = mg_random_below(&random, out.size);
            static const uint8_t odd[] = {0, 1, 4, 0x7f, 0x80, 0xff};
            copy[at] = mg_random_below(&random, 2) ? odd[mg_random_below(&random, sizeof odd)]
                                                   : (uint8_t)mg_random_u64(&random);
        }
        enum mg_code code = read_all(MG_SLICE(copy, out.size), &batches);
        assert_true(code == MG_OK || code == MG_INVALID || code == MG_UNIMPLEMENTED || code == MG_TOO_BIG ||
                    code == MG_NO_MEMORY);
        refused += code != MG_OK;
        free(copy);
    }
    assert_true(refused > 10000);
    mg_buffer_clear(&out);
}

static void test_nulls_where_none_may_be(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    size_t batch_at;
    struct mg_batch *batch;
    struct mg_field strict[TYPES];

    memcpy(strict, fields, sizeof strict);
    strict[1].nullable = false;
    mg_buffer_init(&out, 1 << 20);
    make_stream(&out, &batch_at, 9);
    struct mg_reader in = mg_reader_of(MG_SLICE(out.data + batch_at, out.size - batch_at));
    assert_ok(mg_ipc_stream_next(&in, strict, TYPES, NULL, &batch, &err)); /* without NULL */
    mg_batch_unref(batch);
    assert_code(MG_INVALID, mg_ipc_stream_next(&in, strict, TYPES, NULL, &batch, &err));
    assert_non_null(strstr(err.text, "int16"));
    assert_code(MG_INVALID,
                mg_ipc_decode_schema(MG_SLICE(out.data + batch_at, out.size - batch_at), NULL, NULL, NULL, &err));
    mg_buffer_clear(&out);
}

static void test_digits_beyond_the_type(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    size_t batch_at;
    struct mg_batch *batch;
    struct mg_field narrow[TYPES];

    memcpy(narrow, fields, sizeof narrow);
    narrow[MG_TYPE_DECIMAL - 1].type.precision = 17;
    mg_buffer_init(&out, 1 << 20);
    make_stream(&out, &batch_at, 9);
    struct mg_reader in = mg_reader_of(MG_SLICE(out.data + batch_at, out.size - batch_at));
    assert_code(MG_INVALID, mg_ipc_stream_next(&in, narrow, TYPES, NULL, &batch, &err));
    mg_buffer_clear(&out);
}

static void test_maxima(void **state)
{
    struct mg_error err;
    struct mg_buffer out;
    struct mg_budget budget;
    struct mg_batch *batch, rows = {.row_count = MG_BATCH_ROWS_MAX + 1};

    mg_buffer_init(&out, 100); /* too small for the header: nothing is left behind */
    assert_code(MG_TOO_BIG, mg_ipc_encode_schema(fields, TYPES, true, &out, &err));
    assert_int_equal(out.size, 0);
    struct mg_batch *full = make_batch(100, false);
    assert_code(MG_TOO_BIG, mg_ipc_stream_batch(full, &out, &err));
    assert_int_equal(out.size, 0);
    out.max = 1 << 20;
    assert_ok(mg_ipc_stream_batch(full, &out, &err));
    mg_budget_init(&budget, "test", NULL, 1000);
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&out));
    assert_code(MG_NO_MEMORY, mg_ipc_stream_next(&in, fields, TYPES, &budget, &batch, &err));
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_buffer_reset(&out);
    assert_ok(mg_ipc_stream_batch(&rows, &out, &err));
    in = mg_reader_of(mg_buffer_slice(&out));
    assert_code(MG_TOO_BIG, mg_ipc_stream_next(&in, NULL, 0, NULL, &batch, &err));
    mg_batch_unref(full);
    mg_buffer_clear(&out);
}

static void test_bits(void **state)
{
    struct mg_random random;
    uint8_t from[40], to[40], expected[40];

    mg_random_init(&random, 1);
    for (int i = 0; i < 20000; i++) {
        uint32_t a = (uint32_t)mg_random_below(&random, 100), b = (uint32_t)mg_random_below(&random, 100);
        uint32_t n = (uint32_t)mg_random_below(&random, 200), set = 0;
        for (size_t k = 0; k < sizeof from; k++) {
            from[k] = (uint8_t)mg_random_u64(&random);
            to[k] = expected[k] = (uint8_t)mg_random_u64(&random);
        }
        for (uint32_t k = 0; k < n; k++) {
            uint32_t bit = from[(a + k) / 8] >> (a + k) % 8 & 1;
            set += bit;
            expected[(b + k) / 8] = (uint8_t)((expected[(b + k) / 8] & ~(1u << (b + k) % 8)) | bit << (b + k) % 8);
        }
        mg_bits_copy(to, b, from, a, n);
        assert_memory_equal(to, expected, sizeof to);
        assert_int_equal(mg_bits_count(from, a, n), set);
        mg_bits_set(to, b, n);
        assert_int_equal(mg_bits_count(to, b, n), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_rebased_text),
        cmocka_unit_test(test_no_columns),
        cmocka_unit_test(test_cut_streams),
        cmocka_unit_test(test_damaged_streams),
        cmocka_unit_test(test_nulls_where_none_may_be),
        cmocka_unit_test(test_digits_beyond_the_type),
        cmocka_unit_test(test_maxima),
        cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
