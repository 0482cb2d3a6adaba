/* flight_fixture.c -- the store that the interop tests read: tables of every type, many epochs, states that cannot be
 * read.
 *
 *   flight_fixture fill DIR [--rows N]
 *       writes DIR/store with the magic engine and ends; magicd --data DIR then serves it.
 *   flight_fixture serve --address-file FILE [--listen ADDR] [--rows N] [--ttl-ms N] [--live MS] [--force-splits]
 *       fills a model engine and serves it until SIGTERM, without magicd. --live: moves money between two tables each
 *       MS.
 *
 * What is in it is known by formula; flight_data.py says the same formulas in Python.
 *   shop.types    every type, 1,000 rows, about a tenth NULL          shop.big     --rows rows (100,000) to split
 *   shop.wide     rows of up to 300 KiB                                shop.empty   no rows
 *   shop.nokey    a hidden row handle                                  shop.pairs   a composite key with text
 *   shop.history  10 rows, value k after the epoch with W = 1000 + k   shop.left, shop.right  their sums are always 0
 *                 together
 *   shop.broken   unsupported                                          shop.stale   needs-reload
 *   other.t       one row                                              void         an empty database
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "connector/flight/flight.h"
#include "grpc/grpc.h"
#include "latch/latch.h"

enum { TYPE_ROWS = 1000, HISTORY_EPOCHS = 50, HISTORY_ROWS = 10, WIDE_ROWS = 40, ACCOUNTS = 100, PUT_ROWS = 50000 };

#ifdef FIXTURE_WITH_MAGIC
static const struct mg_engine_ops *const fill_engine = &mg_engine_magic;
#else
static const struct mg_engine_ops *const fill_engine = NULL;
#endif

static struct mg_error err;

static void must(enum mg_code code, const char *what)
{
    if (code == MG_OK)
        return;
    fprintf(stderr, "flight_fixture: %s: %s: %s\n", what, mg_code_name(code), err.text);
    exit(1);
}
#define MUST(call) must((call), #call)

/* ---- tables ---- */

struct column {
    const char *name, *source_type;
    struct mg_type type;
    bool nullable, hidden;
};

static struct mg_schema *new_schema(struct mg_engine *engine, const char *database, const char *table)
{
    struct mg_schema *schema = mg_schema_new();

    if (!schema)
        exit(1);
    MUST(engine->ops->reserve(engine, &schema->table_id, &schema->version, &err));
    MUST(mg_schema_text(&schema->database, mg_slice_text(database), &err));
    MUST(mg_schema_text(&schema->table, mg_slice_text(table), &err));
    MUST(mg_schema_text(&schema->source, mg_slice_text("tidb"), &err));
    return schema;
}

static void add_columns(struct mg_schema *schema, const struct column *columns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mg_column *column;
        MUST(mg_schema_add_column(schema, &column, &err));
        column->id = columns[i].hidden ? MG_COLUMN_ROWID : (int64_t)i + 1;
        column->type = columns[i].type;
        column->nullable = columns[i].nullable;
        column->hidden = columns[i].hidden;
        column->missing.is_null = true;
        MUST(mg_schema_text(&column->name, mg_slice_text(columns[i].name), &err));
        MUST(mg_schema_text(&column->source_type, mg_slice_text(columns[i].source_type), &err));
    }
}

/* Creates the table in this epoch; the key is the first key_count columns. */
static struct mg_schema *create(struct mg_epoch *epoch, const char *database, const char *table,
                                const struct column *columns, size_t count, uint32_t key_count)
{
    struct mg_schema *schema = new_schema(epoch->engine, database, table);

    add_columns(schema, columns, count);
    schema->key_count = key_count;
    for (uint32_t i = 0; i < key_count; i++)
        schema->key_columns[i] = i;
    MUST(mg_schema_seal(schema, &err));
    struct mg_schema_change change = {.kind = MG_SCHEMA_PUT_TABLE, .schema = schema};
    MUST(epoch->engine->ops->change_schema(epoch, &change, &err));
    return schema;
}

static void create_state(struct mg_epoch *epoch, const char *table, enum mg_table_state state, const char *reason,
                         uint64_t good_until_ts)
{
    struct mg_schema *schema = new_schema(epoch->engine, "shop", table);

    schema->state = state;
    schema->good_until_ts = good_until_ts;
    MUST(mg_schema_text(&schema->state_reason, mg_slice_text(reason), &err));
    MUST(mg_schema_seal(schema, &err));
    struct mg_schema_change change = {.kind = MG_SCHEMA_PUT_TABLE, .schema = schema};
    MUST(epoch->engine->ops->change_schema(epoch, &change, &err));
    mg_schema_unref(schema);
}

/* ---- rows ---- */

/* Rows of one table on their way into an epoch. */
struct rows {
    struct mg_epoch *epoch;
    const struct mg_schema *schema;
    struct mg_batch_builder builder;
    uint8_t *ops;
    uint32_t count, column;
};

static void rows_begin(struct rows *rows, struct mg_epoch *epoch, const struct mg_schema *schema)
{
    struct mg_type types[64];

    *rows = (struct rows){.epoch = epoch, .schema = schema, .ops = malloc(PUT_ROWS)};
    for (uint32_t i = 0; i < schema->column_count; i++)
        types[i] = schema->columns[i].type;
    MUST(mg_batch_builder_init(&rows->builder, types, schema->column_count, NULL, 1 << 30, &err));
}

static void rows_flush(struct rows *rows)
{
    struct mg_batch *batch = NULL;

    if (rows->count == 0)
        return;
    MUST(mg_batch_builder_finish(&rows->builder, rows->count, &batch, &err));
    struct mg_changes changes = {
        .table_id = rows->schema->table_id, .schema_version = rows->schema->version, .rows = batch, .ops = rows->ops};
    MUST(rows->epoch->engine->ops->put(rows->epoch, &changes, &err));
    mg_batch_unref(batch);
    rows->count = 0;
}

static void rows_end(struct rows *rows)
{
    rows_flush(rows);
    mg_batch_builder_clear(&rows->builder);
    free(rows->ops);
}

static void row_begin(struct rows *rows, enum mg_change_op op)
{
    if (rows->count == PUT_ROWS)
        rows_flush(rows);
    rows->ops[rows->count++] = (uint8_t)op;
    rows->column = 0;
}

static void put_null(struct rows *rows) { MUST(mg_builder_null(&rows->builder, rows->column++, &err)); }
static void put_int(struct rows *rows, int64_t v) { MUST(mg_builder_int(&rows->builder, rows->column++, v, &err)); }
static void put_uint(struct rows *rows, uint64_t v) { MUST(mg_builder_uint(&rows->builder, rows->column++, v, &err)); }
static void put_float(struct rows *rows, double v) { MUST(mg_builder_float(&rows->builder, rows->column++, v, &err)); }
static void put_decimal(struct rows *rows, mg_int128 v)
{
    MUST(mg_builder_decimal(&rows->builder, rows->column++, v, &err));
}
static void put_text(struct rows *rows, const char *text)
{
    MUST(mg_builder_text(&rows->builder, rows->column++, mg_slice_text(text), &err));
}

/* ---- what is in the tables ---- */

#define T(type_id)              \
    {                           \
        .id = MG_TYPE_##type_id \
    }

static const struct column type_columns[] = {
    {"id", "bigint", T(INT64), false, false},
    {"i8", "tinyint", T(INT8), true, false},
    {"i16", "smallint", T(INT16), true, false},
    {"i32", "int", T(INT32), true, false},
    {"i64", "bigint", T(INT64), true, false},
    {"u8", "tinyint unsigned", T(UINT8), true, false},
    {"u16", "smallint unsigned", T(UINT16), true, false},
    {"u32", "int unsigned", T(UINT32), true, false},
    {"u64", "bigint unsigned", T(UINT64), true, false},
    {"f32", "float", T(FLOAT32), true, false},
    {"f64", "double", T(FLOAT64), true, false},
    {"price", "decimal(12,2)", {.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2}, true, false},
    {"huge", "decimal(38,10)", {.id = MG_TYPE_DECIMAL, .precision = 38, .scale = 10}, true, false},
    {"born", "date", T(DATE), true, false},
    {"seen", "datetime(6)", {.id = MG_TYPE_DATETIME, .precision = 6}, true, false},
    {"stamp", "timestamp(3)", {.id = MG_TYPE_TIMESTAMP, .precision = 3}, true, false},
    {"name", "varchar(64)", {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_PAD_SPACE}, true, false},
    {"code", "varchar(64)", {.id = MG_TYPE_UTF8, .collation = MG_COLLATION_BINARY}, true, false},
};

/* Row i: NULL in column c when (i + c) % 10 == 3 (never the key); rows 0 and 1 hold the least and the greatest
 * values. */
static void put_types(struct rows *rows)
{
    const int64_t day_us = 86400000000;
    mg_int128 most = 1;
    char text[64];

    for (int i = 0; i < 38; i++)
        most *= 10;
    most -= 1;
    for (int64_t i = 0; i < TYPE_ROWS; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        int64_t sign = i % 2 ? 1 : -1;
        bool least = i == 0, greatest = i == 1;
        put_int(rows, i);
        for (uint32_t c = 1; c < MG_COUNT_OF(type_columns); c++) {
            if (i > 1 && (i + c) % 10 == 3) {
                put_null(rows);
                continue;
            }
            switch (c) {
            case 1: put_int(rows, least ? INT8_MIN : greatest ? INT8_MAX : sign * (i % 100)); break;
            case 2: put_int(rows, least ? INT16_MIN : greatest ? INT16_MAX : sign * i); break;
            case 3: put_int(rows, least ? INT32_MIN : greatest ? INT32_MAX : sign * i * 1000); break;
            case 4: put_int(rows, least ? INT64_MIN : greatest ? INT64_MAX : sign * i * 1000000007); break;
            case 5: put_uint(rows, least ? 0 : greatest ? UINT8_MAX : (uint64_t)i % 200); break;
            case 6: put_uint(rows, least ? 0 : greatest ? UINT16_MAX : (uint64_t)i * 3); break;
            case 7: put_uint(rows, least ? 0 : greatest ? UINT32_MAX : (uint64_t)i * 4000000); break;
            case 8: put_uint(rows, least ? 0 : greatest ? UINT64_MAX : (uint64_t)i << 53); break;
            case 9: put_float(rows, (double)(sign * i) / 4); break;
            case 10: put_float(rows, (double)(sign * i) / 8); break;
            case 11: put_decimal(rows, least ? -999999999999 : greatest ? 999999999999 : sign * i * 125); break;
            case 12:
                put_decimal(rows, least ? -most : greatest ? most : (mg_int128)(sign * i) * 1000000000000000000);
                break;
            case 13: put_int(rows, least ? -719162 : greatest ? 2932896 : i * 10); break; /* 0001-01-01, 9999-12-31 */
            case 14: put_int(rows, least ? -719162 * day_us : greatest ? 2932897 * day_us - 1 : i * day_us + i); break;
            case 15: put_int(rows, i * day_us + i * 1000); break;
            case 16:
                snprintf(text, sizeof text, "name %" PRId64 "%s", i % 50, i % 3 ? "" : "  ");
                put_text(rows, text);
                break;
            default: snprintf(text, sizeof text, "code %" PRId64, i); put_text(rows, i % 4 ? text : "");
            }
        }
    }
}

static void put_big(struct rows *rows, int64_t row_count)
{
    char text[64];

    for (int64_t i = 0; i < row_count; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        put_int(rows, i);
        put_int(rows, i % 97);
        snprintf(text, sizeof text, "note %" PRId64 " of a big table", i % 1000);
        put_text(rows, text);
    }
}

/* Row i has i % 4 * 100 KiB of the letter 'a' + i % 26; i % 7 == 3: NULL. */
static void put_wide(struct rows *rows)
{
    char *text = malloc(300 * 1024 + 1);

    for (int i = 0; i < WIDE_ROWS; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        put_int(rows, i);
        memset(text, 'a' + i % 26, (size_t)(i % 4) * 100 * 1024);
        text[i % 4 * 100 * 1024] = 0;
        if (i % 7 == 3)
            put_null(rows);
        else
            put_text(rows, text);
    }
    free(text);
}

/* ---- the whole store ---- */

struct store {
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_latch_writer *writer;
    struct mg_schema *history, *left, *right;
    uint64_t watermark;
    int64_t big_rows;
};

static struct mg_epoch *begin(struct store *store)
{
    struct mg_epoch *epoch;

    MUST(mg_latch_writer_begin(store->writer, 10000, &epoch, &err));
    return epoch;
}

static void publish(struct store *store, uint64_t watermark)
{
    uint64_t number;

    store->watermark = watermark;
    MUST(mg_latch_writer_publish(store->writer, watermark, mg_slice_text("fixture"), &number, &err));
    MUST(store->engine->ops->wait(store->engine, number, 60000, &err));
}

static const struct column id_v[] = {{"id", "bigint", T(INT64), false, false}, {"v", "bigint", T(INT64), false, false}};

static void create_database(struct mg_epoch *epoch, const char *name)
{
    struct mg_schema_change change = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = name};

    MUST(epoch->engine->ops->change_schema(epoch, &change, &err));
}

static void put_accounts(struct rows *rows)
{
    for (int i = 0; i < ACCOUNTS; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        put_int(rows, i);
        put_int(rows, 0);
    }
}

static void fill_rows(struct store *store, const struct mg_schema *schema, int64_t row_count,
                      void (*put)(struct rows *), void (*put_counted)(struct rows *, int64_t))
{
    struct rows rows;

    rows_begin(&rows, begin(store), schema);
    if (put)
        put(&rows);
    else
        put_counted(&rows, row_count);
    rows_end(&rows);
    publish(store, store->watermark + 1);
}

static void put_pairs(struct rows *rows)
{
    static const char *const texts[] = {"", "a", "a b", "B", "\xc3\xa9"};

    for (int i = 0; i < 20; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        put_int(rows, i / 5 - 2);
        put_text(rows, texts[i % 5]);
        put_int(rows, i);
    }
}

static void put_nokey(struct rows *rows)
{
    for (int i = 0; i < 10; i++) {
        row_begin(rows, MG_CHANGE_INSERT);
        put_int(rows, 100 + i);
        put_text(rows, i % 2 ? "same" : "other");
    }
}

static void put_one(struct rows *rows)
{
    row_begin(rows, MG_CHANGE_INSERT);
    put_int(rows, 1);
    put_int(rows, 2);
}

static void fill_history(struct store *store)
{
    for (int k = 1; k <= HISTORY_EPOCHS; k++) {
        struct rows rows;
        rows_begin(&rows, begin(store), store->history);
        for (int i = 0; i < HISTORY_ROWS; i++) {
            row_begin(&rows, k == 1 ? MG_CHANGE_INSERT : MG_CHANGE_UPDATE);
            put_int(&rows, i);
            put_int(&rows, k);
        }
        rows_end(&rows);
        publish(store, 1000 + (uint64_t)k);
    }
}

static void fill(struct store *store)
{
    const struct column big[] = {{"id", "bigint", T(INT64), false, false},
                                 {"v", "int", T(INT64), false, false},
                                 {"note", "varchar(64)", T(UTF8), true, false}};
    const struct column wide[] = {{"id", "int", T(INT32), false, false}, {"body", "longtext", T(UTF8), true, false}};
    const struct column nokey[] = {{"_rowid", "bigint", T(INT64), false, true},
                                   {"word", "varchar(10)", T(UTF8), true, false}};
    const struct column pairs[] = {{"a", "int", T(INT32), false, false},
                                   {"b", "varchar(10)", T(UTF8), false, false},
                                   {"v", "int", T(INT32), false, false}};

    MUST(mg_latch_writer_open(store->latch, "tidb", &store->writer, NULL, &err));
    struct mg_epoch *epoch = begin(store);
    create_database(epoch, "shop");
    create_database(epoch, "other");
    create_database(epoch, "void");
    struct mg_schema *types = create(epoch, "shop", "types", type_columns, MG_COUNT_OF(type_columns), 1);
    struct mg_schema *big_table = create(epoch, "shop", "big", big, MG_COUNT_OF(big), 1);
    struct mg_schema *wide_table = create(epoch, "shop", "wide", wide, MG_COUNT_OF(wide), 1);
    struct mg_schema *nokey_table = create(epoch, "shop", "nokey", nokey, MG_COUNT_OF(nokey), 1);
    struct mg_schema *pairs_table = create(epoch, "shop", "pairs", pairs, MG_COUNT_OF(pairs), 2);
    struct mg_schema *other = create(epoch, "other", "t", id_v, MG_COUNT_OF(id_v), 1);
    mg_schema_unref(create(epoch, "shop", "empty", id_v, MG_COUNT_OF(id_v), 1));
    store->history = create(epoch, "shop", "history", id_v, MG_COUNT_OF(id_v), 1);
    store->left = create(epoch, "shop", "left", id_v, MG_COUNT_OF(id_v), 1);
    store->right = create(epoch, "shop", "right", id_v, MG_COUNT_OF(id_v), 1);
    create_state(epoch, "broken", MG_STATE_UNSUPPORTED, "column shape has type geometry", 0);
    create_state(epoch, "stale", MG_STATE_NEEDS_RELOAD, "it existed before the first record", 900);
    publish(store, 100);
    fill_rows(store, types, 0, put_types, NULL);
    fill_rows(store, big_table, store->big_rows, NULL, put_big);
    fill_rows(store, wide_table, 0, put_wide, NULL);
    fill_rows(store, nokey_table, 0, put_nokey, NULL);
    fill_rows(store, pairs_table, 0, put_pairs, NULL);
    fill_rows(store, other, 0, put_one, NULL);
    fill_rows(store, store->left, 0, put_accounts, NULL);
    fill_rows(store, store->right, 0, put_accounts, NULL);
    fill_history(store);
    mg_schema_unref(types);
    mg_schema_unref(big_table);
    mg_schema_unref(wide_table);
    mg_schema_unref(nokey_table);
    mg_schema_unref(pairs_table);
    mg_schema_unref(other);
}

/* One epoch that takes from one table what it gives to the other. */
static void move_money(struct store *store, struct mg_random *random)
{
    struct mg_epoch *epoch = begin(store);
    int64_t amount = (int64_t)mg_random_below(random, 1000);
    int64_t id = (int64_t)mg_random_below(random, ACCOUNTS);
    struct mg_schema *tables[2] = {store->left, store->right};

    for (int side = 0; side < 2; side++) {
        struct rows rows;
        rows_begin(&rows, epoch, tables[side]);
        row_begin(&rows, MG_CHANGE_UPDATE);
        put_int(&rows, id);
        put_int(&rows, side ? amount : -amount);
        rows_end(&rows);
    }
    publish(store, store->watermark + 1);
}

static void store_open(struct store *store, const struct mg_engine_ops *ops, const char *folder, int64_t ttl_ms)
{
    struct mg_engine_options options = {.folder = folder};
    struct mg_latch_options latch = {.ttl_ms = ttl_ms, .secret = "the secret of the test fixture.."};

    MUST(ops->open(&options, &store->engine, &err));
    latch.engine = store->engine;
    MUST(mg_latch_new(&latch, &store->latch, &err));
}

static void store_close(struct store *store)
{
    mg_schema_unref(store->history);
    mg_schema_unref(store->left);
    mg_schema_unref(store->right);
    mg_latch_writer_close(store->writer);
    mg_latch_free(store->latch);
    store->engine->ops->close(store->engine);
}

/* ---- serving ---- */

static struct mg_flight *flight;

static enum mg_code set_splits(void *arg, const char *name, const char *value, char out_value[256],
                               struct mg_error *error)
{
    char *end = NULL;
    long long splits = strtoll(value, &end, 10);

    if (strcmp(name, "splits") != 0 || *end || splits < 1 || splits > MG_FLIGHT_SPLITS_MAX)
        return mg_fail(error, MG_NOT_FOUND, "the fixture has no setting %s with the value %s", name, value);
    mg_flight_set_splits(flight, (uint32_t)splits);
    snprintf(out_value, 256, "%s", value);
    return MG_OK;
}

static void write_address(const char *path, const char *address)
{
    char temporary[4096];

    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *file = fopen(temporary, "w");
    if (!file || fprintf(file, "%s\n", address) < 0 || fclose(file) != 0 || rename(temporary, path) != 0) {
        perror(path);
        exit(1);
    }
}

struct serving {
    const char *listen, *address_file;
    int64_t ttl_ms, live_ms;
    bool force_splits;
};

static void serve(struct store *store, const struct serving *serving)
{
    struct mg_grpc_server *server;
    struct mg_random random;
    char address[128];
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    store_open(store, &mg_engine_model, NULL, serving->ttl_ms);
    fill(store);
    struct mg_flight_options options = {.engine = store->engine, .latch = store->latch, .hooks = {.set = set_splits}};
    MUST(mg_flight_new(&options, &flight, &err));
    mg_flight_set_splits_force(flight, serving->force_splits);
    struct mg_grpc_server_options grpc = {0};
    grpc.methods = mg_flight_methods(flight, &grpc.method_count);
    MUST(mg_grpc_server_new(&grpc, &server, &err));
    MUST(mg_grpc_server_listen(server, serving->listen, address, &err));
    MUST(mg_grpc_server_start(server, &err));
    if (serving->address_file)
        write_address(serving->address_file, address);
    printf("ready on %s\n", address);
    fflush(stdout);

    mg_random_init(&random, 1);
    for (;;) {
        struct timespec step = {.tv_sec = 3600};
        if (serving->live_ms)
            step = (struct timespec){.tv_sec = serving->live_ms / 1000, .tv_nsec = serving->live_ms % 1000 * 1000000};
        if (sigtimedwait(&signals, NULL, &step) > 0)
            break;
        if (serving->live_ms)
            move_money(store, &random);
    }
    mg_grpc_server_stop(server, 1000);
    mg_grpc_server_free(server);
    mg_flight_free(flight);
    store_close(store);
}

static int usage(void)
{
    fprintf(stderr,
            "usage: flight_fixture fill DIR [--rows N]\n"
            "       flight_fixture serve --address-file FILE [--listen ADDR] [--rows N] [--ttl-ms N] [--live MS] "
            "[--force-splits]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct store store = {.big_rows = 100000};
    struct serving serving = {.listen = "127.0.0.1:0"};
    const char *folder = NULL;

    if (argc < 2)
        return usage();
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--force-splits") == 0) {
            serving.force_splits = true;
            continue;
        }
        if (argv[i][0] != '-') {
            folder = argv[i];
            continue;
        }
        if (!value)
            return usage();
        if (strcmp(argv[i], "--rows") == 0)
            store.big_rows = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--listen") == 0)
            serving.listen = value;
        else if (strcmp(argv[i], "--address-file") == 0)
            serving.address_file = value;
        else if (strcmp(argv[i], "--ttl-ms") == 0)
            serving.ttl_ms = strtoll(value, NULL, 10);
        else if (strcmp(argv[i], "--live") == 0)
            serving.live_ms = strtoll(value, NULL, 10);
        else
            return usage();
        i++;
    }
    if (strcmp(argv[1], "serve") == 0) {
        serve(&store, &serving);
        return 0;
    }
    if (strcmp(argv[1], "fill") == 0 && folder && fill_engine) {
        char path[4096];
        MUST(mg_io_make_folders(mg_io_system(), folder, &err));
        snprintf(path, sizeof path, "%s/store", folder);
        store_open(&store, fill_engine, path, 0);
        fill(&store);
        store_close(&store);
        return 0;
    }
    return usage();
}
