/* bind.c -- makes a condition's literals fit the columns beside them, by MySQL's rules and without loss.
 *
 * Text beside a date or a number is read as one, exactly or not at all. Text beside text is compared under the column's
 * collation: PAD SPACE sets pad_space. What remains (numbers of different types, constants) is the business of
 * mg_predicate_bind.
 * Errors   MG_INVALID names the column, its type and the literal; MG_NOT_FOUND an unknown column.
 * Threads  pure functions; changes the tree in place.
 * Source   MySQL Reference Manual, "Date and Time Literals", "Type Conversion in Expression Evaluation"; differs: text
 *          that is not wholly a number is refused, where MySQL compares its leading part as a double.
 * SPDX-License-Identifier: Apache-2.0 */
#include "query/sql/sql_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t DAY_US = 86400000000;

static enum mg_code refuse(const struct mg_column *column, const struct mg_value *literal, const char *hint,
                           struct mg_error *err)
{
    char type[48], text[128] = "";
    struct mg_buffer shown;

    mg_type_format(column->type, type);
    mg_buffer_init(&shown, 4096);
    if (mg_value_format(literal, &shown, NULL) == MG_OK)
        snprintf(text, sizeof text, "%.*s", (int)MG_MIN(shown.size, sizeof text - 1), (const char *)shown.data);
    mg_buffer_clear(&shown);
    return mg_fail(err, MG_INVALID, "column %s of type %s cannot be compared with '%s': %s", column->name, type, text,
                   hint);
}

/* count digits as a number, or -1. */
static int digits(const char **at, const char *end, int count)
{
    int value = 0;

    if (end - *at < count)
        return -1;
    for (int i = 0; i < count; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return -1;
        value = value * 10 + (**at - '0');
    }
    return value;
}

static bool skip(const char **at, const char *end, char c) { return *at < end && **at == c ? ++*at, true : false; }

/* "+02:00" to minutes; MySQL allows -13:59 to +14:00. */
static bool parse_offset(const char **at, const char *end, int *out_minutes)
{
    bool minus = **at == '-';
    int hours, minutes;

    ++*at;
    if ((hours = digits(at, end, 2)) < 0 || !skip(at, end, ':') || (minutes = digits(at, end, 2)) < 0 || minutes > 59)
        return false;
    *out_minutes = minus ? -(hours * 60 + minutes) : hours * 60 + minutes;
    return *out_minutes > -14 * 60 && *out_minutes <= 14 * 60;
}

/* ".789012": microseconds; digits beyond the sixth must be 0. */
static bool parse_fraction(const char **at, const char *end, int64_t *out_us)
{
    int places = 0;

    *out_us = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at, places++) {
        if (places < 6)
            *out_us = *out_us * 10 + (**at - '0');
        else if (**at != '0')
            return false;
    }
    bool any = places > 0;
    for (; places < 6; places++)
        *out_us *= 10;
    return any;
}

bool mg_sql__parse_time(struct mg_slice text, int64_t *out_us)
{
    const char *at = (const char *)text.data, *end = at + text.size;
    int year, month, day, hour = 0, minute = 0, second = 0, offset = 0;
    int64_t fraction = 0;
    int32_t days;

    if (text.size == 0 || (year = digits(&at, end, 4)) < 0 || !skip(&at, end, '-') ||
        (month = digits(&at, end, 2)) < 0 || !skip(&at, end, '-') || (day = digits(&at, end, 2)) < 0 ||
        !mg_date_from_ymd(year, month, day, &days))
        return false;
    if (at < end) {
        if (!skip(&at, end, ' ') && !skip(&at, end, 'T'))
            return false;
        if ((hour = digits(&at, end, 2)) < 0 || !skip(&at, end, ':') || (minute = digits(&at, end, 2)) < 0 ||
            !skip(&at, end, ':') || (second = digits(&at, end, 2)) < 0 || hour > 23 || minute > 59 || second > 59)
            return false;
        if (skip(&at, end, '.') && !parse_fraction(&at, end, &fraction))
            return false;
        if (at < end && (*at == '+' || *at == '-') && !parse_offset(&at, end, &offset))
            return false;
    }
    *out_us = days * DAY_US + (((int64_t)hour * 60 + minute - offset) * 60 + second) * 1000000 + fraction;
    return at == end;
}

struct mg_value mg_sql__time_value(int64_t us)
{
    struct mg_value value = {.type = {.id = MG_TYPE_DATETIME, .precision = 6}, .i = us};

    if (us % DAY_US == 0) /* a date and its midnight are the same instant */
        value = (struct mg_value){.type = {.id = MG_TYPE_DATE}, .i = us / DAY_US};
    return value;
}

static enum mg_code text_to_time(const struct mg_column *column, struct mg_value *literal, struct mg_error *err)
{
    int64_t us;

    if (!mg_sql__parse_time(literal->text, &us))
        return refuse(column, literal, "write '2024-02-29' or '2024-02-29 12:34:56.789'", err);
    if (column->type.id == MG_TYPE_DATE)
        *literal = mg_sql__time_value(us);
    else
        *literal = (struct mg_value){.type = {.id = column->type.id, .precision = 6}, .i = us};
    return MG_OK;
}

/* The text as it must be to be a plain decimal number: [sign] digits [. digits]; *out_scale the digits behind the
 * point. */
static bool is_number(const char *text, size_t *out_digits, size_t *out_scale)
{
    size_t whole = 0, scale = 0;

    text += *text == '-' || *text == '+';
    for (; *text >= '0' && *text <= '9'; text++)
        whole++;
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++)
            scale++;
    *out_digits = whole + scale;
    *out_scale = scale;
    return !*text && whole + scale > 0;
}

static enum mg_code text_to_number(const struct mg_column *column, struct mg_value *literal, struct mg_arena *arena,
                                   struct mg_error *err)
{
    const char *text = mg_arena_text(arena, literal->text);
    struct mg_value value = {.type = {.id = MG_TYPE_INT64}};
    size_t count, scale;
    char *end;

    if (!text)
        return mg_arena_fail(arena, err);
    if (strlen(text) != literal->text.size || !is_number(text, &count, &scale))
        return refuse(column, literal, "the text is not a plain number", err);
    errno = 0;
    value.i = strtoll(text, &end, 10);
    if (*end || errno == ERANGE) {
        if (count > 38)
            return refuse(column, literal, "a number of more than 38 digits", err);
        value.type = (struct mg_type){.id = MG_TYPE_DECIMAL, .precision = 38, .scale = (uint8_t)scale};
        MG_TRY(mg_decimal_parse(mg_slice_text(text + (*text == '+')), 38, (uint8_t)scale, &value.d, err));
    }
    *literal = value;
    return MG_OK;
}

static bool is_time_type(enum mg_type_id id)
{
    return id == MG_TYPE_DATE || id == MG_TYPE_DATETIME || id == MG_TYPE_TIMESTAMP;
}

static enum mg_code fit_literal(const struct mg_column *column, struct mg_value *literal, struct mg_arena *arena,
                                struct mg_error *err)
{
    enum mg_type_id id = column->type.id;
    bool is_time = is_time_type(id);

    if (literal->is_null)
        return MG_OK;
    if (literal->type.id == MG_TYPE_UTF8) {
        if (id == MG_TYPE_UTF8)
            return MG_OK;
        return is_time ? text_to_time(column, literal, err) : text_to_number(column, literal, arena, err);
    }
    if (id == MG_TYPE_UTF8)
        return refuse(column, literal, "put the text in quotes", err);
    if (is_time != is_time_type(literal->type.id))
        return refuse(column, literal, is_time ? "write it as text, '2024-02-29'" : "a time is no number", err);
    return MG_OK;
}

static enum mg_code find_column(const struct mg_expr *expr, const struct mg_schema *schema,
                                const struct mg_column **out, struct mg_error *err)
{
    int place = mg_schema_find_name(schema, expr->column_name);

    if (place < 0)
        return mg_fail(err, MG_NOT_FOUND, "table %s.%s has no column %.*s", schema->database, schema->table,
                       (int)MG_MIN(expr->column_name.size, (size_t)MG_NAME_MAX), (const char *)expr->column_name.data);
    *out = &schema->columns[place];
    return MG_OK;
}

static enum mg_code bind_comparison(struct mg_expr *expr, const struct mg_schema *schema, struct mg_arena *arena,
                                    struct mg_error *err)
{
    const struct mg_column *column = NULL, *other;

    for (uint32_t i = 0; i < expr->arg_count; i++) {
        if (expr->args[i]->op != MG_EXPR_COLUMN)
            continue;
        MG_TRY(find_column(expr->args[i], schema, &other, err));
        column = column ? column : other;
        if (other->type.id == MG_TYPE_UTF8 && other->type.collation == MG_COLLATION_PAD_SPACE)
            expr->pad_space = true;
    }
    for (uint32_t i = 0; column && i < expr->arg_count; i++)
        if (expr->args[i]->op == MG_EXPR_LITERAL)
            MG_TRY(fit_literal(column, &expr->args[i]->literal, arena, err));
    return MG_OK;
}

enum mg_code mg_sql_bind(struct mg_expr *where, const struct mg_schema *schema, struct mg_arena *arena,
                         struct mg_error *err)
{
    if (!where)
        return MG_OK;
    switch (where->op) {
    case MG_EXPR_AND:
    case MG_EXPR_OR:
    case MG_EXPR_NOT: /* the parser bounds the depth */
        for (uint32_t i = 0; i < where->arg_count; i++)
            MG_TRY(mg_sql_bind(where->args[i], schema, arena, err));
        return MG_OK;
    case MG_EXPR_COLUMN:
    case MG_EXPR_LITERAL: return MG_OK;
    default: return bind_comparison(where, schema, arena, err);
    }
}
