"""What TiDB's clients do while magicd dies: every kind of record that the syncer must bring home once and whole.

mover     transfers between `accounts` rows with a line in `ledger`, in one transaction; 2 % are rolled back
logger    `log`, a table without a key: where a doubled row would show as one more row
racer     two optimistic transactions on one row of `hot`: the loser's commit fails (prewrite, then rollback)
shaper    CREATE, ALTER ... ADD/DROP COLUMN, RENAME, TRUNCATE, DROP, with rows between them
bulk      rewrites all of `wide` again and again while it is wanted: fills buffer segments
SPDX-License-Identifier: Apache-2.0
"""

import random
import threading
import time

import pymysql

ACCOUNTS = 200
WIDE_ROWS = 20000
RETRIED = (1205, 1213, 8002, 8022, 8028, 9007)  # lock wait, deadlock, write conflicts, changed schema

SCHEMA = [
    "CREATE DATABASE chaos",
    "CREATE TABLE chaos.accounts (id INT PRIMARY KEY, balance DECIMAL(18,2) NOT NULL, moves BIGINT NOT NULL, note VARCHAR(40))",
    "CREATE TABLE chaos.ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, origin INT, target INT, amount DECIMAL(18,2))",
    "CREATE TABLE chaos.log (who INT, n BIGINT, text VARCHAR(60))",
    "CREATE TABLE chaos.hot (id INT PRIMARY KEY, v BIGINT)",
    "CREATE TABLE chaos.wide (id INT PRIMARY KEY, turn INT, pad VARCHAR(500))",
    "INSERT INTO chaos.hot VALUES (1,0),(2,0)",
    "INSERT INTO chaos.accounts VALUES " + ",".join(f"({n},1000,0,NULL)" for n in range(ACCOUNTS)),
]


class Client(threading.Thread):
    """One connection that repeats step() until it is told to stop. An error that is not a conflict ends it, and the test."""

    def __init__(self, workload, name, seed):
        super().__init__(name=name, daemon=True)
        self.workload = workload
        self.random = random.Random(f"{seed}/{name}")
        self.committed = self.conflicts = 0
        self.error = None

    def step(self, cursor):
        raise NotImplementedError

    def run(self):
        try:
            with self.workload.tidb.connect(database="chaos") as connection, connection.cursor() as cursor:
                while not self.workload.stopping.is_set():
                    try:
                        self.step(cursor)
                        self.committed += 1
                    except pymysql.err.MySQLError as error:
                        if error.args[0] not in RETRIED:
                            raise
                        cursor.execute("ROLLBACK")
                        self.conflicts += 1
        except Exception as error:  # whatever it is, the test must hear of it
            self.error = error


class Mover(Client):
    def step(self, cursor):
        origin, target = self.random.sample(range(ACCOUNTS), 2)
        amount = self.random.randrange(1, 10000) / 100
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE accounts SET balance = balance - {amount}, moves = moves + 1 WHERE id = {origin}")
        cursor.execute(
            f"UPDATE accounts SET balance = balance + {amount}, moves = moves + 1, note = 'from {origin}' WHERE id = {target}"
        )
        cursor.execute(f"INSERT INTO ledger (origin, target, amount) VALUES ({origin},{target},{amount})")
        cursor.execute("ROLLBACK" if self.random.random() < 0.02 else "COMMIT")


class Logger(Client):
    number = 0

    def step(self, cursor):
        self.number += 1
        dice, who = self.random.random(), self.random.randrange(10)
        if dice < 0.8:
            rows = ",".join(f"({who},{self.number},'{self.name} {self.number % 7}')" for _ in range(self.random.randrange(1, 4)))
            cursor.execute(f"INSERT INTO log VALUES {rows}")
        elif dice < 0.9:
            cursor.execute(f"UPDATE log SET n = n + 1000000 WHERE who = {who} AND n % 17 = {self.number % 17} LIMIT 5")
        else:
            cursor.execute(f"DELETE FROM log WHERE who = {who} AND n % 13 = {self.number % 13} LIMIT 5")


class Racer(Client):
    def step(self, cursor):
        cursor.execute("BEGIN OPTIMISTIC")
        cursor.execute("UPDATE hot SET v = v + 1 WHERE id = 1")
        time.sleep(self.random.random() * 0.02)
        cursor.execute("COMMIT")


class Shaper(Client):
    number = 0

    def step(self, cursor):
        self.number += 1
        table = f"shape{self.number % 5}"
        for statement in (
            f"CREATE TABLE IF NOT EXISTS {table} (id INT PRIMARY KEY, a INT)",
            f"INSERT INTO {table} VALUES ({self.number},1) ON DUPLICATE KEY UPDATE a = 1",
            f"ALTER TABLE {table} ADD COLUMN c{self.number} INT DEFAULT {self.number}",
            f"INSERT INTO {table} (id, a) VALUES ({self.number + 1000000},2)",
            f"ALTER TABLE {table} DROP COLUMN a",
            f"UPDATE {table} SET c{self.number} = 7 WHERE id = {self.number}",
        ):
            cursor.execute(statement)
        end = self.random.randrange(3)
        if end == 0:
            cursor.execute(f"DROP TABLE {table}")
        elif end == 1:
            cursor.execute(f"TRUNCATE TABLE {table}")
            cursor.execute(f"DROP TABLE {table}")
        else:
            cursor.execute(f"RENAME TABLE {table} TO kept{self.number}")
        time.sleep(0.2)


class Bulk(Client):
    turn = 0

    def step(self, cursor):
        if not self.workload.want_bulk.wait(0.1):
            return
        self.turn += 1
        cursor.execute(f"UPDATE wide SET turn = {self.turn}, pad = REPEAT('{chr(97 + self.turn % 26)}', 400)")


class Workload:
    def __init__(self, tidb, seed):
        self.tidb = tidb
        self.stopping = threading.Event()
        self.want_bulk = threading.Event()
        self.clients = [Mover(self, f"mover{n}", seed) for n in range(4)]
        self.clients += [Logger(self, f"logger{n}", seed) for n in range(2)]
        self.clients += [Racer(self, f"racer{n}", seed) for n in range(2)]
        self.clients += [Shaper(self, "shaper", seed), Bulk(self, "bulk", seed)]

    def start(self):
        self.tidb.run(*SCHEMA)
        for first in range(0, WIDE_ROWS, 5000):
            self.tidb.run("INSERT INTO chaos.wide VALUES " + ",".join(f"({n},0,'')" for n in range(first, first + 5000)))
        for client in self.clients:
            client.start()

    def check(self):
        for client in self.clients:
            if client.error:
                raise RuntimeError(f"{client.name} ended: {client.error!r}") from client.error

    def committed(self):
        return sum(client.committed for client in self.clients)

    def stop(self):
        self.stopping.set()
        for client in self.clients:
            client.join(60)
            if client.is_alive():
                raise RuntimeError(f"{client.name} does not end")
        self.check()
