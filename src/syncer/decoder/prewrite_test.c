/* prewrite_test.c -- the walk through a PrewriteValue: order, both forms of sequence, and everything that does not
 * agree.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"
#include "base/testing.h"
#include "syncer/decoder/prewrite.h"

static void put_tag(struct mg_buffer *out, unsigned field, unsigned wire)
{
    struct mg_error err;
    assert_ok(mg_buffer_append_varint(out, field << 3 | wire, &err));
}
static void put_int(struct mg_buffer *out, unsigned field, uint64_t v)
{
    struct mg_error err;
    put_tag(out, field, 0);
    assert_ok(mg_buffer_append_varint(out, v, &err));
}
static void put_bytes(struct mg_buffer *out, unsigned field, struct mg_slice bytes)
{
    struct mg_error err;
    put_tag(out, field, 2);
    assert_ok(mg_buffer_append_bytes(out, bytes, &err));
}
static void put_text(struct mg_buffer *out, unsigned field, const char *text)
{
    put_bytes(out, field, mg_slice_text(text));
}

/* The rows of a mutation as "I:a U:b D:c "; ends with the code's name when that is not the end. */
static const char *walk_all(struct mg_slice mutation)
{
    static char text[256];
    struct mg_row_walk walk;
    enum mg_row_kind kind;
    struct mg_slice row;
    enum mg_code code;
    int used = 0;

    text[0] = 0;
    mg_row_walk_init(&walk, mutation);
    while ((code = mg_row_walk_next(&walk, &kind, &row, NULL)) == MG_OK)
        used += snprintf(text + used, sizeof text - (size_t)used, "%c:%.*s ",
                         kind == MG_ROW_INSERT   ? 'I'
                         : kind == MG_ROW_UPDATE ? 'U'
                                                 : 'D',
                         (int)row.size, (const char *)row.data);
    if (code != MG_NOT_FOUND)
        snprintf(text + used, sizeof text - (size_t)used, "%s", mg_code_name(code));
    return text;
}

/* The worked bytes of an insert into table 106. */
static void worked_bytes(void **state)
{
    static const uint8_t value[] = {0x08, 0x2a, 0x12, 0x16, 0x08, 0x6a, 0x12, 0x10, 0x08, 0x0a, 0x08, 0x04, 0x02,
                                    0x04, 0x61, 0x62, 0x08, 0x06, 0x09, 0xac, 0x02, 0x08, 0x08, 0x00, 0x38, 0x00};
    struct mg_prewrite prewrite;
    struct mg_mutation mutation;
    struct mg_row_walk walk;
    enum mg_row_kind kind;
    struct mg_slice row;
    struct mg_error err;

    assert_ok(mg_prewrite_open(MG_SLICE(value, sizeof value), &prewrite, &err));
    assert_int_equal(prewrite.schema_version, 42);
    assert_true(mg_prewrite_next(&prewrite, &mutation));
    assert_int_equal(mutation.table_id, 106);
    mg_row_walk_init(&walk, mutation.body);
    assert_ok(mg_row_walk_next(&walk, &kind, &row, &err));
    assert_int_equal(kind, MG_ROW_INSERT);
    assert_true(mg_slice_equal(row, MG_SLICE(value + 8, 16)));
    assert_code(MG_NOT_FOUND, mg_row_walk_next(&walk, &kind, &row, &err));
    assert_false(mg_prewrite_next(&prewrite, &mutation));
    for (size_t cut = 1; cut < sizeof value; cut++)
        if (cut != 2) /* the version alone is a whole message */
            assert_code(MG_PROTOCOL, mg_prewrite_open(MG_SLICE(value, cut), &prewrite, &err));
}

static void rows_come_in_statement_order(void **state)
{
    struct mg_buffer out;
    static const char packed[] = {4, 0, 1, 0};

    mg_buffer_init(&out, 4096);
    put_int(&out, 1, 7);
    put_text(&out, 2, "a");
    put_text(&out, 2, "b");
    put_text(&out, 3, "c");
    put_text(&out, 6, "d");
    size_t lists = out.size;
    put_int(&out, 7, 4);
    put_int(&out, 7, 0);
    put_int(&out, 7, 1);
    put_int(&out, 7, 0);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "D:d I:a U:c I:b ");
    out.size = lists;
    put_bytes(&out, 7, MG_SLICE(packed, 4));
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "D:d I:a U:c I:b ");
    out.size = lists;
    put_bytes(&out, 7, MG_SLICE(packed, 2));
    put_bytes(&out, 7, MG_SLICE(NULL, 0));
    put_int(&out, 7, 1);
    put_text(&out, 99, "unknown fields are passed over");
    put_int(&out, 98, 5);
    put_bytes(&out, 7, MG_SLICE(packed + 3, 1));
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "D:d I:a U:c I:b ");
    mg_buffer_clear(&out);
}

static void lists_and_order_must_agree(void **state)
{
    struct mg_buffer out;

    mg_buffer_init(&out, 4096);
    put_int(&out, 1, 7);
    put_text(&out, 2, "a");
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "PROTOCOL"); /* a row without order */
    put_int(&out, 7, 1);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "PROTOCOL"); /* order without a row */
    put_text(&out, 3, "u");
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "U:u PROTOCOL");
    put_int(&out, 7, 0);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "U:u I:a ");
    put_int(&out, 7, 2);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "U:u I:a PROTOCOL"); /* deletes by id: obsolete */
    out.size -= 2;
    put_int(&out, 4, 5);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "PROTOCOL");
    out.size = 0;
    put_int(&out, 1, 7);
    put_int(&out, 2, 7); /* a row that is no bytes */
    put_int(&out, 7, 0);
    assert_string_equal(walk_all(mg_buffer_slice(&out)), "PROTOCOL");
    mg_buffer_clear(&out);
}

static void outer_message(void **state)
{
    struct mg_buffer out, inner;
    struct mg_prewrite prewrite;
    struct mg_mutation mutation;
    struct mg_error err;

    mg_buffer_init(&out, 4096);
    mg_buffer_init(&inner, 4096);
    assert_ok(mg_prewrite_open(mg_buffer_slice(&out), &prewrite, &err)); /* nothing is something */
    assert_false(mg_prewrite_next(&prewrite, &mutation));
    put_int(&inner, 1, 7);
    put_bytes(&out, 2, mg_buffer_slice(&inner));
    put_text(&out, 9, "unknown");
    inner.size = 0;
    put_int(&inner, 1, 8);
    put_bytes(&out, 2, mg_buffer_slice(&inner));
    put_int(&out, 1, 12); /* the version may come last */
    assert_ok(mg_prewrite_open(mg_buffer_slice(&out), &prewrite, &err));
    assert_int_equal(prewrite.schema_version, 12);
    assert_true(mg_prewrite_next(&prewrite, &mutation));
    assert_int_equal(mutation.table_id, 7);
    assert_true(mg_prewrite_next(&prewrite, &mutation));
    assert_int_equal(mutation.table_id, 8);
    assert_false(mg_prewrite_next(&prewrite, &mutation));
    put_text(&out, 2, ""); /* rows of no table */
    assert_code(MG_PROTOCOL, mg_prewrite_open(mg_buffer_slice(&out), &prewrite, &err));
    out.size = 0;
    put_int(&out, 2, 5);
    assert_code(MG_PROTOCOL, mg_prewrite_open(mg_buffer_slice(&out), &prewrite, &err));
    out.size = 0;
    put_tag(&out, 3, 3); /* a group */
    assert_code(MG_PROTOCOL, mg_prewrite_open(mg_buffer_slice(&out), &prewrite, &err));
    mg_buffer_clear(&out);
    mg_buffer_clear(&inner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_bytes),
        cmocka_unit_test(rows_come_in_statement_order),
        cmocka_unit_test(lists_and_order_must_agree),
        cmocka_unit_test(outer_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
