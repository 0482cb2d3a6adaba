/* load.c -- how many rows a second and core of a bulk load become durable: through the engine, and through DoPut over
 * loopback.
 *
 * Data      lineitem of scale 1 (quick) or 10 (full), in random order over all keys, batches of 50,000 rows. Reading
 *           them is not in the time nor in the CPU time.
 * Engine    an epoch a batch, durable before the next; flushes and merges go on meanwhile on the second core. The CPU
 *           time goes on until all rows lie in parts.
 * DoPut     a magicd as a child process; one stream, CREATE in one epoch; until the answer that says durable. Its CPU
 *           time is the server's alone.
 * Figure    rows by CPU-seconds of the engine's process, background included, the worse of both ways; wall time is
 *           beside it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <unistd.h>

#include "lineitem.h"
#include "server.h"

static const double goal_rows_per_core_s = 300000;

struct measured {
    uint64_t rows, bytes;
    double wall_s, cpu_s;
};

static struct measured load_engine(const struct bench_options *options, struct bench_result *out)
{
    struct lineitem_source *source = lineitem_open(options, true);
    struct measured m = {0};
    struct bench_store store;
    int64_t read_us = 0, wall_ns = 0;

    bench_store_open(&store, options, lineitem_schema(source), (size_t)4 << 30, NULL);
    int64_t start_us = bench_process_cpu_us();
    for (;;) {
        int64_t before_us = bench_thread_cpu_us();
        struct mg_batch *batch = lineitem_next(source);
        read_us += bench_thread_cpu_us() - before_us;
        if (!batch)
            break;
        int64_t before_ns = bench_now_ns();
        bench_store_apply(&store, batch, NULL);
        wall_ns += bench_now_ns() - before_ns;
        m.rows += batch->row_count;
        m.bytes += mg_batch_bytes(batch);
        mg_batch_unref(batch);
    }
    m.wall_s = (double)wall_ns / 1e9;
    try(store.engine->ops->checkpoint(store.engine, true, err));
    m.cpu_s = (double)(bench_process_cpu_us() - start_us - read_us) / 1e6;
    bench_more(out, ",\"parts\":%llu,\"flushed_bytes\":%llu,\"merged_bytes\":%llu,\"wal_bytes\":%llu",
               (unsigned long long)bench_store_status(&store, "parts"),
               (unsigned long long)bench_store_status(&store, "flushed_bytes"),
               (unsigned long long)bench_store_status(&store, "merged_bytes"),
               (unsigned long long)bench_store_status(&store, "wal_bytes"));
    lineitem_close(source);
    bench_store_remove(&store);
    return m;
}

static struct measured load_put(const struct bench_options *options)
{
    struct lineitem_source *source = lineitem_open(options, true);
    struct mg_put_target target = {
        .database = "tpch", .table = "lineitem", .mode = MG_PUT_CREATE, .key = "l_orderkey,l_linenumber"};
    struct bench_server server = {0};
    struct measured m = {0};
    uint64_t size_bytes = 0, rows = 0, epoch = 0;
    uint32_t field_count;
    int64_t wall_ns = 0;

    bench_server_start(&server, options);
    const struct mg_field *fields = lineitem_fields(source, &field_count);
    int64_t start_us = bench_cpu_us_of(server.pid);
    try(mg_remote_put_begin(server.remote, &target, fields, field_count, err));
    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch)) {
        int64_t before_ns = bench_now_ns();
        try(mg_remote_put_batch(server.remote, batch, &size_bytes, err));
        wall_ns += bench_now_ns() - before_ns;
        m.bytes += size_bytes;
    }
    int64_t before_ns = bench_now_ns();
    try(mg_remote_put_end(server.remote, &rows, &epoch, err));
    wall_ns += bench_now_ns() - before_ns;
    m.cpu_s = (double)(bench_cpu_us_of(server.pid) - start_us) / 1e6;
    m.wall_s = (double)wall_ns / 1e9;
    m.rows = rows;
    lineitem_close(source);
    bench_server_stop(&server);
    return m;
}

static double report(const struct bench_options *options, const char *name, const struct measured *m,
                     struct bench_result *out)
{
    double per_core = (double)m->rows / MG_MAX(m->cpu_s, 0.01), per_s = (double)m->rows / m->wall_s;

    bench_say(options, "load: %-6s %llu rows: %.0f rows/s, %.0f rows per CPU-s, %.1f MB/s, %.2f CPU-us a row\n", name,
              (unsigned long long)m->rows, per_s, per_core, (double)m->bytes / m->wall_s / 1e6,
              m->cpu_s / (double)m->rows * 1e6);
    bench_more(out, ",\"%s\":{\"rows\":%llu,\"rows_per_s\":%.0f,\"rows_per_cpu_s\":%.0f,\"bytes_per_s\":%.4g,", name,
               (unsigned long long)m->rows, per_s, per_core, (double)m->bytes / m->wall_s);
    bench_more(out, "\"wall_s\":%.3f,\"cpu_s\":%.3f}", m->wall_s, m->cpu_s);
    return per_core;
}

bool bench_load(const struct bench_options *options, struct bench_result *out)
{
    *out = (struct bench_result){.bench = "load", .unit = "rows/CPU-s", .goal = ">= 300000"};
    struct measured engine = load_engine(options, out), put = load_put(options);
    double by_engine = report(options, "engine", &engine, out), by_put = report(options, "doput", &put, out);

    if (engine.rows != put.rows)
        bench_die("the engine took %llu rows, DoPut %llu", (unsigned long long)engine.rows,
                  (unsigned long long)put.rows);
    out->figure = MG_MIN(by_engine, by_put);
    out->goal_figure = goal_rows_per_core_s;
    out->ok = out->figure >= goal_rows_per_core_s;
    return true;
}
