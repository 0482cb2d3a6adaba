/* buffer.h -- a byte buffer that grows up to a maximum.
 *
 * Invariants  size <= capacity <= max; data is aligned to 64 bytes or NULL while capacity is 0.
 * At the maximum an append fails with MG_TOO_BIG and leaves the buffer as it was.
 * Threads     owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_BUFFER_H
#define MG_BASE_BUFFER_H

#include "base/bytes.h"
#include "base/error.h"

struct mg_buffer {
    uint8_t *data;
    size_t size, capacity, max; /* bytes */
};

void mg_buffer_init(struct mg_buffer *buffer, size_t max_bytes);
/* Frees; the buffer may be used again. NULL is allowed. */
void mg_buffer_clear(struct mg_buffer *buffer);
/* size becomes 0, the memory stays. */
static inline void mg_buffer_reset(struct mg_buffer *buffer) { buffer->size = 0; }
/* Room for more bytes behind size; MG_TOO_BIG above max, MG_NO_MEMORY when the heap is out. */
MG_MUST_CHECK enum mg_code mg_buffer_reserve(struct mg_buffer *buffer, size_t more, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append(struct mg_buffer *buffer, const void *data, size_t size,
                                            struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append_zeros(struct mg_buffer *buffer, size_t size, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append_u8(struct mg_buffer *buffer, uint8_t v, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append_le32(struct mg_buffer *buffer, uint32_t v, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append_le64(struct mg_buffer *buffer, uint64_t v, struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_append_varint(struct mg_buffer *buffer, uint64_t v, struct mg_error *err);
/* varint length, then the bytes: what mg_reader_bytes reads. */
MG_MUST_CHECK enum mg_code mg_buffer_append_bytes(struct mg_buffer *buffer, struct mg_slice bytes,
                                                  struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_buffer_printf(struct mg_buffer *buffer, struct mg_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static inline struct mg_slice mg_buffer_slice(const struct mg_buffer *buffer)
{
    return MG_SLICE(buffer->data, buffer->size);
}

#endif
