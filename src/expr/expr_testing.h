/* expr_testing.h -- what the tests of this room share: a table to compute over, and shorthand for random choices.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_EXPR_TESTING_H
#define MG_EXPR_EXPR_TESTING_H

#include "base/random.h"
#include "base/testing.h"
#include "expr/expr.h"

/* Columns c0, c1, ... of these types, nullable all but the key. */
static inline struct mg_schema *make_table(const struct mg_type *types, uint32_t count, uint32_t key)
{
    struct mg_error err;
    struct mg_schema *schema = mg_schema_new();

    assert_non_null(schema);
    assert_ok(mg_schema_text(&schema->database, mg_slice_text("d"), &err));
    assert_ok(mg_schema_text(&schema->table, mg_slice_text("t"), &err));
    for (uint32_t i = 0; i < count; i++) {
        struct mg_column *column;
        char name[12];
        snprintf(name, sizeof name, "c%u", i);
        assert_ok(mg_schema_add_column(schema, &column, &err));
        assert_ok(mg_schema_text(&column->name, mg_slice_text(name), &err));
        column->id = i + 1;
        column->type = types[i];
        column->nullable = i != key;
    }
    schema->key_count = 1;
    schema->key_columns[0] = key;
    assert_ok(mg_schema_seal(schema, &err));
    return schema;
}

static inline struct mg_expr *make_column(struct mg_arena *arena, uint32_t place)
{
    char name[12];

    snprintf(name, sizeof name, "c%u", place);
    return mg_expr_column(arena, mg_slice_text(name));
}

#endif
