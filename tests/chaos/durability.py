"""An answer means durable, and many share a sync: seen from outside, in a trace of magicd's system calls.

32 connections write transactions as TiDB does (prewrite, its answer; the commit is sent and not waited for) to a
magicd that runs under strace. From the trace: how many records each write to the buffer carried, and when each
fdatasync on it had returned. From the clients: when each answer came. No answer may come before the fdatasync that
covers its record; and there must be at least 8 transactions for each fdatasync.
SPDX-License-Identifier: Apache-2.0
"""

import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from lib import process  # noqa: E402
from lib.magicd import Magicd  # noqa: E402
from lib.pump_client import COMMIT, PREWRITE, PumpClient, binlog, no_change  # noqa: E402

import grpc  # noqa: E402

CONNECTIONS = 32
TRANSACTIONS = 100
PER_SYNC_MIN = 8
GROUP_COUNT_OFFSET = 32  # behind the journal's record header: docs/format/journal.md, docs/format/buffer.md


class TracedMagicd(Magicd):
    def argv(self):
        trace = ["strace", "-D", "-f", "-ttt", "-T", "-y", "-x", "-s", "128", "-o", self.folder / "trace"]
        argv = super().argv() + ["--source-listen", f"unix:{self.socket}", "--source-status", "http://127.0.0.1:1"]
        return trace + ["-e", "trace=pwritev,fdatasync"] + argv + ["--source-sql-port", "1"]


class Connection(threading.Thread):
    def __init__(self, number, socket):
        super().__init__(daemon=True)
        self.number = number
        self.pump = PumpClient(socket, 7)
        self.answers = []  # unix time
        self.error = None

    def commit(self, payload):
        request = b"\x08\x07\x12" + bytes([len(payload)]) + payload  # WriteBinlogReq of cluster 7
        future = self.pump.call.future(request, timeout=30)
        future.add_done_callback(self.answered)

    def answered(self, future):
        if future.code() == grpc.StatusCode.OK:
            self.answers.append(time.time())

    def run(self):
        try:
            for n in range(TRANSACTIONS):
                start_ts = ((self.number + 1) * 100000 + n * 2) << 18
                key = f"k{start_ts}".encode()
                self.pump.write(binlog(PREWRITE, start_ts, prewrite_key=key, prewrite_value=no_change(1, 1)))
                self.answers.append(time.time())
                self.commit(binlog(COMMIT, start_ts, start_ts + 1, prewrite_key=key))
            end = time.monotonic() + 30
            while len(self.answers) < 2 * TRANSACTIONS and time.monotonic() < end:
                time.sleep(0.01)
            if len(self.answers) != 2 * TRANSACTIONS:
                raise RuntimeError(f"{len(self.answers)} answers to {2 * TRANSACTIONS} records")
        except Exception as error:
            self.error = error


def unescape(text):
    """A string as strace prints it."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode()).decode("latin-1").encode("latin-1")


def calls(trace):
    """(thread, began, ended, name, rest of the line), in order of their end; unfinished and resumed lines are joined."""
    open_calls, found = {}, []
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.match(r"(\d+) +(\d+\.\d+) (.*)", line)
        if not match:
            continue
        thread, now, text = int(match[1]), float(match[2]), match[3]
        if text.endswith("<unfinished ...>"):
            open_calls[thread] = (now, text[: -len("<unfinished ...>")])
            continue
        began = now
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            began, head = open_calls.pop(thread)
            text = head + resumed[1]
        took = re.search(r"<(\d+\.\d+)>$", text)
        if took and not text.startswith(("---", "+++")):
            found.append((thread, began, began + float(took[1]), text.split("(")[0], text))
    return sorted(found, key=lambda call: call[2])


def durable_records(trace):
    """[(time, records durable by then)] and the number of fdatasyncs on the buffer."""
    written = durable = syncs = 0
    steps = []
    for _, _, ended, name, text in calls(trace):
        if ".buf>" not in text:
            continue
        if name == "pwritev":
            data = b"".join(unescape(part) for part in re.findall(r'iov_base="((?:[^"\\]|\\.)*)"', text))
            if data[:4] == b"mgR1":  # a record, not a header
                written += int.from_bytes(data[GROUP_COUNT_OFFSET : GROUP_COUNT_OFFSET + 4], "little")
        elif name == "fdatasync":
            if written > durable:
                syncs += 1
                durable = written
                steps.append((ended, durable))
    return steps, syncs


def check(answers, steps):
    """The k-th answer came after the fdatasync that made k records durable."""
    answers.sort()
    step = 0
    for number, came in enumerate(answers, 1):
        while step < len(steps) and steps[step][1] < number:
            step += 1
        if step == len(steps):
            raise RuntimeError(f"{len(answers)} answers, but only {steps[-1][1] if steps else 0} durable records")
        if steps[step][0] > came:
            raise RuntimeError(f"answer {number} came {1000 * (steps[step][0] - came):.3f} ms before its fdatasync had returned")


def main():
    if not shutil.which("strace"):
        print("durability: strace is missing: 'make setup' installs it", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="magic-durability-"))
    magicd = TracedMagicd(folder)
    try:
        magicd.start()
        connections = [Connection(number, magicd.socket) for number in range(CONNECTIONS)]
        for connection in connections:
            connection.start()
        for connection in connections:
            connection.join(120)
            if connection.error or connection.is_alive():
                raise RuntimeError(f"a connection failed: {connection.error}")
        answers = [answer for connection in connections for answer in connection.answers]
        magicd.stop()
        time.sleep(0.5)
        steps, syncs = durable_records(folder / "trace")
        check(answers, steps)
        transactions = CONNECTIONS * TRANSACTIONS
        per_sync = transactions / syncs
        print(
            f"durability: {CONNECTIONS} connections, {len(answers)} answers, each after its fdatasync;"
            f" {transactions} transactions in {syncs} fdatasyncs: {per_sync:.1f} each (at least {PER_SYNC_MIN} wanted)"
        )
        return 0 if per_sync >= PER_SYNC_MIN else 1
    except RuntimeError as error:
        print(f"durability: {error}", file=sys.stderr)
        return 1
    finally:
        if magicd.program:
            magicd.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
