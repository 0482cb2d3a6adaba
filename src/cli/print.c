/* print.c -- batches to text: one small printer a format.
 *
 * Table    rows are held back until their widths are known, at most HELD_ROWS_MAX of them; later rows keep those
 *          widths.
 * Errors   a failed write (a full disk, a closed pipe) is MG_IO.
 * Source   CSV: RFC 4180; JSON: RFC 8259, one object a line; Arrow: IPC stream format.
 * Threads  as print.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum { HELD_ROWS_MAX = 1000, CELL_WIDTH_MAX = 200 };

struct mg_printer {
    enum mg_format format;
    FILE *to;
    uint64_t row_count;
    uint32_t column_count;
    struct mg_arena fields_arena;
    struct mg_field *fields;
    struct mg_buffer cell; /* the value under way */

    /* TABLE: cells of held rows, row by row, each text terminated. */
    struct mg_buffer held;
    uint32_t held_rows;
    bool widths_fixed;
    uint32_t *widths; /* characters */
};

int mg_format_from_name(const char *name)
{
    static const char *const names[] = {"table", "csv", "json", "arrow"};
    for (int i = 0; i < (int)MG_COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return -1;
}

/* Characters, not bytes: continuation bytes do not count. */
static uint32_t width_of(const char *text)
{
    uint32_t width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

static enum mg_code check_output(struct mg_printer *p, struct mg_error *err)
{
    return ferror(p->to) ? mg_fail_errno(err, errno, "could not write the rows") : MG_OK;
}

/* Arrow has no fraction digits of a time; the source's spelling of the type has: "datetime(3)", "timestamp". */
static uint8_t fraction_digits(struct mg_slice source_type)
{
    const char *text = (const char *)source_type.data;
    const char *open = source_type.size ? memchr(text, '(', source_type.size) : NULL;

    if (source_type.size == 0)
        return 6;
    return open && open + 1 < text + source_type.size && open[1] >= '0' && open[1] <= '6' ? (uint8_t)(open[1] - '0')
                                                                                          : 0;
}

/* The value's text, terminated, in p->cell. */
static enum mg_code format_cell(struct mg_printer *p, const struct mg_batch *batch, uint32_t column, uint32_t row,
                                struct mg_error *err)
{
    struct mg_value value = mg_vector_value(&batch->vectors[column], row);

    if (value.type.id == MG_TYPE_DATETIME || value.type.id == MG_TYPE_TIMESTAMP)
        value.type.precision = p->fields[column].type.precision;
    mg_buffer_reset(&p->cell);
    MG_TRY(mg_value_format(&value, &p->cell, err));
    return mg_buffer_append_u8(&p->cell, 0, err);
}

/* ---- table --------------------------------------------------------------------------------------------------- */

static void print_rule(struct mg_printer *p)
{
    for (uint32_t i = 0; i < p->column_count; i++) {
        fputs(i ? "-+-" : "+-", p->to);
        for (uint32_t k = 0; k < p->widths[i]; k++)
            fputc('-', p->to);
    }
    fputs("-+\n", p->to);
}

/* Line ends and other control characters would break the table. */
static void print_cell(struct mg_printer *p, uint32_t column, const char *text, bool right)
{
    uint32_t width = width_of(text), pad = p->widths[column] > width ? p->widths[column] - width : 0;

    fputs(column ? " | " : "| ", p->to);
    if (right)
        fprintf(p->to, "%*s", (int)pad, "");
    for (; *text; text++)
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, p->to);
    if (!right)
        fprintf(p->to, "%*s", (int)pad, "");
}

static bool is_right(struct mg_type type)
{
    return type.id != MG_TYPE_UTF8 && type.id != MG_TYPE_DATE && type.id != MG_TYPE_DATETIME &&
           type.id != MG_TYPE_TIMESTAMP;
}

static void print_held(struct mg_printer *p)
{
    const char *at = (const char *)p->held.data;

    if (!p->widths_fixed) {
        p->widths_fixed = true;
        print_rule(p);
        for (uint32_t i = 0; i < p->column_count; i++) {
            char name[MG_NAME_MAX];
            snprintf(name, sizeof name, "%.*s", (int)p->fields[i].name.size, (const char *)p->fields[i].name.data);
            print_cell(p, i, name, false);
        }
        fputs(" |\n", p->to);
        print_rule(p);
    }
    for (uint32_t row = 0; row < p->held_rows; row++) {
        for (uint32_t i = 0; i < p->column_count; i++, at += strlen(at) + 1)
            print_cell(p, i, at, is_right(p->fields[i].type));
        fputs(" |\n", p->to);
    }
    p->held_rows = 0;
    mg_buffer_reset(&p->held);
}

static enum mg_code table_row(struct mg_printer *p, const struct mg_batch *batch, uint32_t row, struct mg_error *err)
{
    for (uint32_t i = 0; i < p->column_count; i++) {
        MG_TRY(format_cell(p, batch, i, row, err));
        for (size_t k = 0; k + 1 < p->cell.size; k++) /* a NUL inside a text would end the cell */
            if (!p->cell.data[k])
                p->cell.data[k] = ' ';
        MG_TRY(mg_buffer_append(&p->held, p->cell.data, p->cell.size, err));
        if (!p->widths_fixed)
            p->widths[i] = MG_MAX(p->widths[i], MG_MIN(width_of((char *)p->cell.data), (uint32_t)CELL_WIDTH_MAX));
    }
    if (++p->held_rows == HELD_ROWS_MAX || p->widths_fixed)
        print_held(p);
    return MG_OK;
}

/* ---- csv ----------------------------------------------------------------------------------------------------- */

static void csv_text(FILE *to, struct mg_slice text)
{
    bool quote = text.size == 0;

    for (size_t i = 0; i < text.size && !quote; i++)
        quote = strchr(",\"\r\n", text.data[i]) != NULL; /* finds a NUL, too */
    if (!quote) {
        fwrite(text.data, 1, text.size, to);
        return;
    }
    fputc('"', to);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"')
            fputc('"', to);
        fputc(text.data[i], to);
    }
    fputc('"', to);
}

static enum mg_code csv_row(struct mg_printer *p, const struct mg_batch *batch, uint32_t row, struct mg_error *err)
{
    for (uint32_t i = 0; i < p->column_count; i++) {
        if (i)
            fputc(',', p->to);
        if (mg_vector_is_null(&batch->vectors[i], row))
            continue;
        MG_TRY(format_cell(p, batch, i, row, err));
        csv_text(p->to, MG_SLICE(p->cell.data, p->cell.size - 1));
    }
    fputc('\n', p->to);
    return MG_OK;
}

/* ---- json ---------------------------------------------------------------------------------------------------- */

/* Bytes of the character that begins at text[0], 0 when it is no UTF-8. */
static size_t utf8_size(const uint8_t *text, size_t left)
{
    uint8_t c = text[0];
    size_t size = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;

    if (size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) || (c == 0xf0 && text[1] < 0x90) ||
        (c == 0xf4 && text[1] > 0x8f))
        return 0;
    return size;
}

void mg_print_json_text(FILE *to, struct mg_slice text)
{
    fputc('"', to);
    for (size_t i = 0; i < text.size;) {
        uint8_t c = text.data[i];
        size_t size = utf8_size(text.data + i, text.size - i);
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(to, "\\u%04x", c);
        else if (size)
            fwrite(text.data + i, 1, size, to);
        else
            fputs("\\ufffd", to);
        i += MG_MAX(size, (size_t)1);
    }
    fputc('"', to);
}

static bool is_json_number(const struct mg_value *value)
{
    static const int64_t exact = (int64_t)1 << 53;

    switch (value->type.id) {
    case MG_TYPE_INT64: return value->i <= exact && value->i >= -exact;
    case MG_TYPE_UINT64: return value->u <= (uint64_t)exact;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return isfinite(value->f);
    default: return value->type.id >= MG_TYPE_INT8 && value->type.id <= MG_TYPE_UINT32;
    }
}

static enum mg_code json_row(struct mg_printer *p, const struct mg_batch *batch, uint32_t row, struct mg_error *err)
{
    for (uint32_t i = 0; i < p->column_count; i++) {
        struct mg_value value = mg_vector_value(&batch->vectors[i], row);
        fputs(i ? ", " : "{", p->to);
        mg_print_json_text(p->to, p->fields[i].name);
        fputs(": ", p->to);
        if (value.is_null) {
            fputs("null", p->to);
            continue;
        }
        MG_TRY(format_cell(p, batch, i, row, err));
        if (is_json_number(&value))
            fputs((char *)p->cell.data, p->to);
        else
            mg_print_json_text(p->to, MG_SLICE(p->cell.data, p->cell.size - 1));
    }
    fputs(p->column_count ? "}\n" : "{}\n", p->to);
    return MG_OK;
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

enum mg_code mg_printer_new(enum mg_format format, FILE *to, struct mg_printer **out, struct mg_error *err)
{
    struct mg_printer *p = calloc(1, sizeof *p);

    if (!p)
        return mg_fail(err, MG_NO_MEMORY, "no memory to print");
    p->format = format;
    p->to = to;
    mg_arena_init(&p->fields_arena, 16 << 20);
    mg_buffer_init(&p->cell, (size_t)1 << 31);
    mg_buffer_init(&p->held, (size_t)1 << 32);
    *out = p;
    return MG_OK;
}

void mg_printer_free(struct mg_printer *p)
{
    if (!p)
        return;
    mg_arena_clear(&p->fields_arena);
    mg_buffer_clear(&p->cell);
    mg_buffer_clear(&p->held);
    free(p->widths);
    free(p);
}

static enum mg_code flush_stream(struct mg_printer *p, struct mg_error *err)
{
    fwrite(p->held.data, 1, p->held.size, p->to);
    mg_buffer_reset(&p->held);
    return check_output(p, err);
}

static enum mg_code begin(void *arg, const struct mg_field *fields, uint32_t count, struct mg_error *err)
{
    struct mg_printer *p = arg;

    p->column_count = count;
    p->fields = mg_arena_array(&p->fields_arena, struct mg_field, (size_t)count + 1);
    p->widths = calloc((size_t)count + 1, sizeof *p->widths);
    if (!p->fields || !p->widths)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u columns", count);
    for (uint32_t i = 0; i < count; i++) {
        char *name = mg_arena_text(&p->fields_arena, fields[i].name);
        if (!name)
            return mg_arena_fail(&p->fields_arena, err);
        p->fields[i] = fields[i];
        p->fields[i].name = mg_slice_text(name);
        if (fields[i].type.id == MG_TYPE_DATETIME || fields[i].type.id == MG_TYPE_TIMESTAMP)
            p->fields[i].type.precision = fraction_digits(fields[i].source_type);
        p->fields[i].source_type = MG_SLICE(NULL, 0); /* not ours for long */
        p->widths[i] = width_of(name);
    }
    if (p->format == MG_FORMAT_ARROW) {
        MG_TRY(mg_ipc_stream_begin(fields, count, &p->held, err));
        return flush_stream(p, err);
    }
    if (p->format == MG_FORMAT_CSV) {
        for (uint32_t i = 0; i < count; i++) {
            if (i)
                fputc(',', p->to);
            csv_text(p->to, p->fields[i].name);
        }
        fputc('\n', p->to);
    }
    return check_output(p, err);
}

static enum mg_code print_row(struct mg_printer *p, const struct mg_batch *batch, uint32_t row, struct mg_error *err)
{
    switch (p->format) {
    case MG_FORMAT_TABLE: return table_row(p, batch, row, err);
    case MG_FORMAT_CSV: return csv_row(p, batch, row, err);
    default: return json_row(p, batch, row, err);
    }
}

static enum mg_code batch_in(void *arg, const struct mg_batch *batch, struct mg_error *err)
{
    struct mg_printer *p = arg;

    p->row_count += batch->row_count;
    if (p->format == MG_FORMAT_ARROW) {
        MG_TRY(mg_ipc_stream_batch(batch, &p->held, err));
        return flush_stream(p, err);
    }
    for (uint32_t row = 0; row < batch->row_count; row++)
        MG_TRY(print_row(p, batch, row, err));
    return check_output(p, err);
}

struct mg_row_sink mg_printer_sink(struct mg_printer *printer)
{
    return (struct mg_row_sink){.arg = printer, .begin = begin, .batch = batch_in};
}

enum mg_code mg_printer_end(struct mg_printer *p, uint64_t *out_rows, struct mg_error *err)
{
    if (p->format == MG_FORMAT_ARROW) {
        MG_TRY(mg_ipc_stream_end(&p->held, err));
        MG_TRY(flush_stream(p, err));
    } else if (p->format == MG_FORMAT_TABLE && p->fields) {
        print_held(p);
        print_rule(p);
    }
    fflush(p->to);
    *out_rows = p->row_count;
    return check_output(p, err);
}
