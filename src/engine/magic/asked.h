/* asked.h -- compactions that somebody asked for: queued, run one at a time, listed, cancelled.
 * Threads  asking, listing and cancelling: any. They are run by the lane of large merges, or by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_ASKED_H
#define MG_ENGINE_MAGIC_ASKED_H

#include "engine/magic/magic_internal.h"

/* One of them. Lives in keeping.asked until it is over and MG_ASKED_MAX others came. */
struct mg_asked {
    struct mg_compaction_info info; /* but for its counts; MG_GUARDED_BY(keeping.asked_lock) */
    struct mg_buffer low, high;     /* immutable */
    _Atomic bool is_cancelled;
    _Atomic uint64_t rows_total, rows_done, rows_dead, rows_written, bytes_read, bytes_written;
};

/* So many living rows went from inputs to the output. */
void mg_asked__count(struct mg_asked *asked, uint64_t rows);
/* Run the oldest that waits, unless one runs; *out_ran: there was one. What becomes of it stands in its info.
 * MG_STOPPED. */
MG_MUST_CHECK enum mg_code mg_asked__run_next(struct mg_magic *magic, bool *out_ran, struct mg_error *err);
void mg_asked__clear(struct mg_magic *magic);

/* Members of the engine's table. */
enum mg_code mg_magic__compact(struct mg_engine *engine, uint64_t table_id, struct mg_key_range range, uint64_t *out_id,
                               struct mg_error *err);
enum mg_code mg_magic__compactions(struct mg_engine *engine, uint64_t id, mg_compaction_fn *fn, void *arg,
                                   struct mg_error *err);
enum mg_code mg_magic__cancel_compaction(struct mg_engine *engine, uint64_t id, struct mg_error *err);

#endif
