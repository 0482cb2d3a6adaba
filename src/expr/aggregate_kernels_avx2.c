/* aggregate_kernels_avx2.c -- an aggregate's loops again, compiled with -mavx2: nothing here may run before the machine
 * was asked.
 * SPDX-License-Identifier: Apache-2.0 */
#define MG_KERNELS mg_agg__kernels_avx2
#define MG_KERNELS_NAME "avx2"
#include "expr/aggregate_kernels.inc"
