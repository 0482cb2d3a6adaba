#!/usr/bin/env python3
"""Seeds of the fuzz targets rows and prewrite, from what a real TiDB wrote (tests/golden/tidb-binlog).

    tests/fuzz/rows_corpus.py       writes tests/fuzz/corpus/rows and tests/fuzz/corpus/prewrite

Small transactions as they are, and the first rows of each kind of each table whose columns the target can describe.
SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "golden" / "tidb-binlog"))
import check  # noqa: E402

CASES = ["txn", "keys", "storm", "scope", "ddl-columns", "ddl-online", "types"]
SIZE_MAX = 2048
PER_CASE = 12
# TiDB's type code, unsigned -> number in enum mg_type_id
TYPES = {1: (1, 5), 2: (2, 6), 3: (3, 7), 9: (3, 7), 8: (4, 8), 4: (9, 9), 5: (10, 10), 246: (11, 11), 10: (12, 12)}
TYPES |= {12: (13, 13), 7: (14, 14), 15: (15, 15), 254: (15, 15), 252: (15, 15)}


def write(folder, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def header(info):
    """The table as the target reads it, or None when it cannot be described."""
    columns = info["cols"]
    if len(columns) > 15 or [c["id"] for c in columns] != list(range(1, len(columns) + 1)):
        return None
    if any(c["type"]["Tp"] not in TYPES or c["generated_expr_string"] for c in columns):
        return None
    kinds = []
    for c in columns:
        kind = TYPES[c["type"]["Tp"]][c["type"]["Flag"] >> 5 & 1]
        kinds.append(kind | (0x80 if c["type"]["Tp"] == 254 else 0) | (0x40 if c["type"]["Flag"] & 1 else 0))
    if info["pk_is_handle"]:
        return bytes([len(kinds) - 1, 0, *kinds])
    if info["is_common_handle"]:
        index = next(i for i in info["index_info"] if i["is_primary"])
        return bytes([len(kinds) - 1, len(index["idx_cols"]) - 1, *kinds])
    return bytes([len(kinds) | 0x80, 0, *kinds, 4])


def main():
    import json

    seen = set()
    for case in CASES:
        folder = check.HERE / "cases" / case
        jobs = [json.loads(line) for line in (folder / "history.json").read_text().splitlines()]
        replica, transactions = check.Replica(jobs), 0
        for _, record in check.finished((folder / "case.binlog").read_bytes()):
            if record[7]:
                continue
            value = record[5]
            version, tables = check.mutations(value)
            shape = (case, len(tables), tuple(sorted({k for m in tables for k in m[7]})), len(value).bit_length())
            if len(value) <= SIZE_MAX and transactions < PER_CASE and shape not in seen:
                seen.add(shape)
                transactions += 1
                write(HERE / "corpus" / "prewrite", value)
            for m in tables:
                info = replica.info(m[1], version)
                head = header(info) if info else None
                for kind, rows in ((0, m[2]), (1, m[3]), (4, m[6])):
                    if head and rows and (m[1], kind) not in seen and len(rows[0]) <= SIZE_MAX:
                        seen.add((m[1], kind))
                        write(HERE / "corpus" / "rows", head + bytes([kind]) + rows[0])
    for target in ("rows", "prewrite"):
        write(HERE / "corpus" / target, b"")
        print(target, len(list((HERE / "corpus" / target).iterdir())), "inputs")


main()
