/* prewrite.c -- protobuf by hand: the two messages of a prewrite are large and flat, and their rows are wanted in
 * place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/prewrite.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

enum {
    VALUE_SCHEMA_VERSION = 1,
    VALUE_MUTATION = 2,
    MUTATION_TABLE_ID = 1,
    MUTATION_INSERTED = 2,
    MUTATION_UPDATED = 3,
    MUTATION_DELETED_IDS = 4,
    MUTATION_DELETED_PKS = 5,
    MUTATION_DELETED = 6,
    MUTATION_SEQUENCE = 7,
};

struct field {
    uint64_t number;
    uint32_t wire;
    uint64_t value;        /* VARINT */
    struct mg_slice bytes; /* BYTES */
};

/* The next field of a message; false at its end, or in->failed. */
static bool next_field(struct mg_reader *in, struct field *out)
{
    if (in->failed || mg_reader_left(in) == 0)
        return false;
    uint64_t tag = mg_reader_varint(in);
    out->number = tag >> 3;
    out->wire = tag & 7;
    switch (out->wire) {
    case VARINT: out->value = mg_reader_varint(in); break;
    case BYTES: out->bytes = mg_reader_bytes(in); break;
    case FIXED64: mg_reader_take(in, 8); break;
    case FIXED32: mg_reader_take(in, 4); break;
    default: in->failed = true;
    }
    if (out->number == 0)
        in->failed = true;
    return !in->failed;
}

/* table_id is written first, but may stand anywhere; the last one counts. 0 without one. */
static int64_t table_id_of(struct mg_slice body)
{
    struct mg_reader in = mg_reader_of(body);
    struct field field;
    int64_t id = 0;

    /* Rows come behind it: stop at the first row when the id is known, so that a large message is not walked twice. */
    while (next_field(&in, &field)) {
        if (field.number == MUTATION_TABLE_ID && field.wire == VARINT)
            id = (int64_t)field.value;
        else if (id)
            break;
    }
    return id;
}

enum mg_code mg_prewrite_open(struct mg_slice value, struct mg_prewrite *out, struct mg_error *err)
{
    struct mg_reader in = mg_reader_of(value);
    struct field field;
    int64_t version = 0;

    while (next_field(&in, &field)) {
        if (field.number == VALUE_SCHEMA_VERSION && field.wire == VARINT)
            version = (int64_t)field.value;
        else if (field.number == VALUE_MUTATION && field.wire != BYTES)
            in.failed = true;
        else if (field.number == VALUE_MUTATION && table_id_of(field.bytes) == 0)
            return mg_fail(err, MG_PROTOCOL, "a transaction's rows name no table (%zu bytes at %zu of %zu)",
                           field.bytes.size, (size_t)(field.bytes.data - value.data), value.size);
    }
    if (in.failed)
        return mg_fail(err, MG_PROTOCOL, "a transaction's rows (%zu bytes) are no PrewriteValue: malformed at byte %zu",
                       value.size, (size_t)(in.at - value.data));
    out->schema_version = version;
    out->rest = mg_reader_of(value);
    return MG_OK;
}

bool mg_prewrite_next(struct mg_prewrite *prewrite, struct mg_mutation *out)
{
    struct field field;

    while (next_field(&prewrite->rest, &field)) {
        if (field.number == VALUE_MUTATION) {
            out->table_id = table_id_of(field.bytes);
            out->body = field.bytes;
            return true;
        }
    }
    return false;
}

/* ---- rows of one table --------------------------------------------------------------------------------------- */

/* One pass finds where each list begins and ends, so that no cursor goes through the others' rows. */
void mg_row_walk_init(struct mg_row_walk *walk, struct mg_slice mutation)
{
    struct mg_reader in = mg_reader_of(mutation), *list;
    struct field field;

    *walk = (struct mg_row_walk){.is_obsolete = false};
    for (const uint8_t *at = in.at; next_field(&in, &field); at = in.at) {
        switch (field.number) {
        case MUTATION_INSERTED: list = &walk->lists[0]; break;
        case MUTATION_UPDATED: list = &walk->lists[1]; break;
        case MUTATION_DELETED: list = &walk->lists[2]; break;
        case MUTATION_SEQUENCE: list = &walk->sequence; break;
        case MUTATION_DELETED_IDS:
        case MUTATION_DELETED_PKS: walk->is_obsolete = true; continue;
        default: continue;
        }
        if (!list->at)
            list->at = at;
        list->end = in.at;
    }
    walk->sequence.failed = in.failed;
}

/* The next field with that number; false at the end or when something is malformed (in->failed). */
static bool next_of(struct mg_reader *in, uint64_t number, struct field *out)
{
    while (next_field(in, out))
        if (out->number == number)
            return true;
    return false;
}

/* The next number of `sequence`: MG_OK, MG_NOT_FOUND at its end. */
static enum mg_code next_kind(struct mg_row_walk *walk, uint64_t *out, struct mg_error *err)
{
    struct field field;

    while (mg_reader_left(&walk->packed) == 0) {
        if (walk->is_obsolete)
            return mg_fail(err, MG_PROTOCOL, "rows are deleted by id (fields 4 and 5), which no TiDB does any more");
        if (!next_of(&walk->sequence, MUTATION_SEQUENCE, &field)) {
            if (walk->sequence.failed)
                return mg_fail(err, MG_PROTOCOL, "the rows of a table are malformed");
            return MG_NOT_FOUND;
        }
        if (field.wire == VARINT) {
            *out = field.value;
            return MG_OK;
        }
        if (field.wire != BYTES)
            return mg_fail(err, MG_PROTOCOL, "the order of rows has wire type %u", field.wire);
        walk->packed = mg_reader_of(field.bytes);
    }
    *out = mg_reader_varint(&walk->packed);
    if (walk->packed.failed)
        return mg_fail(err, MG_PROTOCOL, "the order of rows is cut short");
    return MG_OK;
}

/* At the end of the order, no list may have a row left. */
static enum mg_code check_end(struct mg_row_walk *walk, struct mg_error *err)
{
    static const uint64_t numbers[3] = {MUTATION_INSERTED, MUTATION_UPDATED, MUTATION_DELETED};
    struct field field;

    for (size_t i = 0; i < MG_COUNT_OF(numbers); i++) {
        if (next_of(&walk->lists[i], numbers[i], &field))
            return mg_fail(err, MG_PROTOCOL, "more rows than the order of rows has entries");
        if (walk->lists[i].failed)
            return mg_fail(err, MG_PROTOCOL, "the rows of a table are malformed");
    }
    return MG_NOT_FOUND;
}

enum mg_code mg_row_walk_next(struct mg_row_walk *walk, enum mg_row_kind *out_kind, struct mg_slice *out_row,
                              struct mg_error *err)
{
    uint64_t kind = 0, number;
    size_t list;
    struct field field;

    enum mg_code code = next_kind(walk, &kind, err);
    if (code == MG_NOT_FOUND)
        return check_end(walk, err);
    MG_TRY(code);
    switch (kind) {
    case MG_ROW_INSERT: list = 0, number = MUTATION_INSERTED; break;
    case MG_ROW_UPDATE: list = 1, number = MUTATION_UPDATED; break;
    case MG_ROW_DELETE: list = 2, number = MUTATION_DELETED; break;
    default: return mg_fail(err, MG_PROTOCOL, "change %llu of a row is not known", (unsigned long long)kind);
    }
    if (!next_of(&walk->lists[list], number, &field) || field.wire != BYTES)
        return mg_fail(err, MG_PROTOCOL, "the order of rows names a row of list %llu that is not there",
                       (unsigned long long)number);
    *out_kind = (enum mg_row_kind)kind;
    *out_row = field.bytes;
    return MG_OK;
}
