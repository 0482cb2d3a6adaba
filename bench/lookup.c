/* lookup.c -- what it costs to find a key in parts, in sorted batches, and to read one row by its key.
 *
 * Data      ten parts of 2 M rows (quick), 10 M (full) or --rows each: an int64 key that rises by 1 to 20, all parts
 *           over the same range, and an int32. All that look-ups read is in the cache before the clock starts.
 * Load      sorted batches of 3,000 keys. Half of the batches: rows of random parts, so that a key passes half of the
 *           filters before it is found. The others: keys that no filter knows, which ask all ten.
 * Points    the same rows as one of the parts in a store of the engine, merged and cached: POINTS reads of one row with
 *           both columns by a random key that is there, one after the other, from call to batch.
 * Figure    ns a key, the median of batches of the first kind; hashes are made before. The second kind is `absent_ns`.
 *           ok: at most 500 ns, and 99 of 100 points within 15 us.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "part/part.h"
#include "store.h"

enum { PARTS = 10, BATCH = 3000, BATCHES = 200, GAP = 20, APPEND_ROWS = 65536 };
enum { POINTS = 100000, POINT_KEYS_A_BATCH = 64 };
static const double goal_ns = 500, goal_point_us = 15;

struct bench {
    struct mg_schema *schema;
    struct mg_cache *cache;
    struct mg_part *parts[PARTS];
    struct mg_random random;
    uint64_t file_bytes, write_ns;
    /* a batch */
    int64_t keys[BATCH];
    uint8_t bytes[BATCH * 8];
    uint32_t offsets[BATCH + 1], rows[BATCH];
    uint64_t hashes[BATCH];
    /* points */
    struct bench_store store;
    int64_t *point_keys;
    uint64_t point_key_count;
};

static struct mg_schema *make_schema(void)
{
    static const enum mg_type_id types[] = {MG_TYPE_INT64, MG_TYPE_INT32};
    struct mg_schema *schema = mg_schema_new();

    schema->table_id = schema->version = 1;
    try(mg_schema_text(&schema->database, mg_slice_text("bench"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("lookup"), err));
    for (uint32_t c = 0; c < 2; c++) {
        struct mg_column *column;
        try(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type.id = types[c];
        try(mg_schema_text(&column->name, mg_slice_text(c ? "value" : "id"), err));
    }
    schema->key_count = 1;
    try(mg_schema_seal(schema, err));
    return schema;
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

static struct mg_batch *make_rows(struct bench *b, int64_t *key, uint32_t count)
{
    static const struct mg_type types[] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT32}};
    struct mg_batch_builder builder;
    struct mg_batch *batch;

    try(mg_batch_builder_init(&builder, types, 2, NULL, SIZE_MAX, err));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t r = mg_random_u64(&b->random);
        *key += 1 + (int64_t)(r % GAP);
        try(mg_builder_int(&builder, 0, *key, err));
        try(mg_builder_int(&builder, 1, (int64_t)(r >> 40), err));
    }
    try(mg_batch_builder_finish(&builder, count, &batch, err));
    mg_batch_builder_clear(&builder);
    return batch;
}

static void make_part(struct bench *b, const char *folder, uint32_t number, uint64_t row_count)
{
    struct mg_part_writer_options options = {.rows_expected = row_count, .segment_id = number};
    struct mg_part_options open_options = {.cache = b->cache, .segment_id = number};
    struct mg_clock *clock = mg_clock_system();
    struct mg_part_writer *writer;
    struct mg_part_summary summary;
    char path[4200];
    int64_t key = 0;

    snprintf(path, sizeof path, "%s/%u", folder, number);
    try(mg_part_writer_open(path, b->schema, &options, &writer, err));
    for (uint64_t row = 0; row < row_count; row += APPEND_ROWS) {
        struct mg_batch *rows = make_rows(b, &key, (uint32_t)MG_MIN(row_count - row, APPEND_ROWS));
        int64_t start_ns = mg_mono_ns(clock);
        try(mg_part_writer_append(writer, rows, err));
        b->write_ns += (uint64_t)(mg_mono_ns(clock) - start_ns);
        mg_batch_unref(rows);
    }
    int64_t start_ns = mg_mono_ns(clock);
    try(mg_part_writer_finish(writer, &summary, err));
    b->write_ns += (uint64_t)(mg_mono_ns(clock) - start_ns);
    b->file_bytes += summary.file_bytes;
    try(mg_part_open(path, &open_options, &b->parts[number], err));
}

/* ---- look-ups ------------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t key_of_row(struct mg_part *part, uint32_t row)
{
    struct mg_buffer key;

    mg_buffer_init(&key, MG_KEY_BYTES_MAX);
    try(mg_part_key_at(part, row, &key, err));
    int64_t v = (int64_t)(mg_load_be64(key.data) ^ UINT64_C(1) << 63);
    mg_buffer_clear(&key);
    return v;
}

/* Returns the number of different keys. */
static uint32_t make_batch(struct bench *b, bool absent)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < BATCH; i++) {
        struct mg_part *part = b->parts[mg_random_below(&b->random, PARTS)];
        b->keys[i] = key_of_row(part, (uint32_t)mg_random_below(&b->random, mg_part_row_count(part)));
    }
    qsort(b->keys, BATCH, sizeof b->keys[0], by_number);
    for (uint32_t i = 0; i < BATCH; i++)
        if (count == 0 || b->keys[i] != b->keys[count - 1])
            b->keys[count++] = b->keys[i];
    for (uint32_t i = 0; i < count; i++) {
        mg_store_be64(b->bytes + i * 8, (uint64_t)b->keys[i] ^ UINT64_C(1) << 63);
        b->offsets[i + 1] = (i + 1) * 8;
        b->hashes[i] = mg_part_key_hash(MG_SLICE(b->bytes + i * 8, 8));
        /* The filter goes by the hash: with another one a key is as good as absent. */
        if (absent)
            b->hashes[i] = mg_random_u64(&b->random);
    }
    return count;
}

/* ns a key. */
static double run_batch(struct bench *b, uint32_t count, uint32_t *out_found)
{
    struct mg_part_probe probe = {.count = count, .keys = b->bytes, .offsets = b->offsets, .hashes = b->hashes};
    struct mg_clock *clock = mg_clock_system();

    for (uint32_t i = 0; i < count; i++)
        b->rows[i] = MG_PART_NO_ROW;
    int64_t start_ns = mg_mono_ns(clock);
    for (uint32_t p = 0; p < PARTS; p++)
        try(mg_part_find(b->parts[p], &probe, b->rows, err));
    int64_t took_ns = mg_mono_ns(clock) - start_ns;
    for (uint32_t i = 0; i < count; i++)
        *out_found += b->rows[i] != MG_PART_NO_ROW;
    return (double)took_ns / count;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorted ns of BATCHES batches; returns the CPU-ns a key over all of them. */
static double measure(struct bench *b, bool absent, double ns[BATCHES])
{
    uint32_t found = 0, asked = 0;
    int64_t cpu_us = 0;

    for (int i = 0; i < BATCHES; i++) {
        uint32_t count = make_batch(b, absent);
        int64_t start_us = bench_thread_cpu_us();
        ns[i] = run_batch(b, count, &found);
        cpu_us += bench_thread_cpu_us() - start_us;
        asked += count;
    }
    if (!absent && found != asked) {
        fprintf(stderr, "lookup: %u of %u keys were found\n", found, asked);
        exit(1);
    }
    qsort(ns, BATCHES, sizeof ns[0], by_size);
    return (double)cpu_us * 1e3 / asked;
}

static void load_all(struct bench *b)
{
    for (uint32_t p = 0; p < PARTS; p++)
        for (uint32_t g = 0; g < mg_part_group_count(b->parts[p]); g++) {
            struct mg_part_block block;
            try(mg_part_block_get(b->parts[p], 0, g, &block, err));
            mg_part_block_release(&block);
        }
}

/* ---- points -------------------------------------------------------------------------------------------------- */

/* The same rows in a store, settled; some of their keys are remembered. */
static void fill_store(struct bench *b, const struct bench_options *options, uint64_t row_count)
{
    int64_t key = 0;

    bench_store_open(&b->store, options, make_schema(), 0, &(struct mg_engine_options){.maintain_by_hand = true});
    b->point_keys = calloc(row_count / APPEND_ROWS + 1, POINT_KEYS_A_BATCH * sizeof *b->point_keys);
    if (!b->point_keys)
        bench_die("no memory");
    for (uint64_t row = 0; row < row_count; row += APPEND_ROWS) {
        struct mg_batch *rows = make_rows(b, &key, (uint32_t)MG_MIN(row_count - row, APPEND_ROWS));
        const int64_t *keys = rows->vectors[0].values;
        for (int i = 0; i < POINT_KEYS_A_BATCH; i++)
            b->point_keys[b->point_key_count++] = keys[mg_random_below(&b->random, rows->row_count)];
        bench_store_apply(&b->store, rows, NULL);
        mg_batch_unref(rows);
    }
    bench_store_settle(&b->store);
}

static void measure_points(struct bench *b, struct mg_snapshot *snapshot, double us[POINTS])
{
    static const uint32_t columns[] = {0, 1};
    uint8_t key[8];
    uint32_t offsets[2] = {0, 8}, row;
    struct mg_find_spec spec = {
        .table_id = 1, .key_count = 1, .keys = key, .offsets = offsets, .columns = columns, .column_count = 2};

    for (int i = 0; i < POINTS; i++) {
        struct mg_batch *batch = NULL;
        int64_t wanted = b->point_keys[mg_random_below(&b->random, b->point_key_count)];
        mg_store_be64(key, (uint64_t)wanted ^ UINT64_C(1) << 63);
        int64_t start_ns = bench_now_ns();
        try(b->store.engine->ops->find(snapshot, &spec, &row, &batch, err));
        us[i] = (double)(bench_now_ns() - start_ns) / 1e3;
        if (!batch || ((const int64_t *)batch->vectors[0].values)[row] != wanted)
            bench_die("the row of key %lld was not found", (long long)wanted);
        mg_batch_unref(batch);
    }
}

/* Sorted us of POINTS reads. */
static void run_points(struct bench *b, const struct bench_options *options, uint64_t row_count, double us[POINTS])
{
    struct mg_snapshot *snapshot;

    fill_store(b, options, row_count);
    try(b->store.engine->ops->snapshot(b->store.engine, &snapshot, err));
    for (int round = 0; round < 2; round++) /* the first brings blocks into the cache */
        measure_points(b, snapshot, us);
    b->store.engine->ops->snapshot_unref(snapshot);
    bench_store_remove(&b->store);
    free(b->point_keys);
    qsort(us, POINTS, sizeof us[0], by_size);
}

static void report(const struct bench *b, const struct bench_options *options, uint64_t row_count, const double *there,
                   const double *absent, const double *points, struct bench_result *out)
{
    double p50 = points[POINTS / 2], p99 = points[POINTS / 100 * 99];
    double rows = (double)row_count * PARTS;

    out->bench = "lookup";
    out->unit = "ns per key";
    out->goal = "<= 500, a point p99 <= 15 us";
    out->goal_figure = goal_ns;
    out->figure = there[BATCHES / 2];
    out->ok = out->figure <= goal_ns && p99 <= goal_point_us;
    bench_more(out,
               ",\"parts\":%d,\"rows_per_part\":%llu,\"batch\":%d,\"min_ns\":%.0f,\"max_ns\":%.0f,\"absent_ns\":%.0f,"
               "\"write_ns_per_row\":%.1f,\"file_bytes_per_row\":%.2f,\"kernels\":\"%s\"",
               PARTS, (unsigned long long)row_count, BATCH, there[0], there[BATCHES - 1], absent[BATCHES / 2],
               (double)b->write_ns / rows, (double)b->file_bytes / rows, mg_block_kernels());
    bench_more(out, ",\"point_p50_us\":%.2f,\"point_p99_us\":%.2f,\"point_max_us\":%.1f", p50, p99, points[POINTS - 1]);
    bench_say(options,
              "lookup: %d parts of %llu rows: a key that is there %.0f ns (%.0f to %.0f), one that is not %.0f ns\n",
              PARTS, (unsigned long long)row_count, out->figure, there[0], there[BATCHES - 1], absent[BATCHES / 2]);
    bench_say(options, "  one row by its key: p50 %.2f us, p99 %.2f us, at most %.1f us\n", p50, p99,
              points[POINTS - 1]);
}

bool bench_lookup(const struct bench_options *options, struct bench_result *out)
{
    static struct bench b;
    static double points[POINTS];
    double there[BATCHES], absent[BATCHES];
    uint64_t row_count = options->rows ? options->rows : options->full ? 10000000 : 2000000;
    char folder[4096];

    bench_folder_make(options, folder);
    mg_random_init(&b.random, 1);
    b.schema = make_schema();
    try(mg_cache_new(NULL, 0, &b.cache, err));
    for (uint32_t p = 0; p < PARTS; p++)
        make_part(&b, folder, p, row_count);
    load_all(&b);
    double cpu_ns = measure(&b, false, there);
    (void)measure(&b, true, absent);
    for (uint32_t p = 0; p < PARTS; p++)
        mg_part_unref(b.parts[p]);
    mg_cache_free(b.cache);
    mg_schema_unref(b.schema);
    bench_folder_remove(folder);
    run_points(&b, options, row_count, points);
    report(&b, options, row_count, there, absent, points, out);
    bench_more(out, ",\"cpu_ns\":%.0f", cpu_ns);
    return true;
}
