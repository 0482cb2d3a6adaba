/* metadata.c -- names and values of HTTP/2 headers, and the codings that gRPC puts in them.
 *
 * Input   from outside: nothing is trusted; sizes are bounded by the arena and by the caller's count.
 * Source  gRPC over HTTP/2 (Percent-Encoding, Timeout, Binary-Header); RFC 9113 section 8.2.1; RFC 4648.
 * Threads values; a list belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "grpc/grpc_internal.h"

enum { HEADER_COST = 32 }; /* what HTTP/2 adds to name and value in SETTINGS_MAX_HEADER_LIST_SIZE */

static bool ends_in_bin(struct mg_slice name)
{
    return name.size > 4 && memcmp(name.data + name.size - 4, "-bin", 4) == 0;
}

static enum mg_code append(struct mg_grpc__headers *headers, struct mg_arena *arena, struct mg_slice name,
                           struct mg_slice value, struct mg_slice binary, struct mg_error *err)
{
    struct mg_grpc__header *header = mg_arena_new(arena, struct mg_grpc__header);
    char *name_text = mg_arena_text(arena, name);
    char *value_text = mg_arena_text(arena, value);
    if (!header || !name_text || !value_text)
        return mg_arena_fail(arena, err);
    *header = (struct mg_grpc__header){
        .name = name_text, .value = value_text, .name_size = name.size, .value_size = value.size, .binary = binary};
    if (headers->last)
        headers->last->next = header;
    else
        headers->first = header;
    headers->last = header;
    headers->count++;
    headers->size_bytes += name.size + value.size + HEADER_COST;
    return MG_OK;
}

enum mg_code mg_grpc__headers_add(struct mg_grpc__headers *headers, struct mg_arena *arena, struct mg_slice name,
                                  struct mg_slice value, struct mg_error *err)
{
    struct mg_slice binary = MG_SLICE(NULL, 0);
    if (ends_in_bin(name)) {
        uint8_t *bytes = mg_arena_alloc(arena, value.size / 4 * 3 + 3);
        if (!bytes)
            return mg_arena_fail(arena, err);
        if (!mg_grpc__base64_decode(value, bytes, &binary.size))
            return mg_fail(err, MG_INVALID, "the header %.*s is not base64", (int)MG_MIN(name.size, (size_t)64),
                           (const char *)name.data);
        binary.data = bytes;
    }
    return append(headers, arena, name, value, binary, err);
}

const struct mg_grpc__header *mg_grpc__headers_find(const struct mg_grpc__headers *headers, const char *name)
{
    size_t size = strlen(name);
    for (const struct mg_grpc__header *header = headers->first; header; header = header->next)
        if (header->name_size == size && memcmp(header->name, name, size) == 0)
            return header;
    return NULL;
}

static bool name_byte(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static enum mg_code check_own(const struct mg_grpc__headers *headers, const char *name, struct mg_slice value,
                              struct mg_error *err)
{
    struct mg_slice n = mg_slice_text(name);
    bool good = n.size > 0 && strncmp(name, "grpc-", 5) != 0;
    for (size_t i = 0; good && i < n.size; i++)
        good = name_byte(n.data[i]);
    if (!good)
        return mg_fail(err, MG_INVALID, "\"%s\" cannot name a header: lower-case letters, digits, - _ . and not grpc-",
                       name);
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e)
            return mg_fail(err, MG_INVALID,
                           "the value of the header %s is not printable ASCII; use a name ending in -bin", name);
    size_t size_bytes = headers->size_bytes + n.size + value.size + HEADER_COST;
    if (size_bytes > MG_GRPC__HEADERS_MAX)
        return mg_fail(err, MG_TOO_BIG, "the header %s makes the list %zu bytes, more than %d", name, size_bytes,
                       (int)MG_GRPC__HEADERS_MAX);
    return MG_OK;
}

enum mg_code mg_grpc__headers_add_own(struct mg_grpc__headers *headers, struct mg_arena *arena, const char *name,
                                      const char *value, struct mg_error *err)
{
    MG_TRY(check_own(headers, name, mg_slice_text(value), err));
    return mg_grpc__headers_add(headers, arena, mg_slice_text(name), mg_slice_text(value), err);
}

enum mg_code mg_grpc__headers_add_binary(struct mg_grpc__headers *headers, struct mg_arena *arena, const char *name,
                                         struct mg_slice value, struct mg_error *err)
{
    if (!ends_in_bin(mg_slice_text(name)))
        return mg_fail(err, MG_INVALID, "the name of a binary header must end in -bin, not \"%s\"", name);
    if (value.size > MG_GRPC__HEADERS_MAX)
        return mg_fail(err, MG_TOO_BIG, "the value of the header %s has %zu bytes, more than %d", name, value.size,
                       (int)MG_GRPC__HEADERS_MAX);
    char *text = mg_arena_alloc(arena, mg_grpc__base64_size(value.size));
    if (!text)
        return mg_arena_fail(arena, err);
    struct mg_slice coded = MG_SLICE(text, mg_grpc__base64_encode(value, text));
    MG_TRY(check_own(headers, name, coded, err));
    return mg_grpc__headers_add(headers, arena, mg_slice_text(name), coded, err);
}

bool mg_grpc__header_valid(struct mg_slice name, struct mg_slice value)
{
    size_t colon = name.size > 0 && name.data[0] == ':';
    if (name.size == colon)
        return false;
    for (size_t i = colon; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (c <= 0x20 || c >= 0x7f || c == ':' || (c >= 'A' && c <= 'Z'))
            return false;
    }
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] == 0 || value.data[i] == '\r' || value.data[i] == '\n')
            return false;
    return true;
}

/* nghttp2 takes pointers to bytes it does not change, but not const ones. */
static uint8_t *plain(const char *text) { return (uint8_t *)(uintptr_t)text; }

nghttp2_nv mg_grpc__nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = plain(name), .namelen = strlen(name), .value = plain(value), .valuelen = strlen(value)};
}

nghttp2_nv mg_grpc__nv_header(const struct mg_grpc__header *header)
{
    return (nghttp2_nv){.name = plain(header->name),
                        .namelen = header->name_size,
                        .value = plain(header->value),
                        .valuelen = header->value_size};
}

size_t mg_grpc__percent_encode(const char *text, char out[static MG_GRPC__ENCODED_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    char *at = out;
    for (const uint8_t *p = (const uint8_t *)text; *p && at + 4 <= out + MG_GRPC__ENCODED_MAX; p++) {
        if (*p >= 0x20 && *p <= 0x7e && *p != '%') {
            *at++ = (char)*p;
        } else {
            *at++ = '%';
            *at++ = hex[*p >> 4];
            *at++ = hex[*p & 15];
        }
    }
    *at = 0;
    return (size_t)(at - out);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

void mg_grpc__percent_decode(struct mg_slice text, char *out, size_t out_size)
{
    size_t used = 0;
    for (size_t i = 0; i < text.size && used + 1 < out_size; i++) {
        int high = -1, low = -1;
        if (text.data[i] == '%' && i + 2 < text.size) {
            high = hex_digit(text.data[i + 1]);
            low = hex_digit(text.data[i + 2]);
        }
        if (high >= 0 && low >= 0) {
            out[used++] = (char)(high << 4 | low);
            i += 2;
        } else {
            out[used++] = (char)text.data[i];
        }
    }
    out[used] = 0;
}

bool mg_grpc__timeout_parse(struct mg_slice text, int64_t *out_ms)
{
    if (text.size < 2 || text.size > 9)
        return false;
    int64_t n = 0;
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (text.data[i] - '0');
    }
    switch (text.data[text.size - 1]) {
    case 'H': *out_ms = n * 3600000; return true;
    case 'M': *out_ms = n * 60000; return true;
    case 'S': *out_ms = n * 1000; return true;
    case 'm': *out_ms = n; return true;
    case 'u': *out_ms = (n + 999) / 1000; return true;
    case 'n': *out_ms = (n + 999999) / 1000000; return true;
    default: return false;
    }
}

void mg_grpc__timeout_format(int64_t timeout_ms, char out[16])
{
    static const struct {
        int64_t ms;
        char unit;
    } units[] = {{1, 'm'}, {1000, 'S'}, {60000, 'M'}, {3600000, 'H'}};
    timeout_ms = MG_MAX(timeout_ms, (int64_t)0);
    size_t u = 0;
    while (u + 1 < MG_COUNT_OF(units) && timeout_ms / units[u].ms > 99999999)
        u++;
    snprintf(out, 16, "%lld%c", (long long)MG_MIN(timeout_ms / units[u].ms, (int64_t)99999999), units[u].unit);
}

size_t mg_grpc__base64_size(size_t size) { return (size + 2) / 3 * 4 + 1; }

size_t mg_grpc__base64_encode(struct mg_slice bytes, char *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = out;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t n = MG_MIN(bytes.size - i, (size_t)3);
        uint32_t v = (uint32_t)bytes.data[i] << 16;
        if (n > 1)
            v |= (uint32_t)bytes.data[i + 1] << 8;
        if (n > 2)
            v |= bytes.data[i + 2];
        for (size_t k = 0; k <= n; k++)
            *at++ = alphabet[v >> (18 - 6 * k) & 63];
    }
    *at = 0;
    return (size_t)(at - out);
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    if (c == '/')
        return 63;
    return -1;
}

bool mg_grpc__base64_decode(struct mg_slice text, uint8_t *out, size_t *out_size)
{
    size_t size = text.size;
    if (size % 4 == 0)
        for (int pad = 0; pad < 2 && size > 0 && text.data[size - 1] == '='; pad++)
            size--;
    if (size % 4 == 1)
        return false;
    uint32_t v = 0;
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0)
            return false;
        v = v << 6 | (uint32_t)digit;
        if (i % 4 != 0)
            out[used++] = (uint8_t)(v >> (6 - 2 * (i % 4)));
    }
    *out_size = used;
    return true;
}

enum mg_code mg_grpc__code_of_status(int status)
{
    switch (status) {
    case MG_GRPC_OK: return MG_OK;
    case MG_GRPC_CANCELLED: return MG_CANCELLED;
    case MG_GRPC_INVALID_ARGUMENT:
    case MG_GRPC_FAILED_PRECONDITION:
    case MG_GRPC_OUT_OF_RANGE: return MG_INVALID;
    case MG_GRPC_DEADLINE_EXCEEDED: return MG_TIMEOUT;
    case MG_GRPC_NOT_FOUND: return MG_NOT_FOUND;
    case MG_GRPC_ALREADY_EXISTS: return MG_EXISTS;
    case MG_GRPC_PERMISSION_DENIED: return MG_DENIED;
    case MG_GRPC_RESOURCE_EXHAUSTED: return MG_TOO_BIG;
    case MG_GRPC_ABORTED: return MG_BUSY;
    case MG_GRPC_UNIMPLEMENTED: return MG_UNIMPLEMENTED;
    case MG_GRPC_UNAVAILABLE: return MG_UNAVAILABLE;
    case MG_GRPC_DATA_LOSS: return MG_CORRUPT;
    case MG_GRPC_UNAUTHENTICATED: return MG_UNAUTHENTICATED;
    default: return MG_INTERNAL;
    }
}

const char *mg_grpc__status_text(int status)
{
    static const char *const texts[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                        "9", "10", "11", "12", "13", "14", "15", "16"};
    return status >= 0 && status < (int)MG_COUNT_OF(texts) ? texts[status] : "2";
}
