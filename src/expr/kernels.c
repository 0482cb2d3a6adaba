/* kernels.c -- the filter loops for every machine, and the choice among those for better ones.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#define MG_KERNELS mg_expr__kernels_plain
#include "expr/kernels.inc"

const struct mg_expr__kernels *mg_expr__kernels_best(void)
{
#if defined(MG_EXPR_AVX2)
    if (__builtin_cpu_supports("avx2"))
        return &mg_expr__kernels_avx2;
#endif
    return &mg_expr__kernels_plain;
}
