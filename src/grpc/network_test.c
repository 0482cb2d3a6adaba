/* network_test.c -- server and client over a network that is slow, cuts, and goes silent, at each step of a
 * conversation; and with threads that cannot be started.
 *
 * The seams are base/net.h and mg_thread_hook. A conversation is a connection, a unary call, a stream of messages both
 * ways and one of the server: each of its system calls on a socket is a step. After each fault a new client must have
 * its whole conversation, all messages must be released, and no connection may be left.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>

#include "base/bytes.h"
#include "base/net.h"
#include "base/testing.h"
#include "grpc/grpc_testing.h"

enum { DEADLINE_MS = 5000, SILENT_DEADLINE_MS = 150, MESSAGES = 3, STREAMED = 4, STREAMED_BYTES = 30000 };

enum fault {
    NO_FAULT,
    SHORT,     /* a few bytes a call, and every third says: later */
    RESET,     /* the nth call fails with ECONNRESET */
    CLOSED,    /* the nth call finds the other end closed */
    HALF_OPEN, /* from the nth call on nothing comes, and what is sent is lost */
};

/* Only one thread of the side acts at a time: the client's, or the server's I/O thread. It may still be in a call when
 * the test sets the next plan. */
static struct {
    _Atomic enum fault fault;
    _Atomic bool of_server;
    _Atomic uint64_t nth;
    _Atomic int fd; /* that is half open; -1: none yet */
    _Atomic uint64_t calls;
} plan;

static bool on_server(void)
{
    static _Thread_local int known; /* 1: no, 2: yes */
    char name[16] = "";
    if (known)
        return known == 2;
    pthread_getname_np(pthread_self(), name, sizeof name);
    known = strncmp(name, "grpc-io", 7) == 0 ? 2 : 1;
    return known == 2;
}

/* Bytes that may pass, or what fails. */
static ssize_t step(int fd, size_t size, bool is_send)
{
    if (on_server() != plan.of_server)
        return (ssize_t)size;
    uint64_t call = ++plan.calls;
    switch (atomic_load(&plan.fault)) {
    case SHORT: return call % 3 == 0 ? -EAGAIN : (ssize_t)MG_MIN(size, 1 + call % 700);
    case RESET: return call == plan.nth ? -ECONNRESET : (ssize_t)size;
    case CLOSED: return call != plan.nth ? (ssize_t)size : is_send ? -EPIPE : 0;
    case HALF_OPEN:
        if (call == plan.nth)
            plan.fd = fd;
        if (fd == plan.fd)
            return is_send ? MG_NET_LOST : -EAGAIN;
        return (ssize_t)size;
    default: return (ssize_t)size;
    }
}

static ssize_t on_receive(void *arg, int fd, size_t size) { return step(fd, size, false); }
static ssize_t on_send(void *arg, int fd, size_t size) { return step(fd, size, true); }

static const struct mg_net_hooks hooks = {.receive = on_receive, .send = on_send};

static void begin_fault(enum fault fault, bool of_server, uint64_t nth)
{
    plan.fault = fault;
    plan.of_server = of_server;
    plan.nth = nth;
    plan.fd = -1;
    plan.calls = 0;
    mg_net_hook(&hooks);
}

static void end_fault(void)
{
    mg_net_hook(NULL);
    plan.fault = NO_FAULT;
}

/* ---- a conversation ------------------------------------------------------------------------------------------ */

static enum mg_code send_text(struct mg_grpc_client *client, const char *text, size_t size)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)text, .iov_len = size};
    return mg_grpc_client_send(client, &piece, 1, NULL);
}

static enum mg_code talk_both_ways(struct mg_grpc_client *client, int64_t deadline_ms)
{
    struct mg_slice message;
    MG_TRY(mg_grpc_client_begin(client, "/test.Test/Bidi", deadline_ms, NULL));
    for (int i = 0; i < MESSAGES; i++) {
        MG_TRY(send_text(client, "hello", 5));
        MG_TRY(mg_grpc_client_receive(client, &message, NULL));
        mg_assert(message.size == 5 && memcmp(message.data, "hello", 5) == 0);
    }
    MG_TRY(mg_grpc_client_half_close(client, NULL));
    enum mg_code code = mg_grpc_client_receive(client, &message, NULL);
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code take_stream(struct mg_grpc_client *client, int64_t deadline_ms)
{
    uint8_t request[8];
    struct mg_slice message;
    enum mg_code code;
    uint32_t count = 0;
    mg_store_le32(request, STREAMED);
    mg_store_le32(request + 4, STREAMED_BYTES);
    MG_TRY(mg_grpc_client_begin(client, "/test.Test/Stream", deadline_ms, NULL));
    MG_TRY(send_text(client, (const char *)request, sizeof request));
    MG_TRY(mg_grpc_client_half_close(client, NULL));
    while ((code = mg_grpc_client_receive(client, &message, NULL)) == MG_OK) {
        mg_assert(message.size == STREAMED_BYTES);
        count++;
    }
    mg_assert(code != MG_NOT_FOUND || count == STREAMED);
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code talk(struct mg_grpc_client *client, int64_t deadline_ms)
{
    struct mg_slice answer;
    MG_TRY(mg_grpc_client_unary(client, "/test.Test/Unary", deadline_ms, MG_SLICE("question", 8), &answer, NULL));
    mg_assert(answer.size == 8 && memcmp(answer.data, "question", 8) == 0);
    enum mg_code code = talk_both_ways(client, deadline_ms);
    mg_grpc_client_end(client);
    MG_TRY(code);
    code = take_stream(client, deadline_ms);
    mg_grpc_client_end(client);
    return code;
}

static enum mg_code converse(const struct test_server *test, int64_t deadline_ms)
{
    struct mg_grpc_client *client;
    struct mg_grpc_client_options options = {.connect_timeout_ms = deadline_ms};
    MG_TRY(mg_grpc_client_connect(test->address, &options, &client, NULL));
    enum mg_code code = talk(client, deadline_ms);
    mg_grpc_client_close(client);
    return code;
}

static uint32_t connections(struct test_server *test)
{
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(test->server, &stats);
    return stats.connections;
}

static void start(struct test_server *test)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_server_options options = {.keepalive_ms = 100, .handshake_ms = 200, .idle_ms = 200};
    assert_ok(test_server_start(test, options, "127.0.0.1:0", &err));
}

/* It serves as before, and nothing is left of those that were cut. */
static void check_server(struct test_server *test)
{
    end_fault();
    assert_int_equal(converse(test, DEADLINE_MS), MG_OK);
    assert_true(TEST_SOON(connections(test) == 0));
    /* A message whose sending failed is released and not counted. */
    assert_true(TEST_SOON(atomic_load(&test->released) >= atomic_load(&test->produced)));
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static struct test_server test;

static void short_and_late_calls_change_nothing(void **state)
{
    start(&test);
    for (int side = 0; side < 2; side++) {
        begin_fault(SHORT, side == 1, 0);
        assert_int_equal(converse(&test, DEADLINE_MS), MG_OK);
        assert_true(plan.calls > 20);
        check_server(&test);
    }
    test_server_end(&test);
}

static uint64_t calls_of(bool of_server)
{
    begin_fault(NO_FAULT, of_server, 0);
    assert_int_equal(converse(&test, DEADLINE_MS), MG_OK);
    uint64_t calls = plan.calls;
    check_server(&test);
    return calls;
}

static void a_cut_at_each_call(void **state)
{
    uint64_t cuts = 0, failed = 0;
    start(&test);
    for (int side = 0; side < 2; side++) {
        uint64_t calls = calls_of(side == 1);
        assert_true(calls > 8);
        for (uint64_t nth = 1; nth <= calls; nth++)
            for (enum fault fault = RESET; fault <= CLOSED; fault++) {
                begin_fault(fault, side == 1, nth);
                failed += converse(&test, DEADLINE_MS) != MG_OK;
                check_server(&test);
                cuts++;
            }
    }
    print_message("%llu cuts, %llu conversations broken off\n", (unsigned long long)cuts, (unsigned long long)failed);
    assert_true(failed > cuts / 2);
    test_server_end(&test);
}

/* The client gives up by its deadline, the server by its own clocks: the plan stays until nobody is connected. */
static void a_peer_that_goes_silent_at_each_call(void **state)
{
    uint64_t cuts = 0, failed = 0;
    start(&test);
    for (int side = 0; side < 2; side++) {
        uint64_t calls = calls_of(side == 1);
        for (uint64_t nth = 1; nth <= calls; nth += 1 + calls / 12) {
            begin_fault(HALF_OPEN, side == 1, nth);
            failed += converse(&test, SILENT_DEADLINE_MS) != MG_OK;
            assert_true(TEST_SOON(connections(&test) == 0));
            check_server(&test);
            cuts++;
        }
    }
    print_message("%llu silences, %llu conversations broken off\n", (unsigned long long)cuts,
                  (unsigned long long)failed);
    assert_true(failed > cuts / 2);
    test_server_end(&test);
}

/* ---- threads that cannot be started -------------------------------------------------------------------------- */

static int starts_left;

static int refuse_nth(void *arg, const char *name) { return starts_left-- == 0 ? EAGAIN : 0; }

static int refuse_calls(void *arg, const char *name) { return strncmp(name, "grpc-call", 9) == 0 ? EAGAIN : 0; }

static int refuse_watch(void *arg, const char *name) { return strcmp(name, "grpc-watch") == 0 ? EAGAIN : 0; }

static void threads_that_cannot_start(void **state)
{
    static const struct mg_thread_hooks nth = {.start = refuse_nth}, calls = {.start = refuse_calls},
                                        watch = {.start = refuse_watch};
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_client *client;
    struct mg_slice answer;
    int refused = 0;
    for (int left = 0;; left++) {
        starts_left = left;
        mg_thread_hook(&nth);
        enum mg_code code = test_server_start(&test, (struct mg_grpc_server_options){.io_threads = 2}, "127.0.0.1:0",
                                              &err);
        mg_thread_hook(NULL);
        if (code == MG_OK)
            break;
        assert_int_equal(code, MG_NO_MEMORY);
        assert_non_null(strstr(err.text, "could not start the thread grpc-"));
        test_server_end(&test);
        refused++;
    }
    assert_true(refused >= 3); /* two for I/O, one that accepts */
    mg_thread_hook(&watch);
    assert_ok(mg_grpc_client_connect(test.address, NULL, &client, &err));
    assert_code(MG_NO_MEMORY, mg_grpc_client_begin(client, "/test.Test/Bidi", DEADLINE_MS, &err));
    assert_non_null(strstr(err.text, "could not start the thread grpc-watch"));
    mg_thread_hook(&calls);
    enum mg_code code = mg_grpc_client_unary(client, "/test.Test/Unary", DEADLINE_MS, MG_SLICE("x", 1), &answer, &err);
    assert_true(code != MG_OK && err.text[0]);
    mg_thread_hook(NULL);
    assert_ok(mg_grpc_client_unary(client, "/test.Test/Unary", DEADLINE_MS, MG_SLICE("x", 1), &answer, &err));
    mg_grpc_client_close(client);
    test_server_end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_and_late_calls_change_nothing),
        cmocka_unit_test(a_cut_at_each_call),
        cmocka_unit_test(a_peer_that_goes_silent_at_each_call),
        cmocka_unit_test(threads_that_cannot_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
