"""Every type that the store has, from TiDB to Spark: equal values, NULLs, extremes, keys of every kind; rows as they come, from
compacted files, and as aggregates of the scan. Expected is what MySQL's protocol gives.

SPDX-License-Identifier: Apache-2.0
"""

import random
import re

import pytest

from lib import paths, spark as spark_lib

INTEGERS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
DECIMALS = ((1, 0), (9, 4), (12, 2), (18, 9), (18, 18), (19, 0), (30, 15), (38, 0), (38, 30))
TEXTS = ("", " ", "a", "Ä ß ñ", "日本語 のテキスト", "🦊🧪 emoji", "tab\tline\nend", "quote ' \" \\", "\u0000 nul", "x" * 255)
DATES = ("1000-01-01", "1582-10-15", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31")
TIMES = ("00:00:00", "00:00:00.000001", "12:34:56.789012", "23:59:59.999999")


def columns():
    """(name, type, kind for comparing, values at the edges)"""
    out = []
    for name, bits in INTEGERS.items():
        out.append((f"c_{name}", name, None, [-(2 ** (bits - 1)), -1, 0, 1, 2 ** (bits - 1) - 1]))
        out.append((f"c_{name}_u", f"{name} unsigned", None, [0, 1, 2 ** (bits - 1), 2**bits - 1]))
    out.append(("c_bool", "bool", None, [0, 1]))
    for name in INTEGERS:
        out.append((f"c_{name}_z", f"{name}(20) unsigned zerofill", None, [0, 7, 255]))
    out.append(("c_float_u", "float unsigned", "f32", [0, 1.5, 3.4028234e38]))
    out.append(("c_float_7_4", "float(7,4)", "f32", [-999.9999, 0, 0.0625, 999.9999]))
    out.append(("c_double_u", "double unsigned", "f64", [0, 1 / 3, 1.7976931348623157e308]))
    out.append(("c_double_10_3", "double(10,3)", "f64", [-9999999.999, 0, 0.125, 9999999.999]))
    out.append(("c_dec_u", "decimal(38,10) unsigned", None, ["0", "0.0000000001", "9" * 28 + "." + "9" * 10]))
    out.append(("c_numeric", "numeric(7)", None, ["-9999999", "0", "9999999"]))
    out.append(("c_float", "float", "f32", [-3.4028234e38, -1.5, 0, 1.17549435e-38, 0.1, 3.4028234e38]))
    out.append(("c_double", "double", "f64", [-1.7976931348623157e308, -0.1, 0, 5e-324, 1 / 3, 1.7976931348623157e308]))
    for precision, scale in DECIMALS:
        nines = "9" * (precision - scale) + ("." + "9" * scale if scale else "")
        nines = "0" + nines if nines.startswith(".") else nines
        tiny = "0." + "0" * (scale - 1) + "1" if scale else "1"
        out.append((f"c_dec_{precision}_{scale}", f"decimal({precision},{scale})", None, [f"-{nines}", "0", tiny, nines]))
    out.append(("c_date", "date", None, list(DATES)))
    for digits in range(7):
        moments = [f"{day} {clock[:8 + (digits + 1 if digits else 0)]}" for day in DATES for clock in TIMES]
        out.append((f"c_datetime_{digits}", f"datetime({digits})", None, moments))
        kept = ["1970-01-01 00:00:01", "2001-09-09 01:46:40.123456", "2024-02-29 23:59:59.999999", "2038-01-19 03:14:07"]
        cut = 19 + (digits + 1 if digits else 0)
        out.append((f"c_timestamp_{digits}", f"timestamp({digits}) null", None, [one[:cut] for one in kept]))
    out.append(("c_char", "char(255)", None, [one.rstrip(" ") for one in TEXTS]))
    for name in ("varchar(300)", "tinytext", "text", "mediumtext", "longtext"):
        out.append((f"c_{name.split('(')[0]}", name, None, list(TEXTS)))
    out.append(("c_ci", "varchar(300) collate utf8mb4_general_ci", None, list(TEXTS)))
    out.append(("c_unicode_ci", "text collate utf8mb4_unicode_ci", None, list(TEXTS)))
    out.append(("c_utf8", "varchar(300) charset utf8", None, [one for one in TEXTS if max(map(ord, one), default=0) < 65536]))
    out.append(("c_latin1", "varchar(300) charset latin1", None, [one for one in TEXTS if one.isascii()]))
    out.append(("c_ascii", "char(255) charset ascii", None, [one.rstrip(" ") for one in TEXTS if one.isascii()]))
    out.append(("c_gbk", "varchar(300) charset gbk", None, ["", "a", "中文 字", "x" * 255]))
    return out


def exact(made):
    """What to ask TiDB for: it prints a FLOAT with 6 digits only."""
    return ", ".join(["id"] + [f"{name} + 0e0" if kind == "f32" else name for name, _, kind, _ in made])


@pytest.fixture(scope="module")
def kinds(cluster):
    """A commit_ts at which all rows are there."""
    made = columns()
    choose = random.Random(7)
    definition = ", ".join(f"{name} {kind}" for name, kind, _, _ in made)
    rows = max(len(values) for _, _, _, values in made)
    with cluster.tidb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE kinds")
        cursor.execute(f"CREATE TABLE kinds.t (id BIGINT PRIMARY KEY, {definition}) COLLATE utf8mb4_bin")
        cursor.execute("INSERT INTO kinds.t (id) VALUES (-1)")
        marks = ", ".join(["%s"] * (len(made) + 1))
        for number in range(rows):
            edges = [values[number] if number < len(values) else None for _, _, _, values in made]
            cursor.execute(f"INSERT INTO kinds.t VALUES ({marks})", [number, *edges])
        for number in range(1000, 1300):
            mixed = [choose.choice(values + [None]) for _, _, _, values in made]
            cursor.execute(f"INSERT INTO kinds.t VALUES ({marks})", [number, *mixed])
        for number in range(1000, 1300, 7):
            name, _, _, values = choose.choice(made)
            cursor.execute(f"UPDATE kinds.t SET {name} = %s WHERE id = %s", [choose.choice(values), number])
        cursor.execute("DELETE FROM kinds.t WHERE id % 11 = 3")
        return cluster.tidb.commit_ts(connection)


def test_all_types(kinds, same):
    made = columns()
    got = same("kinds.t", kinds, kinds=[None] + [kind for _, _, kind, _ in made], tidb_columns=exact(made))
    assert len(got) > 250


def test_no_type_of_the_store_is_left_out(kinds, wire):
    """A type that docs/format/types.md lists has a column above."""
    text = (paths.ROOT / "docs" / "format" / "types.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| \d+ \| `(\w+)", text, re.MULTILINE))
    wire.visible(kinds)
    held = {re.match(r"\w+", column.type).group() for column in wire.tables("kinds", "t")[0].columns}
    assert len(listed) == 15 and listed == held


def test_all_types_from_compacted_files(cluster, kinds, same, wire):
    wire.visible(kinds)
    cluster.magicd.magic("compact", "kinds.t", "--wait")
    made = columns()
    same("kinds.t", kinds, kinds=[None] + [kind for _, _, kind, _ in made], tidb_columns=exact(made))
    # And half of them from there, half from memory.
    later = cluster.tidb.change("UPDATE kinds.t SET id = id + 100000 WHERE id % 2 = 1")
    same("kinds.t", later, kinds=[None] + [kind for _, _, kind, _ in made], tidb_columns=exact(made))


def test_aggregates_of_all_types(cluster, spark, kinds, settings):
    """Least, greatest and number of each column's values; of texts the number, as TiDB orders them by collation."""
    settings(snapshot=f"wait:{kinds}")
    calls, plain = [], []
    for name, kind, float_kind, _ in columns():
        of = ["count"] if re.match("char|varchar|.*text", kind) else ["count", "min", "max"]
        calls += [f"{call}({name})" for call in of]
        plain += [f"{call}({name}) + 0e0" if float_kind == "f32" and call != "count" else f"{call}({name})" for call in of]
    frame = spark.sql(f"SELECT {', '.join(calls)} FROM magic.kinds.t")
    got = tuple(frame.collect()[0])
    assert "PushedAggregates" in spark_lib.plan_text(frame)
    _, watermark = spark_lib.snapshot(frame)
    expected = cluster.tidb.rows_at(watermark, f"SELECT {', '.join(plain)} FROM kinds.t")[0]
    wrong = [(call, one, other) for call, one, other in zip(calls, expected, got) if one != other]
    assert not wrong, wrong


def test_spark_types(cluster, spark, kinds):
    told = {field.name: field.dataType.simpleString() for field in spark.table("magic.kinds.t").schema}
    expected = {
        "c_tinyint": "tinyint", "c_tinyint_u": "smallint", "c_smallint": "smallint", "c_smallint_u": "int",
        "c_mediumint": "int", "c_mediumint_u": "bigint", "c_int": "int", "c_int_u": "bigint", "c_bigint": "bigint",
        "c_bigint_u": "decimal(20,0)", "c_bool": "tinyint", "c_float": "float", "c_double": "double",
        "c_dec_12_2": "decimal(12,2)", "c_dec_38_30": "decimal(38,30)", "c_date": "date",
        "c_datetime_6": "timestamp_ntz", "c_timestamp_6": "timestamp", "c_char": "string", "c_longtext": "string",
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected


def test_keys(cluster, same):
    """Composite keys, text keys under both collations, and two equal rows of a table without a key."""
    commit_ts = cluster.tidb.change(
        "CREATE DATABASE key_kinds",
        "CREATE TABLE key_kinds.composite (a INT, b VARCHAR(20) COLLATE utf8mb4_bin, c DATETIME(6), d DECIMAL(20,5), v INT,"
        " PRIMARY KEY (b, a, c, d))",
        "CREATE TABLE key_kinds.padded (k VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY, v INT)",
        "CREATE TABLE key_kinds.bytes (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, n BIGINT UNSIGNED, v INT,"
        " PRIMARY KEY (n) CLUSTERED)",
        "CREATE TABLE key_kinds.none (a INT, b VARCHAR(20))",
        "INSERT INTO key_kinds.composite VALUES (1,'x','2024-01-01 00:00:00.000001',1.5,1), (1,'x','2024-01-01 00:00:00.000002',1.5,2),"
        " (-1,'','1000-01-01',-1.5,3)",
        "INSERT INTO key_kinds.padded VALUES ('a',1), ('b ',2), ('ä',3), ('',4)",
        "UPDATE key_kinds.padded SET v = 20 WHERE k = 'b'",
        "UPDATE key_kinds.padded SET k = 'a  ' WHERE k = 'a'",
        "INSERT INTO key_kinds.bytes VALUES ('x', 0, 1), ('y', 18446744073709551615, 2)",
        "INSERT INTO key_kinds.none VALUES (1,'same'), (1,'same'), (1,'same'), (2,NULL), (2,NULL)",
        "DELETE FROM key_kinds.none WHERE a = 1 LIMIT 1",
        "UPDATE key_kinds.composite SET a = a + 10, v = v + 1 WHERE b = 'x'",
    )
    for table in ("composite", "padded", "bytes", "none"):
        assert same(f"key_kinds.{table}", commit_ts)
    assert len(same("key_kinds.none", commit_ts)) == 4
