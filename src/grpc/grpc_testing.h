/* grpc_testing.h -- a server with one method of each kind, for the tests of this room and the interop tests.
 *
 *   /test.Test/Echo     async, answers at once with the request
 *   /test.Test/Later    async, answered by the thread of test_later_answer()
 *   /test.Test/Unary    blocking, answers with the request
 *   /test.Test/Stream   u32 count, u32 size: sends count messages of size bytes from static memory, not copied
 *   /test.Test/Collect  client streaming: answers u64 messages, u64 bytes
 *   /test.Test/Bidi     answers each message with itself
 *   /test.Test/Wait     receives nothing and waits to be cancelled; says why in test_server.waited
 *   /test.Test/Held     as Collect, but reads nothing while test_server.hold is set
 *   /test.Test/Fail     u32 code, text: fails with them, with trailers
 *   /test.Test/Headers  echoes the request headers that begin with x- as headers, and as trailers with x-trailer- in
 *                       front
 * Threads  counters are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_GRPC_GRPC_TESTING_H
#define MG_GRPC_GRPC_TESTING_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/lock.h"
#include "grpc/grpc.h"

enum { TEST_LATER_MAX = 4096, TEST_BLOCK = 1 << 20 };

struct test_server {
    struct mg_grpc_server *server;
    char address[128];
    atomic_uint produced, released; /* messages of Stream */
    atomic_uint waiting;            /* handlers in Wait */
    _Atomic(enum mg_code) waited;   /* why the last Wait ended */
    atomic_bool hold;               /* Held does not read while this is set */
    uint8_t block[TEST_BLOCK];      /* what Stream sends */

    struct mg_mutex lock;
    struct mg_cond changed;
    struct mg_grpc_call *later[TEST_LATER_MAX];
    struct mg_slice later_requests[TEST_LATER_MAX];
    size_t later_count;
};

static inline enum mg_code test_fill_pieces(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
    return mg_grpc_call_send(call, &piece, 1, NULL, NULL, err);
}

static inline void test_echo(struct mg_grpc_call *call, void *arg, struct mg_slice request)
{
    mg_grpc_call_complete(call, MG_OK, NULL, request);
}

static inline void test_later(struct mg_grpc_call *call, void *arg, struct mg_slice request)
{
    struct test_server *test = arg;
    mg_mutex_lock(&test->lock);
    mg_assert(test->later_count < TEST_LATER_MAX);
    test->later_requests[test->later_count] = request;
    test->later[test->later_count++] = call;
    mg_cond_broadcast(&test->changed);
    mg_mutex_unlock(&test->lock);
}

/* Waits for count calls of Later, then answers all that are there with their requests. */
static inline void test_later_answer(struct test_server *test, size_t count)
{
    static struct mg_grpc_completion list[TEST_LATER_MAX];
    mg_mutex_lock(&test->lock);
    while (test->later_count < count)
        mg_cond_wait(&test->changed, &test->lock);
    count = test->later_count;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct mg_grpc_completion){.call = test->later[i], .response = test->later_requests[i]};
    test->later_count = 0;
    mg_mutex_unlock(&test->lock);
    mg_grpc_call_complete_many(list, count);
}

static inline enum mg_code test_unary(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice request;
    MG_TRY(mg_grpc_call_receive(call, &request, err));
    return test_fill_pieces(call, request, err);
}

static inline void test_released(void *arg) { atomic_fetch_add(&((struct test_server *)arg)->released, 1); }

static inline enum mg_code test_stream(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct test_server *test = arg;
    struct mg_slice request;
    MG_TRY(mg_grpc_call_receive(call, &request, err));
    struct mg_reader reader = mg_reader_of(request);
    uint32_t count = mg_reader_le32(&reader), size = mg_reader_le32(&reader);
    if (reader.failed)
        return mg_fail(err, MG_INVALID, "a request of Stream has 8 bytes");
    for (uint32_t i = 0; i < count; i++) {
        struct iovec pieces[64];
        int piece_count = 0;
        for (uint32_t left = size; left > 0 && piece_count < 64; piece_count++) {
            uint32_t n = MG_MIN(left, (uint32_t)TEST_BLOCK);
            pieces[piece_count] = (struct iovec){.iov_base = test->block, .iov_len = n};
            left -= n;
        }
        MG_TRY(mg_grpc_call_send(call, pieces, piece_count, test_released, test, err));
        atomic_fetch_add(&test->produced, 1);
    }
    return MG_OK;
}

static inline enum mg_code test_collect(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice message;
    uint8_t answer[16];
    uint64_t count = 0, bytes = 0;
    enum mg_code code;
    while ((code = mg_grpc_call_receive(call, &message, err)) == MG_OK) {
        count++;
        bytes += message.size;
    }
    if (code != MG_NOT_FOUND)
        return code;
    mg_store_le64(answer, count);
    mg_store_le64(answer + 8, bytes);
    return test_fill_pieces(call, MG_SLICE(answer, sizeof answer), err);
}

static inline enum mg_code test_bidi(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice message;
    enum mg_code code;
    while ((code = mg_grpc_call_receive(call, &message, err)) == MG_OK)
        MG_TRY(test_fill_pieces(call, message, err));
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static inline enum mg_code test_wait(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct test_server *test = arg;
    struct mg_slice message;
    enum mg_code code;
    atomic_fetch_add(&test->waiting, 1);
    /* Past the end of the client's stream only a cancel ends it. */
    while ((code = mg_grpc_call_receive(call, &message, err)) == MG_OK || code == MG_NOT_FOUND)
        usleep(1000);
    mg_assert(mg_grpc_call_cancelled(call));
    atomic_store(&test->waited, code);
    atomic_fetch_sub(&test->waiting, 1);
    return code;
}

static inline enum mg_code test_held(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct test_server *test = arg;
    while (atomic_load(&test->hold) && !mg_grpc_call_cancelled(call))
        usleep(1000);
    return test_collect(call, arg, err);
}

static inline enum mg_code test_fail(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice request;
    MG_TRY(mg_grpc_call_receive(call, &request, err));
    struct mg_reader reader = mg_reader_of(request);
    uint32_t code = mg_reader_le32(&reader);
    struct mg_slice text = mg_reader_take(&reader, mg_reader_left(&reader));
    MG_TRY(mg_grpc_call_add_trailer(call, "x-detail", "why", err));
    MG_TRY(mg_grpc_call_add_trailer_binary(call, "x-detail-bin", MG_SLICE("\0\1\2\377", 4), err));
    return mg_fail(err, (enum mg_code)code, "%.*s", (int)text.size, (const char *)text.data);
}

static inline enum mg_code test_headers(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    const char *name, *value;
    for (size_t i = 0; mg_grpc_call_header_at(call, i, &name, &value); i++) {
        if (strncmp(name, "x-", 2) != 0)
            continue;
        char trailer[128];
        snprintf(trailer, sizeof trailer, "x-trailer-%s", name);
        MG_TRY(mg_grpc_call_add_header(call, name, value, err));
        MG_TRY(mg_grpc_call_add_trailer(call, trailer, value, err));
    }
    return test_unary(call, arg, err);
}

enum { TEST_METHODS = 10 };

/* options: what is zero becomes fit for tests; methods are those above. */
static inline enum mg_code test_server_start(struct test_server *test, struct mg_grpc_server_options options,
                                             const char *address, struct mg_error *err)
{
    struct mg_grpc_method methods[TEST_METHODS] = {
        {.path = "/test.Test/Echo", .async = test_echo},
        {.path = "/test.Test/Later", .async = test_later, .request_max = (size_t)1 << 30},
        {.path = "/test.Test/Unary", .handler = test_unary},
        {.path = "/test.Test/Stream", .handler = test_stream, .streams = true},
        {.path = "/test.Test/Collect", .handler = test_collect},
        {.path = "/test.Test/Bidi", .handler = test_bidi, .streams = true},
        {.path = "/test.Test/Wait", .handler = test_wait, .streams = true},
        {.path = "/test.Test/Held", .handler = test_held, .streams = true},
        {.path = "/test.Test/Fail", .handler = test_fail},
        {.path = "/test.Test/Headers", .handler = test_headers},
    };
    memset(test, 0, sizeof *test);
    mg_mutex_init(&test->lock, MG_RANK_SERVER, "test");
    mg_cond_init(&test->changed);
    for (size_t i = 0; i < TEST_BLOCK; i++)
        test->block[i] = (uint8_t)(i * 31 >> 3);
    for (size_t i = 0; i < TEST_METHODS; i++)
        methods[i].arg = test;
    options.methods = methods;
    options.method_count = TEST_METHODS;
    MG_TRY(mg_grpc_server_new(&options, &test->server, err));
    MG_TRY(mg_grpc_server_listen(test->server, address, test->address, err));
    return mg_grpc_server_start(test->server, err);
}

static inline void test_server_end(struct test_server *test)
{
    mg_grpc_server_free(test->server);
    mg_assert(atomic_load(&test->waiting) == 0);
    mg_cond_destroy(&test->changed);
    mg_mutex_destroy(&test->lock);
}

/* Messages of Stream, once there are no more for a while. */
static inline unsigned test_settled(struct test_server *test)
{
    unsigned produced;
    do {
        produced = atomic_load(&test->produced);
        usleep(300000);
    } while (produced != atomic_load(&test->produced));
    return produced;
}

/* true when the condition came within some seconds. */
#define TEST_SOON(condition)                          \
    ({                                                \
        int test_soon_left_ = 10000;                  \
        while (!(condition) && test_soon_left_-- > 0) \
            usleep(1000);                             \
        (condition);                                  \
    })

#endif
