/* peer.h -- a Python program of bench/peers as a child process that is asked line by line.
 *
 * Protocol  a request is one line; the answer is "ok WALL_NS CPU_NS LINES\n" and so many lines, or "no WHY\n".
 * Threads   a peer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BENCH_PEER_H
#define MG_BENCH_PEER_H

#include "bench.h"

struct peer;

/* The Python that peers run in, into path of 4096 bytes. */
void peer_python(const struct bench_options *options, char *path);
/* Run one to its end; its output goes to standard error. False, and says why, when it fails. */
bool peer_run(const struct bench_options *options, const char *script, const char *const *arguments);

/* Start one. NULL, and says what is missing and how to get it, when it cannot be. */
struct peer *peer_start(const struct bench_options *options, const char *script, const char *const *arguments);
void peer_stop(struct peer *peer); /* NULL is allowed */
pid_t peer_pid(const struct peer *peer);

struct peer_answer {
    double wall_ms, cpu_ms;
    char *text; /* its lines; owned by the peer, until the next question */
};
/* False, and says why, when the peer says no or is gone. */
bool peer_ask(struct peer *peer, struct peer_answer *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
