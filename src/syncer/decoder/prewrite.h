/* prewrite.h -- walks a marshalled PrewriteValue: which tables it changes, and each table's row images in statement
 * order.
 *
 *     PrewriteValue   1 schema_version varint; 2 repeated TableMutation
 *     TableMutation   1 table_id; 2 inserted_rows; 3 updated_rows; 6 deleted_rows (repeated bytes); 7 sequence (packed
 *                     or not)
 *
 * `sequence` says which list the next row comes from; a walk has one cursor per list, so nothing is allocated or
 * copied where the message is in memory. One that is not is read through a window per cursor (base/span.h): memory is
 * bounded by the largest row, not by the message. Fields 4, 5 (deletes by id, long obsolete) are refused; unknown
 * fields are passed over.
 * Errors   MG_PROTOCOL: the message; others are those of reading one that is not in memory.
 * Threads  values; borrowed bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_PREWRITE_H
#define MG_SYNCER_PREWRITE_H

#include "base/span.h"

/* Zeroed memory may be cleared. */
struct mg_prewrite {
    int64_t schema_version;
    struct mg_span value;       /* all */
    struct mg_span_reader rest; /* mutations not yet given */
};
struct mg_mutation {
    int64_t table_id;
    struct mg_span body; /* the TableMutation */
};

/* Checks the outer message as a whole, so that a later mg_prewrite_next finds no fault with it; MG_PROTOCOL when it is
 * malformed. After any answer it is cleared. */
MG_MUST_CHECK enum mg_code mg_prewrite_open(const struct mg_span *value, struct mg_prewrite *out, struct mg_error *err);
void mg_prewrite_clear(struct mg_prewrite *prewrite);
/* Back to the first mutation. */
void mg_prewrite_rewind(struct mg_prewrite *prewrite);
/* The next table's changes; MG_NOT_FOUND at the end. */
MG_MUST_CHECK enum mg_code mg_prewrite_next(struct mg_prewrite *prewrite, struct mg_mutation *out,
                                            struct mg_error *err);

enum mg_row_kind { MG_ROW_INSERT = 0, MG_ROW_UPDATE = 1, MG_ROW_DELETE = 4 }; /* MutationType's numbers */

/* Zeroed memory may be opened and cleared. */
struct mg_row_walk {
    struct mg_span_reader lists[3]; /* insert, update, delete: from each one's first field to its last */
    struct mg_span_reader sequence;
    struct mg_span_reader packed; /* inside a packed sequence field */
    bool is_obsolete;             /* it has rows in a form that is not read */
};

/* Reads the message once; what is wrong with it is told by the last mg_row_walk_next. After any answer it is cleared,
 * or opened again. */
MG_MUST_CHECK enum mg_code mg_row_walk_open(struct mg_row_walk *walk, const struct mg_span *mutation,
                                            struct mg_error *err);
void mg_row_walk_clear(struct mg_row_walk *walk);
/* The next row image in statement order, borrowed until the next call: MG_OK; MG_NOT_FOUND at the end; MG_PROTOCOL when
 * message, sequence and lists do not agree. */
MG_MUST_CHECK enum mg_code mg_row_walk_next(struct mg_row_walk *walk, enum mg_row_kind *out_kind,
                                            struct mg_slice *out_row, struct mg_error *err);

#endif
