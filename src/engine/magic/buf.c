/* buf.c -- counted memory that chunk versions share: a line of header, then bytes aligned to 64.
 *
 * Errors   MG_NO_MEMORY from the budget or the heap.
 * Threads  references from any thread; who may write the bytes says magic_internal.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/magic_internal.h"

enum { HEADER_BYTES = 64 };

enum mg_code mg_buf__new(struct mg_budget *budget, size_t capacity, struct mg_buf **out, struct mg_error *err)
{
    capacity = (MG_MAX(capacity, (size_t)1) + 63) & ~(size_t)63;
    MG_TRY(mg_budget_reserve(budget, HEADER_BYTES + capacity, err));
    struct mg_buf *buf = aligned_alloc(64, HEADER_BYTES + capacity);
    if (!buf) {
        mg_budget_release(budget, HEADER_BYTES + capacity);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a column of %zu bytes", capacity);
    }
    atomic_init(&buf->references, 1);
    buf->budget = budget;
    buf->capacity = capacity;
    *out = buf;
    return MG_OK;
}

struct mg_buf *mg_buf__ref(struct mg_buf *buf)
{
    if (buf)
        atomic_fetch_add_explicit(&buf->references, 1, memory_order_relaxed);
    return buf;
}

void mg_buf__unref(struct mg_buf *buf)
{
    if (!buf || atomic_fetch_sub_explicit(&buf->references, 1, memory_order_acq_rel) != 1)
        return;
    mg_budget_release(buf->budget, HEADER_BYTES + buf->capacity);
    free(buf);
}
