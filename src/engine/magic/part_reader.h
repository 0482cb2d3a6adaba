/* part_reader.h -- a part's rows as columns in Arrow's layout, a granule (MG_CHUNK_ROWS rows) or a vector at a time.
 * Threads  a reader belongs to one thread at a time.   SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MAGIC_PART_READER_H
#define MG_ENGINE_MAGIC_PART_READER_H

#include "engine/magic/magic_internal.h"

/* A zeroed one is outside of any part. */
struct mg_part_reader {
    struct mg_part *part;        /* borrowed */
    const int32_t *places;       /* borrowed; by column: its place in the part, or -1 */
    uint32_t column_count;       /* of places and vectors */
    uint32_t first_row, end_row; /* that lie in the key range */
    uint32_t group;              /* whose blocks are pinned; UINT32_MAX: none */
    struct mg_part_block *blocks;
    bool *pinned; /* by column */
};

MG_MUST_CHECK enum mg_code mg_part_reader__enter(struct mg_part_reader *reader, struct mg_part *part,
                                                 const int32_t *places, uint32_t column_count,
                                                 struct mg_key_range range, struct mg_error *err);
void mg_part_reader__leave(struct mg_part_reader *reader);
/* Go to a row group; blocks of the one before are given back. */
void mg_part_reader__go(struct mg_part_reader *reader, uint32_t group);
/* A column's block in that group, fetched when it is first asked for; the part has the column. Until the next group. */
MG_MUST_CHECK enum mg_code mg_part_reader__block(struct mg_part_reader *reader, uint32_t column,
                                                 const struct mg_block **out, struct mg_error *err);
/* Decode one vector of the group to a buffer, which grows if it must (*room may be NULL at first). */
MG_MUST_CHECK enum mg_code mg_part_reader__vector(struct mg_part_reader *reader, uint32_t column, uint32_t vector,
                                                  struct mg_budget *budget, struct mg_buf **room, struct mg_vector *out,
                                                  struct mg_error *err);
static inline uint32_t mg_part_reader__rows(const struct mg_part_reader *reader, uint32_t granule)
{
    return MG_MIN(mg_part_row_count(reader->part) - granule * MG_CHUNK_ROWS, (uint32_t)MG_CHUNK_ROWS);
}
/* Decode a granule's columns into a new buffer; vectors[c] of columns that the part has. */
MG_MUST_CHECK enum mg_code mg_part_reader__load(struct mg_part_reader *reader, uint32_t granule,
                                                struct mg_budget *budget, struct mg_vector *vectors,
                                                struct mg_buf **out, struct mg_error *err);
/* The granule's rows that lie in the key range and are not deleted. */
void mg_part_reader__mask(const struct mg_part_reader *reader, uint32_t granule, const struct mg_marks *marks,
                          uint64_t mask[MG_CHUNK_ROWS / 64]);

#endif
