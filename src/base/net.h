/* net.h -- the seam for sockets: what moves bytes between processes goes through these calls, so that tests can
 * shorten, delay, cut and lose it.
 *
 * Results are those of the system calls: a count, or -1 with errno. Nothing blocks; nothing raises SIGPIPE.
 * Threads  any.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_NET_H
#define MG_BASE_NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

ssize_t mg_net_receive(int fd, void *data, size_t size);
ssize_t mg_net_send(int fd, const struct iovec *pieces, size_t count);
/* The descriptor is not inherited and does not block. */
int mg_net_accept(int listen_fd, struct sockaddr *from, socklen_t *size);
int mg_net_connect(int fd, const struct sockaddr *to, socklen_t size);

/* For tests. Each function may be NULL, and runs on the calling thread before the call. */
enum { MG_NET_LOST = INT32_MAX }; /* from send: nothing leaves, and the caller hears that all did */
struct mg_net_hooks {
    void *arg;
    /* At most how many bytes may pass now (1 to size), 0 (receive: the peer has closed), or an errno, negated. */
    ssize_t (*receive)(void *arg, int fd, size_t size);
    ssize_t (*send)(void *arg, int fd, size_t size);
    int (*accept)(void *arg);          /* 0, or an errno; the connection waits on */
    int (*connect)(void *arg, int fd); /* 0, or an errno */
};
/* Lives until the next call and a moment longer, as calls under way may still ask it: make it static. NULL: none. */
void mg_net_hook(const struct mg_net_hooks *hooks);

#endif
