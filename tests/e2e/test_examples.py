"""The examples do what they say, in each of Spark's shells.

SPDX-License-Identifier: Apache-2.0
"""

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from lib import paths
from lib.magicd import Magicd

EXAMPLES = paths.ROOT / "examples"
SHELLS = Path(pyspark.__file__).parent / "bin"


@pytest.fixture(scope="module")
def magicd(tmp_path_factory):
    """With the table of the examples."""
    os.environ["MAGIC_PYTHON"] = sys.executable
    running = Magicd(tmp_path_factory.mktemp("examples")).start()
    running.magic("load", "lake.trips", str(EXAMPLES / "trips.csv"), "--create", "--key", "id")
    yield running
    running.stop()


def run(magicd, folder, shell, *arguments):
    conf = {
        "spark.sql.catalog.magic": "io.magicstore.spark.MagicCatalog",
        "spark.sql.catalog.magic.uri": magicd.uri,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.local.dir": folder,
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Djava.io.tmpdir={folder}",
    }
    settings = [part for name, value in conf.items() for part in ("--conf", f"{name}={value}")]
    done = subprocess.run(
        [SHELLS / shell, "--master", "local[2]", "--jars", paths.SPARK_JAR, *settings, *arguments],
        cwd=folder,
        env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(SHELLS.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_spark_submit(magicd, tmp_path):
    out = run(magicd, tmp_path, "spark-submit", EXAMPLES / "trips.py")
    rows = [line.replace(" ", "") for line in out.splitlines() if line.startswith("|")]
    assert rows == ["|id|city|fare|", "|4|Oslo|64.0|", "|7|Lisbon|33.0|", "|9|Oslo|38.5|"], out
    assert "longer than usual: [4, 5, 7]" in out


def test_spark_sql(magicd, tmp_path):
    out = run(magicd, tmp_path, "spark-sql", "-f", EXAMPLES / "trips.sql")
    rows = [line.split("\t") for line in out.splitlines()]
    assert ["trips"] in rows or ["lake", "trips", "false"] in rows, out
    counted = [row[:2] for row in rows if len(row) == 3 and row[0] in ("Lisbon", "Oslo", "Porto")]
    assert counted == [["Lisbon", "4"], ["Oslo", "3"], ["Porto", "3"]], out
    assert "snapshot: epoch" in out and "PushedAggregates: " in out, out


def test_spark_shell(magicd, tmp_path):
    out = run(magicd, tmp_path, "spark-shell", "-i", EXAMPLES / "trips.scala")
    rows = [line.replace(" ", "") for line in out.splitlines() if line.startswith("|")]
    assert rows[-4:] == ["|city|max(km)|", "|Lisbon|25.5|", "|Oslo|18.4|", "|Porto|7.7|"], out
    assert "first trip: Lisbon" in out
