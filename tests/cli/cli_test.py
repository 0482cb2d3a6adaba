#!/usr/bin/env python3
"""cli_test.py -- `magic` as people use it: formats, exit statuses, the shell, Ctrl-C. Needs Python's own library only.

SPDX-License-Identifier: Apache-2.0
"""
import csv
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "interop"))

import flight_server  # noqa: E402

MAGIC = os.path.join(flight_server.BUILD, "magic")
SERVER = None


def setUpModule():
    global SERVER
    SERVER = flight_server.start_fixture("--rows", "300000")


def tearDownModule():
    SERVER.clear()


def magic(*arguments, stdin=None, server=True, check=0):
    environment = dict(os.environ)
    environment.pop("MAGIC_SERVER", None)
    if server:
        environment["MAGIC_SERVER"] = SERVER.uri
    done = subprocess.run([MAGIC, *arguments], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment, timeout=60)
    assert check is None or done.returncode == check, (done.returncode, done.stdout, done.stderr)
    return done.stdout.decode(), done.stderr.decode()


class Formats(unittest.TestCase):
    STATEMENT = "SELECT id, u64, price, huge, f32, born, seen, stamp, name, code FROM shop.types WHERE id <= 4"

    def rows(self, name):
        out, _ = magic("sql", "--format", name, "-e", self.STATEMENT)
        return out

    def test_table(self):
        lines = self.rows("table").splitlines()
        cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[1:-1]] for line in lines[3:8]}
        self.assertEqual(cells["0"][1:8], ["0", "-9999999999.99", "-9999999999999999999999999999.9999999999", "0",
                                           "0001-01-01", "0001-01-01 00:00:00.000000", "1970-01-01 00:00:00.000"])
        self.assertEqual(cells["1"][1], "18446744073709551615")
        self.assertEqual(cells["2"][2], "NULL")
        self.assertEqual(len({len(line) for line in lines if line[0] in "|+"}), 1)

    def test_csv(self):
        out = self.rows("csv")
        rows = {r["id"]: r for r in csv.DictReader(io.StringIO(out))}
        self.assertEqual(rows["1"]["price"], "9999999999.99")
        self.assertEqual(rows["0"]["name"], "name 0  ")
        self.assertEqual(rows["2"]["price"], "")
        self.assertIn('""', [line for line in out.splitlines() if line.startswith("4,")][0])  # '' is not NULL
        self.assertNotIn('""', [line for line in out.splitlines() if line.startswith("2,")][0])

    def test_json(self):
        rows = {r["id"]: r for r in map(json.loads, self.rows("json").splitlines())}
        self.assertEqual(rows[1]["u64"], "18446744073709551615")
        self.assertEqual(rows[1]["price"], "9999999999.99")
        self.assertIsNone(rows[2]["price"])
        self.assertEqual(rows[4]["code"], "")
        self.assertEqual(rows[3]["seen"], "1970-01-04 00:00:00.000003")

    def test_arrow(self):
        out = subprocess.run([MAGIC, "--server", SERVER.uri, "sql", "--format", "arrow", "-e", self.STATEMENT],
                             stdout=subprocess.PIPE, check=True).stdout
        self.assertEqual(out[:4], b"\xff\xff\xff\xff")
        self.assertEqual(out[-8:], b"\xff\xff\xff\xff\0\0\0\0")
        try:
            import pyarrow as pa
        except ImportError:
            return
        table = pa.ipc.open_stream(out).read_all()
        self.assertEqual(sorted(table.column("id").to_pylist()), [0, 1, 2, 3, 4])

    def test_no_rows(self):
        out, _ = magic("sql", "-f", "csv", "-e", "SELECT id, v FROM shop.empty")
        self.assertEqual(out, "id,v\n")

    def test_many_rows(self):
        out, _ = magic("sql", "-f", "csv", "-e", "SELECT id FROM shop.big")
        self.assertEqual(sorted(map(int, out.split()[1:])), list(range(300000)))


class Commands(unittest.TestCase):
    def test_show(self):
        self.assertIn("types", magic("sql", "-e", "SHOW TABLES FROM shop")[0])
        self.assertEqual(magic("sql", "-f", "csv", "-e", "SHOW DATABASES")[0], "database\nother\nshop\nvoid\n")
        self.assertEqual(magic("sql", "-f", "csv", "-d", "other", "-e", "SELECT * FROM t")[0], "id,v\n1,2\n")

    def test_tables(self):
        out, _ = magic("tables")
        self.assertIn("geometry", out)
        self.assertIn("900", out)
        self.assertIn("decimal(12,2)", magic("tables", "shop.types")[0])
        names = [json.loads(line)["table"] for line in magic("tables", "-f", "json", "shop")[0].splitlines()]
        self.assertEqual(names, sorted(names))

    def test_lag_status_set(self):
        self.assertIn("no source", magic("lag")[0])
        self.assertEqual(json.loads(magic("lag", "-f", "json")[0])["state"], "none")
        magic("status")
        self.assertEqual(magic("set", "splits", "5")[0], "splits = 5\n")
        self.assertIn("nonsense", magic("set", "nonsense", "5", check=1)[1])

    def test_lag_watch_goes_on(self):
        child = subprocess.Popen([MAGIC, "-s", SERVER.uri, "lag", "--watch", "0.05"], stdout=subprocess.PIPE)
        lines = [child.stdout.readline() for _ in range(3)]
        child.send_signal(signal.SIGINT)
        child.wait(timeout=10)
        child.stdout.close()
        self.assertEqual(len(set(lines)), 1)

    def test_help(self):
        out, _ = magic("--help", server=False)
        for command in ("sql", "tables", "status", "lag", "set"):
            self.assertIn(command, out)
            self.assertIn(command, magic(command, "--help", server=False)[0])
        self.assertRegex(magic("--version", server=False)[0], r"^magic \d+\.\d+\.\d+ ")

    def test_wrong_options(self):
        for arguments in ([], ["nonsense"], ["sql", "--nonsense"], ["sql", "--format", "xml", "-e", "SHOW TABLES"],
                          ["lag", "--watch", "never"], ["-e", "SHOW TABLES"], ["set", "-e", "x"]):
            with self.subTest(arguments=arguments):
                _, error = magic(*arguments, check=2)
                self.assertTrue(error)

    def test_commands_of_later_versions_are_known_by_name(self):
        for command in ("compact", "verify", "check", "user"):
            _, error = magic(command, check=2)
            self.assertIn(command + " is not in this version", error)

    def test_the_servers_text_is_shown(self):
        for statement, text in (("SELECT x FROM shop.types", "no column x"),
                                ("SELECT id FROM shop.stale", "before the first record"),
                                ("SELECT a.id FROM shop.types a JOIN shop.big b", "Spark"),
                                ("SELECT id FROM", "line 1, column")):
            out, error = magic("sql", "-e", statement, check=1)
            self.assertEqual(out, "")
            self.assertIn(text, error)

    def test_no_server(self):
        _, error = magic("--server", "grpc://127.0.0.1:1", "lag", check=1)
        self.assertIn("127.0.0.1:1", error)

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([MAGIC, "-s", SERVER.uri, "sql", "-f", "csv", "-e", "SELECT * FROM shop.big"],
                                  stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"space", done.stderr.lower())


class Shell(unittest.TestCase):
    def test_statements_from_a_pipe(self):
        out, _ = magic("sql", "-f", "csv", stdin=b"SHOW DATABASES;\nSELECT id, v\n  FROM other.t;\nSELECT 'it''s;' ;",
                       check=None)
        self.assertIn("database\nother\nshop\nvoid\n", out)
        self.assertIn("id,v\n1,2\n", out)

    def test_quotes_and_comments_hide_semicolons(self):
        out, _ = magic("sql", "-f", "csv", stdin=b"SHOW /* ; ' */ DATABASES; SELECT id FROM other.t -- it's; \n"
                                                 b"WHERE id <> 2; # ;\n;; SELECT v FROM other.t WHERE `id` = 1")
        self.assertEqual(out, "database\nother\nshop\nvoid\nid\n1\nv\n2\n")

    def test_a_failed_statement_fails_the_pipe(self):
        _, error = magic("sql", stdin=b"SELECT x FROM other.t;", check=1)
        self.assertIn("no column x", error)
        magic("sql", stdin=b"", check=0)

    def talk(self, steps):
        """A terminal; steps: (what to type, what must appear before the next step)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(TERM="dumb", HOME=SERVER.folder, MAGIC_SERVER=SERVER.uri)
            os.execv(MAGIC, [MAGIC, "sql"])
        seen = b""
        for typed, expected in [(b"", b"magic> ")] + steps:
            if typed == b"\x04":
                time.sleep(0.5)  # the prompt is there before the terminal's mode is
            os.write(terminal, typed)
            deadline = time.monotonic() + 30
            while expected not in seen:
                self.assertLess(time.monotonic(), deadline, seen[-2000:])
                if not select.select([terminal], [], [], 1)[0]:
                    continue
                try:
                    seen += os.read(terminal, 65536)
                except OSError:
                    break
            self.assertIn(expected, seen)
            seen = seen[seen.index(expected) + len(expected):]
        try:
            while os.read(terminal, 65536):
                pass
        except OSError:
            pass
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_a_terminal(self):
        prompt = b"magic> "
        self.assertEqual(self.talk([(b"SHOW DATABASES;\n", b"3 rows"), (b"", prompt), (b"SELECT id\n", b"-> "),
                                    (b"FROM other.t;\n", b"1 row"), (b"", prompt),
                                    (b"SELECT x FROM other.t;\n", b"no column x"), (b"", prompt),
                                    (b"\x04", b"")]), 0)

    def test_ctrl_c_ends_the_statement_and_not_the_shell(self):
        prompt = b"magic> "
        self.assertEqual(self.talk([(b"SELECT * FROM shop.big;\n", b"note 1 of"), (b"\x03", b"cancelled"),
                                    (b"", prompt), (b"SHOW DATABASES;\n", b"| void"), (b"", prompt),
                                    (b"quit\n", b"")]), 0)


if __name__ == "__main__":
    unittest.main()
