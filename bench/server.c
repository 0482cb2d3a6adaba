/* server.c -- starts and ends a magicd.
 *
 * Threads  as server.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_TRIES = 300, START_STEP_US = 100000 };

static _Noreturn void be_server(const char *program, const char *folder, const char *address_file)
{
    char data[4200];

    snprintf(data, sizeof data, "%s/data", folder);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDOUT_FILENO);
    execl(program, "magicd", "--data", data, "--listen", "127.0.0.1:0", "--address-file", address_file, "--splits", "1",
          "--log-level", "warn", (char *)NULL);
    _exit(127);
}

static bool read_address(const char *path, char *address, size_t size)
{
    FILE *file = fopen(path, "r");
    char place[64] = "";
    bool read = file && fgets(place, sizeof place, file) && *place;

    if (file)
        fclose(file);
    place[strcspn(place, "\n")] = 0;
    snprintf(address, size, "grpc://%s", place);
    return read;
}

void bench_server_start(struct bench_server *server, const struct bench_options *options)
{
    char program[4096], address_file[4200];
    int tries = 0;

    bench_beside("magicd", program);
    if (access(program, X_OK) != 0)
        bench_die("%s is missing: build it", program);
    bench_folder_make(options, server->folder);
    snprintf(address_file, sizeof address_file, "%s/address", server->folder);
    server->pid = fork();
    if (server->pid == 0)
        be_server(program, server->folder, address_file);
    if (server->pid < 0)
        bench_die("could not start %s: %s", program, strerrordesc_np(errno));
    while (!read_address(address_file, server->address, sizeof server->address)) {
        if (++tries > START_TRIES || waitpid(server->pid, NULL, WNOHANG) == server->pid)
            bench_die("magicd did not start");
        usleep(START_STEP_US);
    }
    try(mg_remote_open(server->address, &server->remote, err));
}

void bench_server_stop(struct bench_server *server)
{
    mg_remote_close(server->remote);
    kill(server->pid, SIGTERM);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    bench_folder_remove(server->folder);
}
