/* manifest.c -- manifests as bytes and as files.
 *
 * Errors   MG_CORRUPT names the file; what a decoder sees wrong stands behind it.
 * Threads  pure functions, and calls of the seam.
 * Source   docs/format/manifest.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/magic/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/stop.h"

enum { HEAD_BYTES = 16, HASH_BYTES = 8, NAME_DIGITS = 16, FILE_BYTES_MIN = HEAD_BYTES + HASH_BYTES };
static const char file_magic[8] = {'M', 'A', 'G', 'I', 'C', 'M', 'A', 'N'};

void mg_manifest__clear(struct mg_manifest *manifest)
{
    mg_catalog__unref(manifest->catalog);
    for (uint32_t i = 0; i < manifest->delta_count; i++)
        mg_schema_unref(manifest->deltas[i].schema);
    free(manifest->live_counts);
    free(manifest->sources);
    free(manifest->parts);
    free(manifest->deltas);
    free(manifest->named);
    memset(manifest, 0, sizeof *manifest);
}

enum { FLAG_CHECKPOINT = 1 };
enum { FORMAT_WITH_FLAGS = 2, FORMAT_WITH_NAMED = 3 };

/* ---- out ----------------------------------------------------------------------------------------------------- */

/* Varints, in order. */
static enum mg_code put_numbers(struct mg_buffer *out, const uint64_t *numbers, uint32_t count, struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(mg_buffer_append_varint(out, numbers[i], err));
    return MG_OK;
}

static enum mg_code put_sources(const struct mg_manifest *manifest, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(out, manifest->source_count, err));
    for (uint32_t i = 0; i < manifest->source_count; i++) {
        const struct mg_source_state *source = &manifest->sources[i];
        uint64_t numbers[] = {source->watermark, source->generation, source->epoch};
        MG_TRY(mg_buffer_append_bytes(out, mg_slice_text(source->name), err));
        MG_TRY(put_numbers(out, numbers, MG_COUNT_OF(numbers), err));
        MG_TRY(mg_buffer_append_bytes(out, MG_SLICE(source->position, source->position_size), err));
    }
    return MG_OK;
}

static enum mg_code put_segments(const struct mg_manifest *manifest, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(out, manifest->part_count, err));
    for (uint32_t i = 0; i < manifest->part_count; i++) {
        const struct mg_manifest_part *part = &manifest->parts[i];
        uint64_t numbers[] = {part->segment_id,  part->table_id,   part->row_count, part->file_bytes,
                              part->marks_epoch, part->marks_file, part->dead_count};
        MG_TRY(put_numbers(out, numbers, MG_COUNT_OF(numbers), err));
    }
    MG_TRY(mg_buffer_append_varint(out, manifest->delta_count, err));
    for (uint32_t i = 0; i < manifest->delta_count; i++) {
        const struct mg_manifest_delta *delta = &manifest->deltas[i];
        uint64_t numbers[] = {delta->segment_id, delta->table_id, delta->first_epoch, delta->row_count};
        MG_TRY(put_numbers(out, numbers, MG_COUNT_OF(numbers), err));
        MG_TRY(mg_schema_encode(delta->schema, out, err));
    }
    return MG_OK;
}

static enum mg_code put_named(const struct mg_manifest *manifest, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(out, manifest->named_count, err));
    for (uint32_t i = 0; i < manifest->named_count; i++) {
        uint64_t numbers[] = {manifest->named[i].segment_id, manifest->named[i].epoch};
        MG_TRY(put_numbers(out, numbers, MG_COUNT_OF(numbers), err));
    }
    return MG_OK;
}

enum mg_code mg_manifest__encode(const struct mg_manifest *manifest, struct mg_buffer *out, struct mg_error *err)
{
    size_t begin = out->size;
    uint64_t numbers[] = {manifest->epoch,           manifest->replay_from,
                          manifest->next_table_id,   manifest->next_version,
                          manifest->next_segment_id, manifest->is_checkpoint ? FLAG_CHECKPOINT : 0};
    /* What was read from a file of an earlier format does not say what there is to name, and is written as it was. */
    MG_TRY(mg_buffer_append(out, file_magic, sizeof file_magic, err));
    MG_TRY(mg_buffer_append_le64(out, manifest->has_named ? MG_MANIFEST_FORMAT : FORMAT_WITH_FLAGS, err));
    MG_TRY(put_numbers(out, numbers, MG_COUNT_OF(numbers), err));
    MG_TRY(mg_catalog__encode(manifest->catalog, out, err));
    MG_TRY(put_numbers(out, manifest->live_counts, manifest->catalog->table_count, err));
    MG_TRY(put_sources(manifest, out, err));
    MG_TRY(put_segments(manifest, out, err));
    if (manifest->has_named)
        MG_TRY(put_named(manifest, out, err));
    return mg_buffer_append_le64(out, mg_hash(out->data + begin, out->size - begin, 0), err);
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

static uint32_t take_u32(struct mg_reader *in)
{
    uint64_t number = mg_reader_varint(in);
    in->failed |= number > UINT32_MAX;
    return (uint32_t)number;
}

/* A count of items that take at least one byte each. */
static enum mg_code take_count(struct mg_reader *in, const char *of, uint32_t *out, struct mg_error *err)
{
    uint64_t count = mg_reader_varint(in);
    if (in->failed || count > mg_reader_left(in))
        return mg_fail(err, MG_CORRUPT, "%llu %s in %zu bytes", (unsigned long long)count, of, mg_reader_left(in));
    *out = (uint32_t)count;
    return MG_OK;
}

static enum mg_code no_memory(uint32_t count, const char *of, struct mg_error *err)
{
    return mg_fail(err, MG_NO_MEMORY, "no memory for %u %s", count, of);
}

static enum mg_code take_sources(struct mg_reader *in, struct mg_manifest *out, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(take_count(in, "sources", &count, err));
    out->sources = calloc((size_t)count + 1, sizeof *out->sources);
    if (!out->sources)
        return no_memory(count, "sources", err);
    if (count > MG_SOURCES_MAX)
        return mg_fail(err, MG_CORRUPT, "%u sources", count);
    for (; out->source_count < count; out->source_count++) {
        struct mg_source_state *source = &out->sources[out->source_count];
        struct mg_slice name = mg_reader_bytes(in);
        source->watermark = mg_reader_varint(in);
        source->generation = mg_reader_varint(in);
        source->epoch = mg_reader_varint(in);
        struct mg_slice position = mg_reader_bytes(in);
        if (in->failed || name.size == 0 || name.size >= sizeof source->name || memchr(name.data, 0, name.size) ||
            position.size > MG_POSITION_MAX || source->epoch > out->epoch)
            return mg_fail(err, MG_CORRUPT, "source %u cannot be one", out->source_count);
        memcpy(source->name, name.data, name.size);
        if (position.size)
            memcpy(source->position, position.data, position.size);
        source->position_size = (uint32_t)position.size;
    }
    return MG_OK;
}

static enum mg_code take_parts(struct mg_reader *in, struct mg_manifest *out, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(take_count(in, "parts", &count, err));
    out->parts = calloc((size_t)count + 1, sizeof *out->parts);
    if (!out->parts)
        return no_memory(count, "parts", err);
    for (; out->part_count < count; out->part_count++) {
        struct mg_manifest_part *part = &out->parts[out->part_count];
        part->segment_id = take_u32(in);
        part->table_id = mg_reader_varint(in);
        part->row_count = take_u32(in);
        part->file_bytes = mg_reader_varint(in);
        part->marks_epoch = mg_reader_varint(in);
        part->marks_file = mg_reader_varint(in);
        part->dead_count = take_u32(in);
        bool in_order = out->part_count == 0 || part[-1].segment_id < part->segment_id;
        if (in->failed || !in_order || part->segment_id >= out->next_segment_id || part->row_count == 0 ||
            part->dead_count > part->row_count || part->marks_epoch > out->epoch ||
            part->marks_epoch + 1 < out->replay_from || part->marks_file > part->marks_epoch ||
            mg_catalog__find_id(out->catalog, part->table_id) < 0)
            return mg_fail(err, MG_CORRUPT, "part %u (segment %u) cannot be one", out->part_count, part->segment_id);
    }
    return MG_OK;
}

static enum mg_code take_deltas(struct mg_reader *in, struct mg_manifest *out, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(take_count(in, "delta segments", &count, err));
    out->deltas = calloc((size_t)count + 1, sizeof *out->deltas);
    if (!out->deltas)
        return no_memory(count, "delta segments", err);
    while (out->delta_count < count) {
        struct mg_manifest_delta *delta = &out->deltas[out->delta_count];
        delta->segment_id = take_u32(in);
        delta->table_id = mg_reader_varint(in);
        delta->first_epoch = mg_reader_varint(in);
        delta->row_count = take_u32(in);
        bool in_order = out->delta_count == 0 || delta[-1].segment_id < delta->segment_id;
        if (in->failed || !in_order || delta->segment_id >= out->next_segment_id || delta->row_count == 0 ||
            delta->first_epoch > out->epoch || delta->first_epoch < out->replay_from ||
            mg_catalog__find_id(out->catalog, delta->table_id) < 0)
            return mg_fail(err, MG_CORRUPT, "delta %u (segment %u) cannot be one", out->delta_count, delta->segment_id);
        MG_TRY(mg_schema_decode(in, &delta->schema, err));
        out->delta_count++;
        if (delta->schema->table_id != delta->table_id || delta->schema->column_count == 0)
            return mg_fail(err, MG_CORRUPT, "the schema of segment %u is another table's", delta->segment_id);
    }
    return MG_OK;
}

static enum mg_code take_named(struct mg_reader *in, struct mg_manifest *out, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(take_count(in, "named parts", &count, err));
    out->named = calloc((size_t)count + 1, sizeof *out->named);
    if (!out->named)
        return no_memory(count, "named parts", err);
    for (; out->named_count < count; out->named_count++) {
        struct mg_named *named = &out->named[out->named_count];
        named->segment_id = take_u32(in);
        named->epoch = mg_reader_varint(in);
        bool in_order = out->named_count == 0 || named[-1].segment_id < named->segment_id;
        if (in->failed || !in_order || named->segment_id >= out->next_segment_id || named->epoch == 0 ||
            named->epoch > out->epoch)
            return mg_fail(err, MG_CORRUPT, "named part %u (segment %u, epoch %llu) cannot be one", out->named_count,
                           named->segment_id, (unsigned long long)named->epoch);
    }
    out->has_named = true;
    return MG_OK;
}

static enum mg_code decode_body(struct mg_reader *in, uint64_t format, struct mg_budget *budget,
                                struct mg_manifest *out, struct mg_error *err)
{
    out->epoch = mg_reader_varint(in);
    out->replay_from = mg_reader_varint(in);
    out->next_table_id = mg_reader_varint(in);
    out->next_version = mg_reader_varint(in);
    out->next_segment_id = take_u32(in);
    uint64_t flags = format < FORMAT_WITH_FLAGS ? FLAG_CHECKPOINT : mg_reader_varint(in);
    if (flags > FLAG_CHECKPOINT)
        return mg_fail(err, MG_CORRUPT, "flags %llu are not known", (unsigned long long)flags);
    out->is_checkpoint = flags == FLAG_CHECKPOINT;
    if (in->failed || out->replay_from == 0 || out->replay_from > out->epoch + 1)
        return mg_fail(err, MG_CORRUPT, "epoch %llu is to be replayed from epoch %llu", (unsigned long long)out->epoch,
                       (unsigned long long)out->replay_from);
    MG_TRY(mg_catalog__decode(in, budget, &out->catalog, err));
    out->live_counts = calloc((size_t)out->catalog->table_count + 1, sizeof *out->live_counts);
    if (!out->live_counts)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u tables", out->catalog->table_count);
    for (uint32_t i = 0; i < out->catalog->table_count; i++)
        out->live_counts[i] = mg_reader_varint(in);
    MG_TRY(take_sources(in, out, err));
    MG_TRY(take_parts(in, out, err));
    MG_TRY(take_deltas(in, out, err));
    if (format >= FORMAT_WITH_NAMED)
        MG_TRY(take_named(in, out, err));
    if (in->failed || mg_reader_left(in))
        return mg_fail(err, MG_CORRUPT, "it ends %zu bytes early", mg_reader_left(in));
    return MG_OK;
}

enum mg_code mg_manifest__decode(struct mg_slice bytes, struct mg_budget *budget, struct mg_manifest *out,
                                 struct mg_error *err)
{
    memset(out, 0, sizeof *out);
    if (bytes.size < FILE_BYTES_MIN || memcmp(bytes.data, file_magic, sizeof file_magic) != 0)
        return mg_fail(err, MG_CORRUPT, "it is no manifest: %zu bytes, or another word at byte 0", bytes.size);
    uint64_t format = mg_load_le64(bytes.data + sizeof file_magic);
    if (format < MG_MANIFEST_FORMAT_MIN || format > MG_MANIFEST_FORMAT)
        return mg_fail(err, MG_UNIMPLEMENTED, "it has format %llu, and this Magic reads %d to %d",
                       (unsigned long long)format, MG_MANIFEST_FORMAT_MIN, MG_MANIFEST_FORMAT);
    size_t size = bytes.size - HASH_BYTES;
    if (mg_hash(bytes.data, size, 0) != mg_load_le64(bytes.data + size))
        return mg_fail(err, MG_CORRUPT, "its checksum at byte %zu is not that of the bytes before", size);
    struct mg_reader in = mg_reader_of(MG_SLICE(bytes.data + HEAD_BYTES, size - HEAD_BYTES));
    enum mg_code code = decode_body(&in, format, budget, out, err);
    if (code == MG_OK)
        return MG_OK;
    mg_manifest__clear(out);
    return mg_fail_in(err, code, "before byte %td", in.at - bytes.data);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static void folder_of(const char *folder, char path[MG_PATH_MAX])
{
    snprintf(path, MG_PATH_MAX, "%s/manifest", folder);
}

static void name_of(uint64_t number, char name[NAME_DIGITS + 1])
{
    snprintf(name, NAME_DIGITS + 1, "%016llx", (unsigned long long)number);
}

/* A durable file under a name that nobody reads. */
static enum mg_code write_new(struct mg_io *io, const char *path, struct mg_slice bytes, struct mg_error *err)
{
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    MG_TRY(mg_io_open(io, path, MG_OPEN_CREATE, &file, err));
    MG_TRY(mg_file_truncate(file, 0, err));
    MG_TRY(mg_file_pwrite(file, bytes.data, bytes.size, 0, err));
    return mg_file_sync(file, err);
}

enum mg_code mg_manifest__write(struct mg_io *io, const char *folder, const struct mg_manifest *manifest,
                                bool *out_unknown, struct mg_error *err)
{
    char parent[MG_PATH_MAX], path[MG_PATH_MAX + 32], new[MG_PATH_MAX + 32];
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, MG_MANIFEST_MAX);
    folder_of(folder, parent);
    snprintf(path, sizeof path, "%s/%016llx", parent, (unsigned long long)manifest->number);
    snprintf(new, sizeof new, "%s.new", path);
    *out_unknown = false;
    enum mg_code code = mg_manifest__encode(manifest, &bytes, err);
    if (code == MG_OK)
        code = write_new(io, new, mg_buffer_slice(&bytes), err);
    mg_buffer_clear(&bytes);
    MG_TRY(code);
    MG_STOP("manifest.written");
    *out_unknown = true;
    MG_TRY(io->ops->rename(io, new, path, err));
    MG_TRY(io->ops->sync_folder(io, parent, err));
    *out_unknown = false;
    MG_STOP("manifest.synced");
    return MG_OK;
}

enum mg_code mg_manifest__read(struct mg_io *io, const char *folder, uint64_t number, struct mg_budget *budget,
                               struct mg_manifest *out, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, MG_MANIFEST_MAX);
    snprintf(path, sizeof path, "%s/manifest/%016llx", folder, (unsigned long long)number);
    enum mg_code code = mg_io_read_file(io, path, &bytes, err);
    if (code == MG_OK)
        code = mg_manifest__decode(mg_buffer_slice(&bytes), budget, out, err);
    mg_buffer_clear(&bytes);
    if (code != MG_OK)
        return mg_fail_in(err, code, "the manifest %s", path);
    out->number = number;
    return MG_OK;
}

enum mg_code mg_manifest__remove(struct mg_io *io, const char *folder, uint64_t number, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    snprintf(path, sizeof path, "%s/manifest/%016llx", folder, (unsigned long long)number);
    return io->ops->unlink(io, path, err);
}

enum mg_code mg_manifest__sync_folder(struct mg_io *io, const char *folder, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    folder_of(folder, path);
    return io->ops->sync_folder(io, path, err);
}

struct listing {
    uint64_t *numbers;
    uint32_t count, room;
};

static enum mg_code note_name(void *arg, const char *name, struct mg_error *err)
{
    struct listing *listing = arg;
    char again[NAME_DIGITS + 1];
    uint64_t number = strtoull(name, NULL, 16);
    name_of(number, again);
    if (strcmp(name, again) != 0)
        return MG_OK;
    MG_TRY(mg_list__reserve(&listing->numbers, &listing->room, listing->count, 1, sizeof number, err));
    listing->numbers[listing->count++] = number;
    return MG_OK;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum mg_code mg_manifest__list(struct mg_io *io, const char *folder, uint64_t **out, uint32_t *out_count,
                               struct mg_error *err)
{
    char path[MG_PATH_MAX];
    struct listing listing = {0};
    folder_of(folder, path);
    enum mg_code code = io->ops->list(io, path, note_name, &listing, err);
    if (code != MG_OK) {
        free(listing.numbers);
        return code;
    }
    if (listing.count)
        qsort(listing.numbers, listing.count, sizeof *listing.numbers, compare_u64);
    *out = listing.numbers;
    *out_count = listing.count;
    return MG_OK;
}
