/* replay.c -- groups of the WAL applied to a store that no view shows yet: at open, and for old epochs.
 *
 * A store that was loaded from a manifest gets groups up to the manifest's epoch in part only (base_state.c). Rows go
 * to the places that a group names and marks are set where it names them; no key is looked up. The index is filled
 * once, at the end, with the live rows. A group may pass its checksum and still be hostile: whatever does not fit what
 * is there is MG_CORRUPT, and nothing is read or written outside of it.
 * Threads   one: the store is not shared yet.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/manifest.h"

/* ---- tables -------------------------------------------------------------------------------------------------- */

static enum mg_code check_run(const struct mg_schema *schema, const struct mg_wal_run *run, struct mg_error *err)
{
    if (run->column_count != schema->column_count)
        return mg_fail(err, MG_CORRUPT, "segment %u: rows of %u columns, the table has %u", run->segment_id,
                       run->column_count, schema->column_count);
    for (uint32_t c = 0; c < run->column_count; c++) {
        if (run->widths[c] != mg_type_width(schema->columns[c].type.id))
            return mg_fail(err, MG_CORRUPT, "segment %u: column %u is %u bytes wide, not %u", run->segment_id, c,
                           run->widths[c], mg_type_width(schema->columns[c].type.id));
        if (run->columns[c].bits && mg_schema_is_key(schema, c))
            return mg_fail(err, MG_CORRUPT, "segment %u: a NULL in the key", run->segment_id);
    }
    return MG_OK;
}

static int find_slot(const struct mg_wtable *table, uint32_t segment_id)
{
    for (uint32_t i = table->slot_count; i-- > 0;)
        if (table->slots[i]->segment->id == segment_id)
            return (int)i;
    return -1;
}

static int find_part(const struct mg_wtable *table, uint32_t segment_id)
{
    for (uint32_t i = table->part_count; i-- > 0;)
        if (mg_part_segment_id(table->parts[i]->part) == segment_id)
            return (int)i;
    return -1;
}

/* Rows to the end of a segment that is there. */
static enum mg_code append_run(struct mg_store *store, struct mg_wtable *table, struct mg_wsegment *segment,
                               const struct mg_schema *schema, const struct mg_wal_run *run, struct mg_error *err)
{
    if (run->first_row != segment->row_count || !mg_wtable__same_columns(segment->segment->schema, schema))
        return mg_fail(err, MG_CORRUPT, "segment %u gets rows from %u on, but ends at %u, or has other columns",
                       run->segment_id, run->first_row, segment->row_count);
    if (run->row_count == 0 || run->row_count > MG_CHUNK_ROWS - run->first_row % MG_CHUNK_ROWS ||
        run->first_row >= MG_SEGMENT_CHUNKS_ONCE * MG_CHUNK_ROWS)
        return mg_fail(err, MG_CORRUPT, "segment %u: %u rows from %u on do not lie in one chunk", run->segment_id,
                       run->row_count, run->first_row);
    uint64_t bytes = mg_wtable__fixed_row_bytes(schema) * run->row_count;
    for (uint32_t c = 0; c < run->column_count; c++)
        if (run->columns[c].offsets)
            bytes += (uint64_t)(run->columns[c].offsets[run->row_count] - run->columns[c].offsets[0]);
    MG_TRY(mg_wtable__append(store, table, segment, run->columns, NULL, run->row_count, bytes, err));
    table->live_count += run->row_count;
    return MG_OK;
}

enum mg_code mg_wtable__replay_run(struct mg_store *store, struct mg_wtable *table, struct mg_schema *schema,
                                   const struct mg_wal_run *run, struct mg_error *err)
{
    MG_TRY(check_run(schema, run, err));
    struct mg_wsegment *segment = mg_wtable__tail(table);
    if (!segment || segment->segment->id != run->segment_id) {
        /* The tables of a group got their segments in another order than they stand in it. */
        if (run->segment_id < store->group_segment_id || run->segment_id == UINT32_MAX ||
            find_slot(table, run->segment_id) >= 0 || find_part(table, run->segment_id) >= 0)
            return mg_fail(err, MG_CORRUPT, "segment %u gets rows, but the next new one is %u", run->segment_id,
                           store->group_segment_id);
        MG_TRY(mg_wtable__add_segment(table, run->segment_id, schema, &segment, err));
        segment->first_epoch = store->epoch + 1;
        store->next_segment_id = MG_MAX(store->next_segment_id, run->segment_id + 1);
    }
    return append_run(store, table, segment, schema, run, err);
}

#define NO_ROW UINT32_MAX
enum { PLACES_AT_ONCE = 1024 };

static bool has_bit(const uint8_t *bits, uint32_t at) { return bits[at / 8] >> (at % 8) & 1; }

/* The highest row; NO_ROW when there is none. */
static uint32_t last_row(const struct mg_wal_marks *marks)
{
    if (!marks->bitmap)
        return marks->count ? marks->rows[marks->count - 1] : NO_ROW;
    for (uint32_t at = MG_CHUNK_ROWS; at-- > 0;)
        if (has_bit(marks->bitmap, at))
            return marks->granule * MG_CHUNK_ROWS + at;
    return NO_ROW;
}

/* Places of some rows from the cursor on, which begins with 0; returns how many, 0 at the end. */
static uint32_t next_places(const struct mg_wal_marks *marks, uint64_t place, uint32_t *cursor,
                            uint64_t places[PLACES_AT_ONCE])
{
    uint32_t n = 0, end = marks->bitmap ? (uint32_t)MG_CHUNK_ROWS : marks->count;
    for (; n < PLACES_AT_ONCE && *cursor < end; ++*cursor) {
        if (!marks->bitmap)
            places[n++] = place | marks->rows[*cursor];
        else if (has_bit(marks->bitmap, *cursor))
            places[n++] = place | (marks->granule * MG_CHUNK_ROWS + *cursor);
    }
    return n;
}

enum mg_code mg_wtable__replay_marks(struct mg_store *store, struct mg_wtable *table, const struct mg_wal_marks *marks,
                                     struct mg_error *err)
{
    int slot = find_slot(table, marks->segment_id), part = slot < 0 ? find_part(table, marks->segment_id) : -1;
    bool known = store->base != NULL;
    if (slot < 0 && part < 0)
        return known
                   ? MG_OK /* of a segment that was flushed or merged by the manifest's epoch */
                   : mg_fail(err, MG_CORRUPT, "marks for segment %u, which the table does not have", marks->segment_id);
    if (part >= 0 && store->epoch < table->parts[part]->marks_epoch)
        return MG_OK; /* they are in its marks file */
    uint32_t row_count = part < 0 ? table->slots[slot]->row_count : mg_part_row_count(table->parts[part]->part);
    uint64_t place = (uint64_t)(part < 0 ? (uint32_t)slot : MG_PART_SLOT + (uint32_t)part) << 32;
    uint32_t last = last_row(marks);
    if (last >= row_count && last != NO_ROW)
        return mg_fail(err, MG_CORRUPT, "a mark for row %u of segment %u, which has %u rows", last, marks->segment_id,
                       row_count);
    uint64_t places[PLACES_AT_ONCE];
    for (uint32_t cursor = 0, n; (n = next_places(marks, place, &cursor, places)) > 0;) {
        uint64_t marked;
        enum mg_code code = mg_wtable__mark(store, table, places, n, store->epoch + 1, true, &marked, err);
        table->live_count -= marked;
        if (code != MG_OK)
            return code;
    }
    return MG_OK;
}

static enum mg_code index_chunk(struct mg_wtable *table, uint32_t slot, uint32_t chunk, uint64_t seed, uint64_t *hashes,
                                struct mg_error *err)
{
    const struct mg_wsegment *segment = table->slots[slot];
    const struct mg_schema *schema = segment->segment->schema;
    uint32_t row_count = MG_MIN(segment->row_count - chunk * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    mg_keys__of_chunk(segment->chunks[chunk], schema, row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    mg_keys__hash(keys, schema->key_count, seed, hashes, row_count);
    uint64_t mask[MG_CHUNK_ROWS / 64];
    memset(mask, 0xff, sizeof mask);
    const struct mg_mark_version *version = mg_marks__granule(segment->deleted.marks, chunk);
    if (version)
        mg_mark_version__mask(version, mask, row_count);
    for (uint32_t row = 0; row < row_count; row++) {
        struct mg_place place = {slot, chunk * MG_CHUNK_ROWS + row};
        if (mask[row / 64] >> (row % 64) & 1)
            MG_TRY(mg_index__insert(&table->index, (uint32_t)(hashes[row] >> 32), place, err));
    }
    return MG_OK;
}

enum mg_code mg_wtable__fill_index(struct mg_store *store, struct mg_wtable *table, struct mg_error *err)
{
    uint64_t *hashes = malloc(MG_CHUNK_ROWS * sizeof *hashes);
    if (!hashes)
        return mg_fail(err, MG_NO_MEMORY, "no memory to index a table");
    enum mg_code code = MG_OK;
    for (uint32_t slot = 0; code == MG_OK && slot < table->slot_count; slot++)
        for (uint32_t i = 0; code == MG_OK && table->slots[slot] && i < table->slots[slot]->chunk_count; i++)
            code = index_chunk(table, slot, i, store->hash_seed, hashes, err);
    free(hashes);
    return code;
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static enum mg_code replay_source(struct mg_store *store, const struct mg_wal_group *group, struct mg_error *err)
{
    int at = mg_store__find_source(store, group->source);
    if (at < 0 && store->source_count == MG_SOURCES_MAX)
        return mg_fail(err, MG_CORRUPT, "source %s is one more than %d", group->source, MG_SOURCES_MAX);
    struct mg_source_state *source = &store->sources[at < 0 ? (int)store->source_count++ : at];
    if (group->watermark < source->watermark || group->generation < source->generation)
        return mg_fail(err, MG_CORRUPT, "source %s: its watermark or generation falls", group->source);
    memcpy(source->name, group->source, strlen(group->source) + 1);
    source->watermark = group->watermark;
    source->generation = group->generation;
    source->epoch = group->epoch;
    if (group->position.size)
        memcpy(source->position, group->position.data, group->position.size);
    source->position_size = (uint32_t)group->position.size;
    return MG_OK;
}

static void forget_table(struct mg_store *store, uint64_t table_id)
{
    for (uint32_t i = 0; i < store->table_count; i++) {
        if (store->tables[i]->table->id != table_id)
            continue;
        mg_wtable__free_marks(store, store->tables[i]);
        mg_wtable__free(store->tables[i]);
        store->table_count--;
        memmove(store->tables + i, store->tables + i + 1, (store->table_count - i) * sizeof(struct mg_wtable *));
        return;
    }
}

static enum mg_code replay_change(struct mg_store *store, const struct mg_wal_change *change, struct mg_error *err)
{
    struct mg_schema_change as_staged = {
        .kind = change->kind, .database = change->database, .schema = change->schema, .table_id = change->table_id};
    struct mg_catalog *next;
    enum mg_code code = mg_catalog__change(store->catalog, &as_staged, store->rows_budget, &next, err);
    if (code == MG_NO_MEMORY)
        return code;
    if (code != MG_OK) { /* what is refused in a request is damage in a file */
        if (err)
            err->code = MG_CORRUPT;
        return mg_fail_in(err, MG_CORRUPT, "a schema change that cannot have been");
    }
    mg_catalog__unref(store->catalog);
    store->catalog = next;
    if (change->kind == MG_SCHEMA_DROP_TABLE)
        forget_table(store, change->table_id);
    if (change->kind == MG_SCHEMA_PUT_TABLE) {
        store->next_table_id = MG_MAX(store->next_table_id, change->schema->table_id + 1);
        store->next_version = MG_MAX(store->next_version, change->schema->version + 1);
    }
    return MG_OK;
}

static enum mg_code replay_table(struct mg_store *store, const struct mg_wal_table *in, struct mg_error *err)
{
    int at = mg_catalog__find_id(store->catalog, in->table_id);
    struct mg_table_view *view = at < 0 ? NULL : store->catalog->tables[at];
    if (!view || view->schema->version != in->schema_version || view->schema->state != MG_STATE_OK)
        return mg_fail(err, MG_CORRUPT, "rows for table %llu with schema version %llu, which is not there",
                       (unsigned long long)in->table_id, (unsigned long long)in->schema_version);
    struct mg_wtable *table;
    MG_TRY(mg_store__wtable(store, view->table, &table, err));
    table->staged = true;
    for (uint32_t i = 0; i < in->run_count; i++)
        MG_TRY(mg_wtable__replay_run(store, table, view->schema, &in->runs[i], err));
    for (uint32_t i = 0; i < in->marks_count; i++)
        MG_TRY(mg_wtable__replay_marks(store, table, &in->marks[i], err));
    return MG_OK;
}

static enum mg_code check_part(const struct mg_part *part, const struct mg_wal_part *in, const struct mg_schema *schema,
                               struct mg_error *err)
{
    if (mg_part_row_count(part) == in->row_count && mg_part_file_bytes(part) == in->file_bytes &&
        mg_wtable__same_columns(mg_part_schema(part), schema))
        return MG_OK;
    return mg_fail(err, MG_CORRUPT, "segment %u has %u rows in %llu bytes or other columns, the WAL says %u in %llu",
                   in->segment_id, mg_part_row_count(part), (unsigned long long)mg_part_file_bytes(part), in->row_count,
                   (unsigned long long)in->file_bytes);
}

/* A file that was durable before the group was written. */
static enum mg_code open_part(struct mg_store *store, const struct mg_wal_part *in, const struct mg_schema *schema,
                              struct mg_part **out, struct mg_error *err)
{
    enum mg_code code = mg_magic__open_part(store->magic, in->segment_id, out, err);
    if (code == MG_NOT_FOUND) {
        if (err)
            err->code = MG_CORRUPT;
        return mg_fail_in(err, MG_CORRUPT, "a part that the WAL names");
    }
    MG_TRY(code);
    code = check_part(*out, in, schema, err);
    if (code != MG_OK)
        mg_part_unref(*out);
    return code;
}

/* A part that came with the epoch: it is there before marks of the same group are set in it. */
static enum mg_code replay_part(struct mg_store *store, const struct mg_wal_part *in, struct mg_error *err)
{
    int at = mg_catalog__find_id(store->catalog, in->table_id);
    struct mg_table_view *view = at < 0 ? NULL : store->catalog->tables[at];
    if (!view || view->schema->state != MG_STATE_OK)
        return mg_fail(err, MG_CORRUPT, "segment %u is a part of table %llu, which is not there", in->segment_id,
                       (unsigned long long)in->table_id);
    if (in->segment_id < store->group_segment_id || in->segment_id == UINT32_MAX)
        return mg_fail(err, MG_CORRUPT, "segment %u comes as a part, but the next new one is %u", in->segment_id,
                       store->group_segment_id);
    struct mg_wtable *table;
    struct mg_part *part;
    struct mg_wpart *wpart;
    MG_TRY(mg_store__wtable(store, view->table, &table, err));
    MG_TRY(open_part(store, in, view->schema, &part, err));
    enum mg_code code = mg_wtable__add_part(table, part, NULL, &wpart, err);
    if (code != MG_OK) {
        mg_part_unref(part);
        return code;
    }
    wpart->marks_epoch = store->epoch;
    table->staged = true;
    table->live_count += in->row_count;
    store->next_segment_id = MG_MAX(store->next_segment_id, in->segment_id + 1);
    return MG_OK;
}

/* A table's rows and marks of an epoch that the manifest knows: only what it lists is still to be filled. */
static enum mg_code replay_known(struct mg_store *store, const struct mg_wal_table *in, struct mg_error *err)
{
    struct mg_wtable *table = mg_store__find_wtable(store, in->table_id);
    if (!table)
        return MG_OK;
    for (uint32_t i = 0; i < in->run_count; i++) {
        int slot = find_slot(table, in->runs[i].segment_id);
        if (slot < 0)
            continue;
        struct mg_wsegment *segment = table->slots[slot];
        MG_TRY(check_run(segment->segment->schema, &in->runs[i], err));
        MG_TRY(append_run(store, table, segment, segment->segment->schema, &in->runs[i], err));
    }
    for (uint32_t i = 0; i < in->marks_count; i++)
        MG_TRY(mg_wtable__replay_marks(store, table, &in->marks[i], err));
    return MG_OK;
}

static enum mg_code replay_base(struct mg_store *store, const struct mg_wal_group *group, struct mg_error *err)
{
    for (uint32_t i = 0; i < group->table_count; i++)
        MG_TRY(replay_known(store, &group->tables[i], err));
    return MG_OK;
}

static enum mg_code replay_parts(struct mg_store *store, const struct mg_wal_group *group, struct mg_error *err)
{
    MG_TRY(replay_source(store, group, err));
    for (uint32_t i = 0; i < group->change_count; i++)
        MG_TRY(replay_change(store, &group->changes[i], err));
    for (uint32_t i = 0; i < group->part_count; i++)
        MG_TRY(replay_part(store, &group->parts[i], err));
    for (uint32_t i = 0; i < group->table_count; i++)
        MG_TRY(replay_table(store, &group->tables[i], err));
    return MG_OK;
}

enum mg_code mg_store__replay(struct mg_store *store, const struct mg_wal_group *group, struct mg_error *err)
{
    if (group->epoch != store->epoch + 1)
        return mg_fail(err, MG_CORRUPT, "epoch %llu follows epoch %llu", (unsigned long long)group->epoch,
                       (unsigned long long)store->epoch);
    store->group_segment_id = store->next_segment_id;
    enum mg_code code = store->base ? replay_base(store, group, err) : replay_parts(store, group, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "epoch %llu of the WAL", (unsigned long long)group->epoch);
    store->epoch = group->epoch;
    return store->base && store->epoch == store->base->epoch ? mg_store__check_base(store, err) : MG_OK;
}

enum mg_code mg_store__finish_replay(struct mg_store *store, struct mg_error *err)
{
    struct mg_catalog *catalog;
    struct mg_garbage *unseen;
    struct mg_view *view = NULL;
    MG_TRY(mg_store__next_catalog(store, store->catalog, &catalog, err));
    enum mg_code code = mg_garbage__take(store, &unseen, err);
    if (code == MG_OK) {
        code = mg_view__new(store, store->epoch, catalog, store->source_count, &view, err);
        if (code != MG_OK)
            free(unseen); /* its versions are still in the tables' marks */
    }
    if (code != MG_OK) {
        mg_catalog__unref(catalog);
        return code;
    }
    mg_store__committed(store, catalog);
    mg_garbage__free(store, unseen);
    mg_catalog__unref(catalog);
    for (uint32_t i = 0; code == MG_OK && !store->is_private && i < store->table_count; i++)
        code = mg_wtable__fill_index(store, store->tables[i], err);
    if (code != MG_OK) {
        mg_view__discard(view);
        return code;
    }
    uint64_t delta_bytes = mg_store__delta_bytes(store);
    mg_mutex_lock(&store->magic->publish);
    store->delta_bytes = delta_bytes;
    struct mg_view *before = mg_view__swap(store, view, NULL);
    mg_mutex_unlock(&store->magic->publish);
    mg_assert(!before);
    return MG_OK;
}

static enum mg_code replay_bytes(struct mg_store *store, struct mg_slice bytes, mg_replayed_fn *seen, void *arg,
                                 struct mg_arena *arena, struct mg_error *err)
{
    struct mg_wal_group group;
    mg_arena_reset(arena);
    MG_TRY(mg_wal_group__decode(bytes, arena, &group, err));
    enum mg_code code = mg_store__replay(store, &group, err);
    if (code == MG_OK && seen)
        code = seen(arg, &group, err);
    mg_wal_group__clear(&group);
    return code;
}

enum mg_code mg_store__replay_wal(struct mg_store *store, struct mg_journal *journal, uint64_t last,
                                  mg_replayed_fn *seen, void *arg, struct mg_error *err)
{
    if (store->base && store->epoch == store->base->epoch) /* nothing that it lists is in the WAL alone */
        MG_TRY(mg_store__check_base(store, err));
    if (last == store->epoch)
        return MG_OK;
    MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *cursor = NULL;
    MG_TRY(mg_journal_cursor_open(journal, store->epoch + 1, &cursor, err));
    struct mg_arena arena;
    mg_arena_init(&arena, SIZE_MAX / 2);
    enum mg_code code = MG_OK;
    while (code == MG_OK && store->epoch < last) {
        uint64_t seq;
        struct mg_slice bytes;
        code = mg_journal_cursor_next(cursor, &seq, &bytes, err);
        if (code == MG_NOT_FOUND)
            code = mg_fail(err, MG_CORRUPT, "the WAL ends at epoch %llu, before epoch %llu",
                           (unsigned long long)store->epoch, (unsigned long long)last);
        if (code == MG_OK)
            code = replay_bytes(store, bytes, seen, arg, &arena, err);
    }
    mg_arena_clear(&arena);
    return code;
}
