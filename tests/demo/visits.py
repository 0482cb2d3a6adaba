"""The demo's second half: a table that is larger than the server's memory, a kill -9 while the shop goes on, and the same answers after it.

Rows     random, so that their files are larger than the memory, too; what must come out of them is summed up while they are made.
Restart  the shop's writer runs through it: its commits wait for the pump, which TiDB allows for 15 seconds.

SPDX-License-Identifier: Apache-2.0
"""

import array
import random
import time
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as flight

import shop
from lib.wire import Wire

MEMORY = "512MiB"
MAGICD_FLAGS = ("--memory-limit", MEMORY, "--message-limit", "96MiB", "--pump-memory", "128MiB")
BATCH_ROWS = 1 << 16
BATCHES = 192
ROWS = BATCH_ROWS * BATCHES
TOKEN_BYTES = 32  # each is two letters

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("customer_id", pa.int32(), nullable=False),
        pa.field("seconds", pa.int32()),
        pa.field("spent", pa.decimal128(12, 2)),
        pa.field("token", pa.string()),
    ]
)
# The same in Spark, over the loaded table and one of TiDB's.
QUERY = """
    SELECT c.country, count(*) AS visits, sum(v.spent) AS spent, sum(v.seconds) AS seconds
    FROM magic.lake.visits v JOIN magic.shop.customers c ON c.id = v.customer_id GROUP BY c.country ORDER BY c.country"""


def integers(source, below):
    """BATCH_ROWS random ones, int32 from 0 on."""
    bits = pa.Array.from_buffers(pa.int32(), BATCH_ROWS, [None, pa.py_buffer(source.randbytes(4 * BATCH_ROWS))])
    positive = pc.bit_wise_and(bits, pa.scalar(0x7FFFFFFF, pa.int32()))
    return pc.subtract(positive, pc.multiply(pc.divide(positive, below), pa.scalar(below, pa.int32())))


def cents_to_decimal(cents):
    whole = cents.cast(pa.decimal128(19, 0))
    return pa.Array.from_buffers(pa.decimal128(12, 2), len(cents), [None, whole.buffers()[1]])


def batches():
    """The rows, the same in each run."""
    source = random.Random(1)
    offsets = pa.py_buffer(array.array("i", range(0, (BATCH_ROWS + 1) * 2 * TOKEN_BYTES, 2 * TOKEN_BYTES)))
    for number in range(BATCHES):
        letters = source.randbytes(TOKEN_BYTES * BATCH_ROWS).hex().encode()
        ids = pa.array(range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS), pa.int64())
        columns = [ids, integers(source, shop.CUSTOMERS), integers(source, 3600), cents_to_decimal(integers(source, 1 << 24))]
        columns.append(pa.Array.from_buffers(pa.string(), BATCH_ROWS, [None, offsets, pa.py_buffer(letters)]))
        yield pa.record_batch(columns, SCHEMA)


class Sums:
    """What the query must give, from the rows themselves."""

    def __init__(self):
        self.of_country = {country: [0, Decimal(0), 0] for country in shop.COUNTRIES}

    def add(self, batch):
        table = pa.Table.from_batches([batch.select(["customer_id", "spent", "seconds"])])
        sums = table.group_by("customer_id").aggregate([("spent", "count"), ("spent", "sum"), ("seconds", "sum")])
        for row in sums.to_pylist():
            of = self.of_country[shop.country(row["customer_id"])]
            of[0] += row["spent_count"]
            of[1] += row["spent_sum"]
            of[2] += row["seconds_sum"]

    def rows(self):
        return [(country, *of) for country, of in sorted(self.of_country.items())]


def load(uri):
    """Into lake.visits; what the query must give, and the rows' bytes."""
    sums, total_bytes = Sums(), 0
    to = flight.FlightDescriptor.for_path("lake", "visits", "create", "id")
    with flight.connect(uri) as client:
        writer, _ = client.do_put(to, SCHEMA)
        with writer:
            for batch in batches():
                writer.write_batch(batch)
                sums.add(batch)
                total_bytes += batch.nbytes
    return sums, total_bytes


def ask(spark, sums, failed):
    """Seconds that the query took."""
    began = time.monotonic()
    got = [tuple(row) for row in spark.sql(QUERY).collect()]
    if got != sums.rows():
        wrong = next((pair for pair in zip(got, sums.rows()) if pair[0] != pair[1]), (got, sums.rows()))
        raise failed(f"lake.visits is not what was loaded: {wrong[0]} and {wrong[1]}")
    return time.monotonic() - began


def file_bytes(uri):
    """Of the parts that the newest snapshot needs; older ones are kept for a while."""
    with Wire(uri) as wire:
        return int(wire.status()[("engine", "parts_bytes")])


def show(steps, spark, magicd, failed):
    """Load, ask, kill, ask again."""
    steps.say()
    steps.say(f"Larger than memory: magicd may use {MEMORY}.")
    with steps.step(f"loading {ROWS:,} rows of lake.visits, a table of its own"):
        sums, total_bytes = load(magicd.uri)
    seconds = ask(spark, sums, failed)
    steps.say(
        f"  {total_bytes / 1e9:.1f} GB of rows, in files of {file_bytes(magicd.uri) / 1e9:.1f} GB; Spark joined them with the shop's"
        f" customers in {seconds:.1f} s: all {len(shop.COUNTRIES)} sums are right"
    )
    began = time.monotonic()
    magicd.kill()
    magicd.start()
    steps.say(f"  magicd was killed (kill -9) while the shop goes on, and was ready again after {time.monotonic() - began:.2f} s")
    seconds = ask(spark, sums, failed)
    steps.say(f"  the same question: {seconds:.1f} s, the same {len(shop.COUNTRIES)} sums")
