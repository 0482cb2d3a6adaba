/* binlog_test.c -- do our readers of TiDB's messages say what the generated ones say, and refuse what is damaged?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/random.h"
#include "proto/pump.pb-c.h"
#include "syncer/source/binlog.h"

/* A prewrite of table 106 and its request, byte for byte as TiDB sends them: docs/format/buffer.md names the
 * messages. */
static const uint8_t request_bytes[] = {
    0x08, 0x07, 0x12, 0x43, 0x08, 0x00, 0x10, 0x80, 0x80, 0x9a, 0x81, 0xf0, 0xe3, 0xca, 0x9d, 0x06, 0x18, 0x00,
    0x22, 0x13, 0x74, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6a, 0x5f, 0x72, 0x80, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x05, 0x2a, 0x1a, 0x08, 0x2a, 0x12, 0x16, 0x08, 0x6a, 0x12, 0x10, 0x08, 0x0a, 0x08, 0x04, 0x02,
    0x04, 0x61, 0x62, 0x08, 0x06, 0x09, 0xac, 0x02, 0x08, 0x08, 0x00, 0x38, 0x00, 0x38, 0x00, 0x40, 0x00,
};

static void reads_what_tidb_sends(void **state)
{
    struct mg_binlog_request request;
    struct mg_binlog binlog;
    assert_int_equal(mg_binlog_read_request(MG_SLICE(request_bytes, sizeof request_bytes), &request, NULL), MG_OK);
    assert_int_equal(request.cluster_id, 7);
    assert_int_equal(request.payload.size, 67);
    assert_ptr_equal(request.payload.data, request_bytes + 4); /* not copied */
    assert_int_equal(mg_binlog_read(request.payload, &binlog, NULL), MG_OK);
    assert_int_equal(binlog.type, MG_BINLOG_PREWRITE);
    assert_int_equal(binlog.start_ts, 449000000000000000);
    assert_int_equal(binlog.commit_ts, 0);
    assert_int_equal(binlog.prewrite_key.size, 19);
    assert_int_equal(binlog.prewrite_value.size, 26);
    assert_int_equal(binlog.ddl_job_id, 0);
    int64_t ids[2] = {0, 0};
    struct mg_span value = mg_span_of(binlog.prewrite_value);
    assert_int_equal(mg_binlog_table_ids(&value, ids, 2), 1);
    assert_int_equal(ids[0], 106);
}

static struct mg_slice slice_of(ProtobufCBinaryData data) { return MG_SLICE(data.data, data.len); }

static ProtobufCBinaryData random_bytes(struct mg_random *random, uint8_t *room, size_t max)
{
    size_t size = mg_random_below(random, max + 1);
    for (size_t i = 0; i < size; i++)
        room[i] = (uint8_t)mg_random_u64(random);
    return (ProtobufCBinaryData){.data = room, .len = size};
}

static uint64_t random_number(struct mg_random *random)
{
    return mg_random_u64(random) >> (1 + mg_random_below(random, 63));
}

static void agrees_with_generated_code(void **state)
{
    struct mg_random random;
    mg_random_init(&random, 1);
    for (int round = 0; round < 2000; round++) {
        uint8_t rooms[3][200], packed[1000];
        Binlog__Binlog message = BINLOG__BINLOG__INIT;
        message.has_tp = mg_random_below(&random, 2);
        message.tp = (Binlog__BinlogType)mg_random_below(&random, 5);
        message.has_start_ts = mg_random_below(&random, 2);
        message.start_ts = (int64_t)random_number(&random);
        message.has_commit_ts = mg_random_below(&random, 2);
        message.commit_ts = (int64_t)random_number(&random);
        message.has_prewrite_key = mg_random_below(&random, 2);
        message.prewrite_key = random_bytes(&random, rooms[0], sizeof rooms[0]);
        message.has_prewrite_value = mg_random_below(&random, 2);
        message.prewrite_value = random_bytes(&random, rooms[1], sizeof rooms[1]);
        message.has_ddl_query = mg_random_below(&random, 2);
        message.ddl_query = random_bytes(&random, rooms[2], sizeof rooms[2]);
        message.has_ddl_job_id = mg_random_below(&random, 2);
        message.ddl_job_id = (int64_t)mg_random_u64(&random);
        message.has_ddl_schema_state = mg_random_below(&random, 2);
        message.ddl_schema_state = (int32_t)mg_random_u64(&random);
        size_t size = binlog__binlog__pack(&message, packed);

        struct mg_binlog binlog;
        assert_int_equal(mg_binlog_read(MG_SLICE(packed, size), &binlog, NULL), MG_OK);
        assert_int_equal(binlog.type, message.has_tp ? (int)message.tp : 0);
        assert_int_equal(binlog.start_ts, message.has_start_ts ? message.start_ts : 0);
        assert_int_equal(binlog.commit_ts, message.has_commit_ts ? message.commit_ts : 0);
        assert_int_equal(binlog.ddl_job_id, message.has_ddl_job_id ? message.ddl_job_id : 0);
        assert_int_equal(binlog.ddl_schema_state, message.has_ddl_schema_state ? message.ddl_schema_state : 0);
        struct mg_slice none = {NULL, 0};
        assert_true(
            mg_slice_equal(binlog.prewrite_key, message.has_prewrite_key ? slice_of(message.prewrite_key) : none));
        assert_true(mg_slice_equal(binlog.prewrite_value,
                                   message.has_prewrite_value ? slice_of(message.prewrite_value) : none));
        assert_true(mg_slice_equal(binlog.ddl_query, message.has_ddl_query ? slice_of(message.ddl_query) : none));
    }
}

/* Whatever is cut or flipped: no read past the end (the copy is exact, ASan watches), and no crash. */
static void survives_damage(void **state)
{
    struct mg_binlog_request request;
    struct mg_binlog binlog;
    for (size_t size = 0; size < sizeof request_bytes; size++) {
        for (int bit = -1; bit < (int)size * 8; bit++) {
            uint8_t *copy = malloc(size ? size : 1);
            memcpy(copy, request_bytes, size);
            if (bit >= 0)
                copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (mg_binlog_read_request(MG_SLICE(copy, size), &request, NULL) == MG_OK &&
                mg_binlog_read(request.payload, &binlog, NULL) == MG_OK) {
                struct mg_span value = mg_span_of(binlog.prewrite_value);
                mg_binlog_table_ids(&value, NULL, 0);
            }
            free(copy);
        }
    }
}

static void refuses(void **state)
{
    static const struct {
        const char *what;
        uint8_t bytes[16];
        size_t size;
    } cases[] = {
        {"a cut varint", {0x10, 0x80}, 2},
        {"an overlong varint", {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 11},
        {"bytes behind the end", {0x22, 0x05, 0x00}, 3},
        {"field number 0", {0x00, 0x00}, 2},
        {"a group", {0x0b, 0x0c}, 2},
        {"a number as bytes", {0x12, 0x01, 0x00}, 3},
        {"bytes as a number", {0x20, 0x01}, 2},
        {"type 5", {0x08, 0x05}, 2},
        {"a negative start_ts", {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 11},
        {"a negative commit_ts", {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 11},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct mg_binlog binlog;
        struct mg_error err = MG_ERROR_INIT;
        if (mg_binlog_read(MG_SLICE(cases[i].bytes, cases[i].size), &binlog, &err) != MG_PROTOCOL)
            fail_msg("%s was accepted", cases[i].what);
    }
}

static void passes_over_what_it_does_not_know(void **state)
{
    static const uint8_t bytes[] = {0x10, 0x05, 0x78, 0x01, 0x7a, 0x01, 0x00, 0x7d, 1, 2,    3,   4,
                                    0x79, 1,    2,    3,    4,    5,    6,    7,    8, 0x10, 0x06};
    struct mg_binlog binlog;
    assert_int_equal(mg_binlog_read(MG_SLICE(bytes, sizeof bytes), &binlog, NULL), MG_OK);
    assert_int_equal(binlog.start_ts, 6); /* the last one counts */
    struct mg_binlog_request request;
    assert_int_equal(mg_binlog_read_request(MG_SLICE(NULL, 0), &request, NULL), MG_OK);
    assert_int_equal(request.cluster_id, 0);
    assert_int_equal(request.payload.size, 0);
}

/* ---- payloads outside memory --------------------------------------------------------------------------------- */

static enum mg_code read_slice(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    const struct mg_slice *bytes = arg;
    assert_true(offset <= bytes->size && size <= bytes->size - offset);
    memcpy(out, bytes->data + offset, size);
    return MG_OK;
}

/* The same answer as from memory, of the same tables. */
static void compare_outside(struct mg_slice bytes)
{
    const struct mg_span_source source = {.read = read_slice, .arg = &bytes};
    const struct mg_span outside = {.size = bytes.size, .source = &source};
    struct mg_binlog want = {0}, got = {0};
    struct mg_span value = {.size = 0};
    struct mg_buffer outline;
    int64_t ids[2] = {0}, want_ids[2] = {0};
    mg_buffer_init(&outline, 1 << 16);
    enum mg_code code = mg_binlog_read(bytes, &want, NULL);
    assert_int_equal(mg_binlog_read_span(&outside, &outline, &got, &value, NULL), code);
    if (code == MG_OK) {
        struct mg_span inside = mg_span_of(want.prewrite_value);
        assert_int_equal(got.type, want.type);
        assert_true(got.start_ts == want.start_ts && got.commit_ts == want.commit_ts);
        assert_true(mg_slice_equal(got.prewrite_key, want.prewrite_key));
        assert_true(got.ddl_job_id == want.ddl_job_id && got.ddl_schema_state == want.ddl_schema_state);
        size_t shown = MG_MIN(want.ddl_query.size, (size_t)MG_BINLOG_QUERY_MAX);
        assert_true(mg_slice_equal(got.ddl_query, MG_SLICE(want.ddl_query.data, shown)));
        assert_int_equal(value.size, want.prewrite_value.size);
        if (value.size)
            assert_ptr_equal(bytes.data + value.offset, want.prewrite_value.data);
        assert_int_equal(mg_binlog_table_ids(&value, ids, 2), mg_binlog_table_ids(&inside, want_ids, 2));
        assert_memory_equal(ids, want_ids, sizeof ids);
    }
    mg_buffer_clear(&outline);
}

static void payloads_outside_memory(void **state)
{
    struct mg_binlog_request request;
    assert_int_equal(mg_binlog_read_request(MG_SLICE(request_bytes, sizeof request_bytes), &request, NULL), MG_OK);
    uint8_t copy[sizeof request_bytes];
    for (size_t size = 0; size <= request.payload.size; size++) {
        for (int bit = -1; bit < (int)size * 8; bit++) {
            memcpy(copy, request.payload.data, size);
            if (bit >= 0)
                copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            compare_outside(MG_SLICE(copy, size));
        }
    }
    /* A long statement is cut; a long key is not, up to the outline's maximum. */
    static uint8_t text[50000];
    static struct mg_buffer message;
    memset(text, 'x', sizeof text);
    mg_buffer_init(&message, 1 << 20);
    assert_int_equal(mg_buffer_append(&message, "\x10\x64\x32", 3, NULL), MG_OK); /* start_ts, ddl_query */
    assert_int_equal(mg_buffer_append_bytes(&message, MG_SLICE(text, sizeof text), NULL), MG_OK);
    assert_int_equal(mg_buffer_append(&message, "\x38\x07\x22", 3, NULL), MG_OK); /* ddl_job_id, prewrite_key */
    assert_int_equal(mg_buffer_append_bytes(&message, MG_SLICE(text, 20000), NULL), MG_OK);
    compare_outside(mg_buffer_slice(&message));
    struct mg_slice bytes = mg_buffer_slice(&message);
    const struct mg_span_source source = {.read = read_slice, .arg = &bytes};
    const struct mg_span outside = {.size = bytes.size, .source = &source};
    struct mg_span value;
    struct mg_binlog binlog;
    struct mg_buffer outline;
    mg_buffer_init(&outline, 10000);
    assert_int_equal(mg_binlog_read_span(&outside, &outline, &binlog, &value, NULL), MG_TOO_BIG);
    mg_buffer_clear(&outline);
    mg_buffer_clear(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_tidb_sends),
        cmocka_unit_test(agrees_with_generated_code),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(refuses),
        cmocka_unit_test(passes_over_what_it_does_not_know),
        cmocka_unit_test(payloads_outside_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
