"""bench/spark with a handful of rows: it runs, ends, leaves nothing behind, and its last line has the shape that readers rely on.

SPDX-License-Identifier: Apache-2.0
"""

import json
import subprocess
import sys

from lib import paths


def test_spark(tmp_path):
    folder = tmp_path / "stores"
    folder.mkdir()
    argv = [sys.executable, paths.ROOT / "bench" / "spark" / "bench.py", "--json", "--scale", "0.01", "--runs", "1", "--heap", "1g"]
    argv += ["--only", "q6,q15,count_all,wide,empty", "--dir", folder, "--data", tmp_path / "data"]
    done = subprocess.run([str(one) for one in argv], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    assert list(folder.iterdir()) == []
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "with --json there is one line"
    result = json.loads(lines[0])
    assert (result["bench"], result["figure"], result["ok"]) == ("spark", None, False), "some of it is no figure"
    for state in ("clean", "dirty"):
        assert set(result[state]) == {"q6", "q15", "count_all"}
        assert all(one["ms"] > 0 and one["peer_ms"] > 0 and one["ratio"] > 0 for one in result[state].values())
    assert result["wide"]["vectors"]["bytes"] > 60000 * 100 and result["wide"]["vectors"]["gb_per_core_s"] > 0
    assert result["empty"]["magic_ms"] > 0 and result["all"] == {}
