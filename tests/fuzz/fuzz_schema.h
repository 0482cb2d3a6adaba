/* fuzz_schema.h -- a table with a column of every type, named c1 (int8) to c15 (utf8), for fuzz targets.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_FUZZ_SCHEMA_H
#define MG_FUZZ_SCHEMA_H

#include <stdio.h>
#include <stdlib.h>

#include "column/schema.h"

#define FUZZ_MUST(call)                                                       \
    do {                                                                      \
        if ((call) != MG_OK) {                                                \
            fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #call); \
            abort();                                                          \
        }                                                                     \
    } while (0)

static inline struct mg_schema *fuzz_schema(void)
{
    struct mg_schema *schema = mg_schema_new();

    FUZZ_MUST(mg_schema_text(&schema->database, mg_slice_text("d"), NULL));
    FUZZ_MUST(mg_schema_text(&schema->table, mg_slice_text("t"), NULL));
    FUZZ_MUST(mg_schema_text(&schema->source, mg_slice_text("s"), NULL));
    schema->table_id = schema->version = 1;
    for (int id = MG_TYPE_INT8; id < MG_TYPE_COUNT; id++) {
        struct mg_column *column;
        char name[8];
        snprintf(name, sizeof name, "c%d", id);
        FUZZ_MUST(mg_schema_add_column(schema, &column, NULL));
        FUZZ_MUST(mg_schema_text(&column->name, mg_slice_text(name), NULL));
        column->id = id;
        column->nullable = id > MG_TYPE_INT8;
        column->missing.is_null = true;
        column->type.id = (enum mg_type_id)id;
        if (id == MG_TYPE_DECIMAL)
            column->type.precision = 12, column->type.scale = 2;
        if (id == MG_TYPE_UTF8)
            column->type.collation = MG_COLLATION_PAD_SPACE;
    }
    schema->key_count = 1;
    FUZZ_MUST(mg_schema_seal(schema, NULL));
    return schema;
}

#endif
