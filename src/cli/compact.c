/* compact.c -- compact, compactions: ask the server to compact a table, wait for it, list and cancel.
 *
 * Waiting is asking again every POLL_MS: the compaction is the server's, and goes on when this ends.
 * Progress on standard error when it is a terminal; the outcome on standard output.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "column/schema.h"
#include "proto/scan.pb-c.h"

enum { POLL_MS = 100, BAR = 20, BODY_MAX = 8192 };

struct answer {
    const struct mg_command_line *line;
    bool quiet; /* only note it */
    uint64_t id;
    double progress;
    uint64_t rows_written;
    char state[16], message[600];
};

/* ---- what people see ----------------------------------------------------------------------------------------- */

static void print_json(const Magic__V1__CompactionInfo *info)
{
    printf("{\"id\": %" PRIu64 ", \"database\": ", info->id);
    mg_print_json_text(stdout, mg_slice_text(info->database));
    printf(", \"table\": ");
    mg_print_json_text(stdout, mg_slice_text(info->table));
    printf(", \"table_id\": %" PRIu64
           ", \"has_range\": %s, \"state\": \"%s\", \"progress\": %.3f, \"rows_read\": %" PRIu64
           ", \"rows_written\": %" PRIu64 ", \"bytes_read\": %" PRIu64 ", \"bytes_written\": %" PRIu64
           ", \"asked_ms\": %" PRId64 ", \"started_ms\": %" PRId64 ", \"ended_ms\": %" PRId64 ", \"message\": ",
           info->table_id, info->has_range ? "true" : "false", info->state, info->progress, info->rows_read,
           info->rows_written, info->bytes_read, info->bytes_written, info->asked_ms, info->started_ms, info->ended_ms);
    mg_print_json_text(stdout, mg_slice_text(info->message));
    printf("}\n");
}

static void print_text(const Magic__V1__CompactionInfo *info)
{
    double seconds = info->ended_ms && info->started_ms ? (double)(info->ended_ms - info->started_ms) / 1e3 : 0;

    printf("%" PRIu64 "  %s.%s%s  %s", info->id, info->database, info->table, info->has_range ? " (a range)" : "",
           info->state);
    if (strcmp(info->state, "running") == 0)
        printf(" %.0f %%", info->progress * 100);
    if (info->rows_read || info->rows_written)
        printf("  %" PRIu64 " rows, %.1f MB read; %" PRIu64 " rows, %.1f MB written", info->rows_read,
               (double)info->bytes_read / 1e6, info->rows_written, (double)info->bytes_written / 1e6);
    if (info->ended_ms)
        printf("  in %.2f s", seconds);
    if (*info->message)
        printf("  (%s)", info->message);
    putchar('\n');
}

static enum mg_code take_info(void *arg, struct mg_slice body, struct mg_error *err)
{
    struct answer *answer = arg;
    Magic__V1__CompactionInfo *info = magic__v1__compaction_info__unpack(NULL, body.size, body.data);

    if (!info)
        return mg_fail(err, MG_PROTOCOL, "the server's answer is no CompactionInfo");
    answer->id = info->id;
    answer->progress = info->progress;
    answer->rows_written = info->rows_written;
    snprintf(answer->state, sizeof answer->state, "%s", info->state);
    snprintf(answer->message, sizeof answer->message, "%s", info->message);
    if (!answer->quiet && answer->line->format == MG_FORMAT_JSON)
        print_json(info);
    else if (!answer->quiet)
        print_text(info);
    magic__v1__compaction_info__free_unpacked(info, NULL);
    return MG_OK;
}

static void show_progress(const struct answer *answer)
{
    char bar[BAR + 1];

    for (int i = 0; i < BAR; i++)
        bar[i] = i < answer->progress * BAR ? '=' : ' ';
    bar[BAR] = 0;
    fprintf(stderr, "\r[%s] %3.0f %%  %s, %" PRIu64 " rows ", bar, answer->progress * 100, answer->state,
            answer->rows_written);
}

/* ---- the commands -------------------------------------------------------------------------------------------- */

static enum mg_code ask_of(struct mg_remote *remote, const char *action, uint64_t id, struct answer *answer,
                           struct mg_error *err)
{
    Magic__V1__CompactionsRequest request; /* CancelCompactionRequest has the same one field */
    uint8_t body[16];

    magic__v1__compactions_request__init(&request);
    request.id = id;
    size_t size = magic__v1__compactions_request__pack(&request, body);
    return mg_remote_action(remote, action, MG_SLICE(body, size), take_info, answer, err);
}

static bool is_over(const struct answer *answer)
{
    return strcmp(answer->state, "queued") != 0 && strcmp(answer->state, "running") != 0;
}

static enum mg_code wait_for(struct mg_remote *remote, struct answer *answer, struct mg_error *err)
{
    bool terminal = isatty(STDERR_FILENO);
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000};

    while (!is_over(answer)) {
        if (terminal)
            show_progress(answer);
        nanosleep(&pause, NULL);
        MG_TRY(ask_of(remote, "magic.compactions", answer->id, answer, err));
    }
    if (terminal)
        fprintf(stderr, "\r\033[K");
    answer->quiet = false;
    MG_TRY(ask_of(remote, "magic.compactions", answer->id, answer, err));
    if (strcmp(answer->state, "done") == 0)
        return MG_OK;
    return mg_fail(err, MG_CANCELLED, "compaction %" PRIu64 " %s: %s", answer->id,
                   strcmp(answer->state, "failed") == 0 ? "failed" : "was cancelled", answer->message);
}

/* LOW..HIGH; either may be empty. Cuts the text. */
static enum mg_code read_range(char *text, Magic__V1__CompactRequest *request, struct mg_error *err)
{
    char *dots = strstr(text, "..");

    if (!dots || strlen(text) == 2)
        return mg_fail(err, MG_INVALID, "--range takes LOW..HIGH, LOW.. or ..HIGH, not '%s': see magic compact --help",
                       text);
    *dots = 0;
    request->low = text;
    request->high = dots + 2;
    return MG_OK;
}

static enum mg_code pack_request(const struct mg_command_line *line, uint8_t body[BODY_MAX], size_t *out_size,
                                 struct mg_error *err)
{
    Magic__V1__CompactRequest request;
    char name[2 * MG_NAME_MAX], range[BODY_MAX / 2] = "";

    magic__v1__compact_request__init(&request);
    if (line->arg_count != 1 || !strchr(line->args[0], '.') || strlen(line->args[0]) >= sizeof name)
        return mg_fail(err, MG_INVALID, "compact takes one table as DB.TABLE, not %s%s%s: see magic compact --help",
                       line->arg_count ? "'" : "nothing", line->arg_count ? line->args[0] : "",
                       line->arg_count ? "'" : "");
    snprintf(name, sizeof name, "%s", line->args[0]);
    char *point = strchr(name, '.');
    *point = 0;
    request.database = name;
    request.table = point + 1;
    if (line->range && strlen(line->range) >= sizeof range)
        return mg_fail(err, MG_INVALID, "a range of %zu bytes", strlen(line->range));
    if (line->range) {
        snprintf(range, sizeof range, "%s", line->range);
        MG_TRY(read_range(range, &request, err));
    }
    *out_size = magic__v1__compact_request__pack(&request, body);
    return MG_OK;
}

static enum mg_code refuse_format(const struct mg_command_line *line, const char *command, struct mg_error *err)
{
    return line->format == MG_FORMAT_CSV || line->format == MG_FORMAT_ARROW
               ? mg_fail(err, MG_INVALID, "%s prints table or json", command)
               : MG_OK;
}

enum mg_code mg_command__compactions(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    struct answer answer = {.line = line};
    char *end = NULL;
    uint64_t id = line->arg_count ? strtoull(line->args[0], &end, 10) : 0;

    MG_TRY(refuse_format(line, "compactions", err));
    if (line->arg_count > 1 || (line->arg_count && (*end || end == line->args[0] || id == 0)))
        return mg_fail(err, MG_INVALID, "compactions takes one id, not '%s': see magic compactions --help",
                       line->args[line->arg_count - 1]);
    MG_TRY(mg_remote_open(line->server, &remote, err));
    return ask_of(remote, "magic.compactions", id, &answer, err);
}

enum mg_code mg_command__compact(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    struct answer answer = {.line = line, .quiet = line->wait};
    uint8_t body[BODY_MAX];
    size_t size = 0;

    if (line->list)
        return mg_command__compactions(line, err);
    MG_TRY(refuse_format(line, "compact", err));
    if (line->cancel && line->arg_count)
        return mg_fail(err, MG_INVALID, "--cancel takes no table '%s': see magic compact --help", line->args[0]);
    if (!line->cancel)
        MG_TRY(pack_request(line, body, &size, err));
    MG_TRY(mg_remote_open(line->server, &remote, err));
    if (line->cancel)
        return ask_of(remote, "magic.cancel_compaction", line->cancel, &answer, err);
    MG_TRY(mg_remote_action(remote, "magic.compact", MG_SLICE(body, size), take_info, &answer, err));
    return line->wait ? wait_for(remote, &answer, err) : MG_OK;
}
