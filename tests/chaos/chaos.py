"""kill -9 of magicd under load, at random and at every named step; TiDB writes on, and nothing may be lost or doubled.

Each round starts magicd, armed to kill itself at the Nth pass of one step (MAGIC_STOP), or kills it at a random moment. Every step of
buffer, sorter, writer, WAL and publish has its round; a step that is not reached fails the test. TiDB must live through all
of it: it ends its process when no pump answers for 15 s. At the end the writers stop, and every table is compared with TiDB row by row.

Deterministic from the seed: the order of rounds, each N, delays, and what the clients do; not how they interleave.
SPDX-License-Identifier: Apache-2.0
"""

import argparse
import random
import re
import signal
import sys
import tempfile
import time
import shutil
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import pyarrow  # noqa: E402
import pyarrow.flight as flight  # noqa: E402

from lib import paths, process, wait  # noqa: E402
from lib.magicd import Magicd  # noqa: E402
from lib.tidb import Tidb  # noqa: E402
from lib.wire import Wire  # noqa: E402
from workload import Workload  # noqa: E402

# How often a step is passed in normal running, so which N is soon reached. Steps that a start passes too need an N above that.
PASSES = {
    "buffer.segment": (1, 1),
    "buffer.trim": (1, 1),
    "sorter.settled": (1, 3),
    "writer.batch": (1, 4),
    "writer.ddl": (1, 4),
    "wal.segment": (1, 1),
    "spill.written": (1, 3),
    "spill.staged": (1, 3),
    "publish.parts": (1, 1),
    "compact.planned": (1, 6),
    "part.written": (1, 6),
    "marks.followed": (1, 6),
    "install.turn": (1, 6),
    "marks.written": (1, 6),
    "manifest.written": (1, 6),
    "manifest.synced": (1, 6),
    "install.swapped": (1, 6),
    "keeper.unlink": (1, 6),
    "keeper.trim": (1, 6),
    "checkpoint.noted": (1, 6),
    "at.kept": (1, 6),
    "at.rebuilt": (1, 6),
    "sealed.written": (1, 3),
    "sealed.shown": (1, 3),
    "engine.close": (1, 1),
}
PASSES_OFTEN = (5, 150)
NEED_READERS = ("sealed.written", "sealed.shown", "snapshot.pinned", "scan.next", "latch.acquired", "at.kept", "at.rebuilt")
NEED_BULK = ("wal.segment", "buffer.segment", "buffer.trim", "writer.batch", "spill.written", "spill.staged", "publish.parts")
HIT_SECONDS = 120
LEFT_OUT_DATABASES = ("information_schema", "mysql", "performance_schema", "metrics_schema", "sys", "test")


def steps():
    """The names in src/base/stops.def: a new one needs no change here."""
    text = (ROOT / "src" / "base" / "stops.def").read_text(encoding="utf-8")
    return re.findall(r'^MG_X\("([^"]+)"', text, re.M)


# Small, so that flushes, merges and checkpoints happen all the time.
FLAGS = ["--wal-segment", "1MiB", "--delta-segment", "64KiB", "--epoch-memory", "2MiB", "--snapshot-memory", "1"]
FLAGS += ["--checkpoint-interval", "1s", "--checkpoint-wal", "2MiB"]


class ArmedMagicd(Magicd):
    def start(self, stop=""):
        address = self.folder / "address"
        address.unlink(missing_ok=True)
        env = {"MAGIC_STOP": stop} if stop else {}
        self.program = process.Program("magicd", self.argv(), self.folder / "magicd.log", env=env)
        return self

    def until_ready(self):
        address = self.folder / "address"
        self.program.until(address.exists, 120, "is not ready")


class Chaos:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.folder = Path(tempfile.mkdtemp(prefix="magic-chaos-"))
        self.tidb = Tidb(self.folder / "tidb", keep=True)
        self.magicd = ArmedMagicd(self.folder / "magicd", tidb=self.tidb, flags=FLAGS)
        self.workload = Workload(self.tidb, options.seed)
        self.watermark = 0
        self.longest_away = 0.0

    def rounds(self):
        """(step, N), or (None, seconds until the kill). Those that need bulk come last: they make every later start slower."""
        names = self.options.only.split(",") if self.options.only else steps()
        early = [name for name in names if name not in NEED_BULK]
        early += [None] * max(0, self.options.kills - len(names))
        self.random.shuffle(early)
        rounds = []
        for name in early + [name for name in names if name in NEED_BULK]:
            if name is None:
                rounds.append((None, self.random.uniform(0.05, 3)))
            else:
                rounds.append((name, self.random.randint(*PASSES.get(name, PASSES_OFTEN))))
        return rounds

    def progress(self, name):
        self.workload.check()
        if not process.alive(self.tidb.pid()):
            raise RuntimeError(f"TiDB ended its process (round {name}): {self.longest_away:.1f} s without magicd")

    def die_at(self, name, count):
        """It kills itself."""
        if name in NEED_BULK:
            self.workload.want_bulk.set()
        self.magicd.start(f"{name}:{count}:kill")
        end = time.monotonic() + HIT_SECONDS
        while self.magicd.program.running():
            self.progress(name)
            if name in NEED_READERS:
                self.read_something()
            if name == "engine.close" and (self.magicd.folder / "address").exists():
                self.magicd.program.child.send_signal(signal.SIGTERM)
            if time.monotonic() > end:
                raise RuntimeError(f"step {name} was not passed {count} times in {HIT_SECONDS} s")
            time.sleep(0.01)
        self.workload.want_bulk.clear()
        if self.magicd.program.child.returncode != -signal.SIGKILL:
            raise RuntimeError(f"magicd ended by itself:\n{self.magicd.program.tail()}")

    def die_after(self, seconds):
        """It is killed at some moment, perhaps before it is ready."""
        self.magicd.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.progress("random")
            if not self.magicd.program.running():
                raise RuntimeError(f"magicd ended by itself:\n{self.magicd.program.tail()}")
            time.sleep(0.01)
        self.magicd.kill()

    def one_round(self, number, name, value):
        committed = self.workload.committed()
        began = time.monotonic()
        if name:
            self.die_at(name, value)
        else:
            self.die_after(value)
        lived = time.monotonic() - began
        pause = self.random.choice((0, 0, self.random.uniform(0, 2)))
        time.sleep(pause)
        self.longest_away = max(self.longest_away, pause)
        what = f"{name}:{value}" if name else f"after {value:.2f} s"
        print(
            f"chaos: kill {number:3} {what:24} lived {lived:5.1f} s, {self.workload.committed() - committed} statements meanwhile",
            flush=True,
        )
        self.check_watermark()

    def read_something(self):
        """The newest snapshot under a lease, and one that nobody holds any more. magicd may die meanwhile: that is the point."""
        try:
            with Wire(self.magicd.uri) as wire:
                lease = wire.acquire(latest=True)
                for snapshot in ({"lease": lease.token}, {"epoch": max(lease.snapshot.epoch - self.random.randrange(1, 200), 1)}):
                    for endpoint in wire.plan("chaos", "accounts", ["id", "balance"], snapshot=snapshot).endpoints:
                        wire.read(endpoint.ticket)
                wire.release(lease.token)
        except (flight.FlightError, pyarrow.ArrowException):
            pass  # it died, or keeps no epoch that old

    def ask_watermark(self):
        """None when the client's pool of connections still knows the process before this one, at the same address."""
        try:
            with Wire(self.magicd.uri) as wire:
                return wire.lag().watermark_ts
        except flight.FlightUnavailableError:
            return None

    def check_watermark(self):
        """Now and then, between two kills: what was visible stays visible."""
        if self.random.random() > 0.25:
            return
        self.magicd.start()
        self.magicd.until_ready()
        watermark = self.magicd.program.until(self.ask_watermark, 30, "does not tell its watermark")
        if watermark < self.watermark:
            raise RuntimeError(f"the watermark fell from {self.watermark} to {watermark}")
        self.watermark = watermark
        self.magicd.kill()

    def tables(self):
        left_out = ",".join(f"'{name}'" for name in LEFT_OUT_DATABASES)
        query = (
            "SELECT table_schema, table_name FROM information_schema.tables"
            f" WHERE lower(table_schema) NOT IN ({left_out}) ORDER BY 1, 2"
        )
        return [tuple(row) for row in self.tidb.run(query)]

    def compare(self):
        """Every row of every table, at one snapshot; TiDB stands still. How many rows."""
        self.magicd.program.until(self.ask_watermark, 30, "does not tell its watermark")
        with Wire(self.magicd.uri) as wire:
            wait.until(lambda: wire.lag().state == "running", 60, "magicd applies")
            wire.visible(self.tidb.now_ts(), 120)
            lease = wire.acquire(latest=True)
            expected = self.tables()
            got = [(one.database, one.table) for one in wire.tables(lease=lease.token) if one.database == "chaos"]
            if sorted(got) != sorted(expected):
                raise RuntimeError(f"tables differ: TiDB has {sorted(set(expected) - set(got))}, Magic {sorted(set(got) - set(expected))}")
            rows = 0
            for database, table in expected:
                rows += self.compare_table(wire, lease.token, database, table)
            wire.release(lease.token)
        return rows

    def compare_table(self, wire, token, database, table):
        with self.tidb.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {database}.{table}")
            columns = [column[0] for column in cursor.description]
            expected = Counter(tuple(row) for row in cursor.fetchall())
        plan = wire.plan(database, table, columns, snapshot={"lease": token})
        got = Counter()
        for endpoint in plan.endpoints:
            batch = wire.read(endpoint.ticket)
            got.update(zip(*(batch.column(name).to_pylist() for name in columns)))
        if got != expected:
            missing, extra = expected - got, got - expected
            raise RuntimeError(
                f"{database}.{table}: {missing.total()} rows are missing, {extra.total()} too many\n"
                f"  missing: {list(missing)[:5]}\n  too many: {list(extra)[:5]}"
            )
        return expected.total()

    def run(self):
        print(f"chaos: starting TiDB and magicd in {self.folder}", flush=True)
        self.magicd.start()
        self.magicd.until_ready()
        self.tidb.start(self.magicd.socket)
        self.workload.start()
        time.sleep(1)
        self.magicd.kill()
        rounds = self.rounds()
        for number, (name, value) in enumerate(rounds, 1):
            self.one_round(number, name, value)
        self.magicd.start()
        self.magicd.until_ready()
        time.sleep(1)
        self.workload.stop()
        rows = self.compare()
        conflicts = sum(client.conflicts for client in self.workload.clients)
        with Wire(self.magicd.uri) as wire:
            status = wire.status()
        print(
            f"chaos: {len(rounds)} kills, {len({name for name, _ in rounds if name})} steps, {self.workload.committed()} commits,"
            f" {conflicts} conflicts, settled since the last start: {status.get(('source', 'settled_txns'), '?')};"
            f" {rows} rows in {len(self.tables())} tables are equal to TiDB's"
        )
        self.magicd.stop()

    def close(self, failed):
        self.workload.stopping.set()
        self.tidb.stop()
        if self.magicd.program:
            self.magicd.kill()
        if failed:
            kept = paths.ROOT / "build" / "results" / "chaos" / self.folder.name
            kept.mkdir(parents=True, exist_ok=True)
            for pattern in ("*/*.log", "*/*.out"):
                for file in self.folder.glob(pattern):
                    shutil.copy(file, kept / f"{file.parent.name}-{file.name}")
            print(f"chaos: logs are in {kept}", file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="these steps, separated by commas")
    options = parser.parse_args()
    chaos = Chaos(options)
    failed = True
    try:
        chaos.run()
        failed = False
    except (RuntimeError, wait.Timeout, AssertionError) as error:
        print(f"chaos: {error}", file=sys.stderr)
    finally:
        chaos.close(failed)
        if failed:
            print(f"chaos: failed; again with: make chaos KILLS={options.kills} SEED={options.seed}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
