/* part_writer.c -- rows that rise by key become a part: one row group after the other, then filter, index and footer.
 *
 * Memory   the row group that is being collected (reserved by its builder), what encoding one column of it takes, the
 *          filter (or 8 bytes a row where the number of rows is not known), about 20 bytes a vector of index, the
 *          footer's entries: all reserved in the budget before it is taken.
 * Writes   WRITE_BYTES at a time, at multiples of it, from memory aligned to PAGE_BYTES, so that they go around the
 *          page cache (base/io.h); only the last one is shorter.
 * Errors   after a failure nothing more is written; finish and abort then remove the file.
 * Format   docs/format/part.md.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/hash.h"
#include "column/bits.h"
#include "part/part_internal.h"

enum {
    WRITE_BYTES = 2 << 20,
    PAGE_BYTES = MG_IO_DIRECT_ALIGN,
    SCRATCH_BYTES = 8 << 20, /* of the encoder, for a row group of values of up to 16 bytes; more when texts are long */
    DIFFERENCE_BYTES = 2 << 20, /* of a row group of int64, encoded, whatever they are */
    SCRATCH_TIMES = 4,          /* a column's bytes: what the encoder may take for its work, and the block itself */
};

struct mg_part_writer {
    struct mg_io *io;
    struct mg_budget *budget;
    struct mg_schema *schema;
    char *path;
    struct mg_file *file; /* NULL: it was not created */
    uint32_t segment_id, row_count;
    size_t reserved_bytes; /* of what follows until the empty line */
    uint8_t *staged;       /* WRITE_BYTES */
    struct mg_part__column *columns;
    struct mg_arena scratch;

    size_t staged_bytes;
    uint64_t written_bytes;
    struct mg_batch_builder group; /* rows that wait until they are MG_BLOCK_ROWS */
    struct mg_buffer encoded;      /* a piece on its way */
    size_t encoded_reserved;       /* its capacity, when it was last settled */
    uint32_t version;
    struct mg_part__packer packer;
    struct mg_vector *others; /* of the row group that is written: columns that a later one may be differences to, */
    uint32_t *other_columns;  /* and their places */
    uint32_t other_count;
    struct mg_buffer entries; /* of blocks, for the footer */
    struct mg_buffer keys, key_offsets, last_key, low_key;
    uint64_t *lines; /* the filter; NULL: not yet */
    uint64_t line_count;
    struct mg_buffer hashes; /* u64 each, while there is no filter */
    struct mg_part__index_builder index;
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static struct mg_buffer *const *buffers_of(struct mg_part_writer *writer, struct mg_buffer *list[6])
{
    list[0] = &writer->entries;
    list[1] = &writer->keys;
    list[2] = &writer->key_offsets;
    list[3] = &writer->last_key;
    list[4] = &writer->low_key;
    list[5] = &writer->hashes;
    return list;
}

static void free_encoded(struct mg_part_writer *writer)
{
    mg_buffer_clear(&writer->encoded);
    mg_budget_release(writer->budget, writer->encoded_reserved);
    writer->encoded_reserved = 0;
}

static void free_filter(struct mg_part_writer *writer)
{
    if (writer->lines)
        mg_budget_release(writer->budget, writer->line_count * MG_PART__LINE_BYTES);
    free(writer->lines);
    writer->lines = NULL;
}

static void free_writer(struct mg_part_writer *writer)
{
    struct mg_buffer *list[6];

    mg_batch_builder_clear(&writer->group);
    for (int i = 0; i < 6; i++)
        mg_part__buffer_clear(writer->budget, buffers_of(writer, list)[i]);
    free_encoded(writer);
    free_filter(writer);
    mg_part__packer_clear(&writer->packer);
    mg_part__index_clear(&writer->index);
    mg_arena_clear(&writer->scratch);
    free(writer->others);
    free(writer->other_columns);
    free(writer->columns);
    free(writer->staged);
    free(writer->path);
    mg_schema_unref(writer->schema);
    mg_budget_release(writer->budget, writer->reserved_bytes);
    free(writer);
}

void mg_part_writer_abort(struct mg_part_writer *writer)
{
    if (!writer)
        return;
    if (writer->file) {
        mg_file_close(writer->file);
        /* What cannot be removed is a file that no catalogue knows: the next start removes it. */
        (void)!writer->io->ops->unlink(writer->io, writer->path, NULL);
    }
    free_writer(writer);
}

static void abortp(struct mg_part_writer **writer) { mg_part_writer_abort(*writer); }

static enum mg_code no_memory(const struct mg_part_writer *writer, struct mg_error *err)
{
    return mg_fail(err, MG_NO_MEMORY, "no memory to write %s", writer->path ? writer->path : "a part");
}

static enum mg_code make_filter(struct mg_part_writer *writer, uint64_t keys, struct mg_error *err)
{
    uint64_t line_count = mg_part__filter_lines(keys);

    MG_TRY(mg_budget_reserve(writer->budget, line_count * MG_PART__LINE_BYTES, err));
    writer->line_count = line_count;
    writer->lines = aligned_alloc(MG_PART__LINE_BYTES, line_count * MG_PART__LINE_BYTES);
    if (!writer->lines) {
        mg_budget_release(writer->budget, line_count * MG_PART__LINE_BYTES);
        return no_memory(writer, err);
    }
    memset(writer->lines, 0, line_count * MG_PART__LINE_BYTES);
    return MG_OK;
}

static enum mg_code reserve(struct mg_part_writer *writer, size_t bytes, struct mg_error *err)
{
    MG_TRY(mg_budget_reserve(writer->budget, bytes, err));
    writer->reserved_bytes += bytes;
    return MG_OK;
}

static enum mg_code init_group(struct mg_part_writer *writer, struct mg_error *err)
{
    uint32_t count = writer->schema->column_count;
    MG_CLEANUP(mg_freep) struct mg_type *types = calloc(count, sizeof *types);

    if (!types)
        return no_memory(writer, err);
    for (uint32_t c = 0; c < count; c++)
        types[c] = writer->schema->columns[c].type;
    return mg_batch_builder_init(&writer->group, types, count, writer->budget, SIZE_MAX, err);
}

static enum mg_code init_memory(struct mg_part_writer *writer, const char *path, uint64_t rows_expected,
                                struct mg_error *err)
{
    struct mg_buffer *list[6];
    uint32_t column_count = writer->schema->column_count;
    size_t columns_bytes = column_count *
                           (sizeof(struct mg_part__column) + sizeof(struct mg_vector) + sizeof(uint32_t));

    for (int i = 0; i < 6; i++)
        mg_buffer_init(buffers_of(writer, list)[i], SIZE_MAX / 4);
    mg_buffer_init(&writer->encoded, SIZE_MAX / 4);
    mg_part__index_init(&writer->index, writer->budget);
    mg_arena_init(&writer->scratch, SCRATCH_BYTES);
    MG_TRY(reserve(writer, sizeof *writer + strlen(path) + 1 + WRITE_BYTES + columns_bytes + SCRATCH_BYTES, err));
    writer->path = strdup(path);
    writer->staged = aligned_alloc(PAGE_BYTES, WRITE_BYTES);
    writer->columns = calloc(column_count, sizeof *writer->columns);
    writer->others = calloc(column_count, sizeof *writer->others);
    writer->other_columns = calloc(column_count, sizeof *writer->other_columns);
    if (!writer->path || !writer->staged || !writer->columns || !writer->others || !writer->other_columns)
        return no_memory(writer, err);
    MG_TRY(init_group(writer, err));
    return rows_expected ? make_filter(writer, rows_expected, err) : MG_OK;
}

enum mg_code mg_part_writer_open(const char *path, struct mg_schema *schema,
                                 const struct mg_part_writer_options *options, struct mg_part_writer **out,
                                 struct mg_error *err)
{
    if (schema->column_count == 0)
        return mg_fail(err, MG_INVALID, "a part of a table without columns");
    MG_CLEANUP(abortp) struct mg_part_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return mg_fail(err, MG_NO_MEMORY, "no memory to write %s", path);
    writer->io = options->io ? options->io : mg_io_system();
    writer->budget = options->budget;
    writer->segment_id = options->segment_id;
    writer->schema = mg_schema_ref(schema);
    writer->version = options->pack_level ? MG_PART_FORMAT_PACKED : MG_PART_FORMAT;
    mg_part__packer_init(&writer->packer, options->budget, options->pack_level);
    MG_TRY(init_memory(writer, path, options->rows_expected, err));
    MG_TRY(mg_io_open(writer->io, path, MG_OPEN_CREATE_DIRECT, &writer->file, err));
    *out = MG_TAKE(writer);
    return MG_OK;
}

/* ---- bytes to the file --------------------------------------------------------------------------------------- */

static enum mg_code write_staged(struct mg_part_writer *writer, struct mg_error *err)
{
    MG_TRY(mg_file_pwrite(writer->file, writer->staged, writer->staged_bytes, writer->written_bytes, err));
    writer->written_bytes += writer->staged_bytes;
    writer->staged_bytes = 0;
    return MG_OK;
}

static enum mg_code put(struct mg_part_writer *writer, const uint8_t *bytes, size_t size, struct mg_error *err)
{
    while (size > 0) {
        size_t n = MG_MIN(size, WRITE_BYTES - writer->staged_bytes);
        memcpy(writer->staged + writer->staged_bytes, bytes, n);
        writer->staged_bytes += n;
        bytes += n;
        size -= n;
        if (writer->staged_bytes == WRITE_BYTES)
            MG_TRY(write_staged(writer, err));
    }
    return MG_OK;
}

static uint64_t file_end(const struct mg_part_writer *writer) { return writer->written_bytes + writer->staged_bytes; }

/* bytes: with its padding. */
static enum mg_code put_piece(struct mg_part_writer *writer, const void *bytes, size_t size, struct mg_part__piece *out,
                              struct mg_error *err)
{
    size_t padded = mg_part__padded(size);

    *out = (struct mg_part__piece){
        .offset = file_end(writer), .size = size, .stored = size, .hash = mg_hash(bytes, padded, 0)};
    return put(writer, bytes, padded, err);
}

/* An empty `encoded` with room for about that many bytes. */
static enum mg_code start_encoded(struct mg_part_writer *writer, size_t bytes, struct mg_error *err)
{
    mg_buffer_reset(&writer->encoded);
    enum mg_code code = mg_part__buffer_grow(writer->budget, &writer->encoded, bytes + MG_PART__ALIGNMENT, err);
    writer->encoded_reserved = writer->encoded.capacity;
    return code;
}

/* What came out larger than was foreseen is counted now. */
static enum mg_code settle_encoded(struct mg_part_writer *writer, struct mg_error *err)
{
    MG_TRY(mg_budget_reserve(writer->budget, writer->encoded.capacity - writer->encoded_reserved, err));
    writer->encoded_reserved = writer->encoded.capacity;
    return MG_OK;
}

static enum mg_code put_encoded(struct mg_part_writer *writer, struct mg_part__piece *out, struct mg_error *err)
{
    size_t size = writer->encoded.size;

    MG_TRY(mg_buffer_append_zeros(&writer->encoded, mg_part__padded(size) - size, err));
    MG_TRY(settle_encoded(writer, err));
    return put_piece(writer, writer->encoded.data, size, out, err);
}

static enum mg_code put_packed(struct mg_part_writer *writer, struct mg_part__piece *out, struct mg_error *err)
{
    struct mg_buffer *packed = &writer->packer.packed;
    size_t size = packed->size;

    MG_TRY(settle_encoded(writer, err));
    MG_TRY(mg_buffer_append_zeros(packed, mg_part__padded(size) - size, err));
    MG_TRY(put_piece(writer, packed->data, size, out, err));
    out->size = writer->encoded.size;
    return MG_OK;
}

/* ---- row groups ---------------------------------------------------------------------------------------------- */

/* packer.packed holds the block as differences; *out_of: the other column's place. Its texts being gone, scratch is
 * free to be used again. */
static bool relate(struct mg_part_writer *writer, uint32_t column, const struct mg_vector *v, uint32_t *out_of)
{
    struct mg_buffer *packed = &writer->packer.packed;
    struct mg_part__relation relation = {.rows = v,
                                         .block = mg_buffer_slice(&writer->encoded),
                                         .others = writer->others,
                                         .other_count = writer->other_count,
                                         .out = packed};
    uint32_t other;

    if (writer->packer.level == 0 || !mg_part__has_differences(v->type) || mg_schema_is_key(writer->schema, column))
        return false;
    mg_buffer_reset(packed);
    if (mg_part__buffer_grow(writer->budget, packed, DIFFERENCE_BYTES, NULL) != MG_OK)
        return false;
    mg_arena_reset(&writer->scratch);
    size_t capacity = packed->capacity;
    bool is_smaller = mg_part__relate(&relation, &writer->scratch, &other);
    mg_assert(packed->capacity == capacity); /* what is counted */
    if (is_smaller)
        *out_of = writer->other_columns[other];
    return is_smaller;
}

static enum mg_code put_stored(struct mg_part_writer *writer, uint32_t column, const struct mg_vector *v,
                               struct mg_part__piece *out, struct mg_error *err)
{
    uint32_t of;

    if (relate(writer, column, v, &of)) {
        MG_TRY(put_packed(writer, out, err));
        out->difference_of = of + 1;
        return MG_OK;
    }
    if (mg_part__has_differences(v->type) && v->null_count == 0) {
        writer->others[writer->other_count] = *v;
        writer->other_columns[writer->other_count++] = column;
    }
    return mg_part__pack(&writer->packer, mg_buffer_slice(&writer->encoded)) ? put_packed(writer, out, err)
                                                                             : put_encoded(writer, out, err);
}

static enum mg_code put_block(struct mg_part_writer *writer, uint32_t column, const struct mg_vector *v, uint64_t plain,
                              struct mg_error *err)
{
    struct mg_part__block block = {.piece = {.size = 0}};

    MG_TRY(start_encoded(writer, plain, err));
    MG_TRY(mg_block_encode(v, &writer->scratch, &writer->encoded, &block.info, err));
    MG_TRY(put_stored(writer, column, v, &block.piece, err));
    /* An entry: three numbers, a count, a flag, two bounds. */
    MG_TRY(mg_part__buffer_grow(writer->budget, &writer->entries, 64 + 2 * MG_ZONE_TEXT_MAX, err));
    return mg_part__encode_block(&block, writer->version, &writer->entries, err);
}

/* Encode a column of a row group, with memory for it reserved while that lasts. */
static enum mg_code put_column(struct mg_part_writer *writer, uint32_t column, const struct mg_vector *v,
                               struct mg_error *err)
{
    uint64_t plain = mg_part__plain_bytes(v);
    size_t more = plain * SCRATCH_TIMES > SCRATCH_BYTES ? plain * SCRATCH_TIMES - SCRATCH_BYTES : 0;

    writer->columns[column].plain_bytes += plain;
    mg_sketch_add(&writer->columns[column].sketch, v);
    MG_TRY(mg_budget_reserve(writer->budget, more, err));
    mg_arena_reset(&writer->scratch);
    writer->scratch.max_bytes = SCRATCH_BYTES + more;
    enum mg_code code = put_block(writer, column, v, plain, err);
    if (more) { /* nothing is kept beyond what is reserved for good */
        mg_arena_clear(&writer->scratch);
        free_encoded(writer);
        mg_part__packer_clear(&writer->packer);
    }
    mg_budget_release(writer->budget, more);
    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "column \"%s\"", writer->schema->columns[column].name);
}

/* Rows [first, first + count) of a vector, with the schema's type; first is a multiple of 64. */
static struct mg_vector slice(const struct mg_vector *v, struct mg_type type, uint32_t first, uint32_t count)
{
    struct mg_vector part = {.type = type, .row_count = count, .values = v->values, .offsets = v->offsets};

    if (v->null_count)
        part.null_count = count - mg_bits_count(v->validity, first, count);
    if (part.null_count)
        part.validity = v->validity + first / 8;
    if (v->type.id == MG_TYPE_UTF8)
        part.offsets += first;
    else
        part.values = (const uint8_t *)v->values + (size_t)first * mg_type_width(v->type.id);
    return part;
}

static enum mg_code put_group(struct mg_part_writer *writer, const struct mg_batch *rows, uint32_t first,
                              uint32_t count, struct mg_error *err)
{
    writer->other_count = 0;
    for (uint32_t c = 0; c < rows->column_count; c++) {
        struct mg_vector v = slice(&rows->vectors[c], writer->schema->columns[c].type, first, count);
        MG_TRY(put_column(writer, c, &v, err));
    }
    return MG_OK;
}

static enum mg_code put_collected(struct mg_part_writer *writer, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *rows = NULL;

    MG_TRY(mg_batch_builder_finish(&writer->group, 0, &rows, err));
    return put_group(writer, rows, 0, rows->row_count, err);
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

uint64_t mg_part_key_hash(struct mg_slice key) { return mg_hash(key.data, key.size, 0); }

static enum mg_code keep_key(struct mg_part_writer *writer, struct mg_buffer *place, struct mg_slice key,
                             struct mg_error *err)
{
    mg_buffer_reset(place);
    MG_TRY(mg_part__buffer_grow(writer->budget, place, key.size, err));
    return mg_buffer_append(place, key.data, key.size, err);
}

/* Hashes of keys, into the filter or to the others that wait for it. */
static enum mg_code add_hashes(struct mg_part_writer *writer, const uint64_t *hashes, uint32_t count,
                               struct mg_error *err)
{
    if (writer->lines) {
        mg_part__filter_add(writer->lines, writer->line_count, hashes, count);
        return MG_OK;
    }
    MG_TRY(mg_part__buffer_grow(writer->budget, &writer->hashes, count * sizeof *hashes, err));
    return mg_buffer_append(&writer->hashes, hashes, count * sizeof *hashes, err);
}

/* The row's key is above the one before; into the index with it. */
static enum mg_code add_key(struct mg_part_writer *writer, struct mg_slice before, struct mg_slice key,
                            uint64_t *out_hash, struct mg_error *err)
{
    uint32_t row = writer->row_count;

    if (row == UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "%s: a part has at most %u rows", writer->path, UINT32_MAX);
    if (row == 0)
        MG_TRY(keep_key(writer, &writer->low_key, key, err));
    else if (mg_slice_compare(before, key) >= 0)
        return mg_fail(err, MG_INVALID, "%s: the key of row %u is not above the one before it", writer->path, row);
    *out_hash = mg_part_key_hash(key);
    MG_TRY(mg_part__index_add(&writer->index, before, key, row % MG_VECTOR_ROWS == 0, err));
    writer->row_count++;
    return MG_OK;
}

/* Room for the keys of rows of one vector; every byte of a text may become two. */
static enum mg_code make_key_room(struct mg_part_writer *writer, const struct mg_vector *keys, uint32_t key_count,
                                  uint32_t count, struct mg_error *err)
{
    size_t bytes = 0;

    for (uint32_t k = 0; k < key_count; k++) {
        const struct mg_vector *v = &keys[k];
        bytes += (size_t)count * MG_MAX(mg_type_width(v->type.id), 2);
        if (v->type.id == MG_TYPE_UTF8)
            bytes += (size_t)(v->offsets[count] - v->offsets[0]) * 2;
    }
    mg_buffer_reset(&writer->keys);
    MG_TRY(mg_part__buffer_grow(writer->budget, &writer->keys, bytes, err));
    return mg_part__buffer_grow(writer->budget, &writer->key_offsets, ((size_t)count + 1) * sizeof(uint32_t), err);
}

/* The keys of rows [first, first + count), of one vector of the file. */
static enum mg_code add_keys(struct mg_part_writer *writer, const struct mg_batch *rows, uint32_t first, uint32_t count,
                             struct mg_error *err)
{
    const struct mg_schema *schema = writer->schema;
    struct mg_vector keys[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *vectors[MG_KEY_COLUMNS_MAX];
    uint64_t hashes[MG_VECTOR_ROWS];

    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t column = schema->key_columns[k];
        if (rows->vectors[column].null_count)
            return mg_fail(err, MG_INVALID, "%s: key column \"%s\" is NULL", writer->path,
                           schema->columns[column].name);
        keys[k] = slice(&rows->vectors[column], schema->columns[column].type, first, count);
        vectors[k] = &keys[k];
    }
    MG_TRY(make_key_room(writer, keys, schema->key_count, count, err));
    uint32_t *offsets = (uint32_t *)(void *)writer->key_offsets.data;
    MG_TRY(mg_key_encode_rows(vectors, schema->key_count, count, &writer->keys, offsets, err));
    struct mg_slice before = mg_buffer_slice(&writer->last_key);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice key = MG_SLICE(writer->keys.data + offsets[i], offsets[i + 1] - offsets[i]);
        MG_TRY(add_key(writer, before, key, &hashes[i], err));
        before = key;
    }
    MG_TRY(add_hashes(writer, hashes, count, err));
    return keep_key(writer, &writer->last_key, before, err);
}

/* ---- appending ----------------------------------------------------------------------------------------------- */

static enum mg_code check_columns(const struct mg_part_writer *writer, const struct mg_batch *rows,
                                  struct mg_error *err)
{
    const struct mg_schema *schema = writer->schema;

    if (rows->column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "%s: rows of %u columns for a part of %u", writer->path, rows->column_count,
                       schema->column_count);
    for (uint32_t c = 0; c < rows->column_count; c++)
        if (!mg_type_same_layout(rows->vectors[c].type, schema->columns[c].type))
            return mg_fail(err, MG_INVALID, "%s: column \"%s\" comes in another type", writer->path,
                           schema->columns[c].name);
    return MG_OK;
}

/* A whole row group, which nothing waits in front of: encoded from where it lies. */
static enum mg_code append_group(struct mg_part_writer *writer, const struct mg_batch *rows, uint32_t first,
                                 struct mg_error *err)
{
    for (uint32_t at = 0; at < MG_BLOCK_ROWS; at += MG_VECTOR_ROWS)
        MG_TRY(add_keys(writer, rows, first + at, MG_VECTOR_ROWS, err));
    return put_group(writer, rows, first, MG_BLOCK_ROWS, err);
}

/* Up to the end of a vector of the file. */
static enum mg_code collect(struct mg_part_writer *writer, const struct mg_batch *rows, uint32_t first, uint32_t count,
                            struct mg_error *err)
{
    MG_TRY(add_keys(writer, rows, first, count, err));
    for (uint32_t c = 0; c < rows->column_count; c++)
        MG_TRY(mg_builder_gather(&writer->group, c, &rows->vectors[c], NULL, first, count, err));
    return writer->row_count % MG_BLOCK_ROWS == 0 ? put_collected(writer, err) : MG_OK;
}

enum mg_code mg_part_writer_append(struct mg_part_writer *writer, const struct mg_batch *rows, struct mg_error *err)
{
    MG_TRY(check_columns(writer, rows, err));
    for (uint32_t at = 0; at < rows->row_count;) {
        uint32_t left = rows->row_count - at, count = MG_VECTOR_ROWS - writer->row_count % MG_VECTOR_ROWS;
        if (writer->row_count % MG_BLOCK_ROWS == 0 && left >= MG_BLOCK_ROWS && at % 64 == 0) {
            MG_TRY(append_group(writer, rows, at, err));
            at += MG_BLOCK_ROWS;
        } else {
            count = MG_MIN(count, left);
            MG_TRY(collect(writer, rows, at, count, err));
            at += count;
        }
    }
    return MG_OK;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static enum mg_code put_filter(struct mg_part_writer *writer, struct mg_part__piece *out, struct mg_error *err)
{
    if (!writer->lines) {
        MG_TRY(make_filter(writer, writer->row_count, err));
        mg_part__filter_add(writer->lines, writer->line_count, (const uint64_t *)(const void *)writer->hashes.data,
                            writer->row_count);
    }
    MG_TRY(put_piece(writer, writer->lines, writer->line_count * MG_PART__LINE_BYTES, out, err));
    free_filter(writer);
    return MG_OK;
}

static enum mg_code put_index(struct mg_part_writer *writer, struct mg_part__piece *out, struct mg_error *err)
{
    MG_TRY(start_encoded(writer, mg_part__index_bytes_max(&writer->index), err));
    MG_TRY(mg_part__index_encode(&writer->index, mg_buffer_slice(&writer->low_key), mg_buffer_slice(&writer->last_key),
                                 &writer->encoded, err));
    return put_encoded(writer, out, err);
}

static enum mg_code put_footer(struct mg_part_writer *writer, const struct mg_part__footer *footer,
                               struct mg_error *err)
{
    struct mg_part__tail tail = {.footer_offset = file_end(writer), .version = writer->version};
    uint8_t tail_bytes[MG_PART__TAIL_BYTES];
    struct mg_slice entries = mg_buffer_slice(&writer->entries);
    /* The schema's size is not known before; it is small beside the sketches. */
    size_t room = entries.size + footer->low.size + footer->high.size +
                  footer->schema->column_count * sizeof(struct mg_part__column) + 4096;

    MG_TRY(start_encoded(writer, room, err));
    MG_TRY(mg_part__encode_footer(footer, entries, &writer->encoded, err));
    MG_TRY(settle_encoded(writer, err));
    tail.footer_size = writer->encoded.size;
    mg_part__encode_tail(&tail, tail_bytes);
    MG_TRY(put(writer, writer->encoded.data, writer->encoded.size, err));
    MG_TRY(put(writer, tail_bytes, sizeof tail_bytes, err));
    return writer->staged_bytes ? write_staged(writer, err) : MG_OK;
}

static enum mg_code finish(struct mg_part_writer *writer, struct mg_error *err)
{
    struct mg_part__footer footer = {
        .segment_id = writer->segment_id, .schema = writer->schema, .columns = writer->columns};

    if (writer->row_count == 0)
        return mg_fail(err, MG_INVALID, "%s: a part has at least one row", writer->path);
    if (writer->row_count % MG_BLOCK_ROWS)
        MG_TRY(put_collected(writer, err));
    footer.row_count = writer->row_count;
    footer.low = mg_buffer_slice(&writer->low_key);
    footer.high = mg_buffer_slice(&writer->last_key);
    MG_TRY(put_filter(writer, &footer.filter, err));
    MG_TRY(put_index(writer, &footer.index, err));
    MG_TRY(put_footer(writer, &footer, err));
    return mg_file_sync(writer->file, err);
}

enum mg_code mg_part_writer_finish(struct mg_part_writer *writer, struct mg_part_summary *out, struct mg_error *err)
{
    enum mg_code code = finish(writer, err);

    if (code != MG_OK) {
        mg_part_writer_abort(writer);
        return code;
    }
    *out = (struct mg_part_summary){.row_count = writer->row_count, .file_bytes = file_end(writer)};
    for (uint32_t c = 0; c < writer->schema->column_count; c++)
        out->plain_bytes += writer->columns[c].plain_bytes;
    mg_file_close(writer->file);
    free_writer(writer);
    return MG_OK;
}
