/* status.c -- what the engine has to say about itself: names, values and units for people and tests.
 *
 * Threads  any; numbers of one call need not be of one moment, but those of the newest view are.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

struct teller {
    mg_status_fn *fn;
    void *arg;
    struct mg_error *err;
};

static enum mg_code tell(const struct teller *teller, const char *name, uint64_t value, const char *unit)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return teller->fn(teller->arg, name, text, unit, teller->err);
}

/* What the lock guards, copied. */
struct guarded {
    struct mg_view *view;
    uint64_t epoch, view_count, oldest_epoch, pins, private_count, earliest_epoch, manifests, delta_bytes;
    bool stopped;
    char stopped_text[MG_ERROR_TEXT_MAX];
};

static void copy_guarded(struct mg_magic *magic, struct guarded *out)
{
    memset(out, 0, sizeof *out);
    mg_mutex_lock(&magic->publish);
    out->epoch = magic->store.epoch;
    out->view_count = magic->store.view_count;
    out->oldest_epoch = magic->store.oldest->epoch;
    for (const struct mg_view *view = magic->store.oldest; view; view = view->newer)
        out->pins += view->pins;
    out->pins--; /* the newest has one of its own */
    for (const struct mg_store *store = magic->privates; store; store = store->next_private) {
        out->private_count++;
        out->pins += store->newest->pins;
    }
    out->manifests = magic->kept_count;
    const struct mg_kept *oldest = mg_keeper__oldest(magic);
    out->earliest_epoch = oldest ? oldest->epoch : 0;
    out->delta_bytes = magic->store.delta_bytes;
    out->stopped = magic->stopped;
    memcpy(out->stopped_text, magic->stopped_text, sizeof out->stopped_text);
    out->view = mg_view__pin(magic->store.newest);
    mg_mutex_unlock(&magic->publish);
}

/* Bytes written per byte that came in. */
static void amplification(const struct mg_flow *flow, char text[32])
{
    uint64_t in = atomic_load(&flow->in_bytes);
    uint64_t out = atomic_load(&flow->wal_bytes) + atomic_load(&flow->flushed_bytes) + atomic_load(&flow->merged_bytes);
    snprintf(text, 32, "%.2f", in ? (double)out / (double)in : 0.0);
}

enum { TABLES_TOLD = 100 };

static uint64_t in_bytes(const struct mg_table_view *table) { return atomic_load(&table->table->flow.in_bytes); }

/* In place i, or behind all: the tables that most bytes came into, falling. */
static uint32_t note_busy(const struct mg_table_view **busy, uint32_t count, const struct mg_table_view *table)
{
    uint32_t at = count;
    while (at > 0 && in_bytes(busy[at - 1]) < in_bytes(table))
        at--;
    if (at == TABLES_TOLD)
        return count;
    count = MG_MIN(count + 1, (uint32_t)TABLES_TOLD);
    memmove(busy + at + 1, busy + at, (count - at - 1) * sizeof busy[0]);
    busy[at] = table;
    return count;
}

/* A line for each of the busiest tables. */
static enum mg_code tell_table_flows(const struct teller *teller, const struct mg_catalog *catalog)
{
    const struct mg_table_view *busy[TABLES_TOLD];
    uint32_t count = 0;
    for (uint32_t i = 0; i < catalog->table_count; i++)
        if (in_bytes(catalog->tables[i]))
            count = note_busy(busy, count, catalog->tables[i]);
    for (uint32_t i = 0; i < count; i++) {
        const struct mg_flow *flow = &busy[i]->table->flow;
        char name[2 * MG_NAME_MAX + 16], value[256], times[32];
        amplification(flow, times);
        snprintf(name, sizeof name, "writes.%s.%s", busy[i]->schema->database, busy[i]->schema->table);
        snprintf(value, sizeof value,
                 "in=%llu wal=%llu flushed=%llu merged=%llu amplification=%s reclaimed_rows=%llu parts=%u",
                 (unsigned long long)in_bytes(busy[i]), (unsigned long long)atomic_load(&flow->wal_bytes),
                 (unsigned long long)atomic_load(&flow->flushed_bytes),
                 (unsigned long long)atomic_load(&flow->merged_bytes), times,
                 (unsigned long long)atomic_load(&flow->reclaimed), busy[i]->part_count);
        MG_TRY(teller->fn(teller->arg, name, value, "bytes", teller->err));
    }
    return MG_OK;
}

static enum mg_code tell_tables(const struct teller *teller, const struct mg_catalog *catalog)
{
    uint64_t live = 0, dead = 0, segments = 0, chunks = 0, parts = 0, part_bytes = 0, files_most = 0;
    for (uint32_t i = 0; i < catalog->table_count; i++) {
        const struct mg_table_view *table = catalog->tables[i];
        live += table->live_count;
        segments += table->segment_count;
        for (uint32_t s = 0; s < table->segment_count; s++) {
            chunks += table->segments[s].rows->chunk_count;
            dead += table->segments[s].marks ? table->segments[s].marks->dead_count : 0;
        }
        uint64_t files = table->part_count;
        for (uint32_t p = 0; p < table->part_count; p++) {
            parts++;
            files += table->parts[p].marks != NULL;
            part_bytes += mg_part_file_bytes(table->parts[p].part);
            dead += table->parts[p].marks ? table->parts[p].marks->dead_count : 0;
        }
        files_most = MG_MAX(files_most, files);
        MG_TRY(mg_verify__tell(table->table, table->schema, teller->fn, teller->arg, teller->err));
    }
    MG_TRY(tell(teller, "tables", catalog->table_count, "tables"));
    MG_TRY(tell(teller, "rows", live, "rows"));
    MG_TRY(tell(teller, "rows_deleted", dead, "rows"));
    MG_TRY(tell(teller, "segments", segments, "segments"));
    MG_TRY(tell(teller, "chunks", chunks, "chunks"));
    MG_TRY(tell(teller, "parts", parts, "parts"));
    MG_TRY(tell(teller, "table_files_most", files_most, "files"));
    MG_TRY(tell(teller, "parts_bytes", part_bytes, "bytes"));
    return tell_table_flows(teller, catalog);
}

static enum mg_code tell_memory(const struct teller *teller, struct mg_magic *magic)
{
    size_t left = mg_budget_left(&magic->budget);
    MG_TRY(tell(teller, "memory_used_bytes", mg_budget_used(&magic->budget), "bytes"));
    MG_TRY(tell(teller, "memory_left_bytes", left == SIZE_MAX ? UINT64_MAX : left, "bytes"));
    MG_TRY(tell(teller, "memory_rows_bytes", mg_budget_used(&magic->rows_budget), "bytes"));
    MG_TRY(tell(teller, "memory_index_bytes", mg_budget_used(&magic->index_budget), "bytes"));
    MG_TRY(tell(teller, "memory_marks_bytes", mg_budget_used(&magic->marks_budget), "bytes"));
    MG_TRY(tell(teller, "memory_cache_bytes", mg_budget_used(&magic->cache_budget), "bytes"));
    MG_TRY(tell(teller, "memory_flushes_bytes", mg_budget_used(&magic->flush_budget), "bytes"));
    MG_TRY(tell(teller, "memory_parts_bytes", mg_budget_used(&magic->parts_budget), "bytes"));
    MG_TRY(tell(teller, "memory_sealed_bytes", mg_budget_used(&magic->sealing.budget), "bytes"));
    MG_TRY(tell(teller, "memory_merges_bytes", mg_budget_used(&magic->merge_budget), "bytes"));
    return tell(teller, "memory_replay_bytes", mg_budget_used(&magic->replay_budget), "bytes");
}

/* Rows on disk that only old snapshots show. */
static enum mg_code tell_sealed(const struct teller *teller, const struct mg_sealing *sealing)
{
    MG_TRY(tell(teller, "sealed_bytes", atomic_load(&sealing->bytes), "bytes"));
    MG_TRY(tell(teller, "sealed_file_bytes", atomic_load(&sealing->file_bytes), "bytes"));
    MG_TRY(tell(teller, "sealed_files", atomic_load(&sealing->file_count), "files"));
    return tell(teller, "sealed_total_bytes", atomic_load(&sealing->total_bytes), "bytes");
}

static enum mg_code tell_flow(const struct teller *teller, const struct mg_flow *flow)
{
    char text[32];
    MG_TRY(tell(teller, "in_bytes", atomic_load(&flow->in_bytes), "bytes"));
    MG_TRY(tell(teller, "wal_rows_bytes", atomic_load(&flow->wal_bytes), "bytes"));
    MG_TRY(tell(teller, "flushed_bytes", atomic_load(&flow->flushed_bytes), "bytes"));
    MG_TRY(tell(teller, "merged_bytes", atomic_load(&flow->merged_bytes), "bytes"));
    MG_TRY(tell(teller, "rows_reclaimed", atomic_load(&flow->reclaimed), "rows"));
    amplification(flow, text);
    return teller->fn(teller->arg, "write_amplification", text, "x", teller->err);
}

static enum mg_code tell_maintenance(const struct teller *teller, struct mg_magic *magic)
{
    struct mg_keeping *keeping = &magic->keeping;
    struct mg_cache_stats cache;
    mg_cache_stats(magic->cache, &cache);
    MG_TRY(tell(teller, "flushes", atomic_load(&keeping->flush_count), "parts"));
    MG_TRY(tell(teller, "merges", atomic_load(&keeping->merge_count), "parts"));
    MG_TRY(tell(teller, "spills", atomic_load(&keeping->spill_count), "parts"));
    MG_TRY(tell(teller, "checkpoints", atomic_load(&keeping->checkpoint_count), "checkpoints"));
    MG_TRY(tell(teller, "maintenance_failed", atomic_load(&keeping->failed_count), "rounds"));
    MG_TRY(tell_flow(teller, &keeping->flow));
    MG_TRY(tell_sealed(teller, &magic->sealing));
    mg_space__look(magic);
    MG_TRY(teller->fn(teller->arg, "disk", mg_space__state_text(magic), "", teller->err));
    MG_TRY(tell(teller, "disk_free_bytes", atomic_load(&magic->space.free_bytes), "bytes"));
    MG_TRY(tell(teller, "disk_reserve_bytes", mg_space__reserve(magic), "bytes"));
    MG_TRY(tell(teller, "disk_reserve_file_bytes", atomic_load(&magic->space.file_bytes), "bytes"));
    MG_TRY(tell(teller, "merge_throttle", atomic_load(&keeping->throttle), "bytes/s"));
    MG_TRY(tell(teller, "cache_hits", cache.hit_count, "blocks"));
    return tell(teller, "cache_misses", cache.miss_count, "blocks");
}

static enum mg_code tell_all(const struct teller *teller, struct mg_magic *magic, const struct guarded *now)
{
    char id[20];
    snprintf(id, sizeof id, "%016llx", (unsigned long long)magic->store_id);
    MG_TRY(teller->fn(teller->arg, "engine", "magic", "", teller->err));
    MG_TRY(teller->fn(teller->arg, "store_id", id, "", teller->err));
    MG_TRY(teller->fn(teller->arg, "writer", now->stopped ? "stopped" : "ok", "", teller->err));
    if (now->stopped)
        MG_TRY(teller->fn(teller->arg, "stopped_reason", now->stopped_text, "", teller->err));
    MG_TRY(tell(teller, "epoch", now->epoch, ""));
    MG_TRY(tell(teller, "pins", now->pins, "snapshots"));
    MG_TRY(tell(teller, "views", now->view_count, "epochs"));
    MG_TRY(tell(teller, "views_rebuilt", now->private_count, "epochs"));
    MG_TRY(tell(teller, "oldest_view_epoch", now->oldest_epoch, ""));
    MG_TRY(tell(teller, "earliest_epoch", now->earliest_epoch, ""));
    MG_TRY(tell(teller, "delta_bytes", now->delta_bytes, "bytes"));
    MG_TRY(tell(teller, "manifests", now->manifests, "files"));
    MG_TRY(tell_tables(teller, now->view->catalog));
    uint64_t failed = atomic_load_explicit(&magic->store.verify_failed, memory_order_relaxed);
    MG_TRY(tell(teller, "verify_failed", failed, "rows"));
    MG_TRY(tell_memory(teller, magic));
    MG_TRY(tell_maintenance(teller, magic));
    MG_TRY(tell(teller, "wal_bytes", mg_journal_bytes(magic->journal), "bytes"));
    return tell(teller, "wal_syncs", mg_journal_syncs(magic->journal), "syncs");
}

enum mg_code mg_magic__status(struct mg_engine *engine, mg_status_fn *fn, void *arg, struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    struct teller teller = {fn, arg, err};
    struct guarded now;
    copy_guarded(magic, &now);
    enum mg_code code = tell_all(&teller, magic, &now);
    mg_view__unpin(now.view);
    return code;
}
