/* engine_readers.c -- four readers hold snapshots while epochs are published: what they hold never changes, what they
 * get is whole.
 *
 *   engine_readers [SECONDS]      READ_SECONDS in the environment, else 2
 *
 * The writer moves amounts between accounts, moves accounts out and in (delete, insert), and keeps a ledger in a second
 * table: at every epoch all amounts of both tables sum to zero and the accounts are ACCOUNTS. Each reader holds one
 * snapshot for good, and reads it again and again: its checksum must stay; in between it takes new snapshots and checks
 * the sums, with splits and predicates. One reader opens old epochs. Meant for the thread sanitizer, which sees what a
 * checksum does not.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/io_fault.h"
#include "base/lock.h"
#include "base/random.h"
#include "engine/engine.h"

enum {
    READERS = 4,
    ACCOUNTS = 30000,
    CHANGES = 300,
    LEDGER_MAX = 40000,
    ABORTED_OF = 7,
    OLD_OF = 4,
    FLUSH_EVERY = 25,
    ASK_OF = 6,
    GONE_TRIES = 3000,
};

#define must(call)                                                                          \
    do {                                                                                    \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                         \
        enum mg_code must_code = (call);                                                    \
        if (must_code != MG_OK) {                                                           \
            fprintf(stderr, "%s: %s: %s\n", #call, mg_code_name(must_code), must_err.text); \
            abort();                                                                        \
        }                                                                                   \
    } while (0)
#define must_hold(condition, ...)         \
    do {                                  \
        if (!(condition)) {               \
            fprintf(stderr, __VA_ARGS__); \
            fprintf(stderr, "\n");        \
            abort();                      \
        }                                 \
    } while (0)

static const struct mg_engine_ops *const ops = &mg_engine_magic;
static struct mg_engine *engine;
static atomic_bool stop;
static _Atomic uint64_t epochs_published, held_reads, new_reads, old_reads;
static uint32_t compactions_done, compactions_cancelled; /* the writer's, until it has ended */

/* ---- tables -------------------------------------------------------------------------------------------------- */

static struct mg_schema *accounts, *ledger;

static void add_column(struct mg_schema *schema, int64_t id, const char *name, enum mg_type_id type, bool nullable)
{
    struct mg_column *column;
    must(mg_schema_add_column(schema, &column, err));
    column->id = id;
    column->type.id = type;
    column->nullable = nullable;
    must(mg_schema_text(&column->name, mg_slice_text(name), err));
}

static struct mg_schema *make_table(uint64_t id, const char *name)
{
    struct mg_schema *schema = mg_schema_new();
    schema->table_id = schema->version = id;
    must(mg_schema_text(&schema->database, mg_slice_text("bank"), err));
    must(mg_schema_text(&schema->table, mg_slice_text(name), err));
    must(mg_schema_text(&schema->source, mg_slice_text("test"), err));
    add_column(schema, 1, "id", MG_TYPE_INT64, false);
    add_column(schema, 2, "amount", MG_TYPE_INT64, false);
    add_column(schema, 3, "note", MG_TYPE_UTF8, true);
    schema->key_count = 1;
    must(mg_schema_seal(schema, err));
    return schema;
}

/* ---- the writer ---------------------------------------------------------------------------------------------- */

struct writer {
    struct mg_random random;
    int64_t *amounts;
    int64_t first_entry, next_entry; /* of the ledger: amount 0 each */
    struct mg_batch_builder accounts, ledger;
    uint8_t account_ops[CHANGES * 8], ledger_ops[CHANGES * 4];
    uint32_t account_count, ledger_count;
};

static void append(struct mg_batch_builder *builder, int64_t id, int64_t amount, uint64_t note)
{
    char text[48];
    must(mg_builder_int(builder, 0, id, err));
    must(mg_builder_int(builder, 1, amount, err));
    if (note % 4 == 0) {
        must(mg_builder_null(builder, 2, err));
        return;
    }
    snprintf(text, sizeof text, "note %llu", (unsigned long long)note % 1000000);
    must(mg_builder_text(builder, 2, mg_slice_text(text), err));
}

static void change_account(struct writer *w, int64_t id, int64_t by)
{
    w->amounts[id] += by;
    if (mg_random_below(&w->random, 10) == 0) { /* it moves out and in */
        w->account_ops[w->account_count++] = MG_CHANGE_DELETE;
        append(&w->accounts, id, 0, 0);
        w->account_ops[w->account_count++] = MG_CHANGE_INSERT;
    } else {
        w->account_ops[w->account_count++] = MG_CHANGE_UPDATE;
    }
    append(&w->accounts, id, w->amounts[id], mg_random_u64(&w->random));
}

static void put(struct mg_epoch *epoch, struct mg_batch_builder *builder, const struct mg_schema *schema,
                const uint8_t *change_ops, uint32_t *count)
{
    struct mg_batch *batch;
    must(mg_batch_builder_finish(builder, *count, &batch, err));
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = batch, .ops = change_ops};
    must(ops->put(epoch, &changes, err));
    mg_batch_unref(batch);
    *count = 0;
}

static void stage(struct writer *w, struct mg_epoch *epoch)
{
    for (uint32_t i = 0; i < CHANGES; i++) {
        int64_t from = (int64_t)mg_random_below(&w->random, ACCOUNTS),
                to = (int64_t)mg_random_below(&w->random, ACCOUNTS);
        int64_t by = (int64_t)mg_random_below(&w->random, 1000);
        change_account(w, from, -by);
        change_account(w, to, by);
        w->ledger_ops[w->ledger_count++] = MG_CHANGE_INSERT;
        append(&w->ledger, w->next_entry++, 0, (uint64_t)by);
    }
    while (w->next_entry - w->first_entry > LEDGER_MAX && w->ledger_count < CHANGES * 3) {
        w->ledger_ops[w->ledger_count++] = MG_CHANGE_DELETE;
        append(&w->ledger, w->first_entry++, 0, 0);
    }
    put(epoch, &w->accounts, accounts, w->account_ops, &w->account_count);
    put(epoch, &w->ledger, ledger, w->ledger_ops, &w->ledger_count);
}

static void begin_world(struct writer *w)
{
    struct mg_epoch *epoch;
    struct mg_schema_change create = {.kind = MG_SCHEMA_CREATE_DATABASE, .database = "bank"};
    must(ops->begin(engine, "test", 1, &epoch, err));
    must(ops->change_schema(epoch, &create, err));
    must(ops->change_schema(epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = accounts}, err));
    must(ops->change_schema(epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = ledger}, err));
    must(ops->publish(epoch, 1, MG_SLICE(NULL, 0), NULL, err));
    uint8_t *inserts = calloc(ACCOUNTS, 1);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        append(&w->accounts, i, 0, i);
    w->account_count = ACCOUNTS;
    must(ops->begin(engine, "test", 1, &epoch, err));
    put(epoch, &w->accounts, accounts, inserts, &w->account_count);
    must(ops->publish(epoch, 2, MG_SLICE(NULL, 0), NULL, err));
    free(inserts);
}

/* Asked compactions run beside the writer and the other lanes; some are cancelled, at once or when the next comes. */
static void ask_compaction(struct writer *w, uint64_t *last)
{
    if (*last && mg_random_below(&w->random, 3) == 0)
        (void)ops->cancel_compaction(engine, *last, NULL); /* it may be over */
    enum mg_code code = ops->compact(engine, 1 + mg_random_below(&w->random, 2), (struct mg_key_range){0}, last, NULL);
    must_hold(code == MG_OK || code == MG_BUSY, "a compaction is refused: %d", (int)code);
    if (code == MG_OK && mg_random_below(&w->random, 4) == 0)
        (void)ops->cancel_compaction(engine, *last, NULL);
}

static enum mg_code count_over(void *arg, const struct mg_compaction_info *info, struct mg_error *err)
{
    uint32_t *states = arg;
    states[info->state]++;
    must_hold(info->state != MG_COMPACTION_FAILED, "compaction %llu failed: %s", (unsigned long long)info->id,
              info->message);
    return MG_OK;
}

static void write_epochs(struct writer *w)
{
    uint64_t last_asked = 0;
    int64_t *saved = malloc(ACCOUNTS * sizeof *saved);
    for (uint64_t watermark = 3; !atomic_load(&stop); watermark++) {
        struct mg_epoch *epoch;
        bool abort_it = mg_random_below(&w->random, ABORTED_OF) == 0;
        int64_t first = w->first_entry, next = w->next_entry;
        memcpy(saved, w->amounts, ACCOUNTS * sizeof *saved);
        must(ops->begin(engine, "test", 1, &epoch, err));
        stage(w, epoch);
        if (abort_it) {
            ops->abort(epoch);
            memcpy(w->amounts, saved, ACCOUNTS * sizeof *saved);
            w->first_entry = first;
            w->next_entry = next;
            continue;
        }
        must(ops->publish(epoch, watermark, MG_SLICE("here", 4), NULL, err));
        if (atomic_fetch_add(&epochs_published, 1) % FLUSH_EVERY == 0) /* the maintainer flushes by the clock, too */
            must(ops->checkpoint(engine, true, err));
        if (mg_random_below(&w->random, ASK_OF) == 0)
            ask_compaction(w, &last_asked);
    }
    uint32_t states[MG_COMPACTION_CANCELLED + 1] = {0};
    must(ops->compactions(engine, 0, count_over, states, err));
    compactions_done = states[MG_COMPACTION_DONE];
    compactions_cancelled = states[MG_COMPACTION_CANCELLED];
    free(saved);
}

/* ---- readers ------------------------------------------------------------------------------------------------- */

struct totals {
    uint64_t rows, checksum;
    int64_t amount;
};

static void add_rows(struct totals *totals, const struct mg_batch *batch)
{
    for (uint32_t row = 0; row < batch->row_count; row++) {
        int64_t id = ((const int64_t *)batch->vectors[0].values)[row];
        int64_t amount = ((const int64_t *)batch->vectors[1].values)[row];
        struct mg_slice note = {NULL, 0};
        if (!mg_vector_is_null(&batch->vectors[2], row))
            note = mg_vector_text(&batch->vectors[2], row);
        totals->rows++;
        totals->amount += amount;
        totals->checksum += mg_hash(note.data, note.size, (uint64_t)id * 31 + (uint64_t)amount);
    }
}

static void scan(struct mg_snapshot *snapshot, struct mg_scan_spec spec, struct totals *totals)
{
    static const uint32_t columns[3] = {0, 1, 2};
    struct mg_scan *scan;
    spec.columns = columns;
    spec.column_count = 3;
    must(ops->scan(snapshot, &spec, &scan, err));
    for (;;) {
        struct mg_batch *batch;
        must(ops->next(scan, &batch, err));
        if (!batch)
            break;
        add_rows(totals, batch);
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
}

static struct totals read_all(struct mg_snapshot *snapshot, uint64_t table_id, uint32_t splits)
{
    struct totals totals = {0};
    struct mg_arena arena;
    struct mg_key_range *ranges;
    uint32_t count;
    mg_arena_init(&arena, 1 << 20);
    must(ops->plan_splits(snapshot, table_id, splits, true, &arena, &ranges, &count, err));
    for (uint32_t i = 0; i < count; i++)
        scan(snapshot, (struct mg_scan_spec){.table_id = table_id, .range = ranges[i]}, &totals);
    mg_arena_clear(&arena);
    return totals;
}

/* Both halves of a predicate together are all rows. */
static void check_halves(struct mg_snapshot *snapshot, struct totals whole)
{
    struct mg_arena arena;
    struct totals halves = {0};
    mg_arena_init(&arena, 1 << 16);
    struct mg_value zero = {.type = accounts->columns[1].type, .i = 0};
    for (int i = 0; i < 2; i++) {
        struct mg_expr *args[2] = {mg_expr_column(&arena, mg_slice_text("amount")), mg_expr_literal(&arena, &zero)};
        struct mg_expr *expr = mg_expr_call(&arena, i ? MG_EXPR_LT : MG_EXPR_GE, args, 2);
        struct mg_predicate *predicate;
        must(mg_predicate_bind(expr, accounts, &predicate, err));
        scan(snapshot, (struct mg_scan_spec){.table_id = 1, .predicate = predicate}, &halves);
        mg_predicate_free(predicate);
    }
    must_hold(halves.rows == whole.rows && halves.checksum == whole.checksum,
              "the halves of a predicate are not the whole");
    mg_arena_clear(&arena);
}

/* All accounts looked up by their keys, some at a time, are all accounts. */
static void check_keys(struct mg_snapshot *snapshot, struct totals whole)
{
    enum { ASKED = 1500 };
    static const uint32_t columns[3] = {0, 1, 2};
    uint8_t keys[ASKED * 8];
    uint32_t offsets[ASKED + 1] = {0}, rows[ASKED];
    struct totals found = {0};
    struct mg_find_spec spec = {
        .table_id = 1, .key_count = ASKED, .keys = keys, .offsets = offsets, .columns = columns, .column_count = 3};
    _Static_assert(ACCOUNTS % ASKED == 0, "rounds are full");
    for (uint32_t first = 0; first < ACCOUNTS; first += ASKED) {
        struct mg_batch *batch = NULL;
        for (uint32_t i = 0; i < ASKED; i++) {
            mg_store_be64(keys + i * 8, (uint64_t)(first + i) ^ UINT64_C(1) << 63);
            offsets[i + 1] = (i + 1) * 8;
        }
        must(ops->find(snapshot, &spec, rows, &batch, err));
        must_hold(batch, "no account from %u on is found", first);
        add_rows(&found, batch);
        mg_batch_unref(batch);
    }
    must_hold(found.rows == whole.rows && found.checksum == whole.checksum, "keys do not lead to what a scan gives");
}

static enum mg_code expect_none(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                                struct mg_error *err)
{
    must_hold(verify->told_count == 0, "table %s: %s", schema->table, verify->told[0].text);
    return MG_OK;
}

static void check_statistics(struct mg_snapshot *snapshot)
{
    struct mg_column_stats *stats;
    struct mg_arena arena;
    mg_arena_init(&arena, 1 << 16);
    must(ops->column_stats(snapshot, 1, NULL, &arena, &stats, err));
    must_hold(stats[0].has_bounds && stats[0].low.i == 0 && stats[0].high.i == ACCOUNTS - 1,
              "the ids are from %lld to %lld", (long long)stats[0].low.i, (long long)stats[0].high.i);
    mg_arena_clear(&arena);
    must(ops->verified(engine, 0, expect_none, NULL, err));
}

static void check_snapshot(struct mg_snapshot *snapshot, bool thorough)
{
    struct mg_table_stats stats;
    struct totals all = read_all(snapshot, 1, thorough ? 5 : 1);
    unsigned long long epoch = ops->snapshot_epoch(snapshot);
    must(ops->stats(snapshot, 2, &stats, err));
    must_hold(all.rows == ACCOUNTS, "epoch %llu has %llu accounts", epoch, (unsigned long long)all.rows);
    must_hold(all.amount == 0, "epoch %llu: the amounts sum to %lld", epoch, (long long)all.amount);
    if (!thorough)
        return;
    check_halves(snapshot, all);
    check_keys(snapshot, all);
    check_statistics(snapshot);
    struct totals entries = read_all(snapshot, 2, 1);
    must_hold(entries.rows == stats.row_count, "epoch %llu: the ledger has %llu entries, not %llu", epoch,
              (unsigned long long)entries.rows, (unsigned long long)stats.row_count);
}

struct reader {
    struct mg_thread thread;
    struct mg_random random;
    bool opens_old;
};

static void read_new(struct reader *reader)
{
    struct mg_snapshot *snapshots[3];
    size_t count = 1 + mg_random_below(&reader->random, MG_COUNT_OF(snapshots));
    for (size_t i = 0; i < count; i++)
        must(ops->snapshot(engine, &snapshots[i], err));
    for (size_t i = 0; i < count; i++) {
        check_snapshot(snapshots[i], mg_random_below(&reader->random, 4) == 0);
        ops->snapshot_unref(snapshots[i]);
    }
    atomic_fetch_add(&new_reads, count);
}

static void read_old(struct reader *reader)
{
    struct mg_snapshot *snapshot;
    uint64_t newest = atomic_load(&epochs_published),
             back = mg_random_below(&reader->random, MG_MIN(newest, 200UL) + 1);
    uint64_t epoch = MG_MAX(newest - back, 2UL);
    struct mg_error story = MG_ERROR_INIT;
    enum mg_code code = ops->snapshot_at(engine, epoch, &snapshot, &story);
    if (code == MG_SNAPSHOT_TOO_OLD) /* checkpoints went on */
        return;
    must_hold(code == MG_OK, "epoch %llu cannot be opened: %s", (unsigned long long)epoch, story.text);
    check_snapshot(snapshot, true);
    ops->snapshot_unref(snapshot);
    atomic_fetch_add(&old_reads, 1);
}

static void run_reader(void *arg)
{
    struct reader *reader = arg;
    struct mg_snapshot *held;
    must(ops->snapshot(engine, &held, err));
    struct totals accounts_then = read_all(held, 1, 1), ledger_then = read_all(held, 2, 1);
    while (!atomic_load(&stop)) {
        struct totals now = read_all(held, 1, 1 + (uint32_t)mg_random_below(&reader->random, 4));
        must_hold(now.rows == accounts_then.rows && now.checksum == accounts_then.checksum,
                  "held accounts have changed");
        now = read_all(held, 2, 1);
        must_hold(now.rows == ledger_then.rows && now.checksum == ledger_then.checksum, "a held ledger has changed");
        atomic_fetch_add(&held_reads, 1);
        read_new(reader);
        if (reader->opens_old && mg_random_below(&reader->random, OLD_OF) == 0)
            read_old(reader);
    }
    ops->snapshot_unref(held);
}

struct wanted {
    const char *name;
    uint64_t value;
};

static enum mg_code note_status(void *arg, const char *name, const char *value, const char *unit, struct mg_error *e)
{
    struct wanted *wanted = arg;
    if (strcmp(name, wanted->name) == 0)
        wanted->value = strtoull(value, NULL, 10);
    return MG_OK;
}

static uint64_t status_of(const char *name)
{
    struct wanted wanted = {name, 0};
    must(ops->status(engine, note_status, &wanted, err));
    return wanted.value;
}

/* ---- main ---------------------------------------------------------------------------------------------------- */

static void run_timer(void *arg)
{
    struct mg_clock *clock = mg_clock_system();
    struct mg_mutex lock;
    struct mg_cond cond;
    int64_t end_ms = mg_mono_ms(clock) + *(const int64_t *)arg;
    mg_mutex_init(&lock, MG_RANK_LEAF, "timer");
    mg_cond_init(&cond);
    mg_mutex_lock(&lock);
    while (mg_mono_ms(clock) < end_ms)
        mg_cond_wait_ms(&cond, &lock, end_ms - mg_mono_ms(clock));
    mg_mutex_unlock(&lock);
    mg_cond_destroy(&cond);
    mg_mutex_destroy(&lock);
    atomic_store(&stop, true);
}

int main(int argc, char **argv)
{
    const char *seconds = argc > 1 ? argv[1] : getenv("READ_SECONDS");
    int64_t run_ms = (int64_t)(strtod(seconds && *seconds ? seconds : "2", NULL) * 1000);
    struct mg_io_fault *disk = mg_io_fault_new(1);
    struct mg_budget budget;
    mg_budget_init(&budget, "readers", NULL, SIZE_MAX);
    struct mg_engine_options options = {.folder = "/store",
                                        .io = mg_io_fault_io(disk),
                                        .budget = &budget,
                                        .wal_segment_bytes = 256 << 10,
                                        .segment_bytes = 64 << 10,
                                        .sealed_bytes = 4096,
                                        .checkpoint_ms = 500};
    must(ops->open(&options, &engine, err));
    accounts = make_table(1, "accounts");
    ledger = make_table(2, "ledger");

    static struct writer writer;
    static struct reader readers[READERS];
    struct mg_type types[3];
    for (uint32_t c = 0; c < 3; c++)
        types[c] = accounts->columns[c].type;
    mg_random_init(&writer.random, 1);
    writer.amounts = calloc(ACCOUNTS, sizeof *writer.amounts);
    must(mg_batch_builder_init(&writer.accounts, types, 3, NULL, 1 << 30, err));
    must(mg_batch_builder_init(&writer.ledger, types, 3, NULL, 1 << 30, err));
    begin_world(&writer);
    for (uint32_t i = 0; i < READERS; i++) {
        mg_random_init(&readers[i].random, 100 + i);
        readers[i].opens_old = i == 0;
        must(mg_thread_start(&readers[i].thread, "reader", run_reader, &readers[i], err));
    }
    struct mg_thread timer = {0};
    must(mg_thread_start(&timer, "timer", run_timer, &run_ms, err));
    write_epochs(&writer);
    mg_thread_join(&timer);
    for (uint32_t i = 0; i < READERS; i++)
        mg_thread_join(&readers[i].thread);

    mg_batch_builder_clear(&writer.accounts);
    mg_batch_builder_clear(&writer.ledger);
    free(writer.amounts);
    mg_schema_unref(accounts);
    mg_schema_unref(ledger);
    uint64_t flushes = status_of("flushes"), merges = status_of("merges"), checkpoints = status_of("checkpoints");
    must_hold(status_of("maintenance_failed") == 0, "maintenance failed");
    must_hold(flushes > 0 && checkpoints > 0, "nothing was flushed");
    uint64_t sealed = status_of("sealed_total_bytes");
    for (int tries = 0; tries < GONE_TRIES && status_of("sealed_bytes") > 0; tries++)
        usleep(10 * 1000); /* a round of maintenance may hold chunks for a moment */
    must_hold(sealed > 0 && status_of("sealed_bytes") == 0,
              "%llu bytes of held snapshots went to disk, not all are gone", (unsigned long long)sealed);
    ops->close(engine);
    must_hold(mg_budget_used(&budget) == 0, "%zu bytes are still reserved", mg_budget_used(&budget));
    mg_io_fault_free(disk);
    must_hold(atomic_load(&epochs_published) > 0 && atomic_load(&held_reads) > 0, "nothing happened");
    printf("engine_readers: %d readers for %.0f s: %llu epochs published, %llu reads of held snapshots, %llu of new, "
           "%llu of "
           "rebuilt ones, %llu bytes sealed, %llu flushes, %llu merges, %llu checkpoints, %u compactions done and %u "
           "cancelled: none "
           "changed, "
           "all whole\n",
           READERS, (double)run_ms / 1000, (unsigned long long)atomic_load(&epochs_published),
           (unsigned long long)atomic_load(&held_reads), (unsigned long long)atomic_load(&new_reads),
           (unsigned long long)atomic_load(&old_reads), (unsigned long long)sealed, (unsigned long long)flushes,
           (unsigned long long)merges, (unsigned long long)checkpoints, compactions_done, compactions_cancelled);
    return 0;
}
