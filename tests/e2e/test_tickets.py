"""A ticket is its own proof: read again by another connection, after a task failed, and after magicd was killed and started again.

SPDX-License-Identifier: Apache-2.0
"""

import threading
import time

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from lib import spark as spark_lib, wait
from lib.cluster import Cluster
from lib.wire import Wire

ROWS = 120000


@pytest.fixture(scope="module")
def broken():
    """A cluster of its own, whose magicd is killed."""
    with Cluster() as cluster:
        cluster.tidb.run("CREATE DATABASE kept", "CREATE TABLE kept.t (id INT PRIMARY KEY, v BIGINT, note VARCHAR(60))")
        for start in range(0, ROWS, 5000):
            values = ",".join(f"({number},{number * 3},'note of row {number}')" for number in range(start, start + 5000))
            cluster.tidb.run(f"INSERT INTO kept.t VALUES {values}")
        with Wire(cluster.magicd.uri) as wire:
            wire.visible(cluster.tidb.now_ts())
        yield cluster


def test_a_ticket_is_read_again(broken):
    with Wire(broken.magicd.uri) as wire:
        plan = wire.plan("kept", "t", ["id", "v"], splits_wanted=4)
        assert len(plan.endpoints) == 4
        first = [wire.read(endpoint.ticket) for endpoint in plan.endpoints]
        broken.tidb.run("UPDATE kept.t SET v = v + 1 WHERE id % 1000 = 0")
        with Wire(broken.magicd.uri) as other:
            again = [other.read(endpoint.ticket) for endpoint in plan.endpoints]
    assert sum(table.num_rows for table in first) == ROWS
    assert [sorted(table.to_pylist(), key=str) for table in first] == [
        sorted(table.to_pylist(), key=str) for table in again
    ]
    broken.tidb.run("UPDATE kept.t SET v = v - 1 WHERE id % 1000 = 0")


def test_a_forged_ticket_is_refused(broken):
    with Wire(broken.magicd.uri) as wire:
        ticket = bytearray(wire.plan("kept", "t").endpoints[0].ticket.ticket)
        ticket[len(ticket) // 3] ^= 1
        with pytest.raises(pa.ArrowInvalid, match="not made by this store, or was changed"):
            wire.read(flight.Ticket(bytes(ticket)))


def test_a_ticket_outlives_a_kill(broken):
    with Wire(broken.magicd.uri) as wire:
        plan = wire.plan("kept", "t", ["id", "v"], splits_wanted=4)
        expected = sorted(row["v"] for endpoint in plan.endpoints for row in wire.read(endpoint.ticket).to_pylist())
    broken.tidb.run("UPDATE kept.t SET v = v + 7 WHERE id < 5000")
    broken.magicd.kill()
    broken.magicd.start()
    with Wire(broken.magicd.uri) as wire:
        wire.visible(broken.tidb.now_ts())
        got = sorted(row["v"] for endpoint in plan.endpoints for row in wire.read(endpoint.ticket).to_pylist())
        latest = wire.plan("kept", "t", ["v"])
        now = sum(wire.read(endpoint.ticket)["v"].to_pylist()[0] is not None for endpoint in latest.endpoints)
    assert got == expected and now


def test_a_query_outlives_a_kill(broken, spark, settings, catalog_of):
    """kill -9 in mid-query: tasks fail or wait, then go on with the same tickets; the rows are those of the first snapshot."""
    name = catalog_of(broken)
    jvm = spark_lib.Jvm(spark)
    expected = broken.tidb.run("SELECT count(*), sum(v), sum(crc32(note)) FROM kept.t")[0]
    settings(**{"test__pause_ms": "700"})
    for moment in (0.3, 1.5, 2.6):
        with Wire(broken.magicd.uri) as wire:
            wire.visible(broken.tidb.now_ts())
        frame = spark.sql(f"SELECT count(*), sum(v), sum(crc32(note)) FROM {name}.kept.t")
        spark_lib.snapshot(frame)
        answer = []
        tasks = jvm.tasks()
        thread = threading.Thread(target=lambda frame=frame, answer=answer: answer.append(frame.collect()[0]), daemon=True)
        thread.start()
        wait.until(lambda tasks=tasks: jvm.tasks() > tasks, 30, "a task reads")
        time.sleep(moment)
        broken.magicd.kill()
        broken.tidb_change = threading.Thread(
            target=broken.tidb.run, args=("UPDATE kept.t SET v = v + 1 WHERE id = 5",), daemon=True
        )
        broken.tidb_change.start()
        assert thread.is_alive(), "the query was over too early: this shows nothing"
        broken.magicd.start()
        thread.join(60)
        broken.tidb_change.join(30)
        assert answer and tuple(int(value) for value in answer[0]) == tuple(int(value) for value in expected)
        expected = broken.tidb.run("SELECT count(*), sum(v), sum(crc32(note)) FROM kept.t")[0]


def test_a_kept_frame_outlives_a_kill(broken, spark, catalog_of):
    """The lease of a planned statement lives on: renewed by its token, although the server that gave it is gone."""
    name = catalog_of(broken, **{"lease.ttl": "6s"})
    with Wire(broken.magicd.uri) as wire:
        wire.visible(broken.tidb.now_ts())
    frame = spark.sql(f"SELECT sum(v) FROM {name}.kept.t")
    first = frame.collect()
    broken.magicd.kill()
    broken.magicd.start()
    broken.tidb.run("UPDATE kept.t SET v = v + 1000 WHERE id = 9")
    time.sleep(10)
    assert frame.collect() == first


@pytest.mark.parametrize("interrupt", [False, True], ids=["told", "interrupted"])
def test_a_cancelled_query_ends_on_the_server(broken, spark, settings, catalog_of, interrupt):
    """Nor does it keep memory in the client, also when the task's thread was interrupted in the middle of a read."""
    name = catalog_of(broken, splits="1")  # one stream that is longer than what the client takes ahead
    settings(**{"test__pause_ms": "1000"})
    frame = spark.sql(f"SELECT * FROM {name}.kept.t ORDER BY note")
    jvm = spark_lib.Jvm(spark)

    def reads():
        """Calls under way, but for the one that asks."""
        with Wire(broken.magicd.uri) as wire:
            return int(wire.status()[("server", "calls")]) - 1

    thread = threading.Thread(target=lambda: pytest.raises(Exception, frame.collect), daemon=True)
    spark.sparkContext.setJobGroup("to-cancel", "a query that is cancelled", interruptOnCancel=interrupt)
    tasks = jvm.tasks()
    thread.start()
    wait.until(lambda: jvm.tasks() > tasks and reads() >= 1, 30, "a task reads")  # a call alone may be the plan's
    spark.sparkContext.cancelAllJobs()
    thread.join(30)
    assert not thread.is_alive()
    wait.until(lambda: reads() == 0, 10, "the server's scans end")
    spark_lib.memory_is_given_back(jvm)
