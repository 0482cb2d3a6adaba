/* bytes.h -- slices of bytes, and numbers in them: fixed little and big endian, varints, all bounds-checked by a
 * reader.
 *
 * mg_load/mg_store take any alignment. struct mg_reader never reads past its end: the first short read makes it
 * `failed`, and from then on every read gives zero, so that a decoder may check once per record.
 * Threads  values; no shared state.
 * Source   varints: Protocol Buffers wire format (base 128, low group first), zigzag for signed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_BYTES_H
#define MG_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes; data may be NULL when size is 0. Lives as long as what it was made from. */
struct mg_slice {
    const uint8_t *data;
    size_t size; /* bytes */
};

#define MG_SLICE(pointer, size_bytes) ((struct mg_slice){(const uint8_t *)(pointer), (size_bytes)})
static inline struct mg_slice mg_slice_text(const char *text)
{
    return (struct mg_slice){(const uint8_t *)text, text ? strlen(text) : 0};
}
static inline bool mg_slice_equal(struct mg_slice a, struct mg_slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
/* memcmp order, a prefix before what it is a prefix of. */
static inline int mg_slice_compare(struct mg_slice a, struct mg_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

#define MG_LOAD_STORE_(bits, type)                                                                                  \
    static inline type mg_load_le##bits(const void *p)                                                              \
    {                                                                                                               \
        type v;                                                                                                     \
        memcpy(&v, p, sizeof v);                                                                                    \
        return v;                                                                                                   \
    }                                                                                                               \
    static inline void mg_store_le##bits(void *p, type v) { memcpy(p, &v, sizeof v); }                              \
    static inline type mg_load_be##bits(const void *p) { return (type)__builtin_bswap##bits(mg_load_le##bits(p)); } \
    static inline void mg_store_be##bits(void *p, type v) { mg_store_le##bits(p, (type)__builtin_bswap##bits(v)); }
MG_LOAD_STORE_(16, uint16_t)
MG_LOAD_STORE_(32, uint32_t)
MG_LOAD_STORE_(64, uint64_t)
#undef MG_LOAD_STORE_
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Magic's memory and file layouts are little endian");

static inline uint64_t mg_zigzag_encode(int64_t v) { return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63); }
static inline int64_t mg_zigzag_decode(uint64_t v) { return (int64_t)(v >> 1) ^ -(int64_t)(v & 1); }

enum { MG_VARINT_MAX = 10 }; /* bytes of the longest varint */

/* Write v at p, which has room for MG_VARINT_MAX bytes; returns the bytes used. */
static inline size_t mg_varint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)v | 0x80;
    p[n++] = (uint8_t)v;
    return n;
}

struct mg_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed; /* sticky: something was cut short or overlong */
};

static inline struct mg_reader mg_reader_of(struct mg_slice s)
{
    return (struct mg_reader){.at = s.data, .end = s.size ? s.data + s.size : s.data}; /* NULL + 0 is not defined */
}
static inline size_t mg_reader_left(const struct mg_reader *r) { return (size_t)(r->end - r->at); }
/* The next size bytes, or an empty slice and failed. */
static inline struct mg_slice mg_reader_take(struct mg_reader *r, uint64_t size)
{
    if (r->failed || size > mg_reader_left(r)) {
        r->failed = true;
        return (struct mg_slice){NULL, 0};
    }
    struct mg_slice s = {r->at, (size_t)size};
    r->at = size ? r->at + size : r->at;
    return s;
}
#define MG_READER_(name, bits)                                               \
    static inline uint##bits##_t mg_reader_##name##bits(struct mg_reader *r) \
    {                                                                        \
        struct mg_slice s = mg_reader_take(r, bits / 8);                     \
        return r->failed ? 0 : mg_load_##name##bits(s.data);                 \
    }
MG_READER_(le, 16)
MG_READER_(le, 32)
MG_READER_(le, 64)
MG_READER_(be, 16)
MG_READER_(be, 32)
MG_READER_(be, 64)
#undef MG_READER_
static inline uint8_t mg_reader_u8(struct mg_reader *r)
{
    struct mg_slice s = mg_reader_take(r, 1);
    return r->failed ? 0 : s.data[0];
}
static inline uint64_t mg_reader_varint(struct mg_reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t b = mg_reader_u8(r);
        if (r->failed || (shift == 63 && b > 1))
            break;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    r->failed = true;
    return 0;
}
/* A varint length, then that many bytes. */
static inline struct mg_slice mg_reader_bytes(struct mg_reader *r) { return mg_reader_take(r, mg_reader_varint(r)); }

#endif
