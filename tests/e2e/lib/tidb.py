"""A real TiDB (and PD) whose binlog goes to a socket, and what tests ask of it.

SPDX-License-Identifier: Apache-2.0
"""

import json
import os
import subprocess
from pathlib import Path

import pymysql

from . import paths, process

SAFE_POINT = (
    "INSERT INTO mysql.tidb (variable_name, variable_value, comment) VALUES"
    " ('tikv_gc_safe_point', '20200101-00:00:00 +0000', '') ON DUPLICATE KEY UPDATE"
    " variable_value = VALUES(variable_value)"
)


class Tidb:
    """Ports are known before it starts, as a magicd that serves its binlog must be there first."""

    def __init__(self, folder, keep=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.status_port, self.pd_port, self.peer_port = process.free_ports(4)
        self.keep = keep

    def _upstream(self, command, socket=None, seconds=240):
        env = dict(
            os.environ,
            BIN=str(paths.UPSTREAM),
            DIR=str(self.folder),
            PORT=str(self.port),
            STATUS=str(self.status_port),
            PD=str(self.pd_port),
            PEER=str(self.peer_port),
            PUMP="none",
        )
        if socket:
            env["SOCK"] = str(socket)
        if self.keep:
            env["KEEP"] = "1"
        subprocess.run([str(paths.UPSTREAM_SH), command], env=env, check=True, timeout=seconds)

    def start(self, socket):
        self._upstream("start", socket)
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(SAFE_POINT)
        return self

    def pid(self, name="tidb"):
        return int((self.folder / f"{name}.pid").read_text(encoding="utf-8"))

    def pids(self):
        return [int(file.read_text(encoding="utf-8")) for file in self.folder.glob("*.pid")]

    def stop(self, grace_seconds=0):
        """What it holds is thrown away anyway, so it is not asked to say goodbye to its clients."""
        for name in ("tidb", "pd"):
            file = self.folder / f"{name}.pid"
            if file.exists():
                process.end_pid(int(file.read_text(encoding="utf-8")), grace_seconds)
                file.unlink()

    def connect(self, snapshot=None, **options):
        """Times in UTC. snapshot: a commit_ts; everything is read as of it, with the schema of that time."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", autocommit=True, charset="utf8mb4", **options
        )
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            if snapshot:
                cursor.execute(f"SET tidb_snapshot = '{snapshot}'")
        return connection

    def run(self, *statements, connection=None):
        """Statements one after the other; returns the rows of the last."""
        own = connection or self.connect()
        try:
            with own.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall()
        finally:
            if connection is None:
                own.close()

    def rows_at(self, snapshot, query):
        with self.connect(snapshot) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def commit_ts(self, connection):
        """Of the last transaction that this connection committed."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@tidb_last_txn_info")
            return json.loads(cursor.fetchone()[0])["commit_ts"]

    def change(self, *statements):
        """Run them, in one transaction as far as DDL allows; a timestamp that is not below any of their commits."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            for statement in statements:
                cursor.execute(statement)
            cursor.execute("COMMIT")
            cursor.execute("SELECT @@tidb_last_txn_info")
            told = cursor.fetchone()[0]
            return json.loads(told)["commit_ts"] if told else self.now_ts()

    def now_ts(self):
        """A timestamp of its oracle: everything committed before is at or below."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT @@tidb_current_ts")
            return int(cursor.fetchone()[0])
