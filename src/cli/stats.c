/* stats.c -- magic stats: what the store knows of a table's columns without reading it.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "proto/scan.pb-c.h"

enum { BOUND_MAX = 32 /* bytes that are shown in a table */ };

static struct mg_slice slice_of(ProtobufCBinaryData bytes) { return MG_SLICE(bytes.data, bytes.len); }

static void print_json(const Magic__V1__TableStats *stats)
{
    fputs("{\"database\": ", stdout);
    mg_print_json_text(stdout, mg_slice_text(stats->database));
    fputs(", \"table\": ", stdout);
    mg_print_json_text(stdout, mg_slice_text(stats->table));
    printf(", \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"columns\": [", stats->row_count, stats->size_bytes);
    for (size_t i = 0; i < stats->n_columns; i++) {
        const Magic__V1__ColumnStats *c = stats->columns[i];
        printf("%s{\"name\": ", i ? ", " : "");
        mg_print_json_text(stdout, mg_slice_text(c->name));
        printf(", \"nulls\": %" PRIu64 ", \"distinct\": %" PRIu64 ", \"exact\": %s", c->null_count, c->distinct_count,
               c->exact ? "true" : "false");
        if (c->has_bounds) {
            fputs(", \"low\": ", stdout);
            mg_print_json_text(stdout, slice_of(c->low));
            fputs(", \"high\": ", stdout);
            mg_print_json_text(stdout, slice_of(c->high));
            printf(", \"bounds_exact\": %s", c->bounds_exact ? "true" : "false");
        }
        putchar('}');
    }
    printf("]}\n");
}

static void print_bound(const Magic__V1__ColumnStats *c, ProtobufCBinaryData bound)
{
    char text[BOUND_MAX + 1] = "";

    for (size_t i = 0; c->has_bounds && i < bound.len && i < BOUND_MAX; i++)
        text[i] = bound.data[i] < ' ' ? '?' : (char)bound.data[i];
    printf("  %-24s", text);
}

static void print_text(const Magic__V1__TableStats *stats)
{
    printf("%s.%s  %" PRIu64 " rows, %" PRIu64 " bytes\n", stats->database, stats->table, stats->row_count,
           stats->size_bytes);
    printf("    %-24s %14s %14s  %-24s  %-24s\n", "column", "nulls", "distinct about", "lowest", "highest");
    for (size_t i = 0; i < stats->n_columns; i++) {
        const Magic__V1__ColumnStats *c = stats->columns[i];
        printf("    %-24s %s%*" PRIu64 " %14" PRIu64, c->name, c->exact ? "" : "<=", c->exact ? 14 : 12, c->null_count,
               c->distinct_count);
        print_bound(c, c->low);
        print_bound(c, c->high);
        printf("%s\n", c->has_bounds && !c->bounds_exact ? "  (bounds)" : "");
    }
}

static enum mg_code print_stats(void *arg, struct mg_slice body, struct mg_error *err)
{
    const struct mg_command_line *line = arg;
    Magic__V1__TableStats *stats = magic__v1__table_stats__unpack(NULL, body.size, body.data);

    if (!stats)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no TableStats");
    if (line->format == MG_FORMAT_JSON)
        print_json(stats);
    else
        print_text(stats);
    magic__v1__table_stats__free_unpacked(stats, NULL);
    return MG_OK;
}

/* DATABASE.TABLE */
enum mg_code mg_command__stats(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    Magic__V1__StatsRequest request;
    struct mg_command_line shared = *line;
    char name[2 * MG_NAME_MAX];
    uint8_t body[4 * MG_NAME_MAX];

    if (line->format == MG_FORMAT_CSV || line->format == MG_FORMAT_ARROW)
        return mg_fail(err, MG_INVALID, "stats prints table or json");
    char *point = line->arg_count == 1 ? strchr(line->args[0], '.') : NULL;
    if (!point || strlen(line->args[0]) >= sizeof name)
        return mg_fail(err, MG_INVALID, "stats takes one name, DATABASE.TABLE");
    memcpy(name, line->args[0], strlen(line->args[0]) + 1);
    point = strchr(name, '.');
    *point = 0;
    magic__v1__stats_request__init(&request);
    request.database = name;
    request.table = point + 1;
    MG_TRY(mg_remote_open(line->server, &remote, err));
    size_t size = magic__v1__stats_request__pack(&request, body);
    return mg_remote_action(remote, "magic.stats", MG_SLICE(body, size), print_stats, &shared, err);
}
