/* type.c -- what a column's type is called and how wide it is, and single values as text.
 *
 * Dates     proleptic Gregorian, any year whose days fit int32; years above 9999 print with more digits.
 * Floats    print with the fewest digits that read back as the same number.
 * Decimals  the largest precision is 38, so every unscaled value that fits its precision fits int128 with room to
 *           spare.
 * Threads   pure functions.
 * Source    days from civil: Howard Hinnant, "chrono-compatible low-level date algorithms".
 * SPDX-License-Identifier: Apache-2.0 */
#include "column/type.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    uint8_t width; /* bytes */
} types[MG_TYPE_COUNT] = {
    [MG_TYPE_NONE] = {"none", 0},       [MG_TYPE_INT8] = {"int8", 1},         [MG_TYPE_INT16] = {"int16", 2},
    [MG_TYPE_INT32] = {"int32", 4},     [MG_TYPE_INT64] = {"int64", 8},       [MG_TYPE_UINT8] = {"uint8", 1},
    [MG_TYPE_UINT16] = {"uint16", 2},   [MG_TYPE_UINT32] = {"uint32", 4},     [MG_TYPE_UINT64] = {"uint64", 8},
    [MG_TYPE_FLOAT32] = {"float32", 4}, [MG_TYPE_FLOAT64] = {"float64", 8},   [MG_TYPE_DECIMAL] = {"decimal", 16},
    [MG_TYPE_DATE] = {"date", 4},       [MG_TYPE_DATETIME] = {"datetime", 8}, [MG_TYPE_TIMESTAMP] = {"timestamp", 8},
    [MG_TYPE_UTF8] = {"utf8", 0},
};

uint32_t mg_type_width(enum mg_type_id id)
{
    mg_assert((unsigned)id < MG_TYPE_COUNT);
    return types[id].width;
}

bool mg_type_equal(struct mg_type a, struct mg_type b)
{
    return mg_type_same_layout(a, b) && a.precision == b.precision && a.collation == b.collation;
}

bool mg_type_same_layout(struct mg_type a, struct mg_type b)
{
    if (a.id != b.id)
        return false;
    return a.id != MG_TYPE_DECIMAL || (a.precision == b.precision && a.scale == b.scale);
}

void mg_type_format(struct mg_type type, char text[48])
{
    const char *name = (unsigned)type.id < MG_TYPE_COUNT ? types[type.id].name : "?";

    if (type.id == MG_TYPE_DECIMAL)
        snprintf(text, 48, "%s(%d,%d)", name, type.precision, type.scale);
    else if ((type.id == MG_TYPE_DATETIME || type.id == MG_TYPE_TIMESTAMP) && type.precision)
        snprintf(text, 48, "%s(%d)", name, type.precision);
    else
        snprintf(text, 48, "%s", name);
}

enum mg_code mg_type_check(struct mg_type type, struct mg_error *err)
{
    bool has_fraction = type.id == MG_TYPE_DATETIME || type.id == MG_TYPE_TIMESTAMP;

    if (type.id == MG_TYPE_NONE || (unsigned)type.id >= MG_TYPE_COUNT)
        return mg_fail(err, MG_INVALID, "type number %u is not known", (unsigned)type.id);
    if (type.id == MG_TYPE_DECIMAL) {
        if (type.precision < 1 || type.precision > MG_DECIMAL_PRECISION_MAX || type.scale > type.precision)
            return mg_fail(err, MG_INVALID, "decimal(%u,%u) is not a type: precision is 1 to 38, scale 0 to precision",
                           type.precision, type.scale);
    } else if (type.scale != 0) {
        return mg_fail(err, MG_INVALID, "type %s has no scale, but %u is given", types[type.id].name, type.scale);
    } else if (type.precision > (has_fraction ? 6 : 0)) {
        return mg_fail(err, MG_INVALID, "type %s cannot have precision %u", types[type.id].name, type.precision);
    }
    if ((unsigned)type.collation > (type.id == MG_TYPE_UTF8 ? MG_COLLATION_PAD_SPACE : MG_COLLATION_BINARY))
        return mg_fail(err, MG_INVALID, "type %s cannot have collation number %u", types[type.id].name,
                       (unsigned)type.collation);
    return MG_OK;
}

/* ---- decimals ------------------------------------------------------------------------------------------------ */

mg_int128 mg_decimal_power(uint8_t exponent)
{
    mg_int128 power = 1;

    mg_assert(exponent <= MG_DECIMAL_PRECISION_MAX);
    for (; exponent; exponent--)
        power *= 10;
    return power;
}

bool mg_decimal_fits(mg_int128 unscaled, uint8_t precision)
{
    mg_int128 bound = mg_decimal_power(precision);

    return unscaled < bound && unscaled > -bound;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* v = v * 10 + digit, unless that reaches bound (at most 10^38, so nothing here overflows). */
static bool push_digit(mg_int128 *v, int digit, mg_int128 bound)
{
    if (*v > (bound - 1 - digit) / 10)
        return false;
    *v = *v * 10 + digit;
    return true;
}

enum mg_code mg_decimal_parse(struct mg_slice text, uint8_t precision, uint8_t scale, mg_int128 *out,
                              struct mg_error *err)
{
    const uint8_t *at = text.data, *end = text.data + text.size;
    const char *shown = (const char *)text.data;
    int shown_size = (int)MG_MIN(text.size, 64);
    mg_int128 v = 0, bound = mg_decimal_power(precision);
    bool negative = false, any = false, fits = true, lost = false;
    uint32_t fraction_digits = 0;

    if (at < end && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    for (; at < end && is_digit(*at); at++, any = true)
        fits = fits && push_digit(&v, *at - '0', bound);
    if (at < end && *at == '.')
        at++;
    for (; at < end && is_digit(*at); at++, any = true) {
        if (fraction_digits == scale) {
            lost = lost || *at != '0';
            continue;
        }
        fits = fits && push_digit(&v, *at - '0', bound);
        fraction_digits++;
    }
    if (at != end || !any)
        return mg_fail(err, MG_INVALID, "\"%.*s\" is not a decimal number", shown_size, shown);
    for (; fraction_digits < scale; fraction_digits++)
        fits = fits && push_digit(&v, 0, bound);
    if (!fits)
        return mg_fail(err, MG_INVALID, "\"%.*s\" does not fit decimal(%u,%u)", shown_size, shown, precision, scale);
    if (lost)
        return mg_fail(err, MG_INVALID, "\"%.*s\" has more than %u fraction digits", shown_size, shown, scale);
    *out = negative ? -v : v;
    return MG_OK;
}

void mg_decimal_format(mg_int128 unscaled, uint8_t scale, char text[48])
{
    char reversed[48];
    int count = 0;
    unsigned __int128 left = unscaled < 0 ? -(unsigned __int128)unscaled : (unsigned __int128)unscaled;

    for (int place = 0; left || place <= scale; place++, left /= 10) {
        if (place == scale && scale)
            reversed[count++] = '.';
        reversed[count++] = (char)('0' + (int)(left % 10));
    }
    if (unscaled < 0)
        *text++ = '-';
    while (count)
        *text++ = reversed[--count];
    *text = 0;
}

/* ---- dates --------------------------------------------------------------------------------------------------- */

static bool is_leap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

bool mg_date_from_ymd(int year, int month, int day, int32_t *out_days)
{
    static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (month < 1 || month > 12 || day < 1 || year < -5000000 || year > 5000000)
        return false;
    if (day > month_days[month - 1] + (month == 2 && is_leap(year)))
        return false;
    /* The year begins in March, so that the leap day is its last; eras of 400 years are all alike. */
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    *out_days = (int32_t)(era * 146097 + day_of_era - 719468);
    return true;
}

void mg_date_to_ymd(int32_t days, int *year, int *month, int *day)
{
    int64_t z = (int64_t)days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153;

    *day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    *month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

/* ---- values as text ------------------------------------------------------------------------------------------ */

static enum mg_code format_date(int32_t days, struct mg_buffer *out, struct mg_error *err)
{
    int year, month, day;

    mg_date_to_ymd(days, &year, &month, &day);
    return mg_buffer_printf(out, err, "%04d-%02d-%02d", year, month, day);
}

static enum mg_code format_datetime(int64_t micros, uint8_t fraction_digits, struct mg_buffer *out,
                                    struct mg_error *err)
{
    const int64_t day_micros = INT64_C(86400000000);
    int64_t days = micros / day_micros - (micros % day_micros < 0);
    int64_t rest = micros % day_micros + (micros % day_micros < 0 ? day_micros : 0);

    MG_TRY(format_date((int32_t)days, out, err)); /* at most 1.1 * 10^8 days either way */
    int64_t seconds = rest / 1000000, fraction = rest % 1000000;
    MG_TRY(mg_buffer_printf(out, err, " %02d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
                            (int)(seconds % 60)));
    if (fraction_digits == 0)
        return MG_OK;
    for (uint8_t i = fraction_digits; i < 6; i++)
        fraction /= 10;
    return mg_buffer_printf(out, err, ".%0*d", fraction_digits, (int)fraction);
}

static enum mg_code format_float(double v, bool single, struct mg_buffer *out, struct mg_error *err)
{
    char text[32];

    if (isnan(v))
        return mg_buffer_printf(out, err, "nan");
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
            break;
    }
    return mg_buffer_printf(out, err, "%s", text);
}

enum mg_code mg_value_format(const struct mg_value *value, struct mg_buffer *out, struct mg_error *err)
{
    char text[48];

    if (value->is_null)
        return mg_buffer_printf(out, err, "NULL");
    switch (value->type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64: return mg_buffer_printf(out, err, "%" PRId64, value->i);
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return mg_buffer_printf(out, err, "%" PRIu64, value->u);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return format_float(value->f, value->type.id == MG_TYPE_FLOAT32, out, err);
    case MG_TYPE_DECIMAL:
        mg_decimal_format(value->d, value->type.scale, text);
        return mg_buffer_printf(out, err, "%s", text);
    case MG_TYPE_DATE: return format_date((int32_t)value->i, out, err);
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return format_datetime(value->i, value->type.precision, out, err);
    case MG_TYPE_UTF8: return mg_buffer_append(out, value->text.data, value->text.size, err);
    case MG_TYPE_NONE: break;
    }
    return mg_fail(err, MG_INVALID, "a value without a type cannot be shown");
}

int mg_float_compare(double a, double b)
{
    bool a_nan = isnan(a), b_nan = isnan(b);

    if (a_nan || b_nan)
        return a_nan - b_nan;
    return (a > b) - (a < b);
}

int mg_value_compare(const struct mg_value *a, const struct mg_value *b)
{
    mg_assert(a->type.id == b->type.id && !a->is_null && !b->is_null);
    switch (a->type.id) {
    case MG_TYPE_INT8:
    case MG_TYPE_INT16:
    case MG_TYPE_INT32:
    case MG_TYPE_INT64:
    case MG_TYPE_DATE:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: return (a->i > b->i) - (a->i < b->i);
    case MG_TYPE_UINT8:
    case MG_TYPE_UINT16:
    case MG_TYPE_UINT32:
    case MG_TYPE_UINT64: return (a->u > b->u) - (a->u < b->u);
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return mg_float_compare(a->f, b->f);
    case MG_TYPE_DECIMAL: mg_assert(a->type.scale == b->type.scale); return (a->d > b->d) - (a->d < b->d);
    case MG_TYPE_UTF8: return mg_slice_compare(a->text, b->text);
    case MG_TYPE_NONE: break;
    }
    return 0;
}

void mg_value_store(const struct mg_value *value, void *place)
{
    mg_assert(!value->is_null);
    switch (value->type.id) {
    case MG_TYPE_FLOAT32: memcpy(place, &(float){(float)value->f}, 4); return;
    case MG_TYPE_FLOAT64: memcpy(place, &value->f, 8); return;
    case MG_TYPE_DECIMAL: memcpy(place, &value->d, 16); return;
    default:
        mg_assert(mg_type_width(value->type.id) != 0);
        memcpy(place, &value->i, mg_type_width(value->type.id)); /* little endian: the low bytes */
    }
}

struct mg_value mg_value_load(struct mg_type type, const void *place)
{
    struct mg_value v = {.type = type};

#define LOAD(member, c_type)                   \
    do {                                       \
        c_type loaded;                         \
        memcpy(&loaded, place, sizeof loaded); \
        v.member = loaded;                     \
    } while (0)
    switch (type.id) {
    case MG_TYPE_INT8: LOAD(i, int8_t); break;
    case MG_TYPE_INT16: LOAD(i, int16_t); break;
    case MG_TYPE_INT32:
    case MG_TYPE_DATE: LOAD(i, int32_t); break;
    case MG_TYPE_INT64:
    case MG_TYPE_DATETIME:
    case MG_TYPE_TIMESTAMP: LOAD(i, int64_t); break;
    case MG_TYPE_UINT8: LOAD(u, uint8_t); break;
    case MG_TYPE_UINT16: LOAD(u, uint16_t); break;
    case MG_TYPE_UINT32: LOAD(u, uint32_t); break;
    case MG_TYPE_UINT64: LOAD(u, uint64_t); break;
    case MG_TYPE_FLOAT32: LOAD(f, float); break;
    case MG_TYPE_FLOAT64: LOAD(f, double); break;
    case MG_TYPE_DECIMAL: LOAD(d, mg_int128); break;
    case MG_TYPE_UTF8:
    case MG_TYPE_NONE: mg_assert(!"a fixed width");
    }
#undef LOAD
    return v;
}
