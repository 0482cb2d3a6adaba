/* marks_file.c -- the deleted rows of a part as of an epoch, as a file beside it.
 *
 * Errors   MG_CORRUPT names the file.
 * Threads  pure functions, and calls of the seam.
 * Source   docs/format/marks.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/manifest.h"

enum {
    HEAD_BYTES = 40,
    HASH_BYTES = 8,
    BITMAP_BYTES = MG_CHUNK_ROWS / 8,
    COUNT_BITMAP = 0xffff, /* instead of a count: a bitmap follows */
};
#define FILE_MAX ((size_t)1 << 30)
static const char file_magic[8] = {'M', 'A', 'G', 'I', 'C', 'M', 'R', 'K'};

void mg_path__part(const char *folder, uint32_t segment_id, char path[MG_PATH_MAX])
{
    snprintf(path, MG_PATH_MAX, "%s/parts/%08x.part", folder, segment_id);
}

void mg_path__marks_name(uint32_t segment_id, uint64_t epoch, char name[48])
{
    snprintf(name, 48, "%08x.marks.%016llx", segment_id, (unsigned long long)epoch);
}

/* ---- out ----------------------------------------------------------------------------------------------------- */

static enum mg_code put_granule(uint32_t granule, const struct mg_mark_version *version, struct mg_buffer *out,
                                struct mg_error *err)
{
    uint8_t head[6];
    mg_store_le32(head, granule);
    mg_store_le16(head + 4, version->is_bitmap ? COUNT_BITMAP : (uint16_t)version->count);
    MG_TRY(mg_buffer_append(out, head, sizeof head, err));
    if (version->is_bitmap)
        return mg_buffer_append(out, version->words, BITMAP_BYTES, err);
    return mg_buffer_append(out, mg_mark_version__rows(version), version->count * sizeof(uint16_t), err);
}

enum mg_code mg_marks_file__encode(uint32_t segment_id, uint64_t epoch, uint32_t row_count,
                                   const struct mg_marks *marks, struct mg_buffer *out, struct mg_error *err)
{
    uint8_t head[HEAD_BYTES] = {0};
    uint32_t granules = 0;
    size_t begin = out->size;
    for (uint32_t g = 0; g < marks->granule_count; g++)
        granules += marks->granules[g] != NULL;
    memcpy(head, file_magic, sizeof file_magic);
    mg_store_le32(head + 8, MG_MARKS_FORMAT);
    mg_store_le32(head + 12, segment_id);
    mg_store_le64(head + 16, epoch);
    mg_store_le32(head + 24, row_count);
    mg_store_le32(head + 28, marks->dead_count);
    mg_store_le32(head + 32, granules);
    MG_TRY(mg_buffer_append(out, head, sizeof head, err));
    for (uint32_t g = 0; g < marks->granule_count; g++)
        if (marks->granules[g])
            MG_TRY(put_granule(g, marks->granules[g], out, err));
    return mg_buffer_append_le64(out, mg_hash(out->data + begin, out->size - begin, 0), err);
}

enum mg_code mg_marks_file__write(struct mg_io *io, const char *folder, uint32_t segment_id, uint64_t epoch,
                                  uint32_t row_count, const struct mg_marks *marks, struct mg_error *err)
{
    char parts[MG_PATH_MAX], name[48];
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, FILE_MAX);
    snprintf(parts, sizeof parts, "%s/parts", folder);
    mg_path__marks_name(segment_id, epoch, name);
    enum mg_code code = mg_marks_file__encode(segment_id, epoch, row_count, marks, &bytes, err);
    if (code == MG_OK)
        code = mg_io_write_file(io, parts, name, mg_buffer_slice(&bytes), err);
    mg_buffer_clear(&bytes);
    return code;
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

struct decoding {
    const uint8_t *begin; /* of the file */
    struct mg_reader in;
    uint64_t epoch;
    uint32_t row_count;
    struct mg_marks *marks;
    struct mg_budget *budget;
};

/* Rows of a granule, rising; false when they cannot be. */
static bool take_rows(struct decoding *d, uint32_t granule, uint16_t rows[MG_CHUNK_ROWS], uint32_t *out_count)
{
    uint32_t first = granule * MG_CHUNK_ROWS, there = MG_MIN(d->row_count - first, (uint32_t)MG_CHUNK_ROWS), n = 0;
    uint32_t count = mg_reader_le16(&d->in);
    if (count == COUNT_BITMAP) {
        struct mg_slice words = mg_reader_take(&d->in, BITMAP_BYTES);
        for (uint32_t row = 0; !d->in.failed && row < MG_CHUNK_ROWS; row++)
            if (words.data[row / 8] >> (row % 8) & 1)
                rows[n++] = (uint16_t)row;
    } else {
        for (; n < count && n < MG_CHUNK_ROWS && !d->in.failed; n++)
            rows[n] = mg_reader_le16(&d->in);
        if (n < count)
            return false;
    }
    for (uint32_t i = 1; i < n; i++)
        if (rows[i] <= rows[i - 1])
            return false;
    *out_count = n;
    return !d->in.failed && n > 0 && rows[n - 1] < there;
}

static enum mg_code take_granule(struct decoding *d, uint32_t *after, struct mg_error *err)
{
    uint16_t rows[MG_CHUNK_ROWS];
    uint32_t granule = mg_reader_le32(&d->in), count, new;
    if (d->in.failed || granule < *after || granule >= d->marks->granule_count || !take_rows(d, granule, rows, &count))
        return mg_fail(err, MG_CORRUPT, "granule %u of its marks, before byte %td, cannot be one", granule,
                       d->in.at - d->begin);
    *after = granule + 1;
    MG_TRY(mg_budget_reserve(d->budget, MG_MARK_VERSION_BYTES_MAX, err));
    struct mg_mark_version *version = mg_mark_version__add(NULL, rows, count, d->epoch, &new);
    if (!version) {
        mg_budget_release(d->budget, MG_MARK_VERSION_BYTES_MAX);
        return mg_fail(err, MG_NO_MEMORY, "no memory for marks");
    }
    mg_budget_release(d->budget, MG_MARK_VERSION_BYTES_MAX - mg_mark_version__bytes(version));
    d->marks->granules[granule] = version;
    d->marks->dead_count += count;
    return MG_OK;
}

void mg_marks_file__free(struct mg_marks *marks)
{
    for (uint32_t g = 0; marks && g < marks->granule_count; g++) {
        if (!marks->granules[g])
            continue;
        mg_budget_release(marks->budget, mg_mark_version__bytes(marks->granules[g]));
        free((void *)(uintptr_t)marks->granules[g]);
    }
    mg_marks__unref(marks);
}

enum mg_code mg_marks_file__decode(struct mg_slice bytes, uint32_t segment_id, uint64_t epoch, uint32_t row_count,
                                   struct mg_budget *budget, struct mg_marks **out, struct mg_error *err)
{
    if (bytes.size < HEAD_BYTES + HASH_BYTES || memcmp(bytes.data, file_magic, sizeof file_magic) != 0)
        return mg_fail(err, MG_CORRUPT, "it holds no marks: %zu bytes, or another word at byte 0", bytes.size);
    if (mg_load_le32(bytes.data + 8) != MG_MARKS_FORMAT)
        return mg_fail(err, MG_UNIMPLEMENTED, "it has format %u, and this Magic reads %d", mg_load_le32(bytes.data + 8),
                       MG_MARKS_FORMAT);
    size_t size = bytes.size - HASH_BYTES;
    if (mg_hash(bytes.data, size, 0) != mg_load_le64(bytes.data + size))
        return mg_fail(err, MG_CORRUPT, "its checksum at byte %zu is not that of the bytes before", size);
    if (mg_load_le32(bytes.data + 12) != segment_id || mg_load_le64(bytes.data + 16) != epoch ||
        mg_load_le32(bytes.data + 24) != row_count)
        return mg_fail(err, MG_CORRUPT, "it holds at byte 12 the marks of segment %u at epoch %llu with %u rows",
                       mg_load_le32(bytes.data + 12), (unsigned long long)mg_load_le64(bytes.data + 16),
                       mg_load_le32(bytes.data + 24));
    struct decoding d = {.begin = bytes.data,
                         .in = mg_reader_of(MG_SLICE(bytes.data + HEAD_BYTES, size - HEAD_BYTES)),
                         .epoch = epoch,
                         .row_count = row_count,
                         .budget = budget};
    uint32_t granules = mg_load_le32(bytes.data + 32), after = 0;
    MG_TRY(mg_marks__copy(NULL, (row_count + MG_CHUNK_ROWS - 1) / MG_CHUNK_ROWS, budget, &d.marks, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < granules; i++)
        code = take_granule(&d, &after, err);
    if (code == MG_OK && (mg_reader_left(&d.in) || d.marks->dead_count != mg_load_le32(bytes.data + 28)))
        code = mg_fail(err, MG_CORRUPT, "it marks %u rows, not the %u that it says at byte 28", d.marks->dead_count,
                       mg_load_le32(bytes.data + 28));
    if (code != MG_OK) {
        mg_marks_file__free(d.marks);
        return code;
    }
    *out = d.marks;
    return MG_OK;
}

enum mg_code mg_marks_file__read(struct mg_io *io, const char *folder, uint32_t segment_id, uint64_t epoch,
                                 uint32_t row_count, struct mg_budget *budget, struct mg_marks **out,
                                 struct mg_error *err)
{
    char path[MG_PATH_MAX], name[48];
    struct mg_buffer bytes;
    mg_buffer_init(&bytes, FILE_MAX);
    mg_path__marks_name(segment_id, epoch, name);
    snprintf(path, sizeof path, "%s/parts/%s", folder, name);
    enum mg_code code = mg_io_read_file(io, path, &bytes, err);
    if (code == MG_OK)
        code = mg_marks_file__decode(mg_buffer_slice(&bytes), segment_id, epoch, row_count, budget, out, err);
    mg_buffer_clear(&bytes);
    return code == MG_OK ? code : mg_fail_in(err, code, "the marks in %s", path);
}
