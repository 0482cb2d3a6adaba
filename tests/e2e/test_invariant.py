"""The promise of snapshots under load: transfers over five tables at full rate, statements over all of them, failing tasks.

A fifth of the statements is asked again later, VERSION AS OF the snapshot that it read and that is still leased: rows are identical.

STATEMENTS (300; 500 for the record) and INVARIANT_ROWS (40,000 a table) make it longer or shorter.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import random
import re
import sys
import time
from decimal import Decimal

import pytest

from lib import paths, process, spark as spark_lib, transfers, wait

STATEMENTS = int(os.environ.get("STATEMENTS", "300"))
ROWS = int(os.environ.get("INVARIANT_ROWS", "40000"))
COMPARE_EVERY = 6
REPEAT_EVERY = 5
REPEAT_AFTER = 3  # statements, in which the writer goes on
FAIL_SHARE = 1 / 3
LATEST_STATEMENTS = 12
SEED = int(os.environ.get("SEED", "1"))
DATABASE = "money"


class Writer:
    """The process of lib/transfers.py."""

    def __init__(self, cluster, folder):
        self.report = folder / "report.json"
        self.program = process.Program(
            "writer",
            [sys.executable, "-m", "lib.transfers", "--port", cluster.tidb.port, "--database", DATABASE]
            + ["--rows", ROWS, "--report", self.report, "--seed", SEED],
            folder / "writer.log",
            env={"PYTHONPATH": str(paths.ROOT / "tests" / "e2e")},
        )
        self.program.until(lambda: self.committed() > 0, 30, "commits nothing")

    def committed(self):
        if not self.program.running():
            raise RuntimeError("the writer ended:\n" + self.program.tail())
        return json.loads(self.report.read_text(encoding="utf-8"))["committed"] if self.report.exists() else 0

    def stop(self):
        self.program.stop()


@pytest.fixture(scope="module")
def writer(cluster, tmp_path_factory):
    transfers.create(cluster.tidb, DATABASE, ROWS)
    running = Writer(cluster, tmp_path_factory.mktemp("writer"))
    yield running
    running.stop()


def table(name):
    return f"magic.{DATABASE}.{name}"


def as_of(text, version):
    """The statement with every table read at that version."""
    return re.sub(rf"(magic\.{DATABASE}\.\w+)", rf"\1 VERSION AS OF '{version}'", text)


def gains():
    """What each table gained since the start, as SQL: all five are equal at every snapshot."""
    start = transfers.START_BALANCE * ROWS
    return {
        "cash": f"{start} - (SELECT sum(balance) FROM {table('cash')})",
        "bank": f"(SELECT sum(balance) FROM {table('bank')}) - {start}",
        "vault": f"{start} - (SELECT sum(balance) FROM {table('vault')})",
        "loans": f"(SELECT sum(balance) FROM {table('loans')}) - {start}",
        "journal": f"(SELECT sum(amount) FROM {table('journal')})",
    }


def statements(choose):
    """Statements whose only value is 0 when they read one snapshot; each over at least two tables."""
    names = list(transfers.TABLES)
    accounts = list(transfers.ACCOUNTS)
    gain = gains()
    total = transfers.START_BALANCE * ROWS

    def all_five():
        return "SELECT " + " + ".join(f"abs(({gain['journal']}) - ({gain[name]}))" for name in accounts)

    def two():
        left, right = choose.sample(names, 2)
        return f"SELECT ({gain[left]}) - ({gain[right]})"

    def join():
        left, right = choose.choice([("cash", "bank"), ("vault", "loans")])
        return f"SELECT sum(a.balance + b.balance) - {2 * total} FROM {table(left)} a JOIN {table(right)} b USING (id)"

    def union():
        parts = " UNION ALL ".join(f"SELECT balance FROM {table(name)}" for name in accounts)
        return f"SELECT sum(balance) - {4 * total} FROM ({parts})"

    def moves():
        parts = " UNION ALL ".join(f"SELECT moves FROM {table(name)}" for name in accounts)
        return f"SELECT (SELECT sum(moves) FROM ({parts})) - 4 * (SELECT count(*) - {ROWS} FROM {table('journal')})"

    def common():
        sums = " UNION ALL ".join(f"SELECT '{name}' n, sum(balance) b, count(*) c FROM {table(name)}" for name in accounts)
        return f"WITH s AS ({sums}) SELECT sum(b) - {4 * total} + sum(c) - {4 * ROWS} FROM s"

    def exists():
        return (
            f"SELECT sum(balance) - {2 * total} FROM (SELECT balance FROM {table('vault')} v WHERE EXISTS (SELECT 1 FROM"
            f" {table('loans')} l WHERE l.id = v.id) UNION ALL SELECT balance FROM {table('loans')})"
        )

    while True:
        yield choose.choice([all_five, two, join, union, moves, common, exists])()


def fingerprint_sql(prefix, dialect):
    """Of each table: how many rows, and two sums over all columns of all of them."""
    unsigned = {"spark": "cast(%s AS decimal(38,0))", "tidb": "%s"}[dialect]
    parts = [
        f"SELECT '{name}' AS name, count(*) AS rows_, bit_xor(crc32({text})) AS x, sum({unsigned % f'crc32({text})'}) AS s"
        f" FROM {prefix}{name}"
        for name, text in transfers.ROW_TEXT.items()
    ]
    return " UNION ALL ".join(parts)


def compare_with_tidb(cluster, spark):
    """All rows of the five tables in one statement, and TiDB's at its watermark. Returns how many rows."""
    frame = spark.sql(fingerprint_sql(f"magic.{DATABASE}.", "spark"))
    got = sorted((row[0], row[1], row[2], int(row[3])) for row in frame.collect())
    _, watermark = spark_lib.snapshot(frame)
    expected = cluster.tidb.rows_at(watermark, fingerprint_sql(f"{DATABASE}.", "tidb"))
    assert got == sorted((row[0], row[1], row[2], int(row[3])) for row in expected), f"at {watermark}"
    return sum(row[1] for row in got)


def check_splits(frame):
    splits = [int(number) for number in re.findall(r"splits: (\d+)", spark_lib.plan_text(frame))]
    assert splits and min(splits) >= 4, splits


def violation(spark, text):
    """The statement's value, 0 when all is well; and that it read one snapshot in at least 4 splits a table."""
    frame = spark.sql(text)
    value = frame.collect()[0][0]
    spark_lib.snapshot(frame)
    check_splits(frame)
    return Decimal(value)


def detailed(choose):
    """A statement that tells of all five tables what differs from snapshot to snapshot: (text, its violation by its rows)."""
    third = choose.randrange(3)
    parts = []
    for name, text in transfers.ROW_TEXT.items():
        moved, moves = ("amount", "0") if name == "journal" else ("balance", "moves")
        parts.append(
            f"SELECT '{name}' AS name, count(*) AS rows_, sum({moved}) AS money, sum({moves}) AS moved,"
            f" bit_xor(crc32({text})) AS mark, sum(CASE WHEN id % 3 = {third} THEN crc32({text}) ELSE 0 END) AS third"
            f" FROM {table(name)}"
        )

    def of_rows(rows):
        told = {row[0]: row for row in rows}
        start, journal = transfers.START_BALANCE * ROWS, told["journal"]
        gained = {name: abs(told[name][2] - start) for name in transfers.ACCOUNTS}
        moves = sum(told[name][3] for name in transfers.ACCOUNTS)
        return sum(abs(gain - journal[2]) for gain in gained.values()) + abs(moves - 4 * (journal[1] - ROWS))

    return " UNION ALL ".join(parts), of_rows


class Repeats:
    """Statements that are to be asked again, each with its DataFrame, whose plan holds the lease."""

    def __init__(self, spark, choose):
        self.spark, self.choose = spark, choose
        self.waiting, self.done, self.wrong = [], 0, []

    def ask(self, number):
        """Its violation, 0 when all is well."""
        text, of_rows = detailed(self.choose)
        frame = self.spark.sql(text)
        rows = sorted(frame.collect())
        check_splits(frame)
        self.waiting.append((number, text, frame, rows))
        return of_rows(rows)

    def again(self, number):
        """Those that are old enough."""
        while self.waiting and self.waiting[0][0] + REPEAT_AFTER <= number:
            first, text, frame, rows = self.waiting.pop(0)
            epoch, watermark = spark_lib.snapshot(frame)
            version = f"epoch:{epoch}" if self.done % 2 else watermark
            later = self.spark.sql(as_of(text, version))
            answer = sorted(later.collect())
            assert spark_lib.snapshot(later)[1] == watermark
            if answer != rows:
                self.wrong.append(f"statement {first}, VERSION AS OF {version}: {rows}, then {answer}")
            self.done += 1


def test_no_statement_sees_half_a_transaction(cluster, spark, settings, writer, wire):
    wire.visible(cluster.tidb.now_ts())
    jvm = spark_lib.Jvm(spark)
    injected, tasks = jvm.injected(), jvm.tasks()
    # Sums by all splits: what one split gives is of one snapshot anyway.
    settings(**{"test__fail_tasks": str(FAIL_SHARE), "test__seed": str(SEED), "pushdown__complete_rows": "0"})
    source, repeats = statements(random.Random(SEED)), Repeats(spark, random.Random(SEED))
    violations, compared, rows = [], 0, 0
    first, began = writer.committed(), time.monotonic()
    for number in range(STATEMENTS):
        if number % REPEAT_EVERY == 0:
            text, value = "all five, in detail", repeats.ask(number)
        else:
            text = next(source)
            value = violation(spark, text)
        if value != 0:
            violations.append(f"statement {number}: {value}: {text}")
        repeats.again(number)
        if number % COMPARE_EVERY == 0:
            before = writer.committed()
            rows += compare_with_tidb(cluster, spark)
            compared += 1
            wait.until(lambda before=before: writer.committed() > before, 30, "the writer goes on")
    repeats.again(STATEMENTS + REPEAT_AFTER)
    injected, tasks = jvm.injected() - injected, jvm.tasks() - tasks
    committed, seconds = writer.committed() - first, time.monotonic() - began
    print(
        f"\n{STATEMENTS} statements in {seconds:.0f} s, {len(violations)} violations; {committed} transactions"
        f" ({committed / seconds:.0f}/s) committed meanwhile; {injected} of {tasks} task attempts made to fail after a batch;"
        f" {compared} comparisons of all rows with TiDB in mid-run, {rows} rows; {repeats.done} statements repeated VERSION AS OF"
        f" their snapshot, {len(repeats.wrong)} differ; seed {SEED}"
    )
    assert not violations, "\n".join(violations)
    assert not repeats.wrong, "\n".join(repeats.wrong)
    assert repeats.done == (STATEMENTS + REPEAT_EVERY - 1) // REPEAT_EVERY
    assert compared >= 50 or STATEMENTS < 300
    assert injected >= tasks / 6, "too few tasks failed for this to show anything"
    assert committed > STATEMENTS


def test_reading_latest_per_split_is_noticed(cluster, spark, settings, writer):
    """A client that lets each task read the newest snapshot must fail the test above."""
    settings(**{"test__latest_per_split": "true", "pushdown__complete_rows": "0"})
    source = statements(random.Random(SEED))
    wrong = sum(violation(spark, next(source)) != 0 for _ in range(LATEST_STATEMENTS))
    print(f"\n{wrong} of {LATEST_STATEMENTS} statements were wrong")
    assert wrong > 0
