/* magic.c -- main of `magic`, the shell and operator's tool: options, help, and which command to run.
 *
 * Exit status  0 done; 1 the command failed (text on standard error); 2 wrong options; 130 a load that Ctrl-C ended.
 * SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "cli/command.h"

#define DEFAULT_SERVER "grpc://127.0.0.1:8815"

struct command {
    const char *name;
    const char *arguments;
    const char *sentence;
    const char *help;
    enum mg_code (*run)(const struct mg_command_line *line, struct mg_error *err);
};

static const struct command commands[] = {
    {"sql", "[-e STATEMENT]", "run SQL, or open the shell",
     "Without -e, statements are read from the terminal or from standard input; each ends with a semicolon.\n"
     "  SELECT * | COLUMN, ... FROM [DATABASE.]TABLE [WHERE CONDITION] [LIMIT N]\n"
     "  SHOW TABLES [FROM DATABASE];  SHOW DATABASES\n\n"
     "  -e, --execute STATEMENT   run this one\n"
     "  -d, --database NAME       for tables without one\n"
     "  -f, --format FORMAT       table (default), csv, json (one object a line), arrow (an IPC stream)\n",
     mg_command__sql},
    {"tables", "[DATABASE[.TABLE]]", "list tables with their state and rows",
     "With a name, columns are shown, too. States: ok, unsupported (a type or key that this version cannot hold),\n"
     "needs-reload (valid at older snapshots only); the reason stands beside it.\n\n"
     "  -f, --format FORMAT       table (default) or json\n",
     mg_command__tables},
    {"stats", "DB.TABLE", "what is known of a table's columns: NULLs, different values, bounds",
     "Nothing of the table is read for it. The number of different values is an estimate (1.6 % is the usual error). "
     "<= "
     "and\n\"(bounds)\": deleted rows are in these numbers, or texts were cut.\n\n"
     "  -f, --format FORMAT       table (default) or json\n",
     mg_command__stats},
    {"status", "", "what the server is doing: engine, source, memory, counters, settings",
     "  -f, --format FORMAT       table (default) or json\n", mg_command__status},
    {"lag", "[--watch [SECONDS]]", "how far the store is behind its source, and what it waits for",
     "The lag is the age of the newest visible watermark, true also when the source is idle.\n\n"
     "  -w, --watch SECONDS       again and again, this often\n"
     "  -f, --format FORMAT       table (default) or json\n",
     mg_command__lag},
    {"load", "DB.TABLE FILE...", "load Arrow, Parquet or CSV files into a table of your own",
     "Arrow files and streams are read as they are (uncompressed); Parquet and CSV through python3 with pyarrow\n"
     "(MAGIC_PYTHON names another one). Tables of a source such as tidb are refused. A bad row is named by its "
     "number,\n"
     "from 1 over all files. Without an option the table must be there and rows are appended.\n\n"
     "      --create              make the table; with --append only when it is not there\n"
     "      --append              to a table that is there\n"
     "      --replace             the whole table; readers see the old rows until all new ones are there\n"
     "  -k, --key COLUMN,...      key of a table that is made; --replace can do without, and keeps the old one\n"
     "      --rows-per-epoch N    readers see the rows in steps of N, 0 = all at once; default 65536 for --append, "
     "else 0\n",
     mg_command__load},
    {"compact", "DB.TABLE", "merge a table's files into few without deleted rows",
     "The server does it beside everything else; without --wait this returns at once and prints the id.\n"
     "A range names values of the first key column: LOW is included, HIGH is not, either may be left out. Then files\n"
     "that hold such keys are merged, and rows that are only in memory stay there.\n\n"
     "      --range LOW..HIGH     only files with these keys: 100..200, 2024-01-01.., ..m\n"
     "      --wait                until it is over, with its progress; Ctrl-C leaves it running\n"
     "      --status [ID]         no table: list them, as magic compactions does\n"
     "      --cancel ID           no table: end this one; nothing that it did not finish stays\n"
     "  -f, --format FORMAT       table (default) or json\n",
     mg_command__compact},
    {"compactions", "[ID]", "compactions that were asked for since the server started",
     "The last 128 with their state: queued, running, done, failed, cancelled.\n\n"
     "  -f, --format FORMAT       table (default) or json\n",
     mg_command__compactions},
    {"set", "NAME VALUE", "change a setting of the running server",
     "magic status lists the settings and their values.\n", mg_command__set},
};

/* Of later versions: refused by name. */
static const char *const later[] = {"verify", "check", "user", "backup", "restore", "repair"};

static void print_usage(FILE *to)
{
    fprintf(to,
            "magic -- shell and operator's tool of Magic %s\n\nUsage: magic [--server ADDRESS] COMMAND [ARGUMENTS]\n\n",
            mg_version());
    for (size_t i = 0; i < MG_COUNT_OF(commands); i++)
        fprintf(to, "  %-11s %-22s %s\n", commands[i].name, commands[i].arguments, commands[i].sentence);
    fprintf(
        to,
        "\nOptions\n"
        "  -s, --server ADDRESS   grpc://HOST:PORT or grpc+unix:///PATH; default $MAGIC_SERVER, else " DEFAULT_SERVER
        "\n"
        "  -h, --help             this text, or a command's behind its name\n"
        "  -V, --version          the version\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < MG_COUNT_OF(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    for (size_t i = 0; i < MG_COUNT_OF(later); i++)
        if (strcmp(later[i], name) == 0) {
            fprintf(stderr, "magic: %s is not in this version (%s)\n", name, mg_version());
            exit(2);
        }
    fprintf(stderr, "magic: there is no command '%s': see magic --help\n", name);
    exit(2);
}

static _Noreturn void wrong(const char *what, const char *value)
{
    fprintf(stderr, "magic: %s '%s': see --help\n", what, value);
    exit(2);
}

static void read_format(struct mg_command_line *line, const char *name)
{
    int format = mg_format_from_name(name);

    if (format < 0)
        wrong("the format is table, csv, json or arrow, not", name);
    line->format = (enum mg_format)format;
    line->format_said = true;
}

static void read_watch(struct mg_command_line *line, const char *text)
{
    char *end;
    double seconds = text ? strtod(text, &end) : 1;

    if (text && (*end || end == text || !(seconds >= 0.01 && seconds <= 86400)))
        wrong("--watch takes 0.01 to 86400 seconds, not", text);
    line->watch_ms = (int64_t)(seconds * 1000);
}

static void read_epoch_rows(struct mg_command_line *line, const char *text)
{
    char *end;
    long long rows = strtoll(text, &end, 10);

    if (*end || end == text || rows < 0)
        wrong("--rows-per-epoch takes a number of rows, or 0, not", text);
    line->rows_per_epoch = rows;
}

/* An option of its own command only. */
static void only_for(const struct command *command, const char *name, const char *option)
{
    if (!command || strcmp(command->name, name) != 0)
        wrong(command ? "this command has no option" : "give the command before the option", option);
}

static void read_load_option(struct mg_command_line *line, const struct command *command, int option)
{
    only_for(command, "load", "--create, --append, --replace, --key, --rows-per-epoch");
    switch (option) {
    case 'C': line->create = true; break;
    case 'A': line->append = true; break;
    case 'R': line->replace = true; break;
    case 'k': line->key = optarg; break;
    default: read_epoch_rows(line, optarg); break;
    }
}

static void read_compact_option(struct mg_command_line *line, const struct command *command, int option)
{
    char *end;

    only_for(command, "compact", "--range, --wait, --status, --cancel");
    switch (option) {
    case 'G': line->range = optarg; break;
    case 'W': line->wait = true; break;
    case 'T': line->list = true; break;
    default:
        line->cancel = strtoull(optarg, &end, 10);
        if (*end || end == optarg || optarg[0] == '-' || line->cancel == 0)
            wrong("--cancel takes the id of a compaction, not", optarg);
        break;
    }
}

static const struct command *read_options(int argc, char **argv, struct mg_command_line *line)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'},
        {"format", required_argument, NULL, 'f'},
        {"execute", required_argument, NULL, 'e'},
        {"database", required_argument, NULL, 'd'},
        {"watch", optional_argument, NULL, 'w'},
        {"create", no_argument, NULL, 'C'},
        {"append", no_argument, NULL, 'A'},
        {"replace", no_argument, NULL, 'R'},
        {"key", required_argument, NULL, 'k'},
        {"rows-per-epoch", required_argument, NULL, 'N'},
        {"range", required_argument, NULL, 'G'},
        {"wait", no_argument, NULL, 'W'},
        {"status", no_argument, NULL, 'T'},
        {"cancel", required_argument, NULL, 'X'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    const struct command *command = NULL;
    int option;

    /* The leading - hands every other argument over in its place: the first is the command. */
    while ((option = getopt_long(argc, argv, "-s:f:e:d:w::k:hV", options, NULL)) != -1) {
        switch (option) {
        case 1:
            if (!command)
                command = find_command(optarg);
            else
                line->args[line->arg_count++] = optarg;
            break;
        case 's': line->server = optarg; break;
        case 'f': read_format(line, optarg); break;
        case 'e':
            only_for(command, "sql", "-e");
            line->execute = optarg;
            break;
        case 'd':
            only_for(command, "sql", "-d");
            line->database = optarg;
            break;
        case 'w':
            only_for(command, "lag", "--watch");
            if (!optarg && optind < argc && argv[optind][0] >= '0' && argv[optind][0] <= '9')
                optarg = argv[optind++];
            read_watch(line, optarg);
            break;
        case 'C':
        case 'A':
        case 'R':
        case 'k':
        case 'N': read_load_option(line, command, option); break;
        case 'G':
        case 'W':
        case 'T':
        case 'X': read_compact_option(line, command, option); break;
        case 'h':
            if (command)
                printf("magic %s %s -- %s\n\n%s", command->name, command->arguments, command->sentence, command->help);
            else
                print_usage(stdout);
            exit(0);
        case 'V': printf("magic %s (%s)\n", mg_version(), mg_version_commit()); exit(0);
        default: exit(2);
        }
    }
    for (; optind < argc; optind++) { /* behind "--" */
        if (!command)
            command = find_command(argv[optind]);
        else
            line->args[line->arg_count++] = argv[optind];
    }
    return command;
}

int main(int argc, char **argv)
{
    const char *server = getenv("MAGIC_SERVER");
    struct mg_command_line line = {
        .server = server && *server ? server : DEFAULT_SERVER, .database = "", .rows_per_epoch = -1};
    struct mg_error err = MG_ERROR_INIT;

    line.args = calloc((size_t)argc + 1, sizeof *line.args);
    if (!line.args)
        return 1;
    const struct command *command = read_options(argc, argv, &line);
    if (!command) {
        print_usage(stderr);
        return 2;
    }
    enum mg_code code = command->run(&line, &err);
    free(line.args);
    if (code == MG_OK)
        return 0;
    fflush(stdout);
    fprintf(stderr, "magic: %s\n", err.text);
    return code == MG_INVALID && strstr(err.text, "--help") ? 2 : 1;
}
