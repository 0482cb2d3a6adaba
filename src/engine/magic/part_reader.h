/* part_reader.h -- a part's rows as columns in Arrow's layout, a granule (MG_CHUNK_ROWS rows) at a time.
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
};

MG_MUST_CHECK enum mg_code mg_part_reader__enter(struct mg_part_reader *reader, struct mg_part *part,
                                                 const int32_t *places, uint32_t column_count,
                                                 struct mg_key_range range, struct mg_error *err);
void mg_part_reader__leave(struct mg_part_reader *reader);
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
