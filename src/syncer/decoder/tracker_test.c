/* tracker_test.c -- jobs and answers of a source against the model engine: which tables are there, under which names,
 * in which state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"
#include "syncer/decoder/source_testing.h"
#include "syncer/decoder/tracker.h"

struct world {
    struct fake_source fake;
    struct mg_engine *engine;
    struct mg_tracker *tracker;
    struct mg_epoch *epoch;
    unsigned change_count, detached;
    uint64_t ts;
};

static void count_detach(void *arg, struct mg_tracked_table *table)
{
    struct world *world = arg;
    world->detached++;
}

static void open_tracker(struct world *world)
{
    struct mg_error err;
    struct mg_tracker_options options = {.engine = world->engine,
                                         .source = &world->fake.source,
                                         .source_name = "tidb",
                                         .detach = count_detach,
                                         .detach_arg = world};
    assert_ok(mg_tracker_new(&options, &world->tracker, &err));
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    struct mg_engine_options options = {0};
    struct mg_error err;

    assert_non_null(world);
    fake_init(&world->fake);
    assert_ok(mg_engine_model.open(&options, &world->engine, &err));
    open_tracker(world);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    mg_tracker_free(world->tracker);
    world->engine->ops->close(world->engine);
    fake_clear(&world->fake);
    free(world);
    return 0;
}

static enum mg_code change(void *arg, const struct mg_schema_change *change, struct mg_error *err)
{
    struct world *world = arg;
    if (!world->epoch)
        MG_TRY(world->engine->ops->begin(world->engine, "tidb", 1, &world->epoch, err));
    world->change_count++;
    return world->engine->ops->change_schema(world->epoch, change, err);
}

static struct mg_schema_sink sink_of(struct world *world)
{
    world->change_count = 0;
    return (struct mg_schema_sink){.change = change, .arg = world, .good_until_ts = world->ts};
}

static void publish(struct world *world)
{
    struct mg_error err;
    uint64_t number;
    if (!world->epoch)
        return;
    struct mg_epoch *epoch = MG_TAKE(world->epoch);
    assert_ok(world->engine->ops->publish(epoch, ++world->ts, MG_SLICE(NULL, 0), &number, &err));
}

/* Applies the one job of a history's text, in an epoch of its own. */
static void apply(struct world *world, const char *json)
{
    struct mg_error err;
    struct mg_arena arena;
    struct mg_ddl_job *jobs;
    uint32_t count;
    struct mg_schema_sink sink = sink_of(world);

    mg_arena_init(&arena, 1 << 20);
    assert_ok(mg_ddl_jobs_read(mg_slice_text(json), &arena, &jobs, &count, &err));
    assert_int_equal(count, 1);
    assert_ok(mg_tracker_apply(world->tracker, &jobs[0], &sink, &err));
    publish(world);
    mg_arena_clear(&arena);
}

static enum mg_code list_one(void *arg, const struct mg_schema *schema, struct mg_error *err)
{
    static const char *const marks[] = {"", "?", "!"};
    struct mg_buffer *out = arg;
    MG_TRY(mg_buffer_printf(out, err, "%s%s.%s#%d(", marks[schema->state], schema->database, schema->table,
                            (int)schema->source_id));
    for (uint32_t i = 0; i < schema->column_count; i++)
        MG_TRY(
            mg_buffer_printf(out, err, "%s%d=%s", i ? " " : "", (int)schema->columns[i].id, schema->columns[i].name));
    return mg_buffer_printf(out, err, ") ");
}

/* All tables of the engine: "db.name#source id(columns) "; ? is unsupported, ! needs reload. The tracker's picture must
 * be the same. */
static const char *tables(struct world *world)
{
    static char text[2048];
    struct mg_error err;
    struct mg_snapshot *snapshot;
    struct mg_schema *schema;
    struct mg_buffer out;

    mg_buffer_init(&out, sizeof text - 1);
    assert_ok(world->engine->ops->snapshot(world->engine, &snapshot, &err));
    assert_ok(world->engine->ops->list_tables(snapshot, list_one, &out, &err));
    for (uint32_t i = 0; i < mg_tracker_count(world->tracker); i++) {
        struct mg_tracked_table *table = mg_tracker_at(world->tracker, i);
        assert_ptr_equal(mg_tracker_find(world->tracker, table->source_id), table);
        assert_ok(world->engine->ops->table_by_id(snapshot, table->schema->table_id, &schema, &err));
        assert_int_equal(schema->version, table->schema->version);
        mg_schema_unref(schema);
    }
    world->engine->ops->snapshot_unref(snapshot);
    if (out.size)
        memcpy(text, out.data, out.size);
    text[out.size] = 0;
    mg_buffer_clear(&out);
    return text;
}

static const char *reason(struct world *world, int64_t source_id)
{
    struct mg_tracked_table *table = mg_tracker_find(world->tracker, source_id);
    assert_non_null(table);
    assert_non_null(table->schema->state_reason);
    return table->schema->state_reason;
}

static void create(struct world *world, int64_t id, const char *name, const char *columns)
{
    apply(world, job_json(id, MG_DDL_CREATE_TABLE, id, id, table_json(id, name, columns), ""));
}

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void create_drop_truncate(void **state)
{
    struct world *world = *state;

    create(world, 10, "t", "id i, a i");
    assert_string_equal(tables(world), "d.t#10(1=id 2=a) "); /* its database came with it */
    uint64_t incarnation = mg_tracker_find(world->tracker, 10)->schema->table_id;
    apply(world, job_json(11, MG_DDL_TRUNCATE_TABLE, 11, 10, table_json(12, "t", "id i, a i"), ""));
    assert_string_equal(tables(world), "d.t#12(1=id 2=a) ");
    assert_true(mg_tracker_find(world->tracker, 12)->schema->table_id > incarnation);
    assert_true(mg_tracker_is_ignored(world->tracker, 10)); /* rows that were begun before may still come */
    apply(world, job_json(13, MG_DDL_DROP_TABLE, 13, 12, NULL, ""));
    assert_string_equal(tables(world), "");
    create(world, 14, "x", "-a v, b j");
    create(world, 15, "y", "id i");
    assert_string_equal(tables(world), "?d.x#14() d.y#15(1=id) ");
    assert_non_null(strstr(reason(world, 14), "column b has type json"));
    apply(world, "[{\"id\":16,\"type\":2,\"state\":6,\"schema_name\":\"D\",\"binlog\":{\"DBInfo\":{\"db_name\":{\"O\":"
                 "\"D\"}}}}]");
    assert_string_equal(tables(world), "");
    apply(world, job_json(17, MG_DDL_CREATE_TABLES, 17, 0, NULL, ""));
    assert_int_equal(world->change_count, 0);
}

static void jobs_that_change_nothing(void **state)
{
    struct world *world = *state;
    char failed[8192];

    create(world, 10, "t", "id i, a i");
    snprintf(failed, sizeof failed, "%s", job_json(11, MG_DDL_DROP_TABLE, 11, 10, NULL, ""));
    *(strstr(failed, "\"state\":6") + 8) = '3'; /* rolled back */
    apply(world, failed);
    const int quiet[] = {7, 8, 13, 15, 17, 18, 19, 21, 24, 26, 34, 35, 36, 41, 49, 51, 57, 68};
    for (size_t i = 0; i < MG_COUNT_OF(quiet); i++) {
        apply(world, job_json(20 + (int)i, quiet[i], 20 + (int)i, 10, table_json(10, "t", "id i, a i"), ""));
        assert_int_equal(world->change_count, 0);
    }
    /* system databases, views, tables in memory */
    apply(world,
          "[{\"id\":50,\"type\":3,\"state\":6,\"schema_name\":\"mysql\",\"binlog\":{\"SchemaVersion\":50,\"TableInfo\":"
          "{\"id\":51,\"name\":{\"O\":\"user\"},\"pk_is_handle\":false}}}]");
    assert_int_equal(world->change_count, 0);
    assert_true(mg_tracker_is_ignored(world->tracker, 51));
    assert_true(mg_tracker_is_ignored(world->tracker, INT64_C(0x1000000000000)));
    assert_string_equal(tables(world), "d.t#10(1=id 2=a) ");
}

static void renames(void **state)
{
    struct world *world = *state;
    char infos[20000];

    create(world, 10, "a", "id i");
    create(world, 11, "b", "id i");
    apply(world, job_json(12, MG_DDL_RENAME_TABLE, 12, 10, table_json(10, "c", "id i"), ",\"table_name\":\"a\""));
    assert_string_equal(tables(world), "d.b#11(1=id) d.c#10(1=id) ");
    /* c to x, b to c, x to e.b: names that are in use on the way */
    snprintf(infos, sizeof infos,
             "[{\"id\":13,\"type\":47,\"state\":6,\"schema_name\":\"e\",\"involving_schema_info\":["
             "{\"database\":\"d\",\"table\":\"c\"},{\"database\":\"d\",\"table\":\"x\"},"
             "{\"database\":\"d\",\"table\":\"b\"},{\"database\":\"d\",\"table\":\"c\"},"
             "{\"database\":\"d\",\"table\":\"x\"},{\"database\":\"e\",\"table\":\"b\"}],"
             "\"binlog\":{\"SchemaVersion\":13,\"MultipleTableInfos\":[%s,%s,%s]}}]",
             table_json(10, "b", "id i"), table_json(11, "c", "id i"), table_json(10, "b", "id i"));
    apply(world, infos);
    assert_string_equal(tables(world), "d.c#11(1=id) e.b#10(1=id) ");
    apply(world, infos); /* twice is once: the names are right, though on the way each steps aside */
    assert_string_equal(tables(world), "d.c#11(1=id) e.b#10(1=id) ");
    /* a table that nobody told of */
    apply(world, job_json(14, MG_DDL_RENAME_TABLE, 14, 99, table_json(99, "z", "id i"), ",\"table_name\":\"y\""));
    assert_string_equal(tables(world), "d.c#11(1=id) !d.z#99() e.b#10(1=id) ");
    /* a name in the way is out of date */
    create(world, 20, "Z", "id i");
    assert_string_equal(tables(world), "d.c#11(1=id) d.Z#20(1=id) e.b#10(1=id) ");
}

static void columns(void **state)
{
    struct world *world = *state;

    create(world, 10, "t", "id i, a i, b v");
    apply(world, job_json(11, MG_DDL_ADD_COLUMN, 11, 10, table_json(10, "t", "4=c i, 1=id i, 2=a i, 3=b v"), ""));
    /* the first column of the words is the key: here another one */
    assert_int_equal(mg_tracker_find(world->tracker, 10)->schema->state, MG_STATE_NEEDS_RELOAD);
    create(world, 20, "u", "id i, a i, b v");
    apply(world, job_json(21, MG_DDL_ADD_COLUMN, 21, 20, table_json(20, "u", "1=id i, 4=c i, 2=a i, 3=b v"), ""));
    apply(world, job_json(22, MG_DDL_DROP_COLUMN, 22, 20, table_json(20, "u", "1=id i, 4=c i, 3=b v"), ""));
    apply(world, job_json(23, MG_DDL_MODIFY_COLUMN, 23, 20, table_json(20, "u", "1=id i, 4=c i, 3=bb v"), ""));
    apply(world,
          job_json(24, MG_DDL_MULTI_SCHEMA_CHANGE, 24, 20, table_json(20, "u", "1=id i, 3=bb v, 5=d d, 6=e I"),
                   ",\"multi_schema_info\":{\"sub_jobs\":[{\"type\":5},{\"type\":6},{\"type\":5},{\"type\":7}]}"));
    assert_string_equal(tables(world), "!d.t#10(1=id 2=a 3=b) d.u#20(1=id 3=bb 5=d 6=e) ");
    assert_int_equal(mg_tracker_find(world->tracker, 20)->shown_column_id, 6);
    /* a job is applied once, whatever comes later */
    apply(world, job_json(22, MG_DDL_DROP_COLUMN, 22, 20, table_json(20, "u", "1=id i, 4=c i, 3=b v"), ""));
    assert_int_equal(world->change_count, 0);
}

static void rewritten_columns(void **state)
{
    static const struct {
        int type;
        const char *after, *more;
    } rewrites[] = {
        {MG_DDL_MODIFY_COLUMN, "1=id i, 3=a v", ""}, /* a new id under the old name */
        {MG_DDL_MODIFY_COLUMN, "1=id i, 2=a I", ""}, /* another width under the old id */
        {MG_DDL_MODIFY_COLUMN, "1=id I, 2=a i", ""}, /* of the key */
        {MG_DDL_MULTI_SCHEMA_CHANGE, "1=id i, 3=a v, 4=b i",
         ",\"multi_schema_info\":{\"sub_jobs\":[{\"type\":12},{\"type\":5}]}"},
        {MG_DDL_MULTI_SCHEMA_CHANGE, "1=id i, 3=b i",
         ",\"multi_schema_info\":{\"sub_jobs\":[{\"type\":12},{\"type\":5}]}"},
        {7, "1=id i, 2=a i, 3=b i", ""}, /* an index does not bring columns */
        {MG_DDL_TRUNCATE_PARTITION, "1=id i, 2=a i", ""},
        {MG_DDL_DROP_PARTITION, "1=id i, 2=a i", ""},
        {MG_DDL_REORGANIZE_PARTITION, "1=id i, 2=a i", ""},
        {MG_DDL_EXCHANGE_PARTITION, "1=id i, 2=a i", ""},
        {MG_DDL_REPAIR_TABLE, "1=id i, 2=a i", ""},
        {99, "1=id i, 2=a i", ""}, /* what nobody knows */
        {MG_DDL_FLASHBACK_CLUSTER, NULL, ""},
    };
    struct world *world = *state;
    char want[256];

    for (int i = 0; i < (int)MG_COUNT_OF(rewrites); i++) {
        int64_t id = 100 + 10 * i;
        create(world, id, "t", "id i, a i");
        assert_int_equal(mg_tracker_find(world->tracker, id)->schema->state, MG_STATE_OK);
        apply(world, job_json(id + 1, rewrites[i].type, id + 1, id,
                              rewrites[i].after ? table_json(id, "t", rewrites[i].after) : NULL, rewrites[i].more));
        snprintf(want, sizeof want, "!d.t#%d(1=id 2=a) ", (int)id);
        if (strcmp(tables(world), want) != 0)
            fail_msg("case %d: %s", i, tables(world));
        snprintf(want, sizeof want, "(DDL job %d): STATEMENT %d", (int)id + 1, (int)id + 1);
        assert_non_null(strstr(reason(world, id), want));
        struct mg_schema *schema = mg_tracker_find(world->tracker, id)->schema;
        assert_int_equal(schema->good_until_ts, world->ts - 1);
        /* it stays so, under all its names, until it is empty again */
        apply(world, job_json(id + 2, MG_DDL_ADD_COLUMN, id + 2, id, table_json(id, "t", "1=id i, 2=a i, 9=z i"), ""));
        assert_int_equal(world->change_count, 0);
        apply(world, job_json(id + 3, MG_DDL_RENAME_TABLE, id + 3, id, table_json(id, "u", "1=id i"),
                              ",\"table_name\":\"t\""));
        assert_int_equal(mg_tracker_find(world->tracker, id)->schema->state, MG_STATE_NEEDS_RELOAD);
        apply(world, job_json(id + 4, MG_DDL_TRUNCATE_TABLE, id + 4, id, table_json(id + 4, "u", "1=id i, 2=a i"), ""));
        snprintf(want, sizeof want, "d.u#%d(1=id 2=a) ", (int)id + 4);
        assert_string_equal(tables(world), want);
        apply(world, job_json(id + 5, MG_DDL_DROP_TABLE, id + 5, id + 4, NULL, ""));
    }
}

static void unsupported_comes_and_goes(void **state)
{
    struct world *world = *state;

    create(world, 10, "t", "id i, a j");
    apply(world, job_json(11, MG_DDL_ADD_COLUMN, 11, 10, table_json(10, "t", "id i, a j, b i"), ""));
    assert_string_equal(tables(world), "?d.t#10() ");
    apply(world, job_json(12, MG_DDL_DROP_COLUMN, 12, 10, table_json(10, "t", "1=id i, 3=b i"), ""));
    assert_string_equal(tables(world), "!d.t#10() ");
    assert_non_null(strstr(reason(world, 10), "column a has type json"));
    create(world, 20, "u", "id i");
    apply(world, job_json(21, MG_DDL_ADD_COLUMN, 21, 20, table_json(20, "u", "id i, a j"), ""));
    assert_string_equal(tables(world), "!d.t#10() ?d.u#20(1=id) ");
    assert_non_null(strstr(reason(world, 20), "since add column (DDL job 21)"));
    assert_int_equal(mg_tracker_find(world->tracker, 20)->schema->good_until_ts, world->ts - 1);
    /* rows turn out to be missing since then: nothing new; from before: good for less */
    struct mg_schema_sink sink = sink_of(world);
    struct mg_error err;
    world->change_count = 0;
    sink.good_until_ts = world->ts - 1;
    assert_ok(mg_tracker_mark(world->tracker, mg_tracker_find(world->tracker, 20), "late", &sink, &err));
    assert_int_equal(world->change_count, 0);
    const uint64_t less = world->ts - 2;
    sink.good_until_ts = less;
    assert_ok(mg_tracker_mark(world->tracker, mg_tracker_find(world->tracker, 20), "late", &sink, &err));
    assert_int_equal(world->change_count, 1);
    publish(world);
    assert_string_equal(reason(world, 20), "late");
    assert_int_equal(mg_tracker_find(world->tracker, 20)->schema->state, MG_STATE_NEEDS_RELOAD);
    assert_int_equal(mg_tracker_find(world->tracker, 20)->schema->good_until_ts, less);
}

static void partitions_change_ids(void **state)
{
    struct world *world = *state;

    create(world, 10, "p", "id i");
    create(world, 11, "x", "id i");
    apply(world, job_json(12, MG_DDL_ALTER_PARTITIONING, 12, 10, table_json(15, "p", "id i"), ""));
    assert_string_equal(tables(world), "!d.p#15(1=id) d.x#11(1=id) ");
    apply(world, job_json(13, MG_DDL_EXCHANGE_PARTITION, 13, 11, table_json(15, "p", "id i"), ""));
    assert_string_equal(tables(world), "!d.p#15(1=id) !d.x#11(1=id) ");
    /* x goes on under a partition's id: rows of it are passed over, and its end is known by its name */
    char place[9000];
    snprintf(place, sizeof place, "{\"db_info\":{\"db_name\":{\"O\":\"d\"}},\"table_info\":%s}",
             table_json(16, "x", "id i"));
    fake_answer(&world->fake, "/db-table/16", place);
    struct mg_error err;
    struct mg_schema_sink sink = sink_of(world);
    assert_ok(mg_tracker_meet(world->tracker, 16, &sink, &err));
    assert_true(mg_tracker_is_ignored(world->tracker, 16));
    apply(world, job_json(17, MG_DDL_TRUNCATE_TABLE, 17, 16, table_json(18, "x", "id i"), ",\"table_name\":\"x\""));
    assert_string_equal(tables(world), "!d.p#15(1=id) d.x#18(1=id) ");
}

static void what_was_there_before(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    char text[20000];

    world->fake.away = true;
    struct mg_schema_sink sink = sink_of(world);
    assert_code(MG_UNAVAILABLE, mg_tracker_start(world->tracker, &sink, &err));
    world->fake.away = false;
    assert_int_equal(world->change_count, 0);
    fake_answer(&world->fake, "/schema",
                "[{\"id\":1,\"db_name\":{\"O\":\"mysql\"}},{\"id\":2,\"db_name\":{\"O\":\"d\"}},"
                "{\"id\":3,\"db_name\":{\"O\":\"a b/ü\"}},{\"id\":4,\"db_name\":{\"O\":\"empty\"}}]");
    snprintf(text, sizeof text, "[%s,%s]", table_json(10, "t", "id i"), table_json(11, "u", "id i, x j"));
    fake_answer(&world->fake, "/schema/d", text);
    snprintf(text, sizeof text, "[%s]", table_json(12, "w", "id i"));
    fake_answer(&world->fake, "/schema/a%20b%2F%C3%BC", text);
    fake_answer(&world->fake, "/schema/empty", "null");
    assert_ok(mg_tracker_start(world->tracker, &sink, &err));
    publish(world);
    assert_string_equal(tables(world), "!a b/ü.w#12() !d.t#10() !d.u#11() ");
    assert_non_null(strstr(reason(world, 10), "existed before Magic's first record"));
    /* again, after a restart: nothing new */
    mg_tracker_free(world->tracker);
    open_tracker(world);
    sink = sink_of(world);
    assert_ok(mg_tracker_start(world->tracker, &sink, &err));
    assert_int_equal(world->change_count, 0);
    /* t's creation comes in the stream after all: it was made after our first record */
    create(world, 10, "t", "id i");
    /* and a table of the future gives way to the one of that name now */
    create(world, 9, "u", "id i");
    assert_string_equal(tables(world), "!a b/ü.w#12() d.t#10(1=id) d.u#9(1=id) ");
}

static void ids_nobody_told_of(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_schema_sink sink = sink_of(world);

    world->fake.away = true;
    assert_code(MG_UNAVAILABLE, mg_tracker_meet(world->tracker, 50, &sink, &err));
    assert_false(mg_tracker_is_ignored(world->tracker, 50));
    world->fake.away = false;
    assert_ok(mg_tracker_meet(world->tracker, 50, &sink, &err)); /* gone */
    assert_true(mg_tracker_is_ignored(world->tracker, 50));
    fake_answer(&world->fake, "/db-table/18",
                "{\"db_info\":{\"db_name\":{\"O\":\"mysql\"}},\"table_info\":{\"id\":18,\"name\":{\"O\":\"tidb\"}}}");
    assert_ok(mg_tracker_meet(world->tracker, 18, &sink, &err));
    assert_true(mg_tracker_is_ignored(world->tracker, 18));
    assert_int_equal(world->change_count, 0);
    char place[9000];
    snprintf(place, sizeof place, "{\"db_info\":{\"db_name\":{\"O\":\"d\"}},\"table_info\":%s}",
             table_json(60, "s", "id i"));
    fake_answer(&world->fake, "/db-table/60", place);
    assert_ok(mg_tracker_meet(world->tracker, 60, &sink, &err));
    publish(world);
    assert_string_equal(tables(world), "!d.s#60() ");
    /* recovered tables and databases */
    apply(world, job_json(61, MG_DDL_RECOVER_TABLE, 61, 50, table_json(50, "r", "id i"), ""));
    assert_string_equal(tables(world), "!d.r#50() !d.s#60() ");
    assert_false(mg_tracker_is_ignored(world->tracker, 50));
    snprintf(place, sizeof place, "[%s]", table_json(70, "q", "id i"));
    fake_answer(&world->fake, "/schema/back", place);
    apply(world, "[{\"id\":62,\"type\":63,\"state\":6,\"schema_name\":\"\",\"binlog\":{\"DBInfo\":{\"db_name\":{\"O\":"
                 "\"back\"}}}}]");
    assert_string_equal(tables(world), "!back.q#70() !d.r#50() !d.s#60() ");
}

static void looking_for_a_change(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_arena arena;
    struct mg_ddl_job *job;
    bool is_last;
    char page[32768];

    create(world, 10, "t", "id i");
    struct mg_tracked_table *table = mg_tracker_find(world->tracker, 10);
    mg_arena_init(&arena, 1 << 24);
    /* two pages, newest first: the wanted job stands on the older one */
    snprintf(page, sizeof page, "%s", job_json(90, 7, 90, 10, table_json(10, "t", "id i, b i"), ""));
    fake_answer(&world->fake, "/ddl/history?limit=64", page);
    snprintf(page, sizeof page, "%s", job_json(40, MG_DDL_ADD_COLUMN, 40, 10, table_json(10, "t", "id i, b i"), ""));
    fake_answer(&world->fake, "/ddl/history?start_job_id=89&limit=64", page);
    snprintf(page, sizeof page, "%s", job_json(10, MG_DDL_CREATE_TABLE, 10, 10, table_json(10, "t", "id i"), ""));
    fake_answer(&world->fake, "/ddl/history?start_job_id=39&limit=64", page);
    assert_ok(mg_tracker_fetch_change(world->tracker, table, 45, &arena, &job, &is_last, &err));
    assert_int_equal(job->id, 40);
    assert_true(is_last);
    assert_code(MG_NOT_FOUND, mg_tracker_fetch_change(world->tracker, table, 39, &arena, &job, &is_last, &err));
    assert_true(is_last);
    assert_ok(mg_tracker_fetch_change(world->tracker, table, 95, &arena, &job, &is_last, &err));
    assert_int_equal(job->id, 90);
    assert_false(is_last);

    /* Ahead of its record: the column is followed; when the record comes, nothing is left to do. */
    struct mg_schema_sink sink = sink_of(world);
    assert_ok(mg_tracker_fetch_change(world->tracker, table, 45, &arena, &job, &is_last, &err));
    assert_ok(mg_tracker_catch_up(world->tracker, job, &sink, &err));
    publish(world);
    assert_string_equal(tables(world), "d.t#10(1=id 2=b) ");
    assert_ok(mg_tracker_apply(world->tracker, job, &sink, &err));
    assert_null(world->epoch);
    /* After a restart only the store's picture is left: the same job is found again, and changes nothing. */
    mg_tracker_free(world->tracker);
    open_tracker(world);
    table = mg_tracker_find(world->tracker, 10);
    assert_int_equal(table->shown_column_id, 0);
    assert_ok(mg_tracker_fetch_change(world->tracker, table, 45, &arena, &job, &is_last, &err));
    assert_ok(mg_tracker_catch_up(world->tracker, job, &sink, &err));
    assert_null(world->epoch);
    assert_int_equal(mg_tracker_find(world->tracker, 10)->shown_column_id, 2);
    /* A job that made the table only shows ids: it must not make the table anew. */
    mg_tracker_free(world->tracker);
    open_tracker(world);
    table = mg_tracker_find(world->tracker, 10);
    assert_ok(mg_tracker_fetch_change(world->tracker, table, 20, &arena, &job, &is_last, &err));
    assert_int_equal(job->type, MG_DDL_CREATE_TABLE);
    assert_ok(mg_tracker_catch_up(world->tracker, job, &sink, &err));
    assert_null(world->epoch);
    mg_arena_clear(&arena);
}

/* When the sink refuses the first change, nothing has moved, and the job can be applied again. */
static enum mg_code busy(void *arg, const struct mg_schema_change *change, struct mg_error *err)
{
    return mg_fail(err, MG_BUSY, "not now");
}

static void a_refused_change(void **state)
{
    struct world *world = *state;
    struct mg_error err;
    struct mg_arena arena;
    struct mg_ddl_job *jobs;
    uint32_t count;
    struct mg_schema_sink sink = {.change = busy};

    create(world, 10, "t", "id i");
    mg_tracker_find(world->tracker, 10)->attached = world;
    mg_arena_init(&arena, 1 << 20);
    const char *refused[] = {
        strdup(job_json(11, MG_DDL_ADD_COLUMN, 11, 10, table_json(10, "t", "id i, a i"), "")),
        strdup(job_json(11, MG_DDL_DROP_TABLE, 11, 10, NULL, "")),
        strdup(job_json(11, MG_DDL_TRUNCATE_TABLE, 11, 10, table_json(11, "t", "id i"), "")),
        strdup(job_json(11, MG_DDL_TRUNCATE_PARTITION, 11, 10, table_json(10, "t", "id i"), "")),
        strdup(job_json(11, MG_DDL_RENAME_TABLE, 11, 10, table_json(10, "u", "id i"), ",\"table_name\":\"t\"")),
        strdup(job_json(11, MG_DDL_CREATE_TABLE, 11, 11, table_json(11, "u", "id i"), "")),
        strdup("[{\"id\":11,\"type\":2,\"state\":6,\"schema_name\":\"d\"}]"),
        strdup("[{\"id\":11,\"type\":1,\"state\":6,\"schema_name\":\"e\"}]"),
    };
    for (size_t i = 0; i < MG_COUNT_OF(refused); i++) {
        assert_ok(mg_ddl_jobs_read(mg_slice_text(refused[i]), &arena, &jobs, &count, &err));
        assert_code(MG_BUSY, mg_tracker_apply(world->tracker, jobs, &sink, &err));
        assert_string_equal(tables(world), "d.t#10(1=id) ");
        assert_int_equal(world->detached, 0);
        free((void *)(uintptr_t)refused[i]);
    }
    mg_arena_clear(&arena);
    apply(world, job_json(11, MG_DDL_ADD_COLUMN, 11, 10, table_json(10, "t", "id i, a i"), ""));
    assert_int_equal(world->detached, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(create_drop_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(jobs_that_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(renames, setup, teardown),
        cmocka_unit_test_setup_teardown(columns, setup, teardown),
        cmocka_unit_test_setup_teardown(rewritten_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(unsupported_comes_and_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(partitions_change_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_there_before, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_nobody_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(looking_for_a_change, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_change, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
