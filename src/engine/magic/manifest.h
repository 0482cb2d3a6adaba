/* manifest.h -- what the store is made of as of one epoch: the catalogue, the parts with the marks that lie beside
 * them, the delta segments that are only in the WAL, and from where the WAL is replayed.
 *
 * A manifest is written whole, as one step that survives power loss; the one with the highest number is the store's
 * state. So a flush or a merge becomes true by one file, and the WAL knows nothing of either.
 * Replay  From epoch replay_from on. Up to `epoch` only what the manifest lists is filled: rows of its deltas, and
 *         marks in its deltas and in parts whose marks are older than the group. Above it everything is applied.
 * Named   Parts that groups above the oldest kept manifest name, up to this one's epoch: their files stay, also where
 *         no manifest lists them. They stand here so that a start need not look for them in the WAL.
 * Format  docs/format/manifest.md.
 * Threads values; owned by who made them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_MANIFEST_H
#define MG_ENGINE_MAGIC_MANIFEST_H

#include "engine/magic/magic_internal.h"

enum { MG_MANIFEST_FORMAT = 3, MG_MANIFEST_FORMAT_MIN = 1 /* all from it on are read */, MG_MARKS_FORMAT = 1 };
#define MG_MANIFEST_MAX ((size_t)1 << 30) /* bytes of one; a larger store is refused */

struct mg_manifest_part {
    uint64_t table_id;
    uint32_t segment_id, row_count;
    uint64_t file_bytes;
    uint64_t marks_epoch; /* later marks are in the WAL */
    uint64_t marks_file;  /* those up to that epoch are in the file of this (lower or same) epoch */
    uint32_t dead_count;  /* in that file; 0: there is none */
};

struct mg_manifest_delta {
    uint64_t table_id, first_epoch; /* that gave it rows */
    uint32_t segment_id, row_count; /* as of the manifest's epoch */
    struct mg_schema *schema;       /* a reference: its columns */
};

struct mg_manifest {
    uint64_t number; /* of the file; not in it */
    uint64_t epoch, replay_from;
    uint64_t next_table_id, next_version;
    uint32_t next_segment_id;
    bool is_checkpoint;
    struct mg_catalog *catalog; /* a reference: tables without segments */
    uint64_t *live_counts;      /* by the catalogue's tables: rows of each as of epoch */
    bool has_named;             /* false: of a format that did not say */
    uint32_t source_count, part_count, delta_count, named_count;
    struct mg_source_state *sources;
    struct mg_manifest_part *parts;   /* rising by segment id */
    struct mg_manifest_delta *deltas; /* the same */
    struct mg_named *named;           /* the same */
};

void mg_manifest__clear(struct mg_manifest *manifest); /* a zeroed one is allowed; zeroes it */
MG_MUST_CHECK enum mg_code mg_manifest__encode(const struct mg_manifest *manifest, struct mg_buffer *out,
                                               struct mg_error *err);
/* MG_CORRUPT; MG_UNIMPLEMENTED for another format. Table views are reserved in budget. */
MG_MUST_CHECK enum mg_code mg_manifest__decode(struct mg_slice bytes, struct mg_budget *budget, struct mg_manifest *out,
                                               struct mg_error *err);

/* The files, in <folder>/manifest. A name is the number as 16 hex digits. */
/* *out_unknown: it failed in a way that leaves open whether the manifest is there. */
MG_MUST_CHECK enum mg_code mg_manifest__write(struct mg_io *io, const char *folder, const struct mg_manifest *manifest,
                                              bool *out_unknown, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_manifest__read(struct mg_io *io, const char *folder, uint64_t number,
                                             struct mg_budget *budget, struct mg_manifest *out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_manifest__remove(struct mg_io *io, const char *folder, uint64_t number,
                                               struct mg_error *err);
/* What was removed stays so. */
MG_MUST_CHECK enum mg_code mg_manifest__sync_folder(struct mg_io *io, const char *folder, struct mg_error *err);
/* Numbers of the files that are there, rising; the caller frees them. Other names are left alone. */
MG_MUST_CHECK enum mg_code mg_manifest__list(struct mg_io *io, const char *folder, uint64_t **out, uint32_t *out_count,
                                             struct mg_error *err);

/* A part's deleted rows, in <folder>/parts (marks_file.c, docs/format/marks.md). */
MG_MUST_CHECK enum mg_code mg_marks_file__write(struct mg_io *io, const char *folder, uint32_t segment_id,
                                                uint64_t epoch, uint32_t row_count, const struct mg_marks *marks,
                                                struct mg_error *err);
/* Marks whose versions are of that epoch; reserved in budget. MG_CORRUPT. */
MG_MUST_CHECK enum mg_code mg_marks_file__read(struct mg_io *io, const char *folder, uint32_t segment_id,
                                               uint64_t epoch, uint32_t row_count, struct mg_budget *budget,
                                               struct mg_marks **out, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_marks_file__decode(struct mg_slice bytes, uint32_t segment_id, uint64_t epoch,
                                                 uint32_t row_count, struct mg_budget *budget, struct mg_marks **out,
                                                 struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_marks_file__encode(uint32_t segment_id, uint64_t epoch, uint32_t row_count,
                                                 const struct mg_marks *marks, struct mg_buffer *out,
                                                 struct mg_error *err);

void mg_marks_file__free(struct mg_marks *marks); /* what read gave, versions included; NULL is allowed */

/* Paths of a part and of its marks. */
enum { MG_PATH_MAX = 4096 };
void mg_path__part(const char *folder, uint32_t segment_id, char path[MG_PATH_MAX]);
void mg_path__marks_name(uint32_t segment_id, uint64_t epoch, char name[48]);

#endif
