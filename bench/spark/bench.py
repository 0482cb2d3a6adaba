"""Spark on Magic against Spark on Parquet: the same session, the same two cores, the same TPC-H rows; see README.md.

SPDX-License-Identifier: Apache-2.0
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from lib import paths, spark as spark_lib, tpch, tpch_queries, wait  # noqa: E402
from lib.magicd import Magicd  # noqa: E402
from lib.wire import Wire  # noqa: E402

FIGURES = {
    **{name: tpch_queries.QUERIES[name] for name in ("q1", "q6", "q12", "q14", "q15")},
    "count_all": "SELECT count(*) FROM lineitem",
    "sum_int32": "SELECT sum(l_linenumber) FROM lineitem",
    "sum_bigint": "SELECT sum(l_partkey) FROM lineitem",
    "sum_decimal": "SELECT sum(l_extendedprice) FROM lineitem",
}
# How many times as fast as Parquet each has to be.
GOALS = {"q1": 10, "q6": 10, "q12": 2, "q14": 2, "q15": 2, "wide": 2}
GOALS.update({name: 3 for name in FIGURES if name not in GOALS})
GOAL_22_LEAST, GOAL_22 = 1.0, 1.5
GOAL_GB_PER_CORE_S = 1.0
GOAL_EMPTY_MS = 50
WIDE = "SELECT * FROM lineitem"
EMPTY = {
    "bare": ("spark_catalog.default", "SELECT id FROM range(0, 1, 1, 1)"),
    "parquet": ("spark_catalog.tpch", "SELECT r_regionkey FROM region WHERE r_regionkey = 0"),
    "magic": ("magic.tpch", "SELECT r_regionkey FROM region WHERE r_regionkey = 0"),
}
EMPTY_RUNS = 20
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """CPU seconds of a process so far."""
    part = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(part[11]) + int(part[12])) * TICK_S


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def collect(spark, text):
    return spark.sql(text).collect()


def write_nowhere(spark, text):
    spark.sql(text).write.format("noop").mode("overwrite").save()


def fill_vectors(spark, text):
    """Every batch of the scan into Spark's vectors, and nothing else: no row is made of them."""
    plan = spark.sql(text)._jdf.queryExecution().executedPlan()
    while not plan.supportsColumnar():
        plan = plan.children().apply(0)
    plan.executeColumnar().count()


class Bench:
    """One session, one magicd, and where each side's tables are."""

    def __init__(self, options, spark, magicd):
        self.options, self.spark, self.magicd = options, spark, magicd
        self.jvm = spark._jvm.java.lang.ProcessHandle.current().pid()

    def say(self, text):
        if not self.options.json:
            print(text, flush=True)

    def wanted(self, name):
        return not self.options.only or name in self.options.only

    # ---- one run ----

    def timed(self, how, text):
        """Of the whole: planning, scan, answer."""
        before, began = (cpu_s(self.jvm), cpu_s(self.magicd.program.pid)), time.perf_counter()
        how(self.spark, text)
        seconds = time.perf_counter() - began
        jvm, server = cpu_s(self.jvm) - before[0], cpu_s(self.magicd.program.pid) - before[1]
        return {"ms": seconds * 1e3, "jvm_ms": jvm * 1e3, "cpu_ms": (jvm + server) * 1e3}

    def alternate(self, namespaces, text, how=collect):
        """Runs of each namespace in turn, every other time the other way round: {namespace: [run, ...]}"""
        runs = {namespace: [] for namespace in namespaces}
        for number in range(self.options.runs):
            for namespace in namespaces[:: -1 if number % 2 else 1]:
                self.spark.sql(f"USE {namespace}")
                runs[namespace].append(self.timed(how, text))
        return runs

    @staticmethod
    def least(runs, what="ms"):
        return min(run[what] for run in runs)

    def compare(self, name, text, magic, files, how=collect):
        """A run of each side that does not count, whose answers must be equal; then times. Returns what the JSON says of it."""
        answers = []
        for namespace in (files, magic):
            self.spark.sql(f"USE {namespace}")
            answers.append(how(self.spark, text))
        wrong = tpch_queries.disagreement(name, *answers) if how is collect else ""
        if wrong:
            sys.exit(f"spark: {name}: Parquet and Magic differ: {wrong}")
        runs = self.alternate((magic, files), text, how)
        ours, theirs = runs[magic], runs[files]
        told = {
            "ms": self.least(ours),
            "median_ms": statistics.median(run["ms"] for run in ours),
            "cpu_ms": self.least(ours, "cpu_ms"),
            "jvm_ms": self.least(ours, "jvm_ms"),
            "peer_ms": self.least(theirs),
            "peer_median_ms": statistics.median(run["ms"] for run in theirs),
            "peer_cpu_ms": self.least(theirs, "cpu_ms"),
        }
        told["ratio"] = told["peer_ms"] / told["ms"]
        told["cpu_ratio"] = told["peer_cpu_ms"] / max(told["cpu_ms"], 1e3 * TICK_S)
        self.say(
            f"  {name:12} {told['ms']:9.1f} ms (median {told['median_ms']:9.1f}, CPU {told['cpu_ms']:9.1f});"
            f" Parquet {told['peer_ms']:9.1f} ({told['peer_median_ms']:9.1f}, {told['peer_cpu_ms']:9.1f}):"
            f" {told['ratio']:6.2f}x, CPU {told['cpu_ratio']:6.2f}x"
        )
        return told

    # ---- parts of the benchmark ----

    def figures(self, state, magic, files):
        self.say(f"{state}: aggregates and filters in the scan")
        return {
            name: self.compare(name, text.strip(), magic, files) for name, text in FIGURES.items() if self.wanted(name)
        }

    def wide(self, state, magic, files):
        """All columns: into the sink `noop`, which is given rows, and into Spark's vectors only."""
        if not self.wanted("wide"):
            return {}
        self.say(f"{state}: all columns of lineitem, nothing pushed")
        with Wire(self.magicd.uri) as wire:

            def sent():
                return int(wire.status()[("counter", "scan_bytes")])

            self.spark.sql(f"USE {magic}")
            before = sent()
            fill_vectors(self.spark, WIDE)
            size = sent() - before
        told = {}
        for name, how in ("wide", write_nowhere), ("vectors", fill_vectors):
            told[name] = self.compare(name, WIDE, magic, files, how)
        per_s = size / 1e9 / (told["vectors"]["jvm_ms"] / 1e3)
        told["vectors"].update({"bytes": size, "gb_per_core_s": per_s})
        self.say(f"  {size / 1e9:.2f} GB of Arrow, {per_s:.2f} GB per CPU-second of Spark's process")
        return told

    def all_22(self):
        if not self.wanted("all"):
            return {}
        self.say("all 22")
        told = {}
        for name in tpch_queries.QUERIES:
            text = tpch_queries.query(name, self.options.scale)
            told[name] = self.compare(name, text, "magic.tpch", "spark_catalog.tpch")
        return told

    def empty(self):
        """What a statement over Magic costs that does nothing, beyond a statement of Spark's that does nothing."""
        if not self.wanted("empty"):
            return None
        times = {name: [] for name in EMPTY}
        for number in range(EMPTY_RUNS + 3):
            for name, (namespace, text) in EMPTY.items():
                self.spark.sql(f"USE {namespace}")
                run = self.timed(collect, text)
                if number >= 3:
                    times[name].append(run["ms"])
        told = {f"{name}_ms": min(runs) for name, runs in times.items()}
        told.update({f"{name}_median_ms": statistics.median(runs) for name, runs in times.items()})
        told["over_bare_ms"] = told["magic_ms"] - told["bare_ms"]
        told["over_bare_median_ms"] = told["magic_median_ms"] - told["bare_median_ms"]
        self.say(
            f"empty: bare {told['bare_ms']:.1f} ms, one row of Magic {told['magic_ms']:.1f}, of Parquet {told['parquet_ms']:.1f};"
            f" over bare {told['over_bare_ms']:.1f} (medians {told['over_bare_median_ms']:.1f})"
        )
        return told

    def against_clean(self):
        """Magic's own dirty tables against its clean ones."""
        self.say("Magic, dirty against clean")
        told = {}
        for name, text in {**FIGURES, "wide": WIDE}.items():
            if not self.wanted(name):
                continue
            runs = self.alternate(("magic.tpch", "magic.dirty"), text.strip(), write_nowhere if name == "wide" else collect)
            clean, dirty = runs["magic.tpch"], runs["magic.dirty"]
            told[name] = {
                "ratio": self.least(dirty) / self.least(clean),
                "cpu_ratio": self.least(dirty, "cpu_ms") / max(self.least(clean, "cpu_ms"), 1e3 * TICK_S),
            }
            self.say(f"  {name:12} {told[name]['ratio']:5.2f}x of clean, CPU {told[name]['cpu_ratio']:5.2f}x")
        return told


# ---- tables ----


def settle(magicd, seconds=900):
    """Until the store has flushed and merged what it wants to."""
    seen, since = None, time.monotonic()

    def quiet():
        nonlocal seen, since
        status = wire.status()
        now = [status[("engine", name)] for name in ("flushes", "merges", "parts", "delta_bytes", "checkpoints")]
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 8

    with Wire(magicd.uri) as wire:
        wait.until(quiet, seconds, "the store has nothing left to merge", step=0.5)


def fill(options, magicd):
    """Parquet in options.data, made once; Magic's tables: tpch as they are, dirty with the changes."""
    clean, dirty = options.data / "clean", options.data / "dirty"
    tpch.make_clean(clean, options.scale)
    tpch.make_dirty(clean, dirty)
    for database in ("tpch", "dirty"):
        tpch.load(magicd, database, clean)
    settle(magicd)
    tpch.change(magicd, "dirty", dirty)
    settle(magicd)


def judge(result):
    """(figure, whether every goal is reached, those that are missed)"""
    missed = [
        name for name, goal in GOALS.items() if (result["wide"] if name == "wide" else result["clean"])[name]["ratio"] < goal
    ]
    ratios = [told["ratio"] for told in result["all"].values()]
    if min(ratios) < GOAL_22_LEAST:
        missed.append("least of 22")
    if geomean(ratios) < GOAL_22:
        missed.append("geomean of 22")
    if result["wide"]["vectors"]["gb_per_core_s"] < GOAL_GB_PER_CORE_S:
        missed.append("GB per core-second")
    if result["empty"]["over_bare_ms"] > GOAL_EMPTY_MS:
        missed.append("empty")
    return geomean([result["clean"][name]["ratio"] for name in FIGURES]), not missed, missed


def rounded(value):
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def run(options, spark, magicd):
    bench = Bench(options, spark, magicd)
    clean, dirty = options.data / "clean", options.data / "dirty"
    tpch.show_parquet(spark, "tpch", clean)
    tpch.show_parquet(spark, "dirty", clean, dirty)
    with Wire(magicd.uri) as wire:
        status = wire.status()
        rows, dead = (int(status[("engine", name)]) for name in ("rows", "rows_deleted"))
    bench.say(f"spark: Spark {spark.version}, scale {options.scale:g}, {options.runs} runs that alternate; minima."
              f" {rows} rows, {dead} dead ones beside them")  # fmt: skip
    told = {
        "peer": f"Spark {spark.version} on Parquet (zstd)", "scale": options.scale, "runs": options.runs, "load": os.getloadavg()[0],
        "clean": bench.figures("clean", "magic.tpch", "spark_catalog.tpch"),
        "wide": bench.wide("clean", "magic.tpch", "spark_catalog.tpch"),
        "all": bench.all_22(),
        "empty": bench.empty(),
        # Iceberg and Kudu would be further namespaces here, with the same rows as spark_catalog.dirty.
        "dirty": bench.figures("dirty", "magic.dirty", "spark_catalog.dirty"),
        "dirty_wide": bench.wide("dirty", "magic.dirty", "spark_catalog.dirty"),
        "dirty_of_clean": bench.against_clean(),
    }  # fmt: skip
    head = {"bench": "spark", "figure": None, "unit": "x of Spark on Parquet",
            "goal": "q1, q6 >= 10; q12, q14, q15, wide >= 2; count, sums >= 3; 22: none < 1, geomean >= 1.5", "ok": False}  # fmt: skip
    if not options.only:
        head["figure"], head["ok"], head["missed"] = judge(told)
        ratios = {name: one["ratio"] for name, one in told["all"].items()}
        slowest = min(ratios, key=ratios.get)
        head.update({"all_geomean": geomean(ratios.values()), "all_least": ratios[slowest], "all_least_is": slowest})
        bench.say(f"figure {head['figure']:.2f}x; 22: geomean {head['all_geomean']:.2f}x, least {head['all_least']:.2f}x"
                  f" ({head['all_least_is']}); missed: {', '.join(head['missed']) or 'nothing'}")  # fmt: skip
    print(json.dumps(rounded({**head, **told})))


def main():
    parser = argparse.ArgumentParser(prog="bench/spark/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scale 0.1, 3 runs")
    parser.add_argument("--json", action="store_true", help="only the last line")
    parser.add_argument("--scale", type=float, help="of TPC-H: 1; 10 is for the record")
    parser.add_argument("--runs", type=int, help="of each side and query: 5")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="q1, count_all, wide, all, empty, ...; no figure")
    parser.add_argument("--dir", type=Path, help="where the store is made: a temporary folder")
    parser.add_argument("--data", type=Path, help="where the Parquet files are kept: build/bench-data/spark")
    parser.add_argument("--heap", default="8g", help="of Spark's process")
    options = parser.parse_args()
    options.scale = options.scale or (0.1 if options.quick else 1.0)
    options.runs = options.runs or (3 if options.quick else 5)
    options.data = (options.data or ROOT / "build" / "bench-data" / "spark") / f"sf{options.scale:g}"
    folder = Path(tempfile.mkdtemp(prefix="magic-bench-spark-", dir=options.dir))
    magicd = Magicd(folder, flags=["--checkpoint-interval", "5s"])  # so that there is none in the middle
    try:
        magicd.start()
        fill(options, magicd)
        spark = spark_lib.session(magicd.uri, **{"spark.driver.memory": options.heap, "spark.sql.catalog.magic.splits": "2"})
        run(options, spark, magicd)
    finally:
        spark_lib.end()
        magicd.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
