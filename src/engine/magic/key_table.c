/* key_table.c -- where the keys of a frozen chunk are, for readers who look single keys up.
 *
 * The writer's index leads to the newest rows only and is the writer's alone; a reader asks the chunks that its view
 * shows. A chunk's table is made by the first look-up that comes by, from rows that never change, and goes with the
 * chunk; if two make it at once, one is thrown away. Whoever never looks keys up pays nothing.
 * Memory   64 KiB a chunk, in the chunk's budget, and only while a sixteenth of that is free: writers come first.
 * Threads  any; a table is immutable once the chunk points to it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/magic_internal.h"

enum { KEYS_BYTES_MAX = 1 << 30 };
_Static_assert(MG_CHUNK_ROWS < 1 << 14, "row + 1 takes 14 bits of a slot");

static void fill(struct mg_key_table *table, const struct mg_buffer *keys, const uint32_t *offsets, uint32_t row_count)
{
    for (uint32_t row = 0; row < row_count; row++) {
        uint64_t hash = mg_part_key_hash(MG_SLICE(keys->data + offsets[row], offsets[row + 1] - offsets[row]));
        uint32_t at = (uint32_t)hash % MG_KEY_TABLE_SLOTS;
        while (table->slots[at])
            at = (at + 1) % MG_KEY_TABLE_SLOTS;
        table->slots[at] = (uint32_t)(hash >> 46) << 14 | (row + 1);
    }
}

static bool has_room(const struct mg_budget *budget)
{
    return mg_budget_left(budget) / 16 > sizeof(struct mg_key_table);
}

static struct mg_key_table *make(struct mg_chunk *chunk, const struct mg_schema *schema)
{
    struct mg_vector vectors[MG_KEY_COLUMNS_MAX];
    const struct mg_vector *keys[MG_KEY_COLUMNS_MAX];
    if (!has_room(chunk->budget) || mg_budget_reserve(chunk->budget, sizeof(struct mg_key_table), NULL) != MG_OK)
        return NULL;
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer bytes;
    mg_buffer_init(&bytes, KEYS_BYTES_MAX);
    MG_CLEANUP(mg_freep) uint32_t *offsets = malloc((MG_CHUNK_ROWS + 1) * sizeof *offsets);
    struct mg_key_table *table = calloc(1, sizeof *table);
    mg_keys__of_chunk(chunk, schema, chunk->row_count, vectors);
    for (uint32_t k = 0; k < schema->key_count; k++)
        keys[k] = &vectors[k];
    if (table && offsets &&
        mg_key_encode_rows(keys, schema->key_count, chunk->row_count, &bytes, offsets, NULL) == MG_OK) {
        fill(table, &bytes, offsets, chunk->row_count);
        return table;
    }
    free(table);
    mg_budget_release(chunk->budget, sizeof *table);
    return NULL;
}

const struct mg_key_table *mg_key_table__of(struct mg_chunk *chunk, const struct mg_schema *schema)
{
    struct mg_key_table *table = atomic_load_explicit(&chunk->keys, memory_order_acquire), *none = NULL;
    if (table || !chunk->frozen || atomic_load_explicit(&chunk->stub, memory_order_relaxed))
        return table; /* a copy lives for one look-up */
    table = make(chunk, schema);
    if (!table ||
        atomic_compare_exchange_strong_explicit(&chunk->keys, &none, table, memory_order_acq_rel, memory_order_acquire))
        return table;
    free(table);
    mg_budget_release(chunk->budget, sizeof *table);
    return none;
}

void mg_key_table__free(struct mg_chunk *chunk)
{
    struct mg_key_table *table = atomic_exchange_explicit(&chunk->keys, NULL, memory_order_relaxed);
    if (!table)
        return;
    free(table);
    mg_budget_release(chunk->budget, sizeof *table);
}
