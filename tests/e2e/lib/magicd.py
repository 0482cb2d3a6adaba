"""A magicd with its folder, and its commands.

SPDX-License-Identifier: Apache-2.0
"""

import subprocess
from pathlib import Path

from . import paths, process


class Magicd:
    """Starts, kills and restarts one magicd at one address. `flags` are added to those that follow from the folder."""

    def __init__(self, folder, port=None, tidb=None, engine="magic", flags=(), survives=False):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or process.free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"grpc://{self.address}"
        self.socket = self.folder / "pump.sock"
        self.tidb = tidb
        self.engine = engine
        self.flags = list(flags)
        self.survives = survives
        self.program = None

    def argv(self):
        argv = [paths.MAGICD, "--data", self.folder / "data", "--listen", self.address, "--engine", self.engine]
        argv += ["--address-file", self.folder / "address"]
        if self.tidb:
            argv += ["--source-listen", f"unix:{self.socket}"]
            argv += ["--source-status", f"http://127.0.0.1:{self.tidb.status_port}"]
            if self.tidb.port:
                argv += ["--source-sql-port", str(self.tidb.port)]
        return argv + self.flags

    def start(self):
        address = self.folder / "address"
        address.unlink(missing_ok=True)
        self.program = process.Program("magicd", self.argv(), self.folder / "magicd.log", survives=self.survives)
        self.program.until(address.exists, 60, "is not ready")
        return self

    def stop(self):
        return self.program.stop() if self.program else None

    def kill(self):
        self.program.kill()

    def magic(self, *arguments, check=True):
        """Output of the `magic` command."""
        done = subprocess.run(
            [str(paths.MAGIC), "--server", self.address, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"magic {' '.join(arguments)}: status {done.returncode}: {done.stderr.strip()}")
        return done.stdout if check else done
