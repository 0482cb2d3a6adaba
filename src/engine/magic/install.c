/* install.c -- outputs take the place of their inputs: in the writer's tables, in a manifest, in the newest view.
 *
 *   (1) follow the last marks     (2) slots: inputs out, outputs in     (3) marks files     (4) view, made and not
 *   shown
 *   (5) the manifest, durable     (6) the view is swapped in; the epoch stays the same
 *
 * Up to (5) a failure puts everything back. If (5) fails in a way that leaves open whether the manifest is there, the
 * writer is stopped: groups that it wrote from now on could name segments that the manifest does not know.
 * Threads  in the writer's turn: nothing is staged and nothing can begin. Until the manifest is noted no sweep looks
 *          for files (keeping.files_lock), as some of them are in no manifest yet.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/stop.h"
#include "engine/magic/compaction.h"

struct install {
    struct mg_magic *magic;
    struct mg_store *store;
    struct mg_compaction *compactions;
    uint32_t count;
    bool is_checkpoint;
    struct mg_manifest manifest;
    struct mg_kept *kept;
    struct mg_catalog *catalog;
    struct mg_garbage *garbage;
    struct mg_view *view;
};

/* ---- (2) slots ----------------------------------------------------------------------------------------------- */

/* The output's marks, as versions of the newest epoch; *out NULL when it has none. */
static enum mg_code make_marks(struct mg_store *store, const struct mg_compaction *compaction, struct mg_marks **out,
                               struct mg_error *err)
{
    uint32_t row_count = mg_part_row_count(compaction->out);
    uint32_t granule_count = (row_count + MG_CHUNK_ROWS - 1) / MG_CHUNK_ROWS, new;
    *out = NULL;
    if (compaction->dead_count == 0)
        return MG_OK;
    struct mg_marks *marks;
    MG_TRY(mg_marks__copy(NULL, granule_count, store->marks_budget, &marks, err));
    for (uint32_t g = 0; g < granule_count; g++) {
        uint16_t rows[MG_CHUNK_ROWS];
        uint32_t count = 0, end = MG_MIN(row_count - g * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
        const uint64_t *dead = compaction->dead + (size_t)g * MG_CHUNK_ROWS / 64;
        for (uint32_t row = 0; row < end; row++)
            if (dead[row / 64] >> (row % 64) & 1)
                rows[count++] = (uint16_t)row;
        if (count == 0)
            continue;
        enum mg_code code = mg_budget_reserve(store->marks_budget, MG_MARK_VERSION_BYTES_MAX, err);
        struct mg_mark_version *version = code == MG_OK ? mg_mark_version__add(NULL, rows, count, store->epoch, &new)
                                                        : NULL;
        if (!version) {
            if (code == MG_OK)
                mg_budget_release(store->marks_budget, MG_MARK_VERSION_BYTES_MAX);
            mg_marks_file__free(marks);
            return code != MG_OK ? code : mg_fail(err, MG_NO_MEMORY, "no memory for marks");
        }
        mg_budget_release(store->marks_budget, MG_MARK_VERSION_BYTES_MAX - mg_mark_version__bytes(version));
        marks->granules[g] = version;
        marks->dead_count += count;
    }
    *out = marks;
    return MG_OK;
}

static enum mg_code put_output(struct install *install, struct mg_compaction *compaction, struct mg_wtable *table,
                               struct mg_error *err)
{
    struct mg_store *store = install->store;
    struct mg_marks *marks;
    if (!compaction->out)
        return MG_OK;
    MG_TRY(make_marks(store, compaction, &marks, err));
    enum mg_code code = MG_OK;
    if (marks)
        code = mg_marks_file__write(install->magic->io, install->magic->folder, compaction->segment_id, store->epoch,
                                    mg_part_row_count(compaction->out), marks, err);
    MG_STOP("marks.written");
    if (code == MG_OK)
        code = mg_wtable__add_part(table, compaction->out, marks, &compaction->installed, err);
    if (code != MG_OK) {
        mg_marks_file__free(marks);
        return code;
    }
    mg_part_ref(compaction->out);
    compaction->installed->marks_epoch = compaction->installed->marks_file = store->epoch;
    compaction->installed->marks_dead = compaction->dead_count;
    compaction->installed->is_busy = compaction->stays_busy;
    return MG_OK;
}

static void **place_of(struct mg_wtable *table, uint32_t slot)
{
    return slot & MG_PART_SLOT ? (void **)&table->parts[slot - MG_PART_SLOT] : (void **)&table->slots[slot];
}

/* Where the input lies now: places of parts change with every install. False: it was given up, as its rows all died, or
 * a piece before this one took it. */
static bool find_input(const struct mg_wtable *table, struct mg_compaction_input *input)
{
    if (input->segment)
        return table->slots[input->slot] != NULL;
    for (uint32_t p = 0; p < table->part_count; p++)
        if (table->parts[p] && mg_part_segment_id(table->parts[p]->part) == input->segment_id) {
            input->slot = MG_PART_SLOT + p;
            return true;
        }
    return false;
}

static enum mg_code exchange(struct install *install, struct mg_compaction *compaction, struct mg_error *err)
{
    struct mg_wtable *table = mg_store__find_wtable(install->store, compaction->table_id);
    if (!table)
        return mg_fail(err, MG_INTERNAL, "table %llu is in the view, but the writer does not know it",
                       (unsigned long long)compaction->table_id);
    MG_TRY(put_output(install, compaction, table, err));
    if (!table->staged) {
        table->staged = true; /* so that it gets a new view */
        table->first_staged_slot = table->slot_count;
    }
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        if (!find_input(table, &compaction->inputs[i]))
            continue;
        void **place = place_of(table, compaction->inputs[i].slot);
        MG_TRY(mg_wtable__supersede_marks(install->store, mg_wtable__deleted(table, compaction->inputs[i].slot)->marks,
                                          err));
        compaction->inputs[i].taken = *place;
        *place = NULL;
    }
    return MG_OK;
}

static void put_back(struct install *install, struct mg_compaction *compaction)
{
    struct mg_wtable *table = mg_store__find_wtable(install->store, compaction->table_id);
    if (!table)
        return;
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        if (compaction->inputs[i].taken)
            *place_of(table, compaction->inputs[i].slot) = compaction->inputs[i].taken;
        compaction->inputs[i].taken = NULL;
    }
    if (compaction->installed)
        mg_wtable__drop_last_part(table);
    compaction->installed = NULL;
    table->staged = false;
}

/* Places that inputs left, at the end of which nobody refers to: only a plan's inputs do, and those by their ids. */
static void close_up(struct mg_wtable *table)
{
    uint32_t kept = 0;
    for (uint32_t p = 0; p < table->part_count; p++)
        if (table->parts[p])
            table->parts[kept++] = table->parts[p];
    table->part_count = kept;
}

static uint64_t dead_rows(const struct mg_compaction_input *input)
{
    const struct mg_wmarks *deleted = input->part ? &((const struct mg_wpart *)input->taken)->deleted
                                                  : &((const struct mg_wsegment *)input->taken)->deleted;
    return deleted->marks ? deleted->marks->dead_count : 0;
}

/* Rows that the inputs show as dead and that are not in the outputs. */
static void count_reclaimed(struct install *install, const struct mg_compaction *compaction)
{
    uint64_t rows = 0;
    struct mg_wtable *table = mg_store__find_wtable(install->store, compaction->table_id);
    for (uint32_t i = 0; i < compaction->input_count; i++)
        rows += compaction->inputs[i].taken ? dead_rows(&compaction->inputs[i]) : 0;
    atomic_fetch_add_explicit(&table->table->flow.reclaimed, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&install->magic->keeping.flow.reclaimed, rows, memory_order_relaxed);
    mg_count(engine_reclaimed, rows);
}

static void free_inputs(struct mg_compaction *compaction)
{
    for (uint32_t i = 0; i < compaction->input_count; i++) {
        if (compaction->inputs[i].slot & MG_PART_SLOT)
            mg_wtable__free_part(compaction->inputs[i].taken);
        else
            mg_wtable__free_segment(compaction->inputs[i].taken);
        compaction->inputs[i].taken = NULL;
    }
}

/* ---- (3) and (5) the manifest -------------------------------------------------------------------------------- */

/* A part whose marks file says all is complete up to now; at a checkpoint the others get a new one. */
static enum mg_code refresh_marks(struct install *install, struct mg_wpart *part, struct mg_error *err)
{
    const struct mg_marks *marks = part->deleted.marks;
    uint32_t dead = marks ? marks->dead_count : 0, segment_id = mg_part_segment_id(part->part);
    uint64_t epoch = install->store->epoch;
    if (dead != part->marks_dead) {
        if (!install->is_checkpoint)
            return MG_OK;
        MG_TRY(mg_marks_file__write(install->magic->io, install->magic->folder, segment_id, epoch,
                                    mg_part_row_count(part->part), marks, err));
        MG_STOP("marks.written");
        part->marks_file = epoch;
        part->marks_dead = dead;
    }
    part->marks_epoch = epoch;
    return MG_OK;
}

static enum mg_code list_parts(struct install *install, const struct mg_wtable *table, struct mg_error *err)
{
    struct mg_manifest *manifest = &install->manifest;
    for (uint32_t i = 0; i < table->part_count; i++) {
        struct mg_wpart *part = table->parts[i];
        if (!part)
            continue;
        MG_TRY(refresh_marks(install, part, err));
        manifest->replay_from = MG_MIN(manifest->replay_from, part->marks_epoch + 1);
        manifest->parts[manifest->part_count++] = (struct mg_manifest_part){
            .table_id = table->table->id,
            .segment_id = mg_part_segment_id(part->part),
            .row_count = mg_part_row_count(part->part),
            .file_bytes = mg_part_file_bytes(part->part),
            .marks_epoch = part->marks_epoch,
            .marks_file = part->marks_file,
            .dead_count = part->marks_dead,
        };
    }
    return MG_OK;
}

static void list_deltas(struct install *install, const struct mg_wtable *table)
{
    struct mg_manifest *manifest = &install->manifest;
    for (uint32_t i = 0; i < table->slot_count; i++) {
        const struct mg_wsegment *segment = table->slots[i];
        if (!segment || segment->visible_count == 0)
            continue;
        manifest->replay_from = MG_MIN(manifest->replay_from, segment->first_epoch);
        manifest->deltas[manifest->delta_count++] = (struct mg_manifest_delta){
            .table_id = table->table->id,
            .first_epoch = segment->first_epoch,
            .segment_id = segment->segment->id,
            .row_count = segment->visible_count,
            .schema = mg_schema_ref(segment->segment->schema),
        };
    }
}

static int compare_parts(const void *a, const void *b)
{
    uint32_t x = ((const struct mg_manifest_part *)a)->segment_id, y = ((const struct mg_manifest_part *)b)->segment_id;
    return (x > y) - (x < y);
}

static int compare_deltas(const void *a, const void *b)
{
    uint32_t x = ((const struct mg_manifest_delta *)a)->segment_id,
             y = ((const struct mg_manifest_delta *)b)->segment_id;
    return (x > y) - (x < y);
}

static enum mg_code make_room(struct install *install, struct mg_error *err)
{
    struct mg_store *store = install->store;
    struct mg_manifest *manifest = &install->manifest;
    size_t parts = 1, deltas = 1;
    for (uint32_t i = 0; i < store->table_count; i++) {
        parts += store->tables[i]->part_count;
        deltas += store->tables[i]->slot_count;
    }
    manifest->parts = calloc(parts, sizeof *manifest->parts);
    manifest->deltas = calloc(deltas, sizeof *manifest->deltas);
    manifest->sources = calloc((size_t)store->source_count + 1, sizeof *manifest->sources);
    manifest->live_counts = calloc((size_t)store->catalog->table_count + 1, sizeof *manifest->live_counts);
    if (!manifest->parts || !manifest->deltas || !manifest->sources || !manifest->live_counts)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a manifest of %zu segments", parts + deltas);
    return MG_OK;
}

static enum mg_code describe(struct install *install, struct mg_error *err)
{
    struct mg_store *store = install->store;
    struct mg_manifest *manifest = &install->manifest;
    MG_TRY(make_room(install, err));
    manifest->number = install->magic->keeping.next_manifest;
    manifest->epoch = store->epoch;
    manifest->replay_from = store->epoch + 1;
    manifest->next_segment_id = store->next_segment_id;
    manifest->is_checkpoint = install->is_checkpoint;
    manifest->catalog = mg_catalog__ref(store->catalog);
    mg_mutex_lock(&install->magic->publish); /* reserve() may run meanwhile */
    manifest->next_table_id = store->next_table_id;
    manifest->next_version = store->next_version;
    mg_mutex_unlock(&install->magic->publish);
    manifest->source_count = store->source_count;
    for (uint32_t i = 0; i < store->source_count; i++)
        manifest->sources[i] = store->sources[i];
    for (uint32_t i = 0; i < store->catalog->table_count; i++) {
        const struct mg_wtable *table = mg_store__find_wtable(store, store->catalog->tables[i]->table->id);
        if (!table)
            continue;
        manifest->live_counts[i] = table->live_count;
        MG_TRY(list_parts(install, table, err));
        list_deltas(install, table);
    }
    qsort(manifest->parts, manifest->part_count, sizeof *manifest->parts, compare_parts);
    qsort(manifest->deltas, manifest->delta_count, sizeof *manifest->deltas, compare_deltas);
    MG_TRY(mg_named__list(install->magic, store->epoch, &manifest->named, &manifest->named_count, err));
    manifest->has_named = true;
    return mg_keeper__prepare(install->magic, manifest, &install->kept, err);
}

/* ---- (4) and (6) the view ------------------------------------------------------------------------------------ */

static enum mg_code make_view(struct install *install, struct mg_error *err)
{
    struct mg_store *store = install->store;
    MG_TRY(mg_store__next_catalog(store, store->catalog, &install->catalog, err));
    MG_TRY(mg_view__new(store, store->epoch, install->catalog, store->source_count, &install->view, err));
    return mg_garbage__take(store, &install->garbage, err);
}

static void show(struct install *install)
{
    struct mg_magic *magic = install->magic;
    struct mg_store *store = install->store;
    for (uint32_t i = 0; i < install->count; i++)
        if (!install->compactions[i].abandoned) {
            count_reclaimed(install, &install->compactions[i]);
            close_up(mg_store__find_wtable(store, install->compactions[i].table_id));
        }
    mg_store__committed(store, install->catalog);
    uint64_t delta_bytes = mg_store__delta_bytes(store);
    mg_mutex_lock(&magic->publish);
    store->delta_bytes = delta_bytes;
    struct mg_view *before = mg_view__swap(store, MG_TAKE(install->view), MG_TAKE(install->garbage));
    mg_mutex_unlock(&magic->publish);
    MG_STOP("install.swapped");
    mg_view__unpin(before);
    for (uint32_t i = 0; i < install->count; i++) {
        free_inputs(&install->compactions[i]);
        install->compactions[i].is_done = !install->compactions[i].abandoned;
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static enum mg_code prepare(struct install *install, struct mg_error *err)
{
    for (uint32_t i = 0; i < install->count; i++) {
        uint32_t count;
        if (!install->compactions[i].abandoned)
            MG_TRY(mg_compaction__follow(&install->compactions[i], &count, err));
        if (!install->compactions[i].abandoned)
            MG_TRY(exchange(install, &install->compactions[i], err));
    }
    MG_TRY(make_view(install, err));
    return describe(install, err);
}

static void roll_back(struct install *install)
{
    for (uint32_t i = install->count; i-- > 0;)
        put_back(install, &install->compactions[i]);
    for (uint32_t i = 0; i < install->store->table_count; i++)
        install->store->tables[i]->staged = false;
    install->store->superseded_count = 0;
}

static void install_clear(struct install *install)
{
    mg_manifest__clear(&install->manifest);
    mg_keeper__forget(install->kept);
    mg_view__discard(install->view);
    mg_catalog__unref(install->catalog);
    free(install->garbage); /* its versions are still published */
}

enum mg_code mg_compaction__install(struct mg_magic *magic, struct mg_compaction *compactions, uint32_t count,
                                    bool is_checkpoint, struct mg_error *err)
{
    struct install install = {.magic = magic,
                              .store = &magic->store,
                              .compactions = compactions,
                              .count = count,
                              .is_checkpoint = is_checkpoint};
    struct mg_error story = MG_ERROR_INIT;
    bool unknown = false;
    mg_mutex_lock(&magic->keeping.files_lock);
    enum mg_code code = prepare(&install, &story);
    if (code == MG_OK)
        code = mg_manifest__write(magic->io, magic->folder, &install.manifest, &unknown, &story);
    if (code == MG_OK) {
        magic->keeping.next_manifest++;
        mg_keeper__note(magic, MG_TAKE(install.kept));
    }
    mg_mutex_unlock(&magic->keeping.files_lock);
    if (code == MG_OK) {
        show(&install);
    } else {
        roll_back(&install);
        if (unknown) {
            mg_magic__stop_writer(magic, &story);
            code = MG_STOPPED;
        }
        if (err)
            *err = story;
    }
    install_clear(&install);
    return code;
}

/* ---- the index ----------------------------------------------------------------------------------------------- */

enum { PURGE_CHUNKS = 2, PREFETCH_AHEAD = 16 };

static void purge_chunk(struct mg_wtable *table, const struct mg_compaction_input *input, uint32_t chunk, uint64_t seed)
{
    const struct mg_segment_view *rows = input->segment->rows;
    const struct mg_schema *schema = rows->segment->schema;
    uint32_t row_count = MG_MIN(rows->row_count - chunk * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t hashes[MG_CHUNK_ROWS];
    mg_keys__of_chunk(rows->chunks[chunk], schema, row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    mg_keys__hash(keys, schema->key_count, seed, hashes, row_count);
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t hash = (uint32_t)(hashes[row] >> 32);
        struct mg_place place = {input->slot, chunk * MG_CHUNK_ROWS + row};
        if (row + PREFETCH_AHEAD < row_count)
            mg_index__prefetch(&table->index, (uint32_t)(hashes[row + PREFETCH_AHEAD] >> 32));
        struct mg_index_entry *entry = mg_index__find_place(&table->index, hash, place);
        if (entry)
            mg_index__remove(&table->index, entry, hash);
    }
}

/* cursor: input << 32 | chunk. */
bool mg_compaction__purge(struct mg_compaction *compaction, uint64_t *cursor)
{
    struct mg_store *store = &compaction->magic->store;
    struct mg_wtable *table = mg_store__find_wtable(store, compaction->table_id);
    uint32_t done = 0;
    while (table && done < PURGE_CHUNKS) {
        uint32_t at = (uint32_t)(*cursor >> 32), chunk = (uint32_t)*cursor;
        if (at >= compaction->input_count)
            return false;
        const struct mg_compaction_input *input = &compaction->inputs[at];
        if (!input->segment || chunk >= input->segment->rows->chunk_count) {
            *cursor = (uint64_t)(at + 1) << 32;
            continue;
        }
        purge_chunk(table, input, chunk, store->hash_seed);
        ++*cursor;
        done++;
    }
    return table != NULL;
}
