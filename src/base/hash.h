/* hash.h -- XXH3 for checksums and tables. Not for secrets.
 * Threads  pure functions.   Source  xxHash's XXH3, 64 bit, through libxxhash.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_HASH_H
#define MG_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

uint64_t mg_hash(const void *data, size_t size, uint64_t seed);
/* The hash of the pieces as if they were one. */
uint64_t mg_hash_pieces(const struct iovec *pieces, size_t count, uint64_t seed);
/* The same over pieces that come one after another. On the stack; nothing to free. */
struct mg_hasher {
    _Alignas(64) uint8_t state[576];
};
void mg_hasher_begin(struct mg_hasher *hasher, uint64_t seed);
void mg_hasher_add(struct mg_hasher *hasher, const void *data, size_t size);
uint64_t mg_hasher_end(struct mg_hasher *hasher);
/* A 64-bit finaliser for keys that are integers. */
static inline uint64_t mg_hash_u64(uint64_t v)
{
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    v ^= v >> 32;
    return v;
}

#endif
