/* buffer_testing.h -- a record in the buffer as the pump puts it, for tests.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_BUFFER_TESTING_H
#define MG_SYNCER_BUFFER_TESTING_H

#include "base/lock.h"
#include "base/testing.h"
#include "syncer/buffer/buffer_log.h"

struct mg_test_ack {
    struct mg_mutex lock;
    struct mg_cond there;
    bool done;
    enum mg_code code;
};

static inline void mg_test_note_ack(void *arg, enum mg_code code, uint64_t seq, const char *text)
{
    struct mg_test_ack *ack = arg;
    mg_mutex_lock(&ack->lock);
    ack->done = true;
    ack->code = code;
    mg_cond_signal(&ack->there);
    mg_mutex_unlock(&ack->lock);
}

/* Durable when it returns. */
static inline void mg_test_put(struct mg_buffer_log *buffer, struct mg_slice payload, uint64_t ts)
{
    struct mg_test_ack ack = {.done = false};
    mg_mutex_init(&ack.lock, MG_RANK_LEAF, "ack");
    mg_cond_init(&ack.there);
    mg_buffer_log_know(buffer, ts);
    assert_int_equal(mg_buffer_log_put(buffer, payload, mg_test_note_ack, &ack, NULL), MG_OK);
    mg_mutex_lock(&ack.lock);
    while (!ack.done)
        mg_cond_wait(&ack.there, &ack.lock);
    mg_mutex_unlock(&ack.lock);
    assert_int_equal(ack.code, MG_OK);
    mg_cond_destroy(&ack.there);
    mg_mutex_destroy(&ack.lock);
}

#endif
