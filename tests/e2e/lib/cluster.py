"""PD, TiDB and magicd together, in one temporary folder.

SPDX-License-Identifier: Apache-2.0
"""

import shutil
import tempfile
from pathlib import Path

from . import process
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
            shutil.rmtree(self.folder, ignore_errors=True)

    def left_behind(self):
        """Processes and ports that should be gone after stop()."""
        ports = [self.magicd.port, self.tidb.port, self.tidb.status_port, self.tidb.pd_port, self.tidb.peer_port]
        left = [f"process {pid}: {line}" for pid, line in process.processes_naming(str(self.folder)).items()]
        left += [f"port {port}" for port in ports if process.listens(port)]
        if self.folder.exists():
            left.append(f"folder {self.folder}")
        return left

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
