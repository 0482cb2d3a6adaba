/* service.c -- the Flight service: its table of methods, and those that are small.
 *
 * Method         what it does here
 * GetFlightInfo  plan.c      GetSchema   plan.c     DoGet     do_get.c    ListFlights  tables.c
 * DoPut          do_put.c    DoAction    actions.c  ListActions actions.c
 * Handshake takes anybody: this version has no users. PollFlightInfo, DoExchange: UNIMPLEMENTED by name
 *
 * Threads  the service is immutable once made, but for its atomics and the turn of DoPut.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "connector/flight/flight_internal.h"

enum { SPLITS_DEFAULT = 8, PUT_SILENCE_MS = 30 * 1000 };

enum mg_code mg_flight__handshake(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_slice message;
    enum mg_code code;

    (void)arg;
    do {
        code = mg_grpc_call_receive(call, &message, err);
        if (code == MG_OK) { /* an empty response: no token */
            struct iovec nothing = {.iov_base = NULL, .iov_len = 0};
            code = mg_grpc_call_send(call, &nothing, 0, NULL, NULL, err);
        }
    } while (code == MG_OK);
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code poll_flight_info(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    (void)call;
    (void)arg;
    return mg_fail(err, MG_UNIMPLEMENTED, "PollFlightInfo: plans are made at once here; use GetFlightInfo");
}

static enum mg_code do_exchange(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    (void)call;
    (void)arg;
    return mg_fail(err, MG_UNIMPLEMENTED, "DoExchange: not in this version; rows are loaded with DoPut");
}

#define PATH(method) "/arrow.flight.protocol.FlightService/" method

enum mg_code mg_flight_new(const struct mg_flight_options *options, struct mg_flight **out, struct mg_error *err)
{
    const struct mg_grpc_method methods[MG_FLIGHT__METHODS] = {
        {.path = PATH("Handshake"), .handler = mg_flight__handshake},
        {.path = PATH("ListFlights"), .handler = mg_flight__list_flights, .streams = true},
        {.path = PATH("GetFlightInfo"), .handler = mg_flight__get_flight_info, .request_max = MG_FLIGHT__REQUEST_MAX},
        {.path = PATH("PollFlightInfo"), .handler = poll_flight_info},
        {.path = PATH("GetSchema"), .handler = mg_flight__get_schema, .request_max = MG_FLIGHT__REQUEST_MAX},
        {.path = PATH("DoGet"), .handler = mg_flight__do_get, .request_max = MG_FLIGHT__TICKET_MAX, .streams = true},
        {.path = PATH("DoPut"), .handler = mg_flight__do_put, .streams = true},
        {.path = PATH("DoExchange"), .handler = do_exchange, .streams = true},
        {.path = PATH("DoAction"), .handler = mg_flight__do_action, .request_max = MG_FLIGHT__REQUEST_MAX},
        {.path = PATH("ListActions"), .handler = mg_flight__list_actions},
    };
    struct mg_flight *flight = calloc(1, sizeof *flight);

    if (!flight)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the Flight service");
    flight->engine = options->engine;
    flight->latch = options->latch;
    flight->budget = options->budget;
    flight->put_silence_ms = options->put_silence_ms ? options->put_silence_ms : PUT_SILENCE_MS;
    flight->hooks = options->hooks;
    atomic_init(&flight->splits, SPLITS_DEFAULT);
    atomic_init(&flight->scan_threads, 1);
    atomic_init(&flight->splits_force, false);
    mg_mutex_init(&flight->put_lock, MG_RANK_CONNECTOR, "flight.put");
    mg_cond_init(&flight->put_over);
    for (size_t i = 0; i < MG_FLIGHT__METHODS; i++) {
        flight->methods[i] = methods[i];
        flight->methods[i].arg = flight;
    }
    *out = flight;
    return MG_OK;
}

void mg_flight_free(struct mg_flight *flight)
{
    if (!flight)
        return;
    mg_cond_destroy(&flight->put_over);
    mg_mutex_destroy(&flight->put_lock);
    free(flight);
}

const struct mg_grpc_method *mg_flight_methods(const struct mg_flight *flight, size_t *out_count)
{
    *out_count = MG_FLIGHT__METHODS;
    return flight->methods;
}

void mg_flight_set_splits(struct mg_flight *flight, uint32_t splits)
{
    mg_assert(splits >= 1 && splits <= MG_FLIGHT_SPLITS_MAX);
    atomic_store_explicit(&flight->splits, splits, memory_order_relaxed);
}

uint32_t mg_flight_splits(const struct mg_flight *flight)
{
    return atomic_load_explicit(&flight->splits, memory_order_relaxed);
}

void mg_flight_set_scan_threads(struct mg_flight *flight, uint32_t threads)
{
    mg_assert(threads >= 1 && threads <= MG_SCAN_THREADS_MAX);
    atomic_store_explicit(&flight->scan_threads, threads, memory_order_relaxed);
}

void mg_flight_set_splits_force(struct mg_flight *flight, bool force)
{
    atomic_store_explicit(&flight->splits_force, force, memory_order_relaxed);
}

bool mg_flight_splits_force(const struct mg_flight *flight)
{
    return atomic_load_explicit(&flight->splits_force, memory_order_relaxed);
}
