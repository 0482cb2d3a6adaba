"""What a scan's node tells of the store's work, against the store's own counters.

SPDX-License-Identifier: Apache-2.0
"""

import pyarrow as pa
import pytest

from lib import spark as spark_lib
from lib.put import put

ROWS = 80_000
NAMES = {
    "rows": "rows from the store",
    "memory": "bytes from the store",
    "batches": "batches from the store",
    "waited": "ms waited for the store",
    "wire": "bytes on the wire",
    "read": "blocks read by the store",
    "skipped": "blocks skipped by the store",
    "worked": "us of the store's work",
}
COUNTERS = {"rows": "scan_rows", "read": "scan_blocks", "skipped": "scan_blocks_skipped"}


@pytest.fixture(scope="module")
def table(cluster):
    columns = {"id": pa.array(range(ROWS), pa.int64()), "v": pa.array([3 * number for number in range(ROWS)], pa.int64())}
    columns["text"] = pa.array([f"text number {number}" for number in range(ROWS)], pa.string())
    put(cluster.magicd.uri, "metered", "t", pa.table(columns))
    return "magic.metered.t"


def run(spark, wire, query):
    """The sums of the scan's metrics, and by how much the store's counters rose."""

    def counted():
        status = wire.status()
        return {name: int(status[("counter", counter)]) for name, counter in COUNTERS.items()}

    before = counted()
    spark.sql(query).collect()
    after = counted()
    shown = spark_lib.metrics(spark)
    missing = set(NAMES.values()) - set(shown)
    assert not missing, missing
    told = {short: sum(int(value.replace(",", "")) for value in shown[name]) for short, name in NAMES.items()}
    return told, {name: after[name] - before[name] for name in COUNTERS}


@pytest.mark.parametrize("adaptive", ["true", "false"], ids=["adaptive", "static"])
def test_a_whole_scan(spark, table, wire, adaptive):
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        told, counted = run(spark, wire, f"SELECT * FROM {table}")
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")
    assert told["rows"] == ROWS
    assert {name: told[name] for name in COUNTERS} == counted
    least = ROWS * (8 + 8 + 4) + sum(len(f"text number {number}") for number in range(ROWS))
    assert least <= told["wire"] <= least * 1.1
    assert told["memory"] >= least
    assert told["read"] >= 2 and told["skipped"] == 0  # 8,192 rows in memory, 65,536 once they are flushed
    assert told["batches"] >= ROWS // 8192 and told["worked"] > 0 and told["waited"] >= 0


def test_blocks_that_are_skipped(spark, table, wire):
    told, counted = run(spark, wire, f"SELECT id FROM {table} WHERE v BETWEEN 3000 AND 3300")
    assert told["rows"] == 101
    assert {name: told[name] for name in COUNTERS} == counted
    assert told["skipped"] > 0 and told["read"] > 0, told
    assert told["wire"] < 101 * 8 + 4 * 4096


def test_an_aggregate_in_the_scan(spark, table, wire):
    told, counted = run(spark, wire, f"SELECT sum(v), max(text) FROM {table}")
    assert {name: told[name] for name in COUNTERS} == counted
    assert told["rows"] <= 4 and told["read"] >= 2 and told["wire"] < 4 * 4096


def test_what_is_not_read_to_its_end(spark, table, wire, settings):
    """The store tells at the end of a split; what the client counts is there all the same."""
    settings(pushdown__limit="false")
    told, counted = run(spark, wire, f"SELECT text FROM {table} LIMIT 5")
    assert 5 <= told["rows"] <= counted["rows"] and told["batches"] >= 1
    assert told["read"] <= counted["read"]


def test_several_scans_in_one_statement(spark, table, wire):
    told, counted = run(
        spark, wire, f"SELECT count(*) FROM {table} a JOIN {table} b ON a.id = b.v WHERE a.v < 60000 AND b.id >= 70000"
    )
    assert {name: told[name] for name in COUNTERS} == counted
