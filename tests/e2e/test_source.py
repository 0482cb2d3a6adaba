"""format("magic"): the same rows, the same push-down and the same one snapshot as through a catalog.

SPDX-License-Identifier: Apache-2.0
"""

import pytest

from lib import spark as spark_lib
from lib.wire import Wire


def wait(cluster):
    """All that TiDB has committed by now."""
    with Wire(cluster.magicd.uri) as wire:
        wire.visible(cluster.tidb.now_ts(), 60)


@pytest.fixture(scope="module", autouse=True)
def tables(cluster):
    rows = ",".join(f"({number},{number % 7})" for number in range(500))
    cluster.tidb.run(
        "CREATE DATABASE plain",
        "CREATE TABLE plain.a (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE plain.`b.c` (id INT PRIMARY KEY, v INT)",
        f"INSERT INTO plain.a VALUES {rows}",
        f"INSERT INTO plain.`b.c` VALUES {rows}",
    )
    wait(cluster)


def read(spark, cluster, **options):
    return spark.read.format("magic").option("uri", cluster.magicd.uri).options(**options)


def test_rows_and_push_down(spark, cluster):
    frame = read(spark, cluster).load("plain.a").where("v = 3").groupBy().count()
    assert frame.collect()[0][0] == spark.sql("SELECT count(*) FROM magic.plain.a WHERE v = 3").collect()[0][0] == 71
    assert "PushedAggregates: " in spark_lib.plan_text(frame)


def test_one_snapshot(spark, cluster):
    first = read(spark, cluster).load("plain.a")
    second = read(spark, cluster, database="plain", table="b.c").load()
    frame = first.join(second.withColumnRenamed("v", "w"), "id").where("v <> w")
    assert frame.collect() == []
    spark_lib.snapshot(frame)


def test_an_older_snapshot(spark, cluster):
    frame = read(spark, cluster).load("plain.a")
    assert frame.count() == 500
    frame.collect()
    epoch, _ = spark_lib.snapshot(frame)
    cluster.tidb.run("INSERT INTO plain.a VALUES (1000, 1)")
    wait(cluster)
    assert read(spark, cluster, snapshot=f"epoch:{epoch}").load("plain.a").count() == 500
    assert read(spark, cluster).load("plain.a").count() == 501


@pytest.mark.parametrize(
    "name, options, says",
    [
        ("plain.a", {"uri": None}, "set option uri"),
        ("a", {}, "the path is 'a'"),
        ("plain.none", {}, "there is no table plain.none at"),
        ("plain.a", {"snapshot": "yesterday"}, "snapshot 'yesterday' is not understood"),
    ],
)
def test_errors(spark, cluster, name, options, says):
    reader = spark.read.format("magic")
    for key, value in ({"uri": cluster.magicd.uri} | options).items():
        reader = reader.option(key, value) if value else reader
    with pytest.raises(Exception, match=says):
        reader.load(name)
