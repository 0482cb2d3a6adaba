"""ipc_test.py -- Magic's Arrow IPC against pyarrow, both ways: what one writes the other reads, in every type.

Usage: ipc_test.py IPC_TOOL
Both sides are turned into the same text (see ipc_tool.c) and compared; streams that Magic copies are compared value by
value.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import decimal
import io
import math
import random
import struct
import subprocess
import sys
import unittest

import pyarrow as pa

TOOL = None
KINDS = ["types", "no-batches", "no-rows", "no-columns", "part"]


def tool(*arguments, data=b"", status=0):
    done = subprocess.run([TOOL, *arguments], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == status, (arguments, done.returncode, done.stderr)
    return done.stdout if status == 0 else done.stderr.decode()


def read_stream(data):
    """Fields and batches as pyarrow sees them, validated to the last bit."""
    with pa.ipc.open_stream(io.BytesIO(data)) as reader:
        batches = list(reader)
    for batch in batches:
        batch.validate(full=True)
    return reader.schema, batches


def write_stream(schema, batches, **options):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


# ---- text ------------------------------------------------------------------------------------------------------


def type_name(kind):
    names = {"float": "float32", "double": "float64", "date32[day]": "date", "string": "utf8"}
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp(6)" if kind.tz else "datetime(6)"
    return names.get(str(kind), str(kind))


def show_value(value, kind):
    if value is None:
        return "NULL"
    if pa.types.is_string(kind):
        return "t" + value.encode().hex()
    if pa.types.is_floating(kind):
        if math.isnan(value):
            return "nan"
        return struct.pack(">f" if kind == pa.float32() else ">d", value).hex()
    if pa.types.is_decimal(kind):
        return format(value, "f")
    if pa.types.is_timestamp(kind):
        if value.tzinfo:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return value.isoformat(timespec="microseconds")
    return str(value)


def show(schema, batches):
    lines = []
    for field in schema:
        source_type = (field.metadata or {}).get(b"magic.source_type", b"").decode()
        lines.append(f"field {field.name} {type_name(field.type)} {int(field.nullable)} {source_type}")
    for batch in batches:
        lines.append(" ".join(["batch", str(batch.num_rows)] + [str(c.null_count) for c in batch.columns]))
        if not batch.columns:
            continue
        columns = [[show_value(v, c.type) for v in c.to_pylist()] for c in batch.columns]
        lines += [" ".join(row) for row in zip(*columns)]
    return lines


# ---- what pyarrow writes ---------------------------------------------------------------------------------------

KIND_VALUES = {
    pa.date32(): lambda r: datetime.date.fromordinal(r.randint(1, 3652059)),
    pa.float32(): lambda r: r.choice([0.0, -0.0, math.inf, math.nan, struct.unpack("f", r.randbytes(4))[0]]),
    pa.float64(): lambda r: r.choice([0.0, -0.0, -math.inf, math.nan, struct.unpack("d", r.randbytes(8))[0]]),
    pa.string(): lambda r: "".join(r.choice("aä€🐬 ") for _ in range(r.choice([0, 1, 5, 40]))),
}
for bits in (8, 16, 32, 64):
    KIND_VALUES[getattr(pa, f"int{bits}")()] = lambda r, b=bits: r.randint(-(2 ** (b - 1)), 2 ** (b - 1) - 1)
    KIND_VALUES[getattr(pa, f"uint{bits}")()] = lambda r, b=bits: r.randint(0, 2**b - 1)
for zone in (None, "UTC", "Europe/Berlin", "+05:30"):
    KIND_VALUES[pa.timestamp("us", zone)] = lambda r: datetime.datetime(1970, 1, 1) + datetime.timedelta(
        microseconds=r.randint(-62135500000000000, 253402200000000000))
for precision, scale in ((1, 0), (12, 2), (38, 0), (38, 38)):
    KIND_VALUES[pa.decimal128(precision, scale)] = lambda r, p=precision, s=scale: decimal.Decimal(
        (r.randint(0, 1), tuple(int(d) for d in str(r.randint(0, 10**p - 1))), -s))


def random_batch(rng, rows, nulls):
    columns, fields = [], []
    for i, (kind, make) in enumerate(KIND_VALUES.items()):
        nullable = i % 4 != 0
        values = [None if nullable and rng.random() < nulls else make(rng) for _ in range(rows)]
        if pa.types.is_timestamp(kind) and kind.tz:
            values = [v and v.replace(tzinfo=datetime.timezone.utc) for v in values]
        columns.append(pa.array(values, kind))
        metadata = {"magic.source_type": f"t{i}", "other": "x"} if i % 2 else None
        fields.append(pa.field(f"c{i}", kind, nullable=nullable, metadata=metadata))
    return pa.record_batch(columns, schema=pa.schema(fields))


class MagicToArrow(unittest.TestCase):
    def test_streams(self):
        for kind in KINDS:
            with self.subTest(kind):
                schema, batches = read_stream(tool("write", kind))
                self.assertEqual(show(schema, batches), tool("show", kind).decode().splitlines())

    def test_types_as_documented(self):
        schema, _ = read_stream(tool("write", "types"))
        self.assertEqual([str(t) for t in schema.types],
                         ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double",
                          "decimal128(38, 10)", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]", "string",
                          "decimal128(38, 0)"])

    def test_rows_are_counted_without_columns(self):
        _, batches = read_stream(tool("write", "no-columns"))
        self.assertEqual([b.num_rows for b in batches], [123456])


class ArrowToMagic(unittest.TestCase):
    def check(self, schema, batches, **options):
        data = write_stream(schema, batches, **options)
        self.assertEqual(tool("read", data=data).decode().splitlines(), show(schema, batches))
        copied_schema, copied = read_stream(tool("copy", data=data))
        self.assertEqual(len(copied), len(batches))
        for ours, theirs in zip(copied, batches):
            self.assertEqual(ours.num_rows, theirs.num_rows)
            for a, b in zip(ours.columns, theirs.columns):
                self.assertTrue(a.equals(b.cast(a.type)) or pa.types.is_floating(a.type))
        self.assertEqual(show(copied_schema, copied), show(schema, batches))

    def test_random_batches(self):
        rng = random.Random(1)
        for rows in (0, 1, 7, 8, 9, 64, 65, 500):
            for nulls in (0, 0.3, 1):
                with self.subTest(rows=rows, nulls=nulls):
                    batches = [random_batch(rng, rows, nulls), random_batch(rng, 3, nulls)]
                    self.check(batches[0].schema, batches)

    def test_slices(self):
        rng = random.Random(2)
        batch = random_batch(rng, 200, 0.3)
        for start, count in ((0, 10), (1, 63), (7, 64), (13, 0), (64, 65), (199, 1)):
            with self.subTest(start=start, count=count):
                self.check(batch.schema, [batch.slice(start, count)])

    def test_framings(self):
        batch = random_batch(random.Random(3), 20, 0.3)
        self.check(batch.schema, [batch], use_legacy_format=True)
        self.check(batch.schema, [batch], metadata_version=pa.ipc.MetadataVersion.V4)
        self.check(batch.schema, [])

    def test_no_columns(self):
        # pyarrow cannot make such a batch itself; it passes on the one it read.
        schema, batches = read_stream(tool("write", "no-columns"))
        self.check(schema, batches)

    def test_what_is_not_read_is_named(self):
        cases = {
            "dictionaries": pa.array(["a", "b"]).dictionary_encode(),
            "largeutf8": pa.array(["a"], pa.large_string()),
            "utf8view": pa.array(["a"], pa.string_view()),
            "bool": pa.array([True]),
            "binary": pa.array([b"a"]),
            "list": pa.array([[1]]),
            "struct": pa.array([{"a": 1}]),
            "null": pa.nulls(1),
            "date64": pa.array([datetime.date(2026, 1, 1)], pa.date64()),
            "microseconds": pa.array([1], pa.timestamp("ns")),
            "decimal256": pa.array([decimal.Decimal(1)], pa.decimal256(40, 0)),
            "half": None,
        }
        for words, array in cases.items():
            with self.subTest(words):
                if array is None:
                    words, array = "single and double", pa.array([1.0], pa.float16())
                batch = pa.record_batch([array], names=["c"])
                text = tool("read", data=write_stream(batch.schema, [batch]), status=1)
                self.assertIn("UNIMPLEMENTED", text)
                self.assertIn(words, text)
        batch = random_batch(random.Random(4), 200, 0)
        text = tool("read", data=write_stream(batch.schema, [batch], compression="zstd"), status=1)
        self.assertIn("UNIMPLEMENTED: compressed", text)


if __name__ == "__main__":
    TOOL = sys.argv.pop(1)
    unittest.main()
