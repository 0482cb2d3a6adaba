/* spill.c -- an epoch larger than memory: what it staged so far becomes parts that nobody sees yet.
 *
 * When the staged rows of an epoch pass a share of the memory, the segments that only this epoch has are written as
 * parts, sorted by key, under fresh numbers. The parts join those of the table at once, so later changes of the same
 * epoch find their rows as they find any other, and mark them. Publish names them in the epoch's one WAL group; until
 * then a file of theirs is a file that nobody knows, and a start removes it.
 * What is kept   per table: the rows that went into a segment which a view already shows; marks, at most a bit a row of
 *                whatever has marked rows; the undo list, only of entries that lead to such rows. Marks are no longer
 *                listed one by one: the group gets them from what the versions have more than the published ones.
 * Memory         of writing: the memory of flushes, under magic->parts, so that a flush and this do not need it at
 *                once.
 * Errors         a failure leaves a state that mg_wtable__abort clears away: nothing is forgotten before all is
 *                written.
 * Threads        the writer; the list of named parts: magic->publish.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/stop.h"
#include "engine/magic/manifest.h"

enum {
    ROWS_AT_ONCE = MG_CHUNK_ROWS,
    SORT_BYTES_PER_ROW = 80, /* of places and look-up items; keys come on top, twice */
    FLUSH_SHARE = 8,         /* of a store's memory without a merge budget of its own */
    SORT_SHARE = 2,          /* one part in so many of the memory of flushes is for that */
    SORT_ROWS_MIN = 1 << 14,
    LIST_AT_MOST = 512, /* marks of a granule that are fewer bytes as a list */
};

/* ---- parts that the WAL names -------------------------------------------------------------------------------- */

enum mg_code mg_named__add(struct mg_magic *magic, uint32_t segment_id, uint64_t epoch, struct mg_error *err)
{
    mg_mutex_lock(&magic->publish);
    enum mg_code code = mg_list__reserve(&magic->named, &magic->named_room, magic->named_count, 1,
                                         sizeof(struct mg_named), err);
    if (code == MG_OK)
        magic->named[magic->named_count++] = (struct mg_named){segment_id, epoch};
    mg_mutex_unlock(&magic->publish);
    return code;
}

void mg_named__remove(struct mg_magic *magic, uint32_t segment_id)
{
    mg_mutex_lock(&magic->publish);
    for (uint32_t i = magic->named_count; i-- > 0;)
        if (magic->named[i].segment_id == segment_id)
            magic->named[i] = magic->named[--magic->named_count];
    mg_mutex_unlock(&magic->publish);
}

bool mg_named__has(struct mg_magic *magic, uint32_t segment_id)
{
    bool has = false;
    mg_mutex_lock(&magic->publish);
    for (uint32_t i = 0; i < magic->named_count && !has; i++)
        has = magic->named[i].segment_id == segment_id;
    mg_mutex_unlock(&magic->publish);
    return has;
}

void mg_named__prune(struct mg_magic *magic)
{
    uint32_t kept = 0;
    mg_mutex_lock(&magic->publish);
    const struct mg_kept *oldest = mg_keeper__oldest(magic);
    for (uint32_t i = 0; oldest && i < magic->named_count; i++)
        if (magic->named[i].epoch > oldest->epoch) /* who opens an epoch from it replays the group */
            magic->named[kept++] = magic->named[i];
    if (oldest)
        magic->named_count = kept;
    mg_mutex_unlock(&magic->publish);
}

static int compare_named(const void *a, const void *b)
{
    uint32_t x = ((const struct mg_named *)a)->segment_id, y = ((const struct mg_named *)b)->segment_id;
    return (x > y) - (x < y);
}

enum mg_code mg_named__list(struct mg_magic *magic, uint64_t epoch, struct mg_named **out, uint32_t *out_count,
                            struct mg_error *err)
{
    uint32_t count = 0;
    mg_mutex_lock(&magic->publish);
    struct mg_named *named = calloc((size_t)magic->named_count + 1, sizeof *named);
    for (uint32_t i = 0; named && i < magic->named_count; i++)
        if (magic->named[i].epoch <= epoch)
            named[count++] = magic->named[i];
    mg_mutex_unlock(&magic->publish);
    if (!named)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the parts that the WAL names");
    qsort(named, count, sizeof *named, compare_named);
    *out = named;
    *out_count = count;
    return MG_OK;
}

/* ---- one part ------------------------------------------------------------------------------------------------ */

/* Some staged segments of a table, on their way into one part. */
struct run {
    struct mg_store *store;
    struct mg_wtable *table;
    struct mg_schema *schema;
    uint32_t first_slot, end_slot;
    uint32_t segment_id, row_count;
    size_t reserved;
    uint64_t *places; /* of the living rows, rising: slot << 32 | row */
    struct mg_lookup lookup;
    struct mg_type *types;
    struct mg_vector *vectors;      /* of a chunk */
    uint64_t order[ROWS_AT_ONCE];   /* of a batch: place in places << 32 | row of the batch */
    uint64_t scratch[ROWS_AT_ONCE]; /* of its sort */
    uint32_t rows[ROWS_AT_ONCE];    /* of a chunk */
    uint32_t back[ROWS_AT_ONCE];    /* row of the batch -> where it was gathered */
};

/* The living rows of a chunk. */
static void living_rows(const struct mg_wsegment *segment, uint32_t chunk, uint64_t mask[MG_CHUNK_ROWS / 64])
{
    uint32_t row_count = MG_MIN(segment->row_count - chunk * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    const struct mg_mark_version *version = mg_marks__granule(segment->deleted.marks, chunk);
    for (uint32_t i = 0; i < MG_CHUNK_ROWS / 64; i++) {
        uint32_t left = row_count > i * 64 ? row_count - i * 64 : 0;
        mask[i] = left >= 64 ? UINT64_MAX : ((uint64_t)1 << left) - 1;
    }
    if (version)
        mg_mark_version__mask(version, mask, row_count);
}

static uint32_t living_count(const struct mg_wsegment *segment)
{
    return segment->row_count - (segment->deleted.marks ? segment->deleted.marks->dead_count : 0);
}

/* Bytes that the encoded keys of a segment take at most. */
static uint64_t key_bytes(const struct mg_wsegment *segment)
{
    const struct mg_schema *schema = segment->segment->schema;
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t column = schema->key_columns[k];
        bytes += (uint64_t)segment->row_count * (mg_type_width(schema->columns[column].type.id) + 2);
        for (uint32_t i = 0; i < segment->chunk_count; i++) {
            const struct mg_chunk_column *from = &segment->chunks[i]->columns[column];
            uint32_t row_count = MG_MIN(segment->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
            if (from->offsets) /* a zero byte takes two */
                bytes += 2 * (uint64_t)((const int32_t *)(const void *)mg_buf_data(from->offsets))[row_count];
        }
    }
    return bytes;
}

static enum mg_code add_keys(struct run *run, uint32_t slot, uint32_t chunk, struct mg_error *err)
{
    const struct mg_wsegment *segment = run->table->slots[slot];
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t mask[MG_CHUNK_ROWS / 64];
    living_rows(segment, chunk, mask);
    uint32_t count = mg_mask_rows(mask, MG_CHUNK_ROWS, run->rows);
    mg_keys__of_chunk(segment->chunks[chunk], run->schema, MG_CHUNK_ROWS, vectors);
    for (uint32_t k = 0; k < run->schema->key_count; k++)
        keys[k] = &vectors[k];
    for (uint32_t i = 0; i < count; i++) {
        run->places[run->lookup.count] = (uint64_t)slot << 32 | (chunk * MG_CHUNK_ROWS + run->rows[i]);
        MG_TRY(mg_key_encode(keys, run->schema->key_count, run->rows[i], mg_lookup__begin(&run->lookup), err));
        mg_lookup__end(&run->lookup);
    }
    return MG_OK;
}

/* The living rows' places, and their order by key. */
static enum mg_code order_rows(struct run *run, struct mg_error *err)
{
    for (uint32_t slot = run->first_slot; slot < run->end_slot; slot++)
        for (uint32_t i = 0; i < run->table->slots[slot]->chunk_count; i++)
            MG_TRY(add_keys(run, slot, i, err));
    mg_assert(run->lookup.count == run->row_count);
    mg_lookup__order(&run->lookup);
    return MG_OK;
}

/* A frozen chunk's columns. */
static void show_chunk(struct run *run, uint64_t place)
{
    const struct mg_wsegment *segment = run->table->slots[place >> 32];
    const struct mg_chunk *chunk = segment->chunks[(uint32_t)place / MG_CHUNK_ROWS];
    for (uint32_t c = 0; c < run->schema->column_count; c++) {
        const struct mg_chunk_column *column = &chunk->columns[c];
        run->vectors[c] = (struct mg_vector){
            .type = run->types[c],
            .row_count = chunk->row_count,
            .null_count = column->null_count,
            .validity = column->null_count ? mg_buf_data(column->bits) : NULL,
            .values = mg_buf_data(column->values),
            .offsets = column->offsets ? (const int32_t *)(const void *)mg_buf_data(column->offsets) : NULL,
        };
    }
}

/* The rows of a batch, chunk by chunk; run->back says which is which. */
static enum mg_code gather(struct run *run, uint32_t count, struct mg_batch_builder *builder, struct mg_error *err)
{
    for (uint32_t first = 0, end; first < count; first = end) {
        uint64_t place = run->places[run->order[first] >> 32];
        for (end = first; end < count; end++) {
            uint64_t at = run->places[run->order[end] >> 32];
            if (at / MG_CHUNK_ROWS != place / MG_CHUNK_ROWS)
                break;
            run->rows[end - first] = (uint32_t)(at % MG_CHUNK_ROWS);
            run->back[(uint32_t)run->order[end]] = end;
        }
        show_chunk(run, place);
        for (uint32_t c = 0; c < run->schema->column_count; c++)
            MG_TRY(mg_builder_gather(builder, c, &run->vectors[c], run->rows, 0, end - first, err));
    }
    return MG_OK;
}

/* Rows [first, first + count) in the order of keys. */
static enum mg_code make_batch(struct run *run, uint32_t first, uint32_t count, struct mg_batch **out,
                               struct mg_error *err)
{
    struct mg_batch_builder builder;
    struct mg_budget *budget = &run->store->magic->flush_budget;
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *gathered = NULL;
    for (uint32_t i = 0; i < count; i++)
        run->order[i] = (uint64_t)run->lookup.items[first + i].at << 32 | i;
    mg_sort__u64(run->order, run->scratch, count);
    MG_TRY(mg_batch_builder_init(&builder, run->types, run->schema->column_count, budget, SIZE_MAX / 2, err));
    enum mg_code code = gather(run, count, &builder, err);
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, &gathered, err);
    mg_batch_builder_clear(&builder);
    MG_TRY(code);
    return mg_batch_select(gathered, run->back, count, budget, out, err);
}

static enum mg_code write_rows(struct run *run, struct mg_part_writer *writer, struct mg_error *err)
{
    for (uint32_t first = 0; first < run->row_count; first += ROWS_AT_ONCE) {
        struct mg_batch *batch;
        MG_TRY(make_batch(run, first, MG_MIN(run->row_count - first, (uint32_t)ROWS_AT_ONCE), &batch, err));
        enum mg_code code = mg_part_writer_append(writer, batch, err);
        mg_batch_unref(batch);
        MG_TRY(code);
    }
    return MG_OK;
}

static enum mg_code write_file(struct run *run, struct mg_error *err)
{
    struct mg_magic *magic = run->store->magic;
    struct mg_part_writer *writer;
    struct mg_part_summary summary;
    char path[MG_PATH_MAX];
    struct mg_part_writer_options options = {.io = magic->io,
                                             .budget = &magic->flush_budget,
                                             .rows_expected = run->row_count,
                                             .segment_id = run->segment_id};
    mg_path__part(magic->folder, run->segment_id, path);
    MG_TRY(mg_part_writer_open(path, run->schema, &options, &writer, err));
    enum mg_code code = write_rows(run, writer, err);
    if (code != MG_OK) {
        mg_part_writer_abort(writer);
        return code;
    }
    MG_TRY(mg_part_writer_finish(writer, &summary, err));
    atomic_fetch_add_explicit(&run->table->table->flow.flushed_bytes, summary.file_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&magic->keeping.flow.flushed_bytes, summary.file_bytes, memory_order_relaxed);
    mg_count(engine_flushed_bytes, summary.file_bytes);
    atomic_fetch_add_explicit(&magic->keeping.spill_count, 1, memory_order_relaxed);
    return MG_OK;
}

/* What cannot be removed is a file that nobody names: the next sweep, or the next start, removes it. */
static void remove_file(struct mg_magic *magic, uint32_t segment_id)
{
    char path[MG_PATH_MAX];
    mg_path__part(magic->folder, segment_id, path);
    (void)!magic->io->ops->unlink(magic->io, path, NULL);
    mg_named__remove(magic, segment_id);
}

/* The file joins the parts of the table. */
static enum mg_code add_part(struct run *run, struct mg_error *err)
{
    struct mg_part *part;
    struct mg_wpart *wpart;
    MG_TRY(mg_magic__open_part(run->store->magic, run->segment_id, &part, err));
    enum mg_code code = mg_wtable__add_part(run->table, part, NULL, &wpart, err);
    if (code != MG_OK) {
        mg_part_unref(part);
        return code;
    }
    wpart->is_staged = true;
    wpart->marks_epoch = run->store->epoch;
    return MG_OK;
}

static enum mg_code write_part(struct run *run, struct mg_error *err)
{
    struct mg_store *store = run->store;
    if (store->next_segment_id == UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "all %u segment numbers of this store are used", UINT32_MAX);
    run->segment_id = store->next_segment_id++;
    MG_TRY(order_rows(run, err));
    MG_TRY(mg_named__add(store->magic, run->segment_id, store->epoch + 1, err));
    enum mg_code code = write_file(run, err);
    if (code == MG_OK)
        code = add_part(run, err);
    if (code != MG_OK)
        remove_file(store->magic, run->segment_id);
    return code;
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */

static void run_free(struct run *run)
{
    if (!run)
        return;
    mg_lookup__clear(&run->lookup);
    free(run->places);
    free(run->types);
    free(run->vectors);
    mg_budget_release(&run->store->magic->flush_budget, run->reserved);
    free(run);
}

/* On failure, too, it is to be freed; *out may be NULL. */
static enum mg_code run_new(struct mg_store *store, struct mg_wtable *table, uint32_t first_slot, uint32_t end_slot,
                            struct run **out, struct mg_error *err)
{
    struct run *run = *out = calloc(1, sizeof *run);
    if (!run)
        return mg_fail(err, MG_NO_MEMORY, "no memory to sort staged rows");
    run->store = store;
    run->table = table;
    run->first_slot = first_slot;
    run->end_slot = end_slot;
    run->schema = table->slots[first_slot]->segment->schema;
    uint64_t keys = 0;
    for (uint32_t slot = first_slot; slot < end_slot; slot++) {
        run->row_count += living_count(table->slots[slot]);
        keys += key_bytes(table->slots[slot]);
    }
    size_t bytes = sizeof *run + (size_t)run->row_count * SORT_BYTES_PER_ROW + (size_t)keys * 2;
    MG_TRY(mg_budget_reserve(&store->magic->flush_budget, bytes, err));
    run->reserved = bytes;
    run->places = malloc(((size_t)run->row_count + 1) * sizeof *run->places);
    run->types = calloc((size_t)run->schema->column_count + 1, sizeof *run->types);
    run->vectors = calloc((size_t)run->schema->column_count + 1, sizeof *run->vectors);
    if (!run->places || !run->types || !run->vectors)
        return mg_fail(err, MG_NO_MEMORY, "no memory to sort %u staged rows", run->row_count);
    for (uint32_t c = 0; c < run->schema->column_count; c++)
        run->types[c] = run->schema->columns[c].type;
    return mg_lookup__init(&run->lookup, run->row_count, err);
}

static enum mg_code freeze(struct mg_wsegment *segment, struct mg_error *err)
{
    for (uint32_t i = 0; i < segment->chunk_count; i++)
        if (!segment->chunks[i]->frozen)
            MG_TRY(mg_chunk__freeze(&segment->chunks[i], segment->segment->schema,
                                    MG_MIN(segment->row_count - i * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS), err));
    return MG_OK;
}

static enum mg_code write_run(struct mg_store *store, struct mg_wtable *table, uint32_t first_slot, uint32_t end_slot,
                              struct mg_error *err)
{
    uint32_t living = 0;
    for (uint32_t slot = first_slot; slot < end_slot; slot++) {
        MG_TRY(freeze(table->slots[slot], err));
        living += living_count(table->slots[slot]);
    }
    if (living == 0)
        return MG_OK;
    struct run *run;
    mg_mutex_lock(&store->magic->parts);
    enum mg_code code = run_new(store, table, first_slot, end_slot, &run, err);
    if (code == MG_OK)
        code = write_part(run, err);
    run_free(run);
    mg_mutex_unlock(&store->magic->parts);
    if (code == MG_OK)
        MG_STOP("spill.written");
    return code;
}

/* Where the segments begin that only the staged epoch has. */
static uint32_t first_own_slot(const struct mg_wtable *table)
{
    uint32_t first = table->slot_count;
    while (first > 0 && table->slots[first - 1] && !table->slots[first - 1]->published)
        first--;
    return first;
}

/* Rows whose keys are sorted in one go. */
static uint64_t rows_at_once(const struct mg_magic *magic)
{
    size_t limit = magic->flush_bytes ? magic->flush_bytes : magic->budget.limit_bytes / FLUSH_SHARE;
    return MG_MAX((uint64_t)limit / SORT_SHARE / SORT_BYTES_PER_ROW, (uint64_t)SORT_ROWS_MIN);
}

static enum mg_code write_runs(struct mg_store *store, struct mg_wtable *table, uint32_t first_slot,
                               struct mg_error *err)
{
    struct mg_magic *magic = store->magic;
    for (uint32_t first = first_slot, end; first < table->slot_count;) {
        uint64_t rows_max = MG_MIN(rows_at_once(magic), magic->spill_rows_max);
        uint64_t rows = table->slots[first]->row_count, bytes = table->slots[first]->bytes;
        for (end = first + 1; end < table->slot_count; end++) {
            rows += table->slots[end]->row_count;
            bytes += table->slots[end]->bytes;
            if (rows > rows_max || bytes > magic->stage_bytes_max * 2)
                break;
        }
        struct mg_error story = MG_ERROR_INIT;
        enum mg_code code = write_run(store, table, first, end, &story);
        if (code == MG_NO_MEMORY && end - first > 1) { /* rows are wide: fewer of them, from now on */
            magic->spill_rows_max = (rows_max < rows ? rows_max : rows) / 2;
            continue;
        }
        if (code != MG_OK)
            return mg_fail(err, code, "%s", story.text);
        first = end;
    }
    return MG_OK;
}

/* ---- what is forgotten --------------------------------------------------------------------------------------- */

/* Rows of a chunk are in a part now: a look-up finds them there. */
static void forget_entries(struct mg_store *store, struct mg_wtable *table, uint32_t slot, uint32_t chunk)
{
    const struct mg_wsegment *segment = table->slots[slot];
    const struct mg_schema *schema = segment->segment->schema;
    uint32_t row_count = MG_MIN(segment->row_count - chunk * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint64_t hashes[MG_CHUNK_ROWS], mask[MG_CHUNK_ROWS / 64];
    mg_keys__of_chunk(segment->chunks[chunk], schema, row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    mg_keys__hash(keys, schema->key_count, store->hash_seed, hashes, row_count);
    living_rows(segment, chunk, mask);
    for (uint32_t row = 0; row < row_count; row++) {
        uint32_t hash = (uint32_t)(hashes[row] >> 32);
        if (!(mask[row / 64] >> (row % 64) & 1))
            continue;
        struct mg_place place = {slot, chunk * MG_CHUNK_ROWS + row};
        struct mg_index_entry *entry = mg_index__find_place(&table->index, hash, place);
        mg_assert(entry);
        mg_index__remove(&table->index, entry, hash);
    }
}

/* Taken back in reverse, the list must lead from the index without the own segments to what it was: a place in one of
 * them counts as none, and a step from none to none is no step. */
static void shorten_undo(struct mg_wtable *table, uint32_t own)
{
    struct mg_undo_list *undo = &table->undo;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < undo->count; i++) {
        struct mg_undo step = undo->items[i];
        if (step.added.slot != MG_NO_SLOT && step.added.slot >= own)
            step.added = (struct mg_place){MG_NO_SLOT, 0};
        if (step.removed.slot != MG_NO_SLOT && step.removed.slot >= own)
            step.removed = (struct mg_place){MG_NO_SLOT, 0};
        if (step.added.slot != MG_NO_SLOT || step.removed.slot != MG_NO_SLOT)
            undo->items[kept++] = step;
    }
    undo->count = kept;
}

static void forget_segment(struct mg_store *store, struct mg_wtable *table, uint32_t slot)
{
    struct mg_wsegment *segment = table->slots[slot];
    for (uint32_t i = 0; i < segment->chunk_count; i++)
        forget_entries(store, table, slot, i);
    mg_marks_file__free(segment->deleted.marks);
    segment->deleted.marks = NULL;
    mg_wtable__free_segment(segment);
}

enum mg_code mg_wtable__spill(struct mg_store *store, struct mg_wtable *table, struct mg_error *err)
{
    uint32_t own = first_own_slot(table);
    MG_TRY(write_runs(store, table, own, err));
    while (table->slot_count > own) {
        forget_segment(store, table, table->slot_count - 1);
        table->slot_count--;
    }
    shorten_undo(table, own);
    table->marked.count = 0;
    table->is_spilled = true;
    MG_STOP("spill.staged");
    return MG_OK;
}

uint64_t mg_wtable__staged_bytes(const struct mg_wtable *table)
{
    uint64_t bytes = (uint64_t)table->marked.count * MG_STAGED_ROW_BYTES;
    if (!table->staged)
        return 0;
    for (uint32_t slot = first_own_slot(table); slot < table->slot_count; slot++)
        bytes += table->slots[slot]->bytes;
    return bytes;
}

void mg_wtable__drop_staged_parts(struct mg_store *store, struct mg_wtable *table)
{
    mg_mutex_lock(&store->magic->publish);
    bool stopped = store->magic->stopped; /* the group that names them may be durable */
    mg_mutex_unlock(&store->magic->publish);
    while (table->part_count && table->parts[table->part_count - 1] && table->parts[table->part_count - 1]->is_staged) {
        struct mg_wpart *part = table->parts[--table->part_count];
        uint32_t segment_id = mg_part_segment_id(part->part);
        mg_wtable__free_part(part);
        if (!stopped)
            remove_file(store->magic, segment_id);
    }
}

/* ---- for the WAL --------------------------------------------------------------------------------------------- */

static bool is_dead(const struct mg_wpart *part)
{
    return part->deleted.marks && part->deleted.marks->dead_count == mg_part_row_count(part->part);
}

static int compare_parts(const void *a, const void *b)
{
    uint32_t x = ((const struct mg_wal_part *)a)->segment_id, y = ((const struct mg_wal_part *)b)->segment_id;
    return (x > y) - (x < y);
}

enum mg_code mg_store__staged_parts(const struct mg_store *store, struct mg_wal_part **out, uint32_t *out_count,
                                    struct mg_error *err)
{
    struct mg_wal_part *parts = NULL;
    uint32_t count = 0, room = 0;
    for (uint32_t t = 0; t < store->table_count; t++) {
        const struct mg_wtable *table = store->tables[t];
        for (uint32_t i = table->part_count; i-- > 0 && table->parts[i] && table->parts[i]->is_staged;) {
            if (is_dead(table->parts[i])) /* no view shows it */
                continue;
            enum mg_code code = mg_list__reserve(&parts, &room, count, 1, sizeof *parts, err);
            if (code != MG_OK) {
                free(parts);
                return code;
            }
            const struct mg_part *part = table->parts[i]->part;
            parts[count++] = (struct mg_wal_part){.table_id = table->table->id,
                                                  .file_bytes = mg_part_file_bytes(part),
                                                  .segment_id = mg_part_segment_id(part),
                                                  .row_count = mg_part_row_count(part)};
        }
    }
    if (count)
        qsort(parts, count, sizeof *parts, compare_parts);
    *out = parts;
    *out_count = count;
    return MG_OK;
}

/* What a granule has more than the published one; false: nothing. */
static bool new_marks(const struct mg_store *store, const struct mg_wmarks *deleted, uint32_t granule,
                      uint64_t words[MG_CHUNK_ROWS / 64])
{
    const struct mg_mark_version *now = mg_marks__granule(deleted->marks, granule);
    const struct mg_mark_version *before = mg_marks__granule(deleted->published, granule);
    uint64_t lives[MG_CHUNK_ROWS / 64], any = 0;
    if (!now || now == before || now->epoch != store->epoch + 1)
        return false;
    memset(words, 0xff, MG_CHUNK_ROWS / 8);
    memset(lives, 0xff, sizeof lives);
    if (before)
        mg_mark_version__mask(before, words, MG_CHUNK_ROWS);
    mg_mark_version__mask(now, lives, MG_CHUNK_ROWS);
    for (uint32_t i = 0; i < MG_CHUNK_ROWS / 64; i++)
        any |= words[i] &= ~lives[i];
    return any != 0;
}

static enum mg_code encode_granule(struct mg_wal_builder *builder, uint32_t segment_id, uint32_t granule,
                                   const uint64_t words[MG_CHUNK_ROWS / 64], struct mg_error *err)
{
    uint32_t rows[MG_CHUNK_ROWS];
    uint64_t places[LIST_AT_MOST];
    uint32_t count = mg_mask_rows(words, MG_CHUNK_ROWS, rows);
    if (count > LIST_AT_MOST)
        return mg_wal_builder__bitmap(builder, segment_id, granule, words, err);
    for (uint32_t i = 0; i < count; i++)
        places[i] = granule * MG_CHUNK_ROWS + rows[i];
    return mg_wal_builder__marks(builder, segment_id, places, count, err);
}

/* Of one segment or part; builder NULL: they are only counted. */
static enum mg_code tell_marks(const struct mg_store *store, const struct mg_wmarks *deleted, uint32_t segment_id,
                               struct mg_wal_builder *builder, uint32_t *count, struct mg_error *err)
{
    uint64_t words[MG_CHUNK_ROWS / 64];
    for (uint32_t g = 0; deleted->staged && g < deleted->marks->granule_count; g++) {
        if (!new_marks(store, deleted, g, words))
            continue;
        ++*count;
        if (builder)
            MG_TRY(encode_granule(builder, segment_id, g, words, err));
    }
    return MG_OK;
}

static enum mg_code tell_all_marks(const struct mg_store *store, const struct mg_wtable *table,
                                   struct mg_wal_builder *builder, uint32_t *count, struct mg_error *err)
{
    for (uint32_t slot = 0; slot < table->slot_count; slot++)
        if (table->slots[slot])
            MG_TRY(
                tell_marks(store, &table->slots[slot]->deleted, table->slots[slot]->segment->id, builder, count, err));
    for (uint32_t i = 0; i < table->part_count; i++) {
        const struct mg_wpart *part = table->parts[i];
        if (part && !(part->is_staged && is_dead(part)))
            MG_TRY(tell_marks(store, &part->deleted, mg_part_segment_id(part->part), builder, count, err));
    }
    return MG_OK;
}

uint32_t mg_wtable__count_marks(const struct mg_store *store, const struct mg_wtable *table)
{
    uint32_t count = 0;
    enum mg_code code = tell_all_marks(store, table, NULL, &count, NULL);
    mg_assert(code == MG_OK);
    return count;
}

enum mg_code mg_wtable__encode_marks(const struct mg_store *store, const struct mg_wtable *table,
                                     struct mg_wal_builder *builder, struct mg_error *err)
{
    uint32_t count = 0;
    return tell_all_marks(store, table, builder, &count, err);
}
