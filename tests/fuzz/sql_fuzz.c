/* sql_fuzz.c -- what people type: any bytes are a statement, or an error that says where and why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_schema.h"
#include "query/sql/sql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_say_why(const struct mg_error *err)
{
    if (err->code == MG_OK || err->text[0] == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mg_schema *schema;
    struct mg_predicate *predicate = NULL;
    struct mg_sql_statement statement;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer text;
    struct mg_arena arena;

    if (!schema)
        schema = fuzz_schema();
    mg_arena_init(&arena, 64 << 20);
    mg_buffer_init(&text, 64 << 20);
    if (mg_sql_parse(MG_SLICE(data, size), &arena, &statement, &err) != MG_OK) {
        must_say_why(&err);
    } else if (statement.where) {
        FUZZ_MUST(mg_expr_format(statement.where, &text, NULL));
        if (mg_sql_bind(statement.where, schema, &arena, &err) != MG_OK)
            must_say_why(&err);
        else if (mg_predicate_bind(statement.where, schema, &predicate, &err) != MG_OK)
            must_say_why(&err);
        mg_predicate_free(predicate);
    }
    mg_buffer_clear(&text);
    mg_arena_clear(&arena);
    return 0;
}
