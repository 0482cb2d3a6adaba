/* row.h -- TiDB's row images straight into the columns of a batch builder, by column id.
 *
 *     insert   handle datum(s), then (column id, value) pairs; a lone 00 instead of pairs: no column is listed
 *     update   pairs of the old row, then pairs of the new row: the second sight of an id is the new value
 *     delete   pairs of the old row
 *
 * Column ids are the source's, whatever the schema version of the row: an id that the table does not have any more is
 * passed over, a column that the row does not have takes the column's `missing` value, or in an insert its part of the
 * handle. An id that no schema known so far has shown is refused (MG_SCHEMA_CHANGED): its values would be lost.
 * Types    docs/design/tidb-types.md.
 * Memory   a decoder holds one row's values; nothing is allocated per row but by the builder.
 * Threads  a decoder belongs to one thread at a time; its schema is immutable.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_ROW_H
#define MG_SYNCER_ROW_H

#include "column/batch.h"
#include "syncer/decoder/prewrite.h"

struct mg_row_decoder;

/* Takes a reference to the schema, which has columns. */
MG_MUST_CHECK enum mg_code mg_row_decoder_new(struct mg_schema *schema, struct mg_row_decoder **out,
                                              struct mg_error *err);
void mg_row_decoder_free(struct mg_row_decoder *decoder); /* NULL is allowed */

/* Column ids up to this one were shown by a finished schema change (a table's ids only rise): one that is not in the
 * schema was dropped. At first: the highest id in the schema. */
void mg_row_decoder_show(struct mg_row_decoder *decoder, int64_t column_id);

/* One row image to the end of every column of the builder, whose types are the schema's, all or nothing:
 *   MG_PROTOCOL        the image is malformed, or a value does not fit its column
 *   MG_UNIMPLEMENTED   a value that this version cannot keep where it stands (a zero date in a key, text keys without
 *                      collations)
 *   MG_SCHEMA_CHANGED  a column id above what was shown; *out_column_id says which
 * In these three cases the builder is as it was, and the table cannot be followed. Other codes are the builder's: then
 * it can only be cleared. */
MG_MUST_CHECK enum mg_code mg_row_decode(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_slice row,
                                         struct mg_batch_builder *builder, int64_t *out_column_id,
                                         struct mg_error *err);
/* The row as the source says it was before an update or delete: the first half of an update, all of a delete. Appended
 * like a row, if the image tells all columns of the schema and all can be kept; else *out_whole is false, the builder
 * as it was, and nothing is wrong. Errors are the builder's: then it can only be cleared. */
MG_MUST_CHECK enum mg_code mg_row_decode_old(struct mg_row_decoder *decoder, enum mg_row_kind kind, struct mg_slice row,
                                             struct mg_batch_builder *builder, bool *out_whole, struct mg_error *err);

#endif
