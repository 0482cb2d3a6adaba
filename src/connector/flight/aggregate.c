/* aggregate.c -- aggregates of a scan descriptor: from protobuf to a bound aggregate, and to fields.
 *
 * In    magic.v1.Aggregation, already within the nesting limit; expressions are read as predicates are, counts are
 *       checked here, functions, types and rules by mg_aggregate_bind.
 * Rules the output profile's: SPARK's own, or MySQL's.
 * Threads  pure functions; memory is the arena's, the aggregate is the caller's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/aggregate.h"

#include "connector/flight/flight_internal.h"

static enum mg_code read_groups(const Magic__V1__Aggregation *proto, struct mg_arena *arena,
                                struct mg_aggregate_request *out, struct mg_error *err)
{
    const struct mg_expr **groups = mg_arena_array(arena, const struct mg_expr *, proto->n_groups + 1);

    if (!groups)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < proto->n_groups; i++) {
        struct mg_expr *expr = NULL;
        MG_TRY(mg_flight__predicate_read(proto->groups[i], arena, &expr, err));
        groups[i] = expr;
    }
    out->groups = groups;
    out->group_count = (uint32_t)proto->n_groups;
    return MG_OK;
}

static enum mg_code read_calls(const Magic__V1__Aggregation *proto, struct mg_arena *arena,
                               struct mg_aggregate_request *out, struct mg_error *err)
{
    struct mg_aggregate_call *calls = mg_arena_array(arena, struct mg_aggregate_call, proto->n_calls + 1);

    if (!calls)
        return mg_arena_fail(arena, err);
    for (size_t i = 0; i < proto->n_calls; i++) {
        struct mg_expr *expr = NULL;
        MG_TRY(mg_flight__predicate_read(proto->calls[i]->argument, arena, &expr, err));
        calls[i] = (struct mg_aggregate_call){.function = (enum mg_aggregate_function)proto->calls[i]->function,
                                              .argument = expr};
    }
    out->calls = calls;
    out->call_count = (uint32_t)proto->n_calls;
    return MG_OK;
}

enum mg_code mg_flight__aggregate_read(const Magic__V1__Aggregation *proto, const struct mg_schema *schema,
                                       enum mg_profile profile, struct mg_arena *arena, struct mg_aggregate **out,
                                       struct mg_error *err)
{
    struct mg_aggregate_request request = {
        .rules = profile == MG_PROFILE_SPARK ? MG_RULES_SPARK : MG_RULES_MYSQL,
        .is_partial = proto->partial,
    };

    if (proto->n_groups > MG_AGGREGATE_GROUPS_MAX || proto->n_calls > MG_AGGREGATE_CALLS_MAX)
        return mg_fail(err, MG_TOO_BIG, "an aggregate has %zu groups and %zu calls, at most %d and %d are possible",
                       proto->n_groups, proto->n_calls, (int)MG_AGGREGATE_GROUPS_MAX, (int)MG_AGGREGATE_CALLS_MAX);
    MG_TRY(read_groups(proto, arena, &request, err));
    MG_TRY(read_calls(proto, arena, &request, err));
    return mg_aggregate_bind(&request, schema, out, err);
}

enum mg_code mg_flight__aggregate_fields(const struct mg_aggregate *aggregate, struct mg_arena *arena,
                                         struct mg_field **out, struct mg_error *err)
{
    struct mg_field *fields = mg_arena_array(arena, struct mg_field, (size_t)aggregate->column_count + 1);

    if (!fields)
        return mg_arena_fail(arena, err);
    for (uint32_t i = 0; i < aggregate->column_count; i++) {
        const struct mg_aggregate_column *column = &aggregate->columns[i];
        char *name = mg_arena_text(arena, mg_slice_text(column->name));
        if (!name)
            return mg_arena_fail(arena, err);
        fields[i] = (struct mg_field){.name = mg_slice_text(name), .type = column->type, .nullable = column->nullable};
    }
    *out = fields;
    return MG_OK;
}
