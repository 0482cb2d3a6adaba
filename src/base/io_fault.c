/* io_fault.c -- the disk of the tests: each file twice, as it is read now and as a power cut would leave it.
 *
 * Shape    an inode has two images of the same capacity, `now` and `disk`, and a flag per sector: it differs on
 *          purpose, waiting for a sync. Names live in two maps likewise; `pending` is the list of name changes since,
 *          in order. Bytes behind an image's size are zero.
 * Threads  fault->lock guards everything.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/io_fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/random.h"

enum { SECTOR = 512, PLANS_MAX = 8 };

struct inode {
    struct inode *next;
    bool folder;
    bool is_named;       /* of free_unused */
    uint8_t *now, *disk; /* capacity bytes each */
    uint8_t *waiting;    /* one flag a sector */
    uint64_t now_size, disk_size, capacity;
    uint64_t open_count;
    const void *locked_by; /* the fault_file that has the lock */
};

struct name {
    char *path;
    struct inode *inode;
};

/* Names of the file system; a path is in it once. */
struct names {
    struct name *list;
    size_t count, capacity;
};

/* A change of names that no sync_folder covers yet. */
struct change {
    char *from; /* NULL: inode is linked at `to`. Else `from` is renamed to `to`, or removed when `to` is NULL. */
    char *to;
    struct inode *inode;
};

struct plan {
    unsigned kinds;
    uint64_t nth; /* calls until it strikes; 0 = done */
    int error_number;
    bool for_good;
};

struct mg_io_fault {
    struct mg_io io; /* first */
    struct mg_mutex lock;
    struct inode *inodes;
    struct names now, disk;
    struct change *pending;
    size_t pending_count, pending_capacity;
    struct plan plans[PLANS_MAX];
    size_t plan_count;
    uint64_t calls[16]; /* by number of the kind's bit */
    uint64_t capacity;
    uint64_t life; /* rises with each crash: files of an earlier life are dead */
    uint64_t tear; /* where failing writes are cut; UINT64_MAX: anywhere */
    uint64_t torn_bytes;
    const char *counted; /* part of the paths of which reads are counted; NULL: none */
    uint64_t read_bytes;
    struct mg_random random;
};

static _Thread_local bool inside;

bool mg_io_fault_is_inside(void) { return inside; }

static void enter(struct mg_io_fault *fault) MG_ACQUIRE(fault->lock) MG_NO_LOCK_ANALYSIS
{
    mg_mutex_lock(&fault->lock);
    inside = true;
}

static void leave(struct mg_io_fault *fault) MG_RELEASE(fault->lock) MG_NO_LOCK_ANALYSIS
{
    inside = false;
    mg_mutex_unlock(&fault->lock);
}

struct fault_file {
    struct mg_file file; /* first */
    struct mg_io_fault *fault;
    struct inode *inode;
    uint64_t life;
    char path[];
};

static void *must(void *p)
{
    mg_assert(p != NULL);
    return p;
}

static bool coin(struct mg_io_fault *fault) { return mg_random_u64(&fault->random) & 1; }

/* ---- names --------------------------------------------------------------------------------------------------- */

static struct name *find_name(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].path, path) == 0)
            return &names->list[i];
    return NULL;
}

static void set_name(struct names *names, const char *path, struct inode *inode)
{
    struct name *name = find_name(names, path);
    if (name) {
        name->inode = inode;
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->list = must(realloc(names->list, names->capacity * sizeof *names->list));
    }
    names->list[names->count++] = (struct name){must(strdup(path)), inode};
}

static void remove_name(struct names *names, const char *path)
{
    struct name *name = find_name(names, path);
    if (!name)
        return;
    free(name->path);
    *name = names->list[--names->count];
}

static void clear_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].path);
    free(names->list);
    *names = (struct names){0};
}

static void apply_change(struct names *names, const struct change *change)
{
    if (!change->from) {
        mg_assert(change->to != NULL);
        set_name(names, change->to, change->inode);
        return;
    }
    /* A name whose creation was lost cannot be renamed or removed. */
    struct name *from = find_name(names, change->from);
    if (!from || from->inode != change->inode)
        return;
    remove_name(names, change->from);
    if (change->to)
        set_name(names, change->to, change->inode);
}

static void note_change(struct mg_io_fault *fault, const char *from, const char *to, struct inode *inode)
{
    if (fault->pending_count == fault->pending_capacity) {
        fault->pending_capacity = fault->pending_capacity ? fault->pending_capacity * 2 : 16;
        fault->pending = must(realloc(fault->pending, fault->pending_capacity * sizeof *fault->pending));
    }
    struct change change = {
        .from = from ? must(strdup(from)) : NULL, .to = to ? must(strdup(to)) : NULL, .inode = inode};
    fault->pending[fault->pending_count++] = change;
    apply_change(&fault->now, &change);
}

static void free_change(struct change *change)
{
    free(change->from);
    free(change->to);
}

/* The size of "a/b" in "a/b/c"; 0 for a path without a folder. */
static size_t folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool lies_in(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return path && folder_size(path) == size && memcmp(path, folder, size) == 0;
}

static bool folder_exists(struct mg_io_fault *fault, const char *path, size_t size)
{
    if (size == 0)
        return true;
    for (size_t i = 0; i < fault->now.count; i++) {
        const struct name *name = &fault->now.list[i];
        if (name->inode->folder && strlen(name->path) == size && memcmp(name->path, path, size) == 0)
            return true;
    }
    return false;
}

/* ---- inodes -------------------------------------------------------------------------------------------------- */

static struct inode *add_inode(struct mg_io_fault *fault, bool folder)
{
    struct inode *inode = must(calloc(1, sizeof *inode));
    inode->folder = folder;
    inode->next = fault->inodes;
    fault->inodes = inode;
    return inode;
}

static void free_inode(struct inode *inode)
{
    free(inode->now);
    free(inode->disk);
    free(inode->waiting);
    free(inode);
}

static void mark_named(const struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        names->list[i].inode->is_named = true;
}

/* Inodes that nothing names or has open. */
static void free_unused(struct mg_io_fault *fault)
{
    for (struct inode *inode = fault->inodes; inode; inode = inode->next)
        inode->is_named = false;
    mark_named(&fault->now);
    mark_named(&fault->disk);
    for (size_t i = 0; i < fault->pending_count; i++)
        fault->pending[i].inode->is_named = true;
    for (struct inode **link = &fault->inodes; *link;) {
        struct inode *inode = *link;
        if (inode->open_count > 0 || inode->is_named) {
            link = &inode->next;
            continue;
        }
        *link = inode->next;
        free_inode(inode);
    }
}

static uint8_t *grow(uint8_t *bytes, uint64_t old_size, uint64_t size)
{
    uint8_t *grown = must(calloc(1, size)); /* pages of a large one come zeroed, and only when touched */
    if (old_size)
        memcpy(grown, bytes, old_size);
    free(bytes);
    return grown;
}

static void reserve(struct inode *inode, uint64_t size)
{
    if (size <= inode->capacity)
        return;
    uint64_t capacity = MG_MAX(inode->capacity * 2, (size + SECTOR - 1) / SECTOR * SECTOR);
    capacity = (capacity + SECTOR - 1) / SECTOR * SECTOR;
    inode->now = grow(inode->now, inode->now_size, capacity);
    inode->disk = grow(inode->disk, inode->disk_size, capacity);
    inode->waiting = grow(inode->waiting, inode->capacity / SECTOR, capacity / SECTOR);
    inode->capacity = capacity;
}

static void wait_for_sync(struct inode *inode, uint64_t from, uint64_t to)
{
    for (uint64_t sector = from / SECTOR; sector * SECTOR < to; sector++)
        inode->waiting[sector] = 1;
}

static void write_bytes(struct inode *inode, uint64_t offset, const uint8_t *data, uint64_t size)
{
    if (size == 0)
        return;
    reserve(inode, offset + size);
    memcpy(inode->now + offset, data, size);
    wait_for_sync(inode, offset, offset + size);
    inode->now_size = MG_MAX(inode->now_size, offset + size);
}

/* Bring waiting sectors to the disk: all, or those that a coin chooses; size_kept says whether the size goes with
 * them. */
static void settle(struct mg_io_fault *fault, struct inode *inode, bool all, bool size_kept)
{
    uint64_t end = MG_MAX(inode->now_size, inode->disk_size);
    for (uint64_t at = 0; at < end; at += SECTOR) {
        if (!inode->waiting[at / SECTOR])
            continue;
        inode->waiting[at / SECTOR] = 0;
        if (all || coin(fault))
            memcpy(inode->disk + at, inode->now + at, SECTOR);
    }
    if (size_kept)
        inode->disk_size = inode->now_size;
    if (inode->disk_size < inode->capacity)
        memset(inode->disk + inode->disk_size, 0,
               (size_t)(MG_MIN(inode->capacity, MG_MAX(end, inode->disk_size)) - inode->disk_size));
}

/* Some of the waiting sectors reach the disk in part: new up to a byte, old behind it. */
static void tear_sectors(struct mg_io_fault *fault, struct inode *inode)
{
    uint64_t end = MG_MAX(inode->now_size, inode->disk_size);
    for (uint64_t at = 0; at < end; at += SECTOR) {
        if (!inode->waiting[at / SECTOR] || !coin(fault) || !coin(fault))
            continue;
        inode->waiting[at / SECTOR] = 0;
        memcpy(inode->disk + at, inode->now + at, 1 + (size_t)mg_random_below(&fault->random, SECTOR - 1));
    }
}

static uint64_t used_bytes(const struct mg_io_fault *fault)
{
    uint64_t used = 0;
    for (const struct inode *inode = fault->inodes; inode; inode = inode->next)
        used += inode->now_size;
    return used;
}

static bool has_room(const struct mg_io_fault *fault, const struct inode *inode, uint64_t size)
{
    if (size <= inode->now_size || fault->capacity == UINT64_MAX)
        return true;
    uint64_t used = used_bytes(fault), more = size - inode->now_size;
    return more <= fault->capacity && used <= fault->capacity - more;
}

/* ---- failing calls ------------------------------------------------------------------------------------------- */

/* Counts a call and gives the errno with which it fails, or 0. */
static int strike(struct mg_io_fault *fault, enum mg_io_fault_kind kind)
{
    int error_number = 0;
    fault->calls[__builtin_ctz((unsigned)kind)]++;
    for (size_t i = 0; i < fault->plan_count; i++) {
        struct plan *plan = &fault->plans[i];
        if (!(plan->kinds & (unsigned)kind) || plan->nth == 0 || (plan->nth > 1 && plan->nth--))
            continue;
        if (!plan->for_good)
            plan->nth = 0;
        error_number = plan->error_number;
    }
    return error_number;
}

/* For calls that fail without a trace. */
static enum mg_code fail_or_not(struct mg_io_fault *fault, enum mg_io_fault_kind kind, const char *path,
                                struct mg_error *err)
{
    int error_number = strike(fault, kind);
    if (error_number)
        return mg_fail_errno(err, error_number, "%s: planned failure", path);
    return MG_OK;
}

static enum mg_code check_alive(const struct fault_file *file, struct mg_error *err)
{
    if (file->life != file->fault->life)
        return mg_fail(err, MG_IO, "%s was open when the power was cut", file->path);
    return MG_OK;
}

static struct mg_io_fault *fault_of(struct mg_io *io) { return (struct mg_io_fault *)io; }
static struct fault_file *file_of(struct mg_file *file) { return (struct fault_file *)file; }

/* ---- the seam ------------------------------------------------------------------------------------------------ */

static enum mg_code open_locked(struct mg_io_fault *fault, const char *path, enum mg_open_mode mode,
                                struct mg_file **out, struct mg_error *err)
{
    MG_TRY(fail_or_not(fault, MG_FAULT_OPEN, path, err));
    struct name *name = find_name(&fault->now, path);
    struct inode *inode = name ? name->inode : NULL;
    if (inode && inode->folder)
        return mg_fail(err, MG_IO, "could not open %s: it is a folder", path);
    if (inode && (mode == MG_OPEN_CREATE_NEW || mode == MG_OPEN_CREATE_DIRECT))
        return mg_fail(err, MG_EXISTS, "could not create %s: it is there already", path);
    if (!inode && (mode == MG_OPEN_READ || mode == MG_OPEN_WRITE || !folder_exists(fault, path, folder_size(path))))
        return mg_fail(err, MG_NOT_FOUND, "could not open %s: there is no such file", path);
    if (!inode) {
        inode = add_inode(fault, false);
        note_change(fault, NULL, path, inode);
    }
    struct fault_file *file = must(malloc(sizeof *file + strlen(path) + 1));
    *file = (struct fault_file){.file = {fault->io.ops}, .fault = fault, .inode = inode, .life = fault->life};
    memcpy(file->path, path, strlen(path) + 1);
    inode->open_count++;
    *out = &file->file;
    return MG_OK;
}

static enum mg_code fault_open(struct mg_io *io, const char *path, enum mg_open_mode mode, struct mg_file **out,
                               struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = open_locked(fault, path, mode, out, err);
    leave(fault);
    return code;
}

static void fault_close(struct mg_file *base)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    file->inode->open_count--;
    if (file->inode->locked_by == file)
        file->inode->locked_by = NULL;
    leave(file->fault);
    free(file);
}

static enum mg_code pread_locked(struct fault_file *file, void *data, size_t size, uint64_t offset,
                                 struct mg_error *err)
{
    const struct inode *inode = file->inode;
    MG_TRY(check_alive(file, err));
    MG_TRY(fail_or_not(file->fault, MG_FAULT_READ, file->path, err));
    if (size > inode->now_size || offset > inode->now_size - size)
        return mg_corrupt(err, file->path, (long long)inode->now_size, "the file ends too early");
    if (size)
        memcpy(data, inode->now + offset, size);
    if (file->fault->counted && strstr(file->path, file->fault->counted))
        file->fault->read_bytes += size;
    return MG_OK;
}

static enum mg_code fault_pread(struct mg_file *base, void *data, size_t size, uint64_t offset, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = pread_locked(file, data, size, offset, err);
    leave(file->fault);
    return code;
}

/* How much of a failing write is left. */
static uint64_t cut_of(struct mg_io_fault *fault, uint64_t size)
{
    fault->torn_bytes = size;
    if (fault->tear == UINT64_MAX)
        return mg_random_below(&fault->random, size + 1);
    return MG_MIN(fault->tear, size ? size - 1 : 0);
}

static enum mg_code pwritev_locked(struct fault_file *file, const struct iovec *pieces, int count, uint64_t offset,
                                   struct mg_error *err)
{
    struct mg_io_fault *fault = file->fault;
    uint64_t size = 0;
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    MG_TRY(check_alive(file, err));
    int error_number = strike(fault, MG_FAULT_WRITE);
    if (!error_number && !has_room(fault, file->inode, offset + size))
        error_number = ENOSPC;
    uint64_t left = error_number ? cut_of(fault, size) : size;
    for (int i = 0; i < count && left; i++) {
        uint64_t now = MG_MIN((uint64_t)pieces[i].iov_len, left);
        write_bytes(file->inode, offset, pieces[i].iov_base, now);
        offset += now;
        left -= now;
    }
    if (error_number)
        return mg_fail_errno(err, error_number, "could not write to %s", file->path);
    return MG_OK;
}

static enum mg_code fault_pwritev(struct mg_file *base, const struct iovec *pieces, int count, uint64_t offset,
                                  struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = pwritev_locked(file, pieces, count, offset, err);
    leave(file->fault);
    return code;
}

static enum mg_code fdatasync_locked(struct fault_file *file, struct mg_error *err)
{
    MG_TRY(check_alive(file, err));
    int error_number = strike(file->fault, MG_FAULT_SYNC);
    settle(file->fault, file->inode, error_number == 0, error_number == 0);
    if (error_number)
        return mg_fail_errno(err, error_number, "could not make %s durable", file->path);
    return MG_OK;
}

static enum mg_code fault_fdatasync(struct mg_file *base, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = fdatasync_locked(file, err);
    leave(file->fault);
    return code;
}

static enum mg_code allocate_locked(struct fault_file *file, uint64_t size, struct mg_error *err)
{
    MG_TRY(check_alive(file, err));
    int error_number = strike(file->fault, MG_FAULT_ALLOCATE);
    if (!error_number && !has_room(file->fault, file->inode, size))
        error_number = ENOSPC;
    if (error_number)
        return mg_fail_errno(err, error_number, "could not reserve %llu bytes for %s", (unsigned long long)size,
                             file->path);
    reserve(file->inode, size);
    file->inode->now_size = MG_MAX(file->inode->now_size, size);
    return MG_OK;
}

static enum mg_code fault_allocate(struct mg_file *base, uint64_t size, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = allocate_locked(file, size, err);
    leave(file->fault);
    return code;
}

static enum mg_code truncate_locked(struct fault_file *file, uint64_t size, struct mg_error *err)
{
    struct inode *inode = file->inode;
    MG_TRY(check_alive(file, err));
    MG_TRY(fail_or_not(file->fault, MG_FAULT_TRUNCATE, file->path, err));
    reserve(inode, size);
    if (size < inode->now_size) {
        memset(inode->now + size, 0, (size_t)(inode->now_size - size));
        wait_for_sync(inode, size, inode->now_size);
    }
    inode->now_size = size;
    return MG_OK;
}

static enum mg_code fault_truncate(struct mg_file *base, uint64_t size, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = truncate_locked(file, size, err);
    leave(file->fault);
    return code;
}

static enum mg_code fault_size(struct mg_file *base, uint64_t *out, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = check_alive(file, err);
    if (code == MG_OK)
        code = fail_or_not(file->fault, MG_FAULT_LOOK, file->path, err);
    if (code == MG_OK)
        *out = file->inode->now_size;
    leave(file->fault);
    return code;
}

static enum mg_code fault_lock(struct mg_file *base, struct mg_error *err)
{
    struct fault_file *file = file_of(base);
    enter(file->fault);
    enum mg_code code = check_alive(file, err);
    if (code == MG_OK)
        code = fail_or_not(file->fault, MG_FAULT_LOOK, file->path, err);
    if (code == MG_OK && file->inode->locked_by && file->inode->locked_by != file)
        code = mg_fail(err, MG_BUSY, "%s is locked", file->path);
    if (code == MG_OK)
        file->inode->locked_by = file;
    leave(file->fault);
    return code;
}

static enum mg_code fault_sync_folder(struct mg_io *io, const char *path, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_SYNC_FOLDER, path, err);
    if (code == MG_OK && !folder_exists(fault, path, strlen(path)))
        code = mg_fail(err, MG_NOT_FOUND, "there is no folder %s", path);
    size_t kept = 0;
    for (size_t i = 0; code == MG_OK && i < fault->pending_count; i++) {
        struct change *change = &fault->pending[i];
        if (!lies_in(change->from, path) && !lies_in(change->to, path)) {
            fault->pending[kept++] = *change;
            continue;
        }
        apply_change(&fault->disk, change);
        free_change(change);
    }
    if (code == MG_OK)
        fault->pending_count = kept;
    free_unused(fault);
    leave(fault);
    return code;
}

static enum mg_code fault_make_folder(struct mg_io *io, const char *path, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_NAME, path, err);
    if (code == MG_OK && !folder_exists(fault, path, strlen(path))) {
        if (find_name(&fault->now, path) || !folder_exists(fault, path, folder_size(path))) {
            code = mg_fail_errno(err, ENOENT, "could not make the folder %s", path);
        } else {
            struct inode *inode = add_inode(fault, true);
            set_name(&fault->now, path, inode);
            set_name(&fault->disk, path, inode);
        }
    }
    leave(fault);
    return code;
}

static enum mg_code fault_list(struct mg_io *io, const char *path, mg_name_fn *fn, void *arg, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    char **names = NULL;
    size_t count = 0;
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_LOOK, path, err);
    if (code == MG_OK && !folder_exists(fault, path, strlen(path)))
        code = mg_fail(err, MG_NOT_FOUND, "there is no folder %s", path);
    if (code == MG_OK) {
        names = must(calloc(fault->now.count + 1, sizeof *names));
        for (size_t i = 0; i < fault->now.count; i++)
            if (lies_in(fault->now.list[i].path, path))
                names[count++] = must(strdup(strrchr(fault->now.list[i].path, '/') + 1));
    }
    leave(fault);
    for (size_t i = 0; i < count; i++) {
        if (code == MG_OK)
            code = fn(arg, names[i], err);
        free(names[i]);
    }
    free(names);
    return code;
}

static enum mg_code fault_unlink(struct mg_io *io, const char *path, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_NAME, path, err);
    struct name *name = find_name(&fault->now, path);
    if (code == MG_OK && !name)
        code = mg_fail(err, MG_NOT_FOUND, "could not remove %s: there is no such file", path);
    if (code == MG_OK)
        note_change(fault, path, NULL, name->inode);
    leave(fault);
    return code;
}

static enum mg_code fault_rename(struct mg_io *io, const char *from, const char *to, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_NAME, from, err);
    struct name *name = find_name(&fault->now, from);
    if (code == MG_OK && (!name || !folder_exists(fault, to, folder_size(to))))
        code = mg_fail_errno(err, ENOENT, "could not rename %s to %s", from, to);
    if (code == MG_OK)
        note_change(fault, from, to, name->inode);
    leave(fault);
    return code;
}

static enum mg_code fault_free_space(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_LOOK, path, err);
    uint64_t used = used_bytes(fault);
    if (code == MG_OK)
        *out_bytes = fault->capacity > used ? fault->capacity - used : 0;
    leave(fault);
    return code;
}

static enum mg_code fault_disk_size(struct mg_io *io, const char *path, uint64_t *out_bytes, struct mg_error *err)
{
    struct mg_io_fault *fault = fault_of(io);
    enter(fault);
    enum mg_code code = fail_or_not(fault, MG_FAULT_LOOK, path, err);
    if (code == MG_OK)
        *out_bytes = fault->capacity;
    leave(fault);
    return code;
}

/* ---- for tests ----------------------------------------------------------------------------------------------- */

struct mg_io_fault *mg_io_fault_new(uint64_t seed)
{
    static const struct mg_io_ops ops = {
        .name = "fault",
        .open = fault_open,
        .close = fault_close,
        .pread = fault_pread,
        .pwritev = fault_pwritev,
        .fdatasync = fault_fdatasync,
        .allocate = fault_allocate,
        .truncate = fault_truncate,
        .size = fault_size,
        .sync_folder = fault_sync_folder,
        .make_folder = fault_make_folder,
        .list = fault_list,
        .unlink = fault_unlink,
        .rename = fault_rename,
        .lock = fault_lock,
        .free_space = fault_free_space,
        .disk_size = fault_disk_size,
    };
    struct mg_io_fault *fault = must(calloc(1, sizeof *fault));
    fault->io.ops = &ops;
    fault->capacity = fault->tear = UINT64_MAX;
    mg_mutex_init(&fault->lock, MG_RANK_LEAF, "io_fault");
    mg_random_init(&fault->random, seed);
    return fault;
}

void mg_io_fault_free(struct mg_io_fault *fault)
{
    if (!fault)
        return;
    for (size_t i = 0; i < fault->pending_count; i++)
        free_change(&fault->pending[i]);
    free(fault->pending);
    clear_names(&fault->now);
    clear_names(&fault->disk);
    while (fault->inodes) {
        struct inode *inode = fault->inodes;
        mg_assert(inode->open_count == 0); /* all files were closed */
        fault->inodes = inode->next;
        free_inode(inode);
    }
    mg_mutex_destroy(&fault->lock);
    free(fault);
}

struct mg_io *mg_io_fault_io(struct mg_io_fault *fault) { return &fault->io; }

void mg_io_fault_fail(struct mg_io_fault *fault, unsigned kinds, uint64_t nth, int error_number, bool for_good)
{
    mg_assert(nth > 0 && error_number != 0 && fault->plan_count < PLANS_MAX);
    enter(fault);
    fault->plans[fault->plan_count++] = (struct plan){kinds, nth, error_number, for_good};
    leave(fault);
}

void mg_io_fault_tear(struct mg_io_fault *fault, uint64_t bytes)
{
    enter(fault);
    fault->tear = bytes;
    leave(fault);
}

uint64_t mg_io_fault_torn_bytes(struct mg_io_fault *fault)
{
    enter(fault);
    uint64_t bytes = fault->torn_bytes;
    leave(fault);
    return bytes;
}

void mg_io_fault_heal(struct mg_io_fault *fault)
{
    enter(fault);
    fault->plan_count = 0;
    leave(fault);
}

uint64_t mg_io_fault_calls(struct mg_io_fault *fault, unsigned kinds)
{
    uint64_t calls = 0;
    enter(fault);
    for (unsigned bit = 0; bit < MG_COUNT_OF(fault->calls); bit++)
        if (kinds & (1u << bit))
            calls += fault->calls[bit];
    leave(fault);
    return calls;
}

void mg_io_fault_count_reads(struct mg_io_fault *fault, const char *text)
{
    enter(fault);
    fault->counted = text;
    fault->read_bytes = 0;
    leave(fault);
}

uint64_t mg_io_fault_read_bytes(struct mg_io_fault *fault)
{
    enter(fault);
    uint64_t bytes = fault->read_bytes;
    leave(fault);
    return bytes;
}

void mg_io_fault_set_capacity(struct mg_io_fault *fault, uint64_t bytes)
{
    enter(fault);
    fault->capacity = bytes;
    leave(fault);
}

static void lose_names(struct mg_io_fault *fault, enum mg_io_fault_loss loss)
{
    for (size_t i = 0; i < fault->pending_count; i++) {
        if (loss == MG_LOSE_LATER || (loss != MG_LOSE_ALL && coin(fault)))
            apply_change(&fault->disk, &fault->pending[i]);
        free_change(&fault->pending[i]);
    }
    fault->pending_count = 0;
    clear_names(&fault->now);
    for (size_t i = 0; i < fault->disk.count; i++)
        set_name(&fault->now, fault->disk.list[i].path, fault->disk.list[i].inode);
}

static void lose_bytes(struct mg_io_fault *fault, enum mg_io_fault_loss loss)
{
    for (struct inode *inode = fault->inodes; inode; inode = inode->next) {
        if (inode->capacity == 0)
            continue;
        if (loss == MG_LOSE_ALL)
            memset(inode->waiting, 0, (size_t)(inode->capacity / SECTOR));
        if (loss == MG_LOSE_TORN)
            tear_sectors(fault, inode);
        settle(fault, inode, loss == MG_LOSE_LATER, loss == MG_LOSE_LATER || (loss != MG_LOSE_ALL && coin(fault)));
        memcpy(inode->now, inode->disk, (size_t)inode->capacity);
        inode->now_size = inode->disk_size;
    }
}

void mg_io_fault_crash(struct mg_io_fault *fault, enum mg_io_fault_loss loss)
{
    enter(fault);
    fault->life++;
    fault->plan_count = 0;
    for (struct inode *inode = fault->inodes; inode; inode = inode->next)
        inode->locked_by = NULL;
    if (loss != MG_LOSE_NONE) {
        lose_names(fault, loss);
        lose_bytes(fault, loss);
    }
    free_unused(fault);
    leave(fault);
}

bool mg_io_fault_flip_bit(struct mg_io_fault *fault, const char *path, uint64_t offset_bytes, int bit)
{
    enter(fault);
    struct name *name = find_name(&fault->now, path);
    bool there = name && offset_bytes < name->inode->now_size;
    if (there) {
        name->inode->now[offset_bytes] ^= (uint8_t)(1u << bit);
        if (offset_bytes < name->inode->disk_size)
            name->inode->disk[offset_bytes] ^= (uint8_t)(1u << bit);
    }
    leave(fault);
    return there;
}
