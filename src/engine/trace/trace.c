/* trace.c -- calls of an engine, printed: what was asked, what came of it, and how long it took.
 *
 * Shape    the wrapped engine's snapshots, epochs and scans have it as their engine; the callers must see this one. So
 *          each gets an object of ours around it. One reference of a wrapped snapshot is one of ours.
 * Line     "name argument=value ... -> CODE result=value ... 12 us"; a text that fails follows in quotes.
 * Threads  tables: mg_trace_of, at start. Objects: as those inside them.
 * Idea     git's refs/debug.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/trace/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { LINE_MAX_BYTES = 1024, NAME_MAX_BYTES = 64 };

struct trace {
    struct mg_engine base;
    const struct mg_engine_ops *ops; /* of inner */
    struct mg_engine *inner;
};
struct trace_epoch {
    struct mg_epoch base;
    struct mg_epoch *inner;
};
struct trace_snapshot {
    struct mg_snapshot base;
    struct mg_snapshot *inner; /* a reference */
    _Atomic uint32_t references;
};
struct trace_scan {
    struct mg_scan base;
    struct mg_scan *inner;
    uint64_t row_count, batch_count;
};

static struct trace *trace_of(const struct mg_engine *engine) { return (struct trace *)(uintptr_t)engine; }
static struct trace_epoch *epoch_of(const struct mg_epoch *epoch) { return (struct trace_epoch *)(uintptr_t)epoch; }
static struct trace_snapshot *snapshot_of(const struct mg_snapshot *snapshot)
{
    return (struct trace_snapshot *)(uintptr_t)snapshot;
}

/* ---- lines --------------------------------------------------------------------------------------------------- */

static mg_trace_fn *line_fn;
static void *line_arg;

void mg_trace_to(mg_trace_fn *fn, void *arg)
{
    line_fn = fn;
    line_arg = arg;
}

/* A call under way. */
struct call {
    int64_t begin_ns;
    struct mg_error own, *err; /* the caller's, or own: so that the text can be printed */
    size_t size;
    char text[LINE_MAX_BYTES];
};

static void add(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int more = vsnprintf(call->text + call->size, sizeof call->text - call->size, format, args);
    va_end(args);
    if (more > 0)
        call->size = MG_MIN(call->size + (size_t)more, sizeof call->text - 1);
}

static void begin(struct call *call, struct mg_error *err, const char *name)
{
    call->own = (struct mg_error)MG_ERROR_INIT;
    call->err = err ? err : &call->own;
    call->size = 0;
    add(call, "%s", name);
    call->begin_ns = mg_mono_ns(mg_clock_system());
}

static enum mg_code finish(struct call *call, enum mg_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum mg_code finish(struct call *call, enum mg_code code, const char *format, ...)
{
    int64_t took_us = (mg_mono_ns(mg_clock_system()) - call->begin_ns) / 1000;
    char results[256] = "";
    va_list args;
    va_start(args, format);
    if (code == MG_OK)
        vsnprintf(results, sizeof results, format, args);
    va_end(args);
    add(call, " -> %s%s%s %" PRId64 " us", mg_code_name(code), results[0] ? " " : "", results, took_us);
    if (code != MG_OK)
        add(call, " \"%s\"", call->err->text);
    if (line_fn)
        line_fn(line_arg, call->text);
    else
        mg_log(MG_LOG_INFO, "trace", "%s", call->text);
    return code;
}

static enum mg_code no_memory(struct call *call)
{
    return mg_fail(call->err, MG_NO_MEMORY, "no memory to trace a call");
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

/* A table has no place for whom it wraps: each slot has an open of its own, and objects know the rest. */
static struct {
    const struct mg_engine_ops *under;
    struct mg_engine_ops ops;
    char name[NAME_MAX_BYTES];
} slots[MG_TRACE_MAX];

static enum mg_code open_slot(uint32_t slot, const struct mg_engine_options *options, struct mg_engine **out,
                              struct mg_error *err)
{
    struct call call;
    begin(&call, err, "open");
    add(&call, " engine=%s folder=%s", slots[slot].under->name, options->folder ? options->folder : "-");
    struct trace *trace = calloc(1, sizeof *trace);
    enum mg_code code = trace ? slots[slot].under->open(options, &trace->inner, call.err) : no_memory(&call);
    if (code == MG_OK) {
        trace->base.ops = &slots[slot].ops;
        trace->ops = slots[slot].under;
        *out = &trace->base;
    } else {
        free(trace);
    }
    return finish(&call, code, "%s", "");
}

#define OPEN_OF(slot)                                                                                \
    static enum mg_code open_##slot(const struct mg_engine_options *options, struct mg_engine **out, \
                                    struct mg_error *err)                                            \
    {                                                                                                \
        return open_slot(slot, options, out, err);                                                   \
    }
OPEN_OF(0)
OPEN_OF(1)
OPEN_OF(2)
OPEN_OF(3)

static void trace_close(struct mg_engine *engine)
{
    struct call call;
    if (!engine)
        return;
    struct trace *trace = trace_of(engine);
    begin(&call, NULL, "close");
    trace->ops->close(trace->inner);
    free(trace);
    (void)!finish(&call, MG_OK, "%s", "");
}

static uint64_t trace_store_id(const struct mg_engine *engine)
{
    struct call call;
    begin(&call, NULL, "store_id");
    uint64_t id = trace_of(engine)->ops->store_id(trace_of(engine)->inner);
    (void)!finish(&call, MG_OK, "store_id=%016" PRIx64, id);
    return id;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static enum mg_code trace_reserve(struct mg_engine *engine, uint64_t *out_table_id, uint64_t *out_schema_version,
                                  struct mg_error *err)
{
    struct call call;
    begin(&call, err, "reserve");
    enum mg_code code = trace_of(engine)->ops->reserve(trace_of(engine)->inner, out_table_id, out_schema_version,
                                                       call.err);
    return finish(&call, code, "table_id=%" PRIu64 " schema_version=%" PRIu64,
                  code == MG_OK && out_table_id ? *out_table_id : 0,
                  code == MG_OK && out_schema_version ? *out_schema_version : 0);
}

static enum mg_code trace_position(struct mg_engine *engine, const char *source, struct mg_source_position *out,
                                   struct mg_error *err)
{
    struct call call;
    begin(&call, err, "position");
    add(&call, " source=%s", source);
    enum mg_code code = trace_of(engine)->ops->position(trace_of(engine)->inner, source, out, call.err);
    return finish(&call, code, "watermark=%" PRIu64 " generation=%" PRIu64 " epoch=%" PRIu64 " position_bytes=%u",
                  out->watermark, out->generation, out->epoch, out->position_size);
}

static enum mg_code trace_begin(struct mg_engine *engine, const char *source, uint64_t generation,
                                struct mg_epoch **out, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "begin");
    add(&call, " source=%s generation=%" PRIu64, source, generation);
    struct trace *trace = trace_of(engine);
    struct trace_epoch *epoch = calloc(1, sizeof *epoch);
    enum mg_code code = epoch ? trace->ops->begin(trace->inner, source, generation, &epoch->inner, call.err)
                              : no_memory(&call);
    if (code == MG_OK) {
        epoch->base.engine = engine;
        *out = &epoch->base;
    } else {
        free(epoch);
    }
    return finish(&call, code, "%s", "");
}

static void add_change(struct call *call, const struct mg_schema_change *change)
{
    static const char *const kinds[] = {"?", "create_database", "drop_database", "put_table", "drop_table"};
    add(call, " kind=%s", (unsigned)change->kind < MG_COUNT_OF(kinds) ? kinds[change->kind] : "?");
    if (change->kind == MG_SCHEMA_PUT_TABLE && change->schema)
        add(call, " table=%s.%s table_id=%" PRIu64 " schema_version=%" PRIu64 " columns=%u", change->schema->database,
            change->schema->table, change->schema->table_id, change->schema->version, change->schema->column_count);
    else if (change->kind == MG_SCHEMA_DROP_TABLE)
        add(call, " table_id=%" PRIu64, change->table_id);
    else if (change->database)
        add(call, " database=%s", change->database);
}

static enum mg_code trace_change_schema(struct mg_epoch *epoch, const struct mg_schema_change *change,
                                        struct mg_error *err)
{
    struct call call;
    begin(&call, err, "change_schema");
    add_change(&call, change);
    return finish(&call, trace_of(epoch->engine)->ops->change_schema(epoch_of(epoch)->inner, change, call.err), "%s",
                  "");
}

static enum mg_code trace_put(struct mg_epoch *epoch, const struct mg_changes *changes, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "put");
    add(&call, " table_id=%" PRIu64 " schema_version=%" PRIu64 " rows=%u", changes->table_id, changes->schema_version,
        changes->rows->row_count);
    return finish(&call, trace_of(epoch->engine)->ops->put(epoch_of(epoch)->inner, changes, call.err), "%s", "");
}

static enum mg_code trace_publish(struct mg_epoch *epoch, uint64_t watermark, struct mg_slice position,
                                  uint64_t *out_epoch, struct mg_error *err)
{
    struct call call;
    uint64_t number = 0;
    begin(&call, err, "publish");
    add(&call, " watermark=%" PRIu64 " position_bytes=%zu", watermark, position.size);
    enum mg_code code =
        trace_of(epoch->engine)->ops->publish(epoch_of(epoch)->inner, watermark, position, &number, call.err);
    free(epoch_of(epoch)); /* consumed in every case */
    if (code == MG_OK && out_epoch)
        *out_epoch = number;
    return finish(&call, code, "epoch=%" PRIu64, number);
}

static void trace_abort(struct mg_epoch *epoch)
{
    struct call call;
    if (!epoch)
        return;
    begin(&call, NULL, "abort");
    trace_of(epoch->engine)->ops->abort(epoch_of(epoch)->inner);
    free(epoch_of(epoch));
    (void)!finish(&call, MG_OK, "%s", "");
}

static enum mg_code trace_checkpoint(struct mg_engine *engine, bool flush, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "checkpoint");
    add(&call, " flush=%d", flush);
    return finish(&call, trace_of(engine)->ops->checkpoint(trace_of(engine)->inner, flush, call.err), "%s", "");
}

/* ---- waiting, snapshots -------------------------------------------------------------------------------------- */

static enum mg_code trace_wait(struct mg_engine *engine, uint64_t epoch, int64_t timeout_ms, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "wait");
    add(&call, " epoch=%" PRIu64 " timeout_ms=%" PRId64, epoch, timeout_ms);
    return finish(&call, trace_of(engine)->ops->wait(trace_of(engine)->inner, epoch, timeout_ms, call.err), "%s", "");
}

static enum mg_code trace_wait_watermark(struct mg_engine *engine, const char *source, uint64_t ts, int64_t timeout_ms,
                                         struct mg_error *err)
{
    struct call call;
    begin(&call, err, "wait_watermark");
    add(&call, " source=%s ts=%" PRIu64 " timeout_ms=%" PRId64, source, ts, timeout_ms);
    return finish(&call,
                  trace_of(engine)->ops->wait_watermark(trace_of(engine)->inner, source, ts, timeout_ms, call.err),
                  "%s", "");
}

/* Takes over the reference in ours->inner if code is MG_OK, else frees ours. */
static enum mg_code give_snapshot(struct mg_engine *engine, struct trace_snapshot *ours, enum mg_code code,
                                  struct mg_snapshot **out, struct call *call)
{
    if (code != MG_OK) {
        free(ours);
        return finish(call, code, "%s", "");
    }
    ours->base.engine = engine;
    atomic_init(&ours->references, 1);
    *out = &ours->base;
    return finish(call, code, "epoch=%" PRIu64, trace_of(engine)->ops->snapshot_epoch(ours->inner));
}

static enum mg_code trace_snapshot_newest(struct mg_engine *engine, struct mg_snapshot **out, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "snapshot");
    struct trace_snapshot *ours = calloc(1, sizeof *ours);
    enum mg_code code = ours ? trace_of(engine)->ops->snapshot(trace_of(engine)->inner, &ours->inner, call.err)
                             : no_memory(&call);
    return give_snapshot(engine, ours, code, out, &call);
}

static enum mg_code trace_snapshot_at(struct mg_engine *engine, uint64_t epoch, struct mg_snapshot **out,
                                      struct mg_error *err)
{
    struct call call;
    begin(&call, err, "snapshot_at");
    add(&call, " epoch=%" PRIu64, epoch);
    struct trace_snapshot *ours = calloc(1, sizeof *ours);
    enum mg_code code = ours
                            ? trace_of(engine)->ops->snapshot_at(trace_of(engine)->inner, epoch, &ours->inner, call.err)
                            : no_memory(&call);
    return give_snapshot(engine, ours, code, out, &call);
}

static enum mg_code trace_epoch_at(struct mg_engine *engine, const char *source, uint64_t ts, uint64_t *out_epoch,
                                   struct mg_error *err)
{
    struct call call;
    begin(&call, err, "epoch_at");
    add(&call, " source=%s ts=%" PRIu64, source, ts);
    enum mg_code code = trace_of(engine)->ops->epoch_at(trace_of(engine)->inner, source, ts, out_epoch, call.err);
    return finish(&call, code, "epoch=%" PRIu64, code == MG_OK ? *out_epoch : 0);
}

/* Counting pins is not printed: that would be most of all lines. */
static struct mg_snapshot *trace_snapshot_ref(struct mg_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot_of(snapshot)->references, 1, memory_order_relaxed);
    return snapshot;
}

static void trace_snapshot_unref(struct mg_snapshot *snapshot)
{
    struct call call;
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot_of(snapshot)->references, 1, memory_order_acq_rel) > 1)
        return;
    const struct mg_engine_ops *ops = trace_of(snapshot->engine)->ops;
    begin(&call, NULL, "snapshot_unref");
    add(&call, " epoch=%" PRIu64, ops->snapshot_epoch(snapshot_of(snapshot)->inner));
    ops->snapshot_unref(snapshot_of(snapshot)->inner);
    free(snapshot_of(snapshot));
    (void)!finish(&call, MG_OK, "%s", "");
}

static uint64_t trace_snapshot_epoch(const struct mg_snapshot *snapshot)
{
    return trace_of(snapshot->engine)->ops->snapshot_epoch(snapshot_of(snapshot)->inner);
}

static uint32_t trace_snapshot_watermarks(const struct mg_snapshot *snapshot, struct mg_source_position *out,
                                          uint32_t max)
{
    return trace_of(snapshot->engine)->ops->snapshot_watermarks(snapshot_of(snapshot)->inner, out, max);
}

/* ---- what a snapshot holds ----------------------------------------------------------------------------------- */

static enum mg_code finish_schema(struct call *call, enum mg_code code, struct mg_schema *const *schema)
{
    if (code != MG_OK || !*schema)
        return finish(call, code, "%s", "none");
    return finish(call, code, "table=%s.%s table_id=%" PRIu64 " schema_version=%" PRIu64, (*schema)->database,
                  (*schema)->table, (*schema)->table_id, (*schema)->version);
}

static enum mg_code trace_table_by_name(const struct mg_snapshot *snapshot, struct mg_slice database,
                                        struct mg_slice table, struct mg_schema **out, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "table_by_name");
    add(&call, " name=%.*s.%.*s", (int)MG_MIN(database.size, (size_t)128), (const char *)database.data,
        (int)MG_MIN(table.size, (size_t)128), (const char *)table.data);
    return finish_schema(
        &call,
        trace_of(snapshot->engine)->ops->table_by_name(snapshot_of(snapshot)->inner, database, table, out, call.err),
        out);
}

static enum mg_code trace_table_by_id(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_schema **out,
                                      struct mg_error *err)
{
    struct call call;
    begin(&call, err, "table_by_id");
    add(&call, " table_id=%" PRIu64, table_id);
    return finish_schema(
        &call, trace_of(snapshot->engine)->ops->table_by_id(snapshot_of(snapshot)->inner, table_id, out, call.err),
        out);
}

static enum mg_code trace_needs_reload(struct mg_engine *engine, uint64_t table_id, struct mg_schema **out,
                                       struct mg_error *err)
{
    struct call call;
    begin(&call, err, "needs_reload");
    add(&call, " table_id=%" PRIu64, table_id);
    return finish_schema(&call, trace_of(engine)->ops->needs_reload(trace_of(engine)->inner, table_id, out, call.err),
                         out);
}

static enum mg_code trace_list_tables(const struct mg_snapshot *snapshot, mg_schema_fn *fn, void *arg,
                                      struct mg_error *err)
{
    struct call call;
    begin(&call, err, "list_tables");
    return finish(&call, trace_of(snapshot->engine)->ops->list_tables(snapshot_of(snapshot)->inner, fn, arg, call.err),
                  "%s", "");
}

static enum mg_code trace_list_databases(const struct mg_snapshot *snapshot, mg_name_item_fn *fn, void *arg,
                                         struct mg_error *err)
{
    struct call call;
    begin(&call, err, "list_databases");
    return finish(&call,
                  trace_of(snapshot->engine)->ops->list_databases(snapshot_of(snapshot)->inner, fn, arg, call.err),
                  "%s", "");
}

static enum mg_code trace_stats(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_table_stats *out,
                                struct mg_error *err)
{
    struct call call;
    begin(&call, err, "stats");
    add(&call, " table_id=%" PRIu64, table_id);
    enum mg_code code = trace_of(snapshot->engine)->ops->stats(snapshot_of(snapshot)->inner, table_id, out, call.err);
    return finish(&call, code, "rows=%" PRIu64 " size_bytes=%" PRIu64, code == MG_OK ? out->row_count : 0,
                  code == MG_OK ? out->size_bytes : 0);
}

static enum mg_code trace_column_stats(const struct mg_snapshot *snapshot, uint64_t table_id, const bool *wanted,
                                       struct mg_arena *arena, struct mg_column_stats **out, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "column_stats");
    add(&call, " table_id=%" PRIu64, table_id);
    enum mg_code code = trace_of(snapshot->engine)
                            ->ops->column_stats(snapshot_of(snapshot)->inner, table_id, wanted, arena, out, call.err);
    return finish(&call, code, "%s", "");
}

static enum mg_code trace_plan_splits(const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted,
                                      bool force, struct mg_arena *arena, struct mg_key_range **out,
                                      uint32_t *out_count, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "plan_splits");
    add(&call, " table_id=%" PRIu64 " wanted=%u force=%d", table_id, wanted, force);
    enum mg_code code = trace_of(snapshot->engine)
                            ->ops->plan_splits(snapshot_of(snapshot)->inner, table_id, wanted, force, arena, out,
                                               out_count, call.err);
    return finish(&call, code, "ranges=%u", code == MG_OK ? *out_count : 0);
}

/* ---- scans --------------------------------------------------------------------------------------------------- */

static enum mg_code trace_scan_open(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                                    struct mg_error *err)
{
    struct call call;
    begin(&call, err, "scan");
    add(&call,
        " epoch=%" PRIu64 " table_id=%" PRIu64 " columns=%u predicate=%d aggregate=%d limit=%" PRIu64 " order=%u",
        trace_snapshot_epoch(snapshot), spec->table_id, spec->column_count, spec->predicate != NULL,
        spec->aggregate != NULL, spec->limit, spec->order_count);
    struct trace_scan *scan = calloc(1, sizeof *scan);
    enum mg_code code =
        scan ? trace_of(snapshot->engine)->ops->scan(snapshot_of(snapshot)->inner, spec, &scan->inner, call.err)
             : no_memory(&call);
    if (code == MG_OK) {
        scan->base.engine = snapshot->engine;
        *out = &scan->base;
    } else {
        free(scan);
    }
    return finish(&call, code, "%s", "");
}

static enum mg_code trace_next(struct mg_scan *base, struct mg_batch **out, struct mg_error *err)
{
    struct call call;
    struct trace_scan *scan = (struct trace_scan *)base;
    begin(&call, err, "next");
    enum mg_code code = trace_of(base->engine)->ops->next(scan->inner, out, call.err);
    uint32_t rows = code == MG_OK && *out ? (*out)->row_count : 0;
    scan->row_count += rows;
    scan->batch_count += rows > 0;
    return finish(&call, code, "rows=%u", rows);
}

static void trace_scan_close(struct mg_scan *base)
{
    struct call call;
    struct trace_scan *scan = (struct trace_scan *)base;
    if (!scan)
        return;
    begin(&call, NULL, "scan_close");
    add(&call, " batches=%" PRIu64 " rows=%" PRIu64, scan->batch_count, scan->row_count);
    trace_of(base->engine)->ops->scan_close(scan->inner);
    free(scan);
    (void)!finish(&call, MG_OK, "%s", "");
}

static enum mg_code trace_find(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                               struct mg_batch **out, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "find");
    add(&call, " epoch=%" PRIu64 " table_id=%" PRIu64 " keys=%u columns=%u", trace_snapshot_epoch(snapshot),
        spec->table_id, spec->key_count, spec->column_count);
    enum mg_code code = trace_of(snapshot->engine)->ops->find(snapshot_of(snapshot)->inner, spec, rows, out, call.err);
    return finish(&call, code, "rows=%u", code == MG_OK && *out ? (*out)->row_count : 0);
}

static enum mg_code trace_verified(struct mg_engine *engine, uint64_t table_id, mg_verify_fn *fn, void *arg,
                                   struct mg_error *err)
{
    struct call call;
    begin(&call, err, "verified");
    add(&call, " table_id=%" PRIu64, table_id);
    return finish(&call, trace_of(engine)->ops->verified(trace_of(engine)->inner, table_id, fn, arg, call.err), "%s",
                  "");
}

/* ---- instructions -------------------------------------------------------------------------------------------- */

static enum mg_code trace_compact(struct mg_engine *engine, uint64_t table_id, struct mg_key_range range,
                                  uint64_t *out_id, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "compact");
    add(&call, " table_id=%" PRIu64 " low_bytes=%zu high_bytes=%zu", table_id, range.low.size, range.high.size);
    enum mg_code code = trace_of(engine)->ops->compact(trace_of(engine)->inner, table_id, range, out_id, call.err);
    return finish(&call, code, "id=%" PRIu64, code == MG_OK ? *out_id : 0);
}

static enum mg_code trace_compactions(struct mg_engine *engine, uint64_t id, mg_compaction_fn *fn, void *arg,
                                      struct mg_error *err)
{
    struct call call;
    begin(&call, err, "compactions");
    add(&call, " id=%" PRIu64, id);
    return finish(&call, trace_of(engine)->ops->compactions(trace_of(engine)->inner, id, fn, arg, call.err), "%s", "");
}

static enum mg_code trace_cancel_compaction(struct mg_engine *engine, uint64_t id, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "cancel_compaction");
    add(&call, " id=%" PRIu64, id);
    return finish(&call, trace_of(engine)->ops->cancel_compaction(trace_of(engine)->inner, id, call.err), "%s", "");
}

static enum mg_code trace_set_option(struct mg_engine *engine, enum mg_engine_option option, uint64_t value,
                                     struct mg_error *err)
{
    struct call call;
    begin(&call, err, "set_option");
    add(&call, " option=%d value=%" PRIu64, (int)option, value);
    return finish(&call, trace_of(engine)->ops->set_option(trace_of(engine)->inner, option, value, call.err), "%s", "");
}

static enum mg_code trace_status(struct mg_engine *engine, mg_status_fn *fn, void *arg, struct mg_error *err)
{
    struct call call;
    begin(&call, err, "status");
    return finish(&call, trace_of(engine)->ops->status(trace_of(engine)->inner, fn, arg, call.err), "%s", "");
}

/* ---- the tables ---------------------------------------------------------------------------------------------- */

static const struct mg_engine_ops traced = {
    .close = trace_close,
    .store_id = trace_store_id,
    .reserve = trace_reserve,
    .position = trace_position,
    .begin = trace_begin,
    .change_schema = trace_change_schema,
    .put = trace_put,
    .publish = trace_publish,
    .abort = trace_abort,
    .checkpoint = trace_checkpoint,
    .wait = trace_wait,
    .wait_watermark = trace_wait_watermark,
    .snapshot = trace_snapshot_newest,
    .snapshot_at = trace_snapshot_at,
    .epoch_at = trace_epoch_at,
    .snapshot_ref = trace_snapshot_ref,
    .snapshot_unref = trace_snapshot_unref,
    .snapshot_epoch = trace_snapshot_epoch,
    .snapshot_watermarks = trace_snapshot_watermarks,
    .table_by_name = trace_table_by_name,
    .table_by_id = trace_table_by_id,
    .needs_reload = trace_needs_reload,
    .list_tables = trace_list_tables,
    .list_databases = trace_list_databases,
    .stats = trace_stats,
    .column_stats = trace_column_stats,
    .plan_splits = trace_plan_splits,
    .scan = trace_scan_open,
    .next = trace_next,
    .scan_close = trace_scan_close,
    .find = trace_find,
    .compact = trace_compact,
    .compactions = trace_compactions,
    .cancel_compaction = trace_cancel_compaction,
    .set_option = trace_set_option,
    .verified = trace_verified,
    .status = trace_status,
};
/* A member that is new in engine.h needs a line above, and a function that unwraps what it is given. */
_Static_assert(sizeof traced == 39 * sizeof(void *), "every member of mg_engine_ops is traced");

const struct mg_engine_ops *mg_trace_of(const struct mg_engine_ops *under)
{
    static enum mg_code (*const opens[MG_TRACE_MAX])(const struct mg_engine_options *, struct mg_engine **,
                                                     struct mg_error *) = {open_0, open_1, open_2, open_3};
    for (uint32_t i = 0; i < MG_TRACE_MAX; i++) {
        if (!slots[i].under) {
            slots[i].under = under;
            snprintf(slots[i].name, sizeof slots[i].name, "trace:%s", under->name);
            slots[i].ops = traced;
            slots[i].ops.name = slots[i].name;
            slots[i].ops.open = opens[i];
        }
        if (slots[i].under == under)
            return &slots[i].ops;
    }
    return NULL;
}
