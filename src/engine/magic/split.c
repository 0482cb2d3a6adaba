/* split.c -- ranges of keys that hold about equally many rows: cut from a sample of the snapshot's keys.
 *
 * The sample takes one row out of each block of as many rows as makes it small enough; which one is decided by a hash
 * of the block's number: no pattern of keys can hide from it, and the same snapshot always gives the same splits. A
 * table of up to SAMPLE_MAX rows is cut exactly.
 * Threads  any; takes no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/magic_internal.h"

enum { SAMPLE_MAX = 1 << 16, SPLIT_ROWS_MIN = 1024, SAMPLE_BYTES_MAX = 256 << 20 };

struct sample {
    struct mg_buffer bytes;
    uint32_t *ends; /* ends[i]: behind key i */
    uint32_t count;
    uint64_t stride, block, row; /* rows a block; the next block, and the row picked in it, over the whole table */
};

static void next_pick(struct sample *sample)
{
    sample->row = sample->block * sample->stride + mg_hash_u64(sample->block + 1) % sample->stride;
    sample->block++;
}

static enum mg_code sample_chunk(struct sample *sample, const struct mg_table_segment *segment, uint32_t at,
                                 uint64_t first_row, uint32_t row_count, struct mg_error *err)
{
    const struct mg_schema *schema = segment->rows->segment->schema;
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t mask[MG_CHUNK_ROWS / 64];
    memset(mask, 0xff, sizeof mask);
    const struct mg_mark_version *marks = mg_marks__granule(segment->marks, at);
    if (marks)
        mg_mark_version__mask(marks, mask, row_count);
    mg_keys__of_chunk(segment->rows->chunks[at], schema, row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    for (; sample->row < first_row + row_count; next_pick(sample)) {
        uint32_t row = (uint32_t)(sample->row - first_row);
        if (!(mask[row / 64] >> (row % 64) & 1))
            continue;
        MG_TRY(mg_key_encode(keys, schema->key_count, row, &sample->bytes, err));
        sample->ends[sample->count++] = (uint32_t)sample->bytes.size;
    }
    return MG_OK;
}

static enum mg_code sample_part(struct sample *sample, const struct mg_table_part *part, uint64_t first_row,
                                struct mg_error *err)
{
    uint32_t row_count = mg_part_row_count(part->part);
    for (; sample->row < first_row + row_count; next_pick(sample)) {
        uint32_t row = (uint32_t)(sample->row - first_row);
        if (mg_marks__has(part->marks, row))
            continue;
        MG_TRY(mg_part_key_at(part->part, row, &sample->bytes, err));
        sample->ends[sample->count++] = (uint32_t)sample->bytes.size;
    }
    return MG_OK;
}

static enum mg_code take_sample(const struct mg_table_view *table, struct sample *sample, struct mg_error *err)
{
    uint64_t total = 0, first_row = 0;
    for (uint32_t s = 0; s < table->segment_count; s++)
        total += table->segments[s].rows->row_count;
    for (uint32_t p = 0; p < table->part_count; p++)
        total += mg_part_row_count(table->parts[p].part);
    sample->stride = total / SAMPLE_MAX + 1;
    sample->ends = malloc((SAMPLE_MAX + 1) * sizeof *sample->ends);
    if (!sample->ends)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a sample of keys");
    mg_buffer_init(&sample->bytes, SAMPLE_BYTES_MAX);
    next_pick(sample);
    for (uint32_t s = 0; s < table->segment_count; s++) {
        const struct mg_segment_view *rows = table->segments[s].rows;
        for (uint32_t i = 0; i < rows->chunk_count; i++) {
            uint32_t row_count = MG_MIN(rows->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
            MG_TRY(sample_chunk(sample, &table->segments[s], i, first_row, row_count, err));
            first_row += row_count;
        }
    }
    for (uint32_t p = 0; p < table->part_count; p++) {
        MG_TRY(sample_part(sample, &table->parts[p], first_row, err));
        first_row += mg_part_row_count(table->parts[p].part);
    }
    return MG_OK;
}

static int compare_keys(const void *a, const void *b)
{
    return mg_slice_compare(*(const struct mg_slice *)a, *(const struct mg_slice *)b);
}

/* Ranges between every count-th key of the sorted sample. */
static enum mg_code cut_ranges(const struct mg_slice *keys, uint32_t key_count, uint64_t wanted, struct mg_arena *arena,
                               struct mg_key_range *ranges, uint32_t *out_count, struct mg_error *err)
{
    uint32_t count = 1;
    for (uint64_t i = 1; i < wanted; i++) {
        struct mg_slice key = keys[i * key_count / wanted];
        if (mg_slice_equal(key, ranges[count - 1].low) || mg_slice_equal(key, keys[0]))
            continue; /* the range below would be empty */
        struct mg_slice copy = mg_arena_copy(arena, key);
        if (!copy.data)
            return mg_arena_fail(arena, err);
        ranges[count - 1].high = ranges[count].low = copy;
        count++;
    }
    *out_count = count;
    return MG_OK;
}

static enum mg_code split(const struct mg_table_view *table, uint64_t wanted, struct sample *sample,
                          struct mg_arena *arena, struct mg_key_range *ranges, uint32_t *out_count,
                          struct mg_error *err)
{
    MG_TRY(take_sample(table, sample, err));
    if (sample->count == 0) {
        *out_count = 1;
        return MG_OK;
    }
    struct mg_slice *keys = malloc(sample->count * sizeof *keys);
    if (!keys)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a sample of keys");
    for (uint32_t i = 0; i < sample->count; i++) {
        uint32_t begin = i ? sample->ends[i - 1] : 0;
        keys[i] = MG_SLICE(sample->bytes.data + begin, sample->ends[i] - begin);
    }
    qsort(keys, sample->count, sizeof *keys, compare_keys);
    enum mg_code code = cut_ranges(keys, sample->count, wanted, arena, ranges, out_count, err);
    free(keys);
    return code;
}

enum mg_code mg_magic__plan_splits(const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted, bool force,
                                   struct mg_arena *arena, struct mg_key_range **out, uint32_t *out_count,
                                   struct mg_error *err)
{
    const struct mg_view *view = (const struct mg_view *)snapshot;
    int at = mg_catalog__find_id(view->catalog, table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)table_id);
    const struct mg_table_view *table = view->catalog->tables[at];
    uint64_t most = force ? table->live_count : table->live_count / SPLIT_ROWS_MIN;
    uint64_t count = MG_MAX(MG_MIN((uint64_t)wanted, most), (uint64_t)1);
    struct mg_key_range *ranges = mg_arena_array(arena, struct mg_key_range, count);
    if (!ranges)
        return mg_arena_fail(arena, err);
    uint32_t range_count = 1;
    if (count > 1) {
        struct sample sample = {0};
        enum mg_code code = split(table, count, &sample, arena, ranges, &range_count, err);
        mg_buffer_clear(&sample.bytes);
        free(sample.ends);
        if (code != MG_OK)
            return code;
    }
    *out = ranges;
    *out_count = range_count;
    return MG_OK;
}
