"""DuckDB or chdb over lineitem, 2 threads, asked line by line: `run SQL`, `size`.

    sql.py duckdb|chdb FOLDER clean|dirty [PICK]

Its store is kept in FOLDER and made once from FOLDER/lineitem.parquet. PICK, an expression with values from 0 to 99, says
which rows are changed in a dirty one: below 10 updated, 10 deleted.
DuckDB    a file of its own; dirty: UPDATE, DELETE, CHECKPOINT.
chdb      MergeTree in the order of the key, merged into one part. Dirty: a ReplacingMergeTree(ver, gone) of that part and
          of one for the updates and one for the deletions, merges forbidden, asked with `final = 1`.
An answer is "ok WALL_NS CPU_NS LINES" and the rows, columns divided by "|"; or "no WHY". Protocol: bench/peer.h.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil
import sys
import time

THREADS = 2
COLUMNS = """l_orderkey Int64, l_partkey Int64, l_suppkey Int64, l_linenumber Int32, l_quantity Decimal(15, 2),
l_extendedprice Decimal(15, 2), l_discount Decimal(15, 2), l_tax Decimal(15, 2), l_returnflag String, l_linestatus String,
l_shipdate Date32, l_commitdate Date32, l_receiptdate Date32, l_shipinstruct String, l_shipmode String, l_comment String"""
NAMES = ", ".join(part.split()[0] for part in COLUMNS.replace("(15, 2)", "").split(","))
CHANGED = NAMES.replace("l_quantity", "51 - l_quantity").replace("l_extendedprice", "l_extendedprice + 1")


class DuckDB:
    def __init__(self, folder, kind, pick):
        import duckdb

        path = folder / f"duckdb-{kind}.db"
        if not path.exists():
            making = folder / f"duckdb-{kind}.making"
            making.unlink(missing_ok=True)
            with duckdb.connect(str(making)) as con:
                con.execute(f"SET threads={THREADS}")
                con.execute(f"CREATE TABLE lineitem AS FROM '{folder}/lineitem.parquet'")
                if kind == "dirty":
                    con.execute("CHECKPOINT")
                    con.execute("UPDATE lineitem SET l_extendedprice = l_extendedprice + 1, "
                                f"l_quantity = 51 - l_quantity WHERE {pick} < 10")
                    con.execute(f"DELETE FROM lineitem WHERE {pick} = 10")
                con.execute("CHECKPOINT")
            os.replace(making, path)
        self.con = duckdb.connect(str(path), read_only=True)
        self.con.execute(f"SET threads={THREADS}")
        self.path = path

    def run(self, sql):
        rows = self.con.execute(sql).fetchall()
        return ["|".join(str(value) for value in row) for row in rows]

    def size(self):
        return [str(self.path.stat().st_size)]


class Chdb:
    def __init__(self, folder, kind, pick):
        from chdb import session

        path = folder / f"chdb-{kind}"
        done = folder / f"chdb-{kind}.done"
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)
        self.session = session.Session(str(path))
        self.settings = f"SETTINGS max_threads={THREADS}" + (", final=1" if kind == "dirty" else "")
        if not done.exists():
            self.fill(folder, kind, pick)
            done.touch()

    def fill(self, folder, kind, pick):
        ask = self.session.query
        dirty = kind == "dirty"
        ask("CREATE DATABASE IF NOT EXISTS tpch ENGINE = Atomic")
        engine = "ReplacingMergeTree(ver, gone)" if dirty else "MergeTree"
        more = ", ver UInt32, gone UInt8" if dirty else ""
        ask(f"CREATE TABLE tpch.lineitem ({COLUMNS}{more}) ENGINE = {engine} ORDER BY (l_orderkey, l_linenumber)")
        base = ", 1, 0" if dirty else ""
        ask(f"INSERT INTO tpch.lineitem SELECT {NAMES}{base} FROM file('{folder}/lineitem.parquet', Parquet)")
        ask("OPTIMIZE TABLE tpch.lineitem FINAL")
        if dirty:
            one_part = "SETTINGS max_insert_threads=1, min_insert_block_size_rows=1000000000, min_insert_block_size_bytes=0"
            ask("ALTER TABLE tpch.lineitem MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool=1")
            ask("SYSTEM STOP MERGES")
            ask(f"INSERT INTO tpch.lineitem SELECT {CHANGED}, 2, 0 FROM tpch.lineitem WHERE {pick} < 10 {one_part}")
            ask(f"INSERT INTO tpch.lineitem SELECT {NAMES}, 2, 1 FROM tpch.lineitem WHERE ver = 1 AND {pick} = 10 {one_part}")

    def run(self, sql):
        text = str(self.session.query(sql.replace(" lineitem", " tpch.lineitem") + " " + self.settings, "TSV"))
        return [line.replace("\t", "|") for line in text.splitlines()]

    def size(self):
        return str(self.session.query("SELECT sum(bytes_on_disk), count() FROM system.parts WHERE database = 'tpch' "
                                      "AND table = 'lineitem' AND active", "TSV")).replace("\t", "|").splitlines()


def main():
    kind, folder, state = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    pick = sys.argv[4] if len(sys.argv) > 4 else ""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    peer = {"duckdb": DuckDB, "chdb": Chdb}[kind](folder, state, pick)
    for request in sys.stdin:
        word, _, rest = request.strip().partition(" ")
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        try:
            lines = peer.run(rest) if word == "run" else peer.size()
            wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            print(f"ok {wall} {cpu} {len(lines)}", *lines, sep="\n", file=out)
        except Exception as error:  # the peer's own words are what the reader needs
            print("no", str(error).replace("\n", " ")[:2000], file=out)
        out.flush()


if __name__ == "__main__":
    main()
