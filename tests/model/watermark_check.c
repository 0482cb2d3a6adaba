/* watermark_check.c -- walks every interleaving of a few transactions, two servers and a restart, with the production
 * watermark.c inside.
 *
 * World     transactions on two TiDB servers fetch a start_ts and send P, get our ack and fetch a commit_ts, are
 *           committed or not in the store, send C or R or nothing. An R may also come while the store has not decided
 *           (an undetermined commit). Rare: a record is sent twice; a server dies (any part of the transactions under
 *           way was on it); the oracle is asked.
 * Consumer  reads records in order, asks the oracle (in two steps: a timestamp comes back; later the module and the
 *           buffer learn it), settles what is open by the rules of the sorter, publishes (W, and the place to read from
 *           again), and is killed and started again once.
 * Checked   after every step: each transaction committed at or below the published W is applied, once; none that is not
 *           committed is; W never falls; nothing is late, lost or an error. From every state in which nothing is under
 *           way: reading and settling all is enough for W to reach every record, and one oracle's timestamp for all.
 *           Each state is visited once (a set of 64-bit hashes).
 * Bound     3 transactions with a restart and a death; 2 with a restart and each pair of the rare events. Transactions
 *           are alike, so they start in order; a start_ts is fetched just before its P, since it only tells N
 *           something, and an older one tells less. About a minute.
 * Usage     watermark_check [TRANSACTIONS RARE]. A failure prints the steps that lead to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "syncer/sorter/watermark.h"

enum { TXNS_MAX = 3, RECORDS_MAX = 2 * TXNS_MAX + 1, OPS_MAX = 40, PATH_MAX_STEPS = 64 };

enum phase { IDLE, SENT, DECIDING, COMMITTED, ABORTED };
enum sent_end { NOT_SENT, SENT_END, NEVER };
enum record_kind { P, C, R };

struct txn {
    uint8_t phase, end, start_ts, commit_ts;
};
struct record {
    uint8_t kind, txn, known_ts;
};

/* What the module was told since its start, to build it again. */
enum op_kind { OP_READ, OP_ORACLE, OP_SETTLE_COMMIT, OP_SETTLE_GONE, OP_TAKE };
struct op {
    uint8_t kind, a, b;
};

struct state {
    struct txn txns[TXNS_MAX];
    struct record records[RECORDS_MAX];
    uint8_t record_count;
    uint8_t tso, buffer_known;
    uint8_t dead;                               /* bit a transaction: its server is */
    uint8_t deaths, repeats, restarts, oracles; /* how many there were */
    uint8_t oracle_ts, oracle_seq;              /* fetched, not delivered; 0: none */

    /* the consumer */
    uint8_t base_published, base_position; /* at its start */
    uint8_t published, position;           /* durable */
    uint8_t applied;                       /* bit a transaction; durable */
    uint8_t next_read;                     /* seq */
    uint8_t complete;                      /* bit a transaction: whole, waits for W */
    uint8_t settled_gone;
    uint8_t known_ts, known_seq; /* delivered from the oracle last */

    /* not part of what makes two states equal */
    uint8_t op_count;
    struct op ops[OPS_MAX];
};

enum rare { DEATH = 1, REPEAT = 2, ORACLE = 4 };
static unsigned txn_count, rare_allowed;
static const char *path[PATH_MAX_STEPS + 1];
static int path_txn[PATH_MAX_STEPS + 1];
static int depth;
static uint64_t visited_count;

static _Noreturn void fail(const struct state *s, const char *what)
{
    fprintf(stderr, "watermark_check: %s\n", what);
    for (int i = 0; i < depth; i++)
        fprintf(stderr, "  %2d %s %d\n", i + 1, path[i], path_txn[i]);
    for (unsigned t = 0; t < txn_count; t++)
        fprintf(stderr, "  txn %u: phase %d end %d start %d commit %d applied %d\n", t, s->txns[t].phase,
                s->txns[t].end, s->txns[t].start_ts, s->txns[t].commit_ts, s->applied >> t & 1);
    fprintf(stderr, "  published %d position %d\n", s->published, s->position);
    exit(1);
}

/* ---- the set of visited states -------------------------------------------------------------------------------- */

static uint64_t *visited;
static uint64_t visited_capacity;

static void visited_grow(void)
{
    uint64_t *old = visited, old_capacity = visited_capacity;

    visited_capacity = old ? old_capacity * 2 : (uint64_t)1 << 22;
    visited = calloc(visited_capacity, sizeof *visited);
    if (!visited) {
        fprintf(stderr, "watermark_check: no memory for %" PRIu64 " states\n", visited_capacity);
        exit(2);
    }
    for (uint64_t i = 0; i < old_capacity; i++)
        if (old[i]) {
            uint64_t at = old[i] & (visited_capacity - 1);
            while (visited[at])
                at = (at + 1) & (visited_capacity - 1);
            visited[at] = old[i];
        }
    free(old);
}

/* true: it was not there before. */
static bool visit(const struct state *s)
{
    uint64_t hash = mg_hash(s, offsetof(struct state, op_count), 0) | 1;

    if (visited_count * 2 >= visited_capacity)
        visited_grow();
    uint64_t at = hash & (visited_capacity - 1);
    for (; visited[at]; at = (at + 1) & (visited_capacity - 1))
        if (visited[at] == hash)
            return false;
    visited[at] = hash;
    visited_count++;
    return true;
}

/* ---- the module ----------------------------------------------------------------------------------------------- */

static void must(const struct state *s, enum mg_code code, const struct mg_error *err)
{
    if (code != MG_OK)
        fail(s, err->text);
}

/* Feed one record; what the sorter keeps of it goes into *s when s is the live state (complete, not NULL). */
static void feed(struct state *s, struct mg_watermark *w, unsigned seq, bool live)
{
    const struct record *r = &s->records[seq - 1];
    const struct txn *t = &s->txns[r->txn];
    struct mg_watermark_record record = {
        .seq = seq, .known_ts = r->known_ts, .start_ts = t->start_ts, .commit_ts = r->kind == C ? t->commit_ts : 0};
    enum mg_watermark_verdict verdict = MG_VERDICT_ORPHAN;
    struct mg_error err = MG_ERROR_INIT;

    if (r->kind == P)
        must(s, mg_watermark_prewrite(w, &record, &verdict, &err), &err);
    else if (r->kind == C)
        must(s, mg_watermark_commit(w, &record, &verdict, &err), &err);
    else
        must(s, mg_watermark_rollback(w, &record, &verdict, &err), &err);
    if (!live)
        return;
    if (r->kind == C && (verdict == MG_VERDICT_ORPHAN || verdict == MG_VERDICT_LATE))
        fail(s, "a commit without its prewrite, or late");
    if (verdict == MG_VERDICT_COMPLETE)
        s->complete |= (uint8_t)(1 << r->txn);
}

static struct mg_watermark *build(struct state *s)
{
    struct mg_watermark *w;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_watermark_verdict verdict;
    unsigned seq = s->base_position;

    must(s, mg_watermark_new(s->base_published, s->base_position, &w, &err), &err);
    for (unsigned i = 0; i < s->op_count; i++) {
        const struct op *op = &s->ops[i];
        switch (op->kind) {
        case OP_READ: feed(s, w, seq++, false); break;
        case OP_ORACLE: mg_watermark_know(w, op->a, op->b); break;
        case OP_SETTLE_COMMIT: mg_watermark_settle_commit(w, op->a, op->b, &verdict); break;
        case OP_SETTLE_GONE: mg_watermark_settle_gone(w, op->a); break;
        default: mg_watermark_take(w); break;
        }
    }
    return w;
}

static void remember(struct state *s, enum op_kind kind, unsigned a, unsigned b)
{
    if (s->op_count == OPS_MAX)
        fail(s, "more operations than the check has room for");
    s->ops[s->op_count++] = (struct op){(uint8_t)kind, (uint8_t)a, (uint8_t)b};
}

static uint8_t min_u8(uint64_t a, uint64_t b) { return (uint8_t)(a < b ? a : b); }

/* ---- what must hold ------------------------------------------------------------------------------------------- */

static void check(const struct state *s)
{
    for (unsigned t = 0; t < txn_count; t++) {
        bool applied = s->applied >> t & 1;
        if (s->txns[t].phase == COMMITTED && s->txns[t].commit_ts <= s->published && !applied)
            fail(s, "a committed transaction at or below the published watermark is missing");
        if (applied && s->txns[t].phase != COMMITTED)
            fail(s, "a transaction was applied that the store has not committed");
    }
}

static void apply_complete(struct state *s, const struct mg_watermark *w, uint64_t ts)
{
    uint64_t position = MG_MIN(mg_watermark_lowest_seq(w), (uint64_t)s->next_read);

    for (unsigned t = 0; t < txn_count; t++) {
        if (!(s->complete >> t & 1))
            continue;
        if (s->txns[t].commit_ts <= ts) {
            if (s->applied >> t & 1)
                fail(s, "a transaction is applied twice");
            s->applied |= (uint8_t)(1 << t);
            s->complete &= (uint8_t) ~(1 << t);
            continue;
        }
        for (unsigned seq = s->record_count; seq >= 1; seq--) /* a restart needs its first P again */
            if (s->records[seq - 1].kind == P && s->records[seq - 1].txn == t && seq >= s->base_position)
                position = min_u8(position, seq);
    }
    s->position = (uint8_t)position;
    s->published = (uint8_t)ts;
}

static void publish(struct state *s, struct mg_watermark *w)
{
    uint64_t ts = mg_watermark_take(w);

    if (ts < s->published)
        fail(s, "the watermark falls");
    remember(s, OP_TAKE, 0, 0);
    apply_complete(s, w, ts);
    struct mg_open_txn open;
    if (mg_watermark_open_txns(w, &open, 1) == 0 && s->next_read > s->record_count)
        for (unsigned seq = s->base_position; seq <= s->record_count; seq++) {
            const struct record *r = &s->records[seq - 1];
            if (ts < (r->kind == C ? s->txns[r->txn].commit_ts : s->txns[r->txn].start_ts))
                fail(s, "nothing is open, but the watermark does not reach the records");
        }
    check(s);
}

/* ---- settling, by the sorter's rules ---------------------------------------------------------------------------- */

enum answer { ANSWER_COMMIT, ANSWER_ROLLBACK, ANSWER_LOCKED, ANSWER_ABSENT };

/* Can the store answer so now? */
static bool possible(const struct txn *t, enum answer answer)
{
    switch (t->phase) {
    case SENT: return answer == ANSWER_LOCKED || answer == ANSWER_ABSENT; /* the store's prewrite runs beside ours */
    case DECIDING: return answer == ANSWER_LOCKED;
    case COMMITTED: return answer == ANSWER_COMMIT;
    case ABORTED: return answer != ANSWER_COMMIT;
    default: return false;
    }
}

/* true: something changed. */
static bool settle(struct state *s, struct mg_watermark *w, unsigned t, enum answer answer)
{
    struct mg_open_txn open[RECORDS_MAX];
    uint32_t count = mg_watermark_open_txns(w, open, RECORDS_MAX);
    enum mg_watermark_verdict verdict;

    for (uint32_t i = 0; i < count && i < RECORDS_MAX; i++) {
        if (open[i].start_ts != s->txns[t].start_ts)
            continue;
        bool dead = s->dead >> t & 1;
        if (answer == ANSWER_COMMIT) {
            mg_watermark_settle_commit(w, s->txns[t].start_ts, s->txns[t].commit_ts, &verdict);
            if (verdict == MG_VERDICT_LATE || verdict == MG_VERDICT_ORPHAN)
                fail(s, "settled as committed below a watermark that was handed out");
            if (verdict == MG_VERDICT_COMPLETE)
                s->complete |= (uint8_t)(1 << t);
            remember(s, OP_SETTLE_COMMIT, s->txns[t].start_ts, s->txns[t].commit_ts);
            return true;
        }
        if (answer == ANSWER_ROLLBACK || (answer == ANSWER_ABSENT && (open[i].doubtful || dead))) {
            mg_watermark_settle_gone(w, s->txns[t].start_ts);
            s->settled_gone |= (uint8_t)(1 << t);
            remember(s, OP_SETTLE_GONE, s->txns[t].start_ts, 0);
            return true;
        }
        return false;
    }
    return false;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static void append(struct state *s, enum record_kind kind, unsigned t)
{
    if (s->record_count == RECORDS_MAX)
        fail(s, "more records than the check has room for");
    s->records[s->record_count++] = (struct record){(uint8_t)kind, (uint8_t)t, s->buffer_known};
    uint8_t told = kind == C ? s->txns[t].commit_ts : s->txns[t].start_ts;
    s->buffer_known = MG_MAX(s->buffer_known, told);
}

static void explore(const struct state *s);

static void go(const struct state *next, const char *step, int t)
{
    check(next);
    if (!visit(next))
        return;
    if (depth == PATH_MAX_STEPS)
        fail(next, "a path longer than the check has room for");
    path[depth] = step;
    path_txn[depth++] = t;
    explore(next);
    depth--;
}

#define STEP(name, t, change)          \
    do {                               \
        struct state next = *s;        \
        struct txn *x = &next.txns[t]; \
        (void)x;                       \
        change;                        \
        go(&next, name, (int)(t));     \
    } while (0)

static void step_txn(const struct state *s, unsigned t)
{
    const struct txn *now = &s->txns[t];

    if (now->phase == DECIDING) { /* the store decides, whether the server lives or not */
        STEP("commits", t, x->phase = COMMITTED);
        STEP("aborts", t, (x->phase = ABORTED, x->commit_ts = 0));
    }
    if (s->dead >> t & 1)
        return;
    if (now->phase == IDLE && (t == 0 || s->txns[t - 1].phase != IDLE))
        STEP("sends P", t, (x->phase = SENT, x->start_ts = ++next.tso, append(&next, P, t)));
    if (now->phase == SENT) {
        STEP("is acked and fetches commit_ts", t, (x->phase = DECIDING, x->commit_ts = ++next.tso));
        STEP("gives up", t, x->phase = ABORTED);
    }
    if (now->end == NOT_SENT && now->phase == COMMITTED)
        STEP("sends C", t, (x->end = SENT_END, append(&next, C, t)));
    if (now->end == NOT_SENT && (now->phase == ABORTED || now->phase == DECIDING))
        STEP("sends R", t, (x->end = SENT_END, append(&next, R, t)));
    if (s->repeats == 0 && (rare_allowed & REPEAT) && now->phase >= SENT)
        STEP("sends P again", t, (next.repeats++, append(&next, P, t)));
    if (s->repeats == 0 && (rare_allowed & REPEAT) && now->phase == COMMITTED && now->end == SENT_END)
        STEP("sends C again", t, (next.repeats++, append(&next, C, t)));
}

/* The server of these transactions (a bit each) dies; what has not begun goes to the other one. */
static void step_death(const struct state *s, unsigned on_it)
{
    struct state next = *s;

    for (unsigned t = 0; t < txn_count; t++) {
        struct txn *x = &next.txns[t];
        if (!(on_it >> t & 1))
            continue;
        if (x->phase == IDLE)
            return;
        if (x->phase == SENT)
            x->phase = ABORTED; /* nobody can commit it any more */
        if (x->end == NOT_SENT)
            x->end = NEVER;
    }
    next.dead = (uint8_t)on_it;
    next.deaths++;
    go(&next, "server dies, of transactions (bits)", (int)on_it);
}

static void step_consumer(const struct state *s)
{
    if (s->next_read <= s->record_count) {
        struct state next = *s;
        struct mg_watermark *w = build(&next);
        feed(&next, w, next.next_read, true);
        mg_watermark_free(w);
        next.next_read++;
        remember(&next, OP_READ, 0, 0);
        go(&next, "consumer reads record", next.next_read - 1);
    }
    for (unsigned t = 0; t < txn_count; t++)
        for (enum answer answer = ANSWER_COMMIT; answer <= ANSWER_ABSENT; answer++) {
            struct state next = *s;
            if (!possible(&s->txns[t], answer) || answer == ANSWER_LOCKED)
                continue;
            struct mg_watermark *w = build(&next);
            bool changed = settle(&next, w, t, answer);
            mg_watermark_free(w);
            if (changed)
                go(&next, answer == ANSWER_COMMIT ? "is settled: committed" : "is settled: gone", (int)t);
        }
    struct state next = *s;
    struct mg_watermark *w = build(&next);
    publish(&next, w);
    mg_watermark_free(w);
    if (next.published != s->published || next.position != s->position || next.applied != s->applied)
        go(&next, "consumer publishes", next.published);
}

static void step_rare(const struct state *s)
{
    if (s->oracles == 0 && (rare_allowed & ORACLE))
        STEP("oracle answers", 0, (next.oracles++, next.oracle_ts = ++next.tso, next.oracle_seq = next.record_count));
    if (s->oracle_ts)
        STEP("oracle's answer is taken in", 0,
             (remember(&next, OP_ORACLE, next.oracle_ts, next.oracle_seq), next.known_ts = next.oracle_ts,
              next.known_seq = next.oracle_seq, next.buffer_known = MG_MAX(next.buffer_known, next.oracle_ts),
              next.oracle_ts = next.oracle_seq = 0));
    if (s->restarts == 0)
        STEP("consumer is killed and starts again", 0,
             (next.restarts++, next.base_published = next.published, next.base_position = next.position,
              next.next_read = next.position, next.complete = next.settled_gone = 0, next.op_count = 0,
              next.known_ts = next.known_seq = next.oracle_ts = next.oracle_seq = 0));
    for (unsigned on_it = 1; s->deaths == 0 && (rare_allowed & DEATH) && on_it < 1u << txn_count; on_it++)
        step_death(s, on_it);
}

/* Nothing more happens in the world: is reading, settling and one timestamp enough? */
static void check_progress(const struct state *s)
{
    struct state end = *s;
    struct mg_watermark *w = build(&end);

    for (unsigned t = 0; t < txn_count; t++)
        if (end.txns[t].phase != COMMITTED && end.txns[t].phase != ABORTED && end.txns[t].phase != IDLE)
            goto done;
    while (end.next_read <= end.record_count) {
        feed(&end, w, end.next_read++, true);
        remember(&end, OP_READ, 0, 0);
    }
    for (unsigned t = 0; t < txn_count; t++)
        settle(&end, w, t, end.txns[t].phase == COMMITTED ? ANSWER_COMMIT : ANSWER_ROLLBACK);
    publish(&end, w);
    mg_watermark_know(w, ++end.tso, end.record_count);
    remember(&end, OP_ORACLE, end.tso, end.record_count);
    publish(&end, w);
    if (end.published != end.tso)
        fail(&end, "all is settled, but the watermark does not reach the oracle's timestamp");
    for (unsigned t = 0; t < txn_count; t++)
        if (end.txns[t].phase == COMMITTED && !(end.applied >> t & 1))
            fail(&end, "all is settled, but a committed transaction is not applied");
done:
    mg_watermark_free(w);
}

static void explore(const struct state *s)
{
    for (unsigned t = 0; t < txn_count; t++)
        step_txn(s, t);
    step_consumer(s);
    step_rare(s);
    check_progress(s);
}

static void walk(unsigned transactions, unsigned rare)
{
    struct state begin;

    txn_count = transactions;
    rare_allowed = rare;
    memset(&begin, 0, sizeof begin);
    begin.base_position = begin.position = begin.next_read = 1;
    visited_count = 0;
    visit(&begin);
    explore(&begin);
    printf("watermark_check: %u transactions, 2 servers, a restart%s%s%s: %" PRIu64 " states, all as they must be\n",
           transactions, rare & DEATH ? ", a server's death" : "", rare & REPEAT ? ", a repeated record" : "",
           rare & ORACLE ? ", the oracle" : "", visited_count);
    fflush(stdout);
    free(visited);
    visited = NULL;
    visited_capacity = 0;
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        unsigned long transactions = strtoul(argv[1], NULL, 10), rare = strtoul(argv[2], NULL, 10);
        if (transactions >= 1 && transactions <= TXNS_MAX && rare <= (DEATH | REPEAT | ORACLE)) {
            walk((unsigned)transactions, (unsigned)rare);
            return 0;
        }
    }
    if (argc != 1) {
        fprintf(stderr, "usage: watermark_check [TRANSACTIONS RARE]: 1 to %d; 1 death + 2 repeat + 4 oracle\n",
                TXNS_MAX);
        return 2;
    }
    walk(2, DEATH | REPEAT);
    walk(2, ORACLE | DEATH);
    walk(2, ORACLE | REPEAT);
    walk(3, 0);
    walk(3, DEATH);
    return 0;
}
