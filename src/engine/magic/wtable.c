/* wtable.c -- what the writer knows of a table: its segments with staged rows and marks, how they become visible, and
 * how they are taken back.
 *
 * Abort     rows: segments go back to what the current view shows; index: the undo list backwards; marks: the copies
 *           are dropped.
 * Publish   what got rows or marks gets new views of its segments; the others are shared with the view before.
 * Threads   the writer, or the one who replays.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/manifest.h"

enum { LISTS_KEPT = 1 << 13 }; /* items for which the lists keep their room after an epoch */

/* ---- lists --------------------------------------------------------------------------------------------------- */

enum mg_code mg_list__reserve(void *items_place, uint32_t *room, uint32_t count, uint32_t more, size_t size,
                              struct mg_error *err)
{
    if (*room - count >= more)
        return MG_OK;
    uint64_t wanted = MG_MAX((uint64_t)*room * 2, (uint64_t)count + more);
    void *items;
    memcpy(&items, items_place, sizeof items);
    items = wanted <= UINT32_MAX ? realloc(items, wanted * size) : NULL;
    if (!items)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a list of %llu items", (unsigned long long)wanted);
    memcpy(items_place, &items, sizeof items);
    *room = (uint32_t)wanted;
    return MG_OK;
}

static enum mg_code reserve_counted(struct mg_budget *budget, void *items_place, uint32_t *room, uint32_t count,
                                    uint32_t more, size_t size, struct mg_error *err)
{
    uint32_t before = *room;
    if (before - count >= more)
        return MG_OK;
    size_t bytes = (size_t)(MG_MAX((uint64_t)before * 2, (uint64_t)count + more) - before) * size;
    MG_TRY(mg_budget_reserve(budget, bytes, err));
    enum mg_code code = mg_list__reserve(items_place, room, count, more, size, err);
    if (code != MG_OK)
        mg_budget_release(budget, bytes);
    return code;
}

enum mg_code mg_wtable__reserve_lists(struct mg_wtable *table, uint32_t more, struct mg_error *err)
{
    MG_TRY(reserve_counted(table->index.budget, &table->undo.items, &table->undo.room, table->undo.count, more,
                           sizeof(struct mg_undo), err));
    return reserve_counted(table->index.budget, &table->marked.items, &table->marked.room, table->marked.count, more,
                           sizeof(uint64_t), err);
}

static void free_lists(struct mg_wtable *table)
{
    mg_budget_release(table->index.budget,
                      table->undo.room * sizeof(struct mg_undo) + table->marked.room * sizeof(uint64_t));
    free(table->undo.items);
    free(table->marked.items);
    table->undo = (struct mg_undo_list){0};
    table->marked = (struct mg_u64_list){0};
}

/* ---- segments ------------------------------------------------------------------------------------------------ */

void mg_wtable__free_segment(struct mg_wsegment *segment)
{
    if (!segment)
        return;
    atomic_store_explicit(&segment->segment->retired, true, memory_order_release);
    for (uint32_t i = 0; i < segment->chunk_count; i++)
        mg_chunk__unref(segment->chunks[i]);
    mg_marks__unref(segment->deleted.marks);
    mg_segment__unref(segment->segment);
    free(segment->chunks);
    free(segment);
}

void mg_wtable__free_part(struct mg_wpart *part)
{
    if (!part)
        return;
    mg_marks__unref(part->deleted.marks);
    mg_part_unref(part->part);
    free(part);
}

enum mg_code mg_wtable__add_part(struct mg_wtable *table, struct mg_part *part, struct mg_marks *marks,
                                 struct mg_wpart **out, struct mg_error *err)
{
    MG_TRY(mg_list__reserve(&table->parts, &table->part_room, table->part_count, 1, sizeof(struct mg_wpart *), err));
    struct mg_wpart *new = calloc(1, sizeof *new);
    if (!new)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a part");
    new->part = part;
    new->deleted.marks = marks;
    new->deleted.granule_count = (mg_part_row_count(part) + MG_CHUNK_ROWS - 1) / MG_CHUNK_ROWS;
    table->parts[table->part_count++] = new;
    *out = new;
    return MG_OK;
}

void mg_wtable__drop_last_part(struct mg_wtable *table)
{
    struct mg_wpart *part = table->parts[--table->part_count];
    mg_marks_file__free(part->deleted.marks);
    part->deleted.marks = NULL;
    mg_wtable__free_part(part);
}

struct mg_wmarks *mg_wtable__deleted(const struct mg_wtable *table, uint32_t slot)
{
    return slot & MG_PART_SLOT ? &table->parts[slot - MG_PART_SLOT]->deleted : &table->slots[slot]->deleted;
}

uint32_t mg_wtable__segment_id(const struct mg_wtable *table, uint32_t slot)
{
    return slot & MG_PART_SLOT ? mg_part_segment_id(table->parts[slot - MG_PART_SLOT]->part)
                               : table->slots[slot]->segment->id;
}

enum mg_code mg_wtable__add_segment(struct mg_wtable *table, uint32_t id, struct mg_schema *schema,
                                    struct mg_wsegment **out, struct mg_error *err)
{
    MG_TRY(mg_list__reserve(&table->slots, &table->slot_room, table->slot_count, 1, sizeof(struct mg_wsegment *), err));
    struct mg_wsegment *segment = calloc(1, sizeof *segment);
    if (segment)
        segment->segment = mg_segment__new(id, schema);
    if (!segment || !segment->segment) {
        free(segment);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a segment");
    }
    table->slots[table->slot_count++] = segment;
    *out = segment;
    return MG_OK;
}

struct mg_wsegment *mg_wtable__tail(const struct mg_wtable *table)
{
    return table->slot_count ? table->slots[table->slot_count - 1] : NULL;
}

/* Rows of this schema have the columns that the segment has, in the same places. */
bool mg_wtable__same_columns(const struct mg_schema *a, const struct mg_schema *b)
{
    if (a == b)
        return true;
    if (a->column_count != b->column_count)
        return false;
    for (uint32_t c = 0; c < a->column_count; c++)
        if (a->columns[c].id != b->columns[c].id || !mg_type_equal(a->columns[c].type, b->columns[c].type))
            return false;
    return true;
}

/* Of a row's fixed widths and text offsets. */
uint64_t mg_wtable__fixed_row_bytes(const struct mg_schema *schema)
{
    uint64_t bytes = 0;
    for (uint32_t c = 0; c < schema->column_count; c++) {
        uint32_t width = mg_type_width(schema->columns[c].type.id);
        bytes += width ? width : sizeof(int32_t);
    }
    return bytes;
}

static enum mg_code add_chunk_place(struct mg_wsegment *segment, struct mg_error *err)
{
    MG_TRY(mg_list__reserve(&segment->chunks, &segment->chunk_room, segment->chunk_count, 1, sizeof(struct mg_chunk *),
                            err));
    segment->chunks[segment->chunk_count++] = NULL;
    segment->deleted.granule_count = segment->chunk_count;
    return MG_OK;
}

/* A full chunk of the same columns before this one, to learn from. */
static const struct mg_chunk *chunk_like(const struct mg_wtable *table, const struct mg_wsegment *segment,
                                         uint32_t chunk)
{
    if (chunk > 0)
        return segment->chunks[chunk - 1];
    const struct mg_wsegment *before = table->slot_count > 1 ? table->slots[table->slot_count - 2] : NULL;
    return before && before->row_count >= MG_CHUNK_ROWS &&
                   mg_wtable__same_columns(before->segment->schema, segment->segment->schema)
               ? before->chunks[0]
               : NULL;
}

enum mg_code mg_wtable__append(struct mg_store *store, struct mg_wtable *table, struct mg_wsegment *segment,
                               const struct mg_chunk_source *columns, const uint32_t *rows, uint32_t count,
                               uint64_t bytes, struct mg_error *err)
{
    uint32_t at = segment->row_count / MG_CHUNK_ROWS, first_row = segment->row_count % MG_CHUNK_ROWS;
    if (at == segment->chunk_count)
        MG_TRY(add_chunk_place(segment, err));
    enum mg_code code = mg_chunk__append(&segment->chunks[at], chunk_like(table, segment, at), segment->segment->schema,
                                         first_row, columns, rows, count, store->rows_budget, err);
    if (code != MG_OK) {
        if (!segment->chunks[at])
            segment->chunk_count--;
        return code;
    }
    segment->row_count += count;
    segment->bytes += bytes;
    return MG_OK;
}

/* ---- new and free -------------------------------------------------------------------------------------------- */

enum mg_code mg_wtable__new(struct mg_store *store, struct mg_table *table, struct mg_wtable **out,
                            struct mg_error *err)
{
    struct mg_wtable *new = calloc(1, sizeof *new);
    if (!new)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table");
    new->table = mg_table__ref(table);
    mg_index__init(&new->index, store->index_budget);
    *out = new;
    return MG_OK;
}

static size_t free_versions(struct mg_marks *marks)
{
    size_t bytes = 0;
    for (uint32_t g = 0; marks && g < marks->granule_count; g++) {
        if (!marks->granules[g])
            continue;
        bytes += mg_mark_version__bytes(marks->granules[g]);
        free((void *)(uintptr_t)marks->granules[g]);
        marks->granules[g] = NULL;
    }
    return bytes;
}

void mg_wtable__free_marks(struct mg_store *store, struct mg_wtable *table)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < table->slot_count; i++)
        bytes += table->slots[i] ? free_versions(table->slots[i]->deleted.marks) : 0;
    for (uint32_t i = 0; i < table->part_count; i++)
        bytes += table->parts[i] ? free_versions(table->parts[i]->deleted.marks) : 0;
    mg_budget_release(store->marks_budget, bytes);
}

void mg_wtable__free(struct mg_wtable *table)
{
    if (!table)
        return;
    for (uint32_t i = 0; i < table->slot_count; i++)
        mg_wtable__free_segment(table->slots[i]);
    for (uint32_t i = 0; i < table->part_count; i++)
        mg_wtable__free_part(table->parts[i]);
    free_lists(table);
    mg_index__clear(&table->index);
    mg_table__unref(table->table);
    free(table->slots);
    free(table->parts);
    free(table);
}

/* ---- marks --------------------------------------------------------------------------------------------------- */

/* The marks, as a copy that may be changed and reaches that granule. */
static enum mg_code own_marks(struct mg_store *store, struct mg_wmarks *deleted, uint32_t granule, struct mg_error *err)
{
    if (deleted->staged && granule < deleted->marks->granule_count)
        return MG_OK;
    struct mg_marks *copy;
    uint32_t granule_count = MG_MAX(deleted->granule_count, granule + 1);
    MG_TRY(mg_marks__copy(deleted->marks, granule_count, store->marks_budget, &copy, err));
    mg_marks__unref(deleted->marks);
    deleted->marks = copy;
    deleted->staged = true;
    return MG_OK;
}

/* Mark rows of one granule. What is replaced is freed when nobody can see it, else noted as superseded (there is
 * room). */
static enum mg_code mark_granule(struct mg_store *store, struct mg_wmarks *deleted, uint32_t granule,
                                 const uint16_t *rows, uint32_t count, uint64_t epoch, bool unseen, uint64_t *marked,
                                 int64_t *bytes, struct mg_error *err)
{
    MG_TRY(own_marks(store, deleted, granule, err));
    const struct mg_mark_version *old = deleted->marks->granules[granule];
    uint32_t new;
    struct mg_mark_version *version = mg_mark_version__add(old, rows, count, epoch, &new);
    if (!version)
        return mg_fail(err, MG_NO_MEMORY, "no memory for marks");
    *bytes += (int64_t)mg_mark_version__bytes(version);
    if (old && (unseen || old->epoch == epoch)) {
        *bytes -= (int64_t)mg_mark_version__bytes(old);
        free((void *)(uintptr_t)old);
    } else if (old) {
        store->superseded[store->superseded_count++] = (struct mg_mark_version *)(uintptr_t)old;
    }
    deleted->marks->granules[granule] = version;
    deleted->marks->dead_count += new;
    *marked += new;
    return MG_OK;
}

/* Mark places (slot << 32 | row), which rise. *out: how many were not marked before, also when it fails. */
enum mg_code mg_wtable__mark(struct mg_store *store, struct mg_wtable *table, const uint64_t *places, uint32_t count,
                             uint64_t epoch, bool unseen, uint64_t *out, struct mg_error *err)
{
    *out = 0;
    uint32_t granules = 0;
    for (uint32_t i = 0; i < count; i++)
        granules += i == 0 || places[i] / MG_CHUNK_ROWS != places[i - 1] / MG_CHUNK_ROWS;
    MG_TRY(mg_list__reserve(&store->superseded, &store->superseded_room, store->superseded_count, granules,
                            sizeof(struct mg_mark_version *), err));
    /* One reservation for all, given back at the end but for what was used: the budget's counters are shared by all
     * threads. */
    size_t reserved = granules * (size_t)MG_MARK_VERSION_BYTES_MAX;
    MG_TRY(mg_budget_reserve(store->marks_budget, reserved, err));
    int64_t bytes = 0;
    enum mg_code code = MG_OK;
    uint16_t rows[MG_CHUNK_ROWS];
    for (uint32_t i = 0; code == MG_OK && i < count;) {
        uint32_t slot = (uint32_t)(places[i] >> 32), granule = (uint32_t)places[i] / MG_CHUNK_ROWS, n = 0;
        for (; i < count && places[i] >> 32 == slot && (uint32_t)places[i] / MG_CHUNK_ROWS == granule; i++)
            if (n == 0 || rows[n - 1] != places[i] % MG_CHUNK_ROWS)
                rows[n++] = (uint16_t)(places[i] % MG_CHUNK_ROWS);
        code = mark_granule(store, mg_wtable__deleted(table, slot), granule, rows, n, epoch, unseen, out, &bytes, err);
    }
    mg_budget_release(store->marks_budget, (size_t)((int64_t)reserved - bytes));
    return code;
}

/* ---- abort --------------------------------------------------------------------------------------------------- */

static void undo_index(struct mg_wtable *table)
{
    while (table->undo.count) {
        const struct mg_undo *undo = &table->undo.items[--table->undo.count];
        if (undo->added.slot == MG_NO_SLOT) {
            enum mg_code code = mg_index__insert(&table->index, undo->hash, undo->removed, NULL);
            mg_assert(code == MG_OK); /* its shard has held as many */
            continue;
        }
        struct mg_index_entry *entry = mg_index__find_place(&table->index, undo->hash, undo->added);
        mg_assert(entry);
        if (undo->removed.slot == MG_NO_SLOT)
            mg_index__remove(&table->index, entry, undo->hash);
        else
            entry->place = undo->removed;
    }
}

static void abort_marks(struct mg_store *store, struct mg_wmarks *deleted)
{
    size_t bytes = 0;
    for (uint32_t g = 0; g < deleted->marks->granule_count; g++) {
        const struct mg_mark_version *version = deleted->marks->granules[g];
        if (!version || version->epoch <= store->epoch)
            continue;
        bytes += mg_mark_version__bytes(version);
        free((void *)(uintptr_t)version);
    }
    mg_budget_release(store->marks_budget, bytes);
    mg_marks__unref(deleted->marks);
    deleted->marks = mg_marks__ref(deleted->published);
    deleted->staged = false;
}

static void abort_rows(struct mg_wsegment *segment)
{
    for (uint32_t i = 0; i < segment->chunk_count; i++) {
        struct mg_chunk *chunk = i < segment->published->chunk_count ? mg_chunk__ref(segment->published->chunks[i])
                                                                     : NULL;
        mg_chunk__unref(segment->chunks[i]);
        segment->chunks[i] = chunk;
    }
    segment->chunk_count = segment->published->chunk_count;
    segment->row_count = segment->visible_count;
    segment->bytes = segment->visible_bytes;
}

static void end_staging(struct mg_wtable *table)
{
    table->staged = table->is_spilled = false;
    table->undo.count = table->marked.count = 0;
    mg_verify__forget(table);
    if (table->undo.room + table->marked.room > LISTS_KEPT)
        free_lists(table);
}

void mg_wtable__abort(struct mg_store *store, struct mg_wtable *table)
{
    if (!table->staged)
        return;
    undo_index(table);
    for (uint32_t i = 0; i < table->slot_count; i++)
        if (table->slots[i] && table->slots[i]->deleted.staged)
            abort_marks(store, &table->slots[i]->deleted);
    for (uint32_t i = 0; i < table->part_count; i++)
        if (table->parts[i] && table->parts[i]->deleted.staged)
            abort_marks(store, &table->parts[i]->deleted);
    mg_wtable__drop_staged_parts(store, table);
    while (table->slot_count && mg_wtable__tail(table) && !mg_wtable__tail(table)->published)
        mg_wtable__free_segment(table->slots[--table->slot_count]);
    for (uint32_t i = table->first_staged_slot; i < table->slot_count; i++)
        if (table->slots[i])
            abort_rows(table->slots[i]);
    table->live_count = table->visible_live_count;
    end_staging(table);
}

/* ---- publish ------------------------------------------------------------------------------------------------- */

/* A segment that gets no more rows and whose rows are all deleted is left out of the next view. */
static bool is_given_up(const struct mg_wtable *table, uint32_t slot)
{
    const struct mg_wsegment *segment = table->slots[slot];
    const struct mg_marks *marks = segment ? segment->deleted.marks : NULL;
    return marks && (segment->sealed || slot + 1 < table->slot_count) && marks->dead_count == segment->row_count;
}

enum mg_code mg_wtable__supersede_marks(struct mg_store *store, const struct mg_marks *marks, struct mg_error *err)
{
    if (!marks)
        return MG_OK;
    MG_TRY(mg_list__reserve(&store->superseded, &store->superseded_room, store->superseded_count, marks->granule_count,
                            sizeof(struct mg_mark_version *), err));
    for (uint32_t g = 0; g < marks->granule_count; g++)
        if (marks->granules[g])
            store->superseded[store->superseded_count++] = (struct mg_mark_version *)(uintptr_t)marks->granules[g];
    return MG_OK;
}

/* Freeze what is full, from the chunk of the first staged row on; every chunk is when the segment gets no more rows. */
static enum mg_code freeze_full(struct mg_wsegment *segment, bool is_tail, struct mg_error *err)
{
    for (uint32_t i = segment->visible_count / MG_CHUNK_ROWS; i < segment->chunk_count; i++) {
        uint32_t row_count = MG_MIN(segment->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
        if (!segment->chunks[i]->frozen && (row_count == MG_CHUNK_ROWS || !is_tail))
            MG_TRY(mg_chunk__freeze(&segment->chunks[i], segment->segment->schema, row_count, err));
    }
    return MG_OK;
}

static enum mg_code view_segment(struct mg_store *store, struct mg_wtable *table, uint32_t slot,
                                 struct mg_table_segment *out, struct mg_error *err)
{
    struct mg_wsegment *segment = table->slots[slot];
    out->marks = mg_marks__ref(segment->deleted.marks);
    if (segment->published && slot < table->first_staged_slot) {
        out->rows = mg_segment_view__ref(segment->published);
        return MG_OK;
    }
    MG_TRY(freeze_full(segment, slot + 1 == table->slot_count, err));
    struct mg_segment_view *view;
    MG_TRY(mg_segment_view__new(segment->chunk_count, store->rows_budget, &view, err));
    view->segment = mg_segment__ref(segment->segment);
    view->row_count = segment->row_count;
    for (uint32_t i = 0; i < segment->chunk_count; i++)
        view->chunks[i] = mg_chunk__ref(segment->chunks[i]);
    out->rows = view;
    return MG_OK;
}

/* The same for a part. */
static bool is_dead(const struct mg_wpart *part)
{
    return part->deleted.marks && part->deleted.marks->dead_count == mg_part_row_count(part->part);
}

static enum mg_code view_parts(struct mg_store *store, struct mg_wtable *table, struct mg_table_view *view,
                               struct mg_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < table->part_count; i++) {
        struct mg_wpart *part = table->parts[i];
        if (!part)
            continue;
        if (is_dead(part)) {
            MG_TRY(mg_wtable__supersede_marks(store, part->deleted.marks, err));
            continue;
        }
        view->parts[n++] = (struct mg_table_part){mg_part_ref(part->part), mg_marks__ref(part->deleted.marks)};
    }
    return MG_OK;
}

enum mg_code mg_wtable__view(struct mg_store *store, struct mg_wtable *table, const struct mg_table_view *before,
                             struct mg_table_view **out, struct mg_error *err)
{
    uint32_t count = 0, part_count = 0;
    for (uint32_t i = 0; i < table->slot_count; i++)
        count += table->slots[i] && !is_given_up(table, i);
    for (uint32_t i = 0; i < table->part_count; i++)
        part_count += table->parts[i] && !is_dead(table->parts[i]);
    struct mg_table_view *view;
    MG_TRY(mg_table_view__new(count, part_count, store->rows_budget, &view, err));
    view->table = mg_table__ref(table->table);
    view->schema = mg_schema_ref(before->schema);
    view->ids = mg_column_ids__ref(before->ids);
    view->live_count = table->live_count;
    enum mg_code code = MG_OK;
    uint32_t n = 0;
    for (uint32_t i = 0; code == MG_OK && i < table->slot_count; i++) {
        if (!table->slots[i])
            continue;
        if (is_given_up(table, i))
            code = mg_wtable__supersede_marks(store, table->slots[i]->deleted.marks, err);
        else
            code = view_segment(store, table, i, &view->segments[n++], err);
    }
    if (code == MG_OK)
        code = view_parts(store, table, view, err);
    if (code != MG_OK) {
        mg_table_view__unref(view);
        return code;
    }
    *out = view;
    return MG_OK;
}

static enum mg_code sort_marked(struct mg_wtable *table, struct mg_error *err)
{
    const struct mg_u64_list *marked = &table->marked;
    bool sorted = true;
    for (uint32_t i = 1; i < marked->count && sorted; i++)
        sorted = marked->items[i - 1] < marked->items[i];
    if (sorted)
        return MG_OK;
    uint64_t *scratch = malloc(marked->count * sizeof *scratch);
    if (!scratch)
        return mg_fail(err, MG_NO_MEMORY, "no memory to sort %u marks", marked->count);
    mg_sort__u64(marked->items, scratch, marked->count);
    free(scratch);
    return MG_OK;
}

/* How many of the places from first on lie in the same segment. */
static uint32_t same_slot(const struct mg_u64_list *places, uint32_t first)
{
    uint32_t end = first + 1;
    while (end < places->count && places->items[end] >> 32 == places->items[first] >> 32)
        end++;
    return end - first;
}

static enum mg_code encode_runs(const struct mg_wsegment *segment, struct mg_wal_builder *builder, struct mg_error *err)
{
    for (uint32_t row = segment->visible_count; row < segment->row_count;) {
        uint32_t chunk = row / MG_CHUNK_ROWS;
        uint32_t end = MG_MIN(segment->row_count, (chunk + 1) * MG_CHUNK_ROWS);
        MG_TRY(mg_wal_builder__run(builder, segment->segment->id, row, segment->chunks[chunk], segment->segment->schema,
                                   row % MG_CHUNK_ROWS, end - chunk * MG_CHUNK_ROWS, err));
        row = end;
    }
    return MG_OK;
}

static enum mg_code encode_marked(struct mg_wtable *table, struct mg_wal_builder *builder, struct mg_error *err)
{
    for (uint32_t i = 0; i < table->marked.count;) {
        uint32_t count = same_slot(&table->marked, i);
        uint32_t id = mg_wtable__segment_id(table, (uint32_t)(table->marked.items[i] >> 32));
        MG_TRY(mg_wal_builder__marks(builder, id, table->marked.items + i, count, err));
        i += count;
    }
    return MG_OK;
}

enum mg_code mg_wtable__encode(const struct mg_store *store, struct mg_wtable *table, const struct mg_schema *schema,
                               struct mg_wal_builder *builder, struct mg_error *err)
{
    uint32_t run_count = 0, marks_count = table->is_spilled ? mg_wtable__count_marks(store, table) : 0;
    if (!table->is_spilled)
        MG_TRY(sort_marked(table, err));
    for (uint32_t i = table->first_staged_slot; i < table->slot_count; i++) {
        const struct mg_wsegment *segment = table->slots[i];
        if (segment && segment->row_count > segment->visible_count)
            run_count += (segment->row_count - 1) / MG_CHUNK_ROWS - segment->visible_count / MG_CHUNK_ROWS + 1;
    }
    for (uint32_t i = 0; !table->is_spilled && i < table->marked.count; i += same_slot(&table->marked, i))
        marks_count++;
    MG_TRY(mg_wal_builder__table(builder, table->table->id, schema->version, run_count, marks_count, err));
    for (uint32_t i = table->first_staged_slot; i < table->slot_count; i++)
        if (table->slots[i])
            MG_TRY(encode_runs(table->slots[i], builder, err));
    return table->is_spilled ? mg_wtable__encode_marks(store, table, builder, err) : encode_marked(table, builder, err);
}

static void parts_committed(struct mg_wtable *table, struct mg_table_view *view)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < table->part_count; i++) {
        struct mg_wpart *part = table->parts[i];
        if (part && is_dead(part)) {
            mg_wtable__free_part(part);
            table->parts[i] = NULL;
        } else if (part) {
            part->deleted.published = view->parts[n++].marks;
            part->deleted.staged = part->is_staged = false;
        }
    }
    mg_assert(n == view->part_count);
}

void mg_wtable__committed(struct mg_wtable *table, struct mg_table_view *view)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < table->slot_count; i++) {
        struct mg_wsegment *segment = table->slots[i];
        if (!segment)
            continue;
        if (is_given_up(table, i)) {
            mg_wtable__free_segment(segment);
            table->slots[i] = NULL;
            continue;
        }
        segment->published = view->segments[n].rows;
        segment->deleted.published = view->segments[n++].marks;
        segment->visible_count = segment->row_count;
        segment->visible_bytes = segment->bytes;
        segment->deleted.staged = false;
    }
    mg_assert(n == view->segment_count);
    parts_committed(table, view);
    table->visible_live_count = table->live_count;
    end_staging(table);
}
