"""Lag and status are true: small when idle, and naming the transaction that holds everything back.

SPDX-License-Identifier: Apache-2.0
"""

import time

from lib import wait
from lib.pump_client import PREWRITE, ROLLBACK, PumpClient, binlog, cluster_id, no_change


def test_the_watermark_moves_on_while_idle(cluster, wire):
    wait.until(lambda: wire.lag().state == "running", 20, "it runs: a TiDB that starts is asked again after up to 5 s")
    time.sleep(1)
    marks = []
    for _ in range(20):
        lag = wire.lag()
        assert lag.state == "running", (lag.state, lag.reason)
        assert 0 <= lag.lag_ms < 2000, lag.lag_ms
        assert lag.open_txns == 0
        marks.append(lag.watermark_ts)
        time.sleep(0.2)
    assert marks == sorted(marks) and marks[-1] > marks[0]
    age_ms = time.time() * 1000 - (marks[-1] >> 18)
    assert age_ms < 2500


def test_a_commit_is_visible_soon(cluster, wire):
    cluster.tidb.run("CREATE DATABASE lagging", "CREATE TABLE lagging.t (id INT PRIMARY KEY, v INT)", "INSERT INTO lagging.t VALUES (1,0)")
    waits = []
    for number in range(50):
        commit_ts = cluster.tidb.change(f"UPDATE lagging.t SET v = {number} WHERE id = 1")
        began = time.monotonic()
        assert wire.visible(commit_ts, 10) >= commit_ts
        waits.append((time.monotonic() - began) * 1000)
    waits.sort()
    print(f"\ncommit to visible, one at a time: p50 {waits[25]:.1f} ms, p98 {waits[48]:.1f} ms")
    assert waits[25] < 1000


def test_a_blocking_transaction_is_named(cluster, wire):
    """A prewrite whose end never comes, as its TiDB lives and says nothing."""
    cluster.tidb.run("CREATE DATABASE blocked", "CREATE TABLE blocked.t (id INT PRIMARY KEY, v INT)", "INSERT INTO blocked.t VALUES (1,1)")
    wire.visible(cluster.tidb.now_ts())
    table_id = cluster.tidb.run("SELECT tidb_table_id FROM information_schema.tables WHERE table_schema='blocked' AND table_name='t'")[0][0]
    start_ts = cluster.tidb.now_ts()
    key = b"t" + (int(table_id) ^ 1 << 63).to_bytes(8, "big") + b"_r" + (12345 ^ 1 << 63).to_bytes(8, "big")
    pump = PumpClient(cluster.magicd.socket, cluster_id(cluster.tidb.pd_port))
    try:
        pump.write(binlog(PREWRITE, start_ts, prewrite_key=key, prewrite_value=no_change(1, int(table_id))))
        lag = wait.until(lambda: (lambda one: one if one.oldest_open_start_ts else None)(wire.lag()), 20, "it is named")
        assert lag.oldest_open_start_ts == start_ts
        assert lag.open_txns >= 1
        assert list(lag.oldest_open_tables) == ["blocked.t"], list(lag.oldest_open_tables)
        commit_ts = cluster.tidb.change("UPDATE blocked.t SET v = 2 WHERE id = 1")
        time.sleep(3)
        lag = wire.lag()
        assert lag.watermark_ts < commit_ts, "nothing at or above an open transaction may be shown"
        assert lag.lag_ms > 2500 and lag.oldest_open_age_ms > 2500 and lag.waiting_txns >= 1
        text = cluster.magicd.magic("lag")
        assert str(start_ts) in text and "blocked.t" in text, text
        pump.write(binlog(ROLLBACK, start_ts, prewrite_key=key))
    finally:
        pump.close()
    assert wire.visible(commit_ts, 30) >= commit_ts
    assert wire.lag().oldest_open_start_ts == 0


def test_a_source_that_is_not_there_is_told(cluster, tmp_path):
    """A magicd whose TiDB has not come yet waits, and says so."""
    from lib.magicd import Magicd
    from lib.tidb import Tidb
    from lib.wire import Wire

    lonely = Magicd(tmp_path / "magicd", tidb=Tidb(tmp_path / "tidb")).start()
    try:
        with Wire(lonely.uri) as wire:
            lag = wait.until(lambda: (lambda one: one if one.state == "waiting" else None)(wire.lag()), 15, "it waits")
            assert lag.reason
    finally:
        assert lonely.stop() == 0
