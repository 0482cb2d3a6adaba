/* manifest_fuzz.c -- a manifest of arbitrary bytes.
 *
 * Each input runs as it is, and with the checksum that it should have, so that a fuzzer gets behind it. What is taken
 * must be the same after it was written and read once more; all memory is given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "engine/magic/manifest.h"

enum { MEMORY_MAX = 64 << 20, INPUT_MAX = 1 << 20, HASH_BYTES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum mg_code decode(struct mg_slice bytes, struct mg_budget *budget, struct mg_manifest *out)
{
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = mg_manifest__decode(bytes, budget, out, &err);
    mg_assert(code == MG_OK || err.code == code);
    mg_assert(code == MG_OK || err.text[0]);
    return code;
}

static void encode(const struct mg_manifest *manifest, struct mg_buffer *out)
{
    mg_buffer_init(out, 64 << 20);
    mg_assert(mg_manifest__encode(manifest, out, NULL) == MG_OK);
}

static void run(struct mg_slice bytes)
{
    struct mg_manifest manifest, again;
    struct mg_buffer first, second;
    struct mg_budget budget;
    mg_budget_init(&budget, "fuzz", NULL, MEMORY_MAX);
    if (decode(bytes, &budget, &manifest) == MG_OK) {
        encode(&manifest, &first);
        mg_assert(decode(mg_buffer_slice(&first), &budget, &again) == MG_OK);
        encode(&again, &second);
        mg_assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        mg_buffer_clear(&first);
        mg_buffer_clear(&second);
        mg_manifest__clear(&again);
        mg_manifest__clear(&manifest);
    }
    mg_assert(mg_budget_used(&budget) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    run(MG_SLICE(data, size));
    if (size < HASH_BYTES)
        return 0;
    uint8_t *repaired = malloc(size);
    mg_assert(repaired);
    memcpy(repaired, data, size);
    mg_store_le64(repaired + size - HASH_BYTES, mg_hash(repaired, size - HASH_BYTES, 0));
    run(MG_SLICE(repaired, size));
    free(repaired);
    return 0;
}
