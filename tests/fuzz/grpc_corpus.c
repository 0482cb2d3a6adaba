/* grpc_corpus.c -- makes tests/fuzz/corpus/grpc: what clients send, good and bad, as grpc_fuzz.c reads it. Repeatable.
 *
 * Usage: grpc_corpus FOLDER
 * SPDX-License-Identifier: Apache-2.0 */
#include "grpc/grpc_wire.h"

/* Those of grpc_fuzz.c. */
enum { ANY_AUTHORITY = 1, GREETED = 2, SMALL = 4, SLOW = 8, DRAIN = 16 };

static const char *folder;
static int written;

static void write_input(const char *name, unsigned flags, unsigned step, const struct wire *wire)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
    fputc((int)flags, file);
    fputc((int)step, file);
    fwrite(wire->out.data, 1, wire->out.size, file);
    fclose(file);
    written++;
}

/* Ends an input begun with wire_init. */
static void finish(struct wire *wire, const char *name, unsigned flags, unsigned step)
{
    write_input(name, flags, step, wire);
    wire_clear(wire);
}

static void call_with(const char *name, unsigned flags, unsigned step, const char *path, const char *header,
                      const char *value, const void *bytes, size_t size)
{
    struct wire wire;
    wire_init(&wire);
    wire_request(&wire, 1, path, header, value);
    wire_frame(&wire, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, bytes, size);
    finish(&wire, name, flags | GREETED, step);
}

static void calls(void)
{
    static const uint8_t hello[] = {0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'},
                         two[] = {0, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 0}, compressed[] = {1, 0, 0, 0, 1, 'a'},
                         large[] = {0, 0xff, 0xff, 0xff, 0xff, 'a'}, cut[] = {0, 0, 0, 0, 9, 'a'},
                         many[] = {0, 0, 0, 0, 3, 200, 0, 40};
    call_with("call_echo", 0, 0, "/e", NULL, NULL, hello, sizeof hello);
    call_with("call_echo_by_byte", 0, 1, "/e", NULL, NULL, hello, sizeof hello);
    call_with("call_later", DRAIN, 0, "/l", NULL, NULL, hello, sizeof hello);
    call_with("call_later_abandoned", 0, 7, "/l", NULL, NULL, hello, sizeof hello);
    call_with("call_unary", 0, 0, "/u", NULL, NULL, hello, sizeof hello);
    call_with("call_bidi_two", 0, 3, "/b", NULL, NULL, two, sizeof two);
    call_with("call_stream", 0, 0, "/s", NULL, NULL, many, sizeof many);
    call_with("call_headers", 0, 0, "/h", "x-some", "text", hello, sizeof hello);
    call_with("call_binary_header", 0, 0, "/h", "x-some-bin", "AAEC/w", hello, sizeof hello);
    call_with("call_bad_binary_header", 0, 0, "/h", "x-some-bin", "!", hello, sizeof hello);
    call_with("call_unknown", 0, 0, "/none", NULL, NULL, hello, sizeof hello);
    call_with("call_gzip", 0, 0, "/u", "grpc-encoding", "gzip", hello, sizeof hello);
    call_with("call_deadline", SLOW, 20, "/b", "grpc-timeout", "100m", hello, sizeof hello);
    call_with("call_bad_timeout", 0, 0, "/u", "grpc-timeout", "1x", hello, sizeof hello);
    call_with("message_two_for_unary", 0, 0, "/e", NULL, NULL, two, sizeof two);
    call_with("message_compressed", 0, 0, "/u", NULL, NULL, compressed, sizeof compressed);
    call_with("message_too_large", 0, 0, "/e", NULL, NULL, large, sizeof large);
    call_with("message_cut", 0, 0, "/u", NULL, NULL, cut, sizeof cut);
    call_with("message_none", 0, 0, "/e", NULL, NULL, NULL, 0);
}

static void connections(void)
{
    struct wire wire;
    uint8_t bytes[16000] = {0};
    wire_init(&wire);
    wire_hello(&wire, 65535);
    for (int32_t id = 1; id < 60; id += 2) {
        wire_request(&wire, id, id % 4 == 1 ? "/b" : "/l", NULL, NULL);
        wire_message(&wire, id, id % 6 == 1, bytes, (size_t)id * 10);
    }
    finish(&wire, "connection_many_streams", 0, 0);

    wire_init(&wire);
    wire_hello(&wire, 0);
    wire_request(&wire, 1, "/e", NULL, NULL);
    wire_message(&wire, 1, true, "hello", 5);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 1, 3);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 1, 100);
    wire_u32(&wire, NGHTTP2_WINDOW_UPDATE, 0, 0x7fffffff);
    finish(&wire, "connection_no_window", 0, 30);

    wire_init(&wire);
    for (int32_t id = 1; id < 400; id += 2) {
        wire_request(&wire, id, "/b", NULL, NULL);
        wire_u32(&wire, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
    }
    finish(&wire, "connection_rapid_reset", GREETED, 0);

    wire_init(&wire);
    wire_request(&wire, 1, "/b", NULL, NULL);
    for (int i = 0; i < 4; i++)
        wire_frame(&wire, NGHTTP2_DATA, 0, 1, bytes, sizeof bytes);
    finish(&wire, "connection_empty_messages", GREETED, 0);

    wire_init(&wire);
    wire_request(&wire, 1, "/l", NULL, NULL);
    bytes[3] = 0xfa; /* one message of 64,000 bytes */
    for (int i = 0; i < 4; i++)
        wire_frame(&wire, NGHTTP2_DATA, i == 3 ? NGHTTP2_FLAG_END_STREAM : 0, 1, bytes, sizeof bytes);
    finish(&wire, "connection_budget", GREETED | SMALL, 0);
    memset(bytes, 0, sizeof bytes);

    wire_init(&wire);
    wire_frame(&wire, NGHTTP2_PING, 0, 0, "12345678", 8);
    wire_frame(&wire, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "drain\0\0", 8);
    wire_request(&wire, 1, "/u", NULL, NULL);
    wire_frame(&wire, NGHTTP2_GOAWAY, 0, 0, bytes, 8);
    wire_message(&wire, 1, true, "x", 1);
    finish(&wire, "connection_goaway", GREETED | DRAIN, 20);

    wire_init(&wire);
    wire_request(&wire, 1, "/b", NULL, NULL);
    for (int i = 0; i < 30; i++)
        wire_message(&wire, 1, false, "slow", 4);
    finish(&wire, "connection_slow", GREETED | SLOW, 9);

    wire_init(&wire);
    wire_hello(&wire, 65535);
    finish(&wire, "connection_idle", SLOW, 1);

    wire_init(&wire);
    wire_request(&wire, 1, "/u", NULL, NULL);
    wire_message(&wire, 1, false, "x", 1);
    wire_headers(&wire, 1, NGHTTP2_FLAG_END_STREAM, (const char *const[]){"x-trailer", "y", NULL});
    finish(&wire, "connection_request_trailers", GREETED, 0);

    wire_init(&wire);
    for (int32_t id = 1; id < 99; id += 2) {
        wire_request(&wire, id, "/u", NULL, NULL);
        wire_message(&wire, id, false, "x", 1);
    }
    finish(&wire, "connection_full_queue", GREETED, 0);
}

static void bad_headers(void)
{
    static const char *const lists[][14] = {
        {":method", "GET", ":scheme", "http", ":path", "/e", NULL},
        {":method", "POST", ":scheme", "http", ":path", "/e", "content-type", "text/plain", NULL},
        {":method", "POST", ":path", "/e", NULL},
        {":method", "POST", ":scheme", "http", ":path", "/e", ":path", "/u", NULL},
        {":method", "POST", ":scheme", "http", "te", "trailers", ":path", "/e", NULL},
        {":method", "POST", ":scheme", "http", ":path", "/e", "Upper", "x", NULL},
        {":method", "POST", ":scheme", "http", ":path", "/e", ":authority", "/tmp/x.sock", "content-type",
         "application/grpc+proto", NULL},
        {"a", "b", NULL},
    };
    for (unsigned i = 0; i < MG_COUNT_OF(lists); i++) {
        for (unsigned any = 0; any < 2; any++) {
            struct wire wire;
            char name[64];
            wire_init(&wire);
            wire_headers(&wire, 1, 0, lists[i]);
            wire_message(&wire, 1, true, "x", 1);
            snprintf(name, sizeof name, "headers_%u%s", i, any ? "_any" : "");
            finish(&wire, name, GREETED | (any ? ANY_AUTHORITY : 0), 0);
        }
    }
    static char large[20001];
    memset(large, 'v', sizeof large - 1);
    struct wire wire;
    wire_init(&wire);
    wire_request(&wire, 1, "/e", "x-large", large);
    wire_message(&wire, 1, true, "x", 1);
    wire_request(&wire, 3, "/e", NULL, NULL);
    wire_message(&wire, 3, true, "x", 1);
    finish(&wire, "headers_too_large", GREETED, 0);
}

static void not_http2(void)
{
    static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX", "\x16\x03\x01",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnoise and more noise"};
    for (unsigned i = 0; i < MG_COUNT_OF(texts); i++) {
        struct wire wire;
        char name[64];
        wire_init(&wire);
        wire_bytes(&wire, texts[i], strlen(texts[i]));
        snprintf(name, sizeof name, "not_http2_%u", i);
        finish(&wire, name, 0, 5);
    }
    /* Every type of frame with a wrong size or stream. */
    for (uint8_t type = 0; type < 11; type++) {
        struct wire wire;
        char name[64];
        wire_init(&wire);
        wire_request(&wire, 1, "/b", NULL, NULL);
        wire_frame(&wire, type, 0xff, type % 2, "0123456789abcdef", type * 3 % 16);
        snprintf(name, sizeof name, "frame_%u", type);
        finish(&wire, name, GREETED, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: grpc_corpus FOLDER\n");
        return 2;
    }
    folder = argv[1];
    calls();
    connections();
    bad_headers();
    not_http2();
    printf("%d inputs\n", written);
    return 0;
}
