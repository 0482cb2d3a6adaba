/* type.h -- the types that a column can have, and single values.
 *
 * Layout of a value in memory is Arrow's: integers, floats and decimals in little endian at their width; decimals as
 * 128-bit two's complement; DATE as int32 days, DATETIME and TIMESTAMP as int64 microseconds since 1970-01-01; UTF8 as
 * int32 offsets and bytes.
 * Source   DESIGN.md section 10; docs/format/types.md.
 * Threads  values.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_TYPE_H
#define MG_COLUMN_TYPE_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/error.h"

/* Numbers are stored in files: they never change. */
enum mg_type_id {
    MG_TYPE_NONE = 0,
    MG_TYPE_INT8 = 1,
    MG_TYPE_INT16 = 2,
    MG_TYPE_INT32 = 3,
    MG_TYPE_INT64 = 4,
    MG_TYPE_UINT8 = 5,
    MG_TYPE_UINT16 = 6,
    MG_TYPE_UINT32 = 7,
    MG_TYPE_UINT64 = 8,
    MG_TYPE_FLOAT32 = 9,
    MG_TYPE_FLOAT64 = 10,
    MG_TYPE_DECIMAL = 11, /* 128 bit, precision 1 to 38 */
    MG_TYPE_DATE = 12,
    MG_TYPE_DATETIME = 13,  /* no zone */
    MG_TYPE_TIMESTAMP = 14, /* UTC */
    MG_TYPE_UTF8 = 15,
};
enum { MG_TYPE_COUNT = 16 };

/* How text in a key or a MySQL comparison is compared. Numbers are stored. */
enum mg_collation {
    MG_COLLATION_BINARY = 0,    /* bytes */
    MG_COLLATION_PAD_SPACE = 1, /* bytes, trailing blanks do not count (utf8mb4_bin) */
};

struct mg_type {
    enum mg_type_id id;
    uint8_t precision;           /* DECIMAL: 1 to 38; DATETIME, TIMESTAMP: fraction digits 0 to 6 */
    uint8_t scale;               /* DECIMAL: 0 to precision */
    enum mg_collation collation; /* UTF8 */
};

/* Bytes of one value: 1, 2, 4, 8, 16; 0 for UTF8. */
uint32_t mg_type_width(enum mg_type_id id);
bool mg_type_equal(struct mg_type a, struct mg_type b);
/* The same bytes mean the same value: equal but for collation and fraction digits, which Arrow does not carry. */
bool mg_type_same_layout(struct mg_type a, struct mg_type b);
/* "int32", "decimal(12,2)", "utf8" into text. */
void mg_type_format(struct mg_type type, char text[48]);
/* MG_INVALID for numbers out of their range: for types that come from a file or a peer. */
MG_MUST_CHECK enum mg_code mg_type_check(struct mg_type type, struct mg_error *err);

typedef __int128 mg_int128;
enum { MG_DECIMAL_PRECISION_MAX = 38 };

/* One value with its type, or NULL. Text is borrowed. */
struct mg_value {
    struct mg_type type;
    bool is_null;
    union {
        int64_t i;   /* INT8..INT64, DATE, DATETIME, TIMESTAMP */
        uint64_t u;  /* UINT8..UINT64 */
        double f;    /* FLOAT32, FLOAT64 */
        mg_int128 d; /* DECIMAL, unscaled */
        struct mg_slice text;
    };
};

/* SQL text of a value: numbers plain, decimals with all fraction digits, dates as MySQL prints them with the type's
 * fraction digits, text as it is. Appends to out. NULL appends "NULL". */
MG_MUST_CHECK enum mg_code mg_value_format(const struct mg_value *value, struct mg_buffer *out, struct mg_error *err);
/* The order of two values of one type (decimals: of one scale), neither NULL: <0, 0, >0. Text bytewise whatever its
 * collation; NaN above all and equal to itself; -0.0 equals 0.0. The order of zone maps. */
int mg_value_compare(const struct mg_value *a, const struct mg_value *b);
int mg_float_compare(double a, double b);
/* A value of a fixed width in Arrow's layout at place, of any alignment; not NULL. */
void mg_value_store(const struct mg_value *value, void *place);
struct mg_value mg_value_load(struct mg_type type, const void *place);
/* Decimal from text such as "-12.50": scaled to `scale`; MG_INVALID when it does not fit or digits would be lost. */
MG_MUST_CHECK enum mg_code mg_decimal_parse(struct mg_slice text, uint8_t precision, uint8_t scale, mg_int128 *out,
                                            struct mg_error *err);
/* 10 to that power, which is at most 38. */
mg_int128 mg_decimal_power(uint8_t exponent);
/* Has at most `precision` digits. */
bool mg_decimal_fits(mg_int128 unscaled, uint8_t precision);
void mg_decimal_format(mg_int128 unscaled, uint8_t scale, char text[48]);
/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar; false when it is none (month 0, 31 April, year 0
 * is allowed only with a valid month and day). */
bool mg_date_from_ymd(int year, int month, int day, int32_t *out_days);
void mg_date_to_ymd(int32_t days, int *year, int *month, int *day);

#endif
