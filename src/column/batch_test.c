/* batch_test.c -- what is put into a builder comes out of its batch, by value, by gather and by selection; memory is
 * bounded, accounted and returned; bytes behind the end are zero; profiles widen.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/batch.h"

#include "base/random.h"
#include "base/testing.h"
#include "column/bits.h"

enum { TYPES = 15 };

static struct mg_type types[TYPES]; /* every type once */

static int set_up(void **state)
{
    for (uint32_t i = 0; i < TYPES; i++)
        types[i] = (struct mg_type){.id = i + 1};
    types[MG_TYPE_DECIMAL - 1].precision = 20;
    return 0;
}

static struct mg_value random_value(struct mg_random *random, struct mg_type type, uint64_t null_one_in)
{
    static const char *const letters = "the quick brown fox jumps over the lazy dog and runs away from it";
    struct mg_value v = {.type = type};

    if (null_one_in && mg_random_below(random, null_one_in) == 0) {
        v.is_null = true;
        return v;
    }
    switch (type.id) {
    case MG_TYPE_UTF8: {
        size_t start = mg_random_below(random, 20);
        v.text = MG_SLICE(letters + start, mg_random_below(random, mg_random_below(random, 8) ? 10 : 45));
        break;
    }
    case MG_TYPE_FLOAT32: v.f = (float)mg_random_below(random, 1000) / 7; break;
    case MG_TYPE_FLOAT64: v.f = (double)mg_random_below(random, 1000) / 7; break;
    case MG_TYPE_DECIMAL: v.d = (mg_int128)mg_random_u64(random) * 5; break;
    default: {
        uint64_t bits = mg_random_u64(random); /* load what a column of that width would hold */
        v = mg_value_load(type, &bits);
    }
    }
    return v;
}

static void assert_same_value(const struct mg_value *a, const struct mg_value *b)
{
    assert_int_equal(a->type.id, b->type.id);
    assert_int_equal(a->is_null, b->is_null);
    if (!a->is_null)
        assert_int_equal(mg_value_compare(a, b), 0);
}

static struct mg_batch *random_batch(struct mg_random *random, uint32_t row_count, uint64_t null_one_in,
                                     struct mg_budget *budget, struct mg_value *values)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    assert_ok(mg_batch_builder_init(&builder, types, TYPES, budget, SIZE_MAX, &err));
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t c = 0; c < TYPES; c++) {
            struct mg_value v = random_value(random, types[c], c % 3 == 1 ? null_one_in : 0);
            if (values)
                values[row * TYPES + c] = v;
            assert_ok(mg_builder_value(&builder, c, &v, &err));
        }
    assert_int_equal(mg_builder_rows(&builder, 3), row_count);
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    assert_int_equal(mg_builder_rows(&builder, 3), 0);
    mg_batch_builder_clear(&builder);
    assert_ok(mg_batch_check(batch, &err));
    return batch;
}

/* What batch.h promises about memory: alignment, and zeros up to the next multiple of 8. */
static void assert_tidy(const struct mg_batch *batch)
{
    for (uint32_t c = 0; c < batch->column_count; c++) {
        const struct mg_vector *v = &batch->vectors[c];
        const uint8_t *values = v->values;
        size_t size = v->offsets ? (size_t)v->offsets[v->row_count] : (size_t)v->row_count * mg_type_width(v->type.id);
        assert_non_null(values);
        assert_int_equal((uintptr_t)values % 64, 0);
        assert_int_equal((uintptr_t)v->offsets % 64, 0);
        assert_int_equal((uintptr_t)v->validity % 64, 0);
        assert_int_equal(v->validity != NULL, v->null_count != 0);
        for (size_t i = size; i < mg_pad8(size); i++)
            assert_int_equal(values[i], 0);
        for (uint32_t bit = v->row_count; v->validity && bit < mg_pad8(mg_bits_bytes(v->row_count)) * 8; bit++)
            assert_int_equal(v->validity[bit / 8] >> bit % 8 & 1, 0);
    }
}

static void test_values(void **state)
{
    static const uint32_t counts[] = {0, 1, 7, 8, 9, 63, 64, 65, 1000};
    struct mg_random random;
    struct mg_budget budget;

    mg_random_init(&random, 1);
    mg_budget_init(&budget, "test", NULL, 1 << 30);
    for (size_t i = 0; i < MG_COUNT_OF(counts) * 2; i++) {
        uint32_t rows = counts[i / 2];
        struct mg_value *values = malloc((rows + 1) * TYPES * sizeof *values);
        struct mg_batch *batch = random_batch(&random, rows, i % 2 ? 3 : 0, &budget, values);
        assert_int_equal(batch->row_count, rows);
        assert_tidy(batch);
        for (uint32_t row = 0; row < rows; row++)
            for (uint32_t c = 0; c < TYPES; c++) {
                struct mg_value v = mg_vector_value(&batch->vectors[c], row);
                assert_same_value(&v, &values[row * TYPES + c]);
            }
        assert_true(rows == 0 || mg_budget_used(&budget) >= mg_batch_bytes(batch) / 2);
        mg_batch_unref(mg_batch_ref(batch));
        mg_batch_unref(batch);
        assert_int_equal(mg_budget_used(&budget), 0);
        free(values);
    }
    mg_batch_unref(NULL);
}

static void check_gather(const struct mg_batch *from, const struct mg_batch *out, uint32_t out_row,
                         const uint32_t *rows, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c < TYPES; c++) {
            struct mg_value a = mg_vector_value(&from->vectors[c], rows ? rows[i] : first + i);
            struct mg_value b = mg_vector_value(&out->vectors[c], out_row + i);
            assert_same_value(&a, &b);
        }
}

/* Gathers of every kind in a row, from batches with and without NULL, at all bit positions. */
static void test_gather(void **state)
{
    enum { FROM = 500, GATHERS = 12 };
    struct mg_error err;
    struct mg_random random;

    mg_random_init(&random, 2);
    for (int round = 0; round < 150; round++) {
        struct mg_batch *from[2] = {random_batch(&random, FROM, 0, NULL, NULL),
                                    random_batch(&random, FROM, 1 + mg_random_below(&random, 6), NULL, NULL)};
        struct {
            const struct mg_batch *from;
            uint32_t rows[FROM], first, count;
            bool listed;
        } gathers[GATHERS];
        struct mg_batch_builder builder;
        struct mg_batch *out;
        assert_ok(mg_batch_builder_init(&builder, types, TYPES, NULL, SIZE_MAX, &err));
        for (int g = 0; g < GATHERS; g++) {
            gathers[g].from = from[mg_random_below(&random, 2)];
            gathers[g].listed = mg_random_below(&random, 2);
            gathers[g].first = (uint32_t)mg_random_below(&random, FROM);
            gathers[g].count = (uint32_t)mg_random_below(&random, FROM - gathers[g].first + 1);
            for (uint32_t i = 0; i < gathers[g].count; i++)
                gathers[g].rows[i] = (uint32_t)mg_random_below(&random, FROM);
            for (uint32_t c = 0; c < TYPES; c++)
                assert_ok(mg_builder_gather(&builder, c, &gathers[g].from->vectors[c],
                                            gathers[g].listed ? gathers[g].rows : NULL, gathers[g].first,
                                            gathers[g].count, &err));
        }
        assert_ok(mg_batch_builder_finish(&builder, 0, &out, &err));
        assert_ok(mg_batch_check(out, &err));
        assert_tidy(out);
        uint32_t at = 0;
        for (int g = 0; g < GATHERS; g++) {
            check_gather(gathers[g].from, out, at, gathers[g].listed ? gathers[g].rows : NULL, gathers[g].first,
                         gathers[g].count);
            at += gathers[g].count;
        }
        assert_int_equal(at, out->row_count);
        mg_batch_builder_clear(&builder);
        mg_batch_unref(out);
        mg_batch_unref(from[0]);
        mg_batch_unref(from[1]);
    }
}

/* Masks of every density, of batches of every length, one behind another: the same as by a list. Types that this
 * machine cannot compress, or that have a NULL, come by a list in both. */
static void test_compress(void **state)
{
    enum { FROM = 500, PIECES = 4 };
    struct mg_error err;
    struct mg_random random;

    mg_random_init(&random, 9);
    for (int round = 0; round < 200; round++) {
        uint32_t row_count = 1 + (uint32_t)mg_random_below(&random, FROM), density, rows[FROM], all[PIECES * FROM];
        struct mg_batch *from = random_batch(&random, row_count, round % 2 ? 3 : 0, NULL, NULL), *out;
        struct mg_batch_builder builder;
        uint32_t total = 0;
        assert_ok(mg_batch_builder_init(&builder, types, TYPES, NULL, SIZE_MAX, &err));
        for (int piece = 0; piece < PIECES; piece++) {
            uint64_t mask[(FROM + 63) / 64] = {0};
            uint32_t count = 0;
            density = (uint32_t)mg_random_below(&random, 11);
            for (uint32_t i = 0; i < row_count; i++)
                if (mg_random_below(&random, 10) < density) {
                    mask[i / 64] |= UINT64_C(1) << i % 64;
                    all[total++] = rows[count++] = i;
                }
            for (uint32_t c = 0; c < TYPES; c++)
                assert_ok(mg_builder_compresses(&from->vectors[c])
                              ? mg_builder_compress(&builder, c, &from->vectors[c], mask, count, &err)
                              : mg_builder_gather(&builder, c, &from->vectors[c], rows, 0, count, &err));
        }
        assert_ok(mg_batch_builder_finish(&builder, 0, &out, &err));
        assert_ok(mg_batch_check(out, &err));
        assert_tidy(out);
        assert_int_equal(out->row_count, total);
        check_gather(from, out, 0, all, 0, total);
        mg_batch_builder_clear(&builder);
        mg_batch_unref(out);
        mg_batch_unref(from);
    }
}

static void test_gather_checks_types(void **state)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_type wanted[2] = {{.id = MG_TYPE_INT32}, {.id = MG_TYPE_DECIMAL, .precision = 20, .scale = 1}};
    struct mg_random random;

    mg_random_init(&random, 3);
    struct mg_batch *from = random_batch(&random, 5, 0, NULL, NULL);
    assert_ok(mg_batch_builder_init(&builder, wanted, 2, NULL, SIZE_MAX, &err));
    assert_code(MG_INVALID, mg_builder_gather(&builder, 0, &from->vectors[MG_TYPE_DATE - 1], NULL, 0, 5, &err));
    assert_code(MG_INVALID, mg_builder_gather(&builder, 1, &from->vectors[MG_TYPE_DECIMAL - 1], NULL, 0, 5, &err));
    struct mg_value v = {.type = {.id = MG_TYPE_INT64}};
    assert_code(MG_INVALID, mg_builder_value(&builder, 0, &v, &err));
    mg_batch_builder_clear(&builder);
    mg_batch_unref(from);
}

static void test_select(void **state)
{
    struct mg_error err;
    struct mg_random random;
    struct mg_batch *chosen;
    const uint32_t rows[] = {99, 0, 50, 50, 1};

    mg_random_init(&random, 4);
    struct mg_batch *batch = random_batch(&random, 100, 2, NULL, NULL);
    assert_ok(mg_batch_select(batch, rows, 5, NULL, &chosen, &err));
    check_gather(batch, chosen, 0, rows, 0, 5);
    mg_batch_unref(chosen);
    assert_ok(mg_batch_select(batch, rows, 0, NULL, &chosen, &err));
    assert_int_equal(chosen->row_count, 0);
    assert_ok(mg_batch_check(chosen, &err));
    mg_batch_unref(chosen);
    mg_batch_unref(batch);
}

static void test_limits(void **state)
{
    struct mg_error err;
    struct mg_budget budget;
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_type type[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_UTF8}};
    uint32_t rows = 0;

    /* By bytes_max: refused, and what is there stays usable. */
    assert_ok(mg_batch_builder_init(&builder, type, 1, NULL, 1000, &err));
    while (mg_builder_int(&builder, 0, rows, &err) == MG_OK)
        rows++;
    assert_int_equal(err.code, MG_TOO_BIG);
    assert_int_equal(rows, 1000 / 64 * 64 / 8);
    assert_ok(mg_batch_builder_finish(&builder, 0, &batch, &err));
    assert_int_equal(batch->row_count, rows);
    assert_int_equal(((const int64_t *)batch->vectors[0].values)[rows - 1], rows - 1);
    mg_batch_unref(batch);
    mg_batch_builder_clear(&builder);

    /* By the budget, the peak of a growing buffer included. */
    mg_budget_init(&budget, "test", NULL, 1000);
    assert_ok(mg_batch_builder_init(&builder, type, 2, &budget, SIZE_MAX, &err));
    for (rows = 0; mg_builder_text(&builder, 1, mg_slice_text("12345678"), &err) == MG_OK; rows++)
        ;
    assert_int_equal(err.code, MG_NO_MEMORY);
    assert_true(rows >= 32 && rows < 125);
    assert_true(atomic_load(&budget.peak_bytes) <= 1000);
    assert_code(MG_INVALID, mg_batch_builder_finish(&builder, 0, &batch, &err)); /* columns differ */
    mg_batch_builder_clear(&builder);
    assert_int_equal(mg_budget_used(&budget), 0);

    /* By rows. */
    assert_ok(mg_batch_builder_init(&builder, type, 1, NULL, SIZE_MAX, &err));
    assert_ok(mg_builder_reserve(&builder, 0, MG_BATCH_ROWS_MAX, 0, &err));
    assert_code(MG_TOO_BIG, mg_builder_reserve(&builder, 0, MG_BATCH_ROWS_MAX + 1, 0, &err));
    for (uint32_t i = 0; i < MG_BATCH_ROWS_MAX; i++)
        assert_ok(mg_builder_int(&builder, 0, i, &err));
    assert_code(MG_TOO_BIG, mg_builder_null(&builder, 0, &err));
    mg_batch_builder_clear(&builder);
    assert_ok(mg_batch_builder_init(&builder, NULL, 0, NULL, SIZE_MAX, &err));
    assert_code(MG_TOO_BIG, mg_batch_builder_finish(&builder, MG_BATCH_ROWS_MAX + 1, &batch, &err));
    assert_ok(mg_batch_builder_finish(&builder, 17, &batch, &err)); /* rows without columns */
    assert_int_equal(batch->row_count, 17);
    assert_int_equal(mg_batch_bytes(batch), 0);
    mg_batch_unref(batch);
    mg_batch_builder_clear(&builder);
}

/* A gather whose text finds no room leaves the column as it was, NULL bits included. */
static void test_failed_gather(void **state)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    struct mg_type type = {.id = MG_TYPE_UTF8};
    struct mg_batch *from, *out;

    assert_ok(mg_batch_builder_init(&builder, &type, 1, NULL, SIZE_MAX, &err));
    for (int i = 0; i < 20; i++)
        assert_ok(i % 2
                      ? mg_builder_null(&builder, 0, &err)
                      : mg_builder_text(&builder, 0, mg_slice_text("0123456789012345678901234567890123456789"), &err));
    assert_ok(mg_batch_builder_finish(&builder, 0, &from, &err));
    mg_batch_builder_clear(&builder);
    assert_ok(mg_batch_builder_init(&builder, &type, 1, NULL, 64 * 5, &err));
    assert_ok(mg_builder_null(&builder, 0, &err));
    assert_code(MG_TOO_BIG, mg_builder_gather(&builder, 0, &from->vectors[0], NULL, 0, 20, &err));
    for (int i = 0; i < 10; i++)
        assert_ok(mg_builder_text(&builder, 0, mg_slice_text("ab"), &err));
    assert_ok(mg_batch_builder_finish(&builder, 0, &out, &err));
    assert_ok(mg_batch_check(out, &err));
    assert_int_equal(out->vectors[0].null_count, 1);
    assert_int_equal(out->row_count, 11);
    mg_batch_unref(out);
    mg_batch_unref(from);
    mg_batch_builder_clear(&builder);
}

/* With every budget from none to enough: an error or the rows, never a leak. */
static void test_every_budget(void **state)
{
    struct mg_error err;
    struct mg_random random;
    struct mg_budget budget;
    const uint32_t rows[] = {3, 1, 199, 7};
    uint32_t failed = 0, limit = 0;

    mg_random_init(&random, 6);
    struct mg_batch *from = random_batch(&random, 200, 2, NULL, NULL);
    for (enum mg_code code = MG_NO_MEMORY; code != MG_OK; limit += 64) {
        struct mg_batch *chosen = NULL, *wide = NULL;
        mg_budget_init(&budget, "test", NULL, limit);
        code = mg_batch_select(from, rows, 4, &budget, &chosen, &err);
        if (code == MG_OK)
            code = mg_profile_batch(MG_PROFILE_SPARK, chosen, &budget, &wide, &err);
        assert_true(code == MG_OK || code == MG_NO_MEMORY);
        if (code == MG_OK)
            check_gather(from, chosen, 0, rows, 0, 4);
        failed += code != MG_OK;
        mg_batch_unref(chosen);
        mg_batch_unref(wide);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    assert_true(failed > TYPES);
    mg_batch_unref(from);
}

static void test_check(void **state)
{
    struct mg_error err;
    int32_t offsets[] = {0, 3, 2};
    uint8_t bits = 1;
    struct mg_vector v = {.type = {.id = MG_TYPE_UTF8}, .row_count = 2, .values = "abc", .offsets = offsets};
    struct mg_batch batch = {.row_count = 2, .column_count = 1, .vectors = &v};

    assert_code(MG_INVALID, mg_batch_check(&batch, &err));
    offsets[2] = 3;
    assert_ok(mg_batch_check(&batch, &err));
    v.validity = &bits;
    assert_code(MG_INVALID, mg_batch_check(&batch, &err));
    v.null_count = 1;
    assert_ok(mg_batch_check(&batch, &err));
    batch.row_count = 1;
    assert_code(MG_INVALID, mg_batch_check(&batch, &err));
}

static void test_profiles(void **state)
{
    struct mg_error err;
    struct mg_random random;
    struct mg_budget budget;
    struct mg_batch *wide, *same;
    char text[48];

    mg_random_init(&random, 5);
    mg_budget_init(&budget, "test", NULL, SIZE_MAX);
    struct mg_batch *batch = random_batch(&random, 100, 3, NULL, NULL);
    assert_ok(mg_profile_batch(MG_PROFILE_ARROW, batch, &budget, &same, &err));
    assert_ptr_equal(same, batch);
    mg_batch_unref(same);
    assert_ok(mg_profile_batch(MG_PROFILE_SPARK, batch, &budget, &wide, &err));
    mg_batch_unref(batch); /* the wide one keeps what it shares */
    assert_ok(mg_batch_check(wide, &err));
    assert_tidy(wide);
    assert_true(mg_budget_used(&budget) > 0);
    mg_type_format(wide->vectors[MG_TYPE_UINT64 - 1].type, text);
    assert_string_equal(text, "decimal(20,0)");
    for (uint32_t c = 0; c < TYPES; c++) {
        bool is_unsigned = types[c].id >= MG_TYPE_UINT8 && types[c].id <= MG_TYPE_UINT64;
        assert_int_equal(mg_type_equal(wide->vectors[c].type, types[c]), !is_unsigned);
        for (uint32_t row = 0; row < 100; row++) {
            struct mg_value a = mg_vector_value(&batch->vectors[c], row), b = mg_vector_value(&wide->vectors[c], row);
            assert_int_equal(a.is_null, b.is_null);
            if (a.is_null || !is_unsigned)
                continue;
            assert_true(b.type.id == MG_TYPE_DECIMAL ? b.d == a.u : b.i >= 0 && (uint64_t)b.i == a.u);
        }
    }
    assert_ok(mg_profile_batch(MG_PROFILE_SPARK, wide, &budget, &same, &err)); /* nothing left to widen */
    assert_ptr_equal(same, wide);
    mg_batch_unref(same);
    mg_batch_unref(wide);
    assert_int_equal(mg_budget_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_compress),      cmocka_unit_test(test_gather_checks_types),
        cmocka_unit_test(test_select),        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_failed_gather), cmocka_unit_test(test_every_budget),
        cmocka_unit_test(test_check),         cmocka_unit_test(test_profiles),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
