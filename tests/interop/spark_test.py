"""spark_test.py -- Spark with the client's jar reads the fixture: every type by formula, splits, states, snapshots while money moves.

    build/venv/bin/python -m pytest tests/interop/spark_test.py

SPDX-License-Identifier: Apache-2.0
"""
import datetime
import os
import sys

import pytest
from pyspark.sql import SparkSession

sys.path[:0] = [os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..", "e2e")]
import flight_data as data  # noqa: E402
import flight_server  # noqa: E402
from lib import spark as spark_lib  # noqa: E402


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    server = flight_server.Server([flight_server.FIXTURE, "serve", "--live", "2"], str(tmp_path_factory.mktemp("fixture")))
    shared = SparkSession.getActiveSession() is not None  # of the end-to-end tests, when they run in the same process
    session = spark_lib.session(server.uri, catalog="fixture")
    jvm = spark_lib.Jvm(session)
    yield session
    left = (jvm.leaks(), jvm.allocated())
    if not shared:
        spark_lib.end()
    server.stop()
    assert left == (0, 0), "Arrow memory was left behind"


def test_every_type(spark):
    got = [row.asDict() for row in spark.table("fixture.shop.types").orderBy("id").collect()]
    expected = [
        {name: value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value for name, value in row.items()}
        for row in data.TYPE_TABLE
    ]
    assert got == expected


def test_a_large_table_in_splits(spark):
    frame = spark.table("fixture.shop.big")
    assert frame.rdd.getNumPartitions() == 4
    got = sorted((row.asDict() for row in frame.collect()), key=lambda row: row["id"])
    assert got == [data.big_row(number) for number in range(100000)]
    assert spark.sql("SELECT count(*), sum(v) FROM fixture.shop.big").collect()[0][0] == 100000


def test_wide_rows(spark):
    got = {row["id"]: row["body"] for row in spark.table("fixture.shop.wide").collect()}
    assert got == {row["id"]: row["body"] for row in map(data.wide_row, range(data.WIDE_ROWS))}


def test_no_rows(spark):
    assert spark.table("fixture.shop.empty").collect() == []
    assert spark.table("fixture.shop.empty").count() == 0


def test_states_are_told_with_their_reasons(spark):
    shown = {row["tableName"] for row in spark.sql("SHOW TABLES IN fixture.shop").collect()}
    assert {"types", "broken", "stale"} <= shown
    with pytest.raises(Exception, match="TABLE_UNSUPPORTED: table shop.broken: column shape"):
        spark.table("fixture.shop.broken")
    with pytest.raises(Exception, match="TABLE_NEEDS_RELOAD.*shop.stale"):
        spark.table("fixture.shop.stale").collect()
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark.table("fixture.shop.none")
    with pytest.raises(Exception, match="read only"):
        spark.sql("DROP TABLE fixture.shop.types")


@pytest.mark.parametrize("moment", [1, 25, 50])
def test_history(spark, moment):
    rows = spark.sql(f"SELECT * FROM fixture.shop.history VERSION AS OF '{1000 + moment}'").collect()
    assert [row[1] for row in rows] == [moment] * data.HISTORY_ROWS


def test_sums_of_two_tables_stay_zero(spark):
    seen = set()
    for _ in range(30):
        frame = spark.sql("SELECT (SELECT sum(v) FROM fixture.shop.left) + (SELECT sum(v) FROM fixture.shop.right)")
        assert frame.collect()[0][0] == 0
        seen.add(spark_lib.snapshot(frame))
    assert len(seen) > 10, "money stood still"


def test_a_client_without_one_snapshot_would_be_noticed(spark):
    spark.conf.set("spark.magic.test.latest-per-split", "true")
    try:
        wrong = sum(
            spark.sql("SELECT (SELECT sum(v) FROM fixture.shop.left) + (SELECT sum(v) FROM fixture.shop.right)").collect()[0][0] != 0
            for _ in range(60)
        )
    finally:
        spark.conf.unset("spark.magic.test.latest-per-split")
    assert wrong > 0
