"""Aggregates and top-N in the scan change no row: each with push-down off, partial, and complete.

SPDX-License-Identifier: Apache-2.0
"""

import datetime
import decimal
import math
import random
import re

import pyarrow as pa
import pytest

from lib import spark as spark_lib
from lib.put import put

ROWS = 6000
SPLITS = 4
SEED = 20261122
EPOCH = datetime.date(1970, 1, 1)
MODES = ("off", "partial", "complete")


def dec(text):
    return decimal.Decimal(text)


# Name, type, values; every column but id has NULLs, too. Sums of f64 and f32 are exact in any order, those of i64 fit.
COLUMNS = [
    ("g8", pa.int8(), [0, 1, 2, -128, 127]),
    ("text", pa.string(), ["", "a", "a ", "A", "ä", "abc", "🦊"]),
    ("real", pa.float64(), [math.nan, 0.0, -0.0, 1.5, -math.inf]),
    ("i8", pa.int8(), [-128, -1, 0, 7, 127]),
    ("i16", pa.int16(), [-32768, 0, 5, 32767]),
    ("i32", pa.int32(), [-2147483648, -5, 0, 77, 2147483647]),
    ("i64", pa.int64(), [-900719925474099, -1, 0, 5, 900719925474099]),
    ("imax", pa.int64(), [9223372036854775807, 9223372036854775806]),
    ("u32", pa.uint32(), [0, 1, 4294967295]),
    ("u64", pa.uint64(), [0, 1, 9223372036854775808, 18446744073709551615]),
    ("f32", pa.float32(), [-1.5, 0.0, 0.5, 1024.25]),
    ("f64", pa.float64(), [-1.5, 0.0, 0.25, 1e9]),
    ("d9", pa.decimal128(9, 2), [dec("-9999999.99"), dec("0.00"), dec("0.01"), dec("0.07"), dec("9999999.99")]),
    ("d12", pa.decimal128(12, 2), [dec("9999999999.99"), dec("9999999999.98"), dec("-0.01"), dec("12.34")]),
    ("d28", pa.decimal128(28, 4), [dec("999999999999999999999999.9999"), dec("-0.0001"), dec("3.0000")]),
    ("d38", pa.decimal128(38, 6), [dec("-99999999999999999999.000001"), dec("0.000001"), dec("12.500000")]),
    ("dmax", pa.decimal128(38, 6), [dec("8" + "0" * 31 + ".000001")]),
    ("day", pa.date32(), [EPOCH, datetime.date(1000, 1, 1), datetime.date(2024, 2, 29)]),
    ("local", pa.timestamp("us"), [datetime.datetime(1970, 1, 1), datetime.datetime(2024, 2, 29, 12, 0, 0, 1)]),
    ("moment", pa.timestamp("us", "UTC"), [datetime.datetime(2001, 9, 9, 1, 46, 40, tzinfo=datetime.timezone.utc)]),
]  # fmt: skip
# Query over {t}; whether its aggregates go to the store.
QUERIES = [
    ("SELECT count(*) FROM {t}", True),
    ("SELECT count(1), count(i32), count(text), count(real), count(day), count(d28) FROM {t}", True),
    ("SELECT sum(i8), sum(i16), sum(i32), sum(i64) FROM {t}", True),
    ("SELECT sum(u32), sum(u64), min(u64), max(u64), max(u32) FROM {t}", True),
    ("SELECT sum(f64), avg(f64), sum(f32), avg(f32) FROM {t}", True),
    ("SELECT sum(real), min(real), max(real), min(f32), max(f64) FROM {t}", True),
    ("SELECT sum(d9), sum(d12), sum(d28), sum(d38) FROM {t}", True),
    ("SELECT avg(d12), avg(d28), avg(i32), avg(i16), avg(i8), avg(u64) FROM {t}", True),
    ("SELECT avg(d9) FROM {t}", False), ("SELECT avg(i64) FROM {t}", False), ("SELECT sum(i8), avg(i64) FROM {t}", False),
    ("SELECT " + ", ".join(f"min({name}), max({name})" for name, _, _ in COLUMNS) + " FROM {t}", True),
    ("SELECT sum(d12 * (1 - d9)), sum(d12 * (1 - d9) * (1 + d9)), avg(d12 * (1 - d9)) FROM {t}", True),
    ("SELECT sum(i16 + 1), sum(-i64), min(i64 - 1), max(i8 + 3), max(CAST(i8 AS SMALLINT) + CAST(g8 AS SMALLINT)) FROM {t}", False),
    ("SELECT sum(i16 + 1), sum(-i64), min(i64 - 1), max(i8 + 3), sum(f64 * 2.0D - 1.0D), min(-d28) FROM {t}", True),
    ("SELECT sum(d12 + i32), sum(i32 * 0.5), min(d12 - d28), max(d38 + d12), count(d12 + d9) FROM {t}", True),
    ("SELECT sum(CAST(i32 AS BIGINT) * 3), max(CAST(f32 AS DOUBLE) + f64), sum(CAST(i32 AS DOUBLE)) FROM {t}", True),
    ("SELECT sum(d12 / 3) FROM {t}", False), ("SELECT max(f32 * f32) FROM {t}", False), ("SELECT sum(abs(i64)) FROM {t}", False),
    ("SELECT sum(i8), sum(i8) + 1, count(*) * 2, max(d9) - min(d9) FROM {t}", True),
    ("SELECT g8, count(*), sum(i32), sum(i64), min(text), max(d38), avg(d12), avg(i32) FROM {t} GROUP BY g8", True),
    ("SELECT text, count(*), sum(d9), max(local) FROM {t} GROUP BY text", True),
    ("SELECT real, count(*), sum(i8) FROM {t} GROUP BY real", True),
    ("SELECT day, local, moment, count(i8) FROM {t} GROUP BY day, local, moment", True),
    ("SELECT u64, u32, sum(u64) FROM {t} GROUP BY u64, u32", True),
    ("SELECT d12, d38, f32, count(*) FROM {t} GROUP BY d12, d38, f32", True),
    ("SELECT sum(d12), g8, text, sum(imax - 9223372036854775800) FROM {t} GROUP BY g8, text", True),
    ("SELECT id, sum(i64), sum(d12), count(text) FROM {t} GROUP BY id", True),
    ("SELECT DISTINCT text, g8 FROM {t}", True), ("SELECT g8 + 1, count(*) FROM {t} GROUP BY g8 + 1", True),
    ("SELECT i32 * 0.5, count(*) FROM {t} GROUP BY i32 * 0.5", True),
    ("SELECT upper(text), count(*) FROM {t} GROUP BY upper(text)", False),
    ("SELECT f64 + 1.0D, count(*) FROM {t} GROUP BY f64 + 1.0D", False),
    ("SELECT count(DISTINCT g8) FROM {t}", False), ("SELECT sum(DISTINCT i8), count(*) FROM {t}", False),
    ("SELECT sum(i32) FILTER (WHERE i8 > 0) FROM {t}", False), ("SELECT stddev(f32) FROM {t}", False),
    ("SELECT g8, count(*), sum(d12) FROM {t} WHERE i8 > 0 AND text >= 'a' GROUP BY g8", True),
    ("SELECT count(*), sum(i8) FROM {t} WHERE i16 IS NULL OR d12 IS NOT NULL", True),
    ("SELECT count(*), sum(i8) FROM {t} WHERE length(text) > 1", False),
    ("SELECT count(*), count(i8), sum(i8), sum(i64), sum(d12), min(text), avg(d12), avg(f64) FROM {t} WHERE id < 0", True),
    ("SELECT g8, count(*) FROM {t} WHERE id < 0 GROUP BY g8", True),
    ("SELECT count(*), count(i8), sum(i8), sum(i64), sum(d12), max(day) FROM magic.aggregated.nothing", True),
    ("SELECT g8, sum(i64), sum(d12) FROM magic.aggregated.nothing GROUP BY g8", True),
    ("SELECT g8, sum(i64) s FROM {t} GROUP BY g8 HAVING sum(i64) > 0 AND count(*) > 3 ORDER BY s DESC", True),
    ("SELECT text, count(*) c FROM {t} GROUP BY text ORDER BY c DESC, text LIMIT 3", True),
    ("SELECT max(c), count(*) FROM (SELECT g8, text, count(*) c FROM {t} GROUP BY g8, text)", True),
    ("SELECT a.g8, a.s, b.c FROM (SELECT g8, sum(d12) s FROM {t} GROUP BY g8) a JOIN (SELECT g8, count(*) c FROM {t} GROUP BY g8) b"
     " ON a.g8 = b.g8", True),
    ("SELECT id FROM {t} WHERE i64 > (SELECT avg(i32) FROM {t}) AND i32 = 77", True),
    ("SELECT g8, count(*) FROM {t} GROUP BY g8 LIMIT 100", True),
    ("SELECT try_sum(imax), try_sum(i8) FROM {t}", True),
]  # fmt: skip
# What overflows: an error of the same condition, or NULL, or a wrapped number, by the session's rules.
OVERFLOWS = [
    "sum(imax)", "sum(dmax)", "avg(dmax)", "sum(i32 + 1)", "sum(imax * 2L)", "max(dmax * dmax)", "sum(-i32)",
    "max(dmax + dmax)", "sum(d38 * d28)",
]  # fmt: skip
TOPS = [
    ("ORDER BY id LIMIT 5", True), ("ORDER BY id DESC LIMIT 5", True), ("ORDER BY id LIMIT 5 OFFSET 3", True),
    ("ORDER BY real, id LIMIT 3000", True), ("ORDER BY real DESC, id LIMIT 3000", True),
    ("ORDER BY text DESC NULLS FIRST, id LIMIT 50", True), ("ORDER BY d28 NULLS LAST, id DESC LIMIT 4000", True),
    ("ORDER BY u64 DESC, day, local DESC, moment, id LIMIT 100", True), ("ORDER BY i8 DESC, text, id LIMIT 10000", True),
    ("WHERE i8 > 0 AND text = 'a' ORDER BY d12, id LIMIT 7", True), ("WHERE id < 0 ORDER BY id LIMIT 7", True),
    ("ORDER BY i64 + 1, id LIMIT 5", False), ("ORDER BY length(text), id LIMIT 5", False),
    ("WHERE length(text) > 1 ORDER BY id LIMIT 5", False), ("ORDER BY id LIMIT 300000", False),
]  # fmt: skip


@pytest.fixture(scope="module")
def table(cluster):
    choose = random.Random(SEED)
    columns = {"id": pa.array(range(ROWS), pa.int64())}
    for name, kind, values in COLUMNS:
        columns[name] = pa.array([choose.choice(values + [None]) for _ in range(ROWS)], kind)
    whole = pa.table(columns)
    put(cluster.magicd.uri, "aggregated", "t", whole, rows=1000)
    put(cluster.magicd.uri, "aggregated", "nothing", whole.slice(0, 0))
    return "magic.aggregated.t"


@pytest.fixture
def mode(settings):
    def change(name):
        on = str(name != "off").lower()
        settings(pushdown__aggregates=on, pushdown__topn=on, pushdown__complete_rows="0" if name == "partial" else "1000000")

    return change


def plain(value):
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def rows_of(frame):
    return [tuple(plain(value) for value in row) for row in frame.collect()]


def bag(rows):
    return sorted(rows, key=repr)


def sent(wire):
    return int(wire.status()[("counter", "scan_rows")])


@pytest.mark.parametrize("query,pushed", QUERIES, ids=[query for query, _ in QUERIES])
def test_aggregates(spark, mode, table, query, pushed):
    answers = {}
    for name in MODES:
        mode(name)
        frame = spark.sql(query.format(t=table))
        answers[name] = (frame.dtypes, bag(rows_of(frame)))
        plan = spark_lib.plan_text(frame)
        assert ("PushedAggregates" in plan) == (pushed and name != "off") or "LocalTableScan" in plan, f"{name}:\n{plan}"
    for name in MODES[1:]:
        assert answers[name] == answers["off"], f"{name} differs"


@pytest.mark.parametrize("call", OVERFLOWS)
@pytest.mark.parametrize("grouped", [False, True], ids=["whole", "grouped"])
def test_overflow_is_the_same_error(spark, mode, table, call, grouped):
    def condition(name):
        mode(name)
        query = f"SELECT g8, {call} FROM {table} GROUP BY g8" if grouped else f"SELECT {call} FROM {table}"
        with pytest.raises(Exception) as caught:
            spark.sql(query).collect()
        found = re.search(r"\[([A-Z_]+(\.[A-Z_]+)?)\]", str(caught.value))
        assert found, str(caught.value)[:2000]
        return found.group(1)

    conditions = {name: condition(name) for name in MODES}
    assert len(set(conditions.values())) == 1, conditions


@pytest.mark.parametrize("query", [
    "SELECT sum(imax), sum(i64), sum(d12), sum(d28), count(*) FROM {t}", "SELECT sum(dmax), avg(dmax) FROM {t}",
    "SELECT g8, sum(imax), avg(d12), avg(i8) FROM {t} GROUP BY g8", "SELECT sum(i32 + 1), sum(imax * 2L) FROM {t}",
])  # fmt: skip
def test_without_ansi(spark, mode, table, query):
    spark.conf.set("spark.sql.ansi.enabled", "false")
    try:
        answers = {}
        for name in MODES:
            mode(name)
            frame = spark.sql(query.format(t=table))
            answers[name] = bag(rows_of(frame))
            assert "PushedAggregates" not in spark_lib.plan_text(frame) or ("dmax" not in query and "+" not in query)
    finally:
        spark.conf.set("spark.sql.ansi.enabled", "true")
    assert answers["partial"] == answers["complete"] == answers["off"]


@pytest.mark.parametrize("query,most", [
    ("SELECT count(*), sum(d12), max(text) FROM {t}", SPLITS), ("SELECT g8, sum(d28) FROM {t} GROUP BY g8", 6 * SPLITS),
    ("SELECT text, d12 FROM {t} ORDER BY text, d12 LIMIT 10", 10 * SPLITS),
])  # fmt: skip
def test_it_ran_in_the_scan(spark, mode, table, wire, query, most):
    for name, least_sent, most_sent in (("off", ROWS, ROWS), ("partial", 1, most), ("complete", 1, most // SPLITS)):
        mode(name)
        before = sent(wire)
        spark.sql(query.format(t=table)).collect()
        assert least_sent <= sent(wire) - before <= most_sent, name


def test_declined_is_explained(spark, mode, table):
    mode("complete")
    plan = spark_lib.plan_text(spark.sql(f"SELECT avg(i64) FROM {table}"))
    assert "not pushed: aggregates (AVG of BIGINT" in plan, plan
    mode("off")
    plan = spark_lib.plan_text(spark.sql(f"SELECT sum(i64) FROM {table}"))
    assert "not pushed: aggregates (spark.magic.pushdown.aggregates is off)" in plan, plan


def test_complete_has_no_exchange(spark, mode, table):
    mode("complete")
    plan = spark_lib.plan_text(spark.sql(f"SELECT g8, sum(d12) FROM {table} GROUP BY g8"))
    assert "Exchange" not in plan and ", complete" in plan and "splits: 1;" in plan, plan
    mode("partial")
    plan = spark_lib.plan_text(spark.sql(f"SELECT g8, sum(d12) FROM {table} GROUP BY g8"))
    assert "Exchange" in plan and ", partial" in plan and f"splits: {SPLITS};" in plan, plan


@pytest.mark.parametrize("clause,pushed", TOPS, ids=[clause for clause, _ in TOPS])
def test_top(spark, mode, table, clause, pushed):
    answers = {}
    for name in MODES:
        mode(name)
        frame = spark.sql(f"SELECT id, real, text, d12 FROM {table} {clause}")
        answers[name] = rows_of(frame)
        plan = spark_lib.plan_text(frame)
        assert ("PushedTopN" in plan) == (pushed and name != "off") or "LocalTableScan" in plan, f"{name}:\n{plan}"
        if pushed and name == "complete" and "OFFSET" not in clause:
            assert "TakeOrdered" not in plan and "Sort" not in plan, plan
    assert answers["partial"] == answers["off"] and answers["complete"] == answers["off"]


def test_random_aggregates(spark, mode, table):
    """A failure prints the query; SEED makes the same ones again."""
    choose = random.Random(SEED)
    summed = ["i8", "i16", "i32", "i64", "u32", "u64", "f32", "f64", "d9", "d12", "d28", "d38"]
    names = [name for name, _, _ in COLUMNS]
    for number in range(25):
        calls = ["count(*)"] + [
            f"{function}({choose.choice(summed if function in ('sum', 'avg') else names)})"
            for function in choose.choices(["count", "sum", "avg", "min", "max"], k=choose.randrange(1, 6))
        ]
        groups = choose.sample(names, choose.randrange(3))
        where = choose.choice(["", " WHERE i8 > 0", " WHERE text <> 'a' AND d12 > 0", " WHERE id BETWEEN 100 AND 1400"])
        query = f"SELECT {', '.join(groups + calls)} FROM {table}{where}" + (f" GROUP BY {', '.join(groups)}" if groups else "")
        answers = {}
        for name in MODES:
            mode(name)
            answers[name] = bag(rows_of(spark.sql(query)))
        assert answers["partial"] == answers["off"] and answers["complete"] == answers["off"], f"seed {SEED}, {number}: {query}"


LINES = 5000
Q1 = """SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price,
  sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price, sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge,
  avg(l_quantity) AS avg_qty, avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order
  FROM magic.aggregated_tpch.lineitem WHERE l_shipdate <= DATE'1998-12-01' - INTERVAL '90' DAY
  GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus"""
Q6 = """SELECT sum(l_extendedprice * l_discount) AS revenue FROM magic.aggregated_tpch.lineitem
  WHERE l_shipdate >= DATE'1994-01-01' AND l_shipdate < DATE'1994-01-01' + INTERVAL '1' YEAR
  AND l_discount BETWEEN 0.06 - 0.01 AND 0.06 + 0.01 AND l_quantity < 24"""


@pytest.fixture(scope="module")
def lineitem(cluster):
    """From TiDB, with a tenth of the rows updated and some deleted."""
    choose = random.Random(SEED)
    cluster.tidb.run(
        "CREATE DATABASE aggregated_tpch",
        "CREATE TABLE aggregated_tpch.lineitem (l_orderkey INT, l_linenumber INT, l_quantity DECIMAL(15,2) NOT NULL,"
        " l_extendedprice DECIMAL(15,2) NOT NULL, l_discount DECIMAL(15,2) NOT NULL, l_tax DECIMAL(15,2) NOT NULL,"
        " l_returnflag CHAR(1) NOT NULL, l_linestatus CHAR(1) NOT NULL, l_shipdate DATE NOT NULL,"
        " PRIMARY KEY (l_orderkey, l_linenumber)) COLLATE utf8mb4_bin",
    )
    for start in range(0, LINES, 500):
        rows = []
        for number in range(start, start + 500):
            day = datetime.date(1992, 1, 1) + datetime.timedelta(days=choose.randrange(2500))
            rows.append(
                f"({number // 4},{number % 4},{choose.randrange(1, 51)},{choose.randrange(90000, 10500000) / 100:.2f},"
                f"0.{choose.randrange(11):02d},0.{choose.randrange(9):02d},'{choose.choice('ANR')}','{choose.choice('OF')}','{day}')"
            )
        cluster.tidb.change("INSERT INTO aggregated_tpch.lineitem VALUES " + ",".join(rows))
    cluster.tidb.change("UPDATE aggregated_tpch.lineitem SET l_quantity = l_quantity + 1, l_tax = 0.08 WHERE l_orderkey % 10 = 3")
    return cluster.tidb.change("DELETE FROM aggregated_tpch.lineitem WHERE l_orderkey % 100 = 7")


@pytest.mark.parametrize("query", [Q1, Q6], ids=["Q1", "Q6"])
def test_tpch(cluster, spark, mode, settings, lineitem, wire, query):
    wire.visible(lineitem)
    settings(snapshot=str(lineitem))
    answers = {}
    for name in MODES:
        mode(name)
        before = sent(wire)
        frame = spark.sql(query)
        answers[name] = rows_of(frame)
        assert ("PushedAggregates" in spark_lib.plan_text(frame)) == (name != "off")
        assert (sent(wire) - before <= 6 * SPLITS) == (name != "off")
    assert answers["partial"] == answers["off"] and answers["complete"] == answers["off"]
    exact = cluster.tidb.rows_at(lineitem, "SELECT sum(l_extendedprice * l_discount), count(*) FROM aggregated_tpch.lineitem")
    whole = spark.sql("SELECT sum(l_extendedprice * l_discount), count(*) FROM magic.aggregated_tpch.lineitem")
    assert rows_of(whole) == [tuple(row) for row in exact]
