/* io_nosync.c -- files whose fdatasync does nothing, for tests of speed: power loss may take what was published.
 *
 * Wraps another mg_io: a file that it opened gets a table of functions that differs in fdatasync alone.
 * Threads  immutable after new.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/magic_internal.h"

struct nosync {
    struct mg_io io; /* first; its table is `ops` below with our open */
    struct mg_io *under;
    struct mg_io_ops ops;      /* of this io */
    struct mg_io_ops file_ops; /* of its files */
};

static struct nosync *nosync_of(struct mg_io *io) { return (struct nosync *)io; }

static enum mg_code no_sync(struct mg_file *file, struct mg_error *err) { return MG_OK; }

static enum mg_code nosync_open(struct mg_io *io, const char *path, enum mg_open_mode mode, struct mg_file **out,
                                struct mg_error *err)
{
    struct nosync *nosync = nosync_of(io);
    MG_TRY(nosync->under->ops->open(nosync->under, path, mode, out, err));
    (*out)->ops = &nosync->file_ops;
    return MG_OK;
}

/* Functions of the io itself want the io that they were made for. */
static enum mg_code nosync_sync_folder(struct mg_io *io, const char *path, struct mg_error *err) { return MG_OK; }

static enum mg_code nosync_make_folder(struct mg_io *io, const char *path, struct mg_error *err)
{
    return nosync_of(io)->under->ops->make_folder(nosync_of(io)->under, path, err);
}

static enum mg_code nosync_list(struct mg_io *io, const char *path, mg_name_fn *fn, void *arg, struct mg_error *err)
{
    return nosync_of(io)->under->ops->list(nosync_of(io)->under, path, fn, arg, err);
}

static enum mg_code nosync_unlink(struct mg_io *io, const char *path, struct mg_error *err)
{
    return nosync_of(io)->under->ops->unlink(nosync_of(io)->under, path, err);
}

static enum mg_code nosync_rename(struct mg_io *io, const char *from, const char *to, struct mg_error *err)
{
    return nosync_of(io)->under->ops->rename(nosync_of(io)->under, from, to, err);
}

static enum mg_code nosync_free_space(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    return nosync_of(io)->under->ops->free_space(nosync_of(io)->under, path, out_bytes, err);
}

static enum mg_code nosync_disk_size(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    return nosync_of(io)->under->ops->disk_size(nosync_of(io)->under, path, out_bytes, err);
}

struct mg_io *mg_io_nosync__new(struct mg_io *under)
{
    struct nosync *nosync = calloc(1, sizeof *nosync);
    if (!nosync)
        return NULL;
    nosync->under = under;
    nosync->file_ops = *under->ops;
    nosync->file_ops.fdatasync = no_sync;
    nosync->ops = nosync->file_ops;
    nosync->ops.name = "nosync";
    nosync->ops.open = nosync_open;
    nosync->ops.sync_folder = nosync_sync_folder;
    nosync->ops.make_folder = nosync_make_folder;
    nosync->ops.list = nosync_list;
    nosync->ops.unlink = nosync_unlink;
    nosync->ops.rename = nosync_rename;
    nosync->ops.free_space = nosync_free_space;
    nosync->ops.disk_size = nosync_disk_size;
    nosync->io.ops = &nosync->ops;
    return &nosync->io;
}

void mg_io_nosync__free(struct mg_io *io) { free(io); }
