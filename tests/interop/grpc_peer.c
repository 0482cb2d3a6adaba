/* grpc_peer.c -- our side of the tests against gRPC's own implementation: a server to be called, or a client that
 * calls.
 *
 *   grpc_peer server ADDRESS   serves the methods of grpc_testing.h; prints the address; ends when standard input does
 *   grpc_peer client ADDRESS   calls a server of grpc_interop.py in every way; prints what failed; status 0 when
 *                              nothing
 *   grpc_peer wait ADDRESS     begins a call of Wait, prints "waiting", and is killed or ends with standard input
 * SPDX-License-Identifier: Apache-2.0 */
#include "grpc/grpc_testing.h"

#include <unistd.h>

static int failures;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            printf("%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, err.text); \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

static void wait_for_end_of_input(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

struct later {
    struct mg_thread thread;
    struct test_server *test;
    _Atomic bool ending;
};

/* As a group commit would: collects for a millisecond, then answers all at once. */
static void run_later(void *arg)
{
    struct later *later = arg;
    for (;;) {
        mg_mutex_lock(&later->test->lock);
        while (later->test->later_count == 0 && !later->ending)
            mg_cond_wait_ms(&later->test->changed, &later->test->lock, 50);
        size_t count = later->test->later_count;
        mg_mutex_unlock(&later->test->lock);
        if (count == 0)
            return;
        usleep(1000);
        test_later_answer(later->test, count);
    }
}

static int serve(const char *address)
{
    static struct test_server test;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_server_options options = {.any_authority = true, .message_max = 64 << 20, .keepalive_ms = 500};
    if (test_server_start(&test, options, address, &err) != MG_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct later later = {.test = &test};
    if (mg_thread_start(&later.thread, "later", run_later, &later, &err) != MG_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%s\n", test.address);
    fflush(stdout);
    wait_for_end_of_input();
    mg_grpc_server_stop(test.server, 100);
    later.ending = true;
    mg_thread_join(&later.thread);
    struct mg_grpc_server_stats stats;
    mg_grpc_server_stats(test.server, &stats);
    printf("calls=%u connections=%u queued_bytes=%llu produced=%u released=%u\n", stats.calls, stats.connections,
           (unsigned long long)stats.queued_bytes, test.produced, test.released);
    test_server_end(&test);
    return 0;
}

static void check_unary(struct mg_grpc_client *client, size_t size)
{
    struct mg_error err = MG_ERROR_INIT;
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 13 >> 3);
    struct mg_slice response;
    CHECK(mg_grpc_client_unary(client, "/test.Test/Unary", 60000, MG_SLICE(bytes, size), &response, &err) == MG_OK &&
          mg_slice_equal(response, MG_SLICE(bytes, size)));
    free(bytes);
}

static void check_streams(struct mg_grpc_client *client)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_slice message;
    uint8_t request[8], bytes[30000] = {7};
    mg_store_le32(request, 30);
    mg_store_le32(request + 4, 1000000);
    CHECK(mg_grpc_client_begin(client, "/test.Test/Stream", 0, &err) == MG_OK);
    CHECK(mg_grpc_client_send(client, &(struct iovec){request, 8}, 1, &err) == MG_OK);
    CHECK(mg_grpc_client_half_close(client, &err) == MG_OK);
    for (int i = 0; i < 30; i++)
        CHECK(mg_grpc_client_receive(client, &message, &err) == MG_OK && message.size == 1000000);
    CHECK(mg_grpc_client_receive(client, &message, &err) == MG_NOT_FOUND);
    CHECK(mg_grpc_client_status(client) == 0);

    CHECK(mg_grpc_client_begin(client, "/test.Test/Collect", 0, &err) == MG_OK);
    for (int i = 0; i < 1000; i++)
        CHECK(mg_grpc_client_send(client, &(struct iovec){bytes, sizeof bytes}, 1, &err) == MG_OK);
    CHECK(mg_grpc_client_half_close(client, &err) == MG_OK);
    CHECK(mg_grpc_client_receive(client, &message, &err) == MG_OK && message.size == 16);
    CHECK(mg_load_le64(message.data) == 1000 && mg_load_le64(message.data + 8) == 1000 * sizeof bytes);
    mg_grpc_client_end(client);

    CHECK(mg_grpc_client_begin(client, "/test.Test/Bidi", 0, &err) == MG_OK);
    for (size_t i = 0; i < 100; i++) {
        CHECK(mg_grpc_client_send(client, &(struct iovec){bytes, i * 100}, 1, &err) == MG_OK);
        CHECK(mg_grpc_client_receive(client, &message, &err) == MG_OK && message.size == i * 100);
    }
    CHECK(mg_grpc_client_half_close(client, &err) == MG_OK);
    CHECK(mg_grpc_client_receive(client, &message, &err) == MG_NOT_FOUND);
}

static void check_ends(struct mg_grpc_client *client)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_slice response, nothing = MG_SLICE("", 0);
    CHECK(mg_grpc_client_unary(client, "/test.Test/Nothing", 0, nothing, &response, &err) == MG_UNIMPLEMENTED);
    CHECK(mg_grpc_client_status(client) == MG_GRPC_UNIMPLEMENTED);
    CHECK(mg_grpc_client_unary(client, "/test.Test/Wait", 100, nothing, &response, &err) == MG_TIMEOUT);
    CHECK(mg_grpc_client_status(client) == MG_GRPC_DEADLINE_EXCEEDED);
    CHECK(mg_grpc_client_begin(client, "/test.Test/Wait", 0, &err) == MG_OK);
    mg_grpc_client_end(client);
    for (int status = 1; status <= 16; status++) {
        uint8_t request[32];
        static const char text[] = "d\xc3\xa9tail 100%";
        mg_store_le32(request, (uint32_t)status);
        memcpy(request + 4, text, sizeof text - 1);
        struct mg_slice whole = MG_SLICE(request, 4 + sizeof text - 1);
        enum mg_code code = mg_grpc_client_unary(client, "/test.Test/Fail", 0, whole, &response, &err);
        CHECK(code != MG_OK && mg_grpc_client_status(client) == status);
        CHECK(strcmp(err.text, text) == 0);
        const char *detail = mg_grpc_client_header(client, "x-detail");
        CHECK(detail && strcmp(detail, "why") == 0);
    }
    check_unary(client, 10);
}

static int call(const char *address)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_client *client;
    if (mg_grpc_client_connect(address, NULL, &client, &err) != MG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    static const size_t sizes[] = {0, 1, 100, 16384, 70000, 16 << 20};
    for (size_t i = 0; i < MG_COUNT_OF(sizes); i++)
        check_unary(client, sizes[i]);
    check_streams(client);
    check_ends(client);
    CHECK(mg_grpc_client_set_header(client, "x-echo", "some text", &err) == MG_OK);
    struct mg_slice response;
    CHECK(mg_grpc_client_unary(client, "/test.Test/Headers", 0, MG_SLICE("x", 1), &response, &err) == MG_OK);
    const char *echoed = mg_grpc_client_header(client, "x-echo");
    const char *trailer = mg_grpc_client_header(client, "x-trailer-x-echo");
    CHECK(echoed && strcmp(echoed, "some text") == 0);
    CHECK(trailer && strcmp(trailer, "some text") == 0);
    mg_grpc_client_close(client);
    return failures > 0;
}

static int wait_in_call(const char *address)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_client *client;
    if (mg_grpc_client_connect(address, NULL, &client, &err) != MG_OK ||
        mg_grpc_client_begin(client, "/test.Test/Wait", 0, &err) != MG_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    printf("waiting\n");
    fflush(stdout);
    wait_for_end_of_input();
    mg_grpc_client_close(client);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "server") == 0)
        return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return call(argv[2]);
    if (argc == 3 && strcmp(argv[1], "wait") == 0)
        return wait_in_call(argv[2]);
    fprintf(stderr, "usage: grpc_peer server|client|wait ADDRESS\n");
    return 2;
}
