/* block_dictionary.c -- the different values of a block, sorted, and which of them each row has.
 *
 * Gives up as soon as there are too many: then a dictionary saves nothing.
 * Threads  pure but for the arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/hash.h"
#include "part/block_write.h"

/* Slots of a table with room for that many, half empty. */
static uint32_t slots_for(uint32_t count_max)
{
    uint32_t slots = 64;

    while (slots < count_max * 2)
        slots *= 2;
    return slots;
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
    int64_t x, y;

    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

static int compare_bits(uint64_t x, uint64_t y, double a, double b)
{
    int c = mg_float_compare(a, b);

    return c ? c : (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return compare_bits(mg_load_le64(a), mg_load_le64(b), x, y);
}

static int compare_floats(const void *a, const void *b)
{
    float x, y;

    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return compare_bits(mg_load_le64(a), mg_load_le64(b), (double)x, (double)y);
}

static uint32_t find_number(const uint64_t *entries, const uint32_t *slots, uint32_t slot_count, uint64_t number)
{
    uint32_t at = (uint32_t)mg_hash_u64(number) & (slot_count - 1);

    while (slots[at] && entries[slots[at] - 1] != number)
        at = (at + 1) & (slot_count - 1);
    return at;
}

enum mg_code mg_block__number_dictionary(struct mg_block__writer *writer, const uint64_t *numbers, const bool *without,
                                         uint32_t count_max, struct mg_block__dictionary *out, struct mg_error *err)
{
    uint32_t slot_count = slots_for(count_max), count = 0;
    uint32_t *slots = mg_arena_array(writer->scratch, uint32_t, slot_count); /* entry number + 1 */
    uint64_t *entries = mg_arena_array(writer->scratch, uint64_t, count_max);
    uint32_t *codes = mg_arena_array(writer->scratch, uint32_t, writer->rows->row_count);

    *out = (struct mg_block__dictionary){0};
    if (!slots || !entries || !codes)
        return mg_arena_fail(writer->scratch, err);
    for (uint32_t row = 0; row < writer->rows->row_count; row++) {
        if (without[row / MG_VECTOR_ROWS])
            continue;
        uint32_t at = find_number(entries, slots, slot_count, numbers[row]);
        if (slots[at])
            continue;
        if (count == count_max)
            return MG_OK;
        entries[count] = numbers[row];
        slots[at] = ++count;
    }
    enum mg_type_id id = writer->rows->type.id;
    if (count)
        qsort(entries, count, sizeof *entries,
              id == MG_TYPE_FLOAT64   ? compare_doubles
              : id == MG_TYPE_FLOAT32 ? compare_floats
                                      : compare_ints);
    memset(slots, 0, slot_count * sizeof *slots);
    for (uint32_t i = 0; i < count; i++)
        slots[find_number(entries, slots, slot_count, entries[i])] = i + 1;
    for (uint32_t row = 0; row < writer->rows->row_count; row++)
        if (!without[row / MG_VECTOR_ROWS])
            codes[row] = slots[find_number(entries, slots, slot_count, numbers[row])] - 1;
    *out = (struct mg_block__dictionary){.count = count, .numbers = entries, .codes = codes};
    return MG_OK;
}

/* ---- texts --------------------------------------------------------------------------------------------------- */

struct text_entry {
    struct mg_slice text;
    uint64_t hash;
    uint32_t number; /* in order of appearance */
};

static int compare_entries(const void *a, const void *b)
{
    return mg_slice_compare(((const struct text_entry *)a)->text, ((const struct text_entry *)b)->text);
}

/* Numbers the texts in order of appearance: codes gets each row's; false when there are more than count_max. */
static bool number_texts(const struct mg_vector *rows, uint32_t count_max, uint32_t *slots, uint32_t slot_count,
                         struct text_entry *entries, uint32_t *codes, uint32_t *out_count)
{
    uint32_t count = 0;

    for (uint32_t row = 0; row < rows->row_count; row++) {
        if (mg_vector_is_null(rows, row))
            continue;
        struct mg_slice text = mg_vector_text(rows, row);
        uint64_t hash = mg_hash(text.data, text.size, 0);
        uint32_t at = (uint32_t)hash & (slot_count - 1);
        while (slots[at] && (entries[slots[at] - 1].hash != hash || !mg_slice_equal(entries[slots[at] - 1].text, text)))
            at = (at + 1) & (slot_count - 1);
        if (!slots[at]) {
            if (count == count_max)
                return false;
            entries[count] = (struct text_entry){text, hash, count};
            slots[at] = ++count;
        }
        codes[row] = slots[at] - 1;
    }
    *out_count = count;
    return true;
}

enum mg_code mg_block__text_dictionary(struct mg_block__writer *writer, uint32_t count_max,
                                       struct mg_block__dictionary *out, struct mg_error *err)
{
    const struct mg_vector *rows = writer->rows;
    uint32_t slot_count = slots_for(count_max), count;
    uint32_t *slots = mg_arena_array(writer->scratch, uint32_t, slot_count);
    uint32_t *codes = mg_arena_array(writer->scratch, uint32_t, rows->row_count);
    uint32_t *ranks = mg_arena_array(writer->scratch, uint32_t, count_max);
    struct text_entry *entries = mg_arena_array(writer->scratch, struct text_entry, count_max);
    struct mg_slice *texts = mg_arena_array(writer->scratch, struct mg_slice, count_max);

    *out = (struct mg_block__dictionary){0};
    if (!slots || !codes || !ranks || !entries || !texts)
        return mg_arena_fail(writer->scratch, err);
    if (!number_texts(rows, count_max, slots, slot_count, entries, codes, &count) || count == 0)
        return MG_OK;
    qsort(entries, count, sizeof *entries, compare_entries);
    for (uint32_t i = 0; i < count; i++) {
        ranks[entries[i].number] = i;
        texts[i] = entries[i].text;
        out->text_bytes += entries[i].text.size;
    }
    uint32_t last = 0;
    for (uint32_t row = 0; row < rows->row_count; row++) {
        if (!mg_vector_is_null(rows, row))
            last = ranks[codes[row]];
        codes[row] = last; /* a NULL row takes the code before it */
    }
    *out = (struct mg_block__dictionary){.count = count, .texts = texts, .codes = codes, .text_bytes = out->text_bytes};
    return MG_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

size_t mg_block__dictionary_bytes(const struct mg_block__dictionary *dictionary)
{
    size_t head = sizeof(struct mg_block_dictionary);

    if (!dictionary->texts)
        return head + dictionary->count * sizeof(uint64_t);
    return head + mg_pad8(((uint64_t)dictionary->count + 1) * 4) + mg_pad8(dictionary->text_bytes);
}

enum mg_code mg_block__write_dictionary(struct mg_block__writer *writer, const struct mg_block__dictionary *dictionary,
                                        uint64_t turn, struct mg_error *err)
{
    struct mg_block_dictionary head = {.count = dictionary->count, .text_bytes = (uint32_t)dictionary->text_bytes};
    uint32_t offset = 0;

    MG_TRY(mg_block__place(writer, &writer->dictionary, err));
    MG_TRY(mg_buffer_append(writer->out, &head, sizeof head, err));
    if (!dictionary->texts) {
        for (uint32_t i = 0; i < dictionary->count; i++)
            MG_TRY(mg_buffer_append_le64(writer->out, dictionary->numbers[i] ^ turn, err));
        return MG_OK;
    }
    MG_TRY(mg_buffer_append_le32(writer->out, 0, err));
    for (uint32_t i = 0; i < dictionary->count; i++) {
        offset += (uint32_t)dictionary->texts[i].size;
        MG_TRY(mg_buffer_append_le32(writer->out, offset, err));
    }
    MG_TRY(mg_block__pad(writer, err));
    for (uint32_t i = 0; i < dictionary->count; i++)
        MG_TRY(mg_buffer_append(writer->out, dictionary->texts[i].data, dictionary->texts[i].size, err));
    return mg_block__pad(writer, err);
}

struct mg_block__codes mg_block__codes_of(const struct mg_block__dictionary *dictionary, uint32_t vector, uint32_t rows)
{
    const uint32_t *codes = dictionary->codes + (size_t)vector * MG_VECTOR_ROWS;
    uint32_t low = codes[0], high = codes[0];

    for (uint32_t i = 0; i < rows; i++) {
        low = MG_MIN(low, codes[i]);
        high = MG_MAX(high, codes[i]);
    }
    uint32_t width = mg_pack__width(high - low);
    return (struct mg_block__codes){.first = low, .width = width, .bytes = mg_pack__bytes(rows, width)};
}

enum mg_code mg_block__write_codes(struct mg_block__writer *writer, const struct mg_block__dictionary *dictionary,
                                   uint32_t vector, uint64_t text_bytes, struct mg_error *err)
{
    uint32_t rows = mg_block__rows_of(writer, vector);
    struct mg_block__codes codes = mg_block__codes_of(dictionary, vector, rows);
    uint64_t distances[MG_VECTOR_ROWS];

    for (uint32_t i = 0; i < rows; i++)
        distances[i] = dictionary->codes[(size_t)vector * MG_VECTOR_ROWS + i] - codes.first;
    MG_TRY(mg_block__begin_vector(writer, vector, MG_ENCODING_DICTIONARY, codes.width, codes.first | text_bytes << 32,
                                  err));
    return mg_block__append_packed(writer, distances, rows, codes.width, err);
}
