/* engine_pairs.c -- every stop point of one actor against every stop point of another: held there, in turn, and let go.
 *
 *   engine_pairs [--every N] [--cut] [--verbose]    a sample; with power cuts; with the pairs that cannot happen
 *
 * Actors    a writer that publishes an epoch; a maintainer that flushes, merges and writes a checkpoint; readers of the
 *           newest view, of an old epoch, and under a lease; who closes the engine while its own maintainer works.
 * A pair    A runs until it passes a and is held; B runs until it passes b and is held, or to its end, or until it
 *           waits for something that A has; then A goes on to its end (or until it waits for B), then B. Everything is
 *           decided by whom the hooks of base/stop.h and base/lock.h see, so a pair repeats exactly.
 * Checked   what each reader saw is the model engine's state at the epoch that it had pinned; so is every epoch that
 *           can be opened afterwards, and again after closing and opening. With --cut the power is cut while both are
 *           held, and what was published must be there.
 * Points    are not listed here: an actor's are those that it passes when it runs alone, and all of stops.def that are
 *           the engine's or the latch's must be among them. A pair that cannot happen is told with its reason.
 * Threads   the controller (main) and two actors; their states are guarded by `big`.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/io_fault.h"
#include "base/lock.h"
#include "base/stop.h"
#include "engine/engine.h"
#include "engine_kit.h"
#include "latch/latch.h"

enum {
    POINTS_MAX = 64,
    EPOCHS_MAX = 64,
    SECONDS_MAX = 60,
    ROWS_A_FLUSH = 6,
    FLUSHES = 7,
    BIG = 9000,
    STAGE_BYTES = 12000
};

static const struct mg_engine_ops *const magic = &mg_engine_magic;

static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- actors and whom they wait for --------------------------------------------------------------------------- */

enum state { RUNNING, HELD, WAITING, DONE };

struct world;
struct actor {
    const char *kind;
    void (*run)(struct actor *actor);
    struct world *world;
    pthread_t thread;
    enum mg_code code; /* how it ended */

    /* MG_GUARDED_BY(big) */
    enum state state;
    const char *target; /* where it is held; NULL: nowhere */
    bool released;
    const char *waits_for;
    uint64_t waits;                 /* how often it had to */
    const char *passed[POINTS_MAX]; /* in order, each once */
    uint32_t passed_count;
};

static pthread_mutex_t big = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static _Thread_local struct actor *self;
static struct actor *background; /* the engine's own maintainer stands for this one; NULL: it does not count */
static char pair_text[200];

static _Noreturn void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "engine_pairs: %s: ", pair_text);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(1);
}

#define must(call)                                                                \
    do {                                                                          \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;               \
        (void)err;                                                                \
        enum mg_code must_code = (call);                                          \
        if (must_code != MG_OK)                                                   \
            give_up("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

static struct actor *me(void)
{
    if (self || !background)
        return self;
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return strcmp(name, "maintainer") == 0 ? background : NULL;
}

/* The same name, as long as the program lives: a journal's goes with it. */
static const char *listed(const char *name)
{
    size_t count;
    const char *const *names = mg_stop_names(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return names[i];
    give_up("the stop point %s is not in stops.def", name);
}

static void note_passed(struct actor *actor, const char *name)
{
    for (uint32_t i = 0; i < actor->passed_count; i++)
        if (strcmp(actor->passed[i], name) == 0)
            return;
    if (actor->passed_count == POINTS_MAX)
        give_up("more than %d stop points", POINTS_MAX);
    actor->passed[actor->passed_count++] = name;
}

static void at_stop(void *arg, const char *name)
{
    struct actor *actor = me();
    if (!actor)
        return;
    name = listed(name);
    pthread_mutex_lock(&big);
    note_passed(actor, name);
    if (actor->target && !actor->released && strcmp(actor->target, name) == 0) {
        actor->state = HELD;
        pthread_cond_broadcast(&changed);
        while (!actor->released)
            pthread_cond_wait(&changed, &big);
    }
    pthread_mutex_unlock(&big);
}

static void at_wait(void *arg, const char *what)
{
    struct actor *actor = self; /* the background's own pauses are no waits for the other */
    if (!actor)
        return;
    pthread_mutex_lock(&big);
    actor->state = WAITING;
    actor->waits_for = what;
    actor->waits++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&big);
}

static void at_go_on(void *arg)
{
    struct actor *actor = self;
    if (!actor)
        return;
    pthread_mutex_lock(&big);
    actor->state = RUNNING;
    pthread_mutex_unlock(&big);
}

static void *actor_main(void *arg)
{
    self = arg;
    self->run(self);
    kit_forget();
    pthread_mutex_lock(&big);
    self->state = DONE;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&big);
    return NULL;
}

static void begin_actor(struct actor *actor, const char *target)
{
    actor->target = target;
    if (pthread_create(&actor->thread, NULL, actor_main, actor) != 0)
        give_up("a thread could not be started");
}

static void wait_changed(const struct actor *a, const struct actor *b)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SECONDS_MAX;
    if (pthread_cond_timedwait(&changed, &big, &until) != 0)
        give_up("nothing moves: %s is in state %d and waits for %s, %s is in state %d and waits for %s", a->kind,
                (int)a->state, a->waits_for, b->kind, (int)b->state, b->waits_for);
}

/* Until it stands: held, at its end, or waiting for the other, who stands. */
static enum state settle(struct actor *actor, const struct actor *other)
{
    pthread_mutex_lock(&big);
    for (;;) {
        while (actor->state == RUNNING)
            wait_changed(actor, other);
        if (actor->state != WAITING)
            break;
        uint64_t waits = actor->waits; /* a third thread, such as the latch's, may have had a lock for a moment */
        pthread_mutex_unlock(&big);
        usleep(500);
        pthread_mutex_lock(&big);
        if (actor->state == WAITING && actor->waits == waits)
            break;
    }
    enum state state = actor->state;
    pthread_mutex_unlock(&big);
    return state;
}

static void release(struct actor *actor)
{
    pthread_mutex_lock(&big);
    actor->released = true;
    if (actor->state == HELD)
        actor->state = RUNNING;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&big);
}

static void finish(struct actor *actor, const struct actor *other)
{
    pthread_mutex_lock(&big);
    while (actor->state != DONE)
        wait_changed(actor, other);
    pthread_mutex_unlock(&big);
    pthread_join(actor->thread, NULL);
}

/* ---- the world ----------------------------------------------------------------------------------------------- */

/* Rows as a multiset. */
struct digest {
    uint64_t count, sum;
};

struct world {
    struct mg_io_fault *disk;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_snapshot *held; /* so that rows are sealed; NULL after a restart */
    struct mg_budget budget;
    bool is_cut;
    uint64_t published; /* the newest epoch that publish said MG_OK to */
    uint64_t oldest;    /* that can be opened before the actors begin */
};

static struct mg_schema *schema, *gone;
static struct digest expected[EPOCHS_MAX];
static uint64_t newest; /* before the actors */

static enum mg_code read_digest(struct mg_snapshot *snapshot, struct digest *out)
{
    const struct mg_engine_ops *ops = snapshot->engine->ops;
    static const uint32_t columns[] = {0, 1, 2};
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 3};
    struct mg_scan *scan;
    struct mg_batch *batch;
    enum mg_code code;
    *out = (struct digest){0};
    struct mg_schema *found;
    if (ops->table_by_id(snapshot, 1, &found, NULL) != MG_OK)
        return MG_OK;
    mg_schema_unref(found);
    MG_TRY(ops->scan(snapshot, &spec, &scan, NULL));
    while ((code = ops->next(scan, &batch, NULL)) == MG_OK && batch) {
        for (uint32_t row = 0; row < batch->row_count; row++) {
            struct mg_value id = mg_vector_value(&batch->vectors[0], row), v = mg_vector_value(&batch->vectors[1], row),
                            s = mg_vector_value(&batch->vectors[2], row);
            uint64_t hash = mg_hash_u64((uint64_t)id.i * 31 + (uint64_t)v.i);
            out->sum += mg_hash(s.text.data, s.text.size, hash);
            out->count++;
        }
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    return code;
}

/* What a reader saw is what the model had at that epoch. An error is one only if the power is on. */
static enum mg_code check_snapshot(const struct world *w, struct mg_snapshot *snapshot)
{
    struct digest digest;
    uint64_t epoch = magic->snapshot_epoch(snapshot);
    enum mg_code code = read_digest(snapshot, &digest);
    if (code != MG_OK && !w->is_cut)
        give_up("a scan of epoch %" PRIu64 " fails: %s", epoch, mg_code_name(code));
    if (code == MG_OK && (digest.count != expected[epoch].count || digest.sum != expected[epoch].sum))
        give_up("epoch %" PRIu64 " shows %" PRIu64 " rows, the model has %" PRIu64 "%s", epoch, digest.count,
                expected[epoch].count, digest.count == expected[epoch].count ? ", others" : "");
    return code;
}

static void open_world(struct world *w, bool by_hand)
{
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(w->disk),
                                        .budget = &w->budget,
                                        .wal_segment_bytes = 16 << 10,
                                        .segment_bytes = 1024,
                                        .stage_bytes = STAGE_BYTES,
                                        .sealed_bytes = 1,
                                        .checkpoint_ms = 1,
                                        .maintain_by_hand = by_hand};
    mg_budget_init(&w->budget, "pairs", NULL, SIZE_MAX);
    must(magic->open(&options, &w->engine, err));
}

static void changes_of(int flush, char *text, size_t room)
{
    size_t size = 0;
    for (int i = 0; i < ROWS_A_FLUSH; i++)
        size += (size_t)snprintf(text + size, room - size, "%sI %d,%d,text%d", i ? " | " : "", flush * 100 + i, i, i);
    for (int part = MG_MAX(flush - 2, 0); part < flush; part++) /* marks in two parts, so that marks files become old */
        size += (size_t)snprintf(text + size, room - size, " | U %d,%d,marked", part * 100 + flush % ROWS_A_FLUSH,
                                 flush);
}

/* With a row so long that after two such epochs the WAL begins a new segment. */
static const char *with_long_row(const char *changes, int id)
{
    static char text[BIG + 200];
    memset(text, 'x', sizeof text);
    int size = snprintf(text, sizeof text, "%s | I %d,1,", changes, id);
    text[size] = 'x';
    text[BIG] = 0;
    return text;
}

/* The writer's epoch: rows of parts change and go. What it puts first goes to a part when it puts the rest, which then
 * changes a row of it. */
static enum mg_code put_changes(struct mg_epoch *epoch)
{
    MG_TRY(kit_try_put(epoch, schema, with_long_row("I 1000,1,first", 1001), NULL));
    return kit_try_put(epoch, schema, with_long_row("U 1,77,new | D 102,, | U 201,78,new | U 1000,2,second", 999),
                       NULL);
}

/* The same on any engine. flush: after each of the first batches of rows. */
static void tell(struct mg_engine *engine, bool flush)
{
    char text[1000];
    kit_create(engine, schema);
    kit_create(engine, gone);
    kit_apply(engine, gone, "I 1");
    for (int i = 0; i < FLUSHES; i++) {
        if (i == FLUSHES - 2) { /* so that the actors' checkpoint is the one that removes its part */
            struct mg_epoch *epoch = kit_begin(engine);
            kit_change(epoch, MG_SCHEMA_DROP_TABLE, NULL, NULL, 2);
            kit_publish(epoch, 100);
        }
        changes_of(i, text, sizeof text);
        kit_apply(engine, schema, text);
        if (flush)
            must(engine->ops->checkpoint(engine, true, err));
    }
    kit_apply(engine, schema, "U 0,50,changed | D 101,, | I 5000,1,five");
    kit_apply(engine, schema, with_long_row("U 301,51,changed | D 3,,", 998));
}

static void ask_model(void)
{
    struct mg_engine *model;
    must(mg_engine_model.open(&(struct mg_engine_options){0}, &model, err));
    tell(model, false);
    struct mg_epoch *staged = kit_begin(model);
    must(put_changes(staged));
    kit_publish(staged, 200);
    struct mg_snapshot *snapshot;
    must(mg_engine_model.snapshot(model, &snapshot, err));
    newest = mg_engine_model.snapshot_epoch(snapshot) - 1;
    mg_engine_model.snapshot_unref(snapshot);
    for (uint64_t epoch = 0; epoch <= newest + 1; epoch++) {
        must(mg_engine_model.snapshot_at(model, epoch, &snapshot, err));
        must(read_digest(snapshot, &expected[epoch]));
        mg_engine_model.snapshot_unref(snapshot);
    }
    mg_engine_model.close(model);
}

static void begin_world(struct world *w, bool with_latch)
{
    memset(w, 0, sizeof *w);
    w->disk = mg_io_fault_new(1);
    open_world(w, true);
    tell(w->engine, true);
    w->published = newest;
    w->oldest = kit_status(w->engine, "earliest_epoch");
    must(magic->snapshot(w->engine, &w->held, err));
    if (with_latch)
        must(mg_latch_new(&(struct mg_latch_options){.engine = w->engine}, &w->latch, err));
}

/* Every epoch that can be opened; the newest is what was published, or one more if the power was cut over it. */
static void check_world(struct world *w)
{
    struct mg_snapshot *snapshot;
    struct mg_error story = MG_ERROR_INIT;
    must(magic->snapshot(w->engine, &snapshot, err));
    uint64_t last = magic->snapshot_epoch(snapshot), opened = 0;
    check_snapshot(w, snapshot);
    if (w->held)
        check_snapshot(w, w->held);
    magic->snapshot_unref(snapshot);
    if (last < w->published || last > w->published + w->is_cut)
        give_up("epoch %" PRIu64 " was published, %" PRIu64 " is the newest", w->published, last);
    w->published = last;
    for (uint64_t epoch = 0; epoch <= last; epoch++) {
        enum mg_code code = magic->snapshot_at(w->engine, epoch, &snapshot, &story);
        if (code == MG_SNAPSHOT_TOO_OLD && opened == 0)
            continue;
        if (code != MG_OK)
            give_up("epoch %" PRIu64 " cannot be opened: %s", epoch, story.text);
        check_snapshot(w, snapshot);
        magic->snapshot_unref(snapshot);
        opened++;
    }
    if (opened == 0)
        give_up("no epoch can be opened");
    if (!w->is_cut && kit_status(w->engine, "verify_failed"))
        give_up("changes contradict the stored rows");
}

static void close_world(struct world *w)
{
    mg_latch_free(w->latch);
    w->latch = NULL;
    magic->snapshot_unref(w->held);
    w->held = NULL;
    magic->close(w->engine);
    if (mg_budget_used(&w->budget))
        give_up("%zu bytes are still reserved after close", mg_budget_used(&w->budget));
}

static void end_world(struct world *w)
{
    mg_io_fault_heal(w->disk);
    open_world(w, true);
    check_world(w);
    w->is_cut = false;
    must(magic->checkpoint(w->engine, true, err));
    check_world(w);
    close_world(w);
    mg_io_fault_free(w->disk);
}

/* ---- what the actors do -------------------------------------------------------------------------------------- */

static void run_writer(struct actor *actor)
{
    struct world *w = actor->world;
    struct mg_epoch *epoch;
    uint64_t number = 0;
    actor->code = magic->begin(w->engine, "test", 1, &epoch, NULL);
    if (actor->code != MG_OK)
        return;
    actor->code = put_changes(epoch);
    if (actor->code != MG_OK) {
        magic->abort(epoch);
        return;
    }
    actor->code = magic->publish(epoch, 1000, (struct mg_slice){0}, &number, NULL);
    if (actor->code == MG_OK)
        w->published = number;
}

static void run_maintainer(struct actor *actor) { actor->code = magic->checkpoint(actor->world->engine, true, NULL); }

static void run_reader(struct actor *actor)
{
    struct mg_snapshot *snapshot;
    actor->code = magic->snapshot(actor->world->engine, &snapshot, NULL);
    if (actor->code != MG_OK)
        return;
    actor->code = check_snapshot(actor->world, snapshot);
    magic->snapshot_unref(snapshot);
}

static void run_old_reader(struct actor *actor)
{
    struct mg_snapshot *snapshot;
    actor->code = magic->snapshot_at(actor->world->engine, newest - 1, &snapshot, NULL);
    if (actor->code != MG_OK)
        return;
    actor->code = check_snapshot(actor->world, snapshot);
    magic->snapshot_unref(snapshot);
}

/* The oldest epoch that can be opened, from a manifest that the next checkpoint would remove. */
static void run_oldest_reader(struct actor *actor)
{
    struct mg_snapshot *snapshot;
    actor->code = magic->snapshot_at(actor->world->engine, actor->world->oldest, &snapshot, NULL);
    if (actor->code == MG_OK) {
        actor->code = check_snapshot(actor->world, snapshot);
        magic->snapshot_unref(snapshot);
    } else if (actor->code == MG_SNAPSHOT_TOO_OLD) {
        actor->code = MG_OK; /* the checkpoint was first */
    }
}

static void run_lease(struct actor *actor)
{
    struct mg_latch *latch = actor->world->latch;
    struct mg_snapshot *snapshot;
    struct mg_lease lease;
    actor->code = mg_latch_acquire(latch, &(struct mg_snapshot_choice){.choice = MG_CHOICE_LATEST}, "pairs", 0, &lease,
                                   &snapshot, NULL);
    if (actor->code != MG_OK)
        return;
    actor->code = check_snapshot(actor->world, snapshot);
    magic->snapshot_unref(snapshot);
    must(mg_latch_release(latch, MG_SLICE(lease.token, lease.token_size), err));
}

static void run_closer(struct actor *actor)
{
    close_world(actor->world);
    actor->code = MG_OK;
}

static const struct actor kinds[] = {
    {.kind = "writer", .run = run_writer},
    {.kind = "maintainer", .run = run_maintainer},
    {.kind = "reader", .run = run_reader},
    {.kind = "old reader", .run = run_old_reader},
    {.kind = "oldest reader", .run = run_oldest_reader},
    {.kind = "lease reader", .run = run_lease},
};
static const struct actor closer = {.kind = "closer", .run = run_closer};
enum { KINDS = MG_COUNT_OF(kinds), WRITER = 0, MAINTAINER = 1 };

/* ---- pairs --------------------------------------------------------------------------------------------------- */

struct points {
    const char *names[POINTS_MAX];
    uint32_t count;
};
static struct points points[KINDS];

/* What came of the pairs of two kinds. */
struct tally {
    uint32_t both, to_end, waits, others;
};

static bool cut, verbose;
static uint32_t pair_number, every = 1;

/* Those that an actor passes alone. */
static void find_points(uint32_t kind)
{
    struct world w;
    struct actor actor = kinds[kind], nobody = {.kind = "nobody"};
    snprintf(pair_text, sizeof pair_text, "%s alone", actor.kind);
    begin_world(&w, true);
    actor.world = &w;
    begin_actor(&actor, NULL);
    finish(&actor, &nobody);
    if (actor.code != MG_OK)
        give_up("fails: %s", mg_code_name(actor.code));
    memcpy(points[kind].names, actor.passed, sizeof actor.passed);
    points[kind].count = actor.passed_count;
    check_world(&w);
    close_world(&w);
    end_world(&w);
}

static bool is_point_of(const struct points *of, const char *name)
{
    for (uint32_t i = 0; i < of->count; i++)
        if (strcmp(of->names[i], name) == 0)
            return true;
    return false;
}

/* Nothing of stops.def is left out: it belongs to the syncer, to closing, or to one of the actors. */
static void check_points(void)
{
    static const char *const elsewhere[] = {"buffer.", "sorter.", "writer.", "engine.close"};
    size_t count;
    const char *const *names = mg_stop_names(&count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t e = 0; e < MG_COUNT_OF(elsewhere); e++)
            found |= strncmp(names[i], elsewhere[e], strlen(elsewhere[e])) == 0;
        for (uint32_t k = 0; k < KINDS; k++)
            found |= is_point_of(&points[k], names[i]);
        if (!found)
            give_up("the stop point %s is passed by no actor: give one a reason to", names[i]);
    }
}

static void check_ends(const struct world *w, const struct actor *actor)
{
    if (actor->code != MG_OK && !w->is_cut)
        give_up("%s fails: %s", actor->kind, mg_code_name(actor->code));
}

/* Pairs that cannot happen, gathered into one line while who is held where, and why, stays the same. */
static struct {
    char why[200], names[2000];
} cannot;

static void say_cannot(void)
{
    if (cannot.names[0])
        printf("  %s does not come to%s\n", cannot.why, cannot.names);
    cannot.names[0] = 0;
}

static void note_cannot(const struct actor *a, const struct actor *b, enum state state)
{
    char why[200];
    if (!b->target && state == DONE)
        return;
    if (state == WAITING)
        snprintf(why, sizeof why, "%s held at %s: %s waits for %s and", a->kind, a->target, b->kind, b->waits_for);
    else
        snprintf(why, sizeof why, "%s held at %s: %s ends and", a->kind, a->target, b->kind);
    if (strcmp(why, cannot.why) != 0)
        say_cannot();
    memcpy(cannot.why, why, sizeof why);
    size_t size = strlen(cannot.names);
    snprintf(cannot.names + size, sizeof cannot.names - size, "%s %s", size ? "," : "",
             b->target ? b->target : "its end");
}

/* A is held at its point; B runs as far as it can; both go on. */
static void run_pair(uint32_t kind_a, const char *point_a, uint32_t kind_b, const char *point_b, struct tally *tally)
{
    struct world w;
    struct actor a = kinds[kind_a], b = kinds[kind_b];
    snprintf(pair_text, sizeof pair_text, "%s at %s, %s to %s%s", a.kind, point_a, b.kind,
             point_b ? point_b : "its end", cut ? ", power cut" : "");
    begin_world(&w, a.run == run_lease || b.run == run_lease);
    a.world = b.world = &w;
    begin_actor(&a, point_a);
    if (settle(&a, &b) != HELD)
        give_up("it is in state %d and not held", (int)a.state);
    begin_actor(&b, point_b);
    enum state state = settle(&b, &a);
    if (state == HELD)
        tally->both++;
    else if (state == DONE)
        *(point_b ? &tally->others : &tally->to_end) += 1;
    else
        tally->waits++;
    if (verbose && state != HELD)
        note_cannot(&a, &b, state);
    if (cut) {
        mg_io_fault_crash(w.disk, pair_number % 2 ? MG_LOSE_ALL : MG_LOSE_TORN);
        mg_io_fault_fail(w.disk, MG_FAULT_ANY, 1, EIO, true); /* those who go on are of the process that died */
        w.is_cut = true;
    }
    struct actor *first = pair_number % 4 < 2 ? &a : &b, *second = first == &a ? &b : &a;
    release(first); /* to its end, or until it waits for the other */
    settle(first, second);
    release(second);
    finish(&a, &b);
    finish(&b, &a);
    check_ends(&w, &a);
    check_ends(&w, &b);
    if (!w.is_cut)
        check_world(&w);
    close_world(&w);
    end_world(&w);
}

/* All points of one kind against all of another, and its end. */
static struct tally run_kinds(uint32_t kind_a, uint32_t kind_b)
{
    struct tally tally = {0};
    for (uint32_t i = 0; i < points[kind_a].count; i++)
        for (uint32_t k = 0; k <= points[kind_b].count; k++)
            if (pair_number++ % every == 0)
                run_pair(kind_a, points[kind_a].names[i], kind_b,
                         k < points[kind_b].count ? points[kind_b].names[k] : NULL, &tally);
    return tally;
}

/* ---- closing while the engine's own maintainer works --------------------------------------------------------- */

/* The engine with a maintainer of its own, whose first round has a checkpoint to write and parts to merge. */
static void begin_busy_world(struct world *w, struct actor *maintainer)
{
    begin_world(w, false);
    close_world(w);
    background = maintainer;
    open_world(w, false);
}

/* False: it does not come there. */
static bool until_held(const struct actor *maintainer)
{
    for (int i = 0; i < 400; i++) {
        pthread_mutex_lock(&big);
        bool held = maintainer->state == HELD;
        pthread_mutex_unlock(&big);
        if (held)
            return true;
        usleep(5000);
    }
    return false;
}

/* The maintainer is held at a point while the engine is closed: closing waits for the end of its round. */
static bool close_at(const char *point)
{
    struct world w;
    struct actor maintainer = {.kind = "maintainer", .target = point}, end = closer;
    snprintf(pair_text, sizeof pair_text, "maintainer at %s, closer to its end", point);
    begin_busy_world(&w, &maintainer);
    end.world = &w;
    bool held = until_held(&maintainer);
    begin_actor(&end, NULL);
    enum state state = settle(&end, &maintainer);
    if (held && (state != WAITING || strcmp(end.waits_for, "maintainer") != 0))
        give_up("closing does not wait for the maintainer");
    release(&maintainer);
    finish(&end, &maintainer);
    background = NULL;
    end_world(&w);
    return held;
}

/* Held just before it closes, while the maintainer works through some rounds. */
static void close_late(void)
{
    struct world w;
    struct actor maintainer = {.kind = "maintainer", .target = "checkpoint.noted"}, end = closer;
    snprintf(pair_text, sizeof pair_text, "closer at engine.close, maintainer to checkpoint.noted");
    begin_busy_world(&w, &maintainer);
    end.world = &w;
    begin_actor(&end, "engine.close");
    if (settle(&end, &maintainer) != HELD || !until_held(&maintainer))
        give_up("not both are held");
    release(&end);
    if (settle(&end, &maintainer) != WAITING)
        give_up("closing does not wait for the maintainer");
    release(&maintainer);
    finish(&end, &maintainer);
    background = NULL;
    end_world(&w);
}

static void run_closing(void)
{
    uint32_t held = 0, asked = 0;
    for (uint32_t i = 0; i < points[MAINTAINER].count; i++) {
        const char *name = points[MAINTAINER].names[i];
        if (every > 1 && i % 5)
            continue;
        asked++;
        bool there = close_at(name);
        held += there;
        if (!there)
            printf("  maintainer at %s, closer to its end: cannot happen, a round by itself did not pass it\n", name);
    }
    close_late();
    printf("closer      against maintainer   : %3u both held or closing waits, %u not\n", held + 1, asked - held);
}

static void run_all(void)
{
    struct tally sum = {0};
    uint32_t point_count = 0;
    for (uint32_t k = 0; k < KINDS; k++)
        point_count += points[k].count;
    for (uint32_t a = 0; a < KINDS; a++)
        for (uint32_t b = 0; b < KINDS; b++) {
            if (a == WRITER && b == WRITER)
                continue;
            struct tally tally = run_kinds(a, b);
            printf("%-12s against %-12s: %3u both held, %2u to the end, %3u wait for the other, %3u end before\n",
                   kinds[a].kind, kinds[b].kind, tally.both, tally.to_end, tally.waits, tally.others);
            sum = (struct tally){sum.both + tally.both, sum.to_end + tally.to_end, sum.waits + tally.waits,
                                 sum.others + tally.others};
        }
    printf("writer against writer cannot happen: one thread writes at a time (engine.h); closing while a call runs "
           "neither\n");
    if (!cut)
        run_closing();
    printf(
        "engine_pairs: %u points, %u pairs of %u%s: %u both held, %u to the end, %u wait, %u end before: all equal\n",
        point_count, sum.both + sum.to_end + sum.waits + sum.others, pair_number, cut ? ", power cut in each" : "",
        sum.both, sum.to_end, sum.waits, sum.others);
}

int main(int argc, char **argv)
{
    static const struct mg_thread_hooks hooks = {.wait = at_wait, .go_on = at_go_on};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cut") == 0)
            cut = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--every") == 0 && i + 1 < argc)
            every = (uint32_t)strtoul(argv[++i], NULL, 10);
        else
            return fprintf(stderr, "engine_pairs [--every N] [--cut] [--verbose]\n"), 2;
    }
    every = MG_MAX(every, 1u);
    setvbuf(stdout, NULL, _IOLBF, 0);
    schema = kit_schema(1, 1, "d", "t", "1 id int64 key; 2 v int64 null; 3 s utf8 null");
    gone = kit_schema(2, 2, "d", "gone", "1 id int64 key");
    ask_model();
    mg_stop_hook(at_stop, NULL);
    mg_thread_hook(&hooks);
    for (uint32_t k = 0; k < KINDS; k++)
        find_points(k);
    check_points();
    run_all();
    mg_thread_hook(NULL);
    mg_stop_hook(NULL, NULL);
    mg_schema_unref(schema);
    mg_schema_unref(gone);
    kit_forget();
    return 0;
}
