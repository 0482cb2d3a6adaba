/* settle.c -- the settling half: asks the store what became of open transactions, and the oracle how far time went.
 *
 * Each round (when an R came, else each ROUND_MS): up to MG_SORTER__QUESTIONS_MAX open transactions that are due; then,
 * when nothing came for idle_ms and nothing is open, a timestamp. What was found waits under the lock for the applying
 * thread's next poll.
 *
 * "Neither"  about a transaction without R is believed only when all records that were durable before the question had
 *            been read: a process that is dead sends no more, so its C is not on the way. And only after ABSENT_ASKS
 *            such answers in a row.
 * Threads    the settling thread; the lock is not held while anything is asked or read.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "syncer/sorter/settle_rule.h"
#include "syncer/sorter/sorter_internal.h"
#include "syncer/source/binlog.h"

enum {
    ROUND_MS = 50,
    ORACLE_AGAIN_MS = 1000, /* after a failure */
    ASK_AGAIN_MS = 1000,
    ASK_AGAIN_DOUBTFUL_MS = 200,
    ABSENT_ASKS = 3,
    ORACLE_TIMEOUT_MS = 2000,
    COMPLAIN_MS = 60000, /* between two log lines about the same thing */
};

struct settling {
    struct mg_sorter *sorter;
    struct mg_clock *clock;
    const struct mg_source_ops *ops;
    struct mg_source *source;
    struct mg_buffer outline; /* of a P that is not in memory */
    int64_t peer_start_ms;    /* as it was before this round's questions */
    int64_t oracle_ns, complained_ns;
    struct mg_sorter__question questions[MG_SORTER__QUESTIONS_MAX];
};

static void complain(struct settling *s, const char *what, const struct mg_error *err)
{
    int64_t now_ns = mg_mono_ns(s->clock);
    if (s->complained_ns && now_ns - s->complained_ns < COMPLAIN_MS * INT64_C(1000000))
        return;
    s->complained_ns = now_ns;
    mg_log(MG_LOG_WARN, "sorter", "%s: %s", what, err->text);
}

/* ---- open transactions --------------------------------------------------------------------------------------- */

static void copy_key(const struct mg_binlog *binlog, struct mg_sorter__question *question)
{
    if (binlog->prewrite_key.size == 0)
        return;
    question->key = malloc(binlog->prewrite_key.size);
    if (!question->key)
        return;
    memcpy(question->key, binlog->prewrite_key.data, binlog->prewrite_key.size);
    question->key_size = binlog->prewrite_key.size;
}

/* The key of a P that is in the buffer only. */
static enum mg_code read_key(struct settling *s, struct mg_sorter__question *question, struct mg_error *err)
{
    struct mg_buffer_cursor *cursor;
    struct mg_record record;
    struct mg_binlog binlog;
    struct mg_span value;
    MG_TRY(mg_buffer_log_find(s->sorter->options.buffer, question->seq, &cursor, &record, err));
    struct mg_span payload = mg_buffer_cursor_payload(cursor, &record);
    enum mg_code code = mg_binlog_read_span(&payload, &s->outline, &binlog, &value, err);
    if (code == MG_OK)
        copy_key(&binlog, question);
    mg_buffer_cursor_close(cursor);
    return code;
}

/* Which transactions are due. *out_caught_up: every durable record was read before. */
static uint32_t collect(struct settling *s, bool *out_caught_up)
{
    struct mg_sorter *sorter = s->sorter;
    uint32_t count = 0;
    uint64_t last = mg_buffer_log_last(sorter->options.buffer);
    int64_t now_ns = mg_mono_ns(s->clock);
    mg_mutex_lock(&sorter->lock);
    *out_caught_up = sorter->read_seq >= last;
    s->peer_start_ms = sorter->peer_start_ms;
    for (struct mg_sorter__txn *txn = sorter->open.first; txn && count < MG_SORTER__QUESTIONS_MAX;
         txn = txn->list_after) {
        if (txn->ask_ns > now_ns)
            continue;
        txn->ask_ns = now_ns + (txn->doubtful ? ASK_AGAIN_DOUBTFUL_MS : ASK_AGAIN_MS) * INT64_C(1000000);
        struct mg_sorter__question *question = &s->questions[count++];
        *question = (struct mg_sorter__question){.start_ts = txn->start_ts,
                                                 .seq = txn->seq,
                                                 .floor_ts = txn->floor_ts,
                                                 .doubtful = txn->doubtful,
                                                 .open_ms = (now_ns - txn->read_ns) / 1000000};
        struct mg_binlog binlog;
        if (txn->payload && mg_binlog_read(MG_SLICE(txn->payload, txn->payload_size), &binlog, NULL) == MG_OK)
            copy_key(&binlog, question);
    }
    mg_mutex_unlock(&sorter->lock);
    return count;
}

static enum mg_settle_verdict ask_one(struct settling *s, struct mg_sorter__question *question,
                                      struct mg_settlement *out, struct mg_error *err)
{
    if (!question->key && read_key(s, question, err) != MG_OK)
        complain(s, "the key of an open transaction cannot be read again", err);
    if (!question->key)
        return MG_SETTLE_WAIT;
    struct mg_slice key = MG_SLICE(question->key, question->key_size);
    if (s->ops->settle(s->source, question->start_ts, key, out, err) != MG_OK) {
        complain(s, "the source cannot be asked about open transactions", err);
        return MG_SETTLE_WAIT;
    }
    const struct mg_settle_case c = {
        .start_ts = question->start_ts,
        .floor_ts = question->floor_ts,
        .doubtful = question->doubtful,
        .open_ms = question->open_ms,
        .age_ms = mg_wall_ms(s->clock) - (int64_t)(question->start_ts >> 18),
        .peer_start_ms = s->peer_start_ms,
    };
    return mg_settle_decide(&c, out);
}

/* Is a verdict that rests on "neither" ripe? Counts such answers in a row. */
static bool ripe(struct mg_sorter *sorter, const struct mg_sorter__question *question,
                 const struct mg_settlement *settlement, bool caught_up) MG_REQUIRES(&sorter->lock)
{
    struct mg_sorter__txn *txn = mg_sorter__find(sorter, question->start_ts);
    if (!txn)
        return false;
    if (settlement->fate != MG_FATE_ABSENT || question->doubtful)
        return true;
    txn->absent = caught_up ? txn->absent + 1 : 0;
    return txn->absent >= ABSENT_ASKS;
}

static void settle_open(struct settling *s)
{
    bool caught_up, found = false;
    struct mg_sorter *sorter = s->sorter;
    uint32_t count = collect(s, &caught_up);
    for (uint32_t i = 0; i < count; i++) {
        struct mg_sorter__question *question = &s->questions[i];
        struct mg_settlement settlement = {.fate = MG_FATE_UNKNOWN};
        struct mg_error err = MG_ERROR_INIT;
        mg_mutex_lock(&sorter->lock);
        bool open = !sorter->closing && mg_sorter__find(sorter, question->start_ts) &&
                    sorter->verdict_count < MG_SORTER__QUESTIONS_MAX;
        mg_mutex_unlock(&sorter->lock);
        enum mg_settle_verdict verdict = open ? ask_one(s, question, &settlement, &err) : MG_SETTLE_WAIT;
        free(question->key);
        if (verdict == MG_SETTLE_WAIT)
            continue;
        mg_mutex_lock(&sorter->lock);
        if (ripe(sorter, question, &settlement, caught_up)) {
            sorter->verdicts[sorter->verdict_count++] = (struct mg_sorter__verdict){
                .start_ts = question->start_ts, .commit_ts = settlement.commit_ts, .verdict = verdict};
            found = true;
        }
        mg_mutex_unlock(&sorter->lock);
    }
    if (found)
        mg_buffer_log_nudge(sorter->options.buffer);
}

/* ---- idle time ----------------------------------------------------------------------------------------------- */

static void ask_oracle(struct settling *s)
{
    struct mg_sorter *sorter = s->sorter;
    int64_t now_ns = mg_mono_ns(s->clock), idle_ns = sorter->options.idle_ms * 1000000;
    mg_mutex_lock(&sorter->lock);
    bool idle = !sorter->closing && sorter->open.count == 0 && now_ns - sorter->read_ns >= idle_ns &&
                now_ns - s->oracle_ns >= idle_ns;
    mg_mutex_unlock(&sorter->lock);
    if (!idle)
        return;
    uint64_t ts = 0;
    struct mg_error err = MG_ERROR_INIT;
    s->oracle_ns = now_ns;
    if (s->ops->oracle(s->source, ORACLE_TIMEOUT_MS, &ts, &err) != MG_OK) {
        complain(s, "the source's oracle cannot be asked: idle time is not followed", &err);
        s->oracle_ns = mg_mono_ns(s->clock) + ORACLE_AGAIN_MS * INT64_C(1000000); /* not at once again */
        return;
    }
    /* In this order: who was acked before the timestamp was handed out is durable by now. */
    uint64_t last = mg_buffer_log_last(sorter->options.buffer);
    mg_buffer_log_know(sorter->options.buffer, ts);
    mg_mutex_lock(&sorter->lock);
    sorter->oracle_ts = ts;
    sorter->oracle_seq = last;
    mg_mutex_unlock(&sorter->lock);
    mg_buffer_log_nudge(sorter->options.buffer);
}

void mg_sorter__settle_main(void *arg)
{
    struct mg_sorter *sorter = arg;
    struct settling *s = calloc(1, sizeof *s);
    mg_assert(s);
    s->sorter = sorter;
    s->clock = sorter->options.clock;
    s->source = sorter->options.source;
    s->ops = s->source->ops;
    mg_buffer_init(&s->outline, MG_SORTER__OUTLINE_MAX);
    mg_mutex_lock(&sorter->lock);
    while (!sorter->closing) {
        mg_mutex_unlock(&sorter->lock);
        settle_open(s);
        ask_oracle(s);
        mg_mutex_lock(&sorter->lock);
        if (!sorter->closing)
            mg_cond_wait_ms(&sorter->wake, &sorter->lock, MG_MIN(sorter->options.idle_ms, (int64_t)ROUND_MS));
    }
    mg_mutex_unlock(&sorter->lock);
    mg_buffer_clear(&s->outline);
    free(s);
}
