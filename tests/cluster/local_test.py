#!/usr/bin/env python3
"""One model on several processes of this machine: the same text, and a clear end when one is lost."""

import os
import signal
import time
import unittest

from cluster import END_SECONDS_MAX, GREEDY, PROMPT, ClusterTest, Process, children_of, runs, wait_until
from program import MODEL, UNAVAILABLE, exomesh


class Text(ClusterTest):
    def test_is_that_of_one_process(self):
        alone = self.answer()
        self.assertGreater(len(alone), 40)
        for ranks, split in ((3, "tensor"), (2, "pipeline"), (3, "pipeline"), (4, "2x2")):
            with self.subTest(ranks=ranks, split=split):
                together = self.answer("--local", str(ranks), "--split", split, "--wire", "f32")
                self.assertEqual(together, alone)
        with self.subTest(shares="uneven"):
            together = self.answer("--local", "3", "--shares", "0.5,0.3,0.2", "--wire", "f32")
            self.assertEqual(together, alone)

    def test_rounded_sums_answer_too(self):
        for wire in ("q8", "f16"):
            with self.subTest(wire=wire):
                self.assertGreater(len(self.answer("--local", "3", "--wire", wire)), 40)

    def test_figures_say_what_the_ranks_spent(self):
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--max-tokens", "8", "--local", "2", "--cluster-figures")
        self.succeeds(result)
        self.assertRegex(result.stderr, r"\[\d+ steps; each [\d.]+ ms, of it [\d.]+ ms in sums")


class Refusals(ClusterTest):
    def refuses(self, words: str, *arguments: str) -> None:
        result = exomesh("run", MODEL, PROMPT, *GREEDY, *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, words)

    def test_flags_that_do_not_fit(self):
        self.refuses("no way to split", "--local", "2", "--split", "half")
        self.refuses("2x2 makes 4 ranks, not 3", "--local", "3", "--split", "2x2")
        self.refuses("2 shares were given for 3 ranks", "--local", "3", "--shares", "0.5,0.5")
        self.refuses("all shares are 0", "--local", "2", "--shares", "0,0")
        self.refuses("3 .*devices were given for 2 ranks", "--local", "2", "--devices", "cpu,cpu,cpu")
        self.refuses("no address of a worker", "--peers", "localhost:1")
        self.refuses("are for several ranks", "--split", "pipeline")


class Faults(ClusterTest):
    def start_answering(self, split: str) -> tuple[Process, list[int]]:
        head = self.start("run", MODEL, PROMPT, *GREEDY, "--max-tokens", "450", "--stop", "\x01",
                          "--local", "3", "--split", split)  # fmt: skip
        head.out.wait_for(r"\w+ \w+ \w+")
        workers = children_of(head.pid)
        self.assertEqual(len(workers), 2)
        return head, workers

    def loses_a_worker(self, number: int, rank: int, words: str, split: str = "tensor") -> None:
        head, workers = self.start_answering(split)
        begin = time.monotonic()
        os.kill(workers[rank - 1], number)
        code = head.wait(30)
        seconds = time.monotonic() - begin
        errors = head.errors.all()
        self.assertEqual(code, UNAVAILABLE, errors)
        self.assertLess(seconds, END_SECONDS_MAX, errors)
        self.assertRegex(errors, rf"error: rank {rank} \(.*{words}")
        self.assertTrue(wait_until(lambda: not any(map(runs, workers)), 2), "a worker is left over")

    def test_a_killed_worker_is_named(self):
        for split in ("tensor", "pipeline"):
            for rank in (1, 2):
                with self.subTest(split=split, rank=rank):
                    self.loses_a_worker(signal.SIGKILL, rank, r"signal 9 \(Killed\)", split)

    def test_a_stopped_worker_is_named(self):
        for split in ("tensor", "pipeline"):
            for rank in (1, 2):
                with self.subTest(split=split, rank=rank):
                    self.loses_a_worker(signal.SIGSTOP, rank, "silent for 900 ms", split)

    def test_no_worker_outlives_its_head(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                head, workers = self.start_answering("tensor")
                os.kill(head.pid, number)
                head.wait(10)
                self.assertTrue(wait_until(lambda: not any(map(runs, workers)), 2), "a worker is left over")


if __name__ == "__main__":
    unittest.main(verbosity=2)
