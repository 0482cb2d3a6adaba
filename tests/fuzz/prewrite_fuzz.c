/* prewrite_fuzz.c -- any bytes as a PrewriteValue: the walk ends, stays inside, and gives rows that lie in the message
 * in list order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/prewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct mg_slice part, struct mg_slice whole)
{
    return part.size == 0 || (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

static enum mg_code read_slice(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    const struct mg_slice *whole = arg;
    mg_assert(offset <= whole->size && size <= whole->size - offset);
    if (size)
        memcpy(out, whole->data + offset, size);
    return MG_OK;
}

/* The same rows, whether the message is in memory or read in pieces. */
static void walk_rows(const struct mg_span *mutation, const struct mg_span *outside)
{
    struct mg_row_walk walk = {.is_obsolete = false}, again = {.is_obsolete = false};
    enum mg_row_kind kind, kind_again;
    struct mg_slice row, row_again, whole = MG_SLICE(mutation->data, mutation->size);
    const uint8_t *last[5] = {NULL};
    enum mg_code code;

    mg_assert(mg_row_walk_open(&walk, mutation, NULL) == MG_OK && mg_row_walk_open(&again, outside, NULL) == MG_OK);
    while ((code = mg_row_walk_next(&walk, &kind, &row, NULL)) == MG_OK) {
        mg_assert(kind == MG_ROW_INSERT || kind == MG_ROW_UPDATE || kind == MG_ROW_DELETE);
        mg_assert(is_inside(row, whole));
        mg_assert(row.size == 0 || row.data > last[kind]); /* each list in its own order */
        last[kind] = row.size ? row.data : last[kind];
        mg_assert(mg_row_walk_next(&again, &kind_again, &row_again, NULL) == MG_OK);
        mg_assert(kind == kind_again && mg_slice_equal(row, row_again));
    }
    mg_assert(code == MG_NOT_FOUND || code == MG_PROTOCOL);
    mg_assert(code == mg_row_walk_next(&again, &kind_again, &row_again, NULL));
    mg_row_walk_clear(&walk);
    mg_row_walk_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_slice bytes = MG_SLICE(data, size);
    const struct mg_span_source source = {.read = read_slice, .arg = &bytes};
    const struct mg_span whole = mg_span_of(bytes), outside = {.size = size, .source = &source};
    struct mg_prewrite prewrite, again;
    struct mg_mutation mutation, other;

    enum mg_code code = mg_prewrite_open(&whole, &prewrite, NULL);
    mg_assert(code == MG_OK || code == MG_PROTOCOL);
    mg_assert(mg_prewrite_open(&outside, &again, NULL) == code);
    while (code == MG_OK && (code = mg_prewrite_next(&prewrite, &mutation, NULL)) == MG_OK) {
        mg_assert(mutation.table_id != 0 && is_inside(MG_SLICE(mutation.body.data, mutation.body.size), bytes));
        mg_assert(mg_prewrite_next(&again, &other, NULL) == MG_OK && other.table_id == mutation.table_id);
        walk_rows(&mutation.body, &other.body);
    }
    mg_prewrite_clear(&prewrite);
    mg_prewrite_clear(&again);
    walk_rows(&whole, &outside); /* a mutation that nobody checked before */
    return 0;
}
