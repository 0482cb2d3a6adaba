"""magic-bench with a handful of rows: each benchmark runs, ends, leaves no folder behind, and its last line has the shape
that readers of figures rely on. No figure is judged, no peer is asked (--rows: lineitem's rows are made by the program).
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BENCH = pathlib.Path(os.environ["MAGIC_BUILD"]) / "magic-bench"
QUERIES = ["q1", "q6", "q14_scan", "count_all", "sum_int32", "sum_bigint", "sum_decimal", "filter_date", "group_flag", "max_key"]


class BenchTest(unittest.TestCase):
    def run_bench(self, *arguments):
        """The JSON line, after its shape was checked."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([BENCH, *map(str, arguments), "--json", "--dir", folder], stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 0)
            self.assertEqual(os.listdir(folder), [])
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 1, "with --json there is one line")
        result = json.loads(lines[0])
        self.assertEqual(result["bench"], arguments[0])
        for name, kind in ("figure", (int, float)), ("unit", str), ("goal", str), ("ok", bool):
            self.assertIsInstance(result[name], kind)
        return result

    def check_no_peer(self, result):
        """Without its peer a figure that compares is never called reached."""
        self.assertIsNone(result["peer"])
        self.assertFalse(result["ok"])

    def test_apply(self):
        self.assertGreater(self.run_bench("apply", "--rows", 5000, "--seconds", 0.1)["epochs"], 0)

    def test_lookup(self):
        result = self.run_bench("lookup", "--rows", 5000)
        self.assertEqual(result["parts"], 10)
        self.assertGreater(result["point_p99_us"], 0)

    def test_growth(self):
        result = self.run_bench("growth", "--rows", 500, "--seconds", 0.1)
        self.assertEqual([result[f"rows_{i}"]["rows"] for i in range(3)], [500, 5000, 50000])

    def test_mem(self):
        self.assertEqual(self.run_bench("mem", "--rows", 60000)["rows"], 60000)

    def test_what_is_long_is_asked_for(self):
        for name in "growth", "mem":
            done = subprocess.run([BENCH, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("--full", done.stderr)

    def test_aggregate(self):
        self.assertGreater(self.run_bench("aggregate", "--rows", 20000)["q1"], 0)

    def test_scan(self):
        result = self.run_bench("scan", "--rows", 20000)
        self.check_no_peer(result)
        self.assertEqual(result["rows"], 20000)
        for query in QUERIES:
            self.assertGreater(result[query]["ms"], 0)

    def test_dirty(self):
        result = self.run_bench("dirty", "--rows", 20000)
        self.check_no_peer(result)
        self.assertAlmostEqual(result["row_ratio"], 1.111, places=2)
        self.assertGreater(result["flushed_q1"]["ratio"], 0)

    def test_size(self):
        result = self.run_bench("size", "--rows", 20000)
        self.check_no_peer(result)
        self.assertGreater(result["bytes"], 0)

    def test_load(self):
        result = self.run_bench("load", "--rows", 20000)
        self.assertEqual([result[way]["rows"] for way in ("engine", "doput")], [20000, 20000])

    def test_storm(self):
        result = self.run_bench("storm", "--rows", 200)
        self.assertEqual([result[way]["commits"] for way in ("synced", "memory")], [200, 2000])

    def test_pin(self):
        result = self.run_bench("pin", "--rows", 20000, "--seconds", 0.2)
        self.assertGreater(result["pins_20"]["updates_per_s"], 0)

    def test_restart(self):
        self.assertGreater(self.run_bench("restart", "--rows", 20000)["rows"], 19000)

    def test_arrow_out(self):
        result = self.run_bench("arrow-out", "--rows", 20000)
        self.check_no_peer(result)
        self.assertEqual(result["c_client"]["rows"], 20000)

    def test_a_peer_that_is_missing_is_said(self):
        done = subprocess.run([BENCH, "scan", "--json", "--data", "/nonexistent", "--python", "/nonexistent/python"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nonexistent/python; tools/bench installs it", done.stderr)

    def test_wrong_usage(self):
        for arguments in ([], ["nothing"], ["scan", "--rows"]):
            done = subprocess.run([BENCH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("arrow-out", done.stderr)


if __name__ == "__main__":
    unittest.main()
