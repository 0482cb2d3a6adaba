/* kill_test.c -- kill -9 of a process that writes, flushes, merges and reads, at every named step and at random: what
 * it published is there, whole, and nothing else; then the next one goes on in the same folder.
 *
 *   kill_test [--kills N] [--seed N]     32, 1; every stop point of the engine is among the kills, at least once
 *
 * The disk is the machine's. What an epoch holds follows from its number, so the rows after it can be told without
 * asking anybody: each published epoch is counted in memory that parent and child share, and the parent compares the
 * newest epoch and older ones with what they must hold. It needs no TiDB; tests/chaos does the same to magicd.
 * Threads  of the child: the writer (main), one that checkpoints, one that reads. The parent has one.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/lock.h"
#include "base/random.h"
#include "base/stop.h"
#include "base/testing.h"
#include "engine/engine.h"

enum {
    KEYS = 300,
    CHANGES = 8,
    EPOCHS_A_LIFE = 200, /* of a child that is to close by itself */
    EPOCHS_MAX = 60000,  /* of others: too many for any step not to be passed */
    KEPT = 64,           /* epochs whose rows the parent remembers */
    DDL_EVERY = 40,
    CHECKPOINT_EVERY = 12,
    LARGE_EVERY = 17, /* epochs that have more rows than may be staged in memory */
    LARGE_PUTS = 40,
    STAGE_BYTES = 2048,
};

static const struct mg_engine_ops *const ops = &mg_engine_magic;

#define must(call)                                                                                 \
    do {                                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                                \
        enum mg_code must_code = (call);                                                           \
        if (must_code != MG_OK) {                                                                  \
            fprintf(stderr, "kill_test: %s: %s: %s\n", #call, mg_code_name(must_code), err->text); \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* ---- what epochs hold ---------------------------------------------------------------------------------------- */

/* Rows by key; 0: none. */
struct rows {
    uint64_t epoch;
    uint64_t values[KEYS];
    bool has_side; /* the table that comes and goes */
};

static uint32_t key_of(uint64_t epoch, uint32_t i) { return (uint32_t)((mg_hash_u64(epoch) + i * 37u) % KEYS); }

static bool is_delete(uint64_t epoch, uint32_t i) { return mg_hash_u64(epoch * CHANGES + i) % 4 == 0; }

static uint64_t side_id(uint64_t epoch) { return 10 + epoch / DDL_EVERY; }

/* What is changed in an epoch. */
enum kind { DATABASE, TABLE, SIDE_COMES, SIDE_GOES, ROWS };

static enum kind kind_of(uint64_t epoch)
{
    if (epoch <= 2)
        return epoch == 1 ? DATABASE : TABLE;
    if (epoch % DDL_EVERY == 0)
        return SIDE_COMES;
    return epoch % DDL_EVERY == DDL_EVERY / 2 && epoch > DDL_EVERY ? SIDE_GOES : ROWS;
}

static void apply(struct rows *rows)
{
    uint64_t epoch = ++rows->epoch;
    switch (kind_of(epoch)) {
    case SIDE_COMES: rows->has_side = true; break;
    case SIDE_GOES: rows->has_side = false; break;
    case ROWS:
        for (uint32_t i = 0; i < CHANGES; i++) {
            uint64_t *value = &rows->values[key_of(epoch, i)];
            *value = *value && is_delete(epoch, i) ? 0 : epoch * CHANGES + i;
        }
        break;
    default: break;
    }
}

struct digest {
    uint64_t count, sum;
};

static struct digest digest_of(const struct rows *rows)
{
    struct digest digest = {0};
    for (uint32_t key = 0; key < KEYS; key++) {
        digest.count += rows->values[key] != 0;
        digest.sum += rows->values[key] ? mg_hash_u64(key * 1000003u + rows->values[key]) : 0;
    }
    return digest;
}

/* ---- the child ----------------------------------------------------------------------------------------------- */

struct shared {
    _Atomic uint64_t published;
};
static struct shared *shared;
static struct mg_schema *schema;
static _Atomic bool closing;

static struct mg_schema *make_schema(uint64_t id, uint64_t version, const char *name)
{
    struct mg_schema *made = mg_schema_new();
    struct mg_column *column;
    made->table_id = id;
    made->version = version;
    must(mg_schema_text(&made->database, mg_slice_text("d"), err));
    must(mg_schema_text(&made->table, mg_slice_text(name), err));
    must(mg_schema_text(&made->source, mg_slice_text("test"), err));
    for (int64_t c = 1; c <= 2; c++) {
        must(mg_schema_add_column(made, &column, err));
        column->id = c;
        column->type = (struct mg_type){.id = MG_TYPE_INT64};
        must(mg_schema_text(&column->name, mg_slice_text(c == 1 ? "k" : "v"), err));
    }
    made->key_columns[made->key_count++] = 0;
    must(mg_schema_seal(made, err));
    return made;
}

static const struct mg_type row_types[] = {{.id = MG_TYPE_INT64}, {.id = MG_TYPE_INT64}};

/* Rows of a table that is not compared, more than may be staged in memory. */
static void put_much(struct mg_epoch *epoch, uint64_t number)
{
    for (uint64_t first = 0; first < LARGE_PUTS * CHANGES; first += CHANGES) {
        static const uint8_t inserts[CHANGES] = {MG_CHANGE_INSERT};
        struct mg_batch_builder builder;
        struct mg_batch *batch;
        must(mg_batch_builder_init(&builder, row_types, 2, NULL, 1 << 20, err));
        for (uint64_t i = 0; i < CHANGES; i++) {
            must(mg_builder_int(&builder, 0, (int64_t)(number * LARGE_PUTS * CHANGES + first + i), err));
            must(mg_builder_int(&builder, 1, (int64_t)number, err));
        }
        must(mg_batch_builder_finish(&builder, CHANGES, &batch, err));
        mg_batch_builder_clear(&builder);
        struct mg_changes changes = {.table_id = 2, .schema_version = 2, .rows = batch, .ops = inserts};
        must(ops->put(epoch, &changes, err));
        mg_batch_unref(batch);
    }
}

static void put_rows(struct mg_epoch *epoch, const struct rows *before, uint64_t number)
{
    struct mg_batch_builder builder;
    struct mg_batch *batch;
    uint8_t change_ops[CHANGES];
    must(mg_batch_builder_init(&builder, row_types, 2, NULL, 1 << 20, err));
    for (uint32_t i = 0; i < CHANGES; i++) {
        uint32_t key = key_of(number, i);
        bool there = before->values[key] != 0;
        change_ops[i] = there ? is_delete(number, i) ? MG_CHANGE_DELETE : MG_CHANGE_UPDATE : MG_CHANGE_INSERT;
        must(mg_builder_int(&builder, 0, key, err));
        must(mg_builder_int(&builder, 1, (int64_t)(number * CHANGES + i), err));
    }
    must(mg_batch_builder_finish(&builder, CHANGES, &batch, err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {.table_id = 1, .schema_version = 1, .rows = batch, .ops = change_ops};
    must(ops->put(epoch, &changes, err));
    mg_batch_unref(batch);
}

static void change_schema(struct mg_epoch *epoch, uint64_t number)
{
    struct mg_schema_change change = {.kind = MG_SCHEMA_PUT_TABLE, .database = "d"};
    struct mg_schema *side = NULL;
    switch (kind_of(number)) {
    case DATABASE: change.kind = MG_SCHEMA_CREATE_DATABASE; break;
    case TABLE:
        change.schema = schema;
        must(ops->change_schema(epoch, &change, err));
        change.schema = side = make_schema(2, 2, "much");
        break;
    case SIDE_COMES: change.schema = side = make_schema(side_id(number), side_id(number), "side"); break;
    default:
        change.kind = MG_SCHEMA_DROP_TABLE;
        change.table_id = side_id(number);
        break;
    }
    must(ops->change_schema(epoch, &change, err));
    mg_schema_unref(side);
}

static void publish_next(struct mg_engine *engine, struct rows *rows)
{
    struct mg_epoch *epoch;
    uint64_t number = rows->epoch + 1, published;
    must(ops->begin(engine, "test", 1, &epoch, err));
    if (kind_of(number) == ROWS) {
        put_rows(epoch, rows, number);
        if (number % LARGE_EVERY == 0)
            put_much(epoch, number);
    } else {
        change_schema(epoch, number);
    }
    must(ops->publish(epoch, number, MG_SLICE("here", 4), &published, err));
    mg_assert(published == number);
    apply(rows);
    atomic_store(&shared->published, number);
}

static void checkpoint_main(void *arg)
{
    for (uint64_t turn = 0, last = 0; !closing; turn++) {
        while (!closing && atomic_load(&shared->published) < last + CHECKPOINT_EVERY)
            usleep(200);
        last = atomic_load(&shared->published);
        must(ops->checkpoint(arg, turn % 4 != 3, err));
    }
}

static enum mg_code digest_scan(struct mg_snapshot *snapshot, struct digest *out, struct mg_error *err)
{
    static const uint32_t columns[] = {0, 1};
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 2};
    struct mg_scan *scan;
    struct mg_batch *batch;
    enum mg_code code;
    *out = (struct digest){0};
    if (ops->snapshot_epoch(snapshot) < 2)
        return MG_OK;
    MG_TRY(ops->scan(snapshot, &spec, &scan, err));
    while ((code = ops->next(scan, &batch, err)) == MG_OK && batch) {
        for (uint32_t row = 0; row < batch->row_count; row++) {
            uint64_t key = (uint64_t)mg_vector_value(&batch->vectors[0], row).i;
            out->sum += mg_hash_u64(key * 1000003u + (uint64_t)mg_vector_value(&batch->vectors[1], row).i);
            out->count++;
        }
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    return code;
}

static void reader_main(void *arg)
{
    for (uint64_t turn = 0; !closing; turn++) {
        struct mg_snapshot *snapshot;
        struct digest digest;
        must(ops->snapshot(arg, &snapshot, err));
        uint64_t epoch = ops->snapshot_epoch(snapshot);
        must(digest_scan(snapshot, &digest, err));
        ops->snapshot_unref(snapshot);
        if (ops->snapshot_at(arg, epoch - MG_MIN(turn % 30, epoch), &snapshot, NULL) == MG_OK)
            ops->snapshot_unref(snapshot);
        usleep(500);
    }
}

static enum mg_code open_store(const char *folder, struct mg_engine **out, struct mg_error *err)
{
    struct mg_engine_options options = {.folder = folder,
                                        .wal_segment_bytes = 16 << 10,
                                        .segment_bytes = 2048,
                                        .stage_bytes = STAGE_BYTES,
                                        .sealed_bytes = 1,
                                        .maintain_by_hand = true};
    return ops->open(&options, out, err);
}

static _Noreturn void live(const char *folder, const struct rows *rows, const char *stop)
{
    struct mg_thread checkpoints = {0}, reader = {0};
    struct mg_engine *engine;
    static struct rows now;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody is left behind when the parent is ended */
    if (setenv("MAGIC_STOP", stop, 1) != 0 || mg_stop_init())
        _exit(1);
    now = *rows;
    must(open_store(folder, &engine, err));
    must(mg_thread_start(&checkpoints, "checkpoints", checkpoint_main, engine, err));
    must(mg_thread_start(&reader, "reader", reader_main, engine, err));
    uint32_t epochs = strncmp(stop, "engine.close", 12) == 0 ? EPOCHS_A_LIFE : EPOCHS_MAX;
    for (uint32_t i = 0; i < epochs; i++)
        publish_next(engine, &now);
    closing = true;
    mg_thread_join(&checkpoints);
    mg_thread_join(&reader);
    ops->close(engine);
    _exit(0);
}

/* ---- the parent ---------------------------------------------------------------------------------------------- */

struct history {
    struct rows rows;         /* of the newest epoch that is known */
    struct digest kept[KEPT]; /* by epoch */
};

static void advance(struct history *history, uint64_t epoch)
{
    while (history->rows.epoch < epoch) {
        apply(&history->rows);
        history->kept[history->rows.epoch % KEPT] = digest_of(&history->rows);
    }
}

static void compare(struct history *history, struct mg_engine *engine, uint64_t epoch)
{
    struct mg_snapshot *snapshot;
    struct digest digest;
    enum mg_code code = ops->snapshot_at(engine, epoch, &snapshot, NULL);
    if (code == MG_SNAPSHOT_TOO_OLD)
        return;
    assert_int_equal(code, MG_OK);
    must(digest_scan(snapshot, &digest, err));
    struct digest wanted = history->kept[epoch % KEPT];
    if (digest.count != wanted.count || digest.sum != wanted.sum)
        fail_msg("epoch %" PRIu64 " has %" PRIu64 " rows, %" PRIu64 " were written", epoch, digest.count, wanted.count);
    if (epoch == history->rows.epoch && epoch > DDL_EVERY) {
        struct mg_schema *side = NULL;
        uint64_t id = side_id(epoch);
        bool there = ops->table_by_id(snapshot, id, &side, NULL) == MG_OK;
        mg_schema_unref(side);
        assert_int_equal(there, history->rows.has_side);
    }
    ops->snapshot_unref(snapshot);
}

static enum mg_code no_name(void *arg, const char *name, struct mg_error *err)
{
    return mg_fail(err, MG_EXISTS, "%s/sealed/%s is left", (const char *)arg, name);
}

static void check_store(struct history *history, const char *folder)
{
    struct mg_engine *engine;
    struct mg_snapshot *snapshot;
    uint64_t published = MG_MAX(atomic_load(&shared->published), history->rows.epoch);
    must(open_store(folder, &engine, err));
    char sealed[4096];
    snprintf(sealed, sizeof sealed, "%s/sealed", folder);
    must(mg_io_system()->ops->list(mg_io_system(), sealed, no_name, (void *)(uintptr_t)folder, err));
    must(ops->snapshot(engine, &snapshot, err));
    uint64_t newest = ops->snapshot_epoch(snapshot);
    ops->snapshot_unref(snapshot);
    if (newest < published || newest > published + 1)
        fail_msg("epoch %" PRIu64 " was published, %" PRIu64 " is there", published, newest);
    advance(history, newest);
    for (uint64_t back = 0; back < MG_MIN(newest, (uint64_t)KEPT / 2); back += 1 + back / 4)
        compare(history, engine, newest - back);
    ops->close(engine);
    atomic_store(&shared->published, newest);
}

/* stop "": after that many microseconds. True: it was killed, and did not end by itself. */
static bool kill_one(struct history *history, const char *folder, const char *stop, uint64_t after_us)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live(folder, &history->rows, stop);
    if (!stop[0]) {
        usleep((useconds_t)after_us);
        kill(child, SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        fail_msg("the child failed (%s)", stop);
    check_store(history, folder);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static uint64_t kills = 32, first_seed = 1;

static bool is_of_engine(const char *name)
{
    static const char *const others[] = {"buffer.", "sorter.", "writer.", "latch."};
    for (size_t i = 0; i < MG_COUNT_OF(others); i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0)
            return false;
    return true;
}

/* How often a step is passed before the kill: what happens once a checkpoint is rare. */
static uint64_t passes(const char *name, struct mg_random *random)
{
    static const char *const often[] = {"wal.w", "wal.sy", "publish.s", "publish.r", "snapshot.", "scan."};
    if (strcmp(name, "engine.close") == 0)
        return 1;
    for (size_t i = 0; i < MG_COUNT_OF(often); i++)
        if (strncmp(name, often[i], strlen(often[i])) == 0)
            return 1 + mg_random_below(random, 60);
    return 1 + mg_random_below(random, 4);
}

static void killed_at_every_step_and_at_random(void **state)
{
    static struct history history;
    char *folder = make_folder();
    char stop[96];
    struct mg_random random;
    size_t count, steps = 0;
    const char *const *names = mg_stop_names(&count);
    mg_random_init(&random, first_seed);
    schema = make_schema(1, 1, "t");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    uint64_t done = 0, of_steps = 0, early = 0;
    for (size_t i = 0; i < count; i++)
        steps += is_of_engine(names[i]);
    while (done < MG_MAX(kills, (uint64_t)steps)) {
        if (mg_random_below(&random, 8) == 0) {
            early += !kill_one(&history, folder, "", mg_random_below(&random, 60000));
            done++;
        }
        for (size_t i = 0; i < count && (of_steps < steps || done < kills); i++) {
            if (!is_of_engine(names[i]))
                continue;
            snprintf(stop, sizeof stop, "%s:%" PRIu64 ":kill", names[i], passes(names[i], &random));
            if (!kill_one(&history, folder, stop, 0))
                fail_msg("the step was not passed: MAGIC_STOP=%s (seed %" PRIu64 ")", stop, first_seed);
            of_steps++;
            done++;
            if (mg_random_below(&random, 8) == 0) {
                early += !kill_one(&history, folder, "", mg_random_below(&random, 60000));
                done++;
            }
        }
    }
    print_message("%" PRIu64 " kills, %" PRIu64 " of them at %zu steps, each hit; %" PRIu64 " epochs, all there\n",
                  done - early, of_steps, steps, history.rows.epoch);
    assert_true(of_steps >= steps && history.rows.epoch > 100);
    munmap(shared, sizeof *shared);
    mg_schema_unref(schema);
    remove_folder(folder);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(killed_at_every_step_and_at_random)};
    for (int i = 1; i + 1 < argc; i += 2)
        *(strcmp(argv[i], "--kills") == 0 ? &kills : &first_seed) = strtoull(argv[i + 1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
