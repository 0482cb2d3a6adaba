/* catalog_bytes.c -- a catalogue as bytes: databases, tables with all ids that their columns ever had, ids of dropped
 * tables, and what is known of tables that had to be loaded again. No segments, no rows: those are the manifest's.
 *
 * Errors   MG_CORRUPT says what is wrong; MG_NO_MEMORY.
 * Threads  pure functions.
 * Source   docs/format/manifest.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

/* ---- out ----------------------------------------------------------------------------------------------------- */

static enum mg_code encode_ids(const struct mg_column_ids *ids, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_varint(out, ids->key_count, err));
    for (uint32_t i = 0; i < ids->key_count; i++)
        MG_TRY(mg_buffer_append_varint(out, mg_zigzag_encode(ids->key_ids[i]), err));
    MG_TRY(mg_buffer_append_varint(out, ids->count, err));
    for (uint32_t i = 0; i < ids->count; i++) {
        const struct mg_column_id *id = &ids->ids[i];
        uint8_t bytes[5] = {(uint8_t)id->type.id, id->type.precision, id->type.scale, (uint8_t)id->type.collation,
                            id->dropped};
        MG_TRY(mg_buffer_append_varint(out, mg_zigzag_encode(id->id), err));
        MG_TRY(mg_buffer_append(out, bytes, sizeof bytes, err));
    }
    return MG_OK;
}

enum mg_code mg_catalog__encode(const struct mg_catalog *catalog, struct mg_buffer *out, struct mg_error *err)
{
    const struct mg_names *names = catalog->names;
    MG_TRY(mg_buffer_append_varint(out, names->database_count, err));
    for (uint32_t i = 0; i < names->database_count; i++)
        MG_TRY(mg_buffer_append_bytes(out, mg_slice_text(names->databases[i]), err));
    MG_TRY(mg_buffer_append_varint(out, names->dropped_count, err));
    for (uint32_t i = 0; i < names->dropped_count; i++)
        MG_TRY(mg_buffer_append_varint(out, names->dropped[i], err));
    MG_TRY(mg_buffer_append_varint(out, names->mark_count, err));
    for (uint32_t i = 0; i < names->mark_count; i++)
        MG_TRY(mg_schema_encode(names->marks[i], out, err));
    MG_TRY(mg_buffer_append_varint(out, catalog->table_count, err));
    for (uint32_t i = 0; i < catalog->table_count; i++) {
        MG_TRY(mg_schema_encode(catalog->tables[i]->schema, out, err));
        MG_TRY(encode_ids(catalog->tables[i]->ids, out, err));
    }
    return MG_OK;
}

/* ---- in ------------------------------------------------------------------------------------------------------ */

/* A count of items that take at least one byte each. */
static enum mg_code read_count(struct mg_reader *in, const char *of, uint32_t *out, struct mg_error *err)
{
    uint64_t count = mg_reader_varint(in);
    if (in->failed || count > mg_reader_left(in))
        return mg_fail(err, MG_CORRUPT, "a catalogue of %llu %s in %zu bytes", (unsigned long long)count, of,
                       mg_reader_left(in));
    *out = (uint32_t)count;
    return MG_OK;
}

static enum mg_code cut_short(struct mg_error *err) { return mg_fail(err, MG_CORRUPT, "a catalogue is cut short"); }

static enum mg_code decode_databases(struct mg_reader *in, struct mg_catalog_parts *parts, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(read_count(in, "databases", &count, err));
    parts->databases = calloc((size_t)count + 1, sizeof(char *));
    if (!parts->databases)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u databases", count);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_slice name = mg_reader_bytes(in);
        if (in->failed || name.size == 0 || name.size >= MG_NAME_MAX || memchr(name.data, 0, name.size))
            return mg_fail(err, MG_CORRUPT, "the name of database %u cannot be one", i);
        parts->databases[i] = calloc(1, name.size + 1);
        if (!parts->databases[i])
            return mg_fail(err, MG_NO_MEMORY, "no memory for the name of a database");
        memcpy(parts->databases[i], name.data, name.size);
        parts->database_count++;
    }
    return MG_OK;
}

static enum mg_code decode_dropped(struct mg_reader *in, struct mg_catalog_parts *parts, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(read_count(in, "dropped tables", &count, err));
    parts->dropped = calloc((size_t)count + 1, sizeof *parts->dropped);
    if (!parts->dropped)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u dropped tables", count);
    for (uint32_t i = 0; i < count; i++)
        parts->dropped[parts->dropped_count++] = mg_reader_varint(in);
    return in->failed ? cut_short(err) : MG_OK;
}

static enum mg_code decode_marks(struct mg_reader *in, struct mg_catalog_parts *parts, struct mg_error *err)
{
    uint32_t count;
    MG_TRY(read_count(in, "tables to be loaded again", &count, err));
    parts->marks = calloc((size_t)count + 1, sizeof(struct mg_schema *));
    if (!parts->marks)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u marks", count);
    for (uint32_t i = 0; i < count; i++) {
        MG_TRY(mg_schema_decode(in, &parts->marks[i], err));
        parts->mark_count++;
        if (i > 0 && parts->marks[i]->table_id <= parts->marks[i - 1]->table_id)
            return mg_fail(err, MG_CORRUPT, "tables to be loaded again are not in order");
    }
    return MG_OK;
}

static enum mg_code decode_id(struct mg_reader *in, struct mg_column_id *out, struct mg_error *err)
{
    out->id = mg_zigzag_decode(mg_reader_varint(in));
    struct mg_slice bytes = mg_reader_take(in, 5);
    if (in->failed)
        return cut_short(err);
    out->type = (struct mg_type){
        .id = bytes.data[0], .precision = bytes.data[1], .scale = bytes.data[2], .collation = bytes.data[3]};
    out->dropped = bytes.data[4] != 0;
    enum mg_code code = mg_type_check(out->type, err);
    if (code != MG_OK && err)
        err->code = MG_CORRUPT;
    return code == MG_OK ? code : MG_CORRUPT;
}

static enum mg_code decode_ids(struct mg_reader *in, struct mg_column_ids **out, struct mg_error *err)
{
    uint64_t key_count = mg_reader_varint(in);
    int64_t key_ids[MG_KEY_COLUMNS_MAX];
    if (in->failed || key_count > MG_KEY_COLUMNS_MAX)
        return mg_fail(err, MG_CORRUPT, "a key of %llu columns", (unsigned long long)key_count);
    for (uint64_t i = 0; i < key_count; i++)
        key_ids[i] = mg_zigzag_decode(mg_reader_varint(in));
    uint32_t count;
    MG_TRY(read_count(in, "columns", &count, err));
    struct mg_column_ids *ids = calloc(1, sizeof *ids + count * sizeof ids->ids[0]);
    if (!ids)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the ids of %u columns", count);
    atomic_init(&ids->references, 1);
    ids->key_count = (uint32_t)key_count;
    memcpy(ids->key_ids, key_ids, key_count * sizeof key_ids[0]);
    enum mg_code code = MG_OK;
    for (; code == MG_OK && ids->count < count; ids->count++)
        code = decode_id(in, &ids->ids[ids->count], err);
    if (code != MG_OK) {
        free(ids);
        return code;
    }
    *out = ids;
    return MG_OK;
}

static enum mg_code decode_table(struct mg_reader *in, struct mg_budget *budget, struct mg_table_view **out,
                                 struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *schema = NULL;
    struct mg_column_ids *ids;
    struct mg_table_view *view;
    MG_TRY(mg_schema_decode(in, &schema, err));
    MG_TRY(decode_ids(in, &ids, err));
    enum mg_code code = mg_table_view__new(0, 0, budget, &view, err);
    if (code != MG_OK) {
        mg_column_ids__unref(ids);
        return code;
    }
    view->ids = ids;
    view->schema = MG_TAKE(schema);
    view->table = mg_table__new(view->schema->table_id);
    if (!view->table) {
        mg_table_view__unref(view);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a table");
    }
    *out = view;
    return MG_OK;
}

static enum mg_code decode_tables(struct mg_reader *in, struct mg_budget *budget, struct mg_catalog_parts *parts,
                                  struct mg_error *err)
{
    uint32_t count;
    MG_TRY(read_count(in, "tables", &count, err));
    parts->tables = mg_catalog__new_tables(count);
    if (!parts->tables)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a catalogue of %u tables", count);
    struct mg_table_view **tables = parts->tables->tables;
    for (uint32_t i = 0; i < count; i++) {
        MG_TRY(decode_table(in, budget, &tables[i], err));
        parts->tables->table_count++;
        if (i > 0 && tables[i]->table->id <= tables[i - 1]->table->id)
            return mg_fail(err, MG_CORRUPT, "the tables of a catalogue are not in order");
    }
    return MG_OK;
}

static enum mg_code decode_parts(struct mg_reader *in, struct mg_budget *budget, struct mg_catalog_parts *parts,
                                 struct mg_error *err)
{
    MG_TRY(decode_databases(in, parts, err));
    MG_TRY(decode_dropped(in, parts, err));
    MG_TRY(decode_marks(in, parts, err));
    return decode_tables(in, budget, parts, err);
}

enum mg_code mg_catalog__decode(struct mg_reader *in, struct mg_budget *budget, struct mg_catalog **out,
                                struct mg_error *err)
{
    struct mg_catalog_parts parts = {0};
    enum mg_code code = decode_parts(in, budget, &parts, err);
    if (code == MG_OK)
        return mg_catalog__assemble(&parts, out, err);
    mg_catalog__free_parts(&parts);
    return code;
}
