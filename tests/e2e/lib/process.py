"""Programs that a test starts: each in a session of its own, ended by its pid, ended also when the test dies.

SPDX-License-Identifier: Apache-2.0
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import wait

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


PORTS = range(18000, 32000)  # below those that the kernel gives to outgoing connections


def free_ports(count):
    """Ports of 127.0.0.1 that nobody listens on now."""
    found = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if len(found) == count:
            return found
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    raise RuntimeError("no free ports")


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def _of(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def processes_naming(text):
    """{pid: command line} of every process whose command line or environment holds the text; this one left out."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return {
        pid: _of(pid, "cmdline").strip()
        for pid in pids
        if pid != os.getpid() and (text in _of(pid, "cmdline") or text in _of(pid, "environ")) and alive(pid)
    }


def listening_ports(pid):
    """Ports on which a process listens."""
    sockets = set()
    try:
        for one in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(os.readlink(one))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return set()
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]:
            part = line.split()
            if part[3] == "0A" and f"socket:[{part[9]}]" in sockets:
                found.add(int(part[1].rsplit(":", 1)[1], 16))
    return found


def end_pid(pid, grace_seconds=10):
    """Ask a process to end, insist after the grace time."""
    for signal_number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10)):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not alive(pid):
                return
            time.sleep(0.02)
    raise wait.Timeout(f"process {pid} does not end")


def descendants():
    """Pids of the processes that this one and its children have started and that still belong to them."""
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            part = _of(folder.name, "stat").rpartition(")")[2].split()
            if part:
                children.setdefault(int(part[1]), []).append(int(folder.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return [pid for pid in found if alive(pid)]


class Program:
    """A running program; output goes to a file. survives: it may outlive this process."""

    def __init__(self, name, argv, log, env=None, survives=False):
        self.name = name
        self.argv = [str(one) for one in argv]
        self.log = Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, **(env or {})),
                start_new_session=True,
                preexec_fn=None if survives else _die_with_parent,
            )
        self.pid = self.child.pid

    def running(self):
        return self.child.poll() is None

    def tail(self, lines=15):
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(text[-lines:])

    def until(self, condition, seconds, what):
        """Wait for a sign of life; tells the log's end when the program ends first."""

        def check():
            if not self.running():
                raise RuntimeError(f"{self.name} ended with status {self.child.returncode}:\n{self.tail()}")
            return condition()

        return wait.until(check, seconds, f"{self.name}: {what}")

    def kill(self):
        """As a power cut would."""
        self.child.kill()
        self.child.wait()

    def stop(self, grace_seconds=15):
        if self.running():
            self.child.terminate()
            try:
                self.child.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.returncode
