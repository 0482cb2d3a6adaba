/* block_samples.h -- columns of every type and shape, for the tests of blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_BLOCK_SAMPLES_H
#define MG_PART_BLOCK_SAMPLES_H

#include <math.h>

#include "base/hash.h"
#include "base/random.h"
#include "base/testing.h"
#include "part/block_internal.h"

/* How values follow each other. */
enum shape {
    SHAPE_CONSTANT,
    SHAPE_RISING,
    SHAPE_SORTED_REPEATED, /* each a few times */
    SHAPE_RUNS,
    SHAPE_FEW,
    SHAPE_SMALL,   /* close to each other */
    SHAPE_DECIMAL, /* floats: with two digits */
    SHAPE_RANDOM,
    SHAPE_EXTREMES,
    SHAPES,
};
enum nulls { NULLS_NONE, NULLS_SOME, NULLS_MOST, NULLS_ALL, NULLS };

struct sample {
    char name[96];
    struct mg_batch *batch;
    const struct mg_vector *vector;
};

static const uint32_t sample_rows[] = {1, 7, 1000, 1024, 5000, MG_BLOCK_ROWS};

static inline struct mg_type sample_type(uint32_t i)
{
    struct mg_type type = {.id = (enum mg_type_id)(i + 1)};

    if (type.id == MG_TYPE_DECIMAL)
        type.precision = 38, type.scale = 2;
    return type;
}

static inline mg_int128 sample_int(struct mg_random *random, enum shape shape, uint32_t row, bool is_decimal)
{
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX, 0, -1, 1, INT32_MIN, INT32_MAX};
    uint64_t some = mg_random_u64(random);

    switch (shape) {
    case SHAPE_CONSTANT: return -5;
    case SHAPE_RISING: return (mg_int128)1000 * row + (int64_t)(some % 1000);
    case SHAPE_SORTED_REPEATED: return row / 4 + row / 32 * 24;
    case SHAPE_RUNS: return (int64_t)(mg_hash_u64(row / 97) >> 20);
    case SHAPE_FEW: return (int64_t)(mg_hash_u64(some % 23) >> 3);
    case SHAPE_SMALL: return (int64_t)(some % 3000) - 1500;
    case SHAPE_DECIMAL: return (int64_t)(some % 10000000) * 100;
    case SHAPE_RANDOM:
        /* Decimals of one vector in four leave int64, of another four with far distances. */
        if (is_decimal && row / 1024 % 4 == 1)
            return (mg_int128)1 << 100 | (int64_t)(some >> 8);
        return is_decimal && row / 1024 % 4 == 2 ? ((mg_int128)some << 55) - ((mg_int128)1 << 117) : (int64_t)some;
    default:
        if (is_decimal && some % 5 == 0)
            return some % 2 ? mg_decimal_power(38) - 1 : 1 - mg_decimal_power(38);
        return extremes[some % MG_COUNT_OF(extremes)];
    }
}

static inline double sample_float(struct mg_random *random, enum shape shape, uint32_t row)
{
    static const uint64_t extremes[] = {0,
                                        UINT64_C(1) << 63,
                                        0x7ff0000000000000,
                                        0xfff0000000000000,
                                        0x7ff8000000000001,
                                        0xfff4000000000007,
                                        0x3ff8 << 4,
                                        1};
    uint64_t some = mg_random_u64(random);
    double v;

    switch (shape) {
    case SHAPE_RANDOM: memcpy(&v, &some, 8); return v;
    case SHAPE_EXTREMES: memcpy(&v, &extremes[some % MG_COUNT_OF(extremes)], 8); return v;
    case SHAPE_DECIMAL: return row % 501 == 500 ? M_PI * row : (double)(int64_t)(some % 2000000) / 100 - 5000;
    default: return (double)(int64_t)sample_int(random, shape, row, false) / 8;
    }
}

static inline size_t sample_text(struct mg_random *random, enum shape shape, uint32_t row, char text[512])
{
    static const char *const words[] = {"carefully ", "final ", "deposits ", "sleep ", "above ", "the ", "furiously "};
    uint64_t some = mg_random_u64(random);
    size_t size = 0;

    switch (shape) {
    case SHAPE_CONSTANT: return (size_t)snprintf(text, 512, "always the same");
    case SHAPE_RISING: return (size_t)snprintf(text, 512, "key%08u", row);
    case SHAPE_SORTED_REPEATED: return (size_t)snprintf(text, 512, "group %06u", row / 100);
    case SHAPE_RUNS: return (size_t)snprintf(text, 512, "%llx", (unsigned long long)mg_hash_u64(row / 97));
    case SHAPE_FEW: return some % 5 ? (size_t)snprintf(text, 512, "value number %u", (unsigned)(some % 23)) : 0;
    case SHAPE_RANDOM:
        for (size = 0; size < some % 40; size++)
            text[size] = (char)mg_random_u64(random);
        return size;
    case SHAPE_EXTREMES:
        size = some % 3 == 0 ? 0 : some % 3 == 1 ? 500 : 32;
        memset(text, some % 2 ? 0xff : 0, size);
        return size;
    default:
        for (uint32_t i = 0; i < 2 + some % 4; i++)
            size += (size_t)snprintf(text + size, 512 - size, "%s", words[mg_random_below(random, MG_COUNT_OF(words))]);
        return size;
    }
}

static inline bool sample_is_null(struct mg_random *random, enum nulls nulls, uint32_t row)
{
    switch (nulls) {
    case NULLS_NONE: return false;
    case NULLS_SOME: return row / 1024 % 3 != 1 && mg_random_below(random, 7) == 0;
    case NULLS_MOST: return row / 1024 % 3 == 1 || mg_random_below(random, 50) != 0;
    default: return true;
    }
}

static inline void sample_append(struct mg_batch_builder *builder, struct mg_type type, enum shape shape, uint32_t row,
                                 struct mg_random *random)
{
    struct mg_error err;
    char text[512];

    switch (mg_block__class_of(type.id)) {
    case MG_BLOCK__TEXTS: {
        size_t size = sample_text(random, shape, row, text);
        assert_ok(mg_builder_text(builder, 0, MG_SLICE(text, size), &err));
        break;
    }
    case MG_BLOCK__FLOATS: assert_ok(mg_builder_float(builder, 0, sample_float(random, shape, row), &err)); break;
    default:
        if (type.id == MG_TYPE_DECIMAL)
            assert_ok(mg_builder_decimal(builder, 0, sample_int(random, shape, row, true), &err));
        else
            assert_ok(mg_builder_int(builder, 0, (int64_t)sample_int(random, shape, row, false), &err));
    }
}

static inline void sample_build(struct sample *out, struct mg_type type, enum shape shape, enum nulls nulls,
                                uint32_t rows, struct mg_random *random)
{
    struct mg_error err;
    struct mg_batch_builder builder;
    char text[48];

    mg_type_format(type, text);
    snprintf(out->name, sizeof out->name, "%s, shape %d, nulls %d, %u rows", text, shape, nulls, rows);
    assert_ok(mg_batch_builder_init(&builder, &type, 1, NULL, 1 << 28, &err));
    for (uint32_t row = 0; row < rows; row++) {
        if (sample_is_null(random, nulls, row))
            assert_ok(mg_builder_null(&builder, 0, &err));
        else
            sample_append(&builder, type, shape, row, random);
    }
    assert_ok(mg_batch_builder_finish(&builder, rows, &out->batch, &err));
    mg_batch_builder_clear(&builder);
    out->vector = &out->batch->vectors[0];
}

/* Every type, shape and pattern of NULLs; the number of rows takes turns. */
static inline uint32_t sample_count(void) { return (MG_TYPE_COUNT - 1) * SHAPES * NULLS; }
static inline void sample_make(struct sample *out, uint32_t i, struct mg_random *random)
{
    uint32_t rows = sample_rows[mg_random_below(random, MG_COUNT_OF(sample_rows))];

    sample_build(out, sample_type(i / (SHAPES * NULLS)), (enum shape)(i / NULLS % SHAPES), (enum nulls)(i % NULLS),
                 rows, random);
}
static inline void sample_free(struct sample *sample) { mg_batch_unref(sample->batch); }

#endif
