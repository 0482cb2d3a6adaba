/* verify.c -- the free verification of one put: contradictions are counted as look-ups find them, old images are
 * compared with the stored rows at the end, all at once.
 *
 * A row that died by this put is still stored where it was: marks do not touch it, and its place is known from the
 * look-up. So comparing costs the decoding of those few rows. What a put found is its table's once the epoch is
 * published, and forgotten when it is aborted.
 * Errors   MG_NO_MEMORY and those of parts fail the put.
 * Threads  the writer; the table's sum is read by any, under its lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/counter.h"
#include "engine/magic/magic_internal.h"
#include "engine/verify.h"

enum { NO_IMAGE = UINT32_MAX };

enum mg_code mg_checking__begin(struct mg_checking *checking, const struct mg_wtable *table,
                                const struct mg_schema *schema, const struct mg_changes *changes, struct mg_error *err)
{
    uint32_t count = changes->old ? changes->old->row_count : 0;
    *checking = (struct mg_checking){.table = table, .schema = schema, .changes = changes};
    if (count == 0)
        return MG_OK;
    checking->images = malloc(count * sizeof *checking->images);
    return checking->images ? MG_OK : mg_fail(err, MG_NO_MEMORY, "no memory to compare %u old rows", count);
}

void mg_checking__clear(struct mg_checking *checking)
{
    free(checking->images);
    free(checking->found);
}

uint32_t mg_checking__image(struct mg_checking *checking, uint32_t row)
{
    const struct mg_changes *changes = checking->changes;
    uint32_t count = changes->old ? changes->old->row_count : 0;
    while (checking->next_image < count && changes->old_rows[checking->next_image] < row)
        checking->next_image++;
    bool is_there = checking->next_image < count && changes->old_rows[checking->next_image] == row;
    return is_there ? checking->next_image : NO_IMAGE;
}

/* NULL when the heap is out: then the put fails at its end. */
static struct mg_verify *found_of(struct mg_checking *checking)
{
    if (!checking->found)
        checking->found = calloc(1, sizeof *checking->found);
    checking->out_of_memory |= !checking->found;
    return checking->found;
}

void mg_checking__note(struct mg_checking *checking, uint32_t row, bool is_there)
{
    enum mg_verify_kind kind = mg_verify_op(checking->changes->ops[row], is_there);
    struct mg_verify *found = kind == MG_VERIFY_KINDS ? NULL : found_of(checking);
    if (found)
        mg_verify_note(found, kind, checking->schema, checking->changes, row);
}

void mg_checking__compare(struct mg_checking *checking, uint32_t image, struct mg_place place)
{
    if (image != NO_IMAGE)
        checking->images[checking->image_count++] = (struct mg_checking_image){image, place};
}

/* ---- stored values ------------------------------------------------------------------------------------------- */

/* Where one column of the places is; they need not be in order. */
struct cursor {
    uint32_t slot;
    int32_t column; /* in the segment or part; -1: missing there */
    uint32_t group; /* whose block is pinned */
    struct mg_part_block block;
    bool pinned;
};

static void let_go(struct cursor *cursor)
{
    if (cursor->pinned)
        mg_part_block_release(&cursor->block);
    cursor->pinned = false;
}

static struct mg_value value_of_chunk(const struct mg_chunk *chunk, struct mg_type type, int32_t column, uint32_t row)
{
    const struct mg_chunk_column *from = &chunk->columns[column];
    struct mg_vector vector = {.type = type,
                               .row_count = MG_CHUNK_ROWS,
                               .validity = from->bits ? mg_buf_data(from->bits) : NULL,
                               .values = mg_buf_data(from->values),
                               .offsets = from->offsets ? (const int32_t *)mg_buf_data(from->offsets) : NULL};
    if (from->present && !mg_buf_data(from->present)[row])
        return (struct mg_value){.type = type, .is_null = true};
    return mg_vector_value(&vector, row);
}

static enum mg_code value_of_part(struct cursor *cursor, struct mg_part *part, uint32_t row, struct mg_arena *scratch,
                                  struct mg_value *out, struct mg_error *err)
{
    if (!cursor->pinned || cursor->group != row / MG_BLOCK_ROWS) {
        let_go(cursor);
        cursor->group = row / MG_BLOCK_ROWS;
        MG_TRY(mg_part_block_get(part, (uint32_t)cursor->column, cursor->group, &cursor->block, err));
        cursor->pinned = true;
    }
    return mg_block_value(&cursor->block.block, row % MG_BLOCK_ROWS, scratch, out, err);
}

static enum mg_code stored_value(const struct mg_checking *checking, struct cursor *cursor, struct mg_place place,
                                 uint32_t column, struct mg_arena *scratch, struct mg_value *out, struct mg_error *err)
{
    const struct mg_column *wanted = &checking->schema->columns[column];
    if (place.slot == MG_NO_SLOT) { /* a row of the changes themselves */
        *out = mg_vector_value(&checking->changes->rows->vectors[column], place.row);
        return MG_OK;
    }
    bool in_part = place.slot >= MG_PART_SLOT;
    struct mg_part *part = in_part ? checking->table->parts[place.slot - MG_PART_SLOT]->part : NULL;
    const struct mg_wsegment *segment = in_part ? NULL : checking->table->slots[place.slot];
    if (cursor->slot != place.slot) {
        let_go(cursor);
        cursor->slot = place.slot;
        cursor->column = mg_schema_find_id(part ? mg_part_schema(part) : segment->segment->schema, wanted->id);
    }
    if (cursor->column < 0)
        *out = wanted->missing;
    else if (part)
        MG_TRY(value_of_part(cursor, part, place.row, scratch, out, err));
    else
        *out = value_of_chunk(segment->chunks[place.row / MG_CHUNK_ROWS], wanted->type, cursor->column,
                              place.row % MG_CHUNK_ROWS);
    out->type = wanted->type;
    return MG_OK;
}

/* One column of all images; a row is told once, by its first column that differs. */
static enum mg_code compare_column(struct mg_checking *checking, struct mg_verify *found, uint32_t column,
                                   struct mg_arena *scratch, struct mg_error *err)
{
    struct cursor cursor = {.slot = MG_NO_SLOT};
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < checking->image_count; i++) {
        struct mg_checking_image *image = &checking->images[i];
        struct mg_value stored;
        if (image->image == NO_IMAGE)
            continue;
        mg_arena_reset(scratch);
        code = stored_value(checking, &cursor, image->place, column, scratch, &stored, err);
        if (code == MG_OK &&
            !mg_verify_value(found, checking->schema, checking->changes, image->image, column, &stored))
            image->image = NO_IMAGE;
    }
    let_go(&cursor);
    return code;
}

static int by_place(const void *a, const void *b)
{
    const struct mg_checking_image *x = a, *y = b;
    if (x->place.slot != y->place.slot)
        return x->place.slot < y->place.slot ? -1 : 1;
    return (x->place.row > y->place.row) - (x->place.row < y->place.row);
}

static enum mg_code compare_images(struct mg_checking *checking, struct mg_error *err)
{
    struct mg_verify *found = found_of(checking);
    struct mg_arena scratch;
    enum mg_code code = MG_OK;
    if (!found)
        return MG_OK; /* end says so */
    qsort(checking->images, checking->image_count, sizeof *checking->images, by_place);
    mg_arena_init(&scratch, INT32_MAX);
    for (uint32_t c = 0; code == MG_OK && c < checking->schema->column_count; c++)
        code = compare_column(checking, found, c, &scratch, err);
    mg_arena_clear(&scratch);
    found->compared_count += checking->image_count;
    return code;
}

enum mg_code mg_checking__end(struct mg_checking *checking, struct mg_wtable *table, uint64_t epoch,
                              struct mg_error *err)
{
    if (checking->image_count)
        MG_TRY(compare_images(checking, err));
    if (checking->out_of_memory)
        return mg_fail(err, MG_NO_MEMORY, "no memory to note what contradicts the stored rows");
    if (!checking->found)
        return MG_OK;
    checking->found->since_ms = mg_wall_ms(mg_clock_system());
    checking->found->since_epoch = epoch;
    if (checking->changes->verify)
        mg_verify_add(checking->changes->verify, checking->found);
    if (table->verify) {
        mg_verify_add(table->verify, checking->found);
        return MG_OK;
    }
    table->verify = checking->found;
    checking->found = NULL;
    return MG_OK;
}

/* ---- a table's sum ------------------------------------------------------------------------------------------- */

uint64_t mg_verify__committed(struct mg_wtable *table)
{
    struct mg_table *to = table->table;
    struct mg_verify *found = table->verify;
    if (!found)
        return 0;
    uint64_t failed = mg_verify_failed(found);
    mg_count(engine_verify_failed, failed);
    mg_count(engine_verify_compared, found->compared_count);
    mg_mutex_lock(&to->verify_lock);
    if (to->verify) {
        mg_verify_add(to->verify, found);
    } else {
        to->verify = found;
        table->verify = NULL;
    }
    mg_mutex_unlock(&to->verify_lock);
    mg_verify__forget(table);
    return failed;
}

void mg_verify__forget(struct mg_wtable *table)
{
    free(table->verify);
    table->verify = NULL;
}

enum mg_code mg_magic__verified(struct mg_engine *engine, uint64_t table_id, mg_verify_fn *fn, void *arg,
                                struct mg_error *err)
{
    struct mg_snapshot *snapshot;
    MG_TRY(engine->ops->snapshot(engine, &snapshot, err));
    const struct mg_catalog *catalog = ((const struct mg_view *)snapshot)->catalog;
    MG_CLEANUP(mg_freep) struct mg_verify *copy = malloc(sizeof *copy);
    enum mg_code code = copy ? MG_OK : mg_fail(err, MG_NO_MEMORY, "no memory to tell what was verified");
    int only = table_id ? mg_catalog__find_id(catalog, table_id) : 0;
    uint32_t end = table_id ? (uint32_t)(only + 1) : catalog->table_count;
    for (uint32_t i = only < 0 ? end : (uint32_t)only; code == MG_OK && i < end; i++) {
        struct mg_table *table = catalog->tables[i]->table;
        mg_mutex_lock(&table->verify_lock);
        bool has = table->verify != NULL;
        if (has)
            *copy = *table->verify;
        mg_mutex_unlock(&table->verify_lock);
        if (has)
            code = fn(arg, catalog->tables[i]->schema, copy, err);
    }
    engine->ops->snapshot_unref(snapshot);
    return code;
}

enum mg_code mg_verify__tell(struct mg_table *table, const struct mg_schema *schema, mg_status_fn *fn, void *arg,
                             struct mg_error *err)
{
    char name[2 * MG_NAME_MAX + 32], number[32], text[MG_VERIFY_TEXT_MAX + 64];
    mg_mutex_lock(&table->verify_lock);
    uint64_t failed = table->verify ? mg_verify_failed(table->verify) : 0;
    if (failed)
        mg_verify_reason(table->verify, text, sizeof text);
    mg_mutex_unlock(&table->verify_lock);
    if (failed == 0)
        return MG_OK;
    snprintf(name, sizeof name, "verify_failed.%s.%s", schema->database, schema->table);
    snprintf(number, sizeof number, "%llu", (unsigned long long)failed);
    MG_TRY(fn(arg, name, number, "rows", err));
    snprintf(name, sizeof name, "needs_verify.%s.%s", schema->database, schema->table);
    return fn(arg, name, text, "", err);
}
