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
    uint32_t vectors = block->vector_count, half = vectors / 2;

    for (uint32_t at = 0; at < 4; at += 3) { /* where buffers begin, and behind three rows */
        struct room room;
        make_room(&room, block, at + block->row_count, mg_block_text_bytes(block, 0, vectors));
        if (block->type.id == MG_TYPE_UTF8)
            room.dest.offsets[at] = 0;
        assert_ok(mg_block_decode(block, 0, half, &room.dest, at, &err));
        assert_ok(mg_block_decode(block, half, vectors - half, &room.dest, at + half * MG_VECTOR_ROWS, &err));
        for (uint32_t row = 0; row < block->row_count; row++)
            assert_same(sample, &room.vector, at + row, row);
        free_room(&room);
    }
}

static void check_gathered_ints(const struct sample *sample, const struct mg_block *block, uint32_t vector,
                                const uint16_t *rows, uint32_t count)
{
    int64_t all[MG_VECTOR_ROWS], some[MG_VECTOR_ROWS];

    if (mg_block__class_of(block->type.id) != MG_BLOCK__INTS || !mg_block_ints(block, vector, all))
        return;
    assert_true(mg_block_gather_ints(block, vector, rows, count, some));
    for (uint32_t i = 0; i < count; i++)
        if (some[i] != all[rows[i]])
            fail_msg("%s: gathered int of row %u of vector %u differs", sample->name, rows[i], vector);
}

/* Codes and the dictionary say what the rows are. */
static void check_codes(const struct sample *sample, const struct mg_block *block)
{
    struct mg_error err;
    struct mg_arena arena;
    struct mg_vector values;
    uint16_t codes[MG_VECTOR_ROWS];

    if (!block->dictionary)
        return;
    mg_arena_init(&arena, 1 << 28);
    assert_ok(mg_block_dictionary_values(block, &arena, &values, &err));
    for (uint32_t v = 0; v < block->vector_count; v++) {
        const uint8_t *validity = mg_block_vector_validity(block, v);
        bool all_null = mg_block_vector_nulls(block, v) == mg_block_vector_rows(block, v);
        if (!mg_block_codes(block, v, codes)) {
            assert_true(mg_block_vector_encoding(block, v) != MG_ENCODING_DICTIONARY || values.row_count > 65536);
            continue;
        }
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v) && !all_null; i++)
            if (!validity || (validity[i / 8] >> i % 8 & 1))
                assert_same(sample, &values, codes[i], v * MG_VECTOR_ROWS + i);
    }
    mg_arena_clear(&arena);
}

static void check_gather(const struct sample *sample, const struct mg_block *block, struct mg_random *random)
{
    struct mg_error err;
    struct room room;
    uint16_t rows[MG_VECTOR_ROWS];

    for (uint32_t v = 0; v < block->vector_count; v += 1 + block->vector_count / 3) {
        uint32_t count = 0, one_in = 1u << mg_random_below(random, 9), at = (uint32_t)mg_random_below(random, 70);
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v); i++)
            if (mg_random_below(random, one_in) == 0)
                rows[count++] = (uint16_t)i;
        make_room(&room, block, at + count, mg_block_text_bytes(block, v, 1));
        if (block->type.id == MG_TYPE_UTF8)
            room.dest.offsets[at] = 0;
        assert_ok(mg_block_gather(block, v, rows, count, &room.dest, at, &err));
        for (uint32_t i = 0; i < count; i++)
            assert_same(sample, &room.vector, at + i, v * MG_VECTOR_ROWS + rows[i]);
        free_room(&room);
        check_gathered_ints(sample, block, v, rows, count);
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

/* ---- tests and sums against the plain way -------------------------------------------------------------------- */

/* Texts without trailing blanks when the condition says so. */
static int compare(const struct mg_block_condition *condition, const struct mg_value *v, const struct mg_value *other)
{
    struct mg_value trimmed = *v;

    while (condition->pad_space && trimmed.text.size && trimmed.text.data[trimmed.text.size - 1] == ' ')
        trimmed.text.size--;
    return mg_value_compare(&trimmed, other);
}

static bool is_let_through(const struct mg_block_condition *condition, const struct mg_value *v)
{
    const struct mg_value *values = condition->values;

    for (uint32_t i = 0; condition->op == MG_BLOCK_IN && i < condition->value_count; i++)
        if (compare(condition, v, &values[i]) == 0)
            return true;
    int c = condition->value_count && !values[0].is_null ? compare(condition, v, &values[0]) : 1;
    switch (condition->op) {
    case MG_BLOCK_EQ: return c == 0;
    case MG_BLOCK_NE: return c != 0;
    case MG_BLOCK_LT: return c < 0;
    case MG_BLOCK_LE: return c <= 0;
    case MG_BLOCK_GT: return c > 0;
    case MG_BLOCK_GE: return c >= 0;
    case MG_BLOCK_BETWEEN:
        if (c < (int)condition->low_is_open)
            return false;
        return values[1].is_null || compare(condition, v, &values[1]) <= -(int)condition->high_is_open;
    default: return false;
    }
}

static bool passes(const struct mg_block_condition *condition, const struct mg_value *v)
{
    if (condition->op == MG_BLOCK_IS_NULL || v->is_null)
        return condition->op == MG_BLOCK_IS_NULL && v->is_null;
    return condition->op == MG_BLOCK_IS_NOT_NULL || is_let_through(condition, v) != condition->is_negated;
}

/* Constants that matter: values of the column and their neighbours. */
static struct mg_value some_constant(const struct sample *sample, struct mg_random *random)
{
    uint32_t rows = sample->vector->row_count;
    struct mg_value v = {.is_null = true};

    for (int i = 0; i < 20 && v.is_null; i++)
        v = mg_vector_value(sample->vector, (uint32_t)mg_random_below(random, rows));
    if (v.is_null)
        return (struct mg_value){.type = sample->vector->type};
    uint64_t more = mg_random_below(random, 4) ? 0 : mg_random_below(random, 3) - 1;
    if (v.type.id == MG_TYPE_UTF8)
        v.text.size -= more && v.text.size;
    else if (v.type.id == MG_TYPE_FLOAT64)
        v.f += (double)(int64_t)more;
    else if (v.type.id == MG_TYPE_DECIMAL)
        v.d += (int64_t)more;
    else if (v.type.id != MG_TYPE_FLOAT32) {
        uint8_t bytes[8];
        v.u += more;
        mg_value_store(&v, bytes);
        v = mg_value_load(v.type, bytes);
    }
    return v;
}

static int compare_values(const void *a, const void *b) { return mg_value_compare(a, b); }

/* As many constants as the operation takes, rising strictly. */
static uint32_t make_constants(const struct sample *sample, const struct mg_block_condition *condition,
                               struct mg_value *out, struct mg_random *random)
{
    enum mg_block_op op = condition->op;
    uint32_t count = op == MG_BLOCK_IN        ? (uint32_t)mg_random_below(random, 12)
                     : op == MG_BLOCK_BETWEEN ? 2
                                              : 1,
             kept = 0;

    if (op == MG_BLOCK_IS_NULL || op == MG_BLOCK_IS_NOT_NULL)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = some_constant(sample, random);
        while (condition->pad_space && out[i].text.size && out[i].text.data[out[i].text.size - 1] == ' ')
            out[i].text.size--;
    }
    qsort(out, count, sizeof *out, compare_values);
    if (op == MG_BLOCK_BETWEEN && mg_random_below(random, 4) == 0)
        out[mg_random_below(random, 2)].is_null = true;
    if (op != MG_BLOCK_IN)
        return count;
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || mg_value_compare(&out[kept - 1], &out[i]) != 0)
            out[kept++] = out[i];
    return kept;
}

static void random_mask(const struct mg_block *block, uint32_t vector, struct mg_random *random,
                        uint64_t mask[MG_VECTOR_WORDS])
{
    uint64_t kind = mg_random_below(random, 3);

    memset(mask, 0, MG_VECTOR_WORDS * 8);
    for (uint32_t i = 0; i < mg_block_vector_rows(block, vector); i++)
        mask[i / 64] |= (uint64_t)(kind == 0 || mg_random_below(random, kind == 1 ? 2 : 40) == 0) << i % 64;
}

static void check_test(const struct sample *sample, const struct mg_block *block, enum mg_block_op op,
                       struct mg_random *random)
{
    struct mg_error err;
    struct mg_arena arena;
    struct mg_block_test *test;
    enum mg_block_verdict verdict;
    struct mg_value values[12];
    uint32_t passing = 0, rows = 0;
    bool is_text = block->type.id == MG_TYPE_UTF8, on_nulls = op >= MG_BLOCK_IS_NULL;
    struct mg_block_condition condition = {.op = op,
                                           .is_negated = !on_nulls && mg_random_below(random, 3) == 0,
                                           .pad_space = is_text && mg_random_below(random, 2),
                                           .low_is_open = mg_random_below(random, 4) == 0,
                                           .high_is_open = mg_random_below(random, 4) == 0,
                                           .values = values};

    condition.value_count = make_constants(sample, &condition, values, random);
    mg_arena_init(&arena, 1 << 24);
    assert_ok(mg_block_test_new(block, &condition, &arena, &test, &verdict, &err));
    if (verdict == MG_BLOCK_UNABLE)
        assert_true(condition.pad_space && mg_block__symbols(block) && !test);
    for (uint32_t v = 0; test && v < block->vector_count; v += 1 + block->vector_count / 4) {
        uint64_t before[MG_VECTOR_WORDS], mask[MG_VECTOR_WORDS];
        random_mask(block, v, random, before);
        memcpy(mask, before, sizeof mask);
        assert_ok(mg_block_test_run(test, v, mask, &err));
        for (uint32_t i = 0; i < MG_VECTOR_ROWS; i++) {
            bool asked = before[i / 64] >> i % 64 & 1, got = mask[i / 64] >> i % 64 & 1, want = false;
            if (asked) {
                struct mg_value value = mg_vector_value(sample->vector, v * MG_VECTOR_ROWS + i);
                want = passes(&condition, &value);
                passing += want;
                rows++;
            }
            if (got != want)
                fail_msg("%s: test %d of row %u of vector %u gives %d", sample->name, op, i, v, got);
        }
    }
    assert_false(verdict == MG_BLOCK_NONE && passing > 0);
    assert_false(verdict == MG_BLOCK_ALL && passing < rows);
    mg_arena_clear(&arena);
}

static void check_sum(const struct sample *sample, const struct mg_block *block, struct mg_random *random)
{
    if (mg_block__class_of(block->type.id) != MG_BLOCK__INTS)
        return;
    for (uint32_t v = 0; v < block->vector_count; v += 1 + block->vector_count / 9) {
        uint64_t mask[MG_VECTOR_WORDS];
        bool masked = mg_random_below(random, 3), fits = true;
        mg_int128 want = 0, sum;
        uint32_t want_count = 0, count;
        random_mask(block, v, random, mask);
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v); i++) {
            struct mg_value value = mg_vector_value(sample->vector, v * MG_VECTOR_ROWS + i);
            if (value.is_null || (masked && !(mask[i / 64] >> i % 64 & 1)))
                continue;
            bool is_unsigned = block->type.id >= MG_TYPE_UINT8 && block->type.id <= MG_TYPE_UINT64;
            mg_int128 more = block->type.id == MG_TYPE_DECIMAL ? value.d
                             : is_unsigned                     ? (mg_int128)value.u
                                                               : (mg_int128)value.i;
            fits = fits && !__builtin_add_overflow(want, more, &want);
            want_count++;
        }
        if (!mg_block_sum(block, v, masked ? mask : NULL, &sum, &count))
            assert_true(block->type.id == MG_TYPE_DECIMAL && (!fits || mg_block_vector_encoding(block, v) == 2));
        else if (fits)
            assert_true(sum == want && count == want_count);
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
    check_codes(sample, &block);
    for (enum mg_block_op op = MG_BLOCK_EQ; op <= MG_BLOCK_IS_NOT_NULL; op++)
        check_test(sample, &block, op, random);
    check_sum(sample, &block, random);
    mg_arena_clear(&arena);
    mg_buffer_clear(&out);
}

static const char *const kernel_names[] = {"plain", "avx2", "avx512"};

/* Every kind of kernels gives what the plain ones give. */
static void test_kernels(void **state)
{
    static struct mg_block__lanes lanes, kept[2];
    static uint8_t packed[MG_VECTOR_ROWS * 8], out[2][MG_VECTOR_ROWS * 16];
    uint64_t mask[MG_VECTOR_WORDS], words[2][MG_VECTOR_WORDS];
    const struct mg_block__kernels *plain = &mg_block__kernels_plain, *others[2];
    uint32_t other_count = 0;
    struct mg_random random;

    mg_random_init(&random, 3);
    for (size_t i = 0; i < MG_COUNT_OF(kernel_names); i++)
        if (mg_block_kernels_force(kernel_names[i]) && mg_block__kernels() != plain)
            others[other_count++] = mg_block__kernels();
    for (uint32_t round = 0; round < 2000 * other_count; round++) {
        const struct mg_block__kernels *other = others[round % other_count];
        uint32_t width = (uint32_t)mg_random_below(&random, 65), log = (uint32_t)mg_random_below(&random, 4);
        uint32_t count = 1 + (uint32_t)mg_random_below(&random, round % 2 ? MG_VECTOR_ROWS : 64);
        uint64_t low = mg_random_u64(&random), span = mg_random_u64(&random) >> mg_random_below(&random, 64);
        for (size_t i = 0; i < sizeof packed; i += 8)
            mg_store_le64(packed + i, mg_random_u64(&random));
        for (size_t i = 0; i < MG_VECTOR_WORDS; i++)
            mask[i] = mg_random_below(&random, 3) ? mg_random_u64(&random) : 0 - mg_random_below(&random, 2);
        plain->unpack(packed, width, count, lanes.bytes);
        other->unpack(packed, width, count, kept[0].bytes);
        assert_memory_equal(lanes.bytes, kept[0].bytes, (size_t)count * mg_pack__lane_bytes(width));
        memcpy(lanes.bytes, packed, sizeof packed);
        for (uint32_t to = 0; to < 5; to++) {
            plain->widen[log][to](lanes.bytes, (mg_int128)low << 40, count, out[0]);
            other->widen[log][to](lanes.bytes, (mg_int128)low << 40, count, out[1]);
            assert_memory_equal(out[0], out[1], (size_t)count << to);
        }
        plain->range[log](lanes.bytes, count, low, span, words[0]);
        other->range[log](lanes.bytes, count, low, span, words[1]);
        assert_memory_equal(words[0], words[1], (count + 63) / 64 * 8);
        kept[0] = kept[1] = lanes;
        plain->keep[log](kept[0].bytes, count, mask);
        other->keep[log](kept[1].bytes, count, mask);
        assert_memory_equal(kept[0].bytes, kept[1].bytes, sizeof kept[0].bytes);
        assert_true(plain->sum[log](kept[0].bytes, count) == other->sum[log](kept[0].bytes, count));
    }
    assert_true(mg_block_kernels_force(NULL));
    assert_false(mg_block_kernels_force("abacus"));
}

/* The example of docs/format/part.md. */
static void test_example(void **state)
{
    static const uint8_t head[] = {0x01, 0x04, 0, 0, 0x30, 0, 0, 0, 0x01, 0,    0,    0,    0xb0, 0,    0, 0,
                                   0,    0,    0, 0, 0,    0, 0, 0, 0x02, 0x02, 1,    0,    0x28, 0,    0, 0,
                                   0xe8, 3,    0, 0, 0,    0, 0, 0, 0xf7, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0};
    uint8_t want[176] = {0};
    int64_t values[48];
    uint8_t validity[8] = {0xf7, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct mg_vector rows = {
        .type = {.id = MG_TYPE_INT64}, .row_count = 48, .null_count = 1, .validity = validity, .values = values};
    struct mg_error err;
    struct mg_arena arena;
    struct mg_buffer out;
    struct mg_block_info info;

    memcpy(want, head, sizeof head);
    for (uint32_t i = 0; i < 48; i++) {
        values[i] = 1000 + i % 4;
        want[sizeof head + i] = (uint8_t)(i == 3 ? 2 : i % 4);
    }
    mg_arena_init(&arena, 1 << 24);
    mg_buffer_init(&out, 1 << 20);
    assert_ok(mg_block_encode(&rows, &arena, &out, &info, &err));
    assert_int_equal(out.size, sizeof want);
    assert_memory_equal(out.data, want, sizeof want);
    mg_arena_clear(&arena);
    mg_buffer_clear(&out);
}

/* The widest decimals there are, as a vector's base and as its only value. */
static void test_widest_decimals(void **state)
{
    const mg_int128 ends[] = {mg_decimal_power(38) - 1, 1 - mg_decimal_power(38)};
    mg_int128 values[96], got[96 + 4];
    struct mg_vector rows = {
        .type = {.id = MG_TYPE_DECIMAL, .precision = 38}, .row_count = MG_COUNT_OF(values), .values = values};
    for (size_t end = 0; end < 2; end++)
        for (int spread = 0; spread < 2; spread++) {
            struct mg_error err = MG_ERROR_INIT;
            struct mg_arena arena;
            struct mg_buffer out;
            struct mg_block_info info;
            struct mg_block block;
            struct mg_block_dest dest = {.values = got};
            for (uint32_t i = 0; i < rows.row_count; i++)
                values[i] = ends[end] + (mg_int128)(i % 7) * spread * (end ? 1 : -1);
            mg_arena_init(&arena, 1 << 24);
            mg_buffer_init(&out, 1 << 20);
            assert_ok(mg_block_encode(&rows, &arena, &out, &info, &err));
            assert_ok(mg_buffer_append_zeros(&out, 64, &err));
            assert_ok(mg_block_open(rows.type, MG_SLICE(out.data, out.size - 64), &block, &err));
            assert_int_equal(mg_block_vector_encoding(&block, 0), spread ? MG_ENCODING_FRAME : MG_ENCODING_CONSTANT);
            assert_ok(mg_block_decode(&block, 0, 1, &dest, 0, &err));
            assert_memory_equal(got, values, sizeof values);
            mg_arena_clear(&arena);
            mg_buffer_clear(&out);
        }
}

/* Headers that lie are refused with their place. */
static void test_damage(void **state)
{
    static const struct {
        uint32_t offset;
        uint8_t value;
        const char *says;
    } cases[] = {
        {0, 2, "format 2"},           {1, 5, "type number 5"},    {4, 0, "it has 0 rows"},     {12, 1, "it says that"},
        {16, 7, "lie at 7"},          {8, 2, "2 NULLs in all"},   {24, 6, "encoding 6"},       {24, 9, "encoding 9"},
        {24, 5, "DICTIONARY, width"}, {25, 65, "has width 65"},   {25, 0x82, "has width 130"}, {25, 64, "does not fit"},
        {26, 49, "49 NULLs in 48"},   {26, 48, "48 NULLs in 48"}, {28, 0x21, "data at 33"},    {28, 0x08, "data at 8"},
        {29, 1, "data at 296"},
    };
    struct mg_error err;
    struct mg_arena arena;
    struct mg_buffer out;
    struct mg_block_info info;
    struct mg_block block;
    int64_t values[48];
    struct mg_vector rows = {.type = {.id = MG_TYPE_INT64}, .row_count = 48, .values = values};

    for (uint32_t i = 0; i < 48; i++)
        values[i] = 1000 + i % 4;
    mg_arena_init(&arena, 1 << 24);
    mg_buffer_init(&out, 1 << 20);
    assert_ok(mg_block_encode(&rows, &arena, &out, &info, &err));
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        uint8_t before = out.data[cases[i].offset];
        out.data[cases[i].offset] = cases[i].value;
        assert_code(MG_CORRUPT, mg_block_open(rows.type, mg_buffer_slice(&out), &block, &err));
        if (!strstr(err.text, cases[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.text, cases[i].says);
        out.data[cases[i].offset] = before;
    }
    for (size_t size = 0; size < out.size; size += 4)
        assert_code(MG_CORRUPT, mg_block_open(rows.type, MG_SLICE(out.data, size), &block, &err));
    mg_arena_clear(&arena);
    mg_buffer_clear(&out);
}

/* A code that the dictionary has not is noticed where it is used, by everything that uses it. */
static void test_code_beyond(void **state)
{
    static int64_t values[MG_VECTOR_ROWS], ints[MG_VECTOR_ROWS + 8];
    struct mg_vector rows = {.type = {.id = MG_TYPE_INT64}, .row_count = MG_VECTOR_ROWS, .values = values};
    struct mg_block_dest dest = {.values = ints};
    struct mg_error err;
    struct mg_arena arena;
    struct mg_buffer out;
    struct mg_block_info info;
    struct mg_block block;
    struct mg_value value;
    mg_int128 sum;
    uint32_t count;

    for (uint32_t i = 0; i < MG_VECTOR_ROWS; i++)
        values[i] = (int64_t)mg_hash_u64(i * i % 5 + 1);
    mg_arena_init(&arena, 1 << 24);
    mg_buffer_init(&out, 1 << 20);
    assert_ok(mg_block_encode(&rows, &arena, &out, &info, &err));
    mg_store_le32(out.data + mg_load_le32(out.data + 16), 1); /* the dictionary's count */
    assert_ok(mg_block_open(rows.type, mg_buffer_slice(&out), &block, &err));
    assert_int_equal(mg_block_vector_encoding(&block, 0), MG_ENCODING_DICTIONARY);
    assert_code(MG_CORRUPT, mg_block_decode(&block, 0, 1, &dest, 0, &err));
    assert_false(mg_block_ints(&block, 0, ints));
    assert_false(mg_block_sum(&block, 0, NULL, &sum, &count));
    uint32_t corrupt = 0;
    for (uint32_t row = 0; row < MG_VECTOR_ROWS; row++)
        corrupt += mg_block_value(&block, row, &arena, &value, &err) == MG_CORRUPT;
    assert_in_range(corrupt, 1, MG_VECTOR_ROWS - 1);
    mg_arena_clear(&arena);
    mg_buffer_clear(&out);
}

static void round_trip(void)
{
    struct mg_random random;

    mg_random_init(&random, 1);
    for (uint32_t i = 0; i < sample_count(); i++) {
        struct sample sample = {.batch = NULL};
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

static void test_round_trip(void **state)
{
    for (size_t i = 0; i < MG_COUNT_OF(kernel_names); i++)
        if (mg_block_kernels_force(kernel_names[i])) {
            assert_string_equal(mg_block_kernels(), kernel_names[i]);
            round_trip();
        }
    assert_true(mg_block_kernels_force(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed),     cmocka_unit_test(test_kernels),         cmocka_unit_test(test_example),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_widest_decimals), cmocka_unit_test(test_code_beyond),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
