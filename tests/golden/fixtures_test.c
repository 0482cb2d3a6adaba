/* fixtures_test.c -- every recorded binlog through decoder, schema tracker, writer and engine: what a scan then gives
 * is what the source held.
 *
 * Each case runs against each engine in three ways: replayed (the source's history and schema are those of the end of
 * the case), lived through (the history grows with the stream), and with restarts at random places (SEED=n replays
 * one). At each check of the case every table is compared, all columns and rows. A table that this version does not
 * keep, or could not follow, must be so by intention: outside.tsv lists case, check, table, state and reason, and is
 * compared as a whole. WRITE_OUTSIDE=1 writes it anew. Every old image that the binlog holds is compared with the
 * stored row: none may differ, unless a test has changed that row by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <inttypes.h>

#include "base/random.h"
#include "base/testing.h"
#include "engine/engine.h"
#include "latch/latch.h"
#include "syncer/writer/writer.h"
#include "tidb_case.h"

#define OUTSIDE MG_SOURCE_DIR "/tests/golden/outside.tsv"

/* IN_PIECES: every transaction is treated as one that is too large for memory. */
enum way { REPLAYED, LIVED, RESTARTED, IN_PIECES };
static const char *const way_names[] = {"replayed", "lived through", "restarted", "in pieces"};

enum { SETTLE_STEP_MS = 100, SETTLE_STEPS_MAX = 200 };

/* One engine with a writer on it, and the case's place in the stream. */
struct run {
    const struct mg_engine_ops *ops;
    struct tidb_case *c;
    enum way way;
    char *folder;
    struct mg_clock_manual clock;
    struct mg_random random;
    struct mg_engine *engine;
    struct mg_latch *latch;
    struct mg_writer *writer;
    size_t at;         /* index of the next transaction */
    uint64_t compared; /* old images */
    unsigned restarts, equal_tables, outside_tables;
    uint64_t equal_rows;
    struct mg_buffer *outside; /* lines for outside.tsv */
};

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static void open_engine(struct run *run)
{
    struct mg_error err;
    struct mg_engine_options options = {.folder = run->folder, .clock = &run->clock.clock, .sync_off = true};
    assert_ok(run->ops->open(&options, &run->engine, &err));
}

static void open_writer(struct run *run)
{
    struct mg_error err;
    struct mg_latch_options latch = {.engine = run->engine, .clock = &run->clock.clock};
    struct mg_source_position *position = malloc(sizeof *position);

    memset(latch.secret, 7, sizeof latch.secret);
    assert_ok(mg_latch_new(&latch, &run->latch, &err));
    struct mg_writer_options options = {
        .latch = run->latch,
        .engine = run->engine,
        .source = &run->c->source,
        .source_name = "tidb",
        .clock = &run->clock.clock,
        .interval_ms = 10,
        .verify_one_in = 1,
    };
    assert_ok(mg_writer_open(&options, &run->writer, position, &err));
    /* What a sorter does: read from the stored place on, drop what the watermark covers. */
    run->at = position->position_size >= 8 ? mg_load_le64(position->position) : 0;
    while (run->at < run->c->txn_count && run->c->txns[run->at].commit_ts <= position->watermark)
        run->at++;
    free(position);
}

static void close_writer(struct run *run)
{
    mg_writer_close(run->writer);
    mg_latch_free(run->latch);
    run->writer = NULL;
    run->latch = NULL;
}

/* ---- verification -------------------------------------------------------------------------------------------- */

static enum mg_code expect_none(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                                struct mg_error *err)
{
    struct run *run = arg;
    uint64_t failed = 0;

    (void)err;
    for (int kind = 0; kind < MG_VERIFY_KINDS; kind++)
        failed += verify->counts[kind];
    if (failed)
        fail_msg("%s (%s, %s): %s.%s: %" PRIu64 " changes contradict what is stored, first %s", run->c->folder,
                 run->ops->name, way_names[run->way], schema->database, schema->table, failed, verify->told[0].text);
    run->compared += verify->compared_count;
    return MG_OK;
}

/* A real TiDB never contradicts what it wrote, and neither do we after a restart. */
static void nothing_contradicts(struct run *run)
{
    struct mg_error err;
    assert_ok(run->ops->verified(run->engine, 0, expect_none, run, &err));
}

static void restart(struct run *run)
{
    close_writer(run);
    if (run->ops != &mg_engine_model) { /* the model keeps nothing */
        nothing_contradicts(run);
        run->ops->close(run->engine);
        open_engine(run);
    }
    open_writer(run);
    run->restarts++;
}

/* ---- feeding ------------------------------------------------------------------------------------------------- */

/* Time goes on, here and at the source. */
static void pass_time(struct run *run, int64_t ms)
{
    mg_clock_manual_advance(&run->clock, ms * 1000000);
    if (run->way == LIVED)
        run->c->moment_ts += (uint64_t)ms << 18;
}

static enum mg_code read_rows(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    memcpy(out, (const uint8_t *)arg + offset, size);
    return MG_OK;
}

static void apply(struct run *run, const struct mg_txn *txn)
{
    struct mg_txn outside = *txn;
    const struct mg_span_source source = {.read = read_rows, .arg = (uint8_t *)(uintptr_t)txn->rows.data};
    struct mg_error err;

    if (run->way == IN_PIECES && txn->kind == MG_TXN_ROWS) {
        outside.rows = (struct mg_span){.size = txn->rows.size, .source = &source};
        txn = &outside;
    }

    if (run->way == LIVED)
        run->c->moment_ts = MG_MAX(run->c->moment_ts, txn->commit_ts);
    for (int i = 0;; i++) {
        err = MG_ERROR_INIT;
        enum mg_code code = mg_writer_apply(run->writer, txn, &err);
        if (code == MG_OK)
            return;
        if (code != MG_UNAVAILABLE || i > SETTLE_STEPS_MAX)
            fail_msg("%s: commit %" PRIu64 ": %s: %s", run->c->folder, txn->commit_ts, mg_code_name(code), err.text);
        pass_time(run, SETTLE_STEP_MS);
    }
}

/* All transactions up to ts; with restarts in between if this run has them. */
static void feed(struct run *run, uint64_t ts)
{
    struct mg_error err;
    uint64_t published;

    while (run->at < run->c->txn_count && run->c->txns[run->at].commit_ts <= ts) {
        const struct mg_txn *txn = &run->c->txns[run->at];
        if (run->way == RESTARTED && mg_random_below(&run->random, 1000) == 0) {
            run->c->away = true; /* the status port may be away for a while, too */
            err = MG_ERROR_INIT;
            enum mg_code code = mg_writer_apply(run->writer, txn, &err);
            run->c->away = false;
            assert_true(code == MG_OK || code == MG_UNAVAILABLE);
            run->at += code == MG_OK; /* a transaction is applied once */
            if (code == MG_OK)
                continue;
        }
        if (run->way == RESTARTED && mg_random_below(&run->random, MG_MAX(run->c->txn_count / 8, (size_t)2)) == 0) {
            restart(run);
            continue;
        }
        apply(run, txn);
        run->at++;
        if (mg_random_below(&run->random, 4) == 0) {
            pass_time(run, (int64_t)mg_random_below(&run->random, 15));
            assert_ok(mg_writer_advance(run->writer, txn->commit_ts, run->at, &published, &err));
        }
    }
    assert_ok(mg_writer_advance(run->writer, ts, run->at, &published, &err));
    assert_ok(mg_writer_flush(run->writer, &published, &err));
    assert_ok(run->ops->wait_watermark(run->engine, "tidb", ts, 60000, &err));
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

enum { COLUMNS_MAX = 64 };

struct rows {
    char **lines;
    size_t count, room;
};

static void add_line(struct rows *rows, const char *text, size_t size)
{
    if (rows->count == rows->room) {
        rows->room = rows->room ? rows->room * 2 : 256;
        rows->lines = realloc(rows->lines, rows->room * sizeof *rows->lines);
        assert_non_null(rows->lines);
    }
    char *line = malloc(size + 1); /* text is not terminated */
    assert_non_null(line);
    memcpy(line, text, size);
    line[size] = 0;
    rows->lines[rows->count++] = line;
}

static int compare_lines(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sort_rows(struct rows *rows)
{
    if (rows->count)
        qsort(rows->lines, rows->count, sizeof *rows->lines, compare_lines);
}

static void free_rows(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++)
        free(rows->lines[i]);
    free(rows->lines);
}

/* Floats compare by value: both sides are written with all digits. */
static void format_float(bool single, double v, char text[64])
{
    snprintf(text, 64, "%.17g", single ? (double)(float)v : v);
}

struct expected {
    char text[COLUMNS_MAX][160];
    const char *names[COLUMNS_MAX], *kinds[COLUMNS_MAX];
    uint32_t column_count;
    struct rows rows;
};

static void read_header(struct expected *want, char *line)
{
    for (char *field; (field = strsep(&line, "\t"));) {
        assert_true(want->column_count < COLUMNS_MAX);
        char *text = want->text[want->column_count];
        snprintf(text, sizeof want->text[0], "%s", field);
        char *colon = strrchr(text, ':');
        assert_non_null(colon);
        *colon = 0;
        want->names[want->column_count] = text;
        want->kinds[want->column_count++] = colon + 1;
    }
}

/* Zero, partial and impossible dates are NULL here: the one mapping that changes a value
 * (docs/design/tidb-types.md). */
static bool is_no_date(const char *kind, const char *text)
{
    int year, month, day;
    int32_t days;
    return strcmp(kind, "time") == 0 && sscanf(text, "%d-%d-%d", &year, &month, &day) == 3 &&
           !mg_date_from_ymd(year, month, day, &days);
}

static void read_row(struct expected *want, char *line)
{
    struct mg_error err;
    struct mg_buffer out;
    uint32_t column = 0;

    mg_buffer_init(&out, 1 << 24);
    for (char *field; (field = strsep(&line, "\t")); column++) {
        assert_true(column < want->column_count);
        const char *kind = want->kinds[column];
        char text[64];
        if (*kind == '~') /* virtual: no binlog holds it */
            continue;
        if (strcmp(field, "\\N") != 0 && (strcmp(kind, "f32") == 0 || strcmp(kind, "f64") == 0)) {
            format_float(strcmp(kind, "f32") == 0, strcmp(kind, "f32") == 0 ? strtof(field, NULL) : strtod(field, NULL),
                         text);
            field = text;
        } else if (is_no_date(kind, field)) {
            snprintf(text, sizeof text, "\\N");
            field = text;
        }
        assert_ok(mg_buffer_printf(&out, &err, "%s\t", field));
    }
    assert_int_equal(column, want->column_count);
    add_line(&want->rows, (char *)out.data, out.size);
    mg_buffer_clear(&out);
}

static void read_expected(struct expected *want, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    bool first = true;

    assert_non_null(file);
    for (ssize_t size; (size = getline(&line, &room, file)) > 0; first = false) {
        if (line[size - 1] == '\n')
            line[size - 1] = 0;
        if (first)
            read_header(want, line);
        else
            read_row(want, line);
    }
    free(line);
    fclose(file);
    sort_rows(&want->rows);
}

static void format_value(const struct mg_value *value, struct mg_buffer *out)
{
    struct mg_error err;
    char text[64];

    if (value->is_null) {
        assert_ok(mg_buffer_append(out, "\\N", 2, &err));
    } else if (value->type.id == MG_TYPE_UTF8) {
        for (size_t i = 0; i < value->text.size; i++)
            assert_ok(mg_buffer_printf(out, &err, "%02X", value->text.data[i]));
    } else if (value->type.id == MG_TYPE_FLOAT32 || value->type.id == MG_TYPE_FLOAT64) {
        format_float(value->type.id == MG_TYPE_FLOAT32, value->f, text);
        assert_ok(mg_buffer_append(out, text, strlen(text), &err));
    } else {
        assert_ok(mg_value_format(value, out, &err));
    }
    assert_ok(mg_buffer_append_u8(out, '\t', &err));
}

static void scan(struct run *run, struct mg_snapshot *snapshot, const struct mg_schema *schema, struct rows *out)
{
    struct mg_error err;
    struct mg_scan *reading;
    struct mg_batch *batch;
    struct mg_buffer line;
    uint32_t columns[COLUMNS_MAX], count = 0;

    for (uint32_t i = 0; i < schema->column_count; i++)
        if (!schema->columns[i].hidden)
            columns[count++] = i;
    struct mg_scan_spec spec = {.table_id = schema->table_id, .columns = columns, .column_count = count};
    mg_buffer_init(&line, 1 << 24);
    assert_ok(run->ops->scan(snapshot, &spec, &reading, &err));
    for (;;) {
        assert_ok(run->ops->next(reading, &batch, &err));
        if (!batch)
            break;
        for (uint32_t r = 0; r < batch->row_count; r++) {
            mg_buffer_reset(&line);
            for (uint32_t i = 0; i < count; i++) {
                struct mg_value value = mg_vector_value(&batch->vectors[i], r);
                value.type = schema->columns[columns[i]].type; /* with its fraction digits */
                format_value(&value, &line);
            }
            add_line(out, (char *)line.data, line.size);
        }
        mg_batch_unref(batch);
    }
    run->ops->scan_close(reading);
    mg_buffer_clear(&line);
    sort_rows(out);
}

static void compare_columns(const struct expected *want, const struct mg_schema *schema, const char *what)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < want->column_count; i++) {
        if (*want->kinds[i] == '~')
            continue;
        while (at < schema->column_count && schema->columns[at].hidden)
            at++;
        if (at == schema->column_count || strcmp(schema->columns[at].name, want->names[i]) != 0)
            fail_msg("%s: column %u is %s, the source has %s", what, at,
                     at < schema->column_count ? schema->columns[at].name : "missing", want->names[i]);
        at++;
    }
    for (; at < schema->column_count; at++)
        if (!schema->columns[at].hidden)
            fail_msg("%s: column %s is not at the source", what, schema->columns[at].name);
}

static void compare_rows(const struct rows *want, const struct rows *have, const char *what)
{
    for (size_t i = 0; i < MG_MAX(want->count, have->count); i++) {
        const char *w = i < want->count ? want->lines[i] : "(no more rows)";
        const char *h = i < have->count ? have->lines[i] : "(no more rows)";
        if (strcmp(w, h) != 0)
            fail_msg("%s: %zu rows, the source has %zu; the first difference:\n  here   %.2000s\n  source %.2000s",
                     what, have->count, want->count, h, w);
    }
}

static void compare_table(struct run *run, struct mg_snapshot *snapshot, const struct tidb_check *check,
                          const char *file)
{
    static const char *const states[] = {"ok", "unsupported", "needs-reload"};
    struct mg_error err;
    struct mg_schema *schema;
    char what[1024], path[2048];
    const char *dot = strchr(file, '.'), *end = strrchr(file, '.');

    snprintf(what, sizeof what, "%s/%s/%.*s (%s, %s)", strrchr(run->c->folder, '/') + 1, check->name, (int)(end - file),
             file, run->ops->name, way_names[run->way]);
    err = MG_ERROR_INIT;
    if (run->ops->table_by_name(snapshot, MG_SLICE(file, (size_t)(dot - file)),
                                MG_SLICE(dot + 1, (size_t)(end - dot - 1)), &schema, &err) != MG_OK)
        fail_msg("%s: %s", what, err.text);
    if (schema->state != MG_STATE_OK) {
        assert_ok(mg_buffer_printf(run->outside, &err, "%s\t%s\t%.*s\t%s\t%s\n", strrchr(run->c->folder, '/') + 1,
                                   check->name, (int)(end - file), file, states[schema->state], schema->state_reason));
        run->outside_tables++;
    } else {
        struct expected *want = calloc(1, sizeof *want);
        struct rows have = {0};
        snprintf(path, sizeof path, "%s/expected/%s/%s", run->c->folder, check->name, file);
        read_expected(want, path);
        compare_columns(want, schema, what);
        scan(run, snapshot, schema, &have);
        compare_rows(&want->rows, &have, what);
        run->equal_tables++;
        run->equal_rows += have.count;
        free_rows(&have);
        free_rows(&want->rows);
        free(want);
    }
    mg_schema_unref(schema);
}

static void compare(struct run *run, const struct tidb_check *check)
{
    struct mg_error err;
    struct mg_snapshot *snapshot;
    struct dirent **files;
    char path[1024];

    snprintf(path, sizeof path, "%s/expected/%s", run->c->folder, check->name);
    int count = scandir(path, &files, NULL, alphasort);
    assert_true(count > 2);
    assert_ok(run->ops->snapshot(run->engine, &snapshot, &err));
    for (int i = 0; i < count; i++) {
        if (files[i]->d_name[0] != '.')
            compare_table(run, snapshot, check, files[i]->d_name);
        free(files[i]);
    }
    free(files);
    run->ops->snapshot_unref(snapshot);
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */

static void run_case(const struct mg_engine_ops *ops, const char *name, enum way way, uint64_t seed,
                     struct mg_buffer *outside)
{
    struct run run = {.ops = ops, .way = way, .outside = outside, .folder = make_folder()};

    run.c = tidb_case_load(name);
    if (way == LIVED)
        run.c->moment_ts = 1;
    mg_clock_manual_init(&run.clock, 1700000000000);
    mg_random_init(&run.random, seed);
    open_engine(&run);
    open_writer(&run);
    for (size_t i = 0; i < run.c->check_count; i++) {
        /* checks.tsv is in the order of their timestamps */
        feed(&run, run.c->checks[i].ts);
        compare(&run, &run.c->checks[i]);
    }
    close_writer(&run);
    nothing_contradicts(&run);
    ops->close(run.engine);
    printf("  %-6s %-14s %-15s %4zu transactions, %3u restarts: %3u tables equal (%" PRIu64
           " rows), %2u outside, %" PRIu64 " old rows compared\n",
           ops->name, way_names[way], name, run.c->txn_count, run.restarts, run.equal_tables, run.equal_rows,
           run.outside_tables, run.compared);
    tidb_case_free(run.c);
    remove_folder(run.folder);
}

static void run_all(const struct mg_engine_ops *ops, enum way way, uint64_t seed, struct mg_buffer *outside)
{
    char **names = tidb_case_names();
    const char *only = getenv("CASE");
    for (char **name = names; *name; name++) {
        if (!only || strcmp(only, *name) == 0)
            run_case(ops, *name, way, seed, outside);
        free(*name);
    }
    free(names);
}

static const struct mg_engine_ops *const engines[] = {
    &mg_engine_model,
#ifdef MG_HAVE_ENGINE_MAGIC
    &mg_engine_magic,
#endif
};

static void compare_outside(struct mg_buffer *outside, const char *what)
{
    char line[2048];
    struct mg_error err;

    if (getenv("CASE"))
        return;
    assert_ok(mg_buffer_append(outside, "", 1, &err)); /* terminated, for messages */
    if (getenv("WRITE_OUTSIDE")) {
        FILE *file = fopen(OUTSIDE, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(outside->data, 1, outside->size - 1, file), outside->size - 1);
        fclose(file);
        return;
    }
    FILE *file = fopen(OUTSIDE, "r");
    assert_non_null(file);
    const char *at = (const char *)outside->data, *end = at + outside->size - 1;
    while (fgets(line, sizeof line, file)) {
        size_t size = strlen(line);
        if (size > (size_t)(end - at) || memcmp(at, line, size) != 0)
            fail_msg("%s: outside.tsv has\n  %sand here it is\n  %.*s", what, line, (int)strcspn(at, "\n"), at);
        at += size;
    }
    if (at != end)
        fail_msg("%s: outside.tsv lacks\n  %.*s", what, (int)(end - at), at);
    fclose(file);
}

static void each_engine(enum way way, uint64_t seed)
{
    for (size_t i = 0; i < MG_COUNT_OF(engines); i++) {
        struct mg_buffer outside;
        mg_buffer_init(&outside, 1 << 20);
        run_all(engines[i], way, seed, &outside);
        compare_outside(&outside, way_names[way]);
        mg_buffer_clear(&outside);
    }
}

static void replayed(void **state) { each_engine(REPLAYED, 1); }

static void lived_through(void **state) { each_engine(LIVED, 2); }

static void in_pieces(void **state) { each_engine(IN_PIECES, 3); }

static void restarted(void **state)
{
    const char *seed = getenv("SEED");
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t number = seed ? strtoull(seed, NULL, 10) : 100 + i;
        printf("  seed %" PRIu64 "\n", number);
        each_engine(RESTARTED, number);
        if (seed)
            break;
    }
}

/* ---- a row that is not what it should be ---------------------------------------------------------------------- */

/* Whether txn.a has the row 1, by its key. */
static bool has_row(struct run *run, struct mg_schema **out)
{
    struct mg_snapshot *snapshot;
    struct mg_batch *batch;
    struct mg_error err;
    uint32_t row = MG_FIND_NONE, offsets[2] = {0, 4};
    const uint8_t key[4] = {0x80, 0, 0, 1};

    assert_ok(run->ops->snapshot(run->engine, &snapshot, &err));
    enum mg_code code = run->ops->table_by_name(snapshot, mg_slice_text("txn"), mg_slice_text("a"), out, NULL);
    if (code == MG_OK) {
        struct mg_find_spec spec = {.table_id = (*out)->table_id, .key_count = 1, .keys = key, .offsets = offsets};
        assert_ok(run->ops->find(snapshot, &spec, &row, &batch, &err));
        if (row == MG_FIND_NONE)
            mg_schema_unref(*out);
    }
    run->ops->snapshot_unref(snapshot);
    return row != MG_FIND_NONE;
}

/* Somebody else writes v = 77 into row 1. */
static void tamper(struct run *run, const struct mg_schema *schema)
{
    struct mg_latch_writer *writer;
    struct mg_epoch *epoch;
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_type types[2] = {schema->columns[0].type, schema->columns[1].type};
    const uint8_t op = MG_CHANGE_UPDATE;
    struct mg_error err;
    uint64_t number;

    assert_ok(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 16, &err));
    assert_ok(mg_builder_int(&builder, 0, 1, &err));
    assert_ok(mg_builder_int(&builder, 1, 77, &err));
    assert_ok(mg_batch_builder_finish(&builder, 1, &rows, &err));
    mg_batch_builder_clear(&builder);
    struct mg_changes changes = {
        .table_id = schema->table_id, .schema_version = schema->version, .rows = rows, .ops = &op};
    assert_ok(mg_latch_writer_open(run->latch, "hand", &writer, NULL, &err));
    assert_ok(mg_latch_writer_begin(writer, 1000, &epoch, &err));
    assert_ok(run->ops->put(epoch, &changes, &err));
    assert_ok(mg_latch_writer_publish(writer, 1, MG_SLICE(NULL, 0), &number, &err));
    assert_ok(run->ops->wait(run->engine, number, 10000, &err));
    mg_latch_writer_close(writer);
    mg_batch_unref(rows);
}

static enum mg_code expect_one(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                               struct mg_error *err)
{
    unsigned *found = arg;

    (void)err;
    for (uint32_t i = 0; i < verify->told_count; i++) {
        assert_string_equal(schema->table, "a");
        assert_string_equal(verify->told[i].text, "id = 1: v is 77, the source says it was 10");
        assert_int_equal(verify->counts[MG_VERIFY_IMAGE_DIFFERS], 1);
        ++*found;
    }
    return MG_OK;
}

static void a_tampered_row_is_named(void **state)
{
    (void)state;
    for (size_t e = 0; e < MG_COUNT_OF(engines); e++) {
        struct run run = {.ops = engines[e], .way = LIVED, .folder = make_folder(), .c = tidb_case_load("txn")};
        struct mg_schema *schema;
        struct mg_error err;
        unsigned found = 0;
        bool tampered = false;
        run.c->moment_ts = 1;
        mg_clock_manual_init(&run.clock, 1700000000000);
        mg_random_init(&run.random, 1);
        open_engine(&run);
        open_writer(&run);
        for (size_t i = 0; i < run.c->txn_count; i++) {
            feed(&run, run.c->txns[i].commit_ts);
            if (tampered || !has_row(&run, &schema))
                continue;
            tamper(&run, schema);
            mg_schema_unref(schema);
            tampered = true;
        }
        assert_true(tampered);
        assert_ok(run.ops->verified(run.engine, 0, expect_one, &found, &err));
        assert_int_equal(found, 1);
        close_writer(&run);
        run.ops->close(run.engine);
        tidb_case_free(run.c);
        remove_folder(run.folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replayed),  cmocka_unit_test(lived_through),           cmocka_unit_test(in_pieces),
        cmocka_unit_test(restarted), cmocka_unit_test(a_tampered_row_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
