/* buffer_group_fuzz.c -- any bytes as a group of the syncer's buffer: damage is refused, and what is accepted is read
 * wholly, in order, and comes out the same when it is written again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "syncer/buffer/buffer_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_buffer__group group;
    enum mg_code code = mg_buffer__group_open(MG_SLICE(data, size), size, 7, &group, NULL);
    mg_assert(code == MG_OK || code == MG_CORRUPT);
    if (code != MG_OK)
        return 0;
    uint8_t *head = malloc(mg_buffer__head_size(group.count));
    mg_assert(head);
    mg_buffer__encode_header(group.count, group.first_ordinal, head);
    struct mg_record record;
    uint32_t count = 0;
    uint64_t known_ts = 0;
    const uint8_t *end = data + mg_buffer__head_size(group.count);
    while (mg_buffer__group_next(&group, &record)) {
        mg_assert(record.seq == mg_buffer__seq(7, count) && record.known_ts >= known_ts);
        mg_assert(record.payload.data == end);
        struct mg_buffer__entry entry = {record.received_ms, record.known_ts, record.payload.size};
        mg_buffer__encode_entry(&entry, count, head);
        known_ts = record.known_ts;
        end += record.payload.size;
        count++;
    }
    mg_assert(count == group.count && end == data + size);
    mg_assert(memcmp(head, data, mg_buffer__head_size(count)) == 0);
    free(head);
    return 0;
}
