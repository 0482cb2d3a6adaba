/* marks_fuzz.c -- a marks file of arbitrary bytes: decoded as the file of the segment, epoch and rows that it names.
 *
 * Each input runs as it is, and with the checksum that it should have, so that a fuzzer gets behind it. What is taken
 * must give the same marks after it was written and read once more; all memory is given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/manifest.h"

enum { MEMORY_MAX = 64 << 20, INPUT_MAX = 1 << 20, ROWS_MAX = 1 << 22, HEAD_BYTES = 40, HASH_BYTES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the head says whose marks these are. */
struct whose {
    uint32_t segment_id, row_count;
    uint64_t epoch;
};

static enum mg_code decode(struct mg_slice bytes, const struct whose *whose, struct mg_budget *budget,
                           struct mg_marks **out)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = mg_marks_file__decode(bytes, whose->segment_id, whose->epoch, whose->row_count, budget, out,
                                              &err);
    mg_assert(code == MG_OK || code == MG_CORRUPT || code == MG_UNIMPLEMENTED || code == MG_NO_MEMORY);
    mg_assert(code == MG_OK || (err.code == code && err.text[0]));
    return code;
}

static void encode(const struct mg_marks *marks, const struct whose *whose, struct mg_buffer *out)
{
    mg_buffer_init(out, 64 << 20);
    mg_assert(mg_marks_file__encode(whose->segment_id, whose->epoch, whose->row_count, marks, out, NULL) == MG_OK);
}

static void run(struct mg_slice bytes)
{
    struct whose whose = {0};
    struct mg_marks *marks, *again;
    struct mg_buffer first, second;
    struct mg_budget budget;
    mg_budget_init(&budget, "fuzz", NULL, MEMORY_MAX);
    if (bytes.size >= HEAD_BYTES) {
        whose = (struct whose){.segment_id = mg_load_le32(bytes.data + 12),
                               .row_count = MG_MIN(mg_load_le32(bytes.data + 24), (uint32_t)ROWS_MAX),
                               .epoch = mg_load_le64(bytes.data + 16)};
    }
    if (decode(bytes, &whose, &budget, &marks) == MG_OK) {
        mg_assert(marks->dead_count <= whose.row_count);
        encode(marks, &whose, &first);
        mg_assert(decode(mg_buffer_slice(&first), &whose, &budget, &again) == MG_OK);
        encode(again, &whose, &second);
        mg_assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        mg_assert(again->dead_count == marks->dead_count);
        mg_buffer_clear(&first);
        mg_buffer_clear(&second);
        mg_marks_file__free(again);
        mg_marks_file__free(marks);
    }
    mg_assert(mg_budget_used(&budget) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    run(MG_SLICE(data, size));
    if (size < HEAD_BYTES + HASH_BYTES)
        return 0;
    uint8_t *repaired = malloc(size);
    mg_assert(repaired);
    memcpy(repaired, data, size);
    mg_store_le64(repaired + size - HASH_BYTES, mg_hash(repaired, size - HASH_BYTES, 0));
    run(MG_SLICE(repaired, size));
    free(repaired);
    return 0;
}
