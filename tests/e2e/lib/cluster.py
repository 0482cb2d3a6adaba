"""PD, TiDB and magicd together, in one temporary folder.

SPDX-License-Identifier: Apache-2.0
"""

import shutil
import tempfile
from pathlib import Path

from . import paths, process
from .magicd import Magicd
from .tidb import Tidb


class Cluster:
    """start() returns when both can be asked; stop() ends everything and removes the folder."""

    def __init__(self, keep=False, engine="magic", flags=(), folder=None):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="magic-e2e-"))
        self.tidb = Tidb(self.folder / "tidb", keep=keep)
        self.magicd = Magicd(self.folder / "magicd", tidb=self.tidb, engine=engine, flags=flags)

    def start(self):
        try:
            self.magicd.start()
            self.tidb.start(self.magicd.socket)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """TiDB first: one whose pump is away would wait for it."""
        try:
            self.tidb.stop()
            self.magicd.stop()
        finally:
            self.keep_logs()
            shutil.rmtree(self.folder, ignore_errors=True)

    def left_behind(self):
        """What should be gone after stop(): processes, with the ports they hold, and the folder."""
        left = []
        for pid, line in process.processes_naming(str(self.folder)).items():
            left.append(f"process {pid} on ports {process.listening_ports(pid)}: {line}")
        if self.folder.exists():
            left.append(f"folder {self.folder}")
        return left

    def keep_logs(self):
        """For who looks for the reason of a failure: build/results/e2e/FOLDER."""
        kept = paths.ROOT / "build" / "results" / "e2e" / self.folder.name
        kept.mkdir(parents=True, exist_ok=True)
        for pattern in ("*/*.log", "*/*.out"):
            for file in self.folder.glob(pattern):
                shutil.copy(file, kept / f"{file.parent.name}-{file.name}")
        return kept

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
