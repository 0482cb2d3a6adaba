/* prewrite_fuzz.c -- any bytes as a PrewriteValue: the walk ends, stays inside, and gives rows that lie in the message
 * in list order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/prewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct mg_slice part, struct mg_slice whole)
{
    return part.size == 0 || (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

static void walk_rows(struct mg_slice mutation)
{
    struct mg_row_walk walk;
    enum mg_row_kind kind;
    struct mg_slice row;
    const uint8_t *last[5] = {NULL};
    enum mg_code code;

    mg_row_walk_init(&walk, mutation);
    while ((code = mg_row_walk_next(&walk, &kind, &row, NULL)) == MG_OK) {
        mg_assert(kind == MG_ROW_INSERT || kind == MG_ROW_UPDATE || kind == MG_ROW_DELETE);
        mg_assert(is_inside(row, mutation));
        mg_assert(row.size == 0 || row.data > last[kind]); /* each list in its own order */
        last[kind] = row.size ? row.data : last[kind];
    }
    mg_assert(code == MG_NOT_FOUND || code == MG_PROTOCOL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_slice whole = MG_SLICE(data, size);
    struct mg_prewrite prewrite;
    struct mg_mutation mutation;

    enum mg_code code = mg_prewrite_open(whole, &prewrite, NULL);
    mg_assert(code == MG_OK || code == MG_PROTOCOL);
    while (code == MG_OK && mg_prewrite_next(&prewrite, &mutation)) {
        mg_assert(mutation.table_id != 0 && is_inside(mutation.body, whole));
        walk_rows(mutation.body);
    }
    walk_rows(whole); /* a mutation that nobody checked before */
    return 0;
}
