/* pump_test.c -- our pump as TiDB sees it: what is acked is durable, what must wait waits, what is wrong is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/io_fault.h"
#include "base/lock.h"
#include "base/log.h"
#include "grpc/grpc.h"
#include "syncer/binlog_testing.h"
#include "syncer/buffer/buffer_log.h"
#include "syncer/source/source.h"

static const char WRITE[] = "/binlog.Pump/WriteBinlog";
enum { CLUSTER = 42 };

struct bench {
    struct mg_io_fault *disk;
    struct mg_buffer_log *log;
    struct mg_source *source;
    struct mg_budget memory, store, messages; /* of the process, and who shares it */
    char folder[32], address[64];
};

enum { MESSAGE_MAX = 64 << 20, MEMORY = 2 * MESSAGE_MAX, STORE_MEMORY = 10 << 20 };

static void bench_init(struct bench *bench, const struct mg_buffer_log_options *buffer)
{
    *bench = (struct bench){.disk = mg_io_fault_new(1), .folder = "/tmp/magic-pump-XXXXXX"};
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->address, sizeof bench->address, "unix:%s/pump.sock", bench->folder);
    struct mg_buffer_log_options options = *buffer;
    options.folder = "buffer";
    options.io = mg_io_fault_io(bench->disk);
    options.store_id = 1;
    assert_int_equal(mg_buffer_log_open(&options, &bench->log, NULL), MG_OK);
    struct mg_error err = MG_ERROR_INIT;
    mg_budget_init(&bench->memory, "memory", NULL, MEMORY + STORE_MEMORY);
    mg_budget_init(&bench->store, "store", &bench->memory, SIZE_MAX);
    assert_int_equal(mg_budget_init_share(&bench->messages, "pump", &bench->memory, MEMORY, NULL), MG_OK);
    const struct mg_source_options source = {.name = "tidb",
                                             .listen = bench->address,
                                             .status_url = "http://127.0.0.1:1/",
                                             .sql_host = "127.0.0.1",
                                             .sql_port = 1,
                                             .message_max = MESSAGE_MAX,
                                             .buffer = bench->log,
                                             .budget = &bench->messages};
    if (mg_source_pump.open(&source, &bench->source, &err) != MG_OK ||
        mg_source_pump.start(bench->source, &err) != MG_OK)
        fail_msg("%s", err.text);
}

static void bench_clear(struct bench *bench)
{
    mg_source_pump.stop(bench->source);
    mg_source_pump.close(bench->source);
    assert_int_equal(mg_budget_used(&bench->messages), 0);
    mg_budget_clear_share(&bench->messages);
    mg_buffer_log_close(bench->log);
    mg_io_fault_free(bench->disk);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", bench->folder);
    assert_int_equal(system(command), 0);
}

static struct mg_grpc_client *connect_to(const char *address)
{
    struct mg_grpc_client *client = NULL;
    struct mg_error err = MG_ERROR_INIT;
    if (mg_grpc_client_connect(address, NULL, &client, &err) != MG_OK)
        fail_msg("%s", err.text);
    return client;
}

/* One WriteBinlog; what the peer gets to see. An answer is the empty message. */
static enum mg_code write_payload(struct mg_grpc_client *client, uint64_t cluster_id, struct mg_slice payload,
                                  int64_t deadline_ms, struct mg_error *err)
{
    struct mg_buffer request;
    struct mg_slice response;
    mg_buffer_init(&request, SIZE_MAX / 2);
    enum mg_code code = mg_buffer_append_u8(&request, 1 << 3, err);
    if (code == MG_OK)
        code = mg_buffer_append_varint(&request, cluster_id, err);
    if (code == MG_OK)
        code = mg_buffer_append_u8(&request, 2 << 3 | 2, err);
    if (code == MG_OK)
        code = mg_buffer_append_bytes(&request, payload, err);
    if (code == MG_OK)
        code = mg_grpc_client_unary(client, WRITE, deadline_ms, mg_buffer_slice(&request), &response, err);
    mg_buffer_clear(&request);
    if (code == MG_OK)
        assert_int_equal(response.size, 0);
    return code;
}

static enum mg_code write_p(struct mg_grpc_client *client, uint64_t start_ts, struct mg_error *err)
{
    struct mg_test_message message = mg_test_prewrite(start_ts, 1);
    return write_payload(client, CLUSTER, mg_test_slice(&message), 20000, err);
}

static uint64_t records(struct bench *bench)
{
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(bench->log, &stats);
    return stats.last_ordinal;
}

static void keeps_what_it_acks_and_nothing_else(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    struct mg_grpc_client *client = connect_to(bench.address);
    /* A probe, and a payload without timestamps: fine, and nothing is kept; not even the cluster. */
    assert_int_equal(write_payload(client, 7, MG_SLICE(NULL, 0), 5000, &err), MG_OK);
    struct mg_test_message nothing = mg_test_end(MG_BINLOG_COMMIT, 0, 0);
    assert_int_equal(write_payload(client, 7, mg_test_slice(&nothing), 5000, &err), MG_OK);
    assert_int_equal(records(&bench), 0);
    assert_int_equal(mg_buffer_log_cluster_id(bench.log), 0);

    assert_int_equal(write_p(client, 100, &err), MG_OK);
    struct mg_test_message commit = mg_test_end(MG_BINLOG_COMMIT, 100, 120);
    assert_int_equal(write_payload(client, CLUSTER, mg_test_slice(&commit), 5000, &err), MG_OK);
    assert_int_equal(records(&bench), 2);
    assert_int_equal(mg_buffer_log_known(bench.log), 120);
    assert_int_equal(mg_buffer_log_cluster_id(bench.log), CLUSTER);

    /* What was acked survives a power cut; known_ts of P includes its own start_ts. */
    struct mg_buffer_cursor *cursor = NULL;
    struct mg_record record;
    assert_int_equal(mg_buffer_cursor_open(bench.log, 0, &cursor, NULL), MG_OK);
    assert_int_equal(mg_buffer_cursor_next(cursor, &record, NULL), MG_OK);
    assert_int_equal(record.known_ts, 100);
    struct mg_test_message prewrite = mg_test_prewrite(100, 1);
    assert_true(mg_slice_equal(record.payload, mg_test_slice(&prewrite)));
    mg_buffer_cursor_close(cursor);

    mg_grpc_client_close(client);
    bench_clear(&bench);
}

static void refuses_what_it_cannot_keep(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    struct mg_grpc_client *client = connect_to(bench.address);
    assert_int_equal(write_p(client, 100, &err), MG_OK);
    struct mg_test_message message = mg_test_prewrite(101, 1);
    assert_int_equal(write_payload(client, CLUSTER + 1, mg_test_slice(&message), 5000, &err), MG_INVALID);
    assert_int_equal(mg_grpc_client_status(client), MG_GRPC_INVALID_ARGUMENT);
    assert_int_equal(write_payload(client, CLUSTER + 1, MG_SLICE(NULL, 0), 5000, &err), MG_INVALID);
    assert_int_equal(write_payload(client, CLUSTER, MG_SLICE("\x10", 1), 5000, &err), MG_PROTOCOL);
    struct mg_slice response;
    assert_int_equal(mg_grpc_client_unary(client, WRITE, 5000, MG_SLICE("\x12\x05", 2), &response, &err), MG_PROTOCOL);
    assert_int_equal(mg_grpc_client_unary(client, "/binlog.Pump/PullBinlogs", 5000, MG_SLICE(NULL, 0), &response, &err),
                     MG_UNIMPLEMENTED);
    assert_int_equal(records(&bench), 1);
    mg_grpc_client_close(client);
    bench_clear(&bench);
}

/* A large transaction is one message. */
static void takes_large_messages(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    struct mg_grpc_client *client = connect_to(bench.address);
    struct mg_buffer payload;
    mg_buffer_init(&payload, SIZE_MAX / 2);
    size_t size = 40 << 20;
    assert_int_equal(mg_buffer_append(&payload, "\x10\x64\x2a", 3, NULL), MG_OK);
    assert_int_equal(mg_buffer_append_varint(&payload, size, NULL), MG_OK);
    assert_int_equal(mg_buffer_append_zeros(&payload, size, NULL), MG_OK);
    assert_int_equal(write_payload(client, CLUSTER, mg_buffer_slice(&payload), 60000, &err), MG_OK);
    struct mg_buffer_cursor *cursor;
    struct mg_span_reader again = {.rest = {.size = 0}};
    struct mg_slice bytes = MG_SLICE(NULL, 0);
    struct mg_record record;
    assert_int_equal(mg_buffer_log_find(bench.log, mg_buffer_log_last(bench.log), &cursor, &record, NULL), MG_OK);
    struct mg_span kept = mg_buffer_cursor_payload(cursor, &record);
    mg_span_reader_turn(&again, &kept);
    assert_int_equal(mg_span_reader_take(&again, payload.size, &bytes, NULL), MG_OK);
    assert_true(mg_slice_equal(bytes, mg_buffer_slice(&payload)));
    assert_int_equal(mg_buffer_append_zeros(&payload, 30 << 20, NULL), MG_OK);
    assert_int_not_equal(write_payload(client, CLUSTER, mg_buffer_slice(&payload), 60000, &err), MG_OK); /* too large */
    mg_span_reader_clear(&again);
    mg_buffer_cursor_close(cursor);
    mg_buffer_clear(&payload);
    mg_grpc_client_close(client);
    bench_clear(&bench);
}

/* A store that has all the memory it may have does not keep the pump from taking a large transaction; and both together
 * stay below the limit. */
static void a_full_store_leaves_the_pump_its_share(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    assert_int_equal(mg_budget_reserve(&bench.store, STORE_MEMORY, &err), MG_OK);
    assert_int_equal(mg_budget_left(&bench.store), 0);
    struct mg_grpc_client *client = connect_to(bench.address);
    struct mg_buffer payload;
    mg_buffer_init(&payload, SIZE_MAX / 2);
    size_t size = MESSAGE_MAX - 64;
    assert_int_equal(mg_buffer_append(&payload, "\x10\x64\x2a", 3, NULL), MG_OK);
    assert_int_equal(mg_buffer_append_varint(&payload, size, NULL), MG_OK);
    assert_int_equal(mg_buffer_append_zeros(&payload, size, NULL), MG_OK);
    assert_int_equal(write_payload(client, CLUSTER, mg_buffer_slice(&payload), 60000, &err), MG_OK);
    assert_true(atomic_load(&bench.messages.peak_bytes) >= size);
    assert_true(atomic_load(&bench.messages.peak_bytes) <= MESSAGE_MAX + (size_t)MG_GRPC_MESSAGE_EXTRA);
    assert_int_equal(atomic_load(&bench.memory.peak_bytes), MEMORY + STORE_MEMORY);
    mg_buffer_clear(&payload);
    mg_grpc_client_close(client);
    mg_budget_release(&bench.store, STORE_MEMORY);
    bench_clear(&bench);
}

/* A TiDB connection: P, its ack, C, its ack. */
struct peer {
    struct mg_thread thread;
    const char *address;
    uint64_t first_ts;
    int count, acked;
};

static void peer_main(void *arg)
{
    struct peer *peer = arg;
    struct mg_grpc_client *client = connect_to(peer->address);
    for (int i = 0; i < peer->count; i++) {
        struct mg_error err = MG_ERROR_INIT;
        uint64_t start_ts = peer->first_ts + 2 * (uint64_t)i;
        struct mg_test_message commit = mg_test_end(MG_BINLOG_COMMIT, start_ts, start_ts + 1);
        if (write_p(client, start_ts, &err) != MG_OK ||
            write_payload(client, CLUSTER, mg_test_slice(&commit), 20000, &err) != MG_OK)
            break;
        peer->acked++;
    }
    mg_grpc_client_close(client);
}

enum { PEERS = 32, TXNS = 40 };

static void thirty_two_connections_share_syncs(void **state)
{
    struct bench bench;
    struct peer peers[PEERS];
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    for (int i = 0; i < PEERS; i++) {
        peers[i] = (struct peer){.address = bench.address, .first_ts = 1 + (uint64_t)i * 1000, .count = TXNS};
        assert_int_equal(mg_thread_start(&peers[i].thread, "peer", peer_main, &peers[i], NULL), MG_OK);
    }
    for (int i = 0; i < PEERS; i++) {
        mg_thread_join(&peers[i].thread);
        assert_int_equal(peers[i].acked, TXNS);
    }
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(bench.log, &stats);
    assert_int_equal(stats.last_ordinal, PEERS * TXNS * 2);
    print_message("%d connections: %.1f transactions per sync\n", PEERS, (double)PEERS * TXNS / (double)stats.syncs);
    bench_clear(&bench);
}

/* A disk without room delays answers, and gives them in order once there is room again; nothing is refused. */
static void waits_for_room(void **state)
{
    struct bench bench;
    struct peer peers[8];
    bench_init(&bench,
               &(struct mg_buffer_log_options){.segment_bytes = 8192, .limit_bytes = 4 * 8192, .queue_max = 1000});
    for (size_t i = 0; i < MG_COUNT_OF(peers); i++) {
        peers[i] = (struct peer){.address = bench.address, .first_ts = 1 + (uint64_t)i * 1000, .count = 60};
        assert_int_equal(mg_thread_start(&peers[i].thread, "peer", peer_main, &peers[i], NULL), MG_OK);
    }
    /* A consumer, slower than they are. */
    uint64_t wanted = MG_COUNT_OF(peers) * 60 * 2, seen = 0, last = 0;
    bool was_full = false;
    while (seen < wanted) {
        struct mg_buffer_log_stats stats;
        uint64_t durable = mg_buffer_log_wait(bench.log, last, 1000);
        mg_buffer_log_stats(bench.log, &stats);
        was_full |= stats.full;
        assert_false(stats.stopped);
        last = durable;
        seen = stats.last_ordinal;
        if (stats.full || seen == wanted) {
            usleep(20000);
            assert_int_equal(mg_buffer_log_trim(bench.log, last, NULL), MG_OK);
        }
    }
    assert_true(was_full);
    for (size_t i = 0; i < MG_COUNT_OF(peers); i++) {
        mg_thread_join(&peers[i].thread);
        assert_int_equal(peers[i].acked, 60);
    }
    bench_clear(&bench);
}

static void a_failed_disk_is_no_ack(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    struct mg_grpc_client *client = connect_to(bench.address);
    assert_int_equal(write_p(client, 100, &err), MG_OK);
    mg_io_fault_fail(bench.disk, MG_FAULT_SYNC, 1, EIO, false);
    assert_int_not_equal(write_p(client, 101, &err), MG_OK);
    assert_int_not_equal(write_p(client, 102, &err), MG_OK);
    mg_grpc_client_close(client);
    bench_clear(&bench);
}

/* The records of 32 connections whose server dies with its disk at some moment: what was acked is there. */
static void a_power_cut_loses_no_ack(void **state)
{
    for (uint64_t nth = 3; nth < 12; nth += 3) {
        struct bench bench;
        struct peer peers[PEERS];
        bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30, .segment_bytes = 1 << 16});
        mg_io_fault_fail(bench.disk, MG_FAULT_SYNC, nth, EIO, true);
        uint64_t acked = 0;
        for (int i = 0; i < PEERS; i++) {
            peers[i] = (struct peer){.address = bench.address, .first_ts = 1 + (uint64_t)i * 1000, .count = TXNS};
            assert_int_equal(mg_thread_start(&peers[i].thread, "peer", peer_main, &peers[i], NULL), MG_OK);
        }
        for (int i = 0; i < PEERS; i++) {
            mg_thread_join(&peers[i].thread);
            acked += 2 * (uint64_t)peers[i].acked;
        }
        mg_io_fault_crash(bench.disk, MG_LOSE_SOME);
        mg_source_pump.stop(bench.source);
        mg_source_pump.close(MG_TAKE(bench.source));
        mg_buffer_log_close(bench.log);
        struct mg_buffer_log_options options = {
            .folder = "buffer", .io = mg_io_fault_io(bench.disk), .store_id = 1, .segment_bytes = 1 << 16};
        assert_int_equal(mg_buffer_log_open(&options, &bench.log, NULL), MG_OK);
        assert_true(records(&bench) >= acked);
        mg_buffer_log_close(bench.log);
        mg_io_fault_free(bench.disk);
        char command[64];
        snprintf(command, sizeof command, "rm -r %s", bench.folder);
        assert_int_equal(system(command), 0);
    }
}

static void a_source_that_is_away_is_unavailable(void **state)
{
    struct bench bench;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_source_health health;
    struct mg_settlement settlement;
    uint64_t ts;
    bench_init(&bench, &(struct mg_buffer_log_options){.limit_bytes = 1 << 30});
    assert_int_equal(mg_source_pump.oracle(bench.source, 1000, &ts, &err), MG_UNAVAILABLE);
    assert_int_equal(mg_source_pump.settle(bench.source, 5, mg_slice_text("k"), &settlement, &err), MG_UNAVAILABLE);
    assert_int_equal(mg_source_pump.health(bench.source, &health, &err), MG_OK);
    assert_false(health.status_reachable);
    assert_false(health.peer_connected);
    struct mg_grpc_client *client = connect_to(bench.address);
    assert_int_equal(write_p(client, 1, &err), MG_OK);
    assert_int_equal(mg_source_pump.health(bench.source, &health, &err), MG_OK);
    assert_true(health.peer_connected);
    mg_grpc_client_close(client);
    bench_clear(&bench);
}

int main(void)
{
    mg_log_set_level(MG_LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_it_acks_and_nothing_else),
        cmocka_unit_test(refuses_what_it_cannot_keep),
        cmocka_unit_test(takes_large_messages),
        cmocka_unit_test(a_full_store_leaves_the_pump_its_share),
        cmocka_unit_test(thirty_two_connections_share_syncs),
        cmocka_unit_test(waits_for_room),
        cmocka_unit_test(a_failed_disk_is_no_ack),
        cmocka_unit_test(a_power_cut_loses_no_ack),
        cmocka_unit_test(a_source_that_is_away_is_unavailable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
