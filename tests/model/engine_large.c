/* engine_large.c -- one epoch many times larger than memory: there as a whole after kill -9, or not at all.
 *
 *   engine_large [ROWS] [MEMORY-MIB]      300,000 rows in 64 MiB
 *
 * Rows of about 120 bytes are inserted; of those before them in the epoch, and of some that were there before, a
 * quarter is updated and an eighth deleted, at random, some of these come back. What must be there is an array in this
 * program: by key how often it changed, and whether it lives; text and numbers of a row follow from that.
 * One process stages most of it and is killed; one aborts it; one publishes it and is killed; each time another opens
 * the folder and looks at every row and every file. Memory is what the engine reserved and what the process took.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/engine.h"

enum { BATCH_ROWS = 4096, BEFORE_OF = 10, IN_MEMORY = 20000, TEXT = 96 };

#define must(call)                                                                          \
    do {                                                                                    \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                         \
        enum mg_code must_code = (call);                                                    \
        if (must_code != MG_OK) {                                                           \
            fprintf(stderr, "%s: %s: %s\n", #call, mg_code_name(must_code), must_err.text); \
            _exit(1);                                                                       \
        }                                                                                   \
    } while (0)
#define must_hold(condition, ...)         \
    do {                                  \
        if (!(condition)) {               \
            fprintf(stderr, __VA_ARGS__); \
            fprintf(stderr, "\n");        \
            _exit(1);                     \
        }                                 \
    } while (0)

static const struct mg_engine_ops *const ops = &mg_engine_magic;

/* What the source knows of a key. */
struct known {
    uint8_t change_count; /* 0: it never was */
    bool lives;
};

struct large {
    char folder[64];
    uint32_t row_count, before_count; /* of the epoch; there before */
    size_t memory_bytes;
    struct mg_budget budget;
    struct mg_engine *engine;
    struct mg_schema *schema;
    struct known *known;
    struct mg_random random;
    struct mg_batch_builder builder;
    uint8_t change_ops[BATCH_ROWS];
    uint32_t staged; /* rows in the builder */
    uint64_t change_count;
};

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void add_column(struct mg_schema *schema, int64_t id, const char *name, enum mg_type_id type)
{
    struct mg_column *column;
    must(mg_schema_add_column(schema, &column, err));
    column->id = id;
    column->type.id = type;
    column->nullable = id > 1;
    must(mg_schema_text(&column->name, mg_slice_text(name), err));
}

static struct mg_schema *make_schema(void)
{
    struct mg_schema *schema = mg_schema_new();
    schema->table_id = schema->version = 1;
    must(mg_schema_text(&schema->database, mg_slice_text("d"), err));
    must(mg_schema_text(&schema->table, mg_slice_text("large"), err));
    add_column(schema, 1, "id", MG_TYPE_INT64);
    add_column(schema, 2, "changes", MG_TYPE_INT32);
    add_column(schema, 3, "note", MG_TYPE_UTF8);
    schema->key_count = 1;
    must(mg_schema_seal(schema, err));
    return schema;
}

/* The text of a key's nth change. */
static struct mg_slice note_of(uint32_t key, uint32_t nth, char text[TEXT + 1])
{
    uint64_t n = (uint64_t)key * 131 + nth;
    for (int i = 0; i < TEXT; i++, n = n * 6364136223846793005u + 1442695040888963407u)
        text[i] = (char)('a' + (n >> 60));
    return MG_SLICE(text, TEXT);
}

/* Ids are spread, so that the runs of an epoch do not have ranges of their own; an odd factor has an inverse. */
static const uint32_t spread = 2654435761u;

static int64_t id_of(uint32_t key) { return (int64_t)(uint32_t)(key * spread); }

static uint32_t key_of(int64_t id)
{
    uint32_t inverse = spread; /* right in the lowest 3 bits; each step doubles them */
    for (int i = 0; i < 4; i++)
        inverse *= 2 - spread * inverse;
    return (uint32_t)id * inverse;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void put(struct large *l, struct mg_epoch *epoch)
{
    struct mg_batch *batch;
    if (l->staged == 0)
        return;
    must(mg_batch_builder_finish(&l->builder, l->staged, &batch, err));
    must(ops->put(epoch, &(struct mg_changes){.table_id = 1, .schema_version = 1, .rows = batch, .ops = l->change_ops},
                  err));
    mg_batch_unref(batch);
    l->staged = 0;
}

static void change(struct large *l, struct mg_epoch *epoch, uint32_t key, bool lives)
{
    char text[TEXT + 1];
    struct known *known = &l->known[key];
    l->change_ops[l->staged++] = !lives ? MG_CHANGE_DELETE : known->lives ? MG_CHANGE_UPDATE : MG_CHANGE_INSERT;
    known->change_count++;
    known->lives = lives;
    must(mg_builder_int(&l->builder, 0, id_of(key), err));
    must(mg_builder_int(&l->builder, 1, known->change_count, err));
    must(mg_builder_text(&l->builder, 2, note_of(key, known->change_count, text), err));
    l->change_count++;
    if (l->staged == BATCH_ROWS)
        put(l, epoch);
}

static struct mg_epoch *begin(struct large *l)
{
    struct mg_epoch *epoch;
    must(ops->begin(l->engine, "test", 1, &epoch, err));
    return epoch;
}

static void publish(struct mg_epoch *epoch, uint64_t watermark)
{
    must(ops->publish(epoch, watermark, (struct mg_slice){0}, NULL, err));
}

/* A table, and rows of it in many epochs, some of them flushed. */
static void write_before(struct large *l)
{
    struct mg_epoch *epoch = begin(l);
    must(
        ops->change_schema(epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_CREATE_DATABASE, .database = "d"}, err));
    must(ops->change_schema(epoch, &(struct mg_schema_change){.kind = MG_SCHEMA_PUT_TABLE, .schema = l->schema}, err));
    publish(epoch, 1);
    for (uint32_t key = 0; key < l->before_count;) {
        epoch = begin(l);
        for (uint32_t end = MG_MIN(key + BATCH_ROWS * 2, l->before_count); key < end; key++)
            change(l, epoch, key, true);
        put(l, epoch);
        publish(epoch, 2 + key);
        if (l->before_count - key > IN_MEMORY && key / (BATCH_ROWS * 2) % 4 == 3)
            must(ops->checkpoint(l->engine, true, err));
    }
}

/* The epoch: new rows, and between them changes of any that are there. */
static struct mg_epoch *stage(struct large *l, uint32_t row_count)
{
    struct mg_epoch *epoch = begin(l);
    for (uint32_t i = 0; i < row_count; i++) {
        uint32_t key = l->before_count + i;
        change(l, epoch, key, true);
        uint64_t dice = mg_random_below(&l->random, 8);
        uint32_t other = (uint32_t)mg_random_below(&l->random, key + 1);
        if (dice < 3 && l->known[other].change_count < UINT8_MAX)
            change(l, epoch, other, dice < 2 || !l->known[other].lives);
    }
    put(l, epoch);
    return epoch;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static void check_row(const struct large *l, const struct mg_batch *batch, uint32_t row, uint8_t *seen)
{
    char text[TEXT + 1];
    uint32_t key = key_of(((const int64_t *)batch->vectors[0].values)[row]);
    int32_t nth = ((const int32_t *)batch->vectors[1].values)[row];
    must_hold(key < l->before_count + l->row_count && l->known[key].lives, "key %u should not be there", key);
    must_hold(nth == l->known[key].change_count, "key %u changed %d times, not %u", key, nth,
              l->known[key].change_count);
    must_hold(mg_slice_equal(mg_vector_text(&batch->vectors[2], row), note_of(key, (uint32_t)nth, text)),
              "key %u has another text", key);
    must_hold(!seen[key], "key %u is there twice", key);
    seen[key] = 1;
}

static void check_rows(const struct large *l, struct mg_snapshot *snapshot)
{
    uint32_t columns[] = {0, 1, 2}, key_count = l->before_count + l->row_count;
    uint64_t count = 0, living = 0;
    uint8_t *seen = calloc(key_count, 1);
    struct mg_scan_spec spec = {.table_id = 1, .columns = columns, .column_count = 3};
    struct mg_scan *scan;
    struct mg_batch *batch = NULL;
    must(ops->scan(snapshot, &spec, &scan, err));
    for (;;) {
        must(ops->next(scan, &batch, err));
        if (!batch)
            break;
        for (uint32_t row = 0; row < batch->row_count; row++)
            check_row(l, batch, row, seen);
        count += batch->row_count;
        mg_batch_unref(batch);
    }
    ops->scan_close(scan);
    for (uint32_t key = 0; key < key_count; key++)
        living += l->known[key].lives;
    must_hold(count == living, "%llu rows are there, not %llu", (unsigned long long)count, (unsigned long long)living);
    free(seen);
}

static void check_newest(const struct large *l)
{
    struct mg_snapshot *snapshot;
    must(ops->snapshot(l->engine, &snapshot, err));
    check_rows(l, snapshot);
    ops->snapshot_unref(snapshot);
}

static uint32_t file_count(const struct large *l)
{
    char path[128];
    uint32_t count = 0;
    snprintf(path, sizeof path, "%s/parts", l->folder);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

struct wanted {
    const char *name;
    uint64_t value;
};

static enum mg_code note_status(void *arg, const char *name, const char *value, const char *unit, struct mg_error *err)
{
    struct wanted *wanted = arg;
    if (strcmp(name, wanted->name) == 0)
        wanted->value = strtoull(value, NULL, 10);
    return MG_OK;
}

static uint64_t status(const struct large *l, const char *name)
{
    struct wanted wanted = {.name = name};
    must(ops->status(l->engine, note_status, &wanted, err));
    return wanted.value;
}

/* ---- processes ----------------------------------------------------------------------------------------------- */

static void open_engine(struct large *l, bool by_hand)
{
    struct mg_engine_options options = {.folder = l->folder, .budget = &l->budget, .maintain_by_hand = by_hand};
    mg_budget_init(&l->budget, "large", NULL, l->memory_bytes);
    must(ops->open(&options, &l->engine, err));
}

static void say_memory(const struct large *l, const char *what)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s: reserved at most %zu KiB of %zu, the process took %ld KiB\n", what,
           atomic_load(&l->budget.peak_bytes) >> 10, l->memory_bytes >> 10, usage.ru_maxrss);
    fflush(stdout);
}

static void stage_and_die(struct large *l)
{
    open_engine(l, false);
    stage(l, l->row_count / 4 * 3);
    must_hold(status(l, "spills") > 0, "the epoch is not larger than memory");
    must_hold(kill(getpid(), SIGKILL) == 0, "alive");
}

static void stage_and_abort(struct large *l)
{
    open_engine(l, true);
    uint32_t files = file_count(l);
    struct mg_epoch *epoch = stage(l, l->row_count / 2);
    must_hold(file_count(l) > files, "the epoch wrote no file");
    ops->abort(epoch);
    must_hold(file_count(l) == files, "an aborted epoch left files");
    ops->close(l->engine);
}

static void publish_and_die(struct large *l)
{
    struct mg_clock *clock = mg_clock_system();
    open_engine(l, false);
    int64_t start_ms = mg_mono_ms(clock);
    struct mg_epoch *epoch = stage(l, l->row_count);
    int64_t staged_ms = mg_mono_ms(clock);
    publish(epoch, (uint64_t)1 << 40);
    printf("%llu changes staged in %lld ms, published in %lld; %llu parts\n", (unsigned long long)l->change_count,
           (long long)(staged_ms - start_ms), (long long)(mg_mono_ms(clock) - staged_ms),
           (unsigned long long)status(l, "spills"));
    check_newest(l);
    must_hold(status(l, "verify_failed") == 0, "changes contradict the rows");
    say_memory(l, "written");
    must_hold(kill(getpid(), SIGKILL) == 0, "alive");
}

static void look(struct large *l)
{
    open_engine(l, true);
    check_newest(l);
    say_memory(l, "opened");
    ops->close(l->engine);
}

/* What the epoch does to what is known, without an engine. */
static void imagine(struct large *l)
{
    for (uint32_t i = 0; i < l->row_count; i++) {
        uint32_t key = l->before_count + i;
        l->known[key] = (struct known){(uint8_t)(l->known[key].change_count + 1), true};
        uint64_t dice = mg_random_below(&l->random, 8);
        uint32_t other = (uint32_t)mg_random_below(&l->random, key + 1);
        if (dice < 3 && l->known[other].change_count < UINT8_MAX)
            l->known[other] = (struct known){(uint8_t)(l->known[other].change_count + 1),
                                             dice < 2 || !l->known[other].lives};
    }
}

static void look_after(struct large *l)
{
    imagine(l);
    look(l);
    open_engine(l, true); /* and what becomes of it */
    must(ops->checkpoint(l->engine, true, err));
    must(ops->checkpoint(l->engine, true, err));
    check_newest(l);
    ops->close(l->engine);
    look(l);
}

static void in_process(struct large *l, const char *what, void (*run)(struct large *), bool is_killed)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run(l);
        fflush(stdout);
        _exit(0);
    }
    must_hold(waitpid(child, &status, 0) == child, "no child");
    bool right = is_killed ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0;
    must_hold(right, "%s: ended with %x", what, (unsigned)status);
    printf("%s: ok\n", what);
}

int main(int argc, char **argv)
{
    static struct large l;
    struct mg_type types[3];
    l.row_count = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 300000;
    l.memory_bytes = (argc > 2 ? strtoul(argv[2], NULL, 10) : 64) << 20;
    l.before_count = l.row_count / BEFORE_OF;
    snprintf(l.folder, sizeof l.folder, "/tmp/magic-large-XXXXXX");
    must_hold(mkdtemp(l.folder), "no folder");
    l.known = calloc((size_t)l.row_count + l.before_count, sizeof *l.known);
    mg_random_init(&l.random, 1);
    l.schema = make_schema();
    for (uint32_t c = 0; c < 3; c++)
        types[c] = l.schema->columns[c].type;
    must(mg_batch_builder_init(&l.builder, types, 3, NULL, 1 << 30, err));
    open_engine(&l, true);
    write_before(&l);
    ops->close(l.engine);
    in_process(&l, "staged, then killed", stage_and_die, true);
    in_process(&l, "not there", look, false);
    in_process(&l, "aborted", stage_and_abort, false);
    in_process(&l, "not there", look, false);
    in_process(&l, "published, then killed", publish_and_die, true);
    in_process(&l, "there", look_after, false);
    mg_batch_builder_clear(&l.builder);
    mg_schema_unref(l.schema);
    free(l.known);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", l.folder);
    return system(command) == 0 ? 0 : 1;
}
