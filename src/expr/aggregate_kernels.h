/* aggregate_kernels.h -- the loops of an aggregate over the 64-bit integers of a block, once for each kind of machine.
 *
 * Arithmetic wraps: who calls has proved by bounds that results fit, or that nobody reads those that do not. Arrays may
 * lie at any alignment. rows: a bit a row, those that count; NULL: all.
 * Threads  pure functions; the choice among the tables is one atomic pointer.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_AGGREGATE_KERNELS_H
#define MG_EXPR_AGGREGATE_KERNELS_H

#include "column/type.h"
#include "expr/any.h"

/* Sums of at most MG_SCALAR_ROWS_MAX values within these bounds stay in 64 bits. */
#define MG_AGG__SUM_SAFE ((int64_t)1 << 53)

struct mg_agg__kernels {
    const char *name;
    /* to = x * factor + more */
    void (*scale)(const any_int64 *x, int64_t factor, int64_t more, uint32_t count, int64_t *to);
    /* to = x * x_factor + y * y_factor */
    void (*add)(const any_int64 *x, int64_t x_factor, const any_int64 *y, int64_t y_factor, uint32_t count,
                int64_t *to);
    void (*multiply)(const any_int64 *x, const any_int64 *y, uint32_t count, int64_t *to);
    /* By type: integers below 64 bits and dates. */
    void (*widen[MG_TYPE_COUNT])(const void *from, uint32_t count, int64_t *to);
    /* Decimals; false when one of them needs more than 64 bits. */
    bool (*narrow)(const void *decimals, uint32_t count, int64_t *to);
    /* Lowest and highest of the rows; no row: low > high. */
    void (*bounds)(const any_int64 *x, uint32_t count, const uint64_t *rows, int64_t *low, int64_t *high);
    /* Values that are MG_AGG__SUM_SAFE; any values. */
    int64_t (*sum)(const any_int64 *x, uint32_t count, const uint64_t *rows);
    mg_int128 (*sum_long)(const any_int64 *x, uint32_t count, const uint64_t *rows);
    /* Sums of the groups 0 to group_count - 1 (at most 8), values that are MG_AGG__SUM_SAFE; each group's rows are 16
     * words. NULL: rows in order of their groups are faster on such a machine. */
    void (*sum_groups)(const any_int64 *x, uint32_t count, const uint64_t (*rows)[16], uint32_t group_count,
                       int64_t *sums);
    /* out[g] = the rows of `rows` whose group is g, counts[g] how many, for each g below group_count (at most 8). With
     * sum_groups. */
    void (*split_groups)(const uint32_t *group, uint32_t count, const uint64_t *rows, uint32_t group_count,
                         uint64_t (*out)[16], uint32_t *counts);
    /* index += (1 + code) * stride; index += (1 + x - low) * stride: where the row is in rows. */
    void (*add_codes)(const uint16_t *codes, uint32_t count, const uint64_t *rows, uint32_t stride, uint32_t *index);
    void (*add_window)(const any_int64 *x, uint32_t count, const uint64_t *rows, int64_t low, uint32_t stride,
                       uint32_t *index);
    /* out = table[index]; true when UINT32_MAX came out. */
    bool (*look_up)(const uint32_t *table, const uint32_t *index, uint32_t count, uint32_t *out);
};
extern const struct mg_agg__kernels mg_agg__kernels_plain;
#if defined(MG_EXPR_AVX2)
extern const struct mg_agg__kernels mg_agg__kernels_avx2, mg_agg__kernels_avx512;
#endif

/* The fastest that this machine runs, or what was forced. */
const struct mg_agg__kernels *mg_agg__kernels(void);
/* "plain", "avx2", "avx512", or NULL for the fastest; false when this machine has no such. For tests. */
bool mg_agg__kernels_force(const char *name);

#endif
