/* journal_segment.c -- the bytes of a segment file: written by one half, checked by the other.
 *
 * Shape    a block of 512 bytes (header), then records, each from a multiple of 512 on, then zeros (preallocated room).
 * Errors   MG_CORRUPT with file and offset; MG_UNIMPLEMENTED for a version that is not ours.
 * Threads  a reader belongs to one thread at a time; the rest is pure.
 * Source   docs/format/journal.md. Idea: the log of LevelDB; differs: records are not split over blocks, a record says
 *          what was durable before it, and sequence numbers are dense.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"
#include "base/journal_internal.h"

static const uint8_t record_marker[4] = {'m', 'g', 'R', '1'};

/* Where the header's fields are. */
enum {
    AT_MAGIC = 0,
    AT_FRAME_VERSION = 8,
    AT_FORMAT_VERSION = 12,
    AT_STORE_ID = 16,
    AT_FIRST_SEQ = 24,
    AT_PREVIOUS_FIRST_SEQ = 32,
    AT_SALT = 40,
    AT_CHECKSUM = 504,
};

/* Where a record's fields are. */
enum { AT_MARKER = 0, AT_LENGTH = 4, AT_SEQ = 8, AT_SYNCED_SEQ = 16, AT_RECORD_CHECKSUM = 24, AT_PAYLOAD = 32 };
_Static_assert((int)AT_RECORD_CHECKSUM == (int)MG_JOURNAL__RECORD_SIGNED, "the checksum covers what stands before it");
_Static_assert((int)AT_PAYLOAD == (int)MG_JOURNAL__RECORD_HEADER, "the payload follows the header");

void mg_journal__encode_header(const struct mg_journal_options *options, const struct mg_journal__header *header,
                               uint8_t out[MG_JOURNAL__SEGMENT_HEADER])
{
    memset(out, 0, MG_JOURNAL__SEGMENT_HEADER);
    memcpy(out + AT_MAGIC, options->magic, sizeof options->magic);
    mg_store_le32(out + AT_FRAME_VERSION, MG_JOURNAL__FRAME_VERSION);
    mg_store_le32(out + AT_FORMAT_VERSION, options->format_version);
    mg_store_le64(out + AT_STORE_ID, options->store_id);
    mg_store_le64(out + AT_FIRST_SEQ, header->first_seq);
    mg_store_le64(out + AT_PREVIOUS_FIRST_SEQ, header->previous_first_seq);
    mg_store_le64(out + AT_SALT, header->salt);
    mg_store_le64(out + AT_CHECKSUM, mg_hash(out, AT_CHECKSUM, 0));
}

enum mg_code mg_journal__read_header(struct mg_file *file, const char *path, const struct mg_journal_options *options,
                                     uint64_t first_seq, struct mg_journal__header *out, struct mg_error *err)
{
    uint8_t block[MG_JOURNAL__SEGMENT_HEADER];
    MG_TRY(mg_file_pread(file, block, sizeof block, 0, err));
    if (memcmp(block + AT_MAGIC, options->magic, sizeof options->magic) != 0)
        return mg_corrupt(err, path, AT_MAGIC, "it does not start as a segment of this journal does");
    if (mg_load_le64(block + AT_CHECKSUM) != mg_hash(block, AT_CHECKSUM, 0))
        return mg_corrupt(err, path, AT_CHECKSUM, "the checksum of the segment's header is wrong");
    uint32_t frame_version = mg_load_le32(block + AT_FRAME_VERSION);
    uint32_t format_version = mg_load_le32(block + AT_FORMAT_VERSION);
    if (frame_version != MG_JOURNAL__FRAME_VERSION || format_version != options->format_version)
        return mg_fail(err, MG_UNIMPLEMENTED, "%s has the format %u.%u; this version of Magic reads and writes %u.%u",
                       path, frame_version, format_version, MG_JOURNAL__FRAME_VERSION, options->format_version);
    uint64_t store_id = mg_load_le64(block + AT_STORE_ID);
    if (store_id != options->store_id)
        return mg_corrupt(err, path, AT_STORE_ID, "it belongs to another store: %016llx, this one is %016llx",
                          (unsigned long long)store_id, (unsigned long long)options->store_id);
    out->first_seq = mg_load_le64(block + AT_FIRST_SEQ);
    if (out->first_seq != first_seq)
        return mg_corrupt(err, path, AT_FIRST_SEQ, "it begins with record %llu, which is not its name",
                          (unsigned long long)out->first_seq);
    out->previous_first_seq = mg_load_le64(block + AT_PREVIOUS_FIRST_SEQ);
    if (out->previous_first_seq >= first_seq)
        return mg_corrupt(err, path, AT_PREVIOUS_FIRST_SEQ, "the segment before it begins with record %llu",
                          (unsigned long long)out->previous_first_seq);
    out->salt = mg_load_le64(block + AT_SALT);
    return MG_OK;
}

/* scratch has room for count + 1 pieces. */
void mg_journal__encode_record(uint64_t seq, uint64_t synced_seq, const struct iovec *pieces, int count, uint64_t salt,
                               struct iovec *scratch, uint8_t out[MG_JOURNAL__RECORD_HEADER])
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    memcpy(out + AT_MARKER, record_marker, sizeof record_marker);
    mg_store_le32(out + AT_LENGTH, (uint32_t)size);
    mg_store_le64(out + AT_SEQ, seq);
    mg_store_le64(out + AT_SYNCED_SEQ, synced_seq);
    scratch[0] = (struct iovec){out, MG_JOURNAL__RECORD_SIGNED};
    memcpy(scratch + 1, pieces, (size_t)count * sizeof *pieces);
    mg_store_le64(out + AT_RECORD_CHECKSUM, mg_hash_pieces(scratch, (size_t)count + 1, salt));
}

void mg_journal__reader_init(struct mg_journal__reader *reader, const struct mg_journal_options *options)
{
    *reader = (struct mg_journal__reader){.record_max = options->record_max,
                                          .held_max = options->held_max ? options->held_max : SIZE_MAX,
                                          .window = {.budget = options->budget}};
}

void mg_journal__reader_clear(struct mg_journal__reader *reader) { mg_window_clear(&reader->window); }

void mg_journal__reader_turn(struct mg_journal__reader *reader, struct mg_file *file, const char *path, uint64_t salt,
                             uint64_t limit)
{
    reader->file = file;
    reader->path = path;
    reader->salt = salt;
    reader->limit = limit;
    reader->window_size = 0;
    reader->window_offset = 0;
}

/* The bytes [offset, offset + size), which lie below the limit. */
static enum mg_code read_window(struct mg_journal__reader *reader, uint64_t offset, uint64_t size, const uint8_t **out,
                                struct mg_error *err)
{
    if (offset < reader->window_offset || offset + size > reader->window_offset + reader->window_size) {
        size_t want = (size_t)MG_MIN(MG_MAX(size, (uint64_t)MG_JOURNAL__WINDOW), reader->limit - offset);
        reader->window_size = 0;
        MG_TRY(mg_window_grow(&reader->window, want, 0, err));
        MG_TRY(mg_file_pread(reader->file, reader->window.data, want, offset, err));
        reader->window_size = want;
        reader->window_offset = offset;
    }
    *out = reader->window.data + (offset - reader->window_offset);
    return MG_OK;
}

/* Header and payload of the record at offset, hashed piece by piece. */
static enum mg_code hash_record(struct mg_journal__reader *reader, uint64_t offset, uint64_t length, uint64_t *out,
                                struct mg_error *err)
{
    struct mg_hasher hasher;
    const uint8_t *at;
    mg_hasher_begin(&hasher, reader->salt);
    MG_TRY(read_window(reader, offset, MG_JOURNAL__RECORD_SIGNED, &at, err));
    mg_hasher_add(&hasher, at, MG_JOURNAL__RECORD_SIGNED);
    offset += AT_PAYLOAD;
    for (uint64_t size; length; offset += size, length -= size) {
        size = MG_MIN(length, (uint64_t)MG_JOURNAL__WINDOW);
        MG_TRY(read_window(reader, offset, size, &at, err));
        mg_hasher_add(&hasher, at, (size_t)size);
    }
    *out = mg_hasher_end(&hasher);
    return MG_OK;
}

enum mg_code mg_journal__read_frame(struct mg_journal__reader *reader, uint64_t offset, uint64_t seq,
                                    struct mg_journal__record *out, bool *out_good, struct mg_error *err)
{
    const uint8_t *at;
    *out_good = false;
    if (offset > reader->limit || reader->limit - offset < MG_JOURNAL__RECORD_HEADER)
        return MG_OK;
    MG_TRY(read_window(reader, offset, MG_JOURNAL__RECORD_HEADER, &at, err));
    uint64_t length = mg_load_le32(at + AT_LENGTH);
    out->seq = mg_load_le64(at + AT_SEQ);
    out->synced_seq = mg_load_le64(at + AT_SYNCED_SEQ);
    out->payload = MG_SLICE(NULL, (size_t)length);
    out->payload_offset = offset + AT_PAYLOAD;
    out->end_offset = offset + mg_journal__round(MG_JOURNAL__RECORD_HEADER + length);
    *out_good = memcmp(at + AT_MARKER, record_marker, sizeof record_marker) == 0 &&
                length <= reader->limit - offset - MG_JOURNAL__RECORD_HEADER && (!seq || out->seq == seq) &&
                out->synced_seq < out->seq;
    return MG_OK;
}

enum mg_code mg_journal__read_record(struct mg_journal__reader *reader, uint64_t offset, uint64_t seq,
                                     struct mg_journal__record *out, bool *out_good, struct mg_error *err)
{
    const uint8_t *at;
    uint64_t hash;
    MG_TRY(mg_journal__read_frame(reader, offset, seq, out, out_good, err));
    if (!*out_good)
        return MG_OK;
    *out_good = false;
    size_t length = out->payload.size;
    bool held = length <= reader->held_max;
    MG_TRY(read_window(reader, offset, MG_JOURNAL__RECORD_HEADER + (held ? length : 0), &at, err));
    uint64_t checksum = mg_load_le64(at + AT_RECORD_CHECKSUM);
    MG_TRY(hash_record(reader, offset, length, &hash, err));
    if (hash != checksum)
        return MG_OK;
    if (length > reader->record_max)
        return mg_corrupt(err, reader->path, (long long)offset, "record %llu has %zu bytes, above the limit of %llu",
                          (unsigned long long)out->seq, length, (unsigned long long)reader->record_max);
    if (held)
        out->payload = MG_SLICE(at + AT_PAYLOAD, length);
    *out_good = true;
    return MG_OK;
}

static bool all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

/* The end was found at end->end_offset, where record `seq` should be. What lies behind it is a torn tail or damage.
 *
 * A power cut leaves any subset of the sectors that were written since the last sync, over zeros. So a record that was
 * not synced may be missing while a later one of the same sync is whole. Damage is what contradicts that: a good record
 * that was written when `seq` was durable, or a bad record, followed by a good one, that has no sector of zeros. */
static enum mg_code judge_tail(struct mg_journal__reader *reader, uint64_t seq, struct mg_journal__end *end,
                               struct mg_error *err)
{
    bool follower_seen = false, zero_sector_seen = false;
    for (uint64_t at = end->end_offset; at < reader->limit; at += MG_JOURNAL_ALIGN) {
        size_t size = (size_t)MG_MIN((uint64_t)MG_JOURNAL_ALIGN, reader->limit - at);
        const uint8_t *sector;
        MG_TRY(read_window(reader, at, size, &sector, err));
        if (all_zero(sector, size)) {
            zero_sector_seen = true;
            continue;
        }
        end->dirty_offset = at + size;
        struct mg_journal__record record;
        bool good;
        MG_TRY(mg_journal__read_record(reader, at, 0, &record, &good, err));
        if (!good)
            continue;
        if (record.seq <= seq)
            return mg_corrupt(err, reader->path, (long long)at, "record %llu lies where a later one should be",
                              (unsigned long long)record.seq);
        if (record.synced_seq >= seq)
            return mg_corrupt(err, reader->path, (long long)end->end_offset,
                              "record %llu is damaged; record %llu behind it says that it was durable",
                              (unsigned long long)seq, (unsigned long long)record.seq);
        if (!follower_seen && !zero_sector_seen)
            return mg_corrupt(err, reader->path, (long long)end->end_offset,
                              "record %llu is damaged, not torn; record %llu behind it is whole",
                              (unsigned long long)seq, (unsigned long long)record.seq);
        follower_seen = true;
        end->dirty_offset = MG_MIN(record.end_offset, reader->limit);
        at = record.end_offset - MG_JOURNAL_ALIGN;
    }
    return MG_OK;
}

/* Offsets of the records from first_seq on: those that none seen so far calls durable. */
struct unsynced {
    uint64_t first_seq;
    struct mg_buffer offsets; /* u64 each */
};

static enum mg_code note_record(struct unsynced *unsynced, const struct mg_journal__record *record, uint64_t offset,
                                struct mg_error *err)
{
    struct mg_buffer *offsets = &unsynced->offsets;
    if (record->synced_seq >= unsynced->first_seq) {
        size_t durable_size = (size_t)(record->synced_seq - unsynced->first_seq + 1) * sizeof offset;
        offsets->size -= durable_size; /* what was durable then was written before: it is in the list */
        memmove(offsets->data, offsets->data + durable_size, offsets->size);
        unsynced->first_seq = record->synced_seq + 1;
    }
    return mg_buffer_append_le64(offsets, offset, err);
}

static enum mg_code read_records(struct mg_journal__reader *reader, struct unsynced *unsynced,
                                 struct mg_journal__end *end, struct mg_error *err)
{
    for (;;) {
        struct mg_journal__record record;
        bool good;
        MG_TRY(mg_journal__read_record(reader, end->end_offset, end->last_seq + 1, &record, &good, err));
        if (!good)
            break;
        MG_TRY(note_record(unsynced, &record, end->end_offset, err));
        end->last_seq = record.seq;
        end->end_offset = record.end_offset;
    }
    end->unsynced_offset = unsynced->offsets.size ? mg_load_le64(unsynced->offsets.data) : end->end_offset;
    return MG_OK;
}

enum mg_code mg_journal__find_end(struct mg_journal__reader *reader, uint64_t first_seq, struct mg_journal__end *out,
                                  struct mg_error *err)
{
    struct mg_journal__end end = {.last_seq = first_seq - 1, .end_offset = MG_JOURNAL__SEGMENT_HEADER};
    struct unsynced unsynced = {.first_seq = first_seq};
    mg_buffer_init(&unsynced.offsets, SIZE_MAX);
    enum mg_code code = read_records(reader, &unsynced, &end, err);
    mg_buffer_clear(&unsynced.offsets);
    MG_TRY(code);
    MG_TRY(judge_tail(reader, end.last_seq + 1, &end, err));
    *out = end;
    return MG_OK;
}
