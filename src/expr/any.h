/* any.h -- types for values of columns, which may lie at any alignment.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_EXPR_ANY_H
#define MG_EXPR_ANY_H

#include <stdint.h>

#define MG_ANY_ __attribute__((aligned(1), may_alias))
typedef int8_t any_int8 MG_ANY_;
typedef uint8_t any_uint8 MG_ANY_;
typedef int16_t any_int16 MG_ANY_;
typedef uint16_t any_uint16 MG_ANY_;
typedef int32_t any_int32 MG_ANY_;
typedef uint32_t any_uint32 MG_ANY_;
typedef int64_t any_int64 MG_ANY_;
typedef uint64_t any_uint64 MG_ANY_;
typedef float any_float MG_ANY_;
typedef double any_double MG_ANY_;
typedef __int128 any_int128 MG_ANY_;
#undef MG_ANY_

#endif
