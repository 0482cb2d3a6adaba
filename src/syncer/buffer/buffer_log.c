/* buffer_log.c -- takes records from any thread, makes them durable in groups, answers them, and gives them out again.
 *
 * One thread, the group thread, does all that touches the journal but reading: it waits for records, gathers a group
 * (gather.h), writes it with one write, syncs once, notes how far the log is durable, and calls `done` for each record.
 * It trims, too, so that the journal sees one writer only.
 *
 * Order      a record's place in the queue, its time and its known ts are taken under one hold of the lock; the group
 *            thread keeps that order. So known ts never falls from one record to the next.
 * No room    the limit is reached or the disk is full: the queue waits and room is looked for again each ROOM_RETRY_MS.
 *            That is said once, early, and once more when it is over. The newest segment never counts against the
 *            limit: else a record larger than the limit would stop the buffer for good.
 * Broken     the journal does not go on after a failed write or sync; then nor do we (MG_STOPPED).
 * Threads    put, know, wait, figures: any. Lock: MG_RANK_BUFFER, guards what stands under it in the struct. `done` is
 *            called without it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/buffer/buffer_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/counter.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/stop.h"
#include "syncer/buffer/buffer_internal.h"
#include "syncer/buffer/gather.h"

enum {
    GROUP_BYTES_MAX = 8 << 20, /* of a group with more than one record */
    SMALL_GROUP = 64,          /* written from the stack */
    QUEUE_CHARGE = 256,        /* what a record costs in the queue besides its payload */
    ROOM_RETRY_MS = 100,
    ROOM_LOOK_BYTES = 16 << 20, /* written between two looks at the free disk */
    ROOM_SEGMENTS = 4,          /* free disk or free limit below as many segments: "full" is said */
};
static const uint64_t SEGMENT_BYTES = 64u << 20;
static const uint64_t LIMIT_BYTES = UINT64_C(64) << 30;
static const size_t QUEUE_MAX = 256u << 20;
static const size_t RECORD_MAX = (1u << 30) + (64u << 10);
static const char CLUSTER_FILE[] = "cluster";

struct queued {
    struct queued *next;
    struct mg_slice payload; /* the caller's until done */
    int64_t received_ms;
    int64_t queued_ns;
    uint64_t known_ts;
    bool lazy;
    mg_buffer_done *done;
    void *arg;
};

struct mg_buffer_log {
    char *folder;
    struct mg_io *io;
    struct mg_clock *clock;
    uint64_t segment_bytes, limit_bytes;
    size_t queue_max, record_max;
    struct mg_budget *budget;
    struct mg_file *lock_file;
    struct mg_journal *journal;
    struct mg_thread thread;

    /* the group thread's own */
    struct mg_gather gather;
    uint64_t *segments; /* first group of each kept segment, oldest first */
    size_t segment_count, segment_capacity;
    uint64_t since_look_bytes;

    struct mg_mutex lock;   /* guards all that follows */
    struct mg_cond work;    /* to the group thread */
    struct mg_cond durable; /* to who waits for records */
    struct queued *head, **tail;
    size_t queued_bytes;
    uint32_t queued_count, waiting_count;    /* waiting: those that are not lazy */
    int64_t waiting_since_ns, lazy_since_ns; /* when the oldest of each was queued; while there are some */
    uint32_t wake_count;                     /* so many waiting ones end the gathering */
    uint64_t known_ts;
    uint64_t first_seq, last_seq, last_ordinal;
    uint64_t disk_bytes;
    uint64_t trim_seq;
    uint64_t cluster_id;
    bool cluster_kept; /* its file is written */
    bool no_intake, closing, nudged;
    bool full;
    enum mg_code broken;            /* MG_OK: it is not */
    char reason[MG_ERROR_TEXT_MAX]; /* of full or broken */
};

/* ---- reading what is there ----------------------------------------------------------------------------------- */

struct mg_buffer_cursor {
    struct mg_buffer_log *log;
    struct mg_journal_cursor *journal;
    struct mg_buffer__group group; /* count 0: none is open */
    struct mg_window head;         /* of a group that is not held */
    struct mg_span_source source;  /* of such a group's payloads */
    uint64_t from_seq;             /* records below are skipped */
};

static enum mg_code read_payload(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    struct mg_buffer_cursor *cursor = arg;
    return mg_journal_cursor_read(cursor->journal, offset, size, out, err);
}

enum mg_code mg_buffer_cursor_open(struct mg_buffer_log *log, uint64_t seq, struct mg_buffer_cursor **out,
                                   struct mg_error *err)
{
    struct mg_buffer_cursor *cursor = calloc(1, sizeof *cursor);
    if (!cursor)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a cursor of the buffer");
    cursor->log = log;
    cursor->from_seq = seq;
    cursor->head.budget = log->budget;
    cursor->source = (struct mg_span_source){.read = read_payload, .arg = cursor, .budget = log->budget};
    /* Groups count from 1: a position that was noted before the first record lies below them all. */
    uint64_t group = seq ? MG_MAX(mg_buffer__group_of(seq), UINT64_C(1)) : mg_journal_first(log->journal);
    enum mg_code code = mg_journal_cursor_open(log->journal, group, &cursor->journal, err);
    if (code != MG_OK) {
        free(cursor);
        return code;
    }
    *out = cursor;
    return MG_OK;
}

/* The head of a group that is not held. */
static enum mg_code read_group_head(struct mg_buffer_cursor *cursor, uint64_t size, struct mg_slice *out,
                                    struct mg_error *err)
{
    uint8_t header[MG_BUFFER__GROUP_HEADER];
    size_t head = (size_t)MG_MIN(size, (uint64_t)sizeof header);
    MG_TRY(mg_journal_cursor_read(cursor->journal, 0, head, header, err));
    if (head == sizeof header)
        head = (size_t)MG_MIN(size, (uint64_t)mg_buffer__head_size(mg_buffer__group_count(header)));
    MG_TRY(mg_window_grow(&cursor->head, head, 0, err));
    MG_TRY(mg_journal_cursor_read(cursor->journal, 0, head, cursor->head.data, err));
    *out = MG_SLICE(cursor->head.data, head);
    return MG_OK;
}

enum mg_code mg_buffer_cursor_next(struct mg_buffer_cursor *cursor, struct mg_record *out, struct mg_error *err)
{
    for (;;) {
        while (mg_buffer__group_next(&cursor->group, out)) {
            if (out->seq >= cursor->from_seq)
                return MG_OK;
        }
        uint64_t number;
        struct mg_slice bytes;
        MG_TRY(mg_journal_cursor_next(cursor->journal, &number, &bytes, err));
        uint64_t size = bytes.size;
        if (!bytes.data)
            MG_TRY(read_group_head(cursor, size, &bytes, err));
        MG_TRY(mg_buffer__group_open(bytes, size, number, &cursor->group, err));
    }
}

struct mg_span mg_buffer_cursor_payload(struct mg_buffer_cursor *cursor, const struct mg_record *record)
{
    if (record->payload.data)
        return mg_span_of(record->payload);
    return (struct mg_span){.size = record->payload.size, .source = &cursor->source, .offset = record->payload_offset};
}

void mg_buffer_cursor_close(struct mg_buffer_cursor *cursor)
{
    if (!cursor)
        return;
    mg_journal_cursor_close(cursor->journal);
    mg_window_clear(&cursor->head);
    free(cursor);
}

static void close_cursor(struct mg_buffer_cursor **cursor) { mg_buffer_cursor_close(*cursor); }

enum mg_code mg_buffer_log_find(struct mg_buffer_log *log, uint64_t seq, struct mg_buffer_cursor **out_cursor,
                                struct mg_record *out, struct mg_error *err)
{
    MG_CLEANUP(close_cursor) struct mg_buffer_cursor *cursor = NULL;
    struct mg_record record;
    MG_TRY(mg_buffer_cursor_open(log, seq, &cursor, err));
    MG_TRY(mg_buffer_cursor_next(cursor, &record, err));
    if (record.seq != seq)
        return mg_fail(err, MG_NOT_FOUND, "the buffer has no record %" PRIu64, seq);
    *out = record;
    *out_cursor = MG_TAKE(cursor);
    return MG_OK;
}

/* ---- the list of segments, for trimming ---------------------------------------------------------------------- */

static enum mg_code add_segment(struct mg_buffer_log *log, uint64_t first_group, struct mg_error *err)
{
    if (log->segment_count == log->segment_capacity) {
        size_t capacity = log->segment_capacity ? log->segment_capacity * 2 : 64;
        uint64_t *segments = realloc(log->segments, capacity * sizeof *segments);
        if (!segments)
            return mg_fail(err, MG_NO_MEMORY, "no memory for the list of buffer segments");
        log->segments = segments;
        log->segment_capacity = capacity;
    }
    log->segments[log->segment_count++] = first_group;
    return MG_OK;
}

static enum mg_code note_segment(void *arg, const char *name, struct mg_error *err)
{
    char *end;
    unsigned long long first = strtoull(name, &end, 16);
    return end == name + 16 && strcmp(end, ".buf") == 0 ? add_segment(arg, first, err) : MG_OK;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Remove segments whose records are all below seq. A failure is logged: the next trim tries again. */
static void trim(struct mg_buffer_log *log, uint64_t seq)
{
    uint64_t group = mg_buffer__group_of(seq);
    if (log->segment_count < 2 || log->segments[1] > group)
        return;
    MG_STOP("buffer.trim");
    struct mg_error err = MG_ERROR_INIT;
    if (mg_journal_trim(log->journal, group, &err) != MG_OK)
        mg_log(MG_LOG_WARN, "buffer", "trimming failed: %s", err.text);
    uint64_t first = mg_journal_first(log->journal);
    size_t gone = 0;
    while (gone < log->segment_count && log->segments[gone] < first)
        gone++;
    log->segment_count -= gone;
    memmove(log->segments, log->segments + gone, log->segment_count * sizeof *log->segments);

    mg_mutex_lock(&log->lock);
    log->first_seq = mg_buffer__seq(first, 0);
    log->disk_bytes = mg_journal_bytes(log->journal);
    mg_mutex_unlock(&log->lock);
}

/* ---- room ---------------------------------------------------------------------------------------------------- */

static void say_full(struct mg_buffer_log *log, bool full, const char *reason)
{
    mg_mutex_lock(&log->lock);
    bool changed = log->full != full;
    log->full = full;
    if (log->broken == MG_OK)
        snprintf(log->reason, sizeof log->reason, "%s", reason);
    mg_mutex_unlock(&log->lock);
    if (changed)
        mg_log(full ? MG_LOG_ERROR : MG_LOG_INFO, "buffer", "%s", full ? reason : "there is room again");
}

/* Say early when room runs out. */
static void look_at_room(struct mg_buffer_log *log)
{
    char reason[256] = "";
    uint64_t disk_bytes = mg_journal_bytes(log->journal), free_bytes = UINT64_MAX;
    uint64_t reserve = MG_MIN(ROOM_SEGMENTS * log->segment_bytes, log->limit_bytes / 8);
    if (log->io->ops->free_space(log->io, log->folder, &free_bytes, NULL) != MG_OK)
        free_bytes = UINT64_MAX;
    if (disk_bytes > log->limit_bytes - reserve)
        snprintf(reason, sizeof reason,
                 "the buffer is nearly full: bytes=%" PRIu64 " limit=%" PRIu64
                 "; the source's commits will wait when it is",
                 disk_bytes, log->limit_bytes);
    else if (free_bytes < ROOM_SEGMENTS * log->segment_bytes)
        snprintf(reason, sizeof reason,
                 "the buffer's disk is nearly full: free_bytes=%" PRIu64 "; the source's commits will wait when it is",
                 free_bytes);
    log->since_look_bytes = 0;
    say_full(log, reason[0] != 0, reason);
}

/* The limit forbids the next group. */
static bool over_limit(struct mg_buffer_log *log)
{
    if (log->segment_count < 2 || mg_journal_bytes(log->journal) <= log->limit_bytes)
        return false;
    say_full(log, true, "the buffer is full: the source's commits wait until records are applied");
    return true;
}

/* ---- the group thread ---------------------------------------------------------------------------------------- */

struct group {
    struct queued *first;
    uint32_t count, waiting;
    size_t bytes;                /* of payloads */
    struct mg_gather_queue left; /* the queue as it left it */
};

static struct mg_gather_queue describe_queue(struct mg_buffer_log *log) MG_REQUIRES(&log->lock)
{
    int64_t now_ns = mg_mono_ns(log->clock);
    uint32_t lazy = log->queued_count - log->waiting_count;
    return (struct mg_gather_queue){.waiting = log->waiting_count,
                                    .lazy = lazy,
                                    .waiting_ns = log->waiting_count ? now_ns - log->waiting_since_ns : 0,
                                    .lazy_ns = lazy ? now_ns - log->lazy_since_ns : 0};
}

/* Take the next group off the queue, in its order. */
static struct group take_group(struct mg_buffer_log *log) MG_REQUIRES(&log->lock)
{
    struct group group = {.first = log->head, .left = describe_queue(log)};
    struct queued **end = &log->head;
    while (*end && group.count < MG_BUFFER__GROUP_RECORDS_MAX &&
           (group.count == 0 || group.bytes + (*end)->payload.size <= GROUP_BYTES_MAX)) {
        group.bytes += (*end)->payload.size;
        group.waiting += !(*end)->lazy;
        group.count++;
        end = &(*end)->next;
    }
    log->head = *end;
    *end = NULL;
    if (!log->head)
        log->tail = &log->head;
    return group;
}

/* Put it back in front: there was no room for it. */
static void return_group(struct mg_buffer_log *log, struct group *group) MG_REQUIRES(&log->lock)
{
    struct queued **end = &group->first;
    while (*end)
        end = &(*end)->next;
    *end = log->head;
    if (!log->head)
        log->tail = end;
    log->head = group->first;
    if (log->tail == &group->first)
        log->tail = &log->head;
    group->first = NULL;
}

/* The cluster's id goes to its file before the first of its records is acked. */
static enum mg_code keep_cluster(struct mg_buffer_log *log, struct mg_error *err)
{
    mg_mutex_lock(&log->lock);
    uint64_t id = log->cluster_kept ? 0 : log->cluster_id;
    mg_mutex_unlock(&log->lock);
    if (id == 0)
        return MG_OK;
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64 "\n", id);
    MG_TRY(mg_io_write_file(log->io, log->folder, CLUSTER_FILE, mg_slice_text(text), err));
    mg_mutex_lock(&log->lock);
    log->cluster_kept = true;
    mg_mutex_unlock(&log->lock);
    return MG_OK;
}

static enum mg_code write_group(struct mg_buffer_log *log, const struct group *group, uint64_t first_ordinal,
                                uint64_t *out_number, struct mg_error *err)
{
    uint8_t head_small[MG_BUFFER__GROUP_HEADER + SMALL_GROUP * MG_BUFFER__ENTRY];
    struct iovec pieces_small[SMALL_GROUP + 1];
    MG_CLEANUP(mg_freep) void *large = NULL;
    uint8_t *head = head_small;
    struct iovec *pieces = pieces_small;
    if (group->count > SMALL_GROUP) {
        size_t pieces_size = ((size_t)group->count + 1) * sizeof *pieces;
        large = malloc(pieces_size + mg_buffer__head_size(group->count));
        if (!large)
            return mg_fail(err, MG_NO_MEMORY, "no memory for a group of %u records", group->count);
        pieces = large;
        head = (uint8_t *)large + pieces_size;
    }
    mg_buffer__encode_header(group->count, first_ordinal, head);
    pieces[0] = (struct iovec){head, mg_buffer__head_size(group->count)};
    uint32_t place = 0;
    for (const struct queued *record = group->first; record; record = record->next, place++) {
        mg_buffer__encode_entry(&(struct mg_buffer__entry){record->received_ms, record->known_ts, record->payload.size},
                                place, head);
        union { /* iovec has no const */
            const uint8_t *from;
            void *base;
        } payload = {.from = record->payload.data};
        pieces[place + 1] = (struct iovec){payload.base, record->payload.size};
    }
    MG_TRY(keep_cluster(log, err));
    uint64_t bytes_before = mg_journal_bytes(log->journal);
    MG_TRY(mg_journal_append(log->journal, pieces, (int)group->count + 1, out_number, err));
    /* An empty segment that is too small for the record is replaced by one of the same name. */
    bool known = log->segment_count && log->segments[log->segment_count - 1] == *out_number;
    if (mg_journal_bytes(log->journal) != bytes_before && !known)
        MG_TRY(add_segment(log, *out_number, err));
    return mg_journal_sync(log->journal, NULL, err);
}

/* Call `done` for all of a group, whose memory ends here. */
static void answer(struct mg_buffer_log *log, struct group *group, enum mg_code code, uint64_t number, const char *text)
{
    uint32_t place = 0;
    for (struct queued *record = group->first; record;) {
        struct queued *next = record->next;
        record->done(record->arg, code, code == MG_OK ? mg_buffer__seq(number, place) : 0, text);
        free(record);
        record = next;
        place++;
    }
    group->first = NULL;
}

static void forget_queued(struct mg_buffer_log *log, const struct group *group) MG_REQUIRES(&log->lock)
{
    log->queued_count -= group->count;
    log->waiting_count -= group->waiting;
    log->queued_bytes -= group->bytes + (size_t)group->count * QUEUE_CHARGE;
    /* What came meanwhile came after the group was taken. */
    if (log->head)
        log->waiting_since_ns = log->lazy_since_ns = log->head->queued_ns;
}

/* The journal gave up: so do we, for good. */
static void break_with(struct mg_buffer_log *log, const struct mg_error *err) MG_REQUIRES(&log->lock)
{
    if (log->broken != MG_OK)
        return;
    log->broken = MG_STOPPED;
    snprintf(log->reason, sizeof log->reason, "%s", err->text);
    mg_log(MG_LOG_ERROR, "buffer", "stopped, the source's commits will fail: %s", err->text);
}

/* Write, sync and answer one group. false: there is no room now, the group is back in the queue. */
static bool store_group(struct mg_buffer_log *log) MG_REQUIRES(&log->lock)
{
    struct group group = take_group(log);
    uint64_t first_ordinal = log->last_ordinal + 1;
    enum mg_code code = log->broken;
    struct mg_error err = MG_ERROR_INIT;
    uint64_t number = 0;
    if (code != MG_OK) {
        snprintf(err.text, sizeof err.text, "%s", log->reason);
    } else {
        mg_mutex_unlock(&log->lock);
        bool room = !over_limit(log);
        code = room ? write_group(log, &group, first_ordinal, &number, &err) : MG_NO_SPACE;
        if (room && code == MG_NO_SPACE)
            say_full(log, true, "the buffer's disk is full: the source's commits wait for room");
        mg_mutex_lock(&log->lock);
        if (code == MG_NO_SPACE && !log->no_intake) {
            return_group(log, &group);
            return false;
        }
        if (code == MG_NO_SPACE)
            code = mg_fail(&err, MG_CLOSED, "the buffer is closing, and there is no room for what is queued");
        else if (code != MG_OK)
            break_with(log, &err);
    }
    forget_queued(log, &group);
    if (code == MG_OK) {
        log->last_seq = mg_buffer__seq(number, group.count - 1);
        log->last_ordinal += group.count;
        log->disk_bytes = mg_journal_bytes(log->journal);
        if (log->first_seq == 0)
            log->first_seq = mg_buffer__seq(mg_journal_first(log->journal), 0);
        mg_cond_broadcast(&log->durable);
        mg_count(buffer_records, group.count);
        mg_count(buffer_bytes, group.bytes);
        mg_count(buffer_syncs, 1);
    }
    mg_mutex_unlock(&log->lock);
    if (code == MG_OK) {
        mg_gather_learn(&log->gather, &group.left);
        log->since_look_bytes += group.bytes + (size_t)group.count * QUEUE_CHARGE;
    }
    answer(log, &group, code, number, err.text);
    MG_STOP("buffer.acked");
    if (log->since_look_bytes >= ROOM_LOOK_BYTES)
        look_at_room(log);
    mg_mutex_lock(&log->lock);
    return true;
}

/* Wait for more records where that pays. */
static void gather(struct mg_buffer_log *log) MG_REQUIRES(&log->lock)
{
    log->wake_count = log->gather.target;
    while (log->head && !log->no_intake && log->broken == MG_OK) {
        struct mg_gather_queue queue = describe_queue(log);
        int64_t left_ns = mg_gather_wait_ns(&log->gather, &queue);
        if (left_ns == 0 || !mg_cond_wait_ms(&log->work, &log->lock, (left_ns + 999999) / 1000000))
            return;
    }
}

static void group_main(void *arg)
{
    struct mg_buffer_log *log = arg;
    uint64_t trimmed_seq = 0;
    mg_mutex_lock(&log->lock);
    for (;;) {
        while (!log->head && !log->closing && log->trim_seq == trimmed_seq)
            mg_cond_wait(&log->work, &log->lock);
        if (log->trim_seq != trimmed_seq) {
            trimmed_seq = log->trim_seq;
            mg_mutex_unlock(&log->lock);
            trim(log, trimmed_seq);
            if (log->since_look_bytes || log->full)
                look_at_room(log);
            mg_mutex_lock(&log->lock);
        }
        gather(log);
        if (log->head) {
            if (!store_group(log) && !log->no_intake)
                mg_cond_wait_ms(&log->work, &log->lock, ROOM_RETRY_MS);
        } else if (log->closing) {
            break;
        }
    }
    mg_mutex_unlock(&log->lock);
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

static enum mg_code read_cluster(struct mg_buffer_log *log, struct mg_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", log->folder, CLUSTER_FILE);
    struct mg_buffer text;
    mg_buffer_init(&text, 64);
    enum mg_code code = mg_io_read_file(log->io, path, &text, err);
    if (code == MG_OK)
        code = mg_buffer_append_u8(&text, 0, err);
    if (code == MG_OK) {
        char *end;
        log->cluster_id = strtoull((const char *)text.data, &end, 10);
        log->cluster_kept = true;
        if (log->cluster_id == 0 || *end != '\n' || end[1] != 0)
            code = mg_corrupt(err, path, 0, "it does not hold the number of a cluster");
    } else if (code == MG_NOT_FOUND) {
        code = MG_OK;
    }
    mg_buffer_clear(&text);
    return code;
}

/* Where the log ends, and which timestamps its records tell. */
static enum mg_code read_end(struct mg_buffer_log *log, struct mg_error *err)
{
    uint64_t last = mg_journal_last(log->journal);
    log->disk_bytes = mg_journal_bytes(log->journal);
    if (last < mg_journal_first(log->journal))
        return MG_OK;
    MG_CLEANUP(close_cursor) struct mg_buffer_cursor *cursor = NULL;
    MG_TRY(mg_buffer_cursor_open(log, mg_buffer__seq(last, 0), &cursor, err));
    struct mg_record record;
    enum mg_code code;
    while ((code = mg_buffer_cursor_next(cursor, &record, err)) == MG_OK) {
        log->last_seq = record.seq;
        log->last_ordinal = record.ordinal;
        log->known_ts = record.known_ts;
    }
    if (code != MG_NOT_FOUND)
        return code;
    log->first_seq = mg_buffer__seq(mg_journal_first(log->journal), 0);
    return MG_OK;
}

static enum mg_code lock_folder(struct mg_buffer_log *log, struct mg_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lock", log->folder);
    MG_TRY(mg_io_open(log->io, path, MG_OPEN_CREATE, &log->lock_file, err));
    enum mg_code code = mg_file_lock(log->lock_file, err);
    return code == MG_BUSY ? mg_fail_in(err, code, "the buffer %s is in use", log->folder) : code;
}

static enum mg_code choose_limit(struct mg_buffer_log *log, uint64_t limit_bytes, struct mg_error *err)
{
    if (limit_bytes == 0) {
        uint64_t free_bytes;
        MG_TRY(log->io->ops->free_space(log->io, log->folder, &free_bytes, err));
        limit_bytes = MG_MIN(LIMIT_BYTES, free_bytes / 2 + mg_journal_bytes(log->journal));
    }
    log->limit_bytes = MG_MAX(limit_bytes, 2 * log->segment_bytes);
    return MG_OK;
}

static enum mg_code open_log(struct mg_buffer_log *log, const struct mg_buffer_log_options *options,
                             struct mg_error *err)
{
    log->folder = strdup(options->folder);
    if (!log->folder)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the buffer");
    log->io = options->io ? options->io : mg_io_system();
    log->clock = options->clock ? options->clock : mg_clock_system();
    log->segment_bytes = options->segment_bytes ? options->segment_bytes : SEGMENT_BYTES;
    log->queue_max = options->queue_max ? options->queue_max : QUEUE_MAX;
    log->record_max = options->record_max ? options->record_max : RECORD_MAX;
    log->budget = options->budget;
    log->tail = &log->head;
    mg_gather_init(&log->gather);
    MG_TRY(mg_io_make_folders(log->io, log->folder, err));
    MG_TRY(lock_folder(log, err));
    const struct mg_journal_options journal = {
        .folder = log->folder,
        .suffix = "buf",
        .magic = {'M', 'G', 'B', 'U', 'F', 'F', 'E', 'R'},
        .format_version = MG_BUFFER__FORMAT_VERSION,
        .store_id = options->store_id,
        .segment_bytes = log->segment_bytes,
        .record_max = MG_MAX(log->record_max, (size_t)GROUP_BYTES_MAX) +
                      mg_buffer__head_size(MG_BUFFER__GROUP_RECORDS_MAX),
        .held_max = options->held_max ? options->held_max
                                      : GROUP_BYTES_MAX + mg_buffer__head_size(MG_BUFFER__GROUP_RECORDS_MAX),
        .budget = options->budget,
        .stop_prefix = "buffer",
    };
    MG_TRY(mg_journal_open(log->io, &journal, &log->journal, err));
    MG_TRY(log->io->ops->list(log->io, log->folder, note_segment, log, err));
    if (log->segment_count)
        qsort(log->segments, log->segment_count, sizeof *log->segments, compare_u64);
    MG_TRY(read_cluster(log, err));
    MG_TRY(read_end(log, err));
    MG_TRY(choose_limit(log, options->limit_bytes, err));
    look_at_room(log);
    return mg_thread_start(&log->thread, "buffer", group_main, log, err);
}

enum mg_code mg_buffer_log_open(const struct mg_buffer_log_options *options, struct mg_buffer_log **out,
                                struct mg_error *err)
{
    struct mg_buffer_log *log = calloc(1, sizeof *log);
    if (!log)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the buffer");
    mg_mutex_init(&log->lock, MG_RANK_BUFFER, "buffer");
    mg_cond_init(&log->work);
    mg_cond_init(&log->durable);
    enum mg_code code = open_log(log, options, err);
    if (code != MG_OK) {
        mg_buffer_log_close(log);
        return code;
    }
    *out = log;
    return MG_OK;
}

void mg_buffer_log_stop_intake(struct mg_buffer_log *log)
{
    mg_mutex_lock(&log->lock);
    log->no_intake = true;
    mg_cond_signal(&log->work);
    mg_mutex_unlock(&log->lock);
}

void mg_buffer_log_close(struct mg_buffer_log *log)
{
    if (!log)
        return;
    mg_mutex_lock(&log->lock);
    log->no_intake = log->closing = true;
    mg_cond_broadcast(&log->work);
    mg_cond_broadcast(&log->durable);
    mg_mutex_unlock(&log->lock);
    mg_thread_join(&log->thread);
    mg_assert(!log->head);
    mg_journal_close(log->journal);
    mg_file_close(log->lock_file);
    mg_cond_destroy(&log->durable);
    mg_cond_destroy(&log->work);
    mg_mutex_destroy(&log->lock);
    free(log->segments);
    free(log->folder);
    free(log);
}

/* ---- putting ------------------------------------------------------------------------------------------------- */

static enum mg_code may_put(struct mg_buffer_log *log, size_t size, struct mg_error *err) MG_REQUIRES(&log->lock)
{
    if (log->broken != MG_OK)
        return mg_fail(err, log->broken, "the buffer stopped: %s", log->reason);
    if (log->no_intake)
        return mg_fail(err, MG_CLOSED, "the buffer is closing");
    if (log->queued_count && log->queued_bytes + size + QUEUE_CHARGE > log->queue_max)
        return mg_fail(err, MG_BUSY, "the buffer's queue is full: %zu bytes in %u records", log->queued_bytes,
                       log->queued_count);
    return MG_OK;
}

static enum mg_code put(struct mg_buffer_log *log, struct mg_slice payload, bool lazy, mg_buffer_done *done, void *arg,
                        struct mg_error *err)
{
    if (payload.size > log->record_max)
        return mg_fail(err, MG_TOO_BIG, "a record of %zu bytes is above the limit of %zu", payload.size,
                       log->record_max);
    struct queued *record = malloc(sizeof *record);
    if (!record)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a record in the buffer's queue");
    *record = (struct queued){.payload = payload, .lazy = lazy, .done = done, .arg = arg};

    mg_mutex_lock(&log->lock);
    enum mg_code code = may_put(log, payload.size, err);
    if (code == MG_OK) {
        record->received_ms = mg_wall_ms(log->clock);
        record->queued_ns = mg_mono_ns(log->clock);
        record->known_ts = log->known_ts;
        bool idle = !log->head;
        if (lazy && log->queued_count == log->waiting_count)
            log->lazy_since_ns = record->queued_ns;
        if (!lazy && log->waiting_count == 0)
            log->waiting_since_ns = record->queued_ns;
        *log->tail = record;
        log->tail = &record->next;
        log->queued_count++;
        log->waiting_count += !lazy;
        log->queued_bytes += payload.size + QUEUE_CHARGE;
        if (idle || (!lazy && log->waiting_count >= log->wake_count))
            mg_cond_signal(&log->work);
    }
    mg_mutex_unlock(&log->lock);
    if (code != MG_OK)
        free(record);
    return code;
}

enum mg_code mg_buffer_log_put(struct mg_buffer_log *log, struct mg_slice payload, mg_buffer_done *done, void *arg,
                               struct mg_error *err)
{
    return put(log, payload, false, done, arg, err);
}

enum mg_code mg_buffer_log_put_lazy(struct mg_buffer_log *log, struct mg_slice payload, mg_buffer_done *done, void *arg,
                                    struct mg_error *err)
{
    return put(log, payload, true, done, arg, err);
}

enum mg_code mg_buffer_log_bind(struct mg_buffer_log *log, uint64_t cluster_id, struct mg_error *err)
{
    mg_mutex_lock(&log->lock);
    if (log->cluster_id == 0)
        log->cluster_id = cluster_id;
    uint64_t ours = log->cluster_id;
    mg_mutex_unlock(&log->lock);
    if (cluster_id != ours)
        return mg_fail(err, MG_INVALID, "these records are of cluster %" PRIu64 ", this buffer is of cluster %" PRIu64,
                       cluster_id, ours);
    return MG_OK;
}

uint64_t mg_buffer_log_cluster_id(struct mg_buffer_log *log)
{
    mg_mutex_lock(&log->lock);
    uint64_t id = log->cluster_id;
    mg_mutex_unlock(&log->lock);
    return id;
}

void mg_buffer_log_know(struct mg_buffer_log *log, uint64_t ts)
{
    mg_mutex_lock(&log->lock);
    log->known_ts = MG_MAX(log->known_ts, ts);
    mg_mutex_unlock(&log->lock);
}

uint64_t mg_buffer_log_known(struct mg_buffer_log *log)
{
    mg_mutex_lock(&log->lock);
    uint64_t ts = log->known_ts;
    mg_mutex_unlock(&log->lock);
    return ts;
}

/* ---- waiting, trimming, figures ------------------------------------------------------------------------------ */

uint64_t mg_buffer_log_last(struct mg_buffer_log *log)
{
    mg_mutex_lock(&log->lock);
    uint64_t last = log->last_seq;
    mg_mutex_unlock(&log->lock);
    return last;
}

uint64_t mg_buffer_log_wait(struct mg_buffer_log *log, uint64_t seq, int64_t timeout_ms)
{
    mg_mutex_lock(&log->lock);
    while (log->last_seq <= seq && !log->closing && !log->nudged &&
           mg_cond_wait_ms(&log->durable, &log->lock, timeout_ms))
        continue;
    log->nudged = false;
    uint64_t last = log->last_seq;
    mg_mutex_unlock(&log->lock);
    return last;
}

void mg_buffer_log_nudge(struct mg_buffer_log *log)
{
    mg_mutex_lock(&log->lock);
    log->nudged = true;
    mg_cond_broadcast(&log->durable);
    mg_mutex_unlock(&log->lock);
}

enum mg_code mg_buffer_log_trim(struct mg_buffer_log *log, uint64_t seq, struct mg_error *err)
{
    mg_mutex_lock(&log->lock);
    enum mg_code code = log->broken == MG_OK ? MG_OK : mg_fail(err, log->broken, "the buffer stopped: %s", log->reason);
    if (code == MG_OK && seq > log->trim_seq) {
        log->trim_seq = seq;
        mg_cond_signal(&log->work);
    }
    mg_mutex_unlock(&log->lock);
    return code;
}

void mg_buffer_log_stats(struct mg_buffer_log *log, struct mg_buffer_log_stats *out)
{
    uint64_t syncs = mg_journal_syncs(log->journal);
    mg_mutex_lock(&log->lock);
    *out = (struct mg_buffer_log_stats){
        .first_seq = log->first_seq,
        .last_seq = log->last_seq,
        .last_ordinal = log->last_ordinal,
        .disk_bytes = log->disk_bytes,
        .limit_bytes = log->limit_bytes,
        .queued_bytes = log->queued_bytes,
        .queued_records = log->queued_count,
        .syncs = syncs,
        .full = log->full,
        .stopped = log->broken != MG_OK,
    };
    memcpy(out->reason, log->reason, sizeof out->reason);
    mg_mutex_unlock(&log->lock);
}
