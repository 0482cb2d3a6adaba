/* compact.c -- the actions that ask for a compaction, list those that were asked for, and cancel one.
 *
 * Bounds of a range are values of the table's first key column as text: a number, a date, a text; they become a prefix
 * of encoded keys, so the low one is included and the high one is not.
 * Errors   MG_NOT_FOUND, MG_INVALID with the text that is no value of the column.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "column/key.h"
#include "connector/flight/flight_internal.h"

static const int64_t day_micros = INT64_C(86400000000);

/* ---- bounds -------------------------------------------------------------------------------------------------- */

static bool read_signed(const char *text, uint32_t width, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    int64_t most = width == 8 ? INT64_MAX : ((int64_t)1 << (8 * width - 1)) - 1;
    return !errno && end != text && !*end && *out <= most && *out >= -most - 1;
}

static bool read_unsigned(const char *text, uint32_t width, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !errno && end != text && !*end && text[0] != '-' && (width == 8 || *out >> (8 * width) == 0);
}

/* YYYY-MM-DD, and behind a blank or T HH:MM:SS with up to six digits of a second. */
static bool read_time(const char *text, bool is_date, int64_t *out)
{
    int year, month, day, hour = 0, minute = 0, second = 0, used = 0;
    int32_t days;
    if (sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &used) != 3 || !mg_date_from_ymd(year, month, day, &days))
        return false;
    text += used;
    *out = is_date ? days : days * day_micros;
    if (!*text || is_date)
        return !*text;
    if ((*text != ' ' && *text != 'T') || sscanf(text + 1, "%2d:%2d:%2d%n", &hour, &minute, &second, &used) != 3 ||
        hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
        return false;
    text += 1 + used;
    *out += ((hour * 60 + minute) * INT64_C(60) + second) * 1000000;
    int64_t unit = 100000;
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9' && unit; text++, unit /= 10)
            *out += (*text - '0') * unit;
    return !*text;
}

static bool read_float(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end;
}

static bool value_of_text(const char *text, struct mg_type type, struct mg_value *out)
{
    *out = (struct mg_value){.type = type};
    switch (type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64: return read_signed(text, mg_type_width(type.id), &out->i);
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return read_unsigned(text, mg_type_width(type.id), &out->u);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return read_float(text, &out->f);
    case MG_TYPE_DECIMAL:
        return mg_decimal_parse(mg_slice_text(text), type.precision, type.scale, &out->d, NULL) == MG_OK;
    case MG_TYPE_DATE: return read_time(text, true, &out->i);
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return read_time(text, false, &out->i);
    case MG_TYPE_UTF8: out->text = mg_slice_text(text); return true;
    default: return false;
    }
}

/* Into an initialised buffer; nothing for an empty text. */
static enum mg_code encode_bound(const struct mg_schema *schema, const char *text, struct mg_buffer *out,
                                 struct mg_error *err)
{
    struct mg_value value;

    if (!*text)
        return MG_OK;
    if (schema->key_count == 0)
        return mg_fail(err, MG_INVALID, "table %s.%s has no key: it has no range '%.100s'", schema->database,
                       schema->table, text);
    const struct mg_column *column = &schema->columns[schema->key_columns[0]];
    if (!value_of_text(text, column->type, &value))
        return mg_fail(err, MG_INVALID, "'%.100s' is no value of %s, the first key column of %s.%s", text, column->name,
                       schema->database, schema->table);
    return mg_key_encode_values(&value, 1, out, err);
}

/* ---- the actions --------------------------------------------------------------------------------------------- */

static enum mg_code send_info(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    static const char *const states[] = {"queued", "running", "done", "failed", "cancelled"};
    struct mg_flight__request *request = arg;
    struct mg_compaction_info copy = *info; /* its texts are pointed to */
    Magic__V1__CompactionInfo proto;
    Arrow__Flight__Protocol__Result result;
    struct mg_slice bytes;

    magic__v1__compaction_info__init(&proto);
    proto.id = copy.id;
    proto.database = copy.database;
    proto.table = copy.table;
    proto.table_id = copy.table_id;
    proto.has_range = copy.has_range;
    proto.state = (char *)(uintptr_t)states[copy.state];
    proto.progress = copy.progress;
    proto.rows_read = copy.rows_read;
    proto.rows_written = copy.rows_written;
    proto.bytes_read = copy.bytes_read;
    proto.bytes_written = copy.bytes_written;
    proto.asked_ms = copy.asked_ms;
    proto.started_ms = copy.started_ms;
    proto.ended_ms = copy.ended_ms;
    proto.message = copy.message;
    MG_TRY(mg_flight__pack(&proto.base, &request->arena, &bytes, err));
    arrow__flight__protocol__result__init(&result);
    result.body = mg_flight__binary(bytes);
    return mg_flight__send(request, &result.base, err);
}

static enum mg_code find_table(struct mg_engine *engine, const Magic__V1__CompactRequest *proto, struct mg_schema **out,
                               struct mg_error *err)
{
    struct mg_snapshot *snapshot;

    if (mg_flight__is_loading(mg_slice_text(proto->database)))
        return mg_fail(err, MG_NOT_FOUND, "there is no table %s.%s", proto->database, proto->table);
    MG_TRY(engine->ops->snapshot(engine, &snapshot, err));
    enum mg_code code = engine->ops->table_by_name(snapshot, mg_slice_text(proto->database),
                                                   mg_slice_text(proto->table), out, err);
    engine->ops->snapshot_unref(snapshot);
    return code;
}

static enum mg_code ask(struct mg_engine *engine, const Magic__V1__CompactRequest *proto, struct mg_schema *schema,
                        struct mg_buffer bounds[2], uint64_t *out_id, struct mg_error *err)
{
    MG_TRY(encode_bound(schema, proto->low, &bounds[0], err));
    MG_TRY(encode_bound(schema, proto->high, &bounds[1], err));
    struct mg_key_range range = {.low = mg_buffer_slice(&bounds[0]), .high = mg_buffer_slice(&bounds[1])};
    if (range.low.size && range.high.size && mg_slice_compare(range.low, range.high) >= 0)
        return mg_fail(err, MG_INVALID, "the range %.100s..%.100s holds no key", proto->low, proto->high);
    return engine->ops->compact(engine, schema->table_id, range, out_id, err);
}

enum mg_code mg_flight__compact(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_engine *engine = request->flight->engine;
    Magic__V1__CompactRequest *proto = NULL;
    struct mg_schema *schema;
    struct mg_buffer bounds[2];
    uint64_t id;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__compact_request__descriptor, body, "the compact request", &request->arena,
                             &proto, err));
    MG_TRY(find_table(engine, proto, &schema, err));
    mg_buffer_init(&bounds[0], MG_KEY_BYTES_MAX);
    mg_buffer_init(&bounds[1], MG_KEY_BYTES_MAX);
    enum mg_code code = ask(engine, proto, schema, bounds, &id, err);
    mg_buffer_clear(&bounds[0]);
    mg_buffer_clear(&bounds[1]);
    mg_schema_unref(schema);
    return code == MG_OK ? engine->ops->compactions(engine, id, send_info, request, err) : code;
}

enum mg_code mg_flight__compactions(struct mg_flight__request *request, struct mg_slice body, struct mg_error *err)
{
    struct mg_engine *engine = request->flight->engine;
    Magic__V1__CompactionsRequest *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__compactions_request__descriptor, body, "the compactions request",
                             &request->arena, &proto, err));
    return engine->ops->compactions(engine, proto->id, send_info, request, err);
}

enum mg_code mg_flight__cancel_compaction(struct mg_flight__request *request, struct mg_slice body,
                                          struct mg_error *err)
{
    struct mg_engine *engine = request->flight->engine;
    Magic__V1__CancelCompactionRequest *proto = NULL;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__cancel_compaction_request__descriptor, body, "the cancel request",
                             &request->arena, &proto, err));
    MG_TRY(engine->ops->cancel_compaction(engine, proto->id, err));
    return engine->ops->compactions(engine, proto->id, send_info, request, err);
}
