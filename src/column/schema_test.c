/* schema_test.c -- schemas keep what they are given, refuse what is wrong, and survive being stored; damage is noticed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/schema.h"

#include "base/hash.h"
#include "base/random.h"
#include "base/testing.h"

static struct mg_column *add(struct mg_schema *schema, int64_t id, const char *name, struct mg_type type, bool nullable)
{
    struct mg_error err;
    struct mg_column *column;

    assert_ok(mg_schema_add_column(schema, &column, &err));
    assert_ok(mg_schema_text(&column->name, mg_slice_text(name), &err));
    column->id = id;
    column->type = type;
    column->nullable = nullable;
    return column;
}

/* Unsealed: three columns, a text default, a key of two. */
static struct mg_schema *make_schema(void)
{
    struct mg_error err;
    struct mg_schema *schema = mg_schema_new();

    assert_non_null(schema);
    schema->table_id = 7;
    schema->version = 300;
    schema->source_id = -5;
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("shop"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("orders"), &err));
    assert_ok(mg_schema_text(&schema->source, mg_slice_text("tidb"), &err));
    add(schema, 1, "id", (struct mg_type){.id = MG_TYPE_INT64}, false);
    struct mg_column *note = add(schema, 4, "Note", (struct mg_type){.id = MG_TYPE_UTF8}, true);
    assert_ok(mg_schema_text(&note->source_type, mg_slice_text("varchar(20)"), &err));
    struct mg_value missing = {.type = {.id = MG_TYPE_UTF8}, .text = MG_SLICE("a\0b", 3)};
    assert_ok(mg_schema_set_missing(note, &missing, &err));
    struct mg_column *price = add(schema, 9, "price",
                                  (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2}, false);
    missing = (struct mg_value){.type = price->type, .d = -1250};
    assert_ok(mg_schema_set_missing(price, &missing, &err));
    schema->key_count = 2;
    schema->key_columns[0] = 2;
    schema->key_columns[1] = 0;
    return schema;
}

static void assert_same(const struct mg_schema *a, const struct mg_schema *b)
{
    assert_true(a->table_id == b->table_id && a->version == b->version && a->source_id == b->source_id &&
                a->state == b->state && a->good_until_ts == b->good_until_ts);
    assert_string_equal(a->database, b->database);
    assert_string_equal(a->table, b->table);
    assert_string_equal(a->source, b->source);
    assert_int_equal(!a->state_reason, !b->state_reason);
    if (a->state_reason)
        assert_string_equal(a->state_reason, b->state_reason);
    assert_int_equal(a->column_count, b->column_count);
    for (uint32_t i = 0; i < a->column_count; i++) {
        const struct mg_column *x = &a->columns[i], *y = &b->columns[i];
        assert_string_equal(x->name, y->name);
        assert_string_equal(x->source_type, y->source_type);
        assert_true(x->id == y->id && mg_type_equal(x->type, y->type) && x->nullable == y->nullable &&
                    x->hidden == y->hidden && x->missing.is_null == y->missing.is_null);
        assert_true(x->missing.is_null || mg_value_compare(&x->missing, &y->missing) == 0);
    }
    assert_int_equal(a->key_count, b->key_count);
    assert_memory_equal(a->key_columns, b->key_columns, a->key_count * sizeof a->key_columns[0]);
}

static void test_lookup(void **state)
{
    struct mg_error err;
    struct mg_schema *schema = make_schema();

    assert_ok(mg_schema_seal(schema, &err));
    assert_int_equal(mg_schema_find_id(schema, 4), 1);
    assert_int_equal(mg_schema_find_id(schema, 5), -1);
    assert_int_equal(mg_schema_find_name(schema, mg_slice_text("NOTE")), 1);
    assert_int_equal(mg_schema_find_name(schema, mg_slice_text("not")), -1);
    assert_int_equal(mg_schema_find_name(schema, MG_SLICE("PRICE", 5)), 2);
    assert_true(mg_schema_is_key(schema, 0) && !mg_schema_is_key(schema, 1) && mg_schema_is_key(schema, 2));
    assert_true(schema->columns[0].missing.is_null);
    assert_string_equal(schema->columns[0].source_type, "");
    assert_ptr_equal(mg_schema_ref(schema), schema);
    mg_schema_unref(schema);
    mg_schema_unref(schema);
    mg_schema_unref(NULL);
}

static void test_copy(void **state)
{
    struct mg_error err;
    struct mg_schema *schema = make_schema();

    assert_ok(mg_schema_seal(schema, &err));
    struct mg_schema *copy = mg_schema_copy(schema);
    assert_non_null(copy);
    assert_same(schema, copy);
    mg_schema_unref(schema);
    add(copy, 10, "more", (struct mg_type){.id = MG_TYPE_DATE}, true);
    assert_ok(mg_schema_seal(copy, &err));
    mg_schema_unref(copy);
}

static void test_many_columns(void **state)
{
    struct mg_error err;
    struct mg_column *column;
    struct mg_schema *schema = make_schema();

    for (int i = 3; i < MG_COLUMNS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%d", i);
        add(schema, 1000 + i, name, (struct mg_type){.id = MG_TYPE_INT8}, true);
    }
    assert_code(MG_TOO_BIG, mg_schema_add_column(schema, &column, &err));
    assert_ok(mg_schema_seal(schema, &err));
    mg_schema_unref(schema);
}

#define REFUSED(change)                                        \
    do {                                                       \
        struct mg_schema *schema = make_schema();              \
        assert_ok(mg_schema_seal(schema, &err));               \
        change;                                                \
        assert_code(MG_INVALID, mg_schema_seal(schema, &err)); \
        mg_schema_unref(schema);                               \
    } while (0)

static void test_seal_refuses(void **state)
{
    struct mg_error err;
    char long_name[MG_NAME_MAX + 1];

    memset(long_name, 'x', MG_NAME_MAX);
    long_name[MG_NAME_MAX] = 0;
    REFUSED(assert_ok(mg_schema_text(&schema->table, mg_slice_text(""), &err)));
    REFUSED(assert_ok(mg_schema_text(&schema->columns[0].name, mg_slice_text(long_name), &err)));
    REFUSED(assert_ok(mg_schema_text(&schema->columns[0].name, mg_slice_text("nOTE"), &err)));
    REFUSED(schema->columns[0].id = 4);
    REFUSED(schema->columns[0].type.id = MG_TYPE_NONE);
    REFUSED(schema->columns[0].hidden = true);
    REFUSED(schema->columns[0].id = MG_COLUMN_ROWID);
    REFUSED(schema->columns[1].missing.type.id = MG_TYPE_INT8;
            free((void *)(uintptr_t)schema->columns[1].missing.text.data));
    REFUSED(schema->key_count = 0);
    REFUSED(schema->key_count = MG_KEY_COLUMNS_MAX + 1);
    REFUSED(schema->key_columns[0] = 3);
    REFUSED(schema->key_columns[0] = 0);
    REFUSED(schema->key_columns[0] = 1); /* nullable */
    REFUSED(schema->state = 3);
    struct mg_schema *empty = mg_schema_new();
    assert_code(MG_INVALID, mg_schema_seal(empty, &err));
    assert_code(MG_INVALID, mg_schema_text(&empty->table, MG_SLICE("a\0", 2), &err));
    mg_schema_unref(empty);
}

static void test_unsupported_table(void **state)
{
    struct mg_error err;
    struct mg_buffer stored;
    struct mg_schema *schema = mg_schema_new(), *back;

    assert_ok(mg_schema_text(&schema->database, mg_slice_text("d"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("t"), &err));
    schema->state = MG_STATE_UNSUPPORTED;
    assert_ok(mg_schema_text(&schema->state_reason, mg_slice_text("column x: geometry"), &err));
    assert_ok(mg_schema_seal(schema, &err)); /* without columns */
    mg_buffer_init(&stored, 1000);
    assert_ok(mg_schema_encode(schema, &stored, &err));
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&stored));
    assert_ok(mg_schema_decode(&in, &back, &err));
    assert_same(schema, back);
    mg_schema_unref(schema);
    mg_schema_unref(back);
    mg_buffer_clear(&stored);
}

static void test_stored_form(void **state)
{
    struct mg_error err;
    struct mg_buffer stored;
    struct mg_schema *schema = make_schema(), *back;

    assert_ok(mg_schema_seal(schema, &err));
    mg_buffer_init(&stored, 1000);
    assert_ok(mg_schema_encode(schema, &stored, &err));
    size_t size = stored.size;
    assert_ok(mg_schema_encode(schema, &stored, &err)); /* two in a row */
    assert_int_equal(stored.size, size * 2);
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&stored));
    for (int i = 0; i < 2; i++) {
        assert_ok(mg_schema_decode(&in, &back, &err));
        assert_same(schema, back);
        mg_schema_unref(back);
    }
    assert_int_equal(mg_reader_left(&in), 0);

    /* The bytes of docs/format/schema.md: they may only change together with the format version. */
    static const uint8_t golden[] = {
        0x01, 0x5e, 0x00, 0x00, 0x00, 0xa8, 0xd1, 0x1a, 0x8c, 0xf9, 0xd9, 0x31, 0xff, 0x07, 0xac, 0x02, 0x09, 0x00,
        0x00, 0x04, 0x73, 0x68, 0x6f, 0x70, 0x06, 0x6f, 0x72, 0x64, 0x65, 0x72, 0x73, 0x04, 0x74, 0x69, 0x64, 0x62,
        0x00, 0x03, 0x02, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02, 0x69, 0x64, 0x00, 0x08, 0x05, 0x0f, 0x00, 0x00, 0x00,
        0x04, 0x4e, 0x6f, 0x74, 0x65, 0x0b, 0x76, 0x61, 0x72, 0x63, 0x68, 0x61, 0x72, 0x28, 0x32, 0x30, 0x29, 0x03,
        0x61, 0x00, 0x62, 0x12, 0x04, 0x0b, 0x0c, 0x02, 0x00, 0x05, 0x70, 0x72, 0x69, 0x63, 0x65, 0x00, 0x1e, 0xfb,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x02, 0x00,
    };
    assert_int_equal(size, sizeof golden);
    assert_memory_equal(stored.data, golden, size);

    for (size_t cut = 0; cut < size; cut++) {
        in = mg_reader_of(MG_SLICE(stored.data, cut));
        assert_code(MG_CORRUPT, mg_schema_decode(&in, &back, &err));
    }
    for (size_t at = 0; at < size * 8; at++) {
        stored.data[at / 8] ^= (uint8_t)(1 << at % 8);
        in = mg_reader_of(MG_SLICE(stored.data, size));
        assert_code(at < 8 ? MG_UNIMPLEMENTED : MG_CORRUPT, mg_schema_decode(&in, &back, &err));
        stored.data[at / 8] ^= (uint8_t)(1 << at % 8);
    }
    struct mg_buffer small;
    mg_buffer_init(&small, size - 1);
    assert_code(MG_TOO_BIG, mg_schema_encode(schema, &small, &err));
    assert_int_equal(small.size, 0);
    mg_buffer_clear(&small);
    mg_schema_unref(schema);
    mg_buffer_clear(&stored);
}

/* Damage behind a good checksum: whatever the bytes are, decoding ends with a code. */
static void test_damaged_bodies(void **state)
{
    struct mg_error err;
    struct mg_buffer stored;
    struct mg_random random;
    struct mg_schema *schema = make_schema(), *back;
    uint32_t good = 0;

    assert_ok(mg_schema_seal(schema, &err));
    mg_buffer_init(&stored, 1000);
    assert_ok(mg_schema_encode(schema, &stored, &err));
    mg_schema_unref(schema);
    mg_random_init(&random, 1);
    for (int i = 0; i < 20000; i++) {
        uint8_t copy[1000];
        memcpy(copy, stored.data, stored.size);
        for (uint64_t n = 1 + mg_random_below(&random, 3); n; n--)
            copy[13 + mg_random_below(&random, stored.size - 13)] = (uint8_t)mg_random_u64(&random);
        mg_store_le64(copy + 5, mg_hash(copy + 13, stored.size - 13, 0));
        struct mg_reader in = mg_reader_of(MG_SLICE(copy, stored.size));
        enum mg_code code = mg_schema_decode(&in, &back, &err);
        if (code == MG_OK) {
            mg_schema_unref(back);
            good++;
        } else {
            assert_int_equal(code, MG_CORRUPT);
            assert_int_equal(err.code, MG_CORRUPT);
        }
    }
    assert_true(good > 100 && good < 19000);
    mg_buffer_clear(&stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_many_columns),
        cmocka_unit_test(test_seal_refuses),
        cmocka_unit_test(test_unsupported_table),
        cmocka_unit_test(test_stored_form),
        cmocka_unit_test(test_damaged_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
