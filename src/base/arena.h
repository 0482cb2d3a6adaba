/* arena.h -- memory that ends together: allocate piece by piece, free at once.
 *
 * For what lives as long as one query, request or batch. Has a maximum; passing it is MG_NO_MEMORY as a NULL result,
 * which the caller turns into an error with mg_arena_fail.
 * Threads  an arena belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_ARENA_H
#define MG_BASE_ARENA_H

#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

struct mg_arena_block;

struct mg_arena {
    struct mg_arena_block *block; /* newest first */
    char *at, *end;               /* free room in the newest block */
    size_t used_bytes, max_bytes;
};

/* max_bytes bounds what is handed out in total until reset. Nothing is allocated yet. */
void mg_arena_init(struct mg_arena *arena, size_t max_bytes);
/* Zeroed memory aligned to 16 bytes, valid until reset or clear; NULL when the maximum or the heap is reached. */
void *mg_arena_alloc(struct mg_arena *arena, size_t size);
#define mg_arena_new(arena, type) ((type *)mg_arena_alloc(arena, sizeof(type)))
static inline void *mg_arena_alloc_array(struct mg_arena *arena, size_t count, size_t size)
{
    return count > SIZE_MAX / 2 / size ? NULL : mg_arena_alloc(arena, count * size);
}
#define mg_arena_array(arena, type, count) ((type *)mg_arena_alloc_array(arena, count, sizeof(type)))
/* Copies; text is terminated though its size is known. NULL as above. */
char *mg_arena_text(struct mg_arena *arena, struct mg_slice text);
struct mg_slice mg_arena_copy(struct mg_arena *arena, struct mg_slice bytes);
char *mg_arena_printf(struct mg_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* MG_NO_MEMORY with the arena's figures. */
enum mg_code mg_arena_fail(const struct mg_arena *arena, struct mg_error *err);
/* Everything handed out is gone; keeps one block for the next use. */
void mg_arena_reset(struct mg_arena *arena);
void mg_arena_clear(struct mg_arena *arena);

#endif
