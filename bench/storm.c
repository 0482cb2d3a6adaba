/* storm.c -- what a storm of one-row commits leaves behind: files, and the speed of a scan.
 *
 * Data      a table of an int64 key and an int32, updated and inserted at random keys, one row a commit. Synced:
 *           100,000 commits on the disk, each durable before the next begins. Memory: 3 M on /dev/shm without
 *           fdatasync, so that the engine's own work is all there is.
 * Scan      sum of the int32 with the store as the storm left it, against a store into which the same rows were loaded
 *           and settled; minima of RUNS that alternate.
 * Figure    the most files and segments that a table had, looked at once a second and at the end. ok: at most 64, and
 *           the scan at most 1.2 times as long, of both storms.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/random.h"
#include "store.h"

enum { RUNS = 15, LOOK_EVERY_MS = 1000, COPY_ROWS = 65536 };
static const double goal_files = 64, goal_scan = 1.2;
static const struct mg_engine_ops *const ops = &mg_engine_magic;
static const struct mg_type types[] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}};

struct stormed {
    uint64_t commits, live_most, rows;
    double wall_s, cpu_s, scan_ms, compacted_ms;
};

static struct mg_schema *make_schema(void)
{
    struct mg_schema *schema = mg_schema_new();

    schema->table_id = schema->version = 1;
    try(mg_schema_text(&schema->database, mg_slice_text("bench"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("storm"), err));
    for (uint32_t c = 0; c < 2; c++) {
        struct mg_column *column;
        try(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type = types[c];
        try(mg_schema_text(&column->name, mg_slice_text(c ? "value" : "id"), err));
    }
    schema->key_count = 1;
    try(mg_schema_seal(schema, err));
    return schema;
}

static void note_live(const struct bench_store *store, struct stormed *out)
{
    uint64_t live = bench_store_status(store, "parts") + bench_store_status(store, "segments");

    out->live_most = MG_MAX(out->live_most, live);
}

/* Half of the keys are there already when the storm is over: a commit inserts or updates. */
static void run_storm(struct bench_store *store, uint64_t commits, struct stormed *out)
{
    struct mg_batch_builder builder;
    struct mg_random random;
    int64_t start_ns = bench_now_ns(), start_us = bench_process_cpu_us(), looked_ns = start_ns;
    uint8_t *seen = calloc(1, commits / 8 + 1);

    if (!seen)
        bench_die("no memory");
    mg_random_init(&random, 1);
    try(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, err));
    for (uint64_t i = 0; i < commits; i++) {
        uint64_t key = mg_random_below(&random, commits);
        uint8_t op = seen[key / 8] >> key % 8 & 1 ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT;
        struct mg_batch *row;
        seen[key / 8] |= (uint8_t)(1 << key % 8);
        try(mg_builder_int(&builder, 0, (int64_t)key, err));
        try(mg_builder_int(&builder, 1, (int64_t)(i & INT32_MAX), err));
        try(mg_batch_builder_finish(&builder, 1, &row, err));
        bench_store_apply(store, row, &op);
        mg_batch_unref(row);
        if (i % 256 == 0 && bench_now_ns() - looked_ns > LOOK_EVERY_MS * INT64_C(1000000)) {
            looked_ns = bench_now_ns();
            note_live(store, out);
        }
    }
    note_live(store, out);
    out->commits = commits;
    out->wall_s = (double)(bench_now_ns() - start_ns) / 1e9;
    out->cpu_s = (double)(bench_process_cpu_us() - start_us) / 1e6;
    mg_batch_builder_clear(&builder);
    free(seen);
}

/* The sum of all values; copy_to: and all rows go there. */
static int64_t scan(struct bench_store *store, struct bench_store *copy_to, uint64_t *out_rows)
{
    static const uint32_t both[] = {0, 1};
    struct mg_scan_spec spec = {.table_id = 1,
                                .columns = copy_to ? both : both + 1,
                                .column_count = copy_to ? 2 : 1,
                                .batch_rows_max = copy_to ? COPY_ROWS : 0};
    struct mg_snapshot *snapshot;
    struct mg_scan *running;
    int64_t sum = 0;

    *out_rows = 0;
    try(ops->snapshot(store->engine, &snapshot, err));
    try(ops->scan(snapshot, &spec, &running, err));
    for (;;) {
        struct mg_batch *batch;
        try(ops->next(running, &batch, err));
        if (!batch)
            break;
        const int32_t *values = batch->vectors[batch->column_count - 1].values;
        for (uint32_t i = 0; i < batch->row_count; i++)
            sum += values[i];
        *out_rows += batch->row_count;
        if (copy_to)
            bench_store_apply(copy_to, batch, NULL);
        mg_batch_unref(batch);
    }
    ops->scan_close(running);
    ops->snapshot_unref(snapshot);
    return sum;
}

static void compare_scans(struct bench_store *store, const struct bench_options *options, struct stormed *out)
{
    double ms[2][RUNS];
    struct bench_store compacted, *stores[] = {store, &compacted};

    bench_store_open(&compacted, options, make_schema(), 0, &(struct mg_engine_options){.maintain_by_hand = true});
    int64_t sum = scan(store, &compacted, &out->rows);
    bench_store_settle(&compacted);
    for (int run = 0; run < RUNS; run++)
        for (int s = 0; s < 2; s++) {
            uint64_t rows;
            int64_t start_ns = bench_now_ns();
            if (scan(stores[s], NULL, &rows) != sum || rows != out->rows)
                bench_die("the compacted store holds other rows");
            ms[s][run] = (double)(bench_now_ns() - start_ns) / 1e6;
        }
    out->scan_ms = bench_min(ms[0], RUNS);
    out->compacted_ms = bench_min(ms[1], RUNS);
    bench_store_remove(&compacted);
}

static struct stormed run(const struct bench_options *options, uint64_t commits, bool synced)
{
    struct mg_engine_options more = {.sync_off = !synced};
    struct bench_options place = *options;
    struct bench_store store;
    struct stormed m = {0};

    if (!synced)
        place.folder = "/dev/shm";
    bench_store_open(&store, &place, make_schema(), (size_t)4 << 30, &more);
    run_storm(&store, commits, &m);
    compare_scans(&store, &place, &m);
    bench_store_remove(&store);
    return m;
}

static void report(const struct bench_options *options, const char *name, const struct stormed *m,
                   struct bench_result *out)
{
    bench_say(options,
              "storm: %-6s %llu commits in %.1f s (%.0f/s, %.1f CPU-us each): at most %llu live files and segments; "
              "scan of %llu rows %.3f ms, compacted %.3f: %.2fx\n",
              name, (unsigned long long)m->commits, m->wall_s, (double)m->commits / m->wall_s,
              m->cpu_s / (double)m->commits * 1e6, (unsigned long long)m->live_most, (unsigned long long)m->rows,
              m->scan_ms, m->compacted_ms, m->scan_ms / m->compacted_ms);
    bench_more(out, ",\"%s\":{\"commits\":%llu,\"commits_per_s\":%.0f,\"cpu_us_per_commit\":%.2f,\"live_most\":%llu,",
               name, (unsigned long long)m->commits, (double)m->commits / m->wall_s,
               m->cpu_s / (double)m->commits * 1e6, (unsigned long long)m->live_most);
    bench_more(out, "\"rows\":%llu,\"scan_ms\":%.4f,\"compacted_ms\":%.4f,\"scan_ratio\":%.3f}",
               (unsigned long long)m->rows, m->scan_ms, m->compacted_ms, m->scan_ms / m->compacted_ms);
}

bool bench_storm(const struct bench_options *options, struct bench_result *out)
{
    uint64_t synced = options->rows ? options->rows : options->full ? 100000 : 20000;
    uint64_t in_memory = options->rows ? options->rows * 10 : options->full ? 3000000 : 1000000;
    struct stormed disk = run(options, synced, true), memory = run(options, in_memory, false);
    double ratio = MG_MAX(disk.scan_ms / disk.compacted_ms, memory.scan_ms / memory.compacted_ms);

    *out = (struct bench_result){
        .bench = "storm", .unit = "live files", .goal = "<= 64, scan <= 1.2x of compacted", .goal_figure = goal_files};
    out->figure = (double)MG_MAX(disk.live_most, memory.live_most);
    out->ok = out->figure <= goal_files && ratio <= goal_scan;
    bench_more(out, ",\"scan_ratio\":%.3f", ratio);
    report(options, "synced", &disk, out);
    report(options, "memory", &memory, out);
    return true;
}
