"""The demo: it ends well, it can be kept, it can do without a TiDB, and Ctrl-C at any moment leaves nothing behind.

SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lib import paths, process, wait

DEMO = paths.ROOT / "tests" / "demo" / "demo.py"
END_SECONDS = 60


class Demo:
    """A running demo whose temporary files are all in one folder, so that what it leaves can be listed."""

    def __init__(self, *arguments):
        self.folder = Path(tempfile.mkdtemp(prefix="magic-dt-"))
        self.log = self.folder.with_suffix(".log")
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-u", str(DEMO), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=dict(os.environ, TMPDIR=str(self.folder)),
                start_new_session=True,
            )
        self.ports = set()

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def learn_ports(self):
        """Those that its processes listen on now."""
        for pid in process.processes_naming(str(self.folder)):
            self.ports |= process.listening_ports(pid)

    def until(self, text, seconds=180):
        def said():
            self.learn_ports()
            assert self.child.poll() is None or text in self.text(), f"ended before '{text}':\n{self.text()}"
            return text in self.text()

        wait.until(said, seconds, f"the demo says '{text}'")

    def press_ctrl_c(self):
        """As a terminal does: to the whole group."""
        self.learn_ports()
        os.killpg(self.child.pid, signal.SIGINT)
        return self.child.wait(END_SECONDS)

    def left(self):
        left = []
        for pid, line in process.processes_naming(str(self.folder)).items():
            left.append(f"process {pid} on ports {process.listening_ports(pid)}: {line}")
        return left + [f"file {path}" for path in sorted(self.folder.rglob("*"))]

    def forget(self):
        for pid in process.processes_naming(str(self.folder)):
            process.end_pid(pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.unlink(missing_ok=True)


@pytest.fixture
def demo():
    running = []

    def start(*arguments):
        running.append(Demo(*arguments))
        return running[-1]

    yield start
    for one in running:
        if one.child.poll() is None:
            one.child.kill()
        one.forget()


def test_it_ends_well(demo):
    one = demo("--seconds", "8")
    one.until("all hold", 300)
    status = one.child.wait(END_SECONDS)
    text = one.text()
    print("\n" + text)
    assert status == 0, text
    assert "each equal to TiDB's answer" in text and "How to go on" in text
    assert "the same 12 sums" in text
    assert not one.left(), one.left()


@pytest.mark.parametrize(
    "moment", ["starting magicd", "starting PD", "taking the first", "starting Spark", "revenue by country"]
)
def test_ctrl_c_leaves_nothing(demo, moment):
    one = demo("--seconds", "60")
    one.until(moment)
    status = one.press_ctrl_c()
    assert status == 130, one.text()
    wait.until(lambda: not one.left(), 10, f"nothing is left after Ctrl-C at '{moment}': {one.left()}")
    if moment == "revenue by country":
        assert len(one.ports) >= 5, one.ports


def test_it_can_be_kept(demo):
    one = demo("--seconds", "1", "--keep")
    one.until("End it", 300)
    assert one.child.wait(END_SECONDS) == 0
    text = one.text()
    address = re.search(r"--server (127\.0\.0\.1:\d+)", text)[1]
    shown = subprocess.run([str(paths.MAGIC), "--server", address, "tables"], capture_output=True, text=True, check=True)
    assert "order_lines" in shown.stdout
    folder = re.search(r"End it\s+\S+ --stop (\S+)", text)[1]
    assert subprocess.run([sys.executable, str(DEMO), "--stop", folder], check=False).returncode == 0
    wait.until(lambda: not one.left(), 10, f"nothing is left after --stop: {one.left()}")


def test_it_can_do_without_a_tidb(demo):
    one = demo("--replay")
    status = one.child.wait(300)
    assert status == 0, one.text()
    assert one.text().count("equal to what the real TiDB held") == 3
    assert not one.left(), one.left()
