/* counter.h -- process-wide counters, from counters.def.
 * Threads  any: relaxed atomics. Values only rise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_COUNTER_H
#define MG_BASE_COUNTER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct mg_counters {
#define MG_X(name, unit, sentence) _Atomic uint64_t name;
#include "base/counters.def"
#undef MG_X
};
extern struct mg_counters mg_counters;

#define mg_count(name, n) atomic_fetch_add_explicit(&mg_counters.name, (uint64_t)(n), memory_order_relaxed)
#define mg_counted(name) atomic_load_explicit(&mg_counters.name, memory_order_relaxed)

struct mg_counter_info {
    const char *name, *unit, *sentence;
    _Atomic uint64_t *value;
};
/* All of them, in the order of counters.def. */
const struct mg_counter_info *mg_counter_list(size_t *out_count);

#endif
