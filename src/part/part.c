/* part.c -- an open part: its footer in memory, everything else read piece by piece through the cache.
 *
 * Memory   the footer's bytes and what is made of them, reserved while the part is open.
 * Trust    a piece is hashed and its form checked when it comes into the cache, once; its readers rely on that. What
 *          opening a block found out lies behind the block's bytes in the same entry.
 * Errors   MG_CORRUPT names the file and the offset.
 * Threads  immutable after mg_part_open; references are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "part/part_internal.h"

enum {
    READ_BEYOND = 64,          /* what block.h allows itself behind a block */
    UNPACK_BYTES = 576 * 1024, /* that zstd takes for its work, or the other column's rows do */
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

static void free_part(struct mg_part *part)
{
    if (part->file)
        mg_file_close(part->file);
    mg_part__footer_clear(&part->footer, part->budget);
    free(part->footer_bytes);
    free(part->path);
    mg_budget_release(part->budget, part->reserved_bytes);
    free(part);
}

static void free_partp(struct mg_part **part)
{
    if (*part)
        free_part(*part);
}

static enum mg_code reserve(struct mg_part *part, size_t bytes, struct mg_error *err)
{
    MG_TRY(mg_budget_reserve(part->budget, bytes, err));
    part->reserved_bytes += bytes;
    return MG_OK;
}

static enum mg_code read_footer(struct mg_part *part, struct mg_error *err)
{
    uint8_t bytes[MG_PART__TAIL_BYTES];
    struct mg_part__tail tail;

    MG_TRY(mg_file_size(part->file, &part->file_bytes, err));
    if (part->file_bytes < sizeof bytes)
        return mg_corrupt(err, part->path, 0, "%" PRIu64 " bytes are too few for a part", part->file_bytes);
    MG_TRY(mg_file_pread(part->file, bytes, sizeof bytes, part->file_bytes - sizeof bytes, err));
    MG_TRY(mg_part__decode_tail(bytes, part->path, part->file_bytes, &tail, err));
    part->footer_offset = tail.footer_offset;
    size_t size = tail.footer_size + sizeof bytes;
    MG_TRY(reserve(part, 2 * size, err)); /* twice: the schema is about as large as it is stored */
    part->footer_bytes = malloc(size);
    if (!part->footer_bytes)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the footer of %s", part->path);
    MG_TRY(mg_file_pread(part->file, part->footer_bytes, size, tail.footer_offset, err));
    return mg_part__decode_footer(MG_SLICE(part->footer_bytes, tail.footer_size), part->path, tail.footer_offset,
                                  tail.version, part->budget, &part->footer, err);
}

static enum mg_code check_identity(const struct mg_part *part, uint32_t segment_id, struct mg_error *err)
{
    if (part->footer.segment_id != segment_id)
        return mg_corrupt(err, part->path, (long long)part->file_bytes, "it is segment %u, not %u",
                          part->footer.segment_id, segment_id);
    return MG_OK;
}

enum mg_code mg_part_open(const char *path, const struct mg_part_options *options, struct mg_part **out,
                          struct mg_error *err)
{
    MG_CLEANUP(free_partp) struct mg_part *part = calloc(1, sizeof *part);

    if (!part)
        return mg_fail(err, MG_NO_MEMORY, "no memory to open %s", path);
    atomic_init(&part->references, 1);
    part->io = options->io ? options->io : mg_io_system();
    part->cache = options->cache;
    part->budget = options->budget;
    MG_TRY(reserve(part, sizeof *part + strlen(path) + 1, err));
    part->path = strdup(path);
    if (!part->path)
        return mg_fail(err, MG_NO_MEMORY, "no memory to open %s", path);
    MG_TRY(mg_io_open(part->io, path, MG_OPEN_READ, &part->file, err));
    MG_TRY(read_footer(part, err));
    MG_TRY(check_identity(part, options->segment_id, err));
    *out = MG_TAKE(part);
    return MG_OK;
}

struct mg_part *mg_part_ref(struct mg_part *part)
{
    atomic_fetch_add_explicit(&part->references, 1, memory_order_relaxed);
    return part;
}

void mg_part_unref(struct mg_part *part)
{
    if (!part || atomic_fetch_sub_explicit(&part->references, 1, memory_order_acq_rel) != 1)
        return;
    mg_cache_drop_file(part->cache, part->footer.segment_id);
    free_part(part);
}

/* ---- what the footer says ------------------------------------------------------------------------------------ */

const struct mg_schema *mg_part_schema(const struct mg_part *part) { return part->footer.schema; }
uint32_t mg_part_segment_id(const struct mg_part *part) { return part->footer.segment_id; }
uint32_t mg_part_row_count(const struct mg_part *part) { return part->footer.row_count; }
uint32_t mg_part_group_count(const struct mg_part *part) { return part->footer.group_count; }
uint64_t mg_part_file_bytes(const struct mg_part *part) { return part->file_bytes; }

static uint32_t block_number(const struct mg_part *part, uint32_t column, uint32_t group)
{
    mg_assert(column < part->footer.schema->column_count && group < part->footer.group_count);
    return group * part->footer.schema->column_count + column;
}

const struct mg_block_info *mg_part_block_info(const struct mg_part *part, uint32_t column, uint32_t group)
{
    return &part->footer.blocks[block_number(part, column, group)].info;
}

uint64_t mg_part_block_bytes(const struct mg_part *part, uint32_t column, uint32_t group)
{
    return part->footer.blocks[block_number(part, column, group)].piece.size;
}

void mg_part_column_stats(const struct mg_part *part, uint32_t column, struct mg_part_column_stats *out)
{
    mg_assert(column < part->footer.schema->column_count);
    const struct mg_part__column *from = &part->footer.columns[column];
    *out = (struct mg_part_column_stats){.null_count = from->null_count,
                                         .encoded_bytes = from->encoded_bytes,
                                         .plain_bytes = from->plain_bytes,
                                         .distinct = &from->sketch};
}

void mg_part_keys(const struct mg_part *part, struct mg_slice *low, struct mg_slice *high)
{
    *low = part->footer.low;
    *high = part->footer.high;
}

/* ---- pieces -------------------------------------------------------------------------------------------------- */

const struct mg_part__piece *mg_part__piece(const struct mg_part *part, uint32_t number)
{
    if (number == mg_part__filter_piece(part))
        return &part->footer.filter;
    if (number == mg_part__index_piece(part))
        return &part->footer.index;
    return &part->footer.blocks[number].piece;
}

size_t mg_part__piece_room(const struct mg_part *part, uint32_t number)
{
    size_t padded = mg_part__padded(mg_part__piece(part, number)->size);

    return number < mg_part__block_count(part) ? padded + READ_BEYOND + sizeof(struct mg_block) : padded;
}

static struct mg_block *place_of_block(const struct mg_part *part, uint32_t number, uint8_t *bytes)
{
    return (struct mg_block *)(void *)(bytes + mg_part__padded(mg_part__piece(part, number)->size) + READ_BEYOND);
}

const struct mg_block *mg_part__loaded_block(const struct mg_part *part, uint32_t number, const uint8_t *bytes)
{
    return place_of_block(part, number, (uint8_t *)(uintptr_t)bytes);
}

/* What a piece's form says is wrong, with the file and the offset. */
#define damaged(part, number, what, err) \
    mg_corrupt(err, (part)->path, (long long)mg_part__piece(part, number)->offset, "%s", what)

static enum mg_code open_block(struct mg_part *part, uint32_t number, uint8_t *bytes, struct mg_error *err)
{
    const struct mg_part__block *block = &part->footer.blocks[number];
    uint32_t columns = part->footer.schema->column_count;
    struct mg_block *opened = place_of_block(part, number, bytes);
    struct mg_error inner = MG_ERROR_INIT;

    memset(bytes + mg_part__padded(block->piece.size), 0, READ_BEYOND);
    enum mg_code code = mg_block_open(part->footer.schema->columns[number % columns].type,
                                      MG_SLICE(bytes, block->piece.size), opened, &inner);
    if (code == MG_CORRUPT)
        return damaged(part, number, inner.text, err);
    if (code != MG_OK)
        return mg_fail(err, code, "%s: %s", part->path, inner.text);
    if (opened->row_count != block->info.row_count || opened->null_count != block->info.null_count)
        return damaged(part, number, "a block has other counts than the footer says", err);
    return MG_OK;
}

/* As it lies in the file, with its padding. */
static enum mg_code read_stored(struct mg_part *part, const struct mg_part__piece *piece, uint8_t *bytes,
                                struct mg_error *err)
{
    size_t padded = mg_part__padded(piece->stored);

    MG_TRY(mg_file_pread(part->file, bytes, padded, piece->offset, err));
    if (mg_hash(bytes, padded, 0) != piece->hash)
        return mg_corrupt(err, part->path, (long long)piece->offset, "%" PRIu64 " bytes do not have their checksum",
                          piece->stored);
    return MG_OK;
}

/* The rows of the block that another one is differences to. */
static enum mg_code read_others(struct mg_part *part, uint32_t number, int64_t *out, struct mg_error *err)
{
    uint32_t group = number / part->footer.schema->column_count;
    struct mg_part_block other;
    bool fits = true;

    MG_TRY(mg_part_block_get(part, mg_part__piece(part, number)->difference_of - 1, group, &other, err));
    for (uint32_t v = 0; v < other.block.vector_count; v++)
        fits &= mg_block_ints(&other.block, v, out + (size_t)v * MG_VECTOR_ROWS);
    mg_part_block_release(&other);
    return fits ? MG_OK : damaged(part, number, "the numbers that a block is differences to do not fit", err);
}

static enum mg_code rebuild(struct mg_part *part, uint32_t number, struct mg_slice stored, uint8_t *bytes,
                            struct mg_error *err)
{
    uint32_t row_count = part->footer.blocks[number].info.row_count;
    int64_t *others = malloc((size_t)mg_part__vectors(row_count) * MG_VECTOR_ROWS * sizeof *others);

    if (!others)
        return mg_fail(err, MG_NO_MEMORY, "no memory to rebuild a block of %u rows", row_count);
    enum mg_code code = read_others(part, number, others, err);
    if (code == MG_OK)
        code = mg_part__rebuild(stored, others, row_count, bytes, mg_part__piece(part, number)->size, err);
    free(others);
    return code;
}

static enum mg_code unpack(struct mg_part *part, uint32_t number, uint8_t *packed, uint8_t *bytes, struct mg_error *err)
{
    const struct mg_part__piece *piece = mg_part__piece(part, number);
    struct mg_error inner = MG_ERROR_INIT;

    MG_TRY(read_stored(part, piece, packed, err));
    struct mg_slice stored = MG_SLICE(packed, piece->stored);
    enum mg_code code = piece->difference_of ? rebuild(part, number, stored, bytes, &inner)
                                             : mg_part__unpack(stored, bytes, piece->size, &inner);
    if (code == MG_CORRUPT && !strstr(inner.text, part->path)) /* else it is the other block that is damaged */
        return damaged(part, number, inner.text, err);
    if (code != MG_OK && !strstr(inner.text, part->path))
        return mg_fail(err, code, "%s: %s", part->path, inner.text);
    if (code != MG_OK) {
        if (err)
            *err = inner;
        return code;
    }
    memset(bytes + piece->size, 0, mg_part__padded(piece->size) - piece->size);
    return MG_OK;
}

static enum mg_code read_packed(struct mg_part *part, uint32_t number, uint8_t *bytes, struct mg_error *err)
{
    size_t padded = mg_part__padded(mg_part__piece(part, number)->stored);
    MG_TRY(mg_budget_reserve(part->budget, padded + UNPACK_BYTES, err));
    uint8_t *packed = aligned_alloc(MG_PART__ALIGNMENT, padded + READ_BEYOND);
    if (packed)
        memset(packed + padded, 0, READ_BEYOND);
    enum mg_code code = packed ? unpack(part, number, packed, bytes, err)
                               : mg_fail(err, MG_NO_MEMORY, "no memory to unpack a block of %s", part->path);
    free(packed);
    mg_budget_release(part->budget, padded + UNPACK_BYTES);
    return code;
}

enum mg_code mg_part__load(struct mg_part *part, uint32_t number, uint8_t *bytes, struct mg_error *err)
{
    const struct mg_part__piece *piece = mg_part__piece(part, number);
    struct mg_error inner = MG_ERROR_INIT;

    MG_TRY(piece->stored != piece->size ? read_packed(part, number, bytes, err) : read_stored(part, piece, bytes, err));
    if (number < mg_part__block_count(part))
        return open_block(part, number, bytes, err);
    if (number == mg_part__index_piece(part) &&
        mg_part__index_check(MG_SLICE(bytes, piece->size), part->footer.row_count,
                             mg_part__common(part->footer.low, part->footer.high), &inner) != MG_OK)
        return damaged(part, number, inner.text, err);
    return MG_OK;
}

static enum mg_code load(void *arg, struct mg_cache_key key, void *bytes, size_t size, struct mg_error *err)
{
    return mg_part__load(arg, key.piece, bytes, err);
}

enum mg_code mg_part__pin(struct mg_part *part, uint32_t number, struct mg_cache_pin *out, struct mg_slice *out_bytes,
                          struct mg_error *err)
{
    struct mg_cache_key key = {.file = part->footer.segment_id, .piece = number};

    MG_TRY(mg_cache_get(part->cache, key, mg_part__piece_room(part, number), load, part, out, err));
    *out_bytes = MG_SLICE(out->bytes.data, mg_part__piece(part, number)->size);
    return MG_OK;
}

enum mg_code mg_part_block_get(struct mg_part *part, uint32_t column, uint32_t group, struct mg_part_block *out,
                               struct mg_error *err)
{
    uint32_t number = block_number(part, column, group);
    struct mg_cache_pin pin;
    struct mg_slice bytes;

    MG_TRY(mg_part__pin(part, number, &pin, &bytes, err));
    *out = (struct mg_part_block){.block = *mg_part__loaded_block(part, number, pin.bytes.data), .pin = pin};
    return MG_OK;
}

void mg_part_block_release(struct mg_part_block *block) { mg_cache_unpin(&block->pin); }
