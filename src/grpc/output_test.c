/* output_test.c -- messages in pieces of all sizes through a socket that takes a little at a time: every byte once, in
 * order; every message released once, whatever happens.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/socket.h>

#include "base/random.h"
#include "base/testing.h"
#include "grpc/grpc_internal.h"

static struct mg_error err;

enum { FRAME = 16384, MEMORY = 1 << 20 };

static uint8_t memory[MEMORY];
static unsigned released[4096];

static void release(void *arg) { (*(unsigned *)arg)++; }

/* What must come out. */
struct expectation {
    struct mg_buffer bytes;
    size_t at;
};

static struct mg_grpc__message *random_message(struct mg_random *random, unsigned *counter, struct mg_buffer *expected)
{
    struct iovec pieces[40];
    int count = (int)mg_random_below(random, 41);
    uint32_t payload = 0;
    static const size_t sizes[] = {1, 40, 511, 512, 513, 2000, 16384, 40000};
    for (int i = 0; i < count; i++) {
        size_t size = mg_random_below(random, sizes[mg_random_below(random, MG_COUNT_OF(sizes))] + 1);
        pieces[i] = (struct iovec){memory + mg_random_below(random, MEMORY - size), size};
        payload += (uint32_t)size;
    }
    uint8_t head[MG_GRPC__FRAME_HEAD] = {0};
    mg_store_be32(head + 1, payload);
    assert_ok(mg_buffer_append(expected, head, sizeof head, &err));
    for (int i = 0; i < count; i++)
        assert_ok(mg_buffer_append(expected, pieces[i].iov_base, pieces[i].iov_len, &err));
    struct mg_grpc__message *message;
    bool copied = mg_random_below(random, 4) == 0;
    if (copied)
        *counter = 1; /* nothing to release */
    assert_ok(mg_grpc__message_new(pieces, count, copied ? NULL : release, counter, NULL, &message, &err));
    assert_int_equal(message->size_bytes, payload + MG_GRPC__FRAME_HEAD);
    return message;
}

static void drain(int fd, struct expectation *expected, size_t most)
{
    static uint8_t bytes[1 << 16];
    while (most > 0) {
        ssize_t got = recv(fd, bytes, MG_MIN(most, sizeof bytes), MSG_DONTWAIT);
        if (got <= 0)
            return;
        assert_memory_equal(bytes, expected->bytes.data + expected->at, got);
        expected->at += (size_t)got;
        most -= (size_t)got;
    }
}

static void run(uint64_t seed)
{
    struct mg_random random;
    mg_random_init(&random, seed);
    int fds[2], small = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    struct mg_grpc__output output = {.block = NULL};
    struct expectation expected = {.at = 0};
    mg_buffer_init(&expected.bytes, 256 << 20);
    struct mg_buffer coming; /* in the order of messages; frame heads are woven in when they are taken */
    mg_buffer_init(&coming, 256 << 20);
    memset(released, 0, sizeof released);
    enum { MESSAGES = 60 };
    for (int m = 0; m < MESSAGES; m++) {
        struct mg_grpc__message *list = random_message(&random, &released[m], &coming);
        size_t left = list->size_bytes, coming_at = 0;
        while (left > 0) {
            if (!mg_grpc__output_has_room(&output)) {
                drain(fds[1], &expected, mg_random_below(&random, 300000));
                assert_int_not_equal(mg_grpc__output_flush(&output, fds[0]), MG_GRPC__FLUSH_FAILED);
                continue;
            }
            size_t n = 1 + mg_random_below(&random, FRAME);
            n = MG_MIN(n, left);
            uint8_t head[9];
            memset(head, (int)n & 255, sizeof head);
            assert_ok(mg_buffer_append(&expected.bytes, head, sizeof head, &err));
            assert_ok(mg_buffer_append(&expected.bytes, coming.data + coming_at, n, &err));
            assert_int_equal(mg_grpc__output_copy(&output, head, sizeof head), sizeof head);
            mg_grpc__output_take(&output, &list, n);
            left -= n;
            coming_at += n;
        }
        assert_null(list);
        mg_buffer_reset(&coming);
        if (mg_random_below(&random, 3) == 0)
            assert_int_not_equal(mg_grpc__output_flush(&output, fds[0]), MG_GRPC__FLUSH_FAILED);
    }
    while (mg_grpc__output_flush(&output, fds[0]) == MG_GRPC__FLUSH_BLOCKED)
        drain(fds[1], &expected, mg_random_below(&random, 100000));
    drain(fds[1], &expected, SIZE_MAX);
    assert_int_equal(expected.at, expected.bytes.size);
    assert_null(output.block);
    assert_int_equal(output.size_bytes, 0);
    for (int m = 0; m < MESSAGES; m++)
        assert_int_equal(released[m], 1);
    mg_buffer_clear(&expected.bytes);
    mg_buffer_clear(&coming);
    close(fds[0]);
    close(fds[1]);
}

static void test_random(void **state)
{
    for (size_t i = 0; i < MEMORY; i++)
        memory[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint64_t seed = 1; seed <= 40; seed++)
        run(seed);
}

/* The worst frame: pieces just above and just below what is copied, in turn. */
static void test_worst_frame(void **state)
{
    struct mg_grpc__output output = {.block = NULL};
    struct iovec pieces[64];
    for (int i = 0; i < 64; i++)
        pieces[i] = (struct iovec){memory + i * 600, i % 2 ? 1 : 513};
    unsigned count = 0;
    size_t filled = 0;
    while (mg_grpc__output_has_room(&output)) {
        struct mg_grpc__message *list;
        assert_ok(mg_grpc__message_new(pieces, 64, release, &count, NULL, &list, &err));
        size_t size = list->size_bytes;
        mg_grpc__output_take(&output, &list, size);
        filled++;
    }
    assert_true(filled > 10);
    assert_int_equal(count, 0);
    assert_int_equal(mg_grpc__output_flush(&output, -1), MG_GRPC__FLUSHED);
    assert_int_equal(count, filled);
}

static void test_failures(void **state)
{
    /* Dropped with messages in it, half sent. */
    struct mg_grpc__output output = {.block = NULL};
    unsigned counts[3] = {0};
    struct iovec piece = {memory, 1000};
    struct mg_grpc__message *list = NULL, **end = &list;
    for (int i = 0; i < 3; i++) {
        assert_ok(mg_grpc__message_new(&piece, 1, release, &counts[i], NULL, end, &err));
        end = &(*end)->next;
    }
    assert_true(mg_grpc__output_has_room(&output));
    mg_grpc__output_take(&output, &list, 1005 + 600);
    mg_grpc__messages_drop(list);
    assert_int_equal(counts[0] + counts[1], 0);
    assert_int_equal(counts[2], 1);
    mg_grpc__output_clear(&output);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 1);
    /* A socket nobody reads from any more. */
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    close(fds[1]);
    assert_ok(mg_grpc__message_new(&piece, 1, release, &counts[0], NULL, &list, &err));
    assert_true(mg_grpc__output_has_room(&output));
    mg_grpc__output_take(&output, &list, 1005);
    assert_int_equal(mg_grpc__output_flush(&output, fds[0]), MG_GRPC__FLUSH_FAILED);
    mg_grpc__output_clear(&output);
    assert_int_equal(counts[0], 2);
    close(fds[0]);
    /* No budget for a copy; too large. */
    struct mg_budget budget;
    mg_budget_init(&budget, "test", NULL, 999);
    assert_code(MG_NO_MEMORY, mg_grpc__message_new(&piece, 1, NULL, NULL, &budget, &list, &err));
    assert_int_equal(mg_budget_used(&budget), 0);
    struct iovec huge[2] = {{memory, UINT32_MAX}, {memory, 1}};
    assert_code(MG_TOO_BIG, mg_grpc__message_new(huge, 2, release, &counts[1], NULL, &list, &err));
    assert_int_equal(counts[1], 2);
    /* Empty ones go out, too. */
    assert_ok(mg_grpc__message_new(NULL, 0, release, &counts[2], NULL, &list, &err));
    assert_true(mg_grpc__output_has_room(&output));
    mg_grpc__output_take(&output, &list, MG_GRPC__FRAME_HEAD);
    assert_int_equal(counts[2], 2);
    mg_grpc__output_clear(&output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_worst_frame),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
