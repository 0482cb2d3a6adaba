"""TPC-H's lineitem and part as files, made once: what every side of a benchmark reads.

    data.py FOLDER SCALE plain      FOLDER/lineitem.parquet, FOLDER/part.parquet (zstd)
    data.py FOLDER SCALE shuffled   and FOLDER/lineitem-shuffled.arrow, an uncompressed stream in random order

Rows are tpchgen-cli's. Shuffling takes two passes, so that memory holds one bucket of rows at a time. A file appears
under its name only when it is whole.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile

import numpy
import pyarrow as pa
import pyarrow.parquet as parquet

BUCKET_ROWS = 6_000_000
BATCH_ROWS = 50_000


def make_tables(folder, scale):
    tool = pathlib.Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    with tempfile.TemporaryDirectory(dir=folder) as made:
        subprocess.run([tool, "parquet", "-s", scale, "--tables=lineitem,part", f"--output-dir={made}",
                        "--compression=zstd(3)", "-q"], check=True)
        for name in ("part.parquet", "lineitem.parquet"):
            os.replace(f"{made}/{name}", folder / name)


def plain(batch):
    """Texts as Arrow's utf8: the stream is read by a decoder that knows no views."""
    table = pa.Table.from_batches([batch])
    fields = [pa.field(f.name, pa.string() if "string" in str(f.type) else f.type, f.nullable) for f in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def write_shuffled(out, schema, tables, chance):
    table = pa.concat_tables(tables).combine_chunks()
    order = pa.array(chance.permutation(table.num_rows))
    for start in range(0, table.num_rows, BATCH_ROWS):
        out.write_table(table.take(order.slice(start, BATCH_ROWS)).combine_chunks())


def shuffle(folder):
    chance = numpy.random.default_rng(1)
    file = parquet.ParquetFile(folder / "lineitem.parquet")
    buckets = max(1, round(file.metadata.num_rows / BUCKET_ROWS))
    schema = plain(next(file.iter_batches(1))).schema
    with tempfile.TemporaryDirectory(dir=folder) as made:
        parts = [pa.ipc.new_stream(f"{made}/{i}", schema) for i in range(buckets)]
        for batch in file.iter_batches(1 << 20):
            table = plain(batch)
            place = chance.integers(buckets, size=table.num_rows)
            for i, part in enumerate(parts):
                part.write_table(table.filter(pa.array(place == i)))
        for part in parts:
            part.close()
        with pa.ipc.new_stream(f"{made}/whole", schema) as out:
            for i in range(buckets):
                with pa.ipc.open_stream(f"{made}/{i}") as part:
                    write_shuffled(out, schema, [part.read_all()], chance)
                os.unlink(f"{made}/{i}")
        os.replace(f"{made}/whole", folder / "lineitem-shuffled.arrow")


def main():
    folder, scale, what = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "lineitem.parquet").exists():
        make_tables(folder, scale)
    if what == "shuffled" and not (folder / "lineitem-shuffled.arrow").exists():
        shuffle(folder)


if __name__ == "__main__":
    main()
