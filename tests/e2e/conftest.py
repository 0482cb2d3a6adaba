"""What the end-to-end tests share: one cluster and one Spark session for all that do not break theirs.

SPDX-License-Identifier: Apache-2.0
"""

import itertools
import signal

import pytest

from lib import paths, spark as spark_lib
from lib.cluster import Cluster
from lib.compare import differences
from lib.wire import Wire


def pytest_sessionstart(session):
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended by SIGTERM", 143))  # so that what runs is ended, too
    missing = paths.missing()
    if missing:
        pytest.exit("not built: " + ", ".join(str(path) for path in missing) + "; 'tests/e2e/run' builds them", 2)


@pytest.fixture(scope="session")
def cluster():
    running = Cluster().start()
    yield running
    running.stop()
    left = running.left_behind()
    assert not left, "\n".join(left)


@pytest.fixture(scope="session")
def spark(cluster):
    session = spark_lib.session(cluster.magicd.uri)
    jvm = spark_lib.Jvm(session)
    yield session
    try:
        spark_lib.memory_is_given_back(jvm)
        assert jvm.leaks() == 0, f"{jvm.leaks()} tasks left Arrow memory behind"
    finally:
        spark_lib.end()


_names = itertools.count()


@pytest.fixture
def catalog_of(spark):
    """A catalog of Spark for another cluster: its name."""

    def add(cluster, **options):
        name = f"magic{next(_names)}"
        spark.conf.set(f"spark.sql.catalog.{name}", "io.magicstore.spark.MagicCatalog")
        spark.conf.set(f"spark.sql.catalog.{name}.uri", cluster.magicd.uri)
        spark.conf.set(f"spark.sql.catalog.{name}.splits", "4")
        for key, value in options.items():
            spark.conf.set(f"spark.sql.catalog.{name}.{key.replace('_', '-')}", value)
        return name

    return add


@pytest.fixture
def settings(spark):
    """Set session settings for one test."""
    changed = []

    def change(**pairs):
        for key, value in pairs.items():
            name = "spark.magic." + key.replace("__", ".").replace("_", "-")
            spark.conf.set(name, value)
            changed.append(name)

    yield change
    for name in changed:
        spark.conf.unset(name)


@pytest.fixture
def wire(cluster):
    with Wire(cluster.magicd.uri) as connection:
        yield connection


@pytest.fixture
def same(cluster, spark, settings):
    """Every row of a table, once a commit is visible: Spark against TiDB at the statement's own watermark.

    TiDB prints a FLOAT with 6 digits only; tidb_columns can ask for all of them."""

    def check(table, commit_ts, columns="*", kinds=None, tidb_columns=None):
        settings(snapshot=f"wait:{commit_ts}")
        frame = spark.sql(f"SELECT {columns} FROM magic.{table}")
        _, watermark = spark_lib.snapshot(frame)
        assert watermark >= commit_ts
        got = [tuple(row) for row in frame.collect()]
        expected = cluster.tidb.rows_at(watermark, f"SELECT {tidb_columns or columns} FROM {table}")
        wrong = differences(expected, got, kinds)
        assert not wrong, f"{table} at {watermark}:\n{wrong}"
        return got

    return check
