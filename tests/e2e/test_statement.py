"""One snapshot for all tables of a statement, whatever its shape; another one for the next.

SPDX-License-Identifier: Apache-2.0
"""

import gc
import re
import threading
import time

import pytest

from lib import paths, spark as spark_lib, wait

ROWS = 8000


@pytest.fixture(scope="module")
def pair(cluster):
    """Two tables that one writer keeps equal, transaction by transaction."""
    rows = ",".join(f"({number},0)" for number in range(ROWS))
    cluster.tidb.run(
        "CREATE DATABASE pair",
        "CREATE TABLE pair.a (id INT PRIMARY KEY, v BIGINT)",
        "CREATE TABLE pair.b (id INT PRIMARY KEY, v BIGINT)",
        f"INSERT INTO pair.a VALUES {rows}",
        f"INSERT INTO pair.b VALUES {rows}",
    )
    stop = threading.Event()
    written = []

    def write():
        with cluster.tidb.connect() as connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute("BEGIN")
                cursor.execute(f"UPDATE pair.a SET v = {number} WHERE id % 50 = {number % 50}")
                cursor.execute(f"UPDATE pair.b SET v = {number} WHERE id % 50 = {number % 50}")
                cursor.execute("COMMIT")
                written.append(number)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    while len(written) < 20:
        assert thread.is_alive()
        time.sleep(0.05)
    yield written
    stop.set()
    thread.join(10)


SHAPES = {
    "join": "SELECT count(*) FROM magic.pair.a JOIN magic.pair.b USING (id) WHERE a.v <> b.v",
    "outer join": "SELECT count(*) FROM magic.pair.a FULL JOIN magic.pair.b ON a.id = b.id AND a.v = b.v"
    " WHERE a.id IS NULL OR b.id IS NULL",
    "scalar subqueries": "SELECT (SELECT sum(v) FROM magic.pair.a) - (SELECT sum(v) FROM magic.pair.b)",
    "in": "SELECT count(*) FROM magic.pair.a WHERE NOT (v IN (SELECT v FROM magic.pair.b))",
    "exists": "SELECT count(*) FROM magic.pair.a WHERE NOT EXISTS"
    " (SELECT 1 FROM magic.pair.b WHERE b.id = a.id AND b.v = a.v)",
    "cte": "WITH x AS (SELECT id, v FROM magic.pair.a), y AS (SELECT id, v FROM magic.pair.b)"
    " SELECT count(*) FROM x JOIN y USING (id) WHERE x.v <> y.v",
    "union": "SELECT sum(n) FROM (SELECT sum(v) n FROM magic.pair.a UNION ALL SELECT -sum(v) FROM magic.pair.b)",
    "except": "SELECT count(*) FROM (SELECT id, v FROM magic.pair.a EXCEPT SELECT id, v FROM magic.pair.b)",
    "self join": "SELECT count(*) FROM magic.pair.a x JOIN magic.pair.a y USING (id) WHERE x.v <> y.v",
    "correlated": "SELECT sum(d) FROM (SELECT v - (SELECT max(v) FROM magic.pair.b WHERE b.id = a.id) d FROM magic.pair.a)",
    "nested": "SELECT count(*) FROM magic.pair.a WHERE v > (SELECT max(v) FROM magic.pair.b WHERE id IN"
    " (SELECT id FROM magic.pair.a))",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_one_snapshot(spark, pair, shape):
    before = len(pair)
    statements = 0
    while statements < 4 or len(pair) < before + 2:
        frame = spark.sql(SHAPES[shape])
        assert frame.collect()[0][0] == 0, spark_lib.plan_text(frame)
        spark_lib.snapshot(frame)
        statements += 1
        assert statements < 1000, "the writer stands still: this shows nothing"


FORMS = {
    "join": ("SELECT a.id, a.v x, b.v y FROM magic.pair.a JOIN magic.pair.b USING (id)", 2),
    "union": ("SELECT id, sum(v) x, 0 y FROM (SELECT id, v FROM magic.pair.a UNION ALL SELECT id, -v FROM magic.pair.b) GROUP BY id", 2),
    "scalar subqueries": ("SELECT id, (SELECT sum(v) FROM magic.pair.a) x, (SELECT sum(v) FROM magic.pair.b) y FROM magic.pair.a", 3),
    "nested subqueries": ("SELECT id, 0 x, v y FROM magic.pair.a WHERE v > (SELECT max(v) FROM magic.pair.b WHERE id IN"
                          " (SELECT id FROM magic.pair.a WHERE v >= (SELECT min(v) FROM magic.pair.b)))", 4),
    "cte used twice": ("WITH w AS (SELECT id, v FROM magic.pair.a) SELECT l.id, l.v x, b.v y FROM w l JOIN w r USING (id)"
                       " JOIN magic.pair.b USING (id) WHERE r.v = l.v", 2),
}  # fmt: skip


@pytest.mark.parametrize("adaptive", ["true", "false"], ids=["adaptive", "static"])
@pytest.mark.parametrize("form", FORMS)
def test_the_executed_plan_has_one_snapshot(spark, pair, form, adaptive):
    """Walks the plan that ran, node by node."""
    query, least = FORMS[form]
    spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        frame = spark.sql(query)
        assert all(row["x"] == row["y"] for row in frame.collect())
        found = spark_lib.scans(frame._jdf.queryExecution().executedPlan())
        assert len(found) >= least, spark_lib.plan_text(frame)
        assert len({spark_lib.SNAPSHOT.search(text).groups() for text in found}) == 1, found
    finally:
        spark.conf.unset("spark.sql.adaptive.enabled")


def written_snapshots(spark, before):
    """Of the statements that Spark ran behind number `before`."""
    plans = [one.physicalPlanDescription() for one in spark_lib.executions(spark) if one.executionId() > before]
    assert plans
    return {found for plan in plans for found in spark_lib.SNAPSHOT.findall(plan)}


BOTH = "SELECT a.id, a.v x, b.v y FROM magic.pair.a JOIN magic.pair.b USING (id)"
APART = "SELECT id, v x, v - (SELECT sum(v) FROM magic.pair.a) + (SELECT sum(v) FROM magic.pair.b) y FROM magic.pair.b"


@pytest.mark.parametrize("query", [BOTH, APART], ids=["join", "subqueries"])
@pytest.mark.parametrize("how", ["create", "insert", "overwrite", "two inserts", "write"])
def test_what_is_written_is_of_one_snapshot(spark, pair, how, query):
    """Into Parquet, by CTAS, INSERT ... SELECT and DataFrames."""
    spark.sql("DROP TABLE IF EXISTS kept")
    spark.sql("DROP TABLE IF EXISTS kept_too")
    for table in ("kept", "kept_too"):
        if how != "create":
            spark.sql(f"CREATE TABLE {table} (id INT, x BIGINT, y BIGINT) USING parquet")
    before = spark_lib.last_execution(spark)
    written = len(pair)
    if how == "create":
        spark.sql(f"CREATE TABLE kept USING parquet AS {query}")
    elif how == "insert":
        spark.sql(f"INSERT INTO kept {query}")
    elif how == "overwrite":
        spark.sql(f"INSERT OVERWRITE kept {query}")
    elif how == "two inserts":
        spark.sql(f"FROM ({query}) INSERT INTO kept SELECT id, x, y WHERE id % 2 = 0 INSERT INTO kept_too SELECT id, x, y WHERE id % 2 = 1")
        spark.sql("INSERT INTO kept SELECT * FROM kept_too")
    else:
        spark.sql(query).write.mode("append").insertInto("kept")
    # Spark 3.5 runs each INSERT of a statement as one of its own.
    most = 2 if how == "two inserts" and paths.SPARK_LINE == "3.5" else 1
    assert 1 <= len(written_snapshots(spark, before)) <= most
    assert spark.sql("SELECT count(*), count(CASE WHEN x <> y THEN 1 END) FROM kept").collect()[0] == (ROWS, 0)
    while len(pair) == written:
        time.sleep(0.01)
    for table in ("kept", "kept_too"):
        spark.sql(f"DROP TABLE IF EXISTS {table}")


def test_frames_that_were_built_apart_are_written_at_one_snapshot(spark, pair):
    left = spark.table("magic.pair.a").withColumnRenamed("v", "x")
    written = len(pair)
    while len(pair) < written + 20:
        time.sleep(0.01)
    right = spark.table("magic.pair.b").withColumnRenamed("v", "y")
    spark.sql("DROP TABLE IF EXISTS kept")
    before = spark_lib.last_execution(spark)
    left.join(right, "id").write.format("parquet").saveAsTable("kept")
    assert len(written_snapshots(spark, before)) == 1
    assert spark.sql("SELECT count(*) FROM kept WHERE x = y").collect()[0][0] == ROWS
    spark.sql("DROP TABLE kept")


def test_views_share_it(spark, pair):
    spark.table("magic.pair.a").createOrReplaceTempView("va")
    spark.sql("CREATE OR REPLACE TEMP VIEW vb AS SELECT * FROM magic.pair.b")
    for _ in range(4):
        frame = spark.sql("SELECT count(*) FROM va JOIN vb USING (id) WHERE va.v <> vb.v")
        assert frame.collect()[0][0] == 0
        spark_lib.snapshot(frame)


def test_frames_that_were_built_apart_share_it(cluster, spark, pair):
    left = spark.table("magic.pair.a")
    written = len(pair)
    while len(pair) < written + 20:
        time.sleep(0.01)
    right = spark.table("magic.pair.b")
    for _ in range(4):
        joined = left.join(right, "id").where(left.v != right.v)
        assert joined.collect() == []
        spark_lib.snapshot(joined)


def test_two_actions_are_two_snapshots(spark, pair):
    frame = spark.sql("SELECT max(v) FROM magic.pair.a")
    first = frame.collect()
    written = len(pair)
    while len(pair) < written + 100:
        time.sleep(0.01)
    assert frame.collect() == first, "one DataFrame collected twice is one statement"
    again = frame.select("*")
    assert again.collect()[0][0] > first[0][0], "another statement reads a newer snapshot"
    assert spark_lib.snapshot(again) > spark_lib.snapshot(frame)


def test_cached_data_is_named_by_explain(spark, pair):
    cached = spark.table("magic.pair.a").cache()
    try:
        assert cached.where("v < 0").count() == 0
        epoch, _ = spark_lib.snapshots(cached)[0]
        frame = spark.table("magic.pair.a").where("v >= 0")
        assert frame.count() == ROWS
        assert f"snapshot: epoch {epoch}," in spark_lib.plan_text(frame)
        assert "InMemoryTableScan" in spark_lib.plan_text(frame)
        written = len(pair)
        while len(pair) < written + 100:
            time.sleep(0.01)
        mixed = spark.table("magic.pair.a").join(spark.table("magic.pair.b"), "id")
        assert mixed.count() == ROWS
        marks = spark_lib.snapshots(mixed)
        assert len(marks) == 2 and marks[0][0] == epoch < marks[1][0], marks
        moments = re.findall(r"age (\d+) ms at (20\d\d-\d\d-\d\dT[\d:.]+Z)", spark_lib.plan_text(mixed))
        assert len({moment for _, moment in moments}) == 2, "each says when it was"
    finally:
        cached.unpersist()


def test_as_of(cluster, spark, pair, wire):
    """VERSION AS OF a commit_ts and TIMESTAMP AS OF: the rows of that time, also much later."""
    marked = wire.visible(cluster.tidb.now_ts())
    expected = cluster.tidb.rows_at(marked, "SELECT sum(v) FROM pair.a")[0][0]
    written = len(pair)
    while len(pair) < written + 100:
        time.sleep(0.01)
    frame = spark.sql(f"SELECT sum(v) FROM magic.pair.a VERSION AS OF '{marked}'")
    assert frame.collect()[0][0] == expected
    epoch, watermark = spark_lib.snapshot(frame)
    assert watermark <= marked
    assert spark.sql(f"SELECT sum(v) FROM magic.pair.a VERSION AS OF 'epoch:{epoch}'").collect()[0][0] == expected
    millis = (marked >> 18) + 1
    moment = f"timestamp_micros({millis * 1000})"
    frame = spark.sql(f"SELECT sum(v) FROM magic.pair.b TIMESTAMP AS OF {moment}")
    _, watermark = spark_lib.snapshot(frame)
    assert frame.collect()[0][0] == cluster.tidb.rows_at(watermark, "SELECT sum(v) FROM pair.b")[0][0]
    both = spark.sql(f"SELECT (SELECT sum(v) FROM magic.pair.a VERSION AS OF '{marked}') - (SELECT sum(v) FROM magic.pair.a)")
    assert both.collect()[0][0] < 0
    assert len(spark_lib.snapshots(both)) == 2


def test_the_sessions_snapshot(cluster, spark, pair, wire, settings):
    marked = wire.visible(cluster.tidb.now_ts())
    written = len(pair)
    while len(pair) < written + 50:
        time.sleep(0.01)
    settings(snapshot=str(marked))
    expected = cluster.tidb.rows_at(marked, "SELECT sum(v) FROM pair.a")[0][0]
    for _ in range(3):
        frame = spark.sql("SELECT sum(v) FROM magic.pair.a")
        assert frame.collect()[0][0] == expected
        assert spark_lib.snapshot(frame)[1] <= marked
    explicit = spark.sql(f"SELECT sum(v) FROM magic.pair.a VERSION AS OF '{cluster.tidb.now_ts()}'")
    assert spark_lib.snapshot(explicit)[1] > marked, "AS OF in the text goes before the setting"
    settings(snapshot="yesterday")
    with pytest.raises(Exception, match="snapshot 'yesterday' is not understood"):
        spark.sql("SELECT 1 FROM magic.pair.a").collect()


def test_an_old_frame_says_how_to_go_on(cluster, spark, pair, catalog_of):
    """A lease that is not renewed any more: a clear error, never other rows."""
    name = catalog_of(cluster, **{"lease.ttl": "2s", "lease.max_age": "8s"})
    planned = spark.sql(f"SELECT sum(v) FROM {name}.pair.a")
    spark_lib.plan_text(planned)
    read = spark.sql(f"SELECT id, v FROM {name}.pair.a")
    first = sorted(read.collect())
    time.sleep(12)
    with pytest.raises(Exception, match="SNAPSHOT_EXPIRED.*Run the statement again"):
        planned.collect()
    with pytest.raises(Exception, match="SNAPSHOT_EXPIRED.*Run the statement again"):
        assert sorted(read.collect()) == first
        pytest.fail("the store still reads tickets of a lease that was released, with the rows of then")
    assert spark.sql(f"SELECT count(*) FROM {name}.pair.a").collect()[0][0] == ROWS


def test_leases_are_released(spark, pair, wire):
    """What no plan refers to any more is let go."""

    def leases():
        return {name for group, name in wire.status() if group == "lease" and name != "leases"}

    def collect():
        gc.collect()
        spark._jvm.System.gc()
        return leases()

    before = leases()
    held = [spark.sql("SELECT count(*) FROM magic.pair.a") for _ in range(10)]
    assert all(frame.collect()[0][0] == ROWS for frame in held)
    taken = leases() - before
    assert len(taken) >= 10
    held.clear()
    # Idle threads of Spark keep the last plan for a minute.
    wait.until(lambda: not collect() & taken, 150, "leases are released", step=1)
