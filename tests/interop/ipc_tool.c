/* ipc_tool.c -- Arrow streams in and out of column/ipc.h, for ipc_test.py to compare with pyarrow.
 *
 * Usage   ipc_tool write KIND   a stream to standard output; KIND: types, no-batches, no-rows, no-columns, part
 *         ipc_tool show KIND    the same rows as text, straight from memory
 *         ipc_tool read         a stream from standard input, as text
 *         ipc_tool copy         a stream from standard input, decoded and encoded again
 * Text    "field NAME TYPE NULLABLE SOURCE_TYPE", "batch ROWS NULLS...", then a line a row, values between blanks:
 *         NULL, numbers, dates as SQL writes them, floats as the hex of their bits (nan for any NaN), text as t and
 *         hex.
 * Status  0; 1 with "CODE: text" on standard error when the decoder refuses.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "column/ipc.h"

enum { TYPES = 16 };

static struct mg_type types[TYPES];
static struct mg_field fields[TYPES];
static char names[TYPES][48];

static void must(enum mg_code code, const struct mg_error *err)
{
    if (code == MG_OK)
        return;
    fprintf(stderr, "%s: %s\n", mg_code_name(code), err->text);
    exit(1);
}

static void set_up_fields(void)
{
    for (uint32_t i = 0; i < TYPES; i++) {
        types[i] = (struct mg_type){.id = i < MG_TYPE_UTF8 ? i + 1 : MG_TYPE_DECIMAL};
        if (types[i].id == MG_TYPE_DECIMAL)
            types[i] = (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 38, .scale = i < MG_TYPE_UTF8 ? 10 : 0};
        if (types[i].id == MG_TYPE_DATETIME || types[i].id == MG_TYPE_TIMESTAMP)
            types[i].precision = 6;
        snprintf(names[i], sizeof names[i], "c%u", i);
        fields[i] = (struct mg_field){.name = mg_slice_text(names[i]),
                                      .type = types[i],
                                      .nullable = i != 2,
                                      .source_type = mg_slice_text(i % 3 ? "" : "decimal(12,2)_unsigned")};
    }
    fields[4].name = mg_slice_text("\xc3\xa4"); /* a name that is not ASCII */
}

/* ---- batches to write ---------------------------------------------------------------------------------------- */

static struct mg_value made_value(struct mg_type type, uint32_t row)
{
    static const double floats[] = {0.0, -0.0, 1.5, -2.25, INFINITY, -INFINITY, NAN, 1e-40, 3e38};
    static const char *const texts[] = {"", "a", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xac", "with blanks  ",
                                        "longer than what fits into a small word of the machine"};
    struct mg_value v = {.type = type};
    uint64_t bits[2] = {row * UINT64_C(0x9e3779b97f4a7c15), row & 1 ? ~UINT64_C(0) : 0};

    switch (type.id) {
    case MG_TYPE_UTF8: v.text = mg_slice_text(texts[row % MG_COUNT_OF(texts)]); return v;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: v.f = floats[row % MG_COUNT_OF(floats)]; return v;
    case MG_TYPE_DATE: /* from the year 1 to the year 9999, which Python's dates end at */
        v.i = -719162 + (int64_t)(bits[0] % 3652059);
        return v;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: v.i = (-719162 + (int64_t)(bits[0] % 3652059)) * INT64_C(86400000000) + row; return v;
    default: return mg_value_load(type, bits);
    }
}

static struct mg_batch *make_batch(uint32_t row_count, uint32_t null_one_in)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_batch_builder builder;
    struct mg_batch *batch = NULL;

    must(mg_batch_builder_init(&builder, types, TYPES, NULL, SIZE_MAX, &err), &err);
    for (uint32_t row = 0; row < row_count; row++)
        for (uint32_t c = 0; c < TYPES; c++) {
            struct mg_value v = made_value(types[c], row);
            v.is_null = null_one_in && fields[c].nullable && (row + c) % null_one_in == 0;
            must(mg_builder_value(&builder, c, &v, &err), &err);
        }
    must(mg_batch_builder_finish(&builder, row_count, &batch, &err), &err);
    mg_batch_builder_clear(&builder);
    return batch;
}

static void free_nothing(struct mg_batch *batch) { (void)batch; }

enum { BATCHES_MAX = 8 };

/* The batches of a kind; *out_columns of the fields are theirs. */
static uint32_t make_batches(const char *kind, struct mg_batch *batches[BATCHES_MAX], uint32_t *out_columns)
{
    static const int32_t offsets[] = {3, 4, 4, 9};
    static struct mg_vector part = {
        .type = {.id = MG_TYPE_UTF8}, .row_count = 3, .values = "___abcdef", .offsets = offsets};
    static struct mg_batch part_batch = {
        .references = 1, .row_count = 3, .column_count = 1, .vectors = &part, .free = free_nothing};
    static struct mg_batch counted = {.references = 1, .row_count = 123456, .free = free_nothing};

    *out_columns = TYPES;
    if (strcmp(kind, "types") == 0) {
        batches[0] = make_batch(100, 3);
        batches[1] = make_batch(0, 0);
        batches[2] = make_batch(64, 0);
        batches[3] = make_batch(9, 1); /* all NULL where that may be */
        batches[4] = make_batch(1, 2);
        return 5;
    }
    if (strcmp(kind, "no-rows") == 0) {
        batches[0] = make_batch(0, 0);
        return 1;
    }
    if (strcmp(kind, "no-columns") == 0) {
        *out_columns = 0;
        batches[0] = &counted;
        return 1;
    }
    if (strcmp(kind, "part") == 0) { /* text whose offsets begin above 0 */
        fields[0] = fields[MG_TYPE_UTF8 - 1];
        *out_columns = 1;
        batches[0] = &part_batch;
        return 1;
    }
    if (strcmp(kind, "no-batches") == 0)
        return 0;
    fprintf(stderr, "no such kind: %s\n", kind);
    exit(2);
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

static void show_value(const struct mg_value *v)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer out;

    if (!v->is_null && v->type.id == MG_TYPE_UTF8) {
        printf("t");
        for (size_t i = 0; i < v->text.size; i++)
            printf("%02x", v->text.data[i]);
        return;
    }
    if (!v->is_null && (v->type.id == MG_TYPE_FLOAT32 || v->type.id == MG_TYPE_FLOAT64)) {
        uint8_t bits[8];
        if (isnan(v->f)) {
            printf("nan");
            return;
        }
        mg_value_store(v, bits);
        for (uint32_t i = mg_type_width(v->type.id); i; i--)
            printf("%02x", bits[i - 1]);
        return;
    }
    mg_buffer_init(&out, 1000);
    must(mg_value_format(v, &out, &err), &err);
    for (size_t i = 0; i < out.size; i++)
        putchar(out.data[i] == ' ' ? 'T' : out.data[i]);
    mg_buffer_clear(&out);
}

static void show_fields(const struct mg_field *shown, uint32_t count)
{
    char type[48];

    for (uint32_t i = 0; i < count; i++) {
        mg_type_format(shown[i].type, type);
        printf("field %.*s %s %d %.*s\n", (int)shown[i].name.size, (const char *)shown[i].name.data, type,
               shown[i].nullable, (int)shown[i].source_type.size, (const char *)shown[i].source_type.data);
    }
}

static void show_batch(const struct mg_batch *batch)
{
    printf("batch %u", batch->row_count);
    for (uint32_t c = 0; c < batch->column_count; c++)
        printf(" %u", batch->vectors[c].null_count);
    printf("\n");
    for (uint32_t row = 0; row < batch->row_count && batch->column_count; row++) {
        for (uint32_t c = 0; c < batch->column_count; c++) {
            struct mg_value v = mg_vector_value(&batch->vectors[c], row);
            if (c)
                printf(" ");
            show_value(&v);
        }
        printf("\n");
    }
}

/* ---- the four commands --------------------------------------------------------------------------------------- */

static void write_or_show(const char *kind, bool show)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer out;
    struct mg_batch *batches[BATCHES_MAX];
    uint32_t columns, count = make_batches(kind, batches, &columns);

    mg_buffer_init(&out, SIZE_MAX);
    if (show)
        show_fields(fields, columns);
    else
        must(mg_ipc_stream_begin(fields, columns, &out, &err), &err);
    for (uint32_t i = 0; i < count; i++) {
        if (show)
            show_batch(batches[i]);
        else
            must(mg_ipc_stream_batch(batches[i], &out, &err), &err);
        mg_batch_unref(batches[i]);
    }
    if (!show) {
        must(mg_ipc_stream_end(&out, &err), &err);
        fwrite(out.data, 1, out.size, stdout);
    }
    mg_buffer_clear(&out);
}

static void read_or_copy(bool copy)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer input, out;
    struct mg_arena arena;
    struct mg_field *read_fields = NULL;
    struct mg_batch *batch = NULL;
    uint32_t count = 0;
    uint8_t block[65536];
    size_t size;

    mg_buffer_init(&input, SIZE_MAX);
    mg_buffer_init(&out, SIZE_MAX);
    mg_arena_init(&arena, SIZE_MAX);
    while ((size = fread(block, 1, sizeof block, stdin)) > 0)
        must(mg_buffer_append(&input, block, size, &err), &err);
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&input));
    must(mg_ipc_stream_schema(&in, &arena, &read_fields, &count, &err), &err);
    if (copy)
        must(mg_ipc_stream_begin(read_fields, count, &out, &err), &err);
    else
        show_fields(read_fields, count);
    for (;;) {
        must(mg_ipc_stream_next(&in, read_fields, count, NULL, &batch, &err), &err);
        if (!batch)
            break;
        must(mg_batch_check(batch, &err), &err);
        if (copy)
            must(mg_ipc_stream_batch(batch, &out, &err), &err);
        else
            show_batch(batch);
        mg_batch_unref(batch);
    }
    if (copy) {
        must(mg_ipc_stream_end(&out, &err), &err);
        fwrite(out.data, 1, out.size, stdout);
    }
    mg_arena_clear(&arena);
    mg_buffer_clear(&input);
    mg_buffer_clear(&out);
}

int main(int argc, char **argv)
{
    set_up_fields();
    if (argc == 3 && (strcmp(argv[1], "write") == 0 || strcmp(argv[1], "show") == 0)) {
        write_or_show(argv[2], strcmp(argv[1], "show") == 0);
        return 0;
    }
    if (argc == 2 && (strcmp(argv[1], "read") == 0 || strcmp(argv[1], "copy") == 0)) {
        read_or_copy(strcmp(argv[1], "copy") == 0);
        return 0;
    }
    fprintf(stderr, "usage: ipc_tool write KIND | show KIND | read | copy\n");
    return 2;
}
