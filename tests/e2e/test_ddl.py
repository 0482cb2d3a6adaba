"""DDL in scope is followed; what is not in scope is visible, with its reason, while all others go on.

SPDX-License-Identifier: Apache-2.0
"""

import pytest

from lib import spark as spark_lib, wait


def state(wire, database, table):
    found = wire.tables(database, table)
    return (found[0].state, found[0].reason) if found else None


def test_columns_and_tables_are_followed(cluster, same):
    change = cluster.tidb.change
    ts = change(
        "CREATE DATABASE followed",
        "CREATE TABLE followed.t (id INT PRIMARY KEY, a INT)",
        "INSERT INTO followed.t VALUES (1,1),(2,2)",
    )
    same("followed.t", ts)
    ts = change("ALTER TABLE followed.t ADD COLUMN b VARCHAR(20) NOT NULL DEFAULT 'given'", "INSERT INTO followed.t VALUES (3,3,'own')")
    assert {row[2] for row in same("followed.t", ts)} == {"given", "own"}
    ts = change("ALTER TABLE followed.t ADD COLUMN c DECIMAL(10,2) FIRST", "UPDATE followed.t SET c = 1.25 WHERE id = 1")
    same("followed.t", ts)
    ts = change("ALTER TABLE followed.t RENAME COLUMN a TO renamed", "UPDATE followed.t SET renamed = 10 WHERE id = 2")
    same("followed.t", ts)
    ts = change("ALTER TABLE followed.t DROP COLUMN b", "INSERT INTO followed.t VALUES (NULL,4,4)")
    same("followed.t", ts)
    ts = change("ALTER TABLE followed.t ADD COLUMN b BIGINT", "UPDATE followed.t SET b = 5 WHERE id = 4")
    same("followed.t", ts)
    ts = change("RENAME TABLE followed.t TO followed.other", "INSERT INTO followed.other (id) VALUES (5)")
    same("followed.other", ts)
    ts = change("TRUNCATE TABLE followed.other", "INSERT INTO followed.other (id) VALUES (50)")
    assert len(same("followed.other", ts)) == 1
    ts = change(
        "DROP TABLE followed.other",
        "CREATE TABLE followed.other (id INT PRIMARY KEY, z VARCHAR(5))",
        "INSERT INTO followed.other VALUES (9,'z')",
    )
    assert same("followed.other", ts) == [(9, "z")]


def test_dropped_ones_are_gone(cluster, spark, wire):
    ts = cluster.tidb.change(
        "CREATE DATABASE dropped", "CREATE TABLE dropped.a (id INT PRIMARY KEY)", "CREATE TABLE dropped.b (id INT PRIMARY KEY)",
        "INSERT INTO dropped.a VALUES (1)",
    )  # fmt: skip
    wire.visible(ts)
    assert {row["tableName"] for row in spark.sql("SHOW TABLES IN magic.dropped").collect()} == {"a", "b"}
    cluster.tidb.change("DROP TABLE dropped.a")
    wait.until(lambda: state(wire, "dropped", "a") is None, 20, "dropped.a goes")
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark.table("magic.dropped.a")
    cluster.tidb.change("DROP DATABASE dropped")
    wait.until(lambda: not wire.tables("dropped"), 20, "the database goes")


def test_a_database_without_tables_is_there(cluster, spark, wire):
    def shown(pattern):
        return [row[0] for row in spark.sql(f"SHOW NAMESPACES IN magic LIKE '{pattern}'").collect()]

    def tables(database):
        return spark.sql(f"SHOW TABLES IN magic.{database}").collect()

    change = cluster.tidb.change
    change("CREATE DATABASE hollow")
    wait.until(lambda: wire.databases("hollow"), 20, "the database comes")
    assert wire.databases("HOLLOW") == ["hollow"] and "hollow" in wire.databases()
    assert shown("hollow*") == ["hollow"] and tables("hollow") == []
    assert spark.catalog.databaseExists("magic.hollow")
    with pytest.raises(Exception, match="SCHEMA_NOT_FOUND"):
        tables("hollow_too")
    assert not spark.catalog.databaseExists("magic.hollow_too")
    ts = change("CREATE TABLE hollow.t (id INT PRIMARY KEY)", "INSERT INTO hollow.t VALUES (1)")
    wire.visible(ts)
    assert [row["tableName"] for row in tables("hollow")] == ["t"]
    change("DROP TABLE hollow.t")
    wait.until(lambda: not wire.tables("hollow"), 20, "the table goes")
    assert shown("hollow*") == ["hollow"] and tables("hollow") == []
    change("DROP DATABASE hollow")
    wait.until(lambda: not wire.databases("hollow"), 20, "the database goes")
    assert shown("hollow*") == [] and not spark.catalog.databaseExists("magic.hollow")
    assert wire.databases("hollow", as_of_ts=ts) == ["hollow"], "older snapshots keep it"


def test_a_statement_keeps_the_schema_it_was_analysed_with(cluster, spark, wire):
    """Columns are found by their ids; one that is gone is SCHEMA_CHANGED, not another column of the same name."""
    change = cluster.tidb.change
    wire.visible(change(
        "CREATE DATABASE moved",
        "CREATE TABLE moved.t (id INT PRIMARY KEY, a INT, b INT)",
        "INSERT INTO moved.t VALUES (1,2,3)",
    ))
    whole = spark.sql("SELECT id, a, b FROM magic.moved.t WHERE b = 3")
    part = spark.sql("SELECT id, a FROM magic.moved.t")
    summed = spark.sql("SELECT b, sum(a), max(a + b) FROM magic.moved.t GROUP BY b")
    first = spark.sql("SELECT id FROM magic.moved.t ORDER BY a DESC, id LIMIT 1")
    wire.visible(change(
        "ALTER TABLE moved.t RENAME COLUMN a TO renamed",
        "ALTER TABLE moved.t ADD COLUMN a INT DEFAULT 99",
        "INSERT INTO moved.t VALUES (2,4,3,6)",
    ))
    assert sorted(map(tuple, whole.collect())) == [(1, 2, 3), (2, 4, 3)]
    assert "PushedAggregates" in spark_lib.plan_text(summed) and summed.collect() == [(3, 6, 7)]
    assert "PushedTopN" in spark_lib.plan_text(first) and first.collect() == [(2,)]
    wire.visible(change(
        "ALTER TABLE moved.t DROP COLUMN b",
        "ALTER TABLE moved.t ADD COLUMN b INT DEFAULT 3",
        "INSERT INTO moved.t (id) VALUES (3)",
    ))
    assert sorted(map(tuple, part.select("*").collect())) == [(1, 2), (2, 4), (3, None)]
    with pytest.raises(Exception, match="SCHEMA_CHANGED.*b int32"):
        whole.select("*").collect()
    assert sorted(map(tuple, whole.collect())) == [(1, 2, 3), (2, 4, 3)], "a planned statement keeps its snapshot"


def test_older_snapshots_keep_their_schema(cluster, spark, wire):
    change = cluster.tidb.change
    ts = change("CREATE DATABASE past", "CREATE TABLE past.t (id INT PRIMARY KEY, old INT)", "INSERT INTO past.t VALUES (1,2)")
    wire.visible(ts)
    wire.visible(change(
        "ALTER TABLE past.t DROP COLUMN old",
        "ALTER TABLE past.t ADD COLUMN new INT DEFAULT 7",
        "INSERT INTO past.t VALUES (2,8)",
    ))
    assert spark.sql(f"SELECT * FROM magic.past.t VERSION AS OF '{ts}'").collect() == [(1, 2)]
    assert sorted(spark.sql("SELECT * FROM magic.past.t").collect()) == [(1, 7), (2, 8)]


def test_what_is_not_in_scope_is_named(cluster, spark, wire, same):
    change = cluster.tidb.change
    ts = change(
        "CREATE DATABASE beyond",
        "CREATE TABLE beyond.fine (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE beyond.json_type (id INT PRIMARY KEY, payload JSON)",
        "CREATE TABLE beyond.ci_key (k VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
        "CREATE TABLE beyond.casted (id INT PRIMARY KEY, v INT)",
        "INSERT INTO beyond.fine VALUES (1,1)",
        "INSERT INTO beyond.json_type VALUES (1,'{}')",
        "INSERT INTO beyond.ci_key VALUES ('a',1)",
        "INSERT INTO beyond.casted VALUES (1,1)",
    )
    wire.visible(ts)
    told, reason = state(wire, "beyond", "json_type")
    assert told == "unsupported" and "payload" in reason and "json" in reason.lower()
    told, reason = state(wire, "beyond", "ci_key")
    assert told == "unsupported" and "k" in reason and "general_ci" in reason
    with pytest.raises(Exception, match="TABLE_UNSUPPORTED.*payload"):
        spark.table("magic.beyond.json_type")
    same("beyond.casted", ts)
    later = change(
        "ALTER TABLE beyond.casted MODIFY COLUMN v VARCHAR(20)",
        "INSERT INTO beyond.fine VALUES (2,2)",
        "INSERT INTO beyond.casted VALUES (2,'x')",
    )
    same("beyond.fine", later)
    told, reason = state(wire, "beyond", "casted")
    assert told == "needs-reload" and reason
    with pytest.raises(Exception, match="TABLE_NEEDS_RELOAD"):
        spark.table("magic.beyond.casted").collect()
    assert spark.sql(f"SELECT * FROM magic.beyond.casted VERSION AS OF '{ts}'").collect() == [(1, 1)]
    shown = cluster.magicd.magic("sql", "-e", "SHOW TABLES FROM beyond")
    assert "unsupported" in shown and "needs-reload" in shown and "payload" in shown


def test_ddl_between_statements_of_one_frame(cluster, spark, wire):
    change = cluster.tidb.change
    wire.visible(change("CREATE DATABASE grows", "CREATE TABLE grows.t (id INT PRIMARY KEY)", "INSERT INTO grows.t VALUES (1)"))
    frame = spark.table("magic.grows.t")
    wire.visible(change("ALTER TABLE grows.t ADD COLUMN more INT DEFAULT 5", "INSERT INTO grows.t VALUES (2,6)"))
    assert frame.count() == 2
    again = spark.table("magic.grows.t")
    assert sorted(map(tuple, again.collect())) == [(1, 5), (2, 6)]
    assert spark_lib.snapshot(again)
