/* prewrite.h -- walks a marshalled PrewriteValue: which tables it changes, and each table's row images in statement
 * order.
 *
 *     PrewriteValue   1 schema_version varint; 2 repeated TableMutation
 *     TableMutation   1 table_id; 2 inserted_rows; 3 updated_rows; 6 deleted_rows (repeated bytes); 7 sequence (packed
 *                     or not)
 *
 * `sequence` says which list the next row comes from; a walk has one cursor per list, so nothing is allocated or
 * copied. Fields 4, 5 (deletes by id, long obsolete) are refused; unknown fields are passed over.
 * Threads  values; borrowed bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_PREWRITE_H
#define MG_SYNCER_PREWRITE_H

#include "base/bytes.h"
#include "base/error.h"

struct mg_prewrite {
    int64_t schema_version;
    struct mg_reader rest; /* mutations not yet given */
};
struct mg_mutation {
    int64_t table_id;
    struct mg_slice body; /* the TableMutation */
};

/* Checks the outer message as a whole, so that a later mg_prewrite_next cannot fail; MG_PROTOCOL when it is
 * malformed. */
MG_MUST_CHECK enum mg_code mg_prewrite_open(struct mg_slice value, struct mg_prewrite *out, struct mg_error *err);
/* The next table's changes; false at the end. */
bool mg_prewrite_next(struct mg_prewrite *prewrite, struct mg_mutation *out);

enum mg_row_kind { MG_ROW_INSERT = 0, MG_ROW_UPDATE = 1, MG_ROW_DELETE = 4 }; /* MutationType's numbers */

struct mg_row_walk {
    struct mg_reader lists[3]; /* insert, update, delete: from each one's first field to its last */
    struct mg_reader sequence;
    struct mg_reader packed; /* inside a packed sequence field */
    bool is_obsolete;        /* it has rows in a form that is not read */
};

void mg_row_walk_init(struct mg_row_walk *walk, struct mg_slice mutation);
/* The next row image in statement order: MG_OK; MG_NOT_FOUND at the end; MG_PROTOCOL when message, sequence and lists
 * do not agree. */
MG_MUST_CHECK enum mg_code mg_row_walk_next(struct mg_row_walk *walk, enum mg_row_kind *out_kind,
                                            struct mg_slice *out_row, struct mg_error *err);

#endif
