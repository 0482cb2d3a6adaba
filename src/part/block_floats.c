/* block_floats.c -- floats to vectors, bit by bit: the sign of zero and what a NaN carries come back.
 *
 * ALP: a float that was a decimal once is digits * 10^f * 10^-e for small f and e; where computing that gives the very
 * bits, the digits are packed, and all others are exceptions.
 * Source   Afroozeh, Kuffo, Boncz: ALP, SIGMOD 2023. Differs: exponents are searched once a block, then among the best
 *          four of them for each vector; float32 is worked on as double.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "part/alp.h"
#include "part/block_write.h"

enum {
    CANDIDATES = 4,    /* pairs of exponents that vectors choose from */
    SAMPLE_BLOCK = 96, /* values looked at to find them */
    SAMPLE_VECTOR = 32,
};

struct exponents {
    uint8_t e, f;
    uint32_t cost; /* of the sample, in bits */
};

struct encoder {
    struct mg_block__writer *writer;
    uint32_t bits;                  /* of a value: 32 or 64 */
    uint64_t *numbers;              /* the values' bits; NULL rows have those of the value before them */
    bool without[MG_BLOCK_VECTORS]; /* only NULLs */
    struct exponents candidates[CANDIDATES];
    struct mg_block__dictionary dictionary;
};

/* One vector under a pair of exponents. */
struct digits {
    struct exponents exponents;
    int64_t low, high;
    uint32_t exception_count;
    int64_t values[MG_VECTOR_ROWS]; /* of exceptions: any other's */
    uint16_t exceptions[MG_VECTOR_ROWS];
};

/* ---- loading ------------------------------------------------------------------------------------------------- */

static void load_vector(struct encoder *encoder, uint32_t vector)
{
    const struct mg_vector *rows = encoder->writer->rows;
    uint32_t first = vector * MG_VECTOR_ROWS, end = first + mg_block__rows_of(encoder->writer, vector);
    uint32_t bytes = encoder->bits / 8, row = first;

    encoder->without[vector] = mg_block__only_nulls(encoder->writer, vector);
    if (encoder->without[vector])
        return;
    while (mg_vector_is_null(rows, row))
        row++;
    uint64_t last = mg_pack__lane((const uint8_t *)rows->values + (size_t)row * bytes, bytes);
    for (row = first; row < end; row++) {
        if (!mg_vector_is_null(rows, row))
            last = mg_pack__lane((const uint8_t *)rows->values + (size_t)row * bytes, bytes);
        encoder->numbers[row] = last;
    }
}

/* Bounds of the block; none when a NaN is there. */
static void find_zone(const struct encoder *encoder, struct mg_block_info *info)
{
    for (uint32_t row = 0; row < encoder->writer->rows->row_count; row++) {
        if (encoder->without[row / MG_VECTOR_ROWS])
            continue;
        struct mg_value v = {.type = encoder->writer->rows->type,
                             .f = mg_alp__float(encoder->numbers[row], encoder->bits)};
        if (isnan(v.f)) {
            info->has_zone = false;
            return;
        }
        if (!info->has_zone || v.f < info->low.f)
            info->low = v;
        if (!info->has_zone || v.f > info->high.f)
            info->high = v;
        info->has_zone = true;
    }
}

/* ---- ALP ----------------------------------------------------------------------------------------------------- */

/* Whether digits of these exponents give the very bits. */
static inline bool to_digits(uint64_t number, uint32_t bits, struct exponents exponents, int64_t *out)
{
    double scaled = mg_alp__float(number, bits) * mg_alp__power(exponents.e) * mg_alp__inverse(exponents.f);

    if (!(fabs(scaled) < 0x1p51))
        return false;
    *out = (int64_t)nearbyint(scaled);
    return mg_alp__bits(mg_alp__decode(*out, exponents.e, exponents.f), bits) == number;
}

/* Bits that count values, every `stride`-th from first on, would take. */
static uint32_t cost_of(const struct encoder *encoder, struct exponents exponents, uint32_t first, uint32_t stride,
                        uint32_t count)
{
    int64_t low = INT64_MAX, high = INT64_MIN, digits;
    uint32_t exceptions = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!to_digits(encoder->numbers[first + i * stride], encoder->bits, exponents, &digits)) {
            exceptions++;
            continue;
        }
        low = MG_MIN(low, digits);
        high = MG_MAX(high, digits);
    }
    uint32_t width = low <= high ? mg_pack__width((uint64_t)high - (uint64_t)low) : 0;
    return count * width + exceptions * (64 + 16);
}

static void find_candidates(struct encoder *encoder)
{
    uint32_t rows = encoder->writer->rows->row_count, count = MG_MIN(rows, (uint32_t)SAMPLE_BLOCK);

    for (uint32_t i = 0; i < CANDIDATES; i++)
        encoder->candidates[i].cost = UINT32_MAX;
    for (uint8_t e = 0; e <= MG_ALP__EXPONENT_MAX; e++)
        for (uint8_t f = 0; f <= e; f++) {
            struct exponents tried = {.e = e, .f = f};
            tried.cost = cost_of(encoder, tried, 0, rows / count, count);
            for (uint32_t i = 0; i < CANDIDATES; i++)
                if (tried.cost < encoder->candidates[i].cost) {
                    struct exponents beaten = encoder->candidates[i];
                    encoder->candidates[i] = tried;
                    tried = beaten;
                }
        }
}

static void digits_of(const struct encoder *encoder, uint32_t vector, struct digits *out)
{
    uint32_t rows = mg_block__rows_of(encoder->writer, vector), count = MG_MIN(rows, (uint32_t)SAMPLE_VECTOR);
    const uint64_t *numbers = encoder->numbers + (size_t)vector * MG_VECTOR_ROWS;
    struct exponents best = {.cost = UINT32_MAX};

    for (uint32_t i = 0; i < CANDIDATES; i++) {
        uint32_t cost = cost_of(encoder, encoder->candidates[i], vector * MG_VECTOR_ROWS, rows / count, count);
        if (cost < best.cost)
            best = (struct exponents){encoder->candidates[i].e, encoder->candidates[i].f, cost};
    }
    *out = (struct digits){.exponents = best, .low = INT64_MAX, .high = INT64_MIN};
    for (uint32_t i = 0; i < rows; i++) {
        if (!to_digits(numbers[i], encoder->bits, best, &out->values[i])) {
            out->exceptions[out->exception_count++] = (uint16_t)i;
            continue;
        }
        out->low = MG_MIN(out->low, out->values[i]);
        out->high = MG_MAX(out->high, out->values[i]);
    }
    if (out->exception_count == rows)
        out->low = out->high = 0;
    for (uint32_t i = 0; i < out->exception_count; i++)
        out->values[out->exceptions[i]] = out->low;
}

static size_t alp_bytes(const struct digits *digits, uint32_t rows)
{
    return 8 + mg_pack__bytes(rows, mg_pack__width((uint64_t)digits->high - (uint64_t)digits->low)) +
           mg_pad8(digits->exception_count * 2) + (size_t)digits->exception_count * 8;
}

static enum mg_code write_alp(struct encoder *encoder, uint32_t vector, const struct digits *digits,
                              struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t rows = mg_block__rows_of(writer, vector);
    uint32_t width = mg_pack__width((uint64_t)digits->high - (uint64_t)digits->low);
    struct mg_alp__head head = {
        .e = digits->exponents.e, .f = digits->exponents.f, .exception_count = (uint16_t)digits->exception_count};
    uint64_t distances[MG_VECTOR_ROWS];

    for (uint32_t i = 0; i < rows; i++)
        distances[i] = (uint64_t)digits->values[i] - (uint64_t)digits->low;
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_ALP, width, (uint64_t)digits->low, err));
    MG_TRY(mg_block__append(writer, &head, sizeof head, err));
    MG_TRY(mg_block__append_packed(writer, distances, rows, width, err));
    MG_TRY(mg_block__append(writer, digits->exceptions, digits->exception_count * sizeof(uint16_t), err));
    for (uint32_t i = 0; i < digits->exception_count; i++)
        MG_TRY(mg_buffer_append_le64(writer->out,
                                     encoder->numbers[(size_t)vector * MG_VECTOR_ROWS + digits->exceptions[i]], err));
    return MG_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------------- */

static enum mg_code write_plain(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    uint32_t rows = mg_block__rows_of(writer, vector), bytes = encoder->bits / 8;

    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_PLAIN, 0, 0, err));
    return mg_block__append(writer, (const uint8_t *)writer->rows->values + (size_t)vector * MG_VECTOR_ROWS * bytes,
                            (size_t)rows * bytes, err);
}

static enum mg_code write_vector(struct encoder *encoder, uint32_t vector, struct mg_error *err)
{
    struct mg_block__writer *writer = encoder->writer;
    const uint64_t *numbers = encoder->numbers + (size_t)vector * MG_VECTOR_ROWS;
    uint32_t rows = mg_block__rows_of(writer, vector);
    struct digits digits;

    if (encoder->without[vector])
        return mg_block__begin_vector(writer, vector, MG_ENCODING_CONSTANT, 0, 0, err);
    uint32_t runs = mg_block__count_runs(numbers, rows);
    if (runs == 1)
        return mg_block__begin_vector(writer, vector, MG_ENCODING_CONSTANT, 0, numbers[0], err);
    size_t run_bytes = mg_block__run_bytes(runs, encoder->bits);
    if (encoder->dictionary.count) {
        if (run_bytes < mg_block__codes_of(&encoder->dictionary, vector, rows).bytes)
            return mg_block__write_runs(writer, vector, numbers, encoder->bits, 0, 0, err);
        return mg_block__write_codes(writer, &encoder->dictionary, vector, 0, err);
    }
    digits_of(encoder, vector, &digits);
    size_t bytes = alp_bytes(&digits, rows);
    if (MG_MIN(run_bytes, bytes) >= (size_t)rows * encoder->bits / 8)
        return write_plain(encoder, vector, err);
    return bytes < run_bytes ? write_alp(encoder, vector, &digits, err)
                             : mg_block__write_runs(writer, vector, numbers, encoder->bits, 0, 0, err);
}

enum mg_code mg_block__encode_floats(struct mg_block__writer *writer, struct mg_error *err)
{
    struct encoder *encoder = mg_arena_new(writer->scratch, struct encoder);
    uint32_t rows = writer->rows->row_count;

    if (!encoder)
        return mg_arena_fail(writer->scratch, err);
    encoder->writer = writer;
    encoder->bits = mg_type_width(writer->rows->type.id) * 8;
    encoder->numbers = mg_arena_array(writer->scratch, uint64_t, rows);
    if (!encoder->numbers)
        return mg_arena_fail(writer->scratch, err);
    for (uint32_t v = 0; v < writer->vector_count; v++)
        load_vector(encoder, v);
    find_zone(encoder, writer->info);
    find_candidates(encoder);
    /* As many values as make codes of a few bits: more of them are better off as digits. */
    if (rows >= 32)
        MG_TRY(mg_block__number_dictionary(writer, encoder->numbers, encoder->without, rows / 32, &encoder->dictionary,
                                           err));
    for (uint32_t v = 0; v < writer->vector_count; v++)
        MG_TRY(write_vector(encoder, v, err));
    return encoder->dictionary.count ? mg_block__write_dictionary(writer, &encoder->dictionary, 0, err) : MG_OK;
}
