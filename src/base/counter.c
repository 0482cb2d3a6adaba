/* counter.c -- the counters of counters.def and their list.
 * Threads  relaxed atomics.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/counter.h"

#include "base/error.h"

struct mg_counters mg_counters;

const struct mg_counter_info *mg_counter_list(size_t *out_count)
{
    static const struct mg_counter_info list[] = {
#define MG_X(name, unit, sentence) {#name, unit, sentence, &mg_counters.name},
#include "base/counters.def"
#undef MG_X
    };
    *out_count = MG_COUNT_OF(list);
    return list;
}
