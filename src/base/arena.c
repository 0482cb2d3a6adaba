/* arena.c -- a list of heap blocks, each twice as large as the one before, filled from front to back.
 *
 * Under the address sanitizer memory that was not handed out is poisoned, so that a use after reset is seen.
 * Threads  an arena belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define MG_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MG_ASAN 1
#endif
#endif
#ifdef MG_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, size) __asan_poison_memory_region(p, size)
#define unpoison(p, size) __asan_unpoison_memory_region(p, size)
#else
#define poison(p, size) ((void)0)
#define unpoison(p, size) ((void)0)
#endif

enum { ALIGN = 16, FIRST_BLOCK = 4096, BLOCK_MAX = 1 << 20 };

struct mg_arena_block {
    struct mg_arena_block *next; /* older */
    size_t size;                 /* of data */
    _Alignas(ALIGN) char data[];
};

void mg_arena_init(struct mg_arena *arena, size_t max_bytes) { *arena = (struct mg_arena){.max_bytes = max_bytes}; }

static bool add_block(struct mg_arena *arena, size_t size)
{
    size_t block_size = arena->block ? MG_MIN(arena->block->size * 2, (size_t)BLOCK_MAX) : FIRST_BLOCK;
    block_size = MG_MAX(block_size, size);
    struct mg_arena_block *block = malloc(sizeof *block + block_size);
    if (!block)
        return false;
    block->next = arena->block;
    block->size = block_size;
    poison(block->data, block_size);
    arena->block = block;
    arena->at = block->data;
    arena->end = block->data + block_size;
    return true;
}

void *mg_arena_alloc(struct mg_arena *arena, size_t size)
{
    if (size > SIZE_MAX - ALIGN)
        return NULL;
    size = MG_MAX((size + ALIGN - 1) / ALIGN * ALIGN, (size_t)ALIGN);
    if (size > arena->max_bytes - arena->used_bytes)
        return NULL;
    if (size > (size_t)(arena->end - arena->at) && !add_block(arena, size))
        return NULL;
    void *p = arena->at;
    arena->at += size;
    arena->used_bytes += size;
    unpoison(p, size);
    return memset(p, 0, size);
}

struct mg_slice mg_arena_copy(struct mg_arena *arena, struct mg_slice bytes)
{
    void *copy = mg_arena_alloc(arena, bytes.size);
    if (!copy)
        return MG_SLICE(NULL, 0);
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return MG_SLICE(copy, bytes.size);
}

char *mg_arena_text(struct mg_arena *arena, struct mg_slice text)
{
    char *copy = text.size < SIZE_MAX ? mg_arena_alloc(arena, text.size + 1) : NULL;
    if (copy && text.size)
        memcpy(copy, text.data, text.size);
    return copy;
}

char *mg_arena_printf(struct mg_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : mg_arena_alloc(arena, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

enum mg_code mg_arena_fail(const struct mg_arena *arena, struct mg_error *err)
{
    return mg_fail(err, MG_NO_MEMORY, "the memory of one request is used up: %zu of %zu bytes", arena->used_bytes,
                   arena->max_bytes);
}

void mg_arena_reset(struct mg_arena *arena)
{
    struct mg_arena_block *keep = arena->block;
    if (keep) {
        arena->block = keep->next;
        size_t max_bytes = arena->max_bytes;
        mg_arena_clear(arena);
        poison(keep->data, keep->size);
        keep->next = NULL;
        *arena = (struct mg_arena){
            .block = keep, .at = keep->data, .end = keep->data + keep->size, .max_bytes = max_bytes};
    }
    arena->used_bytes = 0;
}

void mg_arena_clear(struct mg_arena *arena)
{
    for (struct mg_arena_block *block = arena->block, *next; block; block = next) {
        next = block->next;
        unpoison(block->data, block->size);
        free(block);
    }
    *arena = (struct mg_arena){.max_bytes = arena->max_bytes};
}
