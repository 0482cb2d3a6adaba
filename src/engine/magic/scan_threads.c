/* scan_threads.c -- several readers of one scan: an aggregate or the first rows in an order, each with its own, put
 * together when all units are read.
 *
 * The thread that asks for the next batch is one of the readers; the others live only while it waits in there, so that
 * a scan between two calls has no threads, and closing it has nothing to stop.
 * Ends      at the end of the units; when a reader's groups fill their memory; when one fails or the caller has lost
 *           interest: then the others stop at their next unit, or row group.
 * Exact     readers exchange partial results that lose nothing (expr/aggregate.h).
 * Threads   helpers are started and joined by mg_scan__read_all; each works on its own reader.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/lock.h"
#include "engine/magic/scan_internal.h"

enum { ROWS_A_THREAD = 1 << 16 }; /* a thread for fewer is not worth starting it */

struct scan_helper {
    struct scan_reader reader;
    struct mg_thread thread;
    enum mg_code code;
    struct mg_error err;
};

enum mg_code mg_scan__add_helpers(struct scan *scan, struct mg_error *err)
{
    bool is_shared = scan->spec.aggregate || scan->spec.order_count;
    uint64_t threads = MG_MIN((uint64_t)scan->spec.threads, (uint64_t)MG_SCAN_THREADS_MAX);
    threads = MG_MIN(threads, scan->table->live_count / ROWS_A_THREAD);
    if (!is_shared || threads < 2 || scan->by_key)
        return MG_OK;
    scan->helpers = calloc(threads - 1, sizeof *scan->helpers);
    if (!scan->helpers)
        return mg_fail(err, MG_NO_MEMORY, "no memory for %llu readers", (unsigned long long)threads);
    scan->helper_count = (uint32_t)threads - 1;
    if (scan->spec.aggregate)
        MG_TRY(mg_aggregate_exchange(scan->spec.aggregate, &scan->exchange, err));
    for (uint32_t i = 0; i < scan->helper_count; i++)
        MG_TRY(mg_scan__reader_init(&scan->helpers[i].reader, scan, true, err));
    return MG_OK;
}

void mg_scan__clear_helpers(struct scan *scan)
{
    for (uint32_t i = 0; i < scan->helper_count; i++)
        mg_scan__reader_clear(&scan->helpers[i].reader);
    free(scan->helpers);
    mg_aggregate_exchange_free(scan->exchange);
}

/* Until the end of the units or until its groups are full; a failure stops the others, too. */
static enum mg_code read_on(struct scan_reader *reader, struct mg_error *err)
{
    enum mg_code code = mg_scan__advance(reader, err);
    if (code == MG_OK && reader->aggregation)
        code = mg_scan__add_tallies(reader, err);
    if (code != MG_OK)
        atomic_store_explicit(&reader->scan->stopped, true, memory_order_relaxed);
    return code;
}

static void help(void *arg)
{
    struct scan_helper *helper = arg;
    helper->code = read_on(&helper->reader, &helper->err);
}

/* What the helper has goes to the first reader. */
static enum mg_code hand_over_groups(struct scan *scan, struct scan_reader *from, struct mg_error *err)
{
    for (;;) {
        struct mg_batch *batch;
        MG_TRY(mg_aggregation_next(from->aggregation, 0, &batch, err));
        if (!batch)
            return MG_OK;
        enum mg_code code = mg_aggregation_merge(scan->reader.aggregation, batch, err);
        mg_batch_unref(batch);
        MG_TRY(code);
    }
}

/* The same of rows: the batches of a helper hold what is needed, in the order of places. */
static enum mg_code hand_over_rows(struct scan *scan, struct scan_reader *from, struct mg_error *err)
{
    const struct mg_vector **places = scan->reader.vector_places;
    uint64_t mask[MG_CHUNK_ROWS / 64];
    for (;;) {
        struct mg_batch *batch;
        MG_TRY(mg_top_next(from->top, MG_CHUNK_ROWS, &batch, err));
        if (!batch)
            return MG_OK;
        for (uint32_t c = 0, i = 0; c < scan->schema->column_count; c++)
            if (scan->shown[c])
                scan->reader.vectors[c] = batch->vectors[i++];
        mg_scan__set_mask(mask, batch->row_count);
        enum mg_code code = mg_top_add(scan->reader.top, places, batch->row_count, mask, err);
        mg_batch_unref(batch);
        MG_TRY(code);
    }
}

enum mg_code mg_scan__read_all(struct scan *scan, struct mg_error *err)
{
    enum mg_code code = MG_OK;
    uint32_t started = 0;
    if (atomic_load_explicit(&scan->stopped, memory_order_relaxed))
        return mg_fail(err, MG_INVALID, "the scan has failed before: its results are not whole");
    for (; code == MG_OK && started < scan->helper_count && !scan->helpers[started].reader.done; started++) {
        struct scan_helper *helper = &scan->helpers[started];
        char name[16];
        snprintf(name, sizeof name, "scan-%u", started + 1);
        helper->code = MG_OK;
        helper->err = MG_ERROR_INIT;
        code = mg_thread_start(&helper->thread, name, help, helper, err);
        started -= code != MG_OK;
    }
    if (code != MG_OK)
        atomic_store_explicit(&scan->stopped, true, memory_order_relaxed);
    else
        code = read_on(&scan->reader, err);
    for (uint32_t i = 0; i < started; i++) {
        struct scan_helper *helper = &scan->helpers[i];
        mg_thread_join(&helper->thread);
        if (code == MG_OK && helper->code != MG_OK)
            code = mg_fail(err, helper->code, "%s", helper->err.text);
    }
    for (uint32_t i = 0; code == MG_OK && i < started; i++)
        code = scan->spec.aggregate ? hand_over_groups(scan, &scan->helpers[i].reader, err)
                                    : hand_over_rows(scan, &scan->helpers[i].reader, err);
    if (code != MG_OK)
        atomic_store_explicit(&scan->stopped, true, memory_order_relaxed);
    return code;
}

bool mg_scan__all_done(const struct scan *scan)
{
    bool done = scan->reader.done;
    for (uint32_t i = 0; i < scan->helper_count; i++)
        done = done && scan->helpers[i].reader.done;
    return done;
}
