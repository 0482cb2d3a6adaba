/* buffer_group.c -- the bytes of a group: what one write and one sync make durable together.
 *
 * Shape    header {u32 count, u32 zero, u64 first ordinal}, count entries {i64 received ms, u64 known ts, u64 payload
 *          size}, then the payloads one behind the other.
 * Errors   MG_CORRUPT: counts or sizes that do not fit, a known ts that falls.
 * Threads  a group being read belongs to one thread; the rest is pure.
 * Source   docs/format/buffer.md. A group is one record of base/journal.h, whose checksum covers it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/buffer/buffer_internal.h"

enum { AT_COUNT = 0, AT_ZERO = 4, AT_FIRST_ORDINAL = 8 };
enum { AT_RECEIVED_MS = 0, AT_KNOWN_TS = 8, AT_PAYLOAD_SIZE = 16 };

void mg_buffer__encode_header(uint32_t count, uint64_t first_ordinal, uint8_t *out)
{
    mg_assert(count >= 1 && count <= MG_BUFFER__GROUP_RECORDS_MAX);
    mg_store_le32(out + AT_COUNT, count);
    mg_store_le32(out + AT_ZERO, 0);
    mg_store_le64(out + AT_FIRST_ORDINAL, first_ordinal);
}

void mg_buffer__encode_entry(const struct mg_buffer__entry *entry, uint32_t place, uint8_t *out)
{
    uint8_t *at = out + mg_buffer__head_size(place);
    mg_store_le64(at + AT_RECEIVED_MS, (uint64_t)entry->received_ms);
    mg_store_le64(at + AT_KNOWN_TS, entry->known_ts);
    mg_store_le64(at + AT_PAYLOAD_SIZE, entry->payload_size);
}

static struct mg_buffer__entry entry_at(const struct mg_buffer__group *group, uint32_t place)
{
    const uint8_t *at = group->bytes.data + mg_buffer__head_size(place);
    return (struct mg_buffer__entry){.received_ms = (int64_t)mg_load_le64(at + AT_RECEIVED_MS),
                                     .known_ts = mg_load_le64(at + AT_KNOWN_TS),
                                     .payload_size = mg_load_le64(at + AT_PAYLOAD_SIZE)};
}

uint32_t mg_buffer__group_count(const uint8_t *header)
{
    return MG_MIN(mg_load_le32(header + AT_COUNT), (uint32_t)MG_BUFFER__GROUP_RECORDS_MAX);
}

enum mg_code mg_buffer__group_open(struct mg_slice bytes, uint64_t size, uint64_t number, struct mg_buffer__group *out,
                                   struct mg_error *err)
{
    struct mg_buffer__group group = {.bytes = bytes, .size = size, .number = number};
    unsigned long long n = number;
    if (bytes.size < MG_BUFFER__GROUP_HEADER)
        return mg_fail(err, MG_CORRUPT, "group %llu of the buffer has %zu bytes, fewer than its header", n, bytes.size);
    group.count = mg_load_le32(bytes.data + AT_COUNT);
    group.first_ordinal = mg_load_le64(bytes.data + AT_FIRST_ORDINAL);
    if (group.count == 0 || group.count > MG_BUFFER__GROUP_RECORDS_MAX || mg_load_le32(bytes.data + AT_ZERO) != 0 ||
        group.first_ordinal == 0 || mg_buffer__head_size(group.count) > bytes.size)
        return mg_fail(err, MG_CORRUPT, "group %llu of the buffer has a damaged header: %u records in %llu bytes", n,
                       group.count, (unsigned long long)size);
    uint64_t left = size - mg_buffer__head_size(group.count), known_ts = 0;
    for (uint32_t place = 0; place < group.count; place++) {
        struct mg_buffer__entry entry = entry_at(&group, place);
        if (entry.payload_size > left || entry.known_ts < known_ts)
            return mg_fail(err, MG_CORRUPT,
                           "record %u of group %llu of the buffer has a damaged entry: size %llu, "
                           "known ts %llu",
                           place, n, (unsigned long long)entry.payload_size, (unsigned long long)entry.known_ts);
        left -= entry.payload_size;
        known_ts = entry.known_ts;
    }
    if (left)
        return mg_fail(err, MG_CORRUPT, "group %llu of the buffer has %llu bytes too many", n,
                       (unsigned long long)left);
    group.payload_offset = mg_buffer__head_size(group.count);
    *out = group;
    return MG_OK;
}

bool mg_buffer__group_next(struct mg_buffer__group *group, struct mg_record *out)
{
    if (group->place == group->count)
        return false;
    struct mg_buffer__entry entry = entry_at(group, group->place);
    *out = (struct mg_record){
        .seq = mg_buffer__seq(group->number, group->place),
        .ordinal = group->first_ordinal + group->place,
        .received_ms = entry.received_ms,
        .known_ts = entry.known_ts,
        .payload = {group->bytes.size == group->size ? group->bytes.data + group->payload_offset : NULL,
                    (size_t)entry.payload_size},
        .payload_offset = group->payload_offset,
    };
    group->payload_offset += entry.payload_size;
    group->place++;
    return true;
}
