/* dirty.c -- what updates cost those who read: lineitem with 10 % of its rows updated and 1 % deleted, not compacted,
 * against the same rows compacted; beside it chdb's ReplacingMergeTree with FINAL and DuckDB after the same updates.
 *
 * Data      lineitem of scale 1 (quick) or 10 (full), in merged parts; then the changes (lineitem.h), an epoch per
 *           65,536 rows of the file. Compacted: a second store into which the rows were loaded as they are afterwards.
 * States    `delta`: the changed rows lie in memory, as publish left them; `flushed`: in parts of their own, not
 *           merged.
 * Queries   Q1, Q6 and Q14's scan. All answers are compared before anything is timed.
 * Figure    geomean over the queries of dirty by compacted time, the worse of both states, minima of RUNS that
 *           alternate between the two stores and the peers. ok: at most 1.15, and FINAL takes at least 5 times as long
 *           (geomean), DuckDB at least as long.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lineitem.h"
#include "peer.h"

enum { RUNS = 7, FINAL_RUNS = 3, QUERIES = 3 }; /* FINAL takes seconds */
static const double goal_ratio = 1.15, goal_final = 5, goal_duckdb = 1;

struct sides {
    struct bench_store dirty, compacted;
    struct lineitem_view dirty_view, compacted_view;
    struct peer *chdb, *duckdb;
    struct lineitem_query queries[LINEITEM_QUERIES];
};
struct timed {
    double dirty_ms[RUNS], compacted_ms[RUNS], dirty_cpu_ms[RUNS], compacted_cpu_ms[RUNS], chdb_ms[FINAL_RUNS],
        duckdb_ms[RUNS];
};
/* Geomeans over the queries. */
struct ratios {
    double compacted, compacted_cpu, chdb, duckdb;
};

/* ---- data ---------------------------------------------------------------------------------------------------- */

static void open_stores(struct sides *sides, const struct bench_options *options)
{
    struct mg_engine_options by_hand = {.maintain_by_hand = true};
    struct lineitem_source *source = lineitem_open(options, false);

    bench_store_open(&sides->dirty, options, lineitem_schema(source), (size_t)8 << 30, &by_hand);
    bench_store_open(&sides->compacted, options, lineitem_schema(source), (size_t)8 << 30, &by_hand);
    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch)) {
        struct mg_batch *after = lineitem_after(batch);
        bench_store_apply(&sides->dirty, batch, NULL);
        bench_store_apply(&sides->compacted, after, NULL);
        mg_batch_unref(after);
    }
    lineitem_close(source);
    bench_store_settle(&sides->dirty);
    bench_store_settle(&sides->compacted);
}

static void make_dirty(struct sides *sides, const struct bench_options *options)
{
    static uint8_t ops[MG_BATCH_ROWS_MAX];
    struct lineitem_source *source = lineitem_open(options, false);

    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch)) {
        struct mg_batch *changes = lineitem_changes(batch, ops);
        if (changes)
            bench_store_apply(&sides->dirty, changes, ops);
        mg_batch_unref(changes);
    }
    lineitem_close(source);
}

static void start_peers(struct sides *sides, const struct bench_options *options)
{
    char folder[4096];

    if (lineitem_is_made_here(options))
        return;
    lineitem_folder(options, folder);
    sides->chdb = peer_start(options, "sql.py", (const char *[]){"chdb", folder, "dirty", LINEITEM_PICK, NULL});
    sides->duckdb = peer_start(options, "sql.py", (const char *[]){"duckdb", folder, "dirty", LINEITEM_PICK, NULL});
}

/* ---- measuring ----------------------------------------------------------------------------------------------- */

static bool peer_agrees(struct peer *peer, const char *name, const struct lineitem_query *query, const char *ours)
{
    struct peer_answer theirs;

    if (!peer)
        return true;
    if (!peer_ask(peer, &theirs, "run %s", query->sql))
        return false;
    lineitem_sort_lines(theirs.text);
    if (!lineitem_same(query, ours, theirs.text))
        bench_die("%s: %s answers\n%sand we answer\n%s", query->name, name, theirs.text, ours);
    return true;
}

static bool answers_are_equal(struct sides *sides, int query_index)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer dirty;
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer compacted;
    const struct lineitem_query *query = &sides->queries[query_index];

    mg_buffer_init(&dirty, 1 << 20);
    mg_buffer_init(&compacted, 1 << 20);
    lineitem_ask(query, &sides->dirty_view, &dirty);
    lineitem_ask(query, &sides->compacted_view, &compacted);
    if (!lineitem_same(query, (const char *)dirty.data, (const char *)compacted.data))
        bench_die("%s: the dirty store answers\n%sand the compacted one\n%s", query->name, (const char *)dirty.data,
                  (const char *)compacted.data);
    return peer_agrees(sides->chdb, "chdb", query, (const char *)dirty.data) &&
           peer_agrees(sides->duckdb, "DuckDB", query, (const char *)dirty.data);
}

static bool ask_peer(struct peer *peer, const struct lineitem_query *query, double *out_ms)
{
    struct peer_answer answer = {0};

    if (peer && !peer_ask(peer, &answer, "run %s", query->sql))
        return false;
    *out_ms = answer.wall_ms;
    return true;
}

static bool measure(struct sides *sides, const struct lineitem_query *query, struct timed *out)
{
    for (int run = 0; run < RUNS; run++) {
        struct lineitem_run dirty = lineitem_ask(query, &sides->dirty_view, NULL);
        struct lineitem_run compacted = lineitem_ask(query, &sides->compacted_view, NULL);
        out->dirty_ms[run] = dirty.wall_ms;
        out->dirty_cpu_ms[run] = dirty.cpu_ms;
        out->compacted_ms[run] = compacted.wall_ms;
        out->compacted_cpu_ms[run] = compacted.cpu_ms;
        if (!ask_peer(sides->duckdb, query, &out->duckdb_ms[run]))
            return false;
        if (run < FINAL_RUNS && !ask_peer(sides->chdb, query, &out->chdb_ms[run]))
            return false;
    }
    return true;
}

static void report_query(const struct bench_options *options, struct sides *sides, const char *state, const char *name,
                         struct timed *t, struct bench_result *out)
{
    double dirty = bench_min(t->dirty_ms, RUNS), compacted = bench_min(t->compacted_ms, RUNS);
    double dirty_cpu = bench_min(t->dirty_cpu_ms, RUNS), compacted_cpu = bench_min(t->compacted_cpu_ms, RUNS);

    bench_say(options, "  %-8s %-9s dirty %8.2f ms (CPU %8.2f), compacted %8.2f (%8.2f): %.2fx", state, name, dirty,
              dirty_cpu, compacted, compacted_cpu, dirty / compacted);
    bench_more(out, ",\"%s_%s\":{\"ms\":%.3f,\"median_ms\":%.3f,\"cpu_ms\":%.2f,\"compacted_ms\":%.3f,", state, name,
               dirty, bench_median(t->dirty_ms, RUNS), dirty_cpu, compacted);
    bench_more(out, "\"compacted_median_ms\":%.3f,\"compacted_cpu_ms\":%.2f,\"ratio\":%.3f",
               bench_median(t->compacted_ms, RUNS), compacted_cpu, dirty / compacted);
    if (sides->chdb) {
        double final = bench_min(t->chdb_ms, FINAL_RUNS);
        bench_say(options, "; FINAL %8.2f: %.2fx", final, final / dirty);
        bench_more(out, ",\"final_ms\":%.3f,\"final_ratio\":%.3f", final, final / dirty);
    }
    if (sides->duckdb) {
        double duckdb = bench_min(t->duckdb_ms, RUNS);
        bench_say(options, "; DuckDB %8.2f: %.2fx", duckdb, duckdb / dirty);
        bench_more(out, ",\"duckdb_ms\":%.3f,\"duckdb_ratio\":%.3f", duckdb, duckdb / dirty);
    }
    bench_say(options, "\n");
    bench_more(out, "}");
}

/* One state of the dirty store, over all queries. */
static bool measure_state(const struct bench_options *options, struct sides *sides, const char *state,
                          struct ratios *ratios, struct bench_result *out)
{
    double compacted[QUERIES], compacted_cpu[QUERIES], chdb[QUERIES], duckdb[QUERIES];

    lineitem_view_open(&sides->dirty_view, &sides->dirty);
    for (int i = 0; i < QUERIES; i++) {
        struct timed timed;
        if (!answers_are_equal(sides, i) || !measure(sides, &sides->queries[i], &timed)) {
            lineitem_view_close(&sides->dirty_view);
            return false;
        }
        double dirty = bench_min(timed.dirty_ms, RUNS);
        compacted[i] = dirty / bench_min(timed.compacted_ms, RUNS);
        compacted_cpu[i] = bench_min(timed.dirty_cpu_ms, RUNS) / bench_min(timed.compacted_cpu_ms, RUNS);
        chdb[i] = bench_min(timed.chdb_ms, FINAL_RUNS) / dirty;
        duckdb[i] = bench_min(timed.duckdb_ms, RUNS) / dirty;
        report_query(options, sides, state, sides->queries[i].name, &timed, out);
    }
    lineitem_view_close(&sides->dirty_view);
    *ratios = (struct ratios){bench_geomean(compacted, QUERIES), bench_geomean(compacted_cpu, QUERIES),
                              sides->chdb ? bench_geomean(chdb, QUERIES) : 0,
                              sides->duckdb ? bench_geomean(duckdb, QUERIES) : 0};
    bench_say(options, "  %-8s geomean: %.3fx of compacted (CPU %.3fx), FINAL takes %.2fx as long, DuckDB %.2fx\n",
              state, ratios->compacted, ratios->compacted_cpu, ratios->chdb, ratios->duckdb);
    bench_more(out, ",\"%s\":{\"ratio\":%.4f,\"cpu_ratio\":%.4f,\"final_ratio\":%.3f,\"duckdb_ratio\":%.3f}", state,
               ratios->compacted, ratios->compacted_cpu, ratios->chdb, ratios->duckdb);
    return true;
}

static void report_rows(const struct bench_options *options, struct sides *sides, struct bench_result *out)
{
    uint64_t live = bench_store_status(&sides->dirty, "rows"), dead = bench_store_status(&sides->dirty, "rows_deleted");
    double ratio = (double)(live + dead) / (double)live;

    bench_say(options, "dirty: %llu rows, %llu dead beside them: %.3fx of the rows are touched\n",
              (unsigned long long)live, (unsigned long long)dead, ratio);
    bench_more(out, ",\"rows\":%llu,\"dead_rows\":%llu,\"row_ratio\":%.4f,\"peer\":%s", (unsigned long long)live,
               (unsigned long long)dead, ratio,
               sides->chdb && sides->duckdb ? "\"chdb 4.4.0 FINAL, duckdb 2.0.0\"" : "null");
}

bool bench_dirty(const struct bench_options *options, struct bench_result *out)
{
    struct ratios delta = {0}, flushed = {0};
    struct sides sides = {0};

    *out = (struct bench_result){.bench = "dirty",
                                 .unit = "x of compacted",
                                 .goal = "<= 1.15, FINAL >= 5x as long, DuckDB >= 1.0x",
                                 .goal_figure = goal_ratio};
    open_stores(&sides, options);
    start_peers(&sides, options);
    make_dirty(&sides, options);
    lineitem_queries_bind(sides.queries, sides.dirty.schema);
    report_rows(options, &sides, out);
    lineitem_view_open(&sides.compacted_view, &sides.compacted);
    bool asked = measure_state(options, &sides, "delta", &delta, out);
    if (asked) {
        try(sides.dirty.engine->ops->checkpoint(sides.dirty.engine, true, err));
        bench_more(out, ",\"parts\":%llu", (unsigned long long)bench_store_status(&sides.dirty, "parts"));
        asked = measure_state(options, &sides, "flushed", &flushed, out);
    }
    out->figure = MG_MAX(delta.compacted, flushed.compacted);
    out->ok = asked && sides.chdb && sides.duckdb && out->figure <= goal_ratio &&
              MG_MIN(delta.chdb, flushed.chdb) >= goal_final && MG_MIN(delta.duckdb, flushed.duckdb) >= goal_duckdb;
    lineitem_view_close(&sides.compacted_view);
    lineitem_queries_free(sides.queries);
    peer_stop(sides.chdb);
    peer_stop(sides.duckdb);
    bench_store_remove(&sides.dirty);
    bench_store_remove(&sides.compacted);
    return asked;
}
