/* scan_internal.h -- a scan while it runs: what all its readers share, and what is each reader's own.
 *
 * Picture   units (a chunk of memory, a row group of a part) --reader--> rows that are left --> batches, or an
 *           aggregation, or the first rows in an order.
 * Files     scan.c: life, batches; scan_units.c: which units, from unit to unit; scan_chunks.c: a chunk's rows;
 *           scan_groups.c: a row group's rows, by tests on its blocks; scan_rows.c: what is left of it, decoded;
 *           scan_aggregate.c: what is left of it, aggregated; scan_threads.c: several readers at a time.
 * Threads   struct scan: next_unit and stopped are atomic, the rest does not change while several readers read. A
 *           reader belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_SCAN_INTERNAL_H
#define MG_ENGINE_MAGIC_SCAN_INTERNAL_H

#include "engine/magic/part_reader.h"
#include "engine/scan_spec.h"

enum {
    MG_SCAN_GROUP_WORDS = MG_BLOCK_ROWS / 64,
    MG_SCAN_ROWS_MAX = MG_CHUNK_ROWS, /* rows of a batch */
};

struct scan;

/* The rows that batches are cut from. */
struct scan_loaded {
    bool active;
    struct mg_chunk *chunk; /* held; NULL for a part's rows */
    struct mg_buf *settled; /* a reference: the copy of an open chunk, or a part's decoded rows; NULL */
    uint32_t row_count;     /* visible */
    bool every_row;         /* all of them go out; else those of the mask */
    uint32_t out_count, out_done;
    uint64_t mask[MG_CHUNK_ROWS / 64];
    bool listed; /* rows holds the mask's: once somebody needs them so */
    uint32_t rows[MG_CHUNK_ROWS];
};

/* How a condition did in the row groups before: the next group begins with what pays most. */
struct scan_condition {
    uint64_t asked_count, kept_count; /* rows */
    uint32_t cost;                    /* of a row, roughly */
};

/* A condition in the row group that is read. */
struct scan_test {
    uint32_t condition;
    struct mg_block_test *test; /* NULL: it is evaluated on decoded vectors */
};

/* The row group that is read, or a chunk of which some columns have images: the vectors of the others are shown. */
struct scan_group {
    bool active;
    bool is_whole;          /* of a part: all rows are left, as none is marked and nothing filters */
    struct mg_chunk *chunk; /* held by group_held; NULL: a row group of the part */
    uint32_t number, row_count, vector_count;
    uint32_t next_vector; /* of those whose rows were not taken yet */
    uint32_t test_count;
    struct scan_test *tests;            /* in group_scratch */
    uint64_t mask[MG_SCAN_GROUP_WORDS]; /* rows that are left; not set of a whole group that its footer answers */
};

/* Vectors of the group that are decoded together. */
struct scan_run {
    uint32_t vector_count, row_count;
    uint8_t vectors[MG_BLOCK_VECTORS];
    uint16_t counts[MG_BLOCK_VECTORS]; /* rows of each that are left */
    uint16_t rows[MG_SCAN_ROWS_MAX];   /* which, one vector after another; not set where all are */
};

/* What is known of a call of an aggregate without groups, before it goes into the aggregation. */
struct scan_tally {
    mg_int128 sum, best; /* best: of MIN and MAX */
    uint64_t count;
    bool has_best;
};

/* A column's rows on their way into the aggregation. */
struct scan_feed {
    bool as_codes;               /* it is grouped by and not computed with: codes are better than numbers */
    struct mg_vector slice;      /* of a chunk */
    struct mg_vector dictionary; /* of the group's block; in group_scratch */
    uint64_t dictionary_id;      /* 0: not made yet */
    int64_t ints[MG_VECTOR_ROWS];
    uint16_t codes[MG_VECTOR_ROWS];
    uint8_t validity[MG_VECTOR_ROWS / 8];
};

/* What became of a unit. */
enum scan_fate {
    SCAN_FATE_NONE, /* none of its rows is in the key range and there */
    SCAN_FATE_SKIPPED,
    SCAN_FATE_READ,
};

struct scan_reader {
    struct scan *scan;
    uint32_t source;     /* segments first, then parts: where the last unit was */
    bool entered;        /* its columns are found */
    bool done;           /* there is no further unit */
    enum scan_fate fate; /* of the unit */

    /* By place in the schema: */
    int32_t *in_segment;         /* place in the current segment or part; -1: it lacks the column */
    struct mg_batch **constants; /* of missing values, or NULL */
    struct mg_vector *vectors;   /* of the rows that are loaded */
    const struct mg_vector **vector_places;
    const struct mg_chunk_image **images; /* of the chunk that is read as a group; or NULL */
    struct mg_buf **rooms;                /* one decoded vector each, or NULL */
    uint32_t *room_vectors;               /* which of the group it is; UINT32_MAX: none */

    struct mg_arena scratch, group_scratch;
    struct scan_loaded loaded;
    struct mg_part_reader part; /* that is read */
    struct scan_group group;
    struct mg_chunk *group_held; /* the chunk that is aggregated as a group, until the next unit; or NULL */
    struct scan_run run;
    uint32_t *order; /* of conditions */
    struct scan_condition *conditions;

    /* Of an aggregate, of ordered rows; both NULL: rows go out as they are found. */
    struct mg_aggregation *aggregation;
    struct mg_top *top;

    /* Of an aggregate: */
    bool tallied;                /* row groups are tallied, where that can be done */
    bool by_footers;             /* those of which all rows are left need no block for that */
    struct scan_tally *tallies;  /* by call */
    uint64_t tallied_rows;       /* since the tallies were added */
    struct mg_agg_input *inputs; /* by place in the schema */
    struct scan_feed *feeds;     /* the same */
    uint64_t dictionary_count;   /* made so far */
};

struct scan {
    struct mg_scan base;
    const struct mg_table_view *table; /* borrowed from the snapshot */
    const struct mg_schema *schema;    /* the same */
    struct mg_scan_spec spec;
    uint32_t *columns;
    struct mg_budget *budget;
    uint32_t batch_rows;
    uint64_t row_count; /* given so far */
    bool draining;      /* an aggregate's results go out, before further units are read */

    bool *needed, *shown;  /* by place: read at all; read of the rows that are left */
    bool *imaged;          /* by place: an image of a chunk's column would be of use */
    bool filters;          /* there is a condition */
    uint64_t *unit_begins; /* by source: its first unit; one more than sources */
    _Atomic uint64_t next_unit;
    atomic_bool stopped;    /* a reader failed: the others need not go on */
    bool by_key;            /* the rows that the predicate names by their keys, in place of units: */
    struct mg_batch *named; /* until they were taken; NULL: none */

    struct scan_reader reader; /* of the thread that asks for batches */
    uint32_t helper_count;
    struct scan_helper *helpers;   /* of the others (scan_threads.c) */
    struct mg_aggregate *exchange; /* what helpers aggregate; NULL: none do */
};

/* ---- scan_units.c ---- */

/* Units of the segments and parts of the table, or of those with these ids. */
MG_MUST_CHECK enum mg_code mg_scan__list_units(struct scan *scan, const uint32_t *only, uint32_t only_count,
                                               struct mg_error *err);
/* helps: its results go to another reader. */
MG_MUST_CHECK enum mg_code mg_scan__reader_init(struct scan_reader *reader, struct scan *scan, bool helps,
                                                struct mg_error *err);
void mg_scan__reader_clear(struct scan_reader *reader); /* zeroed and half-made ones are allowed */
/* To the next rows; loaded.active is false at the end, and where rows are taken: that reads on, an aggregate until it
 * is full. */
MG_MUST_CHECK enum mg_code mg_scan__advance(struct scan_reader *reader, struct mg_error *err);
/* Rows that are loaded: they go out where the mask says (NULL: all), or aggregate and order take them. */
MG_MUST_CHECK enum mg_code mg_scan__take_rows(struct scan_reader *reader, uint32_t row_count, const uint64_t *mask,
                                              struct mg_error *err);
bool mg_scan__is_full(const struct scan_reader *reader);
void mg_scan__set_mask(uint64_t *mask, uint32_t row_count);
/* The missing value of a column, row_count times. */
struct mg_vector mg_scan__missing(const struct scan_reader *reader, uint32_t column, uint32_t row_count);
/* Rows first to first + count of a vector; first is a multiple of 8. */
struct mg_vector mg_scan__cut(const struct mg_vector *v, uint32_t first, uint32_t count);
/* What is known of the predicate's columns in a chunk, or (chunk NULL) in a row group of the part; in the arena. */
struct scan_zones {
    const struct mg_value **lows, **highs;
    bool *has_null;
};
MG_MUST_CHECK enum mg_code mg_scan__find_zones(struct scan_reader *reader, const struct mg_chunk *chunk, uint32_t group,
                                               struct mg_arena *arena, struct scan_zones *out, struct mg_error *err);

/* ---- scan_chunks.c ---- */

/* Load the chunk if any of its rows is left. */
MG_MUST_CHECK enum mg_code mg_scan__load_chunk(struct scan_reader *reader, const struct mg_table_segment *segment,
                                               uint32_t at, struct mg_error *err);

/* ---- scan_groups.c ---- */

/* The group's block of a column that the part or chunk has; *out NULL: the chunk has no image of it. */
MG_MUST_CHECK enum mg_code mg_scan__block(struct scan_reader *reader, uint32_t column, const struct mg_block **out,
                                          struct mg_error *err);
/* What is known of that block. */
const struct mg_block_info *mg_scan__block_info(const struct scan_reader *reader, uint32_t column);
/* Begin a chunk with images as a group: mask has a bit for each row that is there and in the key range. group.active if
 * any of them is left. */
MG_MUST_CHECK enum mg_code mg_scan__enter_chunk(struct scan_reader *reader, struct mg_chunk *chunk,
                                                const uint64_t *mask, struct mg_error *err);

/* Begin a row group of the part: group.active if any of its rows is left. */
MG_MUST_CHECK enum mg_code mg_scan__enter_group(struct scan_reader *reader, const struct mg_table_part *part,
                                                uint32_t number, struct mg_error *err);
/* One of the group's vectors in Arrow's layout, in the reader's memory until the next vector of that column. */
MG_MUST_CHECK enum mg_code mg_scan__decode(struct scan_reader *reader, uint32_t column, uint32_t vector,
                                           struct mg_error *err);

/* ---- scan_rows.c ---- */

/* The next rows of the group, at most MG_SCAN_ROWS_MAX, loaded; group.active becomes false behind the last. */
MG_MUST_CHECK enum mg_code mg_scan__load_group(struct scan_reader *reader, struct mg_error *err);
/* Chosen rows of one of the group's vectors, rising, as mg_scan__decode. */
MG_MUST_CHECK enum mg_code mg_scan__gather(struct scan_reader *reader, uint32_t column, uint32_t vector,
                                           const uint16_t *rows, uint32_t count, struct mg_error *err);
/* Set bits of a vector's words as row numbers. */
void mg_scan__list_rows(const uint64_t *words, uint16_t *rows);

/* ---- scan_threads.c ---- */

/* Readers beside the first one, as far as the scan may have them and rows are enough. */
MG_MUST_CHECK enum mg_code mg_scan__add_helpers(struct scan *scan, struct mg_error *err);
void mg_scan__clear_helpers(struct scan *scan); /* none are allowed */
/* All readers read on, until units end or groups fill a reader's memory; what they found is the first reader's. */
MG_MUST_CHECK enum mg_code mg_scan__read_all(struct scan *scan, struct mg_error *err);
bool mg_scan__all_done(const struct scan *scan);

/* ---- scan_aggregate.c ---- */

/* How a reader feeds its aggregation. */
MG_MUST_CHECK enum mg_code mg_scan__plan_aggregate(struct scan_reader *reader, struct mg_error *err);
/* Take the group's rows, or as many as make the aggregation full; group.active becomes false behind the last. */
MG_MUST_CHECK enum mg_code mg_scan__aggregate_group(struct scan_reader *reader, struct mg_error *err);
/* Take the mask's rows of a chunk that is loaded. */
MG_MUST_CHECK enum mg_code mg_scan__aggregate_chunk(struct scan_reader *reader, const struct mg_chunk *chunk,
                                                    uint32_t row_count, const uint64_t *mask, struct mg_error *err);
/* Before results are asked for: what was tallied goes into the aggregation. */
MG_MUST_CHECK enum mg_code mg_scan__add_tallies(struct scan_reader *reader, struct mg_error *err);

#endif
