/* settlement.c -- reads what TiDB's status port says of a transaction, and of itself.
 *
 * Input    GET /mvcc/hex/{key}: {"key", "region_id", "value": {"info": {"lock": {start_ts, ...}, "writes": [{type,
 *          start_ts, commit_ts, ...}, ...], ...}}}. "info" is an empty object where nothing is; type is absent for a
 *          put, 1 delete, 2 lock only, 3 rollback. GET /info: {"binlog_status", "start_timestamp", ...}. GET /settings:
 *          {"store", ...}.
 * Rules    a write record with our start_ts decides; else a lock with it says that the transaction is under way; else
 *          it is absent. An answer with an error of the store in it is no answer (MG_PROTOCOL).
 * Unistore after its process ended uncleanly it shows many rows with the timestamps of one transaction: that a row is
 * there
 *          may be believed, not whose it is.
 * Errors   MG_PROTOCOL.
 * Threads  pure functions.
 * Source   seen from TiDB 7.5; settlement_test.c holds recorded answers.
 * SPDX-License-Identifier: Apache-2.0 */
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>

#include "syncer/source/source_internal.h"

enum write_type { WRITE_PUT = 0, WRITE_DELETE = 1, WRITE_LOCK = 2, WRITE_ROLLBACK = 3 };

static void put_object(struct json_object **object) { json_object_put(*object); }

/* An object, to be put by the caller. */
static enum mg_code parse(struct mg_slice json, struct json_object **out, struct mg_error *err)
{
    if (json.size > INT_MAX)
        return mg_fail(err, MG_PROTOCOL, "the status port's answer has %zu bytes", json.size);
    struct json_tokener *tokener = json_tokener_new();
    if (!tokener)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a JSON parser");
    struct json_object *object = json_tokener_parse_ex(tokener, (const char *)json.data, (int)json.size);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    if (error != json_tokener_success || !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        return mg_fail(err, MG_PROTOCOL, "the status port's answer is no JSON object: %s",
                       json_tokener_error_desc(error));
    }
    *out = object;
    return MG_OK;
}

static uint64_t number_of(const struct json_object *object, const char *name)
{
    return json_object_get_uint64(json_object_object_get(object, name));
}

enum mg_code mg_settlement__path(struct mg_slice prewrite_key, struct mg_buffer *out, struct mg_error *err)
{
    static const char digits[] = "0123456789abcdef";
    static const char prefix[] = "/mvcc/hex/";
    mg_buffer_reset(out);
    MG_TRY(mg_buffer_reserve(out, sizeof prefix + 2 * prewrite_key.size, err));
    MG_TRY(mg_buffer_append(out, prefix, sizeof prefix - 1, err));
    for (size_t i = 0; i < prewrite_key.size; i++) {
        MG_TRY(mg_buffer_append_u8(out, (uint8_t)digits[prewrite_key.data[i] >> 4], err));
        MG_TRY(mg_buffer_append_u8(out, (uint8_t)digits[prewrite_key.data[i] & 15], err));
    }
    return mg_buffer_append_u8(out, 0, err);
}

/* The write records decide; they are newest first. */
static void read_writes(const struct json_object *writes, uint64_t start_ts, struct mg_settlement *out)
{
    size_t count = json_object_is_type(writes, json_type_array) ? json_object_array_length(writes) : 0;
    for (size_t i = 0; i < count; i++) {
        const struct json_object *write = json_object_array_get_idx(writes, i);
        uint64_t commit_ts = number_of(write, "commit_ts");
        out->any_version = true;
        if (number_of(write, "start_ts") != start_ts) {
            out->older_kept |= commit_ts < start_ts;
            continue;
        }
        if (number_of(write, "type") == WRITE_ROLLBACK) {
            out->fate = MG_FATE_ROLLED_BACK;
        } else {
            out->fate = MG_FATE_COMMITTED;
            out->commit_ts = commit_ts;
        }
        return;
    }
}

enum mg_code mg_settlement__read(struct mg_slice json, uint64_t start_ts, struct mg_settlement *out,
                                 struct mg_error *err)
{
    MG_CLEANUP(put_object) struct json_object *object = NULL;
    MG_TRY(parse(json, &object, err));
    struct json_object *value = json_object_object_get(object, "value");
    struct json_object *info = json_object_object_get(value, "info");
    if (!json_object_is_type(info, json_type_object) || json_object_object_get(value, "region_error") ||
        json_object_object_get(value, "error"))
        return mg_fail(err, MG_PROTOCOL, "the status port gives no versions: %.200s",
                       json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
    struct mg_settlement settlement = {.fate = MG_FATE_ABSENT, .versions_trusted = true};
    read_writes(json_object_object_get(info, "writes"), start_ts, &settlement);
    struct json_object *lock = json_object_object_get(info, "lock");
    if (settlement.fate == MG_FATE_ABSENT && lock && number_of(lock, "start_ts") == start_ts)
        settlement.fate = MG_FATE_LOCKED;
    *out = settlement;
    return MG_OK;
}

enum mg_code mg_settlement__read_info(struct mg_slice json, struct mg_source_health *out, struct mg_error *err)
{
    MG_CLEANUP(put_object) struct json_object *object = NULL;
    MG_TRY(parse(json, &object, err));
    const char *status = json_object_get_string(json_object_object_get(object, "binlog_status"));
    if (!status)
        return mg_fail(err, MG_PROTOCOL, "the status port says no binlog_status: is it a TiDB?");
    out->peer_start_time = json_object_get_int64(json_object_object_get(object, "start_timestamp"));
    snprintf(out->binlog_status, sizeof out->binlog_status, "%s", status);
    return MG_OK;
}

enum mg_code mg_settlement__read_store(struct mg_slice json, bool *out_trusted, struct mg_error *err)
{
    MG_CLEANUP(put_object) struct json_object *object = NULL;
    MG_TRY(parse(json, &object, err));
    const char *store = json_object_get_string(json_object_object_get(object, "store"));
    if (!store)
        return mg_fail(err, MG_PROTOCOL, "the status port does not say which store it has");
    *out_trusted = strcmp(store, "unistore") != 0;
    return MG_OK;
}
