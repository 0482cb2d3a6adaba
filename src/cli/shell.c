/* shell.c -- statements from a terminal, with editing and history, or from a pipe.
 *
 * A statement ends with a semicolon. Each one runs in a process of its own, so that Ctrl-C ends the statement (its connection
 * closes, the server stops the scan) and not the shell. From a pipe the first failure ends the shell; at a terminal it goes on.
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

/* Where the quoted text or comment under way ends is the server's business; a semicolon at the end of a line closes a statement
 * unless a quote is open. */
static bool is_complete(const struct mg_buffer *statement)
{
    uint8_t quote = 0;
    size_t end = statement->size;

    for (size_t i = 0; i < statement->size; i++) {
        uint8_t c = statement->data[i];
        if (quote && c == '\\' && quote != '`')
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '\'' || c == '"' || c == '`')
            quote = c;
    }
    while (end && strchr(" \t\r\n", statement->data[end - 1]))
        end--;
    return !quote && end && statement->data[end - 1] == ';';
}

static bool is_blank(const struct mg_buffer *statement)
{
    for (size_t i = 0; i < statement->size; i++)
        if (!strchr(" \t\r\n;", statement->data[i]) || !statement->data[i])
            return false;
    return true;
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
        fprintf(stderr, "error: could not start the statement: %s\n", strerror(errno));
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

static void history_path(char path[4096])
{
    const char *home = getenv("HOME");
    snprintf(path, 4096, "%s/.magic_history", home ? home : "/tmp");
}

static void remember(const char *statement)
{
    char path[4096];

    history_path(path);
    add_history(statement);
    write_history(path);
}

static bool is_quit(const char *text)
{
    return strcmp(text, "quit") == 0 || strcmp(text, "exit") == 0 || strcmp(text, "\\q") == 0;
}

/* Reads one statement into `statement`, terminated. MG_NOT_FOUND at the end of the input. */
static enum mg_code read_statement(struct mg_buffer *statement, bool terminal, struct mg_error *err)
{
    mg_buffer_reset(statement);
    while (!is_complete(statement)) {
        MG_CLEANUP(mg_freep) char *text = read_line(terminal, is_blank(statement));
        if (!text || (is_blank(statement) && is_quit(text)))
            break;
        if (is_blank(statement))
            mg_buffer_reset(statement);
        MG_TRY(mg_buffer_append(statement, text, strlen(text), err));
        if (terminal)
            MG_TRY(mg_buffer_append(statement, "\n", 1, err));
    }
    if (is_blank(statement))
        return MG_NOT_FOUND;
    while (statement->data[statement->size - 1] == '\n')
        statement->size--;
    return mg_buffer_append_u8(statement, 0, err);
}

enum mg_code mg_command__shell(const struct mg_command_line *line, struct mg_error *err)
{
    bool terminal = isatty(STDIN_FILENO), ok = true;
    struct mg_buffer statement;
    enum mg_code code = MG_OK;
    char path[4096];

    mg_buffer_init(&statement, STATEMENT_BYTES_MAX);
    if (terminal) {
        history_path(path);
        using_history();
        stifle_history(HISTORY_LINES_MAX);
        read_history(path);
        printf("Magic at %s. Statements end with ; -- quit leaves.\n", line->server);
    }
    signal(SIGINT, SIG_IGN);
    while (ok || terminal) {
        code = read_statement(&statement, terminal, err);
        if (code != MG_OK)
            break;
        if (terminal)
            remember((char *)statement.data);
        ok = run(line, (char *)statement.data);
    }
    mg_buffer_clear(&statement);
    if (code != MG_OK && code != MG_NOT_FOUND)
        return code;
    return ok || terminal ? MG_OK : mg_fail(err, MG_INVALID, "the statement above failed; nothing after it was run");
}
