/* message.c -- a request's memory, and protobuf messages in and out of it.
 *
 * Bounds   protobuf-c unpacks nested messages by recursion and without a limit, so the nesting is walked first, by the
 *          message's own descriptor; and it allocates up to some fifty times the bytes it reads, so it gets an arena
 *          whose maximum grows with the message and is reserved in the budget before anything is unpacked.
 * Threads  a request belongs to its handler's thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "connector/flight/flight_internal.h"

enum {
    MEMORY_STEP_MS = 20,
    MEMORY_ASKED = 16 << 20,
    ARENA_BASE = 1 << 20,
    ARENA_PER_BYTE = 64, /* an empty literal in a list: 4 bytes on the wire, about 220 unpacked and bound */
};

bool mg_flight__waits(struct mg_flight__request *request, enum mg_code code, int *left_ms)
{
    if (code != MG_NO_MEMORY || *left_ms <= 0)
        return false;
    mg_budget_ask(request->flight->budget, MEMORY_ASKED);
    *left_ms -= MEMORY_STEP_MS;
    return mg_grpc_call_pause(request->call, MEMORY_STEP_MS);
}

enum mg_code mg_flight__request_begin(struct mg_flight__request *request, struct mg_flight *flight,
                                      struct mg_grpc_call *call, struct mg_error *err)
{
    *request = (struct mg_flight__request){.flight = flight, .call = call};
    enum mg_code code = mg_grpc_call_receive(call, &request->bytes, err);
    if (code == MG_NOT_FOUND)
        return mg_fail(err, MG_INVALID, "the call ended without a request message");
    if (code != MG_OK)
        return code;
    size_t max = ARENA_BASE + ARENA_PER_BYTE * request->bytes.size;
    int left_ms = MG_FLIGHT__READ_WAIT_MS;
    do
        code = mg_budget_reserve(flight->budget, max, err);
    while (mg_flight__waits(request, code, &left_ms));
    MG_TRY(code);
    request->reserved_bytes = max;
    mg_arena_init(&request->arena, max);
    return MG_OK;
}

void mg_flight__request_end(struct mg_flight__request *request)
{
    if (!request->reserved_bytes)
        return;
    mg_arena_clear(&request->arena);
    mg_budget_release(request->flight->budget, request->reserved_bytes);
    request->reserved_bytes = 0;
}

/* ---- unpacking ---- */

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static enum mg_code fail_broken(struct mg_error *err, const char *what)
{
    return mg_fail(err, MG_INVALID, "%s is not a valid protobuf message", what);
}

/* Every message inside lies within its parent and not deeper than the limit. Depth is bounded, so the stack is, too. */
static enum mg_code check_nesting(const ProtobufCMessageDescriptor *descriptor, struct mg_slice bytes, const char *what,
                                  unsigned depth, struct mg_error *err)
{
    struct mg_reader in = {0};

    if (bytes.size > 0)
        in = mg_reader_of(bytes);
    if (depth > MG_FLIGHT__NESTING_MAX)
        return mg_fail(err, MG_TOO_BIG, "%s is nested deeper than %d messages", what, (int)MG_FLIGHT__NESTING_MAX);
    while (mg_reader_left(&in) > 0) {
        uint64_t tag = mg_reader_varint(&in);
        if (in.failed || tag >> 3 == 0 || tag >> 32 != 0)
            return fail_broken(err, what);
        struct mg_slice inside = {NULL, 0};
        switch (tag & 7) {
        case WIRE_VARINT: (void)mg_reader_varint(&in); break;
        case WIRE_64: (void)mg_reader_take(&in, 8); break;
        case WIRE_32: (void)mg_reader_take(&in, 4); break;
        case WIRE_BYTES: inside = mg_reader_bytes(&in); break;
        default: /* groups: nobody sends them */ return fail_broken(err, what);
        }
        if (in.failed)
            return fail_broken(err, what);
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor,
                                                                                        (unsigned)(tag >> 3));
        if (field && field->type == PROTOBUF_C_TYPE_MESSAGE && (tag & 7) == WIRE_BYTES)
            MG_TRY(check_nesting(field->descriptor, inside, what, depth + 1, err));
    }
    return MG_OK;
}

struct unpacking {
    struct mg_arena *arena;
    bool full; /* the arena's maximum was met */
};

static void *arena_alloc(void *arg, size_t size)
{
    struct unpacking *unpacking = arg;
    void *memory = mg_arena_alloc(unpacking->arena, size ? size : 1);

    unpacking->full |= memory == NULL;
    return memory;
}

static void arena_free(void *arg, void *pointer)
{
    (void)arg;
    (void)pointer; /* ends with the arena */
}

enum mg_code mg_flight__unpack(const ProtobufCMessageDescriptor *descriptor, struct mg_slice bytes, const char *what,
                               struct mg_arena *arena, ProtobufCMessage **out, struct mg_error *err)
{
    static const uint8_t nothing[1];
    struct unpacking unpacking = {.arena = arena};
    ProtobufCAllocator allocator = {.alloc = arena_alloc, .free = arena_free, .allocator_data = &unpacking};

    MG_TRY(check_nesting(descriptor, bytes, what, 0, err));
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, bytes.size,
                                                          bytes.size ? bytes.data : nothing);
    if (!message) {
        if (unpacking.full)
            return mg_fail(err, MG_TOO_BIG, "%s of %zu bytes needs more than %zu bytes of memory", what, bytes.size,
                           arena->max_bytes);
        return fail_broken(err, what);
    }
    *out = message;
    return MG_OK;
}

/* ---- packing ---- */

enum mg_code mg_flight__pack(const ProtobufCMessage *message, struct mg_arena *arena, struct mg_slice *out,
                             struct mg_error *err)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = mg_arena_alloc(arena, size ? size : 1);

    if (!bytes)
        return mg_arena_fail(arena, err);
    protobuf_c_message_pack(message, bytes);
    *out = MG_SLICE(bytes, size);
    return MG_OK;
}

enum mg_code mg_flight__pack_into(const ProtobufCMessage *message, struct mg_buffer *out, struct mg_error *err)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    MG_TRY(mg_buffer_reserve(out, size, err));
    if (size > 0)
        protobuf_c_message_pack(message, out->data + out->size);
    out->size += size;
    return MG_OK;
}

enum mg_code mg_flight__send(struct mg_flight__request *request, const ProtobufCMessage *message, struct mg_error *err)
{
    struct mg_slice bytes;

    MG_TRY(mg_flight__pack(message, &request->arena, &bytes, err));
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size};
    return mg_grpc_call_send(request->call, &piece, 1, NULL, NULL, err);
}
