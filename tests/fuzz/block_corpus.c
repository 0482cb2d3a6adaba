/* block_corpus.c -- makes tests/fuzz/corpus/block: blocks of every type and encoding, and the same ones damaged.
 * Repeatable.
 *
 * Usage: block_corpus FOLDER
 * Source  docs/format/part.md; inputs as block_fuzz.c reads them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/random.h"
#include "corpus_kit.h"
#include "part/block.h"

enum shape { CONSTANT, RISING, RUNS, FEW, SMALL, FAR, SHAPES };

static int64_t number(enum shape shape, uint32_t row, struct mg_random *random)
{
    switch (shape) {
    case CONSTANT: return 7;
    case RISING: return row + row / 32 * 24;
    case RUNS: return (int64_t)(mg_hash_u64(row / 60) >> 40);
    case FEW: return (int64_t)(mg_hash_u64(mg_random_below(random, 5)) >> 8);
    case SMALL: return (int64_t)mg_random_below(random, 1000) - 500;
    default: return (int64_t)mg_random_u64(random);
    }
}

static void append(struct mg_batch_builder *builder, enum mg_type_id id, enum shape shape, uint32_t row,
                   struct mg_random *random)
{
    static const char *const words[] = {"regular ", "deposits ", "haggle ", "quickly ", "final ", "above the "};
    int64_t v = number(shape, row, random);
    char text[64];

    switch (id) {
    case MG_TYPE_UTF8:
        if (shape == SMALL)
            snprintf(text, sizeof text, "%s%s%s", words[mg_random_below(random, 6)], words[mg_random_below(random, 6)],
                     words[mg_random_below(random, 6)]);
        else if (shape == FAR)
            snprintf(text, sizeof text, "%c%c", (char)(v | 1), (char)(v >> 8 | 1));
        else
            snprintf(text, sizeof text, "text %lld", (long long)(shape == FEW ? v % 97 : v));
        must(mg_builder_text(builder, 0, mg_slice_text(text), err));
        break;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64:
        must(mg_builder_float(builder, 0, row % 100 == 99 ? 1.0 / (double)(row + 2) : (double)v / 100, err));
        break;
    case MG_TYPE_DECIMAL:
        must(mg_builder_decimal(builder, 0,
                                shape == FAR     ? (mg_int128)v * ((mg_int128)1 << 40)
                                : shape == SMALL ? v + ((mg_int128)1 << 90)
                                                 : v,
                                err));
        break;
    default: must(mg_builder_int(builder, 0, v, err)); break;
    }
}

static void write_input(const char *folder, const char *name, uint8_t type, const uint8_t *data, size_t size)
{
    corpus_write(folder, name, MG_SLICE(&type, 1), MG_SLICE(data, size));
}

static void encode(enum mg_type_id id, enum shape shape, uint32_t rows, bool nulls, struct mg_buffer *out)
{
    struct mg_type type = {.id = id};
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    struct mg_arena arena;
    struct mg_block_info info;
    struct mg_random random;

    if (id == MG_TYPE_DECIMAL)
        type.precision = 38, type.scale = 2;
    mg_random_init(&random, (uint64_t)shape);
    must(mg_batch_builder_init(&builder, &type, 1, NULL, 1 << 24, err));
    for (uint32_t row = 0; row < rows; row++) {
        if (nulls && (row % 5 == 2 || row >= 1024))
            must(mg_builder_null(&builder, 0, err));
        else
            append(&builder, id, shape, row, &random);
    }
    must(mg_batch_builder_finish(&builder, rows, &batch, err));
    mg_batch_builder_clear(&builder);
    mg_arena_init(&arena, 1 << 26);
    must(mg_block_encode(&batch->vectors[0], &arena, out, &info, err));
    mg_arena_clear(&arena);
    mg_batch_unref(batch);
}

/* The block, and one with a bit turned: near its beginning, where headers are. */
static void write_both(const char *folder, enum mg_type_id id, enum shape shape, uint32_t rows, bool nulls)
{
    struct mg_buffer block;
    char name[64];
    uint64_t chance = mg_hash_u64((uint64_t)id * 64 + (uint64_t)shape * 4 + nulls + 1);

    mg_buffer_init(&block, 1 << 22);
    encode(id, shape, rows, nulls, &block);
    snprintf(name, sizeof name, "type%02d_shape%d%s", (int)id, (int)shape, nulls ? "_nulls" : "");
    write_input(folder, name, (uint8_t)(id - 1), block.data, block.size);
    block.data[chance % MG_MIN(block.size, (size_t)200)] ^= (uint8_t)(1u << (chance >> 60 & 7));
    snprintf(name, sizeof name, "type%02d_shape%d%s_flipped", (int)id, (int)shape, nulls ? "_nulls" : "");
    write_input(folder, name, (uint8_t)(id - 1), block.data, block.size);
    mg_buffer_clear(&block);
}

int main(int argc, char **argv)
{
    static const enum mg_type_id types[] = {MG_TYPE_INT8,    MG_TYPE_DATE,    MG_TYPE_INT64, MG_TYPE_UINT64,
                                            MG_TYPE_FLOAT32, MG_TYPE_FLOAT64, MG_TYPE_UTF8,  MG_TYPE_DECIMAL};
    if (argc != 2) {
        fprintf(stderr, "block_corpus FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < MG_COUNT_OF(types); i++)
        for (enum shape shape = CONSTANT; shape < SHAPES; shape++)
            write_both(argv[1], types[i], shape, shape % 2 ? 600 : 1100, (i + shape) % 3 == 0);
    write_input(argv[1], "empty", 0, NULL, 0);
    return 0;
}
