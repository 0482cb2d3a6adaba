"""Our gRPC against gRPC's own implementation (grpcio): its client calls our server, our client calls its server.

    grpc_interop.py PEER     PEER is the program grpc_peer

The methods are those of src/grpc/grpc_testing.h; messages are plain bytes. Skipped (status 77) without grpcio.
SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import grpc
except ImportError:
    print("skipped: this Python has no grpcio; make setup installs it", file=sys.stderr)
    sys.exit(1 if os.environ.get("CI") else 77)

PEER = sys.argv.pop(1)
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def run_peer(*arguments):
    return subprocess.Popen([PEER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stream_request(count, size):
    return struct.pack("<II", count, size)


class OurServer(unittest.TestCase):
    """grpcio calls grpc_peer."""

    address = "127.0.0.1:0"

    def setUp(self):
        self.peer = run_peer("server", self.address)
        self.target = self.peer.stdout.readline().strip()
        self.assertTrue(self.target, "the server did not start")
        self.channel = self.connect()

    def connect(self, options=()):
        return grpc.insecure_channel(self.target, options=OPTIONS + list(options))

    def tearDown(self):
        self.channel.close()
        self.peer.stdin.close()
        report = self.peer.stdout.read()
        self.assertEqual(self.peer.wait(20), 0)
        self.assertIn("calls=0 connections=0 queued_bytes=0", report)
        numbers = dict(field.split("=") for field in report.split())
        self.assertGreaterEqual(int(numbers["released"]), int(numbers["produced"]))
        self.peer.stdout.close()

    def unary(self, method, request=b"", **arguments):
        return self.channel.unary_unary("/test.Test/" + method)(request, **arguments)

    def failure(self, method, request=b"", **arguments):
        with self.assertRaises(grpc.RpcError) as caught:
            self.unary(method, request, **arguments)
        return caught.exception

    def test_unary(self):
        for method in ("Echo", "Unary", "Later"):
            for size in (0, 1, 100, 16384, 100000, 16 << 20):
                body = os.urandom(size)
                self.assertEqual(self.unary(method, body), body)

    def test_streaming(self):
        for count, size in ((0, 0), (5, 0), (1000, 10), (100, 100000), (20, 4 << 20)):
            sizes = [len(m) for m in self.channel.unary_stream("/test.Test/Stream")(stream_request(count, size))]
            self.assertEqual(sizes, [size] * count)
        answer = self.channel.stream_unary("/test.Test/Collect")(bytes(i * 10) for i in range(2000))
        self.assertEqual(struct.unpack("<QQ", answer), (2000, sum(i * 10 for i in range(2000))))
        echoed = list(self.channel.stream_stream("/test.Test/Bidi")(bytes(i * 100) for i in range(300)))
        self.assertEqual([len(m) for m in echoed], [i * 100 for i in range(300)])

    def test_slow_reader_holds_only_itself(self):
        slow = self.channel.unary_stream("/test.Test/Stream")(stream_request(400, 1 << 20))
        next(slow)
        self.assertEqual(self.unary("Unary", b"x" * 100000), b"x" * 100000)
        time.sleep(0.2)
        self.assertEqual(sum(1 for _ in slow), 399)

    def test_many_calls_at_once(self):
        bidi = self.channel.stream_stream("/test.Test/Bidi")
        later = self.channel.unary_unary("/test.Test/Later")
        futures = [later.future(bytes([i % 256]) * 100) for i in range(300)]
        calls = [bidi(iter([b"a%d" % i, b"b"])) for i in range(200)]
        for i, call in enumerate(calls):
            self.assertEqual(list(call), [b"a%d" % i, b"b"])
        for i, future in enumerate(futures):
            self.assertEqual(future.result(30), bytes([i % 256]) * 100)

    def test_deadline(self):
        begun = time.monotonic()
        error = self.failure("Wait", timeout=0.3)
        self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(self.unary("Echo", b"y"), b"y")

    def test_cancel(self):
        call = self.channel.unary_stream("/test.Test/Stream")(stream_request(100000, 1 << 20))
        next(call)
        call.cancel()
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in call:
                pass
        self.assertEqual(caught.exception.code(), grpc.StatusCode.CANCELLED)
        self.assertEqual(self.unary("Unary", b"y"), b"y")

    def test_errors(self):
        error = self.failure("Nothing")
        self.assertEqual(error.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertEqual(error.details(), "unknown method /test.Test/Nothing")
        text = "d\u00e9tail 100% \u20ac\n\"x\""
        error = self.failure("Fail", struct.pack("<I", 1) + text.encode())
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(error.details(), text)
        trailers = dict(error.trailing_metadata())
        self.assertEqual(trailers["magic-code"], "INVALID")
        self.assertEqual(trailers["x-detail"], "why")
        self.assertEqual(trailers["x-detail-bin"], b"\0\1\2\xff")

    def test_metadata(self):
        method = self.channel.unary_unary("/test.Test/Headers")
        answer, call = method.with_call(b"z", metadata=(("x-a", "1"), ("x-b", "two words")))
        self.assertEqual(answer, b"z")
        self.assertEqual(dict(call.initial_metadata())["x-b"], "two words")
        self.assertEqual(dict(call.trailing_metadata())["x-trailer-x-a"], "1")
        error = self.failure("Headers", b"z", metadata=(("x-large", "v" * 17000),))
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(self.unary("Echo", b"y"), b"y")

    def test_compressed_is_refused(self):
        error = self.failure("Unary", b"x" * 1000, compression=grpc.Compression.Gzip)
        self.assertEqual(error.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertEqual(self.unary("Echo", b"y"), b"y")

    def test_too_large(self):
        error = self.failure("Unary", bytes((64 << 20) + 1))
        self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertIn("message larger than max (67108865 vs. 67108864)", error.details())
        self.assertEqual(self.unary("Echo", b"y"), b"y")

    def test_authorities(self):
        for authority in ("localhost", "%2Ftmp%2Fx.sock", "/tmp/x.sock", "unix:/tmp/x.sock"):
            with self.connect([("grpc.default_authority", authority)]) as channel:
                self.assertEqual(channel.unary_unary("/test.Test/Echo")(b"q", timeout=10), b"q", authority)

    def test_stopped_client_is_given_up(self):
        """A client that is alive for the kernel and dead for everybody else: the ping is not answered."""
        waiter = run_peer("wait", self.target)
        self.assertEqual(waiter.stdout.readline(), "waiting\n")
        waiter.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        waiter.send_signal(signal.SIGCONT)
        waiter.kill()
        waiter.wait()
        waiter.stdin.close()
        waiter.stdout.close()
        self.assertEqual(self.unary("Echo", b"y"), b"y")


class OurServerOnUnixSocket(OurServer):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.address = f"unix:{self.folder.name}/s"
        super().setUp()

    def tearDown(self):
        super().tearDown()
        self.assertEqual(os.listdir(self.folder.name), [])
        self.folder.cleanup()


class Handlers(grpc.GenericRpcHandler):
    """What grpc_testing.h serves, in Python."""

    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, details):
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect),
            "Bidi": grpc.stream_stream_rpc_method_handler(lambda requests, context: iter(requests)),
            "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Headers": grpc.unary_unary_rpc_method_handler(self.headers),
        }
        return kinds.get(details.method.removeprefix("/test.Test/"))

    @staticmethod
    def stream(request, context):
        count, size = struct.unpack("<II", request)
        for _ in range(count):
            yield bytes(size)

    @staticmethod
    def collect(requests, context):
        sizes = [len(request) for request in requests]
        return struct.pack("<QQ", len(sizes), sum(sizes))

    def wait(self, request, context):
        done = threading.Event()
        context.add_callback(done.set)
        done.wait(30)
        self.cancelled.set()
        return b""

    @staticmethod
    def fail(request, context):
        (code,) = struct.unpack("<I", request[:4])
        context.set_trailing_metadata((("x-detail", "why"),))
        context.abort(next(c for c in grpc.StatusCode if c.value[0] == code), request[4:].decode())

    @staticmethod
    def headers(request, context):
        mine = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-")]
        context.send_initial_metadata(mine)
        context.set_trailing_metadata([("x-trailer-" + k, v) for k, v in mine])
        return request


class OurClient(unittest.TestCase):
    """grpc_peer calls grpcio."""

    def run_client(self, address):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            server = grpc.server(pool, options=OPTIONS)
            handlers = Handlers()
            server.add_generic_rpc_handlers((handlers,))
            port = server.add_insecure_port(address)
            self.assertTrue(port)
            server.start()
            target = address.replace(":0", f":{port}") if address.endswith(":0") else address
            peer = subprocess.run([PEER, "client", target], stdout=subprocess.PIPE, text=True, timeout=120)
            self.assertEqual(peer.stdout, "")
            self.assertEqual(peer.returncode, 0)
            self.assertTrue(handlers.cancelled.wait(5))
            server.stop(0).wait()

    def test_tcp(self):
        self.run_client("127.0.0.1:0")

    def test_unix(self):
        with tempfile.TemporaryDirectory() as folder:
            self.run_client(f"unix:{folder}/s")


if __name__ == "__main__":
    unittest.main(verbosity=2)
