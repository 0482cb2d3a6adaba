/* engine_kit.h -- tables, rows and snapshots as text, for tests that speak to engines.
 *
 * Columns  "1 id int64 key; 2 name utf8 null; 3 price decimal(12,2)": id, name, type; then any of key, null, hidden,
 *          pad (PAD SPACE), missing=VALUE.
 * Changes  "I 1,ada,1.50 | U 2,NULL,3.00 | D 3,,0": op, then a value per column, in the text that mg_value_format
 *          prints; dates and times as their numbers. A blank in text is written _, a comma ~.
 * Rows     what a scan gives, one row a line as "1,ada,1.50", lines sorted unless the scan orders; "" for none.
 * Errors   of the kit itself end the test.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_TESTS_CONTRACT_ENGINE_KIT_H
#define MG_TESTS_CONTRACT_ENGINE_KIT_H

#include "engine/engine.h"

/* A sealed schema, one reference. */
struct mg_schema *kit_schema(uint64_t table_id, uint64_t version, const char *database, const char *table,
                             const char *columns);
/* The same, in a state other than OK. columns may be "". */
struct mg_schema *kit_schema_state(uint64_t table_id, uint64_t version, const char *database, const char *table,
                                   const char *columns, enum mg_table_state state, const char *reason);
/* A value of a type from text; text lives in the arena. */
struct mg_value kit_value(struct mg_type type, const char *text, struct mg_arena *arena);

/* Begin, or fail the test. */
struct mg_epoch *kit_begin(struct mg_engine *engine);
/* Of source "test", generation 1: publish with that watermark; returns the epoch. */
uint64_t kit_publish(struct mg_epoch *epoch, uint64_t watermark);
enum mg_code kit_change(struct mg_epoch *epoch, enum mg_schema_change_kind kind, const char *database,
                        struct mg_schema *schema, uint64_t table_id);
/* Changes as a batch and ops, to be put by hand. */
struct kit_changes {
    struct mg_batch *rows;
    uint8_t ops[4096];
};
void kit_changes_make(const struct mg_schema *schema, const char *text, struct kit_changes *out);
void kit_changes_clear(struct kit_changes *changes);
enum mg_code kit_try_put(struct mg_epoch *epoch, const struct mg_schema *schema, const char *changes,
                         struct mg_error *err);
void kit_put(struct mg_epoch *epoch, const struct mg_schema *schema, const char *changes);
/* An epoch that creates the database (unless it is there) and puts the table; one that puts rows; both publish at the
 * next watermark. */
uint64_t kit_create(struct mg_engine *engine, struct mg_schema *schema);
uint64_t kit_apply(struct mg_engine *engine, const struct mg_schema *schema, const char *changes);

struct mg_snapshot *kit_snapshot(struct mg_engine *engine);

struct kit_scan {
    const char *columns;      /* names, separated by commas; NULL: all of the schema */
    const char *where_column; /* a comparison: column, op, literal; NULL: none */
    enum mg_expr_op op;
    const char *literal;
    const struct mg_predicate *predicate; /* in place of where_column; NULL: none */
    struct mg_key_range range;
    uint64_t limit;
    uint32_t batch_rows_max;
    const struct mg_aggregate *aggregate; /* then no columns */
    const struct mg_top_order *order;     /* then lines are not sorted */
    uint32_t order_count;
};
/* Rows as text, until the next call. scan may be NULL: everything. */
const char *kit_rows(struct mg_snapshot *snapshot, uint64_t table_id, const struct kit_scan *scan);
/* What kit_rows returned last is gone, and its memory: for tests that count blocks. */
void kit_forget(void);
/* Of the newest snapshot. */
const char *kit_now(struct mg_engine *engine, uint64_t table_id);
/* A status value as a number; fails the test when there is none. */
uint64_t kit_status(struct mg_engine *engine, const char *name);

#endif
