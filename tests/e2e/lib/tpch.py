"""TPC-H's tables as Parquet files and in a magicd, as they are made and with a tenth of two of them changed.

    clean   tpchgen-cli's rows, zstd
    dirty   of lineitem and orders 10 % of the rows updated and 1 % deleted, at random: an updated row keeps its key and
            gets everything else of another one that is updated, so that values stay in their ranges and every query
            changes. Parquet is written anew with the rows that are left; Magic gets the changes (bench/change_rows.c).

SPDX-License-Identifier: Apache-2.0
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from . import paths

KEYS = {
    "region": ["r_regionkey"],
    "nation": ["n_nationkey"],
    "supplier": ["s_suppkey"],
    "part": ["p_partkey"],
    "partsupp": ["ps_partkey", "ps_suppkey"],
    "customer": ["c_custkey"],
    "orders": ["o_orderkey"],
    "lineitem": ["l_orderkey", "l_linenumber"],
}
CHANGED = ("orders", "lineitem")
UPDATED, DELETED = 0.10, 0.01
SEED = 20261122
BATCH_ROWS = 65536
CHANGE_ROWS = paths.RELEASE / "change_rows"


def _run(argv, **options):
    done = subprocess.run([str(one) for one in argv], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def file(folder, table):
    return Path(folder) / f"{table}.parquet"


def make_clean(folder, scale):
    """All tables, unless they are there."""
    folder = Path(folder)
    if all(file(folder, table).exists() for table in KEYS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    tool = Path(sysconfig.get_path("scripts")) / "tpchgen-cli"
    _run([tool, "parquet", "-s", scale, f"--output-dir={folder}", "--compression=zstd(3)", "-q"])


def _plain(table):
    """Texts as Arrow's utf8: readers of streams know no views."""
    fields = [pa.field(f.name, pa.string() if "string" in str(f.type) else f.type, f.nullable) for f in table.schema]
    return table.cast(pa.schema(fields))


def _change(rows, keys, seed):
    """(rows afterwards, rows that were updated as they are now, rows that were deleted)"""
    chance = pc.random(rows.num_rows, initializer=seed)
    updated = rows.filter(pc.less(chance, UPDATED))
    gone = pc.greater_equal(chance, 1 - DELETED)
    order = pc.sort_indices(pc.random(updated.num_rows, initializer=seed + 1))
    others = updated.take(order)
    changed = pa.table([(updated if name in keys else others)[name] for name in rows.column_names], schema=rows.schema)
    kept = rows.filter(pc.and_(pc.greater_equal(chance, UPDATED), pc.invert(gone)))
    return pa.concat_tables([kept, changed]), changed, rows.filter(gone)


def make_dirty(clean, folder):
    """The changed tables as Parquet, and TABLE-update.arrow and TABLE-delete.arrow for change_rows."""
    folder = Path(folder)
    if all(file(folder, table).exists() for table in CHANGED):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for table in CHANGED:
        source = parquet.ParquetFile(file(clean, table))
        schema = _plain(source.schema_arrow.empty_table()).schema
        making = folder / f"{table}.making"
        with (
            parquet.ParquetWriter(making, schema, compression="zstd", compression_level=3) as after,
            pa.ipc.new_stream(folder / f"{table}-update.arrow", schema) as updates,
            pa.ipc.new_stream(folder / f"{table}-delete.arrow", schema) as deletes,
        ):
            for number in range(source.num_row_groups):
                rows = _plain(source.read_row_group(number))
                left, changed, gone = _change(rows, KEYS[table], SEED + 2 * number)
                after.write_table(left)
                updates.write_table(changed.combine_chunks(), max_chunksize=BATCH_ROWS)
                deletes.write_table(gone.combine_chunks(), max_chunksize=BATCH_ROWS)
        making.rename(file(folder, table))


def load(magicd, database, clean):
    """All tables of a folder into a running magicd."""
    environment = dict(os.environ, MAGIC_PYTHON=sys.executable)  # it reads Parquet for `magic load`
    for table, keys in KEYS.items():
        into = ["--server", magicd.address, "load", "--create", "--key", ",".join(keys), f"{database}.{table}"]
        _run([paths.MAGIC, *into, file(clean, table)], env=environment)


def change(magicd, database, dirty, kinds=("update", "delete")):
    """Stops it, changes the rows, starts it again. Returns how many rows were changed."""
    magicd.stop()
    rows = 0
    for table in CHANGED:
        for kind in kinds:
            file_of = Path(dirty) / f"{table}-{kind}.arrow"
            told = _run([CHANGE_ROWS, magicd.folder / "data", f"{database}.{table}", kind, file_of])
            rows += int(told.split(":")[1].split()[0])
    magicd.start()
    return rows


def show_parquet(spark, database, clean, dirty=None):
    """The files as tables of Spark's own catalog."""
    spark.sql(f"CREATE DATABASE IF NOT EXISTS spark_catalog.{database}")
    for table in KEYS:
        folder = dirty if dirty and table in CHANGED else clean
        spark.sql(f"DROP TABLE IF EXISTS spark_catalog.{database}.{table}")
        spark.sql(f"CREATE TABLE spark_catalog.{database}.{table} USING parquet LOCATION '{file(folder, table)}'")

