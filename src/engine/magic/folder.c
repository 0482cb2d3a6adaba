/* folder.c -- the engine's folder: made or recognised, locked, never touched when another version wrote it.
 *
 * FORMAT   text: "magic store", "format <n>", "store <16 hex digits>", a line each; written last when the folder is
 *          made, as one step.
 *          A folder of an older format is one of the newest from its first opening on: the Magic that wrote it must not
 *          open it again, since the WAL may be trimmed, or name parts.
 * LOCK     locked while the engine is open.
 * wal/     the journal; parts/, manifest/: what was flushed out of it.
 * Errors   MG_BUSY: another process has it; MG_UNIMPLEMENTED: another format version; MG_CORRUPT: FORMAT is damaged, or
 *          missing beside a WAL.
 * Threads  open only.
 * Source   docs/format/store.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/magic/magic_internal.h"

enum { FORMAT_MAX = 4096, FOLDER_PATH_MAX = 3800 };

static enum mg_code write_format(struct mg_magic *magic, struct mg_error *err)
{
    char text[128];
    int size = snprintf(text, sizeof text, "magic store\nformat %d\nstore %016llx\n", MG_STORE_FORMAT,
                        (unsigned long long)magic->store_id);
    return mg_io_write_file(magic->io, magic->folder, "FORMAT", MG_SLICE(text, (size_t)size), err);
}

static enum mg_code read_format(struct mg_magic *magic, const char *path, struct mg_slice text, struct mg_error *err)
{
    char copy[FORMAT_MAX + 1];
    unsigned version = 0;
    unsigned long long store_id = 0;
    memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    if (sscanf(copy, "magic store\nformat %9u\n", &version) != 1)
        return mg_corrupt(err, path, 0, "it does not say what store this is");
    if (version < MG_STORE_FORMAT_ONCE || version > MG_STORE_FORMAT)
        return mg_fail(
            err, MG_UNIMPLEMENTED,
            "the folder %s has format version %u, and this Magic reads version %d: use the Magic that wrote it",
            magic->folder, version, MG_STORE_FORMAT);
    if (sscanf(copy, "magic store\nformat %*u\nstore %16llx\n", &store_id) != 1 || store_id == 0)
        return mg_corrupt(err, path, strchr(copy + strlen("magic store\n"), '\n') - copy + 1, "it names no store id");
    magic->store_id = store_id;
    return version == MG_STORE_FORMAT ? MG_OK : write_format(magic, err);
}

static enum mg_code note_any(void *arg, const char *name, struct mg_error *err)
{
    *(bool *)arg = true;
    return MG_OK;
}

static enum mg_code make_store(struct mg_magic *magic, const char *wal, struct mg_error *err)
{
    bool has_wal = false;
    MG_TRY(magic->io->ops->make_folder(magic->io, wal, err));
    MG_TRY(magic->io->ops->list(magic->io, wal, note_any, &has_wal, err));
    if (has_wal)
        return mg_corrupt(err, magic->folder, 0, "there is a WAL, but no FORMAT file");
    MG_TRY(magic->io->ops->sync_folder(magic->io, magic->folder, err));
    while (magic->store_id == 0)
        MG_TRY(mg_random_secret(&magic->store_id, sizeof magic->store_id, err));
    return write_format(magic, err);
}

enum mg_code mg_folder__open(struct mg_magic *magic, struct mg_error *err)
{
    char path[FOLDER_PATH_MAX + 16];
    if (strlen(magic->folder) > FOLDER_PATH_MAX)
        return mg_fail(err, MG_INVALID, "the folder's path has more than %d bytes", FOLDER_PATH_MAX);
    MG_TRY(mg_io_make_folders(magic->io, magic->folder, err));
    snprintf(path, sizeof path, "%s/LOCK", magic->folder);
    MG_TRY(mg_io_open(magic->io, path, MG_OPEN_CREATE, &magic->lock_file, err));
    enum mg_code code = mg_file_lock(magic->lock_file, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "the store in %s is in use by another process", magic->folder);

    struct mg_buffer text;
    mg_buffer_init(&text, FORMAT_MAX);
    snprintf(path, sizeof path, "%s/FORMAT", magic->folder);
    code = mg_io_read_file(magic->io, path, &text, err);
    if (code == MG_OK)
        code = read_format(magic, path, mg_buffer_slice(&text), err);
    mg_buffer_clear(&text);
    snprintf(path, sizeof path, "%s/wal", magic->folder);
    if (code == MG_NOT_FOUND)
        code = make_store(magic, path, err);
    static const char *const folders[] = {"parts", "manifest"};
    for (uint32_t i = 0; code == MG_OK && i < MG_COUNT_OF(folders); i++) {
        snprintf(path, sizeof path, "%s/%s", magic->folder, folders[i]);
        code = magic->io->ops->make_folder(magic->io, path, err);
    }
    return code == MG_OK ? magic->io->ops->sync_folder(magic->io, magic->folder, err) : code;
}
