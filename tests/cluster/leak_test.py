#!/usr/bin/env python3
"""Ranks are lost again and again under `exomesh up`: it leaves nothing behind."""

import os
import pathlib
import signal
import unittest

from cluster import ClusterTest, children_of, wait_until
from program import DONE, tell_sanitizer

ROUNDS = 20
WARM_ROUNDS = 5
GROWTH_BYTES_MAX = 8 << 20  # over all rounds after the first ones


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def status(pid: int, field: str) -> int:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field + ":")).split()[1])


tell_sanitizer("quarantine_size_mb=1", "ASAN_OPTIONS")  # else freed memory is kept aside and looks lost


class Leaks(ClusterTest):
    def figures(self, pid: int) -> dict[str, int]:
        return {"files": open_files(pid), "threads": status(pid, "Threads"), "bytes": status(pid, "VmRSS") * 1024}

    def test_twenty_lost_ranks(self):
        head, url = self.serve("--local", "3", "--split", "tensor", "--wire", "f32",
                               model=self.synthetic_model())  # fmt: skip
        _, expected = self.ask(url)
        before: dict[str, int] = {}
        for number in range(ROUNDS):
            workers = children_of(head.pid)
            self.assertEqual(len(workers), 3)
            os.kill(workers[number % 3], signal.SIGKILL)
            # The next request may find it lost, the one after that has a new one. No third: it would find its
            # prompt in the cache, which rounds otherwise.
            answers = [self.ask(url)]
            if answers[0][0] != 200:
                answers.append(self.ask(url))
            self.assertEqual(answers[-1], (200, expected), answers)
            self.assertTrue(wait_until(lambda: len(children_of(head.pid)) == 3, 2))
            if number == WARM_ROUNDS:
                before = self.figures(head.pid)
        after = self.figures(head.pid)
        self.assertLessEqual(after["files"], before["files"], "open files")
        self.assertLessEqual(after["threads"], before["threads"], "threads")
        self.assertLess(after["bytes"] - before["bytes"], GROWTH_BYTES_MAX, "memory")
        os.kill(head.pid, signal.SIGTERM)
        self.assertEqual(head.wait(30), DONE, head.errors.all())


if __name__ == "__main__":
    unittest.main(verbosity=2)
