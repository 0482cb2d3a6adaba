/* address.c -- addresses as people write them, to sockets that listen or are connected.
 *
 * Input   HOST:PORT, [V6]:PORT, unix:/path; grpc:// and grpc+tcp:// may stand before the first two, grpc+unix:// before
 *         a path. A host name is looked up, its first address counts.
 * Errors  MG_INVALID for a text that is no address; MG_BUSY when somebody listens there; MG_UNAVAILABLE when nobody
 *         does.
 * Threads any; a look-up may block.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/net.h"
#include "grpc/grpc_internal.h"

enum { BACKLOG = 512 };

static const char *skip_prefix(const char *text, const char *prefix)
{
    size_t size = strlen(prefix);
    return strncmp(text, prefix, size) == 0 ? text + size : NULL;
}

static enum mg_code parse_unix(const char *path, struct mg_grpc__address *out, struct mg_error *err)
{
    struct mg_grpc__address address = {.is_unix = true, .size = sizeof(struct sockaddr_un)};
    address.socket.un.sun_family = AF_UNIX;
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof address.socket.un.sun_path)
        return mg_fail(err, MG_INVALID, "the path of a unix socket has %zu bytes; 1 to %zu are possible: \"%s\"", size,
                       sizeof address.socket.un.sun_path - 1, path);
    memcpy(address.socket.un.sun_path, path, size + 1);
    *out = address;
    return MG_OK;
}

static enum mg_code look_up(const char *host, const char *port, struct mg_grpc__address *out, struct mg_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int result = getaddrinfo(host, port, &hints, &list);
    if (result != 0)
        return mg_fail(err, result == EAI_AGAIN ? MG_UNAVAILABLE : MG_INVALID, "no address for \"%s:%s\": %s", host,
                       port, gai_strerror(result));
    enum mg_code code = MG_OK;
    if (list->ai_addrlen <= sizeof out->socket) {
        *out = (struct mg_grpc__address){.size = list->ai_addrlen};
        memcpy(&out->socket, list->ai_addr, list->ai_addrlen);
    } else {
        code = mg_fail(err, MG_INVALID, "\"%s\" has an address of a kind that is not served", host);
    }
    freeaddrinfo(list);
    return code;
}

enum mg_code mg_grpc__address_parse(const char *text, struct mg_grpc__address *out, struct mg_error *err)
{
    const char *path = skip_prefix(text, "grpc+unix://");
    if (!path)
        path = skip_prefix(text, "unix://");
    if (!path)
        path = skip_prefix(text, "unix:");
    if (path)
        return parse_unix(path, out, err);
    const char *rest = skip_prefix(text, "grpc://");
    if (!rest)
        rest = skip_prefix(text, "grpc+tcp://");
    if (!rest)
        rest = text;

    char host[256];
    const char *colon = strrchr(rest, ':');
    size_t host_size = colon ? (size_t)(colon - rest) : 0;
    size_t port_size = colon ? strlen(colon + 1) : 0;
    if (host_size == 0 || host_size >= sizeof host || port_size == 0 || port_size > 5)
        return mg_fail(err, MG_INVALID, "\"%s\" is no address; write HOST:PORT, [V6]:PORT or unix:/path", text);
    if (rest[0] == '[' && rest[host_size - 1] == ']') {
        rest++;
        host_size -= 2;
    }
    memcpy(host, rest, host_size);
    host[host_size] = 0;
    return look_up(host, colon + 1, out, err);
}

void mg_grpc__address_format(const struct mg_grpc__address *address, char out[128])
{
    char host[INET6_ADDRSTRLEN] = "?";
    switch (address->socket.any.sa_family) {
    case AF_UNIX: snprintf(out, 128, "unix:%s", address->socket.un.sun_path); return;
    case AF_INET:
        inet_ntop(AF_INET, &address->socket.v4.sin_addr, host, sizeof host);
        snprintf(out, 128, "%s:%u", host, ntohs(address->socket.v4.sin_port));
        return;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->socket.v6.sin6_addr, host, sizeof host);
        snprintf(out, 128, "[%s]:%u", host, ntohs(address->socket.v6.sin6_port));
        return;
    default: snprintf(out, 128, "?");
    }
}

static int open_socket(const struct mg_grpc__address *address)
{
    return socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Somebody's socket is at the path: remove it if nobody answers there. */
static enum mg_code remove_stale(const struct mg_grpc__address *address, struct mg_error *err)
{
    const char *path = address->socket.un.sun_path;
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? MG_OK : mg_fail_errno(err, errno, "could not look at %s", path);
    if (!S_ISSOCK(info.st_mode))
        return mg_fail(err, MG_EXISTS, "%s is there and is no socket", path);
    int fd = open_socket(address);
    if (fd < 0)
        return mg_fail_errno(err, errno, "could not make a socket");
    int result = connect(fd, &address->socket.any, address->size) == 0 ? 0 : errno;
    close(fd);
    /* EAGAIN: its backlog is full, so somebody has it. */
    if (result != ECONNREFUSED && result != ENOENT)
        return mg_fail(err, MG_BUSY, "somebody answers on the socket %s", path);
    if (unlink(path) != 0 && errno != ENOENT)
        return mg_fail_errno(err, errno, "could not remove the stale socket %s", path);
    return MG_OK;
}

static enum mg_code bind_and_listen(int fd, struct mg_grpc__address *address, struct mg_error *err)
{
    char text[128];
    mg_grpc__address_format(address, text);
    int on = 1;
    if (!address->is_unix)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &address->socket.any, address->size) != 0) {
        if (errno == EADDRINUSE)
            return mg_fail(err, MG_BUSY, "somebody has the address %s", text);
        return mg_fail_errno(err, errno, "could not bind to %s", text);
    }
    if (listen(fd, BACKLOG) != 0)
        return mg_fail_errno(err, errno, "could not listen on %s", text);
    socklen_t size = sizeof address->socket;
    if (!address->is_unix && getsockname(fd, &address->socket.any, &size) != 0)
        return mg_fail_errno(err, errno, "could not read the address of %s", text);
    return MG_OK;
}

enum mg_code mg_grpc__address_listen(struct mg_grpc__address *address, int *out_fd, struct mg_error *err)
{
    if (address->is_unix)
        MG_TRY(remove_stale(address, err));
    int fd = open_socket(address);
    if (fd < 0)
        return mg_fail_errno(err, errno, "could not make a socket");
    enum mg_code code = bind_and_listen(fd, address, err);
    if (code != MG_OK) {
        close(fd);
        return code;
    }
    *out_fd = fd;
    return MG_OK;
}

/* 0, or errno. EAGAIN: a unix socket whose backlog is full, which poll does not wait for. */
static int finish_connect(int fd, const struct mg_grpc__address *address, int64_t timeout_ms)
{
    if (mg_net_connect(fd, &address->socket.any, address->size) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return errno;
    int64_t until_ms = mg_mono_ms(mg_clock_system()) + timeout_ms;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    for (;;) {
        int64_t left_ms = until_ms - mg_mono_ms(mg_clock_system());
        int ready = poll(&wait, 1, (int)MG_MIN(MG_MAX(left_ms, (int64_t)0), (int64_t)60000));
        if (ready > 0)
            break;
        if (ready < 0 && errno != EINTR)
            return errno;
        if (left_ms <= 0)
            return ETIMEDOUT;
    }
    int result = 0;
    socklen_t size = sizeof result;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size) != 0)
        return errno;
    return result;
}

enum mg_code mg_grpc__address_connect(const struct mg_grpc__address *address, int64_t timeout_ms, int *out_fd,
                                      struct mg_error *err)
{
    int64_t until_ms = mg_mono_ms(mg_clock_system()) + timeout_ms;
    char text[128];
    mg_grpc__address_format(address, text);
    for (;;) {
        int fd = open_socket(address);
        if (fd < 0)
            return mg_fail_errno(err, errno, "could not make a socket");
        int64_t left_ms = until_ms - mg_mono_ms(mg_clock_system());
        int result = finish_connect(fd, address, left_ms);
        if (result == 0) {
            *out_fd = fd;
            return MG_OK;
        }
        close(fd);
        if (result != EAGAIN || left_ms <= 0)
            return mg_fail(err, MG_UNAVAILABLE, "could not connect to %s: %s", text, strerrordesc_np(result));
        poll(NULL, 0, 5);
    }
}

void mg_grpc__socket_tune(int fd, bool is_unix)
{
    if (is_unix)
        return;
    int on = 1, idle_s = 30, interval_s = 10, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}
