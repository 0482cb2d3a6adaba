/* recover.c -- the state from disk: the newest manifest and the WAL behind it; and the lists of what is kept.
 *
 * Errors   MG_CORRUPT names the file: a manifest was durable before anything relied on it, so one that cannot be read
 *          is damage, and no older state is taken instead.
 * Threads  open only; mg_store__open_at any.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/manifest.h"

static enum mg_code open_from(struct mg_store *store, const struct mg_manifest *manifest, uint64_t last,
                              mg_replayed_fn *seen, void *arg, struct mg_error *err)
{
    struct mg_journal *journal = store->magic->journal;
    if (manifest->epoch > mg_journal_last(journal))
        return mg_fail(err, MG_CORRUPT, "the WAL ends at epoch %llu, the manifest knows epoch %llu",
                       (unsigned long long)mg_journal_last(journal), (unsigned long long)manifest->epoch);
    MG_TRY(mg_store__load(store, manifest, err));
    enum mg_code code = mg_store__replay_wal(store, journal, last, seen, arg, err);
    store->base = NULL;
    return code;
}

enum mg_code mg_store__open_at(struct mg_store *store, uint64_t manifest_number, uint64_t last, mg_replayed_fn *seen,
                               void *arg, struct mg_error *err)
{
    struct mg_magic *magic = store->magic;
    struct mg_manifest manifest;
    MG_TRY(mg_manifest__read(magic->io, magic->folder, manifest_number, store->rows_budget, &manifest, err));
    enum mg_code code = open_from(store, &manifest, last, seen, arg, err);
    mg_manifest__clear(&manifest);
    return code;
}

/* ---- the list of epochs -------------------------------------------------------------------------------------- */

static enum mg_code note(struct mg_magic *magic, struct mg_slice source, uint64_t epoch, uint64_t watermark,
                         struct mg_error *err)
{
    for (uint32_t i = 0; i < magic->store.source_count; i++) {
        if (!mg_slice_equal(mg_slice_text(magic->store.sources[i].name), source))
            continue;
        MG_TRY(mg_history__reserve(&magic->history[i], err));
        mg_history__note(&magic->history[i], epoch, watermark);
    }
    return MG_OK;
}

/* What a group names must stay as long as an epoch can be opened by replaying it. */
static enum mg_code note_parts(struct mg_magic *magic, struct mg_wal_head *head, struct mg_error *err)
{
    for (uint32_t i = 0; i < head->part_count; i++) {
        struct mg_wal_part part;
        MG_TRY(mg_wal_head__next(head, &part, err));
        MG_TRY(mg_named__add(magic, part.segment_id, head->epoch, err));
    }
    return MG_OK;
}

/* Epochs from the oldest that can be opened to the newest, by the heads of their groups. */
static enum mg_code read_history(struct mg_magic *magic, uint64_t first, uint64_t last, struct mg_error *err)
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
        MG_TRY(note(magic, head.source, head.epoch, head.watermark, err));
        MG_TRY(note_parts(magic, &head, err));
    }
    return MG_OK;
}

static enum mg_code keep(struct mg_magic *magic, uint64_t number, struct mg_error *err)
{
    struct mg_manifest manifest;
    struct mg_kept *kept;
    MG_TRY(mg_manifest__read(magic->io, magic->folder, number, &magic->rows_budget, &manifest, err));
    enum mg_code code = mg_keeper__prepare(magic, &manifest, &kept, err);
    if (code == MG_OK)
        mg_keeper__note(magic, kept);
    bool is_oldest = magic->kept_count == 1 && !magic->has_genesis;
    for (uint32_t i = 0; code == MG_OK && is_oldest && i < manifest.source_count; i++)
        code = note(magic, mg_slice_text(manifest.sources[i].name), manifest.epoch, manifest.sources[i].watermark, err);
    mg_manifest__clear(&manifest);
    return code;
}

/* ---- open ---------------------------------------------------------------------------------------------------- */

static enum mg_code replay(struct mg_magic *magic, uint64_t newest_manifest, struct mg_error *err)
{
    uint64_t first = mg_journal_first(magic->journal), last = mg_journal_last(magic->journal);
    if (newest_manifest)
        return mg_store__open_at(&magic->store, newest_manifest, last, NULL, NULL, err);
    if (first != 1)
        return mg_corrupt(err, magic->folder, 0, "the WAL begins with epoch %llu, and there is no manifest",
                          (unsigned long long)first);
    return mg_store__replay_wal(&magic->store, magic->journal, last, NULL, NULL, err);
}

static enum mg_code recover_from(struct mg_magic *magic, const uint64_t *manifests, uint32_t count,
                                 struct mg_error *err)
{
    magic->has_genesis = mg_journal_first(magic->journal) == 1;
    MG_TRY(replay(magic, count ? manifests[count - 1] : 0, err));
    MG_TRY(mg_store__finish_replay(&magic->store, err));
    for (uint32_t i = 0; i < count; i++)
        MG_TRY(keep(magic, manifests[i], err));
    magic->keeping.next_manifest = count ? manifests[count - 1] + 1 : 1;
    magic->keeping.checkpoint_epoch = count ? magic->kept[count - 1]->epoch : 0;
    MG_TRY(read_history(magic, mg_keeper__oldest(magic) ? mg_keeper__oldest(magic)->epoch + 1 : 1, magic->store.epoch,
                        err));
    return mg_keeper__sweep(magic, err);
}

enum mg_code mg_magic__recover(struct mg_magic *magic, struct mg_error *err)
{
    uint64_t *manifests;
    uint32_t count;
    MG_TRY(mg_manifest__list(magic->io, magic->folder, &manifests, &count, err));
    enum mg_code code = recover_from(magic, manifests, count, err);
    free(manifests);
    return code;
}
