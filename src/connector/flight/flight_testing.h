/* flight_testing.h -- the service on a real socket over an engine whose disk is in memory, with a client. For tests
 * only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CONNECTOR_FLIGHT_TESTING_H
#define MG_CONNECTOR_FLIGHT_TESTING_H

#include "base/io_fault.h"
#include "base/testing.h"
#include "connector/flight/flight_internal.h"

struct flight_service {
    const struct mg_engine_ops *ops;
    struct mg_io_fault *disk;
    struct mg_budget memory;
    struct mg_budget *engine_memory; /* NULL: not limited */
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_latch_writer *writer; /* the test's; NULL: none */
    struct mg_flight *flight;
    struct mg_grpc_server *server;
    struct mg_grpc_client *client;
    char address[128];
};

static inline void flight_service_init(struct flight_service *service, const struct mg_engine_ops *ops,
                                       size_t memory_bytes)
{
    service->ops = ops;
    service->disk = mg_io_fault_new(1);
    mg_budget_init(&service->memory, "test", NULL, memory_bytes);
}

/* clock NULL: the machine's; ttl_ms 0: the default. */
static inline void flight_service_open(struct flight_service *service, struct mg_clock *clock, int64_t ttl_ms)
{
    struct mg_engine_options options = {
        .folder = "/store", .io = mg_io_fault_io(service->disk), .budget = service->engine_memory};
    struct mg_latch_options latch = {.secret = "a secret of thirty-two bytes...", .clock = clock, .ttl_ms = ttl_ms};
    struct mg_grpc_server_options grpc = {0};
    struct mg_error err;

    assert_ok(service->ops->open(&options, &service->engine, &err));
    latch.engine = service->engine;
    assert_ok(mg_latch_new(&latch, &service->latch, &err));
    struct mg_flight_options flight = {.engine = service->engine, .latch = service->latch, .budget = &service->memory};
    assert_ok(mg_flight_new(&flight, &service->flight, &err));
    grpc.methods = mg_flight_methods(service->flight, &grpc.method_count);
    assert_ok(mg_grpc_server_new(&grpc, &service->server, &err));
    assert_ok(mg_grpc_server_listen(service->server, "127.0.0.1:0", service->address, &err));
    assert_ok(mg_grpc_server_start(service->server, &err));
    assert_ok(mg_grpc_client_connect(service->address, NULL, &service->client, &err));
}

/* The disk stays: it may be opened again. */
static inline void flight_service_close(struct flight_service *service)
{
    mg_grpc_client_close(service->client);
    mg_grpc_server_free(service->server);
    mg_flight_free(service->flight);
    mg_latch_writer_close(service->writer);
    service->writer = NULL;
    mg_latch_free(service->latch);
    service->ops->close(service->engine);
}

/* Every request gave back what it took. */
static inline void flight_service_clear(struct flight_service *service)
{
    mg_io_fault_free(service->disk);
    assert_int_equal(mg_budget_used(&service->memory), 0);
}

#endif
