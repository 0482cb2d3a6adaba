/* command.h -- the commands of `magic`, one function each. For this room only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CLI_COMMAND_H
#define MG_CLI_COMMAND_H

#include "cli/print.h"
#include "cli/remote.h"

/* What every command gets: the global options, and its own arguments behind its name. */
struct mg_command_line {
    const char *server;
    enum mg_format format;
    bool format_said; /* by --format */
    const char *database;
    const char *execute;          /* sql -e */
    int64_t watch_ms;             /* lag --watch; 0 = once */
    bool create, append, replace; /* load */
    const char *key;              /* load --key; NULL: not said */
    int64_t rows_per_epoch;       /* load; -1: not said */
    const char *range;            /* compact; NULL: not said */
    bool wait, list;              /* compact --wait, --status */
    uint64_t cancel;              /* compact --cancel; 0: not said */
    int arg_count;
    char **args;
};

enum mg_code mg_command__sql(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__tables(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__stats(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__status(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__lag(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__load(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__compact(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__compactions(const struct mg_command_line *line, struct mg_error *err);
enum mg_code mg_command__set(const struct mg_command_line *line, struct mg_error *err);

/* Run one statement on a connection of its own and print its rows to standard output. */
enum mg_code mg_command__run_statement(const struct mg_command_line *line, const char *sql, struct mg_error *err);
/* The shell: statements from a terminal with editing and history, or from a pipe. */
enum mg_code mg_command__shell(const struct mg_command_line *line, struct mg_error *err);

#endif
