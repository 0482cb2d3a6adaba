"""Magic's own messages over pyarrow's unmodified Flight client.

SPDX-License-Identifier: Apache-2.0
"""

import importlib
import sys

import pyarrow.flight as flight
from google.protobuf.any_pb2 import Any
from grpc_tools import protoc

from . import paths


def _messages():
    """proto/scan.proto as a Python module, generated into build/."""
    paths.GENERATED.mkdir(parents=True, exist_ok=True)
    proto = paths.ROOT / "proto"
    done = protoc.main(["protoc", f"-I{proto}", f"--python_out={paths.GENERATED}", str(proto / "scan.proto")])
    if done != 0:
        raise RuntimeError("scan.proto cannot be translated")
    sys.path.insert(0, str(paths.GENERATED))
    try:
        return importlib.import_module("scan_pb2")
    finally:
        sys.path.remove(str(paths.GENERATED))


scan = _messages()


class Wire:
    """One connection to a magicd."""

    def __init__(self, uri):
        self.client = flight.FlightClient(uri)

    def close(self):
        self.client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def action(self, name, request, answer, seconds=60):
        results = self.client.do_action(
            flight.Action(name, request.SerializeToString()), flight.FlightCallOptions(timeout=seconds)
        )
        return [answer.FromString(result.body.to_pybytes()) for result in results]

    def lag(self):
        return self.action("magic.lag", scan.LagRequest(), scan.LagResponse)[0]

    def status(self):
        """{(group, name): value}"""
        answer = self.action("magic.status", scan.StatusRequest(), scan.StatusResponse)[0]
        return {(entry.group, entry.name): entry.value for entry in answer.entries}

    def tables(self, database="", table="", **snapshot):
        request = scan.ListTablesRequest(database=database, table=table, snapshot=scan.SnapshotRef(**snapshot))
        return self.action("magic.tables", request, scan.TableInfo)

    def databases(self, database="", **snapshot):
        request = scan.ListDatabasesRequest(database=database, snapshot=scan.SnapshotRef(**snapshot))
        return [info.database for info in self.action("magic.databases", request, scan.DatabaseInfo)]

    def acquire(self, ttl_ms=60000, **snapshot):
        request = scan.AcquireRequest(snapshot=scan.SnapshotRef(**snapshot), holder="test", ttl_ms=ttl_ms)
        return self.action("magic.acquire", request, scan.Lease)[0]

    def release(self, token):
        self.action("magic.release", scan.ReleaseRequest(token=token), scan.Lease)

    def visible(self, commit_ts, seconds=60):
        """Returns when a scan sees this commit; the snapshot's watermark."""
        lease = self.acquire(wait_ts=commit_ts, wait_ms=int(seconds * 1000))
        self.release(lease.token)
        return lease.snapshot.watermarks[0].ts

    def plan(self, database, table, columns=(), **more):
        descriptor = scan.ScanDescriptor(database=database, table=table, columns=columns, **more)
        command = Any()
        command.Pack(descriptor)
        return self.client.get_flight_info(flight.FlightDescriptor.for_command(command.SerializeToString()))

    def read(self, ticket):
        return self.client.do_get(ticket).read_all()
