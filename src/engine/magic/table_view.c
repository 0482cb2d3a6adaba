/* table_view.c -- the immutable objects that a view of a table is made of: made, counted, freed.
 *
 * Errors   MG_NO_MEMORY.
 * Threads  immutable after publish; references from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/magic_internal.h"

static void *take(atomic_int *references, void *object)
{
    atomic_fetch_add_explicit(references, 1, memory_order_relaxed);
    return object;
}

static bool was_last(atomic_int *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

struct mg_segment *mg_segment__new(uint32_t id, struct mg_schema *schema)
{
    struct mg_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return NULL;
    atomic_init(&segment->references, 1);
    segment->id = id;
    segment->schema = mg_schema_ref(schema);
    return segment;
}

struct mg_segment *mg_segment__ref(struct mg_segment *segment) { return take(&segment->references, segment); }

void mg_segment__unref(struct mg_segment *segment)
{
    if (!segment || !was_last(&segment->references))
        return;
    mg_schema_unref(segment->schema);
    free(segment);
}

static size_t segment_view_bytes(uint32_t chunk_count)
{
    return sizeof(struct mg_segment_view) + chunk_count * sizeof(struct mg_chunk *);
}

enum mg_code mg_segment_view__new(uint32_t chunk_count, struct mg_budget *budget, struct mg_segment_view **out,
                                  struct mg_error *err)
{
    size_t bytes = segment_view_bytes(chunk_count);
    MG_TRY(mg_budget_reserve(budget, bytes, err));
    struct mg_segment_view *view = calloc(1, bytes);
    if (!view) {
        mg_budget_release(budget, bytes);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a view of %u chunks", chunk_count);
    }
    atomic_init(&view->references, 1);
    view->budget = budget;
    view->chunk_count = chunk_count;
    *out = view;
    return MG_OK;
}

struct mg_segment_view *mg_segment_view__ref(struct mg_segment_view *view) { return take(&view->references, view); }

void mg_segment_view__unref(struct mg_segment_view *view)
{
    if (!view || !was_last(&view->references))
        return;
    for (uint32_t i = 0; i < view->chunk_count; i++)
        mg_chunk__unref(view->chunks[i]);
    mg_segment__unref(view->segment);
    mg_budget_release(view->budget, segment_view_bytes(view->chunk_count));
    free(view);
}

struct mg_column_ids *mg_column_ids__ref(struct mg_column_ids *ids) { return take(&ids->references, ids); }

void mg_column_ids__unref(struct mg_column_ids *ids)
{
    if (ids && was_last(&ids->references))
        free(ids);
}

struct mg_table *mg_table__new(uint64_t id)
{
    struct mg_table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    atomic_init(&table->references, 1);
    table->id = id;
    mg_mutex_init(&table->verify_lock, MG_RANK_LEAF, "verify");
    return table;
}

struct mg_table *mg_table__ref(struct mg_table *table) { return take(&table->references, table); }

void mg_table__unref(struct mg_table *table)
{
    if (!table || !was_last(&table->references))
        return;
    mg_mutex_destroy(&table->verify_lock);
    free(table->verify);
    free(table);
}

static size_t table_view_bytes(uint32_t segment_count, uint32_t part_count)
{
    return sizeof(struct mg_table_view) + segment_count * sizeof(struct mg_table_segment) +
           part_count * sizeof(struct mg_table_part);
}

enum mg_code mg_table_view__new(uint32_t segment_count, uint32_t part_count, struct mg_budget *budget,
                                struct mg_table_view **out, struct mg_error *err)
{
    size_t bytes = table_view_bytes(segment_count, part_count);
    MG_TRY(mg_budget_reserve(budget, bytes, err));
    struct mg_table_view *view = calloc(1, bytes);
    if (!view) {
        mg_budget_release(budget, bytes);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a view of %u segments", segment_count);
    }
    atomic_init(&view->references, 1);
    view->budget = budget;
    view->segment_count = segment_count;
    view->part_count = part_count;
    view->parts = (struct mg_table_part *)(view->segments + segment_count);
    *out = view;
    return MG_OK;
}

struct mg_table_view *mg_table_view__ref(struct mg_table_view *view) { return take(&view->references, view); }

void mg_table_view__unref(struct mg_table_view *view)
{
    if (!view || !was_last(&view->references))
        return;
    for (uint32_t i = 0; i < view->segment_count; i++) {
        mg_segment_view__unref(view->segments[i].rows);
        mg_marks__unref(view->segments[i].marks);
    }
    for (uint32_t i = 0; i < view->part_count; i++) {
        mg_part_unref(view->parts[i].part);
        mg_marks__unref(view->parts[i].marks);
    }
    mg_table__unref(view->table);
    mg_schema_unref(view->schema);
    mg_column_ids__unref(view->ids);
    mg_budget_release(view->budget, table_view_bytes(view->segment_count, view->part_count));
    free(view);
}
