/* stage.h -- the changes of one table that wait for the epoch to be cut: decoded, in the source's order, in batches.
 *
 * A stage can give back everything of the newest transaction, so that a transaction is staged as a whole or not at all.
 * Rows of one that is too large to wait go to the engine's epoch as they are decoded (MG_STAGING_PUT): then the epoch
 * takes them back. Whatever the message's size, so many bytes of rows are in memory: batch_bytes_max of each stage.
 * Once a table cannot be followed any more, its stage is `lost`: it holds no rows and takes none, and the epoch makes
 * the table needs-reload.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_STAGE_H
#define MG_SYNCER_STAGE_H

#include "engine/engine.h"
#include "syncer/decoder/row.h"

/* Rows that are ready to be handed to the engine. */
struct mg_stage_batch {
    struct mg_batch *rows;
    uint8_t *ops;         /* rows->row_count of enum mg_change_op */
    struct mg_batch *old; /* what the source says some of them were; NULL: nothing */
    uint32_t *old_rows;   /* old->row_count: whose */
};

/* What becomes of decoded rows. */
enum mg_staging_mode {
    MG_STAGING_KEEP, /* they wait; more than txn_bytes_max of one transaction are MG_TOO_BIG, and too_big says why */
    MG_STAGING_PUT,  /* full batches go to the epoch */
    MG_STAGING_DROP, /* they are only looked at */
};

/* What all stages of a writer share. */
struct mg_staging {
    /* old images of one in so many changed rows are kept, to be compared; 0: none; any thread */
    _Atomic uint32_t one_in;
    uint64_t seen; /* updates and deletes */
    enum mg_staging_mode mode;
    struct mg_epoch *epoch; /* PUT */
    size_t bytes;           /* of decoded rows that wait in all stages */
    size_t txn_bytes;       /* what the newest transaction added; its beginning makes it 0 */
    size_t txn_bytes_max, batch_bytes_max;
    bool too_big;
};

/* Owns everything. */
struct mg_stage {
    struct mg_schema *schema;
    struct mg_row_decoder *decoder;
    struct mg_batch_builder builder; /* the newest rows, */
    struct mg_buffer ops;            /* and what they are */
    struct mg_batch_builder old;     /* old images of some of them, */
    struct mg_buffer old_rows;       /* and whose: u32 */
    struct mg_staging *staging;      /* borrowed */
    struct mg_stage_batch *batches;  /* older ones */
    uint32_t batch_count, batch_room;
    size_t batch_bytes;     /* in batches */
    size_t bytes;           /* in batches and builders, as staging->bytes has it */
    uint64_t row_count;     /* in batches and builder */
    uint64_t txn;           /* the last transaction that changed it */
    uint64_t rows_before;   /* rows before that transaction */
    char *lost_reason;      /* NULL: all is well */
    uint64_t good_until_ts; /* lost: snapshots up to here are good, if they were published */
    bool queued;            /* the epoch knows it */
};

MG_MUST_CHECK enum mg_code mg_stage_new(struct mg_schema *schema, struct mg_budget *budget, struct mg_staging *staging,
                                        struct mg_stage **out, struct mg_error *err);
void mg_stage_free(struct mg_stage *stage); /* NULL is allowed */

/* All rows of one TableMutation, as part of transaction number txn. Returns what mg_row_decode, mg_row_walk_next and,
 * in mode PUT, the engine's put return, and MG_TOO_BIG; after any of their errors the transaction's rows are incomplete
 * here: roll back, drop or lose. *inout_rows grows by what was decoded. */
MG_MUST_CHECK enum mg_code mg_stage_mutation(struct mg_stage *stage, uint64_t txn, const struct mg_span *mutation,
                                             uint64_t *inout_rows, int64_t *out_column_id, struct mg_error *err);
/* Give up the rows of transaction txn, if it changed this stage last. */
MG_MUST_CHECK enum mg_code mg_stage_rollback(struct mg_stage *stage, uint64_t txn, struct mg_error *err);
/* Give up all rows. */
MG_MUST_CHECK enum mg_code mg_stage_drop(struct mg_stage *stage, struct mg_error *err);
/* No row of it can be kept: the first reason counts. */
MG_MUST_CHECK enum mg_code mg_stage_lose(struct mg_stage *stage, const char *reason, uint64_t good_until_ts,
                                         struct mg_error *err);
/* Hand everything to the epoch; the stage is empty afterwards. After an error it can only be freed. */
MG_MUST_CHECK enum mg_code mg_stage_put(struct mg_stage *stage, struct mg_epoch *epoch, struct mg_error *err);

#endif
