/* part_find.c -- the rows of sorted keys: bounds, filter, sparse index, one vector.
 *
 * Shape    probes inside the part's bounds go through the filter, whose lines are fetched AHEAD of the test. Those that
 *          pass are looked up in the index from the vector of the one before on, and probes of
 *          one vector share its decoding, those of one row group its blocks.
 * Kinds    keys of one integer, date or time are numbers and have a way of their own (part_find_ints.c). Other keys:
 *          few probes of a vector compare with samples of its keys, many with all of them, encoded once; where texts
 *          are very long, with single rows.
 * Threads  the calls belong to their threads; the part is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/part_internal.h"

enum {
    AHEAD = 32,                 /* look-ups in the filter that are under way at a time */
    CHUNK = 4096,               /* probes that go through the filter before those that passed go on */
    ENCODE_ALL_FROM = 12,       /* probes of a vector: fewer look at samples of its keys */
    ENCODE_ALL_BYTES = 1 << 20, /* of text: above it only single rows are looked at */
    SAMPLES = 32,
};
_Static_assert(SAMPLES *SAMPLES == MG_VECTOR_ROWS, "two steps reach every row");
#define NONE UINT32_MAX

/* The key columns of one row group, pinned as they are needed, and the vector that was looked at last. */
struct seeker {
    struct mg_part *part;
    bool is_open;
    uint32_t group;
    struct mg_part_block blocks[MG_KEY_COLUMNS_MAX];
    struct mg_arena scratch; /* of single values */
    struct mg_buffer key;
    /* A vector's keys, once many are looked for in it. */
    struct mg_part__rows rows[MG_KEY_COLUMNS_MAX];
    struct mg_buffer keys, key_offsets;
};

static const struct mg_schema *schema_of(const struct seeker *seeker) { return seeker->part->footer.schema; }

static void init_seeker(struct seeker *seeker, struct mg_part *part)
{
    const struct mg_schema *schema = part->footer.schema;

    seeker->part = part;
    seeker->is_open = false;
    mg_arena_init(&seeker->scratch, SIZE_MAX / 4);
    mg_buffer_init(&seeker->key, MG_KEY_BYTES_MAX);
    mg_buffer_init(&seeker->keys, UINT32_MAX);
    mg_buffer_init(&seeker->key_offsets, SIZE_MAX / 4);
    for (uint32_t k = 0; k < schema->key_count; k++)
        mg_part__rows_init(&seeker->rows[k], part->budget);
}

static void close_group(struct seeker *seeker)
{
    for (uint32_t k = 0; seeker->is_open && k < schema_of(seeker)->key_count; k++)
        mg_part_block_release(&seeker->blocks[k]);
    seeker->is_open = false;
}

static void clear_seeker(struct seeker *seeker)
{
    close_group(seeker);
    mg_arena_clear(&seeker->scratch);
    mg_buffer_clear(&seeker->key);
    mg_buffer_clear(&seeker->keys);
    mg_buffer_clear(&seeker->key_offsets);
    for (uint32_t k = 0; k < schema_of(seeker)->key_count; k++)
        mg_part__rows_clear(&seeker->rows[k]);
}

static enum mg_code open_group(struct seeker *seeker, uint32_t group, struct mg_error *err)
{
    const struct mg_schema *schema = schema_of(seeker);

    if (seeker->is_open && seeker->group == group)
        return MG_OK;
    close_group(seeker);
    for (uint32_t k = 0; k < schema->key_count; k++) {
        enum mg_code code = mg_part_block_get(seeker->part, schema->key_columns[k], group, &seeker->blocks[k], err);
        if (code == MG_OK)
            continue;
        while (k-- > 0)
            mg_part_block_release(&seeker->blocks[k]);
        return code;
    }
    seeker->is_open = true;
    seeker->group = group;
    return MG_OK;
}

/* A block with its checksum may still hold what no writer writes: say where. */
static enum mg_code in_group(const struct seeker *seeker, enum mg_code code, struct mg_error *err)
{
    uint32_t column = schema_of(seeker)->key_columns[0];
    uint32_t number = seeker->group * schema_of(seeker)->column_count + column;

    return mg_fail_in(err, code, "%s: key of row group %u, whose first block lies at byte %llu", seeker->part->path,
                      seeker->group, (unsigned long long)mg_part__piece(seeker->part, number)->offset);
}

/* ---- one row's key ------------------------------------------------------------------------------------------- */

/* The key of a row of the open group, appended to out. */
static enum mg_code key_of_row(struct seeker *seeker, uint32_t row, struct mg_buffer *out, struct mg_error *err)
{
    const struct mg_schema *schema = schema_of(seeker);
    struct mg_value values[MG_KEY_COLUMNS_MAX];

    mg_arena_reset(&seeker->scratch);
    for (uint32_t k = 0; k < schema->key_count; k++) {
        MG_TRY(mg_block_value(&seeker->blocks[k].block, row, &seeker->scratch, &values[k], err));
        values[k].type = schema->columns[schema->key_columns[k]].type;
    }
    return mg_key_encode_values(values, schema->key_count, out, err);
}

/* The first of rows [low, high) of the open group whose key is not below `key`; high when there is none. */
static enum mg_code lower_bound(struct seeker *seeker, uint32_t low, uint32_t high, struct mg_slice key, uint32_t *out,
                                bool *out_equal, struct mg_error *err)
{
    *out_equal = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        mg_buffer_reset(&seeker->key);
        MG_TRY(key_of_row(seeker, middle, &seeker->key, err));
        int order = mg_slice_compare(mg_buffer_slice(&seeker->key), key);
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
            *out_equal = order == 0; /* the last middle that was not below is the result */
        }
    }
    *out = low;
    return MG_OK;
}

/* ---- probes of one vector ------------------------------------------------------------------------------------ */

/* The probes with these numbers, in a vector of the open group; first_row: the vector's, in the part. */
struct run {
    const struct mg_part_probe *probe;
    const uint32_t *numbers;
    uint32_t count;
    uint32_t vector, row_count, first_row;
    uint32_t *rows; /* out, by number */
};

static enum mg_code find_single(struct seeker *seeker, const struct run *run, struct mg_error *err)
{
    uint32_t low = run->vector * MG_VECTOR_ROWS, high = low + run->row_count, row = low;

    for (uint32_t i = 0; i < run->count; i++) {
        bool equal;
        MG_TRY(lower_bound(seeker, row, high, mg_part__probe_key(run->probe, run->numbers[i]), &row, &equal, err));
        if (equal)
            run->rows[run->numbers[i]] = run->first_row + row - low;
    }
    return MG_OK;
}

/* Keys of those columns into seeker->keys. */
static enum mg_code encode_columns(struct seeker *seeker, struct mg_vector *columns, uint32_t row_count,
                                   struct mg_error *err)
{
    const struct mg_schema *schema = schema_of(seeker);
    const struct mg_vector *vectors[MG_KEY_COLUMNS_MAX];

    for (uint32_t k = 0; k < schema->key_count; k++) {
        columns[k].type = schema->columns[schema->key_columns[k]].type;
        vectors[k] = &columns[k];
    }
    mg_buffer_reset(&seeker->keys);
    mg_buffer_reset(&seeker->key_offsets);
    MG_TRY(mg_buffer_reserve(&seeker->key_offsets, ((size_t)row_count + 1) * sizeof(uint32_t), err));
    return mg_key_encode_rows(vectors, schema->key_count, row_count, &seeker->keys,
                              (uint32_t *)(void *)seeker->key_offsets.data, err);
}

/* All keys of the vector. */
static enum mg_code encode_vector(struct seeker *seeker, uint32_t vector, uint32_t row_count, struct mg_error *err)
{
    struct mg_vector columns[MG_KEY_COLUMNS_MAX];

    for (uint32_t k = 0; k < schema_of(seeker)->key_count; k++)
        MG_TRY(mg_part__rows_decode(&seeker->rows[k], &seeker->blocks[k].block, vector, 1, &columns[k], err));
    return encode_columns(seeker, columns, row_count, err);
}

/* Those of rows first, first + step, ... below end, at most SAMPLES; their number to *out_count. */
static enum mg_code encode_some(struct seeker *seeker, uint32_t vector, uint32_t first, uint32_t step, uint32_t end,
                                uint32_t *out_count, struct mg_error *err)
{
    struct mg_vector columns[MG_KEY_COLUMNS_MAX];
    uint16_t rows[SAMPLES];
    uint32_t count = 0;

    for (uint32_t row = first; row < end && count < SAMPLES; row += step)
        rows[count++] = (uint16_t)row;
    for (uint32_t k = 0; k < schema_of(seeker)->key_count; k++)
        MG_TRY(mg_part__rows_gather(&seeker->rows[k], &seeker->blocks[k].block, vector, rows, count, &columns[k], err));
    *out_count = count;
    return encode_columns(seeker, columns, count, err);
}

static struct mg_slice encoded_key(const struct seeker *seeker, uint32_t row)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)seeker->key_offsets.data;

    return MG_SLICE(seeker->keys.data + offsets[row], offsets[row + 1] - offsets[row]);
}

/* The last of count encoded keys that is not above the key; NONE when all are. */
static uint32_t last_not_above(const struct seeker *seeker, uint32_t count, struct mg_slice key)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (mg_slice_compare(encoded_key(seeker, middle), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? low - 1 : NONE;
}

/* first: the row of the first encoded key, from the vector's begin. */
static void match(const struct seeker *seeker, const struct run *run, uint32_t i, uint32_t first, uint32_t count)
{
    struct mg_slice key = mg_part__probe_key(run->probe, run->numbers[i]);
    uint32_t at = last_not_above(seeker, count, key);

    if (at != NONE && mg_slice_equal(encoded_key(seeker, at), key))
        run->rows[run->numbers[i]] = run->first_row + first + at;
}

/* Every 32nd row first, then the 32 rows between two of them: reaching one row of most encodings costs nearly as much
 * as reaching 32. */
static enum mg_code find_sampled(struct seeker *seeker, const struct run *run, struct mg_error *err)
{
    uint32_t slots[ENCODE_ALL_FROM], count;

    MG_TRY(encode_some(seeker, run->vector, 0, SAMPLES, run->row_count, &count, err));
    for (uint32_t i = 0; i < run->count; i++)
        slots[i] = last_not_above(seeker, count, mg_part__probe_key(run->probe, run->numbers[i]));
    for (uint32_t i = 0; i < run->count; i++) {
        if (slots[i] == NONE)
            continue;
        uint32_t first = slots[i] * SAMPLES;
        if (i == 0 || slots[i] != slots[i - 1])
            MG_TRY(encode_some(seeker, run->vector, first, 1, run->row_count, &count, err));
        match(seeker, run, i, first, count);
    }
    return MG_OK;
}

static enum mg_code find_encoded(struct seeker *seeker, const struct run *run, struct mg_error *err)
{
    MG_TRY(encode_vector(seeker, run->vector, run->row_count, err));
    for (uint32_t i = 0; i < run->count; i++)
        match(seeker, run, i, 0, run->row_count);
    return MG_OK;
}

static bool is_long(const struct seeker *seeker, uint32_t vector)
{
    size_t bytes = 0;

    for (uint32_t k = 0; k < schema_of(seeker)->key_count; k++)
        if (seeker->blocks[k].block.type.id == MG_TYPE_UTF8)
            bytes += mg_block_text_bytes(&seeker->blocks[k].block, vector, 1);
    return bytes > ENCODE_ALL_BYTES;
}

static enum mg_code find_in_vector(struct seeker *seeker, const struct run *run, struct mg_error *err)
{
    if (is_long(seeker, run->vector))
        return find_single(seeker, run, err);
    return run->count < ENCODE_ALL_FROM ? find_sampled(seeker, run, err) : find_encoded(seeker, run, err);
}

static enum mg_code find_run(struct seeker *seeker, uint32_t vector, struct run *run, struct mg_error *err)
{
    MG_TRY(open_group(seeker, vector / MG_BLOCK_VECTORS, err));
    run->vector = vector % MG_BLOCK_VECTORS;
    run->row_count = mg_block_vector_rows(&seeker->blocks[0].block, run->vector);
    run->first_row = vector * MG_VECTOR_ROWS;
    enum mg_code code = find_in_vector(seeker, run, err);
    return code == MG_OK ? MG_OK : in_group(seeker, code, err);
}

/* ---- probes of a part ---------------------------------------------------------------------------------------- */

/* Probes that passed the filter: to their vectors, and from there to their rows. */
static enum mg_code find_passed(struct seeker *seeker, const struct mg_part__index *index,
                                const struct mg_part__passed *passed, uint32_t *vector, struct mg_error *err)
{
    uint32_t vectors[CHUNK];

    for (uint32_t i = 0; i < passed->count; i++)
        vectors[i] = *vector = mg_part__index_find(index, mg_part__passed_key(passed, i), *vector);
    for (uint32_t i = 0, n; i < passed->count; i += n) {
        for (n = 1; i + n < passed->count && vectors[i + n] == vectors[i];)
            n++;
        struct run run = {.probe = passed->probe, .numbers = passed->numbers + i, .count = n, .rows = passed->rows};
        MG_TRY(find_run(seeker, vectors[i], &run, err));
    }
    return MG_OK;
}

static const uint64_t *line_of(struct mg_slice filter, uint64_t hash)
{
    const uint64_t *lines = (const uint64_t *)(const void *)filter.data;

    return lines + mg_part__filter_line(filter.size / MG_PART__LINE_BYTES, hash) * MG_PART__LINE_WORDS;
}

/* Numbers of probes [first, end) that have no row yet, to out. */
static uint32_t open_probes(const uint32_t *rows, uint32_t first, uint32_t end, uint32_t *out)
{
    uint32_t count = 0;

    for (uint32_t i = first; i < end; i++) {
        out[count] = i;
        count += rows[i] == MG_PART_NO_ROW;
    }
    return count;
}

/* Leaves those that pass the filter; a line is fetched AHEAD probes before it is tested. */
static uint32_t pass_filter(struct mg_slice filter, const uint64_t *hashes, uint32_t *numbers, uint32_t count)
{
    uint32_t passed = 0;

    for (uint32_t i = 0; i < count && i < AHEAD; i++)
        __builtin_prefetch(line_of(filter, hashes[numbers[i]]));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t hash = hashes[numbers[i]];
        if (i + AHEAD < count)
            __builtin_prefetch(line_of(filter, hashes[numbers[i + AHEAD]]));
        numbers[passed] = numbers[i];
        passed += mg_part__filter_test(line_of(filter, hash), hash);
    }
    return passed;
}

/* The first probe whose key is not below (above: that is above) the bound. */
static uint32_t cut(const struct mg_part_probe *probe, struct mg_slice bound, bool above)
{
    uint32_t low = 0, high = probe->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (mg_slice_compare(mg_part__probe_key(probe, middle), bound) < (above ? 1 : 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum mg_code find_between(struct seeker *seeker, const struct mg_part_probe *probe, uint32_t first, uint32_t end,
                                 struct mg_slice filter, struct mg_slice index_bytes, uint32_t *rows,
                                 struct mg_error *err)
{
    struct mg_part__index index = mg_part__index_of(index_bytes);
    uint32_t passed[CHUNK], vector = 0;

    for (uint32_t n; first < end; first += n) {
        n = MG_MIN(end - first, CHUNK);
        uint32_t count = open_probes(rows, first, first + n, passed);
        count = pass_filter(filter, probe->hashes, passed, count);
        struct mg_part__passed some = {.probe = probe, .numbers = passed, .count = count, .rows = rows};
        if (mg_part__finds_ints(seeker->part))
            MG_TRY(mg_part__find_ints(seeker->part, &index, &some, &vector, err));
        else
            MG_TRY(find_passed(seeker, &index, &some, &vector, err));
    }
    return MG_OK;
}

enum mg_code mg_part_find(struct mg_part *part, const struct mg_part_probe *probe, uint32_t *rows, struct mg_error *err)
{
    uint32_t first = cut(probe, part->footer.low, false), end = cut(probe, part->footer.high, true);
    struct mg_cache_pin filter_pin = {.entry = NULL}, index_pin = {.entry = NULL};
    struct mg_slice filter, index;
    struct seeker seeker;

    if (first >= end)
        return MG_OK;
    MG_TRY(mg_part__pin(part, mg_part__filter_piece(part), &filter_pin, &filter, err));
    enum mg_code code = mg_part__pin(part, mg_part__index_piece(part), &index_pin, &index, err);
    if (code == MG_OK) {
        init_seeker(&seeker, part);
        code = find_between(&seeker, probe, first, end, filter, index, rows, err);
        clear_seeker(&seeker);
    }
    mg_cache_unpin(&index_pin);
    mg_cache_unpin(&filter_pin);
    return code;
}

/* ---- single keys --------------------------------------------------------------------------------------------- */

static enum mg_code lower_bound_inside(struct mg_part *part, struct mg_slice key, uint32_t *out_row,
                                       struct mg_error *err)
{
    struct mg_cache_pin pin;
    struct mg_slice bytes;
    struct seeker seeker;
    bool equal;

    MG_TRY(mg_part__pin(part, mg_part__index_piece(part), &pin, &bytes, err));
    struct mg_part__index index = mg_part__index_of(bytes);
    uint32_t vector = mg_part__index_find(&index, key, 0), group = vector / MG_BLOCK_VECTORS;
    mg_cache_unpin(&pin);

    init_seeker(&seeker, part);
    enum mg_code code = open_group(&seeker, group, err);
    if (code == MG_OK) {
        uint32_t first = vector % MG_BLOCK_VECTORS * MG_VECTOR_ROWS, row;
        uint32_t end = first + mg_block_vector_rows(&seeker.blocks[0].block, vector % MG_BLOCK_VECTORS);
        code = lower_bound(&seeker, first, end, key, &row, &equal, err);
        if (code == MG_OK)
            *out_row = group * MG_BLOCK_ROWS + row;
        else
            code = in_group(&seeker, code, err);
    }
    clear_seeker(&seeker);
    return code;
}

enum mg_code mg_part_lower_bound(struct mg_part *part, struct mg_slice key, uint32_t *out_row, struct mg_error *err)
{
    if (mg_slice_compare(key, part->footer.low) <= 0) {
        *out_row = 0;
        return MG_OK;
    }
    if (mg_slice_compare(key, part->footer.high) > 0) {
        *out_row = part->footer.row_count;
        return MG_OK;
    }
    return lower_bound_inside(part, key, out_row, err);
}

enum mg_code mg_part_separator(struct mg_part *part, uint32_t vector, struct mg_buffer *out, struct mg_error *err)
{
    struct mg_cache_pin pin = {.entry = NULL};
    struct mg_slice bytes;

    MG_TRY(mg_part__pin(part, mg_part__index_piece(part), &pin, &bytes, err));
    struct mg_part__index index = mg_part__index_of(bytes);
    enum mg_code code = mg_part__index_separator(&index, vector, part->footer.low, out, err);
    mg_cache_unpin(&pin);
    return code;
}

enum mg_code mg_part_key_at(struct mg_part *part, uint32_t row, struct mg_buffer *out, struct mg_error *err)
{
    struct seeker seeker;

    mg_assert(row < part->footer.row_count);
    init_seeker(&seeker, part);
    enum mg_code code = open_group(&seeker, row / MG_BLOCK_ROWS, err);
    if (code == MG_OK) {
        code = key_of_row(&seeker, row % MG_BLOCK_ROWS, out, err);
        code = code == MG_OK ? MG_OK : in_group(&seeker, code, err);
    }
    clear_seeker(&seeker);
    return code;
}
