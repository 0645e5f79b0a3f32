#!/usr/bin/env python3
"""`exomesh up` with a model on several processes: a lost rank fails its requests and no later ones."""

import os
import shutil
import signal
import threading
import time
import unittest

from cluster import END_SECONDS_MAX, ClusterTest, Process, children_of, runs, wait_until
from program import DONE


class Up(ClusterTest):
    def test_works_on_after_a_rank_was_lost(self):
        for split in ("tensor", "pipeline"):
            with self.subTest(split=split):
                head, url = self.serve("--local", "3", "--split", split, "--wire", "f32")
                status, expected = self.ask(url)
                self.assertEqual(status, 200, expected)
                for number in (signal.SIGKILL, signal.SIGSTOP):
                    self.loses_a_rank(head, url, number, expected)
                workers = children_of(head.pid)
                os.kill(head.pid, signal.SIGTERM)
                self.assertEqual(head.wait(30), DONE, head.errors.all())
                self.assertTrue(wait_until(lambda: not any(map(runs, workers)), 2), "a worker is left over")

    def test_a_rank_lost_between_requests_costs_none(self):
        head, url = self.serve("--local", "3", "--split", "tensor", "--wire", "f32")
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        for number, seconds in ((signal.SIGKILL, 0.3), (signal.SIGSTOP, 2)):
            os.kill(children_of(head.pid)[0], number)
            time.sleep(seconds)  # until the head knows
            self.assertEqual(self.ask(url), (200, expected))

    def test_outlives_its_only_rank(self):
        head, url = self.serve()
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        (runner,) = children_of(head.pid)
        failed = []
        asking = threading.Thread(target=lambda: failed.append(self.ask(url, 400)))
        asking.start()
        time.sleep(0.5)
        begin = time.monotonic()
        os.kill(runner, signal.SIGKILL)
        asking.join(30)
        self.assertLess(time.monotonic() - begin, END_SECONDS_MAX)
        status, text = failed[0]
        self.assertEqual(status, 503, text)
        self.assertRegex(text, r"its process ended with signal 9")
        self.assertEqual(self.ask(url), (200, expected))
        self.assertEqual(len(children_of(head.pid)), 1)

    def test_a_model_file_that_is_gone_is_no_fault_of_the_request(self):
        model = self.folder / "model.gguf"
        shutil.copy(self.synthetic_model(), model)
        head, url = self.serve(model=str(model))
        _, expected = self.ask(url)
        model.rename(self.folder / "elsewhere.gguf")
        for rank in children_of(head.pid):
            os.kill(rank, signal.SIGKILL)
        self.ask(url)  # this one may find the rank lost
        status, text = self.ask(url)
        self.assertEqual(status, 503, text)
        self.assertIn("no such model", text)
        (self.folder / "elsewhere.gguf").rename(model)
        self.assertEqual(self.ask(url), (200, expected))

    def test_measures_before_it_chooses(self):
        head, url = self.serve("--local", "2", "--split", "auto")
        head.errors.wait_for(r"rank 1 \(cpu\)")  # left out: one processor
        self.assertEqual(self.ask(url)[0], 200)
        self.assertEqual(len(children_of(head.pid)), 1)

    def test_computes_itself_where_that_is_asked_for(self):
        head, url = self.serve("--in-process")
        self.assertEqual(self.ask(url)[0], 200)
        self.assertEqual(children_of(head.pid), [])

    def loses_a_rank(self, head: Process, url: str, number: int, expected: str) -> None:
        workers = children_of(head.pid)
        self.assertEqual(len(workers), 3)
        failed = []
        asking = threading.Thread(target=lambda: failed.append(self.ask(url, 400)))
        asking.start()
        os.kill(workers[1], number)
        asking.join(30)
        status, text = failed[0]
        self.assertEqual(status, 503, text)
        self.assertRegex(text, r"rank 2 \(")
        head.errors.wait_for(r"rank 2 \(", 5)
        self.assertNotIn("it computes again", head.errors.text)
        self.assertEqual(self.ask(url), (200, expected))
        head.errors.wait_for("it computes again", 5)
        head.errors.text = ""  # for the next loss
        self.assertFalse(any(map(runs, workers)), "an old worker is left over")


if __name__ == "__main__":
    unittest.main(verbosity=2)
