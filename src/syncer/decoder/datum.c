/* datum.c -- reads TiDB's datums. datum.h has the table of flags.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/decoder/datum.h"

enum {
    DECIMAL_DIGITS_MAX = 81, /* TiDB's MyDecimal: 9 words of 9 digits */
    DECIMAL_GROUP = 9,       /* digits in 4 bytes */
};

/* Bytes of a group of k digits. */
static const uint8_t group_bytes[DECIMAL_GROUP + 1] = {0, 1, 1, 2, 2, 3, 3, 4, 4, 4};

static size_t decimal_size(uint8_t precision, uint8_t fraction)
{
    unsigned whole = (unsigned)(precision - fraction);
    return (size_t)(whole / DECIMAL_GROUP) * 4 + group_bytes[whole % DECIMAL_GROUP] +
           (size_t)(fraction / DECIMAL_GROUP) * 4 + group_bytes[fraction % DECIMAL_GROUP];
}

/* The body behind the flag: two bytes that say how long the digits are, and the digits. */
static struct mg_slice read_decimal(struct mg_reader *in)
{
    struct mg_slice body = {NULL, 0};

    if (mg_reader_left(in) < 2 || in->at[0] == 0 || in->at[0] > DECIMAL_DIGITS_MAX || in->at[1] > in->at[0])
        in->failed = true;
    else
        body = mg_reader_take(in, 2 + decimal_size(in->at[0], in->at[1]));
    return body;
}

/* Groups of 8 bytes and a marker, FF minus the padding; the last group has a padding. */
static struct mg_slice read_bytes_key(struct mg_reader *in)
{
    const uint8_t *start = in->at;

    for (;;) {
        struct mg_slice group = mg_reader_take(in, 9);
        if (in->failed || group.data[8] < 0xff - 8) {
            in->failed = true;
            return MG_SLICE(NULL, 0);
        }
        if (group.data[8] != 0xff)
            return MG_SLICE(start, (size_t)(in->at - start));
    }
}

/* Type byte and value. Objects and arrays tell their size, the elements inside are not looked at. */
static struct mg_slice read_json(struct mg_reader *in)
{
    const uint8_t *start = in->at;

    switch (mg_reader_u8(in)) {
    case 0x01: /* object */
    case 0x03: /* array */
        if (mg_reader_left(in) < 8 || mg_load_le32(in->at + 4) < 8)
            in->failed = true;
        else
            mg_reader_take(in, mg_load_le32(in->at + 4));
        break;
    case 0x04: /* null, true, false */ mg_reader_take(in, 1); break;
    case 0x09: /* int64 */
    case 0x0a: /* uint64 */
    case 0x0b: /* double */
    case 0x0e: /* date */
    case 0x0f: /* datetime */
    case 0x10: /* timestamp */ mg_reader_take(in, 8); break;
    case 0x0d: /* opaque: MySQL's type, then as a string */
        mg_reader_take(in, 1);
        mg_reader_bytes(in);
        break;
    case 0x0c: /* string */ mg_reader_bytes(in); break;
    case 0x11: /* time: nanoseconds and fraction digits */ mg_reader_take(in, 12); break;
    default: in->failed = true;
    }
    return in->failed ? MG_SLICE(NULL, 0) : MG_SLICE(start, (size_t)(in->at - start));
}

static double ordered_double(uint64_t bits)
{
    double f;

    bits = bits >> 63 ? bits ^ (UINT64_C(1) << 63) : ~bits;
    memcpy(&f, &bits, sizeof f);
    return f;
}

bool mg_datum_read(struct mg_reader *in, struct mg_datum *out)
{
    uint8_t flag = mg_reader_u8(in);

    if (in->failed)
        return false;
    out->flag = (enum mg_datum_flag)flag;
    switch (flag) {
    case MG_DATUM_NULL:
    case MG_DATUM_MAX: out->u = 0; break;
    case MG_DATUM_BYTES_KEY: out->bytes = read_bytes_key(in); break;
    case MG_DATUM_BYTES: {
        int64_t size = mg_zigzag_decode(mg_reader_varint(in));
        out->bytes = mg_reader_take(in, size < 0 ? UINT64_MAX : (uint64_t)size);
        break;
    }
    case MG_DATUM_INT_KEY:
    case MG_DATUM_DURATION: out->i = (int64_t)(mg_reader_be64(in) ^ (UINT64_C(1) << 63)); break;
    case MG_DATUM_UINT_KEY: out->u = mg_reader_be64(in); break;
    case MG_DATUM_FLOAT: out->f = ordered_double(mg_reader_be64(in)); break;
    case MG_DATUM_DECIMAL: out->bytes = read_decimal(in); break;
    case MG_DATUM_INT: out->i = mg_zigzag_decode(mg_reader_varint(in)); break;
    case MG_DATUM_UINT: out->u = mg_reader_varint(in); break;
    case MG_DATUM_JSON: out->bytes = read_json(in); break;
    case MG_DATUM_VECTOR: {
        const uint8_t *start = in->at;
        uint64_t count = mg_reader_le32(in);
        mg_reader_take(in, count * 4);
        out->bytes = MG_SLICE(start, (size_t)(in->at - start));
        break;
    }
    default: in->failed = true;
    }
    return !in->failed;
}

bool mg_datum_skip(struct mg_reader *in)
{
    struct mg_datum ignored;
    return mg_datum_read(in, &ignored);
}

/* ---- decimals ------------------------------------------------------------------------------------------------ */

/* The digits of a decimal as one unscaled number, growing. */
struct digits {
    unsigned __int128 value;
    bool wide;     /* more than 38 digits are written; only leading zeros may be beyond them */
    bool overflow; /* beyond 38 digits, or a group that holds more than its digits */
};

static void append_group(struct digits *digits, const uint8_t **at, unsigned count, uint8_t flip)
{
    static const uint32_t power[DECIMAL_GROUP + 1] = {1,      10,      100,      1000,      10000,
                                                      100000, 1000000, 10000000, 100000000, 1000000000};
    uint32_t group = 0;

    for (unsigned i = 0; i < group_bytes[count]; i++)
        group = group << 8 | (uint8_t)(*(*at)++ ^ flip);
    if (group >= power[count])
        digits->overflow = digits->overflow || count > 0;
    else if (digits->wide &&
             digits->value > (unsigned __int128)(mg_decimal_power(MG_DECIMAL_PRECISION_MAX) - 1 - group) / power[count])
        digits->overflow = true;
    else
        digits->value = digits->value * power[count] + group;
}

bool mg_datum_decimal(struct mg_slice body, uint8_t precision, uint8_t scale, mg_int128 *out)
{
    uint8_t copy[2 + DECIMAL_DIGITS_MAX];
    struct digits digits = {0, false, false};

    if (body.size < 3 || body.size > sizeof copy || body.data[1] > body.data[0] ||
        body.size != 2 + decimal_size(body.data[0], body.data[1]))
        return false;
    memcpy(copy, body.data, body.size);
    unsigned fraction = copy[1], whole = (unsigned)(copy[0] - copy[1]);
    uint8_t flip = copy[2] & 0x80 ? 0 : 0xff; /* negative numbers have all bits inverted */
    copy[2] ^= 0x80;
    digits.wide = copy[0] > MG_DECIMAL_PRECISION_MAX;

    const uint8_t *at = copy + 2;
    append_group(&digits, &at, whole % DECIMAL_GROUP, flip);
    for (unsigned i = 0; i < whole / DECIMAL_GROUP; i++)
        append_group(&digits, &at, DECIMAL_GROUP, flip);
    for (unsigned i = 0; i < fraction / DECIMAL_GROUP; i++)
        append_group(&digits, &at, DECIMAL_GROUP, flip);
    append_group(&digits, &at, fraction % DECIMAL_GROUP, flip);
    if (digits.overflow)
        return false;

    mg_int128 value = (mg_int128)digits.value;
    for (; fraction > scale; fraction--) {
        if (value % 10)
            return false;
        value /= 10;
    }
    if (scale > fraction) {
        mg_int128 power = mg_decimal_power((uint8_t)(scale - fraction));
        if (value > (mg_decimal_power(MG_DECIMAL_PRECISION_MAX) - 1) / power)
            return false;
        value *= power;
    }
    if (!mg_decimal_fits(value, precision))
        return false;
    *out = flip ? -value : value;
    return true;
}

/* ---- times --------------------------------------------------------------------------------------------------- */

enum mg_datum_time mg_datum_time(uint64_t packed, int32_t *out_days, int64_t *out_us)
{
    uint32_t us = packed & 0xffffff, second = packed >> 24 & 0x3f, minute = packed >> 30 & 0x3f,
             hour = packed >> 36 & 0x1f, day = packed >> 41 & 0x1f;
    uint64_t year_month = packed >> 46;
    int32_t days;

    if (us > 999999 || second > 59 || minute > 59 || hour > 23 || year_month / 13 > 9999)
        return MG_DATUM_TIME_BAD;
    if (!mg_date_from_ymd((int)(year_month / 13), (int)(year_month % 13), (int)day, &days))
        return MG_DATUM_TIME_ZERO;
    if (out_days)
        *out_days = days;
    if (out_us)
        *out_us = days * INT64_C(86400000000) + (hour * INT64_C(3600) + minute * 60 + second) * 1000000 + us;
    return MG_DATUM_TIME_OK;
}
