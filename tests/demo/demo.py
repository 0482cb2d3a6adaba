"""The demo: a real TiDB that is written to, magicd behind it, and Spark asking over several tables while the writer runs.

Each answer of Spark stands beside TiDB's own at the same commit_ts and must be equal to it; what must be true across tables is checked
at each snapshot. Then a table larger than magicd's memory is loaded, magicd is killed while the writer runs, and all is asked again. Ends
with status 0 only when all was equal, rows were seen, and the writer committed while the queries ran.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path

import pymysql

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "e2e")]

import shop  # noqa: E402
import visits  # noqa: E402
from lib import paths, process, spark as spark_lib, wait  # noqa: E402
from lib.magicd import Magicd  # noqa: E402
from lib.tidb import Tidb  # noqa: E402
from lib.wire import Wire  # noqa: E402

PULSE_SECONDS = 0.05


class Failed(Exception):
    """The demo shows something that must not be; the text says what."""


class Steps:
    """Progress that a person can read: what begins, and how long it took."""

    def __init__(self):
        self.began = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.began

    def say(self, text=""):
        print(text, flush=True)

    @contextlib.contextmanager
    def step(self, text):
        began = time.monotonic()
        print(f"  {text} ...", end="", flush=True)
        done = threading.Event()

        def tick():
            while not done.wait(5):
                print(".", end="", flush=True)

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
            print(f" {time.monotonic() - began:.1f} s", flush=True)


class Pulse(threading.Thread):
    """Commits a heartbeat and waits until a scan can see it: the lag from commit to visible, in milliseconds."""

    def __init__(self, tidb, magicd):
        super().__init__(daemon=True)
        self.tidb = tidb
        self.uri = magicd.uri
        self.stop = threading.Event()
        self.lags = []
        self.failure = None

    def run(self):
        try:
            with Wire(self.uri) as wire, self.tidb.connect() as connection, connection.cursor() as cursor:
                while not self.stop.wait(PULSE_SECONDS):
                    cursor.execute("UPDATE shop.pulse SET beat = beat + 1 WHERE id = 1")
                    committed = time.monotonic()
                    wire.visible(self.tidb.commit_ts(connection), 30)
                    self.lags.append((time.monotonic() - committed) * 1000)
        except Exception as failure:  # told by the main thread
            self.failure = failure

    def percentiles(self, last=None):
        lags = sorted(self.lags[-last:] if last else self.lags)
        if not lags:
            return 0.0, 0.0
        return lags[len(lags) // 2], lags[min(len(lags) - 1, len(lags) * 99 // 100)]


class Writer:
    """The application, as a process of its own."""

    def __init__(self, tidb, folder, connections, transactions=0):
        self.report = folder / f"writer-{transactions}.json"
        self.program = process.Program(
            "writer",
            [sys.executable, HERE / "shop.py", "--port", tidb.port, "--connections", connections]
            + ["--report", self.report, "--transactions", transactions],
            folder / "writer.log",
        )

    def done(self):
        if not self.report.exists():
            return {"transactions": 0, "changes": 0}
        return json.loads(self.report.read_text(encoding="utf-8"))

    def check(self):
        if not self.program.running():
            raise Failed("the writer has ended:\n" + self.program.tail())

    def stop(self):
        self.program.stop()


def plain(value):
    return Decimal(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


def rows_of(rows):
    return [tuple(plain(value) for value in row) for row in rows]


class Asker:
    """Asks Spark, then TiDB at the same commit_ts."""

    def __init__(self, spark, tidb):
        self.spark = spark
        self.tidb = tidb

    def ask(self, query):
        """(rows, Spark's seconds, TiDB's seconds, watermark); Failed when the answers differ."""
        began = time.monotonic()
        frame = self.spark.sql(query.format("magic.shop."))
        got = rows_of(frame.collect())
        spark_seconds = time.monotonic() - began
        _, watermark = spark_lib.snapshot(frame)
        with self.tidb.connect(watermark) as connection, connection.cursor() as cursor:
            began = time.monotonic()
            cursor.execute(query.format("shop."))
            expected = rows_of(cursor.fetchall())
            tidb_seconds = time.monotonic() - began
        if got != expected:
            wrong = next((pair for pair in zip(got, expected) if pair[0] != pair[1]), (got[-1:], expected[-1:]))
            raise Failed(
                f"Spark and TiDB differ at commit_ts {watermark}: {len(got)} and {len(expected)} rows; first difference:"
                f" {wrong[0]} and {wrong[1]}\n{query.format('shop.')}"
            )
        return got, spark_seconds, tidb_seconds, watermark


def check_invariants(asker):
    rows, spark_seconds, tidb_seconds, watermark = asker.ask(shop.invariants_sql("{0}"))
    for name, value in zip(shop.INVARIANTS, rows[0]):
        if value != 0:
            raise Failed(f"at commit_ts {watermark} it is not true that {name}: off by {value}")
    return rows, spark_seconds, tidb_seconds, watermark


HEADER = (
    f"{'at':>7}  {'changes/s':>9}  {'lag p50/p99':>15}  {'question':<24} {'Spark':>8} {'TiDB':>8} {'rows':>5}  "
    f"{'snapshot (commit_ts)':<20} answer"
)


def show(steps, rate, pulse, name, answer, verdict):
    rows, spark_seconds, tidb_seconds, watermark = answer
    p50, p99 = pulse.percentiles(last=200)
    steps.say(
        f"{steps.seconds():6.0f}s  {rate:9,.0f}  {p50:5.0f} / {p99:4.0f} ms  {name:<24} {spark_seconds:6.2f} s {tidb_seconds:6.2f} s"
        f" {len(rows):5}  {watermark:<20} {verdict}"
    )


class Rate:
    """Changes per second since the last look."""

    def __init__(self, writer):
        self.writer = writer
        self.last = (time.monotonic(), writer.done()["changes"])
        self.value = 0.0

    def look(self):
        now, changes = time.monotonic(), self.writer.done()["changes"]
        if now - self.last[0] >= 1:
            self.value = (changes - self.last[1]) / (now - self.last[0])
            self.last = (now, changes)
        return self.value


def questions(steps, asker, writer, pulse, seconds):
    """Rounds of all queries until the time is over, two at least; what the summary says of them."""
    rate = Rate(writer)
    first, began = writer.done(), time.monotonic()
    asked = checked = total_rows = 0
    times = {"Spark": 0.0, "TiDB": 0.0}
    rounds = 0
    steps.say()
    steps.say(HEADER)
    while rounds < 2 or time.monotonic() - began < seconds:
        rounds += 1
        for name, query in shop.QUERIES.items():
            writer.check()
            answer = asker.ask(query)
            if not answer[0]:
                raise Failed(f"no rows for '{name}'")
            show(steps, rate.look(), pulse, name, answer, "equal")
            asked += 1
            total_rows += len(answer[0])
            times["Spark"] += answer[1]
            times["TiDB"] += answer[2]
        show(steps, rate.look(), pulse, "what must be true", check_invariants(asker), f"all {len(shop.INVARIANTS)} hold")
        checked += 1
        if pulse.failure:
            raise Failed(f"the heartbeat failed: {pulse.failure}")
    last = writer.done()
    transactions = last["transactions"] - first["transactions"]
    if transactions == 0:
        raise Failed("no commits fell between the start and the end of the queries: this shows nothing")
    elapsed = time.monotonic() - began
    return {
        "asked": asked,
        "checked": checked,
        "rows": total_rows,
        "transactions": transactions,
        "changes_per_s": (last["changes"] - first["changes"]) / elapsed,
        "seconds": elapsed,
        "spark_s": times["Spark"] / asked,
        "tidb_s": times["TiDB"] / asked,
    }


def summary(steps, told, pulse):
    p50, p99 = pulse.percentiles()
    steps.say()
    steps.say(
        f"In {told['seconds']:.0f} s the writer committed {told['transactions']:,} transactions "
        f"({told['changes_per_s']:,.0f} row changes/s)."
    )
    steps.say(f"A commit was visible to a scan after {p50:.0f} ms (p50) and {p99:.0f} ms (p99), {len(pulse.lags)} times measured.")
    steps.say(f"Spark answered {told['asked']} questions over several tables, each equal to TiDB's answer at the same commit_ts")
    steps.say(f"({told['rows']:,} rows; on average {told['spark_s']:.2f} s in Spark, {told['tidb_s']:.2f} s in TiDB).")
    steps.say(f"At {told['checked']} snapshots all {len(shop.INVARIANTS)} truths across tables held.")


def go_on(steps, keep, folder, tidb=None, magicd=None):
    steps.say()
    if not keep:
        steps.say("How to go on: 'make demo ARGS=--keep' leaves all running and prints the addresses; README.md says how Spark is set up;")
        steps.say("'make test' runs everything that is promised.")
        return
    steps.say("All is left running:")
    if tidb:
        steps.say(f"  TiDB    mysql -h127.0.0.1 -P{tidb.port} -uroot shop")
    steps.say(
        f"  Magic   {paths.MAGIC} --server {magicd.address} lag        "
        "(or: tables, status, sql -e 'SELECT * FROM shop.orders LIMIT 5')"
    )
    steps.say(f"  Spark   {ROOT}/build/venv/bin/pyspark --jars {paths.SPARK_JAR} \\")
    steps.say("            --conf spark.sql.catalog.magic=io.magicstore.spark.MagicCatalog \\")
    steps.say(f"            --conf spark.sql.catalog.magic.uri={magicd.uri}")
    steps.say("            then: spark.sql('SELECT status, count(*) FROM magic.shop.orders GROUP BY status').show()")
    steps.say(f"  End it  {ROOT}/tools/demo --stop {folder}")


def live(options, steps, folder):
    tidb = Tidb(folder / "tidb")
    magicd = Magicd(folder / "magicd", tidb=tidb, flags=visits.MAGICD_FLAGS, survives=options.keep)
    steps.say(f"Magic {paths.VERSION}: a live columnar replica of TiDB, read by Spark. Folder: {folder}")
    with contextlib.ExitStack() as cleanup:
        completed = False

        def end(kind, failure, _trace):
            if kind is not None and not interrupted:
                steps.say(f"\nlogs are kept in {keep_logs(folder)}")
            if not (options.keep and completed):
                end_all(folder, tidb, magicd)

        cleanup.push(end)
        with steps.step("starting magicd"):
            magicd.start()
        with steps.step("starting PD and a real TiDB that sends its binlog to it"):
            tidb.start(magicd.socket)
        with steps.step(f"creating the shop: {shop.CUSTOMERS:,} customers, {shop.PRODUCTS} products"):
            shop.create(tidb)
        with steps.step(f"taking the first {shop.FIRST_ORDERS:,} transactions"):
            first = Writer(tidb, folder, options.connections, shop.FIRST_ORDERS)
            cleanup.callback(first.stop)
            first.program.child.wait(180)
            if first.program.child.returncode != 0:
                raise Failed("the writer failed:\n" + first.program.tail())
        with steps.step("starting Spark"):
            cleanup.callback(spark_lib.end)
            spark = spark_lib.session(magicd.uri)
        with steps.step("waiting until Magic shows what TiDB holds"), Wire(magicd.uri) as wire:
            wire.visible(tidb.now_ts(), 60)
        with steps.step("warming Spark up"):
            check_invariants(Asker(spark, tidb))
        for number in SIGNALS:  # pyspark has put its own handler there
            signal.signal(number, interrupt)
        writer = Writer(tidb, folder, options.connections)
        cleanup.callback(writer.stop)
        pulse = Pulse(tidb, magicd)
        pulse.start()
        cleanup.callback(pulse.stop.set)
        told = questions(steps, Asker(spark, tidb), writer, pulse, options.seconds)
        pulse.stop.set()
        pulse.join()
        visits.show(steps, spark, magicd, Failed)
        writer.check()
        writer.stop()
        with Wire(magicd.uri) as wire:
            wire.visible(tidb.now_ts(), 60)
        show(steps, 0, pulse, "and at rest", check_invariants(Asker(spark, tidb)), "all hold")
        summary(steps, told, pulse)
        completed = True
        if options.keep:
            (folder / "demo.pids").write_text(" ".join(map(str, tidb.pids() + [magicd.program.pid])), encoding="utf-8")
    go_on(steps, options.keep, folder, tidb, magicd)


def keep_logs(folder):
    kept = ROOT / "build" / "results" / folder.name
    kept.mkdir(parents=True, exist_ok=True)
    for pattern in ("*.log", "*/*.log", "*/*.out"):
        for file in folder.glob(pattern):
            shutil.copy(file, kept / f"{file.parent.name}-{file.name}")
    return kept


def end_all(folder, tidb, magicd):
    """TiDB first: it would wait for its pump. Then whatever was only just being started, such as Spark's JVM."""
    tidb.stop()
    magicd.stop()
    for pid in process.descendants():
        process.end_pid(pid, 2)
    shutil.rmtree(folder, ignore_errors=True)


def stop_kept(folder):
    """What --keep left: its processes, by their ids, and its folder."""
    folder = Path(folder)
    file = folder / "demo.pids"
    if not file.exists():
        raise Failed(f"{folder} is not the folder of a demo that was kept")
    for pid in map(int, file.read_text(encoding="utf-8").split()):
        if str(folder) in process.processes_naming(str(folder)).get(pid, ""):
            process.end_pid(pid, 5)
    shutil.rmtree(folder)
    print("ended")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXPECTED = (Failed, RuntimeError, OSError, pymysql.MySQLError, subprocess.SubprocessError, wait.Timeout)
interrupted = []


def interrupt(signal_number, _frame):
    # Whoever hits Ctrl-C twice still gets everything cleaned up. Spark's bridge turns what is raised here into an error of its own.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    interrupted.append(signal.Signals(signal_number).name)
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave all running and print the addresses")
    parser.add_argument("--stop", metavar="FOLDER", help="end what --keep left")
    parser.add_argument("--seconds", type=float, default=40, help="how long to ask (40)")
    parser.add_argument("--connections", type=int, default=6, help="of the writer (6)")
    parser.add_argument("--replay", action="store_true", help="no TiDB: replay its recorded binlog")
    options = parser.parse_args()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    steps = Steps()
    try:
        if options.stop:
            stop_kept(options.stop)
            return 0
        folder = Path(tempfile.mkdtemp(prefix="magic-demo-"))
        if options.replay:
            import replay

            replay.show(options, steps, folder, Failed, go_on)
        else:
            live(options, steps, folder)
    except BaseException as failure:
        if interrupted:
            print(f"\nended ({interrupted[0]}); nothing was left behind", flush=True)
            return 130
        if not isinstance(failure, EXPECTED):
            raise
        print(f"\nthe demo FAILED: {failure or type(failure).__name__}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
