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

#endif
