/* journal.h -- an append-only log in segments, with checksums: the frame of the engine's WAL and of the syncer's
 * buffer.
 *
 * A journal is a folder of files "<first sequence as 16 hex digits>.<suffix>". Records have dense sequence numbers from
 * 1. A record's bytes are the caller's business. Appending writes at once (one pwritev), into preallocated room; it is
 * durable after mg_journal_sync. Format page: docs/format/journal.md.
 *
 * Torn tail   A bad record is a torn tail only if it lies in the newest segment and nothing there contradicts that it
 *             was never synced: each record says what was durable before it, and a lost write leaves zeros (the rule is
 *             in the format page). It is cut off. Any other bad record is MG_CORRUPT, naming file and offset: a synced
 *             record is never dropped silently, but for damage in the last sync that cannot be told from a power cut.
 * Errors      After a failed write or sync the journal is broken: every later append and sync gives MG_STOPPED with
 *             the first reason. A full disk found while allocating the next segment, before anything was written, gives
 *             MG_NO_SPACE and leaves it usable; so does one found while writing, if zeros can be put in the place of
 *             what was written.
 * Threads     append, sync, trim: one thread at a time each, append and sync may overlap (sync covers the appends that
 *             returned before it began). Cursors: any thread, one each; they see only what was synced.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_JOURNAL_H
#define MG_BASE_JOURNAL_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/budget.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/io.h"

enum { MG_JOURNAL_ALIGN = 512 };

struct mg_journal;
struct mg_journal_cursor;

struct mg_journal_options {
    const char *folder;      /* exists */
    const char *suffix;      /* "wal", "buf" */
    char magic[8];           /* at the start of each segment */
    uint32_t format_version; /* another version in a file is refused with MG_UNIMPLEMENTED */
    uint64_t store_id;       /* in each segment's header; another one is refused with MG_CORRUPT */
    uint64_t segment_bytes;  /* preallocated size; one record larger than that gets a segment of its own */
    uint64_t record_max;     /* larger ones are refused with MG_TOO_BIG, and are corrupt when read */
    const _Atomic uint64_t *keep_free_bytes; /* the next segment must leave so much of the disk free; NULL: 0 */
    size_t held_max;                         /* cursors hold no longer record: it is read in pieces. 0: they hold all */
    struct mg_budget *budget; /* of what cursors hold, and of opening; outlives the journal; NULL: it is not counted */
    const char *stop_prefix;  /* stop points <prefix>.write, .written, .synced, .segment (base/stop.h) */
    bool read_only;           /* cuts nothing off, writes nothing; append is MG_INVALID */
};

/* Opens, checks every segment's header, finds the end (reading the newest segment), cuts a torn tail off. */
MG_MUST_CHECK enum mg_code mg_journal_open(struct mg_io *io, const struct mg_journal_options *options,
                                           struct mg_journal **out, struct mg_error *err);
void mg_journal_close(struct mg_journal *journal); /* NULL is allowed; does not sync */
void mg_journal_closep(struct mg_journal **journal);

/* One record from pieces; *out_seq is its number. */
MG_MUST_CHECK enum mg_code mg_journal_append(struct mg_journal *journal, const struct iovec *pieces, int count,
                                             uint64_t *out_seq, struct mg_error *err);
/* One fdatasync over everything appended (two when a segment ended in between). *out_seq, if not NULL, is the last
 * durable record. */
MG_MUST_CHECK enum mg_code mg_journal_sync(struct mg_journal *journal, uint64_t *out_seq, struct mg_error *err);
/* Remove segments that hold only records below seq. The newest segment stays. */
MG_MUST_CHECK enum mg_code mg_journal_trim(struct mg_journal *journal, uint64_t seq, struct mg_error *err);

uint64_t mg_journal_first(const struct mg_journal *journal); /* lowest record kept; last + 1 when there is none */
uint64_t mg_journal_last(const struct mg_journal *journal);  /* last durable record; 0 when there is none */
uint64_t mg_journal_bytes(const struct mg_journal *journal); /* on disk, preallocated room included */
uint64_t mg_journal_syncs(const struct mg_journal *journal); /* fdatasyncs since open */

/* Reads from record seq on (>= first, else MG_NOT_FOUND). */
MG_MUST_CHECK enum mg_code mg_journal_cursor_open(struct mg_journal *journal, uint64_t seq,
                                                  struct mg_journal_cursor **out, struct mg_error *err);
/* The next durable record: MG_OK, bytes valid until the next call; MG_NOT_FOUND when there is none yet (call again
 * later). A record above held_max is checked as a whole, and comes with data NULL: mg_journal_cursor_read has its
 * bytes. MG_NO_MEMORY: the budget has no room for the record; the cursor is where it was. */
MG_MUST_CHECK enum mg_code mg_journal_cursor_next(struct mg_journal_cursor *cursor, uint64_t *out_seq,
                                                  struct mg_slice *out, struct mg_error *err);
/* Bytes of the record that came last, which has as many. Its file stays while the cursor is there, trimmed or not. */
MG_MUST_CHECK enum mg_code mg_journal_cursor_read(struct mg_journal_cursor *cursor, uint64_t offset, size_t size,
                                                  uint8_t *out, struct mg_error *err);
void mg_journal_cursor_close(struct mg_journal_cursor *cursor);
void mg_journal_cursor_closep(struct mg_journal_cursor **cursor);

#endif
