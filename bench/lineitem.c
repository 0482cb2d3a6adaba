/* lineitem.c -- rows of lineitem: read from Parquet through python3 with pyarrow, as `magic load` does, or made here.
 *
 * Made here  four lines an order, TPC-H's ranges and types, uniform; short comments. For tests and machines without
 *            peers: figures of made rows are not for the record.
 * Shuffled   from a file that peers/data.py wrote in random order; made rows get a random order of orders.
 * Threads    as lineitem.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "lineitem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "cli/load_file.h"
#include "peer.h"

enum { COLUMNS = 16, MADE_BATCH = 16384, LINES = 4 };
enum { ORDERKEY = 0, LINENUMBER = 3, QUANTITY = 4, PRICE = 5 };

struct lineitem_source {
    struct mg_load_file *file; /* NULL: made here */
    char path[4200];
    const struct mg_field *fields;
    uint32_t field_count;

    struct mg_field made[COLUMNS];
    struct mg_random random;
    uint64_t rows, rows_max, order_stride;
};

/* ---- made here ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum mg_type_id type;
} columns[COLUMNS] = {
    {"l_orderkey", MG_TYPE_INT64},   {"l_partkey", MG_TYPE_INT64},     {"l_suppkey", MG_TYPE_INT64},
    {"l_linenumber", MG_TYPE_INT32}, {"l_quantity", MG_TYPE_DECIMAL},  {"l_extendedprice", MG_TYPE_DECIMAL},
    {"l_discount", MG_TYPE_DECIMAL}, {"l_tax", MG_TYPE_DECIMAL},       {"l_returnflag", MG_TYPE_UTF8},
    {"l_linestatus", MG_TYPE_UTF8},  {"l_shipdate", MG_TYPE_DATE},     {"l_commitdate", MG_TYPE_DATE},
    {"l_receiptdate", MG_TYPE_DATE}, {"l_shipinstruct", MG_TYPE_UTF8}, {"l_shipmode", MG_TYPE_UTF8},
    {"l_comment", MG_TYPE_UTF8},
};

static void make_fields(struct lineitem_source *source)
{
    for (int c = 0; c < COLUMNS; c++) {
        struct mg_field *field = &source->made[c];
        field->name = mg_slice_text(columns[c].name);
        field->type.id = columns[c].type;
        if (columns[c].type == MG_TYPE_DECIMAL) {
            field->type.precision = 15;
            field->type.scale = 2;
        }
    }
    source->fields = source->made;
    source->field_count = COLUMNS;
}

static int64_t made_number(struct lineitem_source *source, int c, uint64_t row)
{
    struct mg_random *random = &source->random;

    switch (c) {
    case ORDERKEY: return (int64_t)(row / LINES * source->order_stride % (source->rows_max / LINES + 1)) + 1;
    case LINENUMBER: return (int64_t)(row % LINES) + 1;
    case QUANTITY: return (int64_t)(1 + mg_random_below(random, 50)) * 100;
    case PRICE: return 90000 + (int64_t)mg_random_below(random, 10400000);
    case 6: return (int64_t)mg_random_below(random, 11); /* discount */
    case 7: return (int64_t)mg_random_below(random, 9);  /* tax */
    default:
        return columns[c].type == MG_TYPE_DATE ? 8036 + (int64_t)mg_random_below(random, 2526)
                                               : 1 + (int64_t)mg_random_below(random, 200000);
    }
}

static struct mg_batch *make_rows(struct lineitem_source *source)
{
    static const char *const texts[] = {"A", "N", "R", "F", "O", "NONE", "AIR", "carefully final deposits"};
    uint32_t count = (uint32_t)MG_MIN((uint64_t)MADE_BATCH, source->rows_max - source->rows);
    struct mg_batch_builder builder;
    struct mg_type types[COLUMNS];
    struct mg_batch *batch;

    for (int c = 0; c < COLUMNS; c++)
        types[c] = source->made[c].type;
    try(mg_batch_builder_init(&builder, types, COLUMNS, NULL, (size_t)1 << 30, err));
    for (uint64_t row = source->rows; row < source->rows + count; row++)
        for (uint32_t c = 0; c < COLUMNS; c++) {
            if (columns[c].type == MG_TYPE_UTF8)
                try(mg_builder_text(&builder, c, mg_slice_text(texts[mg_random_below(&source->random, 8)]), err));
            else if (columns[c].type == MG_TYPE_DECIMAL)
                try(mg_builder_decimal(&builder, c, made_number(source, (int)c, row), err));
            else
                try(mg_builder_int(&builder, c, made_number(source, (int)c, row), err));
        }
    source->rows += count;
    try(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    return batch;
}

/* ---- from files ---------------------------------------------------------------------------------------------- */

bool lineitem_is_made_here(const struct bench_options *options) { return options->rows > 0; }

void lineitem_folder(const struct bench_options *options, char path[4096])
{
    char data[4000];

    if (options->data)
        snprintf(data, sizeof data, "%s", options->data);
    else
        bench_beside("../bench-data", data);
    snprintf(path, 4096, "%s/sf%d", data, options->full ? 10 : 1);
}

static void open_file(struct lineitem_source *source, const struct bench_options *options, bool shuffled)
{
    char folder[4096], python[4096];

    lineitem_folder(options, folder);
    snprintf(source->path, sizeof source->path, "%s/lineitem%s", folder, shuffled ? "-shuffled.arrow" : ".parquet");
    if (access(source->path, R_OK) != 0) {
        bench_say(options, "%s: makes %s (once)\n", bench_name, source->path);
        if (!peer_run(options, "data.py",
                      (const char *[]){folder, options->full ? "10" : "1", shuffled ? "shuffled" : "plain", NULL}))
            bench_die("%s could not be made; --rows N does without", source->path);
    }
    peer_python(options, python);
    setenv("MAGIC_PYTHON", python, 1); /* it reads Parquet for us */
    try(mg_load_file_open(source->path, &source->file, err));
    source->fields = mg_load_file_fields(source->file, &source->field_count);
}

struct lineitem_source *lineitem_open(const struct bench_options *options, bool shuffled)
{
    struct lineitem_source *source = calloc(1, sizeof *source);

    if (!source)
        bench_die("no memory");
    if (!lineitem_is_made_here(options)) {
        open_file(source, options, shuffled);
        return source;
    }
    mg_random_init(&source->random, 1);
    source->rows_max = options->rows;
    /* A stride without a common divisor gives each order once, in an order that looks random. */
    source->order_stride = 1;
    if (shuffled)
        for (source->order_stride = 1000003; (options->rows / LINES + 1) % source->order_stride == 0;)
            source->order_stride += 30;
    make_fields(source);
    return source;
}

void lineitem_close(struct lineitem_source *source)
{
    mg_load_file_close(source->file);
    free(source);
}

struct mg_batch *lineitem_next(struct lineitem_source *source)
{
    struct mg_batch *batch;

    if (!source->file)
        return source->rows < source->rows_max ? make_rows(source) : NULL;
    do
        try(mg_load_file_next(source->file, &batch, err));
    while (batch && batch->row_count == 0);
    return batch;
}

const struct mg_field *lineitem_fields(const struct lineitem_source *source, uint32_t *out_count)
{
    *out_count = source->field_count;
    return source->fields;
}

struct mg_schema *lineitem_schema(const struct lineitem_source *source)
{
    struct mg_schema *schema = mg_schema_new();

    schema->table_id = schema->version = 1;
    try(mg_schema_text(&schema->database, mg_slice_text("tpch"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("lineitem"), err));
    for (uint32_t c = 0; c < source->field_count; c++) {
        struct mg_column *column;
        try(mg_schema_add_column(schema, &column, err));
        try(mg_schema_text(&column->name, source->fields[c].name, err));
        column->id = c + 1;
        column->type = source->fields[c].type;
    }
    schema->key_count = 2;
    schema->key_columns[0] = ORDERKEY;
    schema->key_columns[1] = LINENUMBER;
    try(mg_schema_seal(schema, err));
    return schema;
}

uint64_t lineitem_fill(struct bench_store *store, const struct bench_options *options, bool settle)
{
    struct lineitem_source *source = lineitem_open(options, false);
    uint64_t rows = 0;

    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch)) {
        bench_store_apply(store, batch, NULL);
        rows += batch->row_count;
    }
    lineitem_close(source);
    if (settle)
        bench_store_settle(store);
    return rows;
}

/* ---- changes ------------------------------------------------------------------------------------------------- */

static int pick(const struct mg_batch *batch, uint32_t row)
{
    int64_t order = ((const int64_t *)batch->vectors[ORDERKEY].values)[row];
    int64_t line = ((const int32_t *)batch->vectors[LINENUMBER].values)[row];

    return (int)((order * 7919 + line * 104729) % 1000003 % 100);
}

/* The batch is ours alone: nobody else has seen it yet. */
static void update(struct mg_batch *batch, uint32_t row)
{
    mg_int128 price, quantity;
    uint8_t *prices = (uint8_t *)(uintptr_t)batch->vectors[PRICE].values + (size_t)row * sizeof price;
    uint8_t *quantities = (uint8_t *)(uintptr_t)batch->vectors[QUANTITY].values + (size_t)row * sizeof quantity;

    memcpy(&price, prices, sizeof price);
    memcpy(&quantity, quantities, sizeof quantity);
    price += 100;
    quantity = 5100 - quantity;
    memcpy(prices, &price, sizeof price);
    memcpy(quantities, &quantity, sizeof quantity);
}

struct mg_batch *lineitem_changes(const struct mg_batch *batch, uint8_t *ops)
{
    uint32_t *rows = calloc((size_t)batch->row_count + 1, sizeof *rows), count = 0;
    struct mg_batch *chosen = NULL;

    if (!rows)
        bench_die("no memory");
    for (uint32_t row = 0; row < batch->row_count; row++) {
        if (pick(batch, row) > 10)
            continue;
        ops[count] = pick(batch, row) == 10 ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE;
        rows[count++] = row;
    }
    if (count)
        try(mg_batch_select(batch, rows, count, NULL, &chosen, err));
    for (uint32_t i = 0; i < count; i++)
        update(chosen, i);
    free(rows);
    return chosen;
}

struct mg_batch *lineitem_after(const struct mg_batch *batch)
{
    uint32_t *rows = calloc((size_t)batch->row_count + 1, sizeof *rows), count = 0;
    struct mg_batch *after;

    if (!rows)
        bench_die("no memory");
    for (uint32_t row = 0; row < batch->row_count; row++)
        if (pick(batch, row) != 10)
            rows[count++] = row;
    try(mg_batch_select(batch, rows, count, NULL, &after, err));
    for (uint32_t i = 0; i < count; i++)
        if (pick(after, i) < 10)
            update(after, i);
    free(rows);
    return after;
}
