/* base_state.c -- a store as a manifest says it was: catalogue, sources, parts with their marks, and empty delta
 * segments that the WAL fills.
 *
 * Then groups of epochs up to the manifest's are replayed in part (replay.c): rows of these deltas, marks in them, and
 * marks in parts that their marks file does not have yet. When the manifest's epoch is reached, every count must be
 * what it says.
 * Errors   MG_CORRUPT names what does not fit; MG_NO_MEMORY.
 * Threads  one: the store is not shared yet.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/manifest.h"

static enum mg_code table_of(struct mg_store *store, uint64_t table_id, struct mg_wtable **out, struct mg_error *err)
{
    int at = mg_catalog__find_id(store->catalog, table_id);
    if (at < 0)
        return mg_fail(err, MG_CORRUPT, "the manifest lists a segment of table %llu, which is not there",
                       (unsigned long long)table_id);
    MG_TRY(mg_store__wtable(store, store->catalog->tables[at]->table, out, err));
    (*out)->staged = true; /* so that its first view is made */
    return MG_OK;
}

enum mg_code mg_magic__open_part(struct mg_magic *magic, uint32_t segment_id, struct mg_part **out,
                                 struct mg_error *err)
{
    char path[MG_PATH_MAX];
    struct mg_part_options options = {
        .io = magic->io, .cache = magic->cache, .budget = &magic->parts_budget, .segment_id = segment_id};
    mg_path__part(magic->folder, segment_id, path);
    return mg_part_open(path, &options, out, err);
}

static enum mg_code load_part(struct mg_store *store, const struct mg_manifest_part *in, struct mg_error *err)
{
    struct mg_magic *magic = store->magic;
    struct mg_wtable *table;
    struct mg_wpart *wpart;
    struct mg_marks *marks = NULL;
    struct mg_part *part;
    MG_TRY(table_of(store, in->table_id, &table, err));
    MG_TRY(mg_magic__open_part(magic, in->segment_id, &part, err));
    enum mg_code code = MG_OK;
    if (mg_part_row_count(part) != in->row_count || mg_part_file_bytes(part) != in->file_bytes)
        code = mg_fail(err, MG_CORRUPT, "segment %u has %u rows in %llu bytes, the manifest says %u in %llu",
                       in->segment_id, mg_part_row_count(part), (unsigned long long)mg_part_file_bytes(part),
                       in->row_count, (unsigned long long)in->file_bytes);
    if (code == MG_OK && in->dead_count)
        code = mg_marks_file__read(magic->io, magic->folder, in->segment_id, in->marks_file, in->row_count,
                                   store->marks_budget, &marks, err);
    if (code == MG_OK)
        code = mg_wtable__add_part(table, part, marks, &wpart, err);
    if (code != MG_OK) {
        mg_part_unref(part);
        mg_marks_file__free(marks);
        return code;
    }
    wpart->marks_epoch = in->marks_epoch;
    wpart->marks_file = in->marks_file;
    wpart->marks_dead = in->dead_count;
    table->live_count += in->row_count - in->dead_count;
    if (in->dead_count != (marks ? marks->dead_count : 0))
        return mg_fail(err, MG_CORRUPT, "segment %u has %u deleted rows, the manifest says %u", in->segment_id,
                       marks ? marks->dead_count : 0, in->dead_count);
    return MG_OK;
}

static enum mg_code load_delta(struct mg_store *store, const struct mg_manifest_delta *in, struct mg_error *err)
{
    struct mg_wtable *table;
    struct mg_wsegment *segment;
    MG_TRY(table_of(store, in->table_id, &table, err));
    MG_TRY(mg_wtable__add_segment(table, in->segment_id, in->schema, &segment, err));
    segment->first_epoch = in->first_epoch;
    return MG_OK;
}

enum mg_code mg_store__load(struct mg_store *store, const struct mg_manifest *manifest, struct mg_error *err)
{
    mg_catalog__unref(store->catalog);
    store->catalog = mg_catalog__ref(manifest->catalog);
    store->base = manifest;
    store->epoch = manifest->replay_from - 1;
    store->next_segment_id = manifest->next_segment_id;
    store->next_table_id = manifest->next_table_id;
    store->next_version = manifest->next_version;
    store->source_count = manifest->source_count;
    for (uint32_t i = 0; i < manifest->source_count; i++)
        store->sources[i] = manifest->sources[i];
    for (uint32_t i = 0; i < manifest->part_count; i++)
        MG_TRY(load_part(store, &manifest->parts[i], err));
    for (uint32_t i = 0; i < manifest->delta_count; i++)
        MG_TRY(load_delta(store, &manifest->deltas[i], err));
    return MG_OK;
}

static const struct mg_wsegment *find_delta(struct mg_store *store, const struct mg_manifest_delta *delta)
{
    const struct mg_wtable *table = mg_store__find_wtable(store, delta->table_id);
    for (uint32_t i = 0; table && i < table->slot_count; i++)
        if (table->slots[i]->segment->id == delta->segment_id)
            return table->slots[i];
    return NULL;
}

enum mg_code mg_store__check_base(struct mg_store *store, struct mg_error *err)
{
    const struct mg_manifest *manifest = store->base;
    for (uint32_t i = 0; i < manifest->delta_count; i++) {
        const struct mg_wsegment *segment = find_delta(store, &manifest->deltas[i]);
        if (!segment || segment->row_count != manifest->deltas[i].row_count)
            return mg_fail(err, MG_CORRUPT, "the WAL fills segment %u with %u rows, the manifest says %u",
                           manifest->deltas[i].segment_id, segment ? segment->row_count : 0,
                           manifest->deltas[i].row_count);
    }
    for (uint32_t i = 0; i < manifest->catalog->table_count; i++) {
        const struct mg_wtable *table = mg_store__find_wtable(store, manifest->catalog->tables[i]->table->id);
        uint64_t live = table ? table->live_count : 0;
        if (live != manifest->live_counts[i])
            return mg_fail(err, MG_CORRUPT, "table %llu has %llu rows as of epoch %llu, the manifest says %llu",
                           (unsigned long long)manifest->catalog->tables[i]->table->id, (unsigned long long)live,
                           (unsigned long long)manifest->epoch, (unsigned long long)manifest->live_counts[i]);
    }
    store->base = NULL;
    return MG_OK;
}
