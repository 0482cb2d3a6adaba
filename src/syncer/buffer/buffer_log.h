/* buffer_log.h -- the syncer's durable buffer: takes records as fast as the source sends them, answers when they are on
 * disk.
 *
 * A record is {received_ms, known_ts, payload}. Writers from any thread queue records; one thread writes what is queued
 * as one group, syncs once, and calls every record's `done`. So N connections share an fdatasync. Nothing else delays
 * an ack, but that a group waits up to 2 ms for more where many writers wait at once (gather.h).
 * Numbers    seq rises with every record, but is not dense: group << 10 | place. `ordinal` is: it counts from 1.
 * Known ts   known_ts is the greatest timestamp known to be handed out by the source's oracle when the record was
 *            queued: it is taken under the same lock that orders records, before the ack (sorter/watermark.h needs
 *            that).
 * Long       a record of megabytes is a group of its own; cursors check it piece by piece and give its payload as a
 *            span, so that reading takes no more memory than held_max, counted in the budget.
 * Limits     queued bytes are bounded, and counted by whoever brought them: they are borrowed. Disk use is bounded by
 *            limit_bytes (it may pass by one segment), also by a disk that is full: then records wait, unanswered,
 *            until room is made, and `full` says so early.
 * Trim       happens in the group thread, soon after it was asked for.
 * Errors     A failed write or sync fails every waiting record and all later ones (MG_STOPPED): the source must not
 *            believe they are safe.
 * Format     docs/format/buffer.md on base/journal.h.
 * Threads    put: any. Cursors: base/journal.h. Lock: MG_RANK_BUFFER.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_BUFFER_LOG_H
#define MG_SYNCER_BUFFER_LOG_H

#include "base/clock.h"
#include "base/io.h"
#include "base/journal.h"
#include "base/span.h"

struct mg_buffer_log;

struct mg_buffer_log_options {
    const char *folder; /* made when missing */
    struct mg_io *io;
    struct mg_clock *clock;
    uint64_t store_id;      /* of the store it feeds; a buffer of another one is refused */
    uint64_t segment_bytes; /* 0 = 64 MiB */
    uint64_t limit_bytes;   /* of disk; 0 = min(64 GiB, half of the free disk) */
    size_t queue_max;       /* bytes waiting for the group; 0 = 256 MiB; one record always fits */
    size_t record_max;      /* 0 = 1 GiB + 64 KiB */
    size_t held_max;        /* a longer group, which holds one record then, is read in pieces; 0 = 8 MiB and its head */
    struct mg_budget *budget; /* of what cursors hold; outlives the log; NULL: it is not counted */
};

MG_MUST_CHECK enum mg_code mg_buffer_log_open(const struct mg_buffer_log_options *options, struct mg_buffer_log **out,
                                              struct mg_error *err);
/* No more puts (MG_CLOSED); what is queued is written, or answered with MG_CLOSED where there is no room for it. */
void mg_buffer_log_stop_intake(struct mg_buffer_log *log);
void mg_buffer_log_close(struct mg_buffer_log *log); /* stops intake and waits for it; NULL is allowed */

/* Called once per put, from the group thread: MG_OK = durable under seq. */
typedef void mg_buffer_done(void *arg, enum mg_code code, uint64_t seq, const char *text);
/* Queue one record. payload is borrowed until `done`. Does not block on the disk. MG_BUSY when the queue is full
 * (nothing is queued and done is not called). */
MG_MUST_CHECK enum mg_code mg_buffer_log_put(struct mg_buffer_log *log, struct mg_slice payload, mg_buffer_done *done,
                                             void *arg, struct mg_error *err);
/* The same for a record whose sender does not wait: it may stay up to 2 ms in the queue, to share a sync. */
MG_MUST_CHECK enum mg_code mg_buffer_log_put_lazy(struct mg_buffer_log *log, struct mg_slice payload,
                                                  mg_buffer_done *done, void *arg, struct mg_error *err);
/* Whose records these are: the first id that comes is kept beside them, before any record is acked; another one is
 * MG_INVALID. */
MG_MUST_CHECK enum mg_code mg_buffer_log_bind(struct mg_buffer_log *log, uint64_t cluster_id, struct mg_error *err);
uint64_t mg_buffer_log_cluster_id(struct mg_buffer_log *log); /* 0: none yet */
/* Raise known ts: a timestamp that the oracle has handed out (from a record's start_ts or commit_ts, or asked while
 * idle). */
void mg_buffer_log_know(struct mg_buffer_log *log, uint64_t ts);
uint64_t mg_buffer_log_known(struct mg_buffer_log *log);

struct mg_record {
    uint64_t seq;
    uint64_t ordinal;
    int64_t received_ms;
    uint64_t known_ts;       /* does not fall from record to record */
    struct mg_slice payload; /* borrowed until the cursor's next call; data NULL: it is too long to be held */
    uint64_t payload_offset; /* in its group */
};
struct mg_buffer_cursor;
/* From the first record at or above seq on; 0 = the first one kept. MG_NOT_FOUND: records from seq on were trimmed
 * away. */
MG_MUST_CHECK enum mg_code mg_buffer_cursor_open(struct mg_buffer_log *log, uint64_t seq, struct mg_buffer_cursor **out,
                                                 struct mg_error *err);
/* MG_OK; MG_NOT_FOUND: nothing more is durable now. */
MG_MUST_CHECK enum mg_code mg_buffer_cursor_next(struct mg_buffer_cursor *cursor, struct mg_record *out,
                                                 struct mg_error *err);
/* The payload of the record that came last, held or not; until the next call. Its bytes were checked as a whole. */
struct mg_span mg_buffer_cursor_payload(struct mg_buffer_cursor *cursor, const struct mg_record *record);
void mg_buffer_cursor_close(struct mg_buffer_cursor *cursor); /* NULL is allowed */
/* Read one record again by its number, with a cursor of its own, which the caller closes. */
MG_MUST_CHECK enum mg_code mg_buffer_log_find(struct mg_buffer_log *log, uint64_t seq,
                                              struct mg_buffer_cursor **out_cursor, struct mg_record *out,
                                              struct mg_error *err);
uint64_t mg_buffer_log_last(struct mg_buffer_log *log); /* the last durable record; 0: none */
/* Block until a record above seq is durable, a nudge, or timeout; returns the last durable one. */
uint64_t mg_buffer_log_wait(struct mg_buffer_log *log, uint64_t seq, int64_t timeout_ms);
/* Who waits now, or waits next, returns once. */
void mg_buffer_log_nudge(struct mg_buffer_log *log);
/* Records below seq are not needed any more. */
MG_MUST_CHECK enum mg_code mg_buffer_log_trim(struct mg_buffer_log *log, uint64_t seq, struct mg_error *err);

struct mg_buffer_log_stats {
    uint64_t first_seq, last_seq; /* durable; last_seq 0: none */
    uint64_t last_ordinal;        /* durable */
    uint64_t disk_bytes, limit_bytes;
    uint64_t queued_bytes, queued_records;
    uint64_t syncs;
    bool full;                      /* little room is left, or none: queued records wait for it */
    bool stopped;                   /* a write or sync failed */
    char reason[MG_ERROR_TEXT_MAX]; /* of full or stopped */
};
void mg_buffer_log_stats(struct mg_buffer_log *log, struct mg_buffer_log_stats *out);

#endif
