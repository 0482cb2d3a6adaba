/* keeper.c -- which manifests are kept, and so how far back a snapshot can be opened, which files are needed, and where
 * the WAL may be cut off.
 *
 * Kept     the newest, and all back to the second checkpoint before it, as one of which the beginning of the WAL
 *          counts; and what somebody is opening an epoch from. None in between is left out: the WAL behind it names
 *          segments that only it, and not the one before, knows. What no kept manifest lists is unlinked: parts, marks
 *          files, WAL segments below the lowest replay_from.
 * Order    a manifest is durable before it is noted here; files go once it is durable that the manifests that list them
 *          are gone, for a power cut may bring back an unlinked one.
 * Under way   an output that is being written, and what an install writes before its manifest, are in no list either.
 *          Numbers of outputs are noted while they are written (keeping.working), installs are kept out while a sweep
 *          looks (files_lock), and the folder is read before the lists: what appears later is not touched.
 * Threads  the list: magic->publish. Sweeps: one at a time (sweep_lock). A part that a view still shows stays readable
 *          through its open file.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/stop.h"
#include "engine/magic/manifest.h"

enum { CHECKPOINTS_KEPT = 2 };

static void free_kept(struct mg_kept *kept)
{
    free(kept->parts);
    free(kept);
}

void mg_keeper__clear(struct mg_magic *magic)
{
    for (uint32_t i = 0; i < magic->kept_count; i++)
        free_kept(magic->kept[i]);
    free(magic->kept);
    magic->kept = NULL;
    magic->kept_count = magic->kept_room = 0;
}

/* ---- the list ------------------------------------------------------------------------------------------------ */

static uint64_t watermark_in(const struct mg_manifest *manifest, const char *source)
{
    for (uint32_t i = 0; i < manifest->source_count; i++)
        if (strcmp(manifest->sources[i].name, source) == 0)
            return manifest->sources[i].watermark;
    return 0;
}

enum mg_code mg_keeper__prepare(struct mg_magic *magic, const struct mg_manifest *manifest, struct mg_kept **out,
                                struct mg_error *err)
{
    struct mg_kept *kept = calloc(1, sizeof *kept);
    struct mg_manifest_part *parts = calloc((size_t)manifest->part_count + 1, sizeof *parts);
    enum mg_code code = MG_OK;
    mg_mutex_lock(&magic->publish);
    if (!kept || !parts)
        code = mg_fail(err, MG_NO_MEMORY, "no memory to keep a manifest of %u parts", manifest->part_count);
    else
        code = mg_list__reserve(&magic->kept, &magic->kept_room, magic->kept_count, 1, sizeof(struct mg_kept *), err);
    for (uint32_t i = 0; code == MG_OK && i < magic->store.source_count; i++)
        kept->watermarks[i] = watermark_in(manifest, magic->store.sources[i].name);
    mg_mutex_unlock(&magic->publish);
    if (code != MG_OK) {
        free(kept);
        free(parts);
        return code;
    }
    if (manifest->part_count)
        memcpy(parts, manifest->parts, manifest->part_count * sizeof *parts);
    kept->parts = parts;
    kept->part_count = manifest->part_count;
    kept->number = manifest->number;
    kept->epoch = manifest->epoch;
    kept->replay_from = manifest->replay_from;
    kept->is_checkpoint = manifest->is_checkpoint;
    *out = kept;
    return MG_OK;
}

void mg_keeper__note(struct mg_magic *magic, struct mg_kept *kept)
{
    mg_mutex_lock(&magic->publish);
    magic->kept[magic->kept_count++] = kept;
    mg_mutex_unlock(&magic->publish);
}

void mg_keeper__forget(struct mg_kept *kept)
{
    if (kept)
        free_kept(kept);
}

enum mg_code mg_keeper__pin(struct mg_magic *magic, uint64_t epoch, struct mg_kept **out, struct mg_error *err)
{
    struct mg_kept *found = NULL;
    mg_mutex_lock(&magic->publish);
    const struct mg_kept *oldest = mg_keeper__oldest(magic);
    uint64_t earliest = oldest ? oldest->epoch : 0;
    for (uint32_t i = 0; i < magic->kept_count; i++)
        if (magic->kept[i]->epoch <= epoch)
            found = magic->kept[i];
    if (found)
        found->pins++;
    mg_mutex_unlock(&magic->publish);
    *out = found;
    if (!found && epoch < earliest)
        return mg_fail(err, MG_SNAPSHOT_TOO_OLD, "epoch %llu is not kept any more; the earliest is %llu",
                       (unsigned long long)epoch, (unsigned long long)earliest);
    return MG_OK;
}

void mg_keeper__unpin(struct mg_magic *magic, struct mg_kept *kept)
{
    if (!kept)
        return;
    mg_mutex_lock(&magic->publish);
    kept->pins--;
    mg_mutex_unlock(&magic->publish);
}

/* ---- what goes ----------------------------------------------------------------------------------------------- */

const struct mg_kept *mg_keeper__oldest(const struct mg_magic *magic)
{
    return magic->has_genesis || magic->kept_count == 0 ? NULL : magic->kept[0];
}

/* How many checkpoints there are between the place and the newest manifest, both left out. Under magic->publish. */
static uint32_t checkpoints_behind(const struct mg_magic *magic, int64_t at)
{
    uint32_t count = 0;
    for (int64_t i = at + 1; i + 1 < (int64_t)magic->kept_count; i++)
        count += magic->kept[i]->is_checkpoint;
    return count;
}

/* The oldest, taken off the list when it is not needed any more; else NULL. */
static struct mg_kept *take_unneeded(struct mg_magic *magic)
{
    struct mg_kept *taken = NULL;
    mg_mutex_lock(&magic->publish);
    if (checkpoints_behind(magic, -1) >= CHECKPOINTS_KEPT)
        magic->has_genesis = false;
    if (!magic->has_genesis && magic->kept_count && magic->kept[0]->pins == 0 &&
        checkpoints_behind(magic, 0) >= CHECKPOINTS_KEPT) {
        taken = magic->kept[0];
        magic->kept_count--;
        memmove(magic->kept, magic->kept + 1, magic->kept_count * sizeof(struct mg_kept *));
    }
    mg_mutex_unlock(&magic->publish);
    return taken;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

struct listed {
    uint32_t segment_id;
    uint64_t marks_file; /* UINT64_MAX: the part itself */
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->segment_id != y->segment_id)
        return x->segment_id < y->segment_id ? -1 : 1;
    return (x->marks_file > y->marks_file) - (x->marks_file < y->marks_file);
}

struct sweep {
    struct listed *listed; /* sorted */
    size_t listed_count;
    char **names;
    uint32_t count, room;
};

/* What the kept manifests list, and what is under way. */
static enum mg_code list_under_lock(const struct mg_magic *magic, struct sweep *sweep, struct mg_error *err)
{
    const struct mg_keeping *keeping = &magic->keeping;
    size_t room = 1 + keeping->working_count;
    for (uint32_t i = 0; i < magic->kept_count; i++)
        room += 2 * (size_t)magic->kept[i]->part_count;
    sweep->listed = malloc(room * sizeof *sweep->listed);
    if (!sweep->listed)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a list of %zu files", room);
    for (uint32_t i = 0; i < keeping->working_count; i++)
        sweep->listed[sweep->listed_count++] = (struct listed){keeping->working[i], UINT64_MAX};
    for (uint32_t i = 0; i < magic->kept_count; i++)
        for (uint32_t p = 0; p < magic->kept[i]->part_count; p++) {
            const struct mg_manifest_part *part = &magic->kept[i]->parts[p];
            sweep->listed[sweep->listed_count++] = (struct listed){part->segment_id, UINT64_MAX};
            if (part->dead_count)
                sweep->listed[sweep->listed_count++] = (struct listed){part->segment_id, part->marks_file};
        }
    return MG_OK;
}

static enum mg_code list_all(struct mg_magic *magic, struct sweep *sweep, struct mg_error *err)
{
    mg_mutex_lock(&magic->publish);
    enum mg_code code = list_under_lock(magic, sweep, err);
    mg_mutex_unlock(&magic->publish);
    if (code == MG_OK)
        qsort(sweep->listed, sweep->listed_count, sizeof *sweep->listed, compare_listed);
    return code;
}

static bool is_listed(const struct sweep *sweep, uint32_t segment_id, uint64_t marks_file)
{
    struct listed wanted = {segment_id, marks_file};
    return sweep->listed_count &&
           bsearch(&wanted, sweep->listed, sweep->listed_count, sizeof wanted, compare_listed) != NULL;
}

static enum mg_code note_name(void *arg, const char *name, struct mg_error *err)
{
    struct sweep *sweep = arg;
    MG_TRY(mg_list__reserve(&sweep->names, &sweep->room, sweep->count, 1, sizeof(char *), err));
    sweep->names[sweep->count] = strdup(name);
    if (!sweep->names[sweep->count])
        return mg_fail(err, MG_NO_MEMORY, "no memory for a file's name");
    sweep->count++;
    return MG_OK;
}

/* A part that the WAL names, or will: asked last, as the writer names it before it makes the file. */
static bool is_named(struct mg_magic *magic, const char *name)
{
    unsigned segment_id;
    return strstr(name, ".part") && sscanf(name, "%8x", &segment_id) == 1 && mg_named__has(magic, segment_id);
}

enum kind { FOREIGN, PART, SMALL };

/* Foreign names, and what is listed, are left alone. */
static enum kind unlisted(const struct sweep *sweep, const char *name)
{
    unsigned segment_id;
    unsigned long long epoch;
    int end = 0;
    if (strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".new") == 0)
        return SMALL;
    if (sscanf(name, "%8x.part%n", &segment_id, &end) == 1 && end && name[end] == 0)
        return is_listed(sweep, segment_id, UINT64_MAX) ? FOREIGN : PART;
    if (sscanf(name, "%8x.marks.%16llx%n", &segment_id, &epoch, &end) == 2 && end && name[end] == 0)
        return is_listed(sweep, segment_id, epoch) ? FOREIGN : SMALL;
    return FOREIGN;
}

static enum mg_code unlink_kind(struct mg_magic *magic, struct sweep *sweep, const char *folder, enum kind kind,
                                struct mg_error *err)
{
    char path[MG_PATH_MAX + 64];
    for (uint32_t i = 0; i < sweep->count; i++) {
        if (unlisted(sweep, sweep->names[i]) != kind)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, sweep->names[i]);
        if (is_named(magic, sweep->names[i]))
            continue;
        MG_STOP("keeper.unlink");
        enum mg_code code = magic->io->ops->unlink(magic->io, path, err);
        if (code != MG_OK && code != MG_NOT_FOUND) /* the writer removes what it aborts */
            return code;
    }
    return MG_OK;
}

/* Marks may be written again under the same name, so they go while no install runs; a part's number is never used
 * again, and removing one may take long. */
static enum mg_code unlink_unlisted(struct mg_magic *magic, struct sweep *sweep, struct mg_error *err)
{
    char folder[MG_PATH_MAX];
    snprintf(folder, sizeof folder, "%s/parts", magic->folder);
    mg_mutex_lock(&magic->keeping.files_lock);
    enum mg_code code = magic->io->ops->list(magic->io, folder, note_name, sweep, err);
    if (code == MG_OK)
        code = list_all(magic, sweep, err);
    if (code == MG_OK)
        code = unlink_kind(magic, sweep, folder, SMALL, err);
    mg_mutex_unlock(&magic->keeping.files_lock);
    MG_TRY(code);
    return unlink_kind(magic, sweep, folder, PART, err);
}

static enum mg_code sweep_files(struct mg_magic *magic, struct mg_error *err)
{
    struct sweep sweep = {0};
    enum mg_code code = unlink_unlisted(magic, &sweep, err);
    for (uint32_t i = 0; i < sweep.count; i++)
        free(sweep.names[i]);
    free(sweep.names);
    free(sweep.listed);
    return code;
}

static enum mg_code sweep_all(struct mg_magic *magic, struct mg_error *err)
{
    bool removed = false;
    for (struct mg_kept *kept; (kept = take_unneeded(magic)) != NULL; removed = true) {
        uint64_t number = kept->number;
        free_kept(kept);
        MG_TRY(mg_manifest__remove(magic->io, magic->folder, number, err));
    }
    if (removed)
        MG_TRY(mg_manifest__sync_folder(magic->io, magic->folder, err));
    mg_named__prune(magic);
    MG_TRY(sweep_files(magic, err));
    mg_mutex_lock(&magic->publish);
    uint64_t needed = magic->has_genesis ? 1 : UINT64_MAX;
    for (uint32_t i = 0; i < magic->kept_count; i++)
        needed = MG_MIN(needed, magic->kept[i]->replay_from);
    mg_mutex_unlock(&magic->publish);
    MG_STOP("keeper.trim");
    return needed == UINT64_MAX ? MG_OK : mg_journal_trim(magic->journal, needed, err);
}

enum mg_code mg_keeper__sweep(struct mg_magic *magic, struct mg_error *err)
{
    mg_mutex_lock(&magic->keeping.sweep_lock);
    enum mg_code code = sweep_all(magic, err);
    mg_mutex_unlock(&magic->keeping.sweep_lock);
    return code;
}
