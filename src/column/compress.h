/* compress.h -- the values whose bit in a mask is set, brought together.
 *
 * For masks that keep many of the rows: a list of row numbers and a gather over it take longer than the values
 * themselves. Machines without AVX-512 have that way only.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_COMPRESS_H
#define MG_COLUMN_COMPRESS_H

#include <stdbool.h>
#include <stdint.h>

enum { MG_COMPRESS_SLACK = 64 }; /* bytes behind the values at `to` that may be written */

/* Whether this machine has a loop for values of so many bytes. */
bool mg_compress_can(uint32_t width);
/* Values of width bytes, mg_compress_can says so; bits of mask beyond row_count are 0. to has room for them and
 * MG_COMPRESS_SLACK bytes more, and does not overlap values. Returns how many they are. */
uint32_t mg_compress(const uint64_t *mask, uint32_t row_count, uint32_t width, const void *values, void *to);

#endif
