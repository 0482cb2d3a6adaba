/* stage.h -- the changes of one table that wait for the epoch to be cut: decoded, in the source's order, in batches.
 *
 * A stage can give back everything of the newest transaction, so that a transaction is staged as a whole or not at all.
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

/* Which rows' old images are kept, for the engine to compare: one in so many, over all stages of a writer. */
struct mg_stage_sampler {
    _Atomic uint32_t one_in; /* 0: none; any thread */
    uint64_t seen;           /* updates and deletes */
};

/* Owns everything. */
struct mg_stage {
    struct mg_schema *schema;
    struct mg_row_decoder *decoder;
    struct mg_batch_builder builder;  /* the newest rows, */
    struct mg_buffer ops;             /* and what they are */
    struct mg_batch_builder old;      /* old images of some of them, */
    struct mg_buffer old_rows;        /* and whose: u32 */
    struct mg_stage_sampler *sampler; /* borrowed */
    struct mg_stage_batch *batches;   /* older ones */
    uint32_t batch_count, batch_room;
    uint64_t row_count;     /* in batches and builder */
    uint64_t txn;           /* the last transaction that changed it */
    uint64_t rows_before;   /* rows before that transaction */
    char *lost_reason;      /* NULL: all is well */
    uint64_t good_until_ts; /* lost: snapshots up to here are good, if they were published */
    bool queued;            /* the epoch knows it */
};

MG_MUST_CHECK enum mg_code mg_stage_new(struct mg_schema *schema, struct mg_budget *budget,
                                        struct mg_stage_sampler *sampler, struct mg_stage **out, struct mg_error *err);
void mg_stage_free(struct mg_stage *stage); /* NULL is allowed */

/* All rows of one TableMutation, as part of transaction number txn. Returns what mg_row_decode and mg_row_walk_next
 * return; after any of their errors the transaction's rows are incomplete here: roll back or lose. */
MG_MUST_CHECK enum mg_code mg_stage_mutation(struct mg_stage *stage, uint64_t txn, struct mg_slice mutation,
                                             int64_t *out_column_id, struct mg_error *err);
/* Give up the rows of transaction txn, if it changed this stage last. */
MG_MUST_CHECK enum mg_code mg_stage_rollback(struct mg_stage *stage, uint64_t txn, struct mg_error *err);
/* No row of it can be kept: the first reason counts. */
MG_MUST_CHECK enum mg_code mg_stage_lose(struct mg_stage *stage, const char *reason, uint64_t good_until_ts,
                                         struct mg_error *err);
/* Hand everything to the epoch; the stage is empty afterwards. After an error it can only be freed. */
MG_MUST_CHECK enum mg_code mg_stage_put(struct mg_stage *stage, struct mg_epoch *epoch, struct mg_error *err);

#endif
