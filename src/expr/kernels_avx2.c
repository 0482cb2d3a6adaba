/* kernels_avx2.c -- the filter loops again, compiled with -mavx2: nothing here may run before the machine was asked.
 *
 * 64-bit comparisons, which the plain x86-64 instructions lack, gain most.
 * SPDX-License-Identifier: Apache-2.0 */
#define MG_KERNELS mg_expr__kernels_avx2
#include "expr/kernels.inc"
