/* call_test.c -- calls of each kind between our client and our server, on TCP and unix sockets; how they end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "grpc/grpc_testing.h"

static struct mg_error err;
static struct test_server test;

static struct mg_grpc_client *connect_client(void)
{
    struct mg_grpc_client *client;
    assert_ok(mg_grpc_client_connect(test.address, NULL, &client, &err));
    return client;
}

static int start(void **state)
{
    assert_ok(test_server_start(&test, (struct mg_grpc_server_options){.message_max = 100 << 20}, "127.0.0.1:0", &err));
    return 0;
}

static int start_unix(void **state)
{
    char address[128];
    snprintf(address, sizeof address, "unix:/tmp/magic-grpc-%d.sock", (int)getpid());
    assert_ok(test_server_start(&test, (struct mg_grpc_server_options){.io_threads = 2}, address, &err));
    return 0;
}

static int stop(void **state)
{
    test_server_end(&test);
    return 0;
}

static void check_unary(struct mg_grpc_client *client, const char *path, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 >> 2);
    struct mg_slice response;
    assert_ok(mg_grpc_client_unary(client, path, 60000, MG_SLICE(bytes, size), &response, &err));
    assert_int_equal(mg_grpc_client_status(client), 0);
    assert_true(mg_slice_equal(response, MG_SLICE(bytes, size)));
    free(bytes);
}

static void test_unary_sizes(void **state)
{
    struct mg_grpc_client *client = connect_client();
    static const size_t sizes[] = {0, 1, 4, 5, 511, 512, 513, 4096, 4097, 16384, 65535, 65536, 1 << 20, 5000000};
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++) {
        check_unary(client, "/test.Test/Echo", sizes[i]);
        check_unary(client, "/test.Test/Unary", sizes[i]);
    }
    mg_grpc_client_close(client);
}

static void test_64_mib(void **state)
{
    struct mg_grpc_client *client = connect_client();
    check_unary(client, "/test.Test/Unary", 64 << 20);
    mg_grpc_client_close(client);
}

static void begin_stream(struct mg_grpc_client *client, uint32_t count, uint32_t size)
{
    uint8_t request[8];
    mg_store_le32(request, count);
    mg_store_le32(request + 4, size);
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Stream", 0, &err));
    assert_ok(mg_grpc_client_send(client, &(struct iovec){request, 8}, 1, &err));
    assert_ok(mg_grpc_client_half_close(client, &err));
}

static void test_server_streaming(void **state)
{
    struct mg_grpc_client *client = connect_client();
    static const struct {
        uint32_t count, size;
    } runs[] = {{0, 0}, {1, 0}, {1000, 0}, {1000, 10}, {300, 700}, {50, 100000}, {20, 3000000}};
    unsigned produced = 0;
    for (size_t r = 0; r < MG_COUNT_OF(runs); r++) {
        begin_stream(client, runs[r].count, runs[r].size);
        struct mg_slice message;
        for (uint32_t i = 0; i < runs[r].count; i++) {
            assert_ok(mg_grpc_client_receive(client, &message, &err));
            assert_int_equal(message.size, runs[r].size);
            for (size_t at = 0; at < message.size; at += TEST_BLOCK)
                assert_memory_equal(message.data + at, test.block, MG_MIN(message.size - at, (size_t)TEST_BLOCK));
        }
        assert_code(MG_NOT_FOUND, mg_grpc_client_receive(client, &message, &err));
        assert_int_equal(mg_grpc_client_status(client), 0);
        mg_grpc_client_end(client);
        produced += runs[r].count;
    }
    assert_int_equal(test.produced, produced);
    assert_true(TEST_SOON(test.released == produced));
    mg_grpc_client_close(client);
}

static void test_client_streaming(void **state)
{
    struct mg_grpc_client *client = connect_client();
    uint8_t bytes[20000] = {1};
    uint64_t sum = 0;
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Collect", 0, &err));
    for (size_t i = 0; i < 2000; i++) {
        struct iovec pieces[3] = {{bytes, i * 3}, {bytes, 0}, {bytes + 1, i * 7}};
        assert_ok(mg_grpc_client_send(client, pieces, 3, &err));
        sum += i * 10;
    }
    assert_ok(mg_grpc_client_half_close(client, &err));
    struct mg_slice answer, more;
    assert_ok(mg_grpc_client_receive(client, &answer, &err));
    assert_int_equal(answer.size, 16);
    assert_int_equal(mg_load_le64(answer.data), 2000);
    assert_int_equal(mg_load_le64(answer.data + 8), sum);
    assert_code(MG_NOT_FOUND, mg_grpc_client_receive(client, &more, &err));
    mg_grpc_client_close(client);
}

static void test_bidi_turns(void **state)
{
    struct mg_grpc_client *client = connect_client();
    uint8_t bytes[100000];
    memset(bytes, 5, sizeof bytes);
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Bidi", 0, &err));
    struct mg_slice answer;
    for (size_t i = 0; i < 300; i++) {
        bytes[i] = (uint8_t)i;
        assert_ok(mg_grpc_client_send(client, &(struct iovec){bytes, i * 300}, 1, &err));
        assert_ok(mg_grpc_client_receive(client, &answer, &err));
        assert_true(mg_slice_equal(answer, MG_SLICE(bytes, i * 300)));
    }
    /* Several under way. */
    for (size_t i = 0; i < 100; i++)
        assert_ok(mg_grpc_client_send(client, &(struct iovec){bytes, i}, 1, &err));
    assert_ok(mg_grpc_client_half_close(client, &err));
    for (size_t i = 0; i < 100; i++) {
        assert_ok(mg_grpc_client_receive(client, &answer, &err));
        assert_true(mg_slice_equal(answer, MG_SLICE(bytes, i)));
    }
    assert_code(MG_NOT_FOUND, mg_grpc_client_receive(client, &answer, &err));
    assert_int_equal(mg_grpc_client_status(client), 0);
    mg_grpc_client_close(client);
}

static void test_errors(void **state)
{
    struct mg_grpc_client *client = connect_client();
    struct mg_slice response;
    uint8_t request[64];
    static const char text[] = "caf\xc3\xa9 100%\n\"x\"";
    for (uint32_t code = MG_INVALID; code <= MG_STOPPED; code++) {
        mg_store_le32(request, code);
        memcpy(request + 4, text, sizeof text - 1);
        struct mg_slice whole = MG_SLICE(request, 4 + sizeof text - 1);
        assert_code(code, mg_grpc_client_unary(client, "/test.Test/Fail", 0, whole, &response, &err));
        assert_string_equal(err.text, text);
        assert_int_equal(mg_grpc_client_status(client), mg_code_grpc_status(code));
        assert_string_equal(mg_grpc_client_header(client, "magic-code"), mg_code_name(code));
        assert_string_equal(mg_grpc_client_header(client, "x-detail"), "why");
        assert_string_equal(mg_grpc_client_header(client, "x-detail-bin"), "AAEC/w");
    }
    assert_code(MG_UNIMPLEMENTED,
                mg_grpc_client_unary(client, "/test.Test/Nothing", 0, MG_SLICE("", 0), &response, &err));
    assert_int_equal(mg_grpc_client_status(client), MG_GRPC_UNIMPLEMENTED);
    assert_string_equal(err.text, "unknown method /test.Test/Nothing");
    check_unary(client, "/test.Test/Echo", 100);
    mg_grpc_client_close(client);
}

static void test_metadata(void **state)
{
    struct mg_grpc_client *client = connect_client();
    struct mg_slice response;
    assert_ok(mg_grpc_client_set_header(client, "x-one", "1", &err));
    assert_ok(mg_grpc_client_set_header(client, "x-two", "a b = c", &err));
    assert_ok(mg_grpc_client_set_header(client, "x-one", "one", &err));
    assert_code(MG_INVALID, mg_grpc_client_set_header(client, "X-Upper", "1", &err));
    assert_code(MG_INVALID, mg_grpc_client_set_header(client, "grpc-x", "1", &err));
    assert_code(MG_INVALID, mg_grpc_client_set_header(client, "x-line", "a\nb", &err));
    assert_ok(mg_grpc_client_unary(client, "/test.Test/Headers", 0, MG_SLICE("x", 1), &response, &err));
    assert_string_equal(mg_grpc_client_header(client, "x-one"), "one");
    assert_string_equal(mg_grpc_client_header(client, "x-trailer-x-two"), "a b = c");
    assert_null(mg_grpc_client_header(client, "x-three"));
    mg_grpc_client_close(client);
}

static void test_deadline(void **state)
{
    struct mg_grpc_client *client = connect_client();
    struct mg_slice response;
    assert_code(MG_TIMEOUT, mg_grpc_client_unary(client, "/test.Test/Wait", 50, MG_SLICE("x", 1), &response, &err));
    assert_int_equal(mg_grpc_client_status(client), MG_GRPC_DEADLINE_EXCEEDED);
    assert_true(TEST_SOON(test.waited == MG_TIMEOUT || test.waited == MG_CANCELLED));
    assert_true(TEST_SOON(test.waiting == 0));
    check_unary(client, "/test.Test/Echo", 100);
    mg_grpc_client_close(client);
}

static void test_cancel(void **state)
{
    struct mg_grpc_client *client = connect_client();
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Wait", 0, &err));
    assert_true(TEST_SOON(test.waiting == 1));
    mg_grpc_client_end(client);
    assert_int_equal(mg_grpc_client_status(client), MG_GRPC_CANCELLED);
    assert_true(TEST_SOON(test.waiting == 0));
    assert_int_equal(test.waited, MG_CANCELLED);
    check_unary(client, "/test.Test/Unary", 100);

    /* In the middle of a stream that the client does not read. */
    begin_stream(client, 1000, 1 << 20);
    struct mg_slice message;
    assert_ok(mg_grpc_client_receive(client, &message, &err));
    mg_grpc_client_end(client);
    check_unary(client, "/test.Test/Unary", 100);
    assert_true(TEST_SOON(test.released >= test.produced));
    assert_true(test.produced < 1000);
    mg_grpc_client_close(client);
}

static void test_client_vanishes(void **state)
{
    struct mg_grpc_client *client = connect_client();
    begin_stream(client, 100000, 1 << 20);
    struct mg_slice message;
    assert_ok(mg_grpc_client_receive(client, &message, &err));
    struct mg_grpc_client *other = connect_client();
    assert_ok(mg_grpc_client_begin(other, "/test.Test/Wait", 0, &err));
    assert_true(TEST_SOON(test.waiting == 1));
    mg_grpc_client_close(client);
    mg_grpc_client_close(other);
    assert_true(TEST_SOON(test.waiting == 0));
    assert_int_equal(test.waited, MG_CANCELLED);
    struct mg_grpc_server_stats stats;
    assert_true(TEST_SOON((mg_grpc_server_stats(test.server, &stats), stats.calls == 0 && stats.connections == 0)));
    assert_int_equal(stats.queued_bytes, 0);
    assert_true(test.released >= test.produced);
}

static void test_slow_reader(void **state)
{
    struct mg_grpc_client *slow = connect_client();
    begin_stream(slow, 1000, 1 << 20);
    struct mg_slice message;
    assert_ok(mg_grpc_client_receive(slow, &message, &err));
    /* Output queue 4 MiB, client's window 8 MiB, sockets some more. */
    unsigned produced = test_settled(&test);
    assert_true(produced < 40);
    struct mg_grpc_client *other = connect_client();
    for (int i = 0; i < 50; i++)
        check_unary(other, "/test.Test/Unary", 100000);
    mg_grpc_client_close(other);
    assert_int_equal(test.produced, produced);
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(test.server, &stats);
    assert_true(stats.queued_bytes <= (4 << 20) + (1 << 20) + 5);
    /* It goes on where it stopped. */
    for (int i = 1; i < 1000; i++)
        assert_ok(mg_grpc_client_receive(slow, &message, &err));
    assert_code(MG_NOT_FOUND, mg_grpc_client_receive(slow, &message, &err));
    mg_grpc_client_close(slow);
}

static void test_too_large(void **state)
{
    struct mg_grpc_client *client = connect_client();
    struct mg_slice response;
    size_t size = (100 << 20) + 1;
    uint8_t *bytes = calloc(1, size);
    static const char *const paths[] = {"/test.Test/Unary", "/test.Test/Echo"};
    for (int i = 0; i < 2; i++) {
        assert_code(MG_TOO_BIG, mg_grpc_client_unary(client, paths[i], 0, MG_SLICE(bytes, size), &response, &err));
        assert_int_equal(mg_grpc_client_status(client), MG_GRPC_RESOURCE_EXHAUSTED);
        assert_string_equal(err.text, "grpc: received message larger than max (104857601 vs. 104857600)");
        check_unary(client, paths[i], 100);
    }
    free(bytes);
    mg_grpc_client_close(client);

    /* And the client's own limit. */
    struct mg_grpc_client_options options = {.message_max = 1000};
    assert_ok(mg_grpc_client_connect(test.address, &options, &client, &err));
    uint8_t request[1001] = {0};
    assert_code(MG_TOO_BIG,
                mg_grpc_client_unary(client, "/test.Test/Unary", 0, MG_SLICE(request, 1001), &response, &err));
    check_unary(client, "/test.Test/Unary", 1000);
    mg_grpc_client_close(client);
}

/* What is on its way when a call is refused or cancelled must not cost the connection's window for good. */
static void test_window_survives_refusals(void **state)
{
    struct mg_grpc_client *client = connect_client();
    size_t size = 4 << 20;
    uint8_t *bytes = calloc(1, size);
    struct mg_slice response;
    for (int i = 0; i < 60; i++) {
        mg_store_le32(bytes, MG_INVALID);
        /* Fails as soon as the first message is there, while more comes. */
        assert_ok(mg_grpc_client_begin(client, "/test.Test/Fail", 0, &err));
        enum mg_code code = MG_OK;
        while (code == MG_OK)
            code = mg_grpc_client_send(client, &(struct iovec){bytes, 100000}, 1, &err);
        assert_int_equal(code, MG_INVALID);
        mg_grpc_client_end(client);
        /* Cancelled in the middle of an upload that nobody reads. */
        assert_ok(mg_grpc_client_begin(client, "/test.Test/Held", 20, &err));
        test.hold = true;
        while (mg_grpc_client_send(client, &(struct iovec){bytes, size}, 1, &err) == MG_OK)
            ;
        mg_grpc_client_end(client);
        test.hold = false;
    }
    assert_ok(mg_grpc_client_unary(client, "/test.Test/Unary", 20000, MG_SLICE(bytes, size), &response, &err));
    free(bytes);
    mg_grpc_client_close(client);
}

struct caller {
    struct mg_thread thread;
    size_t size;
    bool good;
};

static void call_later(void *arg)
{
    struct caller *caller = arg;
    struct mg_grpc_client *client;
    struct mg_slice response;
    struct mg_error e = MG_ERROR_INIT;
    uint8_t *bytes = calloc(1, caller->size + 1);
    if (mg_grpc_client_connect(test.address, NULL, &client, &e) == MG_OK) {
        caller->good = true;
        for (int i = 0; i < 20 && caller->good; i++)
            caller->good = mg_grpc_client_unary(client, "/test.Test/Later", 60000, MG_SLICE(bytes, caller->size),
                                                &response, &e) == MG_OK &&
                           mg_slice_equal(response, MG_SLICE(bytes, caller->size));
        mg_grpc_client_close(client);
    }
    free(bytes);
}

static void test_async_batches(void **state)
{
    struct caller callers[16] = {{.size = 0}};
    for (size_t i = 0; i < MG_COUNT_OF(callers); i++) {
        callers[i].size = i * 1000;
        assert_ok(mg_thread_start(&callers[i].thread, "caller", call_later, &callers[i], &err));
    }
    for (int i = 0; i < 20; i++)
        test_later_answer(&test, MG_COUNT_OF(callers));
    for (size_t i = 0; i < MG_COUNT_OF(callers); i++) {
        mg_thread_join(&callers[i].thread);
        assert_true(callers[i].good);
    }
}

static void test_async_client_gone(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct mg_grpc_client *client = connect_client();
        assert_ok(mg_grpc_client_begin(client, "/test.Test/Later", 0, &err));
        assert_ok(mg_grpc_client_send(client, &(struct iovec){(void *)(uintptr_t) "hello", 5}, 1, &err));
        assert_ok(mg_grpc_client_half_close(client, &err));
        mg_mutex_lock(&test.lock);
        while (test.later_count == 0)
            mg_cond_wait(&test.changed, &test.lock);
        mg_mutex_unlock(&test.lock);
        if (i % 2)
            mg_grpc_client_end(client);
        mg_grpc_client_close(client);
        assert_true(TEST_SOON(mg_grpc_call_cancelled(test.later[0])));
        test_later_answer(&test, 1);
    }
}

static int start_impatient(void **state)
{
    struct mg_grpc_server_options options = {.keepalive_ms = 1200};
    assert_ok(test_server_start(&test, options, "127.0.0.1:0", &err));
    return 0;
}

/* Who computes between two messages for longer than the server waits for a ping is alive all the same. */
static void test_owner_is_busy_elsewhere(void **state)
{
    struct mg_grpc_client *client = connect_client();
    struct mg_slice answer;
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Bidi", 0, &err));
    for (int i = 0; i < 2; i++) {
        assert_ok(mg_grpc_client_send(client, &(struct iovec){(void *)(uintptr_t) "x", 1}, 1, &err));
        assert_ok(mg_grpc_client_receive(client, &answer, &err));
        if (i == 0)
            usleep(3500000);
    }
    mg_grpc_client_close(client);
}

static void stop_server(void *arg) { mg_grpc_server_stop(test.server, 200); }

static void test_stop_with_calls(void **state)
{
    struct mg_grpc_client *waiting = connect_client(), *reading = connect_client(), *idle = connect_client();
    assert_ok(mg_grpc_client_begin(waiting, "/test.Test/Wait", 0, &err));
    begin_stream(reading, 100000, 1 << 20);
    struct mg_slice message;
    assert_ok(mg_grpc_client_receive(reading, &message, &err));
    assert_true(TEST_SOON(test.waiting == 1));
    struct mg_thread thread = {.running = false};
    assert_ok(mg_thread_start(&thread, "stopper", stop_server, NULL, &err));
    assert_code(MG_CANCELLED, mg_grpc_client_receive(waiting, &message, &err));
    assert_int_equal(mg_grpc_client_status(waiting), MG_GRPC_UNAVAILABLE);
    assert_string_equal(err.text, "the server is stopping");
    mg_thread_join(&thread);
    enum mg_code code;
    while ((code = mg_grpc_client_receive(reading, &message, &err)) == MG_OK)
        ;
    assert_int_equal(mg_grpc_client_status(reading), MG_GRPC_UNAVAILABLE);
    assert_code(MG_UNAVAILABLE, mg_grpc_client_begin(idle, "/test.Test/Wait", 0, &err));
    mg_grpc_client_close(waiting);
    mg_grpc_client_close(reading);
    mg_grpc_client_close(idle);
    assert_true(test.released >= test.produced);
}

static void test_stop_waits(void **state)
{
    struct mg_grpc_client *client = connect_client();
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Bidi", 0, &err));
    struct mg_slice message;
    assert_ok(mg_grpc_client_send(client, &(struct iovec){(void *)(uintptr_t) "a", 1}, 1, &err));
    assert_ok(mg_grpc_client_receive(client, &message, &err));
    struct mg_thread thread = {.running = false};
    static const int64_t grace_ms = 10000;
    int64_t begun_ms = mg_mono_ms(mg_clock_system());
    assert_ok(mg_thread_start(&thread, "stopper", (void (*)(void *))(void *)stop_server, NULL, &err));
    usleep(50000);
    /* The running call still works, and when it ends the server does. */
    assert_ok(mg_grpc_client_send(client, &(struct iovec){(void *)(uintptr_t) "b", 1}, 1, &err));
    assert_ok(mg_grpc_client_receive(client, &message, &err));
    assert_ok(mg_grpc_client_half_close(client, &err));
    assert_code(MG_NOT_FOUND, mg_grpc_client_receive(client, &message, &err));
    mg_thread_join(&thread);
    assert_true(mg_mono_ms(mg_clock_system()) - begun_ms < grace_ms);
    mg_grpc_client_close(client);
}

static void test_interrupt(void **state)
{
    struct mg_grpc_client *client = connect_client();
    assert_ok(mg_grpc_client_begin(client, "/test.Test/Wait", 0, &err));
    struct mg_thread thread = {.running = false};
    assert_ok(mg_thread_start(&thread, "interrupt", (void (*)(void *))mg_grpc_client_interrupt, client, &err));
    struct mg_slice message;
    assert_code(MG_UNAVAILABLE, mg_grpc_client_receive(client, &message, &err));
    mg_thread_join(&thread);
    mg_grpc_client_close(client);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define U(name)                                       \
    {                                                 \
#name " (unix)", name, start_unix, stop, NULL \
    }
    const struct CMUnitTest tests[] = {
        T(test_unary_sizes),
        U(test_unary_sizes),
        T(test_64_mib),
        T(test_server_streaming),
        U(test_server_streaming),
        T(test_client_streaming),
        U(test_client_streaming),
        T(test_bidi_turns),
        U(test_bidi_turns),
        T(test_errors),
        T(test_metadata),
        T(test_deadline),
        T(test_cancel),
        T(test_client_vanishes),
        U(test_client_vanishes),
        T(test_slow_reader),
        T(test_too_large),
        T(test_window_survives_refusals),
        {"test_owner_is_busy_elsewhere", test_owner_is_busy_elsewhere, start_impatient, stop, NULL},
        T(test_async_batches),
        U(test_async_batches),
        T(test_async_client_gone),
        T(test_stop_with_calls),
        T(test_stop_waits),
        T(test_interrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
