/* put.c -- steps (1) to (3) of an epoch: a batch of changes becomes staged rows, marks and index entries.
 *
 * (1) Keys are hashed, and the last change per key of the batch is kept. (2) Its rows are appended behind the visible
 * ones, column by column. (3) Each key is looked up: the index leads to the old row, which gets a mark, and now leads
 * to the new one. Rows come before look-ups because a look-up compares with stored rows, also with those of its own
 * batch. A key that an earlier put of the same epoch changed is found like any other: its staged row gets a mark.
 * Checks    INSERT expects no row, UPDATE and DELETE one: the look-up knows anyway, so violations are counted
 *           (verify.c).
 * Errors    MG_NO_MEMORY; what is staged by then is for mg_wtable__abort.
 * Threads   the writer.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { LOOKUPS_AT_ONCE = 16, SCRATCH_KEPT = 8 << 20 };
static const struct mg_place nowhere = {MG_NO_SLOT, 0};

/* ---- the batch ----------------------------------------------------------------------------------------------- */

/* What a batch says about one key: its last change, and the first, which says what must have been there. */
struct key_change {
    uint32_t hash, first_row;
    uint32_t row : 30, last_op : 2; /* batches have at most MG_BATCH_ROWS_MAX rows */
};

/* One put. Pointers borrow the store's scratch. */
struct put {
    struct mg_store *store;
    struct mg_wtable *table;
    struct mg_schema *schema;
    const struct mg_changes *changes;
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    uint32_t row_count;
    uint64_t *hashes; /* row_count */
    uint32_t *seen;   /* seen_room: 1 + place in changed, by hash; 0 = free */
    uint32_t seen_room;
    struct key_change *changed; /* row_count */
    uint32_t changed_count;
    uint32_t *take; /* rows of the batch to append */
    uint32_t take_count;
    struct mg_place *places; /* where they went */
    uint64_t *marks, *marks_scratch;
    uint32_t mark_count;
    struct mg_checking checking;
    struct mg_place *in_parts; /* by place in changed: the living row, if it is in a part; NULL while the table has none
                                */
};

static enum mg_code get_scratch(struct put *put, struct mg_error *err)
{
    struct mg_store *store = put->store;
    size_t n = put->row_count;
    put->seen_room = 16;
    while (put->seen_room < n * 2)
        put->seen_room *= 2;
    size_t bytes = n * (sizeof *put->hashes + sizeof *put->marks + sizeof *put->marks_scratch + sizeof *put->places +
                        sizeof *put->changed + sizeof *put->take) +
                   put->seen_room * sizeof *put->seen;
    if (bytes > store->scratch_bytes) {
        mg_store__free_scratch(store);
        MG_TRY(mg_budget_reserve(store->rows_budget, bytes, err));
        store->scratch = malloc(bytes);
        if (!store->scratch) {
            mg_budget_release(store->rows_budget, bytes);
            return mg_fail(err, MG_NO_MEMORY, "no memory to stage %zu rows", n);
        }
        store->scratch_bytes = bytes;
    }
    /* Largest alignment first. */
    put->hashes = store->scratch;
    put->marks = put->hashes + n;
    put->marks_scratch = put->marks + n;
    put->places = (struct mg_place *)(put->marks_scratch + n);
    put->changed = (struct key_change *)(put->places + n);
    put->take = (uint32_t *)(put->changed + n);
    put->seen = put->take + n;
    memset(put->seen, 0, put->seen_room * sizeof *put->seen);
    return MG_OK;
}

/* Keep the last change per key. What contradicts the batch's own order is counted here, the first change of a key
 * later. */
static void keep_last(struct put *put)
{
    uint32_t key_count = put->schema->key_count, mask = put->seen_room - 1;
    for (uint32_t row = 0; row < put->row_count; row++) {
        uint32_t hash = (uint32_t)(put->hashes[row] >> 32), at = hash & mask;
        uint8_t op = put->changes->ops[row];
        struct key_change *change = NULL;
        for (; put->seen[at]; at = (at + 1) & mask) {
            struct key_change *candidate = &put->changed[put->seen[at] - 1];
            if (candidate->hash == hash && mg_keys__equal(put->keys, candidate->row, put->keys, row, key_count)) {
                change = candidate;
                break;
            }
        }
        if (!change) {
            put->changed[put->changed_count++] = (struct key_change){hash, row, row, op};
            put->seen[at] = put->changed_count;
            continue;
        }
        bool is_there = change->last_op != MG_CHANGE_DELETE;
        if ((op == MG_CHANGE_INSERT) == is_there)
            mg_checking__note(&put->checking, row, is_there);
        if (is_there && put->changes->old)
            mg_checking__compare(&put->checking, mg_checking__image(&put->checking, row),
                                 (struct mg_place){MG_NO_SLOT, change->row});
        change->row = row;
        change->last_op = op;
    }
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* The offsets of a batch's text columns. */
struct texts {
    uint32_t count;
    const int32_t **offsets;
};

static uint64_t row_text_bytes(const struct texts *texts, uint32_t row)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < texts->count; i++)
        bytes += (uint64_t)(texts->offsets[i][row + 1] - texts->offsets[i][row]);
    return bytes;
}

/* How many of the rows fit into room bytes; *out_bytes is what they take. */
static uint32_t rows_that_fit(const struct texts *texts, uint64_t fixed_bytes, const uint32_t *rows, uint32_t count,
                              uint64_t room, uint64_t *out_bytes)
{
    uint64_t bytes = 0;
    uint32_t n = 0;
    for (; n < count; n++) {
        uint64_t more = fixed_bytes + row_text_bytes(texts, rows[n]);
        if (bytes + more > room)
            break;
        bytes += more;
    }
    *out_bytes = bytes;
    return n;
}

/* The segment that the next row goes to: the last one while it has room and the right columns, else a new one. */
static enum mg_code open_segment(struct put *put, bool force_new, struct mg_wsegment **out, struct mg_error *err)
{
    struct mg_wsegment *tail = mg_wtable__tail(put->table);
    if (tail && !tail->sealed && !force_new && tail->bytes < put->store->magic->segment_bytes_max &&
        tail->row_count < MG_SEGMENT_CHUNKS_MAX * MG_CHUNK_ROWS &&
        mg_wtable__same_columns(tail->segment->schema, put->schema)) {
        *out = tail;
        return MG_OK;
    }
    if (put->store->next_segment_id == UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "all %u segment numbers of this store are used", UINT32_MAX);
    MG_TRY(mg_wtable__add_segment(put->table, put->store->next_segment_id, put->schema, out, err));
    (*out)->first_epoch = put->store->epoch + 1;
    if (tail)
        tail->sealed = true;
    put->store->next_segment_id++;
    return MG_OK;
}

static void note_places(struct put *put, uint32_t first, uint32_t count, uint32_t row)
{
    uint32_t slot = put->table->slot_count - 1;
    for (uint32_t i = 0; i < count; i++)
        put->places[first + i] = (struct mg_place){slot, row + i};
}

static enum mg_code append_rows(struct put *put, struct mg_error *err)
{
    const struct mg_batch *batch = put->changes->rows;
    uint64_t fixed_bytes = mg_wtable__fixed_row_bytes(put->schema);
    struct mg_chunk_source *columns = calloc(batch->column_count, sizeof *columns);
    struct texts texts = {.offsets = calloc(batch->column_count, sizeof(const int32_t *))};
    if (!columns || !texts.offsets) {
        free(columns);
        free(texts.offsets);
        return mg_fail(err, MG_NO_MEMORY, "no memory to stage %u columns", batch->column_count);
    }
    for (uint32_t c = 0; c < batch->column_count; c++) {
        if (batch->vectors[c].offsets)
            texts.offsets[texts.count++] = batch->vectors[c].offsets;
        columns[c] = (struct mg_chunk_source){.values = batch->vectors[c].values,
                                              .offsets = batch->vectors[c].offsets,
                                              .bits = batch->vectors[c].null_count ? batch->vectors[c].validity : NULL};
    }
    enum mg_code code = MG_OK;
    bool force_new = false;
    for (uint32_t done = 0; code == MG_OK && done < put->take_count;) {
        struct mg_wsegment *segment;
        code = open_segment(put, force_new, &segment, err);
        if (code != MG_OK)
            break;
        const uint32_t *rows = put->take + done;
        uint32_t count = MG_MIN(put->take_count - done, MG_CHUNK_ROWS - segment->row_count % MG_CHUNK_ROWS);
        uint64_t bytes, most = put->store->magic->segment_bytes_max, room = most - MG_MIN(segment->bytes, most);
        count = rows_that_fit(&texts, fixed_bytes, rows, count, room, &bytes);
        force_new = count == 0 && segment->row_count > 0;
        if (force_new)
            continue;
        if (count == 0) { /* one row larger than a segment */
            count = 1;
            bytes = fixed_bytes + row_text_bytes(&texts, rows[0]);
        }
        uint32_t row = segment->row_count;
        code = mg_wtable__append(put->store, put->table, segment, columns, rows, count, bytes, err);
        if (code == MG_OK)
            note_places(put, done, count, row);
        done += count;
    }
    free(columns);
    free(texts.offsets);
    return code;
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

struct probe {
    const struct put *put;
    uint32_t row;
};

static bool stored_key_equal(const void *arg, struct mg_place place)
{
    const struct probe *probe = arg;
    const struct put *put = probe->put;
    const struct mg_wsegment *segment = put->table->slots[place.slot];
    if (!segment) /* it was flushed, and its entries are not all gone yet */
        return false;
    struct mg_vector stored[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    mg_keys__of_chunk(segment->chunks[place.row / MG_CHUNK_ROWS], segment->segment->schema, MG_CHUNK_ROWS, stored);
    for (uint32_t k = 0; k < put->schema->key_count; k++)
        keys[k] = &stored[k];
    return mg_keys__equal(put->keys, probe->row, keys, place.row % MG_CHUNK_ROWS, put->schema->key_count);
}

/* The same for a key of one column of 8 bytes that is compared by its bytes. */
static bool stored_u64_equal(const void *arg, struct mg_place place)
{
    const struct probe *probe = arg;
    const struct mg_wsegment *segment = probe->put->table->slots[place.slot];
    if (!segment)
        return false;
    const struct mg_chunk *chunk = segment->chunks[place.row / MG_CHUNK_ROWS];
    const uint64_t *stored = (const uint64_t *)mg_buf_data(
        chunk->columns[segment->segment->schema->key_columns[0]].values);
    return stored[place.row % MG_CHUNK_ROWS] == ((const uint64_t *)probe->put->keys[0]->values)[probe->row];
}

static mg_index_equal_fn *choose_equal(const struct put *put)
{
    if (put->schema->key_count == 1)
        switch (put->keys[0]->type.id) {
        case MG_TYPE_INT64:
        case MG_TYPE_UINT64:
        case MG_TYPE_DATETIME:
        case MG_TYPE_TIMESTAMP: return stored_u64_equal;
        default: break;
        }
    return stored_key_equal;
}

static void prefetch_entries(struct put *put, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        mg_index__prefetch(&put->table->index, put->changed[i].hash);
}

/* The stored keys that the entries lead to: a guess by the first entry alone. */
static void prefetch_keys(struct put *put, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        struct mg_index_shard *shard = mg_index__shard(&put->table->index, put->changed[i].hash);
        if (!shard->capacity)
            continue;
        const struct mg_index_entry *entry = &shard->entries[mg_index__start(shard, put->changed[i].hash)];
        if (entry->place.slot == MG_NO_SLOT || entry->hash != put->changed[i].hash)
            continue;
        const struct mg_wsegment *segment = put->table->slots[entry->place.slot];
        if (!segment)
            continue;
        const struct mg_schema *schema = segment->segment->schema;
        uint32_t column = schema->key_columns[0], width = mg_type_width(schema->columns[column].type.id);
        struct mg_buf *values = segment->chunks[entry->place.row / MG_CHUNK_ROWS]->columns[column].values;
        if (width)
            __builtin_prefetch(mg_buf_data(values) + entry->place.row % MG_CHUNK_ROWS * (size_t)width);
    }
}

/* `old_in_part` is where the row is if the index does not know the key. */
static enum mg_code apply_key(struct put *put, const struct key_change *change, struct mg_place new,
                              struct mg_place old_in_part, mg_index_equal_fn *equal, struct mg_error *err)
{
    struct mg_wtable *table = put->table;
    struct probe probe = {put, change->row};
    struct mg_index_entry *entry = mg_index__find(&table->index, change->hash, equal, &probe);
    struct mg_place indexed = entry ? entry->place : nowhere, old = entry ? entry->place : old_in_part;
    bool is_there = old.slot != MG_NO_SLOT;
    if ((put->changes->ops[change->first_row] == MG_CHANGE_INSERT) == is_there)
        mg_checking__note(&put->checking, change->first_row, is_there);
    if (is_there && put->changes->old)
        mg_checking__compare(&put->checking, mg_checking__image(&put->checking, change->first_row), old);
    if (entry && new.slot != MG_NO_SLOT)
        entry->place = new;
    else if (entry)
        mg_index__remove(&table->index, entry, change->hash);
    else if (new.slot != MG_NO_SLOT)
        MG_TRY(mg_index__insert(&table->index, change->hash, new, err));
    if (entry || new.slot != MG_NO_SLOT)
        table->undo.items[table->undo.count++] = (struct mg_undo){change->hash, new, indexed};
    if (old.slot != MG_NO_SLOT)
        put->marks[put->mark_count++] = (uint64_t)old.slot << 32 | old.row;
    return MG_OK;
}

static enum mg_code apply_keys(struct put *put, struct mg_error *err)
{
    mg_index_equal_fn *equal = choose_equal(put);
    uint32_t appended = 0;
    put->checking.next_image = 0;
    prefetch_entries(put, 0, MG_MIN(put->changed_count, (uint32_t)LOOKUPS_AT_ONCE));
    for (uint32_t first = 0; first < put->changed_count; first += LOOKUPS_AT_ONCE) {
        uint32_t end = MG_MIN(first + LOOKUPS_AT_ONCE, put->changed_count);
        prefetch_keys(put, first, end);
        prefetch_entries(put, end, MG_MIN(end + LOOKUPS_AT_ONCE, put->changed_count));
        for (uint32_t i = first; i < end; i++) {
            const struct key_change *change = &put->changed[i];
            struct mg_place new = change->last_op == MG_CHANGE_DELETE ? nowhere : put->places[appended++];
            struct mg_place in_part = put->in_parts ? put->in_parts[i] : nowhere;
            MG_TRY(apply_key(put, change, new, in_part, equal, err));
        }
    }
    return MG_OK;
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

static bool has_parts(const struct mg_wtable *table)
{
    for (uint32_t p = 0; p < table->part_count; p++)
        if (table->parts[p])
            return true;
    return false;
}

/* Keys that the index does not know may be in parts. */
static enum mg_code find_in_parts(struct put *put, uint32_t *rows, uint32_t *changed, struct mg_place *found,
                                  struct mg_error *err)
{
    mg_index_equal_fn *equal = choose_equal(put);
    uint32_t count = 0;
    prefetch_entries(put, 0, MG_MIN(put->changed_count, (uint32_t)LOOKUPS_AT_ONCE));
    for (uint32_t i = 0; i < put->changed_count; i++) {
        struct probe probe = {put, put->changed[i].row};
        uint32_t ahead = i + LOOKUPS_AT_ONCE;
        if (ahead < put->changed_count)
            prefetch_entries(put, ahead, ahead + 1);
        put->in_parts[i] = nowhere;
        if (mg_index__find(&put->table->index, put->changed[i].hash, equal, &probe))
            continue;
        rows[count] = put->changed[i].row;
        changed[count++] = i;
    }
    if (count == 0)
        return MG_OK;
    MG_TRY(mg_wtable__find_in_parts(put->table, put->keys, put->schema->key_count, rows, count, found, err));
    for (uint32_t i = 0; i < count; i++)
        put->in_parts[changed[i]] = found[i];
    return MG_OK;
}

static enum mg_code look_into_parts(struct put *put, struct mg_error *err)
{
    size_t n = put->changed_count;
    if (n == 0 || !has_parts(put->table))
        return MG_OK;
    struct mg_place *places = malloc(2 * n * sizeof *places);
    uint32_t *rows = malloc(2 * n * sizeof *rows);
    enum mg_code code = MG_NO_MEMORY;
    put->in_parts = places;
    if (places && rows)
        code = find_in_parts(put, rows, rows + n, places + n, err);
    else
        code = mg_fail(err, MG_NO_MEMORY, "no memory to look up %zu keys", n);
    free(rows);
    return code;
}

static enum mg_code mark_old(struct put *put, struct mg_error *err)
{
    struct mg_wtable *table = put->table;
    mg_sort__u64(put->marks, put->marks_scratch, put->mark_count);
    memcpy(table->marked.items + table->marked.count, put->marks, put->mark_count * sizeof *put->marks);
    table->marked.count += put->mark_count;
    uint64_t marked;
    enum mg_code code = mg_wtable__mark(put->store, table, put->marks, put->mark_count, put->store->epoch + 1, false,
                                        &marked, err);
    table->live_count -= marked;
    return code;
}

enum mg_code mg_wtable__put(struct mg_store *store, struct mg_wtable *table, struct mg_schema *schema,
                            const struct mg_changes *changes, struct mg_error *err)
{
    struct put put = {
        .store = store, .table = table, .schema = schema, .changes = changes, .row_count = changes->rows->row_count};
    MG_TRY(get_scratch(&put, err));
    MG_TRY(mg_wtable__reserve_lists(table, put.row_count, err));
    for (uint32_t k = 0; k < schema->key_count; k++)
        put.keys[k] = &changes->rows->vectors[schema->key_columns[k]];
    if (!table->staged) {
        table->staged = true;
        table->first_staged_slot = table->slot_count ? table->slot_count - 1 : 0;
    }
    mg_keys__hash(put.keys, schema->key_count, store->hash_seed, put.hashes, put.row_count);
    MG_TRY(mg_checking__begin(&put.checking, table, schema, changes, err));
    keep_last(&put);
    for (uint32_t i = 0; i < put.changed_count; i++)
        if (put.changed[i].last_op != MG_CHANGE_DELETE)
            put.take[put.take_count++] = put.changed[i].row;
    enum mg_code code = append_rows(&put, err);
    if (code == MG_OK) {
        table->live_count += put.take_count;
        code = look_into_parts(&put, err);
    }
    if (code == MG_OK)
        code = apply_keys(&put, err);
    if (code == MG_OK)
        code = mg_checking__end(&put.checking, table, store->epoch + 1, err);
    mg_checking__clear(&put.checking);
    free(put.in_parts);
    return code == MG_OK ? mark_old(&put, err) : code;
}
