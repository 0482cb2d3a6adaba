"""ipc_corpus.py -- makes inputs of tests/fuzz/corpus/ipc: what pyarrow sends, also what Magic does not read.

Usage: ipc_corpus.py FOLDER
Types that Magic lacks, dictionaries, compression, sliced arrays, metadata, many columns, old framing.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import decimal
import io
import pathlib
import sys

import pyarrow as pa


def stream(batches, schema, **options):
    """The stream format as bytes."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def one(array, **options):
    batch = pa.record_batch([array], names=["c"])
    return stream([batch], batch.schema, **options)


def supported():
    day = datetime.date(2026, 11, 21)
    at = datetime.datetime(2026, 11, 21, 10, 24, 11, 123456)
    return pa.record_batch(
        {
            "i8": pa.array([1, None, -1], pa.int8()),
            "u64": pa.array([1, None, 2**64 - 1], pa.uint64()),
            "f64": pa.array([0.5, None, float("nan")], pa.float64()),
            "dec": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-0.01")], pa.decimal128(12, 2)),
            "day": pa.array([day, None, day], pa.date32()),
            "at": pa.array([at, None, at], pa.timestamp("us")),
            "stamp": pa.array([at, None, at], pa.timestamp("us", "Europe/Berlin")),
            "text": pa.array(["a", None, "long enough to leave the short path"], pa.string()),
        }
    )


def inputs():
    batch = supported()
    yield "supported", stream([batch, batch.slice(1), batch.slice(3)], batch.schema)
    yield "metadata", stream([batch], batch.schema.with_metadata({"a": "b", "magic.source_type": "no field's"}))
    field = pa.field("c", pa.int32(), nullable=False, metadata={"x": "y", "magic.source_type": "int", "": ""})
    yield "field-metadata", stream([pa.record_batch([pa.array([1], pa.int32())], schema=pa.schema([field]))],
                                   pa.schema([field]))
    yield "compressed-zstd", stream([batch], batch.schema, compression="zstd")
    yield "compressed-lz4", stream([batch], batch.schema, compression="lz4")
    yield "old-framing", stream([batch], batch.schema, use_legacy_format=True)
    yield "version-4", stream([batch], batch.schema, metadata_version=pa.ipc.MetadataVersion.V4)
    yield "dictionary", one(pa.array(["a", "b", "a"]).dictionary_encode())
    for name, array in {
        "null": pa.nulls(3),
        "bool": pa.array([True, None]),
        "half": pa.array([1, None], pa.float16()),
        "binary": pa.array([b"a", None]),
        "large-utf8": pa.array(["a", None], pa.large_string()),
        "utf8-view": pa.array(["a", None], pa.string_view()),
        "decimal256": pa.array([decimal.Decimal(1)], pa.decimal256(50, 3)),
        "decimal32": pa.array([decimal.Decimal(1)], pa.decimal32(5, 1)),
        "negative-scale": pa.array([decimal.Decimal(100)], pa.decimal128(5, -2)),
        "date64": pa.array([datetime.date(2026, 1, 1)], pa.date64()),
        "time32": pa.array([1], pa.time32("ms")),
        "timestamp-ns": pa.array([1], pa.timestamp("ns")),
        "duration": pa.array([1], pa.duration("us")),
        "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        "list": pa.array([[1, 2], None], pa.list_(pa.int32())),
        "struct": pa.array([{"a": 1}], pa.struct([("a", pa.int32())])),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
        "fixed-size-binary": pa.array([b"abcd"], pa.binary(4)),
    }.items():
        yield "type-" + name, one(array)
    wide = pa.record_batch([pa.array([1], pa.int8())] * 100, names=[str(i) for i in range(100)])
    yield "wide", stream([wide], wide.schema)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs():
        (folder / ("pyarrow-" + name)).write_bytes(b"\0" + data)


if __name__ == "__main__":
    main()
