/* mapping.c -- from TableInfo to schema.
 *
 * Left out      columns that are not public, and virtual generated columns (no binlog holds their values).
 * Collations    keys: bytes, or bytes without trailing blanks; every other collation would merge other rows than the
 *               source does. Columns outside the key: any; PAD SPACE unless the collation is one of the NO PAD ones.
 * NULL          dates and times may be NULL outside the key even where the source says NOT NULL: zero dates are stored
 *               so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/mapping.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static bool is_text(const struct mg_tidb_column *column)
{
    switch (column->type) {
    case MG_TIDB_VARCHAR:
    case MG_TIDB_VAR_STRING:
    case MG_TIDB_STRING:
    case MG_TIDB_TINY_BLOB:
    case MG_TIDB_MEDIUM_BLOB:
    case MG_TIDB_LONG_BLOB:
    case MG_TIDB_BLOB: return strcasecmp(column->charset, "binary") != 0;
    default: return false;
    }
}

/* ---- types --------------------------------------------------------------------------------------------------- */

void mg_tidb_type_format(const struct mg_tidb_column *column, char text[64])
{
    const bool binary = strcasecmp(column->charset, "binary") == 0;
    const char *name = NULL;
    bool length = false, scale = false, fraction = false, number = false;

    switch (column->type) {
    case MG_TIDB_TINY: name = "tinyint", number = true; break;
    case MG_TIDB_SHORT: name = "smallint", number = true; break;
    case MG_TIDB_INT24: name = "mediumint", number = true; break;
    case MG_TIDB_LONG: name = "int", number = true; break;
    case MG_TIDB_LONGLONG: name = "bigint", number = true; break;
    case MG_TIDB_FLOAT: name = "float", number = true; break;
    case MG_TIDB_DOUBLE: name = "double", number = true; break;
    case MG_TIDB_DECIMAL: name = "decimal", number = scale = true; break;
    case MG_TIDB_DATE:
    case MG_TIDB_NEWDATE: name = "date"; break;
    case MG_TIDB_DATETIME: name = "datetime", fraction = true; break;
    case MG_TIDB_TIMESTAMP: name = "timestamp", fraction = true; break;
    case MG_TIDB_TIME: name = "time", fraction = true; break;
    case MG_TIDB_YEAR: name = "year"; break;
    case MG_TIDB_BIT: name = "bit", length = true; break;
    case MG_TIDB_JSON: name = "json"; break;
    case MG_TIDB_VECTOR: name = "vector"; break;
    case MG_TIDB_ENUM: name = "enum"; break;
    case MG_TIDB_SET: name = "set"; break;
    case MG_TIDB_VARCHAR:
    case MG_TIDB_VAR_STRING: name = binary ? "varbinary" : "varchar", length = true; break;
    case MG_TIDB_STRING: name = binary ? "binary" : "char", length = true; break;
    case MG_TIDB_TINY_BLOB: name = binary ? "tinyblob" : "tinytext"; break;
    case MG_TIDB_BLOB: name = binary ? "blob" : "text"; break;
    case MG_TIDB_MEDIUM_BLOB: name = binary ? "mediumblob" : "mediumtext"; break;
    case MG_TIDB_LONG_BLOB: name = binary ? "longblob" : "longtext"; break;
    default: snprintf(text, 64, "type %d", column->type); return;
    }
    const char *sign = number && column->flags & MG_TIDB_FLAG_UNSIGNED ? " unsigned" : "";
    if (scale)
        snprintf(text, 64, "%s(%" PRId64 ",%" PRId64 ")%s", name, column->length, MG_MAX(column->decimals, 0), sign);
    else if (length && column->length >= 0)
        snprintf(text, 64, "%s(%" PRId64 ")", name, column->length);
    else if (fraction && column->decimals > 0)
        snprintf(text, 64, "%s(%" PRId64 ")", name, column->decimals);
    else
        snprintf(text, 64, "%s%s", name, sign);
}

static enum mg_collation collation_of(const struct mg_tidb_column *column)
{
    static const char *const no_pad[] = {"binary", "utf8mb4_0900_bin", "utf8mb4_0900_ai_ci"};
    for (size_t i = 0; i < MG_COUNT_OF(no_pad); i++)
        if (strcasecmp(column->collation, no_pad[i]) == 0)
            return MG_COLLATION_BINARY;
    return MG_COLLATION_PAD_SPACE;
}

/* Whether rows are one row exactly when the bytes of this text are equal (but for trailing blanks). */
static bool is_key_collation(const struct mg_tidb_column *column)
{
    static const char *const known[] = {"binary",      "utf8mb4_bin", "utf8mb4_0900_bin", "utf8_bin",
                                        "utf8mb3_bin", "latin1_bin",  "ascii_bin"};
    for (size_t i = 0; i < MG_COUNT_OF(known); i++)
        if (strcasecmp(column->collation, known[i]) == 0)
            return true;
    return false;
}

/* false when this version has no type for it. */
static bool map_type(const struct mg_tidb_column *column, struct mg_type *out)
{
    const bool is_unsigned = column->flags & MG_TIDB_FLAG_UNSIGNED;
    struct mg_type type = {.id = MG_TYPE_NONE};

    switch (column->type) {
    case MG_TIDB_TINY: type.id = is_unsigned ? MG_TYPE_UINT8 : MG_TYPE_INT8; break;
    case MG_TIDB_SHORT: type.id = is_unsigned ? MG_TYPE_UINT16 : MG_TYPE_INT16; break;
    case MG_TIDB_INT24:
    case MG_TIDB_LONG: type.id = is_unsigned ? MG_TYPE_UINT32 : MG_TYPE_INT32; break;
    case MG_TIDB_LONGLONG: type.id = is_unsigned ? MG_TYPE_UINT64 : MG_TYPE_INT64; break;
    case MG_TIDB_FLOAT: type.id = MG_TYPE_FLOAT32; break;
    case MG_TIDB_DOUBLE: type.id = MG_TYPE_FLOAT64; break;
    case MG_TIDB_DECIMAL:
        if (column->length < 1 || column->length > MG_DECIMAL_PRECISION_MAX || column->decimals > column->length)
            return false;
        type.id = MG_TYPE_DECIMAL;
        type.precision = (uint8_t)column->length;
        type.scale = (uint8_t)MG_MAX(column->decimals, 0);
        break;
    case MG_TIDB_DATE:
    case MG_TIDB_NEWDATE: type.id = MG_TYPE_DATE; break;
    case MG_TIDB_DATETIME:
    case MG_TIDB_TIMESTAMP:
        if (column->decimals > 6)
            return false;
        type.id = column->type == MG_TIDB_DATETIME ? MG_TYPE_DATETIME : MG_TYPE_TIMESTAMP;
        type.precision = (uint8_t)MG_MAX(column->decimals, 0);
        break;
    default:
        if (!is_text(column))
            return false;
        type.id = MG_TYPE_UTF8;
        type.collation = collation_of(column);
    }
    *out = type;
    return true;
}

/* ---- what rows hold that lack a column ------------------------------------------------------------------------ */

static bool parse_int(const char *text, struct mg_value *out)
{
    const uint32_t bits = mg_type_width(out->type.id) * 8;
    char *end;

    errno = 0;
    if (out->type.id >= MG_TYPE_UINT8) {
        out->u = strtoull(text, &end, 10);
        return *text && *text != '-' && !*end && !errno && (bits == 64 || out->u >> bits == 0);
    }
    out->i = strtoll(text, &end, 10);
    return *text && !*end && !errno &&
           (bits == 64 || (out->i >= -(INT64_C(1) << (bits - 1)) && out->i < INT64_C(1) << (bits - 1)));
}

static bool parse_float(const char *text, struct mg_value *out)
{
    char *end;

    out->f = strtod(text, &end);
    if (out->type.id == MG_TYPE_FLOAT32)
        out->f = (double)(float)out->f;
    return *text && !*end;
}

/* "2020-02-02", "2020-02-02 02:02:02.222"; a date that no calendar has becomes NULL. */
static bool parse_time(const char *text, struct mg_value *out)
{
    int year, month, day, hour = 0, minute = 0, second = 0, used = 0;
    int64_t us = 0;
    int32_t days;

    if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3)
        return false;
    text += used;
    if (*text) {
        used = 0;
        if (sscanf(text, " %2d:%2d:%2d%n", &hour, &minute, &second, &used) != 3 || hour > 23 || minute > 59 ||
            second > 59)
            return false;
        text += used;
        if (*text == '.') {
            text++;
            for (int64_t unit = 100000; isdigit((unsigned char)*text); text++, unit /= 10)
                us += (*text - '0') * unit;
        }
    }
    if (*text || year < 0 || month < 0 || day < 0 || hour < 0 || minute < 0 || second < 0)
        return false;
    if (!mg_date_from_ymd(year, month, day, &days))
        out->is_null = true;
    else if (out->type.id == MG_TYPE_DATE)
        out->i = days;
    else
        out->i = days * INT64_C(86400000000) + ((hour * INT64_C(60) + minute) * 60 + second) * 1000000 + us;
    return true;
}

static bool parse_default(const struct mg_tidb_column *column, struct mg_value *out)
{
    const struct mg_slice text = MG_SLICE(column->origin_default, column->origin_default_size);

    switch (out->type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return parse_float(column->origin_default, out);
    case MG_TYPE_DECIMAL: return mg_decimal_parse(text, out->type.precision, out->type.scale, &out->d, NULL) == MG_OK;
    case MG_TYPE_DATE:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return parse_time(column->origin_default, out);
    case MG_TYPE_UTF8: out->text = text; return true;
    default: return parse_int(column->origin_default, out);
    }
}

/* The value of the column in rows that lack it: its first default, else NULL, else the type's zero. */
static enum mg_code set_missing(const struct mg_tidb_column *from, struct mg_column *column, struct mg_error *err)
{
    struct mg_value value = {.type = column->type};

    if (from->origin_default) {
        if (!parse_default(from, &value))
            return mg_fail(err, MG_UNIMPLEMENTED, "the default \"%.64s\" of column %s (%s) is not understood",
                           from->origin_default, from->name, column->source_type);
    } else {
        /* A NOT NULL date has no zero here: zero dates are NULL. */
        value.is_null = column->nullable;
        if (column->type.id == MG_TYPE_UTF8)
            value.text = mg_slice_text("");
    }
    return mg_schema_set_missing(column, &value, err);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

static bool is_kept(const struct mg_tidb_column *column)
{
    return column->state == MG_TIDB_PUBLIC && !column->is_virtual;
}

/* Appends a column; *out_place is where. MG_UNIMPLEMENTED when the table cannot be kept because of it. */
static enum mg_code add_column(struct mg_schema *schema, const struct mg_tidb_column *from, bool in_key,
                               struct mg_error *err)
{
    struct mg_column *column;
    struct mg_type type;
    char source_type[64];

    mg_tidb_type_format(from, source_type);
    if (!map_type(from, &type))
        return mg_fail(err, MG_UNIMPLEMENTED, "column %s has type %s, which this version does not keep", from->name,
                       source_type);
    MG_TRY(mg_schema_add_column(schema, &column, err));
    column->id = from->id;
    column->type = type;
    column->nullable = !in_key && (!(from->flags & MG_TIDB_FLAG_NOT_NULL) || type.id == MG_TYPE_DATE ||
                                   type.id == MG_TYPE_DATETIME || type.id == MG_TYPE_TIMESTAMP);
    MG_TRY(mg_schema_text(&column->name, mg_slice_text(from->name), err));
    MG_TRY(mg_schema_text(&column->source_type, mg_slice_text(source_type), err));
    return set_missing(from, column, err);
}

/* The hidden handle of a table whose rows the source knows by number. */
static enum mg_code add_rowid(struct mg_schema *schema, struct mg_error *err)
{
    struct mg_column *column;

    MG_TRY(mg_schema_add_column(schema, &column, err));
    column->id = MG_COLUMN_ROWID;
    column->type = (struct mg_type){.id = MG_TYPE_INT64};
    column->hidden = true;
    MG_TRY(mg_schema_text(&column->name, mg_slice_text("_tidb_rowid"), err));
    MG_TRY(mg_schema_text(&column->source_type, mg_slice_text("bigint"), err));
    schema->key_columns[schema->key_count++] = schema->column_count - 1;
    return MG_OK;
}

/* The places (in table->columns) of the columns by which the source knows its rows; none: by number. */
static enum mg_code find_key(const struct mg_tidb_table *table, uint32_t places[MG_TIDB_KEY_COLUMNS_MAX],
                             uint32_t *out_count, struct mg_error *err)
{
    *out_count = 0;
    if (table->pk_is_handle) {
        for (uint32_t i = 0; i < table->column_count; i++)
            if (is_kept(&table->columns[i]) && table->columns[i].flags & MG_TIDB_FLAG_PRIMARY)
                places[(*out_count)++] = i;
        if (*out_count != 1)
            return mg_fail(err, MG_UNIMPLEMENTED, "its primary key has %u columns where the source says one",
                           *out_count);
    } else if (table->is_common_handle) {
        for (uint32_t k = 0; k < table->key_count; k++) {
            const struct mg_tidb_column *column = &table->columns[table->key[k].column];
            char type[64];
            mg_tidb_type_format(column, type);
            if (table->key[k].length >= 0)
                return mg_fail(err, MG_UNIMPLEMENTED,
                               "its clustered primary key takes the first %" PRId64 " characters of column %s only",
                               table->key[k].length, column->name);
            if (!is_kept(column))
                return mg_fail(err, MG_UNIMPLEMENTED, "key column %s is not public", column->name);
            if (is_text(column) && !is_key_collation(column))
                return mg_fail(err, MG_UNIMPLEMENTED,
                               "key column %s (%s) has collation %s; keys of this version compare bytes "
                               "(utf8mb4_bin and its like)",
                               column->name, type, column->collation);
            places[(*out_count)++] = table->key[k].column;
        }
    }
    return MG_OK;
}

static enum mg_code fill_columns(const struct mg_tidb_table *table, struct mg_schema *schema, struct mg_error *err)
{
    uint32_t places[MG_TIDB_KEY_COLUMNS_MAX], key_count;

    MG_TRY(find_key(table, places, &key_count, err));
    for (uint32_t i = 0; i < table->column_count; i++) {
        bool in_key = false;
        if (!is_kept(&table->columns[i]))
            continue;
        for (uint32_t k = 0; k < key_count; k++) {
            if (places[k] == i) {
                in_key = true;
                schema->key_columns[k] = schema->column_count;
            }
        }
        MG_TRY(add_column(schema, &table->columns[i], in_key, err));
    }
    if (schema->column_count == 0)
        return mg_fail(err, MG_UNIMPLEMENTED, "it has no column that a binlog holds");
    schema->key_count = key_count;
    return key_count ? MG_OK : add_rowid(schema, err);
}

enum mg_code mg_tidb_schema(const struct mg_tidb_table *table, const char *database, struct mg_schema **out,
                            struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = mg_schema_new();
    struct mg_error why = MG_ERROR_INIT;

    if (!schema)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the schema of table %s.%s", database, table->name);
    enum mg_code code = fill_columns(table, schema, &why);
    if (code == MG_UNIMPLEMENTED) { /* nothing of it is kept */
        mg_schema_unref(schema);
        schema = mg_schema_new();
        if (!schema)
            return mg_fail(err, MG_NO_MEMORY, "no memory for the schema of table %s.%s", database, table->name);
        schema->state = MG_STATE_UNSUPPORTED;
        MG_TRY(mg_schema_text(&schema->state_reason, mg_slice_text(why.text), err));
    } else if (code != MG_OK) {
        return mg_fail(err, code, "table %s.%s: %s", database, table->name, why.text);
    } else if (table->has_ttl) {
        schema->state = MG_STATE_NEEDS_RELOAD;
        MG_TRY(mg_schema_text(&schema->state_reason,
                              mg_slice_text("it has a TTL: the source deletes rows of it without telling"), err));
    }
    MG_TRY(mg_schema_text(&schema->database, mg_slice_text(database), err));
    MG_TRY(mg_schema_text(&schema->table, mg_slice_text(table->name), err));
    schema->source_id = table->id;
    *out = MG_TAKE(schema);
    return MG_OK;
}
