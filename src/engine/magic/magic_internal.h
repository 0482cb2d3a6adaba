/* magic_internal.h -- the structures of the magic engine, shared by its files and nobody else.
 *
 * From the outside in: an engine has a store; a store has views and, for its one writer, tables to write to; a view
 * shows table views; a table view shows segment views and their marks; a segment view shows chunks; a chunk refers to
 * buffers. Everything that a view reaches is immutable after publish (README.md, "Who may touch what"). What only the
 * writer uses is named w-something.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_INTERNAL_H
#define MG_ENGINE_MAGIC_INTERNAL_H

#include <stdatomic.h>

#include "base/budget.h"
#include "base/journal.h"
#include "base/lock.h"
#include "engine/engine.h"
#include "part/part.h"

struct mg_magic;
struct mg_store;
struct mg_manifest;
struct mg_named;

enum {
    MG_CHUNK_ROWS = 8192,             /* rows of a chunk, which is the granule of marks and zone maps */
    MG_CHUNK_ROWS_FIRST = 64,         /* room of a table's first chunk, to begin with */
    MG_SEGMENT_BYTES_MAX = 64 << 20,  /* of row data; a single larger row gets a segment of its own */
    MG_SEGMENT_CHUNKS_MAX = 128,      /* bounds what a publish copies, and a flush sorts */
    MG_SEGMENT_CHUNKS_ONCE = 1024,    /* the same of stores that came before parts */
    MG_MARK_LIST_MAX = 60,            /* more deleted rows of a granule than that are kept as a bitmap */
    MG_INDEX_SHARDS = 64,             /* each grows alone: a 64th of the pause */
    MG_WAL_FORMAT = 1,                /* of a group (docs/format/wal.md) */
    MG_STORE_FORMAT = 3,              /* of the folder (docs/format/store.md) */
    MG_STORE_FORMAT_ONCE = 1,         /* the oldest that is read */
    MG_HISTORY_ENTRIES_MAX = 1 << 16, /* per source */
};
/* Bytes of one epoch in the WAL. A larger one has gone to parts before (spill.c); what passes it nevertheless is
 * refused. */
#define MG_WAL_GROUP_MAX ((uint64_t)2 << 30)
#define MG_WAL_SEGMENT_BYTES ((uint64_t)64 << 20)

/* ---- buffers (buf.c) ----------------------------------------------------------------------------------------- */

/* Bytes that several chunk versions share. Only the writer appends, behind what any view shows. */
struct mg_buf {
    atomic_int references;
    struct mg_budget *budget; /* capacity and this header are reserved there */
    size_t capacity;          /* bytes, a multiple of 64 */
};
/* Its bytes, aligned to 64. */
static inline uint8_t *mg_buf_data(struct mg_buf *buf) { return (uint8_t *)buf + 64; }
_Static_assert(sizeof(struct mg_buf) <= 64, "the header takes one line");

MG_MUST_CHECK enum mg_code mg_buf__new(struct mg_budget *budget, size_t capacity, struct mg_buf **out,
                                       struct mg_error *err);
struct mg_buf *mg_buf__ref(struct mg_buf *buf); /* NULL is allowed */
void mg_buf__unref(struct mg_buf *buf);         /* NULL is allowed */

/* ---- chunks (chunk.c) ---------------------------------------------------------------------------------------- */

struct mg_chunk_column {
    struct mg_buf *values;                /* fixed width values, or the bytes of texts */
    struct mg_buf *offsets;               /* UTF8: int32, one more than rows */
    struct mg_buf *present;               /* open: one byte per row, 1 = not NULL; NULL while every row is */
    struct mg_buf *bits;                  /* frozen: the same as Arrow's bits */
    uint32_t null_count;                  /* frozen */
    bool has_zone;                        /* frozen: low and high hold */
    atomic_uchar image_asked;             /* frozen: how often, before there was one */
    struct mg_chunk_image *_Atomic image; /* frozen: made by a reader, then immutable (chunk_image.c); NULL */
    struct mg_value low, high;            /* of the values that are not NULL; text is borrowed from values */
};

/* One version of up to MG_CHUNK_ROWS rows. Immutable but for the bytes behind the rows that views show. A bigger or
 * frozen version shares what buffers it can. */
struct mg_sealed;
struct mg_chunk {
    atomic_int references;
    _Atomic uint32_t holders;      /* who reads its memory; and MG_CHUNK_SEALED (sealed.c) */
    struct mg_chunk *_Atomic stub; /* a reference: what stands for it once it is sealed; of a copy: what it is one of */
    struct mg_sealed *sealed;      /* of a stub: where its rows are on disk; it has no buffers */
    struct mg_budget *budget;
    uint32_t filled;    /* the writer's, while it appends: rows that are there, staged ones included */
    uint32_t row_room;  /* rows that values, offsets and present have room for */
    bool frozen;        /* never appended to again: bits, counts and zones are there */
    uint32_t row_count; /* frozen */
    uint32_t column_count;
    struct mg_key_table *_Atomic keys; /* frozen: made by the first look-up, then immutable (key_table.c); NULL */
    struct mg_chunk_column columns[];
};

/* Without buffers. */
MG_MUST_CHECK enum mg_code mg_chunk__new(uint32_t column_count, struct mg_budget *budget, struct mg_chunk **out,
                                         struct mg_error *err);
struct mg_chunk *mg_chunk__ref(struct mg_chunk *chunk);
void mg_chunk__unref(struct mg_chunk *chunk); /* NULL is allowed */

/* Rows to append, as columns in Arrow's layout: from a batch, where `rows` picks them, or from a WAL group, as they
 * are. */
struct mg_chunk_source {
    const void *values;
    const int32_t *offsets; /* UTF8 */
    const uint8_t *bits;    /* of the rows that are not NULL; NULL: all */
};

/* Append count rows (rows[0..count), or NULL: the first ones) at place first_row to *chunk (NULL: an empty one is
 * made), replacing it by a bigger version if needed. What `like` (a full chunk of the same columns; may be NULL) took
 * tells how much room to make. On failure *chunk is as it was. */
MG_MUST_CHECK enum mg_code mg_chunk__append(struct mg_chunk **chunk, const struct mg_chunk *like,
                                            const struct mg_schema *schema, uint32_t first_row,
                                            const struct mg_chunk_source *columns, const uint32_t *rows, uint32_t count,
                                            struct mg_budget *budget, struct mg_error *err);
/* Replace *chunk by its frozen version with row_count rows. */
MG_MUST_CHECK enum mg_code mg_chunk__freeze(struct mg_chunk **chunk, const struct mg_schema *schema, uint32_t row_count,
                                            struct mg_error *err);

/* ---- a chunk's column as a block (chunk_image.c) --------------------------------------------------------------- */

struct mg_chunk_image {
    struct mg_buf *memory; /* in which it lies, too */
    struct mg_block block;
    struct mg_block_info info; /* no zone of texts */
};
/* The column's rows, encoded; NULL: they are not, as nobody asked before, or they do not repeat, or there is no memory
 * for it now. */
const struct mg_chunk_image *mg_chunk_image__of(struct mg_chunk *chunk, uint32_t place, struct mg_type type);
void mg_chunk_image__free(struct mg_chunk_image *image); /* NULL is allowed */
/* All rows of a frozen chunk's column, as they lie. */
struct mg_vector mg_chunk__vector(const struct mg_chunk *chunk, uint32_t place, struct mg_type type);

/* ---- look-ups of readers in a chunk (key_table.c) ------------------------------------------------------------- */

/* Where a frozen chunk's keys are: open addressing, half full, by the hash of the encoded key. A key may have several
 * rows, of which at most one is not marked. */
enum { MG_KEY_TABLE_SLOTS = 2 * MG_CHUNK_ROWS };
struct mg_key_table {
    uint32_t slots[MG_KEY_TABLE_SLOTS]; /* high bits of the hash << 14 | row + 1; 0: free */
};
/* The chunk's, made when it is missing; NULL: there is no memory for it now. */
const struct mg_key_table *mg_key_table__of(struct mg_chunk *chunk, const struct mg_schema *schema);
void mg_key_table__free(struct mg_chunk *chunk);

/* ---- rows on disk that only old snapshots show (sealed.c) ------------------------------------------------------ */

#define MG_CHUNK_SEALED ((uint32_t)1 << 31)
/* Whoever is not the writer reads a chunk's columns only while it holds it. Returns the chunk, or the stub that stands
 * for it when its rows are on disk: counts and zones are the same in both. Never fails; ends with mg_chunk__let_go. */
struct mg_chunk *mg_chunk__hold(struct mg_chunk *chunk);
struct mg_chunk *mg_chunk__hold_again(struct mg_chunk *held); /* of one that is held, and no stub */
void mg_chunk__let_go(struct mg_chunk *held);                 /* NULL is allowed */
/* If *held is a stub it becomes a copy with these columns (places[count]; -1 is skipped; NULL: the first count), in
 * budget (NULL: that of readers). On failure it stays. */
MG_MUST_CHECK enum mg_code mg_chunk__load(struct mg_chunk **held, const int32_t *places, uint32_t count,
                                          struct mg_budget *budget, struct mg_error *err);
uint64_t mg_chunk__bytes(const struct mg_chunk *held); /* of its rows, in memory or on disk */
void mg_sealed__free(struct mg_sealed *sealed);        /* NULL is allowed */
/* Rows that only old snapshots show take much, and memory is short. Under magic->publish. */
bool mg_sealed__is_due(const struct mg_magic *magic);
/* If that is so, write them to disk and take them out of memory; returns how many bytes. What fails is logged, and
 * tried again later. Under keeping.lock, with no flush under way. */
uint64_t mg_sealed__round(struct mg_magic *magic);
/* The folder; what an earlier process left in it is removed. */
MG_MUST_CHECK enum mg_code mg_sealed__open(struct mg_magic *magic, struct mg_error *err);
void mg_sealed__close(struct mg_magic *magic); /* no view is left */

/* ---- marks (marks.c) ----------------------------------------------------------------------------------------- */

/* The deleted rows of one granule, as of one epoch. Belongs to the epoch that made it; immutable once that is
 * published. */
struct mg_mark_version {
    uint64_t epoch;
    uint32_t count;
    bool is_bitmap;
    uint64_t words[]; /* bitmap: MG_CHUNK_ROWS bits; list: see mg_mark_version__rows */
};
/* Of a list: count of them, rising. */
static inline const uint16_t *mg_mark_version__rows(const struct mg_mark_version *version)
{
    return (const uint16_t *)version->words;
}

/* The marks of a segment in some view: a version per granule, NULL = no row deleted. The array is counted; the versions
 * belong to the store and are freed when no view lies in [version's epoch, successor's epoch) (view.c). */
struct mg_marks {
    atomic_int references;
    struct mg_budget *budget; /* the array is reserved there */
    uint32_t dead_count;
    uint32_t granule_count; /* granules behind have no marks */
    const struct mg_mark_version *granules[];
};

struct mg_marks *mg_marks__ref(struct mg_marks *marks); /* NULL is allowed */
void mg_marks__unref(struct mg_marks *marks);           /* the array only; NULL is allowed */
/* A copy to change, with at least granule_count granules; from may be NULL. */
MG_MUST_CHECK enum mg_code mg_marks__copy(const struct mg_marks *from, uint32_t granule_count, struct mg_budget *budget,
                                          struct mg_marks **out, struct mg_error *err);
static inline const struct mg_mark_version *mg_marks__granule(const struct mg_marks *marks, uint32_t granule)
{
    return marks && granule < marks->granule_count ? marks->granules[granule] : NULL;
}
bool mg_marks__has(const struct mg_marks *marks, uint32_t row); /* marks may be NULL */
enum { MG_MARK_VERSION_BYTES_MAX = 16 + MG_CHUNK_ROWS / 8 };
/* from (may be NULL) and the rows, which rise within the granule. *out_new: how many of them were not marked before.
 * NULL when the heap is out. Memory is reserved by the caller. */
struct mg_mark_version *mg_mark_version__add(const struct mg_mark_version *from, const uint16_t *rows, uint32_t count,
                                             uint64_t epoch, uint32_t *out_new);
size_t mg_mark_version__bytes(const struct mg_mark_version *version);
/* Clear the marked rows' bits in the mask of a granule that holds row_count rows. */
void mg_mark_version__mask(const struct mg_mark_version *version, uint64_t mask[MG_CHUNK_ROWS / 64],
                           uint32_t row_count);
/* It is read soon: a bitmap comes from far, a line after another. NULL is allowed. */
void mg_mark_version__prefetch(const struct mg_mark_version *version);

/* ---- what a view shows of a table (table_view.c) ------------------------------------------------------------- */

/* Who a segment is. Immutable but for retired. */
struct mg_segment {
    atomic_int references;
    atomic_bool retired;      /* the writer has given it up, and views to come will not show it */
    uint32_t id;              /* over the store; never used again */
    struct mg_schema *schema; /* its columns are those of this one */
};

struct mg_segment_view {
    atomic_int references;
    struct mg_budget *budget;
    struct mg_segment *segment;
    uint32_t row_count;
    uint32_t chunk_count;
    struct mg_chunk *chunks[]; /* references; MG_CHUNK_ROWS rows each, the last one the rest */
};

/* Ids that a table's columns ever had, and those of its key. Immutable. */
struct mg_column_ids {
    atomic_int references;
    uint32_t key_count; /* 0: it never had columns */
    int64_t key_ids[MG_KEY_COLUMNS_MAX];
    uint32_t count;
    struct mg_column_id {
        int64_t id;
        struct mg_type type;
        bool dropped;
    } ids[];
};

/* What went in, and what was written for it, since open. */
struct mg_flow {
    _Atomic uint64_t in_bytes;      /* of rows of published epochs, in Arrow's layout */
    _Atomic uint64_t wal_bytes;     /* rows and marks in the WAL */
    _Atomic uint64_t flushed_bytes; /* files of parts */
    _Atomic uint64_t merged_bytes;  /* the same */
    _Atomic uint64_t reclaimed;     /* dead rows that a flush or merge left out */
};

/* What is the same in all views of a table. */
struct mg_table {
    atomic_int references;
    uint64_t id;
    struct mg_flow flow;

    struct mg_mutex verify_lock; /* MG_RANK_LEAF */
    struct mg_verify *verify;    /* MG_GUARDED_BY(verify_lock); NULL: nothing was verified since open */
};

struct mg_table_segment {
    struct mg_segment_view *rows;
    struct mg_marks *marks; /* NULL: nothing deleted */
};

/* Rows that were flushed, sorted by key. */
struct mg_table_part {
    struct mg_part *part;
    struct mg_marks *marks; /* NULL: nothing deleted */
};

struct mg_table_view {
    atomic_int references;
    struct mg_budget *budget;
    struct mg_table *table;
    struct mg_schema *schema;
    struct mg_column_ids *ids;
    uint64_t live_count;
    uint32_t segment_count, part_count;
    struct mg_table_part *parts;        /* behind segments, in the same memory; oldest first */
    struct mg_table_segment segments[]; /* oldest first */
};

struct mg_segment *mg_segment__new(uint32_t id, struct mg_schema *schema); /* NULL when the heap is out */
struct mg_segment *mg_segment__ref(struct mg_segment *segment);
void mg_segment__unref(struct mg_segment *segment); /* NULL is allowed */
MG_MUST_CHECK enum mg_code mg_segment_view__new(uint32_t chunk_count, struct mg_budget *budget,
                                                struct mg_segment_view **out, struct mg_error *err);
struct mg_segment_view *mg_segment_view__ref(struct mg_segment_view *view);
void mg_segment_view__unref(struct mg_segment_view *view); /* NULL and half-built ones are allowed */
struct mg_column_ids *mg_column_ids__ref(struct mg_column_ids *ids);
void mg_column_ids__unref(struct mg_column_ids *ids); /* NULL is allowed */
struct mg_table *mg_table__new(uint64_t id);          /* NULL when the heap is out */
struct mg_table *mg_table__ref(struct mg_table *table);
void mg_table__unref(struct mg_table *table); /* NULL is allowed */
MG_MUST_CHECK enum mg_code mg_table_view__new(uint32_t segment_count, uint32_t part_count, struct mg_budget *budget,
                                              struct mg_table_view **out, struct mg_error *err);
struct mg_table_view *mg_table_view__ref(struct mg_table_view *view);
void mg_table_view__unref(struct mg_table_view *view); /* NULL and half-built ones are allowed */

/* ---- the catalogue (catalog.c) ------------------------------------------------------------------------------- */

/* The names of a catalogue. Immutable; shared while no schema changes. */
struct mg_names {
    atomic_int references;
    uint32_t database_count;
    char **databases;  /* sorted by name */
    uint32_t *by_name; /* places in the catalogue's tables, sorted by database and name */
    uint32_t dropped_count;
    uint64_t *dropped; /* ids of dropped tables, sorted */
    uint32_t mark_count;
    struct mg_schema **marks; /* references, sorted by table id: what needs_reload of engine.h answers */
};

struct mg_catalog {
    atomic_int references;
    struct mg_names *names; /* a reference */
    uint32_t table_count;
    struct mg_table_view *tables[]; /* references, sorted by id */
};

struct mg_catalog *mg_catalog__new_empty(void); /* NULL when the heap is out */
struct mg_catalog *mg_catalog__ref(struct mg_catalog *catalog);
void mg_catalog__unref(struct mg_catalog *catalog); /* NULL is allowed */
/* The catalogue after one schema change, which is checked as engine.h says. Views of tables are reserved in budget. */
MG_MUST_CHECK enum mg_code mg_catalog__change(const struct mg_catalog *from, const struct mg_schema_change *change,
                                              struct mg_budget *budget, struct mg_catalog **out, struct mg_error *err);
/* A copy whose tables may be replaced by newer views of the same tables. */
MG_MUST_CHECK enum mg_code mg_catalog__copy(const struct mg_catalog *from, struct mg_catalog **out,
                                            struct mg_error *err);
/* Place of the table, or -1. */
int mg_catalog__find_id(const struct mg_catalog *catalog, uint64_t table_id);
int mg_catalog__find_name(const struct mg_catalog *catalog, struct mg_slice database, struct mg_slice table);
/* A catalogue under construction; owned. */
struct mg_catalog_parts {
    struct mg_catalog *tables; /* sorted by id, without names */
    char **databases;
    uint32_t database_count;
    uint64_t *dropped;
    uint32_t dropped_count;
    struct mg_schema **marks; /* sorted by table id */
    uint32_t mark_count;
};
/* Room for table_count of them; NULL when the heap is out. */
struct mg_catalog *mg_catalog__new_tables(uint32_t table_count);
/* Sorts the names. Consumes the parts in every case. */
MG_MUST_CHECK enum mg_code mg_catalog__assemble(struct mg_catalog_parts *parts, struct mg_catalog **out,
                                                struct mg_error *err);
void mg_catalog__free_parts(struct mg_catalog_parts *parts);
/* As bytes, without segments and rows (catalog_bytes.c, docs/format/manifest.md). */
MG_MUST_CHECK enum mg_code mg_catalog__encode(const struct mg_catalog *catalog, struct mg_buffer *out,
                                              struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_catalog__decode(struct mg_reader *in, struct mg_budget *budget, struct mg_catalog **out,
                                              struct mg_error *err);
/* The schema by which the table, which may be dropped by now, became NEEDS_RELOAD; NULL. Borrowed. */
const struct mg_schema *mg_catalog__find_mark(const struct mg_catalog *catalog, uint64_t table_id);
/* MG_TABLE_UNSUPPORTED, MG_TABLE_NEEDS_RELOAD, or MG_OK. */
MG_MUST_CHECK enum mg_code mg_catalog__check_state(const struct mg_schema *schema, struct mg_error *err);

/* ---- the index (index.c) ------------------------------------------------------------------------------------- */

struct mg_place {
    uint32_t slot; /* of the segment in its table, or MG_PART_SLOT + the part's; MG_NO_SLOT: nowhere */
    uint32_t row;
};
#define MG_NO_SLOT UINT32_MAX
#define MG_PART_SLOT ((uint32_t)1 << 31)
static inline bool mg_place_equal(struct mg_place a, struct mg_place b) { return a.slot == b.slot && a.row == b.row; }

struct mg_index_entry {
    uint32_t hash;
    struct mg_place place; /* MG_NO_SLOT: the entry is free */
};
struct mg_index_shard {
    struct mg_index_entry *entries; /* capacity of them, a power of two; NULL while empty */
    uint32_t capacity, count;
};
/* Places of a table's live rows by hash of the key. Writer only. */
struct mg_index {
    struct mg_budget *budget;
    struct mg_index_shard shards[MG_INDEX_SHARDS];
};

typedef bool mg_index_equal_fn(const void *arg, struct mg_place place);

void mg_index__init(struct mg_index *index, struct mg_budget *budget);
void mg_index__clear(struct mg_index *index);
/* Add an entry; the key must not be there. MG_NO_MEMORY when its shard cannot grow; never when as many were there
 * before. */
MG_MUST_CHECK enum mg_code mg_index__insert(struct mg_index *index, uint32_t hash, struct mg_place place,
                                            struct mg_error *err);
/* The entry whose key is equal, or NULL; valid until the next insert or remove. */
struct mg_index_entry *mg_index__find(struct mg_index *index, uint32_t hash, mg_index_equal_fn *equal, const void *arg);
struct mg_index_entry *mg_index__find_place(struct mg_index *index, uint32_t hash, struct mg_place place);
void mg_index__remove(struct mg_index *index, struct mg_index_entry *entry, uint32_t hash);
uint64_t mg_index__count(const struct mg_index *index);
static inline struct mg_index_shard *mg_index__shard(struct mg_index *index, uint32_t hash)
{
    return &index->shards[hash % MG_INDEX_SHARDS];
}
/* Where a shard begins to look. */
static inline uint32_t mg_index__start(const struct mg_index_shard *shard, uint32_t hash)
{
    return (hash / MG_INDEX_SHARDS) & (shard->capacity - 1);
}

/* Before a look-up that is some look-ups away: the entry comes from memory meanwhile. */
static inline void mg_index__prefetch(struct mg_index *index, uint32_t hash)
{
    struct mg_index_shard *shard = mg_index__shard(index, hash);
    if (shard->capacity)
        __builtin_prefetch(&shard->entries[mg_index__start(shard, hash)], 1);
}

/* ---- keys (keys.c, sort.c) ----------------------------------------------------------------------------------- */

/* hashes[row_count] of the rows' keys. */
void mg_keys__hash(const struct mg_vector *const *vectors, uint32_t key_count, uint64_t seed, uint64_t *hashes,
                   uint32_t row_count);
bool mg_keys__equal(const struct mg_vector *const *a, uint32_t a_row, const struct mg_vector *const *b, uint32_t b_row,
                    uint32_t key_count);
/* A chunk's key columns as vectors (key_count of them), without validity. */
void mg_keys__of_chunk(const struct mg_chunk *chunk, const struct mg_schema *schema, uint32_t row_count,
                       struct mg_vector *vectors);
/* Encoded keys, put into order to be looked up in parts or to be written as one (part_lookup.c). */
struct mg_lookup_item {
    uint64_t prefix; /* of the key's bytes, big endian, zeroes behind its end */
    uint32_t at;     /* in the order in which keys were given */
    uint32_t size;
};
struct mg_lookup {
    uint32_t count;
    struct mg_buffer unsorted;
    struct mg_lookup_item *items, *scratch; /* items: in the order of keys, once sorted */
    uint32_t *begins;                       /* by `at`: where the unsorted key begins */
    struct mg_buffer keys;                  /* sorted, back to back */
    uint32_t *offsets;                      /* count + 1, of keys */
    uint64_t *hashes;
    uint32_t *rows; /* in the order of keys: MG_PART_NO_ROW, or what mg_lookup__find found */
};
/* On failure, too, it is to be cleared. */
MG_MUST_CHECK enum mg_code mg_lookup__init(struct mg_lookup *lookup, uint32_t room, struct mg_error *err);
void mg_lookup__clear(struct mg_lookup *lookup);
void mg_lookup__reset(struct mg_lookup *lookup); /* no keys; the memory stays */
/* A key: append it to the buffer, then end it. At most `room` keys. */
struct mg_buffer *mg_lookup__begin(struct mg_lookup *lookup);
void mg_lookup__end(struct mg_lookup *lookup);
/* The keys of all rows at once, into a lookup that has none yet. keys[k] is key column k. */
MG_MUST_CHECK enum mg_code mg_lookup__encode(struct mg_lookup *lookup, const struct mg_vector *const *keys,
                                             uint32_t key_count, uint32_t row_count, struct mg_error *err);
/* The items alone are in order then: for who sorts rows and asks no part. */
void mg_lookup__order(struct mg_lookup *lookup);
/* Order, and all else that a part is asked with. */
MG_MUST_CHECK enum mg_code mg_lookup__sort(struct mg_lookup *lookup, struct mg_error *err);
/* Those that were not found yet. */
MG_MUST_CHECK enum mg_code mg_lookup__find(struct mg_lookup *lookup, struct mg_part *part, struct mg_error *err);

/* Sorts; scratch has room for count. */
void mg_sort__u64(uint64_t *items, uint64_t *scratch, uint32_t count);

/* ---- ranges of keys (range.c) -------------------------------------------------------------------------------- */

/* Clear the bits of rows whose key is not in the range. keys[k] is key column k. */
MG_MUST_CHECK enum mg_code mg_range__filter(struct mg_key_range range, const struct mg_vector *const *keys,
                                            uint32_t key_count, uint32_t row_count, uint64_t *mask,
                                            struct mg_arena *scratch, struct mg_error *err);
/* False when no row of the chunk, which has that schema's columns, can be in the range. */
bool mg_range__may_hold(struct mg_key_range range, const struct mg_chunk *chunk, const struct mg_schema *schema);

/* ---- the WAL's groups (wal_group.c) -------------------------------------------------------------------------- */

/* of the schema, in order */
struct mg_wal_change {
    enum mg_schema_change_kind kind;
    char *database;           /* in the arena */
    struct mg_schema *schema; /* a reference */
    uint64_t table_id;
};

/* Some rows of one chunk. */
struct mg_wal_run {
    uint32_t segment_id, first_row, row_count;
    uint32_t column_count;
    uint8_t *widths; /* 0: text */
    struct mg_chunk_source *columns;
};

/* Deleted rows of a segment: a list, or one granule of them. */
struct mg_wal_marks {
    uint32_t segment_id, count;
    uint32_t *rows;        /* rising; NULL for a granule */
    const uint8_t *bitmap; /* of the granule: MG_CHUNK_ROWS bits; count is 0 */
    uint32_t granule;
};

/* A part that came with the epoch. */
struct mg_wal_part {
    uint64_t table_id, file_bytes;
    uint32_t segment_id, row_count;
};

struct mg_wal_table {
    uint64_t table_id, schema_version;
    uint32_t run_count, marks_count;
    struct mg_wal_run *runs;
    struct mg_wal_marks *marks;
};

/* A decoded group. Borrows the bytes that it was decoded from, and an arena; owns references to its schemas. */
struct mg_wal_group {
    uint64_t epoch;
    char *source;
    uint64_t generation, watermark;
    struct mg_slice position;
    uint32_t part_count, change_count, table_count;
    struct mg_wal_part *parts; /* rising by segment id */
    struct mg_wal_change *changes;
    struct mg_wal_table *tables;
};

/* MG_CORRUPT says what is wrong. Everything is checked that can be without knowing the tables: counts, sizes, order,
 * text offsets. */
MG_MUST_CHECK enum mg_code mg_wal_group__decode(struct mg_slice bytes, struct mg_arena *arena, struct mg_wal_group *out,
                                                struct mg_error *err);
void mg_wal_group__clear(struct mg_wal_group *group); /* its references */
/* The head alone; it borrows the bytes. */
struct mg_wal_head {
    uint64_t epoch, watermark;
    struct mg_slice source;
    uint32_t part_count;    /* that follow */
    struct mg_reader parts; /* for mg_wal_head__next */
};
MG_MUST_CHECK enum mg_code mg_wal_group__decode_head(struct mg_slice bytes, struct mg_wal_head *out,
                                                     struct mg_error *err);
/* The next of part_count parts. */
MG_MUST_CHECK enum mg_code mg_wal_head__next(struct mg_wal_head *head, struct mg_wal_part *out, struct mg_error *err);

/* A group under construction: numbers in head, column data as pieces that borrow the chunks' memory. */
struct mg_wal_builder {
    struct mg_buffer head;
    struct iovec *pieces; /* [0] and [1] are the head's size and the head */
    uint32_t piece_count, piece_room;
    uint64_t data_bytes;
    uint8_t head_size[4];
};
void mg_wal_builder__init(struct mg_wal_builder *builder);
void mg_wal_builder__clear(struct mg_wal_builder *builder);
/* In this order: begin once, table for each table: run for each run, end_runs, marks for each segment; finish. */
/* Of the group: all but changes and tables, which are only counted; `changes` holds them encoded. */
MG_MUST_CHECK enum mg_code mg_wal_builder__begin(struct mg_wal_builder *builder, const struct mg_wal_group *group,
                                                 struct mg_slice changes, struct mg_error *err);
/* One schema change as it stands in `changes` of begin. */
MG_MUST_CHECK enum mg_code mg_wal_builder__encode_change(const struct mg_schema_change *change, struct mg_buffer *out,
                                                         struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_wal_builder__table(struct mg_wal_builder *builder, uint64_t table_id,
                                                 uint64_t schema_version, uint32_t run_count, uint32_t marks_count,
                                                 struct mg_error *err);
/* Rows first_row to end_row of a chunk; first is the number of first_row in its segment. */
MG_MUST_CHECK enum mg_code mg_wal_builder__run(struct mg_wal_builder *builder, uint32_t segment_id, uint32_t first,
                                               const struct mg_chunk *chunk, const struct mg_schema *schema,
                                               uint32_t first_row, uint32_t end_row, struct mg_error *err);
/* Rows that rise, as the low halves of places. */
MG_MUST_CHECK enum mg_code mg_wal_builder__marks(struct mg_wal_builder *builder, uint32_t segment_id,
                                                 const uint64_t *places, uint32_t count, struct mg_error *err);
/* One granule's rows as a bitmap. */
MG_MUST_CHECK enum mg_code mg_wal_builder__bitmap(struct mg_wal_builder *builder, uint32_t segment_id, uint32_t granule,
                                                  const uint64_t words[MG_CHUNK_ROWS / 64], struct mg_error *err);
/* The pieces of the group, borrowed until clear. */
void mg_wal_builder__finish(struct mg_wal_builder *builder);

/* ---- the writer's side of a table (wtable.c, replay.c) ------------------------------------------------------- */

/* The deleted rows of a segment or part, as the writer has them. */
struct mg_wmarks {
    struct mg_marks *marks; /* a reference to the published ones, or to a copy with staged ones */
    bool staged;
    uint32_t granule_count;     /* that the rows take */
    struct mg_marks *published; /* borrowed from the current view */
};

struct mg_wsegment {
    struct mg_segment *segment;
    uint64_t first_epoch;   /* that gave it rows */
    bool sealed;            /* gets no more rows */
    uint32_t row_count;     /* staged rows included */
    uint32_t visible_count; /* published */
    uint64_t bytes;         /* of row data, staged included */
    uint64_t visible_bytes;
    uint32_t chunk_count, chunk_room;
    struct mg_chunk **chunks; /* references to the newest versions, staged rows included */
    struct mg_wmarks deleted;
    struct mg_segment_view *published; /* borrowed from the current view; NULL while the segment is only staged */
};

struct mg_wpart {
    struct mg_part *part; /* a reference */
    bool is_staged;       /* of the staged epoch: no view has it */
    struct mg_wmarks deleted;
    uint64_t marks_epoch; /* marks up to this epoch are in the file of epoch marks_file */
    uint64_t marks_file;
    uint32_t marks_dead; /* how many; 0: there is no file */
    bool is_busy;        /* somebody merges it; in the writer's turn */
};

/* One change of the index, to take back. */
struct mg_undo {
    uint32_t hash;
    struct mg_place added, removed; /* MG_NO_SLOT: none */
};
struct mg_undo_list {
    struct mg_undo *items;
    uint32_t count, room;
};
struct mg_u64_list {
    uint64_t *items;
    uint32_t count, room;
};

struct mg_wtable {
    struct mg_table *table; /* a reference */
    struct mg_index index;
    struct mg_wsegment **slots; /* by slot; NULL where a segment was given up */
    uint32_t slot_count, slot_room;

    struct mg_wpart **parts; /* by place; NULL where a part was given up */
    uint32_t part_count, part_room;

    bool staged;                             /* the staged epoch is in here */
    uint32_t first_staged_slot;              /* segments before it got no rows */
    uint64_t live_count, visible_live_count; /* staged included; published */
    uint64_t in_bytes, wal_bytes;            /* of the staged epoch */
    struct mg_verify *verify;                /* the same; NULL: nothing */
    struct mg_undo_list undo;                /* its room, and that of marked, are reserved in the index' budget */
    struct mg_u64_list marked;               /* slot << 32 | row of the staged epoch's marks */
    bool is_spilled; /* the staged epoch has gone to parts: marked does not hold all of its marks */
};

MG_MUST_CHECK enum mg_code mg_wtable__new(struct mg_store *store, struct mg_table *table, struct mg_wtable **out,
                                          struct mg_error *err);
/* Frees what the writer has; what views show lives on. */
void mg_wtable__free(struct mg_wtable *table);
/* Frees every mark version of the table: only when no view is left that sees one. */
void mg_wtable__free_marks(struct mg_store *store, struct mg_wtable *table);
/* Steps (1) to (3): stage changes that were checked against the schema. A failure leaves what only mg_wtable__abort can
 * clear away. */
MG_MUST_CHECK enum mg_code mg_wtable__put(struct mg_store *store, struct mg_wtable *table, struct mg_schema *schema,
                                          const struct mg_changes *changes, struct mg_error *err);
/* Take back what was staged: rows behind the visible ones are forgotten, the index is undone, marks are dropped. */
void mg_wtable__abort(struct mg_store *store, struct mg_wtable *table);
/* A view of what is there, staged included; `before` gives the schema. Freezes chunks that are full. */
MG_MUST_CHECK enum mg_code mg_wtable__view(struct mg_store *store, struct mg_wtable *table,
                                           const struct mg_table_view *before, struct mg_table_view **out,
                                           struct mg_error *err);
/* That view is published: staged becomes visible. */
void mg_wtable__committed(struct mg_wtable *table, struct mg_table_view *view);
/* The table gets a part, without a view of it yet; the reference goes over. */
MG_MUST_CHECK enum mg_code mg_wtable__add_part(struct mg_wtable *table, struct mg_part *part, struct mg_marks *marks,
                                               struct mg_wpart **out, struct mg_error *err);
/* The last one added, of which no view knows, with its marks. */
void mg_wtable__drop_last_part(struct mg_wtable *table);
void mg_wtable__free_part(struct mg_wpart *part);          /* not its mark versions; NULL is allowed */
void mg_wtable__free_segment(struct mg_wsegment *segment); /* the same; it is retired */
/* What the writer has at a place's slot. */
struct mg_wmarks *mg_wtable__deleted(const struct mg_wtable *table, uint32_t slot);
uint32_t mg_wtable__segment_id(const struct mg_wtable *table, uint32_t slot);
/* Note all versions of a segment's marks as superseded by the staged epoch. */
MG_MUST_CHECK enum mg_code mg_wtable__supersede_marks(struct mg_store *store, const struct mg_marks *marks,
                                                      struct mg_error *err);
/* The staged rows and marks, as the WAL's group wants them. */
MG_MUST_CHECK enum mg_code mg_wtable__encode(const struct mg_store *store, struct mg_wtable *table,
                                             const struct mg_schema *schema, struct mg_wal_builder *builder,
                                             struct mg_error *err);

/* Parts of put and replay. */
/* Room for `more` changes in the lists of undo and marks. */
MG_MUST_CHECK enum mg_code mg_wtable__reserve_lists(struct mg_wtable *table, uint32_t more, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_wtable__add_segment(struct mg_wtable *table, uint32_t id, struct mg_schema *schema,
                                                  struct mg_wsegment **out, struct mg_error *err);
struct mg_wsegment *mg_wtable__tail(const struct mg_wtable *table); /* NULL: no segment */
/* Rows of the one schema have the columns of the other, in the same places. */
bool mg_wtable__same_columns(const struct mg_schema *a, const struct mg_schema *b);
uint64_t mg_wtable__fixed_row_bytes(const struct mg_schema *schema); /* of a row's fixed widths and text offsets */
/* Rows of one chunk, to the end of the segment. */
MG_MUST_CHECK enum mg_code mg_wtable__append(struct mg_store *store, struct mg_wtable *table,
                                             struct mg_wsegment *segment, const struct mg_chunk_source *columns,
                                             const uint32_t *rows, uint32_t count, uint64_t bytes,
                                             struct mg_error *err);
/* Mark places (slot << 32 | row), which rise, as of epoch. unseen: no view sees the versions that are replaced. *out:
 * how many were not marked before, also when it fails. */
MG_MUST_CHECK enum mg_code mg_wtable__mark(struct mg_store *store, struct mg_wtable *table, const uint64_t *places,
                                           uint32_t count, uint64_t epoch, bool unseen, uint64_t *out,
                                           struct mg_error *err);
/* Bytes of a new row that are kept beside it until the epoch ends: index entry, undo, mark. */
enum { MG_STAGED_ROW_BYTES = 48 };
/* Room for `more` items in *items_place, which has room for *room and holds count. */
MG_MUST_CHECK enum mg_code mg_list__reserve(void *items_place, uint32_t *room, uint32_t count, uint32_t more,
                                            size_t size, struct mg_error *err);

/* ---- epochs larger than memory (spill.c) ----------------------------------------------------------------------- */

/* Write the segments that only the staged epoch has as parts, and forget what is not needed for them any more. A
 * failure leaves what mg_wtable__abort can clear away. */
MG_MUST_CHECK enum mg_code mg_wtable__spill(struct mg_store *store, struct mg_wtable *table, struct mg_error *err);
/* Of what a spill would write or forget: rows that only the staged epoch has, and listed marks. */
uint64_t mg_wtable__staged_bytes(const struct mg_wtable *table);
/* The staged epoch's parts, as the WAL names them: *out in the heap, rising by segment id; NULL when there is none. */
MG_MUST_CHECK enum mg_code mg_store__staged_parts(const struct mg_store *store, struct mg_wal_part **out,
                                                  uint32_t *out_count, struct mg_error *err);
/* Marks of a spilled table, from what its versions have more than the published ones: how many pieces of them there
 * are, then each of these. */
uint32_t mg_wtable__count_marks(const struct mg_store *store, const struct mg_wtable *table);
MG_MUST_CHECK enum mg_code mg_wtable__encode_marks(const struct mg_store *store, const struct mg_wtable *table,
                                                   struct mg_wal_builder *builder, struct mg_error *err);
/* Abort: close and remove the staged parts, which stand last. What the disk holds being unknown, files stay. */
void mg_wtable__drop_staged_parts(struct mg_store *store, struct mg_wtable *table);

/* Parts that the WAL names, or will: not to be removed, whatever manifests say. Before the file is made. */
MG_MUST_CHECK enum mg_code mg_named__add(struct mg_magic *magic, uint32_t segment_id, uint64_t epoch,
                                         struct mg_error *err);
void mg_named__remove(struct mg_magic *magic, uint32_t segment_id);
bool mg_named__has(struct mg_magic *magic, uint32_t segment_id);
/* Forget those whose epoch is in all kept manifests. */
void mg_named__prune(struct mg_magic *magic);
/* Those of epochs up to that one, rising by segment: *out in the heap. */
MG_MUST_CHECK enum mg_code mg_named__list(struct mg_magic *magic, uint64_t epoch, struct mg_named **out,
                                          uint32_t *out_count, struct mg_error *err);

/* out[i] = the place of the living row in the table's parts whose key is that of rows[i]; nowhere (part_lookup.c). */
MG_MUST_CHECK enum mg_code mg_wtable__find_in_parts(struct mg_wtable *table, const struct mg_vector *const *keys,
                                                    uint32_t key_count, const uint32_t *rows, uint32_t count,
                                                    struct mg_place *out, struct mg_error *err);

/* Replay, in a store that no view shows yet. MG_CORRUPT for what cannot be. */
MG_MUST_CHECK enum mg_code mg_wtable__replay_run(struct mg_store *store, struct mg_wtable *table,
                                                 struct mg_schema *schema, const struct mg_wal_run *run,
                                                 struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_wtable__replay_marks(struct mg_store *store, struct mg_wtable *table,
                                                   const struct mg_wal_marks *marks, struct mg_error *err);
/* Enter every live row into the (empty) index. */
MG_MUST_CHECK enum mg_code mg_wtable__fill_index(struct mg_store *store, struct mg_wtable *table, struct mg_error *err);

/* ---- free verification (verify.c) ---------------------------------------------------------------------------- */

/* Of one put. Owned by it. */
struct mg_checking {
    const struct mg_wtable *table;
    const struct mg_schema *schema;
    const struct mg_changes *changes;
    struct mg_verify *found; /* NULL: nothing */
    bool out_of_memory;
    uint32_t next_image; /* where mg_checking__image goes on */
    struct mg_checking_image {
        uint32_t image;
        struct mg_place place; /* of the stored row; slot MG_NO_SLOT: a row of the changes */
    } * images;
    uint32_t image_count;
};
MG_MUST_CHECK enum mg_code mg_checking__begin(struct mg_checking *checking, const struct mg_wtable *table,
                                              const struct mg_schema *schema, const struct mg_changes *changes,
                                              struct mg_error *err);
void mg_checking__clear(struct mg_checking *checking);
/* The old image of that row, for mg_checking__compare. Rows rise from call to call, until next_image is 0 again. */
uint32_t mg_checking__image(struct mg_checking *checking, uint32_t row);
/* The change of that row found a row, or none, where it should not. */
void mg_checking__note(struct mg_checking *checking, uint32_t row, bool is_there);
void mg_checking__compare(struct mg_checking *checking, uint32_t image, struct mg_place place);
/* Compare the images; what was found is the table's, for the staged epoch. */
MG_MUST_CHECK enum mg_code mg_checking__end(struct mg_checking *checking, struct mg_wtable *table, uint64_t epoch,
                                            struct mg_error *err);
/* The staged epoch is published; returns how many changes of it contradicted. */
uint64_t mg_verify__committed(struct mg_wtable *table);
void mg_verify__forget(struct mg_wtable *table);
enum mg_code mg_magic__verified(struct mg_engine *engine, uint64_t table_id, mg_verify_fn *fn, void *arg,
                                struct mg_error *err);
/* Its lines of the status. */
MG_MUST_CHECK enum mg_code mg_verify__tell(struct mg_table *table, const struct mg_schema *schema, mg_status_fn *fn,
                                           void *arg, struct mg_error *err);

/* ---- a store: the state of all tables (store.c) -------------------------------------------------------------- */

struct mg_source_state {
    char name[MG_SOURCE_NAME_MAX];
    uint64_t watermark, generation, epoch;
    uint8_t position[MG_POSITION_MAX];
    uint32_t position_size;
};

/* The engine's own, or a private one that was rebuilt for an old epoch and ends with its only view. */
struct mg_store {
    struct mg_magic *magic;
    bool is_private;
    struct mg_budget *rows_budget, *index_budget, *marks_budget;
    uint64_t hash_seed;
    _Atomic uint64_t verify_failed; /* of all tables since open, dropped ones included */

    /* The writer's, or whoever replays: */
    struct mg_catalog *catalog; /* a reference: of the newest published epoch */
    struct mg_wtable **tables;  /* sorted by id */
    uint32_t table_count, table_room;
    uint32_t next_segment_id;
    uint32_t group_segment_id;           /* replay: next_segment_id before the group */
    const struct mg_manifest *base;      /* replay: what the store was loaded from, until its epoch is reached; NULL */
    struct mg_mark_version **superseded; /* by the staged epoch */
    uint32_t superseded_count, superseded_room;
    uint64_t wal_bytes; /* written since open */
    void *scratch;      /* of put; scratch_bytes are reserved in rows_budget */
    size_t scratch_bytes;

    /* MG_GUARDED_BY(magic->publish). Changed by the writer alone, who may read them without: */
    uint64_t epoch; /* the newest published */
    uint32_t source_count;
    struct mg_source_state sources[MG_SOURCES_MAX];
    uint64_t next_table_id, next_version;

    /* MG_GUARDED_BY(magic->publish) */
    uint64_t delta_bytes;            /* of rows in the newest view that are in no part */
    uint64_t leaving_bytes;          /* of rows that are in a part by now, while the flush still needs them */
    uint64_t fruitless_rounds;       /* of maintenance: they failed, or flushed nothing */
    bool is_starved;                 /* an epoch did not fit, and nothing was flushed since */
    struct mg_view *newest, *oldest; /* the live views */
    uint64_t view_count;
    struct mg_store *next_private;
};

MG_MUST_CHECK enum mg_code mg_store__init(struct mg_store *store, struct mg_magic *magic, bool is_private,
                                          struct mg_error *err);
/* No view is left. */
void mg_store__clear(struct mg_store *store);
void mg_store__free_scratch(struct mg_store *store);
/* Its place, or -1. */
int mg_store__find_source(const struct mg_store *store, const char *name);
/* The writer's side of a table that the catalogue knows; made when missing. */
MG_MUST_CHECK enum mg_code mg_store__wtable(struct mg_store *store, struct mg_table *table, struct mg_wtable **out,
                                            struct mg_error *err);
struct mg_wtable *mg_store__find_wtable(struct mg_store *store, uint64_t table_id);
/* The catalogue with new views of all staged tables, from `from`. */
MG_MUST_CHECK enum mg_code mg_store__next_catalog(struct mg_store *store, const struct mg_catalog *from,
                                                  struct mg_catalog **out, struct mg_error *err);
/* Of rows in all segments: what a flush would take out of memory. The writer's, or in its turn. */
uint64_t mg_store__delta_bytes(const struct mg_store *store);
/* It is published: staged becomes visible, writers' sides of dropped tables go. */
void mg_store__committed(struct mg_store *store, struct mg_catalog *catalog);
void mg_store__abort(struct mg_store *store);
/* Apply a group as the next epoch of a store without views (replay.c). MG_CORRUPT for what cannot be; the store is then
 * only good to be cleared. */
MG_MUST_CHECK enum mg_code mg_store__replay(struct mg_store *store, const struct mg_wal_group *group,
                                            struct mg_error *err);
/* Begin with what a manifest says (base_state.c); it must live until its epoch was replayed. */
MG_MUST_CHECK enum mg_code mg_store__load(struct mg_store *store, const struct mg_manifest *manifest,
                                          struct mg_error *err);
/* The manifest's epoch is reached: MG_CORRUPT when a count is not what it says. */
MG_MUST_CHECK enum mg_code mg_store__check_base(struct mg_store *store, struct mg_error *err);
/* Make what was replayed visible as one view, which becomes the store's newest; with the index, unless the store is
 * private. */
MG_MUST_CHECK enum mg_code mg_store__finish_replay(struct mg_store *store, struct mg_error *err);

/* ---- views and pins (view.c) --------------------------------------------------------------------------------- */

struct mg_view_source {
    const char *name; /* owned by the store */
    uint64_t watermark, generation, epoch;
};

/* Mark versions that wait for the view that they hang on: the newest one that sees them. */
struct mg_garbage {
    struct mg_garbage *next;
    uint32_t count;
    struct mg_mark_version *versions[];
};

/* One published epoch; the snapshot that engine.h speaks of. */
struct mg_view {
    struct mg_snapshot base;
    struct mg_store *store;
    uint64_t epoch;

    /* MG_GUARDED_BY(magic->publish) */
    uint64_t pins;                 /* readers, and one while it is the newest; at 0 it is being freed */
    struct mg_view *older, *newer; /* the store's live views */
    struct mg_garbage *garbage;    /* versions that this view is the newest to see */

    struct mg_catalog *catalog; /* a reference */
    uint32_t source_count;
    struct mg_view_source sources[];
};

/* ---- where old epochs are in the WAL, by watermark (history.c) ----------------------------------------------- */

struct mg_history_entry {
    /* ordinal: how many epochs of the source with a watermark came before; more, where they were not counted */
    uint64_t epoch, watermark, ordinal;
};
/* Per source: every stride-th of its epochs with a watermark, the first always. MG_GUARDED_BY(magic->publish). */
struct mg_history {
    uint32_t count, room;
    struct mg_history_entry *entries;
    uint64_t stride, next_ordinal;
};

/* ---- the engine (magic.c) ------------------------------------------------------------------------------------ */

struct mg_magic_epoch {
    struct mg_epoch base;
    uint64_t number;
    char source[MG_SOURCE_NAME_MAX];
    uint64_t generation;
    struct mg_catalog *catalog; /* a reference: with this epoch's schema changes; NULL without */
    struct mg_buffer changes;   /* the same for the WAL */
    uint32_t change_count;
    struct mg_u64_list changed; /* ids of the tables */
    bool has_rows;
    uint64_t data_bytes;      /* about what the WAL's group will take */
    uint64_t unspilled_bytes; /* staged since the last spill, with what is kept beside rows */
    enum mg_code failed;      /* not MG_OK: it can only be aborted */
    char failed_text[MG_ERROR_TEXT_MAX];
};

/* A part that the group of an epoch names. */
struct mg_named {
    uint32_t segment_id;
    uint64_t epoch;
};

/* Who flushes and merges (maintain.c): a thread for flushes and checkpoints, one for merges of few rows, one for the
 * others and for what was asked for, so that no flush waits for a merge and no small merge for a large one. */
enum mg_lane_id { MG_LANE_FLUSH, MG_LANE_SMALL, MG_LANE_LARGE, MG_LANES };
enum { MG_ASKED_MAX = 128 }; /* compactions that are listed */
struct mg_asked;
struct mg_lane {
    struct mg_magic *magic;
    struct mg_thread thread;
    uint64_t rows_min, rows_max; /* of its merges: more than rows_min, up to rows_max */
    uint32_t next_table;         /* where its next plan begins; the thread's own */
    int64_t not_before_ms;       /* no merge until then, as memory or disk is short; the thread's own */
};

/* What the lanes know. */
struct mg_keeping {
    struct mg_lane lanes[MG_LANES];
    struct mg_mutex lock;      /* MG_RANK_WRITER: rounds of flushes, and rounds by hand: one at a time */
    uint64_t checkpoint_epoch; /* of the last one; MG_GUARDED_BY(lock) */
    uint64_t checkpoint_wal;   /* bytes written until then; MG_GUARDED_BY(lock) */
    int64_t checkpoint_at_ms;  /* MG_GUARDED_BY(lock) */
    uint64_t every_bytes;      /* settings */
    int64_t every_ms;
    uint64_t part_rows_max; /* 0: by the table's size */
    bool by_hand;

    struct mg_mutex sweep_lock; /* MG_RANK_SWEEP: held while files are removed */
    /* MG_RANK_FILES: an install writes files that no manifest lists yet, or a sweep looks */
    struct mg_mutex files_lock;

    uint64_t next_manifest; /* the writer's turn's */

    struct mg_mutex wake_lock; /* MG_RANK_LEAF */
    struct mg_cond wake;
    int64_t paid_until_ns; /* of the throttle: when merges may go on; MG_GUARDED_BY(wake_lock) */
    _Atomic bool closing;
    _Atomic uint64_t throttle; /* bytes of rows that merges take in a second; 0: no limit */

    /* MG_RANK_LEAF: the list of compactions that were asked for (asked.c), and their infos */
    struct mg_mutex asked_lock;
    struct mg_asked *asked[MG_ASKED_MAX]; /* in the order in which they were asked for */
    uint32_t asked_count;
    uint64_t last_asked; /* id */

    uint64_t held_table; /* the writer's turn's: no merge of this table begins, as a compaction waits for its parts */

    uint32_t *working; /* segment ids of outputs under way; MG_GUARDED_BY(magic->publish) */
    uint32_t working_count, working_room;

    _Atomic uint64_t flush_count, merge_count, spill_count, checkpoint_count, failed_count;
    struct mg_flow flow; /* of all tables, dropped ones included */
};

/* Rows on disk that only old snapshots show (sealed.c). */
struct mg_sealed_file;
struct mg_sealing {
    struct mg_sealed_file *file;  /* a reference: that is written to; NULL: none. MG_GUARDED_BY(keeping.lock) */
    uint32_t last_number;         /* the same */
    int64_t not_before_ms;        /* the same: the disk failed */
    struct mg_budget budget;      /* below the store's: what is kept in memory of rows on disk */
    uint64_t rows_max;            /* setting: bytes of such rows that stay in memory; 0: by the memory */
    _Atomic uint64_t bytes;       /* on disk now, of chunks that snapshots show */
    _Atomic uint64_t total_bytes; /* since open */
    _Atomic uint64_t file_bytes;  /* of the files */
    _Atomic uint64_t file_count;
};

/* How full the disk is (space.c). */
enum mg_space_state { MG_SPACE_OK, MG_SPACE_MERGES_WAIT, MG_SPACE_FLUSHES_WAIT, MG_SPACE_WRITES_WAIT };
struct mg_space {
    _Atomic uint64_t reserve_bytes, wal_keep_bytes; /* setting, and what the WAL leaves of it */
    uint64_t wal_segment_bytes;                     /* setting */
    _Atomic uint64_t free_bytes;                    /* when it was looked at last */
    _Atomic int state;                              /* the same */
    _Atomic uint64_t file_bytes;                    /* of the file that is given back for a checkpoint; 0: none */
};
/* Look now; a change is logged. */
enum mg_space_state mg_space__look(struct mg_magic *magic);
const char *mg_space__state_text(const struct mg_magic *magic);
uint64_t mg_space__reserve(const struct mg_magic *magic);
/* 0: by the disk's size. */
void mg_space__set_reserve(struct mg_magic *magic, uint64_t bytes);
/* MG_NO_SPACE: so many bytes more would leave less than the reserve. */
MG_MUST_CHECK enum mg_code mg_space__check_merge(struct mg_magic *magic, uint64_t bytes, struct mg_error *err);
/* So many bytes more leave the reserve. */
bool mg_space__has_room(struct mg_magic *magic, uint64_t bytes);
/* The file: give it back (false: there is none), and make it again if there is room. Under keeping.lock. */
void mg_space__open(struct mg_magic *magic); /* take what is there, or make it */
bool mg_space__release(struct mg_magic *magic);
void mg_space__refill(struct mg_magic *magic);

/* What the process has beyond what is accounted for (slack.c). */
struct mg_slack {
    _Atomic int64_t look_at_ms;
    _Atomic size_t least_bytes;
};
/* Gives gaps in the heap back when there are many. Cheap when it was looked a moment ago. */
void mg_slack__look(struct mg_magic *magic);

struct mg_magic {
    struct mg_engine base;
    char *folder;
    struct mg_io *io; /* of options, or nosync */
    struct mg_io *nosync;
    uint64_t store_id;
    struct mg_file *lock_file;
    struct mg_journal *journal;
    struct mg_budget *readers; /* of options: scans are reserved there; may be NULL */
    struct mg_budget budget;   /* all that the stores keep; below options' */
    struct mg_budget delta_budget, cache_budget, flush_budget, merge_budget, replay_budget; /* below budget */
    struct mg_budget rows_budget, index_budget, marks_budget;                               /* below delta_budget */
    struct mg_budget parts_budget; /* below budget: what is kept of open parts */
    struct mg_cache *cache;
    uint64_t segment_bytes_max; /* of row data; a single larger row gets a segment of its own */
    /* of the store's memory, set aside for flushes; 0: a small one has no room for it */
    size_t flush_bytes;
    size_t common_bytes;       /* the rest, which all share; SIZE_MAX: no limit */
    uint64_t stage_bytes_max;  /* of a staged epoch in memory; what is above goes to parts */
    uint64_t spill_rows_max;   /* the writer's: of a part of a staged epoch, since more were too much for the memory */
    struct mg_mutex parts;     /* MG_RANK_PARTS: who writes a part in the memory of flushes; held while that lasts */
    struct mg_keeping keeping; /* what the maintainer knows */
    struct mg_space space;
    struct mg_sealing sealing;
    struct mg_slack slack;

    struct mg_store store;
    struct mg_magic_epoch *staged; /* the writer's */

    struct mg_mutex publish;          /* MG_RANK_PUBLISH: guards all below, views and pins, and what store says */
    struct mg_cond published, turned; /* turned: staging ended */
    bool staging;
    bool stopped;
    char stopped_text[MG_ERROR_TEXT_MAX];
    bool maintaining;          /* staging is true, and the maintainer has the writer's turn */
    uint32_t turns_wanted;     /* of the maintainer: the next epoch waits */
    struct mg_store *privates; /* stores of rebuilt epochs */
    struct mg_kept **kept;     /* rising by number */
    uint32_t kept_count, kept_room;
    struct mg_named *named; /* by mg_named__add */
    uint32_t named_count, named_room;
    bool has_genesis;                          /* the WAL begins with epoch 1 and will not be cut off yet */
    struct mg_history history[MG_SOURCES_MAX]; /* by place in store.sources */
};

/* ---- manifests that are kept (keeper.c) ---------------------------------------------------------------------- */

/* One of them. The list is magic->kept, rising by number. MG_GUARDED_BY(magic->publish). */
struct mg_kept {
    uint64_t number, epoch, replay_from;
    bool is_checkpoint;
    uint32_t pins;                       /* of those who open an epoch from it */
    uint64_t watermarks[MG_SOURCES_MAX]; /* by place in store.sources; 0: none */
    uint32_t part_count;
    struct mg_manifest_part *parts;
};
/* For a manifest that is about to be written; note it once it is durable, or forget it. */
MG_MUST_CHECK enum mg_code mg_keeper__prepare(struct mg_magic *magic, const struct mg_manifest *manifest,
                                              struct mg_kept **out, struct mg_error *err);
void mg_keeper__note(struct mg_magic *magic, struct mg_kept *kept);
/* From whose epoch on snapshots can be opened; NULL: from 0 on. Under magic->publish. */
const struct mg_kept *mg_keeper__oldest(const struct mg_magic *magic);
void mg_keeper__forget(struct mg_kept *kept); /* NULL is allowed */
/* The newest one whose epoch is not above `epoch`; *out NULL: there is none at all. MG_SNAPSHOT_TOO_OLD. */
MG_MUST_CHECK enum mg_code mg_keeper__pin(struct mg_magic *magic, uint64_t epoch, struct mg_kept **out,
                                          struct mg_error *err);
void mg_keeper__unpin(struct mg_magic *magic, struct mg_kept *kept); /* NULL is allowed */
/* Remove what is not needed any more. Any thread of the maintenance. */
MG_MUST_CHECK enum mg_code mg_keeper__sweep(struct mg_magic *magic, struct mg_error *err);
void mg_keeper__clear(struct mg_magic *magic);

/* A view of what the store has after `epoch`, with one pin, in no list yet. */
MG_MUST_CHECK enum mg_code mg_view__new(struct mg_store *store, uint64_t epoch, struct mg_catalog *catalog,
                                        uint32_t source_count, struct mg_view **out, struct mg_error *err);
/* Make it the store's newest. `garbage` is what its epoch superseded. Returns the one before (NULL: none), with the pin
 * that it had as the newest, for mg_view__unpin. Under magic->publish. */
struct mg_view *mg_view__swap(struct mg_store *store, struct mg_view *view, struct mg_garbage *garbage);
struct mg_view *mg_view__pin(struct mg_view *view); /* under magic->publish; returns view */
/* The last one frees the view, and what no older view needs; a private store with it. NULL is allowed. */
void mg_view__unpin(struct mg_view *view);
/* A view that was never swapped in. NULL is allowed. */
void mg_view__discard(struct mg_view *view);
/* All that is superseded, as garbage, and the list becomes empty; *out NULL when it was. */
MG_MUST_CHECK enum mg_code mg_garbage__take(struct mg_store *store, struct mg_garbage **out, struct mg_error *err);
/* With its versions. NULL is allowed. */
void mg_garbage__free(struct mg_store *store, struct mg_garbage *garbage);

static inline struct mg_magic *mg_magic__of(const struct mg_engine *engine)
{
    return (struct mg_magic *)(uintptr_t)engine;
}

/* The folder (folder.c): format version, store id, lock. */
MG_MUST_CHECK enum mg_code mg_folder__open(struct mg_magic *magic, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_magic__open_part(struct mg_magic *magic, uint32_t segment_id, struct mg_part **out,
                                               struct mg_error *err);
/* Replay the WAL's groups behind store->epoch up to and including `last` into a store without views (replay.c).
 * seen(arg, group), unless NULL, after each. */
typedef enum mg_code mg_replayed_fn(void *arg, const struct mg_wal_group *group, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_store__replay_wal(struct mg_store *store, struct mg_journal *journal, uint64_t last,
                                                mg_replayed_fn *seen, void *arg, struct mg_error *err);
/* An mg_io like `under` whose fdatasync does nothing (io_nosync.c). Owned; freed with mg_io_nosync__free. NULL when the
 * heap is out. */
struct mg_io *mg_io_nosync__new(struct mg_io *under);
void mg_io_nosync__free(struct mg_io *io); /* NULL is allowed */

MG_MUST_CHECK enum mg_code mg_history__reserve(struct mg_history *history, struct mg_error *err);
/* Note an epoch of the source; there is room after mg_history__reserve. */
void mg_history__note(struct mg_history *history, uint64_t epoch, uint64_t watermark);
/* Note the last epoch of the source that a manifest knows. Those before it, back to what was noted last, or to `before`
 * when nothing was, are looked up in the WAL when somebody asks. */
MG_MUST_CHECK enum mg_code mg_history__note_gap(struct mg_history *history, uint64_t before, uint64_t epoch,
                                                uint64_t watermark, struct mg_error *err);
void mg_history__clear(struct mg_history *history);

/* What the disk holds is not known: nothing more may be written. */
void mg_magic__stop_writer(struct mg_magic *magic, struct mg_error *story);
/* Frees the staged epoch and lets the next one begin; what it staged is published or aborted. */
void mg_magic__end_epoch(struct mg_magic_epoch *epoch);

/* maintain.c. A round of flushes, and by hand also of merges; flush_all: rows that are only in memory and the WAL
 * become parts. MG_STOPPED. */
MG_MUST_CHECK enum mg_code mg_magic__maintain(struct mg_magic *magic, bool flush_all, bool is_checkpoint,
                                              struct mg_error *err);
/* Before start, and after stop. */
void mg_magic__maintain_init(struct mg_magic *magic);
void mg_magic__maintain_clear(struct mg_magic *magic);
/* The writer's turn, between two epochs: while it lasts, begin waits. MG_STOPPED: the writer is stopped, and so is
 * maintenance. */
MG_MUST_CHECK enum mg_code mg_magic__take_turn(struct mg_magic *magic, struct mg_error *err);
void mg_magic__give_turn(struct mg_magic *magic);
/* One round that flushes all rows of the table. */
MG_MUST_CHECK enum mg_code mg_magic__flush_table(struct mg_magic *magic, uint64_t table_id, struct mg_error *err);
void mg_magic__wake(struct mg_magic *magic);            /* the lanes look now what there is to do */
void mg_magic__nap(struct mg_magic *magic, int64_t ms); /* at most so long, and not through a wake */
enum mg_code mg_magic__set_option(struct mg_engine *engine, enum mg_engine_option option, uint64_t value,
                                  struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_magic__maintain_start(struct mg_magic *magic, const struct mg_engine_options *options,
                                                    struct mg_error *err);
void mg_magic__maintain_stop(struct mg_magic *magic);
/* Give the maintainer time when rows take too much of the memory: an epoch waits a moment rather than be refused. Under
 * magic->publish. */
void mg_magic__slow_down(struct mg_magic *magic);

/* Load a store as a kept manifest says and replay the WAL to `last` (recover.c). */
MG_MUST_CHECK enum mg_code mg_store__open_at(struct mg_store *store, uint64_t manifest_number, uint64_t last,
                                             struct mg_error *err);
/* The newest state from disk: manifests, parts, WAL, and the lists of what is kept. */
MG_MUST_CHECK enum mg_code mg_magic__recover(struct mg_magic *magic, struct mg_error *err);

/* Members of the table that have files of their own. */
enum mg_code mg_magic__snapshot_at(struct mg_engine *engine, uint64_t epoch, struct mg_snapshot **out,
                                   struct mg_error *err);
enum mg_code mg_magic__epoch_at(struct mg_engine *engine, const char *source, uint64_t ts, uint64_t *out_epoch,
                                struct mg_error *err);
enum mg_code mg_magic__publish(struct mg_epoch *epoch, uint64_t watermark, struct mg_slice position,
                               uint64_t *out_epoch, struct mg_error *err);
enum mg_code mg_magic__column_stats(const struct mg_snapshot *snapshot, uint64_t table_id, const bool *wanted,
                                    struct mg_arena *arena, struct mg_column_stats **out, struct mg_error *err);
enum mg_code mg_magic__plan_splits(const struct mg_snapshot *snapshot, uint64_t table_id, uint32_t wanted, bool force,
                                   struct mg_arena *arena, struct mg_key_range **out, uint32_t *out_count,
                                   struct mg_error *err);
enum mg_code mg_magic__scan(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec, struct mg_scan **out,
                            struct mg_error *err);
/* A batch of one column: its missing value as often as a chunk has rows. */
MG_MUST_CHECK enum mg_code mg_magic__missing_rows(const struct mg_column *column, struct mg_budget *budget,
                                                  struct mg_batch **out, struct mg_error *err);
/* The same of some segments and parts only. */
MG_MUST_CHECK enum mg_code mg_magic__scan_segments(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                                                   const uint32_t *segment_ids, uint32_t count, struct mg_scan **out,
                                                   struct mg_error *err);
enum mg_code mg_magic__find(struct mg_snapshot *snapshot, const struct mg_find_spec *spec, uint32_t *rows,
                            struct mg_batch **out, struct mg_error *err);
/* The rows of a table that a predicate names by their whole keys (scan_keys.c). *applies: it does; then *out has the
 * columns of the schema where needed[place], and is NULL when there is no such row. */
MG_MUST_CHECK enum mg_code mg_magic__find_named(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                                                const struct mg_schema *schema, const bool *needed, bool *applies,
                                                struct mg_batch **out, struct mg_error *err);
enum mg_code mg_magic__next(struct mg_scan *scan, struct mg_batch **out, struct mg_error *err);
void mg_magic__scan_close(struct mg_scan *scan);
enum mg_code mg_magic__status(struct mg_engine *engine, mg_status_fn *fn, void *arg, struct mg_error *err);

#endif
