/* state.c -- the state that a table is in at a snapshot: what its schema says there, and what became known since.
 *
 * Late     A transaction can be settled when watermarks above its commit were already shown. Those snapshots lack it
 *          and never change: there the table's schema goes on saying OK. What is known now is the engine's
 *          needs_reload, by incarnation, so that a table which was renamed, dropped or made again since is told apart.
 *          At a snapshot with a watermark of the table's source above good_until_ts the table must be loaded again,
 *          too. It is asked at each plan, each ticket and each list; a stream that has begun goes on.
 * Errors   TABLE_UNSUPPORTED and TABLE_NEEDS_RELOAD carry the table's reason.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "connector/flight/flight_internal.h"

const char *mg_flight__state_name(enum mg_table_state state)
{
    switch (state) {
    case MG_STATE_OK: return "ok";
    case MG_STATE_UNSUPPORTED: return "unsupported";
    case MG_STATE_NEEDS_RELOAD: return "needs-reload";
    }
    return "?";
}

/* 0: the snapshot holds nothing of that source. */
static enum mg_code watermark_of(const struct mg_snapshot *snapshot, const char *source, uint64_t *out,
                                 struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_source_position *positions = calloc(MG_SOURCES_MAX, sizeof *positions);

    if (!positions)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the watermarks");
    uint32_t count = snapshot->engine->ops->snapshot_watermarks(snapshot, positions, MG_SOURCES_MAX);
    *out = 0;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(positions[i].source, source) == 0)
            *out = positions[i].watermark;
    return MG_OK;
}

/* Whether the mark says more about this snapshot than the schema there. */
static enum mg_code reaches(const struct mg_schema *mark, const struct mg_snapshot *snapshot,
                            const struct mg_schema *schema, bool *out, struct mg_error *err)
{
    uint64_t watermark;

    if (schema->state == MG_STATE_NEEDS_RELOAD) {
        *out = mark->good_until_ts < schema->good_until_ts;
        return MG_OK;
    }
    MG_TRY(watermark_of(snapshot, schema->source, &watermark, err));
    *out = watermark > mark->good_until_ts;
    return MG_OK;
}

enum mg_code mg_flight__state_at(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                 struct mg_arena *arena, struct mg_flight__state *out, struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *mark = NULL;
    const struct mg_schema *from = schema;
    bool reached = false;

    if (schema->state != MG_STATE_UNSUPPORTED)
        MG_TRY(snapshot->engine->ops->needs_reload(snapshot->engine, schema->table_id, &mark, err));
    if (mark)
        MG_TRY(reaches(mark, snapshot, schema, &reached, err));
    if (reached)
        from = mark;
    *out = (struct mg_flight__state){.state = from->state, .good_until_ts = from->good_until_ts};
    if (from->state_reason) {
        out->reason = mg_arena_text(arena, mg_slice_text(from->state_reason));
        if (!out->reason)
            return mg_arena_fail(arena, err);
    }
    return MG_OK;
}

enum mg_code mg_flight__table_check(const struct mg_snapshot *snapshot, const struct mg_schema *schema,
                                    struct mg_arena *arena, struct mg_error *err)
{
    struct mg_flight__state at;

    MG_TRY(mg_flight__state_at(snapshot, schema, arena, &at, err));
    const char *reason = at.reason ? at.reason : "no reason is recorded";
    switch (at.state) {
    case MG_STATE_OK: return MG_OK;
    case MG_STATE_UNSUPPORTED:
        return mg_fail(err, MG_TABLE_UNSUPPORTED, "table %s.%s cannot be held by this version: %s", schema->database,
                       schema->table, reason);
    case MG_STATE_NEEDS_RELOAD:
        if (at.good_until_ts == 0)
            return mg_fail(err, MG_TABLE_NEEDS_RELOAD,
                           "table %s.%s must be loaded again: %s; no snapshot of it is valid", schema->database,
                           schema->table, reason);
        return mg_fail(err, MG_TABLE_NEEDS_RELOAD,
                       "table %s.%s must be loaded again: %s; snapshots as of %" PRIu64 " or before are valid",
                       schema->database, schema->table, reason, at.good_until_ts);
    }
    return mg_fail(err, MG_INTERNAL, "table %s.%s has an unknown state (%d)", schema->database, schema->table,
                   (int)at.state);
}
