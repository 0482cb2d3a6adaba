/* part_corpus.c -- makes tests/fuzz/corpus/part: small parts of every kind of table, whole and damaged. Repeatable.
 *
 * Usage: part_corpus FOLDER
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/io_fault.h"
#include "part/part_internal.h"
#include "part/part_samples.h"

enum { SEGMENT = 5 }; /* that of part_fuzz.c */
#define DAYS "i64* date date date?"

static void save(const char *folder, const char *name, const uint8_t *bytes, size_t size)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
}

/* The file of a part, to be cleared. */
static struct mg_buffer make(const char *words, uint32_t row_count, int pack_level)
{
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_schema *schema = sample_schema(words);
    struct mg_part_writer_options options = {
        .io = mg_io_fault_io(disk), .segment_id = SEGMENT, .pack_level = pack_level};
    struct mg_batch *rows = strcmp(words, DAYS) ? sample_batch(schema, 0, row_count)
                                                : sample_days(schema, row_count, UINT32_MAX);
    struct mg_part_writer *writer;
    struct mg_part_summary summary;
    struct mg_buffer bytes;

    sample_must(mg_part_writer_open("p", schema, &options, &writer, NULL));
    sample_must(mg_part_writer_append(writer, rows, NULL));
    sample_must(mg_part_writer_finish(writer, &summary, NULL));
    mg_buffer_init(&bytes, 16 << 20);
    sample_must(mg_io_read_file(options.io, "p", &bytes, NULL));
    mg_batch_unref(rows);
    mg_schema_unref(schema);
    mg_io_fault_free(disk);
    return bytes;
}

static void whole_files(const char *folder)
{
    static const struct {
        const char *name, *words;
        uint32_t row_count;
    } files[] = {
        {"one-row", "i32*", 1},
        {"two-vectors", "i64* i8?", 1500},
        {"all-types", "i64* i8? i16 i32? i64 u8 u16? u32 u64? f32 f64? dec dec? date dt? ts text text? pad?", 40},
        {"bytes-as-keys", "u8*", 256},
        {"short-keys", "i16* u16", 300},
        {"unsigned-keys", "u64* u64", 1100},
        {"float-keys", "f64* f32?", 1100},
        {"decimal-keys", "dec* dec?", 1100},
        {"text-keys", "text*", 2100},
        {"padded-keys", "pad* pad?", 300},
        {"composite-keys", "u32* text* i16* i8", 1100},
        {"date-keys", "date* dt* ts?", 300},
        {"hidden-handle", "handle* text? f64", 200},
        {"many-nulls", "i32* i8 text? i64? dec? f64?", 3100},
        {"packed", "i64* text? f64 text pad?", 1500},
        {"packed-none", "i64* i8", 100},
        {"packed-differences", DAYS, 1200},
    };
    for (size_t i = 0; i < MG_COUNT_OF(files); i++) {
        struct mg_buffer bytes = make(files[i].words, files[i].row_count, strncmp(files[i].name, "packed", 6) ? 0 : 3);
        save(folder, files[i].name, bytes.data, bytes.size);
        mg_buffer_clear(&bytes);
    }
}

static void damaged_files(const char *folder)
{
    struct mg_buffer bytes = make("i32* text?", 50, 0);
    size_t footer = mg_load_le64(bytes.data + bytes.size - MG_PART__TAIL_BYTES),
           tail = bytes.size - MG_PART__TAIL_BYTES;
    const struct {
        const char *name;
        size_t at;
    } flips[] = {
        {"damaged-block-header", 4},       {"damaged-vector", 30},          {"damaged-segment", footer},
        {"damaged-row-count", footer + 4}, {"damaged-schema", footer + 30}, {"damaged-footer-end", tail - 20},
        {"damaged-footer-offset", tail},   {"damaged-version", tail + 44},  {"damaged-magic", tail + 60},
    };

    save(folder, "empty", bytes.data, 0);
    save(folder, "tail-cut", bytes.data, bytes.size - 1);
    save(folder, "only-a-tail", bytes.data + tail, MG_PART__TAIL_BYTES);
    save(folder, "no-blocks", bytes.data + footer, bytes.size - footer);
    for (size_t i = 0; i < MG_COUNT_OF(flips); i++) {
        bytes.data[flips[i].at] ^= 0x41;
        save(folder, flips[i].name, bytes.data, bytes.size);
        bytes.data[flips[i].at] ^= 0x41;
    }
    mg_buffer_clear(&bytes);
}

/* Bits of a packed block, which its hash then covers again (part_fuzz.c), and of what the footer says of it. */
static void damaged_packed_files(const char *folder, const char *words, const char *prefix)
{
    struct mg_buffer bytes = make(words, 1200, 3);
    size_t footer = mg_load_le64(bytes.data + bytes.size - MG_PART__TAIL_BYTES);
    const size_t places[] = {footer / 4, footer / 2, footer - footer / 4, footer + 180, footer + 220};

    for (size_t i = 0; i < MG_COUNT_OF(places); i++) {
        char name[40];
        snprintf(name, sizeof name, "%s-%zu", prefix, i);
        bytes.data[places[i]] ^= 0x10;
        save(folder, name, bytes.data, bytes.size);
        bytes.data[places[i]] ^= 0x10;
    }
    mg_buffer_clear(&bytes);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: part_corpus FOLDER\n");
        return 2;
    }
    whole_files(argv[1]);
    damaged_files(argv[1]);
    damaged_packed_files(argv[1], "i32* text", "packed-damaged");
    damaged_packed_files(argv[1], DAYS, "packed-differences-damaged");
    return 0;
}
