/* arrow_out.c -- how fast all of lineitem leaves over loopback TCP in one stream, to a C client and to pyarrow; beside
 * it pyarrow's own Flight server with the same batches.
 *
 * Data      lineitem of scale 1 (quick) or 10 (full) in a magicd as a child process, loaded through DoPut and left to
 *           its background work until that rests; `select *`, one split. The whole table in each run; the first is not
 *           counted.
 * Clients   C: our shell's, which checks and copies each batch; pyarrow.flight: reads the chunks and drops them.
 * Peer      pyarrow.flight.FlightServerBase with the table as one reader sent it, 8,192 rows a batch, in memory.
 * Figure    GB of Arrow buffers by CPU-second of our server, with pyarrow as client (the C client where there is none):
 *           the best of RUNS. CPU-seconds a GB of both servers are beside it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lineitem.h"
#include "peer.h"
#include "server.h"

enum { RUNS = 4, REST_TRIES = 240, REST_STEP_US = 250000, REST_STEPS = 8 };
static const double goal_gb_per_cpu_s = 1.5;

struct streamed {
    uint64_t rows;
    double bytes, wall_s, server_cpu_s; /* of the best run, each by itself */
};

/* ---- our server ---------------------------------------------------------------------------------------------- */

static void load(struct bench_server *server, const struct bench_options *options)
{
    struct lineitem_source *source = lineitem_open(options, false);
    struct mg_put_target target = {
        .database = "tpch", .table = "lineitem", .mode = MG_PUT_CREATE, .key = "l_orderkey,l_linenumber"};
    uint64_t size_bytes, rows, epoch;
    uint32_t field_count;

    const struct mg_field *fields = lineitem_fields(source, &field_count);
    try(mg_remote_put_begin(server->remote, &target, fields, field_count, err));
    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch))
        try(mg_remote_put_batch(server->remote, batch, &size_bytes, err));
    try(mg_remote_put_end(server->remote, &rows, &epoch, err));
    lineitem_close(source);
}

/* Until its CPU time stands still for two seconds. */
static void wait_for_rest(const struct bench_server *server)
{
    int64_t before_us = 0;

    for (int i = 0, still = 0; i < REST_TRIES && still < REST_STEPS; i++) {
        int64_t now_us = bench_cpu_us_of(server->pid);
        still = now_us - before_us > 20000 ? 0 : still + 1;
        before_us = now_us;
        usleep(REST_STEP_US);
    }
}

struct counted {
    uint64_t rows, bytes;
};

static enum mg_code begin(void *arg, const struct mg_field *fields, uint32_t count, struct mg_error *err)
{
    return MG_OK;
}

static enum mg_code count_batch(void *arg, const struct mg_batch *batch, struct mg_error *err)
{
    struct counted *counted = arg;

    counted->rows += batch->row_count;
    counted->bytes += mg_batch_bytes(batch);
    return MG_OK;
}

static void note(struct streamed *best, int run, double wall_s, double cpu_s)
{
    if (run == 0)
        return;
    best->wall_s = run == 1 ? wall_s : MG_MIN(best->wall_s, wall_s);
    best->server_cpu_s = run == 1 ? cpu_s : MG_MIN(best->server_cpu_s, cpu_s);
}

static struct streamed read_in_c(struct bench_server *server)
{
    struct streamed best = {0};

    for (int run = 0; run <= RUNS; run++) {
        struct counted counted = {0};
        struct mg_row_sink sink = {&counted, begin, count_batch};
        int64_t start_ns = bench_now_ns(), start_us = bench_cpu_us_of(server->pid);
        try(mg_remote_sql(server->remote, "select * from lineitem", "tpch", &sink, err));
        note(&best, run, (double)(bench_now_ns() - start_ns) / 1e9,
             (double)(bench_cpu_us_of(server->pid) - start_us) / 1e6);
        best.rows = counted.rows;
        best.bytes = (double)counted.bytes;
    }
    return best;
}

/* ---- pyarrow ------------------------------------------------------------------------------------------------- */

/* Reads from `address`, whose server is `pid`. False: the peer could not be asked. */
static bool read_in_python(struct peer *client, const char *address, pid_t pid, struct streamed *best)
{
    *best = (struct streamed){0};
    for (int run = 0; run <= RUNS; run++) {
        struct peer_answer answer;
        int64_t start_us = bench_cpu_us_of(pid);
        if (!peer_ask(client, &answer, "get %s", address))
            return false;
        note(best, run, answer.wall_ms / 1e3, (double)(bench_cpu_us_of(pid) - start_us) / 1e6);
        char *end;
        best->rows = strtoull(answer.text, &end, 10);
        best->bytes = strtod(end, NULL);
    }
    return true;
}

static void report(const struct bench_options *options, const char *name, const struct streamed *s,
                   struct bench_result *out)
{
    double gb = s->bytes / 1e9, cpu_s = MG_MAX(s->server_cpu_s, 0.005);

    bench_say(options, "arrow-out: %-16s %.2f GB/s, %.2f GB per CPU-s of the server (%.3f CPU-s a GB), %llu rows\n",
              name, gb / s->wall_s, gb / cpu_s, cpu_s / gb, (unsigned long long)s->rows);
    bench_more(out,
               ",\"%s\":{\"gb_per_s\":%.3f,\"gb_per_cpu_s\":%.3f,\"cpu_s_per_gb\":%.4f,\"bytes\":%.0f,\"rows\":%llu}",
               name, gb / s->wall_s, gb / cpu_s, cpu_s / gb, s->bytes, (unsigned long long)s->rows);
}

/* pyarrow as a client of ours and of its own server. */
static bool ask_python(const struct bench_options *options, const struct bench_server *server, uint64_t rows,
                       struct bench_result *out)
{
    struct peer *client = lineitem_is_made_here(options)
                              ? NULL
                              : peer_start(options, "flight.py", (const char *[]){"client", NULL});
    struct peer *host = client ? peer_start(options, "flight.py", (const char *[]){"server", NULL}) : NULL;
    struct streamed ours, theirs;
    struct peer_answer address;
    bool asked = client && host && read_in_python(client, server->address, server->pid, &ours) &&
                 peer_ask(host, &address, "serve %s", server->address);

    if (asked) {
        address.text[strcspn(address.text, "\n")] = 0;
        asked = read_in_python(client, address.text, peer_pid(host), &theirs);
    }
    if (asked && (ours.rows != rows || theirs.rows != rows))
        bench_die("the C client read %llu rows, pyarrow %llu of ours and %llu of its own server",
                  (unsigned long long)rows, (unsigned long long)ours.rows, (unsigned long long)theirs.rows);
    if (asked) {
        report(options, "pyarrow_client", &ours, out);
        report(options, "pyarrow_server", &theirs, out);
        out->figure = ours.bytes / 1e9 / MG_MAX(ours.server_cpu_s, 0.005);
    }
    peer_stop(client);
    peer_stop(host);
    return asked;
}

bool bench_arrow_out(const struct bench_options *options, struct bench_result *out)
{
    struct bench_server server = {0};

    *out = (struct bench_result){.bench = "arrow-out", .unit = "GB per CPU-s", .goal = ">= 1.5"};
    bench_server_start(&server, options);
    load(&server, options);
    wait_for_rest(&server);
    struct streamed in_c = read_in_c(&server);
    report(options, "c_client", &in_c, out);
    out->figure = in_c.bytes / 1e9 / MG_MAX(in_c.server_cpu_s, 0.005);
    bool asked = ask_python(options, &server, in_c.rows, out);
    bench_more(out, ",\"peer\":%s", asked ? "\"pyarrow 26.0.1\"" : "null");
    out->goal_figure = goal_gb_per_cpu_s;
    out->ok = asked && out->figure >= goal_gb_per_cpu_s;
    bench_server_stop(&server);
    return true;
}
