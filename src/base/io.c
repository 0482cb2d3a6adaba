/* io.c -- the machine's files behind the seam of io.h, and the small helpers on top of any seam.
 *
 * Threads  see io.h. A file keeps its path for error texts; nothing else is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct system_file {
    struct mg_file file; /* first */
    int fd;
    bool is_direct; /* the next write goes around the page cache */
    char path[];
};

static struct system_file *system_of(struct mg_file *file) { return (struct system_file *)file; }

static enum mg_code system_open(struct mg_io *io, const char *path, enum mg_open_mode mode, struct mg_file **out,
                                struct mg_error *err)
{
    static const int flags[] = {
        [MG_OPEN_READ] = O_RDONLY,
        [MG_OPEN_WRITE] = O_RDWR,
        [MG_OPEN_CREATE] = O_RDWR | O_CREAT,
        [MG_OPEN_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL,
        [MG_OPEN_CREATE_DIRECT] = O_RDWR | O_CREAT | O_EXCL,
    };
    size_t path_size = strlen(path) + 1;
    struct system_file *file = malloc(sizeof *file + path_size);
    if (!file)
        return mg_fail(err, MG_NO_MEMORY, "could not open %s: no memory", path);
    do
        file->fd = open(path, flags[mode] | O_CLOEXEC, 0666);
    while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0) {
        int error_number = errno;
        free(file);
        if (error_number == ENOENT)
            return mg_fail(err, MG_NOT_FOUND, "could not open %s: there is no such file", path);
        if (error_number == EEXIST)
            return mg_fail(err, MG_EXISTS, "could not create %s: it is there already", path);
        return mg_fail_errno(err, error_number, "could not open %s", path);
    }
    /* Asked for afterwards: an open that is refused for it may have made the file all the same. */
    file->is_direct = mode == MG_OPEN_CREATE_DIRECT && fcntl(file->fd, F_SETFL, O_DIRECT) == 0;
    file->file.ops = io->ops;
    memcpy(file->path, path, path_size);
    *out = &file->file;
    return MG_OK;
}

static void system_close(struct mg_file *file)
{
    close(system_of(file)->fd);
    free(file);
}

static enum mg_code system_pread(struct mg_file *file, void *data, size_t size, uint64_t offset, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    char *at = data;
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(f->fd, at + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mg_fail_errno(err, errno, "could not read %zu bytes at %llu of %s", size, (unsigned long long)offset,
                                 f->path);
        if (n == 0)
            return mg_corrupt(err, f->path, (long long)(offset + done), "the file ends %zu bytes too early",
                              size - done);
        done += (size_t)n;
    }
    return MG_OK;
}

static void end_direct(struct system_file *f)
{
    if (f->is_direct)
        (void)!fcntl(f->fd, F_SETFL, 0);
    f->is_direct = false;
}

/* How many bytes of the write may go around the page cache. */
static size_t direct_size(const struct system_file *f, const struct iovec *pieces, int count, uint64_t offset)
{
    if (!f->is_direct || count != 1 || ((uintptr_t)pieces->iov_base | offset) % MG_IO_DIRECT_ALIGN)
        return 0;
    return pieces->iov_len / MG_IO_DIRECT_ALIGN * MG_IO_DIRECT_ALIGN;
}

static enum mg_code write_pieces(struct system_file *f, const struct iovec *pieces, int count, uint64_t offset,
                                 struct mg_error *err)
{
    enum { PIECES_AT_ONCE = 64 };
    struct iovec now[PIECES_AT_ONCE];
    size_t skip = 0; /* bytes of pieces[0] that are written */
    while (count > 0) {
        int n = MG_MIN(count, (int)PIECES_AT_ONCE);
        memcpy(now, pieces, (size_t)n * sizeof now[0]);
        now[0].iov_base = (char *)now[0].iov_base + skip;
        now[0].iov_len -= skip;
        ssize_t written = pwritev(f->fd, now, n, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EINVAL && f->is_direct) { /* it wants larger multiples */
            end_direct(f);
            continue;
        }
        if (written < 0)
            return mg_fail_errno(err, errno, "could not write at %llu of %s", (unsigned long long)offset, f->path);
        offset += (uint64_t)written;
        size_t left = (size_t)written + skip;
        bool moved = written > 0;
        while (count > 0 && left >= pieces->iov_len) {
            left -= pieces->iov_len;
            pieces++;
            count--;
            moved = true;
        }
        skip = left;
        if (!moved)
            return mg_fail(err, MG_IO, "could not write at %llu of %s: nothing was written", (unsigned long long)offset,
                           f->path);
    }
    return MG_OK;
}

static enum mg_code system_pwritev(struct mg_file *file, const struct iovec *pieces, int count, uint64_t offset,
                                   struct mg_error *err)
{
    struct system_file *f = system_of(file);
    size_t direct = direct_size(f, pieces, count, offset);
    struct iovec rest;
    if (!f->is_direct || (direct && direct == pieces->iov_len))
        return write_pieces(f, pieces, count, offset, err);
    if (direct == 0) {
        end_direct(f);
        return write_pieces(f, pieces, count, offset, err);
    }
    MG_TRY(write_pieces(f, &(struct iovec){pieces->iov_base, direct}, 1, offset, err));
    end_direct(f);
    rest = (struct iovec){(char *)pieces->iov_base + direct, pieces->iov_len - direct};
    return write_pieces(f, &rest, 1, offset + direct, err);
}

static enum mg_code system_fdatasync(struct mg_file *file, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    /* Not tried again, not even on EINTR: the kernel reports a lost write once. */
    if (fdatasync(f->fd))
        return mg_fail_errno(err, errno, "could not make %s durable", f->path);
    return MG_OK;
}

static enum mg_code system_allocate(struct mg_file *file, uint64_t size, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    int result;
    do
        result = posix_fallocate(f->fd, 0, (off_t)size); /* writes where the file system cannot reserve */
    while (result == EINTR);
    if (result)
        return mg_fail_errno(err, result, "could not reserve %llu bytes for %s", (unsigned long long)size, f->path);
    return MG_OK;
}

static enum mg_code system_truncate(struct mg_file *file, uint64_t size, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    int result;
    do
        result = ftruncate(f->fd, (off_t)size);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        return mg_fail_errno(err, errno, "could not cut %s to %llu bytes", f->path, (unsigned long long)size);
    return MG_OK;
}

static enum mg_code system_size(struct mg_file *file, uint64_t *out, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    struct stat st;
    if (fstat(f->fd, &st))
        return mg_fail_errno(err, errno, "could not read the size of %s", f->path);
    *out = (uint64_t)st.st_size;
    return MG_OK;
}

static enum mg_code system_sync_folder(struct mg_io *io, const char *path, struct mg_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return mg_fail_errno(err, errno, "could not open the folder %s", path);
    int result = fsync(fd), error_number = errno;
    close(fd);
    if (result)
        return mg_fail_errno(err, error_number, "could not make the folder %s durable", path);
    return MG_OK;
}

static enum mg_code system_make_folder(struct mg_io *io, const char *path, struct mg_error *err)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return MG_OK;
    int error_number = errno;
    if (error_number == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return MG_OK;
    return mg_fail_errno(err, error_number, "could not make the folder %s", path);
}

static enum mg_code system_list(struct mg_io *io, const char *path, mg_name_fn *fn, void *arg, struct mg_error *err)
{
    DIR *dir = opendir(path);
    if (!dir && errno == ENOENT)
        return mg_fail(err, MG_NOT_FOUND, "there is no folder %s", path);
    if (!dir)
        return mg_fail_errno(err, errno, "could not read the folder %s", path);
    enum mg_code code = MG_OK;
    while (code == MG_OK) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno)
                code = mg_fail_errno(err, errno, "could not read the folder %s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            code = fn(arg, entry->d_name, err);
    }
    closedir(dir);
    return code;
}

static enum mg_code system_unlink(struct mg_io *io, const char *path, struct mg_error *err)
{
    if (unlink(path) == 0)
        return MG_OK;
    if (errno == ENOENT)
        return mg_fail(err, MG_NOT_FOUND, "could not remove %s: there is no such file", path);
    return mg_fail_errno(err, errno, "could not remove %s", path);
}

static enum mg_code system_rename(struct mg_io *io, const char *from, const char *to, struct mg_error *err)
{
    if (rename(from, to))
        return mg_fail_errno(err, errno, "could not rename %s to %s", from, to);
    return MG_OK;
}

static enum mg_code system_lock(struct mg_file *file, struct mg_error *err)
{
    struct system_file *f = system_of(file);
    if (flock(f->fd, LOCK_EX | LOCK_NB) == 0)
        return MG_OK;
    if (errno == EWOULDBLOCK)
        return mg_fail(err, MG_BUSY, "%s is locked: another process uses it", f->path);
    return mg_fail_errno(err, errno, "could not lock %s", f->path);
}

static enum mg_code system_free_space(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    struct statvfs st;
    if (statvfs(path, &st))
        return mg_fail_errno(err, errno, "could not read the free space at %s", path);
    *out_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return MG_OK;
}

static enum mg_code system_disk_size(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    struct statvfs st;
    if (statvfs(path, &st))
        return mg_fail_errno(err, errno, "could not read the size of the disk at %s", path);
    *out_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    return MG_OK;
}

struct mg_io *mg_io_system(void)
{
    static const struct mg_io_ops ops = {
        .name = "system",
        .open = system_open,
        .close = system_close,
        .pread = system_pread,
        .pwritev = system_pwritev,
        .fdatasync = system_fdatasync,
        .allocate = system_allocate,
        .truncate = system_truncate,
        .size = system_size,
        .sync_folder = system_sync_folder,
        .make_folder = system_make_folder,
        .list = system_list,
        .unlink = system_unlink,
        .rename = system_rename,
        .lock = system_lock,
        .free_space = system_free_space,
        .disk_size = system_disk_size,
    };
    static struct mg_io system = {.ops = &ops};
    return &system;
}

enum mg_code mg_io_open(struct mg_io *io, const char *path, enum mg_open_mode mode, struct mg_file **out,
                        struct mg_error *err)
{
    return io->ops->open(io, path, mode, out, err);
}

void mg_file_close(struct mg_file *file)
{
    if (file)
        file->ops->close(file);
}

void mg_file_closep(struct mg_file **file)
{
    mg_file_close(*file);
    *file = NULL;
}

enum mg_code mg_file_pread(struct mg_file *file, void *data, size_t size, uint64_t offset, struct mg_error *err)
{
    return file->ops->pread(file, data, size, offset, err);
}

enum mg_code mg_file_pwrite(struct mg_file *file, const void *data, size_t size, uint64_t offset, struct mg_error *err)
{
    union {
        const void *from;
        void *base;
    } bytes = {.from = data};
    struct iovec piece = {.iov_base = bytes.base, .iov_len = size};
    return mg_file_pwritev(file, &piece, 1, offset, err);
}

enum mg_code mg_file_pwritev(struct mg_file *file, const struct iovec *pieces, int count, uint64_t offset,
                             struct mg_error *err)
{
    return file->ops->pwritev(file, pieces, count, offset, err);
}

enum mg_code mg_file_sync(struct mg_file *file, struct mg_error *err) { return file->ops->fdatasync(file, err); }

enum mg_code mg_file_allocate(struct mg_file *file, uint64_t size, struct mg_error *err)
{
    return file->ops->allocate(file, size, err);
}

enum mg_code mg_file_truncate(struct mg_file *file, uint64_t size, struct mg_error *err)
{
    return file->ops->truncate(file, size, err);
}

enum mg_code mg_file_size(struct mg_file *file, uint64_t *out, struct mg_error *err)
{
    return file->ops->size(file, out, err);
}

enum mg_code mg_file_lock(struct mg_file *file, struct mg_error *err) { return file->ops->lock(file, err); }

enum mg_code mg_io_read_file(struct mg_io *io, const char *path, struct mg_buffer *out, struct mg_error *err)
{
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    uint64_t size;
    MG_TRY(mg_io_open(io, path, MG_OPEN_READ, &file, err));
    MG_TRY(mg_file_size(file, &size, err));
    enum mg_code code = mg_buffer_reserve(out, (size_t)size, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "could not read %s", path);
    if (size)
        MG_TRY(mg_file_pread(file, out->data + out->size, (size_t)size, 0, err));
    out->size += (size_t)size;
    return MG_OK;
}

enum mg_code mg_io_write_file(struct mg_io *io, const char *folder, const char *name, struct mg_slice bytes,
                              struct mg_error *err)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
        snprintf(temporary, sizeof temporary, "%s/%s.new", folder, name) >= (int)sizeof temporary)
        return mg_fail(err, MG_TOO_BIG, "the path of %s is longer than %d bytes", name, PATH_MAX - 1);
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    MG_TRY(mg_io_open(io, temporary, MG_OPEN_CREATE, &file, err));
    MG_TRY(mg_file_truncate(file, 0, err));
    if (bytes.size)
        MG_TRY(mg_file_pwrite(file, bytes.data, bytes.size, 0, err));
    MG_TRY(mg_file_sync(file, err));
    MG_TRY(io->ops->rename(io, temporary, path, err));
    return io->ops->sync_folder(io, folder, err);
}

enum mg_code mg_io_make_folders(struct mg_io *io, const char *path, struct mg_error *err)
{
    char part[PATH_MAX];
    size_t size = 0;
    if (strlen(path) >= sizeof part)
        return mg_fail(err, MG_TOO_BIG, "the path %.80s... is longer than %d bytes", path, PATH_MAX - 1);
    for (;; path++) {
        bool separator = *path == '/' || *path == '\0';
        if (separator && size > 0 && part[size - 1] != '/') {
            part[size] = '\0';
            MG_TRY(io->ops->make_folder(io, part, err));
        }
        if (*path == '\0')
            return MG_OK;
        if (*path != '/' || size == 0 || part[size - 1] != '/')
            part[size++] = *path;
    }
}
