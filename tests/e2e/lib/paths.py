"""Where the built programs are.

SPDX-License-Identifier: Apache-2.0
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RELEASE = Path(os.environ.get("MAGIC_BIN", ROOT / "build" / "release"))
UPSTREAM = Path(os.environ.get("BIN", ROOT / "build" / "upstream"))
VERSION = (ROOT / "VERSION").read_text(encoding="utf-8").strip()

MAGICD = RELEASE / "magicd"
MAGIC = RELEASE / "magic"
SPARK_LINE = os.environ.get("SPARK", "4")  # 3.5 or 4; tests/e2e/run brings the Spark that it wants
SPARK_JAR = ROOT / "build" / "release" / f"spark-magic-{SPARK_LINE}-{VERSION}.jar"
UPSTREAM_SH = ROOT / "tests" / "upstream" / "upstream.sh"
GENERATED = ROOT / "build" / "e2e"


def missing(with_upstream=True):
    """What has to be built before anything here can run."""
    wanted = [MAGICD, MAGIC, SPARK_JAR]
    if with_upstream:
        wanted += [UPSTREAM / name for name in ("tidb-server", "pd-server")]
    return [path for path in wanted if not path.exists()]
