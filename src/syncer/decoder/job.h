/* job.h -- what TiDB's status port tells about schemas, read from JSON: DDL jobs, tables, databases.
 *
 * Only what a follower needs is kept. All of it is copied into the arena; texts are terminated.
 * Source   TiDB release-7.5 pkg/parser/model (fields seen in answers of /ddl/history, /schema, /db-table).
 * Threads  values; an arena belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_JOB_H
#define MG_SYNCER_JOB_H

#include "base/arena.h"
#include "base/error.h"

/* the numbers of MySQL's protocol */
enum mg_tidb_type {
    MG_TIDB_TINY = 1,
    MG_TIDB_SHORT = 2,
    MG_TIDB_LONG = 3,
    MG_TIDB_FLOAT = 4,
    MG_TIDB_DOUBLE = 5,
    MG_TIDB_TIMESTAMP = 7,
    MG_TIDB_LONGLONG = 8,
    MG_TIDB_INT24 = 9,
    MG_TIDB_DATE = 10,
    MG_TIDB_TIME = 11,
    MG_TIDB_DATETIME = 12,
    MG_TIDB_YEAR = 13,
    MG_TIDB_NEWDATE = 14,
    MG_TIDB_VARCHAR = 15,
    MG_TIDB_BIT = 16,
    MG_TIDB_VECTOR = 225,
    MG_TIDB_JSON = 245,
    MG_TIDB_DECIMAL = 246,
    MG_TIDB_ENUM = 247,
    MG_TIDB_SET = 248,
    MG_TIDB_TINY_BLOB = 249,
    MG_TIDB_MEDIUM_BLOB = 250,
    MG_TIDB_LONG_BLOB = 251,
    MG_TIDB_BLOB = 252,
    MG_TIDB_VAR_STRING = 253,
    MG_TIDB_STRING = 254,
};
enum { MG_TIDB_FLAG_NOT_NULL = 1, MG_TIDB_FLAG_PRIMARY = 2, MG_TIDB_FLAG_UNSIGNED = 32 };
enum { MG_TIDB_PUBLIC = 5 }; /* schema state of what users see */

struct mg_tidb_column {
    int64_t id;
    const char *name;
    int state;
    int type; /* enum mg_tidb_type, or one that is not known */
    uint32_t flags;
    int64_t length, decimals; /* -1: not given */
    const char *charset, *collation;
    bool is_virtual;            /* generated and not stored: never in an inserted or updated row */
    const char *origin_default; /* what rows hold that were written before the column was there; NULL: none */
    size_t origin_default_size;
};

enum { MG_TIDB_KEY_COLUMNS_MAX = 16 };

/* A TableInfo. */
struct mg_tidb_table {
    int64_t id;
    const char *name;
    bool is_view, is_sequence, is_temporary;
    bool has_ttl; /* rows vanish by themselves, no binlog tells */
    bool pk_is_handle, is_common_handle;
    int64_t max_column_id;
    uint32_t column_count;
    struct mg_tidb_column *columns;
    uint32_t key_count; /* of the primary index, for is_common_handle */
    struct {
        uint32_t column; /* place in columns */
        int64_t length;  /* of a prefix; -1: all of it */
    } key[MG_TIDB_KEY_COLUMNS_MAX];
};

struct mg_tidb_database {
    int64_t id;
    const char *name;
};

/* ActionType's numbers */
enum mg_ddl_type {
    MG_DDL_CREATE_DATABASE = 1,
    MG_DDL_DROP_DATABASE = 2,
    MG_DDL_CREATE_TABLE = 3,
    MG_DDL_DROP_TABLE = 4,
    MG_DDL_ADD_COLUMN = 5,
    MG_DDL_DROP_COLUMN = 6,
    MG_DDL_TRUNCATE_TABLE = 11,
    MG_DDL_MODIFY_COLUMN = 12,
    MG_DDL_RENAME_TABLE = 14,
    MG_DDL_DROP_PARTITION = 20,
    MG_DDL_CREATE_VIEW = 21,
    MG_DDL_TRUNCATE_PARTITION = 23,
    MG_DDL_DROP_VIEW = 24,
    MG_DDL_RECOVER_TABLE = 25,
    MG_DDL_REPAIR_TABLE = 29,
    MG_DDL_CREATE_SEQUENCE = 34,
    MG_DDL_ALTER_SEQUENCE = 35,
    MG_DDL_DROP_SEQUENCE = 36,
    MG_DDL_EXCHANGE_PARTITION = 42,
    MG_DDL_RENAME_TABLES = 47,
    MG_DDL_CREATE_TABLES = 60,
    MG_DDL_MULTI_SCHEMA_CHANGE = 61,
    MG_DDL_FLASHBACK_CLUSTER = 62,
    MG_DDL_RECOVER_DATABASE = 63,
    MG_DDL_REORGANIZE_PARTITION = 64,
    MG_DDL_ALTER_PARTITIONING = 71,
    MG_DDL_REMOVE_PARTITIONING = 72,
};

enum mg_ddl_state { MG_DDL_ROLLBACK_DONE = 3, MG_DDL_DONE = 4, MG_DDL_CANCELLED = 5, MG_DDL_SYNCED = 6 };

struct mg_table_name {
    const char *database, *table;
};

/* One entry of the DDL history. */
struct mg_ddl_job {
    int64_t id;
    int type;  /* enum mg_ddl_type, or another */
    int state; /* enum mg_ddl_state, or another: not finished */
    int64_t table_id;
    const char *database, *table; /* schema_name, table_name: where it was asked for */
    int64_t version;              /* SchemaVersion from which on its result holds */
    uint64_t finished_ts;
    const char *query;
    const char *database_info;  /* DBInfo's name; NULL */
    struct mg_tidb_table *info; /* TableInfo, the table afterwards; NULL */
    uint32_t info_count;        /* MultipleTableInfos */
    struct mg_tidb_table *infos;
    uint32_t name_count; /* involving_schema_info */
    struct mg_table_name *names;
    uint32_t added_column_count;   /* MULTI_SCHEMA_CHANGE: how many of its parts add a column, */
    uint32_t dropped_column_count; /* and drop one */
};

static inline bool mg_ddl_succeeded(const struct mg_ddl_job *job)
{
    return job->state == MG_DDL_DONE || job->state == MG_DDL_SYNCED;
}
/* "add column"; "action 99" for a number that is not known, in text. */
const char *mg_ddl_type_name(int type, char text[32]);

/* An answer of /ddl/history: a list of jobs, as they come. MG_PROTOCOL when it is none. */
MG_MUST_CHECK enum mg_code mg_ddl_jobs_read(struct mg_slice json, struct mg_arena *arena, struct mg_ddl_job **out,
                                            uint32_t *out_count, struct mg_error *err);
/* An answer of /schema. */
MG_MUST_CHECK enum mg_code mg_tidb_databases_read(struct mg_slice json, struct mg_arena *arena,
                                                  struct mg_tidb_database **out, uint32_t *out_count,
                                                  struct mg_error *err);
/* An answer of /schema/{db}: a list of tables. */
MG_MUST_CHECK enum mg_code mg_tidb_tables_read(struct mg_slice json, struct mg_arena *arena, struct mg_tidb_table **out,
                                               uint32_t *out_count, struct mg_error *err);
/* An answer of /db-table/{id}: where a table is. */
MG_MUST_CHECK enum mg_code mg_tidb_db_table_read(struct mg_slice json, struct mg_arena *arena,
                                                 const char **out_database, struct mg_tidb_table *out,
                                                 struct mg_error *err);

#endif
