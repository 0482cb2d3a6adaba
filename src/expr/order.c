/* order.c -- how values compare, also across types, and a column type's values as consecutive integers.
 *
 * Rules     Integers and decimals compare by value, exactly. When one side is a float, both are compared as doubles:
 *           MySQL's and Spark's rule, so that decimal 0.1 equals double 0.1. NaN is above all and equal to itself, -0.0
 *           equals 0.0. Dates and times compare as instants; what has no zone counts as UTC, a date as its midnight.
 * Ordinals  Integers, dates and times: the value. Decimals: the unscaled value. Floats: 0.0 is 0, each next number one
 *           more, infinity's successor is NaN; so -0.0 and the many NaNs have no place of their own.
 * Threads   pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "expr/expr_internal.h"

#define INT128_HIGHEST ((mg_int128)(~(unsigned __int128)0 >> 1))
static const mg_int128 day_micros = INT64_C(86400000000);

enum { INFINITY_32 = 0x7f800000 }; /* bits of float infinity = its ordinal */
static const int64_t infinity_64 = INT64_C(0x7ff0000000000000);

/* ---- classes ------------------------------------------------------------------------------------------------- */

static bool is_float(enum mg_type_id id) { return id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64; }
static bool is_unsigned(enum mg_type_id id) { return id >= MG_TYPE_UINT8 && id <= MG_TYPE_UINT64; }
static bool is_number(enum mg_type_id id) { return id >= MG_TYPE_INT8 && id <= MG_TYPE_DECIMAL; }
static bool is_time(enum mg_type_id id) { return id >= MG_TYPE_DATE && id <= MG_TYPE_TIMESTAMP; }

bool mg_expr__comparable(enum mg_type_id a, enum mg_type_id b)
{
    if (a == MG_TYPE_NONE || b == MG_TYPE_NONE)
        return true;
    return (is_number(a) && is_number(b)) || (is_time(a) && is_time(b)) || (a == MG_TYPE_UTF8 && b == MG_TYPE_UTF8);
}

/* ---- comparing ----------------------------------------------------------------------------------------------- */

/* An integer or decimal as unscaled value; its scale is type.scale (0 for integers). */
static mg_int128 exact_number(const struct mg_value *v)
{
    if (v->type.id == MG_TYPE_DECIMAL)
        return v->d;
    return is_unsigned(v->type.id) ? (mg_int128)v->u : (mg_int128)v->i;
}

/* Monotone in the number: rounding and division by a positive constant are. */
static double as_double(const struct mg_value *v)
{
    if (is_float(v->type.id))
        return v->f;
    if (v->type.id == MG_TYPE_DECIMAL)
        return (double)v->d / (double)mg_decimal_power(v->type.scale);
    return is_unsigned(v->type.id) ? (double)v->u : (double)v->i;
}

static int sign(mg_int128 v) { return (v > 0) - (v < 0); }

static int compare_exact(const struct mg_value *a, const struct mg_value *b)
{
    mg_int128 x = exact_number(a), y = exact_number(b);
    int scale_gap = (int)a->type.scale - (int)b->type.scale;

    /* The side with fewer fraction digits gets more; if that overflows, it is the larger one in magnitude. */
    if (scale_gap < 0 && __builtin_mul_overflow(x, mg_decimal_power((uint8_t)-scale_gap), &x))
        return sign(exact_number(a));
    if (scale_gap > 0 && __builtin_mul_overflow(y, mg_decimal_power((uint8_t)scale_gap), &y))
        return -sign(exact_number(b));
    return (x > y) - (x < y);
}

static mg_int128 micros(const struct mg_value *v) { return v->type.id == MG_TYPE_DATE ? v->i * day_micros : v->i; }

int mg_expr__compare(const struct mg_value *a, const struct mg_value *b, bool pad_space)
{
    mg_assert(!a->is_null && !b->is_null && mg_expr__comparable(a->type.id, b->type.id));
    if (a->type.id == MG_TYPE_UTF8)
        return pad_space ? mg_slice_compare(mg_expr__trim(a->text), mg_expr__trim(b->text))
                         : mg_slice_compare(a->text, b->text);
    if (is_time(a->type.id))
        return sign(micros(a) - micros(b));
    if (is_float(a->type.id) || is_float(b->type.id))
        return mg_float_compare(as_double(a), as_double(b));
    return compare_exact(a, b);
}

/* ---- ordinals ------------------------------------------------------------------------------------------------ */

static int64_t float32_ordinal(float v)
{
    int32_t bits;

    if (v != v)
        return (int64_t)INFINITY_32 + 1;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? (int64_t)(bits ^ INT32_MAX) + 1 : bits;
}

static int64_t float64_ordinal(double v)
{
    int64_t bits;

    if (v != v)
        return infinity_64 + 1;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? (bits ^ INT64_MAX) + 1 : bits;
}

static double float32_of_ordinal(int64_t ordinal)
{
    float v;

    if (ordinal > INFINITY_32)
        return NAN;
    int32_t bits = (int32_t)(ordinal < 0 ? ((ordinal - 1) ^ INT32_MAX) : ordinal);
    memcpy(&v, &bits, sizeof v);
    return v;
}

static double float64_of_ordinal(int64_t ordinal)
{
    double v;

    if (ordinal > infinity_64)
        return NAN;
    int64_t bits = ordinal < 0 ? ((ordinal - 1) ^ INT64_MAX) : ordinal;
    memcpy(&v, &bits, sizeof v);
    return v;
}

mg_int128 mg_expr__ordinal(const struct mg_value *value)
{
    switch (value->type.id) {
    case MG_TYPE_FLOAT32: return float32_ordinal((float)value->f);
    case MG_TYPE_FLOAT64: return float64_ordinal(value->f);
    case MG_TYPE_UTF8:
    case MG_TYPE_NONE: mg_assert(!"a fixed width"); return 0;
    default: return is_time(value->type.id) ? (mg_int128)value->i : exact_number(value);
    }
}

struct mg_value mg_expr__from_ordinal(struct mg_type type, mg_int128 ordinal)
{
    struct mg_value v = {.type = type};

    if (type.id == MG_TYPE_FLOAT32)
        v.f = float32_of_ordinal((int64_t)ordinal);
    else if (type.id == MG_TYPE_FLOAT64)
        v.f = float64_of_ordinal((int64_t)ordinal);
    else if (type.id == MG_TYPE_DECIMAL)
        v.d = ordinal;
    else
        v.i = (int64_t)ordinal;
    return v;
}

void mg_expr__domain(enum mg_type_id id, mg_int128 *low, mg_int128 *high)
{
    uint32_t bits = mg_type_width(id) * 8;

    mg_assert(bits != 0);
    if (id == MG_TYPE_FLOAT32 || id == MG_TYPE_FLOAT64) {
        *high = (id == MG_TYPE_FLOAT32 ? (mg_int128)INFINITY_32 : (mg_int128)infinity_64) + 1;
        *low = -*high + 1;
    } else if (id == MG_TYPE_DECIMAL) { /* one short of int128 at each end, so that a step outside is a number, too */
        *high = INT128_HIGHEST - 1;
        *low = -*high;
    } else if (is_unsigned(id)) {
        *low = 0;
        *high = ((mg_int128)1 << bits) - 1;
    } else {
        *high = ((mg_int128)1 << (bits - 1)) - 1;
        *low = -*high - 1;
    }
}

/* The lowest ordinal whose value is at or above `value` (above it, when strictly), or one beyond the domain. */
static mg_int128 search(struct mg_type type, const struct mg_value *value, bool strictly)
{
    mg_int128 low, high;

    mg_expr__domain(type.id, &low, &high);
    high++;
    while (low < high) {
        mg_int128 middle = low + (mg_int128)(((unsigned __int128)high - (unsigned __int128)low) / 2);
        struct mg_value candidate = mg_expr__from_ordinal(type, middle);
        if (mg_expr__compare(&candidate, value, false) >= (int)strictly)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void mg_expr__place(struct mg_type type, const struct mg_value *value, mg_int128 *first, mg_int128 *last)
{
    bool exact = type.id == value->type.id && type.id != MG_TYPE_FLOAT32 && type.scale == value->type.scale;
    mg_int128 low, high;

    mg_expr__domain(type.id, &low, &high);
    if (!exact && !is_float(type.id) && type.id != MG_TYPE_DECIMAL && is_number(type.id) && is_number(value->type.id) &&
        !is_float(value->type.id) && value->type.id != MG_TYPE_DECIMAL)
        exact = true; /* integers of any width: the usual case for long lists */
    if (exact) {
        mg_int128 ordinal = mg_expr__ordinal(value);
        if (ordinal >= low && ordinal <= high) {
            *first = *last = ordinal;
            return;
        }
    }
    *first = search(type, value, false);
    *last = search(type, value, true) - 1;
}

/* ---- text as a number, a date, a time ------------------------------------------------------------------------ */

static bool number_of_text(struct mg_slice text, struct mg_value *out)
{
    const char *at = (const char *)text.data;
    size_t whole = 0, fraction = 0, i = text.size && (*at == '-' || *at == '+');
    char copy[400];

    for (; i < text.size && isdigit((unsigned char)at[i]); i++)
        whole++;
    if (i < text.size && at[i] == '.')
        for (i++; i < text.size && isdigit((unsigned char)at[i]); i++)
            fraction++;
    if (i == text.size && whole + fraction <= MG_DECIMAL_PRECISION_MAX) {
        out->type = (struct mg_type){
            .id = MG_TYPE_DECIMAL, .precision = MG_DECIMAL_PRECISION_MAX, .scale = (uint8_t)fraction};
        return mg_decimal_parse(text, out->type.precision, out->type.scale, &out->d, NULL) == MG_OK;
    }
    /* An exponent, or too many digits. strtod must not see what is no plain number: "0x10", "nan", " 1". */
    for (size_t j = 0; j < text.size; j++)
        if (!strchr("0123456789.+-eE", at[j]) || !at[j])
            return false;
    if (whole + fraction == 0 || text.size >= sizeof copy)
        return false;
    memcpy(copy, at, text.size);
    copy[text.size] = 0;
    char *end;
    *out = (struct mg_value){.type = {.id = MG_TYPE_FLOAT64}, .f = strtod(copy, &end)};
    return *end == 0;
}

/* Takes 1 to digits_max digits; -1 when there is none. */
static int take_number(struct mg_slice *text, int digits_max)
{
    int v = 0, digits = 0;

    for (; digits < digits_max && text->size && isdigit(*text->data); digits++, text->data++, text->size--)
        v = v * 10 + (*text->data - '0');
    return digits ? v : -1;
}

static bool take_char(struct mg_slice *text, char c)
{
    if (!text->size || *text->data != c)
        return false;
    text->data++;
    text->size--;
    return true;
}

/* "2026-11-21", "2026-11-21 10:24[:11[.123456]]", a T for the blank, a Z behind. */
static bool time_of_text(struct mg_slice text, struct mg_value *out)
{
    int hour = 0, minute = 0, second = 0, fraction = 0, year, month, day;
    int32_t days;

    year = take_number(&text, 5); /* so that microseconds fit int64 */
    if (!take_char(&text, '-') || (month = take_number(&text, 2)) < 0 || !take_char(&text, '-') ||
        (day = take_number(&text, 2)) < 0 || year < 0 || !mg_date_from_ymd(year, month, day, &days))
        return false;
    if (text.size == 0) {
        *out = (struct mg_value){.type = {.id = MG_TYPE_DATE}, .i = days};
        return true;
    }
    if ((!take_char(&text, ' ') && !take_char(&text, 'T')) || (hour = take_number(&text, 2)) < 0 ||
        !take_char(&text, ':') || (minute = take_number(&text, 2)) < 0)
        return false;
    if (take_char(&text, ':') && (second = take_number(&text, 2)) < 0)
        return false;
    if (take_char(&text, '.')) {
        int digits = (int)text.size;
        fraction = take_number(&text, 6);
        digits -= (int)text.size;
        if (fraction < 0)
            return false;
        for (; digits < 6; digits++)
            fraction *= 10;
    }
    (void)take_char(&text, 'Z');
    if (text.size || hour > 23 || minute > 59 || second > 59)
        return false;
    *out = (struct mg_value){.type = {.id = MG_TYPE_DATETIME, .precision = 6}};
    out->i = (int64_t)(days * day_micros) + ((hour * 60 + minute) * INT64_C(60) + second) * 1000000 + fraction;
    return true;
}

bool mg_expr__value_of_text(struct mg_slice text, enum mg_type_id like, struct mg_value *out)
{
    *out = (struct mg_value){.is_null = false};
    if (is_time(like))
        return time_of_text(text, out);
    return is_number(like) && number_of_text(text, out);
}
