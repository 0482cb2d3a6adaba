/* store.c -- the state of all tables as the writer has it, and the step from one catalogue to the next.
 *
 * Errors   MG_NO_MEMORY.
 * Threads  the writer, or the one who replays; what magic->publish guards is set under it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/random.h"
#include "engine/magic/magic_internal.h"

enum mg_code mg_store__init(struct mg_store *store, struct mg_magic *magic, bool is_private, struct mg_error *err)
{
    memset(store, 0, sizeof *store);
    store->magic = magic;
    store->is_private = is_private;
    store->rows_budget = is_private ? &magic->replay_budget : &magic->rows_budget;
    store->index_budget = is_private ? &magic->replay_budget : &magic->index_budget;
    store->marks_budget = is_private ? &magic->replay_budget : &magic->marks_budget;
    store->next_table_id = store->next_version = 1;
    MG_TRY(mg_random_secret(&store->hash_seed, sizeof store->hash_seed, err));
    store->catalog = mg_catalog__new_empty();
    return store->catalog ? MG_OK : mg_fail(err, MG_NO_MEMORY, "no memory for a catalogue");
}

void mg_store__free_scratch(struct mg_store *store)
{
    mg_budget_release(store->rows_budget, store->scratch_bytes);
    free(store->scratch);
    store->scratch = NULL;
    store->scratch_bytes = 0;
}

void mg_store__clear(struct mg_store *store)
{
    mg_assert(!store->newest);
    for (uint32_t i = 0; i < store->table_count; i++) {
        mg_wtable__free_marks(store, store->tables[i]);
        mg_wtable__free(store->tables[i]);
    }
    mg_catalog__unref(store->catalog);
    mg_store__free_scratch(store);
    free(store->tables);
    free(store->superseded);
    memset(store, 0, sizeof *store);
}

int mg_store__find_source(const struct mg_store *store, const char *name)
{
    for (uint32_t i = 0; i < store->source_count; i++)
        if (strcmp(store->sources[i].name, name) == 0)
            return (int)i;
    return -1;
}

static uint32_t lower_bound(const struct mg_store *store, uint64_t table_id)
{
    uint32_t low = 0, high = store->table_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (store->tables[middle]->table->id < table_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct mg_wtable *mg_store__find_wtable(struct mg_store *store, uint64_t table_id)
{
    uint32_t at = lower_bound(store, table_id);
    return at < store->table_count && store->tables[at]->table->id == table_id ? store->tables[at] : NULL;
}

enum mg_code mg_store__wtable(struct mg_store *store, struct mg_table *table, struct mg_wtable **out,
                              struct mg_error *err)
{
    uint32_t at = lower_bound(store, table->id);
    if (at == store->table_count || store->tables[at]->table->id != table->id) {
        MG_TRY(mg_list__reserve(&store->tables, &store->table_room, store->table_count, 1, sizeof(struct mg_wtable *),
                                err));
        struct mg_wtable *new;
        MG_TRY(mg_wtable__new(store, table, &new, err));
        memmove(store->tables + at + 1, store->tables + at, (store->table_count - at) * sizeof(struct mg_wtable *));
        store->tables[at] = new;
        store->table_count++;
    }
    *out = store->tables[at];
    return MG_OK;
}

/* ---- the next catalogue -------------------------------------------------------------------------------------- */

/* What only dropped tables show is superseded by the staged epoch. */
static enum mg_code supersede_dropped(struct mg_store *store, const struct mg_catalog *next, struct mg_error *err)
{
    for (uint32_t i = 0; next != store->catalog && i < store->catalog->table_count; i++) {
        const struct mg_table_view *view = store->catalog->tables[i];
        if (mg_catalog__find_id(next, view->table->id) >= 0)
            continue;
        for (uint32_t s = 0; s < view->segment_count; s++)
            MG_TRY(mg_wtable__supersede_marks(store, view->segments[s].marks, err));
        for (uint32_t p = 0; p < view->part_count; p++)
            MG_TRY(mg_wtable__supersede_marks(store, view->parts[p].marks, err));
    }
    return MG_OK;
}

static enum mg_code renew_tables(struct mg_store *store, struct mg_catalog *catalog, struct mg_error *err)
{
    for (uint32_t i = 0; i < store->table_count; i++) {
        struct mg_wtable *table = store->tables[i];
        if (!table->staged)
            continue;
        int at = mg_catalog__find_id(catalog, table->table->id);
        mg_assert(at >= 0); /* a table gets no rows in the epoch that drops it */
        struct mg_table_view *view;
        MG_TRY(mg_wtable__view(store, table, catalog->tables[at], &view, err));
        mg_table_view__unref(catalog->tables[at]);
        catalog->tables[at] = view;
    }
    return MG_OK;
}

enum mg_code mg_store__next_catalog(struct mg_store *store, const struct mg_catalog *from, struct mg_catalog **out,
                                    struct mg_error *err)
{
    bool staged = false;
    for (uint32_t i = 0; i < store->table_count; i++)
        staged |= store->tables[i]->staged;
    MG_TRY(supersede_dropped(store, from, err));
    if (!staged) {
        *out = mg_catalog__ref((struct mg_catalog *)(uintptr_t)from);
        return MG_OK;
    }
    struct mg_catalog *catalog;
    MG_TRY(mg_catalog__copy(from, &catalog, err));
    enum mg_code code = renew_tables(store, catalog, err);
    if (code != MG_OK) {
        mg_catalog__unref(catalog);
        return code;
    }
    *out = catalog;
    return MG_OK;
}

uint64_t mg_store__delta_bytes(const struct mg_store *store)
{
    uint64_t bytes = 0;
    for (uint32_t t = 0; t < store->table_count; t++) {
        const struct mg_wtable *table = store->tables[t];
        for (uint32_t slot = 0; slot < table->slot_count; slot++)
            bytes += table->slots[slot] ? table->slots[slot]->bytes : 0;
    }
    return bytes;
}

static void note_flow(struct mg_store *store, struct mg_wtable *table)
{
    struct mg_flow *flows[] = {&table->table->flow, &store->magic->keeping.flow};
    for (size_t i = 0; i < MG_COUNT_OF(flows); i++) {
        atomic_fetch_add_explicit(&flows[i]->in_bytes, table->in_bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&flows[i]->wal_bytes, table->wal_bytes, memory_order_relaxed);
    }
    mg_count(engine_in_bytes, table->in_bytes);
    table->in_bytes = table->wal_bytes = 0;
}

void mg_store__committed(struct mg_store *store, struct mg_catalog *catalog)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < store->table_count; i++) {
        struct mg_wtable *table = store->tables[i];
        int at = mg_catalog__find_id(catalog, table->table->id);
        if (at < 0) { /* dropped; its marks are garbage of the view that still shows it */
            mg_wtable__free(table);
            continue;
        }
        if (table->staged) {
            mg_count(engine_marks, table->marked.count);
            atomic_fetch_add_explicit(&store->verify_failed, mg_verify__committed(table), memory_order_relaxed);
            note_flow(store, table);
            mg_wtable__committed(table, catalog->tables[at]);
        }
        store->tables[kept++] = table;
    }
    store->table_count = kept;
    mg_catalog__unref(store->catalog);
    store->catalog = mg_catalog__ref(catalog);
}

void mg_store__abort(struct mg_store *store)
{
    for (uint32_t i = 0; i < store->table_count; i++) {
        mg_wtable__abort(store, store->tables[i]);
        store->tables[i]->in_bytes = store->tables[i]->wal_bytes = 0;
    }
    store->superseded_count = 0; /* they are still in the published marks */
}
