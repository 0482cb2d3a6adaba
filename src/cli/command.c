/* command.c -- sql, tables, status, lag, set: ask the server, print the answer.
 *
 * --format json gives one JSON object a line for every command; the default is for people.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "proto/scan.pb-c.h"

static void json_field(bool first, const char *name, const char *value)
{
    printf(first ? "{\"%s\": " : ", \"%s\": ", name);
    mg_print_json_text(stdout, mg_slice_text(value));
}

static enum mg_code refuse_arguments(const struct mg_command_line *line, const char *command, struct mg_error *err)
{
    return line->arg_count ? mg_fail(err, MG_INVALID, "%s takes no argument '%s': see magic %s --help", command,
                                     line->args[0], command)
                           : MG_OK;
}

static enum mg_code refuse_format(const struct mg_command_line *line, const char *command, struct mg_error *err)
{
    return line->format == MG_FORMAT_CSV || line->format == MG_FORMAT_ARROW
               ? mg_fail(err, MG_INVALID, "%s prints table or json", command)
               : MG_OK;
}

/* ---- sql ----------------------------------------------------------------------------------------------------- */

enum mg_code mg_command__run_statement(const struct mg_command_line *line, const char *sql, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    struct mg_printer *printer;
    int64_t begin = mg_mono_ns(mg_clock_system());
    uint64_t rows;

    MG_TRY(mg_remote_open(line->server, &remote, err));
    MG_TRY(mg_printer_new(line->format, stdout, &printer, err));
    struct mg_row_sink sink = mg_printer_sink(printer);
    enum mg_code code = mg_remote_sql(remote, sql, line->database, &sink, err);
    enum mg_code end_code = mg_printer_end(printer, &rows, code == MG_OK ? err : NULL);
    mg_printer_free(printer);
    code = code == MG_OK ? end_code : code;
    if (code == MG_OK && line->format == MG_FORMAT_TABLE)
        printf("%" PRIu64 " row%s in %.3f s\n", rows, rows == 1 ? "" : "s",
               (double)(mg_mono_ns(mg_clock_system()) - begin) / 1e9);
    fflush(stdout);
    return code;
}

enum mg_code mg_command__sql(const struct mg_command_line *line, struct mg_error *err)
{
    MG_TRY(refuse_arguments(line, "sql", err));
    return line->execute ? mg_command__run_statement(line, line->execute, err) : mg_command__shell(line, err);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static void print_table_columns(const Magic__V1__TableInfo *table)
{
    for (size_t i = 0; i < table->n_columns; i++) {
        const Magic__V1__ColumnInfo *c = table->columns[i];
        printf("    %-24s %-20s %-20s%s%s\n", c->name, c->source_type, c->type, c->nullable ? "" : " not null",
               c->key ? " key" : "");
    }
}

/* all: every contradiction that is known, and how much was compared. */
static void print_verification(const Magic__V1__TableInfo *table, bool all)
{
    if (*table->needs_verify)
        printf("    needs-verify: %s\n", table->needs_verify);
    for (size_t i = 1; all && i < table->n_verify_told; i++)
        printf("        then %s\n", table->verify_told[i]);
    if (all && table->verify_compared)
        printf("    %" PRIu64 " rows compared with what the source says they were\n", table->verify_compared);
}

static void print_table_json(const Magic__V1__TableInfo *table)
{
    json_field(true, "database", table->database);
    json_field(false, "table", table->table);
    json_field(false, "state", table->state);
    json_field(false, "reason", table->reason);
    printf(", \"good_until_ts\": \"%" PRIu64 "\", \"table_id\": %" PRIu64 ", \"schema_version\": %" PRIu64
           ", \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"columns\": [",
           table->good_until_ts, table->table_id, table->schema_version, table->row_count, table->size_bytes);
    for (size_t i = 0; i < table->n_columns; i++) {
        const Magic__V1__ColumnInfo *c = table->columns[i];
        fputs(i ? ", " : "", stdout);
        json_field(true, "name", c->name);
        json_field(false, "source_type", c->source_type);
        json_field(false, "type", c->type);
        printf(", \"id\": %" PRId64 ", \"nullable\": %s, \"key\": %s}", c->id, c->nullable ? "true" : "false",
               c->key ? "true" : "false");
    }
    printf("], \"verify_failed\": %" PRIu64 ", \"verify_compared\": %" PRIu64, table->verify_failed,
           table->verify_compared);
    json_field(false, "needs_verify", table->needs_verify);
    printf(", \"verify_told\": [");
    for (size_t i = 0; i < table->n_verify_told; i++) {
        fputs(i ? ", " : "", stdout);
        mg_print_json_text(stdout, mg_slice_text(table->verify_told[i]));
    }
    printf("]}\n");
}

static enum mg_code print_table(void *arg, struct mg_slice body, struct mg_error *err)
{
    const struct mg_command_line *line = arg;
    Magic__V1__TableInfo *table = magic__v1__table_info__unpack(NULL, body.size, body.data);

    if (!table)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no TableInfo");
    if (line->format == MG_FORMAT_JSON) {
        print_table_json(table);
    } else {
        printf("%s.%s  %s  %" PRIu64 " rows", table->database, table->table, table->state, table->row_count);
        if (*table->reason)
            printf("  (%s)", table->reason);
        if (table->good_until_ts)
            printf("  readable as of ts <= %" PRIu64, table->good_until_ts);
        putchar('\n');
        print_verification(table, line->arg_count > 0);
        if (line->arg_count)
            print_table_columns(table);
    }
    magic__v1__table_info__free_unpacked(table, NULL);
    return MG_OK;
}

/* [DATABASE[.TABLE]] */
enum mg_code mg_command__tables(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    Magic__V1__ListTablesRequest request;
    struct mg_command_line shared = *line;
    char name[2 * MG_NAME_MAX];
    uint8_t body[4 * MG_NAME_MAX];

    magic__v1__list_tables_request__init(&request);
    MG_TRY(refuse_format(line, "tables", err));
    if (line->arg_count > 1)
        return mg_fail(err, MG_INVALID, "tables takes one name, not '%s' as well", line->args[1]);
    if (line->arg_count && strlen(line->args[0]) >= sizeof name)
        return mg_fail(err, MG_INVALID, "a name of %zu bytes", strlen(line->args[0]));
    if (line->arg_count) {
        snprintf(name, sizeof name, "%s", line->args[0]);
        char *point = strchr(name, '.');
        if (point)
            *point = 0;
        request.database = name;
        if (point)
            request.table = point + 1;
    }
    MG_TRY(mg_remote_open(line->server, &remote, err));
    size_t size = magic__v1__list_tables_request__pack(&request, body);
    return mg_remote_action(remote, "magic.tables", MG_SLICE(body, size), print_table, &shared, err);
}

/* ---- status and lag ------------------------------------------------------------------------------------------ */

static void print_lag_json(const Magic__V1__LagResponse *lag)
{
    json_field(true, "source", lag->source);
    json_field(false, "state", lag->state);
    json_field(false, "reason", lag->reason);
    printf(", \"watermark_ts\": \"%" PRIu64 "\", \"known_ts\": \"%" PRIu64 "\", \"lag_ms\": %" PRId64
           ", \"open_txns\": %" PRIu64 ", \"waiting_txns\": %" PRIu64 ", \"buffered_records\": %" PRIu64
           ", \"oldest_open_start_ts\": \"%" PRIu64 "\", \"oldest_open_age_ms\": %" PRId64
           ", \"oldest_open_tables\": [",
           lag->watermark_ts, lag->known_ts, lag->lag_ms, lag->open_txns, lag->waiting_txns, lag->buffered_records,
           lag->oldest_open_start_ts, lag->oldest_open_age_ms);
    for (size_t i = 0; i < lag->n_oldest_open_tables; i++) {
        fputs(i ? ", " : "", stdout);
        mg_print_json_text(stdout, mg_slice_text(lag->oldest_open_tables[i]));
    }
    printf("], \"needs_verify\": [");
    for (size_t i = 0; i < lag->n_needs_verify; i++) {
        fputs(i ? ", " : "", stdout);
        mg_print_json_text(stdout, mg_slice_text(lag->needs_verify[i]));
    }
    printf("]}\n");
}

static void print_needs_verify(const Magic__V1__LagResponse *lag)
{
    for (size_t i = 0; i < lag->n_needs_verify; i++)
        printf("  needs-verify: %s\n", lag->needs_verify[i]);
}

static void print_lag_text(const Magic__V1__LagResponse *lag)
{
    if (strcmp(lag->state, "none") == 0) {
        printf("no source: nothing is followed\n");
        print_needs_verify(lag);
        return;
    }
    printf("source %s: %s, lag %" PRId64 " ms, watermark %" PRIu64 ", waiting %" PRIu64 " transactions, open %" PRIu64
           ", buffered %" PRIu64 " records\n",
           lag->source, lag->state, lag->lag_ms, lag->watermark_ts, lag->waiting_txns, lag->open_txns,
           lag->buffered_records);
    if (*lag->reason)
        printf("  %s\n", lag->reason);
    print_needs_verify(lag);
    if (lag->oldest_open_start_ts) {
        printf("  oldest open transaction: start_ts %" PRIu64 ", for %" PRId64 " ms, on", lag->oldest_open_start_ts,
               lag->oldest_open_age_ms);
        for (size_t i = 0; i < lag->n_oldest_open_tables; i++)
            printf("%s %s", i ? "," : "", lag->oldest_open_tables[i]);
        putchar('\n');
    }
}

static enum mg_code print_lag(void *arg, struct mg_slice body, struct mg_error *err)
{
    const struct mg_command_line *line = arg;
    Magic__V1__LagResponse *lag = magic__v1__lag_response__unpack(NULL, body.size, body.data);

    if (!lag)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no LagResponse");
    if (line->format == MG_FORMAT_JSON)
        print_lag_json(lag);
    else
        print_lag_text(lag);
    magic__v1__lag_response__free_unpacked(lag, NULL);
    return MG_OK;
}

enum mg_code mg_command__lag(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    struct mg_command_line shared = *line;

    MG_TRY(refuse_format(line, "lag", err));
    MG_TRY(refuse_arguments(line, "lag", err));
    MG_TRY(mg_remote_open(line->server, &remote, err));
    for (;;) {
        MG_TRY(mg_remote_action(remote, "magic.lag", (struct mg_slice){NULL, 0}, print_lag, &shared, err));
        fflush(stdout);
        if (!line->watch_ms)
            return MG_OK;
        struct timespec pause = {.tv_sec = line->watch_ms / 1000, .tv_nsec = line->watch_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
}

static void print_status_json(const Magic__V1__StatusResponse *status)
{
    for (size_t i = 0; i < status->n_entries; i++) {
        json_field(true, "group", status->entries[i]->group);
        json_field(false, "name", status->entries[i]->name);
        json_field(false, "value", status->entries[i]->value);
        json_field(false, "unit", status->entries[i]->unit);
        printf("}\n");
    }
}

static enum mg_code print_status(void *arg, struct mg_slice body, struct mg_error *err)
{
    const struct mg_command_line *line = arg;
    Magic__V1__StatusResponse *status = magic__v1__status_response__unpack(NULL, body.size, body.data);
    const char *group = "";

    if (!status)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no StatusResponse");
    if (line->format == MG_FORMAT_JSON) {
        print_status_json(status);
    } else {
        for (size_t i = 0; i < status->n_entries; i++) {
            const Magic__V1__StatusEntry *e = status->entries[i];
            if (strcmp(group, e->group) != 0)
                printf("%s%s\n", i ? "\n" : "", e->group);
            group = e->group;
            printf("  %-32s %s%s%s\n", e->name, e->value, *e->unit ? " " : "", e->unit);
        }
        if (status->lag) {
            printf("\nlag\n  ");
            print_lag_text(status->lag);
        }
    }
    magic__v1__status_response__free_unpacked(status, NULL);
    return MG_OK;
}

enum mg_code mg_command__status(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    struct mg_command_line shared = *line;

    MG_TRY(refuse_format(line, "status", err));
    MG_TRY(refuse_arguments(line, "status", err));
    MG_TRY(mg_remote_open(line->server, &remote, err));
    return mg_remote_action(remote, "magic.status", (struct mg_slice){NULL, 0}, print_status, &shared, err);
}

/* ---- set ----------------------------------------------------------------------------------------------------- */

static enum mg_code print_setting(void *arg, struct mg_slice body, struct mg_error *err)
{
    Magic__V1__SetResponse *setting = magic__v1__set_response__unpack(NULL, body.size, body.data);

    if (!setting)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no SetResponse");
    printf("%s = %s\n", setting->name, setting->value);
    magic__v1__set_response__free_unpacked(setting, NULL);
    return MG_OK;
}

enum mg_code mg_command__set(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    Magic__V1__SetRequest request;

    if (line->arg_count != 2)
        return mg_fail(err, MG_INVALID,
                       "set takes a name and a value, got %d arguments; magic status lists the settings",
                       line->arg_count);
    magic__v1__set_request__init(&request);
    request.name = line->args[0];
    request.value = line->args[1];
    size_t size = magic__v1__set_request__get_packed_size(&request);
    MG_CLEANUP(mg_freep) uint8_t *body = malloc(size + 1);
    if (!body)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a request of %zu bytes", size);
    magic__v1__set_request__pack(&request, body);
    MG_TRY(mg_remote_open(line->server, &remote, err));
    return mg_remote_action(remote, "magic.set", MG_SLICE(body, size), print_setting, NULL, err);
}
