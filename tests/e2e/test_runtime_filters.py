"""What a join learns of one side narrows the scan of the other one, and changes no row.

SPDX-License-Identifier: Apache-2.0
"""

import datetime
import decimal
import re
import time

import pyarrow as pa
import pytest

from lib import spark as spark_lib
from lib.put import put

ROWS = 80_000
KEYS = 2_000
EPOCH = datetime.date(2020, 1, 1)
MODES = ("off", "on", "range")


def key_columns(numbers):
    """The same key as several types; every seventh is NULL."""
    some = [None if number % 7 == 3 else number for number in numbers]

    def of(kind, change):
        return pa.array([None if number is None else change(number) for number in some], kind)

    return {
        "i32": of(pa.int32(), lambda n: n),
        "i64": of(pa.int64(), lambda n: n * 1_000_003),
        "u64": of(pa.uint64(), lambda n: 2**63 + n),
        "day": of(pa.date32(), lambda n: EPOCH + datetime.timedelta(days=n)),
        "moment": of(pa.timestamp("us", "UTC"), lambda n: n * 1_000_000_007),
        "dec": of(pa.decimal128(20, 3), lambda n: decimal.Decimal(n) / 8),
        "text": of(pa.string(), lambda n: f"ключ {n:05d}"),
        "real": of(pa.float64(), float),
    }


TYPES = list(key_columns([]))


@pytest.fixture(scope="module")
def tables(cluster):
    """joined.fact by id, 40 rows of each key side by side; joined.dim with one row for each key."""
    fact = {"id": pa.array(range(ROWS), pa.int64())} | key_columns([number * KEYS // ROWS for number in range(ROWS)])
    fact["v"] = pa.array([number % 1000 for number in range(ROWS)], pa.int32())
    put(cluster.magicd.uri, "joined", "fact", pa.table(fact))
    dim = {"id": pa.array(range(KEYS), pa.int64())} | key_columns(range(KEYS))
    dim["name"] = pa.array([f"name {number % 100}" for number in range(KEYS)], pa.string())
    dim["at"] = pa.array(range(KEYS), pa.int64())
    put(cluster.magicd.uri, "joined", "dim", pa.table(dim))


@pytest.fixture
def mode(settings):
    def change(name):
        settings(pushdown__runtime_filters=str(name != "off").lower(), pushdown__runtime_filter_values="10000" if name == "on" else "2")

    return change


@pytest.fixture
def static(spark):
    """Plans that do not change while they run."""
    spark.conf.set("spark.sql.adaptive.enabled", "false")
    yield
    spark.conf.unset("spark.sql.adaptive.enabled")


def rows_of(frame):
    return sorted((tuple(row) for row in frame.collect()), key=repr)


def sent(wire, counter="scan_rows"):
    return int(wire.status()[("counter", counter)])


def run(spark, mode, wire, query, modes=MODES):
    """Rows are the same in all modes; the plan after the run and the rows that the store sent, by mode."""
    answers, plans, counts = {}, {}, {}
    for name in modes:
        mode(name)
        before = sent(wire)
        frame = spark.sql(query)
        answers[name] = rows_of(frame)
        counts[name] = sent(wire) - before
        plans[name] = spark_lib.plan_text(frame)
        spark_lib.snapshot(frame)
    for name in modes[1:]:
        assert answers[name] == answers[modes[0]], f"{name} differs:\n{plans[name]}"
    return answers[modes[0]], plans, counts


def test_fewer_blocks_are_read(spark, mode, tables, wire):
    """The keys lie side by side in the table, and the store knows the bounds of its blocks."""
    query = "SELECT f.id FROM magic.joined.fact f JOIN magic.joined.dim d ON f.i32 = d.i32 WHERE d.at BETWEEN 100 AND 104"
    blocks, skipped = {}, {}
    for name in MODES:
        mode(name)
        before = sent(wire, "scan_blocks"), sent(wire, "scan_blocks_skipped")
        assert spark.sql(query).count() == 160
        blocks[name] = sent(wire, "scan_blocks") - before[0]
        skipped[name] = sent(wire, "scan_blocks_skipped") - before[1]
    assert skipped["off"] == 0 and blocks["off"] >= 2
    for name in ("on", "range"):
        assert skipped[name] > 0 and blocks[name] < blocks["off"], (blocks, skipped)


@pytest.mark.parametrize("key", TYPES)
def test_types_of_keys(spark, mode, tables, wire, key):
    query = f"SELECT f.id, f.v, d.name FROM magic.joined.fact f JOIN magic.joined.dim d ON f.{key} = d.{key} WHERE d.at BETWEEN 100 AND 104"
    rows, plans, counts = run(spark, mode, wire, query)
    assert len(rows) == 160  # 5 keys, of which one is NULL
    assert counts["off"] > ROWS * 0.85, plans["off"]  # a NULL key joins nothing, as Spark tells without us
    assert "runtime filters: " not in plans["off"]
    if key == "real":
        assert "runtime filters: " not in plans["on"] and counts["on"] == counts["off"]
        return
    assert f"runtime filters: {key} IN (" in plans["on"], plans["on"]
    assert re.search(f"runtime filters: {key} BETWEEN .* of 4 values", plans["range"]), plans["range"]
    for name in ("on", "range"):
        assert counts[name] <= 5 + 5 * 40, f"{name}: {counts}"


SHAPES = {
    "inner": ("SELECT f.id, d.name FROM {fact} f JOIN {dim} d ON f.i32 = d.i32 WHERE d.name = 'name 7'", True),
    "other order": ("SELECT f.id, d.name FROM {dim} d JOIN {fact} f ON f.i32 = d.i32 WHERE d.name = 'name 7'", True),
    "semi": ("SELECT f.id FROM {fact} f WHERE f.i32 IN (SELECT i32 FROM {dim} WHERE name = 'name 7')", True),
    "exists": ("SELECT f.id FROM {fact} f WHERE EXISTS (SELECT 1 FROM {dim} d WHERE d.i32 = f.i32 AND d.name LIKE 'name 7%')", True),
    "anti": ("SELECT count(*) FROM {fact} f WHERE NOT EXISTS (SELECT 1 FROM {dim} d WHERE d.i32 = f.i32 AND d.name = 'name 7')", False),
    "left": ("SELECT count(*), count(d.id) FROM {fact} f LEFT JOIN {dim} d ON f.i32 = d.i32 AND d.name = 'name 7'", False),
    "right": ("SELECT f.id, d.name FROM {fact} f RIGHT JOIN {dim} d ON f.i32 = d.i32 WHERE d.name = 'name 7'", False),
    "predicates of its own": ("SELECT f.id FROM {fact} f JOIN {dim} d ON f.i32 = d.i32 WHERE d.name = 'name 7' AND f.v < 500", True),
    "aggregate above": ("SELECT d.name, count(*), sum(f.v) FROM {fact} f JOIN {dim} d ON f.i64 = d.i64 WHERE d.at < 30 GROUP BY d.name",
                        True),
    "two joins": ("SELECT f.id FROM {fact} f JOIN {dim} d ON f.i32 = d.i32 JOIN {dim} e ON f.day = e.day"
                  " WHERE d.name = 'name 7' AND e.at < 1000", True),
    "null-safe": ("SELECT f.id, d.at FROM {fact} f JOIN {dim} d ON f.i32 <=> d.i32 WHERE d.at BETWEEN 99 AND 101", False),
    "a limit of the scan": ("SELECT count(*) FROM (SELECT * FROM {fact} ORDER BY id LIMIT 50) f"
                            " JOIN {dim} d ON f.i32 = d.i32 WHERE d.at = 1", False),
    "an aggregate of the scan": ("SELECT d.at, f.n FROM (SELECT i32, count(*) n FROM {fact} GROUP BY i32) f"
                                 " JOIN {dim} d ON f.i32 = d.i32 WHERE d.at = 1", False),
}  # fmt: skip


def check_shape(spark, mode, wire, shape):
    query, filtered = SHAPES[shape]
    named = query.format(fact="magic.joined.fact", dim="magic.joined.dim")
    _, plans, counts = run(spark, mode, wire, named, ("off", "on"))
    assert ("runtime filters: i" in plans["on"]) == filtered, plans["on"]
    if filtered:
        assert counts["on"] < ROWS / 5, counts


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_joins(spark, mode, tables, wire, shape):
    check_shape(spark, mode, wire, shape)


@pytest.mark.parametrize("shape", ["inner", "semi", "left", "two joins", "a limit of the scan"])
def test_shapes_of_joins_in_static_plans(spark, static, mode, tables, wire, shape):
    check_shape(spark, mode, wire, shape)


def check_empty_side(spark, mode, wire):
    for where in ("d.name = 'none'", "d.at = 3"):
        rows, plans, counts = run(
            spark, mode, wire, f"SELECT f.id FROM magic.joined.fact f JOIN magic.joined.dim d ON f.i32 = d.i32 WHERE {where}", ("off", "on")
        )
        assert rows == []
        assert counts["on"] <= 1, plans["on"]
    ungrouped = "SELECT count(*), sum(f.v) FROM magic.joined.fact f JOIN magic.joined.dim d ON f.i32 = d.i32 WHERE d.name = 'none'"
    assert run(spark, mode, wire, ungrouped, ("off", "on"))[0] == [(0, None)]


def test_an_empty_side_reads_nothing(spark, mode, tables, wire):
    """No row of the dimension, and one with a NULL key only."""
    check_empty_side(spark, mode, wire)


def test_an_empty_side_reads_nothing_in_static_plans(spark, static, mode, tables, wire):
    check_empty_side(spark, mode, wire)


def test_another_sources_keys(spark, mode, tables, wire, tmp_path):
    """The other side need not be of the store."""
    spark.range(100, 110).selectExpr("CAST(id AS INT) k", "id % 2 odd").write.parquet(f"{tmp_path}/keys")
    spark.read.parquet(f"{tmp_path}/keys").createOrReplaceTempView("some_keys")
    rows, plans, counts = run(
        spark, mode, wire, "SELECT f.id FROM magic.joined.fact f JOIN some_keys k ON f.i32 = k.k WHERE k.odd = 1"
    )
    assert len(rows) == 40 * sum(number % 7 != 3 for number in range(101, 110, 2))
    assert counts["on"] == len(rows) and "runtime filters: i32 IN (" in plans["on"]


def test_the_readers_option(spark, tables, wire, settings):
    """format("magic") and tables of a catalog take it, and it goes before the session's setting."""

    def counted(session, option):
        settings(pushdown__runtime_filters=session)
        before = sent(wire)
        fact = spark.read.option("runtimeFilters", option).table("magic.joined.fact") if option else spark.table("magic.joined.fact")
        frame = fact.join(spark.table("magic.joined.dim").where("at = 100").select("i32", "name"), "i32")
        assert frame.count() == 40
        return sent(wire) - before

    assert counted("false", "true") > ROWS * 0.85, "the other side's predicate is not seen, as it has no such option"
    assert counted("true", None) < 100
    assert counted("true", "false") > ROWS * 0.85


def test_explain_says_what_stays_visible(spark, mode, tables):
    """The small table leaves Spark a predicate to see; alone, or with the switch off, it does not."""
    query = "SELECT f.id FROM magic.joined.fact f JOIN magic.joined.dim d ON f.i32 = d.i32 WHERE d.name = 'name 7'"
    mode("on")
    plan = spark_lib.plan_text(spark.sql(query))
    assert "for runtime filters also left to Spark: name = 'name 7'" in plan and "Filter " in plan, plan
    alone = spark_lib.plan_text(spark.sql("SELECT i32 FROM magic.joined.dim d WHERE d.name = 'name 7'"))
    assert "left to Spark" not in alone and "Filter " not in alone, alone
    mode("off")
    plan = spark_lib.plan_text(spark.sql(query))
    assert "left to Spark" not in plan and "Filter " not in plan and "dynamicpruning" not in plan, plan


def test_the_same_snapshot_is_planned_again(cluster, spark, mode, tables, catalog_of):
    """A lease that is over before the join has told its keys: an error, never another snapshot."""
    mode("on")
    name = catalog_of(cluster, **{"lease.ttl": "1s", "lease.max_age": "2s"})
    frame = spark.sql(f"SELECT f.id FROM {name}.joined.fact f JOIN {name}.joined.dim d ON f.i32 = d.i32 WHERE d.name = 'name 7'")
    spark_lib.plan_text(frame)
    time.sleep(4)
    with pytest.raises(Exception, match="SNAPSHOT_EXPIRED.*Run the statement again"):
        frame.collect()
