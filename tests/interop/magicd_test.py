#!/usr/bin/env python3
"""magicd_test.py -- magicd as a program: options, files, signals. Needs Python's own library only.

SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import flight_server  # noqa: E402

MAGICD, MAGIC = flight_server.MAGICD, os.path.join(flight_server.BUILD, "magic")


def magicd(*arguments):
    return subprocess.run([MAGICD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


class Magicd(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="magic-magicd-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = os.path.join(self.folder, "data")

    def start(self, *options):
        return flight_server.Server([MAGICD, "--data", self.data, "--listen", "127.0.0.1:0", *options], self.folder)

    def ask(self, server, *arguments):
        return subprocess.run([MAGIC, "--server", server.uri, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)

    def config(self, text):
        path = os.path.join(self.folder, "magic.toml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_help_and_version(self):
        done = magicd("--help")
        self.assertEqual(done.returncode, 0)
        for flag in ("--data", "--listen", "--engine", "--memory-limit", "--lease-ttl", "--source-listen",
                     "--interval", "--buffer-limit", "--config"):
            self.assertIn(flag, done.stdout)
        self.assertRegex(magicd("--version").stdout, r"^magicd \d+\.\d+\.\d+ ")

    def test_wrong_flags_name_the_value(self):
        for arguments, text in ((["--nonsense", "1"], "nonsense"), (["--memory-limit", "lots"], "lots"),
                                (["--engine", "oracle"], "oracle"), (["--interval", "0"], "'0'"),
                                (["--listen"], "--listen needs a value"), (["data"], "'data'"), ([], "--data"),
                                (["--http", "127.0.0.1:8816"], "not in this version")):
            with self.subTest(arguments=arguments):
                done = magicd(*arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(text, done.stderr)

    def test_wrong_files_name_the_line(self):
        for text, says in (('\nlistne = "x"\n', "magic.toml:2: there is no setting listne"),
                           ('data = "x"\n[source]\ninterval = "soon"\n', "magic.toml:3: source.interval: 'soon'"),
                           ("data = \n", "magic.toml"), ("splits = [1]\n", "magic.toml")):
            with self.subTest(text=text):
                done = magicd("--config", self.config(text))
                self.assertEqual(done.returncode, 2)
                self.assertIn(says, done.stderr)
        self.assertNotEqual(magicd("--config", os.path.join(self.folder, "nothing")).returncode, 0)

    def test_merges_are_throttled_and_compactions_asked_for(self):
        server = self.start("--merge-throttle", "1GiB")
        self.assertRegex(self.ask(server, "status").stdout, r"merge_throttle +1073741824 bytes/s")
        self.assertEqual(self.ask(server, "set", "merge_throttle", "50MB").stdout, "merge_throttle = 50MB\n")
        status = self.ask(server, "status").stdout
        self.assertRegex(status, r"merge_throttle +50000000 bytes/s")
        self.assertRegex(status, r"merge_throttle +50MB \(run time\)")
        self.assertRegex(status, r"write_amplification +0.00 x")
        self.assertIn("'fast'", self.ask(server, "set", "merge_throttle", "fast").stderr)
        self.assertIn("there is no table shop.nothing", self.ask(server, "compact", "shop.nothing").stderr)
        self.assertEqual(self.ask(server, "compactions").stdout, "")
        server.stop()

    def test_the_example_file_is_read(self):
        with open(os.path.join(flight_server.ROOT, "conf", "magic.toml.example")) as file:
            example = file.read()
        with open(os.path.join(flight_server.ROOT, "src", "server", "settings.def")) as file:
            keys = re.findall(r'MG_X\(\w+,\s*"([\w.]+)"', file.read())
        self.assertEqual(sorted(re.findall(r"^#? ?(\w+) = ", example, re.M)),
                         sorted(key.split(".")[-1] for key in keys))
        server = self.start("--config", self.config(example.replace("/var/lib/magic", self.data)))
        server.stop()

    def test_a_flag_goes_above_the_file(self):
        path = self.config('lease_ttl = "7s"\nlog_level = "debug"\n')
        server = self.start("--lease-ttl", "9s", "--config", path)
        status = self.ask(server, "status").stdout
        self.assertRegex(status, r"lease_ttl +9s")
        self.assertRegex(status, r"log_level +debug")
        server.stop()

    def test_it_ends_well_and_starts_again(self):
        server = self.start()
        server.await_log("ready at " + server.address)
        self.assertEqual(self.ask(server, "sql", "-e", "SHOW DATABASES").returncode, 0)
        server.stop()
        server.start()
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(timeout=30), 0)
        server.start()
        server.kill()
        server.start()
        server.stop()

    def test_the_key_is_for_its_user_alone(self):
        self.start().stop()
        secret = os.path.join(self.data, "secret")
        self.assertEqual(stat.S_IMODE(os.stat(secret).st_mode), 0o600)
        self.assertEqual(os.stat(secret).st_size, 32)
        with open(secret, "wb") as file:
            file.write(b"short")
        done = magicd("--data", self.data, "--listen", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn("secret holds 5 bytes", done.stderr)

    def test_one_process_at_a_time(self):
        server = self.start()
        done = magicd("--data", self.data, "--listen", "127.0.0.1:0")
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.data, done.stderr)
        other = os.path.join(self.folder, "other")
        done = magicd("--data", other, "--listen", server.address)
        self.assertEqual(done.returncode, 1)
        self.assertIn(server.address, done.stderr)
        server.stop()

    def test_the_pump_has_its_share_of_the_memory(self):
        listen = ["--source-listen", "unix:" + os.path.join(self.folder, "pump.sock")]
        for options, values in ((["--memory-limit", "1GiB"], ("1073741824", "1342177280")),
                                (["--memory-limit", "128MiB", "--pump-memory", "65MiB", "--message-limit", "1MiB"],
                                 ("134217728", "68157440")),
                                (["--memory-limit", "1GiB", "--pump-memory", "64MiB", "--message-limit", "50MiB"],
                                 ("67108864", "52428800"))):
            with self.subTest(options=options):
                done = magicd("--data", self.data, "--listen", "127.0.0.1:0", *listen, *options)
                self.assertEqual(done.returncode, 2, done.stderr)
                for value in values:
                    self.assertIn(value, done.stderr)
        server = self.start(*listen, "--memory-limit", "128MiB", "--pump-memory", "64MiB", "--message-limit", "48MiB")
        status = self.ask(server, "status").stdout
        self.assertRegex(status, r"pump_reserved +67108864 bytes")
        self.assertRegex(status, r"pump_used +0 bytes")
        numbers = dict(re.findall(r"^ *(used|left|engine|scans|messages|syncer) +(\d+) bytes", status, re.M))
        numbers = {name: int(value) for name, value in numbers.items()}
        self.assertLessEqual(67108864, numbers["used"])
        self.assertLessEqual(numbers["left"], 67108864)
        server.stop()
        server = self.start("--memory-limit", "64MiB")  # nothing is followed: the store has it all
        self.assertRegex(self.ask(server, "status").stdout, r"pump_reserved +0 bytes")
        server.stop()

    def test_the_buffer_has_segments_of_the_set_size(self):
        listen = ["--source-listen", "unix:" + os.path.join(self.folder, "pump.sock")]
        for name, options, size in (("default", [], 64 << 20), ("small", ["--buffer-segment", "2MiB"], 2 << 20)):
            with self.subTest(name=name):
                buffer = os.path.join(self.folder, name)
                server = self.start(*listen, "--buffer", buffer, *options)
                self.assertRegex(self.ask(server, "status").stdout, r"buffer_segment +%dMiB" % (size >> 20))
                server.stop()
                self.assertEqual(max(os.stat(os.path.join(buffer, file)).st_size for file in os.listdir(buffer)), size)
        for size in ("1023KiB", "1025MiB"):
            done = magicd("--data", self.data, *listen, "--buffer-segment", size)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"source.buffer_segment: '{size}' is not between", done.stderr)

    def test_settings_at_run_time(self):
        server = self.start("--engine", "model")
        self.assertEqual(self.ask(server, "set", "splits", "4").stdout, "splits = 4\n")
        self.assertRegex(self.ask(server, "status").stdout, r"splits +4")
        for name, value, text in (("splits", "0", "'0'"), ("listen", "x", "cannot change"), ("x", "1", "no setting x"),
                                  ("source.interval", "5ms", "no source"), ("log_level", "loud", "loud")):
            done = self.ask(server, "set", name, value)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
        self.assertRegex(self.ask(server, "status").stdout, r"engine +model")
        server.stop()


if __name__ == "__main__":
    unittest.main()
