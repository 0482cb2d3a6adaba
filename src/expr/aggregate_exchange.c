/* aggregate_exchange.c -- an aggregate whose partial results lose nothing: what the threads of a scan hand each other.
 *
 * Partial results that leave have types of their own, which the sum of one thread's rows may pass where that of all
 * does not. So sums of exact numbers are exchanged with 38 digits, as they are held.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "expr/aggregate.h"

static const struct mg_type type_int64 = {.id = MG_TYPE_INT64};

static void widen(struct mg_aggregate_bound_call *call)
{
    if (call->function != MG_AGGREGATE_SUM && call->function != MG_AGGREGATE_AVG)
        return;
    if (call->sum_type.id != MG_TYPE_FLOAT64 && call->sum_type.id != MG_TYPE_NONE)
        call->sum_type = (struct mg_type){
            .id = MG_TYPE_DECIMAL, .precision = MG_DECIMAL_PRECISION_MAX, .scale = call->sum_type.scale};
    call->type = call->sum_type;
}

enum mg_code mg_aggregate_exchange(const struct mg_aggregate *from, struct mg_aggregate **out, struct mg_error *err)
{
    struct mg_aggregate *aggregate = calloc(1, sizeof *aggregate);
    struct mg_aggregate_bound_call *calls = calloc((size_t)from->call_count + 1, sizeof *calls);
    struct mg_aggregate_column *columns = calloc((size_t)from->group_count + 2 * (size_t)from->call_count + 1,
                                                 sizeof *columns);
    uint32_t count = 0;

    if (!aggregate || !calls || !columns) {
        free(aggregate);
        free(calls);
        free(columns);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    }
    *aggregate = *from;
    aggregate->is_partial = true;
    aggregate->calls = calls;
    aggregate->columns = columns;
    for (uint32_t i = 0; i < from->group_count; i++)
        columns[count++] = (struct mg_aggregate_column){.type = from->group_types[i], .nullable = true};
    for (uint32_t i = 0; i < from->call_count; i++) {
        calls[i] = from->calls[i];
        widen(&calls[i]);
        columns[count++] = (struct mg_aggregate_column){.type = calls[i].type, .nullable = true};
        if (calls[i].function == MG_AGGREGATE_AVG)
            columns[count++] = (struct mg_aggregate_column){.type = type_int64};
    }
    aggregate->column_count = count;
    *out = aggregate;
    return MG_OK;
}

void mg_aggregate_exchange_free(struct mg_aggregate *aggregate)
{
    if (!aggregate)
        return;
    free(aggregate->calls);
    free(aggregate->columns);
    free(aggregate);
}
