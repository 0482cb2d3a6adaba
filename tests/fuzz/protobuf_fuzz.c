/* protobuf_fuzz.c -- what a client sends in a descriptor: a command, a scan descriptor, a predicate, aggregates; and
 * what opens a DoPut.
 *
 * The same bytes are read as each of them. A predicate that is taken is bound to a table, and must print the same after
 * it went over the wire once more.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "connector/flight/put.h"
#include "fuzz_schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mg_schema *schema;

static struct mg_slice shown(const struct mg_expr *expr, struct mg_arena *arena)
{
    struct mg_buffer text;

    mg_buffer_init(&text, 64 << 20);
    FUZZ_MUST(mg_expr_format(expr, &text, NULL));
    struct mg_slice copy = mg_arena_copy(arena, mg_buffer_slice(&text));
    mg_buffer_clear(&text);
    return copy;
}

static void try_predicate(const Magic__V1__Expr *proto, struct mg_arena *arena)
{
    struct mg_predicate *predicate = NULL;
    Magic__V1__Expr *written = NULL;
    struct mg_expr *expr = NULL, *again = NULL;
    struct mg_error err = MG_ERROR_INIT;

    if (!proto || mg_flight__predicate_read(proto, arena, &expr, &err) != MG_OK)
        return;
    if (mg_flight__predicate_write(expr, arena, &written, &err) == MG_OK &&
        mg_flight__predicate_read(written, arena, &again, &err) == MG_OK) {
        struct mg_slice a = shown(expr, arena), b = shown(again, arena);
        if (a.data && b.data && !mg_slice_equal(a, b))
            abort();
    }
    if (mg_predicate_bind(expr, schema, &predicate, &err) == MG_OK)
        mg_predicate_free(predicate);
    else if (err.code == MG_OK || err.text[0] == '\0')
        abort(); /* refused without saying why */
}

static void try_scan(const Magic__V1__ScanDescriptor *scan, struct mg_arena *arena)
{
    enum mg_profile profile = scan->profile == MAGIC__V1__OUTPUT_PROFILE__SPARK ? MG_PROFILE_SPARK : MG_PROFILE_ARROW;
    struct mg_aggregate *aggregate = NULL;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_field *fields;

    try_predicate(scan->predicate, arena);
    if (!scan->aggregation)
        return;
    if (mg_flight__aggregate_read(scan->aggregation, schema, profile, arena, &aggregate, &err) != MG_OK) {
        if (err.code == MG_OK || err.text[0] == '\0')
            abort(); /* refused without saying why */
        return;
    }
    if (mg_flight__aggregate_fields(aggregate, arena, &fields, &err) == MG_OK)
        for (uint32_t i = 0; i < aggregate->column_count; i++)
            FUZZ_MUST(mg_type_check(fields[i].type, &err));
    mg_aggregate_free(aggregate);
}

/* The bytes as a FlightData, and its descriptor; or as a descriptor. */
static void try_put(struct mg_slice bytes, struct mg_arena *arena)
{
    struct mg_flight__data data = {.body = {NULL, 0}};
    Magic__V1__PutDescriptor *put = NULL;
    struct mg_error err = MG_ERROR_INIT;

    if (mg_flight__data_read(bytes, &data, &err) == MG_OK && data.descriptor.size)
        bytes = data.descriptor;
    err = MG_ERROR_INIT;
    if (mg_flight__put_read(bytes, arena, &put, &err) == MG_OK) {
        if (!put->database[0] || !put->table[0] || put->mode == MAGIC__V1__PUT_DESCRIPTOR__MODE__INVALID)
            abort();
    } else if (err.code == MG_OK || err.text[0] == '\0') {
        abort(); /* refused without saying why */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arrow__Flight__Protocol__FlightDescriptor descriptor = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__INIT;
    struct mg_flight__command command;
    Magic__V1__ScanDescriptor *scan = NULL;
    Magic__V1__Expr *expr = NULL;
    struct mg_arena arena;
    struct mg_error err = MG_ERROR_INIT;

    if (!schema)
        schema = fuzz_schema();
    mg_arena_init(&arena, 16 << 20);
    descriptor.type = ARROW__FLIGHT__PROTOCOL__FLIGHT_DESCRIPTOR__DESCRIPTOR_TYPE__CMD;
    descriptor.cmd = mg_flight__binary(MG_SLICE(data, size));
    if (mg_flight__command_read(&descriptor, &arena, &command, &err) == MG_OK && command.scan)
        try_scan(command.scan, &arena);
    mg_arena_reset(&arena);
    if (MG_FLIGHT__UNPACK(magic__v1__scan_descriptor__descriptor, MG_SLICE(data, size), "it", &arena, &scan, &err) ==
        MG_OK)
        try_scan(scan, &arena);
    mg_arena_reset(&arena);
    if (MG_FLIGHT__UNPACK(magic__v1__expr__descriptor, MG_SLICE(data, size), "it", &arena, &expr, &err) == MG_OK)
        try_predicate(expr, &arena);
    mg_arena_reset(&arena);
    try_put(MG_SLICE(data, size), &arena);
    mg_arena_clear(&arena);
    return 0;
}
