/* aggregate.c -- how many rows a second one core filters and aggregates, in the shapes of TPC-H Q1 and Q6.
 *
 * Data      lineitem's seven columns that they read, 8,192 rows a batch as a scan gives them: 1 M rows (quick), 8 M
 *           (full), 87 bytes a row, so nothing stays in the caches. Values are uniform, in TPC-H's ranges and types.
 * Q6        four conditions that keep 2 %, sum(price * discount).
 * Q1        one condition that keeps 98 %, four groups of two char(1), four sums (two of products), three averages, a
 *           count.
 * Figure    rows a second of Q6, the best of five passes, Spark's rules; the others are printed beside it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "bench.h"
#include "expr/aggregate.h"

enum { BATCH_ROWS = 8192, COLUMNS = 7, PASSES = 5 };
enum { QUANTITY, PRICE, DISCOUNT, TAX, FLAG, STATUS, SHIPDATE };
static const double goal_rows_per_s = 100e6;

#define DECIMAL_15_2                                       \
    {                                                      \
        .id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2 \
    }
static const struct mg_type types[COLUMNS] = {DECIMAL_15_2,        DECIMAL_15_2,         DECIMAL_15_2,
                                              DECIMAL_15_2,        {.id = MG_TYPE_UTF8}, {.id = MG_TYPE_UTF8},
                                              {.id = MG_TYPE_DATE}};
static const char *const names[COLUMNS] = {"quantity", "price", "discount", "tax", "flag", "status", "shipdate"};

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
    for (int i = 0; i < PASSES; i++) {
        int64_t began = mg_mono_ns(clock);
        pass(q, batches, count, &scratch);
        best = MG_MIN(best, mg_mono_ns(clock) - began);
    }
    mg_arena_clear(&scratch);
    mg_predicate_free(q->predicate);
    mg_aggregate_free(q->aggregate);
    return (double)count * BATCH_ROWS * 1e9 / (double)best;
}

bool bench_aggregate(const struct bench_options *options, struct bench_result *out)
{
    size_t count = (options->rows ? options->rows : options->full ? 8000000 : 1000000) / BATCH_ROWS + 1;
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
