/* block_texts.c -- texts to vectors: a dictionary, codes of symbols, or as they are.
 *
 * A dictionary is for all vectors of a block, symbols are for those that they make smaller. A NULL row has an empty
 * text.
 * Threads  a writer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_write.h"
#include "part/fsst.h"

enum {
    SAMPLE_BYTES = 64 << 10,     /* of texts that symbols are learnt from */
    SAMPLE_TEXT_MAX = 1024,      /* bytes taken of one text */
    LEARN_BYTES_MIN = 1024,      /* of a block: fewer do not pay for a table */
    LEARN_BYTES_MAX = 256 << 20, /* above, codes would take too much memory while they are made */
};

static struct mg_slice text_at(const struct mg_vector *rows, uint32_t row)
{
    return mg_vector_is_null(rows, row) ? MG_SLICE(NULL, 0) : mg_vector_text(rows, row);
}

/* ---- zone ---------------------------------------------------------------------------------------------------- */

/* The shortest prefix of at most MG_ZONE_TEXT_MAX bytes, raised so that it is above all texts that it leads; false when
 * there is none. */
static bool cut_high(struct mg_arena *arena, struct mg_slice *text)
{
    size_t size = MG_ZONE_TEXT_MAX;

    if (text->size <= MG_ZONE_TEXT_MAX)
        return true;
    while (size && text->data[size - 1] == 0xff)
        size--;
    if (size == 0)
        return false;
    uint8_t *copy = mg_arena_alloc(arena, size);
    if (!copy)
        return false;
    memcpy(copy, text->data, size);
    copy[size - 1]++;
    *text = MG_SLICE(copy, size);
    return true;
}

/* Bounds of the block, copied into the arena; has_zone stays false when there are none. */
static enum mg_code find_zone(struct mg_block__writer *writer, struct mg_error *err)
{
    struct mg_block_info *info = writer->info;
    struct mg_slice low = {0}, high = {0};
    bool any = false;

    for (uint32_t row = 0; row < writer->rows->row_count; row++) {
        if (mg_vector_is_null(writer->rows, row))
            continue;
        struct mg_slice text = mg_vector_text(writer->rows, row);
        if (!any || mg_slice_compare(text, low) < 0)
            low = text;
        if (!any || mg_slice_compare(text, high) > 0)
            high = text;
        any = true;
    }
    if (!any || !cut_high(writer->scratch, &high))
        return MG_OK;
    low.size = MG_MIN(low.size, (size_t)MG_ZONE_TEXT_MAX);
    info->low = (struct mg_value){.type = writer->rows->type, .text = mg_arena_copy(writer->scratch, low)};
    info->high = (struct mg_value){.type = writer->rows->type, .text = mg_arena_copy(writer->scratch, high)};
    if ((low.size && !info->low.text.data) || (high.size && !info->high.text.data))
        return mg_arena_fail(writer->scratch, err);
    info->has_zone = true;
    return MG_OK;
}

/* ---- vectors ------------------------------------------------------------------------------------------------- */

/* A block of texts as codes of symbols; bytes[] of each vector. */
struct codes {
    const struct mg_fsst__encoder *encoder;
    uint8_t *bytes;    /* all rows' codes, one after another */
    uint32_t *offsets; /* row_count + 1 */
};

static bool is_constant(const struct mg_block__writer *writer, uint32_t vector, struct mg_slice *out)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    bool any = false;

    *out = MG_SLICE(NULL, 0);
    for (uint32_t row = first; row < first + rows; row++) {
        if (mg_vector_is_null(writer->rows, row))
            continue;
        struct mg_slice text = mg_vector_text(writer->rows, row);
        if (any && !mg_slice_equal(text, *out))
            return false;
        *out = text;
        any = true;
    }
    return true;
}

static uint64_t text_bytes_of(const struct mg_block__writer *writer, uint32_t vector)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    uint64_t bytes = 0;

    for (uint32_t row = first; row < first + rows; row++)
        bytes += text_at(writer->rows, row).size;
    return bytes;
}

static size_t plain_bytes(const struct mg_block__writer *writer, uint32_t vector)
{
    return mg_pad8(((uint64_t)mg_block__rows_of(writer, vector) + 1) * 4) + mg_pad8(text_bytes_of(writer, vector));
}

static enum mg_code write_plain(struct mg_block__writer *writer, uint32_t vector, struct mg_error *err)
{
    uint32_t first = vector * MG_VECTOR_ROWS, rows = mg_block__rows_of(writer, vector);
    uint32_t offsets[MG_VECTOR_ROWS + 1];

    offsets[0] = 0;
    for (uint32_t i = 0; i < rows; i++)
        offsets[i + 1] = offsets[i] + (uint32_t)text_at(writer->rows, first + i).size;
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_PLAIN, 0, offsets[rows], err));
    MG_TRY(mg_block__append(writer, offsets, ((size_t)rows + 1) * 4, err));
    for (uint32_t i = 0; i < rows; i++) {
        struct mg_slice text = text_at(writer->rows, first + i);
        MG_TRY(mg_buffer_append(writer->out, text.data, text.size, err));
    }
    return mg_block__pad(writer, err);
}

static enum mg_code write_constant(struct mg_block__writer *writer, uint32_t vector, struct mg_slice text,
                                   struct mg_error *err)
{
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_CONSTANT, 0, text.size, err));
    return mg_block__append(writer, text.data, text.size, err);
}

/* ---- symbols ------------------------------------------------------------------------------------------------- */

/* Texts from all over the block, of about SAMPLE_BYTES together. */
static struct mg_slice *take_sample(const struct mg_block__writer *writer, uint64_t text_bytes, uint32_t *out_count)
{
    uint32_t rows = writer->rows->row_count, count = 0;
    uint64_t stride = text_bytes / SAMPLE_BYTES + 1;
    struct mg_slice *texts = mg_arena_array(writer->scratch, struct mg_slice, rows / stride + 1);

    for (uint64_t row = 0; texts && row < rows; row += stride) {
        struct mg_slice text = text_at(writer->rows, (uint32_t)row);
        struct mg_slice part = MG_SLICE(text.data, MG_MIN(text.size, (size_t)SAMPLE_TEXT_MAX));
        uint8_t *copy = mg_arena_alloc(writer->scratch, part.size + MG_FSST__SLACK);
        if (!copy)
            return NULL;
        if (part.size)
            memcpy(copy, part.data, part.size);
        texts[count++] = MG_SLICE(copy, part.size);
    }
    *out_count = count;
    return texts;
}

static enum mg_code encode_rows(struct mg_block__writer *writer, uint64_t text_bytes, struct codes *out,
                                struct mg_error *err)
{
    const struct mg_vector *rows = writer->rows;
    uint32_t sample_count;
    struct mg_slice *sample = take_sample(writer, text_bytes, &sample_count);
    const uint8_t *end = (const uint8_t *)rows->values + rows->offsets[rows->row_count];

    out->encoder = sample ? mg_fsst__train(sample, sample_count, writer->scratch) : NULL;
    out->bytes = mg_arena_alloc(writer->scratch, text_bytes * 2 + MG_FSST__SLACK);
    out->offsets = mg_arena_array(writer->scratch, uint32_t, rows->row_count + 1);
    if (!out->encoder || !out->bytes || !out->offsets)
        return mg_arena_fail(writer->scratch, err);
    for (uint32_t row = 0; row < rows->row_count; row++) {
        struct mg_slice text = text_at(rows, row);
        if (text.size && (size_t)(end - text.data) < text.size + MG_FSST__SLACK) {
            uint8_t *copy = mg_arena_alloc(writer->scratch, text.size + MG_FSST__SLACK);
            if (!copy)
                return mg_arena_fail(writer->scratch, err);
            memcpy(copy, text.data, text.size);
            text.data = copy;
        }
        size_t size = mg_fsst__encode(out->encoder, text.data, text.size, out->bytes + out->offsets[row]);
        out->offsets[row + 1] = out->offsets[row] + (uint32_t)size;
    }
    return MG_OK;
}

/* Sizes of a vector's codes, as they are packed. */
struct sizes {
    uint32_t shortest;
    uint32_t bytes; /* of all codes */
    uint64_t more[MG_VECTOR_ROWS];
    struct mg_block__patch patch;
};

static void measure_codes(const struct codes *codes, uint32_t vector, uint32_t rows, struct sizes *out)
{
    const uint32_t *offsets = codes->offsets + (size_t)vector * MG_VECTOR_ROWS;

    out->shortest = UINT32_MAX;
    for (uint32_t i = 0; i < rows; i++)
        out->shortest = MG_MIN(out->shortest, offsets[i + 1] - offsets[i]);
    for (uint32_t i = 0; i < rows; i++)
        out->more[i] = offsets[i + 1] - offsets[i] - out->shortest;
    out->bytes = offsets[rows] - offsets[0];
    out->patch = mg_block__best_patch(out->more, rows);
}

static size_t code_bytes(const struct codes *codes, uint32_t vector, uint32_t rows)
{
    struct sizes sizes;

    measure_codes(codes, vector, rows, &sizes);
    return 8 + sizes.patch.bytes + mg_pad8(sizes.bytes);
}

static enum mg_code write_codes(struct mg_block__writer *writer, const struct codes *codes, uint32_t vector,
                                struct mg_error *err)
{
    uint32_t rows = mg_block__rows_of(writer, vector);
    struct sizes sizes;

    measure_codes(codes, vector, rows, &sizes);
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_FSST, sizes.patch.width, text_bytes_of(writer, vector),
                                  err));
    MG_TRY(mg_buffer_append_le32(writer->out, sizes.bytes, err));
    MG_TRY(mg_buffer_append_le32(writer->out, sizes.shortest, err));
    MG_TRY(mg_block__append_patched(writer, sizes.more, rows, &sizes.patch, err));
    return mg_block__append(writer, codes->bytes + codes->offsets[(size_t)vector * MG_VECTOR_ROWS], sizes.bytes, err);
}

static enum mg_code write_symbols(struct mg_block__writer *writer, const struct codes *codes, struct mg_error *err)
{
    const struct mg_fsst__table *table = mg_fsst__table_of(codes->encoder);

    MG_TRY(mg_block__place(writer, &writer->symbols, err));
    return mg_block__append(writer, table, mg_fsst__table_bytes(table->count), err);
}

/* ---- the block ----------------------------------------------------------------------------------------------- */

static enum mg_code write_with_dictionary(struct mg_block__writer *writer,
                                          const struct mg_block__dictionary *dictionary, struct mg_error *err)
{
    for (uint32_t v = 0; v < writer->vector_count; v++) {
        if (mg_block__only_nulls(writer, v))
            MG_TRY(write_constant(writer, v, MG_SLICE(NULL, 0), err));
        else
            MG_TRY(mg_block__write_codes(writer, dictionary, v, text_bytes_of(writer, v), err));
    }
    return mg_block__write_dictionary(writer, dictionary, 0, err);
}

/* CONSTANT where it is, else codes of symbols if there are any, else PLAIN, whichever is smaller. */
static enum mg_code write_alone(struct mg_block__writer *writer, const struct codes *codes, struct mg_error *err)
{
    bool used = false;
    struct mg_slice text;

    for (uint32_t v = 0; v < writer->vector_count; v++) {
        uint32_t rows = mg_block__rows_of(writer, v);
        if (is_constant(writer, v, &text)) {
            MG_TRY(write_constant(writer, v, text, err));
        } else if (codes && code_bytes(codes, v, rows) < plain_bytes(writer, v)) {
            MG_TRY(write_codes(writer, codes, v, err));
            used = true;
        } else {
            MG_TRY(write_plain(writer, v, err));
        }
    }
    return used ? write_symbols(writer, codes, err) : MG_OK;
}

static size_t dictionary_total(const struct mg_block__writer *writer, const struct mg_block__dictionary *dictionary)
{
    size_t bytes = mg_block__dictionary_bytes(dictionary);

    for (uint32_t v = 0; v < writer->vector_count; v++)
        bytes += mg_block__codes_of(dictionary, v, mg_block__rows_of(writer, v)).bytes;
    return bytes;
}

/* A dictionary that is a quarter of PLAIN is taken without learning symbols, which costs more than all else. */
enum mg_code mg_block__encode_texts(struct mg_block__writer *writer, struct mg_error *err)
{
    struct mg_block__dictionary dictionary;
    struct codes codes;
    size_t plain = 0, text_bytes = 0, with_dictionary = SIZE_MAX, with_symbols = 0;

    MG_TRY(find_zone(writer, err));
    for (uint32_t v = 0; v < writer->vector_count; v++) {
        plain += plain_bytes(writer, v);
        text_bytes += text_bytes_of(writer, v);
    }
    MG_TRY(mg_block__text_dictionary(writer, writer->rows->row_count / 3 + 1, &dictionary, err));
    if (dictionary.count)
        with_dictionary = dictionary_total(writer, &dictionary);
    if (with_dictionary <= plain / 4)
        return write_with_dictionary(writer, &dictionary, err);
    bool learn = text_bytes >= LEARN_BYTES_MIN && text_bytes <= LEARN_BYTES_MAX;
    if (learn) {
        MG_TRY(encode_rows(writer, text_bytes, &codes, err));
        with_symbols = mg_fsst__table_bytes(mg_fsst__table_of(codes.encoder)->count);
        for (uint32_t v = 0; v < writer->vector_count; v++)
            with_symbols += MG_MIN(code_bytes(&codes, v, mg_block__rows_of(writer, v)), plain_bytes(writer, v));
        learn = with_symbols < plain;
    }
    if (with_dictionary < (learn ? with_symbols : plain))
        return write_with_dictionary(writer, &dictionary, err);
    return write_alone(writer, learn ? &codes : NULL, err);
}
