/* journal_internal.h -- the layout of a segment file and its reader, shared by journal.c and journal_cursor.c.
 *
 * Not for other rooms. The layout is docs/format/journal.md; journal_segment.c is its only code.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_JOURNAL_INTERNAL_H
#define MG_BASE_JOURNAL_INTERNAL_H

#include "base/journal.h"
#include "base/lock.h"
#include "base/span.h"

enum {
    MG_JOURNAL__SEGMENT_HEADER = 512, /* bytes before the first record */
    MG_JOURNAL__RECORD_HEADER = 32,   /* bytes before a record's payload */
    MG_JOURNAL__RECORD_SIGNED = 24,   /* of them, those under the checksum */
    MG_JOURNAL__FRAME_VERSION = 1,    /* of this layout; options.format_version is that of the payloads */
    MG_JOURNAL__WINDOW = 256 * 1024,  /* bytes read at once */
    MG_JOURNAL__PATH_MAX = 4096,
};

/* What a segment's first block says. */
struct mg_journal__header {
    uint64_t first_seq;
    uint64_t previous_first_seq; /* of the segment before it; 0 for the first of the journal */
    uint64_t salt;               /* seed of the records' checksums: bytes of another segment or a payload never pass */
};

void mg_journal__encode_header(const struct mg_journal_options *options, const struct mg_journal__header *header,
                               uint8_t out[MG_JOURNAL__SEGMENT_HEADER]);
/* Read and check it. MG_CORRUPT: damaged, not ours, another store's, not what its name says. MG_UNIMPLEMENTED: a
 * version we do not know. */
MG_MUST_CHECK enum mg_code mg_journal__read_header(struct mg_file *file, const char *path,
                                                   const struct mg_journal_options *options, uint64_t first_seq,
                                                   struct mg_journal__header *out, struct mg_error *err);

void mg_journal__encode_record(uint64_t seq, uint64_t synced_seq, const struct iovec *pieces, int count, uint64_t salt,
                               struct iovec *scratch, uint8_t out[MG_JOURNAL__RECORD_HEADER]);

static inline uint64_t mg_journal__round(uint64_t size)
{
    return (size + MG_JOURNAL_ALIGN - 1) / MG_JOURNAL_ALIGN * MG_JOURNAL_ALIGN;
}

/* Reads one segment through a window. Owns window; borrows the rest. One thread at a time. A record above held_max is
 * checked piece by piece and not held. */
struct mg_journal__reader {
    struct mg_file *file;
    const char *path;
    uint64_t salt;
    uint64_t record_max;
    size_t held_max;
    uint64_t limit; /* nothing at or behind this offset is read; may rise */
    struct mg_window window;
    size_t window_size; /* bytes of the file from window_offset on that are in it */
    uint64_t window_offset;
};

struct mg_journal__record {
    uint64_t seq;
    uint64_t synced_seq;     /* the last durable record when this one was written */
    struct mg_slice payload; /* in the reader's window: until the next read; data NULL: it is too long to be held */
    uint64_t payload_offset; /* in the file */
    uint64_t end_offset;     /* of its last block */
};

void mg_journal__reader_init(struct mg_journal__reader *reader, const struct mg_journal_options *options);
void mg_journal__reader_clear(struct mg_journal__reader *reader);
/* Turn to another file, from its start; forgets the window. */
void mg_journal__reader_turn(struct mg_journal__reader *reader, struct mg_file *file, const char *path, uint64_t salt,
                             uint64_t limit);
/* *out_good says whether a whole record with a right checksum starts at offset; seq 0 stands for any number. An error
 * is one of reading the file. */
MG_MUST_CHECK enum mg_code mg_journal__read_record(struct mg_journal__reader *reader, uint64_t offset, uint64_t seq,
                                                   struct mg_journal__record *out, bool *out_good,
                                                   struct mg_error *err);

/* The same by what stands before the payload alone: no checksum was looked at, and payload has a size but no bytes. For
 * records that nobody wants; what lies behind such a one must be checked. */
MG_MUST_CHECK enum mg_code mg_journal__read_frame(struct mg_journal__reader *reader, uint64_t offset, uint64_t seq,
                                                  struct mg_journal__record *out, bool *out_good, struct mg_error *err);

struct mg_journal__end {
    uint64_t last_seq;        /* of the last good record; first_seq - 1 when there is none */
    uint64_t unsynced_offset; /* of the first record that no later one calls durable; end_offset when there is none */
    uint64_t end_offset;      /* behind the last good record */
    uint64_t dirty_offset;    /* behind the last byte of the torn tail; <= end_offset when there is none */
};
/* Read the newest segment and tell its torn tail from damage (MG_CORRUPT), by the rule of docs/format/journal.md. */
MG_MUST_CHECK enum mg_code mg_journal__find_end(struct mg_journal__reader *reader, uint64_t first_seq,
                                                struct mg_journal__end *out, struct mg_error *err);

/* ---- the open journal ---------------------------------------------------------------------------------------- */

struct mg_journal__segment {
    uint64_t first_seq;
    uint64_t size_bytes; /* of the file */
};

struct mg_journal {
    struct mg_io *io;
    struct mg_journal_options options; /* its texts point to the copies below */
    char *folder, *suffix;
    char stop_write[32], stop_written[32], stop_synced[32], stop_segment[32]; /* empty: no stop points */
    uint64_t salt; /* the appender's: of the newest segment */

    struct mg_mutex sync_lock; /* held over fdatasync: the kernel reports a lost write to one caller only */
    struct mg_file *file;      /* of the newest segment; NULL when read-only. Changed by the appender under sync_lock */

    struct mg_mutex lock; /* guards all that follows */
    struct mg_journal__segment *segments;
    size_t segment_count, segment_capacity;
    uint64_t written_seq, written_offset; /* the last appended record, and the end of it in the newest segment */
    uint64_t durable_seq, durable_offset; /* the same for what is synced */
    uint64_t sync_count;
    bool broken;
    char broken_reason[MG_ERROR_TEXT_MAX];
};

void mg_journal__path(const struct mg_journal *journal, uint64_t first_seq, char out[MG_JOURNAL__PATH_MAX]);

#endif
