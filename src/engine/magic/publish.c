/* publish.c -- steps (4) to (6) of an epoch: durable, then visible, then what nobody needs is freed.
 *
 * Phases   before  views and the group are made; any failure aborts the epoch and leaves the engine as it was
 *          writing one append to the WAL, one fdatasync; a failure stops the writer for good: what the disk holds is
 *          not known
 *          after    the view is swapped in; nothing can fail any more
 * A full disk and a group above the limit are found before anything is written: they count as `before`.
 * Threads  the writer; the swap under magic->publish.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/stop.h"
#include "engine/magic/manifest.h"

/* What is made before the WAL is written, and handed over after. */
struct next {
    uint64_t epoch;
    int source; /* place in store->sources; source_count for a new one */
    struct mg_catalog *catalog;
    struct mg_garbage *garbage;
    struct mg_view *view;
    struct mg_wal_part *parts; /* of the epoch */
    uint32_t part_count;
    struct mg_wal_builder wal;
};

static enum mg_code check(const struct mg_magic *magic, const struct mg_magic_epoch *epoch, uint64_t watermark,
                          struct mg_slice position, struct mg_error *err)
{
    if (epoch->failed != MG_OK)
        return mg_fail(err, epoch->failed, "this epoch failed while it was staged: %s", epoch->failed_text);
    if (position.size > MG_POSITION_MAX)
        return mg_fail(err, MG_TOO_BIG, "a source's position of %zu bytes is above %d", position.size, MG_POSITION_MAX);
    int at = mg_store__find_source(&magic->store, epoch->source);
    if (at >= 0 && watermark < magic->store.sources[at].watermark)
        return mg_fail(err, MG_INVALID, "source %s: watermark %llu is below %llu, which is published", epoch->source,
                       (unsigned long long)watermark, (unsigned long long)magic->store.sources[at].watermark);
    return MG_OK;
}

static enum mg_code encode(struct mg_magic *magic, const struct mg_magic_epoch *epoch, uint64_t watermark,
                           struct mg_slice position, struct next *next, struct mg_error *err)
{
    struct mg_store *store = &magic->store;
    uint32_t staged = 0;
    for (uint32_t i = 0; i < store->table_count; i++)
        staged += store->tables[i]->staged;
    struct mg_wal_group group = {.epoch = next->epoch,
                                 .source = (char *)(uintptr_t)epoch->source,
                                 .generation = epoch->generation,
                                 .watermark = watermark,
                                 .position = position,
                                 .part_count = next->part_count,
                                 .parts = next->parts,
                                 .change_count = epoch->change_count,
                                 .table_count = staged};
    MG_TRY(mg_wal_builder__begin(&next->wal, &group, mg_buffer_slice(&epoch->changes), err));
    for (uint32_t i = 0; i < store->table_count; i++) {
        if (!store->tables[i]->staged)
            continue;
        int at = mg_catalog__find_id(next->catalog, store->tables[i]->table->id);
        uint64_t before = next->wal.data_bytes + next->wal.head.size;
        MG_TRY(mg_wtable__encode(store, store->tables[i], next->catalog->tables[at]->schema, &next->wal, err));
        store->tables[i]->wal_bytes = next->wal.data_bytes + next->wal.head.size - before;
    }
    mg_wal_builder__finish(&next->wal);
    uint64_t bytes = next->wal.data_bytes + next->wal.head.size;
    if (bytes > MG_WAL_GROUP_MAX)
        return mg_fail(err, MG_TOO_BIG, "this epoch takes %llu bytes in the WAL, at most %llu are allowed",
                       (unsigned long long)bytes, (unsigned long long)MG_WAL_GROUP_MAX);
    return MG_OK;
}

/* Parts are synced when they are written; their names are before the group is. */
static enum mg_code sync_parts(struct mg_magic *magic, const struct next *next, struct mg_error *err)
{
    char folder[MG_PATH_MAX];
    if (next->part_count == 0)
        return MG_OK;
    snprintf(folder, sizeof folder, "%s/parts", magic->folder);
    MG_TRY(magic->io->ops->sync_folder(magic->io, folder, err));
    MG_STOP("publish.parts");
    return MG_OK;
}

static enum mg_code prepare(struct mg_magic *magic, const struct mg_magic_epoch *epoch, uint64_t watermark,
                            struct mg_slice position, struct next *next, struct mg_error *err)
{
    struct mg_store *store = &magic->store;
    int at = mg_store__find_source(store, epoch->source);
    next->source = at >= 0 ? at : (int)store->source_count;
    const struct mg_catalog *from = epoch->catalog ? epoch->catalog : store->catalog;
    MG_TRY(mg_store__next_catalog(store, from, &next->catalog, err));
    MG_TRY(mg_view__new(store, next->epoch, next->catalog, MG_MAX(store->source_count, (uint32_t)next->source + 1),
                        &next->view, err));
    next->view->sources[next->source] = (struct mg_view_source){store->sources[next->source].name, watermark,
                                                                epoch->generation, next->epoch};
    mg_mutex_lock(&magic->publish);
    enum mg_code code = mg_history__reserve(&magic->history[next->source], err);
    mg_mutex_unlock(&magic->publish);
    MG_TRY(code);
    MG_TRY(mg_store__staged_parts(store, &next->parts, &next->part_count, err));
    MG_TRY(encode(magic, epoch, watermark, position, next, err));
    MG_TRY(sync_parts(magic, next, err));
    return mg_garbage__take(store, &next->garbage, err);
}

/* Append and sync. *out_stopped: the writer must not go on. */
static enum mg_code make_durable(struct mg_magic *magic, struct next *next, bool *out_stopped, struct mg_error *err)
{
    uint64_t seq;
    enum mg_code code = mg_journal_append(magic->journal, next->wal.pieces, (int)next->wal.piece_count, &seq, err);
    *out_stopped = code != MG_OK && code != MG_NO_SPACE && code != MG_TOO_BIG && code != MG_NO_MEMORY;
    if (code != MG_OK)
        return code;
    mg_assert(seq == next->epoch);
    magic->store.wal_bytes += next->wal.data_bytes + next->wal.head.size;
    mg_count(engine_wal_bytes, next->wal.data_bytes + next->wal.head.size);
    code = mg_journal_sync(magic->journal, NULL, err);
    *out_stopped = code != MG_OK;
    mg_count(engine_wal_syncs, 1);
    return code;
}

static void set_source(struct mg_store *store, const struct mg_magic_epoch *epoch, const struct next *next,
                       uint64_t watermark, struct mg_slice position)
{
    struct mg_source_state *source = &store->sources[next->source];
    if ((uint32_t)next->source == store->source_count) { /* later views borrow the name: it is written once */
        memcpy(source->name, epoch->source, sizeof source->name);
        store->source_count++;
    }
    source->watermark = watermark;
    source->generation = epoch->generation;
    source->epoch = next->epoch;
    if (position.size)
        memcpy(source->position, position.data, position.size);
    source->position_size = (uint32_t)position.size;
}

/* Swap and retire. */
static void make_visible(struct mg_magic *magic, const struct mg_magic_epoch *epoch, struct next *next,
                         uint64_t watermark, struct mg_slice position)
{
    struct mg_store *store = &magic->store;
    mg_store__committed(store, next->catalog);
    uint64_t delta_bytes = mg_store__delta_bytes(store);
    mg_mutex_lock(&magic->publish);
    store->delta_bytes = delta_bytes;
    set_source(store, epoch, next, watermark, position);
    mg_history__note(&magic->history[next->source], next->epoch, watermark);
    store->epoch = next->epoch;
    struct mg_view *before = mg_view__swap(store, MG_TAKE(next->view), MG_TAKE(next->garbage));
    mg_cond_broadcast(&magic->published);
    mg_mutex_unlock(&magic->publish);
    MG_STOP("publish.swapped");
    mg_view__unpin(before);
    MG_STOP("publish.retired");
    mg_count(engine_epochs, 1);
}

void mg_magic__stop_writer(struct mg_magic *magic, struct mg_error *story)
{
    story->code = MG_STOPPED;
    mg_mutex_lock(&magic->publish);
    magic->stopped = true;
    snprintf(magic->stopped_text, sizeof magic->stopped_text, "%s", story->text);
    mg_cond_broadcast(&magic->published);
    mg_mutex_unlock(&magic->publish);
}

static void next_clear(struct next *next)
{
    mg_wal_builder__clear(&next->wal);
    mg_view__discard(next->view);
    mg_catalog__unref(next->catalog);
    free(next->garbage); /* its versions are still published */
    free(next->parts);
}

enum mg_code mg_magic__publish(struct mg_epoch *base, uint64_t watermark, struct mg_slice position, uint64_t *out_epoch,
                               struct mg_error *err)
{
    struct mg_magic_epoch *epoch = (struct mg_magic_epoch *)base;
    struct mg_magic *magic = mg_magic__of(base->engine);
    struct mg_error story = MG_ERROR_INIT; /* err may be NULL, but a stop must be told later */
    struct next next = {.epoch = epoch->number};
    bool stopped = false;
    mg_wal_builder__init(&next.wal);
    enum mg_code code = check(magic, epoch, watermark, position, &story);
    if (code == MG_OK)
        code = prepare(magic, epoch, watermark, position, &next, &story);
    if (code == MG_OK)
        code = make_durable(magic, &next, &stopped, &story);
    if (code == MG_OK) {
        make_visible(magic, epoch, &next, watermark, position);
        if (out_epoch)
            *out_epoch = next.epoch;
    } else {
        if (stopped)
            mg_magic__stop_writer(magic, &story);
        mg_store__abort(&magic->store);
        if (err)
            *err = story;
    }
    next_clear(&next);
    mg_magic__end_epoch(epoch);
    return stopped ? MG_STOPPED : code;
}
