/* row.c -- decodes a row image into one cell per column, then appends all cells: so a bad row leaves nothing behind.
 *
 * Finding a column  Rows of a table list their columns in the same order nearly always, so the place after the last one
 *                   found is tried first; a binary search over the ids is the fallback.
 * Sights            cell.row_number says in which row a cell was filled, so that nothing is cleared between rows. In an
 *                   update the first sight of an id only marks it (the old value is not decoded), the second fills it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/row.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/counter.h"
#include "syncer/decoder/datum.h"

/* A decoded value: what the column's type says. */
struct cell {
    union {
        int64_t i;
        uint64_t u;
        double f;
        mg_int128 d;
        struct mg_slice text;
    };
    uint64_t row_number; /* the row whose value this is */
    uint32_t sights;     /* in that row */
    bool is_null;
    bool is_zero_date; /* NULL because of that */
};

/* What never changes about a column. */
struct place {
    struct mg_type type;
    bool nullable, in_key;
    bool row_only; /* a text key whose handle holds a sort key: the row must have it */
    struct cell missing;
};

struct id_place {
    int64_t id;
    uint32_t place;
};

/* Owns everything; borrows nothing but the schema, of which it holds a reference. */
struct mg_row_decoder {
    struct mg_schema *schema;
    uint32_t column_count;
    struct place *places;
    struct cell *cells;
    struct id_place *ids; /* rising */
    int64_t shown_id;
    uint64_t row_number;
    bool
        /* one integer key column, or the row handle: the handle is one INT datum of 64 bits, whatever its sign */
        handle_is_int;
};

/* ---- making one ---------------------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    const struct id_place *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static void fill_missing(struct place *place, const struct mg_column *column)
{
    struct cell *cell = &place->missing;

    cell->is_null = column->missing.type.id == MG_TYPE_NONE || column->missing.is_null;
    if (cell->is_null)
        return;
    switch (column->type.id) {
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: cell->u = column->missing.u; break;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: cell->f = column->missing.f; break;
    case MG_TYPE_DECIMAL: cell->d = column->missing.d; break;
    case MG_TYPE_UTF8:
        cell->text = column->missing.text; /* the schema's, which outlives the decoder */
        break;
    default: cell->i = column->missing.i;
    }
}

static bool is_integer(enum mg_type_id id) { return id >= MG_TYPE_INT8 && id <= MG_TYPE_UINT64; }

void mg_row_decoder_free(struct mg_row_decoder *decoder)
{
    if (!decoder)
        return;
    mg_schema_unref(decoder->schema);
    free(decoder->places);
    free(decoder->cells);
    free(decoder->ids);
    free(decoder);
}

enum mg_code mg_row_decoder_new(struct mg_schema *schema, struct mg_row_decoder **out, struct mg_error *err)
{
    uint32_t count = schema->column_count;
    struct mg_row_decoder *decoder = calloc(1, sizeof *decoder);

    mg_assert(count > 0 && schema->key_count > 0);
    if (decoder) {
        decoder->places = calloc(count, sizeof *decoder->places);
        decoder->cells = calloc(count, sizeof *decoder->cells);
        decoder->ids = calloc(count, sizeof *decoder->ids);
    }
    if (!decoder || !decoder->places || !decoder->cells || !decoder->ids) {
        mg_row_decoder_free(decoder);
        return mg_fail(err, MG_NO_MEMORY, "no memory to decode the rows of table %s.%s with %u columns",
                       schema->database, schema->table, count);
    }
    decoder->schema = mg_schema_ref(schema);
    decoder->column_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct mg_column *column = &schema->columns[i];
        struct place *place = &decoder->places[i];
        place->type = column->type;
        place->nullable = column->nullable;
        place->in_key = mg_schema_is_key(schema, i);
        /* Under the collations of the source, a VARCHAR's handle holds a sort key without trailing blanks, and the row
         * repeats the text; a CHAR has no trailing blanks, so its handle is its text. */
        place->row_only = place->in_key && column->type.id == MG_TYPE_UTF8 &&
                          column->type.collation == MG_COLLATION_PAD_SPACE &&
                          strncmp(column->source_type, "char", 4) != 0;
        fill_missing(place, column);
        decoder->ids[i] = (struct id_place){column->id, i};
        decoder->shown_id = MG_MAX(decoder->shown_id, column->id);
    }
    qsort(decoder->ids, count, sizeof *decoder->ids, compare_ids);
    decoder->handle_is_int = schema->key_count == 1 && is_integer(schema->columns[schema->key_columns[0]].type.id);
    *out = decoder;
    return MG_OK;
}

void mg_row_decoder_show(struct mg_row_decoder *decoder, int64_t column_id)
{
    decoder->shown_id = MG_MAX(decoder->shown_id, column_id);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static enum mg_code bad_value(const struct mg_row_decoder *decoder, uint32_t place, const struct mg_datum *datum,
                              struct mg_error *err)
{
    const struct mg_column *column = &decoder->schema->columns[place];
    return mg_fail(err, MG_PROTOCOL, "column %s (id %" PRId64 ", %s): a datum of flag %d does not fit it", column->name,
                   column->id, column->source_type, (int)datum->flag);
}

static bool fits_signed(enum mg_type_id id, int64_t v)
{
    switch (id) {
    case MG_TYPE_INT8: return v == (int8_t)v;
    case MG_TYPE_INT16: return v == (int16_t)v;
    case MG_TYPE_INT32: return v == (int32_t)v;
    default: return true;
    }
}

static bool fits_unsigned(enum mg_type_id id, uint64_t v)
{
    switch (id) {
    case MG_TYPE_UINT8: return v <= UINT8_MAX;
    case MG_TYPE_UINT16: return v <= UINT16_MAX;
    case MG_TYPE_UINT32: return v <= UINT32_MAX;
    default: return true;
    }
}

/* A date or time; one that no calendar has becomes NULL and is counted when the row is taken. */
static bool fill_time(struct cell *cell, enum mg_type_id id, uint64_t packed)
{
    int32_t days = 0;
    int64_t us = 0;

    switch (mg_datum_time(packed, &days, &us)) {
    case MG_DATUM_TIME_OK: cell->i = id == MG_TYPE_DATE ? days : us; return true;
    case MG_DATUM_TIME_ZERO: cell->is_null = cell->is_zero_date = true; return true;
    default: return false;
    }
}

/* A datum as the column's value; false when it cannot be one. */
static bool fill_cell(struct cell *cell, const struct place *place, const struct mg_datum *datum)
{
    enum mg_type_id id = place->type.id;

    cell->is_null = datum->flag == MG_DATUM_NULL;
    cell->is_zero_date = false;
    if (cell->is_null)
        return true;
    switch (id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64:
        cell->i = datum->i;
        return (datum->flag == MG_DATUM_INT || (datum->flag == MG_DATUM_UINT && datum->u <= INT64_MAX)) &&
               fits_signed(id, datum->i);
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64:
        cell->u = datum->u;
        return (datum->flag == MG_DATUM_UINT || (datum->flag == MG_DATUM_INT && datum->i >= 0)) &&
               fits_unsigned(id, datum->u);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: cell->f = datum->f; return datum->flag == MG_DATUM_FLOAT;
    case MG_TYPE_DECIMAL:
        return datum->flag == MG_DATUM_DECIMAL &&
               mg_datum_decimal(datum->bytes, place->type.precision, place->type.scale, &cell->d);
    case MG_TYPE_DATE:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return datum->flag == MG_DATUM_UINT && fill_time(cell, id, datum->u);
    case MG_TYPE_UTF8: cell->text = datum->bytes; return datum->flag == MG_DATUM_BYTES;
    default: return false;
    }
}

/* ---- pairs --------------------------------------------------------------------------------------------------- */

/* The column's place, or -1. *next is where the column after it stands in ids: tried first. */
static int find_place(const struct mg_row_decoder *decoder, int64_t id, uint32_t *next)
{
    uint32_t low = 0, high = decoder->column_count;

    if (*next < high && decoder->ids[*next].id == id)
        return (int)decoder->ids[(*next)++].place;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (decoder->ids[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == decoder->column_count || decoder->ids[low].id != id)
        return -1;
    *next = low + 1;
    return (int)decoder->ids[low].place;
}

/* A column id: nearly always a small positive number in two bytes. */
static bool read_id(struct mg_reader *in, int64_t *out)
{
    struct mg_datum datum;

    if (mg_reader_left(in) >= 2 && in->at[0] == MG_DATUM_INT && in->at[1] < 0x80) {
        *out = mg_zigzag_decode(in->at[1]);
        in->at += 2;
        return true;
    }
    if (!mg_datum_read(in, &datum) || datum.flag != MG_DATUM_INT)
        return false;
    *out = datum.i;
    return true;
}

/* Reads pairs to the end. An update's values are taken at the second sight of their id, the others' at the first. Only
 * key columns are decoded for a delete. */
static enum mg_code read_pairs(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_reader *in,
                               int64_t *out_column_id, struct mg_error *err)
{
    uint32_t wanted_sight = kind == MG_ROW_UPDATE ? 2 : 1, next = 0;
    struct mg_datum datum;

    while (mg_reader_left(in) > 0) {
        int64_t id;
        if (!read_id(in, &id))
            return mg_fail(err, MG_PROTOCOL, "a row image is malformed where a column id is expected");
        if (!mg_datum_read(in, &datum))
            return mg_fail(err, MG_PROTOCOL, "a row image is malformed in the value of column id %" PRId64, id);
        int at = find_place(decoder, id, &next);
        if (at < 0) {
            if (id > decoder->shown_id && kind != MG_ROW_DELETE) { /* a deleted row's values do not matter */
                *out_column_id = id;
                return mg_fail(err, MG_SCHEMA_CHANGED,
                               "a row has column id %" PRId64 ", which no finished schema change has shown yet", id);
            }
            continue;
        }
        struct cell *cell = &decoder->cells[at];
        if (cell->row_number != decoder->row_number) {
            cell->row_number = decoder->row_number;
            cell->sights = 0;
        }
        if (++cell->sights > wanted_sight)
            return mg_fail(err, MG_PROTOCOL, "a row image has column id %" PRId64 " %u times", id, cell->sights);
        if (cell->sights < wanted_sight || (kind == MG_ROW_DELETE && !decoder->places[at].in_key))
            continue;
        if (!fill_cell(cell, &decoder->places[at], &datum))
            return bad_value(decoder, (uint32_t)at, &datum, err);
    }
    return MG_OK;
}

/* The handle in front of an inserted row fills the key columns; the row's own values then take their place. */
static enum mg_code read_handle(struct mg_row_decoder *decoder, struct mg_reader *in, struct mg_error *err)
{
    const struct mg_schema *schema = decoder->schema;
    struct mg_datum datum;

    for (uint32_t k = 0; k < schema->key_count; k++) {
        uint32_t at = schema->key_columns[k];
        struct cell *cell = &decoder->cells[at];
        if (!mg_datum_read(in, &datum))
            return mg_fail(err, MG_PROTOCOL, "the handle of a row is malformed");
        if (decoder->handle_is_int && datum.flag == MG_DATUM_INT && decoder->places[at].type.id >= MG_TYPE_UINT8)
            datum.flag = MG_DATUM_UINT; /* an unsigned key's 64 bits, written as signed */
        cell->row_number = 0;
        if (decoder->places[at].row_only)
            continue;
        if (!fill_cell(cell, &decoder->places[at], &datum))
            return bad_value(decoder, at, &datum, err);
        cell->row_number = decoder->row_number;
        cell->sights = 0;
    }
    return MG_OK;
}

/* ---- whole rows ---------------------------------------------------------------------------------------------- */

/* Columns that the row did not have get what they then hold; NULLs are checked. */
static enum mg_code complete(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_error *err)
{
    uint32_t wanted_sight = kind == MG_ROW_UPDATE ? 2 : 1;
    uint64_t zero_dates = 0;

    for (uint32_t i = 0; i < decoder->column_count; i++) {
        struct cell *cell = &decoder->cells[i];
        const struct place *place = &decoder->places[i];
        const struct mg_column *column = &decoder->schema->columns[i];

        if (kind == MG_ROW_DELETE && !place->in_key)
            continue;
        if (cell->row_number != decoder->row_number) {
            if (place->row_only && kind == MG_ROW_INSERT)
                return mg_fail(err, MG_UNIMPLEMENTED,
                               "key column %s is not in an inserted row: the source compares text without collations "
                               "(new_collation_enabled is off), which this version does not follow",
                               column->name);
            if (place->in_key)
                return mg_fail(err, MG_PROTOCOL, "a row image lacks key column %s (id %" PRId64 ")", column->name,
                               column->id);
            *cell = place->missing;
        } else if (cell->sights != wanted_sight && !(kind == MG_ROW_INSERT && place->in_key)) {
            return mg_fail(err, MG_PROTOCOL, "an updated row has column %s (id %" PRId64 ") in one half only",
                           column->name, column->id);
        }
        if (cell->is_null && !place->nullable) {
            if (cell->is_zero_date)
                return mg_fail(err, MG_UNIMPLEMENTED,
                               "key column %s holds a zero or partial date, which would become NULL and merge rows",
                               column->name);
            return mg_fail(err, MG_PROTOCOL, "column %s is NULL in a row, and NOT NULL in the schema", column->name);
        }
        zero_dates += cell->is_zero_date;
    }
    if (zero_dates)
        mg_count(decoder_zero_dates, zero_dates);
    return MG_OK;
}

static enum mg_code append_cell(struct mg_batch_builder *builder, uint32_t column, enum mg_type_id id,
                                const struct cell *cell, struct mg_error *err)
{
    if (cell->is_null)
        return mg_builder_null(builder, column, err);
    switch (id) {
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return mg_builder_uint(builder, column, cell->u, err);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return mg_builder_float(builder, column, cell->f, err);
    case MG_TYPE_DECIMAL: return mg_builder_decimal(builder, column, cell->d, err);
    case MG_TYPE_UTF8: return mg_builder_text(builder, column, cell->text, err);
    default: return mg_builder_int(builder, column, cell->i, err);
    }
}

enum mg_code mg_row_decode(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_slice row,
                           struct mg_batch_builder *builder, int64_t *out_column_id, struct mg_error *err)
{
    struct mg_reader in = mg_reader_of(row);

    decoder->row_number++;
    if (kind == MG_ROW_INSERT) {
        MG_TRY(read_handle(decoder, &in, err));
        if (mg_reader_left(&in) == 1 && *in.at == MG_DATUM_NULL)
            mg_reader_take(&in, 1); /* no column is listed */
    }
    MG_TRY(read_pairs(decoder, kind, &in, out_column_id, err));
    MG_TRY(complete(decoder, kind, err));
    for (uint32_t i = 0; i < decoder->column_count; i++) {
        const struct place *place = &decoder->places[i];
        if (kind == MG_ROW_DELETE && !place->in_key)
            MG_TRY(mg_builder_null(builder, i, err));
        else
            MG_TRY(append_cell(builder, i, place->type.id, &decoder->cells[i], err));
    }
    return MG_OK;
}

/* ---- old rows ------------------------------------------------------------------------------------------------ */

/* The first sight of every column; false unless all are there and can be kept. */
static bool read_old(struct mg_row_decoder *decoder, struct mg_reader *in)
{
    uint32_t next = 0, found = 0;
    struct mg_datum datum;
    int64_t id;

    while (mg_reader_left(in) > 0) {
        if (!read_id(in, &id) || !mg_datum_read(in, &datum))
            return false;
        int at = find_place(decoder, id, &next);
        struct cell *cell = at < 0 ? NULL : &decoder->cells[at];
        if (!cell || cell->row_number == decoder->row_number) /* unknown, or of the new row */
            continue;
        cell->row_number = decoder->row_number;
        if (!fill_cell(cell, &decoder->places[at], &datum) || (cell->is_null && !decoder->places[at].nullable))
            return false;
        found++;
    }
    return found == decoder->column_count;
}

enum mg_code mg_row_decode_old(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_slice row,
                               struct mg_batch_builder *builder, bool *out_whole, struct mg_error *err)
{
    struct mg_reader in = mg_reader_of(row);

    decoder->row_number++;
    *out_whole = kind != MG_ROW_INSERT && read_old(decoder, &in);
    for (uint32_t i = 0; *out_whole && i < decoder->column_count; i++)
        MG_TRY(append_cell(builder, i, decoder->places[i].type.id, &decoder->cells[i], err));
    return MG_OK;
}
