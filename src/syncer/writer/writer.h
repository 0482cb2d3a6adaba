/* writer.h -- from transactions to epochs: decodes rows by the schema of their version, follows DDL, cuts epochs,
 * publishes.
 *
 * A transaction whose decoded rows pass txn_bytes_max, or whose message is not in memory, is an epoch of its own, and
 * its rows go to the engine in batches as they are decoded: what is in memory does not grow with it. A DDL that changes
 * tables is an epoch of its own. Rows are decoded straight into column batches, one builder per table and epoch. The
 * epoch is cut by interval, rows or bytes; these may change while it runs. Where to go on after a restart is what the
 * store says, not a file of ours.
 * Threads  apply, advance, flush: the applying thread. settings and stats: any.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_WRITER_H
#define MG_SYNCER_WRITER_H

#include "latch/latch.h"
#include "syncer/sorter/sorter.h"
#include "syncer/source/source.h"

struct mg_writer;
struct mg_writer_options {
    struct mg_latch *latch;
    struct mg_engine *engine;
    struct mg_source *source; /* for fetch: schemas */
    const char *source_name;  /* "tidb" */
    struct mg_clock *clock;
    struct mg_budget *budget;
    int64_t interval_ms;     /* 0 = 10 */
    uint32_t epoch_rows_max; /* 0 = 1,000,000; one transaction is never cut */
    size_t epoch_bytes_max;  /* of messages, and of decoded rows; 0 = 256 MiB of messages, rows by the budget */
    size_t txn_bytes_max;    /* decoded, of one transaction, that wait; 0 = up to 64 MiB, by the budget */
    uint32_t verify_one_in;  /* of updated and deleted rows the old image is compared; 1 = all, 0 = none */
    int64_t idle_publish_ms; /* publish a watermark without rows this often at most; 0 = 200 */
};

/* Becomes the source's writer. *out_position: where the store stands; its position bytes are a little-endian u64: the
 * buffer's seq to read from. */
MG_MUST_CHECK enum mg_code mg_writer_open(const struct mg_writer_options *options, struct mg_writer **out,
                                          struct mg_source_position *out_position, struct mg_error *err);
void mg_writer_close(struct mg_writer *writer);

/* Stage one transaction (in commit order). MG_UNAVAILABLE: the schema could not be fetched now; nothing was staged,
 * call again. */
MG_MUST_CHECK enum mg_code mg_writer_apply(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err);
/* Everything at or below ts was applied; a restart reads from seq. Publishes when interval or size says so;
 * *out_published is the watermark that is visible now. */
MG_MUST_CHECK enum mg_code mg_writer_advance(struct mg_writer *writer, uint64_t ts, uint64_t seq,
                                             uint64_t *out_published, struct mg_error *err);
/* Publish what is staged now. */
MG_MUST_CHECK enum mg_code mg_writer_flush(struct mg_writer *writer, uint64_t *out_published, struct mg_error *err);
/* The tables of a transaction become needs-reload: good until the published watermark, or until just below its commit
 * if that was published before. */
MG_MUST_CHECK enum mg_code mg_writer_needs_reload(struct mg_writer *writer, const struct mg_txn *txn,
                                                  const char *reason, struct mg_error *err);
/* How long until the staged epoch is due; -1: nothing is staged. */
int64_t mg_writer_due_ms(const struct mg_writer *writer);
/* How far back the restart position reaches in the store: buffer records below this seq may be trimmed. */
uint64_t mg_writer_durable_seq(const struct mg_writer *writer);

/* While it runs; 0 is refused with MG_INVALID. */
MG_MUST_CHECK enum mg_code mg_writer_set_interval(struct mg_writer *writer, int64_t interval_ms, struct mg_error *err);
void mg_writer_set_verify(struct mg_writer *writer, uint32_t one_in); /* any thread */

#endif
