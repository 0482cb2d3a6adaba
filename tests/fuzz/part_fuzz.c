/* part_fuzz.c -- a part of arbitrary bytes: opened, checked, read, searched.
 *
 * Each input runs twice: as it is, and with the checksums of tail, footer and pieces taken for right, so that a fuzzer
 * gets behind them. Whatever the bytes are, calls end with a code that says so, inside the bytes and the memory limit.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/io_fault.h"
#include "part/part_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    FILE_MAX = 1 << 20,
    MEMORY_MAX = 64 << 20,
    CHECK_ROWS_MAX = 200000, /* constant vectors make many rows of few bytes */
    SEGMENT = 5,
};

/* Tail and footer get the checksums of what they hold. */
static void repair(uint8_t *bytes, size_t size)
{
    uint8_t *tail = bytes + size - MG_PART__TAIL_BYTES;

    if (size < MG_PART__TAIL_BYTES)
        return;
    mg_store_le64(tail + 48, mg_hash(tail, 48, 0));
    uint64_t at = mg_load_le64(tail), footer_size = mg_load_le64(tail + 8), end = size - MG_PART__TAIL_BYTES;
    if (at > end || footer_size != end - at || footer_size < 8)
        return;
    mg_store_le64(tail - 8, mg_hash(bytes + at, footer_size - 8, 0));
}

static void trust_piece(struct mg_part *part, struct mg_part__piece *piece, const uint8_t *bytes)
{
    piece->hash = mg_hash(bytes + piece->offset, mg_part__padded(piece->stored), 0);
}

static void trust_pieces(struct mg_part *part, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < mg_part__block_count(part); i++)
        trust_piece(part, &part->footer.blocks[i].piece, bytes);
    trust_piece(part, &part->footer.filter, bytes);
    trust_piece(part, &part->footer.index, bytes);
}

static void expect(enum mg_code code, const struct mg_error *err)
{
    mg_assert(code == MG_OK || code == MG_CORRUPT || code == MG_UNIMPLEMENTED || code == MG_NO_MEMORY ||
              code == MG_TOO_BIG || code == MG_INVALID);
    mg_assert(code == MG_OK || (err->code == code && err->text[0]));
}

/* Lowest, highest, and what rows in between say their keys are. */
static void search(struct mg_part *part)
{
    uint32_t rows = mg_part_row_count(part), offsets[5] = {0}, found[4], bound;
    uint64_t hashes[4];
    struct mg_error err = MG_ERROR_INIT;
    struct mg_slice low, high;
    struct mg_buffer keys;

    mg_buffer_init(&keys, 4 * MG_KEY_BYTES_MAX);
    mg_part_keys(part, &low, &high);
    mg_assert(mg_buffer_append(&keys, low.data, low.size, NULL) == MG_OK);
    offsets[1] = (uint32_t)keys.size;
    for (uint32_t i = 1; i < 3; i++) {
        enum mg_code code = mg_part_key_at(part, rows / 3 * i, &keys, &err);
        expect(code, &err);
        offsets[i + 1] = (uint32_t)keys.size;
    }
    mg_assert(mg_buffer_append(&keys, high.data, high.size, NULL) == MG_OK);
    offsets[4] = (uint32_t)keys.size;
    for (uint32_t i = 0; i < 4; i++) {
        struct mg_slice key = MG_SLICE(keys.data + offsets[i], offsets[i + 1] - offsets[i]);
        hashes[i] = mg_part_key_hash(key);
        found[i] = MG_PART_NO_ROW;
        expect(mg_part_lower_bound(part, key, &bound, &err), &err);
    }
    struct mg_part_probe probe = {.count = 4, .keys = keys.data, .offsets = offsets, .hashes = hashes};
    expect(mg_part_find(part, &probe, found, &err), &err);
    for (uint32_t i = 0; i < 4; i++)
        mg_assert(found[i] == MG_PART_NO_ROW || found[i] < rows);
    mg_buffer_clear(&keys);
}

static void use(struct mg_part *part)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_part_block block;

    search(part);
    for (uint32_t c = 0; c < mg_part_schema(part)->column_count && c < 64; c++) {
        enum mg_code code = mg_part_block_get(part, c, mg_part_group_count(part) - 1, &block, &err);
        expect(code, &err);
        if (code == MG_OK)
            mg_part_block_release(&block);
    }
    if (mg_part_row_count(part) <= CHECK_ROWS_MAX)
        expect(mg_part_check(part, &err), &err);
}

static void run(const uint8_t *data, size_t size, bool trusting)
{
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_io *io = mg_io_fault_io(disk);
    struct mg_error err = MG_ERROR_INIT;
    struct mg_budget budget;
    struct mg_cache *cache;
    struct mg_file *file;
    struct mg_part *part;

    mg_budget_init(&budget, "fuzz", NULL, MEMORY_MAX);
    mg_assert(mg_cache_new(&budget, 0, &cache, NULL) == MG_OK);
    mg_assert(mg_io_open(io, "p", MG_OPEN_CREATE, &file, NULL) == MG_OK);
    mg_assert(mg_file_pwrite(file, data, size, 0, NULL) == MG_OK);
    mg_file_close(file);
    struct mg_part_options options = {.io = io, .cache = cache, .budget = &budget, .segment_id = SEGMENT};
    enum mg_code code = mg_part_open("p", &options, &part, &err);
    expect(code, &err);
    if (code == MG_OK) {
        if (trusting)
            trust_pieces(part, data);
        use(part);
        mg_part_unref(part);
    }
    mg_cache_free(cache);
    mg_assert(mg_budget_used(&budget) == 0);
    mg_io_fault_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FILE_MAX)
        return 0;
    run(data, size, false);
    uint8_t *repaired = malloc(size + 1);
    mg_assert(repaired);
    if (size)
        memcpy(repaired, data, size);
    repair(repaired, size);
    run(repaired, size, true);
    free(repaired);
    return 0;
}
