/* part_lookup_test.c -- keys that are sorted for look-ups and for parts: in bulk and one by one they come out the same,
 * and in their order, however many share their first eight bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/random.h"
#include "base/testing.h"
#include "engine/magic/magic_internal.h"

enum { ROWS = 3000 };

/* A number that `groups` rows in turn share, and a second column that no two of them do. */
static struct mg_batch *make_rows(struct mg_type first, uint32_t groups)
{
    struct mg_type types[] = {first, {.id = MG_TYPE_INT32}};
    struct mg_batch_builder builder;
    struct mg_batch *rows;
    struct mg_random random;

    mg_random_init(&random, groups);
    assert_int_equal(mg_batch_builder_init(&builder, types, 2, NULL, 1 << 20, NULL), MG_OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        int64_t group = (int64_t)mg_random_below(&random, groups) - groups / 2;
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)group); /* many are shorter than a prefix */
        if (first.id == MG_TYPE_UTF8)
            assert_int_equal(mg_builder_text(&builder, 0, mg_slice_text(text), NULL), MG_OK);
        else
            assert_int_equal(mg_builder_int(&builder, 0, group, NULL), MG_OK);
        assert_int_equal(mg_builder_int(&builder, 1, (int32_t)(row * 2654435761u), NULL), MG_OK);
    }
    assert_int_equal(mg_batch_builder_finish(&builder, ROWS, &rows, NULL), MG_OK);
    mg_batch_builder_clear(&builder);
    return rows;
}

static struct mg_slice key_of(const struct mg_lookup *lookup, uint32_t at)
{
    const struct mg_lookup_item *item = &lookup->items[at];
    return MG_SLICE(lookup->unsorted.data + lookup->begins[item->at], item->size);
}

static void check(struct mg_type first, uint32_t groups)
{
    struct mg_batch *rows = make_rows(first, groups);
    const struct mg_vector *keys[] = {&rows->vectors[0], &rows->vectors[1]};
    struct mg_lookup single, bulk;

    assert_int_equal(mg_lookup__init(&single, ROWS, NULL), MG_OK);
    assert_int_equal(mg_lookup__init(&bulk, ROWS, NULL), MG_OK);
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(mg_key_encode(keys, 2, row, mg_lookup__begin(&single), NULL), MG_OK);
        mg_lookup__end(&single);
    }
    assert_int_equal(mg_lookup__sort(&single, NULL), MG_OK);
    assert_int_equal(mg_lookup__encode(&bulk, keys, 2, ROWS, NULL), MG_OK);
    mg_lookup__order(&bulk);
    assert_int_equal(bulk.count, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        struct mg_slice sorted = MG_SLICE(single.keys.data + single.offsets[i],
                                          single.offsets[i + 1] - single.offsets[i]);
        assert_int_equal(bulk.items[i].at, single.items[i].at);
        assert_true(mg_slice_equal(key_of(&bulk, i), sorted));
        if (i > 0)
            assert_true(mg_slice_compare(key_of(&bulk, i - 1), key_of(&bulk, i)) < 0);
    }
    mg_lookup__clear(&single);
    mg_lookup__clear(&bulk);
    mg_batch_unref(rows);
}

/* From groups of one row to one group of all, over the number that is sorted by insertion. */
static void keys_come_in_order(void **state)
{
    static const uint32_t groups[] = {1000000, 1000, 200, 30, 1};

    (void)state;
    for (size_t i = 0; i < MG_COUNT_OF(groups); i++) {
        check((struct mg_type){.id = MG_TYPE_INT64}, groups[i]);
        check((struct mg_type){.id = MG_TYPE_INT32}, groups[i]);
        check((struct mg_type){.id = MG_TYPE_UTF8}, groups[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_come_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
