/* tidb_case.h -- a recorded binlog of a real TiDB as the syncer would meet it: transactions in commit order, and a
 * source that answers for the schema. Files of a case: tidb-binlog/README.md.
 *
 * The source answers as of a moment: jobs that finished later are not in its history yet, so that a test can replay the
 * past (the moment is the end) or live through it (the moment moves with the stream).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_GOLDEN_TIDB_CASE_H
#define MG_GOLDEN_TIDB_CASE_H

#include <json-c/json.h>

#include "syncer/sorter/sorter.h"
#include "syncer/source/source.h"

struct tidb_check {
    char name[64];
    uint64_t ts;
};

struct tidb_case {
    struct mg_source source; /* first: what mg_writer_options.source points to */
    char folder[512];
    uint8_t *bytes;      /* case.binlog */
    struct mg_txn *txns; /* committed, by commit_ts; borrow from bytes */
    size_t txn_count;
    size_t record_count, rollback_count;
    struct tidb_check *checks;
    size_t check_count;
    json_object *history; /* array of jobs, ascending id */
    json_object *schema;
    uint64_t moment_ts; /* UINT64_MAX: the end of the case, schema.json included */
    bool away;          /* the status port does not answer */
    unsigned fetch_count;
};

/* Ends the test with a message when the case cannot be read. */
struct tidb_case *tidb_case_load(const char *name);
void tidb_case_free(struct tidb_case *c);
/* Names of all cases, sorted; ends with NULL. */
char **tidb_case_names(void);

#endif
