/* compress_kernels.h -- the loops of compress.c, by machine.
 * Threads  pure functions.   SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_COMPRESS_KERNELS_H
#define MG_COLUMN_COMPRESS_KERNELS_H

#include <stdint.h>

uint32_t mg_compress__4_avx512(const uint64_t *mask, uint32_t row_count, const void *values, void *to);
uint32_t mg_compress__8_avx512(const uint64_t *mask, uint32_t row_count, const void *values, void *to);
uint32_t mg_compress__16_avx512(const uint64_t *mask, uint32_t row_count, const void *values, void *to);

#endif
