/* schema.c -- a table's columns and key: made, checked, copied, and stored in files.
 *
 * Ownership  the schema owns every string and the text of every missing value, one heap block each.
 * Stored     u8 format version, u32 size, u64 XXH3 of the body, body: see docs/format/schema.md. Damage is MG_CORRUPT,
 *            another version MG_UNIMPLEMENTED.
 * Threads    made by one thread; immutable after mg_schema_seal, references are atomic.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/schema.h"

#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

#include "base/hash.h"

enum {
    FORMAT_VERSION = 1,
    STORED_MAX = 16 << 20, /* bytes of one stored schema: 4,096 columns with long ENUM lists */
};

/* ---- life ---------------------------------------------------------------------------------------------------- */

struct mg_schema *mg_schema_new(void)
{
    struct mg_schema *schema = calloc(1, sizeof *schema);

    if (schema)
        atomic_init(&schema->references, 1);
    return schema;
}

enum mg_code mg_schema_text(char **place, struct mg_slice text, struct mg_error *err)
{
    if (text.size && memchr(text.data, 0, text.size))
        return mg_fail(err, MG_INVALID, "a name or text of a schema holds a zero byte");
    char *copy = malloc(text.size + 1);
    if (!copy)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a schema's text of %zu bytes", text.size);
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    free(*place);
    *place = copy;
    return MG_OK;
}

static void free_missing(struct mg_value *missing)
{
    if (missing->type.id == MG_TYPE_UTF8 && !missing->is_null)
        free((void *)(uintptr_t)missing->text.data);
    *missing = (struct mg_value){.is_null = true};
}

enum mg_code mg_schema_set_missing(struct mg_column *column, const struct mg_value *value, struct mg_error *err)
{
    struct mg_value copy = *value;

    if (!value->is_null && value->type.id == MG_TYPE_UTF8) {
        uint8_t *bytes = malloc(value->text.size + 1);
        if (!bytes)
            return mg_fail(err, MG_NO_MEMORY, "no memory for a default of %zu bytes", value->text.size);
        if (value->text.size)
            memcpy(bytes, value->text.data, value->text.size);
        copy.text.data = bytes;
    }
    free_missing(&column->missing);
    column->missing = copy;
    return MG_OK;
}

enum mg_code mg_schema_add_column(struct mg_schema *schema, struct mg_column **out, struct mg_error *err)
{
    uint32_t count = schema->column_count;

    if (count == MG_COLUMNS_MAX)
        return mg_fail(err, MG_TOO_BIG, "a table has more than %d columns", MG_COLUMNS_MAX);
    if ((count & (count - 1)) == 0) { /* full at powers of two */
        struct mg_column *more = realloc(schema->columns, (count ? count * 2 : 1) * sizeof *more);
        if (!more)
            return mg_fail(err, MG_NO_MEMORY, "no memory for %u columns", count * 2);
        schema->columns = more;
    }
    schema->columns[count] = (struct mg_column){.id = 0};
    schema->column_count++;
    *out = &schema->columns[count];
    return MG_OK;
}

struct mg_schema *mg_schema_ref(const struct mg_schema *schema)
{
    struct mg_schema *counted = (struct mg_schema *)(uintptr_t)schema; /* only the count changes */

    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

void mg_schema_unref(struct mg_schema *schema)
{
    if (!schema || atomic_fetch_sub_explicit(&schema->references, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        free(schema->columns[i].name);
        free(schema->columns[i].source_type);
        free_missing(&schema->columns[i].missing);
    }
    free(schema->columns);
    free(schema->database);
    free(schema->table);
    free(schema->state_reason);
    free(schema->source);
    free(schema);
}

void mg_schema_unrefp(struct mg_schema **schema)
{
    mg_schema_unref(*schema);
    *schema = NULL;
}

static enum mg_code copy_text(char **place, const char *text, struct mg_error *err)
{
    return text ? mg_schema_text(place, mg_slice_text(text), err) : MG_OK;
}

struct mg_schema *mg_schema_copy(const struct mg_schema *schema)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *copy = mg_schema_new();

    if (!copy || copy_text(&copy->database, schema->database, NULL) != MG_OK ||
        copy_text(&copy->table, schema->table, NULL) != MG_OK ||
        copy_text(&copy->state_reason, schema->state_reason, NULL) != MG_OK ||
        copy_text(&copy->source, schema->source, NULL) != MG_OK)
        return NULL;
    copy->table_id = schema->table_id;
    copy->version = schema->version;
    copy->state = schema->state;
    copy->good_until_ts = schema->good_until_ts;
    copy->key_count = schema->key_count;
    memcpy(copy->key_columns, schema->key_columns, sizeof copy->key_columns);
    copy->source_id = schema->source_id;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const struct mg_column *from = &schema->columns[i];
        struct mg_column *to;
        if (mg_schema_add_column(copy, &to, NULL) != MG_OK || copy_text(&to->name, from->name, NULL) != MG_OK ||
            copy_text(&to->source_type, from->source_type, NULL) != MG_OK ||
            mg_schema_set_missing(to, &from->missing, NULL) != MG_OK)
            return NULL;
        to->id = from->id;
        to->type = from->type;
        to->nullable = from->nullable;
        to->hidden = from->hidden;
    }
    return MG_TAKE(copy);
}

/* ---- checking ------------------------------------------------------------------------------------------------ */

static enum mg_code check_name(const char *what, const char *name, struct mg_error *err)
{
    if (!name || !*name)
        return mg_fail(err, MG_INVALID, "a schema has no %s name", what);
    if (strlen(name) >= MG_NAME_MAX)
        return mg_fail(err, MG_INVALID, "the %s name \"%.64s...\" has %zu bytes, at most %d are allowed", what, name,
                       strlen(name), MG_NAME_MAX - 1);
    return MG_OK;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = (*(const struct mg_column *const *)a)->id, y = (*(const struct mg_column *const *)b)->id;

    return (x > y) - (x < y);
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp((*(const struct mg_column *const *)a)->name, (*(const struct mg_column *const *)b)->name);
}

static enum mg_code check_unique(const struct mg_schema *schema, struct mg_error *err)
{
    uint32_t count = schema->column_count;
    MG_CLEANUP(mg_freep) const struct mg_column **sorted = malloc((count + 1) * sizeof *sorted);

    if (!sorted)
        return mg_fail(err, MG_NO_MEMORY, "no memory to check %u columns", count);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &schema->columns[i];
    qsort(sorted, count, sizeof *sorted, by_id);
    for (uint32_t i = 1; i < count; i++)
        if (sorted[i - 1]->id == sorted[i]->id)
            return mg_fail(err, MG_INVALID, "columns \"%s\" and \"%s\" have the same id %" PRId64, sorted[i - 1]->name,
                           sorted[i]->name, sorted[i]->id);
    qsort(sorted, count, sizeof *sorted, by_name);
    for (uint32_t i = 1; i < count; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            return mg_fail(err, MG_INVALID, "two columns have the name \"%s\"", sorted[i]->name);
    return MG_OK;
}

static enum mg_code check_column(struct mg_column *column, struct mg_error *err)
{
    MG_TRY(check_name("column", column->name, err));
    enum mg_code code = mg_type_check(column->type, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "column \"%s\"", column->name);
    if ((column->id == MG_COLUMN_ROWID) != column->hidden)
        return mg_fail(err, MG_INVALID, "column \"%s\": hidden is for the row handle, id %d, and only for it",
                       column->name, MG_COLUMN_ROWID);
    if (!column->source_type)
        MG_TRY(mg_schema_text(&column->source_type, mg_slice_text(""), err));
    struct mg_value *missing = &column->missing;
    if (missing->is_null || missing->type.id == MG_TYPE_NONE)
        *missing = (struct mg_value){.type = column->type, .is_null = true};
    else if (!mg_type_equal(missing->type, column->type))
        return mg_fail(err, MG_INVALID, "column \"%s\": the value of rows without it has another type", column->name);
    return MG_OK;
}

static enum mg_code check_key(const struct mg_schema *schema, struct mg_error *err)
{
    if (schema->column_count == 0 && schema->key_count == 0)
        return MG_OK;
    if (schema->key_count < 1 || schema->key_count > MG_KEY_COLUMNS_MAX)
        return mg_fail(err, MG_INVALID, "a key of %u columns: 1 to %d are possible", schema->key_count,
                       MG_KEY_COLUMNS_MAX);
    for (uint32_t i = 0; i < schema->key_count; i++) {
        uint32_t place = schema->key_columns[i];
        if (place >= schema->column_count)
            return mg_fail(err, MG_INVALID, "the key names column place %u of %u", place, schema->column_count);
        if (schema->columns[place].nullable)
            return mg_fail(err, MG_INVALID, "key column \"%s\" may be NULL", schema->columns[place].name);
        for (uint32_t j = 0; j < i; j++)
            if (schema->key_columns[j] == place)
                return mg_fail(err, MG_INVALID, "column \"%s\" is in the key twice", schema->columns[place].name);
    }
    return MG_OK;
}

enum mg_code mg_schema_seal(struct mg_schema *schema, struct mg_error *err)
{
    MG_TRY(check_name("database", schema->database, err));
    MG_TRY(check_name("table", schema->table, err));
    enum mg_code code = MG_OK;
    if ((unsigned)schema->state > MG_STATE_NEEDS_RELOAD)
        code = mg_fail(err, MG_INVALID, "table state %u is not known", (unsigned)schema->state);
    else if (schema->column_count == 0 && schema->state == MG_STATE_OK)
        code = mg_fail(err, MG_INVALID, "a table that can be read has at least one column");
    if (code == MG_OK && !schema->source)
        code = mg_schema_text(&schema->source, mg_slice_text(""), err);
    for (uint32_t i = 0; code == MG_OK && i < schema->column_count; i++)
        code = check_column(&schema->columns[i], err);
    if (code == MG_OK)
        code = check_unique(schema, err);
    if (code == MG_OK)
        code = check_key(schema, err);
    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "table \"%s\".\"%s\"", schema->database, schema->table);
}

/* ---- looking up ---------------------------------------------------------------------------------------------- */

int mg_schema_find_id(const struct mg_schema *schema, int64_t id)
{
    for (uint32_t i = 0; i < schema->column_count; i++)
        if (schema->columns[i].id == id)
            return (int)i;
    return -1;
}

int mg_schema_find_name(const struct mg_schema *schema, struct mg_slice name)
{
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const char *candidate = schema->columns[i].name;
        if (strlen(candidate) == name.size && strncasecmp(candidate, (const char *)name.data, name.size) == 0)
            return (int)i;
    }
    return -1;
}

bool mg_schema_is_key(const struct mg_schema *schema, uint32_t column)
{
    for (uint32_t i = 0; i < schema->key_count; i++)
        if (schema->key_columns[i] == column)
            return true;
    return false;
}

/* ---- the stored form ----------------------------------------------------------------------------------------- */

/* of a stored column */
enum {
    FLAG_NULLABLE = 1,
    FLAG_HIDDEN = 2,
    FLAG_MISSING = 4, /* a value follows */
    FLAGS_ALL = 7,
};

static enum mg_code put_text(const char *text, struct mg_buffer *out, struct mg_error *err)
{
    return mg_buffer_append_bytes(out, mg_slice_text(text), err);
}

static enum mg_code encode_column(const struct mg_column *column, struct mg_buffer *out, struct mg_error *err)
{
    const struct mg_value *missing = &column->missing;
    bool has_missing = !missing->is_null && missing->type.id != MG_TYPE_NONE;
    uint8_t fixed[5] = {(uint8_t)((column->nullable ? FLAG_NULLABLE : 0) | (column->hidden ? FLAG_HIDDEN : 0) |
                                  (has_missing ? FLAG_MISSING : 0)),
                        (uint8_t)column->type.id, column->type.precision, column->type.scale,
                        (uint8_t)column->type.collation};

    MG_TRY(mg_buffer_append_varint(out, mg_zigzag_encode(column->id), err));
    MG_TRY(mg_buffer_append(out, fixed, sizeof fixed, err));
    MG_TRY(put_text(column->name, out, err));
    MG_TRY(put_text(column->source_type, out, err));
    if (!has_missing)
        return MG_OK;
    if (column->type.id == MG_TYPE_UTF8)
        return mg_buffer_append_bytes(out, missing->text, err);
    uint8_t bytes[16];
    mg_value_store(missing, bytes);
    return mg_buffer_append(out, bytes, mg_type_width(column->type.id), err);
}

static enum mg_code encode_body(const struct mg_schema *schema, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(out, schema->table_id, err));
    MG_TRY(mg_buffer_append_varint(out, schema->version, err));
    MG_TRY(mg_buffer_append_varint(out, mg_zigzag_encode(schema->source_id), err));
    MG_TRY(mg_buffer_append_u8(out, (uint8_t)schema->state, err));
    MG_TRY(mg_buffer_append_varint(out, schema->good_until_ts, err));
    MG_TRY(put_text(schema->database, out, err));
    MG_TRY(put_text(schema->table, out, err));
    MG_TRY(put_text(schema->source, out, err));
    MG_TRY(put_text(schema->state_reason, out, err));
    MG_TRY(mg_buffer_append_varint(out, schema->column_count, err));
    for (uint32_t i = 0; i < schema->column_count; i++)
        MG_TRY(encode_column(&schema->columns[i], out, err));
    MG_TRY(mg_buffer_append_varint(out, schema->key_count, err));
    for (uint32_t i = 0; i < schema->key_count; i++)
        MG_TRY(mg_buffer_append_varint(out, schema->key_columns[i], err));
    return MG_OK;
}

enum mg_code mg_schema_encode(const struct mg_schema *schema, struct mg_buffer *out, struct mg_error *err)
{
    size_t start = out->size;
    static const uint8_t header[13] = {FORMAT_VERSION};

    MG_TRY(mg_buffer_append(out, header, sizeof header, err));
    enum mg_code code = encode_body(schema, out, err);
    size_t body_size = out->size - start - sizeof header;
    if (code == MG_OK && body_size > STORED_MAX)
        code = mg_fail(err, MG_TOO_BIG, "the schema of \"%s\".\"%s\" takes %zu bytes", schema->database, schema->table,
                       body_size);
    if (code != MG_OK) {
        out->size = start;
        return code;
    }
    mg_store_le32(out->data + start + 1, (uint32_t)body_size);
    mg_store_le64(out->data + start + 5, mg_hash(out->data + start + sizeof header, body_size, 0));
    return MG_OK;
}

static enum mg_code take_text(struct mg_reader *in, char **place, struct mg_error *err)
{
    return mg_schema_text(place, mg_reader_bytes(in), err);
}

static enum mg_code decode_column(struct mg_reader *in, struct mg_column *column, struct mg_error *err)
{
    column->id = mg_zigzag_decode(mg_reader_varint(in));
    uint8_t flags = mg_reader_u8(in);
    column->type.id = mg_reader_u8(in);
    column->type.precision = mg_reader_u8(in);
    column->type.scale = mg_reader_u8(in);
    column->type.collation = mg_reader_u8(in);
    MG_TRY(take_text(in, &column->name, err));
    MG_TRY(take_text(in, &column->source_type, err));
    if (in->failed || flags & ~FLAGS_ALL)
        return mg_fail(err, MG_CORRUPT, "column cut short or with unknown flags %#x", flags);
    MG_TRY(mg_type_check(column->type, err));
    column->nullable = flags & FLAG_NULLABLE;
    column->hidden = flags & FLAG_HIDDEN;
    if (!(flags & FLAG_MISSING))
        return MG_OK;
    if (column->type.id == MG_TYPE_UTF8) {
        struct mg_value missing = {.type = column->type, .text = mg_reader_bytes(in)};
        return in->failed ? MG_OK : mg_schema_set_missing(column, &missing, err); /* the caller sees `failed` */
    }
    struct mg_slice bytes = mg_reader_take(in, mg_type_width(column->type.id));
    if (!in->failed)
        column->missing = mg_value_load(column->type, bytes.data);
    return MG_OK;
}

static enum mg_code decode_body(struct mg_reader *in, struct mg_schema *schema, struct mg_error *err)
{
    schema->table_id = mg_reader_varint(in);
    schema->version = mg_reader_varint(in);
    schema->source_id = mg_zigzag_decode(mg_reader_varint(in));
    schema->state = mg_reader_u8(in);
    schema->good_until_ts = mg_reader_varint(in);
    MG_TRY(take_text(in, &schema->database, err));
    MG_TRY(take_text(in, &schema->table, err));
    MG_TRY(take_text(in, &schema->source, err));
    struct mg_slice reason = mg_reader_bytes(in);
    if (reason.size)
        MG_TRY(mg_schema_text(&schema->state_reason, reason, err));
    uint64_t column_count = mg_reader_varint(in);
    for (uint64_t i = 0; !in->failed && i < column_count; i++) { /* add_column bounds it */
        struct mg_column *column;
        MG_TRY(mg_schema_add_column(schema, &column, err));
        MG_TRY(decode_column(in, column, err));
    }
    uint64_t key_count = mg_reader_varint(in);
    for (uint64_t i = 0; i < MG_MIN(key_count, MG_KEY_COLUMNS_MAX); i++) {
        uint64_t place = mg_reader_varint(in);
        schema->key_columns[i] = (uint32_t)MG_MIN(place, UINT32_MAX);
    }
    schema->key_count = (uint32_t)MG_MIN(key_count, UINT32_MAX);
    if (in->failed || mg_reader_left(in))
        return mg_fail(err, MG_CORRUPT, "the body ends too early or too late");
    return mg_schema_seal(schema, err);
}

enum mg_code mg_schema_decode(struct mg_reader *in, struct mg_schema **out, struct mg_error *err)
{
    uint8_t version = mg_reader_u8(in);
    uint32_t size = mg_reader_le32(in);
    uint64_t hash = mg_reader_le64(in);

    if (in->failed)
        return mg_fail(err, MG_CORRUPT, "stored schema: the header is cut short");
    if (version != FORMAT_VERSION)
        return mg_fail(err, MG_UNIMPLEMENTED, "stored schema: format version %u, this Magic reads %d", version,
                       FORMAT_VERSION);
    struct mg_slice body = mg_reader_take(in, size);
    if (in->failed || size > STORED_MAX || mg_hash(body.data, body.size, 0) != hash)
        return mg_fail(err, MG_CORRUPT, "stored schema: %u bytes are cut short or do not have their checksum", size);
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = mg_schema_new();
    if (!schema)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a schema");
    struct mg_reader body_in = mg_reader_of(body);
    enum mg_code code = decode_body(&body_in, schema, err);
    if (code != MG_OK && code != MG_NO_MEMORY) { /* what is invalid in a request is damage in a file */
        code = MG_CORRUPT;
        if (err)
            err->code = code;
    }
    if (code != MG_OK)
        return mg_fail_in(err, code, "stored schema");
    *out = MG_TAKE(schema);
    return MG_OK;
}
