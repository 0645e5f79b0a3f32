#!/usr/bin/env python3
"""One model on several processes of this machine: the same text, and a clear end when one is lost."""

import os
import signal
import time
import unittest

from cluster import END_SECONDS_MAX, GREEDY, PROMPT, ClusterTest, Process, children_of, runs, wait_until
from program import MODEL, NOT_FOUND, UNAVAILABLE, exomesh


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

    def test_is_that_of_one_process_however_it_was_written_down(self):
        alone = self.answer()
        for split in ("0-11:cpu 12-29:cpu", "0-11:cpu*0.7+cpu*0.3 12-29", "0-29:cpu+cpu", "0-29:cpu", "2x1"):
            with self.subTest(split=split):
                self.assertEqual(self.answer("--split", split, "--wire", "f32"), alone)

    def test_is_that_of_one_process_with_ranks_that_are_threads(self):
        alone = self.answer()
        for split in ("tensor", "pipeline", "0-9:cpu 10-29:cpu+cpu"):
            with self.subTest(split=split):
                together = self.answer("--local", "3", "--in-process", "--split", split, "--wire", "f32")
                self.assertEqual(together, alone)

    def test_rounded_sums_answer_too(self):
        for wire in ("q8", "f16"):
            with self.subTest(wire=wire):
                self.assertGreater(len(self.answer("--local", "3", "--wire", wire)), 40)


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
        self.refuses("no address of a worker: it has no /PEERID", "--peers", "localhost:1")
        self.refuses("the split makes 2 ranks, not 3", "--local", "3", "--split", "0-9:cpu 10-29:cpu")
        self.refuses("[Ll]eave --devices out", "--split", "0-9:cpu 10-29:cpu", "--devices", "cpu,cpu")

    def test_layers_that_are_missing_or_double(self):
        self.refuses("leaves out layer 12; the model has 30 layers, 0 to 29", "--split", "0-11:cpu 13-29:cpu")
        self.refuses("leaves out layers 20 to 29; the model", "--split", "0-9:cpu 10-19:cpu")
        self.refuses("has layers 10 to 11 twice, or out of order", "--split", "0-11:cpu 10-29:cpu")
        self.refuses("has layers 30 to 31 that the model lacks", "--split", "0-11:cpu 12-31:cpu")
        self.refuses("leaves out layers 10 to 29; the model", "--split", "0-9:cpu")

    def test_a_device_that_is_not_there(self):
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--split", "0-9:cpu 10-29:cuda7")
        self.assertEqual(result.returncode, NOT_FOUND, result.stderr)
        self.assertRegex(result.stderr, r"rank 1 \(.*cuda7")
        for command in (("run", MODEL, PROMPT), ("up", MODEL, "--port", "0")):
            result = exomesh(*command, "--split", "0-29:cuda7")
            self.assertEqual(result.returncode, NOT_FOUND, result.stderr)
            self.assertIn("cuda7", result.stderr)
        self.refuses("are for several ranks", "--split", "pipeline")
        self.refuses("are for several ranks", "--overlap", "on")


class Faults(ClusterTest):
    stories: dict[str, str] = {}  # by split

    def start_answering(self, split: str) -> tuple[Process, list[int]]:
        head = self.start_story("--local", "3", "--split", split)
        head.out.wait_for(r"\w+ \w+ \w+")
        workers = children_of(head.pid)
        self.assertEqual(len(workers), 2)
        return head, workers

    def loses_a_worker(self, number: int, rank: int, words: str, split: str = "tensor") -> None:
        if split not in self.stories:
            self.stories[split] = self.story("--local", "3", "--split", split)
        head, workers = self.start_answering(split)
        begin = time.monotonic()
        os.kill(workers[rank - 1], number)
        code = head.wait(30)
        seconds = time.monotonic() - begin
        errors = head.errors.all()
        self.assertEqual(code, UNAVAILABLE, errors)
        self.assertLess(seconds, END_SECONDS_MAX, errors)
        self.assertRegex(errors, rf"error: rank {rank} \(.*{words}")
        self.says_nothing_wrong(head, self.stories[split])
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
                    self.loses_a_worker(signal.SIGSTOP, rank, "silent for 800 ms", split)

    def test_a_chat_goes_on_after_a_worker_was_lost(self):
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with self.subTest(signal=number):
                head = self.start("chat", MODEL, *GREEDY, "--max-tokens", "40", "--local", "3", keeps_stdin=True)
                head.say(PROMPT)
                head.out.wait_for(r"\w+ \w+ \w+")
                workers = children_of(head.pid)
                self.assertEqual(len(workers), 2)
                os.kill(workers[1], number)
                head.say(PROMPT)
                head.errors.wait_for(r"error: rank 2 \(")
                told = len(head.out.text)
                head.say(PROMPT)
                self.assertTrue(wait_until(lambda h=head, t=told: len(h.out.text) > t + 20, 60), head.errors.text)
                self.assertFalse(any(map(runs, workers)), "an old worker is left over")
                head.kill()

    def test_no_worker_outlives_its_head(self):
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                head, workers = self.start_answering("tensor")
                os.kill(head.pid, number)
                head.wait(10)
                self.assertTrue(wait_until(lambda: not any(map(runs, workers)), 2), "a worker is left over")


if __name__ == "__main__":
    unittest.main(verbosity=2)
