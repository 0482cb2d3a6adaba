/* pin.c -- what a pinned snapshot costs while updates go on: memory, and how long the writer stands still.
 *
 * Data      a table of an int64 key, an int64, an int32 and a decimal; 4 M rows (quick) or 20 M (full) in parts.
 * Load      50,000 updates of uniform random keys a second, an epoch of 500 each 10 ms, fdatasync each, the engine's
 *           own background work. First without a pin, then with 1 pinned snapshot, then with 20, taken one after the
 *           other over the first half of the time.
 * Memory    marks: the engine's memory_marks_bytes with the pins, less what is left of it when they are released; per
 *           row and pin, in bits. held: the same of all memory but the block cache, so also what only the pins keep of
 *           rows that were in memory.
 * Figure    bits of marks per row and pin, the worse of 1 and 20. ok: at most 2, and no epoch takes above 100 ms from
 *           begin to durable.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <unistd.h>

#include "base/random.h"
#include "store.h"

enum { COLUMNS = 4, EPOCH_ROWS = 500, EPOCH_MS = 10, PRELOAD_ROWS = 65536, PINS_MAX = 20, SETTLE_MS = 1500 };
static const double goal_bits = 2, goal_stall_ms = 100;
static const struct mg_engine_ops *const ops = &mg_engine_magic;
static const struct mg_type types[COLUMNS] = {{.id = MG_TYPE_INT64},
                                              {.id = MG_TYPE_INT64},
                                              {.id = MG_TYPE_INT32},
                                              {.id = MG_TYPE_DECIMAL, .precision = 15, .scale = 2}};

struct pinning {
    struct bench_store store;
    struct mg_batch_builder builder;
    struct mg_random random;
    uint64_t rows;
};
struct pinned {
    uint64_t updates, late_epochs;
    double seconds, stall_ms, marks_bits, held_bits;
};

static struct mg_schema *make_schema(void)
{
    static const char *const names[COLUMNS] = {"id", "a", "b", "c"};
    struct mg_schema *schema = mg_schema_new();

    schema->table_id = schema->version = 1;
    try(mg_schema_text(&schema->database, mg_slice_text("bench"), err));
    try(mg_schema_text(&schema->table, mg_slice_text("pin"), err));
    for (uint32_t c = 0; c < COLUMNS; c++) {
        struct mg_column *column;
        try(mg_schema_add_column(schema, &column, err));
        column->id = c + 1;
        column->type = types[c];
        try(mg_schema_text(&column->name, mg_slice_text(names[c]), err));
    }
    schema->key_count = 1;
    try(mg_schema_seal(schema, err));
    return schema;
}

static void append_row(struct pinning *p, int64_t key)
{
    uint64_t r = mg_random_u64(&p->random);

    try(mg_builder_int(&p->builder, 0, key, err));
    try(mg_builder_int(&p->builder, 1, (int64_t)(r >> 20), err));
    try(mg_builder_int(&p->builder, 2, (int64_t)(r & 0xffff), err));
    try(mg_builder_decimal(&p->builder, 3, (mg_int128)(r % 1000000), err));
}

static void preload(struct pinning *p)
{
    for (uint64_t row = 0; row < p->rows;) {
        uint32_t count = (uint32_t)MG_MIN(p->rows - row, (uint64_t)PRELOAD_ROWS);
        struct mg_batch *batch;
        for (uint32_t i = 0; i < count; i++)
            append_row(p, (int64_t)row++);
        try(mg_batch_builder_finish(&p->builder, count, &batch, err));
        bench_store_apply(&p->store, batch, NULL);
        mg_batch_unref(batch);
    }
    bench_store_settle(&p->store);
}

/* ms that it took. */
static double update(struct pinning *p)
{
    static uint8_t updates[EPOCH_ROWS];
    struct mg_batch *batch;

    for (int i = 0; i < EPOCH_ROWS; i++) {
        append_row(p, (int64_t)mg_random_below(&p->random, p->rows));
        updates[i] = MG_CHANGE_UPDATE;
    }
    try(mg_batch_builder_finish(&p->builder, EPOCH_ROWS, &batch, err));
    int64_t start_ns = bench_now_ns();
    bench_store_apply(&p->store, batch, updates);
    double took_ms = (double)(bench_now_ns() - start_ns) / 1e6;
    mg_batch_unref(batch);
    return took_ms;
}

static void run_for(struct pinning *p, double seconds, uint32_t pins, struct mg_snapshot **snapshots,
                    struct pinned *out)
{
    int64_t start_ns = bench_now_ns();
    uint64_t epochs = (uint64_t)(seconds * 1000 / EPOCH_MS);
    uint32_t taken = 0;

    for (uint64_t i = 0; i < epochs; i++) {
        int64_t due_ns = start_ns + (int64_t)i * EPOCH_MS * 1000000, now_ns = bench_now_ns();
        for (; taken < pins && i >= taken * epochs / 2 / pins; taken++)
            try(ops->snapshot(p->store.engine, &snapshots[taken], err));
        if (now_ns < due_ns)
            usleep((useconds_t)((due_ns - now_ns) / 1000));
        else
            out->late_epochs += now_ns - due_ns > EPOCH_MS * INT64_C(1000000);
        out->stall_ms = MG_MAX(out->stall_ms, update(p));
        out->updates += EPOCH_ROWS;
    }
    out->seconds = (double)(bench_now_ns() - start_ns) / 1e9;
}

static double held_bytes(const struct bench_store *store)
{
    return (double)bench_store_status(store, "memory_used_bytes") -
           (double)bench_store_status(store, "memory_cache_bytes");
}

static struct pinned measure(struct pinning *p, double seconds, uint32_t pins)
{
    struct mg_snapshot *snapshots[PINS_MAX];
    struct pinned m = {0};

    run_for(p, seconds, pins, snapshots, &m);
    /* What is superseded by then goes with the next epoch and its background round: both sides get as much time. */
    usleep(SETTLE_MS * 1000);
    update(p);
    double marks = (double)bench_store_status(&p->store, "memory_marks_bytes"), held = held_bytes(&p->store);
    for (uint32_t i = 0; i < pins; i++)
        ops->snapshot_unref(snapshots[i]);
    update(p);
    usleep(SETTLE_MS * 1000);
    update(p);
    double per = 8 / (double)p->rows / MG_MAX(pins, 1U);
    m.marks_bits = (marks - (double)bench_store_status(&p->store, "memory_marks_bytes")) * per;
    m.held_bits = (held - held_bytes(&p->store)) * per;
    return m;
}

static void report(const struct bench_options *options, uint32_t pins, const struct pinned *m, struct bench_result *out)
{
    bench_say(options,
              "pin: %2u pins, %.0f updates/s for %.1f s: marks %.3f bits a row and pin, all memory held %.3f; longest "
              "epoch %.1f ms, %llu begun late\n",
              pins, (double)m->updates / m->seconds, m->seconds, m->marks_bits, m->held_bits, m->stall_ms,
              (unsigned long long)m->late_epochs);
    bench_more(out, ",\"pins_%u\":{\"updates_per_s\":%.0f,\"seconds\":%.1f,\"marks_bits\":%.4f,\"held_bits\":%.4f,",
               pins, (double)m->updates / m->seconds, m->seconds, m->marks_bits, m->held_bits);
    bench_more(out, "\"stall_ms\":%.1f,\"late_epochs\":%llu}", m->stall_ms, (unsigned long long)m->late_epochs);
}

bool bench_pin(const struct bench_options *options, struct bench_result *out)
{
    static struct pinning p;
    double seconds = options->seconds > 0 ? options->seconds : options->full ? 60 : 8;

    p.rows = options->rows ? options->rows : options->full ? 20000000 : 4000000;
    mg_random_init(&p.random, 1);
    bench_store_open(&p.store, options, make_schema(), (size_t)8 << 30, NULL);
    try(mg_batch_builder_init(&p.builder, types, COLUMNS, NULL, (size_t)1 << 30, err));
    preload(&p);
    struct pinned none = measure(&p, seconds, 0), one = measure(&p, seconds, 1), many = measure(&p, seconds, PINS_MAX);

    *out = (struct bench_result){.bench = "pin",
                                 .unit = "bits per row and pin",
                                 .goal = "<= 2, no stall above 100 ms",
                                 .goal_figure = goal_bits,
                                 .figure = MG_MAX(one.marks_bits, many.marks_bits)};
    out->ok = out->figure <= goal_bits && MG_MAX(one.stall_ms, many.stall_ms) <= goal_stall_ms;
    bench_more(out, ",\"rows\":%llu", (unsigned long long)p.rows);
    report(options, 0, &none, out);
    report(options, 1, &one, out);
    report(options, PINS_MAX, &many, out);
    mg_batch_builder_clear(&p.builder);
    bench_store_remove(&p.store);
    return true;
}
