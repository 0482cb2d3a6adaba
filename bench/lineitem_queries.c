/* lineitem_queries.c -- the queries over lineitem: as SQL for peers, as predicate and aggregate for our scans; how ours
 * are run; and whether two answers are the same.
 *
 * Q14       its scan alone: the month, and sum(price * (1 - discount)). The join with part, which decides what counts
 *           as promotion, belongs to the calculator; peers are asked the same.
 * Rules     MySQL's. Dates are days since 1970: 1994-01-01 is 8766.
 * Threads   a query's scan runs on LINEITEM_THREADS threads, one of them the caller's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lineitem.h"

static const struct mg_engine_ops *const ops = &mg_engine_magic;

/* ---- building ------------------------------------------------------------------------------------------------ */

struct building {
    struct mg_arena *arena;
    const struct mg_schema *schema;
};

static struct mg_expr *column(const struct building *b, const char *name)
{
    return mg_expr_column(b->arena, mg_slice_text(name));
}

static struct mg_expr *number(const struct building *b, enum mg_type_id id, int64_t v)
{
    struct mg_value value = {.type = {.id = id}};

    if (id == MG_TYPE_DECIMAL) {
        value.type.precision = 15;
        value.type.scale = 2;
        value.d = v;
    } else {
        value.i = v;
    }
    return mg_expr_literal(b->arena, &value);
}

static struct mg_expr *call(const struct building *b, enum mg_expr_op op, struct mg_expr *x, struct mg_expr *y)
{
    return mg_expr_call(b->arena, op, (struct mg_expr *[]){x, y}, 2);
}

/* A decimal column against hundredths, a date column against days. */
static struct mg_expr *compare(const struct building *b, enum mg_expr_op op, const char *name, enum mg_type_id id,
                               int64_t v)
{
    return call(b, op, column(b, name), number(b, id, v));
}

/* 1 - discount, and 1 + tax; the 1 is a plain integer, as in SQL. */
static struct mg_expr *one_and(const struct building *b, enum mg_expr_op op, const char *name)
{
    return call(b, op, number(b, MG_TYPE_INT64, 1), column(b, name));
}

static struct mg_expr *sold(const struct building *b)
{
    return call(b, MG_EXPR_MULTIPLY, column(b, "l_extendedprice"), one_and(b, MG_EXPR_SUBTRACT, "l_discount"));
}

static void bind(struct lineitem_query *query, const struct building *b, const struct mg_expr *condition,
                 const struct mg_aggregate_call *calls, uint32_t call_count, bool by_flags)
{
    const struct mg_expr *groups[] = {column(b, "l_returnflag"), column(b, "l_linestatus")};
    struct mg_aggregate_request request = {.rules = MG_RULES_MYSQL,
                                           .groups = groups,
                                           .group_count = by_flags ? 2 : 0,
                                           .calls = calls,
                                           .call_count = call_count};

    if (condition)
        try(mg_predicate_bind(condition, b->schema, &query->predicate, err));
    try(mg_aggregate_bind(&request, b->schema, &query->aggregate, err));
}

static void build_q1(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_expr *charge = call(&b, MG_EXPR_MULTIPLY, sold(&b), one_and(&b, MG_EXPR_ADD, "l_tax"));
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, column(&b, "l_quantity")},
                                        {MG_AGGREGATE_SUM, column(&b, "l_extendedprice")},
                                        {MG_AGGREGATE_SUM, sold(&b)},
                                        {MG_AGGREGATE_SUM, charge},
                                        {MG_AGGREGATE_AVG, column(&b, "l_quantity")},
                                        {MG_AGGREGATE_AVG, column(&b, "l_extendedprice")},
                                        {MG_AGGREGATE_AVG, column(&b, "l_discount")},
                                        {MG_AGGREGATE_COUNT_ALL, NULL}};

    bind(query, &b, compare(&b, MG_EXPR_LE, "l_shipdate", MG_TYPE_DATE, 10471), calls, MG_COUNT_OF(calls), true);
}

static void build_q6(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_expr *conditions[] = {
        compare(&b, MG_EXPR_GE, "l_shipdate", MG_TYPE_DATE, 8766),
        compare(&b, MG_EXPR_LT, "l_shipdate", MG_TYPE_DATE, 9131),
        compare(&b, MG_EXPR_GE, "l_discount", MG_TYPE_DECIMAL, 5),
        compare(&b, MG_EXPR_LE, "l_discount", MG_TYPE_DECIMAL, 7),
        compare(&b, MG_EXPR_LT, "l_quantity", MG_TYPE_DECIMAL, 2400),
    };
    struct mg_aggregate_call sum = {
        MG_AGGREGATE_SUM, call(&b, MG_EXPR_MULTIPLY, column(&b, "l_extendedprice"), column(&b, "l_discount"))};

    bind(query, &b, mg_expr_call(arena, MG_EXPR_AND, conditions, MG_COUNT_OF(conditions)), &sum, 1, false);
}

static void build_q14(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_expr *month = call(&b, MG_EXPR_AND, compare(&b, MG_EXPR_GE, "l_shipdate", MG_TYPE_DATE, 9374),
                                 compare(&b, MG_EXPR_LT, "l_shipdate", MG_TYPE_DATE, 9404));
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, sold(&b)}, {MG_AGGREGATE_COUNT_ALL, NULL}};

    bind(query, &b, month, calls, MG_COUNT_OF(calls), false);
}

static void build_count(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_aggregate_call count = {MG_AGGREGATE_COUNT_ALL, NULL};

    bind(query, &b, NULL, &count, 1, false);
}

static void build_one(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema,
                      enum mg_aggregate_function function, const char *name)
{
    const struct building b = {arena, schema};
    struct mg_aggregate_call one = {function, column(&b, name)};

    bind(query, &b, NULL, &one, 1, false);
}

static void build_sum_int32(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    build_one(query, arena, schema, MG_AGGREGATE_SUM, "l_linenumber");
}

static void build_sum_bigint(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    build_one(query, arena, schema, MG_AGGREGATE_SUM, "l_partkey");
}

static void build_sum_decimal(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    build_one(query, arena, schema, MG_AGGREGATE_SUM, "l_extendedprice");
}

static void build_max_key(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    build_one(query, arena, schema, MG_AGGREGATE_MAX, "l_orderkey");
}

static void build_filter(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_SUM, column(&b, "l_extendedprice")},
                                        {MG_AGGREGATE_COUNT_ALL, NULL}};

    bind(query, &b, compare(&b, MG_EXPR_EQ, "l_shipdate", MG_TYPE_DATE, 9204), calls, MG_COUNT_OF(calls), false);
}

static void build_group(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema)
{
    const struct building b = {arena, schema};
    struct mg_aggregate_call calls[] = {{MG_AGGREGATE_COUNT_ALL, NULL}, {MG_AGGREGATE_SUM, column(&b, "l_quantity")}};

    bind(query, &b, NULL, calls, MG_COUNT_OF(calls), true);
}

static const struct lineitem_query all[LINEITEM_QUERIES] = {
    {.name = "q1",
     .averages = 7 << 6,
     .build = build_q1,
     .sql = "select l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), "
            "sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)), "
            "avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) from lineitem "
            "where l_shipdate <= date '1998-09-02' group by l_returnflag, l_linestatus"},
    {.name = "q6",
     .build = build_q6,
     .sql = "select sum(l_extendedprice * l_discount) from lineitem where l_shipdate >= date '1994-01-01' "
            "and l_shipdate < date '1995-01-01' and l_discount >= 0.05 and l_discount <= 0.07 and l_quantity < 24"},
    {.name = "q14_scan",
     .build = build_q14,
     .sql = "select sum(l_extendedprice * (1 - l_discount)), count(*) from lineitem "
            "where l_shipdate >= date '1995-09-01' and l_shipdate < date '1995-10-01'"},
    {.name = "count_all", .build = build_count, .sql = "select count(*) from lineitem"},
    {.name = "sum_int32", .build = build_sum_int32, .sql = "select sum(l_linenumber) from lineitem"},
    {.name = "sum_bigint", .build = build_sum_bigint, .sql = "select sum(l_partkey) from lineitem"},
    {.name = "sum_decimal", .build = build_sum_decimal, .sql = "select sum(l_extendedprice) from lineitem"},
    {.name = "filter_date",
     .build = build_filter,
     .sql = "select sum(l_extendedprice), count(*) from lineitem where l_shipdate = date '1995-03-15'"},
    {.name = "group_flag",
     .build = build_group,
     .sql = "select l_returnflag, l_linestatus, count(*), sum(l_quantity) from lineitem "
            "group by l_returnflag, l_linestatus"},
    {.name = "max_key", .build = build_max_key, .sql = "select max(l_orderkey) from lineitem"},
};

void lineitem_queries_bind(struct lineitem_query queries[LINEITEM_QUERIES], const struct mg_schema *schema)
{
    struct mg_arena arena;

    mg_arena_init(&arena, 1 << 20);
    for (int i = 0; i < LINEITEM_QUERIES; i++) {
        queries[i] = all[i];
        queries[i].build(&queries[i], &arena, schema);
    }
    mg_arena_clear(&arena);
}

void lineitem_queries_free(struct lineitem_query queries[LINEITEM_QUERIES])
{
    for (int i = 0; i < LINEITEM_QUERIES; i++) {
        mg_predicate_free(queries[i].predicate);
        mg_aggregate_free(queries[i].aggregate);
    }
}

/* ---- running ------------------------------------------------------------------------------------------------- */

static void append_result(const struct mg_batch *batch, struct mg_buffer *answer)
{
    for (uint32_t row = 0; row < batch->row_count; row++)
        for (uint32_t c = 0; c < batch->column_count; c++) {
            struct mg_value value = mg_vector_value(&batch->vectors[c], row);
            try(mg_value_format(&value, answer, err));
            try(mg_buffer_append(answer, c + 1 < batch->column_count ? "|" : "\n", 1, err));
        }
}

void lineitem_view_open(struct lineitem_view *view, const struct bench_store *store)
{
    struct mg_key_range *ranges;
    struct mg_arena arena;
    uint32_t count;

    mg_arena_init(&arena, 1 << 20);
    try(ops->snapshot(store->engine, &view->snapshot, err));
    int64_t start_ns = bench_now_ns();
    try(ops->plan_splits(view->snapshot, 1, LINEITEM_THREADS, true, &arena, &ranges, &count, err));
    view->plan_ms = (double)(bench_now_ns() - start_ns) / 1e6;
    mg_arena_clear(&arena);
}

void lineitem_view_close(struct lineitem_view *view) { ops->snapshot_unref(view->snapshot); }

struct lineitem_run lineitem_ask(const struct lineitem_query *query, const struct lineitem_view *view,
                                 struct mg_buffer *answer)
{
    struct mg_scan_spec spec = {
        .table_id = 1, .predicate = query->predicate, .aggregate = query->aggregate, .threads = LINEITEM_THREADS};
    int64_t start_us = bench_process_cpu_us(), start_ns = bench_now_ns();
    struct mg_scan *scan;

    try(ops->scan(view->snapshot, &spec, &scan, err));
    for (;;) {
        struct mg_batch *batch;
        try(ops->next(scan, &batch, err));
        if (!batch)
            break;
        if (answer)
            append_result(batch, answer);
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    double wall_ms = (double)(bench_now_ns() - start_ns) / 1e6;
    double cpu_ms = (double)(bench_process_cpu_us() - start_us) / 1e3;
    if (answer) {
        try(mg_buffer_append(answer, "", 1, err)); /* it is a text */
        lineitem_sort_lines((char *)answer->data);
    }
    return (struct lineitem_run){wall_ms, cpu_ms};
}

/* ---- answers ------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void lineitem_sort_lines(char *text)
{
    char *lines[256], *copy = strdup(text), *place = text, *save = NULL;
    size_t count = 0;

    if (!copy)
        bench_die("no memory");
    for (char *line = strtok_r(copy, "\n", &save); line && count < MG_COUNT_OF(lines);
         line = strtok_r(NULL, "\n", &save))
        lines[count++] = line;
    qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(lines[i]);
        memcpy(place, lines[i], size);
        place[size] = '\n';
        place += size + 1;
    }
    *place = 0;
    free(copy);
}

static bool is_number(const char *text) { return *text && text[strspn(text, "0123456789.-+eE")] == 0; }

/* Decimal digits without the zeros that say nothing. */
static void plain(char *text)
{
    size_t size = strlen(text);

    if (!strchr(text, '.'))
        return;
    while (size && text[size - 1] == '0')
        text[--size] = 0;
    if (size && text[size - 1] == '.')
        text[--size] = 0;
}

static bool same_value(char *a, char *b, bool is_average)
{
    if (!is_number(a) || !is_number(b))
        return strcmp(a, b) == 0;
    if (is_average) /* MySQL's rules give four digits more than the argument's; others give a double */
        return fabs(strtod(a, NULL) - strtod(b, NULL)) <= 1e-6 * fmax(1, fabs(strtod(b, NULL)));
    plain(a);
    plain(b);
    return strcmp(a, b) == 0;
}

bool lineitem_same(const struct lineitem_query *query, const char *ours, const char *theirs)
{
    while (*ours && *theirs) {
        for (uint32_t c = 0;; c++) {
            char a[512], b[512];
            size_t size_a = strcspn(ours, "|\n"), size_b = strcspn(theirs, "|\n");
            snprintf(a, sizeof a, "%.*s", (int)size_a, ours);
            snprintf(b, sizeof b, "%.*s", (int)size_b, theirs);
            bool ends = ours[size_a] == '\n';
            if (ours[size_a] != theirs[size_b] || ours[size_a] == 0 || !same_value(a, b, query->averages >> c & 1))
                return false;
            ours += size_a + 1;
            theirs += size_b + 1;
            if (ends)
                break;
        }
    }
    return *ours == *theirs;
}
