/* source_internal.h -- what the files of the pump source share: HTTP to the status port, SQL to the oracle, the
 * settlement's reader.
 *
 * Not for other rooms.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SOURCE_INTERNAL_H
#define MG_SYNCER_SOURCE_INTERNAL_H

#include "base/buffer.h"
#include "syncer/source/source.h"

/* ---- http.c: GET from one address, over a kept connection; owned by one thread at a time ---- */

struct mg_http__client;

/* base_url: "http://127.0.0.1:10080". */
MG_MUST_CHECK enum mg_code mg_http__new(const char *base_url, struct mg_http__client **out, struct mg_error *err);
void mg_http__free(struct mg_http__client *client); /* NULL is allowed */
/* The body of base_url + path, in an initialised buffer whose maximum bounds it. MG_NOT_FOUND: 404; MG_INVALID: another
 * 4xx, with the body's first line; MG_UNAVAILABLE: no connection, no answer in time, or 5xx. */
MG_MUST_CHECK enum mg_code mg_http__get(struct mg_http__client *client, const char *path, int64_t timeout_ms,
                                        struct mg_buffer *out, struct mg_error *err);

/* ---- oracle.c: timestamps over SQL; owned by one thread at a time ---- */

struct mg_oracle__client;

/* Connects on the first question. */
MG_MUST_CHECK enum mg_code mg_oracle__new(const struct mg_source_options *options, struct mg_oracle__client **out,
                                          struct mg_error *err);
void mg_oracle__free(struct mg_oracle__client *client); /* NULL is allowed */
MG_MUST_CHECK enum mg_code mg_oracle__ask(struct mg_oracle__client *client, int64_t timeout_ms, uint64_t *out_ts,
                                          struct mg_error *err);

/* ---- settlement.c: the status port's answers; pure ---- */

/* Room for "/mvcc/hex/" and the key. */
MG_MUST_CHECK enum mg_code mg_settlement__path(struct mg_slice prewrite_key, struct mg_buffer *out,
                                               struct mg_error *err);
/* What the answer of /mvcc/hex says of that transaction; MG_PROTOCOL when it is none. */
MG_MUST_CHECK enum mg_code mg_settlement__read(struct mg_slice json, uint64_t start_ts, struct mg_settlement *out,
                                               struct mg_error *err);
/* start_timestamp and binlog_status of /info. */
MG_MUST_CHECK enum mg_code mg_settlement__read_info(struct mg_slice json, struct mg_source_health *out,
                                                    struct mg_error *err);
/* Of /settings: whether the store's versions can be trusted after an unclean end. */
MG_MUST_CHECK enum mg_code mg_settlement__read_store(struct mg_slice json, bool *out_trusted, struct mg_error *err);

#endif
