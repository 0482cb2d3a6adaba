/* verify.c -- see verify.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { VALUE_TEXT_MAX = 60 /* bytes of one value in words */ };

const char *mg_verify_sentence(enum mg_verify_kind kind)
{
    switch (kind) {
    case MG_VERIFY_INSERT_OF_EXISTING: return "an INSERT of a row that is there";
    case MG_VERIFY_UPDATE_OF_MISSING: return "an UPDATE of a row that is not there";
    case MG_VERIFY_DELETE_OF_MISSING: return "a DELETE of a row that is not there";
    case MG_VERIFY_IMAGE_DIFFERS: return "a row that is not what the source says it was";
    default: return "no contradiction";
    }
}

uint64_t mg_verify_failed(const struct mg_verify *verify)
{
    uint64_t count = 0;

    for (int kind = 0; kind < MG_VERIFY_KINDS; kind++)
        count += verify->counts[kind];
    return count;
}

enum mg_verify_kind mg_verify_op(enum mg_change_op op, bool is_there)
{
    if (is_there)
        return op == MG_CHANGE_INSERT ? MG_VERIFY_INSERT_OF_EXISTING : MG_VERIFY_KINDS;
    switch (op) {
    case MG_CHANGE_UPDATE: return MG_VERIFY_UPDATE_OF_MISSING;
    case MG_CHANGE_DELETE: return MG_VERIFY_DELETE_OF_MISSING;
    default: return MG_VERIFY_KINDS;
    }
}

/* ---- words --------------------------------------------------------------------------------------------------- */

/* Appends the value, or its begin; what does not fit text is cut. */
static void append_value(char *text, size_t size, const struct mg_value *value)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer out;
    struct mg_value cut = *value;
    size_t used = strlen(text);

    mg_buffer_init(&out, 4096);
    if (!cut.is_null && cut.type.id == MG_TYPE_UTF8)
        cut.text.size = MG_MIN(cut.text.size, (size_t)VALUE_TEXT_MAX);
    if (mg_value_format(&cut, &out, NULL) != MG_OK)
        return;
    for (size_t i = 0; i < out.size; i++) /* lines of a status hold no other characters */
        if (out.data[i] < ' ')
            out.data[i] = '?';
    snprintf(text + used, size - used, "%.*s%s", (int)out.size, (const char *)out.data,
             !value->is_null && value->type.id == MG_TYPE_UTF8 && value->text.size > VALUE_TEXT_MAX ? "..." : "");
}

static void append_text(char *text, size_t size, const char *more, const char *name)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", more, name);
}

/* "id = 5, day = 2024-01-01" */
static void append_key(char *text, size_t size, const struct mg_schema *schema, const struct mg_batch *rows,
                       uint32_t row)
{
    for (uint32_t k = 0; k < schema->key_count; k++) {
        struct mg_value value = mg_vector_value(&rows->vectors[schema->key_columns[k]], row);
        append_text(text, size, k ? ", " : "", schema->columns[schema->key_columns[k]].name);
        append_text(text, size, " = ", "");
        append_value(text, size, &value);
    }
}

static struct mg_verify_told *next_told(struct mg_verify *verify, enum mg_verify_kind kind, uint32_t row)
{
    verify->counts[kind]++;
    if (verify->told_count == MG_VERIFY_TOLD_MAX)
        return NULL;
    struct mg_verify_told *told = &verify->told[verify->told_count++];
    *told = (struct mg_verify_told){.kind = kind, .row = row};
    return told;
}

void mg_verify_note(struct mg_verify *verify, enum mg_verify_kind kind, const struct mg_schema *schema,
                    const struct mg_changes *changes, uint32_t row)
{
    struct mg_verify_told *told = next_told(verify, kind, row);

    if (!told)
        return;
    snprintf(told->text, sizeof told->text, "%s: ", mg_verify_sentence(kind));
    append_key(told->text, sizeof told->text, schema, changes->rows, row);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* JSON texts by their tokens: blanks outside of strings do not count. */
static bool json_equal(struct mg_slice a, struct mg_slice b)
{
    bool in_string = false, escaped = false;
    size_t i = 0, j = 0;

    for (;; i++, j++) {
        while (!in_string && i < a.size && is_blank(a.data[i]))
            i++;
        while (!in_string && j < b.size && is_blank(b.data[j]))
            j++;
        if (i == a.size || j == b.size)
            return i == a.size && j == b.size;
        if (a.data[i] != b.data[j])
            return false;
        if (escaped)
            escaped = false;
        else if (a.data[i] == '"')
            in_string = !in_string;
        else
            escaped = in_string && a.data[i] == '\\';
    }
}

static bool is_json(const struct mg_column *column)
{
    return column->source_type && strncmp(column->source_type, "json", 4) == 0;
}

static bool values_equal(const struct mg_column *column, const struct mg_value *a, const struct mg_value *b)
{
    if (a->is_null || b->is_null)
        return a->is_null == b->is_null;
    if (mg_value_compare(a, b) == 0)
        return true;
    return column->type.id == MG_TYPE_UTF8 && is_json(column) && json_equal(a->text, b->text);
}

bool mg_verify_value(struct mg_verify *verify, const struct mg_schema *schema, const struct mg_changes *changes,
                     uint32_t image, uint32_t column, const struct mg_value *stored)
{
    struct mg_value said = mg_vector_value(&changes->old->vectors[column], image);
    uint32_t row = changes->old_rows[image];

    if (values_equal(&schema->columns[column], stored, &said))
        return true;
    struct mg_verify_told *told = next_told(verify, MG_VERIFY_IMAGE_DIFFERS, row);
    if (!told)
        return false;
    append_key(told->text, sizeof told->text, schema, changes->rows, row);
    append_text(told->text, sizeof told->text, ": ", schema->columns[column].name);
    append_text(told->text, sizeof told->text, " is ", "");
    append_value(told->text, sizeof told->text, stored);
    append_text(told->text, sizeof told->text, ", the source says it was ", "");
    append_value(told->text, sizeof told->text, &said);
    return false;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

void mg_verify_add(struct mg_verify *verify, const struct mg_verify *more)
{
    if (mg_verify_failed(verify) == 0) {
        verify->since_ms = more->since_ms;
        verify->since_epoch = more->since_epoch;
    }
    for (int kind = 0; kind < MG_VERIFY_KINDS; kind++)
        verify->counts[kind] += more->counts[kind];
    verify->compared_count += more->compared_count;
    for (uint32_t i = 0; i < more->told_count && verify->told_count < MG_VERIFY_TOLD_MAX; i++)
        verify->told[verify->told_count++] = more->told[i];
}

void mg_verify_reason(const struct mg_verify *verify, char *text, size_t size)
{
    time_t seconds = (time_t)(verify->since_ms / 1000);
    struct tm tm;
    char when[32];

    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    uint64_t failed = mg_verify_failed(verify);
    snprintf(text, size, "since %s UTC (epoch %" PRIu64 "), %" PRIu64 " %s what is stored; %s", when,
             verify->since_epoch, failed, failed == 1 ? "change contradicts" : "changes contradict",
             verify->told_count ? verify->told[0].text : "");
}

enum mg_code mg_verify_check(const struct mg_schema *schema, const struct mg_changes *changes, struct mg_error *err)
{
    const struct mg_batch *old = changes->old;

    if (!old)
        return MG_OK;
    if (old->column_count != schema->column_count)
        return mg_fail(err, MG_INVALID, "table %s.%s: old rows of %u columns, the schema has %u", schema->database,
                       schema->table, old->column_count, schema->column_count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        if (!mg_type_equal(old->vectors[c].type, schema->columns[c].type))
            return mg_fail(err, MG_INVALID, "table %s.%s: column %s of the old rows has another type than the schema",
                           schema->database, schema->table, schema->columns[c].name);
    for (uint32_t i = 0; i < old->row_count; i++) {
        uint32_t row = changes->old_rows[i];
        if (row >= changes->rows->row_count || (i && row <= changes->old_rows[i - 1]) ||
            changes->ops[row] == MG_CHANGE_INSERT)
            return mg_fail(err, MG_INVALID, "table %s.%s: old row %u is of row %u, which was no row or is out of order",
                           schema->database, schema->table, i, row);
    }
    return MG_OK;
}
