#!/usr/bin/env python3
"""Workers that several heads want, with too little memory, or on a port that is in use."""

import os
import pathlib
import resource
import signal
import socket
import subprocess
import time
import unittest

from cluster import GREEDY, PROMPT, ClusterTest, Process, exomesh, runner_of
from program import BINARY, EXHAUSTED, FAILED, MODEL, UNAVAILABLE

EARLY_SECONDS_MAX = 10.0  # from the start of a head to a refusal


def has_sanitizer() -> bool:
    libraries = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=False).stdout
    return "libasan" in libraries or "libtsan" in libraries


class SharingTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.homes_of_heads = [self.new_home(), self.new_home()]
        self.heads = [self.identity(home) for home in self.homes_of_heads]

    def start_answering(self, head: int, address: str, *arguments: str) -> Process:
        process = self.start("run", MODEL, PROMPT, *GREEDY, "--max-tokens", "450", "--stop", "\x01",
                             "--peers", address, *arguments, **self.homes_of_heads[head])  # fmt: skip
        process.out.wait_for(r"\w+ \w+ \w+")
        return process

    def fails_with(self, code: int, words: str, head: int, address: str, model: str = MODEL) -> None:
        begin = time.monotonic()
        result = exomesh("run", model, PROMPT, *GREEDY, "--max-tokens", "4", "--peers", address,
                         **self.homes_of_heads[head])  # fmt: skip
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, words)
        self.assertLess(time.monotonic() - begin, EARLY_SECONDS_MAX)

    def answers(self, head: int, address: str) -> None:
        self.assertGreater(len(self.answer("--peers", address, tokens=8, **self.homes_of_heads[head])), 10)


class TwoHeads(SharingTest):
    def test_the_second_is_told_and_the_first_works_on(self):
        worker, address = self.start_worker(*self.heads)
        first, url = self.serve("--peers", address, **self.homes_of_heads[0])
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        for head in (1, 0):  # of another device, and one more of the same
            self.fails_with(UNAVAILABLE, r"rank 1.*busy with another head", head, address)
        self.assertEqual(self.ask(url), (200, expected))
        os.kill(first.pid, signal.SIGINT)
        first.wait(10)
        self.answers(1, address)
        self.assertIsNone(worker.process.poll())

    def test_a_first_that_hangs_gives_way(self):
        worker, address = self.start_worker(*self.heads)
        first = self.start_answering(0, address)
        os.kill(first.pid, signal.SIGSTOP)
        worker.errors.wait_for("the session ended", 5)
        self.answers(1, address)
        first.kill()


class Room(SharingTest):
    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = exomesh("worker", "--listen", f"127.0.0.1:{port}", "--allow", self.heads[0],
                             **self.homes_of_heads[1])  # fmt: skip
        self.assertEqual(result.returncode, FAILED, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, rf"error: .*127\.0\.0\.1:{port}.*in use")

    @unittest.skipIf(has_sanitizer(), "sanitizers end a program that has no memory")
    def test_no_memory_at_one_rank(self):
        worker, address = self.start_worker(self.heads[0])
        runner = runner_of(worker)
        status = pathlib.Path(f"/proc/{runner}/statm").read_text()
        mapped = int(status.split()[0]) * resource.getpagesize()
        # The file can be mapped, and its threads started, but half of the weights are too many.
        room = os.path.getsize(MODEL) + (24 << 20)
        resource.prlimit(runner, resource.RLIMIT_AS, (mapped + room, resource.RLIM_INFINITY))
        self.fails_with(EXHAUSTED, r"rank 1 \(.*(no room|memory)", 0, address)
        resource.prlimit(runner, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.answers(0, address)


if __name__ == "__main__":
    unittest.main(verbosity=2)
