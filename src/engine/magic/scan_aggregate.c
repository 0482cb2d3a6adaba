/* scan_aggregate.c -- an aggregate over what is left of a row group, each column in the narrowest form at hand.
 *
 * Tallies   without groups, counts, and sums, lowest and highest values of bare columns of exact numbers are added up
 *           here, a row group at a time: from the mask alone, from counts of NULLs, from sums of encoded vectors, from
 *           the footer's bounds where every row is left. They go into the aggregation when rows end.
 * Feeding   anything else: vector by vector, exact numbers as int64 with the bounds of their block, texts and grouped
 *           columns as codes of the block's dictionary, the rest in Arrow's layout. Of a vector with few rows left only
 *           these are brought out.
 * Chunks    of memory know bounds, too, once they are frozen: their numbers are fed as int64. One with images is a row
 * group here; columns without one are fed as they lie.
 * Threads   a reader belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "column/bits.h"
#include "engine/magic/scan_internal.h"

enum { FEW_ROWS = MG_VECTOR_ROWS / 8 }; /* up to so many of a vector are brought out alone */

static bool is_exact(enum mg_type_id id)
{
    return id != MG_TYPE_UTF8 && id != MG_TYPE_FLOAT32 && id != MG_TYPE_FLOAT64;
}

static mg_int128 exact_of(const struct mg_value *v)
{
    switch (v->type.id) {
    case MG_TYPE_DECIMAL: return v->d;
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return (mg_int128)v->u;
    default: return v->i;
    }
}

/* ---- what an aggregate asks for ------------------------------------------------------------------------------ */

/* False: a chunk has no image of the column, and it is read as it lies there. */
static bool has_block(const struct scan_reader *reader, uint32_t column)
{
    return !reader->group.chunk || reader->images[column];
}

/* The same of all columns that are added up. */
static bool has_blocks(const struct scan_reader *reader)
{
    bool all = true;
    for (uint32_t c = 0; reader->group.chunk && c < reader->scan->schema->column_count; c++)
        all = all && (!reader->scan->shown[c] || reader->in_segment[c] < 0 || reader->images[c]);
    return all;
}

/* Can the call be tallied? */
static bool can_tally(const struct scan *scan, const struct mg_aggregate_bound_call *call)
{
    if (call->function == MG_AGGREGATE_COUNT_ALL)
        return true;
    int column = mg_scalar_column(call->argument);
    if (column < 0 || call->function == MG_AGGREGATE_COUNT)
        return column >= 0;
    return is_exact(scan->schema->columns[column].type.id);
}

/* And, of all rows of a row group, from its footer? */
static bool is_in_footers(const struct mg_aggregate_bound_call *call)
{
    return call->function == MG_AGGREGATE_COUNT_ALL || call->function == MG_AGGREGATE_COUNT ||
           call->function == MG_AGGREGATE_MIN || call->function == MG_AGGREGATE_MAX;
}

enum mg_code mg_scan__plan_aggregate(struct scan_reader *reader, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    const struct mg_aggregate *aggregate = scan->spec.aggregate;
    size_t columns = (size_t)scan->schema->column_count + 1;
    reader->inputs = calloc(columns, sizeof *reader->inputs);
    reader->feeds = calloc(columns, sizeof *reader->feeds);
    reader->tallies = calloc((size_t)aggregate->call_count + 1, sizeof *reader->tallies);
    bool *used = calloc(columns, sizeof *used);
    if (!reader->inputs || !reader->feeds || !reader->tallies || !used) {
        free(used);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate of %u columns", scan->schema->column_count);
    }
    reader->tallied = reader->by_footers = aggregate->group_count == 0;
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        reader->tallied = reader->tallied && can_tally(scan, &aggregate->calls[i]);
        reader->by_footers = reader->tallied && reader->by_footers && is_in_footers(&aggregate->calls[i]);
        if (aggregate->calls[i].argument)
            mg_scalar_mark(aggregate->calls[i].argument, used);
    }
    for (uint32_t i = 0; i < aggregate->group_count; i++) {
        int column = mg_scalar_column(aggregate->groups[i]);
        if (column >= 0 && !used[column])
            reader->feeds[column].as_codes = true;
    }
    free(used);
    return MG_OK;
}

/* ---- tallies ------------------------------------------------------------------------------------------------- */

/* Rows of the mask that are not NULL. */
static uint32_t count_present(const struct mg_block *block, uint32_t vector, const uint64_t *words)
{
    const uint8_t *validity = mg_block_vector_validity(block, vector);
    uint32_t rows = mg_block_vector_rows(block, vector), count = 0;
    if (mg_block_vector_nulls(block, vector) == rows)
        return 0;
    for (uint32_t first = 0; first < rows; first += 64) {
        uint64_t there = validity ? mg_bits_load(validity, first, MG_MIN(rows - first, 64U)) : ~UINT64_C(0);
        count += (uint32_t)__builtin_popcountll(words[first / 64] & there);
    }
    return count;
}

static const uint64_t *words_of(const struct scan_reader *reader, uint32_t vector)
{
    return reader->group.mask + (size_t)vector * MG_VECTOR_WORDS;
}

static enum mg_code tally_count(struct scan_reader *reader, uint32_t column, uint32_t live, struct scan_tally *tally,
                                struct mg_error *err)
{
    const struct mg_block_info *info = mg_scan__block_info(reader, column);
    const struct mg_block *block;
    if (info->null_count == 0 || reader->group.is_whole)
        tally->count += live - info->null_count;
    if (info->null_count == 0 || reader->group.is_whole || info->null_count == info->row_count)
        return MG_OK;
    MG_TRY(mg_scan__block(reader, column, &block, err));
    for (uint32_t v = 0; v < reader->group.vector_count; v++)
        tally->count += count_present(block, v, words_of(reader, v));
    return MG_OK;
}

/* *done false: the rows must be added one by one. */
static enum mg_code tally_sum(struct scan_reader *reader, uint32_t column, struct scan_tally *tally, bool *done,
                              struct mg_error *err)
{
    const struct mg_block *block;
    MG_TRY(mg_scan__block(reader, column, &block, err));
    for (uint32_t v = 0; v < reader->group.vector_count && *done; v++) {
        const uint64_t *words = words_of(reader, v);
        uint32_t left = mg_block_count(words), count;
        mg_int128 sum;
        if (left == 0)
            continue;
        *done = mg_block_sum(block, v, left == mg_block_vector_rows(block, v) ? NULL : words, &sum, &count) &&
                !__builtin_add_overflow(tally->sum, sum, &tally->sum);
        tally->count += count;
    }
    return MG_OK;
}

static void note_best(struct scan_tally *tally, bool lowest, mg_int128 v)
{
    if (!tally->has_best || (lowest ? v < tally->best : v > tally->best))
        tally->best = v;
    tally->has_best = true;
}

/* The lowest or highest of a vector's rows; `turn` makes unsigned numbers signed ones in their order. */
static void best_of_ints(const struct mg_block *block, uint32_t vector, const int64_t *ints, const uint64_t *words,
                         bool lowest, struct scan_tally *tally)
{
    const uint8_t *validity = mg_block_vector_validity(block, vector);
    uint32_t rows = mg_block_vector_rows(block, vector);
    bool is_unsigned = block->type.id == MG_TYPE_UINT64, any = false;
    uint64_t turn = (is_unsigned ? UINT64_C(1) << 63 : 0) ^ (lowest ? 0 : UINT64_MAX);
    int64_t best = INT64_MAX;
    for (uint32_t first = 0; first < rows; first += 64) {
        uint32_t n = MG_MIN(rows - first, 64U);
        uint64_t left = words[first / 64] & (validity ? mg_bits_load(validity, first, n) : mg_bits_mask(n));
        any |= left != 0;
        for (uint32_t i = 0; i < n && left == mg_bits_mask(n); i++) {
            int64_t v = (int64_t)((uint64_t)ints[first + i] ^ turn);
            best = MG_MIN(best, v);
        }
        for (; left && left != mg_bits_mask(n); left &= left - 1) {
            int64_t v = (int64_t)((uint64_t)ints[first + (uint32_t)__builtin_ctzll(left)] ^ turn);
            best = MG_MIN(best, v);
        }
    }
    uint64_t bits = (uint64_t)best ^ turn;
    if (any)
        note_best(tally, lowest, is_unsigned ? (mg_int128)bits : (mg_int128)(int64_t)bits);
}

static enum mg_code tally_best(struct scan_reader *reader, uint32_t column, uint32_t live, bool lowest,
                               struct scan_tally *tally, bool *done, struct mg_error *err)
{
    const struct mg_block_info *info = mg_scan__block_info(reader, column);
    const struct mg_block *block;
    int64_t ints[MG_VECTOR_ROWS];
    if (!info->has_zone)
        return MG_OK; /* only NULLs */
    mg_int128 bound = exact_of(lowest ? &info->low : &info->high);
    if (tally->has_best && (lowest ? bound >= tally->best : bound <= tally->best))
        return MG_OK;
    if (live == reader->group.row_count) {
        note_best(tally, lowest, bound);
        return MG_OK;
    }
    MG_TRY(mg_scan__block(reader, column, &block, err));
    for (uint32_t v = 0; v < reader->group.vector_count && *done; v++) {
        const uint64_t *words = words_of(reader, v);
        if (mg_block_count(words) == 0 || mg_block_vector_nulls(block, v) == mg_block_vector_rows(block, v))
            continue;
        *done = mg_block_ints(block, v, ints);
        if (*done)
            best_of_ints(block, v, ints, words, lowest, tally);
    }
    return MG_OK;
}

/* A column that the part lacks. */
static void tally_missing(const struct mg_value *missing, enum mg_aggregate_function function, uint32_t live,
                          struct scan_tally *tally, bool *done)
{
    mg_int128 product;
    if (missing->is_null)
        return;
    tally->count += live;
    if (function == MG_AGGREGATE_MIN || function == MG_AGGREGATE_MAX)
        note_best(tally, function == MG_AGGREGATE_MIN, exact_of(missing));
    else if (function != MG_AGGREGATE_COUNT)
        *done = !__builtin_mul_overflow(exact_of(missing), (mg_int128)live, &product) &&
                !__builtin_add_overflow(tally->sum, product, &tally->sum);
}

static enum mg_code tally_call(struct scan_reader *reader, const struct mg_aggregate_bound_call *call, uint32_t live,
                               struct scan_tally *tally, bool *done, struct mg_error *err)
{
    if (call->function == MG_AGGREGATE_COUNT_ALL) {
        tally->count += live;
        return MG_OK;
    }
    uint32_t column = (uint32_t)mg_scalar_column(call->argument);
    if (reader->in_segment[column] < 0) {
        tally_missing(&reader->scan->schema->columns[column].missing, call->function, live, tally, done);
        return MG_OK;
    }
    *done = has_block(reader, column);
    if (!*done)
        return MG_OK;
    switch (call->function) {
    case MG_AGGREGATE_COUNT: return tally_count(reader, column, live, tally, err);
    case MG_AGGREGATE_MIN:
    case MG_AGGREGATE_MAX:
        return tally_best(reader, column, live, call->function == MG_AGGREGATE_MIN, tally, done, err);
    default: return tally_sum(reader, column, tally, done, err);
    }
}

/* The whole group. *done false: nothing was tallied, its rows must be fed. */
static enum mg_code tally_group(struct scan_reader *reader, bool *done, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = reader->scan->spec.aggregate;
    uint32_t live = reader->group.is_whole ? reader->group.row_count : 0;
    size_t count = aggregate->call_count;
    for (uint32_t v = 0; v < reader->group.vector_count && !reader->group.is_whole; v++)
        live += mg_block_count(words_of(reader, v));
    struct scan_tally *next = mg_arena_array(&reader->group_scratch, struct scan_tally, count + 1);
    if (!next)
        return mg_arena_fail(&reader->group_scratch, err);
    memcpy(next, reader->tallies, count * sizeof *next);
    *done = true;
    for (uint32_t i = 0; i < count && *done; i++)
        MG_TRY(tally_call(reader, &aggregate->calls[i], live, &next[i], done, err));
    if (!*done)
        return MG_OK;
    memcpy(reader->tallies, next, count * sizeof *next);
    reader->tallied_rows += live;
    return MG_OK;
}

/* One row of partial results that holds the lowest and highest values alone. */
static enum mg_code merge_best(struct scan_reader *reader, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = reader->scan->spec.aggregate;
    struct mg_type types[2 * MG_AGGREGATE_CALLS_MAX];
    struct mg_batch_builder builder;
    struct mg_batch *row = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        bool is_best = call->function == MG_AGGREGATE_MIN || call->function == MG_AGGREGATE_MAX;
        types[count++] = is_best ? call->type : (struct mg_type){.id = MG_TYPE_INT64};
        if (call->function == MG_AGGREGATE_AVG)
            types[count++] = (struct mg_type){.id = MG_TYPE_INT64};
    }
    MG_TRY(mg_batch_builder_init(&builder, types, count, reader->scan->budget, INT32_MAX, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0, c = 0; code == MG_OK && i < aggregate->call_count; i++, c++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        const struct scan_tally *tally = &reader->tallies[i];
        bool is_count = call->function == MG_AGGREGATE_COUNT || call->function == MG_AGGREGATE_COUNT_ALL;
        if (is_count)
            code = mg_builder_int(&builder, c, 0, err);
        else if (!tally->has_best)
            code = mg_builder_null(&builder, c, err);
        else if (types[c].id == MG_TYPE_DECIMAL)
            code = mg_builder_decimal(&builder, c, tally->best, err);
        else
            code = mg_builder_int(&builder, c, (int64_t)tally->best, err); /* cut to its width */
        if (code == MG_OK && call->function == MG_AGGREGATE_AVG)
            code = mg_builder_int(&builder, ++c, 0, err);
    }
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, 1, &row, err);
    if (code == MG_OK)
        code = mg_aggregation_merge(reader->aggregation, row, err);
    mg_batch_unref(row);
    mg_batch_builder_clear(&builder);
    return code;
}

enum mg_code mg_scan__add_tallies(struct scan_reader *reader, struct mg_error *err)
{
    const struct mg_aggregate *aggregate = reader->scan->spec.aggregate;
    bool has_best = false;
    if (reader->tallied_rows == 0)
        return MG_OK;
    reader->tallied_rows = 0;
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        enum mg_aggregate_function function = aggregate->calls[i].function;
        const struct scan_tally *tally = &reader->tallies[i];
        if (function == MG_AGGREGATE_MIN || function == MG_AGGREGATE_MAX)
            has_best = true;
        else
            MG_TRY(mg_aggregation_add(reader->aggregation, i, tally->sum, tally->count, err));
    }
    if (has_best)
        MG_TRY(merge_best(reader, err));
    memset(reader->tallies, 0, aggregate->call_count * sizeof *reader->tallies);
    return MG_OK;
}

/* ---- chunks of memory ---------------------------------------------------------------------------------------- */

/* Exact numbers that fit, to int64. */
static void widen(const struct mg_vector *v, int64_t *out)
{
#define WIDEN(type)                                                   \
    do {                                                              \
        typedef type any_type __attribute__((aligned(1), may_alias)); \
        const any_type *from = v->values;                             \
        for (uint32_t i = 0; i < v->row_count; i++)                   \
            out[i] = (int64_t)from[i];                                \
    } while (0)
    switch (v->type.id) {
    case MG_TYPE_INT8: WIDEN(int8_t); break;
    case MG_TYPE_UINT8: WIDEN(uint8_t); break;
    case MG_TYPE_INT16: WIDEN(int16_t); break;
    case MG_TYPE_UINT16: WIDEN(uint16_t); break;
    case MG_TYPE_UINT32: WIDEN(uint32_t); break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: WIDEN(int32_t); break;
    default: WIDEN(mg_int128);
    }
#undef WIDEN
}

/* Rows of a column, all of whose chunk's are `all`. A frozen chunk knows the bounds of its numbers; what lies there as
 * int64 is taken as it is. */
static void feed_slice(struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t column,
                       const struct mg_vector *all, uint32_t first, uint32_t row_count)
{
    struct mg_agg_input *input = &reader->inputs[column];
    struct scan_feed *feed = &reader->feeds[column];
    int32_t place = reader->in_segment[column];
    feed->slice = mg_scan__cut(all, first, row_count);
    *input = (struct mg_agg_input){.vector = &feed->slice};
    if (!chunk->frozen || place < 0 || !chunk->columns[place].has_zone || !is_exact(feed->slice.type.id) ||
        feed->as_codes)
        return;
    mg_int128 low = exact_of(&chunk->columns[place].low), high = exact_of(&chunk->columns[place].high);
    if (low != (int64_t)low || high != (int64_t)high)
        return;
    bool is_int64 = mg_type_width(feed->slice.type.id) == 8;
    if (!is_int64)
        widen(&feed->slice, feed->ints);
    *input = (struct mg_agg_input){.ints = is_int64 ? feed->slice.values : feed->ints,
                                   .low = (int64_t)low,
                                   .high = (int64_t)high,
                                   .validity = feed->slice.validity,
                                   .null_count = feed->slice.null_count};
}

enum mg_code mg_scan__aggregate_chunk(struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t row_count,
                                      const uint64_t *mask, struct mg_error *err)
{
    for (uint32_t first = 0; first < row_count; first += MG_SCALAR_ROWS_MAX) {
        uint32_t count = MG_MIN(row_count - first, (uint32_t)MG_SCALAR_ROWS_MAX);
        if (mg_mask_count(mask + first / 64, count) == 0)
            continue;
        for (uint32_t c = 0; c < reader->scan->schema->column_count; c++)
            if (reader->scan->shown[c])
                feed_slice(reader, chunk, c, &reader->vectors[c], first, count);
        MG_TRY(mg_aggregation_take(reader->aggregation, reader->inputs, count, mask + first / 64, err));
    }
    return MG_OK;
}

/* ---- feeding ------------------------------------------------------------------------------------------------- */

/* Rows of the vector that is fed. */
struct chosen {
    uint32_t vector, row_count; /* rows: all of the vector's, or the few */
    const uint16_t *few;        /* NULL: all, under the mask */
};

/* Bits of chosen rows; *nulls of them are NULL. */
static const uint8_t *choose_validity(const struct mg_block *block, const struct chosen *chosen, struct scan_feed *feed,
                                      uint32_t *nulls)
{
    const uint8_t *validity = mg_block_vector_validity(block, chosen->vector);
    *nulls = mg_block_vector_nulls(block, chosen->vector);
    if (*nulls == 0)
        return NULL;
    if (*nulls == mg_block_vector_rows(block, chosen->vector)) {
        *nulls = chosen->row_count;
        memset(feed->validity, 0, sizeof feed->validity);
        return feed->validity;
    }
    if (!chosen->few)
        return validity;
    memset(feed->validity, 0, sizeof feed->validity);
    *nulls = 0;
    for (uint32_t i = 0; i < chosen->row_count; i++) {
        uint32_t row = chosen->few[i], there = validity[row >> 3] >> (row & 7) & 1;
        feed->validity[i >> 3] |= (uint8_t)(there << (i & 7));
        *nulls += !there;
    }
    return *nulls ? feed->validity : NULL;
}

/* False when some value does not fit int64. */
static bool feed_ints(struct scan_reader *reader, const struct mg_block *block, uint32_t column,
                      const struct chosen *chosen)
{
    struct mg_agg_input *input = &reader->inputs[column];
    struct scan_feed *feed = &reader->feeds[column];
    const struct mg_block_info *info = mg_scan__block_info(reader, column);
    mg_int128 low = info->has_zone ? exact_of(&info->low) : 0, high = info->has_zone ? exact_of(&info->high) : 0;
    if (low != (int64_t)low || high != (int64_t)high)
        return false;
    bool there = chosen->few ? mg_block_gather_ints(block, chosen->vector, chosen->few, chosen->row_count, feed->ints)
                             : mg_block_ints(block, chosen->vector, feed->ints);
    *input = (struct mg_agg_input){.ints = feed->ints, .low = (int64_t)low, .high = (int64_t)high};
    input->validity = choose_validity(block, chosen, feed, &input->null_count);
    return there;
}

/* *done false when the vector has no codes. */
static enum mg_code feed_codes(struct scan_reader *reader, const struct mg_block *block, uint32_t column,
                               const struct chosen *chosen, bool *done, struct mg_error *err)
{
    struct mg_agg_input *input = &reader->inputs[column];
    struct scan_feed *feed = &reader->feeds[column];
    *done = mg_block_vector_encoding(block, chosen->vector) == MG_ENCODING_DICTIONARY &&
            mg_block_codes(block, chosen->vector, feed->codes);
    if (!*done)
        return MG_OK;
    if (!feed->dictionary_id) {
        enum mg_code code = mg_block_dictionary_values(block, &reader->group_scratch, &feed->dictionary, err);
        *done = code != MG_NO_MEMORY; /* very long texts: rows one by one take less */
        if (code != MG_OK)
            return *done ? code : MG_OK;
        feed->dictionary_id = ++reader->dictionary_count;
    }
    for (uint32_t i = 0; chosen->few && i < chosen->row_count; i++)
        feed->codes[i] = feed->codes[chosen->few[i]]; /* they rise */
    *input = (struct mg_agg_input){
        .codes = feed->codes, .dictionary = &feed->dictionary, .dictionary_id = feed->dictionary_id};
    input->validity = choose_validity(block, chosen, feed, &input->null_count);
    return MG_OK;
}

static enum mg_code feed_column(struct scan_reader *reader, uint32_t column, const struct chosen *chosen,
                                struct mg_error *err)
{
    struct mg_agg_input *input = &reader->inputs[column];
    const struct mg_block *block;
    bool done = false;
    *input = (struct mg_agg_input){.vector = &reader->vectors[column]};
    if (reader->in_segment[column] < 0) {
        reader->vectors[column] = mg_scan__missing(reader, column, chosen->row_count);
        return MG_OK;
    }
    MG_TRY(mg_scan__block(reader, column, &block, err));
    if (!block) {
        struct mg_vector all = mg_chunk__vector(reader->group.chunk, (uint32_t)reader->in_segment[column],
                                                reader->scan->schema->columns[column].type);
        feed_slice(reader, reader->group.chunk, column, &all, chosen->vector * MG_VECTOR_ROWS, chosen->row_count);
        return MG_OK;
    }
    bool exact = is_exact(block->type.id);
    if (block->type.id == MG_TYPE_UTF8 || (exact && reader->feeds[column].as_codes))
        MG_TRY(feed_codes(reader, block, column, chosen, &done, err));
    if (!done && exact)
        done = feed_ints(reader, block, column, chosen);
    if (done)
        return MG_OK;
    *input = (struct mg_agg_input){.vector = &reader->vectors[column]};
    if (!chosen->few)
        return mg_scan__decode(reader, column, chosen->vector, err);
    return mg_scan__gather(reader, column, chosen->vector, chosen->few, chosen->row_count, err);
}

static enum mg_code feed_vector(struct scan_reader *reader, uint32_t vector, struct mg_error *err)
{
    const uint64_t *words = words_of(reader, vector);
    uint32_t live = mg_block_count(words);
    struct chosen chosen = {.vector = vector};
    uint16_t few[FEW_ROWS];
    if (live == 0)
        return MG_OK;
    chosen.row_count = MG_MIN(reader->group.row_count - vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS);
    if (live <= FEW_ROWS && live < chosen.row_count && has_blocks(reader)) {
        mg_scan__list_rows(words, few);
        chosen.few = few;
        chosen.row_count = live;
    }
    for (uint32_t c = 0; c < reader->scan->schema->column_count; c++)
        if (reader->scan->shown[c])
            MG_TRY(feed_column(reader, c, &chosen, err));
    return mg_aggregation_take(reader->aggregation, reader->inputs, chosen.row_count,
                               chosen.few || live == chosen.row_count ? NULL : words, err);
}

/* ---- row groups ---------------------------------------------------------------------------------------------- */

enum mg_code mg_scan__aggregate_group(struct scan_reader *reader, struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    bool done = false;
    if (reader->tallied && group->next_vector == 0)
        MG_TRY(tally_group(reader, &done, err));
    if (done)
        group->next_vector = group->vector_count;
    if (group->next_vector == 0)
        for (uint32_t c = 0; c < reader->scan->schema->column_count; c++)
            reader->feeds[c].dictionary_id = 0;
    while (group->next_vector < group->vector_count && !mg_scan__is_full(reader))
        MG_TRY(feed_vector(reader, group->next_vector++, err));
    group->active = group->next_vector < group->vector_count;
    return MG_OK;
}
