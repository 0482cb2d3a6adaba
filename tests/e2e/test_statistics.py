"""What the optimizer is told of sizes lets it choose right: small sides are broadcast, large ones are not.

SPDX-License-Identifier: Apache-2.0
"""

import datetime
import random
import re

import pyarrow as pa
import pytest

from lib import spark as spark_lib
from lib.put import put
from lib.wire import scan as messages

ROWS = 60_000
SEED = 20261123
EPOCH = datetime.date(2020, 1, 1)
STATISTICS = re.compile(r"Statistics\(sizeInBytes=([\d.]+) (\w+)(?:, rowCount=([\d.E+]+))?\)")
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@pytest.fixture(scope="module")
def tables(cluster):
    choose = random.Random(SEED)
    large = {
        "id": pa.array(range(ROWS), pa.int64()),
        "kind": pa.array([choose.randrange(200) for _ in range(ROWS)], pa.int32()),
        "skewed": pa.array([0 if number % 10 else choose.randrange(1000) for number in range(ROWS)], pa.int32()),
        "day": pa.array([EPOCH + datetime.timedelta(days=number // 60) for number in range(ROWS)], pa.date32()),
        "price": pa.array([None if number % 4 == 0 else choose.random() * 100 for number in range(ROWS)], pa.float64()),
        "name": pa.array([f"a name of some length {choose.randrange(5000)}" for _ in range(ROWS)], pa.string()),
    }
    put(cluster.magicd.uri, "sized", "large", pa.table(large))
    put(cluster.magicd.uri, "sized", "other", pa.table(large))
    small = {"id": pa.array(range(200), pa.int64()), "kind": pa.array(range(200), pa.int32())}
    put(cluster.magicd.uri, "sized", "small", pa.table(small))


@pytest.fixture
def conf(spark):
    """Spark's own settings for one test."""
    changed = []

    def change(**pairs):
        for key, value in pairs.items():
            name = "spark.sql." + key.replace("__", ".")
            spark.conf.set(name, value)
            changed.append(name)

    yield change
    for name in changed:
        spark.conf.unset(name)


def estimate(spark, query):
    """Bytes and rows that the optimizer expects of a scan."""
    text = spark.sql(f"EXPLAIN COST {query}").collect()[0][0]
    shown = [STATISTICS.search(line) for line in text.splitlines() if "RelationV2" in line and "Statistics" in line]
    assert shown and all(shown), text
    return float(shown[0].group(1)) * UNITS[shown[0].group(2)], float(shown[0].group(3) or 0)


@pytest.mark.parametrize("side,broadcast", [
    ("magic.sized.small", True), ("magic.sized.large", False), ("(SELECT * FROM magic.sized.large WHERE kind = 7)", True),
    ("(SELECT * FROM magic.sized.large WHERE id IN (1, 2, 3))", True), ("(SELECT * FROM magic.sized.large WHERE kind >= 0)", False),
    ("(SELECT * FROM magic.sized.large WHERE day BETWEEN DATE'2020-02-01' AND DATE'2020-02-10')", True),
    ("(SELECT kind, count(*) id FROM magic.sized.large GROUP BY kind)", True), ("(SELECT * FROM magic.sized.large LIMIT 50)", True),
    ("(SELECT DISTINCT id, name FROM magic.sized.large)", False),
])  # fmt: skip
def test_what_is_broadcast(spark, tables, conf, side, broadcast):
    conf(adaptive__enabled="false", autoBroadcastJoinThreshold="300k")
    frame = spark.sql(f"SELECT count(*), sum(s.id) FROM magic.sized.other o JOIN {side} s ON o.id = s.id")
    plan = spark_lib.plan_text(frame)
    assert ("BroadcastHashJoin" in plan) == broadcast, plan
    frame.collect()


PREDICATES = [
    "kind = 7", "kind IN (7, 8, 9)", "kind < 50", "kind >= 50 AND kind < 60", "kind <> 7", "id = 5", "id < 600", "price IS NULL",
    "price IS NOT NULL", "price > 90D", "day = DATE'2020-03-01'", "day >= DATE'2022-01-01'", "kind = 7 AND day < DATE'2020-06-01'",
    "kind = 7 OR kind = 8", "NOT (kind = 7)", "name LIKE 'a name%'", "skewed = 0", "skewed > 500",
]  # fmt: skip


def test_estimates_are_near_the_truth(spark, tables, conf):
    """Never far below it, where a broadcast would hurt; a skewed value is what no count of different values tells."""
    conf(cbo__enabled="true")
    for predicate in PREDICATES:
        query = f"SELECT * FROM magic.sized.large WHERE {predicate}"
        truth = spark.sql(query).count()
        _, rows = estimate(spark, query)
        skew = 1000 if "skewed" in predicate else 1
        assert truth / 4 / skew - 1 <= rows <= max(40, truth * 10 * skew), f"{predicate}: {rows} rows expected, {truth} there"


def test_sizes_follow_columns(spark, tables):
    whole, _ = estimate(spark, "SELECT * FROM magic.sized.large")
    narrow, _ = estimate(spark, "SELECT kind FROM magic.sized.large")
    assert ROWS * 4 <= narrow < whole / 3
    assert ROWS * 50 <= whole <= ROWS * 120


@pytest.mark.parametrize("query", [
    "SELECT count(*), sum(o.id) FROM magic.sized.other o, magic.sized.large l, magic.sized.small s"
    " WHERE o.id = l.id AND l.kind = s.kind AND s.id < 20 AND o.kind < 100",
    "SELECT s.id, count(*), min(l.day) FROM magic.sized.large l LEFT JOIN magic.sized.small s ON l.kind = s.id AND s.kind = 5"
    " WHERE l.price > 50 GROUP BY s.id",
])  # fmt: skip
def test_planning_by_cost_changes_no_row(spark, tables, conf, query):
    before = sorted(map(tuple, spark.sql(query).collect()), key=repr)
    conf(cbo__enabled="true", cbo__joinReorder__enabled="true", cbo__planStats__enabled="true")
    assert sorted(map(tuple, spark.sql(query).collect()), key=repr) == before


def test_the_store_is_asked_for_columns(tables, wire):
    def told(*columns):
        request = messages.StatsRequest(database="sized", table="large", columns=columns)
        return [column.name for column in wire.action("magic.stats", request, messages.TableStats)[0].columns]

    assert told("kind", "none", "ID") == ["id", "kind"]
    assert told() == ["id", "kind", "skewed", "day", "price", "name"]


def test_columns_are_told_of(spark, tables, conf):
    """As Spark keeps them: distinct counts, NULLs, bounds."""

    def told(name):
        plan = spark.sql(f"SELECT {name} FROM magic.sized.large")._jdf.queryExecution().optimizedPlan()
        return plan.stats().attributeStats().values().mkString(" ")

    assert told("kind") == "", "only who plans by cost is told"
    conf(cbo__enabled="true")
    for name, low, high, distinct, nulls in (
        ("kind", "0", "199", 200, 0),
        ("id", "0", str(ROWS - 1), ROWS, 0),
        ("day", "18262", str(18262 + ROWS // 60 - 1), ROWS // 60, 0),
        ("price", r"\d\.\d+(E-\d+)?", r"99\.\d+", ROWS * 3 // 4, ROWS // 4),
    ):
        shown = told(name)
        found = re.match(r"ColumnStat\(Some\((\d+)\),Some\((.*)\),Some\((.*)\),Some\((\d+)\),Some\(\d+\)", shown)
        assert found, shown
        assert re.fullmatch(low, found.group(2)) and re.fullmatch(high, found.group(3)), shown
        assert abs(int(found.group(1)) - distinct) <= distinct * 0.1 and int(found.group(4)) == nulls, shown
