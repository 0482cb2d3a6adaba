"""flight_server.py -- the server under test: the fixture alone, or magicd on a store that the fixture filled.

MAGIC_BUILD: the build folder (default build/release).
SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MAGIC_BUILD", os.path.join(ROOT, "build", "release"))
FIXTURE = os.path.join(BUILD, "flight_fixture")
MAGICD = os.path.join(BUILD, "magicd")
START_SECONDS = 60


class Server:
    """A running server; stop() ends it as an operator would, and fails when it did not end well."""

    def __init__(self, command, folder):
        self.folder = folder
        self.command = command
        self.address_file = os.path.join(folder, "address")
        self.process = None
        self.start()

    def start(self):
        if self.process:
            self.log.close()
        if os.path.exists(self.address_file):
            os.unlink(self.address_file)
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(self.command + ["--address-file", self.address_file], stdout=self.log,
                                        stderr=self.log)
        deadline = time.monotonic() + START_SECONDS
        while not os.path.exists(self.address_file):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError("the server did not start:\n" + self.log_text())
            time.sleep(0.01)
        with open(self.address_file) as file:
            self.address = file.read().strip()
        self.uri = "grpc://" + self.address

    def log_text(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as file:
            return file.read()

    def await_log(self, text):
        """Until the log has it; the address file is there a moment before the server says so."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log_text():
            if time.monotonic() > deadline:
                raise RuntimeError("%r is not in the log:\n%s" % (text, self.log_text()))
            time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self.log.close()
        if status != 0:
            raise RuntimeError("the server ended with status %d:\n%s" % (status, self.log_text()[-4000:]))

    def clear(self):
        self.stop()
        shutil.rmtree(self.folder)


def start_fixture(*options):
    return Server([FIXTURE, "serve", *options], tempfile.mkdtemp(prefix="magic-fixture-"))


def start_magicd(*options, rows=100000):
    folder = tempfile.mkdtemp(prefix="magic-magicd-")
    data = os.path.join(folder, "data")
    subprocess.run([FIXTURE, "fill", data, "--rows", str(rows)], check=True)
    return Server([MAGICD, "--data", data, "--listen", "127.0.0.1:0", *options], folder)
