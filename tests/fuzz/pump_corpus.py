#!/usr/bin/env python3
"""Seeds of the fuzz targets pump_write and buffer_group.

    tests/fuzz/pump_corpus.py       writes tests/fuzz/corpus/pump_write and tests/fuzz/corpus/buffer_group

What a real TiDB wrote (tests/golden/tidb-binlog), and damage that a reader must see.
SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
CASES = HERE.parent / "golden" / "tidb-binlog" / "cases"
SIZE_MAX = 1500
PER_CASE = 4


def varint(number):
    number &= 2**64 - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def number(field, value):
    return varint(field << 3) + varint(value)


def data(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value


def request(payload, cluster=7):
    return number(1, cluster) + data(2, payload)


def binlog(kind=0, start=449000000000000000, commit=0, key=b"t\x80", value=b"", query=b"", job=0, state=0):
    out = number(1, kind) + number(2, start) + number(3, commit)
    for field, text in ((4, key), (5, value), (6, query)):
        if text:
            out += data(field, text)
    return out + number(7, job) + number(8, state)


def recorded():
    """Some small payloads of each case."""
    for case in sorted(CASES.iterdir()):
        bytes_ = (case / "case.binlog").read_bytes()
        at = taken = 0
        while at < len(bytes_) and taken < PER_CASE:
            size = int.from_bytes(bytes_[at : at + 4], "big")
            if size <= SIZE_MAX and (at // 97) % 3 == 0:
                yield f"{case.name}-{taken}", bytes_[at + 4 : at + 4 + size]
                taken += 1
            at += 4 + size


def pump_seeds():
    seeds = {name: request(payload) for name, payload in recorded()}
    mutation = number(1, 106) + data(2, b"\x08\x0a\x08\x04\x02\x04ab") + number(7, 0)
    value = number(1, 42) + data(2, mutation) + data(2, number(1, 107))
    seeds |= {
        "probe": number(1, 7),
        "empty": b"",
        "no-cluster": data(2, binlog()),
        "prewrite": request(binlog(value=value)),
        "commit": request(binlog(1, commit=449000000000000001)),
        "rollback": request(binlog(2)),
        "ddl": request(binlog(query=b"DROP TABLE `t`;", job=101, state=5)),
        "zeroes": request(binlog(start=0)),
        "type-5": request(binlog(5)),
        "negative": request(binlog(start=-1)),
        "twice": request(binlog()) + request(binlog(1, commit=5)),
        "unknown-fields": number(9, 1) + request(binlog()) + data(15, b"x") + b"\x7d\1\2\3\4\x79\1\2\3\4\5\6\7\x08",
        "group": b"\x0b\x0c",
        "field-0": b"\x00\x00",
        "overlong": b"\x08" + b"\xff" * 9 + b"\x7f",
        "cut": request(binlog(value=value))[:-9],
        "length-past-end": b"\x12\xff\xff\xff\xff\x0f" + binlog(),
        "wrong-wire": b"\x0a\x01\x00\x10\x05",
        "bad-value": request(binlog(value=b"\x12\x05\x08")),
    }
    return seeds


def group(records, ordinal=1, count=None, zero=0, rest=b""):
    out = struct.pack("<IIQ", len(records) if count is None else count, zero, ordinal)
    for received, known, payload in records:
        out += struct.pack("<qQQ", received, known, len(payload))
    return out + b"".join(payload for _, _, payload in records) + rest


def group_seeds():
    payloads = [payload for _, payload in recorded()]
    seeds = {f"real-{n}": group([(1000 + i, 5 + i, p) for i, p in enumerate(payloads[n : n + n % 4 + 1])], n + 1)
             for n in range(0, min(24, len(payloads)))}
    one = [(1000, 5, b"\x08\x00")]
    seeds |= {
        "documented": group(one + [(1001, 6, b"")]),
        "many": group([(i, i, b"") for i in range(1024)]),
        "too-many": group([(0, 0, b"")], count=1025),
        "none": group([]),
        "count-too-high": group(one, count=2),
        "not-zero": group(one, zero=1),
        "ordinal-0": group(one, ordinal=0),
        "trailing": group(one, rest=b"x"),
        "cut": group(one)[:-1],
        "short": group(one)[:15],
        "known-falls": group([(0, 6, b""), (0, 5, b"")]),
        "size-overflow": struct.pack("<IIQqQQqQQ", 2, 0, 1, 0, 0, 2**64 - 1, 0, 0, 1),
        "negative-time": group([(-1, 2**64 - 1, b"abc")], 2**64 - 1),
        "empty": b"",
    }
    return seeds


def main():
    for name, seeds in (("pump_write", pump_seeds()), ("buffer_group", group_seeds())):
        folder = HERE / "corpus" / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, content in seeds.items():
            (folder / seed).write_bytes(content)
        print(f"{folder}: {len(seeds)} seeds")


if __name__ == "__main__":
    main()
