#!/usr/bin/env python3
"""Clusters over networks that lose, repeat and hold back packets, or all of them: only time may change."""

import os
import pathlib
import sys
import time

from cluster import GREEDY, PROMPT, ClusterTest, Process, main
from program import DONE, MODEL, UNAVAILABLE

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tools" / "bench"))
from emulator import Emulator, NotPermitted  # noqa: E402

EMULATOR = os.environ.get("EXOMESH_LINK_EMULATOR", "")
PORT = 4710
LOST_SECONDS_MAX = 4.0  # from the cut to the end of the head; 1 to 2 where others leave some of the processor
TOKENS = 60


class Links(ClusterTest):
    """The head is on host 0; ranks 1 and 2 are workers on the others."""

    def setUp(self) -> None:
        super().setUp()
        emulator = Emulator(EMULATOR, 3)
        try:
            self.net = emulator.__enter__()
        except NotPermitted as reason:
            self.skipTest(str(reason))
        self.addCleanup(emulator.__exit__)
        self.home = self.new_home()
        head = self.identity(self.home)
        self.workers = [self.start_on(host, "worker", "--listen", f"{self.net.address(host)}:{PORT}", "--allow", head,
                                      **self.new_home()) for host in (1, 2)]  # fmt: skip
        self.peers = [worker.out.wait_for(r"worker listens on (\S+)\n")[1] for worker in self.workers]

    def start_on(self, host: int, *arguments: str, **environment: str) -> Process:
        return self.start(*arguments, before=self.net.inside(host, []), **environment)

    def start_head(self, split: str = "tensor", tokens: int = TOKENS) -> Process:
        return self.start_on(0, "run", MODEL, PROMPT, *GREEDY, "--max-tokens", str(tokens), "--split", split,
                             # Not q8: how sums travel follows what links do, and each way rounds it otherwise.
                             "--wire", "f32",
                             "--peers", ",".join(self.peers), **self.home)  # fmt: skip

    def text(self, split: str = "tensor", tokens: int = TOKENS) -> str:
        head = self.start_head(split, tokens)
        self.assertEqual(head.wait(), DONE, head.errors.all())
        return head.out.all().removesuffix("\n")

    def cut_ends_the_head(self, split: str, undisturbed: str, names: str, *between: tuple) -> None:
        """Cuts links while the head answers: it must end soon, name a rank, and have said nothing wrong."""
        self.net.path(delay_us=1000)  # so that the answer takes a while
        head = self.start_head(split)
        head.out.wait_for(r"\w+ \w+ \w+")
        begin = time.monotonic()
        for a, b in between:
            self.net.path(a, b, loss=1)
        self.assertEqual(head.wait(60), UNAVAILABLE, head.errors.all())
        print(f"{split}: ended {time.monotonic() - begin:.2f} s after the cut")
        self.assertLess(time.monotonic() - begin, LOST_SECONDS_MAX)
        self.assertRegex(head.errors.all(), names)
        said = head.out.all().removesuffix("\n")
        self.assertTrue(undisturbed.startswith(said), f"{said!r} does not begin {undisturbed!r}")
        self.assertLess(len(said), len(undisturbed))

    def test_loss_changes_nothing_but_time(self):
        for split in ("tensor", "pipeline"):
            with self.subTest(split=split):
                self.net.path(loss=0, duplicate=0, straggle=0, delay_us=0)
                undisturbed = self.text(split, 20)
                self.net.path(loss=0.01, duplicate=0.01, straggle=0.01, delay_us=100, jitter_us=100)
                begin = time.monotonic()
                self.assertEqual(self.text(split, 20), undisturbed)
                lost = self.net.statistics()["lost"]
                print(f"{split}: {time.monotonic() - begin:.1f} s with {lost} packets lost so far")
                self.assertGreater(lost, 0)

    def test_a_worker_that_is_cut_off_is_named(self):
        for split in ("tensor", "pipeline"):
            with self.subTest(split=split):
                self.net.path(loss=0)
                undisturbed = self.text(split)
                self.cut_ends_the_head(split, undisturbed, r"error: rank 2 \(", (2, 0), (2, 1))

    def test_a_cut_between_workers_is_noticed(self):
        # The head hears from both. What the two have for each other is what does not come.
        undisturbed = self.text()
        self.cut_ends_the_head("tensor", undisturbed, r"error: rank [12] \(.*rank [12] \(", (1, 2))

    def test_serves_again_after_a_partition(self):
        undisturbed = self.text()
        self.cut_ends_the_head("tensor", undisturbed, r"error: rank 1 \(", (1, 0), (1, 2))
        time.sleep(1)  # of two seconds of partition
        self.net.path(loss=0, delay_us=0)
        self.assertEqual(self.text(), undisturbed)
        for worker in self.workers:
            self.assertIsNone(worker.process.poll(), worker.errors.text)


if __name__ == "__main__":
    main()
