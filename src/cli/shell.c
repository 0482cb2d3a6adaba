/* shell.c -- statements from a terminal, with editing and history, or from a pipe.
 *
 * A statement ends with a semicolon. Each one runs in a process of its own, so that Ctrl-C ends the statement (its
 * connection closes, the server stops the scan) and not the shell. From a pipe the first failure ends the shell; at a
 * terminal it goes on.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <editline/readline.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"

enum { STATEMENT_BYTES_MAX = 16 << 20, HISTORY_LINES_MAX = 1000 };

/* Where the scan of a text stands: inside a quote, a comment, or neither (0). */
enum inside { IN_NOTHING = 0, IN_LINE_COMMENT = 1, IN_COMMENT = 2 /* else: the quote */ };

static bool is_blank_byte(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* How far a statement was looked at; it goes on there when more was read. Starts with SCAN_INIT. */
struct scan {
    size_t at;
    uint8_t inside;
    bool blank; /* nothing but blanks and comments so far */
};
#define SCAN_INIT ((struct scan){.blank = true})

/* Bytes of the first statement with its semicolon; 0 when it is not closed yet. Quotes and comments are as the server
 * reads them. */
static size_t find_statement(struct scan *scan, struct mg_slice text)
{
    uint8_t inside = scan->inside;
    size_t i = scan->at;

    for (; i < text.size; i++) {
        uint8_t c = text.data[i], next = i + 1 < text.size ? text.data[i + 1] : '\n';
        if (inside == IN_LINE_COMMENT) {
            inside = c == '\n' ? IN_NOTHING : inside;
        } else if (inside == IN_COMMENT) {
            inside = c == '*' && next == '/' ? IN_NOTHING : inside;
            i += inside == IN_NOTHING;
        } else if (inside) {
            if (c == '\\' && inside != '`')
                i++;
            else if (c == inside)
                inside = IN_NOTHING;
        } else if (c == '#' || (c == '-' && next == '-' && (i + 2 >= text.size || is_blank_byte(text.data[i + 2])))) {
            inside = IN_LINE_COMMENT;
        } else if (c == '/' && next == '*') {
            inside = IN_COMMENT;
            i++;
        } else if (c == ';') {
            return i + 1;
        } else if (!is_blank_byte(c)) {
            scan->blank = false;
            inside = c == '\'' || c == '"' || c == '`' ? c : IN_NOTHING;
        }
    }
    scan->inside = inside;
    scan->at = i;
    return 0;
}

static void be_child(const struct mg_command_line *line, const char *sql)
{
    struct mg_error err = MG_ERROR_INIT;

    signal(SIGINT, SIG_DFL);
    if (mg_command__run_statement(line, sql, &err) != MG_OK) {
        fprintf(stderr, "error: %s\n", err.text);
        fflush(stdout);
        _exit(1);
    }
    fflush(stdout);
    _exit(0);
}

/* false: the statement failed or was interrupted. */
static bool run(const struct mg_command_line *line, const char *sql)
{
    int status;

    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        fprintf(stderr, "error: could not start the statement: %s\n", strerrordesc_np(errno));
        return false;
    }
    if (child == 0)
        be_child(line, sql);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        fprintf(stderr, "\n%s\n", WTERMSIG(status) == SIGINT ? "cancelled" : strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The next line with its end, from readline or standard input; NULL at the end. The caller frees it. */
static char *read_line(bool terminal, bool first)
{
    char *line = NULL;
    size_t capacity = 0;

    if (terminal)
        return readline(first ? "magic> " : "    -> ");
    if (getline(&line, &capacity, stdin) < 0) {
        free(line);
        return NULL;
    }
    return line;
}

/* false: there is no home to keep it in. */
static bool history_path(char path[4096])
{
    const char *home = getenv("HOME");

    return home && *home && snprintf(path, 4096, "%s/.magic_history", home) < 4096;
}

static void remember(const char *statement)
{
    char path[4096];

    add_history(statement);
    if (history_path(path))
        write_history(path);
}

static bool is_quit(const char *text)
{
    return strcmp(text, "quit") == 0 || strcmp(text, "exit") == 0 || strcmp(text, "\\q") == 0;
}

/* Reads one statement that is not blank into `statement`, terminated; what was read behind it stays in `pending`.
 * MG_NOT_FOUND at the end of the input. */
static enum mg_code read_statement(struct mg_buffer *pending, struct mg_buffer *statement, bool terminal,
                                   struct mg_error *err)
{
    struct scan scan = SCAN_INIT;

    for (;;) {
        size_t begin = 0, size = find_statement(&scan, mg_buffer_slice(pending));
        if (size == 0) {
            MG_CLEANUP(mg_freep) char *text = read_line(terminal, scan.blank);
            if (text && !(scan.blank && is_quit(text))) {
                MG_TRY(mg_buffer_append(pending, text, strlen(text), err));
                if (terminal)
                    MG_TRY(mg_buffer_append(pending, "\n", 1, err));
                continue;
            }
            if (scan.blank)
                return MG_NOT_FOUND;
            size = pending->size; /* the last one may do without a semicolon */
        }
        while (is_blank_byte(pending->data[begin]))
            begin++;
        mg_buffer_reset(statement);
        MG_TRY(mg_buffer_append(statement, pending->data + begin, size - begin, err));
        MG_TRY(mg_buffer_append_u8(statement, 0, err));
        memmove(pending->data, pending->data + size, pending->size - size);
        pending->size -= size;
        if (!scan.blank)
            return MG_OK;
        scan = SCAN_INIT;
    }
}

enum mg_code mg_command__shell(const struct mg_command_line *line, struct mg_error *err)
{
    bool terminal = isatty(STDIN_FILENO), ok = true;
    struct mg_buffer pending, statement;
    enum mg_code code = MG_OK;
    char path[4096];

    mg_buffer_init(&pending, STATEMENT_BYTES_MAX);
    mg_buffer_init(&statement, STATEMENT_BYTES_MAX);
    if (terminal) {
        using_history();
        stifle_history(HISTORY_LINES_MAX);
        if (history_path(path))
            read_history(path);
        printf("Magic at %s. Statements end with ; -- quit leaves.\n", line->server);
    }
    signal(SIGINT, SIG_IGN);
    while (ok || terminal) {
        code = read_statement(&pending, &statement, terminal, err);
        if (code != MG_OK)
            break;
        if (terminal)
            remember((char *)statement.data);
        ok = run(line, (char *)statement.data);
    }
    mg_buffer_clear(&pending);
    mg_buffer_clear(&statement);
    if (code != MG_OK && code != MG_NOT_FOUND)
        return code;
    return ok || terminal ? MG_OK : mg_fail(err, MG_INVALID, "the statement above failed; nothing after it was run");
}
