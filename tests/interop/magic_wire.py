"""magic_wire.py -- the messages of proto/scan.proto for tests, encoded and decoded by hand.

A message is a list of (field number, value); the kind of value decides the wire type. Small on purpose: a second,
independent reading of the .proto file.
SPDX-License-Identifier: Apache-2.0
"""
import struct

EQ, NE, LT, LE, GT, GE, EQ_NULL_SAFE, IS_NULL, IS_NOT_NULL, AND, OR, NOT, IN, BETWEEN = range(1, 15)
ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, CAST = range(20, 26)
COUNT_ALL, COUNT, SUM, MIN, MAX, AVG = range(1, 7)
ARROW, SPARK = 0, 1
CREATE, APPEND, REPLACE, CREATE_OR_APPEND = range(1, 5)


def varint(v):
    out = bytearray()
    v &= (1 << 64) - 1
    while v >= 0x80:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


class Zigzag(int):
    """An sint32 or sint64."""


def message(*fields):
    """fields: (number, value); None is left out, int is a varint, float a double, bytes and str have a length."""
    out = bytearray()
    for number, value in fields:
        if value is None:
            continue
        if isinstance(value, Zigzag):
            out += varint(number << 3) + varint(value << 1 ^ value >> 63)
        elif isinstance(value, (bool, int)):
            out += varint(number << 3) + varint(int(value))
        elif isinstance(value, float):
            out += varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return bytes(out)


def decode(data):
    """{field number: [values]}; varints as int, lengths as bytes."""
    out, at = {}, 0

    def read_varint():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return v

    while at < len(data):
        tag = read_varint()
        if tag & 7 == 0:
            value = read_varint()
        elif tag & 7 == 1:
            value = data[at:at + 8]
            at += 8
        elif tag & 7 == 5:
            value = data[at:at + 4]
            at += 4
        else:
            size = read_varint()
            value = data[at:at + size]
            at += size
        out.setdefault(tag >> 3, []).append(value)
    return out


def unzigzag(v):
    return v >> 1 ^ -(v & 1)


# ---- expressions ----


def column(name):
    return message((1, message((1, name))))


def call(op, *args, pad_space=None):
    return message((3, message((1, op), *((2, a) for a in args), (3, pad_space))))


def cast(arg, kind, precision=None, scale=None):
    return message((3, message((1, CAST), (2, arg), (4, message((1, kind), (2, precision), (3, scale))))))


def literal(value):
    return message((2, value))


def null():
    return literal(b"")


def int_(v):
    return literal(message((2, Zigzag(v))))


def uint(v):
    return literal(message((3, v)))


def float_(v):
    return literal(message((4, float(v))))


def decimal(unscaled, precision, scale):
    size = max(1, (unscaled.bit_length() + 8) // 8)
    body = message((1, unscaled.to_bytes(size, "little", signed=True)), (2, precision), (3, scale))
    return literal(message((5, body)))


def text(v):
    return literal(message((6, v)))


def date(days):
    return literal(message((8, Zigzag(days))))


def datetime(us):
    return literal(message((9, Zigzag(us))))


def timestamp(us):
    return literal(message((10, Zigzag(us))))


# ---- scans ----


def aggregation(calls, groups=(), partial=None):
    """calls: (function, argument or None)."""
    return message(*((1, g) for g in groups), *((2, message((1, f), (2, a))) for f, a in calls), (3, partial))


def snapshot(lease=None, as_of=None, wait=None, epoch=None, wait_ms=None):
    return message((1, lease), (2, as_of), (3, wait), (5, epoch), (15, wait_ms))


def any_of(name, body):
    return message((1, "type.googleapis.com/" + name), (2, body))


def scan(database, table, columns=(), no_columns=None, predicate=None, snapshot=None, splits=None, profile=None,
         limit=None, schema_version=None, aggregation=None, order=()):
    return any_of("magic.v1.ScanDescriptor", message(
        (1, database), (2, table), *((3, c) for c in columns), (4, no_columns), (5, predicate), (6, snapshot),
        (7, splits), (8, profile), (9, limit), (10, schema_version), (11, aggregation),
        *((12, message((1, column), (2, descending), (3, nulls_last))) for column, descending, nulls_last in order)))


def put(database, table, mode, key=(), rows_per_epoch=None):
    return any_of("magic.v1.PutDescriptor", message((1, database), (2, table), (3, mode), *[(4, k) for k in key],
                                           (5, rows_per_epoch)))


def sql(statement, database=None, snapshot=None):
    return any_of("magic.v1.SqlStatement", message((1, statement), (2, database), (3, snapshot)))
