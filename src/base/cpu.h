/* cpu.h -- which instruction sets this machine runs, by the names that kernels are chosen by.
 * Threads  any.   SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_CPU_H
#define MG_BASE_CPU_H

#include <stdbool.h>
#include <string.h>

/* "avx512" (F, BW, DQ, VL and popcnt), "avx2" (and popcnt), "plain"; another name: false. */
static inline bool mg_cpu_has(const char *name)
{
#if defined(__x86_64__)
    if (strcmp(name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("popcnt");
    if (strcmp(name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#endif
    return strcmp(name, "plain") == 0;
}

#endif
