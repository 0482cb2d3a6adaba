/* batch_internal.h -- the batch that builders and the IPC decoder make: one heap block, its buffers, its reservation.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_BATCH_INTERNAL_H
#define MG_COLUMN_BATCH_INTERNAL_H

#include "column/batch.h"

/* Owns its buffers; may borrow others from a batch that it keeps. */
struct mg_batch__owned {
    struct mg_batch batch;
    struct mg_budget *budget;
    size_t reserved_bytes;  /* given back when freed */
    struct mg_batch *under; /* may be NULL */
    uint32_t buffer_count;
    void **buffers;
};

/* Zeroed vectors, room for buffers_max buffers; NULL when the heap is out. */
struct mg_batch__owned *mg_batch__new(uint32_t row_count, uint32_t column_count, uint32_t buffers_max,
                                      struct mg_budget *budget);
/* Reserve and allocate; the batch owns it. size_bytes is rounded up to 64, the memory is not set. */
MG_MUST_CHECK enum mg_code mg_batch__alloc(struct mg_batch__owned *owned, size_t size_bytes, uint8_t **out,
                                           struct mg_error *err);
/* For MG_CLEANUP while it has no other references. */
void mg_batch__discard(struct mg_batch__owned **owned);

/* 64 zero bytes: what empty buffers point to, so that no pointer is NULL where something may add 0 to it. */
extern const uint8_t mg_batch__zeros[64];

#endif
