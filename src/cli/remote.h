/* remote.h -- one magicd as the shell sees it: actions, statements, streams of batches.
 *
 * Threads  a connection belongs to one thread at a time; calls block. Texts of errors are the server's own.
 * Wire     proto/scan.proto, proto/flight.proto.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CLI_REMOTE_H
#define MG_CLI_REMOTE_H

#include "base/bytes.h"
#include "base/error.h"
#include "column/batch.h"
#include "column/ipc.h"

struct mg_remote;

MG_MUST_CHECK enum mg_code mg_remote_open(const char *address, struct mg_remote **out, struct mg_error *err);
void mg_remote_close(struct mg_remote *remote); /* NULL is allowed */
void mg_remote_closep(struct mg_remote **remote);

/* Called once per Result of an action, with its body (borrowed); another code than MG_OK ends the call. */
typedef enum mg_code mg_remote_result_fn(void *arg, struct mg_slice body, struct mg_error *err);
/* DoAction. fn may be NULL when no result is of interest. */
MG_MUST_CHECK enum mg_code mg_remote_action(struct mg_remote *remote, const char *type, struct mg_slice body,
                                            mg_remote_result_fn *fn, void *arg, struct mg_error *err);

/* What takes the rows of a statement. begin comes once, before all batches. */
struct mg_row_sink {
    void *arg;
    enum mg_code (*begin)(void *arg, const struct mg_field *fields, uint32_t count, struct mg_error *err);
    enum mg_code (*batch)(void *arg, const struct mg_batch *batch, struct mg_error *err);
};
/* Run one SQL statement and give its rows to sink; endpoints are read one after the other. */
MG_MUST_CHECK enum mg_code mg_remote_sql(struct mg_remote *remote, const char *sql, const char *database,
                                         const struct mg_row_sink *sink, struct mg_error *err);

/* ---- loading ---- */

/* Numbers of magic.v1.PutDescriptor.Mode. */
enum mg_put_mode { MG_PUT_CREATE = 1, MG_PUT_APPEND = 2, MG_PUT_REPLACE = 3, MG_PUT_CREATE_OR_APPEND = 4 };
struct mg_put_target {
    const char *database, *table;
    enum mg_put_mode mode;
    const char *key; /* columns with commas between; NULL: not named */
    uint64_t rows_per_epoch;
};
/* One DoPut: begin, batches, end or abort. A failure is the server's answer as soon as it is known. */
MG_MUST_CHECK enum mg_code mg_remote_put_begin(struct mg_remote *remote, const struct mg_put_target *target,
                                               const struct mg_field *fields, uint32_t field_count,
                                               struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_remote_put_batch(struct mg_remote *remote, const struct mg_batch *batch,
                                               uint64_t *out_bytes, struct mg_error *err);
/* Waits until all is durable. */
MG_MUST_CHECK enum mg_code mg_remote_put_end(struct mg_remote *remote, uint64_t *out_rows, uint64_t *out_epoch,
                                             struct mg_error *err);
void mg_remote_put_abort(struct mg_remote *remote);

#endif
