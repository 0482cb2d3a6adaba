/* view.c -- published epochs: swapped in, pinned, and freed with what nobody else sees.
 *
 * Views are a list, oldest to newest, of those with a pin; the newest has one of its own. Most of what a view reaches
 * is counted and goes with its last reference. Versions of marks are not counted, they are too many: a version made by
 * epoch e and superseded by epoch s is seen by the views in [e, s). When s is published, the version hangs on the
 * newest of them, the view before; when a view ends, each version that hangs on it moves to the next older live view if
 * that is at or above e, and is freed otherwise. So a version is touched once per view that sees it and ends, and lives
 * exactly as long as a view in [e, s). Why that is safe: a reader reaches a version only through the array of marks of
 * the view that it pins; an array holds only versions that its view sees; and no new view can come to see an old
 * version, as views are only added at the newest end.
 * Threads   lists and pins: magic->publish. Freeing happens outside of it, on the thread that gave the last pin back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum mg_code mg_view__new(struct mg_store *store, uint64_t epoch, struct mg_catalog *catalog, uint32_t source_count,
                          struct mg_view **out, struct mg_error *err)
{
    struct mg_view *view = calloc(1, sizeof *view + source_count * sizeof view->sources[0]);
    if (!view)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a view");
    view->base.engine = &store->magic->base;
    view->store = store;
    view->epoch = epoch;
    view->pins = 1;
    view->catalog = mg_catalog__ref(catalog);
    view->source_count = source_count;
    for (uint32_t i = 0; i < MG_MIN(source_count, store->source_count); i++) {
        const struct mg_source_state *source = &store->sources[i];
        view->sources[i] = (struct mg_view_source){source->name, source->watermark, source->generation, source->epoch};
    }
    *out = view;
    return MG_OK;
}

void mg_view__discard(struct mg_view *view)
{
    if (!view)
        return;
    mg_catalog__unref(view->catalog);
    free(view);
}

struct mg_view *mg_view__swap(struct mg_store *store, struct mg_view *view, struct mg_garbage *garbage)
{
    mg_assert_held(&store->magic->publish);
    struct mg_view *before = store->newest;
    mg_assert(before || !garbage);
    view->older = before;
    if (before) {
        before->newer = view;
        if (garbage) {
            garbage->next = before->garbage;
            before->garbage = garbage;
        }
    } else {
        store->oldest = view;
    }
    store->newest = view;
    store->view_count++;
    return before;
}

struct mg_view *mg_view__pin(struct mg_view *view)
{
    mg_assert_held(&view->store->magic->publish);
    view->pins++;
    return view;
}

/* ---- garbage ------------------------------------------------------------------------------------------------- */

enum mg_code mg_garbage__take(struct mg_store *store, struct mg_garbage **out, struct mg_error *err)
{
    *out = NULL;
    if (store->superseded_count == 0)
        return MG_OK;
    struct mg_garbage *garbage = malloc(sizeof *garbage + store->superseded_count * sizeof garbage->versions[0]);
    if (!garbage)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a list of %u superseded marks", store->superseded_count);
    garbage->next = NULL;
    garbage->count = store->superseded_count;
    memcpy(garbage->versions, store->superseded, store->superseded_count * sizeof garbage->versions[0]);
    store->superseded_count = 0;
    *out = garbage;
    return MG_OK;
}

/* Free the versions that a view of `epoch` (0: no view) does not see; the others stay. */
static void sweep(struct mg_store *store, struct mg_garbage *garbage, bool has_older, uint64_t epoch)
{
    uint32_t kept = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < garbage->count; i++) {
        struct mg_mark_version *version = garbage->versions[i];
        if (has_older && version->epoch <= epoch) {
            garbage->versions[kept++] = version;
            continue;
        }
        bytes += mg_mark_version__bytes(version);
        free(version);
    }
    garbage->count = kept;
    mg_budget_release(store->marks_budget, bytes);
}

/* What is left of a view's garbage for the next older view. */
static struct mg_garbage *sweep_all(struct mg_store *store, struct mg_garbage *list, const struct mg_view *older)
{
    struct mg_garbage *kept = NULL;
    while (list) {
        struct mg_garbage *garbage = list;
        list = garbage->next;
        sweep(store, garbage, older != NULL, older ? older->epoch : 0);
        if (garbage->count == 0) {
            free(garbage);
            continue;
        }
        garbage->next = kept;
        kept = garbage;
    }
    return kept;
}

void mg_garbage__free(struct mg_store *store, struct mg_garbage *garbage)
{
    if (!garbage)
        return;
    sweep(store, garbage, false, 0);
    free(garbage);
}

/* ---- the last pin -------------------------------------------------------------------------------------------- */

static void unlink_view(struct mg_view *view)
{
    struct mg_store *store = view->store;
    mg_assert_held(&store->magic->publish);
    if (view->older)
        view->older->newer = view->newer;
    else
        store->oldest = view->newer;
    if (view->newer)
        view->newer->older = view->older;
    else
        store->newest = view->older;
    store->view_count--;
}

static void unlink_private(struct mg_store *store)
{
    mg_assert_held(&store->magic->publish);
    struct mg_store **place = &store->magic->privates;
    while (*place && *place != store)
        place = &(*place)->next_private;
    if (*place)
        *place = store->next_private;
}

/* Give one pin back. Returns the older view that took over garbage, with a pin to give back, too; or NULL. */
static struct mg_view *unpin_one(struct mg_view *view)
{
    struct mg_store *store = view->store;
    struct mg_mutex *publish = &store->magic->publish;
    mg_mutex_lock(publish);
    mg_assert(view->pins > 0);
    if (--view->pins) {
        mg_mutex_unlock(publish);
        return NULL;
    }
    unlink_view(view);
    if (store->is_private)
        unlink_private(store);
    struct mg_view *older = view->garbage ? view->older : NULL;
    if (older)
        mg_view__pin(older); /* stays the next older one until it has the garbage */
    mg_mutex_unlock(publish);

    struct mg_garbage *garbage = sweep_all(store, view->garbage, older);
    mg_view__discard(view);
    if (store->is_private) {
        mg_store__clear(store);
        free(store);
    }
    if (!garbage)
        return older;
    mg_mutex_lock(publish);
    struct mg_garbage **end = &older->garbage;
    while (*end)
        end = &(*end)->next;
    *end = garbage;
    mg_mutex_unlock(publish);
    return older;
}

void mg_view__unpin(struct mg_view *view)
{
    while (view)
        view = unpin_one(view);
}
