"""The demo without a TiDB: the recorded binlog of a real one is played to magicd's pump, its status port is played, too.

Player   sends each recorded message as WriteBinlog, at a steady pace, while Spark asks.
Port     answers what magicd asks TiDB's status port for, from the recorded case: jobs of /ddl/history, transactions that were rolled
         back; no schema from before.
Check    at the end every table must hold exactly the rows that the real TiDB gave at the end of the recording.

SPDX-License-Identifier: Apache-2.0
"""

import contextlib
import http.server
import json
import shutil
import struct
import threading
import time
from urllib.parse import parse_qs, urlparse

from lib import paths, process, spark as spark_lib
from lib.compare import differences
from lib.magicd import Magicd
from lib.pump_client import PREWRITE, ROLLBACK, PumpClient
from lib.wire import Wire

CASE = paths.ROOT / "tests" / "golden" / "tidb-binlog" / "cases" / "storm"
CLUSTER_ID = 1
SECONDS = 25
PARTS, ANSWERS = 8, 4  # so many parts are sent only once Spark has answered about the ones before
JOIN = """
    SELECT a.id, a.balance, count(l.id) AS entries, sum(CASE WHEN l.what = 'in' THEN l.amount ELSE 0 END) AS came
    FROM magic.storm.acct a LEFT JOIN magic.storm.log l ON l.who = a.id GROUP BY a.id, a.balance ORDER BY a.id"""


class StatusPort(http.server.ThreadingHTTPServer):
    """What a TiDB would answer that was empty when the recording began."""

    daemon_threads = True
    port = None  # it speaks no SQL

    def __init__(self, rolled_back):
        self.rolled_back = rolled_back
        lines = (CASE / "history.json").read_text(encoding="utf-8").splitlines()
        self.jobs = sorted((json.loads(line) for line in lines if line.strip()), key=lambda job: -job["id"])
        super().__init__(("127.0.0.1", 0), Answer)
        self.status_port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body):
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        url = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/ddl/history":
            start = int(query.get("start_job_id", 1 << 62))
            jobs = [job for job in self.server.jobs if job["id"] <= start]
            self.send(200, jobs[: int(query.get("limit", len(jobs)))])
        elif url.path == "/schema":
            self.send(200, [])
        elif url.path.startswith("/schema/"):
            self.send(400, "[schema:1049]Unknown database")
        elif url.path == "/info":
            self.send(200, {"binlog_status": "On", "start_timestamp": 1})
        elif url.path == "/settings":
            self.send(200, {"store": "unistore"})
        elif url.path.startswith("/mvcc/hex/"):
            key = url.path[10:]
            writes = [{"type": 3, "start_ts": ts, "commit_ts": ts} for ts in self.server.rolled_back.get(key, [])]
            self.send(200, {"key": key, "region_id": 1, "value": {"info": {"writes": writes} if writes else {}}})
        else:
            self.send(404, "not recorded")


def recorded():
    """The payloads, in the order in which a pump got them."""
    data = (CASE / "case.binlog").read_bytes()
    at, payloads = 0, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        payloads.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return payloads


def varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(payload):
    """{field: integer or bytes} of a Binlog message: 1 kind, 2 start_ts, 3 commit_ts, 4 prewrite_key."""
    found, at = {}, 0
    while at < len(payload):
        tag, at = varint(payload, at)
        value, at = varint(payload, at)
        if tag & 7 == 2:
            value, at = payload[at : at + value], at + value
        found[tag >> 3] = value
    return found


def rollbacks(records):
    """{prewrite key in hex: start_ts of the transactions that were rolled back}"""
    gone = {record[2] for record in records if record.get(1) == ROLLBACK}
    keys = {}
    for record in records:
        if record.get(1, PREWRITE) == PREWRITE and record[2] in gone:
            keys.setdefault(record.get(4, b"").hex(), []).append(record[2])
    return keys


class Player(threading.Thread):
    """Sends all, at a pace that takes about SECONDS, and not faster than Spark answers: a part, then another one with each answer."""

    def __init__(self, socket, payloads):
        super().__init__(daemon=True)
        self.pump = PumpClient(socket, CLUSTER_ID)
        self.payloads = payloads
        self.sent = 0
        self.allowed = len(payloads) * (PARTS - ANSWERS) // PARTS
        self.may_go_on = threading.Condition()
        self.failure = None

    def run(self):
        began = time.monotonic()
        try:
            for number, payload in enumerate(self.payloads):
                with self.may_go_on:
                    self.may_go_on.wait_for(lambda: number < self.allowed)
                ahead = began + SECONDS * number / len(self.payloads) - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
                self.pump.write(payload)
                self.sent += 1
        except Exception as failure:  # told by the main thread
            self.failure = failure
        finally:
            self.pump.close()

    def go_on(self):
        """Another part may be sent."""
        with self.may_go_on:
            self.allowed += len(self.payloads) // PARTS + 1
            self.may_go_on.notify()


def expected_rows(file):
    """Rows of a recorded table: integers, and text in hex; NULL is \\N."""
    lines = file.read_text(encoding="utf-8").splitlines()
    kinds = [name.split(":")[1] for name in lines[0].split("\t")]

    def value(kind, text):
        if text == "\\N":
            return None
        return int(text) if kind == "int" else bytes.fromhex(text).decode()

    return [tuple(value(*pair) for pair in zip(kinds, line.split("\t"))) for line in lines[1:]]


def ask_while_it_plays(steps, spark, player, failed):
    snapshots = set()
    while player.is_alive():
        began = time.monotonic()
        frame = spark.sql(JOIN)
        rows = frame.collect()
        epoch, watermark = spark_lib.snapshot(frame)
        snapshots.add(epoch)
        player.go_on()
        steps.say(
            f"{steps.seconds():6.0f}s  {player.sent:5} of {len(player.payloads)} records sent   accounts with their entries:"
            f" {len(rows):3} rows in {time.monotonic() - began:.2f} s   snapshot epoch {epoch}, commit_ts {watermark}"
        )
        time.sleep(0.5)
    if player.failure:
        raise failed(f"the pump failed: {player.failure}")
    if len(snapshots) < 3:
        raise failed("Spark saw no change while the recording was played: this shows nothing")


def check_end(steps, spark, last, failed):
    spark.conf.set("spark.magic.snapshot", f"wait:{last}")
    for file in sorted((CASE / "expected" / "end").iterdir()):
        name = file.name.removesuffix(".tsv")
        got = [tuple(row) for row in spark.table(f"magic.{name}").collect()]
        wrong = differences(expected_rows(file), got)
        if wrong or not got:
            raise failed(f"{name} is not what TiDB had:\n{wrong}")
        steps.say(f"  {name:<12} {len(got):5} rows, equal to what the real TiDB held at that commit_ts")


def show(options, steps, folder, Failed, go_on):
    """The whole of it; Failed and go_on are the demo's own."""
    payloads = recorded()
    records = [fields(payload) for payload in payloads]
    last = max(record.get(3, 0) for record in records)
    steps.say(f"Magic {paths.VERSION}: no TiDB here, so the recorded binlog of a real one is replayed. Folder: {folder}")
    port = StatusPort(rollbacks(records))
    magicd = Magicd(folder / "magicd", tidb=port, flags=["--source-sql-host", ""], survives=options.keep)
    with contextlib.ExitStack() as cleanup:
        completed = False
        cleanup.callback(lambda: None if options.keep and completed else (magicd.stop(), shutil.rmtree(folder, ignore_errors=True)))
        with steps.step("starting magicd"):
            magicd.start()
        with steps.step("starting Spark"):
            cleanup.callback(spark_lib.end)
            spark = spark_lib.session(magicd.uri)
        player = Player(magicd.socket, payloads)
        player.start()
        with steps.step("waiting for the first tables"), Wire(magicd.uri) as wire:
            process.wait.until(lambda: player.failure or len(wire.tables("storm")) >= 3, 30, "tables appear")
        ask_while_it_plays(steps, spark, player, Failed)
        steps.say()
        check_end(steps, spark, last, Failed)
        completed = True
        if options.keep:
            (folder / "demo.pids").write_text(str(magicd.program.pid), encoding="utf-8")
    go_on(steps, options.keep, folder, magicd=magicd)
