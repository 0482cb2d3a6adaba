/* framing_test.c -- streams of messages cut anywhere come out whole, in order, bounded and accounted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"
#include "base/testing.h"
#include "grpc/grpc_internal.h"

static struct mg_error err;

/* A stream of messages with known sizes; byte i of message m is m + i. */
static void append_message(struct mg_buffer *stream, uint32_t number, uint32_t size)
{
    uint8_t head[MG_GRPC__FRAME_HEAD] = {0};
    mg_store_be32(head + 1, size);
    assert_ok(mg_buffer_append(stream, head, sizeof head, &err));
    for (uint32_t i = 0; i < size; i++)
        assert_ok(mg_buffer_append_u8(stream, (uint8_t)(number + i), &err));
}

static void check_message(struct mg_slice message, uint32_t number, uint32_t size)
{
    assert_int_equal(message.size, size);
    for (uint32_t i = 0; i < size; i++)
        assert_int_equal(message.data[i], (uint8_t)(number + i));
}

static void test_any_cut(void **state)
{
    struct mg_buffer stream;
    mg_buffer_init(&stream, 1 << 20);
    static const uint32_t sizes[] = {0, 1, 0, 0, 63, 64, 65, 4096, 4097, 5, 0, 20000, 1, 0};
    for (uint32_t i = 0; i < MG_COUNT_OF(sizes); i++)
        append_message(&stream, i, sizes[i]);
    struct mg_random random;
    mg_random_init(&random, 11);
    for (uint64_t step = 1; step < 3000; step += step < 40 ? 1 : 397) {
        struct mg_budget budget;
        mg_budget_init(&budget, "test", NULL, 1 << 20);
        struct mg_grpc__framing framing;
        struct mg_grpc__inbox inbox = {.ended = false};
        mg_grpc__framing_init(&framing, 20000, &budget);
        uint32_t number = 0;
        for (size_t at = 0; at < stream.size;) {
            size_t left = 1 + mg_random_below(&random, step);
            left = MG_MIN(left, stream.size - at);
            while (left > 0) {
                size_t used;
                bool whole;
                assert_ok(mg_grpc__framing_feed(&framing, MG_SLICE(stream.data + at, left), &used, &whole, &err));
                assert_true(used > 0 && used <= left);
                at += used;
                left -= used;
                inbox.held_part_bytes += used;
                if (whole)
                    assert_ok(mg_grpc__inbox_push(&inbox, &framing, &err));
                assert_int_equal(mg_grpc__framing_partial(&framing), framing.head_size > 0);
            }
            /* Read what is there, now and then. */
            struct mg_grpc__batch *batch = mg_random_below(&random, 3) ? NULL : mg_grpc__inbox_pop(&inbox);
            struct mg_slice message;
            for (; batch && mg_grpc__batch_next(batch, &message); number++)
                check_message(message, number, sizes[number]);
            if (batch)
                mg_grpc__inbox_keep(&inbox, batch);
            mg_grpc__batch_free(batch);
        }
        assert_false(mg_grpc__framing_partial(&framing));
        struct mg_grpc__batch *batch;
        struct mg_slice message;
        while ((batch = mg_grpc__inbox_pop(&inbox))) {
            for (; mg_grpc__batch_next(batch, &message); number++)
                check_message(message, number, sizes[number]);
            mg_grpc__batch_free(batch);
        }
        assert_int_equal(number, MG_COUNT_OF(sizes));
        assert_int_equal(mg_grpc__inbox_consume(&inbox), stream.size);
        mg_grpc__framing_clear(&framing);
        mg_grpc__inbox_clear(&inbox);
        assert_int_equal(mg_budget_used(&budget), 0);
    }
    mg_buffer_clear(&stream);
}

static void feed_all(struct mg_grpc__framing *framing, const void *bytes, size_t size, enum mg_code want)
{
    size_t used;
    bool whole;
    assert_code(want, mg_grpc__framing_feed(framing, MG_SLICE(bytes, size), &used, &whole, &err));
}

static void test_refusals(void **state)
{
    struct mg_grpc__framing framing;
    static const uint8_t compressed[] = {1, 0, 0, 0, 0}, odd[] = {2, 0, 0, 0, 0}, large[] = {0, 0, 0, 3, 0xe9},
                         largest[] = {0, 0xff, 0xff, 0xff, 0xff};
    mg_grpc__framing_init(&framing, 1000, NULL);
    feed_all(&framing, compressed, 5, MG_UNIMPLEMENTED);
    mg_grpc__framing_clear(&framing);
    feed_all(&framing, odd, 5, MG_PROTOCOL);
    mg_grpc__framing_clear(&framing);
    feed_all(&framing, large, 5, MG_TOO_BIG);
    assert_string_equal(err.text, "grpc: received message larger than max (1001 vs. 1000)");
    mg_grpc__framing_clear(&framing);
    feed_all(&framing, largest, 5, MG_TOO_BIG);
    assert_int_equal(framing.part.capacity, 0);
    mg_grpc__framing_clear(&framing);
}

/* A head that promises a gigabyte costs nothing; memory follows the bytes. */
static void test_memory_follows_bytes(void **state)
{
    struct mg_budget budget;
    mg_budget_init(&budget, "test", NULL, 10 << 20);
    struct mg_grpc__framing framing;
    mg_grpc__framing_init(&framing, (size_t)1 << 30, &budget);
    static const uint8_t head[] = {0, 0x40, 0, 0, 0};
    static uint8_t chunk[16384];
    feed_all(&framing, head, 5, MG_OK);
    assert_int_equal(mg_budget_used(&budget), 0);
    enum mg_code code = MG_OK;
    size_t fed = 0;
    while (code == MG_OK) {
        size_t used;
        bool whole;
        code = mg_grpc__framing_feed(&framing, MG_SLICE(chunk, sizeof chunk), &used, &whole, &err);
        fed += code == MG_OK ? sizeof chunk : 0;
        assert_true(mg_budget_used(&budget) <= MG_MAX(2 * fed, (size_t)MG_GRPC__STREAM_WINDOW));
        assert_int_equal(mg_budget_used(&budget), framing.part.capacity);
    }
    assert_int_equal(code, MG_NO_MEMORY);
    assert_true(fed >= 4 << 20);
    mg_grpc__framing_clear(&framing);
    assert_int_equal(mg_budget_used(&budget), 0);
}

/* What is held of the window: all that waits, but not a message that grows while nothing waits. */
static void test_window(void **state)
{
    struct mg_grpc__framing framing;
    struct mg_grpc__inbox inbox = {.ended = false};
    mg_grpc__framing_init(&framing, 1 << 20, NULL);
    static const uint8_t head[] = {0, 0, 0, 0x40, 0};
    static uint8_t body[16384];
    size_t used;
    bool whole;
    for (int i = 0; i < 2; i++) {
        feed_all(&framing, head, 5, MG_OK);
        inbox.held_part_bytes += 5;
        assert_int_equal(mg_grpc__inbox_consume(&inbox), i == 0 ? 5 : 0);
        assert_ok(mg_grpc__framing_feed(&framing, MG_SLICE(body, sizeof body), &used, &whole, &err));
        assert_true(whole);
        inbox.held_part_bytes += used;
        assert_ok(mg_grpc__inbox_push(&inbox, &framing, &err));
        assert_int_equal(mg_grpc__inbox_consume(&inbox), 0);
    }
    feed_all(&framing, head, 5, MG_OK);
    inbox.held_part_bytes += 5;
    mg_grpc__batch_free(mg_grpc__inbox_pop(&inbox));
    assert_int_equal(mg_grpc__inbox_consume(&inbox), sizeof body);
    mg_grpc__batch_free(mg_grpc__inbox_pop(&inbox));
    assert_int_equal(mg_grpc__inbox_consume(&inbox), 5 + sizeof body + 5);
    assert_null(mg_grpc__inbox_pop(&inbox));
    mg_grpc__framing_clear(&framing);
}

/* A million empty messages are their bytes, not a million allocations. */
static void test_empty_messages(void **state)
{
    struct mg_budget budget;
    mg_budget_init(&budget, "test", NULL, 16 << 20);
    struct mg_grpc__framing framing;
    struct mg_grpc__inbox inbox = {.ended = false};
    mg_grpc__framing_init(&framing, 1 << 20, &budget);
    static const uint8_t head[MG_GRPC__FRAME_HEAD] = {0};
    for (int i = 0; i < 1000000; i++) {
        feed_all(&framing, head, sizeof head, MG_OK);
        assert_ok(mg_grpc__inbox_push(&inbox, &framing, &err));
    }
    assert_true(mg_budget_used(&budget) < 5000000);
    uint32_t count = 0;
    struct mg_grpc__batch *batch;
    struct mg_slice message;
    while ((batch = mg_grpc__inbox_pop(&inbox))) {
        while (mg_grpc__batch_next(batch, &message))
            count++;
        mg_grpc__batch_free(batch);
    }
    assert_int_equal(count, 1000000);
    mg_grpc__framing_clear(&framing);
    assert_int_equal(mg_budget_used(&budget), 0);
}

static void test_clear_in_the_middle(void **state)
{
    struct mg_budget budget;
    mg_budget_init(&budget, "test", NULL, 16 << 20);
    struct mg_grpc__framing framing;
    struct mg_grpc__inbox inbox = {.ended = true};
    mg_grpc__framing_init(&framing, 1 << 20, &budget);
    static const uint8_t stream[] = {0, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 9, 'y'};
    size_t used;
    bool whole;
    assert_ok(mg_grpc__framing_feed(&framing, MG_SLICE(stream, sizeof stream), &used, &whole, &err));
    assert_true(whole && used == 6);
    assert_ok(mg_grpc__inbox_push(&inbox, &framing, &err));
    feed_all(&framing, stream + 6, 6, MG_OK);
    assert_true(mg_budget_used(&budget) > 0);
    mg_grpc__inbox_clear(&inbox);
    mg_grpc__framing_clear(&framing);
    assert_true(inbox.ended);
    assert_int_equal(mg_budget_used(&budget), 0);
    mg_grpc__batch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory_follows_bytes),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_empty_messages),
        cmocka_unit_test(test_clear_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
