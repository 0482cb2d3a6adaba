/* net.c -- system calls on sockets, and what tests put before them.
 *
 * Threads  any; without hooks a call costs one load more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/net.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/error.h"

static const struct mg_net_hooks *_Atomic hooks;

void mg_net_hook(const struct mg_net_hooks *of_test) { atomic_store(&hooks, of_test); }

static const struct mg_net_hooks *hooked(void) { return atomic_load_explicit(&hooks, memory_order_acquire); }

static ssize_t fail(int error_number)
{
    errno = error_number;
    return -1;
}

ssize_t mg_net_receive(int fd, void *data, size_t size)
{
    const struct mg_net_hooks *seen = hooked();
    if (__builtin_expect(seen && seen->receive, 0)) {
        ssize_t may = seen->receive(seen->arg, fd, size);
        if (may <= 0)
            return may == 0 ? 0 : fail((int)-may);
        size = MG_MIN(size, (size_t)may);
    }
    return recv(fd, data, size, MSG_DONTWAIT);
}

/* Of the first piece that is not empty, so many bytes. */
static ssize_t send_some(int fd, const struct iovec *pieces, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (pieces[i].iov_len)
            return send(fd, pieces[i].iov_base, MG_MIN(pieces[i].iov_len, size), MSG_NOSIGNAL | MSG_DONTWAIT);
    return 0;
}

ssize_t mg_net_send(int fd, const struct iovec *pieces, size_t count)
{
    const struct mg_net_hooks *seen = hooked();
    if (__builtin_expect(seen && seen->send, 0)) {
        size_t size = 0;
        for (size_t i = 0; i < count; i++)
            size += pieces[i].iov_len;
        ssize_t may = seen->send(seen->arg, fd, size);
        if (may == MG_NET_LOST)
            return (ssize_t)size;
        if (may <= 0)
            return fail(may == 0 ? EAGAIN : (int)-may);
        if ((size_t)may < size)
            return send_some(fd, pieces, count, (size_t)may);
    }
    struct msghdr header = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int mg_net_accept(int listen_fd, struct sockaddr *from, socklen_t *size)
{
    const struct mg_net_hooks *seen = hooked();
    int refused = __builtin_expect(seen && seen->accept, 0) ? seen->accept(seen->arg) : 0;
    return refused ? (int)fail(refused) : accept4(listen_fd, from, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int mg_net_connect(int fd, const struct sockaddr *to, socklen_t size)
{
    const struct mg_net_hooks *seen = hooked();
    int refused = __builtin_expect(seen && seen->connect, 0) ? seen->connect(seen->arg, fd) : 0;
    return refused ? (int)fail(refused) : connect(fd, to, size);
}
