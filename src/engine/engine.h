/* engine.h -- the interface of a store engine, and nothing else.
 *
 * An engine keeps tables as columns, takes changes in epochs, and shows snapshots. It speaks of tables, epochs,
 * snapshots, splits, predicates and batches, never of how it stores them, so that a MergeTree of ours, a ClickHouse
 * server and a plain model in memory can stand behind it. One const table of functions per engine; the contract stands
 * on each member.
 *
 * Words       epoch: unit of applying, dense u64 from 1 over the whole engine; snapshot: the state after one published
 *             epoch; watermark: per source, the commit_ts up to which everything is in.
 * Promises    a snapshot shows whole epochs only and never changes; what was published survives power loss, with its
 *             source position in the same atomic step; an aborted epoch leaves nothing.
 * Writers     one epoch is being staged at a time, by one thread at a time (the latch service sees to it).
 * Readers     any number of threads; a snapshot may be used from several at once; a scan by one at a time.
 * Errors      an operation that fails has changed nothing, unless its contract says otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_ENGINE_H
#define MG_ENGINE_ENGINE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/io.h"
#include "column/batch.h"
#include "column/key.h"
#include "column/schema.h"
#include "expr/aggregate.h"
#include "expr/expr.h"
#include "expr/top.h"

struct mg_engine_ops;

/* First member of every engine. Opened and closed by the server (or a test). */
struct mg_engine {
    const struct mg_engine_ops *ops;
};
/* First member of every engine's snapshot, epoch and scan. */
struct mg_snapshot {
    struct mg_engine *engine;
};
struct mg_epoch {
    struct mg_engine *engine;
};
struct mg_scan {
    struct mg_engine *engine;
};

struct mg_engine_options {
    const char
        *folder;      /* the engine's own; created when missing; locked while open. May be NULL for engines in memory */
    struct mg_io *io; /* NULL = the machine's */
    struct mg_clock *clock;     /* NULL = the machine's */
    struct mg_budget *budget;   /* memory is accounted here; NULL = not limited */
    uint64_t wal_segment_bytes; /* 0 = 64 MiB */
    uint64_t segment_bytes;     /* of rows in memory that are flushed together; 0 = up to 64 MiB, by the budget */
    uint64_t stage_bytes;       /* of an epoch in memory, the rest waits on disk; 0 = up to 256 MiB, by the budget */
    /* of rows in memory that only old snapshots show, the rest goes to disk; 0 = when memory is short */
    uint64_t sealed_bytes;
    uint64_t checkpoint_bytes; /* of WAL between two checkpoints; 0 = 256 MiB */
    int64_t checkpoint_ms;     /* time between them; 0 = 60,000 */
    uint64_t part_rows_max;    /* about how many rows a part has at most; 0 = by the table's size (tests) */
    uint64_t merge_throttle;   /* bytes of rows that merges take in a second; 0 = no limit */
    uint64_t disk_reserve;     /* bytes: merges wait when less is free; 0 = 2 % of the disk, at most 1 GiB */
    bool maintain_by_hand;     /* tests: nothing in the background, checkpoint alone does the work */
    bool sync_off;             /* tests of speed only: no fdatasync. Refused by the server */
};

enum { MG_SOURCE_NAME_MAX = 64, MG_SOURCES_MAX = 16, MG_POSITION_MAX = 4096 };

/* How far a source is applied: stored in the same atomic step as the rows. */
struct mg_source_position {
    char source[MG_SOURCE_NAME_MAX];
    uint64_t watermark;                /* 0 before the first epoch */
    uint64_t generation;               /* of the writer that published last */
    uint64_t epoch;                    /* its last epoch; 0: none */
    uint8_t position[MG_POSITION_MAX]; /* the source's own, opaque bytes */
    uint32_t position_size;
};

/* Numbers are stored. */
enum mg_schema_change_kind {
    MG_SCHEMA_CREATE_DATABASE = 1,
    MG_SCHEMA_DROP_DATABASE = 2, /* only when no table is in it: drop those first, in the same epoch */
    /* A new table_id: an empty incarnation; a known one: its next schema (name, columns, state). Ids of dropped tables
     * and columns are never used again. What became NEEDS_RELOAD is never OK again: a reload is another table_id. */
    MG_SCHEMA_PUT_TABLE = 3,
    MG_SCHEMA_DROP_TABLE = 4,
};
struct mg_schema_change {
    enum mg_schema_change_kind kind;
    const char *database;     /* CREATE_DATABASE, DROP_DATABASE; names compare without letter case */
    struct mg_schema *schema; /* PUT_TABLE: sealed; the engine takes its own reference */
    uint64_t table_id;        /* DROP_TABLE */
};

/* What the source said. Numbers are stored. */
enum mg_change_op {
    MG_CHANGE_INSERT = 0, /* the row was not there */
    MG_CHANGE_UPDATE = 1, /* it was, under the same key; the whole new row */
    MG_CHANGE_DELETE = 2, /* it was; only the key columns are read, others may hold anything */
};

/* How a change contradicts the stored rows. Numbers are those of TableInfo and status. */
enum mg_verify_kind {
    MG_VERIFY_INSERT_OF_EXISTING = 0,
    MG_VERIFY_UPDATE_OF_MISSING = 1,
    MG_VERIFY_DELETE_OF_MISSING = 2,
    MG_VERIFY_IMAGE_DIFFERS = 3, /* the stored row is not what the source says it was */
    MG_VERIFY_KINDS = 4,
};
enum { MG_VERIFY_TOLD_MAX = 5, MG_VERIFY_TEXT_MAX = 320 };
struct mg_verify_told {
    enum mg_verify_kind kind;
    uint32_t row;                  /* of the changes */
    char text[MG_VERIFY_TEXT_MAX]; /* key, and of an image column and both values */
};
/* What was found of a table's changes, since the engine was opened. */
struct mg_verify {
    uint64_t counts[MG_VERIFY_KINDS];
    uint64_t compared_count; /* old images */
    int64_t since_ms;        /* unix time of the first contradiction, when there is one */
    uint64_t since_epoch;    /* that it came with */
    uint32_t told_count;
    struct mg_verify_told told[MG_VERIFY_TOLD_MAX]; /* the first ones */
};

/* Changes of one table in the source's order: for the same key the later one wins. */
struct mg_changes {
    uint64_t table_id;
    uint64_t schema_version; /* of the table in this epoch, else MG_SCHEMA_CHANGED */
    struct mg_batch *rows;   /* all columns of the schema, hidden ones included, in its order */
    const uint8_t *ops;      /* rows->row_count of enum mg_change_op */
    /* What the source says that some rows were before: row i is of row old_rows[i] of rows, which is an UPDATE or
     * DELETE; old_rows rises. All columns, in the schema's order. NULL: nothing is said. */
    const struct mg_batch *old;
    const uint32_t *old_rows;
    struct mg_verify *verify; /* what contradicts in this call is added here, if it succeeds; may be NULL */
};

struct mg_table_stats {
    uint64_t row_count;  /* exact at the snapshot */
    uint64_t size_bytes; /* memory and disk, roughly */
};

/* Of one column over a table's rows. Bounds of longer texts are not told. */
enum { MG_STATS_TEXT_MAX = 1024 };
struct mg_column_stats {
    uint64_t null_count;     /* exact, or (not is_exact) not below the truth */
    uint64_t distinct_count; /* of values that are not NULL: an estimate, 1.6 % is the usual error; with deleted rows it
                                counts values that only those had */
    bool is_exact;           /* no deleted row is in these numbers */
    bool has_bounds;         /* some value is not NULL, and all lie between low and high in mg_value_compare's order */
    bool bounds_exact;       /* low and high are such values */
    struct mg_value low, high;
};

/* What a scan did so far: all that read for it add. A block is what an engine reads or passes over as a whole. */
struct mg_scan_work {
    _Atomic uint64_t blocks_read;
    _Atomic uint64_t blocks_skipped; /* what is known of the values in them was enough */
};

struct mg_scan_spec {
    uint64_t table_id;
    const uint32_t *columns; /* places in the snapshot's schema of the table, in output order; may repeat */
    uint32_t column_count;   /* 0: batches with a row count and no column */
    const struct mg_predicate *predicate; /* bound to that schema; NULL = all. Outlives the scan */
    /* Bound to that schema; NULL: rows. Outlives the scan. The batches hold its columns (aggregate->columns) over the
     * rows that predicate and range keep, instead of rows; then column_count and limit are 0. Complete: of this scan's
     * rows, so with range of all of them. Partial: a group may come in several batches, and over no rows none comes,
     * also without groups, where a complete one gives a row. */
    const struct mg_aggregate *aggregate;
    struct mg_key_range range; /* borrowed for the scan's life */
    uint64_t limit;            /* 0 = all; the scan may stop there, and never gives more */
    /* With a limit: the first rows in this order, and given in it; places need not be among columns. NULL: any rows. */
    const struct mg_top_order *order; /* borrowed until scan returns */
    uint32_t order_count;
    uint32_t batch_rows_max;  /* 0 = 8,192; batches may be smaller */
    struct mg_budget *budget; /* of the reader; NULL = the engine's */
    /* Aggregates and rows in an order: so many threads may read at a time, the caller's included; more than
     * MG_SCAN_THREADS_MAX are as many. 0 = 1. They live during `next` only. */
    uint32_t threads;
    /* Asked by any of them now and then, before a block of rows: true ends the scan with MG_CANCELLED. May be NULL. */
    bool (*is_cancelled)(const void *arg);
    const void *cancel_arg;
    struct mg_scan_work *work; /* where an engine counts, if it reads in blocks; outlives the scan. May be NULL */
};
enum { MG_SCAN_THREADS_MAX = 64 };

/* Keys to look up. All memory is borrowed for the call. */
struct mg_find_spec {
    uint64_t table_id;
    uint32_t key_count;       /* at most MG_FIND_KEYS_MAX */
    const uint8_t *keys;      /* whole keys as column/key.h encodes them, back to back, in any order, also repeated */
    const uint32_t *offsets;  /* key_count + 1 */
    const uint32_t *columns;  /* places in the snapshot's schema of the table, in output order */
    uint32_t column_count;    /* 0: only which keys are there */
    struct mg_budget *budget; /* of the reader; NULL = the engine's */
};
enum { MG_FIND_NONE = UINT32_MAX, MG_FIND_KEYS_MAX = 1 << 20 };

/* What can be changed while an engine is open. */
enum mg_engine_option {
    MG_OPTION_MERGE_THROTTLE = 1, /* as merge_throttle of the options */
    MG_OPTION_DISK_RESERVE = 2,   /* as disk_reserve */
};

enum mg_compaction_state {
    MG_COMPACTION_QUEUED = 0,
    MG_COMPACTION_RUNNING = 1,
    MG_COMPACTION_DONE = 2, /* this and what follows: it is over */
    MG_COMPACTION_FAILED = 3,
    MG_COMPACTION_CANCELLED = 4,
};
/* A compaction that somebody asked for. Times are unix milliseconds, 0: not yet. */
struct mg_compaction_info {
    uint64_t id, table_id;
    char database[MG_NAME_MAX], table[MG_NAME_MAX]; /* as they were called then */
    bool has_range;
    enum mg_compaction_state state;
    double progress;                    /* 0 to 1; 1 only when it is done */
    uint64_t rows_read, rows_written;   /* read: dead ones included, of inputs that are done */
    uint64_t bytes_read, bytes_written; /* of files */
    int64_t asked_ms, started_ms, ended_ms;
    char message[MG_ERROR_TEXT_MAX]; /* once it is over */
};

/* Called once per item, with borrowed arguments; another code than MG_OK ends the walk and is returned. */
typedef enum mg_code mg_schema_fn(void *arg, const struct mg_schema *schema, struct mg_error *err);
typedef enum mg_code mg_name_item_fn(void *arg, const char *name, struct mg_error *err);
typedef enum mg_code mg_compaction_fn(void *arg, const struct mg_compaction_info *info, struct mg_error *err);
typedef enum mg_code mg_verify_fn(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                                  struct mg_error *err);
typedef enum mg_code mg_status_fn(void *arg, const char *name, const char *value, const char *unit,
                                  struct mg_error *err);

struct mg_engine_ops {
    const char *name; /* in logs, settings and status */

    /* Open or create; recovers. After MG_OK every published epoch is visible. A folder of another format version is
     * refused with MG_UNIMPLEMENTED, naming both. MG_BUSY: another process has it. */
    enum mg_code (*open)(const struct mg_engine_options *options, struct mg_engine **out, struct mg_error *err);
    /* All snapshots, scans and epochs must have ended (asserted). NULL is allowed. */
    void (*close)(struct mg_engine *engine);
    /* Random, made with the folder; never 0. */
    uint64_t (*store_id)(const struct mg_engine *engine);

    /* ---- writing: one thread at a time ---- */

    /* Numbers for a new table or a new schema version; never given twice among what was published. Either may be
     * NULL. */
    enum mg_code (*reserve)(struct mg_engine *engine, uint64_t *out_table_id, uint64_t *out_schema_version,
                            struct mg_error *err);
    /* How far `source` is applied (durable); zeroes when it is unknown. */
    enum mg_code (*position)(struct mg_engine *engine, const char *source, struct mg_source_position *out,
                             struct mg_error *err);
    /* Begin the next epoch. MG_BUSY while another one is being staged. MG_WRITER_FENCED when generation is below the
     * source's. MG_TOO_BIG for a source above MG_SOURCES_MAX. MG_STOPPED after a failed WAL: readers go on. */
    enum mg_code (*begin)(struct mg_engine *engine, const char *source, uint64_t generation, struct mg_epoch **out,
                          struct mg_error *err);
    /* Schema changes come before rows, and an epoch with schema changes holds no rows of the tables that it changes (so
     * a table has one schema per epoch). Each sees those before it. Refused, leaving the epoch as it was: MG_INVALID
     * for a key or a column's type that changes under the same id, an id that was dropped, a version that does not
     * rise, a table that became NEEDS_RELOAD and would be OK; MG_EXISTS for a name in use; MG_NOT_FOUND for an unknown
     * database or id. */
    enum mg_code (*change_schema)(struct mg_epoch *epoch, const struct mg_schema_change *change, struct mg_error *err);
    /* Stage changes. The batch may be unreferenced after return. A table that is not OK is refused as by scan;
     * MG_INVALID names a batch that does not fit the schema, or a NULL in a column that is not nullable (but not in a
     * deletion's other columns); MG_TOO_BIG a key or an epoch above the limit. MG_NO_MEMORY says how much is left:
     * the next begin waits for memory that can be freed, so trying again helps unless the epoch is too big for all of
     * it; after it and an epoch's MG_TOO_BIG the epoch can only be aborted. What contradicts the stored rows (an INSERT
     * of a key that is there, an old image that is not the stored row) is applied all the same, as put or delete, and
     * counted once the epoch is published. Old images are compared with the row that is there, if one is. */
    enum mg_code (*put)(struct mg_epoch *epoch, const struct mg_changes *changes, struct mg_error *err);
    /* Make it durable, then visible, as one step, with the source's new watermark (not below the last) and position.
     * Consumes the epoch in every case. It may return before the step is done, so that the next epoch can be staged
     * meanwhile: `wait` tells. *out_epoch is its number. If the step fails, this epoch and what was staged behind it
     * are gone, and the engine is MG_STOPPED: whether the epoch is there after a restart, position tells. MG_NO_SPACE
     * and MG_NO_MEMORY came before anything was written: only this epoch is gone. */
    enum mg_code (*publish)(struct mg_epoch *epoch, uint64_t watermark, struct mg_slice position, uint64_t *out_epoch,
                            struct mg_error *err);
    void (*abort)(struct mg_epoch *epoch); /* NULL is allowed */
    /* Any thread: one round of what the engine does in the background, and a point to recover from, so that what lies
     * before it need not be replayed. flush: what is only in memory and the log goes into files of its own. Waits for
     * the epoch that is being staged; may take long. MG_OK where an engine has no such thing. */
    enum mg_code (*checkpoint)(struct mg_engine *engine, bool flush, struct mg_error *err);

    /* ---- instructions: any thread ---- */

    /* Ask for a compaction of the table, or of the parts of it that hold keys in the range (both bounds empty: all, and
     * rows that are only in memory are flushed first). Returns at once; it runs beside readers and the writer, and
     * leaves what was there when it began in few files without deleted rows. MG_NOT_FOUND: no such table at the newest
     * snapshot. MG_BUSY: too many wait. Nothing of it survives a restart but the work that is done. */
    enum mg_code (*compact)(struct mg_engine *engine, uint64_t table_id, struct mg_key_range range, uint64_t *out_id,
                            struct mg_error *err);
    /* The compaction with that id (MG_NOT_FOUND), or with 0 all that are known, in the order in which they were asked
     * for: the last 128, those that are not over among them. */
    enum mg_code (*compactions)(struct mg_engine *engine, uint64_t id, mg_compaction_fn *fn, void *arg,
                                struct mg_error *err);
    /* It ends soon, and nothing that it did not finish is left. MG_INVALID: it is over already. */
    enum mg_code (*cancel_compaction)(struct mg_engine *engine, uint64_t id, struct mg_error *err);
    /* MG_INVALID: this engine has no such option. */
    enum mg_code (*set_option)(struct mg_engine *engine, enum mg_engine_option option, uint64_t value,
                               struct mg_error *err);

    /* ---- reading ---- */

    /* Block until epoch is visible (and so durable): MG_OK; MG_TIMEOUT; MG_STOPPED when it will never be. timeout_ms
     * below 0: for ever. */
    enum mg_code (*wait)(struct mg_engine *engine, uint64_t epoch, int64_t timeout_ms, struct mg_error *err);
    /* Block until source's watermark is at least ts. */
    enum mg_code (*wait_watermark)(struct mg_engine *engine, const char *source, uint64_t ts, int64_t timeout_ms,
                                   struct mg_error *err);
    /* The newest visible snapshot: about 100 ns. Epoch 0 (nothing) is one, too. */
    enum mg_code (*snapshot)(struct mg_engine *engine, struct mg_snapshot **out, struct mg_error *err);
    /* The state after `epoch`: cheap when a snapshot of it is held; else it may be rebuilt from disk into a private
     * copy, which takes time and memory. MG_SNAPSHOT_TOO_OLD names the earliest; MG_SNAPSHOT_NOT_YET above the
     * newest. */
    enum mg_code (*snapshot_at)(struct mg_engine *engine, uint64_t epoch, struct mg_snapshot **out,
                                struct mg_error *err);
    /* The last epoch at which source's watermark was at or below ts (and above 0); else MG_SNAPSHOT_TOO_OLD. */
    enum mg_code (*epoch_at)(struct mg_engine *engine, const char *source, uint64_t ts, uint64_t *out_epoch,
                             struct mg_error *err);
    struct mg_snapshot *(*snapshot_ref)(struct mg_snapshot *snapshot);
    void (*snapshot_unref)(struct mg_snapshot *snapshot); /* NULL is allowed */

    uint64_t (*snapshot_epoch)(const struct mg_snapshot *snapshot);
    /* Sources with a watermark, at most MG_SOURCES_MAX; returns how many. Only source, watermark, generation and epoch
     * are filled. */
    uint32_t (*snapshot_watermarks)(const struct mg_snapshot *snapshot, struct mg_source_position *out, uint32_t max);
    /* A reference to the table's schema at this snapshot, MG_NOT_FOUND. By name without letter case. */
    enum mg_code (*table_by_name)(const struct mg_snapshot *snapshot, struct mg_slice database, struct mg_slice table,
                                  struct mg_schema **out, struct mg_error *err);
    enum mg_code (*table_by_id)(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_schema **out,
                                struct mg_error *err);
    /* What the newest visible epoch knows of an incarnation that became NEEDS_RELOAD, also when it was changed, renamed
     * or dropped since: a reference to its schema then, the one with the lowest good_until_ts if there are several.
     * *out NULL: it never did, or was so from its first schema on. Snapshots from before show it as OK and do not
     * change; those with a watermark of its source above good_until_ts lack rows all the same. So whoever reads or
     * lists a table at a snapshot asks here, too (the connector does). */
    enum mg_code (*needs_reload)(struct mg_engine *engine, uint64_t table_id, struct mg_schema **out,
                                 struct mg_error *err);
    /* In order of database and name. */
    enum mg_code (*list_tables)(const struct mg_snapshot *snapshot, mg_schema_fn *fn, void *arg, struct mg_error *err);
    enum mg_code (*list_databases)(const struct mg_snapshot *snapshot, mg_name_item_fn *fn, void *arg,
                                   struct mg_error *err);
    enum mg_code (*stats)(const struct mg_snapshot *snapshot, uint64_t table_id, struct mg_table_stats *out,
                          struct mg_error *err);
    /* By place in the snapshot's schema, without reading parts: for optimizers. wanted: by place, others are zero and
     * cost nothing; NULL: all. Memory and texts live in the arena. Refused as by scan. */
    enum mg_code (*column_stats)(const struct mg_snapshot *snapshot, uint64_t table_id, const bool *wanted,
                                 struct mg_arena *arena, struct mg_column_stats **out, struct mg_error *err);
    /* At most `wanted` ranges that cover all keys, do not overlap, and hold about equally many rows. Bytes live in the
     * arena. At least one; fewer when the table is small (under 1,024 rows each, unless force). */
    enum mg_code (*plan_splits)(const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted, bool force,
                                struct mg_arena *arena, struct mg_key_range **out, uint32_t *out_count,
                                struct mg_error *err);

    /* Start reading. The snapshot must outlive the scan. MG_NOT_FOUND: no such table at this snapshot. A table that is
     * UNSUPPORTED is refused with MG_TABLE_UNSUPPORTED; NEEDS_RELOAD with MG_TABLE_NEEDS_RELOAD (older snapshots, where
     * it was OK, work; which of them lack rows, needs_reload tells). */
    enum mg_code (*scan)(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                         struct mg_error *err);
    /* The next batch with at least one row, in no promised order but that of spec->order, or MG_OK with *out NULL at
     * the end. The caller unreferences it; it may outlive the scan, not the snapshot. */
    enum mg_code (*next)(struct mg_scan *scan, struct mg_batch **out, struct mg_error *err);
    void (*scan_close)(struct mg_scan *scan); /* NULL is allowed */
    /* Rows by key, without a scan: rows[i] (key_count of them) = the row of key i in *out, or MG_FIND_NONE. Rows of
     * *out are in no promised order, one per different key that is there; NULL when there is none or no column was
     * asked for. The caller unreferences it; it outlives the snapshot. Refused as by scan. */
    enum mg_code (*find)(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                         struct mg_batch **out, struct mg_error *err);

    /* Any thread: tables of the newest visible epoch of which something was verified since the engine was opened.
     * table_id 0: all. */
    enum mg_code (*verified)(struct mg_engine *engine, uint64_t table_id, mg_verify_fn *fn, void *arg,
                             struct mg_error *err);
    /* Names, values and units for people and tests ("wal_bytes", "memory_left_bytes", "pins", ...). */
    enum mg_code (*status)(struct mg_engine *engine, mg_status_fn *fn, void *arg, struct mg_error *err);
};

extern const struct mg_engine_ops mg_engine_magic, mg_engine_model;

#endif
