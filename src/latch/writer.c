/* writer.c -- who may change what: one writer per source, fenced by generations, and one epoch being staged at a time.
 *
 *     closed --open: takes generation g+1 with an epoch of its own--> idle --begin--> staging --publish or abort-->
 *     idle idle or staging --another one opens the same source--> fenced: begin fails with WRITER_FENCED
 *
 * The gate: writers of all sources queue for staging in the order in which they came. A staged epoch of the older
 * writer is not taken from it; the newer one waits at the gate, and the older one meets the fence at its next begin.
 * Threads  a writer belongs to one thread at a time; the gate and the generations are under MG_RANK_LATCH. The engine
 *          is called with the lock open.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "latch/latch_internal.h"

enum {
    OPEN_WAIT_MS = 10 * 1000, /* for the gate, when a writer opens */
    VISIBLE_WAIT_MS = 60 * 1000,
};

/* Owned by one thread at a time; the epoch is the engine's, between begin and publish or abort. */
struct mg_latch_writer {
    struct mg_latch *latch;
    char source[MG_SOURCE_NAME_MAX];
    uint64_t generation;
    struct mg_epoch *epoch;
};

/* ---- the gate ---- */

static void leave_queue(struct mg_latch *latch, struct mg_latch__waiter *me) MG_REQUIRES(&latch->lock)
{
    struct mg_latch__waiter *before = NULL;

    for (struct mg_latch__waiter *w = latch->first_waiting; w != me; w = w->next)
        before = w;
    *(before ? &before->next : &latch->first_waiting) = me->next;
    if (latch->last_waiting == me)
        latch->last_waiting = before;
}

static enum mg_code enter_gate(struct mg_latch *latch, const char *source, int64_t timeout_ms, struct mg_error *err)
{
    struct mg_latch__waiter me = {NULL};
    int64_t until_ms = mg_mono_ms(mg_clock_system()) + timeout_ms;
    enum mg_code code = MG_OK;

    mg_mutex_lock(&latch->lock);
    *(latch->last_waiting ? &latch->last_waiting->next : &latch->first_waiting) = &me;
    latch->last_waiting = &me;
    while (latch->staging || latch->first_waiting != &me) {
        int64_t left_ms = until_ms - mg_mono_ms(mg_clock_system());
        if (left_ms <= 0) {
            code = mg_fail(err, MG_BUSY, "source %s waited %" PRId64 " ms for another writer's epoch to end", source,
                           timeout_ms);
            break;
        }
        mg_cond_wait_ms(&latch->gate, &latch->lock, left_ms);
    }
    leave_queue(latch, &me);
    if (code == MG_OK)
        latch->staging = true;
    else
        mg_cond_broadcast(&latch->gate); /* whoever stood behind may be the first now */
    mg_mutex_unlock(&latch->lock);
    return code;
}

static void leave_gate(struct mg_latch *latch)
{
    mg_mutex_lock(&latch->lock);
    mg_assert(latch->staging);
    latch->staging = false;
    mg_cond_broadcast(&latch->gate);
    mg_mutex_unlock(&latch->lock);
}

/* ---- generations ---- */

static struct mg_latch__source *find_source(struct mg_latch *latch, const char *name) MG_REQUIRES(&latch->lock)
{
    for (uint32_t i = 0; i < latch->source_count; i++)
        if (strcmp(latch->sources[i].name, name) == 0)
            return &latch->sources[i];
    return NULL;
}

static uint64_t newest_generation(struct mg_latch *latch, const char *source)
{
    mg_mutex_lock(&latch->lock);
    const struct mg_latch__source *known = find_source(latch, source);
    uint64_t generation = known ? known->generation : 0;
    mg_mutex_unlock(&latch->lock);
    return generation;
}

static enum mg_code remember_generation(struct mg_latch *latch, const char *source, uint64_t generation,
                                        struct mg_error *err)
{
    enum mg_code code = MG_OK;

    mg_mutex_lock(&latch->lock);
    struct mg_latch__source *known = find_source(latch, source);
    if (!known && latch->source_count < MG_SOURCES_MAX) {
        known = &latch->sources[latch->source_count++];
        snprintf(known->name, sizeof known->name, "%s", source);
    }
    if (known)
        known->generation = generation;
    else
        code = mg_fail(err, MG_TOO_BIG, "source %s would be one more than the %d that a store can have", source,
                       (int)MG_SOURCES_MAX);
    mg_mutex_unlock(&latch->lock);
    return code;
}

/* Inside the gate: publish an epoch that holds nothing but the next generation. */
static enum mg_code take_generation(struct mg_latch *latch, const char *source, struct mg_source_position *position,
                                    struct mg_error *err)
{
    const struct mg_engine_ops *ops = latch->engine->ops;
    struct mg_epoch *epoch = NULL;
    uint64_t number = 0;

    MG_TRY(ops->position(latch->engine, source, position, err));
    uint64_t generation = MG_MAX(position->generation, newest_generation(latch, source)) + 1;
    MG_TRY(remember_generation(latch, source, generation, err)); /* first: from here on the older writer is fenced */
    MG_TRY(ops->begin(latch->engine, source, generation, &epoch, err));
    MG_TRY(
        ops->publish(epoch, position->watermark, MG_SLICE(position->position, position->position_size), &number, err));
    MG_TRY(ops->wait(latch->engine, number, VISIBLE_WAIT_MS, err));
    snprintf(position->source, sizeof position->source, "%s", source);
    position->generation = generation;
    position->epoch = number;
    return MG_OK;
}

/* ---- the writer ---- */

enum mg_code mg_latch_writer_open(struct mg_latch *latch, const char *source, struct mg_latch_writer **out,
                                  struct mg_source_position *out_position, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_latch_writer *writer = NULL;
    MG_CLEANUP(mg_freep) struct mg_source_position *position = NULL;

    size_t length = strlen(source);
    if (length == 0 || length >= MG_SOURCE_NAME_MAX)
        return mg_fail(err, MG_INVALID, "a source's name has 1 to %d bytes, this has %zu", MG_SOURCE_NAME_MAX - 1,
                       length);
    writer = calloc(1, sizeof *writer);
    position = calloc(1, sizeof *position);
    if (!writer || !position)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a writer of source %s", source);

    MG_TRY(enter_gate(latch, source, OPEN_WAIT_MS, err));
    enum mg_code code = take_generation(latch, source, position, err);
    leave_gate(latch);
    if (code != MG_OK)
        return mg_fail_in(err, code, "become the writer of source %s", source);

    writer->latch = latch;
    memcpy(writer->source, source, length + 1);
    writer->generation = position->generation;
    if (out_position)
        *out_position = *position;
    *out = MG_TAKE(writer);
    return MG_OK;
}

void mg_latch_writer_close(struct mg_latch_writer *writer)
{
    if (!writer)
        return;
    if (writer->epoch)
        mg_latch_writer_abort(writer);
    free(writer);
}

static enum mg_code check_fence(const struct mg_latch_writer *writer, struct mg_error *err)
{
    uint64_t newest = newest_generation(writer->latch, writer->source);

    if (newest > writer->generation)
        return mg_fail(err, MG_WRITER_FENCED,
                       "writer %" PRIu64 " of source %s is fenced: writer %" PRIu64 " has taken over",
                       writer->generation, writer->source, newest);
    return MG_OK;
}

enum mg_code mg_latch_writer_begin(struct mg_latch_writer *writer, int64_t timeout_ms, struct mg_epoch **out,
                                   struct mg_error *err)
{
    struct mg_latch *latch = writer->latch;

    mg_assert(!writer->epoch);
    MG_TRY(check_fence(writer, err));
    MG_TRY(enter_gate(latch, writer->source, timeout_ms, err));
    enum mg_code code = check_fence(writer, err); /* the one who fences us may have stood before us */
    if (code == MG_OK)
        code = latch->engine->ops->begin(latch->engine, writer->source, writer->generation, &writer->epoch, err);
    if (code != MG_OK) {
        leave_gate(latch);
        return code;
    }
    *out = writer->epoch;
    return MG_OK;
}

enum mg_code mg_latch_writer_publish(struct mg_latch_writer *writer, uint64_t watermark, struct mg_slice position,
                                     uint64_t *out_epoch, struct mg_error *err)
{
    struct mg_epoch *epoch = MG_TAKE(writer->epoch);

    mg_assert(epoch);
    enum mg_code code = writer->latch->engine->ops->publish(epoch, watermark, position, out_epoch, err);
    leave_gate(writer->latch);
    return code;
}

void mg_latch_writer_abort(struct mg_latch_writer *writer)
{
    struct mg_epoch *epoch = MG_TAKE(writer->epoch);

    mg_assert(epoch);
    writer->latch->engine->ops->abort(epoch);
    leave_gate(writer->latch);
}

uint64_t mg_latch_writer_generation(const struct mg_latch_writer *writer) { return writer->generation; }
