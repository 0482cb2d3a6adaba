"""Speaks to a pump as TiDB does: WriteBinlog over a unix socket, messages encoded by hand.

SPDX-License-Identifier: Apache-2.0
"""

import json
import urllib.request

import grpc

PREWRITE, COMMIT, ROLLBACK = 0, 1, 2


def _varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def binlog(kind, start_ts, commit_ts=0, prewrite_key=b"", prewrite_value=b""):
    """A Binlog message (tipb, binlog.proto)."""
    out = _field(1, kind) + _field(2, start_ts)
    if commit_ts:
        out += _field(3, commit_ts)
    if prewrite_key:
        out += _field(4, prewrite_key)
    if prewrite_value:
        out += _field(5, prewrite_value)
    return out


def no_change(schema_version, table_id):
    """A PrewriteValue that names a table and changes no row of it."""
    return _field(1, schema_version) + _field(2, _field(1, table_id))


def cluster_id(pd_port):
    with urllib.request.urlopen(f"http://127.0.0.1:{pd_port}/pd/api/v1/cluster", timeout=10) as answer:
        return json.load(answer)["id"]


class PumpClient:
    """One connection; write() returns when the pump has acknowledged, which means that the record is durable."""

    def __init__(self, socket, cluster):
        self.cluster = cluster
        self.channel = grpc.insecure_channel(
            f"unix:{socket}", options=[("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
        )
        self.call = self.channel.unary_unary("/binlog.Pump/WriteBinlog")

    def write(self, payload, seconds=30):
        answer = self.call(_field(1, self.cluster) + (_field(2, payload) if payload else b""), timeout=seconds)
        if answer:
            raise RuntimeError(f"the pump refused: {answer!r}")

    def close(self):
        self.channel.close()
