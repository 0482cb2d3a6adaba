/* block_filter.c -- a column against constants, on the encoded values.
 *
 * A test becomes closed ranges of numbers, rising and apart; NE is a range turned round. Floats are numbers, too: int64
 * in their order. Per block, ranges become ranges of codes; per vector, of packed distances, so that nothing is
 * unpacked when a header decides and no base is added when it does not. Runs and constants are decided once for all
 * their rows. Texts without a dictionary are compared row by row, symbol by symbol.
 * Threads  a test is immutable once made.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"

enum { RANGES_FAST = 4 }; /* up to so many, a pass over the vector for each beats looking each row up */

struct range {
    mg_int128 low, high; /* low > high: empty */
};
struct code_range {
    uint32_t first, end;
};

struct mg_block_test {
    const struct mg_block *block;
    enum mg_block_op op; /* BETWEEN, IN, or of NULLs: the others become BETWEEN */
    bool negate, pad_space;
    bool low_is_open, high_is_open;
    struct mg_value *values;
    uint32_t value_count;
    struct range *ranges; /* numbers only */
    uint32_t range_count;
    struct code_range *codes; /* blocks with a dictionary only */
    uint32_t code_range_count;
};

static const mg_int128 lowest = (mg_int128)((unsigned __int128)1 << 127);
static const mg_int128 highest = ~(mg_int128)((unsigned __int128)1 << 127);

/* ---- making -------------------------------------------------------------------------------------------------- */

/* A float's place in the order of floats: -0.0 is 0.0, NaN is above all. */
static int64_t float_key(double v)
{
    int64_t bits;

    v += 0.0;
    memcpy(&bits, &v, sizeof bits);
    bits ^= bits >> 63 & INT64_MAX;
    return v != v ? INT64_MAX : bits;
}

static mg_int128 key_of(const struct mg_value *value)
{
    switch (value->type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return float_key(value->f);
    case MG_TYPE_DECIMAL: return value->d;
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return (mg_int128)value->u;
    default: return value->i;
    }
}

/* BETWEEN as numbers; low > high when nothing is. */
static struct range between(const struct mg_block_test *test)
{
    static const struct range empty = {1, 0};
    const struct mg_value *low = &test->values[0], *high = &test->values[1];
    struct range range = {low->is_null ? lowest : key_of(low), high->is_null ? highest : key_of(high)};

    if ((!low->is_null && test->low_is_open && range.low++ == highest) ||
        (!high->is_null && test->high_is_open && range.high-- == lowest))
        return empty;
    return range;
}

/* Neighbours grow together, so that a list of consecutive numbers is one range. */
static enum mg_code make_ranges(struct mg_block_test *test, struct mg_arena *arena, struct mg_error *err)
{
    uint32_t pass_count = test->op == MG_BLOCK_IN ? test->value_count : 1;

    test->ranges = mg_arena_array(arena, struct range, pass_count + 1);
    if (!test->ranges)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < pass_count; i++) {
        struct range made = test->op == MG_BLOCK_IN ? (struct range){key_of(&test->values[i]), key_of(&test->values[i])}
                                                    : between(test);
        struct range *last = test->range_count ? &test->ranges[test->range_count - 1] : NULL;
        if (made.low > made.high)
            continue;
        if (last && last->high != highest && last->high + 1 == made.low)
            last->high = made.high;
        else
            test->ranges[test->range_count++] = made;
    }
    return MG_OK;
}

static mg_int128 entry_key(const struct mg_block *block, uint32_t code)
{
    uint64_t entry = mg_block__entries(block)[code];

    if (mg_block__class_of(block->type.id) == MG_BLOCK__FLOATS)
        return float_key(mg_alp__float(entry, mg_type_width(block->type.id) * 8));
    return block->type.id == MG_TYPE_UINT64 ? (mg_int128)entry : (mg_int128)(int64_t)entry;
}

/* The first code whose value is not below key. */
static uint32_t first_entry(const struct mg_block *block, mg_int128 key)
{
    uint32_t first = 0, end = block->dictionary->count;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (entry_key(block, middle) < key)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* The first code whose text is not below, or with above not below or equal. */
static enum mg_code first_text(const struct mg_block *block, struct mg_slice text, bool above, uint32_t *out,
                               struct mg_error *err)
{
    uint32_t first = 0, end = block->dictionary->count;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        struct mg_slice entry;
        if (!mg_block__entry_text(block, middle, &entry))
            return mg_block__corrupt(err, block, block->dictionary, "text %u lies outside", middle);
        int c = mg_slice_compare(entry, text);
        if (c < 0 || (above && c == 0))
            first = middle + 1;
        else
            end = middle;
    }
    *out = first;
    return MG_OK;
}

/* What of the dictionary the i-th range or value of the test lets through. */
static enum mg_code code_range_of(const struct mg_block_test *test, uint32_t i, struct code_range *out,
                                  struct mg_error *err)
{
    const struct mg_block *block = test->block;
    bool is_range = test->op == MG_BLOCK_BETWEEN;
    const struct mg_value *low = &test->values[i], *high = is_range ? &test->values[1] : low;

    *out = (struct code_range){0, block->dictionary->count};
    if (block->type.id != MG_TYPE_UTF8) {
        const struct range *range = &test->ranges[i];
        if (range->low != lowest)
            out->first = first_entry(block, range->low);
        if (range->high != highest)
            out->end = first_entry(block, range->high + 1);
        return MG_OK;
    }
    if (!low->is_null)
        MG_TRY(first_text(block, low->text, is_range && test->low_is_open, &out->first, err));
    if (!high->is_null)
        MG_TRY(first_text(block, high->text, !is_range || !test->high_is_open, &out->end, err));
    return MG_OK;
}

static void add_codes(struct mg_block_test *test, struct code_range made)
{
    struct code_range *last = test->code_range_count ? &test->codes[test->code_range_count - 1] : NULL;

    if (made.first >= made.end)
        return;
    if (last && last->end == made.first)
        last->end = made.end;
    else
        test->codes[test->code_range_count++] = made;
}

static bool text_passes(const struct mg_block_test *test, struct mg_slice text);

/* Without trailing blanks the dictionary is not sorted: each entry is asked. */
static enum mg_code make_padded_codes(struct mg_block_test *test, struct mg_arena *arena, struct mg_error *err)
{
    uint32_t count = test->block->dictionary->count;

    test->codes = mg_arena_array(arena, struct code_range, (size_t)count / 2 + 2);
    if (!test->codes)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice text;
        if (!mg_block__entry_text(test->block, i, &text))
            return mg_block__corrupt(err, test->block, test->block->dictionary, "text %u lies outside", i);
        if (text_passes(test, text))
            add_codes(test, (struct code_range){i, i + 1});
    }
    return MG_OK;
}

static enum mg_code make_codes(struct mg_block_test *test, struct mg_arena *arena, struct mg_error *err)
{
    bool is_text = test->block->type.id == MG_TYPE_UTF8;
    uint32_t count = is_text ? (test->op == MG_BLOCK_IN ? test->value_count : 1) : test->range_count;

    if (is_text && test->pad_space)
        return make_padded_codes(test, arena, err);
    test->codes = mg_arena_array(arena, struct code_range, count + 1);
    if (!test->codes)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        struct code_range made;
        MG_TRY(code_range_of(test, i, &made, err));
        add_codes(test, made);
    }
    return MG_OK;
}

/* ---- what headers tell --------------------------------------------------------------------------------------- */

/* Whether numbers from low to high are in the ranges: none, some, or all of them. */
static enum mg_block_verdict judge(const struct mg_block_test *test, mg_int128 low, mg_int128 high)
{
    for (uint32_t i = 0; i < test->range_count; i++) {
        if (high < test->ranges[i].low || low > test->ranges[i].high)
            continue;
        return low >= test->ranges[i].low && high <= test->ranges[i].high ? MG_BLOCK_ALL : MG_BLOCK_SOME;
    }
    return MG_BLOCK_NONE;
}

static enum mg_block_verdict judge_codes(const struct mg_block_test *test, uint64_t first, uint64_t last)
{
    for (uint32_t i = 0; i < test->code_range_count; i++) {
        if (last < test->codes[i].first || first >= test->codes[i].end)
            continue;
        return first >= test->codes[i].first && last < test->codes[i].end ? MG_BLOCK_ALL : MG_BLOCK_SOME;
    }
    return MG_BLOCK_NONE;
}

/* Of the rows that are not NULL, before negation. */
static enum mg_block_verdict judge_vector(const struct mg_block_test *test, const struct mg_block__view *view)
{
    const struct mg_block_vector *header = view->header;
    mg_int128 low = view->base, high = low;

    if (mg_block__all_null(view))
        return MG_BLOCK_NONE;
    if (header->encoding == MG_ENCODING_DICTIONARY)
        return judge_codes(test, (uint32_t)header->base, (uint32_t)header->base + mg_bits_mask(view->width));
    if (test->block->type.id == MG_TYPE_UTF8) {
        if (header->encoding != MG_ENCODING_CONSTANT)
            return MG_BLOCK_SOME;
        return text_passes(test, MG_SLICE(view->data, header->base)) ? MG_BLOCK_ALL : MG_BLOCK_NONE;
    }
    if (mg_block__class_of(test->block->type.id) == MG_BLOCK__FLOATS) {
        if (header->encoding != MG_ENCODING_CONSTANT)
            return MG_BLOCK_SOME;
        low = high = float_key(mg_alp__float(header->base, mg_type_width(test->block->type.id) * 8));
        return judge(test, low, high);
    }
    if (header->encoding == MG_ENCODING_FRAME && __builtin_add_overflow(low, mg_bits_mask(view->width), &high))
        return MG_BLOCK_SOME;
    return header->encoding == MG_ENCODING_FRAME || header->encoding == MG_ENCODING_CONSTANT ? judge(test, low, high)
                                                                                             : MG_BLOCK_SOME;
}

static enum mg_block_verdict judge_nulls(enum mg_block_op op, uint32_t rows, uint32_t nulls)
{
    uint32_t passing = op == MG_BLOCK_IS_NULL ? nulls : rows - nulls;

    return passing == 0 ? MG_BLOCK_NONE : passing == rows ? MG_BLOCK_ALL : MG_BLOCK_SOME;
}

static enum mg_block_verdict judge_block(const struct mg_block_test *test)
{
    const struct mg_block *block = test->block;
    bool none = true, all = block->null_count == 0;

    if (test->op == MG_BLOCK_IS_NULL || test->op == MG_BLOCK_IS_NOT_NULL)
        return judge_nulls(test->op, block->row_count, block->null_count);
    for (uint32_t v = 0; v < block->vector_count && (none || all); v++) {
        struct mg_block__view view = mg_block__view(block, v);
        enum mg_block_verdict verdict = judge_vector(test, &view);
        if (mg_block__all_null(&view))
            continue;
        none = none && verdict == (test->negate ? MG_BLOCK_ALL : MG_BLOCK_NONE);
        all = all && verdict == (test->negate ? MG_BLOCK_NONE : MG_BLOCK_ALL);
    }
    return none ? MG_BLOCK_NONE : all ? MG_BLOCK_ALL : MG_BLOCK_SOME;
}

/* The comparisons are ranges with one end or with two that are the same. */
static enum mg_code copy_condition(struct mg_block_test *test, const struct mg_block_condition *condition,
                                   struct mg_arena *arena, struct mg_error *err)
{
    bool is_low = condition->op == MG_BLOCK_EQ || condition->op == MG_BLOCK_NE || condition->op == MG_BLOCK_GE ||
                  condition->op == MG_BLOCK_GT;
    bool is_high = condition->op == MG_BLOCK_EQ || condition->op == MG_BLOCK_NE || condition->op == MG_BLOCK_LE ||
                   condition->op == MG_BLOCK_LT;
    uint32_t count = is_low || is_high ? 2 : condition->value_count;

    test->op = is_low || is_high ? MG_BLOCK_BETWEEN : condition->op;
    test->negate = condition->is_negated != (condition->op == MG_BLOCK_NE);
    test->pad_space = condition->pad_space;
    test->low_is_open = condition->op == MG_BLOCK_GT || (condition->op == MG_BLOCK_BETWEEN && condition->low_is_open);
    test->high_is_open = condition->op == MG_BLOCK_LT || (condition->op == MG_BLOCK_BETWEEN && condition->high_is_open);
    test->value_count = count;
    test->values = mg_arena_array(arena, struct mg_value, (size_t)count + 1);
    if (!test->values)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++)
        test->values[i] = condition->values[is_low || is_high ? 0 : i];
    if (is_low || is_high) {
        test->values[0].is_null = !is_low;
        test->values[1].is_null = !is_high;
    }
    return MG_OK;
}

enum mg_code mg_block_test_new(const struct mg_block *block, const struct mg_block_condition *condition,
                               struct mg_arena *arena, struct mg_block_test **out, enum mg_block_verdict *verdict,
                               struct mg_error *err)
{
    struct mg_block_test *test = mg_arena_new(arena, struct mg_block_test);
    bool on_nulls = condition->op == MG_BLOCK_IS_NULL || condition->op == MG_BLOCK_IS_NOT_NULL;

    mg_assert(on_nulls || condition->op == MG_BLOCK_IN ||
              condition->value_count == (condition->op == MG_BLOCK_BETWEEN ? 2 : 1));
    if (!test)
        return mg_arena_fail(arena, err);
    test->block = block;
    MG_TRY(copy_condition(test, condition, arena, err));
    if (!on_nulls && test->pad_space && mg_block__symbols(block)) {
        *verdict = MG_BLOCK_UNABLE;
        *out = NULL;
        return MG_OK;
    }
    if (!on_nulls && block->type.id != MG_TYPE_UTF8)
        MG_TRY(make_ranges(test, arena, err));
    if (!on_nulls && block->dictionary)
        MG_TRY(make_codes(test, arena, err));
    *verdict = judge_block(test);
    *out = test;
    return MG_OK;
}

/* ---- running ------------------------------------------------------------------------------------------------- */

static void set_bits(uint64_t *words, uint32_t first, uint32_t end)
{
    mg_bits_set((uint8_t *)words, first, end - first);
}

static bool number_passes(const struct mg_block_test *test, mg_int128 v)
{
    uint32_t first = 0, end = test->range_count;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (v > test->ranges[middle].high)
            first = middle + 1;
        else
            end = middle;
    }
    return first < test->range_count && v >= test->ranges[first].low;
}

/* Lanes of which those from low to high pass; both are of their size or are cut to it by the caller. */
static void add_range(const void *lanes, uint32_t log, uint32_t count, uint64_t low, uint64_t high, uint64_t *words)
{
    uint64_t found[MG_VECTOR_WORDS];

    mg_block__kernels()->range[log](lanes, count, low, high - low, found);
    for (uint32_t w = 0; w < (count + 63) / 64; w++)
        words[w] |= found[w];
}

/* Numbers as int64, moved so that they are unsigned in their order; `base` is what 0 stands for. */
static void test_numbers(const struct mg_block_test *test, const void *lanes, uint32_t log, mg_int128 base,
                         uint64_t largest, uint32_t count, uint64_t *words)
{
    if (test->range_count > RANGES_FAST) {
        for (uint32_t i = 0; i < count; i++) {
            uint64_t distance = mg_pack__lane((const uint8_t *)lanes + ((size_t)i << log), 1u << log);
            words[i / 64] |= (uint64_t)number_passes(test, base + (mg_int128)distance) << i % 64;
        }
        return;
    }
    for (uint32_t i = 0; i < test->range_count; i++) {
        const struct range *range = &test->ranges[i];
        if (range->high < base || range->low > base + (mg_int128)largest)
            continue;
        uint64_t low = range->low > base ? (uint64_t)(range->low - base) : 0;
        uint64_t high = range->high < base + (mg_int128)largest ? (uint64_t)(range->high - base) : largest;
        add_range(lanes, log, count, low, high, words);
    }
}

static void test_frame(const struct mg_block_test *test, const struct mg_block__view *view, uint64_t *words)
{
    struct mg_block__lanes lanes;
    uint32_t log = mg_block__unpack(view->data, view->width, view->rows, &lanes);

    test_numbers(test, lanes.bytes, log, view->base, mg_bits_mask(view->width), view->rows, words);
}

static bool code_passes(const struct mg_block_test *test, uint32_t code)
{
    uint32_t first = 0, end = test->code_range_count;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (code >= test->codes[middle].end)
            first = middle + 1;
        else
            end = middle;
    }
    return first < test->code_range_count && code >= test->codes[first].first;
}

static void test_codes(const struct mg_block_test *test, const struct mg_block__view *view, uint64_t *words)
{
    struct mg_block__lanes lanes;
    uint32_t log = mg_block__unpack(view->data, view->width, view->rows, &lanes);
    uint64_t base = (uint32_t)view->header->base, largest = mg_bits_mask(view->width);

    for (uint32_t i = 0; i < view->rows && test->code_range_count > RANGES_FAST; i++) {
        uint64_t code = base + mg_pack__lane(lanes.bytes + ((size_t)i << log), 1u << log);
        words[i / 64] |= (uint64_t)code_passes(test, (uint32_t)code) << i % 64;
    }
    for (uint32_t i = 0; i < test->code_range_count && test->code_range_count <= RANGES_FAST; i++) {
        uint64_t first = test->codes[i].first, last = test->codes[i].end - 1;
        if (last < base || first > base + largest)
            continue;
        add_range(lanes.bytes, log, view->rows, first > base ? first - base : 0, MG_MIN(last - base, largest), words);
    }
}

static enum mg_code test_runs(const struct mg_block_test *test, const struct mg_block__view *view, uint64_t *words,
                              struct mg_error *err)
{
    bool is_float = mg_block__class_of(test->block->type.id) == MG_BLOCK__FLOATS;
    struct mg_block__runs runs;

    MG_TRY(mg_block__runs(test->block, view, &runs, err));
    for (uint32_t i = 0, first = 0; i < runs.count; first = runs.ends[i++]) {
        uint64_t distance = mg_pack__lane(runs.values + (size_t)i * runs.value_bytes, runs.value_bytes);
        mg_int128 v = is_float ? (mg_int128)float_key(mg_alp__float(distance, runs.value_bytes * 8))
                               : view->base + (mg_int128)distance;
        if (number_passes(test, v))
            set_bits(words, first, runs.ends[i]);
    }
    return MG_OK;
}

/* Decimals of 128 bits as they are. */
static void test_wide(const struct mg_block_test *test, const struct mg_block__view *view, uint64_t *words)
{
    for (uint32_t i = 0; i < view->rows; i++) {
        mg_int128 v;
        memcpy(&v, view->data + (size_t)i * 16, sizeof v);
        words[i / 64] |= (uint64_t)number_passes(test, v) << i % 64;
    }
}

/* Made into numbers first. */
static enum mg_code test_values(const struct mg_block_test *test, const struct mg_block__view *view, uint64_t *words,
                                struct mg_error *err)
{
    enum mg_type_id id = test->block->type.id;
    _Alignas(64) int64_t numbers[MG_VECTOR_ROWS];
    float floats[MG_VECTOR_ROWS];
    double doubles[MG_VECTOR_ROWS];
    uint64_t turn = id == MG_TYPE_UINT64 ? 0 : UINT64_C(1) << 63;

    if (id == MG_TYPE_FLOAT32) {
        MG_TRY(mg_block__values(test->block, view, 2, floats, err));
        for (uint32_t i = 0; i < view->rows; i++)
            numbers[i] = float_key((double)floats[i]);
    } else if (id == MG_TYPE_FLOAT64) {
        MG_TRY(mg_block__values(test->block, view, 3, doubles, err));
        for (uint32_t i = 0; i < view->rows; i++)
            numbers[i] = float_key(doubles[i]);
    } else if (id == MG_TYPE_DECIMAL && view->header->encoding == MG_ENCODING_PLAIN) {
        test_wide(test, view, words);
        return MG_OK;
    } else {
        MG_TRY(mg_block__values(test->block, view, 3, numbers, err));
    }
    for (uint32_t i = 0; i < view->rows; i++)
        numbers[i] = (int64_t)((uint64_t)numbers[i] ^ turn);
    test_numbers(test, numbers, 3, turn ? (mg_int128)INT64_MIN : 0, UINT64_MAX, view->rows, words);
    return MG_OK;
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

/* A row of texts: its bytes, or the codes that stand for them. */
struct row_text {
    struct mg_slice bytes;
    const struct mg_fsst__table *symbols; /* NULL: bytes are the text */
};

static int compare_row(const struct row_text *row, const struct mg_value *value)
{
    if (row->symbols)
        return mg_fsst__compare(row->symbols, row->bytes.data, row->bytes.size, value->text);
    return mg_slice_compare(row->bytes, value->text);
}

static bool row_is_in(const struct mg_block_test *test, const struct row_text *row)
{
    uint32_t first = 0, end = test->value_count;

    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        int c = compare_row(row, &test->values[middle]);
        if (c == 0)
            return true;
        if (c > 0)
            first = middle + 1;
        else
            end = middle;
    }
    return false;
}

static bool row_passes(const struct mg_block_test *test, const struct row_text *row)
{
    const struct mg_value *low = &test->values[0], *high = &test->values[1];

    if (test->op == MG_BLOCK_IN)
        return row_is_in(test, row);
    if (!low->is_null && compare_row(row, low) < (int)test->low_is_open)
        return false;
    return high->is_null || compare_row(row, high) <= -(int)test->high_is_open;
}

static bool text_passes(const struct mg_block_test *test, struct mg_slice text)
{
    while (test->pad_space && text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return row_passes(test, &(struct row_text){text, NULL});
}

static enum mg_code test_texts(const struct mg_block_test *test, uint32_t vector, const uint64_t *mask, uint64_t *words,
                               struct mg_error *err)
{
    struct mg_block__reader reader;
    struct row_text row = {.symbols = NULL};

    MG_TRY(mg_block__reader_open(test->block, vector, &reader, err));
    if (reader.view.header->encoding == MG_ENCODING_FSST)
        row.symbols = mg_block__symbols(test->block);
    for (uint32_t i = 0; i < reader.view.rows; i++) {
        if (!(mask[i / 64] >> i % 64 & 1))
            continue;
        MG_TRY(mg_block__row_bytes(&reader, i, &row.bytes, err));
        words[i / 64] |= (uint64_t)(row.symbols ? row_passes(test, &row) : text_passes(test, row.bytes)) << i % 64;
    }
    return MG_OK;
}

/* ---- one vector ---------------------------------------------------------------------------------------------- */

/* words: rows that pass before negation; what NULL rows have does not matter. */
static enum mg_code test_vector(const struct mg_block_test *test, uint32_t vector, const struct mg_block__view *view,
                                const uint64_t *mask, uint64_t *words, struct mg_error *err)
{
    if (view->header->encoding == MG_ENCODING_DICTIONARY) {
        test_codes(test, view, words);
        return MG_OK;
    }
    if (test->block->type.id == MG_TYPE_UTF8)
        return test_texts(test, vector, mask, words, err);
    switch (view->header->encoding) {
    case MG_ENCODING_FRAME: test_frame(test, view, words); return MG_OK;
    case MG_ENCODING_RUNS: return test_runs(test, view, words, err);
    default: return test_values(test, view, words, err);
    }
}

/* Clear the bits of rows that are NULL, or of those that are not. */
static void keep_nulls(const struct mg_block__view *view, bool wanted, uint64_t *mask)
{
    bool all = mg_block__all_null(view);

    for (uint32_t w = 0; w * 64 < view->rows; w++) {
        uint32_t count = MG_MIN(view->rows - w * 64, 64U);
        uint64_t there = view->validity ? mg_bits_load(view->validity, w * 64, count) : all ? 0 : UINT64_MAX;
        mask[w] &= wanted ? ~there : there;
    }
}

enum mg_code mg_block_test_run(const struct mg_block_test *test, uint32_t vector, uint64_t *mask, struct mg_error *err)
{
    struct mg_block__view view = mg_block__view(test->block, vector);
    uint64_t words[MG_VECTOR_WORDS] = {0};

    if (test->op == MG_BLOCK_IS_NULL || test->op == MG_BLOCK_IS_NOT_NULL) {
        keep_nulls(&view, test->op == MG_BLOCK_IS_NULL, mask);
        return MG_OK;
    }
    enum mg_block_verdict verdict = judge_vector(test, &view);
    uint64_t turn = (verdict == MG_BLOCK_ALL) != test->negate ? UINT64_MAX : 0; /* of words, which stay 0 for ALL */
    if (verdict == MG_BLOCK_SOME)
        MG_TRY(test_vector(test, vector, &view, mask, words, err));
    for (uint32_t w = 0; w < MG_VECTOR_WORDS; w++)
        mask[w] &= words[w] ^ turn;
    if (view.header->null_count)
        keep_nulls(&view, false, mask);
    return MG_OK;
}
