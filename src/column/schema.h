/* schema.h -- a table's columns with stable ids, its key, and how it is stored in files.
 *
 * A column is known by its id, never by name or place. Ids of the source are kept; id MG_COLUMN_ROWID is the hidden
 * handle of a table that the source identifies by row number. A table's key decides which rows are one row.
 * Threads  immutable after mg_schema_seal; counted references from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_SCHEMA_H
#define MG_COLUMN_SCHEMA_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "column/type.h"

enum {
    MG_COLUMN_ROWID = -1,
    MG_COLUMNS_MAX = 4096,
    MG_KEY_COLUMNS_MAX = 16,
    MG_NAME_MAX = 256, /* bytes, terminator included */
};

struct mg_column {
    int64_t id;
    char *name;        /* as the source writes it */
    char *source_type; /* "decimal(12,2) unsigned"; for people */
    struct mg_type type;
    bool nullable;
    bool hidden;             /* the row handle: part of rows and keys, not of SELECT * */
    struct mg_value missing; /* what rows written before this column was there hold; its text is owned by the schema */
};

/* numbers are stored */
enum mg_table_state {
    MG_STATE_OK = 0,
    MG_STATE_UNSUPPORTED = 1,
    MG_STATE_NEEDS_RELOAD = 2,
};

/* A table at one schema version. Owns everything it points to. */
struct mg_schema {
    atomic_int references;
    uint64_t table_id; /* one incarnation; never used again */
    uint64_t version;  /* rises with each change of the table, over the whole store */
    char *database, *table;
    enum mg_table_state state;
    char *state_reason;     /* NULL when OK */
    uint64_t good_until_ts; /* NEEDS_RELOAD: snapshots with W at or below this may be read */
    uint32_t column_count;  /* may be 0 for UNSUPPORTED and NEEDS_RELOAD */
    struct mg_column *columns;
    uint32_t key_count;                       /* 1 to MG_KEY_COLUMNS_MAX when columns are there */
    uint32_t key_columns[MG_KEY_COLUMNS_MAX]; /* places in columns, in key order; never nullable */
    char *source;                             /* who owns it: "tidb", "local" */
    int64_t
        /* the table's id there; 0: none. An incarnation built by a reload has another table_id and the same
         * source_id. */
        source_id;
};

/* An empty schema to fill; heap. Strings are set with mg_schema_text. NULL only when the heap is out. */
struct mg_schema *mg_schema_new(void);
/* Copy text into schema-owned memory at *place, freeing what was there. */
MG_MUST_CHECK enum mg_code mg_schema_text(char **place, struct mg_slice text, struct mg_error *err);
/* Add a zeroed column; *out is valid until the next call. */
MG_MUST_CHECK enum mg_code mg_schema_add_column(struct mg_schema *schema, struct mg_column **out, struct mg_error *err);
/* Set what older rows hold in a column, copying text. Without it they hold NULL. */
MG_MUST_CHECK enum mg_code mg_schema_set_missing(struct mg_column *column, const struct mg_value *value,
                                                 struct mg_error *err);
/* Check names, ids, types and key; afterwards the schema is immutable. MG_INVALID says what is wrong. A source or
 * source_type that is not set becomes "". */
MG_MUST_CHECK enum mg_code mg_schema_seal(struct mg_schema *schema, struct mg_error *err);
struct mg_schema *mg_schema_ref(const struct mg_schema *schema);
void mg_schema_unref(struct mg_schema *schema); /* NULL is allowed */
void mg_schema_unrefp(struct mg_schema **schema);
/* A deep copy to change. */
struct mg_schema *mg_schema_copy(const struct mg_schema *schema);

/* Place of the column, or -1. Names compare without letter case (ASCII), as MySQL's do. */
int mg_schema_find_id(const struct mg_schema *schema, int64_t id);
int mg_schema_find_name(const struct mg_schema *schema, struct mg_slice name);
bool mg_schema_is_key(const struct mg_schema *schema, uint32_t column);

/* The stored form (docs/format/schema.md), with its own version number. */
MG_MUST_CHECK enum mg_code mg_schema_encode(const struct mg_schema *schema, struct mg_buffer *out,
                                            struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_schema_decode(struct mg_reader *in, struct mg_schema **out, struct mg_error *err);

#endif
