/* journal.c -- an open journal: finds its end, appends, syncs, begins segments, trims.
 *
 * A segment  is made under the name "<first>.<suffix>.new": allocated, its header written and synced, then renamed and
 *            the folder synced, and only then a record goes in. So a file with a segment's name always has a whole
 *            header, and a crash leaves at most a ".new" file, which the next open removes. The segment before it is
 *            synced first: a torn tail can only be in the newest one.
 * Broken     after a failed write or sync nothing is known of what the disk holds: see break_with().
 * Not here   the next segment is not prepared ahead: beginning one costs an append three syncs, once per segment_bytes.
 * Threads    the appender owns salt, and changes file and segments; sync_lock, then lock (see journal_internal.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/journal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/journal_internal.h"
#include "base/random.h"
#include "base/stop.h"

enum { PIECES_ON_STACK = 16, NAME_DIGITS = 16 };
static const uint8_t zeros[64 * 1024];

static void stop_at(const char *name)
{
    if (name[0])
        MG_STOP(name);
}

/* Remember the first reason why nothing may be written any more. */
static void break_with(struct mg_journal *journal, const struct mg_error *err)
{
    mg_mutex_lock(&journal->lock);
    if (!journal->broken) {
        journal->broken = true;
        snprintf(journal->broken_reason, sizeof journal->broken_reason, "%s", err->text);
    }
    mg_mutex_unlock(&journal->lock);
}

/* Hand a failure to the caller, who may not want the story. */
static enum mg_code pass_on(const struct mg_error *from, struct mg_error *err)
{
    if (err)
        *err = *from;
    return from->code;
}

static enum mg_code fail_broken(struct mg_journal *journal, struct mg_error *err) MG_REQUIRES(&journal->lock)
{
    return mg_fail(err, MG_STOPPED, "the journal %s was stopped by an earlier error: %s", journal->folder,
                   journal->broken_reason);
}

/* ---- names --------------------------------------------------------------------------------------------------- */

void mg_journal__path(const struct mg_journal *journal, uint64_t first_seq, char out[MG_JOURNAL__PATH_MAX])
{
    snprintf(out, MG_JOURNAL__PATH_MAX, "%s/%016llx.%s", journal->folder, (unsigned long long)first_seq,
             journal->suffix);
}

static enum mg_code add_segment(struct mg_journal *journal, uint64_t first_seq, uint64_t size_bytes,
                                struct mg_error *err)
{
    if (journal->segment_count == journal->segment_capacity) {
        size_t capacity = journal->segment_capacity ? journal->segment_capacity * 2 : 16;
        struct mg_journal__segment *segments = realloc(journal->segments, capacity * sizeof *segments);
        if (!segments)
            return mg_fail(err, MG_NO_MEMORY, "no memory for the list of segments of %s", journal->folder);
        journal->segments = segments;
        journal->segment_capacity = capacity;
    }
    journal->segments[journal->segment_count++] = (struct mg_journal__segment){first_seq, size_bytes};
    return MG_OK;
}

/* What a folder's names say. */
struct listing {
    struct mg_journal *journal;
    struct mg_buffer leftovers; /* names ending in .new, each with its terminator */
};

static enum mg_code note_name(void *arg, const char *name, struct mg_error *err)
{
    struct listing *listing = arg;
    const char *suffix = listing->journal->suffix;
    size_t suffix_size = strlen(suffix);
    size_t digits = strspn(name, "0123456789abcdef");
    if (digits != NAME_DIGITS || name[digits] != '.' || strncmp(name + digits + 1, suffix, suffix_size) != 0)
        return MG_OK;
    const char *rest = name + digits + 1 + suffix_size;
    if (strcmp(rest, ".new") == 0)
        return mg_buffer_append(&listing->leftovers, name, strlen(name) + 1, err);
    if (*rest)
        return MG_OK;
    uint64_t first_seq = strtoull(name, NULL, 16);
    if (first_seq == 0)
        return MG_OK;
    return add_segment(listing->journal, first_seq, 0, err);
}

static int compare_segments(const void *a, const void *b)
{
    uint64_t x = ((const struct mg_journal__segment *)a)->first_seq;
    uint64_t y = ((const struct mg_journal__segment *)b)->first_seq;
    return (x > y) - (x < y);
}

static enum mg_code remove_leftovers(struct mg_journal *journal, const struct mg_buffer *names, struct mg_error *err)
{
    for (size_t at = 0; at < names->size;) {
        const char *name = (const char *)names->data + at;
        char path[MG_JOURNAL__PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", journal->folder, name);
        MG_TRY(journal->io->ops->unlink(journal->io, path, err));
        at += strlen(name) + 1;
    }
    return MG_OK;
}

static enum mg_code list_segments(struct mg_journal *journal, struct mg_error *err)
{
    struct listing listing = {.journal = journal};
    mg_buffer_init(&listing.leftovers, 1 << 20);
    enum mg_code code = journal->io->ops->list(journal->io, journal->folder, note_name, &listing, err);
    if (code == MG_OK && !journal->options.read_only)
        code = remove_leftovers(journal, &listing.leftovers, err);
    mg_buffer_clear(&listing.leftovers);
    if (journal->segment_count)
        qsort(journal->segments, journal->segment_count, sizeof *journal->segments, compare_segments);
    return code;
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

/* A file with that first record, room for size_bytes, a durable header and a durable name. *out_broken: it failed in a
 * way after which the journal must not go on. */
static enum mg_code create_segment(struct mg_journal *journal, uint64_t first_seq, uint64_t size_bytes,
                                   struct mg_file **out, uint64_t *out_salt, bool *out_broken, struct mg_error *err)
{
    struct mg_io *io = journal->io;
    char path[MG_JOURNAL__PATH_MAX], temporary[MG_JOURNAL__PATH_MAX + 8];
    mg_journal__path(journal, first_seq, path);
    snprintf(temporary, sizeof temporary, "%s.new", path);
    struct mg_journal__header header = {.first_seq = first_seq};
    mg_mutex_lock(&journal->lock);
    if (journal->segment_count)
        header.previous_first_seq = journal->segments[journal->segment_count - 1].first_seq;
    mg_mutex_unlock(&journal->lock);
    *out_broken = false;
    MG_TRY(mg_random_secret(&header.salt, sizeof header.salt, err));

    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    enum mg_code code = mg_io_open(io, temporary, MG_OPEN_CREATE, &file, err);
    if (code == MG_OK)
        code = mg_file_truncate(file, 0, err);
    if (code == MG_OK)
        code = mg_file_allocate(file, size_bytes, err);
    uint8_t block[MG_JOURNAL__SEGMENT_HEADER];
    mg_journal__encode_header(&journal->options, &header, block);
    if (code == MG_OK)
        code = mg_file_pwrite(file, block, sizeof block, 0, err);
    if (code != MG_OK) {
        /* Nothing of the journal was touched. What was reserved so far goes back to a disk that is full. */
        mg_file_closep(&file);
        if (io->ops->unlink(io, temporary, NULL) != MG_OK && code != MG_NO_SPACE)
            *out_broken = true;
        *out_broken |= code != MG_NO_SPACE;
        return code;
    }
    *out_broken = true;
    MG_TRY(mg_file_sync(file, err));
    MG_TRY(io->ops->rename(io, temporary, path, err));
    MG_TRY(io->ops->sync_folder(io, journal->folder, err));
    *out_broken = false;
    *out = MG_TAKE(file);
    *out_salt = header.salt;
    return MG_OK;
}

/* fdatasync the newest segment, if anything in it waits for it, and note what is durable now. The caller holds
 * sync_lock. */
static enum mg_code sync_file(struct mg_journal *journal, bool *out_synced, struct mg_error *err)
    MG_REQUIRES(&journal->sync_lock)
{
    *out_synced = false;
    mg_mutex_lock(&journal->lock);
    if (journal->broken) {
        enum mg_code code = fail_broken(journal, err);
        mg_mutex_unlock(&journal->lock);
        return code;
    }
    uint64_t seq = journal->written_seq, offset = journal->written_offset;
    bool waiting = seq > journal->durable_seq;
    mg_mutex_unlock(&journal->lock);
    if (!waiting)
        return MG_OK;

    struct mg_error failure = MG_ERROR_INIT;
    if (mg_file_sync(journal->file, &failure) != MG_OK) {
        break_with(journal, &failure);
        return pass_on(&failure, err);
    }
    mg_mutex_lock(&journal->lock);
    journal->durable_seq = seq;
    journal->durable_offset = offset;
    journal->sync_count++;
    mg_mutex_unlock(&journal->lock);
    *out_synced = true;
    return MG_OK;
}

/* The disk would keep less than it is to keep: nothing was touched. */
static enum mg_code check_room(const struct mg_journal *journal, uint64_t size_bytes, struct mg_error *err)
{
    uint64_t keep = journal->options.keep_free_bytes
                        ? atomic_load_explicit(journal->options.keep_free_bytes, memory_order_relaxed)
                        : 0;
    uint64_t free_bytes;
    if (keep == 0 || journal->io->ops->free_space(journal->io, journal->folder, &free_bytes, NULL) != MG_OK ||
        (free_bytes >= size_bytes && free_bytes - size_bytes >= keep))
        return MG_OK;
    return mg_fail(
        err, MG_NO_SPACE, "%llu bytes are free for %s: a segment of %llu would leave less than the %llu that are kept",
        (unsigned long long)free_bytes, journal->folder, (unsigned long long)size_bytes, (unsigned long long)keep);
}

/* Begin the segment of the next record. The appender calls it; nothing is appended meanwhile. */
static enum mg_code begin_segment(struct mg_journal *journal, uint64_t size_bytes, struct mg_error *err)
{
    bool synced, broken;
    mg_mutex_lock(&journal->sync_lock);
    enum mg_code code = sync_file(journal, &synced, err);
    mg_mutex_unlock(&journal->sync_lock);
    MG_TRY(code);

    struct mg_error failure = MG_ERROR_INIT;
    struct mg_file *file = NULL;
    uint64_t first_seq = journal->written_seq + 1;
    code = create_segment(journal, first_seq, size_bytes, &file, &journal->salt, &broken, &failure);
    if (code != MG_OK) {
        if (broken)
            break_with(journal, &failure);
        return pass_on(&failure, err);
    }
    mg_mutex_lock(&journal->sync_lock);
    struct mg_file *old = journal->file;
    mg_mutex_lock(&journal->lock);
    code = add_segment(journal, first_seq, size_bytes, &failure);
    if (code == MG_OK) {
        journal->file = file;
        journal->written_offset = MG_JOURNAL__SEGMENT_HEADER;
        journal->durable_offset = MG_JOURNAL__SEGMENT_HEADER;
    }
    mg_mutex_unlock(&journal->lock);
    mg_mutex_unlock(&journal->sync_lock);
    if (code != MG_OK) {
        mg_file_close(file);
        break_with(journal, &failure);
        return pass_on(&failure, err);
    }
    mg_file_close(old);
    stop_at(journal->stop_segment);
    return MG_OK;
}

/* Make room for a record of need bytes behind what is written. */
static enum mg_code make_room(struct mg_journal *journal, uint64_t need, struct mg_error *err)
{
    mg_mutex_lock(&journal->lock);
    struct mg_journal__segment *newest = journal->segment_count ? &journal->segments[journal->segment_count - 1] : NULL;
    uint64_t offset = journal->written_offset;
    bool empty = newest && newest->first_seq == journal->written_seq + 1;
    bool fits = newest && need <= newest->size_bytes && offset <= newest->size_bytes - need;
    mg_mutex_unlock(&journal->lock);
    if (fits)
        return MG_OK;
    uint64_t size_bytes = MG_MAX(journal->options.segment_bytes, MG_JOURNAL__SEGMENT_HEADER + need);
    if (newest)
        MG_TRY(check_room(journal, size_bytes, err));
    if (!empty)
        return begin_segment(journal, size_bytes, err);

    /* The next segment would have the name of this one, which holds nothing yet: make this one larger. */
    struct mg_error failure = MG_ERROR_INIT;
    if (mg_file_allocate(journal->file, size_bytes, &failure) != MG_OK) {
        if (failure.code != MG_NO_SPACE)
            break_with(journal, &failure);
        return pass_on(&failure, err);
    }
    mg_mutex_lock(&journal->lock);
    journal->segments[journal->segment_count - 1].size_bytes = size_bytes;
    mg_mutex_unlock(&journal->lock);
    return MG_OK;
}

/* ---- open ---------------------------------------------------------------------------------------------------- */

/* Headers of all segments, in order, and their sizes; *out_salt is that of the newest. */
static enum mg_code check_segments(struct mg_journal *journal, uint64_t *out_salt, struct mg_error *err)
{
    for (size_t i = 0; i < journal->segment_count; i++) {
        struct mg_journal__segment *segment = &journal->segments[i];
        MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
        char path[MG_JOURNAL__PATH_MAX];
        struct mg_journal__header header;
        mg_journal__path(journal, segment->first_seq, path);
        MG_TRY(mg_io_open(journal->io, path, MG_OPEN_READ, &file, err));
        MG_TRY(mg_file_size(file, &segment->size_bytes, err));
        MG_TRY(mg_journal__read_header(file, path, &journal->options, segment->first_seq, &header, err));
        if (i > 0 && header.previous_first_seq != segment[-1].first_seq)
            return mg_corrupt(err, path, 0, "the segment before it, which begins with record %llu, is missing",
                              (unsigned long long)header.previous_first_seq);
        *out_salt = header.salt;
    }
    return MG_OK;
}

/* Write once more what was found but never called durable. The process before us may have ended after a failed sync;
 * such bytes are still read from the kernel's memory, are not on the disk, and no sync would bring them there. */
static enum mg_code rewrite_unsynced(struct mg_file *file, const struct mg_journal__end *end, uint64_t file_size,
                                     struct mg_error *err)
{
    uint8_t bytes[16 * 1024];
    uint64_t end_offset = MG_MIN(end->end_offset, file_size); /* padding may be missing */
    for (uint64_t at = end->unsynced_offset; at < end_offset;) {
        size_t size = (size_t)MG_MIN((uint64_t)sizeof bytes, end_offset - at);
        MG_TRY(mg_file_pread(file, bytes, size, at, err));
        MG_TRY(mg_file_pwrite(file, bytes, size, at, err));
        at += size;
    }
    return MG_OK;
}

/* Overwrite a torn tail with zeros, so that nothing of it can look like a record behind later ones. */
static enum mg_code cut_tail(struct mg_file *file, const struct mg_journal__end *end, struct mg_error *err)
{
    for (uint64_t at = end->end_offset; at < end->dirty_offset;) {
        size_t size = (size_t)MG_MIN((uint64_t)sizeof zeros, end->dirty_offset - at);
        MG_TRY(mg_file_pwrite(file, zeros, size, at, err));
        at += size;
    }
    return MG_OK;
}

static enum mg_code open_newest(struct mg_journal *journal, struct mg_error *err)
{
    const struct mg_journal__segment *newest = &journal->segments[journal->segment_count - 1];
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    char path[MG_JOURNAL__PATH_MAX];
    struct mg_journal__reader reader;
    struct mg_journal__end end;
    mg_journal__path(journal, newest->first_seq, path);
    MG_TRY(mg_io_open(journal->io, path, journal->options.read_only ? MG_OPEN_READ : MG_OPEN_WRITE, &file, err));
    mg_journal__reader_init(&reader, &journal->options);
    reader.held_max = MG_JOURNAL__WINDOW; /* only their places are wanted */
    mg_journal__reader_turn(&reader, file, path, journal->salt, newest->size_bytes);
    enum mg_code code = mg_journal__find_end(&reader, newest->first_seq, &end, err);
    mg_journal__reader_clear(&reader);
    MG_TRY(code);
    if (!journal->options.read_only) {
        MG_TRY(rewrite_unsynced(file, &end, newest->size_bytes, err));
        MG_TRY(cut_tail(file, &end, err));
        MG_TRY(mg_file_sync(file, err));
        MG_TRY(journal->io->ops->sync_folder(journal->io, journal->folder, err));
        journal->file = MG_TAKE(file);
    }
    journal->written_seq = journal->durable_seq = end.last_seq;
    journal->written_offset = journal->durable_offset = end.end_offset;
    return MG_OK;
}

static enum mg_code check_options(const struct mg_journal_options *options, struct mg_error *err)
{
    if (options->record_max > UINT32_MAX - MG_JOURNAL_ALIGN)
        return mg_fail(err, MG_INVALID, "a journal's records are limited to 4 GiB, %llu bytes are asked for",
                       (unsigned long long)options->record_max);
    if (strlen(options->folder) + strlen(options->suffix) + 64 > MG_JOURNAL__PATH_MAX)
        return mg_fail(err, MG_INVALID, "the path of the journal is too long");
    return MG_OK;
}

static void name_stops(struct mg_journal *journal, const char *prefix)
{
    if (!prefix)
        return;
    snprintf(journal->stop_write, sizeof journal->stop_write, "%s.write", prefix);
    snprintf(journal->stop_written, sizeof journal->stop_written, "%s.written", prefix);
    snprintf(journal->stop_synced, sizeof journal->stop_synced, "%s.synced", prefix);
    snprintf(journal->stop_segment, sizeof journal->stop_segment, "%s.segment", prefix);
}

enum mg_code mg_journal_open(struct mg_io *io, const struct mg_journal_options *options, struct mg_journal **out,
                             struct mg_error *err)
{
    MG_TRY(check_options(options, err));
    MG_CLEANUP(mg_journal_closep) struct mg_journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the journal %s", options->folder);
    journal->io = io;
    mg_mutex_init(&journal->sync_lock, MG_RANK_JOURNAL, "journal.sync");
    mg_mutex_init(&journal->lock, MG_RANK_LEAF, "journal");
    journal->folder = strdup(options->folder);
    journal->suffix = strdup(options->suffix);
    if (!journal->folder || !journal->suffix)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the journal %s", options->folder);
    journal->options = *options;
    journal->options.folder = journal->folder;
    journal->options.suffix = journal->suffix;
    journal->options.segment_bytes = mg_journal__round(
        MG_MAX(options->segment_bytes, (uint64_t)MG_JOURNAL__SEGMENT_HEADER * 2));
    name_stops(journal, options->stop_prefix);

    MG_TRY(list_segments(journal, err));
    MG_TRY(check_segments(journal, &journal->salt, err));
    if (journal->segment_count)
        MG_TRY(open_newest(journal, err));
    else if (!options->read_only)
        MG_TRY(begin_segment(journal, journal->options.segment_bytes, err));
    *out = MG_TAKE(journal);
    return MG_OK;
}

void mg_journal_close(struct mg_journal *journal)
{
    if (!journal)
        return;
    mg_file_close(journal->file);
    mg_mutex_destroy(&journal->sync_lock);
    mg_mutex_destroy(&journal->lock);
    free(journal->segments);
    free(journal->folder);
    free(journal->suffix);
    free(journal);
}

void mg_journal_closep(struct mg_journal **journal)
{
    mg_journal_close(*journal);
    *journal = NULL;
}

/* ---- append, sync, trim -------------------------------------------------------------------------------------- */

/* Header, pieces and padding in one write, whole sectors. all has room for count + 2 pieces. */
static enum mg_code write_record(struct mg_journal *journal, uint64_t seq, uint64_t synced_seq, uint64_t offset,
                                 const struct iovec *pieces, int count, uint64_t size, struct iovec *all,
                                 struct mg_error *err)
{
    uint8_t header[MG_JOURNAL__RECORD_HEADER];
    union { /* iovec has no const */
        const uint8_t *from;
        void *base;
    } padding = {.from = zeros};
    mg_journal__encode_record(seq, synced_seq, pieces, count, journal->salt, all, header);
    all[0].iov_len = sizeof header;
    all[count + 1] = (struct iovec){padding.base, (size_t)(mg_journal__round(size) - size)};
    return mg_file_pwritev(journal->file, all, count + 2, offset, err);
}

/* The disk is full although the room was preallocated: with zeros again where the record began to be, nothing of it is
 * there. False: they could not be written either. */
static bool take_back(struct mg_journal *journal, uint64_t offset, uint64_t size)
{
    for (uint64_t end = offset + size; offset < end; offset += MG_MIN(end - offset, (uint64_t)sizeof zeros))
        if (mg_file_pwrite(journal->file, zeros, (size_t)MG_MIN(end - offset, (uint64_t)sizeof zeros), offset, NULL) !=
            MG_OK)
            return false;
    return true;
}

enum mg_code mg_journal_append(struct mg_journal *journal, const struct iovec *pieces, int count, uint64_t *out_seq,
                               struct mg_error *err)
{
    if (journal->options.read_only)
        return mg_fail(err, MG_INVALID, "the journal %s is open for reading only", journal->folder);
    uint64_t size = MG_JOURNAL__RECORD_HEADER;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > journal->options.record_max - (size - MG_JOURNAL__RECORD_HEADER))
            return mg_fail(err, MG_TOO_BIG, "a record of more than %llu bytes does not fit into the journal %s",
                           (unsigned long long)journal->options.record_max, journal->folder);
        size += pieces[i].iov_len;
    }
    mg_mutex_lock(&journal->lock);
    enum mg_code code = journal->broken ? fail_broken(journal, err) : MG_OK;
    mg_mutex_unlock(&journal->lock);
    MG_TRY(code);
    MG_TRY(make_room(journal, mg_journal__round(size), err));

    struct iovec few[PIECES_ON_STACK];
    MG_CLEANUP(mg_freep) struct iovec *many = NULL;
    if (count + 2 > PIECES_ON_STACK && !(many = malloc(((size_t)count + 2) * sizeof *many)))
        return mg_fail(err, MG_NO_MEMORY, "no memory for a record of %d pieces", count);
    mg_mutex_lock(&journal->lock);
    uint64_t seq = journal->written_seq + 1, offset = journal->written_offset, synced_seq = journal->durable_seq;
    mg_mutex_unlock(&journal->lock);

    stop_at(journal->stop_write);
    struct mg_error failure = MG_ERROR_INIT;
    if (write_record(journal, seq, synced_seq, offset, pieces, count, size, many ? many : few, &failure) != MG_OK) {
        if (failure.code != MG_NO_SPACE || !take_back(journal, offset, mg_journal__round(size))) {
            failure.code = failure.code == MG_NO_SPACE ? MG_IO : failure.code; /* callers go on after NO_SPACE */
            break_with(journal, &failure);
        }
        return pass_on(&failure, err);
    }
    stop_at(journal->stop_written);
    mg_mutex_lock(&journal->lock);
    journal->written_seq = seq;
    journal->written_offset = offset + mg_journal__round(size);
    mg_mutex_unlock(&journal->lock);
    if (out_seq)
        *out_seq = seq;
    return MG_OK;
}

enum mg_code mg_journal_sync(struct mg_journal *journal, uint64_t *out_seq, struct mg_error *err)
{
    bool synced;
    mg_mutex_lock(&journal->sync_lock);
    enum mg_code code = sync_file(journal, &synced, err);
    mg_mutex_unlock(&journal->sync_lock);
    MG_TRY(code);
    if (synced)
        stop_at(journal->stop_synced);
    if (out_seq)
        *out_seq = mg_journal_last(journal);
    return MG_OK;
}

enum mg_code mg_journal_trim(struct mg_journal *journal, uint64_t seq, struct mg_error *err)
{
    if (journal->options.read_only)
        return mg_fail(err, MG_INVALID, "the journal %s is open for reading only", journal->folder);
    for (;;) {
        mg_mutex_lock(&journal->lock);
        bool removable = journal->segment_count > 1 && journal->segments[1].first_seq <= seq;
        uint64_t first_seq = removable ? journal->segments[0].first_seq : 0;
        mg_mutex_unlock(&journal->lock);
        if (!removable)
            return MG_OK;
        char path[MG_JOURNAL__PATH_MAX];
        mg_journal__path(journal, first_seq, path);
        enum mg_code code = journal->io->ops->unlink(journal->io, path, err);
        if (code != MG_OK && code != MG_NOT_FOUND)
            return code;
        mg_mutex_lock(&journal->lock);
        journal->segment_count--;
        memmove(&journal->segments[0], &journal->segments[1], journal->segment_count * sizeof journal->segments[0]);
        mg_mutex_unlock(&journal->lock);
        /* One by one, oldest first: after a power cut no segment may be missing between two others. */
        MG_TRY(journal->io->ops->sync_folder(journal->io, journal->folder, err));
    }
}

/* ---- figures ------------------------------------------------------------------------------------------------- */

/* The lock is not part of what const promises. */
static struct mg_mutex *lock_of(const struct mg_journal *journal)
{
    union {
        const struct mg_mutex *from;
        struct mg_mutex *to;
    } lock = {.from = &journal->lock};
    return lock.to;
}

uint64_t mg_journal_first(const struct mg_journal *journal)
{
    mg_mutex_lock(lock_of(journal));
    uint64_t first = journal->segment_count ? journal->segments[0].first_seq : 1;
    mg_mutex_unlock(lock_of(journal));
    return first;
}

uint64_t mg_journal_last(const struct mg_journal *journal)
{
    mg_mutex_lock(lock_of(journal));
    uint64_t last = journal->durable_seq;
    mg_mutex_unlock(lock_of(journal));
    return last;
}

uint64_t mg_journal_bytes(const struct mg_journal *journal)
{
    uint64_t bytes = 0;
    mg_mutex_lock(lock_of(journal));
    for (size_t i = 0; i < journal->segment_count; i++)
        bytes += journal->segments[i].size_bytes;
    mg_mutex_unlock(lock_of(journal));
    return bytes;
}

uint64_t mg_journal_syncs(const struct mg_journal *journal)
{
    mg_mutex_lock(lock_of(journal));
    uint64_t syncs = journal->sync_count;
    mg_mutex_unlock(lock_of(journal));
    return syncs;
}
