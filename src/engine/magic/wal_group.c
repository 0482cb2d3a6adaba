/* wal_group.c -- one epoch as the WAL holds it: encoded as pieces that borrow the chunks' memory, decoded with every
 * bound checked.
 *
 * Layout   u32 le size of the head; the head (numbers as varints, presence bits, marks); the columns' data in the order
 *          in which the head names them: per run and column the values, or 4-byte offsets (row_count + 1) and text
 *          bytes.
 * Errors   decode: MG_CORRUPT, with the place in the head; never reads outside the bytes, whatever they say.
 * Threads  a builder belongs to one thread; decoding is pure.
 * Source   docs/format/wal.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum {
    WIDTH_BITS = 0x1f, /* of a column's layout byte */
    HAS_NULLS = 0x80,
    HEAD_MAX = 1 << 30,
    WITH_PARTS = 0, /* in the place of the epoch, which follows */
    BITMAP_BYTES = MG_CHUNK_ROWS / 8,
    /* The least bytes that an item of a list takes in the head: bounds its count before anything is allocated. */
    CHANGE_BYTES_MIN = 2,
    PART_BYTES_MIN = 4,
    TABLE_BYTES_MIN = 4,
    RUN_BYTES_MIN = 4,
    MARKS_BYTES_MIN = 3,
};

/* ---- encode -------------------------------------------------------------------------------------------------- */

void mg_wal_builder__init(struct mg_wal_builder *builder)
{
    memset(builder, 0, sizeof *builder);
    mg_buffer_init(&builder->head, HEAD_MAX);
}

void mg_wal_builder__clear(struct mg_wal_builder *builder)
{
    mg_buffer_clear(&builder->head);
    free(builder->pieces);
    memset(builder, 0, sizeof *builder);
}

static enum mg_code add_piece(struct mg_wal_builder *builder, const void *data, size_t size, struct mg_error *err)
{
    if (size == 0)
        return MG_OK;
    if (builder->piece_count == builder->piece_room) {
        uint32_t room = builder->piece_room ? builder->piece_room * 2 : 64;
        struct iovec *pieces = realloc(builder->pieces, room * sizeof *pieces);
        if (!pieces)
            return mg_fail(err, MG_NO_MEMORY, "no memory for the pieces of a WAL group");
        builder->pieces = pieces;
        builder->piece_room = room;
    }
    builder->pieces[builder->piece_count++] = (struct iovec){(void *)(uintptr_t)data, size};
    builder->data_bytes += size;
    return MG_OK;
}

enum mg_code mg_wal_builder__encode_change(const struct mg_schema_change *change, struct mg_buffer *out,
                                           struct mg_error *err)
{
    size_t before = out->size;
    enum mg_code code = mg_buffer_append_u8(out, (uint8_t)change->kind, err);
    if (code == MG_OK && change->kind == MG_SCHEMA_PUT_TABLE)
        code = mg_schema_encode(change->schema, out, err);
    else if (code == MG_OK && change->kind == MG_SCHEMA_DROP_TABLE)
        code = mg_buffer_append_varint(out, change->table_id, err);
    else if (code == MG_OK)
        code = mg_buffer_append_bytes(out, mg_slice_text(change->database), err);
    if (code != MG_OK)
        out->size = before;
    return code;
}

static enum mg_code append_parts(struct mg_buffer *head, const struct mg_wal_group *group, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(head, group->part_count, err));
    for (uint32_t i = 0; i < group->part_count; i++) {
        const struct mg_wal_part *part = &group->parts[i];
        MG_TRY(mg_buffer_append_varint(head, part->table_id, err));
        MG_TRY(mg_buffer_append_varint(head, part->segment_id, err));
        MG_TRY(mg_buffer_append_varint(head, part->row_count, err));
        MG_TRY(mg_buffer_append_varint(head, part->file_bytes, err));
    }
    return MG_OK;
}

enum mg_code mg_wal_builder__begin(struct mg_wal_builder *builder, const struct mg_wal_group *group,
                                   struct mg_slice changes, struct mg_error *err)
{
    struct mg_buffer *head = &builder->head;
    MG_TRY(add_piece(builder, builder->head_size, sizeof builder->head_size, err));
    MG_TRY(add_piece(builder, builder->head_size, sizeof builder->head_size, err)); /* the head, set by finish */
    builder->data_bytes = 0;
    if (group->part_count)
        MG_TRY(mg_buffer_append_varint(head, WITH_PARTS, err));
    MG_TRY(mg_buffer_append_varint(head, group->epoch, err));
    MG_TRY(mg_buffer_append_bytes(head, mg_slice_text(group->source), err));
    MG_TRY(mg_buffer_append_varint(head, group->generation, err));
    MG_TRY(mg_buffer_append_varint(head, group->watermark, err));
    MG_TRY(mg_buffer_append_bytes(head, group->position, err));
    if (group->part_count)
        MG_TRY(append_parts(head, group, err));
    MG_TRY(mg_buffer_append_varint(head, group->change_count, err));
    MG_TRY(mg_buffer_append(head, changes.data, changes.size, err));
    return mg_buffer_append_varint(head, group->table_count, err);
}

enum mg_code mg_wal_builder__table(struct mg_wal_builder *builder, uint64_t table_id, uint64_t schema_version,
                                   uint32_t run_count, uint32_t marks_count, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(&builder->head, table_id, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, schema_version, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, run_count, err));
    return mg_buffer_append_varint(&builder->head, marks_count, err);
}

/* Layout byte and presence bits of the rows. */
static enum mg_code column_layout(struct mg_wal_builder *builder, const struct mg_chunk_column *column, uint32_t width,
                                  uint32_t first_row, uint32_t end_row, struct mg_error *err)
{
    uint32_t count = end_row - first_row;
    size_t at = builder->head.size;
    MG_TRY(mg_buffer_append_u8(&builder->head, (uint8_t)width, err));
    if (!column->present && !column->bits)
        return MG_OK;
    MG_TRY(mg_buffer_append_zeros(&builder->head, (count + 7) / 8, err));
    uint8_t *to = builder->head.data + at + 1;
    const uint8_t *from = mg_buf_data(column->present ? column->present : column->bits);
    uint32_t set = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = first_row + i;
        uint8_t present = column->present ? from[row] : from[row >> 3] >> (row & 7) & 1;
        to[i >> 3] |= (uint8_t)(present << (i & 7));
        set += present;
    }
    if (set == count)
        builder->head.size = at + 1;
    else
        builder->head.data[at] |= HAS_NULLS;
    return MG_OK;
}

static enum mg_code run_column(struct mg_wal_builder *builder, const struct mg_chunk_column *column, uint32_t width,
                               uint32_t first_row, uint32_t end_row, struct mg_error *err)
{
    uint32_t count = end_row - first_row;
    MG_TRY(column_layout(builder, column, width, first_row, end_row, err));
    const uint8_t *values = mg_buf_data(column->values);
    if (width)
        return add_piece(builder, values + (size_t)first_row * width, (size_t)count * width, err);
    const int32_t *offsets = (const int32_t *)mg_buf_data(column->offsets) + first_row;
    size_t text_bytes = (size_t)(offsets[count] - offsets[0]);
    MG_TRY(mg_buffer_append_varint(&builder->head, text_bytes, err));
    MG_TRY(add_piece(builder, offsets, ((size_t)count + 1) * sizeof *offsets, err));
    return add_piece(builder, values + offsets[0], text_bytes, err);
}

enum mg_code mg_wal_builder__run(struct mg_wal_builder *builder, uint32_t segment_id, uint32_t first,
                                 const struct mg_chunk *chunk, const struct mg_schema *schema, uint32_t first_row,
                                 uint32_t end_row, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(&builder->head, segment_id, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, first, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, end_row - first_row, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, schema->column_count, err));
    for (uint32_t c = 0; c < schema->column_count; c++)
        MG_TRY(run_column(builder, &chunk->columns[c], mg_type_width(schema->columns[c].type.id), first_row, end_row,
                          err));
    return MG_OK;
}

enum mg_code mg_wal_builder__marks(struct mg_wal_builder *builder, uint32_t segment_id, const uint64_t *places,
                                   uint32_t count, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(&builder->head, segment_id, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, count, err));
    MG_TRY(mg_buffer_reserve(&builder->head, count * (size_t)MG_VARINT_MAX, err));
    uint32_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = (uint32_t)places[i];
        builder->head.size += mg_varint_put(builder->head.data + builder->head.size, row - before);
        before = row;
    }
    return MG_OK;
}

enum mg_code mg_wal_builder__bitmap(struct mg_wal_builder *builder, uint32_t segment_id, uint32_t granule,
                                    const uint64_t words[MG_CHUNK_ROWS / 64], struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(&builder->head, segment_id, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, 0, err));
    MG_TRY(mg_buffer_append_varint(&builder->head, granule, err));
    MG_TRY(mg_buffer_append_zeros(&builder->head, BITMAP_BYTES, err));
    uint8_t *to = builder->head.data + builder->head.size - BITMAP_BYTES;
    for (uint32_t i = 0; i < MG_CHUNK_ROWS / 64; i++)
        mg_store_le64(to + (size_t)i * 8, words[i]);
    return MG_OK;
}

void mg_wal_builder__finish(struct mg_wal_builder *builder)
{
    mg_store_le32(builder->head_size, (uint32_t)builder->head.size);
    builder->pieces[0] = (struct iovec){builder->head_size, sizeof builder->head_size};
    builder->pieces[1] = (struct iovec){builder->head.data, builder->head.size};
}

/* ---- decode -------------------------------------------------------------------------------------------------- */

struct decoder {
    struct mg_reader head, data;
    struct mg_arena *arena;
    const uint8_t *start;
    struct mg_error *err;
};

static enum mg_code corrupt(const struct decoder *d, const char *what)
{
    return mg_fail(d->err, MG_CORRUPT, "a WAL group is damaged: %s, at byte %zu of its head", what,
                   (size_t)(d->head.at - d->start));
}

/* A count of items that take at least item_bytes each in what is left of the head. */
static enum mg_code read_count(struct decoder *d, size_t item_bytes, uint32_t *out)
{
    uint64_t count = mg_reader_varint(&d->head);
    if (d->head.failed || count > mg_reader_left(&d->head) / item_bytes)
        return corrupt(d, "a count is larger than what follows");
    *out = (uint32_t)count;
    return MG_OK;
}

static enum mg_code read_u32(struct decoder *d, uint32_t *out)
{
    uint64_t v = mg_reader_varint(&d->head);
    if (d->head.failed || v > UINT32_MAX)
        return corrupt(d, "a number is missing or too large");
    *out = (uint32_t)v;
    return MG_OK;
}

/* A text without zero bytes, terminated. */
static enum mg_code read_name(struct decoder *d, size_t size_max, char **out)
{
    struct mg_slice name = mg_reader_bytes(&d->head);
    if (d->head.failed || name.size == 0 || name.size >= size_max || memchr(name.data, 0, name.size))
        return corrupt(d, "a name is missing, too long, or holds a zero byte");
    *out = mg_arena_text(d->arena, name);
    return *out ? MG_OK : mg_arena_fail(d->arena, d->err);
}

static enum mg_code read_change(struct decoder *d, struct mg_wal_change *change)
{
    change->kind = mg_reader_u8(&d->head);
    switch (change->kind) {
    case MG_SCHEMA_CREATE_DATABASE:
    case MG_SCHEMA_DROP_DATABASE: return read_name(d, MG_NAME_MAX, &change->database);
    case MG_SCHEMA_PUT_TABLE: return mg_schema_decode(&d->head, &change->schema, d->err);
    case MG_SCHEMA_DROP_TABLE:
        change->table_id = mg_reader_varint(&d->head);
        return d->head.failed ? corrupt(d, "a table id is missing") : MG_OK;
    default: return corrupt(d, "a schema change of an unknown kind");
    }
}

static enum mg_code read_text(struct decoder *d, uint32_t row_count, struct mg_chunk_source *out)
{
    uint64_t text_bytes = mg_reader_varint(&d->head);
    struct mg_slice stored = mg_reader_take(&d->data, ((uint64_t)row_count + 1) * sizeof(int32_t));
    struct mg_slice text = mg_reader_take(&d->data, text_bytes);
    if (d->head.failed || d->data.failed || text_bytes > INT32_MAX)
        return corrupt(d, "text is cut short");
    int32_t *offsets = mg_arena_array(d->arena, int32_t, (size_t)row_count + 1);
    if (!offsets)
        return mg_arena_fail(d->arena, d->err);
    int64_t first = (int32_t)mg_load_le32(stored.data);
    for (uint32_t i = 0; i <= row_count; i++) {
        int64_t at = (int32_t)mg_load_le32(stored.data + (size_t)i * 4) - first;
        if (at < 0 || at > (int64_t)text_bytes || (i > 0 && at < offsets[i - 1]))
            return corrupt(d, "text offsets fall or leave the text");
        offsets[i] = (int32_t)at;
    }
    if (offsets[row_count] != (int64_t)text_bytes)
        return corrupt(d, "text offsets do not end with the text");
    out->offsets = offsets;
    out->values = text.data;
    return MG_OK;
}

static enum mg_code read_column(struct decoder *d, uint32_t row_count, uint8_t *out_width, struct mg_chunk_source *out)
{
    uint8_t layout = mg_reader_u8(&d->head), width = layout & WIDTH_BITS;
    if (d->head.failed || layout & ~(WIDTH_BITS | HAS_NULLS) || width > 16 || (width & (width - 1)))
        return corrupt(d, "a column's layout is not known");
    if (layout & HAS_NULLS)
        out->bits = mg_reader_take(&d->head, (row_count + 7) / 8).data;
    *out_width = width;
    if (width == 0)
        return read_text(d, row_count, out);
    out->values = mg_reader_take(&d->data, (uint64_t)row_count * width).data;
    return d->data.failed || d->head.failed ? corrupt(d, "a column is cut short") : MG_OK;
}

static enum mg_code read_run(struct decoder *d, struct mg_wal_run *run)
{
    MG_TRY(read_u32(d, &run->segment_id));
    MG_TRY(read_u32(d, &run->first_row));
    MG_TRY(read_u32(d, &run->row_count));
    MG_TRY(read_count(d, 1, &run->column_count));
    if (run->row_count == 0 || run->row_count > MG_CHUNK_ROWS || run->column_count > MG_COLUMNS_MAX)
        return corrupt(d, "a run has no or too many rows, or too many columns");
    run->widths = mg_arena_array(d->arena, uint8_t, run->column_count);
    run->columns = mg_arena_array(d->arena, struct mg_chunk_source, run->column_count);
    if (!run->widths || !run->columns)
        return mg_arena_fail(d->arena, d->err);
    for (uint32_t c = 0; c < run->column_count; c++)
        MG_TRY(read_column(d, run->row_count, &run->widths[c], &run->columns[c]));
    return MG_OK;
}

static enum mg_code read_bitmap(struct decoder *d, struct mg_wal_marks *marks)
{
    MG_TRY(read_u32(d, &marks->granule));
    marks->bitmap = mg_reader_take(&d->head, BITMAP_BYTES).data;
    if (d->head.failed || marks->granule > UINT32_MAX / MG_CHUNK_ROWS)
        return corrupt(d, "a bitmap of marks is cut short or lies nowhere");
    return MG_OK;
}

static enum mg_code read_marks(struct decoder *d, struct mg_wal_marks *marks)
{
    MG_TRY(read_u32(d, &marks->segment_id));
    MG_TRY(read_count(d, 1, &marks->count));
    if (marks->count == 0)
        return read_bitmap(d, marks);
    marks->rows = mg_arena_array(d->arena, uint32_t, marks->count);
    if (!marks->rows)
        return mg_arena_fail(d->arena, d->err);
    uint64_t row = 0;
    for (uint32_t i = 0; i < marks->count; i++) {
        uint64_t step = mg_reader_varint(&d->head);
        if (d->head.failed || step > UINT32_MAX || row + step > UINT32_MAX || (i > 0 && step == 0))
            return corrupt(d, "marks do not rise");
        row += step;
        marks->rows[i] = (uint32_t)row;
    }
    return MG_OK;
}

static enum mg_code read_table(struct decoder *d, struct mg_wal_table *table)
{
    table->table_id = mg_reader_varint(&d->head);
    table->schema_version = mg_reader_varint(&d->head);
    MG_TRY(read_u32(d, &table->run_count));
    MG_TRY(read_u32(d, &table->marks_count));
    size_t left = mg_reader_left(&d->head);
    if (d->head.failed || table->run_count > left / RUN_BYTES_MIN || table->marks_count > left / MARKS_BYTES_MIN)
        return corrupt(d, "a count is larger than what follows");
    table->runs = mg_arena_array(d->arena, struct mg_wal_run, table->run_count);
    table->marks = mg_arena_array(d->arena, struct mg_wal_marks, table->marks_count);
    if (!table->runs || !table->marks)
        return mg_arena_fail(d->arena, d->err);
    for (uint32_t i = 0; i < table->run_count; i++)
        MG_TRY(read_run(d, &table->runs[i]));
    for (uint32_t i = 0; i < table->marks_count; i++)
        MG_TRY(read_marks(d, &table->marks[i]));
    return MG_OK;
}

static enum mg_code begin_decoding(struct mg_slice bytes, struct decoder *d)
{
    struct mg_reader all = mg_reader_of(bytes);
    uint32_t head_size = mg_reader_le32(&all);
    struct mg_slice head = mg_reader_take(&all, head_size);
    d->head = mg_reader_of(head);
    d->data = all;
    d->start = head.data;
    return all.failed ? mg_fail(d->err, MG_CORRUPT, "a WAL group is damaged: its head is cut short") : MG_OK;
}

static uint64_t read_epoch(struct mg_reader *head, bool *out_with_parts)
{
    uint64_t epoch = mg_reader_varint(head);
    *out_with_parts = epoch == WITH_PARTS && !head->failed;
    return *out_with_parts ? mg_reader_varint(head) : epoch;
}

static enum mg_code read_part(struct decoder *d, struct mg_wal_part *part)
{
    part->table_id = mg_reader_varint(&d->head);
    MG_TRY(read_u32(d, &part->segment_id));
    MG_TRY(read_u32(d, &part->row_count));
    part->file_bytes = mg_reader_varint(&d->head);
    return d->head.failed ? corrupt(d, "a part is cut short") : MG_OK;
}

static enum mg_code read_parts(struct decoder *d, struct mg_wal_group *group)
{
    MG_TRY(read_count(d, PART_BYTES_MIN, &group->part_count));
    group->parts = mg_arena_array(d->arena, struct mg_wal_part, group->part_count);
    if (!group->parts)
        return mg_arena_fail(d->arena, d->err);
    for (uint32_t i = 0; i < group->part_count; i++) {
        MG_TRY(read_part(d, &group->parts[i]));
        if (i > 0 && group->parts[i].segment_id <= group->parts[i - 1].segment_id)
            return corrupt(d, "parts do not rise");
    }
    return MG_OK;
}

static enum mg_code read_group(struct decoder *d, struct mg_wal_group *group)
{
    bool with_parts;
    group->epoch = read_epoch(&d->head, &with_parts);
    MG_TRY(read_name(d, MG_SOURCE_NAME_MAX, &group->source));
    group->generation = mg_reader_varint(&d->head);
    group->watermark = mg_reader_varint(&d->head);
    group->position = mg_reader_bytes(&d->head);
    if (d->head.failed || group->position.size > MG_POSITION_MAX)
        return corrupt(d, "the source's position is missing or too long");
    if (with_parts)
        MG_TRY(read_parts(d, group));
    uint32_t count;
    MG_TRY(read_count(d, CHANGE_BYTES_MIN, &count));
    group->changes = mg_arena_array(d->arena, struct mg_wal_change, count);
    if (!group->changes)
        return mg_arena_fail(d->arena, d->err);
    for (; group->change_count < count; group->change_count++)
        MG_TRY(read_change(d, &group->changes[group->change_count]));
    MG_TRY(read_count(d, TABLE_BYTES_MIN, &count));
    group->tables = mg_arena_array(d->arena, struct mg_wal_table, count);
    if (!group->tables)
        return mg_arena_fail(d->arena, d->err);
    for (; group->table_count < count; group->table_count++)
        MG_TRY(read_table(d, &group->tables[group->table_count]));
    if (mg_reader_left(&d->head) || mg_reader_left(&d->data))
        return corrupt(d, "something is left behind its end");
    return MG_OK;
}

enum mg_code mg_wal_group__decode(struct mg_slice bytes, struct mg_arena *arena, struct mg_wal_group *out,
                                  struct mg_error *err)
{
    struct decoder d = {.arena = arena, .err = err};
    struct mg_wal_group group = {0};
    MG_TRY(begin_decoding(bytes, &d));
    enum mg_code code = read_group(&d, &group);
    if (code != MG_OK) {
        mg_wal_group__clear(&group);
        return code;
    }
    *out = group;
    return MG_OK;
}

void mg_wal_group__clear(struct mg_wal_group *group)
{
    for (uint32_t i = 0; i < group->change_count; i++)
        mg_schema_unref(group->changes[i].schema);
    memset(group, 0, sizeof *group);
}

enum mg_code mg_wal_group__decode_head(struct mg_slice bytes, struct mg_wal_head *out, struct mg_error *err)
{
    struct decoder d = {.err = err};
    struct mg_wal_head head = {0};
    bool with_parts;
    MG_TRY(begin_decoding(bytes, &d));
    head.epoch = read_epoch(&d.head, &with_parts);
    head.source = mg_reader_bytes(&d.head);
    mg_reader_varint(&d.head); /* generation */
    head.watermark = mg_reader_varint(&d.head);
    mg_reader_bytes(&d.head); /* position */
    if (d.head.failed)
        return corrupt(&d, "it ends too early");
    if (with_parts)
        MG_TRY(read_count(&d, PART_BYTES_MIN, &head.part_count));
    head.parts = d.head;
    *out = head;
    return MG_OK;
}

enum mg_code mg_wal_head__next(struct mg_wal_head *head, struct mg_wal_part *out, struct mg_error *err)
{
    struct decoder d = {.head = head->parts, .start = head->parts.at, .err = err};
    enum mg_code code = read_part(&d, out);
    head->parts = d.head;
    return code;
}
