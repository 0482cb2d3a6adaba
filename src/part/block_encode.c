/* block_encode.c -- rows to a block: the frame of all classes of types.
 *
 * Output  headers first, written last, when places are known; then vectors, dictionary, symbols (docs/format/part.md).
 * Errors  MG_TOO_BIG above the buffer's limit, MG_NO_MEMORY; then out is as it was.
 * Threads pure but for its arguments.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_write.h"

enum mg_code mg_block__place(const struct mg_block__writer *writer, uint32_t *out, struct mg_error *err)
{
    size_t at = writer->out->size - writer->start;

    if (at > UINT32_MAX)
        return mg_fail(err, MG_TOO_BIG, "a block of more than %zu bytes", at);
    *out = (uint32_t)at;
    return MG_OK;
}

enum mg_code mg_block__pad(struct mg_block__writer *writer, struct mg_error *err)
{
    size_t size = writer->out->size - writer->start;

    return mg_buffer_append_zeros(writer->out, mg_pad8(size) - size, err);
}

enum mg_code mg_block__append(struct mg_block__writer *writer, const void *bytes, size_t size, struct mg_error *err)
{
    MG_TRY(mg_buffer_append(writer->out, bytes, size, err));
    return mg_block__pad(writer, err);
}

enum mg_code mg_block__begin_vector(struct mg_block__writer *writer, uint32_t vector, enum mg_encoding encoding,
                                    uint32_t width, uint64_t base, struct mg_error *err)
{
    struct mg_block_vector *header = &writer->headers[vector];
    uint32_t rows = mg_block__rows_of(writer, vector);
    uint64_t words[MG_VECTOR_WORDS] = {0};
    uint32_t offset;

    MG_TRY(mg_block__place(writer, &offset, err));
    *header = (struct mg_block_vector){.encoding = (uint8_t)encoding,
                                       .width = (uint8_t)width,
                                       .null_count = header->null_count,
                                       .offset = offset,
                                       .base = base};
    size_t validity_bytes = mg_block__validity_bytes(rows, header->null_count);
    if (validity_bytes)
        mg_bits_copy((uint8_t *)words, 0, writer->rows->validity, vector * MG_VECTOR_ROWS, rows);
    return mg_block__append(writer, words, validity_bytes, err);
}

enum mg_code mg_block__append_packed(struct mg_block__writer *writer, const uint64_t *numbers, uint32_t count,
                                     uint32_t width, struct mg_error *err)
{
    struct mg_block__lanes packed;

    mg_pack__put(numbers, count, width, packed.bytes);
    return mg_block__append(writer, packed.bytes, mg_pack__bytes(count, width), err);
}

/* ---- packed numbers with exceptions -------------------------------------------------------------------------- */

struct mg_block__patch mg_block__best_patch(const uint64_t *numbers, uint32_t count)
{
    struct mg_block__patch best = {.bytes = SIZE_MAX};
    uint32_t counts[65] = {0}, widest = 64, exceptions = 0;

    for (uint32_t i = 0; i < count; i++)
        counts[mg_pack__width(numbers[i])]++;
    while (widest && counts[widest] == 0)
        widest--;
    for (uint32_t width = widest + 1; width-- > 0; exceptions += counts[width]) {
        struct mg_block__patch patch = {width, exceptions, exceptions ? mg_pack__lane_bytes(widest - width) : 0, 0};
        patch.bytes = sizeof(struct mg_block__patched) + mg_pack__bytes(count, width) +
                      mg_pad8((uint64_t)exceptions * 2) + mg_pad8((uint64_t)exceptions * patch.exception_bytes);
        if (patch.bytes < best.bytes)
            best = patch;
    }
    return best;
}

enum mg_code mg_block__append_patched(struct mg_block__writer *writer, const uint64_t *numbers, uint32_t count,
                                      const struct mg_block__patch *patch, struct mg_error *err)
{
    struct mg_block__patched head = {.exception_count = (uint16_t)patch->exception_count,
                                     .exception_bytes = (uint8_t)patch->exception_bytes};
    uint64_t packed[MG_VECTOR_ROWS];
    uint16_t rows[MG_VECTOR_ROWS];
    uint32_t exceptions = 0;

    for (uint32_t i = 0; i < count; i++) {
        packed[i] = numbers[i] & mg_bits_mask(patch->width);
        if (packed[i] != numbers[i])
            rows[exceptions++] = (uint16_t)i;
    }
    MG_TRY(mg_block__append(writer, &head, sizeof head, err));
    MG_TRY(mg_block__append_packed(writer, packed, count, patch->width, err));
    MG_TRY(mg_block__append(writer, rows, exceptions * sizeof *rows, err));
    for (uint32_t i = 0; i < exceptions; i++) {
        uint64_t upper = numbers[rows[i]] >> patch->width;
        MG_TRY(mg_buffer_append(writer->out, &upper, patch->exception_bytes, err)); /* little endian: the low bytes */
    }
    return mg_block__pad(writer, err);
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */

uint32_t mg_block__count_runs(const uint64_t *numbers, uint32_t count)
{
    uint32_t runs = 1;

    for (uint32_t i = 1; i < count; i++)
        runs += numbers[i] != numbers[i - 1];
    return runs;
}

enum mg_code mg_block__write_runs(struct mg_block__writer *writer, uint32_t vector, const uint64_t *numbers,
                                  uint32_t width, uint64_t base, uint64_t turn, struct mg_error *err)
{
    uint32_t rows = mg_block__rows_of(writer, vector), runs = 0;
    uint16_t ends[MG_VECTOR_ROWS];
    uint64_t values[MG_VECTOR_ROWS];

    for (uint32_t i = 0; i < rows; i++)
        if (i + 1 == rows || numbers[i + 1] != numbers[i]) {
            ends[runs] = (uint16_t)(i + 1);
            values[runs++] = numbers[i] - base;
        }
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_RUNS, width, base ^ turn, err));
    MG_TRY(mg_buffer_append_le64(writer->out, runs, err));
    MG_TRY(mg_block__append(writer, ends, runs * sizeof *ends, err));
    for (uint32_t i = 0; i < runs; i++)
        MG_TRY(mg_buffer_append(writer->out, &values[i], width / 8, err)); /* little endian: the low bytes */
    return mg_block__pad(writer, err);
}

/* ---- the block ----------------------------------------------------------------------------------------------- */

static enum mg_code encode_rows(struct mg_block__writer *writer, struct mg_error *err)
{
    size_t headers_bytes = writer->vector_count * sizeof *writer->headers;

    MG_TRY(mg_buffer_append_zeros(writer->out, sizeof(struct mg_block__header) + headers_bytes, err));
    switch (mg_block__class_of(writer->rows->type.id)) {
    case MG_BLOCK__INTS: MG_TRY(mg_block__encode_ints(writer, err)); break;
    case MG_BLOCK__FLOATS: MG_TRY(mg_block__encode_floats(writer, err)); break;
    case MG_BLOCK__TEXTS: MG_TRY(mg_block__encode_texts(writer, err)); break;
    }
    uint32_t size;
    MG_TRY(mg_block__place(writer, &size, err));
    struct mg_block__header header = {
        .format = MG_BLOCK__FORMAT,
        .type = (uint8_t)writer->rows->type.id,
        .row_count = writer->rows->row_count,
        .null_count = writer->info->null_count,
        .size_bytes = size,
        .dictionary = writer->dictionary,
        .symbols = writer->symbols,
    };
    memcpy(writer->out->data + writer->start, &header, sizeof header);
    memcpy(writer->out->data + writer->start + sizeof header, writer->headers, headers_bytes);
    return MG_OK;
}

enum mg_code mg_block_encode(const struct mg_vector *rows, struct mg_arena *scratch, struct mg_buffer *out,
                             struct mg_block_info *info, struct mg_error *err)
{
    struct mg_block_info learnt = {.row_count = rows->row_count};
    struct mg_block__writer writer = {
        .rows = rows,
        .scratch = scratch,
        .out = out,
        .start = out->size,
        .vector_count = (rows->row_count + MG_VECTOR_ROWS - 1) / MG_VECTOR_ROWS,
        .info = &learnt,
    };

    mg_assert(rows->row_count >= 1 && rows->row_count <= MG_BLOCK_ROWS);
    for (uint32_t v = 0; v < writer.vector_count; v++) {
        uint32_t count = mg_block__rows_of(&writer, v);
        uint32_t present = rows->validity ? mg_bits_count(rows->validity, v * MG_VECTOR_ROWS, count) : count;
        writer.headers[v].null_count = (uint16_t)(count - present);
        learnt.null_count += count - present;
    }
    enum mg_code code = encode_rows(&writer, err);
    if (code != MG_OK) {
        out->size = writer.start;
        return code;
    }
    *info = learnt;
    return MG_OK;
}
