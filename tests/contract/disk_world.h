/* disk_world.h -- one scripted history of the magic engine on a disk in memory, for tests that run it with a disaster.
 *
 * It makes every kind of file: WAL, parts of two tables, marks, manifests, an old epoch to open, a column that came
 * later, a table that was dropped, epochs that go to parts while they are staged. Every step can fail, and says so;
 * what a reader saw after each epoch is a story that another run is compared with.
 * Threads  one. Errors of the world itself end the test.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_TESTS_CONTRACT_DISK_WORLD_H
#define MG_TESTS_CONTRACT_DISK_WORLD_H

#include "base/io_fault.h"
#include "engine/engine.h"

enum { EPOCHS_MAX = 64, TEXT_MAX = 4096, WORLD_STEPS = 27 };

/* What a reader saw after each published epoch. */
struct story {
    char people[EPOCHS_MAX][TEXT_MAX], things[EPOCHS_MAX][TEXT_MAX];
    uint64_t newest;
};

struct world {
    const struct mg_engine_ops *ops; /* magic's, or a table that wraps it; set it before world_open */
    struct mg_io_fault *disk;
    struct mg_engine *engine;
    struct mg_budget budget;
    uint64_t stage_bytes; /* by world_init: what a put of a dozen rows takes */
    struct mg_schema *people, *wider, *things, *gone;
    struct story story;
};

void world_init(struct world *w, uint64_t seed);
void world_clear(struct world *w);
enum mg_code world_open_limited(struct world *w, size_t limit_bytes, uint64_t segment_bytes, struct mg_error *err);
enum mg_code world_open(struct world *w, struct mg_error *err);
void world_close(struct world *w); /* nothing is reserved any more */

/* An epoch with one schema change, or with changes of one table; w->story.newest is its number. */
enum mg_code world_change(struct world *w, enum mg_schema_change_kind kind, struct mg_schema *schema,
                          uint64_t table_id);
enum mg_code world_rows(struct world *w, const struct mg_schema *schema, const char *changes);
enum mg_code world_flush(struct world *w);
/* Ask for a compaction, which a round then does; MG_IO when it failed. *out may be NULL. */
enum mg_code world_compact(struct world *w, uint64_t table_id, struct mg_compaction_info *out);
/* Stage what is stage_bytes many times over, of keys from first on; world_much ends the epoch, too. */
enum mg_code world_stage_much(struct world *w, struct mg_epoch *epoch, int first);
enum mg_code world_much(struct world *w, int first, bool publishes);
/* The history, step by step; MG_NOT_FOUND behind the last. */
enum mg_code world_step(struct world *w, unsigned number);
/* A step that publishes nothing: it may fail, and the history goes on. */
bool world_is_flush(unsigned number);

/* A table's rows, or a word for what there is in their place. */
void world_look(struct mg_snapshot *snapshot, uint64_t table_id, char text[TEXT_MAX]);
/* Write what the newest snapshot shows into w->story. */
void world_note(struct world *w);
/* A snapshot shows what the story says of its epoch. */
void world_compare(const struct story *story, struct mg_snapshot *snapshot);
/* The newest epoch is `newest`, and every one that can be opened is what it was. */
void world_compare_all(struct world *w, const struct story *story, uint64_t newest);
/* The whole history on a good disk. */
void world_tell(struct world *w);

#endif
