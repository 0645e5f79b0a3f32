#!/usr/bin/env python3
"""How accurate the link emulator is: what is measured through it rests on that."""

import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools" / "bench"))
from emulator import Emulator, NotPermitted  # noqa: E402

PROGRAM = os.environ.get("EXOMESH_LINK_EMULATOR", "")
SKIPPED = 77
GOODPUT = 1448 / 1538  # of TCP with time stamps over Ethernet
SO_TIMESTAMPNS = 35


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping_us(address: str, count: int, pause_s: float = 0.002) -> list[float]:
    """Round trips of ICMP echoes, from before the sending to the kernel's own time of arrival."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        raw.settimeout(2)
        found = []
        for number in range(count):
            header = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, number)
            packet = struct.pack("!BBHHH", 8, 0, checksum(header), os.getpid() & 0xFFFF, number)
            begin = time.clock_gettime_ns(time.CLOCK_REALTIME)
            raw.sendto(packet, (address, 0))
            while True:
                data, control, _, _ = raw.recvmsg(256, 256)
                if data[20] == 0 and struct.unpack("!H", data[26:28])[0] == number:
                    break
            seconds, nanoseconds = struct.unpack("qq", control[0][2][:16])
            found.append((seconds * 10**9 + nanoseconds - begin) / 1000)
            time.sleep(pause_s)
        return found


def receive_all(listener: socket.socket, result: list) -> None:
    """Bytes per second of one connection, the first tenth of a second left out."""
    connection, _ = listener.accept()
    buffer, total, first, begin = bytearray(1 << 20), 0, time.monotonic(), 0.0
    with connection:
        while count := connection.recv_into(buffer):
            now = time.monotonic()
            if begin:
                total += count
            elif now - first > 0.1:
                begin = now
    result.append(total / (time.monotonic() - begin))


class EmulatorTest(unittest.TestCase):
    def setUp(self) -> None:
        emulator = Emulator(PROGRAM, 3)
        try:
            self.net = emulator.__enter__()
        except NotPermitted as reason:
            print(f"skipped: {reason}")
            sys.exit(SKIPPED)
        self.addCleanup(emulator.__exit__)

    def throughput_mbit(self, seconds: float) -> float:
        listener = self.net.call(1, socket.create_server, (self.net.address(1), 0))
        result: list[float] = []
        receiver = threading.Thread(target=receive_all, args=(listener, result))
        receiver.start()
        with listener, self.net.call(0, socket.create_connection, listener.getsockname()) as sender:
            block, end = bytes(1 << 18), time.monotonic() + seconds
            while time.monotonic() < end:
                sender.sendall(block)
            sender.shutdown(socket.SHUT_WR)
            receiver.join()
        return result[0] * 8 / 1e6

    def datagrams(self, count: int) -> list[int]:
        """Numbers of the datagrams that arrived, in their order."""
        receiver = self.net.call(1, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        sender = self.net.call(0, socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        with receiver, sender:
            receiver.bind((self.net.address(1), 0))
            receiver.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
            receiver.settimeout(0.3)
            for number in range(count):
                sender.sendto(struct.pack("!I", number), receiver.getsockname())
                if number % 50 == 49:
                    time.sleep(0.001)  # no more than the device's queue holds
            found = []
            try:
                while True:
                    found.append(struct.unpack("!I", receiver.recv(16))[0])
            except TimeoutError:
                return found

    def round_trip_us(self, host: int = 1) -> float:
        return statistics.median(self.net.call(0, ping_us, self.net.address(host), 60))

    def test_round_trips(self):
        # Others who want the processor make packets late, never early: the least of a few medians.
        base = min(self.round_trip_us() for _ in range(4))
        self.assertLess(base, 500)
        for one_way_us in (75, 150, 500, 1500, 5000):
            self.net.path(0, 1, delay_us=one_way_us)
            tolerance_us = 50 + 0.05 * one_way_us  # the longer all sleep, the later they wake
            for _ in range(5):
                measured = self.round_trip_us()
                print(f"delay {one_way_us} us: round trip {measured:.0f} us, {base:.0f} us without delay")
                if abs(measured - base - 2 * one_way_us) < tolerance_us:
                    break
            self.assertAlmostEqual(measured - base, 2 * one_way_us, delta=tolerance_us)
        self.assertLess(self.round_trip_us(host=2), 1000)

    def test_jitter_keeps_the_order(self):
        self.net.path(0, 1, delay_us=200, jitter_us=1000)
        measured = sorted(self.net.call(0, ping_us, self.net.address(1), 300))
        self.assertGreater(measured[270] - measured[30], 700)  # two times 0 to 1 ms
        self.assertEqual(self.datagrams(2000), list(range(2000)))

    def test_rates(self):
        for rate_mbit in (100, 1000):
            self.net.line(rate_mbit=rate_mbit)
            best = max(self.throughput_mbit(0.8) for _ in range(2))
            print(f"rate {rate_mbit} Mbit/s: TCP {best:.0f} Mbit/s")
            self.assertLess(best, rate_mbit * GOODPUT * 1.03)
            # What the processor leaves of it is another matter: others may want it.
            self.assertGreater(best, rate_mbit * GOODPUT * (0.9 if rate_mbit == 100 else 0.5))

    def test_faults_are_as_frequent_as_told(self):
        count, share = 8000, 0.02
        deviation = (count * share * (1 - share)) ** 0.5
        self.net.path(0, 1, loss=share)
        found = self.datagrams(count)
        self.assertEqual(found, sorted(set(found)))
        self.assertAlmostEqual(count - len(found), count * share, delta=5 * deviation)
        self.assertEqual(self.net.statistics()["lost"], count - len(found))
        self.net.path(0, 1, loss=0, duplicate=share)
        self.assertAlmostEqual(len(self.datagrams(count)) - count, count * share, delta=5 * deviation)
        self.net.path(0, 1, duplicate=0, straggle=share)
        found = self.datagrams(count)
        self.assertEqual(sorted(found), list(range(count)))
        overtaken = sum(after < before for before, after in zip(found, found[1:]))
        self.assertGreater(overtaken, count * share / 10)  # those that straggle together keep their order

    def test_a_cut_link_carries_nothing(self):
        self.net.path(0, 1, loss=1)
        self.assertEqual(self.datagrams(20), [])
        self.assertLess(statistics.median(self.net.call(0, ping_us, self.net.address(2), 20)), 5000)

    def test_nonsense_is_refused(self):
        for command in ("", "path", "path 0 9 loss=1", "path 0 1 loss=x", "path 0 1 loss", "line 0 loss=1"):
            with self.subTest(command), self.assertRaises(RuntimeError):
                self.net._ask(command)
        self.assertEqual(self.datagrams(3), [0, 1, 2])

    def test_a_killed_emulator_leaves_nothing(self):
        path = self.net.hosts[0]["namespace"]
        namespace = str(os.stat(path).st_ino)
        self.net.process.kill()
        self.net.process.wait()
        self.assertFalse(os.path.exists(path))
        leftover = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True)
        self.assertNotIn(namespace, leftover.stdout.split())


if __name__ == "__main__":
    unittest.main(verbosity=2)
