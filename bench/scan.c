/* scan.c -- how fast two threads scan, filter and aggregate lineitem, against DuckDB on the same rows in the same run.
 *
 * Data      lineitem of scale 1 (quick) or 10 (full), merged into few parts, in the block cache; DuckDB's own file of
 *           the same rows, 2 threads.
 * Queries   Q1, Q6, Q14's scan, count(*), sums of an int32, a bigint and a decimal column, a selective filter, a group
 *           by of few keys, the max of the key. All answers are compared before anything is timed.
 * Figure    geomean over the queries of DuckDB's time by ours, minima of RUNS that alternate; ok when it is 1.0 or more
 *           and no query is below 0.5.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lineitem.h"
#include "peer.h"

enum { RUNS = 7 };
static const double goal_geomean = 1.0, goal_least = 0.5;

struct timed {
    double ours_ms[RUNS], ours_cpu_ms[RUNS], peer_ms[RUNS], peer_cpu_ms[RUNS];
};

static bool answers_are_equal(struct lineitem_query *queries, const struct lineitem_view *view, struct peer *peer)
{
    for (int i = 0; i < LINEITEM_QUERIES; i++) {
        MG_CLEANUP(mg_buffer_clear) struct mg_buffer ours;
        struct peer_answer theirs;
        mg_buffer_init(&ours, 1 << 20);
        lineitem_ask(&queries[i], view, &ours);
        if (!peer)
            continue;
        if (!peer_ask(peer, &theirs, "run %s", queries[i].sql))
            return false;
        lineitem_sort_lines(theirs.text);
        if (!lineitem_same(&queries[i], (const char *)ours.data, theirs.text))
            bench_die("%s: DuckDB answers\n%sand we answer\n%s", queries[i].name, theirs.text, (const char *)ours.data);
    }
    return true;
}

static bool measure(const struct lineitem_query *query, const struct lineitem_view *view, struct peer *peer,
                    struct timed *out)
{
    for (int run = 0; run < RUNS; run++) {
        struct peer_answer theirs = {0};
        struct lineitem_run ours = lineitem_ask(query, view, NULL);
        if (peer && !peer_ask(peer, &theirs, "run %s", query->sql))
            return false;
        out->ours_ms[run] = ours.wall_ms;
        out->ours_cpu_ms[run] = ours.cpu_ms;
        out->peer_ms[run] = theirs.wall_ms;
        out->peer_cpu_ms[run] = theirs.cpu_ms;
    }
    return true;
}

/* Returns the ratio of CPU times in *out_cpu_ratio, too: on a machine with other work it is the steadier one. */
static double report(const struct bench_options *options, const char *name, struct timed *timed, uint64_t rows,
                     bool has_peer, double *out_cpu_ratio, struct bench_result *out)
{
    double ours = bench_min(timed->ours_ms, RUNS), peer = bench_min(timed->peer_ms, RUNS), ratio = peer / ours;
    double ours_cpu = bench_min(timed->ours_cpu_ms, RUNS), peer_cpu = bench_min(timed->peer_cpu_ms, RUNS);
    double ours_median = bench_median(timed->ours_ms, RUNS), peer_median = bench_median(timed->peer_ms, RUNS);

    *out_cpu_ratio = peer_cpu / ours_cpu;
    bench_more(out, ",\"%s\":{\"ms\":%.3f,\"median_ms\":%.3f,\"cpu_ms\":%.2f,\"rows_per_s\":%.4g", name, ours,
               ours_median, ours_cpu, (double)rows / ours * 1e3);
    if (has_peer)
        bench_more(out, ",\"peer_ms\":%.3f,\"peer_median_ms\":%.3f,\"peer_cpu_ms\":%.2f,\"ratio\":%.3f", peer,
                   peer_median, peer_cpu, ratio);
    bench_more(out, "}");
    bench_say(options, "  %-12s %8.2f ms (median %8.2f, CPU %8.2f), %6.0f M rows/s", name, ours, ours_median, ours_cpu,
              (double)rows / ours / 1e3);
    if (has_peer)
        bench_say(options, "; DuckDB %8.2f (%8.2f, %8.2f): %.2fx", peer, peer_median, peer_cpu, ratio);
    bench_say(options, "\n");
    return ratio;
}

static struct peer *start_peer(const struct bench_options *options)
{
    char folder[4096];

    if (lineitem_is_made_here(options))
        return NULL;
    lineitem_folder(options, folder);
    return peer_start(options, "sql.py", (const char *[]){"duckdb", folder, "clean", NULL});
}

bool bench_scan(const struct bench_options *options, struct bench_result *out)
{
    struct lineitem_query queries[LINEITEM_QUERIES];
    struct lineitem_source *source = lineitem_open(options, false);
    struct lineitem_view view;
    struct bench_store store;
    double ratios[LINEITEM_QUERIES], cpu_ratios[LINEITEM_QUERIES];
    bool ok = true;

    bench_store_open(&store, options, lineitem_schema(source), (size_t)12 << 30,
                     &(struct mg_engine_options){.maintain_by_hand = true});
    lineitem_close(source);
    uint64_t rows = lineitem_fill(&store, options, true);
    struct peer *peer = start_peer(options);
    lineitem_queries_bind(queries, store.schema);
    lineitem_view_open(&view, &store);
    *out = (struct bench_result){.bench = "scan", .unit = "x of DuckDB", .goal = ">= 1.0, none below 0.5"};
    bench_say(options,
              "scan: %llu rows in %llu parts, 2 threads, %d runs that alternate; minima. "
              "Planning two splits: %.1f ms\n",
              (unsigned long long)rows, (unsigned long long)bench_store_status(&store, "parts"), RUNS, view.plan_ms);
    bench_more(out, ",\"peer\":%s,\"rows\":%llu,\"threads\":%d,\"runs\":%d,\"plan_ms\":%.2f",
               peer ? "\"duckdb 2.0.0\"" : "null", (unsigned long long)rows, LINEITEM_THREADS, RUNS, view.plan_ms);
    bool asked = answers_are_equal(queries, &view, peer);
    for (int i = 0; asked && i < LINEITEM_QUERIES; i++) {
        struct timed timed;
        asked = measure(&queries[i], &view, peer, &timed);
        ratios[i] = report(options, queries[i].name, &timed, rows, peer != NULL, &cpu_ratios[i], out);
        ok = ok && ratios[i] >= goal_least;
    }
    if (asked && peer) {
        out->figure = bench_geomean(ratios, LINEITEM_QUERIES);
        bench_more(out, ",\"least\":%.3f,\"cpu_ratio\":%.4f", bench_min(ratios, LINEITEM_QUERIES),
                   bench_geomean(cpu_ratios, LINEITEM_QUERIES));
    }
    out->goal_figure = goal_geomean;
    out->ok = asked && peer && ok && out->figure >= goal_geomean;
    lineitem_queries_free(queries);
    lineitem_view_close(&view);
    peer_stop(peer);
    bench_store_remove(&store);
    return asked;
}
