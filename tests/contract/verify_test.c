/* verify_test.c -- the free verification: what a source says is stored, held against what is, in every engine.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/counter.h"
#include "base/io_fault.h"
#include "engine/verify.h"
#include "engine_kit.h"

#define must(call)                                                                 \
    do {                                                                           \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                \
        enum mg_code must_code = (call);                                           \
        if (must_code != MG_OK)                                                    \
            fail_msg("%s: %s: %s", #call, mg_code_name(must_code), must_err.text); \
    } while (0)

struct fixture {
    const struct mg_engine_ops *ops;
    struct mg_io_fault *disk;
    struct mg_engine *engine;
    struct mg_schema *schema;
    uint64_t watermark;
};

#define COLUMNS "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null; 4 rate float64 null"

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->ops = *state;
    f->disk = mg_io_fault_new(1);
    struct mg_engine_options options = {.folder = "/store", .io = mg_io_fault_io(f->disk), .maintain_by_hand = true};
    must(f->ops->open(&options, &f->engine, err));
    f->schema = kit_schema(1, 1, "shop", "item", COLUMNS);
    kit_create(f->engine, f->schema);
    f->watermark = 1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->ops->close(f->engine);
    mg_schema_unref(f->schema);
    mg_io_fault_free(f->disk);
    free(f);
    return 0;
}

/* ---- changes with images ------------------------------------------------------------------------------------- */

/* The images as changes of the kit ("U 1,ada,1.50,0"), of rows `of`. */
static void put_images(struct fixture *f, struct mg_epoch *epoch, const char *changes, const char *images,
                       const uint32_t *of, struct mg_verify *verify)
{
    struct kit_changes rows, old;
    kit_changes_make(f->schema, changes, &rows);
    kit_changes_make(f->schema, images, &old);
    struct mg_changes item = {.table_id = f->schema->table_id,
                              .schema_version = f->schema->version,
                              .rows = rows.rows,
                              .ops = rows.ops,
                              .old = old.rows,
                              .old_rows = of,
                              .verify = verify};
    must(f->ops->put(epoch, &item, err));
    kit_changes_clear(&rows);
    kit_changes_clear(&old);
}

static void apply(struct fixture *f, const char *changes, const char *images, const uint32_t *of)
{
    struct mg_epoch *epoch = kit_begin(f->engine);
    put_images(f, epoch, changes, images, of, NULL);
    kit_publish(epoch, ++f->watermark);
}

static enum mg_code copy(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                         struct mg_error *err)
{
    assert_string_equal(schema->table, "item");
    *(struct mg_verify *)arg = *verify;
    return MG_OK;
}

static struct mg_verify found_of(struct fixture *f)
{
    struct mg_verify found = {.told_count = 0};
    must(f->ops->verified(f->engine, 0, copy, &found, err));
    return found;
}

static void expect(struct fixture *f, uint64_t inserts, uint64_t updates, uint64_t deletes, uint64_t images,
                   uint64_t compared)
{
    struct mg_verify found = found_of(f);
    assert_int_equal(found.counts[MG_VERIFY_INSERT_OF_EXISTING], inserts);
    assert_int_equal(found.counts[MG_VERIFY_UPDATE_OF_MISSING], updates);
    assert_int_equal(found.counts[MG_VERIFY_DELETE_OF_MISSING], deletes);
    assert_int_equal(found.counts[MG_VERIFY_IMAGE_DIFFERS], images);
    assert_int_equal(found.compared_count, compared);
    assert_int_equal(kit_status(f->engine, "verify_failed"), inserts + updates + deletes + images);
}

static void told(struct fixture *f, uint32_t at, const char *text)
{
    struct mg_verify found = found_of(f);
    assert_true(at < found.told_count);
    assert_string_equal(found.told[at].text, text);
}

static const uint32_t first[] = {0, 1, 2, 3, 4, 5, 6, 7};

/* ---- tests --------------------------------------------------------------------------------------------------- */

static void contradictions_are_counted_by_kind(void **state)
{
    struct fixture *f = *state;
    uint64_t before = mg_counted(engine_verify_failed);
    kit_apply(f->engine, f->schema, "I 1,a,1,0 | I 2,b,2,0");
    expect(f, 0, 0, 0, 0, 0);
    kit_apply(f->engine, f->schema, "I 1,c,1,0 | U 7,d,1,0 | D 8,,0,0");
    expect(f, 1, 1, 1, 0, 0);
    kit_apply(f->engine, f->schema, "I 3,e,1,0 | I 3,f,1,0 | D 3,,0,0 | D 3,,0,0 | U 3,g,1,0 | D 2,,0,0 | I 2,h,2,0");
    expect(f, 2, 2, 2, 0, 0);
    assert_int_equal(mg_counted(engine_verify_failed) - before, 6);
    struct mg_verify found = found_of(f);
    assert_int_equal(found.told_count, MG_VERIFY_TOLD_MAX);
    assert_int_equal(found.since_epoch, 3);
    assert_true(found.since_ms > 0);
    char all[2048] = "";
    for (uint32_t i = 0; i < 3; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s\n", found.told[i].text);
    assert_non_null(strstr(all, "an INSERT of a row that is there: id = 1\n"));
    assert_non_null(strstr(all, "an UPDATE of a row that is not there: id = 7\n"));
    assert_non_null(strstr(all, "a DELETE of a row that is not there: id = 8\n"));
}

static void what_is_aborted_was_never_said(void **state)
{
    struct fixture *f = *state;
    struct mg_verify own = {.told_count = 0};
    kit_apply(f->engine, f->schema, "I 1,a,1,0");
    struct mg_epoch *epoch = kit_begin(f->engine);
    put_images(f, epoch, "I 5,b,1,0 | I 1,b,1,0 | U 1,b,2,0", "U 1,b,1,0", (uint32_t[]){2}, &own);
    assert_int_equal(own.counts[MG_VERIFY_INSERT_OF_EXISTING], 1); /* whoever puts is told at once */
    assert_int_equal(own.told_count, 1);
    assert_int_equal(own.told[0].row, 1);
    assert_int_equal(own.compared_count, 1);
    f->ops->abort(epoch);
    expect(f, 0, 0, 0, 0, 0);
    kit_apply(f->engine, f->schema, "U 1,b,1,0");
    expect(f, 0, 0, 0, 0, 0);
}

static void a_tampered_row_is_named(void **state)
{
    struct fixture *f = *state;
    for (int in_parts = 0; in_parts < 2; in_parts++) {
        char expected[200];
        kit_apply(f->engine, f->schema,
                  in_parts ? "I 11,ada,1.5,2 | I 12,bob,2,NULL | I 13,NULL,3,0.1"
                           : "I 1,ada,1.5,2 | I 2,bob,2,NULL | I 3,NULL,3,0.1");
        if (in_parts)
            must(f->ops->checkpoint(f->engine, true, err));
        apply(f, in_parts ? "U 11,x,9,9 | D 12,,0,0 | U 13,y,9,9" : "U 1,x,9,9 | D 2,,0,0 | U 3,y,9,9",
              in_parts ? "U 11,ada,1.5,2 | U 12,bob,2.01,NULL | U 13,NULL,3,0.1"
                       : "U 1,ada,1.5,2 | U 2,bob,2.01,NULL | U 3,NULL,3,0.1",
              first);
        expect(f, 0, 0, 0, 1 + (uint64_t)in_parts, 3 + 3 * (uint64_t)in_parts);
        snprintf(expected, sizeof expected, "id = %d: price is 2.00, the source says it was 2.01", in_parts ? 12 : 2);
        told(f, (uint32_t)in_parts, expected);
    }
}

static void images_meet_rows_of_their_own_epoch(void **state)
{
    struct fixture *f = *state;
    kit_apply(f->engine, f->schema, "I 1,a,1,0");
    /* Three changes of one key in one put, then more in another put of the epoch. */
    struct mg_epoch *epoch = kit_begin(f->engine);
    put_images(f, epoch, "U 1,b,1,0 | U 1,c,1,0 | D 1,,0,0 | I 1,d,1,0", "U 1,a,1,0 | U 1,b,1,0 | U 1,c,1,0", first,
               NULL);
    put_images(f, epoch, "U 1,e,1,0 | I 2,z,1,0 | U 2,y,1,0", "U 1,d,1,0 | U 2,wrong,1,0", (uint32_t[]){0, 2}, NULL);
    kit_publish(epoch, ++f->watermark);
    expect(f, 0, 0, 0, 1, 5);
    told(f, 0, "id = 2: name is z, the source says it was wrong");
}

static void values_compare_as_values(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *schema = kit_schema(
        1, 2, "shop", "item",
        "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2) null; 4 rate float64 "
        "null; 5 single float32 null; 6 later int32 null missing=5; 7 doc utf8 null");
    struct mg_schema *typed = mg_schema_copy(schema);
    must(mg_schema_text(&typed->columns[6].source_type, mg_slice_text("json"), err));
    must(mg_schema_seal(typed, err));
    kit_apply(f->engine, f->schema, "I 1,a,1,-0.0 | I 2,b_,1,nan");
    must(f->ops->checkpoint(f->engine, true, err));
    kit_create(f->engine, typed);
    f->watermark = 3;
    mg_schema_unref(f->schema);
    f->schema = typed;
    mg_schema_unref(schema);
    kit_apply(f->engine, f->schema, "I 3,c,1,0,0.1,6,{\"a_b\":_[1~2]}");
    f->watermark++;
    apply(f, "U 1,x,0,0,0,0,x | U 2,x,0,0,0,0,x | U 3,x,0,0,0,0,x",
          "U 1,a,1,0.0,NULL,5,NULL | U 2,b_,1,nan,NULL,5,NULL | U 3,c,1,0,0.1,6,{\"a_b\"_:[1~__2]}", first);
    expect(f, 0, 0, 0, 0, 3);
    apply(f, "U 1,{\"a_b\":1},0,0,0,0,{\"a_b\":1}", "U 1,x,0,0,0,0,x", first);
    apply(f, "U 1,x,0,0,0,0,x", "U 1,{\"a_b\":1},0,0,0,0,{\"ab\":1}", first); /* blanks within a text count */
    apply(f, "U 2,x,0,0,0,0,x", "U 2,x_,0,0,0,0,x", first);                   /* and those of other texts */
    expect(f, 0, 0, 0, 2, 6);
    told(f, 0, "id = 1: doc is {\"a b\":1}, the source says it was {\"ab\":1}");
}

static void long_values_are_cut(void **state)
{
    struct fixture *f = *state;
    char change[700], image[700], long_text[600];
    memset(long_text, 'q', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    snprintf(change, sizeof change, "I 1,%s,1,0", long_text);
    kit_apply(f->engine, f->schema, change);
    f->watermark++;
    long_text[10] = '\x01';
    snprintf(image, sizeof image, "U 1,%s,1,0", long_text);
    apply(f, "D 1,,0,0", image, first);
    struct mg_verify found = found_of(f);
    assert_int_equal(found.told_count, 1);
    assert_true(strlen(found.told[0].text) < 200);
    assert_non_null(strstr(found.told[0].text, "qqq..., the source says it was qqqqqqqqqq?qqq"));
}

static void images_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    struct mg_schema *other = kit_schema(1, 1, "shop", "item", "1 id int64 key; 2 name int32 null; 3 p int8; 4 r int8");
    struct mg_schema *narrow = kit_schema(1, 1, "shop", "item", "1 id int64 key");
    struct {
        const struct mg_schema *schema;
        const char *changes, *images, *says;
        uint32_t of[2];
    } cases[] = {
        {f->schema, "U 1,a,1,0", "U 1,a,1,0", "old row 0 is of row 1", {1}},
        {f->schema, "I 1,a,1,0", "U 1,a,1,0", "old row 0 is of row 0", {0}},
        {f->schema, "U 1,a,1,0 | U 2,a,1,0", "U 1,a,1,0 | U 2,a,1,0", "old row 1 is of row 1", {1, 1}},
        {other, "U 1,a,1,0", "U 1,5,1,0", "column name of the old rows", {0}},
        {narrow, "U 1,a,1,0", "U 1", "old rows of 1 columns", {0}},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct kit_changes rows, old;
        struct mg_error err = MG_ERROR_INIT;
        kit_changes_make(f->schema, cases[i].changes, &rows);
        kit_changes_make(cases[i].schema, cases[i].images, &old);
        struct mg_changes item = {.table_id = 1,
                                  .schema_version = 1,
                                  .rows = rows.rows,
                                  .ops = rows.ops,
                                  .old = old.rows,
                                  .old_rows = cases[i].of};
        struct mg_epoch *epoch = kit_begin(f->engine);
        assert_int_equal(f->ops->put(epoch, &item, &err), MG_INVALID);
        assert_non_null(strstr(err.text, cases[i].says));
        f->ops->abort(epoch);
        kit_changes_clear(&rows);
        kit_changes_clear(&old);
    }
    mg_schema_unref(other);
    mg_schema_unref(narrow);
}

static void the_reason_is_one_line(void **state)
{
    struct fixture *f = *state;
    char text[MG_VERIFY_TEXT_MAX + 64];
    kit_apply(f->engine, f->schema, "D 4,,0,0 | D 5,,0,0");
    struct mg_verify found = found_of(f);
    mg_verify_reason(&found, text, sizeof text);
    assert_non_null(strstr(text, "UTC (epoch 2), 2 changes contradict what is stored; a DELETE of a row that is not "
                                 "there: id = "));
    assert_int_equal(strncmp(text, "since 20", 8), 0);
}

typedef void test_fn(void **state);
static const struct {
    const char *name;
    test_fn *fn;
} tests[] = {
#define T(name)     \
    {               \
#name, name \
    }
    T(contradictions_are_counted_by_kind),  T(what_is_aborted_was_never_said), T(a_tampered_row_is_named),
    T(images_meet_rows_of_their_own_epoch), T(values_compare_as_values),       T(long_values_are_cut),
    T(images_that_do_not_fit_are_refused),  T(the_reason_is_one_line),
#undef T
};

int main(int argc, char **argv)
{
    static const struct mg_engine_ops *const engines[] = {&mg_engine_model, &mg_engine_magic};
    enum { TESTS = MG_COUNT_OF(tests), ENGINES = MG_COUNT_OF(engines) };
    static struct CMUnitTest units[TESTS * ENGINES];
    static char names[TESTS * ENGINES][96];
    for (size_t e = 0; e < ENGINES; e++)
        for (size_t i = 0; i < TESTS; i++) {
            size_t at = e * TESTS + i;
            snprintf(names[at], sizeof names[at], "%s: %s", engines[e]->name, tests[i].name);
            units[at] = (struct CMUnitTest){.name = names[at],
                                            .test_func = tests[i].fn,
                                            .setup_func = setup,
                                            .teardown_func = teardown,
                                            .initial_state = (void *)(uintptr_t)engines[e]};
        }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("verification", units, NULL, NULL);
}
