/* datum.h -- single values as TiDB writes them into rows and handles: a flag byte, then a body.
 *
 *     flag          body                                        found in
 *     0 NULL        none                                        rows, handles
 *     1 BYTES_KEY   groups of 8 bytes, each with a marker       keys only: skipped
 *     2 BYTES       varint length, bytes                        rows, handles
 *     3 INT_KEY     8 bytes BE, sign bit flipped                keys only
 *     4 UINT_KEY    8 bytes BE                                  keys only
 *     5 FLOAT       8 bytes BE, ordered form of a double        rows, handles
 *     6 DECIMAL     precision u8, fraction u8, binary decimal   rows, handles
 *     7 DURATION    8 bytes BE, nanoseconds, sign bit flipped   handles of TIME columns
 *     8 INT         zigzag varint                               rows, handles
 *     9 UINT        varint                                      rows, handles; packed times, too
 *     10 JSON       type u8, binary JSON                        rows
 *     20 VECTOR     u32 LE count, count float32                 rows
 *     250 MAX       none                                        nowhere
 *
 * The flag alone tells how long a datum is, so values of unknown columns can be passed over. Nothing here reads beyond
 * its slice, whatever the bytes are.
 * Source   TiDB release-7.5 pkg/util/codec, pkg/types/mydecimal.go (the rules, not the code).
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_DATUM_H
#define MG_SYNCER_DATUM_H

#include "column/type.h"

enum mg_datum_flag {
    MG_DATUM_NULL = 0,
    MG_DATUM_BYTES_KEY = 1,
    MG_DATUM_BYTES = 2,
    MG_DATUM_INT_KEY = 3,
    MG_DATUM_UINT_KEY = 4,
    MG_DATUM_FLOAT = 5,
    MG_DATUM_DECIMAL = 6,
    MG_DATUM_DURATION = 7,
    MG_DATUM_INT = 8,
    MG_DATUM_UINT = 9,
    MG_DATUM_JSON = 10,
    MG_DATUM_VECTOR = 20,
    MG_DATUM_MAX = 250,
};

/* One datum. bytes are borrowed from what was read. */
struct mg_datum {
    enum mg_datum_flag flag;
    union {
        int64_t i;             /* INT, INT_KEY, DURATION */
        uint64_t u;            /* UINT, UINT_KEY */
        double f;              /* FLOAT */
        struct mg_slice bytes; /* BYTES: the text; the others: the whole body */
    };
};

/* The next datum; false when it is cut short, longer than what is left, or of an unknown flag. `in` has failed then. */
bool mg_datum_read(struct mg_reader *in, struct mg_datum *out);
/* The same, value unread. */
bool mg_datum_skip(struct mg_reader *in);

/* A DECIMAL's body as an unscaled number with `scale` fraction digits; false when it is malformed, has more than
 * `precision` digits then, or would lose digits. */
bool mg_datum_decimal(struct mg_slice body, uint8_t precision, uint8_t scale, mg_int128 *out);

enum mg_datum_time {
    MG_DATUM_TIME_OK,
    MG_DATUM_TIME_ZERO, /* zero, partial (month or day 0) or no day of the calendar: NULL in a column */
    MG_DATUM_TIME_BAD,  /* no time at all */
};
/* A packed time: days since 1970-01-01, and microseconds since then; either may be NULL. */
enum mg_datum_time mg_datum_time(uint64_t packed, int32_t *out_days, int64_t *out_us);

#endif
