/* engine_kit.c -- see engine_kit.h.
 * Threads  one test thread: results of kit_rows are static.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define must(call)                                                                 \
    do {                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                \
        enum mg_code must_code = (call);                                           \
        if (must_code != MG_OK)                                                    \
            fail_msg("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

enum { FIELD_MAX = 10240, ROWS_TEXT_MAX = 64 << 20 };

/* The next piece of *text up to one of the characters in stops, without blanks around it; false at the end. */
static bool next_piece(const char **text, const char *stops, char out[FIELD_MAX])
{
    const char *at = *text + strspn(*text, " \n");
    if (*at == 0)
        return false;
    size_t size = strcspn(at, stops);
    *text = at + size + (at[size] != 0);
    while (size && (at[size - 1] == ' ' || at[size - 1] == '\n'))
        size--;
    assert_true(size < FIELD_MAX);
    memcpy(out, at, size);
    out[size] = 0;
    return true;
}

/* ---- schemas ------------------------------------------------------------------------------------------------- */

static struct mg_type parse_type(const char *text)
{
    static const struct {
        const char *name;
        enum mg_type_id id;
    } names[] = {
        {"int8", MG_TYPE_INT8},           {"int16", MG_TYPE_INT16},   {"int32", MG_TYPE_INT32},
        {"int64", MG_TYPE_INT64},         {"uint8", MG_TYPE_UINT8},   {"uint16", MG_TYPE_UINT16},
        {"uint32", MG_TYPE_UINT32},       {"uint64", MG_TYPE_UINT64}, {"float32", MG_TYPE_FLOAT32},
        {"float64", MG_TYPE_FLOAT64},     {"date", MG_TYPE_DATE},     {"datetime", MG_TYPE_DATETIME},
        {"timestamp", MG_TYPE_TIMESTAMP}, {"utf8", MG_TYPE_UTF8},
    };
    struct mg_type type = {0};
    unsigned precision, scale;
    if (sscanf(text, "decimal(%u,%u)", &precision, &scale) == 2)
        return (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
    for (size_t i = 0; i < MG_COUNT_OF(names); i++)
        if (strcmp(text, names[i].name) == 0)
            type.id = names[i].id;
    if (type.id == MG_TYPE_NONE)
        fail_msg("no type is called %s", text);
    if (type.id == MG_TYPE_DATETIME || type.id == MG_TYPE_TIMESTAMP)
        type.precision = 6;
    return type;
}

static void add_column(struct mg_schema *schema, const char *text)
{
    char word[FIELD_MAX];
    struct mg_column *column;
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 16);
    must(mg_schema_add_column(schema, &column, err));
    assert_true(next_piece(&text, " ", word));
    column->id = atoll(word);
    assert_true(next_piece(&text, " ", word));
    must(mg_schema_text(&column->name, mg_slice_text(word), err));
    assert_true(next_piece(&text, " ", word));
    column->type = parse_type(word);
    while (next_piece(&text, " ", word)) {
        if (strcmp(word, "key") == 0) {
            schema->key_columns[schema->key_count++] = schema->column_count - 1;
        } else if (strcmp(word, "null") == 0) {
            column->nullable = true;
        } else if (strcmp(word, "hidden") == 0) {
            column->hidden = true;
        } else if (strcmp(word, "pad") == 0) {
            column->type.collation = MG_COLLATION_PAD_SPACE;
        } else if (strncmp(word, "missing=", 8) == 0) {
            struct mg_value missing = kit_value(column->type, word + 8, &arena);
            must(mg_schema_set_missing(column, &missing, err));
        } else {
            fail_msg("no column is %s", word);
        }
    }
    mg_arena_clear(&arena);
}

struct mg_schema *kit_schema_state(uint64_t table_id, uint64_t version, const char *database, const char *table,
                                   const char *columns, enum mg_table_state state, const char *reason)
{
    struct mg_schema *schema = mg_schema_new();
    assert_non_null(schema);
    schema->table_id = table_id;
    schema->version = version;
    must(mg_schema_text(&schema->database, mg_slice_text(database), err));
    must(mg_schema_text(&schema->table, mg_slice_text(table), err));
    must(mg_schema_text(&schema->source, mg_slice_text("test"), err));
    schema->state = state;
    if (reason)
        must(mg_schema_text(&schema->state_reason, mg_slice_text(reason), err));
    char column[FIELD_MAX];
    while (next_piece(&columns, ";", column))
        add_column(schema, column);
    must(mg_schema_seal(schema, err));
    return schema;
}

struct mg_schema *kit_schema(uint64_t table_id, uint64_t version, const char *database, const char *table,
                             const char *columns)
{
    return kit_schema_state(table_id, version, database, table, columns, MG_STATE_OK, NULL);
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

struct mg_value kit_value(struct mg_type type, const char *text, struct mg_arena *arena)
{
    struct mg_value value = {.type = type};
    if (strcmp(text, "NULL") == 0) {
        value.is_null = true;
        return value;
    }
    switch (type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: value.f = strtod(text, NULL); break;
    case MG_TYPE_DECIMAL:
        if (text[0])
            must(mg_decimal_parse(mg_slice_text(text), type.precision, type.scale, &value.d, err));
        break;
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: value.u = strtoull(text, NULL, 10); break;
    case MG_TYPE_UTF8: {
        char *copy = mg_arena_text(arena, mg_slice_text(text));
        assert_non_null(copy);
        for (char *c = copy; *c; c++)
            *c = *c == '_' ? ' ' : *c == '~' ? ',' : *c;
        value.text = mg_slice_text(copy);
        break;
    }
    default: value.i = strtoll(text, NULL, 10); break;
    }
    return value;
}

static enum mg_change_op parse_op(const char *row)
{
    switch (row[0]) {
    case 'I': return MG_CHANGE_INSERT;
    case 'U': return MG_CHANGE_UPDATE;
    case 'D': return MG_CHANGE_DELETE;
    default: fail_msg("a change begins with I, U or D, not %s", row); return MG_CHANGE_INSERT;
    }
}

static void add_row(struct mg_batch_builder *builder, const struct mg_schema *schema, const char *text,
                    struct mg_arena *arena)
{
    for (uint32_t c = 0; c < schema->column_count; c++) {
        char field[FIELD_MAX];
        size_t size = strcspn(text, ",");
        memcpy(field, text, size);
        field[size] = 0;
        text += size + (text[size] != 0);
        struct mg_value value = kit_value(schema->columns[c].type, field, arena);
        if (value.is_null)
            must(mg_builder_null(builder, c, err));
        else
            must(mg_builder_value(builder, c, &value, err));
    }
}

void kit_changes_make(const struct mg_schema *schema, const char *text, struct kit_changes *out)
{
    struct mg_batch_builder builder;
    struct mg_type types[64];
    uint32_t count = 0;
    struct mg_arena arena;
    mg_arena_init(&arena, 16 << 20);
    for (uint32_t c = 0; c < schema->column_count; c++)
        types[c] = schema->columns[c].type;
    must(mg_batch_builder_init(&builder, types, schema->column_count, NULL, 1 << 30, err));
    char row[FIELD_MAX];
    while (next_piece(&text, "|", row)) {
        assert_true(count < sizeof out->ops);
        out->ops[count++] = (uint8_t)parse_op(row);
        add_row(&builder, schema, row + 1 + strspn(row + 1, " "), &arena);
    }
    must(mg_batch_builder_finish(&builder, count, &out->rows, err));
    mg_batch_builder_clear(&builder);
    mg_arena_clear(&arena);
}

void kit_changes_clear(struct kit_changes *changes) { mg_batch_unref(changes->rows); }

enum mg_code kit_try_put(struct mg_epoch *epoch, const struct mg_schema *schema, const char *text,
                         struct mg_error *err_out)
{
    struct kit_changes made;
    kit_changes_make(schema, text, &made);
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = made.rows, .ops = made.ops};
    enum mg_code code = epoch->engine->ops->put(epoch, &changes, err_out);
    kit_changes_clear(&made);
    return code;
}

void kit_put(struct mg_epoch *epoch, const struct mg_schema *schema, const char *changes)
{
    must(kit_try_put(epoch, schema, changes, err));
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

struct mg_epoch *kit_begin(struct mg_engine *engine)
{
    struct mg_epoch *epoch;
    must(engine->ops->begin(engine, "test", 1, &epoch, err));
    return epoch;
}

uint64_t kit_publish(struct mg_epoch *epoch, uint64_t watermark)
{
    struct mg_engine *engine = epoch->engine;
    uint64_t number;
    must(engine->ops->publish(epoch, watermark, MG_SLICE("pos", 3), &number, err));
    must(engine->ops->wait(engine, number, 10000, err));
    return number;
}

enum mg_code kit_change(struct mg_epoch *epoch, enum mg_schema_change_kind kind, const char *database,
                        struct mg_schema *schema, uint64_t table_id)
{
    struct mg_schema_change change = {kind, database, schema, table_id};
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = epoch->engine->ops->change_schema(epoch, &change, &err);
    assert_true(code == MG_OK || err.text[0]);
    return code;
}

static uint64_t next_watermark(struct mg_engine *engine)
{
    struct mg_source_position position;
    must(engine->ops->position(engine, "test", &position, err));
    return position.watermark + 1;
}

uint64_t kit_create(struct mg_engine *engine, struct mg_schema *schema)
{
    uint64_t watermark = next_watermark(engine);
    struct mg_epoch *epoch = kit_begin(engine);
    enum mg_code code = kit_change(epoch, MG_SCHEMA_CREATE_DATABASE, schema->database, NULL, 0);
    assert_true(code == MG_OK || code == MG_EXISTS);
    assert_int_equal(kit_change(epoch, MG_SCHEMA_PUT_TABLE, NULL, schema, 0), MG_OK);
    return kit_publish(epoch, watermark);
}

uint64_t kit_apply(struct mg_engine *engine, const struct mg_schema *schema, const char *changes)
{
    uint64_t watermark = next_watermark(engine);
    struct mg_epoch *epoch = kit_begin(engine);
    kit_put(epoch, schema, changes);
    return kit_publish(epoch, watermark);
}

struct mg_snapshot *kit_snapshot(struct mg_engine *engine)
{
    struct mg_snapshot *snapshot;
    must(engine->ops->snapshot(engine, &snapshot, err));
    return snapshot;
}

/* ---- scans --------------------------------------------------------------------------------------------------- */

struct line {
    size_t at;
};

static _Thread_local struct mg_buffer lines, sorted;

static int compare_lines(const void *a, const void *b)
{
    return strcmp((const char *)lines.data + ((const struct line *)a)->at,
                  (const char *)lines.data + ((const struct line *)b)->at);
}

static const char *join_lines(struct line *starts, size_t count, bool in_order)
{
    if (!in_order)
        qsort(starts, count, sizeof *starts, compare_lines);
    mg_buffer_clear(&sorted);
    mg_buffer_init(&sorted, ROWS_TEXT_MAX);
    for (size_t i = 0; i < count; i++)
        must(mg_buffer_printf(&sorted, err, "%s%s", i ? "\n" : "", (const char *)lines.data + starts[i].at));
    must(mg_buffer_append(&sorted, "", 1, err));
    return (const char *)sorted.data;
}

static void append_batch(const struct mg_batch *batch, struct line **starts, size_t *count)
{
    must(mg_batch_check(batch, err));
    *starts = realloc(*starts, (*count + batch->row_count) * sizeof **starts);
    assert_non_null(*starts);
    for (uint32_t row = 0; row < batch->row_count; row++) {
        (*starts)[(*count)++].at = lines.size;
        for (uint32_t c = 0; c < batch->column_count; c++) {
            struct mg_value value = mg_vector_value(&batch->vectors[c], row);
            if (c)
                must(mg_buffer_append(&lines, ",", 1, err));
            must(mg_value_format(&value, &lines, err));
        }
        must(mg_buffer_append(&lines, "", 1, err));
    }
}

static uint32_t choose_columns(const struct mg_schema *schema, const char *names, uint32_t *out)
{
    uint32_t count = 0;
    char name[FIELD_MAX];
    if (!names) {
        for (; count < schema->column_count; count++)
            out[count] = count;
        return count;
    }
    while (next_piece(&names, ",", name)) {
        int at = mg_schema_find_name(schema, mg_slice_text(name));
        assert_true(at >= 0);
        out[count++] = (uint32_t)at;
    }
    return count;
}

static struct mg_predicate *make_predicate(const struct mg_schema *schema, const struct kit_scan *scan,
                                           struct mg_arena *arena)
{
    if (!scan->where_column)
        return NULL;
    int at = mg_schema_find_name(schema, mg_slice_text(scan->where_column));
    assert_true(at >= 0);
    struct mg_value value = kit_value(schema->columns[at].type, scan->literal ? scan->literal : "NULL", arena);
    struct mg_expr *args[2] = {mg_expr_column(arena, mg_slice_text(scan->where_column)),
                               mg_expr_literal(arena, &value)};
    struct mg_expr *call = mg_expr_call(arena, scan->op, args, scan->literal ? 2 : 1);
    struct mg_predicate *predicate;
    must(mg_predicate_bind(call, schema, &predicate, err));
    return predicate;
}

const char *kit_rows(struct mg_snapshot *snapshot, uint64_t table_id, const struct kit_scan *wanted)
{
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    struct kit_scan all = {0};
    struct mg_schema *schema;
    struct mg_arena arena;
    uint32_t columns[MG_COLUMNS_MAX];
    wanted = wanted ? wanted : &all;
    mg_arena_init(&arena, 1 << 20);
    must(ops->table_by_id(snapshot, table_id, &schema, err));
    struct mg_predicate *predicate = make_predicate(schema, wanted, &arena);
    struct mg_scan_spec spec = {
        .table_id = table_id,
        .columns = columns,
        .column_count = wanted->aggregate ? 0 : choose_columns(schema, wanted->columns, columns),
        .aggregate = wanted->aggregate,
        .order = wanted->order,
        .order_count = wanted->order_count,
        .predicate = wanted->predicate ? wanted->predicate : predicate,
        .range = wanted->range,
        .limit = wanted->limit,
        .batch_rows_max = wanted->batch_rows_max,
    };
    mg_buffer_clear(&lines);
    mg_buffer_init(&lines, ROWS_TEXT_MAX);
    struct line *starts = NULL;
    size_t count = 0;
    struct mg_scan *scan;
    must(ops->scan(snapshot, &spec, &scan, err));
    for (;;) {
        struct mg_batch *batch;
        must(ops->next(scan, &batch, err));
        if (!batch)
            break;
        assert_true(batch->row_count > 0);
        if (wanted->batch_rows_max)
            assert_true(batch->row_count <= wanted->batch_rows_max);
        append_batch(batch, &starts, &count);
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    mg_predicate_free(predicate);
    mg_arena_clear(&arena);
    mg_schema_unref(schema);
    const char *result = count ? join_lines(starts, count, wanted->order_count > 0) : "";
    free(starts);
    return result;
}

void kit_forget(void)
{
    mg_buffer_clear(&lines);
    mg_buffer_clear(&sorted);
}

const char *kit_now(struct mg_engine *engine, uint64_t table_id)
{
    struct mg_snapshot *snapshot = kit_snapshot(engine);
    const char *rows = kit_rows(snapshot, table_id, NULL);
    engine->ops->snapshot_unref(snapshot);
    return rows;
}

struct wanted_status {
    const char *name;
    bool found;
    uint64_t value;
};

static enum mg_code find_status(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct wanted_status *wanted = arg;
    if (strcmp(name, wanted->name) == 0) {
        wanted->found = true;
        wanted->value = strtoull(value, NULL, 10);
    }
    return MG_OK;
}

uint64_t kit_status(struct mg_engine *engine, const char *name)
{
    struct wanted_status wanted = {.name = name};
    must(engine->ops->status(engine, find_status, &wanted, err));
    if (!wanted.found)
        fail_msg("the status of %s does not say %s", engine->ops->name, name);
    return wanted.value;
}
