/* apply.c -- how many row changes a second the magic engine makes durable and visible.
 *
 * Data      one table of 20 columns, about 150 bytes a row, an int64 key. Preloaded and settled into parts: 2 M rows
 *           (quick), 10 M (full). The store's memory is limited to 4 GiB, the server's default.
 * Load      uniform random keys; 30 % inserts, 60 % updates, 10 % deletes; an epoch every 10 ms, or as soon as the one
 *           before is out when that takes longer; one fdatasync each. A reader takes a new snapshot every 100 ms and
 *           scans one column. Flushes, merges and checkpoints go on as they do in the server. 10 s, full: 120 s.
 * Figure    row changes a second over the time from begin to durable. ok in the full form only when fewer than 3 of 10
 *           rows are dead at the end.
 * CPU       of the applying thread; and of the process, which adds flushes, merges and checkpoints. The making of
 *           batches and the reader are in neither.
 * Written   bytes that the process wrote to the disk (/proc/self/io), log included, by the bytes of the changes in
 *           Arrow: write amplification.
 * SPDX-License-Identifier: Apache-2.0 */
#include "apply.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/random.h"

enum {
    COLUMNS = 20,
    EPOCH_MS = 10,
    READ_MS = 100,
    LOOK_MS = 50,
    RETRY_MS = 100,
    RETRIES_MAX = 600,
    PRELOAD_BATCH = 50000
};
enum { CHANGES_FIRST = 3000, CHANGES_MAX = 50000, BATCH_MAX = 50000 }; /* BATCH_MAX: the larger of both */
static const double goal_changes_per_s = 300000, goal_dead = 0.3;

static const struct mg_engine_ops *const ops = &mg_engine_magic;

struct bench {
    struct bench_store store;
    struct mg_random random;
    int64_t *live; /* keys that are there, in any order */
    uint64_t live_count, live_room;
    int64_t next_key;
    struct mg_batch_builder builder;
    uint8_t ops[BATCH_MAX];
    int64_t made_cpu_us;
    uint64_t anonymous_before;
    atomic_bool stop, stop_looking;
    _Atomic int64_t reader_cpu_us;
    _Atomic uint64_t scans, scanned_rows, scan_ns, anonymous_most;
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
    struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = batch, .ops = b->ops};
    struct mg_error story = MG_ERROR_INIT;
    struct mg_engine *engine = b->store.engine;
    uint64_t number = 0;

    try(ops->begin(engine, "bench", 1, &epoch, err));
    enum mg_code code = ops->put(epoch, &changes, &story);
    if (code != MG_OK)
        ops->abort(epoch);
    else
        code = ops->publish(epoch, ++b->store.watermark, MG_SLICE("here", 4), &number, &story);
    if (code == MG_OK)
        code = ops->wait(engine, number, -1, &story);
    if (code != MG_OK && code != MG_NO_MEMORY)
        bench_fail("an epoch", code, &story);
    return code == MG_OK;
}

/* ---- beside the writer --------------------------------------------------------------------------------------- */

static uint64_t sum_column(struct bench *b)
{
    static const uint32_t column = 2;
    struct mg_scan_spec spec = {.table_id = 1, .columns = &column, .column_count = 1};
    struct mg_snapshot *snapshot;
    struct mg_scan *scan;
    uint64_t rows = 0;
    int64_t sum = 0;

    try(ops->snapshot(b->store.engine, &snapshot, err));
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
    atomic_fetch_add(&b->scans, sum != INT64_MIN);
    return rows;
}

static void run_reader(void *arg)
{
    struct bench *b = arg;

    while (!atomic_load(&b->stop)) {
        int64_t start_ns = bench_now_ns();
        uint64_t rows = sum_column(b);
        int64_t took_ns = bench_now_ns() - start_ns;
        atomic_fetch_add(&b->scanned_rows, rows);
        atomic_fetch_add(&b->scan_ns, (uint64_t)took_ns);
        atomic_store(&b->reader_cpu_us, bench_thread_cpu_us());
        if (took_ns < READ_MS * INT64_C(1000000))
            usleep((useconds_t)(READ_MS * 1000 - took_ns / 1000));
    }
}

static void run_looker(void *arg)
{
    struct bench *b = arg;

    for (; !atomic_load(&b->stop_looking); usleep(LOOK_MS * 1000)) {
        uint64_t now = bench_memory_of_self("RssAnon");
        if (now > b->anonymous_before + atomic_load(&b->anonymous_most))
            atomic_store(&b->anonymous_most, now - b->anonymous_before);
    }
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static uint64_t written_bytes(void)
{
    FILE *file = fopen("/proc/self/io", "r");
    char line[128];
    uint64_t bytes = 0;

    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "write_bytes:", 12) == 0)
            bytes = strtoull(line + 12, NULL, 10);
    if (file)
        fclose(file);
    return bytes;
}

static void open_bench(struct bench *b, const struct bench_options *options, const struct apply_request *request)
{
    struct mg_type column_types[COLUMNS];

    *b = (struct bench){0};
    b->anonymous_before = bench_memory_of_self("RssAnon");
    bench_store_open(&b->store, options, make_schema(), request->memory_bytes, NULL);
    mg_random_init(&b->random, 1);
    for (uint32_t c = 0; c < COLUMNS; c++)
        column_types[c] = b->store.schema->columns[c].type;
    try(mg_batch_builder_init(&b->builder, column_types, COLUMNS, NULL, (size_t)1 << 30, err));
}

/* An epoch that is refused for want of memory is tried again, as a loader does. Returns how many were. */
static uint64_t preload(struct bench *b, uint64_t rows)
{
    uint64_t refused = 0;

    for (uint64_t done = 0; done < rows; done += PRELOAD_BATCH) {
        struct mg_batch *batch = make_inserts(b, (uint32_t)MG_MIN((uint64_t)PRELOAD_BATCH, rows - done));
        for (int tries = 0; !apply(b, batch); tries++) {
            if (tries == RETRIES_MAX)
                bench_die("memory is used up by the preload, after %llu rows", (unsigned long long)done);
            refused++;
            usleep(RETRY_MS * 1000);
        }
        mg_batch_unref(batch);
    }
    return refused;
}

/* Each epoch takes what EPOCH_MS of work at the present speed is. */
static void measure(struct bench *b, double seconds, struct apply_measured *m)
{
    uint32_t count = CHANGES_FIRST;

    while (!m->out_of_memory && (double)m->apply_ns < seconds * 1e9) {
        int64_t made_us = bench_thread_cpu_us();
        struct mg_batch *batch = make_changes(b, count);
        int64_t start_ns = bench_now_ns(), start_us = bench_thread_cpu_us();
        b->made_cpu_us += start_us - made_us;
        m->change_bytes += mg_batch_bytes(batch);
        m->out_of_memory = !apply(b, batch);
        int64_t took_ns = bench_now_ns() - start_ns;
        mg_batch_unref(batch);
        if (m->out_of_memory)
            break;
        m->apply_cpu_us += bench_thread_cpu_us() - start_us;
        m->apply_ns += took_ns;
        m->worst_epoch_ns = MG_MAX(m->worst_epoch_ns, took_ns);
        m->changes += count;
        m->epochs++;
        double wanted = (double)count * EPOCH_MS * 1e6 / (double)MG_MAX(took_ns, INT64_C(1));
        double next = (double)count * 0.9 + wanted * 0.1; /* slowly: one epoch says little */
        count = (uint32_t)MG_MIN(MG_MAX(next, 100.0), (double)CHANGES_MAX);
    }
}

static void measure_beside_reader(struct bench *b, double seconds, struct apply_measured *m)
{
    struct mg_thread reader = {0};
    uint64_t flushes = bench_store_status(&b->store, "flushes"), merges = bench_store_status(&b->store, "merges");
    uint64_t written = written_bytes();
    int64_t start_us = bench_process_cpu_us();

    b->made_cpu_us = 0;
    try(mg_thread_start(&reader, "reader", run_reader, b, err));
    measure(b, seconds, m);
    atomic_store(&b->stop, true);
    mg_thread_join(&reader);
    m->cpu_us = bench_process_cpu_us() - start_us - b->made_cpu_us - atomic_load(&b->reader_cpu_us);
    m->written_bytes = written_bytes() - written;
    m->flushes = bench_store_status(&b->store, "flushes") - flushes;
    m->merges = bench_store_status(&b->store, "merges") - merges;
    m->scans = atomic_load(&b->scans);
    m->scanned_rows = atomic_load(&b->scanned_rows);
    m->scan_ns = atomic_load(&b->scan_ns);
}

struct apply_measured apply_run(const struct bench_options *options, const struct apply_request *request)
{
    static struct bench b;
    struct apply_measured m = {0};
    struct mg_thread looker = {0};

    open_bench(&b, options, request);
    try(mg_thread_start(&looker, "looker", run_looker, &b, err));
    m.refused = preload(&b, request->rows);
    if (!request->preload_only) {
        bench_store_settle(&b.store);
        measure_beside_reader(&b, request->seconds, &m);
    }
    m.rows_at_end = bench_store_status(&b.store, "rows");
    m.dead_at_end = bench_store_status(&b.store, "rows_deleted");
    m.parts = bench_store_status(&b.store, "parts");
    m.memory_used = mg_budget_used(&b.store.budget);
    m.memory_peak = atomic_load(&b.store.budget.peak_bytes);
    atomic_store(&b.stop_looking, true);
    mg_thread_join(&looker);
    m.anonymous_most = atomic_load(&b.anonymous_most);
    bench_store_remove(&b.store);
    mg_batch_builder_clear(&b.builder);
    free(b.live);
    return m;
}

static void report(const struct bench_options *options, const struct apply_request *request,
                   const struct apply_measured *m, struct bench_result *out)
{
    double changes = (double)m->changes, apply_us = (double)m->apply_cpu_us / changes,
           cpu_us = (double)m->cpu_us / changes;
    double dead = (double)m->dead_at_end * 10 / (double)(m->dead_at_end + m->rows_at_end);
    double amplification = (double)m->written_bytes / (double)m->change_bytes;
    double scan_rate = m->scan_ns ? (double)m->scanned_rows / (double)m->scan_ns * 1e9 : 0;

    bench_say(options, "apply: %.0f changes/s: %llu changes in %llu epochs, %.1f s%s; %llu rows preloaded\n",
              out->figure, (unsigned long long)m->changes, (unsigned long long)m->epochs, (double)m->apply_ns / 1e9,
              m->out_of_memory ? " (ended early: memory is used up)" : "", (unsigned long long)request->rows);
    bench_say(options,
              "  %.2f CPU-us a change, %.2f with flushes and merges; worst epoch %.1f ms; %.2f dead in 10 rows\n",
              apply_us, cpu_us, (double)m->worst_epoch_ns / 1e6, dead);
    bench_say(options,
              "  written %.2f times the changes; %llu flushes, %llu merges, %llu parts; memory %.0f MiB, at most "
              "%.0f, anonymous %.0f; reader %.0f M rows/s\n",
              amplification, (unsigned long long)m->flushes, (unsigned long long)m->merges,
              (unsigned long long)m->parts, (double)m->memory_used / 1048576, (double)m->memory_peak / 1048576,
              (double)m->anonymous_most / 1048576, scan_rate / 1e6);
    bench_more(out, ",\"cpu_us_per_change\":%.3f,\"cpu_us_per_change_all\":%.3f,\"changes_per_epoch\":%.0f,", apply_us,
               cpu_us, changes / (double)m->epochs);
    bench_more(out, "\"epochs\":%llu,\"worst_epoch_ms\":%.1f,\"dead_per_10\":%.3f,\"write_amplification\":%.3f,",
               (unsigned long long)m->epochs, (double)m->worst_epoch_ns / 1e6, dead, amplification);
    bench_more(out, "\"change_bytes\":%llu,\"written_bytes\":%llu,\"flushes\":%llu,\"merges\":%llu,\"parts\":%llu,",
               (unsigned long long)m->change_bytes, (unsigned long long)m->written_bytes,
               (unsigned long long)m->flushes, (unsigned long long)m->merges, (unsigned long long)m->parts);
    bench_more(out, "\"memory_bytes\":%zu,\"memory_peak_bytes\":%zu,\"anonymous_bytes\":%llu,\"rows\":%llu,",
               m->memory_used, m->memory_peak, (unsigned long long)m->anonymous_most,
               (unsigned long long)request->rows);
    bench_more(out, "\"rows_at_end\":%llu,\"seconds\":%.1f,\"scans\":%llu,\"scan_rows_per_s\":%.4g,\"full_memory\":%s",
               (unsigned long long)m->rows_at_end, (double)m->apply_ns / 1e9, (unsigned long long)m->scans, scan_rate,
               m->out_of_memory ? "true" : "false");
}

bool bench_apply(const struct bench_options *options, struct bench_result *out)
{
    struct apply_request request = {
        .rows = options->rows   ? options->rows
                : options->full ? 10000000
                                : 2000000,
        .seconds = options->seconds > 0 ? options->seconds
                   : options->full      ? 120
                                        : 10,
        .memory_bytes = (size_t)4 << 30,
    };
    struct apply_measured m = apply_run(options, &request);

    if (m.epochs == 0)
        return false;
    *out = (struct bench_result){.bench = "apply", .unit = "changes/s", .goal = ">= 300000, < 3 dead in 10 rows"};
    out->figure = (double)m.changes / ((double)m.apply_ns / 1e9);
    out->goal_figure = goal_changes_per_s;
    double dead = (double)m.dead_at_end / (double)(m.dead_at_end + m.rows_at_end);
    out->ok = out->figure >= goal_changes_per_s && !m.out_of_memory && (!options->full || dead < goal_dead);
    report(options, &request, &m, out);
    return true;
}
