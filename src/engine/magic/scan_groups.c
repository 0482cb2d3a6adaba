/* scan_groups.c -- which rows of a part's row group, or of a chunk with images, are left: by zones, by tests on encoded
 * blocks, and only where neither says enough on decoded vectors.
 *
 * Per group  (1) rows in the key range, less the marks; (2) each condition by the footer's zones: true for none ends
 *            the group, for all drops the condition; (3) the blocks of conditions that are left are fetched, one by
 *            one, and each says as much again as a whole; (4) vector by vector, what pays most first, the rest of the
 *            conditions clear bits of the mask; a vector without a bit is not looked at again.
 *            Blocks of other columns are not fetched here: a group of which nothing is left costs none of them.
 * Threads    a reader belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/magic/scan_internal.h"

enum {
    LIST_ROWS_MAX = 8, /* longer lists of numbers are faster in a hash table, on decoded values, than as ranges */
    LIST_MAX = 4096,   /* longer ones are not made ready for each block */
    SORTED_MAX = 32,   /* conditions that are put into order */
    GROUP_GRANULES = MG_BLOCK_ROWS / MG_CHUNK_ROWS,
};

/* ---- the group's blocks -------------------------------------------------------------------------------------- */

enum mg_code mg_scan__block(struct scan_reader *reader, uint32_t column, const struct mg_block **out,
                            struct mg_error *err)
{
    if (!reader->group.chunk)
        return mg_part_reader__block(&reader->part, column, out, err);
    *out = reader->images[column] ? &reader->images[column]->block : NULL;
    return MG_OK;
}

const struct mg_block_info *mg_scan__block_info(const struct scan_reader *reader, uint32_t column)
{
    if (reader->group.chunk)
        return &reader->images[column]->info;
    return mg_part_block_info(reader->part.part, (uint32_t)reader->in_segment[column], reader->group.number);
}

/* ---- its rows ------------------------------------------------------------------------------------------------ */

static bool is_empty(const uint64_t *words, uint32_t count)
{
    uint64_t any = 0;
    for (uint32_t w = 0; w < count; w++)
        any |= words[w];
    return any == 0;
}

static bool is_whole(const struct scan_reader *reader, const struct mg_table_part *part)
{
    const struct scan_group *group = &reader->group;
    uint64_t begin = (uint64_t)group->number * MG_BLOCK_ROWS;
    bool whole = !reader->scan->filters && reader->part.first_row <= begin &&
                 reader->part.end_row >= begin + group->row_count;
    for (uint32_t i = 0; whole && i * MG_CHUNK_ROWS < group->row_count; i++)
        whole = !mg_marks__granule(part->marks, group->number * GROUP_GRANULES + i);
    return whole;
}

/* Rows of the group that are in the key range and not deleted. False: none. */
static bool mask_group(struct scan_reader *reader, const struct mg_table_part *part)
{
    struct scan_group *group = &reader->group;
    uint64_t begin = (uint64_t)group->number * MG_BLOCK_ROWS;
    if (reader->part.first_row >= begin + group->row_count || reader->part.end_row <= begin)
        return false;
    memset(group->mask, 0, sizeof group->mask);
    if (group->is_whole) {
        mg_scan__set_mask(group->mask, group->row_count);
        return true;
    }
    uint32_t granule = group->number * GROUP_GRANULES;
    for (uint32_t i = 0; i * MG_CHUNK_ROWS < group->row_count; i++) {
        mg_mark_version__prefetch(mg_marks__granule(part->marks, granule + i + 1));
        mg_part_reader__mask(&reader->part, granule + i, part->marks, group->mask + (size_t)i * MG_CHUNK_ROWS / 64);
    }
    return !is_empty(group->mask, MG_SCAN_GROUP_WORDS);
}

/* ---- conditions ---------------------------------------------------------------------------------------------- */

/* What a row costs for each row that goes. */
static double price_of(const struct scan_condition *condition)
{
    double asked = (double)condition->asked_count + 1, gone = asked - (double)condition->kept_count;
    return (double)condition->cost * asked / (gone + asked / 64);
}

static void sort_conditions(struct scan_reader *reader, uint32_t count)
{
    for (uint32_t i = 1; i < count && count <= SORTED_MAX; i++) {
        uint32_t one = reader->order[i], j = i;
        for (; j && price_of(&reader->conditions[reader->order[j - 1]]) > price_of(&reader->conditions[one]); j--)
            reader->order[j] = reader->order[j - 1];
        reader->order[j] = one;
    }
}

static struct mg_block_condition for_block(const struct mg_condition *condition)
{
    static const enum mg_block_op ops[] = {[MG_CONDITION_BETWEEN] = MG_BLOCK_BETWEEN,
                                           [MG_CONDITION_IN] = MG_BLOCK_IN,
                                           [MG_CONDITION_IS_NULL] = MG_BLOCK_IS_NULL,
                                           [MG_CONDITION_IS_NOT_NULL] = MG_BLOCK_IS_NOT_NULL};
    return (struct mg_block_condition){.op = ops[condition->kind],
                                       .is_negated = condition->is_negated,
                                       .pad_space = condition->pad_space,
                                       .low_is_open = condition->low_is_open,
                                       .high_is_open = condition->high_is_open,
                                       .values = condition->values,
                                       .value_count = condition->value_count};
}

/* Fetch the block of a condition's column and ask it. *verdict: UNABLE when it must be evaluated on values. */
static enum mg_code ask_block(struct scan_reader *reader, const struct mg_condition *condition,
                              struct mg_block_test **test, enum mg_block_verdict *verdict, struct mg_error *err)
{
    const struct mg_block *block;
    *test = NULL;
    *verdict = MG_BLOCK_UNABLE;
    if (condition->kind == MG_CONDITION_OTHER || reader->in_segment[condition->column] < 0 ||
        condition->value_count > LIST_MAX)
        return MG_OK;
    MG_TRY(mg_scan__block(reader, condition->column, &block, err));
    if (!block)
        return MG_OK;
    struct mg_block_condition wanted = for_block(condition);
    MG_TRY(mg_block_test_new(block, &wanted, &reader->group_scratch, test, verdict, err));
    if (*verdict == MG_BLOCK_SOME && condition->value_count > LIST_ROWS_MAX && !block->dictionary &&
        block->type.id != MG_TYPE_UTF8)
        *verdict = MG_BLOCK_UNABLE;
    return MG_OK;
}

/* The conditions that the group's zones and blocks leave open. False: no row is left. */
static enum mg_code make_tests(struct scan_reader *reader, bool *left, struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    const struct mg_predicate *predicate = reader->scan->spec.predicate;
    struct scan_zones zones;
    uint32_t count, open_count = 0;
    const struct mg_condition *conditions = mg_predicate_conditions(predicate, &count);
    struct mg_arena *arena = &reader->group_scratch;
    group->tests = mg_arena_array(arena, struct scan_test, (size_t)count + 1);
    if (!group->tests)
        return mg_arena_fail(arena, err);
    *left = false;
    MG_TRY(mg_scan__find_zones(reader, group->chunk, group->number, arena, &zones, err));
    sort_conditions(reader, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t c = reader->order[i];
        enum mg_verdict verdict = mg_predicate_judge(predicate, c, zones.lows, zones.highs, zones.has_null);
        if (verdict == MG_VERDICT_NONE)
            return MG_OK;
        if (verdict == MG_VERDICT_SOME)
            group->tests[open_count++].condition = c;
    }
    reader->fate = SCAN_FATE_READ;
    for (uint32_t i = 0; i < open_count; i++) {
        struct scan_test test = group->tests[i];
        enum mg_block_verdict verdict;
        MG_TRY(ask_block(reader, &conditions[test.condition], &test.test, &verdict, err));
        if (verdict == MG_BLOCK_NONE)
            return MG_OK;
        if (verdict == MG_BLOCK_UNABLE)
            test.test = NULL;
        if (verdict != MG_BLOCK_ALL)
            group->tests[group->test_count++] = test;
    }
    *left = true;
    return MG_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------------- */

enum mg_code mg_scan__decode(struct scan_reader *reader, uint32_t column, uint32_t vector, struct mg_error *err)
{
    if (reader->room_vectors[column] == vector)
        return MG_OK;
    reader->room_vectors[column] = vector;
    if (reader->in_segment[column] < 0) {
        uint32_t row_count = MG_MIN(reader->group.row_count - vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS);
        reader->vectors[column] = mg_scan__missing(reader, column, row_count);
        return MG_OK;
    }
    if (reader->group.chunk) {
        struct mg_vector all = mg_chunk__vector(reader->group.chunk, (uint32_t)reader->in_segment[column],
                                                reader->scan->schema->columns[column].type);
        uint32_t first = vector * MG_VECTOR_ROWS;
        reader->vectors[column] = mg_scan__cut(&all, first, MG_MIN(all.row_count - first, (uint32_t)MG_VECTOR_ROWS));
        return MG_OK;
    }
    return mg_part_reader__vector(&reader->part, column, vector, reader->scan->budget, &reader->rooms[column],
                                  &reader->vectors[column], err);
}

static enum mg_code evaluate(struct scan_reader *reader, uint32_t condition, uint32_t vector, uint64_t *words,
                             struct mg_error *err)
{
    uint32_t count, row_count = MG_MIN(reader->group.row_count - vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS);
    const struct mg_condition *c = &mg_predicate_conditions(reader->scan->spec.predicate, &count)[condition];
    for (uint32_t i = 0; i < c->column_count; i++)
        MG_TRY(mg_scan__decode(reader, c->columns[i], vector, err));
    mg_arena_reset(&reader->scratch);
    return mg_predicate_filter_one(reader->scan->spec.predicate, condition, reader->vector_places, row_count, words,
                                   &reader->scratch, err);
}

static enum mg_code test_vector(struct scan_reader *reader, uint32_t vector, struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    uint64_t *words = group->mask + (size_t)vector * MG_VECTOR_WORDS;
    uint32_t left = mg_block_count(words);
    for (uint32_t i = 0; i < group->test_count && left; i++) {
        const struct scan_test *test = &group->tests[i];
        struct scan_condition *condition = &reader->conditions[test->condition];
        if (test->test)
            MG_TRY(mg_block_test_run(test->test, vector, words, err));
        else
            MG_TRY(evaluate(reader, test->condition, vector, words, err));
        condition->asked_count += left;
        left = mg_block_count(words);
        condition->kept_count += left;
    }
    return MG_OK;
}

static void begin_group(struct scan_reader *reader, struct mg_chunk *chunk, uint32_t number, uint32_t row_count)
{
    struct scan_group *group = &reader->group;
    mg_arena_reset(&reader->group_scratch);
    group->chunk = chunk;
    group->number = number;
    group->row_count = row_count;
    group->vector_count = (row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS;
    group->next_vector = group->test_count = 0;
    group->is_whole = false;
    memset(reader->room_vectors, 0xff, reader->scan->schema->column_count * sizeof *reader->room_vectors);
}

/* What the conditions leave of the rows in the mask. */
static enum mg_code filter_group(struct scan_reader *reader, struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    bool left = true;
    if (reader->scan->filters)
        MG_TRY(make_tests(reader, &left, err));
    for (uint32_t v = 0; left && group->test_count && v < group->vector_count; v++)
        MG_TRY(test_vector(reader, v, err));
    group->active = left && !is_empty(group->mask, group->vector_count * MG_VECTOR_WORDS);
    return MG_OK;
}

enum mg_code mg_scan__enter_group(struct scan_reader *reader, const struct mg_table_part *part, uint32_t number,
                                  struct mg_error *err)
{
    uint32_t row_count = MG_MIN(mg_part_row_count(part->part) - number * MG_BLOCK_ROWS, (uint32_t)MG_BLOCK_ROWS);
    mg_part_reader__go(&reader->part, number);
    begin_group(reader, NULL, number, row_count);
    reader->group.is_whole = is_whole(reader, part);
    reader->group.active = reader->group.is_whole && reader->by_footers;
    if (reader->group.active) {
        reader->fate = SCAN_FATE_SKIPPED;
        return MG_OK;
    }
    if (!mask_group(reader, part))
        return MG_OK;
    reader->fate = reader->scan->filters ? SCAN_FATE_SKIPPED : SCAN_FATE_READ;
    return filter_group(reader, err);
}

enum mg_code mg_scan__enter_chunk(struct scan_reader *reader, struct mg_chunk *chunk, const uint64_t *mask,
                                  struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    begin_group(reader, chunk, 0, chunk->row_count);
    memset(group->mask, 0, (size_t)group->vector_count * MG_VECTOR_WORDS * sizeof *mask);
    memcpy(group->mask, mask, ((size_t)chunk->row_count + 63) / 64 * sizeof *mask);
    return filter_group(reader, err);
}
