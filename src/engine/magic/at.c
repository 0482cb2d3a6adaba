/* at.c -- snapshots of epochs that are not the newest: pinned when a view is live, else rebuilt: from the newest kept
 * manifest that is not above it, and the WAL from there on.
 *
 * A rebuilt epoch is a private store that holds nothing but that one view: it shares no memory with the engine's own,
 * which goes on as if nothing happened. While it is pinned, whoever asks for the same epoch gets it, too.
 * Errors   MG_SNAPSHOT_NOT_YET; MG_NO_MEMORY when the private copy does not fit into what the budget has left.
 * Threads  any; replay takes no lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/stop.h"
#include "engine/magic/magic_internal.h"

static struct mg_view *find_live(struct mg_magic *magic, uint64_t epoch)
{
    mg_assert_held(&magic->publish);
    struct mg_view *view = magic->store.newest;
    while (view && view->epoch > epoch)
        view = view->older;
    if (view && view->epoch == epoch)
        return view;
    for (struct mg_store *store = magic->privates; store; store = store->next_private)
        if (store->newest->epoch == epoch)
            return store->newest;
    return NULL;
}

static enum mg_code rebuild(struct mg_magic *magic, uint64_t epoch, struct mg_view **out, struct mg_error *err)
{
    struct mg_store *store = malloc(sizeof *store);
    if (!store)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a store");
    struct mg_kept *kept = NULL;
    enum mg_code code = mg_store__init(store, magic, true, err);
    if (code == MG_OK)
        code = mg_keeper__pin(magic, epoch, &kept, err);
    MG_STOP("at.kept");
    if (code == MG_OK && kept)
        code = mg_store__open_at(store, kept->number, epoch, err);
    else if (code == MG_OK)
        code = mg_store__replay_wal(store, magic->journal, epoch, NULL, NULL, err);
    if (code == MG_OK)
        code = mg_store__finish_replay(store, err);
    mg_keeper__unpin(magic, kept);
    if (code == MG_SNAPSHOT_TOO_OLD) {
        mg_store__clear(store);
        free(store);
        return code;
    }
    if (code != MG_OK) {
        mg_store__clear(store);
        free(store);
        return mg_fail_in(
            err, code, "epoch %llu is not held by a reader and could not be rebuilt from the WAL (%zu bytes are left)",
            (unsigned long long)epoch, mg_budget_left(&magic->budget));
    }
    MG_STOP("at.rebuilt");
    mg_mutex_lock(&magic->publish);
    store->next_private = magic->privates;
    magic->privates = store;
    *out = store->newest; /* with its one pin */
    mg_mutex_unlock(&magic->publish);
    return MG_OK;
}

enum mg_code mg_magic__snapshot_at(struct mg_engine *engine, uint64_t epoch, struct mg_snapshot **out,
                                   struct mg_error *err)
{
    struct mg_magic *magic = mg_magic__of(engine);
    mg_mutex_lock(&magic->publish);
    uint64_t newest = magic->store.epoch;
    struct mg_view *view = epoch <= newest ? find_live(magic, epoch) : NULL;
    if (view)
        mg_view__pin(view);
    mg_mutex_unlock(&magic->publish);
    if (epoch > newest)
        return mg_fail(err, MG_SNAPSHOT_NOT_YET, "epoch %llu is not visible yet; the newest is %llu",
                       (unsigned long long)epoch, (unsigned long long)newest);
    if (!view)
        MG_TRY(rebuild(magic, epoch, &view, err));
    *out = &view->base;
    return MG_OK;
}
