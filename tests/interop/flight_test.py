#!/usr/bin/env python3
"""flight_test.py -- an unmodified pyarrow.flight reads Magic.

    flight_test.py [--server fixture|magicd] [unittest arguments]

Every value is compared with flight_data.py, every predicate with a small evaluator of SQL's three-valued logic.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

os.environ.setdefault("ACERO_ALIGNMENT_HANDLING", "ignore")  # grouping what came over the wire, unasked for copies

import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402
import pyarrow.flight as flight  # noqa: E402

import flight_data as data  # noqa: E402
import flight_server  # noqa: E402
import magic_wire as wire  # noqa: E402

BIG_ROWS = 100000
KIND = "fixture"
SERVER = None


def setUpModule():
    global SERVER
    SERVER = flight_server.start_fixture("--rows", str(BIG_ROWS)) if KIND == "fixture" else \
        flight_server.start_magicd(rows=BIG_ROWS)


def tearDownModule():
    SERVER.clear()


def connect(server=None):
    return flight.connect((server or SERVER).uri)


def read(client, command, endpoints=None):
    """Every endpoint of a command as one table, and the info."""
    descriptor = command if isinstance(command, flight.FlightDescriptor) else \
        flight.FlightDescriptor.for_command(command)
    info = client.get_flight_info(descriptor)
    tables = [client.do_get(e.ticket).read_all() for e in (endpoints or info.endpoints)]
    for table in tables:
        table.validate(full=True)
    return pa.concat_tables(tables), info


def by_id(table):
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def action(client, name, body=b""):
    return [wire.decode(r.body.to_pybytes()) for r in client.do_action(flight.Action(name, body))]


def acquire(client, ttl_ms=None, **choice):
    reply, = action(client, "magic.acquire",
                    wire.message((1, wire.snapshot(**choice) if choice else None), (2, "flight_test"), (3, ttl_ms)))
    return reply


class FlightCase(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.client = connect()
        self.addCleanup(self.client.close)

    def fails(self, kind, text):
        """The call fails with this pyarrow error and says this."""
        return self.assertRaisesRegex(kind, text)


class Aggregates(FlightCase):
    """Sums and counts that the server made, against those that pyarrow makes of the rows."""

    def aggregate(self, calls, groups=(), **scan):
        partial = scan.pop("partial", None)
        table, info = read(self.client, wire.scan(
            "shop", "types", aggregation=wire.aggregation(calls, [wire.column(g) for g in groups], partial), **scan))
        self.assertTrue(table.schema.equals(info.schema))
        self.assertEqual(info.total_records, -1)
        return table, info

    def rows(self):
        return read(self.client, wire.scan("shop", "types"))[0]

    def test_sums_of_the_whole_table(self):
        names = ["i8", "i16", "i32", "i64", "u8", "u64", "price"]
        rows = self.rows()
        for profile in (wire.ARROW, wire.SPARK):
            calls = [(wire.COUNT_ALL, None)] + [(f, wire.column(n)) for n in names if profile == wire.ARROW or n != "i64"
                                                for f in (wire.COUNT, wire.SUM, wire.MIN, wire.MAX)]
            table, info = self.aggregate(calls, profile=profile)
            self.assertEqual((table.num_rows, len(info.endpoints)), (1, 1))
            got = [c[0].as_py() for c in table.columns]
            want = [rows.num_rows]
            for name in names:
                if profile == wire.SPARK and name == "i64":
                    continue
                column = rows[name]
                exact = [v for v in column.to_pylist() if v is not None]
                ends = pc.min_max(column).as_py()
                want += [pc.count(column).as_py(), sum(exact), ends["min"], ends["max"]]
                if name in ("i8", "i16", "i32", "u8"):
                    self.assertEqual(want[-3], pc.sum(column).as_py())
            self.assertEqual(got, want)

    def test_types_of_results(self):
        calls = [(wire.COUNT, wire.column("i8")), (wire.SUM, wire.column("i32")), (wire.SUM, wire.column("price")),
                 (wire.AVG, wire.column("price")), (wire.AVG, wire.column("i32")), (wire.SUM, wire.column("f32")),
                 (wire.MIN, wire.column("u64"))]
        mysql, _ = self.aggregate(calls)
        spark, _ = self.aggregate(calls, profile=wire.SPARK)
        partial, _ = self.aggregate(calls[3:5], profile=wire.SPARK, partial=True)
        self.assertEqual(mysql.schema.types, [
            pa.int64(), pa.decimal128(38, 0), pa.decimal128(34, 2), pa.decimal128(16, 6), pa.decimal128(14, 4),
            pa.float64(), pa.uint64()])
        self.assertEqual(spark.schema.types, [
            pa.int64(), pa.int64(), pa.decimal128(22, 2), pa.decimal128(16, 6), pa.float64(), pa.float64(),
            pa.decimal128(20, 0)])
        self.assertEqual(partial.schema.types, [pa.decimal128(22, 2), pa.int64(), pa.decimal128(38, 0), pa.int64()])
        self.assertEqual(partial.schema.names, ["call_0", "call_0_count", "call_1", "call_1_count"])
        rows = self.rows()
        self.assertEqual(spark["call_4"][0].as_py(), pc.mean(rows["i32"]).as_py())
        self.assertEqual(spark["call_5"][0].as_py(), pc.sum(rows["f32"]).as_py())

    def test_groups_and_a_predicate(self):
        where = wire.call(wire.LT, wire.column("id"), wire.int_(500))
        table, _ = self.aggregate([(wire.COUNT_ALL, None), (wire.SUM, wire.column("price"))], ["u8", "born"],
                                  predicate=where, profile=wire.SPARK)
        rows = self.rows().filter(pc.less(pc.field("id"), 500))
        want = rows.group_by(["u8", "born"]).aggregate([([], "count_all"), ("price", "sum")])
        self.assertEqual(sorted(map(str, zip(*(table[i].to_pylist() for i in range(4))))),
                         sorted(map(str, zip(*(want[n].to_pylist() for n in ("u8", "born", "count_all", "price_sum"))))))

    def test_partial_results_of_splits_are_merged(self):
        product = wire.call(wire.MULTIPLY, wire.column("v"), wire.call(wire.SUBTRACT, wire.column("id"), wire.int_(7)))
        command = wire.scan("shop", "big", splits=5, profile=wire.SPARK, aggregation=wire.aggregation(
            [(wire.SUM, product), (wire.AVG, wire.column("v")), (wire.MAX, wire.column("note"))],
            [wire.column("v")], True))
        table, info = read(self.client, command)
        self.assertGreater(len(info.endpoints), 1)
        merged = table.group_by("group_0").aggregate([("call_0", "sum"), ("call_1_count", "sum"), ("call_2", "max")])
        want = {}
        for row in map(data.big_row, range(BIG_ROWS)):
            total, count, note = want.get(row["v"], (0, 0, ""))
            want[row["v"]] = (total + row["v"] * (row["id"] - 7), count + 1, max(note, row["note"]))
        self.assertEqual({r["group_0"]: (r["call_0_sum"], r["call_1_count_sum"], r["call_2_max"])
                          for r in merged.to_pylist()}, want)

    def test_errors_of_values(self):
        square = wire.call(wire.MULTIPLY, wire.column("i64"), wire.column("i64"))
        with self.fails(pa.ArrowInvalid, "BIGINT value is out of range"):
            self.aggregate([(wire.SUM, square)])
        with self.fails(pa.ArrowInvalid, "ARITHMETIC_OVERFLOW"):
            self.aggregate([(wire.SUM, square)], profile=wire.SPARK)
        zero = wire.call(wire.DIVIDE, wire.column("id"), wire.int_(0))
        self.assertEqual(self.aggregate([(wire.COUNT, zero)])[0]["call_0"][0].as_py(), 0)
        with self.fails(pa.ArrowInvalid, "DIVIDE_BY_ZERO"):
            self.aggregate([(wire.COUNT, zero)], profile=wire.SPARK)

    def test_what_is_refused(self):
        one = [(wire.COUNT_ALL, None)]
        for text, scan in (
                ("asks for nothing", {"calls": []}),
                ("no sum", {"calls": [(wire.SUM, wire.column("name"))]}),
                ("columns or a limit", {"calls": one, "columns": ["id"]}),
                ("columns or a limit", {"calls": one, "limit": 3}),
                ("at most", {"calls": one * 257}),
                ("deep", {"calls": [(wire.SUM, functools.reduce(lambda e, _: wire.call(wire.NEGATE, e), range(70),
                                                                wire.column("id")))]}),
                ("not known", {"calls": [(50, wire.column("id"))]}),
                ("lose digits", {"calls": [(wire.SUM, wire.cast(wire.column("i64"), 1))]})):
            with self.subTest(text), self.fails(pa.ArrowInvalid, text):
                self.aggregate(**scan)
        with self.fails(pa.ArrowInvalid, "arithmetic is no condition"):
            read(self.client, wire.scan("shop", "types", predicate=wire.call(wire.NEGATE, wire.column("id"))))


class Orders(FlightCase):
    def test_the_first_rows_in_order(self):
        rows = by_id(read(self.client, wire.scan("shop", "types"))[0])
        for descending in (None, True):
            table, _ = read(self.client, wire.scan("shop", "types", columns=["id"], splits=1, limit=30,
                                                   order=[("price", descending, True), ("id", None, None)]))
            want = sorted((r for r in rows if r["price"] is not None),
                          key=lambda r: (-r["price"] if descending else r["price"], r["id"]))
            self.assertEqual(table["id"].to_pylist(), [r["id"] for r in want[:30]])

    def test_what_is_refused(self):
        for text, kind, scan in (("limit", pa.ArrowInvalid, {"order": [("id", None, None)]}),
                                 ("no column", KeyError, {"order": [("void", None, None)], "limit": 1}),
                                 ("up to 16", pa.ArrowInvalid, {"order": [("id", None, None)] * 17, "limit": 1}),
                                 ("or an order", pa.ArrowInvalid, {
                                     "order": [("id", None, None)],
                                     "aggregation": wire.aggregation([(wire.COUNT_ALL, None)])})):
            with self.subTest(text), self.fails(kind, text):
                read(self.client, wire.scan("shop", "types", **scan))


class Catalogue(FlightCase):
    def test_list_flights(self):
        paths = [tuple(p.decode() for p in f.descriptor.path) for f in self.client.list_flights()]
        self.assertEqual(paths, sorted(paths))
        self.assertEqual(set(paths), {("other", "t")} | {("shop", t) for t in (
            "types", "big", "wide", "empty", "nokey", "pairs", "history", "left", "right", "broken", "stale")})
        counts = {f.descriptor.path[1].decode(): f.total_records for f in self.client.list_flights()}
        self.assertEqual(counts["types"], data.TYPE_ROWS)
        self.assertEqual(counts["big"], BIG_ROWS)
        self.assertEqual(counts["empty"], 0)
        self.assertEqual(counts["broken"], -1)

    def test_list_flights_of_one_database(self):
        self.assertEqual([f.descriptor.path for f in self.client.list_flights(b"OTHER")], [[b"other", b"t"]])
        self.assertEqual(list(self.client.list_flights(b"void")), [])

    def test_schema(self):
        path = flight.FlightDescriptor.for_path("shop", "types")
        info = self.client.get_flight_info(path)
        self.assertTrue(info.schema.equals(data.TYPES))
        self.assertEqual(info.schema.field("price").metadata, {b"magic.source_type": b"decimal(12,2)"})
        self.assertTrue(self.client.get_schema(path).schema.equals(info.schema, check_metadata=True))
        reader = self.client.do_get(info.endpoints[0].ticket)
        self.assertTrue(reader.schema.equals(info.schema, check_metadata=True))

    def test_schema_under_the_spark_profile(self):
        schema = self.client.get_schema(flight.FlightDescriptor.for_command(
            wire.scan("shop", "types", profile=wire.SPARK))).schema
        for field in data.TYPES:
            self.assertEqual(schema.field(field.name).type, data.SPARK_TYPES.get(field.name, field.type))

    def test_names_are_without_letter_case(self):
        table, _ = read(self.client, wire.scan("SHOP", "Types", columns=["ID", "U64"]))
        self.assertEqual(table.schema.names, ["id", "u64"])

    def test_tables_action(self):
        info, = action(self.client, "magic.tables", wire.message((2, "shop"), (3, "types")))
        self.assertEqual(info[5], [b"ok"])
        self.assertEqual(info[9], [data.TYPE_ROWS])
        columns = [wire.decode(c) for c in info[8]]
        self.assertEqual([c[1][0].decode() for c in columns], data.TYPES.names)
        self.assertEqual([c[1][0].decode() for c in columns if 6 in c], ["id"])
        stale, = action(self.client, "magic.tables", wire.message((3, "stale")))
        self.assertEqual((stale[5], stale[7]), ([b"needs-reload"], [900]))

    def test_databases_action(self):
        def names(*fields):
            return [info[1][0].decode() for info in action(self.client, "magic.databases", wire.message(*fields))]
        self.assertEqual(names(), ["other", "shop", "void"], "also one that holds no table")
        self.assertEqual(names((2, "VOID")), ["void"])
        self.assertEqual(names((2, "nothing")), [])
        self.assertEqual(names((1, wire.message((5, 0)))), [], "epoch 0 is before all of them")
        with self.assertRaisesRegex(flight.FlightUnavailableError, "SNAPSHOT_NOT_YET|not visible|epoch"):
            names((1, wire.message((5, 1 << 40))))

    def test_actions_are_listed(self):
        self.assertEqual({a.type for a in self.client.list_actions()}, {
            "magic." + n for n in ("acquire", "renew", "release", "tables", "databases", "stats", "status", "lag", "set",
                                   "compact", "compactions", "cancel_compaction")})

    def test_tables_that_cannot_be_read(self):
        for table, kind, text in (
                ("broken", pa.ArrowInvalid, "column shape has type geometry"),
                ("stale", pa.ArrowInvalid, "before the first record.*as of 900 or before"),
                ("nothing", KeyError, "no table shop.nothing")):
            with self.subTest(table=table):
                with self.fails(kind, text):
                    self.client.get_flight_info(flight.FlightDescriptor.for_path("shop", table))
                with self.fails(kind, text):
                    self.client.get_schema(flight.FlightDescriptor.for_path("shop", table))

    def test_what_this_version_does_not_do_says_so(self):
        with self.fails(NotImplementedError, "DoExchange"):
            writer, reader = self.client.do_exchange(flight.FlightDescriptor.for_path("shop", "t"))
            reader.read_chunk()
        with self.fails(NotImplementedError, "magic.dream"):
            list(self.client.do_action("magic.dream"))
        with self.fails(NotImplementedError, "CommandStatementQuery"):
            self.client.get_flight_info(flight.FlightDescriptor.for_command(
                wire.any_of("arrow.flight.protocol.sql.CommandStatementQuery", wire.message((1, "SELECT 1")))))


class Rows(FlightCase):
    def test_every_type_by_path(self):
        table, info = read(self.client, flight.FlightDescriptor.for_path("shop", "types"))
        self.assertEqual(by_id(table), data.TYPE_TABLE)
        self.assertEqual(info.total_records, data.TYPE_ROWS)
        self.assertGreater(info.total_bytes, 0)

    def test_spark_profile_keeps_every_value(self):
        table, _ = read(self.client, wire.scan("shop", "types", profile=wire.SPARK))
        self.assertEqual([{k: int(v) if k == "u64" and v is not None else v for k, v in row.items()}
                          for row in by_id(table)], data.TYPE_TABLE)

    def test_columns_in_the_order_asked_for(self):
        table, _ = read(self.client, wire.scan("shop", "types", columns=["name", "id", "u8", "name"]))
        self.assertEqual(table.schema.names, ["name", "id", "u8", "name"])
        got = sorted(zip(table.column(1).to_pylist(), table.column(0).to_pylist(), table.column(3).to_pylist()))
        self.assertEqual(got, [(r["id"], r["name"], r["name"]) for r in data.TYPE_TABLE])

    def test_no_columns_counts(self):
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(
            wire.scan("shop", "big", no_columns=True)))
        chunks = [chunk.data for e in info.endpoints for chunk in self.client.do_get(e.ticket)]
        self.assertEqual(sum(c.num_rows for c in chunks), BIG_ROWS)
        self.assertEqual({c.num_columns for c in chunks}, {0})

    def test_no_rows_still_has_a_schema(self):
        table, info = read(self.client, flight.FlightDescriptor.for_path("shop", "empty"))
        self.assertEqual((table.num_rows, table.schema.names), (0, ["id", "v"]))
        self.assertEqual(len(info.endpoints), 1)
        table, _ = read(self.client, wire.scan("shop", "types", predicate=wire.call(
            wire.EQ, wire.column("id"), wire.int_(-1))))
        self.assertEqual((table.num_rows, table.schema.equals(data.TYPES)), (0, True))

    def test_hidden_columns_only_by_name(self):
        table, _ = read(self.client, flight.FlightDescriptor.for_path("shop", "nokey"))
        self.assertEqual(table.schema.names, ["word"])
        self.assertEqual(sorted(table.column(0).to_pylist()), ["other"] * 5 + ["same"] * 5)
        table, _ = read(self.client, wire.scan("shop", "nokey", columns=["_rowid"]))
        self.assertEqual(sorted(table.column(0).to_pylist()), list(range(100, 110)))

    def test_composite_key_with_text(self):
        table, _ = read(self.client, flight.FlightDescriptor.for_path("shop", "pairs"))
        self.assertEqual(sorted((r["a"], r["b"], r["v"]) for r in table.to_pylist()),
                         sorted((i // 5 - 2, ["", "a", "a b", "B", "\u00e9"][i % 5], i) for i in range(20)))

    def test_wide_rows_come_in_bounded_messages(self):
        info = self.client.get_flight_info(flight.FlightDescriptor.for_path("shop", "wide"))
        rows = []
        for endpoint in info.endpoints:
            for chunk in self.client.do_get(endpoint.ticket):
                self.assertLessEqual(chunk.data.nbytes, 4 << 20)
                chunk.data.validate(full=True)
                rows += chunk.data.to_pylist()
        self.assertEqual(sorted(rows, key=lambda r: r["id"]), [data.wide_row(i) for i in range(data.WIDE_ROWS)])

    def test_splits_are_the_whole_and_do_not_overlap(self):
        for wanted in (1, 2, 3, 7, 16):
            with self.subTest(wanted=wanted):
                info = self.client.get_flight_info(flight.FlightDescriptor.for_command(
                    wire.scan("shop", "big", splits=wanted)))
                self.assertEqual(len(info.endpoints), wanted)
                seen = []
                for endpoint in info.endpoints:
                    part = self.client.do_get(endpoint.ticket).read_all()
                    self.assertGreater(part.num_rows, BIG_ROWS // wanted // 2)
                    seen += part.to_pylist()
                self.assertEqual(sorted(seen, key=lambda r: r["id"]), [data.big_row(i) for i in range(BIG_ROWS)])

    def test_a_ticket_can_be_read_again_from_anywhere(self):
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(wire.scan("shop", "big", splits=4)))
        again = connect()
        first = [by_id(self.client.do_get(e.ticket).read_all()) for e in info.endpoints]
        self.assertEqual(first, [by_id(again.do_get(e.ticket).read_all()) for e in info.endpoints])
        again.close()

    def test_limit_is_per_split(self):
        table, info = read(self.client, wire.scan("shop", "big", splits=4, limit=10))
        self.assertEqual(table.num_rows, 10 * len(info.endpoints))


# ---- predicates ----


def like_text(value, pad_space):
    return value.rstrip(" ").encode() if pad_space else value.encode()


def compare(op, a, b, pad_space):
    """True, False or None, as SQL says."""
    if op == wire.EQ_NULL_SAFE and (a is None or b is None):
        return a is None and b is None
    if a is None or b is None:
        return None
    if isinstance(a, str):
        a, b = like_text(a, pad_space), like_text(b, pad_space)
    return {wire.EQ: a == b, wire.EQ_NULL_SAFE: a == b, wire.NE: a != b, wire.LT: a < b, wire.LE: a <= b,
            wire.GT: a > b, wire.GE: a >= b}[op]


def either(values):
    return True if True in values else None if None in values else False


def negate(value):
    return None if value is None else not value


def encode(column, value):
    if value is None:
        return wire.null()
    if column in ("u8", "u16", "u32", "u64"):
        return wire.uint(value)
    if column in ("f32", "f64"):
        return wire.float_(value)
    if column == "price":
        return wire.decimal(data.unscaled(value, 2), 12, 2)
    if column == "huge":
        return wire.decimal(data.unscaled(value, 10), 38, 10)
    if column == "born":
        return wire.date((value - datetime.date(1970, 1, 1)).days)
    if column == "seen":
        return wire.datetime((value - data.EPOCH) // datetime.timedelta(microseconds=1))
    if column == "stamp":
        return wire.timestamp((value - data.EPOCH_UTC) // datetime.timedelta(microseconds=1))
    if column in ("name", "code"):
        return wire.text(value)
    return wire.int_(value)


class Predicates(FlightCase):
    def check(self, predicate, keep, what):
        table, _ = read(self.client, wire.scan("shop", "types", columns=["id"], predicate=predicate))
        got = sorted(table.column(0).to_pylist())
        self.assertEqual(got, [r["id"] for r in data.TYPE_TABLE if keep(r) is True], what)
        return len(got)

    def test_every_comparison_of_every_type(self):
        kept = 0
        for column in data.TYPES.names:
            for value in (data.TYPE_TABLE[500][column], data.TYPE_TABLE[0][column], None):
                for op in (wire.EQ, wire.NE, wire.LT, wire.LE, wire.GT, wire.GE, wire.EQ_NULL_SAFE):
                    pad = column == "name"
                    kept += self.check(wire.call(op, wire.column(column), encode(column, value), pad_space=pad),
                                       lambda r: compare(op, r[column], value, pad), (column, op, value))
        self.assertGreater(kept, 10000)

    def test_a_literal_may_stand_first(self):
        self.check(wire.call(wire.LT, wire.int_(990), wire.column("id")), lambda r: 990 < r["id"], "990 < id")

    def test_null_and_not_null(self):
        for column in data.TYPES.names:
            self.check(wire.call(wire.IS_NULL, wire.column(column)), lambda r: r[column] is None, column)
            self.check(wire.call(wire.IS_NOT_NULL, wire.column(column)), lambda r: r[column] is not None, column)

    def test_in(self):
        for column in data.TYPES.names:
            for values in ([data.TYPE_TABLE[i][column] for i in (7, 70, 700)], [data.TYPE_TABLE[9][column], None]):
                pad = column == "name"
                predicate = wire.call(wire.IN, wire.column(column), *(encode(column, v) for v in values),
                                      pad_space=pad)

                def keep(r):
                    return either([compare(wire.EQ, r[column], v, pad) for v in values])
                self.check(predicate, keep, (column, values))
                self.check(wire.call(wire.NOT, predicate), lambda r: negate(keep(r)), ("not", column, values))

    def test_between(self):
        for column in data.TYPES.names:
            low, high = data.TYPE_TABLE[100][column], data.TYPE_TABLE[400][column]
            pad = column == "name"
            if low is None or high is None:
                low, high = data.TYPE_TABLE[102][column], data.TYPE_TABLE[402][column]

            def keep(r):
                parts = [compare(wire.GE, r[column], low, pad), compare(wire.LE, r[column], high, pad)]
                return False if False in parts else None if None in parts else True
            self.check(wire.call(wire.BETWEEN, wire.column(column), encode(column, low), encode(column, high),
                                 pad_space=pad), keep, column)

    def test_and_or_not(self):
        a = wire.call(wire.GT, wire.column("i32"), wire.int_(0))
        b = wire.call(wire.LT, wire.column("f64"), wire.float_(10))
        c = wire.call(wire.IS_NULL, wire.column("name"))

        def terms(r):
            return (compare(wire.GT, r["i32"], 0, False), compare(wire.LT, r["f64"], 10, False), r["name"] is None)

        def both(values):
            return False if False in values else None if None in values else True
        self.check(wire.call(wire.AND, a, b), lambda r: both(terms(r)[:2]), "and")
        self.check(wire.call(wire.OR, a, b, c), lambda r: either(terms(r)), "or")
        self.check(wire.call(wire.NOT, wire.call(wire.AND, a, wire.call(wire.NOT, b))),
                   lambda r: negate(both([terms(r)[0], negate(terms(r)[1])])), "not and not")
        self.check(wire.call(wire.OR, wire.call(wire.AND, a, b), wire.call(wire.AND, c, wire.call(wire.NOT, a))),
                   lambda r: either([both(terms(r)[:2]), both([terms(r)[2], negate(terms(r)[0])])]), "or of ands")

    def test_wide_in_list(self):
        ids = list(range(0, 2000, 3))
        self.check(wire.call(wire.IN, wire.column("id"), *(wire.int_(i) for i in ids)),
                   lambda r: r["id"] in set(ids), "in")

    def test_mistakes_are_named(self):
        for predicate, text in (
                (wire.call(wire.EQ, wire.column("nothing"), wire.int_(1)), "nothing"),
                (wire.call(wire.EQ, wire.column("born"), wire.text("x")), "born|compare"),
                (wire.call(77, wire.column("id")), "operator"),
                (wire.call(wire.BETWEEN, wire.column("id"), wire.int_(1)), "argument|BETWEEN"),
                (b"", "neither column, literal nor call"),
                (wire.decimal(10 ** 30, 5, 2), "digits"),
                (wire.decimal(1, 39, 2), "decimal"),
                (wire.decimal(1, 5, 6), "decimal")):
            with self.subTest(text=text):
                with self.fails((pa.ArrowInvalid, KeyError), text):
                    read(self.client, wire.scan("shop", "types", predicate=predicate))


class Sql(FlightCase):
    def select(self, statement, **more):
        return read(self.client, wire.sql(statement, **more))[0]

    def test_select(self):
        table = self.select("SELECT * FROM shop.types")
        self.assertTrue(table.schema.equals(data.TYPES))
        self.assertEqual(by_id(table), data.TYPE_TABLE)
        table = self.select("select name, id from types where id between 10 and 12 and name is not null",
                            database="shop")
        self.assertEqual(sorted(table.column(1).to_pylist()), [10, 11, 12])

    def test_literals_take_the_columns_type(self):
        for where, keep in (
                ("born >= '1990-01-01'", lambda r: r["born"] and r["born"] >= datetime.date(1990, 1, 1)),
                ("seen < '1970-02-01 00:00:00'", lambda r: r["seen"] and r["seen"] < datetime.datetime(1970, 2, 1)),
                ("price = 62.5 OR price IN ('1.25', 2.50)",
                 lambda r: r["price"] is not None and float(r["price"]) in (62.5, 1.25, 2.5)),
                ("name = 'name 3'", lambda r: r["name"] is not None and r["name"].rstrip(" ") == "name 3"),
                ("code = 'code 7'", lambda r: r["code"] == "code 7"),
                ("code = 'code 7 '", lambda r: False),
                ("u64 > 9000000000000000000", lambda r: r["u64"] is not None and r["u64"] > 9 * 10 ** 18),
                ("NOT (i8 <= 50 OR i8 IS NULL)", lambda r: r["i8"] is not None and r["i8"] > 50)):
            with self.subTest(where=where):
                table = self.select("SELECT id FROM shop.types WHERE " + where)
                self.assertEqual(sorted(table.column(0).to_pylist()), [r["id"] for r in data.TYPE_TABLE if keep(r)])

    def test_limit_is_exact(self):
        for limit in (0, 1, 17, BIG_ROWS + 5):
            table = self.select("SELECT id FROM shop.big LIMIT %d" % limit)
            self.assertEqual(table.num_rows, min(limit, BIG_ROWS))

    def test_show(self):
        self.assertEqual(self.select("SHOW DATABASES").column(0).to_pylist(), ["other", "shop", "void"])
        table = self.select("SHOW TABLES FROM shop")
        rows = {r["table"]: r for r in table.to_pylist()}
        self.assertEqual(rows["types"]["rows"], data.TYPE_ROWS)
        self.assertEqual(rows["stale"]["state"], "needs-reload")
        self.assertEqual(self.select("SHOW TABLES", database="other").num_rows, 1)
        self.assertEqual(self.select("SHOW TABLES FROM void").num_rows, 0)
        self.assertEqual(self.client.get_schema(flight.FlightDescriptor.for_command(
            wire.sql("SHOW TABLES"))).schema, table.schema)

    def test_the_rest_is_refused_by_name(self):
        for statement, kind, text in (
                ("SELECT a.id FROM shop.types a JOIN shop.big b", NotImplementedError, "Spark"),
                ("SELECT COUNT(*) FROM shop.types", NotImplementedError, "line 1, column"),
                ("SELECT id FROM types", pa.ArrowInvalid, "database"),
                ("SELECT id FROM shop.nothing", KeyError, "shop.nothing"),
                ("SELECT nothing FROM shop.types", KeyError, "nothing"),
                ("SHOW TABLES FROM nowhere", KeyError, "nowhere"),
                ("SELEC", NotImplementedError, "SELEC"),
                ("", pa.ArrowInvalid, "empty")):
            with self.subTest(statement=statement):
                with self.fails(kind, text):
                    self.select(statement)


class Leases(FlightCase):
    def history(self, snapshot):
        table, _ = read(self.client, wire.scan("shop", "history", snapshot=snapshot))
        self.assertEqual(table.num_rows, data.HISTORY_ROWS)
        values = set(table.column("v").to_pylist())
        self.assertEqual(len(values), 1)
        return values.pop()

    def test_as_of_every_epoch(self):
        for k in range(1, data.HISTORY_EPOCHS + 1):
            self.assertEqual(self.history(wire.snapshot(as_of=1000 + k)), k)
        with self.fails(pa.ArrowInvalid, "(?i)snapshot|earliest"):
            self.history(wire.snapshot(as_of=5))

    def test_epochs_by_number(self):
        newest = wire.decode(acquire(self.client)[2][0])[1][0]
        self.assertEqual(self.history(wire.snapshot(epoch=newest)), data.HISTORY_EPOCHS)
        self.assertEqual(self.history(wire.snapshot(epoch=newest - 7)), data.HISTORY_EPOCHS - 7)
        with self.fails(flight.FlightUnavailableError, ""):
            self.history(wire.snapshot(epoch=newest + 1000))

    def test_a_lease_fixes_the_snapshot(self):
        lease = acquire(self.client, as_of=1020)
        self.assertEqual(self.history(wire.snapshot(lease=lease[1][0])), 20)
        snapshot = wire.decode(lease[2][0])
        self.assertEqual(wire.decode(snapshot[2][0]), {1: [b"tidb"], 2: [1020]})
        _, info = read(self.client, wire.scan("shop", "history", snapshot=wire.snapshot(lease=lease[1][0])))
        plan = wire.decode(info.app_metadata)
        self.assertEqual(plan[2], lease[1])
        self.assertEqual(wire.decode(plan[1][0])[1], snapshot[1])
        action(self.client, "magic.release", wire.message((1, lease[1][0])))
        action(self.client, "magic.release", wire.message((1, lease[1][0])))
        with self.fails(pa.ArrowInvalid, "has ended"):
            self.history(wire.snapshot(lease=lease[1][0]))

    def test_wait(self):
        with self.fails(flight.FlightUnavailableError, "not visible yet"):
            self.history(wire.snapshot(wait=10 ** 9))
        begin = time.monotonic()
        with self.fails(flight.FlightUnavailableError, "not visible yet"):
            self.history(wire.snapshot(wait=10 ** 9, wait_ms=500))
        self.assertGreater(time.monotonic() - begin, 0.4)
        self.assertEqual(self.history(wire.snapshot(wait=1000, wait_ms=500)), data.HISTORY_EPOCHS)

    def test_expired_is_an_error_and_never_other_rows(self):
        lease = acquire(self.client, ttl_ms=300)
        command = wire.scan("shop", "types", snapshot=wire.snapshot(lease=lease[1][0]))
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(command))
        self.assertEqual(self.client.do_get(info.endpoints[0].ticket).read_all().num_rows, data.TYPE_ROWS)
        renewed, = action(self.client, "magic.renew", wire.message((1, lease[1][0]), (2, 600)))
        self.assertGreater(wire.unzigzag(renewed[3][0]), wire.unzigzag(lease[3][0]))
        time.sleep(0.4)
        self.assertEqual(self.client.do_get(info.endpoints[0].ticket).read_all().num_rows, data.TYPE_ROWS)
        time.sleep(1.5)
        for attempt in range(2):
            with self.fails(pa.ArrowInvalid, "ran out at|has ended"):
                self.client.do_get(info.endpoints[0].ticket).read_all()
            with self.fails(pa.ArrowInvalid, "ran out at|has ended"):
                action(self.client, "magic.renew", wire.message((1, lease[1][0])))
            with self.fails(pa.ArrowInvalid, "ran out at|has ended"):
                self.client.get_flight_info(flight.FlightDescriptor.for_command(command))

    def test_the_schema_version_is_checked(self):
        _, info = read(self.client, wire.scan("shop", "types"))
        version = wire.decode(info.app_metadata)[4][0]
        read(self.client, wire.scan("shop", "types", schema_version=version))
        with self.fails(pa.ArrowInvalid, "schema version"):
            read(self.client, wire.scan("shop", "types", schema_version=version + 1))

    def test_endpoints_say_until_when(self):
        info = self.client.get_flight_info(flight.FlightDescriptor.for_path("shop", "types"))
        left = info.endpoints[0].expiration_time.as_py() - datetime.datetime.now(datetime.timezone.utc)
        self.assertGreater(left.total_seconds(), 30)
        self.assertLess(left.total_seconds(), 61)


class Hostile(FlightCase):
    def test_a_changed_ticket_gives_nothing(self):
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(wire.scan(
            "shop", "types", columns=["id", "name"], predicate=wire.call(wire.LT, wire.column("id"), wire.int_(5)))))
        ticket = info.endpoints[0].ticket.ticket
        chooser = random.Random(5)
        for at in range(len(ticket)):
            changed = bytearray(ticket)
            changed[at] ^= 1 << chooser.randrange(8)
            with self.fails(pa.ArrowInvalid, "ticket"):
                self.client.do_get(flight.Ticket(bytes(changed))).read_all()
        for size in range(0, len(ticket), 7):
            with self.fails(pa.ArrowInvalid, "ticket"):
                self.client.do_get(flight.Ticket(ticket[:size])).read_all()

    def test_a_ticket_of_another_store_is_refused(self):
        other = flight_server.start_fixture("--rows", "10")  # the fixture's stores share one key
        try:
            client = connect(other)
            info = client.get_flight_info(flight.FlightDescriptor.for_path("shop", "types"))
            with self.fails(pa.ArrowInvalid, "ticket"):
                self.client.do_get(info.endpoints[0].ticket).read_all()
            client.close()
        finally:
            other.clear()

    def test_hostile_descriptors(self):
        deep = wire.call(wire.EQ, wire.column("id"), wire.int_(1))
        for _ in range(200):
            deep = wire.call(wire.NOT, deep)
        deeper = deep
        for _ in range(3000):
            deeper = wire.call(wire.NOT, deeper)
        level = wire.call(wire.EQ, wire.column("id"), wire.int_(1))
        for _ in range(66):
            level = wire.call(wire.NOT, level)
        for name, command in (
                ("not an Any", b"\xff\xff\xff"),
                ("an empty command", b""),
                ("no message inside", wire.any_of("magic.v1.ScanDescriptor", b"\x0a\xff\x01")),
                ("a deep predicate", wire.scan("shop", "types", predicate=deep)),
                ("a deeper one", wire.scan("shop", "types", predicate=deeper)),
                ("just too deep", wire.scan("shop", "types", predicate=level)),
                ("many columns", wire.scan("shop", "types", columns=["id"] * 5000)),
                ("columns and none", wire.scan("shop", "types", columns=["id"], no_columns=True)),
                ("no names", wire.scan("", "")),
                ("unknown profile", wire.scan("shop", "types", profile=9)),
                ("a long name", wire.scan("shop", "x" * 100000)),
                ("two kinds of group", wire.any_of("magic.v1.ScanDescriptor", b"\x0b\x0c")),
                ("unset node", wire.scan("shop", "types", predicate=wire.call(wire.NOT, b""))),
                ("random bytes", random.Random(1).randbytes(500)),
                ("a forged lease", wire.scan("shop", "types", snapshot=wire.snapshot(lease=b"x" * 50)))):
            with self.subTest(name=name):
                with self.assertRaises((pa.ArrowInvalid, KeyError, NotImplementedError)):
                    read(self.client, command)
        for path in ([], ["shop"], ["shop", "types", "x"]):
            with self.fails(pa.ArrowInvalid, "path|PATH"):
                self.client.get_flight_info(flight.FlightDescriptor.for_path(*path))
        self.assertEqual(read(self.client, wire.scan("shop", "types"))[0].num_rows, data.TYPE_ROWS)

    def test_random_descriptors_break_nothing(self):
        chooser = random.Random(7)
        good = wire.scan("shop", "types", columns=["id"], predicate=wire.call(
            wire.AND, wire.call(wire.IN, wire.column("id"), wire.int_(1), wire.int_(2)),
            wire.call(wire.EQ, wire.column("price"), wire.decimal(125, 12, 2))), snapshot=wire.snapshot(as_of=1010))
        for _ in range(400):
            changed = bytearray(good)
            for _ in range(chooser.randrange(1, 4)):
                changed[chooser.randrange(len(changed))] = chooser.randrange(256)
            try:
                read(self.client, bytes(changed))
            except (pa.ArrowException, KeyError, NotImplementedError, flight.FlightError):
                pass
        self.assertEqual(read(self.client, wire.scan("shop", "types"))[0].num_rows, data.TYPE_ROWS)

    def test_too_big_a_descriptor(self):
        with self.assertRaises((pa.ArrowException, flight.FlightError)):
            read(self.client, wire.scan("shop", "x" * (5 << 20)))

    def test_a_big_predicate_means_fewer_splits(self):
        many = wire.call(wire.IN, wire.column("id"), *(wire.int_(i) for i in range(300000)))
        info = self.client.get_flight_info(flight.FlightDescriptor.for_command(
            wire.scan("shop", "big", columns=["id"], predicate=many, splits=64)))
        self.assertLess(len(info.endpoints), 32)
        self.assertEqual(sum(self.client.do_get(e.ticket).read_all().num_rows for e in info.endpoints), BIG_ROWS)


class Streams(FlightCase):
    def test_a_slow_reader_slows_nobody(self):
        slow = connect()
        reader = slow.do_get(slow.get_flight_info(flight.FlightDescriptor.for_command(
            wire.scan("shop", "big", splits=1))).endpoints[0].ticket)
        rows = reader.read_chunk().data.num_rows
        begin = time.monotonic()
        for _ in range(5):
            self.assertEqual(read(self.client, wire.scan("shop", "types"))[0].num_rows, data.TYPE_ROWS)
        self.assertLess(time.monotonic() - begin, 10)
        time.sleep(0.5)
        for chunk in reader:
            rows += chunk.data.num_rows
        self.assertEqual(rows, BIG_ROWS)
        slow.close()

    def test_readers_that_vanish_leave_the_server_well(self):
        script = ("import pyarrow.flight as f, sys\n"
                  "c = f.connect(sys.argv[1])\n"
                  "i = c.get_flight_info(f.FlightDescriptor.for_path('shop', 'big'))\n"
                  "r = [c.do_get(e.ticket) for e in i.endpoints]\n"
                  "[x.read_chunk() for x in r]\n"
                  "print('reading', flush=True)\n"
                  "import time; time.sleep(60)\n")
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c", script, SERVER.uri], stdout=subprocess.PIPE)
            self.assertEqual(child.stdout.readline(), b"reading\n")
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
        for _ in range(20):
            reader = self.client.do_get(self.client.get_flight_info(flight.FlightDescriptor.for_command(
                wire.scan("shop", "big", splits=1))).endpoints[0].ticket)
            reader.read_chunk()
            reader.cancel()
        self.assertEqual(read(self.client, wire.scan("shop", "types"))[0].num_rows, data.TYPE_ROWS)

    def test_many_readers_at_once(self):
        failures = []

        def reader():
            client = connect()
            try:
                for _ in range(5):
                    table, _ = read(client, wire.scan("shop", "big", columns=["id"], splits=5))
                    if sorted(table.column(0).to_pylist()) != list(range(BIG_ROWS)):
                        failures.append("wrong rows")
            except Exception as problem:  # pylint: disable=broad-except
                failures.append(repr(problem))
            client.close()
        threads = [threading.Thread(target=reader) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


class Live(unittest.TestCase):
    """One lease is one snapshot over tables and splits, while epochs are published."""

    def test_sums_are_zero_under_a_lease(self):
        server = flight_server.start_fixture("--live", "1", "--rows", "10", "--force-splits")
        try:
            client = connect(server)
            epochs = set()
            for _ in range(100):
                lease = acquire(client)[1][0]
                total, infos = 0, []
                for table in ("left", "right"):
                    infos.append(client.get_flight_info(flight.FlightDescriptor.for_command(
                        wire.scan("shop", table, snapshot=wire.snapshot(lease=lease), splits=4))))
                for info in infos:
                    self.assertGreaterEqual(len(info.endpoints), 2)
                    epochs.add(wire.decode(wire.decode(info.app_metadata)[1][0])[1][0])
                    for endpoint in info.endpoints:
                        total += sum(client.do_get(endpoint.ticket).read_all().column("v").to_pylist())
                self.assertEqual(total, 0)
                action(client, "magic.release", wire.message((1, lease)))
            self.assertGreater(len(epochs), 20)
            client.close()
        finally:
            server.clear()


class Restart(unittest.TestCase):
    """Tickets and lease tokens outlive the process."""

    def setUp(self):
        if KIND != "magicd":
            self.skipTest("the fixture's store is in memory")
        self.server = flight_server.start_magicd(rows=20000)
        self.addCleanup(self.server.clear)

    def restart(self, hard):
        self.server.kill() if hard else self.server.stop()
        self.server.start()

    def test_tickets_and_leases_live_on(self):
        for hard in (False, True):
            client = connect(self.server)
            lease = acquire(client, as_of=1030)
            command = flight.FlightDescriptor.for_command(
                wire.scan("shop", "history", snapshot=wire.snapshot(lease=lease[1][0])))
            info = client.get_flight_info(command)
            big = client.get_flight_info(flight.FlightDescriptor.for_command(wire.scan("shop", "big", splits=4)))
            client.close()
            self.restart(hard)
            client = connect(self.server)
            table = client.do_get(info.endpoints[0].ticket).read_all()
            self.assertEqual(set(table.column("v").to_pylist()), {30})
            ids = [i for e in big.endpoints for i in client.do_get(e.ticket).read_all().column("id").to_pylist()]
            self.assertEqual(sorted(ids), list(range(20000)))
            renewed, = action(client, "magic.renew", wire.message((1, lease[1][0])))
            self.assertEqual(renewed[1], lease[1])
            again = client.get_flight_info(command)
            self.assertEqual(set(client.do_get(again.endpoints[0].ticket).read_all().column("v").to_pylist()), {30})
            client.close()

    def test_expired_while_it_was_away(self):
        client = connect(self.server)
        lease = acquire(client, ttl_ms=500)
        info = client.get_flight_info(flight.FlightDescriptor.for_command(
            wire.scan("shop", "history", snapshot=wire.snapshot(lease=lease[1][0]))))
        client.close()
        self.restart(True)
        time.sleep(0.6)
        client = connect(self.server)
        with self.assertRaisesRegex(pa.ArrowInvalid, "ran out at|has ended"):
            client.do_get(info.endpoints[0].ticket).read_all()
        client.close()


class Settings(FlightCase):
    def test_splits_can_be_set(self):
        reply, = action(self.client, "magic.set", wire.message((1, "splits"), (2, "3")))
        self.assertEqual(reply[2], [b"3"])
        info = self.client.get_flight_info(flight.FlightDescriptor.for_path("shop", "big"))
        self.assertEqual(len(info.endpoints), 3)
        action(self.client, "magic.set", wire.message((1, "splits"), (2, "8")))
        with self.fails((KeyError, pa.ArrowInvalid), "nonsense"):
            action(self.client, "magic.set", wire.message((1, "nonsense"), (2, "8")))

    def test_lag_and_status(self):
        lag, = action(self.client, "magic.lag")
        self.assertEqual(lag[2], [b"none"])
        status, = action(self.client, "magic.status")
        if KIND == "magicd":
            groups = {wire.decode(e)[1][0] for e in status[1]}
            self.assertGreaterEqual(groups, {b"server", b"engine", b"memory", b"counter", b"setting"})


if __name__ == "__main__":
    if "--server" in sys.argv:
        at = sys.argv.index("--server")
        KIND = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    unittest.main()
