/* expr.c -- trees of conditions and values before they are bound: made in an arena, shown as text.
 *
 * Text      MySQL's spelling; every AND, OR and NOT has its own parentheses, so that nothing depends on precedence.
 * Threads   a tree belongs to whoever owns its arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "expr/expr.h"

#include <string.h>

struct mg_expr *mg_expr_column(struct mg_arena *arena, struct mg_slice name)
{
    struct mg_expr *expr = mg_arena_new(arena, struct mg_expr);
    char *copy = mg_arena_text(arena, name);

    if (!expr || !copy)
        return NULL;
    expr->op = MG_EXPR_COLUMN;
    expr->column_name = MG_SLICE(copy, name.size);
    return expr;
}

struct mg_expr *mg_expr_literal(struct mg_arena *arena, const struct mg_value *value)
{
    struct mg_expr *expr = mg_arena_new(arena, struct mg_expr);

    if (!expr)
        return NULL;
    expr->op = MG_EXPR_LITERAL;
    expr->literal = *value;
    if (!value->is_null && value->type.id == MG_TYPE_UTF8) {
        char *copy = mg_arena_text(arena, value->text);
        if (!copy)
            return NULL;
        expr->literal.text = MG_SLICE(copy, value->text.size);
    }
    return expr;
}

struct mg_expr *mg_expr_call(struct mg_arena *arena, enum mg_expr_op op, struct mg_expr *const *args,
                             uint32_t arg_count)
{
    struct mg_expr *expr = mg_arena_new(arena, struct mg_expr);
    struct mg_expr **copy = mg_arena_array(arena, struct mg_expr *, (size_t)arg_count + 1);

    if (!expr || !copy)
        return NULL;
    expr->op = op;
    expr->args = copy;
    expr->arg_count = arg_count;
    for (uint32_t i = 0; i < arg_count; i++) {
        if (!args[i]) /* the arena was full when it was made */
            return NULL;
        copy[i] = args[i];
    }
    return expr;
}

/* ---- text ---------------------------------------------------------------------------------------------------- */

static bool is_plain_name(struct mg_slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return name.size > 0;
}

/* Between quotes, quotes inside doubled. */
static enum mg_code put_quoted(struct mg_slice text, uint8_t quote, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_append_u8(out, quote, err));
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == quote || (quote == '\'' && text.data[i] == '\\'))
            MG_TRY(mg_buffer_append_u8(out, text.data[i], err));
        MG_TRY(mg_buffer_append_u8(out, text.data[i], err));
    }
    return mg_buffer_append_u8(out, quote, err);
}

static enum mg_code put_literal(const struct mg_value *value, struct mg_buffer *out, struct mg_error *err)
{
    if (value->is_null)
        return mg_value_format(value, out, err);
    switch (value->type.id) {
    case MG_TYPE_UTF8: return put_quoted(value->text, '\'', out, err);
    case MG_TYPE_DATE: MG_TRY(mg_buffer_printf(out, err, "DATE '")); break;
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: MG_TRY(mg_buffer_printf(out, err, "TIMESTAMP '")); break;
    default: return mg_value_format(value, out, err);
    }
    MG_TRY(mg_value_format(value, out, err));
    return mg_buffer_printf(out, err, "'");
}

static const char *infix(enum mg_expr_op op)
{
    switch (op) {
    case MG_EXPR_EQ: return " = ";
    case MG_EXPR_NE: return " <> ";
    case MG_EXPR_LT: return " < ";
    case MG_EXPR_LE: return " <= ";
    case MG_EXPR_GT: return " > ";
    case MG_EXPR_GE: return " >= ";
    case MG_EXPR_EQ_NULL_SAFE: return " <=> ";
    case MG_EXPR_AND: return " AND ";
    case MG_EXPR_OR: return " OR ";
    case MG_EXPR_ADD: return " + ";
    case MG_EXPR_SUBTRACT: return " - ";
    case MG_EXPR_MULTIPLY: return " * ";
    case MG_EXPR_DIVIDE: return " / ";
    default: return NULL;
    }
}

static enum mg_code put_expr(const struct mg_expr *expr, uint32_t depth, struct mg_buffer *out, struct mg_error *err);

static enum mg_code put_list(const struct mg_expr *expr, uint32_t first, const char *separator, uint32_t depth,
                             struct mg_buffer *out, struct mg_error *err)
{
    for (uint32_t i = first; i < expr->arg_count; i++) {
        if (i > first)
            MG_TRY(mg_buffer_printf(out, err, "%s", separator));
        MG_TRY(put_expr(expr->args[i], depth, out, err));
    }
    return MG_OK;
}

static enum mg_code put_cast(const struct mg_expr *expr, struct mg_buffer *out, struct mg_error *err)
{
    char type[48];

    mg_type_format(expr->cast_type, type);
    return mg_buffer_printf(out, err, " AS %s)", type);
}

static enum mg_code put_call(const struct mg_expr *expr, uint32_t depth, struct mg_buffer *out, struct mg_error *err)
{
    MG_TRY(mg_buffer_printf(out, err, "%s", expr->op == MG_EXPR_CAST ? "CAST(" : "("));
    if (infix(expr->op)) {
        MG_TRY(put_list(expr, 0, infix(expr->op), depth, out, err));
        return mg_buffer_printf(out, err, ")");
    }
    if (expr->op == MG_EXPR_NOT)
        MG_TRY(mg_buffer_printf(out, err, "NOT "));
    if (expr->op == MG_EXPR_NEGATE)
        MG_TRY(mg_buffer_printf(out, err, "-"));
    if (expr->arg_count)
        MG_TRY(put_expr(expr->args[0], depth, out, err));
    switch (expr->op) {
    case MG_EXPR_IS_NULL: return mg_buffer_printf(out, err, " IS NULL)");
    case MG_EXPR_IS_NOT_NULL: return mg_buffer_printf(out, err, " IS NOT NULL)");
    case MG_EXPR_IN:
        MG_TRY(mg_buffer_printf(out, err, " IN ("));
        MG_TRY(put_list(expr, 1, ", ", depth, out, err));
        return mg_buffer_printf(out, err, "))");
    case MG_EXPR_BETWEEN:
        MG_TRY(mg_buffer_printf(out, err, " BETWEEN "));
        MG_TRY(put_list(expr, 1, " AND ", depth, out, err));
        return mg_buffer_printf(out, err, ")");
    case MG_EXPR_NOT:
    case MG_EXPR_NEGATE: return mg_buffer_printf(out, err, ")");
    case MG_EXPR_CAST: return put_cast(expr, out, err);
    default: return mg_fail(err, MG_INVALID, "an expression has the unknown operator number %d", (int)expr->op);
    }
}

static enum mg_code put_expr(const struct mg_expr *expr, uint32_t depth, struct mg_buffer *out, struct mg_error *err)
{
    if (depth == MG_EXPR_DEPTH_MAX)
        return mg_fail(err, MG_TOO_BIG, "an expression is nested more than %d deep", MG_EXPR_DEPTH_MAX);
    if (expr->op == MG_EXPR_LITERAL)
        return put_literal(&expr->literal, out, err);
    if (expr->op != MG_EXPR_COLUMN)
        return put_call(expr, depth + 1, out, err);
    if (is_plain_name(expr->column_name))
        return mg_buffer_append(out, expr->column_name.data, expr->column_name.size, err);
    return put_quoted(expr->column_name, '`', out, err);
}

enum mg_code mg_expr_format(const struct mg_expr *expr, struct mg_buffer *out, struct mg_error *err)
{
    return put_expr(expr, 0, out, err);
}
