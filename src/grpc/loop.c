/* loop.c -- an I/O thread: waits with epoll for its connections, its mailbox and its timers.
 *
 *   a turn: mailbox -> timers -> flush connections that have something to send -> wait -> read connections
 *
 * epoll itself instead of libuv: what is needed of a loop is these lines, and with them deadlines go through mg_clock,
 * output through one sendmsg of a megabyte, and a post from another thread is one lock and mostly no system call: the
 * eventfd is written only when the loop is about to sleep or sleeps.
 * Threads  the mailbox is guarded by loop->lock; everything else belongs to the loop's thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "grpc/grpc_internal.h"

enum {
    INPUT_BYTES = 256 << 10,
    EVENTS = 64,
    FARTHEST_MS = 60000,
    OTHER_CLOCK_MS = 10, /* a test's clock moves without waking anybody: look at it */
    LAST_FLUSH_MS = 500, /* what output may take when the server stops */
};

struct mg_grpc__newcomer {
    struct mg_grpc__newcomer *next;
    int fd;
    char peer[MG_GRPC__PEER_MAX];
};

enum mg_code mg_grpc__loop_init(struct mg_grpc__loop *loop, struct mg_grpc_server *server, struct mg_error *err)
{
    *loop = (struct mg_grpc__loop){.server = server, .epoll_fd = -1, .wake_fd = -1};
    loop->dirty_end = &loop->dirty;
    loop->mail_end = &loop->mail;
    mg_mutex_init(&loop->lock, MG_RANK_GRPC_LOOP, "grpc loop");
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->input = malloc(INPUT_BYTES);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (loop->epoll_fd >= 0 && loop->wake_fd >= 0 && loop->input &&
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) == 0)
        return MG_OK;
    enum mg_code code = mg_fail_errno(err, errno, "could not make an I/O loop");
    mg_grpc__loop_destroy(loop);
    return code;
}

static void take_newcomers(struct mg_grpc__loop *loop, struct mg_grpc__newcomer *list)
{
    for (struct mg_grpc__newcomer *next; list; list = next) {
        next = list->next;
        struct mg_grpc__connection *connection;
        struct mg_error err = MG_ERROR_INIT;
        if (loop->reached >= MG_GRPC__DRAINING)
            close(list->fd);
        else if (mg_grpc__connection_open(loop, list->fd, list->peer, &connection, &err) != MG_OK)
            mg_log(MG_LOG_WARN, "grpc", "peer=%s refused: %s", list->peer, err.text);
        free(list);
    }
}

void mg_grpc__loop_destroy(struct mg_grpc__loop *loop)
{
    while (loop->connections)
        mg_grpc__connection_close(loop->connections);
    loop->reached = MG_GRPC__STOPPING;
    mg_grpc__loop_drain(loop);
    mg_grpc__timers_free(&loop->timers);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    free(loop->input);
    mg_mutex_destroy(&loop->lock);
}

int64_t mg_grpc__loop_now(const struct mg_grpc__loop *loop) { return mg_mono_ms(loop->server->options.clock); }

static void wake(struct mg_grpc__loop *loop)
{
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof one);
    mg_assert(written == sizeof one || errno == EAGAIN);
}

/* true: the loop must be woken. */
static bool append_mail(struct mg_grpc__loop *loop, struct mg_grpc_call *call)
{
    mg_assert_held(&loop->lock);
    if (call->mailed)
        return false;
    call->mailed = true;
    call->mail_next = NULL;
    mg_grpc__call_ref(call);
    *loop->mail_end = call;
    loop->mail_end = &call->mail_next;
    bool asleep = loop->asleep;
    loop->asleep = false;
    return asleep;
}

void mg_grpc__loop_post(struct mg_grpc__loop *loop, struct mg_grpc_call *call)
{
    mg_mutex_lock(&loop->lock);
    bool asleep = append_mail(loop, call);
    mg_mutex_unlock(&loop->lock);
    if (asleep)
        wake(loop);
}

void mg_grpc__loop_post_list(struct mg_grpc__loop *loop, struct mg_grpc_call *list)
{
    bool asleep = false;
    mg_mutex_lock(&loop->lock);
    for (; list; list = list->queue_next)
        asleep |= append_mail(loop, list);
    mg_mutex_unlock(&loop->lock);
    if (asleep)
        wake(loop);
}

void mg_grpc__loop_stage(struct mg_grpc__loop *loop, enum mg_grpc__stage stage)
{
    mg_mutex_lock(&loop->lock);
    loop->stage = MG_MAX(stage, loop->stage);
    loop->asleep = false;
    mg_mutex_unlock(&loop->lock);
    wake(loop);
}

void mg_grpc__loop_adopt(struct mg_grpc__loop *loop, int fd, const char *peer)
{
    struct mg_grpc__newcomer *newcomer = malloc(sizeof *newcomer);
    if (!newcomer) {
        close(fd);
        return;
    }
    newcomer->fd = fd;
    snprintf(newcomer->peer, sizeof newcomer->peer, "%s", peer);
    mg_mutex_lock(&loop->lock);
    newcomer->next = loop->newcomers;
    loop->newcomers = newcomer;
    bool asleep = loop->asleep;
    loop->asleep = false;
    mg_mutex_unlock(&loop->lock);
    if (asleep)
        wake(loop);
}

static void reach(struct mg_grpc__loop *loop, enum mg_grpc__stage stage)
{
    if (stage == loop->reached)
        return;
    loop->reached = stage;
    loop->stop_ms = mg_mono_ms(mg_clock_system()) + LAST_FLUSH_MS;
    for (struct mg_grpc__connection *connection = loop->connections; connection; connection = connection->next) {
        mg_grpc__connection_drain(connection, stage >= MG_GRPC__CANCELLING);
        for (struct mg_grpc_call *call = connection->calls, *next; call && stage >= MG_GRPC__CANCELLING; call = next) {
            next = call->next;
            mg_grpc__call_abort(call, MG_CANCELLED, MG_GRPC_UNAVAILABLE, "the server is stopping");
        }
    }
}

void mg_grpc__loop_drain(struct mg_grpc__loop *loop)
{
    mg_mutex_lock(&loop->lock);
    struct mg_grpc_call *mail = loop->mail;
    struct mg_grpc__newcomer *newcomers = loop->newcomers;
    enum mg_grpc__stage stage = loop->stage;
    loop->mail = NULL;
    loop->mail_end = &loop->mail;
    loop->newcomers = NULL;
    mg_mutex_unlock(&loop->lock);
    take_newcomers(loop, newcomers);
    while (mail) {
        struct mg_grpc_call *call = mail;
        /* From here it may be mailed again; not before, or its link in this list would be lost. */
        mg_mutex_lock(&loop->lock);
        mail = call->mail_next;
        call->mailed = false;
        mg_mutex_unlock(&loop->lock);
        mg_grpc__call_mail(call);
        mg_grpc__call_unref(call);
    }
    reach(loop, MG_MAX(stage, loop->reached));
}

static void flush_dirty(struct mg_grpc__loop *loop)
{
    struct mg_grpc__connection *again = NULL, **again_end = &again;
    while (loop->dirty) {
        struct mg_grpc__connection *connection = loop->dirty;
        loop->dirty = connection->dirty_next;
        if (!loop->dirty)
            loop->dirty_end = &loop->dirty;
        connection->dirty = false;
        bool more = !connection->broken && mg_grpc__connection_flush(connection);
        if (connection->broken) {
            mg_grpc__connection_close(connection);
        } else if (more && !connection->dirty) {
            connection->dirty_next = NULL;
            *again_end = connection;
            again_end = &connection->dirty_next;
        }
    }
    for (struct mg_grpc__connection *next; again; again = next) {
        next = again->dirty_next;
        mg_grpc__connection_dirty(again);
    }
}

/* Milliseconds to wait; 0 when there is work. */
static int64_t wait_ms(struct mg_grpc__loop *loop)
{
    if (loop->dirty)
        return 0;
    int64_t ms = FARTHEST_MS;
    int64_t next_ms = mg_grpc__timers_next(&loop->timers);
    if (next_ms != INT64_MAX)
        ms = MG_MIN(ms, next_ms - mg_grpc__loop_now(loop));
    if (loop->server->options.clock != mg_clock_system())
        ms = MG_MIN(ms, (int64_t)OTHER_CLOCK_MS);
    if (loop->reached == MG_GRPC__STOPPING)
        ms = MG_MIN(ms, (int64_t)OTHER_CLOCK_MS);
    return MG_MAX(ms, (int64_t)0);
}

static void wait_and_read(struct mg_grpc__loop *loop)
{
    struct epoll_event events[EVENTS];
    int64_t ms = wait_ms(loop);
    mg_mutex_lock(&loop->lock);
    if (loop->mail || loop->newcomers || loop->stage != loop->reached)
        ms = 0;
    loop->asleep = ms > 0;
    mg_mutex_unlock(&loop->lock);
    int count = epoll_wait(loop->epoll_fd, events, EVENTS, (int)ms);
    mg_assert(count >= 0 || errno == EINTR);
    mg_mutex_lock(&loop->lock);
    loop->asleep = false;
    mg_mutex_unlock(&loop->lock);
    for (int i = 0; i < count; i++) {
        struct mg_grpc__connection *connection = events[i].data.ptr;
        if (!connection) {
            uint64_t posts;
            ssize_t size = read(loop->wake_fd, &posts, sizeof posts);
            mg_assert(size == sizeof posts || errno == EAGAIN);
            continue;
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            mg_grpc__connection_read(connection);
        mg_grpc__connection_dirty(connection); /* closing is left to the flush: here others may hold pointers */
    }
}

static bool done(struct mg_grpc__loop *loop)
{
    return loop->reached == MG_GRPC__STOPPING && (!loop->connections || mg_mono_ms(mg_clock_system()) >= loop->stop_ms);
}

void mg_grpc__loop_run(void *arg)
{
    struct mg_grpc__loop *loop = arg;
    for (;;) {
        mg_grpc__loop_drain(loop);
        mg_grpc__timers_fire(&loop->timers, mg_grpc__loop_now(loop));
        flush_dirty(loop);
        if (done(loop))
            break;
        wait_and_read(loop);
    }
    while (loop->connections)
        mg_grpc__connection_close(loop->connections);
    mg_grpc__loop_drain(loop);
}
