/* binlog.h -- TiDB's binlog messages, read where they lie: no copy, every length checked.
 *
 * Messages  binlog.WriteBinlogReq, binlog.Binlog and the outline of binlog.PrewriteValue; proto/pump.proto has their
 *           fields.
 * Shape     what a reader gives out are slices of its input and live as long as that: a payload may have a gigabyte.
 *           One that is not in memory is read as its outline, which has all but the rows, and the rows as a span.
 * Rules     unknown fields are skipped; of a field that comes twice the last counts; groups, field number 0, cut or
 *           overlong values, and timestamps with the top bit set are MG_PROTOCOL.
 * Threads   pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_BINLOG_H
#define MG_SYNCER_BINLOG_H

#include "base/buffer.h"
#include "base/span.h"

/* WriteBinlogReq */
struct mg_binlog_request {
    uint64_t cluster_id;
    struct mg_slice payload; /* a marshalled Binlog; empty: the peer asks whether we are alive */
};

enum mg_binlog_type {
    MG_BINLOG_PREWRITE = 0,
    MG_BINLOG_COMMIT = 1,
    MG_BINLOG_ROLLBACK = 2,
    MG_BINLOG_PRE_DDL = 3,  /* obsolete */
    MG_BINLOG_POST_DDL = 4, /* obsolete */
};

/* Decide by `type` alone: commits and rollbacks still carry key, job and query of their prewrite. */
struct mg_binlog {
    enum mg_binlog_type type;
    uint64_t start_ts;
    uint64_t commit_ts;             /* COMMIT only, else 0 */
    struct mg_slice prewrite_key;   /* raw key of the transaction's primary lock */
    struct mg_slice prewrite_value; /* a marshalled PrewriteValue; PREWRITE of rows only */
    struct mg_slice ddl_query;
    int64_t ddl_job_id; /* above 0: a schema change */
    int32_t ddl_schema_state;
};

MG_MUST_CHECK enum mg_code mg_binlog_read_request(struct mg_slice message, struct mg_binlog_request *out,
                                                  struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_binlog_read(struct mg_slice payload, struct mg_binlog *out, struct mg_error *err);
/* The same for a payload that may not be in memory. *out_value: its PrewriteValue, which *out then does not have; the
 * rest of *out lies in `outline`, or in the payload if that is in memory. Of a statement outside memory the first
 * MG_BINLOG_QUERY_MAX bytes are kept. MG_TOO_BIG above outline's maximum; other errors are those of reading. */
enum { MG_BINLOG_QUERY_MAX = 4096 };
MG_MUST_CHECK enum mg_code mg_binlog_read_span(const struct mg_span *payload, struct mg_buffer *outline,
                                               struct mg_binlog *out, struct mg_span *out_value, struct mg_error *err);

/* The table ids of a PrewriteValue in its order, for people; returns how many there are in all (those up to the first
 * damage), and fills at most max. */
uint32_t mg_binlog_table_ids(const struct mg_span *prewrite_value, int64_t *out, uint32_t max);

#endif
