/* part_samples.h -- tables for tests of parts: a schema from a line of text, and for each row number its values.
 *
 * A schema is words for columns, in their order: i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 dec date dt ts text pad, and
 * `handle` for the hidden row number; behind it `*` for a key column (in key order), `?` for one that may be NULL.
 * Keys rise with the row number: the last key column counts to RADIX, the one before it the rounds of that. All but
 * one-byte keys leave gaps, where keys lie that no row has.
 * For tests only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_PART_SAMPLES_H
#define MG_PART_PART_SAMPLES_H

#include <stdio.h>

#include "base/hash.h"
#include "column/batch.h"
#include "column/key.h"

enum { SAMPLE_RADIX = 50, SAMPLE_TEXT_MAX = 96 };

#define sample_must(call) mg_assert((call) == MG_OK)

static const struct {
    const char *word;
    struct mg_type type;
} sample_types[] = {
    {"i8", {.id = MG_TYPE_INT8}},
    {"i16", {.id = MG_TYPE_INT16}},
    {"i32", {.id = MG_TYPE_INT32}},
    {"i64", {.id = MG_TYPE_INT64}},
    {"u8", {.id = MG_TYPE_UINT8}},
    {"u16", {.id = MG_TYPE_UINT16}},
    {"u32", {.id = MG_TYPE_UINT32}},
    {"u64", {.id = MG_TYPE_UINT64}},
    {"f32", {.id = MG_TYPE_FLOAT32}},
    {"f64", {.id = MG_TYPE_FLOAT64}},
    {"dec", {.id = MG_TYPE_DECIMAL, .precision = 30, .scale = 4}},
    {"date", {.id = MG_TYPE_DATE}},
    {"dt", {.id = MG_TYPE_DATETIME, .precision = 6}},
    {"ts", {.id = MG_TYPE_TIMESTAMP, .precision = 3}},
    {"text", {.id = MG_TYPE_UTF8}},
    {"pad", {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE}},
    {"handle", {.id = MG_TYPE_INT64}},
};

static inline void sample_column(struct mg_schema *schema, const char *word, size_t size, const char *flags)
{
    struct mg_column *column;
    char name[24];

    for (size_t i = 0; i < MG_COUNT_OF(sample_types); i++) {
        if (strlen(sample_types[i].word) != size || strncmp(sample_types[i].word, word, size) != 0)
            continue;
        sample_must(mg_schema_add_column(schema, &column, NULL));
        column->type = sample_types[i].type;
        column->hidden = sample_types[i].word[0] == 'h';
        column->id = column->hidden ? MG_COLUMN_ROWID : (int64_t)schema->column_count;
        column->nullable = *flags == '?';
        snprintf(name, sizeof name, "c%u", schema->column_count);
        sample_must(mg_schema_text(&column->name, mg_slice_text(name), NULL));
        if (*flags == '*')
            schema->key_columns[schema->key_count++] = schema->column_count - 1;
        return;
    }
    mg_assert(!"a type of the list");
}

static inline struct mg_schema *sample_schema(const char *words)
{
    struct mg_schema *schema = mg_schema_new();

    mg_assert(schema);
    schema->table_id = 7;
    schema->version = 3;
    sample_must(mg_schema_text(&schema->database, mg_slice_text("test"), NULL));
    sample_must(mg_schema_text(&schema->table, mg_slice_text("sample"), NULL));
    for (const char *at = words; *at;) {
        size_t size = strcspn(at, " *?");
        sample_column(schema, at, size, at + size);
        at += size;
        at += strspn(at, " *?");
    }
    sample_must(mg_schema_seal(schema, NULL));
    return schema;
}

/* The nth value of a type in rising order; gap: a value between it and the next. */
static inline struct mg_value sample_nth(struct mg_type type, uint64_t n, bool gap, char text[SAMPLE_TEXT_MAX])
{
    struct mg_value v = {.type = type};
    int64_t number = (int64_t)n * 3 + gap;

    switch (type.id) {
    case MG_TYPE_INT8: v.i = (int64_t)n - 128; break;
    case MG_TYPE_UINT8: v.u = n; break;
    case MG_TYPE_INT16: v.i = number - 30000; break;
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32: v.u = (uint64_t)number; break;
    case MG_TYPE_UINT64: v.u = UINT64_C(0x7ffffffffffff000) + (uint64_t)number; break;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: v.f = (double)(number - 1000) * 0.25; break;
    case MG_TYPE_DECIMAL: v.d = (mg_int128)(number - 5000) * INT64_C(1000000000000) * 1000; break;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: v.i = number * 1000003 - 1; break;
    case MG_TYPE_UTF8:
        /* Longer than a prefix of the index, and most of it the same; trailing blanks mean nothing under PAD_SPACE. */
        snprintf(text, SAMPLE_TEXT_MAX, "customer/%08llu%s%.*s", (unsigned long long)n, gap ? "!" : "",
                 type.collation ? (int)(n % 3) : 0, "  ");
        v.text = mg_slice_text(text);
        break;
    default: v.i = number - 20000; break;
    }
    return v;
}

/* A value of a column that is not in the key: some columns repeat a few values, some are random, some rise. */
static inline struct mg_value sample_other(struct mg_type type, uint64_t seed, uint32_t row, uint32_t style,
                                           char text[SAMPLE_TEXT_MAX])
{
    static const char words[] =
        "the quick brown fox jumps over the lazy dog and then sleeps under a tree \xc3\xa4\xc3\xb6";
    uint64_t few = seed % 7, n = style == 0 ? few : style == 1 ? row : seed;
    struct mg_value v = {.type = type};

    if (type.id == MG_TYPE_UTF8) {
        size_t size = style == 0 ? 4 + few : seed >> 8 & 63, from = seed % (sizeof words - 64);
        memcpy(text, words + (style == 0 ? few : from), size);
        if (style == 2 && size > 3)
            text[2] = 0;
        v.text = MG_SLICE(text, size);
        return v;
    }
    if (type.id == MG_TYPE_FLOAT32 || type.id == MG_TYPE_FLOAT64) {
        v.f = (double)(int64_t)(n % 100000) / 100;
        if (type.id == MG_TYPE_FLOAT32)
            v.f = (float)v.f;
        return v;
    }
    if (type.id == MG_TYPE_DECIMAL) {
        v.d = (mg_int128)(int64_t)n * (style == 2 ? 1000003 : 1);
        return v;
    }
    uint8_t bytes[16];
    mg_store_le64(bytes, n);
    return mg_value_load(type, bytes); /* cut to the type's width */
}

static inline uint64_t sample_ordinal(const struct mg_schema *schema, uint32_t column, uint32_t row)
{
    uint64_t n = row;
    uint32_t k = schema->key_count - 1;

    for (; schema->key_columns[k] != column; k--)
        n /= SAMPLE_RADIX;
    return k == 0 ? n : n % SAMPLE_RADIX;
}

static inline struct mg_value sample_value(const struct mg_schema *schema, uint32_t column, uint32_t row,
                                           char text[SAMPLE_TEXT_MAX])
{
    const struct mg_column *c = &schema->columns[column];
    uint64_t seed = mg_hash_u64((uint64_t)column << 32 | row);

    if (mg_schema_is_key(schema, column))
        return sample_nth(c->type, sample_ordinal(schema, column, row), false, text);
    if (c->nullable && (column % 3 == 2 ? row % 4096 < 3000 : seed >> 60 < 3))
        return (struct mg_value){.type = c->type, .is_null = true};
    return sample_other(c->type, seed, row, column % 3, text);
}

/* To be unreferenced. */
static inline struct mg_batch *sample_batch(const struct mg_schema *schema, uint32_t first, uint32_t count)
{
    struct mg_batch_builder builder;
    struct mg_type types[64];
    struct mg_batch *batch;
    char text[SAMPLE_TEXT_MAX];

    mg_assert(schema->column_count <= 64);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    sample_must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, SIZE_MAX, NULL));
    for (uint32_t c = 0; c < schema->column_count; c++)
        for (uint32_t row = first; row < first + count; row++) {
            struct mg_value v = sample_value(schema, c, row, text);
            sample_must(mg_builder_value(&builder, c, &v, NULL));
        }
    sample_must(mg_batch_builder_finish(&builder, count, &batch, NULL));
    mg_batch_builder_clear(&builder);
    return batch;
}

/* Days of a row: shipped; received up to 30 days later; to be had within three months of it; no day of these. */
static inline int64_t sample_day(uint32_t column, uint32_t row)
{
    int64_t shipped = (int64_t)(mg_hash_u64(row) % 2526) - 300;

    switch (column) {
    case 0: return row * (int64_t)3;
    case 1: return shipped;
    case 2: return shipped + 1 + (int64_t)(mg_hash_u64(row + 1000000) % 30);
    case 3: return shipped - 90 + (int64_t)(mg_hash_u64(row + 2000000) % 181);
    case 4: return (int64_t)(mg_hash_u64(row + 3000000) % 2526);
    default: return 77;
    }
}

/* Such rows of a schema of integers and dates; in one row, if there is such, column 3 is NULL. To be unreferenced. */
static inline struct mg_batch *sample_days(const struct mg_schema *schema, uint32_t count, uint32_t null_row)
{
    struct mg_batch_builder builder;
    struct mg_type types[8];
    struct mg_batch *batch;

    mg_assert(schema->column_count <= MG_COUNT_OF(types));
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    sample_must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, SIZE_MAX, NULL));
    for (uint32_t row = 0; row < count; row++)
        for (uint32_t c = 0; c < schema->column_count; c++)
            sample_must(row == null_row && c == 3 ? mg_builder_null(&builder, c, NULL)
                                                  : mg_builder_int(&builder, c, sample_day(c, row), NULL));
    sample_must(mg_batch_builder_finish(&builder, count, &batch, NULL));
    mg_batch_builder_clear(&builder);
    return batch;
}

/* Appended to out: the key of a row, or one between it and the next row's. */
static inline void sample_key(const struct mg_schema *schema, uint32_t row, bool gap, struct mg_buffer *out)
{
    struct mg_value values[MG_KEY_COLUMNS_MAX];
    char texts[MG_KEY_COLUMNS_MAX][SAMPLE_TEXT_MAX];

    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t c = schema->key_columns[k];
        bool last = k + 1 == schema->key_count;
        values[k] = sample_nth(schema->columns[c].type, sample_ordinal(schema, c, row), gap && last, texts[k]);
    }
    sample_must(mg_key_encode_values(values, schema->key_count, out, NULL));
}

#endif
