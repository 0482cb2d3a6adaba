/* size.c -- how many bytes lineitem takes on the disk, compacted, against ClickHouse with LZ4 and Parquet with zstd.
 *
 * Data      lineitem of scale 1 (quick) or 10 (full). Ours: the part files of a settled store, filters, sparse indexes
 *           and footers included; no log, no marks. chdb: bytes_on_disk of a MergeTree (LZ4, its default) merged into
 *           one part in the order of the key. Parquet: what pyarrow writes of the same rows with zstd (level 3) and its
 *           defaults.
 * Figure    ours by chdb's. ok: at most 0.9, and at most 0.8 of Parquet's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "lineitem.h"
#include "peer.h"

static const double goal_chdb = 0.9, goal_parquet = 0.8;

/* 0: it could not be asked. */
static double size_of_peer(const struct bench_options *options, const char *script, const char *const *arguments)
{
    struct peer_answer answer;
    struct peer *peer = lineitem_is_made_here(options) ? NULL : peer_start(options, script, arguments);
    double bytes = peer && peer_ask(peer, &answer, "size") ? strtod(answer.text, NULL) : 0;

    peer_stop(peer);
    return bytes;
}

bool bench_size(const struct bench_options *options, struct bench_result *out)
{
    struct lineitem_source *source = lineitem_open(options, false);
    struct bench_store store;
    char folder[4096];

    bench_store_open(&store, options, lineitem_schema(source), (size_t)8 << 30,
                     &(struct mg_engine_options){.maintain_by_hand = true});
    lineitem_close(source);
    uint64_t rows = lineitem_fill(&store, options, true);
    bench_store_compact(&store);
    double ours = (double)bench_store_status(&store, "parts_bytes");
    uint64_t parts = bench_store_status(&store, "parts");
    bench_store_remove(&store);
    lineitem_folder(options, folder);
    double chdb = size_of_peer(options, "sql.py", (const char *[]){"chdb", folder, "clean", NULL});
    double parquet = size_of_peer(options, "parquet_size.py", (const char *[]){folder, NULL});

    *out = (struct bench_result){.bench = "size", .unit = "x of ClickHouse LZ4", .goal = "<= 0.9, <= 0.8 of Parquet"};
    bench_say(options, "size: %llu rows in %llu parts: %.1f MiB, %.2f bytes a row\n", (unsigned long long)rows,
              (unsigned long long)parts, ours / 1048576, ours / (double)rows);
    bench_more(out, ",\"peer\":%s,\"rows\":%llu,\"parts\":%llu,\"bytes\":%.0f,\"bytes_per_row\":%.2f",
               chdb > 0 && parquet > 0 ? "\"chdb 4.4.0, pyarrow 26.0.1\"" : "null", (unsigned long long)rows,
               (unsigned long long)parts, ours, ours / (double)rows);
    if (chdb > 0 && parquet > 0) {
        bench_say(options, "  ClickHouse LZ4 %.1f MiB: %.3fx; Parquet zstd %.1f MiB: %.3fx\n", chdb / 1048576,
                  ours / chdb, parquet / 1048576, ours / parquet);
        bench_more(out, ",\"chdb_bytes\":%.0f,\"parquet_bytes\":%.0f,\"parquet_ratio\":%.4f", chdb, parquet,
                   ours / parquet);
        out->figure = ours / chdb;
        out->ok = out->figure <= goal_chdb && ours / parquet <= goal_parquet;
    }
    out->goal_figure = goal_chdb;
    return true;
}
