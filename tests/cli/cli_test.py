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

    def test_stats(self):
        stats = json.loads(magic("stats", "-f", "json", "shop.big")[0])
        column = stats["columns"][0]
        self.assertEqual((stats["table"], stats["rows"], column["name"]), ("big", 300000, "id"))
        self.assertEqual((column["nulls"], column["low"], column["high"]), (0, "0", "299999"))
        self.assertTrue(column["exact"] and column["bounds_exact"])
        self.assertLess(abs(column["distinct"] - 300000), 300000 * 0.06)
        out, _ = magic("stats", "shop.types")
        self.assertIn("distinct about", out)
        self.assertIn("takes one name", magic("stats", "shop", check=1)[1])
        self.assertIn("there is no table", magic("stats", "shop.nonsense", check=1)[1])

    def test_lag_status_set(self):
        self.assertIn("no source", magic("lag")[0])
        self.assertEqual(json.loads(magic("lag", "-f", "json")[0])["state"], "none")
        magic("status")
        self.assertEqual(magic("set", "splits", "5")[0], "splits = 5\n")
        self.assertIn("nonsense", magic("set", "nonsense", "5", check=1)[1])

    def test_compact(self):
        out, _ = magic("compact", "shop.big", "--wait")
        self.assertRegex(out, r"^\d+  shop\.big  done")
        asked = json.loads(magic("compact", "shop.big", "--range", "100..20000", "-f", "json")[0])
        self.assertTrue(asked["has_range"])
        self.assertIn(asked["state"], ("queued", "running", "done"))
        listed = [json.loads(line) for line in magic("compactions", "-f", "json")[0].splitlines()]
        self.assertEqual([item["id"] for item in listed], sorted(item["id"] for item in listed))
        self.assertEqual(json.loads(magic("compactions", str(asked["id"]), "-f", "json")[0])["table"], "big")
        self.assertEqual(magic("compact", "--status")[0].count("\n"), len(listed))
        self.assertIn("shop.big", magic("compact", "--status", str(asked["id"]))[0])
        magic("compact", "shop.big", "--range", "..20000", "--wait")
        out, error = magic("compact", "--cancel", "1", check=1)
        self.assertIn("compaction 1 is over", error)

    def test_compact_errors_have_values(self):
        for arguments, text, status in (
                (["compact"], "not nothing", 2), (["compact", "shop"], "'shop'", 2),
                (["compact", "shop.big", "--range", "5"], "'5'", 2), (["compact", "--cancel", "x"], "'x'", 2),
                (["compact", "shop.nothing"], "nothing", 1), (["compact", "shop.big", "--range", "a..b"], "'a'", 1),
                (["compact", "shop.big", "--range", "9..2"], "9..2", 1), (["compactions", "77777"], "77777", 1),
                (["compact", "--cancel", "77777"], "77777", 1), (["compactions", "x"], "'x'", 2),
                (["status", "--wait"], "--wait", 2)):
            with self.subTest(arguments=arguments):
                self.assertIn(text, magic(*arguments, check=status)[1])

    def test_lag_watch_goes_on(self):
        child = subprocess.Popen([MAGIC, "-s", SERVER.uri, "lag", "--watch", "0.05"], stdout=subprocess.PIPE)
        lines = [child.stdout.readline() for _ in range(3)]
        child.send_signal(signal.SIGINT)
        child.wait(timeout=10)
        child.stdout.close()
        self.assertEqual(len(set(lines)), 1)

    def test_help(self):
        out, _ = magic("--help", server=False)
        for command in ("sql", "tables", "stats", "status", "lag", "load", "compact", "compactions", "set"):
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
        for command in ("verify", "check", "user"):
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


class Load(unittest.TestCase):
    """Arrow files are written by the shell itself; what needs pyarrow is skipped without it."""

    def setUp(self):
        self.path = os.path.join(SERVER.folder, "load")
        os.makedirs(self.path, exist_ok=True)
        self.table = "other." + self._testMethodName

    def arrow(self, name, sql):
        path = os.path.join(self.path, name)
        with open(path, "wb") as file:
            subprocess.run([MAGIC, "-s", SERVER.uri, "sql", "-f", "arrow", "-e", sql], stdout=file, check=True)
        return path

    def ids(self):
        return sorted(map(int, magic("sql", "-f", "csv", "-e", "SELECT id FROM " + self.table)[0].split()[1:]))

    def test_arrow_streams(self):
        low = self.arrow("low.arrows", "SELECT id FROM shop.big WHERE id < 1000")
        high = self.arrow("high.arrows", "SELECT id FROM shop.big WHERE id >= 200000")
        out, error = magic("load", self.table, low, high, "--create", "--key", "id")
        self.assertRegex(out, r"^other\.\w+: 101000 rows in \d+\.\d{3} s, \d+ rows/s, [\d.]+ MB/s, visible from epoch \d+ on\n$")
        self.assertEqual(error, "")
        self.assertEqual(self.ids(), list(range(1000)) + list(range(200000, 300000)))
        self.assertIn("is there already", magic("load", self.table, low, "--create", "--key=id", check=1)[1])
        magic("load", "--replace", self.table, low)
        self.assertEqual(self.ids(), list(range(1000)))
        magic("load", self.table, high, "--rows-per-epoch", "7000")
        magic("load", self.table, self.arrow("more.arrows", "SELECT id FROM shop.big WHERE id = 5000"), "--create", "--append")
        self.assertEqual(len(self.ids()), 101001)

    def test_every_type_comes_back(self):
        types = self.arrow("types.arrows", "SELECT * FROM shop.types")
        magic("load", self.table, types, "--create", "-k", "id")
        select = "SELECT id, u64, price, huge, f32, born, seen, name FROM %s WHERE id < 100"
        want, got = (sorted(magic("sql", "-f", "csv", "-e", select % t)[0].splitlines()) for t in ("shop.types", self.table))
        self.assertEqual(len(got), 101)
        self.assertEqual([line.split(",")[:6] for line in got], [line.split(",")[:6] for line in want])

    def test_bad_rows_are_named(self):
        some = self.arrow("some.arrows", "SELECT id FROM shop.big WHERE id < 10")
        other = self.arrow("other.arrows", "SELECT id FROM shop.big WHERE id = 3")
        _, error = magic("load", self.table, some, other, "--create", "--key", "id", check=1)
        self.assertRegex(error, r"row 11: the key \(id = 3\) is that of row \d+; row 11 is row 1 of .*other\.arrows\n$")
        self.assertNotIn(self.table.split(".")[1], magic("tables", "other")[0])
        null = self.arrow("null.arrows", "SELECT u64, id FROM shop.types")
        _, error = magic("load", self.table, null, "--create", "--key", "u64", check=1)
        self.assertRegex(error, r"row \d+: NULL in key column u64")

    def test_wrong_use(self):
        some = self.arrow("some.arrows", "SELECT id FROM shop.big WHERE id < 10")
        for arguments in (["load"], ["load", "t"], ["load", "t", some], ["load", "a.b", some, "--rows-per-epoch", "x"],
                          ["load", "a.b", some, "--create", "--replace"], ["sql", "--create"]):
            with self.subTest(arguments=arguments):
                self.assertTrue(magic(*arguments, check=2)[1])
        self.assertIn("owned by source tidb", magic("load", "shop.big", some, check=1)[1])
        self.assertIn("name its columns", magic("load", self.table, some, "--create", check=1)[1])
        self.assertIn("no table", magic("load", self.table, some, check=1)[1])
        self.assertIn("nothing.arrow", magic("load", self.table, "/nothing.arrow", check=1)[1])
        self.assertIn("neither Arrow nor Parquet", magic("load", self.table, __file__, check=1)[1])
        two = self.arrow("two.arrows", "SELECT id, u64 FROM shop.types")
        self.assertIn("other columns", magic("load", self.table, some, two, "--create", "-k", "id", check=1)[1])
        with open(some, "rb") as file:
            cut = os.path.join(self.path, "cut.arrows")
            with open(cut, "wb") as to:
                to.write(file.read()[:-100])
            self.assertIn("cut short", magic("load", self.table, cut, "--create", "-k", "id", check=1)[1])
            with open(cut, "wb") as to:  # between two messages
                file.seek(0)
                to.write(file.read()[:-8])
            self.assertIn("cut short", magic("load", self.table, cut, "--create", "-k", "id", check=1)[1])

    def test_without_python(self):
        path = os.path.join(self.path, "t.csv")
        with open(path, "w") as file:
            file.write("id,v\n1,x\n")
        for python in ("/nothing/python3", "/bin/false"):
            os.environ["MAGIC_PYTHON"] = python
            try:
                _, error = magic("load", self.table, path, "--create", "-k", "id", check=1)
            finally:
                del os.environ["MAGIC_PYTHON"]
            self.assertIn("pyarrow" if "nothing" in python else "ended before its time", error)

    def with_pyarrow(self):
        python = os.path.join(flight_server.ROOT, "build", "venv", "bin", "python")
        python = python if os.path.exists(python) else sys.executable
        if subprocess.run([python, "-c", "import pyarrow.parquet"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no pyarrow")
        os.environ["MAGIC_PYTHON"] = python
        self.addCleanup(os.environ.pop, "MAGIC_PYTHON")
        return python

    WRITE = """
import sys, datetime, pyarrow as pa, pyarrow.parquet as parquet
rows = 100000
table = pa.table({"id": pa.array(range(rows), pa.int64()), "ok": pa.array([i % 2 == 0 for i in range(rows)]),
                  "at": pa.array([i * 1000 for i in range(rows)], pa.timestamp("ns")),
                  "kind": pa.array(["a", None, "c", "d"] * (rows // 4)).dictionary_encode(),
                  "note": pa.array(["note %d" % i for i in range(rows)], pa.large_string())})
parquet.write_table(table, sys.argv[1] + "/t.parquet")
parquet.write_table(table.append_column("odd", pa.array([b"x"] * rows)), sys.argv[1] + "/odd.parquet")
parquet.write_table(table.set_column(2, "at", pa.array([1] * rows, pa.timestamp("ns"))), sys.argv[1] + "/ns.parquet")
with pa.ipc.new_file(sys.argv[1] + "/t.arrow", table.select(["id"]).schema) as file: file.write(table.select(["id"]))
big = table.select(["id", "kind"])
with pa.ipc.new_file(sys.argv[1] + "/lz4.arrow", big.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file: file.write(big)
big = pa.table({"id": pa.array(range(1100000), pa.int32())})
with pa.ipc.new_stream(sys.argv[1] + "/big.arrows", big.schema) as file: file.write(big)
with pa.ipc.new_file(sys.argv[1] + "/none.arrow", table.select(["id"]).schema) as file: pass
with open(sys.argv[1] + "/t.csv", "w") as file: file.write("id,v,day\\n1,x,2024-01-01\\n2,,2024-02-29\\n")
"""

    def test_files_of_others(self):
        python = self.with_pyarrow()
        subprocess.run([python, "-c", self.WRITE, self.path], check=True)
        file = lambda name: os.path.join(self.path, name)  # noqa: E731
        magic("load", self.table, file("t.parquet"), "--create", "--key", "id")
        out, _ = magic("sql", "-f", "csv", "-e", "SELECT id, ok, at, kind, note FROM %s WHERE id = 4 OR id = 5" % self.table)
        self.assertEqual(sorted(out.splitlines()[1:]), ["4,1,1970-01-01 00:00:00.000004,a,note 4",
                                                        "5,0,1970-01-01 00:00:00.000005,,note 5"])
        self.assertEqual(len(self.ids()), 100000)
        self.assertIn('"odd"', magic("load", "other.odd", file("odd.parquet"), "--create", "-k", "id", check=1)[1])
        self.assertRegex(magic("load", "other.odd", file("ns.parquet"), "--create", "-k", "id", check=1)[1], "ns.parquet.*lose data")
        magic("load", self.table, file("t.arrow"), "--replace")
        self.assertEqual(self.ids(), list(range(100000)))
        magic("load", self.table, file("lz4.arrow"), "--replace")
        self.assertEqual(self.ids(), list(range(100000)))
        magic("load", self.table, file("big.arrows"), "--replace")
        self.assertEqual(len(self.ids()), 1100000)
        magic("load", self.table, file("none.arrow"), "--replace")
        self.assertEqual(self.ids(), [])
        magic("load", "other.csv", file("t.csv"), "--create", "-k", "id")
        self.assertEqual(sorted(magic("sql", "-f", "csv", "-e", "SELECT * FROM other.csv")[0].splitlines()),
                         ["1,x,2024-01-01", '2,"",2024-02-29', "id,v,day"])

    def test_a_terminal_shows_progress(self):
        big = self.arrow("big.arrows", "SELECT id FROM shop.big")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(MAGIC, [MAGIC, "-s", SERVER.uri, "load", self.table, big, "--create", "-k", "id", "--rows-per-epoch", "300"])
        seen = b""
        while b"rows/s, " not in seen or b"%" not in seen:
            seen += os.read(terminal, 65536)
        shown = ""
        while self.table.split(".")[1] not in shown:  # what was sent may not be stored yet
            shown = magic("sql", "-f", "csv", "-e", "SHOW TABLES FROM other")[0]
        os.write(terminal, b"\x03")
        try:
            while True:
                seen += os.read(terminal, 65536)
        except OSError:
            pass
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 130)
        self.assertRegex(seen, rb"\[=* *\] +\d+ %  \d+ rows, \d+ rows/s")
        self.assertIn(b"interrupted; rows of complete epochs are stored", seen)
        self.assertEqual(len(self.ids()) % 300, 0)


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
