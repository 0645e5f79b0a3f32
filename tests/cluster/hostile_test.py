#!/usr/bin/env python3
"""Strangers at a worker's port, and somebody on the way to it who meddles: nothing wrong is ever said."""

import contextlib
import random
import shutil
import socket
import ssl
import subprocess
import time
import unittest

from cluster import END_SECONDS_MAX, ClusterTest, Process
from program import SECONDS_MAX
from relay import Relay


def tls_record(kind: int, body: bytes) -> bytes:
    return bytes([kind, 3, 3]) + len(body).to_bytes(2, "big") + body


# What is no handshake: of every length, and such that begin as one.
NONSENSE = {
    "nothing": b"",
    "one byte": b"\x16",
    "HTTP": b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n",
    "noise": random.Random(1).randbytes(100_000),
    "zeros": bytes(100_000),
    "an alert": tls_record(21, b"\x02\x28"),
    "a cut hello": tls_record(22, b"\x01\x00\x02\x00\x03\x03" + random.Random(2).randbytes(40)),
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
}


class HostileTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.home = self.new_home()
        self.worker, self.address = self.start_worker(self.identity(self.home))
        self.port = int(self.address.split("/")[0].rsplit(":", 1)[1])

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS_MAX)
        self.addCleanup(connection.close)
        return connection

    def end_of(self, connection: socket.socket) -> None:
        """Waits until the worker closes the connection."""
        with contextlib.suppress(ConnectionError):
            while connection.recv(1 << 16):
                pass

    def serves(self) -> None:
        self.assertEqual(self.answer("--peers", self.address, "--wire", "f32", **self.home), self.alone())
        self.assertIsNone(self.worker.process.poll(), self.worker.errors.text)

    def alone(self) -> str:
        if not hasattr(HostileTest, "expected"):
            HostileTest.expected = self.answer()
        return HostileTest.expected


class Strangers(HostileTest):
    def test_nonsense_at_the_port(self):
        for name, what in NONSENSE.items():
            with self.subTest(what=name):
                connection = self.connect()
                with contextlib.suppress(ConnectionError):
                    connection.sendall(what)
                connection.shutdown(socket.SHUT_WR)
                self.end_of(connection)
        self.serves()
        self.assertGreaterEqual(self.worker.errors.text.count("refused a connection"), len(NONSENSE) - 1)

    def test_somebody_silent_holds_nobody_up(self):
        connections = [self.connect() for _ in range(3)]
        begin = time.monotonic()
        self.serves()
        self.assertLess(time.monotonic() - begin, 5, "strangers who say nothing keep a head waiting")
        for connection in connections:
            connection.close()

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["exomesh-data/1"])
        return context

    def is_let_in(self, context: ssl.SSLContext) -> bool:
        try:
            with context.wrap_socket(self.connect()) as link:
                link.sendall(bytes(100))
                return bool(link.recv(1))  # only after the handshake does TLS 1.3 say what it thinks of us
        except (ssl.SSLError, ConnectionError):
            return False

    def test_tls_without_a_certificate_of_a_peer(self):
        self.assertFalse(self.is_let_in(self.context()), "without any")
        old = self.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertFalse(self.is_let_in(old), "with TLS 1.2")
        if openssl := shutil.which("openssl"):
            key, certificate = str(self.folder / "key"), str(self.folder / "certificate")
            subprocess.run([openssl, "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=stranger",
                            "-keyout", key, "-out", certificate], check=True, capture_output=True)  # fmt: skip
            foreign = self.context()
            foreign.load_cert_chain(certificate, key)
            self.assertFalse(self.is_let_in(foreign), "with one of another kind")
        self.serves()

    def test_a_recorded_session_said_again(self):
        relay = Relay(self.port)
        self.addCleanup(relay.close)
        self.answer("--peers", relay.address(self.address), **self.home)
        recorded = [bytes(record) for record in relay.recorded]
        self.assertEqual(len(recorded), 2, "a control link and a data link were expected")
        sessions = self.worker.errors.text.count("rank 1 of")
        for record in recorded:
            connection = self.connect()
            with contextlib.suppress(ConnectionError):
                connection.sendall(record)
            self.end_of(connection)
        self.serves()
        self.assertEqual(self.worker.errors.text.count("rank 1 of"), sessions + 1)


class Meddlers(HostileTest):
    stories: dict[str, str] = {}  # by split

    def setUp(self) -> None:
        super().setUp()
        self.relay = Relay(self.port)
        self.addCleanup(self.relay.close)

    def start_answering(self, split: str) -> Process:
        head = self.start_story("--split", split, "--peers", self.relay.address(self.address), **self.home)
        head.out.wait_for(r"\w+ \w+ \w+")
        return head

    def text_of(self, split: str) -> str:
        """What is said where nobody meddles."""
        if split not in self.stories:
            self.stories[split] = self.story("--split", split, "--peers", self.address, **self.home)
        return self.stories[split]

    def ends(self, head: Process, begin: float, expected: str) -> None:
        """In time, with the rank's name, and without a wrong word before it."""
        code = head.wait(30)
        seconds = time.monotonic() - begin
        errors = head.errors.all()
        self.assertNotEqual(code, 0, errors)
        self.assertLess(seconds, END_SECONDS_MAX, errors)
        self.assertRegex(errors, r"error: rank 1 \(")
        self.says_nothing_wrong(head, expected)

    def test_changed_bytes(self):
        meddles = {
            "a bit is flipped": lambda block: block[:-1] + bytes([block[-1] ^ 1]),
            "said twice": lambda block: block + block,
            "something between": lambda block: tls_record(23, bytes(40)) + block,
        }
        for split, names in {"tensor": list(meddles), "pipeline": ["a bit is flipped"]}.items():
            expected = self.text_of(split)
            for name in names:
                with self.subTest(split=split, what=name):
                    head = self.start_answering(split)
                    begin = time.monotonic()
                    self.relay.meddle_once(meddles[name])
                    self.ends(head, begin, expected)
        self.serves()

    def test_a_cut_link(self):
        expected = self.text_of("tensor")
        head = self.start_answering("tensor")
        begin = time.monotonic()
        self.relay.cut()
        self.ends(head, begin, expected)
        self.serves()

    def test_a_link_that_is_silent_in_both_directions(self):
        expected = self.text_of("tensor")
        head = self.start_answering("tensor")
        begin = time.monotonic()
        self.relay.hold()
        self.ends(head, begin, expected)
        self.worker.errors.wait_for("the session ended")
        self.serves()


if __name__ == "__main__":
    unittest.main(verbosity=2)
