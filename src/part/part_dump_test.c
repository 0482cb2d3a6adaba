/* part_dump_test.c -- tools/part_dump, the second reader, says of parts what this one says: every type, every encoding.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/testing.h"
#include "part/part_internal.h"
#include "part/part_samples.h"

#define ALL_TYPES "i8? i16 i32? i64 u8 u16? u32 u64? f32 f64? dec dec? date dt? ts text text? pad?"

struct dump {
    char path[4200];
    struct mg_cache *cache;
    struct mg_part *part;
    uint32_t encodings; /* a bit for each that was seen */
};

static void make_part_of(struct dump *d, const char *folder, struct mg_schema *schema, struct mg_batch *rows)
{
    struct mg_error err = MG_ERROR_INIT;
    uint32_t row_count = rows->row_count;
    struct mg_part_writer_options options = {.segment_id = 3, .pack_level = row_count > 2000 ? 3 : 0};
    struct mg_part_options open_options = {.cache = d->cache, .segment_id = 3};
    struct mg_part_writer *writer;
    struct mg_part_summary summary;

    snprintf(d->path, sizeof d->path, "%s/part", folder);
    unlink(d->path);
    assert_ok(mg_part_writer_open(d->path, schema, &options, &writer, &err));
    assert_ok(mg_part_writer_append(writer, rows, &err));
    assert_ok(mg_part_writer_finish(writer, &summary, &err));
    assert_ok(mg_part_open(d->path, &open_options, &d->part, &err));
    mg_batch_unref(rows);
    mg_schema_unref(schema);
}

static void make_part(struct dump *d, const char *folder, const char *words, uint32_t row_count)
{
    struct mg_schema *schema = sample_schema(words);
    make_part_of(d, folder, schema, sample_batch(schema, 0, row_count));
}

/* Dates that lie in the file as differences to others. */
static void make_days(struct dump *d, const char *folder, uint32_t row_count)
{
    struct mg_schema *schema = sample_schema("i64* date date date?");
    make_part_of(d, folder, schema, sample_days(schema, row_count, UINT32_MAX));
    assert_int_equal(mg_part__piece(d->part, 2)->difference_of, 2);
    assert_int_equal(mg_part__piece(d->part, 3)->difference_of, 2);
}

/* ---- values as the tool prints them -------------------------------------------------------------------------- */

static enum mg_code put_text(struct mg_slice text, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_u8(out, '"', err));
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c == '"' || c == '\\')
            MG_TRY(mg_buffer_printf(out, err, "\\u%04x", c));
        else
            MG_TRY(mg_buffer_append_u8(out, c, err));
    }
    return mg_buffer_append_u8(out, '"', err);
}

static enum mg_code put_value(const struct mg_value *v, struct mg_buffer *out, struct mg_error *err)
{
    char text[48];

    if (v->is_null)
        return mg_buffer_printf(out, err, "null");
    switch (v->type.id) {
    case MG_TYPE_UTF8: return put_text(v->text, out, err);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return mg_buffer_printf(out, err, isfinite(v->f) ? "%.17g" : "\"%f\"", v->f);
    case MG_TYPE_DECIMAL:
        mg_decimal_format(v->d, v->type.scale, text);
        return mg_buffer_printf(out, err, "\"%s\"", text);
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return mg_buffer_printf(out, err, "%llu", (unsigned long long)v->u);
    default: return mg_buffer_printf(out, err, "%lld", (long long)v->i);
    }
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

static void decode_group(struct dump *d, uint32_t group, struct mg_part__rows *rows, struct mg_vector *columns)
{
    struct mg_error err = MG_ERROR_INIT;

    for (uint32_t c = 0; c < mg_part_schema(d->part)->column_count; c++) {
        struct mg_part_block block;
        assert_ok(mg_part_block_get(d->part, c, group, &block, &err));
        for (uint32_t v = 0; v < block.block.vector_count; v++)
            d->encodings |= 1u << mg_block_vector_encoding(&block.block, v);
        assert_ok(mg_part__rows_decode(&rows[c], &block.block, 0, block.block.vector_count, &columns[c], &err));
        columns[c].type = mg_part_schema(d->part)->columns[c].type;
        mg_part_block_release(&block);
    }
}

static void compare_group(struct dump *d, uint32_t group, const struct mg_vector *columns, FILE *tool)
{
    struct mg_error err = MG_ERROR_INIT;
    uint32_t count = mg_part_schema(d->part)->column_count;
    struct mg_buffer line;
    char *said = NULL;
    size_t room = 0;

    mg_buffer_init(&line, 1 << 20);
    for (uint32_t row = 0; row < columns[0].row_count; row++) {
        mg_buffer_reset(&line);
        for (uint32_t c = 0; c < count; c++) {
            struct mg_value v = mg_vector_value(&columns[c], row);
            assert_ok(mg_buffer_append_u8(&line, c ? ',' : '[', &err));
            assert_ok(put_value(&v, &line, &err));
        }
        assert_ok(mg_buffer_printf(&line, &err, "]\n"));
        ssize_t size = getline(&said, &room, tool);
        if (size != (ssize_t)line.size || memcmp(said, line.data, line.size) != 0)
            fail_msg("group %u, row %u: the tool says %.*s, and here it is %.*s", group, row, size > 0 ? (int)size : 0,
                     said, (int)line.size, line.data);
    }
    free(said);
    mg_buffer_clear(&line);
}

static void compare_rows(struct dump *d)
{
    uint32_t count = mg_part_schema(d->part)->column_count;
    struct mg_part__rows rows[64];
    struct mg_vector columns[64];
    char command[4400];

    assert_true(count <= 64);
    for (uint32_t c = 0; c < count; c++)
        mg_part__rows_init(&rows[c], NULL);
    snprintf(command, sizeof command, MG_SOURCE_DIR "/tools/part_dump --rows '%s'", d->path);
    FILE *tool = popen(command, "r");
    assert_non_null(tool);
    for (uint32_t g = 0; g < mg_part_group_count(d->part); g++) {
        decode_group(d, g, rows, columns);
        compare_group(d, g, columns, tool);
    }
    assert_int_equal(fgetc(tool), EOF);
    assert_int_equal(pclose(tool), 0);
    for (uint32_t c = 0; c < count; c++)
        mg_part__rows_clear(&rows[c]);
}

static void test_same_rows(void **state)
{
    static const struct {
        const char *words;
        uint32_t row_count;
    } cases[] = {
        {"i64* " ALL_TYPES, 2500},
        {"text* i64 f64?", 3000},
        {"u32* pad* i16*", 1100},
        {"handle* text? i8?", 66000},
        {"dec* f32? u64?", 1030},
        {"date* dt* ts* f64? i32", 60},
        {"i8*", 1},
    };
    struct mg_error err = MG_ERROR_INIT;
    struct dump d = {.encodings = 0};
    char *folder = make_folder();

    assert_ok(mg_cache_new(NULL, 0, &d.cache, &err));
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        make_part(&d, folder, cases[i].words, cases[i].row_count);
        compare_rows(&d);
        mg_part_unref(d.part);
    }
    make_days(&d, folder, 3500);
    compare_rows(&d);
    mg_part_unref(d.part);
    if (d.encodings != 0xff)
        fail_msg("of eight encodings only these were seen: %x", d.encodings);
    mg_cache_free(d.cache);
    remove_folder(folder);
}

/* Statistics without an error; one for a bit that is flipped. */
static void test_damage(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct dump d = {.encodings = 0};
    struct mg_file *file;
    char *folder = make_folder(), command[4400];
    uint8_t byte;

    assert_ok(mg_cache_new(NULL, 0, &d.cache, &err));
    make_part(&d, folder, "i64* text", 3000);
    snprintf(command, sizeof command, MG_SOURCE_DIR "/tools/part_dump '%s' >/dev/null 2>&1", d.path);
    assert_int_equal(system(command), 0);
    assert_ok(mg_io_open(mg_io_system(), d.path, MG_OPEN_WRITE, &file, &err));
    assert_ok(mg_file_pread(file, &byte, 1, 1000, &err));
    byte ^= 4;
    assert_ok(mg_file_pwrite(file, &byte, 1, 1000, &err));
    mg_file_close(file);
    assert_int_not_equal(system(command), 0);
    mg_part_unref(d.part);
    mg_cache_free(d.cache);
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_rows),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
