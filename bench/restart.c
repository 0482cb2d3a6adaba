/* restart.c -- how long after kill -9 in the midst of a merge the first row can be read again.
 *
 * Data      lineitem of scale 1, about 1 GB in Arrow (quick), or of scale 10 (full), flushed to parts; then the changes
 *           of lineitem.h, up to WAL_BYTES of them, which only the log holds.
 * Kill      a child process fills the store, says so and begins the merge; the folder of parts is watched, and when a
 *           new file has grown to GROWN_BYTES the child gets SIGKILL.
 * Reopen    in this process, which had not opened it. The files' pages are dropped from the page cache first
 *           (POSIX_FADV_DONTNEED).
 * Figure    seconds from open to the first batch of a scan of two columns. ok: at most 2, the merge was under way, and
 *           afterwards the rows are counted: none is missing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lineitem.h"

enum { WATCH_US = 500, GROWN_BYTES = 1 << 20, WATCH_MS_MAX = 120000, PARTS_WANTED = 8, ROW_BYTES = 170 };
#define WAL_BYTES ((uint64_t)200 << 20) /* below the 256 MiB after which a checkpoint is due */
static const double goal_s = 2;
static const size_t memory_bytes = (size_t)8 << 30;
static const struct mg_engine_ops *const ops = &mg_engine_magic;

/* Few rows must give several parts, too. */
static struct mg_engine_options engine_options(const struct bench_options *options)
{
    uint64_t bytes = options->rows * ROW_BYTES / PARTS_WANTED;

    return (struct mg_engine_options){.maintain_by_hand = true, .segment_bytes = bytes >> 26 ? 0 : bytes};
}

/* ---- the child ----------------------------------------------------------------------------------------------- */

static void fill(struct bench_store *store, const struct bench_options *options)
{
    (void)lineitem_fill(store, options, false);
    try(ops->checkpoint(store->engine, true, err));
    store->unsettled_rows = 0; /* what follows is to stay in memory */
}

static void change(struct bench_store *store, const struct bench_options *options)
{
    static uint8_t row_ops[MG_BATCH_ROWS_MAX];
    struct lineitem_source *source = lineitem_open(options, false);
    uint64_t bytes = 0;

    for (struct mg_batch *batch; (batch = lineitem_next(source)); mg_batch_unref(batch)) {
        struct mg_batch *changes = bytes < WAL_BYTES ? lineitem_changes(batch, row_ops) : NULL;
        if (!changes)
            continue;
        bench_store_apply(store, changes, row_ops);
        bytes += mg_batch_bytes(changes);
        mg_batch_unref(changes);
    }
    lineitem_close(source);
}

static _Noreturn void be_child(const struct bench_options *options, const char *folder, int say)
{
    struct lineitem_source *source = lineitem_open(options, false);
    struct mg_engine_options more = engine_options(options);
    struct bench_options inside = *options;
    struct bench_store store;
    uint64_t rows;

    inside.folder = folder;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_store_open(&store, &inside, lineitem_schema(source), memory_bytes, &more);
    lineitem_close(source);
    fill(&store, options);
    change(&store, options);
    rows = bench_store_status(&store, "rows");
    if (write(say, &rows, sizeof rows) != sizeof rows || write(say, store.folder, sizeof store.folder) < 0)
        _exit(1);
    try(ops->checkpoint(store.engine, false, err));
    _exit(write(say, "d", 1) == 1 ? 0 : 1); /* it was not killed in time */
}

/* ---- the killer ---------------------------------------------------------------------------------------------- */

/* Bytes of the largest file in the folder that was made after the mark. */
static uint64_t newest_bytes(const char *path, const struct timespec *mark)
{
    DIR *folder = opendir(path);
    uint64_t most = 0;

    for (struct dirent *item; folder && (item = readdir(folder));) {
        char inner[4600];
        struct stat stat;
        snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
        if (lstat(inner, &stat) < 0 || !S_ISREG(stat.st_mode))
            continue;
        if (stat.st_ctim.tv_sec > mark->tv_sec ||
            (stat.st_ctim.tv_sec == mark->tv_sec && stat.st_ctim.tv_nsec > mark->tv_nsec))
            most = MG_MAX(most, (uint64_t)stat.st_size);
    }
    if (folder)
        closedir(folder);
    return most;
}

static void read_all(int from, void *to, size_t size)
{
    for (size_t used = 0; used < size;) {
        ssize_t count = read(from, (char *)to + used, size - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            bench_die("the child ended before it had filled the store");
        used += (size_t)count;
    }
}

/* Fills and kills. True: while a merge was being written. store has room for 4096 bytes. */
static bool fill_and_kill(const struct bench_options *options, const char *folder, char *store, uint64_t *out_rows)
{
    char parts[4200], done;
    struct timespec mark;
    bool grown = false, ended = false;
    int ends[2], status = 0;

    if (pipe2(ends, O_CLOEXEC) < 0)
        bench_die("could not make a pipe: %s", strerrordesc_np(errno));
    pid_t pid = fork();
    if (pid == 0)
        be_child(options, folder, ends[1]);
    close(ends[1]);
    read_all(ends[0], out_rows, sizeof *out_rows);
    read_all(ends[0], store, 4096);
    snprintf(parts, sizeof parts, "%s/parts", store);
    clock_gettime(CLOCK_REALTIME_COARSE, &mark); /* what files are stamped with */
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    for (int64_t start_ns = bench_now_ns(); !grown && !ended; usleep(WATCH_US)) {
        grown = newest_bytes(parts, &mark) >= (options->rows ? 1 : GROWN_BYTES);
        ended = read(ends[0], &done, 1) == 1 || bench_now_ns() - start_ns > WATCH_MS_MAX * INT64_C(1000000);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(ends[0]);
    return grown && !ended && WIFSIGNALED(status);
}

static void drop_pages(const char *path)
{
    DIR *folder = opendir(path);

    for (struct dirent *item; folder && (item = readdir(folder));) {
        char inner[4600];
        snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
        if (item->d_type == DT_DIR && item->d_name[0] != '.') {
            drop_pages(inner);
            continue;
        }
        int fd = open(inner, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    if (folder)
        closedir(folder);
}

/* ---- reopening ----------------------------------------------------------------------------------------------- */

struct reopened {
    double open_s, first_row_s, cpu_s;
    uint64_t rows, parts, bytes;
};

static uint64_t count_rows(struct bench_store *store, double *out_first_s, int64_t start_ns)
{
    static const uint32_t columns[] = {0, 4};
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 2};
    struct mg_snapshot *snapshot;
    struct mg_scan *scan;
    uint64_t rows = 0;

    try(ops->snapshot(store->engine, &snapshot, err));
    try(ops->scan(snapshot, &spec, &scan, err));
    for (;;) {
        struct mg_batch *batch;
        try(ops->next(scan, &batch, err));
        if (!batch)
            break;
        if (rows == 0)
            *out_first_s = (double)(bench_now_ns() - start_ns) / 1e9;
        rows += batch->row_count;
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    ops->snapshot_unref(snapshot);
    return rows;
}

static struct reopened reopen(const struct bench_options *options, const char *folder)
{
    struct lineitem_source *source = lineitem_open(options, false);
    struct mg_engine_options more = engine_options(options);
    struct bench_store store;
    struct reopened r = {0};

    bench_folder_size(folder, NULL, &r.bytes);
    drop_pages(folder);
    int64_t start_ns = bench_now_ns(), start_us = bench_process_cpu_us();
    bench_store_reopen(&store, folder, lineitem_schema(source), memory_bytes, &more);
    r.open_s = (double)(bench_now_ns() - start_ns) / 1e9;
    r.cpu_s = (double)(bench_process_cpu_us() - start_us) / 1e6;
    r.rows = count_rows(&store, &r.first_row_s, start_ns);
    r.parts = bench_store_status(&store, "parts");
    lineitem_close(source);
    bench_store_remove(&store);
    return r;
}

bool bench_restart(const struct bench_options *options, struct bench_result *out)
{
    char folder[4096], store[4096];
    uint64_t rows = 0;

    bench_folder_make(options, folder);
    lineitem_close(lineitem_open(options, false)); /* the data is made by this process, if it is not there */
    bool in_merge = fill_and_kill(options, folder, store, &rows);
    struct reopened r = reopen(options, store);
    bench_folder_remove(folder);
    if (r.rows != rows)
        bench_die("%llu rows were there before kill -9, %llu afterwards", (unsigned long long)rows,
                  (unsigned long long)r.rows);
    *out = (struct bench_result){.bench = "restart",
                                 .unit = "s to the first row",
                                 .goal = "<= 2",
                                 .goal_figure = goal_s,
                                 .figure = r.first_row_s,
                                 .ok = in_merge && r.first_row_s <= goal_s};
    bench_say(options,
              "restart: %llu rows in %llu parts, %.0f MiB on the disk; killed %s; open %.3f s (CPU %.3f), first "
              "row after %.3f s\n",
              (unsigned long long)r.rows, (unsigned long long)r.parts, (double)r.bytes / 1048576,
              in_merge ? "in mid-merge" : "NOT in mid-merge", r.open_s, r.cpu_s, r.first_row_s);
    bench_more(out,
               ",\"killed_in_merge\":%s,\"open_s\":%.4f,\"open_cpu_s\":%.4f,\"rows\":%llu,\"parts\":%llu,"
               "\"disk_bytes\":%llu",
               in_merge ? "true" : "false", r.open_s, r.cpu_s, (unsigned long long)r.rows, (unsigned long long)r.parts,
               (unsigned long long)r.bytes);
    return true;
}
