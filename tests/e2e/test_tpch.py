"""TPC-H's 22 queries give through Magic what they give from Parquet, also with rows updated and deleted.

TPCH_SCALE (0.05) is the scale; 1 is for the record. Values are compared exactly but for doubles (1e-9), row by row where the
query's ORDER BY leaves no choice.

SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import shutil

import pytest

from lib import paths, spark as spark_lib, tpch, tpch_queries
from lib.magicd import Magicd
from lib.wire import Wire

SCALE = float(os.environ.get("TPCH_SCALE", "0.05"))
STATES = ("clean", "dirty")
SPLITS = 4
# Over one table, so that all of the aggregate is in the scan; and whether one split may give it complete: no sum can overflow.
IN_THE_SCAN = {
    "q1": (tpch_queries.query("q1", SCALE), False),
    "q6": (tpch_queries.query("q6", SCALE), False),
    "count": ("SELECT count(*) FROM lineitem", True),
    "sum of an int": ("SELECT sum(l_linenumber) FROM lineitem", True),
    "sum of a bigint": ("SELECT sum(l_partkey) FROM lineitem", False),
    "sum of a decimal": ("SELECT sum(l_extendedprice) FROM lineitem", True),
    "count of orders": ("SELECT count(*) FROM orders WHERE o_orderdate >= DATE '1995-01-01'", True),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of Parquet files: clean, dirty. Of a large scale they are kept in build/, of a small one they are made."""
    folder = paths.ROOT / "build" / "tpch" / f"sf{SCALE:g}" if SCALE >= 1 else tmp_path_factory.mktemp("tpch")
    tpch.make_clean(folder / "clean", SCALE)
    tpch.make_dirty(folder / "clean", folder / "dirty")
    yield folder
    if SCALE < 1:
        shutil.rmtree(folder)


class Sides:
    """A magicd with the tables, and Spark, which reads them there and from files."""

    def __init__(self, spark, magicd, data, catalog):
        self.spark, self.magicd, self.data, self.catalog = spark, magicd, data, catalog
        self.state = None
        tpch.load(magicd, "tpch", data / "clean")

    def be(self, state):
        """Both sides in that state; from dirty there is no way back."""
        if state == self.state:
            return
        assert self.state != "dirty"
        tpch.show_parquet(self.spark, "tpch", self.data / "clean", self.data / "dirty" if state == "dirty" else None)
        if state == "dirty":
            changed = tpch.change(self.magicd, "tpch", self.data / "dirty")
            assert changed > 0.1 * self.parquet("SELECT count(*) FROM lineitem").collect()[0][0]
        self.state = state

    def parquet(self, text):
        self.spark.sql("USE spark_catalog.tpch")
        return self.spark.sql(text)

    def magic(self, text):
        self.spark.sql(f"USE {self.catalog}.tpch")
        return self.spark.sql(text)

    def end(self):
        self.spark.sql("USE spark_catalog.default")
        self.magicd.stop()


@pytest.fixture(scope="module")
def sides(spark, data, tmp_path_factory):
    magicd = Magicd(tmp_path_factory.mktemp("tpch-magicd"), flags=["--splits-force", "true"]).start()
    for key, value in {"": "io.magicstore.spark.MagicCatalog", ".uri": magicd.uri, ".splits": str(SPLITS)}.items():
        spark.conf.set(f"spark.sql.catalog.magic_tpch{key}", value)
    both = Sides(spark, magicd, data, "magic_tpch")
    yield both
    both.end()
    shutil.rmtree(magicd.folder)


@pytest.mark.parametrize("state,name", [(state, name) for state in STATES for name in tpch_queries.QUERIES])
def test_as_from_parquet(sides, state, name):
    sides.be(state)
    text = tpch_queries.query(name, SCALE)
    files, frame = sides.parquet(text), sides.magic(text)
    rows = frame.collect()
    wrong = tpch_queries.disagreement(name, files.collect(), rows)
    assert not wrong, f"from Parquet, from Magic: {wrong}"
    assert frame.dtypes == files.dtypes
    assert rows or name in ("q2", "q17", "q18", "q20", "q21") and SCALE < 1
    assert len(set(re.findall(r"snapshot: epoch (\d+)", spark_lib.plan_text(frame)))) == 1, "one snapshot for all tables"


def test_the_changes_change_the_answers(sides):
    """Else the rows above would be equal whatever Magic made of them."""
    sides.be("dirty")
    tpch.show_parquet(sides.spark, "tpch_clean", sides.data / "clean")
    for name in ("q1", "q3", "q5", "q6", "q12", "q14"):
        text = tpch_queries.query(name, SCALE)
        now = sides.parquet(text).collect()
        sides.spark.sql("USE spark_catalog.tpch_clean")
        assert sides.spark.sql(text).collect() != now, name


@pytest.mark.parametrize("name", IN_THE_SCAN)
def test_aggregates_are_in_the_scan(sides, name, settings):
    """By the plan, and by what the server sent: a row a group and split."""
    sides.be("dirty")
    text, may_be_complete = IN_THE_SCAN[name]
    expected = sides.parquet(text).collect()
    groups = len(expected)
    with Wire(sides.magicd.uri) as wire:

        def sent():
            return int(wire.status()[("counter", "scan_rows")])

        for kind in ("partial", "complete") if may_be_complete else ("partial",):
            settings(pushdown__complete_rows="0" if kind == "partial" else "1000000000")
            before = sent()
            frame = sides.magic(text)
            assert frame.collect() == expected
            plan = spark_lib.plan_text(frame)
            assert "PushedAggregates" in plan and f", {kind}" in plan, plan
            assert 1 <= sent() - before <= groups * (SPLITS if kind == "partial" else 1), kind


def test_what_is_joined_is_filtered_and_aggregated_in_the_scan(sides, settings):
    """Q12 and Q14 send no row of lineitem that their filters on it drop; Q15 sends a row a supplier and split."""
    sides.be("dirty")
    settings(pushdown__complete_rows="0")
    count = "SELECT count(*) FROM"
    most = {
        "q12": f"{count} (SELECT 1 FROM orders UNION ALL SELECT 1 FROM lineitem WHERE l_shipmode IN ('MAIL', 'SHIP')"
        " AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate AND l_receiptdate >= DATE '1994-01-01'"
        " AND l_receiptdate < DATE '1995-01-01')",
        "q14": f"{count} (SELECT 1 FROM part UNION ALL SELECT 1 FROM lineitem WHERE l_shipdate >= DATE '1995-09-01'"
        " AND l_shipdate < DATE '1995-10-01')",
        "q15": f"SELECT count(*) * (1 + 2 * {SPLITS}) FROM supplier",  # the aggregate is asked for twice
    }
    with Wire(sides.magicd.uri) as wire:
        for name, rows in most.items():
            allowed = sides.parquet(rows).collect()[0][0]
            before = int(wire.status()[("counter", "scan_rows")])
            frame = sides.magic(tpch_queries.query(name, SCALE))
            frame.collect()
            sent = int(wire.status()[("counter", "scan_rows")]) - before
            assert 0 < sent <= allowed, f"{name}: {sent} rows, at most {allowed} expected"
            assert ("PushedAggregates" in spark_lib.plan_text(frame)) == (name == "q15")


def test_a_change_that_does_not_fit_is_refused(sides):
    """change_rows is what the above stands on: rows that are gone cannot be deleted once more, and nothing is stored."""
    sides.be("dirty")
    before = sides.magic("SELECT count(*), sum(o_totalprice) FROM orders").collect()
    with pytest.raises(RuntimeError, match="orders-delete.arrow: row 1: "):
        tpch.change(sides.magicd, "tpch", sides.data / "dirty", kinds=["delete"])
    sides.magicd.start()
    assert sides.magic("SELECT count(*), sum(o_totalprice) FROM orders").collect() == before
