/* journal_cursor.c -- reads a journal's durable records in order while others append, sync and trim.
 *
 * A cursor opens each segment for itself, so trimming does not take the file it reads away. What it reads lies
 * below the end of what was synced when it looked, and never changes again. Records of its first segment that lie
 * before the one it wants are stepped over by their lengths: that one has its number under its checksum.
 * Errors   MG_CORRUPT with file and offset for any record that is not there: it was durable.
 * Threads  a cursor belongs to one thread at a time; any number of cursors.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/journal_internal.h"

struct mg_journal_cursor {
    struct mg_journal *journal;
    uint64_t next_seq;                     /* what the caller gets next */
    struct mg_file *file;                  /* the open segment, or NULL */
    uint64_t first_seq;                    /* its first record */
    uint64_t at_seq, at_offset;            /* the record at the reader's place; at_seq <= next_seq */
    uint64_t payload_offset, payload_size; /* of the record that came last */
    struct mg_journal__reader reader;
    char path[MG_JOURNAL__PATH_MAX];
};

/* What a cursor must know of the journal at one moment. */
struct place {
    uint64_t first_seq;      /* of the segment with the wanted record */
    uint64_t next_first_seq; /* of the segment behind it; 0 for the newest */
    uint64_t limit;          /* end of its durable bytes */
};

/* MG_NOT_FOUND: not durable yet, or trimmed. */
static enum mg_code find_place(struct mg_journal *journal, uint64_t seq, struct place *out, struct mg_error *err)
{
    enum mg_code code = MG_OK;
    mg_mutex_lock(&journal->lock);
    if (seq > journal->durable_seq) {
        code = mg_fail(err, MG_NOT_FOUND, "record %llu is not durable yet", (unsigned long long)seq);
    } else if (seq < journal->segments[0].first_seq) {
        code = mg_fail(err, MG_INVALID, "record %llu was trimmed away under its reader", (unsigned long long)seq);
    } else {
        size_t low = 0, high = journal->segment_count; /* segments[low].first_seq <= seq < segments[high].first_seq */
        while (high - low > 1) {
            size_t middle = low + (high - low) / 2;
            *(journal->segments[middle].first_seq <= seq ? &low : &high) = middle;
        }
        bool newest = low + 1 == journal->segment_count;
        out->first_seq = journal->segments[low].first_seq;
        out->next_first_seq = newest ? 0 : journal->segments[low + 1].first_seq;
        out->limit = journal->segments[low].size_bytes;
        if (newest)
            out->limit = MG_MIN(out->limit, journal->durable_offset); /* the file may end in the last padding */
    }
    mg_mutex_unlock(&journal->lock);
    return code;
}

static enum mg_code open_segment(struct mg_journal_cursor *cursor, const struct place *place, struct mg_error *err)
{
    struct mg_journal *journal = cursor->journal;
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    mg_file_closep(&cursor->file);
    mg_journal__path(journal, place->first_seq, cursor->path);
    enum mg_code code = mg_io_open(journal->io, cursor->path, MG_OPEN_READ, &file, err);
    if (code == MG_NOT_FOUND)
        return mg_fail(err, MG_INVALID, "record %llu was trimmed away under its reader",
                       (unsigned long long)cursor->next_seq);
    MG_TRY(code);
    struct mg_journal__header header;
    MG_TRY(mg_journal__read_header(file, cursor->path, &journal->options, place->first_seq, &header, err));
    cursor->file = MG_TAKE(file);
    cursor->first_seq = place->first_seq;
    cursor->at_seq = place->first_seq;
    cursor->at_offset = MG_JOURNAL__SEGMENT_HEADER;
    mg_journal__reader_turn(&cursor->reader, cursor->file, cursor->path, header.salt, place->limit);
    return MG_OK;
}

enum mg_code mg_journal_cursor_open(struct mg_journal *journal, uint64_t seq, struct mg_journal_cursor **out,
                                    struct mg_error *err)
{
    uint64_t first = mg_journal_first(journal);
    if (seq < first)
        return mg_fail(err, MG_NOT_FOUND, "record %llu is not kept; the first one is %llu", (unsigned long long)seq,
                       (unsigned long long)first);
    struct mg_journal_cursor *cursor = calloc(1, sizeof *cursor);
    if (!cursor)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a journal's cursor");
    cursor->journal = journal;
    cursor->next_seq = seq;
    mg_journal__reader_init(&cursor->reader, &journal->options);
    *out = cursor;
    return MG_OK;
}

enum mg_code mg_journal_cursor_next(struct mg_journal_cursor *cursor, uint64_t *out_seq, struct mg_slice *out,
                                    struct mg_error *err)
{
    struct place place;
    MG_TRY(find_place(cursor->journal, cursor->next_seq, &place, err));
    if (!cursor->file || cursor->first_seq != place.first_seq)
        MG_TRY(open_segment(cursor, &place, err));
    cursor->reader.limit = place.limit;
    for (;;) {
        struct mg_journal__record record;
        bool good;
        MG_TRY((cursor->at_seq < cursor->next_seq ? mg_journal__read_frame : mg_journal__read_record)(
            &cursor->reader, cursor->at_offset, cursor->at_seq, &record, &good, err));
        if (!good && place.next_first_seq)
            return mg_corrupt(err, cursor->path, (long long)cursor->at_offset,
                              "record %llu is damaged or missing; the next segment begins with %llu",
                              (unsigned long long)cursor->at_seq, (unsigned long long)place.next_first_seq);
        if (!good)
            return mg_corrupt(err, cursor->path, (long long)cursor->at_offset, "record %llu is damaged",
                              (unsigned long long)cursor->at_seq);
        cursor->at_seq++;
        cursor->at_offset = record.end_offset;
        if (record.seq < cursor->next_seq)
            continue;
        cursor->next_seq++;
        if (out_seq)
            *out_seq = record.seq;
        *out = record.payload;
        cursor->payload_offset = record.payload_offset;
        cursor->payload_size = record.payload.size;
        return MG_OK;
    }
}

enum mg_code mg_journal_cursor_read(struct mg_journal_cursor *cursor, uint64_t offset, size_t size, uint8_t *out,
                                    struct mg_error *err)
{
    mg_assert(cursor->file && offset <= cursor->payload_size && size <= cursor->payload_size - offset);
    return mg_file_pread(cursor->file, out, size, cursor->payload_offset + offset, err);
}

void mg_journal_cursor_close(struct mg_journal_cursor *cursor)
{
    if (!cursor)
        return;
    mg_file_close(cursor->file);
    mg_journal__reader_clear(&cursor->reader);
    free(cursor);
}

void mg_journal_cursor_closep(struct mg_journal_cursor **cursor)
{
    mg_journal_cursor_close(*cursor);
    *cursor = NULL;
}
