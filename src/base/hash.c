/* hash.c -- XXH3 with a seed, over one piece or several.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

/* In this file rather than from the shared library: the streaming state then fits on the stack, whatever version. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t mg_hash(const void *data, size_t size, uint64_t seed) { return XXH3_64bits_withSeed(data, size, seed); }

uint64_t mg_hash_pieces(const struct iovec *pieces, size_t count, uint64_t seed)
{
    if (count == 1)
        return XXH3_64bits_withSeed(pieces[0].iov_base, pieces[0].iov_len, seed);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset_withSeed(&state, seed);
    for (size_t i = 0; i < count; i++)
        if (pieces[i].iov_len)
            (void)XXH3_64bits_update(&state, pieces[i].iov_base, pieces[i].iov_len);
    return XXH3_64bits_digest(&state);
}
