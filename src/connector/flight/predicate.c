/* predicate.c -- predicate trees between protobuf and expr.
 *
 * In    magic.v1.Expr, already within the nesting limit; each node, operator and literal is checked here, argument
 *       counts and types by mg_predicate_bind, which knows the table.
 * Out   the same tree as magic.v1.Expr, for tickets of SQL statements.
 * Threads  pure functions; memory is the arena's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "connector/flight/flight_internal.h"

enum { DECIMAL_BYTES = 16, DECIMAL_PRECISION_MAX = 38, FRACTION_DIGITS = 6 };

/* ---- in ---- */

/* Counts nodes over the whole tree. */
struct reading {
    struct mg_arena *arena;
    uint32_t nodes;
};

static enum mg_code read_decimal(const Magic__V1__Decimal *proto, struct mg_value *out, struct mg_error *err)
{
    if (!proto || proto->unscaled.len < 1 || proto->unscaled.len > DECIMAL_BYTES)
        return mg_fail(err, MG_INVALID, "decimal literal has %zu bytes, not 1 to %d",
                       proto ? proto->unscaled.len : (size_t)0, (int)DECIMAL_BYTES);
    if (proto->precision < 1 || proto->precision > DECIMAL_PRECISION_MAX || proto->scale < 0 ||
        proto->scale > proto->precision)
        return mg_fail(err, MG_INVALID, "decimal literal has type decimal(%" PRId32 ",%" PRId32 "), which is none",
                       proto->precision, proto->scale);

    uint8_t bytes[DECIMAL_BYTES];
    bool negative = proto->unscaled.data[proto->unscaled.len - 1] & 0x80;
    memset(bytes, negative ? 0xff : 0, sizeof bytes);
    memcpy(bytes, proto->unscaled.data, proto->unscaled.len);
    mg_int128 v, bound = 1;
    memcpy(&v, bytes, sizeof v);
    for (int32_t i = 0; i < proto->precision; i++)
        bound *= 10;
    if (v >= bound || v <= -bound)
        return mg_fail(err, MG_INVALID, "decimal literal has more than %" PRId32 " digits", proto->precision);
    out->type = (struct mg_type){
        .id = MG_TYPE_DECIMAL, .precision = (uint8_t)proto->precision, .scale = (uint8_t)proto->scale};
    out->d = v;
    return MG_OK;
}

static enum mg_code read_value(const Magic__V1__Value *proto, struct mg_value *out, struct mg_error *err)
{
    struct mg_value v = {.type = {.id = MG_TYPE_NONE}};

    switch (proto ? proto->value_case : MAGIC__V1__VALUE__VALUE__NOT_SET) {
    case MAGIC__V1__VALUE__VALUE__NOT_SET: v.is_null = true; break;
    case MAGIC__V1__VALUE__VALUE_BOOL_VALUE:
        v.type.id = MG_TYPE_INT8;
        v.i = proto->bool_value ? 1 : 0;
        break;
    case MAGIC__V1__VALUE__VALUE_INT_VALUE:
        v.type.id = MG_TYPE_INT64;
        v.i = proto->int_value;
        break;
    case MAGIC__V1__VALUE__VALUE_UINT_VALUE:
        v.type.id = MG_TYPE_UINT64;
        v.u = proto->uint_value;
        break;
    case MAGIC__V1__VALUE__VALUE_FLOAT_VALUE:
        v.type.id = MG_TYPE_FLOAT64;
        v.f = proto->float_value;
        break;
    case MAGIC__V1__VALUE__VALUE_DECIMAL_VALUE: MG_TRY(read_decimal(proto->decimal_value, &v, err)); break;
    case MAGIC__V1__VALUE__VALUE_TEXT_VALUE:
        v.type.id = MG_TYPE_UTF8;
        v.text = mg_flight__bytes(proto->text_value);
        break;
    case MAGIC__V1__VALUE__VALUE_BINARY_VALUE:
        v.type.id = MG_TYPE_UTF8; /* compared bytewise, as text is */
        v.text = mg_flight__bytes(proto->binary_value);
        break;
    case MAGIC__V1__VALUE__VALUE_DATE_VALUE:
        v.type.id = MG_TYPE_DATE;
        v.i = proto->date_value;
        break;
    case MAGIC__V1__VALUE__VALUE_DATETIME_VALUE:
        v.type = (struct mg_type){.id = MG_TYPE_DATETIME, .precision = FRACTION_DIGITS};
        v.i = proto->datetime_value;
        break;
    case MAGIC__V1__VALUE__VALUE_TIMESTAMP_VALUE:
        v.type = (struct mg_type){.id = MG_TYPE_TIMESTAMP, .precision = FRACTION_DIGITS};
        v.i = proto->timestamp_value;
        break;
    default: return mg_fail(err, MG_INVALID, "literal has an unknown kind (%d)", (int)proto->value_case);
    }
    *out = v;
    return MG_OK;
}

static enum mg_code read_node(struct reading *reading, const Magic__V1__Expr *proto, unsigned depth,
                              struct mg_expr **out, struct mg_error *err);

static bool is_known(Magic__V1__Call__Op op)
{
    return (op >= MAGIC__V1__CALL__OP__EQ && op <= MAGIC__V1__CALL__OP__BETWEEN) ||
           (op >= MAGIC__V1__CALL__OP__ADD && op <= MAGIC__V1__CALL__OP__CAST);
}

static enum mg_code read_type(const Magic__V1__Type *proto, struct mg_type *out, struct mg_error *err)
{
    if (!proto || proto->kind < MAGIC__V1__TYPE__KIND__INT8 || proto->kind > MAGIC__V1__TYPE__KIND__DECIMAL)
        return mg_fail(err, MG_INVALID, "a cast names no number's type");
    struct mg_type type = {.id = (enum mg_type_id)proto->kind,
                           .precision = (uint8_t)MG_MIN(proto->precision, (uint32_t)UINT8_MAX),
                           .scale = (uint8_t)MG_MIN(proto->scale, (uint32_t)UINT8_MAX)};
    MG_TRY(mg_type_check(type, err));
    *out = type;
    return MG_OK;
}

static enum mg_code read_call(struct reading *reading, const Magic__V1__Call *proto, unsigned depth,
                              struct mg_expr **out, struct mg_error *err)
{
    if (!is_known(proto->op))
        return mg_fail(err, MG_INVALID, "predicate has an unknown operator (%d)", (int)proto->op);
    if (proto->n_args > MG_EXPR_NODES_MAX)
        return mg_fail(err, MG_TOO_BIG, "predicate has more than %d nodes", (int)MG_EXPR_NODES_MAX);

    struct mg_expr **args = mg_arena_array(reading->arena, struct mg_expr *, proto->n_args + 1);
    if (!args)
        return mg_arena_fail(reading->arena, err);
    for (size_t i = 0; i < proto->n_args; i++)
        MG_TRY(read_node(reading, proto->args[i], depth + 1, &args[i], err));
    struct mg_expr *call = mg_expr_call(reading->arena, (enum mg_expr_op)proto->op, args, (uint32_t)proto->n_args);
    if (!call)
        return mg_arena_fail(reading->arena, err);
    call->pad_space = proto->pad_space;
    if (call->op == MG_EXPR_CAST)
        MG_TRY(read_type(proto->type, &call->cast_type, err));
    *out = call;
    return MG_OK;
}

static enum mg_code read_node(struct reading *reading, const Magic__V1__Expr *proto, unsigned depth,
                              struct mg_expr **out, struct mg_error *err)
{
    struct mg_expr *node = NULL;
    struct mg_value value;

    if (depth >= MG_EXPR_DEPTH_MAX)
        return mg_fail(err, MG_TOO_BIG, "predicate is deeper than %d levels", (int)MG_EXPR_DEPTH_MAX);
    if (++reading->nodes > MG_EXPR_NODES_MAX)
        return mg_fail(err, MG_TOO_BIG, "predicate has more than %d nodes", (int)MG_EXPR_NODES_MAX);
    switch (proto->node_case) {
    case MAGIC__V1__EXPR__NODE_COLUMN: node = mg_expr_column(reading->arena, mg_slice_text(proto->column->name)); break;
    case MAGIC__V1__EXPR__NODE_LITERAL:
        MG_TRY(read_value(proto->literal, &value, err));
        node = mg_expr_literal(reading->arena, &value);
        break;
    case MAGIC__V1__EXPR__NODE_CALL: return read_call(reading, proto->call, depth, out, err);
    default: return mg_fail(err, MG_INVALID, "predicate has a node that is neither column, literal nor call");
    }
    if (!node)
        return mg_arena_fail(reading->arena, err);
    *out = node;
    return MG_OK;
}

enum mg_code mg_flight__predicate_read(const Magic__V1__Expr *proto, struct mg_arena *arena, struct mg_expr **out,
                                       struct mg_error *err)
{
    struct reading reading = {.arena = arena};

    *out = NULL;
    return proto ? read_node(&reading, proto, 0, out, err) : MG_OK;
}

/* ---- out ---- */

static enum mg_code write_decimal(const struct mg_value *value, struct mg_arena *arena, Magic__V1__Value *out,
                                  struct mg_error *err)
{
    out->decimal_value = mg_arena_new(arena, Magic__V1__Decimal);
    uint8_t *bytes = mg_arena_alloc(arena, DECIMAL_BYTES);

    if (!out->decimal_value || !bytes)
        return mg_arena_fail(arena, err);
    magic__v1__decimal__init(out->decimal_value);
    memcpy(bytes, &value->d, DECIMAL_BYTES);
    out->value_case = MAGIC__V1__VALUE__VALUE_DECIMAL_VALUE;
    out->decimal_value->unscaled = (ProtobufCBinaryData){.len = DECIMAL_BYTES, .data = bytes};
    out->decimal_value->precision = value->type.precision;
    out->decimal_value->scale = value->type.scale;
    return MG_OK;
}

static enum mg_code write_value(const struct mg_value *value, struct mg_arena *arena, Magic__V1__Value *out,
                                struct mg_error *err)
{
    if (value->is_null)
        return MG_OK; /* not set */
    switch (value->type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64:
        out->value_case = MAGIC__V1__VALUE__VALUE_INT_VALUE;
        out->int_value = value->i;
        return MG_OK;
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64:
        out->value_case = MAGIC__V1__VALUE__VALUE_UINT_VALUE;
        out->uint_value = value->u;
        return MG_OK;
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64:
        out->value_case = MAGIC__V1__VALUE__VALUE_FLOAT_VALUE;
        out->float_value = value->f;
        return MG_OK;
    case MG_TYPE_DECIMAL: return write_decimal(value, arena, out, err);
    case MG_TYPE_DATE:
        out->value_case = MAGIC__V1__VALUE__VALUE_DATE_VALUE;
        out->date_value = (int32_t)value->i;
        return MG_OK;
    case MG_TYPE_DATETIME:
        out->value_case = MAGIC__V1__VALUE__VALUE_DATETIME_VALUE;
        out->datetime_value = value->i;
        return MG_OK;
    case MG_TYPE_TIMESTAMP:
        out->value_case = MAGIC__V1__VALUE__VALUE_TIMESTAMP_VALUE;
        out->timestamp_value = value->i;
        return MG_OK;
    case MG_TYPE_UTF8:
        out->value_case = MAGIC__V1__VALUE__VALUE_TEXT_VALUE;
        out->text_value = mg_flight__binary(value->text);
        return MG_OK;
    case MG_TYPE_NONE: break;
    }
    return mg_fail(err, MG_INTERNAL, "literal of type %d has no form on the wire", (int)value->type.id);
}

static enum mg_code write_type(struct mg_type type, struct mg_arena *arena, Magic__V1__Type **out, struct mg_error *err)
{
    *out = mg_arena_new(arena, Magic__V1__Type);
    if (!*out)
        return mg_arena_fail(arena, err);
    magic__v1__type__init(*out);
    (*out)->kind = (Magic__V1__Type__Kind)type.id;
    (*out)->precision = type.precision;
    (*out)->scale = type.scale;
    return MG_OK;
}

static enum mg_code write_call(const struct mg_expr *expr, struct mg_arena *arena, Magic__V1__Expr *out,
                               struct mg_error *err)
{
    Magic__V1__Call *call = mg_arena_new(arena, Magic__V1__Call);
    Magic__V1__Expr **args = mg_arena_array(arena, Magic__V1__Expr *, (size_t)expr->arg_count + 1);

    if (!call || !args)
        return mg_arena_fail(arena, err);
    magic__v1__call__init(call);
    call->op = (Magic__V1__Call__Op)expr->op;
    call->pad_space = expr->pad_space;
    call->n_args = expr->arg_count;
    call->args = args;
    for (uint32_t i = 0; i < expr->arg_count; i++)
        MG_TRY(mg_flight__predicate_write(expr->args[i], arena, &args[i], err));
    if (expr->op == MG_EXPR_CAST)
        MG_TRY(write_type(expr->cast_type, arena, &call->type, err));
    out->node_case = MAGIC__V1__EXPR__NODE_CALL;
    out->call = call;
    return MG_OK;
}

/* Recursion is as deep as the tree, which its maker bounded by MG_EXPR_DEPTH_MAX. */
enum mg_code mg_flight__predicate_write(const struct mg_expr *expr, struct mg_arena *arena, Magic__V1__Expr **out,
                                        struct mg_error *err)
{
    Magic__V1__Expr *node = mg_arena_new(arena, Magic__V1__Expr);

    if (!node)
        return mg_arena_fail(arena, err);
    magic__v1__expr__init(node);
    if (expr->op == MG_EXPR_COLUMN) {
        node->column = mg_arena_new(arena, Magic__V1__ColumnRef);
        char *name = mg_arena_text(arena, expr->column_name);
        if (!node->column || !name)
            return mg_arena_fail(arena, err);
        magic__v1__column_ref__init(node->column);
        node->column->name = name;
        node->node_case = MAGIC__V1__EXPR__NODE_COLUMN;
    } else if (expr->op == MG_EXPR_LITERAL) {
        node->literal = mg_arena_new(arena, Magic__V1__Value);
        if (!node->literal)
            return mg_arena_fail(arena, err);
        magic__v1__value__init(node->literal);
        node->node_case = MAGIC__V1__EXPR__NODE_LITERAL;
        MG_TRY(write_value(&expr->literal, arena, node->literal, err));
    } else {
        MG_TRY(write_call(expr, arena, node, err));
    }
    *out = node;
    return MG_OK;
}
