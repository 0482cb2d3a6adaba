/* put.h -- what the files of DoPut share: the stream's head, the table that is loaded, the rows on their way into it.
 *
 *     do_put.c --head--> put_table.c: which table, made or found --rows--> put_rows.c: epochs --keys--> put_keys.c
 *              --end---> put_table.c: a table that was loaded unseen takes its name
 *
 * Threads  everything belongs to the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CONNECTOR_PUT_H
#define MG_CONNECTOR_PUT_H

#include "connector/flight/flight_internal.h"

#define MG_FLIGHT__LOCAL "local" /* the source of tables that nobody else owns */

enum { MG_FLIGHT__PUT_EPOCH_ROWS = 64 << 10 }; /* of a PATH that appends, and of what is loaded unseen */

/* ---- what a client sends (do_put.c) ---- */

/* One FlightData, borrowed from the message. */
struct mg_flight__data {
    struct mg_slice descriptor, header, body; /* empty: not sent */
};
MG_MUST_CHECK enum mg_code mg_flight__data_read(struct mg_slice message, struct mg_flight__data *out,
                                                struct mg_error *err);
/* A FlightDescriptor of DoPut: a CMD with a PutDescriptor, or a PATH [database, table, mode, key columns ...]. */
MG_MUST_CHECK enum mg_code mg_flight__put_read(struct mg_slice descriptor, struct mg_arena *arena,
                                               Magic__V1__PutDescriptor **out, struct mg_error *err);

/* ---- the keys of one epoch (put_keys.c) ---- */

/* Zeroed memory is an empty set without a budget. */
struct mg_flight__keys {
    struct mg_budget *budget;
    size_t reserved_bytes;
    struct mg_buffer bytes;       /* encoded keys back to back */
    uint32_t *offsets;            /* row_count + 1 */
    uint64_t *slots;              /* high half: hash, low half: row + 1; 0: free */
    uint32_t row_count, rows_max; /* rows_max: what offsets have room for */
    uint32_t slot_count;          /* a power of two */
};
void mg_flight__keys_init(struct mg_flight__keys *keys, struct mg_budget *budget);
void mg_flight__keys_clear(struct mg_flight__keys *keys);
/* Called for a row whose key an earlier row has. */
typedef enum mg_code mg_flight__twin_fn(void *arg, uint32_t row, uint32_t twin, struct mg_error *err);
/* All rows of a batch, numbered on from those before. vectors: the key columns, without NULL. */
MG_MUST_CHECK enum mg_code mg_flight__keys_add(struct mg_flight__keys *keys, const struct mg_vector *const *vectors,
                                               uint32_t key_count, uint32_t row_count, mg_flight__twin_fn *fn,
                                               void *arg, struct mg_error *err);
struct mg_slice mg_flight__keys_at(const struct mg_flight__keys *keys, uint32_t row);

/* ---- one DoPut ---- */

struct mg_flight__put {
    struct mg_flight__request *request; /* memory of the descriptor and the fields, the call */
    const Magic__V1__PutDescriptor *descriptor;
    struct mg_field *fields; /* of the stream */
    uint32_t field_count;

    struct mg_latch_writer *writer; /* owned */
    uint64_t watermark;             /* of the source local, which stays as it is */
    struct mg_schema *schema;       /* owned; the table that takes the rows, unseen or not */
    bool unseen;                    /* it is in MG_FLIGHT__LOADING until the end */
    uint64_t replaced_id;           /* unseen: the table whose name it takes; 0: none */
    uint32_t *from;                 /* per column of the schema: its place in the stream */

    struct mg_batch_builder builder; /* of the next chunk */
    bool building;                   /* builder is there */
    struct mg_batch **chunks;        /* owned; checked, for the epoch that is gathered */
    uint32_t chunk_count, chunks_max;
    uint64_t epoch_rows;         /* of the epoch that is gathered, in chunks and staged */
    uint64_t epoch_bytes;        /* in chunks */
    struct mg_epoch *epoch;      /* all rows are one epoch, and it is begun: chunks go there as they come; else NULL */
    uint64_t staged_rows;        /* of the epoch: they are there, and in no chunk any more */
    uint64_t rows_per_epoch;     /* 0: all */
    uint64_t done_rows;          /* in published epochs */
    uint64_t last_epoch;         /* published and visible */
    struct mg_flight__keys keys; /* of the epoch's rows from keys_first on */
    uint64_t keys_first;
};

/* ---- the table (put_table.c) ---- */

/* Find or make the table; the writer is open. */
MG_MUST_CHECK enum mg_code mg_flight__put_open(struct mg_flight__put *put, struct mg_error *err);
/* Let readers see a table that was loaded unseen. */
MG_MUST_CHECK enum mg_code mg_flight__put_show(struct mg_flight__put *put, struct mg_error *err);
/* Drop what was loaded unseen, by this DoPut or by one that the end of a process cut off. */
MG_MUST_CHECK enum mg_code mg_flight__put_sweep(struct mg_flight__put *put, struct mg_error *err);

/* ---- the rows (put_rows.c) ---- */

MG_MUST_CHECK enum mg_code mg_flight__put_rows_begin(struct mg_flight__put *put, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_flight__put_rows_add(struct mg_flight__put *put, const struct mg_batch *batch,
                                                   struct mg_error *err);
/* Publish what is gathered. */
MG_MUST_CHECK enum mg_code mg_flight__put_rows_end(struct mg_flight__put *put, struct mg_error *err);
void mg_flight__put_rows_clear(struct mg_flight__put *put);
/* A change of schemas as an epoch of its own; waits until it is visible. */
MG_MUST_CHECK enum mg_code mg_flight__put_changes(struct mg_flight__put *put, const struct mg_schema_change *changes,
                                                  uint32_t count, struct mg_error *err);
/* Publish what the writer staged and wait until it is visible. */
MG_MUST_CHECK enum mg_code mg_flight__put_publish(struct mg_flight__put *put, struct mg_error *err);
/* How long an epoch waits for those of other sources. */
enum { MG_FLIGHT__PUT_TURN_MS = 60 * 1000 };
/* As mg_flight__waits, unless this load's own rows are what fills the memory (do_put.c). */
bool mg_flight__put_waits(struct mg_flight__put *put, enum mg_code code, int *left_ms);
/* Tell the client how many rows are durable (do_put.c). */
MG_MUST_CHECK enum mg_code mg_flight__put_ack(struct mg_flight__put *put, struct mg_error *err);

#endif
