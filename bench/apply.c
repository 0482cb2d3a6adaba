/* apply.c -- how many row changes a second the magic engine makes durable and visible.
 *
 * Data      one table of 20 columns, about 150 bytes a row, an int64 key. Preloaded: 2 M rows (quick), 8 M (full).
 * Load      uniform random keys; 30 % inserts, 60 % updates, 10 % deletes; an epoch every 10 ms, or as soon as the one
 *           before is out when that takes longer; one fdatasync each. A reader takes a new snapshot every 100 ms and
 *           scans one column.
 * Figure    row changes a second over the measured time. CPU is that of the applying thread: batches are made before
 *           the clock of an epoch's work starts, and their making is not in it.
 * Stops     early, and says so, when memory is used up: this form keeps all rows in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/random.h"
#include "bench.h"
#include "engine/engine.h"

enum { COLUMNS = 20, EPOCH_MS = 10, READ_MS = 100, PRELOAD_BATCH = 50000, CHANGES_FIRST = 3000, CHANGES_MAX = 50000 };
static const size_t memory_limit = (size_t)14 << 30;
static const double goal_changes_per_s = 300000;

static const struct mg_engine_ops *const ops = &mg_engine_magic;

struct bench {
    struct mg_engine *engine;
    struct mg_budget budget;
    struct mg_schema *schema;
    struct mg_random random;
    int64_t *live; /* keys that are there, in any order */
    uint64_t live_count, live_room;
    int64_t next_key;
    struct mg_batch_builder builder;
    uint8_t ops[CHANGES_MAX > PRELOAD_BATCH ? CHANGES_MAX : PRELOAD_BATCH];
    uint64_t watermark;
    atomic_bool stop;
    _Atomic uint64_t scans, scanned_rows, scan_ns;
};

static const enum mg_type_id types[COLUMNS] = {MG_TYPE_INT64,   MG_TYPE_INT64,    MG_TYPE_INT32,     MG_TYPE_INT32,
                                               MG_TYPE_INT32,   MG_TYPE_INT16,    MG_TYPE_UINT8,     MG_TYPE_UINT32,
                                               MG_TYPE_FLOAT64, MG_TYPE_FLOAT64,  MG_TYPE_DECIMAL,   MG_TYPE_DECIMAL,
                                               MG_TYPE_DATE,    MG_TYPE_DATETIME, MG_TYPE_TIMESTAMP, MG_TYPE_UTF8,
                                               MG_TYPE_UTF8,    MG_TYPE_UTF8,     MG_TYPE_INT64,     MG_TYPE_INT32};

static struct mg_schema *make_schema(void)
{
    struct mg_schema *schema = mg_schema_new();
    schema->table_id = schema->version = 1;
    try(mg_schema_text(&schema->database, mg_slice_text("bench"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("apply"), err));
    for (uint32_t c = 0; c < COLUMNS; c++) {
        struct mg_column *column;
        char name[16];
        snprintf(name, sizeof name, "c%u", c);
        try(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type.id = types[c];
        column->nullable = c >= 17;
        if (types[c] == MG_TYPE_DECIMAL) {
            column->type.precision = 15;
            column->type.scale = 2;
        }
        try(mg_schema_text(&column->name, mg_slice_text(name), err));
    }
    schema->key_count = 1;
    try(mg_schema_seal(schema, err));
    return schema;
}

static void append_row(struct bench *b, int64_t key)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    uint64_t r = mg_random_u64(&b->random);
    for (uint32_t c = 0; c < COLUMNS; c++) {
        uint64_t v = c == 0 ? (uint64_t)key : r >> c % 24;
        if (c >= 17 && v % 8 == 0)
            try(mg_builder_null(&b->builder, c, err));
        else if (types[c] == MG_TYPE_UTF8)
            try(mg_builder_text(&b->builder, c, MG_SLICE(text + v % 20, 6 + v % 14), err));
        else if (types[c] == MG_TYPE_FLOAT64)
            try(mg_builder_float(&b->builder, c, (double)v, err));
        else if (types[c] == MG_TYPE_DECIMAL)
            try(mg_builder_decimal(&b->builder, c, (mg_int128)(v % 1000000000), err));
        else
            try(mg_builder_uint(&b->builder, c, v, err));
    }
}

static void insert_key(struct bench *b, int64_t key)
{
    if (b->live_count == b->live_room) {
        b->live_room = b->live_room ? b->live_room * 2 : 1 << 20;
        b->live = realloc(b->live, b->live_room * sizeof *b->live);
        mg_assert(b->live);
    }
    b->live[b->live_count++] = key;
}

static struct mg_batch *make_inserts(struct bench *b, uint32_t count)
{
    struct mg_batch *batch;
    for (uint32_t i = 0; i < count; i++) {
        b->ops[i] = MG_CHANGE_INSERT;
        insert_key(b, b->next_key);
        append_row(b, b->next_key++);
    }
    try(mg_batch_builder_finish(&b->builder, count, &batch, err));
    return batch;
}

static struct mg_batch *make_changes(struct bench *b, uint32_t count)
{
    struct mg_batch *batch;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t dice = mg_random_below(&b->random, 10);
        if (dice < 3) {
            b->ops[i] = MG_CHANGE_INSERT;
            insert_key(b, b->next_key);
            append_row(b, b->next_key++);
            continue;
        }
        uint64_t at = mg_random_below(&b->random, b->live_count);
        b->ops[i] = dice == 9 ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE;
        append_row(b, b->live[at]);
        if (dice == 9)
            b->live[at] = b->live[--b->live_count];
    }
    try(mg_batch_builder_finish(&b->builder, count, &batch, err));
    return batch;
}

/* False when memory is used up. */
static bool apply(struct bench *b, struct mg_batch *batch)
{
    struct mg_epoch *epoch;
    struct mg_changes changes = {1, 1, batch, b->ops};
    struct mg_error story = MG_ERROR_INIT;
    uint64_t number = 0;
    try(ops->begin(b->engine, "bench", 1, &epoch, err));
    enum mg_code code = ops->put(epoch, &changes, &story);
    if (code != MG_OK)
        ops->abort(epoch);
    else
        code = ops->publish(epoch, ++b->watermark, MG_SLICE("here", 4), &number, &story);
    if (code == MG_OK)
        code = ops->wait(b->engine, number, -1, &story);
    if (code != MG_OK && code != MG_NO_MEMORY) {
        fprintf(stderr, "apply: %s: %s\n", mg_code_name(code), story.text);
        exit(1);
    }
    return code == MG_OK;
}

static void run_reader(void *arg)
{
    struct bench *b = arg;
    struct mg_clock *clock = mg_clock_system();
    static const uint32_t column = 2;
    struct mg_scan_spec spec = {.table_id = 1, .columns = &column, .column_count = 1};
    while (!atomic_load(&b->stop)) {
        struct mg_snapshot *snapshot;
        struct mg_scan *scan;
        int64_t start_ns = mg_mono_ns(clock);
        uint64_t rows = 0;
        int64_t sum = 0;
        try(ops->snapshot(b->engine, &snapshot, err));
        try(ops->scan(snapshot, &spec, &scan, err));
        for (;;) {
            struct mg_batch *batch;
            try(ops->next(scan, &batch, err));
            if (!batch)
                break;
            const int32_t *values = batch->vectors[0].values;
            for (uint32_t i = 0; i < batch->row_count; i++)
                sum += values[i];
            rows += batch->row_count;
            mg_batch_unref(batch);
        }
        ops->scan_close(scan);
        ops->snapshot_unref(snapshot);
        int64_t took_ns = mg_mono_ns(clock) - start_ns;
        atomic_fetch_add(&b->scans, sum != INT64_MIN);
        atomic_fetch_add(&b->scanned_rows, rows);
        atomic_fetch_add(&b->scan_ns, (uint64_t)took_ns);
        if (took_ns < READ_MS * INT64_C(1000000))
            usleep((useconds_t)(READ_MS * 1000 - took_ns / 1000));
    }
}

static int64_t thread_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

static enum mg_code note_wal(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    if (strcmp(name, "wal_bytes") == 0)
        *(uint64_t *)arg = strtoull(value, NULL, 10);
    return MG_OK;
}

static void open_bench(struct bench *b, const char *folder)
{
    struct mg_type column_types[COLUMNS];
    struct mg_engine_options options = {.folder = folder, .budget = &b->budget};
    mg_budget_init(&b->budget, "bench", NULL, memory_limit);
    try(ops->open(&options, &b->engine, err));
    b->schema = make_schema();
    mg_random_init(&b->random, 1);
    for (uint32_t c = 0; c < COLUMNS; c++)
        column_types[c] = b->schema->columns[c].type;
    try(mg_batch_builder_init(&b->builder, column_types, COLUMNS, NULL, (size_t)1 << 30, err));
    struct mg_epoch *epoch;
    struct mg_schema_change database = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "bench"};
    struct mg_schema_change table = {.kind = MG_SCHEMA_PUT_TABLE, .schema = b->schema};
    try(ops->begin(b->engine, "bench", 1, &epoch, err));
    try(ops->change_schema(epoch, &database, err));
    try(ops->change_schema(epoch, &table, err));
    try(ops->publish(epoch, ++b->watermark, MG_SLICE(NULL, 0), NULL, err));
}

struct measured {
    uint64_t changes, epochs;
    int64_t apply_ns, cpu_us, wall_ns;
    int64_t worst_epoch_ns;
    bool full;
};

/* Each epoch takes what EPOCH_MS of work at the present speed is. */
static void measure(struct bench *b, double seconds, struct measured *m)
{
    struct mg_clock *clock = mg_clock_system();
    uint32_t count = CHANGES_FIRST;
    while (!m->full && (double)m->apply_ns < seconds * 1e9) {
        struct mg_batch *batch = make_changes(b, count);
        int64_t start_ns = mg_mono_ns(clock), start_us = thread_cpu_us();
        m->full = !apply(b, batch);
        int64_t took_ns = mg_mono_ns(clock) - start_ns;
        mg_batch_unref(batch);
        if (m->full)
            break;
        m->cpu_us += thread_cpu_us() - start_us;
        m->apply_ns += took_ns;
        m->worst_epoch_ns = MG_MAX(m->worst_epoch_ns, took_ns);
        m->changes += count;
        m->epochs++;
        double wanted = (double)count * EPOCH_MS * 1e6 / (double)MG_MAX(took_ns, INT64_C(1));
        double next = (double)count * 0.9 + wanted * 0.1; /* slowly: one epoch says little */
        count = (uint32_t)MG_MIN(MG_MAX(next, 100.0), (double)CHANGES_MAX);
    }
}

static void remove_folder(const char *folder)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "apply: could not remove %s\n", folder);
}

bool bench_apply(const struct bench_options *options, struct bench_result *out)
{
    static struct bench b;
    char folder[4096];
    const char *base = options->folder ? options->folder : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    snprintf(folder, sizeof folder, "%s/magic-bench-XXXXXX", base);
    if (!mkdtemp(folder)) {
        fprintf(stderr, "apply: could not make a folder in %s\n", base);
        return false;
    }
    double seconds = options->seconds > 0 ? options->seconds : options->full ? 60 : 10;
    uint64_t rows = options->rows ? options->rows : options->full ? 8000000 : 2000000;
    open_bench(&b, folder);
    for (uint64_t done = 0; done < rows; done += PRELOAD_BATCH) {
        struct mg_batch *batch = make_inserts(&b, (uint32_t)MG_MIN((uint64_t)PRELOAD_BATCH, rows - done));
        if (!apply(&b, batch))
            fprintf(stderr, "apply: memory is used up by the preload\n");
        mg_batch_unref(batch);
    }
    struct mg_thread reader = {0};
    try(mg_thread_start(&reader, "reader", run_reader, &b, err));
    uint64_t wal_before = 0, wal_after = 0;
    try(ops->status(b.engine, note_wal, &wal_before, err));
    struct measured m = {0};
    measure(&b, seconds, &m);
    atomic_store(&b.stop, true);
    mg_thread_join(&reader);
    try(ops->status(b.engine, note_wal, &wal_after, err));
    size_t memory = mg_budget_used(&b.budget);
    ops->close(b.engine);
    mg_schema_unref(b.schema);
    mg_batch_builder_clear(&b.builder);
    free(b.live);
    remove_folder(folder);
    if (m.epochs == 0)
        return false;

    *out = (struct bench_result){.bench = "apply", .unit = "changes/s", .goal = ">= 300000"};
    out->figure = (double)m.changes / ((double)m.apply_ns / 1e9);
    out->ok = out->figure >= goal_changes_per_s;
    double cpu_us = (double)m.cpu_us / (double)m.changes;
    double scan_rate = atomic_load(&b.scan_ns)
                           ? (double)atomic_load(&b.scanned_rows) / (double)atomic_load(&b.scan_ns) * 1e9
                           : 0;
    if (!options->json) {
        printf("apply: %llu changes in %llu epochs, %.1f s%s; 20 columns, %llu rows preloaded\n",
               (unsigned long long)m.changes, (unsigned long long)m.epochs, (double)m.apply_ns / 1e9,
               m.full ? " (ended early: memory is used up)" : "", (unsigned long long)rows);
        printf("  %.0f changes/s, %.2f CPU-us a change, %.0f changes an epoch, worst epoch %.1f ms\n", out->figure,
               cpu_us, (double)m.changes / (double)m.epochs, (double)m.worst_epoch_ns / 1e6);
        printf("  memory %.0f MiB, WAL %.0f MiB more; reader: %llu scans, %.0f M rows/s\n", (double)memory / (1 << 20),
               (double)(wal_after - wal_before) / (1 << 20), (unsigned long long)atomic_load(&b.scans),
               scan_rate / 1e6);
    }
    snprintf(out->more, sizeof out->more,
             ",\"cpu_us_per_change\":%.3f,\"changes_per_epoch\":%.0f,\"epochs\":%llu,\"worst_epoch_ms\":%.1f,"
             "\"memory_bytes\":%zu,\"wal_bytes\":%llu,\"rows\":%llu,\"seconds\":%.1f,\"scans\":%llu,\"full_memory\":%s",
             cpu_us, (double)m.changes / (double)m.epochs, (unsigned long long)m.epochs, (double)m.worst_epoch_ns / 1e6,
             memory, (unsigned long long)(wal_after - wal_before), (unsigned long long)rows, (double)m.apply_ns / 1e9,
             (unsigned long long)atomic_load(&b.scans), m.full ? "true" : "false");
    return true;
}
