/* aggregate.c -- how many rows a second one core aggregates: TPC-H Q1 and Q6 with their filters from batches in memory,
 * then the aggregation alone, shape by shape, from Arrow's layout (vector) and from what a part's blocks decode to
 * (ints and codes).
 *
 * Data      lineitem's columns that Q1 and Q6 read, a key of 1 M values, a name of 25; 8,192 rows a batch as a scan
 *           gives them: 1 M rows (quick), 8 M (full). Values are uniform, in TPC-H's ranges and types. The shapes go
 *           over 16 blocks of 1,024 rows again and again, as a scan decodes into the same memory; the many groups over
 *           4 M keys.
 * Q6        four conditions that keep 2 %, sum(price * discount).
 * Q1        one condition that keeps 98 %, four groups of two char(1), four sums (two of products), three averages, a
 *           count.
 * Figure    rows a second of Q6, the best pass, Spark's rules; the others are printed beside it. Passes over blocks are
 *           short, so that one without an interruption is among them; the long one over many groups counts CPU time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "bench.h"
#include "expr/aggregate.h"

enum { BATCH_ROWS = 8192, COLUMNS = 11, QUERY_PASSES = 25, BLOCK_ROWS = MG_SCALAR_ROWS_MAX, BLOCKS = 16 };
enum { MANY_PASSES = 5, MANY_ROWS = 4 << 20, MANY_GROUPS = 1 << 20, SHAPE_PASSES = 200, SHAPE_ROWS = 1 << 17 };
enum { QUANTITY, PRICE, DISCOUNT, TAX, FLAG, STATUS, SHIPDATE, KEY, LINE, PART, NAME };
static const double goal_rows_per_s = 100e6;

#define DECIMAL_15_2                                       \
    {                                                      \
        .id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2 \
    }
static const struct mg_type types[COLUMNS] = {DECIMAL_15_2,          DECIMAL_15_2,          DECIMAL_15_2,
                                              DECIMAL_15_2,          {.id = MG_TYPE_UTF8},  {.id = MG_TYPE_UTF8},
                                              {.id = MG_TYPE_DATE},  {.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32},
                                              {.id = MG_TYPE_INT64}, {.id = MG_TYPE_UTF8}};
static const char *const names[COLUMNS] = {"quantity", "price", "discount", "tax",  "flag", "status",
                                           "shipdate", "key",   "line",     "part", "name"};

struct query {
    const char *name;
    struct mg_predicate *predicate;
    struct mg_aggregate *aggregate;
};

/* ---- data ---------------------------------------------------------------------------------------------------- */

static struct mg_schema *make_schema(void)
{
    struct mg_schema *schema = mg_schema_new();

    try(mg_schema_text(&schema->database, mg_slice_text("tpch"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("lineitem"), err));
    for (int c = 0; c < COLUMNS; c++) {
        struct mg_column *column;
        try(mg_schema_add_column(schema, &column, err));
        try(mg_schema_text(&column->name, mg_slice_text(names[c]), err));
        column->id = c + 1;
        column->type = types[c];
    }
    schema->key_count = 1;
    try(mg_schema_seal(schema, err));
    return schema;
}

static struct mg_batch *make_batch(struct mg_random *random)
{
    static const char *const flags[] = {"A", "N", "R"};
    static const char *const nations[] = {"ALGERIA",  "ARGENTINA",      "BRAZIL",       "CANADA", "EGYPT",
                                          "ETHIOPIA", "FRANCE",         "GERMANY",      "INDIA",  "INDONESIA",
                                          "IRAN",     "IRAQ",           "JAPAN",        "JORDAN", "KENYA",
                                          "MOROCCO",  "MOZAMBIQUE",     "PERU",         "CHINA",  "ROMANIA",
                                          "VIETNAM",  "UNITED KINGDOM", "SAUDI ARABIA", "RUSSIA", "UNITED STATES"};
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    try(mg_batch_builder_init(&builder, types, COLUMNS, NULL, 64 << 20, err));
    for (uint32_t row = 0; row < BATCH_ROWS; row++) {
        uint64_t flag = mg_random_below(random, 3);
        try(mg_builder_decimal(&builder, QUANTITY, (1 + (mg_int128)mg_random_below(random, 50)) * 100, err));
        try(mg_builder_decimal(&builder, PRICE, 90000 + (mg_int128)mg_random_below(random, 10400000), err));
        try(mg_builder_decimal(&builder, DISCOUNT, (mg_int128)mg_random_below(random, 11), err));
        try(mg_builder_decimal(&builder, TAX, (mg_int128)mg_random_below(random, 9), err));
        try(mg_builder_text(&builder, FLAG, mg_slice_text(flags[flag]), err));
        try(mg_builder_text(&builder, STATUS, mg_slice_text(flag == 1 && mg_random_below(random, 2) ? "O" : "F"), err));
        try(mg_builder_int(&builder, SHIPDATE, 8036 + (int64_t)mg_random_below(random, 2526), err));
        try(mg_builder_int(&builder, KEY, (int64_t)mg_random_below(random, MANY_GROUPS), err));
        try(mg_builder_int(&builder, LINE, 1 + (int64_t)mg_random_below(random, 7), err));
        try(mg_builder_int(&builder, PART, 1 + (int64_t)mg_random_below(random, 200000), err));
        try(mg_builder_text(&builder, NAME, mg_slice_text(nations[mg_random_below(random, 25)]), err));
    }
    try(mg_batch_builder_finish(&builder, BATCH_ROWS, &batch, err));
    mg_batch_builder_clear(&builder);
    return batch;
}

/* ---- queries ------------------------------------------------------------------------------------------------- */

static struct mg_expr *column(struct mg_arena *arena, int c) { return mg_expr_column(arena, mg_slice_text(names[c])); }

static struct mg_expr *number(struct mg_arena *arena, struct mg_type type, int64_t v)
{
    struct mg_value value = {.type = type};

    if (type.id == MG_TYPE_DECIMAL)
        value.d = v;
    else
        value.i = v;
    return mg_expr_literal(arena, &value);
}

static struct mg_expr *call(struct mg_arena *arena, enum mg_expr_op op, struct mg_expr *a, struct mg_expr *b)
{
    return mg_expr_call(arena, op, (struct mg_expr *[]){a, b}, 2);
}

static struct query q6(struct mg_arena *arena, const struct mg_schema *schema)
{
    struct query q = {.name = "q6"};
    struct mg_type date = types[SHIPDATE], decimal = types[DISCOUNT];
    struct mg_expr *conditions[] = {
        call(arena, MG_EXPR_GE, column(arena, SHIPDATE), number(arena, date, 8766)),
        call(arena, MG_EXPR_LT, column(arena, SHIPDATE), number(arena, date, 9131)),
        call(arena, MG_EXPR_GE, column(arena, DISCOUNT), number(arena, decimal, 5)),
        call(arena, MG_EXPR_LE, column(arena, DISCOUNT), number(arena, decimal, 7)),
        call(arena, MG_EXPR_LT, column(arena, QUANTITY), number(arena, decimal, 2400)),
    };
    try(mg_predicate_bind(mg_expr_call(arena, MG_EXPR_AND, conditions, 5), schema, &q.predicate, err));
    struct mg_aggregate_call sum = {MG_AGGREGATE_SUM,
                                    call(arena, MG_EXPR_MULTIPLY, column(arena, PRICE), column(arena, DISCOUNT))};
    struct mg_aggregate_request request = {.rules = MG_RULES_SPARK, .is_partial = true, .calls = &sum, .call_count = 1};
    try(mg_aggregate_bind(&request, schema, &q.aggregate, err));
    return q;
}

static struct query q1(struct mg_arena *arena, const struct mg_schema *schema)
{
    struct query q = {.name = "q1"};
    struct mg_type one = {.id = MG_TYPE_DECIMAL, .precision = 1};
    struct mg_expr *price = column(arena, PRICE), *discount = column(arena, DISCOUNT);
    struct mg_expr *sold = call(arena, MG_EXPR_MULTIPLY, price,
                                call(arena, MG_EXPR_SUBTRACT, number(arena, one, 1), discount));
    struct mg_expr *charge = call(arena, MG_EXPR_MULTIPLY, sold,
                                  call(arena, MG_EXPR_ADD, number(arena, one, 1), column(arena, TAX)));
    struct mg_expr *limit = call(arena, MG_EXPR_LE, column(arena, SHIPDATE), number(arena, types[SHIPDATE], 10471));
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, column(arena, QUANTITY)},
                                        {MG_AGGREGATE_SUM, price},
                                        {MG_AGGREGATE_SUM, sold},
                                        {MG_AGGREGATE_SUM, charge},
                                        {MG_AGGREGATE_AVG, column(arena, QUANTITY)},
                                        {MG_AGGREGATE_AVG, price},
                                        {MG_AGGREGATE_AVG, discount},
                                        {MG_AGGREGATE_COUNT_ALL, NULL}};
    const struct mg_expr *groups[] = {column(arena, FLAG), column(arena, STATUS)};
    struct mg_aggregate_request request = {.rules = MG_RULES_SPARK,
                                           .is_partial = true,
                                           .groups = groups,
                                           .group_count = 2,
                                           .calls = calls,
                                           .call_count = MG_COUNT_OF(calls)};
    try(mg_predicate_bind(limit, schema, &q.predicate, err));
    try(mg_aggregate_bind(&request, schema, &q.aggregate, err));
    return q;
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static void pass(const struct query *q, struct mg_batch *const *batches, size_t count, struct mg_arena *scratch)
{
    struct mg_aggregation *a;

    try(mg_aggregation_new(q->aggregate, NULL, 0, &a, err));
    for (size_t i = 0; i < count; i++) {
        const struct mg_vector *vectors[COLUMNS];
        uint64_t mask[BATCH_ROWS / 64];
        memset(mask, 0xff, sizeof mask);
        for (int c = 0; c < COLUMNS; c++)
            vectors[c] = &batches[i]->vectors[c];
        mg_arena_reset(scratch);
        try(mg_predicate_filter(q->predicate, vectors, BATCH_ROWS, mask, scratch, err));
        try(mg_aggregation_update(a, vectors, BATCH_ROWS, mask, err));
    }
    mg_aggregation_free(a);
}

/* Rows a second, the best pass. */
static double measure(const struct query *q, struct mg_batch *const *batches, size_t count)
{
    struct mg_clock *clock = mg_clock_system();
    struct mg_arena scratch;
    int64_t best = INT64_MAX;

    mg_arena_init(&scratch, 1 << 20);
    for (int i = 0; i < QUERY_PASSES; i++) {
        int64_t began = mg_mono_ns(clock);
        pass(q, batches, count, &scratch);
        best = MG_MIN(best, mg_mono_ns(clock) - began);
    }
    mg_arena_clear(&scratch);
    return (double)count * BATCH_ROWS * 1e9 / (double)best;
}

/* ---- the aggregation alone ----------------------------------------------------------------------------------- */

/* A column of all blocks in each form that it has. */
struct forms {
    struct mg_vector vectors[BLOCKS];
    int64_t ints[BLOCKS * BLOCK_ROWS];
    int64_t low, high;
    uint16_t codes[BLOCKS * BLOCK_ROWS];
    struct mg_batch *dictionary;
};

static int64_t int_of(const struct mg_value *v) { return v->type.id == MG_TYPE_DECIMAL ? (int64_t)v->d : v->i; }

static void make_codes(struct forms *forms, struct mg_type type)
{
    struct mg_batch_builder builder;
    struct mg_value known[64];
    uint32_t count = 0;

    for (uint32_t row = 0; row < BLOCKS * BLOCK_ROWS; row++) {
        struct mg_value v = mg_vector_value(&forms->vectors[row / BLOCK_ROWS], row % BLOCK_ROWS);
        uint32_t code = 0;
        while (code < count && mg_slice_compare(known[code].text, v.text) != 0)
            code++;
        count += code == count;
        known[code] = v;
        forms->codes[row] = (uint16_t)code;
    }
    try(mg_batch_builder_init(&builder, &type, 1, NULL, 1 << 20, err));
    for (uint32_t i = 0; i < count; i++)
        try(mg_builder_value(&builder, 0, &known[i], err));
    try(mg_batch_builder_finish(&builder, count, &forms->dictionary, err));
    mg_batch_builder_clear(&builder);
}

static void make_forms(struct mg_batch *const *batches, uint32_t c, struct forms *forms)
{
    forms->low = INT64_MAX;
    forms->high = INT64_MIN;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        uint32_t first = b * BLOCK_ROWS % BATCH_ROWS;
        struct mg_vector *v = &forms->vectors[b];
        *v = batches[b * BLOCK_ROWS / BATCH_ROWS]->vectors[c];
        v->row_count = BLOCK_ROWS;
        v->values = v->offsets ? v->values : (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
        v->offsets = v->offsets ? v->offsets + first : NULL;
        for (uint32_t i = 0; i < BLOCK_ROWS && !v->offsets; i++) {
            struct mg_value value = mg_vector_value(v, i);
            int64_t n = forms->ints[b * BLOCK_ROWS + i] = int_of(&value);
            forms->low = MG_MIN(forms->low, n);
            forms->high = MG_MAX(forms->high, n);
        }
    }
    if (types[c].id == MG_TYPE_UTF8)
        make_codes(forms, types[c]);
}

static void show_block(const struct forms *forms, uint32_t block, bool encoded, struct mg_agg_input *inputs)
{
    for (uint32_t c = 0; c < COLUMNS; c++) {
        inputs[c] = (struct mg_agg_input){.vector = &forms[c].vectors[block]};
        if (encoded && forms[c].dictionary)
            inputs[c] = (struct mg_agg_input){.codes = forms[c].codes + block * BLOCK_ROWS,
                                              .dictionary = &forms[c].dictionary->vectors[0],
                                              .dictionary_id = 1};
        else if (encoded)
            inputs[c] = (struct mg_agg_input){
                .ints = forms[c].ints + block * BLOCK_ROWS, .low = forms[c].low, .high = forms[c].high};
    }
}

static struct mg_aggregate *bind(const struct mg_schema *schema, struct mg_arena *arena, int group,
                                 struct mg_aggregate_call *calls, uint32_t call_count)
{
    const struct mg_expr *by = group >= 0 ? column(arena, group) : NULL;
    struct mg_aggregate_request request = {.rules = MG_RULES_SPARK,
                                           .is_partial = true,
                                           .groups = &by,
                                           .group_count = group >= 0,
                                           .calls = calls,
                                           .call_count = call_count};
    struct mg_aggregate *aggregate;

    try(mg_aggregate_bind(&request, schema, &aggregate, err));
    return aggregate;
}

/* Nanoseconds a row, the best pass over the blocks; one_in: of so many rows one is chosen, 0: nearly all, 1: all. */
static double measure_blocks(const struct mg_aggregate *aggregate, const struct forms *forms, bool encoded,
                             uint32_t one_in)
{
    static uint64_t masks[BLOCKS][BLOCK_ROWS / 64];
    struct mg_clock *clock = mg_clock_system();
    struct mg_random random;
    int64_t best = INT64_MAX;

    mg_random_init(&random, 2);
    memset(masks, 0, sizeof masks);
    for (uint32_t row = 0; row < BLOCKS * BLOCK_ROWS; row++)
        if (one_in ? mg_random_below(&random, one_in) == 0 : mg_random_below(&random, 50) > 0)
            masks[row / BLOCK_ROWS][row % BLOCK_ROWS / 64] |= UINT64_C(1) << row % 64;
    for (uint32_t pass = 0; pass < SHAPE_PASSES; pass++) {
        struct mg_aggregation *a;
        try(mg_aggregation_new(aggregate, NULL, 0, &a, err));
        int64_t began = mg_mono_ns(clock);
        for (uint32_t i = 0; i < SHAPE_ROWS / BLOCK_ROWS; i++) {
            struct mg_agg_input inputs[COLUMNS];
            show_block(forms, i % BLOCKS, encoded, inputs);
            try(mg_aggregation_take(a, inputs, BLOCK_ROWS, one_in == 1 ? NULL : masks[i % BLOCKS], err));
        }
        best = MG_MIN(best, mg_mono_ns(clock) - began);
        mg_aggregation_free(a);
    }
    return (double)best / SHAPE_ROWS;
}

static double measure_many(const struct mg_aggregate *aggregate, int64_t *keys, bool encoded)
{
    int64_t spent_us = 0;

    for (uint32_t pass = 0; pass < MANY_PASSES; pass++) {
        struct mg_aggregation *a;
        try(mg_aggregation_new(aggregate, NULL, (size_t)1 << 30, &a, err));
        int64_t began = bench_thread_cpu_us();
        for (uint32_t i = 0; i < MANY_ROWS; i += BLOCK_ROWS) {
            struct mg_vector v = {.type = types[KEY], .row_count = BLOCK_ROWS, .values = keys + i};
            struct mg_agg_input inputs[COLUMNS] = {[KEY] = {.vector = &v}};
            if (encoded)
                inputs[KEY] = (struct mg_agg_input){.ints = keys + i, .high = MANY_GROUPS - 1};
            try(mg_aggregation_take(a, inputs, BLOCK_ROWS, NULL, err));
        }
        spent_us += bench_thread_cpu_us() - began;
        mg_aggregation_free(a);
    }
    return (double)spent_us * 1e3 / MANY_ROWS / MANY_PASSES;
}

struct shape {
    const char *name;
    int group; /* -1: none */
    int argument;
    enum mg_aggregate_function function;
    uint32_t one_in;
};

static void show(const char *name, double vector, double encoded, const struct bench_options *options)
{
    if (!options->json)
        printf("  %-34s vector %6.2f ns %6.0f M rows/s   ints, codes %6.2f ns %6.0f M rows/s\n", name, vector,
               1e3 / vector, encoded, 1e3 / encoded);
}

static void measure_shapes(const struct mg_schema *schema, struct mg_batch *const *batches, struct mg_arena *arena,
                           const struct query *small, const struct query *large, const struct bench_options *options)
{
    static const struct shape shapes[] = {
        {"sum(int32)", -1, LINE, MG_AGGREGATE_SUM, 1},
        {"sum(int64)", -1, PART, MG_AGGREGATE_SUM, 1},
        {"sum(decimal)", -1, PRICE, MG_AGGREGATE_SUM, 1},
        {"max(int64)", -1, PART, MG_AGGREGATE_MAX, 1},
        {"sum(int64), half of the rows", -1, PART, MG_AGGREGATE_SUM, 2},
        {"count by flag", FLAG, -1, MG_AGGREGATE_COUNT_ALL, 1},
        {"count by name", NAME, -1, MG_AGGREGATE_COUNT_ALL, 1},
        {"sum(decimal) by name", NAME, PRICE, MG_AGGREGATE_SUM, 1},
        {"sum(decimal) by int32 of 7", LINE, PRICE, MG_AGGREGATE_SUM, 1},
        {"max(decimal) by int32 of 7", LINE, PRICE, MG_AGGREGATE_MAX, 1},
        {"sum(decimal) by date of 2,526", SHIPDATE, PRICE, MG_AGGREGATE_SUM, 1},
    };
    struct forms *forms = calloc(COLUMNS, sizeof *forms);
    int64_t *keys = malloc(MANY_ROWS * sizeof *keys);
    struct mg_random random;

    if (!forms || !keys)
        exit(1);
    for (uint32_t c = 0; c < COLUMNS; c++)
        make_forms(batches, c, &forms[c]);
    show("Q1, 98 % of the rows", measure_blocks(large->aggregate, forms, false, 0),
         measure_blocks(large->aggregate, forms, true, 0), options);
    show("Q1, all rows", measure_blocks(large->aggregate, forms, false, 1),
         measure_blocks(large->aggregate, forms, true, 1), options);
    show("Q6, 2 % of the rows", measure_blocks(small->aggregate, forms, false, 50),
         measure_blocks(small->aggregate, forms, true, 50), options);
    for (size_t i = 0; i < MG_COUNT_OF(shapes); i++) {
        struct mg_aggregate_call one = {shapes[i].function,
                                        shapes[i].argument >= 0 ? column(arena, shapes[i].argument) : NULL};
        struct mg_aggregate *aggregate = bind(schema, arena, shapes[i].group, &one, 1);
        show(shapes[i].name, measure_blocks(aggregate, forms, false, shapes[i].one_in),
             measure_blocks(aggregate, forms, true, shapes[i].one_in), options);
        mg_aggregate_free(aggregate);
    }
    mg_random_init(&random, 3);
    for (uint32_t i = 0; i < MANY_ROWS; i++)
        keys[i] = (int64_t)mg_random_below(&random, MANY_GROUPS);
    struct mg_aggregate_call two[] = {{MG_AGGREGATE_SUM, column(arena, KEY)}, {MG_AGGREGATE_COUNT_ALL, NULL}};
    struct mg_aggregate *aggregate = bind(schema, arena, KEY, two, 2);
    show("sum(int64), count by 1 M int64", measure_many(aggregate, keys, false), measure_many(aggregate, keys, true),
         options);
    mg_aggregate_free(aggregate);
    for (uint32_t c = 0; c < COLUMNS; c++)
        mg_batch_unref(forms[c].dictionary);
    free(forms);
    free(keys);
}

bool bench_aggregate(const struct bench_options *options, struct bench_result *out)
{
    size_t count = (options->rows ? options->rows : options->full ? 8000000 : 1000000) / BATCH_ROWS + 2;
    struct mg_batch **batches = calloc(count, sizeof(struct mg_batch *));
    struct mg_schema *schema = make_schema();
    struct mg_random random;
    struct mg_arena arena;

    if (!batches)
        return false;
    mg_random_init(&random, 1);
    mg_arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < count; i++)
        batches[i] = make_batch(&random);
    struct query small = q6(&arena, schema), large = q1(&arena, schema);
    double q6_rows = measure(&small, batches, count), q1_rows = measure(&large, batches, count);
    if (!options->json)
        printf("aggregate: one core, %zu rows: Q6 %.0f M rows/s, Q1 %.0f M rows/s\n", count * BATCH_ROWS, q6_rows / 1e6,
               q1_rows / 1e6);
    measure_shapes(schema, batches, &arena, &small, &large, options);
    mg_predicate_free(small.predicate);
    mg_predicate_free(large.predicate);
    mg_aggregate_free(small.aggregate);
    mg_aggregate_free(large.aggregate);
    *out = (struct bench_result){.bench = "aggregate", .unit = "rows/s", .goal = ">= 100000000", .figure = q6_rows};
    out->goal_figure = goal_rows_per_s;
    out->ok = q6_rows >= goal_rows_per_s;
    snprintf(out->more, sizeof out->more, ",\"q1\":%.6g", q1_rows);
    for (size_t i = 0; i < count; i++)
        mg_batch_unref(batches[i]);
    free(batches);
    mg_schema_unref(schema);
    mg_arena_clear(&arena);
    return true;
}
