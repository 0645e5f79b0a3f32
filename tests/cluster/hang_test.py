#!/usr/bin/env python3
"""A thread that stands still in a process that lives, as one does whose driver hangs: noticed, named, replaced."""

import ctypes
import os
import pathlib
import signal
import threading
import time
import unittest

from cluster import ClusterTest, children_of, runner_of, runs, wait_until
from program import SECONDS_MAX, UNAVAILABLE

HANG_SECONDS_MAX = 3.0  # from the hang to the error: 0.7, twenty times the slowest token, a look, and a busy machine
HANGS = r"its device cpu has computed nothing for \d+ ms\. See there what its driver says"

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_CONT = 0x4206, 0x4207, 7
WAIT_FOR_THREADS = 0x40000000  # __WALL
NO_SYSTEM_CALL = "-1"


def busiest_thread(pid: int) -> int:
    def ticks(task: pathlib.Path) -> int:
        fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    return int(max(pathlib.Path(f"/proc/{pid}/task").iterdir(), key=ticks).name)


class Hang:
    """Stops a thread amid computing until its process ends. Who traces has to wait: in a thread of its own."""

    def __init__(self, pid: int):
        self.task = pathlib.Path(f"/proc/{pid}/task/{busiest_thread(pid)}")
        self.begin = 0.0
        self.error = ""
        self._hangs = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()
        if not self._hangs.wait(SECONDS_MAX) or self.error:
            raise AssertionError(self.error or "the thread was never found computing")

    def _hold(self) -> None:
        try:
            self._trace(PTRACE_SEIZE)
            while not self._stop_computing():
                self._trace(PTRACE_CONT)
                time.sleep(0.003)
        except OSError as error:
            self.error = f"cannot trace {self.task}: {error}"
        self.begin = time.monotonic()
        self._hangs.set()
        if not self.error:  # until it has ended: unless somebody takes note, it would remain
            self._wait_for_stop()

    def _trace(self, request: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if library.ptrace(request, int(self.task.name), None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _wait_for_stop(self) -> bool:
        return os.WIFSTOPPED(os.waitpid(int(self.task.name), WAIT_FOR_THREADS)[1])

    def _stop_computing(self) -> bool:
        """Whether it was stopped outside of the system: there it may have been waiting for others."""
        self._trace(PTRACE_INTERRUPT)
        if not self._wait_for_stop():
            raise OSError("it has ended")
        return (self.task / "syscall").read_text().split()[0] == NO_SYSTEM_CALL


class HangTest(ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.home = self.new_home()
        self.worker, self.address = self.start_worker(self.identity(self.home))


class Run(HangTest):
    def start_answering(self):
        head = self.start_story("--peers", self.address, "--split", "pipeline", **self.home)
        head.out.wait_for(r"(\w+\W+){20}")  # the watch knows how long a token takes
        return head

    def test_names_the_rank_whose_device_hangs(self):
        head = self.start_answering()
        runner = runner_of(self.worker)
        hang = Hang(runner)
        self.assertEqual(head.wait(30), UNAVAILABLE, head.errors.all())
        self.assertLess(time.monotonic() - hang.begin, HANG_SECONDS_MAX)
        self.assertRegex(head.errors.all(), rf"error: rank 1 \(.*\): {HANGS}")
        self.worker.errors.wait_for(rf"the session ended: {HANGS}", 5)
        self.worker.errors.wait_for(r"the runner ended with exit code 1; starting it again\nwaiting for a head\n", 5)
        self.assertFalse(runs(runner))
        self.assertGreater(len(self.answer("--peers", self.address, **self.home)), 40)

    def test_takes_no_process_that_stands_still_for_a_moment_for_a_hang(self):
        head = self.start_answering()
        for _ in range(3):
            os.kill(runner_of(self.worker), signal.SIGSTOP)
            time.sleep(0.5)
            os.kill(runner_of(self.worker), signal.SIGCONT)
            time.sleep(0.2)
        self.assertEqual(head.wait(), 0, head.errors.all())
        self.assertNotIn("session ended", self.worker.errors.text)


class Up(HangTest):
    def fails_by_a_hang(self, url: str, pid: int, words: str) -> None:
        failed = []
        asking = threading.Thread(target=lambda: failed.append(self.ask(url, 200)))
        asking.start()
        time.sleep(1)
        hang = Hang(pid)
        asking.join(30)
        self.assertLess(time.monotonic() - hang.begin, HANG_SECONDS_MAX)
        status, text = failed[0]
        self.assertEqual(status, 503, text)
        self.assertRegex(text, words)

    def test_computes_again_without_anybody_s_help(self):
        _, url = self.serve("--peers", self.address, "--split", "pipeline", **self.home)
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        self.fails_by_a_hang(url, runner_of(self.worker), rf"rank \d+ \(.*\): {HANGS}")
        self.assertEqual(self.ask(url), (200, expected))

    def test_ends_a_rank_of_its_own(self):
        head, url = self.serve("--local", "2", "--split", "pipeline")
        status, expected = self.ask(url)
        self.assertEqual(status, 200, expected)
        runner = children_of(head.pid)[-1]
        self.fails_by_a_hang(url, runner, rf"rank \d+ \(.*\): {HANGS}")
        self.assertTrue(wait_until(lambda: not runs(runner), 2))
        self.assertEqual(self.ask(url), (200, expected))


if __name__ == "__main__":
    unittest.main(verbosity=2)
