/* grpc_wire.h -- HTTP/2 frames by hand, good and bad ones: for tests of the server and for the corpus of its fuzz
 * target.
 *
 * A struct wire collects bytes to send; `peer` is its socket in tests. Frames that come back are read one by one;
 * header blocks are decoded, because the state of HPACK goes through a whole connection.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_GRPC_GRPC_WIRE_H
#define MG_GRPC_GRPC_WIRE_H

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "grpc/grpc_internal.h"

enum { WIRE_MAX = 64 << 20, WIRE_FRAME_HEAD = 9 };

struct wire {
    struct mg_buffer out;
    nghttp2_hd_deflater *deflater;
    nghttp2_hd_inflater *inflater;
    int peer; /* -1: none */
};

/* A frame from the server. */
struct wire_frame {
    uint8_t type, flags;
    int32_t stream_id;
    size_t size;
    uint8_t payload[1 << 16];
    char status[16], http_status[16], message[1024], code[64]; /* of HEADERS; "" when they are not there */
    size_t header_count;
};

static inline void wire_must(bool good)
{
    if (!good)
        abort();
}

static inline void wire_init(struct wire *wire)
{
    *wire = (struct wire){.peer = -1};
    mg_buffer_init(&wire->out, WIRE_MAX);
    wire_must(nghttp2_hd_deflate_new(&wire->deflater, 4096) == 0);
    wire_must(nghttp2_hd_inflate_new(&wire->inflater) == 0);
}

static inline void wire_clear(struct wire *wire)
{
    nghttp2_hd_deflate_del(wire->deflater);
    nghttp2_hd_inflate_del(wire->inflater);
    mg_buffer_clear(&wire->out);
    if (wire->peer >= 0)
        close(wire->peer);
    wire->peer = -1;
}

static inline void wire_bytes(struct wire *wire, const void *bytes, size_t size)
{
    wire_must(mg_buffer_append(&wire->out, bytes, size, NULL) == MG_OK);
}

static inline void wire_frame(struct wire *wire, uint8_t type, uint8_t flags, int32_t stream_id, const void *payload,
                              size_t size)
{
    uint8_t head[WIRE_FRAME_HEAD] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, type, flags};
    mg_store_be32(head + 5, (uint32_t)stream_id);
    wire_bytes(wire, head, sizeof head);
    wire_bytes(wire, payload, size);
}

/* Preface and SETTINGS; window: INITIAL_WINDOW_SIZE. */
static inline void wire_hello(struct wire *wire, uint32_t window)
{
    uint8_t settings[6] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE};
    mg_store_be32(settings + 2, window);
    wire_bytes(wire, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    wire_frame(wire, NGHTTP2_SETTINGS, 0, 0, settings, sizeof settings);
}

/* names_and_values: pairs, ended by NULL. */
static inline void wire_headers(struct wire *wire, int32_t stream_id, uint8_t flags, const char *const *pairs)
{
    static uint8_t block[1 << 17];
    nghttp2_nv nv[64];
    size_t count = 0;
    for (; pairs[count * 2]; count++)
        nv[count] = mg_grpc__nv(pairs[count * 2], pairs[count * 2 + 1]);
    ssize_t size = nghttp2_hd_deflate_hd(wire->deflater, block, sizeof block, nv, count);
    wire_must(size >= 0);
    uint8_t type = NGHTTP2_HEADERS;
    for (size_t at = 0; at == 0 || at < (size_t)size; type = NGHTTP2_CONTINUATION) {
        size_t n = MG_MIN((size_t)size - at, (size_t)16384);
        bool last = at + n == (size_t)size;
        uint8_t these = (uint8_t)((type == NGHTTP2_HEADERS ? flags : 0) | (last ? NGHTTP2_FLAG_END_HEADERS : 0));
        wire_frame(wire, type, these, stream_id, block + at, n);
        at += n;
        if (last)
            break;
    }
}

/* A request for path; one more header when name is not NULL. */
static inline void wire_request(struct wire *wire, int32_t stream_id, const char *path, const char *name,
                                const char *value)
{
    const char *const pairs[] = {":method",    "POST",      ":scheme", "http",     ":path",        path,
                                 ":authority", "localhost", "te",      "trailers", "content-type", "application/grpc",
                                 name,         value,       NULL};
    wire_headers(wire, stream_id, 0, pairs);
}

/* One gRPC message in one DATA frame of at most 16 KiB. */
static inline void wire_message(struct wire *wire, int32_t stream_id, bool end, const void *bytes, size_t size)
{
    static uint8_t frame[16384];
    wire_must(size + MG_GRPC__FRAME_HEAD <= sizeof frame);
    frame[0] = 0;
    mg_store_be32(frame + 1, (uint32_t)size);
    if (size)
        memcpy(frame + MG_GRPC__FRAME_HEAD, bytes, size);
    wire_frame(wire, NGHTTP2_DATA, end ? NGHTTP2_FLAG_END_STREAM : 0, stream_id, frame, size + MG_GRPC__FRAME_HEAD);
}

static inline void wire_u32(struct wire *wire, uint8_t type, int32_t stream_id, uint32_t value)
{
    uint8_t payload[4];
    mg_store_be32(payload, value);
    wire_frame(wire, type, 0, stream_id, payload, sizeof payload);
}

/* ---- over a socket
 * ------------------------------------------------------------------------------------------------ */

static inline void wire_connect(struct wire *wire, const char *text)
{
    struct mg_grpc__address address;
    wire_init(wire);
    wire_must(mg_grpc__address_parse(text, &address, NULL) == MG_OK);
    wire_must(mg_grpc__address_connect(&address, 5000, &wire->peer, NULL) == MG_OK);
}

/* false: the server closed the connection. Waits for room. */
static inline bool wire_flush(struct wire *wire)
{
    size_t at = 0;
    bool good = true;
    while (at < wire->out.size && good) {
        ssize_t sent = send(wire->peer, wire->out.data + at, wire->out.size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            at += (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = wire->peer, .events = POLLOUT};
            good = poll(&wait, 1, 5000) > 0;
        } else {
            good = false;
        }
    }
    mg_buffer_reset(&wire->out);
    return good;
}

static inline bool wire_read(struct wire *wire, void *bytes, size_t size, int timeout_ms)
{
    for (size_t at = 0; at < size;) {
        struct pollfd wait = {.fd = wire->peer, .events = POLLIN};
        if (poll(&wait, 1, timeout_ms) <= 0)
            return false;
        ssize_t got = recv(wire->peer, (uint8_t *)bytes + at, size - at, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static inline void wire_keep(char *to, size_t size, const nghttp2_nv *nv)
{
    snprintf(to, size, "%.*s", (int)nv->valuelen, (const char *)nv->value);
}

static inline void wire_decode_headers(struct wire *wire, struct wire_frame *frame)
{
    const uint8_t *at = frame->payload;
    size_t left = frame->size;
    frame->status[0] = frame->http_status[0] = frame->message[0] = frame->code[0] = 0;
    frame->header_count = 0;
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(wire->inflater, &nv, &flags, at, left, 1);
        wire_must(used >= 0);
        at += used;
        left -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            frame->header_count++;
            if (nv.namelen == 11 && memcmp(nv.name, "grpc-status", 11) == 0)
                wire_keep(frame->status, sizeof frame->status, &nv);
            if (nv.namelen == 7 && memcmp(nv.name, ":status", 7) == 0)
                wire_keep(frame->http_status, sizeof frame->http_status, &nv);
            if (nv.namelen == 12 && memcmp(nv.name, "grpc-message", 12) == 0)
                wire_keep(frame->message, sizeof frame->message, &nv);
            if (nv.namelen == 10 && memcmp(nv.name, "magic-code", 10) == 0)
                wire_keep(frame->code, sizeof frame->code, &nv);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
    }
    nghttp2_hd_inflate_end_headers(wire->inflater);
}

/* The next frame; false: the connection ended, or nothing came for timeout_ms. */
static inline bool wire_next(struct wire *wire, struct wire_frame *frame, int timeout_ms)
{
    uint8_t head[WIRE_FRAME_HEAD];
    if (!wire_read(wire, head, sizeof head, timeout_ms))
        return false;
    frame->size = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    frame->type = head[3];
    frame->flags = head[4];
    frame->stream_id = (int32_t)(mg_load_be32(head + 5) & 0x7fffffff);
    wire_must(frame->size <= sizeof frame->payload);
    if (!wire_read(wire, frame->payload, frame->size, timeout_ms))
        return false;
    if (frame->type == NGHTTP2_HEADERS)
        wire_decode_headers(wire, frame);
    return true;
}

/* The next frame of that type, on that stream unless it is 0; others are skipped, SETTINGS acknowledged. */
static inline bool wire_expect(struct wire *wire, struct wire_frame *frame, uint8_t type, int32_t stream_id)
{
    while (wire_next(wire, frame, 10000)) {
        if (frame->type == NGHTTP2_SETTINGS && !(frame->flags & NGHTTP2_FLAG_ACK)) {
            wire_frame(wire, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
            if (!wire_flush(wire))
                return false;
        }
        if (frame->type == type && (stream_id == 0 || frame->stream_id == stream_id))
            return true;
    }
    return false;
}

/* Whatever comes until the server closes; false when it does not. */
static inline bool wire_closed(struct wire *wire, int timeout_ms)
{
    static uint8_t bytes[1 << 16];
    for (;;) {
        struct pollfd wait = {.fd = wire->peer, .events = POLLIN};
        if (poll(&wait, 1, timeout_ms) <= 0)
            return false;
        ssize_t got = recv(wire->peer, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return true;
    }
}

#endif
