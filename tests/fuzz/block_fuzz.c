/* block_fuzz.c -- blocks, hostile ones too: opened, decoded whole and in part, tested, summed.
 *
 * Input   a byte, the number of the type; then the block (docs/format/part.md). Decimals are decimal(38,2).
 * Asks    nothing is read or written outside the 64 bytes of slack that block.h speaks of; whole, chosen and single
 *         rows are the same; every kind of kernels says the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "column/bits.h"
#include "part/block.h"

enum { TEXT_MAX = 16 << 20, ARENA_MAX = 64 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A vector's rows where they were decoded to, in memory of exactly the size that block.h asks for. */
struct decoded {
    struct mg_block_dest dest;
    struct mg_vector rows;
    enum mg_code code;
};

static void *must_alloc(size_t size)
{
    void *memory = aligned_alloc(16, (size + 15) / 16 * 16);
    mg_assert(memory);
    memset(memory, 0, size);
    return memory;
}

static void make_room(const struct mg_block *block, uint32_t rows, size_t text_bytes, struct decoded *out)
{
    bool is_text = block->type.id == MG_TYPE_UTF8;
    struct mg_block_dest *dest = &out->dest;

    dest->values = is_text ? NULL : must_alloc((size_t)rows * mg_type_width(block->type.id) + 64);
    dest->validity = must_alloc(mg_bits_bytes(rows));
    dest->offsets = is_text ? must_alloc(((size_t)rows + 1) * 4) : NULL;
    dest->text_room = text_bytes + 64;
    dest->text = is_text ? must_alloc(dest->text_room) : NULL;
    out->rows = (struct mg_vector){.type = block->type,
                                   .row_count = rows,
                                   .validity = dest->validity,
                                   .values = is_text ? dest->text : dest->values,
                                   .offsets = dest->offsets};
}

static void free_room(struct decoded *decoded)
{
    free(decoded->dest.values);
    free(decoded->dest.validity);
    free(decoded->dest.offsets);
    free(decoded->dest.text);
}

/* Bit by bit: a NaN's bits count, too. */
static void assert_same(const struct mg_vector *a, uint32_t i, const struct mg_vector *b, uint32_t k)
{
    uint32_t width = mg_type_width(a->type.id);

    mg_assert(mg_vector_is_null(a, i) == mg_vector_is_null(b, k));
    if (mg_vector_is_null(a, i))
        return;
    if (width)
        mg_assert(memcmp((const uint8_t *)a->values + (size_t)i * width, (const uint8_t *)b->values + (size_t)k * width,
                         width) == 0);
    else
        mg_assert(mg_slice_equal(mg_vector_text(a, i), mg_vector_text(b, k)));
}

static void check_kernels(const struct mg_block *block, uint32_t vector, size_t text_bytes, const struct decoded *plain)
{
    static const char *const names[] = {"avx2", "avx512"};
    struct decoded other;

    for (size_t n = 0; n < MG_COUNT_OF(names); n++) {
        if (!mg_block_kernels_force(names[n]))
            continue;
        make_room(block, plain->rows.row_count, text_bytes, &other);
        other.code = mg_block_decode(block, vector, 1, &other.dest, 0, NULL);
        mg_assert(other.code == plain->code);
        for (uint32_t i = 0; i < plain->rows.row_count && other.code == MG_OK; i++)
            assert_same(&plain->rows, i, &other.rows, i);
        free_room(&other);
    }
    mg_block_kernels_force("plain");
}

static void check_gather(const struct mg_block *block, uint32_t vector, size_t text_bytes, struct mg_random *random,
                         const struct decoded *whole)
{
    uint16_t rows[MG_VECTOR_ROWS];
    uint32_t count = 0, one_in = 1u << mg_random_below(random, 10);
    struct decoded some;

    for (uint32_t i = 0; i < whole->rows.row_count; i++)
        if (mg_random_below(random, one_in) == 0)
            rows[count++] = (uint16_t)i;
    make_room(block, count, text_bytes, &some);
    some.code = mg_block_gather(block, vector, rows, count, &some.dest, 0, NULL);
    mg_assert(whole->code != MG_OK || some.code == MG_OK);
    for (uint32_t i = 0; i < count && whole->code == MG_OK; i++)
        assert_same(&some.rows, i, &whole->rows, rows[i]);
    free_room(&some);
}

static void check_values(const struct mg_block *block, uint32_t vector, struct mg_arena *arena,
                         const struct decoded *whole, struct mg_value *out, uint32_t *out_count)
{
    for (uint32_t i = 0; i < whole->rows.row_count; i += 1 + whole->rows.row_count / 7) {
        struct mg_value v;
        if (mg_block_value(block, vector * MG_VECTOR_ROWS + i, arena, &v, NULL) != MG_OK)
            continue;
        mg_assert(whole->code != MG_OK || v.is_null == mg_vector_is_null(&whole->rows, i));
        if (whole->code == MG_OK && !v.is_null && v.type.id == MG_TYPE_UTF8)
            mg_assert(mg_slice_equal(v.text, mg_vector_text(&whole->rows, i)));
        if (!v.is_null && *out_count < 8)
            out[(*out_count)++] = v;
    }
}

static void run_test(const struct mg_block *block, enum mg_block_op op, const struct mg_value *values, uint32_t count,
                     struct mg_arena *arena, struct mg_random *random)
{
    struct mg_block_test *test;
    enum mg_block_verdict verdict;

    struct mg_block_condition condition = {.op = op,
                                           .is_negated = mg_random_below(random, 2),
                                           .pad_space = mg_random_below(random, 2),
                                           .low_is_open = mg_random_below(random, 2),
                                           .high_is_open = mg_random_below(random, 2),
                                           .values = values,
                                           .value_count = count};
    if (mg_block_test_new(block, &condition, arena, &test, &verdict, NULL) != MG_OK || !test)
        return;
    for (uint32_t v = 0; v < block->vector_count; v++) {
        uint64_t mask[MG_VECTOR_WORDS] = {0}, before[MG_VECTOR_WORDS];
        for (uint32_t i = 0; i < mg_block_vector_rows(block, v); i++)
            mask[i / 64] |= (uint64_t)(mg_random_below(random, 4) != 0) << i % 64;
        memcpy(before, mask, sizeof mask);
        if (mg_block_test_run(test, v, mask, NULL) == MG_OK)
            for (uint32_t w = 0; w < MG_VECTOR_WORDS; w++)
                mg_assert((mask[w] & ~before[w]) == 0);
    }
}

static int compare(const void *a, const void *b) { return mg_value_compare(a, b); }

static void check_tests(const struct mg_block *block, struct mg_value *values, uint32_t count, struct mg_arena *arena,
                        struct mg_random *random)
{
    uint32_t kept = 0;

    if (count)
        qsort(values, count, sizeof *values, compare);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || mg_value_compare(&values[kept - 1], &values[i]) != 0)
            values[kept++] = values[i];
    run_test(block, MG_BLOCK_IS_NULL, NULL, 0, arena, random);
    run_test(block, MG_BLOCK_IS_NOT_NULL, NULL, 0, arena, random);
    run_test(block, MG_BLOCK_IN, values, kept, arena, random);
    for (enum mg_block_op op = MG_BLOCK_EQ; op <= MG_BLOCK_GE && kept; op++)
        run_test(block, op, &values[kept / 2], 1, arena, random);
    if (kept > 1)
        run_test(block, MG_BLOCK_BETWEEN, values, 2, arena, random);
}

static void read_vector(const struct mg_block *block, uint32_t vector, struct mg_arena *arena, struct mg_random *random,
                        struct mg_value *values, uint32_t *value_count)
{
    size_t text_bytes = mg_block_text_bytes(block, vector, 1);
    int64_t ints[MG_VECTOR_ROWS];
    uint16_t codes[MG_VECTOR_ROWS];
    struct decoded whole;
    mg_int128 sum;
    uint32_t count;

    if (text_bytes > TEXT_MAX)
        return;
    make_room(block, mg_block_vector_rows(block, vector), text_bytes, &whole);
    whole.code = mg_block_decode(block, vector, 1, &whole.dest, 0, NULL);
    check_kernels(block, vector, text_bytes, &whole);
    check_gather(block, vector, text_bytes, random, &whole);
    check_values(block, vector, arena, &whole, values, value_count);
    free_room(&whole);
    if (block->dictionary)
        (void)mg_block_codes(block, vector, codes);
    if (block->type.id == MG_TYPE_UTF8 || block->type.id == MG_TYPE_FLOAT32 || block->type.id == MG_TYPE_FLOAT64)
        return;
    (void)mg_block_ints(block, vector, ints);
    (void)mg_block_sum(block, vector, NULL, &sum, &count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct mg_type type = {.id = (enum mg_type_id)(1 + data[0] % (MG_TYPE_COUNT - 1))};
    if (type.id == MG_TYPE_DECIMAL)
        type.precision = 38, type.scale = 2;
    size_t block_size = (size - 1) / 8 * 8;
    uint8_t *bytes = must_alloc(block_size + 64);
    struct mg_value values[8];
    uint32_t value_count = 0;
    struct mg_block block;
    struct mg_arena arena;
    struct mg_random random;

    memcpy(bytes, data + 1, block_size);
    mg_arena_init(&arena, ARENA_MAX);
    mg_random_init(&random, size);
    mg_block_kernels_force("plain");
    if (mg_block_open(type, MG_SLICE(bytes, block_size), &block, NULL) == MG_OK) {
        for (uint32_t v = 0; v < block.vector_count; v++)
            read_vector(&block, v, &arena, &random, values, &value_count);
        check_tests(&block, values, value_count, &arena, &random);
    }
    mg_arena_clear(&arena);
    free(bytes);
    return 0;
}
