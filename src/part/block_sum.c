/* block_sum.c -- sums of a vector's rows from their encoded values.
 *
 * FRAME: rows * base and the packed distances; CONSTANT and RUNS: a multiplication for each value; the others through
 * int64. Lanes are unsigned: numbers with a sign are moved up by 2^63 first and down again in one piece.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"

/* Rows that count: asked for and not NULL. */
struct chosen {
    uint64_t words[MG_VECTOR_WORDS];
    uint32_t count;
    bool all;
};

static void choose(const struct mg_block__view *view, const uint64_t *mask, struct chosen *out)
{
    if (view->header->null_count == 0 && !mask) {
        memset(out->words, 0xff, sizeof out->words);
        out->count = view->rows;
        out->all = true;
        return;
    }
    memset(out->words, 0, sizeof out->words);
    if (view->validity)
        mg_bits_copy((uint8_t *)out->words, 0, view->validity, 0, view->rows);
    else if (view->header->null_count == 0)
        mg_bits_set((uint8_t *)out->words, 0, view->rows);
    for (uint32_t w = 0; w < MG_VECTOR_WORDS && mask; w++)
        out->words[w] &= mask[w];
    out->count = mg_block__kernels()->count_bits(out->words);
    out->all = out->count == view->rows;
}

static unsigned __int128 sum_lanes(const struct chosen *chosen, void *lanes, uint32_t log, uint32_t count)
{
    const struct mg_block__kernels *kernels = mg_block__kernels();

    if (!chosen->all)
        kernels->keep[log](lanes, count, chosen->words);
    return kernels->sum[log](lanes, count);
}

/* count * v + more; false when that does not fit. */
static bool add_product(mg_int128 v, uint32_t count, mg_int128 more, mg_int128 *out)
{
    mg_int128 product;

    return !__builtin_mul_overflow(v, (mg_int128)count, &product) && !__builtin_add_overflow(product, more, out);
}

static bool sum_frame(const struct mg_block__view *view, const struct chosen *chosen, mg_int128 *out)
{
    struct mg_block__lanes lanes;
    uint32_t log = mg_block__unpack(view->data, view->width, view->rows, &lanes);

    return add_product(view->base, chosen->count, (mg_int128)sum_lanes(chosen, lanes.bytes, log, view->rows), out);
}

static bool sum_runs(const struct mg_block *block, const struct mg_block__view *view, const struct chosen *chosen,
                     mg_int128 *out)
{
    struct mg_block__runs runs;

    *out = 0;
    if (mg_block__runs(block, view, &runs, NULL) != MG_OK)
        return false;
    for (uint32_t i = 0, first = 0; i < runs.count; first = runs.ends[i++]) {
        uint64_t distance = mg_pack__lane(runs.values + (size_t)i * runs.value_bytes, runs.value_bytes);
        uint32_t count = mg_bits_count((const uint8_t *)chosen->words, first, runs.ends[i] - first);
        if (!add_product(view->base + (mg_int128)distance, count, *out, out))
            return false;
    }
    return true;
}

/* Decimals of 128 bits as they are. */
static bool sum_wide(const struct mg_block__view *view, const struct chosen *chosen, mg_int128 *out)
{
    *out = 0;
    for (uint32_t i = 0; i < view->rows; i++) {
        mg_int128 v;
        memcpy(&v, view->data + (size_t)i * 16, sizeof v);
        if ((chosen->words[i / 64] >> i % 64 & 1) && __builtin_add_overflow(*out, v, out))
            return false;
    }
    return true;
}

static bool sum_ints(const struct mg_block *block, const struct mg_block__view *view, const struct chosen *chosen,
                     mg_int128 *out)
{
    _Alignas(64) uint64_t numbers[MG_VECTOR_ROWS];
    uint64_t turn = block->type.id == MG_TYPE_UINT64 ? 0 : UINT64_C(1) << 63;

    if (mg_block__values(block, view, 3, numbers, NULL) != MG_OK)
        return false;
    for (uint32_t i = 0; i < view->rows; i++)
        numbers[i] ^= turn;
    *out = (mg_int128)sum_lanes(chosen, numbers, 3, view->rows) - (mg_int128)turn * chosen->count;
    return true;
}

bool mg_block_sum(const struct mg_block *block, uint32_t vector, const uint64_t *mask, mg_int128 *sum, uint32_t *count)
{
    struct mg_block__view view = mg_block__view(block, vector);
    struct chosen chosen;
    mg_int128 total = 0;
    bool exact;

    mg_assert(mg_block__class_of(block->type.id) == MG_BLOCK__INTS);
    choose(&view, mask, &chosen);
    switch (view.header->encoding) {
    case MG_ENCODING_CONSTANT: exact = add_product(view.base, chosen.count, 0, &total); break;
    case MG_ENCODING_FRAME: exact = sum_frame(&view, &chosen, &total); break;
    case MG_ENCODING_RUNS: exact = sum_runs(block, &view, &chosen, &total); break;
    default:
        exact = block->type.id == MG_TYPE_DECIMAL && view.header->encoding == MG_ENCODING_PLAIN
                    ? sum_wide(&view, &chosen, &total)
                    : sum_ints(block, &view, &chosen, &total);
    }
    if (!exact)
        return false;
    *sum = total;
    *count = chosen.count;
    return true;
}

uint32_t mg_block_count(const uint64_t mask[MG_VECTOR_WORDS]) { return mg_block__kernels()->count_bits(mask); }
