/* flight.h -- Arrow Flight: tables of an engine as flights, leases and status as actions.
 *
 * The service is a table of gRPC methods; the server hangs it into its gRPC server. What it does not know itself
 * (settings, the state of the sources) it asks for through a small table of functions, because arrows point down.
 * Wire     proto/scan.proto, proto/flight.proto, docs/format/scan.md, docs/format/ticket.md.
 * Threads  handlers run on the gRPC server's workers, many at once; the service itself is immutable but for its
 *          settings, which are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CONNECTOR_FLIGHT_H
#define MG_CONNECTOR_FLIGHT_H

#include "base/budget.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "grpc/grpc.h"
#include "latch/latch.h"

struct mg_flight;

enum { MG_FLIGHT_LAG_TABLES_MAX = 9 };
/* What is known of how far the store is behind its source; the numbers of LagResponse. Zeroed memory, state NULL: no
 * source. */
struct mg_flight_lag {
    char source[MG_SOURCE_NAME_MAX];
    const char *state; /* static: "running", "waiting", "paused", "stopped", "none" */
    char reason[512];
    uint64_t watermark_ts;
    int64_t lag_ms;
    uint64_t open_txns, waiting_txns, buffered_records;
    uint64_t oldest_open_start_ts;
    int64_t oldest_open_age_ms;
    char oldest_open_tables[MG_FLIGHT_LAG_TABLES_MAX][2 * MG_NAME_MAX];
    uint32_t oldest_open_table_count;
    uint64_t known_ts;
};

/* One line of status; texts are borrowed for the call. Another code than MG_OK ends the walk. */
typedef enum mg_code mg_flight_status_fn(void *arg, const char *group, const char *name, const char *value,
                                         const char *unit, struct mg_error *err);

/* What the server answers for the service. Any thread. */
struct mg_flight_hooks {
    void *arg;
    enum mg_code (*status)(void *arg, mg_flight_status_fn *fn, void *fn_arg, struct mg_error *err);
    void (*lag)(void *arg, struct mg_flight_lag *out);
    /* Change a setting; out_value is its value as it is now. MG_NOT_FOUND, MG_INVALID say what is wrong. */
    enum mg_code (*set)(void *arg, const char *name, const char *value, char out_value[256], struct mg_error *err);
};

struct mg_flight_options {
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_budget *budget; /* of scans and requests; NULL = not limited */
    struct mg_flight_hooks hooks;
    int64_t put_silence_ms; /* how long a load that keeps others waiting waits for its client; 0 = 30 s */
};

enum { MG_FLIGHT_SPLITS_MAX = 1024 };

/* Everything in options outlives the service. */
MG_MUST_CHECK enum mg_code mg_flight_new(const struct mg_flight_options *options, struct mg_flight **out,
                                         struct mg_error *err);
void mg_flight_free(struct mg_flight *flight); /* after the gRPC server has stopped; NULL is allowed */
/* The methods of arrow.flight.protocol.FlightService; valid as long as the service. */
const struct mg_grpc_method *mg_flight_methods(const struct mg_flight *flight, size_t *out_count);

/* Splits of a scan that does not say how many it wants: 1 to MG_FLIGHT_SPLITS_MAX. */
void mg_flight_set_splits(struct mg_flight *flight, uint32_t splits);
uint32_t mg_flight_splits(const struct mg_flight *flight);
/* Threads of a scan that is not split, where rows do not leave one by one: 1 to MG_SCAN_THREADS_MAX. */
void mg_flight_set_scan_threads(struct mg_flight *flight, uint32_t threads);
/* For tests: split small tables, too. */
void mg_flight_set_splits_force(struct mg_flight *flight, bool force);
bool mg_flight_splits_force(const struct mg_flight *flight);

#endif
