/* split.c -- ranges of keys that hold about equally many rows, cut where row groups of parts begin if that can be.
 *
 * Candidates  are keys with the number of living rows from there to the next one. Of a part these are the separators of
 *             its vectors, from the sparse index: no block is read. Of chunks in memory, and of everything when ranges
 *             are small beside vectors, they are keys of a sample: one row out of each block of as many rows as makes
 *             the sample small enough; which one is decided by a hash of the block's number, so that no pattern of keys
 *             can hide from it. The same snapshot always gives the same splits. A table of up to SAMPLE_MAX rows is cut
 *             exactly.
 * Cuts        the candidate at which the wanted number of rows is reached, or a row group's beginning near it: then two
 *             readers do not decode the same block.
 * Threads     any; takes no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/magic_internal.h"

enum {
    SAMPLE_MAX = 1 << 16,
    SPLIT_ROWS_MIN = 1024,
    SAMPLE_BYTES_MAX = 256 << 20,
    VECTORS_A_SPLIT = 16,   /* and part, at least: else vectors are too coarse */
    NEAR_PER_THOUSAND = 80, /* of a split's rows: so far a cut may move to a row group's beginning */
    GRANULE_VECTORS = MG_CHUNK_ROWS / MG_VECTOR_ROWS,
};

struct candidate {
    struct mg_slice key; /* once all are there */
    uint32_t end;        /* of the key in bytes */
    uint32_t weight;     /* living rows */
    bool begins_group;
};

struct sample {
    struct mg_buffer bytes;
    struct candidate *candidates;
    uint32_t count, room;
    uint64_t stride, block, row; /* rows a block; the next block, and the row picked in it, over all that is sampled */
};

static void next_pick(struct sample *sample)
{
    sample->row = sample->block * sample->stride + mg_hash_u64(sample->block + 1) % sample->stride;
    sample->block++;
}

/* The key that was appended to the bytes. */
static enum mg_code add(struct sample *sample, uint32_t weight, bool begins_group, struct mg_error *err)
{
    if (sample->count == sample->room) {
        uint32_t room = 2 * sample->room + 1024;
        struct candidate *more = realloc(sample->candidates, room * sizeof *more);
        if (!more)
            return mg_fail(err, MG_NO_MEMORY, "no memory for %u keys to split at", room);
        sample->candidates = more;
        sample->room = room;
    }
    sample->candidates[sample->count++] = (struct candidate){
        .end = (uint32_t)sample->bytes.size, .weight = weight, .begins_group = begins_group};
    return MG_OK;
}

/* ---- candidates ---------------------------------------------------------------------------------------------- */

static enum mg_code sample_held(struct sample *sample, const struct mg_table_segment *segment, uint32_t at,
                                const struct mg_chunk *chunk, uint64_t first_row, uint32_t row_count,
                                struct mg_error *err)
{
    const struct mg_schema *schema = segment->rows->segment->schema;
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t mask[MG_CHUNK_ROWS / 64];
    memset(mask, 0xff, sizeof mask);
    const struct mg_mark_version *marks = mg_marks__granule(segment->marks, at);
    if (marks)
        mg_mark_version__mask(marks, mask, row_count);
    mg_keys__of_chunk(chunk, schema, row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    for (; sample->row < first_row + row_count; next_pick(sample)) {
        uint32_t row = (uint32_t)(sample->row - first_row);
        if (!(mask[row / 64] >> (row % 64) & 1))
            continue;
        MG_TRY(mg_key_encode(keys, schema->key_count, row, &sample->bytes, err));
        MG_TRY(add(sample, (uint32_t)sample->stride, false, err));
    }
    return MG_OK;
}

static enum mg_code sample_chunk(struct sample *sample, const struct mg_table_segment *segment, uint32_t at,
                                 uint64_t first_row, uint32_t row_count, struct mg_error *err)
{
    if (sample->row >= first_row + row_count)
        return MG_OK;
    int32_t keys[MG_KEY_COLUMNS_MAX];
    const struct mg_schema *schema = segment->rows->segment->schema;
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = (int32_t)schema->key_columns[k];
    struct mg_chunk *held = mg_chunk__hold(segment->rows->chunks[at]);
    enum mg_code code = mg_chunk__load(&held, keys, schema->key_count, NULL, err);
    if (code == MG_OK)
        code = sample_held(sample, segment, at, held, first_row, row_count, err);
    mg_chunk__let_go(held);
    return code;
}

static enum mg_code sample_segments(struct sample *sample, const struct mg_table_view *table, uint64_t *first_row,
                                    struct mg_error *err)
{
    for (uint32_t s = 0; s < table->segment_count; s++) {
        const struct mg_segment_view *rows = table->segments[s].rows;
        for (uint32_t i = 0; i < rows->chunk_count; i++) {
            uint32_t row_count = MG_MIN(rows->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
            MG_TRY(sample_chunk(sample, &table->segments[s], i, *first_row, row_count, err));
            *first_row += row_count;
        }
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
        MG_TRY(add(sample, (uint32_t)sample->stride, false, err));
    }
    return MG_OK;
}

/* Living rows of a part's vector. */
static uint32_t count_living(const struct mg_table_part *part, uint32_t vector)
{
    uint32_t granule = vector / GRANULE_VECTORS, row_count = mg_part_row_count(part->part);
    uint32_t first = vector % GRANULE_VECTORS * MG_VECTOR_ROWS;
    uint32_t rows = MG_MIN(row_count - vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS);
    const struct mg_mark_version *marks = mg_marks__granule(part->marks, granule);
    uint64_t mask[MG_CHUNK_ROWS / 64];
    if (!marks)
        return rows;
    memset(mask, 0xff, sizeof mask);
    mg_mark_version__mask(marks, mask, MG_MIN(row_count - granule * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS));
    return mg_mask_count(mask + first / 64, rows / 64 * 64) +
           (rows % 64 ? (uint32_t)__builtin_popcountll(mask[(first + rows) / 64] & (((uint64_t)1 << rows % 64) - 1))
                      : 0);
}

/* Every step-th vector of the part. */
static enum mg_code list_vectors(struct sample *sample, const struct mg_table_part *part, uint32_t step,
                                 struct mg_error *err)
{
    uint32_t count = (mg_part_row_count(part->part) + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS;
    for (uint32_t v = 0; v < count; v += step) {
        uint32_t weight = 0;
        for (uint32_t i = v; i < MG_MIN(v + step, count); i++)
            weight += count_living(part, i);
        if (weight == 0)
            continue;
        MG_TRY(mg_part_separator(part->part, v, &sample->bytes, err));
        MG_TRY(add(sample, weight, v % MG_BLOCK_VECTORS == 0, err));
    }
    return MG_OK;
}

static enum mg_code list_candidates(const struct mg_table_view *table, uint64_t wanted, struct sample *sample,
                                    struct mg_error *err)
{
    uint64_t in_memory = 0, in_parts = 0, first_row = 0;
    for (uint32_t s = 0; s < table->segment_count; s++)
        in_memory += table->segments[s].rows->row_count;
    for (uint32_t p = 0; p < table->part_count; p++)
        in_parts += mg_part_row_count(table->parts[p].part);
    bool by_vectors = in_memory + in_parts > SAMPLE_MAX &&
                      table->live_count / wanted >=
                          (uint64_t)VECTORS_A_SPLIT * MG_VECTOR_ROWS * ((uint64_t)table->part_count + 1);
    sample->stride = (in_memory + (by_vectors ? 0 : in_parts)) / SAMPLE_MAX + 1;
    next_pick(sample);
    MG_TRY(sample_segments(sample, table, &first_row, err));
    uint32_t step = 1; /* a power of two: row groups still begin at candidates */
    while (in_parts / MG_VECTOR_ROWS / step > SAMPLE_MAX && step < MG_BLOCK_VECTORS)
        step *= 2;
    for (uint32_t p = 0; p < table->part_count; p++) {
        if (by_vectors)
            MG_TRY(list_vectors(sample, &table->parts[p], step, err));
        else
            MG_TRY(sample_part(sample, &table->parts[p], first_row, err));
        first_row += mg_part_row_count(table->parts[p].part);
    }
    return MG_OK;
}

/* ---- cuts ---------------------------------------------------------------------------------------------------- */

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return mg_slice_compare(x->key, y->key);
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* The candidate whose rows before it (rows_before[i]) are nearest to the target: a row group's beginning if one is near
 * enough. from: the first one that may be. */
static uint32_t choose_cut(const struct candidate *candidates, const uint64_t *rows_before, uint32_t count,
                           uint32_t from, uint64_t target, uint64_t near)
{
    uint32_t best = from, begin = count;
    while (best < count && rows_before[best] < target)
        best++;
    for (uint32_t i = best; i > from && distance(rows_before[i - 1], target) <= near; i--)
        if (candidates[i - 1].begins_group) {
            begin = i - 1;
            break;
        }
    for (uint32_t i = best; i < count && distance(rows_before[i], target) <= near; i++)
        if (candidates[i].begins_group) {
            bool nearer = begin == count || distance(rows_before[i], target) < distance(rows_before[begin], target);
            begin = nearer ? i : begin;
            break;
        }
    return begin < count ? begin : best;
}

static enum mg_code cut_ranges(const struct candidate *candidates, const uint64_t *rows_before, uint32_t count,
                               uint64_t wanted, struct mg_arena *arena, struct mg_key_range *ranges,
                               uint32_t *out_count, struct mg_error *err)
{
    uint64_t total = rows_before[count], near = total / wanted * NEAR_PER_THOUSAND / 1000;
    uint32_t range_count = 1, from = 1;
    for (uint64_t i = 1; i < wanted && from < count; i++) {
        uint32_t cut = choose_cut(candidates, rows_before, count, from,
                                  total / wanted * i + total % wanted * i / wanted, near);
        if (cut == count)
            break;
        from = cut + 1;
        struct mg_slice key = candidates[cut].key;
        if (mg_slice_equal(key, ranges[range_count - 1].low) || mg_slice_equal(key, candidates[0].key))
            continue; /* the range below would be empty */
        struct mg_slice copy = mg_arena_copy(arena, key);
        if (!copy.data)
            return mg_arena_fail(arena, err);
        ranges[range_count - 1].high = ranges[range_count].low = copy;
        range_count++;
    }
    *out_count = range_count;
    return MG_OK;
}

static enum mg_code split(const struct mg_table_view *table, uint64_t wanted, struct sample *sample,
                          struct mg_arena *arena, struct mg_key_range *ranges, uint32_t *out_count,
                          struct mg_error *err)
{
    mg_buffer_init(&sample->bytes, SAMPLE_BYTES_MAX);
    MG_TRY(list_candidates(table, wanted, sample, err));
    if (sample->count == 0) {
        *out_count = 1;
        return MG_OK;
    }
    struct candidate *candidates = sample->candidates;
    for (uint32_t i = 0; i < sample->count; i++) {
        uint32_t begin = i ? candidates[i - 1].end : 0;
        candidates[i].key = MG_SLICE(sample->bytes.data + begin, candidates[i].end - begin);
    }
    qsort(candidates, sample->count, sizeof *candidates, compare_candidates);
    uint64_t *rows_before = malloc(((size_t)sample->count + 1) * sizeof *rows_before);
    if (!rows_before)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u keys to split at", sample->count);
    rows_before[0] = 0;
    for (uint32_t i = 0; i < sample->count; i++)
        rows_before[i + 1] = rows_before[i] + candidates[i].weight;
    enum mg_code code = cut_ranges(candidates, rows_before, sample->count, wanted, arena, ranges, out_count, err);
    free(rows_before);
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
        free(sample.candidates);
        if (code != MG_OK)
            return code;
    }
    *out = ranges;
    *out_count = range_count;
    return MG_OK;
}
