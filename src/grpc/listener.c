/* listener.c -- accepts connections on every listener and hands them to the loops in turn.
 *
 * Never stops accepting: when descriptors run out it gives up a spare one, accepts, closes, and takes the spare back,
 * so that a client is refused at once instead of hanging in the backlog; when even that fails it waits a little.
 * Threads  one thread waits for all listeners; listeners may be added from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/net.h"
#include "grpc/grpc_internal.h"

enum {
    BACK_OFF_MS = 20,
    LOG_EVERY_MS = 1000, /* of refusals */
};

static int open_spare(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

enum mg_code mg_grpc__acceptor_init(struct mg_grpc__acceptor *acceptor, struct mg_grpc_server *server,
                                    struct mg_error *err)
{
    *acceptor = (struct mg_grpc__acceptor){.server = server};
    acceptor->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (acceptor->wake_fd < 0)
        return mg_fail_errno(err, errno, "could not make an eventfd");
    acceptor->spare_fd = open_spare();
    mg_mutex_init(&acceptor->lock, MG_RANK_LEAF, "grpc listeners");
    return MG_OK;
}

static void wake(struct mg_grpc__acceptor *acceptor)
{
    uint64_t one = 1;
    ssize_t written = write(acceptor->wake_fd, &one, sizeof one);
    mg_assert(written == sizeof one || errno == EAGAIN);
}

enum mg_code mg_grpc__acceptor_listen(struct mg_grpc__acceptor *acceptor, const char *text, char out_address[128],
                                      struct mg_error *err)
{
    struct mg_grpc__listener listener = {.fd = -1};
    MG_TRY(mg_grpc__address_parse(text, &listener.address, err));
    MG_TRY(mg_grpc__address_listen(&listener.address, &listener.fd, err));
    struct stat info;
    if (listener.address.is_unix && lstat(listener.address.socket.un.sun_path, &info) == 0) {
        listener.device = info.st_dev;
        listener.inode = info.st_ino;
    }
    enum mg_code code = MG_OK;
    mg_mutex_lock(&acceptor->lock);
    if (acceptor->stopping)
        code = mg_fail(err, MG_CLOSED, "the server is stopping");
    else if (acceptor->listener_count == MG_GRPC__LISTENERS_MAX)
        code = mg_fail(err, MG_TOO_BIG, "a server has at most %d listeners", (int)MG_GRPC__LISTENERS_MAX);
    else
        acceptor->listeners[acceptor->listener_count++] = listener;
    mg_mutex_unlock(&acceptor->lock);
    if (code != MG_OK) {
        close(listener.fd);
        return code;
    }
    wake(acceptor);
    if (out_address)
        mg_grpc__address_format(&listener.address, out_address);
    return MG_OK;
}

static void hand_over(struct mg_grpc__acceptor *acceptor, int fd, const struct sockaddr_storage *from)
{
    struct mg_grpc_server *server = acceptor->server;
    bool is_unix = from->ss_family == AF_UNIX;
    if (atomic_load(&server->connection_count) >= server->options.connections_max) {
        mg_count(grpc_refused, 1);
        close(fd);
        return;
    }
    mg_grpc__socket_tune(fd, is_unix);
    char peer[128] = "unix";
    if (!is_unix) {
        struct mg_grpc__address address = {.is_unix = false};
        memcpy(&address.socket, from, MG_MIN(sizeof address.socket, sizeof *from));
        mg_grpc__address_format(&address, peer);
    }
    uint32_t turn = atomic_fetch_add(&server->next_loop, 1);
    mg_grpc__loop_adopt(&server->loops[turn % server->loop_count], fd, peer);
}

/* No descriptor is left. Returns false when nothing could be done. */
static bool refuse_one(struct mg_grpc__acceptor *acceptor, int listen_fd)
{
    if (acceptor->spare_fd < 0)
        acceptor->spare_fd = open_spare();
    if (acceptor->spare_fd < 0)
        return false;
    close(acceptor->spare_fd);
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        mg_count(grpc_refused, 1);
        close(fd);
    }
    acceptor->spare_fd = open_spare();
    return fd >= 0;
}

/* true: wait before the next try. */
static bool accept_all(struct mg_grpc__acceptor *acceptor, int listen_fd, int64_t *logged_ms)
{
    for (;;) {
        struct sockaddr_storage from = {.ss_family = AF_UNIX};
        socklen_t size = sizeof from;
        int fd = mg_net_accept(listen_fd, (struct sockaddr *)&from, &size);
        if (fd >= 0) {
            hand_over(acceptor, fd, &from);
            continue;
        }
        if (errno == EAGAIN)
            return false;
        if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
            continue; /* that connection failed: EINTR, ECONNABORTED, what the network says */
        int64_t now_ms = mg_mono_ms(mg_clock_system());
        if (now_ms >= *logged_ms + LOG_EVERY_MS) {
            mg_log(MG_LOG_WARN, "grpc", "connections are refused: %s; raise the limit of open files",
                   strerrordesc_np(errno));
            *logged_ms = now_ms;
        }
        if (!refuse_one(acceptor, listen_fd))
            return true;
    }
}

void mg_grpc__acceptor_run(void *arg)
{
    struct mg_grpc__acceptor *acceptor = arg;
    int64_t logged_ms = -LOG_EVERY_MS;
    for (bool back_off = false;;) {
        struct pollfd waits[MG_GRPC__LISTENERS_MAX + 1] = {{.fd = acceptor->wake_fd, .events = POLLIN}};
        mg_mutex_lock(&acceptor->lock);
        bool stopping = acceptor->stopping;
        int count = acceptor->listener_count;
        for (int i = 0; i < count; i++)
            waits[i + 1] = (struct pollfd){.fd = acceptor->listeners[i].fd, .events = POLLIN};
        mg_mutex_unlock(&acceptor->lock);
        if (stopping)
            return;
        poll(waits, back_off ? 1 : (nfds_t)count + 1, back_off ? BACK_OFF_MS : -1);
        uint64_t wakes;
        ssize_t size = read(acceptor->wake_fd, &wakes, sizeof wakes);
        mg_assert(size == sizeof wakes || errno == EAGAIN || errno == EINTR);
        back_off = false;
        for (int i = 0; i < count; i++)
            if (waits[i + 1].revents || back_off)
                back_off |= accept_all(acceptor, waits[i + 1].fd, &logged_ms);
    }
}

/* Only the file that was made here: another server may have replaced it. */
static void remove_own(const struct mg_grpc__listener *listener)
{
    struct stat info;
    const char *path = listener->address.socket.un.sun_path;
    if (listener->address.is_unix && listener->inode && lstat(path, &info) == 0 && info.st_dev == listener->device &&
        info.st_ino == listener->inode)
        unlink(path);
}

void mg_grpc__acceptor_stop(struct mg_grpc__acceptor *acceptor)
{
    mg_mutex_lock(&acceptor->lock);
    acceptor->stopping = true;
    mg_mutex_unlock(&acceptor->lock);
    wake(acceptor);
    mg_thread_join(&acceptor->thread);
    mg_mutex_lock(&acceptor->lock);
    for (int i = 0; i < acceptor->listener_count; i++) {
        remove_own(&acceptor->listeners[i]);
        close(acceptor->listeners[i].fd);
    }
    acceptor->listener_count = 0;
    mg_mutex_unlock(&acceptor->lock);
}

void mg_grpc__acceptor_destroy(struct mg_grpc__acceptor *acceptor)
{
    if (acceptor->spare_fd >= 0)
        close(acceptor->spare_fd);
    close(acceptor->wake_fd);
    mg_mutex_destroy(&acceptor->lock);
}
