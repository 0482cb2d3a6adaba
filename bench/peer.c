/* peer.c -- starts, asks and ends a Python program of bench/peers.
 *
 * The child dies with us (PR_SET_PDEATHSIG), and ends by itself when its standard input does.
 * Threads  as peer.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 16, PATH_ROOM = 4096 };

struct peer {
    pid_t pid;
    FILE *to, *from;
    char script[64];
    char *text;
    size_t room;
};

void peer_python(const struct bench_options *options, char *path)
{
    const char *named = options->python ? options->python : getenv("MAGIC_BENCH_PYTHON");

    if (named && *named)
        snprintf(path, PATH_ROOM, "%s", named);
    else
        bench_beside("../bench-venv/bin/python", path);
}

static void peers_folder(char *path)
{
    const char *named = getenv("MAGIC_BENCH_PEERS");

    if (named && *named)
        snprintf(path, PATH_ROOM, "%s", named);
    else
        bench_beside("../../bench/peers", path);
}

static _Noreturn void be_child(const char *python, const char *script, const char *const *arguments)
{
    char *all[ARGUMENTS_MAX + 4] = {(char *)(uintptr_t)python, (char *)(uintptr_t)script};
    int count = 2;

    for (; *arguments && count < ARGUMENTS_MAX; arguments++)
        all[count++] = (char *)(uintptr_t)*arguments;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(python, all);
    _exit(127);
}

/* to: our end that it reads; from: our end that it writes; NULL: not wanted. */
static pid_t start(const struct bench_options *options, const char *script, const char *const *arguments, int *to,
                   int *from)
{
    char python[PATH_ROOM], folder[PATH_ROOM], path[PATH_ROOM + 72];
    int in[2] = {-1, -1}, out[2] = {-1, -1};

    peer_python(options, python);
    peers_folder(folder);
    snprintf(path, sizeof path, "%s/%s", folder, script);
    if (access(python, X_OK) != 0 || access(path, R_OK) != 0) {
        fprintf(stderr, "%s: the peer is missing: %s; tools/bench installs it, --python names another\n", bench_name,
                access(python, X_OK) != 0 ? python : path);
        return 0;
    }
    if (to && (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0))
        bench_die("could not make a pipe: %s", strerrordesc_np(errno));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(to ? in[0] : STDIN_FILENO, STDIN_FILENO);
        dup2(from ? out[1] : STDERR_FILENO, STDOUT_FILENO);
        be_child(python, path, arguments);
    }
    if (pid < 0)
        bench_die("could not start %s: %s", python, strerrordesc_np(errno));
    if (to) {
        close(in[0]);
        close(out[1]);
        *to = in[1];
        *from = out[0];
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool peer_run(const struct bench_options *options, const char *script, const char *const *arguments)
{
    pid_t pid = start(options, script, arguments, NULL, NULL);
    int status = pid ? end_of(pid) : 0;

    if (status)
        fprintf(stderr, "%s: %s ended with status %d\n", bench_name, script, status);
    return pid && status == 0;
}

struct peer *peer_start(const struct bench_options *options, const char *script, const char *const *arguments)
{
    int to, from;
    pid_t pid = start(options, script, arguments, &to, &from);

    if (!pid)
        return NULL;
    struct peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        bench_die("no memory");
    signal(SIGPIPE, SIG_IGN); /* peer_ask says that it is gone */
    peer->pid = pid;
    peer->to = fdopen(to, "w");
    peer->from = fdopen(from, "r");
    snprintf(peer->script, sizeof peer->script, "%s %s", script, arguments[0]);
    return peer;
}

void peer_stop(struct peer *peer)
{
    if (!peer)
        return;
    fclose(peer->to);
    fclose(peer->from);
    (void)end_of(peer->pid);
    free(peer->text);
    free(peer);
}

pid_t peer_pid(const struct peer *peer) { return peer->pid; }

static bool read_lines(struct peer *peer, long count)
{
    size_t used = 0, line_room = 0;
    char *line = NULL;

    for (long i = 0; i < count; i++) {
        ssize_t size = getline(&line, &line_room, peer->from);
        if (size < 0) {
            free(line);
            return false;
        }
        if (used + (size_t)size + 1 > peer->room) {
            peer->room = (used + (size_t)size + 1) * 2;
            peer->text = realloc(peer->text, peer->room);
            if (!peer->text)
                bench_die("no memory");
        }
        memcpy(peer->text + used, line, (size_t)size);
        used += (size_t)size;
    }
    free(line);
    if (!peer->text)
        peer->text = calloc(1, peer->room = 64);
    if (peer->text)
        peer->text[used] = 0;
    return peer->text != NULL;
}

bool peer_ask(struct peer *peer, struct peer_answer *out, const char *format, ...)
{
    long long wall_ns, cpu_ns;
    char head[4096] = "";
    va_list arguments;
    long lines = 0;

    va_start(arguments, format);
    vfprintf(peer->to, format, arguments);
    va_end(arguments);
    fputc('\n', peer->to);
    fflush(peer->to);
    if (!fgets(head, sizeof head, peer->from) || sscanf(head, "ok %lld %lld %ld", &wall_ns, &cpu_ns, &lines) != 3 ||
        !read_lines(peer, lines)) {
        fprintf(stderr, "%s: %s: %s\n", bench_name, peer->script, *head ? head : "it is gone");
        return false;
    }
    *out = (struct peer_answer){(double)wall_ns / 1e6, (double)cpu_ns / 1e6, peer->text};
    return true;
}
