/* connection_test.c -- what a server does with clients that are wrong, hostile, slow or dead: frames by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"
#include "base/testing.h"
#include "grpc/grpc_testing.h"
#include "grpc/grpc_wire.h"

static struct mg_error err;
static struct test_server test;
static struct wire_frame frame;
static struct mg_budget budget;

enum { WINDOW = 1 << 20 };

static void serve(struct mg_grpc_server_options options)
{
    assert_ok(test_server_start(&test, options, "127.0.0.1:0", &err));
}

static void connect_to(struct wire *wire)
{
    wire_connect(wire, test.address);
    wire_hello(wire, WINDOW);
    assert_true(wire_flush(wire));
    assert_true(wire_expect(wire, &frame, NGHTTP2_SETTINGS, 0));
}

/* The server still answers. */
static void check_serves(void)
{
    struct mg_grpc_client *client;
    struct mg_slice response;
    assert_ok(mg_grpc_client_connect(test.address, NULL, &client, &err));
    assert_ok(mg_grpc_client_unary(client, "/test.Test/Echo", 0, MG_SLICE("hello", 5), &response, &err));
    mg_grpc_client_close(client);
}

static uint32_t open_calls(void)
{
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(test.server, &stats);
    return stats.calls;
}

static void check_status(struct wire *wire, int32_t stream_id, const char *status, const char *code)
{
    assert_true(wire_expect(wire, &frame, NGHTTP2_HEADERS, stream_id));
    if (!frame.status[0])
        assert_true(wire_expect(wire, &frame, NGHTTP2_HEADERS, stream_id));
    assert_string_equal(frame.status, status);
    assert_string_equal(frame.code, code);
    assert_true(frame.flags & NGHTTP2_FLAG_END_STREAM);
}

static void test_not_http2(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    static const char *const texts[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /test.Test/Echo HTTP/1.1\r\nContent-Type: application/grpc\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello, or so it seems",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    };
    for (size_t i = 0; i < MG_COUNT_OF(texts); i++) {
        struct wire wire;
        wire_connect(&wire, test.address);
        wire_bytes(&wire, texts[i], strlen(texts[i]));
        wire_flush(&wire);
        assert_true(wire_closed(&wire, 5000));
        wire_clear(&wire);
    }
    /* The preface, then noise. */
    struct wire wire;
    uint8_t noise[1000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * i * 7 + 3);
    connect_to(&wire);
    wire_bytes(&wire, noise, sizeof noise);
    wire_flush(&wire);
    assert_true(wire_closed(&wire, 5000));
    wire_clear(&wire);
    check_serves();
    test_server_end(&test);
}

static void test_handshake_time(void **state)
{
    serve((struct mg_grpc_server_options){.handshake_ms = 300});
    struct wire silent, half;
    wire_connect(&silent, test.address);
    wire_connect(&half, test.address);
    wire_bytes(&half, NGHTTP2_CLIENT_MAGIC, 10);
    wire_flush(&half);
    assert_true(wire_closed(&silent, 5000));
    assert_true(wire_closed(&half, 5000));
    wire_clear(&silent);
    wire_clear(&half);
    check_serves();
    test_server_end(&test);
}

static void test_header_limit(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    static char value[40001];
    memset(value, 'v', sizeof value - 1);
    struct wire wire;
    connect_to(&wire);
    wire_request(&wire, 1, "/test.Test/Unary", "x-large", value);
    wire_message(&wire, 1, true, "a", 1);
    wire_flush(&wire);
    check_status(&wire, 1, "8", "TOO_BIG");
    /* Just below it goes through: names, values and 32 for each. */
    value[15000] = 0;
    wire_request(&wire, 3, "/test.Test/Unary", "x-large", value);
    wire_message(&wire, 3, true, "a", 1);
    wire_flush(&wire);
    check_status(&wire, 3, "0", "");
    /* A block that never ends is the end of the connection. */
    uint8_t pad[1000] = {0};
    wire_frame(&wire, NGHTTP2_HEADERS, 0, 5, pad, 1);
    for (int i = 0; i < 2000; i++)
        wire_frame(&wire, NGHTTP2_CONTINUATION, 0, 5, pad, sizeof pad);
    wire_flush(&wire);
    assert_true(wire_closed(&wire, 5000));
    wire_clear(&wire);
    check_serves();
    test_server_end(&test);
}

#define GOOD ":method", "POST", ":scheme", "http", ":path", "/test.Test/Echo"
#define HOST ":authority", "localhost"
#define GRPC "content-type", "application/grpc", "te", "trailers"

/* Both kinds of server must judge alike, except for the authority. */
static void check_malformed(bool any_authority)
{
    serve((struct mg_grpc_server_options){.any_authority = any_authority});
    static const char *const malformed[][20] = {
        {":method", "POST", ":scheme", "http", HOST, GRPC, NULL},
        {":method", "POST", ":path", "/test.Test/Echo", HOST, GRPC, NULL},
        {":scheme", "http", ":path", "/test.Test/Echo", HOST, GRPC, NULL},
        {GOOD, HOST, ":path", "/other", GRPC, NULL},
        {GOOD, HOST, ":unknown", "x", GRPC, NULL},
        {GOOD, HOST, ":status", "200", GRPC, NULL},
        {GOOD, GRPC, ":authority", "late", NULL},
        {GOOD, HOST, GRPC, "Upper", "x", NULL},
        {GOOD, HOST, GRPC, "sp ace", "x", NULL},
        {GOOD, HOST, GRPC, "x-line", "a\nb", NULL},
        {GRPC, NULL},
    };
    struct wire wire;
    for (size_t i = 0; i < MG_COUNT_OF(malformed); i++) {
        connect_to(&wire);
        wire_headers(&wire, 1, NGHTTP2_FLAG_END_STREAM, malformed[i]);
        wire_flush(&wire);
        /* nghttp2 leaves some headers out where it checks itself; then the request is answered as far as it goes. */
        bool reset = false, answered = false;
        while (!reset && !answered && wire_next(&wire, &frame, 5000)) {
            reset = frame.type == NGHTTP2_RST_STREAM;
            answered = frame.type == NGHTTP2_HEADERS;
        }
        assert_true(reset || (answered && !any_authority && strcmp(frame.status, "0") != 0));
        if (reset)
            assert_int_equal(mg_load_be32(frame.payload), NGHTTP2_PROTOCOL_ERROR);
        wire_clear(&wire);
    }
    static const char *const get[] = {":method",         "GET", ":scheme", "http", ":path",
                                      "/test.Test/Echo", HOST,  GRPC,      NULL};
    static const char *const json[] = {GOOD, HOST, "content-type", "application/json", NULL};
    static const char *const bare[] = {GOOD, HOST, NULL};
    static const char *const near[] = {GOOD, HOST, "content-type", "application/grpcx", NULL};
    static const struct {
        const char *const *pairs;
        const char *http_status;
    } refused[] = {{get, "405"}, {json, "415"}, {bare, "415"}, {near, "415"}};
    connect_to(&wire);
    for (size_t i = 0; i < MG_COUNT_OF(refused); i++) {
        int32_t stream_id = (int32_t)(2 * i + 1);
        wire_headers(&wire, stream_id, 0, refused[i].pairs);
        wire_message(&wire, stream_id, true, "x", 1);
        wire_flush(&wire);
        assert_true(wire_expect(&wire, &frame, NGHTTP2_HEADERS, stream_id));
        assert_string_equal(frame.http_status, refused[i].http_status);
    }
    wire_clear(&wire);

    static const char *const authorities[] = {"localhost", "%2Ftmp%2Fx", "/tmp/x.sock", "unix:/tmp/x", ""};
    for (size_t i = 0; i < MG_COUNT_OF(authorities); i++) {
        const char *const pairs[] = {GOOD, ":authority", authorities[i], GRPC, NULL};
        connect_to(&wire);
        wire_headers(&wire, 1, 0, pairs);
        wire_message(&wire, 1, true, "x", 1);
        wire_flush(&wire);
        if (any_authority)
            check_status(&wire, 1, "0", "");
        else if (authorities[i][0] == '/')
            assert_true(wire_expect(&wire, &frame, NGHTTP2_RST_STREAM, 1));
        wire_clear(&wire);
    }
    check_serves();
    test_server_end(&test);
}

static void test_malformed(void **state) { check_malformed(false); }

static void test_malformed_any_authority(void **state) { check_malformed(true); }

static void test_broken_messages(void **state)
{
    serve((struct mg_grpc_server_options){.message_max = 1000});
    static const uint8_t compressed[] = {1, 0, 0, 0, 1, 'x'}, flag[] = {7, 0, 0, 0, 1, 'x'},
                         cut[] = {0, 0, 0, 0, 9, 'x'}, two[] = {0, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 1, 'y'},
                         large[] = {0, 0xff, 0xff, 0xff, 0xff, 'x'}, half[] = {0, 0, 0};
    static const struct {
        const char *path;
        const uint8_t *bytes;
        size_t size;
        const char *status, *code;
    } cases[] = {
        {"/test.Test/Echo", compressed, sizeof compressed, "12", "UNIMPLEMENTED"},
        {"/test.Test/Echo", flag, sizeof flag, "13", "PROTOCOL"},
        {"/test.Test/Echo", cut, sizeof cut, "13", "PROTOCOL"},
        {"/test.Test/Echo", half, sizeof half, "13", "PROTOCOL"},
        {"/test.Test/Echo", two, sizeof two, "13", "PROTOCOL"},
        {"/test.Test/Echo", NULL, 0, "13", "PROTOCOL"},
        {"/test.Test/Echo", large, sizeof large, "8", "TOO_BIG"},
        {"/test.Test/Bidi", compressed, sizeof compressed, "12", "UNIMPLEMENTED"},
        {"/test.Test/Bidi", flag, sizeof flag, "13", "PROTOCOL"},
        {"/test.Test/Bidi", half, sizeof half, "13", "PROTOCOL"},
        {"/test.Test/Bidi", cut, sizeof cut, "13", "PROTOCOL"},
        {"/test.Test/Collect", large, sizeof large, "8", "TOO_BIG"},
        {"/test.Test/Collect", cut, sizeof cut, "13", "PROTOCOL"},
        {"/test.Test/Unary", NULL, 0, "5", "NOT_FOUND"},
    };
    struct wire wire;
    connect_to(&wire);
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        int32_t stream_id = (int32_t)(2 * i + 1);
        wire_request(&wire, stream_id, cases[i].path, NULL, NULL);
        wire_frame(&wire, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, stream_id, cases[i].bytes, cases[i].size);
        wire_flush(&wire);
        check_status(&wire, stream_id, cases[i].status, cases[i].code);
    }
    /* One byte a frame. */
    static const uint8_t message[] = {0, 0, 0, 0, 3, 'a', 'b', 'c'};
    wire_request(&wire, 101, "/test.Test/Unary", NULL, NULL);
    for (size_t i = 0; i < sizeof message; i++)
        wire_frame(&wire, NGHTTP2_DATA, i + 1 == sizeof message ? NGHTTP2_FLAG_END_STREAM : 0, 101, message + i, 1);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 101));
    assert_int_equal(frame.size, sizeof message);
    assert_memory_equal(frame.payload, message, sizeof message);
    check_status(&wire, 101, "0", "");
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    test_server_end(&test);
}

static void test_request_headers(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    static const struct {
        const char *name, *value, *status, *code;
    } cases[] = {
        {"grpc-encoding", "gzip", "12", "UNIMPLEMENTED"},
        {"grpc-encoding", "identity", "0", ""},
        {"grpc-timeout", "x", "3", "INVALID"},
        {"grpc-timeout", "123456789S", "3", "INVALID"},
        {"grpc-timeout", "99999999H", "0", ""},
        {"grpc-accept-encoding", "gzip", "0", ""},
    };
    struct wire wire;
    connect_to(&wire);
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        int32_t stream_id = (int32_t)(2 * i + 1);
        wire_request(&wire, stream_id, "/test.Test/Unary", cases[i].name, cases[i].value);
        wire_message(&wire, stream_id, true, "x", 1);
        wire_flush(&wire);
        check_status(&wire, stream_id, cases[i].status, cases[i].code);
    }
    /* The server watches the clock itself, in every state of a call. */
    static const char *const paths[] = {"/test.Test/Wait", "/test.Test/Unary", "/test.Test/Later", "/test.Test/Echo"};
    for (size_t i = 0; i < MG_COUNT_OF(paths); i++) {
        int32_t stream_id = (int32_t)(2 * i + 101);
        wire_request(&wire, stream_id, paths[i], "grpc-timeout", "30m");
        if (i == 2)
            wire_message(&wire, stream_id, true, "x", 1);
        wire_flush(&wire);
        check_status(&wire, stream_id, "4", "TIMEOUT");
    }
    assert_true(TEST_SOON(test.waited == MG_TIMEOUT));
    wire_clear(&wire);
    test_later_answer(&test, 1);
    test_server_end(&test);
}

static void test_window(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    struct wire wire;
    wire_connect(&wire, test.address);
    wire_hello(&wire, 0);
    wire_request(&wire, 1, "/test.Test/Echo", NULL, NULL);
    wire_message(&wire, 1, true, "hello", 5);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_HEADERS, 1));
    assert_false(wire_next(&wire, &frame, 50) && frame.type == NGHTTP2_DATA);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 1, 3);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 1));
    assert_int_equal(frame.size, 3);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 1, 100);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 1));
    assert_int_equal(frame.size, 7);
    check_status(&wire, 1, "0", "");
    /* What needs no window does not wait for it: a stream without messages, an early status. */
    uint8_t none[8] = {0}, many[8] = {0};
    many[0] = many[4] = 100;
    wire_request(&wire, 3, "/test.Test/Stream", NULL, NULL);
    wire_message(&wire, 3, true, none, 8);
    wire_request(&wire, 5, "/test.Test/Stream", "grpc-timeout", "50m");
    wire_message(&wire, 5, true, many, 8);
    wire_flush(&wire);
    check_status(&wire, 3, "0", "");
    check_status(&wire, 5, "4", "TIMEOUT");
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    test_server_end(&test);
}

/* A handler that does not read stops its client, and nobody else. */
static void test_unread_messages_are_bounded(void **state)
{
    mg_budget_init(&budget, "grpc", NULL, 64 << 20);
    serve((struct mg_grpc_server_options){.budget = &budget});
    size_t used = mg_budget_used(&budget);
    struct wire wire;
    connect_to(&wire);
    /* Empty messages, 5 bytes each, as many as the window takes. */
    test.hold = true;
    wire_request(&wire, 3, "/test.Test/Held", NULL, NULL);
    uint8_t empty[16000] = {0};
    size_t sent = 0;
    while (sent + sizeof empty <= MG_GRPC__STREAM_WINDOW) {
        wire_frame(&wire, NGHTTP2_DATA, 0, 3, empty, sizeof empty);
        sent += sizeof empty;
    }
    wire_flush(&wire);
    usleep(100000);
    assert_true(mg_budget_used(&budget) <= used + 4 * MG_GRPC__STREAM_WINDOW);
    while (wire_next(&wire, &frame, 50))
        assert_false(frame.type == NGHTTP2_WINDOW_UPDATE && frame.stream_id == 3);
    check_serves();
    /* When it reads, the window opens again. */
    test.hold = false;
    assert_true(wire_expect(&wire, &frame, NGHTTP2_WINDOW_UPDATE, 3));
    wire_message(&wire, 3, true, "x", 1);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 3));
    assert_int_equal(mg_load_le64(frame.payload + MG_GRPC__FRAME_HEAD), sent / 5 + 1);
    check_status(&wire, 3, "0", "");
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    assert_int_equal(mg_budget_used(&budget), used);
    test_server_end(&test);
}

static void test_budget(void **state)
{
    mg_budget_init(&budget, "grpc", NULL, 1 << 20);
    serve((struct mg_grpc_server_options){.budget = &budget});
    struct mg_grpc_client *client;
    struct mg_slice response;
    uint8_t *bytes = calloc(1, 4 << 20);
    assert_ok(mg_grpc_client_connect(test.address, NULL, &client, &err));
    static const char *const paths[] = {"/test.Test/Echo", "/test.Test/Unary"};
    for (int i = 0; i < 2; i++) {
        struct mg_slice large = MG_SLICE(bytes, 4 << 20), small = MG_SLICE(bytes, 100000);
        assert_code(MG_NO_MEMORY, mg_grpc_client_unary(client, paths[i], 0, large, &response, &err));
        assert_int_equal(mg_grpc_client_status(client), MG_GRPC_UNAVAILABLE);
        assert_ok(mg_grpc_client_unary(client, paths[i], 0, small, &response, &err));
    }
    mg_grpc_client_close(client);
    free(bytes);
    assert_true(TEST_SOON(open_calls() == 0));
    assert_int_equal(mg_budget_used(&budget), 0);
    test_server_end(&test);
}

struct sender {
    struct mg_grpc_client *client;
    struct mg_thread thread;
    uint32_t count, size;
    enum mg_code code;
    struct mg_error err;
    atomic_uint got_count;
};

/* Bytes that differ, so that one that is lost or comes twice is seen. */
static uint8_t *make_bytes(size_t size)
{
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((i * 2654435761u) >> 13);
    return bytes;
}

static enum mg_code echo_all(struct sender *sender, const uint8_t *bytes)
{
    struct mg_slice answer;
    for (uint32_t i = 0; i < sender->count; i++) {
        struct iovec piece = {(void *)(uintptr_t)(bytes + i), sender->size};
        MG_TRY(mg_grpc_client_send(sender->client, &piece, 1, &sender->err));
        if (i + 1 == sender->count)
            MG_TRY(mg_grpc_client_half_close(sender->client, &sender->err));
        MG_TRY(mg_grpc_client_receive(sender->client, &answer, &sender->err));
        mg_assert(mg_slice_equal(answer, MG_SLICE(bytes + i, sender->size)));
        sender->got_count++;
    }
    return MG_OK;
}

static void run_sender(void *arg)
{
    struct sender *sender = arg;
    uint8_t *bytes = make_bytes(sender->size + sender->count);
    sender->code = mg_grpc_client_begin(sender->client, "/test.Test/Bidi", 0, &sender->err);
    if (sender->code == MG_OK)
        sender->code = echo_all(sender, bytes);
    free(bytes);
}

static void start_sender(struct sender *sender, uint32_t count, uint32_t size)
{
    *sender = (struct sender){.count = count, .size = size};
    assert_ok(mg_grpc_client_connect(test.address, NULL, &sender->client, &err));
    assert_ok(mg_thread_start(&sender->thread, "sender", run_sender, sender, &err));
}

static void end_sender(struct sender *sender)
{
    mg_thread_join(&sender->thread);
    mg_grpc_client_close(sender->client);
}

/* All that is left but `left` bytes. */
static size_t fill_budget(size_t left)
{
    size_t bytes = mg_budget_left(&budget) - left;
    assert_ok(mg_budget_reserve(&budget, bytes, &err));
    return bytes;
}

static atomic_size_t asked;
static void note_asked(void *arg, size_t bytes) { atomic_fetch_add(&asked, bytes); }

/* Others have all memory: the stream waits, whatever is on its way, and goes on when they give some back. */
static void test_waits_for_memory(void **state)
{
    static const uint32_t sizes[] = {3000, 100000, 3 << 20};
    mg_budget_init(&budget, "grpc", NULL, 64 << 20);
    budget.give_way = note_asked;
    serve((struct mg_grpc_server_options){.budget = &budget});
    size_t used = mg_budget_used(&budget);
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++) {
        struct sender sender;
        uint64_t held = mg_counted(grpc_held);
        asked = 0;
        size_t others = fill_budget(sizes[i] / 2);
        start_sender(&sender, 3, sizes[i]);
        assert_true(TEST_SOON(mg_counted(grpc_held) > held));
        usleep(100000);
        assert_int_equal(sender.got_count, 0);
        assert_true(asked >= sizes[i]);
        check_serves();
        mg_budget_release(&budget, others);
        end_sender(&sender);
        assert_string_equal(sender.err.text, "");
        assert_int_equal(sender.code, MG_OK);
        assert_int_equal(sender.got_count, 3);
        assert_true(TEST_SOON(open_calls() == 0));
        assert_int_equal(mg_budget_used(&budget), used);
    }
    test_server_end(&test);
    assert_int_equal(mg_budget_used(&budget), 0);
}

/* It does not wait for ever, and not for what can never be there. */
static void test_waits_for_memory_in_vain(void **state)
{
    struct sender sender;
    mg_budget_init(&budget, "grpc", NULL, 32 << 20);
    serve((struct mg_grpc_server_options){.budget = &budget, .memory_wait_ms = 100});
    size_t others = fill_budget(1 << 20);
    start_sender(&sender, 1, 3 << 20);
    end_sender(&sender);
    assert_int_equal(sender.code, MG_NO_MEMORY);
    assert_non_null(strstr(sender.err.text, "no memory came free in 1"));
    mg_budget_release(&budget, others);
    start_sender(&sender, 1, 40 << 20);
    end_sender(&sender);
    assert_int_equal(sender.code, MG_NO_MEMORY);
    assert_null(strstr(sender.err.text, "no memory came free"));
    assert_true(TEST_SOON(open_calls() == 0));
    test_server_end(&test);
    assert_int_equal(mg_budget_used(&budget), 0);
}

/* A client that goes away while it waits leaves nothing behind. */
static void test_waits_for_memory_and_goes(void **state)
{
    struct wire wire;
    mg_budget_init(&budget, "grpc", NULL, 64 << 20);
    serve((struct mg_grpc_server_options){.budget = &budget});
    size_t others = fill_budget(100);
    uint64_t held = mg_counted(grpc_held);
    uint8_t bytes[1000] = {0};
    connect_to(&wire);
    wire_request(&wire, 3, "/test.Test/Bidi", NULL, NULL);
    wire_message(&wire, 3, false, bytes, sizeof bytes);
    wire_flush(&wire);
    assert_true(TEST_SOON(mg_counted(grpc_held) > held));
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    mg_budget_release(&budget, others);
    test_server_end(&test);
    assert_int_equal(mg_budget_used(&budget), 0);
}

static void test_keepalive(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 250});
    struct wire dead, alive, idle;
    connect_to(&dead);
    connect_to(&alive);
    connect_to(&idle);
    wire_request(&dead, 1, "/test.Test/Wait", NULL, NULL);
    wire_flush(&dead);
    wire_request(&alive, 1, "/test.Test/Bidi", NULL, NULL);
    wire_flush(&alive);
    assert_true(TEST_SOON(test.waiting == 1));
    for (int i = 0; i < 5; i++) {
        assert_true(wire_expect(&alive, &frame, NGHTTP2_PING, 0));
        wire_frame(&alive, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, frame.payload, 8);
        assert_true(wire_flush(&alive));
    }
    assert_true(wire_closed(&dead, 5000));
    assert_true(TEST_SOON(test.waiting == 0));
    assert_int_equal(test.waited, MG_CANCELLED);
    /* Without calls nobody asks. */
    while (wire_next(&idle, &frame, 10))
        assert_int_not_equal(frame.type, NGHTTP2_PING);
    wire_message(&alive, 1, true, "x", 1);
    wire_flush(&alive);
    check_status(&alive, 1, "0", "");
    wire_clear(&dead);
    wire_clear(&alive);
    wire_clear(&idle);
    test_server_end(&test);
}

static void test_idle(void **state)
{
    serve((struct mg_grpc_server_options){.idle_ms = 50, .keepalive_ms = 20});
    struct wire wire;
    connect_to(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_GOAWAY, 0));
    assert_true(wire_closed(&wire, 5000));
    wire_clear(&wire);
    test_server_end(&test);
}

static void test_rapid_reset(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    struct wire wire;
    connect_to(&wire);
    bool open = true;
    for (int32_t i = 0; i < 50000 && open; i++) {
        wire_request(&wire, 2 * i + 1, "/test.Test/Wait", NULL, NULL);
        wire_u32(&wire, NGHTTP2_RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
        if (i % 100 == 0)
            open = wire_flush(&wire);
    }
    wire_flush(&wire);
    assert_true(wire_closed(&wire, 10000));
    wire_clear(&wire);
    assert_true(TEST_SOON(test.waiting == 0 && open_calls() == 0));
    check_serves();
    test_server_end(&test);
}

static void test_calls_per_connection(void **state)
{
    serve((struct mg_grpc_server_options){.calls_per_connection = 4});
    struct wire wire;
    connect_to(&wire);
    for (int32_t i = 0; i < 5; i++)
        wire_request(&wire, 2 * i + 1, "/test.Test/Wait", NULL, NULL);
    wire_flush(&wire);
    /* It was told, so it breaks the protocol. */
    assert_true(wire_expect(&wire, &frame, NGHTTP2_GOAWAY, 0));
    assert_int_equal(mg_load_be32(frame.payload + 4), NGHTTP2_PROTOCOL_ERROR);
    assert_true(wire_closed(&wire, 5000));
    assert_true(TEST_SOON(test.waiting == 0 && open_calls() == 0));
    wire_clear(&wire);
    /* A client that cannot know yet is asked to try again. */
    wire_connect(&wire, test.address);
    wire_hello(&wire, WINDOW);
    for (int32_t i = 0; i < 5; i++)
        wire_request(&wire, 2 * i + 1, "/test.Test/Wait", NULL, NULL);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_RST_STREAM, 9));
    assert_int_equal(mg_load_be32(frame.payload), NGHTTP2_REFUSED_STREAM);
    assert_true(TEST_SOON(test.waiting == 4));
    wire_clear(&wire);
    test_server_end(&test);
}

static void test_connections_max(void **state)
{
    serve((struct mg_grpc_server_options){.connections_max = 3});
    struct wire wires[3], one_more;
    for (int i = 0; i < 3; i++)
        connect_to(&wires[i]);
    uint64_t refused = mg_counted(grpc_refused);
    wire_connect(&one_more, test.address);
    assert_true(wire_closed(&one_more, 5000));
    assert_int_equal(mg_counted(grpc_refused), refused + 1);
    wire_clear(&one_more);
    wire_clear(&wires[0]);
    struct mg_grpc_server_stats stats;
    assert_true(TEST_SOON((mg_grpc_server_stats(test.server, &stats), stats.connections == 2)));
    check_serves();
    wire_clear(&wires[1]);
    wire_clear(&wires[2]);
    test_server_end(&test);
}

static void test_200_streams(void **state)
{
    serve((struct mg_grpc_server_options){.io_threads = 2});
    enum { STREAMS = 200 };
    struct wire wire;
    connect_to(&wire);
    for (int32_t i = 0; i < STREAMS; i++)
        wire_request(&wire, 2 * i + 1, "/test.Test/Bidi", NULL, NULL);
    size_t answers[STREAMS] = {0};
    for (int round = 0; round < 3; round++) {
        for (int32_t i = 0; i < STREAMS; i++)
            wire_message(&wire, 2 * i + 1, round == 2, &i, sizeof i);
        assert_true(wire_flush(&wire));
        for (size_t got = 0; got < STREAMS;) {
            assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 0));
            int32_t i = (frame.stream_id - 1) / 2;
            assert_int_equal(frame.size, MG_GRPC__FRAME_HEAD + sizeof i);
            assert_memory_equal(frame.payload + MG_GRPC__FRAME_HEAD, &i, sizeof i);
            answers[i]++;
            got++;
        }
    }
    for (size_t i = 0; i < STREAMS; i++)
        assert_int_equal(answers[i], 3);
    assert_true(TEST_SOON(open_calls() == 0));
    wire_clear(&wire);
    test_server_end(&test);
}

/* One worker: the others wait in order, and who gives up while waiting leaves the queue. */
static void test_queue_for_workers(void **state)
{
    serve((struct mg_grpc_server_options){.call_workers_max = 1});
    struct wire wire;
    connect_to(&wire);
    wire_request(&wire, 1, "/test.Test/Collect", NULL, NULL);
    wire_message(&wire, 1, false, "x", 1);
    for (int32_t id = 3; id <= 9; id += 2) {
        wire_request(&wire, id, "/test.Test/Unary", id == 7 ? "grpc-timeout" : NULL, "50m");
        wire_message(&wire, id, true, "y", 1);
    }
    wire_u32(&wire, NGHTTP2_RST_STREAM, 5, NGHTTP2_CANCEL);
    wire_flush(&wire);
    check_status(&wire, 7, "4", "TIMEOUT");
    assert_true(TEST_SOON(open_calls() == 3));
    wire_message(&wire, 1, true, "x", 1);
    wire_flush(&wire);
    check_status(&wire, 1, "0", "");
    check_status(&wire, 3, "0", "");
    check_status(&wire, 9, "0", "");
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    test_server_end(&test);
}

static void stop_server(void *arg) { mg_grpc_server_stop(test.server, 5000); }

static void test_goaway_twice(void **state)
{
    serve((struct mg_grpc_server_options){.keepalive_ms = 0});
    struct wire wire;
    connect_to(&wire);
    wire_request(&wire, 1, "/test.Test/Bidi", NULL, NULL);
    wire_message(&wire, 1, false, "x", 1);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_DATA, 1));
    struct mg_thread thread = {.running = false};
    assert_ok(mg_thread_start(&thread, "stopper", stop_server, NULL, &err));
    uint8_t ping[8];
    assert_true(wire_expect(&wire, &frame, NGHTTP2_PING, 0));
    memcpy(ping, frame.payload, sizeof ping);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_GOAWAY, 0));
    assert_int_equal(mg_load_be32(frame.payload), INT32_MAX);
    /* A call that was on its way is refused so that it may be tried elsewhere; the answer to the ping brings the
     * second. */
    wire_request(&wire, 3, "/test.Test/Echo", NULL, NULL);
    wire_frame(&wire, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping, sizeof ping);
    wire_flush(&wire);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_RST_STREAM, 3));
    assert_int_equal(mg_load_be32(frame.payload), NGHTTP2_REFUSED_STREAM);
    assert_true(wire_expect(&wire, &frame, NGHTTP2_GOAWAY, 0));
    assert_int_equal(mg_load_be32(frame.payload), 3);
    assert_int_equal(mg_load_be32(frame.payload + 4), NGHTTP2_NO_ERROR);
    /* The call that runs ends in peace. */
    wire_message(&wire, 1, true, "y", 1);
    wire_flush(&wire);
    check_status(&wire, 1, "0", "");
    assert_true(wire_closed(&wire, 5000));
    mg_thread_join(&thread);
    wire_clear(&wire);
    test_server_end(&test);
}

/* A client whose socket takes nothing any more: its call holds its queue and no more, and others go on. */
static void test_stuck_socket(void **state)
{
    serve((struct mg_grpc_server_options){.output_queue_max = 1 << 20});
    struct wire wire;
    wire_connect(&wire, test.address);
    wire_hello(&wire, INT32_MAX);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 0, INT32_MAX - 65535);
    uint8_t request[8];
    mg_store_le32(request, 10000);
    mg_store_le32(request + 4, 1 << 20);
    wire_request(&wire, 1, "/test.Test/Stream", NULL, NULL);
    wire_message(&wire, 1, true, request, 8);
    wire_flush(&wire);
    assert_true(TEST_SOON(test.produced > 2));
    unsigned produced = test_settled(&test);
    assert_true(produced < 50);
    check_serves();
    usleep(50000);
    assert_int_equal(test.produced, produced);
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(test.server, &stats);
    assert_true(stats.queued_bytes <= (2 << 20) + 5);
    wire_clear(&wire);
    assert_true(TEST_SOON(open_calls() == 0));
    assert_true(test.released >= test.produced && test.released <= test.produced + 1);
    test_server_end(&test);
}

/* Time that stands: nothing times out; time that jumps: it does. */
static void test_clock(void **state)
{
    struct mg_clock_manual clock;
    mg_clock_manual_init(&clock, 0);
    serve((struct mg_grpc_server_options){.clock = &clock.clock});
    struct wire wire;
    connect_to(&wire);
    wire_request(&wire, 1, "/test.Test/Wait", "grpc-timeout", "10m");
    wire_flush(&wire);
    assert_true(TEST_SOON(test.waiting == 1));
    usleep(50000);
    assert_int_equal(test.waiting, 1);
    mg_clock_manual_advance(&clock, INT64_C(10000000));
    check_status(&wire, 1, "4", "TIMEOUT");
    assert_true(TEST_SOON(test.waiting == 0));
    wire_clear(&wire);
    test_server_end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_http2),
        cmocka_unit_test(test_handshake_time),
        cmocka_unit_test(test_header_limit),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_malformed_any_authority),
        cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_request_headers),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_unread_messages_are_bounded),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_waits_for_memory),
        cmocka_unit_test(test_waits_for_memory_in_vain),
        cmocka_unit_test(test_waits_for_memory_and_goes),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_calls_per_connection),
        cmocka_unit_test(test_connections_max),
        cmocka_unit_test(test_200_streams),
        cmocka_unit_test(test_queue_for_workers),
        cmocka_unit_test(test_goaway_twice),
        cmocka_unit_test(test_stuck_socket),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
