"""pyarrow.flight as a client and as a server of tpch.lineitem.

    flight.py client    `get grpc://HOST:PORT`: reads all, drops it; answers "ROWS BYTES"
    flight.py server    `serve grpc://HOST:PORT`: reads all of there into memory, then serves it; answers its own address

Its server gives the batches as they came, so that both servers send the same. Protocol: bench/peer.h.
SPDX-License-Identifier: Apache-2.0
"""
import sys
import threading
import time

import pyarrow as pa
import pyarrow.flight as flight

PATH = flight.FlightDescriptor.for_path("tpch", "lineitem")


def read(address, keep):
    """Rows, bytes, and the batches if they are to be kept."""
    rows, size, kept, schema = 0, 0, [], None
    with flight.connect(address) as client:
        info = client.get_flight_info(PATH)
        for endpoint in info.endpoints:
            reader = client.do_get(endpoint.ticket)
            schema = reader.schema
            for chunk in reader:
                rows += chunk.data.num_rows
                size += chunk.data.nbytes
                if keep:
                    kept.append(chunk.data)
    return rows, size, schema, kept


class Server(flight.FlightServerBase):
    def __init__(self, schema, batches):
        super().__init__("grpc://127.0.0.1:0")
        self.table_schema, self.batches = schema, batches

    def get_flight_info(self, context, descriptor):
        return flight.FlightInfo(self.table_schema, descriptor, [flight.FlightEndpoint(b"all", [])], -1, -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(self.table_schema, self.batches))


def main():
    server = None
    for request in sys.stdin:
        word, address = request.split()
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        try:
            rows, size, schema, kept = read(address, word == "serve")
            wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
            line = f"{rows} {size}"
            if word == "serve":
                server = Server(schema, kept)
                threading.Thread(target=server.serve, daemon=True).start()
                line = f"grpc://127.0.0.1:{server.port}"
            print(f"ok {wall} {cpu} 1\n{line}", flush=True)
        except Exception as error:  # its own words are what the reader needs
            print("no", str(error).replace("\n", " ")[:2000], flush=True)
    if server:
        server.shutdown()


if __name__ == "__main__":
    main()
