/* server_internal.h -- the server's parts, for this room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SERVER_INTERNAL_H
#define MG_SERVER_INTERNAL_H

#include "base/lock.h"
#include "connector/flight/flight.h"
#include "grpc/grpc.h"
#include "latch/latch.h"
#include "server/server.h"
#include "syncer/syncer.h"

/* Immutable after start but for the settings. Owns all it points to. */
struct mg_server {
    struct mg_io *io;
    struct mg_clock *clock;
    int64_t started_ms;
    char address[128];
    struct mg_budget memory; /* the root: memory_limit */
    struct mg_budget engine_memory, scan_memory, grpc_memory, syncer_memory;
    struct mg_budget pump_memory; /* a share of it; 0 bytes without a source */
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_flight *flight;
    struct mg_grpc_server *grpc;
    struct mg_syncer *syncer; /* NULL: no source */
    char source_password[256];
    char engine_folder[MG_SETTING_TEXT_MAX + 16], buffer_folder[MG_SETTING_TEXT_MAX + 16];

    struct mg_mutex lock;        /* MG_RANK_SERVER */
    struct mg_settings settings; /* MG_GUARDED_BY(lock) once started */
};

/* What the connector asks the server for: status, lag, set (report.c). */
struct mg_flight_hooks mg_server__hooks(struct mg_server *server);
/* Make a setting true in the running parts; called with the lock held, or before others can reach the server. */
MG_MUST_CHECK enum mg_code mg_server__apply(struct mg_server *server, enum mg_setting_id id, struct mg_error *err);

#endif
