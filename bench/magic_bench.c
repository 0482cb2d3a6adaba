/* magic_bench.c -- `magic-bench NAME [options]`: the figures that Magic is judged by, each measured by a program
 * anybody can run.
 *
 *   magic-bench apply [--quick | --full] [--json] [--seconds N] [--rows N] [--dir FOLDER]
 *   magic-bench all --quick
 *
 * The last line of each is one JSON object {"bench","figure","unit","goal","ok",...}; --json leaves the other lines
 * out.
 * Status  0: measured, whatever the figure; 1: it could not be; 2: wrong usage.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bench.h"

static const struct {
    const char *name, *asks;
    bench_fn *run;
    bool is_long; /* has a full form only; --rows makes it short */
} benches[] = {
    {"apply", "row changes applied per second, durable, while a reader scans", bench_apply, false},
    {"load", "rows of a bulk load made durable per CPU-second, by the engine and through DoPut", bench_load, false},
    {"lookup", "ns to find a key in ten parts, in sorted batches; us to read one row by its key", bench_lookup, false},
    {"aggregate", "rows filtered and aggregated per second and core", bench_aggregate, false},
    {"scan", "queries over lineitem on two threads, against DuckDB", bench_scan, false},
    {"dirty", "the same with a tenth of the rows updated, against compacted, FINAL and DuckDB", bench_dirty, false},
    {"pin", "memory and stalls of the writer under pinned snapshots", bench_pin, false},
    {"storm", "files and scans after a storm of one-row commits", bench_storm, false},
    {"growth", "CPU per change as the table grows from 1 M to 100 M rows", bench_growth, true},
    {"restart", "seconds to the first row after kill -9 in mid-merge", bench_restart, false},
    {"size", "bytes of lineitem on the disk, against ClickHouse and Parquet", bench_size, false},
    {"arrow-out", "GB of Arrow a server core sends over loopback, against pyarrow's server", bench_arrow_out, false},
    {"mem", "memory while 100 M rows are loaded under a limit of 2 GiB", bench_mem, true},
};

static int usage(void)
{
    fprintf(stderr,
            "magic-bench NAME [--quick | --full] [--json] [--seconds N] [--rows N] [--dir FOLDER] [--data FOLDER] "
            "[--python PATH]\n");
    for (size_t i = 0; i < MG_COUNT_OF(benches); i++)
        fprintf(stderr, "  %-10s %s\n", benches[i].name, benches[i].asks);
    fprintf(stderr, "  %-10s each of them\n", "all");
    return 2;
}

static bool parse(int argc, char **argv, struct bench_options *out)
{
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--quick") == 0)
            out->full = false;
        else if (strcmp(argv[i], "--full") == 0)
            out->full = true;
        else if (strcmp(argv[i], "--json") == 0)
            out->json = true;
        else if (!value)
            return false;
        else if (strcmp(argv[i], "--seconds") == 0)
            out->seconds = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--rows") == 0)
            out->rows = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--dir") == 0)
            out->folder = argv[++i];
        else if (strcmp(argv[i], "--data") == 0)
            out->data = argv[++i];
        else if (strcmp(argv[i], "--python") == 0)
            out->python = argv[++i];
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct bench_options options = {0};
    bool found = false, ok = true;
    if (argc < 2 || !parse(argc, argv, &options))
        return usage();
    for (size_t i = 0; i < MG_COUNT_OF(benches); i++) {
        if (strcmp(argv[1], benches[i].name) != 0 && strcmp(argv[1], "all") != 0)
            continue;
        struct bench_result result = {0};
        found = true;
        if (benches[i].is_long && !options.full && !options.rows) {
            fprintf(stderr, "%s has a full form only: --full\n", benches[i].name);
            ok = ok && strcmp(argv[1], "all") == 0;
            continue;
        }
        bench_name = benches[i].name;
        if (!benches[i].run(&options, &result)) {
            ok = false;
            continue;
        }
        printf("{\"bench\":\"%s\",\"figure\":%.6g,\"unit\":\"%s\",\"goal\":\"%s\",\"ok\":%s%s}\n", result.bench,
               result.figure, result.unit, result.goal, result.ok ? "true" : "false", result.more);
        fflush(stdout);
    }
    if (!found)
        return usage();
    return ok ? 0 : 1;
}
