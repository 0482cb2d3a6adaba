/* hash.c -- XXH3 with a seed, over one piece or several.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

/* In this file rather than from the shared library: the streaming state then fits on the stack, whatever version. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t mg_hash(const void *data, size_t size, uint64_t seed) { return XXH3_64bits_withSeed(data, size, seed); }

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct mg_hasher), "a hasher holds the streaming state");
_Static_assert(_Alignof(XXH3_state_t) <= _Alignof(struct mg_hasher), "at its alignment");

static XXH3_state_t *state_of(struct mg_hasher *hasher) { return (XXH3_state_t *)(void *)hasher->state; }

void mg_hasher_begin(struct mg_hasher *hasher, uint64_t seed)
{
    XXH3_INITSTATE(state_of(hasher));
    (void)XXH3_64bits_reset_withSeed(state_of(hasher), seed);
}

void mg_hasher_add(struct mg_hasher *hasher, const void *data, size_t size)
{
    if (size)
        (void)XXH3_64bits_update(state_of(hasher), data, size);
}

uint64_t mg_hasher_end(struct mg_hasher *hasher) { return XXH3_64bits_digest(state_of(hasher)); }

uint64_t mg_hash_pieces(const struct iovec *pieces, size_t count, uint64_t seed)
{
    if (count == 1)
        return XXH3_64bits_withSeed(pieces[0].iov_base, pieces[0].iov_len, seed);
    struct mg_hasher hasher;
    mg_hasher_begin(&hasher, seed);
    for (size_t i = 0; i < count; i++)
        mg_hasher_add(&hasher, pieces[i].iov_base, pieces[i].iov_len);
    return mg_hasher_end(&hasher);
}
