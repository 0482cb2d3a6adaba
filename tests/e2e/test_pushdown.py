"""Nothing that is pushed changes a row: every predicate with push-down on and off.

SPDX-License-Identifier: Apache-2.0
"""

import random

import pytest

from lib import spark as spark_lib

ROWS = 6000
SEED = 20261121
COLUMNS = {
    "i8": ("TINYINT", ["-128", "-1", "0", "7", "127"]),
    "u8": ("TINYINT UNSIGNED", ["0", "1", "200", "255"]),
    "i32": ("INT", ["-2147483648", "-5", "0", "77", "2147483647"]),
    "i64": ("BIGINT", ["-9223372036854775808", "-1", "0", "5", "9223372036854775807"]),
    "u64": ("BIGINT UNSIGNED", ["0", "1", "9223372036854775808", "18446744073709551615"]),
    "f": ("FLOAT", ["-1.5", "0", "0.5", "1e30"]),
    "d": ("DOUBLE", ["-1.5", "0", "0.1", "1e300"]),
    "money": ("DECIMAL(12,2)", ["-9999999999.99", "-0.01", "0.00", "12.34", "9999999999.99"]),
    "wide": ("DECIMAL(38,10)", ["-9999999999999999999999999999.9999999999", "0", "0.0000000001", "12.5"]),
    "day": ("DATE", ["DATE'1000-01-01'", "DATE'1970-01-01'", "DATE'2024-02-29'", "DATE'9999-12-31'"]),
    "local": ("DATETIME(6)", ["TIMESTAMP_NTZ'1970-01-01 00:00:00'", "TIMESTAMP_NTZ'2024-02-29 12:00:00.000001'"]),
    "moment": ("TIMESTAMP(6) NULL", ["TIMESTAMP'2001-09-09 01:46:40Z'", "TIMESTAMP'2024-02-29 12:00:00.000001Z'"]),
    "s": ("VARCHAR(40)", ["''", "'a'", "'a '", "'A'", "'ä'", "'abc'", "'abd'", "'🦊'", "'a%_'"]),
    "s2": ("VARCHAR(40)", ["'a'", "'abc'", "'🦊'"]),
}
# Predicate, and whether all of it goes to the store.
PREDICATES = [
    ("i32 = 77", True), ("i32 <> 77", True), ("i32 < 0", True), ("i32 <= 0", True), ("i32 > 0", True), ("i32 >= 0", True),
    ("77 > i32", True), ("i32 <=> 77", True), ("i32 <=> NULL", True), ("i32 = NULL", True),
    ("i32 IN (77, 0, -5)", True), ("i32 IN (77, NULL)", True), ("i32 NOT IN (77, 0)", True), ("i32 NOT IN (77, NULL)", True),
    ("i32 IN (1,2,3,4,5,6,7,8,9,10,11,12,13,77)", True),
    ("i32 IS NULL", True), ("i32 IS NOT NULL", True), ("NOT (i32 IS NULL)", True),
    ("i32 BETWEEN -5 AND 77", True), ("i32 NOT BETWEEN -5 AND 77", True),
    ("i32 = 77 AND s = 'a'", True), ("i32 = 77 OR s = 'a'", True), ("NOT (i32 = 77 AND s = 'a')", True),
    ("NOT (i32 = 77 OR s = 'a')", True), ("(i32 > 0 OR u8 > 100) AND NOT (s <=> 'a')", True),
    ("i8 = -128", True), ("i8 > 126", True), ("u8 = 255", True), ("u8 > -1", True), ("u8 < 300", True),
    ("i64 = 9223372036854775807", True), ("i64 > -9223372036854775808", True),
    ("u64 = 18446744073709551615", True), ("u64 > 9223372036854775807", True), ("u64 IN (0, 18446744073709551615)", True),
    ("f = CAST(0.5 AS FLOAT)", True), ("d = 0.1D", True), ("d < 0D", True), ("d IN (0.5D, 0.1D)", True),
    ("d IN (0D, 0.1D)", False), ("f < 0.1D", True),
    ("money = 12.34", True), ("money < 0", True), ("money BETWEEN -0.01 AND 12.34", True),
    ("money > 12.345", True), ("money > wide", False),
    ("wide > 0.0000000001", True), ("wide = 12.5", True),
    ("day = DATE'2024-02-29'", True), ("day < DATE'1970-01-01'", True), ("day IN (DATE'1000-01-01', DATE'9999-12-31')", True),
    ("local = TIMESTAMP_NTZ'2024-02-29 12:00:00.000001'", True), ("local < TIMESTAMP_NTZ'2000-01-01 00:00:00'", True),
    ("moment >= TIMESTAMP'2024-02-29 12:00:00.000001Z'", True), ("moment < TIMESTAMP'2010-01-01 00:00:00Z'", True),
    ("s = 'a'", True), ("s = 'a '", True), ("s < 'abd'", True), ("s >= 'ä'", True), ("s IN ('a', '🦊', 'none')", True),
    ("s LIKE 'ab%'", True), ("s NOT LIKE 'ab%'", True), ("s LIKE 'a%c'", False), ("s LIKE '%c'", False),
    ("s LIKE '%b%'", False), ("upper(s) = 'A'", False), ("length(s) > 1", False),
    ("s = s2", True), ("s < s2", True), ("s <=> s2", True), ("i8 < i32", False), ("s = s2 OR i32 IS NULL", True),
    ("i32 % 10 = 7", False), ("i32 = 77 AND s LIKE '%b%'", False), ("i32 = 77 OR s LIKE '%b%'", False),
    ("coalesce(i32, 0) = 77", False), ("CAST(day AS STRING) = '2024-02-29'", False), ("day > '2000-01-01'", True),
]  # fmt: skip


@pytest.fixture(scope="module")
def table(cluster):
    choose = random.Random(SEED)
    definition = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    cluster.tidb.run("CREATE DATABASE pushed", f"CREATE TABLE pushed.t (id INT PRIMARY KEY, {definition}) COLLATE utf8mb4_bin")

    def value(literals):
        text = choose.choice(literals + ["NULL"])
        for prefix in ("DATE", "TIMESTAMP_NTZ", "TIMESTAMP"):
            if text.startswith(prefix):
                return text[len(prefix) :].replace("Z'", "'")
        return text

    commit_ts = 0
    for start in range(0, ROWS, 500):
        rows = [
            "(" + ",".join([str(number)] + [value(literals) for _, literals in COLUMNS.values()]) + ")"
            for number in range(start, start + 500)
        ]
        commit_ts = cluster.tidb.change("INSERT INTO pushed.t VALUES " + ",".join(rows))
    return commit_ts


def run(spark, settings, commit_ts, where, pushed):
    settings(snapshot=str(commit_ts), pushdown__filters=str(pushed).lower())
    frame = spark.sql(f"SELECT id FROM magic.pushed.t WHERE {where}")
    return sorted(row[0] for row in frame.collect()), spark_lib.plan_text(frame)


@pytest.mark.parametrize("where,whole", PREDICATES, ids=[where for where, _ in PREDICATES])
def test_on_and_off(spark, settings, table, wire, where, whole):
    wire.visible(table)
    on, plan = run(spark, settings, table, where, True)
    off, off_plan = run(spark, settings, table, where, False)
    assert on == off, f"{len(on)} rows with push-down, {len(off)} without\n{plan}"
    assert "pushed: nothing" in off_plan or "LocalTableScan" in off_plan, off_plan
    filtered = "Filter " in plan
    assert filtered == (not whole), f"expected {'the store' if whole else 'Spark'} to filter:\n{plan}"


def test_declined_is_explained(spark, settings, table):
    settings(snapshot=str(table))
    plan = spark_lib.plan_text(spark.sql("SELECT id FROM magic.pushed.t WHERE i32 = 77 AND money > wide"))
    assert "i32 = 77; not pushed: " in plan, plan
    assert "(CAST to DECIMAL(38,10) could differ)" in plan, plan


def random_predicate(choose, depth=0):
    if depth < 3 and choose.random() < 0.45:
        left, right = (random_predicate(choose, depth + 1) for _ in range(2))
        return choose.choice([f"({left} AND {right})", f"({left} OR {right})", f"(NOT {left})"])
    name = choose.choice(list(COLUMNS))
    literals = COLUMNS[name][1]
    shape = choose.randrange(6)
    if shape < 3:
        operator = choose.choice(["=", "<>", "<", "<=", ">", ">=", "<=>"])
        return f"({name} {operator} {choose.choice(literals)})"
    if shape == 3:
        listed = choose.sample(literals, choose.randrange(1, len(literals))) + (["NULL"] if choose.random() < 0.3 else [])
        return f"({name} {choose.choice(['IN', 'NOT IN'])} ({', '.join(listed)}))"
    if shape == 4:
        return f"({name} IS {choose.choice(['', 'NOT '])}NULL)"
    return f"({name} BETWEEN {choose.choice(literals)} AND {choose.choice(literals)})"


def test_random_predicates(spark, settings, table, wire):
    """A failure prints the predicate; SEED makes the same ones again."""
    wire.visible(table)
    choose = random.Random(SEED)
    for number in range(60):
        where = random_predicate(choose)
        spark.conf.set("spark.sql.session.timeZone", ("UTC", "Asia/Shanghai", "America/New_York")[number % 3])
        try:
            on, plan = run(spark, settings, table, where, True)
            off, _ = run(spark, settings, table, where, False)
        finally:
            spark.conf.set("spark.sql.session.timeZone", "UTC")
        assert on == off, f"seed {SEED}, predicate {number}: {where}: {len(on)} and {len(off)} rows\n{plan}"


def test_projection_limit_and_count(spark, settings, table, wire):
    wire.visible(table)
    settings(snapshot=str(table))
    assert spark.sql("SELECT count(*) FROM magic.pushed.t").collect()[0][0] == ROWS
    assert len(spark.sql("SELECT 1 FROM magic.pushed.t").collect()) == ROWS
    assert spark.sql("SELECT s, id, s FROM magic.pushed.t WHERE id = 5").columns == ["s", "id", "s"]
    limited = spark.sql("SELECT id FROM magic.pushed.t LIMIT 10")
    assert "limit of each split: 10" in spark_lib.plan_text(limited)
    assert len({row[0] for row in limited.collect()}) == 10
    kept = spark.sql("SELECT id FROM magic.pushed.t WHERE s LIKE '%b%' LIMIT 10")
    assert "limit of each split" not in spark_lib.plan_text(kept)
    assert len(kept.collect()) == 10
    settings(pushdown__limit="false")
    assert "limit of each split" not in spark_lib.plan_text(spark.sql("SELECT id FROM magic.pushed.t LIMIT 10"))


def test_statistics_let_small_tables_be_broadcast(spark, settings, table, wire):
    wire.visible(table)
    settings(snapshot=str(table))
    joined = spark.sql("SELECT a.id FROM magic.pushed.t a JOIN magic.pushed.t b ON a.i32 = b.id")
    assert "BroadcastHashJoin" in spark_lib.plan_text(joined)


def test_a_scan_used_twice_is_read_once(spark, settings, table, wire):
    wire.visible(table)
    settings(snapshot=str(table))
    spark.conf.set("spark.sql.autoBroadcastJoinThreshold", "-1")
    try:
        frame = spark.sql(
            "SELECT count(*) FROM (SELECT i32, count(*) c FROM magic.pushed.t GROUP BY i32) a"
            " JOIN (SELECT i32, count(*) c FROM magic.pushed.t GROUP BY i32) b ON a.i32 = b.i32"
        )
        frame.collect()
        assert "ReusedExchange" in spark_lib.plan_text(frame)
    finally:
        spark.conf.unset("spark.sql.autoBroadcastJoinThreshold")
