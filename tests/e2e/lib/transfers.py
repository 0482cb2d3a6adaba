"""A writer at full rate: transfers over five tables in one transaction, as a process of its own.

Every transfer takes x from a row of `cash` and gives it to a row of `bank`, takes x from `vault` and gives it to `loans`,
and writes a row with x into `journal`. So at every snapshot, with the sums of the start in brackets,

    [cash] - cash = bank - [bank] = [vault] - vault = loans - [loans] = journal

and `moves` of the first four tables add up to four times the rows that journal has gained.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pymysql

ACCOUNTS = ("cash", "bank", "vault", "loans")
TABLES = ACCOUNTS + ("journal",)
START_BALANCE = Decimal("1000.00")
# What identifies a row wholly, as text that TiDB and Spark print alike.
ROW_TEXT = {
    **{name: "concat_ws('#', id, balance, moves, coalesce(note, '~'))" for name in ACCOUNTS},
    "journal": "concat_ws('#', id, amount, who)",
}


def create(tidb, database, rows):
    """The tables, with `rows` rows each; journal's first ones hold nothing."""
    statements = [f"CREATE DATABASE {database}"]
    for name in ACCOUNTS:
        statements.append(
            f"CREATE TABLE {database}.{name} (id BIGINT PRIMARY KEY, balance DECIMAL(18,2) NOT NULL,"
            " moves BIGINT NOT NULL, note VARCHAR(40))"
        )
    statements.append(
        f"CREATE TABLE {database}.journal (id BIGINT AUTO_INCREMENT PRIMARY KEY, amount DECIMAL(18,2) NOT NULL,"
        " who VARCHAR(20) NOT NULL)"
    )
    step = 5000
    for start in range(0, rows, step):
        numbers = range(start, min(start + step, rows))
        values = ",".join(f"({number},{START_BALANCE},0,{'NULL' if number % 7 else repr(f'note {number}')})" for number in numbers)
        for name in ACCOUNTS:
            statements.append(f"INSERT INTO {database}.{name} VALUES {values}")
        empty = ",".join("(0,'start')" for _ in numbers)
        statements.append(f"INSERT INTO {database}.journal (amount, who) VALUES {empty}")
    tidb.run(*statements)


class Writer(threading.Thread):
    """One connection."""

    def __init__(self, number, options, stop):
        super().__init__(daemon=True)
        self.random = random.Random(options.seed * 1000 + number)
        self.options = options
        self.stop = stop
        self.who = f"writer {number}"
        self.committed = 0
        self.failed = 0

    def transfer(self, cursor):
        database, rows = self.options.database, self.options.rows
        amount = Decimal(self.random.randrange(1, 10000)) / 100
        for name, sign in zip(ACCOUNTS, "-+-+"):
            row = self.random.randrange(rows)
            note = "NULL" if self.random.random() < 0.2 else f"'note {self.random.randrange(10**6)}'"
            cursor.execute(
                f"UPDATE {database}.{name} SET balance = balance {sign} {amount}, moves = moves + 1, note = {note}"
                f" WHERE id = {row}"
            )
        cursor.execute(f"INSERT INTO {database}.journal (amount, who) VALUES ({amount}, '{self.who}')")

    def run(self):
        connection = pymysql.connect(host="127.0.0.1", port=self.options.port, user="root")
        with connection.cursor() as cursor:
            while not self.stop.is_set():
                try:
                    self.transfer(cursor)
                    if self.random.random() < 0.02:
                        connection.rollback()
                        continue
                    connection.commit()
                    self.committed += 1
                except pymysql.err.MySQLError as failure:
                    if failure.args[0] not in (1205, 1213, 8002, 9007):  # lock wait, deadlock, write conflicts
                        raise
                    connection.rollback()
                    self.failed += 1


def main():
    """Runs until it is ended; the report is a JSON object that is replaced each half second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    writers = [Writer(number, options, stop) for number in range(options.connections)]
    for writer in writers:
        writer.start()
    while not stop.is_set():
        if not all(writer.is_alive() for writer in writers):
            sys.exit("a writer has ended")
        report = {"committed": sum(one.committed for one in writers), "failed": sum(one.failed for one in writers)}
        new = options.report.with_suffix(".new")
        new.write_text(json.dumps(report), encoding="utf-8")
        os.replace(new, options.report)
        time.sleep(0.5)
    for writer in writers:
        writer.join(10)


if __name__ == "__main__":
    main()
