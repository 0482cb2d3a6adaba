/* syncer.c -- wires source, buffer, sorter and writer, and runs the applying thread.
 *
 * Two halves   taking: source and buffer, with threads of their own; works from open to close, whatever applying does.
 *              Applying: one thread that opens sorter and writer at the store's position, and moves transactions from
 *              one to the other.
 * States       of applying, each with since when and why:
 *
 *                WAITING  --begin_run-->                RUNNING   the store has a writer, the sorter reads
 *                RUNNING  --the source is away-->       WAITING   and back by itself; nothing is lost or skipped
 *                RUNNING  --error that may pass-->      WAITING   sorter and writer end, and begin again after a delay
 *                RUNNING  --any other error-->          STOPPED   until mg_syncer_pause(false) tries again, or a
 *                         restart
 *                RUNNING  --the source skips records--> STOPPED   for good, also after a restart: the file `gap` in the
 *                         buffer's folder
 *                RUNNING <--mg_syncer_pause-->          PAUSED    sorter and writer stay open
 *
 * Never late   what the sorter gives is staged in its order; the writer hears of W only after all at or below it is
 *              staged, and of a table that must be loaded again before that.
 * Trim         follows the position that the store holds, never our own idea of it.
 * Watching     a thread of its own asks the source about itself once a second, also while applying stands still.
 * Threads      apply_main owns sorter and writer; their pointers change under the lock, so that lag and status may look
 *              at them under it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/syncer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/lock.h"
#include "base/log.h"
#include "syncer/buffer/buffer_log.h"
#include "syncer/sorter/sorter.h"
#include "syncer/writer/writer.h"

enum {
    WAIT_MS = 100,        /* longest sleep of the applying thread while it runs */
    RETRY_FIRST_MS = 100, /* delays double between these */
    RETRY_LAST_MS = 5000,
    WATCH_MS = 1000,
    AWAY_MS = 3000,  /* the source counts as away after as long without an answer */
    OFF_ASKS = 3,    /* so many answers in a row make "Off" true: a TiDB that starts says so for a moment */
    CLOSE_MS = 5000, /* for publishing what is complete */
    TRIM_MS = 100,
    TXN_BYTES_MAX = 64 << 20, /* of decoded rows of a transaction that wait, where epoch_memory says more */
    FOLDER_MAX = 4000,
};
static const char GAP_FILE[] = "gap";

/* What the watching thread knows of the source. */
struct watched {
    struct mg_source_health health;
    bool asked;
    uint32_t off_asks;  /* answers in a row that said that it writes no binlog */
    int64_t reached_ns; /* when it answered last */
};

struct mg_syncer {
    struct mg_syncer_options options;
    char source_name[MG_SOURCE_NAME_MAX];
    char folder[FOLDER_MAX];
    struct mg_buffer_log *buffer;
    struct mg_source *source;
    struct mg_thread applying, watching;

    /* the applying thread's own */
    int64_t trimmed_ns;
    uint64_t trimmed_seq;

    struct mg_mutex lock;      /* guards all that follows */
    struct mg_cond wake;       /* to the applying thread */
    struct mg_cond watch_wake; /* to the watching thread: closing */
    struct mg_sorter *sorter;  /* NULL while applying does not run */
    struct mg_writer *writer;
    enum mg_syncer_state state;
    char reason[512];
    int64_t since_ms;
    int64_t interval_ms;
    uint32_t verify_one_in;
    bool paused, closing, again; /* again: try once more after an error */
    char gap_text[512];          /* not empty: the source skipped records */
    struct watched watched;
    uint64_t published;            /* W that the store shows */
    struct mg_sorter_lag last_lag; /* of the sorter that ended last */
};

/* ---- state --------------------------------------------------------------------------------------------------- */

static const char *const state_names[] = {
    [MG_SYNCER_WAITING] = "waiting",
    [MG_SYNCER_RUNNING] = "running",
    [MG_SYNCER_PAUSED] = "paused",
    [MG_SYNCER_STOPPED] = "stopped",
};

static void set_state_locked(struct mg_syncer *syncer, enum mg_syncer_state state, const char *reason)
    MG_REQUIRES(&syncer->lock)
{
    if (syncer->state == state && strcmp(syncer->reason, reason) == 0)
        return;
    if (syncer->state != state)
        syncer->since_ms = mg_wall_ms(syncer->options.clock);
    syncer->state = state;
    snprintf(syncer->reason, sizeof syncer->reason, "%s", reason);
    mg_log(state == MG_SYNCER_STOPPED ? MG_LOG_ERROR : MG_LOG_INFO, "syncer", "%s%s%s", state_names[state],
           *reason ? ": " : "", reason);
}

static void set_state(struct mg_syncer *syncer, enum mg_syncer_state state, const char *reason)
{
    mg_mutex_lock(&syncer->lock);
    set_state_locked(syncer, state, reason);
    mg_mutex_unlock(&syncer->lock);
}

/* MG_SOURCE_STOPPED when records are missing. */
static enum mg_code fail_gap(struct mg_syncer *syncer, struct mg_error *err) MG_REQUIRES(&syncer->lock)
{
    return syncer->gap_text[0] ? mg_fail(err, MG_SOURCE_STOPPED, "%s", syncer->gap_text) : MG_OK;
}

static bool is_closing(struct mg_syncer *syncer)
{
    mg_mutex_lock(&syncer->lock);
    bool closing = syncer->closing;
    mg_mutex_unlock(&syncer->lock);
    return closing;
}

/* Sleep, but not through close, pause or resume. */
static void sleep_ms(struct mg_syncer *syncer, int64_t ms)
{
    mg_mutex_lock(&syncer->lock);
    if (!syncer->closing)
        mg_cond_wait_ms(&syncer->wake, &syncer->lock, ms);
    mg_mutex_unlock(&syncer->lock);
}

static int64_t next_delay(int64_t delay_ms) { return MG_MIN(delay_ms * 2, (int64_t)RETRY_LAST_MS); }

/* The same may work later, and begin_run leads back to where the store stands. */
static bool may_pass(enum mg_code code)
{
    return code == MG_UNAVAILABLE || code == MG_TIMEOUT || code == MG_BUSY || code == MG_NO_MEMORY ||
           code == MG_NO_SPACE;
}

/* ---- watching the source ------------------------------------------------------------------------------------- */

/* Records are missing: nothing above W may be shown any more, also not after a restart. */
static void note_gap(struct mg_syncer *syncer, const char *status)
{
    char text[sizeof syncer->gap_text], when[32];
    struct mg_error err = MG_ERROR_INIT;
    mg_format_time(mg_wall_ms(syncer->options.clock), when);
    snprintf(
        text, sizeof text,
        "binlog_status of the source was seen as %s at %s: its changes since then are missing. Load the tables into "
        "a new store, or, if nothing was written meanwhile, remove %.200s/%s and start again\n",
        status, when, syncer->folder, GAP_FILE);
    if (mg_io_write_file(syncer->options.io, syncer->folder, GAP_FILE, mg_slice_text(text), &err) != MG_OK)
        mg_log(MG_LOG_ERROR, "syncer", "the file %s could not be written: %s", GAP_FILE, err.text);
    text[strcspn(text, "\n")] = 0;
    mg_mutex_lock(&syncer->lock);
    memcpy(syncer->gap_text, text, sizeof text);
    mg_mutex_unlock(&syncer->lock);
}

static void judge_binlog(struct mg_syncer *syncer, struct watched *watched)
{
    bool on = strcasecmp(watched->health.binlog_status, "On") == 0;
    bool skipping = strcasecmp(watched->health.binlog_status, "Skipping") == 0;
    watched->off_asks = on ? 0 : watched->off_asks + 1;
    if (on || (!skipping && watched->off_asks < OFF_ASKS))
        return;
    /* Before the first record nothing can be missing that we had begun with. */
    if (mg_buffer_log_last(syncer->buffer) != 0)
        note_gap(syncer, watched->health.binlog_status);
}

static void watch_main(void *arg)
{
    struct mg_syncer *syncer = arg;
    struct watched watched = {.reached_ns = mg_mono_ns(syncer->options.clock)};
    mg_mutex_lock(&syncer->lock);
    while (!syncer->closing) {
        bool gap = syncer->gap_text[0] != 0;
        mg_mutex_unlock(&syncer->lock);
        struct mg_error err = MG_ERROR_INIT;
        if (syncer->options.source_ops->health(syncer->source, &watched.health, &err) != MG_OK)
            watched.health = (struct mg_source_health){0};
        if (watched.health.status_reachable) {
            watched.reached_ns = mg_mono_ns(syncer->options.clock);
            if (!gap)
                judge_binlog(syncer, &watched);
        }
        watched.asked = true;
        mg_mutex_lock(&syncer->lock);
        syncer->watched = watched;
        if (syncer->sorter)
            mg_sorter_tell_peer(syncer->sorter,
                                watched.health.status_reachable ? watched.health.peer_start_time * 1000 : 0);
        if (!syncer->closing)
            mg_cond_wait_ms(&syncer->watch_wake, &syncer->lock, WATCH_MS);
    }
    mg_mutex_unlock(&syncer->lock);
}

/* While nothing is wrong with applying itself: is the source there? */
static void show_source(struct mg_syncer *syncer)
{
    mg_mutex_lock(&syncer->lock);
    const struct watched *watched = &syncer->watched;
    const char *reason = "";
    if (watched->asked && !watched->health.status_reachable &&
        mg_mono_ns(syncer->options.clock) - watched->reached_ns >= AWAY_MS * INT64_C(1000000))
        reason = watched->health.peer_connected ? "the source's status port does not answer" : "the source is away";
    else if (watched->off_asks >= OFF_ASKS)
        reason = "the source writes no binlog yet";
    set_state_locked(syncer, *reason ? MG_SYNCER_WAITING : MG_SYNCER_RUNNING, reason);
    mg_mutex_unlock(&syncer->lock);
}

/* ---- applying ------------------------------------------------------------------------------------------------ */

typedef enum mg_code txn_fn(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err);

static enum mg_code apply_late(struct mg_writer *writer, const struct mg_txn *txn, struct mg_error *err)
{
    return mg_writer_needs_reload(writer, txn, "the end of a transaction was not told, or told too late", err);
}

/* Until the writer took it: only a source that cannot be asked is worth waiting for. */
static enum mg_code apply_patiently(struct mg_syncer *syncer, txn_fn *fn, const struct mg_txn *txn,
                                    struct mg_error *err)
{
    int64_t delay_ms = RETRY_FIRST_MS;
    for (;;) {
        struct mg_error why = MG_ERROR_INIT;
        enum mg_code code = fn(syncer->writer, txn, &why);
        if (code != MG_UNAVAILABLE) {
            if (code != MG_OK)
                return mg_fail(err, code, "%s", why.text);
            if (delay_ms != RETRY_FIRST_MS)
                set_state(syncer, MG_SYNCER_RUNNING, "");
            return MG_OK;
        }
        if (is_closing(syncer))
            return mg_fail(err, MG_CLOSED, "the syncer is closing");
        set_state(syncer, MG_SYNCER_WAITING, why.text);
        sleep_ms(syncer, delay_ms);
        delay_ms = next_delay(delay_ms);
    }
}

static enum mg_code advance(struct mg_syncer *syncer, uint64_t ts, struct mg_error *err)
{
    uint64_t published = 0;
    enum mg_code code = mg_writer_advance(syncer->writer, ts, mg_sorter_position(syncer->sorter), &published, err);
    if (code == MG_UNAVAILABLE)
        return MG_OK; /* it is staged, and published by a later call */
    if (code == MG_OK && published != syncer->published) {
        mg_mutex_lock(&syncer->lock);
        syncer->published = published;
        mg_mutex_unlock(&syncer->lock);
    }
    return code;
}

/* Stage all that is complete, in order. The writer hears of each step: it may cut an epoch anywhere between two
 * transactions. */
static enum mg_code apply_complete(struct mg_syncer *syncer, int64_t until_ns, struct mg_error *err)
{
    uint64_t watermark;
    struct mg_txn txn;
    enum mg_code code;
    MG_TRY(mg_sorter_poll(syncer->sorter, &watermark, err));
    while ((code = mg_sorter_take_late(syncer->sorter, &txn, err)) == MG_OK)
        MG_TRY(apply_patiently(syncer, apply_late, &txn, err));
    if (code != MG_NOT_FOUND)
        return code;
    while ((code = mg_sorter_next(syncer->sorter, &txn, err)) == MG_OK) {
        MG_TRY(apply_patiently(syncer, mg_writer_apply, &txn, err));
        MG_TRY(advance(syncer, txn.commit_ts, err));
        if (mg_mono_ns(syncer->options.clock) >= until_ns)
            return MG_OK; /* not all is staged: W waits */
    }
    return code == MG_NOT_FOUND ? advance(syncer, watermark, err) : code;
}

static void trim(struct mg_syncer *syncer)
{
    int64_t now_ns = mg_mono_ns(syncer->options.clock);
    if (now_ns - syncer->trimmed_ns < TRIM_MS * INT64_C(1000000))
        return;
    syncer->trimmed_ns = now_ns;
    uint64_t seq = mg_writer_durable_seq(syncer->writer);
    if (seq > syncer->trimmed_seq && mg_buffer_log_trim(syncer->buffer, seq, NULL) == MG_OK)
        syncer->trimmed_seq = seq;
}

/* Publish what is staged, then wait for the end of the pause. */
static enum mg_code stay_paused(struct mg_syncer *syncer, struct mg_error *err)
{
    uint64_t published = 0;
    enum mg_code code = mg_writer_flush(syncer->writer, &published, err);
    if (code != MG_OK && code != MG_UNAVAILABLE)
        return code;
    mg_mutex_lock(&syncer->lock);
    if (code == MG_OK)
        syncer->published = published;
    while (syncer->paused && !syncer->closing && !syncer->gap_text[0]) {
        set_state_locked(syncer, MG_SYNCER_PAUSED, "");
        mg_cond_wait_ms(&syncer->wake, &syncer->lock, WATCH_MS);
    }
    set_state_locked(syncer, MG_SYNCER_RUNNING, "");
    mg_mutex_unlock(&syncer->lock);
    return MG_OK;
}

/* Apply until close (MG_OK) or an error. */
static enum mg_code run(struct mg_syncer *syncer, struct mg_error *err)
{
    for (;;) {
        mg_mutex_lock(&syncer->lock);
        bool closing = syncer->closing, paused = syncer->paused;
        enum mg_code code = fail_gap(syncer, err);
        mg_mutex_unlock(&syncer->lock);
        MG_TRY(code);
        if (closing)
            return MG_OK;
        if (paused) {
            MG_TRY(stay_paused(syncer, err));
            continue;
        }
        show_source(syncer);
        int64_t until_ns = mg_mono_ns(syncer->options.clock) + WAIT_MS * INT64_C(1000000);
        MG_TRY(apply_complete(syncer, until_ns, err));
        trim(syncer);
        int64_t due_ms = mg_writer_due_ms(syncer->writer);
        if (mg_mono_ns(syncer->options.clock) < until_ns)
            mg_sorter_wait(syncer->sorter, due_ms < 0 ? WAIT_MS : MG_MIN(due_ms, (int64_t)WAIT_MS));
    }
}

/* ---- beginning and ending a run ------------------------------------------------------------------------------ */

static void end_run(struct mg_syncer *syncer)
{
    mg_mutex_lock(&syncer->lock);
    struct mg_sorter *sorter = syncer->sorter;
    struct mg_writer *writer = syncer->writer;
    syncer->sorter = NULL;
    syncer->writer = NULL;
    mg_mutex_unlock(&syncer->lock);
    if (sorter) {
        struct mg_sorter_lag lag;
        mg_sorter_lag(sorter, &lag);
        mg_mutex_lock(&syncer->lock);
        syncer->last_lag = lag;
        mg_mutex_unlock(&syncer->lock);
    }
    mg_writer_close(writer);
    mg_sorter_free(sorter);
}

static uint64_t seq_of(const struct mg_source_position *position)
{
    return position->position_size == 8 ? mg_load_le64(position->position) : 0;
}

/* Become the store's writer, and read on from where it stands. */
static enum mg_code begin_run(struct mg_syncer *syncer, struct mg_error *err)
{
    struct mg_source_position position;
    struct mg_writer *writer = NULL;
    struct mg_sorter *sorter = NULL;
    mg_mutex_lock(&syncer->lock);
    int64_t interval_ms = syncer->interval_ms;
    uint32_t verify_one_in = syncer->verify_one_in;
    mg_mutex_unlock(&syncer->lock);
    const struct mg_writer_options writer_options = {
        .latch = syncer->options.latch,
        .engine = syncer->options.engine,
        .source = syncer->source,
        .source_name = syncer->source_name,
        .clock = syncer->options.clock,
        .budget = syncer->options.budget,
        .txn_bytes_max = (size_t)MG_MIN(syncer->options.epoch_memory / 2, (uint64_t)TXN_BYTES_MAX),
        .interval_ms = interval_ms,
        .verify_one_in = verify_one_in,
    };
    MG_TRY(mg_writer_open(&writer_options, &writer, &position, err));
    const struct mg_sorter_options sorter_options = {
        .buffer = syncer->buffer,
        .source = syncer->source,
        .clock = syncer->options.clock,
        .budget = syncer->options.budget,
        .published_ts = position.watermark,
        .start_seq = seq_of(&position),
    };
    enum mg_code code = mg_sorter_new(&sorter_options, &sorter, err);
    if (code != MG_OK) {
        mg_writer_close(writer);
        return code;
    }
    mg_mutex_lock(&syncer->lock);
    syncer->writer = writer;
    syncer->sorter = sorter;
    syncer->published = position.watermark;
    /* Interval and sampling may have changed meanwhile. */
    mg_writer_set_verify(writer, syncer->verify_one_in);
    code = syncer->interval_ms == interval_ms ? MG_OK : mg_writer_set_interval(writer, syncer->interval_ms, err);
    set_state_locked(syncer, MG_SYNCER_RUNNING, "");
    mg_mutex_unlock(&syncer->lock);
    mg_log(MG_LOG_INFO, "syncer", "applying from record %" PRIu64 ", watermark %" PRIu64, seq_of(&position),
           position.watermark);
    return code;
}

/* Everything that was acked is in the buffer; what of it is complete now is published, within reason. */
static void finish(struct mg_syncer *syncer)
{
    struct mg_error err = MG_ERROR_INIT;
    int64_t until_ns = mg_mono_ns(syncer->options.clock) + CLOSE_MS * INT64_C(1000000);
    struct mg_sorter_lag lag;
    uint64_t published;
    enum mg_code code;
    do {
        code = apply_complete(syncer, until_ns, &err);
        mg_sorter_lag(syncer->sorter, &lag);
    } while (code == MG_OK && lag.buffered_records && mg_mono_ns(syncer->options.clock) < until_ns);
    if (code == MG_OK)
        code = mg_writer_flush(syncer->writer, &published, &err);
    if (code != MG_OK)
        mg_log(MG_LOG_WARN, "syncer", "closing without publishing all that is complete: %s", err.text);
}

/* After an error: sleep, or until somebody says that it is worth another try. */
static void recover(struct mg_syncer *syncer, enum mg_code code, const struct mg_error *err, int64_t delay_ms)
{
    if (may_pass(code)) {
        set_state(syncer, MG_SYNCER_WAITING, err->text);
        sleep_ms(syncer, delay_ms);
        return;
    }
    mg_mutex_lock(&syncer->lock);
    set_state_locked(syncer, MG_SYNCER_STOPPED, err->text);
    syncer->again = false;
    while (!syncer->again && !syncer->closing)
        mg_cond_wait(&syncer->wake, &syncer->lock);
    mg_mutex_unlock(&syncer->lock);
}

static void apply_main(void *arg)
{
    struct mg_syncer *syncer = arg;
    int64_t delay_ms = RETRY_FIRST_MS;
    while (!is_closing(syncer)) {
        struct mg_error err = MG_ERROR_INIT;
        int64_t began_ms = mg_mono_ms(syncer->options.clock);
        mg_mutex_lock(&syncer->lock);
        enum mg_code code = fail_gap(syncer, &err);
        mg_mutex_unlock(&syncer->lock);
        if (code == MG_OK)
            code = begin_run(syncer, &err);
        if (code == MG_OK)
            code = run(syncer, &err);
        if (code == MG_OK)
            finish(syncer);
        end_run(syncer);
        if (code == MG_OK || is_closing(syncer))
            return;
        if (mg_mono_ms(syncer->options.clock) - began_ms > RETRY_LAST_MS)
            delay_ms = RETRY_FIRST_MS; /* it ran well for a while */
        recover(syncer, code, &err, delay_ms);
        delay_ms = next_delay(delay_ms);
    }
}

/* ---- open and close ------------------------------------------------------------------------------------------ */

/* A gap that was found before this start. */
static enum mg_code read_gap(struct mg_syncer *syncer, struct mg_error *err)
{
    char path[FOLDER_MAX + 16];
    struct mg_buffer text;
    snprintf(path, sizeof path, "%s/%s", syncer->folder, GAP_FILE);
    mg_buffer_init(&text, 4096);
    enum mg_code code = mg_io_read_file(syncer->options.io, path, &text, err);
    if (code == MG_OK) {
        mg_mutex_lock(&syncer->lock);
        snprintf(syncer->gap_text, sizeof syncer->gap_text, "%.*s", (int)text.size, (const char *)text.data);
        syncer->gap_text[strcspn(syncer->gap_text, "\n")] = 0;
        if (!syncer->gap_text[0])
            snprintf(syncer->gap_text, sizeof syncer->gap_text, "the source skipped records: %.400s says so", path);
        mg_mutex_unlock(&syncer->lock);
    }
    mg_buffer_clear(&text);
    return code == MG_NOT_FOUND ? MG_OK : code;
}

static enum mg_code open_parts(struct mg_syncer *syncer, struct mg_error *err)
{
    struct mg_syncer_options *options = &syncer->options;
    const struct mg_buffer_log_options buffer = {
        .folder = syncer->folder,
        .io = options->io,
        .clock = options->clock,
        .store_id = options->engine->ops->store_id(options->engine),
        .segment_bytes = options->buffer_segment_bytes,
        .limit_bytes = options->buffer_limit_bytes,
        .budget = options->budget,
    };
    MG_TRY(mg_buffer_log_open(&buffer, &syncer->buffer, err));
    MG_TRY(read_gap(syncer, err));
    struct mg_source_options source = options->source;
    source.buffer = syncer->buffer;
    MG_TRY(options->source_ops->open(&source, &syncer->source, err));
    MG_TRY(options->source_ops->start(syncer->source, err));
    MG_TRY(mg_thread_start(&syncer->watching, "watch", watch_main, syncer, err));
    return mg_thread_start(&syncer->applying, "apply", apply_main, syncer, err);
}

enum mg_code mg_syncer_open(const struct mg_syncer_options *options, struct mg_syncer **out, struct mg_error *err)
{
    if (strlen(options->buffer_folder) >= FOLDER_MAX || strlen(options->source.name) >= MG_SOURCE_NAME_MAX)
        return mg_fail(err, MG_INVALID, "the name of the source or of the buffer's folder is too long");
    if (options->interval_ms < 0)
        return mg_fail(err, MG_INVALID, "an interval of %" PRId64 " ms", options->interval_ms);
    struct mg_syncer *syncer = calloc(1, sizeof *syncer);
    if (!syncer)
        return mg_fail(err, MG_NO_MEMORY, "no memory for the syncer");
    syncer->options = *options;
    if (!syncer->options.io)
        syncer->options.io = mg_io_system();
    if (!syncer->options.clock)
        syncer->options.clock = mg_clock_system();
    snprintf(syncer->source_name, sizeof syncer->source_name, "%s", options->source.name);
    snprintf(syncer->folder, sizeof syncer->folder, "%s", options->buffer_folder);
    mg_mutex_init(&syncer->lock, MG_RANK_SYNCER, "syncer");
    mg_cond_init(&syncer->wake);
    mg_cond_init(&syncer->watch_wake);
    syncer->interval_ms = options->interval_ms;
    syncer->verify_one_in = options->verify_one_in;
    syncer->paused = options->paused;
    syncer->since_ms = mg_wall_ms(syncer->options.clock);
    snprintf(syncer->reason, sizeof syncer->reason, "starting");
    enum mg_code code = open_parts(syncer, err);
    if (code != MG_OK) {
        mg_syncer_close(syncer);
        return code;
    }
    *out = syncer;
    return MG_OK;
}

/* The applying thread looks at what it was told. */
static void nudge(struct mg_syncer *syncer)
{
    mg_cond_broadcast(&syncer->wake);
    if (syncer->buffer)
        mg_buffer_log_nudge(syncer->buffer);
}

void mg_syncer_close(struct mg_syncer *syncer)
{
    if (!syncer)
        return;
    if (syncer->source)
        syncer->options.source_ops->stop(syncer->source);
    mg_mutex_lock(&syncer->lock);
    syncer->closing = true;
    mg_cond_broadcast(&syncer->watch_wake);
    mg_mutex_unlock(&syncer->lock);
    nudge(syncer);
    mg_thread_join(&syncer->applying);
    mg_thread_join(&syncer->watching);
    if (syncer->source)
        syncer->options.source_ops->close(syncer->source);
    mg_buffer_log_close(syncer->buffer);
    mg_cond_destroy(&syncer->watch_wake);
    mg_cond_destroy(&syncer->wake);
    mg_mutex_destroy(&syncer->lock);
    free(syncer);
}

/* ---- for any thread ------------------------------------------------------------------------------------------ */

enum mg_code mg_syncer_pause(struct mg_syncer *syncer, bool paused, struct mg_error *err)
{
    mg_mutex_lock(&syncer->lock);
    enum mg_code code = paused ? MG_OK : fail_gap(syncer, err);
    syncer->paused = paused;
    syncer->again |= !paused;
    mg_mutex_unlock(&syncer->lock);
    nudge(syncer);
    return code;
}

enum mg_code mg_syncer_set_interval(struct mg_syncer *syncer, int64_t interval_ms, struct mg_error *err)
{
    if (interval_ms <= 0)
        return mg_fail(err, MG_INVALID, "an interval of %" PRId64 " ms: at least 1 is needed", interval_ms);
    mg_mutex_lock(&syncer->lock);
    syncer->interval_ms = interval_ms;
    enum mg_code code = syncer->writer ? mg_writer_set_interval(syncer->writer, interval_ms, err) : MG_OK;
    mg_mutex_unlock(&syncer->lock);
    return code;
}

void mg_syncer_set_verify(struct mg_syncer *syncer, uint32_t one_in)
{
    mg_mutex_lock(&syncer->lock);
    syncer->verify_one_in = one_in;
    if (syncer->writer)
        mg_writer_set_verify(syncer->writer, one_in);
    mg_mutex_unlock(&syncer->lock);
}

/* What readers see now; the applying thread may not have heard of it yet. */
static uint64_t visible_watermark(struct mg_syncer *syncer)
{
    struct mg_source_position positions[MG_SOURCES_MAX];
    const struct mg_engine_ops *ops = syncer->options.engine->ops;
    struct mg_snapshot *snapshot = NULL;
    uint64_t watermark = 0;
    if (ops->snapshot(syncer->options.engine, &snapshot, NULL) != MG_OK)
        return 0;
    uint32_t count = ops->snapshot_watermarks(snapshot, positions, MG_SOURCES_MAX);
    for (uint32_t i = 0; i < MG_MIN(count, (uint32_t)MG_SOURCES_MAX); i++) {
        if (strcmp(positions[i].source, syncer->source_name) == 0)
            watermark = positions[i].watermark;
    }
    ops->snapshot_unref(snapshot);
    return watermark;
}

static void get_sorter_lag(struct mg_syncer *syncer, struct mg_sorter_lag *out) MG_REQUIRES(&syncer->lock)
{
    if (syncer->sorter)
        mg_sorter_lag(syncer->sorter, out);
    else
        *out = syncer->last_lag;
}

/* Puts a table's name in place of its id. */
struct naming {
    const char *source_name;
    const struct mg_txn_tables *tables;
    struct mg_syncer_lag *out;
};

static enum mg_code name_table(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    struct naming *naming = arg;
    if (strcmp(schema->source, naming->source_name) != 0)
        return MG_OK;
    for (uint32_t i = 0; i < MG_MIN(naming->tables->count, (uint32_t)MG_TXN_TABLES_MAX); i++) {
        char *name = naming->out->oldest_open_tables[i];
        if (naming->tables->ids[i] == schema->source_id)
            snprintf(name, sizeof naming->out->oldest_open_tables[i], "%.255s.%.255s", schema->database, schema->table);
    }
    return MG_OK;
}

/* What the tables are called now, in the catalogue that the tracker keeps in the store. What is not there keeps its id:
 * its CREATE TABLE may be waiting behind this very transaction. */
static void name_tables(struct mg_syncer *syncer, const struct mg_txn_tables *tables, struct mg_syncer_lag *out)
{
    enum { SIZE = sizeof out->oldest_open_tables[0] };
    _Static_assert(MG_SYNCER_TABLES_MAX == MG_TXN_TABLES_MAX + 1, "and how many more there are");
    const struct mg_engine_ops *ops = syncer->options.engine->ops;
    struct naming naming = {.source_name = syncer->source_name, .tables = tables, .out = out};
    struct mg_snapshot *snapshot = NULL;
    uint32_t count = MG_MIN(tables->count, (uint32_t)MG_TXN_TABLES_MAX);
    out->oldest_open_table_count = count;
    for (uint32_t i = 0; i < count; i++)
        snprintf(out->oldest_open_tables[i], SIZE, "table id %" PRId64, tables->ids[i]);
    if (tables->job_id)
        snprintf(out->oldest_open_tables[out->oldest_open_table_count++], SIZE, "schema change %" PRId64,
                 tables->job_id);
    if (tables->count > count)
        snprintf(out->oldest_open_tables[out->oldest_open_table_count++], SIZE, "%u more", tables->count - count);
    if (count == 0 || ops->snapshot(syncer->options.engine, &snapshot, NULL) != MG_OK)
        return;
    if (ops->list_tables(snapshot, name_table, &naming, NULL) != MG_OK)
        mg_log(MG_LOG_WARN, "syncer", "the tables of an open transaction could not be named");
    ops->snapshot_unref(snapshot);
}

void mg_syncer_lag(struct mg_syncer *syncer, struct mg_syncer_lag *out)
{
    struct mg_sorter_lag sorter;
    int64_t now_ms = mg_wall_ms(syncer->options.clock);
    uint64_t watermark = visible_watermark(syncer);
    *out = (struct mg_syncer_lag){.watermark = watermark};
    mg_mutex_lock(&syncer->lock);
    get_sorter_lag(syncer, &sorter);
    out->state = syncer->state;
    out->since_ms = syncer->since_ms;
    snprintf(out->reason, sizeof out->reason, "%s", syncer->reason);
    mg_mutex_unlock(&syncer->lock);
    out->lag_ms = watermark ? MG_MAX(now_ms - (int64_t)(watermark >> 18), (int64_t)0) : 0;
    out->known_ts = MG_MAX(sorter.known_ts, mg_buffer_log_known(syncer->buffer));
    out->open_txns = sorter.open_txns;
    out->waiting_txns = sorter.waiting_txns;
    out->buffered_records = sorter.buffered_records;
    out->oldest_open_start_ts = sorter.oldest.start_ts;
    out->oldest_open_age_ms = sorter.oldest.start_ts ? MG_MAX(now_ms - sorter.oldest_received_ms, (int64_t)0) : 0;
    name_tables(syncer, &sorter.oldest_tables, out);
}

struct teller {
    mg_status_fn *fn;
    void *arg;
    struct mg_error *err;
    enum mg_code code;
};

static void tell_text(struct teller *teller, const char *name, const char *value)
{
    if (teller->code == MG_OK)
        teller->code = teller->fn(teller->arg, name, value, "", teller->err);
}

static void tell_number(struct teller *teller, const char *name, uint64_t value, const char *unit)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    if (teller->code == MG_OK)
        teller->code = teller->fn(teller->arg, name, text, unit, teller->err);
}

static void tell_buffer(struct mg_syncer *syncer, struct teller *teller)
{
    struct mg_buffer_log_stats stats;
    mg_buffer_log_stats(syncer->buffer, &stats);
    tell_text(teller, "buffer_state", stats.stopped ? "stopped" : stats.full ? "full" : "good");
    tell_text(teller, "buffer_reason", stats.reason);
    tell_number(teller, "buffer_cluster", mg_buffer_log_cluster_id(syncer->buffer), "");
    tell_number(teller, "buffer_records", stats.last_ordinal, "records");
    tell_number(teller, "buffer_disk", stats.disk_bytes, "bytes");
    tell_number(teller, "buffer_limit", stats.limit_bytes, "bytes");
    tell_number(teller, "buffer_queued", stats.queued_bytes, "bytes");
    tell_number(teller, "buffer_syncs_since_start", stats.syncs, "syncs");
}

enum mg_code mg_syncer_status(struct mg_syncer *syncer, mg_status_fn *fn, void *arg, struct mg_error *err)
{
    struct teller teller = {.fn = fn, .arg = arg, .err = err};
    struct mg_sorter_lag sorter;
    struct mg_syncer_lag lag;
    char since[32];
    mg_syncer_lag(syncer, &lag);
    mg_mutex_lock(&syncer->lock);
    get_sorter_lag(syncer, &sorter);
    struct mg_source_health health = syncer->watched.health;
    mg_mutex_unlock(&syncer->lock);
    mg_format_time(lag.since_ms, since);
    tell_text(&teller, "state", state_names[lag.state]);
    tell_text(&teller, "reason", lag.reason);
    tell_text(&teller, "since", since);
    tell_number(&teller, "watermark", lag.watermark, "ts");
    tell_number(&teller, "lag", (uint64_t)lag.lag_ms, "ms");
    tell_number(&teller, "known", lag.known_ts, "ts");
    tell_text(&teller, "peer", health.peer_connected ? "connected" : "away");
    tell_text(&teller, "binlog_status", health.binlog_status);
    tell_number(&teller, "open_txns", sorter.open_txns, "txns");
    tell_number(&teller, "waiting_txns", sorter.waiting_txns, "txns");
    tell_number(&teller, "settled_txns", sorter.settled, "txns");
    tell_number(&teller, "lost_txns", sorter.lost, "txns");
    tell_number(&teller, "orphan_ends", sorter.orphans, "records");
    tell_number(&teller, "kept_payloads", sorter.kept_bytes, "bytes");
    tell_number(&teller, "unread_records", sorter.buffered_records, "records");
    tell_buffer(syncer, &teller);
    return teller.code;
}
