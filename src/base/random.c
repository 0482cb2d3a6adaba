/* random.c -- xoshiro256** and the kernel's generator.
 * Threads  a struct mg_random belongs to one thread at a time.
 * Source   xoshiro256** 1.0 and splitmix64, David Blackman and Sebastiano Vigna.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mg_random_init(struct mg_random *random, uint64_t seed)
{
    for (size_t i = 0; i < MG_COUNT_OF(random->state); i++)
        random->state[i] = splitmix64(&seed);
}

static uint64_t rotate_left(uint64_t v, int bits) { return (v << bits) | (v >> (64 - bits)); }

uint64_t mg_random_u64(struct mg_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t mg_random_below(struct mg_random *random, uint64_t bound)
{
    mg_assert(bound > 0);
    /* Throw the few lowest values away that would make small results likelier. */
    uint64_t reject = -bound % bound;
    uint64_t v;
    do
        v = mg_random_u64(random);
    while (v < reject);
    return v % bound;
}

enum mg_code mg_random_secret(void *data, size_t size, struct mg_error *err)
{
    char *at = data;
    while (size) {
        ssize_t n = getrandom(at, size, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mg_fail_errno(err, errno, "could not read %zu random bytes", size);
        at += n;
        size -= (size_t)n;
    }
    return MG_OK;
}
