/* tracker.c -- schema jobs to schema changes.
 *
 * Order of one job's changes  names that stand in the way go first, then databases, then tables; so every single change
 * is one that an
 *                             engine accepts.
 * Names in the way            When the source says that a name is this table's, whatever else holds it here is out of
 *                             date (a table that the first look at the source showed before its turn in the stream
 *                             came): it goes.
 * Memory                      JSON and what is read from it live in arenas that are gone after each call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/tracker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "engine/name.h"
#include "syncer/decoder/mapping.h"

#define EXISTED_BEFORE "it existed before Magic's first record"

enum {
    HISTORY_PAGE = 64,          /* jobs asked for at once */
    HISTORY_PAGES_MAX = 100000, /* a bound for a loop that a broken answer could make endless */
    PATH_MAX_BYTES = 1024,
    QUERY_MAX_BYTES = 160, /* of a statement in a reason */
};
#define ANSWER_MAX ((size_t)2 << 30)              /* bytes of one answer and what is read from it */
#define USER_TABLE_ID_MAX INT64_C(0xFFFFFFFFFFFF) /* ids above are the source's own, in memory */

struct mg_tracker {
    struct mg_tracker_options options;
    char *source_name;
    struct mg_tracked_table **tables; /* by source_id, rising */
    uint32_t table_count, table_room;
    char **databases;
    uint32_t database_count, database_room;
    int64_t *ignored; /* rising */
    uint32_t ignored_count, ignored_room;
};

/* ---- names --------------------------------------------------------------------------------------------------- */

static bool same_name(const char *a, const char *b) { return mg_name_compare(mg_slice_text(a), mg_slice_text(b)) == 0; }

static bool is_system_database(const char *name)
{
    static const char *const names[] = {"mysql", "information_schema", "performance_schema", "metrics_schema", "sys"};
    for (size_t i = 0; i < MG_COUNT_OF(names); i++)
        if (strcasecmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool is_followed(const char *database, const struct mg_tidb_table *info)
{
    return !is_system_database(database) && info->id <= USER_TABLE_ID_MAX && !info->is_view && !info->is_sequence &&
           !info->is_temporary;
}

/* ---- the picture --------------------------------------------------------------------------------------------- */

/* Room for one more item in a list of pointers or numbers. */
static enum mg_code grow(void **items, uint32_t count, uint32_t *room, size_t size, struct mg_error *err)
{
    if (count < *room)
        return MG_OK;
    uint32_t wanted = *room ? *room * 2 : 16;
    void *grown = realloc(*items, wanted * size);
    if (!grown)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %u tables", wanted);
    *items = grown;
    *room = wanted;
    return MG_OK;
}

/* Where source_id is among the tables, or would be. */
static uint32_t table_place(const struct mg_tracker *tracker, int64_t source_id)
{
    uint32_t low = 0, high = tracker->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tracker->tables[middle]->source_id < source_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct mg_tracked_table *mg_tracker_find(struct mg_tracker *tracker, int64_t source_id)
{
    uint32_t at = table_place(tracker, source_id);
    return at < tracker->table_count && tracker->tables[at]->source_id == source_id ? tracker->tables[at] : NULL;
}

uint32_t mg_tracker_count(const struct mg_tracker *tracker) { return tracker->table_count; }

struct mg_tracked_table *mg_tracker_at(struct mg_tracker *tracker, uint32_t index) { return tracker->tables[index]; }

static struct mg_tracked_table *find_name(const struct mg_tracker *tracker, const char *database, const char *name)
{
    for (uint32_t i = 0; i < tracker->table_count; i++) {
        const struct mg_schema *schema = tracker->tables[i]->schema;
        if (same_name(schema->table, name) && same_name(schema->database, database))
            return tracker->tables[i];
    }
    return NULL;
}

static enum mg_code insert_table(struct mg_tracker *tracker, struct mg_tracked_table *table, struct mg_error *err)
{
    MG_TRY(grow((void **)&tracker->tables, tracker->table_count, &tracker->table_room, sizeof *tracker->tables, err));
    uint32_t at = table_place(tracker, table->source_id);
    memmove(tracker->tables + at + 1, tracker->tables + at, (tracker->table_count - at) * sizeof *tracker->tables);
    tracker->tables[at] = table;
    tracker->table_count++;
    return MG_OK;
}

static void detach(struct mg_tracker *tracker, struct mg_tracked_table *table)
{
    if (table->attached)
        tracker->options.detach(tracker->options.detach_arg, table);
    table->attached = NULL;
}

static void free_table(struct mg_tracker *tracker, struct mg_tracked_table *table)
{
    detach(tracker, table);
    mg_schema_unref(table->schema);
    free(table);
}

/* Out of the list; the table itself lives on. */
static void take_out(struct mg_tracker *tracker, const struct mg_tracked_table *table)
{
    uint32_t at = table_place(tracker, table->source_id);
    mg_assert(at < tracker->table_count && tracker->tables[at] == table);
    memmove(tracker->tables + at, tracker->tables + at + 1, (tracker->table_count - at - 1) * sizeof *tracker->tables);
    tracker->table_count--;
}

static int find_database(const struct mg_tracker *tracker, const char *name)
{
    for (uint32_t i = 0; i < tracker->database_count; i++)
        if (same_name(tracker->databases[i], name))
            return (int)i;
    return -1;
}

static enum mg_code insert_database(struct mg_tracker *tracker, const char *name, struct mg_error *err)
{
    MG_TRY(grow((void **)&tracker->databases, tracker->database_count, &tracker->database_room,
                sizeof *tracker->databases, err));
    char *copy = strdup(name);
    if (!copy)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the name of database %s", name);
    tracker->databases[tracker->database_count++] = copy;
    return MG_OK;
}

static uint32_t ignored_place(const struct mg_tracker *tracker, int64_t source_id)
{
    uint32_t low = 0, high = tracker->ignored_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tracker->ignored[middle] < source_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool mg_tracker_is_ignored(const struct mg_tracker *tracker, int64_t source_id)
{
    uint32_t at = ignored_place(tracker, source_id);
    return source_id > USER_TABLE_ID_MAX || (at < tracker->ignored_count && tracker->ignored[at] == source_id);
}

static enum mg_code ignore(struct mg_tracker *tracker, int64_t source_id, struct mg_error *err)
{
    if (mg_tracker_is_ignored(tracker, source_id))
        return MG_OK;
    MG_TRY(grow((void **)&tracker->ignored, tracker->ignored_count, &tracker->ignored_room, sizeof *tracker->ignored,
                err));
    uint32_t at = ignored_place(tracker, source_id);
    memmove(tracker->ignored + at + 1, tracker->ignored + at, (tracker->ignored_count - at) * sizeof *tracker->ignored);
    tracker->ignored[at] = source_id;
    tracker->ignored_count++;
    return MG_OK;
}

static void stop_ignoring(struct mg_tracker *tracker, int64_t source_id)
{
    uint32_t at = ignored_place(tracker, source_id);
    if (at == tracker->ignored_count || tracker->ignored[at] != source_id)
        return;
    memmove(tracker->ignored + at, tracker->ignored + at + 1,
            (tracker->ignored_count - at - 1) * sizeof *tracker->ignored);
    tracker->ignored_count--;
}

/* ---- making one ---------------------------------------------------------------------------------------------- */

static enum mg_code load_table(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    struct mg_tracker *tracker = arg;

    if (strcmp(schema->source, tracker->source_name) != 0)
        return MG_OK;
    struct mg_tracked_table *table = calloc(1, sizeof *table);
    if (!table)
        return mg_fail(err, MG_NO_MEMORY, "no memory for table %s.%s", schema->database, schema->table);
    table->source_id = schema->source_id;
    table->schema = mg_schema_ref(schema);
    enum mg_code code = insert_table(tracker, table, err);
    if (code != MG_OK)
        free_table(tracker, table);
    return code;
}

static enum mg_code load_database(void *arg, const char *name, struct mg_error *err)
{
    return insert_database(arg, name, err);
}

static enum mg_code load(struct mg_tracker *tracker, struct mg_error *err)
{
    const struct mg_engine_ops *ops = tracker->options.engine->ops;
    struct mg_snapshot *snapshot;

    MG_TRY(ops->snapshot(tracker->options.engine, &snapshot, err));
    enum mg_code code = ops->list_databases(snapshot, load_database, tracker, err);
    if (code == MG_OK)
        code = ops->list_tables(snapshot, load_table, tracker, err);
    ops->snapshot_unref(snapshot);
    return code;
}

enum mg_code mg_tracker_new(const struct mg_tracker_options *options, struct mg_tracker **out, struct mg_error *err)
{
    struct mg_tracker *tracker = calloc(1, sizeof *tracker);

    if (tracker) {
        tracker->options = *options;
        tracker->source_name = strdup(options->source_name);
    }
    if (!tracker || !tracker->source_name) {
        mg_tracker_free(tracker);
        return mg_fail(err, MG_NO_MEMORY, "no memory to follow the schema of source %s", options->source_name);
    }
    enum mg_code code = load(tracker, err);
    if (code != MG_OK) {
        mg_tracker_free(tracker);
        return code;
    }
    *out = tracker;
    return MG_OK;
}

void mg_tracker_free(struct mg_tracker *tracker)
{
    if (!tracker)
        return;
    for (uint32_t i = 0; i < tracker->table_count; i++)
        free_table(tracker, tracker->tables[i]);
    for (uint32_t i = 0; i < tracker->database_count; i++)
        free(tracker->databases[i]);
    free(tracker->tables);
    free(tracker->databases);
    free(tracker->ignored);
    free(tracker->source_name);
    free(tracker);
}

/* ---- asking the source --------------------------------------------------------------------------------------- */

/* MG_NOT_FOUND for a table or database that is not there (TiDB answers 400 and says so in the text), MG_UNAVAILABLE for
 * whatever may go better later. */
static enum mg_code fetch(struct mg_tracker *tracker, const char *path, struct mg_arena *arena, struct mg_slice *out,
                          struct mg_error *err)
{
    struct mg_error why = MG_ERROR_INIT;
    enum mg_code code = tracker->options.source->ops->fetch(tracker->options.source, path, arena, out, &why);

    if (code == MG_OK)
        return MG_OK;
    if (code == MG_INVALID && (strstr(why.text, "[schema:1146]") || strstr(why.text, "[schema:1049]")))
        code = MG_NOT_FOUND;
    else if (code != MG_NO_MEMORY && mg_code_retryable(code))
        code = MG_UNAVAILABLE;
    return mg_fail(err, code, "%s", why.text);
}

enum mg_code mg_tracker_fetch_job(struct mg_tracker *tracker, int64_t job_id, struct mg_arena *arena,
                                  struct mg_ddl_job **out, struct mg_error *err)
{
    char path[PATH_MAX_BYTES];
    struct mg_slice text;
    struct mg_ddl_job *jobs;
    uint32_t count;

    snprintf(path, sizeof path, "/ddl/history?start_job_id=%" PRId64 "&limit=1", job_id);
    MG_TRY(fetch(tracker, path, arena, &text, err));
    MG_TRY(mg_ddl_jobs_read(text, arena, &jobs, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        if (jobs[i].id == job_id) {
            *out = &jobs[i];
            return MG_OK;
        }
    }
    return mg_fail(err, MG_NOT_FOUND, "DDL job %" PRId64 " is not in the source's history", job_id);
}

static bool shows_table(const struct mg_ddl_job *job, int64_t source_id)
{
    return mg_ddl_succeeded(job) && job->info && job->info->id == source_id;
}

enum mg_code mg_tracker_fetch_change(struct mg_tracker *tracker, const struct mg_tracked_table *table, int64_t version,
                                     struct mg_arena *arena, struct mg_ddl_job **out, bool *out_is_last,
                                     struct mg_error *err)
{
    char path[PATH_MAX_BYTES];
    struct mg_ddl_job *jobs;
    uint32_t count;
    int64_t lowest_id = 0;

    *out_is_last = false;
    for (int page = 0; page < HISTORY_PAGES_MAX; page++) {
        struct mg_slice text;
        bool older = false;

        if (page == 0)
            snprintf(path, sizeof path, "/ddl/history?limit=%d", HISTORY_PAGE);
        else
            snprintf(path, sizeof path, "/ddl/history?start_job_id=%" PRId64 "&limit=%d", lowest_id - 1, HISTORY_PAGE);
        MG_TRY(fetch(tracker, path, arena, &text, err));
        MG_TRY(mg_ddl_jobs_read(text, arena, &jobs, &count, err));
        struct mg_ddl_job *best = NULL;
        int64_t before = lowest_id;
        for (uint32_t i = 0; i < count; i++) {
            struct mg_ddl_job *job = &jobs[i];
            if (lowest_id == 0 || job->id < lowest_id)
                lowest_id = job->id;
            older = older || (job->version && job->version <= table->version);
            if (!shows_table(job, table->source_id))
                continue;
            if (job->version > version)
                *out_is_last = true;
            else if (job->version > table->version && (!best || job->version > best->version))
                best = job;
        }
        if (best) {
            *out = best;
            return MG_OK;
        }
        if (count == 0 || older || lowest_id <= 1 || lowest_id == before)
            break;
    }
    return mg_fail(err, MG_NOT_FOUND, "no finished job up to schema version %" PRId64 " changes table %s.%s", version,
                   table->schema->database, table->schema->table);
}

/* ---- single changes ------------------------------------------------------------------------------------------ */

static enum mg_code send(const struct mg_schema_sink *sink, const struct mg_schema_change *change, struct mg_error *err)
{
    return sink->change(sink->arg, change, err);
}

static enum mg_code need_database(struct mg_tracker *tracker, const char *name, const struct mg_schema_sink *sink,
                                  struct mg_error *err)
{
    if (find_database(tracker, name) >= 0)
        return MG_OK;
    struct mg_schema_change change = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = name};
    MG_TRY(send(sink, &change, err));
    return insert_database(tracker, name, err);
}

static enum mg_code drop_table(struct mg_tracker *tracker, struct mg_tracked_table *table,
                               const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_schema_change change = {.kind = MG_SCHEMA_DROP_TABLE, .table_id = table->schema->table_id};
    MG_TRY(send(sink, &change, err));
    take_out(tracker, table);
    free_table(tracker, table);
    return MG_OK;
}

/* Whatever holds this name, but for `but`, is out of date. */
static enum mg_code clear_name(struct mg_tracker *tracker, const char *database, const char *name,
                               const struct mg_tracked_table *but, const struct mg_schema_sink *sink,
                               struct mg_error *err)
{
    struct mg_tracked_table *holder = find_name(tracker, database, name);
    return holder && holder != but ? drop_table(tracker, holder, sink, err) : MG_OK;
}

/* Seals the next schema of a table, numbers it, hands it over; table is NULL for a new one. */
static enum mg_code put_schema(struct mg_tracker *tracker, struct mg_tracked_table *table, struct mg_schema *next,
                               const struct mg_schema_sink *sink, struct mg_tracked_table **out, struct mg_error *err)
{
    struct mg_engine *engine = tracker->options.engine;
    struct mg_tracked_table *fresh = NULL;

    MG_TRY(need_database(tracker, next->database, sink, err));
    MG_TRY(mg_schema_text(&next->source, mg_slice_text(tracker->source_name), err));
    next->table_id = table ? table->schema->table_id : 0;
    MG_TRY(engine->ops->reserve(engine, table ? NULL : &next->table_id, &next->version, err));
    MG_TRY(mg_schema_seal(next, err));
    if (!table) {
        table = fresh = calloc(1, sizeof *table);
        if (!table)
            return mg_fail(err, MG_NO_MEMORY, "no memory for table %s.%s", next->database, next->table);
    }
    struct mg_schema_change change = {.kind = MG_SCHEMA_PUT_TABLE, .schema = next};
    enum mg_code code = send(sink, &change, err);
    if (code == MG_OK && !fresh) {
        detach(tracker, table);
        take_out(tracker, table);
        mg_schema_unref(table->schema);
    }
    if (code == MG_OK) {
        table->source_id = next->source_id;
        table->schema = mg_schema_ref(next);
        stop_ignoring(tracker, next->source_id);
        code = insert_table(tracker, table, err);
    } else {
        free(fresh);
    }
    if (code == MG_OK && out)
        *out = table;
    return code;
}

static enum mg_code set_state(struct mg_schema *schema, enum mg_table_state state, const char *reason,
                              uint64_t good_until_ts, struct mg_error *err)
{
    schema->state = state;
    schema->good_until_ts = good_until_ts;
    return mg_schema_text(&schema->state_reason, mg_slice_text(reason), err);
}

static enum mg_code copy_schema(const struct mg_tracked_table *table, struct mg_schema **out, struct mg_error *err)
{
    *out = mg_schema_copy(table->schema);
    if (!*out)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the schema of table %s.%s", table->schema->database,
                       table->schema->table);
    return MG_OK;
}

/* A table that stays as it is but for its state, and maybe its id at the source. */
static enum mg_code put_state(struct mg_tracker *tracker, struct mg_tracked_table *table, enum mg_table_state state,
                              const char *reason, uint64_t good_until_ts, int64_t source_id,
                              const struct mg_schema_sink *sink, struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *next = NULL;

    MG_TRY(copy_schema(table, &next, err));
    MG_TRY(set_state(next, state, reason, good_until_ts, err));
    next->source_id = source_id;
    return put_schema(tracker, table, next, sink, NULL, err);
}

enum mg_code mg_tracker_mark(struct mg_tracker *tracker, struct mg_tracked_table *table, const char *reason,
                             const struct mg_schema_sink *sink, struct mg_error *err)
{
    const struct mg_schema *now = table->schema;

    if (now->state != MG_STATE_OK && sink->good_until_ts >= now->good_until_ts)
        return MG_OK;
    if (now->state == MG_STATE_NEEDS_RELOAD)
        reason = now->state_reason;
    return put_state(tracker, table, MG_STATE_NEEDS_RELOAD, reason, sink->good_until_ts, table->source_id, sink, err);
}

/* A table of which rows are missing from the start: listed, without columns. */
static enum mg_code put_placeholder(struct mg_tracker *tracker, const char *database, const struct mg_tidb_table *info,
                                    const char *reason, const struct mg_schema_sink *sink, struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *next = mg_schema_new();

    if (!next)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the schema of table %s.%s", database, info->name);
    MG_TRY(mg_schema_text(&next->database, mg_slice_text(database), err));
    MG_TRY(mg_schema_text(&next->table, mg_slice_text(info->name), err));
    MG_TRY(set_state(next, MG_STATE_NEEDS_RELOAD, reason, 0, err));
    next->source_id = info->id;
    struct mg_tracked_table *table = mg_tracker_find(tracker, info->id);
    if (table)
        MG_TRY(drop_table(tracker, table, sink, err));
    MG_TRY(clear_name(tracker, database, info->name, NULL, sink, err));
    return put_schema(tracker, NULL, next, sink, NULL, err);
}

/* ---- following jobs ------------------------------------------------------------------------------------------ */

/* "add column (DDL job 12): ALTER TABLE ..." in text, one line. */
static const char *describe(const struct mg_ddl_job *job, char text[256])
{
    char name[32];
    int used = snprintf(text, 256, "%s (DDL job %" PRId64 "): ", mg_ddl_type_name(job->type, name), job->id);

    if (used > 0 && used < 256 - QUERY_MAX_BYTES - 4) {
        size_t size = strlen(job->query);
        size_t shown = MG_MIN(size, (size_t)QUERY_MAX_BYTES);
        while (shown < size && shown > 0 && ((uint8_t)job->query[shown] & 0xc0) == 0x80)
            shown--; /* not inside a character */
        for (size_t i = 0; i < shown; i++)
            text[used++] = (uint8_t)job->query[i] < ' ' ? ' ' : job->query[i];
        snprintf(text + used, (size_t)(256 - used), "%s", shown < size ? "..." : "");
    }
    return text;
}

/* A new, empty incarnation. */
static enum mg_code create_table(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                 const struct mg_tidb_table *info, const struct mg_schema_sink *sink,
                                 struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *next = NULL;
    struct mg_tracked_table *table;

    if (!is_followed(job->database, info))
        return is_system_database(job->database) ? ignore(tracker, info->id, err) : MG_OK;
    MG_TRY(mg_tidb_schema(info, job->database, &next, err));
    table = mg_tracker_find(tracker, info->id);
    if (table) /* the first look at the source showed it before its turn in the stream */
        MG_TRY(drop_table(tracker, table, sink, err));
    MG_TRY(clear_name(tracker, job->database, info->name, NULL, sink, err));
    MG_TRY(put_schema(tracker, NULL, next, sink, &table, err));
    table->shown_column_id = info->max_column_id;
    table->version = job->version;
    return MG_OK;
}

/* The table of a job: by id; else the one of that name, if it is not followed anyhow (an exchanged partition has taken
 * its id). */
static struct mg_tracked_table *find_job_table(struct mg_tracker *tracker, int64_t source_id, const char *database,
                                               const char *name)
{
    struct mg_tracked_table *table = mg_tracker_find(tracker, source_id);
    if (table)
        return table;
    table = find_name(tracker, database, name);
    return table && table->schema->state != MG_STATE_OK ? table : NULL;
}

static enum mg_code drop_job_table(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                   const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_tracked_table *table = find_job_table(tracker, job->table_id, job->database, job->table);
    if (table)
        MG_TRY(drop_table(tracker, table, sink, err));
    return ignore(tracker, job->table_id, err); /* rows that were begun before may still come */
}

static enum mg_code drop_database(struct mg_tracker *tracker, const char *name, const struct mg_schema_sink *sink,
                                  struct mg_error *err)
{
    int at = find_database(tracker, name);

    if (at < 0)
        return MG_OK;
    for (uint32_t i = tracker->table_count; i-- > 0;) {
        struct mg_tracked_table *table = tracker->tables[i];
        if (!same_name(table->schema->database, name))
            continue;
        MG_TRY(ignore(tracker, table->source_id, err));
        MG_TRY(drop_table(tracker, table, sink, err));
    }
    struct mg_schema_change change = {.kind = MG_SCHEMA_DROP_DATABASE, .database = tracker->databases[at]};
    MG_TRY(send(sink, &change, err));
    free(tracker->databases[at]);
    tracker->databases[at] = tracker->databases[--tracker->database_count];
    return MG_OK;
}

static enum mg_code put_name(struct mg_tracker *tracker, struct mg_tracked_table *table, const char *database,
                             const char *name, int64_t source_id, const struct mg_schema_sink *sink,
                             struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *next = NULL;

    MG_TRY(copy_schema(table, &next, err));
    MG_TRY(mg_schema_text(&next->database, mg_slice_text(database), err));
    MG_TRY(mg_schema_text(&next->table, mg_slice_text(name), err));
    next->source_id = source_id;
    return put_schema(tracker, table, next, sink, NULL, err);
}

/* One table gets a new name: it is `from`'s in the job, or known by its id. */
static enum mg_code rename_table(struct mg_tracker *tracker, const struct mg_tidb_table *info,
                                 const struct mg_table_name *from, const struct mg_table_name *to,
                                 const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_tracked_table *table = find_job_table(tracker, info->id, from->database, from->table);

    if (!is_followed(to->database, info))
        return MG_OK;
    if (!table)
        return put_placeholder(tracker, to->database, info, EXISTED_BEFORE, sink, err);
    if (table->source_id == info->id && strcmp(table->schema->database, to->database) == 0 &&
        strcmp(table->schema->table, to->table) == 0)
        return MG_OK;
    MG_TRY(clear_name(tracker, to->database, to->table, table, sink, err));
    return put_name(tracker, table, to->database, to->table, info->id, sink, err);
}

/* RENAME TABLE a TO b, b TO a and its like: all tables first step aside, then each takes its last name. */
static enum mg_code rename_tables(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                  const struct mg_schema_sink *sink, struct mg_error *err)
{
    char aside[64];

    for (uint32_t i = 0; i < job->info_count; i++) {
        struct mg_tracked_table *table = mg_tracker_find(tracker, job->infos[i].id);
        if (!table)
            continue;
        snprintf(aside, sizeof aside, "#renamed-%" PRId64, table->source_id);
        if (strcmp(table->schema->table, aside) != 0)
            MG_TRY(put_name(tracker, table, table->schema->database, aside, table->source_id, sink, err));
    }
    for (uint32_t i = 0; i < job->info_count; i++) {
        const struct mg_tidb_table *info = &job->infos[i];
        bool again = false;
        for (uint32_t k = i + 1; k < job->info_count; k++)
            again = again || job->infos[k].id == info->id;
        if (again)
            continue; /* a later step names it */
        struct mg_table_name from = {job->database, ""}, to = {job->database, info->name};
        if (2 * i + 1 < job->name_count) {
            from = job->names[2 * i];
            to = job->names[2 * i + 1];
        }
        MG_TRY(rename_table(tracker, info, &from, &to, sink, err));
    }
    return MG_OK;
}

static enum mg_code rename_one(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                               const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_table_name from = {job->name_count ? job->names[0].database : job->database, job->table};
    struct mg_table_name to = {job->database, job->info->name};
    return rename_table(tracker, job->info, &from, &to, sink, err);
}

/* ---- a table that changes ------------------------------------------------------------------------------------ */

static bool same_key(const struct mg_schema *a, const struct mg_schema *b)
{
    if (a->key_count != b->key_count)
        return false;
    for (uint32_t i = 0; i < a->key_count; i++)
        if (a->columns[a->key_columns[i]].id != b->columns[b->key_columns[i]].id)
            return false;
    return true;
}

static bool same_columns(const struct mg_schema *a, const struct mg_schema *b)
{
    if (a->column_count != b->column_count)
        return false;
    for (uint32_t i = 0; i < a->column_count; i++) {
        const struct mg_column *x = &a->columns[i], *y = &b->columns[i];
        if (x->id != y->id || x->nullable != y->nullable || strcmp(x->name, y->name) != 0 ||
            strcmp(x->source_type, y->source_type) != 0)
            return false;
    }
    return true;
}

/* How many columns a job may bring and take without rewriting any: every other new id is a column whose values were
 * rewritten. */
static void allowed_columns(const struct mg_ddl_job *job, uint32_t *out_new, uint32_t *out_gone)
{
    *out_new = job->type == MG_DDL_ADD_COLUMN            ? 1
               : job->type == MG_DDL_MULTI_SCHEMA_CHANGE ? job->added_column_count
                                                         : 0;
    *out_gone = job->type == MG_DDL_DROP_COLUMN           ? 1
                : job->type == MG_DDL_MULTI_SCHEMA_CHANGE ? job->dropped_column_count
                                                          : 0;
}

/* Whether every stored row is right under the next schema, too. Columns that stay keep the collation and the value of
 * rows without them that they have in the store; only the source's idea of comparing such a column has changed. */
static enum mg_code adopt(const struct mg_ddl_job *job, const struct mg_schema *now, struct mg_schema *next,
                          bool *out_follows, struct mg_error *err)
{
    uint32_t new_count = 0, gone_count = 0, new_max, gone_max;

    *out_follows = false;
    allowed_columns(job, &new_max, &gone_max);
    if (!same_key(now, next))
        return MG_OK;
    for (uint32_t i = 0; i < now->column_count; i++)
        gone_count += mg_schema_find_id(next, now->columns[i].id) < 0;
    for (uint32_t i = 0; i < next->column_count; i++) {
        struct mg_column *column = &next->columns[i];
        int at = mg_schema_find_id(now, column->id);
        if (at < 0) {
            new_count++;
            continue;
        }
        const struct mg_column *old = &now->columns[at];
        if (!mg_schema_is_key(now, (uint32_t)at))
            column->type.collation = old->type.collation;
        if (!mg_type_equal(old->type, column->type))
            return MG_OK;
        struct mg_value missing = old->missing;
        if (missing.type.id == MG_TYPE_NONE)
            missing = (struct mg_value){.type = old->type, .is_null = true};
        MG_TRY(mg_schema_set_missing(column, &missing, err));
    }
    *out_follows = new_count <= new_max && gone_count <= gone_max;
    return MG_OK;
}

/* The job's after-image of a table that is OK. */
static enum mg_code alter_ok(struct mg_tracker *tracker, const struct mg_ddl_job *job, struct mg_tracked_table *table,
                             struct mg_schema *next, const struct mg_schema_sink *sink, struct mg_error *err)
{
    char text[256], reason[512];
    bool follows = false;

    if (next->state != MG_STATE_OK) {
        snprintf(reason, sizeof reason, "%.250s; since %s", next->state_reason, describe(job, text));
        return put_state(tracker, table, next->state, reason, sink->good_until_ts, table->source_id, sink, err);
    }
    MG_TRY(adopt(job, table->schema, next, &follows, err));
    if (!follows) {
        snprintf(reason, sizeof reason, "%s changes stored values, and no row event tells them", describe(job, text));
        return mg_tracker_mark(tracker, table, reason, sink, err);
    }
    return same_columns(table->schema, next) ? MG_OK : put_schema(tracker, table, next, sink, NULL, err);
}

static enum mg_code alter_unsupported(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                      struct mg_tracked_table *table, const struct mg_schema *next,
                                      const struct mg_schema_sink *sink, struct mg_error *err)
{
    char text[256], reason[512];
    uint64_t good_until_ts = table->schema->good_until_ts;

    if (next->state != MG_STATE_UNSUPPORTED) {
        snprintf(reason, sizeof reason, "rows are missing from before %s: %.200s", describe(job, text),
                 table->schema->state_reason);
        return put_state(tracker, table, MG_STATE_NEEDS_RELOAD, reason, good_until_ts, table->source_id, sink, err);
    }
    if (table->schema->column_count > 0 || strcmp(next->state_reason, table->schema->state_reason) == 0)
        return MG_OK;
    return put_state(tracker, table, MG_STATE_UNSUPPORTED, next->state_reason, good_until_ts, table->source_id, sink,
                     err);
}

static enum mg_code alter_table(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                const struct mg_schema_sink *sink, struct mg_error *err)
{
    MG_CLEANUP(mg_schema_unrefp) struct mg_schema *next = NULL;
    struct mg_tracked_table *table = mg_tracker_find(tracker, job->info->id);
    const int64_t source_id = job->info->id;

    if (!table || job->version <= table->version)
        return MG_OK; /* not followed, or seen already: rows of its version came first */
    MG_TRY(mg_tidb_schema(job->info, table->schema->database, &next, err));
    switch (table->schema->state) {
    case MG_STATE_OK: MG_TRY(alter_ok(tracker, job, table, next, sink, err)); break;
    case MG_STATE_UNSUPPORTED: MG_TRY(alter_unsupported(tracker, job, table, next, sink, err)); break;
    case MG_STATE_NEEDS_RELOAD: break; /* whatever it becomes, a reload will see it */
    }
    table = mg_tracker_find(tracker, source_id);
    table->version = job->version;
    table->shown_column_id = MG_MAX(table->shown_column_id, job->info->max_column_id);
    return MG_OK;
}

enum mg_code mg_tracker_catch_up(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                 const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_tracked_table *table = mg_tracker_find(tracker, job->info->id);

    mg_assert(table && mg_ddl_succeeded(job));
    switch (job->type) {
    case MG_DDL_ADD_COLUMN:
    case MG_DDL_DROP_COLUMN:
    case MG_DDL_MODIFY_COLUMN:
    case MG_DDL_MULTI_SCHEMA_CHANGE: return alter_table(tracker, job, sink, err);
    default:
        table->version = MG_MAX(table->version, job->version);
        table->shown_column_id = MG_MAX(table->shown_column_id, job->info->max_column_id);
        return MG_OK;
    }
}

/* The rows of a table change without row events, or its id does. */
static enum mg_code mark_job_table(struct mg_tracker *tracker, const struct mg_ddl_job *job, int64_t source_id,
                                   int64_t new_source_id, const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_tracked_table *table = mg_tracker_find(tracker, source_id);
    char text[256], reason[512];

    if (!table || job->version <= table->version)
        return MG_OK;
    snprintf(reason, sizeof reason, "%s changes rows without row events", describe(job, text));
    if (table->schema->state == MG_STATE_OK)
        return put_state(tracker, table, MG_STATE_NEEDS_RELOAD, reason, sink->good_until_ts, new_source_id, sink, err);
    if (new_source_id != source_id)
        return put_name(tracker, table, table->schema->database, table->schema->table, new_source_id, sink, err);
    return MG_OK;
}

/* ---- databases that come back -------------------------------------------------------------------------------- */

/* Percent-encodes a name into a path of the status port. */
static enum mg_code schema_path(const char *database, char path[PATH_MAX_BYTES], struct mg_error *err)
{
    size_t used = (size_t)snprintf(path, PATH_MAX_BYTES, "/schema/");

    for (const char *at = database; *at; at++) {
        const bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                           *at == '_' || *at == '-' || *at == '.';
        if (used + 4 > PATH_MAX_BYTES)
            return mg_fail(err, MG_TOO_BIG, "the name of database %.64s... is too long", database);
        used += (size_t)snprintf(path + used, PATH_MAX_BYTES - used, plain ? "%c" : "%%%02X", (uint8_t)*at);
    }
    return MG_OK;
}

/* The source's tables of a database now; none when it is gone. */
static enum mg_code fetch_tables(struct mg_tracker *tracker, const char *database, struct mg_arena *arena,
                                 struct mg_tidb_table **out, uint32_t *out_count, struct mg_error *err)
{
    char path[PATH_MAX_BYTES];
    struct mg_slice text;

    *out_count = 0;
    MG_TRY(schema_path(database, path, err));
    enum mg_code code = fetch(tracker, path, arena, &text, err);
    if (code == MG_NOT_FOUND)
        return MG_OK;
    MG_TRY(code);
    return mg_tidb_tables_read(text, arena, out, out_count, err);
}

static enum mg_code put_placeholders(struct mg_tracker *tracker, const char *database,
                                     const struct mg_tidb_table *infos, uint32_t count, const char *reason,
                                     const struct mg_schema_sink *sink, struct mg_error *err)
{
    MG_TRY(need_database(tracker, database, sink, err));
    for (uint32_t i = 0; i < count; i++)
        if (is_followed(database, &infos[i]) && !mg_tracker_find(tracker, infos[i].id))
            MG_TRY(put_placeholder(tracker, database, &infos[i], reason, sink, err));
    return MG_OK;
}

static enum mg_code recover_database(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                     const struct mg_schema_sink *sink, struct mg_error *err)
{
    const char *database = job->database_info ? job->database_info : job->database;
    struct mg_arena arena;
    struct mg_tidb_table *infos = NULL;
    uint32_t count;
    char text[256], reason[512];

    if (!*database || is_system_database(database))
        return MG_OK;
    mg_arena_init(&arena, ANSWER_MAX);
    snprintf(reason, sizeof reason, "%s brought back rows that were dropped here", describe(job, text));
    enum mg_code code = fetch_tables(tracker, database, &arena, &infos, &count, err);
    if (code == MG_OK)
        code = put_placeholders(tracker, database, infos, count, reason, sink, err);
    mg_arena_clear(&arena);
    return code;
}

static enum mg_code recover_table(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                                  const struct mg_schema_sink *sink, struct mg_error *err)
{
    char text[256], reason[512];

    if (!is_followed(job->database, job->info))
        return MG_OK;
    snprintf(reason, sizeof reason, "%s brought back rows that were dropped here", describe(job, text));
    return put_placeholder(tracker, job->database, job->info, reason, sink, err);
}

static enum mg_code mark_all(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                             const struct mg_schema_sink *sink, struct mg_error *err)
{
    char text[256], reason[512];

    snprintf(reason, sizeof reason, "%s changes rows without row events", describe(job, text));
    for (uint32_t i = 0; i < tracker->table_count; i++)
        MG_TRY(mg_tracker_mark(tracker, tracker->tables[i], reason, sink, err));
    return MG_OK;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------- */

/* Jobs whose after-image is compared column by column, or that carry none: all whose effect on rows is known. */
static bool is_known_type(int type)
{
    char text[32];
    return mg_ddl_type_name(type, text) != text;
}

enum mg_code mg_tracker_apply(struct mg_tracker *tracker, const struct mg_ddl_job *job,
                              const struct mg_schema_sink *sink, struct mg_error *err)
{
    if (!mg_ddl_succeeded(job))
        return MG_OK;
    switch (job->type) {
    case MG_DDL_CREATE_DATABASE: {
        const char *name = job->database_info ? job->database_info : job->database;
        return is_system_database(name) ? MG_OK : need_database(tracker, name, sink, err);
    }
    case MG_DDL_DROP_DATABASE:
        return drop_database(tracker, job->database_info ? job->database_info : job->database, sink, err);
    case MG_DDL_CREATE_TABLES:
        for (uint32_t i = 0; i < job->info_count; i++)
            MG_TRY(create_table(tracker, job, &job->infos[i], sink, err));
        return MG_OK;
    case MG_DDL_DROP_TABLE: return drop_job_table(tracker, job, sink, err);
    case MG_DDL_RENAME_TABLES: return rename_tables(tracker, job, sink, err);
    case MG_DDL_RECOVER_DATABASE: return recover_database(tracker, job, sink, err);
    case MG_DDL_FLASHBACK_CLUSTER: return mark_all(tracker, job, sink, err);
    case MG_DDL_CREATE_VIEW:
    case MG_DDL_DROP_VIEW:
    case MG_DDL_CREATE_SEQUENCE:
    case MG_DDL_ALTER_SEQUENCE:
    case MG_DDL_DROP_SEQUENCE: return MG_OK;
    default: break;
    }
    if (!job->info)
        return MG_OK; /* placement policies, resource groups, character sets of databases */
    switch (job->type) {
    case MG_DDL_CREATE_TABLE: return create_table(tracker, job, job->info, sink, err);
    case MG_DDL_TRUNCATE_TABLE:
        MG_TRY(drop_job_table(tracker, job, sink, err));
        return create_table(tracker, job, job->info, sink, err);
    case MG_DDL_RENAME_TABLE: return rename_one(tracker, job, sink, err);
    case MG_DDL_RECOVER_TABLE: return recover_table(tracker, job, sink, err);
    case MG_DDL_EXCHANGE_PARTITION: /* table_id: the table; info: the one with partitions */
        MG_TRY(mark_job_table(tracker, job, job->table_id, job->table_id, sink, err));
        return mark_job_table(tracker, job, job->info->id, job->info->id, sink, err);
    case MG_DDL_ALTER_PARTITIONING:
    case MG_DDL_REMOVE_PARTITIONING: /* the table goes on under another id */
        return mark_job_table(tracker, job, job->table_id, job->info->id, sink, err);
    case MG_DDL_DROP_PARTITION:
    case MG_DDL_TRUNCATE_PARTITION:
    case MG_DDL_REORGANIZE_PARTITION:
    case MG_DDL_REPAIR_TABLE: return mark_job_table(tracker, job, job->info->id, job->info->id, sink, err);
    default:
        if (!is_known_type(job->type))
            return mark_job_table(tracker, job, job->info->id, job->info->id, sink, err);
        return alter_table(tracker, job, sink, err);
    }
}

/* ---- tables nobody told of ----------------------------------------------------------------------------------- */

struct database_tables {
    const char *name;
    struct mg_tidb_table *infos;
    uint32_t count;
};

static enum mg_code fetch_all(struct mg_tracker *tracker, struct mg_arena *arena, struct database_tables **out,
                              uint32_t *out_count, struct mg_error *err)
{
    struct mg_slice text;
    struct mg_tidb_database *databases;
    uint32_t count, used = 0;

    MG_TRY(fetch(tracker, "/schema", arena, &text, err));
    MG_TRY(mg_tidb_databases_read(text, arena, &databases, &count, err));
    struct database_tables *all = mg_arena_array(arena, struct database_tables, count + 1);
    if (!all)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < count; i++) {
        if (is_system_database(databases[i].name))
            continue;
        struct database_tables *one = &all[used++];
        one->name = databases[i].name;
        MG_TRY(fetch_tables(tracker, one->name, arena, &one->infos, &one->count, err));
    }
    *out = all;
    *out_count = used;
    return MG_OK;
}

enum mg_code mg_tracker_start(struct mg_tracker *tracker, const struct mg_schema_sink *sink, struct mg_error *err)
{
    struct mg_arena arena;
    struct database_tables *all = NULL;
    uint32_t count = 0;

    mg_arena_init(&arena, ANSWER_MAX);
    enum mg_code code = fetch_all(tracker, &arena, &all, &count, err);
    for (uint32_t i = 0; code == MG_OK && i < count; i++)
        code = put_placeholders(tracker, all[i].name, all[i].infos, all[i].count, EXISTED_BEFORE, sink, err);
    mg_arena_clear(&arena);
    return code;
}

static enum mg_code meet(struct mg_tracker *tracker, int64_t source_id, struct mg_arena *arena,
                         const struct mg_schema_sink *sink, struct mg_error *err)
{
    char path[PATH_MAX_BYTES];
    struct mg_slice text;
    const char *database;
    struct mg_tidb_table info;

    snprintf(path, sizeof path, "/db-table/%" PRId64, source_id);
    enum mg_code code = fetch(tracker, path, arena, &text, err);
    if (code == MG_NOT_FOUND) {
        mg_log(MG_LOG_WARN, "decoder", "rows came for table id %" PRId64 ", which is gone from the source; passed over",
               source_id);
        return ignore(tracker, source_id, err);
    }
    MG_TRY(code);
    MG_TRY(mg_tidb_db_table_read(text, arena, &database, &info, err));
    struct mg_tracked_table *holder = find_name(tracker, database, info.name);
    if (!is_followed(database, &info) || (holder && holder->schema->state != MG_STATE_OK))
        return ignore(tracker, source_id, err); /* an exchanged partition's table is marked already */
    info.id = source_id;
    return put_placeholder(tracker, database, &info, "rows came for it, and nothing told that it was made", sink, err);
}

enum mg_code mg_tracker_meet(struct mg_tracker *tracker, int64_t source_id, const struct mg_schema_sink *sink,
                             struct mg_error *err)
{
    struct mg_arena arena;

    mg_arena_init(&arena, ANSWER_MAX);
    enum mg_code code = meet(tracker, source_id, &arena, sink, err);
    mg_arena_clear(&arena);
    return code;
}
