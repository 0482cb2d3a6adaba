/* scan_test.c -- every short cut of a scan gives what rows, filters and aggregates give without it.
 *
 * A table of some hundred thousand rows in parts of several row groups, overlapping, with rows in memory, deleted rows
 * in both, and a column that came later; columns so made that blocks have every encoding. All rows are read once
 * without a condition; what a scan with conditions, ranges, aggregates or an order must give is computed from these by
 * the plain kernels over Arrow's layout. `scan_test SEED` replays one case.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/io_fault.h"
#include "base/random.h"
#include "engine/engine.h"
#include "part/block.h"

#include "engine_kit.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { CASES = 40 };
#else
enum { CASES = 400 };
#endif
enum { FIRST_ROWS = 150000, MORE_ROWS = 50000, DELTA_ROWS = 36000, COLUMNS_MAX = 32 };

static uint64_t only_case;

#define must(call)                                                                 \
    do {                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                \
        enum mg_code must_code = (call);                                           \
        if (must_code != MG_OK)                                                    \
            fail_msg("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

static const struct mg_engine_ops *const magic = &mg_engine_magic;

static const char *const columns =
    "1 id int64 key; 2 day date; 3 small int8 null; 4 big int64; 5 huge uint64 null; 6 price decimal(15,2) null;"
    "7 wide decimal(38,4) null; 8 real float64 null; 9 single float32; 10 flag utf8 pad; 11 word utf8 null;"
    "12 note utf8 pad null; 13 runs int32; 14 steps int64; 15 same int32; 16 none int32 null; 17 code uint16";
static const char *const late = "; 18 later int32 missing=7; 19 tag utf8 pad null missing=tag; 20 absent int64 null";

/* ---- the table ----------------------------------------------------------------------------------------------- */

static struct world {
    struct mg_io_fault *disk;
    struct mg_budget budget, readers;
    struct mg_engine *engine;
    struct mg_schema *schema, *wider;
    struct mg_snapshot *snapshot;
    struct mg_batch **batches; /* all rows, all columns */
    uint32_t batch_count;
    uint64_t watermark;
} w;

static void put_text(struct mg_batch_builder *builder, uint32_t column, uint64_t some)
{
    static const char *const words[] = {"", " ", "a", "a ", "A", "b  ", "lorem ipsum", "lorem ipsum ", "\t", "a\t"};
    char text[96];
    int size = snprintf(text, sizeof text, "%s", words[some % 10]);

    if (column == 10) /* many different ones: no dictionary */
        size = snprintf(text, sizeof text, "row %llu says %s", (unsigned long long)(some % 30000), words[some % 10]);
    if (column == 11)
        size = snprintf(text, sizeof text, "%.*s the quick brown fox %llu%*s", (int)(some % 30),
                        "abcdefghijklmnopqrstuvwxyzabcdef", (unsigned long long)(some % 1000), (int)(some % 3), "");
    must(mg_builder_text(builder, column, MG_SLICE(text, (size_t)size), err));
}

static void put_value(struct mg_batch_builder *builder, const struct mg_schema *schema, uint32_t column, uint64_t key,
                      uint64_t salt)
{
    uint64_t some = mg_hash_u64(key * 131 + column + salt * 7919);
    struct mg_value v = {.type = schema->columns[column].type};

    if (schema->columns[column].nullable && (some >> 40) % (column == 15 ? 1 : 9 + column) == 0) {
        must(mg_builder_null(builder, column, err));
        return;
    }
    switch (column) {
    case 0: v.i = (int64_t)key; break;
    case 1: v.i = 8000 + (int64_t)(key / 100) + (int64_t)(some % 60); break;
    case 2: v.i = (int8_t)some; break;
    case 3: v.i = (int64_t)(some >> (some % 3 * 20)); break;
    case 4: v.u = some % 5 ? some % 1000 : some; break;
    case 5: v.d = (int64_t)(some % 10000000) - 100; break;
    case 6: v.d = key / 1024 % 3 ? (mg_int128)(int64_t)some * ((int64_t)1 << 40) : (mg_int128)(some % 100); break;
    case 7:
        v.f = some % 50 == 0 ? __builtin_nan("") : some % 51 == 0 ? -0.0 : (double)(int64_t)(some % 20000) / 100;
        break;
    case 8: v.f = (double)(float)((double)(some % 1000) / 7); break;
    case 9:
    case 10:
    case 11:
    case 18: put_text(builder, column, some); return;
    case 12: v.i = (int64_t)(mg_hash_u64(key / 300) % 20); break;
    case 13: v.i = (int64_t)(key * 1000 + some % 900); break;
    case 14: v.i = 5; break;
    case 16: v.u = some % 7 == 0 ? some % 65536 : some % 300; break;
    default: v.i = (int64_t)(some % 100); break;
    }
    must(mg_builder_value(builder, column, &v, err));
}

static void put_rows(const struct mg_schema *schema, uint64_t first, uint32_t count, uint64_t step, uint8_t op,
                     uint64_t salt)
{
    struct mg_type types[COLUMNS_MAX];
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t *ops = malloc(count);

    assert_non_null(ops);
    memset(ops, op, count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, SIZE_MAX / 2, err));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = 0; c < schema->column_count; c++)
            put_value(&builder, schema, c, first + i * step, salt);
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    struct mg_epoch *epoch = kit_begin(w.engine);
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = batch, .ops = ops};
    must(magic->put(epoch, &changes, err));
    kit_publish(epoch, ++w.watermark);
    mg_batch_unref(batch);
    free(ops);
}

static struct mg_scan *open_scan(struct mg_scan_spec spec)
{
    struct mg_scan *scan;

    spec.table_id = 1;
    spec.budget = &w.readers;
    must(magic->scan(w.snapshot, &spec, &scan, err));
    return scan;
}

/* All rows as they are, in batches. */
static void read_all(void)
{
    uint32_t places[COLUMNS_MAX], room = 0;
    struct mg_batch *batch;

    for (uint32_t c = 0; c < w.wider->column_count; c++)
        places[c] = c;
    struct mg_scan *scan = open_scan((struct mg_scan_spec){.columns = places, .column_count = w.wider->column_count});
    for (;;) {
        must(magic->next(scan, &batch, err));
        if (!batch)
            break;
        must(mg_batch_check(batch, err));
        if (w.batch_count == room) {
            room = 2 * room + 16;
            w.batches = realloc(w.batches, room * sizeof(struct mg_batch *));
            assert_non_null(w.batches);
        }
        w.batches[w.batch_count++] = batch;
    }
    magic->scan_close(scan);
}

static int set_up(void **state)
{
    char both[1024];

    snprintf(both, sizeof both, "%s%s", columns, late);
    w.disk = mg_io_fault_new(1);
    w.schema = kit_schema(1, 1, "d", "t", columns);
    w.wider = kit_schema(1, 2, "d", "t", both);
    mg_budget_init(&w.budget, "scan test", NULL, SIZE_MAX);
    mg_budget_init(&w.readers, "readers of the scan test", NULL, SIZE_MAX);
    struct mg_engine_options options = {
        .folder = "/store", .io = mg_io_fault_io(w.disk), .budget = &w.budget, .maintain_by_hand = true};
    must(magic->open(&options, &w.engine, err));
    kit_create(w.engine, w.schema);
    w.watermark = 10;
    put_rows(w.schema, 0, FIRST_ROWS, 3, MG_CHANGE_INSERT, 1);
    must(magic->checkpoint(w.engine, true, err));
    struct mg_epoch *epoch = kit_begin(w.engine);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, "d", w.wider, 0), MG_OK);
    kit_publish(epoch, ++w.watermark);
    put_rows(w.wider, 100000 / 3 * 3, MORE_ROWS, 6, MG_CHANGE_UPDATE, 2);
    put_rows(w.wider, 1, MORE_ROWS, 3, MG_CHANGE_INSERT, 3);
    must(magic->checkpoint(w.engine, true, err));
    put_rows(w.wider, 3 * 20000, 11000, 3, MG_CHANGE_DELETE, 4);
    put_rows(w.wider, 2, DELTA_ROWS, 37 * 3, MG_CHANGE_INSERT, 5);
    put_rows(w.wider, 0, 3000, 3 * 41, MG_CHANGE_UPDATE, 6);
    put_rows(w.wider, 2, DELTA_ROWS / 6, 37 * 3 * 3, MG_CHANGE_DELETE, 7);
    w.snapshot = kit_snapshot(w.engine);
    read_all();
    return 0;
}

static int tear_down(void **state)
{
    for (uint32_t i = 0; i < w.batch_count; i++)
        mg_batch_unref(w.batches[i]);
    free(w.batches);
    magic->snapshot_unref(w.snapshot);
    magic->close(w.engine);
    mg_schema_unref(w.schema);
    mg_schema_unref(w.wider);
    mg_io_fault_free(w.disk);
    assert_int_equal(mg_budget_used(&w.readers), 0);
    assert_int_equal(mg_budget_used(&w.budget), 0);
    return 0;
}

/* ---- what is asked for --------------------------------------------------------------------------------------- */

static uint64_t below(struct mg_random *random, uint64_t bound) { return mg_random_below(random, bound); }

/* A value of the column from some row, now and then one beside it. */
static struct mg_value some_value(struct mg_random *random, uint32_t column)
{
    const struct mg_batch *batch = w.batches[below(random, w.batch_count)];
    struct mg_value v = mg_vector_value(&batch->vectors[column], (uint32_t)below(random, batch->row_count));

    if (v.is_null)
        v = (struct mg_value){.type = w.wider->columns[column].type};
    else if (v.type.id == MG_TYPE_UTF8)
        v.text.size -= below(random, 4) == 0 && v.text.size;
    else if (v.type.id == MG_TYPE_DECIMAL)
        v.d += below(random, 4) == 0;
    else if (v.type.id != MG_TYPE_FLOAT32 && v.type.id != MG_TYPE_FLOAT64 && v.type.id != MG_TYPE_INT8)
        v.i += below(random, 4) == 0;
    return v;
}

static struct mg_expr *column_of(struct mg_arena *arena, uint32_t column)
{
    return mg_expr_column(arena, mg_slice_text(w.wider->columns[column].name));
}

static struct mg_expr *comparison(struct mg_random *random, struct mg_arena *arena)
{
    static const enum mg_expr_op ops[] = {MG_EXPR_EQ,      MG_EXPR_NE,          MG_EXPR_LT,          MG_EXPR_LE,
                                          MG_EXPR_GT,      MG_EXPR_GE,          MG_EXPR_IN,          MG_EXPR_BETWEEN,
                                          MG_EXPR_BETWEEN, MG_EXPR_IS_NULL,     MG_EXPR_IS_NOT_NULL, MG_EXPR_IN,
                                          MG_EXPR_LE,      MG_EXPR_EQ_NULL_SAFE};
    enum mg_expr_op op = ops[below(random, MG_COUNT_OF(ops))];
    uint32_t column = (uint32_t)below(random, w.wider->column_count), count = 1;
    struct mg_expr *args[40] = {column_of(arena, column)};

    if (op == MG_EXPR_IN)
        count = 2 + (uint32_t)below(random, below(random, 2) ? 30 : 5);
    else if (op != MG_EXPR_IS_NULL && op != MG_EXPR_IS_NOT_NULL)
        count = op == MG_EXPR_BETWEEN ? 3 : 2;
    for (uint32_t i = 1; i < count; i++) {
        struct mg_value v = some_value(random, column);
        args[i] = mg_expr_literal(arena, &v);
    }
    struct mg_expr *call = mg_expr_call(arena, op, args, count);
    assert_non_null(call);
    call->pad_space = w.wider->columns[column].type.id == MG_TYPE_UTF8 && below(random, 2);
    if (below(random, 12) == 0) /* with another column, which no block can be asked */
        return mg_expr_call(arena, MG_EXPR_LT, (struct mg_expr *[]){column_of(arena, 2), column_of(arena, 12)}, 2);
    return call;
}

static struct mg_expr *tree(struct mg_random *random, struct mg_arena *arena, int depth)
{
    struct mg_expr *args[3];
    uint32_t count = 2 + (uint32_t)below(random, 2);

    if (depth == 0 || below(random, 4) == 0)
        return comparison(random, arena);
    for (uint32_t i = 0; i < count; i++)
        args[i] = tree(random, arena, depth - 1);
    switch (below(random, 5)) {
    case 0: return mg_expr_call(arena, MG_EXPR_OR, args, count);
    case 1: return mg_expr_call(arena, MG_EXPR_NOT, args, 1);
    default: return mg_expr_call(arena, MG_EXPR_AND, args, count);
    }
}

static struct mg_key_range some_range(struct mg_random *random, struct mg_buffer bounds[2])
{
    struct mg_slice ends[2];

    for (int i = 0; i < 2; i++) {
        struct mg_value key = some_value(random, 0);
        mg_buffer_init(&bounds[i], 1024);
        must(mg_key_encode_values(&key, 1, &bounds[i], err));
        ends[i] = mg_buffer_slice(&bounds[i]);
    }
    bool turned = mg_slice_compare(ends[0], ends[1]) > 0;
    return (struct mg_key_range){.low = ends[turned], .high = below(random, 3) ? ends[!turned] : (struct mg_slice){0}};
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* Rows as a multiset: order does not count, how often does. */
struct digest {
    uint64_t count, sum;
};

static void digest_row(struct digest *digest, const struct mg_batch *batch, const uint32_t *places, uint32_t count,
                       uint32_t row)
{
    uint64_t hash = count;

    for (uint32_t i = 0; i < count; i++) {
        struct mg_value v = mg_vector_value(&batch->vectors[places ? places[i] : i], row);
        if (v.is_null)
            hash = mg_hash_u64(hash ^ 0x1234567);
        else if (v.type.id == MG_TYPE_UTF8)
            hash = mg_hash(v.text.data, v.text.size, hash);
        else if (v.type.id == MG_TYPE_DECIMAL)
            hash = mg_hash(&v.d, sizeof v.d, hash);
        else
            hash = mg_hash(&v.i, sizeof v.i, hash);
    }
    digest->count++;
    digest->sum += mg_hash_u64(hash);
}

/* Rows of a batch that are in the range and true. */
static void slow_mask(const struct mg_batch *batch, const struct mg_predicate *predicate, struct mg_key_range range,
                      uint64_t *mask, struct mg_arena *scratch)
{
    const struct mg_vector *vectors[COLUMNS_MAX];
    struct mg_buffer key;

    mg_buffer_init(&key, 1024);
    memset(mask, 0, 8192 / 8);
    for (uint32_t row = 0; row < batch->row_count; row++) {
        struct mg_value v = mg_vector_value(&batch->vectors[0], row);
        mg_buffer_reset(&key);
        must(mg_key_encode_values(&v, 1, &key, err));
        mask[row / 64] |= (uint64_t)mg_key_in_range(mg_buffer_slice(&key), range) << row % 64;
    }
    mg_buffer_clear(&key);
    for (uint32_t c = 0; c < batch->column_count; c++)
        vectors[c] = &batch->vectors[c];
    mg_arena_reset(scratch);
    if (predicate)
        must(mg_predicate_filter(predicate, vectors, batch->row_count, mask, scratch, err));
}

static struct digest slow_rows(const struct mg_scan_spec *spec, struct mg_arena *scratch)
{
    struct digest digest = {0};
    uint64_t mask[8192 / 64];

    for (uint32_t i = 0; i < w.batch_count; i++) {
        slow_mask(w.batches[i], spec->predicate, spec->range, mask, scratch);
        for (uint32_t row = 0; row < w.batches[i]->row_count; row++)
            if (mask[row / 64] >> row % 64 & 1)
                digest_row(&digest, w.batches[i], spec->columns, spec->column_count, row);
    }
    return digest;
}

/* Buffers begin at multiples of 64 bytes, where a batch has them to itself. */
static void check_alignment(const struct mg_batch *batch)
{
    for (uint32_t c = 0; c < batch->column_count; c++) {
        const struct mg_vector *v = &batch->vectors[c];
        if (v->type.id != MG_TYPE_UTF8)
            assert_int_equal((uintptr_t)v->values % 64, 0);
        assert_int_equal((uintptr_t)v->offsets % 64, 0);
        assert_int_equal((uintptr_t)v->validity % 64, 0);
    }
}

static struct digest fast_rows(const struct mg_scan_spec *spec)
{
    struct digest digest = {0};
    struct mg_batch *batch;
    struct mg_scan *scan = open_scan(*spec);

    for (;;) {
        must(magic->next(scan, &batch, err));
        if (!batch)
            break;
        must(mg_batch_check(batch, err));
        assert_true(batch->row_count > 0 && (!spec->batch_rows_max || batch->row_count <= spec->batch_rows_max));
        if (!spec->batch_rows_max)
            check_alignment(batch);
        for (uint32_t row = 0; row < batch->row_count; row++)
            digest_row(&digest, batch, NULL, batch->column_count, row);
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    return digest;
}

static uint64_t kept_total, empty_total;

static void rows_case(uint64_t seed)
{
    uint32_t places[COLUMNS_MAX];
    struct mg_random random;
    struct mg_arena arena, scratch;
    struct mg_buffer bounds[2] = {{0}};
    struct mg_predicate *predicate = NULL;
    struct mg_scan_spec spec = {.columns = places};

    mg_random_init(&random, seed);
    mg_arena_init(&arena, 16 << 20);
    mg_arena_init(&scratch, 16 << 20);
    must(mg_predicate_bind(tree(&random, &arena, (int)below(&random, 3)), w.wider, &predicate, err));
    spec.predicate = predicate;
    spec.column_count = (uint32_t)below(&random, 6);
    for (uint32_t i = 0; i < spec.column_count; i++)
        places[i] = (uint32_t)below(&random, w.wider->column_count);
    if (below(&random, 3) == 0)
        spec.range = some_range(&random, bounds);
    if (below(&random, 3) == 0)
        spec.batch_rows_max = 1 + (uint32_t)below(&random, 3000);
    struct digest slow = slow_rows(&spec, &scratch), fast = fast_rows(&spec);
    if (slow.count != fast.count || slow.sum != fast.sum)
        fail_msg("case %llu: %llu rows, %llu without short cuts; replay: scan_test %llu", (unsigned long long)seed,
                 (unsigned long long)fast.count, (unsigned long long)slow.count, (unsigned long long)seed);
    kept_total += slow.count;
    empty_total += slow.count == 0;
    mg_predicate_free(predicate);
    mg_buffer_clear(&bounds[0]);
    mg_buffer_clear(&bounds[1]);
    mg_arena_clear(&arena);
    mg_arena_clear(&scratch);
}

static void test_rows(void **state)
{
    static const char *const kernels[] = {NULL, "plain", "avx2", "avx512"};

    for (uint64_t seed = 1; seed <= CASES; seed++) {
        if (!mg_block_kernels_force(kernels[seed % MG_COUNT_OF(kernels)]))
            continue; /* not on this machine */
        rows_case(only_case ? only_case : seed);
    }
    assert_true(mg_block_kernels_force(NULL));
    printf("%llu rows kept by %d predicates, none by %llu\n", (unsigned long long)kept_total, CASES,
           (unsigned long long)empty_total);
    /* Otherwise the cases say too little. */
    assert_true(only_case || (kept_total > CASES * 1000 && empty_total < CASES / 2));
    assert_int_equal(mg_budget_used(&w.readers) > 0, true); /* what all_rows keeps */
}

/* ---- aggregates ---------------------------------------------------------------------------------------------- */

static struct mg_expr *argument(struct mg_random *random, struct mg_arena *arena, bool *is_sum)
{
    uint32_t column = (uint32_t)below(random, w.wider->column_count);
    enum mg_type_id id = w.wider->columns[column].type.id;
    struct mg_expr *expr = column_of(arena, column);

    *is_sum = (id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64) || id == MG_TYPE_DECIMAL;
    if (below(random, 5) == 0) { /* computed, of numbers whose products fit */
        *is_sum = true;
        return mg_expr_call(arena, MG_EXPR_MULTIPLY, (struct mg_expr *[]){column_of(arena, 5), column_of(arena, 2)}, 2);
    }
    return expr;
}

static struct mg_aggregate *some_aggregate(struct mg_random *random, struct mg_arena *arena, bool partial,
                                           struct mg_aggregate **complete)
{
    static const enum mg_aggregate_function all[] = {MG_AGGREGATE_COUNT, MG_AGGREGATE_MIN, MG_AGGREGATE_MAX,
                                                     MG_AGGREGATE_SUM,   MG_AGGREGATE_AVG, MG_AGGREGATE_SUM};
    const struct mg_expr *groups[3];
    struct mg_aggregate_call calls[6];
    struct mg_aggregate *aggregate;
    bool is_sum;
    struct mg_aggregate_request request = {.rules = below(random, 2) ? MG_RULES_SPARK : MG_RULES_MYSQL,
                                           .groups = groups,
                                           .group_count = below(random, 2) ? 0 : (uint32_t)below(random, 4),
                                           .calls = calls,
                                           .call_count = 1 + (uint32_t)below(random, 6)};

    for (uint32_t i = 0; i < request.group_count; i++) {
        static const uint32_t few[] = {2, 9, 12, 14, 15, 16, 18, 10, 19};
        groups[i] = column_of(arena, few[below(random, MG_COUNT_OF(few))]);
    }
    for (uint32_t i = 0; i < request.call_count; i++) {
        calls[i].argument = argument(random, arena, &is_sum);
        calls[i].function = all[below(random, is_sum ? 6 : 3)];
        if (below(random, 6) == 0)
            calls[i] = (struct mg_aggregate_call){.function = MG_AGGREGATE_COUNT_ALL};
    }
    must(mg_aggregate_bind(&request, w.wider, complete, err));
    request.is_partial = partial;
    must(mg_aggregate_bind(&request, w.wider, &aggregate, err));
    return aggregate;
}

/* Results as a multiset. What is equal in an order may come in one of several spellings. */
static void digest_result(struct digest *digest, const struct mg_batch *batch)
{
    for (uint32_t row = 0; row < batch->row_count; row++) {
        uint64_t hash = 1;
        for (uint32_t c = 0; c < batch->column_count; c++) {
            struct mg_value v = mg_vector_value(&batch->vectors[c], row);
            if (v.is_null)
                hash = mg_hash_u64(hash ^ 0x1234567);
            while (v.type.id == MG_TYPE_UTF8 && !v.is_null && v.text.size && v.text.data[v.text.size - 1] == ' ')
                v.text.size--;
            if ((v.type.id == MG_TYPE_FLOAT32 || v.type.id == MG_TYPE_FLOAT64) && v.f == 0)
                v.f = 0;
            if (!v.is_null && v.type.id == MG_TYPE_UTF8)
                hash = mg_hash(v.text.data, v.text.size, hash);
            else if (!v.is_null)
                hash = v.type.id == MG_TYPE_DECIMAL ? mg_hash(&v.d, sizeof v.d, hash) : mg_hash(&v.i, 8, hash);
        }
        digest->count++;
        digest->sum += mg_hash_u64(hash);
    }
}

/* All results of an aggregation; partial ones are merged first. */
struct results {
    struct mg_aggregation *merged; /* NULL: they are complete */
    struct digest digest;
};

static enum mg_code take_result(struct results *results, const struct mg_batch *batch)
{
    if (results->merged)
        return mg_aggregation_merge(results->merged, batch, NULL);
    digest_result(&results->digest, batch);
    return MG_OK;
}

static struct digest finish_results(struct results *results, enum mg_code code)
{
    struct mg_batch *batch = NULL;

    while (code == MG_OK && results->merged) {
        code = mg_aggregation_next(results->merged, 0, &batch, NULL);
        if (code != MG_OK || !batch)
            break;
        digest_result(&results->digest, batch);
        mg_batch_unref(batch);
    }
    mg_aggregation_free(results->merged);
    assert_true(code == MG_OK || code == MG_OUT_OF_RANGE);
    return code == MG_OK ? results->digest : (struct digest){.count = UINT64_MAX};
}

static struct results begin_results(const struct mg_aggregate *aggregate, const struct mg_aggregate *complete)
{
    struct results results = {0};

    if (aggregate->is_partial)
        must(mg_aggregation_new(complete, NULL, 0, &results.merged, err));
    return results;
}

static struct digest slow_aggregate(const struct mg_scan_spec *spec, const struct mg_aggregate *complete,
                                    struct mg_arena *scratch)
{
    struct results results = {.merged = NULL};
    struct mg_aggregation *aggregation;
    struct mg_batch *batch;
    uint64_t mask[8192 / 64];
    enum mg_code code = MG_OK;

    must(mg_aggregation_new(complete, NULL, 0, &aggregation, err));
    for (uint32_t i = 0; code == MG_OK && i < w.batch_count; i++) {
        const struct mg_vector *vectors[COLUMNS_MAX];
        for (uint32_t c = 0; c < w.batches[i]->column_count; c++)
            vectors[c] = &w.batches[i]->vectors[c];
        slow_mask(w.batches[i], spec->predicate, spec->range, mask, scratch);
        code = mg_aggregation_update(aggregation, vectors, w.batches[i]->row_count, mask, NULL);
    }
    while (code == MG_OK) {
        code = mg_aggregation_next(aggregation, 0, &batch, NULL);
        if (code != MG_OK || !batch)
            break;
        code = take_result(&results, batch);
        mg_batch_unref(batch);
    }
    mg_aggregation_free(aggregation);
    return finish_results(&results, code);
}

static struct digest fast_aggregate(const struct mg_scan_spec *spec, const struct mg_aggregate *complete)
{
    struct results results = begin_results(spec->aggregate, complete);
    struct mg_scan *scan = open_scan(*spec);
    struct mg_batch *batch;
    enum mg_code code = MG_OK;

    while (code == MG_OK) {
        code = magic->next(scan, &batch, NULL);
        if (code != MG_OK || !batch)
            break;
        must(mg_batch_check(batch, err));
        code = take_result(&results, batch);
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    return finish_results(&results, code);
}

static uint64_t refused_total;

static void aggregate_case(uint64_t seed)
{
    struct mg_random random;
    struct mg_arena arena, scratch;
    struct mg_buffer bounds[2] = {{0}};
    struct mg_predicate *predicate = NULL;
    struct mg_aggregate *aggregate, *complete;
    struct mg_scan_spec spec = {0};

    mg_random_init(&random, seed);
    mg_arena_init(&arena, 16 << 20);
    mg_arena_init(&scratch, 16 << 20);
    aggregate = some_aggregate(&random, &arena, below(&random, 2), &complete);
    spec.aggregate = aggregate;
    if (below(&random, 4))
        must(mg_predicate_bind(tree(&random, &arena, (int)below(&random, 2)), w.wider, &predicate, err));
    spec.predicate = predicate;
    if (below(&random, 4) == 0)
        spec.range = some_range(&random, bounds);
    spec.threads = (uint32_t)below(&random, 5);
    struct digest slow = slow_aggregate(&spec, complete, &scratch), fast = fast_aggregate(&spec, complete);
    if (slow.count != fast.count || slow.sum != fast.sum)
        fail_msg("case %llu: %llu results, %llu without short cuts; replay: scan_test %llu", (unsigned long long)seed,
                 (unsigned long long)fast.count, (unsigned long long)slow.count, (unsigned long long)seed);
    refused_total += slow.count == UINT64_MAX;
    mg_aggregate_free(aggregate);
    mg_aggregate_free(complete);
    mg_predicate_free(predicate);
    mg_buffer_clear(&bounds[0]);
    mg_buffer_clear(&bounds[1]);
    mg_arena_clear(&arena);
    mg_arena_clear(&scratch);
}

static void test_aggregates(void **state)
{
    static const char *const kernels[] = {NULL, "plain", "avx2", "avx512"};

    for (uint64_t seed = 1; seed <= CASES; seed++)
        if (mg_block_kernels_force(kernels[seed % MG_COUNT_OF(kernels)]))
            aggregate_case(only_case ? only_case : seed);
    assert_true(mg_block_kernels_force(NULL));
    printf("%llu of %d aggregates do not fit their types\n", (unsigned long long)refused_total, CASES);
    assert_true(only_case || refused_total < CASES / 4); /* otherwise the cases say too little */
}

/* ---- the first rows in an order ------------------------------------------------------------------------------ */

/* In the order they come in. */
static void digest_in_order(struct digest *digest, const struct mg_batch *batch)
{
    for (uint32_t row = 0; row < batch->row_count; row++) {
        digest_row(digest, batch, NULL, batch->column_count, row);
        digest->sum = mg_hash_u64(digest->sum);
    }
}

static struct digest slow_top(const struct mg_scan_spec *spec, struct mg_arena *scratch)
{
    struct mg_top_request request = {.columns = spec->columns,
                                     .column_count = spec->column_count,
                                     .order = spec->order,
                                     .order_count = spec->order_count,
                                     .limit = (uint32_t)spec->limit};
    struct digest digest = {0};
    struct mg_top *top;
    struct mg_batch *batch;
    uint64_t mask[8192 / 64];

    must(mg_top_new(&request, w.wider, NULL, &top, err));
    for (uint32_t i = 0; i < w.batch_count; i++) {
        const struct mg_vector *vectors[COLUMNS_MAX];
        for (uint32_t c = 0; c < w.batches[i]->column_count; c++)
            vectors[c] = &w.batches[i]->vectors[c];
        slow_mask(w.batches[i], spec->predicate, spec->range, mask, scratch);
        must(mg_top_add(top, vectors, w.batches[i]->row_count, mask, err));
    }
    for (;;) {
        must(mg_top_next(top, 1000, &batch, err));
        if (!batch)
            break;
        digest_in_order(&digest, batch);
        mg_batch_unref(batch);
    }
    mg_top_free(top);
    return digest;
}

static struct digest fast_top(const struct mg_scan_spec *spec)
{
    struct mg_scan *scan = open_scan(*spec);
    struct digest digest = {0};
    struct mg_batch *batch;

    for (;;) {
        must(magic->next(scan, &batch, err));
        if (!batch)
            break;
        digest_in_order(&digest, batch);
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    return digest;
}

static void top_case(uint64_t seed)
{
    uint32_t places[COLUMNS_MAX];
    struct mg_top_order order[3];
    struct mg_random random;
    struct mg_arena arena, scratch;
    struct mg_predicate *predicate = NULL;
    struct mg_scan_spec spec = {.columns = places, .order = order};

    mg_random_init(&random, seed);
    mg_arena_init(&arena, 16 << 20);
    mg_arena_init(&scratch, 16 << 20);
    if (below(&random, 2))
        must(mg_predicate_bind(tree(&random, &arena, 1), w.wider, &predicate, err));
    spec.predicate = predicate;
    spec.column_count = (uint32_t)below(&random, 5);
    for (uint32_t i = 0; i < spec.column_count; i++)
        places[i] = (uint32_t)below(&random, w.wider->column_count);
    spec.order_count = 1 + (uint32_t)below(&random, 3);
    for (uint32_t i = 0; i < spec.order_count; i++) /* the key comes last: no two rows are equal */
        order[i] = (struct mg_top_order){
            .column = i + 1 == spec.order_count ? 0 : (uint32_t)below(&random, w.wider->column_count),
            .is_descending = below(&random, 2),
            .nulls_last = below(&random, 2)};
    spec.limit = 1 + below(&random, below(&random, 2) ? 20 : 20000);
    spec.threads = (uint32_t)below(&random, 5);
    struct digest slow = slow_top(&spec, &scratch), fast = fast_top(&spec);
    if (slow.count != fast.count || slow.sum != fast.sum)
        fail_msg("case %llu: other first rows; replay: scan_test %llu", (unsigned long long)seed,
                 (unsigned long long)seed);
    mg_predicate_free(predicate);
    mg_arena_clear(&arena);
    mg_arena_clear(&scratch);
}

static void test_first_rows(void **state)
{
    for (uint64_t seed = 1; seed <= CASES / 4; seed++)
        top_case(only_case ? only_case : seed);
}

/* ---- splits -------------------------------------------------------------------------------------------------- */

static uint64_t rows_in(struct mg_snapshot *snapshot, uint64_t table_id, struct mg_key_range range)
{
    struct mg_scan_spec spec = {.table_id = table_id, .range = range, .budget = &w.readers};
    struct mg_scan *scan;
    struct mg_batch *batch;
    uint64_t count = 0;

    must(magic->scan(snapshot, &spec, &scan, err));
    for (;;) {
        must(magic->next(scan, &batch, err));
        if (!batch)
            break;
        count += batch->row_count;
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    return count;
}

/* Ranges follow each other, and each has its share of the rows within a fifth. */
static void check_splits(struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted, uint64_t aligned_to)
{
    struct mg_table_stats stats;
    struct mg_key_range *ranges;
    struct mg_arena arena;
    uint32_t count;
    uint64_t sum = 0;

    mg_arena_init(&arena, 16 << 20);
    must(magic->stats(snapshot, table_id, &stats, err));
    must(magic->plan_splits(snapshot, table_id, wanted, false, &arena, &ranges, &count, err));
    assert_int_equal(count, wanted);
    assert_int_equal(ranges[0].low.size + ranges[count - 1].high.size, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t rows = rows_in(snapshot, table_id, ranges[i]), share = stats.row_count / wanted;
        assert_true(i == 0 || mg_slice_equal(ranges[i - 1].high, ranges[i].low));
        if (rows < share - share / 5 || rows > share + share / 5)
            fail_msg("split %u of %u holds %llu rows, its share is %llu", i, wanted, (unsigned long long)rows,
                     (unsigned long long)share);
        assert_int_equal(aligned_to ? rows % aligned_to : 0, 0);
        sum += rows;
    }
    assert_int_equal(sum, stats.row_count);
    mg_arena_clear(&arena);
}

/* Of parts that overlap, with deleted rows and rows in memory. */
static void test_splits(void **state)
{
    static const uint32_t wanted[] = {1, 2, 3, 4, 5, 7, 8, 16, 40, 100};

    for (size_t i = 0; i < MG_COUNT_OF(wanted); i++)
        check_splits(w.snapshot, 1, wanted[i], 0);
}

/* Of one part with nothing beside it: cut between row groups, when these make fair shares. */
static void test_splits_between_row_groups(void **state)
{
    struct mg_schema *schema = kit_schema(2, 3, "d", "even", "1 a int64 key; 2 b int32");
    struct mg_type types[2] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}};
    struct mg_batch_builder builder;
    uint32_t row_count = 10 * MG_BLOCK_ROWS;
    struct mg_batch *batch;

    kit_create(w.engine, schema);
    w.watermark += 10;
    must(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX / 2, err));
    for (uint32_t row = 0; row < row_count; row++) {
        must(mg_builder_int(&builder, 0, (int64_t)(row / 5000 * 1000000 + row), err));
        must(mg_builder_int(&builder, 1, row % 7, err));
    }
    must(mg_batch_builder_finish(&builder, row_count, &batch, err));
    mg_batch_builder_clear(&builder);
    uint8_t *ops = calloc(row_count, 1);
    assert_non_null(ops);
    struct mg_epoch *epoch = kit_begin(w.engine);
    struct mg_changes changes = {.table_id = 2, .schema_version = 3, .rows = batch, .ops = ops};
    must(magic->put(epoch, &changes, err));
    kit_publish(epoch, ++w.watermark);
    mg_batch_unref(batch);
    free(ops);
    must(magic->checkpoint(w.engine, true, err));
    struct mg_snapshot *snapshot = kit_snapshot(w.engine);
    check_splits(snapshot, 2, 2, MG_BLOCK_ROWS);
    check_splits(snapshot, 2, 5, MG_BLOCK_ROWS);
    check_splits(snapshot, 2, 10, MG_BLOCK_ROWS);
    check_splits(snapshot, 2, 3, 0);
    check_splits(snapshot, 2, 300, 0);
    magic->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

/* ---- what is read of a part ---------------------------------------------------------------------------------- */

static struct mg_scan_work work; /* of blocks_for */

/* Rows of column c where b is `wanted`, and how many blocks were fetched for it. */
static uint64_t blocks_for(struct mg_snapshot *snapshot, const struct mg_schema *schema, int64_t wanted, uint64_t rows)
{
    struct mg_value v = {.type = schema->columns[1].type, .i = wanted};
    uint64_t before = kit_status(w.engine, "cache_misses"), count = 0;
    uint32_t place = 2;
    struct mg_arena arena;
    struct mg_predicate *predicate;
    struct mg_batch *batch;
    struct mg_scan *scan;

    mg_arena_init(&arena, 1 << 20);
    struct mg_expr *args[] = {mg_expr_column(&arena, mg_slice_text("b")), mg_expr_literal(&arena, &v)};
    must(mg_predicate_bind(mg_expr_call(&arena, MG_EXPR_EQ, args, 2), schema, &predicate, err));
    struct mg_scan_spec spec = {
        .table_id = schema->table_id, .columns = &place, .column_count = 1, .predicate = predicate, .work = &work};
    work = (struct mg_scan_work){0};
    must(magic->scan(snapshot, &spec, &scan, err));
    for (;;) {
        must(magic->next(scan, &batch, err));
        if (!batch)
            break;
        count += batch->row_count;
        mg_batch_unref(batch);
    }
    magic->scan_close(scan);
    assert_int_equal(count, rows);
    mg_predicate_free(predicate);
    mg_arena_clear(&arena);
    return kit_status(w.engine, "cache_misses") - before;
}

/* row_count rows whose b is row % 51 * 2, but for one, which is 51. */
static void put_even_rows(const struct mg_schema *schema, uint32_t row_count, uint32_t odd)
{
    struct mg_type types[3] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}, {.id = MG_TYPE_INT64}};
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    must(mg_batch_builder_init(&builder, types, 3, NULL, SIZE_MAX / 2, err));
    for (uint32_t row = 0; row < row_count; row++) {
        must(mg_builder_int(&builder, 0, row, err));
        must(mg_builder_int(&builder, 1, row == odd ? 51 : row % 51 * 2, err));
        must(mg_builder_int(&builder, 2, (int64_t)mg_hash_u64(row), err));
    }
    must(mg_batch_builder_finish(&builder, row_count, &batch, err));
    mg_batch_builder_clear(&builder);
    uint8_t *ops = calloc(row_count, 1);
    assert_non_null(ops);
    struct mg_epoch *epoch = kit_begin(w.engine);
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = batch, .ops = ops};
    must(magic->put(epoch, &changes, err));
    kit_publish(epoch, ++w.watermark);
    mg_batch_unref(batch);
    free(ops);
}

/* Blocks of a column that only goes out are fetched where rows are left; no block where zones tell enough. */
static void test_blocks_fetched(void **state)
{
    struct mg_schema *schema = kit_schema(3, 4, "d", "three", "1 a int64 key; 2 b int32; 3 c int64");

    kit_create(w.engine, schema);
    w.watermark += 10;
    put_even_rows(schema, 3 * MG_BLOCK_ROWS, MG_BLOCK_ROWS + 777);
    must(magic->checkpoint(w.engine, true, err));
    struct mg_snapshot *snapshot = kit_snapshot(w.engine);
    assert_int_equal(blocks_for(snapshot, schema, 1000, 0), 0); /* above every row group's highest */
    assert_int_equal(work.blocks_skipped, 3);
    assert_int_equal(work.blocks_read, 0);
    assert_int_equal(blocks_for(snapshot, schema, 53, 0), 3); /* b of each */
    assert_int_equal(blocks_for(snapshot, schema, 51, 1), 1); /* c where the row is */
    assert_int_equal(work.blocks_skipped, 0);
    assert_int_equal(work.blocks_read, 3);
    magic->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

/* A column of a chunk in memory is encoded when it is tested for the second time, once, and the memory is counted. */
static void test_images(void **state)
{
    enum { CHUNKS = 3, CHUNK = 8192 };
    struct mg_schema *schema = kit_schema(4, 5, "d", "four", "1 a int64 key; 2 b int32; 3 c int64");

    kit_create(w.engine, schema);
    w.watermark += 10;
    put_even_rows(schema, CHUNKS * CHUNK + 100, CHUNK + 777);
    struct mg_snapshot *snapshot = kit_snapshot(w.engine);
    size_t plain = mg_budget_used(&w.budget);
    assert_int_equal(blocks_for(snapshot, schema, 51, 1), 0);
    assert_int_equal(mg_budget_used(&w.budget), plain);
    assert_int_equal(blocks_for(snapshot, schema, 51, 1), 0);
    size_t imaged = mg_budget_used(&w.budget);
    assert_in_range(imaged - plain, CHUNKS * CHUNK * 6 / 8, CHUNKS * CHUNK * sizeof(int32_t) / 2);
    assert_int_equal(blocks_for(snapshot, schema, 51, 1), 0);
    assert_int_equal(blocks_for(snapshot, schema, 53, 0), 0);
    assert_int_equal(work.blocks_read, CHUNKS + 1);
    assert_int_equal(mg_budget_used(&w.budget), imaged);
    assert_int_equal(blocks_for(snapshot, schema, 1000, 0), 0); /* the last chunk is open, and has no zones yet */
    assert_int_equal(work.blocks_skipped, CHUNKS);
    assert_int_equal(work.blocks_read, 1);
    magic->snapshot_unref(snapshot);
    mg_schema_unref(schema);
}

/* ---- ends before the end ------------------------------------------------------------------------------------- */

static _Atomic uint32_t asked;

static bool lose_interest(const void *arg) { return atomic_fetch_add(&asked, 1) >= *(const uint32_t *)arg; }

/* How many threads ask, in one round. */
static _Atomic uint32_t asker_count;
static uint32_t asker_round;

static bool note_thread(const void *arg)
{
    static _Thread_local uint32_t noted;

    if (noted != asker_round)
        atomic_fetch_add(&asker_count, 1);
    noted = asker_round;
    return false;
}

static void test_threads_help(void **state)
{
    struct mg_arena arena;
    struct mg_aggregate *aggregate;
    struct mg_aggregate_call call = {.function = MG_AGGREGATE_COUNT_ALL};
    struct mg_aggregate_request request = {.calls = &call, .call_count = 1};
    struct mg_batch *batch;

    mg_arena_init(&arena, 1 << 20);
    must(mg_aggregate_bind(&request, w.wider, &aggregate, err));
    for (uint32_t threads = 0; threads < 4; threads++) {
        struct mg_scan *scan = open_scan(
            (struct mg_scan_spec){.aggregate = aggregate, .threads = threads, .is_cancelled = note_thread});
        asker_round++;
        atomic_store(&asker_count, 0);
        must(magic->next(scan, &batch, err));
        assert_int_equal(asker_count, MG_MAX(threads, 1U));
        mg_batch_unref(batch);
        magic->scan_close(scan);
    }
    mg_aggregate_free(aggregate);
    mg_arena_clear(&arena);
}

/* All threads of a scan stop when one must. */
static void test_stopping(void **state)
{
    struct mg_arena arena;
    struct mg_aggregate *aggregate;
    const struct mg_expr *group;
    struct mg_aggregate_call call = {.function = MG_AGGREGATE_COUNT_ALL};
    struct mg_aggregate_request request = {.groups = &group, .group_count = 1, .calls = &call, .call_count = 1};
    struct mg_budget small;
    struct mg_batch *batch;
    struct mg_scan *scan;
    struct mg_error error;

    mg_arena_init(&arena, 1 << 20);
    group = column_of(&arena, 0);
    must(mg_aggregate_bind(&request, w.wider, &aggregate, err));
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t left = round / 4 % 4;
        mg_budget_init(&small, "small", NULL, (size_t)(round + 1) << 16);
        struct mg_scan_spec spec = {.table_id = 1, .aggregate = aggregate, .threads = round % 4};
        if (round % 2)
            spec.is_cancelled = lose_interest, spec.cancel_arg = &left;
        else
            spec.budget = &small;
        atomic_store(&asked, 0);
        enum mg_code code = magic->scan(w.snapshot, &spec, &scan, &error);
        if (code == MG_OK) {
            code = magic->next(scan, &batch, &error);
            assert_int_equal(magic->next(scan, &batch, &error) == MG_OK, code == MG_OK);
            magic->scan_close(scan);
        }
        assert_int_equal(code, round % 2 ? MG_CANCELLED : MG_NO_MEMORY);
        assert_int_equal(mg_budget_used(&small), 0);
    }
    mg_aggregate_free(aggregate);
    mg_arena_clear(&arena);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_aggregates),
                                       cmocka_unit_test(test_first_rows),
                                       cmocka_unit_test(test_stopping),
                                       cmocka_unit_test(test_threads_help),
                                       cmocka_unit_test(test_splits),
                                       cmocka_unit_test(test_splits_between_row_groups),
                                       cmocka_unit_test(test_blocks_fetched),
                                       cmocka_unit_test(test_images)};

    only_case = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
