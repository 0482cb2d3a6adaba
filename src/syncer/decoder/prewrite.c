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
    uint64_t value; /* VARINT */
    uint64_t size;  /* BYTES: of the body, which lies ahead */
};

/* The next field of a message: MG_OK; MG_NOT_FOUND at its end, or in->in.failed. A body of bytes is the caller's to
 * take or to skip. */
static inline enum mg_code next_field(struct mg_span_reader *in, struct field *out, struct mg_error *err)
{
    if (in->in.failed || mg_span_reader_left(in) == 0)
        return MG_NOT_FOUND;
    MG_TRY(mg_span_reader_need(in, 2 * MG_VARINT_MAX, err));
    uint64_t tag = mg_reader_varint(&in->in);
    *out = (struct field){.number = tag >> 3, .wire = tag & 7};
    switch (out->wire) {
    case VARINT: out->value = mg_reader_varint(&in->in); break;
    case BYTES:
        out->size = mg_reader_varint(&in->in);
        if (out->size > mg_span_reader_left(in))
            in->in.failed = true;
        break;
    case FIXED64: mg_reader_take(&in->in, 8); break;
    case FIXED32: mg_reader_take(&in->in, 4); break;
    default: in->in.failed = true;
    }
    if (out->number == 0)
        in->in.failed = true;
    return in->in.failed ? MG_NOT_FOUND : MG_OK;
}

static inline void skip_body(struct mg_span_reader *in, const struct field *field)
{
    if (field->wire == BYTES)
        mg_span_reader_skip(in, field->size);
}

/* ---- tables -------------------------------------------------------------------------------------------------- */

enum { HEAD = 64 }; /* bytes of a mutation in which its table's id stands nearly always */

/* table_id is written first, but may stand anywhere; the last one counts. 0 without one. */
static enum mg_code find_table_id(struct mg_span body, int64_t *out, struct mg_error *err)
{
    MG_CLEANUP(mg_span_reader_clear) struct mg_span_reader in = {.rest = {.size = 0}};
    struct field field;
    enum mg_code code;

    *out = 0;
    mg_span_reader_turn(&in, &body);
    /* Rows come behind it: stop at the first row when the id is known, so that a large message is not walked twice. */
    while ((code = next_field(&in, &field, err)) == MG_OK) {
        if (field.number == MUTATION_TABLE_ID && field.wire == VARINT)
            *out = (int64_t)field.value;
        else if (*out)
            break;
        skip_body(&in, &field);
    }
    return code == MG_NOT_FOUND ? MG_OK : code;
}

/* Of the mutation ahead, whose body has that size. What is at hand nearly always tells. */
static enum mg_code table_id_ahead(struct mg_span_reader *in, uint64_t size, int64_t *out, struct mg_error *err)
{
    struct mg_span_reader head = {.rest = {.size = 0}};
    struct field field;

    MG_TRY(mg_span_reader_need(in, (size_t)MG_MIN(size, (uint64_t)HEAD), err));
    head.in.at = in->in.at;
    head.in.end = in->in.at + MG_MIN(size, (uint64_t)HEAD);
    if (next_field(&head, &field, err) == MG_OK && field.number == MUTATION_TABLE_ID && field.wire == VARINT &&
        field.value != 0) {
        *out = (int64_t)field.value;
        uint64_t tag = mg_reader_varint(&head.in);
        if (!head.in.failed && tag >> 3 != MUTATION_TABLE_ID && tag >> 3 != 0)
            return MG_OK; /* something else follows */
    }
    return find_table_id(mg_span_reader_ahead(in, size), out, err);
}

enum mg_code mg_prewrite_open(const struct mg_span *value, struct mg_prewrite *out, struct mg_error *err)
{
    struct field field;
    int64_t table_id;
    enum mg_code code;

    *out = (struct mg_prewrite){.value = *value};
    struct mg_span_reader *in = &out->rest;
    mg_span_reader_turn(in, value);
    while ((code = next_field(in, &field, err)) == MG_OK) {
        if (field.number == VALUE_SCHEMA_VERSION && field.wire == VARINT)
            out->schema_version = (int64_t)field.value;
        if (field.number == VALUE_MUTATION && field.wire != BYTES) {
            in->in.failed = true;
        } else if (field.number == VALUE_MUTATION) {
            MG_TRY(table_id_ahead(in, field.size, &table_id, err));
            if (table_id == 0)
                return mg_fail(err, MG_PROTOCOL, "a transaction's rows name no table (%llu bytes at %llu of %llu)",
                               (unsigned long long)field.size,
                               (unsigned long long)(value->size - mg_span_reader_left(in)),
                               (unsigned long long)value->size);
        }
        skip_body(in, &field);
    }
    if (code != MG_NOT_FOUND)
        return code;
    if (in->in.failed)
        return mg_fail(err, MG_PROTOCOL,
                       "a transaction's rows (%llu bytes) are no PrewriteValue: malformed at byte %llu",
                       (unsigned long long)value->size, (unsigned long long)(value->size - mg_span_reader_left(in)));
    mg_prewrite_rewind(out);
    return MG_OK;
}

void mg_prewrite_clear(struct mg_prewrite *prewrite) { mg_span_reader_clear(&prewrite->rest); }

void mg_prewrite_rewind(struct mg_prewrite *prewrite) { mg_span_reader_turn(&prewrite->rest, &prewrite->value); }

enum mg_code mg_prewrite_next(struct mg_prewrite *prewrite, struct mg_mutation *out, struct mg_error *err)
{
    struct mg_span_reader *in = &prewrite->rest;
    struct field field;
    enum mg_code code;

    while ((code = next_field(in, &field, err)) == MG_OK && field.number != VALUE_MUTATION)
        skip_body(in, &field);
    MG_TRY(code);
    MG_TRY(table_id_ahead(in, field.size, &out->table_id, err));
    out->body = mg_span_reader_ahead(in, field.size);
    skip_body(in, &field);
    return MG_OK;
}

/* ---- rows of one table --------------------------------------------------------------------------------------- */

void mg_row_walk_clear(struct mg_row_walk *walk)
{
    for (size_t i = 0; i < MG_COUNT_OF(walk->lists); i++)
        mg_span_reader_clear(&walk->lists[i]);
    mg_span_reader_clear(&walk->sequence);
    mg_span_reader_clear(&walk->packed);
}

/* Where the fields of one list are in the message. */
struct extent {
    uint64_t first, end; /* end 0: there are none */
};

/* One pass finds where each list begins and ends, so that no cursor goes through the others' rows. */
static enum mg_code find_lists(struct mg_span_reader *in, uint64_t size, struct extent lists[4], bool *out_is_obsolete,
                               struct mg_error *err)
{
    struct extent *list;
    struct field field;
    enum mg_code code;

    for (uint64_t at = 0; (code = next_field(in, &field, err)) == MG_OK; at = size - mg_span_reader_left(in)) {
        skip_body(in, &field);
        switch (field.number) {
        case MUTATION_INSERTED: list = &lists[0]; break;
        case MUTATION_UPDATED: list = &lists[1]; break;
        case MUTATION_DELETED: list = &lists[2]; break;
        case MUTATION_SEQUENCE: list = &lists[3]; break;
        case MUTATION_DELETED_IDS:
        case MUTATION_DELETED_PKS: *out_is_obsolete = true; continue;
        default: continue;
        }
        if (list->end == 0)
            list->first = at;
        list->end = size - mg_span_reader_left(in);
    }
    return code == MG_NOT_FOUND ? MG_OK : code;
}

enum mg_code mg_row_walk_open(struct mg_row_walk *walk, const struct mg_span *mutation, struct mg_error *err)
{
    struct extent lists[4] = {{0, 0}};
    const struct mg_span nothing = {.size = 0};

    walk->is_obsolete = false;
    mg_span_reader_turn(&walk->packed, &nothing);
    mg_span_reader_turn(&walk->sequence, mutation);
    MG_TRY(find_lists(&walk->sequence, mutation->size, lists, &walk->is_obsolete, err));
    bool failed = walk->sequence.in.failed;
    for (size_t i = 0; i < MG_COUNT_OF(lists); i++) {
        struct mg_span part = mg_span_part(mutation, lists[i].first, lists[i].end - lists[i].first);
        mg_span_reader_turn(i < 3 ? &walk->lists[i] : &walk->sequence, &part);
    }
    walk->sequence.in.failed = failed;
    return MG_OK;
}

/* The next field with that number: MG_OK; MG_NOT_FOUND at the end or when something is malformed (in->in.failed). */
static inline enum mg_code next_of(struct mg_span_reader *in, uint64_t number, struct field *out, struct mg_error *err)
{
    enum mg_code code;

    while ((code = next_field(in, out, err)) == MG_OK && out->number != number)
        skip_body(in, out);
    return code;
}

/* The next number of `sequence`: MG_OK, MG_NOT_FOUND at its end. */
static enum mg_code next_kind(struct mg_row_walk *walk, uint64_t *out, struct mg_error *err)
{
    struct field field;

    while (mg_span_reader_left(&walk->packed) == 0) {
        if (walk->is_obsolete)
            return mg_fail(err, MG_PROTOCOL, "rows are deleted by id (fields 4 and 5), which no TiDB does any more");
        enum mg_code code = next_of(&walk->sequence, MUTATION_SEQUENCE, &field, err);
        if (code == MG_NOT_FOUND && walk->sequence.in.failed)
            return mg_fail(err, MG_PROTOCOL, "the rows of a table are malformed");
        MG_TRY(code);
        if (field.wire == VARINT) {
            *out = field.value;
            return MG_OK;
        }
        if (field.wire != BYTES)
            return mg_fail(err, MG_PROTOCOL, "the order of rows has wire type %u", field.wire);
        struct mg_span body = mg_span_reader_ahead(&walk->sequence, field.size);
        mg_span_reader_turn(&walk->packed, &body);
        skip_body(&walk->sequence, &field);
    }
    MG_TRY(mg_span_reader_need(&walk->packed, MG_VARINT_MAX, err));
    *out = mg_reader_varint(&walk->packed.in);
    if (walk->packed.in.failed)
        return mg_fail(err, MG_PROTOCOL, "the order of rows is cut short");
    return MG_OK;
}

/* At the end of the order, no list may have a row left. */
static enum mg_code check_end(struct mg_row_walk *walk, struct mg_error *err)
{
    static const uint64_t numbers[3] = {MUTATION_INSERTED, MUTATION_UPDATED, MUTATION_DELETED};
    struct field field;

    for (size_t i = 0; i < MG_COUNT_OF(numbers); i++) {
        enum mg_code code = next_of(&walk->lists[i], numbers[i], &field, err);
        if (code == MG_OK)
            return mg_fail(err, MG_PROTOCOL, "more rows than the order of rows has entries");
        if (code != MG_NOT_FOUND)
            return code;
        if (walk->lists[i].in.failed)
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
    code = next_of(&walk->lists[list], number, &field, err);
    if (code != MG_OK && code != MG_NOT_FOUND)
        return code;
    if (code == MG_NOT_FOUND || field.wire != BYTES)
        return mg_fail(err, MG_PROTOCOL, "the order of rows names a row of list %llu that is not there",
                       (unsigned long long)number);
    *out_kind = (enum mg_row_kind)kind;
    return mg_span_reader_take(&walk->lists[list], field.size, out_row, err);
}
