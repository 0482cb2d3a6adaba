/* buffer_internal.h -- the layout of a group of records, shared by the buffer's writer, its cursors, tests and fuzzer.
 *
 * Not for other rooms. The layout is docs/format/buffer.md; buffer_group.c is its only code.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_BUFFER_INTERNAL_H
#define MG_SYNCER_BUFFER_INTERNAL_H

#include "base/bytes.h"
#include "base/error.h"
#include "syncer/buffer/buffer_log.h"

enum {
    MG_BUFFER__GROUP_RECORDS_BITS = 10,
    MG_BUFFER__GROUP_RECORDS_MAX = 1 << MG_BUFFER__GROUP_RECORDS_BITS,
    MG_BUFFER__GROUP_HEADER = 16, /* bytes before the entries */
    MG_BUFFER__ENTRY = 24,        /* bytes of one record's entry */
    MG_BUFFER__FORMAT_VERSION = 1,
};

static inline uint64_t mg_buffer__seq(uint64_t group, uint32_t place)
{
    return group << MG_BUFFER__GROUP_RECORDS_BITS | place;
}
static inline uint64_t mg_buffer__group_of(uint64_t seq) { return seq >> MG_BUFFER__GROUP_RECORDS_BITS; }
static inline uint32_t mg_buffer__place_of(uint64_t seq) { return (uint32_t)seq & (MG_BUFFER__GROUP_RECORDS_MAX - 1); }

/* What a record's entry holds. */
struct mg_buffer__entry {
    int64_t received_ms;
    uint64_t known_ts;
    uint64_t payload_size;
};

/* Bytes of the head of a group: header and entries. */
static inline size_t mg_buffer__head_size(uint32_t count)
{
    return MG_BUFFER__GROUP_HEADER + (size_t)count * MG_BUFFER__ENTRY;
}
/* out has room for mg_buffer__head_size(1 .. MG_BUFFER__GROUP_RECORDS_MAX); the entry goes to place. */
void mg_buffer__encode_header(uint32_t count, uint64_t first_ordinal, uint8_t *out);
void mg_buffer__encode_entry(const struct mg_buffer__entry *entry, uint32_t place, uint8_t *out);

/* A group being read; borrows its bytes. */
struct mg_buffer__group {
    struct mg_slice bytes; /* all of it, or the first ones */
    uint64_t size;         /* of all */
    uint64_t number;       /* in the journal */
    uint32_t count;
    uint64_t first_ordinal;
    uint32_t place;          /* of the next record; count: none is left */
    uint64_t payload_offset; /* of its payload */
};

/* Records of the group that begins with these MG_BUFFER__GROUP_HEADER bytes, at most MG_BUFFER__GROUP_RECORDS_MAX: one
 * that says more is found damaged by mg_buffer__group_open. */
uint32_t mg_buffer__group_count(const uint8_t *header);
/* Checks the whole head. bytes: the group, or at least its head; size: of the group. MG_CORRUPT says what is wrong. */
MG_MUST_CHECK enum mg_code mg_buffer__group_open(struct mg_slice bytes, uint64_t size, uint64_t number,
                                                 struct mg_buffer__group *out, struct mg_error *err);
/* The next record, false when there is none. Its payload is borrowed from the group's bytes; data is NULL if those are
 * not all. */
bool mg_buffer__group_next(struct mg_buffer__group *group, struct mg_record *out);

#endif
