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

struct mg_asked;

/* What a merge looks at between two batches: whether it is to end, and how fast it may go (pace.c). */
struct mg_pace {
    struct mg_magic *magic;
    struct mg_asked *asked;   /* counts and cancels; NULL: nobody asked for it */
    uint64_t unchecked_bytes; /* that went by since the disk was looked at */
};
/* So many rows went from inputs to the output. May sleep. MG_CANCELLED: the engine closes, or who asked has
 * cancelled. MG_NO_SPACE: flushes wait for room, too. */
MG_MUST_CHECK enum mg_code mg_pace__step(struct mg_pace *pace, uint64_t rows, uint64_t bytes, struct mg_error *err);

struct mg_compaction_input {
    uint32_t slot; /* MG_PART_SLOT + place for a part, as of plan; install looks parts up by their ids */
    uint32_t segment_id;
    uint32_t first_row, end_row;            /* of a part: those in the output's range */
    const struct mg_table_segment *segment; /* of the base view; NULL for a part */
    const struct mg_table_part *part;       /* of the base view; NULL for a segment */
    const struct mg_marks *followed;        /* as of the view that was followed last */
    bool gone;                              /* there, every row was dead */
    void *taken;                            /* install: what lay in the slot */
};

/* One output. A zeroed one is allowed to be cleared. The pieces of one merge follow one another, have the same inputs,
 * and are installed together. */
struct mg_compaction {
    struct mg_magic *magic;
    struct mg_budget *budget;    /* of flushes or of merges */
    struct mg_pace *pace;        /* NULL: a flush */
    struct mg_buffer low, high;  /* of the keys that go into this piece; empty: open */
    bool is_piece;               /* not the first of its merge */
    struct mg_view *base, *seen; /* pins: what is written, and up to where later marks are translated */
    uint64_t table_id;
    uint32_t segment_id; /* of the output */
    uint32_t input_count, input_room;
    struct mg_compaction_input *inputs;
    uint64_t row_count;  /* that lived in the inputs when they were added */
    bool is_flush;       /* some input is a segment */
    bool abandoned;      /* the table is gone, or there is too little memory */
    bool is_done;        /* installed */
    bool stays_busy;     /* so is the output, as another pass of the same compaction takes it */
    struct mg_part *out; /* NULL before write, and when no row is left */
    uint64_t *dead;      /* a bit per row of the output */
    uint32_t dead_count;
    struct mg_wpart *installed; /* borrowed from the table, while install is under way */
};

/* Some outputs that are written one after the other and installed together. */
struct mg_round {
    struct mg_magic *magic;
    struct mg_lane *lane; /* whose merges; NULL: none, or by hand all */
    struct mg_pace pace;
    struct mg_view *newest; /* borrowed, while planning: it stays the newest during the turn */
    bool flush_all, is_checkpoint;
    uint64_t only_table;       /* flushes: 0: all */
    enum mg_space_state space; /* when it was planned */
    struct mg_compaction *items;
    uint32_t count, room;
};

/* Turn. One more output, with a number of its own; borrowed until the next. */
MG_MUST_CHECK enum mg_code mg_round__add(struct mg_round *round, struct mg_compaction **out, struct mg_error *err);
/* Turn. Merges of all tables that are due, as the lane takes them (merge_plan.c). */
MG_MUST_CHECK enum mg_code mg_round__plan_merges(struct mg_round *round, struct mg_error *err);
/* Turn. These parts (places, rising) of the table become pieces of about part_rows_max rows. */
MG_MUST_CHECK enum mg_code mg_round__plan_merge(struct mg_round *round, struct mg_wtable *table, const uint32_t *places,
                                                uint32_t count, struct mg_error *err);
/* Where the pieces of the merge that begins with items[first] are cut; *out_next: behind its last piece. */
MG_MUST_CHECK enum mg_code mg_round__cut(struct mg_round *round, uint32_t first, uint32_t *out_next,
                                         struct mg_error *err);
/* Write, follow, install, purge, sweep. */
MG_MUST_CHECK enum mg_code mg_round__run(struct mg_round *round, struct mg_error *err);
/* Gives back what was not installed. */
void mg_round__clear(struct mg_round *round);
uint64_t mg_wtable__part_rows_max(const struct mg_magic *magic, const struct mg_wtable *table);
uint32_t mg_wpart__living(const struct mg_wpart *part);

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
/* Turn. Its parts may be merged by others. */
void mg_compaction__release(const struct mg_compaction *compaction);
/* An output that was not installed stays a file that no manifest lists: the keeper removes it. */
void mg_compaction__clear(struct mg_compaction *compaction);

#endif
