/* engine_model.c -- random histories, run on the magic engine and on the model engine, which must agree on every
 * snapshot.
 *
 *   engine_model [--seeds N] [--seed FIRST] [--ops I,J,...] [--steps N] [--verbose]
 *
 * A history is a list of steps made from a seed: tables of random keys and types, schema changes, epochs (published,
 * aborted, of a watermark alone), snapshots kept and dropped, checkpoints, compactions asked for and cancelled,
 * restarts, power cuts in the middle of a publish, and in some seeds a memory limit that refuses epochs anywhere. After
 * and between them snapshots are compared: rows, filtered rows, ranges of keys, splits, schemas, watermarks, positions,
 * old epochs. The disk is base/io_fault.h's, in memory. Each seed runs in a child process, so that a crash is a failure
 * like any other. A failing history is made smaller by leaving out steps while it still fails; what is printed replays
 * it. Why a step left out does not disturb the others: each step draws from a seed of its own, and looks at the state
 * it finds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/io_fault.h"
#include "base/random.h"
#include "base/stop.h"
#include "engine/engine.h"

enum {
    STEPS_DEFAULT = 60,
    STEPS_MAX = 4096,
    TABLES_MAX = 6,
    KEYS_MAX = 20000,
    PINS_MAX = 8,
    CHECKPOINTS_KEPT = 2,
    COLUMNS_MAX = 12,
    BATCH_ROWS_MAX = 12000,
    MIDDLE_MAX = 6, /* epochs within one checkpoint: tiny segments make thousands of parts, and each epoch makes more */
    REASON_MAX = 1024,
};

/* A table as the history knows it. */
struct table {
    uint64_t id;
    struct mg_schema *schema; /* a reference to the newest */
    char name[32];
    uint32_t key_space; /* keys are made from 0 to key_space - 1 */
    int64_t next_column_id;
    bool is_ok;
    uint8_t *exists, *staged; /* by key: what the source would know */
};

struct pin {
    struct mg_snapshot *magic, *model;
};

struct history {
    struct mg_random random; /* of the step */
    struct mg_io_fault *disk;
    struct mg_budget budget; /* of magic */
    struct mg_budget readers;
    size_t limit_bytes;
    uint64_t wal_segment_bytes, segment_bytes, part_rows_max, stage_bytes, sealed_bytes;
    uint64_t checkpoints[CHECKPOINTS_KEPT]; /* epochs of the last ones: what comes after the first can be opened */
    struct mg_engine *magic, *model;
    struct table tables[TABLES_MAX];
    uint32_t table_count;
    uint64_t next_version, next_table_id, watermark;
    struct pin pins[PINS_MAX];
    uint32_t pin_count;
    uint64_t model_failed; /* the model's verify_failed when magic was opened */
    uint64_t compaction;   /* the last one that was asked for */
    bool faults_planned;
    uint32_t middle_left;       /* of MIDDLE_MAX */
    struct mg_aggregate *whole; /* of a partial one: how its results are put together; NULL: there is none */
    bool verbose;
};

/* ---- failing ------------------------------------------------------------------------------------------------- */

static int reason_fd = -1;

/* Say why, to the parent too, and end the child. */
static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void fail(const char *format, ...)
{
    char text[REASON_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fflush(stdout);
    if (reason_fd >= 0)
        (void)!write(reason_fd, text, strlen(text));
    else
        fprintf(stderr, "%s\n", text);
    _exit(1);
}

#define must(call)                                                             \
    do {                                                                       \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;            \
        enum mg_code must_code = (call);                                       \
        if (must_code != MG_OK)                                                \
            fail("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

#define must_equal(what, a, b)                                                                      \
    do {                                                                                            \
        unsigned long long equal_a = (a), equal_b = (b);                                            \
        if (equal_a != equal_b)                                                                     \
            fail("line %d: %s: magic says %llu, the model %llu", __LINE__, what, equal_a, equal_b); \
    } while (0)

static uint64_t below(struct history *h, uint64_t bound) { return mg_random_below(&h->random, bound); }

static bool chance(struct history *h, unsigned percent) { return below(h, 100) < percent; }

/* ---- values -------------------------------------------------------------------------------------------------- */

static struct mg_type random_type(struct history *h)
{
    struct mg_type type = {.id = (enum mg_type_id)(1 + below(h, MG_TYPE_COUNT - 1))};
    if (type.id == MG_TYPE_DECIMAL) {
        type.precision = (uint8_t)(1 + below(h, 38));
        type.scale = (uint8_t)below(h, type.precision + 1u);
    }
    if (type.id == MG_TYPE_DATETIME || type.id == MG_TYPE_TIMESTAMP)
        type.precision = (uint8_t)below(h, 7);
    if (type.id == MG_TYPE_UTF8 && chance(h, 50))
        type.collation = MG_COLLATION_PAD_SPACE;
    return type;
}

/* How many different keys a column of the type can make. */
static uint32_t key_room(struct mg_type type)
{
    switch (type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_UINT8: return 200;
    case MG_TYPE_DECIMAL: return type.precision < 4 ? 9 : 9000;
    default: return KEYS_MAX;
    }
}

/* Text that a key may be, in one of its spellings. */
static struct mg_slice key_text(struct history *h, struct mg_type type, uint32_t n, char *to, size_t room)
{
    int size = snprintf(to, room, n % 5 == 0 ? "%u" : "key %08u of some length", n);
    size_t blanks = type.collation == MG_COLLATION_PAD_SPACE ? below(h, 4) : 0;
    memset(to + size, ' ', blanks);
    if (n == 7)
        to[0] = 0; /* a zero byte */
    return MG_SLICE(to, (size_t)size + blanks);
}

/* The n-th key value of a type: different n, different keys. */
static struct mg_value key_value(struct history *h, struct mg_type type, uint32_t n, char *to, size_t room)
{
    struct mg_value v = {.type = type};
    switch (type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64:
        v.f = n == 0 ? (chance(h, 50) ? -0.0 : 0.0) : n == 1 ? __builtin_nan("") : ((double)n - 100) * 0.5;
        if (n == 100)
            v.f = 1e9;
        break;
    case MG_TYPE_DECIMAL: v.d = (mg_int128)n - key_room(type) / 2; break;
    case MG_TYPE_UTF8: v.text = key_text(h, type, n, to, room); break;
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: v.u = type.id == MG_TYPE_UINT64 && n % 3 == 0 ? UINT64_MAX - n : n; break;
    case MG_TYPE_INT64: v.i = n % 7 == 3 ? INT64_MIN + n : (int64_t)n - 50; break;
    default: v.i = (int64_t)n - 50; break;
    }
    return v;
}

static struct mg_value random_value(struct history *h, struct mg_type type, bool nullable, char *to, size_t room)
{
    struct mg_value v = {.type = type};
    if (nullable && chance(h, 20)) {
        v.is_null = true;
        return v;
    }
    uint64_t n = chance(h, 70) ? below(h, 40) : mg_random_u64(&h->random);
    switch (type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64:
        v.f = n % 17 == 0 ? __builtin_nan("") : n % 13 == 0 ? -0.0 : (double)(int64_t)(n % 1000) / 8 - 20;
        break;
    case MG_TYPE_DECIMAL:
        v.d = (mg_int128)(n % (type.precision > 3 ? 10000 : 10)) * (n & 64 ? -1 : 1);
        if (type.precision <= 3)
            v.d = n % 10;
        else if (type.precision == 4)
            v.d = n % 10000;
        break;
    case MG_TYPE_UTF8: {
        size_t size = n % 50 == 0 ? MG_MIN(room, 2000) : n % 23;
        for (size_t i = 0; i < size; i++)
            to[i] = "abc xyz"[below(h, 7)];
        v.text = MG_SLICE(to, size);
        break;
    }
    case MG_TYPE_UINT8: v.u = (uint8_t)n; break;
    case MG_TYPE_UINT16: v.u = (uint16_t)n; break;
    case MG_TYPE_UINT32: v.u = (uint32_t)n; break;
    case MG_TYPE_UINT64: v.u = n; break;
    case MG_TYPE_INT8: v.i = (int8_t)n; break;
    case MG_TYPE_INT16: v.i = (int16_t)n; break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: v.i = (int32_t)n; break;
    default: v.i = (int64_t)n; break;
    }
    return v;
}

static void append_value(struct mg_batch_builder *builder, uint32_t column, const struct mg_value *v)
{
    if (v->is_null)
        must(mg_builder_null(builder, column, err));
    else
        must(mg_builder_value(builder, column, v, err));
}

/* ---- engines ------------------------------------------------------------------------------------------------- */

static enum mg_code try_open(struct history *h, size_t limit_bytes, struct mg_error *err)
{
    mg_budget_init(&h->budget, "magic", NULL, limit_bytes);
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(h->disk),
                                        .budget = &h->budget,
                                        .wal_segment_bytes = h->wal_segment_bytes,
                                        .segment_bytes = h->segment_bytes,
                                        .part_rows_max = h->part_rows_max,
                                        .stage_bytes = h->stage_bytes,
                                        .sealed_bytes = h->sealed_bytes,
                                        .maintain_by_hand = true};
    return mg_engine_magic.open(&options, &h->magic, err);
}

static uint64_t failed_of(struct mg_engine *engine);
static uint64_t status_of(struct mg_engine *engine, const char *name);

static void open_magic(struct history *h)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = try_open(h, h->limit_bytes, &err);
    if (code == MG_NO_MEMORY) /* a store may take more room than it had left */
        code = try_open(h, SIZE_MAX, &err);
    if (code != MG_OK)
        fail("magic could not be opened: %s: %s", mg_code_name(code), err.text);
    h->model_failed = failed_of(h->model);
}

static void drop_pins(struct history *h)
{
    while (h->pin_count) {
        struct pin *pin = &h->pins[--h->pin_count];
        mg_engine_magic.snapshot_unref(pin->magic);
        mg_engine_model.snapshot_unref(pin->model);
    }
}

static void close_magic(struct history *h)
{
    drop_pins(h);
    if (h->verbose)
        printf("  sealed %llu bytes\n", (unsigned long long)status_of(h->magic, "sealed_total_bytes"));
    mg_engine_magic.close(h->magic);
    must_equal("memory that is still reserved after close", mg_budget_used(&h->budget), 0);
}

struct wanted_status {
    const char *name;
    uint64_t value;
};

static enum mg_code note_status(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct wanted_status *wanted = arg;
    if (strcmp(name, wanted->name) == 0)
        wanted->value = strtoull(value, NULL, 10);
    return MG_OK;
}

static uint64_t status_of(struct mg_engine *engine, const char *name)
{
    struct wanted_status wanted = {.name = name};
    must(engine->ops->status(engine, note_status, &wanted, err));
    return wanted.value;
}

static uint64_t failed_of(struct mg_engine *engine) { return status_of(engine, "verify_failed"); }

/* ---- comparing ----------------------------------------------------------------------------------------------- */

/* Rows as a multiset: order does not count, how often does. */
struct digest {
    uint64_t count, sum, xor;
};

static void digest_row(struct digest *digest, const struct mg_batch *batch, uint32_t row)
{
    uint64_t hash = batch->column_count;
    for (uint32_t c = 0; c < batch->column_count; c++) {
        struct mg_value v = mg_vector_value(&batch->vectors[c], row);
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
    digest->xor ^= hash;
}

/* Partial results, as who asked for them puts them together: a group may have come more than once. */
static void digest_merged(struct history *h, struct mg_aggregation *merged, struct digest *digest)
{
    struct mg_batch *batch;
    while (digest->count != UINT64_MAX) {
        enum mg_code code = mg_aggregation_next(merged, 1000, &batch, NULL);
        if (code == MG_OUT_OF_RANGE) {
            *digest = (struct digest){.count = UINT64_MAX};
            return;
        }
        if (code != MG_OK)
            fail("partial results cannot be put together: %s", mg_code_name(code));
        if (!batch)
            return;
        for (uint32_t row = 0; row < batch->row_count; row++)
            digest_row(digest, batch, row);
        mg_batch_unref(batch);
    }
}

static struct digest scan(struct history *h, struct mg_snapshot *snapshot, struct mg_scan_spec spec)
{
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    struct digest digest = {0};
    struct mg_scan *scan;
    struct mg_aggregation *merged = NULL;
    spec.budget = &h->readers;
    if (spec.aggregate && h->whole)
        must(mg_aggregation_new(h->whole, &h->readers, 0, &merged, err));
    must(ops->scan(snapshot, &spec, &scan, err));
    for (;;) {
        struct mg_batch *batch;
        struct mg_error error = MG_ERROR_INIT;
        enum mg_code code = ops->next(scan, &batch, &error);
        if (code == MG_OUT_OF_RANGE && spec.aggregate) {
            digest = (struct digest){.count = UINT64_MAX}; /* of both, or of none */
            break;
        }
        if (code != MG_OK)
            fail("next: %s: %s", mg_code_name(code), error.text);
        if (!batch)
            break;
        must(mg_batch_check(batch, err));
        if (batch->row_count == 0 || (spec.batch_rows_max && batch->row_count > spec.batch_rows_max))
            fail("a batch of %u rows", batch->row_count);
        enum mg_code taken = merged ? mg_aggregation_merge(merged, batch, &error) : MG_OK;
        if (taken == MG_OUT_OF_RANGE)
            digest.count = UINT64_MAX;
        else if (taken != MG_OK)
            fail("merge: %s: %s", mg_code_name(taken), error.text);
        for (uint32_t row = 0; !merged && row < batch->row_count; row++) {
            digest_row(&digest, batch, row);
            if (spec.order_count) /* each row after the one before */
                digest.sum = mg_hash_u64(digest.sum + digest.xor);
        }
        mg_batch_unref(batch);
        if (taken == MG_OUT_OF_RANGE)
            break;
    }
    if (merged)
        digest_merged(h, merged, &digest);
    mg_aggregation_free(merged);
    ops->scan_close(scan);
    return digest;
}

static void must_be_same(const char *what, struct digest magic, struct digest model)
{
    if (magic.count != model.count || magic.sum != model.sum || magic.xor != model.xor)
        fail("%s: magic gives %llu rows, the model %llu%s", what, (unsigned long long)magic.count,
             (unsigned long long)model.count, magic.count == model.count ? ", others" : "");
}

static struct mg_expr *random_comparison(struct history *h, const struct mg_schema *schema, struct mg_arena *arena)
{
    const struct mg_column *column = &schema->columns[below(h, schema->column_count)];
    char text[2][2000];
    struct mg_expr *args[3] = {mg_expr_column(arena, mg_slice_text(column->name))};
    static const enum mg_expr_op ops[] = {MG_EXPR_EQ,      MG_EXPR_NE,         MG_EXPR_LT, MG_EXPR_LE,
                                          MG_EXPR_GT,      MG_EXPR_GE,         MG_EXPR_IN, MG_EXPR_BETWEEN,
                                          MG_EXPR_IS_NULL, MG_EXPR_IS_NOT_NULL};
    enum mg_expr_op op = ops[below(h, MG_COUNT_OF(ops))];
    uint32_t count = op == MG_EXPR_IS_NULL || op == MG_EXPR_IS_NOT_NULL ? 1
                     : op == MG_EXPR_IN || op == MG_EXPR_BETWEEN        ? 3
                                                                        : 2;
    for (uint32_t i = 1; i < count; i++) {
        struct mg_value v = chance(h, 40) ? key_value(h, column->type, (uint32_t)below(h, 200), text[i - 1], 2000)
                                          : random_value(h, column->type, false, text[i - 1], 2000);
        args[i] = mg_expr_literal(arena, &v);
    }
    struct mg_expr *call = mg_expr_call(arena, op, args, count);
    call->pad_space = column->type.collation == MG_COLLATION_PAD_SPACE && chance(h, 70);
    return call;
}

static struct mg_expr *random_expr(struct history *h, const struct mg_schema *schema, struct mg_arena *arena)
{
    struct mg_expr *args[2] = {random_comparison(h, schema, arena), random_comparison(h, schema, arena)};
    switch (below(h, 4)) {
    case 0: return mg_expr_call(arena, MG_EXPR_AND, args, 2);
    case 1: return mg_expr_call(arena, MG_EXPR_OR, args, 2);
    case 2: return mg_expr_call(arena, MG_EXPR_NOT, args, 1);
    default: return args[0];
    }
}

/* Ask both for the same thing of one table. */
static struct digest compare_scan(struct history *h, const char *what, const struct pin *pin,
                                  const struct mg_schema *schema, const struct mg_expr *expr, struct mg_scan_spec spec)
{
    struct mg_predicate *predicate = NULL;
    if (expr)
        must(mg_predicate_bind(expr, schema, &predicate, err));
    spec.predicate = predicate;
    struct digest magic = scan(h, pin->magic, spec), model = scan(h, pin->model, spec);
    char text[160];
    snprintf(text, sizeof text, "%s of %s at epoch %llu", what, schema->table,
             (unsigned long long)mg_engine_magic.snapshot_epoch(pin->magic));
    must_be_same(text, magic, model);
    mg_predicate_free(predicate);
    return magic;
}

static struct mg_key_range random_range(struct history *h, const struct mg_schema *schema, struct mg_buffer bounds[2])
{
    struct mg_slice ends[2];
    for (int i = 0; i < 2; i++) {
        struct mg_value values[MG_KEY_COLUMNS_MAX];
        char text[MG_KEY_COLUMNS_MAX][64];
        uint32_t count = 1 + (uint32_t)below(h, schema->key_count);
        for (uint32_t k = 0; k < count; k++)
            values[k] = key_value(h, schema->columns[schema->key_columns[k]].type, (uint32_t)below(h, 300), text[k],
                                  64);
        must(mg_key_encode_values(values, count, &bounds[i], err));
        ends[i] = mg_buffer_slice(&bounds[i]);
        if (chance(h, 20))
            ends[i].size = below(h, ends[i].size + 1); /* any prefix is a bound, too */
    }
    if (ends[0].size && ends[1].size && mg_slice_compare(ends[0], ends[1]) > 0)
        return (struct mg_key_range){.low = ends[1], .high = ends[0]};
    return (struct mg_key_range){.low = ends[0], .high = ends[1]};
}

static void compare_splits(struct history *h, const struct pin *pin, const struct mg_schema *schema,
                           struct mg_scan_spec spec, struct digest whole, struct mg_arena *arena)
{
    struct mg_key_range *ranges;
    uint32_t count;
    struct digest sum = {0};
    must(mg_engine_magic.plan_splits(pin->magic, schema->table_id, 1 + (uint32_t)below(h, 9), chance(h, 50), arena,
                                     &ranges, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        if (i && !mg_slice_equal(ranges[i - 1].high, ranges[i].low))
            fail("split %u of %s does not begin where the one before ends", i, schema->table);
        spec.range = ranges[i];
        struct digest part = compare_scan(h, "a split", pin, schema, NULL, spec);
        sum.count += part.count;
        sum.sum += part.sum;
        sum.xor ^= part.xor ;
    }
    must_be_same("all splits together", sum, whole);
}

static struct mg_expr *random_column(struct history *h, const struct mg_schema *schema, struct mg_arena *arena,
                                     struct mg_type *out_type)
{
    const struct mg_column *column = &schema->columns[below(h, schema->column_count)];
    *out_type = column->type;
    return mg_expr_column(arena, mg_slice_text(column->name));
}

/* Sums of exact numbers whose total cannot pass 38 digits on the way, which would depend on the order. */
static bool has_sum(struct mg_type type)
{
    return (type.id >= MG_TYPE_INT8 && type.id <= MG_TYPE_UINT64) ||
           (type.id == MG_TYPE_DECIMAL && type.precision <= 30);
}

static void compare_aggregate(struct history *h, const struct pin *pin, const struct mg_schema *schema,
                              struct mg_scan_spec spec, uint32_t groups_max, struct mg_arena *arena)
{
    const struct mg_expr *groups[3];
    struct mg_aggregate_call calls[5];
    struct mg_aggregate *aggregate;
    struct mg_type type;
    struct mg_aggregate_request request = {.rules = chance(h, 50) ? MG_RULES_SPARK : MG_RULES_MYSQL,
                                           .is_partial = chance(h, 50),
                                           .groups = groups,
                                           .group_count = (uint32_t)below(h, groups_max + 1),
                                           .calls = calls,
                                           .call_count = 1 + (uint32_t)below(h, 5)};
    for (uint32_t i = 0; i < request.group_count; i++)
        groups[i] = random_column(h, schema, arena, &type);
    for (uint32_t i = 0; i < request.call_count; i++) {
        calls[i].argument = random_column(h, schema, arena, &type);
        calls[i].function = has_sum(type) && chance(h, 60) ? (chance(h, 50) ? MG_AGGREGATE_SUM : MG_AGGREGATE_AVG)
                            : chance(h, 50)                ? (chance(h, 50) ? MG_AGGREGATE_MIN : MG_AGGREGATE_MAX)
                                                           : MG_AGGREGATE_COUNT;
        if (chance(h, 15))
            calls[i] = (struct mg_aggregate_call){.function = MG_AGGREGATE_COUNT_ALL};
    }
    must(mg_aggregate_bind(&request, schema, &aggregate, err));
    spec.column_count = 0;
    spec.limit = 0;
    spec.aggregate = aggregate;
    spec.threads = (uint32_t)below(h, 4);
    if (request.is_partial) {
        request.is_partial = false;
        must(mg_aggregate_bind(&request, schema, &h->whole, err));
    }
    compare_scan(h, "an aggregate", pin, schema, chance(h, 50) ? random_expr(h, schema, arena) : NULL, spec);
    mg_aggregate_free(h->whole);
    h->whole = NULL;
    mg_aggregate_free(aggregate);
}

/* In an order that ends with the key, so that the first rows are the same ones. */
static void compare_order(struct history *h, const struct pin *pin, const struct mg_schema *schema,
                          struct mg_scan_spec spec, struct mg_arena *arena)
{
    struct mg_top_order order[MG_TOP_ORDER_MAX];
    uint32_t count = (uint32_t)below(h, 3);
    for (uint32_t i = 0; i < count; i++)
        order[i].column = (uint32_t)below(h, schema->column_count);
    for (uint32_t k = 0; k < schema->key_count && count < MG_TOP_ORDER_MAX; k++)
        order[count++].column = schema->key_columns[k];
    for (uint32_t i = 0; i < count; i++) {
        order[i].is_descending = chance(h, 50);
        order[i].nulls_last = chance(h, 50);
        order[i].is_bytewise = chance(h, 30);
    }
    spec.order = order;
    spec.order_count = count;
    spec.limit = 1 + below(h, chance(h, 50) ? 10 : 20000);
    compare_scan(h, "the first rows", pin, schema, chance(h, 50) ? random_expr(h, schema, arena) : NULL, spec);
}

static void compare_table(struct history *h, const struct pin *pin, const struct mg_schema *schema, bool thorough)
{
    uint32_t columns[COLUMNS_MAX * 2];
    struct mg_table_stats magic, model;
    must(mg_engine_magic.stats(pin->magic, schema->table_id, &magic, err));
    must(mg_engine_model.stats(pin->model, schema->table_id, &model, err));
    must_equal("row_count of stats", magic.row_count, model.row_count);
    struct mg_scan_spec spec = {.table_id = schema->table_id, .columns = columns};
    if (schema->state != MG_STATE_OK)
        return;
    for (; spec.column_count < schema->column_count; spec.column_count++)
        columns[spec.column_count] = spec.column_count;
    struct digest whole = compare_scan(h, "all rows", pin, schema, NULL, spec);
    must_equal("rows of a scan", whole.count, magic.row_count);
    if (!thorough)
        return;
    struct mg_arena arena;
    struct mg_buffer bounds[2];
    mg_arena_init(&arena, 16 << 20);
    mg_buffer_init(&bounds[0], 1 << 20);
    mg_buffer_init(&bounds[1], 1 << 20);
    compare_splits(h, pin, schema, spec, whole, &arena);
    /* no groups where the oracle, which looks every key up in a list, would take long */
    compare_aggregate(h, pin, schema, spec, whole.count < 500 ? 3 : 0, &arena);
    compare_order(h, pin, schema, spec, &arena);
    for (int i = 0; i < 3; i++) {
        spec.column_count = (uint32_t)below(h, schema->column_count + 2u);
        for (uint32_t c = 0; c < spec.column_count; c++)
            columns[c] = (uint32_t)below(h, schema->column_count);
        spec.batch_rows_max = chance(h, 50) ? 0 : 1 + (uint32_t)below(h, chance(h, 50) ? 20 : 9000);
        compare_scan(h, "filtered rows", pin, schema, random_expr(h, schema, &arena), spec);
        spec.range = random_range(h, schema, bounds);
        compare_scan(h, "a range", pin, schema, chance(h, 50) ? random_expr(h, schema, &arena) : NULL, spec);
        spec.limit = 1 + below(h, 30);
        spec.column_count = 0;
        spec.range = (struct mg_key_range){0};
        compare_scan(h, "limited rows", pin, schema, NULL, spec);
        spec.limit = 0;
        mg_buffer_reset(&bounds[0]);
        mg_buffer_reset(&bounds[1]);
    }
    mg_buffer_clear(&bounds[0]);
    mg_buffer_clear(&bounds[1]);
    mg_arena_clear(&arena);
}

static enum mg_code note_schema(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    return mg_schema_encode(schema, arg, err);
}

static enum mg_code note_database(void *arg, const char *name, struct mg_error *err)
{
    return mg_buffer_append_bytes(arg, mg_slice_text(name), err);
}

/* The earliest epoch that can be opened. */
static uint64_t earliest_of(struct history *h)
{
    struct wanted_status wanted = {.name = "earliest_epoch"};
    must(mg_engine_magic.status(h->magic, note_status, &wanted, err));
    return wanted.value;
}

static bool same_position(const struct mg_source_position *a, const struct mg_source_position *b)
{
    return strcmp(a->source, b->source) == 0 && a->watermark == b->watermark && a->generation == b->generation &&
           a->epoch == b->epoch && a->position_size == b->position_size &&
           memcmp(a->position, b->position, a->position_size) == 0;
}

static void compare_catalogs(const struct pin *pin)
{
    struct mg_buffer texts[2];
    struct mg_snapshot *snapshots[2] = {pin->magic, pin->model};
    struct mg_source_position marks[2][MG_SOURCES_MAX];
    uint32_t counts[2];
    for (int i = 0; i < 2; i++) {
        const struct mg_engine_ops *ops = snapshots[i]->engine->ops;
        mg_buffer_init(&texts[i], 16 << 20);
        must(ops->list_databases(snapshots[i], note_database, &texts[i], err));
        must(ops->list_tables(snapshots[i], note_schema, &texts[i], err));
        counts[i] = ops->snapshot_watermarks(snapshots[i], marks[i], MG_SOURCES_MAX);
    }
    must_equal("bytes of the catalogue", texts[0].size, texts[1].size);
    if (!mg_slice_equal(mg_buffer_slice(&texts[0]), mg_buffer_slice(&texts[1])))
        fail("the catalogues differ");
    must_equal("sources", counts[0], counts[1]);
    for (uint32_t i = 0; i < counts[0]; i++)
        if (!same_position(&marks[0][i], &marks[1][i]))
            fail("the watermarks of %s and %s differ", marks[0][i].source, marks[1][i].source);
    mg_buffer_clear(&texts[0]);
    mg_buffer_clear(&texts[1]);
}

struct compare_arg {
    struct history *h;
    const struct pin *pin;
    bool thorough;
};

static enum mg_code compare_listed(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    struct compare_arg *compare = arg;
    compare_table(compare->h, compare->pin, schema, compare->thorough);
    return MG_OK;
}

static void compare_snapshots(struct history *h, const struct pin *pin, bool thorough)
{
    struct compare_arg arg = {h, pin, thorough};
    must_equal("epoch of a snapshot", mg_engine_magic.snapshot_epoch(pin->magic),
               mg_engine_model.snapshot_epoch(pin->model));
    compare_catalogs(pin);
    must(mg_engine_model.list_tables(pin->model, compare_listed, &arg, err));
}

static void compare_newest(struct history *h, bool thorough)
{
    struct pin pin;
    must(mg_engine_magic.snapshot(h->magic, &pin.magic, err));
    must(mg_engine_model.snapshot(h->model, &pin.model, err));
    compare_snapshots(h, &pin, thorough);
    mg_engine_magic.snapshot_unref(pin.magic);
    mg_engine_model.snapshot_unref(pin.model);
    must_equal("verify_failed", failed_of(h->magic), failed_of(h->model) - h->model_failed);
}

static uint64_t newest_epoch(struct history *h)
{
    struct mg_snapshot *snapshot;
    must(mg_engine_model.snapshot(h->model, &snapshot, err));
    uint64_t epoch = mg_engine_model.snapshot_epoch(snapshot);
    mg_engine_model.snapshot_unref(snapshot);
    return epoch;
}

static void compare_old(struct history *h, uint64_t epoch, bool thorough)
{
    struct pin pin;
    struct mg_error story = MG_ERROR_INIT;
    enum mg_code code = mg_engine_magic.snapshot_at(h->magic, epoch, &pin.magic, &story);
    if (code == MG_NO_MEMORY && h->limit_bytes != SIZE_MAX)
        return;
    if (code == MG_SNAPSHOT_TOO_OLD && epoch < earliest_of(h) && earliest_of(h) <= h->checkpoints[0])
        return;
    if (code != MG_OK)
        fail("snapshot_at %llu: %s: %s", (unsigned long long)epoch, mg_code_name(code), story.text);
    must(mg_engine_model.snapshot_at(h->model, epoch, &pin.model, err));
    compare_snapshots(h, &pin, thorough);
    mg_engine_magic.snapshot_unref(pin.magic);
    mg_engine_model.snapshot_unref(pin.model);
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

struct both {
    struct mg_epoch *magic, *model;
};

static void after_stop(struct history *h, struct both *epoch, uint64_t number, uint64_t watermark,
                       struct mg_slice position);

static const char *const sources[] = {"tidb", "local"};

/* One of two sources; the watermark is the history's, which only rises. */
static struct both begin(struct history *h)
{
    struct both epoch;
    const char *source = sources[chance(h, 15)];
    must(mg_engine_magic.begin(h->magic, source, 1, &epoch.magic, err));
    must(mg_engine_model.begin(h->model, source, 1, &epoch.model, err));
    return epoch;
}

static void abort_both(struct both *epoch)
{
    mg_engine_magic.abort(epoch->magic);
    mg_engine_model.abort(epoch->model);
}

/* True when the epoch is there. */
static bool publish_both(struct history *h, struct both *epoch)
{
    uint64_t next = newest_epoch(h) + 1, magic_number = 0, model_number = 0;
    uint8_t bytes[64];
    struct mg_slice position = MG_SLICE(bytes, below(h, sizeof bytes));
    h->watermark += below(h, 3);
    memset(bytes, (int)next, sizeof bytes);
    struct mg_error story = MG_ERROR_INIT;
    enum mg_code code = mg_engine_magic.publish(epoch->magic, h->watermark, position, &magic_number, &story);
    bool refused = (code == MG_NO_MEMORY && h->limit_bytes != SIZE_MAX) || (code == MG_IO && h->faults_planned);
    if (refused) { /* before anything was written to the WAL */
        mg_engine_model.abort(epoch->model);
        return false;
    }
    if (code == MG_STOPPED && h->faults_planned) {
        after_stop(h, epoch, next, h->watermark, position);
        return newest_epoch(h) == next;
    }
    if (code != MG_OK)
        fail("publish: %s: %s", mg_code_name(code), story.text);
    must(mg_engine_model.publish(epoch->model, h->watermark, position, &model_number, err));
    must_equal("number of the epoch", magic_number, model_number);
    must(mg_engine_magic.wait(h->magic, magic_number, 0, err));
    return true;
}

/* The writer stopped in the middle of a publish: power is cut and comes back. The epoch is there as a whole, or not at
 * all; the position says which. */
static void after_stop(struct history *h, struct both *epoch, uint64_t number, uint64_t watermark,
                       struct mg_slice position)
{
    struct mg_source_position before[MG_COUNT_OF(sources)], after;
    uint64_t newest = 0;
    for (uint32_t i = 0; i < h->pin_count; i++)
        compare_snapshots(h, &h->pins[i], false); /* readers go on */
    for (size_t i = 0; i < MG_COUNT_OF(sources); i++)
        must(mg_engine_model.position(h->model, sources[i], &before[i], err));
    close_magic(h);
    mg_io_fault_crash(h->disk, chance(h, 50) ? MG_LOSE_ALL : MG_LOSE_SOME);
    h->faults_planned = false;
    open_magic(h);
    for (size_t i = 0; i < MG_COUNT_OF(sources); i++) {
        must(mg_engine_magic.position(h->magic, sources[i], &after, err));
        newest = MG_MAX(newest, after.epoch);
        if (after.epoch != number)
            must_equal("watermark after a power cut", after.watermark, before[i].watermark);
    }
    if (newest == number)
        must(mg_engine_model.publish(epoch->model, watermark, position, NULL, err));
    else if (newest + 1 == number)
        mg_engine_model.abort(epoch->model);
    else
        fail("after a power cut the newest epoch is %llu, not %llu or one less", (unsigned long long)newest,
             (unsigned long long)number);
    h->model_failed = failed_of(h->model);
    compare_newest(h, false);
}

/* ---- steps: schemas ------------------------------------------------------------------------------------------ */

static void add_column(struct history *h, struct mg_schema *schema, int64_t id, struct mg_type type, bool nullable)
{
    struct mg_column *column;
    char text[2000];
    must(mg_schema_add_column(schema, &column, err));
    column->id = id;
    snprintf(text, sizeof text, "c%lld", (long long)id);
    must(mg_schema_text(&column->name, mg_slice_text(text), err));
    column->type = type;
    column->nullable = nullable;
    struct mg_value missing = random_value(h, type, nullable, text, sizeof text);
    if (!missing.is_null)
        must(mg_schema_set_missing(column, &missing, err));
}

static struct mg_schema *new_schema(struct history *h, const struct table *table)
{
    struct mg_schema *schema = mg_schema_new();
    schema->table_id = table->id;
    schema->version = h->next_version++;
    must(mg_schema_text(&schema->database, mg_slice_text("db"), err));
    must(mg_schema_text(&schema->table, mg_slice_text(table->name), err));
    must(mg_schema_text(&schema->source, mg_slice_text("tidb"), err));
    return schema;
}

/* MG_NO_MEMORY when magic has none left: then the epoch is aborted. */
static enum mg_code change_both(struct history *h, struct both *epoch, const struct mg_schema_change *change)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code magic = mg_engine_magic.change_schema(epoch->magic, change, &err);
    if (magic == MG_NO_MEMORY && h->limit_bytes != SIZE_MAX)
        return magic;
    enum mg_code model = mg_engine_model.change_schema(epoch->model, change, NULL);
    if (magic != model)
        fail("change_schema: magic says %s (%s), the model %s", mg_code_name(magic), err.text, mg_code_name(model));
    return magic;
}

static void create_table(struct history *h)
{
    if (h->table_count == TABLES_MAX)
        return;
    struct table table = {.id = h->next_table_id++, .is_ok = true};
    snprintf(table.name, sizeof table.name, "%s%llu", chance(h, 50) ? "T" : "t", (unsigned long long)table.id);
    struct mg_schema *schema = new_schema(h, &table);
    uint32_t keys = 1 + (uint32_t)below(h, 3), values = (uint32_t)below(h, 7);
    if (chance(h, 25)) {
        add_column(h, schema, MG_COLUMN_ROWID, (struct mg_type){.id = MG_TYPE_INT64}, false);
        schema->columns[0].hidden = true;
        schema->key_count = keys = 1;
        table.key_space = KEYS_MAX;
    } else {
        table.key_space = 1;
        for (uint32_t k = 0; k < keys; k++) {
            struct mg_type type = chance(h, 30) ? (struct mg_type){.id = MG_TYPE_INT64} : random_type(h);
            add_column(h, schema, ++table.next_column_id, type, false);
            schema->key_columns[schema->key_count++] = k;
            table.key_space = (uint32_t)MG_MIN((uint64_t)table.key_space * key_room(type), (uint64_t)KEYS_MAX);
        }
    }
    if (chance(h, 60))
        table.key_space = 1 + (uint32_t)below(h, MG_MIN(table.key_space, 300));
    for (uint32_t i = 0; i < values; i++)
        add_column(h, schema, ++table.next_column_id, random_type(h), chance(h, 50));
    must(mg_schema_seal(schema, err));
    struct both epoch = begin(h);
    enum mg_code code = change_both(h, &epoch,
                                    &(struct mg_schema_change){.kind = MG_SCHEMA_CREATE_DATABASE, .database = "db"});
    if (code != MG_NO_MEMORY) /* the database may be there */
        code = change_both(h, &epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = schema});
    if (code != MG_OK && code != MG_NO_MEMORY)
        fail("a table could not be made: %s", mg_code_name(code));
    if (code == MG_NO_MEMORY)
        abort_both(&epoch);
    if (code == MG_NO_MEMORY || !publish_both(h, &epoch)) {
        mg_schema_unref(schema);
        return;
    }
    table.schema = schema;
    table.exists = calloc(table.key_space, 1);
    table.staged = calloc(table.key_space, 1);
    h->tables[h->table_count++] = table;
}

static void drop_table(struct history *h)
{
    if (h->table_count == 0)
        return;
    uint32_t at = (uint32_t)below(h, h->table_count);
    struct both epoch = begin(h);
    enum mg_code code = change_both(
        h, &epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_DROP_TABLE, .table_id = h->tables[at].id});
    if (code != MG_OK || chance(h, 30)) {
        abort_both(&epoch);
        return;
    }
    if (!publish_both(h, &epoch))
        return;
    mg_schema_unref(h->tables[at].schema);
    free(h->tables[at].exists);
    free(h->tables[at].staged);
    h->tables[at] = h->tables[--h->table_count];
}

/* Rename, drop a column, add columns, now and then something that must be refused. */
static void alter_table(struct history *h)
{
    if (h->table_count == 0)
        return;
    struct table *table = &h->tables[below(h, h->table_count)], next = *table;
    struct mg_schema *schema = mg_schema_copy(table->schema);
    schema->version = h->next_version++;
    bool bad = chance(h, 15);
    if (bad && chance(h, 30))
        schema->version = table->schema->version;
    if (chance(h, 30)) {
        snprintf(next.name, sizeof next.name, "r%llu", (unsigned long long)schema->version);
        must(mg_schema_text(&schema->table, mg_slice_text(next.name), err));
    }
    if (schema->column_count > schema->key_count && chance(h, 50)) { /* drop the last column */
        struct mg_column *last = &schema->columns[schema->column_count - 1];
        if (!mg_schema_is_key(schema, schema->column_count - 1)) {
            must(mg_schema_set_missing(last, &(struct mg_value){.is_null = true}, err));
            free(last->name);
            free(last->source_type);
            schema->column_count--;
        }
    }
    while (schema->column_count < COLUMNS_MAX && chance(h, 50))
        add_column(h, schema, ++next.next_column_id, random_type(h), chance(h, 50));
    if (bad && chance(h, 50)) /* an id that may have been dropped, or has another type */
        schema->columns[schema->column_count - 1].id = 1 + (int64_t)below(h, (uint64_t)next.next_column_id + 1);
    struct mg_error err = MG_ERROR_INIT;
    if (mg_schema_seal(schema, &err) != MG_OK) {
        if (!bad)
            fail("a schema could not be sealed: %s", err.text);
        mg_schema_unref(schema);
        return;
    }
    struct both epoch = begin(h);
    enum mg_code code = change_both(h, &epoch,
                                    &(struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = schema});
    if (code != MG_OK && code != MG_NO_MEMORY && !bad)
        fail("a table could not be changed: %s", mg_code_name(code));
    if (code != MG_OK || chance(h, 20)) {
        abort_both(&epoch);
        mg_schema_unref(schema);
        return;
    }
    if (!publish_both(h, &epoch)) {
        mg_schema_unref(schema);
        return;
    }
    for (uint32_t c = 0; c < schema->column_count; c++)
        next.next_column_id = MG_MAX(next.next_column_id, schema->columns[c].id);
    mg_schema_unref(table->schema);
    *table = next;
    table->schema = schema;
}

/* ---- steps: rows --------------------------------------------------------------------------------------------- */

static void append_key(struct history *h, struct mg_batch_builder *builder, const struct mg_schema *schema, uint32_t n)
{
    char text[64];
    for (uint32_t k = 0; k < schema->key_count; k++) {
        struct mg_type type = schema->columns[schema->key_columns[k]].type;
        bool last = k + 1 == schema->key_count;
        uint32_t room = key_room(type), part = last ? n : n % room;
        struct mg_value v = key_value(h, type, part, text, sizeof text);
        append_value(builder, schema->key_columns[k], &v);
        n /= room;
    }
}

/* What the source would say of this key, but for a lie now and then. */
static uint8_t choose_op(struct history *h, struct table *table, uint32_t key, unsigned deletes)
{
    bool exists = table->staged[key];
    uint8_t op = !exists ? MG_CHANGE_INSERT : chance(h, deletes) ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE;
    if (chance(h, 1))
        op = (uint8_t)below(h, 3);
    table->staged[key] = op != MG_CHANGE_DELETE;
    return op;
}

/* MG_OK, or from magic MG_NO_MEMORY, or what a planned fault gives. */
static enum mg_code put_random(struct history *h, struct both *epoch, struct table *table)
{
    const struct mg_schema *schema = table->schema;
    static uint8_t ops[BATCH_ROWS_MAX];
    static char text[2000];
    struct mg_type types[COLUMNS_MAX];
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint32_t count = (uint32_t)below(h, chance(h, 7) ? BATCH_ROWS_MAX : chance(h, 30) ? 700 : 40);
    uint32_t first = (uint32_t)below(h, table->key_space);
    bool rising = chance(h, 40);
    unsigned deletes = chance(h, 10) ? 95 : (unsigned)below(h, 50);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 30, err));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = rising ? (first + i) % table->key_space : (uint32_t)below(h, table->key_space);
        ops[i] = choose_op(h, table, key, deletes);
        append_key(h, &builder, schema, key);
        for (uint32_t c = 0; c < schema->column_count; c++) {
            if (mg_schema_is_key(schema, c))
                continue;
            bool nullable = schema->columns[c].nullable || ops[i] == MG_CHANGE_DELETE;
            struct mg_value v = random_value(h, types[c], nullable, text, sizeof text);
            append_value(&builder, c, &v);
        }
    }
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {.table_id = table->id, .schema_version = schema->version, .rows = batch, .ops = ops};
    if (chance(h, 3))
        changes.schema_version++;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code magic = mg_engine_magic.put(epoch->magic, &changes, &err), model = MG_NO_MEMORY;
    bool disk_failed = h->faults_planned && (magic == MG_IO || magic == MG_CORRUPT);
    if (magic != MG_NO_MEMORY && !disk_failed)
        model = mg_engine_model.put(epoch->model, &changes, NULL);
    if (magic != model && !disk_failed)
        fail("put: magic says %s (%s), the model %s", mg_code_name(magic), err.text, mg_code_name(model));
    if (magic == MG_NO_MEMORY && h->limit_bytes == SIZE_MAX)
        fail("put: %s", err.text);
    mg_batch_unref(batch);
    if (magic == MG_SCHEMA_CHANGED) /* nothing was staged */
        memcpy(table->staged, table->exists, table->key_space);
    return magic == MG_NO_MEMORY || disk_failed ? magic : MG_OK;
}

static void settle_keys(struct history *h, bool published)
{
    for (uint32_t i = 0; i < h->table_count; i++) {
        struct table *table = &h->tables[i];
        if (published)
            memcpy(table->exists, table->staged, table->key_space);
        else
            memcpy(table->staged, table->exists, table->key_space);
    }
}

static void change_rows(struct history *h)
{
    struct both epoch = begin(h);
    uint32_t puts = h->table_count ? 1 + (uint32_t)below(h, chance(h, 10) ? 20 : 4) : 0;
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < puts; i++)
        code = put_random(h, &epoch, &h->tables[below(h, h->table_count)]);
    bool published = code == MG_OK && !chance(h, 15);
    if (published)
        published = publish_both(h, &epoch);
    else
        abort_both(&epoch);
    settle_keys(h, published);
}

/* A few rows of a megabyte: segments and WAL segments fill up. */
static void change_big_rows(struct history *h)
{
    struct table *table = NULL;
    int column = -1;
    for (uint32_t i = 0; i < h->table_count && column < 0; i++) {
        table = &h->tables[i];
        for (uint32_t c = 0; c < table->schema->column_count; c++)
            if (table->schema->columns[c].type.id == MG_TYPE_UTF8 && !mg_schema_is_key(table->schema, c))
                column = (int)c;
    }
    if (column < 0 || h->limit_bytes != SIZE_MAX)
        return;
    const struct mg_schema *schema = table->schema;
    struct mg_type types[COLUMNS_MAX];
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t ops[40] = {0};
    char *big = malloc(3 << 20), text[2000];
    memset(big, 'b', 3 << 20);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 30, err));
    uint32_t count = 25 + (uint32_t)below(h, 15);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = (uint32_t)below(h, table->key_space);
        ops[i] = table->staged[key] ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT;
        table->staged[key] = 1;
        append_key(h, &builder, schema, key);
        for (uint32_t c = 0; c < schema->column_count; c++) {
            if (mg_schema_is_key(schema, c))
                continue;
            struct mg_value v = random_value(h, types[c], schema->columns[c].nullable, text, sizeof text);
            if ((int)c == column)
                v = (struct mg_value){.type = types[c], .text = MG_SLICE(big, (2 << 20) + below(h, 1 << 20))};
            append_value(&builder, c, &v);
        }
    }
    must(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    struct both epoch = begin(h);
    struct mg_changes changes = {.table_id = table->id, .schema_version = schema->version, .rows = batch, .ops = ops};
    struct mg_error story = MG_ERROR_INIT;
    enum mg_code code = mg_engine_magic.put(epoch.magic, &changes, &story);
    if (code != MG_OK && !(code == MG_IO && h->faults_planned)) /* so many bytes go to the disk while they are staged */
        fail("put: %s: %s", mg_code_name(code), story.text);
    if (code == MG_IO && strstr(story.text, "bytes are left"))
        fail("put: the disk failed, not memory: %s", story.text);
    if (code == MG_OK)
        must(mg_engine_model.put(epoch.model, &changes, err));
    else
        abort_both(&epoch);
    settle_keys(h, code == MG_OK && publish_both(h, &epoch));
    mg_batch_unref(batch);
    free(big);
}

static void publish_watermark(struct history *h)
{
    for (uint64_t i = 1 + below(h, 5); i > 0; i--) {
        struct both epoch = begin(h);
        publish_both(h, &epoch);
    }
}

/* ---- steps: snapshots and restarts --------------------------------------------------------------------------- */

static void keep_snapshot(struct history *h)
{
    if (h->pin_count == PINS_MAX)
        return;
    struct pin *pin = &h->pins[h->pin_count++];
    must(mg_engine_magic.snapshot(h->magic, &pin->magic, err));
    must(mg_engine_model.snapshot(h->model, &pin->model, err));
}

static void drop_snapshot(struct history *h)
{
    if (h->pin_count == 0)
        return;
    uint32_t at = (uint32_t)below(h, h->pin_count);
    struct pin pin = h->pins[at];
    h->pins[at] = h->pins[--h->pin_count];
    mg_engine_magic.snapshot_unref(pin.magic);
    mg_engine_model.snapshot_unref(pin.model);
}

static void look_at_kept(struct history *h)
{
    if (h->pin_count)
        compare_snapshots(h, &h->pins[below(h, h->pin_count)], chance(h, 40));
    else
        compare_newest(h, true);
}

static void look_at_old(struct history *h) { compare_old(h, below(h, newest_epoch(h) + 1), chance(h, 30)); }

static void ask_epoch_at(struct history *h)
{
    for (int i = 0; i < 4; i++) {
        uint64_t ts = below(h, h->watermark + 2), magic_epoch = 0, model_epoch = 0;
        const char *source = sources[below(h, 2)];
        enum mg_code magic = mg_engine_magic.epoch_at(h->magic, source, ts, &magic_epoch, NULL);
        enum mg_code model = mg_engine_model.epoch_at(h->model, source, ts, &model_epoch, NULL);
        if (model == MG_OK && model_epoch < earliest_of(h))
            model = MG_SNAPSHOT_TOO_OLD;
        must_equal("code of epoch_at", magic, model);
        if (model == MG_OK)
            must_equal("epoch_at", magic_epoch, model_epoch);
    }
}

static void compare_positions(struct history *h)
{
    for (size_t i = 0; i < MG_COUNT_OF(sources); i++) {
        struct mg_source_position magic, model;
        must(mg_engine_magic.position(h->magic, sources[i], &magic, err));
        must(mg_engine_model.position(h->model, sources[i], &model, err));
        if (!same_position(&magic, &model))
            fail("the positions of %s differ", sources[i]);
    }
}

static void restart(struct history *h)
{
    close_magic(h);
    if (h->faults_planned || chance(h, 30)) {
        mg_io_fault_crash(h->disk, chance(h, 50) ? MG_LOSE_ALL : MG_LOSE_SOME);
        h->faults_planned = false;
    }
    open_magic(h);
    compare_positions(h);
    compare_newest(h, chance(h, 20));
}

/* Rows change while a part is written from an older view of them; kept snapshots are read while they go to disk. */
static void in_the_middle(void *arg, const char *name)
{
    struct history *h = arg;
    if (strncmp(name, "sealed.", 7) == 0 && h->pin_count && chance(h, 5)) {
        mg_stop_hook(NULL, NULL);
        compare_snapshots(h, &h->pins[below(h, h->pin_count)], false);
        mg_stop_hook(in_the_middle, h);
    }
    if (strcmp(name, "part.written") != 0 || h->middle_left == 0 || !chance(h, 50))
        return;
    h->middle_left--;
    mg_stop_hook(NULL, NULL);
    change_rows(h);
    mg_stop_hook(in_the_middle, h);
}

/* Rows go from memory and the WAL into parts, small parts become one, and what nobody needs goes. */
static void checkpoint(struct history *h)
{
    struct mg_error story = MG_ERROR_INIT;
    h->middle_left = MIDDLE_MAX;
    if (!h->faults_planned && chance(h, 60))
        mg_stop_hook(in_the_middle, h);
    enum mg_code code = mg_engine_magic.checkpoint(h->magic, chance(h, 60), &story);
    mg_stop_hook(NULL, NULL);
    bool may_fail = (code == MG_NO_MEMORY && h->limit_bytes != SIZE_MAX) || h->faults_planned;
    if (code != MG_OK && !may_fail)
        fail("checkpoint: %s: %s", mg_code_name(code), story.text);
    if (code == MG_OK && newest_epoch(h)) {
        memmove(h->checkpoints, h->checkpoints + 1, sizeof h->checkpoints - sizeof h->checkpoints[0]);
        h->checkpoints[CHECKPOINTS_KEPT - 1] = newest_epoch(h);
    }
    if (code == MG_STOPPED) /* whether the manifest is there is not known: the disk decides */
        restart(h);
    else
        compare_newest(h, chance(h, 20));
}

static enum mg_code note_over(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    uint32_t *over = arg;
    over[info->state >= MG_COMPACTION_DONE]++;
    if (info->state == MG_COMPACTION_FAILED)
        over[2]++;
    return MG_OK;
}

/* A compaction that was asked for is cancelled while one of its parts is written, if the step likes. */
static void cancel_in_the_middle(void *arg, const char *name)
{
    struct history *h = arg;
    if (strcmp(name, "part.written") != 0 || !chance(h, 50))
        return;
    mg_stop_hook(NULL, NULL);
    if (chance(h, 50))
        change_rows(h);
    (void)mg_engine_magic.cancel_compaction(h->magic, h->compaction, NULL);
    mg_stop_hook(cancel_in_the_middle, h);
}

/* Somebody asks for a table, or a range of it, to be compacted; the next round does it, and says so. */
static void ask_compaction(struct history *h)
{
    if (h->table_count == 0)
        return;
    const struct table *table = &h->tables[below(h, h->table_count)];
    struct mg_buffer bounds[2];
    struct mg_key_range range = {0};
    struct mg_error story = MG_ERROR_INIT;
    mg_buffer_init(&bounds[0], 1 << 20);
    mg_buffer_init(&bounds[1], 1 << 20);
    if (table->is_ok && chance(h, 40))
        range = random_range(h, table->schema, bounds);
    enum mg_code code = mg_engine_magic.compact(h->magic, table->id, range, &h->compaction, &story);
    mg_buffer_clear(&bounds[0]);
    mg_buffer_clear(&bounds[1]);
    if (code == MG_NOT_FOUND && !table->is_ok)
        return;
    if (code != MG_OK)
        fail("compact: %s: %s", mg_code_name(code), story.text);
    if (chance(h, 20))
        must(mg_engine_magic.cancel_compaction(h->magic, h->compaction, err));
    if (!h->faults_planned && chance(h, 50))
        mg_stop_hook(cancel_in_the_middle, h);
    code = mg_engine_magic.checkpoint(h->magic, false, &story);
    mg_stop_hook(NULL, NULL);
    uint32_t over[3] = {0};
    must(mg_engine_magic.compactions(h->magic, h->compaction, note_over, over, err));
    if (code == MG_OK && newest_epoch(h)) {
        memmove(h->checkpoints, h->checkpoints + 1, sizeof h->checkpoints - sizeof h->checkpoints[0]);
        h->checkpoints[CHECKPOINTS_KEPT - 1] = newest_epoch(h);
    }
    if (code != MG_OK && !h->faults_planned && !(code == MG_NO_MEMORY && h->limit_bytes != SIZE_MAX))
        fail("a round with a compaction: %s: %s", mg_code_name(code), story.text);
    if (over[0])
        fail("a compaction is not over after a round");
    if (over[2] && !h->faults_planned && h->limit_bytes == SIZE_MAX)
        fail("a compaction failed");
    if (code == MG_STOPPED)
        restart(h);
    else
        compare_newest(h, chance(h, 20));
}

/* Some write or sync to come fails, and all after it. */
static void plan_faults(struct history *h)
{
    if (h->faults_planned)
        return;
    static const unsigned kinds[] = {MG_FAULT_CHANGE, MG_FAULT_SYNC, MG_FAULT_WRITE};
    mg_io_fault_fail(h->disk, kinds[below(h, MG_COUNT_OF(kinds))], 1 + below(h, 20), EIO, true);
    h->faults_planned = true;
}

/* ---- histories ----------------------------------------------------------------------------------------------- */

static const struct step {
    const char *name;
    unsigned weight;
    void (*run)(struct history *h);
} steps[] = {
    {"rows", 40, change_rows},     {"create", 10, create_table},        {"alter", 8, alter_table},
    {"drop", 2, drop_table},       {"watermark", 6, publish_watermark}, {"keep", 9, keep_snapshot},
    {"release", 7, drop_snapshot}, {"look", 6, look_at_kept},           {"old", 4, look_at_old},
    {"at", 3, ask_epoch_at},       {"checkpoint", 8, checkpoint},       {"restart", 3, restart},
    {"faults", 2, plan_faults},    {"compact", 5, ask_compaction},
};

static const struct step *choose_step(struct mg_random *random)
{
    uint64_t total = 0;
    for (size_t i = 0; i < MG_COUNT_OF(steps); i++)
        total += steps[i].weight;
    uint64_t at = mg_random_below(random, total);
    size_t i = 0;
    for (; at >= steps[i].weight; i++)
        at -= steps[i].weight;
    return &steps[i];
}

static void init(struct history *h, uint64_t seed, bool verbose)
{
    memset(h, 0, sizeof *h);
    h->verbose = verbose;
    mg_random_init(&h->random, seed);
    h->disk = mg_io_fault_new(seed);
    h->limit_bytes = chance(h, 12) ? (size_t)200000 << below(h, 5) : SIZE_MAX;
    h->wal_segment_bytes = (uint64_t)16384 << below(h, 8);
    h->segment_bytes = (uint64_t)1024 << below(h, 10);
    h->part_rows_max = chance(h, 50) ? 0 : (uint64_t)64 << below(h, 8);  /* merges become pieces */
    h->stage_bytes = chance(h, 50) ? (uint64_t)1024 << below(h, 10) : 0; /* epochs go to disk while they are staged */
    h->sealed_bytes = chance(h, 60) ? (uint64_t)1 << below(h, 20) : 0;   /* rows of old snapshots go to disk */
    h->next_version = h->next_table_id = 1;
    mg_budget_init(&h->readers, "readers", NULL, SIZE_MAX);
    must(mg_engine_model.open(&(struct mg_engine_options){0}, &h->model, err));
    open_magic(h);
}

static void finish(struct history *h)
{
    for (uint32_t i = 0; i < h->pin_count; i++)
        compare_snapshots(h, &h->pins[i], false);
    compare_newest(h, true);
    ask_epoch_at(h);
    uint64_t newest = newest_epoch(h);
    for (int i = 0; i < 3; i++)
        compare_old(h, below(h, newest + 1), false);
    restart(h);
    close_magic(h);
    mg_engine_model.close(h->model);
    must_equal("memory that readers still hold", mg_budget_used(&h->readers), 0);
    for (uint32_t i = 0; i < h->table_count; i++) {
        mg_schema_unref(h->tables[i].schema);
        free(h->tables[i].exists);
        free(h->tables[i].staged);
    }
    mg_io_fault_free(h->disk);
}

/* Which steps of a seed to run. */
struct plan {
    uint64_t seed;
    uint32_t count;
    uint32_t at[STEPS_MAX];
};

static void run_plan(const struct plan *plan, bool verbose)
{
    static struct history h;
    init(&h, plan->seed, verbose);
    bool big = mg_random_below(&h.random, 40) == 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        mg_random_init(&h.random, plan->seed * 1000003 + plan->at[i]);
        const struct step *step = choose_step(&h.random);
        if (verbose)
            printf("  %u %s\n", plan->at[i], step->name);
        step->run(&h);
        if (big && plan->at[i] % 30 == 29)
            change_big_rows(&h);
    }
    mg_random_init(&h.random, plan->seed ^ 0xf1);
    finish(&h);
}

/* Run in a child. Returns false and the reason when it fails. */
static bool run_child(const struct plan *plan, bool verbose, char reason[REASON_MAX])
{
    int fds[2];
    fflush(stdout);
    if (pipe(fds) != 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        reason_fd = fds[1];
        run_plan(plan, verbose);
        fflush(stdout);
        exit(0); /* the leak checker runs */
    }
    close(fds[1]);
    size_t size = 0;
    for (ssize_t n; size < REASON_MAX - 1 && (n = read(fds[0], reason + size, REASON_MAX - 1 - size)) > 0;)
        size += (size_t)n;
    reason[size] = 0;
    close(fds[0]);
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (size == 0)
        snprintf(reason, REASON_MAX, WIFSIGNALED(status) ? "killed by signal %d" : "ended with status %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return false;
}

/* Leave out ever smaller pieces while it still fails. */
static void reduce(struct plan *plan)
{
    char reason[REASON_MAX];
    struct plan *smaller = malloc(sizeof *smaller);
    for (uint32_t piece = plan->count / 2; piece > 0; piece /= 2)
        for (uint32_t first = 0; first + piece <= plan->count;) {
            *smaller = *plan;
            smaller->count -= piece;
            memmove(smaller->at + first, smaller->at + first + piece,
                    (plan->count - first - piece) * sizeof smaller->at[0]);
            if (run_child(smaller, false, reason))
                first += piece;
            else
                *plan = *smaller;
        }
    free(smaller);
}

static void report(struct plan *plan, const char *reason)
{
    printf("seed %llu: %s\n", (unsigned long long)plan->seed, reason);
    uint32_t before = plan->count;
    reduce(plan);
    char why[REASON_MAX] = "it does not fail any more";
    run_child(plan, true, why);
    printf("made smaller from %u steps to %u: %s\n", before, plan->count, why);
    printf("replay: engine_model --seed %llu --ops ", (unsigned long long)plan->seed);
    for (uint32_t i = 0; i < plan->count; i++)
        printf("%s%u", i ? "," : "", plan->at[i]);
    printf("\n");
}

static void parse_ops(struct plan *plan, const char *text)
{
    plan->count = 0;
    while (*text && plan->count < STEPS_MAX) {
        char *end;
        plan->at[plan->count++] = (uint32_t)strtoul(text, &end, 10);
        text = *end == ',' ? end + 1 : end + strlen(end);
    }
}

int main(int argc, char **argv)
{
    uint64_t seeds = 1, first = 1, step_count = STEPS_DEFAULT;
    const char *ops = NULL;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--seeds") == 0)
            seeds = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            first = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0)
            step_count = MG_MIN(strtoull(value, NULL, 10), (uint64_t)STEPS_MAX);
        else if (strcmp(argv[i], "--ops") == 0)
            ops = value;
        else {
            fprintf(stderr, "engine_model [--seeds N] [--seed FIRST] [--steps N] [--ops I,J,...] [--verbose]\n");
            return 2;
        }
        i++;
    }
    struct mg_clock *clock = mg_clock_system();
    int64_t start_ms = mg_mono_ms(clock);
    static struct plan plan;
    for (uint64_t i = 0; i < seeds; i++) {
        char reason[REASON_MAX];
        plan.seed = first + i;
        plan.count = (uint32_t)step_count;
        for (uint32_t s = 0; s < plan.count; s++)
            plan.at[s] = s;
        if (ops)
            parse_ops(&plan, ops);
        if (!run_child(&plan, verbose, reason)) {
            if (ops)
                printf("seed %llu: %s\n", (unsigned long long)plan.seed, reason);
            else
                report(&plan, reason);
            return 1;
        }
    }
    printf("engine_model: %llu histories of %llu steps from seed %llu: magic equals model (%.1f s)\n",
           (unsigned long long)seeds, (unsigned long long)plan.count, (unsigned long long)first,
           (double)(mg_mono_ms(clock) - start_ms) / 1000);
    return 0;
}
