/* aggregate.c -- from a request for aggregates to scalars and the types of their results.
 *
 * Source   the types are MySQL's (as TiDB infers them) and Spark's, cut at 38 digits.
 * Threads  a bound aggregate is immutable.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/aggregate.h"

#include <stdio.h>
#include <stdlib.h>

#include "expr/scalar_internal.h"

enum { SUM_DIGITS_MYSQL = 22, SUM_DIGITS_SPARK = 10, AVG_DIGITS = 4, AVG_SCALE_MAX_MYSQL = 30 };

static const struct mg_type type_int64 = {.id = MG_TYPE_INT64}, type_float64 = {.id = MG_TYPE_FLOAT64};

static struct mg_type decimal(uint32_t precision, uint32_t scale)
{
    precision = MG_MIN(precision, (uint32_t)MG_DECIMAL_PRECISION_MAX);
    return (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = (uint8_t)precision, .scale = (uint8_t)scale};
}

static struct mg_type sum_type(enum mg_rules rules, enum mg_aggregate_function function, struct mg_type type)
{
    uint32_t more = rules == MG_RULES_SPARK ? SUM_DIGITS_SPARK : SUM_DIGITS_MYSQL;

    if (mg_scalar__is_float(type.id))
        return type_float64;
    if (type.id == MG_TYPE_DECIMAL)
        return decimal(type.precision + more, type.scale);
    return rules == MG_RULES_SPARK && function == MG_AGGREGATE_SUM ? type_int64 : decimal(MG_DECIMAL_PRECISION_MAX, 0);
}

static struct mg_type avg_type(enum mg_rules rules, struct mg_type type)
{
    if (mg_scalar__is_float(type.id) || (type.id != MG_TYPE_DECIMAL && rules == MG_RULES_SPARK))
        return type_float64;
    if (type.id != MG_TYPE_DECIMAL)
        return decimal(mg_scalar__digits(type.id) + (uint32_t)AVG_DIGITS, AVG_DIGITS);
    uint32_t scale_max = rules == MG_RULES_SPARK ? (uint32_t)MG_DECIMAL_PRECISION_MAX : (uint32_t)AVG_SCALE_MAX_MYSQL;
    scale_max = MG_MAX(scale_max, (uint32_t)type.scale);
    return decimal(type.precision + (uint32_t)AVG_DIGITS, MG_MIN(type.scale + (uint32_t)AVG_DIGITS, scale_max));
}

static enum mg_code check_argument(enum mg_aggregate_function function, struct mg_type type, struct mg_error *err)
{
    char text[48];
    bool is_number = type.id >= MG_TYPE_INT8 && type.id <= MG_TYPE_DECIMAL;

    if (type.id == MG_TYPE_NONE)
        return mg_fail(err, MG_INVALID, "an aggregate of a NULL without a type");
    if ((function != MG_AGGREGATE_SUM && function != MG_AGGREGATE_AVG) || is_number)
        return MG_OK;
    mg_type_format(type, text);
    return mg_fail(err, MG_INVALID, "values of type %s have no sum and no average", text);
}

static enum mg_code bind_call(const struct mg_aggregate *aggregate, const struct mg_aggregate_call *call,
                              const struct mg_schema *schema, struct mg_aggregate_bound_call *out, struct mg_error *err)
{
    if (call->function < MG_AGGREGATE_COUNT_ALL || call->function > MG_AGGREGATE_AVG)
        return mg_fail(err, MG_INVALID, "aggregate function number %d is not known", (int)call->function);
    if ((call->function == MG_AGGREGATE_COUNT_ALL) != !call->argument)
        return mg_fail(err, MG_INVALID, "COUNT(*) takes no argument, every other aggregate takes one");
    out->function = call->function;
    out->type = type_int64;
    if (!call->argument)
        return MG_OK;
    MG_TRY(mg_scalar_bind(call->argument, schema, aggregate->rules, &out->argument, err));
    struct mg_type type = mg_scalar_type(out->argument);
    MG_TRY(check_argument(call->function, type, err));
    if (call->function == MG_AGGREGATE_MIN || call->function == MG_AGGREGATE_MAX)
        out->type = type;
    if (call->function != MG_AGGREGATE_SUM && call->function != MG_AGGREGATE_AVG)
        return MG_OK;
    out->sum_type = sum_type(aggregate->rules, call->function, type);
    out->type = call->function == MG_AGGREGATE_AVG && !aggregate->is_partial ? avg_type(aggregate->rules, type)
                                                                             : out->sum_type;
    return MG_OK;
}

static enum mg_code check_nodes(uint32_t nodes, struct mg_error *err)
{
    if (nodes <= MG_AGGREGATE_NODES_MAX)
        return MG_OK;
    return mg_fail(err, MG_TOO_BIG, "the expressions of an aggregate have more than %d nodes",
                   (int)MG_AGGREGATE_NODES_MAX);
}

static enum mg_code bind_all(struct mg_aggregate *aggregate, const struct mg_aggregate_request *request,
                             const struct mg_schema *schema, struct mg_error *err)
{
    uint32_t nodes = 0;

    for (uint32_t i = 0; i < request->group_count; i++) {
        MG_TRY(mg_scalar_bind(request->groups[i], schema, request->rules, &aggregate->groups[i], err));
        aggregate->group_count = i + 1;
        aggregate->group_types[i] = mg_scalar_type(aggregate->groups[i]);
        if (aggregate->group_types[i].id == MG_TYPE_NONE)
            return mg_fail(err, MG_INVALID, "a group by a NULL without a type");
        nodes += aggregate->groups[i]->slot_count;
    }
    MG_TRY(check_nodes(nodes, err));
    for (uint32_t i = 0; i < request->call_count; i++) {
        aggregate->call_count = i + 1;
        MG_TRY(bind_call(aggregate, &request->calls[i], schema, &aggregate->calls[i], err));
        nodes += aggregate->calls[i].argument ? aggregate->calls[i].argument->slot_count : 1;
        MG_TRY(check_nodes(nodes, err));
    }
    return MG_OK;
}

static void add_column(struct mg_aggregate *aggregate, struct mg_type type, bool nullable, const char *what,
                       uint32_t number, const char *suffix)
{
    struct mg_aggregate_column *column = &aggregate->columns[aggregate->column_count++];

    *column = (struct mg_aggregate_column){.type = type, .nullable = nullable};
    snprintf(column->name, sizeof column->name, "%s_%u%s", what, number, suffix);
}

static void list_columns(struct mg_aggregate *aggregate)
{
    for (uint32_t i = 0; i < aggregate->group_count; i++)
        add_column(aggregate, aggregate->group_types[i], true, "group", i, "");
    for (uint32_t i = 0; i < aggregate->call_count; i++) {
        const struct mg_aggregate_bound_call *call = &aggregate->calls[i];
        bool counts = call->function == MG_AGGREGATE_COUNT_ALL || call->function == MG_AGGREGATE_COUNT;
        add_column(aggregate, call->type, !counts, "call", i, "");
        if (call->function == MG_AGGREGATE_AVG && aggregate->is_partial)
            add_column(aggregate, type_int64, false, "call", i, "_count");
    }
}

static enum mg_code check_request(const struct mg_aggregate_request *request, struct mg_error *err)
{
    if (request->group_count + request->call_count == 0)
        return mg_fail(err, MG_INVALID, "an aggregate asks for nothing");
    if (request->group_count > MG_AGGREGATE_GROUPS_MAX || request->call_count > MG_AGGREGATE_CALLS_MAX)
        return mg_fail(err, MG_TOO_BIG, "an aggregate has %u groups and %u calls, at most %d and %d are possible",
                       request->group_count, request->call_count, (int)MG_AGGREGATE_GROUPS_MAX,
                       (int)MG_AGGREGATE_CALLS_MAX);
    if (request->rules != MG_RULES_MYSQL && request->rules != MG_RULES_SPARK)
        return mg_fail(err, MG_INVALID, "rules number %d are not known", (int)request->rules);
    return MG_OK;
}

enum mg_code mg_aggregate_bind(const struct mg_aggregate_request *request, const struct mg_schema *schema,
                               struct mg_aggregate **out, struct mg_error *err)
{
    MG_TRY(check_request(request, err));
    MG_CLEANUP(mg_aggregate_freep) struct mg_aggregate *aggregate = calloc(1, sizeof *aggregate);
    if (!aggregate)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    aggregate->rules = request->rules;
    aggregate->is_partial = request->is_partial;
    aggregate->schema_column_count = schema->column_count;
    aggregate->groups = calloc((size_t)request->group_count + 1, sizeof(struct mg_scalar *));
    aggregate->group_types = calloc((size_t)request->group_count + 1, sizeof *aggregate->group_types);
    aggregate->calls = calloc((size_t)request->call_count + 1, sizeof *aggregate->calls);
    aggregate->columns = calloc((size_t)request->group_count + 2 * (size_t)request->call_count,
                                sizeof *aggregate->columns);
    aggregate->schema_types = calloc((size_t)schema->column_count + 1, sizeof *aggregate->schema_types);
    if (!aggregate->groups || !aggregate->group_types || !aggregate->calls || !aggregate->columns ||
        !aggregate->schema_types)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    for (uint32_t i = 0; i < schema->column_count; i++)
        aggregate->schema_types[i] = schema->columns[i].type;
    MG_TRY(bind_all(aggregate, request, schema, err));
    list_columns(aggregate);
    *out = MG_TAKE(aggregate);
    return MG_OK;
}

void mg_aggregate_free(struct mg_aggregate *aggregate)
{
    if (!aggregate)
        return;
    for (uint32_t i = 0; i < aggregate->group_count; i++)
        mg_scalar_free(aggregate->groups[i]);
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        mg_scalar_free(aggregate->calls[i].argument);
    free(aggregate->groups);
    free(aggregate->group_types);
    free(aggregate->calls);
    free(aggregate->columns);
    free(aggregate->schema_types);
    free(aggregate);
}

void mg_aggregate_freep(struct mg_aggregate **aggregate)
{
    mg_aggregate_free(*aggregate);
    *aggregate = NULL;
}

void mg_aggregate_mark(const struct mg_aggregate *aggregate, bool *used)
{
    for (uint32_t i = 0; i < aggregate->group_count; i++)
        mg_scalar_mark(aggregate->groups[i], used);
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        if (aggregate->calls[i].argument)
            mg_scalar_mark(aggregate->calls[i].argument, used);
}
