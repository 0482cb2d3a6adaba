#!/usr/bin/env python3
"""put_test.py -- an unmodified pyarrow.flight loads tables into Magic.

    put_test.py [--server fixture|magicd] [unittest arguments]

SPDX-License-Identifier: Apache-2.0
"""
import datetime
import decimal
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import pyarrow as pa  # noqa: E402
import pyarrow.flight as flight  # noqa: E402

import flight_server  # noqa: E402
import magic_wire as wire  # noqa: E402

KIND = "fixture"
SERVER = None


def setUpModule():
    global SERVER
    SERVER = flight_server.start_fixture() if KIND == "fixture" else flight_server.start_magicd(rows=1000)


def tearDownModule():
    SERVER.clear()


def command(*arguments, **options):
    return flight.FlightDescriptor.for_command(wire.put(*arguments, **options))


def numbers(first, count, step=1, note="n"):
    ids = list(range(first, first + count * step, step))
    return pa.table({"id": pa.array(ids, pa.int64()), "note": pa.array(["%s %d" % (note, i) for i in ids], pa.string())})


def load(client, descriptor, table, chunk=1000):
    """The acks, in order: (rows, epoch)."""
    writer, reader = client.do_put(descriptor, table.schema)
    acks = []
    try:
        writer.write_table(table, chunk)
        writer.done_writing()
        while True:
            buffer = reader.read()
            if buffer is None:
                break
            ack = wire.decode(buffer.to_pybytes())
            acks.append((ack.get(1, [0])[0], ack.get(2, [0])[0]))
    finally:
        writer.close()
    return acks


def read(client, *path, lease=None):
    descriptor = flight.FlightDescriptor.for_path(*path) if lease is None else flight.FlightDescriptor.for_command(
        wire.scan(*path, snapshot=wire.snapshot(lease=lease)))
    info = client.get_flight_info(descriptor)
    return pa.concat_tables([client.do_get(e.ticket).read_all() for e in info.endpoints])


def ids(client, *path, **options):
    return sorted(read(client, *path, **options)["id"].to_pylist())


def tables(client, database=None):
    found = [wire.decode(r.body.to_pybytes()) for r in
             client.do_action(flight.Action("magic.tables", wire.message((2, database))))]
    return sorted((t[1][0].decode(), t[2][0].decode()) for t in found)


def databases(client):
    return [wire.decode(r.body.to_pybytes())[1][0].decode() for r in
            client.do_action(flight.Action("magic.databases", b""))]


class PutCase(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.client = flight.connect(SERVER.uri)
        self.addCleanup(self.client.close)
        self.database = "put_" + self._testMethodName[5:55]

    def fails(self, text, kind=pa.ArrowInvalid):
        return self.assertRaisesRegex(kind, text)


class Modes(PutCase):
    def test_four_lines(self):
        with open(os.path.join(flight_server.ROOT, "README.md")) as file:
            lines = file.read().split("```python\n")[1].split("```")[0]
        import pyarrow.parquet as parquet
        path = os.path.join(SERVER.folder, "trips.parquet")
        parquet.write_table(numbers(0, 1000), path)
        self.assertEqual(len(lines.splitlines()), 4)
        exec(lines.replace("trips.parquet", path).replace("grpc://127.0.0.1:8815", SERVER.uri), {})
        self.assertEqual(ids(self.client, "lake", "trips"), list(range(1000)))

    def test_create_append_replace(self):
        path = (self.database, "t")
        first, second, third = numbers(0, 100), numbers(1000, 50), numbers(5, 10, note="new")
        with self.fails("no table .*t to append to", KeyError):
            load(self.client, command(*path, wire.APPEND), first)
        (rows, epoch), = load(self.client, command(*path, wire.CREATE, key=["id"]), first)
        self.assertEqual(rows, 100)
        self.assertGreater(epoch, 0)
        with self.fails("is there already", pa.ArrowException):
            load(self.client, command(*path, wire.CREATE, key=["id"]), first)
        load(self.client, command(*path, wire.APPEND), second.select(["note", "id"]))
        load(self.client, command(*path, wire.CREATE_OR_APPEND, key=["ID"]), numbers(2000, 1))
        self.assertEqual(ids(self.client, *path), list(range(100)) + list(range(1000, 1050)) + [2000])
        load(self.client, flight.FlightDescriptor.for_path(*path), numbers(3000, 1))
        load(self.client, flight.FlightDescriptor.for_path(*path, "replace", "id"), third)
        self.assertEqual(read(self.client, *path).sort_by("id").to_pylist(), third.to_pylist())
        load(self.client, command(*path, wire.REPLACE, key=["note"]), first)  # another key
        self.assertEqual(ids(self.client, *path), list(range(100)))
        load(self.client, command(*path, wire.REPLACE), first)  # the same one
        with self.fails("the key .note = n 5. is in the table already"):
            load(self.client, command(*path, wire.APPEND), numbers(5, 1))
        load(self.client, command(*path, wire.CREATE_OR_APPEND), second)
        self.assertEqual(len(ids(self.client, *path)), 150)

    def test_no_rows(self):
        for i, rows in enumerate((None, 10)):
            table = "t%d" % i
            self.assertEqual(load(self.client, command(self.database, table, wire.CREATE, key=["id"],
                                                       rows_per_epoch=rows), numbers(0, 0))[0][0], 0)
            self.assertEqual(ids(self.client, self.database, table), [])

    def test_epochs_are_acknowledged(self):
        acks = load(self.client, command(self.database, "t", wire.CREATE, key=["id"], rows_per_epoch=700),
                    numbers(0, 2500))
        self.assertEqual([rows for rows, _ in acks], [700, 1400, 2100, 2500, 2500])
        self.assertEqual(sorted(set(acks)), acks[:4])
        acks = load(self.client, command(self.database, "t", wire.APPEND), numbers(2500, 2500))
        self.assertEqual([rows for rows, _ in acks], [2500, 2500])
        self.assertEqual(ids(self.client, self.database, "t"), list(range(5000)))

    def test_any_order_of_keys(self):
        order = list(range(20000))
        random.Random(1).shuffle(order)
        table = numbers(0, 20000).take(order)
        load(self.client, command(self.database, "t", wire.CREATE, key=["id"], rows_per_epoch=3000), table)
        self.assertEqual(ids(self.client, self.database, "t"), list(range(20000)))

    def test_large_batches(self):
        table = numbers(0, 300000)
        load(self.client, command(self.database, "t", wire.CREATE, key=["id"]), table, chunk=300000)
        self.assertEqual(read(self.client, self.database, "t").sort_by("id").to_pydict(), table.to_pydict())


class Types(PutCase):
    def test_every_type_with_nulls(self):
        utc = datetime.timezone.utc
        values = {
            "i8": (pa.int8(), [-128, 127]), "i16": (pa.int16(), [-32768, 32767]),
            "i32": (pa.int32(), [-2**31, 2**31 - 1]), "i64": (pa.int64(), [-2**63, 2**63 - 1]),
            "u8": (pa.uint8(), [0, 255]), "u16": (pa.uint16(), [0, 65535]),
            "u32": (pa.uint32(), [0, 2**32 - 1]), "u64": (pa.uint64(), [0, 2**64 - 1]),
            "f32": (pa.float32(), [-0.5, float("inf")]), "f64": (pa.float64(), [1e300, -1e-300]),
            "d12": (pa.decimal128(12, 2), [decimal.Decimal("-9999999999.99"), decimal.Decimal("0.01")]),
            "d38": (pa.decimal128(38, 10), [decimal.Decimal("1e-10"), decimal.Decimal(10)**27]),
            "day": (pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
            "at": (pa.timestamp("us"), [datetime.datetime(1, 1, 1), datetime.datetime(2024, 2, 29, 1, 2, 3, 4)]),
            "ts": (pa.timestamp("us", "UTC"), [datetime.datetime(1970, 1, 1, tzinfo=utc),
                                               datetime.datetime(2038, 1, 19, 3, 14, 8, 999999, tzinfo=utc)]),
            "text": (pa.string(), ["", "häß 日本 \U0001f600"]),
        }
        columns = {name: pa.array([v[0], None, v[1], None], t) for name, (t, v) in values.items()}
        columns["id"] = pa.array([3, 1, 2, 0], pa.int32())
        table = pa.table(columns)
        load(self.client, command(self.database, "t", wire.CREATE, key=["id"]), table)
        got = read(self.client, self.database, "t")
        self.assertEqual([f.type for f in got.schema], [f.type for f in table.schema])
        self.assertEqual(got.sort_by("id").to_pylist(), table.sort_by("id").to_pylist())
        self.assertFalse(got.schema.field("id").nullable)
        self.assertTrue(got.schema.field("text").nullable)
        for name, (_, pair) in values.items():  # and as a key
            if name[0] == "f":
                continue
            one = pa.table({name: pa.array(pair, values[name][0])})
            load(self.client, command(self.database, "key_" + name, wire.CREATE, key=[name]), one)
            self.assertEqual(read(self.client, self.database, "key_" + name).sort_by(name)[name].to_pylist(),
                             sorted(pair))

    def test_types_that_are_not_held(self):
        for array in (pa.array([[1]]), pa.array([b"x"]), pa.array([True]), pa.array(["x"]).dictionary_encode(),
                      pa.array([1], pa.timestamp("ns")), pa.array([1], pa.time64("us"))):
            with self.subTest(type=array.type), self.assertRaisesRegex(Exception, '"odd"'):
                load(self.client, command(self.database, "t", wire.CREATE, key=["id"]),
                     pa.table({"id": [1], "odd": array}))
        self.assertNotIn(self.database, databases(self.client))


class BadRows(PutCase):
    def setUp(self):
        super().setUp()
        self.path = (self.database, "t")
        load(self.client, command(*self.path, wire.CREATE, key=["id"]), numbers(0, 1000, step=10))

    def unchanged(self):
        self.assertEqual(ids(self.client, *self.path), list(range(0, 10000, 10)))
        self.assertNotIn("loading ", databases(self.client))

    def test_a_null_in_the_key(self):
        table = pa.table({"id": pa.array([1, None, 3, None], pa.int64()), "note": ["a"] * 4})
        for mode in (wire.APPEND, wire.REPLACE):
            with self.fails("row 2: NULL in key column id; row 4: NULL in key column id"):
                load(self.client, command(*self.path, mode, key=["id"]), table)
        self.unchanged()

    def test_a_key_twice(self):
        table = pa.concat_tables([numbers(1, 3), numbers(2, 1)])
        with self.fails(r"row 4: the key \(id = 2\) is that of row 2"):
            load(self.client, command(*self.path, wire.APPEND), table)
        with self.fails(r"row 4: the key \(id = 2\) is that of row 2"):
            load(self.client, command(*self.path, wire.REPLACE, key=["id"]), table)
        with self.fails(r"row 4: the key \(id = 2\) is in the table already \(rows 1 to 2 are stored\)"):
            load(self.client, command(self.database, "u", wire.CREATE, key=["id"], rows_per_epoch=2), table)
        self.assertEqual(ids(self.client, self.database, "u"), [1, 2])
        with self.fails(r"row 4: the key \(id = 2\) is in the table already"):
            load(self.client, command(self.database, "v", wire.REPLACE, key=["id"], rows_per_epoch=2), table)
        self.assertNotIn((self.database, "v"), tables(self.client))
        self.unchanged()

    def test_a_key_that_is_stored(self):
        for rows in (None, 1, 7):
            with self.fails(r"row 3: the key \(id = 9990\) is in the table already"):
                load(self.client, command(*self.path, wire.APPEND), numbers(9988, 10))
        with self.fails("; and 995 more"):
            load(self.client, command(*self.path, wire.APPEND), numbers(0, 1000, step=10))
        self.unchanged()

    def test_rows_in_order_of_the_stream(self):
        table = pa.table({"day": pa.array([datetime.date(2024, 1, 1)] * 3), "who": ["x", "y", "x"]})
        with self.fails(r"row 3: the key \(who = x, day = 2024-01-01\) is that of row 1"):
            load(self.client, command(self.database, "two", wire.CREATE, key=["who", "day"]), table)

    def test_a_null_where_there_can_be_none(self):
        schema = pa.schema([pa.field("id", pa.int64(), False), pa.field("v", pa.int32(), False)])
        table = pa.Table.from_arrays([pa.array([1, 2]), pa.array([1, None], pa.int32())], schema=schema)
        with self.fails("row 2: NULL in column v"):
            load(self.client, command(self.database, "u", wire.CREATE, key=["id"]), table)

    def test_columns_that_do_not_fit(self):
        for table, text in ((numbers(1, 1).select(["id"]), "no column note"),
                            (numbers(1, 1).append_column("more", pa.array([1])), "no column more"),
                            (numbers(1, 1).set_column(0, "id", pa.array([1], pa.int32())), "int64, the stream's is int32"),
                            (pa.Table.from_arrays([pa.array([1]), pa.array(["x"]), pa.array(["y"])],
                                                  ["id", "note", "NOTE"]), "twice")):
            with self.subTest(text), self.fails(text):
                load(self.client, command(*self.path, wire.APPEND), table)
        self.unchanged()

    def test_descriptors(self):
        rows = numbers(1, 1)
        for descriptor, text in (
                (command(self.database, "u", wire.CREATE), "name its columns"),
                (command(self.database, "u", wire.CREATE, key=["nobody"]), "column nobody"),
                (command(self.database, "u", wire.CREATE, key=["id", "id"]), "twice"),
                (command(*self.path, wire.APPEND, key=["note"]), "another key"),
                (command(self.database, "", wire.CREATE, key=["id"]), "a database and a table"),
                (command(self.database, "u", 9, key=["id"]), "mode 9"),
                (command("loading ", "u", wire.CREATE, key=["id"]), "the server's own"),
                (flight.FlightDescriptor.for_path("alone"), "database, table, mode"),
                (flight.FlightDescriptor.for_path(self.database, "u", "upsert"), "mode 'upsert'")):
            with self.subTest(text), self.fails(text):
                load(self.client, descriptor, rows)
        with self.fails("PutDescriptor", NotImplementedError):
            load(self.client, flight.FlightDescriptor.for_command(wire.scan("a", "b")), rows)
        self.unchanged()

    def test_a_table_of_a_source(self):
        before = read(self.client, "shop", "types").num_rows
        for mode in (wire.CREATE, wire.APPEND, wire.REPLACE):
            with self.fails("shop.types is owned by source tidb"):
                load(self.client, command("shop", "types", mode, key=["id"]), numbers(1, 1))
        self.assertEqual(read(self.client, "shop", "types").num_rows, before)
        load(self.client, command("shop", "loaded_" + self._testMethodName, wire.CREATE, key=["id"]), numbers(1, 1))


DIE = """
import os, sys, time
sys.path.insert(0, %r)
import pyarrow as pa, pyarrow.flight as flight, magic_wire as wire
import put_test
client = flight.connect(sys.argv[1])
rows = int(sys.argv[4]) or None
descriptor = put_test.command(sys.argv[2], "t", int(sys.argv[3]), key=["id"], rows_per_epoch=rows)
table = put_test.numbers(100000, 5000)
writer, reader = client.do_put(descriptor, table.schema)
for batch in table.to_batches(500):
    writer.write_batch(batch)
acked = 0
while rows and acked < 4000:
    acked = wire.decode(reader.read().to_pybytes())[1][0]
print("sent", flush=True)
time.sleep(60)
""" % os.path.dirname(os.path.abspath(__file__))


class Readers(PutCase):
    def test_replace_under_a_lease(self):
        path = (self.database, "t")
        load(self.client, command(*path, wire.CREATE, key=["id"]), numbers(0, 1000))
        lease, = [wire.decode(r.body.to_pybytes()) for r in
                  self.client.do_action(flight.Action("magic.acquire", wire.message((2, "put_test"))))]
        token = lease[1][0]
        seen, done = set(), threading.Event()

        def watch():
            with flight.connect(SERVER.uri) as client:
                while not done.is_set():
                    rows = read(client, *path)
                    seen.add((rows.num_rows, min(rows["note"].to_pylist())[:3]))
                    assert ("loading ", "t") not in tables(client) and "loading " not in databases(client)

        thread = threading.Thread(target=watch)
        thread.start()
        load(self.client, command(*path, wire.REPLACE, key=["id"], rows_per_epoch=500), numbers(0, 30000, note="new"))
        self.assertEqual(read(self.client, *path).num_rows, 30000)
        done.set()
        thread.join()
        self.assertLessEqual(seen, {(1000, "n 0"), (30000, "new")})
        old = read(self.client, *path, lease=token)
        self.assertEqual(sorted(old["note"].to_pylist()), sorted("n %d" % i for i in range(1000)))

    def test_what_is_loaded_is_not_seen(self):
        writer, _ = self.client.do_put(command(self.database, "t", wire.CREATE, key=["id"]), numbers(0, 1).schema)
        writer.write_table(numbers(0, 200000), 5000)
        with flight.connect(SERVER.uri) as other:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and not self.loading(other):
                time.sleep(0.02)
            self.assertNotIn(self.database, databases(other))
            with self.assertRaises(KeyError):
                other.get_flight_info(flight.FlightDescriptor.for_path("loading ", "t"))
        writer.close()
        self.assertEqual(len(ids(self.client, self.database, "t")), 200000)

    @staticmethod
    def loading(client):
        return any(b"loading" in r.body.to_pybytes() for r in client.do_action(flight.Action("magic.tables", b"")))

    def die(self, mode, rows_per_epoch):
        child = subprocess.Popen([sys.executable, "-c", DIE, SERVER.uri, self.database, str(mode),
                                  str(rows_per_epoch)], stdout=subprocess.PIPE)
        self.assertEqual(child.stdout.readline(), b"sent\n")
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

    def test_a_client_that_dies(self):
        path = (self.database, "t")
        self.die(wire.CREATE, 0)
        load(self.client, command(self.database, "other", wire.CREATE, key=["id"]), numbers(0, 1))
        self.assertEqual(tables(self.client, self.database), [(self.database, "other")])
        load(self.client, command(*path, wire.CREATE, key=["id"]), numbers(0, 10))
        for mode in (wire.APPEND, wire.REPLACE):
            self.die(mode, 0)
        load(self.client, command(*path, wire.APPEND), numbers(10, 1))  # waits until the dead one is over
        self.assertEqual(ids(self.client, *path), list(range(11)))
        self.die(wire.APPEND, 1000)
        load(self.client, command(*path, wire.APPEND), numbers(11, 1))
        got = ids(self.client, *path)
        self.assertEqual(got[:12], list(range(12)))
        self.assertIn(len(got), (4012, 5012))

    def test_a_second_loader_waits(self):
        writer, _ = self.client.do_put(command(self.database, "t", wire.CREATE, key=["id"]), numbers(0, 1).schema)
        writer.write_table(numbers(0, 10))
        result = []

        def second():
            with flight.connect(SERVER.uri) as client:
                result.append(load(client, command(self.database, "u", wire.CREATE, key=["id"]), numbers(0, 5)))

        thread = threading.Thread(target=second)
        time.sleep(0.3)
        thread.start()
        time.sleep(1)
        self.assertEqual(result, [])
        writer.close()
        thread.join()
        self.assertEqual(result[0][0][0], 5)

    def test_kill_9(self):
        if KIND != "magicd":
            self.skipTest("the fixture keeps nothing")
        path = (self.database, "t")
        load(self.client, command(*path, wire.CREATE, key=["id"]), numbers(0, 10))
        writer, reader = self.client.do_put(command(*path, wire.APPEND, rows_per_epoch=100), numbers(0, 1).schema)
        writer.write_table(numbers(100, 1050), 50)
        acked = 0
        while acked < 1000:
            acked = wire.decode(reader.read().to_pybytes())[1][0]
        SERVER.kill()
        SERVER.start()
        client = flight.connect(SERVER.uri)
        self.addCleanup(client.close)
        self.assertEqual(ids(client, *path), list(range(10)) + list(range(100, 1100)))
        writer, _ = client.do_put(command(*path, wire.REPLACE, key=["id"], rows_per_epoch=100), numbers(0, 1).schema)
        writer.write_table(numbers(0, 5000), 50)
        time.sleep(0.3)
        SERVER.kill()
        SERVER.start()
        client = flight.connect(SERVER.uri)
        self.addCleanup(client.close)
        self.assertEqual(len(ids(client, *path)), 1010)
        load(client, command(*path, wire.REPLACE, key=["id"]), numbers(0, 3))
        self.assertEqual(ids(client, *path), [0, 1, 2])
        self.assertNotIn("loading ", databases(client))


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "--server":
        KIND = sys.argv[2]
        del sys.argv[1:3]
    unittest.main()
