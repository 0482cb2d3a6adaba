/* compress.c -- whether this machine can compress, and how.
 * Threads  any; the choice is one atomic flag.
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/compress.h"

#include <stdatomic.h>

#include "base/cpu.h"
#include "base/error.h"
#include "column/compress_kernels.h"

#if defined(MG_COLUMN_X86)

enum { NOT_ASKED, LACKS, HAS };
static atomic_int avx512;

static bool has_avx512(void)
{
    int state = atomic_load_explicit(&avx512, memory_order_relaxed);

    if (state == NOT_ASKED) {
        state = mg_cpu_has("avx512") ? HAS : LACKS;
        atomic_store_explicit(&avx512, state, memory_order_relaxed);
    }
    return state == HAS;
}

bool mg_compress_can(uint32_t width) { return (width == 4 || width == 8 || width == 16) && has_avx512(); }

uint32_t mg_compress(const uint64_t *mask, uint32_t row_count, uint32_t width, const void *values, void *to)
{
    switch (width) {
    case 4: return mg_compress__4_avx512(mask, row_count, values, to);
    case 8: return mg_compress__8_avx512(mask, row_count, values, to);
    default: return mg_compress__16_avx512(mask, row_count, values, to);
    }
}

#else

bool mg_compress_can(uint32_t width)
{
    (void)width;
    return false;
}

uint32_t mg_compress(const uint64_t *mask, uint32_t row_count, uint32_t width, const void *values, void *to)
{
    (void)mask, (void)row_count, (void)width, (void)values, (void)to;
    mg_assert(!"mg_compress_can says no");
    return 0;
}

#endif
