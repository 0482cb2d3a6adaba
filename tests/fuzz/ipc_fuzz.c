/* ipc_fuzz.c -- fuzzes the Arrow IPC decoder (column/ipc.h): streams, single schema messages, single batches.
 *
 * Input     first byte: 0 a stream; 1 a schema message; 2 a batch of the fixed schema below: u16 little endian size of
 *           the message, the message, the body; others as 0. Inputs are made by ipc_corpus.c and ipc_corpus.py; found-*
 *           by the fuzzer.
 * Checks    besides the sanitizers': a decoded batch is sound, and encoding and decoding it again gives the same bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "column/ipc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY_MAX = 64 << 20 };

static void must(enum mg_code code, const struct mg_error *err)
{
    if (code == MG_OK)
        return;
    fprintf(stderr, "%s: %s\n", mg_code_name(code), err->text);
    abort();
}

/* What was decoded is sound and survives a round trip bit by bit. */
static void check_batch(const struct mg_batch *batch, const struct mg_field *fields, uint32_t count)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer first, second;
    struct mg_batch *back = NULL;

    mg_buffer_init(&first, MEMORY_MAX);
    mg_buffer_init(&second, MEMORY_MAX);
    must(mg_batch_check(batch, &err), &err);
    must(mg_ipc_stream_batch(batch, &first, &err), &err);
    struct mg_reader in = mg_reader_of(mg_buffer_slice(&first));
    must(mg_ipc_stream_next(&in, fields, count, NULL, &back, &err), &err);
    must(mg_ipc_stream_batch(back, &second, &err), &err);
    if (!mg_slice_equal(mg_buffer_slice(&first), mg_buffer_slice(&second)))
        abort();
    mg_batch_unref(back);
    mg_buffer_clear(&first);
    mg_buffer_clear(&second);
}

static void check_schema(const struct mg_field *fields, uint32_t count, struct mg_arena *arena)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_buffer out;
    struct mg_field *back;
    uint32_t back_count;

    mg_buffer_init(&out, MEMORY_MAX);
    must(mg_ipc_encode_schema(fields, count, true, &out, &err), &err);
    if (mg_ipc_decode_schema(mg_buffer_slice(&out), arena, &back, &back_count, &err) ==
        MG_OK) { /* or the arena is full */
        if (back_count != count)
            abort();
        for (uint32_t i = 0; i < count; i++)
            if (!mg_type_equal(fields[i].type, back[i].type) || !mg_slice_equal(fields[i].name, back[i].name) ||
                !mg_slice_equal(fields[i].source_type, back[i].source_type) || fields[i].nullable != back[i].nullable)
                abort();
    }
    mg_buffer_clear(&out);
}

static void run_stream(struct mg_slice stream, struct mg_arena *arena, struct mg_budget *budget)
{
    struct mg_reader in = mg_reader_of(stream);
    struct mg_field *fields = NULL;
    struct mg_batch *batch = NULL;
    uint32_t count = 0;

    if (mg_ipc_stream_schema(&in, arena, &fields, &count, NULL) != MG_OK)
        return;
    check_schema(fields, count, arena);
    while (mg_ipc_stream_next(&in, fields, count, budget, &batch, NULL) == MG_OK && batch) {
        check_batch(batch, fields, count);
        mg_batch_unref(batch);
    }
}

static void run_schema(struct mg_slice message, struct mg_arena *arena)
{
    struct mg_field *fields = NULL;
    uint32_t count = 0;

    if (mg_ipc_decode_schema(message, arena, &fields, &count, NULL) == MG_OK)
        check_schema(fields, count, arena);
}

static void run_batch(struct mg_slice input, struct mg_budget *budget)
{
    static const struct mg_field fields[] = {
        {.name = {(const uint8_t *)"i", 1}, .type = {.id = MG_TYPE_INT32}, .nullable = true},
        {.name = {(const uint8_t *)"t", 1}, .type = {.id = MG_TYPE_UTF8}, .nullable = true},
        {.name = {(const uint8_t *)"d", 1}, .type = {.id = MG_TYPE_DECIMAL, .precision = 12, .scale = 2}},
    };
    struct mg_reader in = mg_reader_of(input);
    struct mg_slice message = mg_reader_take(&in, mg_reader_le16(&in));
    struct mg_batch *batch = NULL;

    if (in.failed)
        return;
    struct mg_slice body = MG_SLICE(in.at, mg_reader_left(&in));
    if (mg_ipc_decode_batch(message, body, fields, 3, budget, &batch, NULL) != MG_OK)
        return;
    check_batch(batch, fields, 3);
    mg_batch_unref(batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_arena arena;
    struct mg_budget budget;

    if (size == 0)
        return 0;
    struct mg_slice rest = MG_SLICE(data + 1, size - 1);
    mg_arena_init(&arena, MEMORY_MAX);
    mg_budget_init(&budget, "fuzz", NULL, MEMORY_MAX);
    if (data[0] == 1)
        run_schema(rest, &arena);
    else if (data[0] == 2)
        run_batch(rest, &budget);
    else
        run_stream(rest, &arena, &budget);
    if (mg_budget_used(&budget))
        abort();
    mg_arena_clear(&arena);
    return 0;
}
