/* load.c -- load: rows of files into a table of the server.
 *
 * One DoPut carries all files, one after the other, so that --create and --replace show all of them at once. Batches
 * are sent in pieces of at most PIECE_ROWS rows and about PIECE_BYTES; HTTP/2's window keeps the files from being read
 * faster than the server makes rows durable.
 * Progress on standard error when it is a terminal; the summary on standard output.
 * Ctrl-C   ends the process, and with its connection the DoPut: what was not acknowledged is not stored.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/load_file.h"

enum {
    PIECE_ROWS = 64 << 10,
    PIECE_BYTES = 8 << 20,
    BUILDER_BYTES_MAX = 1 << 30,
    EPOCH_ROWS = 64 << 10,
    PROGRESS_MS = 200,
    BAR = 20,
};

struct loading {
    const struct mg_command_line *line;
    struct mg_remote *remote;
    const struct mg_field *fields; /* of the first file */
    uint32_t field_count;
    uint64_t *first_rows; /* per file, over the stream, from 0 */
    int file_count, file_index;
    uint64_t rows, bytes;
    int64_t begin_ms, shown_ms;
    bool terminal;
};

static const char *volatile interrupted_text;

static void interrupt(int signal)
{
    (void)signal;
    ssize_t written = write(STDERR_FILENO, interrupted_text, strlen(interrupted_text));
    (void)written;
    _exit(128 + SIGINT);
}

static void watch_for_interrupt(const struct mg_put_target *target)
{
    if (target->rows_per_epoch == 0 || target->mode == MG_PUT_REPLACE)
        interrupted_text = "\nmagic: interrupted; nothing was stored\n";
    else
        interrupted_text = "\nmagic: interrupted; rows of complete epochs are stored, from the first one on\n";
    signal(SIGINT, interrupt);
}

/* ---- what people see ---- */

static double seconds_of(const struct loading *loading)
{
    double seconds = (double)(mg_mono_ms(mg_clock_system()) - loading->begin_ms) / 1e3;

    return seconds > 0.001 ? seconds : 0.001;
}

static void show_progress(struct loading *loading, double of_file)
{
    int64_t now_ms = mg_mono_ms(mg_clock_system());
    double seconds = seconds_of(loading), part = (loading->file_index + MG_MAX(of_file, 0.0)) / loading->file_count;
    char bar[BAR + 1];

    if (!loading->terminal || now_ms - loading->shown_ms < PROGRESS_MS)
        return;
    loading->shown_ms = now_ms;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < part * BAR ? '=' : ' ';
    bar[BAR] = 0;
    fprintf(stderr, "\r[%s] %3.0f %%  %" PRIu64 " rows, %.0f rows/s, %.1f MB/s ", bar, part * 100, loading->rows,
            (double)loading->rows / seconds, (double)loading->bytes / 1e6 / seconds);
}

static void clear_progress(const struct loading *loading)
{
    if (loading->terminal && loading->shown_ms)
        fprintf(stderr, "\r\033[K");
}

/* The server counts rows over the stream; with several files say which file that is. */
static enum mg_code fail_in_file(const struct loading *loading, enum mg_code code, struct mg_error *err)
{
    struct mg_error cause = *err;
    const char *at = strstr(cause.text, "row ");
    uint64_t row = at ? strtoull(at + 4, NULL, 10) : 0;
    int file = 0;

    if (loading->file_count < 2 || row == 0 || row > loading->rows)
        return code;
    while (file + 1 < loading->file_count && file < loading->file_index && loading->first_rows[file + 1] < row)
        file++;
    return mg_fail(err, code, "%s; row %" PRIu64 " is row %" PRIu64 " of %s", cause.text, row,
                   row - loading->first_rows[file], loading->line->args[file + 1]);
}

/* ---- rows ---- */

static enum mg_code send_piece(struct loading *loading, const struct mg_batch *batch, struct mg_error *err)
{
    uint64_t size_bytes = 0;

    MG_TRY(mg_remote_put_batch(loading->remote, batch, &size_bytes, err));
    loading->rows += batch->row_count;
    loading->bytes += size_bytes;
    return MG_OK;
}

static enum mg_code send_pieces(struct loading *loading, const struct mg_batch *batch, uint32_t piece_rows,
                                struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_type *types = calloc((size_t)batch->column_count + 1, sizeof *types);
    MG_CLEANUP(mg_batch_builder_clear) struct mg_batch_builder builder = {0};

    if (!types)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u types", batch->column_count);
    for (uint32_t i = 0; i < batch->column_count; i++)
        types[i] = batch->vectors[i].type;
    MG_TRY(mg_batch_builder_init(&builder, types, batch->column_count, NULL, BUILDER_BYTES_MAX, err));
    for (uint32_t row = 0; row < batch->row_count; row += piece_rows) {
        MG_CLEANUP(mg_batch_unrefp) struct mg_batch *piece = NULL;
        uint32_t count = MG_MIN(piece_rows, batch->row_count - row);
        for (uint32_t i = 0; i < batch->column_count; i++)
            MG_TRY(mg_builder_gather(&builder, i, &batch->vectors[i], NULL, row, count, err));
        MG_TRY(mg_batch_builder_finish(&builder, count, &piece, err));
        MG_TRY(send_piece(loading, piece, err));
    }
    return MG_OK;
}

static enum mg_code send_batch(struct loading *loading, const struct mg_batch *batch, struct mg_error *err)
{
    uint64_t size_bytes = mg_batch_bytes(batch), piece_rows = PIECE_ROWS;

    if (batch->row_count == 0)
        return MG_OK;
    if (size_bytes > PIECE_BYTES)
        piece_rows = MG_MIN(piece_rows, MG_MAX((uint64_t)batch->row_count * PIECE_BYTES / size_bytes, (uint64_t)1));
    return batch->row_count <= piece_rows ? send_piece(loading, batch, err)
                                          : send_pieces(loading, batch, (uint32_t)piece_rows, err);
}

static enum mg_code send_rows(struct loading *loading, struct mg_load_file *file, struct mg_error *err)
{
    for (;;) {
        MG_CLEANUP(mg_batch_unrefp) struct mg_batch *batch = NULL;
        MG_TRY(mg_load_file_next(file, &batch, err));
        if (!batch)
            return MG_OK;
        MG_TRY(send_batch(loading, batch, err));
        show_progress(loading, mg_load_file_progress(file));
    }
}

static enum mg_code check_same(const struct loading *loading, const struct mg_load_file *file, const char *path,
                               struct mg_error *err)
{
    uint32_t count;
    const struct mg_field *fields = mg_load_file_fields(file, &count);
    bool same = count == loading->field_count;

    for (uint32_t i = 0; same && i < count; i++)
        same = mg_slice_equal(fields[i].name, loading->fields[i].name) &&
               mg_type_equal(fields[i].type, loading->fields[i].type);
    return same ? MG_OK
                : mg_fail(err, MG_INVALID, "%s has other columns than %s; load it on its own", path,
                          loading->line->args[1]);
}

/* The first file is open already. */
static enum mg_code send_files(struct loading *loading, struct mg_load_file *first, struct mg_error *err)
{
    MG_TRY(send_rows(loading, first, err));
    for (loading->file_index = 1; loading->file_index < loading->file_count; loading->file_index++) {
        MG_CLEANUP(mg_load_file_closep) struct mg_load_file *file = NULL;
        const char *path = loading->line->args[loading->file_index + 1];
        loading->first_rows[loading->file_index] = loading->rows;
        MG_TRY(mg_load_file_open(path, &file, err));
        MG_TRY(check_same(loading, file, path, err));
        MG_TRY(send_rows(loading, file, err));
    }
    return MG_OK;
}

/* ---- the command ---- */

static enum mg_code read_target(const struct mg_command_line *line, struct mg_put_target *out, char *name, size_t size,
                                struct mg_error *err)
{
    if (line->arg_count < 2)
        return mg_fail(err, MG_INVALID, "load takes DATABASE.TABLE and files: see magic load --help");
    if (line->create && line->replace)
        return mg_fail(err, MG_INVALID, "--create and --replace exclude each other: see magic load --help");
    if (line->append && line->replace)
        return mg_fail(err, MG_INVALID, "--append and --replace exclude each other: see magic load --help");
    if (snprintf(name, size, "%s", line->args[0]) >= (int)size)
        return mg_fail(err, MG_INVALID, "a name of %zu bytes", strlen(line->args[0]));
    char *point = strchr(name, '.');
    if (!point || point == name || !point[1])
        return mg_fail(err, MG_INVALID, "'%s' is no DATABASE.TABLE: see magic load --help", line->args[0]);
    *point = 0;
    out->database = name;
    out->table = point + 1;
    out->key = line->key;
    out->mode = line->replace                  ? MG_PUT_REPLACE
                : line->create && line->append ? MG_PUT_CREATE_OR_APPEND
                : line->create                 ? MG_PUT_CREATE
                                               : MG_PUT_APPEND;
    bool whole = line->replace || (line->create && !line->append);
    out->rows_per_epoch = line->rows_per_epoch >= 0 ? (uint64_t)line->rows_per_epoch : whole ? 0 : EPOCH_ROWS;
    return MG_OK;
}

static enum mg_code run_put(struct loading *loading, const struct mg_put_target *target, struct mg_load_file *first,
                            uint64_t *out_rows, uint64_t *out_epoch, struct mg_error *err)
{
    loading->fields = mg_load_file_fields(first, &loading->field_count);
    enum mg_code code = mg_remote_put_begin(loading->remote, target, loading->fields, loading->field_count, err);
    if (code == MG_OK)
        code = send_files(loading, first, err);
    if (code == MG_OK)
        code = mg_remote_put_end(loading->remote, out_rows, out_epoch, err);
    if (code != MG_OK)
        mg_remote_put_abort(loading->remote);
    clear_progress(loading);
    return code == MG_OK ? MG_OK : fail_in_file(loading, code, err);
}

enum mg_code mg_command__load(const struct mg_command_line *line, struct mg_error *err)
{
    MG_CLEANUP(mg_load_file_closep) struct mg_load_file *first = NULL;
    MG_CLEANUP(mg_remote_closep) struct mg_remote *remote = NULL;
    MG_CLEANUP(mg_freep) uint64_t *first_rows = calloc((size_t)line->arg_count + 1, sizeof *first_rows);
    char name[2 * MG_NAME_MAX];
    struct mg_put_target target;
    uint64_t rows = 0, epoch = 0;

    if (!first_rows)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the names of %d files", line->arg_count);
    MG_TRY(read_target(line, &target, name, sizeof name, err));
    MG_TRY(mg_load_file_open(line->args[1], &first, err));
    MG_TRY(mg_remote_open(line->server, &remote, err));
    struct loading loading = {
        .line = line,
        .remote = remote,
        .first_rows = first_rows,
        .file_count = line->arg_count - 1,
        .begin_ms = mg_mono_ms(mg_clock_system()),
        .terminal = isatty(STDERR_FILENO),
    };
    watch_for_interrupt(&target);
    enum mg_code code = run_put(&loading, &target, first, &rows, &epoch, err);
    signal(SIGINT, SIG_DFL);
    MG_TRY(code);
    double seconds = seconds_of(&loading);
    printf("%s: %" PRIu64 " rows in %.3f s, %.0f rows/s, %.1f MB/s, visible from epoch %" PRIu64 " on\n", line->args[0],
           rows, seconds, (double)rows / seconds, (double)loading.bytes / 1e6 / seconds, epoch);
    return MG_OK;
}
