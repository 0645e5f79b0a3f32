#!/usr/bin/env python3
"""Workers that run on their own, as on other devices, and heads that come and go."""

import os
import pathlib
import shutil
import signal
import threading
import time
import unittest

from cluster import END_SECONDS_MAX, GREEDY, PROMPT, ClusterTest, exomesh, runner_of, runs, wait_until
from program import DONE, INTERRUPTED, MODEL, NOT_FOUND, UNAVAILABLE, USAGE


class StaticCluster(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.home = self.new_home()
        self.head = self.identity(self.home)

    def start_answering(self, *peers: str):
        head = self.start("run", MODEL, PROMPT, *GREEDY, "--max-tokens", "450", "--peers", ",".join(peers), **self.home)
        head.out.wait_for(r"\w+ \w+ \w+")
        return head

    def fails_with(self, code: int, words: str, *peers: str, home: dict[str, str] | None = None) -> None:
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--peers", ",".join(peers), **(home or self.home))
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, words)

    def test_serves_one_head_after_another(self):
        alone = self.answer()
        first, first_address = self.start_worker(self.head)
        second, second_address = self.start_worker(self.head)
        for split in ("tensor", "pipeline"):
            with self.subTest(split=split):
                together = self.answer("--peers", f"{first_address},{second_address}", "--split", split,
                                       "--wire", "f32", **self.home)  # fmt: skip
                self.assertEqual(together, alone)
        for worker in (first, second):
            self.assertIsNone(worker.process.poll())
            self.assertNotIn("session ended", worker.errors.text)

    def test_auto_leaves_out_by_name_who_shares_the_processor(self):
        worker, address = self.start_worker(self.head)
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--max-tokens", "8", "--local", "2", "--peers", address,
                         "--split", "auto", **self.home)  # fmt: skip
        self.succeeds(result)
        self.assertRegex(result.stderr, r"\[split: one process, predicted \d+\.\d tok/s; tensor [\d./]+ \d+\.\d, "
                                        r"pipeline .*; rank 2 \(cpu at 127\.0\.0\.1\) computes on the processor of "
                                        r"rank 0 \(cpu\)\]")  # fmt: skip
        worker.errors.wait_for("asked what this device can do", 5)
        self.assertGreater(len(self.answer("--peers", address, **self.home)), 40)

    def test_auto_decides_the_shares_itself(self):
        result = exomesh("run", MODEL, PROMPT, *GREEDY, "--local", "2", "--split", "auto", "--shares", "1,2")
        self.assertEqual(result.returncode, USAGE, result.stderr)
        self.assertIn("--split auto chooses the shares itself", result.stderr)

    def test_a_worker_survives_its_heads_death(self):
        worker, address = self.start_worker(self.head)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            with self.subTest(signal=number):
                ended = worker.errors.text.count("session ended")
                head = self.start_answering(address)
                os.kill(head.pid, number)
                self.assertTrue(
                    wait_until(lambda: worker.errors.text.count("session ended") > ended, 3), worker.errors.text
                )
                self.assertGreater(len(self.answer("--peers", address, **self.home)), 40)
                head.kill()
        self.assertIsNone(worker.process.poll())

    def test_a_killed_worker_is_named_and_the_others_serve_on(self):
        first, first_address = self.start_worker(self.head)
        second, second_address = self.start_worker(self.head)
        head = self.start_answering(first_address, second_address)
        begin = time.monotonic()
        second.kill()
        self.assertEqual(head.wait(30), UNAVAILABLE)
        self.assertLess(time.monotonic() - begin, END_SECONDS_MAX)
        self.assertRegex(head.errors.all(), r"error: rank 2 \(.*, 127\.0\.0\.1:\d+\)")
        self.assertGreater(len(self.answer("--peers", first_address, **self.home)), 40)
        self.assertIsNone(first.process.poll())

    def test_a_worker_whose_process_ends_is_started_again(self):
        worker, address = self.start_worker(self.head)
        _, url = self.serve("--peers", address, "--wire", "f32", **self.home)
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        for number, name in ((signal.SIGKILL, "Killed"), (signal.SIGABRT, "Aborted")):
            with self.subTest(signal=number):
                runner = runner_of(worker)
                failed = []
                asking = threading.Thread(target=lambda f=failed: f.append(self.ask(url, 400)))
                asking.start()
                worker.errors.wait_for("computing until the head is done")
                time.sleep(0.5)
                begin = time.monotonic()
                os.kill(runner, number)
                asking.join(30)
                self.assertLess(time.monotonic() - begin, END_SECONDS_MAX)
                self.assertEqual(failed[0][0], 503, failed)
                self.assertRegex(failed[0][1], r"rank \d+ \(")
                self.assertEqual(self.ask(url), (200, expected))  # and nobody has done anything
                worker.errors.wait_for(
                    rf"the runner ended with signal {int(number)} \({name}\); starting it again\nwaiting for a head\n"
                )
        self.assertEqual(worker.out.text.count("worker listens on"), 1)

    def test_a_stranger_is_refused(self):
        worker, address = self.start_worker(self.head)
        self.fails_with(USAGE, "rank 1: .*not on its list of allowed peers", address, home=self.new_home())
        worker.errors.wait_for("refused a connection: .*")
        self.assertGreater(len(self.answer("--peers", address, **self.home)), 40)

    def test_another_peer_than_expected_is_refused(self):
        _, address = self.start_worker(self.head)
        _, other = self.start_worker(self.head)
        wrong = address.split("/")[0] + "/" + other.split("/")[1]
        self.fails_with(USAGE, "rank 1: .*the peer is \\S+, not ", wrong)
        self.assertGreater(len(self.answer("--peers", address, **self.home)), 40)

    def test_nobody_there(self):
        begin = time.monotonic()
        worker, address = self.start_worker(self.head)
        runner = runner_of(worker)
        worker.kill()
        self.assertTrue(wait_until(lambda: not runs(runner), 2), "it outlives its supervisor")
        self.fails_with(UNAVAILABLE, "rank 1: .*Connection refused", address)
        self.assertLess(time.monotonic() - begin, 20)

    def test_a_worker_in_another_folder_finds_the_model(self):
        folders = [self.folder / name for name in ("head", "worker")]
        for folder in folders:
            folder.mkdir()
        shutil.move(self.synthetic_model(), folders[0] / "model.gguf")
        _, address = self.start_worker(self.head, folder=folders[1])
        head = self.start("run", "./model.gguf", "--raw", "a", "--max-tokens", "1", "--device", "cpu",
                          "--peers", address, folder=folders[0], **self.home)  # fmt: skip
        self.assertEqual(head.wait(30), DONE, head.errors.all())

    def run_with(self, model: str, address: str, *arguments: str):
        return exomesh("run", model, "--raw", "a", "--max-tokens", "1", "--device", "cpu", "--peers", address,
                       *arguments, **self.home)  # fmt: skip

    def head_model(self) -> pathlib.Path:
        """A model at a path that only the head is to know."""
        folder = self.folder / "head"
        folder.mkdir()
        return shutil.move(self.synthetic_model(), folder / "model.gguf")

    def test_a_worker_has_the_model_elsewhere(self):
        model = self.head_model()
        folder = self.folder / "models"
        folder.mkdir()
        shutil.copy(model, folder / "model.gguf")
        for place in (folder, shutil.copy(model, self.folder / "renamed.gguf")):
            with self.subTest(place=place):
                worker, address = self.start_worker(self.head, models=(str(place),))
                self.succeeds(self.run_with(str(model), address))
                worker.errors.wait_for(r"rank 1 of .* for ")
                worker.errors.wait_for(r"loaded [\d.]+ MB of weights on cpu")
                worker.errors.wait_for("the head is done")

    def test_ctrl_c_on_a_worker_ends_it_and_tells_the_head(self):
        waiting, _ = self.start_worker(self.head)
        os.kill(waiting.pid, signal.SIGINT)
        self.assertEqual(waiting.wait(5), DONE)
        self.assertRegex(waiting.errors.all(), "stopped\n$")
        first, first_address = self.start_worker(self.head)
        second, second_address = self.start_worker(self.head)
        head = self.start_answering(first_address, second_address)
        os.kill(second.pid, signal.SIGINT)
        self.assertEqual(head.wait(30), UNAVAILABLE)
        self.assertRegex(head.errors.all(), r"error: rank 2 \(.*it was stopped there")
        self.assertEqual(second.wait(5), DONE, second.errors.all())
        self.assertIsNone(first.process.poll())

    def test_ctrl_c_on_the_head_frees_its_worker(self):
        worker, address = self.start_worker(self.head)
        head = self.start_answering(address)
        os.kill(head.pid, signal.SIGINT)
        self.assertEqual(head.wait(10), INTERRUPTED)
        worker.errors.wait_for("the head is done", 3)
        self.assertGreater(len(self.answer("--peers", address, **self.home)), 40)

    def test_the_peers_are_the_last_ranks_of_a_split(self):
        alone = self.answer()
        worker, address = self.start_worker(self.head)
        split = "0-9:cpu 10-19:cpu 20-29:cpu"
        self.assertEqual(self.answer("--peers", address, "--split", split, "--wire", "f32", **self.home), alone)
        worker.errors.wait_for(r"rank 2 of ")
        result = exomesh("run", MODEL, PROMPT, "--peers", address, "--split", "0-29:cpu", **self.home)
        self.fails(result, USAGE, "the split makes 1 ranks, and there are 1 peers")

    def test_a_worker_says_what_is_wrong_with_its_flags(self):
        home = self.new_home()
        for arguments, code, words in (
            ((), USAGE, "nobody is allowed to use this worker.*--allow PEERID"),
            (("--allow", "nonsense"), USAGE, "peer id"),
            (("--allow", self.head, "--listen", "here"), USAGE, "no address to listen at"),
            (("--allow", self.head, "--model", "/nonexistent"), NOT_FOUND, "there is no '/nonexistent'"),
        ):
            with self.subTest(arguments=arguments):
                self.fails(exomesh("worker", *arguments, **home), code, words)


if __name__ == "__main__":
    unittest.main(verbosity=2)
