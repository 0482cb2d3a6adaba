"""flight_data.py -- what flight_fixture.c stores, said once more in Python.

SPDX-License-Identifier: Apache-2.0
"""
import datetime
import decimal

import pyarrow as pa

TYPE_ROWS, HISTORY_EPOCHS, HISTORY_ROWS, WIDE_ROWS, ACCOUNTS = 1000, 50, 10, 40, 100
EPOCH = datetime.datetime(1970, 1, 1)
EPOCH_UTC = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

TYPES = pa.schema([
    pa.field("id", pa.int64(), nullable=False), ("i8", pa.int8()), ("i16", pa.int16()), ("i32", pa.int32()),
    ("i64", pa.int64()), ("u8", pa.uint8()), ("u16", pa.uint16()), ("u32", pa.uint32()), ("u64", pa.uint64()),
    ("f32", pa.float32()), ("f64", pa.float64()), ("price", pa.decimal128(12, 2)), ("huge", pa.decimal128(38, 10)),
    ("born", pa.date32()), ("seen", pa.timestamp("us")), ("stamp", pa.timestamp("us", tz="UTC")),
    ("name", pa.string()), ("code", pa.string())])
SPARK_TYPES = {"u8": pa.int16(), "u16": pa.int32(), "u32": pa.int64(), "u64": pa.decimal128(20, 0)}


def scaled(unscaled, scale):
    with decimal.localcontext() as context:
        context.prec = 60
        return decimal.Decimal(unscaled).scaleb(-scale)


def unscaled(value, scale):
    with decimal.localcontext() as context:
        context.prec = 60
        return int(value.scaleb(scale))


def type_row(i):
    sign = 1 if i % 2 else -1
    most = 10 ** 38 - 1

    def ends(least, greatest, value):
        return least if i == 0 else greatest if i == 1 else value

    values = [
        i,
        ends(-2 ** 7, 2 ** 7 - 1, sign * (i % 100)),
        ends(-2 ** 15, 2 ** 15 - 1, sign * i),
        ends(-2 ** 31, 2 ** 31 - 1, sign * i * 1000),
        ends(-2 ** 63, 2 ** 63 - 1, sign * i * 1000000007),
        ends(0, 2 ** 8 - 1, i % 200),
        ends(0, 2 ** 16 - 1, i * 3),
        ends(0, 2 ** 32 - 1, i * 4000000),
        ends(0, 2 ** 64 - 1, (i << 53) % 2 ** 64),
        sign * i / 4,
        sign * i / 8,
        scaled(ends(-999999999999, 999999999999, sign * i * 125), 2),
        scaled(ends(-most, most, sign * i * 10 ** 18), 10),
        ends(datetime.date(1, 1, 1), datetime.date(9999, 12, 31), (EPOCH + datetime.timedelta(days=i * 10)).date()),
        ends(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999),
             EPOCH + datetime.timedelta(days=i, microseconds=i)),
        EPOCH_UTC + datetime.timedelta(days=i, milliseconds=i),
        "name %d%s" % (i % 50, "" if i % 3 else "  "),
        "code %d" % i if i % 4 else "",
    ]
    return {name: None if i > 1 and c > 0 and (i + c) % 10 == 3 else v
            for c, (name, v) in enumerate(zip(TYPES.names, values))}


TYPE_TABLE = [type_row(i) for i in range(TYPE_ROWS)]


def big_row(i):
    return {"id": i, "v": i % 97, "note": "note %d of a big table" % (i % 1000)}


def wide_row(i):
    return {"id": i, "body": None if i % 7 == 3 else chr(ord("a") + i % 26) * (i % 4 * 100 * 1024)}
