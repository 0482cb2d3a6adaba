#!/usr/bin/env python3
"""wire_corpus.py -- writes the seeds of the fuzz targets protobuf, ticket and sql into corpus/.

Inputs that a fuzzer found are added beside them by hand.

SPDX-License-Identifier: Apache-2.0
"""
import functools
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "interop"))

import magic_wire as w  # noqa: E402


def c(n):
    return w.column("c%d" % n)


def nest(expr, levels):
    for _ in range(levels):
        expr = w.call(w.NOT, expr)
    return expr


def inside(any_message):
    return w.decode(any_message)[2][0]


ONE = w.call(w.EQ, c(4), w.int_(1))
PREDICATES = {
    "eq_int": ONE,
    "ne_uint": w.call(w.NE, c(8), w.uint(2 ** 64 - 1)),
    "lt_float": w.call(w.LT, c(10), w.float_(-1.5)),
    "nan": w.call(w.GE, c(9), w.float_(float("nan"))),
    "decimal": w.call(w.LE, c(11), w.decimal(-12345, 12, 2)),
    "decimal_wide": w.call(w.GT, c(11), w.decimal(10 ** 38 - 1, 38, 0)),
    "int_beside_decimal": w.call(w.EQ, c(1), w.decimal(15, 2, 1)),
    "date": w.call(w.GE, c(12), w.date(-719162)),
    "datetime": w.call(w.LT, c(13), w.datetime(-1)),
    "timestamp": w.call(w.LT, c(14), w.timestamp(2 ** 62)),
    "text_padded": w.call(w.EQ, c(15), w.text("a  "), pad_space=True),
    "in": w.call(w.IN, c(3), *(w.int_(i) for i in range(20)), w.null()),
    "between": w.call(w.BETWEEN, c(2), w.int_(-5), w.int_(5)),
    "is_null": w.call(w.IS_NULL, c(5)),
    "null_safe": w.call(w.EQ_NULL_SAFE, c(6), w.null()),
    "and_or_not": w.call(w.OR, w.call(w.AND, ONE, nest(ONE, 1)), w.call(w.IS_NOT_NULL, c(7))),
    "columns": w.call(w.LT, c(4), c(8)),
    "literals": w.call(w.EQ, w.int_(1), w.uint(1)),
    "deep": nest(ONE, 60),
    "too_deep": nest(ONE, 70),
    "no_node": b"",
    "bad_op": w.call(99, c(1)),
    "bad_decimal": w.call(w.EQ, c(11), w.decimal(10 ** 20, 5, 2)),
    "root_literal": w.int_(1),
    "arithmetic": w.call(w.ADD, c(1), w.call(w.MULTIPLY, c(11), w.int_(2))),
}

PRODUCT = w.call(w.MULTIPLY, c(11), w.call(w.SUBTRACT, w.decimal(1, 1, 0), c(11)))
AGGREGATIONS = {
    "count": w.aggregation([(w.COUNT_ALL, None)]),
    "sums": w.aggregation([(w.SUM, PRODUCT), (w.AVG, c(4)), (w.SUM, c(10))], partial=True),
    "groups": w.aggregation([(w.MIN, c(15)), (w.MAX, c(14)), (w.COUNT, c(9))], groups=[c(15), c(12), c(10)]),
    "groups_alone": w.aggregation([], groups=[c(8)]),
    "cast": w.aggregation([(w.SUM, w.cast(c(3), 11, 20, 4)), (w.MIN, w.cast(c(1), 4))]),
    "bad_casts": w.aggregation([(w.SUM, w.cast(c(4), 1)), (w.SUM, w.cast(c(3), 11, 300, 299))]),
    "division": w.aggregation([(w.SUM, w.call(w.DIVIDE, c(4), w.call(w.NEGATE, w.int_(0))))]),
    "text_sum": w.aggregation([(w.SUM, c(15))]),
    "condition": w.aggregation([(w.SUM, ONE)]),
    "nothing": w.aggregation([]),
    "bad_function": w.aggregation([(99, c(1))]),
    "deep": w.aggregation([(w.SUM, functools.reduce(lambda e, _: w.call(w.NEGATE, e), range(60), c(4)))]),
    "too_deep": w.aggregation([(w.SUM, functools.reduce(lambda e, _: w.call(w.NEGATE, e), range(70), c(4)))]),
    "many": w.aggregation([(w.COUNT_ALL, None)] * 300),
    "many_nodes": w.aggregation([(w.SUM, functools.reduce(lambda e, _: w.call(w.ADD, e, e), range(7), c(1)))] * 40),
}
AGGREGATES = {name: w.scan("d", "t", aggregation=a, profile=i % 2) for i, (name, a) in enumerate(AGGREGATIONS.items())}


def body(scan=None, low=None, high=None, show=None, **changes):
    fields = {1: 1, 2: 2, 3: 1, 4: 1, 5: scan, 6: w.message((1, low), (2, high)) if low or high else None,
              7: w.Zigzag(2 ** 42), 8: 7 << 32 | 1, 9: show}
    fields.update({int(k[1:]): v for k, v in changes.items()})
    return w.message(*fields.items())


COLUMNS = ["c%d" % i for i in range(1, 16)]
PLAIN = inside(w.scan("d", "t", columns=COLUMNS))
TICKETS = {
    "plain": body(PLAIN),
    "range": body(PLAIN, low=b"\x01", high=b"\x7f"),
    "range_upside_down": body(PLAIN, low=b"\x7f", high=b"\x01"),
    "no_columns": body(inside(w.scan("d", "t", no_columns=True))),
    "spark": body(inside(w.scan("d", "t", columns=["c8"], profile=w.SPARK))),
    "limit": body(inside(w.scan("d", "t", columns=["c1"], limit=2 ** 64 - 1))),
    "repeated": body(inside(w.scan("d", "t", columns=["c1"] * 300))),
    "unknown_column": body(inside(w.scan("d", "t", columns=["nothing"]))),
    "other_store": body(PLAIN, _1=2),
    "other_table": body(PLAIN, _3=9),
    "other_version": body(PLAIN, _4=9),
    "no_table": body(PLAIN, _3=0),
    "nothing": body(),
    "show": body(show=w.message((1, "SHOW TABLES"))),
    "expired": body(PLAIN, _7=w.Zigzag(-1)),
    "unknown_field": body(PLAIN) + w.message((200, b"later")),
    "twice": body(PLAIN) + body(PLAIN),
    "cut": body(PLAIN)[:-3],
    "empty": b"",
    "token": b"\x01\x00" + bytes(range(48)),
    "ticket": w.message((1, body(PLAIN)), (2, bytes(16))),
    "ticket_without_mac": w.message((1, body(PLAIN))),
    "long_key": body(PLAIN, low=b"\x55" * 70000),
}
TICKETS.update({"predicate_" + name: body(inside(w.scan("d", "t", columns=["c1"], predicate=p)))
                for name, p in PREDICATES.items() if name in ("in", "and_or_not", "deep", "bad_decimal")})
TICKETS.update({"aggregate_" + name: body(inside(scan)) for name, scan in AGGREGATES.items()})
ORDERS = {
    "order": w.scan("d", "t", columns=["c1"], limit=10, order=[("c15", True, None), ("c4", None, True)]),
    "order_no_limit": w.scan("d", "t", columns=["c1"], order=[("c15", None, None)]),
    "order_unknown": w.scan("d", "t", columns=["c1"], limit=1, order=[("c99", None, None)]),
    "order_long": w.scan("d", "t", columns=["c1"], limit=1, order=[("c1", None, None)] * 17),
    "order_wide": w.scan("d", "t", columns=["c1"], limit=2 ** 63, order=[("c1", None, None)]),
}
TICKETS.update({name: body(inside(scan)) for name, scan in ORDERS.items()})
TICKETS["aggregate_and_columns"] = body(inside(w.scan("d", "t", columns=["c1"], aggregation=AGGREGATIONS["count"])))

SQL = {
    "all": "SELECT * FROM d.t",
    "columns": "select c1, `c2`, t.c3 from `d`.`t` limit 10;",
    "numbers": "SELECT c1 FROM t WHERE c1 = -128 AND c8 = 18446744073709551615 OR c10 < 1.5e-3 AND c11 <> 0.125",
    "long_number": "SELECT c1 FROM t WHERE c11 > 99999999999999999999999999999999999999",
    "text": "SELECT c1 FROM t WHERE c15 IN ('a', \"b\", 'it''s', 'tab\\t\\%\\\\', x'4142', 0x6162)",
    "dates": "SELECT c1 FROM t WHERE c12 >= '2024-02-29' AND c13 < '2024-02-29 23:59:59.999999' AND "
             "c14 = '1970-01-01T00:00:00'",
    "date_keyword": "SELECT c1 FROM t WHERE c12 = DATE'2024-02-29' AND c14 < TIMESTAMP '2024-02-29 00:00:00+02:00'",
    "between": "SELECT c1 FROM t WHERE c2 NOT BETWEEN 1 AND 5 AND NOT c3 IN (1, NULL)",
    "nulls": "SELECT c1 FROM t WHERE c5 IS NULL OR c6 IS NOT NULL OR c7 <=> NULL",
    "nesting": "SELECT c1 FROM t WHERE " + "(" * 50 + "c1 = 1" + ")" * 50,
    "too_deep": "SELECT c1 FROM t WHERE " + "NOT (" * 80 + "c1 = 1" + ")" * 80,
    "symbols": "SELECT c1 FROM t WHERE c1!=1&&c2<=>2||!c3>=4",
    "comments": "/* a */ SELECT -- b\n c1 # c\n FROM t /* d */",
    "show_tables": "SHOW TABLES FROM `d`",
    "show_databases": "show databases;",
    "join": "SELECT a.c1 FROM t a JOIN u b ON a.c1 = b.c1",
    "comma": "SELECT c1 FROM t, u",
    "group": "SELECT COUNT(*) FROM t GROUP BY c1 HAVING 1",
    "subquery": "SELECT c1 FROM t WHERE c1 IN (SELECT c1 FROM u)",
    "insert": "INSERT INTO t VALUES (1)",
    "open_quote": "SELECT c1 FROM t WHERE c15 = 'never",
    "open_comment": "SELECT /* never",
    "two": "SELECT c1 FROM t; SELECT c2 FROM t",
    "utf8": "SELECT `sp\u00e4lte` FROM `\u8868` WHERE c15 = '\U0001f600'",
    "text_beside_number": "SELECT c1 FROM t WHERE c1 = '12' AND c11 = '1.25'",
    "text_not_a_number": "SELECT c1 FROM t WHERE c1 = '12x'",
    "columns_compared": "SELECT c1 FROM t WHERE c1 < c2",
    "empty": "",
}


def descriptor(command=None, path=()):
    return w.message((1, 2 if command is not None else 1), (2, command), *((3, p) for p in path))


PUTS = {
    "create": descriptor(w.put("d", "t", w.CREATE, key=["a", "b"])),
    "append": descriptor(w.put("d", "t", w.APPEND, rows_per_epoch=1000)),
    "bad_mode": descriptor(w.put("d", "t", 77)),
    "no_table": descriptor(w.put("d", "", w.REPLACE)),
    "many_keys": descriptor(w.put("d", "t", w.CREATE, key=["k%d" % i for i in range(40)])),
    "scan": descriptor(PLAIN),
    "path": descriptor(path=["d", "t"]),
    "path_key": descriptor(path=["d", "t", "replace", "a", "b"]),
    "path_mode": descriptor(path=["d", "t", "upsert"]),
    "path_short": descriptor(path=["d"]),
    "data": w.message((1, descriptor(path=["d", "t", "create", "a"])), (2, b"header"), (3, b"m"), (1000, b"body")),
    "data_cut": w.message((1, descriptor(path=["d", "t"])), (1000, b"body"))[:-2],
}


def write(target, seeds):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)


write("protobuf", {name: w.scan("d", "t", columns=COLUMNS[:2], predicate=p) for name, p in PREDICATES.items()})
write("protobuf", {"aggregate_" + name: scan for name, scan in AGGREGATES.items()})
write("protobuf", {"expr_" + name: PREDICATES[name] for name in ("eq_int", "in", "deep")})
write("protobuf", {"sql": w.sql("SELECT 1", database="d"), "scan": PLAIN, "random": bytes(range(256)),
                   "group": b"\x0b\x0c", "overlong": b"\x80" * 11, "repeated_oneof": ONE + ONE})
write("protobuf", {"put_" + name: seed for name, seed in PUTS.items()})
write("ticket", TICKETS)
write("sql", SQL)
