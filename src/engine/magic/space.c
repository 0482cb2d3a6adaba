/* space.c -- what is done when the disk becomes full: who stops first, and what is kept for recovery.
 *
 *   free space            what waits
 *   below the reserve     merges, and compactions that were asked for
 *   below a half of it    flushes, but those that a checkpoint or short memory asks for
 *   below a quarter       the WAL begins no new segment: an epoch that needs one is refused whole, before anything of
 *                         it is written (MG_NO_SPACE); its writer tries again
 *
 * The file `reserve` holds room besides. A checkpoint that finds the disk full gives it back and is tried again: it
 * is what trims the WAL and removes old parts. It is made again once there is room. All looks again by itself: nothing
 * needs a restart.
 * Errors   what cannot be looked at counts as enough: the write itself will tell.
 * Threads  look: any; the file: under keeping.lock, or while the engine opens.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "engine/magic/manifest.h"

enum { RESERVE_ONE_IN = 50, FILE_ONE_IN = 8, FILE_BYTES_MAX = 64 << 20, FLUSHES_ONE_IN = 2, WAL_ONE_IN = 4 };
#define RESERVE_BYTES_MAX ((uint64_t)1 << 30)

static const char *const state_texts[] = {"ok", "merges wait", "flushes wait", "writes wait"};

const char *mg_space__state_text(const struct mg_magic *magic)
{
    return state_texts[atomic_load_explicit(&magic->space.state, memory_order_relaxed)];
}

uint64_t mg_space__reserve(const struct mg_magic *magic)
{
    return atomic_load_explicit(&magic->space.reserve_bytes, memory_order_relaxed);
}

static enum mg_space_state state_of(const struct mg_magic *magic, uint64_t free_bytes, uint64_t reserve)
{
    if (free_bytes >= reserve)
        return MG_SPACE_OK;
    if (free_bytes >= reserve / FLUSHES_ONE_IN)
        return MG_SPACE_MERGES_WAIT;
    uint64_t for_wal = reserve ? reserve / WAL_ONE_IN + magic->space.wal_segment_bytes : 0;
    return free_bytes >= for_wal ? MG_SPACE_FLUSHES_WAIT : MG_SPACE_WRITES_WAIT;
}

enum mg_space_state mg_space__look(struct mg_magic *magic)
{
    struct mg_space *space = &magic->space;
    uint64_t free_bytes, reserve = mg_space__reserve(magic);
    if (magic->io->ops->free_space(magic->io, magic->folder, &free_bytes, NULL) != MG_OK)
        free_bytes = UINT64_MAX;
    enum mg_space_state state = state_of(magic, free_bytes, reserve);
    atomic_store_explicit(&space->free_bytes, free_bytes, memory_order_relaxed);
    int before = atomic_exchange_explicit(&space->state, (int)state, memory_order_relaxed);
    if (before != (int)state)
        mg_log(state > MG_SPACE_OK ? MG_LOG_WARN : MG_LOG_INFO, "engine",
               "disk: %s free_bytes=%" PRIu64 " reserve_bytes=%" PRIu64, state_texts[state], free_bytes, reserve);
    return state;
}

bool mg_space__has_room(struct mg_magic *magic, uint64_t bytes)
{
    mg_space__look(magic);
    uint64_t free_bytes = atomic_load_explicit(&magic->space.free_bytes, memory_order_relaxed);
    uint64_t reserve = mg_space__reserve(magic);
    return free_bytes >= reserve && free_bytes - reserve >= bytes;
}

enum mg_code mg_space__check_merge(struct mg_magic *magic, uint64_t bytes, struct mg_error *err)
{
    if (mg_space__has_room(magic, bytes))
        return MG_OK;
    uint64_t free_bytes = atomic_load_explicit(&magic->space.free_bytes, memory_order_relaxed);
    uint64_t reserve = mg_space__reserve(magic);
    return mg_fail(err, MG_NO_SPACE,
                   "a merge of %" PRIu64 " bytes waits: %" PRIu64 " are free at %s, of which %" PRIu64 " are reserved",
                   bytes, free_bytes, magic->folder, reserve);
}

void mg_space__set_reserve(struct mg_magic *magic, uint64_t bytes)
{
    uint64_t size;
    if (bytes == 0) { /* by the disk's size; a disk without one has no end */
        if (magic->io->ops->disk_size(magic->io, magic->folder, &size, NULL) != MG_OK || size == UINT64_MAX)
            size = 0;
        bytes = MG_MIN(size / RESERVE_ONE_IN, RESERVE_BYTES_MAX);
    }
    atomic_store_explicit(&magic->space.reserve_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&magic->space.wal_keep_bytes, bytes / WAL_ONE_IN, memory_order_relaxed);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static void path_of(const struct mg_magic *magic, char path[MG_PATH_MAX])
{
    snprintf(path, MG_PATH_MAX, "%s/reserve", magic->folder);
}

bool mg_space__release(struct mg_magic *magic)
{
    char path[MG_PATH_MAX];
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    if (atomic_load_explicit(&magic->space.file_bytes, memory_order_relaxed) == 0)
        return false;
    path_of(magic, path);
    atomic_store_explicit(&magic->space.file_bytes, 0, memory_order_relaxed);
    if (mg_io_open(magic->io, path, MG_OPEN_WRITE, &file, NULL) != MG_OK || mg_file_truncate(file, 0, NULL) != MG_OK ||
        magic->io->ops->unlink(magic->io, path, NULL) != MG_OK)
        return false;
    mg_log(MG_LOG_WARN, "engine", "disk: the reserve in %s is given back, so that a checkpoint can be written", path);
    return true;
}

static enum mg_code make_file(struct mg_magic *magic, const char *path, uint64_t bytes)
{
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    MG_TRY(mg_io_open(magic->io, path, MG_OPEN_CREATE, &file, NULL));
    MG_TRY(mg_file_truncate(file, 0, NULL));
    return mg_file_allocate(file, bytes, NULL);
}

void mg_space__refill(struct mg_magic *magic)
{
    struct mg_space *space = &magic->space;
    char path[MG_PATH_MAX];
    uint64_t reserve = mg_space__reserve(magic);
    uint64_t bytes = MG_MIN(reserve / FILE_ONE_IN, (uint64_t)FILE_BYTES_MAX);
    uint64_t there = atomic_load_explicit(&space->file_bytes, memory_order_relaxed);
    if (there || bytes == 0 || mg_space__look(magic) != MG_SPACE_OK ||
        atomic_load_explicit(&space->free_bytes, memory_order_relaxed) - reserve < bytes)
        return;
    path_of(magic, path);
    if (make_file(magic, path, bytes) == MG_OK)
        atomic_store_explicit(&space->file_bytes, bytes, memory_order_relaxed);
    else
        (void)!magic->io->ops->unlink(magic->io, path, NULL);
}

void mg_space__open(struct mg_magic *magic)
{
    char path[MG_PATH_MAX];
    uint64_t bytes = 0;
    MG_CLEANUP(mg_file_closep) struct mg_file *file = NULL;
    path_of(magic, path);
    if (mg_io_open(magic->io, path, MG_OPEN_READ, &file, NULL) == MG_OK && mg_file_size(file, &bytes, NULL) == MG_OK)
        atomic_store_explicit(&magic->space.file_bytes, bytes, memory_order_relaxed);
    mg_space__refill(magic);
}
