"""Tables of our own beside the source's.

SPDX-License-Identifier: Apache-2.0
"""

import pyarrow.flight as flight


def put(uri, database, name, table, key="id", rows=5000):
    """Make a table of these rows, durable and visible on return."""
    to = flight.FlightDescriptor.for_path(database, name, "create", key)
    with flight.connect(uri) as client:
        with client.do_put(to, table.schema)[0] as writer:
            writer.write_table(table, max_chunksize=rows)
