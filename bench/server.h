/* server.h -- a magicd as a child process, for what goes over the wire.
 *
 * Threads  a server belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_SERVER_H
#define MG_BENCH_SERVER_H

#include "bench.h"
#include "cli/remote.h"

struct bench_server {
    pid_t pid;
    char folder[4096];
    char address[128]; /* grpc://127.0.0.1:PORT */
    struct mg_remote *remote;
};

/* The magicd beside this program, over a new folder, on a free port of loopback; one split a scan. Ends the benchmark
 * when there is none. It dies with us. */
void bench_server_start(struct bench_server *server, const struct bench_options *options);
/* Ends it, and removes the folder. */
void bench_server_stop(struct bench_server *server);

#endif
