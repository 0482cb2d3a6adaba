/* block_decode.c -- encoded vectors to Arrow's layout: whole ones, chosen rows, one row, and integers as int64.
 *
 * Whole vectors go through lanes (block_internal.h) of at most 8 KiB, which stay in the first cache. What the data says
 * of places (codes, ends of runs, offsets of texts) is checked on the way.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"

static uint32_t type_log(const struct mg_block *block) { return mg_block__log(mg_type_width(block->type.id)); }

/* ---- fixed width --------------------------------------------------------------------------------------------- */

/* PLAIN to the type's own size, or integers to 8 bytes. */
static void copy_plain(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log, void *out)
{
    int64_t *to = out;

    if (out_log == type_log(block)) {
        memcpy(out, view->data, (size_t)view->rows << out_log);
        return;
    }
#define COPY(type)                            \
    for (uint32_t i = 0; i < view->rows; i++) \
    to[i] = (int64_t)((const type *)(const void *)view->data)[i]
    switch (block->type.id) {
    case MG_TYPE_INT8: COPY(int8_t); break;
    case MG_TYPE_UINT8: COPY(uint8_t); break;
    case MG_TYPE_INT16: COPY(int16_t); break;
    case MG_TYPE_UINT16: COPY(uint16_t); break;
    case MG_TYPE_UINT32: COPY(uint32_t); break;
    case MG_TYPE_DECIMAL:
        for (uint32_t i = 0; i < view->rows; i++)
            to[i] = (int64_t)mg_load_le64(view->data + (size_t)i * 16);
        break;
    default: COPY(int32_t); break;
    }
#undef COPY
}

/* Numbers that end as int64 leave through lanes of 64 bits, moved up so that the base of widen brings their sign
 * back. */
#define BIAS (UINT64_C(1) << 63)
static void put_biased(const uint64_t *biased, uint32_t count, uint32_t out_log, void *out)
{
    mg_block__kernels()->widen[3][out_log](biased, -((mg_int128)1 << 63), count, out);
}

enum mg_code mg_block__patched(const struct mg_block *block, const struct mg_block__view *view, const uint8_t *at,
                               uint64_t out[MG_VECTOR_ROWS], struct mg_error *err)
{
    const struct mg_block__patched *head = (const void *)at;
    const uint8_t *packed = at + sizeof *head;
    const uint16_t *rows = (const void *)(packed + mg_pack__bytes(view->rows, view->width));
    const uint8_t *exceptions = (const uint8_t *)rows + mg_pad8((uint64_t)head->exception_count * 2);
    uint32_t bytes = head->exception_bytes;
    struct mg_block__lanes lanes;

    uint32_t log = mg_block__unpack(packed, view->width, view->rows, &lanes);
    mg_block__kernels()->widen[log][3](lanes.bytes, 0, view->rows, out);
    for (uint32_t i = 0; i < head->exception_count; i++) {
        if (rows[i] >= view->rows)
            return mg_block__corrupt(err, block, rows + i, "an exception at row %u of %u", rows[i], view->rows);
        out[rows[i]] += mg_pack__lane(exceptions + (size_t)i * bytes, bytes) << view->width;
    }
    return MG_OK;
}

/* biased[i] = base + i steps + the distances up to i. */
static enum mg_code add_up(const struct mg_block *block, const struct mg_block__view *view, uint64_t *biased,
                           struct mg_error *err)
{
    uint64_t step = mg_load_le64(view->data), sum = (uint64_t)view->base + BIAS - step;

    MG_TRY(mg_block__patched(block, view, view->data + 8, biased, err));
    for (uint32_t i = 0; i < view->rows; i++) {
        sum += step + biased[i];
        biased[i] = sum;
    }
    return MG_OK;
}

enum mg_code mg_block__runs(const struct mg_block *block, const struct mg_block__view *view, struct mg_block__runs *out,
                            struct mg_error *err)
{
    uint32_t count = mg_load_le32(view->data), last = 0;
    const uint16_t *ends = (const void *)(view->data + 8);

    for (uint32_t i = 0; i < count; last = ends[i++])
        if (ends[i] <= last)
            return mg_block__corrupt(err, block, ends + i, "run %u ends at row %u, the one before at %u", i, ends[i],
                                     last);
    if (last != view->rows)
        return mg_block__corrupt(err, block, ends, "runs end at row %u of %u", last, view->rows);
    *out = (struct mg_block__runs){count, view->width / 8, ends, view->data + 8 + mg_pad8((uint64_t)count * 2)};
    return MG_OK;
}

static enum mg_code put_runs(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log,
                             void *out, struct mg_error *err)
{
    struct mg_block__runs runs;
    struct mg_block__lanes lanes;
    uint64_t *numbers = (void *)lanes.bytes;

    MG_TRY(mg_block__runs(block, view, &runs, err));
    for (uint32_t i = 0, row = 0; i < runs.count; i++) {
        uint64_t distance = mg_pack__lane(runs.values + (size_t)i * runs.value_bytes, runs.value_bytes);
        for (; row < runs.ends[i]; row++)
            numbers[row] = distance;
    }
    mg_block__kernels()->widen[3][out_log](numbers, view->base, view->rows, out);
    return MG_OK;
}

enum mg_code mg_block__codes(const struct mg_block *block, const struct mg_block__view *view,
                             uint32_t out[MG_VECTOR_ROWS], struct mg_error *err)
{
    const struct mg_block__kernels *kernels = mg_block__kernels();
    struct mg_block__lanes lanes;
    uint32_t log = mg_block__unpack(view->data, view->width, view->rows, &lanes);

    kernels->widen[log][2](lanes.bytes, (uint32_t)view->header->base, view->rows, out);
    uint32_t largest = kernels->largest(out, view->rows);
    if (largest >= block->dictionary->count)
        return mg_block__corrupt(err, block, view->data, "code %u in a dictionary of %u values", largest,
                                 block->dictionary->count);
    return MG_OK;
}

static enum mg_code put_entries(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log,
                                void *out, struct mg_error *err)
{
    uint32_t codes[MG_VECTOR_ROWS];
    uint64_t biased[MG_VECTOR_ROWS];

    MG_TRY(mg_block__codes(block, view, codes, err));
    mg_block__kernels()->look_up(mg_block__entries(block), codes, view->rows, BIAS, biased);
    put_biased(biased, view->rows, out_log, out);
    return MG_OK;
}

static enum mg_code put_alp(const struct mg_block *block, const struct mg_block__view *view, void *out,
                            struct mg_error *err)
{
    const struct mg_alp__head *head = (const void *)view->data;
    const uint8_t *packed = view->data + sizeof *head;
    const uint16_t *rows = (const void *)(packed + mg_pack__bytes(view->rows, view->width));
    const uint8_t *exceptions = (const uint8_t *)rows + mg_pad8((uint64_t)head->exception_count * 2);
    uint32_t bytes = mg_type_width(block->type.id);
    struct mg_block__lanes lanes;
    int64_t digits[MG_VECTOR_ROWS];

    uint32_t log = mg_block__unpack(packed, view->width, view->rows, &lanes);
    mg_block__kernels()->widen[log][3](lanes.bytes, view->base, view->rows, digits);
    double power = mg_alp__power(head->f), inverse = mg_alp__inverse(head->e);
    if (bytes == 8)
        for (uint32_t i = 0; i < view->rows; i++)
            ((double *)out)[i] = (double)digits[i] * power * inverse;
    else
        for (uint32_t i = 0; i < view->rows; i++)
            ((float *)out)[i] = (float)((double)digits[i] * power * inverse);
    for (uint32_t i = 0; i < head->exception_count; i++) {
        if (rows[i] >= view->rows)
            return mg_block__corrupt(err, block, rows + i, "an exception at row %u of %u", rows[i], view->rows);
        memcpy((uint8_t *)out + (size_t)rows[i] * bytes, exceptions + (size_t)i * 8, bytes);
    }
    return MG_OK;
}

enum mg_code mg_block__values(const struct mg_block *block, const struct mg_block__view *view, uint32_t out_log,
                              void *out, struct mg_error *err)
{
    const struct mg_block__kernels *kernels = mg_block__kernels();
    struct mg_block__lanes lanes;

    switch (view->header->encoding) {
    case MG_ENCODING_PLAIN: copy_plain(block, view, out_log, out); return MG_OK;
    case MG_ENCODING_CONSTANT:
        memset(lanes.bytes, 0, view->rows);
        kernels->widen[0][out_log](lanes.bytes, view->base, view->rows, out);
        return MG_OK;
    case MG_ENCODING_DELTA:
        MG_TRY(add_up(block, view, (uint64_t *)(void *)lanes.bytes, err));
        put_biased((const void *)lanes.bytes, view->rows, out_log, out);
        return MG_OK;
    case MG_ENCODING_RUNS: return put_runs(block, view, out_log, out, err);
    case MG_ENCODING_DICTIONARY: return put_entries(block, view, out_log, out, err);
    case MG_ENCODING_ALP: return put_alp(block, view, out, err);
    default:
        kernels->widen[mg_block__unpack(view->data, view->width, view->rows, &lanes)][out_log](lanes.bytes, view->base,
                                                                                               view->rows, out);
        return MG_OK;
    }
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

static enum mg_code no_room(const struct mg_block *block, const struct mg_block__view *view, struct mg_error *err)
{
    return mg_block__corrupt(err, block, view->header, "its texts are longer than it says");
}

/* Where the codes of each row begin, from their packed sizes. */
static enum mg_code open_codes(struct mg_block__reader *reader, struct mg_error *err)
{
    const struct mg_block__view *view = &reader->view;
    uint64_t code_bytes = mg_load_le32(view->data), shortest = mg_load_le32(view->data + 4), sum = 0;
    uint64_t more[MG_VECTOR_ROWS];

    MG_TRY(mg_block__patched(reader->block, view, view->data + 8, more, err));
    reader->numbers[0] = 0;
    for (uint32_t i = 0; i < view->rows; i++) {
        sum += shortest + MG_MIN(more[i], code_bytes + 1); /* no sum of 64 bits is passed */
        if (sum > code_bytes)
            break;
        reader->numbers[i + 1] = (uint32_t)sum;
    }
    if (sum != code_bytes)
        return mg_block__corrupt(err, reader->block, view->data, "rows have another number of codes than %llu bytes",
                                 (unsigned long long)code_bytes);
    reader->bytes = view->data + 8 + mg_block__patched_bytes(view, view->data + 8, UINT64_MAX);
    return MG_OK;
}

static enum mg_code open_plain(struct mg_block__reader *reader, struct mg_error *err)
{
    const struct mg_block__view *view = &reader->view;
    const uint32_t *offsets = (const void *)view->data;
    uint32_t last = 0;

    for (uint32_t i = 0; i <= view->rows; last = offsets[i++])
        if (offsets[i] < last || offsets[i] > view->header->base)
            return mg_block__corrupt(err, reader->block, offsets + i, "offset %u follows %u, there are %llu bytes",
                                     offsets[i], last, (unsigned long long)view->header->base);
    memcpy(reader->numbers, offsets, ((size_t)view->rows + 1) * 4);
    reader->bytes = view->data + mg_pad8(((uint64_t)view->rows + 1) * 4);
    return MG_OK;
}

enum mg_code mg_block__reader_open(const struct mg_block *block, uint32_t vector, struct mg_block__reader *out,
                                   struct mg_error *err)
{
    out->block = block;
    out->view = mg_block__view(block, vector);
    switch (out->view.header->encoding) {
    case MG_ENCODING_PLAIN: return open_plain(out, err);
    case MG_ENCODING_FSST: return open_codes(out, err);
    case MG_ENCODING_DICTIONARY: return mg_block__codes(block, &out->view, out->numbers, err);
    default: return MG_OK;
    }
}

static enum mg_code bad_entry(const struct mg_block__reader *reader, uint32_t row, struct mg_error *err)
{
    return mg_block__corrupt(err, reader->block, reader->block->dictionary, "text %u lies outside",
                             reader->numbers[row]);
}

enum mg_code mg_block__row_bytes(const struct mg_block__reader *reader, uint32_t row, struct mg_slice *out,
                                 struct mg_error *err)
{
    const struct mg_block__view *view = &reader->view;

    *out = MG_SLICE(view->data, 0);
    if (mg_block__is_null(view, row))
        return MG_OK;
    switch (view->header->encoding) {
    case MG_ENCODING_CONSTANT: *out = MG_SLICE(view->data, view->header->base); return MG_OK;
    case MG_ENCODING_DICTIONARY:
        return mg_block__entry_text(reader->block, reader->numbers[row], out) ? MG_OK : bad_entry(reader, row, err);
    default:
        *out = MG_SLICE(reader->bytes + reader->numbers[row], reader->numbers[row + 1] - reader->numbers[row]);
        return MG_OK;
    }
}

/* The codes' text behind out's last one. */
static bool put_codes(const struct mg_fsst__table *symbols, const struct mg_block__texts *out, uint32_t index,
                      struct mg_slice codes)
{
    size_t at = (size_t)out->offsets[index];

    if (out->room < 64 || at > out->room - 64)
        return false;
    size_t size = mg_fsst__decode(symbols, codes.data, codes.size, out->text + at, out->room - 64 - at);
    if (size == SIZE_MAX)
        return false;
    out->offsets[index + 1] = (int32_t)(at + size);
    return true;
}

/* All rows of a vector with a dictionary and without NULLs. */
static enum mg_code put_entry_texts(const struct mg_block__reader *reader, const struct mg_block__texts *out,
                                    struct mg_error *err)
{
    for (uint32_t i = 0; i < reader->view.rows; i++) {
        struct mg_slice text;
        if (!mg_block__entry_text(reader->block, reader->numbers[i], &text))
            return bad_entry(reader, i, err);
        if (!mg_block__put_text(out, i, text.data, text.size))
            return no_room(reader->block, &reader->view, err);
    }
    return MG_OK;
}

/* Chosen rows, or with rows NULL the first count ones. */
static enum mg_code put_texts(const struct mg_block__reader *reader, const uint16_t *rows, uint32_t count,
                              const struct mg_block__texts *out, struct mg_error *err)
{
    uint32_t encoding = reader->view.header->encoding;
    bool is_codes = encoding == MG_ENCODING_FSST;
    const struct mg_fsst__table *symbols = mg_block__symbols(reader->block);

    if (encoding == MG_ENCODING_DICTIONARY && !rows && reader->view.header->null_count == 0)
        return put_entry_texts(reader, out, err);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice bytes;
        MG_TRY(mg_block__row_bytes(reader, rows ? rows[i] : i, &bytes, err));
        if (is_codes ? !put_codes(symbols, out, i, bytes) : !mg_block__put_text(out, i, bytes.data, bytes.size))
            return no_room(reader->block, &reader->view, err);
    }
    return MG_OK;
}

/* ---- whole vectors ------------------------------------------------------------------------------------------- */

static enum mg_code put_validity(const struct mg_block *block, const struct mg_block__view *view, uint8_t *validity,
                                 uint32_t at, struct mg_error *err)
{
    uint32_t nulls = view->header->null_count;

    if (view->validity && view->rows - mg_bits_count(view->validity, 0, view->rows) != nulls)
        return mg_block__corrupt(err, block, view->validity, "there are not as many NULLs as the %u it says", nulls);
    if (!validity)
        return MG_OK;
    if (view->validity)
        mg_bits_copy(validity, at, view->validity, 0, view->rows);
    else if (nulls == 0)
        mg_bits_set(validity, at, view->rows);
    else
        for (uint32_t done = 0; done < view->rows; done += 64)
            mg_bits_store(validity, at + done, 0, MG_MIN(view->rows - done, 64));
    return MG_OK;
}

static struct mg_block__texts texts_at(const struct mg_block_dest *dest, uint32_t at)
{
    return (struct mg_block__texts){dest->offsets + at, dest->text, MG_MIN(dest->text_room, (size_t)INT32_MAX)};
}

enum mg_code mg_block_decode(const struct mg_block *block, uint32_t first, uint32_t count,
                             const struct mg_block_dest *dest, uint32_t at, struct mg_error *err)
{
    mg_assert(first <= block->vector_count && count <= block->vector_count - first);
    for (uint32_t v = first; v < first + count; v++) {
        struct mg_block__view view = mg_block__view(block, v);
        MG_TRY(put_validity(block, &view, dest->validity, at, err));
        if (block->type.id == MG_TYPE_UTF8) {
            struct mg_block__texts texts = texts_at(dest, at);
            struct mg_block__reader reader;
            MG_TRY(mg_block__reader_open(block, v, &reader, err));
            MG_TRY(put_texts(&reader, NULL, view.rows, &texts, err));
        } else {
            uint32_t log = type_log(block);
            MG_TRY(mg_block__values(block, &view, log, (uint8_t *)dest->values + ((size_t)at << log), err));
        }
        at += view.rows;
    }
    return MG_OK;
}

bool mg_block_ints(const struct mg_block *block, uint32_t vector, int64_t *out)
{
    struct mg_block__view view = mg_block__view(block, vector);

    mg_assert(mg_block__class_of(block->type.id) == MG_BLOCK__INTS);
    if (view.wide)
        return false;
    if (block->type.id == MG_TYPE_DECIMAL && view.header->encoding == MG_ENCODING_PLAIN)
        for (uint32_t i = 0; i < view.rows; i++) {
            struct mg_value v = mg_value_load(block->type, view.data + (size_t)i * 16);
            if (v.d != (int64_t)v.d)
                return false;
        }
    return mg_block__values(block, &view, 3, out, NULL) == MG_OK;
}

/* ---- single rows --------------------------------------------------------------------------------------------- */

/* Encodings in which a row is reached alone; in the others through the whole vector. */
static bool has_direct_rows(const struct mg_block__view *view)
{
    enum {
        DIRECT = 1 << MG_ENCODING_PLAIN | 1 << MG_ENCODING_CONSTANT | 1 << MG_ENCODING_FRAME |
                 1 << MG_ENCODING_DICTIONARY
    };

    return DIRECT >> view->header->encoding & 1;
}

/* One value of fixed width, in the type's layout. */
static enum mg_code direct_value(const struct mg_block *block, const struct mg_block__view *view, uint32_t row,
                                 uint32_t width, void *out, struct mg_error *err)
{
    mg_int128 v = view->base;
    uint32_t code;

    switch (view->header->encoding) {
    case MG_ENCODING_PLAIN: memcpy(out, view->data + (size_t)row * width, width); return MG_OK;
    case MG_ENCODING_FRAME: v = (mg_int128)((unsigned __int128)v + mg_pack__get(view->data, view->width, row)); break;
    case MG_ENCODING_DICTIONARY:
        code = (uint32_t)view->header->base + (uint32_t)mg_pack__get(view->data, view->width, row);
        if (code >= block->dictionary->count)
            return mg_block__corrupt(err, block, view->data, "code %u in a dictionary of %u values", code,
                                     block->dictionary->count);
        v = (int64_t)mg_block__entries(block)[code];
        break;
    default: break;
    }
    memcpy(out, &v, width);
    return MG_OK;
}

/* Of more rows than that, the whole vector is faster. */
enum { DIRECT_MAX = MG_VECTOR_ROWS / 8 };

static void pick(const void *from, const uint16_t *rows, uint32_t count, uint32_t log, void *to)
{
    typedef struct {
        uint64_t low, high;
    } wide;
#define PICK(type)                       \
    for (uint32_t i = 0; i < count; i++) \
    ((type *)to)[i] = ((const type *)from)[rows[i]]
    switch (log) {
    case 0: PICK(uint8_t); break;
    case 1: PICK(uint16_t); break;
    case 2: PICK(uint32_t); break;
    case 3: PICK(uint64_t); break;
    default: PICK(wide);
    }
#undef PICK
}

static enum mg_code gather_values(const struct mg_block *block, const struct mg_block__view *view, const uint16_t *rows,
                                  uint32_t count, uint8_t *out, struct mg_error *err)
{
    _Alignas(16) uint8_t all[MG_VECTOR_ROWS * 16];
    uint32_t log = type_log(block), width = 1u << log;

    if (has_direct_rows(view) && count <= DIRECT_MAX) {
        for (uint32_t i = 0; i < count; i++)
            MG_TRY(direct_value(block, view, rows[i], width, out + ((size_t)i << log), err));
        return MG_OK;
    }
    MG_TRY(mg_block__values(block, view, log, all, err));
    pick(all, rows, count, log, out);
    return MG_OK;
}

bool mg_block_gather_ints(const struct mg_block *block, uint32_t vector, const uint16_t *rows, uint32_t count,
                          int64_t *out)
{
    struct mg_block__view view = mg_block__view(block, vector);
    int64_t all[MG_VECTOR_ROWS];

    if (view.header->encoding == MG_ENCODING_FRAME && !view.wide && count <= DIRECT_MAX) {
        for (uint32_t i = 0; i < count; i++)
            out[i] = (int64_t)((uint64_t)view.base + mg_pack__get(view.data, view.width, rows[i]));
        return true;
    }
    if (!mg_block_ints(block, vector, all))
        return false;
    pick(all, rows, count, 3, out);
    return true;
}

/* ---- dictionaries -------------------------------------------------------------------------------------------- */

bool mg_block_codes(const struct mg_block *block, uint32_t vector, uint16_t *out)
{
    struct mg_block__view view = mg_block__view(block, vector);
    uint32_t codes[MG_VECTOR_ROWS];

    if (view.header->encoding != MG_ENCODING_DICTIONARY || block->dictionary->count > UINT16_MAX + 1 ||
        mg_block__codes(block, &view, codes, NULL) != MG_OK)
        return false;
    for (uint32_t i = 0; i < view.rows; i++)
        out[i] = (uint16_t)codes[i];
    return true;
}

static enum mg_code dictionary_texts(const struct mg_block *block, struct mg_arena *arena, struct mg_vector *out,
                                     struct mg_error *err)
{
    uint32_t count = block->dictionary->count;
    struct mg_block__texts texts = {.offsets = mg_arena_array(arena, int32_t, (size_t)count + 1),
                                    .room = (size_t)block->dictionary->text_bytes + 64};

    texts.text = mg_arena_alloc(arena, texts.room);
    if (!texts.offsets || !texts.text)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice text;
        if (!mg_block__entry_text(block, i, &text) || !mg_block__put_text(&texts, i, text.data, text.size))
            return mg_block__corrupt(err, block, block->dictionary, "text %u lies outside", i);
    }
    out->values = texts.text;
    out->offsets = texts.offsets;
    return MG_OK;
}

enum mg_code mg_block_dictionary_values(const struct mg_block *block, struct mg_arena *arena, struct mg_vector *out,
                                        struct mg_error *err)
{
    uint32_t count = block->dictionary->count, width = mg_type_width(block->type.id);

    *out = (struct mg_vector){.type = block->type, .row_count = count};
    if (!width)
        return dictionary_texts(block, arena, out, err);
    uint8_t *values = mg_arena_alloc(arena, (size_t)count * width + 64);
    if (!values)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        mg_int128 v = (int64_t)mg_block__entries(block)[i];
        memcpy(values + (size_t)i * width, &v, width);
    }
    out->values = values;
    return MG_OK;
}

const uint8_t *mg_block_vector_validity(const struct mg_block *block, uint32_t vector)
{
    return mg_block__view(block, vector).validity;
}

/* ---- chosen rows --------------------------------------------------------------------------------------------- */

enum mg_code mg_block_gather(const struct mg_block *block, uint32_t vector, const uint16_t *rows, uint32_t count,
                             const struct mg_block_dest *dest, uint32_t at, struct mg_error *err)
{
    struct mg_block__view view = mg_block__view(block, vector);

    mg_assert(count == 0 || rows[count - 1] < view.rows);
    if (dest->validity)
        for (uint32_t i = 0; i < count; i++)
            mg_bits_store(dest->validity, at + i, !mg_block__is_null(&view, rows[i]), 1);
    if (block->type.id == MG_TYPE_UTF8) {
        struct mg_block__texts texts = texts_at(dest, at);
        struct mg_block__reader reader;
        MG_TRY(mg_block__reader_open(block, vector, &reader, err));
        return put_texts(&reader, rows, count, &texts, err);
    }
    return gather_values(block, &view, rows, count, (uint8_t *)dest->values + ((size_t)at << type_log(block)), err);
}

static enum mg_code text_value(const struct mg_block *block, uint32_t row, struct mg_arena *scratch,
                               struct mg_slice *out, struct mg_error *err)
{
    struct mg_block__reader reader;

    MG_TRY(mg_block__reader_open(block, row / MG_VECTOR_ROWS, &reader, err));
    MG_TRY(mg_block__row_bytes(&reader, row % MG_VECTOR_ROWS, out, err));
    if (reader.view.header->encoding != MG_ENCODING_FSST)
        return MG_OK;
    size_t room = out->size * MG_FSST__SYMBOL_MAX;
    uint8_t *text = mg_arena_alloc(scratch, room + MG_FSST__SLACK);
    if (!text)
        return mg_arena_fail(scratch, err);
    size_t size = mg_fsst__decode(mg_block__symbols(block), out->data, out->size, text, room);
    if (size == SIZE_MAX)
        return mg_block__corrupt(err, block, out->data, "a code that is none");
    *out = MG_SLICE(text, size);
    return MG_OK;
}

enum mg_code mg_block_value(const struct mg_block *block, uint32_t row, struct mg_arena *scratch, struct mg_value *out,
                            struct mg_error *err)
{
    mg_assert(row < block->row_count);
    struct mg_block__view view = mg_block__view(block, row / MG_VECTOR_ROWS);
    struct mg_value v = {.type = block->type, .is_null = mg_block__is_null(&view, row % MG_VECTOR_ROWS)};
    uint16_t place = (uint16_t)(row % MG_VECTOR_ROWS);
    uint8_t bytes[16];

    if (!v.is_null && block->type.id == MG_TYPE_UTF8) {
        MG_TRY(text_value(block, row, scratch, &v.text, err));
    } else if (!v.is_null) {
        MG_TRY(gather_values(block, &view, &place, 1, bytes, err));
        v = mg_value_load(block->type, bytes);
    }
    *out = v;
    return MG_OK;
}
