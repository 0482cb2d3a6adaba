/* parser.c -- tokens to a statement: recursive descent, one function a rule of the grammar in sql.h.
 *
 * Precedence, loosest first: OR and ||, AND and &&, NOT, comparison. Depth is bounded by MG_EXPR_DEPTH_MAX, size by the
 * arena.
 * Errors   what is known SQL but not spoken here is MG_UNIMPLEMENTED and named; the rest is MG_INVALID with what was
 *          expected.
 * Threads  pure functions over the caller's arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "query/sql/lexer.h"
#include "query/sql/sql_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

/* What stood in front of a column; checked once the table is known. */
struct qualifier {
    struct qualifier *next;
    struct mg_slice database, table; /* database may be empty */
    size_t at;
};

struct parser {
    struct mg_lexer lexer;
    struct mg_token token; /* the one to look at */
    uint32_t depth;
    struct qualifier *qualifiers;
};

static enum mg_code next(struct parser *p, struct mg_error *err) { return mg_lexer__next(&p->lexer, &p->token, err); }

static enum mg_code fail_expected(struct parser *p, const char *expected, struct mg_error *err)
{
    if (p->token.kind == MG_TOKEN_END)
        return mg_lexer__fail(&p->lexer, MG_INVALID, p->token.at, err, "the statement ends where %s is expected",
                              expected);
    return mg_lexer__fail(&p->lexer, MG_INVALID, p->token.at, err, "%.*s where %s is expected",
                          (int)MG_MIN(p->token.text.size, (size_t)64), (const char *)p->token.text.data, expected);
}

static enum mg_code refuse(struct parser *p, const char *what, struct mg_error *err)
{
    return mg_lexer__fail(&p->lexer, MG_UNIMPLEMENTED, p->token.at, err, "this version's SQL has no %s", what);
}

static bool is_keyword(const struct mg_token *token, const char *keyword)
{
    return token->kind == MG_TOKEN_WORD && token->text.size == strlen(keyword) &&
           strncasecmp((const char *)token->text.data, keyword, token->text.size) == 0;
}
static bool is_symbol(const struct mg_token *token, const char *text)
{
    return token->kind == MG_TOKEN_SYMBOL && token->text.size == strlen(text) &&
           memcmp(token->text.data, text, token->text.size) == 0;
}

/* Take the keyword or symbol if it is there. */
static enum mg_code accept_keyword(struct parser *p, const char *keyword, bool *out, struct mg_error *err)
{
    *out = is_keyword(&p->token, keyword);
    return *out ? next(p, err) : MG_OK;
}
static enum mg_code accept_symbol(struct parser *p, const char *text, bool *out, struct mg_error *err)
{
    *out = is_symbol(&p->token, text);
    return *out ? next(p, err) : MG_OK;
}
static enum mg_code expect_keyword(struct parser *p, const char *keyword, struct mg_error *err)
{
    return is_keyword(&p->token, keyword) ? next(p, err) : fail_expected(p, keyword, err);
}
static enum mg_code expect_symbol(struct parser *p, const char *text, struct mg_error *err)
{
    return is_symbol(&p->token, text) ? next(p, err) : fail_expected(p, text, err);
}

/* Words that cannot be a bare name here: they would make mistakes read as columns. */
static bool is_reserved(const struct mg_token *token)
{
    static const char *const words[] = {"SELECT", "FROM", "WHERE", "LIMIT",   "AND",    "OR",      "NOT",
                                        "IN",     "IS",   "NULL",  "GROUP",   "ORDER",  "BY",      "UNION",
                                        "JOIN",   "ON",   "AS",    "BETWEEN", "LIKE",   "CASE",    "HAVING",
                                        "INNER",  "LEFT", "RIGHT", "CROSS",   "EXISTS", "DISTINCT"};
    for (size_t i = 0; i < MG_COUNT_OF(words); i++)
        if (is_keyword(token, words[i]))
            return true;
    return false;
}

static enum mg_code name(struct parser *p, const char *expected, struct mg_slice *out, struct mg_error *err)
{
    if (p->token.kind != MG_TOKEN_NAME && (p->token.kind != MG_TOKEN_WORD || is_reserved(&p->token)))
        return fail_expected(p, expected, err);
    *out = p->token.text;
    if (out->size == 0 || out->size >= MG_NAME_MAX)
        return mg_lexer__fail(&p->lexer, MG_INVALID, p->token.at, err, "a name of %zu bytes: 1 to %d are allowed",
                              out->size, MG_NAME_MAX - 1);
    return next(p, err);
}

/* column, table.column or database.table.column. */
static enum mg_code qualified_column(struct parser *p, const char *expected, struct mg_slice *out, struct mg_error *err)
{
    struct mg_slice parts[3];
    size_t at = p->token.at, count = 0;
    bool dot;

    do {
        if (count == MG_COUNT_OF(parts))
            return fail_expected(p, "a column of one table", err);
        MG_TRY(name(p, count ? "a column" : expected, &parts[count], err));
        count++;
        MG_TRY(accept_symbol(p, ".", &dot, err));
    } while (dot);
    *out = parts[count - 1];
    if (count == 1)
        return MG_OK;
    struct qualifier *qualifier = mg_arena_new(p->lexer.arena, struct qualifier);
    if (!qualifier)
        return mg_arena_fail(p->lexer.arena, err);
    *qualifier = (struct qualifier){.next = p->qualifiers, .table = parts[count - 2], .at = at};
    if (count == 3)
        qualifier->database = parts[0];
    p->qualifiers = qualifier;
    return MG_OK;
}

static bool same_name(struct mg_slice a, struct mg_slice b)
{
    return a.size == b.size && strncasecmp((const char *)a.data, (const char *)b.data, a.size) == 0;
}

static enum mg_code check_qualifiers(struct parser *p, const struct mg_sql_statement *s, struct mg_error *err)
{
    for (const struct qualifier *q = p->qualifiers; q; q = q->next)
        if (!same_name(q->table, s->table) ||
            (q->database.size && s->database.size && !same_name(q->database, s->database)))
            return mg_lexer__fail(&p->lexer, MG_INVALID, q->at, err, "%.*s is not the table that is read",
                                  (int)q->table.size, (const char *)q->table.data);
    return MG_OK;
}

/* ---- literals ------------------------------------------------------------------------------------------------ */

static enum mg_code make_literal(struct parser *p, const struct mg_value *value, struct mg_expr **out,
                                 struct mg_error *err)
{
    *out = mg_expr_literal(p->lexer.arena, value);
    return *out ? MG_OK : mg_arena_fail(p->lexer.arena, err);
}

static enum mg_code float_literal(struct parser *p, const char *digits, bool minus, struct mg_expr **out,
                                  struct mg_error *err)
{
    errno = 0;
    double f = strtod(digits, NULL);
    if (errno == ERANGE)
        return mg_lexer__fail(&p->lexer, MG_INVALID, p->token.at, err, "the number %.64s does not fit a double",
                              digits);
    struct mg_value value = {.type = {.id = MG_TYPE_FLOAT64}, .f = minus ? -f : f};
    MG_TRY(make_literal(p, &value, out, err));
    return next(p, err);
}

static enum mg_code decimal_literal(struct parser *p, const char *digits, bool minus, struct mg_expr **out,
                                    struct mg_error *err)
{
    const char *point = strchr(digits, '.');
    size_t scale = point ? strlen(point + 1) : 0, whole = point ? (size_t)(point - digits) : strlen(digits);
    struct mg_value value = {.type = {.id = MG_TYPE_DECIMAL}};

    for (; whole > 1 && *digits == '0'; whole--)
        digits++;
    if (whole + scale > 38)
        return mg_lexer__fail(&p->lexer, MG_INVALID, p->token.at, err,
                              "a number of %zu digits: at most 38 are exact, write it with an exponent for a double",
                              whole + scale);
    value.type.precision = (uint8_t)MG_MAX(whole + scale, (size_t)1);
    value.type.scale = (uint8_t)scale;
    MG_TRY(mg_decimal_parse(mg_slice_text(digits), value.type.precision, value.type.scale, &value.d, err));
    if (minus)
        value.d = -value.d;
    MG_TRY(make_literal(p, &value, out, err));
    return next(p, err);
}

static enum mg_code number_literal(struct parser *p, bool minus, struct mg_expr **out, struct mg_error *err)
{
    const char *digits = mg_arena_text(p->lexer.arena, p->token.text);
    struct mg_value value = {.type = {.id = MG_TYPE_INT64}};

    if (!digits)
        return mg_arena_fail(p->lexer.arena, err);
    if (strpbrk(digits, "eE"))
        return float_literal(p, digits, minus, out, err);
    errno = 0;
    unsigned long long u = strtoull(digits, NULL, 10);
    if (strchr(digits, '.') || errno == ERANGE || (minus && u > (uint64_t)INT64_MAX + 1))
        return decimal_literal(p, digits, minus, out, err);
    if (minus) {
        value.i = (int64_t)(0 - (uint64_t)u);
    } else if (u > INT64_MAX) {
        value.type.id = MG_TYPE_UINT64;
        value.u = u;
    } else {
        value.i = (int64_t)u;
    }
    MG_TRY(make_literal(p, &value, out, err));
    return next(p, err);
}

/* DATE'..' and TIMESTAMP'..', when a string follows the word; else *out stays NULL: it may be a column's name. */
static enum mg_code time_literal(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    struct mg_lexer ahead = p->lexer;
    struct mg_token text;
    int64_t us;

    MG_TRY(mg_lexer__next(&ahead, &text, err));
    if (text.kind != MG_TOKEN_STRING)
        return MG_OK;
    bool date = is_keyword(&p->token, "DATE");
    if (!mg_sql__parse_time(text.text, &us) || (date && text.text.size != strlen("2024-02-29")))
        return mg_lexer__fail(&p->lexer, MG_INVALID, text.at, err, "'%.*s' is no %s: write %s",
                              (int)MG_MIN(text.text.size, (size_t)64), (const char *)text.text.data,
                              date ? "date" : "timestamp", date ? "'2024-02-29'" : "'2024-02-29 12:34:56.789'");
    struct mg_value value = mg_sql__time_value(us);
    MG_TRY(make_literal(p, &value, out, err));
    p->lexer = ahead;
    return next(p, err);
}

/* TRUE, FALSE, NULL, times; *out stays NULL when it is none of them. */
static enum mg_code word_literal(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    struct mg_value value = {.type = {.id = MG_TYPE_INT64}};

    if (is_keyword(&p->token, "DATE") || is_keyword(&p->token, "TIMESTAMP"))
        return time_literal(p, out, err);
    if (is_keyword(&p->token, "NULL"))
        value = (struct mg_value){.is_null = true};
    else if (is_keyword(&p->token, "TRUE"))
        value.i = 1;
    else if (!is_keyword(&p->token, "FALSE"))
        return MG_OK;
    MG_TRY(make_literal(p, &value, out, err));
    return next(p, err);
}

/* *out stays NULL when no literal begins here. */
static enum mg_code literal(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    bool minus = is_symbol(&p->token, "-"), plus = is_symbol(&p->token, "+");
    struct mg_value text = {.type = {.id = MG_TYPE_UTF8}, .text = p->token.text};

    *out = NULL;
    if (minus || plus) {
        MG_TRY(next(p, err));
        return p->token.kind == MG_TOKEN_NUMBER ? number_literal(p, minus, out, err)
                                                : fail_expected(p, "a number", err);
    }
    switch (p->token.kind) {
    case MG_TOKEN_NUMBER: return number_literal(p, false, out, err);
    case MG_TOKEN_WORD: return word_literal(p, out, err);
    case MG_TOKEN_STRING:
    case MG_TOKEN_HEX: MG_TRY(make_literal(p, &text, out, err)); return next(p, err);
    default: return MG_OK;
    }
}

/* ---- conditions ---------------------------------------------------------------------------------------------- */

static enum mg_code condition(struct parser *p, struct mg_expr **out, struct mg_error *err);

static enum mg_code make_call(struct parser *p, enum mg_expr_op op, struct mg_expr *const *args, uint32_t count,
                              struct mg_expr **out, struct mg_error *err)
{
    *out = mg_expr_call(p->lexer.arena, op, args, count);
    return *out ? MG_OK : mg_arena_fail(p->lexer.arena, err);
}

static enum mg_code negate(struct parser *p, struct mg_expr **expr, struct mg_error *err)
{
    struct mg_expr *inner = *expr;
    return make_call(p, MG_EXPR_NOT, &inner, 1, expr, err);
}

/* A column or a literal. */
static enum mg_code operand(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    struct mg_slice first;

    MG_TRY(literal(p, out, err));
    if (*out)
        return MG_OK;
    if (is_keyword(&p->token, "CASE") || is_keyword(&p->token, "EXISTS"))
        return refuse(p, "CASE and no subqueries", err);
    MG_TRY(qualified_column(p, "a column or a literal", &first, err));
    if (is_symbol(&p->token, "("))
        return refuse(p, "functions", err);
    *out = mg_expr_column(p->lexer.arena, first);
    return *out ? MG_OK : mg_arena_fail(p->lexer.arena, err);
}

static enum mg_code in_list(struct parser *p, struct mg_expr *left, struct mg_expr **out, struct mg_error *err)
{
    uint32_t count = 1, capacity = 8;
    struct mg_expr **args = mg_arena_array(p->lexer.arena, struct mg_expr *, capacity);
    bool more = true;

    if (!args)
        return mg_arena_fail(p->lexer.arena, err);
    args[0] = left;
    MG_TRY(expect_symbol(p, "(", err));
    if (is_keyword(&p->token, "SELECT"))
        return refuse(p, "subqueries", err);
    while (more) {
        if (count == capacity) {
            struct mg_expr **wider = capacity < MG_EXPR_NODES_MAX
                                         ? mg_arena_array(p->lexer.arena, struct mg_expr *, (size_t)capacity * 2)
                                         : NULL;
            if (!wider)
                return mg_fail(err, MG_TOO_BIG, "a list of more than %u values", capacity);
            memcpy(wider, args, count * sizeof *args);
            args = wider;
            capacity *= 2;
        }
        MG_TRY(literal(p, &args[count], err));
        if (!args[count++])
            return fail_expected(p, "a literal", err);
        MG_TRY(accept_symbol(p, ",", &more, err));
    }
    MG_TRY(expect_symbol(p, ")", err));
    return make_call(p, MG_EXPR_IN, args, count, out, err);
}

static enum mg_code between(struct parser *p, struct mg_expr *left, struct mg_expr **out, struct mg_error *err)
{
    struct mg_expr *args[3] = {left};

    MG_TRY(operand(p, &args[1], err));
    MG_TRY(expect_keyword(p, "AND", err));
    MG_TRY(operand(p, &args[2], err));
    return make_call(p, MG_EXPR_BETWEEN, args, 3, out, err);
}

static enum mg_code is_null(struct parser *p, struct mg_expr *left, struct mg_expr **out, struct mg_error *err)
{
    bool not_null;

    MG_TRY(accept_keyword(p, "NOT", &not_null, err));
    if (is_keyword(&p->token, "TRUE") || is_keyword(&p->token, "FALSE") || is_keyword(&p->token, "UNKNOWN"))
        return refuse(p, "IS TRUE, IS FALSE and IS UNKNOWN", err);
    MG_TRY(expect_keyword(p, "NULL", err));
    return make_call(p, not_null ? MG_EXPR_IS_NOT_NULL : MG_EXPR_IS_NULL, &left, 1, out, err);
}

/* The comparison that the token is, or 0. */
static enum mg_expr_op comparison_op(const struct mg_token *token)
{
    static const struct {
        const char *text;
        enum mg_expr_op op;
    } ops[] = {{"=", MG_EXPR_EQ},  {"<=>", MG_EXPR_EQ_NULL_SAFE},
               {"<>", MG_EXPR_NE}, {"!=", MG_EXPR_NE},
               {"<", MG_EXPR_LT},  {"<=", MG_EXPR_LE},
               {">", MG_EXPR_GT},  {">=", MG_EXPR_GE}};
    for (size_t i = 0; i < MG_COUNT_OF(ops); i++)
        if (is_symbol(token, ops[i].text))
            return ops[i].op;
    return (enum mg_expr_op)0;
}

static enum mg_code comparison(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    struct mg_expr *args[2];
    bool negative, taken;

    MG_TRY(operand(p, &args[0], err));
    enum mg_expr_op op = comparison_op(&p->token);
    if (op) {
        MG_TRY(next(p, err));
        if (is_symbol(&p->token, "("))
            return refuse(p, "subqueries and no parentheses around operands", err);
        MG_TRY(operand(p, &args[1], err));
        return make_call(p, op, args, 2, out, err);
    }
    MG_TRY(accept_keyword(p, "IS", &taken, err));
    if (taken)
        return is_null(p, args[0], out, err);
    MG_TRY(accept_keyword(p, "NOT", &negative, err));
    if (is_keyword(&p->token, "LIKE") || is_keyword(&p->token, "RLIKE") || is_keyword(&p->token, "REGEXP"))
        return refuse(p, "LIKE, RLIKE and REGEXP", err);
    if (p->token.kind == MG_TOKEN_SYMBOL && strchr("+-*/%", p->token.text.data[0]))
        return refuse(p, "arithmetic", err);
    MG_TRY(accept_keyword(p, "IN", &taken, err));
    if (taken) {
        MG_TRY(in_list(p, args[0], out, err));
    } else if (is_keyword(&p->token, "BETWEEN")) {
        MG_TRY(next(p, err));
        MG_TRY(between(p, args[0], out, err));
    } else {
        return fail_expected(p, "a comparison, IN, BETWEEN or IS NULL", err);
    }
    return negative ? negate(p, out, err) : MG_OK;
}

static enum mg_code factor(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    bool taken;

    if (p->depth >= MG_EXPR_DEPTH_MAX - 4)
        return mg_lexer__fail(&p->lexer, MG_TOO_BIG, p->token.at, err, "a condition nested more than %d deep",
                              MG_EXPR_DEPTH_MAX - 4);
    p->depth++;
    if (is_keyword(&p->token, "NOT") || is_symbol(&p->token, "!")) {
        bool mark = is_symbol(&p->token, "!");
        MG_TRY(next(p, err));
        if (mark && !is_symbol(&p->token, "(")) /* it would bind tighter than NOT: !a = 1 is (!a) = 1 */
            return refuse(p, "! without parentheses behind it; write NOT", err);
        MG_TRY(factor(p, out, err));
        MG_TRY(negate(p, out, err));
    } else {
        MG_TRY(accept_symbol(p, "(", &taken, err));
        if (taken && is_keyword(&p->token, "SELECT"))
            return refuse(p, "subqueries", err);
        MG_TRY(taken ? condition(p, out, err) : comparison(p, out, err));
        if (taken)
            MG_TRY(expect_symbol(p, ")", err));
    }
    p->depth--;
    return MG_OK;
}

/* factor { AND factor } or term { OR term }: one flat call, however long. */
static enum mg_code chain(struct parser *p, bool is_or, struct mg_expr **out, struct mg_error *err);

static enum mg_code link_of(struct parser *p, bool is_or, struct mg_expr **out, struct mg_error *err)
{
    return is_or ? chain(p, false, out, err) : factor(p, out, err);
}

static enum mg_code chain(struct parser *p, bool is_or, struct mg_expr **out, struct mg_error *err)
{
    uint32_t count = 0, capacity = 4;
    struct mg_expr **args = mg_arena_array(p->lexer.arena, struct mg_expr *, capacity);

    if (!args)
        return mg_arena_fail(p->lexer.arena, err);
    for (;;) {
        if (count == capacity) {
            struct mg_expr **wider = mg_arena_array(p->lexer.arena, struct mg_expr *, (size_t)capacity * 2);
            if (!wider)
                return mg_arena_fail(p->lexer.arena, err);
            memcpy(wider, args, count * sizeof *args);
            args = wider;
            capacity *= 2;
        }
        MG_TRY(link_of(p, is_or, &args[count++], err));
        if (!is_keyword(&p->token, is_or ? "OR" : "AND") && !is_symbol(&p->token, is_or ? "||" : "&&"))
            break;
        MG_TRY(next(p, err));
    }
    if (is_keyword(&p->token, "XOR"))
        return refuse(p, "XOR", err);
    if (count == 1) {
        *out = args[0];
        return MG_OK;
    }
    return make_call(p, is_or ? MG_EXPR_OR : MG_EXPR_AND, args, count, out, err);
}

static enum mg_code condition(struct parser *p, struct mg_expr **out, struct mg_error *err)
{
    return chain(p, true, out, err);
}

/* ---- statements ---------------------------------------------------------------------------------------------- */

static enum mg_code select_list(struct parser *p, struct mg_sql_statement *out, struct mg_error *err)
{
    uint32_t capacity = 16;
    struct mg_slice *columns = mg_arena_array(p->lexer.arena, struct mg_slice, capacity);
    bool more = true;

    if (!columns)
        return mg_arena_fail(p->lexer.arena, err);
    MG_TRY(accept_symbol(p, "*", &out->all_columns, err));
    while (!out->all_columns && more) {
        if (out->column_count == capacity) {
            if (capacity >= MG_COLUMNS_MAX)
                return mg_fail(err, MG_TOO_BIG, "more than %d columns are selected", MG_COLUMNS_MAX);
            struct mg_slice *wider = mg_arena_array(p->lexer.arena, struct mg_slice, (size_t)capacity * 2);
            if (!wider)
                return mg_arena_fail(p->lexer.arena, err);
            memcpy(wider, columns, out->column_count * sizeof *columns);
            columns = wider;
            capacity *= 2;
        }
        if (is_keyword(&p->token, "DISTINCT") || is_keyword(&p->token, "CASE"))
            return refuse(p, "DISTINCT and no CASE", err);
        if (p->token.kind == MG_TOKEN_NUMBER || p->token.kind == MG_TOKEN_STRING || is_symbol(&p->token, "("))
            return refuse(p, "expressions in the select list", err);
        MG_TRY(qualified_column(p, "a column or *", &columns[out->column_count], err));
        if (is_symbol(&p->token, "("))
            return refuse(p, "functions and aggregates", err);
        if (p->token.kind == MG_TOKEN_SYMBOL && strchr("+-*/%<>=!&|", p->token.text.data[0]))
            return refuse(p, "expressions in the select list", err);
        if (is_keyword(&p->token, "AS") || (p->token.kind == MG_TOKEN_WORD && !is_reserved(&p->token)))
            return refuse(p, "aliases", err);
        out->column_count++;
        MG_TRY(accept_symbol(p, ",", &more, err));
    }
    out->columns = columns;
    return MG_OK;
}

static enum mg_code refuse_behind_table(struct parser *p, struct mg_error *err)
{
    static const char *const joins[] = {"JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL", "STRAIGHT_JOIN"};
    static const char *const others[] = {"GROUP",  "HAVING",    "ORDER", "UNION", "EXCEPT", "INTERSECT", "FOR", "LOCK",
                                         "WINDOW", "PARTITION", "USE",   "FORCE", "IGNORE", "OFFSET",    "INTO"};
    bool join = is_symbol(&p->token, ",");

    for (size_t i = 0; i < MG_COUNT_OF(joins); i++)
        join = join || is_keyword(&p->token, joins[i]);
    if (join)
        return mg_lexer__fail(&p->lexer, MG_UNIMPLEMENTED, p->token.at, err,
                              "Magic's SQL reads one table: joins belong to the calculator (Spark, Impala)");
    for (size_t i = 0; i < MG_COUNT_OF(others); i++)
        if (is_keyword(&p->token, others[i]))
            return refuse(p, others[i], err);
    return MG_OK;
}

static enum mg_code limit(struct parser *p, struct mg_sql_statement *out, struct mg_error *err)
{
    MG_TRY(accept_keyword(p, "LIMIT", &out->has_limit, err));
    if (!out->has_limit)
        return MG_OK;
    char *end = NULL;
    const char *digits = p->token.kind == MG_TOKEN_NUMBER ? mg_arena_text(p->lexer.arena, p->token.text) : NULL;
    errno = 0;
    if (digits)
        out->limit = strtoull(digits, &end, 10);
    if (!digits || *end || errno == ERANGE)
        return fail_expected(p, "a row count", err);
    MG_TRY(next(p, err));
    if (is_symbol(&p->token, ",") || is_keyword(&p->token, "OFFSET"))
        return refuse(p, "OFFSET", err);
    return MG_OK;
}

static enum mg_code qualified_table(struct parser *p, struct mg_sql_statement *out, struct mg_error *err)
{
    bool dot;

    if (is_symbol(&p->token, "("))
        return refuse(p, "subqueries", err);
    MG_TRY(name(p, "a table", &out->table, err));
    MG_TRY(accept_symbol(p, ".", &dot, err));
    if (!dot)
        return MG_OK;
    out->database = out->table;
    return name(p, "a table", &out->table, err);
}

/* An alias is read over, so that the join behind it is what gets named. */
static enum mg_code refuse_alias(struct parser *p, struct mg_error *err)
{
    struct mg_token alias = p->token;
    bool said;

    if (!is_keyword(&p->token, "AS") && p->token.kind != MG_TOKEN_NAME &&
        (p->token.kind != MG_TOKEN_WORD || is_reserved(&p->token)))
        return MG_OK;
    MG_TRY(accept_keyword(p, "AS", &said, err));
    MG_TRY(next(p, err));
    MG_TRY(refuse_behind_table(p, err));
    p->token = alias;
    return refuse(p, "aliases", err);
}

static enum mg_code select_statement(struct parser *p, struct mg_sql_statement *out, struct mg_error *err)
{
    bool where;

    out->kind = MG_SQL_SELECT;
    MG_TRY(next(p, err));
    MG_TRY(select_list(p, out, err));
    if (p->token.kind == MG_TOKEN_END)
        return refuse(p, "SELECT without FROM", err);
    MG_TRY(expect_keyword(p, "FROM", err));
    MG_TRY(qualified_table(p, out, err));
    MG_TRY(refuse_behind_table(p, err));
    MG_TRY(refuse_alias(p, err));
    MG_TRY(accept_keyword(p, "WHERE", &where, err));
    if (where)
        MG_TRY(condition(p, &out->where, err));
    MG_TRY(refuse_behind_table(p, err));
    MG_TRY(limit(p, out, err));
    MG_TRY(refuse_behind_table(p, err));
    return check_qualifiers(p, out, err);
}

static enum mg_code show_statement(struct parser *p, struct mg_sql_statement *out, struct mg_error *err)
{
    bool from;

    MG_TRY(next(p, err));
    if (is_keyword(&p->token, "DATABASES") || is_keyword(&p->token, "SCHEMAS")) {
        out->kind = MG_SQL_SHOW_DATABASES;
        return next(p, err);
    }
    if (!is_keyword(&p->token, "TABLES"))
        return refuse(p, "SHOW but SHOW TABLES and SHOW DATABASES", err);
    out->kind = MG_SQL_SHOW_TABLES;
    MG_TRY(next(p, err));
    MG_TRY(accept_keyword(p, "FROM", &from, err));
    if (!from)
        MG_TRY(accept_keyword(p, "IN", &from, err));
    return from ? name(p, "a database", &out->database, err) : MG_OK;
}

enum mg_code mg_sql_parse(struct mg_slice text, struct mg_arena *arena, struct mg_sql_statement *out,
                          struct mg_error *err)
{
    struct parser p = {.lexer = {.text = text, .arena = arena}};
    struct mg_sql_statement statement = {.kind = MG_SQL_SELECT};
    bool closed;

    if (text.size > MG_SQL_TEXT_MAX)
        return mg_fail(err, MG_TOO_BIG, "a statement of %zu bytes: at most %d are read", text.size, MG_SQL_TEXT_MAX);
    MG_TRY(next(&p, err));
    if (p.token.kind == MG_TOKEN_END)
        return mg_fail(err, MG_INVALID, "an empty statement");
    if (is_keyword(&p.token, "SELECT"))
        MG_TRY(select_statement(&p, &statement, err));
    else if (is_keyword(&p.token, "SHOW"))
        MG_TRY(show_statement(&p, &statement, err));
    else
        return mg_lexer__fail(&p.lexer, MG_UNIMPLEMENTED, p.token.at, err,
                              "%.*s: this version's SQL has SELECT, SHOW TABLES and SHOW DATABASES",
                              (int)MG_MIN(p.token.text.size, (size_t)64), (const char *)p.token.text.data);
    MG_TRY(accept_symbol(&p, ";", &closed, err));
    if (p.token.kind != MG_TOKEN_END)
        return closed ? mg_lexer__fail(&p.lexer, MG_INVALID, p.token.at, err, "one statement at a time")
                      : fail_expected(&p, "the end of the statement", err);
    *out = statement;
    return MG_OK;
}
