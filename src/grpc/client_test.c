/* client_test.c -- our client against servers that are wrong, silent or gone: a script of frames by hand for each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/lock.h"
#include "base/testing.h"
#include "grpc/grpc_wire.h"

static struct mg_error err;

/* A server that greets, waits for bytes of a request, sends its script, and waits for the client to go. */
struct script {
    struct wire wire; /* what it sends */
    int listen_fd;
    char address[128];
    struct mg_thread thread;
    bool close_at_once; /* after the script */
    bool reads;         /* what the client sends, to the end */
    atomic_bool over;   /* the client is gone, also if its end is stuck behind its bytes */
};

static void play(void *arg)
{
    struct script *script = arg;
    struct pollfd wait = {.fd = script->listen_fd, .events = POLLIN};
    if (poll(&wait, 1, 10000) <= 0)
        return;
    int fd = accept(script->listen_fd, NULL, NULL);
    if (fd < 0)
        return;
    static const uint8_t settings[WIRE_FRAME_HEAD] = {0, 0, 0, NGHTTP2_SETTINGS};
    uint8_t bytes[1024];
    /* The request is there when its path was seen: names and paths are coded, so its size will do. */
    size_t got = 0;
    bool good = send(fd, settings, sizeof settings, MSG_NOSIGNAL) == sizeof settings;
    while (good && got < 150) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        good = n > 0;
        got += good ? (size_t)n : 0;
    }
    size_t at = 0;
    while (good && at < script->wire.out.size) {
        ssize_t n = send(fd, script->wire.out.data + at, script->wire.out.size - at, MSG_NOSIGNAL);
        good = n > 0;
        at += good ? (size_t)n : 0;
    }
    bool open = !script->close_at_once;
    while (open && !atomic_load(&script->over)) {
        struct pollfd end = {.fd = fd, .events = script->reads ? POLLIN : 0};
        if (poll(&end, 1, 10) > 0)
            open = recv(fd, bytes, sizeof bytes, 0) > 0;
    }
    close(fd);
}

static void begin_script(struct script *script)
{
    struct mg_grpc__address address;
    memset(script, 0, sizeof *script);
    script->reads = true;
    wire_init(&script->wire);
    assert_ok(mg_grpc__address_parse("127.0.0.1:0", &address, &err));
    assert_ok(mg_grpc__address_listen(&address, &script->listen_fd, &err));
    mg_grpc__address_format(&address, script->address);
}

static struct mg_grpc_client *start_script(struct script *script)
{
    struct mg_grpc_client *client;
    assert_ok(mg_thread_start(&script->thread, "script", play, script, &err));
    assert_ok(mg_grpc_client_connect(script->address, NULL, &client, &err));
    return client;
}

static void end_script(struct script *script, struct mg_grpc_client *client)
{
    mg_grpc_client_close(client);
    atomic_store(&script->over, true);
    mg_thread_join(&script->thread);
    wire_clear(&script->wire);
    close(script->listen_fd);
}

static void answer(struct script *script, uint8_t flags, const char *const *pairs)
{
    wire_headers(&script->wire, 1, flags, pairs);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define OK_HEADERS PAIRS(":status", "200", "content-type", "application/grpc")
enum { END = NGHTTP2_FLAG_END_STREAM };

static void check_unary(struct script *script, enum mg_code code, int status)
{
    struct mg_grpc_client *client = start_script(script);
    struct mg_slice response;
    assert_code(code, mg_grpc_client_unary(client, "/a.path/that-is-long-enough-to-be-counted-as-a-request", 5000,
                                           MG_SLICE("request", 7), &response, &err));
    if (status >= 0)
        assert_int_equal(mg_grpc_client_status(client), status);
    end_script(script, client);
}

static void test_statuses(void **state)
{
    static const struct {
        const char *pairs[12];
        enum mg_code code;
        int status;
        const char *text;
    } cases[] = {
        {{":status", "200", "grpc-status", "5", "grpc-message", "not %41 thing"}, MG_NOT_FOUND, 5, "not A thing"},
        {{":status", "200", "grpc-status", "3", "magic-code", "SCHEMA_CHANGED"}, MG_SCHEMA_CHANGED, 3, NULL},
        {{":status", "200", "grpc-status", "3", "magic-code", "NO_SUCH_NAME"}, MG_INTERNAL, 3, NULL},
        {{":status", "200", "grpc-status", "3", "magic-code", "OK"}, MG_INVALID, 3, NULL},
        {{":status", "200", "grpc-status", "99"}, MG_INTERNAL, 2, NULL},
        {{":status", "200", "grpc-status", "x"}, MG_INTERNAL, 2, NULL},
        {{":status", "200", "grpc-status", ""}, MG_INTERNAL, 2, NULL},
        {{":status", "200", "grpc-status", "0"}, MG_PROTOCOL, 0, NULL}, /* a unary call without an answer */
        {{":status", "200"}, MG_INTERNAL, 2, NULL},
        {{":status", "503"}, MG_UNAVAILABLE, 14, "the server answered with HTTP status 503"},
        {{":status", "404"}, MG_UNIMPLEMENTED, 12, NULL},
        {{":status", "401"}, MG_UNAUTHENTICATED, 16, NULL},
        {{":status", "302"}, MG_INTERNAL, 2, NULL},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct script script;
        begin_script(&script);
        answer(&script, END, cases[i].pairs);
        check_unary(&script, cases[i].code, cases[i].status);
        if (cases[i].text)
            assert_string_equal(err.text, cases[i].text);
    }
}

static void test_broken_answers(void **state)
{
    static const uint8_t whole[] = {0, 0, 0, 0, 1, 'x'}, cut[] = {0, 0, 0, 0, 9, 'x'}, zipped[] = {1, 0, 0, 0, 1, 'x'},
                         large[] = {0, 0xff, 0, 0, 0, 'x'};
    static const struct {
        const uint8_t *bytes;
        size_t size;
        enum mg_code code;
        int status;
    } cases[] = {
        {whole, sizeof whole, MG_OK, 0},
        {cut, sizeof cut, MG_PROTOCOL, 0},
        {zipped, sizeof zipped, MG_UNIMPLEMENTED, 12},
        {large, sizeof large, MG_TOO_BIG, 8},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct script script;
        begin_script(&script);
        answer(&script, 0, OK_HEADERS);
        wire_frame(&script.wire, NGHTTP2_DATA, 0, 1, cases[i].bytes, cases[i].size);
        answer(&script, END, PAIRS("grpc-status", "0"));
        check_unary(&script, cases[i].code, cases[i].status);
    }
    struct script script; /* two answers */
    begin_script(&script);
    answer(&script, 0, OK_HEADERS);
    wire_message(&script.wire, 1, false, "a", 1);
    wire_message(&script.wire, 1, false, "b", 1);
    answer(&script, END, PAIRS("grpc-status", "0"));
    check_unary(&script, MG_PROTOCOL, -1);
    begin_script(&script); /* an answer, then a failure */
    answer(&script, 0, OK_HEADERS);
    wire_message(&script.wire, 1, false, "a", 1);
    answer(&script, END, PAIRS("grpc-status", "13", "grpc-message", "late"));
    check_unary(&script, MG_INTERNAL, 13);
}

static void test_resets_and_ends(void **state)
{
    static const struct {
        uint32_t error_code;
        enum mg_code code;
        int status;
    } resets[] = {
        {NGHTTP2_REFUSED_STREAM, MG_UNAVAILABLE, 14},
        {NGHTTP2_CANCEL, MG_CANCELLED, 1},
        {NGHTTP2_ENHANCE_YOUR_CALM, MG_TOO_BIG, 8},
        {NGHTTP2_INTERNAL_ERROR, MG_INTERNAL, 13},
    };
    struct script script;
    for (size_t i = 0; i < MG_COUNT_OF(resets); i++) {
        begin_script(&script);
        wire_u32(&script.wire, NGHTTP2_RST_STREAM, 1, resets[i].error_code);
        check_unary(&script, resets[i].code, resets[i].status);
    }
    uint8_t goaway[8] = {0};
    begin_script(&script);
    wire_frame(&script.wire, NGHTTP2_GOAWAY, 0, 0, goaway, sizeof goaway);
    check_unary(&script, MG_UNAVAILABLE, 14);
    begin_script(&script); /* gone without a word */
    script.close_at_once = true;
    check_unary(&script, MG_UNAVAILABLE, 14);
    begin_script(&script); /* gone in the middle of a message */
    script.close_at_once = true;
    answer(&script, 0, OK_HEADERS);
    wire_frame(&script.wire, NGHTTP2_DATA, 0, 1, "\0\0\0\0\x09x", 6);
    check_unary(&script, MG_UNAVAILABLE, 14);
    begin_script(&script); /* noise */
    for (int i = 0; i < 100; i++)
        wire_bytes(&script.wire, "\377\376noise", 7);
    check_unary(&script, MG_UNAVAILABLE, 14);
}

/* After GOAWAY a call that runs ends well, and the next one cannot begin. */
static void test_goaway(void **state)
{
    struct script script;
    uint8_t goaway[8] = {0, 0, 0, 1};
    begin_script(&script);
    wire_frame(&script.wire, NGHTTP2_GOAWAY, 0, 0, goaway, sizeof goaway);
    answer(&script, 0, OK_HEADERS);
    wire_message(&script.wire, 1, false, "a", 1);
    answer(&script, END, PAIRS("grpc-status", "0"));
    struct mg_grpc_client *client = start_script(&script);
    struct mg_slice response;
    assert_ok(mg_grpc_client_unary(client, "/a.path/that-is-long-enough-to-be-counted-as-a-request", 5000,
                                   MG_SLICE("request", 7), &response, &err));
    assert_code(MG_UNAVAILABLE, mg_grpc_client_begin(client, "/next", 0, &err));
    assert_code(MG_UNAVAILABLE, mg_grpc_client_begin(client, "/next", 0, &err));
    end_script(&script, client);
}

/* A server that stops taking bytes: by its window, or by not reading its socket. */
static void test_send_has_a_deadline(void **state)
{
    size_t size = 32 << 20;
    uint8_t *bytes = calloc(1, size);
    for (int stuck = 0; stuck < 2; stuck++) {
        struct script script;
        begin_script(&script);
        script.reads = !stuck;
        if (stuck) {
            wire_u32(&script.wire, NGHTTP2_WINDOW_UPDATE, 0, 1 << 30);
            wire_u32(&script.wire, NGHTTP2_WINDOW_UPDATE, 1, 1 << 30);
        }
        struct mg_grpc_client *client = start_script(&script);
        assert_ok(mg_grpc_client_begin(client, "/a.path/that-is-long-enough-to-be-counted-as-a-request", 300, &err));
        enum mg_code code = mg_grpc_client_send(client, &(struct iovec){bytes, size}, 1, &err);
        assert_int_equal(code, MG_TIMEOUT);
        assert_int_equal(mg_grpc_client_status(client), MG_GRPC_DEADLINE_EXCEEDED);
        end_script(&script, client);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_resets_and_ends),
        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_send_has_a_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
