/* io.h -- the seam for files: everything that Magic stores goes through one table of functions, so that tests can fail,
 * tear, reorder and drop it.
 *
 * Paths are relative to nothing: callers build them. Calls never return short: all or an error. EINTR is handled here.
 * A failed fdatasync is never retried by callers: what was written before it may be gone.
 * Threads  the table is immutable; an mg_file may be used by several threads for pread, by one at a time for the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_IO_H
#define MG_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buffer.h"
#include "base/error.h"

struct mg_io;
struct mg_file; /* owned by who opened it; ends with mg_file_close */

enum { MG_IO_DIRECT_ALIGN = 4096 };

enum mg_open_mode {
    MG_OPEN_READ,       /* must exist */
    MG_OPEN_WRITE,      /* read and write; must exist */
    MG_OPEN_CREATE,     /* read and write; created if missing */
    MG_OPEN_CREATE_NEW, /* read and write; MG_EXISTS if it is there */
    /* The same, for a large file that is written once, front to back: around the page cache where the file system can,
     * as long as memory, place and size of each write are multiples of MG_IO_DIRECT_ALIGN; through it from the first
     * other write on. It is the same file either way, and as durable: after a sync. */
    MG_OPEN_CREATE_DIRECT,
};

/* Called once per name in a folder, in no order; without "." and "..". Ends early on another code than MG_OK. */
typedef enum mg_code mg_name_fn(void *arg, const char *name, struct mg_error *err);

struct mg_io_ops {
    const char *name;
    enum mg_code (*open)(struct mg_io *, const char *path, enum mg_open_mode, struct mg_file **out, struct mg_error *);
    void (*close)(struct mg_file *);
    /* Exactly size bytes at offset, else MG_CORRUPT (the file is shorter) or MG_IO. */
    enum mg_code (*pread)(struct mg_file *, void *data, size_t size, uint64_t offset, struct mg_error *);
    enum mg_code (*pwritev)(struct mg_file *, const struct iovec *pieces, int count, uint64_t offset,
                            struct mg_error *);
    enum mg_code (*fdatasync)(struct mg_file *, struct mg_error *);
    /* Zeroed room for [0, size); the file's size becomes at least that. MG_NO_SPACE leaves the file usable. */
    enum mg_code (*allocate)(struct mg_file *, uint64_t size, struct mg_error *);
    enum mg_code (*truncate)(struct mg_file *, uint64_t size, struct mg_error *);
    enum mg_code (*size)(struct mg_file *, uint64_t *out, struct mg_error *);
    enum mg_code (*sync_folder)(struct mg_io *, const char *path, struct mg_error *);
    enum mg_code (*make_folder)(struct mg_io *, const char *path, struct mg_error *); /* MG_OK if it is there */
    enum mg_code (*list)(struct mg_io *, const char *path, mg_name_fn *fn, void *arg, struct mg_error *);
    enum mg_code (*unlink)(struct mg_io *, const char *path, struct mg_error *);
    enum mg_code (*rename)(struct mg_io *, const char *from, const char *to, struct mg_error *);
    /* An exclusive lock on the whole file until it is closed; MG_BUSY when another process has it. */
    enum mg_code (*lock)(struct mg_file *, struct mg_error *);
    enum mg_code (*free_space)(struct mg_io *, const char *path, uint64_t *out_bytes, struct mg_error *);
    /* Of the file system that holds path; UINT64_MAX: it has no end. */
    enum mg_code (*disk_size)(struct mg_io *, const char *path, uint64_t *out_bytes, struct mg_error *);
};

struct mg_io {
    const struct mg_io_ops *ops;
};
/* The first member of every implementation's file. */
struct mg_file {
    const struct mg_io_ops *ops;
};

/* The machine's files. */
struct mg_io *mg_io_system(void);

MG_MUST_CHECK enum mg_code mg_io_open(struct mg_io *io, const char *path, enum mg_open_mode mode, struct mg_file **out,
                                      struct mg_error *err);
void mg_file_close(struct mg_file *file); /* NULL is allowed */
void mg_file_closep(struct mg_file **file);
MG_MUST_CHECK enum mg_code mg_file_pread(struct mg_file *file, void *data, size_t size, uint64_t offset,
                                         struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_pwrite(struct mg_file *file, const void *data, size_t size, uint64_t offset,
                                          struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_pwritev(struct mg_file *file, const struct iovec *pieces, int count, uint64_t offset,
                                           struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_sync(struct mg_file *file, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_allocate(struct mg_file *file, uint64_t size, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_truncate(struct mg_file *file, uint64_t size, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_size(struct mg_file *file, uint64_t *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_file_lock(struct mg_file *file, struct mg_error *err);

/* A whole small file into an initialised buffer (whose max bounds it); MG_NOT_FOUND when there is none. */
MG_MUST_CHECK enum mg_code mg_io_read_file(struct mg_io *io, const char *path, struct mg_buffer *out,
                                           struct mg_error *err);
/* Replace a small file as one step that survives power loss: temporary file beside it, fdatasync, rename, folder. */
MG_MUST_CHECK enum mg_code mg_io_write_file(struct mg_io *io, const char *folder, const char *name,
                                            struct mg_slice bytes, struct mg_error *err);
/* Every folder on the way, like mkdir -p. */
MG_MUST_CHECK enum mg_code mg_io_make_folders(struct mg_io *io, const char *path, struct mg_error *err);

#endif
