/* compaction.h -- some segments and parts of a table become one part: written beside the writer, then put in their
 * place.
 *
 *   plan (in the writer's turn) -> write -> follow* -> install (in the writer's turn) -> purge* -> clear
 *
 * Threads  the maintainer's; what says "turn" is called while no epoch is staged and none can begin.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_COMPACTION_H
#define MG_ENGINE_MAGIC_COMPACTION_H

#include "engine/magic/manifest.h"

enum { MG_MERGE_INPUTS_MAX = 16 }; /* parts that are merged in one pass */

struct mg_compaction_input {
    uint32_t slot; /* MG_PART_SLOT + place for a part */
    uint32_t segment_id;
    const struct mg_table_segment *segment; /* of the base view; NULL for a part */
    const struct mg_table_part *part;       /* of the base view; NULL for a segment */
    const struct mg_marks *followed;        /* as of the view that was followed last */
    bool gone;                              /* there, every row was dead */
    void *taken;                            /* install: what lay in the slot */
};

/* One output. A zeroed one is allowed to be cleared. */
struct mg_compaction {
    struct mg_magic *magic;
    struct mg_view *base, *seen; /* pins: what is written, and up to where later marks are translated */
    uint64_t table_id;
    uint32_t segment_id; /* of the output */
    uint32_t input_count, input_room;
    struct mg_compaction_input *inputs;
    uint64_t row_count;  /* that lived in the inputs when they were added */
    bool is_flush;       /* some input is a segment */
    bool abandoned;      /* the table is gone, or there is too little memory */
    struct mg_part *out; /* NULL before write, and when no row is left */
    uint64_t *dead;      /* a bit per row of the output */
    uint32_t dead_count;
    struct mg_wpart *installed; /* borrowed from the table, while install is under way */
};

/* Turn. Adds what lies in the slot; the base view is pinned with the first one. */
MG_MUST_CHECK enum mg_code mg_compaction__add(struct mg_compaction *compaction, struct mg_view *base,
                                              const struct mg_wtable *table, uint32_t slot, struct mg_error *err);
/* Write the part and open it. */
MG_MUST_CHECK enum mg_code mg_compaction__write(struct mg_compaction *compaction, struct mg_error *err);
/* Write the living rows of inputs that are all parts, in one pass (merge.c). */
MG_MUST_CHECK enum mg_code mg_compaction__merge(struct mg_compaction *compaction, const struct mg_schema *schema,
                                                struct mg_part_writer *writer, uint64_t *out_count,
                                                struct mg_error *err);
/* Translate marks that were made since, up to the newest view; *out_count: how many. */
MG_MUST_CHECK enum mg_code mg_compaction__follow(struct mg_compaction *compaction, uint32_t *out_count,
                                                 struct mg_error *err);
/* Turn. Put the outputs into their tables, in a manifest, and into the newest view. is_checkpoint: bring the marks
 * files of all parts up to date, too. Also without compactions. On failure everything is as before, or the writer is
 * stopped (MG_STOPPED) because what the disk holds is not known. */
MG_MUST_CHECK enum mg_code mg_compaction__install(struct mg_magic *magic, struct mg_compaction *compactions,
                                                  uint32_t count, bool is_checkpoint, struct mg_error *err);
/* Turn. Take some entries of flushed rows out of the index; false when none is left. cursor begins with 0. */
bool mg_compaction__purge(struct mg_compaction *compaction, uint64_t *cursor);
/* An output that was not installed stays a file that no manifest lists: the keeper removes it. */
void mg_compaction__clear(struct mg_compaction *compaction);

#endif
