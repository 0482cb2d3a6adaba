/* flight_internal.h -- what the files of the Flight service share: a request's memory, a resolved scan, tickets,
 * streams.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CONNECTOR_FLIGHT_INTERNAL_H
#define MG_CONNECTOR_FLIGHT_INTERNAL_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/lock.h"
#include "column/ipc.h"
#include "connector/flight/flight.h"
#include "engine/name.h"
#include "expr/aggregate.h"
#include "expr/expr.h"
#include "expr/top.h"
#include "proto/flight.pb-c.h"
#include "proto/scan.pb-c.h"

enum {
    MG_FLIGHT__REQUEST_MAX = 4 << 20, /* bytes of a descriptor or an action; each ticket repeats the predicate */
    MG_FLIGHT__TICKET_MAX = 8 << 20,
    MG_FLIGHT__ANSWER_MAX = 32 << 20,                    /* bytes of a FlightInfo; fewer splits when tickets are big */
    MG_FLIGHT__BODY_MAX = 2 << 20,                       /* bytes of one record batch; one row may be bigger */
    MG_FLIGHT__NESTING_MAX = 2 * MG_EXPR_DEPTH_MAX + 16, /* messages inside messages */
    MG_FLIGHT__METHODS = 10,
};

/* Immutable but for the atomics and what a lock guards. Borrows everything. */
struct mg_flight {
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_budget *budget;
    struct mg_flight_hooks hooks;
    int64_t put_silence_ms;
    atomic_uint splits, scan_threads;
    atomic_bool splits_force;
    struct mg_grpc_method methods[MG_FLIGHT__METHODS];

    struct mg_mutex put_lock; /* MG_RANK_CONNECTOR: all fields below */
    struct mg_cond put_over;
    bool putting; /* one DoPut is the writer of the source local */
};

/* ---- a request's memory and messages (message.c) ---- */

/* One call: its arena, accounted to the service's budget. Belongs to the handler's thread. */
struct mg_flight__request {
    struct mg_flight *flight;
    struct mg_grpc_call *call;
    struct mg_slice bytes; /* the client's message, borrowed from the call */
    struct mg_arena arena;
    size_t reserved_bytes;
};

/* Receive the one message of a call. End with mg_flight__request_end also when this failed. */
MG_MUST_CHECK enum mg_code mg_flight__request_begin(struct mg_flight__request *request, struct mg_flight *flight,
                                                    struct mg_grpc_call *call, struct mg_error *err);
void mg_flight__request_end(struct mg_flight__request *request);
/* How long a reader and a loader wait for memory: flushes and merges give some back in a fraction of it. */
enum { MG_FLIGHT__READ_WAIT_MS = 5 * 1000, MG_FLIGHT__PUT_WAIT_MS = 60 * 1000 };
/* Whether to try again what ended with code: after MG_NO_MEMORY, once others had a moment to give some back. false:
 * they had long enough, or the client is gone. *left_ms begins with one of those above. */
bool mg_flight__waits(struct mg_flight__request *request, enum mg_code code, int *left_ms);

/* Unpack into the arena. Nesting and the arena bound what a hostile message can cost; `what` names it in errors. */
MG_MUST_CHECK enum mg_code mg_flight__unpack(const ProtobufCMessageDescriptor *descriptor, struct mg_slice bytes,
                                             const char *what, struct mg_arena *arena, ProtobufCMessage **out,
                                             struct mg_error *err);
#define MG_FLIGHT__UNPACK(descriptor, bytes, what, arena, out, err) \
    mg_flight__unpack(&(descriptor), (bytes), (what), (arena), (ProtobufCMessage **)(void *)(out), (err))
/* Pack into the arena. */
MG_MUST_CHECK enum mg_code mg_flight__pack(const ProtobufCMessage *message, struct mg_arena *arena,
                                           struct mg_slice *out, struct mg_error *err);
/* Append the packed message. */
MG_MUST_CHECK enum mg_code mg_flight__pack_into(const ProtobufCMessage *message, struct mg_buffer *out,
                                                struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__send(struct mg_flight__request *request, const ProtobufCMessage *message,
                                           struct mg_error *err);
static inline struct mg_slice mg_flight__bytes(ProtobufCBinaryData data) { return MG_SLICE(data.data, data.len); }
static inline ProtobufCBinaryData mg_flight__binary(struct mg_slice s)
{
    return (ProtobufCBinaryData){.len = s.size, .data = (uint8_t *)(uintptr_t)s.data};
}

/* ---- predicates (predicate.c) ---- */

MG_MUST_CHECK enum mg_code mg_flight__predicate_read(const Magic__V1__Expr *proto, struct mg_arena *arena,
                                                     struct mg_expr **out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__predicate_write(const struct mg_expr *expr, struct mg_arena *arena,
                                                      Magic__V1__Expr **out, struct mg_error *err);

/* ---- aggregates (aggregate.c) ---- */

/* Bind to the schema, by the rules that belong to the profile. */
MG_MUST_CHECK enum mg_code mg_flight__aggregate_read(const Magic__V1__Aggregation *proto,
                                                     const struct mg_schema *schema, enum mg_profile profile,
                                                     struct mg_arena *arena, struct mg_aggregate **out,
                                                     struct mg_error *err);
/* The columns of its results. */
MG_MUST_CHECK enum mg_code mg_flight__aggregate_fields(const struct mg_aggregate *aggregate, struct mg_arena *arena,
                                                       struct mg_field **out, struct mg_error *err);

/* ---- the state of a table at a snapshot (state.c) ---- */

struct mg_flight__state {
    enum mg_table_state state;
    const char *reason;     /* in the arena; NULL: none */
    uint64_t good_until_ts; /* NEEDS_RELOAD */
};
const char *mg_flight__state_name(enum mg_table_state state);
/* As it is known now, which may be worse than what the schema at the snapshot says. */
MG_MUST_CHECK enum mg_code mg_flight__state_at(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                               struct mg_arena *arena, struct mg_flight__state *out,
                                               struct mg_error *err);
/* MG_OK if rows of this table can be read at the snapshot; else the table's own error with its reason. */
MG_MUST_CHECK enum mg_code mg_flight__table_check(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                                  struct mg_arena *arena, struct mg_error *err);

/* ---- a scan descriptor held against a snapshot (scan.c) ---- */

/* Owns predicate, aggregate and schema; the arrays live in the request's arena. */
struct mg_flight__scan {
    struct mg_schema *schema;
    const char **names; /* the columns, spelled as the schema does */
    uint32_t *columns;  /* places in the schema */
    uint32_t column_count;
    struct mg_field *fields; /* of what comes: the columns under the profile, or an aggregate's */
    uint32_t field_count;
    bool no_columns;
    struct mg_predicate *predicate; /* NULL: all rows */
    struct mg_aggregate *aggregate; /* NULL: rows; else there are no columns */
    enum mg_profile profile;
    uint64_t limit; /* per split; 0 = all */
    struct mg_top_order *order;
    uint32_t order_count;
};

/* The table must be readable at the snapshot. End with mg_flight__scan_clear also when this failed (zeroed memory
 * before). */
MG_MUST_CHECK enum mg_code mg_flight__scan_resolve(struct mg_flight__scan *scan, const struct mg_snapshot *snapshot,
                                                   const Magic__V1__ScanDescriptor *descriptor, struct mg_arena *arena,
                                                   struct mg_error *err);
/* As above, for a ticket: the table is given by number. */
MG_MUST_CHECK enum mg_code mg_flight__scan_resolve_ticket(struct mg_flight__scan *scan,
                                                          const struct mg_snapshot *snapshot,
                                                          const Magic__V1__TicketBody *body, struct mg_arena *arena,
                                                          struct mg_error *err);
void mg_flight__scan_clear(struct mg_flight__scan *scan);
/* The visible columns as fields. */
MG_MUST_CHECK enum mg_code mg_flight__fields(const struct mg_schema *schema, enum mg_profile profile,
                                             struct mg_arena *arena, struct mg_field **out, uint32_t *out_count,
                                             struct mg_error *err);

/* ---- tables that are being loaded (put_table.c) ---- */

/* The database of tables that nobody may see yet. A name of MySQL never ends with a blank. */
#define MG_FLIGHT__LOADING "loading "
static inline bool mg_flight__is_loading(struct mg_slice database)
{
    return mg_name_compare(database, mg_slice_text(MG_FLIGHT__LOADING)) == 0;
}

/* ---- tickets (ticket.c) ---- */

/* A serialised magic.v1.Ticket, in place of what scratch holds; it lives there until scratch changes. */
MG_MUST_CHECK enum mg_code mg_flight__ticket_write(const struct mg_latch *latch, const Magic__V1__TicketBody *body,
                                                   struct mg_buffer *scratch, struct mg_slice *out,
                                                   struct mg_error *err);
/* The body of a ticket that this store made; every field is checked for its range. */
MG_MUST_CHECK enum mg_code mg_flight__ticket_read(const struct mg_latch *latch, uint64_t store_id,
                                                  struct mg_slice ticket, struct mg_arena *arena,
                                                  Magic__V1__TicketBody **out, struct mg_error *err);

/* ---- planning (plan.c) ---- */

/* What a descriptor asks for. Exactly one of scan and sql is set. */
struct mg_flight__command {
    Magic__V1__ScanDescriptor *scan;
    Magic__V1__SqlStatement *sql;
};
MG_MUST_CHECK enum mg_code mg_flight__command_read(const Arrow__Flight__Protocol__FlightDescriptor *descriptor,
                                                   struct mg_arena *arena, struct mg_flight__command *out,
                                                   struct mg_error *err);
/* A lease and its snapshot for what a request names. own: the lease was made for this request. */
struct mg_flight__lease {
    struct mg_lease lease;
    struct mg_snapshot *snapshot;
    bool own;
};
/* ref may be NULL: latest. share: readers of one epoch may stand on one lease. */
MG_MUST_CHECK enum mg_code mg_flight__lease_take(struct mg_flight__request *request, const Magic__V1__SnapshotRef *ref,
                                                 const char *holder, int64_t ttl_ms, bool share,
                                                 struct mg_flight__lease *out, struct mg_error *err);
/* Let go of the snapshot, and of the lease when it is our own and nobody was told of it. */
void mg_flight__lease_drop(struct mg_flight__request *request, struct mg_flight__lease *lease, bool told);
MG_MUST_CHECK enum mg_code mg_flight__snapshot_proto(const struct mg_snapshot *snapshot, struct mg_arena *arena,
                                                     Magic__V1__Snapshot **out, struct mg_error *err);

/* ---- statements without a scan (show.c) ---- */

MG_MUST_CHECK enum mg_code mg_flight__show_fields(const char *sql, struct mg_arena *arena, struct mg_field **out,
                                                  uint32_t *out_count, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__show_batch(const Magic__V1__SqlStatement *statement,
                                                 const struct mg_snapshot *snapshot, struct mg_arena *arena,
                                                 struct mg_budget *budget, struct mg_batch **out, struct mg_error *err);

/* ---- streams (stream.c) ---- */

struct mg_flight__message;

/* What a handler sends, and what of it is still under way. The handler's, but for what the lock guards. */
struct mg_flight__stream {
    struct mg_grpc_call *call;
    uint64_t row_count, byte_count; /* sent so far, bodies alone; the handler's */

    struct mg_mutex lock; /* MG_RANK_LEAF: all fields below */
    struct mg_cond came_back;
    uint32_t away;                   /* messages that the transport holds */
    struct mg_flight__message *back; /* sent or dropped, to be freed by the handler */
};
void mg_flight__stream_init(struct mg_flight__stream *stream, struct mg_grpc_call *call);
/* Waits until the transport has let go of every message: afterwards no batch of this stream is in use. */
void mg_flight__stream_end(struct mg_flight__stream *stream);
MG_MUST_CHECK enum mg_code mg_flight__send_schema(struct mg_flight__stream *stream, const struct mg_field *fields,
                                                  uint32_t count, struct mg_error *err);
/* In pieces of at most MG_FLIGHT__BODY_MAX. The batch may be unreferenced after return. */
MG_MUST_CHECK enum mg_code mg_flight__send_batch(struct mg_flight__stream *stream, struct mg_batch *batch,
                                                 struct mg_error *err);

/* ---- tables for people (tables.c) ---- */

/* Tables of a snapshot with a reference each: collected first, so that the engine is not held while a client reads
 * slowly. */
struct mg_flight__tables {
    struct mg_schema **at; /* in the arena */
    uint32_t count;
};
/* database, table: empty = all. End with clear also when this failed. */
MG_MUST_CHECK enum mg_code mg_flight__tables_collect(struct mg_flight__tables *tables,
                                                     const struct mg_snapshot *snapshot, struct mg_slice database,
                                                     struct mg_slice table, struct mg_arena *arena,
                                                     struct mg_error *err);
void mg_flight__tables_clear(struct mg_flight__tables *tables);
/* Names compare without letter case. */
MG_MUST_CHECK enum mg_code mg_flight__has_database(const struct mg_snapshot *snapshot, struct mg_slice name, bool *out,
                                                   struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__table_info(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                                 struct mg_arena *arena, Magic__V1__TableInfo **out,
                                                 struct mg_error *err);

/* ---- statistics (column_stats.c) ---- */

MG_MUST_CHECK enum mg_code mg_flight__table_stats(const struct mg_snapshot *snapshot,
                                                  const Magic__V1__StatsRequest *request, struct mg_arena *arena,
                                                  Magic__V1__TableStats *out, struct mg_error *err);

/* ---- verification (verified.c) ---- */

enum { MG_FLIGHT__LAG_VERIFY_MAX = 8 };
/* Fills what TableInfo says of it (info may be NULL); *out_reason NULL: nothing contradicted. */
MG_MUST_CHECK enum mg_code mg_flight__verified_table(struct mg_engine *engine, uint64_t table_id,
                                                     struct mg_arena *arena, Magic__V1__TableInfo *info,
                                                     char **out_reason, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__verified_lag(struct mg_engine *engine, struct mg_arena *arena,
                                                   Magic__V1__LagResponse *lag, struct mg_error *err);

/* ---- handlers ---- */

mg_grpc_handler mg_flight__get_flight_info, mg_flight__get_schema, mg_flight__list_flights, mg_flight__do_get,
    mg_flight__do_put, mg_flight__do_action, mg_flight__list_actions, mg_flight__handshake;

/* Actions that have a file of their own (compact.c). */
enum mg_code mg_flight__compact(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err);
enum mg_code mg_flight__compactions(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err);
enum mg_code mg_flight__cancel_compaction(struct mg_flight__request *request, struct mg_slice body,
                                          struct mg_error *err);

#endif
