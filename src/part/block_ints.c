/* block_ints.c -- integers, dates, times and decimals to vectors: what each encoding would take, and the smallest.
 *
 * Numbers are worked on as int64 in their order: unsigned 64-bit ones with the top bit turned. Distances do not change
 * by that. Decimals that do not fit int64 have a way of their own: a base of 128 bits, or as they are.
 * A NULL row takes the value before it (the first present one at the beginning), which is in every range and run.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_write.h"

typedef unsigned __int128 uint128;

/* What is known of one vector of narrow numbers. */
struct shape {
    int64_t low, high;
    int64_t step_low, step_high; /* from one row to the next */
    uint32_t run_count;
};

struct choice {
    enum mg_encoding encoding;
    uint32_t width;
    size_t bytes; /* of data */
};

struct encoder {
    struct mg_block__writer *writer;
    enum mg_type_id type;
    uint64_t turn;    /* to and from the order of int64 */
    int64_t *numbers; /* MG_VECTOR_ROWS a vector, in order; not set for wide and empty ones */
    bool wide[MG_BLOCK_VECTORS];
    bool without[MG_BLOCK_VECTORS]; /* wide or only NULLs */
    struct shape shapes[MG_BLOCK_VECTORS];
    struct choice choices[MG_BLOCK_VECTORS];
    struct mg_block__dictionary dictionary;
};

static bool is_valid(const struct mg_vector *rows, uint32_t row) { return !mg_vector_is_null(rows, row); }

/* ---- loading ------------------------------------------------------------------------------------------------- */

static mg_int128 decimal_at(const struct mg_vector *rows, uint32_t row)
{
    mg_int128 v;

    memcpy(&v, (const uint8_t *)rows->values + (size_t)row * 16, 16);
    return v;
}

/* False when a decimal that is present does not fit. */
static bool load_decimals(const struct mg_vector *rows, uint32_t first, uint32_t count, int64_t *out)
{
    for (uint32_t i = 0; i < count; i++) {
        mg_int128 v = decimal_at(rows, first + i);
        if (v != (int64_t)v && is_valid(rows, first + i))
            return false;
        out[i] = (int64_t)v;
    }
    return true;
}

static bool load(const struct encoder *encoder, uint32_t first, uint32_t count, int64_t *out)
{
    const struct mg_vector *rows = encoder->writer->rows;
    const uint8_t *values = rows->values;

#define LOAD(type)                       \
    for (uint32_t i = 0; i < count; i++) \
    out[i] = (int64_t)((const type *)(const void *)values)[first + i]
    switch (encoder->type) {
    case MG_TYPE_INT8: LOAD(int8_t); return true;
    case MG_TYPE_UINT8: LOAD(uint8_t); return true;
    case MG_TYPE_INT16: LOAD(int16_t); return true;
    case MG_TYPE_UINT16: LOAD(uint16_t); return true;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: LOAD(int32_t); return true;
    case MG_TYPE_UINT32: LOAD(uint32_t); return true;
    case MG_TYPE_UINT64:
        for (uint32_t i = 0; i < count; i++)
            out[i] = (int64_t)(((const uint64_t *)(const void *)values)[first + i] ^ encoder->turn);
        return true;
    case MG_TYPE_DECIMAL: return load_decimals(rows, first, count, out);
    default: LOAD(int64_t); return true;
    }
#undef LOAD
}

/* NULL rows take the value before them. */
static void fill_nulls(const struct mg_vector *rows, uint32_t first, uint32_t count, int64_t *numbers)
{
    uint32_t row = 0;

    while (!is_valid(rows, first + row))
        row++;
    int64_t last = numbers[row];
    for (uint32_t i = 0; i < count; i++) {
        if (is_valid(rows, first + i))
            last = numbers[i];
        numbers[i] = last;
    }
}

static struct shape measure(const int64_t *numbers, uint32_t count)
{
    struct shape shape = {.low = numbers[0], .high = numbers[0], .step_low = INT64_MAX, .step_high = INT64_MIN};

    for (uint32_t i = 0; i < count; i++) {
        shape.low = MG_MIN(shape.low, numbers[i]);
        shape.high = MG_MAX(shape.high, numbers[i]);
    }
    for (uint32_t i = 1; i < count; i++) {
        int64_t step = (int64_t)((uint64_t)numbers[i] - (uint64_t)numbers[i - 1]);
        shape.step_low = MG_MIN(shape.step_low, step);
        shape.step_high = MG_MAX(shape.step_high, step);
    }
    shape.run_count = mg_block__count_runs((const uint64_t *)numbers, count);
    return shape;
}

static void load_vector(struct encoder *encoder, uint32_t vector)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t first = vector * MG_VECTOR_ROWS, count = mg_block__rows_of(writer, vector);

    encoder->without[vector] = mg_block__only_nulls(writer, vector);
    if (encoder->without[vector])
        return;
    encoder->without[vector] = encoder->wide[vector] = !load(encoder, first, count, encoder->numbers + first);
    if (encoder->wide[vector])
        return;
    if (writer->headers[vector].null_count)
        fill_nulls(writer->rows, first, count, encoder->numbers + first);
    encoder->shapes[vector] = measure(encoder->numbers + first, count);
}

/* ---- zone ---------------------------------------------------------------------------------------------------- */

static struct mg_value value_of(const struct encoder *encoder, mg_int128 v)
{
    struct mg_value value = {.type = encoder->writer->rows->type};

    if (encoder->type == MG_TYPE_DECIMAL)
        value.d = v;
    else
        value.u = (uint64_t)v;
    return value;
}

static void widen_zone(struct mg_block_info *info, struct mg_value low, struct mg_value high)
{
    if (!info->has_zone || mg_value_compare(&low, &info->low) < 0)
        info->low = low;
    if (!info->has_zone || mg_value_compare(&high, &info->high) > 0)
        info->high = high;
    info->has_zone = true;
}

/* ---- choosing ------------------------------------------------------------------------------------------------ */

static void offer(struct choice *best, enum mg_encoding encoding, uint32_t width, size_t bytes)
{
    if (bytes < best->bytes)
        *best = (struct choice){encoding, width, bytes};
}

/* What each row is above the one before it, less the smallest such step; 0 for row 0. */
static void steps_of(const struct encoder *encoder, uint32_t vector, uint64_t out[MG_VECTOR_ROWS])
{
    const uint64_t *numbers = (const uint64_t *)encoder->numbers + (size_t)vector * MG_VECTOR_ROWS;
    uint32_t rows = mg_block__rows_of(encoder->writer, vector);

    out[0] = 0;
    for (uint32_t i = 1; i < rows; i++)
        out[i] = numbers[i] - numbers[i - 1] - (uint64_t)encoder->shapes[vector].step_low;
}

/* A key that mostly rises by little and seldom by much has exceptions. */
static void offer_delta(struct choice *best, const struct encoder *encoder, uint32_t vector)
{
    uint64_t steps[MG_VECTOR_ROWS];

    steps_of(encoder, vector, steps);
    struct mg_block__patch patch = mg_block__best_patch(steps, mg_block__rows_of(encoder->writer, vector));
    size_t bytes = 8 + patch.bytes;
    if (bytes + bytes / 8 < best->bytes)
        *best = (struct choice){MG_ENCODING_DELTA, patch.width, bytes};
}

/* The smallest without a dictionary. DELTA has to save an eighth, since a row is reached through those before it; it is
 * looked at where numbers rise or differ less from their neighbours than at all. */
static struct choice choose_alone(const struct encoder *encoder, uint32_t vector)
{
    const struct shape *shape = &encoder->shapes[vector];
    uint32_t rows = mg_block__rows_of(encoder->writer, vector);
    uint32_t width = mg_pack__width((uint64_t)shape->high - (uint64_t)shape->low);
    uint32_t step_width = mg_pack__width((uint64_t)shape->step_high - (uint64_t)shape->step_low);
    struct choice best = {MG_ENCODING_PLAIN, 0, mg_pad8((uint64_t)rows * mg_type_width(encoder->type))};

    if (width == 0)
        return (struct choice){MG_ENCODING_CONSTANT, 0, 0};
    offer(&best, MG_ENCODING_FRAME, width, mg_pack__bytes(rows, width));
    uint32_t slot = mg_pack__lane_bytes(width) * 8;
    offer(&best, MG_ENCODING_RUNS, slot, mg_block__run_bytes(shape->run_count, slot));
    if (shape->step_low >= 0 || step_width < width)
        offer_delta(&best, encoder, vector);
    return best;
}

/* With a dictionary, vectors that it serves better take it; it has to save an eighth of the block. */
static enum mg_code choose(struct encoder *encoder, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    struct choice with[MG_BLOCK_VECTORS];
    size_t alone_bytes = 0, with_bytes;

    for (uint32_t v = 0; v < writer->vector_count; v++)
        if (!encoder->without[v]) {
            encoder->choices[v] = choose_alone(encoder, v);
            alone_bytes += encoder->choices[v].bytes;
        }
    uint32_t count_max = (uint32_t)MG_MIN(alone_bytes / 16, (size_t)writer->rows->row_count / 4);
    if (count_max < 2)
        return MG_OK;
    MG_TRY(mg_block__number_dictionary(writer, (const uint64_t *)encoder->numbers, encoder->without, count_max,
                                       &encoder->dictionary, err));
    if (encoder->dictionary.count == 0)
        return MG_OK;
    with_bytes = mg_block__dictionary_bytes(&encoder->dictionary);
    for (uint32_t v = 0; v < writer->vector_count; v++)
        if (!encoder->without[v]) {
            struct mg_block__codes codes = mg_block__codes_of(&encoder->dictionary, v, mg_block__rows_of(writer, v));
            with[v] = encoder->choices[v];
            offer(&with[v], MG_ENCODING_DICTIONARY, codes.width, codes.bytes);
            with_bytes += with[v].bytes;
        }
    if (with_bytes < alone_bytes - alone_bytes / 8)
        memcpy(encoder->choices, with, sizeof with);
    else
        encoder->dictionary.count = 0;
    return MG_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static enum mg_code write_plain(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t width = mg_type_width(encoder->type), rows = mg_block__rows_of(writer, vector);

    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_PLAIN, 0, 0, err));
    return mg_block__append(writer, (const uint8_t *)writer->rows->values + (size_t)vector * MG_VECTOR_ROWS * width,
                            (size_t)rows * width, err);
}

static enum mg_code write_frame(struct encoder *encoder, uint32_t vector, uint32_t width, struct mg_error *err)
{
    uint64_t distances[MG_VECTOR_ROWS];
    const int64_t *numbers = encoder->numbers + (size_t)vector * MG_VECTOR_ROWS;
    uint32_t rows = mg_block__rows_of(encoder->writer, vector);
    uint64_t low = (uint64_t)encoder->shapes[vector].low;

    for (uint32_t i = 0; i < rows; i++)
        distances[i] = (uint64_t)numbers[i] - low;
    MG_TRY(mg_block__begin_vector(encoder->writer, vector, MG_ENCODING_FRAME, width, low ^ encoder->turn, err));
    return mg_block__append_packed(encoder->writer, distances, rows, width, err);
}

static enum mg_code write_delta(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t rows = mg_block__rows_of(writer, vector);
    uint64_t steps[MG_VECTOR_ROWS], base = (uint64_t)encoder->numbers[(size_t)vector * MG_VECTOR_ROWS] ^ encoder->turn;

    steps_of(encoder, vector, steps);
    struct mg_block__patch patch = mg_block__best_patch(steps, rows);
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_DELTA, patch.width, base, err));
    MG_TRY(mg_buffer_append_le64(writer->out, (uint64_t)encoder->shapes[vector].step_low, err));
    return mg_block__append_patched(writer, steps, rows, &patch, err);
}

static enum mg_code write_narrow(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    const struct shape *shape = &encoder->shapes[vector];
    const uint64_t *numbers = (const uint64_t *)encoder->numbers + (size_t)vector * MG_VECTOR_ROWS;
    uint32_t width = encoder->choices[vector].width;

    switch (encoder->choices[vector].encoding) {
    case MG_ENCODING_CONSTANT:
        return mg_block__begin_vector(encoder->writer, vector, MG_ENCODING_CONSTANT, 0,
                                      (uint64_t)shape->low ^ encoder->turn, err);
    case MG_ENCODING_FRAME: return write_frame(encoder, vector, width, err);
    case MG_ENCODING_DELTA: return write_delta(encoder, vector, err);
    case MG_ENCODING_RUNS:
        return mg_block__write_runs(encoder->writer, vector, numbers, width, (uint64_t)shape->low, encoder->turn, err);
    case MG_ENCODING_DICTIONARY: return mg_block__write_codes(encoder->writer, &encoder->dictionary, vector, 0, err);
    default: return write_plain(encoder, vector, err);
    }
}

/* Decimals of which one does not fit int64. */
static enum mg_code write_wide(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector), row = 0;
    uint64_t distances[MG_VECTOR_ROWS];

    while (!is_valid(writer->rows, first + row))
        row++;
    mg_int128 low = decimal_at(writer->rows, first + row), high = low;
    for (uint32_t i = 0; i < rows; i++)
        if (is_valid(writer->rows, first + i)) {
            mg_int128 v = decimal_at(writer->rows, first + i);
            low = MG_MIN(low, v);
            high = MG_MAX(high, v);
        }
    widen_zone(writer->info, value_of(encoder, low), value_of(encoder, high));
    uint128 range = (uint128)high - (uint128)low;
    uint64_t upper = (uint64_t)((uint128)low >> 64);
    if (range > UINT64_MAX)
        return write_plain(encoder, vector, err);
    uint32_t width = mg_pack__width((uint64_t)range);
    MG_TRY(mg_block__begin_vector(writer, vector, range ? MG_ENCODING_FRAME : MG_ENCODING_CONSTANT,
                                  width | MG_BLOCK__WIDE, (uint64_t)low, err));
    MG_TRY(mg_block__append(writer, &upper, sizeof upper, err));
    for (uint32_t i = 0; i < rows; i++)
        distances[i] = is_valid(writer->rows, first + i)
                           ? (uint64_t)((uint128)decimal_at(writer->rows, first + i) - (uint128)low)
                           : 0;
    return mg_block__append_packed(writer, distances, rows, width, err);
}

static enum mg_code write_vector(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    const struct shape *shape = &encoder->shapes[vector];

    if (mg_block__only_nulls(encoder->writer, vector))
        return mg_block__begin_vector(encoder->writer, vector, MG_ENCODING_CONSTANT, 0, 0, err);
    if (encoder->wide[vector])
        return write_wide(encoder, vector, err);
    bool is_unsigned = encoder->type == MG_TYPE_UINT64;
    mg_int128 low = is_unsigned ? (mg_int128)((uint64_t)shape->low ^ encoder->turn) : shape->low;
    mg_int128 high = is_unsigned ? (mg_int128)((uint64_t)shape->high ^ encoder->turn) : shape->high;
    widen_zone(encoder->writer->info, value_of(encoder, low), value_of(encoder, high));
    return write_narrow(encoder, vector, err);
}

enum mg_code mg_block__encode_ints(struct mg_block__writer *writer, struct mg_error *err)
{
    struct encoder *encoder = mg_arena_new(writer->scratch, struct encoder);
    int64_t *numbers = mg_arena_array(writer->scratch, int64_t, writer->rows->row_count);

    if (!encoder || !numbers)
        return mg_arena_fail(writer->scratch, err);
    encoder->writer = writer;
    encoder->type = writer->rows->type.id;
    encoder->turn = encoder->type == MG_TYPE_UINT64 ? UINT64_C(1) << 63 : 0;
    encoder->numbers = numbers;
    for (uint32_t v = 0; v < writer->vector_count; v++)
        load_vector(encoder, v);
    MG_TRY(choose(encoder, err));
    for (uint32_t v = 0; v < writer->vector_count; v++)
        MG_TRY(write_vector(encoder, v, err));
    return encoder->dictionary.count ? mg_block__write_dictionary(writer, &encoder->dictionary, encoder->turn, err)
                                     : MG_OK;
}
