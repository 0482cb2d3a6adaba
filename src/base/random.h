/* random.h -- random numbers: repeatable ones from a seed, and secret ones from the kernel.
 * Threads  a struct mg_random belongs to one thread at a time; mg_random_secret may be called from any.
 * Source   xoshiro256** (Blackman and Vigna), seeded through splitmix64.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_RANDOM_H
#define MG_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct mg_random {
    uint64_t state[4];
};

void mg_random_init(struct mg_random *random, uint64_t seed);
uint64_t mg_random_u64(struct mg_random *random);
/* 0 <= result < bound; bound > 0. */
uint64_t mg_random_below(struct mg_random *random, uint64_t bound);
/* Fill from getrandom(2). */
MG_MUST_CHECK enum mg_code mg_random_secret(void *data, size_t size, struct mg_error *err);

#endif
