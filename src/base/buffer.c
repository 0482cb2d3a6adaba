/* buffer.c -- grows by doubling, aligned to 64 bytes, never above its maximum.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGN = 64, FIRST = 256 };

void mg_buffer_init(struct mg_buffer *buffer, size_t max_bytes) { *buffer = (struct mg_buffer){.max = max_bytes}; }

void mg_buffer_clear(struct mg_buffer *buffer)
{
    if (!buffer)
        return;
    free(buffer->data);
    *buffer = (struct mg_buffer){.max = buffer->max};
}

enum mg_code mg_buffer_reserve(struct mg_buffer *buffer, size_t more, struct mg_error *err)
{
    if (more <= buffer->capacity - buffer->size)
        return MG_OK;
    if (more > buffer->max - buffer->size)
        return mg_fail(err, MG_TOO_BIG, "%zu bytes more would pass the limit of a buffer: %zu of %zu used", more,
                       buffer->size, buffer->max);
    size_t need = buffer->size + more;
    size_t capacity = buffer->capacity > SIZE_MAX / 2 ? need : MG_MAX(buffer->capacity * 2, (size_t)FIRST);
    capacity = MG_MAX(capacity, need);
    capacity = MG_MIN(capacity, buffer->max);
    if (capacity > SIZE_MAX - ALIGN)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a buffer of %zu bytes", capacity);
    uint8_t *data = aligned_alloc(ALIGN, (capacity + ALIGN - 1) / ALIGN * ALIGN);
    if (!data)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a buffer of %zu bytes", capacity);
    if (buffer->size)
        memcpy(data, buffer->data, buffer->size);
    free(buffer->data);
    buffer->data = data;
    buffer->capacity = capacity;
    return MG_OK;
}

enum mg_code mg_buffer_append(struct mg_buffer *buffer, const void *data, size_t size, struct mg_error *err)
{
    MG_TRY(mg_buffer_reserve(buffer, size, err));
    if (size)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    return MG_OK;
}

enum mg_code mg_buffer_append_zeros(struct mg_buffer *buffer, size_t size, struct mg_error *err)
{
    MG_TRY(mg_buffer_reserve(buffer, size, err));
    if (size)
        memset(buffer->data + buffer->size, 0, size);
    buffer->size += size;
    return MG_OK;
}

enum mg_code mg_buffer_append_u8(struct mg_buffer *buffer, uint8_t v, struct mg_error *err)
{
    return mg_buffer_append(buffer, &v, sizeof v, err);
}

enum mg_code mg_buffer_append_le32(struct mg_buffer *buffer, uint32_t v, struct mg_error *err)
{
    return mg_buffer_append(buffer, &v, sizeof v, err);
}

enum mg_code mg_buffer_append_le64(struct mg_buffer *buffer, uint64_t v, struct mg_error *err)
{
    return mg_buffer_append(buffer, &v, sizeof v, err);
}

enum mg_code mg_buffer_append_varint(struct mg_buffer *buffer, uint64_t v, struct mg_error *err)
{
    uint8_t bytes[MG_VARINT_MAX];
    return mg_buffer_append(buffer, bytes, mg_varint_put(bytes, v), err);
}

enum mg_code mg_buffer_append_bytes(struct mg_buffer *buffer, struct mg_slice bytes, struct mg_error *err)
{
    /* Both or none: the length must not stay behind without its bytes. */
    size_t room = bytes.size > SIZE_MAX - MG_VARINT_MAX ? SIZE_MAX : bytes.size;
    uint8_t length[MG_VARINT_MAX];
    size_t length_size = mg_varint_put(length, bytes.size);
    MG_TRY(mg_buffer_reserve(buffer, room == SIZE_MAX ? room : room + length_size, err));
    memcpy(buffer->data + buffer->size, length, length_size);
    if (bytes.size)
        memcpy(buffer->data + buffer->size + length_size, bytes.data, bytes.size);
    buffer->size += length_size + bytes.size;
    return MG_OK;
}

enum mg_code mg_buffer_printf(struct mg_buffer *buffer, struct mg_error *err, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf writes a terminator, for which there must be room, though it does not count. */
    enum mg_code code = length < 0 ? mg_fail(err, MG_INVALID, "a text cannot be formatted")
                                   : mg_buffer_reserve(buffer, (size_t)length + 1, err);
    if (code == MG_OK) {
        vsnprintf((char *)buffer->data + buffer->size, (size_t)length + 1, format, again);
        buffer->size += (size_t)length;
    }
    va_end(again);
    return code;
}
