/* block_test.c -- rows of every type and shape come back from a block bit by bit, whole, chosen, and one by one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block.h"

#include <math.h>

#include "base/random.h"
#include "base/testing.h"
#include "column/bits.h"
#include "part/block_samples.h"

static bool same_value(const struct mg_value *a, const struct mg_value *b)
{
    uint8_t x[16] = {0}, y[16] = {0};

    if (a->is_null || b->is_null)
        return a->is_null == b->is_null;
    if (a->type.id == MG_TYPE_UTF8)
        return mg_slice_equal(a->text, b->text);
    mg_value_store(a, x);
    mg_value_store(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static void assert_same(const struct sample *sample, const struct mg_vector *got, uint32_t got_row, uint32_t row)
{
    struct mg_value want = mg_vector_value(sample->vector, row), have = mg_vector_value(got, got_row);

    if (want.type.id == MG_TYPE_FLOAT32 && !want.is_null && !have.is_null) /* a cast to double quiets a NaN */
        assert_memory_equal((const uint8_t *)sample->vector->values + row * 4,
                            (const uint8_t *)got->values + got_row * 4, 4);
    else if (!same_value(&want, &have))
        fail_msg("%s: row %u differs", sample->name, row);
}

/* Memory to decode into: exactly as much as block.h asks for. */
struct room {
    struct mg_block_dest dest;
    struct mg_vector vector;
};

static void make_room(struct room *room, const struct mg_block *block, uint32_t rows, size_t text_bytes)
{
    struct mg_block_dest *dest = &room->dest;
    bool is_text = block->type.id == MG_TYPE_UTF8;

    dest->values = is_text ? NULL : malloc((size_t)rows * mg_type_width(block->type.id) + 64);
    dest->validity = malloc(mg_bits_bytes(rows));
    dest->offsets = is_text ? malloc(((size_t)rows + 1) * 4) : NULL;
    dest->text_room = is_text ? text_bytes + 64 : 0;
    dest->text = is_text ? malloc(dest->text_room) : NULL;
    if (is_text)
        dest->offsets[0] = 0;
    room->vector = (struct mg_vector){.type = block->type,
                                      .row_count = rows,
                                      .validity = dest->validity,
                                      .values = is_text ? dest->text : dest->values,
                                      .offsets = dest->offsets};
}

static void free_room(struct room *room)
{
    free(room->dest.values);
    free(room->dest.validity);
    free(room->dest.offsets);
    free(room->dest.text);
}

static void check_decode(const struct sample *sample, const struct mg_block *block)
{
    struct mg_error err;
    struct room room;
    uint32_t vectors = block->vector_count, half = vectors / 2;

    make_room(&room, block, block->row_count, mg_block_text_bytes(block, 0, vectors));
    assert_ok(mg_block_decode(block, 0, half, &room.dest, 0, &err));
    assert_ok(mg_block_decode(block, half, vectors - half, &room.dest, half * MG_VECTOR_ROWS, &err));
    for (uint32_t row = 0; row < block->row_count; row++)
        assert_same(sample, &room.vector, row, row);
    free_room(&room);
}

static void check_gather(const struct sample *sample, const struct mg_block *block, struct mg_random *random)
{
    struct mg_error err;
    struct room room;
    uint16_t rows[MG_VECTOR_ROWS];

    for (uint32_t v = 0; v < block->vector_count; v += 1 + block->vector_count / 3) {
        uint32_t count = 0, one_in = 1u << mg_random_below(random, 9);
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v); i++)
            if (mg_random_below(random, one_in) == 0)
                rows[count++] = (uint16_t)i;
        make_room(&room, block, 8 + count, mg_block_text_bytes(block, v, 1));
        if (block->type.id == MG_TYPE_UTF8)
            room.dest.offsets[8] = 0;
        assert_ok(mg_block_gather(block, v, rows, count, &room.dest, 8, &err));
        for (uint32_t i = 0; i < count; i++)
            assert_same(sample, &room.vector, 8 + i, v * MG_VECTOR_ROWS + rows[i]);
        free_room(&room);
    }
}

static void check_single(const struct sample *sample, const struct mg_block *block, struct mg_random *random)
{
    struct mg_error err;
    struct mg_arena arena;
    struct mg_value value;

    mg_arena_init(&arena, 1 << 24);
    for (int i = 0; i < 50; i++) {
        uint32_t row = (uint32_t)mg_random_below(random, block->row_count);
        struct mg_value want = mg_vector_value(sample->vector, row);
        assert_ok(mg_block_value(block, row, &arena, &value, &err));
        if (!same_value(&value, &want) && !(!want.is_null && want.type.id == MG_TYPE_FLOAT32 && isnan(want.f)))
            fail_msg("%s: value of row %u differs", sample->name, row);
    }
    mg_arena_clear(&arena);
}

static void check_ints(const struct sample *sample, const struct mg_block *block)
{
    enum mg_type_id id = block->type.id;
    int64_t ints[MG_VECTOR_ROWS];

    if (id == MG_TYPE_UTF8 || id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64)
        return;
    for (uint32_t v = 0; v < block->vector_count; v++) {
        bool fit = mg_block_ints(block, v, ints), all_fit = true;
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v); i++) {
            struct mg_value want = mg_vector_value(sample->vector, v * MG_VECTOR_ROWS + i);
            if (want.is_null)
                continue;
            if (id == MG_TYPE_DECIMAL && want.d != (int64_t)want.d)
                all_fit = false;
            if (fit && ints[i] != (id == MG_TYPE_DECIMAL ? (int64_t)want.d : want.i))
                fail_msg("%s: int of row %u of vector %u differs", sample->name, i, v);
        }
        assert_int_equal(fit, all_fit);
    }
}

static void check_info(const struct sample *sample, const struct mg_block_info *info)
{
    const struct mg_vector *rows = sample->vector;
    bool nan = false;

    assert_int_equal(info->row_count, rows->row_count);
    assert_int_equal(info->null_count, rows->null_count);
    for (uint32_t row = 0; row < rows->row_count; row++) {
        struct mg_value v = mg_vector_value(rows, row);
        nan = nan || (!v.is_null && (v.type.id == MG_TYPE_FLOAT32 || v.type.id == MG_TYPE_FLOAT64) && isnan(v.f));
        if (info->has_zone && !v.is_null)
            assert_true(mg_value_compare(&v, &info->low) >= 0 && mg_value_compare(&v, &info->high) <= 0);
    }
    assert_true(info->has_zone || nan || rows->null_count == rows->row_count || rows->type.id == MG_TYPE_UTF8);
    assert_false(info->has_zone && nan);
}

static uint32_t seen[MG_BLOCK__TEXTS + 1]; /* encodings, as bits, of each class of types */

static void check_sample(const struct sample *sample, struct mg_random *random)
{
    struct mg_error err;
    struct mg_arena arena;
    struct mg_buffer out;
    struct mg_block_info info;
    struct mg_block block;

    mg_arena_init(&arena, 1 << 28);
    mg_buffer_init(&out, 1 << 28);
    assert_ok(mg_block_encode(sample->vector, &arena, &out, &info, &err));
    assert_int_equal(out.size % 8, 0);
    assert_ok(mg_buffer_reserve(&out, 64, &err));
    assert_ok(mg_block_open(sample->vector->type, mg_buffer_slice(&out), &block, &err));
    assert_int_equal(block.row_count, sample->vector->row_count);
    for (uint32_t v = 0; v < block.vector_count; v++)
        seen[mg_block__class_of(block.type.id)] |= 1u << mg_block_vector_encoding(&block, v);
    check_info(sample, &info);
    check_decode(sample, &block);
    check_gather(sample, &block, random);
    check_single(sample, &block, random);
    check_ints(sample, &block);
    mg_arena_clear(&arena);
    mg_buffer_clear(&out);
}

static void test_round_trip(void **state)
{
    struct mg_random random;

    mg_random_init(&random, 1);
    for (uint32_t i = 0; i < sample_count(); i++) {
        struct sample sample;
        sample_make(&sample, i, &random);
        check_sample(&sample, &random);
        sample_free(&sample);
    }
    /* The samples call for every encoding that a class has. */
    assert_int_equal(seen[MG_BLOCK__INTS], 0x3f);
    assert_int_equal(seen[MG_BLOCK__FLOATS], 0x73);
    assert_int_equal(seen[MG_BLOCK__TEXTS], 0xa3);
}

static void test_packed(void **state)
{
    uint64_t numbers[MG_VECTOR_ROWS];
    struct mg_block__lanes packed, lanes;
    struct mg_random random;

    mg_random_init(&random, 2);
    for (uint32_t width = 0; width <= 64; width++) {
        for (uint32_t i = 0; i < MG_VECTOR_ROWS; i++)
            numbers[i] = mg_random_u64(&random) & mg_bits_mask(width);
        for (uint32_t count = 1; count <= MG_VECTOR_ROWS; count = count * 3 + 1) {
            mg_pack__put(numbers, count, width, packed.bytes);
            uint32_t log = mg_block__unpack(packed.bytes, width, count, &lanes);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(mg_pack__get(packed.bytes, width, i) == numbers[i]);
                assert_true(mg_pack__lane(lanes.bytes + ((size_t)i << log), 1u << log) == numbers[i]);
            }
        }
        assert_int_equal(mg_pack__bytes(MG_VECTOR_ROWS, width), MG_BLOCK__WORD * width);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
