/* keys_test.c -- every kind of key, in the magic engine as in the model: the same changes go to both, and both must
 * answer alike, whatever lies in memory, in parts, in merged parts, or half in each.
 *
 * A key is a number below KEYS, spread over the key columns by its digits, and each column's digit becomes a value of
 * its type. So rows meet often, and neighbours in number are far apart in order.
 * Asked of both  all rows, look-ups of keys that are there and that are not, scans that name keys (= and IN), ranges,
 *                splits, and how many changes contradicted.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/counter.h"
#include "base/io_fault.h"
#include "base/random.h"
#include "engine_kit.h"

#define must(call)                                                                 \
    do {                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                \
        enum mg_code must_code = (call);                                           \
        if (must_code != MG_OK)                                                    \
            fail_msg("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

enum { MAGIC, MODEL, ENGINES, TABLE = 1 };
enum { KEYS = 7000, ROUNDS = 11, FLUSH_FROM = 5, PIN_AT = 4, ROWS_A_ROUND = 3600, ASKED = 600 };

struct pair {
    struct mg_io_fault *disk;
    struct mg_budget budgets[ENGINES];
    struct mg_engine *engines[ENGINES];
    struct mg_schema *schema;
    struct mg_random random;
    uint32_t keys; /* different ones */
};

static const struct mg_engine_ops *const all[ENGINES] = {&mg_engine_magic, &mg_engine_model};

/* ---- keys ---------------------------------------------------------------------------------------------------- */

/* As many digits as a column of the type can hold. */
static uint32_t digits_of(struct mg_type type, uint32_t left)
{
    bool small = type.id == MG_TYPE_INT8 || type.id == MG_TYPE_UINT8;
    return small ? MG_MIN(left, 256U) : left;
}

static struct mg_value text_value(struct mg_type type, uint32_t digit, struct mg_random *random, char text[96])
{
    static const char *const heads[] = {"", "a rather long prefix ", "\xc3\xa4", "\x01", "x"};
    struct mg_value value = {.type = type};
    bool twin = digit % 10 == 1; /* the text of the digit before and a blank: another key only if blanks count */
    digit -= twin && type.collation == MG_COLLATION_BINARY;
    int size = digit == 0 ? 0 : snprintf(text, 64, "%s%u", heads[digit % MG_COUNT_OF(heads)], digit);
    if (digit % 7 == 3)
        text[size - 1] = 0; /* texts may hold any byte; the digit is told by the others and the place */
    if (digit % 7 == 3)
        size += snprintf(text + size, 16, "%u", digit);
    if (twin && type.collation == MG_COLLATION_BINARY)
        text[size++] = ' ';
    if (type.collation == MG_COLLATION_PAD_SPACE) /* the same key, however many blanks */
        for (uint64_t n = mg_random_below(random, 3); n > 0; n--)
            text[size++] = ' ';
    value.text = MG_SLICE(text, (size_t)size);
    return value;
}

static struct mg_value value_of(struct mg_type type, uint32_t digit, struct mg_random *random, char text[96])
{
    struct mg_value value = {.type = type};
    int64_t spread = (int64_t)digit * 7919 % 16381 - 8000; /* one to one below 16,381, of either sign */
    switch (type.id) {
    case MG_TYPE_INT8: value.i = (int64_t)digit - 128; break;
    case MG_TYPE_INT64: value.i = digit == 5 ? INT64_MIN : digit == 6 ? INT64_MAX : spread * 1000003; break;
    case MG_TYPE_UINT8: value.u = digit; break;
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32: value.u = (uint64_t)(spread + 8000); break;
    case MG_TYPE_UINT64: value.u = (uint64_t)spread * 1000003; break; /* half of them above 2^63 */
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: value.f = (double)spread / 8; break;
    case MG_TYPE_DECIMAL:
        value.d = (mg_int128)spread * (type.precision > 18 ? (mg_int128)1000000007 * 1000000007 * 1000003 : 11);
        break;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: value.i = spread * 86400000003; break;
    case MG_TYPE_UTF8: return text_value(type, digit, random, text);
    default: value.i = spread; break;
    }
    return value;
}

static uint32_t count_keys(const struct mg_schema *schema)
{
    uint64_t count = 1;
    for (uint32_t k = 0; k < schema->key_count; k++)
        count *= digits_of(schema->columns[schema->key_columns[k]].type, k + 1 < schema->key_count ? 20 : KEYS);
    return (uint32_t)MG_MIN(count, (uint64_t)KEYS);
}

/* Texts of the values lie in texts. */
static void key_values(struct pair *p, uint32_t key, struct mg_value *values, char texts[][96])
{
    for (uint32_t k = 0; k < p->schema->key_count; k++) {
        struct mg_type type = p->schema->columns[p->schema->key_columns[k]].type;
        bool last = k + 1 == p->schema->key_count;
        values[k] = value_of(type, last ? key : key % 20, &p->random, texts[k]);
        key = last ? 0 : key / 20;
    }
}

/* ---- changes ------------------------------------------------------------------------------------------------- */

static void add_row(struct pair *p, struct mg_batch_builder *builder, uint32_t key)
{
    struct mg_value values[MG_KEY_COLUMNS_MAX];
    char texts[MG_KEY_COLUMNS_MAX][96];
    uint32_t k = 0, column = 0;
    key_values(p, key, values, texts);
    for (; k < p->schema->key_count; k++, column++) /* the key's columns come first, in its order */
        must(mg_builder_value(builder, column, &values[k], err));
    for (; column < p->schema->column_count; column++) {
        uint64_t r = mg_random_u64(&p->random);
        struct mg_type type = p->schema->columns[column].type;
        if (r % 10 == 0)
            must(mg_builder_null(builder, column, err));
        else if (type.id == MG_TYPE_UTF8)
            must(mg_builder_text(builder, column, MG_SLICE("a text that is cut", r % 4 ? 5 : r % 19), err));
        else
            must(mg_builder_int(builder, column, (int64_t)(r % 4 ? 7 : r % 1000), err));
    }
}

static void begin_rows(struct pair *p, struct mg_batch_builder *builder)
{
    struct mg_type types[64];
    for (uint32_t c = 0; c < p->schema->column_count; c++)
        types[c] = p->schema->columns[c].type;
    must(mg_batch_builder_init(builder, types, p->schema->column_count, NULL, 1 << 30, err));
}

static struct mg_batch *end_rows(struct mg_batch_builder *builder)
{
    struct mg_batch *rows;
    must(mg_batch_builder_finish(builder, mg_builder_rows(builder, 0), &rows, err));
    mg_batch_builder_clear(builder);
    return rows;
}

/* Random changes, and for a third of those that have an old row random images of it, of which some are right. */
static void apply(struct pair *p, uint64_t epoch_number, uint32_t row_count)
{
    struct mg_batch_builder builder, images;
    static uint8_t ops[ROWS_A_ROUND];
    static uint32_t image_rows[ROWS_A_ROUND];
    uint32_t image_count = 0;
    begin_rows(p, &builder);
    begin_rows(p, &images);
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t key = (uint32_t)mg_random_below(&p->random, p->keys);
        add_row(p, &builder, key);
        ops[i] = (uint8_t)mg_random_below(&p->random, 3);
        if (ops[i] == MG_CHANGE_INSERT || mg_random_below(&p->random, 3))
            continue;
        add_row(p, &images, key);
        image_rows[image_count++] = i;
    }
    struct mg_batch *rows = end_rows(&builder), *old = end_rows(&images);
    for (int e = 0; e < ENGINES; e++) {
        struct mg_changes changes = {.table_id = TABLE,
                                     .schema_version = p->schema->version,
                                     .rows = rows,
                                     .ops = ops,
                                     .old = old,
                                     .old_rows = image_rows};
        struct mg_epoch *epoch = kit_begin(p->engines[e]);
        must(all[e]->put(epoch, &changes, err));
        kit_publish(epoch, epoch_number);
    }
    mg_batch_unref(rows);
    mg_batch_unref(old);
}

static enum mg_code copy_verify(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                                struct mg_error *err)
{
    *(struct mg_verify *)arg = *verify;
    return MG_OK;
}

/* What contradicted, by kind. The first in words may be others: each engine finds them in its own order. */
static void same_contradictions(struct pair *p)
{
    struct mg_verify found[ENGINES];
    for (int e = 0; e < ENGINES; e++) {
        memset(&found[e], 0, sizeof found[e]);
        must(all[e]->verified(p->engines[e], TABLE, copy_verify, &found[e], err));
        assert_true(found[e].told_count > 0 && found[e].since_epoch == 2 && found[e].since_ms > 0);
    }
    for (int kind = 0; kind < MG_VERIFY_KINDS; kind++) {
        assert_true(found[MAGIC].counts[kind] == found[MODEL].counts[kind]);
        assert_true(found[MAGIC].counts[kind] > 0);
    }
    assert_true(found[MAGIC].compared_count == found[MODEL].compared_count);
    /* Images of padded texts may differ in blanks alone, those of no other key ever in the key. */
    assert_true(found[MAGIC].compared_count > found[MAGIC].counts[MG_VERIFY_IMAGE_DIFFERS]);
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

static void same_rows(struct mg_snapshot *const *snapshots, const struct kit_scan *scan)
{
    char *rows = strdup(kit_rows(snapshots[MAGIC], TABLE, scan));
    const char *wanted = kit_rows(snapshots[MODEL], TABLE, scan);
    if (strcmp(rows, wanted) != 0)
        fail_msg("magic has %zu bytes of rows, the model %zu:\n%.400s\n--\n%.400s", strlen(rows), strlen(wanted), rows,
                 wanted);
    free(rows);
}

struct question {
    struct mg_buffer keys;
    uint32_t offsets[ASKED + 1], count;
};

static void ask_for(struct pair *p, struct question *q, uint32_t count, bool in_order)
{
    mg_buffer_init(&q->keys, 1 << 20);
    q->offsets[0] = 0;
    for (q->count = 0; q->count < count;) {
        struct mg_value values[MG_KEY_COLUMNS_MAX];
        char texts[MG_KEY_COLUMNS_MAX][96];
        uint32_t key = in_order ? q->count * (p->keys / count) : (uint32_t)mg_random_below(&p->random, p->keys);
        key_values(p, key, values, texts);
        must(mg_key_encode_values(values, p->schema->key_count, &q->keys, err));
        q->offsets[++q->count] = (uint32_t)q->keys.size;
    }
}

static void append_row(struct mg_buffer *out, const struct mg_batch *batch, uint32_t row)
{
    for (uint32_t c = 0; batch && row != MG_FIND_NONE && c < batch->column_count; c++) {
        struct mg_value value = mg_vector_value(&batch->vectors[c], row);
        must(mg_value_format(&value, out, err));
        must(mg_buffer_append(out, ",", 1, err));
    }
    must(mg_buffer_append(out, row == MG_FIND_NONE ? "-\n" : "+\n", 2, err));
}

/* What find answers, a line a key. */
static void answer(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, struct mg_buffer *out)
{
    static uint32_t rows[ASKED];
    struct mg_batch *batch = NULL;
    mg_buffer_init(out, 16 << 20);
    must(snapshot->engine->ops->find(snapshot, spec, rows, &batch, err));
    if (batch)
        must(mg_batch_check(batch, err));
    for (uint32_t i = 0; i < spec->key_count; i++)
        append_row(out, batch, rows[i]);
    mg_batch_unref(batch);
}

static void same_finds(struct pair *p, struct mg_snapshot *const *snapshots, uint32_t count, bool in_order)
{
    static struct question q;
    struct mg_buffer answers[ENGINES];
    uint32_t columns[64];
    ask_for(p, &q, count, in_order);
    struct mg_find_spec spec = {
        .table_id = TABLE, .key_count = q.count, .keys = q.keys.data, .offsets = q.offsets, .columns = columns};
    for (int with_columns = 0; with_columns < 2; with_columns++) {
        for (uint32_t c = 0; with_columns && c < p->schema->column_count; c++)
            columns[spec.column_count++] = p->schema->column_count - 1 - c;
        for (int e = 0; e < ENGINES; e++)
            answer(snapshots[e], &spec, &answers[e]);
        assert_true(mg_slice_equal(mg_buffer_slice(&answers[MAGIC]), mg_buffer_slice(&answers[MODEL])));
        mg_buffer_clear(&answers[MAGIC]);
        mg_buffer_clear(&answers[MODEL]);
    }
    mg_buffer_clear(&q.keys);
}

/* "a = ? AND b IN (?, ?, ?)" of random keys. */
static void same_named(struct pair *p, struct mg_snapshot *const *snapshots)
{
    enum { LIST = 5 };
    struct mg_arena arena;
    struct mg_expr *terms[MG_KEY_COLUMNS_MAX], *list[1 + LIST];
    struct mg_value values[LIST][MG_KEY_COLUMNS_MAX];
    char texts[LIST][MG_KEY_COLUMNS_MAX][96];
    struct mg_predicate *predicate;
    uint32_t key_count = p->schema->key_count;
    bool looks_up = true; /* else it is scanned */
    mg_arena_init(&arena, 1 << 20);
    for (uint32_t i = 0; i < LIST; i++)
        key_values(p, (uint32_t)mg_random_below(&p->random, p->keys), values[i], texts[i]);
    for (uint32_t k = 0; k < key_count; k++) {
        const struct mg_column *column = &p->schema->columns[p->schema->key_columns[k]];
        uint32_t count = mg_random_below(&p->random, 2) ? LIST : 1;
        list[0] = mg_expr_column(&arena, mg_slice_text(column->name));
        for (uint32_t i = 0; i < count; i++)
            list[1 + i] = mg_expr_literal(&arena, &values[i][k]);
        terms[k] = mg_expr_call(&arena, count > 1 ? MG_EXPR_IN : MG_EXPR_EQ, list, 1 + count);
        terms[k]->pad_space = column->type.id == MG_TYPE_UTF8 && mg_random_below(&p->random, 2);
        looks_up &= !terms[k]->pad_space || column->type.collation == MG_COLLATION_PAD_SPACE;
        /* equal ones may differ */
        looks_up &= column->type.id != MG_TYPE_FLOAT32 && column->type.id != MG_TYPE_FLOAT64;
    }
    must(mg_predicate_bind(key_count > 1 ? mg_expr_call(&arena, MG_EXPR_AND, terms, key_count) : terms[0], p->schema,
                           &predicate, err));
    uint64_t before = mg_counted(engine_find_keys);
    same_rows(snapshots, &(struct kit_scan){.predicate = predicate});
    assert_int_equal(mg_counted(engine_find_keys) > before, looks_up);
    same_rows(snapshots, &(struct kit_scan){.predicate = predicate, .limit = 1, .columns = ""});
    mg_predicate_free(predicate);
    mg_arena_clear(&arena);
}

static void same_ranges(struct pair *p, struct mg_snapshot *const *snapshots)
{
    static struct question q;
    ask_for(p, &q, 2, false);
    struct mg_slice a = MG_SLICE(q.keys.data, q.offsets[1]);
    struct mg_slice b = MG_SLICE(q.keys.data + q.offsets[1], q.offsets[2] - q.offsets[1]);
    bool rising = mg_slice_compare(a, b) <= 0;
    same_rows(snapshots, &(struct kit_scan){.range = {rising ? a : b, rising ? b : a}});
    same_rows(snapshots, &(struct kit_scan){.range = {.low = b}});
    mg_buffer_clear(&q.keys);
}

/* The splits of the one engine, read in both. */
static void same_splits(struct mg_snapshot *const *snapshots)
{
    for (int e = 0; e < ENGINES; e++) {
        struct mg_arena arena;
        struct mg_key_range *splits;
        uint32_t count;
        mg_arena_init(&arena, 1 << 20);
        must(all[e]->plan_splits(snapshots[e], TABLE, 5, true, &arena, &splits, &count, err));
        assert_true(count >= 1 && count <= 5);
        assert_true(splits[0].low.size == 0 && splits[count - 1].high.size == 0);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(i == 0 || mg_slice_equal(splits[i - 1].high, splits[i].low));
            same_rows(snapshots, &(struct kit_scan){.range = splits[i]});
        }
        mg_arena_clear(&arena);
    }
}

/* What magic estimates against what the model counts. */
static void same_statistics(struct pair *p, struct mg_snapshot *const *snapshots)
{
    struct mg_arena arena;
    struct mg_column_stats *stats[ENGINES];
    struct mg_table_stats table;
    mg_arena_init(&arena, 64 << 20);
    for (int e = 0; e < ENGINES; e++)
        must(all[e]->column_stats(snapshots[e], TABLE, NULL, &arena, &stats[e], err));
    must(all[MODEL]->stats(snapshots[MODEL], TABLE, &table, err));
    for (uint32_t c = 0; c < p->schema->column_count; c++) {
        const struct mg_column_stats *have = &stats[MAGIC][c], *want = &stats[MODEL][c];
        assert_true(have->null_count >= want->null_count && have->null_count <= table.row_count);
        assert_true(!have->is_exact || have->null_count == want->null_count);
        assert_true(have->distinct_count <= table.row_count);
        assert_true((double)have->distinct_count >= (double)want->distinct_count * 0.93 - 2);
        /* Rows that died are counted: at most the values that the table ever had. */
        assert_true((double)have->distinct_count <= (double)MG_MAX(want->distinct_count, p->keys) * 1.07 + 2);
        if (have->is_exact)
            assert_true((double)have->distinct_count <= (double)want->distinct_count * 1.07 + 2);
        if (!have->has_bounds || !want->has_bounds)
            continue;
        assert_true(mg_value_compare(&have->low, &want->low) <= 0 && mg_value_compare(&have->high, &want->high) >= 0);
        if (have->bounds_exact)
            assert_true(mg_value_compare(&have->low, &want->low) == 0 &&
                        mg_value_compare(&have->high, &want->high) == 0);
    }
    mg_arena_clear(&arena);
}

static void same_answers(struct pair *p, struct mg_snapshot *const *snapshots)
{
    same_rows(snapshots, NULL);
    same_finds(p, snapshots, 1, false);
    same_finds(p, snapshots, 7, false);
    same_finds(p, snapshots, ASKED, false);
    same_finds(p, snapshots, MG_MIN((uint32_t)ASKED, p->keys), true);
    for (int i = 0; i < 3; i++)
        same_named(p, snapshots);
    same_ranges(p, snapshots);
    same_splits(snapshots);
    same_statistics(p, snapshots);
}

/* ---- the life of one table ----------------------------------------------------------------------------------- */

static void open_pair(struct pair *p, const char *columns)
{
    memset(p, 0, sizeof *p);
    mg_random_init(&p->random, 7);
    p->disk = mg_io_fault_new(1);
    p->schema = kit_schema(TABLE, 1, "d", "t", columns);
    p->keys = count_keys(p->schema);
    for (int e = 0; e < ENGINES; e++) {
        mg_budget_init(&p->budgets[e], "keys", NULL, SIZE_MAX);
        struct mg_engine_options options = {
            .folder = "/store", .io = mg_io_fault_io(p->disk), .budget = &p->budgets[e], .maintain_by_hand = true};
        must(all[e]->open(&options, &p->engines[e], err));
        kit_create(p->engines[e], p->schema);
    }
}

static void close_pair(struct pair *p)
{
    for (int e = 0; e < ENGINES; e++) {
        all[e]->close(p->engines[e]);
        assert_int_equal(mg_budget_used(&p->budgets[e]), 0);
    }
    mg_schema_unref(p->schema);
    mg_io_fault_free(p->disk);
}

static void live(const char *columns)
{
    struct pair p;
    struct mg_snapshot *old[ENGINES], *now[ENGINES];
    open_pair(&p, columns);
    for (int round = 0; round < ROUNDS; round++) {
        apply(&p, (uint64_t)round + 2, ROWS_A_ROUND);
        if (round >= FLUSH_FROM) /* until then chunks become full; later there are parts, too, or nothing but parts */
            must(all[MAGIC]->checkpoint(p.engines[MAGIC], round != FLUSH_FROM + 2, err));
        for (int e = 0; e < ENGINES; e++)
            now[e] = kit_snapshot(p.engines[e]);
        if (round % 2 == 1 || round == PIN_AT)
            same_answers(&p, now);
        for (int e = 0; e < ENGINES; e++)
            if (round == PIN_AT)
                old[e] = now[e];
            else
                all[e]->snapshot_unref(now[e]);
    }
    same_answers(&p, old);
    same_contradictions(&p);
    assert_true(p.keys < KEYS || kit_status(p.engines[MAGIC], "merges") > 0);
    for (int e = 0; e < ENGINES; e++)
        all[e]->snapshot_unref(old[e]);
    close_pair(&p);
}

#define REST "; 8 v int32 null; 9 t utf8 null"
#define KIND(name, columns) \
    static void name(void **state) { live(columns REST); }

KIND(keys_of_8_bits, "1 k int8 key")
KIND(keys_of_16_bits, "1 k int16 key")
KIND(keys_of_32_bits, "1 k int32 key")
KIND(keys_of_64_bits, "1 k int64 key")
KIND(keys_of_8_bits_unsigned, "1 k uint8 key")
KIND(keys_of_16_bits_unsigned, "1 k uint16 key")
KIND(keys_of_32_bits_unsigned, "1 k uint32 key")
KIND(keys_of_64_bits_unsigned, "1 k uint64 key")
KIND(keys_of_floats, "1 k float32 key; 2 j float64 key")
KIND(keys_of_decimals, "1 k decimal(12,2) key")
KIND(keys_of_wide_decimals, "1 k decimal(38,10) key")
KIND(keys_of_dates, "1 k date key")
KIND(keys_of_datetimes, "1 k datetime key")
KIND(keys_of_timestamps, "1 k timestamp key")
KIND(keys_of_binary_texts, "1 k utf8 key")
KIND(keys_of_padded_texts, "1 k utf8 key pad")
KIND(keys_of_handles, "-1 k int64 key hidden")
KIND(keys_of_number_and_text, "1 a int32 key; 2 b utf8 key pad")
KIND(keys_of_text_number_and_date, "1 a utf8 key; 2 b int64 key; 3 c date key")
KIND(keys_of_padded_and_binary_text, "1 a utf8 key pad; 2 b utf8 key")
KIND(keys_of_decimal_and_unsigned, "1 a decimal(20,4) key; 2 b uint64 key")
KIND(keys_of_time_and_small_number, "1 a timestamp key; 2 b int8 key; 3 c uint16 key; 4 d utf8 key")

/* ---- what find refuses --------------------------------------------------------------------------------------- */

static void a_find_that_cannot_be_is_refused(void **state)
{
    struct pair p;
    open_pair(&p, "1 k int64 key" REST);
    for (int e = 0; e < ENGINES; e++) {
        struct mg_snapshot *snapshot = kit_snapshot(p.engines[e]);
        struct mg_error story = MG_ERROR_INIT;
        struct mg_batch *batch = NULL;
        uint32_t row = 7, column = 3, offsets[2] = {0, 8};
        uint8_t key[8] = {0x80};
        struct mg_find_spec spec = {.table_id = TABLE, .keys = key, .offsets = offsets};
        must(all[e]->find(snapshot, &spec, &row, &batch, err)); /* no key: nothing happens */
        assert_true(row == 7 && !batch);
        spec.key_count = 1;
        spec.columns = &column;
        spec.column_count = 1;
        assert_int_equal(all[e]->find(snapshot, &spec, &row, &batch, &story), MG_INVALID);
        assert_non_null(strstr(story.text, "column 3"));
        column = 0;
        must(all[e]->find(snapshot, &spec, &row, &batch, err));
        assert_true(row == MG_FIND_NONE && !batch);
        offsets[1] = 3; /* no key of this table is so short */
        must(all[e]->find(snapshot, &spec, &row, &batch, err));
        assert_true(row == MG_FIND_NONE && !batch);
        spec.key_count = MG_FIND_KEYS_MAX + 1;
        assert_int_equal(all[e]->find(snapshot, &spec, &row, &batch, &story), MG_TOO_BIG);
        spec.key_count = 1;
        spec.table_id = 99;
        assert_int_equal(all[e]->find(snapshot, &spec, &row, &batch, &story), MG_NOT_FOUND);
        all[e]->snapshot_unref(snapshot);
    }
    close_pair(&p);
}

static void a_find_counts_its_memory(void **state)
{
    struct pair p;
    static struct question q;
    static uint32_t rows[ASKED];
    open_pair(&p, "1 k int64 key" REST);
    apply(&p, 2, ROWS_A_ROUND);
    ask_for(&p, &q, ASKED, false);
    for (int e = 0; e < ENGINES; e++) {
        struct mg_budget little;
        struct mg_error story = MG_ERROR_INIT;
        struct mg_snapshot *snapshot = kit_snapshot(p.engines[e]);
        struct mg_batch *batch = NULL;
        uint32_t columns[] = {0, 1, 2};
        struct mg_find_spec spec = {.table_id = TABLE,
                                    .key_count = q.count,
                                    .keys = q.keys.data,
                                    .offsets = q.offsets,
                                    .columns = columns,
                                    .column_count = 3,
                                    .budget = &little};
        mg_budget_init(&little, "little", NULL, 1000);
        assert_int_equal(all[e]->find(snapshot, &spec, rows, &batch, &story), MG_NO_MEMORY);
        assert_int_equal(mg_budget_used(&little), 0);
        all[e]->snapshot_unref(snapshot);
    }
    mg_buffer_clear(&q.keys);
    close_pair(&p);
}

/* Without deleted rows all is exact but the number of different values: half in memory, half in parts, and rows from
 * before a column was there. */
static void statistics_without_deleted_rows_are_exact(void **state)
{
    enum { ROWS = 60000, BATCH = 20000 };
    struct pair p;
    open_pair(&p, "1 k int64 key" REST);
    struct mg_schema *wider = kit_schema(TABLE, 2, "d", "t", "1 k int64 key" REST "; 10 later int32 null missing=5");
    static const uint8_t inserts[BATCH];
    for (uint32_t first = 0; first < ROWS; first += BATCH) {
        struct mg_batch_builder builder;
        begin_rows(&p, &builder);
        for (uint32_t i = first; i < first + BATCH; i++) {
            must(mg_builder_int(&builder, 0, (int64_t)(i * 2654435761U), err));
            must(i % 4 ? mg_builder_int(&builder, 1, (int64_t)(i % 5000), err) : mg_builder_null(&builder, 1, err));
            must(mg_builder_text(&builder, 2, MG_SLICE("abcdefghijklmnop", 1 + i % 16), err));
            if (p.schema->column_count > 3)
                must(mg_builder_int(&builder, 3, 6, err));
        }
        struct mg_batch *rows = end_rows(&builder);
        for (int e = 0; e < ENGINES; e++) {
            struct mg_changes changes = {
                .table_id = TABLE, .schema_version = p.schema->version, .rows = rows, .ops = inserts};
            struct mg_epoch *epoch = kit_begin(p.engines[e]);
            must(all[e]->put(epoch, &changes, err));
            kit_publish(epoch, first + 10);
        }
        mg_batch_unref(rows);
        if (first == 0)
            must(all[MAGIC]->checkpoint(p.engines[MAGIC], true, err));
        for (int e = 0; first == BATCH && e < ENGINES; e++)
            kit_create(p.engines[e], wider);
        if (first == BATCH) {
            mg_schema_unref(p.schema);
            p.schema = wider;
        }
    }
    struct mg_snapshot *now[ENGINES] = {kit_snapshot(p.engines[MAGIC]), kit_snapshot(p.engines[MODEL])};
    struct mg_column_stats *stats;
    struct mg_arena arena;
    p.keys = ROWS;
    same_statistics(&p, now);
    mg_arena_init(&arena, 1 << 20);
    must(all[MAGIC]->column_stats(now[MAGIC], TABLE, NULL, &arena, &stats, err));
    for (uint32_t c = 0; c < p.schema->column_count; c++) {
        bool cut = p.schema->columns[c].type.id == MG_TYPE_UTF8; /* in parts */
        assert_true(stats[c].is_exact && stats[c].has_bounds && stats[c].bounds_exact == !cut);
    }
    assert_int_equal(stats[1].null_count, ROWS / 4);
    assert_int_equal(stats[3].low.i, 5);
    assert_int_equal(stats[3].high.i, 6);
    assert_int_equal(stats[3].distinct_count, 2);
    bool *wanted = calloc(p.schema->column_count, sizeof *wanted);
    assert_non_null(wanted);
    wanted[p.schema->column_count - 1] = true;
    for (int e = 0; e < ENGINES; e++) {
        must(all[e]->column_stats(now[e], TABLE, wanted, &arena, &stats, err));
        for (uint32_t c = 0; c < p.schema->column_count; c++)
            assert_int_equal(stats[c].has_bounds, wanted[c]);
    }
    free(wanted);
    mg_arena_clear(&arena);
    for (int e = 0; e < ENGINES; e++)
        all[e]->snapshot_unref(now[e]);
    close_pair(&p);
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test(name)
    static const struct CMUnitTest tests[] = {
        T(keys_of_8_bits),
        T(keys_of_16_bits),
        T(keys_of_32_bits),
        T(keys_of_64_bits),
        T(keys_of_8_bits_unsigned),
        T(keys_of_16_bits_unsigned),
        T(keys_of_32_bits_unsigned),
        T(keys_of_64_bits_unsigned),
        T(keys_of_floats),
        T(keys_of_decimals),
        T(keys_of_wide_decimals),
        T(keys_of_dates),
        T(keys_of_datetimes),
        T(keys_of_timestamps),
        T(keys_of_binary_texts),
        T(keys_of_padded_texts),
        T(keys_of_handles),
        T(keys_of_number_and_text),
        T(keys_of_text_number_and_date),
        T(keys_of_padded_and_binary_text),
        T(keys_of_decimal_and_unsigned),
        T(keys_of_time_and_small_number),
        T(a_find_that_cannot_be_is_refused),
        T(a_find_counts_its_memory),
        T(statistics_without_deleted_rows_are_exact),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
