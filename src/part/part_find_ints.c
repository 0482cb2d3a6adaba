/* part_find_ints.c -- the rows of keys that are one integer, date or time.
 *
 * Shape    a WINDOW of vectors at a time: their blocks are pinned and their headers fetched, then their numbers, then
 *          each is read. A look-up in tables that no cache of the processor holds is a wait for memory, and so eight of
 *          them wait together.
 * Kinds    few numbers are sought in the encoded vector (part_seek.c), many compared with its decoded values.
 * Errors   those of the blocks; MG_CORRUPT names the row group.
 * Threads  the calls belong to their threads; the part is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"
#include "part/part_internal.h"

enum {
    WINDOW = 8,
    DECODE_FROM = 4, /* numbers looked for in one vector: fewer are sought one by one */
};

/* Probes of one vector. */
struct run {
    uint32_t first, count; /* of the passed ones */
    uint32_t vector;
    uint32_t block; /* of the window's */
};

struct window {
    struct mg_part *part;
    const struct mg_part__passed *passed;
    enum mg_type_id type;
    uint32_t column;
    struct run runs[WINDOW];
    uint32_t run_count;
    struct mg_part_block blocks[WINDOW + 1]; /* pinned, of row groups that rise; the first may be the last window's */
    uint32_t groups[WINDOW + 1];
    uint32_t block_count;
};

static bool compares_as_int(enum mg_type_id id)
{
    return (id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64) || (id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP);
}

bool mg_part__finds_ints(const struct mg_part *part)
{
    const struct mg_schema *schema = part->footer.schema;

    return schema->key_count == 1 && compares_as_int(schema->columns[schema->key_columns[0]].type.id);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* The number that the key column's encoding stands for; uint64 in the order of int64. False: no such key. */
static bool int_of_key(struct mg_slice key, enum mg_type_id id, int64_t *out)
{
    uint32_t width = mg_type_width(id);
    bool is_signed = id < MG_TYPE_UINT8 || id >= MG_TYPE_DATE;
    uint64_t v = 0;

    if (key.size != width)
        return false;
    for (uint32_t i = 0; i < width; i++)
        v = v << 8 | key.data[i];
    if (width == 8)
        *out = (int64_t)(v ^ UINT64_C(1) << 63);
    else
        *out = is_signed ? (int64_t)v - (INT64_C(1) << (width * 8 - 1)) : (int64_t)v;
    return true;
}

/* Without branches that depend on values: they would be guessed wrong every other time. */
static uint32_t lower_bound_of_ints(const int64_t *values, uint32_t count, int64_t v)
{
    const int64_t *base = values;

    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half - 1] < v ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - values) + (count == 1 && *base < v);
}

/* Each number for itself; false when the vector's encoding has no way to do that. */
static bool seek_numbers(const struct window *window, const struct run *run, const struct mg_block *block)
{
    const struct mg_part__passed *passed = window->passed;

    for (uint32_t i = run->first; i < run->first + run->count; i++) {
        uint32_t row;
        int64_t v;
        if (!int_of_key(mg_part__passed_key(passed, i), window->type, &v))
            continue;
        if (!mg_part__seek(block, run->vector % MG_BLOCK_VECTORS, v, &row))
            return false;
        if (row != MG_PART_NO_ROW)
            passed->rows[passed->numbers[i]] = run->vector * MG_VECTOR_ROWS + row;
    }
    return true;
}

static enum mg_code find_run(const struct window *window, const struct run *run, struct mg_error *err)
{
    _Alignas(64) int64_t values[MG_VECTOR_ROWS];
    const struct mg_part__passed *passed = window->passed;
    const struct mg_block *block = &window->blocks[run->block].block;
    uint32_t vector = run->vector % MG_BLOCK_VECTORS, row_count = mg_block_vector_rows(block, vector);
    /* An unsigned 64-bit number comes as its bits. */
    uint64_t flip = window->type == MG_TYPE_UINT64 ? UINT64_C(1) << 63 : 0;

    if (run->count < DECODE_FROM && seek_numbers(window, run, block))
        return MG_OK;
    if (!mg_block_ints(block, vector, values))
        return mg_fail(err, MG_CORRUPT, "a vector of integers does not fit 64 bits");
    for (uint32_t i = 0; flip && i < row_count; i++)
        values[i] = (int64_t)((uint64_t)values[i] ^ flip);
    for (uint32_t i = run->first; i < run->first + run->count; i++) {
        int64_t v;
        if (!int_of_key(mg_part__passed_key(passed, i), window->type, &v))
            continue;
        uint32_t row = lower_bound_of_ints(values, row_count, v);
        if (row < row_count && values[row] == v)
            passed->rows[passed->numbers[i]] = run->vector * MG_VECTOR_ROWS + row;
    }
    return MG_OK;
}

/* ---- windows ------------------------------------------------------------------------------------------------- */

/* Unpins all but the last block, which the next window is likely to begin with; all when that is not kept. */
static void release(struct window *window, bool keep_last)
{
    uint32_t kept = keep_last && window->block_count;

    for (uint32_t i = 0; i < window->block_count - kept; i++)
        mg_part_block_release(&window->blocks[i]);
    if (kept) {
        window->blocks[0] = window->blocks[window->block_count - 1];
        window->groups[0] = window->groups[window->block_count - 1];
    }
    window->block_count = kept;
}

/* The next vectors that probes from `first` on lie in; returns the first probe behind the window. */
static uint32_t take_runs(struct window *window, const struct mg_part__index *index, uint32_t first, uint32_t *vector)
{
    const struct mg_part__passed *passed = window->passed;
    uint32_t i = first;

    window->run_count = 0;
    for (; i < passed->count; i++) {
        uint32_t found = mg_part__index_find(index, mg_part__passed_key(passed, i), *vector);
        if (window->run_count && found == window->runs[window->run_count - 1].vector) {
            window->runs[window->run_count - 1].count++;
            continue;
        }
        if (window->run_count == WINDOW)
            break;
        *vector = found;
        window->runs[window->run_count++] = (struct run){.first = i, .count = 1, .vector = found};
    }
    return i;
}

/* A block with its checksum may still hold what no writer writes: say where. */
static enum mg_code in_group(const struct window *window, uint32_t group, enum mg_code code, struct mg_error *err)
{
    uint32_t number = group * window->part->footer.schema->column_count + window->column;

    return mg_fail_in(err, code, "%s: key of row group %u, whose first block lies at byte %llu", window->part->path,
                      group, (unsigned long long)mg_part__piece(window->part, number)->offset);
}

static enum mg_code pin_blocks(struct window *window, struct mg_error *err)
{
    for (uint32_t r = 0; r < window->run_count; r++) {
        struct run *run = &window->runs[r];
        uint32_t group = run->vector / MG_BLOCK_VECTORS, count = window->block_count;
        if (count == 0 || window->groups[count - 1] != group) {
            MG_TRY(mg_part_block_get(window->part, window->column, group, &window->blocks[count], err));
            window->groups[count] = group;
            window->block_count++;
        }
        run->block = window->block_count - 1;
        __builtin_prefetch(&window->blocks[run->block].block.vectors[run->vector % MG_BLOCK_VECTORS]);
    }
    return MG_OK;
}

static enum mg_code find_window(struct window *window, struct mg_error *err)
{
    MG_TRY(pin_blocks(window, err));
    for (uint32_t r = 0; r < window->run_count; r++)
        mg_part__seek_fetch(&window->blocks[window->runs[r].block].block, window->runs[r].vector % MG_BLOCK_VECTORS);
    for (uint32_t r = 0; r < window->run_count; r++) {
        enum mg_code code = find_run(window, &window->runs[r], err);
        if (code != MG_OK)
            return in_group(window, window->runs[r].vector / MG_BLOCK_VECTORS, code, err);
    }
    return MG_OK;
}

enum mg_code mg_part__find_ints(struct mg_part *part, const struct mg_part__index *index,
                                const struct mg_part__passed *passed, uint32_t *vector, struct mg_error *err)
{
    const struct mg_schema *schema = part->footer.schema;
    struct window window = {.part = part, .passed = passed, .column = schema->key_columns[0]};
    enum mg_code code = MG_OK;

    window.type = schema->columns[window.column].type.id;
    for (uint32_t i = 0; code == MG_OK && i < passed->count;) {
        release(&window, true);
        i = take_runs(&window, index, i, vector);
        code = find_window(&window, err);
    }
    release(&window, false);
    return code;
}
