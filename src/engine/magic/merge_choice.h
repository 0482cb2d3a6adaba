/* merge_choice.h -- which parts of a table become one, decided from their sizes and keys alone.
 *
 * What an answer trades: merging more means fewer parts to look keys up in and fewer dead rows to skip, and more bytes
 * written per row. docs/design/engine-compaction.md has the reasons and the figures, merge_choice_test.c makes them.
 * Threads  pure functions.
 * Idea     levels by size: every LSM tree; levels of full parts by density: Cassandra's unified compaction; differs:
 *          any parts may be merged, as a row lives in one part only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_MERGE_CHOICE_H
#define MG_ENGINE_MAGIC_MERGE_CHOICE_H

#include "base/bytes.h"
#include "base/error.h"

enum { MG_MERGE_INPUTS_MAX = 16 }; /* parts that are merged in one pass */

struct mg_choice_part {
    uint64_t rows, living;
    struct mg_slice low, high; /* its keys, both included; borrowed */
    bool is_busy;              /* somebody else has it */
};

struct mg_choice_limits {
    uint64_t part_rows_max;      /* an output has at most about so many */
    uint64_t rows_min, rows_max; /* living rows that this caller takes: more than rows_min, up to rows_max */
};

/* How many rows a part of a table of so many may have: 2^24, or a sixteenth of a large table. */
uint64_t mg_merge__part_rows_max(uint64_t table_rows);
/* Places of parts to merge now, rising; returns how many, 0: none. One: it is written anew, without its dead rows. */
uint32_t mg_merge__choose(const struct mg_choice_part *parts, uint32_t count, const struct mg_choice_limits *limits,
                          uint32_t picks[MG_MERGE_INPUTS_MAX]);
/* Rows in all of them. */
uint64_t mg_merge__living(const struct mg_choice_part *parts, const uint32_t *picks, uint32_t count);

#endif
