/* scan_rows.c -- the rows of a row group that are left, as columns: whole vectors decoded, of others the rows gathered.
 *
 * Batches of neighbours: vectors are taken together until they make MG_SCAN_ROWS_MAX rows, so that a few rows of each
 * still make a batch. Where every row is left, that is eight vectors, decoded one after another into one buffer, which
 * batches share.
 * Memory   one buffer a run, reserved in the reader's budget; texts of a run are bounded by what its vectors say.
 * Threads  a reader belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "column/bits.h"
#include "engine/magic/scan_internal.h"

enum {
    SLACK = 64,
    RUN_TEXT_BYTES = 4 << 20, /* of one column's vectors in a run, as far as several vectors make them */
};

static size_t round64(size_t size) { return (size + 63) & ~(size_t)63; }

static bool is_shown(const struct scan_reader *reader, uint32_t column)
{
    return reader->scan->shown[column] && reader->in_segment[column] >= 0;
}

/* Bytes of the longest column of texts in a vector, at most. */
static enum mg_code most_text(struct scan_reader *reader, uint32_t vector, size_t *out, struct mg_error *err)
{
    *out = 0;
    for (uint32_t c = 0; c < reader->scan->schema->column_count; c++) {
        const struct mg_block *block;
        if (!is_shown(reader, c) || reader->scan->schema->columns[c].type.id != MG_TYPE_UTF8)
            continue;
        MG_TRY(mg_part_reader__block(&reader->part, c, &block, err));
        *out = MG_MAX(*out, mg_block_text_bytes(block, vector, 1));
    }
    return MG_OK;
}

void mg_scan__list_rows(const uint64_t *words, uint16_t *rows)
{
    for (uint32_t w = 0; w < MG_VECTOR_WORDS; w++)
        for (uint64_t left = words[w]; left; left &= left - 1)
            *rows++ = (uint16_t)(w * 64 + (uint32_t)__builtin_ctzll(left));
}

/* The next vectors with rows; none behind the last. */
static enum mg_code choose_run(struct scan_reader *reader, struct mg_error *err)
{
    struct scan_group *group = &reader->group;
    struct scan_run *run = &reader->run;
    size_t text_bytes = 0, more;
    run->vector_count = run->row_count = 0;
    for (; group->next_vector < group->vector_count; group->next_vector++) {
        const uint64_t *words = group->mask + (size_t)group->next_vector * MG_VECTOR_WORDS;
        uint32_t count = mg_block_count(words);
        if (count == 0)
            continue;
        MG_TRY(most_text(reader, group->next_vector, &more, err));
        if (run->row_count + count > MG_SCAN_ROWS_MAX || (run->row_count && text_bytes + more > RUN_TEXT_BYTES))
            return MG_OK;
        text_bytes += more;
        if (count < MG_MIN(group->row_count - group->next_vector * MG_VECTOR_ROWS, (uint32_t)MG_VECTOR_ROWS))
            mg_scan__list_rows(words, run->rows + run->row_count);
        run->vectors[run->vector_count] = (uint8_t)group->next_vector;
        run->counts[run->vector_count++] = (uint16_t)count;
        run->row_count += count;
    }
    group->active = false;
    return MG_OK;
}

/* Where a column of the run goes. */
struct target {
    const struct mg_block *block;
    uint32_t column;
    bool has_nulls;
    size_t text_room, bytes;
};

static enum mg_code plan_column(struct scan_reader *reader, uint32_t column, struct target *out, struct mg_error *err)
{
    const struct scan_run *run = &reader->run;
    uint32_t width = mg_type_width(reader->scan->schema->columns[column].type.id);
    *out = (struct target){.column = column};
    MG_TRY(mg_scan__block(reader, column, &out->block, err));
    for (uint32_t i = 0; i < run->vector_count; i++) {
        out->has_nulls |= mg_block_vector_nulls(out->block, run->vectors[i]) > 0;
        out->text_room += width ? 0 : mg_block_text_bytes(out->block, run->vectors[i], 1);
    }
    out->bytes = out->has_nulls ? round64(mg_bits_bytes(run->row_count)) : 0;
    if (width) {
        out->bytes += round64((size_t)run->row_count * width + SLACK);
    } else {
        out->text_room = round64(out->text_room + SLACK);
        out->bytes += round64(((size_t)run->row_count + 1) * sizeof(int32_t)) + out->text_room;
    }
    return MG_OK;
}

/* Whole vectors and chosen rows, one after another. */
static enum mg_code fill(const struct scan_reader *reader, const struct mg_block *block,
                         const struct mg_block_dest *dest, struct mg_error *err)
{
    const struct scan_run *run = &reader->run;
    uint32_t at = 0;
    for (uint32_t i = 0; i < run->vector_count; i++) {
        if (run->counts[i] == mg_block_vector_rows(block, run->vectors[i]))
            MG_TRY(mg_block_decode(block, run->vectors[i], 1, dest, at, err));
        else
            MG_TRY(mg_block_gather(block, run->vectors[i], run->rows + at, run->counts[i], dest, at, err));
        at += run->counts[i];
    }
    return MG_OK;
}

static enum mg_code fill_column(struct scan_reader *reader, const struct target *target, uint8_t *to,
                                struct mg_error *err)
{
    uint32_t row_count = reader->run.row_count;
    struct mg_vector *out = &reader->vectors[target->column];
    *out = (struct mg_vector){.type = reader->scan->schema->columns[target->column].type, .row_count = row_count};
    struct mg_block_dest dest = {.validity = target->has_nulls ? to : NULL};
    if (target->has_nulls) {
        memset(to, 0, round64(mg_bits_bytes(row_count)));
        to += round64(mg_bits_bytes(row_count));
    }
    dest.values = to;
    if (!mg_type_width(out->type.id)) {
        dest.offsets = (int32_t *)(void *)to;
        dest.offsets[0] = 0;
        dest.text = to + round64(((size_t)row_count + 1) * sizeof(int32_t));
        dest.text_room = target->text_room;
    }
    MG_TRY(fill(reader, target->block, &dest, err));
    out->values = dest.offsets ? dest.text : dest.values;
    out->offsets = dest.offsets;
    out->null_count = dest.validity ? row_count - mg_bits_count(dest.validity, 0, row_count) : 0;
    out->validity = out->null_count ? dest.validity : NULL;
    return MG_OK;
}

static enum mg_code fill_columns(struct scan_reader *reader, struct mg_error *err)
{
    const struct scan *scan = reader->scan;
    struct target *targets = mg_arena_array(&reader->scratch, struct target, (size_t)scan->schema->column_count + 1);
    uint32_t count = 0;
    size_t bytes = 0;
    if (!targets)
        return mg_arena_fail(&reader->scratch, err);
    for (uint32_t c = 0; c < scan->schema->column_count; c++) {
        reader->room_vectors[c] = UINT32_MAX; /* vectors shows other rows from here on */
        if (scan->shown[c] && reader->in_segment[c] < 0)
            reader->vectors[c] = mg_scan__missing(reader, c, reader->run.row_count);
        if (!is_shown(reader, c))
            continue;
        MG_TRY(plan_column(reader, c, &targets[count], err));
        bytes += targets[count++].bytes;
    }
    if (count == 0)
        return MG_OK;
    MG_TRY(mg_buf__new(scan->budget, bytes, &reader->loaded.settled, err));
    uint8_t *to = mg_buf_data(reader->loaded.settled);
    for (uint32_t i = 0; i < count; i++) {
        MG_TRY(fill_column(reader, &targets[i], to, err));
        to += targets[i].bytes;
    }
    return MG_OK;
}

enum mg_code mg_scan__gather(struct scan_reader *reader, uint32_t column, uint32_t vector, const uint16_t *rows,
                             uint32_t count, struct mg_error *err)
{
    struct scan_run *run = &reader->run;
    struct target target;
    run->vector_count = 1;
    run->row_count = count;
    run->vectors[0] = (uint8_t)vector;
    run->counts[0] = (uint16_t)count;
    memcpy(run->rows, rows, count * sizeof *rows);
    reader->room_vectors[column] = UINT32_MAX;
    MG_TRY(plan_column(reader, column, &target, err));
    struct mg_buf **room = &reader->rooms[column];
    if (!*room || (*room)->capacity < target.bytes) {
        mg_buf__unref(*room);
        *room = NULL;
        MG_TRY(mg_buf__new(reader->scan->budget, target.bytes, room, err));
    }
    return fill_column(reader, &target, mg_buf_data(*room), err);
}

enum mg_code mg_scan__load_group(struct scan_reader *reader, struct mg_error *err)
{
    mg_arena_reset(&reader->scratch);
    MG_TRY(choose_run(reader, err));
    if (reader->run.row_count == 0)
        return MG_OK;
    MG_TRY(fill_columns(reader, err));
    return mg_scan__take_rows(reader, reader->run.row_count, NULL, err);
}
