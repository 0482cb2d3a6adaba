/* recover.c -- the state from disk: the newest manifest and the WAL behind it; and the lists of what is kept.
 *
 * Of the WAL only what the newest manifest has not got is read: which epochs there were before, and which parts their
 * groups named, the manifests say.
 * Errors   MG_CORRUPT names the file: a manifest was durable before anything relied on it, so one that cannot be read
 *          is damage, and no older state is taken instead.
 * Threads  open only; mg_store__open_at any.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/manifest.h"

static enum mg_code load(struct mg_store *store, const struct mg_manifest *manifest, struct mg_error *err)
{
    struct mg_journal *journal = store->magic->journal;
    if (manifest->epoch > mg_journal_last(journal))
        return mg_fail(err, MG_CORRUPT, "the WAL ends at epoch %llu, the manifest knows epoch %llu",
                       (unsigned long long)mg_journal_last(journal), (unsigned long long)manifest->epoch);
    return mg_store__load(store, manifest, err);
}

enum mg_code mg_store__open_at(struct mg_store *store, uint64_t manifest_number, uint64_t last, struct mg_error *err)
{
    struct mg_magic *magic = store->magic;
    struct mg_manifest manifest;
    MG_TRY(mg_manifest__read(magic->io, magic->folder, manifest_number, store->rows_budget, &manifest, err));
    enum mg_code code = load(store, &manifest, err);
    if (code == MG_OK)
        code = mg_store__replay_wal(store, magic->journal, last, NULL, NULL, err);
    store->base = NULL;
    mg_manifest__clear(&manifest);
    return code;
}

/* ---- what is kept -------------------------------------------------------------------------------------------- */

/* What a group names must stay as long as an epoch can be opened by replaying it. */
static enum mg_code note_parts(struct mg_magic *magic, const struct mg_wal_part *parts, uint32_t count, uint64_t epoch,
                               struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(mg_named__add(magic, parts[i].segment_id, epoch, err));
    return MG_OK;
}

/* A manifest that was kept. `before` is the epoch of the one before it. */
static enum mg_code keep(struct mg_magic *magic, uint64_t number, uint64_t before, struct mg_error *err)
{
    struct mg_manifest manifest;
    struct mg_kept *kept;
    MG_TRY(mg_manifest__read(magic->io, magic->folder, number, &magic->rows_budget, &manifest, err));
    enum mg_code code = mg_keeper__prepare(magic, &manifest, &kept, err);
    if (code == MG_OK)
        mg_keeper__note(magic, kept);
    for (uint32_t i = 0; code == MG_OK && i < manifest.source_count; i++) {
        const struct mg_source_state *source = &manifest.sources[i];
        int at = mg_store__find_source(&magic->store, source->name);
        if (at >= 0)
            code = mg_history__note_gap(&magic->history[at], before, source->epoch, source->watermark, err);
    }
    mg_manifest__clear(&manifest);
    return code;
}

static enum mg_code keep_all(struct mg_magic *magic, const uint64_t *manifests, uint32_t count, struct mg_error *err)
{
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(keep(magic, manifests[i], i ? magic->kept[i - 1]->epoch : 0, err));
    magic->keeping.next_manifest = count ? manifests[count - 1] + 1 : 1;
    magic->keeping.checkpoint_epoch = count ? magic->kept[count - 1]->epoch : 0;
    return MG_OK;
}

/* The newest manifest is of a format that does not list the named parts: the heads of all groups up to it do. */
static enum mg_code look_for_named(struct mg_magic *magic, uint64_t first, uint64_t last, struct mg_error *err)
{
    MG_CLEANUP(mg_journal_cursor_closep) struct mg_journal_cursor *cursor = NULL;
    if (first > last)
        return MG_OK;
    MG_TRY(mg_journal_cursor_open(magic->journal, first, &cursor, err));
    for (uint64_t epoch = first; epoch <= last; epoch++) {
        uint64_t seq;
        struct mg_slice bytes;
        struct mg_wal_head head;
        MG_TRY(mg_journal_cursor_next(cursor, &seq, &bytes, err));
        MG_TRY(mg_wal_group__decode_head(bytes, &head, err));
        for (uint32_t i = 0; i < head.part_count; i++) {
            struct mg_wal_part part;
            MG_TRY(mg_wal_head__next(&head, &part, err));
            MG_TRY(note_parts(magic, &part, 1, epoch, err));
        }
    }
    return MG_OK;
}

static enum mg_code find_named(struct mg_magic *magic, const struct mg_manifest *newest, struct mg_error *err)
{
    const struct mg_kept *oldest = mg_keeper__oldest(magic);
    if (!newest->has_named)
        return look_for_named(magic, oldest ? oldest->epoch + 1 : 1, newest->epoch, err);
    for (uint32_t i = 0; i < newest->named_count; i++)
        MG_TRY(mg_named__add(magic, newest->named[i].segment_id, newest->named[i].epoch, err));
    return MG_OK;
}

/* ---- open ---------------------------------------------------------------------------------------------------- */

struct replayed {
    struct mg_magic *magic;
    uint64_t known_epoch; /* up to it the manifests say what there is */
};

static enum mg_code note_group(void *arg, const struct mg_wal_group *group, struct mg_error *err)
{
    const struct replayed *replayed = arg;
    struct mg_magic *magic = replayed->magic;
    int at = mg_store__find_source(&magic->store, group->source);
    if (group->epoch <= replayed->known_epoch)
        return MG_OK;
    mg_assert(at >= 0); /* replay saw to it */
    MG_TRY(mg_history__reserve(&magic->history[at], err));
    mg_history__note(&magic->history[at], group->epoch, group->watermark);
    return note_parts(magic, group->parts, group->part_count, group->epoch, err);
}

/* No manifest yet. */
static enum mg_code recover_without(struct mg_magic *magic, struct mg_error *err)
{
    struct replayed replayed = {.magic = magic};
    if (!magic->has_genesis)
        return mg_corrupt(err, magic->folder, 0, "the WAL begins with epoch %llu, and there is no manifest",
                          (unsigned long long)mg_journal_first(magic->journal));
    MG_TRY(keep_all(magic, NULL, 0, err));
    return mg_store__replay_wal(&magic->store, magic->journal, mg_journal_last(magic->journal), note_group, &replayed,
                                err);
}

/* The list of epochs is made in their order: what manifests know, then the groups behind. */
static enum mg_code recover_from(struct mg_magic *magic, const struct mg_manifest *newest, const uint64_t *manifests,
                                 uint32_t count, struct mg_error *err)
{
    struct replayed replayed = {.magic = magic, .known_epoch = newest->epoch};
    MG_TRY(load(&magic->store, newest, err));
    MG_TRY(keep_all(magic, manifests, count, err));
    MG_TRY(find_named(magic, newest, err));
    return mg_store__replay_wal(&magic->store, magic->journal, mg_journal_last(magic->journal), note_group, &replayed,
                                err);
}

static enum mg_code recover_newest(struct mg_magic *magic, const uint64_t *manifests, uint32_t count,
                                   struct mg_error *err)
{
    struct mg_manifest newest;
    MG_TRY(mg_manifest__read(magic->io, magic->folder, manifests[count - 1], &magic->rows_budget, &newest, err));
    enum mg_code code = recover_from(magic, &newest, manifests, count, err);
    magic->store.base = NULL;
    mg_manifest__clear(&newest);
    return code;
}

enum mg_code mg_magic__recover(struct mg_magic *magic, struct mg_error *err)
{
    uint64_t *manifests;
    uint32_t count;
    magic->has_genesis = mg_journal_first(magic->journal) == 1;
    MG_TRY(mg_manifest__list(magic->io, magic->folder, &manifests, &count, err));
    enum mg_code code = count ? recover_newest(magic, manifests, count, err) : recover_without(magic, err);
    free(manifests);
    MG_TRY(code);
    MG_TRY(mg_store__finish_replay(&magic->store, err));
    return mg_keeper__sweep(magic, err);
}
