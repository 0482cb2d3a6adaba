/* find.c -- rows by key, for readers: which keys are there at a snapshot, and chosen columns of their rows.
 *
 *     keys --sorted--> chunks in memory, newest first (key_table.c) --> parts, newest first (part_lookup.c) --> places
 *     places, source by source --column by column--> one batch
 *
 * A key may have older rows beside the living one, all of them marked, so what is found counts only without a mark.
 * Open     chunks have no table; their visible rows are compared one by one: numbers as numbers, others encoded.
 * Memory   keys and places are reserved in the reader's budget; tables of chunks are the chunks'.
 * Errors   those of the parts; MG_NO_MEMORY.
 * Threads  the reader's; it takes no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "engine/magic/magic_internal.h"
#include "engine/scan_spec.h"

enum { PROBES_AHEAD = 16, KEY_BYTES = 96 /* beside the key itself, about */, OUT_BYTES_MAX = INT32_MAX };

struct find {
    const struct mg_find_spec *spec;
    const struct mg_table_view *table;
    const struct mg_schema *schema;
    struct mg_budget *budget;
    struct mg_lookup lookup;
    struct mg_place *places; /* by sorted key; slot: of the view's segments, or MG_PART_SLOT + the part's */
    uint32_t found_count;
    struct mg_buffer key; /* of one stored row */
};

static struct mg_slice key_at(const struct find *find, uint32_t i)
{
    const uint32_t *offsets = find->lookup.offsets;
    return MG_SLICE(find->lookup.keys.data + offsets[i], offsets[i + 1] - offsets[i]);
}

static void note(struct find *find, uint32_t i, uint32_t slot, uint32_t row)
{
    find->places[i] = (struct mg_place){slot, row};
    find->lookup.rows[i] = row; /* parts are not asked for it any more */
    find->found_count++;
}

/* ---- chunks -------------------------------------------------------------------------------------------------- */

/* Some rows of a segment: one chunk's. */
struct granule {
    const struct mg_schema *schema;
    const struct mg_marks *marks;
    struct mg_chunk *chunk;
    uint32_t slot, first_row, row_count;
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
};

static enum mg_code has_key(struct find *find, const struct granule *granule, uint32_t row, struct mg_slice key,
                            bool *out, struct mg_error *err)
{
    mg_buffer_reset(&find->key);
    MG_TRY(mg_key_encode(granule->keys, granule->schema->key_count, row, &find->key, err));
    *out = mg_slice_equal(mg_buffer_slice(&find->key), key);
    return MG_OK;
}

/* The living row of key i by the chunk's table. */
static enum mg_code probe(struct find *find, const struct granule *granule, const struct mg_key_table *table,
                          uint32_t i, struct mg_error *err)
{
    uint64_t hash = find->lookup.hashes[i];
    for (uint32_t at = (uint32_t)hash % MG_KEY_TABLE_SLOTS; table->slots[at]; at = (at + 1) % MG_KEY_TABLE_SLOTS) {
        uint32_t row = (table->slots[at] & ((1 << 14) - 1)) - 1;
        bool same = false;
        if (table->slots[at] >> 14 != hash >> 46 || mg_marks__has(granule->marks, granule->first_row + row))
            continue;
        MG_TRY(has_key(find, granule, row, key_at(find, i), &same, err));
        if (!same)
            continue;
        note(find, i, granule->slot, granule->first_row + row);
        return MG_OK;
    }
    return MG_OK;
}

static enum mg_code probe_all(struct find *find, const struct granule *granule, const struct mg_key_table *table,
                              struct mg_error *err)
{
    uint32_t count = find->lookup.count;
    for (uint32_t i = 0; i < count; i++) {
        if (i + PROBES_AHEAD < count)
            __builtin_prefetch(&table->slots[find->lookup.hashes[i + PROBES_AHEAD] % MG_KEY_TABLE_SLOTS]);
        if (find->places[i].slot == MG_NO_SLOT)
            MG_TRY(probe(find, granule, table, i, err));
    }
    return MG_OK;
}

/* The sorted key that equals this one, or the count. */
static uint32_t position_of(const struct find *find, struct mg_slice key)
{
    uint32_t low = 0, high = find->lookup.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (mg_slice_compare(key_at(find, middle), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < find->lookup.count && mg_slice_equal(key_at(find, low), key) ? low : find->lookup.count;
}

/* Every row of a chunk without a table, against all keys. */
static enum mg_code compare_all(struct find *find, const struct granule *granule, struct mg_error *err)
{
    for (uint32_t row = 0; row < granule->row_count; row++) {
        mg_buffer_reset(&find->key);
        MG_TRY(mg_key_encode(granule->keys, granule->schema->key_count, row, &find->key, err));
        uint32_t i = position_of(find, mg_buffer_slice(&find->key));
        if (i == find->lookup.count || mg_marks__has(granule->marks, granule->first_row + row))
            continue;
        for (; i < find->lookup.count && mg_slice_equal(key_at(find, i), mg_buffer_slice(&find->key)); i++)
            note(find, i, granule->slot, granule->first_row + row);
    }
    return MG_OK;
}

/* The number that a key's first bytes stand for, as it lies in memory; false when the first column is no integer. */
static bool first_number(const struct mg_vector *first, struct mg_slice key, uint64_t *out)
{
    enum mg_type_id id = first->type.id;
    uint32_t width = mg_type_width(id);
    bool is_signed = (id >= MG_TYPE_INT8 && id <= MG_TYPE_INT64) || (id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP);
    uint64_t v = 0;
    if ((!is_signed && !(id >= MG_TYPE_UINT8 && id <= MG_TYPE_UINT64)) || key.size < width)
        return false;
    for (uint32_t i = 0; i < width; i++)
        v = v << 8 | key.data[i];
    *out = is_signed ? v ^ (uint64_t)1 << (8 * width - 1) : v;
    return true;
}

#define ROWS_WITH(type)                                               \
    do {                                                              \
        const type *values = v->values;                               \
        for (; row < row_count && values[row] != (type)number; row++) \
            continue;                                                 \
    } while (0)

/* The next row from `row` on whose first key column is that number; row_count: none. */
static uint32_t next_with(const struct mg_vector *v, uint64_t number, uint32_t row, uint32_t row_count)
{
    switch (mg_type_width(v->type.id)) {
    case 1: ROWS_WITH(uint8_t); break;
    case 2: ROWS_WITH(uint16_t); break;
    case 4: ROWS_WITH(uint32_t); break;
    default: ROWS_WITH(uint64_t); break;
    }
    return row;
}

/* A few keys that begin with a number: faster than to encode every row. */
static enum mg_code compare_numbers(struct find *find, const struct granule *granule, struct mg_error *err)
{
    uint32_t row_count = granule->row_count;
    uint64_t number = 0;
    for (uint32_t i = 0; i < find->lookup.count; i++) {
        if (find->places[i].slot != MG_NO_SLOT || !first_number(granule->keys[0], key_at(find, i), &number))
            continue;
        for (uint32_t row = 0; (row = next_with(granule->keys[0], number, row, row_count)) < row_count; row++) {
            bool same = false;
            if (mg_marks__has(granule->marks, granule->first_row + row))
                continue;
            MG_TRY(has_key(find, granule, row, key_at(find, i), &same, err));
            if (!same)
                continue;
            note(find, i, granule->slot, granule->first_row + row);
            break;
        }
    }
    return MG_OK;
}

static enum mg_code look_into_chunk(struct find *find, const struct granule *granule, struct mg_error *err)
{
    enum { COMPARE_NUMBERS_MAX = 16 };
    uint64_t number;
    const struct mg_key_table *table = mg_key_table__of(granule->chunk, granule->schema);
    if (table)
        return probe_all(find, granule, table, err);
    if (find->lookup.count <= COMPARE_NUMBERS_MAX && first_number(granule->keys[0], key_at(find, 0), &number))
        return compare_numbers(find, granule, err);
    return compare_all(find, granule, err);
}

/* granule->chunk: the chunk, or the stub of it, which is replaced. */
static enum mg_code look_into_held(struct find *find, struct granule *granule, struct mg_key_range range,
                                   struct mg_error *err)
{
    int32_t keys[MG_KEY_COLUMNS_MAX];
    if (!mg_range__may_hold(range, granule->chunk, granule->schema))
        return MG_OK;
    for (uint32_t k = 0; k < granule->schema->key_count; k++)
        keys[k] = (int32_t)granule->schema->key_columns[k];
    MG_TRY(mg_chunk__load(&granule->chunk, keys, granule->schema->key_count, find->budget, err));
    mg_keys__of_chunk(granule->chunk, granule->schema, granule->row_count, granule->vectors);
    return look_into_chunk(find, granule, err);
}

static enum mg_code look_into_segment(struct find *find, uint32_t slot, struct mg_key_range range, struct mg_error *err)
{
    const struct mg_table_segment *segment = &find->table->segments[slot];
    struct granule granule = {.schema = segment->rows->segment->schema, .marks = segment->marks, .slot = slot};
    for (uint32_t k = 0; k < granule.schema->key_count; k++)
        granule.keys[k] = &granule.vectors[k];
    for (uint32_t at = segment->rows->chunk_count; at-- > 0 && find->found_count < find->lookup.count;) {
        const struct mg_mark_version *dead = mg_marks__granule(segment->marks, at);
        granule.first_row = at * MG_CHUNK_ROWS;
        granule.row_count = MG_MIN(segment->rows->row_count - granule.first_row, (uint32_t)MG_CHUNK_ROWS);
        if (dead && dead->count == granule.row_count)
            continue;
        granule.chunk = mg_chunk__hold(segment->rows->chunks[at]);
        enum mg_code code = look_into_held(find, &granule, range, err);
        mg_chunk__let_go(granule.chunk);
        MG_TRY(code);
    }
    return MG_OK;
}

/* ---- parts --------------------------------------------------------------------------------------------------- */

static enum mg_code look_into_part(struct find *find, uint32_t number, struct mg_error *err)
{
    const struct mg_table_part *part = &find->table->parts[number];
    MG_TRY(mg_lookup__find(&find->lookup, part->part, err));
    for (uint32_t i = 0; i < find->lookup.count; i++) {
        uint32_t row = find->lookup.rows[i];
        if (row == MG_PART_NO_ROW || find->places[i].slot != MG_NO_SLOT)
            continue;
        if (mg_marks__has(part->marks, row))
            find->lookup.rows[i] = MG_PART_NO_ROW;
        else
            note(find, i, MG_PART_SLOT + number, row);
    }
    return MG_OK;
}

static enum mg_code take_keys(struct find *find, struct mg_error *err)
{
    const struct mg_find_spec *spec = find->spec;
    for (uint32_t i = 0; i < spec->key_count; i++) {
        struct mg_buffer *key = mg_lookup__begin(&find->lookup);
        MG_TRY(mg_buffer_append(key, spec->keys + spec->offsets[i], spec->offsets[i + 1] - spec->offsets[i], err));
        mg_lookup__end(&find->lookup);
        find->places[i] = (struct mg_place){MG_NO_SLOT, 0};
    }
    return mg_lookup__sort(&find->lookup, err);
}

static enum mg_code find_places(struct find *find, struct mg_error *err)
{
    const struct mg_table_view *table = find->table;
    MG_TRY(take_keys(find, err));
    struct mg_slice highest = key_at(find, find->lookup.count - 1);
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer behind;
    mg_buffer_init(&behind, UINT32_MAX);
    MG_TRY(mg_buffer_append(&behind, highest.data, highest.size, err));
    MG_TRY(mg_buffer_append_u8(&behind, 0, err));
    struct mg_key_range range = {.low = key_at(find, 0), .high = mg_buffer_slice(&behind)};
    for (uint32_t s = table->segment_count; s-- > 0 && find->found_count < find->lookup.count;)
        MG_TRY(look_into_segment(find, s, range, err));
    for (uint32_t p = table->part_count; p-- > 0 && find->found_count < find->lookup.count;)
        MG_TRY(look_into_part(find, p, err));
    return MG_OK;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

/* Where a column of one place's rows is. A cleared one is nowhere. */
struct cursor {
    uint32_t slot, group; /* whose block is pinned */
    int32_t column;       /* in the segment or part; -1: missing there */
    struct mg_part_block block;
    bool pinned;
    uint32_t at;           /* which chunk of a segment is held */
    struct mg_chunk *held; /* NULL: none */
};

static void let_go(struct cursor *cursor)
{
    if (cursor->pinned)
        mg_part_block_release(&cursor->block);
    cursor->pinned = false;
    mg_chunk__let_go(MG_TAKE(cursor->held));
}

/* row: of the segment. */
static enum mg_code add_of_segment(struct cursor *cursor, const struct mg_segment_view *segment, struct mg_type type,
                                   uint32_t row, struct mg_budget *budget, struct mg_batch_builder *builder,
                                   uint32_t to, struct mg_error *err)
{
    uint32_t at = row / MG_CHUNK_ROWS;
    row %= MG_CHUNK_ROWS;
    if (!cursor->held || cursor->at != at) {
        let_go(cursor);
        cursor->at = at;
        cursor->held = mg_chunk__hold(segment->chunks[at]);
        MG_TRY(mg_chunk__load(&cursor->held, &cursor->column, 1, budget, err));
    }
    const struct mg_chunk_column *from = &cursor->held->columns[cursor->column];
    struct mg_vector vector = {.type = type,
                               .row_count = MG_CHUNK_ROWS,
                               .validity = from->bits ? mg_buf_data(from->bits) : NULL,
                               .values = mg_buf_data(from->values),
                               .offsets = from->offsets ? (const int32_t *)mg_buf_data(from->offsets) : NULL};
    if ((from->present && !mg_buf_data(from->present)[row]) || mg_vector_is_null(&vector, row))
        return mg_builder_null(builder, to, err);
    struct mg_value value = mg_vector_value(&vector, row);
    return mg_builder_value(builder, to, &value, err);
}

static enum mg_code add_of_part(struct cursor *cursor, struct mg_part *part, struct mg_type type, uint32_t row,
                                struct mg_arena *scratch, struct mg_batch_builder *builder, uint32_t to,
                                struct mg_error *err)
{
    struct mg_value value;
    if (!cursor->pinned || cursor->group != row / MG_BLOCK_ROWS) {
        let_go(cursor);
        cursor->group = row / MG_BLOCK_ROWS;
        MG_TRY(mg_part_block_get(part, (uint32_t)cursor->column, cursor->group, &cursor->block, err));
        cursor->pinned = true;
    }
    mg_arena_reset(scratch);
    MG_TRY(mg_block_value(&cursor->block.block, row % MG_BLOCK_ROWS, scratch, &value, err));
    if (value.is_null)
        return mg_builder_null(builder, to, err);
    value.type = type;
    return mg_builder_value(builder, to, &value, err);
}

static enum mg_code add_value(struct find *find, struct cursor *cursor, struct mg_place place, uint32_t column,
                              struct mg_arena *scratch, struct mg_batch_builder *builder, uint32_t to,
                              struct mg_error *err)
{
    const struct mg_column *wanted = &find->schema->columns[column];
    bool in_part = place.slot >= MG_PART_SLOT;
    struct mg_part *part = in_part ? find->table->parts[place.slot - MG_PART_SLOT].part : NULL;
    const struct mg_segment_view *segment = in_part ? NULL : find->table->segments[place.slot].rows;
    if (cursor->slot != place.slot) {
        let_go(cursor);
        cursor->slot = place.slot;
        cursor->column = mg_schema_find_id(part ? mg_part_schema(part) : segment->segment->schema, wanted->id);
    }
    if (cursor->column < 0)
        return wanted->missing.is_null ? mg_builder_null(builder, to, err)
                                       : mg_builder_value(builder, to, &wanted->missing, err);
    if (part)
        return add_of_part(cursor, part, wanted->type, place.row, scratch, builder, to, err);
    return add_of_segment(cursor, segment, wanted->type, place.row, find->budget, builder, to, err);
}

/* Places in order, so that those of one block come together; a key that was asked for twice has one row. */
static uint32_t order_places(struct find *find, uint32_t *rows, uint64_t *sorted, uint64_t *scratch)
{
    uint32_t count = 0, different = 0;
    for (uint32_t i = 0; i < find->lookup.count; i++)
        if (find->places[i].slot != MG_NO_SLOT)
            sorted[count++] = (uint64_t)find->places[i].slot << 32 | find->places[i].row;
    mg_sort__u64(sorted, scratch, count);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || sorted[i] != sorted[i - 1])
            sorted[different++] = sorted[i];
    for (uint32_t i = 0; i < find->lookup.count; i++) {
        uint64_t place = (uint64_t)find->places[i].slot << 32 | find->places[i].row;
        uint32_t low = 0, high = different;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (sorted[middle] < place)
                low = middle + 1;
            else
                high = middle;
        }
        rows[find->lookup.items[i].at] = find->places[i].slot == MG_NO_SLOT ? MG_FIND_NONE : low;
    }
    return different;
}

static enum mg_code fill_column(struct find *find, struct mg_batch_builder *builder, uint32_t to,
                                const uint64_t *sorted, uint32_t count, struct mg_arena *scratch, struct mg_error *err)
{
    struct cursor cursor = {.slot = MG_NO_SLOT};
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < count; i++) {
        struct mg_place place = {(uint32_t)(sorted[i] >> 32), (uint32_t)sorted[i]};
        code = add_value(find, &cursor, place, find->spec->columns[to], scratch, builder, to, err);
    }
    let_go(&cursor);
    return code;
}

static enum mg_code fill_batch(struct find *find, const uint64_t *sorted, uint32_t count, struct mg_batch **out,
                               struct mg_error *err)
{
    uint32_t column_count = find->spec->column_count;
    struct mg_batch_builder builder;
    struct mg_arena scratch;
    mg_arena_init(&scratch, OUT_BYTES_MAX);
    struct mg_type *types = mg_arena_array(&scratch, struct mg_type, column_count);
    if (!types)
        return mg_arena_fail(&scratch, err);
    for (uint32_t i = 0; i < column_count; i++)
        types[i] = find->schema->columns[find->spec->columns[i]].type;
    enum mg_code code = mg_batch_builder_init(&builder, types, column_count, find->budget, OUT_BYTES_MAX, err);
    if (code == MG_OK) {
        for (uint32_t i = 0; code == MG_OK && i < column_count; i++)
            code = fill_column(find, &builder, i, sorted, count, &scratch, err);
        if (code == MG_OK)
            code = mg_batch_builder_finish(&builder, count, out, err);
        mg_batch_builder_clear(&builder);
    }
    mg_arena_clear(&scratch);
    return code;
}

static enum mg_code give_rows(struct find *find, uint32_t *rows, struct mg_batch **out, struct mg_error *err)
{
    size_t room = (size_t)find->lookup.count + 1;
    MG_CLEANUP(mg_freep) uint64_t *sorted = malloc(2 * room * sizeof *sorted);
    if (!sorted)
        return mg_fail(err, MG_NO_MEMORY, "no memory to read %zu rows", room - 1);
    uint32_t count = order_places(find, rows, sorted, sorted + room);
    if (count == 0 || find->spec->column_count == 0)
        return MG_OK;
    return fill_batch(find, sorted, count, out, err);
}

/* ---- the call ------------------------------------------------------------------------------------------------ */

static enum mg_code find_in(struct find *find, uint32_t *rows, struct mg_batch **out, struct mg_error *err)
{
    uint32_t count = find->spec->key_count;
    size_t bytes = (size_t)count * KEY_BYTES + 2 * (size_t)find->spec->offsets[count];
    MG_TRY(mg_budget_reserve(find->budget, bytes, err));
    mg_buffer_init(&find->key, MG_KEY_BYTES_MAX);
    find->places = malloc(count * sizeof *find->places);
    enum mg_code code = mg_lookup__init(&find->lookup, count, err);
    if (!find->places)
        code = mg_fail(err, MG_NO_MEMORY, "no memory to look up %u keys", count);
    if (code == MG_OK)
        code = find_places(find, err);
    if (code == MG_OK)
        code = give_rows(find, rows, out, err);
    mg_lookup__clear(&find->lookup);
    mg_buffer_clear(&find->key);
    free(find->places);
    mg_budget_release(find->budget, bytes);
    return code;
}

enum mg_code mg_magic__find(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                            struct mg_batch **out, struct mg_error *err)
{
    const struct mg_view *view = (const struct mg_view *)snapshot;
    int at = mg_catalog__find_id(view->catalog, spec->table_id);
    if (at < 0)
        return mg_fail(err, MG_NOT_FOUND, "there is no table with id %llu", (unsigned long long)spec->table_id);
    const struct mg_table_view *table = view->catalog->tables[at];
    MG_TRY(mg_catalog__check_state(table->schema, err));
    MG_TRY(mg_find_spec_check(table->schema, spec, err));
    struct find find = {.spec = spec,
                        .table = table,
                        .schema = table->schema,
                        .budget = spec->budget ? spec->budget : mg_magic__of(snapshot->engine)->readers};
    struct mg_batch *batch = NULL;
    mg_count(engine_find_keys, spec->key_count);
    if (spec->key_count)
        MG_TRY(find_in(&find, rows, &batch, err));
    *out = batch;
    return MG_OK;
}
