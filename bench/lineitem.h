/* lineitem.h -- TPC-H's lineitem as benchmarks read it: rows from a file of tpchgen-cli or made here, the queries that
 * are asked of it, and who of its rows is changed to make a table dirty.
 *
 * Threads  a source belongs to one thread; a query to one at a time, whose scan runs on two.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_LINEITEM_H
#define MG_BENCH_LINEITEM_H

#include "base/buffer.h"
#include "store.h"

/* ---- rows ---- */

struct lineitem_source;

/* What `options` ask for: `rows` of them made here, else scale 1 (quick) or 10 (full) from data/sf<scale>, which is
 * made first, saying so, when it is missing. shuffled: in random order over the whole table. */
struct lineitem_source *lineitem_open(const struct bench_options *options, bool shuffled);
void lineitem_close(struct lineitem_source *source);
/* The next batch, at most 65,536 rows; NULL at the end. The caller unreferences it. */
struct mg_batch *lineitem_next(struct lineitem_source *source);
/* A schema of tpch.lineitem with the key (l_orderkey, l_linenumber). */
struct mg_schema *lineitem_schema(const struct lineitem_source *source);
const struct mg_field *lineitem_fields(const struct lineitem_source *source, uint32_t *out_count);
/* Whether rows are made here: then there is no file that a peer could read. */
bool lineitem_is_made_here(const struct bench_options *options);
/* The folder of the files of that scale; makes them. */
void lineitem_folder(const struct bench_options *options, char path[4096]);

/* All rows of a source into the store; settle: and into merged parts. Returns how many. */
uint64_t lineitem_fill(struct bench_store *store, const struct bench_options *options, bool settle);

/* ---- changes ---- */

/* Ten rows of a hundred are updated and one deleted, scattered by LINEITEM_PICK, a remainder of 100: below 10 are
 * updated (price + 1.00, quantity 51 - it), 10 is deleted. */
#define LINEITEM_PICK "((l_orderkey * 7919 + l_linenumber * 104729) % 1000003) % 100"

/* The rows of a batch that are changed, as they are then, and their ops (room for all rows); NULL: none. */
struct mg_batch *lineitem_changes(const struct mg_batch *batch, uint8_t *ops);
/* The rows that are there after the changes. */
struct mg_batch *lineitem_after(const struct mg_batch *batch);

/* ---- queries ---- */

enum { LINEITEM_QUERIES = 10, LINEITEM_THREADS = 2 };

struct lineitem_query {
    const char *name;
    const char *sql;   /* for peers; the table is lineitem */
    uint32_t averages; /* bit i: column i of the result is an average, whose digits differ between systems */
    void (*build)(struct lineitem_query *query, struct mg_arena *arena, const struct mg_schema *schema);
    struct mg_predicate *predicate;
    struct mg_aggregate *aggregate;
};

/* Q1, Q6, Q14's scan, then the others. */
void lineitem_queries_bind(struct lineitem_query queries[LINEITEM_QUERIES], const struct mg_schema *schema);
void lineitem_queries_free(struct lineitem_query queries[LINEITEM_QUERIES]);

struct lineitem_view {
    struct mg_snapshot *snapshot; /* pinned */
    double plan_ms;               /* that planning LINEITEM_THREADS splits of it takes a calculator */
};
void lineitem_view_open(struct lineitem_view *view, const struct bench_store *store);
void lineitem_view_close(struct lineitem_view *view);

struct lineitem_run {
    double wall_ms, cpu_ms;
};
/* Ask it, with LINEITEM_THREADS threads. answer may be NULL; else rows as sorted lines "a|b|c\n". */
struct lineitem_run lineitem_ask(const struct lineitem_query *query, const struct lineitem_view *view,
                                 struct mg_buffer *answer);
/* Sort the lines of an answer in place. */
void lineitem_sort_lines(char *text);
/* Numbers compare as such, averages to a millionth part. */
bool lineitem_same(const struct lineitem_query *query, const char *ours, const char *theirs);

#endif
