/* datum_test.c -- every flag of the datum codec, with known bytes; cut short at every length; decimals and times at
 * their edges.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/testing.h"
#include "syncer/decoder/datum.h"

/* "08 0a ff" to bytes; returns how many. */
static size_t unhex(const char *text, uint8_t *out)
{
    size_t size = 0;
    unsigned byte;
    int used;
    while (sscanf(text, " %2x%n", &byte, &used) == 1) {
        out[size++] = (uint8_t)byte;
        text += used;
    }
    return size;
}

static struct mg_datum read_datum(const char *hex)
{
    static uint8_t bytes[256];
    struct mg_datum datum;
    size_t size = unhex(hex, bytes);
    struct mg_reader in = mg_reader_of(MG_SLICE(bytes, size));

    if (!mg_datum_read(&in, &datum))
        fail_msg("%s is no datum", hex);
    assert_int_equal(mg_reader_left(&in), 0);
    /* Shorter, it is none; and no read goes beyond its end (the sanitizer watches: the copy has no byte more). */
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy + 1, bytes, cut);
        in = mg_reader_of(MG_SLICE(copy + 1, cut));
        assert_false(mg_datum_skip(&in));
        free(copy);
    }
    return datum;
}

static void numbers(void **state)
{
    assert_int_equal(read_datum("00").flag, MG_DATUM_NULL);
    assert_int_equal(read_datum("fa").flag, MG_DATUM_MAX);
    assert_int_equal(read_datum("08 0a").i, 5);
    assert_int_equal(read_datum("08 01").i, -1);
    assert_true(read_datum("08 ff ff ff ff ff ff ff ff ff 01").i == INT64_MIN);
    assert_true(read_datum("08 fe ff ff ff ff ff ff ff ff 01").i == INT64_MAX);
    assert_int_equal(read_datum("08 ff cb a8 9e de d8 01").i, -3723500000000); /* TIME -01:02:03.5 */
    assert_int_equal(read_datum("09 ac 02").u, 300);
    assert_true(read_datum("09 ff ff ff ff ff ff ff ff ff 01").u == UINT64_MAX);
    assert_int_equal(read_datum("03 80 00 00 00 00 00 00 05").i, 5);
    assert_int_equal(read_datum("03 7f ff ff ff ff ff ff ff").i, -1);
    assert_int_equal(read_datum("04 00 00 00 00 00 00 00 05").u, 5);
    assert_int_equal(read_datum("07 7f ff ff ff ff ff ff fe").i, -2);
    assert_true(read_datum("05 bf f8 00 00 00 00 00 00").f == 1.5);
    assert_true(read_datum("05 40 07 ff ff ff ff ff ff").f == -1.5);
}

static void bytes(void **state)
{
    struct mg_datum datum = read_datum("02 04 61 62");
    assert_true(mg_slice_equal(datum.bytes, mg_slice_text("ab")));
    assert_int_equal(read_datum("02 00").bytes.size, 0);
    assert_int_equal(read_datum("01 61 62 00 00 00 00 00 00 f9").flag, MG_DATUM_BYTES_KEY);
    assert_int_equal(read_datum("01 61 62 63 64 65 66 67 68 ff 00 00 00 00 00 00 00 00 f7").bytes.size, 18);
    /* JSON: null, 5, "a", {"a":1}, [], an opaque, a time */
    assert_int_equal(read_datum("0a 04 00").bytes.size, 2);
    assert_int_equal(read_datum("0a 09 05 00 00 00 00 00 00 00").bytes.size, 9);
    assert_int_equal(read_datum("0a 0c 01 61").bytes.size, 3);
    assert_int_equal(
        read_datum("0a 01 01 00 00 00 1c 00 00 00 13 00 00 00 01 00 09 14 00 00 00 61 01 00 00 00 00 00 00 00")
            .bytes.size,
        29);
    assert_int_equal(read_datum("0a 03 00 00 00 00 08 00 00 00").bytes.size, 9);
    assert_int_equal(read_datum("0a 0d fc 02 00 ff").bytes.size, 5);
    assert_int_equal(read_datum("0a 11 00 00 00 00 00 00 00 00 00 00 00 00").bytes.size, 13);
    assert_int_equal(read_datum("14 01 00 00 00 00 00 80 3f").bytes.size, 8);
}

static void refused(void **state)
{
    static const char *const bad[] = {
        "0b", /* flags that are none */
        "15 00",
        "ff",
        "02 03 61 62",                         /* length -2 */
        "02 ff ff ff ff ff ff ff ff ff 01 61", /* length below 0 */
        "02 fe ff ff ff ff ff ff ff ff 01 61", /* longer than memory */
        "08 80 80 80 80 80 80 80 80 80 80 01", /* 11 bytes */
        "09 ff ff ff ff ff ff ff ff ff 02",    /* more than 64 bits */
        "01 61 62 00 00 00 00 00 00 f6",       /* 9 bytes of padding in 8 */
        "06 00 00 80",                         /* no digits */
        "06 02 03 80 80",                      /* more fraction than digits */
        "06 52 00 80",                         /* 82 digits */
        "0a 01 01 00 00 00 07 00 00 00",       /* an object smaller than its head */
        "0a 02 00",                            /* a JSON type that is none */
        "14 ff ff ff 7f 00",                   /* a vector longer than what is there */
    };
    uint8_t out[64] = {0};
    for (size_t i = 0; i < MG_COUNT_OF(bad); i++) {
        struct mg_reader in = mg_reader_of(MG_SLICE(out, unhex(bad[i], out)));
        if (mg_datum_skip(&in))
            fail_msg("%s passes for a datum", bad[i]);
    }
}

static bool decimal(const char *hex, uint8_t precision, uint8_t scale, const char *want)
{
    struct mg_datum datum = read_datum(hex);
    mg_int128 value;
    char text[48];

    if (!mg_datum_decimal(datum.bytes, precision, scale, &value))
        return false;
    mg_decimal_format(value, scale, text);
    assert_string_equal(text, want);
    return true;
}

static void decimals(void **state)
{
    assert_true(decimal("06 0a 02 80 00 00 7b 2d", 10, 2, "123.45"));
    assert_true(decimal("06 0a 02 7f ff ff 84 d2", 10, 2, "-123.45"));
    assert_true(decimal("06 0e 04 81 0d fb 38 d2 04 d2", 14, 4, "1234567890.1234")); /* MySQL's own example */
    assert_true(decimal("06 01 00 89", 1, 0, "9"));
    assert_true(decimal("06 01 00 76", 1, 0, "-9"));
    assert_true(decimal("06 01 00 80", 1, 0, "0"));
    assert_true(decimal("06 09 09 bb 9a c9 ff", 9, 9, "0.999999999"));
    /* another scale than the column's: zeros may come and go, digits may not */
    assert_true(decimal("06 0a 02 80 00 00 7b 2d", 12, 4, "123.4500"));
    assert_true(decimal("06 0a 02 80 00 00 7b 32", 10, 1, "123.5"));
    assert_false(decimal("06 0a 02 80 00 00 7b 2d", 10, 1, ""));
    assert_false(decimal("06 0a 02 80 00 00 7b 2d", 4, 2, ""));
    assert_false(decimal("06 0a 02 80 00 00 7b 2d", 38, 37, "")); /* 123 with 37 digits behind the point */
    /* 38 digits, and 65 of which 27 are leading zeros */
    assert_true(decimal("06 26 00 e3 3b 9a c9 ff 3b 9a c9 ff 3b 9a c9 ff 3b 9a c9 ff", 38, 0,
                        "99999999999999999999999999999999999999"));
    assert_true(
        decimal("06 41 00 80 00 00 00 00 00 00 00 00 00 00 00 63 3b 9a c9 ff 3b 9a c9 ff 3b 9a c9 ff 3b 9a c9 ff", 38,
                0, "99999999999999999999999999999999999999"));
    assert_false(
        decimal("06 41 00 80 00 00 00 00 00 00 00 00 00 00 00 64 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00", 38,
                0, "")); /* 10^38 */
    /* a group that holds more than its digits */
    assert_false(decimal("06 09 09 ff ff ff ff", 38, 9, ""));
    assert_false(decimal("06 01 00 8a", 38, 0, ""));

    mg_int128 value;
    uint8_t body[] = {10, 2, 0x80, 0, 0, 0x7b};
    assert_false(mg_datum_decimal(MG_SLICE(body, sizeof body), 10, 2, &value)); /* a byte short */
    assert_false(mg_datum_decimal(MG_SLICE(body, 0), 10, 2, &value));
}

static uint64_t pack(uint64_t year, uint64_t month, uint64_t day, uint64_t hour, uint64_t minute, uint64_t second,
                     uint64_t us)
{
    return ((((year * 13 + month) << 5 | day) << 17 | hour << 12 | minute << 6 | second) << 24) | us;
}

static void times(void **state)
{
    int32_t days;
    int64_t us;

    struct mg_datum datum = read_datum("09 94 94 b0 c0 8b d9 ae d9 19");
    assert_true(datum.u == 0x19b2bac8b80c0a14);
    assert_int_equal(mg_datum_time(datum.u, &days, &us), MG_DATUM_TIME_OK);
    assert_int_equal(days, 19782); /* 2024-02-29 */
    assert_int_equal(us, 1709210096789012);
    assert_int_equal(mg_datum_time(pack(1970, 1, 1, 0, 0, 0, 0), &days, &us), MG_DATUM_TIME_OK);
    assert_int_equal(us, 0);
    assert_int_equal(mg_datum_time(pack(1969, 12, 31, 23, 59, 59, 999999), &days, &us), MG_DATUM_TIME_OK);
    assert_int_equal(days, -1);
    assert_int_equal(us, -1);
    assert_int_equal(mg_datum_time(pack(9999, 12, 31, 23, 59, 59, 999999), &days, &us), MG_DATUM_TIME_OK);
    assert_int_equal(us, 253402300799999999);
    assert_int_equal(mg_datum_time(pack(0, 12, 31, 0, 0, 0, 0), NULL, NULL), MG_DATUM_TIME_OK);
    assert_int_equal(mg_datum_time(0, &days, &us), MG_DATUM_TIME_ZERO);
    assert_int_equal(mg_datum_time(pack(2023, 0, 0, 0, 0, 0, 0), &days, &us), MG_DATUM_TIME_ZERO);
    assert_int_equal(mg_datum_time(pack(2023, 5, 0, 1, 2, 3, 4), &days, &us), MG_DATUM_TIME_ZERO);
    assert_int_equal(mg_datum_time(pack(2023, 2, 29, 0, 0, 0, 0), &days, &us), MG_DATUM_TIME_ZERO);
    assert_int_equal(mg_datum_time(pack(2023, 1, 1, 24, 0, 0, 0), &days, &us), MG_DATUM_TIME_BAD);
    assert_int_equal(mg_datum_time(pack(2023, 1, 1, 0, 60, 0, 0), &days, &us), MG_DATUM_TIME_BAD);
    assert_int_equal(mg_datum_time(pack(2023, 1, 1, 0, 0, 60, 0), &days, &us), MG_DATUM_TIME_BAD);
    assert_int_equal(mg_datum_time(pack(2023, 1, 1, 0, 0, 0, 1000000), &days, &us), MG_DATUM_TIME_BAD);
    assert_int_equal(mg_datum_time(pack(10000, 1, 1, 0, 0, 0, 0), &days, &us), MG_DATUM_TIME_BAD);
    assert_int_equal(mg_datum_time(UINT64_MAX, &days, &us), MG_DATUM_TIME_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),  cmocka_unit_test(bytes), cmocka_unit_test(refused),
        cmocka_unit_test(decimals), cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
