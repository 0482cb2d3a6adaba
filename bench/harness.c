/* harness.c -- what bench.h promises: messages, folders that are removed whatever happens, CPU time, and statistics.
 *
 * Threads  as bench.h says. The table of folders is changed by the main thread, and read by its signal handler.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench.h"

enum { FOLDERS_MAX = 8, PATH_ROOM = 4096 };

const char *bench_name = "magic-bench";

/* ---- folders ------------------------------------------------------------------------------------------------- */

static char folders[FOLDERS_MAX][PATH_ROOM];
static pid_t owner; /* a child that is forked removes nothing */

static void remove_all(void)
{
    if (getpid() != owner)
        return;
    for (int i = 0; i < FOLDERS_MAX; i++)
        if (folders[i][0])
            bench_folder_remove(folders[i]);
}

/* The process becomes `rm`: execv may be called here, and nothing else that removes a tree may. */
static void remove_by_signal(int number)
{
    static char name[] = "rm", flags[] = "-rf", end[] = "--";
    char *arguments[FOLDERS_MAX + 4] = {name, flags, end};
    int count = 3;

    if (getpid() != owner)
        _exit(128 + number);
    for (int i = 0; i < FOLDERS_MAX; i++)
        if (folders[i][0])
            arguments[count++] = folders[i];
    if (count > 3)
        execv("/bin/rm", arguments);
    _exit(128 + number);
}

void bench_folder_make(const struct bench_options *options, char *path)
{
    const char *base = options->folder ? options->folder : getenv("TMPDIR");
    int place = 0;

    if (!owner) {
        owner = getpid();
        atexit(remove_all);
        signal(SIGINT, remove_by_signal);
        signal(SIGTERM, remove_by_signal);
    }
    while (place < FOLDERS_MAX && folders[place][0])
        place++;
    if (place == FOLDERS_MAX)
        bench_die("more than %d folders are in use", FOLDERS_MAX);
    snprintf(path, PATH_ROOM, "%s/magic-bench-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(path))
        bench_die("could not make a folder: %s", path);
    memcpy(folders[place], path, PATH_ROOM);
}

void bench_folder_remove(const char *path)
{
    char command[PATH_ROOM + 16];

    snprintf(command, sizeof command, "rm -rf -- '%s'", path);
    if (system(command) != 0)
        fprintf(stderr, "%s: could not remove %s\n", bench_name, path);
    for (int i = 0; i < FOLDERS_MAX; i++)
        if (folders[i][0] && strcmp(folders[i], path) == 0)
            folders[i][0] = 0;
}

void bench_folder_size(const char *path, uint64_t *out_files, uint64_t *out_bytes)
{
    DIR *folder = opendir(path);

    for (struct dirent *item; folder && (item = readdir(folder));) {
        char inner[PATH_ROOM + 256];
        struct stat stat;
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
        if (lstat(inner, &stat) < 0)
            continue; /* it was removed meanwhile */
        if (S_ISDIR(stat.st_mode)) {
            bench_folder_size(inner, out_files, out_bytes);
            continue;
        }
        if (out_files)
            ++*out_files;
        if (out_bytes)
            *out_bytes += (uint64_t)stat.st_size;
    }
    if (folder)
        closedir(folder);
}

void bench_beside(const char *relative, char *path)
{
    char self[PATH_ROOM];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);

    if (size <= 0)
        bench_die("could not find this program's own path");
    self[size] = 0;
    *strrchr(self, '/') = 0;
    snprintf(path, PATH_ROOM, "%s/%s", self, relative);
}

/* ---- messages ------------------------------------------------------------------------------------------------ */

_Noreturn void bench_fail(const char *what, enum mg_code code, const struct mg_error *err)
{
    fprintf(stderr, "%s: %s: %s: %s\n", bench_name, what, mg_code_name(code), err->text);
    exit(1);
}

_Noreturn void bench_die(const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "%s: ", bench_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

void bench_say(const struct bench_options *options, const char *format, ...)
{
    va_list arguments;

    if (options->json)
        return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

void bench_more(struct bench_result *result, const char *format, ...)
{
    size_t used = strlen(result->more);
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(result->more + used, sizeof result->more - used, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof result->more - used)
        bench_die("the JSON line is longer than %zu bytes", sizeof result->more);
}

/* ---- time and memory ----------------------------------------------------------------------------------------- */

int64_t bench_now_ns(void) { return mg_mono_ns(mg_clock_system()); }

static int64_t cpu_us(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * INT64_C(1000000) + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

int64_t bench_process_cpu_us(void) { return cpu_us(RUSAGE_SELF); }
int64_t bench_thread_cpu_us(void) { return cpu_us(RUSAGE_THREAD); }

int64_t bench_cpu_us_of(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    const char *at = strrchr(text, ')'); /* the name may hold anything */
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return -1;
    return (int64_t)((user + system) * 1000000 / (unsigned long long)sysconf(_SC_CLK_TCK));
}

uint64_t bench_memory_of_self(const char *line)
{
    FILE *file = fopen("/proc/self/status", "r");
    char text[256];
    uint64_t kib = 0;

    while (file && fgets(text, sizeof text, file))
        if (strncmp(text, line, strlen(line)) == 0 && text[strlen(line)] == ':')
            kib = strtoull(text + strlen(line) + 1, NULL, 10);
    if (file)
        fclose(file);
    return kib << 10;
}

/* ---- statistics ---------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_min(const double *values, size_t count)
{
    double least = values[0];

    for (size_t i = 1; i < count; i++)
        least = fmin(least, values[i]);
    return least;
}

double bench_quantile(double *values, size_t count, double quantile)
{
    qsort(values, count, sizeof *values, by_size);
    return values[(size_t)((double)(count - 1) * quantile)];
}

double bench_median(double *values, size_t count) { return bench_quantile(values, count, 0.5); }

double bench_geomean(const double *values, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += log(values[i]);
    return exp(sum / (double)count);
}
