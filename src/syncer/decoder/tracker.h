/* tracker.h -- follows the source's schema: which table has which id, columns and state, job by job.
 *
 * The tracker's picture of the source is the store's own catalogue: it is read from the engine when the tracker is
 * made, and moves on with each schema change that it hands to the engine. A job of the DDL history is compared with
 * that picture by column id, so applying one twice changes nothing. What it cannot follow makes a table needs-reload,
 * with a reason that names the statement.
 *
 * States of a table, and what moves it (docs/design/tidb-schema.md):
 *
 *     (none) --create, truncate--> OK --a DDL that changes rows, a row that cannot be decoded--> NEEDS_RELOAD
 *     (none) --it was there before the first record, recover--> NEEDS_RELOAD --truncate--> OK, a new incarnation
 *     OK or (none) --a type or key that cannot be kept--> UNSUPPORTED --the column goes--> NEEDS_RELOAD
 *     UNSUPPORTED or NEEDS_RELOAD --rows are missing from before it became so--> NEEDS_RELOAD, good for less
 *
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_TRACKER_H
#define MG_SYNCER_TRACKER_H

#include "engine/engine.h"
#include "syncer/decoder/job.h"
#include "syncer/source/source.h"

struct mg_tracker;

/* A table of the source. Valid until the next call that changes schemas. */
struct mg_tracked_table {
    int64_t source_id;
    struct mg_schema *schema; /* what the engine has; owned reference */
    int64_t shown_column_id;  /* highest column id that a finished job has shown; 0: not looked up yet */
    int64_t version;          /* of the last job that was applied to it in this process; 0: none yet */
    void *attached;           /* the caller's, see mg_tracker_options */
};

struct mg_tracker_options {
    struct mg_engine *engine;
    struct mg_source *source; /* for fetch */
    const char *source_name;  /* tables of other sources are not looked at */
    /* The table is about to change or go: give up what is attached. */
    void (*detach)(void *arg, struct mg_tracked_table *table);
    void *detach_arg;
};

MG_MUST_CHECK enum mg_code mg_tracker_new(const struct mg_tracker_options *options, struct mg_tracker **out,
                                          struct mg_error *err);
void mg_tracker_free(struct mg_tracker *tracker); /* NULL is allowed; detaches */

/* NULL when it is not tracked. */
struct mg_tracked_table *mg_tracker_find(struct mg_tracker *tracker, int64_t source_id);
uint32_t mg_tracker_count(const struct mg_tracker *tracker);
struct mg_tracked_table *mg_tracker_at(struct mg_tracker *tracker, uint32_t index);

/* Tables of which nobody wants rows: of system databases, or gone. Remembered for this process. */
bool mg_tracker_is_ignored(const struct mg_tracker *tracker, int64_t source_id);

/* ---- asking the source: MG_UNAVAILABLE when it cannot be asked now; results live in the arena ---- */

/* The job with that id; MG_NOT_FOUND when the history does not have it (yet). */
MG_MUST_CHECK enum mg_code mg_tracker_fetch_job(struct mg_tracker *tracker, int64_t job_id, struct mg_arena *arena,
                                                struct mg_ddl_job **out, struct mg_error *err);
/* The last job that finished on this table at or below schema version `version`, and has not been applied here;
 * MG_NOT_FOUND. *out_is_last says that the history holds a later one of the same table: no other job at or below
 * `version` will come. */
MG_MUST_CHECK enum mg_code mg_tracker_fetch_change(struct mg_tracker *tracker, const struct mg_tracked_table *table,
                                                   int64_t version, struct mg_arena *arena, struct mg_ddl_job **out,
                                                   bool *out_is_last, struct mg_error *err);

/* ---- changes: each goes to the sink first, in the order in which the engine needs it, and then into the picture. When
 * the sink fails at the
 *      first one nothing has changed; later, the tracker can only be freed. ---- */

struct mg_schema_sink {
    enum mg_code (*change)(void *arg, const struct mg_schema_change *change, struct mg_error *err);
    void *arg;
    uint64_t good_until_ts; /* snapshots of tables that become needs-reload are good up to here */
};

/* What the source has now: databases, and every table as needs-reload, "existed before Magic's first record". For a
 * store that has nothing of this source yet. */
MG_MUST_CHECK enum mg_code mg_tracker_start(struct mg_tracker *tracker, const struct mg_schema_sink *sink,
                                            struct mg_error *err);
/* One job. A job that failed, or concerns nothing that is tracked, changes nothing. MG_UNAVAILABLE: nothing was
 * changed. */
MG_MUST_CHECK enum mg_code mg_tracker_apply(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                            const struct mg_schema_sink *sink, struct mg_error *err);
/* What mg_tracker_fetch_change found, because rows of its schema version came before its own record: its columns are
 * followed now (when its record comes, it changes nothing), and the column ids that it shows are known. */
MG_MUST_CHECK enum mg_code mg_tracker_catch_up(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                               const struct mg_schema_sink *sink, struct mg_error *err);
/* Rows came for an id that is not tracked: it becomes a needs-reload table, or ignored (a system table, or one that is
 * gone by now). */
MG_MUST_CHECK enum mg_code mg_tracker_meet(struct mg_tracker *tracker, int64_t source_id,
                                           const struct mg_schema_sink *sink, struct mg_error *err);
/* The table becomes needs-reload, if it is OK now, or was taken to be good for longer than the sink says. */
MG_MUST_CHECK enum mg_code mg_tracker_mark(struct mg_tracker *tracker, struct mg_tracked_table *table,
                                           const char *reason, const struct mg_schema_sink *sink, struct mg_error *err);

#endif
