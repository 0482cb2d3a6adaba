/* buffer_test.c -- buffers stop at their maximum unchanged; what they append a reader reads back, and never more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"
#include "base/testing.h"

static void test_max(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer buffer;
    mg_buffer_init(&buffer, 1000);
    uint8_t bytes[1000];
    memset(bytes, 7, sizeof bytes);
    assert_ok(mg_buffer_append(&buffer, NULL, 0, &err));
    assert_null(buffer.data);
    assert_ok(mg_buffer_append(&buffer, bytes, 999, &err));
    assert_int_equal((uintptr_t)buffer.data % 64, 0);
    assert_code(MG_TOO_BIG, mg_buffer_append(&buffer, bytes, 2, &err));
    assert_code(MG_TOO_BIG, mg_buffer_append_zeros(&buffer, SIZE_MAX, &err));
    assert_code(MG_TOO_BIG, mg_buffer_append_bytes(&buffer, MG_SLICE(bytes, 1), &err));
    assert_code(MG_TOO_BIG, mg_buffer_append_bytes(&buffer, MG_SLICE(bytes, SIZE_MAX), &err));
    assert_code(MG_TOO_BIG, mg_buffer_printf(&buffer, &err, "%s", "xx"));
    assert_int_equal(buffer.size, 999);
    assert_ok(mg_buffer_append_u8(&buffer, 9, &err));
    assert_int_equal(buffer.size, 1000);
    assert_true(buffer.capacity <= buffer.max);
    assert_int_equal(buffer.data[998], 7);
    mg_buffer_clear(&buffer);
    mg_buffer_clear(&buffer);
    mg_buffer_clear(NULL);
    assert_int_equal(buffer.max, 1000);
}

static void test_growth(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer buffer;
    mg_buffer_init(&buffer, 1 << 20);
    for (uint32_t i = 0; i < 100000; i++)
        assert_ok(mg_buffer_append_le32(&buffer, i, &err));
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(mg_load_le32(buffer.data + i * 4), i);
    size_t capacity = buffer.capacity;
    mg_buffer_reset(&buffer);
    assert_ok(mg_buffer_printf(&buffer, &err, "%d,%s", 5, "five"));
    assert_true(mg_slice_equal(mg_buffer_slice(&buffer), mg_slice_text("5,five")));
    assert_int_equal(buffer.capacity, capacity);
    mg_buffer_clear(&buffer);
}

static void test_round_trip(void **state)
{
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer buffer;
    mg_buffer_init(&buffer, 1 << 16);
    for (size_t i = 0; i < MG_COUNT_OF(values); i++) {
        assert_ok(mg_buffer_append_varint(&buffer, values[i], &err));
        assert_ok(mg_buffer_append_varint(&buffer, mg_zigzag_encode((int64_t)values[i]), &err));
        assert_ok(mg_buffer_append_le64(&buffer, values[i], &err));
        assert_ok(mg_buffer_append_bytes(&buffer, MG_SLICE(&values[i], 3), &err));
    }
    struct mg_reader reader = mg_reader_of(mg_buffer_slice(&buffer));
    for (size_t i = 0; i < MG_COUNT_OF(values); i++) {
        assert_true(mg_reader_varint(&reader) == values[i]);
        assert_true(mg_zigzag_decode(mg_reader_varint(&reader)) == (int64_t)values[i]);
        assert_true(mg_reader_le64(&reader) == values[i]);
        assert_true(mg_slice_equal(mg_reader_bytes(&reader), MG_SLICE(&values[i], 3)));
    }
    assert_int_equal(mg_reader_left(&reader), 0);
    assert_false(reader.failed);
    mg_buffer_clear(&buffer);
}

static void test_reader_stops(void **state)
{
    const uint8_t bytes[] = {1, 2, 3};
    struct mg_reader reader = mg_reader_of(MG_SLICE(bytes, sizeof bytes));
    assert_int_equal(mg_reader_be16(&reader), 0x0102);
    assert_int_equal(mg_reader_le32(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(mg_reader_u8(&reader), 0); /* sticky, though a byte is left */

    const uint8_t overlong[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    reader = mg_reader_of(MG_SLICE(overlong, sizeof overlong));
    assert_int_equal(mg_reader_varint(&reader), 0);
    assert_true(reader.failed);
    reader = mg_reader_of(MG_SLICE(overlong, 3));
    assert_int_equal(mg_reader_varint(&reader), 0);
    assert_true(reader.failed);

    const uint8_t long_bytes[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 'x'};
    reader = mg_reader_of(MG_SLICE(long_bytes, sizeof long_bytes));
    assert_int_equal(mg_reader_bytes(&reader).size, 0);
    assert_true(reader.failed);
    reader = mg_reader_of(MG_SLICE(NULL, 0));
    assert_int_equal(mg_reader_u8(&reader), 0);
    assert_true(reader.failed);
}

static void test_slices(void **state)
{
    assert_true(mg_slice_compare(mg_slice_text("a"), mg_slice_text("ab")) < 0);
    assert_true(mg_slice_compare(mg_slice_text("b"), mg_slice_text("ab")) > 0);
    assert_true(mg_slice_compare(mg_slice_text("\xff"), mg_slice_text("a")) > 0);
    assert_int_equal(mg_slice_compare(mg_slice_text(""), MG_SLICE(NULL, 0)), 0);
    assert_true(mg_slice_equal(mg_slice_text(NULL), mg_slice_text("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max),          cmocka_unit_test(test_growth), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_reader_stops), cmocka_unit_test(test_slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
