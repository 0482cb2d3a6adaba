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
    struct mg_span span = mg_span_of(mutation);
    struct mg_row_walk walk = {.is_obsolete = false};
    enum mg_row_kind kind;
    struct mg_slice row;
    enum mg_code code;
    int used = 0;

    text[0] = 0;
    assert_int_equal(mg_row_walk_open(&walk, &span, NULL), MG_OK);
    while ((code = mg_row_walk_next(&walk, &kind, &row, NULL)) == MG_OK)
        used += snprintf(text + used, sizeof text - (size_t)used, "%c:%.*s ",
                         kind == MG_ROW_INSERT   ? 'I'
                         : kind == MG_ROW_UPDATE ? 'U'
                                                 : 'D',
                         (int)row.size, (const char *)row.data);
    if (code != MG_NOT_FOUND)
        snprintf(text + used, sizeof text - (size_t)used, "%s", mg_code_name(code));
    mg_row_walk_clear(&walk);
    return text;
}

static enum mg_code open_bytes(struct mg_slice bytes, struct mg_prewrite *out, struct mg_error *err)
{
    struct mg_span span = mg_span_of(bytes);
    return mg_prewrite_open(&span, out, err);
}

/* The worked bytes of an insert into table 106. */
static void worked_bytes(void **state)
{
    static const uint8_t value[] = {0x08, 0x2a, 0x12, 0x16, 0x08, 0x6a, 0x12, 0x10, 0x08, 0x0a, 0x08, 0x04, 0x02,
                                    0x04, 0x61, 0x62, 0x08, 0x06, 0x09, 0xac, 0x02, 0x08, 0x08, 0x00, 0x38, 0x00};
    struct mg_prewrite prewrite;
    struct mg_mutation mutation;
    struct mg_row_walk walk = {.is_obsolete = false};
    enum mg_row_kind kind;
    struct mg_slice row;
    struct mg_error err;

    assert_ok(open_bytes(MG_SLICE(value, sizeof value), &prewrite, &err));
    assert_int_equal(prewrite.schema_version, 42);
    assert_ok(mg_prewrite_next(&prewrite, &mutation, &err));
    assert_int_equal(mutation.table_id, 106);
    assert_ok(mg_row_walk_open(&walk, &mutation.body, &err));
    assert_ok(mg_row_walk_next(&walk, &kind, &row, &err));
    assert_int_equal(kind, MG_ROW_INSERT);
    assert_true(mg_slice_equal(row, MG_SLICE(value + 8, 16)));
    assert_code(MG_NOT_FOUND, mg_row_walk_next(&walk, &kind, &row, &err));
    assert_code(MG_NOT_FOUND, mg_prewrite_next(&prewrite, &mutation, &err));
    for (size_t cut = 1; cut < sizeof value; cut++)
        if (cut != 2) /* the version alone is a whole message */
            assert_code(MG_PROTOCOL, open_bytes(MG_SLICE(value, cut), &prewrite, &err));
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
    assert_ok(open_bytes(mg_buffer_slice(&out), &prewrite, &err)); /* nothing is something */
    assert_code(MG_NOT_FOUND, mg_prewrite_next(&prewrite, &mutation, &err));
    put_int(&inner, 1, 7);
    put_bytes(&out, 2, mg_buffer_slice(&inner));
    put_text(&out, 9, "unknown");
    inner.size = 0;
    put_int(&inner, 1, 8);
    put_bytes(&out, 2, mg_buffer_slice(&inner));
    put_int(&out, 1, 12); /* the version may come last */
    assert_ok(open_bytes(mg_buffer_slice(&out), &prewrite, &err));
    assert_int_equal(prewrite.schema_version, 12);
    assert_ok(mg_prewrite_next(&prewrite, &mutation, &err));
    assert_int_equal(mutation.table_id, 7);
    assert_ok(mg_prewrite_next(&prewrite, &mutation, &err));
    assert_int_equal(mutation.table_id, 8);
    assert_code(MG_NOT_FOUND, mg_prewrite_next(&prewrite, &mutation, &err));
    put_text(&out, 2, ""); /* rows of no table */
    assert_code(MG_PROTOCOL, open_bytes(mg_buffer_slice(&out), &prewrite, &err));
    out.size = 0;
    put_int(&out, 2, 5);
    assert_code(MG_PROTOCOL, open_bytes(mg_buffer_slice(&out), &prewrite, &err));
    out.size = 0;
    put_tag(&out, 3, 3); /* a group */
    assert_code(MG_PROTOCOL, open_bytes(mg_buffer_slice(&out), &prewrite, &err));
    mg_buffer_clear(&out);
    mg_buffer_clear(&inner);
}

/* ---- messages that are not in memory ------------------------------------------------------------------------- */

struct outside {
    struct mg_slice bytes;
    uint64_t fail_at; /* a read of this byte fails; UINT64_MAX: none does */
};

static enum mg_code read_outside(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err)
{
    const struct outside *outside = arg;
    assert_true(offset <= outside->bytes.size && size <= outside->bytes.size - offset);
    if (outside->fail_at >= offset && outside->fail_at < offset + size)
        return mg_fail(err, MG_IO, "the disk is broken");
    memcpy(out, outside->bytes.data + offset, size);
    return MG_OK;
}

enum { BIG_ROWS = 3000, BIG_ROW_MAX = 200000, BIG_MESSAGE_MAX = 64 << 20 };

/* Two tables; of the first rows of all kinds and very different sizes, in a mixed order, packed or not. */
static void fill_big(struct mg_buffer *out, bool packed)
{
    struct mg_buffer mutation, order;
    static uint8_t row[BIG_ROW_MAX];
    static const unsigned fields[3] = {2, 3, 6};
    static const uint8_t kinds[3] = {0, 1, 4};
    struct mg_error err;

    mg_buffer_init(&mutation, BIG_MESSAGE_MAX);
    mg_buffer_init(&order, 1 << 20);
    put_int(out, 1, 77);
    put_int(&mutation, 1, 7);
    for (unsigned list = 0; list < 3; list++)
        for (uint32_t i = 0; i < BIG_ROWS; i++) {
            size_t size = i % 500 == 3 ? BIG_ROW_MAX : 8 + i * 37 % 900;
            if (i % 3 != list)
                continue;
            mg_store_le64(row, i);
            memset(row + 8, (int)i, size - 8);
            put_bytes(&mutation, fields[list], MG_SLICE(row, size));
        }
    for (uint32_t i = 0; i < BIG_ROWS; i++) {
        if (packed)
            assert_ok(mg_buffer_append_u8(&order, kinds[i % 3], &err));
        else
            put_int(&mutation, 7, kinds[i % 3]);
    }
    if (packed)
        put_bytes(&mutation, 7, mg_buffer_slice(&order));
    put_bytes(out, 2, mg_buffer_slice(&mutation));
    mutation.size = 0;
    put_int(&mutation, 1, 8);
    put_bytes(out, 2, mg_buffer_slice(&mutation));
    mg_buffer_clear(&mutation);
    mg_buffer_clear(&order);
}

/* All rows, in order; the first code that is not MG_OK. */
static enum mg_code read_big(const struct mg_span *message, uint32_t *out_rows, struct mg_error *err)
{
    struct mg_prewrite prewrite;
    struct mg_mutation mutation;
    struct mg_row_walk walk = {.is_obsolete = false};
    enum mg_row_kind kind;
    struct mg_slice row;

    *out_rows = 0;
    enum mg_code code = mg_prewrite_open(message, &prewrite, err);
    if (code == MG_OK)
        code = mg_prewrite_next(&prewrite, &mutation, err);
    if (code == MG_OK)
        code = mg_row_walk_open(&walk, &mutation.body, err);
    while (code == MG_OK && (code = mg_row_walk_next(&walk, &kind, &row, err)) == MG_OK) {
        uint32_t i = (*out_rows)++;
        assert_int_equal(mg_load_le64(row.data), i);
        assert_int_equal(row.size, i % 500 == 3 ? BIG_ROW_MAX : 8 + i * 37 % 900);
        assert_true(row.size == 8 || (row.data[8] == (uint8_t)i && row.data[row.size - 1] == (uint8_t)i));
    }
    if (code == MG_NOT_FOUND)
        code = mg_prewrite_next(&prewrite, &mutation, err);
    if (code == MG_OK) {
        assert_int_equal(mutation.table_id, 8);
        code = mg_prewrite_next(&prewrite, &mutation, err);
    }
    mg_row_walk_clear(&walk);
    mg_prewrite_clear(&prewrite);
    return code;
}

static void a_message_that_is_not_in_memory(void **state)
{
    for (int packed = 0; packed < 2; packed++) {
        struct mg_buffer out;
        struct mg_budget budget;
        struct mg_error err = MG_ERROR_INIT;
        uint32_t rows;

        mg_buffer_init(&out, BIG_MESSAGE_MAX);
        fill_big(&out, packed);
        struct mg_span inside = mg_span_of(mg_buffer_slice(&out));
        assert_code(MG_NOT_FOUND, read_big(&inside, &rows, &err));
        assert_int_equal(rows, BIG_ROWS);

        /* Read in pieces: the windows of five cursors, of which three hold a row. */
        struct outside outside = {.bytes = mg_buffer_slice(&out), .fail_at = UINT64_MAX};
        mg_budget_init(&budget, "windows", NULL, 1 << 20);
        const struct mg_span_source source = {.read = read_outside, .arg = &outside, .budget = &budget};
        const struct mg_span span = {.size = out.size, .source = &source};
        assert_code(MG_NOT_FOUND, read_big(&span, &rows, &err));
        assert_int_equal(rows, BIG_ROWS);
        assert_int_equal(mg_budget_used(&budget), 0);
        assert_true(atomic_load(&budget.peak_bytes) < 1000000 && out.size > 2000000);

        /* What fails on the way is told, and nothing is left. */
        mg_budget_init(&budget, "windows", NULL, 300000);
        assert_code(MG_NO_MEMORY, read_big(&span, &rows, &err));
        assert_int_equal(mg_budget_used(&budget), 0);
        mg_budget_init(&budget, "windows", NULL, SIZE_MAX);
        for (outside.fail_at = 0; outside.fail_at < out.size; outside.fail_at += 100003)
            assert_code(MG_IO, read_big(&span, &rows, &err));
        assert_int_equal(mg_budget_used(&budget), 0);
        mg_buffer_clear(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_bytes),
        cmocka_unit_test(rows_come_in_statement_order),
        cmocka_unit_test(lists_and_order_must_agree),
        cmocka_unit_test(outer_message),
        cmocka_unit_test(a_message_that_is_not_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
