/* io_fault.h -- a file system in memory that fails, tears and loses on demand: the disk of our tests.
 *
 * Fault model
 *   failing call   the Nth call of chosen kinds gives an error, once or from then on. A failing write leaves a prefix
 *                  of its bytes; a failing sync makes some sectors durable and forgets that the others were waiting, as
 *                  Linux does.
 *   power cut      mg_io_fault_crash: of what was not synced none, some or all stays. Sectors of 512 bytes are whole,
 *                  old or new, in no order; with MG_LOSE_TORN some are new up to a byte and old behind it. A file's
 *                  size and a folder's names (created, renamed, removed) are kept or lost likewise, a rename as one
 *                  step; mg_file_sync keeps size and bytes, ops->sync_folder keeps names.
 *   torn write     mg_io_fault_tear says at which byte failing writes are cut; MG_LOSE_LATER then keeps exactly that.
 *   full disk      a capacity in bytes; allocate, and writes that make a file longer, then give MG_NO_SPACE.
 *   Not modelled   a new folder is durable at once; latent damage (use mg_io_fault_flip_bit).
 * One seed makes everything repeatable, as long as calls come in the same order.
 * Threads  any: one mutex inside, of rank LEAF.
 * Idea     SQLite's test6.c. For tests only: the library is mg_base_fault.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_IO_FAULT_H
#define MG_BASE_IO_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/io.h"

struct mg_io_fault;

enum mg_io_fault_kind {
    MG_FAULT_OPEN = 1,
    MG_FAULT_READ = 2,
    MG_FAULT_WRITE = 4,
    MG_FAULT_SYNC = 8,
    MG_FAULT_ALLOCATE = 16,
    MG_FAULT_TRUNCATE = 32,
    MG_FAULT_SYNC_FOLDER = 64,
    MG_FAULT_NAME = 128, /* make_folder, rename, unlink */
    MG_FAULT_LOOK = 256, /* list, size, lock, free_space, disk_size */
    MG_FAULT_ANY = 511,
    MG_FAULT_CHANGE = MG_FAULT_WRITE | MG_FAULT_SYNC | MG_FAULT_ALLOCATE | MG_FAULT_TRUNCATE | MG_FAULT_SYNC_FOLDER |
                      MG_FAULT_NAME,
};

enum mg_io_fault_loss {
    MG_LOSE_ALL,  /* power cut: nothing that was not synced is left */
    MG_LOSE_SOME, /* power cut: a random subset is left, whatever its order was */
    MG_LOSE_NONE, /* only the process died: a power cut later still loses what waits */
    MG_LOSE_TORN, /* power cut: a random subset, and sectors may be torn at any byte */
    /* power cut: the disk took all in order, up to now; of a write that failed, its first bytes */
    MG_LOSE_LATER,
};

/* An empty disk without limit. Ends the process when the heap is out, as all of this file: it serves tests. */
struct mg_io_fault *mg_io_fault_new(uint64_t seed);
/* All files are closed. NULL is allowed. */
void mg_io_fault_free(struct mg_io_fault *fault);
/* The seam; lives as long as fault. */
struct mg_io *mg_io_fault_io(struct mg_io_fault *fault);

/* The nth call from now (1 = the next) among kinds fails with that errno; all later ones of the kinds too if for_good.
 * Up to 8 may be planned. */
void mg_io_fault_fail(struct mg_io_fault *fault, unsigned kinds, uint64_t nth, int error_number, bool for_good);
/* Failing writes leave their first `bytes` bytes (or all but one, if they are shorter). Without: a random number. */
void mg_io_fault_tear(struct mg_io_fault *fault, uint64_t bytes);
/* Bytes that the last failing write was to have; 0: none failed so far. */
uint64_t mg_io_fault_torn_bytes(struct mg_io_fault *fault);
/* Whether the calling thread is in a call of some fault disk: its own memory must not be made to fail. */
bool mg_io_fault_is_inside(void);
/* Forget what was planned. */
void mg_io_fault_heal(struct mg_io_fault *fault);
/* Calls so far among kinds, failing ones included: for sweeps over every N. */
uint64_t mg_io_fault_calls(struct mg_io_fault *fault, unsigned kinds);
/* From now on count the bytes that are read from files whose paths hold that text, which is borrowed. */
void mg_io_fault_count_reads(struct mg_io_fault *fault, const char *text);
/* What was counted so far. */
uint64_t mg_io_fault_read_bytes(struct mg_io_fault *fault);
void mg_io_fault_set_capacity(struct mg_io_fault *fault, uint64_t bytes);
/* Power cut or death of the process, and power back: open files give MG_IO from now on (closing them is right), locks
 * are gone, planned failures are forgotten. */
void mg_io_fault_crash(struct mg_io_fault *fault, enum mg_io_fault_loss loss);
/* Flip one bit, in what is read and on the disk. False when the file does not reach that far. */
bool mg_io_fault_flip_bit(struct mg_io_fault *fault, const char *path, uint64_t offset_bytes, int bit);

#endif
